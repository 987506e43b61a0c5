/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Status flags in translated code.
 *
 * They are in the host's RFLAGS (in_host), in AH and AL of cpu->cc as LAHF and SETO AL leave them (in_mem), or
 * known by a recipe: the instruction that made them can be executed once more, because what it needs is still in
 * registers - a comparison as it stands, a logical operation as TEST of its result, ADD and SUB after they have
 * been undone in a scratch register. Usually several of these. Handlers are called with flags in cpu->cc. Probes
 * destroy RFLAGS and have a way to a handler: with a recipe nothing is done about that but in the slow path.
 *
 * An instruction that overwrites a recipe's registers ends it; flags are saved before if they would be lost - unless
 * they are overwritten before anything can look at them, where no memory access, branch or handler is in between.
 */
#include "engine/soft/jit.h"
#include "x86/emulate/emulate.h"
#include "x86/opcodes.h"

/* ---- recipes --------------------------------------------------------------------------------------- */

static bool is_comparison(const struct x86_insn *insn)
{
	return insn->op == X86_OP_CMP || insn->op == X86_OP_TEST;
}

static bool is_logical(const struct x86_insn *insn)
{
	return insn->op == X86_OP_AND || insn->op == X86_OP_OR || insn->op == X86_OP_XOR;
}

static bool same_register(const struct x86_insn *insn)
{
	return insn->operand[1].kind == X86_OPD_REG && insn->operand[0].reg == insn->operand[1].reg;
}

/* In registers of the host's alone, so that no scratch register but RAX is needed. */
static bool has_recipe(const struct x86_insn *insn)
{
	if (jit_has_mem(insn) || jit_has_high_byte(insn) || jit_names_memory(insn))
		return false;
	if (insn->op == X86_OP_ADD || insn->op == X86_OP_SUB)
		return !same_register(insn);
	return is_comparison(insn) || is_logical(insn);
}

static u32 ingredients(const struct x86_insn *insn)
{
	u32 regs = BIT(insn->operand[0].reg);

	if (!is_logical(insn) && insn->operand[1].kind == X86_OPD_REG)
		regs |= BIT(insn->operand[1].reg);
	return regs;
}

static void op_with_operand(struct emit *e, enum emit_alu op, unsigned size, unsigned reg, const struct x86_insn *insn)
{
	const struct x86_operand *o = &insn->operand[1];

	if (o->kind == X86_OPD_IMM)
		emit_alu_imm(e, op, size, reg, (s32)insn->imm);
	else
		emit_alu(e, op, size, reg, jit_host(o->reg));
}

/* The flags of insn in the host's once more. RAX is lost. */
static void redo(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned reg = jit_host(insn->operand[0].reg), size = insn->operand[0].size;
	struct emit *e = &t->e;

	if (is_logical(insn)) {
		emit_op_reg(e, size, size == 1 ? 0x84 : 0x85, reg, reg);
	} else if (insn->op == X86_OP_TEST) {
		if (insn->operand[1].kind == X86_OPD_REG)
			emit_op_reg(e, size, size == 1 ? 0x84 : 0x85, jit_host(insn->operand[1].reg), reg);
		else
			emit_test_imm(e, size, reg, (s32)insn->imm);
	} else if (insn->op == X86_OP_CMP) {
		op_with_operand(e, EMIT_CMP, size, reg, insn);
	} else {
		bool add = insn->op == X86_OP_ADD;

		emit_mov(e, 8, X86_RAX, reg);
		op_with_operand(e, add ? EMIT_SUB : EMIT_ADD, 8, X86_RAX, insn);
		op_with_operand(e, add ? EMIT_ADD : EMIT_SUB, size, X86_RAX, insn);
	}
}

/* ---- where they are -------------------------------------------------------------------------------- */

static void save(struct emit *e)
{
	emit_lahf(e);
	emit_setcc(e, 0, X86_RAX);
	emit_store(e, 4, JIT_FIELD(cc), X86_RAX);
}

/* Nowhere: jit_flags_before() has found that nobody wants them, so nobody may ask. */
static bool lost(struct jit_block *t)
{
	if (t->in_host || t->in_mem || t->recipe >= 0)
		return false;
	t->e.overflow = true;
	return true;
}

void jit_save_flags(struct jit_block *t)
{
	if (t->in_mem || lost(t))
		return;
	jit_load_flags(t);
	save(&t->e);
	t->stack_b = t->next_stack_b = false;
	t->in_mem = true;
}

/* Adding 7F to AL overflows if AL is 1. */
void jit_load_flags(struct jit_block *t)
{
	struct emit *e = &t->e;

	if (t->in_host || lost(t))
		return;
	t->stack_b = t->next_stack_b = false;
	if (t->recipe >= 0) {
		redo(t, &t->b->insn[t->recipe]);
	} else {
		emit_load(e, 4, X86_RAX, JIT_FIELD(cc));
		emit_alu_imm(e, EMIT_ADD, 1, X86_RAX, 0x7f);
		emit_sahf(e);
	}
	t->in_host = true;
}

