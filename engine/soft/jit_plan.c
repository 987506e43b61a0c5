/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which accesses of a block can share a probe. Addresses are compared as symbols: each register has a symbol
 * and a constant beside it; PUSH, POP, ADD and SUB of constants, LEA and MOV move the constant or copy both,
 * any other write gives the register a new symbol. Accesses whose bases and indices have the same symbols lie at
 * known distances from each other, and those not too far apart form a *window*: the first of them checks that
 * all of the window is in one page that may be accessed so, and the others use its host address.
 *
 * A window may reach over a page's end though no access of it does, or have members behind a branch that is
 * taken. Therefore what fails is not decided here: jit_block.c has a second translation for that, without windows.
 * Rights are another matter: a window is checked for writing only if a write follows before the next branch.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

#define WINDOW_MAX 256

struct value {
	u16 symbol;
	s64 offset;
};

struct state {
	struct value reg[X86_NR_REGS];
	u16 next_symbol;
	unsigned word;
};

/* An address: of the same place if all but offset agree. */
struct place {
	u16 base, index;
	u8 scale, seg;
	s64 offset;
};

static void forget(struct state *s, unsigned reg)
{
	s->reg[reg] = (struct value){ .symbol = s->next_symbol++ };
}

/* ---- what instructions do with registers ------------------------------------------------------------ */

/* Registers written besides operands: bits by number. ~0: not known. */
static u32 written_implicitly(const struct x86_insn *insn)
{
	switch (insn->op) {
	case X86_OP_ADD ... X86_OP_CMP:
	case X86_OP_TEST:
	case X86_OP_INC:
	case X86_OP_DEC:
	case X86_OP_NEG:
	case X86_OP_NOT:
	case X86_OP_MOV:
	case X86_OP_MOVZX:
	case X86_OP_MOVSX:
	case X86_OP_MOVSXD:
	case X86_OP_LEA:
	case X86_OP_XCHG:
	case X86_OP_XADD:
	case X86_OP_BSWAP:
	case X86_OP_ROL ... X86_OP_SHRD:
	case X86_OP_BT ... X86_OP_TZCNT:
	case X86_OP_ADCX ... X86_OP_CRC32:
	case X86_OP_SETCC:
	case X86_OP_CMOVCC:
	case X86_OP_IMUL:
	case X86_OP_NOP:
	case X86_OP_PREFETCH:
	case X86_OP_JCC:
	case X86_OP_JMP:
	case X86_OP_X87:
		return 0;
	case X86_OP_NATIVE:
		return insn->map == 3 && (insn->opcode & 0xfd) == 0x61 ? BIT(X86_RCX) : 0; /* PCMPxSTRI */
	case X86_OP_CMPXCHG:
	case X86_OP_CBW:
		return BIT(X86_RAX);
	case X86_OP_CWD:
		return BIT(X86_RDX);
	case X86_OP_MUL:
	case X86_OP_IMUL1:
	case X86_OP_DIV:
	case X86_OP_IDIV:
		return BIT(X86_RAX) | BIT(X86_RDX);
	default:
		return ~0u;
	}
}

/* Instructions after which a register is another one plus a constant. */
static bool moves_constant(struct state *s, const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;
	struct value *r = &s->reg[o[0].reg];

	if (insn->nr_operands == 0 || o[0].kind != X86_OPD_REG || o[0].size != s->word)
		return false;
	if (insn->op == X86_OP_INC || insn->op == X86_OP_DEC) {
		r->offset += insn->op == X86_OP_INC ? 1 : -1;
		return true;
	}
	if (insn->nr_operands != 2)
		return false;
	if ((insn->op == X86_OP_ADD || insn->op == X86_OP_SUB) && o[1].kind == X86_OPD_IMM) {
		r->offset = (s64)((u64)r->offset + (insn->op == X86_OP_ADD ? insn->imm : 0 - insn->imm));
		return true;
	}
	if (insn->op == X86_OP_MOV && o[1].kind == X86_OPD_REG) {
		*r = s->reg[o[1].reg];
		return true;
	}
	if (insn->op == X86_OP_LEA && insn->index == X86_REG_ZERO && insn->asize == s->word) {
		*r = s->reg[insn->base];
		r->offset = (s64)((u64)r->offset + (u64)insn->disp);
		return true;
	}
	return false;
}

static bool moves_stack(struct state *s, const struct x86_insn *insn)
{
	struct value *sp = &s->reg[X86_RSP];

	if (insn->osize != s->word)
		return false;
	switch (insn->op) {
	case X86_OP_PUSH:
	case X86_OP_PUSHF:
	case X86_OP_CALL:
	case X86_OP_CALL_IND:
		sp->offset -= s->word;
		return true;
	case X86_OP_POP:
		sp->offset += s->word;
		if (insn->operand[0].kind == X86_OPD_REG)
			forget(s, insn->operand[0].reg);
		return true;
	case X86_OP_LEAVE:
		*sp = s->reg[X86_RBP];
		sp->offset += s->word;
		forget(s, X86_RBP);
		return true;
	default:
		return false;
	}
}

u32 jit_written(const struct x86_insn *insn)
{
	u32 written = written_implicitly(insn);

	if (insn->osize != 2) {
		if (insn->op == X86_OP_PUSH || insn->op == X86_OP_POP)
			written = BIT(X86_RSP);
		else if (insn->op == X86_OP_LEAVE)
			written = BIT(X86_RSP) | BIT(X86_RBP);
	}
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if ((o->kind == X86_OPD_REG || o->kind == X86_OPD_REGH) && (o->access & X86_ACC_W))
			written |= BIT(o->reg);
	}
	return written;
}

