/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows: the memory of hot address spaces, mapped where translated user code reaches it without asking the TLB.
 *
 * Form. User addresses are cut into areas of 4 GiB. For each area that a hot space uses there is a window: 4 GiB of the host's
 * address space, reserved and inaccessible but for the guest pages that have been mapped there. A table at GS gives for each
 * area what is to be added to a linear address; translated code (jit_window.c) loads that and accesses memory, checking
 * nothing. What is not there, or not with that right, faults in the host: the detour (host/user/fault.h) leads to code that
 * executes the instruction by its handler, which does all that an access may come to, and then asks window_fill() for the page.
 *
 * Nothing else can be reached. Between two windows, and around them all, lie 4 GiB that stay inaccessible, so that a
 * displacement of 32 bits past a window's ends faults. Areas without a window have an entry that leads to the hole, a window
 * that nothing is ever mapped in. The table is addressed by 32 bits relative to GS: that cannot leave WINDOW_GUARD, where all
 * but the table's pages in use is inaccessible. The entry's index times 8 drops three bits, so an address that differs from a
 * canonical one in these alone finds that one's entry, and the sum differs from an address of the arena by a multiple of 2^61:
 * not canonical, which faults. A base register without index decides on the area, its displacement does not.
 *
 * What is mapped. A page is mapped while a TLB entry that was filled just now would be valid (window_map.c), and stays until
 * the guest, or we, invalidate it. Invalidating does not unmap: it closes the space, that is, its table entries lead to the
 * hole again, and notes what is in doubt. The next access faults, and window_fill() first compares what was in doubt with the
 * guest's page tables; most is as it was, as the guest has unmapped, or written to, something else. This makes flushes cheap,
 * outside KVM_RUN too, where guest memory must not be looked at. Only when slots change is all unmapped at once, since the VMM
 * may unmap it next. Code loads the delta anew for each access, or after whatever may close a space: no delta outlives one.
 *
 * When. To map a page costs ten times what the TLB takes to learn of it. So a space becomes hot when interrupts have hit its
 * user code a few times with hardly any page faults of the guest's in between: it computes on memory that it has. It rests
 * while there are many. Each space has a credit, in pages, for what windows cost it beyond filling; when that is used up
 * it becomes cold for a longer time each time. Cold and hot code are different blocks (BLOCK_KEY_WINDOWS): either is right
 * at any time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/direct.h"
#include "engine/soft/jit.h"
#include "engine/soft/window.h"
#include "engine/soft/window_map.h"
#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/sys.h"
#include "x86/paging.h"

#define FIRST_TICKS 2u
/* To make a twin, and what is mapped there, costs a millisecond or two: a process must live that long. */
#define DIRECT_TICKS 2u
/* So many system calls between two ticks are too many for direct execution; after so many ticks windows are taken meanwhile. */
#define SYSCALLS_MANY 60
#define HEAT_ANYWAY 5u
#define MOST_TICKS 256u
#define TICK_CREDIT 100
/* The guest's page faults between two ticks: so few are needed to become hot, so many are too much for the hot. */
#define FAULTS_CALM 25
#define FAULTS_STORM 80
#define ARENAS_MAX 64u /* a quarter of a process's address space */
#define ENTRIES_PER_PAGE (PAGE_SIZE / sizeof(u64))

static u32 arenas; /* a */

/* ---- the table -------------------------------------------------------------------------------------------------- */

static u64 delta_of(const struct windows *w, unsigned n, u32 area)
{
	return window_start(w, n) - ((u64)area << 32);
}

/* The entry can be written: its page leads to the hole. */
static bool table_ready(struct windows *w, u32 area)
{
	u32 page = area / ENTRIES_PER_PAGE, first = page * ENTRIES_PER_PAGE;

	if (w->ready[page])
		return true;
	if (sys_call3(SYS_mprotect, (long)&w->table[first], PAGE_SIZE, PROT_READ | PROT_WRITE))
		return false;
	for (u32 i = first; i < first + ENTRIES_PER_PAGE; i++)
		w->table[i] = delta_of(w, 0, i);
	w->ready[page] = true;
	return true;
}

u64 window_delta(struct x86_cpu *cpu, u64 linear)
{
	const struct windows *w = soft_of(cpu)->windows;
	u32 area = (u32)(linear >> 32);

	return area < WINDOW_AREAS && w->ready[area / ENTRIES_PER_PAGE] ? w->table[area] : delta_of(w, 0, area);
}

static struct window_space *current(struct windows *w)
{
	return &w->space[w->cpu->tlb_context];
}

