// SPDX-License-Identifier: GPL-2.0-only
/* Every ioctl on every kind of descriptor, with no argument, wild pointers, zeroes and ones: the error it
 * gives. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/api/api.h"
#define IOCTL(name) { #name, name }

static const struct {
	const char *name;
	unsigned long request;
} ioctls[] = {
	IOCTL(KVM_GET_API_VERSION),
	IOCTL(KVM_CREATE_VM),
	IOCTL(KVM_CHECK_EXTENSION),
	IOCTL(KVM_GET_VCPU_MMAP_SIZE),
	IOCTL(KVM_GET_SUPPORTED_CPUID),
	IOCTL(KVM_GET_EMULATED_CPUID),
	IOCTL(KVM_GET_MSR_INDEX_LIST),
	IOCTL(KVM_GET_MSR_FEATURE_INDEX_LIST),
	IOCTL(KVM_X86_GET_MCE_CAP_SUPPORTED),
	IOCTL(KVM_CREATE_VCPU),
	IOCTL(KVM_SET_USER_MEMORY_REGION),
	IOCTL(KVM_SET_TSS_ADDR),
	IOCTL(KVM_SET_IDENTITY_MAP_ADDR),
	IOCTL(KVM_CREATE_IRQCHIP),
	IOCTL(KVM_GET_IRQCHIP),
	IOCTL(KVM_SET_IRQCHIP),
	IOCTL(KVM_IRQ_LINE),
	IOCTL(KVM_IRQ_LINE_STATUS),
	IOCTL(KVM_CREATE_PIT),
	IOCTL(KVM_CREATE_PIT2),
	IOCTL(KVM_GET_PIT),
	IOCTL(KVM_SET_PIT),
	IOCTL(KVM_GET_PIT2),
	IOCTL(KVM_SET_PIT2),
	IOCTL(KVM_SET_GSI_ROUTING),
	IOCTL(KVM_IRQFD),
	IOCTL(KVM_IOEVENTFD),
	IOCTL(KVM_SIGNAL_MSI),
	IOCTL(KVM_GET_CLOCK),
	IOCTL(KVM_SET_CLOCK),
	IOCTL(KVM_ENABLE_CAP),
	IOCTL(KVM_GET_DIRTY_LOG),
	IOCTL(KVM_CLEAR_DIRTY_LOG),
	IOCTL(KVM_REGISTER_COALESCED_MMIO),
	IOCTL(KVM_UNREGISTER_COALESCED_MMIO),
	IOCTL(KVM_SET_BOOT_CPU_ID),
	IOCTL(KVM_REINJECT_CONTROL),
	IOCTL(KVM_X86_SET_MSR_FILTER),
	IOCTL(KVM_CREATE_DEVICE),
	IOCTL(KVM_SET_NR_MMU_PAGES),
	IOCTL(KVM_GET_NR_MMU_PAGES),
	IOCTL(KVM_RUN),
	IOCTL(KVM_GET_REGS),
	IOCTL(KVM_SET_REGS),
	IOCTL(KVM_GET_SREGS),
	IOCTL(KVM_SET_SREGS),
	IOCTL(KVM_GET_SREGS2),
	IOCTL(KVM_SET_SREGS2),
	IOCTL(KVM_GET_FPU),
	IOCTL(KVM_SET_FPU),
	IOCTL(KVM_GET_XSAVE),
	IOCTL(KVM_SET_XSAVE),
	IOCTL(KVM_GET_XCRS),
	IOCTL(KVM_SET_XCRS),
	IOCTL(KVM_GET_MSRS),
	IOCTL(KVM_SET_MSRS),
	IOCTL(KVM_SET_CPUID),
	IOCTL(KVM_SET_CPUID2),
	IOCTL(KVM_GET_CPUID2),
	IOCTL(KVM_GET_LAPIC),
	IOCTL(KVM_SET_LAPIC),
	IOCTL(KVM_INTERRUPT),
	IOCTL(KVM_NMI),
	IOCTL(KVM_SMI),
	IOCTL(KVM_GET_MP_STATE),
	IOCTL(KVM_SET_MP_STATE),
	IOCTL(KVM_GET_VCPU_EVENTS),
	IOCTL(KVM_SET_VCPU_EVENTS),
	IOCTL(KVM_GET_DEBUGREGS),
	IOCTL(KVM_SET_DEBUGREGS),
	IOCTL(KVM_SET_GUEST_DEBUG),
	IOCTL(KVM_TRANSLATE),
	IOCTL(KVM_SET_SIGNAL_MASK),
	IOCTL(KVM_TPR_ACCESS_REPORTING),
	IOCTL(KVM_SET_VAPIC_ADDR),
	IOCTL(KVM_X86_SETUP_MCE),
	IOCTL(KVM_X86_SET_MCE),
	IOCTL(KVM_SET_TSC_KHZ),
	IOCTL(KVM_GET_TSC_KHZ),
	IOCTL(KVM_KVMCLOCK_CTRL),
	IOCTL(KVM_GET_XSAVE2),
	IOCTL(KVM_GET_STATS_FD),
	IOCTL(KVM_GET_DEVICE_ATTR),
	IOCTL(KVM_SET_DEVICE_ATTR),
	IOCTL(KVM_HAS_DEVICE_ATTR),
	IOCTL(KVM_DIRTY_TLB),
	IOCTL(KVM_RESET_DIRTY_RINGS),
	IOCTL(KVM_MEMORY_ENCRYPT_OP),
	{ "0x1234", 0x1234 },
	{ "_IO(KVMIO, 0xff)", _IO(KVMIO, 0xff) },
};

enum { SYSTEM, VM, VM_IRQCHIP, VCPU, VCPU_IRQCHIP, NR_PLACES };

/* What the ioctl says at this kind of descriptor of a fresh machine. */
static const char *at(unsigned place, unsigned long request, void *arg)
{
	struct machine m = machine_open(place == VM_IRQCHIP || place == VCPU_IRQCHIP, place >= VCPU);
	int fd = place == SYSTEM ? m.kvm : place < VCPU ? m.vm : m.vcpu;
	long r;

	do
		r = ask(fd, request, arg);
	while (r == -EINTR && request == KVM_CREATE_VM);
	if (r > 2 && (request == KVM_CREATE_VM || request == KVM_CREATE_VCPU || request == KVM_GET_STATS_FD))
		close((int)r);
	machine_close(&m);
	return answer(r);
}

static void row(unsigned i, const char *what, void *arg, const void *fresh)
{
	static const char *const places[] = { "system", "vm", "vm+irqchip", "vcpu", "vcpu+irqchip" };

	printf("%s(%s):", ioctls[i].name, what);
	for (unsigned place = 0; place < NR_PLACES; place++) {
		if (fresh)
			memcpy(arg, fresh, 16384);
		printf(" %s=%s", places[place], at(place, ioctls[i].request, arg));
	}
	printf("\n");
}

void test_matrix(void)
{
	/* at a fixed place: some ioctls take the pointer for a number */
	uint8_t *buffer = mmap((void *)0x700012340000, 16384, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	static uint8_t ones[16384], zeroes[16384];

	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
		row(i, "NULL", NULL, NULL);
		row(i, "1", (void *)1, NULL);
		row(i, "kernel", (void *)0xffff800000000000, NULL);
		row(i, "zeroes", buffer, zeroes);
		row(i, "ones", buffer, ones);
	}
}
