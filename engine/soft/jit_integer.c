/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Integer instructions as themselves. One whose registers are all in the host's of the same name, and
 * that has no memory operand, is copied byte for byte; others are put together again with other registers
 * (SDM vol. 2, 2.1 and 2.2.1), a register that stays in memory by way of a scratch register or as a
 * memory operand. Where rAX is not named by ModRM (MUL, CMPXCHG, AH...) guest rAX is brought into the host's
 * for the instruction.
 *
 * Not here: DIV and IDIV (jit_divide.c); and left to their handlers: what is not innocuous; VEX-encoded
 * ones that cannot be copied.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

static bool is_bit_test(const struct x86_insn *insn)
{
	return insn->op >= X86_OP_BT && insn->op <= X86_OP_BTC;
}

bool jit_has_mem(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_MEM)
			return true;
	}
	return false;
}

bool jit_has_high_byte(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_REGH)
			return true;
	}
	return false;
}

static bool feature_missing(const struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_LZCNT)
		return !x86_has(t->cpu, X86_FEAT_LZCNT);
	if (insn->op == X86_OP_TZCNT)
		return !x86_has(t->cpu, X86_FEAT_BMI1);
	return !x86_has(t->cpu, insn->desc->feature);
}

static bool runs_as_itself(const struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->desc->state != X86_STATE_INT || feature_missing(t, insn))
		return false;
	switch (insn->op) {
	case X86_OP_DIV:
	case X86_OP_IDIV:
	case X86_OP_CMPXCHG8B:
	case X86_OP_CMPXCHG16B:
		return false;
	case X86_OP_BT:
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC: /* a register as bit offset moves the address of a memory operand */
		return !jit_has_mem(insn) || insn->operand[1].kind == X86_OPD_IMM;
	default:
		return insn->desc->flags & X86_F_INNOCUOUS;
	}
}

/* rAX as an operand that no field of the encoding names: read, and written. */
static bool implies_ax(const struct x86_insn *insn)
{
	switch (insn->op) {
	case X86_OP_MUL:
	case X86_OP_IMUL1:
	case X86_OP_CMPXCHG:
	case X86_OP_CBW:
	case X86_OP_CWD:
	case X86_OP_LAHF:
	case X86_OP_SAHF:
		return true;
	default:
		return false;
	}
}

/* ---- copied ---------------------------------------------------------------------------------------- */

/*
 * Whether its bytes mean the same in 64-bit mode. INC and DEC of one byte are REX prefixes there; in what encodes three
 * registers, bits are of interest that are not in 32-bit code.
 */
static bool same_encoding(const struct jit_block *t, const struct x86_insn *insn)
{
	if (t->word == 8)
		return true;
	return !(insn->prefix & (X86_PFX_VEX | X86_PFX_EVEX)) && (insn->map || (insn->opcode & 0xf0) != 0x40) &&
	       (insn->map || insn->opcode != 0x82);
}

static bool may_copy(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if (o->kind == X86_OPD_MEM || o->kind == X86_OPD_REGH ||
		    (o->kind == X86_OPD_REG && jit_host(o->reg) != o->reg))
			return false;
	}
	return !implies_ax(insn);
}

/* Whether it may be copied with guest rAX in the host's. */
static bool may_copy_with_ax(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if (o->kind == X86_OPD_MEM ||
		    (o->kind == X86_OPD_REG && o->reg != X86_RAX && jit_host(o->reg) != o->reg))
			return false;
	}
	return true;
}

static void copy_with_ax(struct jit_block *t, const struct x86_insn *insn)
{
	emit_mov(&t->e, 8, X86_RAX, JIT_AX);
	emit_bytes(&t->e, insn->bytes, insn->len);
	emit_mov(&t->e, 8, JIT_AX, X86_RAX);
	t->stack_b = false;
}

/* ---- put together ---------------------------------------------------------------------------------- */

/* Whether ModRM.reg is part of the opcode, or ignored. */
static bool reg_is_opcode(const struct x86_insn *insn)
{
	unsigned op = insn->opcode;

	if (insn->map == 1)
		return op == 0xba || op == 0xc7 || (op & 0xf0) == 0x90;
	return insn->map == 0 &&
	       ((op >= 0x80 && op <= 0x83) || (op & 0xfe) == 0xc0 || (op & 0xfe) == 0xc6 ||
		(op & 0xfc) == 0xd0 || op == 0xf6 || op == 0xf7 || op >= 0xfe);
}

