/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One decoded instruction, the form that the interpreter (x86/emulate), the native-execution stubs and
 * the translator (engine/soft) share. x86_decode() fills it from bytes and mode alone: it reads no guest
 * state and never faults; what depends on state (CPL, CR bits, CPUID) is checked when it executes, from
 * the properties that its table row (desc) gives.
 */
#ifndef ANYKVM_X86_INSN_H
#define ANYKVM_X86_INSN_H

#include "host/types.h"
#include "x86/ops.h"

#define X86_MAX_INSN_LEN 15

/* General registers in encoding order; the two last are pseudo registers of address computations. */
enum x86_reg {
	X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
	X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15,
	X86_REG_ZERO, /* always 0: absent base or index */
	X86_REG_RIP,  /* RIP of the block's first instruction; see x86_insn.disp */
	X86_NR_REGS,
};

/* Segment registers in encoding order, then the two system segments. */
enum x86_sreg {
	X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_LDTR, X86_TR, X86_NR_SREGS,
};

enum x86_op {
#define X(name) X86_OP_##name,
	X86_OPS(X)
#undef X
	X86_NR_OPS,
};

enum x86_operand_kind {
	X86_OPD_NONE,
	X86_OPD_REG,	/* general register; reg is its number */
	X86_OPD_REGH,	/* AH, CH, DH, BH: reg is 0..3 (the register that holds it) */
	X86_OPD_MEM,	/* base + (index << scale) + disp, in segment seg */
	X86_OPD_IMM,	/* imm, sign- or zero-extended as the operation wants, to 64 bits */
	X86_OPD_IMM2,	/* imm2: second immediate (ENTER level, far pointer selector, is4) */
	X86_OPD_REL,	/* imm is relative to the next instruction's RIP */
	X86_OPD_SREG,	/* enum x86_sreg */
	X86_OPD_CR,
	X86_OPD_DR,
	X86_OPD_ST,	/* x87 stack register ST(reg) */
	X86_OPD_MMX,
	X86_OPD_VEC,	/* XMM/YMM/ZMM, by size */
	X86_OPD_K,	/* AVX-512 mask register */
};

struct x86_operand {
	u8 kind;	/* enum x86_operand_kind */
	u8 reg;
	u8 size;	/* bytes: 1, 2, 4, 6, 8, 10, 16, 32, 64 (x87 environments: 14, 28, 94, 108); 0 where
			 * the operand has no data size (LEA, INVLPG, FXSAVE-like areas) */
	u8 access;	/* X86_ACC_R | X86_ACC_W */
};

#define X86_ACC_R 1
#define X86_ACC_W 2

/* x86_insn.prefix */
#define X86_PFX_LOCK	BIT(0)
#define X86_PFX_REP	BIT(1)	/* F3, where it is a repeat prefix or unused (not where mandatory) */
#define X86_PFX_REPNE	BIT(2)	/* F2, likewise */
#define X86_PFX_OSIZE	BIT(3)	/* 66 present */
#define X86_PFX_ASIZE	BIT(4)	/* 67 present */
#define X86_PFX_SEG	BIT(5)	/* a segment prefix is present (and effective) */
#define X86_PFX_REX	BIT(6)	/* any REX, directly before the opcode */
#define X86_PFX_REX_W	BIT(7)	/* REX.W, VEX.W or EVEX.W */
#define X86_PFX_VEX	BIT(8)
#define X86_PFX_EVEX	BIT(9)

enum x86_result;
struct x86_cpu;
struct x86_insn;
struct x86_opcode;
typedef enum x86_result x86_exec_fn(struct x86_cpu *cpu, const struct x86_insn *insn);

struct x86_insn {
	x86_exec_fn *exec;		/* filled in by x86_bind(), not by the decoder */
	u64 imm;
	/*
	 * Displacement, sign-extended; or the whole absolute address (moffs). With base X86_REG_RIP the
	 * decoder gives the encoded value, and x86_bind() adds next, so that regs[X86_REG_RIP] + disp is the
	 * address.
	 */
	s64 disp;
	const struct x86_opcode *desc;	/* the table's row */
	union {
		void *native;		/* engine/soft: the stub that runs this instruction */
		u64 cookie;
	};

