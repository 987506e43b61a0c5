/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * I/O APIC.
 *
 * irr holds the pins that are high (level) or have had an edge that was not delivered yet. A
 * level-triggered entry that was delivered sets its remote IRR and is silent until the EOI of its vector;
 * if the pin is then still high it is delivered again. A guest that does not silence its device would be
 * stuck in that circle, so after 10000 turns the next one comes 10 ms later.
 *
 * The RTC's pin is special as in KVM: asked by KVM_IRQ_LINE_STATUS, an edge counts as coalesced while the
 * previous interrupt has not seen its EOI, so that userspace can make up for lost ticks.
 */
#include "x86/ioapic.h"

#define REDIR_VECTOR 0xffull
#define REDIR_LOGICAL BIT64(11)
#define REDIR_DELIVERY_STATUS BIT64(12)
#define REDIR_REMOTE_IRR BIT64(14)
#define REDIR_LEVEL BIT64(15)
#define REDIR_MASKED BIT64(16)
#define REDIR_READ_ONLY (REDIR_DELIVERY_STATUS | REDIR_REMOTE_IRR)

#define REG_ID 0u
#define REG_VERSION 1u
#define REG_ARBITRATION 2u
#define REG_REDIR 0x10u
#define VERSION 0x11u

#define MMIO_SELECT 0x00u
#define MMIO_WINDOW 0x10u

#define STORM_LIMIT 10000u
#define STORM_DELAY_NS 10000000u

static u32 redir_dest(u64 e)
{
	return (u32)(e >> 56);
}

static int service(struct ioapic *io, unsigned pin)
{
	u64 e = io->redir[pin];
	struct apic_message m = {
		.dest = redir_dest(e),
		.vector = (u8)e,
		.delivery = e >> 8 & 7,
		.logical = e & REDIR_LOGICAL,
		.level = e & REDIR_LEVEL,
		.assert = true,
		.outside = true,
	};
	int r;

	if ((e & REDIR_MASKED) || ((e & REDIR_LEVEL) && (e & REDIR_REMOTE_IRR)))
		return -1;
	if (!m.level)
		io->delivered |= BIT(pin);
	r = io->ops->deliver(io, &m);
	if (r && m.level)
		io->redir[pin] |= REDIR_REMOTE_IRR;
	return r;
}

static int set_line(struct ioapic *io, unsigned pin, bool level, bool line_status)
{
	u64 e = io->redir[pin];
	u32 bit = BIT(pin);
	bool was = io->irr & bit;

	if (!level) {
		io->irr &= ~bit;
		return 1;
	}
	if (pin == IOAPIC_RTC_PIN && line_status &&
	    io->ops->busy(io, redir_dest(e), e & REDIR_LOGICAL, (u8)e))
		return 0;
	io->irr |= bit;
	if (!(e & REDIR_LEVEL)) {
		io->delivered &= ~bit;
		if (was)
			return 0;
	}
	return service(io, pin);
}

int ioapic_set_pin(struct ioapic *io, unsigned pin, unsigned source, bool level, bool line_status)
{
	int r;

	host_mutex_lock(&io->lock);
	if (level)
		io->lines[pin] |= BIT(source);
	else
		io->lines[pin] &= ~BIT(source);
	r = set_line(io, pin, io->lines[pin], line_status);
	host_mutex_unlock(&io->lock);
	return r;
}

/* ---- EOI ---------------------------------------------------------------------------------------- */

static void rescan(struct ioapic *io)
{
	u32 wanted[8] = { 0 };

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 e = io->redir[pin];
		u8 vector = (u8)e;

		if (!(e & REDIR_LEVEL) && io->ops->has_notifier(io, pin))
			wanted[vector / 32] |= BIT(vector % 32);
	}
	for (unsigned i = 0; i < 8; i++)
		atomic_set(&io->eoi_edges[i], wanted[i]);
}

void ioapic_rescan(struct ioapic *io)
{
	host_mutex_lock(&io->lock);
	rescan(io);
	host_mutex_unlock(&io->lock);
}

static void eoi_level(struct ioapic *io, unsigned pin)
{
	io->redir[pin] &= ~REDIR_REMOTE_IRR;
	if ((io->redir[pin] & REDIR_MASKED) || !(io->irr & BIT(pin))) {
		io->storm[pin] = 0;
		return;
	}
	if (++io->storm[pin] < STORM_LIMIT) {
		service(io, pin);
		return;
	}
	io->storm[pin] = 0;
	host_timer_arm(&io->storm_timer, host_monotonic_ns() + STORM_DELAY_NS);
}

