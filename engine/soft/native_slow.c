/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of an instruction that cannot just run: state that is not enabled, pending or unmasked
 * exceptions, memory that the TLB does not have, crosses a page or is a device's.
 *
 * Order of checks, as in the processor: #UD and #NM by state, pending #MF, segment (#SS, #GP), alignment
 * (#GP), page; then the instruction runs, with a bounce buffer where there is no plain memory, and an
 * unmasked SIMD exception undoes it.
 */
#include "engine/soft/native_op.h"

struct bounce {
	u64 gva, ea;
	void *host; /* what the stub gets: guest memory, or data */
	bool direct;
	u8 data[64] __attribute__((aligned(64)));
};

enum x86_result native_enabled(struct x86_cpu *cpu, const struct native_op *op)
{
	enum x86_result r = x86_fpu_check(cpu, op->t.state);

	if (r == X86_OK && (op->t.flags & NATIVE_WAIT))
		r = x86_fpu_wait(cpu);
	return r;
}

enum x86_result native_aligned(struct x86_cpu *cpu, const struct native_op *op, u64 gva)
{
	if (likely(!(gva & op->t.align)))
		return X86_OK;
	if ((op->t.flags & NATIVE_ALIGN_SSE) && (x86_fpu_mxcsr() & X86_MXCSR_MM))
		return X86_OK;
	return x86_raise(cpu, X86_GP, 0);
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static enum x86_result bounce_in(struct x86_cpu *cpu, const struct native_op *op, struct bounce *b)
{
	unsigned size = op->t.mem_size;

	if (!(op->t.mem_access & X86_ACC_W))
		return cpu->mem->read(cpu, b->gva, b->data, size, X86_ACCESS_READ);
	if (op->t.mem_access & X86_ACC_R)
		return cpu->mem->read(cpu, b->gva, b->data, size, X86_ACCESS_WRITE | X86_ACCESS_RMW);
	return cpu->mem->write(cpu, b->gva, b->data, size, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
}

static enum x86_result memory_begin(struct x86_cpu *cpu, const struct x86_insn *insn,
				    const struct native_op *op, struct bounce *b)
{
	unsigned access = op->t.mem_access & X86_ACC_W ? X86_ACCESS_WRITE : X86_ACCESS_READ;
	enum x86_result r;

	b->host = NULL;
	b->ea = 0;
	b->direct = true;
	if (!op->t.mem_size)
		return X86_OK;
	b->ea = native_ea(cpu, insn, op);
	r = x86_linear(cpu, insn->seg, b->ea, op->t.mem_size, access, &b->gva);
	if (r == X86_OK)
		r = native_aligned(cpu, op, b->gva);
	/* A store that an unmasked exception may call off must not be seen before that is known. */
	if (r == X86_OK && !(access && (cpu->fpu_unmasked & op->t.unmasked & X86_FPU_UNMASKED_SIMD)))
		r = cpu->mem->pin(cpu, b->gva, op->t.mem_size, access, &b->host);
	if (r || b->host)
		return r;
	b->direct = false;
	b->host = b->data;
	return bounce_in(cpu, op, b);
}

/*
 * Whether an x87 store that has left an exception pending was made. Invalid operation, overflow, underflow
 * and so on keep the destination, precision does not (SDM vol. 1, 8.5). What was pending before would have
 * been #MF.
 */
static bool x87_stored(const struct x86_cpu *cpu)
{
	u16 fsw;

	if (!(cpu->fpu_unmasked & X86_FPU_UNMASKED_X87))
		return true;
	fsw = x86_fpu_fsw();
	return !(fsw & X86_FSW_ES) || !(fsw & ~x86_fpu_fcw() & 0x1f);
}

static enum x86_result memory_end(struct x86_cpu *cpu, const struct native_op *op, struct bounce *b)
{
	if (b->direct || !(op->t.mem_access & X86_ACC_W))
		return X86_OK;
	if ((op->t.flags & NATIVE_X87_PTR) && !x87_stored(cpu))
		return X86_OK;
	return cpu->mem->write(cpu, b->gva, b->data, op->t.mem_size, X86_ACCESS_WRITE);
}

/* ---- unmasked SIMD exceptions ------------------------------------------------------------------------ */

/* Runs with all exceptions masked and no flag set; returns the flags that it raised. */
static u32 run_masked(struct x86_cpu *cpu, const struct native_op *op, void *mem, u64 in, u64 *out, u32 mxcsr)
{
	x86_fpu_set_mxcsr((mxcsr | X86_MXCSR_MASKS) & ~X86_MXCSR_FLAGS);
	*out = op->code(mem, cpu, in);
	return x86_fpu_mxcsr() & X86_MXCSR_FLAGS;
}

#define EXC_PRE 0x07u /* invalid, denormal, zero divide: found before computing */
#define EXC_DE 0x02u
#define EXC_UE 0x10u
#define EXC_PE 0x20u

/*
 * DPPS raises what its products do, and then, with those as operands, what its sums do. flags: of both. A product is no
 * denormal with FTZ, so a denormal found nevertheless is an operand of its own; else rounding comes first.
 */
static u32 of_products(struct x86_cpu *cpu, const struct native_op *op, void *mem, u64 in, u32 mxcsr, u32 flags)
{
	u32 rounding = flags & ~EXC_PRE;
	u64 out;

	if (!(flags & EXC_DE) || !(rounding & ~(mxcsr >> 7)))
		return flags;
	if (run_masked(cpu, op, mem, in, &out, mxcsr | X86_MXCSR_FTZ) & EXC_DE)
		return flags;
	return rounding;
}

/*
 * SDM vol. 1, 11.5: exceptions found before the computation, of all elements, come first; when one of them
 * is unmasked the later ones are not even looked for. Underflow differs masked and unmasked: masked it
 * means tiny and inexact, unmasked tiny alone. FTZ makes the masked kind report every tiny result, and its
 * results are only looked at when there was none. Then a second run without FTZ tells whether the result
 * was inexact too. (Left out: a tiny or overflowing result that only the exponent's range made inexact has
 * PE set here and not by the processor.)
 */
enum x86_result native_run(struct x86_cpu *cpu, const struct native_op *op, void *mem, u64 in, u64 *out)
{
	u32 mxcsr, run_mxcsr, flags, raised;
	struct x86_xsave *before;

	if (likely(!(cpu->fpu_unmasked & op->t.unmasked & X86_FPU_UNMASKED_SIMD))) {
		*out = op->code(mem, cpu, in);
		return X86_OK;
	}
	mxcsr = x86_fpu_mxcsr();
	before = x86_fpu_scratch(cpu, 0);
	x86_fpu_save(before);
	run_mxcsr = mxcsr & X86_MXCSR_UM ? mxcsr : mxcsr | X86_MXCSR_FTZ;
	flags = run_masked(cpu, op, mem, in, out, run_mxcsr);
	raised = flags & ~(mxcsr >> 7);
	if (!raised) {
		x86_fpu_set_mxcsr(mxcsr | flags);
		return X86_OK;
	}
	x86_fpu_load(before);
	if (op->t.flags & NATIVE_SUMS) {
		flags = of_products(cpu, op, mem, in, mxcsr, flags);
		raised = flags & ~(mxcsr >> 7);
		x86_fpu_load(before);
	}
	if (raised & EXC_PRE) {
		flags &= EXC_PRE;
	} else if (raised & EXC_UE) {
		flags &= ~EXC_PE;
		flags |= run_masked(cpu, op, mem, in, out, mxcsr & ~X86_MXCSR_FTZ) & EXC_PE;
		x86_fpu_load(before);
	}
	x86_fpu_set_mxcsr(mxcsr | flags);
	return x86_raise(cpu, cpu->cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD, 0);
}

/* ---- the whole --------------------------------------------------------------------------------------- */

enum x86_result native_slow(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	struct bounce b;
	enum x86_result r = native_enabled(cpu, op);
	u64 out;

	if (r == X86_OK)
		r = memory_begin(cpu, insn, op, &b);
	if (r == X86_OK)
		r = native_run(cpu, op, b.host, native_input(cpu, insn, op), &out);
	if (r == X86_OK)
		r = memory_end(cpu, op, &b);
	if (r)
		return r;
	native_commit(cpu, insn, op, out);
	if (op->t.flags & NATIVE_X87_PTR)
		native_x87_pointers(cpu, insn, op, b.ea);
	if (op->t.flags & NATIVE_RETRACK)
		x86_fpu_track(cpu);
	return X86_OK;
}