void window_lead(struct windows *w, unsigned n)
{
	const struct window *window = &w->window[n];

	if (w->space[window->owner - 1].open && !w->broken && table_ready(w, window->area))
		w->table[window->area] = delta_of(w, n, window->area);
}

static void close_space(struct windows *w, struct window_space *s)
{
	unsigned owner = (unsigned)(s - w->space) + 1;

	if (!s->open)
		return;
	s->open = false;
	for (unsigned n = 1; n < WINDOWS; n++) {
		if (w->window[n].owner == owner && w->ready[w->window[n].area / ENTRIES_PER_PAGE])
			w->table[w->window[n].area] = delta_of(w, 0, w->window[n].area);
	}
}

static void open_space(struct windows *w, struct window_space *s)
{
	unsigned owner = (unsigned)(s - w->space) + 1;

	s->open = true;
	for (unsigned n = 1; n < WINDOWS; n++) {
		if (w->window[n].owner == owner)
			window_lead(w, n);
	}
}

/* ---- hot and cold --------------------------------------------------------------------------------------------------- */

static void set_hot(struct windows *w, bool hot)
{
	current(w)->hot = hot;
	w->cpu->user_key = hot ? BLOCK_KEY_WINDOWS : 0;
	block_flush_jumps(w->soft, true);
}

static void cool(struct windows *w)
{
	struct window_space *s = current(w);

	close_space(w, s);
	window_purge(w, (unsigned)(s - w->space));
	s->ticks = 0;
	s->ticks_wanted = (u32)min_u64(4 * s->ticks_wanted, MOST_TICKS);
	w->soft->stat->windows_cooled++;
	set_hot(w, false);
}

/* It makes itself new memory: that is cheaper without windows. What is mapped may be of use later. */
static void rest(struct windows *w, struct window_space *s)
{
	close_space(w, s);
	s->ticks = 0;
	w->soft->stat->windows_cooled++;
	set_hot(w, false);
}

void window_break(struct windows *w)
{
	w->broken = true;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		close_space(w, &w->space[n]);
		w->space[n].hot = false;
	}
	set_hot(w, false);
}

/* Another address space than the last one of this number; what is mapped is found to be wrong when it is looked at. */
static void start_space(struct windows *w, struct window_space *s, u64 root)
{
	s->root = root;
	s->hot = w->always && !w->broken;
	s->ticks = 0;
	s->ticks_wanted = FIRST_TICKS;
	s->credit = WINDOW_CREDIT;
	s->all_doubted = true;
	s->direct = w->direct_always && !w->no_twins;
	s->rests = 0;
	s->wait = DIRECT_TICKS;
}

static bool may_heat(const struct windows *w)
{
	return !w->broken && w->soft->jit->window_miss;
}

/* What the TLB has: it has been used. */
static void fill_from_tlb(struct windows *w)
{
	const struct x86_tlb_entry *set = x86_tlb_of(w->cpu, X86_TLB_USER);

	for (unsigned i = 0; i < X86_TLB_SIZE && current(w)->hot; i++) {
		if (set[i].gpa && !((set[i].tag_read >> 12 ^ i) & (X86_TLB_SIZE - 1)))
			window_fill(w->cpu, set[i].tag_read, 1, false);
	}
}

static void heat(struct windows *w, struct window_space *s)
{
	if (!w->no_twins && s->wait && !s->rests && s->ticks < HEAT_ANYWAY)
		return; /* it will soon run directly */
	w->soft->stat->windows_heated++;
	s->credit = WINDOW_CREDIT;
	set_hot(w, true);
	w->fill_ahead = true;
}

void window_tick(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;
	struct window_space *s;
	u64 faults, syscalls;

	if (!w || soft->cpu->cpl != 3 || soft->cpu->code_bits != 64)
		return;
	s = current(w);
	faults = soft->stat->pf_guest - w->faults;
	w->faults = soft->stat->pf_guest;
	syscalls = soft->syscalls - w->syscalls;
	w->syscalls = soft->syscalls;
	if (syscalls >= SYSCALLS_MANY)
		s->wait = (u32)max_u64(s->wait, DIRECT_TICKS);
	else
		s->wait -= s->wait != 0;
	if (s->direct) {
		direct_tick(w);
		return;
	}
	if (s->twin) { /* it rests */
		if (!s->wait)
			direct_begin(w);
		return;
	}
	if (!s->wait && direct_begin(w)) {
		if (s->hot)
			set_hot(w, false);
		return;
	}
	if (!s->hot) {
		if (faults < FAULTS_CALM && may_heat(w) && ++s->ticks >= s->ticks_wanted)
			heat(w, s);
		return;
	}
	s->credit = (int)min_u64((u64)(s->credit + TICK_CREDIT), WINDOW_CREDIT);
	if (faults > FAULTS_STORM && !w->always)
		rest(w, s);
}