void ioapic_eoi(struct ioapic *io, u8 vector, bool level, bool clear)
{
	host_mutex_lock(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((u8)io->redir[pin] != vector)
			continue;
		/*
		 * Notified unlocked: a resampler lowers the pin, which must be seen before remote IRR is
		 * cleared.
		 */
		host_mutex_unlock(&io->lock);
		io->ops->acked(io, pin);
		host_mutex_lock(&io->lock);
		if (level && clear && (io->redir[pin] & REDIR_LEVEL) && (u8)io->redir[pin] == vector)
			eoi_level(io, pin);
	}
	host_mutex_unlock(&io->lock);
}

static void storm_over(struct host_timer *t)
{
	struct ioapic *io = container_of(t, struct ioapic, storm_timer);

	host_mutex_lock(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((io->redir[pin] & REDIR_LEVEL) && (io->irr & BIT(pin)))
			service(io, pin);
	}
	host_mutex_unlock(&io->lock);
}

/* ---- registers ---------------------------------------------------------------------------------- */

static u32 read_register(struct ioapic *io)
{
	u32 pin = (io->select - REG_REDIR) >> 1;

	switch (io->select) {
	case REG_VERSION:
		return (IOAPIC_PINS - 1) << 16 | VERSION;
	case REG_ID:
	case REG_ARBITRATION:
		return (io->id & 0xf) << 24;
	}
	if (pin >= IOAPIC_PINS)
		return ~0u;
	pin = (u32)index_nospec(pin, IOAPIC_PINS);
	return (u32)(io->select & 1 ? io->redir[pin] >> 32 : io->redir[pin]);
}

static void write_redir(struct ioapic *io, unsigned pin, u32 value)
{
	u64 old, e;

	pin = (unsigned)index_nospec(pin, IOAPIC_PINS);
	old = io->redir[pin];
	if (io->select & 1)
		e = (old & 0xffffffffull) | (u64)value << 32;
	else
		e = (old & ~0xffffffffull) | value;
	e = (e & ~REDIR_READ_ONLY) | (old & REDIR_READ_ONLY);
	/* Guests switch an entry to edge and back for an EOI that this version has no register for. */
	if (!(e & REDIR_LEVEL))
		e &= ~REDIR_REMOTE_IRR;
	io->redir[pin] = e;
	if ((old ^ e) & REDIR_MASKED)
		io->ops->masked(io, pin, e & REDIR_MASKED);
	if ((e & REDIR_LEVEL) && (io->irr & BIT(pin)))
		service(io, pin);
	if ((old ^ e) & (REDIR_VECTOR | REDIR_LEVEL))
		rescan(io);
}

static void write_register(struct ioapic *io, u32 value)
{
	u32 pin = (io->select - REG_REDIR) >> 1;

	if (io->select == REG_ID)
		io->id = value >> 24 & 0xf;
	else if (io->select >= REG_REDIR && pin < IOAPIC_PINS)
		write_redir(io, pin, value);
}

void ioapic_mmio_read(struct ioapic *io, u32 offset, void *data, unsigned size)
{
	u64 value = 0;

	host_mutex_lock(&io->lock);
	if (offset == MMIO_SELECT)
		value = io->select;
	else if (offset == MMIO_WINDOW)
		value = read_register(io);
	host_mutex_unlock(&io->lock);
	memcpy(data, &value, size);
}

void ioapic_mmio_write(struct ioapic *io, u32 offset, const void *data, unsigned size)
{
	u32 value = 0;

	memcpy(&value, data, size < 4 ? size : 4);
	host_mutex_lock(&io->lock);
	if (offset == MMIO_SELECT)
		io->select = value & 0xff;
	else if (offset == MMIO_WINDOW)
		write_register(io, value);
	host_mutex_unlock(&io->lock);
}

/* ---- life and state ----------------------------------------------------------------------------- */

void ioapic_create(struct ioapic *io, const struct ioapic_ops *ops)
{
	host_mutex_init(&io->lock);
	host_timer_init(&io->storm_timer, storm_over);
	io->ops = ops;
	io->base = IOAPIC_BASE;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->redir[pin] = REDIR_MASKED;
}

void ioapic_destroy(struct ioapic *io)
{
	host_timer_cancel_sync(&io->storm_timer);
}

void ioapic_get_state(struct ioapic *io, struct kvm_ioapic_state *s)
{
	memset(s, 0, sizeof(*s));
	host_mutex_lock(&io->lock);
	s->base_address = io->base;
	s->ioregsel = io->select;
	s->id = io->id;
	s->irr = io->irr & ~io->delivered;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		s->redirtbl[pin].bits = io->redir[pin];
	host_mutex_unlock(&io->lock);
}

void ioapic_set_state(struct ioapic *io, const struct kvm_ioapic_state *s)
{
	host_mutex_lock(&io->lock);
	io->base = s->base_address;
	io->select = s->ioregsel;
	io->id = s->id;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->redir[pin] = s->redirtbl[pin].bits;
	io->irr = 0;
	io->delivered = 0;
	rescan(io);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (s->irr & BIT(pin))
			set_line(io, pin, true, false);
	}
	host_mutex_unlock(&io->lock);
}
