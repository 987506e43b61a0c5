// SPDX-License-Identifier: GPL-2.0-only
/*
 * The decoder: bytes and mode to struct x86_insn, by the tables of x86/opcodes_*.c.
 *
 * In the order of the encoding: prefixes, escape or VEX/EVEX, opcode, modrm, then the table row that these
 * select, then SIB, displacement and immediates as the row's operands need them, and last the rules that make
 * an encoding #UD (LOCK, vvvv, masks): all the bytes are fetched first, and a fetch fault comes before #UD,
 * as on CPUs.
 *
 * Sources: AMD APM vol. 3 chapter 1 and appendix A; Intel SDM vol. 2 chapter 2 (EVEX: 2.7) and appendix A.
 */
#include "x86/opcodes_notation.h"

struct decoder {
	struct x86_insn *insn;
	const u8 *bytes;
	unsigned size;		/* bytes that may be read, at most X86_MAX_INSN_LEN */
	unsigned pos;
	u8 mode;		/* 16, 32, 64 */
	u8 encoding;		/* enum x86_encoding */
	u8 rep;			/* last of F2, F3; 0 */
	u8 rex;			/* REX, or its W R X B from VEX and EVEX */
	u8 r2, v2;		/* EVEX.R', EVEX.V' (already uninverted), 0 or 16 */
	u8 length;		/* VEX.L, EVEX.L'L */
	u8 pp;			/* as a selector: 0, 1 (66), 2 (F3), 3 (F2) */
	u8 is4;			/* imm8 of is4 */
	bool has_seg;
	bool rm_is_reg;
	bool undefined;		/* by its prefixes; told when all bytes are there */
	bool ud;		/* UD0, UD1: whose opcode is enough to know that (seen on Zen 4) */
	enum x86_decode_status status; /* not OK: stop */
};

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

static u8 next(struct decoder *d)
{
	if (d->pos < d->size)
		return d->bytes[d->pos++];
	if (d->status == X86_DECODE_OK)
		d->status = d->size == X86_MAX_INSN_LEN ? X86_DECODE_TOO_LONG : X86_DECODE_MORE;
	return 0;
}

static u64 next_le(struct decoder *d, unsigned size)
{
	u64 value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (u64)next(d) << (8 * i);
	return value;
}

static s64 sign_extend(u64 value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return size ? (s64)(value << shift) >> shift : 0;
}

/* ---- tables ---------------------------------------------------------------------------------------- */

static bool row_has_imm8(const struct x86_opcode *row)
{
	for (unsigned i = 0; i < ARRAY_SIZE(row->opd); i++) {
		if (X86_OPD_METHOD(row->opd[i]) == X86_M_IU && X86_OPD_TYPE(row->opd[i]) == X86_T_b)
			return true;
	}
	return false;
}

/* Whether the row's operands fit modrm.mod: R, U, N, Kr want a register, M and MV memory. */
static bool row_fits_mod(const struct x86_opcode *row, bool is_reg)
{
	if (row->enc & X86_ENC_NOMOD)
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(row->opd) && row->opd[i]; i++) {
		switch (X86_OPD_METHOD(row->opd[i])) {
		case X86_M_R:
		case X86_M_U:
		case X86_M_N:
		case X86_M_KR:
		case X86_M_STI:
			if (!is_reg)
				return false;
			break;
		case X86_M_M:
		case X86_M_MV:
			if (is_reg)
				return false;
			break;
		}
	}
	return true;
}

/* EVEX.b with a register operand: L'L is the rounding mode, or means nothing. */
static bool row_ignores_length(const struct decoder *d, const struct x86_opcode *row)
{
	return d->encoding == X86_ENCODING_EVEX && d->insn->evex_b && d->rm_is_reg &&
	       row->enc & (X86_ENC_ER | X86_ENC_SAE);
}

