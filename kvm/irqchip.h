/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What kvm/irq.c, routing.c, eventfd.c and vcpu_irq.c share.
 *
 * Locks (all of class "i": taken after vm->lock, if that is held at all), in order:
 *	irqfd_lock	irqfd and resampler lists: held over KVM_IRQFD, never by a callback
 *	lock		replacement of routes
 *	pic.lock, ioapic.lock, pit.lock		inside the models, never two at once
 * srcu read sections may be entered under any of them; srcu_sync() is called under the first two alone.
 * Delivery to a LAPIC takes no lock.
 */
#ifndef ANYKVM_KVM_IRQCHIP_H
#define ANYKVM_KVM_IRQCHIP_H

#include "kvm/srcu.h"
#include "kvm/vm.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/pic.h"
#include "x86/pit.h"

#define IRQ_MAX_ROUTES 4096	/* KVM_CAP_IRQ_ROUTING; also the number of GSIs */
#define IRQ_SPLIT_MAX_PINS 4096 /* KVM_CAP_SPLIT_IRQCHIP's argument */
#define IRQ_CHIPS 3		/* KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC */

/* Who asserts a line: several may share it. */
enum irq_source { IRQ_SOURCE_USER, IRQ_SOURCE_RESAMPLE, IRQ_SOURCE_PIT };

struct irq_route {
	u32 gsi;
	u32 type;	/* KVM_IRQ_ROUTING_IRQCHIP, _MSI, _HV_SINT or _XEN_EVTCHN */
	u32 chip, pin;	/* pin: or Hyper-V's SINT, Xen's port */
	u32 vp;		/* its Hyper-V index, or its vCPU's id for Xen */
	u64 msi_address;
	u32 msi_data;
};

/* Immutable; sorted by gsi, the order of entries of one gsi being that of userspace. */
struct irq_routes {
	u32 count;
	s32 gsi_of[IRQ_CHIPS][IOAPIC_PINS]; /* -1: none */
	struct irq_route route[];
};

struct irqfd;
struct resampler;

struct irqchip {
	struct vm *vm;
	struct pic pic;
	struct ioapic ioapic;
	struct pit *pit;		/* r: by KVM_CREATE_PIT2, once */
	u32 eoi_pins;			/* c: split: pins of the userspace IOAPIC whose EOIs exit; 0 none */
	u32 xapic_count;		/* a: enabled LAPICs that are not in x2APIC mode */
	u32 lint0_nmi_count;		/* a: LAPICs that take the PIT's pulse as NMI */
	struct srcu srcu;
	struct host_mutex irqfd_lock, lock;
	struct irq_routes *routes;	/* srcu; replaced under lock */
	struct irqfd *irqfds;		/* irqfd_lock */
	struct resampler *resamplers;	/* srcu; changed under irqfd_lock */
	bool stopped;
};

/* The in-kernel LAPIC of a vCPU; vcpu->apic points at the first member. */
struct vcpu_lapic {
	struct lapic lapic;
	struct vcpu *vcpu;
	bool eoi_exit;		/* v: vectors whose EOI userspace must be told of: */
	u32 eoi_exits[8];	/* v */
	bool tpr_exit, tpr_write; /* v: KVM_EXIT_TPR_ACCESS is due */
	u64 tpr_rip;		/* v */
	u64 vapic_gpa;		/* v: KVM_SET_VAPIC_ADDR; 0 none */
	u8 vapic_tpr;		/* v: what was put there */
	bool pv_eoi_offered;	/* v: the guest may EOI by clearing its byte */
	u32 kicked;		/* a: a PV kick that no HLT has used up yet */
};

static inline struct vcpu_lapic *vcpu_lapic_of(struct lapic *l)
{
	return container_of(l, struct vcpu_lapic, lapic);
}

/* deliver.c */
/*
 * Sends a message to the LAPICs it names; source: the sender of an IPI. Number that took it, -1 if nobody
 * was named.
 */
int irq_deliver(struct vm *vm, struct lapic *source, const struct apic_message *m);
int irq_deliver_msi(struct vm *vm, u64 address, u32 data);
/* irq.c */
/*
 * Moves the line of a GSI through its routes: > 0 delivered, 0 coalesced, -1 ignored. Any thread, no lock
 * held.
 */
int irq_set_gsi(struct vm *vm, enum irq_source source, u32 gsi, bool level, bool line_status);
/* From any context: all that the GSI leads to, if that is nothing but messages. False: nothing is done. */
bool irq_try_msi(struct vm *vm, u32 gsi);
void vm_irq_stop(struct vm *vm);

/* routing.c */
int irq_routing_create(struct irqchip *ic);
void irq_routing_destroy(struct irqchip *ic);
int irq_routing_default(struct irqchip *ic);
/* Copies the routes of gsi, at most IRQ_CHIPS; returns how many. */
unsigned irq_routes_of_gsi(struct irqchip *ic, u32 gsi, struct irq_route out[IRQ_CHIPS]);
/* GSI that leads to the chip's pin, -1 if none. Inside a read section. */
s32 irq_gsi_of_pin(const struct irqchip *ic, u32 chip, u32 pin);
long vm_set_gsi_routing(void *object, unsigned long arg);
long vm_signal_msi(void *object, unsigned long arg);
bool irq_msi_valid(const struct vm *vm, u64 address);

/* eventfd.c */
void irqfd_stop_all(struct irqchip *ic);
long vm_irqfd(void *object, unsigned long arg);
/* The guest acknowledged gsi: resamplers lower it and tell their VMM. Inside a read section. */
void irqfd_acked(struct irqchip *ic, u32 gsi);
bool irqfd_has_resampler(struct irqchip *ic, u32 gsi);

#endif
