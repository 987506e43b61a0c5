/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory operands through the host's MMU (window.c has the essay), in blocks of BLOCK_KEY_WINDOWS.
 *
 * JIT_A becomes the delta of the window that the address's base lies in, [JIT_A + base + displacement] is the operand. Around
 * each window nothing is mapped for longer than displacements reach, so the displacement need not be looked at. Bases that
 * are not in a register of the host's, and sums with an index, are made in JIT_B. No flag is touched, and there is no
 * slow path: what is not mapped faults, the instruction that did has changed nothing yet, and jit_window_miss() executes it
 * by its handler and goes on behind it. So the code of each instruction must leave the guest's registers alone up to its last
 * access, and where flags are at its accesses stands in the block's piece.
 *
 * JIT_A is used again by the instructions that follow, as long as nothing else has been put there and the base has moved by
 * constants alone, which together are small ("drift"). After a miss it is made anew, from a register that the piece names.
 * The delta of rSP is rather kept in JIT_B, which fewer instructions leave alone: those that say so (jit_kept_b()); and flags are
 * saved and loaded through it.
 *
 * What misses again and again without a cure - devices, pages of code - is translated anew with a probe: block.probed.
 */
#include "engine/soft/jit.h"
#include "engine/soft/native_op.h"
#include "engine/soft/translate.h"
#include "engine/soft/window.h"
#include "x86/mem.h"
#include "x86/opcodes.h"

#define DRIFT_MAX (1ull << 30)
#define MISSES_MAX 16
/* A segment's base as a register: its number. */
#define SEGMENT_BASE(seg) (X86_NR_REGS + (unsigned)(seg))

bool jit_direct(const struct jit_block *t)
{
	return (t->b->key & BLOCK_KEY_WINDOWS) && !(t->b->probed >> t->now & 1);
}

/* ---- addresses --------------------------------------------------------------------------------------- */

/* The linear address is reg + disp. */
struct address {
	unsigned reg;		/* of the host's */
	u32 based;		/* registers of the guest's that it is; 0: none */
	s32 disp;
};

static struct emit_mem segment_base(unsigned seg)
{
	return EMIT_GS((s32)(offsetof(struct x86_cpu, seg_base) + seg * sizeof(u64)));
}

static bool has_segment(const struct x86_insn *insn)
{
	return insn->seg == X86_FS || insn->seg == X86_GS;
}

/* JIT_A may be lost. */
static unsigned sum(struct jit_block *t, const struct x86_insn *insn, s32 disp)
{
	struct emit_mem m = { .base = EMIT_NO_BASE, .index = EMIT_NO_INDEX, .scale = insn->scale, .disp = disp };
	unsigned size = insn->asize == 4 ? 4 : 8;

	if (insn->index != X86_REG_ZERO)
		m.index = (u8)jit_get(t, insn->index, JIT_B);
	if (insn->base == X86_REG_RIP) {
		jit_rip(t, JIT_A, -(s64)t->offset);
		m.base = JIT_A;
	} else if (insn->base != X86_REG_ZERO) {
		m.base = (u8)jit_get(t, insn->base, JIT_A);
	}
	emit_lea(&t->e, size, JIT_B, m);
	if (!has_segment(insn))
		return JIT_B;
	emit_load(&t->e, 8, JIT_A, segment_base(insn->seg));
	emit_lea(&t->e, 8, JIT_B, EMIT_MEM_INDEX(JIT_A, JIT_B, 0));
	return JIT_B;
}

/* Nothing but a base, or absolute. */
static bool is_simple(const struct x86_insn *insn)
{
	return insn->asize == 8 && insn->index == X86_REG_ZERO &&
	       (!has_segment(insn) || insn->base == X86_REG_ZERO);
}

static struct address simple(struct jit_block *t, const struct x86_insn *insn)
{
	struct address a = { .reg = JIT_B, .based = BIT(insn->base), .disp = (s32)insn->disp };
	u64 gva;