	u16 op;				/* enum x86_op */
	u16 prefix : 15;		/* X86_PFX_* */
	bool has_modrm : 1;
	u16 off;			/* of this instruction in its block: 0 after x86_decode() */
	u16 next;			/* off + len */

	u8 len;				/* 1..15 */
	u8 osize : 4;			/* effective operand size of integer forms: 1, 2, 4, 8 */
	u8 asize : 4;			/* effective address size: 2, 4, 8 */
	u8 base;			/* 0..15, X86_REG_ZERO, X86_REG_RIP */
	u8 index;			/* 0..15, X86_REG_ZERO; with vsib: vector register 0..31 */
	u8 seg : 3;			/* segment of the memory operand, overrides applied */
	u8 map : 5;			/* 0 one-byte, 1 0F, 2 0F38, 3 0F3A, 5, 6 (EVEX); 8.. XOP */
	u8 scale : 2;			/* shift 0..3 */
	u8 cond : 4;			/* condition code 0..15 of Jcc, SETcc, CMOVcc */
	bool rip_disp32 : 1;		/* modrm selected RIP-relative addressing */
	bool mode64_66 : 1;		/* near branch in 64-bit mode with 66: osize 2 (AMD); Intel: 8 */
	u8 nr_operands : 3;
	u8 evex_z : 1, evex_b : 1, evex_aaa : 3;
	u8 modrm;			/* raw byte; valid when has_modrm */
	u8 opcode;			/* the opcode byte within its map */
	u8 mandatory;			/* 0, 0x66, 0xF3, 0xF2: what selected the row (or VEX.pp) */
	u8 imm_len : 4;			/* bytes of immediate(s) at the end of the instruction */
	u8 disp_len : 4;		/* 0, 1, 2, 4, 8 bytes of displacement in the encoding */
	u8 vlen;			/* vector length in bytes: 0, 16, 32, 64 */
	u8 vvvv;			/* VEX/EVEX register, 0..31; 0 if unused */
	u8 vex_off;			/* offset of REX, VEX or EVEX prefix; 0xff if none */
	u8 elem;			/* element size of a vector instruction, with masking or broadcast */

	u8 bytes[X86_MAX_INSN_LEN];
	u16 imm2;
	struct x86_operand operand[4];	/* in the manual's (Intel) order: destination first */
};

_Static_assert(sizeof(struct x86_insn) <= 112, "one for each decoded instruction: small; 96 in user space");

