/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A host for the interrupt and clock tests: time stands still until a test moves it, timers fire when it
 * does, a lock that is taken twice or left held fails the test, eventfds are counters. What is linked with
 * this is the code under test alone, not host/user (objects.mk).
 */
#ifndef ANYKVM_TESTS_UNIT_TEST_IRQ_HOST_H
#define ANYKVM_TESTS_UNIT_TEST_IRQ_HOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"

#define FAKE_KHZ 2000000u /* TSC: two ticks a nanosecond */
#define FAKE_REALTIME 1700000000000000000ull
#define MS 1000000ull

static u64 fake_now = 1000000000ull;
static struct host_timer *fake_timers;
static unsigned fake_locks_held;
static bool fake_yields_allowed;

/* ---- memory, locks ------------------------------------------------------------------------------ */

void *host_alloc(size_t size)
{
	void *p = aligned_alloc(64, (size + 63) & ~(size_t)63);

	return p ? memset(p, 0, size) : NULL;
}

void host_free(void *p)
{
	free(p);
}

void *host_alloc_shared(size_t size)
{
	return host_alloc(size);
}

void host_free_shared(void *p, size_t size)
{
	(void)size;
	host_free(p);
}

int host_copy_from_user(void *dst, u64 uaddr, size_t n)
{
	if (uaddr < 4096)
		return -EFAULT;
	memcpy(dst, (const void *)uaddr, n);
	return 0;
}

int host_copy_to_user(u64 uaddr, const void *src, size_t n)
{
	if (uaddr < 4096)
		return -EFAULT;
	memcpy((void *)uaddr, src, n);
	return 0;
}

void host_mutex_init(struct host_mutex *m)
{
	m->word = 0;
}

void host_mutex_lock(struct host_mutex *m)
{
	assert_int_equal(m->word, 0);
	m->word = 1;
	fake_locks_held++;
}

void host_mutex_unlock(struct host_mutex *m)
{
	assert_int_equal(m->word, 1);
	m->word = 0;
	fake_locks_held--;
}

void host_yield(void)
{
	if (!fake_yields_allowed)
		fail_msg("a writer waits for a reader that never ends");
}

/* ---- time --------------------------------------------------------------------------------------- */

u64 host_monotonic_ns(void)
{
	return fake_now;
}

u64 host_realtime_ns(void)
{
	return FAKE_REALTIME + fake_now;
}

static u64 fake_run_delay;

u64 host_run_delay_ns(void)
{
	return fake_run_delay;
}

bool host_has_run_delay(void)
{
	return true;
}

u64 host_tsc(void)
{
	return fake_now * 2;
}

u32 host_tsc_khz(void)
{
	return FAKE_KHZ;
}

void host_timer_init(struct host_timer *t, void (*fire)(struct host_timer *t))
{
	*t = (struct host_timer){ .fire = fire };
}

void host_timer_cancel(struct host_timer *t)
{
	struct host_timer **p = &fake_timers;

	while (*p && *p != t)
		p = &(*p)->next;
	if (*p)
		*p = t->next;
	t->deadline_ns = 0;
}

void host_timer_cancel_sync(struct host_timer *t)
{
	host_timer_cancel(t);
}

int host_timer_arm(struct host_timer *t, u64 deadline_ns)
{
	struct host_timer **p = &fake_timers;

	host_timer_cancel(t);
	while (*p && (*p)->deadline_ns <= deadline_ns)
		p = &(*p)->next;
	t->deadline_ns = deadline_ns;
	t->next = *p;
	*p = t;
	return 0;
}

/* Lets time pass; timers fire on the way, in order. */
static inline void fake_advance(u64 ns)
{
	u64 end = fake_now + ns;

	while (fake_timers && fake_timers->deadline_ns <= end) {
		struct host_timer *t = fake_timers;

		if (t->deadline_ns > fake_now)
			fake_now = t->deadline_ns;
		host_timer_cancel(t);
		t->fire(t);
	}
	fake_now = end;
	assert_int_equal(fake_locks_held, 0);
}

static inline unsigned fake_armed(void)
{
	unsigned n = 0;

	for (struct host_timer *t = fake_timers; t; t = t->next)
		n++;
	return n;
}

/* ---- eventfds: descriptors 100..107; 99 is something else, all others are closed ---------------- */

struct host_eventfd {
	int refs;
	u64 count;
	bool (*now)(void *arg);
	void (*notify)(void *arg);
	void *arg;
};

static struct host_eventfd fake_events[8];

int host_eventfd_get(int fd, struct host_eventfd **out)
{
	if (fd == 99)
		return -EINVAL;
	if (fd < 100 || fd > 107)
		return -EBADF;
	*out = &fake_events[fd - 100];
	(*out)->refs++;
	return 0;
}

void host_eventfd_put(struct host_eventfd *e)
{
	assert_true(e->refs > 0);
	e->refs--;
}

bool host_eventfd_same(const struct host_eventfd *a, const struct host_eventfd *b)
{
	return a == b;
}

void host_eventfd_signal(struct host_eventfd *e, u64 n)
{
	e->count += n;
}

int host_eventfd_listen(struct host_eventfd *e, bool (*now)(void *arg), void (*notify)(void *arg), void *arg)
{
	assert_null(e->notify);
	e->now = now;
	e->notify = notify;
	e->arg = arg;
	return 0;
}

void host_eventfd_unlisten(struct host_eventfd *e, void (*notify)(void *arg), void *arg)
{
	assert_ptr_equal(e->notify, notify);
	assert_ptr_equal(e->arg, arg);
	e->notify = NULL;
}

#endif
