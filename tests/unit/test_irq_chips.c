/* SPDX-License-Identifier: GPL-2.0-only */
/* The 8259 pair, the I/O APIC and the 8254 by themselves. */
#include "tests/unit/test_irq_host.h"
#include "x86/ioapic.h"
#include "x86/pic.h"
#include "x86/pit.h"

/* ---- 8259 --------------------------------------------------------------------------------------- */

static struct pic pic;
static unsigned pic_raises, pic_acks[PIC_PINS], pic_unmasks[PIC_PINS];

static void pic_raised(struct pic *p)
{
	assert_int_equal(p->lock.word, 0);
	pic_raises++;
}

static void pic_acked(struct pic *p, unsigned pin)
{
	assert_int_equal(p->lock.word, 0);
	pic_acks[pin]++;
}

static void pic_masked(struct pic *p, unsigned pin, bool masked)
{
	assert_int_equal(p->lock.word, 1);
	pic_unmasks[pin] += !masked;
}

static const struct pic_ops pic_test_ops = { .raised = pic_raised, .acked = pic_acked, .masked = pic_masked };

static void init_chip(u16 port, u8 base, u8 icw4)
{
	pic_write(&pic, port, 0x11);
	pic_write(&pic, port + 1, base);
	pic_write(&pic, port + 1, port == 0x20 ? 4 : 2);
	pic_write(&pic, port + 1, icw4);
	pic_write(&pic, port + 1, 0); /* all unmasked */
}

static int pic_setup(void **state)
{
	(void)state;
	memset(&pic, 0, sizeof(pic));
	pic_create(&pic, &pic_test_ops);
	init_chip(0x20, 0x30, 1);
	init_chip(0xa0, 0x38, 1);
	pic_raises = 0;
	memset(pic_acks, 0, sizeof(pic_acks));
	memset(pic_unmasks, 0, sizeof(pic_unmasks));
	return 0;
}

static int pulse(unsigned pin)
{
	int r = pic_set_pin(&pic, pin, 0, true);

	pic_set_pin(&pic, pin, 0, false);
	return r;
}

static void pic_priorities(void **state)
{
	(void)state;
	assert_false(pic_intr(&pic));
	assert_int_equal(pulse(5), 1);
	assert_int_equal(pulse(3), 1);
	assert_int_equal(pulse(3), 0); /* coalesced */
	assert_true(pic_intr(&pic));
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	assert_false(pic_intr(&pic)); /* 5 waits behind 3 */
	assert_int_equal(pulse(1), 1);
	assert_int_equal(pic_acknowledge(&pic), 0x31); /* nests */
	pic_write(&pic, 0x20, 0x20);
	assert_int_equal(pic_acks[1], 1);
	assert_false(pic_intr(&pic));
	pic_write(&pic, 0x20, 0x20);
	assert_int_equal(pic_acks[3], 1);
	assert_int_equal(pic_acknowledge(&pic), 0x35);
	pic_write(&pic, 0x20, 0x65); /* specific EOI */
	assert_int_equal(pic_acks[5], 1);
	assert_int_equal(pic_acknowledge(&pic), 0x37); /* spurious */
	assert_int_equal(pic_acks[7], 0);
}

static void pic_slave_and_cascade(void **state)
{
	(void)state;
	pulse(12);
	pulse(8);
	assert_int_equal(pic_acknowledge(&pic), 0x38);
	assert_false(pic_intr(&pic));
	pic_write(&pic, 0xa0, 0x20);
	assert_false(pic_intr(&pic)); /* the master still serves its pin 2 */
	pic_write(&pic, 0x20, 0x20);
	assert_true(pic_intr(&pic));
	assert_int_equal(pic_acknowledge(&pic), 0x3c);
	assert_int_equal(pic_acks[8], 1);
	assert_int_equal(pic_acks[2], 1);
}

