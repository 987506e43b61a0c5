/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtual machine control block (AMD APM vol. 2, appendix B) and what VMRUN says through it. */
#ifndef ANYKVM_ENGINE_SVM_VMCB_H
#define ANYKVM_ENGINE_SVM_VMCB_H

#include "host/types.h"

/* control.intercept[]: one bit each, numbered through all words; also control.exit_code. */
enum svm_intercept {
	SVM_CR_READ = 0,   /* + CR number */
	SVM_CR_WRITE = 16, /* + CR number */
	SVM_DR_READ = 32,
	SVM_DR_WRITE = 48,
	SVM_EXCEPTION = 64, /* + vector */
	SVM_INTR = 96, SVM_NMI, SVM_SMI, SVM_INIT, SVM_VINTR, SVM_CR0_SEL_WRITE,
	SVM_IDTR_READ, SVM_GDTR_READ, SVM_LDTR_READ, SVM_TR_READ, SVM_IDTR_WRITE, SVM_GDTR_WRITE, SVM_LDTR_WRITE,
	SVM_TR_WRITE, SVM_RDTSC, SVM_RDPMC, SVM_PUSHF, SVM_POPF, SVM_CPUID, SVM_RSM, SVM_IRET, SVM_SWINT, SVM_INVD,
	SVM_PAUSE, SVM_HLT, SVM_INVLPG, SVM_INVLPGA, SVM_IOIO, SVM_MSR, SVM_TASK_SWITCH, SVM_FERR_FREEZE, SVM_SHUTDOWN,
	SVM_VMRUN = 128, SVM_VMMCALL, SVM_VMLOAD, SVM_VMSAVE, SVM_STGI, SVM_CLGI, SVM_SKINIT, SVM_RDTSCP, SVM_ICEBP,
	SVM_WBINVD, SVM_MONITOR, SVM_MWAIT, SVM_MWAIT_ARMED, SVM_XSETBV, SVM_RDPRU,
	SVM_NR_INTERCEPTS = 160,
};

/* control.exit_code: the intercept's number, or one of these. */
#define SVM_EXIT_NPF	 0x400ull
#define SVM_EXIT_INVALID (~0ull)

/* control.clean */
#define SVM_CLEAN_INTERCEPTS BIT(0) /* and TSC offset, pause filter */
#define SVM_CLEAN_MAPS	     BIT(1)
#define SVM_CLEAN_ASID	     BIT(2)
#define SVM_CLEAN_INT	     BIT(3)
#define SVM_CLEAN_NP	     BIT(4)
#define SVM_CLEAN_CR	     BIT(5) /* and EFER */
#define SVM_CLEAN_DR	     BIT(6)
#define SVM_CLEAN_DT	     BIT(7)
#define SVM_CLEAN_SEG	     BIT(8) /* and CPL */
#define SVM_CLEAN_CR2	     BIT(9)
#define SVM_CLEAN_ALL	     0x3ffu

#define SVM_TLB_NOTHING	   0
#define SVM_TLB_FLUSH_ALL  1 /* all ASIDs */
#define SVM_TLB_FLUSH_ASID 3

#define SVM_INT_V_TPR	      0xffull
#define SVM_INT_V_IRQ	      BIT64(8)
#define SVM_INT_V_GIF	      BIT64(9)
#define SVM_INT_V_NMI	      BIT64(11)
#define SVM_INT_V_NMI_MASK    BIT64(12)
#define SVM_INT_V_PRIO_SHIFT  16
#define SVM_INT_V_IGN_TPR     BIT64(20)
#define SVM_INT_V_MASKING     BIT64(24)
#define SVM_INT_V_GIF_ENABLE  BIT64(25)
#define SVM_INT_V_NMI_ENABLE  BIT64(26)

#define SVM_STATE_SHADOW BIT64(0) /* control.int_state */

/* control.event_inj and exit_int_info */
#define SVM_EVENT_VECTOR   0xffull
#define SVM_EVENT_TYPE	   0x700ull
#define SVM_EVENT_IRQ	   0x000ull
#define SVM_EVENT_NMI	   0x200ull
#define SVM_EVENT_EXCEPTION 0x300ull
#define SVM_EVENT_SOFT	   0x400ull
#define SVM_EVENT_ERROR	   BIT64(11)
#define SVM_EVENT_VALID	   BIT64(31)

