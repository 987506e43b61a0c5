/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A split virtqueue seen from the device (virtio 1.2, 2.7). The rings lie in guest memory, which the
 * guest may change at any moment: each value is read once, checked, and only the copy is used.
 *
 * A ring that breaks the rules makes the queue broken: it gives no more requests until it is reset.
 */
#ifndef ANYKVM_VMM_VIRTIO_QUEUE_H
#define ANYKVM_VMM_VIRTIO_QUEUE_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "host/types.h"
#include "vmm/memory.h"

#define VIRTQ_SIZE_MAX 256

struct virtq {
	/* What the driver sets up. */
	u16 size;
	u64 desc_gpa, avail_gpa, used_gpa;
	bool ready;
	bool event_idx;
	/* Ours while ready. */
	const struct guest_memory *memory;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	u16 next_avail;
	u16 next_used;
	u16 signalled_used; /* next_used when the driver was last asked about */
	bool broken;
};

/* A request: descriptors the device reads, then those it writes. */
struct virtq_chain {
	u16 head;
	unsigned nreadable, nwritable;
	struct iovec iov[VIRTQ_SIZE_MAX];
};

enum virtq_result { VIRTQ_EMPTY, VIRTQ_REQUEST, VIRTQ_BROKEN };

void virtq_reset(struct virtq *q);
/* Takes the addresses that the driver gave; false if they are not all memory, aligned, of legal size. */
bool virtq_enable(struct virtq *q, const struct guest_memory *memory, bool event_idx);

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *chain);
void virtq_push(struct virtq *q, const struct virtq_chain *chain, u32 written);
/* Whether the driver wants an interrupt for what was pushed since this was asked last. */
bool virtq_should_interrupt(struct virtq *q);
/* Asks for a kick at the next request; true if one is there already. */
bool virtq_rearm(struct virtq *q);

/* Bytes in n vectors. */
u64 iov_size(const struct iovec *iov, unsigned n);
/* Copies and consumes up to size bytes from the front; returns how many. */
size_t iov_take(struct iovec **iov, unsigned *n, void *to, size_t size);
/* Copies up to size bytes to the front, without consuming; returns how many. */
size_t iov_fill(const struct iovec *iov, unsigned n, const void *from, size_t size);

#endif
