/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V's interface, as far as KVM has it without nesting (Microsoft: Hypervisor Top Level Functional Specification).
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

/* Reference time, in 100 ns. */
u64 vcpu_hyperv_time(struct vcpu *vcpu);

/* ---- SynIC (hyperv_synic.c) ---- */

void vcpu_hyperv_create_synic(struct vcpu *vcpu);
void vcpu_hyperv_stop_timers(struct vcpu *vcpu);
/* KVM_CAP_HYPERV_SYNIC and 2. */
int vcpu_hyperv_activate_synic(struct vcpu *vcpu, bool keep_pages);
/* MSRs; false: #GP */
bool vcpu_hyperv_write_synic(struct vcpu *vcpu, u32 index, u64 value, bool host);
bool vcpu_hyperv_read_synic(const struct vcpu *vcpu, u32 index, u64 *value, bool host);
bool vcpu_hyperv_write_timer(struct vcpu *vcpu, u32 index, u64 value, bool host);
u64 vcpu_hyperv_read_timer(const struct vcpu *vcpu, u32 index);
/* Serves VCPU_REQ_HV_TIMER. */
void vcpu_hyperv_serve_timers(struct vcpu *vcpu);
/* By KVM_IRQ_ROUTING_HV_SINT; as irq_set_gsi(). Any thread. */
int vm_hyperv_raise_sint(struct vm *vm, u32 vp, u32 sint);
/* Acknowledgements of the SINT are the GSI's. */
void vm_hyperv_route_sint(struct vm *vm, u32 vp, u32 sint, u32 gsi);
/* The guest has made an EOI for the vector. */
void vcpu_hyperv_eoi(struct vcpu *vcpu, u8 vector);
/* The vector needs no EOI. */
bool vcpu_hyperv_auto_eoi(const struct vcpu *vcpu, u8 vector);

/* Serves VCPU_REQ_HV_EXIT: fills in KVM_EXIT_HYPERV; and what userspace has answered. */
void vcpu_hyperv_exit(struct vcpu *vcpu);
void vcpu_hyperv_answered(struct vcpu *vcpu);

/* Whether VMCALL and VMMCALL are Hyper-V's now, and one of them. */
bool vcpu_hyperv_has_hypercalls(struct vcpu *vcpu);
enum x86_result vcpu_hyperv_hypercall(struct vcpu *vcpu);

/* KVM_GET_SUPPORTED_HV_CPUID, KVM_HYPERV_EVENTFD */
extern const struct ioctl_row device_hyperv_ioctls[], vcpu_hyperv_ioctls[], vm_hyperv_ioctls[];

#endif
