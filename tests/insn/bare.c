// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bare CPU's side. A signal frame is the way in and out: INT3 raises SIGTRAP, the handler exchanges the
 * registers in the frame for the sample's, sigreturn loads them all at once; the sample ends with an
 * exception whatever it does, and the next handler takes the state from its frame and puts the old one back.
 * CS comes from the frame too, so 32-bit code needs nothing more. (Linux: arch/x86/kernel/signal.c, struct
 * sigcontext, struct _fpx_sw_bytes.)
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <asm/ldt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/insn/insn.h"

#define SW_BYTES	464	/* in the FXSAVE image: what the kernel says of the frame's format */
#define SW_BYTES_END	512

static const struct sample *sample;
static struct outcome *outcome;
static enum { IDLE, ENTER, INSIDE } phase;
static gregset_t saved_gregs;
static u8 saved_fp[XSAVE_SIZE];
static unsigned fp_size;

static const int greg[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void copy_fp(u8 *to, const u8 *from, unsigned size)
{
	memcpy(to, from, SW_BYTES);
	memcpy(to + SW_BYTES_END, from + SW_BYTES_END, size - SW_BYTES_END);
}

static u16 stack_selector(unsigned mode)
{
	return mode == 16 ? SEL_DATA16 : SEL_DATA;
}

static void enter(ucontext_t *uc)
{
	u8 *fp = (u8 *)uc->uc_mcontext.fpregs;
	const struct state *st = &sample->state;

	memcpy(&fp_size, fp + SW_BYTES + 16, 4); /* _fpx_sw_bytes.xstate_size */
	if (fp_size > XSAVE_SIZE)
		fp_size = XSAVE_SIZE;
	memcpy(saved_gregs, uc->uc_mcontext.gregs, sizeof(gregset_t));
	memcpy(saved_fp, fp, fp_size);
	for (unsigned i = 0; i < 16; i++)
		uc->uc_mcontext.gregs[greg[i]] = (long long)st->gpr[i];
	uc->uc_mcontext.gregs[REG_RIP] = (long long)st->rip;
	uc->uc_mcontext.gregs[REG_EFL] = (long long)st->rflags;
	uc->uc_mcontext.gregs[REG_CSGSFS] = (uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffffffff0000ll) | st->cs |
					    (long long)stack_selector(sample->mode) << 48;
	copy_fp(fp, st->xsave, fp_size);
	phase = INSIDE;
}

static void leave(ucontext_t *uc)
{
	u8 *fp = (u8 *)uc->uc_mcontext.fpregs;
	struct state *st = &outcome->state;

	for (unsigned i = 0; i < 16; i++)
		st->gpr[i] = (u64)uc->uc_mcontext.gregs[greg[i]];
	st->rip = (u64)uc->uc_mcontext.gregs[REG_RIP];
	st->rflags = (u64)uc->uc_mcontext.gregs[REG_EFL];
	st->cs = (u16)uc->uc_mcontext.gregs[REG_CSGSFS];
	memset(st->xsave, 0, sizeof(st->xsave));
	copy_fp(st->xsave, fp, fp_size);
	outcome->vector = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
	outcome->error = (u32)uc->uc_mcontext.gregs[REG_ERR];
	outcome->cr2 = (u64)uc->uc_mcontext.gregs[REG_CR2];
	memcpy(uc->uc_mcontext.gregs, saved_gregs, sizeof(gregset_t));
	memcpy(fp, saved_fp, fp_size);
	phase = IDLE;
}

/* The engine's own handlers: it has translated code run into unmapped memory. */
static struct sigaction engines[NSIG];

static void handler(int sig, siginfo_t *info, void *context)
{
	/* The kernel keeps EFLAGS.AC, and library code is not aligned. */
	asm volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "cc", "memory");
	if (phase == ENTER) {
		enter(context);
	} else if (phase == INSIDE) {
		leave(context);
	} else if (engines[sig].sa_flags & SA_SIGINFO) {
		engines[sig].sa_sigaction(sig, info, context);
	} else {
		const ucontext_t *uc = context;

		fprintf(stderr, "signal %d at %#llx (%#llx) outside a sample, the last was\n", sig,
			uc->uc_mcontext.gregs[REG_RIP], uc->uc_mcontext.gregs[REG_CR2]);
		print_sample(stderr, sample);
		signal(sig, SIG_DFL);
	}
}

static void *map(u64 address, u64 size, int prot)
{
	void *p = mmap((void *)address, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)address) {
		perror("mmap");
		exit(2);
	}
	return p;
}

static void set_ldt(unsigned entry, u64 base, unsigned limit, bool code)
{
	struct user_desc d = {
		.entry_number = entry, .base_addr = (unsigned)base, .limit = limit, .contents = code ? 2 : 0,
	};

	if (syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) < 0)
		perror("modify_ldt (16-bit code will not run)");
}

void bare_setup(void)
{
	static const int signals[] = { SIGTRAP, SIGSEGV, SIGILL, SIGBUS, SIGFPE };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static u8 signal_stack[65536];
	const stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };

	sigaltstack(&stack, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, &engines[signals[i]]);
	map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
	*(volatile u8 *)map(READONLY, 4096, PROT_READ); /* present, so that the error code says so */
	set_ldt(SEL_CODE16 >> 3, CODE, LIMIT_CODE16, true);
	set_ldt(SEL_DATA16 >> 3, ARENA, LIMIT_DATA16, false);
	memset(map(CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC), 0xf4, CODE_SIZE);
}

/* 64-bit code cares for none of these, and nobody else uses GS. */
static void load_segments(unsigned mode)
{
	u32 data = stack_selector(mode);

	asm volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%gs" :: "r"(data), "r"(0));
	if (bare_has(X86_FEAT_FSGSBASE))
		asm volatile("wrgsbase %0" :: "r"(GS_BASE));
}

void bare_run(const struct sample *s, struct outcome *o)
{
	memcpy((void *)DATA, s->data, DATA_SIZE);
	place_code(s, (u8 *)s->rip);
	load_segments(s->mode);
	sample = s;
	outcome = o;
	phase = ENTER;
	asm volatile("int3" ::: "memory", "cc");
	remove_code(s, (u8 *)s->rip);
}

const u8 *bare_data(void)
{
	return (const u8 *)DATA;
}

u64 bare_xcr0(void)
{
	u32 eax, edx;

	asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax | (u64)edx << 32;
}

bool bare_has(enum x86_feature f)
{
	static const struct {
		u32 leaf, subleaf;
		u8 reg, bit;
	} where[X86_NR_FEATURES] = {
#define X(name, l, s, r, b) [X86_FEAT_##name] = { l, s, r, b },
		X86_FEATURES(X)
#undef X
	};
	u32 r[4];

	if (f == X86_FEAT_NONE)
		return true;
	if (!__get_cpuid_count(where[f].leaf, where[f].subleaf, &r[0], &r[1], &r[2], &r[3]))
		return false;
	return r[where[f].reg] >> where[f].bit & 1;
}
