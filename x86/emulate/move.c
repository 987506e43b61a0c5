/* SPDX-License-Identifier: GPL-2.0-only */
/* Data movement between registers and memory, sign and zero extension, LEA. */
#include "x86/emulate/emulate.h"

#define FORM(name, bits) static enum x86_result name##bits(struct x86_cpu *cpu, const struct x86_insn *insn)
#define FOUR(name) { name##8, name##16, name##32, name##64 }

enum x86_result x86_exec_nop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu, (void)insn;
	return X86_OK;
}

/* ---- MOV ------------------------------------------------------------------------------------- */

enum x86_result x86_exec_mov(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_operand_read(cpu, insn, 1, &value);
	return unlikely(r) ? r : x86_operand_write(cpu, insn, 0, value);
}

#define DEFINE_MOV(bits)                                                                                    \
	FORM(mov_rr, bits)                                                                                  \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = merge(*d, cpu->regs[insn->operand[1].reg], bits / 8);                                  \
		return X86_OK;                                                                              \
	}                                                                                                   \
	FORM(mov_ri, bits)                                                                                  \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = merge(*d, insn->imm, bits / 8);                                                        \
		return X86_OK;                                                                              \
	}

#define DEFINE_MOV_MEM(bits, addressing, suffix)                                                            \
	FORM(mov_rm_##suffix, bits)                                                                         \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, addressing, bits / 8);                              \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_mov(cpu, insn);                                                     \
		*d = merge(*d, MEM_LOAD(bits, host), bits / 8);                                             \
		return X86_OK;                                                                              \
	}                                                                                                   \
	FORM(mov_mr_##suffix, bits)                                                                         \
	{                                                                                                   \
		void *host = fast_write(cpu, insn, addressing, bits / 8);                                   \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_mov(cpu, insn);                                                     \
		MEM_STORE(bits, host, cpu->regs[insn->operand[1].reg]);                                     \
		return X86_OK;                                                                              \
	}                                                                                                   \
	FORM(mov_mi_##suffix, bits)                                                                         \
	{                                                                                                   \
		void *host = fast_write(cpu, insn, addressing, bits / 8);                                   \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_mov(cpu, insn);                                                     \
		MEM_STORE(bits, host, insn->imm);                                                           \
		return X86_OK;                                                                              \
	}

#define MOV_SIZE(bits) DEFINE_MOV(bits) DEFINE_MOV_MEM(bits, FLAT32, flat) DEFINE_MOV_MEM(bits, LONG, long)

MOV_SIZE(8)
MOV_SIZE(16)
MOV_SIZE(32)
MOV_SIZE(64)

static const struct x86_forms mov_forms = {
	.rr = FOUR(mov_rr),
	.ri = FOUR(mov_ri),
	.rm = { FOUR(mov_rm_flat), FOUR(mov_rm_long) },
	.mr = { FOUR(mov_mr_flat), FOUR(mov_mr_long) },
	.mi = { FOUR(mov_mi_flat), FOUR(mov_mi_long) },
};

x86_exec_fn *x86_pick_mov(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_pick_form(&mov_forms, cpu, insn);
}

/* ---- MOVZX, MOVSX, MOVSXD: the destination is wider than the source -------------------------- */

enum x86_result x86_exec_movzx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_operand_read(cpu, insn, 1, &value);
	if (likely(!r))
		reg_write(cpu, insn->operand[0].reg, value, insn->operand[0].size);
	return r;
}

enum x86_result x86_exec_movsx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_operand_read(cpu, insn, 1, &value);
	if (unlikely(r))
		return r;
	value = sign_extend(value, insn->operand[1].size);
	reg_write(cpu, insn->operand[0].reg, value, insn->operand[0].size);
	return X86_OK;
}

/*
 * bits: of the source; name tells the destination's. type converts a source value to the destination
 * register's.
 */
