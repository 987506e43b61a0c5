/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Branches, and how a block is left for the next: by links if the target is known, and if not by looking RIP up in a table.
 * Links to other pages are good for one number of block.c's. What is found in the table is a canonical address. Everything
 * that may miss is probed and looked up before anything is committed; if it misses, the handler does it all, and the loop
 * that it leads to makes the link or fills the table.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

static bool same_page(const struct jit_block *t, s64 delta)
{
	return (u64)(t->b->offset + delta) < PAGE_SIZE;
}

/* What a RET adds to rSP. */
static s32 return_pops(const struct jit_block *t, const struct x86_insn *insn)
{
	return (s32)t->word + (s32)(insn->imm & 0xffff);
}

/* ---- within the page --------------------------------------------------------------------------------- */

/* Of a branch at the instruction at hand to the block's start + delta. NULL: no room. */
static struct jit_leave *new_link(struct jit_block *t, s64 delta)
{
	u32 link;

	if (t->nr_leaves == ARRAY_SIZE(t->leave) || !jit_take_link(t->jit, &link)) {
		t->e.overflow = true;
		return NULL;
	}
	t->leave[t->nr_leaves] = (struct jit_leave){
		.link = link, .offset = (s32)((s64)t->offset + delta), .insn = t->now,
	};
	return &t->leave[t->nr_leaves++];
}

/* The branch whose displacement is at place gets a target in this page; inner: which need not look at cpu->stop. */
static void add_link(struct jit_block *t, u8 *place, s64 delta, bool inner)
{
	struct jit_leave *leave = new_link(t, delta);

	if (!leave)
		return;
	t->jit->target[leave->link] = (struct jit_target){
		.page = t->b->page, .offset = leave->offset, .key = t->b->key, .inner = inner, .place = place,
	};
}

static void leave_near(struct jit_block *t, const struct jit_leave *leave, struct jit_target *target)
{
	struct emit *e = &t->e;

	emit_patch(e, target->place);
	target->unlinked = (s32)(e->p - (target->place + 4));
	emit_mov_imm(e, JIT_A, (u32)leave->offset);
	emit_mov_imm(e, JIT_B, leave->link + 1u);
	emit_jmp(e, t->delta, t->jit->unlinked);
	target->leave = e->p - 4;
}

/* The handler of the branch does not come back. */
static void leave_far(struct jit_block *t, const struct jit_leave *leave)
{
	struct emit *e = &t->e;

	emit_patch(e, leave->miss);
	emit_mov_imm(e, JIT_A, (u64)(s64)leave->offset);
	emit_lea_cell(e, JIT_B, &t->jit->target[leave->link].cells->number);
	emit_call(e, t->delta, t->jit->find_far[t->word == 4]);
	emit_jcc(e, JIT_IF_EQUAL, 0, leave->back);
	jit_call_handler(t, leave->insn);
}

void jit_leaves(struct jit_block *t)
{
	struct emit *e = &t->e;

	for (unsigned i = 0; i < t->nr_leaves; i++) {
		struct jit_leave *leave = &t->leave[i];
		struct jit_target *target = &t->jit->target[leave->link];

		if (target->cells)
			leave_far(t, leave);
		else
			leave_near(t, leave, target);
	}
	if (t->stack_full) {
		emit_patch(e, t->stack_full);
		emit_load(e, 8, X86_RSP, JIT_FIELD(code_floor));
		emit_jmp(e, 0, t->stack_back);
	}
	if (t->return_moved) {
		emit_patch(e, t->return_moved);
		emit_mov_imm(e, JIT_A, (u64)t->return_cell);
		emit_store(e, 8, EMIT_MEM(JIT_A, 0), JIT_B);
		emit_alu_imm(e, EMIT_AND, 8, JIT_B, -4096);
		emit_store(e, 8, EMIT_MEM(JIT_A, 8), JIT_B);
		emit_jmp(e, 0, t->return_back);
	}
	if (t->return_miss) {
		emit_patch(e, t->return_miss);
		emit_store_imm(e, 8, JIT_FIELD(code_temp), return_pops(t, &t->b->insn[t->b->nr - 1u]));
		emit_mov(e, 8, JIT_A, JIT_B);
		emit_call(e, t->delta, t->jit->return_miss[t->word == 4]);
		jit_call_handler(t, t->b->nr - 1u);
	}
}