static unsigned rex_bits(const struct x86_insn *insn)
{
	return insn->prefix & X86_PFX_REX ? insn->bytes[insn->vex_off] & 15 : 0;
}

static unsigned modrm_reg(const struct x86_insn *insn)
{
	return (insn->modrm >> 3 & 7) | (rex_bits(insn) & 4) << 1;
}

static unsigned modrm_rm(const struct x86_insn *insn)
{
	return (insn->modrm & 7) | (rex_bits(insn) & 1) << 3;
}

/* What the instruction does with a general register among its operands, and its least size there. */
static unsigned reg_access(const struct x86_insn *insn, unsigned reg, unsigned *size)
{
	unsigned access = 0;

	*size = 8;
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind != X86_OPD_REG || insn->operand[i].reg != reg)
			continue;
		access |= insn->operand[i].access;
		if (insn->operand[i].size < *size)
			*size = insn->operand[i].size;
	}
	return access;
}

static bool has_byte_reg(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_REG && insn->operand[i].size == 1)
			return true;
	}
	return false;
}

/* reg: host's, or the opcode's extension; the other operand is m, or with mem false host register rm. */
static void encode(struct emit *e, const struct x86_insn *insn, unsigned reg, bool mem, unsigned rm,
		   struct emit_mem m)
{
	unsigned index = mem && m.index != EMIT_NO_INDEX ? m.index : 0;
	unsigned rex = (rex_bits(insn) & 8) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | ((mem ? m.base : rm) >> 3 & 1);

	if (mem)
		emit_segment(e, m);
	if (insn->prefix & X86_PFX_LOCK)
		emit8(e, 0xf0);
	if ((insn->prefix & X86_PFX_OSIZE) || insn->mandatory == 0x66)
		emit8(e, 0x66);
	if (insn->mandatory == 0xf2 || insn->mandatory == 0xf3)
		emit8(e, insn->mandatory);
	if (rex || has_byte_reg(insn))
		emit8(e, (u8)(0x40 | rex));
	if (insn->map)
		emit8(e, 0x0f);
	if (insn->map >= 2)
		emit8(e, insn->map == 2 ? 0x38 : 0x3a);
	emit8(e, !insn->map && insn->opcode == 0x82 ? 0x80 : insn->opcode);
	if (mem)
		emit_modrm_mem(e, reg, m);
	else
		emit8(e, (u8)(0xc0 | (reg & 7) << 3 | (rm & 7)));
	emit_bytes(e, insn->bytes + insn->len - insn->imm_len, insn->imm_len);
}

/* The host register for guest register reg as an operand: loaded, unless it is written whole. */
static unsigned get_operand(struct jit_block *t, const struct x86_insn *insn, unsigned reg, unsigned scratch)
{
	unsigned host = jit_host(reg), size, access = reg_access(insn, reg, &size);

	if (host != JIT_IN_MEMORY)
		return host;
	if (access != X86_ACC_W || size < 4)
		emit_load(&t->e, 8, scratch, JIT_REG(reg));
	return scratch;
}

static void put_operand(struct jit_block *t, const struct x86_insn *insn, unsigned reg, unsigned host)
{
	unsigned size;

	if (jit_host(reg) == JIT_IN_MEMORY && (reg_access(insn, reg, &size) & X86_ACC_W))
		emit_store(&t->e, 8, JIT_REG(reg), host);
}

/* Whether a register that stays in memory may be the instruction's memory operand. */
static bool rm_may_be_memory(const struct x86_insn *insn, unsigned reg)
{
	unsigned size, access = reg_access(insn, reg, &size);

	if (jit_host(reg) != JIT_IN_MEMORY || insn->op == X86_OP_XCHG || is_bit_test(insn))
		return false;
	return !(access & X86_ACC_W) || size == 8;
}