/* ---- invalidation --------------------------------------------------------------------------------------------------- */

static void doubt_all(struct windows *w, struct window_space *s)
{
	close_space(w, s);
	s->all_doubted = true;
}

static void doubt_area(struct windows *w, struct window_space *s, u64 gva)
{
	u64 base = gva & ~(LEAF_SIZE - 1);

	close_space(w, s);
	for (unsigned i = 0; i < s->nr_doubts; i++)
		if (s->doubt[i] == base)
			return;
	if (s->nr_doubts == WINDOW_DOUBTS)
		s->all_doubted = true;
	else
		s->doubt[s->nr_doubts++] = base;
}

void window_flush_space(struct soft_vcpu *soft, unsigned n)
{
	if (soft->windows)
		doubt_all(soft->windows, &soft->windows->space[n]);
}

void window_flush_all(struct soft_vcpu *soft)
{
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		window_flush_space(soft, n);
}

void window_flush_page(struct soft_vcpu *soft, u64 gva)
{
	struct windows *w = soft->windows;

	if (!w || gva >> 32 >= WINDOW_AREAS)
		return;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		if (w->space[n].leaves && window_maps(w, n, gva))
			doubt_area(w, &w->space[n], gva);
	}
}

void window_protect(struct soft_vcpu *soft, u64 hva)
{
	struct windows *w = soft->windows;

	if (w && (*window_written(w, hva) >> (hva / PAGE_SIZE % 64) & 1))
		window_flush_all(soft);
}

void window_drop_all(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w)
		return;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		close_space(w, &w->space[n]);
		if (!w->broken)
			window_purge(w, n);
	}
	direct_destroy_spare(w);
	memset(w->written, 0, sizeof(w->written));
}

void window_switch(struct soft_vcpu *soft, unsigned from, bool fresh)
{
	struct windows *w = soft->windows;
	struct window_space *s;

	if (!w)
		return;
	close_space(w, &w->space[from]);
	w->space[from].used = ++w->moves;
	s = current(w);
	if (s->root != (soft->cpu->cr3 & PTE_ADDR))
		start_space(w, s, soft->cpu->cr3 & PTE_ADDR);
	s->all_doubted |= fresh;
	soft->direct = s->direct;
	soft->cpu->user_key = s->hot ? BLOCK_KEY_WINDOWS : 0;
	if (s->hot && !s->all_doubted && !s->nr_doubts)
		open_space(w, s);
}

/* ---- filling ---------------------------------------------------------------------------------------------------------- */

/* What lies at guest-physical addresses depends on more than slots: system-management mode, the LAPIC's page. */
static void check_memory(struct windows *w)
{
	u64 apic_base = vcpu_of(w->cpu)->apic_base;

	if (w->smm == w->cpu->smm && w->apic_base == apic_base)
		return;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		window_purge(w, n);
	w->smm = w->cpu->smm;
	w->apic_base = apic_base;
}

/* What is mapped is right, as far as an access made just now can tell. */
static void settle(struct windows *w, struct window_space *s)
{
	unsigned n = (unsigned)(s - w->space);

	check_memory(w);
	if (s->all_doubted)
		window_check_space(w, n);
	for (unsigned i = 0; i < s->nr_doubts && !s->all_doubted; i++)
		window_check_area(w, n, s->doubt[i]);
	s->all_doubted = false;
	s->nr_doubts = 0;
	s->credit--;
	if (!w->broken)
		open_space(w, s);
}

void window_settle(struct windows *w)
{
	settle(w, current(w));
}

bool window_fill(struct x86_cpu *cpu, u64 gva, unsigned size, bool write)
{
	struct windows *w = soft_of(cpu)->windows;
	struct window_space *s = current(w);
	u64 pages = ((gva & (PAGE_SIZE - 1)) + size + PAGE_SIZE - 1) / PAGE_SIZE;
	bool filled = true;

	if (!s->hot)
		return true;
	if (!s->open)
		settle(w, s);
	for (u64 i = 0; i < pages && !w->broken; i++)
		filled &= window_map_page(w, cpu->tlb_context, gva + i * PAGE_SIZE,
					  write ? WINDOW_WRITE : WINDOW_READ);
	if (!filled)
		s->credit--;
	if (s->credit < 0 && s->hot && !w->always && !w->broken)
		cool(w);
	return filled;
}

