/* SPDX-License-Identifier: GPL-2.0-only */
/* Bit test and scan, BMI, ADX, CRC32. */
#include "x86/emulate/emulate.h"

#define FOUR_BUT_8(name) { NULL, name##16, name##32, name##64 }

/* ---- BT, BTS, BTR, BTC ----------------------------------------------------------------------- */

/* Only CF is defined and, as on every processor seen, the other flags stay. */
#define BIT_TEST(op, bits, m)                                                                               \
	static always_inline u64 op##bits(u64 d, u64 s, u32 *cc)                                            \
	{                                                                                                   \
		bool c;                                                                                     \
                                                                                                            \
		asm(#op " %" m "[s], %" m "[d]" : [d] "+r"(d), "=@ccc"(c) : [s] "r"(s));                    \
		*cc = (*cc & ~X86_CF) | c;                                                                  \
		return d;                                                                                   \
	}

/* The bit offset is within the operand: the caller has moved the address. */
#define LOCK_BIT_TEST(op, bits, m)                                                                          \
	static void lock_##op##bits(void *p, u64 s, u32 *cc)                                                \
	{                                                                                                   \
		bool c;                                                                                     \
                                                                                                            \
		asm volatile("lock " #op " %" m "[s], %[p]"                                                 \
			     : [p] "+m"(*(mem_u##bits *)p), "=@ccc"(c)                                      \
			     : [s] "r"(s & (bits - 1))                                                      \
			     : "memory");                                                                   \
		*cc = (*cc & ~X86_CF) | c;                                                                  \
	}

#define SIZES(X, op) X(op, 16, "w") X(op, 32, "k") X(op, 64, "q")

SIZES(BIT_TEST, bt)
SIZES(BIT_TEST, bts)
SIZES(BIT_TEST, btr)
SIZES(BIT_TEST, btc)
SIZES(LOCK_BIT_TEST, bts)
SIZES(LOCK_BIT_TEST, btr)
SIZES(LOCK_BIT_TEST, btc)

typedef u64 bit_fn(u64 d, u64 s, u32 *cc);
typedef void bit_lock_fn(void *p, u64 s, u32 *cc);

static bit_fn *const bit_fns[][4] = {
	FOUR_BUT_8(bt), FOUR_BUT_8(bts), FOUR_BUT_8(btr), FOUR_BUT_8(btc),
};

static bit_lock_fn *const bit_lock_fns[][4] = {
	{ NULL }, FOUR_BUT_8(lock_bts), FOUR_BUT_8(lock_btr), FOUR_BUT_8(lock_btc),
};

/*
 * The linear address of the unit that holds the bit: a register offset is signed and reaches beyond the
 * operand.
 */
static enum x86_result bit_linear(struct x86_cpu *cpu, const struct x86_insn *insn, u64 offset,
				  unsigned access,
				  u64 *gva)
{
	unsigned size = insn->operand[0].size;
	u64 ea = x86_ea(cpu, insn);

	if (insn->operand[1].kind == X86_OPD_REG) {
		s64 unit = (s64)sign_extend(offset, size) >> (size_index(size) + 3);

		ea = ea_add(insn, ea, unit * size);
	}
	return x86_linear(cpu, insn->seg, ea, size, access, gva);
}

static enum x86_result bit_mem(struct x86_cpu *cpu, const struct x86_insn *insn, u64 offset)
{
	bit_fn *fn = bit_fns[insn->op - X86_OP_BT][size_index(insn->operand[0].size)];
	unsigned size = insn->operand[0].size;
	bool write = insn->op != X86_OP_BT;
	u32 cc = cpu->cc;
	enum x86_result r;
	u64 gva, d;

	r = bit_linear(cpu, insn, offset, write ? X86_ACCESS_WRITE : X86_ACCESS_READ, &gva);
	if (unlikely(r))
		return r;
	r = write ? x86_rmw_linear(cpu, gva, size, &d) : x86_read_linear(cpu, gva, size, &d);
	if (unlikely(r))
		return r;
	d = fn(d, offset, &cc);
	r = write ? x86_write_linear(cpu, gva, size, d) : X86_OK;
	if (likely(!r))
		cpu->cc = cc;
	return r;
}

enum x86_result x86_exec_bt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	u64 *d = &cpu->regs[insn->operand[0].reg], offset;

	x86_operand_read(cpu, insn, 1, &offset);
	if (is_mem(insn, 0))
		return bit_mem(cpu, insn, offset);
	*d = bit_fns[insn->op - X86_OP_BT][size_index(size)](*d, offset, &cpu->cc);
	return X86_OK;
}

enum x86_result x86_exec_bt_lock(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	void *host = NULL;
	enum x86_result r;
	u64 offset, gva;

	x86_operand_read(cpu, insn, 1, &offset);
	r = bit_linear(cpu, insn, offset, X86_ACCESS_WRITE, &gva);
	if (unlikely(r))
		return r;
	host = tlb_rmw(cpu, gva, size);
	if (!host)
		r = cpu->mem->pin(cpu, gva, size, X86_ACCESS_WRITE | X86_ACCESS_RMW, &host);
	if (unlikely(r))
		return r;
	if (unlikely(!host))
		return x86_bus_locked(cpu, insn, x86_exec_bt);
	bit_lock_fns[insn->op - X86_OP_BT][size_index(size)](host, offset, &cpu->cc);
	return X86_OK;
}

#define DEFINE_BT(op, bits)                                                                                 \
	static enum x86_result op##_ri##bits(struct x86_cpu *cpu, const struct x86_insn *insn)              \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, insn->imm, &cpu->cc);                                                     \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result op##_rr##bits(struct x86_cpu *cpu, const struct x86_insn *insn)              \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg];                                                  \
                                                                                                            \
		*d = op##bits(*d, cpu->regs[insn->operand[1].reg], &cpu->cc);                               \
		return X86_OK;                                                                              \
	}

DEFINE_BT(bt, 32)
DEFINE_BT(bt, 64)
DEFINE_BT(bts, 32)
DEFINE_BT(bts, 64)
DEFINE_BT(btr, 32)
DEFINE_BT(btr, 64)
DEFINE_BT(btc, 32)
DEFINE_BT(btc, 64)

#define ROW(op)                                                                                             \
	{                                                                                                   \
		.rr = { NULL, NULL, op##_rr32, op##_rr64 }, .ri = { NULL, NULL, op##_ri32, op##_ri64 },     \
	}

static const struct x86_forms bt_forms[] = { ROW(bt), ROW(bts), ROW(btr), ROW(btc) };

x86_exec_fn *x86_pick_bt(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_pick_form(&bt_forms[insn->op - X86_OP_BT], cpu, insn);
}

/* ---- BSF, BSR, LZCNT, TZCNT, POPCNT ---------------------------------------------------------- */

/*
 * BSF and BSR of 0 leave the destination as it was; asked of the host, which knows how it treats bits 63:32.
 * Flags go in because these instructions leave some alone.
 */
#define SCAN(op, bits, m)                                                                                   \
	static u64 op##bits(u64 d, u64 s, u32 *cc)                                                          \
	{                                                                                                   \
		u32 ax = ax_of(*cc);                                                                        \
                                                                                                            \
		asm(SET_FLAGS #op " %" m "[s], %" m "[d]" GET_FLAGS                                         \
		    : [d] "+r"(d), "+&a"(ax)                                                                \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}

SIZES(SCAN, bsf)
SIZES(SCAN, bsr)
/* The feature check is x86_bind's: a guest that is offered these runs on a host that has them. */
SIZES(SCAN, popcnt)
SIZES(SCAN, lzcnt)
SIZES(SCAN, tzcnt)

typedef u64 scan_fn(u64 d, u64 s, u32 *cc);

static scan_fn *const scan_fns[][4] = {
	FOUR_BUT_8(bsf), FOUR_BUT_8(bsr), FOUR_BUT_8(popcnt), FOUR_BUT_8(lzcnt), FOUR_BUT_8(tzcnt),
};

enum x86_result x86_exec_bitscan(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 *d = &cpu->regs[insn->operand[0].reg];
	enum x86_result r;
	u64 s;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	*d = scan_fns[insn->op - X86_OP_BSF][size_index(insn->operand[0].size)](*d, s, &cpu->cc);
	return X86_OK;
}

/* ---- ADCX, ADOX ------------------------------------------------------------------------------ */

enum x86_result x86_exec_adx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 flag = insn->op == X86_OP_ADCX ? X86_CF : X86_OF;
	unsigned size = insn->operand[0].size;
	u64 d = reg_read(cpu, insn->operand[0].reg, size), s;
	enum x86_result r;
	bool carry;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	if (size == 8) {
		carry = __builtin_add_overflow(d, s, &d);
		carry |= __builtin_add_overflow(d, (u64) !!(cpu->cc & flag), &d);
	} else {
		d += s + !!(cpu->cc & flag);
		carry = d >> 32;
	}
	reg_write(cpu, insn->operand[0].reg, d, size);
	cc_update(cpu, flag, carry ? flag : 0);
	return X86_OK;
}

/* ---- BMI1, BMI2 with three operands: [G] from two sources ------------------------------------ */

/* d is the second operand, s the third, whichever of them VEX.vvvv encodes. */
#define BMI(op, bits, m)                                                                                    \
	static u64 op##bits(u64 d, u64 s, u32 *cc)                                                          \
	{                                                                                                   \
		u32 ax = ax_of(*cc);                                                                        \
                                                                                                            \
		asm(SET_FLAGS #op " %" m "[s], %" m "[d], %" m "[d]" GET_FLAGS                              \
		    : [d] "+r"(d), "+&a"(ax)                                                                \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}

#define BMI_SIZES(op) BMI(op, 32, "k") BMI(op, 64, "q")

BMI_SIZES(andn)
BMI_SIZES(pdep)
BMI_SIZES(pext)
BMI_SIZES(bextr)
BMI_SIZES(bzhi)

typedef u64 bmi_fn(u64 d, u64 s, u32 *cc);

static const struct {
	bmi_fn *fn[2];
	bool flags;
} bmi_ops[] = {
	[X86_OP_ANDN - X86_OP_ANDN] = { { andn32, andn64 }, true },
	[X86_OP_BEXTR - X86_OP_ANDN] = { { bextr32, bextr64 }, true },
	[X86_OP_BZHI - X86_OP_ANDN] = { { bzhi32, bzhi64 }, true },
	[X86_OP_PDEP - X86_OP_ANDN] = { { pdep32, pdep64 }, false },
	[X86_OP_PEXT - X86_OP_ANDN] = { { pext32, pext64 }, false },
};

enum x86_result x86_exec_bmi(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool wide = insn->operand[0].size == 8;
	u32 cc = cpu->cc;
	enum x86_result r;
	u64 a, b, d;

	r = x86_operand_read(cpu, insn, 1, &a);
	if (likely(!r))
		r = x86_operand_read(cpu, insn, 2, &b);
	if (unlikely(r))
		return r;
	d = bmi_ops[insn->op - X86_OP_ANDN].fn[wide](a, b, &cc);
	if (bmi_ops[insn->op - X86_OP_ANDN].flags)
		cpu->cc = cc;
	reg_write(cpu, insn->operand[0].reg, d, insn->operand[0].size);
	return X86_OK;
}

#define BLS(op, bits, m)                                                                                    \
	static u64 op##bits(u64 s, u32 *cc)                                                                 \
	{                                                                                                   \
		u32 ax = ax_of(*cc);                                                                        \
		u64 d;                                                                                      \
                                                                                                            \
		asm(SET_FLAGS #op " %" m "[s], %" m "[d]" GET_FLAGS                                         \
		    : [d] "=&r"(d), "+&a"(ax)                                                               \
		    : [s] "r"(s)                                                                            \
		    : "cc");                                                                                \
		*cc = cc_of(ax);                                                                            \
		return d;                                                                                   \
	}

BLS(blsi, 32, "k")
BLS(blsi, 64, "q")
BLS(blsmsk, 32, "k")
BLS(blsmsk, 64, "q")
BLS(blsr, 32, "k")
BLS(blsr, 64, "q")

typedef u64 bls_fn(u64 s, u32 *cc);

static bls_fn *const bls_fns[][2] = {
	{ blsi32, blsi64 },
	{ blsmsk32, blsmsk64 },
	{ blsr32, blsr64 },
};

enum x86_result x86_exec_bls(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	enum x86_result r;
	u64 s;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	s = bls_fns[insn->op - X86_OP_BLSI][size == 8](s, &cpu->cc);
	reg_write(cpu, insn->operand[0].reg, s, size);
	return X86_OK;
}

/* [high] [low] [E]: when both are one register it ends up with the high half. */
enum x86_result x86_exec_mulx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	u64 high, low, s;
	enum x86_result r;

	r = x86_operand_read(cpu, insn, 2, &s);
	if (unlikely(r))
		return r;
	if (size == 8) {
		unsigned __int128 p = (unsigned __int128)s * cpu->regs[X86_RDX];

		low = (u64)p;
		high = (u64)(p >> 64);
	} else {
		low = s * (u32)cpu->regs[X86_RDX];
		high = low >> 32;
	}
	reg_write(cpu, insn->operand[1].reg, low, size);
	reg_write(cpu, insn->operand[0].reg, high, size);
	return X86_OK;
}

/* ---- CRC32 ----------------------------------------------------------------------------------- */

enum x86_result x86_exec_crc32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 crc = (u32)cpu->regs[insn->operand[0].reg];
	enum x86_result r;
	u64 s, wide = crc;

	r = x86_operand_read(cpu, insn, 1, &s);
	if (unlikely(r))
		return r;
	switch (insn->operand[1].size) {
	case 1:
		asm("crc32b %b[s], %[crc]" : [crc] "+r"(crc) : [s] "r"(s));
		break;
	case 2:
		asm("crc32w %w[s], %[crc]" : [crc] "+r"(crc) : [s] "r"(s));
		break;
	case 4:
		asm("crc32l %k[s], %[crc]" : [crc] "+r"(crc) : [s] "r"(s));
		break;
	default:
		asm("crc32q %[s], %[crc]" : [crc] "+r"(wide) : [s] "r"(s));
		crc = (u32)wide;
		break;
	}
	cpu->regs[insn->operand[0].reg] = crc;
	return X86_OK;
}
