// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/io.h"

#include <string.h>

#include "vmm/fail.h"

int io_register(struct io_space *space, const char *name, u64 start, u64 size, io_handler handler,
		void *opaque)
{
	if (space->nregions == IO_REGIONS_MAX)
		return vmm_fail("%s: too many I/O regions", name);
	for (unsigned i = 0; i < space->nregions; i++) {
		const struct io_region *r = &space->region[i];

		if (start < r->start + r->size && r->start < start + size)
			return vmm_fail("%s: I/O region overlaps %s", name, r->name);
	}
	space->region[space->nregions++] = (struct io_region){
		.start = start,
		.size = size,
		.handler = handler,
		.opaque = opaque,
		.name = name,
	};
	return 0;
}

static const struct io_region *io_find(const struct io_space *space, u64 address, unsigned size)
{
	for (unsigned i = 0; i < space->nregions; i++) {
		const struct io_region *r = &space->region[i];

		if (address >= r->start && address - r->start < r->size &&
		    size <= r->size - (address - r->start))
			return r;
	}
	return NULL;
}

void io_access(const struct io_space *space, u64 address, u8 *data, unsigned size, bool write)
{
	const struct io_region *r = io_find(space, address, size);

	if (r)
		r->handler(r->opaque, address - r->start, data, size, write);
	else if (!write)
		memset(data, 0xff, size);
}
