/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prints docs/api.md: the capabilities and ioctls that the kernel's KVM document (Linux 6.1, api.rst) has for x86, and what
 * becomes of them here, by the very tables that answer the calls. Both lists of names are checked: what is in a table and
 * not in a list, or in both kinds of list, ends this program with an error.
 *
 *	make docs/api.md	writes it again
 */
#include <stdio.h>
#include <string.h>

#include "kvm/caps.h"
#include "kvm/device.h"

/* Capabilities of the document for x86 that are not announced. */
static const struct {
	const char *name;
	u32 cap;
	const char *why;
} absent_caps[] = {
#define CAP(x) #x, KVM_CAP_##x
	{ CAP(ASYNC_PF), "host page faults are served by the host's kernel, below us" },
	{ CAP(ASYNC_PF_INT), "likewise" },
	{ CAP(DEVICE_CTRL), "no device of x86 is made that way but VFIO's, which lives in the host's kernel" },
	{ CAP(HYPERV_DIRECT_TLBFLUSH), "nesting of Hyper-V" },
	{ CAP(HYPERV_ENLIGHTENED_VMCS), "nesting of Hyper-V on VT-x" },
	{ CAP(INTR_SHADOW), "obsolete: part of KVM_CAP_VCPU_EVENTS" },
	{ CAP(NESTED_STATE), "no nested virtualisation" },
	{ CAP(PCI_SEGMENT), "device assignment as KVM once had it" },
	{ CAP(PMU_CAPABILITY), "no performance counters: as KVM without a PMU, whose value is 0" },
	{ CAP(SGX_ATTRIBUTE), "no SGX" },
	{ CAP(SMALLER_MAXPHYADDR), "by KVM only with a module parameter" },
	{ CAP(VM_COPY_ENC_CONTEXT_FROM), "no SEV" },
	{ CAP(VM_MOVE_ENC_CONTEXT_FROM), "no SEV" },
	{ CAP(VM_DISABLE_NX_HUGE_PAGES), "no page tables in hardware, and no flaw of theirs" },
	{ CAP(X86_BUS_LOCK_EXIT), "hardware of VT-x" },
	{ CAP(X86_NOTIFY_VMEXIT), "hardware of VT-x" },
};