static void pic_level(void **state)
{
	(void)state;
	pic_write(&pic, 0x4d1, 0xff);
	assert_int_equal(pic_read(&pic, 0x4d1), 0xde); /* what cannot be level-triggered */
	pic_set_pin(&pic, 10, 0, true);
	pic_set_pin(&pic, 10, 1, true);
	assert_int_equal(pic_acknowledge(&pic), 0x3a);
	pic_write(&pic, 0xa0, 0x20);
	pic_write(&pic, 0x20, 0x20);
	assert_true(pic_intr(&pic)); /* still high */
	pic_set_pin(&pic, 10, 0, false);
	assert_int_equal(pic.chip[1].irr, 4); /* the other source holds it */
	pic_set_pin(&pic, 10, 1, false);
	assert_int_equal(pic.chip[1].irr, 0);
	assert_int_equal(pic_acknowledge(&pic), 0x38 + 7); /* spurious, by the latched cascade */
}

static void pic_masks(void **state)
{
	(void)state;
	pic_write(&pic, 0x21, 0xff);
	assert_int_equal(pulse(4), -1);
	assert_false(pic_intr(&pic));
	pic_write(&pic, 0x21, 0xef);
	assert_int_equal(pic_unmasks[4], 1);
	assert_int_equal(pic_raises, 1);
	assert_int_equal(pic_read(&pic, 0x21), 0xef);
	assert_int_equal(pic_read(&pic, 0x20), 0x10); /* IRR */
	assert_int_equal(pic_acknowledge(&pic), 0x34);
	pic_write(&pic, 0x20, 0x0b);
	assert_int_equal(pic_read(&pic, 0x20), 0x10); /* ISR */
}

static void pic_rotation_aeoi_poll(void **state)
{
	(void)state;
	init_chip(0x20, 0x30, 3); /* automatic EOI */
	pic_write(&pic, 0x20, 0x80); /* rotating */
	pulse(3);
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	assert_int_equal(pic_acks[3], 1);
	pulse(3);
	pulse(4);
	assert_int_equal(pic_acknowledge(&pic), 0x34); /* 3 is lowest now */
	assert_int_equal(pic_acknowledge(&pic), 0x33);

	init_chip(0x20, 0x30, 1);
	pulse(6);
	pic_write(&pic, 0x20, 0x0c); /* poll */
	assert_int_equal(pic_read(&pic, 0x20), 6);
	assert_false(pic_intr(&pic));
}

static void pic_special_modes(void **state)
{
	(void)state;
	pulse(2 + 8);
	assert_int_equal(pic_acknowledge(&pic), 0x3a);
	pulse(1 + 8);
	assert_false(pic_intr(&pic));
	init_chip(0x20, 0x30, 0x11); /* special fully nested: a higher one of the slave comes through */
	pic.chip[0].isr = 4;
	pulse(0 + 8);
	assert_true(pic_intr(&pic));
	assert_int_equal(pic_acknowledge(&pic), 0x38);

	pic_setup(NULL);
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	pulse(5);
	assert_false(pic_intr(&pic));
	pic_write(&pic, 0x20, 0x68); /* special mask mode: what is masked holds nobody back */
	pic_write(&pic, 0x21, 0x02);
	assert_int_equal(pic_acknowledge(&pic), 0x35);
}

static void pic_state(void **state)
{
	struct kvm_pic_state s;

	(void)state;
	pic_write(&pic, 0x21, 0x10);
	pulse(4);
	pic_get_state(&pic, 0, &s);
	assert_int_equal(s.irr, 0x10);
	assert_int_equal(s.irq_base, 0x30);
	s.imr = 0;
	pic_raises = 0;
	pic_set_state(&pic, 0, &s);
	assert_int_equal(pic_raises, 1);
	memset(&s, 0xff, sizeof(s)); /* nonsense must do no harm */
	pic_set_state(&pic, 0, &s);
	pic_set_state(&pic, 1, &s);
	for (u16 port = 0x20; port < 0x22; port++) {
		pic_read(&pic, port);
		pic_write(&pic, port, 0x20);
		pic_read(&pic, port + 0x80);
		pic_write(&pic, port + 0x80, 0x20);
	}
	pic_acknowledge(&pic);
}

/* ---- I/O APIC ----------------------------------------------------------------------------------- */

static struct ioapic io;
static struct apic_message io_last;
static unsigned io_sent, io_acks[IOAPIC_PINS];
static int io_answer;
static bool io_busy, io_lower_at_ack;
static u32 io_notified;

