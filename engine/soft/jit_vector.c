/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Vector instructions inline. Guest vector registers are in the host's; that the state is enabled and its
 * exceptions are masked is tested once, at the block's entry, for all vector instructions of the block. What
 * enables or disables state ends a block, and a handler that unmasks exceptions leaves it (x86_fpu_track()).
 *
 * x87: jit_x87.c. Left to the handlers: masked memory operands, gathers.
 */
#include "engine/soft/jit.h"
#include "engine/soft/native_op.h"
#include "x86/opcodes.h"

bool jit_vector_inline(const struct x86_insn *insn)
{
	if (insn->op != X86_OP_NATIVE)
		return false;
	return insn->exec == native_regs || insn->exec == native_load || insn->exec == native_store ||
	       insn->exec == native_any;
}

static const struct native_traits *traits(const struct x86_insn *insn)
{
	return &((const struct native_op *)insn->native)->t;
}

/* Declines unless all bits of mask are set in the word at m. */
static void demand(struct jit_block *t, struct emit_mem m, u32 mask)
{
	if (!mask)
		return;
	emit_load(&t->e, 4, JIT_A, m);
	emit_alu_imm(&t->e, EMIT_AND, 4, JIT_A, (s32)mask);
	emit_alu_imm(&t->e, EMIT_CMP, 4, JIT_A, (s32)mask);
	jit_refuse_if(t, JIT_IF_NOT_EQUAL, true);
}

static void forbid(struct jit_block *t, unsigned size, struct emit_mem m, u32 mask)
{
	if (!mask)
		return;
	emit_load(&t->e, size, JIT_A, m);
	emit_alu_imm(&t->e, EMIT_AND, 4, JIT_A, (s32)mask);
	jit_refuse_if(t, JIT_IF_NOT_EQUAL, true);
}

/* What must hold for a block's vector and x87 instructions to run inline. */
struct needs {
	u32 cr0_clear, cr4_set, xcr0_set, unmasked;
};

static void need(struct needs *n, u32 cr0_clear, u32 cr4_set, u32 xcr0_set, u32 unmasked)
{
	n->cr0_clear |= cr0_clear;
	n->cr4_set |= cr4_set;
	n->xcr0_set |= xcr0_set;
	n->unmasked |= unmasked;
}

static void add_needs(struct needs *n, const struct x86_insn *insn)
{
	bool vex = insn->prefix & X86_PFX_VEX;

	switch (insn->op) {
	case X86_OP_NATIVE:
	case X86_OP_X87:
		if (jit_vector_inline(insn) || jit_x87_inline(insn))
			need(n, traits(insn)->cr0_clear, traits(insn)->cr4_set, traits(insn)->xcr0_set,
			     traits(insn)->unmasked);
		break;
	case X86_OP_FWAIT:
		need(n, X86_CR0_TS, 0, 0, X86_FPU_UNMASKED_X87 | X86_FPU_AWAY);
		break;
	case X86_OP_EMMS:
		need(n, X86_CR0_TS | X86_CR0_EM, 0, 0, X86_FPU_UNMASKED_X87 | X86_FPU_AWAY);
		break;
	case X86_OP_LDMXCSR:
	case X86_OP_STMXCSR:
		need(n, X86_CR0_TS | (vex ? 0 : X86_CR0_EM), vex ? X86_CR4_OSXSAVE : X86_CR4_OSFXSR,
		     vex ? X86_XCR0_SSE | X86_XCR0_AVX : 0, X86_FPU_AWAY | (insn->op == X86_OP_LDMXCSR ? X86_FPU_UNMASKED_SIMD : 0));
		break;
	default:
		break;
	}
}

void jit_vector_entry(struct jit_block *t)
{
	struct needs n = { 0 };

	for (unsigned i = 0; i < t->b->nr; i++) {
		native_prepare(t->cpu, &t->b->insn[i]);
		add_needs(&n, &t->b->insn[i]);
	}
	forbid(t, 4, JIT_FIELD(cr0), n.cr0_clear);
	demand(t, JIT_FIELD(cr4), n.cr4_set);
	demand(t, JIT_FIELD(xcr0), n.xcr0_set);
	forbid(t, 1, JIT_FIELD(fpu_unmasked), n.unmasked);
}

/* PCMPESTRM and PCMPESTRI: a length is in rAX. */
static bool reads_ax(const struct x86_insn *insn)
{
	return insn->map == 3 && (insn->opcode == 0x60 || insn->opcode == 0x61);
}

/* The host's pages are as the guest's. */
void jit_demand_aligned(struct jit_block *t, struct emit_mem m, u32 mask)
{
	struct emit *e = &t->e;
	unsigned reg = JIT_A;

	if (jit_direct(t) || jit_aligned(t, m, mask)) /* else the host faults */
		return;
	jit_risk_flags(t);
	if ((u32)m.disp & mask) {
		reg = JIT_B;
		emit_lea(e, 4, JIT_B, m);
	}
	emit_op_reg(e, 4, 0xf7, 0, reg); /* TEST */
	emit32(e, mask);
	t->in_host = false;
	jit_slow_if(t, JIT_IF_NOT_EQUAL);
}

static struct emit_mem memory(struct jit_block *t, const struct x86_insn *insn, const struct native_traits *n, bool keep_b)
{
	bool write = n->mem_access & X86_ACC_W;
	struct emit_mem m = keep_b ? jit_operand_b(t, insn, n->mem_size, write) : jit_operand(t, insn, n->mem_size, write);

	if (n->align && !jit_direct(t))
		jit_demand_aligned(t, m, n->align);
	else
		jit_kept_a(t);
	return m;
}

bool jit_vector(struct jit_block *t, const struct x86_insn *insn)
{
	struct rename r = { .mem = EMIT_MEM(JIT_A, 0), .gpr = JIT_B };
	const struct native_traits *n;
	unsigned gpr = X86_RAX;
	bool has_gpr;

	if (!jit_vector_inline(insn))
		return false;
	n = traits(insn);
	has_gpr = n->in == NATIVE_IN_GPR || n->out == NATIVE_OUT_GPR;
	if (n->mem_size && !jit_ea_possible(insn))
		return false;
	if (jit_flags_needed(insn) && jit_direct(t))
		jit_load_flags(t);
	if (n->mem_size)
		r.mem = memory(t, insn, n, !has_gpr && !reads_ax(insn));
	else
		jit_kept_a(t);
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	if (has_gpr) {
		gpr = insn->operand[n->gpr].reg;
		r.gpr = (u8)jit_get(t, gpr, JIT_B);
	}
	if (reads_ax(insn))
		emit_mov(&t->e, 8, X86_RAX, JIT_AX);
	rename_insn(&t->e, insn, t->word == 8, &r);
	if (n->out == NATIVE_OUT_GPR && r.gpr == JIT_B)
		emit_store(&t->e, 8, JIT_REG(gpr), JIT_B);
	if (n->cc_written)
		jit_wrote_flags(t, insn);
	return true;
}
