/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shifts and rotates. Run natively like alu.c's; the count is masked to 5 or 6 bits by the host as by the
 * guest. A masked count of 0 leaves the flags alone, so flags are taken over only when it is not 0. Rotates
 * change CF and OF alone.
 */
#include "x86/emulate/emulate.h"

#define X86_ROTATE_FLAGS (X86_CF | X86_OF)

#define SHIFT(op, bits, m, before, flags)                                                                   \
	static always_inline u64 op##bits(u64 d, u64 s, u32 *cc)                                            \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm(before #op " %%cl, %" m "[d]" GET_FLAGS                                                 \
		    : [d] "+r"(d), "=&a"(ax)                                                                \
		    : "c"(s), [cc] "r"(*cc)                                                                 \
		    : "cc");                                                                                \
		if (likely(s & ((bits) == 64 ? 63 : 31)))                                                   \
			*cc = (*cc & ~(flags)) | (cc_of(ax) & (flags));                                     \
		return d;                                                                                   \
	}

#define SIZES(op, before, flags)                                                                            \
	SHIFT(op, 8, "b", before, flags)                                                                    \
	SHIFT(op, 16, "w", before, flags)                                                                   \
	SHIFT(op, 32, "k", before, flags)                                                                   \
	SHIFT(op, 64, "q", before, flags)

SIZES(shl, "", X86_FLAGS_STATUS)
SIZES(shr, "", X86_FLAGS_STATUS)
SIZES(sar, "", X86_FLAGS_STATUS)
SIZES(rol, "", X86_ROTATE_FLAGS)
SIZES(ror, "", X86_ROTATE_FLAGS)
SIZES(rcl, SET_CARRY, X86_ROTATE_FLAGS)
SIZES(rcr, SET_CARRY, X86_ROTATE_FLAGS)

/* ---- specialised handlers -------------------------------------------------------------------- */

#define FORM(name, bits) static enum x86_result name##bits(struct x86_cpu *cpu, const struct x86_insn *insn)

#define DEFINE_R(op, form, bits, count)                                                                     \
	FORM(op##form, bits)                                                                                \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, count, &cpu->cc);                                                         \
		return X86_OK;                                                                              \
	}

