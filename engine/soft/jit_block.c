/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translation of one block (translate.c has the essay): what is looked at when it is entered, its
 * instructions in order, the way on at its end, and behind all that what is seldom run: taken side exits,
 * slow paths, links that lead nowhere yet.
 */
#include "engine/soft/jit.h"
#include "engine/soft/perfmap.h"
#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/segment.h"

/* ---- the entry ------------------------------------------------------------------------------------- */

static void entry(struct jit_block *t)
{
	jit_poll(t);
	t->inner = t->e.p;
	jit_vector_entry(t);
}

void jit_poll(struct jit_block *t)
{
	int flags = jit_flags_source(t);

	emit_op_mem(&t->e, 4, 0x83, EMIT_CMP, JIT_FIELD(stop));
	emit8(&t->e, 0);
	jit_refuse_if(t, JIT_IF_NOT_EQUAL, false);
	if (t->nr_refusals)
		t->refusal[t->nr_refusals - 1].flags = flags;
}

void jit_refuse_if(struct jit_block *t, unsigned cond, bool decline)
{
	if (t->nr_refusals == ARRAY_SIZE(t->refusal)) {
		t->e.overflow = true;
		return;
	}
	t->refusal[t->nr_refusals++] = (struct jit_refusal){
		.place = emit_jcc_forward(&t->e, cond), .decline = decline, .flags = JIT_FLAGS_SAVED,
		.offset = (u16)(t->offset + t->b->insn[t->now].off),
	};
}

/* Leave for the instruction that comes next; tests of one place share the way. */
static void refusals(struct jit_block *t)
{
	struct jit_refusal *r = t->refusal;

	for (unsigned i = 0; i < t->nr_refusals;) {
		const struct jit_refusal *first = &r[i];

		for (; i < t->nr_refusals && r[i].decline == first->decline && r[i].offset == first->offset &&
		       r[i].flags == first->flags; i++)
			emit_patch(&t->e, r[i].place);
		jit_recover_flags(t, first->flags);
		emit_mov_imm(&t->e, JIT_B, 0);
		emit_mov_imm(&t->e, JIT_A, first->offset);
		emit_jmp(&t->e, t->delta, first->decline ? t->jit->decline : t->jit->unlinked);
	}
}

/* ---- instructions ---------------------------------------------------------------------------------- */

/* Behind these the loop must look at the machine again, unless they changed nothing but data rights, or flags. */
static bool ends_in_loop(const struct x86_insn *last)
{
	return (last->desc->flags & X86_F_END) && last->op != X86_OP_STAC && last->op != X86_OP_CLAC &&
	       last->op != X86_OP_POPF;
}

/* true: it leaves the block in any case. */
static bool by_handler(struct jit_block *t, const struct x86_insn *insn)
{
	jit_save_flags(t);
	if (jit_is_last(t)) {
		jit_call_last(t);
		return true;
	}
	jit_call_handler(t, t->now);
	if (!(insn->desc->flags & X86_F_INNOCUOUS))
		jit_close_windows(t);
	return false;
}

static void note_offset(struct jit_block *t, unsigned insn)
{
	t->piece->at[insn - t->piece->first].offset = (u16)(t->e.p + t->delta - t->piece->code);
}

/* The piece's instructions in order; true: the last one leaves the block in any case. */
static bool body(struct jit_block *t)
{
	unsigned end = t->piece->first + t->piece->nr;
	bool left = false;

	t->in_a = t->next_in_a = JIT_NO_WINDOW;
	t->next_based = 0;
	t->next_stack_b = false;
	for (t->now = t->piece->first; t->now < end; t->now++) {
		const struct x86_insn *insn = &t->b->insn[t->now];

		t->position = t->loop.inside ? t->b->nr + t->now - t->loop.head : t->now;
		note_offset(t, t->now);
		t->piece->at[t->now - t->piece->first].flags = JIT_FLAGS_SAVED;
		t->in_a = t->next_in_a;
		t->next_in_a = JIT_NO_WINDOW;
		t->based = t->next_based;
		t->next_based = 0;
		t->stack_b = t->next_stack_b;
		t->next_stack_b = false;
		t->piece->at[t->now - t->piece->first].based = jit_direct_base(t);
		jit_flags_before(t, insn);
		left = jit_branch(t, insn) && insn->op != X86_OP_JCC;
		if (!left && insn->op != X86_OP_JCC && !jit_integer(t, insn) && !jit_bits(t, insn) && !jit_stack(t, insn) &&
		    !jit_vector(t, insn) && !jit_x87(t, insn) && !jit_system(t, insn) && !jit_string(t, insn) &&
		    !jit_divide(t, insn))
			left = by_handler(t, insn);
		jit_finish(t);
		jit_flags_after(t);
		jit_direct_after(t, insn);
	}
	note_offset(t, end);
	return left;
}

