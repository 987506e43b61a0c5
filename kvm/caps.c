/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capabilities: one table says what KVM_CHECK_EXTENSION answers, a second what KVM_ENABLE_CAP does. A capability that is
 * not here is not announced; one that is here works whole. (Document, chapters 6 to 8.)
 */
#include "kvm/clock.h"
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "x86/system.h"

static u32 nr_vcpus(void)
{
	u32 n = host_cpu_count();

	return n < VM_MAX_VCPUS ? n : VM_MAX_VCPUS;
}

struct cap_row {
	u32 cap;
	u32 value;
	u32 (*compute)(void); /* instead of value */
};

static const struct cap_row caps[] = {
	/* memory */
	{ KVM_CAP_USER_MEMORY, 1, NULL },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1, NULL },
	{ KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1, NULL },
	{ KVM_CAP_INTERNAL_ERROR_DATA, 1, NULL },
	{ KVM_CAP_NR_MEMSLOTS, VM_MAX_SLOTS, NULL },
	{ KVM_CAP_SYNC_MMU, 1, NULL },
	{ KVM_CAP_READONLY_MEM, 1, NULL },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET, NULL },
	{ KVM_CAP_MULTI_ADDRESS_SPACE, VM_ADDRESS_SPACES, NULL },
	/* vCPUs */
	{ KVM_CAP_NR_VCPUS, 0, nr_vcpus },
	{ KVM_CAP_MAX_VCPUS, VM_MAX_VCPUS, NULL },
	{ KVM_CAP_MAX_VCPU_ID, VM_MAX_VCPU_ID, NULL },
	{ KVM_CAP_SET_BOOT_CPU_ID, 1, NULL },
	{ KVM_CAP_MP_STATE, 1, NULL },
	{ KVM_CAP_IMMEDIATE_EXIT, 1, NULL },
	{ KVM_CAP_SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS, NULL },
	{ KVM_CAP_HLT, 1, NULL },
	{ KVM_CAP_NOP_IO_DELAY, 1, NULL },
	/* processor state */
	{ KVM_CAP_EXT_CPUID, 1, NULL },
	{ KVM_CAP_GET_MSR_FEATURES, 1, NULL },
	{ KVM_CAP_SREGS2, 1, NULL },
	{ KVM_CAP_XSAVE, 1, NULL },
	{ KVM_CAP_XSAVE2, 0, vcpu_xsave2_size },
	{ KVM_CAP_XCRS, 1, NULL },
	{ KVM_CAP_SYS_ATTRIBUTES, 1, NULL },
	{ KVM_CAP_VCPU_EVENTS, 1, NULL },
	{ KVM_CAP_EXCEPTION_PAYLOAD, 1, NULL },
	{ KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1, NULL },
	{ KVM_CAP_USER_NMI, 1, NULL },
	{ KVM_CAP_X86_SMM, 1, NULL },
	{ KVM_CAP_MCE, VCPU_MCE_BANKS, NULL },
	{ KVM_CAP_DEBUGREGS, 1, NULL },
	{ KVM_CAP_SET_GUEST_DEBUG, 1, NULL },
	{ KVM_CAP_X86_ROBUST_SINGLESTEP, 1, NULL },
	{ KVM_CAP_MSR_PLATFORM_INFO, 1, NULL },
	{ KVM_CAP_X86_USER_SPACE_MSR, 1, NULL },
	{ KVM_CAP_X86_MSR_FILTER, 1, NULL },
	{ KVM_CAP_MMU_SHADOW_CACHE_CONTROL, 1, NULL },
	/* accepted for VT-x without unrestricted guest; nothing of it is needed here */
	{ KVM_CAP_SET_TSS_ADDR, 1, NULL },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, 1, NULL },
	/* interrupts and devices in the kernel */
	{ KVM_CAP_IRQCHIP, 1, NULL },
	{ KVM_CAP_SPLIT_IRQCHIP, 1, NULL },
	{ KVM_CAP_IOAPIC_POLARITY_IGNORED, 1, NULL },
	{ KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, NULL },
	{ KVM_CAP_TSC_DEADLINE_TIMER, 1, NULL },
	{ KVM_CAP_PIT, 1, NULL },
	{ KVM_CAP_PIT2, 1, NULL },
	{ KVM_CAP_PIT_STATE2, 1, NULL },
	{ KVM_CAP_REINJECT_CONTROL, 1, NULL },
	{ KVM_CAP_IRQ_ROUTING, 4096, NULL },
	{ KVM_CAP_IRQ_INJECT_STATUS, 1, NULL },
	{ KVM_CAP_SIGNAL_MSI, 1, NULL },
	{ KVM_CAP_IRQFD, 1, NULL },
	{ KVM_CAP_IRQFD_RESAMPLE, 1, NULL },
	{ KVM_CAP_IOEVENTFD, 1, NULL },
	{ KVM_CAP_IOEVENTFD_NO_LENGTH, 1, NULL },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, 1, NULL },
	{ KVM_CAP_COALESCED_MMIO, KVM_COALESCED_MMIO_PAGE_OFFSET, NULL },
	{ KVM_CAP_COALESCED_PIO, 1, NULL },
	{ KVM_CAP_VAPIC, 1, NULL },
	/* time */
	{ KVM_CAP_CLOCKSOURCE, 1, NULL },
	{ KVM_CAP_ADJUST_CLOCK, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC, NULL },
	{ KVM_CAP_KVMCLOCK_CTRL, 1, NULL },
	{ KVM_CAP_GET_TSC_KHZ, 1, NULL },
	{ KVM_CAP_TSC_CONTROL, 1, NULL },
	{ KVM_CAP_VM_TSC_CONTROL, 1, NULL },
	{ KVM_CAP_VCPU_ATTRIBUTES, 1, NULL },
	{ KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1, NULL },
	/* the API itself */
	{ KVM_CAP_CHECK_EXTENSION_VM, 1, NULL },
	{ KVM_CAP_ENABLE_CAP, 1, NULL },
	{ KVM_CAP_ENABLE_CAP_VM, 1, NULL },
	{ KVM_CAP_BINARY_STATS_FD, 1, NULL },
};