static const struct x86_opcode *select_row(const struct decoder *d, const struct x86_opcode *row)
{
	const struct x86_insn *insn = d->insn;
	u32 key = d->pp | (d->rex & REX_W ? X86_SEL_W : 0) | (d->mode == 64 ? X86_SEL_M64 : 0);

	if (insn->has_modrm) {
		key |= X86_SEL_REG(insn->modrm >> 3 & 7) | X86_SEL_RM(insn->modrm & 7);
		key |= d->rm_is_reg ? X86_SEL_MOD3 : 0;
	}
	for (; row->name; row++) {
		if ((key ^ row->sel) & row->sel >> 16)
			continue;
		if (d->encoding != X86_ENCODING_LEGACY && !row_ignores_length(d, row) &&
		    (d->length == 3 || !(row->sel & X86_SEL_L(d->length))))
			continue;
		if (insn->has_modrm && !row_fits_mod(row, d->rm_is_reg))
			continue;
		return row;
	}
	return NULL;
}

/* ---- prefixes -------------------------------------------------------------------------------------- */

static void segment_prefix(struct decoder *d, u8 byte)
{
	unsigned seg = byte == 0x64 ? X86_FS : byte == 0x65 ? X86_GS : byte >> 3 & 3;

	if (d->mode == 64 && seg < X86_FS)
		return;
	d->has_seg = true;
	d->insn->seg = seg;
	d->insn->prefix |= X86_PFX_SEG;
}

/* Reads legacy prefixes and REX; returns the first byte that is none. */
static u8 read_prefixes(struct decoder *d)
{
	struct x86_insn *insn = d->insn;

	for (;;) {
		u8 byte = next(d);

		switch (byte) {
		case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
			segment_prefix(d, byte);
			break;
		case 0x66:
			insn->prefix |= X86_PFX_OSIZE;
			break;
		case 0x67:
			insn->prefix |= X86_PFX_ASIZE;
			break;
		case 0xf0:
			insn->prefix |= X86_PFX_LOCK;
			break;
		case 0xf2:
		case 0xf3:
			d->rep = byte;
			break;
		default:
			if (d->mode != 64 || (byte & 0xf0) != 0x40 || d->status != X86_DECODE_OK)
				return byte;
			d->rex = byte;
			insn->vex_off = d->pos - 1;
			continue;
		}
		/* REX counts only directly before the opcode. */
		d->rex = 0;
		insn->vex_off = 0xff;
	}
}

static void bad(struct decoder *d)
{
	if (d->status == X86_DECODE_OK)
		d->status = X86_DECODE_UD;
}

/*
 * 66, F2, F3, LOCK, REX before VEX and EVEX are #UD: for a REX (directly before) at once, for the others when
 * all is read, which may be too long (so seen on Zen 3).
 */
static void check_prefixes_before_vex(struct decoder *d)
{
	if (d->rex)
		bad(d);
	d->undefined = d->rep || d->insn->prefix & (X86_PFX_LOCK | X86_PFX_OSIZE);
}

/* C4 (three bytes) or C5 (two). */
static void read_vex(struct decoder *d, u8 first)
{
	struct x86_insn *insn = d->insn;
	u8 p0, p1;

	check_prefixes_before_vex(d);
	insn->vex_off = d->pos - 1;
	insn->prefix |= X86_PFX_VEX;
	d->encoding = X86_ENCODING_VEX;
	p0 = next(d);
	if (first == 0xc5) {
		p1 = p0 & 0x7f;
		p0 = (p0 & 0x80) | 0x61;
	} else {
		p1 = next(d);
	}
	d->rex = (~p0 >> 5 & 7) | (p1 >> 7 ? REX_W : 0);
	insn->map = p0 & 0x1f;
	insn->vvvv = ~p1 >> 3 & 15;
	d->length = p1 >> 2 & 1;
	d->pp = p1 & 3;
	if (d->mode != 64)
		d->rex &= REX_W;
}

