/* SPDX-License-Identifier: GPL-2.0-only */
/* The assembler: encodings as in SDM vol. 2, chapter 2. */
#include "engine/soft/emit.h"

void emit8(struct emit *e, u8 value)
{
	if (e->p == e->end) {
		e->overflow = true;
		return;
	}
	*e->p++ = value;
}

void emit_bytes(struct emit *e, const u8 *bytes, unsigned n)
{
	while (n--)
		emit8(e, *bytes++);
}

void emit32(struct emit *e, u32 value)
{
	for (unsigned i = 0; i < 4; i++)
		emit8(e, (u8)(value >> 8 * i));
}

void emit64(struct emit *e, u64 value)
{
	emit32(e, (u32)value);
	emit32(e, (u32)(value >> 32));
}

static void emit16(struct emit *e, u16 value)
{
	emit8(e, (u8)value);
	emit8(e, (u8)(value >> 8));
}

/* Without a base: a SIB byte that says base 5 under mod 0. */
static void modrm_no_base(struct emit *e, unsigned reg, struct emit_mem m)
{
	emit8(e, (u8)((reg & 7) << 3 | 4));
	emit8(e, (u8)(m.scale << 6 | (m.index & 7) << 3 | 5));
	emit32(e, (u32)m.disp);
}

/* Base 5 and 13 have no form without displacement; base 4 and 12 need a SIB byte. */
static void modrm_with_base(struct emit *e, unsigned reg, struct emit_mem m, bool disp8)
{
	bool sib = m.index != EMIT_NO_INDEX || (m.base & 7) == 4;
	unsigned mod = 2;

	if (m.disp == 0 && (m.base & 7) != 5)
		mod = 0;
	else if (disp8 && m.disp == (s8)m.disp)
		mod = 1;
	emit8(e, (u8)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : m.base & 7)));
	if (sib)
		emit8(e, (u8)(m.scale << 6 | (m.index & 7) << 3 | (m.base & 7)));
	if (mod == 1)
		emit8(e, (u8)m.disp);
	else if (mod == 2)
		emit32(e, (u32)m.disp);
}

static void modrm_mem(struct emit *e, unsigned reg, struct emit_mem m, bool disp8)
{
	if (m.base == EMIT_NO_BASE)
		modrm_no_base(e, reg, m);
	else
		modrm_with_base(e, reg, m, disp8);
}

void emit_segment(struct emit *e, struct emit_mem m)
{
	if (m.gs)
		emit8(e, 0x65);
}

void emit_modrm_mem(struct emit *e, unsigned reg, struct emit_mem m)
{
	modrm_mem(e, reg, m, true);
}

void emit_modrm_mem_evex(struct emit *e, unsigned reg, struct emit_mem m)
{
	modrm_mem(e, reg, m, false);
}

static void emit_prefix(struct emit *e, unsigned size, unsigned r, unsigned x, unsigned b, bool force)
{
	unsigned rex = (size == 8) << 3 | (r >> 3 & 1) << 2 | (x >> 3 & 1) << 1 | (b >> 3 & 1);

	if (size == 2)
		emit8(e, 0x66);
	if (rex || force)
		emit8(e, (u8)(0x40 | rex));
}

static void emit_opcode(struct emit *e, unsigned opcode)
{
	if (opcode > 0xff)
		emit8(e, (u8)(opcode >> 8));
	emit8(e, (u8)opcode);
}

void emit_op_mem(struct emit *e, unsigned size, unsigned opcode, unsigned reg, struct emit_mem m)
{
	unsigned index = m.index == EMIT_NO_INDEX ? 0 : m.index;

	emit_segment(e, m);
	emit_prefix(e, size, reg, index, m.base, size == 1 && reg >= 4);
	emit_opcode(e, opcode);
	emit_modrm_mem(e, reg, m);
}

