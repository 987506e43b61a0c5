/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V's interface, as far as KVM has it without SynIC (Microsoft: Hypervisor Top Level Functional Specification).
 */
#ifndef ANYKVM_KVM_HYPERV_H
#define ANYKVM_KVM_HYPERV_H

#include "kvm/vm.h"

int vm_hyperv_create(struct vm *vm);
void vm_hyperv_destroy(struct vm *vm);
int vcpu_hyperv_create(struct vcpu *vcpu);
void vcpu_hyperv_destroy(struct vcpu *vcpu);

/* KVM_CAP_HYPERV_ENFORCE_CPUID. */
void vcpu_hyperv_enforce(struct vcpu *vcpu, bool on);
/* The vCPU has a new CPUID table. */
void vcpu_hyperv_cpuid_changed(struct vcpu *vcpu);
/* kvmclock has changed: the reference TSC page follows. The vCPU's thread, inside. */
void vcpu_hyperv_clock_changed(struct vcpu *vcpu);

enum x86_result vcpu_hyperv_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool host, bool *handled);
enum x86_result vcpu_hyperv_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled);
/* For KVM_GET_MSR_INDEX_LIST; returns the count, fills at most max. */
unsigned hyperv_msr_list(u32 *out, unsigned max);

/* Whether VMCALL and VMMCALL are Hyper-V's now, and one of them. */
bool vcpu_hyperv_has_hypercalls(struct vcpu *vcpu);
enum x86_result vcpu_hyperv_hypercall(struct vcpu *vcpu);

/* KVM_GET_SUPPORTED_HV_CPUID on the device. */
extern const struct ioctl_row device_hyperv_ioctls[];
/* And on a vCPU. */
extern const struct ioctl_row vcpu_hyperv_ioctls[];

#endif
