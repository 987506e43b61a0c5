// SPDX-License-Identifier: GPL-2.0-only
/* Memory of the core's own. All of it is charged to the memory cgroup of the thread that asks. */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "host/host.h"
#include "host/hw.h"

#define HOST_ALIGN 64

#ifdef ANYKVM_FAULTS
/* For tests (make module FAULTS=1): the n-th allocation from now on fails. */
static int fail_alloc;
module_param(fail_alloc, int, 0600);

static bool fails(void)
{
	int n = READ_ONCE(fail_alloc);

	while (n > 0 && !try_cmpxchg(&fail_alloc, &n, n - 1))
		;
	return n == 1;
}
#else
static bool fails(void)
{
	return false;
}
#endif

void *host_alloc(size_t size)
{
	/* kmalloc aligns sizes that are powers of two to themselves; beyond a page all sizes are aligned enough. */
	if (size <= PAGE_SIZE)
		size = roundup_pow_of_two(max_t(size_t, size, HOST_ALIGN));
	else
		size = PAGE_ALIGN(size);
	if (size > INT_MAX || fails())
		return NULL;
	return kvzalloc(size, GFP_KERNEL_ACCOUNT);
}

void host_free(void *p)
{
	kvfree(p);
}

void *host_alloc_pages(size_t size)
{
	return fails() ? NULL : __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
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
	return fails() ? NULL : (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, order);
}

void host_frames_free(void *p, unsigned int order)
{
	free_pages((unsigned long)p, order);
}

void *host_table_alloc(void)
{
	void *p = host_frames_alloc(0);

	if (p)
		mod_lruvec_page_state(virt_to_page(p), NR_SECONDARY_PAGETABLE, 1);
	return p;
}

void host_table_free(void *p)
{
	mod_lruvec_page_state(virt_to_page(p), NR_SECONDARY_PAGETABLE, -1);
	host_frames_free(p, 0);
}

u64 host_frames_phys(const void *p)
{
	return __pa(p);
}

void *host_frames_virt(u64 phys)
{
	return __va(phys);
}

/* ---- giving back ------------------------------------------------------------------------------------- */

static struct host_shrinker *shrinker_of(struct shrinker *s)
{
	return container_of((u64 *)s, struct host_shrinker, opaque[0]);
}

static unsigned long shrinker_count(struct shrinker *s, struct shrink_control *control)
{
	return shrinker_of(s)->count() ?: SHRINK_EMPTY;
}

static unsigned long shrinker_scan(struct shrinker *s, struct shrink_control *control)
{
	return shrinker_of(s)->scan(control->nr_to_scan) ?: SHRINK_STOP;
}

int host_shrinker_add(struct host_shrinker *s)
{
	struct shrinker *shrinker = (struct shrinker *)s->opaque;

	BUILD_BUG_ON(sizeof(*shrinker) > sizeof(s->opaque));
	shrinker->count_objects = shrinker_count;
	shrinker->scan_objects = shrinker_scan;
	shrinker->seeks = DEFAULT_SEEKS * 10; /* what goes comes back by faults, one by one */
	return register_shrinker(shrinker, "anykvm");
}

void host_shrinker_remove(struct host_shrinker *s)
{
	unregister_shrinker((struct shrinker *)s->opaque);
}

/* ---- counters ---------------------------------------------------------------------------------------- */

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
