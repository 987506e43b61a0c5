/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM's paravirtual interface beside the clock: feature bits, PV EOI and poll control MSRs, hypercalls.
 *
 * Left out, and therefore not announced: asynchronous page faults, and MIGRATION_CONTROL and MAP_GPA_RANGE,
 * which KVM itself leaves to userspace.
 */
#include "kvm/pv.h"
#include "kvm/clock.h"
#include "kvm/irqchip.h"

#define FEATURES                                                                                          \
	(BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) |   \
	 BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) | BIT(KVM_FEATURE_PV_SEND_IPI) |            \
	 BIT(KVM_FEATURE_POLL_CONTROL) | BIT(KVM_FEATURE_PV_SCHED_YIELD) |                                \
	 BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT))
#define STEAL_FEATURES (BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_PV_TLB_FLUSH))

#define ICR_DELIVERY 0x700u
#define ICR_LOGICAL 0x800u
#define ICR_ASSERT 0x4000u
#define ICR_LEVEL 0x8000u
#define ICR_SHORTHAND 0xc0000u
#define CPUID_FIRST 0x40000000u
#define CPUID_LAST 0x40010000u

u32 kvm_pv_features(void)
{
	return FEATURES | (host_has_run_delay() ? STEAL_FEATURES : 0);
}

/* ---- what the guest may use --------------------------------------------------------------------- */

static const struct kvm_cpuid_entry2 *find_leaf(const struct vcpu *vcpu, u32 leaf)
{
	for (u32 i = 0; i < vcpu->nr_cpuid; i++) {
		if (vcpu->cpuid[i].function == leaf)
			return &vcpu->cpuid[i];
	}
	return NULL;
}

/* KVM's leaves may stand behind another hypervisor's (Hyper-V), at a multiple of 0x100. */
static u32 guest_features(const struct vcpu *vcpu)
{
	static const char signature[12] = "KVMKVMKVM";

	for (u32 base = CPUID_FIRST; base < CPUID_LAST; base += 0x100) {
		const struct kvm_cpuid_entry2 *e = find_leaf(vcpu, base);
		u32 words[3];

		if (!e)
			continue;
		words[0] = e->ebx;
		words[1] = e->ecx;
		words[2] = e->edx;
		if (memcmp(words, signature, sizeof(words)))
			continue;
		e = find_leaf(vcpu, base | KVM_CPUID_FEATURES);
		return e ? e->eax : 0;
	}
	return 0;
}

bool vcpu_pv_has(struct vcpu *vcpu, unsigned feature)
{
	return !vcpu->pv->enforce || (guest_features(vcpu) >> feature & 1);
}

void vcpu_pv_enforce(struct vcpu *vcpu, bool on)
{
	vcpu->pv->enforce = on;
}

/* ---- MSRs --------------------------------------------------------------------------------------- */

static bool has_steal_time(struct vcpu *vcpu)
{
	return host_has_run_delay() && vcpu_pv_has(vcpu, KVM_FEATURE_STEAL_TIME);
}

enum x86_result vcpu_pv_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled)
{
	if (index == MSR_KVM_PV_EOI_EN) {
		*handled = vcpu_pv_has(vcpu, KVM_FEATURE_PV_EOI);
		*value = vcpu->pv->pv_eoi;
	} else if (index == MSR_KVM_POLL_CONTROL) {
		*handled = vcpu_pv_has(vcpu, KVM_FEATURE_POLL_CONTROL);
		*value = vcpu->pv->poll_control;
	} else if (index == MSR_KVM_STEAL_TIME) {
		*handled = has_steal_time(vcpu);
		*value = vcpu->pv->steal_time;
	} else {
		*handled = false;
	}
	return X86_OK;
}

bool vcpu_set_pv_eoi(struct vcpu *vcpu, u64 value)
{
	u64 gpa = value & ~(u64)KVM_MSR_ENABLED;
	u8 byte;

	if (gpa & 3)
		return false;
	if ((value & KVM_MSR_ENABLED) && vm_read_guest(vcpu->vm, 0, gpa, &byte, 1))
		return false;
	vcpu_irq_settle(vcpu);
	vcpu->pv->pv_eoi = value;
	return true;
}

enum x86_result vcpu_pv_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool *handled)
{
	bool ok = true;

