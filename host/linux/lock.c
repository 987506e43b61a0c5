// SPDX-License-Identifier: GPL-2.0-only
/* Locks and waiting on a word, as the core has them, over the kernel's wait queues that are hashed by address. */
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/spinlock.h>
#include <linux/wait_bit.h>
#include "host/host.h"
#include "host/hw.h"

/* ---- mutex: 0 free, 1 held, 2 held and somebody may wait -------------------------------------------- */

void host_mutex_init(struct host_mutex *m)
{
	m->word = 0;
}

bool host_mutex_trylock(struct host_mutex *m)
{
	return cmpxchg_acquire(&m->word, 0, 1) == 0;
}

void host_mutex_lock(struct host_mutex *m)
{
	might_sleep();
	if (!host_mutex_trylock(m))
		wait_var_event(&m->word, xchg_acquire(&m->word, 2) == 0);
}

int host_mutex_lock_killable(struct host_mutex *m)
{
	might_sleep();
	if (host_mutex_trylock(m))
		return 0;
	return wait_var_event_killable(&m->word, xchg_acquire(&m->word, 2) == 0) ? -EINTR : 0;
}

void host_mutex_unlock(struct host_mutex *m)
{
	if (xchg(&m->word, 0) == 2)
		wake_up_var(&m->word);
}

bool host_mutex_is_locked(const struct host_mutex *m)
{
	return READ_ONCE(m->word) != 0;
}

/* ---- waiting on a word ---------------------------------------------------------------------------------- */

/* Sleeps once, until woken, interrupted or the deadline. */
static int sleep_until(u64 deadline_ns)
{
	ktime_t deadline = ns_to_ktime(deadline_ns);

	if (!deadline_ns) {
		schedule();
		return 0;
	}
	return schedule_hrtimeout(&deadline, HRTIMER_MODE_ABS) ? 0 : -ETIMEDOUT;
}

int host_wait(u32 *word, u32 expected, u64 deadline_ns)
{
	struct wait_queue_head *queue = __var_waitqueue(word);
	struct wait_bit_queue_entry entry;
	int r = 0;

	init_wait_var_entry(&entry, word, 0);
	prepare_to_wait_event(queue, &entry.wq_entry, TASK_INTERRUPTIBLE);
	if (READ_ONCE(*word) == expected) {
		if (signal_pending(current))
			r = -EINTR;
		else
			r = sleep_until(deadline_ns);
	}
	finish_wait(queue, &entry.wq_entry);
	return r;
}

void host_wake(u32 *word)
{
	smp_mb(); /* between the change of the word and the look at the queue */
	wake_up_var(word);
}

void host_yield(void)
{
	if (fatal_signal_pending(current) || !need_resched())
		usleep_range(5, 50); /* a waiter of higher priority lets the other one run, too */
	else
		cond_resched();
}

bool host_may_poll(void)
{
	return !need_resched() && !signal_pending(current) && single_task_running();
}

/* ---- spin lock --------------------------------------------------------------------------------------------- */

void host_spin_lock(struct host_spin *s)
{
	BUILD_BUG_ON(sizeof(spinlock_t) > sizeof(*s));
	__release(s); /* for sparse: the caller's own */
	spin_lock((spinlock_t *)s);
}

void host_spin_unlock(struct host_spin *s)
{
	spin_unlock((spinlock_t *)s);
	__acquire(s);
}
