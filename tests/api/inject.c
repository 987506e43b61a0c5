// SPDX-License-Identifier: GPL-2.0-only
/* What userspace puts into a vCPU: NMI, SMI, machine checks, events, MP states; and what it may ask of one. */
#include <errno.h>
#include <unistd.h>

#include "tests/api/api.h"

/* nop; nop; out 0x10; nop; out 0x11; 1: out 0x12; jmp 1b */
static const uint8_t nops[] = { 0x90, 0x90, 0xe6, 0x10, 0x90, 0xe6, 0x11, 0xe6, 0x12, 0xeb, 0xfc };

/* Many lines are alike. */
static void number(void)
{
	static unsigned n;

	printf("inject/%u-", ++n);
}

static void tell_answer(const char *name, long r)
{
	number();
	tell(name, r);
}

static void tell_events(struct machine *m, const char *name)
{
	struct kvm_vcpu_events e;
	long r = ask(m->vcpu, KVM_GET_VCPU_EVENTS, &e);

	number();
	printf("%s: %s exc %u%u %u %u %x int %u %u %u %u nmi %u%u%u sipi %x smi %u%u%u%u flags %x\n", name, answer(r),
	       e.exception.injected, e.exception.pending, e.exception.nr, e.exception.has_error_code, e.exception.error_code,
	       e.interrupt.injected, e.interrupt.nr, e.interrupt.soft, e.interrupt.shadow, e.nmi.injected,
	       e.nmi.pending, e.nmi.masked, e.sipi_vector, e.smi.smm, e.smi.pending, e.smi.smm_inside_nmi, e.smi.latched_init, e.flags);
}

static void tell_run(struct machine *m, const char *name)
{
	long r = machine_run(m);
	struct kvm_regs regs;

	ask(m->vcpu, KVM_GET_REGS, &regs);
	number();
	printf("%s: exit %ld", name, r);
	if (r == KVM_EXIT_IO)
		printf(" port %x", m->run->io.port);
	if (r == KVM_EXIT_SHUTDOWN)
		printf("\n");
	else
		printf(" rip %llx flags %x\n", (unsigned long long)regs.rip, m->run->flags);
}

static struct machine open_code(bool irqchip)
{
	struct machine m = machine_open(irqchip, true);
	struct kvm_regs regs = { .rflags = 2, .rip = 0x1000, .rsp = 0x8000 };
	struct kvm_sregs s;

	machine_ram(&m);
	ask(m.vcpu, KVM_GET_SREGS, &s);
	s.cs.base = s.cs.selector = 0;
	ask(m.vcpu, KVM_SET_SREGS, &s);
	ask(m.vcpu, KVM_SET_REGS, &regs);
	memcpy(m.ram + 0x1000, nops, sizeof(nops));
	return m;
}

/* The real-mode handler: out port, al; iret. */
static void handler(struct machine *m, unsigned vector, uint8_t port)
{
	uint16_t at = (uint16_t)(0x2000 + 16 * vector);
	const uint8_t code[] = { 0xe6, port, 0xcf };

	memcpy(m->ram + at, code, sizeof(code));
	memcpy(m->ram + 4 * vector, &at, 2);
}

/* ---- NMI and SMI ----------------------------------------------------------------------------------------- */

static void nmi(bool irqchip)
{
	struct machine m = open_code(irqchip);

	number();
	printf("nmi: irqchip %u\n", irqchip);
	handler(&m, 2, 0x42);
	for (unsigned i = 0; i < 3; i++)
		tell_answer("nmi", ask(m.vcpu, KVM_NMI, NULL));
	tell_events(&m, "nmi-pending");
	tell_run(&m, "nmi-handler");
	tell_events(&m, "nmi-inside");
	tell_answer("nmi-again", ask(m.vcpu, KVM_NMI, NULL));
	tell_events(&m, "nmi-again-pending");
	tell_run(&m, "nmi-handler-again");
	tell_events(&m, "nmi-inside-again");
	tell_run(&m, "nmi-more");
	tell_run(&m, "nmi-more");
	tell_run(&m, "nmi-more");
	tell_events(&m, "nmi-over");
	machine_close(&m);
}