static void with_registers(struct jit_block *t, const struct x86_insn *insn)
{
	bool ext = reg_is_opcode(insn);
	unsigned g = modrm_reg(insn), m = modrm_rm(insn);
	bool mem = rm_may_be_memory(insn, m) && (ext || g != m);
	bool both = !mem && g != m && jit_host(m) == JIT_IN_MEMORY;
	unsigned reg = ext ? g & 7 : get_operand(t, insn, g, both ? JIT_A : JIT_B), rm = 0;

	if (!mem)
		rm = !ext && g == m ? reg : get_operand(t, insn, m, implies_ax(insn) ? JIT_A : JIT_B);
	t->took_a |= reg == JIT_A || rm == JIT_A;
	if (implies_ax(insn))
		emit_mov(&t->e, 8, X86_RAX, JIT_AX);
	encode(&t->e, insn, reg, mem, rm, JIT_REG(m));
	if (implies_ax(insn))
		emit_mov(&t->e, 8, JIT_AX, X86_RAX);
	if (!ext)
		put_operand(t, insn, g, reg);
	if (!mem && (ext || g != m))
		put_operand(t, insn, m, rm);
}

static void with_memory(struct jit_block *t, const struct x86_insn *insn)
{
	bool ext = reg_is_opcode(insn);
	unsigned g = modrm_reg(insn), reg = g & 7, size = 0, access = 0;
	bool keep_b = !implies_ax(insn) && (ext || jit_host(g) != JIT_IN_MEMORY);
	struct emit_mem m;

	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_MEM) {
			size = insn->operand[i].size;
			access = insn->operand[i].access;
		}
	}
	if (jit_flags_needed(insn) && jit_direct(t))
		jit_load_flags(t);
	m = keep_b ? jit_operand_b(t, insn, size, access & X86_ACC_W) : jit_operand(t, insn, size, access & X86_ACC_W);
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	if (implies_ax(insn))
		emit_mov(&t->e, 8, X86_RAX, JIT_AX);
	if (!ext)
		reg = get_operand(t, insn, g, JIT_B);
	encode(&t->e, insn, reg, true, 0, m);
	if (implies_ax(insn))
		emit_mov(&t->e, 8, JIT_AX, X86_RAX);
	if (!ext)
		put_operand(t, insn, g, reg);
	jit_kept_a(t);
	if (keep_b && jit_direct(t))
		jit_kept_b(t);
}

/* AH, CH, DH or BH, number reg, zero-extended in JIT_B; and back from there. No flag is touched. */
static void get_high_byte(struct jit_block *t, unsigned reg)
{
	if (reg == X86_RAX)
		emit_mov(&t->e, 4, JIT_B, JIT_AX);
	emit8(&t->e, 0x0f); /* MOVZX eax, ah... */
	emit8(&t->e, 0xb6);
	emit8(&t->e, (u8)(0xc4 + reg));
}

static void put_high_byte(struct jit_block *t, unsigned reg)
{
	struct emit *e = &t->e;

	if (reg != X86_RAX) {
		emit8(e, 0x88); /* MOV ch, al... */
		emit8(e, (u8)(0xc4 + reg));
		return;
	}
	emit_rorx(e, 8, JIT_AX, JIT_AX, 8);
	emit_mov(e, 1, JIT_AX, JIT_B);
	emit_rorx(e, 8, JIT_AX, JIT_AX, 56);
}

/* One of those and memory. */
static bool with_high_byte(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned mem = insn->operand[0].kind == X86_OPD_MEM ? 0 : 1;
	const struct x86_operand *high = &insn->operand[!mem];
	struct emit_mem m;

	if ((insn->op > X86_OP_TEST && insn->op != X86_OP_MOV) || insn->nr_operands != 2 || high->kind != X86_OPD_REGH ||
	    !t->jit->rorx || !jit_ea_possible(insn))
		return false;
	if (jit_flags_needed(insn) && jit_direct(t))
		jit_load_flags(t);
	m = jit_operand(t, insn, 1, insn->operand[mem].access & X86_ACC_W);
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	if (high->access & X86_ACC_R)
		get_high_byte(t, high->reg);
	encode(&t->e, insn, JIT_B, true, 0, m);
	if (high->access & X86_ACC_W)
		put_high_byte(t, high->reg);
	jit_kept_a(t);
	return true;
}

