/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>

#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/huge.h"
#include "host/user/process.h"
#include "host/user/sys.h"

#define RANGES 64

static struct host_mutex lock;
/* Written under the lock; an end of 0 says that there is none. */
static struct {
	u64 start, end;
	int file;
} range[RANGES];
static u32 used; /* those from here on have never been */

int host_alias_allow(u64 start, u64 size, int file)
{
	int own = file < 0 ? -1 : sys_fcntl(file, F_DUPFD_CLOEXEC, 0), r = -ENOSPC;

	if (file >= 0 && own < 0)
		return own;
	if (own >= 0)
		own = host_fd_move_high(own);

	host_huge_forget(start, size);
	host_mutex_lock(&lock);
	for (unsigned i = 0; r && i < RANGES; i++) {
		if (range[i].end)
			continue;
		atomic_set(&range[i].file, own);
		atomic_set(&range[i].start, start);
		atomic_set_release(&range[i].end, start + size);
		atomic_set(&used, (u32)max_u64(used, i + 1));
		r = 0;
	}
	host_mutex_unlock(&lock);
	if (r && own >= 0)
		sys_close(own);
	return r;
}

void host_alias_forget(u64 start)
{
	host_mutex_lock(&lock);
	for (unsigned i = 0; i < RANGES; i++) {
		if (range[i].start != start || !range[i].end)
			continue;
		atomic_set(&range[i].end, 0);
		if (range[i].file >= 0)
			sys_close(range[i].file);
	}
	host_mutex_unlock(&lock);
}

u64 host_alias_end(u64 addr)
{
	for (unsigned i = 0; i < atomic_read(&used); i++) {
		u64 end = atomic_read_acquire(&range[i].end);

		if (addr < end && addr >= atomic_read(&range[i].start))
			return end;
	}
	return 0;
}

int host_alias_file(u64 addr, u64 *offset)
{
	for (unsigned i = 0; i < atomic_read(&used); i++) {
		u64 end = atomic_read_acquire(&range[i].end), start = atomic_read(&range[i].start);

		*offset = addr - start;
		if (addr < end && addr >= start)
			return atomic_read(&range[i].file);
	}
	return -1;
}

int host_alias_any_file(void)
{
	for (unsigned i = 0; i < atomic_read(&used); i++)
		if (atomic_read_acquire(&range[i].end) && atomic_read(&range[i].file) >= 0)
			return atomic_read(&range[i].file);
	return -1;
}

bool host_alias_any(void)
{
	bool any = false;

	for (unsigned i = 0; i < RANGES; i++)
		any |= atomic_read(&range[i].end) != 0;
	return any;
}
