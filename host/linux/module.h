/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of host/linux/ share. */
#ifndef ANYKVM_HOST_LINUX_MODULE_H
#define ANYKVM_HOST_LINUX_MODULE_H

#include <linux/fs.h>
#include <linux/workqueue.h>

/* Callbacks of timers and eventfds. */
extern struct workqueue_struct *host_workqueue;

/* While the module is loaded: learning that the machine goes down, and of preemption. */
int host_cpus_watch(void);
void host_cpus_unwatch(void);

#endif
