/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The notation of the decode tables; included by x86/opcodes_*.c and x86/decode.c only.
 *
 * A table has an entry for each opcode byte: T(row, row...), tried in order. A row is
 *
 *	I(name, operation, selectors, O(operands), status flags, attributes)	integer and system
 *	F(name, selectors, O(operands), status flags, attributes)		x87
 *	MX(name, selectors, O(operands), feature, attributes)			MMX
 *	S(name, selectors, O(operands), feature, attributes)			SSE, legacy encoding
 *	V(name, selectors, O(operands), feature, attributes)			VEX;  V2: feature AVX for 128
 *               bits, AVX2 for 256
 *	E(name, selectors, O(operands), feature, element size, attributes)	EVEX
 *	K(name, selectors, O(operands), feature)				AVX-512 mask registers (VEX)
 *
 * Selectors say which encodings of the opcode the row is for:
 *	NP P66 PF3 PF2	mandatory prefix, or VEX.pp. F2 or F3, the last of them, beats 66. A row without any
 * takes all.
 *	NREP		neither F2 nor F3; 66 is an ordinary prefix
 *	W0 W1		REX.W, VEX.W, EVEX.W
 *	L0 L1 L01 LIG	VEX.L; L0 .. L012 EVEX.L'L
 *	REGn RMn	modrm.reg, modrm.rm
 *	MEM MOD3	modrm.mod: not 3, 3
 *	M64 M32		in 64-bit mode, in 16- and 32-bit modes
 *
 * Operands are the manual's letters for where (E G V W ...) and what (b w d q v z ...), as in AMD's APM vol.
 * 3 appendix A and Intel's SDM vol. 2 appendix A, with these deviations:
 *	- types: o is 16 bytes (dq), qq 32, zz 64; x is the vector length, h f e its half, quarter and eighth;
 *	  a vector *register* is always a whole one (at least XMM), the type is what memory has; '0' is no
 *	  size
 *	- scalar SS, SD are d and q
 *	- Edb, Eyw...: a register of the first size, memory of the second
 *	- R and U, N: modrm.rm must be a register; M: must be memory; MV: VSIB memory
 *	- Kg, Ke, Kr, Kh: mask register in modrm.reg, in modrm.rm or memory, in modrm.rm, in vvvv
 *	- B: general register in VEX.vvvv
 *	- Ib is zero-extended, Ibs sign-extended to the operand size; Iw zero-extended; Iz sign-extended; I2b,
 *	  I2w: the second immediate (x86_insn.imm2)
 *	- X0: there is a modrm byte, but its operand is of no interest
 *	- Sop: segment register in bits 3..5 of the opcode; Zv: general register in bits 0..2
 * Access: an operand is read; "| w" written; "| m" read and written; "| n" neither (an address).
 *
 * Attributes are X86_F_* without the prefix (low half) and the rules of the encoding (X86_ENC_*, high half).
 */
#ifndef ANYKVM_X86_OPCODES_NOTATION_H
#define ANYKVM_X86_OPCODES_NOTATION_H

#include "x86/cpu.h"
#include "x86/opcodes.h"

/* ---- selectors: match bits in the low half, the mask of those that count in the high half ---------- */

#define X86_SEL(match, mask) ((u32)(match) | (u32)(mask) << 16)
#define X86_SEL_PP	0x0003u
#define X86_SEL_W	0x0004u
#define X86_SEL_MOD3	0x0008u
#define X86_SEL_REG(n)	((n) << 4)
#define X86_SEL_RM(n)	((n) << 7)
#define X86_SEL_M64	0x0400u
#define X86_SEL_L(n)	(0x1000u << (n)) /* one bit for each allowed vector length, never masked */
#define X86_SEL_MODRM	(X86_SEL_MOD3 | X86_SEL_REG(7) | X86_SEL_RM(7))

