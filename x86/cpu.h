/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * struct x86_cpu: the architectural state of one processor, and how the parts that execute it talk.
 *
 * Locking: a cpu belongs to the thread that runs its vCPU (or holds the vCPU's mutex); only `stop` is written
 * by others.
 *
 * Three results never mix (enum x86_result): the instruction went on, the guest faulted, somebody outside is
 * needed.  Errors of the host (-errno) do not appear here.
 */
#ifndef ANYKVM_X86_CPU_H
#define ANYKVM_X86_CPU_H

#include "host/types.h"
#include "x86/features.h"
#include "x86/insn.h"

/* RFLAGS */
#define X86_CF 0x000001u
#define X86_PF 0x000004u
#define X86_AF 0x000010u
#define X86_ZF 0x000040u
#define X86_SF 0x000080u
#define X86_TF 0x000100u
#define X86_IF 0x000200u
#define X86_DF 0x000400u
#define X86_OF 0x000800u
#define X86_IOPL 0x003000u
#define X86_IOPL_SHIFT 12
#define X86_NT 0x004000u
#define X86_RF 0x010000u
#define X86_VM 0x020000u
#define X86_AC 0x040000u
#define X86_VIF 0x080000u
#define X86_VIP 0x100000u
#define X86_ID 0x200000u
#define X86_FLAGS_FIXED 0x2u
#define X86_FLAGS_STATUS (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF)

#define X86_CR0_PE 0x1ull
#define X86_CR0_MP 0x2ull
#define X86_CR0_EM 0x4ull
#define X86_CR0_TS 0x8ull
#define X86_CR0_ET 0x10ull
#define X86_CR0_NE 0x20ull
#define X86_CR0_WP 0x10000ull
#define X86_CR0_AM 0x40000ull
#define X86_CR0_NW 0x20000000ull
#define X86_CR0_CD 0x40000000ull
#define X86_CR0_PG 0x80000000ull
#define X86_CR4_VME 0x1ull
#define X86_CR4_PVI 0x2ull
#define X86_CR4_TSD 0x4ull
#define X86_CR4_DE 0x8ull
#define X86_CR4_PSE 0x10ull
#define X86_CR4_PAE 0x20ull
#define X86_CR4_MCE 0x40ull
#define X86_CR4_PGE 0x80ull
#define X86_CR4_PCE 0x100ull
#define X86_CR4_OSFXSR 0x200ull
#define X86_CR4_OSXMMEXCPT 0x400ull
#define X86_CR4_UMIP 0x800ull
#define X86_CR4_LA57 0x1000ull
#define X86_CR4_FSGSBASE 0x10000ull
#define X86_CR4_PCIDE 0x20000ull
#define X86_CR4_OSXSAVE 0x40000ull
#define X86_CR4_SMEP 0x100000ull
#define X86_CR4_SMAP 0x200000ull
#define X86_CR4_PKE 0x400000ull
#define X86_MISC_ENABLE_MWAIT 0x40000ull
#define X86_EFER_SCE 0x1ull
#define X86_EFER_LME 0x100ull
#define X86_EFER_LMA 0x400ull
#define X86_EFER_NXE 0x800ull
#define X86_EFER_SVME 0x1000ull
#define X86_EFER_FFXSR 0x4000ull

enum x86_vector {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF_VECTOR = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7,
	X86_DF_VECTOR = 8, X86_TS = 10, X86_NP = 11, X86_SS_VECTOR = 12, X86_GP = 13, X86_PF_VECTOR = 14,
	X86_MF = 16, X86_AC_VECTOR = 17, X86_MC = 18, X86_XM = 19,
};

/* #PF error code */
#define X86_PFERR_P BIT(0)
#define X86_PFERR_W BIT(1)
#define X86_PFERR_U BIT(2)
#define X86_PFERR_RSVD BIT(3)
#define X86_PFERR_I BIT(4)
#define X86_PFERR_PK BIT(5)

/*
 * What executing an instruction came to.
 *
 *  value         RIP                          what follows
 *  X86_OK        advance past it              next instruction
 *  X86_BRANCH    handler wrote cpu->rip       new block
 *  X86_END       advance past it              leave the block: mode, TLB or interruptibility may have changed
 *  X86_REPEAT    stays                        partial work committed (string iterations); run it again after
 *                                             looking at events
 *  X86_FAULT     stays                        cpu->fault holds an exception to deliver; nothing committed
 *  X86_EXIT      stays                        the VMM or kvm/ is needed: cpu->exit says what for. The instruction
 *                                             runs again from its start afterwards and finds the answer
 */
enum x86_result { X86_OK = 0, X86_BRANCH, X86_END, X86_REPEAT, X86_FAULT, X86_EXIT };

/* The mode that decides decoding, address formation and stack width. */
enum x86_mode { X86_MODE_REAL, X86_MODE_V86, X86_MODE_PROT, X86_MODE_COMPAT, X86_MODE_LONG };

struct x86_seg {
	u64 base;
	u32 limit; /* in bytes, granularity applied */
	u16 selector;
	u8 type; /* 4 bits of the descriptor */
	u8 dpl;
	bool s, present, avl, l, db, g;
	bool unusable; /* loaded with a null selector */
};

struct x86_dtr {
	u64 base;
	u16 limit;
};

struct x86_exception {
	u8 vector;
	bool has_error;
	u32 error;
	u64 payload; /* #PF: CR2; #DB: the DR6 bits to set */
};

/* cpu->activity: what the processor does when not executing. KVM's mp_state adds INIT/SIPI on top. */
enum x86_activity { X86_ACTIVE, X86_HALTED, X86_SHUTDOWN };

/* cpu->stop: reasons to leave the instruction loop at the next instruction boundary. */
#define X86_STOP_KICK	BIT(0)	/* somebody wants kvm/ to look: request, interrupt, timer (set by any thread) */
#define X86_STOP_SIGNAL	BIT(1)	/* a signal arrived at the thread in KVM_RUN (set by its handler) */
#define X86_STOP_EXIT	BIT(2)	/* an instruction completed and left work outside: cpu->exit (MMIO write...) */
#define X86_STOP_CODE	BIT(3)	/* what the current block's code relies on has changed: its bytes, masked exceptions */
#define X86_STOP_EVENT	BIT(4)	/* cpu's own event state changed: evaluate before the next instruction */

#define X86_WINDOW_IRQ BIT(0)
#define X86_WINDOW_NMI BIT(1)
#define X86_WINDOW_SMI BIT(2)

/* Access kinds of memory functions. */
#define X86_ACCESS_READ	 0u
#define X86_ACCESS_WRITE BIT(0)
#define X86_ACCESS_FETCH BIT(1)
#define X86_ACCESS_USER	 BIT(2) /* as CPL 3 */
#define X86_ACCESS_SYSTEM BIT(3) /* implicit supervisor access (GDT, IDT, TSS...): CPL 0 whatever CPL is, AC ignored */
#define X86_ACCESS_RMW	 BIT(4) /* a read that will be followed by a write to the same place: faults as a write */
#define X86_ACCESS_PROBE BIT(5) /* check rights and set A/D as the access would, move no data */

/*
 * Software TLB, probed inline by x86/mem.h, filled by the soft engine, always empty under others. A tag is
 * the page's gva; an entry hits when gva - tag <= 4096 - size, so accesses that cross pages miss. The invalid tag
 * of entry i is a page address with another index, which no probe of entry i can match.
 */
#define X86_HOST_WINDOWS 12
#define X86_TLB_BITS 12
#define X86_TLB_SIZE (1u << X86_TLB_BITS)
struct x86_tlb_entry {
	u64 tag_read, tag_write;
	u64 host;	/* host address of the page: NULL never occurs in a valid entry */
	u64 gpa;	/* guest-physical address of the page */
};
enum x86_tlb_set { X86_TLB_KERNEL_NOUSER /* SMAP in force */, X86_TLB_KERNEL, X86_TLB_USER, X86_NR_TLBS };

/*
 * Address spaces (PCIDs) whose entries are kept side by side, each in sets of its own but for the first, which holds
 * little but global pages and serves all.
 */
#define X86_TLB_CONTEXTS 8
#define X86_TLB_SETS (1 + (X86_NR_TLBS - 1) * X86_TLB_CONTEXTS)

/*
 * A paging-structure cache (SDM vol. 3 section 4.10.3): for 2 MiB of addresses the page table that maps them, or the
 * large page they are in. tag: bits of the address, the context, a generation.
 */
struct x86_walk_entry {
	u64 tag;
	u64 base;	/* gpa of the page table; of the 2 MiB page */
	u64 rights;	/* what the entries above allow (paging.c) */
	u64 leaf;	/* the large page's entry; 0: there is a page table */
	u64 page_size;
};
#define X86_WALK_CACHE_BITS 8
struct x86_walk_cache {
	u32 generation;
	struct x86_walk_entry entry[1u << X86_WALK_CACHE_BITS];
};

struct x86_cpu;
struct kvm_cpuid_entry2;

/*
 * Guest-virtual memory, by the engine. With X86_ACCESS_PROBE rights are checked and nothing is moved. gva is linear (segment applied). size 1..64 for read/write; page
 * crossing, rights, A/D bits, MMIO are the implementation's concern. X86_OK, X86_FAULT (#PF, or #AC; #GP/#SS for
 * non-canonical addresses is raised before, by x86/mem.h) or X86_EXIT (reads of MMIO that only the VMM can answer).
 * MMIO writes that need the VMM are queued (X86_STOP_EXIT) and return X86_OK.
 */
struct x86_mem_ops {
	enum x86_result (*read)(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access);
	enum x86_result (*write)(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size, unsigned access);
	/*
	 * Host pointer to size bytes (within one page) for a locked or natively executed access, rights checked and
	 * marked dirty; *host = NULL with X86_OK means "no direct memory (MMIO, page crossing): use read and write".
	 */
	enum x86_result (*pin)(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, void **host);
	/*
	 * TLB maintenance. flush_page: the page of gva, in the current address space and if it is global. flush_all: in all
	 * address spaces. flush_pcid: all but global pages of one. switch_space: CR3 has been written; keep: what is
	 * remembered of the PCID it now names is still good.
	 */
	void (*flush_page)(struct x86_cpu *cpu, u64 gva);
	void (*flush_all)(struct x86_cpu *cpu, bool keep_global);
	void (*flush_pcid)(struct x86_cpu *cpu, unsigned pcid);
	void (*switch_space)(struct x86_cpu *cpu, bool keep);
};

/*
 * What lies outside the processor, by kvm/vcpu.c: physical memory, devices, KVM's MSRs. Functions that return
 * x86_result may return X86_EXIT (see there) or, where noted, X86_FAULT with cpu->fault filled in.
 */
struct x86_env_ops {
	/* Guest-physical memory (page walks, SMRAM, VMCB...): MMIO and holes read as all-ones, writes ignored.
	 * Atomicity: aligned 4 and 8 byte accesses are single. */
	void (*phys_read)(struct x86_cpu *cpu, u64 gpa, void *dst, unsigned size);
	void (*phys_write)(struct x86_cpu *cpu, u64 gpa, const void *src, unsigned size);
	/* Sets A/D bits: *gpa (size 4 or 8) from old to new; false if it changed meanwhile or is not memory. */
	bool (*phys_cmpxchg)(struct x86_cpu *cpu, u64 gpa, u64 old, u64 new_value, unsigned size);
	enum x86_result (*mmio_read)(struct x86_cpu *cpu, u64 gpa, void *dst, unsigned size);
	enum x86_result (*mmio_write)(struct x86_cpu *cpu, u64 gpa, const void *src, unsigned size);
	/* count > 1 for string I/O: data holds count items of size; *count is reduced to what was done. */
	enum x86_result (*pio_in)(struct x86_cpu *cpu, u16 port, unsigned size, void *data, unsigned *count);
	enum x86_result (*pio_out)(struct x86_cpu *cpu, u16 port, unsigned size, const void *data, unsigned *count);
	/* RDMSR and WRMSR of the guest, CPL checked: X86_FAULT (#GP) or X86_EXIT (the VMM decides). x86/msr.c keeps most. */
	enum x86_result (*rdmsr)(struct x86_cpu *cpu, u32 index, u64 *value);
	enum x86_result (*wrmsr)(struct x86_cpu *cpu, u32 index, u64 value);
	u64 (*get_cr8)(struct x86_cpu *cpu);
	enum x86_result (*set_cr8)(struct x86_cpu *cpu, u64 value);
	enum x86_result (*hypercall)(struct x86_cpu *cpu);
	bool (*apic_enabled)(struct x86_cpu *cpu); /* MSR_IA32_APICBASE.EN: shows in CPUID */
	u64 (*disabled_quirks)(struct x86_cpu *cpu); /* KVM_X86_QUIRK_* that the VM has switched off */
	u64 (*tsc)(struct x86_cpu *cpu); /* guest's TSC now */
	void (*spinning)(struct x86_cpu *cpu); /* PAUSE again and again */
	void (*iret_done)(struct x86_cpu *cpu); /* NMI unblocked */
	void (*smm_changed)(struct x86_cpu *cpu); /* HF_SMM entered or left */
	void (*cpuid_changed)(struct x86_cpu *cpu); /* CR4.OSXSAVE, APIC enable, XCR0: dynamic CPUID bits */
};

#define X86_NR_MTRR_VAR 8

/* MSRs kept by x86/msr.c as plain values, beside those with a field of their own. */
struct x86_msrs {
	u64 star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, misc_enable, debugctl, feature_control, xss, spec_ctrl;
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[X86_NR_MTRR_VAR], mtrr_mask[X86_NR_MTRR_VAR];
	u64 mcg_cap, mcg_status, mcg_ctl, mce_banks[32 * 4], mci_ctl2[32];
	u64 microcode_rev, arch_capabilities, platform_info, misc_features, hwcr, syscfg, osvw_length, osvw_status;
	u64 tsc_adjust, smi_count, power_ctl, virt_ssbd, tsx_ctrl;
	u64 vm_hsave_pa, vm_cr, de_cfg, tsc_ratio, mcg_ext_ctl;
};

struct x86_cpu {
	/* --- hot: first cache lines -------------------------------------------------------------- */
	u64 regs[X86_NR_REGS];	/* regs[X86_REG_ZERO] == 0; regs[X86_REG_RIP] == RIP of the current block's start */
	u32 cc;			/* status flags, in their RFLAGS positions; all other bits 0 */
	u32 rflags;		/* the other RFLAGS bits; status bits 0, bit 1 set */
	u32 stop;		/* X86_STOP_*; atomic; one word with: */
	u32 code_current;	/* engine/soft's translated code: what stamps ways to code must be now */
	u8 cpl;			/* 0..3; 3 in V86, 0 in real mode */
	u8 mode;		/* enum x86_mode */
	u8 code_bits;		/* 16, 32, 64: default size of CS */
	u8 stack_size;		/* 2, 4, 8: bytes of SP that count */
	bool flat32;		/* 32-bit code, and CS, DS, ES, SS are all of 4 GiB: addresses are linear ones */
	struct x86_tlb_entry *tlb; /* the set for data accesses at this CPL, CR4.SMAP and AC */
	u64 code_page;		/* ... linear address of the page that it runs in */
	void *code_table;	/* ... the table of ways to code now */
	u32 code_number[4];	/* ... what code_current is for supervisor's code, for user's; for 32-bit ones */
	void *code_jumps[4];	/* ... their tables */
	u32 code_mask;		/* ... what selects an entry of these */
	u64 code_stack, code_stack_end; /* ... its return addresses on the host's stack: begin and end (below), ... */
	u64 code_floor;		/* ... where those of the code that runs now begin, ... */
	u64 code_caller;	/* ... and where they were in the program that called it; 0: nothing is known of that */
	u32 code_caller_way;
	u64 code_temp[2];	/* ... within an instruction */
	u32 user_key;		/* ... in the keys of blocks of user code (soft.h) */
	u64 window_pc, window_flags; /* ... where it has missed its windows (engine/soft/window.h), and RFLAGS there */
	u64 host_window[X86_HOST_WINDOWS]; /* the same: host addresses of memory whose rights the block has checked */
	struct {
		u64 page, host;	/* linear and host address */
	} host_page[X86_HOST_WINDOWS]; /* the same: pages that its loop is at */
	u64 seg_base[X86_NR_SREGS]; /* bases that address formation adds: 0 for ES, CS, SS, DS in 64-bit mode */
	u8 seg_flat;		/* bit s: segment s (ES..GS) needs no limit or type check for data access */
	u8 canonical_bits;	/* 48 or 57 */
	bool align_check;	/* CPL 3, CR0.AM, EFLAGS.AC */
	bool bus_locked;	/* in the midst of a locked operation that the host cannot lock */
	bool fpu_live;		/* guest x87/SSE/AVX state is in the host's registers now, or away (X86_FPU_AWAY) */
	u8 fpu_unmasked;	/* X86_FPU_*: exceptions that MXCSR or FCW let through, or away (x86/fpu.c keeps it) */
	void (*fpu_fetch)(struct x86_cpu *cpu); /* of a state that is away (x86_fpu_send_away): into cpu->xsave */
	const struct x86_mem_ops *mem;
	const struct x86_env_ops *env;

	/* --- system registers ------------------------------------------------------------------------ */
	struct x86_seg seg[X86_NR_SREGS];
	struct x86_dtr gdt, idt;
	u64 cr0, cr2, cr3, cr4, efer, xcr0;
	u64 pdptr[4];		/* PAE: loaded with CR3 */
	u32 pkru;
	u64 dr[4], dr6, dr7;
	struct x86_msrs msr;

	/* --- events -------------------------------------------------------------------------------------- */
	struct x86_exception fault; /* valid after X86_FAULT */
	u8 shadow;		/* KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS: blocks the next boundary */
	u8 activity;		/* enum x86_activity */
	u64 pause_first, pause_last; /* host TSC: a row of PAUSEs */
	u8 window;		/* X86_WINDOW_*: leave as soon as such an event may be taken */
	bool nmi_masked;	/* from NMI delivery to IRET */
	bool smm;		/* in system-management mode */
	bool smm_inside_nmi;
	u64 smbase;
	u64 pending_dr6;	/* #DB trap conditions of the instruction just done (BS, BT, B0-B3) */
	u64 guest_debug;	/* KVM_GUESTDBG_* that the engine must honour */
	u64 debug_dr[4], debug_dr7; /* with KVM_GUESTDBG_USE_HW_BP */

	/* --- identity ------------------------------------------------------------------------------------ */
	u32 features[(X86_NR_FEATURES + 31) / 32]; /* from the vCPU's CPUID */
	const struct kvm_cpuid_entry2 *cpuid; /* the table last applied, and its length */
	u32 nr_cpuid;
	u8 maxphyaddr;		/* 32..52 */
	u64 phys_reserved;	/* page-table bits at and above maxphyaddr */
	bool vendor_amd;	/* CPUID vendor is AMD or Hygon: decides the documented differences of instructions */
	u64 cr4_reserved;	/* bits that CPUID does not offer */
	u64 xcr0_supported;	/* XCR0 bits that CPUID leaf 0xD offers */

	/* --- x87/SSE/AVX state, XSAVE standard format, 64-byte aligned; live in registers while fpu_live --- */
	void *xsave;		/* x86/fpu.c */
	u64 fpu_ip, fpu_dp;	/* guest x87 error pointers: the host's would show host addresses */
	u16 fpu_cs, fpu_ds, fpu_op;
	void *native_spare;	/* engine/soft/native.c: this processor's stub memory when the shared one is full */

	/* --- TLB storage ------------------------------------------------------------------------------------ */
	struct x86_walk_cache *walk_cache; /* the engine's; NULL: every walk reads all levels */
	struct x86_tlb_entry *tlb_kernel; /* x86_tlb_of(X86_TLB_KERNEL), by the engine */
	u8 tlb_context;		/* the current one of X86_TLB_CONTEXTS */
	struct x86_tlb_entry tlbs[X86_TLB_SETS][X86_TLB_SIZE]; /* see x86_tlb_of() */
};

static inline struct x86_tlb_entry *x86_tlb_of(struct x86_cpu *cpu, enum x86_tlb_set set)
{
	return cpu->tlbs[set == X86_TLB_KERNEL_NOUSER ? 0 : set + (X86_NR_TLBS - 1) * cpu->tlb_context];
}

/* The number of the current address space, 0 without CR4.PCIDE. */
static inline unsigned x86_pcid(const struct x86_cpu *cpu)
{
	return cpu->cr4 & X86_CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

static inline bool x86_has(const struct x86_cpu *cpu, enum x86_feature f)
{
	return f == X86_FEAT_NONE || (cpu->features[f / 32] >> (f % 32) & 1);
}

static inline u64 x86_rip(const struct x86_cpu *cpu)
{
	return cpu->regs[X86_REG_RIP];
}

/* Full RFLAGS, and its setter (the caller has masked what may change; call x86_mode_update if VM or AC did). */
static inline u64 x86_get_rflags(const struct x86_cpu *cpu)
{
	return cpu->rflags | cpu->cc;
}

static inline void x86_set_rflags(struct x86_cpu *cpu, u64 value)
{
	cpu->cc = value & X86_FLAGS_STATUS;
	cpu->rflags = (u32)((value & ~(u64)X86_FLAGS_STATUS) | X86_FLAGS_FIXED);
}

static inline bool x86_long_mode(const struct x86_cpu *cpu)
{
	return cpu->efer & X86_EFER_LMA;
}

/* Records an exception to deliver; for `return x86_raise(...)`. The error code is pushed iff the vector has one. */
enum x86_result x86_raise(struct x86_cpu *cpu, enum x86_vector vector, u32 error);
enum x86_result x86_raise_pf(struct x86_cpu *cpu, u64 gva, u32 error);
enum x86_result x86_raise_db(struct x86_cpu *cpu, u64 dr6_bits);

/* segment.c: recomputes mode, code_bits, stack_size, seg_base, seg_flat, tlb, align_check from the state. */
void x86_mode_update(struct x86_cpu *cpu);

#endif
