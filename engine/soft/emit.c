/* SPDX-License-Identifier: GPL-2.0-only */
/* The assembler: encodings as in SDM vol. 2, chapter 2. */
#include "engine/soft/emit.h"

/*
 * An encoding is written through a pointer of its own to where there is room for any: in the code, or near its end to a
 * spare place, from which as much is taken over as fits.
 */
#define LONGEST 24

static u8 *begin(const struct emit *e, u8 spare[LONGEST])
{
	return likely(e->end - e->p >= LONGEST) ? e->p : spare;
}

static void finish(struct emit *e, u8 spare[LONGEST], u8 *end)
{
	if (unlikely(end >= spare && end <= spare + LONGEST))
		emit_bytes(e, spare, (unsigned)(end - spare));
	else
		e->p = end;
}

static inline u8 *put8(u8 *p, unsigned value)
{
	*p = (u8)value;
	return p + 1;
}

static inline u8 *put(u8 *p, u64 value, unsigned size)
{
	__builtin_memcpy(p, &value, sizeof(value)); /* what is too much is written over, or behind the end */
	return p + size;
}

void emit8(struct emit *e, u8 value)
{
	if (unlikely(e->p == e->end)) {
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

static void emit_value(struct emit *e, u64 value, unsigned size)
{
	u8 spare[LONGEST];

	finish(e, spare, put(begin(e, spare), value, size));
}

void emit32(struct emit *e, u32 value)
{
	emit_value(e, value, 4);
}

void emit64(struct emit *e, u64 value)
{
	emit_value(e, value, 8);
}

/* Without a base: a SIB byte that says base 5 under mod 0. */
static u8 *put_no_base(u8 *p, unsigned reg, struct emit_mem m)
{
	p = put8(p, (reg & 7) << 3 | 4);
	p = put8(p, m.scale << 6 | (m.index & 7) << 3 | 5);
	return put(p, (u32)m.disp, 4);
}

/* Base 5 and 13 have no form without displacement; base 4 and 12 need a SIB byte. */
static u8 *put_with_base(u8 *p, unsigned reg, struct emit_mem m, bool disp8)
{
	bool sib = m.index != EMIT_NO_INDEX || (m.base & 7) == 4;
	unsigned mod = 2;

	if (m.disp == 0 && (m.base & 7) != 5)
		mod = 0;
	else if (disp8 && m.disp == (s8)m.disp)
		mod = 1;
	p = put8(p, mod << 6 | (reg & 7) << 3 | (sib ? 4 : m.base & 7));
	if (sib)
		p = put8(p, m.scale << 6 | (m.index & 7) << 3 | (m.base & 7));
	return put(p, (u32)m.disp, mod == 2 ? 4 : mod);
}

static u8 *put_modrm(u8 *p, unsigned reg, struct emit_mem m, bool disp8)
{
	return m.base == EMIT_NO_BASE ? put_no_base(p, reg, m) : put_with_base(p, reg, m, disp8);
}

void emit_segment(struct emit *e, struct emit_mem m)
{
	if (m.gs)
		emit8(e, 0x65);
}

void emit_modrm_mem(struct emit *e, unsigned reg, struct emit_mem m)
{
	u8 spare[LONGEST];

	finish(e, spare, put_modrm(begin(e, spare), reg, m, true));
}

void emit_modrm_mem_evex(struct emit *e, unsigned reg, struct emit_mem m)
{
	u8 spare[LONGEST];

	finish(e, spare, put_modrm(begin(e, spare), reg, m, false));
}

static u8 *put_prefix(u8 *p, unsigned size, unsigned r, unsigned x, unsigned b, bool force)
{
	unsigned rex = (size == 8) << 3 | (r >> 3 & 1) << 2 | (x >> 3 & 1) << 1 | (b >> 3 & 1);

	if (size == 2)
		p = put8(p, 0x66);
	if (rex || force)
		p = put8(p, 0x40 | rex);
	return p;
}

static void emit_prefix(struct emit *e, unsigned size, unsigned r, unsigned x, unsigned b, bool force)
{
	u8 spare[LONGEST];

	finish(e, spare, put_prefix(begin(e, spare), size, r, x, b, force));
}

static u8 *put_opcode(u8 *p, unsigned opcode)
{
	if (opcode > 0xff)
		p = put8(p, opcode >> 8);
	return put8(p, opcode);
}

static u8 *put_op_mem(u8 *p, unsigned size, unsigned opcode, unsigned reg, struct emit_mem m)
{
	unsigned index = m.index == EMIT_NO_INDEX ? 0 : m.index;

	if (m.gs)
		p = put8(p, 0x65);
	p = put_prefix(p, size, reg, index, m.base, size == 1 && reg >= 4);
	return put_modrm(put_opcode(p, opcode), reg, m, true);
}

static u8 *put_op_reg(u8 *p, unsigned size, unsigned opcode, unsigned reg, unsigned rm)
{
	p = put_prefix(p, size, reg, 0, rm, size == 1 && (reg >= 4 || rm >= 4));
	return put8(put_opcode(p, opcode), 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* With an immediate of so many bytes. */
static void emit_mem_value(struct emit *e, unsigned size, unsigned opcode, unsigned reg, struct emit_mem m, u64 value,
			   unsigned bytes)
{
	u8 spare[LONGEST];

	finish(e, spare, put(put_op_mem(begin(e, spare), size, opcode, reg, m), value, bytes));
}

static void emit_reg_value(struct emit *e, unsigned size, unsigned opcode, unsigned reg, unsigned rm, u64 value,
			   unsigned bytes)
{
	u8 spare[LONGEST];

	finish(e, spare, put(put_op_reg(begin(e, spare), size, opcode, reg, rm), value, bytes));
}

void emit_op_mem(struct emit *e, unsigned size, unsigned opcode, unsigned reg, struct emit_mem m)
{
	emit_mem_value(e, size, opcode, reg, m, 0, 0);
}

void emit_op_reg(struct emit *e, unsigned size, unsigned opcode, unsigned reg, unsigned rm)
{
	emit_reg_value(e, size, opcode, reg, rm, 0, 0);
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
	emit_mem_value(e, size, size == 1 ? 0xc6 : 0xc7, 0, m, (u32)value, size == 8 ? 4 : size);
}

void emit_mov(struct emit *e, unsigned size, unsigned dst, unsigned src)
{
	emit_op_reg(e, size, size == 1 ? 0x88 : 0x89, src, dst);
}

void emit_mov_imm(struct emit *e, unsigned reg, u64 value)
{
	bool narrow = value <= 0xffffffff;
	u8 spare[LONGEST], *p;

	if (!narrow && (s64)value == (s32)value) {
		emit_reg_value(e, 8, 0xc7, 0, reg, (u32)value, 4);
		return;
	}
	p = put_prefix(begin(e, spare), narrow ? 4 : 8, 0, 0, reg, false);
	p = put8(p, 0xb8 | (reg & 7));
	finish(e, spare, put(p, value, narrow ? 4 : 8));
}

/* What is a register alone is moved, for which the processor needs no unit. */
void emit_lea(struct emit *e, unsigned size, unsigned reg, struct emit_mem m)
{
	bool alone = m.base != EMIT_NO_BASE && m.index == EMIT_NO_INDEX && !m.disp;

	if (!alone)
		emit_op_mem(e, size, 0x8d, reg, m);
	else if (size != 8 || reg != m.base)
		emit_mov(e, size, reg, m.base);
}

void emit_alu(struct emit *e, enum emit_alu op, unsigned size, unsigned dst, unsigned src)
{
	emit_op_reg(e, size, (unsigned)op << 3 | (size != 1), src, dst);
}

void emit_test_imm(struct emit *e, unsigned size, unsigned reg, s32 value)
{
	emit_reg_value(e, size, size == 1 ? 0xf6 : 0xf7, 0, reg, (u32)value, size == 8 ? 4 : size);
}

void emit_alu_imm(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, s32 value)
{
	bool imm8 = value == (s8)value;

	emit_reg_value(e, size, size == 1 ? 0x80 : imm8 ? 0x83 : 0x81, op, reg, (u32)value,
		       imm8 || size == 1 ? 1 : size == 8 ? 4 : size);
}

void emit_alu_load(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, struct emit_mem m)
{
	emit_op_mem(e, size, (unsigned)op << 3 | 2 | (size != 1), reg, m);
}

void emit_shift(struct emit *e, enum emit_shift op, unsigned size, unsigned reg, unsigned count)
{
	emit_reg_value(e, size, size == 1 ? 0xc0 : 0xc1, op, reg, count, 1);
}

void emit_imul_imm(struct emit *e, unsigned size, unsigned dst, unsigned src, s32 value)
{
	emit_reg_value(e, size, 0x69, dst, src, (u32)value, 4);
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

void emit_push_imm(struct emit *e, s32 value)
{
	emit8(e, 0x68);
	emit32(e, (u32)value);
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

/* target is in the view that is delta away. */
static void emit_branch(struct emit *e, unsigned opcode, u64 target, s64 delta)
{
	u8 spare[LONGEST], *p = put_opcode(begin(e, spare), opcode);
	unsigned len = opcode > 0xff ? 6 : 5;

	finish(e, spare, put(p, (u32)(target - ((u64)e->p + len + (u64)delta)), 4));
}

static u8 *emit_branch_forward(struct emit *e, unsigned opcode)
{
	u8 spare[LONGEST];

	finish(e, spare, put(put_opcode(begin(e, spare), opcode), 0, 4));
	return e->overflow ? NULL : e->p - 4;
}

void emit_jmp(struct emit *e, s64 delta, const void *target)
{
	emit_branch(e, 0xe9, (u64)target, delta);
}

void emit_call(struct emit *e, s64 delta, const void *target)
{
	emit_branch(e, 0xe8, (u64)target, delta);
}

void emit_jcc(struct emit *e, unsigned cond, s64 delta, const void *target)
{
	emit_branch(e, 0x0f80 | cond, (u64)target, delta);
}

u8 *emit_jmp_forward(struct emit *e)
{
	return emit_branch_forward(e, 0xe9);
}

u8 *emit_call_forward(struct emit *e)
{
	return emit_branch_forward(e, 0xe8);
}

u8 *emit_jcc_forward(struct emit *e, unsigned cond)
{
	return emit_branch_forward(e, 0x0f80 | cond);
}

void emit_patch(struct emit *e, u8 *place)
{
	u32 distance;

	if (!place)
		return;
	distance = (u32)(e->p - (place + 4));
	__builtin_memcpy(place, &distance, sizeof(distance));
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
