/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Direct execution: user code of address spaces that compute runs as it is, on the host's processor.
 *
 * Where. In a twin (host/user/twin.h): a process that has no memory but pages of the guest, at the guest's own addresses and
 * with the rights that the guest's page tables give to user code. What maps them is window_map.c: the rules are those of
 * windows. So the host's MMU checks every access, no instruction needs to be changed, and nothing but the guest's own memory
 * can be reached; system calls go to us. Whatever else happens there - a page that is not mapped, an exception, a system call,
 * an interrupt for the guest - stops the twin, and its registers become the guest's again. The instruction at which it stands
 * is then executed by its handler, which does all that it may come to, as ever; the page is mapped; the twin goes on.
 *
 * What. 64-bit code at CPL 3 of a guest whose user mode looks like the host's: its code and stack selectors, all of the host's
 * XCR0 enabled, RDFSBASE and the like allowed, no protection keys, no breakpoints or single steps. RDTSC faults there unless
 * the guest's time is the host's. What does not fault but should tell of the guest - CPUID, RDPID, XGETBV, LSL, SGDT and so on,
 * and INT 80h - must not be executed directly: pages are looked through for these when they are mapped for execution. A page
 * that has one is mapped so only while breakpoints of the processor stop the twin before them, of which there are four; the
 * code of others is executed by handlers. Nothing is both writable and executable there. Two ways remain for a program to be
 * told of the host instead: such an instruction hidden within others, or written later through another mapping of its page.
 *
 * When. To enter and to leave costs 15 to 25 microseconds, so spaces run directly when interrupts hit their user code again and
 * again and there are not too many system calls: window_tick() counts, and each space has an allowance of stops. A few pages of
 * the twin's addresses are ours (host_twin_private); where the guest has anything near them, the space does not run directly.
 */
#include "engine/soft/direct.h"
#include "engine/soft/window.h"
#include "engine/soft/window_map.h"
#include "host/user/alias.h"
#include "x86/fpu.h"
#include "x86/system.h"

#define USER_CS 0x33
#define USER_SS 0x2b
#define USER_END 0x7ffffffff000ull
#define XSTATE_MAX 4096u
/* In stops. More than so many between two ticks, 4 ms as a rule, cost more than is gained; there are more at the beginning. */
#define TICK_ALLOWS 120
#define MOST_ALLOWED 2000
/* What they count. The translator would have to learn of new pages, too, but makes calls much faster and executes any page. */
#define FAULT_COSTS 1
#define SYSCALL_COSTS 2
#define CRAWL_COSTS 8
/* So many stops between two ticks, and breakpoints, which make each dearer, must prove that they are still needed. */
#define STOPS_MANY 8
/* Of a rest, in ticks with few system calls, doubled so many times at most; of what comes then. */
#define FIRST_WAIT 1u
#define MOST_RESTS 3u
#define LONG_WAIT 256u
/* Blocks that are interpreted before their code is believed to go on like that. */
#define CRAWLS_MOST 64u
/* A twin may have too many mappings; but this often it is the host. */
#define MOST_REFUSALS 8u
#define DR6_BS BIT64(14)

/* ---- what may run --------------------------------------------------------------------------------------------------- */

static bool selector_fits(const struct x86_cpu *cpu, unsigned sreg)
{
	u16 selector = cpu->seg[sreg].selector;

	return selector == 0 || selector == USER_SS;
}

static bool segments_fit(const struct x86_cpu *cpu)
{
	return cpu->seg[X86_CS].selector == USER_CS && cpu->seg[X86_SS].selector == USER_SS && selector_fits(cpu, X86_DS) &&
	       selector_fits(cpu, X86_ES) && selector_fits(cpu, X86_FS) && selector_fits(cpu, X86_GS) &&
	       cpu->seg[X86_FS].base < USER_END && cpu->seg[X86_GS].base < USER_END;
}

