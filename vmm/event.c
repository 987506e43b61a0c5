// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "vmm/event.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/fail.h"

int event_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd >= 0 ? fd : vmm_fail_errno("eventfd");
}

void event_fd_signal(int fd)
{
	u64 one = 1;

	/* EAGAIN means the counter is full: the reader is told already. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void event_fd_clear(int fd)
{
	u64 count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

int event_loop_create(struct event_loop *loop)
{
	memset(loop, 0, sizeof(*loop));
	loop->stop_fd = event_fd();
	return loop->stop_fd < 0 ? -1 : 0;
}

void event_loop_destroy(struct event_loop *loop)
{
	if (loop->stop_fd >= 0)
		close(loop->stop_fd);
	loop->stop_fd = -1;
}

int event_loop_add(struct event_loop *loop, struct event_source *source)
{
	if (loop->nsources == EVENT_SOURCES_MAX)
		return vmm_fail("too many event sources");
	loop->source[loop->nsources++] = source;
	return 0;
}

void event_loop_remove(struct event_loop *loop, struct event_source *source)
{
	for (unsigned i = 0; i < loop->nsources; i++) {
		if (loop->source[i] == source) {
			loop->source[i] = loop->source[--loop->nsources];
			return;
		}
	}
}

bool event_loop_stopping(const struct event_loop *loop)
{
	return atomic_read_acquire(&loop->stop);
}

static void dispatch(struct event_loop *loop, const struct pollfd *polled, unsigned n)
{
	for (unsigned i = 0; i < n && !event_loop_stopping(loop); i++) {
		struct event_source *source = loop->source[i];

		if (polled[i].revents && polled[i].fd == source->fd)
			source->ready(source, polled[i].revents);
	}
}

void event_loop_run(struct event_loop *loop)
{
	struct pollfd polled[EVENT_SOURCES_MAX + 1];

	while (!event_loop_stopping(loop)) {
		unsigned n = loop->nsources;

		for (unsigned i = 0; i < n; i++) {
			const struct event_source *source = loop->source[i];

			polled[i] = (struct pollfd){
				.fd = source->events ? source->fd : -1,
				.events = source->events,
			};
		}
		polled[n] = (struct pollfd){ .fd = loop->stop_fd, .events = POLLIN };
		if (poll(polled, n + 1, -1) > 0)
			dispatch(loop, polled, n);
	}
	event_fd_clear(loop->stop_fd);
}

static void *event_loop_thread(void *arg)
{
	event_loop_run(arg);
	return NULL;
}

int event_loop_start(struct event_loop *loop, const char *name)
{
	sigset_t all, old;
	int error;

	sigfillset(&all);
	/* Faults must reach their handlers. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&loop->thread, NULL, event_loop_thread, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error) {
		errno = error;
		return vmm_fail_errno("cannot start the %s thread", name);
	}
	pthread_setname_np(loop->thread, name);
	loop->has_thread = true;
	return 0;
}

void event_loop_stop(struct event_loop *loop)
{
	atomic_set_release(&loop->stop, true);
	event_fd_signal(loop->stop_fd);
}

void event_loop_join(struct event_loop *loop)
{
	if (!loop->has_thread)
		return;
	event_loop_stop(loop);
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
}
