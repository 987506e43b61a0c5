/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bit instructions that jit_integer.c does not do: BT, BTS, BTR and BTC of a memory operand that a register's bit offset
 * moves, and those of three operands (VEX: BMI1, BMI2) with other registers, or memory.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

/* ---- bit tests --------------------------------------------------------------------------------------- */

#define UNITS 32 /* bytes that hold what the low 8 bits of an offset select */

/* JIT_A: the operand's linear address, moved by the offset but for its low 8 bits. The offset is signed. */
static void move_address(struct jit_block *t, const struct x86_insn *insn, unsigned size)
{
	struct emit *e = &t->e;
	unsigned reg;

	jit_linear(t, insn);
	reg = jit_get(t, insn->operand[1].reg, JIT_B);
	if (size == 8)
		emit_mov(e, 8, JIT_B, reg);
	else
		emit_op_reg(e, 8, size == 4 ? 0x63 : 0x0fbf, JIT_B, reg); /* MOVSXD, MOVSX */
	emit_shift(e, EMIT_SAR, 8, JIT_B, 8);
	emit_shift(e, EMIT_SHL, 8, JIT_B, 5);
	emit_lea(e, t->word, JIT_A, EMIT_MEM_INDEX(JIT_A, JIT_B, 0));
}

/* The host's own with an offset of 8 bits, which is had without touching flags: they stay but for CF. */
static bool moved_bit_test(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	struct emit *e = &t->e;
	struct emit_mem m;

	if (!jit_ea_possible(insn) || insn->asize != t->word || jit_may_be_limited(insn, t->word))
		return false;
	jit_risk_flags(t);
	t->in_host = false;
	move_address(t, insn, size);
	m = jit_operand_at(t, UNITS, insn->op != X86_OP_BT);
	jit_load_flags(t);
	emit_op_reg(e, 8, 0x0fb6, JIT_B, jit_get(t, insn->operand[1].reg, JIT_B)); /* MOVZX of a byte */
	if (insn->prefix & X86_PFX_LOCK)
		emit8(e, 0xf0);
	emit_op_mem(e, size, 0x0fa3 + (unsigned)(insn->op - X86_OP_BT) * 8, JIT_B, m);
	jit_wrote_flags(t, insn);
	return true;
}

/* ---- VEX --------------------------------------------------------------------------------------------- */

/* Guest registers by the fields of the encoding. */
struct fields {
	unsigned reg, vvvv, rm;
	bool w;
};

static struct fields fields_of(const struct jit_block *t, const struct x86_insn *insn)
{
	const u8 *p = insn->bytes + insn->vex_off;
	struct fields f = { .reg = (insn->modrm >> 3 & 7) | (~p[1] >> 4 & 8), .rm = (insn->modrm & 7) | (~p[1] >> 2 & 8),
			    .vvvv = ~p[2] >> 3 & 15, .w = p[2] >> 7 };

	if (t->word == 8)
		return f;
	return (struct fields){ f.reg & 7, f.vvvv & 7, f.rm & 7, false };
}

/* BLSR, BLSMSK, BLSI: ModRM.reg is part of the opcode. */
static bool is_group17(const struct x86_insn *insn)
{
	return insn->op == X86_OP_BLSR || insn->op == X86_OP_BLSMSK || insn->op == X86_OP_BLSI;
}

/* RORX has no third register. */
static bool has_vvvv(const struct x86_insn *insn)
{
	return insn->op != X86_OP_RORX;
}

struct scratch {
	u8 reg[2];
	unsigned nr;
};

/* The host register for a guest's; 0xff: there is no scratch register left. */
static unsigned host_for(struct jit_block *t, struct scratch *s, unsigned guest)
{
	if (jit_host(guest) != JIT_IN_MEMORY)
		return jit_host(guest);
	if (!s->nr)
		return 0xff;
	return jit_get(t, guest, s->reg[--s->nr]);
}

static unsigned in_memory(unsigned guest)
{
	return jit_host(guest) == JIT_IN_MEMORY;
}

/* Registers that stay in memory, of those that the encoding names. */
static unsigned nr_in_memory(const struct x86_insn *insn, const struct fields *f, bool mem)
{
	return (!is_group17(insn) && in_memory(f->reg)) + (has_vvvv(insn) && in_memory(f->vvvv)) + (!mem && in_memory(f->rm));
}

static void encode(struct emit *e, const struct x86_insn *insn, const struct fields *host, bool mem, struct emit_mem m)
{
	const u8 *p = insn->bytes + insn->vex_off;
	unsigned x = mem && m.index != EMIT_NO_INDEX ? m.index >> 3 : 0, b = mem ? m.base >> 3 & 1 : host->rm >> 3;

	emit8(e, 0xc4);
	emit8(e, (u8)(!(host->reg >> 3) << 7 | !x << 6 | !b << 5 | (p[1] & 31)));
	emit8(e, (u8)(host->w << 7 | (~host->vvvv & 15) << 3 | (p[2] & 7)));
	emit8(e, insn->opcode);
	if (mem)
		emit_modrm_mem(e, host->reg, m);
	else
		emit8(e, (u8)(0xc0 | (host->reg & 7) << 3 | (host->rm & 7)));
	emit_bytes(e, insn->bytes + insn->len - insn->imm_len, insn->imm_len);
}

static void put_results(struct jit_block *t, const struct x86_insn *insn, const struct fields *f, const struct fields *host)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if (o->kind == X86_OPD_REG && (o->access & X86_ACC_W) && in_memory(o->reg))
			emit_store(&t->e, 8, JIT_REG(o->reg), !is_group17(insn) && o->reg == f->reg ? host->reg : host->vvvv);
	}
}

static bool three_operands(struct jit_block *t, const struct x86_insn *insn)
{
	bool mem = insn->modrm >> 6 != 3;
	struct fields f = fields_of(t, insn), host = f;
	struct scratch s = { .reg = { JIT_B, JIT_A }, .nr = mem ? 1 : 2 };
	unsigned size = f.w ? 8 : 4;
	struct emit_mem m = EMIT_MEM(JIT_A, 0);

	if (nr_in_memory(insn, &f, mem) > s.nr || (mem && !jit_ea_possible(insn)))
		return false;
	if (mem)
		m = jit_operand(t, insn, size, false);
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	if (!is_group17(insn))
		host.reg = host_for(t, &s, f.reg);
	if (has_vvvv(insn))
		host.vvvv = host_for(t, &s, f.vvvv);
	else
		host.vvvv = 0;
	if (!mem)
		host.rm = host_for(t, &s, f.rm);
	encode(&t->e, insn, &host, mem, m);
	put_results(t, insn, &f, &host);
	if (mem)
		jit_kept_a(t);
	if (insn->desc->flags_written)
		jit_wrote_flags(t, insn);
	return true;
}

bool jit_bits(struct jit_block *t, const struct x86_insn *insn)
{
	if (!x86_has(t->cpu, insn->desc->feature) || insn->desc->state != X86_STATE_INT)
		return false;
	if (insn->op >= X86_OP_BT && insn->op <= X86_OP_BTC)
		return jit_has_mem(insn) && insn->operand[1].kind == X86_OPD_REG && moved_bit_test(t, insn);
	return (insn->desc->flags & X86_F_INNOCUOUS) && (insn->prefix & X86_PFX_VEX) && three_operands(t, insn);
}
