/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ADD to TEST, INC, DEC, NOT, NEG. Each runs as itself on the host, on the whole 64-bit register with the
 * operand size's name for it (%b, %w, %k, %q), so that merging, zero-extension and flags, undefined ones
 * too, are the host's. Handlers are made from macros: for every operation and size a function on values
 * (add32), from it one per operand form (add_rr32, add_rm_long32...).
 */
#include "x86/emulate/emulate.h"

/* ---- on values: d op s, status flags out; cc holds CF for those that read it ----------------- */

#define BINARY(op, bits, m, arg)                                                                            \
	static always_inline u64 op##bits(u64 d, u64 s, u32 *cc)                                            \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm(#op " %" m "[s], %" m "[d]" GET_FLAGS                                                   \
		    : [d] "+r"(d), "=&a"(ax)                                                                \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}

#define WITH_CARRY(op, bits, m, arg)                                                                        \
	static always_inline u64 op##bits(u64 d, u64 s, u32 *cc)                                            \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm(SET_CARRY #op " %" m "[s], %" m "[d]" GET_FLAGS                                         \
		    : [d] "+r"(d), "=&a"(ax)                                                                \
		    : [s] "r"(s), [cc] "r"(*cc)                                                             \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}

#define UNARY(op, bits, m, flags)                                                                           \
	static always_inline u64 op##bits(u64 d, u64 s, u32 *cc)                                            \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		(void)s;                                                                                    \
		asm(#op " %" m "[d]" GET_FLAGS : [d] "+r"(d), "=&a"(ax) : : "cc");                          \
		*cc = (*cc & ~(flags)) | (cc_of(ax) & (flags));                                             \
		return d;                                                                                   \
	}

#define SIZES(X, op, arg) X(op, 8, "b", arg) X(op, 16, "w", arg) X(op, 32, "k", arg) X(op, 64, "q", arg)

SIZES(BINARY, add, )
SIZES(BINARY, or, )
SIZES(WITH_CARRY, adc, )
SIZES(WITH_CARRY, sbb, )
SIZES(BINARY, and, )
SIZES(BINARY, sub, )
SIZES(BINARY, xor, )
SIZES(BINARY, cmp, )
SIZES(BINARY, test, )
SIZES(UNARY, inc, X86_FLAGS_STATUS & ~X86_CF)
SIZES(UNARY, dec, X86_FLAGS_STATUS & ~X86_CF)
SIZES(UNARY, neg, X86_FLAGS_STATUS)
SIZES(UNARY, not, 0u)

/* ---- specialised handlers -------------------------------------------------------------------- */

#define FORM(name, bits) static enum x86_result name##bits(struct x86_cpu *cpu, const struct x86_insn *insn)

#define DEFINE_RR(op, bits)                                                                                 \
	FORM(op##_rr, bits)                                                                                 \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, cpu->regs[insn->operand[1].reg], &cpu->cc);                               \
		return X86_OK;                                                                              \
	}

#define DEFINE_RI(op, bits)                                                                                 \
	FORM(op##_ri, bits)                                                                                 \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, insn->imm, &cpu->cc);                                                     \
		return X86_OK;                                                                              \
	}

#define DEFINE_R(op, bits)                                                                                  \
	FORM(op##_r, bits)                                                                                  \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, 0, &cpu->cc);                                                             \
		return X86_OK;                                                                              \
	}

#define DEFINE_RM(op, bits, addressing, suffix)                                                             \
	FORM(op##_rm_##suffix, bits)                                                                        \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, addressing, bits / 8);                              \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_alu(cpu, insn);                                                     \
		*d = op##bits(*d, MEM_LOAD(bits, host), &cpu->cc);                                          \
		return X86_OK;                                                                              \
	}

