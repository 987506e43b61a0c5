/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU's view of the pages that it has code of: which blocks lie there, and whether memory still says what they were made
 * of. Finding blocks, and when there is reason to doubt them, is block.c's.
 */
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

static bool same_chunk(const u8 *a, const u8 *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;
	u64 differ = 0;

	for (unsigned i = 0; i < CODE_CHUNK / sizeof(u64); i++)
		differ |= atomic_read(&x[i]) ^ atomic_read(&y[i]);
	return !differ;
}

static unsigned end_in_page(const struct block *b)
{
	unsigned end = b->offset + b->len;

	return end < PAGE_SIZE ? end : (unsigned)PAGE_SIZE;
}

/* Whether the bytes of b within [from, from + CODE_CHUNK) are others than those at now. */
static bool differs(const struct block *b, unsigned from, const u8 *now)
{
	unsigned first = b->offset > from ? b->offset : from;
	unsigned end = end_in_page(b) < from + CODE_CHUNK ? end_in_page(b) : from + CODE_CHUNK;

	return first < end && memcmp(b->page->shadow + first, now + (first - from), end - first);
}

/* Blocks that begin in chunk and reach into the one at from. */
static unsigned void_in_chunk(struct soft_vcpu *soft, struct block *b, unsigned from, const u8 *now, bool *used)
{
	struct block *next;
	unsigned n = 0;

	for (; b; b = next) {
		next = b->next;
		*used |= b->offset < from + CODE_CHUNK && end_in_page(b) > from;
		if (differs(b, from, now)) {
			block_void(soft, b);
			n++;
		}
	}
	return n;
}

/* The same for those that end in the page's first chunk. */
static unsigned void_spanning(struct soft_vcpu *soft, struct block *b, const u8 *now, bool *used)
{
	struct block *next;
	unsigned n = 0;

	for (; b; b = next) {
		next = b->next_spanning;
		*used = true;
		if (memcmp(b->tail, now, b->offset + b->len - PAGE_SIZE)) {
			block_void(soft, b);
			n++;
		}
	}
	return n;
}

/*
 * The chunk's bytes have become those at now. One that held no block any more is code's no longer: the guest has other uses
 * for it by now.
 */
static bool chunk_changed(struct soft_vcpu *soft, struct block_page *page, unsigned chunk, const u8 *now)
{
	unsigned from = chunk * CODE_CHUNK, reach = BLOCK_MAX_BYTES / CODE_CHUNK + 1, n = 0;
	bool used = false;

	for (unsigned c = chunk > reach ? chunk - reach : 0; c <= chunk; c++)
		n += void_in_chunk(soft, page->first[c], from, now, &used);
	if (!chunk)
		n += void_spanning(soft, page->spanning, now, &used);
	memcpy(page->shadow + from, now, CODE_CHUNK);
	if (!used) {
		atomic_set(&page->chunks, page->chunks & ~BIT64(chunk));
		code_page_shrink(soft->vm, page->record);
	}
	return n;
}

bool block_page_compare(struct soft_vcpu *soft, struct block_page *page, u64 chunks)
{
	const u8 *host = (const u8 *)page->record->hva;
	bool voided = false;
	u8 now[CODE_CHUNK];

	soft->stat->pages_compared++;
	for (; chunks; chunks &= chunks - 1) {
		unsigned chunk = (unsigned)__builtin_ctzll(chunks), from = chunk * CODE_CHUNK;

		if (likely(same_chunk(page->shadow + from, host + from)))
			continue;
		memcpy(now, host + from, CODE_CHUNK); /* it may be changing still: one view of it for all blocks */
		voided |= chunk_changed(soft, page, chunk, now);
	}
	return voided;
}

/* ---- pages ---------------------------------------------------------------------------------------------------------- */

static struct block_page **bucket(struct soft_vcpu *soft, u64 hva)
{
	return &soft->page_hash[(hva >> 12) * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_PAGE_BITS)];
}

struct block_page *block_page_find(struct soft_vcpu *soft, u64 hva)
{
	struct block_page *p = *bucket(soft, hva);

