/* SPDX-License-Identifier: GPL-2.0-only */
/* The properties of a decode table row; x86/opcodes_*.c hold the tables, x86/decode.c walks them. */
#ifndef ANYKVM_X86_OPCODES_H
#define ANYKVM_X86_OPCODES_H

#include "x86/insn.h"

/*
 * The CPUID bit an instruction needs, as an index into x86_cpu.features (see x86/cpuid.h for the list and
 * where each bit lives in CPUID). X86_FEAT_NONE: always there.
 */
#include "x86/features.h"

/* x86_opcode.flags */
#define X86_F_LOCK	BIT(0) /* LOCK allowed with a memory destination (else #UD; the decoder reports it) */
#define X86_F_CPL0	BIT(1)	/* #GP(0) unless CPL 0 (checked by the handler; here for the translator) */
#define X86_F_NO64	BIT(2)	/* #UD in 64-bit mode (the decoder reports it) */
#define X86_F_ONLY64	BIT(3)	/* #UD outside 64-bit mode (the decoder reports it) */
#define X86_F_PROT	BIT(4)	/* #UD in real and V86 mode (checked at execution) */
#define X86_F_BRANCH	BIT(5)	/* ends a block: RIP is not simply the next */
#define X86_F_END	BIT(6) /* ends a block for other reasons: mode, TLB, interruptibility, may exit */
#define X86_F_INNOCUOUS	BIT(7)	/* computes on registers and plain memory alone: may run as itself */
#define X86_F_SENSITIVE	BIT(8)	/* needs the interpreter or a special translation */
#define X86_F_ALIGN	BIT(9)	/* memory operand must be aligned to its size: #GP(0) */
#define X86_F_ALIGN_SSE                                                                                      \
	BIT(10) /* the same in the legacy encoding only (not VEX/EVEX); MXCSR.MM not supported */
#define X86_F_SIMD_FP	BIT(11)	/* may raise #XM */
#define X86_F_STORE_ONLY BIT(12) /* memory operand is written without being read */
#define X86_F_VSIB	BIT(13)	/* gather/scatter: index is a vector register */
#define X86_F_MASKED_MEM                                                                                     \
	BIT(14) /* memory elements masked off do not fault (VMASKMOV, VPMASKMOV, EVEX masks) */
#define X86_F_IMPLICIT_DI BIT(15) /* stores to [DS:rDI] (MASKMOVQ, MASKMOVDQU) */
#define X86_F_X87_CTL	BIT(16)	/* x87 instruction that does not wait for (#MF) pending exceptions: FNxxx */
#define X86_F_X87_NOPTR	BIT(17)	/* x87 instruction that leaves FIP/FDP/FOP alone (control instructions) */
#define X86_F_MMX	BIT(18)	/* uses MMX registers: #MF pending check, x87 tag side effect */
#define X86_F_VL	BIT(19)	/* EVEX with vlen 16 or 32 needs AVX512VL besides the row's feature */

/* State an instruction needs enabled: decides between #UD and #NM. */
enum x86_state {
	X86_STATE_INT,	/* nothing */
	X86_STATE_X87,	/* CR0.EM -> #NM, CR0.TS -> #NM */
	X86_STATE_MMX,	/* CR0.EM -> #UD, CR0.TS -> #NM */
	X86_STATE_SSE,	/* CR0.EM or !CR4.OSFXSR -> #UD, CR0.TS -> #NM */
	X86_STATE_AVX,	/* !CR4.OSXSAVE or XCR0 lacks SSE|AVX, real or V86 mode -> #UD, CR0.TS -> #NM */
	X86_STATE_AVX512, /* the same with opmask, ZMM_Hi256, Hi16_ZMM */
};

struct x86_opcode {
	const char *name;	/* mnemonic, lower case, for dumps and tests */
	u32 flags;		/* X86_F_* */
	u16 op;			/* enum x86_op */
	u16 feature;		/* X86_FEAT_*, the CPUID bit it needs; VEX forms of SSE ops name AVX */
	u16 flags_read;		/* RFLAGS status bits read, or kept under a condition (count 0) */
	u16 flags_written;	/* RFLAGS status bits written (defined or undefined) */
	u16 flags_undefined;	/* of those, undefined after it (a shift's OF: only if the count is not 1) */
	u8 state;		/* enum x86_state */
	/* Private to the tables and x86/decode.c: see x86/opcodes_notation.h. */
	u8 elem;
	u32 sel;
	u32 enc;
	u16 opd[4];
};

/*
 * The rows of one opcode, first match wins, ended by a row whose name is NULL; NULL if the opcode has none.
 * For tests and dumps that walk the whole table.
 */
enum x86_encoding { X86_ENCODING_LEGACY, X86_ENCODING_VEX, X86_ENCODING_EVEX };
const struct x86_opcode *x86_opcode_rows(enum x86_encoding encoding, unsigned map, u8 opcode);

/* Whether any row of the list (so: all encodings of the opcode) has a modrm byte. */
bool x86_opcode_has_modrm(const struct x86_opcode *rows);

#endif
