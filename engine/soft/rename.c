/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operand renaming (SDM vol. 2, 2.1-2.7): the instruction is taken apart into the fields that its encoding
 * has, and put together again with another ModRM.rm, without the prefixes that meant nothing or were about
 * the address.
 *
 * Two things differ between the guest's mode and ours, which is always 64-bit: outside 64-bit mode the bits
 * that extend register numbers are ignored, and W does not widen an integer operand. VZEROALL and
 * VZEROUPPER touch eight registers there and sixteen here, so they become other instructions.
 */
#include "engine/soft/rename.h"
#include "x86/opcodes.h"

#define RAW_XOP 0x8f
#define RAW_VEX3 0xc4
#define RAW_VEX2 0xc5

/* The instruction's fields, extension bits positive (not inverted). */
struct fields {
	u8 reg;	     /* 0..31 */
	u8 rm;	     /* 0..31; meaningless with a memory operand */
	u8 vvvv;     /* 0..31 */
	u8 w, l, pp; /* l: L or L'L as it stands (rounding control included) */
	u8 z, b, aaa;
};

int rename_mem_operand(const struct x86_insn *insn)
{
	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_MEM)
			return i;
	return -1;
}

int rename_gpr_operand(const struct x86_insn *insn)
{
	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_REG)
			return i;
	return -1;
}

/* Whether an integer register is named by ModRM.reg; all others are in ModRM.rm. */
static bool gpr_in_reg_field(const struct x86_insn *insn)
{
	switch (insn->opcode) {
	case 0x2c: /* CVTTSS2SI and family */
	case 0x2d: /* CVTSS2SI and family */
	case 0x50: /* MOVMSKPS, MOVMSKPD */
	case 0x78: /* VCVTTSS2USI and family */
	case 0x79: /* VCVTSS2USI and family */
	case 0x93: /* KMOV r, k */
	case 0xc5: /* PEXTRW r, v, imm8 */
	case 0xd7: /* PMOVMSKB */
		return insn->map == 1 || insn->map == 5;
	}
	return false;
}

/* Opcodes where W is the width of an integer operand, in its memory form too. */
static bool w_is_integer_width(const struct x86_insn *insn)
{
	if (rename_gpr_operand(insn) >= 0)
		return insn->opcode != 0x92 && insn->opcode != 0x93; /* KMOV: W is part of the opcode */
	if (insn->map == 3 && (insn->opcode == 0x60 || insn->opcode == 0x61))
		return true; /* PCMPESTRM, PCMPESTRI: of the lengths in rAX and rDX */
	if (insn->map == 1 || insn->map == 5)
		return insn->opcode == 0x2a || insn->opcode == 0x6e ||
		       (insn->opcode == 0x7e && insn->mandatory == 0x66) ||
		       (insn->opcode == 0x7b && insn->mandatory != 0x66); /* 66: VCVTPD2QQ and VCVTPS2QQ */
	return insn->map == 3 && (insn->opcode == 0x16 || insn->opcode == 0x22);
}

static void take_vex_fields(const struct x86_insn *insn, struct fields *f)
{
	const u8 *p = insn->bytes + insn->vex_off;
	u8 last = p[0] == RAW_VEX2 ? p[1] : p[2];

	f->reg |= (~p[1] >> 7 & 1) << 3;
	if (p[0] != RAW_VEX2) {
		f->rm |= (~p[1] >> 5 & 1) << 3;
		f->w = last >> 7;
	}
	f->vvvv = ~last >> 3 & 15;
	f->l = last >> 2 & 1;
	f->pp = last & 3;
}

static void take_evex_fields(const struct x86_insn *insn, struct fields *f)
{
	const u8 *p = insn->bytes + insn->vex_off;

	f->reg |= (~p[1] >> 7 & 1) << 3 | (~p[1] >> 4 & 1) << 4;
	f->rm |= (~p[1] >> 5 & 1) << 3 | (~p[1] >> 6 & 1) << 4;
	f->w = p[2] >> 7;
	f->vvvv = (~p[2] >> 3 & 15) | (~p[3] >> 3 & 1) << 4;
	f->pp = p[2] & 3;
	f->z = p[3] >> 7;
	f->l = p[3] >> 5 & 3;
	f->b = p[3] >> 4 & 1;
	f->aaa = p[3] & 7;
}

static void take_fields(const struct x86_insn *insn, bool long_mode, struct fields *f)
{
	*f = (struct fields){ .reg = insn->modrm >> 3 & 7, .rm = insn->modrm & 7 };
	if (insn->prefix & X86_PFX_EVEX) {
		take_evex_fields(insn, f);
	} else if (insn->prefix & X86_PFX_VEX) {
		take_vex_fields(insn, f);
	} else if (insn->prefix & X86_PFX_REX) {
		u8 rex = insn->bytes[insn->vex_off];

		f->reg |= (rex >> 2 & 1) << 3;
		f->rm |= (rex & 1) << 3;
		f->w = rex >> 3 & 1;
	}
	if (!long_mode) {
		f->reg &= 7;
		f->rm &= 7;
		f->vvvv &= 7;
		if (w_is_integer_width(insn))
			f->w = 0;
	}
}

