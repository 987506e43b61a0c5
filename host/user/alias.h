/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of the VMM's that may be mapped at further addresses (anykvm_share_memory() in include/anykvm.h): ranges, each one
 * mapping.
 */
#ifndef ANYKVM_HOST_USER_ALIAS_H
#define ANYKVM_HOST_USER_ALIAS_H

#include "host/types.h"

/* file: the memfd that it maps from its beginning, or -1; it is duplicated. 0 or -errno. Any thread. */
int host_alias_allow(u64 start, u64 size, int file);
void host_alias_forget(u64 start);
/* The end of the range that addr is in, 0: it is in none. Any thread; [run]. */
u64 host_alias_end(u64 addr);
bool host_alias_any(void);
/* The file of the range that addr is in, and where in it; -1: it is none. Any thread; [run]. */
int host_alias_file(u64 addr, u64 *offset);
/* The file of the first range that has one, or -1. */
int host_alias_any_file(void);

#endif
