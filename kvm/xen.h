/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a Xen HVM guest expects of its hypervisor, as far as KVM has it (KVM document: KVM_CAP_XEN_HVM): hypercalls for
 * userspace, and served here those of event channels, timers and polling; shared info, vCPU info, run states.
 */
#ifndef ANYKVM_KVM_XEN_H
#define ANYKVM_KVM_XEN_H

#include "kvm/vm.h"

int vm_xen_create(struct vm *vm);
void vm_xen_destroy(struct vm *vm);
int vcpu_xen_create(struct vcpu *vcpu);
void vcpu_xen_destroy(struct vcpu *vcpu);

/* KVM_CAP_XEN_HVM's value. */
u32 xen_features(void);

/* Xen's hypercall MSR: the number that userspace gave, 0 none. Writing it fills in the guest's page; false: #GP. */
bool vcpu_xen_is_msr(const struct vcpu *vcpu, u32 index);
bool vcpu_xen_write_msr(struct vcpu *vcpu, u64 value);

/* VMCALL and VMMCALL are Xen's. */
bool vm_xen_has_hypercalls(const struct vm *vm);
enum x86_result vcpu_xen_hypercall(struct vcpu *vcpu);
/* SCHEDOP_poll waits as HLT does; what ends it (or a signal) calls this. */
void vcpu_xen_end_poll(struct vcpu *vcpu);

/* Serves VCPU_REQ_XEN: timers that have expired, events that could not be told. */
void vcpu_xen_serve(struct vcpu *vcpu);
/* The vCPU runs: so does its state in guest memory, now and then. The vCPU's thread, inside. */
void vcpu_xen_running(struct vcpu *vcpu, bool now);
/* kvmclock has changed. */
void vcpu_xen_clock_changed(struct vcpu *vcpu);
/* The guest has enabled its LAPIC: an upcall by the vCPU's own vector may be due. */
void vcpu_xen_lapic_enabled(struct vcpu *vcpu);

/* By KVM_IRQ_ROUTING_XEN_EVTCHN; as irq_set_gsi(). Any thread. */
int vm_xen_raise(struct vm *vm, u32 vcpu_id, u32 port);

/* KVM_XEN_HVM_CONFIG, KVM_XEN_HVM_{SET,GET}_ATTR, KVM_XEN_HVM_EVTCHN_SEND; KVM_XEN_VCPU_{SET,GET}_ATTR */
extern const struct ioctl_row vm_xen_ioctls[], vcpu_xen_ioctls[];

#endif
