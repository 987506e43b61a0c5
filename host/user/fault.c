/* SPDX-License-Identifier: GPL-2.0-only */
/* Faults in our own code: the detour, the fixup table and the guards. */
#define _GNU_SOURCE
#include <signal.h>
#include <ucontext.h>

#include "host/host.h"
#include "host/user/fault.h"

HOST_PER_THREAD struct host_fault_frame *host_fault_innermost;
HOST_PER_THREAD const struct host_fault_detour *host_fault_detour;

/* ---- guards ---------------------------------------------------------------------------------- */

_Static_assert(offsetof(struct host_fault_frame, rbx) == 0 && offsetof(struct host_fault_frame, rbp) == 8 &&
	       offsetof(struct host_fault_frame, r12) == 16 && offsetof(struct host_fault_frame, r15) == 40 &&
	       offsetof(struct host_fault_frame, rsp) == 48 && offsetof(struct host_fault_frame, rip) == 56 &&
	       offsetof(struct host_fault_frame, outer) == 64, "the layout that host_fault_guard writes");

/*
 * Saves what a function must preserve, the stack pointer as it will be after our return, and the
 * return address; then links the frame in. The second return comes from the signal handler, which
 * puts these registers and rax = signal number into the interrupted context.
 */
__asm__(".pushsection .text\n"
	".globl host_fault_guard\n"
	".hidden host_fault_guard\n"
	".type host_fault_guard, @function\n"
	"host_fault_guard:\n"
	"	.cfi_startproc\n"
	"	mov (%rsp), %rax\n"
	"	lea 8(%rsp), %rdx\n"
	"	mov %rbx, 0(%rdi)\n"
	"	mov %rbp, 8(%rdi)\n"
	"	mov %r12, 16(%rdi)\n"
	"	mov %r13, 24(%rdi)\n"
	"	mov %r14, 32(%rdi)\n"
	"	mov %r15, 40(%rdi)\n"
	"	mov %rdx, 48(%rdi)\n"
	"	mov %rax, 56(%rdi)\n"
	"	mov host_fault_innermost@gottpoff(%rip), %rcx\n"
	"	mov %fs:(%rcx), %rax\n"
	"	mov %rax, 64(%rdi)\n"
	"	mov %rdi, %fs:(%rcx)\n"
	"	xor %eax, %eax\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size host_fault_guard, . - host_fault_guard\n"
	".popsection\n");

static const int gpr_index[HOST_GPRS] = {
	[HOST_RAX] = REG_RAX, [HOST_RCX] = REG_RCX, [HOST_RDX] = REG_RDX, [HOST_RBX] = REG_RBX,
	[HOST_RSP] = REG_RSP, [HOST_RBP] = REG_RBP, [HOST_RSI] = REG_RSI, [HOST_RDI] = REG_RDI,
	[HOST_R8] = REG_R8,   [HOST_R9] = REG_R9,   [HOST_R10] = REG_R10, [HOST_R11] = REG_R11,
	[HOST_R12] = REG_R12, [HOST_R13] = REG_R13, [HOST_R14] = REG_R14, [HOST_R15] = REG_R15,
};

static void frame_describe(struct host_fault_frame *f, int sig, int code, u64 addr, const greg_t *reg)
{
	f->signo = sig;
	f->code = code;
	f->addr = addr;
	f->pc = (u64)reg[REG_RIP];
	f->flags = (u64)reg[REG_EFL];
	f->trap = (u64)reg[REG_TRAPNO];
	f->error = (u64)reg[REG_ERR];
	for (int i = 0; i < HOST_GPRS; i++)
		f->gpr[i] = (u64)reg[gpr_index[i]];
}

#ifdef __SANITIZE_ADDRESS__
void __asan_unpoison_memory_region(const volatile void *p, size_t n);
#endif

/* The frames between the fault and the guard are never returned from: drop their poison. */
static void forget_frames(u64 from, u64 to)
{
#ifdef __SANITIZE_ADDRESS__
	if (from < to)
		__asan_unpoison_memory_region((void *)from, to - from);
#else
	(void)from;
	(void)to;
#endif
}

#define RFLAGS_DF 0x400

static void frame_resume(struct host_fault_frame *f, int sig, greg_t *reg)
{
	host_fault_innermost = f->outer;
	forget_frames((u64)reg[REG_RSP], f->rsp);
	reg[REG_RBX] = (greg_t)f->rbx;
	reg[REG_RBP] = (greg_t)f->rbp;
	reg[REG_R12] = (greg_t)f->r12;
	reg[REG_R13] = (greg_t)f->r13;
	reg[REG_R14] = (greg_t)f->r14;
	reg[REG_R15] = (greg_t)f->r15;
	reg[REG_RSP] = (greg_t)f->rsp;
	reg[REG_RIP] = (greg_t)f->rip;
	reg[REG_RAX] = sig;
	reg[REG_EFL] &= ~RFLAGS_DF; /* the ABI's promise at function boundaries */
}

/* ---- fixups ---------------------------------------------------------------------------------- */

/* Offsets relative to the field itself, so that the table needs no relocation. */
struct fixup {
	s32 from, to, at;
};

/* Named by the linker after the section. Never empty: copy.c has entries. */
extern const struct fixup __start_host_fixups[] __attribute__((visibility("hidden")));
extern const struct fixup __stop_host_fixups[] __attribute__((visibility("hidden")));

static u64 fixup_target(const s32 *offset)
{
	return (u64)(uintptr_t)offset + (u64)(s64)*offset;
}

static u64 fixup_find(u64 pc)
{
	for (const struct fixup *x = __start_host_fixups; x < __stop_host_fixups; x++)
		if (pc >= fixup_target(&x->from) && pc < fixup_target(&x->to))
			return fixup_target(&x->at);
	return 0;
}

/* ---- the detour ------------------------------------------------------------------------------ */

#define TRAP_GP 13

static bool reserved(const struct host_fault_detour *d, u64 addr, const greg_t *reg)
{
	bool is = reg[REG_TRAPNO] == TRAP_GP;

	for (unsigned i = 0; i < HOST_DETOUR_AREAS; i++)
		is |= addr - d->area[i].start < d->area[i].size;
	return is;
}

static bool detour_taken(u64 addr, greg_t *reg)
{
	const struct host_fault_detour *d = host_fault_detour;

	if (!d || (u64)reg[REG_RIP] - d->code >= d->code_size || !reserved(d, addr, reg))
		return false;
	*d->pc = (u64)reg[REG_RIP];
	*d->flags = (u64)reg[REG_EFL];
	reg[REG_RIP] = (greg_t)d->to;
	return true;
}

bool host_fault_handle(int sig, int code, u64 addr, void *ucontext)
{
	greg_t *reg = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	struct host_fault_frame *f = host_fault_innermost;
	bool access = sig == SIGSEGV || sig == SIGBUS;
	u64 at;

	if (access && detour_taken(addr, reg))
		return true;
	at = access ? fixup_find((u64)reg[REG_RIP]) : 0;
	if (at) {
		reg[REG_RIP] = (greg_t)at;
		return true;
	}
	if (!f)
		return false;
	frame_describe(f, sig, code, addr, reg);
	frame_resume(f, sig, reg);
	return true;
}
