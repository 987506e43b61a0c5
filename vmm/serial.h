/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A 16550A UART. It knows no descriptor: bytes arrive by serial_receive() and leave by
 * serial_transmit(); two callbacks tell the interrupt line and the other end of the wire.
 *
 * The wire honours RTS: what the guest is not ready to take stays with the sender, so that input
 * piped into a booting guest waits for it rather than fall into its FIFO resets.
 */
#ifndef ANYKVM_VMM_SERIAL_H
#define ANYKVM_VMM_SERIAL_H

#include <pthread.h>

#include "host/types.h"

#define SERIAL_PORTS 8
#define SERIAL_FIFO 16
#define SERIAL_TX_BUFFER 16384

struct serial_wire {
	void *opaque;
	void (*set_irq)(void *opaque, bool level);
	/* Something to transmit, or room to receive after serial_receive() took less than it was given.
	 * Called on a vCPU's thread with the UART locked; must not block. */
	void (*wake)(void *opaque);
};

struct serial {
	pthread_mutex_t lock; /* (s) all below */
	struct serial_wire wire;
	u8 ier, lcr, mcr, lsr, msr, scr, fcr;
	u16 divisor;
	u8 rx[SERIAL_FIFO];
	unsigned rx_head, rx_count;
	bool tx_empty_pending; /* THRE interrupt not yet seen by the guest */
	bool irq_level;
	bool sender_waits;
	u8 tx[SERIAL_TX_BUFFER];
	unsigned tx_head, tx_count;
};

void serial_init(struct serial *s, const struct serial_wire *wire);
void serial_destroy(struct serial *s);
u8 serial_read(struct serial *s, unsigned reg);
void serial_write(struct serial *s, unsigned reg, u8 value);
/* An io_handler. */
void serial_io(void *serial, u64 offset, u8 *data, unsigned size, bool write);

/* How many of n bytes the guest takes now. */
size_t serial_receive(struct serial *s, const u8 *data, size_t n);
/* Copies out at most n bytes to send, without removing them. */
size_t serial_transmit(struct serial *s, u8 *data, size_t n);
/* Removes n sent bytes; true if there are more (then no wake() told of them). */
bool serial_transmitted(struct serial *s, size_t n);

#endif
