/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DIV and IDIV of 32 and 64 bits as themselves, where it is plain that the quotient fits: a host's #DE would be a signal
 * to the VMM. DIV: the dividend's upper half is below the divisor. IDIV: the upper half is the lower one's sign, as
 * compilers have it, and the divisor neither 0 nor -1. The handler decides all else.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

enum { IF_NOT_BELOW = 3, IF_NOT_ABOVE = 6 };

/* The host register with the divisor: JIT_A or the guest's own. */
static unsigned divisor(struct jit_block *t, const struct x86_insn *insn, unsigned size)
{
	if (insn->operand[0].kind != X86_OPD_MEM) {
		jit_risk_flags(t);
		return jit_get(t, insn->operand[0].reg, JIT_A);
	}
	emit_load(&t->e, size, JIT_A, jit_operand_b(t, insn, size, false));
	jit_risk_flags(t);
	return JIT_A;
}

static void check(struct jit_block *t, const struct x86_insn *insn, unsigned size, unsigned by)
{
	struct emit *e = &t->e;

	t->in_host = false;
	if (insn->op == X86_OP_DIV) {
		emit_alu(e, EMIT_CMP, size, X86_RDX, by);
		jit_slow_if(t, IF_NOT_BELOW);
		return;
	}
	emit_mov(e, 8, X86_RAX, JIT_AX);
	emit_shift(e, EMIT_SAR, size, X86_RAX, size * 8 - 1);
	emit_alu(e, EMIT_CMP, size, X86_RAX, X86_RDX);
	jit_slow_if(t, JIT_IF_NOT_EQUAL);
	emit_lea(e, size, X86_RAX, EMIT_MEM((u8)by, 1));
	emit_alu_imm(e, EMIT_CMP, size, X86_RAX, 1);
	jit_slow_if(t, IF_NOT_ABOVE);
}

bool jit_divide(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size, by;

	if ((insn->op != X86_OP_DIV && insn->op != X86_OP_IDIV) || size < 4 || !insn->has_modrm ||
	    (insn->operand[0].kind == X86_OPD_MEM && !jit_ea_possible(insn)))
		return false;
	by = divisor(t, insn, size);
	check(t, insn, size, by);
	jit_load_flags(t); /* what it leaves undefined may depend on them */
	emit_mov(&t->e, 8, X86_RAX, JIT_AX);
	emit_op_reg(&t->e, size, 0xf7, insn->op == X86_OP_DIV ? 6 : 7, by);
	emit_mov(&t->e, 8, JIT_AX, X86_RAX);
	jit_wrote_flags(t, insn);
	return true;
}
