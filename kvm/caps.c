/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capabilities: one table says what KVM_CHECK_EXTENSION answers and what KVM_ENABLE_CAP does. A capability that is not
 * here is not announced; one that is here works whole. (Document, chapters 6 to 8; docs/api.md is made from the table.)
 */
#include "kvm/caps.h"
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/xen.h"
#include "x86/system.h"

static u32 nr_vcpus(void)
{
	u32 n = host_cpu_count();

	return n < VM_MAX_VCPUS ? n : VM_MAX_VCPUS;
}

static u32 steal_time(void)
{
	return host_has_run_delay();
}

/* ---- KVM_ENABLE_CAP on the VM ------------------------------------------------------------------------------ */

#define VALID_QUIRKS                                                                                              \
	(KVM_X86_QUIRK_LINT0_REENABLED | KVM_X86_QUIRK_CD_NW_CLEARED | KVM_X86_QUIRK_LAPIC_MMIO_HOLE |            \
	 KVM_X86_QUIRK_OUT_7E_INC_RIP | KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | KVM_X86_QUIRK_FIX_HYPERCALL_INSN |   \
	 KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)
/* MWAIT never waits, so there is no exit to be disabled. */
#define DISABLE_EXITS (KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE | KVM_X86_DISABLE_EXITS_CSTATE)
#define X2APIC_API (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
#define DIRTY_PROTECT (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)
#define DIRTY_RING (65536 * (u32)sizeof(struct kvm_dirty_gfn)) /* bytes, at most */
#define HYPERCALLS_TO_USERSPACE (1u << KVM_HC_MAP_GPA_RANGE)
#define GUEST_DEBUG                                                                                               \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_USE_SW_BP |        \
	 KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_BLOCKIRQ)

static int enable_disable_quirks(struct vm *vm, const u64 *args)
{
	atomic_set(&vm->disabled_quirks, args[0]);
	return 0;
}

static int enable_disable_quirks2(struct vm *vm, const u64 *args)
{
	return args[0] & ~(u64)VALID_QUIRKS ? -EINVAL : enable_disable_quirks(vm, args);
}

static int enable_disable_exits(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)KVM_X86_DISABLE_VALID_EXITS)
		return -EINVAL;
	vm->disabled_exits |= (u32)args[0] & DISABLE_EXITS;
	return 0;
}

static int enable_exit_on_emulation_failure(struct vm *vm, const u64 *args)
{
	if (args[0] & ~1ull)
		return -EINVAL;
	vm->exit_on_emulation_failure = args[0] != 0;
	return 0;
}

static int enable_exit_hypercall(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)HYPERCALLS_TO_USERSPACE)
		return -EINVAL;
	vm->exit_hypercalls = (u32)args[0];
	return 0;
}

static int enable_halt_poll(struct vm *vm, const u64 *args)
{
	if (args[0] >> 32)
		return -EINVAL;
	atomic_set(&vm->halt_poll_ns, (u32)args[0]);
	return 0;
}

static int enable_split_irqchip(struct vm *vm, const u64 *args)
{
	return vm_enable_split_irqchip(vm, args[0]);
}

static int enable_x2apic_api(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)X2APIC_API)
		return -EINVAL;
	vm->x2apic_ids32 |= !!(args[0] & KVM_X2APIC_API_USE_32BIT_IDS);
	vm->x2apic_no_broadcast_quirk |= !!(args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	return 0;
}

static int enable_dirty_protect(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)DIRTY_PROTECT)
		return -EINVAL;
	if ((args[0] & KVM_DIRTY_LOG_INITIALLY_SET) && !(args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		return -EINVAL;
	vm->dirty_manual_protect = (u32)args[0];
	return 0;
}

static int enable_dirty_ring(struct vm *vm, const u64 *args)
{
	return vm_enable_dirty_ring(vm, args[0]);
}

static int enable_exception_payload(struct vm *vm, const u64 *args)
{
	vm->exception_payload = args[0] != 0;
	return 0;
}

static int enable_triple_fault_event(struct vm *vm, const u64 *args)
{
	vm->triple_fault_event = args[0] != 0;
	return 0;
}

static int enable_platform_info(struct vm *vm, const u64 *args)
{
	vm->platform_info_hidden = args[0] == 0;
	return 0;
}

static int enable_user_space_msr(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER))
		return -EINVAL;
	vm->user_space_msr_mask = (u32)args[0];
	return 0;
}

/* Set once, by this or by the first vCPU. */
static int enable_max_vcpu_id(struct vm *vm, const u64 *args)
{
	if (args[0] > VM_MAX_VCPU_ID)
		return -EINVAL;
	if (vm->max_vcpu_id)
		return vm->max_vcpu_id == args[0] ? 0 : -EINVAL;
	vm->max_vcpu_id = (u32)args[0];
	return 0;
}

/* ---- KVM_ENABLE_CAP on a vCPU ------------------------------------------------------------------------------ */

