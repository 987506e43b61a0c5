/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The AMD-V engine: what its files share.
 *
 *	svm.c		the engine's operations, the loop around VMRUN, the switch over exits
 *	entry.S		VMRUN itself
 *	vmcb.c		the processor's state between struct x86_cpu and the VMCB
 *	inject.c	events: injection, re-injection, windows
 *	exits.c		exits that need no decoding: CPUID, MSRs, ports, HLT
 *	emulate.c	one instruction by x86/emulate: MMIO, control registers, all the rest
 *	mem.c		guest memory as the emulator sees it
 *	npt.c		nested page tables
 *	maps.c		which MSRs and ports the guest may touch itself
 *	cpu.c		processors: enabling, ASIDs, what follows a thread from one to another
 *
 * Where the state is. After an exit the VMCB holds it; svm_pull() brings it to vcpu->cpu, after which vcpu->cpu counts
 * until the next entry (svm_vcpu.pulled). RIP, RSP, RAX, RFLAGS, CPL and the interrupt shadow are in vcpu->cpu after every
 * exit, and the other general registers nowhere else. run() returns with everything pulled; only the x87/SSE/AVX state
 * stays with the host until sync().
 *
 * Locks: n is svm_vm.lock, a spin lock, inner to all of kvm/vm.h's. Letters as there.
 */
#ifndef ANYKVM_ENGINE_SVM_H
#define ANYKVM_ENGINE_SVM_H

#include "engine/engine.h"
#include "engine/svm/module.h"
#include "engine/svm/vmcb.h"
#include "host/hw.h"
#include "kvm/vm.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))

/* ---- what the processor offers ------------------------------------------------------------------------------- */

struct svm_features {
	u32 edx;		/* CPUID 0x8000000A: SVM_FEATURE_* */
	u32 nr_asids;
	bool xsaves, pku, rdtscp, spec_ctrl, gbpages, rdpru;
	u64 host_xcr0;
	unsigned npt_levels;	/* as the host's own tables: 4 or 5 */
};
extern struct svm_features svm_features;

static inline bool svm_has(u32 feature)
{
	return svm_features.edx & feature;
}

/* ---- nested page tables ------------------------------------------------------------------------------------------ */

/* Part of a slot, as the notifier of the VMM's mappings needs it: slots themselves may be gone when it comes. */
struct npt_range {
	u64 hva, gpa, size;
	bool readonly;
};

struct npt {
	u64 *root, root_phys;	/* c */
	u64 generation;		/* n: of the slots that it was built from, plus 1 */
	struct npt_range *range; /* n */
	u32 nr_ranges;		/* n */
};

struct svm_vm {
	struct vm *vm;
	struct host_spin lock;
	struct npt npt[VM_ADDRESS_SPACES];
	struct svm_vcpu *vcpus;		/* n */
	struct svm_vm *next;		/* of all VMs, under a lock of npt.c's */
	u64 nr_tables;			/* a */
	u64 mm_sequence;		/* n: moves when a change of the VMM's mappings ends */
	u32 mm_changes;			/* n: changes in progress */
	bool watching;
	struct host_mm_watch watch;
};

#define NPT_CACHE 5 /* tables that one mapping may need */
#define NPT_FRAMES HOST_FRAMES_MAX

/*
 * The operand of the instruction that met a device: the processor has walked the guest's page tables for it. gva is
 * known from its first use on.
 */
struct svm_access {
	bool valid, write, used;
	u64 gva, gpa;
};

/* String I/O works on copies of pieces of guest memory, which go back after INS: one, or two pages' from the upper one downwards. */
struct svm_bounce {
	u8 *page;
	bool wanted;	/* the instruction is INS or OUTS */
	unsigned n;	/* pieces that INS's data belongs in */
	u64 rdi;	/* when the first of them began */
	struct {
		u64 hva, gpa;
		u8 *copy;
		unsigned size;
		struct memslot *slot;
	} piece[2];
};