static void execute(struct state *s, const struct x86_insn *insn)
{
	u32 written;

	if (moves_constant(s, insn) || moves_stack(s, insn))
		return;
	written = jit_written(insn) & 0xffff;
	for (; written; written &= written - 1)
		forget(s, (unsigned)__builtin_ctz(written));
}

/* ---- accesses ---------------------------------------------------------------------------------------- */

static bool find_explicit(const struct state *s, const struct x86_insn *insn, struct place *p,
			  struct jit_access *a)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		const struct x86_operand *o = &insn->operand[i];

		if (o->kind != X86_OPD_MEM)
			continue;
		if (!o->size || !o->access || insn->asize != s->word || !jit_ea_possible(insn) ||
		    jit_may_be_limited(insn, s->word) || (insn->desc->flags & X86_F_VSIB))
			return false;
		*a = (struct jit_access){ .size = o->size, .write = o->access & X86_ACC_W };
		*p = (struct place){ s->reg[insn->base].symbol, s->reg[insn->index].symbol, insn->scale,
				     insn->seg >= X86_FS ? insn->seg : 0, 0 };
		p->offset = (s64)((u64)s->reg[insn->base].offset + (u64)insn->disp +
				  ((u64)s->reg[insn->index].offset << insn->scale));
		return true;
	}
	return false;
}

static bool find_stack(const struct state *s, const struct x86_insn *insn, struct place *p, struct jit_access *a)
{
	const struct value *v = &s->reg[insn->op == X86_OP_LEAVE ? X86_RBP : X86_RSP];
	bool write = insn->op == X86_OP_PUSH || insn->op == X86_OP_PUSHF || insn->op == X86_OP_CALL ||
		     insn->op == X86_OP_CALL_IND;

	if (insn->osize != s->word || (!write && insn->op != X86_OP_POP && insn->op != X86_OP_LEAVE &&
				 insn->op != X86_OP_RET))
		return false;
	*a = (struct jit_access){ .size = (u8)s->word, .write = write };
	*p = (struct place){ v->symbol, s->reg[X86_REG_ZERO].symbol, 0, 0, v->offset - (write ? s->word : 0) };
	return true;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->base == b->base && a->index == b->index && a->seg == b->seg &&
	       (a->scale == b->scale || a->index == X86_REG_ZERO);
}

/* Takes size bytes at p into w if it stays small enough. */
static bool extend(struct jit_window *w, const struct place *p, unsigned size)
{
	s64 low = p->offset < w->low ? p->offset : w->low;
	s64 high = p->offset + size > w->high ? p->offset + size : w->high;

	if (high - low > WINDOW_MAX)
		return false;
	w->low = low;
	w->high = high;
	w->members++;
	return true;
}

static void assign(struct jit_plan *plan, struct place *known, const struct place *p, struct jit_access *a)
{
	a->window = JIT_NO_WINDOW;
	a->offset = p->offset;
	if (p->offset != (s32)p->offset)
		return;
	for (unsigned i = plan->nr; i--;) {
		if (same_place(&known[i], p) && extend(&plan->window[i], p, a->size)) {
			a->window = (u8)i;
			return;
		}
	}
	if (plan->nr == JIT_WINDOWS)
		return;
	known[plan->nr] = *p;
	plan->window[plan->nr] = (struct jit_window){ .low = p->offset, .high = p->offset + a->size, .members = 1 };
	a->window = (u8)plan->nr++;
}

static void plan_insn(struct jit_plan *plan, struct place *known, struct state *s, const struct x86_insn *insn,
		      unsigned position)
{
	struct jit_access *a = plan->access[position];
	struct place p;

	a[0].window = a[1].window = JIT_NO_WINDOW;
	if (find_explicit(s, insn, &p, &a[0]))
		assign(plan, known, &p, &a[0]);
	if (find_stack(s, insn, &p, &a[1]))
		assign(plan, known, &p, &a[1]);
	execute(s, insn);
}

/* What the loop writes is another thing in each iteration. */
static void forget_written(struct state *s, const struct x86_insn *insn, const struct jit_loop *loop)
{
	u32 written = 0;

	for (unsigned i = loop->head; i <= loop->tail; i++)
		written |= jit_written(&insn[i]) & 0xffff;
	for (; written; written &= written - 1)
		forget(s, (unsigned)__builtin_ctz(written));
}

void jit_plan(struct jit_plan *plan, const struct x86_insn *insn, unsigned nr, const struct jit_loop *loop, unsigned word)
{
	struct place known[JIT_WINDOWS];
	struct state s = { .next_symbol = X86_NR_REGS, .word = word }, tail;

	plan->nr = 0;
	for (unsigned reg = 0; reg < X86_NR_REGS; reg++)
		s.reg[reg] = (struct value){ .symbol = (u16)reg };
	for (unsigned i = 0; i < nr; i++) {
		plan_insn(plan, known, &s, &insn[i], i);
		if (i == loop->tail)
			tail = s;
	}
	if (!loop->any)
		return;
	memcpy(s.reg, tail.reg, sizeof(s.reg));
	forget_written(&s, insn, loop);
	for (unsigned i = loop->head; i <= loop->tail; i++)
		plan_insn(plan, known, &s, &insn[i], nr + i - loop->head);
}
