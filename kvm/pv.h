/* SPDX-License-Identifier: GPL-2.0-only */
/* The paravirtual state of a vCPU (kvm/clock.c, pv.c, vcpu_irq.c). All v. */
#ifndef ANYKVM_KVM_PV_H
#define ANYKVM_KVM_PV_H

#include <linux/kvm_para.h>
#include "kvm/vm.h"

struct vcpu_pv {
	bool enforce;		/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */
	u64 system_time;	/* MSR_KVM_SYSTEM_TIME(_NEW): gpa | 1 */
	bool guest_stopped;	/* KVM_KVMCLOCK_CTRL, not yet told to the guest */
	u64 poll_control;
	u64 pv_eoi;		/* MSR_KVM_PV_EOI_EN: gpa | 1 */
	u64 steal_time;		/* MSR_KVM_STEAL_TIME: gpa | 1 */
	u64 last_run_delay;	/* the thread's, when steal time was last written */
	u64 last_steal_tsc;	/* when that was, moved on by what was slept since */
	bool preempted;		/* the guest is told that the vCPU is away */
	u32 tsc_generation;	/* of vm->clock when this TSC was set */
};

/* Whether the guest may use a KVM_FEATURE_*: all, unless enforcement was asked for. */
bool vcpu_pv_has(struct vcpu *vcpu, unsigned feature);
/* MSRs beside the clock's; as vcpu_clock_rdmsr and _wrmsr. */
enum x86_result vcpu_pv_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled);
enum x86_result vcpu_pv_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool *handled);
/* steal.c; the MSR has KVM_MSR_ENABLED. Before the guest is entered: */
void vcpu_steal_update(struct vcpu *vcpu);
/* The thread has slept; nothing is stolen meanwhile. */
void vcpu_steal_slept(struct vcpu *vcpu, u64 tsc);
/* KVM_RUN ends at an instruction boundary, because of a signal. */
void vcpu_steal_preempted(struct vcpu *vcpu);
bool vcpu_set_steal_time(struct vcpu *vcpu, u64 value); /* WRMSR; false: #GP */
static inline bool vcpu_steal_enabled(const struct vcpu *vcpu)
{
	return vcpu->pv->steal_time & KVM_MSR_ENABLED;
}
bool vcpu_set_pv_eoi(struct vcpu *vcpu, u64 value); /* MSR_KVM_PV_EOI_EN; false: #GP */
/* Does an EOI that the guest has made by clearing its PV EOI byte (vcpu_irq.c). */
void vcpu_irq_settle(struct vcpu *vcpu);

#endif
