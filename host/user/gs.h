/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thread's GS base. Linux gives it no meaning in 64-bit processes, so a program may have its own use
 * for it; translated code finds its processor by it. It is borrowed from engine entry to exit, and is the
 * program's again while a signal handler of the program's runs in between (host/user/signals.c). Handlers
 * that the kernel calls without our knowledge, those of programs without the shim, find ours.
 */
#ifndef ANYKVM_HOST_USER_GS_H
#define ANYKVM_HOST_USER_GS_H

#include "host/types.h"

/* Before all others, once; any thread. false: the system does not let us. */
bool host_gs_init(void);
/* GS base becomes base until host_gs_return(). Does not nest. [run] */
void host_gs_borrow(const void *base);
void host_gs_return(void);

/* Around a handler of the program's: a no-op unless borrowed. */
u64 host_gs_suspend(void);
void host_gs_resume(u64 suspended);

#endif