void window_fill_awaited(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;
	u64 gva = soft->awaited;

	if (soft->direct)
		return;
	soft->awaited = 0;
	if (!w || !current(w)->hot)
		return;
	if (!current(w)->open)
		settle(w, current(w));
	if (!w->broken)
		window_map_page(w, soft->cpu->tlb_context, gva, WINDOW_READ);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

void window_begin(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w || !w->fill_ahead || soft->direct)
		return;
	w->fill_ahead = false;
	fill_from_tlb(w);
}

void window_enter(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w)
		return;
	w->detour.to = (u64)soft->jit->window_miss;
	host_fault_detour = w->detour.to ? &w->detour : NULL;
}

void window_leave(struct soft_vcpu *soft)
{
	if (soft->windows)
		host_fault_detour = NULL;
}

/* vm.max_map_count; its default where it cannot be read. */
static u32 most_vmas(void)
{
	char text[16] = "65530";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		ssize_t n = sys_read(fd, text, sizeof(text) - 1);

		text[n > 0 ? n : 0] = 0;
		sys_close(fd);
	}
	return (u32)strtoul(text, NULL, 10);
}

/*
 * ANYKVM_WINDOWS: off; auto, the default: of memory that the VMM has said may be mapped twice; on: of all that can be; force:
 * the same, and all address spaces are hot (for tests).
 */
enum mode { MODE_AUTO, MODE_OFF, MODE_ON, MODE_FORCE };

static enum mode configured(void)
{
	static const char *const names[] = { "auto", "off", "on", "force" };
	const char *value = getenv("ANYKVM_WINDOWS");
	unsigned mode = ARRAY_SIZE(names);

	while (value && mode--)
		if (!strcmp(value, names[mode]))
			return (enum mode)mode;
	return MODE_AUTO;
}

/* ANYKVM_DIRECT: off; auto, the default; force: all address spaces at once (for tests). */
static bool direct_configured(bool *always)
{
	const char *value = getenv("ANYKVM_DIRECT");

	*always = value && !strcmp(value, "force");
	return !value || strcmp(value, "off");
}

static struct windows *make(struct vcpu *vcpu)
{
	struct windows *w = NULL;
	long arena = -1;

	if (atomic_add(&arenas, 1) < ARENAS_MAX)
		arena = sys_mmap(NULL, WINDOW_ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!sys_failed(arena))
		w = host_alloc_pages(sizeof(*w));
	if (!w) {
		if (!sys_failed(arena))
			sys_munmap((void *)arena, WINDOW_ARENA);
		atomic_add(&arenas, -1u);
		return NULL;
	}
	w->cpu = &vcpu->cpu;
	w->soft = vcpu->engine;
	w->arena = (u64)arena;
	w->vmas_max = most_vmas() / 2;
	w->processors = host_cpu_count();
	return w;
}

void window_create(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;
	u64 guard = (u64)&vcpu->cpu + (u64)GS_BIAS;
	enum mode mode = configured();
	struct windows *w;

	if (!soft->jit || !soft->jit->rorx || !vcpu->guard || mode == MODE_OFF || (mode == MODE_AUTO && !host_alias_any()))
		return;
	w = make(vcpu);
	if (!w)
		return;
	w->table = (u64 *)(guard + WINDOW_TABLE_USER);
	w->file = host_alias_any_file();
	w->no_twins = w->file < 0 || soft->lockstep || !direct_configured(&w->direct_always);
	w->ask = mode != MODE_AUTO;
	w->always = mode == MODE_FORCE;
	w->detour = (struct host_fault_detour){
		.code = (u64)soft->jit->region.exec, .code_size = soft->jit->region.size,
		.area = { { w->arena, WINDOW_ARENA }, { guard, WINDOW_GUARD } },
		.pc = &vcpu->cpu.window_pc, .flags = &vcpu->cpu.window_flags,
	};
	soft->windows = w;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		start_space(w, &w->space[n], 0);
	soft->direct = current(w)->direct;
	vcpu->cpu.user_key = w->always ? BLOCK_KEY_WINDOWS : 0;
}

void window_release(struct soft_vcpu *soft)
{
	if (soft->windows)
		direct_destroy_spare(soft->windows);
}

void window_destroy(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w)
		return;
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		w->space[n].open = false;
	window_drop_all(soft);
	if (!w->broken)
		sys_munmap((void *)w->arena, WINDOW_ARENA);
	host_free_pages(w, sizeof(*w));
	atomic_add(&arenas, -1u);
	soft->windows = NULL;
}