/* ---- to another page ----------------------------------------------------------------------------------- */

/*
 * Before the branch at hand, which leads to the block's start + delta, does anything: whether its link is good. Flags are
 * saved. NULL: no room.
 */
static struct jit_target *far_guard(struct jit_block *t, s64 delta)
{
	struct jit_far *cells = jit_take_cells(t->jit, sizeof(*cells));
	struct jit_leave *leave = cells ? new_link(t, delta) : NULL;
	struct jit_target *target;

	t->in_host = false;
	t->in_a = JIT_NO_WINDOW;
	t->based = 0;
	t->stack_b = false;
	if (!leave) {
		t->e.overflow = true;
		return NULL;
	}
	*cells = (struct jit_far){ .link = leave->link + 1u };
	emit_load(&t->e, 8, JIT_A, JIT_NUMBER);
	emit_cmp_cell(&t->e, JIT_A, &cells->number);
	leave->miss = emit_jcc_forward(&t->e, JIT_IF_NOT_EQUAL);
	leave->back = t->e.p;
	target = &t->jit->target[leave->link];
	*target = (struct jit_target){
		.page = t->b->page, .offset = leave->offset, .key = t->b->key, .inner = true, .cells = cells,
	};
	return target;
}

/* The branch itself. */
static void far_branch(struct jit_block *t, struct jit_target *target, s64 delta, bool call)
{
	s32 rip;

	if (!target)
		return;
	if (jit_known_rip(t, delta, &rip)) {
		emit_store_imm(&t->e, 8, JIT_FIELD(code_page), rip & (s32)PAGE_MASK);
	} else {
		emit_load_cell(&t->e, JIT_A, &target->cells->page);
		emit_store(&t->e, 8, JIT_FIELD(code_page), JIT_A);
	}
	target->place = call ? emit_call_forward(&t->e) : emit_jmp_forward(&t->e);
}

/* ---- by the table ------------------------------------------------------------------------------------- */

/* JIT_B: the table's entry for RIP JIT_A, which so is known to be canonical; to the handler if there is none. */
static void look_up(struct jit_block *t)
{
	u8 *miss[2];

	jit_look_up(&t->e, miss);
	jit_slow_at(t, miss[0]);
	jit_slow_at(t, miss[1]);
	t->in_host = false;
	t->in_a = JIT_NO_WINDOW;
	t->based = 0;
	t->stack_b = false;
}

static void go_to_found(struct jit_block *t)
{
	emit_load(&t->e, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, page)));
	emit_store(&t->e, 8, JIT_FIELD(code_page), JIT_A);
	emit_jmp_mem(&t->e, EMIT_MEM(JIT_B, offsetof(struct jit_jump, code)));
}

/* A branch ahead needs no look at cpu->stop: no loop is made of those alone. */
void jit_exit_direct(struct jit_block *t, s64 delta, unsigned insn)
{
	t->now = insn;
	if (same_page(t, delta)) {
		add_link(t, emit_jmp_forward(&t->e), delta, delta >= t->b->insn[insn].next);
		return;
	}
	far_branch(t, far_guard(t, delta), delta, false);
	jit_finish(t);
}

void jit_exits(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_exits; i++) {
		const struct jit_exit *x = &t->exit[i];
		const struct x86_insn *insn = &t->b->insn[x->insn];
		s64 delta = (s64)(insn->next + insn->imm);

		if (!x->dirty && same_page(t, delta)) {
			add_link(t, x->place, delta, delta >= insn->next);
			continue;
		}
		emit_patch(&t->e, x->place);
		t->in_host = true;
		t->in_mem = !x->dirty;
		t->recipe = -1;
		jit_save_flags(t);
		jit_exit_direct(t, delta, x->insn);
	}
}