	if (insn->base == X86_REG_RIP && jit_known_address(t, insn, &gva) && gva < 1u << 31) {
		a = (struct address){ .reg = EMIT_NO_INDEX, .based = BIT(X86_REG_ZERO), .disp = (s32)gva };
	} else if (has_segment(insn)) {
		emit_load(&t->e, 8, JIT_B, segment_base(insn->seg));
		a.based = BIT(SEGMENT_BASE(insn->seg));
	} else if (insn->base == X86_REG_RIP) {
		jit_rip(t, JIT_B, -(s64)t->offset);
		a.disp += (s32)t->offset;
	} else if (insn->base == X86_REG_ZERO) {
		a.reg = EMIT_NO_INDEX;
	} else {
		a.reg = jit_get(t, insn->base, JIT_B);
	}
	return a;
}

static struct address explicit(struct jit_block *t, const struct x86_insn *insn)
{
	bool whole = insn->asize != 8 || insn->base == X86_REG_ZERO; /* the displacement is part of what is truncated */
	struct address a = { .disp = whole ? 0 : (s32)insn->disp };

	if (is_simple(insn))
		return simple(t, insn);
	if (insn->base == X86_REG_RIP) {
		a.disp = 0;
		a.reg = sum(t, insn, (s32)(insn->disp + (s64)t->offset));
		return a;
	}
	a.reg = sum(t, insn, whole ? (s32)insn->disp : 0);
	return a;
}

static void load_delta(struct jit_block *t, unsigned delta, unsigned reg)
{
	emit_rorx(&t->e, 8, delta, reg, 32);
	emit_load_table(&t->e, delta, delta, WINDOW_TABLE_USER);
}

/* Of absolute addresses the window is known: below 2 GiB the first, and above, next to 2^64, none. */
static void delta_in_a(struct jit_block *t, const struct address *a)
{
	if (a->based & t->based)
		return;
	t->drift = 0;
	if (a->based == BIT(X86_RSP) && t->stack_b) {
		emit_mov(&t->e, 8, JIT_A, JIT_B);
		t->drift = t->stack_drift;
	} else if (a->reg == EMIT_NO_INDEX) {
		emit_load(&t->e, 8, JIT_A, EMIT_GS(WINDOW_TABLE_USER + GS_BIAS));
	} else {
		load_delta(t, JIT_A, a->reg);
	}
	t->based = a->based;
}

/* For rSP JIT_B is taken, if that is free, so that other bases do not displace it. */
static struct emit_mem stack_by_b(struct jit_block *t, const struct address *a)
{
	if (!t->stack_b) {
		load_delta(t, JIT_B, a->reg);
		t->stack_b = true;
		t->stack_drift = 0;
	}
	return EMIT_MEM_INDEX(JIT_B, (u8)a->reg, a->disp);
}

static struct emit_mem operand(struct jit_block *t, struct address a, bool free_b)
{
	t->in_a = JIT_NO_WINDOW;
	t->piece->at[t->now - t->piece->first].flags = (s8)jit_flags_source(t);
	if (a.reg == JIT_B)
		t->stack_b = false;
	if (a.based == BIT(X86_RSP) && free_b && (t->stack_b || !(t->based & a.based)))
		return stack_by_b(t, &a);
	delta_in_a(t, &a);
	return EMIT_MEM_INDEX(JIT_A, (u8)a.reg, a.disp);
}

struct emit_mem jit_direct_stack(struct jit_block *t, const struct x86_insn *insn, bool free_b)
{
	unsigned base = insn->op == X86_OP_LEAVE ? X86_RBP : X86_RSP;

	return operand(t, (struct address){ jit_host(base), BIT(base), jit_stack_disp(t, insn) }, free_b);
}

struct emit_mem jit_direct_operand(struct jit_block *t, const struct x86_insn *insn, bool free_b)
{
	return operand(t, explicit(t, insn), free_b);
}

