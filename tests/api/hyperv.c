// SPDX-License-Identifier: GPL-2.0-only
/* Hyper-V's MSRs, by userspace and by the guest, and its hypercalls. */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/api.h"

#define HV_LEAVES 0x40000000u
#define CALL_PAGE 0x3000u
#define INPUT 0x4000u

static const struct {
	const char *name;
	uint32_t index;
	uint64_t value;
	int steady; /* reads as what was written, or as a constant */
} msrs[] = {
	{ "guest-os-id", 0x40000000, 0x8100ull << 48, 1 }, { "hypercall", 0x40000001, CALL_PAGE | 1, 1 },
	{ "hypercall-nowhere", 0x40000001, 0x40000001, 0 }, { "vp-index", 0x40000002, 5, 1 },
	{ "vp-index-large", 0x40000002, 1024, 1 }, { "reset", 0x40000003, 0, 1 }, { "runtime", 0x40000010, 1000, 0 },
	{ "time-ref-count", 0x40000020, 1, 0 }, { "reference-tsc", 0x40000021, 0x5000, 1 },
	{ "tsc-frequency", 0x40000022, 1, 0 }, { "apic-frequency", 0x40000023, 1, 1 }, { "eoi", 0x40000070, 0, 0 },
	{ "eoi-wide", 0x40000070, 1ull << 32, 0 }, { "icr", 0x40000071, 0x40 | 1ull << 56, 1 }, { "tpr", 0x40000072, 0x20, 1 },
	{ "assist", 0x40000073, 0x6001, 1 }, { "assist-nowhere", 0x40000073, 0x40000001, 0 },
	{ "assist-off", 0x40000073, 0x6000, 1 }, { "crash-p0", 0x40000100, 0x1234, 1 }, { "crash-p4", 0x40000104, 0x5678, 1 },
	{ "crash-p5", 0x40000106 + 0x100, 1, 0 }, { "crash-ctl", 0x40000105, 1, 1 }, { "reenlightenment", 0x40000106, 0x100ff, 1 },
	{ "tsc-emulation", 0x40000107, 1, 1 }, { "tsc-emulation-status", 0x40000108, 1, 1 },
	{ "tsc-emulation-status-0", 0x40000108, 0, 1 },
};

/* ---- the machine ----------------------------------------------------------------------------------- */

/* What the processor has, with Hyper-V's leaves instead of KVM's; only: features (leaf 3) are these. */
static void set_cpuid(struct machine *m, uint32_t eax, uint32_t edx, uint32_t recommended)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 120 * sizeof(c->entries[0]));
	unsigned n = 0;

	c->nent = 100;
	ask(m->kvm, KVM_GET_SUPPORTED_CPUID, c);
	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entries[i].function >> 8 != HV_LEAVES >> 8)
			c->entries[n++] = c->entries[i];
	}
	c->entries[n++] = (struct kvm_cpuid_entry2){ .function = HV_LEAVES, .eax = HV_LEAVES + 5 };
	c->entries[n++] = (struct kvm_cpuid_entry2){ .function = HV_LEAVES + 1, .eax = 0x31237648 };
	c->entries[n++] = (struct kvm_cpuid_entry2){ .function = HV_LEAVES + 3, .eax = eax, .edx = edx };
	c->entries[n++] = (struct kvm_cpuid_entry2){ .function = HV_LEAVES + 4, .eax = recommended, .ebx = 0xfff };
	c->nent = n;
	ask(m->vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static struct machine guest(uint32_t eax, uint32_t edx, uint32_t recommended, bool enforce)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .args = { enforce } };
	struct machine m = machine_open(true, true);

	machine_ram(&m);
	set_cpuid(&m, eax, edx, recommended);
	ask(m.vcpu, KVM_ENABLE_CAP, &cap);
	return m;
}

/* 32-bit code without paging: it ends with OUT to port 0x10, or in a triple fault. */
static long start32(struct machine *m, const uint8_t *code, size_t size, const struct kvm_regs *regs)
{
	machine_code32(m, m->vcpu, code, size, regs);
	return machine_run(m);
}

