/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of native execution: stubs and their descriptions. */
#ifndef ANYKVM_ENGINE_SOFT_NATIVE_OP_H
#define ANYKVM_ENGINE_SOFT_NATIVE_OP_H

#include "engine/soft/native.h"
#include "engine/soft/rename.h"
#include "x86/fpu.h"
#include "x86/mem.h"
#include "x86/system.h"

/*
 * A stub: the instruction with its memory operand at [rdi] and its integer register, if it reads one, in
 * rdx (flags too), if it writes one, in rax. Written flags come back in rax as LAHF and SETO al leave them.
 */
typedef u64 native_code(void *mem, struct x86_cpu *cpu, u64 in);

enum native_in { NATIVE_IN_NONE, NATIVE_IN_GPR, NATIVE_IN_FLAGS };
enum native_out { NATIVE_OUT_NONE, NATIVE_OUT_GPR, NATIVE_OUT_FLAGS };

/* native_traits.flags */
#define NATIVE_X87	BIT(0)	/* x87: error pointers */
#define NATIVE_X87_PTR	BIT(1)	/* sets FIP and FOP (and FDP with a memory operand) */
#define NATIVE_RETRACK	BIT(2)	/* loads FCW: cpu->fpu_unmasked must be computed anew */
#define NATIVE_SIMD_FP	BIT(3)
#define NATIVE_WAIT	BIT(4)	/* reports pending x87 exceptions */
#define NATIVE_ALIGN_SSE BIT(5)	/* alignment is waived by MXCSR.MM */
#define NATIVE_DI	BIT(6)	/* memory operand at [rDI] */
#define NATIVE_SUMS	BIT(7)	/* multiplies, and then adds (DPPS, DPPD) */

/* What handlers need to know of an instruction; a function of its normalised encoding. */
struct native_traits {
	u32 cr0_clear, cr4_set, xcr0_set; /* the state is enabled if these bits are ... */
	u16 cc_written;
	u8 min_mode;	/* ... and cpu->mode is at least this */
	u8 state;	/* enum x86_state, for the slow way */
	u8 unmasked;	/* X86_FPU_UNMASKED_*: of these it reports exceptions */
	u8 flags;	/* NATIVE_* */
	u8 mem_size;	/* 0: no memory operand */
	u8 mem_access;	/* X86_ACC_* */
	u8 align;	/* alignment mask: 0, 15, 31, 63 */
	u8 gpr;		/* operand index of the integer register */
	u8 gpr_size;
	u8 in, out;	/* enum native_in, native_out */
	u8 code_len;
};

struct native_op {
	native_code *code;	/* NULL if the handler needs none */
	x86_exec_fn *exec;
	struct native_op *next;	/* in its hash chain */
	u64 hash;
	struct native_traits t;
};

#define NATIVE_MAX_CODE 96

/* The description of insn for cpu's mode: shared, or cpu's own (*own) when the shared memory is full. */
const struct native_op *native_find(struct x86_cpu *cpu, const struct x86_insn *insn, bool *own);

/* Whether anything stands between op and its plain execution: state, pending or unmasked exceptions. */
static inline bool native_blocked(const struct x86_cpu *cpu, const struct native_op *op)
{
	const struct native_traits *t = &op->t;

	return (cpu->cr0 & t->cr0_clear) | (~cpu->cr4 & t->cr4_set) | (~cpu->xcr0 & t->xcr0_set) |
	       (cpu->fpu_unmasked & t->unmasked) | (cpu->mode < t->min_mode);
}

static inline u64 native_ea(const struct x86_cpu *cpu, const struct x86_insn *insn,
			    const struct native_op *op)
{
	u64 ea;

	if (likely(!(op->t.flags & NATIVE_DI)))
		return x86_ea(cpu, insn);
	ea = cpu->regs[X86_RDI];
	return insn->asize == 8 ? ea : ea & (insn->asize == 4 ? 0xffffffffull : 0xffffull);
}

/* Host address of the memory operand if the TLB has it, in one page, for this access; else NULL. */
static inline void *native_tlb(const struct x86_cpu *cpu, u64 gva, unsigned size, bool write)
{
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	u64 off = gva - (write ? e->tag_write : e->tag_read);

	return likely(off <= 4096 - size) ? (void *)(e->host + off) : NULL;
}

/* The integer side of a stub call. */
u64 native_input(const struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op);
void native_commit(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op, u64 out);

/*
 * FIP, FDP and the rest after an x87 instruction; ea: of its memory operand. On processors with
 * CPUID.7.0:EBX[6] the data pointer is that of the last instruction with an unmasked exception.
 */
static inline void native_x87_pointers(struct x86_cpu *cpu, const struct x86_insn *insn,
				       const struct native_op *op, u64 ea)
{
	u64 rip = cpu->regs[X86_REG_RIP] + insn->off;

	cpu->fpu_ip = cpu->code_bits == 64 ? rip : (u32)rip;
	cpu->fpu_cs = cpu->seg[X86_CS].selector;
	cpu->fpu_op = (u16)((insn->opcode & 7) << 8 | insn->modrm);
	if (!op->t.mem_size)
		return;
	if (unlikely(x86_fpu_host.fdp_exception_only) &&
	    !((cpu->fpu_unmasked & X86_FPU_UNMASKED_X87) && (x86_fpu_fsw() & X86_FSW_ES)))
		return;
	cpu->fpu_dp = ea;
	cpu->fpu_ds = cpu->seg[insn->seg].selector;
}

/* Everything, at leisure: state checks, any memory, unmasked exceptions. (native_slow.c) */
enum x86_result native_slow(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op);
enum x86_result native_enabled(struct x86_cpu *cpu, const struct native_op *op);
/* Alignment of the memory operand: #GP(0). */
enum x86_result native_aligned(struct x86_cpu *cpu, const struct native_op *op, u64 gva);
/*
 * Runs the stub, reporting unmasked SIMD exceptions: X86_OK with *out, or X86_FAULT with registers as
 * before.
 */
enum x86_result native_run(struct x86_cpu *cpu, const struct native_op *op, void *mem, u64 in, u64 *out);

/* Handlers by operands (native.c). */
x86_exec_fn native_regs, native_load, native_store, native_any, native_x87;
/* Handlers for whole instructions. */
x86_exec_fn native_masked;			/* native_mask.c: masked memory operands */
x86_exec_fn native_gather, native_scatter;	/* native_vsib.c */
x86_exec_fn native_fnstenv, native_fldenv, native_fnsave, native_frstor, native_fninit, native_fnstsw_ax;

/* Single vector and mask registers to and from memory. (native_vector.c) */
int native_vector_init(void);
unsigned native_vector_width(void); /* of whole registers here: 16, 32 or 64 */
void native_vector_store(unsigned reg, void *to, unsigned size); /* size 16, 32, 64 */
void native_vector_load(unsigned reg, const void *from, unsigned size); /* zeroes what is above */
u64 native_mask_get(unsigned k);
void native_mask_set(unsigned k, u64 value);

#endif