static void read_evex(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	u8 p0, p1, p2;

	check_prefixes_before_vex(d);
	insn->vex_off = d->pos - 1;
	insn->prefix |= X86_PFX_EVEX;
	d->encoding = X86_ENCODING_EVEX;
	p0 = next(d);
	p1 = next(d);
	p2 = next(d);
	d->rex = (~p0 >> 5 & 7) | (p1 >> 7 ? REX_W : 0);
	d->r2 = ~p0 & 0x10;
	insn->map = p0 & 7;
	insn->vvvv = ~p1 >> 3 & 15;
	d->pp = p1 & 3;
	insn->evex_z = p2 >> 7;
	d->length = p2 >> 5 & 3;
	insn->evex_b = p2 >> 4 & 1;
	d->v2 = (~p2 & 8) << 1;
	insn->evex_aaa = p2 & 7;
	if (d->mode != 64) {
		d->rex &= REX_W;
		d->r2 = 0;
	}
	d->undefined |= p0 & 8 || !(p1 & 4) || (d->mode != 64 && d->v2);
}

/* C4, C5, 62 outside 64-bit mode are LES, LDS, BOUND unless what would be modrm names a register. */
static bool is_vex(const struct decoder *d)
{
	return d->mode == 64 || (d->pos < d->size && d->bytes[d->pos] >= 0xc0);
}

/* Reads what is before the opcode; returns the opcode, with map and encoding known. */
static u8 read_opcode(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	u8 byte = read_prefixes(d);

	if (byte == 0x0f) {
		insn->map = 1;
		byte = next(d);
		if (byte == 0x38 || byte == 0x3a) {
			insn->map = byte == 0x38 ? 2 : 3;
			byte = next(d);
		}
	} else if ((byte == 0xc4 || byte == 0xc5) && is_vex(d)) {
		read_vex(d, byte);
		byte = next(d);
	} else if (byte == 0x62 && is_vex(d)) {
		read_evex(d);
		byte = next(d);
	}
	if (d->encoding == X86_ENCODING_LEGACY) {
		d->pp = d->rep == 0xf3 ? 2 : d->rep == 0xf2 ? 3 : insn->prefix & X86_PFX_OSIZE ? 1 : 0;
		if (d->rex)
			insn->prefix |= X86_PFX_REX;
	}
	if (d->rex & REX_W)
		insn->prefix |= X86_PFX_REX_W;
	insn->opcode = byte;
	return byte;
}

/* ---- sizes ----------------------------------------------------------------------------------------- */

static void set_sizes(struct decoder *d)
{
	static const u8 vlens[4] = { 16, 32, 64, 64 };
	struct x86_insn *insn = d->insn;
	const struct x86_opcode *row = insn->desc;
	bool o66 = insn->prefix & X86_PFX_OSIZE && insn->mandatory != 0x66 && !(row->enc & X86_ENC_NO66);
	bool wide = d->mode == 16 ? o66 : !o66;

	insn->osize = wide ? 4 : 2;
	if (d->mode == 64) {
		if (d->rex & REX_W || row->enc & X86_ENC_F64)
			insn->osize = 8;
		else if (row->enc & X86_ENC_D64)
			insn->osize = o66 ? 2 : 8;
		insn->mode64_66 = row->enc & X86_ENC_D64 && row->flags & X86_F_BRANCH && o66;
	} else if (row->enc & X86_ENC_F64 && insn->map == 1 && insn->opcode != 0x01) {
		insn->osize = 4;
	}
	if (row->enc & X86_ENC_IO && insn->osize == 8)
		insn->osize = 4;
	if (row->enc & X86_ENC_BYTE)
		insn->osize = 1;

	if (row->state == X86_STATE_SSE)
		insn->vlen = 16;
	else if (d->encoding != X86_ENCODING_LEGACY && row->op == X86_OP_NATIVE)
		insn->vlen = row->sel & X86_ENC_LIG_BIT	  ? 16
			     : row_ignores_length(d, row) ? 64
							  : vlens[d->length];
	insn->elem = row->elem;
}

static void set_asize(struct decoder *d)
{
	bool a67 = d->insn->prefix & X86_PFX_ASIZE;

	d->insn->asize = d->mode == 64 ? (a67 ? 4 : 8) : (d->mode == 32) != a67 ? 4 : 2;
}

