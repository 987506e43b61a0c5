// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decode tables: the one-byte map and the 0F, 0F38 and 0F3A maps as far as they hold integer and system
 * instructions. The notation stands in x86/opcodes_notation.h; x87, SSE, VEX and EVEX have a file each.
 *
 * Deviations from the manuals:
 *  - One operation has several names where they differ by operands only (movd/movq aside): the names here are
 *    Intel's.
 *  - What no CPU of our feature list has is absent and so #UD: 3DNow!, XOP, FMA4, TBM, LWP, MPX (its opcodes
 *    are the reserved NOPs that they were), CET (likewise, and #UD where they were #UD), TSX, SGX, Key
 *    Locker, AMX, MONITORX, RDPRU, MCOMMIT, INVLPGB, CLDEMOTE (a reserved NOP), WAITPKG, UINTR, ENQCMD,
 *    MOVDIR64B, PTWRITE, PCONFIG.
 *  - Prefixes that a manual calls reserved with an instruction that does not use them are ignored, as CPUs
 *    do, except where a row says otherwise (NP: CPUs give #UD).
 *  - Near branches in 64-bit mode follow AMD: 66 makes the operand size 16 (see x86/insn.h).
 *  - LES, LDS, BOUND: C4, C5, 62 get here only if they are not VEX or EVEX.
 */
#include "x86/opcodes_notation.h"

#define C X86_CF
#define P X86_PF
#define A X86_AF
#define Z X86_ZF
#define SG X86_SF
#define OV X86_OF
#define ALL X86_FLAGS_STATUS

#define FL_ARITH X86_FL(0, ALL, 0)
#define FL_LOGIC X86_FL(0, ALL, A)
#define FL_CARRY X86_FL(C, ALL, 0)
#define FL_INC	X86_FL(0, ALL & ~C, 0)
/*
 * A count of 0 changes no flag: all that may be written are also read. OF is defined for a count of 1 only.
 */
#define FL_SHIFT X86_FL(ALL, ALL, A | OV)
#define FL_SHIFT1 X86_FL(0, ALL, A)
#define FL_ROT	X86_FL(C | OV, C | OV, OV)
#define FL_ROT1	X86_FL(0, C | OV, 0)
#define FL_RC	X86_FL(C | OV, C | OV, OV)
#define FL_RC1	X86_FL(C, C | OV, 0)
#define FL_MUL	X86_FL(0, ALL, SG | Z | A | P)
#define FL_DIV	X86_FL(0, ALL, ALL)
#define FL_BT	X86_FL(0, ALL & ~Z, OV | SG | A | P)
#define FL_BSF	X86_FL(0, ALL, ALL & ~Z)
#define FL_TZCNT X86_FL(0, ALL, ALL & ~(C | Z))
#define FL_ZF	X86_FL(0, Z, 0)
#define FL_BEXTR X86_FL(0, ALL, A | SG | P)
#define FL_BLS	X86_FL(0, ALL, A | P)
#define FL_DAA	X86_FL(C | A, ALL, OV)
#define FL_AAA	X86_FL(A, ALL, OV | SG | Z | P)
#define FL_AAM	X86_FL(0, ALL, OV | A | C)
#define FL_C	X86_FL(0, C, 0)
#define FL_ALL_R X86_FL(ALL, 0, 0)
#define FL_STR	X86_FL(ALL, ALL, 0)

/* Flags that condition c of Jcc, SETcc, CMOVcc reads. */
#define FL_CC(c)                                                                                        \
	X86_FL((c) < 2 ? OV : (c) < 4 ? C : (c) < 6 ? Z : (c) < 8 ? C | Z : (c) < 10 ? SG :             \
	       (c) < 12 ? P : (c) < 14 ? SG | OV : SG | OV | Z, 0, 0)
#define CC16(X)                                                                                         \
	X(0, "o"), X(1, "no"), X(2, "b"), X(3, "nb"), X(4, "z"), X(5, "nz"), X(6, "be"), X(7, "nbe"),   \
	X(8, "s"), X(9, "ns"), X(10, "p"), X(11, "np"), X(12, "l"), X(13, "nl"), X(14, "le"), X(15, "nle")

#define ALU(base, nm, o, acc, fl, lock)                                                                 \
	[(base) + 0] = T(I(nm, o, 0, O(Eb | (acc), Gb), fl, INNOC | BYTE | (lock))),                    \
	[(base) + 1] = T(I(nm, o, 0, O(Ev | (acc), Gv), fl, INNOC | (lock))),                           \
	[(base) + 2] = T(I(nm, o, 0, O(Gb | (acc), Eb), fl, INNOC | BYTE)),                             \
	[(base) + 3] = T(I(nm, o, 0, O(Gv | (acc), Ev), fl, INNOC)),                                    \
	[(base) + 4] = T(I(nm, o, 0, O(ALb | (acc), Ibs), fl, INNOC | BYTE)),                           \
	[(base) + 5] = T(I(nm, o, 0, O(rAXv | (acc), Iz), fl, INNOC))

#define GROUP1(e, i, at)                                                                                \
	T(I("add", ADD, REG0, O(e | m, i), FL_ARITH, INNOC | LOCK | (at)),                              \
	  I("or", OR, REG1, O(e | m, i), FL_LOGIC, INNOC | LOCK | (at)),                                \
	  I("adc", ADC, REG2, O(e | m, i), FL_CARRY, INNOC | LOCK | (at)),                              \
	  I("sbb", SBB, REG3, O(e | m, i), FL_CARRY, INNOC | LOCK | (at)),                              \
	  I("and", AND, REG4, O(e | m, i), FL_LOGIC, INNOC | LOCK | (at)),                              \
	  I("sub", SUB, REG5, O(e | m, i), FL_ARITH, INNOC | LOCK | (at)),                              \
	  I("xor", XOR, REG6, O(e | m, i), FL_LOGIC, INNOC | LOCK | (at)),                              \
	  I("cmp", CMP, REG7, O(e, i), FL_ARITH, INNOC | (at)))

#define GROUP2(e, c, one, at)                                                                           \
	T(I("rol", ROL, REG0, O(e | m, c), FL_ROT##one, INNOC | (at)),                                  \
	  I("ror", ROR, REG1, O(e | m, c), FL_ROT##one, INNOC | (at)),                                  \
	  I("rcl", RCL, REG2, O(e | m, c), FL_RC##one, INNOC | (at)),                                   \
	  I("rcr", RCR, REG3, O(e | m, c), FL_RC##one, INNOC | (at)),                                   \
	  I("shl", SHL, REG4, O(e | m, c), FL_SHIFT##one, INNOC | (at)),                                \
	  I("shr", SHR, REG5, O(e | m, c), FL_SHIFT##one, INNOC | (at)),                                \
	  I("shl", SHL, REG6, O(e | m, c), FL_SHIFT##one, INNOC | (at)),                                \
	  I("sar", SAR, REG7, O(e | m, c), FL_SHIFT##one, INNOC | (at)))

#define GROUP3(e, i, at)                                                                                \
	T(I("test", TEST, REG0, O(e, i), FL_LOGIC, INNOC | (at)),                                       \
	  I("test", TEST, REG1, O(e, i), FL_LOGIC, INNOC | (at)),                                       \
	  I("not", NOT, REG2, O(e | m), FL_NONE, INNOC | LOCK | (at)),                                  \
	  I("neg", NEG, REG3, O(e | m), FL_ARITH, INNOC | LOCK | (at)),                                 \
	  I("mul", MUL, REG4, O(e), FL_MUL, INNOC | (at)),                                              \
	  I("imul", IMUL1, REG5, O(e), FL_MUL, INNOC | (at)),                                           \
	  I("div", DIV, REG6, O(e), FL_DIV, INNOC | (at)),                                              \
	  I("idiv", IDIV, REG7, O(e), FL_DIV, INNOC | (at)))

#define JCC_SHORT(c, nm) [0x70 + (c)] = T(I("j" nm, JCC, 0, O(Jb), FL_CC(c), BRANCH | D64 | COND))
#define JCC_NEAR(c, nm) [0x80 + (c)] = T(I("j" nm, JCC, 0, O(Jz), FL_CC(c), BRANCH | D64 | COND))
#define CMOVCC_ROW(c, nm)                                                                               \
	[0x40 + (c)] = T(IF("cmov" nm, CMOVCC, 0, O(Gv | m, Ev), FL_CC(c), CMOV, INNOC | COND))
#define SETCC_ROW(c, nm)                                                                                \
	[0x90 + (c)] = T(I("set" nm, SETCC, 0, O(Eb | w), FL_CC(c), INNOC | BYTE | COND | SO))

const x86_opcode_table x86_table_1byte = {
	ALU(0x00, "add", ADD, m, FL_ARITH, LOCK),
	ALU(0x08, "or", OR, m, FL_LOGIC, LOCK),
	ALU(0x10, "adc", ADC, m, FL_CARRY, LOCK),
	ALU(0x18, "sbb", SBB, m, FL_CARRY, LOCK),
	ALU(0x20, "and", AND, m, FL_LOGIC, LOCK),
	ALU(0x28, "sub", SUB, m, FL_ARITH, LOCK),
	ALU(0x30, "xor", XOR, m, FL_LOGIC, LOCK),
	ALU(0x38, "cmp", CMP, 0, FL_ARITH, 0),
	[0x06] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, NO64 | SENS)),
	[0x07] = T(I("pop", POP_SEG, 0, O(Sop | w), FL_NONE, NO64 | END)),
	[0x0e] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, NO64 | SENS)),
	[0x16] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, NO64 | SENS)),
	[0x17] = T(I("pop", POP_SEG, 0, O(Sop | w), FL_NONE, NO64 | END)),
	[0x1e] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, NO64 | SENS)),
	[0x1f] = T(I("pop", POP_SEG, 0, O(Sop | w), FL_NONE, NO64 | END)),
	[0x27] = T(I("daa", DAA, 0, O(0), FL_DAA, NO64 | SENS)),
	[0x2f] = T(I("das", DAS, 0, O(0), FL_DAA, NO64 | SENS)),
	[0x37] = T(I("aaa", AAA, 0, O(0), FL_AAA, NO64 | SENS)),
	[0x3f] = T(I("aas", AAS, 0, O(0), FL_AAA, NO64 | SENS)),
	[0x40 ... 0x47] = T(I("inc", INC, 0, O(Zv | m), FL_INC, INNOC | NO64)),
	[0x48 ... 0x4f] = T(I("dec", DEC, 0, O(Zv | m), FL_INC, INNOC | NO64)),
	[0x50 ... 0x57] = T(I("push", PUSH, 0, O(Zv), FL_NONE, D64)),
	[0x58 ... 0x5f] = T(I("pop", POP, 0, O(Zv | w), FL_NONE, D64)),
	[0x60] = T(I("pusha", PUSHA, 0, O(0), FL_NONE, NO64)),
	[0x61] = T(I("popa", POPA, 0, O(0), FL_NONE, NO64)),
	[0x62] = T(I("bound", BOUND, MEM, O(Gv, Ma), FL_NONE, NO64 | SENS)),
	[0x63] = T(I("arpl", ARPL, M32, O(Ew | m, Gw), FL_ZF, PROT | SENS),
		   I("movsxd", MOVSXD, M64, O(Gv | w, Ez), FL_NONE, INNOC)),
	[0x68] = T(I("push", PUSH, 0, O(Iz), FL_NONE, D64)),
	[0x69] = T(I("imul", IMUL, 0, O(Gv | w, Ev, Iz), FL_MUL, INNOC)),
	[0x6a] = T(I("push", PUSH, 0, O(Ibs), FL_NONE, D64)),
	[0x6b] = T(I("imul", IMUL, 0, O(Gv | w, Ev, Ibs), FL_MUL, INNOC)),
	[0x6c] = T(I("ins", INS, 0, O(0), FL_NONE, END | BYTE)),
	[0x6d] = T(I("ins", INS, 0, O(0), FL_NONE, END | IO)),
	[0x6e] = T(I("outs", OUTS, 0, O(0), FL_NONE, END | BYTE)),
	[0x6f] = T(I("outs", OUTS, 0, O(0), FL_NONE, END | IO)),
	CC16(JCC_SHORT),
	[0x80] = GROUP1(Eb, Ibs, BYTE),
	[0x81] = GROUP1(Ev, Iz, 0),
	[0x82] = GROUP1(Eb, Ibs, BYTE | NO64),
	[0x83] = GROUP1(Ev, Ibs, 0),
	[0x84] = T(I("test", TEST, 0, O(Eb, Gb), FL_LOGIC, INNOC | BYTE)),
	[0x85] = T(I("test", TEST, 0, O(Ev, Gv), FL_LOGIC, INNOC)),
	[0x86] = T(I("xchg", XCHG, 0, O(Eb | m, Gb | m), FL_NONE, INNOC | LOCK | BYTE)),
	[0x87] = T(I("xchg", XCHG, 0, O(Ev | m, Gv | m), FL_NONE, INNOC | LOCK)),
	[0x88] = T(I("mov", MOV, 0, O(Eb | w, Gb), FL_NONE, INNOC | BYTE | SO)),
	[0x89] = T(I("mov", MOV, 0, O(Ev | w, Gv), FL_NONE, INNOC | SO)),
	[0x8a] = T(I("mov", MOV, 0, O(Gb | w, Eb), FL_NONE, INNOC | BYTE)),
	[0x8b] = T(I("mov", MOV, 0, O(Gv | w, Ev), FL_NONE, INNOC)),
	[0x8c] = T(I("mov", MOV_SEG, 0, O(Evw | w, Sw), FL_NONE, SENS | SO)),
	[0x8d] = T(I("lea", LEA, 0, O(Gv | w, M0 | n), FL_NONE, INNOC)),
	[0x8e] = T(I("mov", MOV_SEG, 0, O(Sw | w, Ew), FL_NONE, END)),
	[0x8f] = T(I("pop", POP, REG0, O(Ev | w), FL_NONE, D64)),
	/* With REX.B 90 is XCHG r8, rAX: x86_decode() takes the row of 91 then. */
	[0x90] = T(I("pause", PAUSE, PF3, O(0), FL_NONE, SENS),
		   I("nop", NOP, 0, O(0), FL_NONE, INNOC)),
	[0x91 ... 0x97] = T(I("xchg", XCHG, 0, O(Zv | m, rAXv | m), FL_NONE, INNOC)),
	[0x98] = T(I("cbw", CBW, 0, O(0), FL_NONE, INNOC)),
	[0x99] = T(I("cwd", CWD, 0, O(0), FL_NONE, INNOC)),
	[0x9a] = T(I("call", CALL_FAR, 0, O(Ap, I2w), FL_NONE, NO64 | BRANCH | SENS)),
	[0x9b] = T({ X86_ROW("fwait", FWAIT, 0, FPU, X87, SENS), O(0) }),
	[0x9c] = T(I("pushf", PUSHF, 0, O(0), FL_ALL_R, D64 | SENS)),
	[0x9d] = T(I("popf", POPF, 0, O(0), FL_ARITH, D64 | END)),
	[0x9e] = T(I("sahf", SAHF, 0, O(0), X86_FL(0, ALL & ~OV, 0), INNOC)),
	[0x9f] = T(I("lahf", LAHF, 0, O(0), X86_FL(ALL & ~OV, 0, 0), INNOC)),
	[0xa0] = T(I("mov", MOV, 0, O(ALb | w, Ob), FL_NONE, INNOC | BYTE)),
	[0xa1] = T(I("mov", MOV, 0, O(rAXv | w, Ov), FL_NONE, INNOC)),
	[0xa2] = T(I("mov", MOV, 0, O(Ob | w, ALb), FL_NONE, INNOC | BYTE | SO)),
	[0xa3] = T(I("mov", MOV, 0, O(Ov | w, rAXv), FL_NONE, INNOC | SO)),
	[0xa4] = T(I("movs", MOVS, 0, O(0), FL_NONE, BYTE)),
	[0xa5] = T(I("movs", MOVS, 0, O(0), FL_NONE, 0)),
	[0xa6] = T(I("cmps", CMPS, 0, O(0), FL_STR, BYTE)),
	[0xa7] = T(I("cmps", CMPS, 0, O(0), FL_STR, 0)),
	[0xa8] = T(I("test", TEST, 0, O(ALb, Ibs), FL_LOGIC, INNOC | BYTE)),
	[0xa9] = T(I("test", TEST, 0, O(rAXv, Iz), FL_LOGIC, INNOC)),
	[0xaa] = T(I("stos", STOS, 0, O(0), FL_NONE, BYTE)),
	[0xab] = T(I("stos", STOS, 0, O(0), FL_NONE, 0)),
	[0xac] = T(I("lods", LODS, 0, O(0), FL_NONE, BYTE)),
	[0xad] = T(I("lods", LODS, 0, O(0), FL_NONE, 0)),
	[0xae] = T(I("scas", SCAS, 0, O(0), FL_STR, BYTE)),
	[0xaf] = T(I("scas", SCAS, 0, O(0), FL_STR, 0)),
	[0xb0 ... 0xb7] = T(I("mov", MOV, 0, O(Zb | w, Ibs), FL_NONE, INNOC | BYTE)),
	[0xb8 ... 0xbf] = T(I("mov", MOV, 0, O(Zv | w, Iv), FL_NONE, INNOC)),
	[0xc0] = GROUP2(Eb, Ib, , BYTE),
	[0xc1] = GROUP2(Ev, Ib, , 0),
	[0xc2] = T(I("ret", RET, 0, O(Iw), FL_NONE, D64 | BRANCH)),
	[0xc3] = T(I("ret", RET, 0, O(0), FL_NONE, D64 | BRANCH)),
	[0xc4] = T(I("les", LES, MEM, O(Gv | w, Mp), FL_NONE, NO64 | END)),
	[0xc5] = T(I("lds", LDS, MEM, O(Gv | w, Mp), FL_NONE, NO64 | END)),
	[0xc6] = T(I("mov", MOV, REG0, O(Eb | w, Ibs), FL_NONE, INNOC | BYTE | SO)),
	[0xc7] = T(I("mov", MOV, REG0, O(Ev | w, Iz), FL_NONE, INNOC | SO)),
	[0xc8] = T(I("enter", ENTER, 0, O(Iw, I2b), FL_NONE, D64)),
	[0xc9] = T(I("leave", LEAVE, 0, O(0), FL_NONE, D64)),
	[0xca] = T(I("retf", RET_FAR, 0, O(Iw), FL_NONE, BRANCH | SENS)),
	[0xcb] = T(I("retf", RET_FAR, 0, O(0), FL_NONE, BRANCH | SENS)),
	[0xcc] = T(I("int3", INT3, 0, O(0), FL_NONE, BRANCH | SENS)),
	[0xcd] = T(I("int", INT, 0, O(Ib), FL_NONE, BRANCH | SENS)),
	[0xce] = T(I("into", INTO, 0, O(0), X86_FL(OV, 0, 0), NO64 | BRANCH | SENS)),
	[0xcf] = T(I("iret", IRET, 0, O(0), FL_ARITH, BRANCH | SENS)),
	[0xd0] = GROUP2(Eb, One, 1, BYTE),
	[0xd1] = GROUP2(Ev, One, 1, 0),
	[0xd2] = GROUP2(Eb, CLb, , BYTE),
	[0xd3] = GROUP2(Ev, CLb, , 0),
	[0xd4] = T(I("aam", AAM, 0, O(Ib), FL_AAM, NO64 | SENS)),
	[0xd5] = T(I("aad", AAD, 0, O(Ib), FL_AAM, NO64 | SENS)),
	[0xd6] = T(I("salc", SALC, 0, O(0), X86_FL(C, 0, 0), NO64 | SENS)),
	[0xd7] = T(I("xlat", XLAT, 0, O(0), FL_NONE, BYTE)),
	/* F2 and F3 choose the condition, whatever the opcode says (seen on Zen 3). */
	[0xe0] = T(I("loopz", LOOPE, PF3, O(Jb), X86_FL(Z, 0, 0), BRANCH | D64),
		   I("loopnz", LOOPNE, 0, O(Jb), X86_FL(Z, 0, 0), BRANCH | D64)),
	[0xe1] = T(I("loopnz", LOOPNE, PF2, O(Jb), X86_FL(Z, 0, 0), BRANCH | D64),
		   I("loopz", LOOPE, 0, O(Jb), X86_FL(Z, 0, 0), BRANCH | D64)),
	[0xe2] = T(I("loop", LOOP, 0, O(Jb), FL_NONE, BRANCH | D64)),
	[0xe3] = T(I("jcxz", JCXZ, 0, O(Jb), FL_NONE, BRANCH | D64)),
	[0xe4] = T(I("in", IN, 0, O(ALb | w, Ib), FL_NONE, END | BYTE)),
	[0xe5] = T(I("in", IN, 0, O(eAXz | w, Ib), FL_NONE, END | IO)),
	[0xe6] = T(I("out", OUT, 0, O(Ib, ALb), FL_NONE, END | BYTE)),
	[0xe7] = T(I("out", OUT, 0, O(Ib, eAXz), FL_NONE, END | IO)),
	[0xe8] = T(I("call", CALL, 0, O(Jz), FL_NONE, D64 | BRANCH)),
	[0xe9] = T(I("jmp", JMP, 0, O(Jz), FL_NONE, D64 | BRANCH)),
	[0xea] = T(I("jmp", JMP_FAR, 0, O(Ap, I2w), FL_NONE, NO64 | BRANCH | SENS)),
	[0xeb] = T(I("jmp", JMP, 0, O(Jb), FL_NONE, D64 | BRANCH)),
	[0xec] = T(I("in", IN, 0, O(ALb | w, DXw), FL_NONE, END | BYTE)),
	[0xed] = T(I("in", IN, 0, O(eAXz | w, DXw), FL_NONE, END | IO)),
	[0xee] = T(I("out", OUT, 0, O(DXw, ALb), FL_NONE, END | BYTE)),
	[0xef] = T(I("out", OUT, 0, O(DXw, eAXz), FL_NONE, END | IO)),
	[0xf1] = T(I("int1", INT1, 0, O(0), FL_NONE, BRANCH | SENS)),
	[0xf4] = T(I("hlt", HLT, 0, O(0), FL_NONE, CPL0 | END)),
	[0xf5] = T(I("cmc", CMC, 0, O(0), X86_FL(C, C, 0), INNOC)),
	[0xf6] = GROUP3(Eb, Ibs, BYTE),
	[0xf7] = GROUP3(Ev, Iz, 0),
	[0xf8] = T(I("clc", CLC, 0, O(0), FL_C, INNOC)),
	[0xf9] = T(I("stc", STC, 0, O(0), FL_C, INNOC)),
	[0xfa] = T(I("cli", CLI, 0, O(0), FL_NONE, SENS)),
	[0xfb] = T(I("sti", STI, 0, O(0), FL_NONE, END)),
	[0xfc] = T(I("cld", CLD, 0, O(0), FL_NONE, 0)),
	[0xfd] = T(I("std", STD, 0, O(0), FL_NONE, 0)),
	[0xfe] = T(I("inc", INC, REG0, O(Eb | m), FL_INC, INNOC | LOCK | BYTE),
		   I("dec", DEC, REG1, O(Eb | m), FL_INC, INNOC | LOCK | BYTE)),
	[0xff] = T(I("inc", INC, REG0, O(Ev | m), FL_INC, INNOC | LOCK),
		   I("dec", DEC, REG1, O(Ev | m), FL_INC, INNOC | LOCK),
		   I("call", CALL_IND, REG2, O(Ev), FL_NONE, D64 | BRANCH),
		   I("call", CALL_FAR, REG3, O(Mp), FL_NONE, BRANCH | SENS),
		   I("jmp", JMP_IND, REG4, O(Ev), FL_NONE, D64 | BRANCH),
		   I("jmp", JMP_FAR, REG5, O(Mp), FL_NONE, BRANCH | SENS),
		   I("push", PUSH, REG6, O(Ev), FL_NONE, D64)),
};

#define FSGS (NO66 | ONLY64 | SENS)

const x86_opcode_table x86_table_0f = {
	[0x00] = T(I("sldt", SLDT, REG0, O(Evw | w), FL_NONE, PROT | SENS | SO),
		   I("str", STR, REG1, O(Evw | w), FL_NONE, PROT | SENS | SO),
		   I("lldt", LLDT, REG2, O(Ew), FL_NONE, PROT | CPL0),
		   I("ltr", LTR, REG3, O(Ew), FL_NONE, PROT | CPL0),
		   I("verr", VERR, REG4, O(Ew), FL_ZF, PROT | SENS),
		   I("verw", VERW, REG5, O(Ew), FL_ZF, PROT | SENS)),
	[0x01] = T(I("sgdt", SGDT, REG0 | MEM, O(M0 | w), FL_NONE, F64 | SENS | SO),
		   I("sidt", SIDT, REG1 | MEM, O(M0 | w), FL_NONE, F64 | SENS | SO),
		   I("lgdt", LGDT, REG2 | MEM, O(M0), FL_NONE, F64 | CPL0 | END),
		   I("lidt", LIDT, REG3 | MEM, O(M0), FL_NONE, F64 | CPL0 | END),
		   I("smsw", SMSW, REG4, O(Evw | w), FL_NONE, SENS | SO),
		   I("lmsw", LMSW, REG6, O(Ew), FL_NONE, CPL0 | END),
		   I("invlpg", INVLPG, REG7 | MEM, O(M0 | n), FL_NONE, CPL0 | END),
		   I("vmcall", VMCALL, NP | REG0 | RM1, O(X0), FL_NONE, END),
		   I("vmlaunch", VMX, NP | REG0 | RM2, O(X0), FL_NONE, CPL0 | END),
		   I("vmresume", VMX, NP | REG0 | RM3, O(X0), FL_NONE, CPL0 | END),
		   I("vmxoff", VMX, NP | REG0 | RM4, O(X0), FL_NONE, CPL0 | END),
		   IF("monitor", MONITOR, NP | REG1 | RM0, O(X0), FL_NONE, MONITOR, CPL0),
		   IF("mwait", MWAIT, NP | REG1 | RM1, O(X0), FL_NONE, MONITOR, CPL0 | END),
		   IF("clac", CLAC, NP | REG1 | RM2, O(X0), FL_NONE, SMAP, CPL0 | END),
		   IF("stac", STAC, NP | REG1 | RM3, O(X0), FL_NONE, SMAP, CPL0 | END),
		   IF("xgetbv", XGETBV, NP | REG2 | RM0, O(X0), FL_NONE, XSAVE, SENS),
		   IF("xsetbv", XSETBV, NP | REG2 | RM1, O(X0), FL_NONE, XSAVE, CPL0 | END),
		   I("vmfunc", VMX, NP | REG2 | RM4, O(X0), FL_NONE, END),
		   I("vmrun", SVM, REG3 | RM0 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("vmmcall", VMMCALL, REG3 | RM1 | MOD3, O(X0), FL_NONE, END),
		   I("vmload", SVM, REG3 | RM2 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("vmsave", SVM, REG3 | RM3 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("stgi", SVM, REG3 | RM4 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("clgi", SVM, REG3 | RM5 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("skinit", SVM, REG3 | RM6 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   I("invlpga", SVM, REG3 | RM7 | MOD3, O(X0), FL_NONE, CPL0 | END),
		   IF("serialize", SERIALIZE, NP | REG5 | RM0 | MOD3, O(X0), FL_NONE, SERIALIZE, END),
		   IF("rdpkru", RDPKRU, NP | REG5 | RM6 | MOD3, O(X0), FL_NONE, PKU, SENS),
		   IF("wrpkru", WRPKRU, NP | REG5 | RM7 | MOD3, O(X0), FL_NONE, PKU, END),
		   I("swapgs", SWAPGS, REG7 | RM0 | MOD3, O(X0), FL_NONE, ONLY64 | CPL0),
		   IF("rdtscp", RDTSCP, REG7 | RM1 | MOD3, O(X0), FL_NONE, RDTSCP, SENS),
		   IF("clzero", CLZERO, REG7 | RM4 | MOD3, O(X0), FL_NONE, CLZERO, SENS)),
	[0x02] = T(I("lar", LAR, 0, O(Gv | w, Ew), FL_ZF, PROT | SENS)),
	[0x03] = T(I("lsl", LSL, 0, O(Gv | w, Ew), FL_ZF, PROT | SENS)),
	[0x05] = T(IF("syscall", SYSCALL, 0, O(0), FL_NONE, SYSCALL, BRANCH | SENS)),
	[0x06] = T(I("clts", CLTS, 0, O(0), FL_NONE, CPL0 | END)),
	[0x07] = T(IF("sysret", SYSRET, 0, O(0), FL_ARITH, SYSCALL, BRANCH | CPL0)),
	[0x08] = T(I("invd", INVD, 0, O(0), FL_NONE, CPL0)),
	[0x09] = T(I("wbnoinvd", WBNOINVD, PF3, O(0), FL_NONE, CPL0),
		   I("wbinvd", WBINVD, 0, O(0), FL_NONE, CPL0)),
	[0x0b] = T(I("ud2", UD, 0, O(0), FL_NONE, SENS)),
	/* #UD with a register on AMD, a NOP on Intel. */
	[0x0d] = T(I("prefetchw", PREFETCH, 0, O(M0 | n), FL_NONE, SENS)),
	[0x18] = T(I("prefetchnta", PREFETCH, REG0 | MEM, O(M0 | n), FL_NONE, SENS),
		   I("prefetcht0", PREFETCH, REG1 | MEM, O(M0 | n), FL_NONE, SENS),
		   I("prefetcht1", PREFETCH, REG2 | MEM, O(M0 | n), FL_NONE, SENS),
		   I("prefetcht2", PREFETCH, REG3 | MEM, O(M0 | n), FL_NONE, SENS),
		   I("nop", NOP, 0, O(X0), FL_NONE, INNOC)),
	[0x19 ... 0x1f] = T(I("nop", NOP, 0, O(X0), FL_NONE, INNOC)),
	[0x20] = T(I("mov", MOV_CR, 0, O(Rm | w, Cm), FL_NONE, F64 | NOMOD | ALTCR8 | CPL0)),
	[0x21] = T(I("mov", MOV_DR, 0, O(Rm | w, Dm), FL_NONE, F64 | NOMOD | CPL0)),
	[0x22] = T(I("mov", MOV_CR, 0, O(Cm | w, Rm), FL_NONE, F64 | NOMOD | ALTCR8 | CPL0 | END)),
	[0x23] = T(I("mov", MOV_DR, 0, O(Dm | w, Rm), FL_NONE, F64 | NOMOD | CPL0 | END)),
	[0x30] = T(IF("wrmsr", WRMSR, 0, O(0), FL_NONE, MSR, CPL0 | END)),
	[0x31] = T(IF("rdtsc", RDTSC, 0, O(0), FL_NONE, TSC, SENS)),
	[0x32] = T(IF("rdmsr", RDMSR, 0, O(0), FL_NONE, MSR, CPL0)),
	[0x33] = T(I("rdpmc", RDPMC, 0, O(0), FL_NONE, SENS)),
	[0x34] = T(IF("sysenter", SYSENTER, 0, O(0), FL_NONE, SEP, BRANCH | PROT | SENS)),
	[0x35] = T(IF("sysexit", SYSEXIT, 0, O(0), FL_NONE, SEP, BRANCH | PROT | CPL0)),
	CC16(CMOVCC_ROW),
	[0x77] = T({ X86_ROW("emms", EMMS, NP, MMX, MMX, SENS), O(0) }),
	[0x78] = T(I("vmread", VMX, NP, O(Em | w, Gm), FL_ARITH, F64 | CPL0),
		   S("extrq", P66 | REG0, O(Uo | m, Ib, I2b), SSE4A, 0),
		   S("insertq", PF2, O(Vo | m, Uo, Ib, I2b), SSE4A, 0)),
	[0x79] = T(I("vmwrite", VMX, NP, O(Gm, Em), FL_ARITH, F64 | CPL0),
		   S("extrq", P66, O(Vo | m, Uo), SSE4A, 0),
		   S("insertq", PF2, O(Vo | m, Uo), SSE4A, 0)),
	CC16(JCC_NEAR),
	CC16(SETCC_ROW),
	[0xa0] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, D64 | SENS)),
	[0xa1] = T(I("pop", POP_SEG, 0, O(Sop | w), FL_NONE, D64 | END)),
	[0xa2] = T(I("cpuid", CPUID, 0, O(0), FL_NONE, SENS)),
	[0xa3] = T(I("bt", BT, 0, O(Ev, Gv), FL_BT, SENS)),
	[0xa4] = T(I("shld", SHLD, 0, O(Ev | m, Gv, Ib), FL_SHIFT, INNOC)),
	[0xa5] = T(I("shld", SHLD, 0, O(Ev | m, Gv, CLb), FL_SHIFT, INNOC)),
	[0xa8] = T(I("push", PUSH_SEG, 0, O(Sop), FL_NONE, D64 | SENS)),
	[0xa9] = T(I("pop", POP_SEG, 0, O(Sop | w), FL_NONE, D64 | END)),
	[0xaa] = T(I("rsm", RSM, 0, O(0), FL_ARITH, BRANCH | SENS)),
	[0xab] = T(I("bts", BTS, 0, O(Ev | m, Gv), FL_BT, LOCK | SENS)),
	[0xac] = T(I("shrd", SHRD, 0, O(Ev | m, Gv, Ib), FL_SHIFT, INNOC)),
	[0xad] = T(I("shrd", SHRD, 0, O(Ev | m, Gv, CLb), FL_SHIFT, INNOC)),
	[0xae] = T({ X86_ROW("fxsave", FXSAVE, NP | REG0 | MEM, FXSR, SSE, SENS | SO), O(M0 | w) },
		   { X86_ROW("fxrstor", FXRSTOR, NP | REG1 | MEM, FXSR, SSE, SENS), O(M0) },
		   { X86_ROW("ldmxcsr", LDMXCSR, NP | REG2 | MEM, SSE, SSE, SENS), O(Md) },
		   { X86_ROW("stmxcsr", STMXCSR, NP | REG3 | MEM, SSE, SSE, SENS | SO), O(Md | w) },
		   IF("xsave", XSAVE, NP | REG4 | MEM, O(M0 | m), FL_NONE, XSAVE, SENS),
		   IF("xrstor", XRSTOR, NP | REG5 | MEM, O(M0), FL_NONE, XSAVE, SENS),
		   IF("xsaveopt", XSAVEOPT, NP | REG6 | MEM, O(M0 | m), FL_NONE, XSAVEOPT, SENS),
		   IF("clflush", CLFLUSH, NP | REG7 | MEM, O(M0 | n), FL_NONE, CLFLUSH, SENS),
		   IF("clwb", CLWB, P66 | REG6 | MEM, O(M0 | n), FL_NONE, CLWB, SENS),
		   IF("clflushopt", CLFLUSHOPT, P66 | REG7 | MEM, O(M0 | n), FL_NONE, CLFLUSHOPT, SENS),
		   IF("lfence", LFENCE, NP | REG5 | MOD3, O(X0), FL_NONE, SSE2, INNOC),
		   IF("mfence", MFENCE, NP | REG6 | MOD3, O(X0), FL_NONE, SSE2, INNOC),
		   IF("sfence", SFENCE, NP | REG7 | MOD3, O(X0), FL_NONE, SSE, INNOC),
		   IF("rdfsbase", RDFSBASE, PF3 | REG0 | MOD3, O(Ry | w), FL_NONE, FSGSBASE, FSGS),
		   IF("rdgsbase", RDGSBASE, PF3 | REG1 | MOD3, O(Ry | w), FL_NONE, FSGSBASE, FSGS),
		   IF("wrfsbase", WRFSBASE, PF3 | REG2 | MOD3, O(Ry), FL_NONE, FSGSBASE, FSGS),
		   IF("wrgsbase", WRGSBASE, PF3 | REG3 | MOD3, O(Ry), FL_NONE, FSGSBASE, FSGS)),
	[0xaf] = T(I("imul", IMUL, 0, O(Gv | m, Ev), FL_MUL, INNOC)),
	[0xb0] = T(I("cmpxchg", CMPXCHG, 0, O(Eb | m, Gb), FL_ARITH, INNOC | LOCK | BYTE)),
	[0xb1] = T(I("cmpxchg", CMPXCHG, 0, O(Ev | m, Gv), FL_ARITH, INNOC | LOCK)),
	/* AMD ignores REX.W here, and for the size of far pointers in general. */
	[0xb2] = T(I("lss", LSS, 0, O(Gv | w, Mp), FL_NONE, IO | END)),
	[0xb3] = T(I("btr", BTR, 0, O(Ev | m, Gv), FL_BT, LOCK | SENS)),
	[0xb4] = T(I("lfs", LFS, 0, O(Gv | w, Mp), FL_NONE, IO | END)),
	[0xb5] = T(I("lgs", LGS, 0, O(Gv | w, Mp), FL_NONE, IO | END)),
	[0xb6] = T(I("movzx", MOVZX, 0, O(Gv | w, Eb), FL_NONE, INNOC)),
	[0xb7] = T(I("movzx", MOVZX, 0, O(Gv | w, Ew), FL_NONE, INNOC)),
	[0xb8] = T(IF("popcnt", POPCNT, PF3, O(Gv | w, Ev), FL_ARITH, POPCNT, INNOC)),
	[0xb9] = T(I("ud1", UD, 0, O(X0), FL_NONE, SENS)),
	[0xba] = T(I("bt", BT, REG4, O(Ev, Ib), FL_BT, INNOC),
		   I("bts", BTS, REG5, O(Ev | m, Ib), FL_BT, INNOC | LOCK),
		   I("btr", BTR, REG6, O(Ev | m, Ib), FL_BT, INNOC | LOCK),
		   I("btc", BTC, REG7, O(Ev | m, Ib), FL_BT, INNOC | LOCK)),
	[0xbb] = T(I("btc", BTC, 0, O(Ev | m, Gv), FL_BT, LOCK | SENS)),
	/* Without their feature TZCNT and LZCNT are BSF and BSR: the handlers' business. */
	[0xbc] = T(I("tzcnt", TZCNT, PF3, O(Gv | w, Ev), FL_TZCNT, INNOC),
		   I("bsf", BSF, 0, O(Gv | m, Ev), FL_BSF, INNOC)),
	[0xbd] = T(I("lzcnt", LZCNT, PF3, O(Gv | w, Ev), FL_TZCNT, INNOC),
		   I("bsr", BSR, 0, O(Gv | m, Ev), FL_BSF, INNOC)),
	[0xbe] = T(I("movsx", MOVSX, 0, O(Gv | w, Eb), FL_NONE, INNOC)),
	[0xbf] = T(I("movsx", MOVSX, 0, O(Gv | w, Ew), FL_NONE, INNOC)),
	[0xc0] = T(I("xadd", XADD, 0, O(Eb | m, Gb | m), FL_ARITH, INNOC | LOCK | BYTE)),
	[0xc1] = T(I("xadd", XADD, 0, O(Ev | m, Gv | m), FL_ARITH, INNOC | LOCK)),
	[0xc3] = T(IF("movnti", MOVNTI, NP, O(My | w, Gy), FL_NONE, SSE2, INNOC | SO)),
	[0xc7] = T(IF("cmpxchg16b", CMPXCHG16B, REG1 | MEM | W1, O(Mo | m), FL_ZF, CX16, INNOC | LOCK | ALN),
		   IF("cmpxchg8b", CMPXCHG8B, REG1 | MEM, O(Mq | m), FL_ZF, CX8, INNOC | LOCK),
		   IF("xrstors", XRSTORS, NP | REG3 | MEM, O(M0), FL_NONE, XSAVES, CPL0),
		   IF("xsavec", XSAVEC, NP | REG4 | MEM, O(M0 | m), FL_NONE, XSAVEC, SENS),
		   IF("xsaves", XSAVES, NP | REG5 | MEM, O(M0 | m), FL_NONE, XSAVES, CPL0),
		   I("vmptrld", VMX, NP | REG6 | MEM, O(Mq), FL_ARITH, CPL0),
		   I("vmclear", VMX, P66 | REG6 | MEM, O(Mq), FL_ARITH, CPL0),
		   I("vmxon", VMX, PF3 | REG6 | MEM, O(Mq), FL_ARITH, CPL0),
		   I("vmptrst", VMX, NP | REG7 | MEM, O(Mq | w), FL_ARITH, CPL0),
		   IF("rdpid", RDPID, PF3 | REG7 | MOD3, O(Rm | w), FL_NONE, RDPID, SENS),
		   IF("rdrand", RDRAND, NREP | REG6 | MOD3, O(Rv | w), FL_ARITH, RDRAND, SENS),
		   IF("rdseed", RDSEED, NREP | REG7 | MOD3, O(Rv | w), FL_ARITH, RDSEED, SENS)),
	[0xc8 ... 0xcf] = T(I("bswap", BSWAP, 0, O(Zv | m), FL_NONE, INNOC)),
	[0xff] = T(I("ud0", UD, 0, O(X0), FL_NONE, SENS)),
};

const x86_opcode_table x86_table_0f38 = {
	[0x80] = T(I("invept", VMX, P66, O(Gm, Mo), FL_ARITH, F64 | CPL0)),
	[0x81] = T(I("invvpid", VMX, P66, O(Gm, Mo), FL_ARITH, F64 | CPL0)),
	[0x82] = T(IF("invpcid", INVPCID, P66, O(Gm, Mo), FL_NONE, INVPCID, F64 | CPL0 | END)),
	[0xf0] = T(IF("crc32", CRC32, PF2, O(Gy | m, Eb), FL_NONE, SSE42, INNOC | BYTE),
		   IF("movbe", MOVBE, NREP, O(Gv | w, Mv), FL_NONE, MOVBE, INNOC)),
	[0xf1] = T(IF("crc32", CRC32, PF2, O(Gy | m, Ev), FL_NONE, SSE42, INNOC),
		   IF("movbe", MOVBE, NREP, O(Mv | w, Gv), FL_NONE, MOVBE, INNOC | SO)),
	[0xf6] = T(IF("adcx", ADCX, P66, O(Gy | m, Ey), X86_FL(C, C, 0), ADX, INNOC),
		   IF("adox", ADOX, PF3, O(Gy | m, Ey), X86_FL(OV, OV, 0), ADX, NO66 | INNOC)),
	[0xf9] = T(IF("movdiri", MOVDIRI, NP, O(My | w, Gy), FL_NONE, MOVDIRI, INNOC | SO)),
};

const x86_opcode_table x86_table_0f3a = {
	[0xff] = NULL,
};

/* ---- lookup ------------------------------------------------------------------------------------------- */

static const struct x86_opcode *first_of(const x86_opcode_table a, const x86_opcode_table b, u8 opcode)
{
	return a[opcode] ? a[opcode] : b[opcode];
}

const struct x86_opcode *x86_opcode_rows(enum x86_encoding encoding, unsigned map, u8 opcode)
{
	if (map > 6)
		return NULL;
	switch (encoding << 4 | map) {
	case X86_ENCODING_LEGACY << 4 | 0:
		return first_of(x86_table_1byte, x86_table_x87, opcode);
	case X86_ENCODING_LEGACY << 4 | 1:
		return first_of(x86_table_0f, x86_table_sse_0f, opcode);
	case X86_ENCODING_LEGACY << 4 | 2:
		return first_of(x86_table_0f38, x86_table_sse_0f38, opcode);
	case X86_ENCODING_LEGACY << 4 | 3:
		return x86_table_sse_0f3a[opcode];
	case X86_ENCODING_VEX << 4 | 1:
		return x86_table_vex1[opcode];
	case X86_ENCODING_VEX << 4 | 2:
		return x86_table_vex2[opcode];
	case X86_ENCODING_VEX << 4 | 3:
		return x86_table_vex3[opcode];
	case X86_ENCODING_EVEX << 4 | 1:
		return x86_table_evex1[opcode];
	case X86_ENCODING_EVEX << 4 | 2:
		return x86_table_evex2[opcode];
	case X86_ENCODING_EVEX << 4 | 3:
		return x86_table_evex3[opcode];
	case X86_ENCODING_EVEX << 4 | 5:
		return x86_table_evex5[opcode];
	case X86_ENCODING_EVEX << 4 | 6:
		return x86_table_evex6[opcode];
	default:
		return NULL;
	}
}

bool x86_opcode_has_modrm(const struct x86_opcode *rows)
{
	for (; rows->name; rows++) {
		if (x86_row_has_modrm(rows))
			return true;
	}
	return false;
}

const char *x86_op_name(enum x86_op op)
{
	static const char *const names[X86_NR_OPS] = {
#define X(name) [X86_OP_##name] = #name,
		X86_OPS(X)
#undef X
	};

	return op < X86_NR_OPS ? names[op] : "?";
}
