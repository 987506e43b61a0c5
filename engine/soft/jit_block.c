/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translation of one block (translate.c has the essay): what is looked at when it is entered, its
 * instructions in order, the way on at its end, and behind all that what is seldom run: taken side exits,
 * slow paths, slots that lead nowhere yet.
 */
#include "engine/soft/jit.h"
#include "engine/soft/perfmap.h"
#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/segment.h"

/* ---- the entry ------------------------------------------------------------------------------------- */

/* Room among the slots; NULL: there is none. */
static void *take_cells(struct jit *jit, size_t size)
{
	u32 words = (u32)(size + 7) / 8;
	u64 *cells = jit_slot(jit, jit->used_slots);

	if (JIT_SLOTS - jit->used_slots < words)
		return NULL;
	jit->used_slots += words;
	return cells;
}

static void entry(struct jit_block *t)
{
	struct emit *e = &t->e;

	emit_op_mem(e, 4, 0x83, EMIT_CMP, JIT_FIELD(stop));
	emit8(e, 0);
	jit_refuse_if(t, JIT_IF_NOT_EQUAL, false);
	jit_vector_entry(t);
}

void jit_refuse_if(struct jit_block *t, unsigned cond, bool decline)
{
	if (t->nr_refusals == ARRAY_SIZE(t->refusal)) {
		t->e.overflow = true;
		return;
	}
	t->refusal[t->nr_refusals++] = (struct jit_refusal){ emit_jcc_forward(&t->e, cond), decline };
}

/* Leaves for the block's own RIP. */
static void refusals(struct jit_block *t, bool decline)
{
	bool any = false;

	for (unsigned i = 0; i < t->nr_refusals; i++) {
		if (t->refusal[i].decline == decline) {
			emit_patch(&t->e, t->refusal[i].place);
			any = true;
		}
	}
	if (!any)
		return;
	emit_mov_imm(&t->e, JIT_A, t->offset);
	emit_jmp(&t->e, t->delta, decline ? t->jit->decline : t->jit->unlinked);
}

/* ---- instructions ---------------------------------------------------------------------------------- */

/* Behind these the loop must look at the machine again, unless they changed nothing but data rights. */
static bool ends_in_loop(const struct x86_insn *last)
{
	return (last->desc->flags & X86_F_END) && last->op != X86_OP_STAC && last->op != X86_OP_CLAC;
}

static bool changes_vector_state(const struct x86_insn *insn)
{
	return insn->desc->state != X86_STATE_INT || insn->op == X86_OP_XRSTOR || insn->op == X86_OP_XRSTORS;
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
	t->no_vector |= changes_vector_state(insn);
	return false;
}

/* All instructions in order; true: the last one leaves the block in any case. */
static bool body(struct jit_block *t, const u8 *start, u16 *offset)
{
	bool left = false;

	t->in_a = t->next_in_a = JIT_NO_WINDOW;
	for (t->now = t->first; t->now < t->b->nr; t->now++) {
		const struct x86_insn *insn = &t->b->insn[t->now];

		*offset++ = (u16)(t->e.p - start);
		t->in_a = t->next_in_a;
		t->next_in_a = JIT_NO_WINDOW;
		left = jit_branch(t, insn) && insn->op != X86_OP_JCC;
		if (!left && insn->op != X86_OP_JCC && !jit_integer(t, insn) && !jit_stack(t, insn) &&
		    !jit_vector(t, insn) && !jit_system(t, insn))
			left = by_handler(t, insn);
		jit_finish(t);
	}
	*offset = (u16)(t->e.p - start);
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
	struct jit_split *split = take_cells(t->jit, sizeof(*split));

	if (!split) {
		t->e.overflow = true;
		return;
	}
	*split = (struct jit_split){ (u64)t->jit->split, t->b, c->insn, c->no_vector };
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
		       t->cold[i].window == JIT_NO_WINDOW; i++)
			emit_patch(&t->e, t->cold[i].place);
		jit_call_handler(t, c->insn);
		if (c->flags)
			jit_load_flags(t);
		emit_jmp(&t->e, 0, c->back);
	}
}

/* ---- a block --------------------------------------------------------------------------------------- */

static bool has_odd_jcc(const struct block *b)
{
	for (unsigned i = 0; i < b->nr; i++) {
		const struct x86_insn *insn = &b->insn[i];
		s64 delta = (s64)(insn->next + insn->imm);

		if (insn->op == X86_OP_JCC && (insn->osize != 8 || !jit_near(delta)))
			return true;
	}
	return false;
}

static bool worth_it(const struct block *b)
{
	return (b->key & 0xff) == 64 && !b->spans && !has_odd_jcc(b);
}