#define NP	X86_SEL(0, X86_SEL_PP)
#define P66	X86_SEL(1, X86_SEL_PP)
#define PF3	X86_SEL(2, X86_SEL_PP)
#define PF2	X86_SEL(3, X86_SEL_PP)
#define NREP	X86_SEL(0, 2)	/* none or 66 */
#define W0	X86_SEL(0, X86_SEL_W)
#define W1	X86_SEL(X86_SEL_W, X86_SEL_W)
#define MEM	X86_SEL(0, X86_SEL_MOD3)
#define MOD3	X86_SEL(X86_SEL_MOD3, X86_SEL_MOD3)
#define REGN(n)	X86_SEL(X86_SEL_REG(n), X86_SEL_REG(7))
#define REG0	REGN(0)
#define REG1	REGN(1)
#define REG2	REGN(2)
#define REG3	REGN(3)
#define REG4	REGN(4)
#define REG5	REGN(5)
#define REG6	REGN(6)
#define REG7	REGN(7)
#define RMN(n)	X86_SEL(X86_SEL_RM(n), X86_SEL_RM(7))
#define RM0	RMN(0)
#define RM1	RMN(1)
#define RM2	RMN(2)
#define RM3	RMN(3)
#define RM4	RMN(4)
#define RM5	RMN(5)
#define RM6	RMN(6)
#define RM7	RMN(7)
#define M64	X86_SEL(X86_SEL_M64, X86_SEL_M64)
#define M32	X86_SEL(0, X86_SEL_M64)
#define L0	X86_SEL_L(0)
#define L1	X86_SEL_L(1)
#define L2	X86_SEL_L(2)
#define L01	(L0 | L1)
#define L12	(L1 | L2)
#define L012	(L0 | L1 | L2)
#define LIG	(L0 | L1 | L2 | X86_ENC_LIG_BIT)
#define X86_ENC_LIG_BIT 0x8000u /* L counts for nothing: vlen is 16 */

/* ---- operands -------------------------------------------------------------------------------------- */

/* Where an operand is. Those from X86_M_MODRM on need a modrm byte. */
enum x86_method {
	X86_M_NONE,
	X86_M_A,	/* RAX */
	X86_M_C,	/* RCX */
	X86_M_D,	/* RDX */
	X86_M_ONE,	/* constant 1 */
	X86_M_ST0,
	X86_M_Z,	/* general register in the opcode */
	X86_M_SOP,	/* segment register in the opcode */
	X86_M_I,	/* immediate, sign-extended */
	X86_M_IU,	/* immediate, zero-extended */
	X86_M_I2,	/* second immediate, zero-extended */
	X86_M_J,	/* relative branch target */
	X86_M_O,	/* moffs */
	X86_M_B,	/* general register in vvvv */
	X86_M_H,	/* vector register in vvvv */
	X86_M_KH,	/* mask register in vvvv */
	X86_M_L,	/* vector register in imm8[7:4] */

	X86_M_MODRM,	/* nothing but the modrm byte */
	X86_M_E, X86_M_G, X86_M_R, X86_M_M, X86_M_MV,
	X86_M_V, X86_M_W, X86_M_U,
	X86_M_P, X86_M_Q, X86_M_N,
	X86_M_KG, X86_M_KE, X86_M_KR,
	X86_M_S, X86_M_CR, X86_M_DR,
	X86_M_STI,	/* ST(modrm.rm) */
};

/* What it is: sizes in bytes. */
enum x86_type {
	X86_T_0,
	X86_T_b, X86_T_w, X86_T_d, X86_T_q, X86_T_o, X86_T_qq, X86_T_zz, X86_T_t, /* 1 2 4 8 16 32 64, 10 */
	X86_T_v,	/* osize */
	X86_T_z,	/* osize, at most 4 */
	X86_T_y,	/* 8 with W in 64-bit mode, else 4 */
	X86_T_m,	/* 8 in 64-bit mode, else 4 */
	X86_T_p,	/* far pointer: osize + 2, but 6 if osize is 8 (AMD) */
	X86_T_a,	/* two of osize */
	X86_T_x, X86_T_h, X86_T_f, X86_T_e, /* vector length and its half, quarter, eighth */
	X86_T_env,	/* x87 environment: 14 or 28 */
	X86_T_st,	/* x87 state: 94 or 108 */
	X86_T_bs,	/* one byte sign-extended to osize */
	X86_T_vw, X86_T_db, X86_T_dw, X86_T_yb, X86_T_yw, /* register, memory */
};

#define X86_OPD(method, type) ((X86_M_##method) | (X86_T_##type) << 6)
#define X86_OPD_METHOD(o) ((o) & 63)
#define X86_OPD_TYPE(o) ((o) >> 6 & 63)
#define X86_OPD_ACCESS(o) ((o) >> 12 & 3)

enum {
	w = 1 << 12,
	m = 2 << 12,
	n = 3 << 12,