#define SVM_NP_ENABLE BIT64(0)

/* exit_info1 of SVM_EXIT_IOIO */
#define SVM_IO_IN	BIT64(0)
#define SVM_IO_STRING	BIT64(2)
#define SVM_IO_REP	BIT64(3)
#define SVM_IO_SIZE(i)	((unsigned)((i) >> 4 & 7))
#define SVM_IO_PORT(i)	((u16)((i) >> 16))

/* exit_info1 of SVM_EXIT_NPF: the page-fault error code, and which walk it was */
#define SVM_NPF_WRITE	   BIT64(1)
#define SVM_NPF_FETCH	   BIT64(4)
#define SVM_NPF_FINAL	   BIT64(32)

/* CPUID 0x8000000A EDX */
#define SVM_FEATURE_NPT		 BIT(0)
#define SVM_FEATURE_NRIPS	 BIT(3)
#define SVM_FEATURE_TSC_RATIO	 BIT(4)
#define SVM_FEATURE_CLEAN	 BIT(5)
#define SVM_FEATURE_FLUSH_ASID	 BIT(6)
#define SVM_FEATURE_DECODE	 BIT(7)
#define SVM_FEATURE_PAUSE_FILTER BIT(10)
#define SVM_FEATURE_PAUSE_THRESHOLD BIT(12)
#define SVM_FEATURE_VGIF	 BIT(16)
#define SVM_FEATURE_VNMI	 BIT(25)

struct vmcb_control {
	u32 intercept[SVM_NR_INTERCEPTS / 32];
	u32 reserved_14[10];
	u16 pause_threshold, pause_count;	/* 0x3c */
	u64 iopm, msrpm, tsc_offset;		/* 0x40 */
	u32 asid;				/* 0x58 */
	u8 tlb_control, reserved_5d[3];
	u64 int_control, int_state;		/* 0x60 */
	u64 exit_code, exit_info1, exit_info2;	/* 0x70 */
	u64 exit_int_info;			/* 0x88: error code in the upper half */
	u64 np_control;				/* 0x90 */
	u64 avic_bar, ghcb;
	u64 event_inj;				/* 0xa8: error code in the upper half */
	u64 np_cr3, lbr_control;		/* 0xb0 */
	u32 clean, reserved_c4;			/* 0xc0 */
	u64 next_rip;				/* 0xc8 */
	u8 nr_bytes, bytes[15];			/* 0xd0 */
	u8 reserved_e0[0x400 - 0xe0];
};

struct vmcb_seg {
	u16 selector, attributes;
	u32 limit;
	u64 base;
};

struct vmcb_segs {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
};

struct vmcb_save {
	struct vmcb_segs segs;			/* 0x400 */
	u8 reserved_4a0[43], cpl;
	u32 reserved_4cc;
	u64 efer;				/* 0x4d0 */
	u8 reserved_4d8[0x548 - 0x4d8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip; /* 0x548 */
	u8 reserved_580[0x5d8 - 0x580];
	u64 rsp;				/* 0x5d8 */
	u64 reserved_5e0[3];
	u64 rax;				/* 0x5f8 */
	u64 star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	u8 reserved_648[0x668 - 0x648];
	u64 pat, debugctl, br_from, br_to, last_ex_from, last_ex_to; /* 0x668 */
	u8 reserved_698[0x1000 - 0x698];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

_Static_assert(sizeof(struct vmcb) == 4096, "one page");
_Static_assert(offsetof(struct vmcb_control, iopm) == 0x40 && offsetof(struct vmcb_control, asid) == 0x58, "APM B-1");
_Static_assert(offsetof(struct vmcb_control, event_inj) == 0xa8 && offsetof(struct vmcb_control, next_rip) == 0xc8,
	       "APM table B-1");
_Static_assert(offsetof(struct vmcb, save.cpl) == 0x4cb && offsetof(struct vmcb, save.cr4) == 0x548, "APM table B-2");
_Static_assert(offsetof(struct vmcb, save.rsp) == 0x5d8 && offsetof(struct vmcb, save.cr2) == 0x640 &&
	       offsetof(struct vmcb, save.pat) == 0x668, "APM table B-2");

#endif
