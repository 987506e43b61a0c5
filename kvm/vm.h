/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VM and the vCPU: what the rooms of kvm/ share.
 *
 * Locks, in the order they are taken:
 *	v	vcpu->mutex		one vCPU ioctl at a time, KVM_RUN included; owns vcpu->cpu
 *	l	vm->lock		slots, creation of things, capabilities (never taken inside KVM_RUN)
 *	i	irqchip locks		(kvm/irq.h) PIC, IOAPIC, routing, eventfd lists; leaf locks
 *	a	atomic			written by any thread with atomic_*
 *	c	constant after creation
 *	r	published with release, read with acquire; replaced under l, and the old value is freed only after
 *		vm_sync_vcpus()
 *
 * Guest memory and vm->slots are used by a thread only between vcpu_guest_enter() and vcpu_guest_leave(), or with
 * vm->lock or vm->outside held. A writer of slots (under l) publishes the new ones, then vm_sync_vcpus(): every vCPU that is inside
 * drops its translations at its next instruction boundary, and only then is the ioctl done.
 */
#ifndef ANYKVM_KVM_VM_H
#define ANYKVM_KVM_VM_H

#include <linux/errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include "engine/engine.h"
#include "host/host.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#define VM_MAX_VCPUS 1024	 /* KVM_CAP_MAX_VCPUS */
#define VM_RECOMMENDED_VCPUS 64	 /* KVM_CAP_NR_VCPUS reports at most this */
#define VM_MAX_VCPU_ID 4096	 /* KVM_CAP_MAX_VCPU_ID: ids 0 .. 4095 */
#define VM_MAX_SLOTS 32764	 /* KVM_CAP_NR_MEMSLOTS: slot ids 0 .. 32763 */
#define VM_ADDRESS_SPACES 2	 /* normal and SMM */
#define VM_MIN_MMU_PAGES 64	 /* KVM_SET_NR_MMU_PAGES takes no less */
#define VM_MAX_SLOT_PAGES ((1ull << 31) - 1)

#define VCPU_MMAP_PAGES 3	 /* kvm_run, PIO data, coalesced MMIO ring */
#define VCPU_MMAP_SIZE (VCPU_MMAP_PAGES * 4096)
#define VCPU_MCE_BANKS 32
#define VCPU_MCE_CAP_SUPPORTED ((1ull << 24) | (1ull << 8)) /* MCG_SER_P | MCG_CTL_P */

/* ioctl dispatch: each room exports a table; NULL handler ends it. */
struct ioctl_row {
	u32 request;
	long (*handler)(void *object, unsigned long arg); /* >= 0 or -errno */
};
extern const struct ioctl_row *const device_ioctl_tables[], *const vm_ioctl_tables[], *const vcpu_ioctl_tables[];
long ioctl_dispatch(const struct ioctl_row *const *tables, void *object, unsigned int request, unsigned long arg);

/* ---- memory slots (memory.c) ----------------------------------------------------------------------------- */

struct memslot {
	u64 base_gfn, npages;	/* c */
	u64 hva;		/* c */
	u32 id, flags;		/* c: KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY; a change of flags makes a new memslot */
	u16 as_id;
	u64 *dirty;		/* a: bit per page; shared by the generations of one slot; NULL when not logging */
};

struct memslots; /* one generation of an address space's slots; immutable once published (memory.c) */

/* ---- VM ------------------------------------------------------------------------------------------------------- */

enum irqchip_mode { IRQCHIP_NONE, IRQCHIP_SPLIT, IRQCHIP_KERNEL };

struct vcpu;

/*
 * Counters of KVM_GET_STATS_FD: first those that KVM has, by its names, then ours; docs/anykvm.1 says what each means.
 * A vCPU's are written by its thread alone.
 */
