/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * REP MOVS and REP STOS within a page: the host's own, on host memory, with rSI and rDI moved there and back. Across pages,
 * backwards, with other address sizes and where the TLB misses: the handler.
 *
 * If the host faults in the middle, rCX says what is left, and jit_string_fault() moves rSI and rDI back, by JIT_A and
 * cpu->code_temp[0].
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

enum { IF_NOT_ZERO = 5 };

/* JIT_B: from the linear address in reg to the host's; the handler unless rCX elements from there are in its page. */
static void distance(struct jit_block *t, unsigned reg, unsigned size, bool write)
{
	struct emit *e = &t->e;

	emit_mov(e, 8, JIT_A, reg);
	emit_mov(e, 4, JIT_B, reg);
	emit_shift(e, EMIT_SHR, 4, JIT_B, 12 - 5);
	emit_alu_imm(e, EMIT_AND, 4, JIT_B, (X86_TLB_SIZE - 1) << 5);
	emit_alu_load(e, EMIT_ADD, 8, JIT_B, JIT_FIELD(tlb));
	emit_alu_load(e, EMIT_SUB, 8, JIT_A,
		      EMIT_MEM(JIT_B, (s32)(write ? offsetof(struct x86_tlb_entry, tag_write) :
						    offsetof(struct x86_tlb_entry, tag_read))));
	emit_alu_imm(e, EMIT_CMP, 8, JIT_A, 4095);
	jit_slow_if(t, JIT_IF_ABOVE);
	emit_alu_imm(e, EMIT_XOR, 8, JIT_A, -1);
	emit_alu_imm(e, EMIT_ADD, 8, JIT_A, 4097); /* 4096 - offset */
	if (size > 1)
		emit_shift(e, EMIT_SHR, 8, JIT_A, (unsigned)__builtin_ctz(size));
	emit_alu(e, EMIT_CMP, 8, X86_RCX, JIT_A);
	jit_slow_if(t, JIT_IF_ABOVE);
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_B, offsetof(struct x86_tlb_entry, host)));
	emit_mov(e, 8, JIT_A, reg);
	emit_alu_imm(e, EMIT_AND, 8, JIT_A, -4096);
	emit_alu(e, EMIT_SUB, 8, JIT_B, JIT_A);
}

static void rep(struct emit *e, unsigned size, u8 opcode)
{
	if (size == 2)
		emit8(e, 0x66);
	emit8(e, 0xf3);
	if (size == 8)
		emit8(e, 0x48);
	emit8(e, size == 1 ? opcode : opcode + 1);
}

static void stos(struct jit_block *t, unsigned size)
{
	struct emit *e = &t->e;

	distance(t, X86_RDI, size, true);
	emit_mov(e, 8, JIT_A, JIT_B);
	emit_alu(e, EMIT_ADD, 8, X86_RDI, JIT_A);
	emit_mov(e, 8, X86_RAX, JIT_AX);
	rep(e, size, 0xaa);
	emit_alu(e, EMIT_SUB, 8, X86_RDI, JIT_A);
}

static void movs(struct jit_block *t, unsigned size)
{
	struct emit *e = &t->e;

	distance(t, X86_RSI, size, false);
	emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
	distance(t, X86_RDI, size, true);
	emit_mov(e, 8, JIT_A, JIT_B);
	emit_alu(e, EMIT_ADD, 8, X86_RDI, JIT_A);
	emit_alu_load(e, EMIT_ADD, 8, X86_RSI, JIT_FIELD(code_temp[0]));
	rep(e, size, 0xa4);
	emit_alu(e, EMIT_SUB, 8, X86_RDI, JIT_A);
	emit_alu_load(e, EMIT_SUB, 8, X86_RSI, JIT_FIELD(code_temp[0]));
}

static bool possible(const struct x86_insn *insn)
{
	return (insn->op == X86_OP_STOS || (insn->op == X86_OP_MOVS && insn->seg < X86_FS)) && insn->asize == 8 &&
	       (insn->prefix & (X86_PFX_REP | X86_PFX_REPNE));
}

bool jit_string(struct jit_block *t, const struct x86_insn *insn)
{
	if (!possible(insn))
		return false;
	jit_save_flags(t);
	t->in_host = false;
	emit_op_mem(&t->e, 4, 0xf7, 0, JIT_FIELD(rflags)); /* test */
	emit32(&t->e, X86_DF);
	jit_slow_if(t, IF_NOT_ZERO);
	if (insn->op == X86_OP_STOS)
		stos(t, insn->osize);
	else
		movs(t, insn->osize);
	return true;
}

void jit_string_fault(struct x86_cpu *cpu, const struct x86_insn *insn, const u64 gpr[16])
{
	if (!possible(insn))
		return;
	cpu->regs[X86_RDI] -= gpr[JIT_A];
	if (insn->op == X86_OP_MOVS)
		cpu->regs[X86_RSI] -= cpu->code_temp[0];
}
