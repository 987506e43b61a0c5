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
/* The page of the coalesced ring, as of host_alloc_shared(). */
void *vm_bus_ring(struct vm *vm);

#endif
