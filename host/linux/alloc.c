// SPDX-License-Identifier: GPL-2.0-only
/* Memory of the core's own. All of it is charged to the memory cgroup of the thread that asks. */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "host/host.h"
#include "host/hw.h"

#define HOST_ALIGN 64

void *host_alloc(size_t size)
{
	/* kmalloc aligns sizes that are powers of two to themselves; beyond a page all sizes are aligned enough. */
	if (size <= PAGE_SIZE)
		size = roundup_pow_of_two(max_t(size_t, size, HOST_ALIGN));
	else
		size = PAGE_ALIGN(size);
	if (size > INT_MAX)
		return NULL;
	return kvzalloc(size, GFP_KERNEL_ACCOUNT);
}

void host_free(void *p)
{
	kvfree(p);
}

void *host_alloc_pages(size_t size)
{
	return __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
}

void host_free_pages(void *p, size_t size)
{
	vfree(p);
}

/* Only translated code wants a guard. */
void *host_alloc_guarded(size_t size, size_t *guard)
{
	*guard = 0;
	return host_alloc_pages(size);
}

void host_free_guarded(void *p, size_t size, size_t guard)
{
	host_free_pages(p, size);
}

void *host_alloc_dense(size_t size)
{
	return host_alloc_pages(size);
}

void host_zero_pages(void *p, size_t size)
{
	memset(p, 0, size);
}

void *host_alloc_shared(size_t size)
{
	return host_alloc_pages(size);
}

void host_free_shared(void *p, size_t size)
{
	host_free_pages(p, size);
}

void *host_frames_alloc(unsigned int order)
{
	return (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, order);
}

void host_frames_free(void *p, unsigned int order)
{
	free_pages((unsigned long)p, order);
}

u64 host_frames_phys(const void *p)
{
	return __pa(p);
}

void *host_frames_virt(u64 phys)
{
	return __va(phys);
}

/* Nobody finds it from outside: what a VM counts is read from its descriptors. */
void *host_publish(struct host_published *out, const char *name, size_t size, size_t head)
{
	memset(out, 0, sizeof(*out));
	out->fd = -1;
	out->size = head;
	out->p = host_alloc_pages(head);
	return out->p;
}

struct part {
	struct part *next;
	size_t offset;
	u8 bytes[];
};

void *host_published_part(struct host_published *published, size_t offset, size_t size)
{
	struct part *part;

	for (part = published->parts; part; part = part->next) {
		if (part->offset == offset)
			return memset(part->bytes, 0, size);
	}
	part = host_alloc(sizeof(*part) + size);
	if (!part)
		return NULL;
	part->offset = offset;
	part->next = published->parts;
	published->parts = part;
	return part->bytes;
}

void host_unpublish(struct host_published *published)
{
	struct part *part, *next;

	for (part = published->parts; part; part = next) {
		next = part->next;
		host_free(part);
	}
	host_free_pages(published->p, published->size);
	memset(published, 0, sizeof(*published));
}
