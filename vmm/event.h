/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A poll(2) loop over a handful of descriptors. poll, not epoll: standard input and output may be
 * regular files, which epoll refuses.
 *
 * Sources are added before the loop runs, or by its own callbacks; a callback changes its interest
 * by setting .events (0: none, hang-ups included). event_loop_stop() may come from any thread.
 */
#ifndef ANYKVM_VMM_EVENT_H
#define ANYKVM_VMM_EVENT_H

#include <pthread.h>

#include "host/types.h"

#define EVENT_SOURCES_MAX 64

struct event_source {
	int fd;
	short events; /* POLLIN, POLLOUT */
	void (*ready)(struct event_source *source, short revents);
};

struct event_loop {
	struct event_source *source[EVENT_SOURCES_MAX];
	unsigned nsources;
	int stop_fd;
	bool stop;
	pthread_t thread;
	bool has_thread;
};

int event_loop_create(struct event_loop *loop);
void event_loop_destroy(struct event_loop *loop);
int event_loop_add(struct event_loop *loop, struct event_source *source);
void event_loop_remove(struct event_loop *loop, struct event_source *source);

/* Runs on the calling thread until stopped. */
void event_loop_run(struct event_loop *loop);
/* Runs on a thread of its own, all signals blocked, until event_loop_join(). */
int event_loop_start(struct event_loop *loop, const char *name);
void event_loop_stop(struct event_loop *loop);
void event_loop_join(struct event_loop *loop);
bool event_loop_stopping(const struct event_loop *loop);

/* Eventfds, non-blocking. */
int event_fd(void);
void event_fd_signal(int fd);
void event_fd_clear(int fd);

#endif