static bool begin(struct jit_block *t, size_t *used)
{
	struct jit *jit = t->jit;

	*used = (jit->region.used + 15) & ~15ull;
	if (*used + JIT_BLOCK_ROOM > JIT_CODE_SIZE)
		return false;
	t->e = emit_start(jit->region.write + *used, JIT_BLOCK_ROOM);
	t->delta = jit->region.exec - jit->region.write;
	t->offset = t->b->offset;
	return true;
}

/* The executable address of what has been written from used on; NULL if it has not been written whole. */
static const u8 *finish(struct jit_block *t, size_t used, u64 page)
{
	struct jit *jit = t->jit;
	size_t size;

	jit_exits(t);
	refusals(t, false);
	refusals(t, true);
	jit_leaves(t);
	cold(t);
	size = (size_t)(t->e.p - (jit->region.write + used));
	if (t->e.overflow)
		return NULL;
	jit->region.used = used + size;
	jit->soft->stat->translations++;
	jit->soft->stat->translated_bytes += size;
	perfmap_add(jit->region.exec + used, size, page + t->offset + t->b->insn[t->first].off, t->b->key & 0xff);
	return jit->region.exec + used;
}

void jit_translate(struct jit *jit, struct block *b)
{
	struct jit_block t = { .jit = jit, .cpu = jit->cpu, .b = b, .in_mem = true, .windows = true };
	size_t used;

	if (!worth_it(b))
		return;
	b->variants = NULL;
	b->code_offset = take_cells(jit, (b->nr + 1u) * sizeof(u16));
	if (!begin(&t, &used) || !b->code_offset) {
		block_flush_all(jit->soft);
		return;
	}
	jit_plan(&t.plan, b->insn, b->nr);
	entry(&t);
	if (!body(&t, jit->region.write + used, b->code_offset))
		end(&t);
	b->code = finish(&t, used, code_linear_rip(jit->cpu) & PAGE_MASK);
}

/* ---- the rest of a block, without windows ------------------------------------------------------------ */

bool jit_refill(struct x86_cpu *cpu, u64 gva, u64 word)
{
	union jit_refill refill = { .word = word };
	u64 own = gva + refill.own, last = own + refill.own_size - 1;
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	unsigned access = X86_ACCESS_PROBE | (refill.own_write ? X86_ACCESS_WRITE : X86_ACCESS_READ);

	if (!x86_canonical(cpu, own) || !x86_canonical(cpu, last) ||
	    cpu->mem->read(cpu, own, NULL, refill.own_size, access))
		return false;
	return gva - (refill.write ? e->tag_write : e->tag_read) <= PAGE_SIZE - refill.size;
}

static struct jit_variant *rest(struct jit *jit, const struct jit_split *split)
{
	struct block *b = split->block;
	struct jit_block t = { .jit = jit, .cpu = jit->cpu, .b = b, .in_mem = true, .first = (unsigned)split->insn,
			       .no_vector = split->no_vector };
	struct jit_variant *v = take_cells(jit, sizeof(*v) + (b->nr - t.first + 1u) * sizeof(u16));
	size_t used;

	if (!v || !begin(&t, &used))
		return NULL;
	if (!body(&t, jit->region.write + used, v->offset))
		end(&t);
	v->code = finish(&t, used, jit->cpu->code_page);
	v->first = (u16)t.first;
	v->next = b->variants;
	return v->code ? v : NULL;
}

const u8 *jit_split(struct jit *jit, struct jit_split *split)
{
	struct jit_variant *v;

	split = (struct jit_split *)code_write_address(&jit->region, split);
	v = rest(jit, split);
	if (!v) {
		jit->cpu->regs[X86_REG_RIP] = jit->cpu->code_page + split->block->offset +
					      split->block->insn[split->insn].off;
		block_flush_all(jit->soft);
		return NULL;
	}
	split->block->variants = v;
	split->code = (u64)v->code;
	return v->code;
}

static const struct x86_insn *find_insn(const struct block *b, unsigned n, const u8 *code, const u16 *offset,
					const u8 *pc)
{
	if (!code || pc < code || pc >= code + offset[b->nr - n])
		return NULL;
	while (n + 1 < b->nr && pc >= code + offset[1])
		n++, offset++;
	return &b->insn[n];
}

const struct x86_insn *jit_insn_at(const struct block *b, const u8 *pc)
{
	const struct x86_insn *insn = find_insn(b, 0, b->code, b->code_offset, pc);

	for (const struct jit_variant *v = b->variants; v && !insn; v = v->next)
		insn = find_insn(b, v->first, v->code, v->offset, pc);
	return insn;
}
