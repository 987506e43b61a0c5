/* SPDX-License-Identifier: GPL-2.0-only */
/* I/O APIC of 24 pins (Intel 82093AA), version 0x11 without EOI register, as KVM's. */
#ifndef ANYKVM_X86_IOAPIC_H
#define ANYKVM_X86_IOAPIC_H

#include <linux/kvm.h>
#include "host/host.h"
#include "x86/lapic.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_MMIO_SIZE 0x100u
#define IOAPIC_RTC_PIN 8

struct ioapic;
struct ioapic_ops {
	/* Lock held. Returns the number of processors that took it; < 0: none was addressed. */
	int (*deliver)(struct ioapic *io, struct apic_message *m);
	/* Lock held. Whether a processor that the entry addresses has the vector requested or in service. */
	bool (*busy)(struct ioapic *io, u32 dest, bool logical, u8 vector);
	/* Lock held. Somebody waits for the pin's acknowledgement although it is edge-triggered. */
	bool (*has_notifier)(struct ioapic *io, unsigned pin);
	/* Lock held. */
	void (*masked)(struct ioapic *io, unsigned pin, bool masked);
	/* No lock held: may set the pin. */
	void (*acked)(struct ioapic *io, unsigned pin);
};

struct ioapic {
	struct host_mutex lock;		/* i: all but eoi_edges */
	const struct ioapic_ops *ops;
	u64 redir[IOAPIC_PINS];
	u64 base;
	u32 select, id, irr;
	u32 delivered;			/* edge requests that have reached a processor */
	u32 lines[IOAPIC_PINS];		/* asserting sources of each pin, a bit each */
	u32 storm[IOAPIC_PINS];		/* immediate re-deliveries at EOI in a row */
	struct host_timer storm_timer;
	u32 eoi_edges[8];		/* a: edge-triggered vectors whose EOI is wanted */
};

void ioapic_create(struct ioapic *io, const struct ioapic_ops *ops);
void ioapic_destroy(struct ioapic *io);
/*
 * line_status: the caller wants to know about coalescing (KVM_IRQ_LINE_STATUS). > 0 delivered, 0 coalesced,
 * < 0 ignored.
 */
int ioapic_set_pin(struct ioapic *io, unsigned pin, unsigned source, bool level, bool line_status);
void ioapic_mmio_read(struct ioapic *io, u32 offset, void *data, unsigned size);
void ioapic_mmio_write(struct ioapic *io, u32 offset, const void *data, unsigned size);
/*
 * A local APIC's EOI of vector; to be called if level, or ioapic_wants_eoi(). clear: the broadcast reaches
 * remote IRR.
 */
void ioapic_eoi(struct ioapic *io, u8 vector, bool level, bool clear);
static inline bool ioapic_wants_eoi(const struct ioapic *io, u8 vector)
{
	return atomic_read(&io->eoi_edges[vector / 32]) >> (vector % 32) & 1;
}
/* Notifiers or routes changed. */
void ioapic_rescan(struct ioapic *io);
void ioapic_get_state(struct ioapic *io, struct kvm_ioapic_state *s);
void ioapic_set_state(struct ioapic *io, const struct kvm_ioapic_state *s);

#endif
