/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of decoded code: struct block, and the instructions of each, in parts of which each is used up before the next.
 * A block that ends keeps its instructions' room for another of that size. When there is no part left, the blocks of one
 * end, as if their code had changed (struct parts); that takes well below a millisecond, and the rest runs on. Ways to all
 * blocks are void then: only so nobody need know who leads to those.
 */
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"

#define SHARE 448u /* bytes of instructions' room for which there is a block */

/* ---- life -------------------------------------------------------------------------------------------------- */

static size_t arena_size(const struct soft_vcpu *soft)
{
	return (size_t)soft->parts.nr * soft->whole.bytes;
}

static size_t blocks_size(const struct soft_vcpu *soft)
{
	return (size_t)soft->parts.nr * soft->whole.blocks * sizeof(*soft->blocks);
}

int block_create(struct soft_vcpu *soft)
{
	soft->epoch = 1;
	soft->parts.nr = translate_parts(translate_room());
	soft->whole.bytes = (u32)(translate_room() / 4 * 9 / soft->parts.nr) & -4096u;
	soft->whole.blocks = soft->whole.bytes / SHARE;
	parts_reset(&soft->parts);
	block_size_jumps(soft, (1u << JUMP_BITS_FIRST) - 1);
	soft->pages = host_alloc_pages(BLOCK_PAGES * sizeof(*soft->pages));
	soft->arena = host_alloc_pages(arena_size(soft));
	soft->blocks = host_alloc_pages(blocks_size(soft));
	if (!soft->pages || !soft->arena || !soft->blocks)
		return -ENOMEM;
	block_flush_jumps(soft, false);
	return 0;
}

void block_destroy(struct soft_vcpu *soft)
{
	host_free_pages(soft->blocks, blocks_size(soft));
	host_free_pages(soft->arena, arena_size(soft));
	host_free_pages(soft->pages, BLOCK_PAGES * sizeof(*soft->pages));
}

size_t block_room_used(const struct soft_vcpu *soft)
{
	return (soft->parts.begun - 1ull) * soft->whole.bytes + soft->part[soft->parts.now].bytes;
}

/* ---- single blocks ----------------------------------------------------------------------------------------- */

void block_free(struct soft_vcpu *soft, struct block *b)
{
	struct block **list = &soft->free[b->units];

	b->page = NULL;
	b->next = *list;
	b->next_spanning = NULL;
	if (*list)
		(*list)->next_spanning = b;
	*list = b;
}

static void take(struct soft_vcpu *soft, struct block *b)
{
	if (b->next_spanning)
		b->next_spanning->next = b->next;
	else
		soft->free[b->units] = b->next;
	if (b->next)
		b->next->next_spanning = b->next_spanning;
}

#define LONG_NS 10000000u

void block_note_eviction(struct soft_vcpu *soft, u64 start)
{
	u64 took = host_thread_cpu_ns() - start;

	soft->stat->evictions++;
	soft->stat->eviction_ns += took;
	soft->stat->long_evictions += took > LONG_NS;
}

/* Blocks that have not been worth a translation, and that it is known who leads to; how many. */
static unsigned void_cold(struct soft_vcpu *soft, struct block *b, unsigned nr)
{
	unsigned n = 0;

	for (; nr--; b++) {
		if (!b->page || b->code || b->many_rips)
			continue;
		block_void(soft, b);
		n++;
	}
	return n;
}

static void void_all(struct soft_vcpu *soft, struct block *b, unsigned nr)
{
	block_expire_links(soft);
	for (; nr--; b++) {
		b->entered = b->many_rips = false;
		if (b->page)
			block_void(soft, b);
		take(soft, b);
	}
}

/* The next part's blocks go, or only those that are cold if there are some. */
static void sweep(struct soft_vcpu *soft)
{
	u64 start = host_thread_cpu_ns();
	struct block_part *part;
	struct block *first;

	parts_next(&soft->parts);
	first = &soft->blocks[soft->parts.now * soft->whole.blocks];
	part = &soft->part[soft->parts.now];
	if (!part->blocks)
		return;
	if (void_cold(soft, first, part->blocks) < part->blocks / 8) {
		void_all(soft, first, part->blocks);
		*part = (struct block_part){ 0 };
	}
	block_note_eviction(soft, start);
}

static struct block *reuse(struct soft_vcpu *soft, unsigned units)
{
	for (; units < ARRAY_SIZE(soft->free); units++) {
		struct block *b = soft->free[units];

		if (b) {
			take(soft, b);
			return b;
		}
	}
	return NULL;
}

static struct block *begin_block(struct soft_vcpu *soft, unsigned units)
{
	struct block_part *part = &soft->part[soft->parts.now];
	struct block *b;

	if (part->bytes + units * BLOCK_UNIT > soft->whole.bytes || part->blocks == soft->whole.blocks)
		return NULL;
	b = &soft->blocks[soft->parts.now * soft->whole.blocks + part->blocks++];
	b->insn = (struct x86_insn *)(soft->arena + (size_t)soft->parts.now * soft->whole.bytes + part->bytes);
	b->units = (u16)units;
	part->bytes += units * BLOCK_UNIT;
	return b;
}

struct block *block_alloc(struct soft_vcpu *soft, unsigned nr_insns)
{
	unsigned units = (unsigned)((nr_insns * sizeof(struct x86_insn) + BLOCK_UNIT - 1) / BLOCK_UNIT);
	struct block *b = soft->free[units];

	if (b)
		take(soft, b);
	while (!b) {
		b = begin_block(soft, units);
		if (!b)
			b = reuse(soft, units);
		if (!b)
			sweep(soft);
	}
	return b;
}

/* ---- all of them ------------------------------------------------------------------------------------------- */

void block_flush_all(struct soft_vcpu *soft)
{
	for (unsigned i = 0; i < BLOCK_PAGES && soft->pages[i].record; i++) {
		struct block_page *page = &soft->pages[i];

		memset(page->first, 0, sizeof(page->first));
		page->spanning = NULL;
		page->home = 0;
		page->homeless = false;
		atomic_set(&page->chunks, 0);
		page->arming = 0;
	}
	memset(soft->free, 0, sizeof(soft->free));
	memset(soft->found, 0, sizeof(soft->found));
	memset(soft->part, 0, sizeof(soft->part));
	parts_reset(&soft->parts);
	soft->stat->block_flushes++;
	block_flush_jumps(soft, false);
	translate_flush(soft);
}

/* Whole areas: of a huge page that is given back in part the rest would stay. */
void block_release(struct soft_vcpu *soft)
{
	block_flush_all(soft);
	host_zero_pages(soft->arena, arena_size(soft));
	host_zero_pages(soft->blocks, blocks_size(soft));
	block_pages_release(soft);
	host_zero_pages(soft->fetch, sizeof(soft->fetch));
	host_zero_pages(soft->jump, sizeof(soft->jump));
	block_size_jumps(soft, (1u << JUMP_BITS_FIRST) - 1);
	host_zero_pages(soft->found, sizeof(soft->found));
	translate_release(soft);
}
