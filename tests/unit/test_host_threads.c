// SPDX-License-Identifier: GPL-2.0-only
/* host/user without the shim: locks, timers and eventfds. Counts are bounded: what would hang is ended by an alarm. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "include/anykvm.h"

#define MS 1000000ull

/* ---- locks ---------------------------------------------------------------------------------------- */

static struct host_mutex shared_lock;
static u64 shared_count;

static void *count_up(void *unused)
{
	(void)unused;
	for (int i = 0; i < 50000; i++) {
		host_mutex_lock(&shared_lock);
		shared_count++;
		host_mutex_unlock(&shared_lock);
	}
	return NULL;
}

static void test_mutex(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, count_up, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(shared_count == 200000);
	assert_false(host_mutex_is_locked(&shared_lock));
	assert_true(host_mutex_trylock(&shared_lock));
	assert_false(host_mutex_trylock(&shared_lock));
	host_mutex_unlock(&shared_lock);
}

static void test_wait(void **state)
{
	u32 word = 1;

	(void)state;
	assert_int_equal(host_wait(&word, 2, 0), 0);
	assert_int_equal(host_wait(&word, 1, host_monotonic_ns() + MS), -ETIMEDOUT);
	assert_int_equal(host_wait(&word, 1, 1), -ETIMEDOUT);
}

/* ---- timers --------------------------------------------------------------------------------------- */

static u32 fired, fired_order;

struct numbered_timer {
	struct host_timer timer;
	u32 number, rearm;
};

static void wait_for(u32 *word, u32 at_least)
{
	u32 now;

	while ((now = atomic_read(word)) < at_least)
		host_wait(word, now, 0);
}

static void note_fired(struct host_timer *t)
{
	struct numbered_timer *n = container_of(t, struct numbered_timer, timer);

	fired_order = fired_order * 10 + n->number;
	if (n->rearm) {
		n->rearm--;
		host_timer_arm(t, host_monotonic_ns() + MS / 10);
	}
	atomic_add(&fired, 1);
	host_wake(&fired);
}

/* Three, one of them twice; a fourth is cancelled. Returns when the first is due, 0 if that has passed already. */
static u64 arm_in_order(struct numbered_timer *t)
{
	u64 base = host_monotonic_ns() + 20 * MS;

	fired = fired_order = 0;
	assert_int_equal(host_timer_arm(&t[2].timer, base + 3 * MS), 0);
	assert_int_equal(host_timer_arm(&t[0].timer, base + 90 * MS), 0);
	assert_int_equal(host_timer_arm(&t[1].timer, base + 2 * MS), 0);
	assert_int_equal(host_timer_arm(&t[3].timer, base + 1), 0);
	host_timer_arm(&t[0].timer, base + MS); /* earlier after all */
	host_timer_cancel(&t[3].timer);
	if (host_monotonic_ns() < base)
		return base;
	for (u32 i = 0; i < 4; i++)
		host_timer_cancel_sync(&t[i].timer);
	return 0;
}

static void test_timer_order(void **state)
{
	struct numbered_timer t[4] = { 0 };
	u64 base;

	(void)state;
	for (u32 i = 0; i < 4; i++) {
		t[i].number = i + 1;
		host_timer_init(&t[i].timer, note_fired);
	}
	while (!(base = arm_in_order(t)))
		;
	wait_for(&fired, 3);
	assert_true(host_monotonic_ns() >= base + 3 * MS);
	assert_int_equal(fired_order, 123);
	host_timer_arm(&t[3].timer, 1); /* long past */
	wait_for(&fired, 4);
}

static void test_timer_rearm(void **state)
{
	struct numbered_timer t = { .rearm = 200 };

	(void)state;
	fired = 0;
	host_timer_init(&t.timer, note_fired);
	host_timer_arm(&t.timer, 1);
	wait_for(&fired, 201);
	host_timer_cancel_sync(&t.timer);
	assert_int_equal(fired, 201);
}

static u32 in_callback, may_finish;

static void linger(struct host_timer *t)
{
	(void)t;
	atomic_set(&in_callback, 1);
	host_wake(&in_callback);
	while (!atomic_read(&may_finish))
		host_yield();
	atomic_set(&in_callback, 2);
}

static void *cancel_thread(void *timer)
{
	host_timer_cancel_sync(timer);
	return (void *)(uintptr_t)atomic_read(&in_callback);
}

static void test_timer_cancel_sync(void **state)
{
	struct host_timer t;
	pthread_t thread;
	void *seen;

	(void)state;
	for (int i = 0; i < 100; i++) {
		in_callback = may_finish = 0;
		host_timer_init(&t, linger);
		host_timer_arm(&t, 1);
		wait_for(&in_callback, 1);
		pthread_create(&thread, NULL, cancel_thread, &t);
		host_timer_cancel(&t); /* returns though the callback runs */
		atomic_set(&may_finish, 1);
		pthread_join(thread, &seen);
		assert_ptr_equal(seen, (void *)2);
	}
}

/* ---- eventfds ------------------------------------------------------------------------------------- */

static void count_event(void *arg)
{
	u32 *n = arg;

	atomic_add(n, 1);
	host_wake(n);
}