static void emit_legacy(struct emit *e, const struct x86_insn *insn, const struct fields *f, unsigned x,
			unsigned b)
{
	unsigned rex = f->w << 3 | (f->reg >> 3 & 1) << 2 | x << 1 | b;

	if (insn->map && insn->mandatory)
		emit8(e, insn->mandatory);
	if (rex)
		emit8(e, (u8)(0x40 | rex));
	if (insn->map >= 1)
		emit8(e, 0x0f);
	if (insn->map == 2)
		emit8(e, 0x38);
	if (insn->map == 3)
		emit8(e, 0x3a);
}

static void emit_vex(struct emit *e, const struct x86_insn *insn, const struct fields *f, unsigned x,
		     unsigned b)
{
	const u8 *p = insn->bytes + insn->vex_off;
	unsigned map = p[0] == RAW_VEX2 ? 1 : p[1] & 31;

	emit8(e, p[0] == RAW_XOP ? RAW_XOP : RAW_VEX3);
	emit8(e, (u8)((~f->reg >> 3 & 1) << 7 | !x << 6 | !b << 5 | map));
	emit8(e, (u8)(f->w << 7 | (~f->vvvv & 15) << 3 | f->l << 2 | f->pp));
}

static void emit_evex(struct emit *e, const struct x86_insn *insn, const struct fields *f, unsigned x,
		      unsigned b)
{
	emit8(e, 0x62);
	emit8(e, (u8)((~f->reg >> 3 & 1) << 7 | !x << 6 | !b << 5 | (~f->reg >> 4 & 1) << 4 |
		      (insn->bytes[insn->vex_off + 1] & 7)));
	emit8(e, (u8)(f->w << 7 | (~f->vvvv & 15) << 3 | 1 << 2 | f->pp));
	emit8(e, (u8)(f->z << 7 | f->l << 5 | f->b << 4 | (~f->vvvv >> 4 & 1) << 3 | f->aaa));
}

static void emit_prefixes(struct emit *e, const struct x86_insn *insn, const struct fields *f, unsigned x,
			  unsigned b)
{
	if (insn->prefix & X86_PFX_EVEX)
		emit_evex(e, insn, f, x, b);
	else if (insn->prefix & X86_PFX_VEX)
		emit_vex(e, insn, f, x, b);
	else
		emit_legacy(e, insn, f, x, b);
	emit8(e, insn->opcode);
}

/*
 * The register number of a fourth operand (is4) is in the upper half of the immediate: three bits of it
 * outside long mode.
 */
static void emit_immediate(struct emit *e, const struct x86_insn *insn, bool long_mode)
{
	const u8 *imm = insn->bytes + insn->len - insn->imm_len;
	bool is4 = insn->imm_len == 1;

	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_IMM)
			is4 = false;
	for (unsigned i = 0; i < insn->imm_len; i++)
		emit8(e, is4 && !long_mode ? imm[i] & 0x7f : imm[i]);
}

/*
 * VZEROUPPER and VZEROALL of eight registers: VMOVAPS xmm, xmm and VXORPS xmm, xmm, xmm zero what is above.
 */
static void emit_zero_eight(struct emit *e, bool all)
{
	for (u8 i = 0; i < 8; i++) {
		emit8(e, RAW_VEX2);
		emit8(e, all ? (u8)(0x80 | (~i & 15) << 3) : 0xf8);
		emit8(e, all ? 0x57 : 0x28);
		emit8(e, (u8)(0xc0 | i << 3 | i));
	}
}

bool rename_insn(struct emit *e, const struct x86_insn *insn, bool long_mode, const struct rename *r)
{
	bool vex = insn->prefix & (X86_PFX_VEX | X86_PFX_EVEX);
	struct fields f;

	if (insn->desc->flags & X86_F_VSIB)
		return false;
	take_fields(insn, long_mode, &f);
	if (vex && insn->map == 1 && insn->opcode == 0x77 && !long_mode) {
		emit_zero_eight(e, f.l);
		return true;
	}
	if (rename_gpr_operand(insn) >= 0) {
		if (gpr_in_reg_field(insn))
			f.reg = r->gpr;
		else
			f.rm = r->gpr;
	}
	if (!insn->has_modrm) {
		emit_prefixes(e, insn, &f, 0, 0);
	} else if (insn->modrm >> 6 == 3) {
		emit_prefixes(e, insn, &f, f.rm >> 4 & 1, f.rm >> 3 & 1);
		emit8(e, (u8)(0xc0 | (f.reg & 7) << 3 | (f.rm & 7)));
	} else {
		unsigned x = r->mem.index == EMIT_NO_INDEX ? 0 : r->mem.index >> 3;

		emit_prefixes(e, insn, &f, x, r->mem.base >> 3 & 1);
		if (insn->prefix & X86_PFX_EVEX)
			emit_modrm_mem_evex(e, f.reg, r->mem);
		else
			emit_modrm_mem(e, f.reg, r->mem);
	}
	emit_immediate(e, insn, long_mode);
	return true;
}