/* ---- calls -------------------------------------------------------------------------------------------- */

/* The return address is pushed, on the guest's stack and on the host's; JIT_A and JIT_B are lost. */
static void push_return(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	struct emit_mem m;
	bool known;
	s32 rip;

	t->in_a = JIT_NO_WINDOW;
	m = jit_stack_operand(t, insn);
	known = jit_known_rip(t, insn->next, &rip);
	if (known) {
		emit_store_imm(e, 8, m, rip);
	} else {
		jit_rip(t, JIT_B, insn->next);
		emit_store(e, t->word, m, JIT_B);
	}
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, -(s32)t->word));
	emit_alu_load(e, EMIT_CMP, 8, X86_RSP, JIT_FIELD(code_stack_end));
	t->stack_full = emit_jcc_forward(e, JIT_IF_BELOW);
	t->stack_back = e->p;
	if (known)
		emit_push_imm(e, rip);
	else
		emit_push(e, JIT_B);
	if (t->fixed)
		return;
	t->return_cell = jit_take_cells(t->jit, 2 * sizeof(u64));
	if (!t->return_cell) {
		t->return_cell = jit_slot(t->jit, 0);
		e->overflow = true;
	}
}

static void store_page(struct jit_block *t)
{
	if (t->page == (u64)(s64)(s32)t->page) {
		emit_store_imm(&t->e, 8, JIT_FIELD(code_page), (s32)t->page);
	} else {
		emit_mov_imm(&t->e, JIT_B, t->page);
		emit_store(&t->e, 8, JIT_FIELD(code_page), JIT_B);
	}
}

/*
 * The page that RIP, in JIT_B, is in. It is not made of it but taken from a cell that knows what it was the last time: so the
 * processor need not wait for the address that CALL has made of cpu->code_page and RET has read.
 */
static void find_page(struct jit_block *t)
{
	struct emit *e = &t->e;

	emit_cmp_cell(e, JIT_B, t->return_cell);
	t->return_moved = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	emit_load_cell(e, JIT_B, t->return_cell + 1);
	t->return_back = e->p;
	emit_store(e, 8, JIT_FIELD(code_page), JIT_B);
}

/* Where the host's RET comes to, with RIP in JIT_B. */
static void return_site(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	jit_finish(t);
	if (t->fixed)
		store_page(t);
	else
		find_page(t);
	emit_lea(e, 8, X86_RSP, EMIT_MEM(X86_RSP, 8));
	if (same_page(t, insn->next)) {
		add_link(t, emit_jmp_forward(e), insn->next, true);
		return;
	}
	if (!t->fixed) {
		emit_op_mem(e, 8, 0x81, EMIT_SUB, JIT_FIELD(code_page));
		emit32(e, PAGE_SIZE);
	}
	jit_exit_direct(t, insn->next, t->b->nr);
}

/* What has been found waits in code_temp[0] while the return address is pushed. */
static void call_found(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	look_up(t);
	emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
	push_return(t, insn);
	emit_load(e, 8, JIT_A, JIT_FIELD(code_temp[0]));
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_A, offsetof(struct jit_jump, page)));
	emit_store(e, 8, JIT_FIELD(code_page), JIT_B);
	emit_call_mem(e, EMIT_MEM(JIT_A, offsetof(struct jit_jump, code)));
	return_site(t, insn);
}

static void call(struct jit_block *t, const struct x86_insn *insn)
{
	s64 delta = (s64)(insn->next + insn->imm);
	bool far = !same_page(t, delta);
	struct jit_target *target;

	jit_save_flags(t);
	target = far ? far_guard(t, delta) : NULL;
	push_return(t, insn);
	if (far)
		far_branch(t, target, delta, true);
	else
		add_link(t, emit_call_forward(&t->e), delta, false);
	return_site(t, insn);
}

