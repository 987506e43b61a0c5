// SPDX-License-Identifier: GPL-2.0-only
/* KVM_ENABLE_CAP: what each capability takes, and what it changes. */
#include <errno.h>
#include <linux/kvm_para.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/api.h"

static long enable(int fd, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap e = { .cap = cap, .args = { arg } };

	return ask(fd, KVM_ENABLE_CAP, &e);
}

/* ---- arguments ------------------------------------------------------------------------------------ */

#define CAP(name) { #name, KVM_CAP_##name }

static const struct {
	const char *name;
	uint32_t cap;
} caps[] = {
	CAP(DISABLE_QUIRKS), CAP(DISABLE_QUIRKS2), CAP(X86_DISABLE_EXITS), CAP(EXIT_ON_EMULATION_FAILURE),
	CAP(EXIT_HYPERCALL), CAP(HALT_POLL), CAP(SPLIT_IRQCHIP), CAP(X2APIC_API), CAP(EXCEPTION_PAYLOAD),
	CAP(X86_TRIPLE_FAULT_EVENT), CAP(MSR_PLATFORM_INFO), CAP(X86_USER_SPACE_MSR), CAP(MAX_VCPU_ID),
	CAP(MANUAL_DIRTY_LOG_PROTECT2), CAP(ENFORCE_PV_FEATURE_CPUID), CAP(USER_MEMORY),
};

static const uint64_t arguments[] = { 0, 1, 2, 3, 4, 0x7f, 0x80, 0x1000, 0x1001, 1ull << 32, ~0ull };

static void accepted(void)
{
	for (unsigned i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		printf("caps/%s:", caps[i].name);
		for (unsigned a = 0; a < sizeof(arguments) / sizeof(arguments[0]); a++) {
			struct machine m = machine_open(false, false);

			printf(" %llx=%s", (unsigned long long)arguments[a], answer(enable(m.vm, caps[i].cap, arguments[a])));
			machine_close(&m);
		}
		printf("\n");
	}
}