static void set_cpuid(struct machine *m)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 100 * sizeof(c->entries[0]));

	c->nent = 100;
	ask(m->kvm, KVM_GET_SUPPORTED_CPUID, c);
	ask(m->vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static void smi(bool smram)
{
	static const uint8_t code[] = { 0xe6, 0x70, 0xe6, 0x71, 0x0f, 0xaa }; /* out 0x70; out 0x71; rsm */
	struct machine m = open_code(true);
	struct kvm_userspace_memory_region region = { 1 << 16, 0, 0, RAM, (uintptr_t)m.ram };
	struct kvm_vcpu_events e;
	uint32_t revision;

	number();
	printf("smi: smram %u\n", smram);
	set_cpuid(&m);
	memcpy(m.ram + 0x38000, code, sizeof(code));
	if (smram)
		tell_answer("smram", ask(m.vm, KVM_SET_USER_MEMORY_REGION, &region));
	tell_answer("smi", ask(m.vcpu, KVM_SMI, NULL));
	tell_answer("smi", ask(m.vcpu, KVM_SMI, NULL));
	tell_events(&m, "smi-pending");
	tell_run(&m, "smi-handler");
	tell_events(&m, "smi-inside");
	memcpy(&revision, m.ram + 0x3fefc, 4);
	number();
	printf("smi-revision: %x\n", revision);
	tell_answer("smi-again", ask(m.vcpu, KVM_SMI, NULL));
	tell_answer("smi-nmi", ask(m.vcpu, KVM_NMI, NULL));
	tell_events(&m, "smi-again-pending");
	tell_run(&m, "smi-more");
	if (!smram) { /* SHUTDOWN, and what is left then is the vendor's */
		machine_close(&m);
		return;
	}
	handler(&m, 2, 0x42);
	for (unsigned i = 0; i < 5; i++)
		tell_run(&m, "smi-rest");
	tell_events(&m, "smi-over");
	ask(m.vcpu, KVM_GET_VCPU_EVENTS, &e);
	e.flags = KVM_VCPUEVENT_VALID_SMM;
	e.smi.smm = 1;
	e.smi.smm_inside_nmi = 1;
	e.smi.latched_init = 1;
	tell_answer("smi-set", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	tell_events(&m, "smi-was-set");
	machine_close(&m);
}

/* ---- machine checks -------------------------------------------------------------------------------------- */

static void tell_msr(struct machine *m, const char *name, uint32_t index)
{
	uint64_t value;
	long r = machine_get_msr(m, index, &value);

	number();
	printf("%s: %x %ld %llx\n", name, index, r, (unsigned long long)value);
}

static void tell_banks(struct machine *m, const char *name)
{
	static const uint32_t list[] = { 0x179, 0x17a, 0x17b, 0x400, 0x401, 0x402, 0x403, 0x404, 0x405, 0x428, 0x429 };

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		tell_msr(m, name, list[i]);
}

static void mce_setup(void)
{
	static const uint64_t caps[] = { 0, 1, 10, 32, 33, 255, 0x10a, 0x100000a, 0x40a, 0x800000a, 0x1000000000a };
	struct machine m = machine_open(true, true);

	tell_banks(&m, "mce-before");
	for (unsigned i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		uint64_t cap = caps[i];

		number();
		printf("mce-setup-%llx: %s\n", (unsigned long long)cap, answer(ask(m.vcpu, KVM_X86_SETUP_MCE, &cap)));
		tell_msr(&m, "mce-cap", 0x179);
	}
	machine_close(&m);
}

#define VALID (1ull << 63)
#define OVER (1ull << 62)
#define UC (1ull << 61)
#define EN (1ull << 60)

static void mce_one(const char *name, uint64_t status, uint8_t bank, bool cr4, uint64_t control, unsigned times)
{
	struct machine m = open_code(true);
	struct kvm_x86_mce mce = { .status = status, .addr = 0x1234, .misc = 0x5678, .mcg_status = 5, .bank = bank };
	uint64_t cap = 10 | 1 << 8;
	struct kvm_sregs s;

	number();
	printf("mce-%s: setup %s", name, answer(ask(m.vcpu, KVM_X86_SETUP_MCE, &cap)));
	handler(&m, 18, 0x58);
	ask(m.vcpu, KVM_GET_SREGS, &s);
	s.cr4 = cr4 ? 0x40 : 0;
	ask(m.vcpu, KVM_SET_SREGS, &s);
	printf(" ctl %ld", machine_set_msr(&m, 0x17b, control));
	printf(" bank %ld", machine_set_msr(&m, 0x400, ~0ull));
	for (unsigned i = 0; i < times; i++)
		printf(" %s", answer(ask(m.vcpu, KVM_X86_SET_MCE, &mce)));
	printf("\n");
	tell_events(&m, "mce-events");
	tell_run(&m, "mce-run");
	tell_banks(&m, "mce-after");
	machine_close(&m);
}

static void mce(void)
{
	mce_setup();
	mce_one("corrected", VALID | EN, 0, true, ~0ull, 1);
	mce_one("corrected-over", VALID | EN, 0, true, ~0ull, 2);
	mce_one("uncorrected", VALID | EN | UC, 0, true, ~0ull, 1);
	mce_one("uncorrected-twice", VALID | EN | UC, 0, true, ~0ull, 2);
	mce_one("uncorrected-bank1", VALID | EN | UC, 1, true, ~0ull, 1);
	mce_one("uncorrected-no-cr4", VALID | EN | UC, 0, false, ~0ull, 1);
	mce_one("uncorrected-no-ctl", VALID | EN | UC, 0, true, 0, 1);
	mce_one("invalid", EN | UC, 0, true, ~0ull, 1);
	mce_one("bank-10", VALID | EN, 10, true, ~0ull, 1);
	mce_one("over-given", VALID | EN | OVER, 0, true, ~0ull, 1);
}

/* ---- states and events ----------------------------------------------------------------------------------- */

static void mp_states(bool irqchip)
{
	for (uint32_t state = 0; state < 11; state++) {
		struct machine m = machine_open(irqchip, true);
		struct kvm_mp_state mp = { state };
		long r = ask(m.vcpu, KVM_SET_MP_STATE, &mp);

		ask(m.vcpu, KVM_GET_MP_STATE, &mp);
		number();
		printf("mp-%u-%u: %s %u\n", irqchip, state, answer(r), mp.mp_state);
		machine_close(&m);
	}
}

static void set_events(void)
{
	static const struct {
		const char *name;
		struct kvm_vcpu_events e;
	} cases[] = {
		{ "pending-only", { .exception = { .pending = 1, .nr = 13 } } },
		{ "injected", { .exception = { .injected = 1, .nr = 13, .has_error_code = 1, .error_code = 0x18 } } },
		{ "both", { .exception = { .injected = 1, .pending = 1, .nr = 13 } } },
		{ "payload-without-cap", { .flags = KVM_VCPUEVENT_VALID_PAYLOAD, .exception_has_payload = 1 } },
		{ "triple-without-cap", { .flags = KVM_VCPUEVENT_VALID_TRIPLE_FAULT, .triple_fault = { 1 } } },
		{ "nmi-pending", { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING, .nmi = { .pending = 1 } } },
		{ "nmi-pending-7", { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING, .nmi = { .pending = 7, .masked = 1 } } },
		{ "nmi-not-valid", { .nmi = { .pending = 1, .masked = 1 } } },
		{ "nmi-injected", { .nmi = { .injected = 1, .masked = 1 } } },
		{ "interrupt", { .interrupt = { .injected = 1, .nr = 0x30 } } },
		{ "interrupt-soft", { .interrupt = { .injected = 1, .nr = 0x30, .soft = 1 } } },
		{ "shadow", { .flags = KVM_VCPUEVENT_VALID_SHADOW, .interrupt = { .shadow = 1 } } },
		{ "shadow-2", { .flags = KVM_VCPUEVENT_VALID_SHADOW, .interrupt = { .shadow = 2 } } },
		{ "shadow-255", { .flags = KVM_VCPUEVENT_VALID_SHADOW, .interrupt = { .shadow = 255 } } },
		{ "shadow-not-valid", { .interrupt = { .shadow = 1 } } },
		{ "sipi", { .flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR, .sipi_vector = 0x1234 } },
		{ "smi-pending", { .flags = KVM_VCPUEVENT_VALID_SMM, .smi = { .pending = 1 } } },
		{ "smm", { .flags = KVM_VCPUEVENT_VALID_SMM, .smi = { .smm = 1 } } },
		{ "exception-255", { .exception = { .injected = 1, .nr = 255 } } },
		{ "flags-40", { .flags = 0x40 } },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine m = machine_open(true, true);
		struct kvm_vcpu_events e = cases[i].e;
		struct kvm_mp_state mp;
		long r = ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e);

		ask(m.vcpu, KVM_GET_MP_STATE, &mp);
		number();
		printf("events-%s: %s mp %u\n", cases[i].name, answer(r), mp.mp_state);
		tell_events(&m, "events-then");
		machine_close(&m);
	}
}

static void delivered(void)
{
	struct machine m = open_code(true);
	struct kvm_vcpu_events e = { .interrupt = { .injected = 1, .nr = 0x30 } };
	struct kvm_regs regs;

	handler(&m, 0x30, 0x30);
	handler(&m, 6, 0x06);
	tell_answer("interrupt-set", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	tell_run(&m, "interrupt-run");
	ask(m.vcpu, KVM_GET_REGS, &regs);
	number();
	printf("interrupt-rsp: %llx flags %llx\n", (unsigned long long)regs.rsp, (unsigned long long)regs.rflags);
	e = (struct kvm_vcpu_events){ .exception = { .injected = 1, .nr = 6 } };
	tell_answer("exception-set", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	tell_run(&m, "exception-run");
	machine_close(&m);
}

/* ---- questions ------------------------------------------------------------------------------------------- */

static void translate(void)
{
	static const uint64_t at[] = { 0, 0x1234, 0x200000, 0x400123, 0x600000, 0x800000, ~0ull, 1ull << 47, 1ull << 30 };
	struct machine m = machine_open(false, true);
	struct kvm_sregs s;

	machine_ram(&m);
	((uint64_t *)(m.ram + 0x1000))[0] = 0x2007;
	((uint64_t *)(m.ram + 0x2000))[0] = 0x3007;
	((uint64_t *)(m.ram + 0x3000))[0] = 0x83;
	((uint64_t *)(m.ram + 0x3000))[1] = 0x4003;
	((uint64_t *)(m.ram + 0x3000))[2] = 0x4005;
	((uint64_t *)(m.ram + 0x3000))[4] = 0x1000000000083;
	((uint64_t *)(m.ram + 0x4000))[0] = 0x7001;
	for (unsigned paging = 0; paging < 2; paging++) {
		ask(m.vcpu, KVM_GET_SREGS, &s);
		if (paging) {
			s.cr0 = 0x80000011;
			s.cr3 = 0x1000;
			s.cr4 = 0x20;
			s.efer = 0x500;
			s.cs.l = 1;
		}
		ask(m.vcpu, KVM_SET_SREGS, &s);
		for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			struct kvm_translation t = { .linear_address = at[i] };
			long r = ask(m.vcpu, KVM_TRANSLATE, &t);

			number();
			printf("translate-%u-%llx: %s %llx %u %u %u\n", paging, (unsigned long long)at[i], answer(r),
			       (unsigned long long)t.physical_address, t.valid, t.writeable, t.usermode);
		}
	}
	machine_close(&m);
}

static void lists(void)
{
	struct machine m = machine_open(true, true);
	static struct {
		uint32_t n, pad;
		uint8_t space[300 * sizeof(struct kvm_cpuid_entry2)];
	} s;
	static const uint32_t counts[] = { 0, 1, 255, 256, 257, ~0u };

	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		s.n = counts[i];
		number();
		printf("counts-%x: msrs %s", counts[i], answer(ask(m.kvm, KVM_GET_MSR_INDEX_LIST, &s)));
		s.n = counts[i];
		printf(" features %s", answer(ask(m.kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, &s)));
		s.n = counts[i];
		printf(" supported %s", answer(ask(m.kvm, KVM_GET_SUPPORTED_CPUID, &s)));
		s.n = counts[i];
		printf(" emulated %s", answer(ask(m.kvm, KVM_GET_EMULATED_CPUID, &s)));
		s.n = counts[i];
		memset(s.space, 0, sizeof(s.space));
		printf(" set2 %s", answer(ask(m.vcpu, KVM_SET_CPUID2, &s)));
		s.n = counts[i];
		printf(" set %s", answer(ask(m.vcpu, KVM_SET_CPUID, &s)));
		s.n = counts[i];
		printf(" get2 %s", answer(ask(m.vcpu, KVM_GET_CPUID2, &s)));
		printf(" %x\n", s.n);
	}
	machine_close(&m);
}

static void filters(void)
{
	static uint8_t bits[0x700];
	static const struct kvm_msr_filter_range ranges[] = {
		{ KVM_MSR_FILTER_READ, 1, 0x10, bits }, { KVM_MSR_FILTER_READ, 0, 0x10, bits },
		{ 0, 1, 0x10, bits }, { 4, 1, 0x10, bits },
		{ KVM_MSR_FILTER_WRITE, 0x600 * 8, 0, bits }, { KVM_MSR_FILTER_WRITE, 0x600 * 8 + 1, 0, bits },
		{ KVM_MSR_FILTER_WRITE, 0x700 * 8, 0, bits }, { KVM_MSR_FILTER_READ, 1, 0x10, NULL }, { 3, 0x10, 0xfffffff8, bits },
		{ KVM_MSR_FILTER_READ, 0x20, 0x7f0, bits },
	};

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct machine m = machine_open(true, true);
		struct kvm_msr_filter f = { .ranges = { ranges[i] } };

		number();
		printf("filter-%u: %s", i, answer(ask(m.vm, KVM_X86_SET_MSR_FILTER, &f)));
		f.flags = KVM_MSR_FILTER_DEFAULT_DENY;
		printf(" deny %s", answer(ask(m.vm, KVM_X86_SET_MSR_FILTER, &f)));
		f.flags = 2;
		printf(" flags %s\n", answer(ask(m.vm, KVM_X86_SET_MSR_FILTER, &f)));
		machine_close(&m);
	}
}

