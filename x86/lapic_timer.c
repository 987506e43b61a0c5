/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The LAPIC's timer: one-shot, periodic, TSC deadline.
 *
 * The host's timer thread does nothing but set timer.fired and kick; everything else happens on the owner's
 * thread, in lapic_timer_poll(), so no lock is needed. A callback that was on its way when the timer was
 * reprogrammed is recognised there: the new target has not been reached, and the host's timer is armed for
 * it again.
 */
#include "x86/lapic.h"

#define MIN_PERIOD_NS 200000u /* KVM's min_timer_period_us */

static bool counts(const struct lapic *l)
{
	return l->timer.mode == APIC_TIMER_ONESHOT || l->timer.mode == APIC_TIMER_PERIODIC;
}

static void timer_fired(struct host_timer *t)
{
	struct lapic *l = container_of(t, struct lapic, timer.host);

	atomic_set_release(&l->timer.fired, 1);
	l->ops->kick(l, false);
}

void lapic_timer_create(struct lapic *l)
{
	host_timer_init(&l->timer.host, timer_fired);
	l->timer.host.anywhere = true;
	l->timer.divide = 2;
}

void lapic_timer_stop(struct lapic *l)
{
	if (l->timer.target_ns)
		host_timer_cancel(&l->timer.host);
	l->timer.target_ns = 0;
	l->timer.period_ns = 0;
	l->timer.tsc_deadline = 0;
	atomic_set(&l->timer.fired, 0);
}

/* Arms for target_ns; one that has passed goes straight to the owner's next poll. */
static void arm(struct lapic *l, u64 target_ns, u64 now)
{
	l->timer.target_ns = target_ns;
	if (target_ns == ~0ull) /* never */
		return;
	if (target_ns > now && !host_timer_arm(&l->timer.host, target_ns))
		return;
	atomic_set(&l->timer.fired, 1);
	l->ops->recheck(l);
}

static void set_period(struct lapic *l)
{
	u64 period = (u64)l->regs[APIC_REG_TMICT] * l->timer.divide;

	if (l->timer.mode == APIC_TIMER_PERIODIC && period && period < MIN_PERIOD_NS)
		period = MIN_PERIOD_NS;
	l->timer.period_ns = period;
}

static u64 remaining_ns(const struct lapic *l, u64 now)
{
	u64 target = l->timer.target_ns, period = l->timer.period_ns;

	if (!target || !period)
		return 0;
	if (target > now)
		return target - now;
	return l->timer.mode == APIC_TIMER_PERIODIC ? period - (now - target) % period : 0;
}

void lapic_timer_start(struct lapic *l, u32 remaining)
{
	u64 now, ns = (u64)remaining * l->timer.divide;

	atomic_set(&l->timer.fired, 0);
	if (l->timer.mode == APIC_TIMER_DEADLINE) {
		if (!l->timer.tsc_deadline)
			return;
		ns = l->ops->tsc_to_ns(l, l->timer.tsc_deadline, &now);
		arm(l, ns, now);
		return;
	}
	if (!counts(l))
		return;
	set_period(l);
	if (!l->timer.period_ns)
		return;
	if (remaining == ~0u || ns > l->timer.period_ns || (!ns && l->timer.mode == APIC_TIMER_PERIODIC))
		ns = l->timer.period_ns;
	now = host_monotonic_ns();
	arm(l, now + ns, now);
}

void lapic_timer_mode_changed(struct lapic *l)
{
	u32 mode = l->regs[APIC_REG_LVT_TIMER] & l->timer.mode_mask;

	if (mode == l->timer.mode)
		return;
	if ((mode == APIC_TIMER_DEADLINE) != (l->timer.mode == APIC_TIMER_DEADLINE)) {
		lapic_timer_stop(l);
		atomic_set(&l->regs[APIC_REG_TMICT], 0);
	}
	l->timer.mode = mode;
	if (l->timer.period_ns)
		set_period(l);
}

void lapic_timer_divide_changed(struct lapic *l)
{
	u32 tdcr = l->regs[APIC_REG_TDCR], old = l->timer.divide;
	u64 now, left;

	l->timer.divide = 1u << ((((tdcr & 3) | (tdcr & 8) >> 1) + 1) & 7);
	if (l->timer.divide == old || !l->timer.period_ns || !l->timer.target_ns)
		return;
	now = host_monotonic_ns();
	left = remaining_ns(l, now) * l->timer.divide / old;
	set_period(l);
	if (!l->timer.period_ns)
		return;
	host_timer_cancel(&l->timer.host);
	arm(l, now + left, now);
}

u32 lapic_timer_count(struct lapic *l)
{
	if (!l->timer.target_ns || !counts(l))
		return 0;
	return (u32)(remaining_ns(l, host_monotonic_ns()) / l->timer.divide);
}

void lapic_timer_poll(struct lapic *l)
{
	u64 now, target = l->timer.target_ns;

	if (!atomic_read(&l->timer.fired))
		return;
	atomic_xchg(&l->timer.fired, 0);
	if (!target)
		return;
	now = host_monotonic_ns();
	if (now < target) {
		host_timer_arm(&l->timer.host, target);
		return;
	}
	l->timer.target_ns = 0;
	lapic_deliver_local(l, APIC_REG_LVT_TIMER);
	if (l->timer.mode == APIC_TIMER_DEADLINE)
		l->timer.tsc_deadline = 0;
	/* Periods that were missed stay missed, as with a timer whose interrupt is still pending. */
	if (l->timer.mode == APIC_TIMER_PERIODIC && l->timer.period_ns)
		arm(l, now + l->timer.period_ns - (now - target) % l->timer.period_ns, now);
}

u64 lapic_timer_hand_over(struct lapic *l)
{
	if (!l->timer.target_ns || l->timer.target_ns == ~0ull)
		return 0;
	host_timer_cancel(&l->timer.host);
	return l->timer.target_ns;
}

void lapic_timer_take_back(struct lapic *l, bool expired)
{
	if (!l->timer.target_ns || l->timer.target_ns == ~0ull)
		return;
	if (expired || host_timer_arm(&l->timer.host, l->timer.target_ns))
		atomic_set(&l->timer.fired, 1);
}

u64 lapic_get_tsc_deadline(struct lapic *l)
{
	return lapic_enabled_hw(l) && l->timer.mode == APIC_TIMER_DEADLINE ? l->timer.tsc_deadline : 0;
}

void lapic_set_tsc_deadline(struct lapic *l, u64 value)
{
	if (!lapic_enabled_hw(l) || l->timer.mode != APIC_TIMER_DEADLINE)
		return;
	if (!value) {
		lapic_timer_stop(l);
		return;
	}
	l->timer.tsc_deadline = value;
	lapic_timer_start(l, ~0u);
}
