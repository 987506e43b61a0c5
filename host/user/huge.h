/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Huge pages for guest memory that the VMM has left to us (alias.h). Shared memory does not get them by itself on most
 * systems; asking for one costs as much as some sixty page faults, in place of 512.
 */
#ifndef ANYKVM_HOST_USER_HUGE_H
#define ANYKVM_HOST_USER_HUGE_H

#include "host/types.h"

#define HUGE_PIECE (2ull << 20)
/* Bits by hash of the pages in use of a piece; all are set when nothing more is to be done for it. Two pieces may share one. */
#define HUGE_PIECES (1u << 14)
extern u64 host_huge_seen[HUGE_PIECES];

void host_huge_note_slow(u64 addr);

/* A guest has come to use the page at addr. Once it uses some of a piece, that becomes a huge page. Any thread; [run]. */
static inline void host_huge_note(u64 addr)
{
	u64 seen = atomic_read(&host_huge_seen[addr / HUGE_PIECE % HUGE_PIECES]);

	if (unlikely(!(seen >> (addr >> 12 & 63) & 1)))
		host_huge_note_slow(addr);
}

/* [start, start + size) is another mapping now. */
void host_huge_forget(u64 start, u64 size);

#endif
