/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Readers that take no lock, and writers that wait for them: for the routing table and the device lists,
 * which every thread of the VMM may use at any time, also those that are no vCPU (vm_sync_vcpus() does not
 * see them).
 *
 * A reader counts itself in one of two generations; srcu_sync() switches the generation twice and waits
 * each time until the old one is empty. The counters are spread, so that vCPUs do not fight for one cache
 * line. Read sections are short and do not sleep beyond leaf locks; srcu_sync() must not be called inside
 * one.
 */
#ifndef ANYKVM_KVM_SRCU_H
#define ANYKVM_KVM_SRCU_H

#include "host/host.h"

#define SRCU_SPREAD 16

struct srcu {
	struct host_mutex writer;
	u32 generation;
	struct {
		u32 readers[2];
	} __attribute__((aligned(64))) slot[SRCU_SPREAD];
};

static inline void srcu_init(struct srcu *s)
{
	host_mutex_init(&s->writer);
}

/* The token goes to srcu_leave(). Threads have stacks of their own: the stack's address tells them apart. */
static inline u32 *srcu_enter(struct srcu *s)
{
	u64 stack = (u64)__builtin_frame_address(0) >> 16;
	u32 *readers = &s->slot[stack * 0x9e3779b97f4a7c15ull >> 60].readers[atomic_read(&s->generation) & 1];

	atomic_add(readers, 1);
	return readers;
}

static inline void srcu_leave(u32 *readers)
{
	atomic_add(readers, -1);
}

/* What was unpublished before the call is used by nobody after it. */
static inline void srcu_sync(struct srcu *s)
{
	host_mutex_lock(&s->writer);
	for (unsigned turn = 0; turn < 2; turn++) {
		u32 old = atomic_add(&s->generation, 1) & 1;

		for (unsigned i = 0; i < SRCU_SPREAD; i++) {
			while (atomic_read_acquire(&s->slot[i].readers[old]))
				host_yield();
		}
	}
	host_mutex_unlock(&s->writer);
}

#endif
