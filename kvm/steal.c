/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Steal time: how long the vCPU's thread was ready to run and did not (document: x86/msr.rst, MSR_KVM_STEAL_TIME), and in
 * the same structure whether the vCPU is away, which is what PV TLB flush rests on.
 *
 * The host's figure costs some ten microseconds, so it is asked for every PERIOD_MS that the vCPU is awake, and whenever
 * KVM_RUN goes on after it was interrupted. When a thread loses its processor is not told to a process: `preempted` is set
 * while a vCPU that was interrupted is outside of KVM_RUN. Another vCPU may then ask for a flush of this one's TLB by setting
 * a bit beside it, instead of sending an IPI and waiting; it is done before the vCPU executes anything.
 */
#include "kvm/pv.h"

#define PERIOD_MS 20

static u64 steal_gpa(const struct vcpu *vcpu)
{
	return vcpu->pv->steal_time & KVM_STEAL_VALID_BITS;
}

/* Takes the flags of `preempted`, as in one XCHG; what cannot be reached holds none. */
static u8 take_preempted(struct vcpu *vcpu)
{
	u64 gpa = steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted);
	u8 flags;

	do {
		if (vm_read_guest(vcpu->vm, 0, gpa, &flags, 1))
			return 0;
	} while (flags && vcpu_cmpxchg_guest(vcpu, 0, gpa, flags, 0, 1) > 0);
	return flags;
}

static void come_back(struct vcpu *vcpu)
{
	u8 flags = take_preempted(vcpu);

	vcpu->pv->preempted = false;
	if ((flags & KVM_VCPU_FLUSH_TLB) && vcpu_pv_has(vcpu, KVM_FEATURE_PV_TLB_FLUSH))
		vcpu->cpu.mem->flush_all(&vcpu->cpu, false);
}

static u64 stolen_since(struct vcpu *vcpu)
{
	u64 now = host_run_delay_ns(), last = vcpu->pv->last_run_delay;

	vcpu->pv->last_run_delay = now;
	return now > last ? now - last : 0; /* less: it is another thread's */
}

/* The version is odd while the rest changes. */
static void add_stolen(struct vcpu *vcpu, u64 ns)
{
	u64 gpa = steal_gpa(vcpu), version_at = gpa + offsetof(struct kvm_steal_time, version), steal;
	u32 version;

	if (vm_read_guest(vcpu->vm, 0, version_at, &version, sizeof(version)) ||
	    vm_read_guest(vcpu->vm, 0, gpa, &steal, sizeof(steal)))
		return;
	version = (version + 1) | 1;
	vcpu_write_guest(vcpu, 0, version_at, &version, sizeof(version));
	atomic_fence();
	steal += ns;
	vcpu_write_guest(vcpu, 0, gpa, &steal, sizeof(steal));
	atomic_fence();
	version++;
	vcpu_write_guest(vcpu, 0, version_at, &version, sizeof(version));
}

void vcpu_steal_update(struct vcpu *vcpu)
{
	struct vcpu_pv *pv = vcpu->pv;
	u64 now = host_tsc();

	if (pv->preempted)
		come_back(vcpu);
	else if (now - pv->last_steal_tsc < (u64)host_tsc_khz() * PERIOD_MS)
		return;
	pv->last_steal_tsc = now;
	add_stolen(vcpu, stolen_since(vcpu));
}

void vcpu_steal_slept(struct vcpu *vcpu, u64 tsc)
{
	vcpu->pv->last_steal_tsc += tsc;
}

void vcpu_steal_preempted(struct vcpu *vcpu)
{
	u8 flag = KVM_VCPU_PREEMPTED;

	if (vcpu->pv->preempted)
		return;
	if (!vcpu_write_guest(vcpu, 0, steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted), &flag, 1))
		vcpu->pv->preempted = true;
}

bool vcpu_set_steal_time(struct vcpu *vcpu, u64 value)
{
	if (value & KVM_STEAL_RESERVED_MASK)
		return false;
	vcpu->pv->steal_time = value;
	vcpu->pv->preempted = value & KVM_MSR_ENABLED; /* the structure is written at the next entry */
	return true;
}
