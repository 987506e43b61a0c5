/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dispatch of port and memory-mapped accesses to devices. Regions are registered while the machine
 * is built and never change while it runs, so that vCPUs look them up without a lock.
 */
#ifndef ANYKVM_VMM_IO_H
#define ANYKVM_VMM_IO_H

#include "host/types.h"

#define IO_REGIONS_MAX 64

/* One access of 1, 2, 4 or 8 bytes at an offset into the region. Reads fill data[0..size). */
typedef void (*io_handler)(void *opaque, u64 offset, u8 *data, unsigned size, bool write);

struct io_region {
	u64 start, size;
	io_handler handler;
	void *opaque;
	const char *name;
};

struct io_space {
	struct io_region region[IO_REGIONS_MAX];
	unsigned nregions;
};

/* 0, or -1 with vmm_fail() on overlap or when full. */
int io_register(struct io_space *space, const char *name, u64 start, u64 size, io_handler handler,
		void *opaque);
/* An access that no region contains whole reads all ones and writes nothing, as on a PC's bus. */
void io_access(const struct io_space *space, u64 address, u8 *data, unsigned size, bool write);

#endif