static void clocks(void)
{
	struct machine m = machine_open(true, true);

	for (uint32_t flags = 0; flags < 32; flags++) {
		struct kvm_clock_data c = { .clock = 5000000000, .flags = flags };

		number();
		printf("clock-%x: %s\n", flags, answer(ask(m.vm, KVM_SET_CLOCK, &c)));
	}
	tell_answer("clock-ctrl", ask(m.vcpu, KVM_KVMCLOCK_CTRL, NULL));
	machine_close(&m);
}

static void debug(void)
{
	static const uint32_t controls[] = { 0,	      1,       2,	3,	  0x10001,  0x20001,
					     0x30003, 0x40001, 0x80001, 0x100001, 0x200001, ~0u };

	for (unsigned i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
		struct machine m = open_code(true);
		struct kvm_guest_debug d = { .control = controls[i] };
		struct kvm_vcpu_events e;

		number();
		printf("debug-%x: %s", controls[i], answer(ask(m.vcpu, KVM_SET_GUEST_DEBUG, &d)));
		ask(m.vcpu, KVM_GET_VCPU_EVENTS, &e);
		printf(" exception %u%u %u", e.exception.injected, e.exception.pending, e.exception.nr);
		printf(" again %s\n", answer(ask(m.vcpu, KVM_SET_GUEST_DEBUG, &d)));
		machine_close(&m);
	}
}