	while (p && p->hva != hva)
		p = p->next;
	return p;
}

void block_page_close(struct soft_vcpu *soft, struct block_page *page)
{
	soft->stat->pages_closed++;
	page->arming = 0;
	for (unsigned c = 0; c < CODE_CHUNKS; c++) {
		for (struct block *b = page->first[c]; b; b = b->next)
			translate_unlink(soft, b);
	}
	block_expire_links(soft);
}

/* The page's room is wanted for another. */
static void evict(struct soft_vcpu *soft, struct block_page *page)
{
	struct block_page **link = bucket(soft, page->hva);

	for (unsigned c = 0; c < CODE_CHUNKS; c++) {
		while (page->first[c])
			block_void(soft, page->first[c]);
	}
	while (page->spanning)
		block_void(soft, page->spanning);
	atomic_set(&page->chunks, 0);
	code_page_shrink(soft->vm, page->record);
	code_page_remove_user(soft->vm, page);
	if (page->posted)
		block_take_posts(soft, false);
	while (*link != page)
		link = &(*link)->next;
	*link = page->next;
	block_flush_jumps(soft, false); /* what has been fetched leads to pages */
}

/* One not in use, the oldest if need be. */
static struct block_page *page_room(struct soft_vcpu *soft)
{
	struct block_page *page = &soft->pages[soft->next_page++ % BLOCK_PAGES];

	if (page->record)
		evict(soft, page);
	return page;
}

struct block_page *block_page_get(struct vcpu *vcpu, u64 hva)
{
	struct soft_vcpu *soft = vcpu->engine;
	struct block_page *page = block_page_find(soft, hva);
	struct code_page *record;

	if (page)
		return page;
	record = code_page_get(vcpu->vm, hva);
	if (!record)
		return NULL;
	page = page_room(soft);
	page->record = record;
	page->hva = hva;
	page->owner = soft;
	page->chunks = 0;
	page->arming = 0;
	page->compared = soft->epoch;
	page->many_places = page->homeless = false;
	page->home = 0;
	page->next = *bucket(soft, hva);
	*bucket(soft, hva) = page;
	code_page_add_user(soft->vm, page);
	return page;
}

/* ---- posts ------------------------------------------------------------------------------------------------------------ */

static struct block_page *take_post(struct soft_vcpu *soft)
{
	struct block_page *page;

	host_mutex_lock(&soft->vm->lock);
	page = soft->posts;
	if (page) {
		atomic_set(&soft->posts, page->next_posted);
		page->posted = false;
	}
	host_mutex_unlock(&soft->vm->lock);
	return page;
}

/* A host fault while a page is looked at unwinds to soft_run(): that page is closed when this one is called again. */
void block_take_posts(struct soft_vcpu *soft, bool slots_changed)
{
	struct block_page *page;

	if (unlikely(soft->looked_at)) {
		block_page_close(soft, soft->looked_at);
		soft->looked_at = NULL;
	}
	while (atomic_read(&soft->posts) && (page = take_post(soft))) {
		soft->looked_at = page;
		if (slots_changed || page->arming != atomic_read(&page->record->armings) ||
		    !code_page_armed(page->record))
			block_page_close(soft, page);
		else
			block_page_compare(soft, page, page->chunks);
		soft->looked_at = NULL;
	}
}

/* From when a record no longer knows the vCPU nobody posts that page. */
void block_pages_release(struct soft_vcpu *soft)
{
	for (u32 n = 0; n < BLOCK_PAGES && soft->pages[n].record; n++) {
		code_page_shrink(soft->vm, soft->pages[n].record);
		code_page_remove_user(soft->vm, &soft->pages[n]);
	}
	while (take_post(soft))
		;
	host_zero_pages(soft->pages, BLOCK_PAGES * sizeof(*soft->pages));
	memset(soft->page_hash, 0, sizeof(soft->page_hash));
	soft->next_page = 0;
	soft->last_page = soft->looked_at = NULL;
}