static int enable_enforce_pv(struct vcpu *vcpu, const u64 *args)
{
	vcpu_pv_enforce(vcpu, args[0]);
	return 0;
}

static int enable_enforce_hyperv(struct vcpu *vcpu, const u64 *args)
{
	vcpu_hyperv_enforce(vcpu, args[0]);
	return 0;
}

static int enable_synic(struct vcpu *vcpu, const u64 *args)
{
	(void)args;
	return vcpu_hyperv_activate_synic(vcpu, false);
}

static int enable_synic2(struct vcpu *vcpu, const u64 *args)
{
	return args[0] ? -EINVAL : vcpu_hyperv_activate_synic(vcpu, true);
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

#define CAP(x) .cap = KVM_CAP_##x, .name = #x
#define YES(x) CAP(x), .value = 1

const struct cap_row kvm_caps[] = {
	/* memory */
	{ YES(USER_MEMORY) },
	{ YES(DESTROY_MEMORY_REGION_WORKS) },
	{ YES(JOIN_MEMORY_REGIONS_WORKS) },
	{ YES(INTERNAL_ERROR_DATA) },
	{ CAP(NR_MEMSLOTS), .value = VM_MAX_SLOTS },
	{ YES(SYNC_MMU) },
	{ YES(READONLY_MEM) },
	{ CAP(MANUAL_DIRTY_LOG_PROTECT2), .value = DIRTY_PROTECT, .enable = enable_dirty_protect },
	{ CAP(DIRTY_LOG_RING), .value = DIRTY_RING, .enable = enable_dirty_ring },
	{ CAP(DIRTY_LOG_RING_ACQ_REL), .value = DIRTY_RING, .enable = enable_dirty_ring },
	{ CAP(MULTI_ADDRESS_SPACE), .value = VM_ADDRESS_SPACES, .note = "the second is SMM's" },
	{ YES(MMU_SHADOW_CACHE_CONTROL), .note = "the number is kept, there are no shadow pages" },
	/* vCPUs */
	{ CAP(NR_VCPUS), .compute = nr_vcpus, .note = "processors online" },
	{ CAP(MAX_VCPUS), .value = VM_MAX_VCPUS },
	{ CAP(MAX_VCPU_ID), .value = VM_MAX_VCPU_ID, .enable = enable_max_vcpu_id },
	{ YES(SET_BOOT_CPU_ID) },
	{ YES(MP_STATE) },
	{ YES(IMMEDIATE_EXIT) },
	{ CAP(SYNC_REGS), .value = KVM_SYNC_X86_VALID_FIELDS },
	{ YES(HLT) },
	{ YES(HALT_POLL), .enable = enable_halt_poll, .note = "no polling unless enabled" },
	{ CAP(X86_DISABLE_EXITS), .value = DISABLE_EXITS, .enable = enable_disable_exits,
	  .note = "MWAIT never waits; residency MSRs do not exist" },
	{ YES(NOP_IO_DELAY) },
	/* processor state */
	{ YES(EXT_CPUID) },
	{ YES(EXT_EMUL_CPUID) },
	{ YES(GET_MSR_FEATURES) },
	{ YES(SREGS2) },
	{ YES(XSAVE) },
	{ CAP(XSAVE2), .compute = vcpu_xsave2_size, .note = "bytes, by the host's XCR0" },
	{ YES(XCRS) },
	{ YES(SYS_ATTRIBUTES) },
	{ YES(VCPU_EVENTS) },
	{ YES(EXCEPTION_PAYLOAD), .enable = enable_exception_payload },
	{ YES(X86_TRIPLE_FAULT_EVENT), .enable = enable_triple_fault_event },
	{ YES(EXIT_ON_EMULATION_FAILURE), .enable = enable_exit_on_emulation_failure },
	{ CAP(EXIT_HYPERCALL), .value = HYPERCALLS_TO_USERSPACE, .enable = enable_exit_hypercall },
	{ YES(USER_NMI) },
	{ YES(X86_SMM) },
	{ CAP(MCE), .value = VCPU_MCE_BANKS },
	{ YES(DEBUGREGS) },
	{ YES(SET_GUEST_DEBUG) },
	{ CAP(SET_GUEST_DEBUG2), .value = GUEST_DEBUG },
	{ YES(X86_ROBUST_SINGLESTEP) },
	{ YES(MSR_PLATFORM_INFO), .enable = enable_platform_info },
	{ YES(X86_USER_SPACE_MSR), .enable = enable_user_space_msr },
	{ YES(X86_MSR_FILTER) },
	{ YES(PMU_EVENT_FILTER), .note = "filters are checked; no counter counts" },
	{ YES(DISABLE_QUIRKS), .enable = enable_disable_quirks },
	{ CAP(DISABLE_QUIRKS2), .value = VALID_QUIRKS, .enable = enable_disable_quirks2 },
	{ YES(SET_TSS_ADDR), .note = "VT-x without unrestricted guest needs it; kept" },
	{ YES(SET_IDENTITY_MAP_ADDR), .note = "likewise" },
	/* interrupts and devices in the kernel */
	{ YES(IRQCHIP) },
	{ YES(SPLIT_IRQCHIP), .enable = enable_split_irqchip },
	{ YES(IOAPIC_POLARITY_IGNORED) },
	{ CAP(X2APIC_API), .value = X2APIC_API, .enable = enable_x2apic_api },
	{ YES(TSC_DEADLINE_TIMER) },
	{ YES(PIT) },
	{ YES(PIT2) },
	{ YES(PIT_STATE2) },
	{ YES(REINJECT_CONTROL) },
	{ CAP(IRQ_ROUTING), .value = 4096 },
	{ YES(IRQ_INJECT_STATUS) },
	{ YES(SIGNAL_MSI) },
	{ YES(IRQFD) },
	{ YES(IRQFD_RESAMPLE) },
	{ YES(IOEVENTFD) },
	{ YES(IOEVENTFD_NO_LENGTH) },
	{ YES(IOEVENTFD_ANY_LENGTH) },
	{ CAP(COALESCED_MMIO), .value = KVM_COALESCED_MMIO_PAGE_OFFSET },
	{ YES(COALESCED_PIO) },
	{ YES(VAPIC) },
	/* time */
	{ YES(CLOCKSOURCE) },
	{ CAP(ADJUST_CLOCK), .value = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC },
	{ YES(KVMCLOCK_CTRL) },
	{ YES(GET_TSC_KHZ) },
	{ YES(TSC_CONTROL) },
	{ YES(VM_TSC_CONTROL) },
	{ YES(VCPU_ATTRIBUTES) },
	{ CAP(STEAL_TIME), .compute = steal_time, .note = "1 if the host's kernel counts what threads wait" },
	{ YES(ENFORCE_PV_FEATURE_CPUID), .enable_vcpu = enable_enforce_pv },
	/* Hyper-V's interface */
	{ YES(HYPERV) },
	{ YES(HYPERV_VAPIC) },
	{ YES(HYPERV_SPIN) },
	{ YES(HYPERV_TIME) },
	{ YES(HYPERV_SYNIC), .enable_vcpu = enable_synic },
	{ YES(HYPERV_SYNIC2), .enable_vcpu = enable_synic2 },
	{ YES(HYPERV_EVENTFD) },
	{ YES(HYPERV_VP_INDEX) },
	{ YES(HYPERV_TLBFLUSH) },
	{ YES(HYPERV_SEND_IPI) },
	{ YES(HYPERV_CPUID) },
	{ YES(SYS_HYPERV_CPUID) },
	{ YES(HYPERV_ENFORCE_CPUID), .enable_vcpu = enable_enforce_hyperv },
	/* Xen's interface */
	{ CAP(XEN_HVM), .compute = xen_features,
	  .note = "RUNSTATE only if the host's kernel counts what threads wait" },
	/* the API itself */
	{ YES(SYSTEM_EVENT_DATA) },
	{ YES(CHECK_EXTENSION_VM) },
	{ YES(ENABLE_CAP) },
	{ YES(ENABLE_CAP_VM) },
	{ YES(BINARY_STATS_FD) },
};

const unsigned kvm_nr_caps = ARRAY_SIZE(kvm_caps);

static const struct cap_row *cap_find(unsigned long cap)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kvm_caps); i++) {
		if (kvm_caps[i].cap == cap)
			return &kvm_caps[i];
	}
	return NULL;
}

