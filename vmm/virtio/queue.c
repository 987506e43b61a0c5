// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/virtio/queue.h"

#include <string.h>

#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* Where the event indexes lie: behind the other ring's entries. */
static u16 *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static u16 *avail_event(const struct virtq *q)
{
	return (u16 *)&q->used->ring[q->size];
}

void virtq_reset(struct virtq *q)
{
	memset(q, 0, sizeof(*q));
}

bool virtq_enable(struct virtq *q, const struct guest_memory *memory, bool event_idx)
{
	u64 size = q->size;

	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return false;
	if (q->desc_gpa % VRING_DESC_ALIGN_SIZE || q->avail_gpa % VRING_AVAIL_ALIGN_SIZE ||
	    q->used_gpa % VRING_USED_ALIGN_SIZE)
		return false;
	q->desc = guest_memory_at(memory, q->desc_gpa, size * sizeof(struct vring_desc));
	q->avail = guest_memory_at(memory, q->avail_gpa, sizeof(struct vring_avail) + size * 2 + 2);
	q->used = guest_memory_at(memory, q->used_gpa,
				  sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + 2);
	if (!q->desc || !q->avail || !q->used)
		return false;
	q->memory = memory;
	q->event_idx = event_idx;
	q->next_avail = q->next_used = q->signalled_used = 0;
	q->broken = false;
	q->ready = true;
	return true;
}

static enum virtq_result breaks(struct virtq *q)
{
	q->broken = true;
	return VIRTQ_BROKEN;
}

static bool chain_add(struct virtq *q, struct virtq_chain *chain, const struct vring_desc *d)
{
	unsigned n = chain->nreadable + chain->nwritable;
	void *base;

	if (d->len == 0)
		return true;
	base = guest_memory_at(q->memory, d->addr, d->len);
	if (!base || n == VIRTQ_SIZE_MAX)
		return false;
	if (d->flags & VRING_DESC_F_WRITE)
		chain->nwritable++;
	else if (chain->nwritable)
		return false; /* readable ones come first (2.7.4.2) */
	else
		chain->nreadable++;
	chain->iov[n] = (struct iovec){ .iov_base = base, .iov_len = d->len };
	return true;
}

/*
 * Follows a chain within a table of `size` descriptors from `index`. A table may be as long as the
 * guest likes, a chain no longer than the queue (2.7.5.3.1), which also ends loops.
 */
static bool walk(struct virtq *q, struct virtq_chain *chain, const u8 *table, u32 size, u16 index,
		 bool indirect)
{
	for (unsigned steps = 0; steps < q->size; steps++) {
		struct vring_desc d;

		if (index >= size)
			return false;
		memcpy(&d, table + (u64)index * sizeof(d), sizeof(d));
		compiler_barrier();
		if (d.flags & VRING_DESC_F_INDIRECT) {
			const u8 *inner;

			/* Neither nested nor continued (2.7.5.3.1); a preceding direct part is legal. */
			if (indirect || (d.flags & VRING_DESC_F_NEXT) || d.len == 0 || d.len % sizeof(d))
				return false;
			inner = guest_memory_at(q->memory, d.addr, d.len);
			return inner && walk(q, chain, inner, d.len / sizeof(d), 0, true);
		}
		if (!chain_add(q, chain, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		index = d.next;
	}
	return false;
}

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	u16 pending, head;

	if (!q->ready || q->broken)
		return VIRTQ_EMPTY;
	pending = (u16)(atomic_read_acquire(&q->avail->idx) - q->next_avail);
	if (pending == 0)
		return VIRTQ_EMPTY;
	if (pending > q->size)
		return breaks(q);
	head = atomic_read(&q->avail->ring[q->next_avail % q->size]);
	chain->head = head;
	chain->nreadable = chain->nwritable = 0;
	if (!walk(q, chain, (const u8 *)q->desc, q->size, head, false))
		return breaks(q);
	q->next_avail++;
	return VIRTQ_REQUEST;
}

void virtq_push(struct virtq *q, const struct virtq_chain *chain, u32 written)
{
	struct vring_used_elem *element = &q->used->ring[q->next_used % q->size];

	atomic_set(&element->id, chain->head);
	atomic_set(&element->len, written);
	q->next_used++;
	atomic_set_release(&q->used->idx, q->next_used);
}

bool virtq_should_interrupt(struct virtq *q)
{
	u16 old = q->signalled_used;

	if (q->next_used == old)
		return false;
	q->signalled_used = q->next_used;
	/* The used index must be out before the driver's wish is read. */
	atomic_fence();
	if (q->event_idx)
		return vring_need_event(atomic_read(used_event(q)), q->next_used, old);
	return !(atomic_read(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool virtq_rearm(struct virtq *q)
{
	if (!q->ready || q->broken)
		return false;
	if (q->event_idx)
		atomic_set(avail_event(q), q->next_avail);
	atomic_fence();
	return atomic_read(&q->avail->idx) != q->next_avail;
}

u64 iov_size(const struct iovec *iov, unsigned n)
{
	u64 size = 0;

	while (n--)
		size += (iov++)->iov_len;
	return size;
}

size_t iov_take(struct iovec **iov, unsigned *n, void *to, size_t size)
{
	size_t taken = 0;

	while (taken < size && *n) {
		size_t part = min_u64(size - taken, (*iov)->iov_len);

		memcpy((u8 *)to + taken, (*iov)->iov_base, part);
		taken += part;
		(*iov)->iov_base = (u8 *)(*iov)->iov_base + part;
		(*iov)->iov_len -= part;
		if ((*iov)->iov_len == 0) {
			(*iov)++;
			(*n)--;
		}
	}
	compiler_barrier();
	return taken;
}

size_t iov_fill(const struct iovec *iov, unsigned n, const void *from, size_t size)
{
	size_t filled = 0;

	for (; filled < size && n; iov++, n--) {
		size_t part = min_u64(size - filled, iov->iov_len);

		memcpy(iov->iov_base, (const u8 *)from + filled, part);
		filled += part;
	}
	return filled;
}