struct svm_vcpu {
	struct host_preempt preempt;
	struct vcpu *vcpu;
	struct svm_vm *vm;
	u64 id;				/* no two ever have the same */
	struct svm_vcpu *next;		/* n */
	struct vmcb *vmcb;
	u64 vmcb_phys;
	struct host_fpu *fpu;
	bool fpu_in_image;		/* the FPU state is in cpu->xsave, and may have been changed there */
	bool fpu_loaded;		/* it is the thread's own now */
	bool pulled;			/* vcpu->cpu holds all state */
	bool stale;			/* and may have been changed there */
	struct {
		struct vmcb_segs segs;
		struct x86_seg seg[X86_NR_SREGS];
	} known;			/* what segments were when one side last had them of the other, in both forms */
	u32 mode_of;			/* what the mode in vcpu->cpu was made of (mode_inputs() of vmcb.c) */
	bool single_step;		/* RFLAGS.TF in the VMCB is the debugger's */
	bool debug_loaded;		/* DR0..DR3 are the guest's in this entry */
	u32 running_on;			/* a: 1 + number of the processor that is in the guest or about to enter it */
	u32 flush;			/* a: the TLB is to be flushed before the next entry */
	unsigned cpu_seen;		/* processor that last ran it */
	u64 asid_generation;
	u64 event;			/* to be injected at the next entry, as in control.event_inj */
	u64 apic_base_seen;		/* the LAPIC's page is not mapped there */
	u64 host_tsc_aux, tsc_aux;	/* the MSR's before, and now */
	u64 *cache[NPT_CACHE];		/* empty tables */
	unsigned nr_cache;
	struct host_frame frames[NPT_FRAMES]; /* of the present fault */
	u64 fault_next;			/* page behind what the last fault has mapped: who goes there goes on */
	unsigned fault_pages;		/* that the last fault asked for */
	u8 bytes[X86_MAX_INSN_LEN];	/* code at RIP that the exit has brought along */
	u8 nr_bytes;
	struct svm_access access;	/* what a nested page fault has said of the instruction's operand */
	struct x86_insn insn;		/* the one being emulated */
	enum { SVM_AGAIN_NOT, SVM_AGAIN_INSN, SVM_AGAIN_IO } again; /* how complete() does what userspace has answered: */
	u64 again_rip;			/* linear address of that instruction */
	struct svm_bounce bounce;
	unsigned accessed;		/* bytes, by the emulator since it last was asked to stop */
};

static inline struct svm_vcpu *svm_of(struct x86_cpu *cpu)
{
	return vcpu_of(cpu)->engine;
}

/* What the loop does next: enters the guest again, or leaves run() with *exit. */
enum svm_next { SVM_ON, SVM_LEAVE };

static inline enum svm_next svm_leave(enum engine_exit *exit, enum engine_exit why)
{
	*exit = why;
	return SVM_LEAVE;
}

/* ---- vmcb.c ---------------------------------------------------------------------------------------------------------- */

void svm_pull(struct vcpu *vcpu);	/* everything from the VMCB into vcpu->cpu */
void svm_pull_to_read(struct vcpu *vcpu); /* the same, and nothing of it is going to be changed */
void svm_pull_nothing(struct svm_vcpu *svm); /* vcpu->cpu is as it was when pushed, and counts */
void svm_pull_basic(struct vcpu *vcpu);	/* after every exit */
void svm_push(struct vcpu *vcpu);	/* before every entry: basic state, and everything if it was pulled */
void svm_vmcb_init(struct svm_vcpu *svm);

static inline void svm_dirty(struct svm_vcpu *svm, u32 clean_bit)
{
	svm->vmcb->control.clean &= ~clean_bit;
}

static inline void svm_intercept(struct svm_vcpu *svm, unsigned what, bool on)
{
	u32 *word = &svm->vmcb->control.intercept[what / 32], bit = BIT(what % 32);

	if (!!(*word & bit) == on)
		return;
	*word ^= bit;
	svm_dirty(svm, SVM_CLEAN_INTERCEPTS);
}

/* ---- inject.c -------------------------------------------------------------------------------------------------------- */

void svm_inject(struct vcpu *vcpu, bool nmi, u8 vector);
/* Before entry: the event, windows, virtual interrupt control. */
void svm_events_prepare(struct vcpu *vcpu);
/* After an exit: what the guest did not come to take. */
void svm_events_finish(struct vcpu *vcpu);
/* run() ends: an event that has not been delivered goes back to kvm/. */
void svm_events_return(struct vcpu *vcpu);
bool svm_window_open(const struct vcpu *vcpu);
/* A window that opens behind the next instruction without the processor telling: it is emulated. */
bool svm_window_needs_step(const struct vcpu *vcpu);

/* ---- exits.c, emulate.c --------------------------------------------------------------------------------------------- */

