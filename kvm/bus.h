/* SPDX-License-Identifier: GPL-2.0-only */
/* ioeventfds and coalesced MMIO/PIO zones, and the dispatch of accesses to in-kernel devices (kvm/bus.c). */
#ifndef ANYKVM_KVM_BUS_H
#define ANYKVM_KVM_BUS_H

#include "kvm/vm.h"

int vm_bus_create(struct vm *vm);
void vm_bus_destroy(struct vm *vm);
long vm_ioeventfd(void *object, unsigned long arg);
long vm_register_coalesced(void *object, unsigned long arg);
long vm_unregister_coalesced(void *object, unsigned long arg);
/* The vCPU's mapping is about to go: the coalesced ring may lie in it. To be called before it is unmapped. */
void vcpu_bus_release(struct vcpu *vcpu);

#endif