static bool processor_fits(const struct x86_cpu *cpu)
{
	return cpu->code_bits == 64 && !(cpu->cr0 & (X86_CR0_EM | X86_CR0_TS)) && (cpu->cr0 & X86_CR0_NE) &&
	       (cpu->cr4 & X86_CR4_FSGSBASE) && (cpu->cr4 & X86_CR4_OSFXSR) && (cpu->cr4 & X86_CR4_OSXSAVE) &&
	       (cpu->cr4 & X86_CR4_OSXMMEXCPT) && (cpu->efer & X86_EFER_SCE) && !(cpu->cr4 & X86_CR4_PKE) &&
	       cpu->xcr0 == x86_fpu_host.live && !cpu->smm && !cpu->align_check;
}

static bool fits(const struct x86_cpu *cpu)
{
	const u32 free = X86_DF | X86_AC | X86_RF | X86_NT;

	return (cpu->rflags & ~free) == (X86_IF | X86_FLAGS_FIXED) && segments_fit(cpu) && processor_fits(cpu);
}

/* Time is the host's. */
static bool tsc_fits(struct x86_cpu *cpu)
{
	const struct vcpu *vcpu = vcpu_of(cpu);

	return !(cpu->cr4 & X86_CR4_TSD) && !vcpu->tsc_offset && vcpu->tsc_ratio == VCPU_TSC_RATIO_ONE;
}

/* ---- registers ------------------------------------------------------------------------------------------------------ */

static void give(struct x86_cpu *cpu, struct host_twin_state *s)
{
	for (unsigned i = 0; i < HOST_GPRS; i++)
		s->gpr[i] = cpu->regs[i];
	s->rip = x86_rip(cpu);
	s->rflags = x86_get_rflags(cpu);
	s->fs_base = cpu->seg[X86_FS].base;
	s->gs_base = cpu->seg[X86_GS].base;
	s->cs = cpu->seg[X86_CS].selector;
	s->ss = cpu->seg[X86_SS].selector;
	s->ds = cpu->seg[X86_DS].selector;
	s->es = cpu->seg[X86_ES].selector;
	s->fs = cpu->seg[X86_FS].selector;
	s->gs = cpu->seg[X86_GS].selector;
}

static void take_base(struct x86_cpu *cpu, unsigned sreg, u64 base)
{
	cpu->seg[sreg].base = base;
	cpu->seg_base[sreg] = base;
}

/* The twin has loaded segment registers by the host's table; what the guest's has is loaded now, if it has it. */
static void take_selectors(struct x86_cpu *cpu, const struct host_twin_state *s)
{
	const u16 now[] = {
		[X86_ES] = s->es, [X86_CS] = s->cs, [X86_SS] = s->ss, [X86_DS] = s->ds, [X86_FS] = s->fs, [X86_GS] = s->gs,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(now); i++) {
		if (i != X86_CS && now[i] != cpu->seg[i].selector)
			x86_load_sreg(cpu, i, now[i]);
	}
	if (s->cs != cpu->seg[X86_CS].selector)
		x86_far_jmp(cpu, s->cs, s->rip, 4, s->rip);
}