static unsigned vector_size(const struct x86_insn *insn, unsigned type)
{
	return insn->vlen >> (type - X86_T_x);
}

/* Size of a type in bytes; reg tells the two sizes of the mixed types apart. */
static unsigned type_size(const struct decoder *d, unsigned type, bool reg)
{
	static const u8 fixed[] = {
		[X86_T_0] = 0, [X86_T_b] = 1, [X86_T_w] = 2, [X86_T_d] = 4, [X86_T_q] = 8, [X86_T_o] = 16,
		[X86_T_qq] = 32, [X86_T_zz] = 64, [X86_T_t] = 10,
	};
	const struct x86_insn *insn = d->insn;
	unsigned y = d->mode == 64 && d->rex & REX_W ? 8 : 4;

	switch (type) {
	case X86_T_v:
	case X86_T_bs:
		return insn->osize;
	case X86_T_z:
		return insn->osize == 8 ? 4 : insn->osize;
	case X86_T_y:
		return y;
	case X86_T_m:
		return d->mode == 64 ? 8 : 4;
	case X86_T_p:
		return (insn->osize == 8 ? 4 : insn->osize) + 2;
	case X86_T_a:
		return 2 * insn->osize;
	case X86_T_x:
	case X86_T_h:
	case X86_T_f:
	case X86_T_e:
		return vector_size(insn, type);
	case X86_T_env:
		return insn->osize == 2 ? 14 : 28;
	case X86_T_st:
		return insn->osize == 2 ? 94 : 108;
	case X86_T_vw:
		return reg ? insn->osize : 2;
	case X86_T_db:
		return reg ? 4 : 1;
	case X86_T_dw:
		return reg ? 4 : 2;
	case X86_T_yb:
		return reg ? y : 1;
	case X86_T_yw:
		return reg ? y : 2;
	default:
		return fixed[type];
	}
}

/* ---- addressing ------------------------------------------------------------------------------------ */

static void default_ss(struct decoder *d)
{
	if (!d->has_seg)
		d->insn->seg = X86_SS;
}

static void address16(struct decoder *d)
{
	static const u8 bases[8] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP, X86_RBX };
	static const u8 indexes[4] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI };
	struct x86_insn *insn = d->insn;
	unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

	insn->base = bases[rm];
	insn->index = rm < 4 ? indexes[rm] : X86_REG_ZERO;
	insn->disp_len = mod;
	if (mod == 0 && rm == 6) {
		insn->base = X86_REG_ZERO;
		insn->disp_len = 2;
	}
	if (insn->base == X86_RBP)
		default_ss(d);
}

static void address_sib(struct decoder *d, bool vsib)
{
	struct x86_insn *insn = d->insn;
	u8 sib = next(d);
	unsigned index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);

	insn->base = (sib & 7) | (d->rex & REX_B ? 8 : 0);
	if (vsib) {
		insn->index = index | d->v2;
		insn->scale = sib >> 6;
	} else if (index != X86_RSP) {
		insn->index = index;
		insn->scale = sib >> 6;
	}
	if ((sib & 7) == X86_RBP && insn->modrm < 0x40) {
		insn->base = X86_REG_ZERO;
		insn->disp_len = 4;
	}
}

static void address32(struct decoder *d, bool vsib)
{
	struct x86_insn *insn = d->insn;
	unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

	insn->disp_len = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	if (rm == 4) {
		address_sib(d, vsib);
	} else if (rm == 5 && mod == 0) {
		insn->disp_len = 4;
		insn->base = d->mode == 64 ? X86_REG_RIP : X86_REG_ZERO;
		insn->rip_disp32 = d->mode == 64;
	} else {
		insn->base = rm | (d->rex & REX_B ? 8 : 0);
	}
	if (insn->base == X86_RSP || insn->base == X86_RBP)
		default_ss(d);
}

static bool row_is_vsib(const struct x86_opcode *row)
{
	return row->flags & X86_F_VSIB;
}

