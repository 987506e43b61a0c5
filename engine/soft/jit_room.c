/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of translations. A region has all code first and then all cells (what translations keep besides code); links,
 * and which block code is of, are in arrays of their own. Of each of these every part (struct parts) has a fixed share, so
 * that a part can be taken back whole: the blocks that have code there are translated anew when they are warm again. Nothing
 * leads to such code then. Ways by linear address are void all at once (block_expire_links()), links within a page one by
 * one, and the way that a block has into the rest of it (struct jit_split) as a block goes with all its pieces. The host's
 * stack may still say that calls return there: but translated code does not run on when a part has been taken back.
 */
#include "engine/soft/jit.h"
#include "engine/soft/translate.h"
#include "host/host.h"

/* What is made ready at once, so that page faults do not come one by one. */
#define COMMIT_CODE (128ul << 10)
#define COMMIT_CELLS (64ul << 10)

/* ---- life -------------------------------------------------------------------------------------------------- */

static size_t targets_size(const struct jit *jit)
{
	return jit->parts.nr * (size_t)jit->whole.links * sizeof(jit->target[0]);
}

static size_t extents_size(const struct jit *jit)
{
	return jit->parts.nr * (size_t)jit->whole.extents * sizeof(jit->extent[0]);
}

static size_t cells_size(const struct jit *jit)
{
	return jit->parts.nr * (size_t)jit->whole.cells * sizeof(u64);
}

void jit_free_room(struct jit *jit)
{
	code_destroy(&jit->region);
	host_free_pages(jit->target, targets_size(jit));
	host_free_pages(jit->extent, extents_size(jit));
}

int jit_make_room(struct jit *jit, size_t size)
{
	u32 code = (u32)size / translate_parts(size) & -4096u;

	jit->parts.nr = translate_parts(size);
	parts_reset(&jit->parts);
	jit->whole = (struct jit_part){ .code = code, .cells = code / 20, .links = code / 128, .extents = code / 256 };
	jit->code_size = jit->committed_cells = size;
	jit->target = host_alloc_pages(targets_size(jit));
	jit->extent = host_alloc_pages(extents_size(jit));
	if (jit->target && jit->extent && !code_create(&jit->region, size + cells_size(jit)))
		return 0;
	jit_free_room(jit);
	return -ENOMEM;
}

void jit_empty_room(struct jit *jit)
{
	memset(jit->part, 0, jit->parts.nr * sizeof(jit->part[0]));
	jit->part[0].code = (u32)jit->fixed;
	jit->patched = true;
	parts_reset(&jit->parts);
}

void jit_release_room(struct jit *jit)
{
	code_release(&jit->region);
	host_zero_pages(jit->target, targets_size(jit));
	host_zero_pages(jit->extent, extents_size(jit));
	jit->committed = 0;
	jit->committed_cells = jit->code_size;
}

/* ---- handed out -------------------------------------------------------------------------------------------- */

void *jit_take_cells(struct jit *jit, size_t size)
{
	struct jit_part *part = jit_part(jit);
	u32 words = (u32)(size + 7) / 8, n = jit->parts.now * jit->whole.cells + part->cells;
	size_t end = jit->code_size + (n + words) * sizeof(u64);

	if (jit->whole.cells - part->cells < words)
		return NULL;
	part->cells += words;
	while (end > jit->committed_cells)
		jit->committed_cells += code_commit(&jit->region, jit->committed_cells, COMMIT_CELLS);
	return jit_slot(jit, n);
}

bool jit_take_link(struct jit *jit, u32 *link)
{
	struct jit_part *part = jit_part(jit);

	*link = jit->parts.now * jit->whole.links + part->links;
	if (part->links == jit->whole.links)
		return false;
	part->links++;
	return true;
}

static size_t room_in(const struct jit *jit, const struct jit_part *part)
{
	u32 room = jit->whole.code - part->code;

	return room < JIT_BLOCK_ROOM ? room : JIT_BLOCK_ROOM;
}

u8 *jit_take_code(struct jit *jit, size_t *room)
{
	struct jit_part *part = jit_part(jit);
	size_t from = (size_t)jit->parts.now * jit->whole.code + part->code;

	*room = room_in(jit, part);
	if (part->extents == jit->whole.extents)
		return NULL;
	while (from + *room > jit->committed)
		jit->committed += code_commit(&jit->region, jit->committed, COMMIT_CODE);
	return jit->region.write + from;
}

void jit_keep_code(struct jit *jit, struct block *b, size_t size)
{
	struct jit_part *part = jit_part(jit);
	u32 n = jit->parts.now * jit->whole.extents + part->extents++;

	jit->extent[n] = (struct jit_extent){ jit->parts.now * jit->whole.code + part->code, b };
	part->code = (part->code + (u32)size + 15) & ~15u;
}

bool jit_is_cramped(struct jit *jit)
{
	const struct jit_part *part = jit_part(jit);

	return room_in(jit, part) < JIT_BLOCK_ROOM || part->extents == jit->whole.extents ||
	       jit->whole.cells - part->cells < JIT_BLOCK_CELLS || jit->whole.links - part->links < JIT_BLOCK_LINKS;
}

/* ---- taken back -------------------------------------------------------------------------------------------- */

static bool has_piece(const struct jit *jit, const struct block *b)
{
	u64 from = (u64)jit->region.exec + (u64)jit->parts.now * jit->whole.code;

	for (const struct jit_piece *p = b->pieces; p; p = p->next) {
		if ((u64)p->code - from < jit->whole.code)
			return true;
	}
	return false;
}

/* It may be out of use, or another one by now. */
static void drop(struct jit *jit, struct block *b)
{
	if (!has_piece(jit, b))
		return;
	b->entered = b->many_rips = false;
	translate_unlink(jit->soft, b);
	b->code = NULL;
	b->pieces = NULL;
	b->home = 0;
	b->heat = 0;
}

void jit_next_part(struct jit *jit)
{
	u64 start = host_thread_cpu_ns();
	struct jit_part *part;

	parts_draw(&jit->parts);
	part = jit_part(jit);
	if (part->extents) {
		block_expire_links(jit->soft);
		jit->link = 0;
		jit->patched = true;
		for (u32 n = 0; n < part->extents; n++)
			drop(jit, jit->extent[jit->parts.now * jit->whole.extents + n].block);
		for (u32 n = 0; n < part->links; n++)
			jit_detach(jit, jit->parts.now * jit->whole.links + n);
		block_note_eviction(jit->soft, start);
	}
	*part = (struct jit_part){ .code = jit->parts.now ? 0 : (u32)jit->fixed };
}

/* ---- from code to blocks ----------------------------------------------------------------------------------- */

/* The last that begins at or before pc. */
struct block *jit_block_at(const struct jit *jit, const u8 *pc)
{
	u32 offset = (u32)(pc - jit->region.exec), n = offset / jit->whole.code;
	const struct jit_extent *extent = &jit->extent[(size_t)n * jit->whole.extents];
	u32 low = 0, high = n < jit->parts.nr ? jit->part[n].extents : 0;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (extent[middle].begin <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? extent[low - 1].block : NULL;
}
