// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory.h"

#include <sys/mman.h>

#include "include/anykvm.h"
#include "vmm/fail.h"

#define HUGE_PAGE (2ull << 20)

/*
 * Aligned for huge pages, which save most of the cost of first touches: on a virtual machine each
 * fault costs microseconds, whatever its size.
 */
static u8 *map_aligned(u64 size)
{
	u8 *map, *aligned;

	map = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	aligned = (u8 *)(((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	if (aligned > map)
		munmap(map, aligned - map);
	if (aligned + size < map + size + HUGE_PAGE)
		munmap(aligned + size, map + HUGE_PAGE - aligned);
	madvise(aligned, size, MADV_HUGEPAGE);
	/* A child (there should be none) must not double the guest's memory. */
	madvise(aligned, size, MADV_DONTFORK);
	return aligned;
}

int guest_memory_create(struct guest_memory *memory, u64 size)
{
	u64 low = min_u64(size, PCI_HOLE_START);

	memory->base = map_aligned(size);
	if (!memory->base)
		return vmm_fail_errno("cannot map %llu MiB of guest memory", (unsigned long long)size >> 20);
	memory->size = size;
	anykvm_alias_memory(memory->base, size); /* the guest is slower without */
	memory->slot[0] = (struct memory_slot){ .gpa = 0, .size = low, .hva = memory->base };
	memory->nslots = 1;
	if (size > low) {
		memory->slot[1] = (struct memory_slot){
			.gpa = HIGH_MEMORY_START,
			.size = size - low,
			.hva = memory->base + low,
		};
		memory->nslots = 2;
	}
	return 0;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	if (memory->base) {
		anykvm_alias_memory(memory->base, 0);
		munmap(memory->base, memory->size);
	}
	memory->base = NULL;
	memory->nslots = 0;
}

void *guest_memory_at(const struct guest_memory *memory, u64 gpa, u64 size)
{
	for (unsigned i = 0; i < memory->nslots; i++) {
		const struct memory_slot *slot = &memory->slot[i];
		u64 offset = gpa - slot->gpa;

		if (gpa >= slot->gpa && offset < slot->size && size <= slot->size - offset)
			return slot->hva + offset;
	}
	return NULL;
}
