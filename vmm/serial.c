// SPDX-License-Identifier: GPL-2.0-only
/*
 * 16550A, after the National Semiconductor PC16550D data sheet. Characters take no time: the
 * transmitter is empty again at once unless the host side is slow (then LSR says so and the guest
 * waits, as for a slow line), and the receive time-out of the FIFO expires immediately.
 * Left out: line errors, modem status changes (the other end is always ready), baud rate.
 */
#include "vmm/serial.h"

#include <linux/serial_reg.h>
#include <string.h>

#define MCR_BITS (UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP)
#define IER_BITS (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define MSR_READY (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

void serial_init(struct serial *s, const struct serial_wire *wire)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	s->wire = *wire;
	s->lsr = UART_LSR_THRE | UART_LSR_TEMT;
	s->divisor = 12; /* 9600 baud */
}

void serial_destroy(struct serial *s)
{
	pthread_mutex_destroy(&s->lock);
}

static unsigned rx_capacity(const struct serial *s)
{
	return s->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_FIFO : 1;
}

static unsigned rx_trigger(const struct serial *s)
{
	static const u8 level[] = { 1, 4, 8, 14 };

	return s->fcr & UART_FCR_ENABLE_FIFO ? level[s->fcr >> 6] : 1;
}

/* The highest pending interrupt, in the data sheet's order of priority. */
static u8 interrupt_id(const struct serial *s)
{
	if ((s->ier & UART_IER_RLSI) && (s->lsr & UART_LSR_OE))
		return UART_IIR_RLSI;
	if ((s->ier & UART_IER_RDI) && s->rx_count)
		return s->rx_count >= rx_trigger(s) ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
	if ((s->ier & UART_IER_THRI) && s->tx_empty_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_irq(struct serial *s)
{
	bool level = interrupt_id(s) != UART_IIR_NO_INT;

	if (level != s->irq_level) {
		s->irq_level = level;
		s->wire.set_irq(s->wire.opaque, level);
	}
}

static void rx_put(struct serial *s, u8 byte)
{
	if (s->rx_count == rx_capacity(s)) {
		s->lsr |= UART_LSR_OE;
		return;
	}
	s->rx[(s->rx_head + s->rx_count++) % SERIAL_FIFO] = byte;
	s->lsr |= UART_LSR_DR;
}

static void rx_reset(struct serial *s)
{
	s->rx_count = 0;
	s->lsr &= ~(UART_LSR_DR | UART_LSR_OE);
}

static bool can_receive(const struct serial *s)
{
	return (s->mcr & UART_MCR_RTS) && !(s->mcr & UART_MCR_LOOP) && s->rx_count < rx_capacity(s);
}

/* Empties the FIFO first: one wake-up fetches many characters. */
static void wake_sender(struct serial *s)
{
	if (s->sender_waits && can_receive(s) && s->rx_count == 0) {
		s->sender_waits = false;
		s->wire.wake(s->wire.opaque);
	}
}

static u8 read_data(struct serial *s)
{
	u8 byte = 0;

	if (s->rx_count) {
		byte = s->rx[s->rx_head];
		s->rx_head = (s->rx_head + 1) % SERIAL_FIFO;
		if (--s->rx_count == 0)
			s->lsr &= ~UART_LSR_DR;
	}
	wake_sender(s);
	return byte;
}

static void tx_room_changed(struct serial *s)
{
	if (s->tx_count < SERIAL_TX_BUFFER) {
		s->lsr |= UART_LSR_THRE | UART_LSR_TEMT;
		s->tx_empty_pending = true;
	} else {
		s->lsr &= ~(UART_LSR_THRE | UART_LSR_TEMT);
		s->tx_empty_pending = false;
	}
}

static void write_data(struct serial *s, u8 byte)
{
	if (s->mcr & UART_MCR_LOOP) {
		rx_put(s, byte);
		s->tx_empty_pending = true;
		return;
	}
	/* A guest that ignores LSR overruns the transmitter, and loses the character. */
	if (s->tx_count < SERIAL_TX_BUFFER) {
		s->tx[(s->tx_head + s->tx_count) % SERIAL_TX_BUFFER] = byte;
		if (s->tx_count++ == 0)
			s->wire.wake(s->wire.opaque);
	}
	tx_room_changed(s);
}

static u8 read_iir(struct serial *s)
{
	u8 id = interrupt_id(s);

	if (id == UART_IIR_THRI)
		s->tx_empty_pending = false;
	return id | (s->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
}

static u8 read_lsr(struct serial *s)
{
	u8 value = s->lsr;

	s->lsr &= ~UART_LSR_OE;
	return value;
}

static u8 read_msr(const struct serial *s)
{
	u8 value = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return MSR_READY;
	/* Loopback connects the four outputs to the four inputs. */
	if (s->mcr & UART_MCR_DTR)
		value |= UART_MSR_DSR;
	if (s->mcr & UART_MCR_RTS)
		value |= UART_MSR_CTS;
	if (s->mcr & UART_MCR_OUT1)
		value |= UART_MSR_RI;
	if (s->mcr & UART_MCR_OUT2)
		value |= UART_MSR_DCD;
	return value;
}

static u8 read_locked(struct serial *s, unsigned reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->divisor & 0xff : read_data(s);
	case UART_IER:
		return dlab ? s->divisor >> 8 : s->ier;
	case UART_IIR:
		return read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void write_ier(struct serial *s, u8 value)
{
	/* Enabling the THRE interrupt with the transmitter empty raises it. */
	if ((value & ~s->ier & UART_IER_THRI) && (s->lsr & UART_LSR_THRE))
		s->tx_empty_pending = true;
	s->ier = value & IER_BITS;
}

static void write_fcr(struct serial *s, u8 value)
{
	bool switched = (value ^ s->fcr) & UART_FCR_ENABLE_FIFO;

	/* Without the enable bit the others are not programmed. */
	s->fcr = value & UART_FCR_ENABLE_FIFO ? value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK) : 0;
	if (switched || (value & UART_FCR_CLEAR_RCVR))
		rx_reset(s);
	/* What was written is on the wire already: there is no transmit FIFO to clear. */
	wake_sender(s);
}

static void write_locked(struct serial *s, unsigned reg, u8 value)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->divisor = (s->divisor & 0xff00) | value;
		else
			write_data(s, value);
		break;
	case UART_IER:
		if (dlab)
			s->divisor = (s->divisor & 0xff) | value << 8;
		else
			write_ier(s, value);
		break;
	case UART_FCR:
		write_fcr(s, value);
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & MCR_BITS;
		wake_sender(s);
		break;
	case UART_SCR:
		s->scr = value;
		break;
	}
}

u8 serial_read(struct serial *s, unsigned reg)
{
	u8 value;

	pthread_mutex_lock(&s->lock);
	value = read_locked(s, reg);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

void serial_write(struct serial *s, unsigned reg, u8 value)
{
	pthread_mutex_lock(&s->lock);
	write_locked(s, reg, value);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

void serial_io(void *serial, u64 offset, u8 *data, unsigned size, bool write)
{
	/* Byte registers: a wider access reaches the following ones too, as an 8-bit bus does it. */
	for (unsigned i = 0; i < size; i++) {
		if (write)
			serial_write(serial, offset + i, data[i]);
		else
			data[i] = serial_read(serial, offset + i);
	}
}

size_t serial_receive(struct serial *s, const u8 *data, size_t n)
{
	size_t taken = 0;

	pthread_mutex_lock(&s->lock);
	while (taken < n && can_receive(s))
		rx_put(s, data[taken++]);
	s->sender_waits = taken < n;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

size_t serial_transmit(struct serial *s, u8 *data, size_t n)
{
	size_t first;

	pthread_mutex_lock(&s->lock);
	if (n > s->tx_count)
		n = s->tx_count;
	first = min_u64(n, SERIAL_TX_BUFFER - s->tx_head);
	memcpy(data, s->tx + s->tx_head, first);
	memcpy(data + first, s->tx, n - first);
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool serial_transmitted(struct serial *s, size_t n)
{
	bool was_full, more;

	pthread_mutex_lock(&s->lock);
	was_full = s->tx_count == SERIAL_TX_BUFFER;
	n = min_u64(n, s->tx_count);
	s->tx_head = (s->tx_head + n) % SERIAL_TX_BUFFER;
	s->tx_count -= n;
	if (was_full && n) {
		tx_room_changed(s);
		update_irq(s);
	}
	more = s->tx_count != 0;
	pthread_mutex_unlock(&s->lock);
	return more;
}
