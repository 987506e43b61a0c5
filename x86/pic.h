/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pair of 8259A interrupt controllers of a PC, with the ELCR (Intel 8259A data sheet; 82371SB for the
 * ELCR).
 */
#ifndef ANYKVM_X86_PIC_H
#define ANYKVM_X86_PIC_H

#include <linux/kvm.h>
#include "host/host.h"

#define PIC_PINS 16

struct pic;
struct pic_ops {
	/* INTR to the processors went up. No lock held. */
	void (*raised)(struct pic *pic);
	/*
	 * The pin's interrupt was acknowledged (EOI, or automatically). No lock held: may raise the pin
	 * again.
	 */
	void (*acked)(struct pic *pic, unsigned pin);
	/* IMR changed for the pin. Lock held. */
	void (*masked)(struct pic *pic, unsigned pin, bool masked);
};

struct pic {
	struct host_mutex lock;		/* i: all but output */
	const struct pic_ops *ops;
	struct kvm_pic_state chip[2];	/* master, slave: KVM's own format */
	u32 lines[PIC_PINS];		/* asserting sources of each pin, a bit each */
	u32 acked;			/* pins whose acknowledgement is told when the lock is released */
	bool raised;
	u32 output;			/* a: INTR */
};

void pic_create(struct pic *pic, const struct pic_ops *ops);
/* > 0 delivered, 0 coalesced, < 0 masked: what KVM_IRQ_LINE_STATUS reports. */
int pic_set_pin(struct pic *pic, unsigned pin, unsigned source, bool level);
/* Interrupt acknowledge cycle: the vector (a spurious one if the request has gone). */
u8 pic_acknowledge(struct pic *pic);
/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. */
bool pic_has_port(u64 port);
u8 pic_read(struct pic *pic, u16 port);
void pic_write(struct pic *pic, u16 port, u8 value);
void pic_get_state(struct pic *pic, unsigned chip, struct kvm_pic_state *s);
void pic_set_state(struct pic *pic, unsigned chip, const struct kvm_pic_state *s);

static inline bool pic_intr(const struct pic *pic)
{
	return atomic_read(&pic->output);
}

#endif