static void end(struct jit_block *t)
{
	struct emit *e = &t->e;

	jit_save_flags(t);
	if (!ends_in_loop(&t->b->insn[t->b->nr - 1])) {
		jit_exit_direct(t, t->b->len, t->b->nr);
		return;
	}
	emit_mov_imm(e, JIT_A, t->offset + t->b->len);
	emit_mov_imm(e, JIT_B, 0);
	emit_jmp(e, t->delta, t->jit->unlinked);
}

static void cold_window(struct jit_block *t, const struct jit_cold *c)
{
	struct jit_split *split = jit_take_cells(t->jit, sizeof(*split));

	if (!split) {
		t->e.overflow = true;
		return;
	}
	*split = (struct jit_split){ (u64)t->jit->split, t->b, c->insn };
	jit_cold_window(t, c, &split->code);
}

/* Jumps of one instruction share the call of its handler if they come back to the same place. */
static void cold(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_cold;) {
		const struct jit_cold *c = &t->cold[i];

		if (c->window != JIT_NO_WINDOW) {
			cold_window(t, c);
			i++;
			continue;
		}
		for (; i < t->nr_cold && t->cold[i].insn == c->insn && t->cold[i].back == c->back &&
		       t->cold[i].window == JIT_NO_WINDOW && t->cold[i].recipe == c->recipe; i++)
			emit_patch(&t->e, t->cold[i].place);
		jit_recover_flags(t, c->recipe);
		jit_call_handler(t, c->insn);
		if (c->flags)
			jit_load_flags(t);
		emit_jmp(&t->e, 0, c->back);
	}
}

/* ---- a block --------------------------------------------------------------------------------------- */

/* Bytes of addresses in the block's code; 0: it is not translated. */
static unsigned word_of(const struct block *b)
{
	if ((b->key & 0xff) == 64)
		return 8;
	return b->key & BLOCK_KEY_FLAT ? 4 : 0;
}

static bool has_odd_jcc(const struct block *b)
{
	for (unsigned i = 0; i < b->nr; i++) {
		const struct x86_insn *insn = &b->insn[i];
		s64 delta = (s64)(insn->next + insn->imm);

		if (insn->op == X86_OP_JCC && (insn->osize != word_of(b) || !jit_near(delta)))
			return true;
	}
	return false;
}

static bool worth_it(const struct block *b)
{
	return word_of(b) && !has_odd_jcc(b);
}

static bool take_piece(struct jit_block *t, const u8 *code, unsigned first, unsigned nr)
{
	struct jit_piece *p = jit_take_cells(t->jit, sizeof(*p) + (nr + 1) * sizeof(p->at[0]));

	if (!p)
		return false;
	*p = (struct jit_piece){ .code = code, .next = t->piece, .first = (u16)first, .nr = (u16)nr };
	t->piece = p;
	return true;
}

/* The loop once more, for all iterations but the first. */
static void loop_copy(struct jit_block *t)
{
	if (!t->loop.enter)
		return;
	if (!take_piece(t, t->piece->code, t->loop.head, t->loop.tail + 1 - t->loop.head)) {
		t->e.overflow = true;
		return;
	}
	jit_loop_enter(t);
	if (!body(t)) {
		jit_save_flags(t);
		jit_exit_direct(t, t->b->insn[t->loop.tail].next, t->loop.tail);
	}
}

/* Most of it are lists, which are empty. */
static void prepare(struct jit_block *t, struct jit *jit, struct block *b)
{
	memset(t, 0, offsetof(struct jit_block, plan.access));
	memset(t->plan.access, JIT_NO_WINDOW, b->nr * sizeof(t->plan.access[0]));
	t->jit = jit;
	t->cpu = jit->cpu;
	t->b = b;
}

/* Room for the code and the piece of nr instructions from first. */
static bool begin(struct jit_block *t, unsigned first)
{
	struct jit *jit = t->jit;
	size_t room;
	u8 *code = jit_take_code(jit, &room);

	t->delta = jit->region.exec - jit->region.write;
	if (!code || !take_piece(t, code + t->delta, first, t->b->nr - first))
		return false;
	t->piece->link = jit_next_link(jit);
	t->e = emit_start(code, room);
	t->offset = t->b->offset;
	t->word = word_of(t->b);
	t->shared = !(t->b->key & BLOCK_KEY_USER) && jit->cpu->tlb == jit->cpu->tlbs[0];
	t->in_mem = true;
	t->recipe = -1;
	return true;
}

