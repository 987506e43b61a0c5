/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * x87 instructions inline, and those that load, store or wait on the state of vector and x87 units: FWAIT, EMMS, LDMXCSR,
 * STMXCSR, FLDCW, FNSTSW AX. That the units are enabled and their exceptions masked is known (jit_vector.c), so none of
 * them faults but by its memory operand; what would unmask exceptions goes to its handler.
 *
 * The error pointers are the guest's own (x86/fpu.h). FIP, FCS and FOP are not written if the next instruction is sure to
 * write them, with nothing in between that could look.
 *
 * Left to the handlers: environments and whole states.
 */
#include "engine/soft/jit.h"
#include "engine/soft/native_op.h"
#include "x86/opcodes.h"

static const struct native_op *native(const struct x86_insn *insn)
{
	return insn->native;
}

bool jit_x87_inline(const struct x86_insn *insn)
{
	return insn->op == X86_OP_X87 && (insn->exec == native_x87 || insn->exec == native_fnstsw_ax);
}

/* ---- error pointers ---------------------------------------------------------------------------------- */

static bool next_sets_pointers(const struct jit_block *t)
{
	const struct x86_insn *next = &t->b->insn[t->now + 1];

	return t->now + 1 < (unsigned)(t->piece->first + t->piece->nr) && jit_x87_inline(next) &&
	       (native(next)->t.flags & NATIVE_X87_PTR) && !native(next)->t.mem_size;
}

static struct emit_mem selector(unsigned seg)
{
	return EMIT_GS((s32)(offsetof(struct x86_cpu, seg) + seg * sizeof(struct x86_seg) +
			     offsetof(struct x86_seg, selector)));
}

static void store_pointers(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	jit_rip(t, JIT_B, insn->off);
	emit_store(e, 8, JIT_FIELD(fpu_ip), JIT_B);
	emit_load(e, 2, JIT_B, selector(X86_CS));
	emit_store(e, 2, JIT_FIELD(fpu_cs), JIT_B);
	emit_store_imm(e, 2, JIT_FIELD(fpu_op), (insn->opcode & 7) << 8 | insn->modrm);
}

/* As native_x87_pointers() has it. JIT_A is lost. */
static void store_data_pointer(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	jit_ea(t, insn, JIT_A, 8);
	emit_store(e, 8, JIT_FIELD(fpu_dp), JIT_A);
	emit_load(e, 2, JIT_B, selector(insn->seg));
	emit_store(e, 2, JIT_FIELD(fpu_ds), JIT_B);
}

/* ---- control words ----------------------------------------------------------------------------------- */

/* The operand, of size bytes, in JIT_B and cpu->code_temp[0]: what is looked at is what is loaded. Flags are lost. */
static void load_control(struct jit_block *t, const struct x86_insn *insn, unsigned size)
{
	jit_risk_flags(t);
	emit_load(&t->e, size, JIT_B, jit_operand(t, insn, size, false));
	emit_store(&t->e, 4, JIT_FIELD(code_temp[0]), JIT_B);
	t->in_host = false;
}

/* To the handler unless the bits of set are set in JIT_B, and those of clear are clear. */
static void demand_bits(struct jit_block *t, u32 set, u32 clear)
{
	emit_alu_imm(&t->e, EMIT_XOR, 4, JIT_B, (s32)set);
	emit_test_imm(&t->e, 4, JIT_B, (s32)(set | clear));
	jit_slow_if(t, JIT_IF_NOT_EQUAL);
}

static bool fldcw(struct jit_block *t, const struct x86_insn *insn)
{
	load_control(t, insn, 2);
	demand_bits(t, 0x3f, 0);
	emit_op_mem(&t->e, 4, 0xd9, 5, JIT_FIELD(code_temp[0]));
	return true;
}

static bool ldmxcsr(struct jit_block *t, const struct x86_insn *insn)
{
	load_control(t, insn, 4);
	demand_bits(t, X86_MXCSR_MASKS, ~(0xffff & x86_fpu_host.mxcsr_mask));
	emit_op_mem(&t->e, 4, 0x0fae, 2, JIT_FIELD(code_temp[0]));
	return true;
}

static bool stmxcsr(struct jit_block *t, const struct x86_insn *insn)
{
	emit_op_mem(&t->e, 4, 0x0fae, 3, jit_operand(t, insn, 4, true));
	jit_kept_a(t);
	return true;
}

static bool emms(struct jit_block *t)
{
	static const u8 code[] = { 0x0f, 0x77 };

	emit_bytes(&t->e, code, sizeof(code));
	jit_kept_a(t);
	return true;
}

/* ---- x87 ------------------------------------------------------------------------------------------------ */

static bool fnstsw_ax(struct jit_block *t)
{
	static const u8 code[] = { 0xdf, 0xe0 };

	emit_bytes(&t->e, code, sizeof(code));
	emit_mov(&t->e, 2, JIT_AX, X86_RAX);
	return true;
}

static bool x87(struct jit_block *t, const struct x86_insn *insn)
{
	const struct native_traits *n = &native(insn)->t;
	struct rename r = { .mem = EMIT_MEM(JIT_A, 0), .gpr = JIT_B };

	if (insn->exec == native_fnstsw_ax)
		return fnstsw_ax(t);
	if (n->mem_size && !jit_ea_possible(insn))
		return false;
	if (n->flags & NATIVE_RETRACK)
		return fldcw(t, insn);
	if (n->mem_size)
		r.mem = jit_operand(t, insn, n->mem_size, n->mem_access & X86_ACC_W);
	if (jit_flags_needed(insn))
		jit_load_flags(t);
	rename_insn(&t->e, insn, t->word == 8, &r);
	if (n->cc_written)
		jit_wrote_flags(t, insn);
	if ((n->flags & NATIVE_X87_PTR) && !next_sets_pointers(t))
		store_pointers(t, insn);
	if ((n->flags & NATIVE_X87_PTR) && n->mem_size && !x86_fpu_host.fdp_exception_only)
		store_data_pointer(t, insn);
	else
		jit_kept_a(t);
	return true;
}

bool jit_x87(struct jit_block *t, const struct x86_insn *insn)
{
	if (!x86_has(t->cpu, insn->desc->feature) ||
	    ((insn->op == X86_OP_LDMXCSR || insn->op == X86_OP_STMXCSR) && !jit_ea_possible(insn)))
		return false;
	switch (insn->op) {
	case X86_OP_X87:
		return jit_x87_inline(insn) && x87(t, insn);
	case X86_OP_FWAIT:
		return jit_kept_a(t), true;
	case X86_OP_EMMS:
		return emms(t);
	case X86_OP_LDMXCSR:
		return ldmxcsr(t, insn);
	case X86_OP_STMXCSR:
		return stmxcsr(t, insn);
	default:
		return false;
	}
}
