/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two 8259A, the slave on the master's pin 2.
 *
 * State is KVM's struct kvm_pic_state, so that KVM_GET/SET_IRQCHIP copies it. As KVM has it: single mode
 * and ICW1's level-triggered mode are not done (a PC has neither); pins are level-triggered by the ELCR.
 */
#include "x86/pic.h"

#define CASCADE 2u
#define NO_PRIORITY 8u

static void lock(struct pic *pic)
{
	host_mutex_lock(&pic->lock);
}

/* Tells what happened meanwhile, when nobody is locked out any more. */
static void unlock(struct pic *pic)
{
	u32 acked = pic->acked;
	bool raised = pic->raised;

	pic->acked = 0;
	pic->raised = false;
	host_mutex_unlock(&pic->lock);
	if (raised)
		pic->ops->raised(pic);
	for (; acked; acked &= acked - 1)
		pic->ops->acked(pic, (unsigned)__builtin_ctz(acked));
}

static bool is_slave(const struct pic *pic, const struct kvm_pic_state *c)
{
	return c != &pic->chip[0];
}

/* ---- priorities --------------------------------------------------------------------------------- */

/* Distance of the highest-priority request in mask from the top; NO_PRIORITY if there is none. */
static unsigned priority(const struct kvm_pic_state *c, u8 mask)
{
	for (unsigned p = 0; p < 8; p++) {
		if (mask >> ((p + c->priority_add) & 7) & 1)
			return p;
	}
	return NO_PRIORITY;
}

/* The pin that the chip wants served, or -1. */
static int wanted(const struct pic *pic, const struct kvm_pic_state *c)
{
	unsigned request = priority(c, c->irr & ~c->imr);
	u8 in_service = c->isr;

	if (request == NO_PRIORITY)
		return -1;
	/* Special mask mode: what is masked does not hold back lower priorities. */
	if (c->special_mask)
		in_service &= ~c->imr;
	/* Special fully nested mode: another request of the slave may come through. */
	if (c->special_fully_nested_mode && !is_slave(pic, c))
		in_service &= ~BIT(CASCADE);
	if (request >= priority(c, in_service))
		return -1;
	return (int)((request + c->priority_add) & 7);
}

static int set_line(struct kvm_pic_state *c, unsigned pin, bool level)
{
	u8 bit = (u8)BIT(pin);
	bool was = c->irr & bit, edge = !(c->elcr & bit), latched = false;

	if (level) {
		latched = edge ? !(c->last_irr & bit) : true;
		if (latched)
			c->irr |= bit;
		c->last_irr |= bit;
	} else {
		if (!edge)
			c->irr &= ~bit;
		c->last_irr &= ~bit;
	}
	if (c->imr & bit)
		return -1;
	return latched && was ? 0 : 1;
}

/* Must follow every change of a request, mask or service bit. */
static void update(struct pic *pic)
{
	bool output;

	if (wanted(pic, &pic->chip[1]) >= 0) {
		set_line(&pic->chip[0], CASCADE, true);
		set_line(&pic->chip[0], CASCADE, false);
	}
	output = wanted(pic, &pic->chip[0]) >= 0;
	if (output && !pic->output)
		pic->raised = true;
	atomic_set(&pic->output, output);
}

static void end_service(struct pic *pic, struct kvm_pic_state *c, unsigned pin)
{
	c->isr &= ~BIT(pin);
	pic->acked |= BIT(pin + (is_slave(pic, c) ? 8 : 0));
}

int pic_set_pin(struct pic *pic, unsigned pin, unsigned source, bool level)
{
	int r;

	lock(pic);
	if (level)
		pic->lines[pin] |= BIT(source);
	else
		pic->lines[pin] &= ~BIT(source);
	r = set_line(&pic->chip[pin >> 3], pin & 7, pic->lines[pin]);
	update(pic);
	unlock(pic);
	return r;
}

static void acknowledge(struct pic *pic, struct kvm_pic_state *c, unsigned pin)
{
	c->isr |= BIT(pin);
	if (!(c->elcr & BIT(pin)))
		c->irr &= ~BIT(pin);
	if (!c->auto_eoi)
		return;
	if (c->rotate_on_auto_eoi)
		c->priority_add = (pin + 1) & 7;
	end_service(pic, c, pin);
}

u8 pic_acknowledge(struct pic *pic)
{
	struct kvm_pic_state *master = &pic->chip[0], *slave = &pic->chip[1];
	int pin, slave_pin;
	u8 vector;

	lock(pic);
	atomic_set(&pic->output, 0);
	pin = wanted(pic, master);
	if (pin < 0) {
		vector = master->irq_base + 7; /* spurious */
	} else {
		acknowledge(pic, master, (unsigned)pin);
		vector = (u8)(master->irq_base + pin);
	}
	if (pin == (int)CASCADE) {
		slave_pin = wanted(pic, slave);
		if (slave_pin >= 0)
			acknowledge(pic, slave, (unsigned)slave_pin);
		vector = (u8)(slave->irq_base + (slave_pin < 0 ? 7 : slave_pin));
	}
	update(pic);
	unlock(pic);
	return vector;
}

/* ---- ports -------------------------------------------------------------------------------------- */