/* SIB and displacement of a memory operand. */
static void read_address(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	bool vsib = row_is_vsib(insn->desc);

	if (insn->asize == 2)
		address16(d);
	else
		address32(d, vsib);
	insn->disp = sign_extend(next_le(d, insn->disp_len), insn->disp_len);
	if (d->status == X86_DECODE_OK && vsib && (insn->asize == 2 || (insn->modrm & 7) != 4))
		d->status = X86_DECODE_UD;
}

/* ---- operands -------------------------------------------------------------------------------------- */

static void general_register(const struct decoder *d, struct x86_operand *o, unsigned reg)
{
	o->kind = X86_OPD_REG;
	o->reg = reg;
	if (o->size == 1 && reg >= 4 && reg < 8 &&
	    !(d->insn->prefix & (X86_PFX_REX | X86_PFX_VEX | X86_PFX_EVEX))) {
		o->kind = X86_OPD_REGH;
		o->reg = reg - 4;
	}
}

static void vector_register(struct x86_operand *o, unsigned reg)
{
	o->kind = X86_OPD_VEC;
	o->reg = reg;
	if (o->size < 16)
		o->size = 16;
}

static void mask_register(struct decoder *d, struct x86_operand *o, unsigned reg)
{
	o->kind = X86_OPD_K;
	o->reg = reg & 7;
	if (reg > 7)
		bad(d);
}

static void control_register(struct decoder *d, struct x86_operand *o, unsigned reg)
{
	bool lock = d->insn->prefix & X86_PFX_LOCK;

	o->kind = X86_OPD_CR;
	if (lock && reg == 0)
		reg = 8;
	else if (lock)
		bad(d);
	o->reg = reg;
	if (reg > 8 || !(BIT(reg) & 0x11d))
		bad(d);
}

static void segment_register(struct decoder *d, struct x86_operand *o, unsigned reg)
{
	o->kind = X86_OPD_SREG;
	o->reg = reg;
	if (reg > X86_GS || (reg == X86_CS && o->access & X86_ACC_W))
		bad(d);
}

static void immediate(struct decoder *d, struct x86_operand *o, unsigned method, unsigned type)
{
	struct x86_insn *insn = d->insn;
	unsigned size = type == X86_T_bs ? 1 : o->size;
	u64 value;

	value = next_le(d, size);
	insn->imm_len += size;
	if (method == X86_M_I2) {
		o->kind = X86_OPD_IMM2;
		insn->imm2 = value;
		return;
	}
	o->kind = method == X86_M_J ? X86_OPD_REL : X86_OPD_IMM;
	insn->imm = method == X86_M_IU ? value : (u64)sign_extend(value, size);
	if (type == X86_T_z || type == X86_T_bs || method == X86_M_J)
		o->size = method == X86_M_IU ? size : insn->osize;
}

static void memory_operand(struct decoder *d, struct x86_operand *o)
{
	struct x86_insn *insn = d->insn;
	unsigned unit;

	o->kind = X86_OPD_MEM;
	if (insn->evex_b && insn->desc->enc & X86_ENC_BC)
		o->size = insn->desc->elem;
	if (d->encoding == X86_ENCODING_EVEX && insn->disp_len == 1) {
		unit = insn->desc->enc & X86_ENC_NELEM ? insn->desc->elem : o->size;
		insn->disp *= unit ? unit : 1;
	}
}

static void moffs(struct decoder *d, struct x86_operand *o)
{
	struct x86_insn *insn = d->insn;

	o->kind = X86_OPD_MEM;
	insn->disp_len = insn->asize;
	insn->disp = (s64)next_le(d, insn->asize);
}

