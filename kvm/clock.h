/* SPDX-License-Identifier: GPL-2.0-only */
/* TSC, kvmclock and the other paravirtual per-vCPU areas (KVM document: x86/msr.rst, x86/cpuid.rst). */
#ifndef ANYKVM_KVM_CLOCK_H
#define ANYKVM_KVM_CLOCK_H

#include "kvm/vm.h"

int vm_clock_create(struct vm *vm);
void vm_clock_destroy(struct vm *vm);
extern const struct ioctl_row vm_clock_ioctls[];   /* GET/SET_CLOCK, VM SET/GET_TSC_KHZ */
extern const struct ioctl_row vcpu_clock_ioctls[]; /* SET/GET_TSC_KHZ, KVMCLOCK_CTRL */

int vcpu_clock_create(struct vcpu *vcpu);
void vcpu_clock_destroy(struct vcpu *vcpu);
u64 vcpu_read_tsc(struct vcpu *vcpu);
u64 vcpu_tsc_at(struct vcpu *vcpu, u64 host_tsc);
/* Host monotonic time at which the guest's TSC reaches value (for TSC deadline); ~0 if never. *now: of the call. */
u64 vcpu_tsc_to_deadline_ns(struct vcpu *vcpu, u64 guest_tsc, u64 *now);
void vcpu_write_tsc(struct vcpu *vcpu, u64 value, bool host); /* with KVM's synchronisation heuristic */
/* a * b / c, ~0 if that does not fit. */
u64 clock_mul_div(u64 a, u64 b, u64 c);
/* kvmclock now; and the time of day when it was 0. */
u64 vm_clock_ns(struct vm *vm);
u64 vm_clock_wall_ns(struct vm *vm);
/* kvmclock as a line over the vCPU's TSC; false while vCPUs' TSCs do not match. */
struct clock_line {
	u64 guest_tsc, ns; /* a point of it */
	u64 tsc_hz;
};
bool vcpu_clock_line(struct vcpu *vcpu, struct clock_line *line);
/* The page of kvmclock at gpa. The vCPU's thread, inside. */
void vcpu_clock_write_page(struct vcpu *vcpu, u64 gpa);
/* Serves VCPU_REQ_CLOCK. */
void vcpu_clock_update(struct vcpu *vcpu);
/* MSR_KVM_* and the old numbers 0x11, 0x12; TSC, TSC_ADJUST. */
enum x86_result vcpu_clock_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled);
enum x86_result vcpu_clock_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled);
/* KVM's CPUID leaves 0x40000000, 0x40000001: features that are whole. */
u32 kvm_pv_features(void);
/* MSRs for KVM_GET_MSR_INDEX_LIST; returns the count, fills at most max. */
unsigned kvm_pv_msr_list(u32 *out, unsigned max);
/* RESET or INIT of the vCPU: kvmclock and steal time are switched off. */
void vcpu_clock_reset(struct vcpu *vcpu);
/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID on the vCPU: features that its CPUID does not offer fault. */
void vcpu_pv_enforce(struct vcpu *vcpu, bool on);
/* KVM_HC_* hypercalls other than those that exit; -KVM_ENOSYS unknown. */
long vcpu_pv_hypercall(struct vcpu *vcpu, u64 nr, const u64 arg[4]);

#endif