/* ---- MSRs ------------------------------------------------------------------------------------------- */

static void by_userspace(void)
{
	struct machine m = guest(~0u, ~0u, ~0u, false);

	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		long set = machine_set_msr(&m, msrs[i].index, msrs[i].value), got;
		uint64_t seen;

		got = machine_get_msr(&m, msrs[i].index, &seen);
		printf("hyperv/host-%s: set=%ld get=%ld", msrs[i].name, set, got);
		if (msrs[i].steady)
			printf(" %llx", (unsigned long long)seen);
		printf("\n");
	}
	machine_close(&m);
}

static void by_guest(const char *who, uint32_t eax, uint32_t edx, bool enforce)
{
	static const uint8_t write[] = { 0x0f, 0x30, 0xe6, 0x10 }, read[] = { 0x0f, 0x32, 0xe6, 0x10 };

	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		struct machine m = guest(eax, edx, ~0u, enforce);
		struct kvm_regs regs = { .rflags = 2, .rcx = msrs[i].index, .rax = (uint32_t)msrs[i].value,
					 .rdx = msrs[i].value >> 32 };

		if (strncmp(msrs[i].name, "guest-os", 8))
			machine_set_msr(&m, 0x40000000, 1);
		printf("hyperv/%s-%s: write=%ld", who, msrs[i].name, start32(&m, write, sizeof(write), &regs));
		machine_close(&m);
		m = guest(eax, edx, ~0u, enforce);
		printf(" read=%ld\n", start32(&m, read, sizeof(read), &regs));
		machine_close(&m);
	}
}

static void crash(struct machine *m, uint32_t index, uint64_t value, const char *name)
{
	static const uint8_t code[] = { 0x0f, 0x30, 0x90, 0xf4 };
	struct kvm_regs regs = { .rflags = 2, .rcx = index, .rax = (uint32_t)value, .rdx = value >> 32 };

	printf("hyperv/%s: %ld", name, start32(m, code, sizeof(code), &regs));
	ask(m->vcpu, KVM_GET_REGS, &regs);
	printf(" type=%u rip=%llx\n", m->run->system_event.type, regs.rip);
}

static void system_events(void)
{
	struct machine m = guest(~0u, ~0u, ~0u, false);

	crash(&m, 0x40000105, 1ull << 63, "crash");
	crash(&m, 0x40000003, 1, "reset");
	machine_close(&m);
}

/* ---- hypercalls --------------------------------------------------------------------------------------- */

#define FAST (1ull << 16)
#define VARIABLE(n) ((uint64_t)(n) << 17)
#define REPEAT(n) ((uint64_t)(n) << 32)