static void write_icw1(struct pic *pic, struct kvm_pic_state *c, u8 value)
{
	u8 edges = c->irr & ~c->elcr;

	c->init4 = value & 1;
	c->last_irr = 0;
	c->irr &= c->elcr;
	c->imr = 0;
	c->priority_add = 0;
	c->special_mask = 0;
	c->read_reg_select = 0;
	if (!c->init4) {
		c->special_fully_nested_mode = 0;
		c->auto_eoi = 0;
	}
	c->init_state = 1;
	/* Whoever waits for these requests to be acknowledged must not wait for ever. */
	for (unsigned pin = 0; pin < 8; pin++) {
		if (edges & BIT(pin))
			end_service(pic, c, pin);
	}
	update(pic);
}

static void write_ocw2(struct pic *pic, struct kvm_pic_state *c, u8 value)
{
	unsigned command = value >> 5, pin = value & 7, p;

	switch (command) {
	case 0: /* rotate in automatic EOI mode: clear, set */
	case 4:
		c->rotate_on_auto_eoi = command >> 2;
		return;
	case 1: /* non-specific EOI, without and with rotation */
	case 5:
		p = priority(c, c->isr);
		if (p == NO_PRIORITY)
			return;
		pin = (p + c->priority_add) & 7;
		break;
	case 6: /* set priority */
		c->priority_add = (pin + 1) & 7;
		update(pic);
		return;
	case 3: /* specific EOI, without and with rotation */
	case 7:
		break;
	default:
		return;
	}
	if (command & 4)
		c->priority_add = (pin + 1) & 7;
	end_service(pic, c, pin);
	update(pic);
}

static void write_ocw3(struct pic *pic, struct kvm_pic_state *c, u8 value)
{
	if (value & 0x04)
		c->poll = 1;
	if (value & 0x02)
		c->read_reg_select = value & 1;
	if (value & 0x40) {
		c->special_mask = value >> 5 & 1;
		update(pic);
	}
}

static void write_imr(struct pic *pic, struct kvm_pic_state *c, u8 value)
{
	u8 changed = c->imr ^ value;

	c->imr = value;
	for (unsigned pin = 0; pin < 8; pin++) {
		if (changed & BIT(pin))
			pic->ops->masked(pic, pin + (is_slave(pic, c) ? 8 : 0), value & BIT(pin));
	}
	update(pic);
}

static void write_data(struct pic *pic, struct kvm_pic_state *c, u8 value)
{
	switch (c->init_state) {
	case 0:
		write_imr(pic, c, value);
		break;
	case 1: /* ICW2 */
		c->irq_base = value & 0xf8;
		c->init_state = 2;
		break;
	case 2: /* ICW3: the cascade is wired */
		c->init_state = c->init4 ? 3 : 0;
		break;
	case 3: /* ICW4 */
		c->special_fully_nested_mode = value >> 4 & 1;
		c->auto_eoi = value >> 1 & 1;
		c->init_state = 0;
		break;
	}
}

void pic_write(struct pic *pic, u16 port, u8 value)
{
	struct kvm_pic_state *c = &pic->chip[port >> 7 & 1];

	lock(pic);
	if (port >= 0x4d0) {
		c = &pic->chip[port & 1];
		c->elcr = value & c->elcr_mask;
	} else if (port & 1) {
		write_data(pic, c, value);
	} else if (value & 0x10) {
		write_icw1(pic, c, value);
	} else if (value & 0x08) {
		write_ocw3(pic, c, value);
	} else {
		write_ocw2(pic, c, value);
	}
	unlock(pic);
}

/* Poll command: the read is the acknowledge cycle, without a vector. */
static u8 read_poll(struct pic *pic, struct kvm_pic_state *c)
{
	int pin = wanted(pic, c);

	c->poll = 0;
	if (pin < 0) {
		update(pic);
		return 0x07;
	}
	if (is_slave(pic, c)) {
		pic->chip[0].isr &= ~BIT(CASCADE);
		pic->chip[0].irr &= ~BIT(CASCADE);
	}
	c->irr &= ~BIT(pin);
	end_service(pic, c, (unsigned)pin);
	if (is_slave(pic, c) || pin != (int)CASCADE)
		update(pic);
	return (u8)pin;
}

u8 pic_read(struct pic *pic, u16 port)
{
	struct kvm_pic_state *c = &pic->chip[port >> 7 & 1];
	u8 value;

	lock(pic);
	if (port >= 0x4d0)
		value = pic->chip[port & 1].elcr;
	else if (c->poll)
		value = read_poll(pic, c);
	else if (port & 1)
		value = c->imr;
	else
		value = c->read_reg_select ? c->isr : c->irr;
	unlock(pic);
	return value;
}

bool pic_has_port(u64 port)
{
	return (port & ~0x81ull) == 0x20 || (port & ~1ull) == 0x4d0;
}

/* ---- state -------------------------------------------------------------------------------------- */

void pic_get_state(struct pic *pic, unsigned chip, struct kvm_pic_state *s)
{
	lock(pic);
	*s = pic->chip[chip & 1];
	unlock(pic);
}

void pic_set_state(struct pic *pic, unsigned chip, const struct kvm_pic_state *s)
{
	lock(pic);
	pic->chip[chip & 1] = *s;
	update(pic);
	unlock(pic);
}

void pic_create(struct pic *pic, const struct pic_ops *ops)
{
	host_mutex_init(&pic->lock);
	pic->ops = ops;
	pic->chip[0].elcr_mask = 0xf8;
	pic->chip[1].elcr_mask = 0xde;
}
