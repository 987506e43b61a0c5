/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translation of one block (translate.c has the essay): what is looked at when it is entered, its
 * instructions in order, the way on at its end, and behind all that what is seldom run: taken side exits,
 * slow paths, slots that lead nowhere yet.
 */
#include "engine/soft/jit.h"
#include "engine/soft/perfmap.h"
#include "x86/opcodes.h"

/* ---- the entry ------------------------------------------------------------------------------------- */

/* The block's table of code offsets is among the slots. */
static bool take_cells(struct jit *jit, struct block *b)
{
	u32 words = (b->nr + 4) / 4;

	if (JIT_SLOTS - jit->used_slots < words + 2 * BLOCK_MAX_INSNS)
		return false;
	b->code_offset = (u16 *)jit_slot(jit, jit->used_slots);
	jit->used_slots += words;
	return true;
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

static void by_handler(struct jit_block *t, const struct x86_insn *insn)
{
	jit_save_flags(t);
	jit_call_handler(t, t->now);
	t->no_vector |= changes_vector_state(insn);
}

/* All instructions in order; true: the last one leaves the block in any case. */
static bool body(struct jit_block *t, const u8 *start)
{
	bool left = false;

	for (t->now = 0; t->now < t->b->nr; t->now++) {
		const struct x86_insn *insn = &t->b->insn[t->now];

		t->b->code_offset[t->now] = (u16)(t->e.p - start);
		left = jit_branch(t, insn) && insn->op != X86_OP_JCC;
		if (!left && insn->op != X86_OP_JCC && !jit_integer(t, insn) && !jit_stack(t, insn) &&
		    !jit_vector(t, insn))
			by_handler(t, insn);
		jit_finish(t);
	}
	t->b->code_offset[t->now] = (u16)(t->e.p - start);
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

/* Jumps of one instruction share the call of its handler if they come back to the same place. */
static void cold(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_cold;) {
		const struct jit_cold *c = &t->cold[i];

		for (; i < t->nr_cold && t->cold[i].insn == c->insn && t->cold[i].back == c->back; i++)
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

void jit_translate(struct jit *jit, struct block *b)
{
	struct jit_block t = { .jit = jit, .cpu = jit->cpu, .b = b, .in_mem = true };
	size_t used = (jit->region.used + 15) & ~15ull;
	u8 *start = jit->region.write + used;

	if (!worth_it(b))
		return;
	if (used + JIT_BLOCK_ROOM > JIT_CODE_SIZE || !take_cells(jit, b)) {
		block_flush_all(jit->soft);
		return;
	}
	t.e = emit_start(start, JIT_BLOCK_ROOM);
	t.delta = jit->region.exec - jit->region.write;
	t.offset = b->offset;
	entry(&t);
	if (!body(&t, start))
		end(&t);
	jit_exits(&t);
	refusals(&t, false);
	refusals(&t, true);
	jit_leaves(&t);
	cold(&t);
	if (t.e.overflow)
		return;
	jit->region.used = used + (size_t)(t.e.p - start);
	b->code = start + t.delta;
	jit->soft->stat->translations++;
	jit->soft->stat->translated_bytes += (u64)(t.e.p - start);
	perfmap_add(b->code, (size_t)(t.e.p - start), code_linear_rip(jit->cpu), b->key & 0xff);
}
