/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Executing one vector, MMX or x87 instruction: the handlers that insn->exec is set to.
 *
 * Each does the same: look whether anything is in the way (one test, native_blocked), find the memory
 * operand in the TLB, call the stub. Whatever does not go this way goes to native_slow(), which has changed
 * nothing yet.
 */
#include "engine/soft/native_op.h"
#include "x86/opcodes.h"

/* The flags that LAHF and SETO have left in ax. */
static u32 flags_from(u64 ax)
{
	return ((u32)(ax >> 8) & (X86_SF | X86_ZF | X86_AF | X86_PF | X86_CF)) | ((ax & 1) ? X86_OF : 0);
}

u64 native_input(const struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	if (op->t.in == NATIVE_IN_GPR)
		return cpu->regs[insn->operand[op->t.gpr].reg];
	return cpu->cc;
}

void native_commit(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op, u64 out)
{
	if (op->t.out == NATIVE_OUT_GPR)
		cpu->regs[insn->operand[op->t.gpr].reg] = op->t.gpr_size == 8 ? out : (u32)out;
	else if (op->t.out == NATIVE_OUT_FLAGS)
		cpu->cc = (cpu->cc & ~(u32)op->t.cc_written) | (flags_from(out) & op->t.cc_written);
}

/* ---- handlers ---------------------------------------------------------------------------------------- */

/* Registers alone. */
enum x86_result native_regs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct native_op *op = insn->native;

	if (unlikely(native_blocked(cpu, op)))
		return native_slow(cpu, insn, op);
	op->code(NULL, cpu, 0);
	return X86_OK;
}

static inline enum x86_result with_memory(struct x86_cpu *cpu, const struct x86_insn *insn, bool write)
{
	const struct native_op *op = insn->native;
	enum x86_result r;
	void *host;
	u64 gva;

	if (unlikely(native_blocked(cpu, op)))
		return native_slow(cpu, insn, op);
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), op->t.mem_size,
		       write ? X86_ACCESS_WRITE : X86_ACCESS_READ, &gva);
	if (unlikely(r))
		return r;
	host = native_tlb(cpu, gva, op->t.mem_size, write);
	if (unlikely(!host || (gva & op->t.align)))
		return native_slow(cpu, insn, op);
	op->code(host, cpu, 0);
	return X86_OK;
}

/* A memory source, no integer registers or flags. */
enum x86_result native_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return with_memory(cpu, insn, false);
}

/* A memory destination likewise. */
enum x86_result native_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return with_memory(cpu, insn, true);
}

/* The memory operand, if any, by the TLB: false when it is not that simple. */
static inline bool fast_operand(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op,
				u64 *ea, void **host)
{
	bool write = op->t.mem_access & X86_ACC_W;
	u64 gva;

	*ea = x86_ea(cpu, insn);
	if (x86_linear(cpu, insn->seg, *ea, op->t.mem_size, write ? X86_ACCESS_WRITE : X86_ACCESS_READ, &gva))
		return false;
	*host = native_tlb(cpu, gva, op->t.mem_size, write);
	return *host && !(gva & op->t.align) && op->t.mem_access != (X86_ACC_R | X86_ACC_W);
}

/* Integer registers or flags, with or without memory. */
enum x86_result native_any(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct native_op *op = insn->native;
	void *host = NULL;
	u64 ea;

	if (unlikely(native_blocked(cpu, op)) || (op->t.mem_size && !fast_operand(cpu, insn, op, &ea, &host)))
		return native_slow(cpu, insn, op);
	native_commit(cpu, insn, op, op->code(host, cpu, native_input(cpu, insn, op)));
	return X86_OK;
}

/* x87 computation: as above, and the error pointers. */
enum x86_result native_x87(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct native_op *op = insn->native;
	void *host = NULL;
	u64 ea = 0, out;

	if (unlikely(native_blocked(cpu, op)) || (op->t.mem_size && !fast_operand(cpu, insn, op, &ea, &host)))
		return native_slow(cpu, insn, op);
	out = op->code(host, cpu, cpu->cc);
	if (op->t.out != NATIVE_OUT_NONE)
		native_commit(cpu, insn, op, out);
	if (likely(op->t.flags & NATIVE_X87_PTR))
		native_x87_pointers(cpu, insn, op, ea);
	else if (op->t.flags & NATIVE_RETRACK)
		x86_fpu_track(cpu);
	return X86_OK;
}

/*
 * The first execution. Blocks may be shared by vCPUs: the description is in place before the handler that
 * needs it, and whoever still comes here meanwhile writes the same.
 */
enum x86_result native_exec(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_insn *cached = (struct x86_insn *)insn, alone;
	const struct native_op *op;
	bool own;

	op = native_find(cpu, insn, &own);
	if (!op)
		return x86_raise(cpu, X86_UD, 0);
	if (unlikely(own)) {
		x86_fpu_copy(&alone, insn, sizeof(alone));
		alone.native = (void *)op;
		return op->exec(cpu, &alone);
	}
	atomic_set_release(&cached->native, (void *)op);
	atomic_set_release(&cached->exec, op->exec);
	return op->exec(cpu, insn);
}

void native_prepare(struct x86_cpu *cpu, struct x86_insn *insn)
{
	const struct native_op *op;
	bool own;

	if (insn->exec != native_exec)
		return;
	op = native_find(cpu, insn, &own);
	if (!op || own)
		return;
	atomic_set_release(&insn->native, (void *)op);
	atomic_set_release(&insn->exec, op->exec);
}