	ALb = X86_OPD(A, b), AXw = X86_OPD(A, w), eAXz = X86_OPD(A, z), rAXv = X86_OPD(A, v),
	CLb = X86_OPD(C, b), DXw = X86_OPD(D, w), One = X86_OPD(ONE, b), ST0 = X86_OPD(ST0, t),
	Zb = X86_OPD(Z, b), Zv = X86_OPD(Z, v), Sop = X86_OPD(SOP, w),
	Ib = X86_OPD(IU, b), Iw = X86_OPD(IU, w), Ap = X86_OPD(IU, z),
	I2b = X86_OPD(I2, b), I2w = X86_OPD(I2, w),
	Ibs = X86_OPD(I, bs), Iz = X86_OPD(I, z), Iv = X86_OPD(I, v),
	Jb = X86_OPD(J, b), Jz = X86_OPD(J, z), Ob = X86_OPD(O, b), Ov = X86_OPD(O, v),
	By = X86_OPD(B, y),

	X0 = X86_OPD(MODRM, 0),
	E0 = X86_OPD(E, 0), Eb = X86_OPD(E, b), Ew = X86_OPD(E, w), Ed = X86_OPD(E, d), Eq = X86_OPD(E, q),
	Ev = X86_OPD(E, v), Ez = X86_OPD(E, z), Ey = X86_OPD(E, y), Em = X86_OPD(E, m),
	Evw = X86_OPD(E, vw), Edb = X86_OPD(E, db), Edw = X86_OPD(E, dw),
	Eyb = X86_OPD(E, yb), Eyw = X86_OPD(E, yw),
	Gb = X86_OPD(G, b), Gw = X86_OPD(G, w), Gd = X86_OPD(G, d), Gq = X86_OPD(G, q), Gv = X86_OPD(G, v),
	Gy = X86_OPD(G, y), Gm = X86_OPD(G, m),
	Rd = X86_OPD(R, d), Rq = X86_OPD(R, q), Rv = X86_OPD(R, v), Ry = X86_OPD(R, y), Rm = X86_OPD(R, m),
	Rw = X86_OPD(R, w),
	M0 = X86_OPD(M, 0), Mb = X86_OPD(M, b), Mw = X86_OPD(M, w), Md = X86_OPD(M, d), Mq = X86_OPD(M, q),
	Mo = X86_OPD(M, o), Mqq = X86_OPD(M, qq), Mzz = X86_OPD(M, zz), Mt = X86_OPD(M, t),
	My = X86_OPD(M, y),
	Mv = X86_OPD(M, v), Mp = X86_OPD(M, p), Ma = X86_OPD(M, a), Mx = X86_OPD(M, x), Mh = X86_OPD(M, h),
	Menv = X86_OPD(M, env), Mst = X86_OPD(M, st),
	MVd = X86_OPD(MV, d), MVq = X86_OPD(MV, q),
	Sw = X86_OPD(S, w), Cm = X86_OPD(CR, m), Dm = X86_OPD(DR, m), STi = X86_OPD(STI, t),

	Vo = X86_OPD(V, o), Vqq = X86_OPD(V, qq), Vx = X86_OPD(V, x), Vh = X86_OPD(V, h), Vf = X86_OPD(V, f),
	Ve = X86_OPD(V, e),
	Ho = X86_OPD(H, o), Hqq = X86_OPD(H, qq), Hx = X86_OPD(H, x), Hh = X86_OPD(H, h),
	Uo = X86_OPD(U, o), Uqq = X86_OPD(U, qq), Ux = X86_OPD(U, x), Uh = X86_OPD(U, h),
	Wb = X86_OPD(W, b), Ww = X86_OPD(W, w), Wd = X86_OPD(W, d), Wq = X86_OPD(W, q), Wo = X86_OPD(W, o),
	Wqq = X86_OPD(W, qq), Wx = X86_OPD(W, x), Wh = X86_OPD(W, h), Wf = X86_OPD(W, f), We = X86_OPD(W, e),
	Lo = X86_OPD(L, o), Lqq = X86_OPD(L, qq), Lx = X86_OPD(L, x),
	Pq = X86_OPD(P, q), Qd = X86_OPD(Q, d), Qq = X86_OPD(Q, q), Nq = X86_OPD(N, q),
	Kgb = X86_OPD(KG, b), Kgw = X86_OPD(KG, w), Kgd = X86_OPD(KG, d), Kgq = X86_OPD(KG, q),
	Keb = X86_OPD(KE, b), Kew = X86_OPD(KE, w), Ked = X86_OPD(KE, d), Keq = X86_OPD(KE, q),
	Krb = X86_OPD(KR, b), Krw = X86_OPD(KR, w), Krd = X86_OPD(KR, d), Krq = X86_OPD(KR, q),
	Khb = X86_OPD(KH, b), Khw = X86_OPD(KH, w), Khd = X86_OPD(KH, d), Khq = X86_OPD(KH, q),
};