static void take(struct x86_cpu *cpu, const struct host_twin_state *s)
{
	for (unsigned i = 0; i < HOST_GPRS; i++)
		cpu->regs[i] = s->gpr[i];
	cpu->regs[X86_REG_RIP] = s->rip;
	x86_set_rflags(cpu, (s->rflags & ~(u64)X86_RF) | X86_IF);
	take_selectors(cpu, s);
	take_base(cpu, X86_FS, s->fs_base);
	take_base(cpu, X86_GS, s->gs_base);
	if (cpu->rflags & X86_AC)
		x86_mode_update(cpu);
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

static struct window_space *current(struct windows *w)
{
	return &w->space[w->cpu->tlb_context];
}

static struct host_twin *twin_for(struct windows *w)
{
	for (unsigned i = 0; i < SPARE_TWINS; i++) {
		struct host_twin *twin = w->spare[i];

		w->spare[i] = NULL;
		if (twin && host_twin_clear(twin))
			return twin;
		if (twin)
			host_twin_destroy(twin);
	}
	return host_twin_create(&w->soft->gate, w->file);
}

/* It is there, and has what it should. */
static bool twin_ready(struct windows *w, struct window_space *s)
{
	u64 own, size;

	if (!s->twin)
		s->twin = twin_for(w);
	if (!s->twin || host_twin_xstate_size(s->twin) > XSTATE_MAX) {
		w->no_twins = true;
		return false;
	}
	own = host_twin_private(s->twin, &size);
	return !window_guest_maps(w, own) && !window_guest_maps(w, own + size - 1);
}

/* The page that the last fault was for, if it was for one: it can be read already if it was a write. */
static void map_missed(struct windows *w, u64 gva)
{
	unsigned space = w->cpu->tlb_context;

	if (gva && gva >> 32 < WINDOW_AREAS && !window_executes(w, space, gva))
		window_map_page(w, space, gva, window_maps(w, space, gva) ? WINDOW_WRITE : WINDOW_READ);
}

static bool prepare(struct windows *w, struct window_space *s)
{
	struct soft_vcpu *soft = w->soft;

	if (w->fill_ahead)
		window_map_ahead(w, w->cpu->tlb_context);
	w->fill_ahead = false;
	if (soft->awaited)
		map_missed(w, soft->awaited); /* the guest has just dealt with that fault: there is no need to ask */
	else if (w->faulted && s->twin)
		map_missed(w, host_twin_fault_address(s->twin));
	soft->awaited = 0;
	w->faulted = false;
	if (w->broken || !s->twin)
		return false;
	return window_executes(w, w->cpu->tlb_context, x86_rip(w->cpu)) ||
	       window_map_page(w, w->cpu->tlb_context, x86_rip(w->cpu), WINDOW_EXECUTE);
}

static void rest(struct windows *w, struct window_space *s);

static void spend(struct windows *w, int cost)
{
	struct window_space *s = current(w);

	s->allowance -= cost;
	if (s->allowance < 0 && !w->direct_always)
		rest(w, s);
}

static enum direct_next understand(struct windows *w, enum host_twin_stop why)
{
	struct x86_cpu *cpu = w->cpu;
	struct vcpu_stat *stat = w->soft->stat;

	switch (why) {
	case HOST_TWIN_SYSCALL:
		cpu->regs[X86_REG_RIP] -= 2;
		stat->direct_syscalls++;
		break;
	case HOST_TWIN_FAULT:
		stat->direct_faults++;
		w->faulted = true;
		break;
	case HOST_TWIN_STEPPED:
		cpu->pending_dr6 |= DR6_BS;
		atomic_or(&cpu->stop, X86_STOP_CODE);
		return DIRECT_LOOK;
	case HOST_TWIN_GONE:
		w->lost = true;
		atomic_or(&cpu->stop, X86_STOP_CODE);
		return DIRECT_LOOK;
	case HOST_TWIN_REFUSED:
		w->no_twins = ++w->refusals > MOST_REFUSALS;
		direct_end(w);
		return DIRECT_LOOK;
	case HOST_TWIN_KICKED:
		return DIRECT_LOOK;
	}
	spend(w, why == HOST_TWIN_SYSCALL ? SYSCALL_COSTS : FAULT_COSTS);
	return soft_must_step(cpu) ? DIRECT_LOOK : DIRECT_STEP;
}

/* Most of what a twin stops for has nothing to do with its x87 and vector state: that stays there until it is needed. */
static void fetch_xstate(struct x86_cpu *cpu)
{
	struct windows *w = soft_of(cpu)->windows;

	if (host_twin_get_xstate(w->xstate_in, w->xstate)) {
		x86_fpu_set_xsave(cpu, w->xstate, XSTATE_MAX);
	} else {
		w->lost = true;
		atomic_or(&cpu->stop, X86_STOP_CODE);
	}
	w->xstate_in = NULL;
}

static bool hand_over_xstate(struct windows *w, struct host_twin *twin)
{
	struct x86_cpu *cpu = w->cpu;

	if (w->xstate_in == twin)
		return true;
	x86_fpu_leave(cpu);
	x86_fpu_get_xsave(cpu, w->xstate, XSTATE_MAX);
	if (!host_twin_set_xstate(twin, w->xstate)) {
		x86_fpu_enter(cpu);
		return false;
	}
	w->xstate_in = twin;
	cpu->fpu_fetch = fetch_xstate;
	x86_fpu_send_away(cpu);
	return true;
}

bool direct_lost(struct soft_vcpu *soft)
{
	bool lost = soft->windows && soft->windows->lost;

	if (unlikely(lost))
		soft->windows->lost = false;
	return lost;
}

void direct_release(struct windows *w, struct host_twin *twin)
{
	if (w->xstate_in == twin)
		x86_fpu_home(w->cpu);
	for (unsigned i = 0; i < SPARE_TWINS; i++) {
		if (!w->spare[i] && host_twin_clear(twin)) {
			w->spare[i] = twin;
			return;
		}
	}
	host_twin_destroy(twin);
}

void direct_destroy_spare(struct windows *w)
{
	for (unsigned i = 0; i < SPARE_TWINS; i++) {
		if (w->spare[i])
			host_twin_destroy(w->spare[i]);
		w->spare[i] = NULL;
	}
}

static enum direct_next go(struct windows *w, struct window_space *s)
{
	struct host_twin_state state;
	struct x86_cpu *cpu = w->cpu;
	enum host_twin_stop why = HOST_TWIN_REFUSED;

	give(cpu, &state);
	host_twin_fault_tsc(s->twin, !tsc_fits(cpu));
	if (hand_over_xstate(w, s->twin))
		why = host_twin_run(s->twin, &state, &cpu->stop);
	if (why != HOST_TWIN_REFUSED && why != HOST_TWIN_GONE)
		take(cpu, &state);
	w->soft->stat->direct_runs++;
	return understand(w, why);
}

enum direct_next direct_run(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;
	struct windows *w = soft->windows;
	struct window_space *s = current(w);

	if (!fits(&vcpu->cpu))
		return DIRECT_WALK;
	if (!s->open)
		window_settle(w);
	if (!twin_ready(w, s)) {
		direct_end(w);
		return DIRECT_LOOK;
	}
	if (!prepare(w, s)) {
		soft->stat->direct_crawls++;
		if (!s->crawls)
			spend(w, CRAWL_COSTS);
		return s->crawls++ < CRAWLS_MOST ? DIRECT_CRAWL : DIRECT_WALK;
	}
	s->crawls = 0;
	return go(w, s);
}

void direct_kick(struct vcpu *vcpu)
{
	host_twin_kick(&((struct soft_vcpu *)vcpu->engine)->gate);
}

/* ---- begin and end -------------------------------------------------------------------------------------------------- */

bool direct_begin(struct windows *w)
{
	struct window_space *s = current(w);
	bool fresh;

	if (w->no_twins || s->wait || !fits(w->cpu) || vcpu_of(w->cpu)->vm->nr_vcpus > w->processors)
		return false; /* with more vCPUs than processors, those that spin must be noticed (PAUSE) */
	fresh = !s->twin;
	if (!s->twin && s->leaves)
		window_purge(w, w->cpu->tlb_context);
	if (!twin_ready(w, s))
		return false;
	w->fill_ahead = fresh;
	s->direct = w->soft->direct = true;
	s->allowance = MOST_ALLOWED;
	w->soft->stat->direct_begun++;
	return true;
}

static void leave(struct windows *w, struct window_space *s, u32 wait)
{
	s->open = false;
	s->direct = w->soft->direct = false;
	s->wait = wait;
	w->soft->stat->direct_ended++;
}

void direct_end(struct windows *w)
{
	leave(w, current(w), LONG_WAIT);
	window_purge(w, w->cpu->tlb_context);
}

/* The twin stays, and what is mapped there; but if it is of no use again and again, windows are better. */
static void rest(struct windows *w, struct window_space *s)
{
	if (++s->rests > MOST_RESTS)
		direct_end(w);
	else
		leave(w, s, FIRST_WAIT << s->rests);
}

void direct_tick(struct windows *w)
{
	struct window_space *s = current(w);

	if (s->allowance <= MOST_ALLOWED - STOPS_MANY)
		window_give_up_breaks(w, w->cpu->tlb_context);
	if (s->rests && s->allowance == MOST_ALLOWED)
		s->rests--;
	s->allowance += TICK_ALLOWS;
	if (s->allowance > MOST_ALLOWED)
		s->allowance = MOST_ALLOWED;
}
