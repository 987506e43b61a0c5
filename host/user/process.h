/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who we are: the process, its copies by fork, and the lazily built parts of the host layer.
 */
#ifndef ANYKVM_HOST_USER_PROCESS_H
#define ANYKVM_HOST_USER_PROCESS_H

#include "host/types.h"

/* Sets up what needs no thread and no descriptor: identity, fork handlers, fault signals. Idempotent
 * and thread-safe; anykvm_open() calls it first. -errno. */
int host_user_init(void);

/*
 * Whether the caller is a vfork child: another process that runs in the parent's memory until it
 * execs. What it closes or installs is its own, but the tables it would note that in are the
 * parent's: it must leave them alone.
 */
bool host_in_vfork_child(void);

/* Gives an internal descriptor a number out of the way of the VMM's; takes fd over. fd or -errno. */
int host_fd_move_high(int fd);

/* After fork, in the child: forget threads and locks that did not come along. */
void host_service_forked(void);
void host_file_forked(void);
void host_eventfd_forked(void);
void host_signals_forked(void);

#endif
