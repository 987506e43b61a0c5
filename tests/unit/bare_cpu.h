/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One instruction twice: on the bare CPU of this machine, and as a guest's on a fake struct x86_cpu whose
 * linear addresses are this process's. So registers, flags, vector state and memory can be compared whole,
 * exceptions too: those that the bare CPU raises arrive as signals.
 */
#ifndef ANYKVM_TESTS_BARE_CPU_H
#define ANYKVM_TESTS_BARE_CPU_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmocka.h>

#include "engine/soft/native.h"
#include "tests/unit/random.h"
#include "x86/fpu.h"
#include "x86/mem.h"
#include "x86/system.h"

/* Low addresses, so that absolute and RIP-relative operands reach them. */
#define DATA ((u8 *)0x20000000)
#define DATA_SIZE 0x4000u	/* readable and writable; what is around it is not mapped */
#define CODE ((u8 *)0x20100000)

struct state {
	u64 gpr[16], rip, flags;
	union {
		struct x86_xsave xsave;
		u8 image[8192];
	} __attribute__((aligned(64)));
	int vector;	/* of the exception, or -1 */
	u64 cr2;
};

/* ---- the bare CPU ------------------------------------------------------------------------------------ */

struct bare_io {
	u64 gpr[16], flags, target, saved_rsp, mask;
	void *image;
};

extern struct bare_io bare_io;
struct bare_io bare_io;
static sigjmp_buf bare_trap;
static volatile int bare_vector;
static u64 bare_cr2;
static u8 bare_stack[1 << 16];
extern void bare_enter(void), bare_exit(void);

#define BARE_GPRS(M)                                                                                   \
	M(0, rax) M(1, rcx) M(2, rdx) M(3, rbx) M(5, rbp) M(6, rsi) M(7, rdi) M(8, r8) M(9, r9) M(10, r10) \
	M(11, r11) M(12, r12) M(13, r13) M(14, r14) M(15, r15)
#define BARE_LOAD(n, reg) "	mov bare_io+8*" #n "(%rip), %" #reg "\n"
#define BARE_STORE(n, reg) "	mov %" #reg ", bare_io+8*" #n "(%rip)\n"