#define VM_STATS(X) X(remote_tlb_flush) X(memslots_changed)
#define VCPU_STATS(X)                                                                                             \
	X(exits) X(io_exits) X(mmio_exits) X(signal_exits) X(irq_window_exits) X(halt_exits) X(halt_wakeup)      \
	X(pause_yields) X(halt_attempted_poll) X(halt_successful_poll)                                                           \
	X(request_irq_exits) X(irq_injections) X(nmi_injections) X(hypercalls) X(insn_emulation_fail)            \
	X(pf_guest) X(tlb_flush) X(invlpg)                                                                       \
	X(user_exits) X(exceptions) X(steps)                                                                     \
	X(tlb_read_misses) X(tlb_write_misses) X(fetch_misses) X(slow_mmio) X(slow_code_writes) X(slow_crossings) \
	X(block_lookups) X(blocks_decoded) X(blocks_voided) X(block_flushes) X(pages_compared) X(pages_closed)   \
	X(evictions) X(eviction_ns) X(long_evictions)                                                                    \
	X(link_misses) X(branch_misses)                                                                          \
	X(window_misses) X(window_pages) X(window_drops) X(windows_heated) X(windows_cooled) X(windows_demoted)  \
	X(direct_runs) X(direct_syscalls) X(direct_faults) X(direct_crawls) X(direct_begun) X(direct_ended)  \
	X(translations) X(translated_bytes) X(translation_entries) X(handler_calls) X(lockstep_blocks)

struct vm_stat {
#define X(name) u64 name;
	VM_STATS(X)
#undef X
};

struct vcpu_stat {
#define X(name) u64 name;
	VCPU_STATS(X)
#undef X
	u64 handler[X86_NR_OPS]; /* handler_calls by operation, if vcpu->count_handlers */
};

struct vm {
	struct host_mutex lock;
	u32 refs;			/* a: the VM's file, each vCPU, each device fd */
	u64 mm_id;			/* c: host_mm_id() of the creator; others get -EIO */
	const struct engine_ops *ops;	/* c */
	void *engine;			/* engine's per-VM state */
	bool dead;			/* a: KVM_INTERNAL_ERROR style bug: ioctls give -EIO */

	struct memslots *slots[VM_ADDRESS_SPACES]; /* r */
	struct memslot **slot_by_id[VM_ADDRESS_SPACES]; /* l: VM_MAX_SLOTS pointers each */
	u64 nr_slot_pages;		/* l: of all slots */

	struct vcpu *vcpu[VM_MAX_VCPUS]; /* r: by creation order, dense */
	u32 nr_vcpus;			/* r */
	u32 max_vcpu_id;		/* l: by KVM_CAP_MAX_VCPU_ID, or by the first vCPU; 0 before */
	u32 bsp_vcpu_id;		/* l until the first vCPU exists */

	/* capabilities enabled by KVM_ENABLE_CAP (l; constant once vCPUs run) */
	u64 disabled_quirks;		/* a: KVM_X86_QUIRK_* */
	u32 disabled_exits;		/* KVM_X86_DISABLE_EXITS_* */
	u32 halt_poll_ns;		/* a: KVM_CAP_HALT_POLL */
	u32 exit_hypercalls;		/* KVM_CAP_EXIT_HYPERCALL: bit for each number */
	bool exit_on_emulation_failure;
	u32 dirty_ring_size;		/* KVM_CAP_DIRTY_LOG_RING: bytes of each vCPU's ring, or 0 */
	u32 dirty_manual_protect;	/* KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | INITIALLY_SET */
	u32 user_space_msr_mask;	/* KVM_MSR_EXIT_REASON_* */
	bool exception_payload, triple_fault_event;
	bool platform_info_hidden;	/* KVM_CAP_MSR_PLATFORM_INFO = 0 */
	bool x2apic_ids32, x2apic_no_broadcast_quirk; /* KVM_CAP_X2APIC_API */
	struct msr_filter *msr_filter;	/* r */

	u32 nr_mmu_pages;		/* a: written under l; as KVM counts them: none before the first slot */
	bool mmu_pages_set;		/* l: by KVM_SET_NR_MMU_PAGES */
	u64 tss_addr, identity_map_addr; /* l: accepted for compatibility */

