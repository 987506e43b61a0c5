/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions that tell of the processor without faulting, and so must not run directly (telling.c, direct.c). */
#ifndef ANYKVM_ENGINE_SOFT_TELLING_H
#define ANYKVM_ENGINE_SOFT_TELLING_H

#include "engine/soft/soft.h"
#include "host/user/twin.h"

/* As many as there are breakpoints for. */
#define TELLING_MOST HOST_TWIN_BREAKS
#define TELLING_BITS 13 /* of pages that are remembered */

/* How many there are in a page, and where the first of them begin, relative to it. */
struct telling {
	unsigned nr;
	int at[TELLING_MOST];
};

struct telling_page {
	const u8 *host;
	u64 sum;
	struct telling found;
};

/* Of a vCPU; zeroed: nothing is known. */
struct telling_memory {
	struct telling_page page[1u << TELLING_BITS];
};

/*
 * Without the pages before and after it (NULL) some are thought to that need not, and some that lie across its ends are not
 * seen. [run]
 */
void telling_find(struct telling_memory *m, struct telling *t, const u8 *page, const u8 *before, const u8 *after);

#endif
