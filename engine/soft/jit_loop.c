/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops within a block. The first branch that leads back to an instruction of its own block goes to a copy of what
 * lies in between, and the copy's branch to the copy's start. So the first iteration runs in the block and the others
 * in the copy, which begins with what the first one has established: windows whose registers the loop does not
 * write, flags by recipe. Each iteration looks at cpu->stop once; what leaves the loop leaves the block.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

static bool is_back_edge(const struct block *b, unsigned i, unsigned *head)
{
	const struct x86_insn *insn = &b->insn[i];

	if ((insn->op != X86_OP_JCC && insn->op != X86_OP_JMP) || insn->osize != 8)
		return false;
	for (unsigned k = 0; k <= i; k++) {
		if ((u64)b->insn[k].off == insn->next + insn->imm) {
			*head = k;
			return true;
		}
	}
	return false;
}

/* Lock-step compares one execution of the block's instructions. */
void jit_find_loop(struct jit_block *t)
{
	if (t->jit->soft->lockstep)
		return;
	for (unsigned i = 0; i < t->b->nr; i++) {
		if (!is_back_edge(t->b, i, &t->loop.head))
			continue;
		t->loop.any = true;
		t->loop.tail = i;
		return;
	}
}

/* Both branches leave flags alike: by a recipe from within the loop, or saved. */
static void settle_flags(struct jit_block *t)
{
	if (t->recipe < (int)t->loop.head)
		jit_save_flags(t);
}

bool jit_loop_branch(struct jit_block *t, const struct x86_insn *insn)
{
	struct jit_loop *l = &t->loop;
	bool always = insn->op == X86_OP_JMP;

	if (!t->windows || !l->any || t->now != l->tail)
		return false;
	settle_flags(t);
	if (!always)
		jit_load_flags(t);
	if (l->inside) {
		if (always)
			emit_jmp(&t->e, 0, l->again);
		else
			emit_jcc(&t->e, insn->cond, 0, l->again);
		return true;
	}
	l->enter = always ? emit_jmp_forward(&t->e) : emit_jcc_forward(&t->e, insn->cond);
	l->recipe = t->recipe < (int)l->head ? -1 : t->recipe;
	l->ingredients = t->ingredients;
	l->no_vector = t->no_vector;
	memcpy(l->window, t->plan.window, sizeof(l->window));
	return true;
}

static bool keeps_windows(const struct jit_block *t)
{
	for (unsigned i = t->loop.head; i <= t->loop.tail; i++) {
		if (!(t->b->insn[i].desc->flags & (X86_F_INNOCUOUS | X86_F_BRANCH)))
			return false;
	}
	return true;
}

void jit_loop_enter(struct jit_block *t)
{
	struct jit_loop *l = &t->loop;

	emit_patch(&t->e, l->enter);
	l->inside = true;
	l->again = t->e.p;
	t->in_host = false;
	t->in_mem = l->recipe < 0;
	t->recipe = l->recipe;
	t->ingredients = l->ingredients;
	t->no_vector = l->no_vector;
	memcpy(t->plan.window, l->window, sizeof(l->window));
	if (!keeps_windows(t))
		jit_close_windows(t);
	for (unsigned i = 0; i < t->plan.nr; i++)
		t->plan.window[i].align = 0;
	t->now = l->head;
	jit_poll(t);
}