struct emit_mem jit_free_b(struct jit_block *t, struct emit_mem m)
{
	if (m.index != JIT_B)
		return m;
	emit_lea(&t->e, 8, JIT_A, EMIT_MEM_INDEX(JIT_A, JIT_B, 0));
	t->based = 0;
	return EMIT_MEM(JIT_A, m.disp);
}

/* ---- what stays in JIT_A -------------------------------------------------------------------------------- */

/* By what the instruction moves its only result, or another register's copy; -1: that is not known. */
static s64 moves(const struct x86_insn *insn, unsigned *from)
{
	const struct x86_operand *o = insn->operand;
	u64 by = 0;

	*from = o[0].reg;
	switch (insn->op) {
	case X86_OP_INC:
	case X86_OP_DEC:
		by = 1;
		break;
	case X86_OP_ADD:
	case X86_OP_SUB:
		if (o[1].kind != X86_OPD_IMM)
			return -1;
		by = (u64)((s64)insn->imm < 0 ? -(s64)insn->imm : (s64)insn->imm);
		break;
	case X86_OP_MOV:
		if (o[1].kind != X86_OPD_REG)
			return -1;
		*from = o[1].reg;
		break;
	case X86_OP_LEA:
		if (insn->index != X86_REG_ZERO || insn->asize != 8)
			return -1;
		by = (u64)(insn->disp < 0 ? -insn->disp : insn->disp);
		*from = insn->base;
		break;
	default:
		return -1;
	}
	return by < DRIFT_MAX ? (s64)by : -1;
}

static void after_move(struct jit_block *t, unsigned to, unsigned from, u64 by)
{
	bool known = t->next_based >> from & 1;

	t->next_based &= ~BIT(to);
	t->drift += by;
	if (known)
		t->next_based |= BIT(to);
	if (t->drift > DRIFT_MAX)
		t->next_based = 0;
}

static bool pushes_or_pops(const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;

	return insn->op == X86_OP_PUSH || insn->op == X86_OP_PUSHF ||
	       (insn->op == X86_OP_POP && (o[0].kind != X86_OPD_REG || o[0].reg != X86_RSP));
}

static void after_stack(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;
	unsigned from = X86_RSP;
	s64 by = -1;

	if (!t->next_stack_b)
		return;
	if (insn->nr_operands && o[0].kind == X86_OPD_REG && o[0].size == 8 && o[0].reg == X86_RSP)
		by = moves(insn, &from);
	if (by >= 0 && from == X86_RSP)
		t->stack_drift += (u64)by;
	else if (pushes_or_pops(insn))
		t->stack_drift += 8;
	else if (jit_written(insn) & BIT(X86_RSP))
		t->next_stack_b = false;
	if (t->stack_drift > DRIFT_MAX)
		t->next_stack_b = false;
}

void jit_direct_after(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = insn->operand;
	u32 written, keep = 0;
	unsigned from;
	s64 by;

	after_stack(t, insn);
	if (!t->next_based)
		return;
	if (insn->nr_operands && o[0].kind == X86_OPD_REG && o[0].size == 8 && (by = moves(insn, &from)) >= 0) {
		after_move(t, o[0].reg, from, (u64)by);
		return;
	}
	written = jit_written(insn);
	if (written == ~0u && insn->op == X86_OP_PUSHF && insn->osize == 8)
		written = BIT(X86_RSP);
	if (pushes_or_pops(insn)) {
		keep = BIT(X86_RSP);
		t->drift += 8;
	}
	t->next_based &= ~(written & ~keep);
}

/* ---- misses ------------------------------------------------------------------------------------------------ */

static unsigned explicit_range(const struct x86_cpu *cpu, const struct x86_insn *insn, struct jit_range *r)
{
	const struct x86_operand *o = insn->operand;

	for (unsigned i = 0; i < insn->nr_operands; i++, o++) {
		if (o->kind != X86_OPD_MEM)
			continue;
		*r = (struct jit_range){ cpu->seg_base[insn->seg] + x86_ea(cpu, insn), o->size, o->access & X86_ACC_W };
		if (jit_vector_inline(insn)) {
			const struct native_traits *n = &((const struct native_op *)insn->native)->t;

			r->size = n->mem_size;
			r->write = n->mem_access & X86_ACC_W;
		}
		return r->size && insn->op != X86_OP_LEA;
	}
	return 0;
}