long vm_check_extension(struct vm *vm, unsigned long cap)
{
	(void)vm;
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		if (caps[i].cap == cap)
			return caps[i].compute ? caps[i].compute() : caps[i].value;
	}
	return 0;
}

/* ---- KVM_ENABLE_CAP on the VM ------------------------------------------------------------------------------ */

static int enable_split_irqchip(struct vm *vm, const u64 *args)
{
	return vm_enable_split_irqchip(vm, args[0]);
}

static int enable_x2apic_api(struct vm *vm, const u64 *args)
{
	if (args[0] & ~(u64)(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
		return -EINVAL;
	vm->x2apic_ids32 |= !!(args[0] & KVM_X2APIC_API_USE_32BIT_IDS);
	vm->x2apic_no_broadcast_quirk |= !!(args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	return 0;
}

static int enable_dirty_protect(struct vm *vm, const u64 *args)
{
	u64 valid = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;

	if (args[0] & ~valid)
		return -EINVAL;
	if ((args[0] & KVM_DIRTY_LOG_INITIALLY_SET) && !(args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		return -EINVAL;
	vm->dirty_manual_protect = (u32)args[0];
	return 0;
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

static int enable_max_vcpu_id(struct vm *vm, const u64 *args)
{
	if (args[0] > VM_MAX_VCPU_ID || !args[0])
		return -EINVAL;
	if (vm->max_vcpu_id_set)
		return vm->max_vcpu_id == args[0] ? 0 : -EINVAL;
	vm->max_vcpu_id = (u32)args[0];
	vm->max_vcpu_id_set = true;
	return 0;
}

static const struct {
	u32 cap;
	int (*enable)(struct vm *vm, const u64 *args); /* vm->lock held */
} enables[] = {
	{ KVM_CAP_SPLIT_IRQCHIP, enable_split_irqchip },
	{ KVM_CAP_X2APIC_API, enable_x2apic_api },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, enable_dirty_protect },
	{ KVM_CAP_EXCEPTION_PAYLOAD, enable_exception_payload },
	{ KVM_CAP_X86_TRIPLE_FAULT_EVENT, enable_triple_fault_event },
	{ KVM_CAP_MSR_PLATFORM_INFO, enable_platform_info },
	{ KVM_CAP_X86_USER_SPACE_MSR, enable_user_space_msr },
	{ KVM_CAP_MAX_VCPU_ID, enable_max_vcpu_id },
};

static long vm_enable_cap(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_enable_cap cap;
	long r = -EINVAL;

	if (host_copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < ARRAY_SIZE(enables); i++) {
		if (enables[i].cap == cap.cap)
			r = enables[i].enable(vm, (const u64 *)cap.args);
	}
	host_mutex_unlock(&vm->lock);
	return r;
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