#define DEFINE_MOVX(name, bits, type, slow)                                                                 \
	FORM(name##_rr, bits)                                                                               \
	{                                                                                                   \
		cpu->regs[insn->operand[0].reg] = type cpu->regs[insn->operand[1].reg];                     \
		return X86_OK;                                                                              \
	}                                                                                                   \
	FORM(name##_rm_flat, bits)                                                                          \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, FLAT32, bits / 8);                                  \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return slow(cpu, insn);                                                             \
		cpu->regs[insn->operand[0].reg] = type MEM_LOAD(bits, host);                                \
		return X86_OK;                                                                              \
	}                                                                                                   \
	FORM(name##_rm_long, bits)                                                                          \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, LONG, bits / 8);                                    \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return slow(cpu, insn);                                                             \
		cpu->regs[insn->operand[0].reg] = type MEM_LOAD(bits, host);                                \
		return X86_OK;                                                                              \
	}

DEFINE_MOVX(movzx, 8, (u8), x86_exec_movzx)
DEFINE_MOVX(movzx, 16, (u16), x86_exec_movzx)
DEFINE_MOVX(movsx_to32_, 8, (u32)(s8), x86_exec_movsx)
DEFINE_MOVX(movsx_to32_, 16, (u32)(s16), x86_exec_movsx)
DEFINE_MOVX(movsx_to64_, 8, (u64)(s8), x86_exec_movsx)
DEFINE_MOVX(movsx_to64_, 16, (u64)(s16), x86_exec_movsx)
DEFINE_MOVX(movsx_to64_, 32, (u64)(s32), x86_exec_movsx)

struct movx_forms {
	x86_exec_fn *rr[3], *rm[NR_ADDRESSINGS][3];
};

static const struct movx_forms movzx_forms = {
	.rr = { movzx_rr8, movzx_rr16 },
	.rm = { { movzx_rm_flat8, movzx_rm_flat16 }, { movzx_rm_long8, movzx_rm_long16 } },
};

static const struct movx_forms movsx_forms[2] = {
	{
		.rr = { movsx_to32__rr8, movsx_to32__rr16 },
		.rm = { { movsx_to32__rm_flat8, movsx_to32__rm_flat16 },
			{ movsx_to32__rm_long8, movsx_to32__rm_long16 } },
	},
	{
		.rr = { movsx_to64__rr8, movsx_to64__rr16, movsx_to64__rr32 },
		.rm = { { movsx_to64__rm_flat8, movsx_to64__rm_flat16, movsx_to64__rm_flat32 },
			{ movsx_to64__rm_long8, movsx_to64__rm_long16, movsx_to64__rm_long32 } },
	},
};

x86_exec_fn *x86_pick_movx(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct movx_forms *forms = &movzx_forms;
	unsigned si = size_index(insn->operand[1].size), to = insn->operand[0].size;
	enum addressing a;

	if (to < 4)
		return NULL;
	if (insn->op != X86_OP_MOVZX)
		forms = &movsx_forms[to == 8];
	if (insn->operand[1].kind == X86_OPD_REG)
		return forms->rr[si];
	a = x86_pick_addressing(cpu, insn);
	return is_mem(insn, 1) && a != NR_ADDRESSINGS ? forms->rm[a][si] : NULL;
}

/* ---- LEA ------------------------------------------------------------------------------------- */

enum x86_result x86_exec_lea(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	reg_write(cpu, insn->operand[0].reg, x86_ea(cpu, insn), insn->operand[0].size);
	return X86_OK;
}

#define DEFINE_LEA(bits)                                                                                    \
	FORM(lea, bits)                                                                                     \
	{                                                                                                   \
		cpu->regs[insn->operand[0].reg] = (u##bits)(                                                \
			cpu->regs[insn->base] + (cpu->regs[insn->index] << insn->scale) + (u64)insn->disp); \
		return X86_OK;                                                                              \
	}

DEFINE_LEA(32)
DEFINE_LEA(64)

x86_exec_fn *x86_pick_lea(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;

	(void)cpu;
	if (size == 8 && insn->asize == 8)
		return lea64;
	return size == 4 && insn->asize >= 4 ? lea32 : NULL;
}

/* ---- BSWAP, MOVBE, XLAT ---------------------------------------------------------------------- */

static u64 swap_bytes(u64 value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

/* A 16-bit BSWAP is undefined; processors clear the word. */
enum x86_result x86_exec_bswap(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	u64 value = size == 2 ? 0 : swap_bytes(cpu->regs[insn->operand[0].reg], size);

	if (size == 4)
		value = __builtin_bswap32((u32)cpu->regs[insn->operand[0].reg]);
	reg_write(cpu, insn->operand[0].reg, value, size);
	return X86_OK;
}

enum x86_result x86_exec_movbe(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_operand_read(cpu, insn, 1, &value);
	return unlikely(r) ? r : x86_operand_write(cpu, insn, 0, swap_bytes(value, insn->operand[0].size));
}

enum x86_result x86_exec_xlat(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 ea = ea_add(insn, cpu->regs[X86_RBX], (s64)(cpu->regs[X86_RAX] & 0xff)), value;
	enum x86_result r = x86_mem_read(cpu, insn->seg, ea, 1, &value);

	if (likely(!r))
		reg_write(cpu, X86_RAX, value, 1);
	return r;
}

/* ---- CMOVcc, SETcc --------------------------------------------------------------------------- */

/* The source is read whatever the condition; a 32-bit destination is zero-extended whatever the condition. */
enum x86_result x86_exec_cmov(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 *d = &cpu->regs[insn->operand[0].reg];
	enum x86_result r;
	u64 value;

	r = x86_operand_read(cpu, insn, 1, &value);
	if (unlikely(r))
		return r;
	*d = merge(*d, condition(cpu->cc, insn->cond) ? value : *d, insn->operand[0].size);
	return X86_OK;
}

enum x86_result x86_exec_setcc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_operand_write(cpu, insn, 0, condition(cpu->cc, insn->cond));
}

#define DEFINE_COND(n)                                                                                      \
	static enum x86_result cmov##n##_rr32(struct x86_cpu *cpu, const struct x86_insn *insn)             \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
		u64 s = cpu->regs[insn->operand[1].reg];                                                    \
                                                                                                            \
		*d = (u32)(condition(cpu->cc, n) ? s : *d);                                                 \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result cmov##n##_rr64(struct x86_cpu *cpu, const struct x86_insn *insn)             \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
		u64 s = cpu->regs[insn->operand[1].reg];                                                    \
                                                                                                            \
		*d = condition(cpu->cc, n) ? s : *d;                                                        \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result set##n##_r(struct x86_cpu *cpu, const struct x86_insn *insn)                 \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = (*d & ~0xffull) | condition(cpu->cc, n);                                               \
		return X86_OK;                                                                              \
	}

#define EACH_COND(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

EACH_COND(DEFINE_COND)

static const struct {
	x86_exec_fn *cmov32, *cmov64, *set;
} cond_forms[16] = {
#define X(n) { cmov##n##_rr32, cmov##n##_rr64, set##n##_r },
	EACH_COND(X)
#undef X
};

x86_exec_fn *x86_pick_cmov(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	if (insn->operand[1].kind != X86_OPD_REG || insn->operand[0].size < 4)
		return NULL;
	return insn->operand[0].size == 4 ? cond_forms[insn->cond].cmov32 : cond_forms[insn->cond].cmov64;
}

x86_exec_fn *x86_pick_setcc(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	return insn->operand[0].kind == X86_OPD_REG ? cond_forms[insn->cond].set : NULL;
}
