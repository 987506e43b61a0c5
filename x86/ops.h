/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every operation of the decode table, once: the enum, the printable names and the interpreter's handlers
 * come from this list. One operation for one mnemonic of the manuals; operand forms are told apart by
 * x86_insn.operand. Where one mnemonic names several things each has its own operation (MOV_CR, JMP_FAR).
 * Vector, MMX and x87 instructions that compute on registers and plain memory alone share X86_OP_NATIVE: they
 * are executed as themselves, and their table row says what is to be known of them.
 */
#ifndef ANYKVM_X86_OPS_H
#define ANYKVM_X86_OPS_H

#define X86_OPS(X)                                                                                       \
	/* integer arithmetic and logic */                                                               \
	X(ADD) X(OR) X(ADC) X(SBB) X(AND) X(SUB) X(XOR) X(CMP) X(TEST)                                   \
	X(INC) X(DEC) X(NOT) X(NEG) X(MUL) X(IMUL1) X(IMUL) X(DIV) X(IDIV)                               \
	X(ROL) X(ROR) X(RCL) X(RCR) X(SHL) X(SHR) X(SAR) X(SHLD) X(SHRD)                                 \
	X(BT) X(BTS) X(BTR) X(BTC) X(BSF) X(BSR) X(POPCNT) X(LZCNT) X(TZCNT)                             \
	X(ADCX) X(ADOX) X(ANDN) X(BEXTR) X(BLSI) X(BLSMSK) X(BLSR) X(BZHI) X(MULX) X(PDEP) X(PEXT)       \
	X(RORX) X(SARX) X(SHLX) X(SHRX) X(CRC32)                                                         \
	X(DAA) X(DAS) X(AAA) X(AAS) X(AAM) X(AAD)                                                        \
	/* data movement */                                                                              \
	X(MOV) X(MOVZX) X(MOVSX) X(MOVSXD) X(LEA) X(XCHG) X(XADD) X(CMPXCHG) X(CMPXCHG8B)                \
	X(CMPXCHG16B) X(BSWAP) X(MOVBE) X(MOVNTI) X(MOVDIRI) X(CBW) X(CWD) X(XLAT) X(CMOVCC) X(SETCC)    \
	X(PUSH) X(POP) X(PUSHA) X(POPA) X(PUSHF) X(POPF) X(ENTER) X(LEAVE) X(LAHF) X(SAHF)               \
	X(CLC) X(STC) X(CMC) X(CLD) X(STD) X(SALC)                                                       \
	/* strings: operation per element; prefix says REP/REPNE */                                      \
	X(MOVS) X(CMPS) X(STOS) X(LODS) X(SCAS) X(INS) X(OUTS)                                           \
	/* control transfer */                                                                           \
	X(JCC) X(JMP) X(JMP_IND) X(JMP_FAR) X(CALL) X(CALL_IND) X(CALL_FAR) X(RET) X(RET_FAR)            \
	X(JCXZ) X(LOOP) X(LOOPE) X(LOOPNE) X(INT) X(INT1) X(INT3) X(INTO) X(IRET) X(BOUND)               \
	X(SYSCALL) X(SYSRET) X(SYSENTER) X(SYSEXIT)                                                      \
	/* no operation, hints, fences */                                                                \
	X(NOP) X(PAUSE) X(PREFETCH) X(LFENCE) X(MFENCE) X(SFENCE) X(SERIALIZE)                           \
	X(CLFLUSH) X(CLFLUSHOPT) X(CLWB) X(CLZERO) X(UD)                                                 \
	/* segments and descriptor tables */                                                             \
	X(MOV_SEG) X(PUSH_SEG) X(POP_SEG) X(LDS) X(LES) X(LFS) X(LGS) X(LSS)                             \
	X(LGDT) X(LIDT) X(SGDT) X(SIDT) X(LLDT) X(LTR) X(SLDT) X(STR) X(LMSW) X(SMSW)                    \
	X(LAR) X(LSL) X(VERR) X(VERW) X(ARPL) X(SWAPGS)                                                  \
	X(RDFSBASE) X(RDGSBASE) X(WRFSBASE) X(WRGSBASE)                                                  \
	/* system */                                                                                     \
	X(CLI) X(STI) X(HLT) X(CLTS) X(STAC) X(CLAC) X(MOV_CR) X(MOV_DR) X(INVLPG) X(INVPCID)            \
	X(INVD) X(WBINVD) X(WBNOINVD) X(RDMSR) X(WRMSR) X(RDTSC) X(RDTSCP) X(RDPMC) X(RDPID)             \
	X(CPUID) X(RSM) X(MONITOR) X(MWAIT) X(RDRAND) X(RDSEED) X(RDPKRU) X(WRPKRU)                      \
	X(XGETBV) X(XSETBV) X(IN) X(OUT)                                                                 \
	/* AMD-V and VT-x: VMCALL and VMMCALL are hypercalls; the others are #UD without nesting */      \
	X(VMCALL) X(VMMCALL) X(SVM) X(VMX)                                                               \
	/* state management of x87, MMX, SSE and the XSAVE family */                                     \
	X(FXSAVE) X(FXRSTOR) X(XSAVE) X(XSAVEC) X(XSAVEOPT) X(XSAVES) X(XRSTOR) X(XRSTORS)               \
	X(LDMXCSR) X(STMXCSR) X(FWAIT) X(EMMS)                                                           \
	/* executed as themselves on the host; X87 apart, for its error pointers and #MF */              \
	X(NATIVE) X(X87)

#endif
