/* SPDX-License-Identifier: GPL-2.0-only */
/* The format is perf's tools/perf/Documentation/jit-interface.txt. Each line is one write, so that vCPUs need no lock. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdlib.h>

#include "engine/soft/perfmap.h"
#include "host/host.h"
#include "host/user/process.h"
#include "host/user/sys.h"

static struct host_mutex open_lock;
static int map_fd = -1;

static char *put_text(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

static char *put_number(char *to, u64 n, unsigned base)
{
	if (n >= base)
		to = put_number(to, n / base, base);
	*to = "0123456789abcdef"[n % base];
	return to + 1;
}

bool perfmap_wanted(void)
{
	const char *value = getenv("ANYKVM_PERF_MAP");

	return value && value[0] == '1';
}

static int create(void)
{
	char path[48], *end;
	long fd;

	end = put_number(put_text(path, "/tmp/perf-"), host_process_id(), 10);
	*put_text(end, ".map") = 0;
	/* Never through another user's link: whoever was there first is removed, or we do without. */
	sys_call3(SYS_unlink, (long)path, 0, 0);
	fd = sys_call3(SYS_open, (long)path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? -1 : host_fd_move_high((int)fd);
}

void perfmap_open(void)
{
	if (!perfmap_wanted())
		return;
	host_mutex_lock(&open_lock);
	if (map_fd < 0)
		atomic_set(&map_fd, create());
	host_mutex_unlock(&open_lock);
}

static char *put_range(char *to, const u8 *code, size_t size)
{
	to = put_text(put_number(to, (u64)code, 16), " ");
	return put_text(put_number(to, size, 16), " anykvm:");
}

static void put_line(const char *line, char *end)
{
	*end++ = '\n';
	sys_write(map_fd, line, (size_t)(end - line));
}

void perfmap_add(const u8 *code, size_t size, u64 linear, unsigned code_bits)
{
	char line[96], *end;

	if (likely(map_fd < 0))
		return;
	end = put_text(put_number(put_range(line, code, size), linear, 16), ":");
	put_line(line, put_number(end, code_bits, 10));
}

void perfmap_add_fixed(const u8 *code, size_t size)
{
	char line[96];

	if (map_fd >= 0)
		put_line(line, put_text(put_range(line, code, size), "fixed"));
}