static void accepted_by_vcpu(void)
{
	struct machine m = machine_open(true, true);
	struct kvm_enable_cap flagged = { .cap = KVM_CAP_EXIT_HYPERCALL, .flags = 1 };

	printf("caps/vcpu:");
	for (unsigned i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		printf(" %s=%s", caps[i].name, answer(enable(m.vcpu, caps[i].cap, 1)));
	printf("\n");
	tell("caps/flags", ask(m.vm, KVM_ENABLE_CAP, &flagged));
	tell("caps/max-vcpu-id-late", enable(m.vm, KVM_CAP_MAX_VCPU_ID, 8));
	tell("caps/max-vcpu-id-same", enable(m.vm, KVM_CAP_MAX_VCPU_ID, 4096));
	machine_close(&m);
}

/* ---- what they change ------------------------------------------------------------------------------ */

static void run_and_tell(struct machine *m, const char *name)
{
	struct kvm_regs regs;
	long r;

	do
		r = ask(m->vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	printf("%s: %s exit=%d", name, answer(r), m->run->exit_reason);
	if (m->run->exit_reason == KVM_EXIT_SHUTDOWN) { /* what is left then is the vendor's */
		printf("\n");
		return;
	}
	ask(m->vcpu, KVM_GET_REGS, &regs);
	printf(" rip=%llx rax=%llx\n", (unsigned long long)regs.rip, (unsigned long long)regs.rax);
}

static struct machine quirky(uint64_t disabled)
{
	struct machine m = machine_open(false, true);
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 100 * sizeof(cpuid->entries[0]));

	machine_ram(&m);
	cpuid->nent = 100;
	ask(m.kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	ask(m.vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	tell("caps/quirks", enable(m.vm, KVM_CAP_DISABLE_QUIRKS2, disabled));
	return m;
}

/* The wrong vendor's instruction, whichever that is; a #UD without IDT is a triple fault. */
static void hypercalls(uint64_t disabled)
{
	static const uint8_t calls[][4] = { { 0x0f, 0x01, 0xc1, 0xf4 }, { 0x0f, 0x01, 0xd9, 0xf4 } };
	struct kvm_regs regs = { .rflags = 2, .rax = KVM_HC_VAPIC_POLL_IRQ };
	unsigned halted = 0, patched = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct machine m = quirky(disabled);
		long r;

		machine_code32(&m, m.vcpu, calls[i], 4, &regs);
		do
			r = ask(m.vcpu, KVM_RUN, NULL);
		while (r == -EINTR);
		halted += m.run->exit_reason == KVM_EXIT_HLT;
		patched += memcmp(m.ram, calls[i], 4) != 0;
		machine_close(&m);
	}
	printf("caps/hypercall-quirk-%llx: halted=%u patched=%u\n", (unsigned long long)disabled, halted, patched);
}

static void out_7e(uint64_t disabled)
{
	static const uint8_t code[] = { 0xe6, 0x7e, 0xe6, 0x7f, 0xf4 };
	struct kvm_regs regs = { .rflags = 2, .rax = 0x55 };
	struct machine m = quirky(disabled);

	machine_code32(&m, m.vcpu, code, sizeof(code), &regs);
	run_and_tell(&m, "caps/out-7e");
	run_and_tell(&m, "caps/out-7f");
	run_and_tell(&m, "caps/out-hlt");
	machine_close(&m);
}

static void mwait(uint64_t disabled)
{
	static const uint8_t code[] = { 0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9, 0xf4 };
	struct kvm_regs regs = { .rflags = 2 };
	struct machine m = quirky(disabled);

	machine_code32(&m, m.vcpu, code, sizeof(code), &regs);
	run_and_tell(&m, disabled ? "caps/mwait-ud" : "caps/mwait-nop");
	machine_close(&m);
}

/* CPUID.1:ECX.3 after wrmsr of IA32_MISC_ENABLE with bit 18 */
static void misc_enable(uint64_t disabled, uint32_t value)
{
	static const uint8_t code[] = { 0x0f, 0x30, 0xb8, 1, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2,
					0x83, 0xe1, 8, 0x89, 0xc8, 0xf4 };
	struct kvm_regs regs = { .rflags = 2, .rcx = 0x1a0, .rax = value };
	struct machine m = quirky(disabled);

	machine_code32(&m, m.vcpu, code, sizeof(code), &regs);
	run_and_tell(&m, "caps/misc-enable");
	machine_close(&m);
}

static void map_gpa_range(struct machine *m, const char *name, uint64_t gpa, uint64_t pages)
{
	struct kvm_regs regs = { .rflags = 2, .rax = KVM_HC_MAP_GPA_RANGE, .rbx = gpa, .rcx = pages, .rdx = 7 };
	static const uint8_t code[] = { 0x0f, 0x01, 0xd9, 0xf4 };

	machine_code32(m, m->vcpu, code, sizeof(code), &regs);
	run_and_tell(m, name);
	if (m->run->exit_reason != KVM_EXIT_HYPERCALL)
		return;
	printf("%s: nr=%llu %llx %llx %llx long=%u\n", name, m->run->hypercall.nr, m->run->hypercall.args[0],
	       m->run->hypercall.args[1], m->run->hypercall.args[2], m->run->hypercall.longmode);
	m->run->hypercall.ret = 0x123456789;
	run_and_tell(m, name);
}

static void exit_hypercall(void)
{
	struct machine m = quirky(0);

	map_gpa_range(&m, "caps/map-gpa-disabled", 0x1000, 1);
	tell("caps/exit-hypercall", enable(m.vm, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE));
	map_gpa_range(&m, "caps/map-gpa", 0x1000, 1);
	map_gpa_range(&m, "caps/map-gpa-unaligned", 0x1001, 1);
	map_gpa_range(&m, "caps/map-gpa-nothing", 0x1000, 0);
	machine_close(&m);
}

static void emulated_cpuid(void)
{
	struct machine m = machine_open(false, false);
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 8 * sizeof(cpuid->entries[0]));

	for (unsigned n = 1; n < 6; n++) {
		cpuid->nent = n;
		memset(cpuid->entries, 0, 8 * sizeof(cpuid->entries[0]));
		printf("caps/emulated-cpuid-%u: %s\n", n, answer(ask(m.kvm, KVM_GET_EMULATED_CPUID, cpuid)));
	}
	for (unsigned i = 0; i < cpuid->nent; i++)
		printf("caps/emulated-leaf: %x flags=%x eax=%x ecx=%x\n", cpuid->entries[i].function, cpuid->entries[i].flags,
		       cpuid->entries[i].eax, cpuid->entries[i].ecx);
	free(cpuid);
	machine_close(&m);
}

static void mmu_pages(void)
{
	struct machine m = machine_open(false, true);

	printf("caps/mmu-pages: %ld", ask(m.vm, KVM_GET_NR_MMU_PAGES, NULL));
	machine_ram(&m);
	printf(" %ld", ask(m.vm, KVM_GET_NR_MMU_PAGES, NULL));
	ask(m.vm, KVM_SET_NR_MMU_PAGES, (void *)100);
	printf(" %ld\n", ask(m.vm, KVM_GET_NR_MMU_PAGES, NULL));
	machine_close(&m);
}

/* ---- how many fit on a bus -------------------------------------------------------------------------- */

static unsigned zones(bool irqchip, bool pit, bool pio)
{
	struct machine m = machine_open(irqchip, false);
	struct kvm_pit_config config = { 0 };
	struct kvm_coalesced_mmio_zone zone = { .size = 1, .pio = pio };
	unsigned n = 0;

	if (pit)
		ask(m.vm, KVM_CREATE_PIT2, &config);
	while (n < 2000) {
		zone.addr = 0x1000 + n;
		if (ask(m.vm, KVM_REGISTER_COALESCED_MMIO, &zone))
			break;
		n++;
	}
	machine_close(&m);
	return n;
}

static void bus_limits(void)
{
	struct machine m = machine_open(false, false);
	int event = eventfd(0, 0);
	unsigned n = 0;
	long r = 0;

	printf("caps/zones: mmio=%u pio=%u mmio+irqchip=%u pio+irqchip=%u pio+pit=%u\n", zones(0, 0, 0), zones(0, 0, 1),
	       zones(1, 0, 0), zones(1, 0, 1), zones(1, 1, 1));
	while (n < 2000 && !r) {
		struct kvm_ioeventfd e = { .addr = 0x1000 + 4 * n, .len = 4, .fd = event };

		r = ask(m.vm, KVM_IOEVENTFD, &e);
		n += !r;
	}
	printf("caps/ioeventfds: %u %s\n", n, answer(r));
	close(event);
	machine_close(&m);
}

static void pmu(void)
{
	static const struct {
		uint32_t action, events, flags;
	} filters[] = { { 0, 0, 0 }, { 1, 2, 0 }, { 2, 0, 0 }, { 0, 0, 1 }, { 0, 300, 0 }, { 0, 301, 0 }, { 2, 301, 1 } };
	struct machine m = machine_open(false, false);
	struct kvm_pmu_event_filter *f;
	uint8_t *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + 4096, 4096);
	printf("caps/pmu: %ld %ld", ask(m.vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_PMU_CAPABILITY),
	       ask(m.vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_PMU_EVENT_FILTER));
	printf(" %s", answer(enable(m.vm, KVM_CAP_PMU_CAPABILITY, 0)));
	printf(" %s\n", answer(enable(m.vm, KVM_CAP_PMU_CAPABILITY, 1)));
	printf("caps/pmu-filter:");
	for (unsigned i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		f = calloc(1, sizeof(*f) + 304 * 8);
		*f = (struct kvm_pmu_event_filter){ .action = filters[i].action, .nevents = filters[i].events, .flags = filters[i].flags };
		printf(" %s", answer(ask(m.vm, KVM_SET_PMU_EVENT_FILTER, f)));
		free(f);
	}
	f = (void *)(pages + 4096 - sizeof(*f) - 8);
	f->nevents = 2;
	printf(" %s\n", answer(ask(m.vm, KVM_SET_PMU_EVENT_FILTER, f)));
	munmap(pages, 4096);
	machine_close(&m);
}

void test_caps(void)
{
	pmu();
	accepted();
	accepted_by_vcpu();
	hypercalls(0);
	hypercalls(KVM_X86_QUIRK_FIX_HYPERCALL_INSN);
	out_7e(0);
	out_7e(KVM_X86_QUIRK_OUT_7E_INC_RIP);
	mwait(0);
	mwait(KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS);
	misc_enable(0, 0x41801);
	misc_enable(KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT, 0x41801);
	misc_enable(KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT, 0x1801);
	exit_hypercall();
	emulated_cpuid();
	mmu_pages();
	bus_limits();
}