static void test_eventfd_identity(void **state)
{
	int fd = eventfd(0, 0), other = eventfd(0, 0), alias = dup(fd);
	struct host_eventfd *a, *b, *c;
	u64 value;

	(void)state;
	assert_int_equal(host_eventfd_get(-1, &a), -EBADF);
	assert_int_equal(host_eventfd_get(9999, &a), -EBADF);
	assert_int_equal(host_eventfd_get(STDERR_FILENO, &a), -EINVAL);
	assert_int_equal(host_eventfd_get(fd, &a), 0);
	assert_int_equal(host_eventfd_get(alias, &b), 0);
	assert_int_equal(host_eventfd_get(other, &c), 0);
	assert_true(host_eventfd_same(a, b));
	assert_false(host_eventfd_same(a, c));
	host_eventfd_signal(a, 3);
	close(fd);
	host_eventfd_put(a);
	host_eventfd_signal(b, 4);
	assert_int_equal(read(alias, &value, 8), 8);
	assert_true(value == 7);
	host_eventfd_put(b);
	host_eventfd_put(c);
	close(alias);
	close(other);
}

static void test_eventfd_listen(void **state)
{
	int fd = eventfd(5, 0); /* a blocking one, and non-zero already */
	struct host_eventfd *e, *again;
	u32 first = 0, second = 0;
	u64 one = 1;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &e), 0);
	assert_int_equal(host_eventfd_get(fd, &again), 0);
	assert_int_equal(host_eventfd_listen(e, NULL, count_event, &first), 0);
	wait_for(&first, 1);
	assert_int_equal(host_eventfd_listen(again, NULL, count_event, &second), 0);
	for (u32 i = 1; i <= 1000; i++) {
		assert_int_equal(write(fd, &one, 8), 8);
		wait_for(&second, i);
		wait_for(&first, i + 1);
	}
	host_eventfd_unlisten(e, count_event, &first);
	write(fd, &one, 8);
	wait_for(&second, 1001);
	assert_int_equal(first, 1001);
	host_eventfd_unlisten(again, count_event, &second);
	write(fd, &one, 8);
	assert_int_equal(read(fd, &one, 8), 8); /* nobody consumes it now */
	host_eventfd_put(e);
	host_eventfd_put(again);
	close(fd);
}

static bool count_now(void *arg)
{
	return atomic_add((u32 *)arg, 1) < 3;
}

static void never_called(void *arg)
{
	(void)arg;
	abort();
}

/* Told by the writing thread, unless the number is another file's by now or somebody else listens too. */
static void test_eventfd_tell(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK), copy = dup(fd);
	struct host_eventfd *e;
	u32 told = 0, second = 0;
	u64 value;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &e), 0);
	assert_false(host_eventfd_is_heard(fd));
	assert_int_equal(host_eventfd_listen(e, count_now, never_called, &told), 0);
	assert_true(host_eventfd_is_heard(fd));
	assert_false(host_eventfd_is_heard(other) || host_eventfd_is_heard(-1) || host_eventfd_is_heard(1 << 30));
	for (u32 i = 0; i < 3; i++)
		assert_true(host_eventfd_tell(fd));
	assert_false(host_eventfd_tell(fd)); /* it would not be told at once */
	assert_int_equal(told, 4);
	assert_int_equal(read(copy, &value, 8), -1);
	dup2(other, fd);
	assert_false(host_eventfd_tell(fd));
	dup2(copy, fd);
	assert_int_equal(host_eventfd_listen(e, NULL, count_event, &second), 0);
	assert_false(host_eventfd_tell(fd));
	assert_int_equal(told, 4);
	host_eventfd_unlisten(e, count_event, &second);
	host_eventfd_unlisten(e, never_called, &told);
	assert_false(host_eventfd_is_heard(fd) || host_eventfd_tell(fd));
	host_eventfd_put(e);
	close(fd);
	close(copy);
	close(other);
}

/* Listen and unlisten against a stream of signals: callbacks only in between. */
struct churn {
	struct host_eventfd *e;
	u32 listening, calls, wrong, stop;
};

static void check_listening(void *arg)
{
	struct churn *c = arg;

	if (!atomic_read(&c->listening))
		atomic_set(&c->wrong, 1);
	atomic_add(&c->calls, 1);
	host_wake(&c->calls);
}

static void *signal_stream(void *arg)
{
	struct churn *c = arg;

	while (!atomic_read(&c->stop))
		host_eventfd_signal(c->e, 1);
	return NULL;
}

static void test_eventfd_churn(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct churn c = { 0 };
	pthread_t thread;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &c.e), 0);
	pthread_create(&thread, NULL, signal_stream, &c);
	for (u32 i = 0; i < 500; i++) {
		u32 calls = atomic_read(&c.calls);

		atomic_set(&c.listening, 1);
		assert_int_equal(host_eventfd_listen(c.e, NULL, check_listening, &c), 0);
		if (i % 2)
			wait_for(&c.calls, calls + 1);
		host_eventfd_unlisten(c.e, check_listening, &c);
		atomic_set(&c.listening, 0);
	}
	atomic_set(&c.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(c.wrong, 0);
	host_eventfd_put(c.e);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_timer_order),
		cmocka_unit_test(test_timer_rearm),
		cmocka_unit_test(test_timer_cancel_sync),
		cmocka_unit_test(test_eventfd_identity),
		cmocka_unit_test(test_eventfd_listen),
		cmocka_unit_test(test_eventfd_tell),
		cmocka_unit_test(test_eventfd_churn),
	};

	alarm(900);
	assert_int_equal(host_user_init(), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
