/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * 8254 interval timer.
 *
 * Counters are computed from the time since they were loaded. Channel 0 also runs a host timer; a tick goes
 * out at once or, when KVM_REINJECT_CONTROL asks for it, only after the guest has acknowledged the tick
 * before, late ones being made up for: guests that count ticks keep their time although their processor is
 * not always running.
 *
 * As in KVM: BCD counts in binary, a gate that is low does not stop modes 0 and 4, the null count flag
 * stays 0. A channel in mode 0xff (after reset) does not run.
 */
#include "x86/pit.h"

#define CHANNEL_LSB 1u
#define CHANNEL_MSB 2u
#define CHANNEL_WORD 3u	/* low byte first; then CHANNEL_WORD_MSB */
#define CHANNEL_WORD_MSB 4u
#define MODE_NONE 0xffu
#define MIN_PERIOD_NS 200000u /* KVM's min_timer_period_us */
#define NS_PER_S 1000000000ull

static u64 ticks_to_ns(u32 ticks)
{
	return ticks * NS_PER_S / PIT_HZ;
}

static u64 ns_to_ticks(u64 ns)
{
	return ns / NS_PER_S * PIT_HZ + ns % NS_PER_S * PIT_HZ / NS_PER_S;
}

/* ---- counting ----------------------------------------------------------------------------------- */

static u64 elapsed_ticks(const struct pit *pit, unsigned i)
{
	u64 now = host_monotonic_ns(), since = (u64)pit->channel[i].count_load_time;

	if (i == 0) {
		if (!pit->period_ns)
			return 0;
		since = pit->target_ns - pit->period_ns;
	}
	return now > since ? ns_to_ticks(now - since) : 0;
}

static u32 count_of(const struct kvm_pit_channel_state *c)
{
	return c->count ? c->count : 0x10000;
}

static u16 current_count(const struct pit *pit, unsigned i)
{
	const struct kvm_pit_channel_state *c = &pit->channel[i];
	u64 t = elapsed_ticks(pit, i);
	u32 n = count_of(c);

	switch (c->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return (u16)(n - t); /* goes on counting from 0xffff */
	case 3:
		return (u16)(n - 2 * t % n);
	default:
		return (u16)(n - t % n);
	}
}

static bool output(const struct pit *pit, unsigned i)
{
	const struct kvm_pit_channel_state *c = &pit->channel[i];
	u64 t = elapsed_ticks(pit, i);
	u32 n = count_of(c);

	switch (c->mode) {
	case 1:
		return t < n;
	case 2:
		return t && t % n == 0;
	case 3:
		return t % n < (n + 1) / 2;
	case 4:
	case 5:
		return t == n;
	default:
		return t >= n;
	}
}

static void set_gate(struct kvm_pit_channel_state *c, bool gate)
{
	/* A rising edge starts modes 1, 2, 3 and 5 anew. */
	if (gate && !c->gate && c->mode != 0 && c->mode != 4 && c->mode <= 5)
		c->count_load_time = (s64)host_monotonic_ns();
	c->gate = gate;
}

/* ---- channel 0's ticks -------------------------------------------------------------------------- */

static void reset_reinject(struct pit *pit)
{
	atomic_set(&pit->pending, 0);
	atomic_set(&pit->acked, 1);
}

/*
 * By the timer, and by the vCPU that acknowledges. The guest may have seen the rise of a tick, and acknowledge it, before the
 * line falls again: the next rise within that would be no edge, and never acknowledged. So one thread at a time; whoever comes
 * meanwhile leaves it to that one to look once more.
 */