	u32 irqchip_mode;		/* r: enum irqchip_mode */
	struct irqchip *irqchip;	/* kvm/irq.h: PIC, IOAPIC, PIT, routes, irqfds; always there */
	struct vm_bus *bus;		/* kvm/bus.h: ioeventfds, coalesced zones; always there */
	struct vm_hyperv *hyperv;	/* kvm/hyperv.h; always there */
	struct vm_clock *clock;		/* kvm/clock.h; always there */
	struct vm_xen *xen;		/* kvm/xen.h; always there */
	struct host_mutex outside;	/* i: held by threads that are no vCPU's while they use guest memory */
	u32 default_tsc_khz;		/* l: KVM_SET_TSC_KHZ on the VM */
	struct host_published stats;	/* c: include/anykvm_stats.h */
	struct vm_stat *stat;		/* c; the counters: a */
};

/* ---- vCPU ----------------------------------------------------------------------------------------------------- */

/* vcpu->requests: work for the vCPU's thread before it enters the guest again. */
#define VCPU_REQ_SYNC		BIT(0)	/* drop all translations; a writer waits for it (vm_sync_vcpus) */
#define VCPU_REQ_EVENT		BIT(1)	/* interrupts, NMI, INIT/SIPI: re-evaluate */
#define VCPU_REQ_NMI		BIT(2)
#define VCPU_REQ_SMI		BIT(3)
#define VCPU_REQ_TRIPLE_FAULT	BIT(4)
#define VCPU_REQ_CLOCK		BIT(5)	/* rewrite the kvmclock page */
#define VCPU_REQ_MEMORY		BIT(6)	/* guest memory may have been written from outside */
#define VCPU_REQ_DEVICE		BIT(8)	/* a device's interrupt: it may have written guest memory (DMA) */
#define VCPU_REQ_HV_CRASH	BIT(9)	/* Hyper-V's crash and reset MSRs: KVM_EXIT_SYSTEM_EVENT */
#define VCPU_REQ_HV_RESET	BIT(10)
#define VCPU_REQ_HV_EXIT	BIT(11)	/* userspace is to know of a write to Hyper-V's MSRs */
#define VCPU_REQ_HV_TIMER	BIT(12)	/* synthetic timers are pending */
#define VCPU_REQ_PROTECT	BIT(14) /* the engine's: pages that may be written to no longer; a vCPU waits for it */
#define VCPU_REQ_XEN		BIT(13)	/* Xen's timer, and events that wait for the vCPU's thread */
#define VCPU_REQ_UNHALT		BIT(7)	/* wake up from HLT without an interrupt (PV kick) */

#define VCPU_OUTSIDE 0u
#define VCPU_INSIDE 1u

/*
 * Accesses that leave the processor, of the instruction in progress. An instruction that needs userspace is begun
 * again from its start when the answer has come; what it had read before is replayed from the log.
 */
#define VCPU_IO_LOG 400 /* XSAVE and XRSTOR of all that x86_fpu_size() counts are the longest: 2696 bytes, misaligned */
struct vcpu_io {
	enum {
		VCPU_IO_NONE, VCPU_IO_PIO, VCPU_IO_MMIO_READ, VCPU_IO_MMIO_WRITE, VCPU_IO_MSR, VCPU_IO_HYPERCALL,
	} pending;
	u16 logged, replayed;		/* entries in log; how many of them this execution has consumed */
	struct {
		u64 address;		/* gpa or port */
		u64 data;
		u8 size;
	} log[VCPU_IO_LOG];
	u64 rip;			/* linear address of the instruction that waits; the log is void elsewhere */
	u64 gpa;			/* of the MMIO read that waits */
	u8 size;
	u16 nr_writes, next_write;	/* MMIO writes of a finished instruction, still to be told to userspace */
	struct {
		u64 gpa;
		u64 data;
		u8 size;
	} writes[VCPU_IO_LOG];
	u16 pio_port;
	u8 pio_size;
	bool pio_in;
	u32 pio_count, pio_done;	/* items asked for; answered and not yet consumed by the instruction */
	u32 msr_index;
	bool msr_write, msr_answered;
	bool hypercall_answered;
	bool restart;			/* the instruction that waits must run again (else it had finished) */
};