static unsigned stack_range(const struct x86_cpu *cpu, const struct x86_insn *insn, struct jit_range *r)
{
	switch (insn->op) {
	case X86_OP_PUSH:
	case X86_OP_PUSHF:
	case X86_OP_CALL:
	case X86_OP_CALL_IND:
		*r = (struct jit_range){ cpu->regs[X86_RSP] - 8, 8, true };
		return 1;
	case X86_OP_POP:
	case X86_OP_RET:
		*r = (struct jit_range){ cpu->regs[X86_RSP], 8, false };
		return 1;
	case X86_OP_LEAVE:
		*r = (struct jit_range){ cpu->regs[X86_RBP], 8, false };
		return 1;
	default:
		return 0;
	}
}

/* Next time its block is translated anew. */
static void probe_instead(struct x86_cpu *cpu, struct block *b, unsigned insn)
{
	struct soft_vcpu *soft = soft_of(cpu);

	if (!b->page)
		return;
	soft->stat->windows_demoted++;
	b->probed |= BIT(insn);
	translate_unlink(soft, b);
	b->code = NULL;
	b->heat = soft->jit->warm;
	atomic_or(&cpu->stop, X86_STOP_CODE);
}

static void fill(struct x86_cpu *cpu, const struct jit_place *at, const struct jit_range *r, unsigned nr)
{
	bool filled = true;

	for (unsigned i = 0; i < nr; i++)
		filled &= window_fill(cpu, r[i].gva, r[i].size, r[i].write);
	if (!filled && ++at->piece->at[at->index].misses == MISSES_MAX)
		probe_instead(cpu, at->block, at->piece->first + at->index);
}

/* The register that JIT_A depends on where the code of the instruction begins, as jit_direct_operand() saw it. */
static u64 base_value(const struct x86_cpu *cpu, unsigned reg)
{
	if (reg == X86_REG_RIP)
		return cpu->code_page;
	return reg < X86_NR_REGS ? cpu->regs[reg] : cpu->seg_base[reg - X86_NR_REGS];
}

u8 jit_direct_base(const struct jit_block *t)
{
	return t->based ? (u8)__builtin_ctz(t->based) : X86_REG_ZERO;
}

static void prepare_next(struct x86_cpu *cpu, const struct jit_place *at)
{
	const struct jit_piece *p = at->piece;

	cpu->code_temp[0] = (u64)p->code + p->at[at->index + 1].offset;
	cpu->code_temp[1] = window_delta(cpu, base_value(cpu, p->at[at->index + 1].based));
	cpu->window_flags = window_delta(cpu, cpu->regs[X86_RSP]);
}

unsigned jit_window_miss(struct x86_cpu *cpu)
{
	struct soft_vcpu *soft = soft_of(cpu);
	const struct x86_insn *insn;
	struct jit_range range[2];
	struct jit_place at;
	enum x86_result r;
	unsigned nr;

	if (!jit_find_place(soft->jit, (const u8 *)cpu->window_pc, &at))
		return JIT_NO_PLACE;
	insn = soft->insn = &at.block->insn[at.piece->first + at.index];
	jit_fault_flags(cpu, at.block, at.piece->at[at.index].flags, cpu->window_flags);
	cpu->regs[X86_REG_RIP] = cpu->code_page + at.block->offset;
	soft->stat->window_misses++;
	nr = jit_string_miss(cpu, insn, (const u8 *)cpu->window_pc, range);
	if (!nr)
		nr = explicit_range(cpu, insn, range);
	nr += stack_range(cpu, insn, range + nr);
	r = insn->exec(cpu, insn);
	if (r != X86_OK && r != X86_BRANCH)
		return r;
	fill(cpu, &at, range, nr);
	if (r == X86_OK)
		prepare_next(cpu, &at);
	return r;
}
