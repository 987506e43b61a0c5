/* SPDX-License-Identifier: GPL-2.0-only */
/* PUSH, POP and LEAVE. */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

static bool push(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = &insn->operand[0];
	struct emit *e = &t->e;

	if (o->kind != X86_OPD_REG && (o->kind != X86_OPD_IMM || insn->imm != (u64)(s32)insn->imm))
		return false;
	jit_save_flags(t);
	emit_lea(e, 8, JIT_A, EMIT_MEM(JIT_SP, -8));
	jit_probe(t, 8, true);
	if (o->kind == X86_OPD_IMM)
		emit_store_imm(e, 8, EMIT_MEM(JIT_A, 0), (s32)insn->imm);
	else
		emit_store(e, 8, EMIT_MEM(JIT_A, 0), jit_get(t, o->reg, JIT_B));
	emit_lea(e, 8, JIT_SP, EMIT_MEM(JIT_SP, -8));
	return true;
}

static bool pop(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = &insn->operand[0];
	struct emit *e = &t->e;
	unsigned host;

	if (o->kind != X86_OPD_REG)
		return false;
	jit_save_flags(t);
	emit_mov(e, 8, JIT_A, JIT_SP);
	jit_probe(t, 8, false);
	host = jit_host(o->reg);
	emit_load(e, 8, host == JIT_IN_MEMORY ? (unsigned)JIT_B : host, EMIT_MEM(JIT_A, 0));
	if (host == JIT_IN_MEMORY)
		emit_store(e, 8, JIT_REG(o->reg), JIT_B);
	if (host != JIT_SP)
		emit_lea(e, 8, JIT_SP, EMIT_MEM(JIT_SP, 8));
	return true;
}

static bool leave(struct jit_block *t)
{
	struct emit *e = &t->e;

	jit_save_flags(t);
	emit_mov(e, 8, JIT_A, X86_RBP);
	jit_probe(t, 8, false);
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_A, 0));
	emit_lea(e, 8, JIT_SP, EMIT_MEM(X86_RBP, 8));
	emit_mov(e, 8, X86_RBP, JIT_B);
	return true;
}

bool jit_stack(struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->osize != 8)
		return false;
	switch (insn->op) {
	case X86_OP_PUSH:
		return push(t, insn);
	case X86_OP_POP:
		return pop(t, insn);
	case X86_OP_LEAVE:
		return leave(t);
	default:
		return false;
	}
}
