/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The system side of the processor: events, segments, control registers, MSRs, CPUID, tasks, SMM, debug.
 * Each group is implemented by the file its comment names. "Sources": AMD APM vol. 2 and 3, Intel SDM vol. 3.
 */
#ifndef ANYKVM_X86_SYSTEM_H
#define ANYKVM_X86_SYSTEM_H

#include <linux/kvm.h>
#include "x86/cpu.h"

/* ---- exception.c ---------------------------------------------------------------------------------- */

enum x86_event_kind {
	X86_EVENT_EXCEPTION,	/* hardware exception, cpu->fault's rules for double faults apply */
	X86_EVENT_SOFT,		/* INT n, INT3, INTO: gate DPL is checked, pushes the next RIP (in return_rip) */
	X86_EVENT_ICEBP,	/* INT1: no DPL check */
	X86_EVENT_IRQ,		/* external interrupt */
	X86_EVENT_NMI,
};

struct x86_event {
	enum x86_event_kind kind;
	struct x86_exception e;
	u64 return_rip;	/* pushed */
	bool no_redirect; /* SOFT: INT3 and INTO, which VME's interrupt redirection leaves alone */
};

/*
 * Delivers an event through the IDT/IVT of the present mode: pushes the frame, loads CS:RIP. A fault on the way becomes
 * #DF, a fault on #DF shutdown (activity = X86_SHUTDOWN). Returns X86_BRANCH (delivered, or shut down) or X86_EXIT (an
 * MMIO access of the delivery must be answered; deliver the same event again). SOFT and ICEBP return X86_FAULT where
 * other events nest: the faulting instruction's own RIP is the caller's to know. In V86 mode IOPL and VME's redirection
 * bitmap are looked at here; #GP(0) where INT n is not allowed.
 */
enum x86_result x86_deliver(struct x86_cpu *cpu, const struct x86_event *event);
/* Delivers cpu->fault at the current RIP: what the engine calls after X86_FAULT. */
enum x86_result x86_deliver_fault(struct x86_cpu *cpu);
/* Gives the bus lock of a split locked operation back, if an instruction ended with it (a host fault). */
void x86_bus_unlock(struct x86_cpu *cpu);
bool x86_vector_has_error(unsigned vector);
/* Whether a maskable interrupt / NMI may be taken at this boundary. */
bool x86_irq_allowed(const struct x86_cpu *cpu);
bool x86_nmi_allowed(const struct x86_cpu *cpu);

/* ---- segment.c ------------------------------------------------------------------------------------------ */

/* MOV/POP to sreg, LDS...: all checks and the descriptor's accessed bit. LLDT and LTR: X86_LDTR, X86_TR. */
enum x86_result x86_load_sreg(struct x86_cpu *cpu, unsigned sreg, u16 selector);
/* Real/V86 mode load without checks. */
void x86_load_sreg_real(struct x86_cpu *cpu, unsigned sreg, u16 selector);
/* Reads the descriptor of selector from the GDT or LDT (8 bytes; 16 for system descriptors in long mode by high != NULL). */
enum x86_result x86_read_descriptor(struct x86_cpu *cpu, u16 selector, enum x86_vector fault, u64 *low, u64 *high);
void x86_unpack_descriptor(u64 low, u64 high, u16 selector, struct x86_seg *seg);
/* Far transfers, with gates, tasks and privilege changes; X86_BRANCH when done. */
enum x86_result x86_far_jmp(struct x86_cpu *cpu, u16 selector, u64 offset, unsigned osize, u64 next_rip);
enum x86_result x86_far_call(struct x86_cpu *cpu, u16 selector, u64 offset, unsigned osize, u64 next_rip);
enum x86_result x86_far_ret(struct x86_cpu *cpu, unsigned osize, u16 pop_bytes);
enum x86_result x86_iret(struct x86_cpu *cpu, unsigned osize, u64 next_rip);
/* Stack access with SS and stack size, n bytes below/at SP; rsp is the working copy, committed by the caller. */
enum x86_result x86_push(struct x86_cpu *cpu, u64 *rsp, u64 value, unsigned size, unsigned access);
enum x86_result x86_pop(struct x86_cpu *cpu, u64 *rsp, u64 *value, unsigned size, unsigned access);
/* I/O permission: #GP(0) by CPL, IOPL and the TSS bitmap. */
enum x86_result x86_check_io(struct x86_cpu *cpu, u16 port, unsigned size);
/* Near-branch target check (canonical, CS limit): #GP(0). Returns X86_BRANCH with RIP set, or X86_FAULT. */
enum x86_result x86_near_branch(struct x86_cpu *cpu, u64 target, unsigned osize);

/* ---- task.c ------------------------------------------------------------------------------------------------ */

enum x86_task_reason { X86_TASK_JMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_GATE };
enum x86_result x86_task_switch(struct x86_cpu *cpu, u16 tss_selector, enum x86_task_reason reason, u64 return_rip,
				bool has_error, u32 error);

/* ---- control.c: control registers --------------------------------------------------------------------------- */

/* As MOV CRn does, with all checks (#GP(0)), TLB flushes, mode update. X86_OK or X86_FAULT. */
enum x86_result x86_set_cr0(struct x86_cpu *cpu, u64 value);
enum x86_result x86_set_cr3(struct x86_cpu *cpu, u64 value);
enum x86_result x86_set_cr4(struct x86_cpu *cpu, u64 value);
enum x86_result x86_set_efer(struct x86_cpu *cpu, u64 value);
void x86_set_efer_host(struct x86_cpu *cpu, u64 value); /* KVM_SET_MSRS, RSM: LMA kept, no checks */
enum x86_result x86_set_xcr(struct x86_cpu *cpu, u32 index, u64 value);
u64 x86_get_cr(struct x86_cpu *cpu, unsigned cr); /* 0, 2, 3, 4, 8 */
/* Power-on / INIT state (SDM vol. 3 table 9-1). */
void x86_reset(struct x86_cpu *cpu, bool init);

