// SPDX-License-Identifier: GPL-2.0-only
/* GET, SET, GET again gives the same; values that SET refuses. */
#include "tests/api/api.h"
static uint8_t first[16384] __attribute__((aligned(64))), second[16384] __attribute__((aligned(64)));
static const char *chips;

static void round_trip(struct machine *m, const char *name, unsigned long get, unsigned long set, size_t size)
{
	long a = ask(m->vcpu, get, first), b = ask(m->vcpu, set, first), c = ask(m->vcpu, get, second);

	printf("state/%s%s: %s %s %s %s\n", name, chips, answer(a), answer(b), answer(c),
	       memcmp(first, second, size) ? "differs" : "same");
}

static void round_trips(bool irqchip)
{
	struct machine m = machine_open(irqchip, true);

	chips = irqchip ? "-irqchip" : "";
	round_trip(&m, "regs", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs));
	round_trip(&m, "sregs", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs));
	round_trip(&m, "sregs2", KVM_GET_SREGS2, KVM_SET_SREGS2, sizeof(struct kvm_sregs2));
	round_trip(&m, "fpu", KVM_GET_FPU, KVM_SET_FPU, sizeof(struct kvm_fpu));
	round_trip(&m, "xsave", KVM_GET_XSAVE, KVM_SET_XSAVE, 1024);
	round_trip(&m, "debugregs", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs));
	round_trip(&m, "events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events));
	round_trip(&m, "mp_state", KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state));
	round_trip(&m, "lapic", KVM_GET_LAPIC, KVM_SET_LAPIC, irqchip ? 0x100 : 0);
	machine_close(&m);
}

static void sregs(struct machine *m, const char *name, uint64_t cr0, uint64_t cr4, uint64_t efer,
		  uint64_t cr3, uint64_t cr8)
{
	struct kvm_sregs s;

	ask(m->vcpu, KVM_GET_SREGS, &s);
	s.cr0 = cr0;
	s.cr4 = cr4;
	s.efer = efer;
	s.cr3 = cr3;
	s.cr8 = cr8;
	printf("state/sregs-%s: %s\n", name, answer(ask(m->vcpu, KVM_SET_SREGS, &s)));
}

static void bad_values(void)
{
	struct machine m = machine_open(false, true);
	struct kvm_debugregs d = { .dr6 = 1ull << 32 };
	struct kvm_mp_state mp = { KVM_MP_STATE_HALTED };
	struct kvm_vcpu_events e = { .exception = { .injected = 1, .nr = 32 } };
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 0 } } };
	struct kvm_interrupt irq = { 256 };

	sregs(&m, "plain", 0x11, 0, 0, 0, 0);
	sregs(&m, "pg-without-pe", 0x80000010, 0, 0, 0, 0);
	sregs(&m, "nw-without-cd", 0x20000010, 0, 0, 0, 0);
	sregs(&m, "cr0-high", 1ull << 32, 0, 0, 0, 0);
	sregs(&m, "cr4-reserved", 0x11, 1ull << 31, 0, 0, 0);
	sregs(&m, "cr4-vmxe", 0x11, 1ull << 13, 0, 0, 0);
	sregs(&m, "lma-without-lme", 0x80000011, 0x20, 0x400, 0, 0);
	sregs(&m, "lme-without-pae", 0x80000011, 0, 0x100, 0, 0);
	sregs(&m, "lme-lma-pae", 0x80000011, 0x20, 0x500, 0, 0);
	sregs(&m, "lme-no-pg", 0x11, 0x20, 0x500, 0, 0);
	sregs(&m, "efer-reserved", 0x11, 0, 2, 0, 0);
	sregs(&m, "cr3-reserved", 0x80000011, 0x20, 0x500, 1ull << 60, 0);
	sregs(&m, "cr8-16", 0x11, 0, 0, 0, 16);
	tell("state/dr6-high", ask(m.vcpu, KVM_SET_DEBUGREGS, &d));
	d = (struct kvm_debugregs){ .dr7 = 1ull << 32 };
	tell("state/dr7-high", ask(m.vcpu, KVM_SET_DEBUGREGS, &d));
	d = (struct kvm_debugregs){ .flags = 1 };
	tell("state/debugregs-flags", ask(m.vcpu, KVM_SET_DEBUGREGS, &d));
	tell("state/mp-halted", ask(m.vcpu, KVM_SET_MP_STATE, &mp));
	tell("state/exception-32", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	e = (struct kvm_vcpu_events){ .flags = 1u << 30 };
	tell("state/events-flags", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	e = (struct kvm_vcpu_events){ .exception = { .injected = 1, .nr = 2 } };
	tell("state/exception-nmi", ask(m.vcpu, KVM_SET_VCPU_EVENTS, &e));
	tell("state/xcr0-zero", ask(m.vcpu, KVM_SET_XCRS, &x));
	x.nr_xcrs = 17;
	tell("state/xcrs-17", ask(m.vcpu, KVM_SET_XCRS, &x));
	tell("state/interrupt-256", ask(m.vcpu, KVM_INTERRUPT, &irq));
	irq.irq = 32;
	tell("state/interrupt", ask(m.vcpu, KVM_INTERRUPT, &irq));
	tell("state/interrupt-twice", ask(m.vcpu, KVM_INTERRUPT, &irq));
	machine_close(&m);
}

void test_state(void)
{
	round_trips(false);
	round_trips(true);
	bad_values();
}