#define IOCTL(x) { #x, x }
static const struct {
	const char *name;
	u32 request;
} ioctls[] = {
	IOCTL(KVM_GET_API_VERSION), IOCTL(KVM_CREATE_VM), IOCTL(KVM_GET_MSR_INDEX_LIST),
	IOCTL(KVM_GET_MSR_FEATURE_INDEX_LIST), IOCTL(KVM_CHECK_EXTENSION), IOCTL(KVM_GET_VCPU_MMAP_SIZE),
	IOCTL(KVM_SET_MEMORY_REGION), IOCTL(KVM_CREATE_VCPU), IOCTL(KVM_GET_DIRTY_LOG), IOCTL(KVM_SET_MEMORY_ALIAS),
	IOCTL(KVM_RUN), IOCTL(KVM_GET_REGS), IOCTL(KVM_SET_REGS), IOCTL(KVM_GET_SREGS), IOCTL(KVM_SET_SREGS),
	IOCTL(KVM_TRANSLATE), IOCTL(KVM_INTERRUPT), IOCTL(KVM_GET_MSRS), IOCTL(KVM_SET_MSRS), IOCTL(KVM_SET_CPUID),
	IOCTL(KVM_SET_CPUID2), IOCTL(KVM_GET_CPUID2), IOCTL(KVM_SET_SIGNAL_MASK), IOCTL(KVM_GET_FPU), IOCTL(KVM_SET_FPU),
	IOCTL(KVM_CREATE_IRQCHIP), IOCTL(KVM_IRQ_LINE), IOCTL(KVM_IRQ_LINE_STATUS), IOCTL(KVM_GET_IRQCHIP),
	IOCTL(KVM_SET_IRQCHIP), IOCTL(KVM_XEN_HVM_CONFIG), IOCTL(KVM_GET_CLOCK), IOCTL(KVM_SET_CLOCK),
	IOCTL(KVM_GET_VCPU_EVENTS), IOCTL(KVM_SET_VCPU_EVENTS), IOCTL(KVM_GET_DEBUGREGS), IOCTL(KVM_SET_DEBUGREGS),
	IOCTL(KVM_SET_USER_MEMORY_REGION), IOCTL(KVM_SET_TSS_ADDR), IOCTL(KVM_ENABLE_CAP), IOCTL(KVM_GET_MP_STATE),
	IOCTL(KVM_SET_MP_STATE), IOCTL(KVM_SET_IDENTITY_MAP_ADDR), IOCTL(KVM_SET_BOOT_CPU_ID), IOCTL(KVM_GET_XSAVE),
	IOCTL(KVM_SET_XSAVE), IOCTL(KVM_GET_XCRS), IOCTL(KVM_SET_XCRS), IOCTL(KVM_GET_SUPPORTED_CPUID),
	IOCTL(KVM_SET_GSI_ROUTING), IOCTL(KVM_SET_TSC_KHZ), IOCTL(KVM_GET_TSC_KHZ), IOCTL(KVM_GET_LAPIC),
	IOCTL(KVM_SET_LAPIC), IOCTL(KVM_IOEVENTFD), IOCTL(KVM_NMI), IOCTL(KVM_KVMCLOCK_CTRL), IOCTL(KVM_SIGNAL_MSI),
	IOCTL(KVM_CREATE_PIT), IOCTL(KVM_CREATE_PIT2), IOCTL(KVM_GET_PIT), IOCTL(KVM_SET_PIT), IOCTL(KVM_GET_PIT2),
	IOCTL(KVM_SET_PIT2), IOCTL(KVM_IRQFD), IOCTL(KVM_CREATE_DEVICE), IOCTL(KVM_SET_DEVICE_ATTR),
	IOCTL(KVM_GET_DEVICE_ATTR), IOCTL(KVM_HAS_DEVICE_ATTR), IOCTL(KVM_SET_GUEST_DEBUG), IOCTL(KVM_GET_EMULATED_CPUID),
	IOCTL(KVM_SMI), IOCTL(KVM_X86_SET_MSR_FILTER), IOCTL(KVM_REINJECT_CONTROL), IOCTL(KVM_X86_GET_MCE_CAP_SUPPORTED),
	IOCTL(KVM_X86_SETUP_MCE), IOCTL(KVM_X86_SET_MCE), IOCTL(KVM_MEMORY_ENCRYPT_OP),
	IOCTL(KVM_MEMORY_ENCRYPT_REG_REGION), IOCTL(KVM_MEMORY_ENCRYPT_UNREG_REGION), IOCTL(KVM_HYPERV_EVENTFD),
	IOCTL(KVM_GET_NESTED_STATE), IOCTL(KVM_SET_NESTED_STATE), IOCTL(KVM_REGISTER_COALESCED_MMIO),
	IOCTL(KVM_UNREGISTER_COALESCED_MMIO), IOCTL(KVM_CLEAR_DIRTY_LOG), IOCTL(KVM_GET_SUPPORTED_HV_CPUID),
	IOCTL(KVM_SET_PMU_EVENT_FILTER), IOCTL(KVM_XEN_HVM_SET_ATTR), IOCTL(KVM_XEN_HVM_GET_ATTR),
	IOCTL(KVM_XEN_VCPU_SET_ATTR), IOCTL(KVM_XEN_VCPU_GET_ATTR), IOCTL(KVM_GET_SREGS2), IOCTL(KVM_SET_SREGS2),
	IOCTL(KVM_GET_STATS_FD), IOCTL(KVM_GET_XSAVE2), IOCTL(KVM_XEN_HVM_EVTCHN_SEND), IOCTL(KVM_RESET_DIRTY_RINGS),
	IOCTL(KVM_TPR_ACCESS_REPORTING), IOCTL(KVM_SET_VAPIC_ADDR), IOCTL(KVM_SET_NR_MMU_PAGES),
	IOCTL(KVM_GET_NR_MMU_PAGES), IOCTL(KVM_TRACE_ENABLE), IOCTL(KVM_TRACE_PAUSE), IOCTL(KVM_TRACE_DISABLE),
};

static int errors;