long vm_check_extension(struct vm *vm, unsigned long cap)
{
	const struct cap_row *row = cap_find(cap);

	(void)vm;
	if (!row)
		return 0;
	return row->compute ? row->compute() : row->value;
}

static long vm_enable_cap(void *object, unsigned long arg)
{
	struct vm *vm = object;
	const struct cap_row *row;
	struct kvm_enable_cap cap;
	long r;

	if (host_copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	row = cap_find(cap.cap);
	if (cap.flags || !row || !row->enable)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	r = row->enable(vm, (const u64 *)cap.args);
	host_mutex_unlock(&vm->lock);
	return r;
}

static long vcpu_enable_cap(void *object, unsigned long arg)
{
	const struct cap_row *row;
	struct kvm_enable_cap cap;

	if (host_copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	row = cap_find(cap.cap);
	if (cap.flags || !row || !row->enable_vcpu)
		return -EINVAL;
	return row->enable_vcpu(object, (const u64 *)cap.args);
}

static long vm_check_extension_ioctl(void *object, unsigned long arg)
{
	return vm_check_extension(object, arg);
}

const struct ioctl_row vm_caps_ioctls[] = {
	{ KVM_CHECK_EXTENSION, vm_check_extension_ioctl },
	{ KVM_ENABLE_CAP, vm_enable_cap },
	{ 0, NULL },
};

const struct ioctl_row vcpu_caps_ioctls[] = {
	{ KVM_ENABLE_CAP, vcpu_enable_cap },
	{ 0, NULL },
};