/* Whether all its registers find a place: rAX takes a scratch register away. */
static bool fits(const struct x86_insn *insn)
{
	if (!implies_ax(insn))
		return true;
	if (jit_has_mem(insn))
		return reg_is_opcode(insn) || jit_host(modrm_reg(insn)) != JIT_IN_MEMORY;
	return reg_is_opcode(insn);
}

/* ---- the cases ------------------------------------------------------------------------------------- */

static bool lea(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned reg = insn->operand[0].reg, host = jit_host(reg);

	if (!jit_ea_possible(insn) || insn->operand[1].kind != X86_OPD_MEM)
		return false;
	if (host != JIT_IN_MEMORY) {
		jit_ea(t, insn, host, insn->osize);
		return true;
	}
	if (insn->osize == 2)
		return false;
	jit_ea(t, insn, JIT_B, insn->osize);
	emit_store(&t->e, 8, JIT_REG(reg), JIT_B);
	return true;
}

static void put_immediate(struct emit *e, u64 value, unsigned n)
{
	while (n--) {
		emit8(e, (u8)value);
		value >>= 8;
	}
}

/* opcode /ext with a register or a register's place, and the instruction's immediate. */
static void with_immediate(struct jit_block *t, const struct x86_insn *insn, unsigned opcode, unsigned ext)
{
	unsigned reg = insn->operand[0].reg, size = insn->operand[0].size, host = jit_host(reg);

	if (host == JIT_IN_MEMORY)
		emit_op_mem(&t->e, size, opcode, ext, JIT_REG(reg));
	else
		emit_op_reg(&t->e, size, opcode, ext, host);
	put_immediate(&t->e, insn->imm, size == 8 ? 4 : size);
}

/* B8+r and its like, for registers that are not where they were. */
static bool mov_imm(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned reg = insn->operand[0].reg, host = jit_host(reg);

	if (insn->operand[0].size < 4) {
		with_immediate(t, insn, insn->operand[0].size == 1 ? 0xc6 : 0xc7, 0);
		return true;
	}
	emit_mov_imm(&t->e, host == JIT_IN_MEMORY ? (unsigned)JIT_B : host,
		     insn->operand[0].size == 4 ? (u32)insn->imm : insn->imm);
	if (host == JIT_IN_MEMORY)
		emit_store(&t->e, 8, JIT_REG(reg), JIT_B);
	return true;
}

/* XCHG with rAX in the opcode. */
static void xchg_ax(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned reg = insn->operand[0].reg, size = insn->osize, host = jit_host(reg);

	if (host != JIT_IN_MEMORY) {
		emit_op_reg(&t->e, size, 0x87, JIT_AX, host);
		return;
	}
	emit_load(&t->e, 8, JIT_B, JIT_REG(reg));
	emit_op_reg(&t->e, size, 0x87, JIT_AX, JIT_B);
	emit_store(&t->e, 8, JIT_REG(reg), JIT_B);
}

static void bswap(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned reg = insn->operand[0].reg, host = jit_get(t, reg, JIT_B);

	emit_bswap(&t->e, insn->osize, host);
	if (host == JIT_B)
		emit_store(&t->e, 8, JIT_REG(reg), JIT_B);
}

/* MOV of rAX and an absolute address. */
static bool mov_absolute(struct jit_block *t, const struct x86_insn *insn)
{
	bool store = insn->operand[0].kind == X86_OPD_MEM;
	unsigned size = insn->operand[0].size;
	struct emit_mem m;

	if (insn->op != X86_OP_MOV || insn->has_modrm || !jit_ea_possible(insn))
		return false;
	m = jit_operand(t, insn, size, store);
	emit_op_mem(&t->e, size, (store ? 0x88 : 0x8a) + (size > 1), JIT_AX, m);
	jit_kept_a(t);
	return true;
}

static void inc_dec(struct jit_block *t, const struct x86_insn *insn)
{
	emit_op_reg(&t->e, insn->osize, 0xff, insn->op == X86_OP_DEC, jit_host(insn->operand[0].reg));
}