#define VCPU_TSC_RATIO_ONE BIT64(48)

struct vcpu {
	struct x86_cpu cpu;		/* v; .stop a */
	struct vm *vm;			/* c */
	struct host_mutex mutex;
	u32 id;				/* c: vcpu_id, the initial APIC id */
	u32 index;			/* c: in vm->vcpu[] */
	u32 requests;			/* a: VCPU_REQ_* */
	u32 inside;			/* a: VCPU_INSIDE while the thread may use guest memory and slots */
	u32 sync_seq;			/* a: futex of vm_sync_vcpus */
	u32 sync_seen;			/* l: vm_sync_vcpus's note of sync_seq */
	u32 blocked;			/* a: the thread sleeps on cpu.stop, or is about to */
	void *engine;			/* engine's per-vCPU state */
	size_t guard;			/* c: bytes of address space behind this, of those that the engine wants */

	struct kvm_run *run;		/* c: shared with the VMM: never trusted, read once */
	u8 *pio_page;			/* c: page 1 of the mapping */
	struct kvm_dirty_gfn *dirty_ring; /* l: in the mapping, NULL without it; shared with the VMM: never trusted */
	u32 dirty_index;		/* a: written by v: entries ever put into the ring */
	u32 dirty_reset;		/* a: written by l: entries ever taken back */
	struct vcpu_io io;		/* v */

	/* events beside cpu's own; v unless said otherwise */
	struct {
		bool pending, injected, has_payload;
		struct x86_exception e;
	} exception;			/* set by KVM_SET_VCPU_EVENTS or by a fault in the middle of an exit */
	struct { bool injected, soft; u8 vector; } interrupt;
	u32 nmi_pending;		/* v: 0..2 */
	u32 nmi_queued;			/* a: NMIs of VCPU_REQ_NMI not yet counted into nmi_pending */
	bool nmi_injected;
	bool debug_waits;		/* KVM_EXIT_DEBUG follows the MMIO write that userspace is being told of */
	u64 entry_failure;		/* ENGINE_EXIT_FAIL_ENTRY: the processor's reason */
	bool tpr_lowered;		/* CR8 written below its old value with the LAPIC in userspace: KVM_EXIT_SET_TPR */
	bool smi_pending;
	struct {
		u32 period_ms;		/* c: by the engine; 0: it does not want to know */
		u64 since, slept;	/* host TSC: when the period began; how long of it the thread has slept */
		u32 periods, patience;	/* idle ones in a row; how many of them until the engine is told */
	} idle;
	struct {
		u64 last;		/* host TSC: when the guest was last seen to spin */
		u32 row;		/* how often, without a break */
	} spin;
	bool keep_fpu;			/* the engine may leave the guest's FPU state live, as it will be entered again */
	int user_irq;			/* KVM_INTERRUPT without in-kernel irqchip: vector or -1 */
	u32 mp_state;			/* a: KVM_MP_STATE_* */

	struct lapic *apic;		/* NULL without in-kernel LAPIC */
	u64 apic_base;			/* v: MSR_IA32_APICBASE, with or without in-kernel LAPIC (vcpu_irq_set_apic_base) */
	u8 cr8;				/* v: without in-kernel LAPIC */
	struct vcpu_hyperv *hyperv;	/* kvm/hyperv.h; always there */
	struct vcpu_xen *xen;		/* kvm/xen.h; always there */
	struct vcpu_pv *pv;		/* kvm/clock.h: kvmclock, steal time, async PF... MSRs; always there */
	u64 tsc_offset;			/* guest TSC = scaled host TSC + offset */
	u32 tsc_khz;
	u64 tsc_ratio;			/* 16.48 fixed point; VCPU_TSC_RATIO_ONE: host speed */

