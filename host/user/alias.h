/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of the VMM's that may be mapped at further addresses (anykvm_share_memory() in include/anykvm.h): ranges, each one
 * mapping.
 */
#ifndef ANYKVM_HOST_USER_ALIAS_H
#define ANYKVM_HOST_USER_ALIAS_H

#include "host/types.h"

/* 0 or -ENOSPC. Any thread. */
int host_alias_allow(u64 start, u64 size);
void host_alias_forget(u64 start);
/* The end of the range that addr is in, 0: it is in none. Any thread; [run]. */
u64 host_alias_end(u64 addr);
bool host_alias_any(void);

#endif