static int io_deliver(struct ioapic *i, struct apic_message *m)
{
	assert_int_equal(i->lock.word, 1);
	io_last = *m;
	io_sent++;
	return io_answer;
}

static bool io_is_busy(struct ioapic *i, u32 dest, bool logical, u8 vector)
{
	(void)i;
	(void)dest;
	(void)logical;
	(void)vector;
	return io_busy;
}

static bool io_has_notifier(struct ioapic *i, unsigned pin)
{
	(void)i;
	return io_notified >> pin & 1;
}

static void io_masked(struct ioapic *i, unsigned pin, bool masked)
{
	(void)i;
	(void)pin;
	(void)masked;
}

static void io_acked(struct ioapic *i, unsigned pin)
{
	assert_int_equal(i->lock.word, 0);
	io_acks[pin]++;
	if (io_lower_at_ack)
		ioapic_set_pin(i, pin, 1, false, false);
}

static const struct ioapic_ops io_test_ops = {
	.deliver = io_deliver, .busy = io_is_busy, .has_notifier = io_has_notifier, .masked = io_masked,
	.acked = io_acked,
};

static void io_write(u8 reg, u32 value)
{
	u32 select = reg;

	ioapic_mmio_write(&io, 0, &select, 4);
	ioapic_mmio_write(&io, 0x10, &value, 4);
}

static u32 io_read(u8 reg)
{
	u32 value = reg;

	ioapic_mmio_write(&io, 0, &value, 4);
	ioapic_mmio_read(&io, 0x10, &value, 4);
	return value;
}

static void io_entry(unsigned pin, u32 low, u8 dest)
{
	io_write((u8)(0x11 + pin * 2), (u32)dest << 24);
	io_write((u8)(0x10 + pin * 2), low);
}

#define IO_LEVEL 0x8000u
#define IO_REMOTE 0x4000u
#define IO_MASK 0x10000u

static int io_setup(void **state)
{
	(void)state;
	ioapic_create(memset(&io, 0, sizeof(io)), &io_test_ops);
	io_sent = 0;
	memset(io_acks, 0, sizeof(io_acks));
	io_answer = 1;
	io_busy = io_lower_at_ack = false;
	io_notified = 0;
	return 0;
}

static int io_teardown(void **state)
{
	(void)state;
	ioapic_destroy(&io);
	return 0;
}

static void io_registers(void **state)
{
	u32 word = 0;

	(void)state;
	assert_int_equal(io_read(1), 0x170011);
	io_write(0, 0xff000000);
	assert_int_equal(io_read(0), 0x0f000000);
	assert_int_equal(io_read(0x10), IO_MASK);
	io_write(0x10, 0xffffffff);
	assert_int_equal(io_read(0x10) & (IO_REMOTE | 0x1000), 0); /* read-only bits */
	assert_int_equal(io_read(0x40), 0xffffffff);		   /* beyond the last pin */
	io_write(0x40, 0);
	io_write(0xff, 0);
	ioapic_mmio_read(&io, 0x20, &word, 4);
	assert_int_equal(word, 0);
}

static void io_edge(void **state)
{
	(void)state;
	assert_int_equal(ioapic_set_pin(&io, 4, 0, true, false), -1); /* masked: remembered */
	io_entry(4, 0x41 | 0x800, 3);
	assert_int_equal(io_sent, 0);
	assert_int_equal(ioapic_set_pin(&io, 4, 0, true, false), 0); /* no new edge */
	ioapic_set_pin(&io, 4, 0, false, false);
	assert_int_equal(ioapic_set_pin(&io, 4, 0, true, false), 1);
	assert_int_equal(io_sent, 1);
	assert_int_equal(io_last.vector, 0x41);
	assert_int_equal(io_last.dest, 3);
	assert_true(io_last.logical && io_last.assert && io_last.outside && !io_last.level);
}

