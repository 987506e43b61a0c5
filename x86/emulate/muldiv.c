/* SPDX-License-Identifier: GPL-2.0-only */
/* MUL, IMUL, DIV, IDIV, CBW, CWD and the decimal adjustments. */
#include "x86/emulate/emulate.h"

/* ---- MUL, IMUL, DIV, IDIV on rDX:rAX ------------------------------------------------------------- */

/*
 * The undefined flags stay on some processors and change on others, so the guest's go in and what the host
 * makes of them comes out. 8-bit forms use AX alone and leave d as it is.
 */
#define MULDIV(op, bits, m)                                                                                 \
	static u32 op##bits(u64 *a, u64 *d, u64 s, u32 cc)                                                  \
	{                                                                                                   \
		u32 ax = ax_of(cc);                                                                         \
                                                                                                            \
		asm(SET_FLAGS "mov %%rcx, %%rax\n\t" #op " %" m "[s]\n\tmov %%rax, %%rcx" GET_FLAGS         \
		    : "+&a"(ax), "+&d"(*d), "+&c"(*a)                                                       \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		return cc_of(ax);                                                                           \
	}

#define SIZES(op) MULDIV(op, 8, "b") MULDIV(op, 16, "w") MULDIV(op, 32, "k") MULDIV(op, 64, "q")

SIZES(mul)
SIZES(imul)
SIZES(div)
SIZES(idiv)

typedef u32 muldiv_fn(u64 *a, u64 *d, u64 s, u32 cc);

#define FOUR(name) { name##8, name##16, name##32, name##64 }

static muldiv_fn *const mul_fns[2][4] = { FOUR(mul), FOUR(imul) };
static muldiv_fn *const div_fns[2][4] = { FOUR(div), FOUR(idiv) };

enum x86_result x86_exec_mul(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	muldiv_fn *fn = mul_fns[insn->op == X86_OP_IMUL1][size_index(insn->operand[0].size)];
	enum x86_result r;
	u64 s;

	r = x86_operand_read(cpu, insn, 0, &s);
	if (likely(!r))
		cpu->cc = fn(&cpu->regs[X86_RAX], &cpu->regs[X86_RDX], s, cpu->cc);
	return r;
}

/* Whether n / s fits: the host would raise SIGFPE. False for s == 0. */
static bool idiv_fits(__int128 n, s64 s, unsigned size)
{
	bool opposite = (n < 0) != (s < 0);
	unsigned __int128 magnitude = n < 0 ? -(unsigned __int128)n : (unsigned __int128)n;
	u64 divisor = s < 0 ? -(u64)s : (u64)s;
	u64 over = (size_mask(size) >> 1) + opposite + 1; /* the least quotient that does not fit */

	return magnitude < (unsigned __int128)over * divisor;
}

enum x86_result x86_exec_div(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	bool is_signed = insn->op == X86_OP_IDIV, fits;
	u64 high, low, s;
	enum x86_result r;

	r = x86_operand_read(cpu, insn, 0, &s);
	if (unlikely(r))
		return r;
	low = reg_read(cpu, X86_RAX, size);
	high = size == 1 ? cpu->regs[X86_RAX] >> 8 & 0xff : reg_read(cpu, X86_RDX, size);
	if (is_signed)
		fits = idiv_fits((__int128)(s64)sign_extend(high, size) * ((__int128)1 << 8 * size) + low,
				 (s64)sign_extend(s, size), size);
	else
		fits = high < s;
	if (unlikely(!fits))
		return x86_raise(cpu, X86_DE, 0);
	cpu->cc = div_fns[is_signed][size_index(size)](&cpu->regs[X86_RAX], &cpu->regs[X86_RDX], s, cpu->cc);
	return X86_OK;
}

/* ---- IMUL with two or three operands --------------------------------------------------------- */

#define IMUL2(bits, m)                                                                                      \
	static always_inline u64 imul2_##bits(u64 d, u64 s, u32 *cc)                                        \
	{                                                                                                   \
		u32 ax = ax_of(*cc);                                                                        \
                                                                                                            \
		asm(SET_FLAGS "imul %" m "[s], %" m "[d]" GET_FLAGS                                        \
		    : [d] "+r"(d), "+&a"(ax)                                                                \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}                                                                                                   \
	static enum x86_result imul_rr##bits(struct x86_cpu *cpu, const struct x86_insn *insn)              \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = imul2_##bits(*d, cpu->regs[insn->operand[1].reg], &cpu->cc);                           \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result imul_rri##bits(struct x86_cpu *cpu, const struct x86_insn *insn)             \
	{                                                                                                   \
		u64 s = imul2_##bits(cpu->regs[insn->operand[1].reg], insn->imm, &cpu->cc);                 \
                                                                                                            \
		reg_write(cpu, insn->operand[0].reg, s, bits / 8);                                          \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result imul_rm_long##bits(struct x86_cpu *cpu, const struct x86_insn *insn)         \
	{                                                                                                   \
		const void *host = fast_read(cpu, insn, LONG, bits / 8);                                    \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_imul(cpu, insn);                                                    \
		*d = imul2_##bits(*d, MEM_LOAD(bits, host), &cpu->cc);                                      \
		return X86_OK;                                                                              \
	}

IMUL2(16, "w")
IMUL2(32, "k")
IMUL2(64, "q")

enum x86_result x86_exec_imul(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool three = insn->nr_operands == 3;
	unsigned size = insn->operand[0].size;
	u64 d = cpu->regs[insn->operand[0].reg], s;
	enum x86_result r;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	if (three)
		d = insn->imm;
	if (size == 2)
		d = imul2_16(d, s, &cpu->cc);
	else if (size == 4)
		d = imul2_32(d, s, &cpu->cc);
	else
		d = imul2_64(d, s, &cpu->cc);
	reg_write(cpu, insn->operand[0].reg, d, size);
	return X86_OK;
}

static const struct x86_forms imul_forms = {
	.rr = { NULL, imul_rr16, imul_rr32, imul_rr64 },
	.rm[LONG] = { NULL, imul_rm_long16, imul_rm_long32, imul_rm_long64 },
};

x86_exec_fn *x86_pick_imul(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	static x86_exec_fn *const rri[4] = { NULL, imul_rri16, imul_rri32, imul_rri64 };

	if (insn->nr_operands == 2)
		return x86_pick_form(&imul_forms, cpu, insn);
	return insn->operand[1].kind == X86_OPD_REG ? rri[size_index(insn->operand[0].size)] : NULL;
}

/* ---- sign extension of rAX ------------------------------------------------------------------- */

enum x86_result x86_exec_cbw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	reg_write(cpu, X86_RAX, sign_extend(cpu->regs[X86_RAX], insn->osize / 2), insn->osize);
	return X86_OK;
}

enum x86_result x86_exec_cwd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 sign = sign_extend(cpu->regs[X86_RAX], insn->osize) >> 63;

	reg_write(cpu, X86_RDX, -sign, insn->osize);
	return X86_OK;
}

/* ---- decimal adjustments (SDM vol. 2); 64-bit hosts do not have them ------------------------- */

/* SF, ZF, PF of a byte. */
static u32 cc_byte(u8 value)
{
	u32 cc = __builtin_parity(value) ? 0 : X86_PF;

	return cc | (value ? 0 : X86_ZF) | (value & 0x80 ? X86_SF : 0);
}

/* OF is undefined: 0 here. */
enum x86_result x86_exec_daa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u8 old = (u8)cpu->regs[X86_RAX], al = old;
	bool subtract = insn->op == X86_OP_DAS;
	bool carry = cpu->cc & X86_CF, high = old > 0x99 || carry;
	bool low = (old & 15) > 9 || (cpu->cc & X86_AF);

	if (low) {
		/* DAS: a borrow out of the first step stays in CF (SDM, DAS, Operation). */
		carry = subtract && (carry || old < 6);
		al = subtract ? al - 6 : al + 6;
	} else {
		carry = false;
	}
	if (high) {
		al = subtract ? al - 0x60 : al + 0x60;
		carry = true;
	}
	reg_write(cpu, X86_RAX, al, 1);
	cpu->cc = cc_byte(al) | (low ? X86_AF : 0) | (carry ? X86_CF : 0);
	return X86_OK;
}

enum x86_result x86_exec_aaa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u16 ax = (u16)cpu->regs[X86_RAX];
	bool adjust = (ax & 15) > 9 || (cpu->cc & X86_AF);

	if (adjust)
		ax = insn->op == X86_OP_AAA ? ax + 0x106 : ax - 0x106;
	ax &= 0xff0f;
	reg_write(cpu, X86_RAX, ax, 2);
	cpu->cc = cc_byte((u8)ax) | (adjust ? X86_AF | X86_CF : 0);
	return X86_OK;
}

enum x86_result x86_exec_aam(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u8 al = (u8)cpu->regs[X86_RAX], base = (u8)insn->imm;

	if (!base)
		return x86_raise(cpu, X86_DE, 0);
	reg_write(cpu, X86_RAX, (u64)(al / base) << 8 | al % base, 2);
	cpu->cc = cc_byte(al % base);
	return X86_OK;
}

enum x86_result x86_exec_aad(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u8 al = (u8)(cpu->regs[X86_RAX] + (cpu->regs[X86_RAX] >> 8 & 0xff) * (u8)insn->imm);

	reg_write(cpu, X86_RAX, al, 2);
	cpu->cc = cc_byte(al);
	return X86_OK;
}
