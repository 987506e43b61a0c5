/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest physical memory as the VMM sees it: one host mapping, at most two slots with the PCI hole
 * between them. Whatever address and length come from the guest pass through guest_memory_at().
 */
#ifndef ANYKVM_VMM_MEMORY_H
#define ANYKVM_VMM_MEMORY_H

#include "host/types.h"

#define PCI_HOLE_START 0xc0000000ull
#define HIGH_MEMORY_START 0x100000000ull

struct memory_slot {
	u64 gpa;
	u64 size;
	u8 *hva;
};

struct guest_memory {
	u8 *base;
	u64 size; /* bytes in all */
	struct memory_slot slot[2];
	unsigned nslots;
};

/* size in bytes, a multiple of the page size. 0, or -1 with vmm_fail(). */
int guest_memory_create(struct guest_memory *memory, u64 size);
void guest_memory_destroy(struct guest_memory *memory);

/* Memory not used yet is about to be filled: faster in huge pages, where the host has them. */
void guest_memory_prepare(u8 *start, u64 size);

/* Host address of [gpa, gpa + size), NULL unless all of it is memory. Size 0 wants a valid gpa too. */
void *guest_memory_at(const struct guest_memory *memory, u64 gpa, u64 size);

#endif