void emit_op_reg(struct emit *e, unsigned size, unsigned opcode, unsigned reg, unsigned rm)
{
	emit_prefix(e, size, reg, 0, rm, size == 1 && (reg >= 4 || rm >= 4));
	emit_opcode(e, opcode);
	emit8(e, (u8)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

void emit_load(struct emit *e, unsigned size, unsigned reg, struct emit_mem m)
{
	if (size >= 4)
		emit_op_mem(e, size, 0x8b, reg, m);
	else
		emit_op_mem(e, 4, size == 1 ? 0x0fb6 : 0x0fb7, reg, m);
}

void emit_store(struct emit *e, unsigned size, struct emit_mem m, unsigned reg)
{
	emit_op_mem(e, size, size == 1 ? 0x88 : 0x89, reg, m);
}

void emit_store_imm(struct emit *e, unsigned size, struct emit_mem m, s32 value)
{
	emit_op_mem(e, size, size == 1 ? 0xc6 : 0xc7, 0, m);
	if (size == 1)
		emit8(e, (u8)value);
	else if (size == 2)
		emit16(e, (u16)value);
	else
		emit32(e, (u32)value);
}

void emit_mov(struct emit *e, unsigned size, unsigned dst, unsigned src)
{
	emit_op_reg(e, size, size == 1 ? 0x88 : 0x89, src, dst);
}

void emit_mov_imm(struct emit *e, unsigned reg, u64 value)
{
	if (value <= 0xffffffff) {
		emit_prefix(e, 4, 0, 0, reg, false);
		emit8(e, (u8)(0xb8 | (reg & 7)));
		emit32(e, (u32)value);
	} else if ((s64)value == (s32)value) {
		emit_op_reg(e, 8, 0xc7, 0, reg);
		emit32(e, (u32)value);
	} else {
		emit_prefix(e, 8, 0, 0, reg, false);
		emit8(e, (u8)(0xb8 | (reg & 7)));
		emit64(e, value);
	}
}

void emit_lea(struct emit *e, unsigned size, unsigned reg, struct emit_mem m)
{
	emit_op_mem(e, size, 0x8d, reg, m);
}

void emit_alu(struct emit *e, enum emit_alu op, unsigned size, unsigned dst, unsigned src)
{
	emit_op_reg(e, size, (unsigned)op << 3 | (size != 1), src, dst);
}

static void emit_immediate(struct emit *e, unsigned size, s32 value)
{
	if (size == 1)
		emit8(e, (u8)value);
	else if (size == 2)
		emit16(e, (u16)value);
	else
		emit32(e, (u32)value);
}

void emit_test_imm(struct emit *e, unsigned size, unsigned reg, s32 value)
{
	emit_op_reg(e, size, size == 1 ? 0xf6 : 0xf7, 0, reg);
	emit_immediate(e, size, value);
}

void emit_alu_imm(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, s32 value)
{
	bool imm8 = value == (s8)value;

	emit_op_reg(e, size, size == 1 ? 0x80 : imm8 ? 0x83 : 0x81, op, reg);
	emit_immediate(e, imm8 ? 1 : size, value);
}

void emit_alu_load(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, struct emit_mem m)
{
	emit_op_mem(e, size, (unsigned)op << 3 | 2 | (size != 1), reg, m);
}

void emit_shift(struct emit *e, enum emit_shift op, unsigned size, unsigned reg, unsigned count)
{
	emit_op_reg(e, size, size == 1 ? 0xc0 : 0xc1, op, reg);
	emit8(e, (u8)count);
}

void emit_imul_imm(struct emit *e, unsigned size, unsigned dst, unsigned src, s32 value)
{
	emit_op_reg(e, size, 0x69, dst, src);
	emit32(e, (u32)value);
}

/* VEX.LZ.F2.0F3A.W0 F0 /r ib; W1 */
void emit_rorx(struct emit *e, unsigned size, unsigned dst, unsigned src, unsigned count)
{
	emit8(e, 0xc4);
	emit8(e, (u8)(!(dst >> 3) << 7 | 1 << 6 | !(src >> 3) << 5 | 3));
	emit8(e, size == 8 ? 0xfb : 0x7b);
	emit8(e, 0xf0);
	emit8(e, (u8)(0xc0 | (dst & 7) << 3 | (src & 7)));
	emit8(e, (u8)count);
}

/* 67: the address is of 32 bits; what FS and GS add to it is not truncated (SDM vol. 1, 3.3.7). */
void emit_load_table(struct emit *e, unsigned reg, unsigned index, s32 disp)
{
	emit8(e, 0x67);
	emit_op_mem(e, 8, 0x8b, reg,
		    (struct emit_mem){ .base = EMIT_NO_BASE, .index = (u8)index, .scale = 3, .gs = true, .disp = disp });
}

void emit_bswap(struct emit *e, unsigned size, unsigned reg)
{
	emit_prefix(e, size, 0, 0, reg, false);
	emit8(e, 0x0f);
	emit8(e, (u8)(0xc8 | (reg & 7)));
}

void emit_setcc(struct emit *e, unsigned cond, unsigned reg)
{
	emit_op_reg(e, 1, 0x0f90 | cond, 0, reg);
}

void emit_push(struct emit *e, unsigned reg)
{
	emit_prefix(e, 4, 0, 0, reg, false);
	emit8(e, (u8)(0x50 | (reg & 7)));
}

void emit_pop(struct emit *e, unsigned reg)
{
	emit_prefix(e, 4, 0, 0, reg, false);
	emit8(e, (u8)(0x58 | (reg & 7)));
}

void emit_lahf(struct emit *e)
{
	emit8(e, 0x9f);
}

void emit_sahf(struct emit *e)
{
	emit8(e, 0x9e);
}

void emit_ret(struct emit *e)
{
	emit8(e, 0xc3);
}

/* ---- branches ---------------------------------------------------------------------------------------- */

static void emit_rel32(struct emit *e, s64 delta, const void *target)
{
	emit32(e, (u32)((u64)target - ((u64)e->p + 4 + (u64)delta)));
}

void emit_jmp(struct emit *e, s64 delta, const void *target)
{
	emit8(e, 0xe9);
	emit_rel32(e, delta, target);
}

void emit_call(struct emit *e, s64 delta, const void *target)
{
	emit8(e, 0xe8);
	emit_rel32(e, delta, target);
}

void emit_jcc(struct emit *e, unsigned cond, s64 delta, const void *target)
{
	emit8(e, 0x0f);
	emit8(e, (u8)(0x80 | cond));
	emit_rel32(e, delta, target);
}

u8 *emit_jmp_forward(struct emit *e)
{
	emit8(e, 0xe9);
	emit32(e, 0);
	return e->overflow ? NULL : e->p - 4;
}

u8 *emit_call_forward(struct emit *e)
{
	emit8(e, 0xe8);
	emit32(e, 0);
	return e->overflow ? NULL : e->p - 4;
}

u8 *emit_jcc_forward(struct emit *e, unsigned cond)
{
	emit8(e, 0x0f);
	emit8(e, (u8)(0x80 | cond));
	emit32(e, 0);
	return e->overflow ? NULL : e->p - 4;
}

void emit_patch(struct emit *e, u8 *place)
{
	u32 distance;

	if (!place)
		return;
	distance = (u32)(e->p - (place + 4));
	for (unsigned i = 0; i < 4; i++)
		place[i] = (u8)(distance >> 8 * i);
}

void emit_jmp_reg(struct emit *e, unsigned reg)
{
	emit_op_reg(e, 4, 0xff, 4, reg);
}

void emit_call_reg(struct emit *e, unsigned reg)
{
	emit_op_reg(e, 4, 0xff, 2, reg);
}

void emit_jmp_mem(struct emit *e, struct emit_mem m)
{
	emit_op_mem(e, 4, 0xff, 4, m);
}

void emit_call_mem(struct emit *e, struct emit_mem m)
{
	emit_op_mem(e, 4, 0xff, 2, m);
}

/* ---- cells ------------------------------------------------------------------------------------------- */

/* RIP-relative; the distance is the same in both views. */
static void op_cell(struct emit *e, bool wide, unsigned opcode, unsigned reg, const u64 *cell)
{
	emit_prefix(e, wide ? 8 : 4, reg, 0, 0, false);
	emit8(e, (u8)opcode);
	emit8(e, (u8)((reg & 7) << 3 | 5));
	emit32(e, (u32)((u64)cell - ((u64)e->p + 4)));
}

void emit_cmp_cell(struct emit *e, unsigned reg, const u64 *cell)
{
	op_cell(e, true, 0x3b, reg, cell);
}

void emit_lea_cell(struct emit *e, unsigned reg, const u64 *cell)
{
	op_cell(e, true, 0x8d, reg, cell);
}

void emit_load_cell(struct emit *e, unsigned reg, const u64 *cell)
{
	op_cell(e, true, 0x8b, reg, cell);
}