static void io_level_eoi(void **state)
{
	(void)state;
	io_entry(9, 0x50 | IO_LEVEL, 0);
	assert_int_equal(ioapic_set_pin(&io, 9, 0, true, false), 1);
	assert_int_equal(io_read(0x10 + 18) & IO_REMOTE, IO_REMOTE);
	assert_int_equal(ioapic_set_pin(&io, 9, 0, true, false), -1); /* waits for EOI */
	ioapic_eoi(&io, 0x51, true, true);			      /* somebody else's */
	assert_int_equal(io_sent, 1);
	ioapic_eoi(&io, 0x50, true, true);
	assert_int_equal(io_sent, 2); /* still high */
	assert_int_equal(io_acks[9], 1);
	ioapic_set_pin(&io, 9, 0, false, false);
	ioapic_eoi(&io, 0x50, true, true);
	assert_int_equal(io_sent, 2);
	assert_int_equal(io_read(0x10 + 18) & IO_REMOTE, 0);
	ioapic_set_pin(&io, 9, 0, true, false);
	ioapic_eoi(&io, 0x50, true, false); /* broadcast suppressed */
	assert_int_equal(io_read(0x10 + 18) & IO_REMOTE, IO_REMOTE);
	io_write(0x10 + 18, 0x50); /* the old way to EOI: edge and back */
	io_write(0x10 + 18, 0x50 | IO_LEVEL);
	assert_int_equal(io_sent, 4);
}

static void io_refused(void **state)
{
	(void)state;
	io_answer = 0;
	io_entry(9, 0x50 | IO_LEVEL, 0);
	assert_int_equal(ioapic_set_pin(&io, 9, 0, true, false), 0);
	assert_int_equal(io_read(0x10 + 18) & IO_REMOTE, 0);
}

static void io_resample(void **state)
{
	(void)state;
	io_lower_at_ack = true;
	io_entry(9, 0x50 | IO_LEVEL, 0);
	ioapic_set_pin(&io, 9, 1, true, false);
	ioapic_eoi(&io, 0x50, true, true);
	assert_int_equal(io_sent, 1); /* lowered before remote IRR was looked at */
	assert_int_equal(io.irr, 0);
}

static void io_edge_notifier(void **state)
{
	(void)state;
	io_entry(2, 0x30, 0);
	assert_false(ioapic_wants_eoi(&io, 0x30));
	io_notified = 1u << 2;
	ioapic_rescan(&io);
	assert_true(ioapic_wants_eoi(&io, 0x30));
	io_entry(2, 0x31, 0);
	assert_false(ioapic_wants_eoi(&io, 0x30));
	assert_true(ioapic_wants_eoi(&io, 0x31));
	ioapic_eoi(&io, 0x31, false, true);
	assert_int_equal(io_acks[2], 1);
}

static void io_rtc(void **state)
{
	(void)state;
	io_entry(8, 0x38, 0);
	assert_int_equal(ioapic_set_pin(&io, 8, 0, true, true), 1);
	ioapic_set_pin(&io, 8, 0, false, true);
	io_busy = true;
	assert_int_equal(ioapic_set_pin(&io, 8, 0, true, true), 0); /* coalesced until EOI */
	ioapic_set_pin(&io, 8, 0, false, true);
	io_busy = false;
	assert_int_equal(ioapic_set_pin(&io, 8, 0, true, true), 1);
}

static void io_storm(void **state)
{
	(void)state;
	io_entry(9, 0x50 | IO_LEVEL, 0);
	ioapic_set_pin(&io, 9, 0, true, false);
	for (unsigned i = 0; i < 10000; i++)
		ioapic_eoi(&io, 0x50, true, true);
	assert_int_equal(io_sent, 10000); /* the last one waits */
	fake_advance(10 * MS);
	assert_int_equal(io_sent, 10001);
}

static void io_state(void **state)
{
	struct kvm_ioapic_state s;

	(void)state;
	io_entry(9, 0x50 | IO_LEVEL, 2);
	io_entry(4, 0x41, 1);
	ioapic_set_pin(&io, 9, 0, true, false);
	ioapic_set_pin(&io, 4, 0, true, false);
	ioapic_get_state(&io, &s);
	assert_int_equal(s.base_address, 0xfec00000);
	assert_int_equal(s.irr, 1u << 9); /* the edge has been delivered */
	assert_int_equal(s.redirtbl[9].fields.remote_irr, 1);
	assert_int_equal(s.redirtbl[9].fields.dest_id, 2);
	s.redirtbl[9].fields.remote_irr = 0;
	io_sent = 0;
	ioapic_set_state(&io, &s);
	assert_int_equal(io_sent, 1);
	memset(&s, 0xff, sizeof(s));
	ioapic_set_state(&io, &s);
	assert_int_equal(io_read(1), 0x170011);
}