/* Operands that modrm does not describe. */
static void plain_operand(struct decoder *d, struct x86_operand *o, unsigned method, unsigned type)
{
	struct x86_insn *insn = d->insn;

	switch (method) {
	case X86_M_A:
	case X86_M_C:
	case X86_M_D:
		o->kind = X86_OPD_REG;
		o->reg = method == X86_M_A ? X86_RAX : method == X86_M_C ? X86_RCX : X86_RDX;
		break;
	case X86_M_ONE:
		o->kind = X86_OPD_IMM;
		insn->imm = 1;
		break;
	case X86_M_ST0:
		o->kind = X86_OPD_ST;
		break;
	case X86_M_Z:
		general_register(d, o, (insn->opcode & 7) | (d->rex & REX_B ? 8 : 0));
		break;
	case X86_M_SOP:
		segment_register(d, o, insn->opcode >> 3 & 7);
		break;
	case X86_M_I:
	case X86_M_IU:
	case X86_M_I2:
	case X86_M_J:
		immediate(d, o, method, type);
		break;
	case X86_M_O:
		moffs(d, o);
		break;
	case X86_M_B:
		general_register(d, o, insn->vvvv);
		break;
	case X86_M_H:
		vector_register(o, insn->vvvv | d->v2);
		break;
	case X86_M_KH:
		mask_register(d, o, insn->vvvv);
		break;
	case X86_M_L:
		d->is4 = next(d);
		insn->imm_len++;
		insn->imm = d->is4;
		vector_register(o, d->mode == 64 ? d->is4 >> 4 : d->is4 >> 4 & 7);
		break;
	}
}

static void rm_operand(struct decoder *d, struct x86_operand *o, unsigned method)
{
	struct x86_insn *insn = d->insn;
	unsigned rm = insn->modrm & 7, rex_b = d->rex & REX_B ? 8 : 0;

	if (!d->rm_is_reg) {
		memory_operand(d, o);
		return;
	}
	switch (method) {
	case X86_M_E:
	case X86_M_R:
		general_register(d, o, rm | rex_b);
		break;
	case X86_M_W:
	case X86_M_U:
		vector_register(o,
				rm | rex_b | (d->encoding == X86_ENCODING_EVEX && d->rex & REX_X ? 16 : 0));
		break;
	case X86_M_Q:
	case X86_M_N:
		o->kind = X86_OPD_MMX;
		o->reg = rm;
		o->size = 8;
		break;
	case X86_M_KE:
	case X86_M_KR:
		mask_register(d, o, rm);
		break;
	case X86_M_STI:
		o->kind = X86_OPD_ST;
		o->reg = rm;
		break;
	}
}

static void reg_operand(struct decoder *d, struct x86_operand *o, unsigned method)
{
	unsigned reg = d->insn->modrm >> 3 & 7, wide = reg | (d->rex & REX_R ? 8 : 0);

	switch (method) {
	case X86_M_G:
		general_register(d, o, wide);
		if (d->r2)
			bad(d);
		break;
	case X86_M_V:
		vector_register(o, wide | d->r2);
		break;
	case X86_M_P:
		o->kind = X86_OPD_MMX;
		o->reg = reg;
		break;
	case X86_M_KG:
		mask_register(d, o, wide | d->r2);
		break;
	case X86_M_S:
		segment_register(d, o, reg);
		break;
	case X86_M_CR:
		control_register(d, o, wide);
		break;
	case X86_M_DR:
		o->kind = X86_OPD_DR;
		o->reg = wide;
		if (wide > 7)
			bad(d);
		break;
	}
}

static void read_operand(struct decoder *d, struct x86_operand *o, unsigned spec)
{
	static const u8 access[4] = { X86_ACC_R, X86_ACC_W, X86_ACC_R | X86_ACC_W, 0 };
	unsigned method = X86_OPD_METHOD(spec), type = X86_OPD_TYPE(spec);

	o->access = access[X86_OPD_ACCESS(spec)];
	switch (method) {
	case X86_M_E: case X86_M_R: case X86_M_M: case X86_M_MV: case X86_M_W: case X86_M_U:
	case X86_M_Q: case X86_M_N: case X86_M_KE: case X86_M_KR: case X86_M_STI:
		o->size = type_size(d, type, d->rm_is_reg);
		rm_operand(d, o, method);
		break;
	case X86_M_G: case X86_M_V: case X86_M_P: case X86_M_KG: case X86_M_S: case X86_M_CR: case X86_M_DR:
		o->size = type_size(d, type, true);
		reg_operand(d, o, method);
		break;
	default:
		o->size = type_size(d, type, true);
		plain_operand(d, o, method, type);
		break;
	}
}

