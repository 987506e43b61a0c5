/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The service thread and its timers.
 *
 * One epoll instance: a timerfd for the earliest timer, and every eventfd that is listened to. Armed
 * timers are a sorted list: there are a few per vCPU. Arming costs a system call only where the new
 * deadline is earlier than the one the timerfd is set to; a later one is found when that expires.
 *
 * `current` is the callback being run, `rounds` counts callbacks: who waits for one to end sleeps on
 * it. Callbacks run without the lock and may arm, cancel, listen and unlisten, themselves included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "host/user/process.h"
#include "host/user/service.h"
#include "host/user/signals.h"
#include "host/user/sys.h"

#define NS_PER_S 1000000000ull
#define SERVICE_STACK (256 * 1024)
#define SERVICE_EVENTS 16

static struct service {
	struct host_mutex start_lock; /* held while the thread is started */
	struct host_mutex lock;	      /* guards all below */
	bool started;
	int epoll;
	int timerfd;
	u64 programmed; /* deadline that the timerfd is set to; 0: none */
	struct host_timer *armed;
	const void *current;
	u32 rounds;
	u32 waiters;
} service;

static HOST_PER_THREAD bool on_service_thread;

void host_service_lock(void)
{
	host_mutex_lock(&service.lock);
}

void host_service_unlock(void)
{
	host_mutex_unlock(&service.lock);
}

void host_service_callback(const void *what, void (*call)(void *arg), void *arg)
{
	service.current = what;
	host_service_unlock();
	call(arg);
	host_service_lock();
	service.current = NULL;
	atomic_add(&service.rounds, 1);
	if (service.waiters)
		host_wake(&service.rounds);
}

void host_service_wait(const void *what)
{
	if (on_service_thread)
		return;
	service.waiters++;
	while (service.current == what) {
		u32 round = atomic_read(&service.rounds);

		host_service_unlock();
		host_wait(&service.rounds, round, 0);
		host_service_lock();
	}
	service.waiters--;
}

int host_service_watch(int fd, void *tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = tag };

	return (int)sys_call4(SYS_epoll_ctl, service.epoll, EPOLL_CTL_ADD, fd, (long)&ev);
}

void host_service_unwatch(int fd)
{
	struct epoll_event none = { 0 };

	sys_call4(SYS_epoll_ctl, service.epoll, EPOLL_CTL_DEL, fd, (long)&none);
}

/* ---- timers ---------------------------------------------------------------------------------- */

/* Caller holds the lock. 0 disarms. */
static void timerfd_program(u64 deadline_ns)
{
	struct itimerspec when = {
		.it_value = { (time_t)(deadline_ns / NS_PER_S), (long)(deadline_ns % NS_PER_S) },
	};

	service.programmed = deadline_ns;
	sys_call4(SYS_timerfd_settime, service.timerfd, TFD_TIMER_ABSTIME, (long)&when, 0);
}

static void timer_unlink(struct host_timer *t)
{
	struct host_timer **p = &service.armed;

	if (!t->deadline_ns)
		return;
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	t->deadline_ns = 0;
}

static void timer_link(struct host_timer *t, u64 deadline_ns)
{
	struct host_timer **p = &service.armed;

	while (*p && (*p)->deadline_ns <= deadline_ns)
		p = &(*p)->next;
	t->deadline_ns = deadline_ns;
	t->next = *p;
	*p = t;
}

static void timer_call(void *arg)
{
	struct host_timer *t = arg;

	t->fire(t);
}

/* On the service thread, lock held. */
static void timers_run(void)
{
	u64 now = host_monotonic_ns();

	while (service.armed && service.armed->deadline_ns <= now) {
		struct host_timer *t = service.armed;

		timer_unlink(t);
		host_service_callback(t, timer_call, t);
	}
	/* Also resets the timerfd's expiry count, so it need not be read. */
	if (service.armed || service.programmed)
		timerfd_program(service.armed ? service.armed->deadline_ns : 0);
}

