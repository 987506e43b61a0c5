/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults in our own code: SIGSEGV, SIGBUS, SIGFPE and SIGILL raised by an instruction of this thread.
 *
 * Three services, tried in this order:
 *  - the detour: generated code that reaches for addresses that are reserved for it, where nothing may be (yet);
 *  - the fixup table: an instruction range that knows where to go on (HOST_FIXUP below);
 *  - the guard: a place in an enclosing C function to unwind to, for code that reaches guest memory
 *    through plain pointers, compiled or generated.
 * Everything else is the program's (host/user/signals.h).
 */
#ifndef ANYKVM_HOST_USER_FAULT_H
#define ANYKVM_HOST_USER_FAULT_H

#include "host/user/sys.h"

/*
 * In an asm statement after the instructions between local labels `from` and `to` (exclusive): a
 * SIGSEGV or SIGBUS raised there continues at `at`, all registers as they were.
 */
#define HOST_FIXUP(from, to, at)                        \
	".pushsection host_fixups, \"a\", @progbits\n\t" \
	".balign 4\n\t"                                 \
	".long " #from " - ., " #to " - ., " #at " - .\n\t" \
	".popsection\n\t"

enum host_gpr {
	HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_RSP, HOST_RBP, HOST_RSI, HOST_RDI,
	HOST_R8, HOST_R9, HOST_R10, HOST_R11, HOST_R12, HOST_R13, HOST_R14, HOST_R15,
	HOST_GPRS
};

/*
 * A SIGSEGV or SIGBUS raised by an instruction of [code, code + code_size) that accesses one of the areas, or what is no
 * address at all (#GP), continues at `to`, all registers as they were but for RIP; *pc and *flags get where, and RFLAGS.
 */
#define HOST_DETOUR_AREAS 2
struct host_fault_detour {
	u64 code, code_size;
	struct {
		u64 start, size;
	} area[HOST_DETOUR_AREAS];
	u64 to;
	u64 *pc, *flags;
};

/* This thread's; NULL: none. */
extern HOST_PER_THREAD const struct host_fault_detour *host_fault_detour;

/* Where to unwind to, and after a fault what happened. Lives in the guarding function's frame. */
struct host_fault_frame {
	/* Written by host_fault_guard(); the order is known to its assembly. */
	u64 rbx, rbp, r12, r13, r14, r15, rsp, rip;
	struct host_fault_frame *outer;
	/* Valid when host_fault_guard() has returned non-zero. */
	int signo;	/* SIGSEGV, SIGBUS, SIGFPE, SIGILL */
	int code;	/* si_code: SEGV_MAPERR, BUS_ADRERR, FPE_INTDIV... */
	u64 addr;	/* the host address that faulted (si_addr); 0 for a #GP */
	u64 pc;		/* of the faulting instruction */
	u64 flags;	/* its RFLAGS */
	u64 trap;	/* the processor's exception vector: 14 for #PF */
	u64 error;	/* its error code: for #PF, bit 1 says write */
	u64 gpr[HOST_GPRS]; /* as they were at pc, in the processor's numbering */
};

/*
 * Arms f on this thread and returns 0; returns a second time, with the signal number, when a fault
 * hits while f is the innermost armed guard. By then f is disarmed. x87/SSE/AVX registers are as
 * they were at the faulting instruction. Nests. The function must not return with f armed.
 *
 * As with setjmp, locals of the caller that change in between and are used after the second return
 * must be volatile. [run]; some 10 instructions.
 */
int host_fault_guard(struct host_fault_frame *f) __attribute__((returns_twice));

extern HOST_PER_THREAD struct host_fault_frame *host_fault_innermost;

static inline void host_fault_disarm(struct host_fault_frame *f)
{
	__asm__ volatile("" : : : "memory"); /* what f guards happens before this */
	host_fault_innermost = f->outer;
}

/* For the signal handler: whether the fault was ours and context has been redirected. */
bool host_fault_handle(int sig, int code, u64 addr, void *ucontext);

#endif