	struct kvm_cpuid_entry2 *cpuid;	/* v */
	u32 nr_cpuid;
	bool cpuid_set, ran, has_sigmask;
	u64 sigmask;			/* KVM_SET_SIGNAL_MASK */
	u32 guest_debug;
	struct kvm_stats_header *stat_image; /* c: in vm->stats */
	struct vcpu_stat *stat;		/* c: in stat_image */
	bool count_handlers;		/* c: by the engine */
};

/* vm.c */
int vm_create(unsigned long type); /* KVM_CREATE_VM: fd or -errno */
void vm_get(struct vm *vm);
void vm_put(struct vm *vm);
struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id); /* NULL if none; any thread */
/* for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) */
struct vcpu *vm_vcpu(struct vm *vm, u32 index);
/* Sets the request on every vCPU, kicks, and waits until all who were inside have served it. Caller holds l. */
void vm_sync_vcpus(struct vm *vm);

/* stats.c */
int vm_stats_create(struct vm *vm);
void vm_stats_destroy(struct vm *vm);
/* vcpu->stat for the vCPU of vcpu->index; then, when its engine has said what it counts, its description. */
int vcpu_stats_create(struct vcpu *vcpu);
void vcpu_stats_describe(struct vcpu *vcpu);

/* vcpu.c */
int vcpu_create(struct vm *vm, u32 id); /* KVM_CREATE_VCPU: fd or -errno */
/* Makes a request and sees to it that the vCPU looks at it soon, running, blocked in HLT or outside. Any thread. */
void vcpu_request(struct vcpu *vcpu, u32 request);
void vcpu_kick(struct vcpu *vcpu);
void vcpu_queue_nmi(struct vcpu *vcpu); /* any thread */
/* In guest mode: the guest executes PAUSE again and again. Gives the processor to others. */
void vcpu_spin(struct vcpu *vcpu);
/* Moves NMI and SMI requests into the vCPU's pending events; v held. */
void vcpu_take_event_requests(struct vcpu *vcpu);
void vcpu_destroy(struct vcpu *vcpu); /* by its VM's end, after its descriptor */
/* Brackets use of guest memory outside KVM_RUN's own loop; v held. */
void vcpu_guest_enter(struct vcpu *vcpu);
void vcpu_guest_leave(struct vcpu *vcpu);
/*
 * As vm_sync_vcpus(), from a vCPU's thread inside KVM_RUN: all others have served the request, VCPU_REQ_SYNC or
 * VCPU_REQ_PROTECT, when it returns, or will before they touch guest memory.
 */
void vcpu_sync_others(struct vcpu *vcpu, u32 request);

static inline struct vcpu *vcpu_of(struct x86_cpu *cpu)
{
	return container_of(cpu, struct vcpu, cpu);
}

/* caps.c */
long vm_check_extension(struct vm *vm, unsigned long cap); /* vm NULL: asked of the device */
extern const struct ioctl_row vm_caps_ioctls[], vcpu_caps_ioctls[];

/* outside.c: what the processor finds outside itself, and userspace exits */
extern const struct x86_env_ops vcpu_env;
/* At an instruction boundary: forgets the finished instruction's accesses. True: an MMIO write must be told to userspace. */
bool vcpu_io_finish(struct vcpu *vcpu);
/* The engine has come back with ENGINE_EXIT_REQUEST. */
void vcpu_io_wait(struct vcpu *vcpu);
/* Userspace has answered: takes over its data. True: another part of the same access goes out first. */
bool vcpu_io_answered(struct vcpu *vcpu);