static const struct {
	const char *name;
	uint64_t control, in, out, xmm[2], memory[5];
} calls[] = {
	{ .name = "unknown", .control = 0xbeef },
	{ .name = "reserved", .control = 8 | 1ull << 27 },
	{ .name = "reserved-63", .control = 8 | 1ull << 63 },
	{ .name = "spin-wait", .control = 8, .in = 1 },
	{ .name = "spin-wait-repeated", .control = 8 | REPEAT(1) },
	{ .name = "post-message", .control = 0x5c },
	{ .name = "signal-event", .control = 0x5d | FAST, .in = 1 },
	{ .name = "signal-event-known", .control = 0x5d | FAST, .in = 0x1234 },
	{ .name = "signal-event-flag", .control = 0x5d | FAST, .in = 1ull << 32 },
	{ .name = "signal-event-memory", .control = 0x5d, .in = INPUT, .memory = { 7 } },
	{ .name = "flush-space", .control = 2, .in = INPUT, .memory = { 0, 1, 0 } },
	{ .name = "flush-space-nowhere", .control = 2, .in = 0x40000000 },
	{ .name = "flush-space-one", .control = 2, .in = INPUT, .memory = { 0, 0, 1 } },
	{ .name = "flush-space-fast", .control = 2 | FAST, .in = 0, .out = 1 },
	{ .name = "flush-space-repeated", .control = 2 | REPEAT(2), .in = INPUT },
	{ .name = "flush-space-variable", .control = 2 | VARIABLE(1), .in = INPUT },
	{ .name = "flush-list", .control = 3 | REPEAT(5), .in = INPUT, .memory = { 0, 1, 0 } },
	{ .name = "flush-list-none", .control = 3, .in = INPUT, .memory = { 0, 1, 0 } },
	{ .name = "flush-list-late", .control = 3 | REPEAT(5) | 1ull << 48, .in = INPUT, .memory = { 0, 1, 0 } },
	{ .name = "flush-ex", .control = 0x13 | VARIABLE(1), .in = INPUT, .memory = { 0, 0, 0, 1, 1 } },
	{ .name = "flush-ex-count", .control = 0x13 | VARIABLE(2), .in = INPUT, .memory = { 0, 0, 0, 1, 1 } },
	{ .name = "flush-ex-all", .control = 0x13, .in = INPUT, .memory = { 0, 0, 1, 0 } },
	{ .name = "flush-ex-fast", .control = 0x13 | FAST, .xmm = { 1, 0 } },
	{ .name = "flush-ex-fast-bank", .control = 0x13 | FAST | VARIABLE(1), .xmm = { 0, 1 } },
	{ .name = "flush-list-ex", .control = 0x14 | VARIABLE(1) | REPEAT(3), .in = INPUT, .memory = { 0, 0, 0, 1, 1 } },
	{ .name = "ipi", .control = 0xb, .in = INPUT, .memory = { 0x40, 1 } },
	{ .name = "ipi-vector", .control = 0xb, .in = INPUT, .memory = { 0xf, 1 } },
	{ .name = "ipi-vector-256", .control = 0xb, .in = INPUT, .memory = { 0x100, 1 } },
	{ .name = "ipi-fast", .control = 0xb | FAST, .in = 0x41, .out = 1 },
	{ .name = "ipi-fast-reserved", .control = 0xb | FAST, .in = 0x41 | 1ull << 32, .out = 1 },
	{ .name = "ipi-ex", .control = 0x15 | VARIABLE(1), .in = INPUT, .memory = { 0x42, 0, 1, 1 } },
	{ .name = "ipi-ex-all", .control = 0x15, .in = INPUT, .memory = { 0x43, 1, 0 } },
	{ .name = "ipi-ex-none", .control = 0x15, .in = INPUT, .memory = { 5, 0, 0 } },
	{ .name = "ipi-ex-fast", .control = 0x15 | FAST | VARIABLE(1), .in = 0x44, .out = 0, .xmm = { 1, 1 } },
	{ .name = "ipi-ex-fast-other", .control = 0x15 | FAST | VARIABLE(1), .in = 0x44, .out = 0, .xmm = { 2, 1 } },
};

/* The guest's identity, then the page of code that makes hypercalls. */
static void offer_calls(struct machine *m)
{
	machine_set_msr(m, 0x40000000, 1);
	machine_set_msr(m, 0x40000001, CALL_PAGE | 1);
}

