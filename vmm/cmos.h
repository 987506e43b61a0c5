/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MC146818 clock and its 114 bytes of memory, ports 0x70 and 0x71. It tells the host's UTC plus
 * whatever the guest set; it raises no interrupt (guests have better timers).
 */
#ifndef ANYKVM_VMM_CMOS_H
#define ANYKVM_VMM_CMOS_H

#include <pthread.h>

#include "host/types.h"

#define CMOS_PORT 0x70
#define CMOS_PORTS 2

struct cmos {
	pthread_mutex_t lock; /* (c) all below */
	u8 index;
	u8 ram[128];
	s64 offset; /* seconds that the guest's clock is ahead of the host's */
	u64 (*now)(void); /* seconds since 1970 */
};

/* now: NULL for the host's clock; tests give theirs. */
void cmos_init(struct cmos *c, u64 (*now)(void));
void cmos_io(void *cmos, u64 offset, u8 *data, unsigned size, bool write);

#endif