#define DEFINE_M(op, form, bits, addressing, count)                                                         \
	FORM(op##form, bits)                                                                                \
	{                                                                                                   \
		void *host = fast_rmw(cpu, insn, addressing, bits / 8);                                     \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_shift(cpu, insn);                                                   \
		MEM_STORE(bits, host, op##bits(MEM_LOAD(bits, host), count, &cpu->cc));                     \
		return X86_OK;                                                                              \
	}

#define FORMS(op, bits)                                                                                     \
	DEFINE_R(op, _ri, bits, insn->imm)                                                                  \
	DEFINE_R(op, _rc, bits, cpu->regs[X86_RCX])                                                         \
	DEFINE_M(op, _mi_flat, bits, FLAT32, insn->imm)                                                     \
	DEFINE_M(op, _mi_long, bits, LONG, insn->imm)                                                       \
	DEFINE_M(op, _mc_flat, bits, FLAT32, cpu->regs[X86_RCX])                                            \
	DEFINE_M(op, _mc_long, bits, LONG, cpu->regs[X86_RCX])

#define EACH_SIZE(op) FORMS(op, 8) FORMS(op, 16) FORMS(op, 32) FORMS(op, 64)

EACH_SIZE(shl)
EACH_SIZE(shr)
EACH_SIZE(sar)
EACH_SIZE(rol)
EACH_SIZE(ror)
EACH_SIZE(rcl)
EACH_SIZE(rcr)

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define ROW(OP, op)                                                                                         \
	[X86_OP_##OP - X86_OP_ROL] = {                                                                      \
		.ri = FOUR(op##_ri),                                                                        \
		.rc = FOUR(op##_rc),                                                                        \
		.mi = { FOUR(op##_mi_flat), FOUR(op##_mi_long) },                                           \
		.mc = { FOUR(op##_mc_flat), FOUR(op##_mc_long) },                                           \
	}

static const struct x86_forms shift_forms[] = {
	ROW(ROL, rol), ROW(ROR, ror), ROW(RCL, rcl), ROW(RCR, rcr),
	ROW(SHL, shl), ROW(SHR, shr), ROW(SAR, sar),
};

x86_exec_fn *x86_pick_shift(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_pick_form(&shift_forms[insn->op - X86_OP_ROL], cpu, insn);
}

/* ---- any form -------------------------------------------------------------------------------- */

typedef u64 shift_fn(u64 d, u64 s, u32 *cc);

static shift_fn *const shift_fns[][4] = {
	FOUR(rol), FOUR(ror), FOUR(rcl), FOUR(rcr), FOUR(shl), FOUR(shr), FOUR(sar),
};

enum x86_result x86_exec_shift(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;
	u64 gva = 0, d, count;
	u32 cc = cpu->cc;
	enum x86_result r;

	x86_operand_read(cpu, insn, 1, &count); /* CL or an immediate: cannot fail */
	r = x86_operand_open(cpu, insn, 0, &gva, &d);
	if (unlikely(r))
		return r;
	d = shift_fns[insn->op - X86_OP_ROL][size_index(o->size)](d, count, &cc);
	r = x86_operand_commit(cpu, insn, 0, gva, d);
	if (likely(!r))
		cpu->cc = cc;
	return r;
}

/* ---- SHLD, SHRD ------------------------------------------------------------------------------ */

#define DOUBLE(op, bits, m)                                                                                 \
	static u64 op##bits(u64 d, u64 s, u8 count, u32 *cc)                                                \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm(#op " %%cl, %" m "[s], %" m "[d]" GET_FLAGS                                             \
		    : [d] "+r"(d), "=&a"(ax)                                                                \
		    : [s] "r"(s), "c"(count)                                                                \
		    : "cc");                                                                                \
		if (count & ((bits) == 64 ? 63 : 31))                                                       \
			*cc = cc_of(ax);                                                                    \
		return d;                                                                                   \
	}

DOUBLE(shld, 16, "w")
DOUBLE(shld, 32, "k")
DOUBLE(shld, 64, "q")
DOUBLE(shrd, 16, "w")
DOUBLE(shrd, 32, "k")
DOUBLE(shrd, 64, "q")

typedef u64 double_fn(u64 d, u64 s, u8 count, u32 *cc);

static double_fn *const double_fns[2][4] = {
	{ NULL, shld16, shld32, shld64 },
	{ NULL, shrd16, shrd32, shrd64 },
};

enum x86_result x86_exec_shift_double(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	double_fn *fn = double_fns[insn->op == X86_OP_SHRD][size_index(insn->operand[0].size)];
	u64 gva = 0, d, s, count;
	u32 cc = cpu->cc;
	enum x86_result r;

	x86_operand_read(cpu, insn, 1, &s);
	x86_operand_read(cpu, insn, 2, &count);
	r = x86_operand_open(cpu, insn, 0, &gva, &d);
	if (unlikely(r))
		return r;
	d = fn(d, s, (u8)count, &cc);
	r = x86_operand_commit(cpu, insn, 0, gva, d);
	if (likely(!r))
		cpu->cc = cc;
	return r;
}

/* ---- BMI2: no flags; in C, so that the host needs no BMI2 ------------------------------------ */

enum x86_result x86_exec_rorx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned bits = 8 * insn->operand[0].size;
	unsigned n = (unsigned)insn->imm & (bits - 1);
	enum x86_result r;
	u64 s;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	if (n)
		s = s >> n | s << (bits - n);
	reg_write(cpu, insn->operand[0].reg, s, insn->operand[0].size);
	return X86_OK;
}

enum x86_result x86_exec_shiftx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	unsigned n = (unsigned)cpu->regs[insn->operand[2].reg] & (8 * size - 1);
	enum x86_result r;
	u64 s;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	if (insn->op == X86_OP_SHLX)
		s <<= n;
	else if (insn->op == X86_OP_SHRX)
		s >>= n;
	else
		s = (u64)((s64)sign_extend(s, size) >> n);
	reg_write(cpu, insn->operand[0].reg, s, size);
	return X86_OK;
}