void jit_risk_flags(struct jit_block *t)
{
	if (t->recipe < 0)
		jit_save_flags(t);
}

int jit_flags_source(const struct jit_block *t)
{
	if (t->in_mem)
		return JIT_FLAGS_SAVED;
	return t->recipe >= 0 ? t->recipe : JIT_FLAGS_HOST;
}

void jit_recover_flags(struct jit_block *t, int source)
{
	if (source == JIT_FLAGS_SAVED)
		return;
	if (source >= 0)
		redo(t, &t->b->insn[source]);
	save(&t->e);
}

void jit_flags_in_memory(struct jit_block *t)
{
	t->in_mem = true;
	t->in_host = false;
	t->recipe = -1;
}

void jit_wrote_flags(struct jit_block *t, const struct x86_insn *insn)
{
	t->in_host = true;
	t->in_mem = false;
	t->expires = false;
	t->recipe = -1;
	if (!has_recipe(insn))
		return;
	t->recipe = (int)t->now;
	t->ingredients = ingredients(insn);
}

/* ---- what instructions do to them ------------------------------------------------------------------- */

static bool constant_shift(const struct x86_insn *insn)
{
	return (insn->op == X86_OP_SHL || insn->op == X86_OP_SHR || insn->op == X86_OP_SAR) &&
	       insn->operand[1].kind == X86_OPD_IMM && (insn->imm & (insn->osize == 8 ? 63 : 31));
}

/*
 * Undefined flags are what the host makes of them, which may depend on what they were; not so for logical
 * operations and shifts.
 */
bool jit_flags_needed(const struct x86_insn *insn)
{
	const struct x86_opcode *d = insn->desc;

	if (constant_shift(insn) || is_logical(insn) || insn->op == X86_OP_TEST)
		return false;
	if (d->flags_read)
		return true;
	if (!d->flags_written)
		return false;
	return d->flags_written != X86_FLAGS_STATUS || d->flags_undefined;
}

static bool overwrites(const struct x86_insn *insn)
{
	return insn->desc->flags_written == X86_FLAGS_STATUS && !jit_flags_needed(insn);
}

/* Cannot leave the block or look at flags but by desc. */
static bool is_quiet(const struct x86_insn *insn)
{
	return insn->desc->state == X86_STATE_INT && (insn->desc->flags & X86_F_INNOCUOUS) &&
	       insn->desc->feature == X86_FEAT_NONE &&
	       !(insn->desc->flags & X86_F_BRANCH) && jit_written(insn) != ~0u && insn->op != X86_OP_PUSH &&
	       insn->op != X86_OP_POP && insn->op != X86_OP_DIV && insn->op != X86_OP_IDIV &&
	       !(insn->prefix & (X86_PFX_VEX | X86_PFX_EVEX)) && (!jit_has_mem(insn) || insn->op == X86_OP_LEA);
}

static bool dead_from(const struct jit_block *t, unsigned i)
{
	for (; i < t->b->nr && is_quiet(&t->b->insn[i]); i++) {
		const struct x86_insn *insn = &t->b->insn[i];

		if (overwrites(insn))
			return true;
		if (insn->desc->flags_read || insn->desc->flags_written)
			return false;
	}
	return false;
}

void jit_flags_before(struct jit_block *t, const struct x86_insn *insn)
{
	if (t->recipe < 0 || !(jit_written(insn) & t->ingredients))
		return;
	if (!insn->desc->flags_read && !insn->desc->flags_written && dead_from(t, t->now + 1)) {
		t->expires = true;
		return;
	}
	if (overwrites(insn))
		return;
	if (!t->in_host)
		jit_save_flags(t);
	t->recipe = -1;
}

void jit_flags_after(struct jit_block *t)
{
	if (t->expires)
		t->recipe = -1;
	t->expires = false;
}

/* ---- faults of the host's --------------------------------------------------------------------------- */

/* The interpreter executes it again, from registers as they were. */
static void redo_by_handler(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_insn again = *insn;
	u64 *reg = &cpu->regs[insn->operand[0].reg], by;

	if (is_logical(insn)) {
		again.op = X86_OP_TEST;
		again.operand[1] = again.operand[0];
	} else if (!is_comparison(insn)) {
		by = insn->operand[1].kind == X86_OPD_IMM ? insn->imm : cpu->regs[insn->operand[1].reg];
		*reg = merge(*reg, insn->op == X86_OP_ADD ? *reg - by : *reg + by, insn->operand[0].size);
	}
	x86_exec_alu(cpu, &again);
}

void jit_fault_flags(struct x86_cpu *cpu, const struct block *b, int source, u64 host)
{
	if (source == JIT_FLAGS_SAVED)
		cpu->cc = cc_of(cpu->cc);
	else if (source == JIT_FLAGS_HOST)
		cpu->cc = host & X86_FLAGS_STATUS;
	else
		redo_by_handler(cpu, &b->insn[source]);
}