static void call(struct machine *m, const char *who, unsigned i)
{
	/* movups INPUT+0x100, %xmm0; call CALL_PAGE; out %al, $0x10 */
	static const uint8_t code[] = { 0x0f, 0x10, 0x05, 0x00, 0x41, 0, 0, 0xe8, 0xf4, 0x2f, 0, 0, 0xe6, 0x10 };
	struct kvm_regs regs = {
		.rflags = 2, .rsp = 0x8000, .rdx = calls[i].control >> 32, .rax = (uint32_t)calls[i].control,
		.rbx = calls[i].in >> 32, .rcx = (uint32_t)calls[i].in, .rdi = calls[i].out >> 32, .rsi = (uint32_t)calls[i].out,
	};
	struct kvm_lapic_state lapic;
	long r;

	memcpy(m->ram + INPUT, calls[i].memory, sizeof(calls[i].memory));
	memcpy(m->ram + INPUT + 0x100, calls[i].xmm, sizeof(calls[i].xmm));
	r = start32(m, code, sizeof(code), &regs);
	printf("hyperv/%s-%s: exit=%ld", who, calls[i].name, r);
	if (r == KVM_EXIT_HYPERV) {
		printf(" type=%u input=%llx %llx %llx", m->run->hyperv.type, m->run->hyperv.u.hcall.input,
		       m->run->hyperv.u.hcall.params[0], m->run->hyperv.u.hcall.params[1]);
		m->run->hyperv.u.hcall.result = 0x500000066;
		do
			r = ask(m->vcpu, KVM_RUN, NULL);
		while (r == -EINTR);
		r = m->run->exit_reason;
		printf(" exit=%ld", r);
	}
	if (r == KVM_EXIT_IO) {
		ask(m->vcpu, KVM_GET_REGS, &regs);
		ask(m->vcpu, KVM_GET_LAPIC, &lapic);
		printf(" %llx:%llx irr=%x", regs.rdx, regs.rax, *(uint32_t *)&lapic.regs[0x220]);
	}
	printf("\n");
}

static void hypercalls(const char *who, uint32_t edx, uint32_t recommended, bool enforce)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct machine m = guest(~0u, edx, recommended, enforce);

		offer_calls(&m);
		machine_set_msr(&m, 0x1b, 0xfee00900);
		machine_enable_lapic(&m);
		call(&m, who, i);
		machine_close(&m);
	}
}

/* ---- SynIC --------------------------------------------------------------------------------------------- */

#define MESSAGES 0x7000u

static struct machine synic_guest(bool active)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_SYNIC2 };
	struct machine m = guest(~0u, ~0u, ~0u, false);

	if (active)
		tell("hyperv/synic2", ask(m.vcpu, KVM_ENABLE_CAP, &cap));
	offer_calls(&m);
	machine_enable_lapic(&m);
	return m;
}

static void tell_irr(struct machine *m, const char *name)
{
	struct kvm_lapic_state lapic;

	ask(m->vcpu, KVM_GET_LAPIC, &lapic);
	printf("%s: irr=", name);
	for (unsigned i = 0; i < 8; i++)
		printf("%s%x", i ? "." : "", *(uint32_t *)&lapic.regs[0x200 + i * 16]);
	printf("\n");
}

/* WRMSR, then OUT. */
static long guest_writes(struct machine *m, uint32_t index, uint64_t value)
{
	static const uint8_t code[] = { 0x0f, 0x30, 0xe6, 0x10 };
	struct kvm_regs regs = { .rflags = 2, .rcx = index, .rax = (uint32_t)value, .rdx = value >> 32 };

	return start32(m, code, sizeof(code), &regs);
}

static void synic_write(struct machine *m, const char *name, uint32_t index, uint64_t value)
{
	long r = guest_writes(m, index, value);
	const struct kvm_hyperv_exit *e = (const void *)&m->run->hyperv;

	printf("hyperv/%s: exit=%ld", name, r);
	if (r == KVM_EXIT_HYPERV)
		printf(" type=%u msr=%x control=%llx events=%llx messages=%llx", e->type, e->u.synic.msr,
		       e->u.synic.control, e->u.synic.evt_page, e->u.synic.msg_page);
	printf("\n");
}

static void synic_msrs(bool active)
{
	struct machine m = synic_guest(active);

	synic_write(&m, "scontrol", 0x40000080, 1);
	synic_write(&m, "sversion", 0x40000081, 1);
	synic_write(&m, "siefp", 0x40000082, 0x6001);
	synic_write(&m, "simp", 0x40000083, MESSAGES | 1);
	synic_write(&m, "eom", 0x40000084, 0);
	synic_write(&m, "sint", 0x40000090, 0x40);
	synic_write(&m, "sint-low", 0x40000091, 5);
	synic_write(&m, "sint-low-masked", 0x40000091, 0x10005);
	synic_write(&m, "timer-config", 0x400000b0, 0);
	synic_write(&m, "timer-count", 0x400000b1, 0);
	machine_close(&m);
}