static void wrong(const char *what, const char *name)
{
	fprintf(stderr, "docs/api.c: %s: %s\n", name, what);
	errors++;
}

/* ---- capabilities ----------------------------------------------------------------------------------- */

static const char *enabled_on(const struct cap_row *row)
{
	if (row->enable && row->enable_vcpu)
		return "VM, vCPU";
	return row->enable ? "VM" : row->enable_vcpu ? "vCPU" : "";
}

static void print_caps(void)
{
	char value[16];

	printf("## Capabilities\n\nEach is whole. *Enabled on*: by `KVM_ENABLE_CAP`, where it takes that.\n\n"
	       "| KVM_CAP_ | value | enabled on | |\n| --- | --- | --- | --- |\n");
	for (unsigned i = 0; i < kvm_nr_caps; i++) {
		const struct cap_row *row = &kvm_caps[i];

		snprintf(value, sizeof(value), row->value > 255 ? "%#x" : "%u", row->value);
		printf("| %s | %s | %s | %s |\n", row->name, row->compute ? "computed" : value, enabled_on(row),
		       row->note ? row->note : "");
	}
}

static void print_absent_caps(void)
{
	printf("\n## Capabilities of the document that are not announced\n\n| KVM_CAP_ | why |\n| --- | --- |\n");
	for (unsigned i = 0; i < ARRAY_SIZE(absent_caps); i++) {
		if (vm_check_extension(NULL, absent_caps[i].cap))
			wrong("announced, yet in the list of those that are not", absent_caps[i].name);
		printf("| %s | %s |\n", absent_caps[i].name, absent_caps[i].why);
	}
}

/* ---- ioctls ------------------------------------------------------------------------------------------ */

static bool served(const struct ioctl_row *const *tables, u32 request)
{
	for (; *tables; tables++) {
		for (const struct ioctl_row *row = *tables; row->handler; row++) {
			if (row->request == request)
				return true;
		}
	}
	return false;
}

static bool served_anywhere(u32 request)
{
	return served(device_ioctl_tables, request) || served(vm_ioctl_tables, request) ||
	       served(vcpu_ioctl_tables, request);
}

static bool listed(u32 request)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ioctls); i++) {
		if (ioctls[i].request == request)
			return true;
	}
	return false;
}

static void check_listed(const struct ioctl_row *const *tables)
{
	char name[32];

	for (; *tables; tables++) {
		for (const struct ioctl_row *row = *tables; row->handler; row++) {
			snprintf(name, sizeof(name), "ioctl %#x", row->request);
			if (!listed(row->request))
				wrong("served, but not in the list", name);
		}
	}
}

static void print_ioctls(void)
{
	printf("\n## ioctls\n\n| ioctl | system | VM | vCPU |\n| --- | --- | --- | --- |\n");
	for (unsigned i = 0; i < ARRAY_SIZE(ioctls); i++) {
		u32 request = ioctls[i].request;

		if (served_anywhere(request))
			printf("| %s | %s | %s | %s |\n", ioctls[i].name, served(device_ioctl_tables, request) ? "yes" : "",
			       served(vm_ioctl_tables, request) ? "yes" : "",
			       served(vcpu_ioctl_tables, request) ? "yes" : "");
	}
	printf("\nNot served (the error is KVM's for an ioctl that it does not know): ");
	for (unsigned i = 0, n = 0; i < ARRAY_SIZE(ioctls); i++) {
		if (!served_anywhere(ioctls[i].request))
			printf("%s%s", n++ ? ", " : "", ioctls[i].name);
	}
	printf(".\n");
	check_listed(device_ioctl_tables);
	check_listed(vm_ioctl_tables);
	check_listed(vcpu_ioctl_tables);
}

int main(void)
{
	printf("# The KVM API here\n\n<!-- Made by docs/api.c from the tables in kvm/: make docs/api.md -->\n\n"
	       "What Linux 6.1's `Documentation/virt/kvm/api.rst` describes for x86. How the answers are held against\n"
	       "genuine KVM's is told in tests/README.md (`tests/api`, `tests/selftests`).\n\n");
	print_caps();
	print_absent_caps();
	print_ioctls();
	return errors != 0;
}