static void ret(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	jit_save_flags(t);
	emit_load(e, t->word, JIT_B, jit_stack_operand(t, insn));
	emit_alu_load(e, EMIT_CMP, 8, JIT_B, EMIT_MEM(X86_RSP, 8));
	t->in_host = false;
	t->return_miss = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, return_pops(t, insn)));
	emit_ret(e);
}

/* ---- the others ---------------------------------------------------------------------------------------- */

static void jcc(struct jit_block *t, const struct x86_insn *insn)
{
	jit_kept_a(t);
	jit_kept_b(t);
	if (jit_loop_branch(t, insn))
		return;
	jit_load_flags(t);
	t->exit[t->nr_exits++] = (struct jit_exit){
		.place = emit_jcc_forward(&t->e, insn->cond), .insn = t->now, .dirty = !t->in_mem,
	};
}

static void jmp(struct jit_block *t, const struct x86_insn *insn)
{
	if (jit_loop_branch(t, insn))
		return;
	jit_save_flags(t);
	jit_exit_direct(t, (s64)(insn->next + insn->imm), t->now);
}

/* Target of an indirect branch in JIT_A. */
static bool indirect_target(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	bool mem = insn->operand[0].kind == X86_OPD_MEM;
	unsigned host;

	if (mem && !jit_ea_possible(insn))
		return false;
	jit_save_flags(t);
	if (mem) {
		emit_load(e, t->word, JIT_A, jit_operand(t, insn, t->word, false));
		return true;
	}
	host = jit_get(t, insn->operand[0].reg, JIT_A);
	if (host != JIT_A)
		emit_mov(e, t->word, JIT_A, host);
	return true;
}

static bool jmp_ind(struct jit_block *t, const struct x86_insn *insn)
{
	if (!indirect_target(t, insn))
		return false;
	look_up(t);
	go_to_found(t);
	return true;
}

static bool call_ind(struct jit_block *t, const struct x86_insn *insn)
{
	if (!indirect_target(t, insn))
		return false;
	call_found(t, insn);
	return true;
}

/* LOOP and JCXZ, whose two ways are links: nothing that misses executes them again. */
static bool by_count(struct jit_block *t, const struct x86_insn *insn)
{
	s64 delta = (s64)(insn->next + insn->imm);
	bool loop = insn->op == X86_OP_LOOP;
	struct emit *e = &t->e;

	if (insn->asize != t->word || !same_page(t, delta) || !same_page(t, insn->next))
		return false;
	jit_save_flags(t);
	t->in_host = false;
	if (loop)
		emit_lea(e, t->word, X86_RCX, EMIT_MEM(X86_RCX, -1));
	emit_op_reg(e, t->word, 0x85, X86_RCX, X86_RCX); /* TEST */
	add_link(t, emit_jcc_forward(e, loop ? JIT_IF_NOT_EQUAL : JIT_IF_EQUAL), delta, delta >= insn->next);
	add_link(t, emit_jmp_forward(e), insn->next, true);
	return true;
}

static bool is_relative(const struct x86_insn *insn)
{
	return insn->op == X86_OP_JCC || insn->op == X86_OP_JMP || insn->op == X86_OP_CALL;
}

bool jit_branch(struct jit_block *t, const struct x86_insn *insn)
{
	s64 delta = (s64)(insn->next + insn->imm);

	if (insn->osize != t->word || (is_relative(insn) && !jit_near(delta)))
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
	case X86_OP_LOOP:
	case X86_OP_JCXZ:
		return by_count(t, insn);
	case X86_OP_JMP_IND:
		return jmp_ind(t, insn);
	case X86_OP_CALL_IND:
		return call_ind(t, insn);
	default:
		return false;
	}
}
