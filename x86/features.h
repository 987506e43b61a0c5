/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUID feature bits that change what an instruction or register does here: X(name, leaf, subleaf, reg, bit)
 * with reg 0..3 for EAX, EBX, ECX, EDX. x86_cpu.features holds them for a vCPU, from its KVM_SET_CPUID2 table.
 */
#ifndef ANYKVM_X86_FEATURES_H
#define ANYKVM_X86_FEATURES_H

#define X86_FEATURES(X)                                                                                   \
	X(FPU, 1, 0, 3, 0) X(TSC, 1, 0, 3, 4) X(MSR, 1, 0, 3, 5) X(PAE, 1, 0, 3, 6) X(CX8, 1, 0, 3, 8)   \
	X(APIC, 1, 0, 3, 9) X(SEP, 1, 0, 3, 11) X(PGE, 1, 0, 3, 13) X(CMOV, 1, 0, 3, 15)                 \
	X(PSE36, 1, 0, 3, 17) X(CLFLUSH, 1, 0, 3, 19) X(MMX, 1, 0, 3, 23) X(FXSR, 1, 0, 3, 24)           \
	X(SSE, 1, 0, 3, 25) X(SSE2, 1, 0, 3, 26)                                                         \
	X(SSE3, 1, 0, 2, 0) X(PCLMULQDQ, 1, 0, 2, 1) X(MONITOR, 1, 0, 2, 3) X(SSSE3, 1, 0, 2, 9)         \
	X(FMA, 1, 0, 2, 12) X(CX16, 1, 0, 2, 13) X(PCID, 1, 0, 2, 17) X(SSE41, 1, 0, 2, 19)              \
	X(SSE42, 1, 0, 2, 20) X(X2APIC, 1, 0, 2, 21) X(MOVBE, 1, 0, 2, 22) X(POPCNT, 1, 0, 2, 23)        \
	X(TSC_DEADLINE, 1, 0, 2, 24) X(AES, 1, 0, 2, 25) X(XSAVE, 1, 0, 2, 26) X(AVX, 1, 0, 2, 28)       \
	X(F16C, 1, 0, 2, 29) X(RDRAND, 1, 0, 2, 30)                                                      \
	X(FSGSBASE, 7, 0, 1, 0) X(TSC_ADJUST, 7, 0, 1, 1) X(BMI1, 7, 0, 1, 3) X(AVX2, 7, 0, 1, 5)        \
	X(SMEP, 7, 0, 1, 7) X(BMI2, 7, 0, 1, 8) X(ERMS, 7, 0, 1, 9) X(INVPCID, 7, 0, 1, 10)              \
	X(AVX512F, 7, 0, 1, 16) X(AVX512DQ, 7, 0, 1, 17) X(RDSEED, 7, 0, 1, 18) X(ADX, 7, 0, 1, 19)      \
	X(SMAP, 7, 0, 1, 20) X(AVX512_IFMA, 7, 0, 1, 21) X(CLFLUSHOPT, 7, 0, 1, 23)                      \
	X(CLWB, 7, 0, 1, 24) X(AVX512CD, 7, 0, 1, 28) X(SHA, 7, 0, 1, 29) X(AVX512BW, 7, 0, 1, 30)       \
	X(AVX512VL, 7, 0, 1, 31)                                                                         \
	X(AVX512_VBMI, 7, 0, 2, 1) X(UMIP, 7, 0, 2, 2) X(PKU, 7, 0, 2, 3) X(AVX512_VBMI2, 7, 0, 2, 6)    \
	X(GFNI, 7, 0, 2, 8) X(VAES, 7, 0, 2, 9) X(VPCLMULQDQ, 7, 0, 2, 10) X(AVX512_VNNI, 7, 0, 2, 11)   \
	X(AVX512_BITALG, 7, 0, 2, 12) X(AVX512_VPOPCNTDQ, 7, 0, 2, 14) X(LA57, 7, 0, 2, 16)              \
	X(RDPID, 7, 0, 2, 22) X(MOVDIRI, 7, 0, 2, 27) X(SERIALIZE, 7, 0, 3, 14)                          \
	X(AVX512_VP2INTERSECT, 7, 0, 3, 8) X(AVX512_FP16, 7, 0, 3, 23)                                   \
	X(AVX_VNNI, 7, 1, 0, 4) X(AVX512_BF16, 7, 1, 0, 5)                                               \
	X(XSAVEOPT, 0xd, 1, 0, 0) X(XSAVEC, 0xd, 1, 0, 1) X(XGETBV1, 0xd, 1, 0, 2) X(XSAVES, 0xd, 1, 0, 3) \
	X(LAHF_LM, 0x80000001, 0, 2, 0) X(CR8_LEGACY, 0x80000001, 0, 2, 4) X(LZCNT, 0x80000001, 0, 2, 5) \
	X(SSE4A, 0x80000001, 0, 2, 6) X(MISALIGNSSE, 0x80000001, 0, 2, 7)                                \
	X(PREFETCHW, 0x80000001, 0, 2, 8)                                                                \
	X(SYSCALL, 0x80000001, 0, 3, 11) X(NX, 0x80000001, 0, 3, 20) X(MMXEXT, 0x80000001, 0, 3, 22)     \
	X(FXSR_OPT, 0x80000001, 0, 3, 25) X(GBPAGES, 0x80000001, 0, 3, 26)                               \
	X(RDTSCP, 0x80000001, 0, 3, 27) X(LM, 0x80000001, 0, 3, 29)                                      \
	X(CLZERO, 0x80000008, 0, 1, 0) X(XSAVEERPTR, 0x80000008, 0, 1, 2) X(WBNOINVD, 0x80000008, 0, 1, 9)

enum x86_feature {
	X86_FEAT_NONE,
#define X(name, leaf, subleaf, reg, bit) X86_FEAT_##name,
	X86_FEATURES(X)
#undef X
	X86_NR_FEATURES,
};

#endif
