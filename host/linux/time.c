// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clocks and timers. A host_timer is an hrtimer; its callback runs in a worker, as it may take locks that sleep, or in
 * the interrupt itself if it says that it takes none (host_timer.anywhere).
 *
 * A timer that was cancelled or armed anew may still have its work queued: the worker looks at the deadline again.
 */
#include <linux/hrtimer.h>
#include <linux/cpu.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <asm/tsc.h>
#include "host/host.h"
#include "host/linux/module.h"

u64 host_monotonic_ns(void)
{
	return ktime_get_ns();
}

u64 host_realtime_ns(void)
{
	return ktime_get_real_ns();
}

u64 host_tsc(void)
{
	return rdtsc_ordered();
}

u64 host_run_delay_ns(void)
{
#ifdef CONFIG_SCHED_INFO
	return current->sched_info.run_delay;
#else
	return 0;
#endif
}

u64 host_thread_cpu_ns(void)
{
	return current->se.sum_exec_runtime;
}

bool host_smt_possible(void)
{
	return cpu_smt_possible();
}

bool host_has_run_delay(void)
{
	return IS_ENABLED(CONFIG_SCHED_INFO);
}

u32 host_tsc_khz(void)
{
	return tsc_khz;
}

/* ---- timers ------------------------------------------------------------------------------------------- */

/* In host_timer.os. */
struct os_timer {
	struct hrtimer hr;
	struct work_struct work;
};

static struct os_timer *os_of(struct host_timer *t)
{
	BUILD_BUG_ON(sizeof(struct os_timer) > sizeof(t->os));
	return (struct os_timer *)t->os;
}

static void fire_if_due(struct host_timer *t)
{
	u64 deadline = READ_ONCE(t->deadline_ns);

	if (deadline && host_monotonic_ns() >= deadline && cmpxchg(&t->deadline_ns, deadline, 0) == deadline)
		t->fire(t);
}

static void timer_work(struct work_struct *work)
{
	struct os_timer *os = container_of(work, struct os_timer, work);

	fire_if_due(container_of((u64 *)os, struct host_timer, os[0]));
}

static enum hrtimer_restart timer_expired(struct hrtimer *hr)
{
	struct os_timer *os = container_of(hr, struct os_timer, hr);
	struct host_timer *t = container_of((u64 *)os, struct host_timer, os[0]);

	if (t->anywhere)
		fire_if_due(t);
	else
		queue_work(host_workqueue, &os->work);
	return HRTIMER_NORESTART;
}

void host_timer_init(struct host_timer *t, void (*fire)(struct host_timer *t))
{
	struct os_timer *os = os_of(t);

	t->fire = fire;
	t->deadline_ns = 0;
	hrtimer_init(&os->hr, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	os->hr.function = timer_expired;
	INIT_WORK(&os->work, timer_work);
}

int host_timer_arm(struct host_timer *t, u64 deadline_ns)
{
	WRITE_ONCE(t->deadline_ns, deadline_ns);
	hrtimer_start(&os_of(t)->hr, ns_to_ktime(min_t(u64, deadline_ns, KTIME_MAX)), HRTIMER_MODE_ABS);
	return 0;
}

void host_timer_cancel(struct host_timer *t)
{
	WRITE_ONCE(t->deadline_ns, 0);
	hrtimer_try_to_cancel(&os_of(t)->hr);
}

void host_timer_cancel_sync(struct host_timer *t)
{
	struct os_timer *os = os_of(t);

	/* The callback may arm the timer again: whoever comes after this sees no deadline. */
	do {
		WRITE_ONCE(t->deadline_ns, 0);
		hrtimer_cancel(&os->hr);
		cancel_work_sync(&os->work);
	} while (READ_ONCE(t->deadline_ns) || hrtimer_active(&os->hr));
}