void host_timer_init(struct host_timer *t, void (*fire)(struct host_timer *t))
{
	*t = (struct host_timer){ .fire = fire };
	host_service_start(); /* a failure shows when the timer is armed */
}

int host_timer_arm(struct host_timer *t, u64 deadline_ns)
{
	if (!deadline_ns)
		deadline_ns = 1;
	host_service_lock();
	if (!service.started) {
		host_service_unlock();
		return -EAGAIN;
	}
	timer_unlink(t);
	timer_link(t, deadline_ns);
	/* The service thread itself programs the timerfd when its callbacks are done. */
	if (!on_service_thread && (!service.programmed || deadline_ns < service.programmed))
		timerfd_program(deadline_ns);
	host_service_unlock();
	return 0;
}

/*
 * An expiry for nothing would cost more than the call that prevents it; also one of an earlier deadline that this timer had
 * before it was put off.
 */
void host_timer_cancel(struct host_timer *t)
{
	u64 next;

	host_service_lock();
	timer_unlink(t);
	next = service.armed ? service.armed->deadline_ns : 0;
	if (service.programmed && next != service.programmed && !on_service_thread)
		timerfd_program(next);
	host_service_unlock();
}

void host_timer_cancel_sync(struct host_timer *t)
{
	host_service_lock();
	do {
		timer_unlink(t);
		host_service_wait(t);
	} while (t->deadline_ns); /* its last callback may have armed it again */
	host_service_unlock();
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *service_main(void *unused)
{
	struct epoll_event events[SERVICE_EVENTS];

	(void)unused;
	on_service_thread = true;
	sys_call3(SYS_prctl, PR_SET_NAME, (long)"anykvm-service", 0);
	for (;;) {
		long n = sys_call4(SYS_epoll_wait, service.epoll, (long)events, SERVICE_EVENTS, -1);

		host_service_lock();
		for (long i = 0; i < n; i++) {
			if (events[i].data.ptr)
				host_eventfd_ready(events[i].data.ptr);
			else
				timers_run();
		}
		/* A listener may have armed a timer, which host_timer_arm() leaves to us. */
		if (service.armed && service.armed->deadline_ns != service.programmed)
			timerfd_program(service.armed->deadline_ns);
		host_service_unlock();
	}
	return NULL;
}

static int thread_create(void)
{
	u64 block = HOST_BLOCK_ALL, old;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, SERVICE_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sys_sigmask(SIG_SETMASK, &block, &old);
	r = pthread_create(&thread, &attr, service_main, NULL);
	sys_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static void descriptors_close(void)
{
	if (service.timerfd > 0)
		sys_close(service.timerfd);
	if (service.epoll > 0)
		sys_close(service.epoll);
	service.timerfd = service.epoll = 0;
}

static int descriptors_open(void)
{
	int fd = (int)sys_call3(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0);

	if (fd < 0)
		return fd;
	service.epoll = host_fd_move_high(fd);
	fd = (int)sys_call3(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK, 0);
	if (fd >= 0) {
		service.timerfd = host_fd_move_high(fd);
		fd = host_service_watch(service.timerfd, NULL);
	}
	if (fd < 0)
		descriptors_close();
	return fd < 0 ? fd : 0;
}

static int service_create(void)
{
	int r = descriptors_open();

	if (r)
		return r;
	r = thread_create();
	if (r) {
		descriptors_close();
		return r;
	}
	host_service_lock();
	service.started = true;
	host_service_unlock();
	return 0;
}

int host_service_start(void)
{
	int r = 0;

	if (likely(atomic_read_acquire(&service.started)))
		return 0;
	host_mutex_lock(&service.start_lock);
	if (!service.started)
		r = service_create();
	host_mutex_unlock(&service.start_lock);
	return r;
}

void host_service_forked(void)
{
	/* The epoll instance is shared with the parent: closing our copy is all that is allowed. */
	descriptors_close();
	service = (struct service){ 0 };
}
