/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host layer's own thread: runs timers and eventfd listeners, one callback at a time. All of the
 * program's signals are blocked in it.
 */
#ifndef ANYKVM_HOST_USER_SERVICE_H
#define ANYKVM_HOST_USER_SERVICE_H

#include "host/host.h"

/* Starts it unless it runs. Not [run]. 0 or -errno. */
int host_service_start(void);

/* The lock of timers and listeners. [run] */
void host_service_lock(void);
void host_service_unlock(void);
/* Runs call(arg) without the lock, which the caller (the service thread) holds; `what` identifies it. */
void host_service_callback(const void *what, void (*call)(void *arg), void *arg);
/* Caller holds the lock. Returns (with it held) when the callback of `what` does not run, at once on
 * the service thread itself. */
void host_service_wait(const void *what);

/* epoll on behalf of eventfd.c; tag is handed to host_eventfd_ready(). Caller holds the lock. */
int host_service_watch(int fd, void *tag);
void host_service_unwatch(int fd);
/* On the service thread, lock held. The tag may be out of date: eventfd.c checks. */
void host_eventfd_ready(void *tag);

/* Whether a write to fd is perhaps a signal that somebody listens to: two loads. */
bool host_eventfd_is_heard(int fd);
/* For the write that signals fd, inside host_enter(). True: whoever listens has been told, and nothing is to be written. */
bool host_eventfd_tell(int fd);

#endif