	*handled = true;
	if (index == MSR_KVM_PV_EOI_EN && vcpu_pv_has(vcpu, KVM_FEATURE_PV_EOI)) {
		ok = vcpu_set_pv_eoi(vcpu, value);
	} else if (index == MSR_KVM_POLL_CONTROL && vcpu_pv_has(vcpu, KVM_FEATURE_POLL_CONTROL)) {
		ok = value <= 1; /* whether the host polls before it sleeps: it never does */
		if (ok)
			vcpu->pv->poll_control = value;
	} else if (index == MSR_KVM_STEAL_TIME && has_steal_time(vcpu)) {
		ok = vcpu_set_steal_time(vcpu, value);
	} else {
		*handled = false;
	}
	return ok ? X86_OK : x86_raise(&vcpu->cpu, X86_GP, 0);
}

/* ---- hypercalls (document: x86/hypercalls.rst) -------------------------------------------------- */

static long clock_pairing(struct vcpu *vcpu, u64 gpa, u64 type)
{
	struct kvm_clock_pairing pair = { 0 };
	u64 ns;

	if (type != KVM_CLOCK_PAIRING_WALLCLOCK)
		return -KVM_EOPNOTSUPP;
	ns = host_realtime_ns();
	pair.tsc = (s64)vcpu_read_tsc(vcpu);
	pair.sec = (s64)(ns / 1000000000u);
	pair.nsec = (s64)(ns % 1000000000u);
	return vcpu_write_guest(vcpu, 0, gpa, &pair, sizeof(pair)) ? -KVM_EFAULT : 0;
}

static long send_ipi_word(struct vm *vm, struct apic_message *m, u64 first, u64 bits)
{
	long n = 0;

	for (; bits; bits &= bits - 1) {
		u64 id = first + (u32)__builtin_ctzll(bits);
		struct vcpu *vcpu = id < VM_MAX_VCPU_ID ? vm_vcpu_by_id(vm, (u32)id) : NULL;

		if (vcpu && vcpu->apic && lapic_enabled_hw(vcpu->apic))
			n += lapic_accept(vcpu->apic, m);
	}
	return n;
}

static long send_ipi(struct vcpu *vcpu, const u64 arg[4])
{
	u32 icr = (u32)arg[3], min = (u32)arg[2], width = vcpu->cpu.code_bits == 64 ? 64 : 32;
	struct apic_message m = {
		.vector = (u8)icr,
		.delivery = (icr & ICR_DELIVERY) >> 8,
		.assert = icr & ICR_ASSERT,
		.level = icr & ICR_LEVEL,
	};

	if (icr & (ICR_LOGICAL | ICR_SHORTHAND))
		return -KVM_EINVAL;
	return send_ipi_word(vcpu->vm, &m, min, arg[0]) +
	       send_ipi_word(vcpu->vm, &m, (u64)min + width, arg[1]);
}

static void yield_to(struct vcpu *vcpu, u64 apic_id)
{
	struct vcpu *target = apic_id < VM_MAX_VCPU_ID ? vm_vcpu_by_id(vcpu->vm, (u32)apic_id) : NULL;

	if (target && target != vcpu)
		host_yield();
}

static long kick_cpu(struct vcpu *vcpu, u64 apic_id)
{
	struct apic_message m = { .dest = (u32)apic_id, .delivery = APIC_REMOTE_READ };

	irq_deliver(vcpu->vm, NULL, &m);
	yield_to(vcpu, apic_id);
	return 0;
}

long vcpu_pv_hypercall(struct vcpu *vcpu, u64 nr, const u64 arg[4])
{
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:
		return vcpu_pv_has(vcpu, KVM_FEATURE_PV_UNHALT) ? kick_cpu(vcpu, arg[1]) : -KVM_ENOSYS;
	case KVM_HC_CLOCK_PAIRING:
		return clock_pairing(vcpu, arg[0], arg[1]);
	case KVM_HC_SEND_IPI:
		return vcpu_pv_has(vcpu, KVM_FEATURE_PV_SEND_IPI) ? send_ipi(vcpu, arg) : -KVM_ENOSYS;
	case KVM_HC_SCHED_YIELD:
		if (!vcpu_pv_has(vcpu, KVM_FEATURE_PV_SCHED_YIELD))
			return -KVM_ENOSYS;
		yield_to(vcpu, arg[0]);
		return 0;
	default:
		return -KVM_ENOSYS;
	}
}
