// SPDX-License-Identifier: GPL-2.0-only
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vmm/memory.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "include/anykvm.h"
#include "vmm/fail.h"

#define HUGE_PAGE (2ull << 20)
/* Page faults of a whole piece cost less than a huge page that takes longer (host/user/huge.c says why it may). */
#define DEAR_NS 1000000

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/*
 * Aligned for huge pages, which save most of the cost of first touches: on a virtual machine each
 * fault costs microseconds, whatever its size. The offset within the mapping has to be aligned too.
 */
static u8 *map_aligned(u64 size, int fd)
{
	u8 *room, *aligned;

	room = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	aligned = (u8 *)(((uintptr_t)room + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	if (aligned > room)
		munmap(room, aligned - room);
	if (aligned + size < room + size + HUGE_PAGE)
		munmap(aligned + size, room + HUGE_PAGE - aligned);
	if (mmap(aligned, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		munmap(aligned, size);
		return NULL;
	}
	madvise(aligned, size, MADV_HUGEPAGE);
	/* A child (there should be none) must not double the guest's memory. */
	madvise(aligned, size, MADV_DONTFORK);
	return aligned;
}

int guest_memory_create(struct guest_memory *memory, u64 size)
{
	u64 low = min_u64(size, PCI_HOLE_START);
	int fd = memfd_create("guest-memory", MFD_CLOEXEC);

	memory->base = NULL;
	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		memory->base = map_aligned(size, fd);
	if (memory->base)
		anykvm_alias_memory(memory->base, size, fd); /* the guest is slower without */
	if (fd >= 0)
		close(fd);
	if (!memory->base)
		return vmm_fail_errno("cannot map %llu MiB of guest memory", (unsigned long long)size >> 20);
	memory->size = size;
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

static bool make_huge(u8 *piece)
{
	struct timespec before, after;
	bool made;

	clock_gettime(CLOCK_MONOTONIC, &before);
	*(volatile u8 *)piece = 0; /* where nothing is there the system refuses */
	made = !madvise(piece, HUGE_PAGE, MADV_COLLAPSE);
	clock_gettime(CLOCK_MONOTONIC, &after);
	return made && (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec < DEAR_NS;
}

/* What the guest itself comes to use the engine sees. */
void guest_memory_prepare(u8 *start, u64 size)
{
	u8 *first = (u8 *)(((uintptr_t)start + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));

	for (u8 *p = first; p + HUGE_PAGE <= start + size && make_huge(p); p += HUGE_PAGE)
		;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	if (memory->base) {
		anykvm_alias_memory(memory->base, 0, -1);
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