enum svm_next svm_exit_cpuid(struct vcpu *vcpu, enum engine_exit *exit);
enum svm_next svm_exit_msr(struct vcpu *vcpu, enum engine_exit *exit);
enum svm_next svm_exit_io(struct vcpu *vcpu, enum engine_exit *exit);
enum svm_next svm_exit_hlt(struct vcpu *vcpu, enum engine_exit *exit);
enum svm_next svm_exit_nothing(struct vcpu *vcpu, enum engine_exit *exit);
enum svm_next svm_exit_exception(struct vcpu *vcpu, unsigned vector, enum engine_exit *exit);
enum svm_next svm_exit_npf(struct vcpu *vcpu, enum engine_exit *exit);

/* Runs the instruction at RIP in software. */
enum svm_next svm_emulate(struct vcpu *vcpu, enum engine_exit *exit);
/* Runs the instruction again that userspace has answered. */
enum svm_next svm_emulate_again(struct vcpu *vcpu, enum engine_exit *exit);
u64 svm_linear_rip(const struct x86_cpu *cpu, unsigned off);
/* Delivers cpu->fault at RIP. Everything pulled. */
enum svm_next svm_deliver_fault(struct vcpu *vcpu, enum engine_exit *exit);
/* An instruction was done in software and RIP is behind it: shadow, single-step traps. */
enum svm_next svm_retired(struct vcpu *vcpu, bool stepped, enum engine_exit *exit);
/* RIP of the next instruction after one that caused an exit; false: *next says what came of it. */
bool svm_next_rip(struct vcpu *vcpu, u64 *rip, enum svm_next *next, enum engine_exit *exit);

/* ---- mem.c ----------------------------------------------------------------------------------------------------------- */

extern const struct x86_mem_ops svm_mem_ops;
/* n bytes of code at linear address gva, within a page. false: no memory there (X86_OK) or a fault. */
enum x86_result svm_fetch(struct x86_cpu *cpu, u64 gva, u8 *bytes, unsigned n, bool *memory);
/* INS has written some of its copy: that goes to the guest. */
void svm_bounce_flush(struct x86_cpu *cpu);
bool svm_is_apic_page(const struct vcpu *vcpu, u64 gpa);

/* ---- npt.c ----------------------------------------------------------------------------------------------------------- */

int npt_init(void);
void npt_exit(void);
int npt_create(struct svm_vm *vm);
void npt_destroy(struct svm_vm *vm);
enum npt_result { NPT_MAPPED, NPT_MMIO, NPT_INTERRUPTED, NPT_BAD };
/* Maps the page of gpa for the access that faulted. */
enum npt_result npt_fault(struct vcpu *vcpu, u64 gpa, bool write);
/* Slots have changed or are logged anew: drops what may not stay. vCPU's thread. */
void npt_slots_changed(struct vcpu *vcpu);
void npt_unmap_page(struct svm_vm *vm, u64 gpa);
void npt_cache_free(struct svm_vcpu *svm);

/* ---- maps.c ---------------------------------------------------------------------------------------------------------- */

int svm_maps_create(void);
void svm_maps_destroy(void);
u64 svm_iopm_phys(void);
u64 svm_msrpm_phys(bool filtered); /* filtered: every MSR exits */

/* ---- cpu.c ----------------------------------------------------------------------------------------------------------- */

int svm_cpus_create(void);
void svm_cpus_destroy(void);
/* A VM comes and goes: with the first AMD-V is switched on. -EBUSY if somebody else uses it. */
int svm_cpus_get(void);
void svm_cpus_put(void);
/* The thread begins / ends running this vCPU. */
void svm_load(struct svm_vcpu *svm);
void svm_put(struct svm_vcpu *svm);
/* Interrupts off, right before entry: ASID, TLB flush. False: AMD-V is off here, as the machine goes down. */
bool svm_asid_prepare(struct svm_vcpu *svm);
u64 svm_host_area(void); /* of this processor, for svm_enter */

/* svm.c: the x87/SSE/AVX state, not loaded, into cpu->xsave; from there or the host's keeping to the thread. */
void svm_fpu_get(struct svm_vcpu *svm);
void svm_fpu_load(struct svm_vcpu *svm);

void svm_enter(u64 vmcb_phys, u64 *regs, u64 host_phys);

static inline u64 svm_rdmsr(u32 msr)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static inline void svm_wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

#endif