/* Forms without ModRM: false if it is none of them. */
static bool short_form(struct jit_block *t, const struct x86_insn *insn)
{
	bool imm = insn->nr_operands == 2 && insn->operand[1].kind == X86_OPD_IMM;
	unsigned byte = insn->nr_operands && insn->operand[0].size == 1, op = insn->opcode;

	if (insn->has_modrm || !insn->nr_operands || insn->operand[0].kind != X86_OPD_REG)
		return false;
	if (insn->op == X86_OP_XCHG) {
		xchg_ax(t, insn);
		return true;
	}
	if (insn->op == X86_OP_INC || insn->op == X86_OP_DEC) {
		inc_dec(t, insn);
		return true;
	}
	if (insn->op == X86_OP_BSWAP && insn->osize >= 4) {
		bswap(t, insn);
		return true;
	}
	if (!imm || insn->map)
		return false;
	if (insn->op == X86_OP_MOV)
		return mov_imm(t, insn);
	if (insn->op == X86_OP_TEST)
		with_immediate(t, insn, byte ? 0xf6 : 0xf7, 0);
	else if ((op & 7) == 4 || (op & 7) == 5)
		with_immediate(t, insn, byte ? 0x80 : 0x81, op >> 3 & 7);
	else
		return false;
	return true;
}

static bool can_encode(const struct x86_insn *insn)
{
	unsigned encodings = X86_PFX_VEX | X86_PFX_EVEX;

	return insn->has_modrm && !(insn->prefix & encodings) && !jit_has_high_byte(insn) && insn->map <= 3 &&
	       fits(insn) && (insn->modrm >> 6 == 3 || jit_ea_possible(insn));
}

bool jit_names_memory(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if (o->kind == X86_OPD_REG && jit_host(o->reg) == JIT_IN_MEMORY)
			return true;
	}
	return insn->op == X86_OP_LEA && (jit_host(insn->base) == JIT_IN_MEMORY || jit_host(insn->index) == JIT_IN_MEMORY);
}

/* Chooses the way; flags are where the instruction wants them unless it has a memory operand. */
static bool transform(struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_LEA)
		return lea(t, insn);
	if (jit_has_mem(insn)) {
		if (jit_has_high_byte(insn))
			return with_high_byte(t, insn);
		if (!can_encode(insn))
			return mov_absolute(t, insn);
		with_memory(t, insn);
		return true;
	}
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	if (may_copy(insn) && same_encoding(t, insn)) {
		emit_bytes(&t->e, insn->bytes, insn->len);
	} else if (short_form(t, insn)) {
		/* done */
	} else if (can_encode(insn)) {
		with_registers(t, insn);
	} else if (may_copy_with_ax(insn) && same_encoding(t, insn)) {
		copy_with_ax(t, insn);
	} else {
		return false;
	}
	return true;
}

/* CMPXCHG16B, with which kernels allocate memory, and CMPXCHG8B. They leave all flags but ZF alone. */
static bool cmpxchg_pair(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	bool wide = insn->op == X86_OP_CMPXCHG16B;
	struct emit_mem m;

	if (feature_missing(t, insn) || !jit_ea_possible(insn))
		return false;
	m = jit_operand(t, insn, wide ? 16 : 8, true);
	if (wide)
		jit_demand_aligned(t, m, 15);
	jit_load_flags(t);
	emit_mov(e, 8, X86_RAX, JIT_AX);
	if (insn->prefix & X86_PFX_LOCK)
		emit8(e, 0xf0);
	emit_op_mem(e, wide ? 8 : 4, 0x0fc7, 1, m);
	emit_mov(e, 8, JIT_AX, X86_RAX);
	jit_wrote_flags(t, insn);
	return true;
}

bool jit_integer(struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_CMPXCHG16B || insn->op == X86_OP_CMPXCHG8B)
		return cmpxchg_pair(t, insn);
	if (insn->op == X86_OP_NOP || insn->op == X86_OP_PREFETCH)
		return jit_kept_a(t), jit_kept_b(t), true;
	t->took_a = false;
	if (!runs_as_itself(t, insn) || !transform(t, insn))
		return false;
	if ((!jit_has_mem(insn) || insn->op == X86_OP_LEA) && !t->took_a)
		jit_kept_a(t);
	if ((!jit_has_mem(insn) || insn->op == X86_OP_LEA) && !jit_names_memory(insn) && !implies_ax(insn))
		jit_kept_b(t);
	if (insn->desc->flags_written)
		jit_wrote_flags(t, insn);
	return true;
}
