/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mutexes and waiting, on futexes by raw system calls: a vCPU thread takes locks while the guest's
 * vector state is live, so pthread's are out of the question.
 *
 * The mutex word: 0 free, 1 held, 2 held and somebody may sleep. Nothing here is interrupted by a
 * signal for good: lock waits restart, host_wait() reports -EINTR to a caller that looks at its stop
 * word.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <time.h>

#include "host/host.h"
#include "host/user/sys.h"

#define NS_PER_S 1000000000ull
/* A futex round trip is some 6 microseconds; most of our critical sections are far shorter. */
#define MUTEX_SPINS 60

static long futex_wait(u32 *word, u32 expected, const struct timespec *until)
{
	return sys_call6(SYS_futex, (long)word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, (long)until,
			 0, FUTEX_BITSET_MATCH_ANY);
}

static void futex_wake(u32 *word, u32 count)
{
	sys_call3(SYS_futex, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}

static bool word_swap(u32 *word, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void host_mutex_init(struct host_mutex *m)
{
	atomic_set(&m->word, 0);
}

int host_mutex_lock_killable(struct host_mutex *m)
{
	host_mutex_lock(m);
	return 0;
}

bool host_mutex_trylock(struct host_mutex *m)
{
	return word_swap(&m->word, 0, 1);
}

static void mutex_lock_slow(struct host_mutex *m)
{
	for (int i = 0; i < MUTEX_SPINS; i++) {
		__builtin_ia32_pause();
		if (atomic_read(&m->word) == 0 && host_mutex_trylock(m))
			return;
	}
	while (atomic_xchg(&m->word, 2) != 0)
		futex_wait(&m->word, 2, NULL);
}

void host_mutex_lock(struct host_mutex *m)
{
	if (unlikely(!host_mutex_trylock(m)))
		mutex_lock_slow(m);
}

void host_mutex_unlock(struct host_mutex *m)
{
	if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2)
		futex_wake(&m->word, 1);
}

bool host_mutex_is_locked(const struct host_mutex *m)
{
	return atomic_read(&m->word) != 0;
}

/* Deadlines are guests' timers: the kernel shall not put them off for the sake of others (50 us, if nobody says so). */
static void be_precise(void)
{
	static HOST_PER_THREAD bool said;

	if (unlikely(!said))
		sys_call3(SYS_prctl, PR_SET_TIMERSLACK, 1, 0);
	said = true;
}

int host_wait(u32 *word, u32 expected, u64 deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / NS_PER_S),
		.tv_nsec = (long)(deadline_ns % NS_PER_S),
	};
	long r;

	if (deadline_ns)
		be_precise();
	r = futex_wait(word, expected, deadline_ns ? &until : NULL);
	return r == -ETIMEDOUT || r == -EINTR ? (int)r : 0;
}

void host_wake(u32 *word)
{
	futex_wake(word, INT32_MAX);
}

void host_yield(void)
{
	sys_call0(SYS_sched_yield);
}

bool host_may_poll(void)
{
	return true;
}