static void read_operands(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	const struct x86_opcode *row = insn->desc;

	for (unsigned i = 0; i < ARRAY_SIZE(row->opd) && row->opd[i]; i++) {
		if (X86_OPD_METHOD(row->opd[i]) == X86_M_MODRM)
			break;
		read_operand(d, &insn->operand[insn->nr_operands++], row->opd[i]);
	}
}

/* ---- rules ----------------------------------------------------------------------------------------- */

static bool row_uses_vvvv(const struct x86_opcode *row)
{
	for (unsigned i = 0; i < ARRAY_SIZE(row->opd); i++) {
		unsigned method = X86_OPD_METHOD(row->opd[i]);

		if (method == X86_M_B || method == X86_M_H || method == X86_M_KH)
			return true;
	}
	return false;
}

/*
 * Gathers: destination, index and (VEX) mask must differ; scatters have no destination register. Complex FP16
 * products: the destination must be none of the sources.
 */
static bool registers_clash(const struct decoder *d)
{
	const struct x86_insn *insn = d->insn;
	const struct x86_operand *o = insn->operand;

	if (o[0].kind != X86_OPD_VEC)
		return false;
	if (row_is_vsib(insn->desc) && o[0].reg == insn->index)
		return true;
	for (unsigned i = 1; i < insn->nr_operands; i++) {
		if (o[i].kind == X86_OPD_VEC && o[i].reg == o[0].reg)
			return true;
	}
	return row_is_vsib(insn->desc) && d->encoding == X86_ENCODING_VEX && o[2].reg == insn->index;
}

static void check_vex(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	const struct x86_opcode *row = insn->desc;

	if (!row_uses_vvvv(row)) {
		if (insn->vvvv || (d->v2 && !row_is_vsib(row)))
			bad(d);
	}
	if (row->enc & X86_ENC_DISTINCT && registers_clash(d))
		bad(d);
}

static void check_evex(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	u32 enc = insn->desc->enc;

	if (insn->evex_aaa ? !(enc & X86_ENC_K) : insn->evex_z || enc & X86_ENC_KREQ)
		bad(d);
	if (insn->evex_z && (!(enc & X86_ENC_Z) || insn->operand[0].kind == X86_OPD_MEM))
		bad(d);
	if (insn->evex_b && !(enc & (d->rm_is_reg ? X86_ENC_ER | X86_ENC_SAE : X86_ENC_BC)))
		bad(d);
	/* Merging keeps elements of the destination. */
	if (insn->evex_aaa && !insn->evex_z && insn->operand[0].kind != X86_OPD_K)
		insn->operand[0].access |= insn->operand[0].kind == X86_OPD_VEC ? X86_ACC_R : 0;
}

static void check_lock(struct decoder *d)
{
	const struct x86_insn *insn = d->insn;

	if (insn->desc->enc & X86_ENC_ALTCR8)
		return;
	if (!(insn->desc->flags & X86_F_LOCK) || insn->operand[0].kind != X86_OPD_MEM)
		bad(d);
}

