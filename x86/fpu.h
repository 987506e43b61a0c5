/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * x87/SSE/AVX state. While cpu->fpu_live the guest's registers are the host's; otherwise they are the XSAVE
 * image in cpu->xsave (standard format). In between it may be away, with a process that runs the guest's code
 * (x86_fpu_send_away). The x87 error pointers are the exception: the host's FIP and FDP
 * point into our stubs and buffers, so the guest's are kept in cpu->fpu_ip, fpu_dp, fpu_cs, fpu_ds and
 * fpu_op and put into every image that anybody sees.
 *
 * The life-cycle and KVM's state functions are declared in x86/system.h.
 */
#ifndef ANYKVM_X86_FPU_H
#define ANYKVM_X86_FPU_H

#include "x86/cpu.h"
#include "x86/opcodes.h"

/* XSAVE state components (SDM vol. 1, 13.1) */
#define X86_XCR0_X87	BIT64(0)
#define X86_XCR0_SSE	BIT64(1)
#define X86_XCR0_AVX	BIT64(2)
#define X86_XCR0_OPMASK	BIT64(5)
#define X86_XCR0_ZMM_HI	BIT64(6) /* upper halves of ZMM0-15 */
#define X86_XCR0_ZMM_16	BIT64(7) /* ZMM16-31 */
#define X86_XCR0_PKRU	BIT64(9)
#define X86_XCR0_AVX512	(X86_XCR0_OPMASK | X86_XCR0_ZMM_HI | X86_XCR0_ZMM_16)

#define X86_MXCSR_FLAGS	0x003fu
#define X86_MXCSR_DAZ	0x0040u
#define X86_MXCSR_MASKS	0x1f80u
#define X86_MXCSR_UM	0x0800u
#define X86_MXCSR_FTZ	0x8000u
#define X86_MXCSR_MM	0x20000u /* AMD: misaligned operands of legacy SSE instructions allowed */
#define X86_MXCSR_RESET	0x1f80u
#define X86_FCW_RESET	0x037fu
#define X86_FSW_ES	0x0080u	/* an unmasked exception is pending */

/* cpu->fpu_unmasked: which units may report exceptions; 0 is the usual case and the fast one. */
#define X86_FPU_UNMASKED_SIMD	BIT(0)
#define X86_FPU_UNMASKED_X87	BIT(1)
#define X86_FPU_AWAY		BIT(2)	/* the state is where cpu->fpu_fetch finds it; nothing but that is known of it */

/* The first 576 bytes of an XSAVE image; the FXSAVE image is the first 512. */
struct x86_fxsave {
	u16 fcw, fsw;
	u8 ftw, reserved0;
	u16 fop;
	u64 fip;	/* or FIP32, FCS */
	u64 fdp;	/* or FDP32, FDS */
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 xmm[16][16];
	u8 reserved1[48];
	u8 software[48];	/* never written by the processor */
};

struct x86_xsave {
	struct x86_fxsave fx;
	u64 xstate_bv, xcomp_bv;
	u8 reserved[48];
};

/* The host's state components, found once by x86_fpu_probe() (idempotent; x86_fpu_create calls it). */
struct x86_fpu_host {
	u64 xcr0;		/* components a guest may use, PKRU among them */
	u64 live;		/* those that x86_fpu_enter loads: xcr0 without PKRU */
	u32 size;		/* of the standard-format image with all of them, a multiple of 64 */
	u32 mxcsr_mask;
	u32 offset[64], length[64]; /* of the components from 2 on */
	bool align64[64];	/* compacted format aligns it to 64 bytes */
	bool xsave;		/* the host has XSAVE (else FXSAVE) */
	bool xsaveopt;		/* and XSAVEOPT, which leaves out what is initial or has not changed since it was loaded */
	bool xsavec;		/* the host has XSAVEC and the compacted format */
	bool plain;		/* the live components are x87, SSE and AVX, and XGETBV tells which are not initial */
	bool amd;
	bool fdp_exception_only; /* CPUID.7.0:EBX[6] */
	bool no_fcs_fds;	/* CPUID.7.0:EBX[13] */
};

extern struct x86_fpu_host x86_fpu_host;
void x86_fpu_probe(void);

/* Whether desc->state is enabled: X86_OK, or X86_FAULT with #UD or #NM. */
enum x86_result x86_fpu_check(struct x86_cpu *cpu, enum x86_state state);
/* #MF if an unmasked x87 exception is pending: what waiting x87 and MMX instructions start with. Live. */
enum x86_result x86_fpu_wait(struct x86_cpu *cpu);
/*
 * Recomputes cpu->fpu_unmasked from the live registers: after whatever loads MXCSR or FCW. With more of it than before the
 * instruction loop is left (X86_STOP_CODE).
 */
void x86_fpu_track(struct x86_cpu *cpu);
/*
 * Live, and saved to cpu->xsave just now: from here on somebody else has it, until an instruction needs it (x86_fpu_home) or
 * the run ends (x86_fpu_leave).
 */
void x86_fpu_send_away(struct x86_cpu *cpu);
void x86_fpu_bring_home(struct x86_cpu *cpu);

static inline void x86_fpu_home(struct x86_cpu *cpu)
{
	if (unlikely(cpu->fpu_unmasked & X86_FPU_AWAY))
		x86_fpu_bring_home(cpu);
}

/* Saves / loads all live components to / from an x86_fpu_host.size image. Live. */
void x86_fpu_save(struct x86_xsave *image);
void x86_fpu_load(const struct x86_xsave *image);
/* Two images of x86_fpu_host.size for temporary use by one instruction at a time. */
struct x86_xsave *x86_fpu_scratch(const struct x86_cpu *cpu, unsigned n);

static inline u32 x86_fpu_mxcsr(void)
{
	u32 value;

	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static inline void x86_fpu_set_mxcsr(u32 value)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static inline u16 x86_fpu_fsw(void)
{
	u16 value;

	__asm__ volatile("fnstsw %0" : "=a"(value));
	return value;
}

static inline u16 x86_fpu_fcw(void)
{
	u16 value;

	__asm__ volatile("fnstcw %0" : "=m"(value));
	return value;
}

/*
 * Copies that may stand between x86_fpu_enter and _leave: the C library's, and a sanitizer's, use vector
 * registers.
 */
static inline void x86_fpu_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static inline void x86_fpu_zero(void *dst, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
}

/*
 * Guest memory areas of any size. x86_fpu_area checks segment and alignment (#GP(0)) and gives the linear
 * address; write after a successful probe of the same bytes does not fault. (x86/fpu_exec.c)
 */
enum x86_result x86_fpu_area(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, unsigned align,
			     unsigned access, u64 *gva);
enum x86_result x86_fpu_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned n);
enum x86_result x86_fpu_probe_write(struct x86_cpu *cpu, u64 gva, void *src, unsigned n);
enum x86_result x86_fpu_write(struct x86_cpu *cpu, u64 gva, void *src, unsigned n);

/* Handlers of the state group, for x86_bind (x86/fpu_exec.c). */
x86_exec_fn x86_exec_fxsave, x86_exec_fxrstor;
x86_exec_fn x86_exec_xsave, x86_exec_xsavec, x86_exec_xsaveopt, x86_exec_xsaves;
x86_exec_fn x86_exec_xrstor, x86_exec_xrstors;
x86_exec_fn x86_exec_ldmxcsr, x86_exec_stmxcsr, x86_exec_fwait, x86_exec_emms;

#endif