/* ---- attributes ------------------------------------------------------------------------------------ */

#define X86_ENC_BYTE	BIT(0)	/* osize is 1 */
#define X86_ENC_D64	BIT(1)	/* 64-bit mode: osize 8, or 2 with 66 */
#define X86_ENC_F64	BIT(2)	/* 64-bit mode: osize 8 */
#define X86_ENC_IO	BIT(3)	/* osize at most 4 */
#define X86_ENC_NOMOD	BIT(4)	/* modrm.mod is ignored: always a register */
#define X86_ENC_COND	BIT(5)	/* condition code in the low opcode bits */
#define X86_ENC_ALTCR8	BIT(6)	/* LOCK is bit 3 of the control register's number (AMD) */
#define X86_ENC_K	BIT(7)	/* EVEX.aaa may mask */
#define X86_ENC_Z	BIT(8)	/* EVEX.z may zero (a register destination) */
#define X86_ENC_KREQ	BIT(9)	/* EVEX.aaa must not be 0 */
#define X86_ENC_BC	BIT(10)	/* EVEX.b broadcasts a memory element */
#define X86_ENC_ER	BIT(11)	/* EVEX.b with registers: rounding in L'L */
#define X86_ENC_SAE	BIT(12)	/* EVEX.b with registers: suppress exceptions */
#define X86_ENC_NELEM	BIT(13)	/* disp8 is multiplied by the element's size, not the operand's */
#define X86_ENC_DISTINCT BIT(14) /* #UD unless destination, index and mask registers differ */
#define X86_ENC_NO16	BIT(15)	/* #UD with 16-bit addressing */

#define X86_ENC_NO66	BIT(16)	/* 66 has no effect on osize */

#define ENC(e)	((u64)(e) << 32)
#define BYTE	ENC(X86_ENC_BYTE)
#define D64	ENC(X86_ENC_D64)
#define F64	ENC(X86_ENC_F64)
#define IO	ENC(X86_ENC_IO)
#define NOMOD	ENC(X86_ENC_NOMOD)
#define COND	ENC(X86_ENC_COND)
#define NO66	ENC(X86_ENC_NO66)
#define ALTCR8	ENC(X86_ENC_ALTCR8)
#define KM	ENC(X86_ENC_K)
#define KZ	ENC(X86_ENC_K | X86_ENC_Z)
#define KREQ	ENC(X86_ENC_K | X86_ENC_KREQ)
#define BC	ENC(X86_ENC_BC)
#define ER	ENC(X86_ENC_ER)
#define SAE	ENC(X86_ENC_SAE)
#define NELEM	ENC(X86_ENC_NELEM)
#define DISTINCT ENC(X86_ENC_DISTINCT)

#define LOCK	((u64)X86_F_LOCK)
#define CPL0	((u64)(X86_F_CPL0 | X86_F_SENSITIVE))
#define NO64	((u64)X86_F_NO64)
#define ONLY64	((u64)X86_F_ONLY64)
#define PROT	((u64)X86_F_PROT)
#define BRANCH	((u64)X86_F_BRANCH)
#define END	((u64)(X86_F_END | X86_F_SENSITIVE))
#define INNOC	((u64)X86_F_INNOCUOUS)
#define SENS	((u64)X86_F_SENSITIVE)
#define ALN	((u64)X86_F_ALIGN)
#define AL	((u64)X86_F_ALIGN_SSE)
#define FP	((u64)X86_F_SIMD_FP)
#define SO	((u64)X86_F_STORE_ONLY)
#define VSIB	((u64)X86_F_VSIB | ENC(X86_ENC_NO16))
#define MASKM	((u64)X86_F_MASKED_MEM)
#define DI	((u64)X86_F_IMPLICIT_DI)
#define CTL	((u64)X86_F_X87_CTL)
#define NOPTR	((u64)X86_F_X87_NOPTR)
#define VLX	((u64)X86_F_VL)
#define FVM	(KZ | MASKM | VLX)	/* "full vector memory": may mask, zero */
#define FV	(FVM | BC)		/* "full vector": and broadcast */

/* ---- status flags: read, written, undefined -------------------------------------------------------- */

#define X86_FL(r, wr, u) ((u64)(r) | (u64)(wr) << 16 | (u64)(u) << 32)
#define FL_NONE	X86_FL(0, 0, 0)