/* Memory destination: source is a register (mr), the immediate (mi) or nothing (m). */
#define DEFINE_M(op, form, bits, addressing, suffix, source, slow)                                          \
	FORM(op##form##suffix, bits)                                                                        \
	{                                                                                                   \
		void *host = fast_rmw(cpu, insn, addressing, bits / 8);                                     \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return slow(cpu, insn);                                                             \
		MEM_STORE(bits, host, op##bits(MEM_LOAD(bits, host), source, &cpu->cc));                    \
		return X86_OK;                                                                              \
	}

/* CMP, TEST: nothing is written back. */
#define DEFINE_RR_READ(op, bits)                                                                            \
	FORM(op##_rr, bits)                                                                                 \
	{                                                                                                   \
		op##bits(cpu->regs[insn->operand[0].reg], cpu->regs[insn->operand[1].reg], &cpu->cc);       \
		return X86_OK;                                                                              \
	}

#define DEFINE_RI_READ(op, bits)                                                                            \
	FORM(op##_ri, bits)                                                                                 \
	{                                                                                                   \
		op##bits(cpu->regs[insn->operand[0].reg], insn->imm, &cpu->cc);                             \
		return X86_OK;                                                                              \
	}

#define DEFINE_RM_READ(op, bits, addressing, suffix)                                                        \
	FORM(op##_rm_##suffix, bits)                                                                        \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, addressing, bits / 8);                              \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_alu(cpu, insn);                                                     \
		op##bits(cpu->regs[insn->operand[0].reg], MEM_LOAD(bits, host), &cpu->cc);                  \
		return X86_OK;                                                                              \
	}

#define DEFINE_M_READ(op, form, bits, addressing, suffix, source)                                           \
	FORM(op##form##suffix, bits)                                                                        \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, addressing, bits / 8);                              \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_alu(cpu, insn);                                                     \
		op##bits(MEM_LOAD(bits, host), source, &cpu->cc);                                           \
		return X86_OK;                                                                              \
	}

#define SOURCE_REG cpu->regs[insn->operand[1].reg]

#define BINARY_FORMS(op, bits)                                                                              \
	DEFINE_RR(op, bits)                                                                                 \
	DEFINE_RI(op, bits)                                                                                 \
	DEFINE_RM(op, bits, FLAT32, flat)                                                                   \
	DEFINE_RM(op, bits, LONG, long)                                                                     \
	DEFINE_M(op, _mr_, bits, FLAT32, flat, SOURCE_REG, x86_exec_alu)                                    \
	DEFINE_M(op, _mr_, bits, LONG, long, SOURCE_REG, x86_exec_alu)                                      \
	DEFINE_M(op, _mi_, bits, FLAT32, flat, insn->imm, x86_exec_alu)                                     \
	DEFINE_M(op, _mi_, bits, LONG, long, insn->imm, x86_exec_alu)

#define READ_FORMS(op, bits)                                                                                \
	DEFINE_RR_READ(op, bits)                                                                            \
	DEFINE_RI_READ(op, bits)                                                                            \
	DEFINE_RM_READ(op, bits, FLAT32, flat)                                                              \
	DEFINE_RM_READ(op, bits, LONG, long)                                                                \
	DEFINE_M_READ(op, _mr_, bits, FLAT32, flat, SOURCE_REG)                                             \
	DEFINE_M_READ(op, _mr_, bits, LONG, long, SOURCE_REG)                                               \
	DEFINE_M_READ(op, _mi_, bits, FLAT32, flat, insn->imm)                                              \
	DEFINE_M_READ(op, _mi_, bits, LONG, long, insn->imm)

#define UNARY_FORMS(op, bits)                                                                               \
	DEFINE_R(op, bits)                                                                                  \
	DEFINE_M(op, _m_, bits, FLAT32, flat, 0, x86_exec_alu1)                                             \
	DEFINE_M(op, _m_, bits, LONG, long, 0, x86_exec_alu1)

#define EACH_SIZE(forms, op) forms(op, 8) forms(op, 16) forms(op, 32) forms(op, 64)

EACH_SIZE(BINARY_FORMS, add)
EACH_SIZE(BINARY_FORMS, or)
EACH_SIZE(BINARY_FORMS, adc)
EACH_SIZE(BINARY_FORMS, sbb)
EACH_SIZE(BINARY_FORMS, and)
EACH_SIZE(BINARY_FORMS, sub)
EACH_SIZE(BINARY_FORMS, xor)
EACH_SIZE(READ_FORMS, cmp)
EACH_SIZE(READ_FORMS, test)
EACH_SIZE(UNARY_FORMS, inc)
EACH_SIZE(UNARY_FORMS, dec)
EACH_SIZE(UNARY_FORMS, not)
EACH_SIZE(UNARY_FORMS, neg)

#define FOUR(name) { name##8, name##16, name##32, name##64 }

#define BINARY_ROW(OP, op)                                                                                  \
	[X86_OP_##OP] = {                                                                                   \
		.rr = FOUR(op##_rr),                                                                        \
		.ri = FOUR(op##_ri),                                                                        \
		.rm = { FOUR(op##_rm_flat), FOUR(op##_rm_long) },                                           \
		.mr = { FOUR(op##_mr_flat), FOUR(op##_mr_long) },                                           \
		.mi = { FOUR(op##_mi_flat), FOUR(op##_mi_long) },                                           \
	}

#define UNARY_ROW(OP, op)                                                                                   \
	[X86_OP_##OP] = {                                                                                   \
		.r = FOUR(op##_r),                                                                          \
		.m = { FOUR(op##_m_flat), FOUR(op##_m_long) },                                              \
	}

static const struct x86_forms alu_forms[] = {
	BINARY_ROW(ADD, add), BINARY_ROW(OR, or),   BINARY_ROW(ADC, adc), BINARY_ROW(SBB, sbb),
	BINARY_ROW(AND, and), BINARY_ROW(SUB, sub), BINARY_ROW(XOR, xor), BINARY_ROW(CMP, cmp),
	BINARY_ROW(TEST, test), UNARY_ROW(INC, inc), UNARY_ROW(DEC, dec), UNARY_ROW(NOT, not),
	UNARY_ROW(NEG, neg),
};

x86_exec_fn *x86_pick_alu(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_pick_form(&alu_forms[insn->op], cpu, insn);
}

/* ---- any form -------------------------------------------------------------------------------- */

typedef u64 alu_fn(u64 d, u64 s, u32 *cc);

static alu_fn *const alu_fns[][4] = {
	[X86_OP_ADD] = FOUR(add), [X86_OP_OR] = FOUR(or),     [X86_OP_ADC] = FOUR(adc),
	[X86_OP_SBB] = FOUR(sbb), [X86_OP_AND] = FOUR(and),   [X86_OP_SUB] = FOUR(sub),
	[X86_OP_XOR] = FOUR(xor), [X86_OP_CMP] = FOUR(cmp),   [X86_OP_TEST] = FOUR(test),
	[X86_OP_INC] = FOUR(inc), [X86_OP_DEC] = FOUR(dec),   [X86_OP_NOT] = FOUR(not),
	[X86_OP_NEG] = FOUR(neg),
};

static alu_fn *alu_fn_of(const struct x86_insn *insn)
{
	return alu_fns[insn->op][size_index(insn->operand[0].size)];
}

static enum x86_result compare(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 d, s;

	r = x86_operand_read(cpu, insn, 0, &d);
	if (unlikely(r))
		return r;
	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	alu_fn_of(insn)(d, s, &cpu->cc);
	return X86_OK;
}

enum x86_result x86_exec_alu(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 gva = 0, d, s;
	u32 cc = cpu->cc;

	if (insn->op == X86_OP_CMP || insn->op == X86_OP_TEST)
		return compare(cpu, insn);
	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	r = x86_operand_open(cpu, insn, 0, &gva, &d);
	if (unlikely(r))
		return r;
	d = alu_fn_of(insn)(d, s, &cc);
	r = x86_operand_commit(cpu, insn, 0, gva, d);
	if (likely(!r))
		cpu->cc = cc;
	return r;
}

enum x86_result x86_exec_alu1(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 gva = 0, d;
	u32 cc = cpu->cc;

	r = x86_operand_open(cpu, insn, 0, &gva, &d);
	if (unlikely(r))
		return r;
	d = alu_fn_of(insn)(d, 0, &cc);
	r = x86_operand_commit(cpu, insn, 0, gva, d);
	if (likely(!r))
		cpu->cc = cc;
	return r;
}

/* ---- LOCK ------------------------------------------------------------------------------------ */

#define LOCK_BINARY(op, bits, m, before)                                                                    \
	static void lock_##op##bits(void *p, u64 s, u32 *cc)                                                \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm volatile(before "lock " #op " %" m "[s], %[p]" GET_FLAGS                                \
			     : [p] "+m"(*(mem_u##bits *)p), "=&a"(ax)                                       \
			     : [s] "r"(s), [cc] "r"(*cc)                                                    \
			     : "cc", "memory");                                                             \
		*cc = cc_of(ax);                                                                            \
	}

#define LOCK_UNARY(op, bits, letter, flags)                                                                 \
	static void lock_##op##bits(void *p, u64 s, u32 *cc)                                                \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		(void)s;                                                                                    \
		asm volatile("lock " #op letter " %[p]" GET_FLAGS                                           \
			     : [p] "+m"(*(mem_u##bits *)p), "=&a"(ax)                                       \
			     :                                                                              \
			     : "cc", "memory");                                                             \
		*cc = (*cc & ~(flags)) | (cc_of(ax) & (flags));                                             \
	}

#define LOCK_SIZES(X, op, arg) X(op, 8, "b", arg) X(op, 16, "w", arg) X(op, 32, "l", arg) X(op, 64, "q", arg)

SIZES(LOCK_BINARY, add, "")
SIZES(LOCK_BINARY, or, "")
SIZES(LOCK_BINARY, adc, SET_CARRY)
SIZES(LOCK_BINARY, sbb, SET_CARRY)
SIZES(LOCK_BINARY, and, "")
SIZES(LOCK_BINARY, sub, "")
SIZES(LOCK_BINARY, xor, "")
LOCK_SIZES(LOCK_UNARY, inc, X86_FLAGS_STATUS & ~X86_CF)
LOCK_SIZES(LOCK_UNARY, dec, X86_FLAGS_STATUS & ~X86_CF)
LOCK_SIZES(LOCK_UNARY, neg, X86_FLAGS_STATUS)
LOCK_SIZES(LOCK_UNARY, not, 0u)

typedef void lock_fn(void *p, u64 s, u32 *cc);

static lock_fn *const lock_fns[][4] = {
	[X86_OP_ADD] = FOUR(lock_add), [X86_OP_OR] = FOUR(lock_or),   [X86_OP_ADC] = FOUR(lock_adc),
	[X86_OP_SBB] = FOUR(lock_sbb), [X86_OP_AND] = FOUR(lock_and), [X86_OP_SUB] = FOUR(lock_sub),
	[X86_OP_XOR] = FOUR(lock_xor), [X86_OP_INC] = FOUR(lock_inc), [X86_OP_DEC] = FOUR(lock_dec),
	[X86_OP_NOT] = FOUR(lock_not), [X86_OP_NEG] = FOUR(lock_neg),
};

static enum x86_result alu_locked(struct x86_cpu *cpu, const struct x86_insn *insn, u64 s,
				  x86_exec_fn *unlocked)
{
	unsigned size = insn->operand[0].size;
	void *host = NULL;
	enum x86_result r;
	u64 gva;

	r = x86_lock_operand(cpu, insn, size, &gva, &host);
	if (unlikely(r))
		return r;
	if (unlikely(!host))
		return x86_bus_locked(cpu, insn, unlocked);
	lock_fns[insn->op][size_index(size)](host, s, &cpu->cc);
	return X86_OK;
}

enum x86_result x86_exec_alu_lock(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 s = 0;

	x86_operand_read(cpu, insn, 1, &s); /* a register or immediate: cannot fail */
	return alu_locked(cpu, insn, s, x86_exec_alu);
}

enum x86_result x86_exec_alu1_lock(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return alu_locked(cpu, insn, 0, x86_exec_alu1);
}