__asm__("	.text\n"
	"	.globl bare_enter\n"
	"bare_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, bare_io+8*18(%rip)\n"
	"	mov bare_io+8*20(%rip), %rcx\n"
	"	mov bare_io+8*19(%rip), %eax\n"
	"	xor %edx, %edx\n"
	"	xrstor64 (%rcx)\n"
	"	push bare_io+8*16(%rip)\n"
	"	popfq\n" BARE_GPRS(BARE_LOAD)
	"	mov bare_io+8*4(%rip), %rsp\n"
	"	jmp *bare_io+8*17(%rip)\n"
	"	.globl bare_exit\n"
	"bare_exit:\n" BARE_GPRS(BARE_STORE)
	"	mov %rsp, bare_io+8*4(%rip)\n"
	"	mov bare_io+8*18(%rip), %rsp\n"
	"	pushfq\n"
	"	pop bare_io+8*16(%rip)\n"
	"	cld\n"
	"	mov bare_io+8*20(%rip), %rcx\n"
	"	mov bare_io+8*19(%rip), %eax\n"
	"	xor %edx, %edx\n"
	"	xsave64 (%rcx)\n"
	"	fninit\n"
	"	movl $0x1f80, -8(%rsp)\n"
	"	ldmxcsr -8(%rsp)\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

static void bare_signal(int sig, siginfo_t *info, void *context)
{
	static const int map[16] = {
		REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;

	(void)sig;
	for (int i = 0; i < 16; i++)
		bare_io.gpr[i] = (u64)m->gregs[map[i]];
	bare_io.flags = (u64)m->gregs[REG_EFL];
	bare_vector = (int)m->gregs[REG_TRAPNO];
	bare_cr2 = (u64)info->si_addr;
	memcpy(bare_io.image, m->fpregs, x86_fpu_host.size);
	siglongjmp(bare_trap, 1);
}

/* At the start of every test: cmocka puts its own handlers there before. */
static void bare_catch(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction sa = { .sa_sigaction = bare_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_sp = bare_stack, .ss_size = sizeof(bare_stack) };

	sigaltstack(&stack, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

static void bare_init(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	x86_fpu_probe();
	if (mmap(DATA, DATA_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0) != DATA ||
	    mmap(CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0) != CODE)
		abort();
}

/* Runs n bytes of code from CODE + 64 (where s->rip must be) to its end or its exception. */
static void bare_run(struct state *s, const u8 *code, unsigned n)
{
	static const u8 jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp [rip] */
	u64 back = (u64)bare_exit;

	memcpy(CODE + 64, code, n);
	memcpy(CODE + 64 + n, jump, sizeof(jump));
	memcpy(CODE + 64 + n + sizeof(jump), &back, 8);
	memcpy(bare_io.gpr, s->gpr, sizeof(s->gpr));
	bare_io.flags = s->flags;
	bare_io.target = s->rip;
	bare_io.mask = x86_fpu_host.live;
	bare_io.image = s->image;
	bare_vector = -1;
	if (!sigsetjmp(bare_trap, 1)) {
		bare_enter();
	} else {
		__asm__ volatile("fninit");
		x86_fpu_set_mxcsr(X86_MXCSR_RESET);
	}
	memcpy(s->gpr, bare_io.gpr, sizeof(s->gpr));
	s->flags = bare_io.flags & X86_FLAGS_STATUS;
	s->vector = bare_vector;
	s->cr2 = bare_cr2;
}

/* ---- the fake guest ---------------------------------------------------------------------------------- */

static struct x86_cpu cpu;
static struct {
	bool tlb;	/* fill the TLB */
	bool direct;	/* pin gives host pointers; else everything is "MMIO" in DATA */
	unsigned long reads, writes;
} fake;

static bool fake_mapped(u64 gva, unsigned size)
{
	return gva >= (u64)DATA && gva + size <= (u64)DATA + DATA_SIZE;
}

/* The first byte that is not there: what CR2 shows. */
static enum x86_result fake_fault(struct x86_cpu *c, u64 gva, unsigned access)
{
	while (fake_mapped(gva, 1))
		gva++;
	c->fault = (struct x86_exception){ .vector = X86_PF_VECTOR, .has_error = true, .payload = gva,
					   .error = access & X86_ACCESS_WRITE ? 6 : 4 };
	return X86_FAULT;
}

static enum x86_result fake_read(struct x86_cpu *c, u64 gva, void *dst, unsigned size, unsigned access)
{
	fake.reads++;
	if (size > 64)
		abort();
	if (!fake_mapped(gva, size))
		return fake_fault(c, gva, access);
	x86_fpu_copy(dst, (void *)gva, size);
	return X86_OK;
}

static enum x86_result fake_write(struct x86_cpu *c, u64 gva, const void *src, unsigned size, unsigned access)
{
	fake.writes++;
	if (size > 64 || !(access & X86_ACCESS_WRITE))
		abort();
	if (!fake_mapped(gva, size))
		return fake_fault(c, gva, access);
	if (!(access & X86_ACCESS_PROBE))
		x86_fpu_copy((void *)gva, src, size);
	return X86_OK;
}

static enum x86_result fake_pin(struct x86_cpu *c, u64 gva, unsigned size, unsigned access, void **host)
{
	*host = NULL;
	if ((gva & 4095) + size > 4096 || !fake.direct)
		return X86_OK;
	if (!fake_mapped(gva, size))
		return fake_fault(c, gva, access);
	*host = (void *)gva;
	return X86_OK;
}

static void fake_flush_page(struct x86_cpu *c, u64 gva)
{
	(void)c;
	(void)gva;
}

static void fake_flush_all(struct x86_cpu *c, bool keep_global)
{
	(void)c;
	(void)keep_global;
}

static const struct x86_mem_ops fake_mem = {
	.read = fake_read, .write = fake_write, .pin = fake_pin,
	.flush_page = fake_flush_page, .flush_all = fake_flush_all,
};

static void fake_tlb(bool on)
{
	for (unsigned i = 0; i < X86_TLB_SIZE; i++)
		cpu.tlb[i].tag_read = cpu.tlb[i].tag_write = (i + 1ull) << 12;
	for (u64 a = (u64)DATA; on && a < (u64)DATA + DATA_SIZE; a += 4096)
		cpu.tlb[a >> 12 & (X86_TLB_SIZE - 1)] =
			(struct x86_tlb_entry){ .tag_read = a, .tag_write = a, .host = a, .gpa = a };
}

/* A 64-bit guest at CPL 3 as this process is, with everything enabled. */
static void fake_init(void)
{
	cpu.mem = &fake_mem;
	cpu.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_MP;
	cpu.cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE | X86_CR4_PAE;
	cpu.efer = X86_EFER_LME | X86_EFER_LMA;
	cpu.xcr0 = x86_fpu_host_xcr0();
	cpu.cpl = 3;
	cpu.mode = X86_MODE_LONG;
	cpu.code_bits = 64;
	cpu.stack_size = 8;
	cpu.canonical_bits = 48;
	cpu.seg_flat = 0x3f;
	cpu.tlb = cpu.tlbs[X86_TLB_USER];
	for (unsigned i = 0; i < ARRAY_SIZE(cpu.features); i++)
		cpu.features[i] = ~0u;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		cpu.seg[i] = (struct x86_seg){ .limit = ~0u, .type = 3, .s = true, .present = true };
	cpu.seg[X86_CS].type = 11;
	cpu.seg[X86_CS].l = true;
	cpu.seg[X86_CS].selector = 0x33;
	fake.tlb = fake.direct = true;
	fake_tlb(true);
	if (native_init() || (!cpu.xsave && x86_fpu_create(&cpu)))
		abort();
}

static x86_exec_fn *state_group(unsigned op)
{
	switch (op) {
	case X86_OP_FXSAVE: return x86_exec_fxsave;
	case X86_OP_FXRSTOR: return x86_exec_fxrstor;
	case X86_OP_XSAVE: return x86_exec_xsave;
	case X86_OP_XSAVEC: return x86_exec_xsavec;
	case X86_OP_XSAVEOPT: return x86_exec_xsaveopt;
	case X86_OP_XSAVES: return x86_exec_xsaves;
	case X86_OP_XRSTOR: return x86_exec_xrstor;
	case X86_OP_XRSTORS: return x86_exec_xrstors;
	case X86_OP_LDMXCSR: return x86_exec_ldmxcsr;
	case X86_OP_STMXCSR: return x86_exec_stmxcsr;
	case X86_OP_FWAIT: return x86_exec_fwait;
	case X86_OP_EMMS: return x86_exec_emms;
	case X86_OP_NATIVE:
	case X86_OP_X87: return native_exec;
	}
	return NULL;
}

/* Decodes the instruction at offset off of the code at s->rip. */
static bool fake_decode(struct x86_insn *insn, const u8 *bytes, unsigned mode_bits)
{
	if (x86_decode(insn, bytes, 15, mode_bits) != X86_DECODE_OK)
		return false;
	insn->exec = state_group(insn->op);
	if (insn->base == X86_REG_RIP)
		insn->disp += insn->len;
	return insn->exec != NULL;
}

static void fake_load(const struct state *s)
{
	memcpy(cpu.regs, s->gpr, sizeof(s->gpr));
	cpu.regs[X86_REG_RIP] = s->rip;
	cpu.cc = s->flags & X86_FLAGS_STATUS;
	if (x86_fpu_set_xsave(&cpu, s->image, sizeof(s->image)))
		abort();
}

static void fake_store(struct state *s, enum x86_result r)
{
	memcpy(s->gpr, cpu.regs, sizeof(s->gpr));
	s->flags = cpu.cc;
	x86_fpu_get_xsave(&cpu, s->image, sizeof(s->image));
	s->vector = r == X86_FAULT ? cpu.fault.vector : -1;
	s->cr2 = cpu.fault.payload;
}

/* Nothing here may touch vector registers. */
static __attribute__((noinline)) enum x86_result fake_execute(struct x86_insn *insn, unsigned n)
{
	enum x86_result r = X86_OK;

	x86_fpu_enter(&cpu);
	for (unsigned i = 0; i < n && r == X86_OK; i++) {
		r = insn[i].exec(&cpu, &insn[i]);
		if (r == X86_OK)
			cpu.regs[X86_REG_RIP] += insn[i].len;
	}
	x86_fpu_leave(&cpu);
	return r;
}

static inline bool host_has(unsigned feature)
{
#define X(name, leaf, subleaf, reg, bit) [X86_FEAT_##name] = { leaf, subleaf, reg, bit },
	static const struct { u32 leaf, subleaf; u8 reg, bit; } where[] = { X86_FEATURES(X) };
#undef X
	u32 r[4], max;

	if (feature == X86_FEAT_NONE)
		return true;
	__asm__ volatile("cpuid" : "=a"(max), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(where[feature].leaf & 0x80000000), "c"(0));
	if (max < where[feature].leaf)
		return false;
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(where[feature].leaf), "c"(where[feature].subleaf));
	return r[where[feature].reg] >> where[feature].bit & 1;
}

#endif