/* ---- 8254 --------------------------------------------------------------------------------------- */

static struct pit pit;
static unsigned ticks;

static void pit_tick(struct pit *p)
{
	assert_int_equal(p->lock.word, 0);
	ticks++;
}

static const struct pit_ops pit_test_ops = { .tick = pit_tick };

static int pit_setup(void **state)
{
	(void)state;
	pit_create(memset(&pit, 0, sizeof(pit)), &pit_test_ops, true, true);
	ticks = 0;
	return 0;
}

static int pit_teardown(void **state)
{
	(void)state;
	pit_destroy(&pit);
	assert_int_equal(fake_armed(), 0);
	return 0;
}

static void load(unsigned channel, u8 mode, u16 count)
{
	pit_write(&pit, 0x43, (u8)(channel << 6 | 0x30 | mode << 1));
	pit_write(&pit, (u16)(0x40 + channel), (u8)count);
	pit_write(&pit, (u16)(0x40 + channel), count >> 8);
}

static u16 latched(unsigned channel)
{
	u16 low;

	pit_write(&pit, 0x43, (u8)(channel << 6));
	low = pit_read(&pit, (u16)(0x40 + channel));
	return (u16)(low | pit_read(&pit, (u16)(0x40 + channel)) << 8);
}

#define TICKS(n) ((n) * 1000000000ull / PIT_HZ + 1)

static void pit_periodic(void **state)
{
	(void)state;
	pit_set_reinject(&pit, false);
	load(0, 2, 11932); /* 100 Hz */
	fake_advance(105 * MS);
	assert_int_equal(ticks, 10);
	load(0, 0, 11932);
	fake_advance(105 * MS);
	assert_int_equal(ticks, 11); /* one shot */
	load(0, 5, 11932); /* hardware strobe: no gate on channel 0 */
	fake_advance(105 * MS);
	assert_int_equal(ticks, 11);
}

static void pit_reinjection(void **state)
{
	(void)state;
	load(0, 2, 11932);
	fake_advance(45 * MS); /* four periods, nobody acknowledges */
	assert_int_equal(ticks, 1);
	for (unsigned i = 0; i < 3; i++)
		pit_acked(&pit); /* each brings the next at once */
	assert_int_equal(ticks, 4);
	pit_acked(&pit);
	assert_int_equal(ticks, 4); /* caught up */
	fake_advance(10 * MS);
	assert_int_equal(ticks, 5);
	fake_advance(30 * MS);
	pit_unmasked(&pit); /* whatever was owed is forgotten */
	fake_advance(10 * MS);
	assert_int_equal(ticks, 6);
	pit_acked(&pit);
	assert_int_equal(ticks, 6);
}

/* The process was stopped for an hour: timers fire when it goes on, all at that time. */
static void pit_backlog(void **state)
{
	(void)state;
	load(0, 2, 11932);
	fake_now += 3600000 * MS;
	fake_advance(0);
	assert_int_equal(ticks, 1);
	for (unsigned i = 0; i < 1000; i++)
		pit_acked(&pit);
	assert_int_equal(ticks, 1001); /* nothing is lost */
	pit_set_reinject(&pit, false);
	load(0, 2, 11932);
	fake_now += 3600005 * MS;
	fake_advance(0);
	assert_int_equal(ticks, 1002);
	fake_advance(10 * MS); /* in step with the periods before */
	assert_int_equal(ticks, 1003);
}

static void acked_meanwhile(struct pit *p)
{
	static bool high;

	assert_false(high); /* a rise now would be lost */
	high = true;
	ticks++;
	pit_acked(p); /* the guest is that quick */
	high = false;
}

static void pit_acked_early(void **state)
{
	static const struct pit_ops quick = { .tick = acked_meanwhile };

	(void)state;
	load(0, 2, 11932);
	fake_advance(101 * MS);
	assert_int_equal(ticks, 1);
	pit.ops = &quick;
	pit_acked(&pit);
	assert_int_equal(ticks, 10);
	fake_advance(10 * MS);
	assert_int_equal(ticks, 11);
}

