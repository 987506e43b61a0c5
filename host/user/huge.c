/* SPDX-License-Identifier: GPL-2.0-only */
#include <asm/mman.h>
#include <errno.h>

#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/huge.h"
#include "host/user/sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
/*
 * So many pages of a piece are in use before it becomes a huge one. What a guest uses now and then lies scattered, and must
 * not take up 2 MiB each.
 */
#define ENOUGH 8

/*
 * A huge page that costs more than the page faults that it saves: the host of this virtual machine has to find the memory
 * first (free page reporting takes just the large pieces away), or the kernel waited for all processors, which
 * MADV_COLLAPSE does, and they are busy. Then so many pieces stay as they are, and four times as many if the next is dear too.
 */
#define DEAR_NS 1000000
#define FIRST_PAUSE 16u
#define LONGEST_PAUSE 1024u

u64 host_huge_seen[HUGE_PIECES];
static bool refused; /* a */
static u32 pause, left; /* a: the last one; pieces yet to come in it */

/* What concerns this piece alone is no reason to stop asking: pages of it in somebody else's hands. */
static bool passing(long r)
{
	return r == -EAGAIN || r == -EBUSY;
}

static void judge(u64 took)
{
	u32 next = took > DEAR_NS ? (u32)min_u64(max_u64(atomic_read(&pause) * 4, FIRST_PAUSE), LONGEST_PAUSE) : 0;

	atomic_set(&pause, next);
	atomic_set(&left, next);
}

static void collapse(u64 start)
{
	u64 began = host_monotonic_ns();
	long r = sys_call3(SYS_madvise, (long)start, HUGE_PIECE, MADV_COLLAPSE);

	if (sys_failed(r) && !passing(r))
		atomic_set(&refused, true);
	judge(host_monotonic_ns() - began);
}

static bool pausing(void)
{
	u32 n = atomic_read(&left);

	atomic_set(&left, n ? n - 1 : 0);
	return n;
}

void host_huge_note_slow(u64 addr)
{
	u64 *seen = &host_huge_seen[addr / HUGE_PIECE % HUGE_PIECES], bit = BIT64(addr >> 12 & 63);
	u64 start = addr & ~(HUGE_PIECE - 1), end = host_alias_end(addr);

	if (!end || atomic_read(&refused))
		return;
	if (__builtin_popcountll(atomic_or(seen, bit) | bit) < ENOUGH || atomic_xchg(seen, ~0ull) == ~0ull)
		return;
	if (host_alias_end(start) != end || end - start < HUGE_PIECE || pausing())
		return;
	/* Where nothing is there yet, as the guest is only about to touch it, the system refuses. */
	sys_call3(SYS_madvise, (long)(addr & ~4095ull), 4096, MADV_POPULATE_READ);
	collapse(start);
}

void host_huge_forget(u64 start, u64 size)
{
	u64 last = (start + size - 1) / HUGE_PIECE;

	for (u64 piece = start / HUGE_PIECE; piece <= last && piece - start / HUGE_PIECE < HUGE_PIECES; piece++)
		atomic_set(&host_huge_seen[piece % HUGE_PIECES], 0);
}