static void timers(void)
{
	struct machine m = synic_guest(true);
	uint64_t config;
	const uint32_t *slot = (void *)(m.ram + MESSAGES + 2 * 256);

	machine_set_msr(&m, 0x40000083, MESSAGES | 1);
	machine_set_msr(&m, 0x40000092, 0x60);
	printf("hyperv/direct: %ld", guest_writes(&m, 0x400000b0, 1 << 12 | 0x50 << 4 | 1 << 3)); /* auto enable */
	printf(" %ld\n", guest_writes(&m, 0x400000b1, 1));
	tell_irr(&m, "hyperv/direct-irr");
	machine_get_msr(&m, 0x400000b0, &config);
	printf("hyperv/direct-done: %llx\n", (unsigned long long)config);
	printf("hyperv/message: %ld", guest_writes(&m, 0x400000b3, 1));
	printf(" %ld\n", guest_writes(&m, 0x400000b2, 2 << 16 | 1));
	printf("hyperv/message-slot: %x %x index=%x\n", slot[0], slot[1], slot[4]);
	tell_irr(&m, "hyperv/message-irr");
	printf("hyperv/message-again: %ld", guest_writes(&m, 0x400000b2, 2 << 16 | 1)); /* the slot is taken */
	printf(" %x", slot[1]);
	m.ram[MESSAGES + 2 * 256] = m.ram[MESSAGES + 2 * 256 + 3] = 0;
	printf(" %ld %x\n", guest_writes(&m, 0x40000084, 0), slot[0]);
	machine_close(&m);
}

static void events(void)
{
	struct machine m = synic_guest(true);
	struct kvm_hyperv_eventfd event = { .conn_id = 0x1234, .fd = eventfd(0, EFD_NONBLOCK) };
	struct kvm_irq_routing *routing = calloc(1, sizeof(*routing) + sizeof(routing->entries[0]));
	struct kvm_irq_level line = { { 5 }, 1 };
	uint64_t count = 0;

	tell("hyperv/eventfd", ask(m.vm, KVM_HYPERV_EVENTFD, &event));
	tell("hyperv/eventfd-again", ask(m.vm, KVM_HYPERV_EVENTFD, &event));
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (!strcmp(calls[i].name, "post-message") || !strncmp(calls[i].name, "signal", 6))
			call(&m, "synic", i);
	}
	printf("hyperv/signalled: %d %d\n", (int)read(event.fd, &count, 8), (int)count);
	event.flags = KVM_HYPERV_EVENTFD_DEASSIGN;
	tell("hyperv/eventfd-off", ask(m.vm, KVM_HYPERV_EVENTFD, &event));
	tell("hyperv/eventfd-off-again", ask(m.vm, KVM_HYPERV_EVENTFD, &event));
	event.flags = 2;
	tell("hyperv/eventfd-flags", ask(m.vm, KVM_HYPERV_EVENTFD, &event));
	close(event.fd);

	machine_set_msr(&m, 0x40000093, 0x61);
	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry){ .gsi = 5, .type = KVM_IRQ_ROUTING_HV_SINT,
							      .u.hv_sint = { .vcpu = 0, .sint = 3 } };
	tell("hyperv/route", ask(m.vm, KVM_SET_GSI_ROUTING, routing));
	tell("hyperv/line", ask(m.vm, KVM_IRQ_LINE_STATUS, &line));
	printf("hyperv/line-status: %d\n", (int)line.status);
	tell_irr(&m, "hyperv/line-irr");
	free(routing);
	machine_close(&m);
}

void test_hyperv(void)
{
	by_userspace();
	by_guest("guest", ~0u, ~0u, false);
	by_guest("without", 0, 0, true);
	system_events();
	hypercalls("call", ~0u, ~0u, false);
	hypercalls("denied", 0, 0, true);
	hypercalls("no-ex", ~0u, ~(1u << 11), true);
	synic_msrs(false);
	synic_msrs(true);
	timers();
	events();
}