/* state.c */
/* Bytes of KVM_GET_XSAVE2: KVM_CAP_XSAVE2's value. */
u32 vcpu_xsave2_size(void);
extern const struct ioctl_row vcpu_state_ioctls[];
int vcpu_load_sync_regs(struct vcpu *vcpu);
void vcpu_store_sync_regs(struct vcpu *vcpu);

/* stats.c */
extern const struct ioctl_row vm_stats_ioctls[], vcpu_stats_ioctls[];

/* msr_filter.c */
extern const struct ioctl_row vm_msr_ioctls[];
void msr_filter_free(struct msr_filter *f);
bool vcpu_msr_allowed(struct vcpu *vcpu, u32 index, bool write);
/* Userspace has answered this very access: *refused says that it wants #GP, *value what is read. */
bool vcpu_msr_replay(struct vcpu *vcpu, u32 index, bool write, u64 *value, bool *refused);
/* reason: KVM_MSR_EXIT_REASON_*. To userspace (X86_EXIT) if it asked for such, else #GP. */
enum x86_result vcpu_msr_refused(struct vcpu *vcpu, u32 index, bool write, u64 value, u32 reason);

/* msrs.c, cpuid.c */
extern const struct ioctl_row device_msr_ioctls[], vcpu_msr_ioctls[], device_cpuid_ioctls[], vcpu_cpuid_ioctls[];
enum x86_result vcpu_rdmsr(struct x86_cpu *cpu, u32 index, u64 *value);
enum x86_result vcpu_wrmsr(struct x86_cpu *cpu, u32 index, u64 value);

/* as and id are the VMM's, and in range. Caller holds l. */
static inline struct memslot **vm_slot_by_id(struct vm *vm, u32 as, u32 id)
{
	return &vm->slot_by_id[index_nospec(as, VM_ADDRESS_SPACES)][index_nospec(id, VM_MAX_SLOTS)];
}

/* memory.c */
/* The slot that holds gfn in address space as_id, or NULL. Inside, or with l. */
u64 vm_slots_generation(struct vm *vm, unsigned as_id); /* inside, or with l */
struct memslot *memslot_find(struct vm *vm, unsigned as_id, u64 gfn);
/* The first slot that ends above gfn, or NULL: for going through them all. Inside, or with l. */
struct memslot *memslot_above(struct vm *vm, unsigned as_id, u64 gfn);
/* Guest-physical access through slots: 0, or -EFAULT where there is no (writable) memory. Writes mark dirty. */
int vm_read_guest(struct vm *vm, unsigned as_id, u64 gpa, void *dst, size_t n);
int vcpu_write_guest(struct vcpu *vcpu, unsigned as_id, u64 gpa, const void *src, size_t n);
int vcpu_cmpxchg_guest(struct vcpu *vcpu, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size);
/* The same without a vCPU, and not logged: for memory of which userspace knows that it may change at any time. */
int vm_write_guest(struct vm *vm, unsigned as_id, u64 gpa, const void *src, size_t n);
int vm_cmpxchg_guest(struct vm *vm, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size);
/* The vCPU that writes: the page goes into its dirty ring. */
void memslot_mark_dirty(struct vcpu *vcpu, struct memslot *slot, u64 gfn);
int vm_memory_create(struct vm *vm);
void vm_memory_destroy(struct vm *vm);
extern const struct ioctl_row vm_memory_ioctls[];
/* dirty.c */
int memslot_dirty_alloc(struct vm *vm, struct memslot *slot);
void memslot_dirty_free(struct memslot *slot);
/* KVM_CAP_DIRTY_LOG_RING; l held. */
int vm_enable_dirty_ring(struct vm *vm, u64 size);
/* No room is left but what the present entry may need: the VMM is to harvest. */
bool vcpu_dirty_ring_full(const struct vcpu *vcpu);
extern const struct ioctl_row vm_dirty_ioctls[];

/* Which of the two address spaces the vCPU uses now. */
static inline unsigned vcpu_as_id(const struct vcpu *vcpu)
{
	return vcpu->cpu.smm ? 1 : 0;
}

#endif