/* ---- the TPR's reports ----------------------------------------------------------------------------------- */

static void tpr(void)
{
	static const uint8_t code[] = { 0xc7, 0x05, 0x80, 0, 0xe0, 0xfe, 0x50, 0, 0, 0, /* movl $0x50, 0xfee00080 */
					0xa1, 0x80, 0, 0xe0, 0xfe, 0xe6, 0x10 };	/* mov 0xfee00080, %eax; out 0x10 */
	static const uint64_t addresses[] = { 0, 0x5000, 0x5001, 0x5ffe, 0x10000000, ~0ull };
	struct machine m = machine_open(true, true);
	struct kvm_tpr_access_ctl ctl = { .enabled = 1 };
	struct kvm_regs regs = { .rflags = 2, .rsp = 0x8000 };

	machine_ram(&m);
	for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct kvm_vapic_addr a = { addresses[i] };

		number();
		printf("vapic-%llx: %s\n", (unsigned long long)addresses[i], answer(ask(m.vcpu, KVM_SET_VAPIC_ADDR, &a)));
	}
	machine_code32(&m, m.vcpu, code, sizeof(code), &regs);
	tell_answer("tpr", ask(m.vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	for (unsigned i = 0; i < 3; i++) {
		tell_run(&m, "tpr-run");
		number();
		if (m.run->exit_reason == KVM_EXIT_TPR_ACCESS)
			printf("tpr-access: %llx %u\n", (unsigned long long)m.run->tpr_access.rip, m.run->tpr_access.is_write);
		else
			printf("tpr-access: none\n");
	}
	ctl = (struct kvm_tpr_access_ctl){ .enabled = 0, .flags = 1 };
	tell_answer("tpr-flags", ask(m.vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	ctl = (struct kvm_tpr_access_ctl){ .reserved = { 1 } };
	tell_answer("tpr-reserved", ask(m.vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	machine_close(&m);
	for (unsigned i = 0; i < 2; i++) {
		struct kvm_vapic_addr a = { 0x5000 };
		uint32_t word = 0x50;

		m = open_code(true);
		memcpy(m.ram + 0x5000, &word, 4);
		tell_answer("vapic-set", ask(m.vcpu, KVM_SET_VAPIC_ADDR, &a));
		if (i)
			tell_answer("tpr", ask(m.vcpu, KVM_TPR_ACCESS_REPORTING, &(struct kvm_tpr_access_ctl){ .enabled = 1 }));
		tell_run(&m, "vapic-run");
		memcpy(&word, m.ram + 0x5000, 4);
		number();
		printf("vapic-word: %x cr8 %llx\n", word, (unsigned long long)m.run->cr8);
		machine_close(&m);
	}
}

void test_inject(void)
{
	nmi(false);
	nmi(true);
	smi(false);
	smi(true);
	mce();
	mp_states(false);
	mp_states(true);
	set_events();
	delivered();
	translate();
	lists();
	filters();
	clocks();
	debug();
	tpr();
}