/* What is behind the instructions; the code's address, NULL if it has not been written whole. page: linear. */
static const u8 *finish(struct jit_block *t, u64 page)
{
	struct jit *jit = t->jit;
	struct jit_piece *piece = t->piece, *last = piece;
	size_t size;

	jit_exits(t);
	refusals(t);
	jit_leaves(t);
	jit_turns(t);
	cold(t);
	if (t->e.overflow)
		return NULL;
	size = (size_t)(t->e.p + t->delta - piece->code);
	jit_keep_code(jit, t->b, size);
	jit->soft->stat->translations++;
	jit->soft->stat->translated_bytes += size;
	while (last->next)
		last = last->next;
	last->nr_links = (u16)(jit_next_link(jit) - last->link);
	perfmap_add(piece->code, size, page + t->offset + t->b->insn[last->first].off, t->b->key & 0xff);
	last->next = t->b->pieces;
	t->b->pieces = piece;
	return piece->code;
}

static bool translate(struct jit *jit, struct block *b)
{
	struct jit_block t;

	prepare(&t, jit, b);
	t.windows = !(b->key & BLOCK_KEY_WINDOWS);
	if (!begin(&t, 0))
		return false;
	jit_find_loop(&t);
	if (t.windows) {
		jit_plan(&t.plan, b->insn, b->nr, &t.loop, t.word);
		jit_find_strides(&t);
	}
	t.page = code_linear_rip(jit->cpu) & PAGE_MASK;
	t.fixed = t.word == 8 && !b->page->homeless && b->page->home == t.page + 1;
	entry(&t);
	if (!body(&t))
		end(&t);
	loop_copy(&t);
	b->code = finish(&t, t.page);
	b->inner = t.inner + t.delta;
	b->home = t.fixed ? b->page->home : 0;
	return b->code;
}

void jit_translate(struct jit *jit, struct block *b)
{
	if (!worth_it(b) || translate(jit, b) || !jit_is_cramped(jit))
		return;
	jit_next_part(jit);
	translate(jit, b);
}

/* ---- the rest of a block, without windows ------------------------------------------------------------ */

bool jit_refill(struct x86_cpu *cpu, u64 gva, u64 word)
{
	union jit_refill refill = { .word = word };
	u64 own = cpu->code_bits == 64 ? gva + refill.own : (u32)(gva + refill.own), last = own + refill.own_size - 1;
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	unsigned access = X86_ACCESS_PROBE | (refill.own_write ? X86_ACCESS_WRITE : X86_ACCESS_READ);

	if (!x86_canonical(cpu, own) || !x86_canonical(cpu, last) || soft_tlb_device(cpu, own, access) ||
	    cpu->mem->read(cpu, own, NULL, refill.own_size, access))
		return false;
	if (refill.shared && cpu->tlb != cpu->tlbs[0])
		return false;
	return gva - (refill.write ? e->tag_write : e->tag_read) <= PAGE_SIZE - refill.size;
}

static const u8 *rest(struct jit *jit, const struct jit_split *split)
{
	struct jit_block t;

	prepare(&t, jit, split->block);
	if (!begin(&t, (unsigned)split->insn))
		return NULL;
	if (!body(&t))
		end(&t);
	return finish(&t, jit->cpu->code_page);
}

const u8 *jit_split(struct jit *jit, struct jit_split *split)
{
	const u8 *code;

	split = (struct jit_split *)code_write_address(&jit->region, split);
	code = rest(jit, split);
	if (!code) {
		jit->cpu->regs[X86_REG_RIP] = jit->cpu->code_page + split->block->offset +
					      split->block->insn[split->insn].off;
		atomic_or(&jit->cpu->stop, X86_STOP_CODE); /* the block ends here for want of room: that is an interruption */
		if (jit_is_cramped(jit))
			jit_next_part(jit);
		return NULL;
	}
	split->code = (u64)code;
	return code;
}

/* ---- from code to instructions ------------------------------------------------------------------------ */

static bool find_in_piece(const struct jit_piece *p, const u8 *pc, unsigned *index)
{
	u64 offset = (u64)(pc - p->code);
	unsigned i = 0;

	if (pc < p->code || offset < p->at[0].offset || offset >= p->at[p->nr].offset)
		return false;
	while (i + 1 < p->nr && offset >= p->at[i + 1].offset)
		i++;
	*index = i;
	return true;
}

bool jit_find_place(const struct jit *jit, const u8 *pc, struct jit_place *at)
{
	struct block *b = jit_block_at(jit, pc);

	for (struct jit_piece *p = b ? b->pieces : NULL; p; p = p->next) {
		if (!find_in_piece(p, pc, &at->index))
			continue;
		at->block = b;
		at->piece = p;
		return true;
	}
	return false;
}