static void check_rules(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	u32 flags = insn->desc->flags;

	if (d->undefined)
		bad(d);
	if (flags & (d->mode == 64 ? X86_F_NO64 : X86_F_ONLY64))
		bad(d);
	if (insn->prefix & X86_PFX_LOCK)
		check_lock(d);
	if (d->encoding != X86_ENCODING_LEGACY)
		check_vex(d);
	if (d->encoding == X86_ENCODING_EVEX)
		check_evex(d);
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* Which mandatory prefix chose the row, and what that leaves of the repeat prefixes. */
static void set_mandatory(struct decoder *d)
{
	static const u8 prefixes[4] = { 0, 0x66, 0xf3, 0xf2 };
	struct x86_insn *insn = d->insn;

	if ((insn->desc->sel >> 16 & X86_SEL_PP) == X86_SEL_PP)
		insn->mandatory = prefixes[d->pp];
	if (d->rep && d->rep != insn->mandatory)
		insn->prefix |= d->rep == 0xf3 ? X86_PFX_REP : X86_PFX_REPNE;
}

static const struct x86_opcode *find_rows(const struct decoder *d)
{
	const struct x86_insn *insn = d->insn;
	u8 opcode = insn->opcode;

	if (d->encoding == X86_ENCODING_LEGACY && insn->map == 0 && opcode == 0x90 && d->rex & REX_B)
		opcode = 0x91;
	return x86_opcode_rows(d->encoding, insn->map, opcode);
}

static const struct x86_opcode *find_row(struct decoder *d, const struct x86_opcode *rows)
{
	struct x86_insn *insn = d->insn;

	if (!rows)
		return NULL;
	insn->has_modrm = x86_row_has_modrm(rows);
	if (insn->has_modrm) {
		insn->modrm = next(d);
		d->rm_is_reg = insn->modrm >= 0xc0;
	}
	if (d->status != X86_DECODE_OK)
		return NULL;
	return select_row(d, rows);
}

/*
 * Undefined instructions are fetched whole, too, so they may be too long first (seen on Zen 3): all of 0F38,
 * 0F3A (with imm8) and the VEX maps beyond have modrm, in VEX map 1 what has it in 0F. rows: of the opcode,
 * or NULL.
 */
static void skip_undefined(struct decoder *d, const struct x86_opcode *rows)
{
	static const struct x86_opcode unknown = { .name = NULL };
	struct x86_insn *insn = d->insn;

	if (!rows && insn->map == 1)
		rows = x86_opcode_rows(X86_ENCODING_LEGACY, 1, insn->opcode);
	if (insn->map < 2 && !(rows && x86_row_has_modrm(rows)))
		return;
	if (!insn->has_modrm)
		insn->modrm = next(d);
	insn->desc = &unknown;
	if (insn->modrm < 0xc0)
		read_address(d);
	if (insn->map == 3 || (rows && row_has_imm8(rows)))
		next(d);
	insn->desc = NULL;
}

static void decode(struct decoder *d)
{
	struct x86_insn *insn = d->insn;
	const struct x86_opcode *rows;

	read_opcode(d);
	if (d->status != X86_DECODE_OK)
		return;
	set_asize(d);
	rows = find_rows(d);
	d->ud = rows && rows->op == X86_OP_UD;
	insn->desc = find_row(d, rows);
	if (!insn->desc) {
		if (d->status == X86_DECODE_OK)
			skip_undefined(d, rows);
		bad(d);
		return;
	}
	insn->op = insn->desc->op;
	if (insn->desc->enc & X86_ENC_COND)
		insn->cond = insn->opcode & 15;
	if (insn->desc->enc & X86_ENC_NOMOD)
		d->rm_is_reg = true;
	set_mandatory(d);
	set_sizes(d);
	if (d->mode != 64)
		insn->vvvv &= d->encoding == X86_ENCODING_LEGACY || row_uses_vvvv(insn->desc) ? 7 : 15;
	if (insn->has_modrm && !d->rm_is_reg)
		read_address(d);
	read_operands(d);
	if (d->status == X86_DECODE_OK)
		check_rules(d);
}

enum x86_decode_status x86_decode(struct x86_insn *insn, const u8 *bytes, unsigned size, unsigned mode_bits)
{
	struct decoder d = {
		.insn = insn,
		.bytes = bytes,
		.size = size < X86_MAX_INSN_LEN ? size : X86_MAX_INSN_LEN,
		.mode = mode_bits,
	};

	memset(insn, 0, sizeof(*insn));
	insn->seg = X86_DS;
	insn->base = X86_REG_ZERO;
	insn->index = X86_REG_ZERO;
	insn->vex_off = 0xff;
	decode(&d);
	insn->vvvv |= d.encoding == X86_ENCODING_EVEX ? d.v2 : 0;
	insn->len = d.pos;
	insn->next = d.pos;
	memcpy(insn->bytes, bytes, d.pos);
	return d.ud && d.status == X86_DECODE_TOO_LONG ? X86_DECODE_UD : d.status;
}