static void pit_counters(void **state)
{
	(void)state;
	load(2, 2, 1000);
	assert_int_equal(latched(2), 1000);
	fake_advance(TICKS(300));
	assert_int_equal(latched(2), 700);
	fake_advance(TICKS(1000));
	assert_in_range(latched(2), 699, 700); /* periodic */
	load(2, 0, 1000);
	fake_advance(TICKS(1200));
	assert_int_equal(latched(2), (u16)(1000 - 1200)); /* counts on below zero */
	load(2, 3, 1000);
	fake_advance(TICKS(300));
	assert_int_equal(latched(2), 400); /* by two */
	load(1, 2, 0);
	fake_advance(TICKS(16));
	assert_int_equal(latched(1), 0x10000 - 16);
	pit_write(&pit, 0x43, 2 << 6); /* a latched count stands still */
	fake_advance(TICKS(50));
	assert_int_equal(pit_read(&pit, 0x42), (400 - 32) & 0xff);
	assert_int_equal(pit_read(&pit, 0x42), (400 - 32) >> 8);
}

static void pit_status_and_gate(void **state)
{
	(void)state;
	load(2, 0, 1000);
	pit_write(&pit, 0x43, 0xe8); /* read back channel 2's status */
	assert_int_equal(pit_read(&pit, 0x42), 0x30);
	assert_int_equal(pit_read(&pit, 0x61) & 0x20, 0);
	fake_advance(TICKS(1000));
	assert_int_equal(pit_read(&pit, 0x61) & 0x23, 0x20); /* OUT2 */
	pit_write(&pit, 0x61, 3);
	assert_int_equal(pit_read(&pit, 0x61) & 3, 3);
	load(2, 1, 1000);
	fake_advance(TICKS(5000));
	assert_int_equal(pit_read(&pit, 0x61) & 0x20, 0);
	pit_write(&pit, 0x61, 0);
	pit_write(&pit, 0x61, 1); /* rising gate starts the one-shot */
	assert_int_equal(pit_read(&pit, 0x61) & 0x20, 0x20);
	fake_advance(TICKS(1000));
	assert_int_equal(pit_read(&pit, 0x61) & 0x20, 0);
	assert_int_equal(pit_read(&pit, 0x43), 0);
	assert_false(pit_has_port(&pit, 0x44));
	assert_true(pit_has_port(&pit, 0x61));
}

static void pit_state(void **state)
{
	struct kvm_pit_state2 s;

	(void)state;
	pit_set_reinject(&pit, false);
	load(0, 2, 11932);
	pit_get_state(&pit, &s);
	assert_int_equal(s.channels[0].count, 11932);
	assert_int_equal(s.channels[0].mode, 2);
	s.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	pit_set_state(&pit, &s, true);
	fake_advance(100 * MS);
	assert_int_equal(ticks, 0); /* the HPET has the pin */
	s.flags = 0;
	pit_set_state(&pit, &s, true);
	fake_advance(15 * MS);
	assert_int_equal(ticks, 1);
	memset(&s, 0xff, sizeof(s));
	s.flags = 0;
	pit_set_state(&pit, &s, true);
	for (u16 port = 0x40; port < 0x44; port++)
		pit_read(&pit, port);
	pit_read(&pit, 0x61);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pic_priorities, pic_setup),
		cmocka_unit_test_setup(pic_slave_and_cascade, pic_setup),
		cmocka_unit_test_setup(pic_level, pic_setup),
		cmocka_unit_test_setup(pic_masks, pic_setup),
		cmocka_unit_test_setup(pic_rotation_aeoi_poll, pic_setup),
		cmocka_unit_test_setup(pic_special_modes, pic_setup),
		cmocka_unit_test_setup(pic_state, pic_setup),
		cmocka_unit_test_setup_teardown(io_registers, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_edge, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_level_eoi, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_refused, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_resample, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_edge_notifier, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_rtc, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_storm, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(io_state, io_setup, io_teardown),
		cmocka_unit_test_setup_teardown(pit_periodic, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_reinjection, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_backlog, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_acked_early, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_counters, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_status_and_gate, pit_setup, pit_teardown),
		cmocka_unit_test_setup_teardown(pit_state, pit_setup, pit_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