static void try_tick(struct pit *pit)
{
	u32 seen = atomic_add(&pit->looks, 1) + 1;

	if (seen != 1)
		return;
	do {
		seen = atomic_read(&pit->looks);
		if (!atomic_read(&pit->reinject) || atomic_xchg(&pit->acked, 0))
			pit->ops->tick(pit);
	} while (!__atomic_compare_exchange_n(&pit->looks, &seen, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

static void owe(struct pit *pit, u64 ticks)
{
	s32 room = 0x7fffffff - atomic_read(&pit->pending);

	atomic_add(&pit->pending, (s32)min_u64(ticks, (u64)room));
}

/* All periods that have passed are counted at once: there may be millions after a process was stopped for a night. */
static void timer_fired(struct host_timer *t)
{
	struct pit *pit = container_of(t, struct pit, timer);
	bool expired = false;
	u64 now, periods;

	host_mutex_lock(&pit->lock);
	now = host_monotonic_ns();
	if (pit->period_ns && now >= pit->target_ns) {
		expired = true;
		periods = pit->periodic ? (now - pit->target_ns) / pit->period_ns + 1 : 1;
		if (atomic_read(&pit->reinject))
			owe(pit, periods);
		if (pit->periodic)
			pit->target_ns += periods * pit->period_ns;
	}
	/* Also a callback that came before a reprogrammed timer's time. */
	if (pit->period_ns && (pit->periodic || !expired))
		host_timer_arm(&pit->timer, pit->target_ns);
	host_mutex_unlock(&pit->lock);
	if (expired)
		try_tick(pit);
}

void pit_acked(struct pit *pit)
{
	s32 pending;

	if (!atomic_read(&pit->reinject))
		return;
	atomic_xchg(&pit->acked, 1);
	pending = atomic_read(&pit->pending);
	while (pending > 0) {
		if (__atomic_compare_exchange_n(&pit->pending, &pending, pending - 1, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			break;
	}
	if (pending > 1)
		try_tick(pit);
}

void pit_unmasked(struct pit *pit)
{
	if (atomic_read(&pit->reinject))
		reset_reinject(pit);
}

void pit_set_reinject(struct pit *pit, bool on)
{
	host_mutex_lock(&pit->lock);
	if (atomic_read(&pit->reinject) != on) {
		if (on)
			reset_reinject(pit);
		atomic_set(&pit->reinject, on);
	}
	host_mutex_unlock(&pit->lock);
}

static void stop_timer(struct pit *pit)
{
	host_timer_cancel(&pit->timer);
	pit->period_ns = 0;
}

static void start_timer(struct pit *pit, u32 count, bool periodic)
{
	u64 period = ticks_to_ns(count);

	if (!pit->ticks || (pit->flags & KVM_PIT_FLAGS_HPET_LEGACY))
		return;
	reset_reinject(pit);
	pit->periodic = periodic;
	pit->period_ns = periodic && period < MIN_PERIOD_NS ? MIN_PERIOD_NS : period;
	pit->target_ns = host_monotonic_ns() + pit->period_ns;
	host_timer_arm(&pit->timer, pit->target_ns);
}

/* hpet: the HPET has just taken over the timer's pin; the count stays, channel 0 stops. */
static void load_count(struct pit *pit, unsigned i, u32 value, bool hpet)
{
	struct kvm_pit_channel_state *c = &pit->channel[i];

	c->count = value ? value : 0x10000;
	c->count_load_time = (s64)host_monotonic_ns();
	if (i != 0)
		return;
	switch (hpet ? MODE_NONE : c->mode) {
	case 0:
	case 1:
	case 4:
		start_timer(pit, c->count, false);
		break;
	case 2:
	case 3:
		start_timer(pit, c->count, true);
		break;
	default:
		stop_timer(pit);
	}
}

/* ---- ports -------------------------------------------------------------------------------------- */

static void latch_count(struct pit *pit, unsigned i)
{
	struct kvm_pit_channel_state *c = &pit->channel[i];

	if (c->count_latched)
		return;
	c->latched_count = current_count(pit, i);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct pit *pit, unsigned i)
{
	struct kvm_pit_channel_state *c = &pit->channel[i];

	if (c->status_latched)
		return;
	c->status = (u8)(output(pit, i) << 7 | (c->rw_mode & 3) << 4 | (c->mode & 7) << 1 | (c->bcd & 1));
	c->status_latched = 1;
}

static void write_control(struct pit *pit, u8 value)
{
	unsigned i = value >> 6, access = value >> 4 & 3;
	struct kvm_pit_channel_state *c;

	if (i == 3) { /* read-back */
		for (i = 0; i < 3; i++) {
			if (!(value & 2u << i))
				continue;
			if (!(value & 0x20))
				latch_count(pit, i);
			if (!(value & 0x10))
				latch_status(pit, i);
		}
		return;
	}
	if (!access) {
		latch_count(pit, i);
		return;
	}
	c = &pit->channel[i];
	c->rw_mode = c->read_state = c->write_state = (u8)access;
	c->mode = value >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = value & 1;
}

static void write_count(struct pit *pit, unsigned i, u8 value)
{
	struct kvm_pit_channel_state *c = &pit->channel[i];

	switch (c->write_state) {
	default:
		load_count(pit, i, value, false);
		break;
	case CHANNEL_MSB:
		load_count(pit, i, (u32)value << 8, false);
		break;
	case CHANNEL_WORD:
		c->write_latch = value;
		c->write_state = CHANNEL_WORD_MSB;
		break;
	case CHANNEL_WORD_MSB:
		load_count(pit, i, c->write_latch | (u32)value << 8, false);
		c->write_state = CHANNEL_WORD;
		break;
	}
}

static u8 read_latched(struct kvm_pit_channel_state *c)
{
	u8 state = c->count_latched;

	c->count_latched = state == CHANNEL_WORD ? CHANNEL_MSB : 0;
	return (u8)(state == CHANNEL_MSB ? c->latched_count >> 8 : c->latched_count);
}

static u8 read_channel(struct pit *pit, unsigned i)
{
	struct kvm_pit_channel_state *c = &pit->channel[i];
	u16 count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	count = current_count(pit, i);
	switch (c->read_state) {
	case CHANNEL_MSB:
		return count >> 8;
	case CHANNEL_WORD:
		c->read_state = CHANNEL_WORD_MSB;
		return (u8)count;
	case CHANNEL_WORD_MSB:
		c->read_state = CHANNEL_WORD;
		return count >> 8;
	default:
		return (u8)count;
	}
}

static u8 read_speaker(struct pit *pit)
{
	/* The refresh toggle changes about every 15 us. */
	unsigned refresh = host_monotonic_ns() >> 14 & 1;

	return (u8)(!!(pit->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON) << 1 | (pit->channel[2].gate & 1) |
		    output(pit, 2) << 5 | refresh << 4);
}

static void write_speaker(struct pit *pit, u8 value)
{
	if (value & 2)
		pit->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	else
		pit->flags &= ~KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	set_gate(&pit->channel[2], value & 1);
}

bool pit_has_port(const struct pit *pit, u64 port)
{
	return (port & ~3ull) == PIT_PORT || (port == PIT_SPEAKER_PORT && pit->speaker);
}

u8 pit_read(struct pit *pit, u16 port)
{
	u8 value = 0;

	host_mutex_lock(&pit->lock);
	if (port == PIT_SPEAKER_PORT)
		value = read_speaker(pit);
	else if ((port & 3) != 3)
		value = read_channel(pit, port & 3);
	host_mutex_unlock(&pit->lock);
	return value;
}

void pit_write(struct pit *pit, u16 port, u8 value)
{
	host_mutex_lock(&pit->lock);
	if (port == PIT_SPEAKER_PORT)
		write_speaker(pit, value);
	else if ((port & 3) == 3)
		write_control(pit, value);
	else
		write_count(pit, port & 3, value);
	host_mutex_unlock(&pit->lock);
}

/* ---- life and state ----------------------------------------------------------------------------- */

void pit_create(struct pit *pit, const struct pit_ops *ops, bool speaker, bool ticks)
{
	host_mutex_init(&pit->lock);
	host_timer_init(&pit->timer, timer_fired);
	pit->ops = ops;
	pit->speaker = speaker;
	pit->ticks = ticks;
	for (unsigned i = 0; i < 3; i++) {
		pit->channel[i].mode = MODE_NONE;
		pit->channel[i].gate = i != 2;
		load_count(pit, i, 0, false);
	}
	reset_reinject(pit);
	pit->reinject = true;
}

void pit_destroy(struct pit *pit)
{
	host_mutex_lock(&pit->lock);
	stop_timer(pit);
	host_mutex_unlock(&pit->lock);
	host_timer_cancel_sync(&pit->timer);
}

void pit_get_state(struct pit *pit, struct kvm_pit_state2 *s)
{
	memset(s, 0, sizeof(*s));
	host_mutex_lock(&pit->lock);
	memcpy(s->channels, pit->channel, sizeof(s->channels));
	s->flags = pit->flags;
	host_mutex_unlock(&pit->lock);
}

void pit_set_state(struct pit *pit, const struct kvm_pit_state2 *s, bool with_flags)
{
	bool hpet;

	host_mutex_lock(&pit->lock);
	hpet = with_flags && (s->flags & ~pit->flags & KVM_PIT_FLAGS_HPET_LEGACY);
	memcpy(pit->channel, s->channels, sizeof(pit->channel));
	if (with_flags)
		pit->flags = s->flags;
	for (unsigned i = 0; i < 3; i++)
		load_count(pit, i, pit->channel[i].count & 0x1ffff, hpet && i == 0);
	host_mutex_unlock(&pit->lock);
}
