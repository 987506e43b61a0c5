/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small assembler for x86-64: what the native stubs and the translator write. Registers are numbers 0..15
 * in encoding order (enum x86_reg's first 16). Nothing is checked but the room: past the end bytes are
 * dropped and `overflow` is set, which the user looks at once, at the end.
 */
#ifndef ANYKVM_ENGINE_SOFT_EMIT_H
#define ANYKVM_ENGINE_SOFT_EMIT_H

#include "host/types.h"

struct emit {
	u8 *p;		/* next byte */
	u8 *end;
	bool overflow;
};

/* [base + index << scale + disp], in segment GS if so; base EMIT_NO_BASE, index EMIT_NO_INDEX for none. */
#define EMIT_NO_BASE 0xf0
#define EMIT_NO_INDEX 4
struct emit_mem {
	u8 base, index, scale;
	bool gs;
	s32 disp;
};

#define EMIT_MEM(b, d) ((struct emit_mem){ .base = (b), .index = EMIT_NO_INDEX, .disp = (d) })
#define EMIT_MEM_INDEX(b, i, d) ((struct emit_mem){ .base = (b), .index = (i), .disp = (d) })
/* d: from the start of struct x86_cpu; the host's GS base is GS_BIAS behind it (window.h). */
#define EMIT_GS(d) ((struct emit_mem){ .base = EMIT_NO_BASE, .index = EMIT_NO_INDEX, .gs = true, .disp = (s32)(d) - GS_BIAS })

/* The eight operations of opcodes 00..3F and 80..83, in encoding order. */
enum emit_alu { EMIT_ADD, EMIT_OR, EMIT_ADC, EMIT_SBB, EMIT_AND, EMIT_SUB, EMIT_XOR, EMIT_CMP };
enum emit_shift { EMIT_ROL, EMIT_ROR, EMIT_RCL, EMIT_RCR, EMIT_SHL, EMIT_SHR, EMIT_SAR = 7 };

static inline struct emit emit_start(u8 *p, size_t room)
{
	return (struct emit){ .p = p, .end = p + room };
}

void emit8(struct emit *e, u8 value);
void emit32(struct emit *e, u32 value);
void emit64(struct emit *e, u64 value);
void emit_bytes(struct emit *e, const u8 *bytes, unsigned n);

/*
 * ModRM, SIB and displacement of a memory operand: reg is the low three bits of the register or opcode
 * extension.
 */
void emit_modrm_mem(struct emit *e, unsigned reg, struct emit_mem m);
/* The same for EVEX, whose 8-bit displacement is scaled: uses none. */
void emit_modrm_mem_evex(struct emit *e, unsigned reg, struct emit_mem m);
/* [REX] opcode ModRM; opcode may be 0x0fXX. size 1, 2, 4, 8 decides 66, REX.W and REX for SPL..DIL. */
void emit_op_mem(struct emit *e, unsigned size, unsigned opcode, unsigned reg, struct emit_mem m);
void emit_op_reg(struct emit *e, unsigned size, unsigned opcode, unsigned reg, unsigned rm);

void emit_load(struct emit *e, unsigned size, unsigned reg, struct emit_mem m);	/* zero-extends */
void emit_store(struct emit *e, unsigned size, struct emit_mem m, unsigned reg);
void emit_store_imm(struct emit *e, unsigned size, struct emit_mem m, s32 value);
void emit_mov(struct emit *e, unsigned size, unsigned dst, unsigned src);
void emit_mov_imm(struct emit *e, unsigned reg, u64 value); /* shortest form; leaves flags alone */
void emit_lea(struct emit *e, unsigned size, unsigned reg, struct emit_mem m);
void emit_alu(struct emit *e, enum emit_alu op, unsigned size, unsigned dst, unsigned src);
void emit_alu_imm(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, s32 value);
void emit_test_imm(struct emit *e, unsigned size, unsigned reg, s32 value);
void emit_alu_load(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, struct emit_mem m);
void emit_shift(struct emit *e, enum emit_shift op, unsigned size, unsigned reg, unsigned count);
void emit_imul_imm(struct emit *e, unsigned size, unsigned dst, unsigned src, s32 value); /* 4 or 8 */
void emit_rorx(struct emit *e, unsigned size, unsigned dst, unsigned src, unsigned count); /* 4 or 8; leaves flags alone */
/* reg = GS:[index * 8 + disp] of 64 bits, the sum truncated to 32. */
void emit_load_table(struct emit *e, unsigned reg, unsigned index, s32 disp);
void emit_bswap(struct emit *e, unsigned size, unsigned reg); /* 4 or 8 */
void emit_setcc(struct emit *e, unsigned cond, unsigned reg);
void emit_push(struct emit *e, unsigned reg);
void emit_push_imm(struct emit *e, s32 value); /* 64 bits */
void emit_pop(struct emit *e, unsigned reg);
void emit_lahf(struct emit *e);
void emit_sahf(struct emit *e);
void emit_ret(struct emit *e);
/* The segment prefix that m needs: before all other prefixes. emit_op_mem() does it by itself. */
void emit_segment(struct emit *e, struct emit_mem m);

/*
 * Branches with a 32-bit displacement, to an address in the executable view; delta = exec - write of the
 * region.
 */
void emit_jmp(struct emit *e, s64 delta, const void *target);
void emit_call(struct emit *e, s64 delta, const void *target);
void emit_jcc(struct emit *e, unsigned cond, s64 delta, const void *target);
/* The same forwards: returns the place that emit_patch() points to here. NULL on overflow. */
u8 *emit_jmp_forward(struct emit *e);
u8 *emit_call_forward(struct emit *e);
u8 *emit_jcc_forward(struct emit *e, unsigned cond);
void emit_patch(struct emit *e, u8 *place);
void emit_jmp_reg(struct emit *e, unsigned reg);
void emit_call_reg(struct emit *e, unsigned reg);
void emit_call_mem(struct emit *e, struct emit_mem m);
void emit_jmp_mem(struct emit *e, struct emit_mem m);

/*
 * Words of data in the code's own region, within 2 GiB of it: cell is the address in the view that is written
 * through; the code uses the other one.
 */
void emit_cmp_cell(struct emit *e, unsigned reg, const u64 *cell); /* 64 bits, reg with the cell */
void emit_lea_cell(struct emit *e, unsigned reg, const u64 *cell);
void emit_load_cell(struct emit *e, unsigned reg, const u64 *cell);

#endif