/* ---- msr.c: table of MSRs -------------------------------------------------------------------------------------- */

/* The guest's access to an MSR that this file keeps: X86_OK, X86_FAULT (#GP; also for all others). See x86_env_ops.rdmsr. */
enum x86_result x86_rdmsr(struct x86_cpu *cpu, u32 index, u64 *value);
enum x86_result x86_wrmsr(struct x86_cpu *cpu, u32 index, u64 value);
/* The same by the VMM (KVM_GET/SET_MSRS): no privilege or read-only checks that KVM leaves out. false: refused. */
bool x86_msr_get_host(struct x86_cpu *cpu, u32 index, u64 *value);
bool x86_msr_set_host(struct x86_cpu *cpu, u32 index, u64 value);
/* Power-on values. */
void x86_msr_reset(struct x86_cpu *cpu);
/* The MSRs that x86/msr.c keeps, for KVM_GET_MSR_INDEX_LIST; returns the count, fills at most max. */
unsigned x86_msr_list(u32 *out, unsigned max);
/* Feature MSRs (KVM_GET_MSR_FEATURE_INDEX_LIST, KVM_GET_MSRS on the device). */
unsigned x86_msr_feature_list(u32 *out, unsigned max);
bool x86_msr_feature_get(u32 index, u64 *value);

/* ---- cpuid.c --------------------------------------------------------------------------------------------------------- */

/* What this host and the engine can run, as KVM_GET_SUPPORTED_CPUID reports (KVM's leaves excluded): entries or -E2BIG. */
int x86_cpuid_supported(struct kvm_cpuid_entry2 *out, unsigned max);
/* A vCPU's table (KVM_SET_CPUID2) became current: recomputes features, maxphyaddr, reserved bits. */
void x86_cpuid_apply(struct x86_cpu *cpu, const struct kvm_cpuid_entry2 *e, unsigned n);
/* CPUID as the guest executes it, with the dynamic bits (OSXSAVE, APIC, XSAVE sizes) and out-of-range rule.
 * The table is the one last applied (owned by the vCPU, outlives use). */
void x86_cpuid(struct x86_cpu *cpu, u32 leaf, u32 subleaf, u32 out[4]);

/* ---- smm.c --------------------------------------------------------------------------------------------------------------- */

enum x86_result x86_enter_smm(struct x86_cpu *cpu);
enum x86_result x86_rsm(struct x86_cpu *cpu);

#define X86_DR6_INIT 0xffff0ff0ull
#define X86_DR7_FIXED 0x400ull

/* ---- debug.c ---------------------------------------------------------------------------------------------------------------- */

enum x86_result x86_mov_to_dr(struct x86_cpu *cpu, unsigned dr, u64 value);
enum x86_result x86_mov_from_dr(struct x86_cpu *cpu, unsigned dr, u64 *value);
/* Whether code must run one instruction at a time: TF, instruction breakpoints, guest debug. */
bool x86_debug_active(const struct x86_cpu *cpu);
/* DR6 bits of instruction breakpoints that match linear rip; 0 if none or RF. */
u64 x86_debug_fetch(const struct x86_cpu *cpu, u64 linear_rip);
/* Whether any data or I/O breakpoint is enabled (then TLB fills exclude pages that hold one), and the check. */
bool x86_debug_data_active(const struct x86_cpu *cpu);
u64 x86_debug_data(const struct x86_cpu *cpu, u64 gva, unsigned size, bool write);
u64 x86_debug_io(const struct x86_cpu *cpu, u16 port, unsigned size);

/* ---- fpu.c: x87/SSE/AVX state; live registers and the XSAVE image -------------------------------------------------------------- */

/* Allocates cpu->xsave (host_alloc), sets it to the reset state. 0 or -ENOMEM. */
int x86_fpu_create(struct x86_cpu *cpu);
void x86_fpu_destroy(struct x86_cpu *cpu);
void x86_fpu_reset(struct x86_cpu *cpu);
/* Moves guest state into / out of the host's registers; the host's MXCSR, x87 control word and PKRU are kept. */
void x86_fpu_enter(struct x86_cpu *cpu);
void x86_fpu_leave(struct x86_cpu *cpu);
/* Bytes of cpu->xsave: what the host's XSAVE needs for all supported components. */
unsigned x86_fpu_size(void);
u64 x86_fpu_host_xcr0(void);
/* KVM_GET/SET_FPU and _XSAVE(2); cpu not live. set: 0 or -EINVAL. */
void x86_fpu_get(struct x86_cpu *cpu, struct kvm_fpu *fpu);
void x86_fpu_set(struct x86_cpu *cpu, const struct kvm_fpu *fpu);
void x86_fpu_get_xsave(struct x86_cpu *cpu, void *area, unsigned size);
int x86_fpu_set_xsave(struct x86_cpu *cpu, const void *area, unsigned size);

/* ---- emulate/ --------------------------------------------------------------------------------------------------------------------- */

/* Chooses insn->exec (the fastest handler for these operands); off: the instruction's offset in its block. */
void x86_bind(const struct x86_cpu *cpu, struct x86_insn *insn, unsigned off);
/* Engine's handler for X86_OP_NATIVE and X86_OP_X87; set once by the engine before any bind. */
extern x86_exec_fn *x86_native_exec;

#endif
