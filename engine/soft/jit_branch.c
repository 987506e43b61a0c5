/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Branches, and how a block is left for the next. The target is checked to be canonical and everything
 * that may miss is probed before anything is committed; if not, the handler does it all.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

/* To the handler unless JIT_B is canonical in 48 bits; JIT_A and flags are lost. */
static void check_canonical(struct jit_block *t)
{
	struct emit *e = &t->e;

	emit_mov(e, 8, JIT_A, JIT_B);
	emit_shift(e, EMIT_SHL, 8, JIT_A, 16);
	emit_shift(e, EMIT_SAR, 8, JIT_A, 16);
	emit_alu(e, EMIT_CMP, 8, JIT_A, JIT_B);
	t->in_host = false;
	jit_slow_if(t, JIT_IF_NOT_EQUAL);
}

static bool same_page(const struct jit_block *t, s64 delta)
{
	return (u64)(t->b->offset + delta) < PAGE_SIZE;
}

/* The target is checked, unless it is in the page. JIT_A and JIT_B are lost. */
static void check_target(struct jit_block *t, s64 delta)
{
	if (same_page(t, delta))
		return;
	jit_rip(t, JIT_B, delta);
	check_canonical(t);
}

/* Through a new slot, for a target in this page. */
static void jump_by_slot(struct jit_block *t, s64 delta)
{
	struct jit *jit = t->jit;
	u32 n = jit->used_slots;

	if (n == JIT_SLOTS || t->nr_leaves == ARRAY_SIZE(t->leave)) {
		t->e.overflow = true;
		return;
	}
	jit->used_slots++;
	jit->target[n] = (struct jit_target){
		.page = t->b->page, .offset = (u16)(t->b->offset + delta), .key = t->b->key,
	};
	t->leave[t->nr_leaves++] = (struct jit_leave){ n, (unsigned)(t->offset + (u64)delta) };
	emit_lea_cell(&t->e, JIT_B, jit_slot(jit, n));
	emit_jmp_mem(&t->e, EMIT_MEM(JIT_B, 0));
}

void jit_leaves(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_leaves; i++) {
		t->jit->target[t->leave[i].slot].unlinked = t->e.p + t->delta;
		atomic_set(jit_slot(t->jit, t->leave[i].slot), (u64)t->e.p + (u64)t->delta);
		emit_mov_imm(&t->e, JIT_A, t->leave[i].offset);
		emit_jmp(&t->e, t->delta, t->jit->unlinked);
	}
}

/* Code that goes to RIP JIT_A. */
static const u8 *dispatch(const struct jit_block *t)
{
	return t->jit->dispatch[block_class(t->b->key)];
}

/* To a target that has been checked. */
static void go(struct jit_block *t, s64 delta)
{
	if (same_page(t, delta)) {
		jump_by_slot(t, delta);
		return;
	}
	jit_rip(t, JIT_A, delta);
	emit_jmp(&t->e, t->delta, dispatch(t));
}

void jit_exit_direct(struct jit_block *t, s64 delta, unsigned insn)
{
	t->now = insn;
	check_target(t, delta);
	go(t, delta);
	jit_finish(t);
}

void jit_exits(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_exits; i++) {
		const struct jit_exit *x = &t->exit[i];
		const struct x86_insn *insn = &t->b->insn[x->insn];

		emit_patch(&t->e, x->place);
		t->in_host = true;
		t->in_mem = !x->dirty;
		t->recipe = -1;
		jit_save_flags(t);
		jit_exit_direct(t, (s64)(insn->next + insn->imm), x->insn);
	}
}

/* Return address pushed; JIT_A and JIT_B are lost. */
static void push_return(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	struct emit_mem m;

	t->in_a = JIT_NO_WINDOW;
	m = jit_stack_operand(t, insn);
	jit_rip(t, JIT_B, insn->next);
	emit_store(e, 8, m, JIT_B);
	emit_lea(e, 8, JIT_SP, EMIT_MEM(JIT_SP, -8));
}

static void jcc(struct jit_block *t, const struct x86_insn *insn)
{
	jit_load_flags(t);
	t->exit[t->nr_exits++] = (struct jit_exit){
		.place = emit_jcc_forward(&t->e, insn->cond), .insn = t->now, .dirty = !t->in_mem,
	};
}

static void jmp(struct jit_block *t, const struct x86_insn *insn)
{
	jit_save_flags(t);
	jit_exit_direct(t, (s64)(insn->next + insn->imm), t->now);
}

static void call(struct jit_block *t, const struct x86_insn *insn)
{
	s64 delta = (s64)(insn->next + insn->imm);

	jit_save_flags(t);
	check_target(t, delta);
	push_return(t, insn);
	go(t, delta);
}

static void ret(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	jit_save_flags(t);
	emit_load(e, 8, JIT_B, jit_stack_operand(t, insn));
	check_canonical(t);
	emit_lea(e, 8, JIT_SP, EMIT_MEM(JIT_SP, 8 + (s32)(insn->imm & 0xffff)));
	emit_mov(e, 8, JIT_A, JIT_B);
	emit_jmp(e, t->delta, dispatch(t));
}

/* Canonical target of an indirect branch in JIT_B. */
static bool indirect_target(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	bool mem = insn->operand[0].kind == X86_OPD_MEM;

	if (mem && !jit_ea_possible(insn))
		return false;
	jit_save_flags(t);
	if (mem) {
		emit_load(e, 8, JIT_B, jit_operand(t, insn, 8, false));
	} else {
		unsigned host = jit_get(t, insn->operand[0].reg, JIT_B);

		if (host != JIT_B)
			emit_mov(e, 8, JIT_B, host);
	}
	check_canonical(t);
	return true;
}

static bool jmp_ind(struct jit_block *t, const struct x86_insn *insn)
{
	if (!indirect_target(t, insn))
		return false;
	emit_mov(&t->e, 8, JIT_A, JIT_B);
	emit_jmp(&t->e, t->delta, dispatch(t));
	return true;
}

/* The target waits on the host's stack while the return address is pushed. */
static bool call_ind(struct jit_block *t, const struct x86_insn *insn)
{
	if (!indirect_target(t, insn))
		return false;
	emit_store(&t->e, 8, EMIT_MEM(X86_RSP, 0), JIT_B);
	push_return(t, insn);
	emit_load(&t->e, 8, JIT_A, EMIT_MEM(X86_RSP, 0));
	emit_jmp(&t->e, t->delta, dispatch(t));
	return true;
}

static bool is_relative(const struct x86_insn *insn)
{
	return insn->op == X86_OP_JCC || insn->op == X86_OP_JMP || insn->op == X86_OP_CALL;
}

bool jit_branch(struct jit_block *t, const struct x86_insn *insn)
{
	s64 delta = (s64)(insn->next + insn->imm);

	if (insn->osize != 8 || (is_relative(insn) && !jit_near(delta)))
		return false;
	switch (insn->op) {
	case X86_OP_JCC:
		jcc(t, insn);
		return true;
	case X86_OP_JMP:
		jmp(t, insn);
		return true;
	case X86_OP_CALL:
		call(t, insn);
		return true;
	case X86_OP_RET:
		ret(t, insn);
		return true;
	case X86_OP_JMP_IND:
		return jmp_ind(t, insn);
	case X86_OP_CALL_IND:
		return call_ind(t, insn);
	default:
		return false;
	}
}
