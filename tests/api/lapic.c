// SPDX-License-Identifier: GPL-2.0-only
/* KVM_SET_LAPIC, KVM_GET_LAPIC and the APIC base: what is kept of what userspace puts there. */
#include "tests/api/api.h"
#include "tests/payload/processor.h"

#define PPR 0xa0 /* KVM brings it up to date when it next looks at it */
#define CURRENT 0x390 /* runs */

static const uint64_t bases[] = { 0xfee00000, 0xfee00400, 0xfee00800, 0xfee00900, 0xfee00c00, 0xfee00d00 };

static struct machine open_lapic(uint64_t base, const char *name)
{
	struct machine m = machine_open(true, true);
	struct kvm_sregs s;

	processor_set(m.kvm, m.vcpu, 1u << 21 | 1u << 24);
	ask(m.vcpu, KVM_GET_SREGS, &s);
	s.apic_base = base;
	printf("lapic/%s-%llx: %s", name, (unsigned long long)base, answer(ask(m.vcpu, KVM_SET_SREGS, &s)));
	ask(m.vcpu, KVM_GET_SREGS, &s);
	printf(" %llx", (unsigned long long)s.apic_base);
	return m;
}

static void tell_registers(struct machine *m)
{
	struct kvm_lapic_state s;

	printf(" %s", answer(ask(m->vcpu, KVM_GET_LAPIC, &s)));
	for (unsigned at = 0; at < sizeof(s.regs); at += 16) {
		uint32_t value;

		memcpy(&value, &s.regs[at], 4);
		if (value && at != PPR && at != CURRENT)
			printf(" %x:%x", at, value);
	}
	printf("\n");
}

static void all_registers(uint64_t base, const char *name, uint32_t value, uint32_t spurious)
{
	struct machine m = open_lapic(base, name);
	struct kvm_lapic_state s;

	ask(m.vcpu, KVM_GET_LAPIC, &s);
	for (unsigned at = 0x80; at < 0x400; at += 16) {
		if (at != 0x380 && at != CURRENT) /* no timer starts */
			memcpy(&s.regs[at], &value, 4);
	}
	memcpy(&s.regs[0xf0], &spurious, 4);
	printf(" set %s", answer(ask(m.vcpu, KVM_SET_LAPIC, &s)));
	tell_registers(&m);
	machine_close(&m);
}

/* The ID, by which KVM knows the vCPU in x2APIC mode. */
static void id(uint64_t base, uint32_t value)
{
	struct machine m = open_lapic(base, value == 0 ? "id-0" : value == 1 ? "id-1" : "id-1000000");
	struct kvm_lapic_state s;

	ask(m.vcpu, KVM_GET_LAPIC, &s);
	memcpy(&s.regs[0x20], &value, 4);
	printf(" set %s", answer(ask(m.vcpu, KVM_SET_LAPIC, &s)));
	tell_registers(&m);
	machine_close(&m);
}

void test_lapic(void)
{
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		struct machine m = open_lapic(bases[i], "initial");

		tell_registers(&m);
		machine_close(&m);
		all_registers(bases[i], "ones", ~0u, 0x1ff);
		all_registers(bases[i], "ones-disabled", ~0u, 0xff);
		all_registers(bases[i], "zeroes", 0, 0x1ff);
		all_registers(bases[i], "pattern", 0x5a5a5a5a, 0x1ff);
		id(bases[i], 0);
		id(bases[i], 1);
		id(bases[i], 1 << 24);
	}
}
