/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops within a block. The first branch that leads back to an instruction of its own block goes to a copy of what
 * lies in between, and the copy's branch to the copy's start. So the first iteration runs in the block and the others
 * in the copy, which begins with what the first one has established: windows whose registers the loop does not
 * write, flags by recipe. Each iteration looks at cpu->stop once; what leaves the loop leaves the block.
 *
 * Windows off registers that advance by the same amount each time stay in one page for many iterations. The copy
 * remembers the page of each (cpu->host_page[]) and looks up the next one when it gets there.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

static bool is_back_edge(const struct jit_block *t, unsigned i, unsigned *head)
{
	const struct block *b = t->b;
	const struct x86_insn *insn = &b->insn[i];

	if ((insn->op != X86_OP_JCC && insn->op != X86_OP_JMP) || insn->osize != t->word)
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
		if (!is_back_edge(t, i, &t->loop.head))
			continue;
		t->loop.any = true;
		t->loop.tail = i;
		return;
	}
}

static bool keeps_windows(const struct jit_block *t)
{
	for (unsigned i = t->loop.head; i <= t->loop.tail; i++) {
		if (!(t->b->insn[i].desc->flags & (X86_F_INNOCUOUS | X86_F_BRANCH)))
			return false;
	}
	return true;
}

/* Adds what no instruction of the loop writes to its register. */
static bool advances(const struct jit_loop *l, const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;

	switch (insn->op) {
	case X86_OP_INC:
	case X86_OP_DEC:
		return true;
	case X86_OP_ADD:
	case X86_OP_SUB:
		return o[1].kind == X86_OPD_IMM || (o[1].kind == X86_OPD_REG && !(l->written >> o[1].reg & 1));
	case X86_OP_LEA:
		return insn->base == o[0].reg && insn->index == X86_REG_ZERO;
	default:
		return false;
	}
}

static bool strides(const struct jit_loop *l, const struct x86_insn *insn)
{
	u32 moving = (BIT(insn->base) | BIT(insn->index)) & l->written;

	return moving && !(moving & ~l->steady);
}

void jit_find_strides(struct jit_block *t)
{
	struct jit_loop *l = &t->loop;

	if (!l->any || !keeps_windows(t))
		return;
	for (unsigned i = l->head; i <= l->tail; i++)
		l->written |= jit_written(&t->b->insn[i]) & 0xffff;
	l->steady = l->written;
	for (unsigned i = l->head; i <= l->tail; i++) {
		if (!advances(l, &t->b->insn[i]))
			l->steady &= ~jit_written(&t->b->insn[i]);
	}
	for (unsigned i = l->head; i <= l->tail; i++) {
		const struct jit_access *a = &t->plan.access[t->b->nr + i - l->head][JIT_EXPLICIT];

		if (a->window != JIT_NO_WINDOW && strides(l, &t->b->insn[i]))
			l->paged |= BIT(a->window);
	}
}

/*
 * No page is remembered yet: one that no canonical address is in. Should the guest come with one that is not canonical, it finds
 * a host address that is none either: translate_fault() has the rest.
 */
static void forget_pages(struct jit_block *t)
{
	if (!t->loop.paged)
		return;
	emit_mov_imm(&t->e, JIT_B, 1ull << 62);
	for (u32 paged = t->loop.paged; paged; paged &= paged - 1) {
		emit_store(&t->e, 8, JIT_PAGE(__builtin_ctz(paged)), JIT_B);
		emit_store(&t->e, 8, JIT_PAGE_HOST(__builtin_ctz(paged)), JIT_B);
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

	if (!l->any || t->now != l->tail)
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
	l->shared = t->shared;
	memcpy(l->window, t->plan.window, sizeof(l->window));
	return true;
}

void jit_loop_enter(struct jit_block *t)
{
	struct jit_loop *l = &t->loop;

	emit_patch(&t->e, l->enter);
	l->inside = true;
	forget_pages(t);
	l->again = t->e.p;
	t->in_host = false;
	t->in_mem = l->recipe < 0;
	t->recipe = l->recipe;
	t->ingredients = l->ingredients;
	t->shared = l->shared;
	memcpy(t->plan.window, l->window, sizeof(l->window));
	if (!keeps_windows(t))
		jit_close_windows(t);
	for (unsigned i = 0; i < t->plan.nr; i++)
		t->plan.window[i].align = 0;
	t->now = l->head;
	jit_poll(t);
}