/*
 * Conventions for single operations
 *
 * General.  operand[] is in the manuals' (Intel) order, destination first, and nr_operands counts it; an
 * implicit operand is listed only where the manuals write it (AL, rAX, CL, DX, ST0).  A REG of size 1 without
 * REX and number 4..7 becomes REGH 0..3.  The size of a REG or MEM operand is what is read or written of it;
 * a REG write of size 4 zero-extends to 64 bits, of size 1 or 2 merges.  access is what the instruction does
 * with the operand; a MEM operand with access 0 is an address only (LEA, INVLPG, PREFETCH, NOP-like): no data
 * access by the generic path.
 *
 * osize.  Effective operand size: 1 for byte forms; else 2, 4, 8 after 66, REX.W and the 64-bit defaults
 * (PUSH, POP, CALL, RET, LEAVE...: 8, or 2 with 66).  For instructions whose operand size means nothing: the
 * mode's default.
 *
 * imm.  Sign-extended to 64 bits from its encoded size (also 6A, 6B, 83, PUSH imm, and byte forms), and the
 * IMM operand's size is the size it is extended to (the handler truncates).  Zero-extended, operand size =
 * encoded size: shift and rotate counts, BT imm, SHLD/SHRD count, port numbers, INT n, RET n, ENTER, AAM/AAD,
 * far pointers, all imm8 of NATIVE instructions and RORX.  imm is 0 where there is none; D0/D1 shifts have an
 * IMM operand with imm == 1 (imm_len 0).
 *
 * MOV           REG/MEM/IMM as they come.  B8+r imm64: imm whole.  A0..A3 (moffs): MEM with base and index
 *               X86_REG_ZERO, disp = the zero-extended absolute address.
 * MOVZX, MOVSX  [REG osize] [REG/REGH/MEM 1 or 2].   MOVSXD  [REG osize] [REG/MEM 4, or 2 if osize 2].
 * LEA           [REG osize] [MEM size 0].
 * XCHG          [E] [G]; 90+r: [REG r] [REG RAX].  90 without REX.B is NOP, F3 90 PAUSE.
 * XADD, CMPXCHG [E rw] [G].  CMPXCHG8B [MEM 8] osize 4; CMPXCHG16B [MEM 16] osize 8.
 * MUL, IMUL1, DIV, IDIV   one operand, the explicit one; rAX/rDX implied by osize.
 * IMUL          [G rw] [E], or [G w] [E] [IMM].
 * SHL..RCR      [E rw] [IMM, or REG RCX size 1].  SHLD, SHRD  [E rw] [G] [IMM or REG RCX size 1].
 * BT..BTC       [E] [REG osize or IMM].  With a MEM and a REG the bit offset is signed and moves the address:
 *               operand size osize at ea + (offset >> log2(8 * osize)) * osize; with IMM the offset is taken
 *               modulo 8 * osize.
 * CRC32         [REG 4 or 8, rw] [E]; osize = size of the source.
 * ANDN, PDEP, PEXT [G] [REG vvvv] [E];  MULX [G high] [REG vvvv low] [E], rDX implied;
 * BEXTR, BZHI, SARX, SHLX, SHRX [G] [E] [REG vvvv];  BLSI, BLSR, BLSMSK [REG vvvv] [E];  RORX [G] [E] [IMM].
 * CMOVCC, SETCC, JCC   cond holds the condition; SETCC [E 1], CMOVCC [G rw] [E] (the E is read in any case, a
 *               32-bit destination is zero-extended in any case).
 * CBW           no operands: osize 2 CBW, 4 CWDE, 8 CDQE.   CWD: osize 2 CWD, 4 CDQ, 8 CQO.
 * XLAT          no operands: AL = seg:[rBX + AL], seg and asize.
 * PUSH          [REG/MEM/IMM of size osize].  POP [REG/MEM osize]; a MEM based on rSP uses rSP after the
 *               increment.
 * PUSH_SEG, POP_SEG    [SREG 2]; osize is the width on the stack.
 * PUSHA, POPA, PUSHF, POPF, LEAVE   no operands; osize.   ENTER [IMM 2: bytes] [IMM2 1: level, not yet modulo
 *               32].
 * MOV_SEG       [SREG 2] [REG/MEM 2], or [REG osize / MEM 2] [SREG 2].
 * LDS..LSS      [REG osize] [MEM osize + 2: offset, then selector]; osize 2 or 4 (AMD ignores REX.W).
 * strings       no operands; osize is the element (INS, OUTS: 1, 2, 4), asize the width of rSI, rDI, rCX; seg
 *               is the segment of rSI (MOVS, CMPS, LODS, OUTS), rDI is always ES.  prefix & (X86_PFX_REP |
 *               X86_PFX_REPNE).
 * IN            [REG RAX 1, 2, 4] [IMM 1, or REG RDX 2].   OUT the two the other way round.  osize = size of
 *               the data.
 * JMP, CALL, JCC, JCXZ, LOOP*   [REL size osize]; imm = displacement; osize is the width of RIP: 8 in 64-bit
 *               mode, 2 with 66 there too (AMD: RIP is truncated to 16 bits and CALL pushes 2 bytes; Intel
 *               ignores 66.  The decoder follows AMD; x86_insn.mode64_66 is for who wants otherwise).  JCXZ,
 *               LOOP*: count in rCX of asize.
 * JMP_IND, CALL_IND    [REG/MEM osize].   RET: osize; imm = bytes to drop, with an [IMM 2] operand or 0.
 * JMP_FAR, CALL_FAR    [IMM osize: offset] [IMM2 2: selector], or [MEM 4 or 6], whose offset has operand
 *               size - 2 bytes: AMD ignores REX.W there, yet pushes 8 bytes each (osize).   RET_FAR as
 *               RET.   IRET osize.
 * INT           [IMM 1].  INT1, INT3, INTO none.   BOUND [REG osize] [MEM 2 * osize].
 * SYSRET, SYSEXIT      osize 8 with REX.W, else 4.
 * NOP, PAUSE    no operands (also the reserved 0F 18..1F space, which is not accessed).  PREFETCH, CLFLUSH*,
 *               CLWB [MEM 0].
 * MONITOR, CLZERO      no operands; seg (override applies) and asize for rAX.   MWAIT none.
 * MOV_CR        [CR] [REG] or [REG] [CR], size 8 in 64-bit mode, else 4.  Only CR0, 2, 3, 4, 8 decode.  With
 *               X86_PFX_LOCK CR0 has become CR8: #UD unless CR8_LEGACY.   MOV_DR the same; DR0..7 decode
 *               (DR4, 5 by CR4.DE).
 * LGDT, LIDT, SGDT, SIDT  [MEM 0]: limit 2 bytes, then base: 8 bytes if osize is 8 (64-bit mode: always),
 *               else 4, of which LGDT and LIDT use 3 when osize is 2.
 * LLDT, LTR, VERR, VERW, LMSW [REG/MEM 2].   SLDT, STR, SMSW [REG osize or MEM 2].   LAR, LSL [REG osize]
 *               [REG/MEM 2].
 * ARPL          [E 2 rw] [REG 2].
 * INVLPG [MEM 0].   INVPCID [REG 4/8] [MEM 16].   RDPID [REG 4/8].   RDRAND, RDSEED [REG osize].
 * RDFSBASE..WRGSBASE   [REG osize] 4 or 8.
 * FXSAVE..XRSTORS      [MEM 0]; osize 8 for the 64-bit layouts (REX.W), else 4.   LDMXCSR, STMXCSR [MEM 4].
 * SVM, VMX      operands as the manuals have them, or none; opcode and modrm tell which.
 * UD            UD0, UD1, UD2: decodes, executes as #UD.
 * X87           [ST0/STi] and/or [MEM size]; FLDENV/FNSTENV MEM 14 or 28, FRSTOR/FNSAVE 94 or 108 by osize
 *               (2, 4); FNSTSW AX [REG RAX 2].
 * NATIVE        vector length in vlen, elem = element size that masks and broadcast work on.  MEM size is
 *               what is accessed at most (one element with evex_b, and for VSIB forms).  disp is already
 *               multiplied (disp8*N).  Integer registers among the operands (CVTSI2SD, MOVD, PEXTRB,
 *               EXTRACTPS, MOVMSKPS...) are REG. Implicit operands not listed: XMM0 of BLENDV/SHA256RNDS2,
 *               rAX/rDX/rCX/XMM0 of PCMPxSTRx, rDI of MASKMOV.
 */

enum x86_decode_status {
	X86_DECODE_OK,
	X86_DECODE_UD,		/* not an instruction in this mode: #UD; insn->len is what was consumed */
	X86_DECODE_MORE,	/* valid so far, but size bytes do not hold it all: fetch more */
	X86_DECODE_TOO_LONG,	/* over 15 bytes: #GP(0) */
};

/* mode_bits: 16, 32 or 64: the code segment's default. bytes: size readable bytes, size 1..15 or more. */
enum x86_decode_status x86_decode(struct x86_insn *insn, const u8 *bytes, unsigned size, unsigned mode_bits);

/* Printable name of an op ("ADD"); static storage. */
const char *x86_op_name(enum x86_op op);

#endif