/* ---- rows ------------------------------------------------------------------------------------------ */

#define T(...)	((const struct x86_opcode[]){ __VA_ARGS__, { .name = NULL } })
#define O(...)	.opd = { __VA_ARGS__ }
#define X86_ROW(nm, o, s, fe, st, at)                                                                   \
	.name = (nm), .op = X86_OP_##o, .sel = (s), .feature = X86_FEAT_##fe, .state = X86_STATE_##st,  \
	.flags = (u32)(at), .enc = (u32)((at) >> 32)
#define X86_ROW_FL(fl)                                                                                  \
	.flags_read = (u16)(fl), .flags_written = (u16)((fl) >> 16), .flags_undefined = (u16)((fl) >> 32)
#define I(nm, o, s, ops, fl, at) { X86_ROW(nm, o, s, NONE, INT, (u64)(at)), ops, X86_ROW_FL(fl) }
#define IF(nm, o, s, ops, fl, fe, at) { X86_ROW(nm, o, s, fe, INT, (u64)(at)), ops, X86_ROW_FL(fl) }
#define F(nm, s, ops, fl, at) { X86_ROW(nm, X87, s, FPU, X87, (u64)(at) | INNOC), ops, X86_ROW_FL(fl) }
#define MX(nm, s, ops, fe, at) { X86_ROW(nm, NATIVE, s, fe, MMX, (u64)(at) | INNOC | X86_F_MMX), ops }
#define S(nm, s, ops, fe, at) { X86_ROW(nm, NATIVE, s, fe, SSE, (u64)(at) | INNOC), ops }
#define SF(nm, s, ops, fl, fe, at) { X86_ROW(nm, NATIVE, s, fe, SSE, (u64)(at) | INNOC), ops, X86_ROW_FL(fl) }
#define V(nm, s, ops, fe, at) { X86_ROW(nm, NATIVE, s, fe, AVX, (u64)(at) | INNOC), ops }
#define VE(nm, s, ops, fe, el, at) { X86_ROW(nm, NATIVE, s, fe, AVX, (u64)(at) | INNOC), ops, .elem = (el) }
#define VF(nm, s, ops, fl, fe, at) { X86_ROW(nm, NATIVE, s, fe, AVX, (u64)(at) | INNOC), ops, X86_ROW_FL(fl) }
#define V2(nm, s, ops, at)                                                                              \
	{ X86_ROW(nm, NATIVE, (s) | L0, AVX, AVX, (u64)(at) | INNOC), ops },                            \
	{ X86_ROW(nm, NATIVE, (s) | L1, AVX2, AVX, (u64)(at) | INNOC), ops }
#define K(nm, s, ops, fe) { X86_ROW(nm, NATIVE, s, fe, AVX512, INNOC), ops }
#define KF(nm, s, ops, fl, fe) { X86_ROW(nm, NATIVE, s, fe, AVX512, INNOC), ops, X86_ROW_FL(fl) }
#define E(nm, s, ops, fe, el, at) { X86_ROW(nm, NATIVE, s, fe, AVX512, (u64)(at) | INNOC), ops, .elem = (el) }
#define EF(nm, s, ops, fl, fe, el, at)                                                                  \
	{ X86_ROW(nm, NATIVE, s, fe, AVX512, (u64)(at) | INNOC), ops, X86_ROW_FL(fl), .elem = (el) }

/* The tables, by encoding and map; NULL entries: no such opcode. */
typedef const struct x86_opcode *x86_opcode_table[256];
extern const x86_opcode_table x86_table_1byte, x86_table_0f, x86_table_0f38, x86_table_0f3a;
extern const x86_opcode_table x86_table_x87; /* D8..DF in the one-byte map; entries 0xd8..0xdf */
extern const x86_opcode_table x86_table_sse_0f, x86_table_sse_0f38, x86_table_sse_0f3a;
extern const x86_opcode_table x86_table_vex1, x86_table_vex2, x86_table_vex3;
extern const x86_opcode_table x86_table_evex1, x86_table_evex2, x86_table_evex3, x86_table_evex5,
	x86_table_evex6;

static inline bool x86_row_has_modrm(const struct x86_opcode *row)
{
	if (row->sel >> 16 & X86_SEL_MODRM)
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(row->opd); i++) {
		if (X86_OPD_METHOD(row->opd[i]) >= X86_M_MODRM)
			return true;
	}
	return false;
}

#endif
