/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MOVS, STOS, LODS and XLAT. REP MOVS and REP STOS are the host's own, on host memory, with rSI and rDI moved there and back;
 * backwards and with other address sizes the handler. With a probe also across pages and where the TLB misses; through windows
 * what is long, as a kick waits for the end of what does not fault.
 *
 * If the host faults in the middle, rCX says what is left, and rSI and rDI are moved back: by jit_string_fault(), of JIT_A and
 * cpu->code_temp[0]; by jit_string_miss(), of cpu->code_temp[].
 */
#include "engine/soft/jit.h"
#include "engine/soft/window.h"
#include "x86/opcodes.h"

#define DIRECT_MAX 0x10000

enum { IF_NOT_ZERO = 5 };

/* JIT_B: from the linear address in reg to the host's; the handler unless rCX elements from there are in its page. */
static void distance(struct jit_block *t, unsigned reg, unsigned size, bool write)
{
	struct emit *e = &t->e;

	emit_mov(e, 8, JIT_A, reg);
	emit_mov(e, 4, JIT_B, reg);
	emit_shift(e, EMIT_SHR, 4, JIT_B, 12 - 5);
	emit_alu_imm(e, EMIT_AND, 4, JIT_B, (X86_TLB_SIZE - 1) << 5);
	emit_alu_load(e, EMIT_ADD, 8, JIT_B, JIT_FIELD(tlb));
	emit_alu_load(e, EMIT_SUB, 8, JIT_A,
		      EMIT_MEM(JIT_B, (s32)(write ? offsetof(struct x86_tlb_entry, tag_write) :
						    offsetof(struct x86_tlb_entry, tag_read))));
	emit_alu_imm(e, EMIT_CMP, 8, JIT_A, 4095);
	jit_slow_if(t, JIT_IF_ABOVE);
	emit_alu_imm(e, EMIT_XOR, 8, JIT_A, -1);
	emit_alu_imm(e, EMIT_ADD, 8, JIT_A, 4097); /* 4096 - offset */
	if (size > 1)
		emit_shift(e, EMIT_SHR, 8, JIT_A, (unsigned)__builtin_ctz(size));
	emit_alu(e, EMIT_CMP, 8, X86_RCX, JIT_A);
	jit_slow_if(t, JIT_IF_ABOVE);
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_B, offsetof(struct x86_tlb_entry, host)));
	emit_mov(e, 8, JIT_A, reg);
	emit_alu_imm(e, EMIT_AND, 8, JIT_A, -4096);
	emit_alu(e, EMIT_SUB, 8, JIT_B, JIT_A);
}

static void rep(struct emit *e, unsigned size, u8 opcode)
{
	if (size == 2)
		emit8(e, 0x66);
	emit8(e, 0xf3);
	if (size == 8)
		emit8(e, 0x48);
	emit8(e, size == 1 ? opcode : opcode + 1);
}

static void stos(struct jit_block *t, unsigned size)
{
	struct emit *e = &t->e;

	distance(t, X86_RDI, size, true);
	emit_mov(e, 8, JIT_A, JIT_B);
	emit_alu(e, EMIT_ADD, 8, X86_RDI, JIT_A);
	emit_mov(e, 8, X86_RAX, JIT_AX);
	rep(e, size, 0xaa);
	emit_alu(e, EMIT_SUB, 8, X86_RDI, JIT_A);
}

static void movs(struct jit_block *t, unsigned size)
{
	struct emit *e = &t->e;

	distance(t, X86_RSI, size, false);
	emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
	distance(t, X86_RDI, size, true);
	emit_mov(e, 8, JIT_A, JIT_B);
	emit_alu(e, EMIT_ADD, 8, X86_RDI, JIT_A);
	emit_alu_load(e, EMIT_ADD, 8, X86_RSI, JIT_FIELD(code_temp[0]));
	rep(e, size, 0xa4);
	emit_alu(e, EMIT_SUB, 8, X86_RDI, JIT_A);
	emit_alu_load(e, EMIT_SUB, 8, X86_RSI, JIT_FIELD(code_temp[0]));
}

static bool is_rep(const struct x86_insn *insn)
{
	return (insn->op == X86_OP_STOS || insn->op == X86_OP_MOVS) && (insn->prefix & (X86_PFX_REP | X86_PFX_REPNE));
}

/* reg: from linear to host address; delta: by what. */
static void enter_window(struct emit *e, unsigned reg, unsigned delta, struct emit_mem keep)
{
	emit_rorx(e, 8, delta, reg, 32);
	emit_load_table(e, delta, delta, WINDOW_TABLE_USER);
	emit_store(e, 8, keep, delta);
}

/* Beyond its window's end nothing is mapped for longer than DIRECT_MAX elements reach. */
static void direct(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	bool movs = insn->op == X86_OP_MOVS;

	emit_alu_imm(e, EMIT_CMP, 8, X86_RCX, DIRECT_MAX);
	jit_slow_if(t, JIT_IF_ABOVE);
	enter_window(e, X86_RDI, JIT_A, JIT_FIELD(code_temp[1]));
	if (movs)
		enter_window(e, X86_RSI, JIT_B, JIT_FIELD(code_temp[0]));
	emit_alu(e, EMIT_ADD, 8, X86_RDI, JIT_A);
	if (movs)
		emit_alu(e, EMIT_ADD, 8, X86_RSI, JIT_B);
	else
		emit_mov(e, 8, X86_RAX, JIT_AX);
	rep(e, insn->osize, movs ? 0xa4 : 0xaa);
	emit_alu_load(e, EMIT_SUB, 8, X86_RDI, JIT_FIELD(code_temp[1]));
	if (movs)
		emit_alu_load(e, EMIT_SUB, 8, X86_RSI, JIT_FIELD(code_temp[0]));
}

unsigned jit_string_miss(struct x86_cpu *cpu, const struct x86_insn *insn, const u8 *pc, struct jit_range range[2])
{
	bool movs = insn->op == X86_OP_MOVS;
	unsigned size;

	if (!is_rep(insn))
		return 0;
	if (*pc == 0xf3 || *pc == 0x66) { /* and not on the way there */
		cpu->regs[X86_RDI] -= cpu->code_temp[1];
		cpu->regs[X86_RSI] -= movs ? cpu->code_temp[0] : 0;
	}
	size = (unsigned)min_u64(cpu->regs[X86_RCX], 0x1000) * insn->osize;
	range[0] = (struct jit_range){ cpu->regs[X86_RDI], size, true };
	range[1] = (struct jit_range){ cpu->regs[X86_RSI], size, false };
	return size ? 1 + movs : 0;
}

/* ---- both -------------------------------------------------------------------------------------------- */

static void truncate(struct emit *e, unsigned reg)
{
	emit_mov(e, 4, reg, reg);
}

/* In 32-bit code what is beyond 32 bits does not count, before and after. */
static void repeat(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	bool narrow = t->word == 4;

	if (narrow) {
		truncate(e, X86_RCX);
		truncate(e, X86_RDI);
	}
	if (narrow && insn->op == X86_OP_MOVS)
		truncate(e, X86_RSI);
	if (insn->op == X86_OP_STOS)
		stos(t, insn->osize);
	else
		movs(t, insn->osize);
	if (narrow)
		truncate(e, X86_RDI);
	if (narrow && insn->op == X86_OP_MOVS)
		truncate(e, X86_RSI);
}

/* ---- one element --------------------------------------------------------------------------------------- */

static struct emit_mem element(struct jit_block *t, unsigned reg, unsigned size, bool write)
{
	emit_mov(&t->e, t->word, JIT_A, reg);
	return jit_operand_at(t, size, write);
}

static void step(struct jit_block *t, unsigned reg, unsigned size)
{
	emit_lea(&t->e, t->word, reg, EMIT_MEM((u8)reg, (s32)size));
}

static void load_ax(struct jit_block *t, unsigned size, struct emit_mem m)
{
	emit_op_mem(&t->e, size, size == 1 ? 0x8a : 0x8b, JIT_AX, m);
}

static void one(struct jit_block *t, const struct x86_insn *insn)
{
	unsigned size = insn->osize;
	struct emit *e = &t->e;
	struct emit_mem m;

	if (insn->op == X86_OP_LODS) {
		load_ax(t, size, element(t, X86_RSI, size, false));
	} else if (insn->op == X86_OP_STOS) {
		emit_store(e, size, element(t, X86_RDI, size, true), JIT_AX);
	} else {
		emit_load(e, size, JIT_B, element(t, X86_RSI, size, false));
		emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
		m = element(t, X86_RDI, size, true);
		emit_load(e, 8, JIT_B, JIT_FIELD(code_temp[0]));
		emit_store(e, size, m, JIT_B);
	}
	if (insn->op != X86_OP_STOS)
		step(t, X86_RSI, size);
	if (insn->op != X86_OP_LODS)
		step(t, X86_RDI, size);
}

static bool xlat(struct jit_block *t)
{
	struct emit *e = &t->e;

	jit_risk_flags(t);
	t->in_host = false;
	emit_op_reg(e, 4, 0x0fb6, JIT_B, JIT_AX); /* MOVZX */
	emit_lea(e, t->word, JIT_A, EMIT_MEM_INDEX(X86_RBX, JIT_B, 0));
	load_ax(t, 1, jit_operand_at(t, 1, false));
	return true;
}

/* ---- which ----------------------------------------------------------------------------------------------- */

/* Addresses are whole, and linear ones. */
static bool possible(const struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->asize != t->word || insn->seg >= X86_FS || jit_may_be_limited(insn, t->word))
		return false;
	return is_rep(insn) || !(insn->prefix & (X86_PFX_REP | X86_PFX_REPNE));
}

bool jit_string(struct jit_block *t, const struct x86_insn *insn)
{
	if ((insn->op != X86_OP_MOVS && insn->op != X86_OP_STOS && insn->op != X86_OP_LODS && insn->op != X86_OP_XLAT) ||
	    !possible(t, insn))
		return false;
	if (insn->op == X86_OP_XLAT)
		return xlat(t);
	jit_save_flags(t);
	t->in_host = false;
	emit_op_mem(&t->e, 4, 0xf7, 0, JIT_FIELD(rflags)); /* test */
	emit32(&t->e, X86_DF);
	jit_slow_if(t, IF_NOT_ZERO);
	if (is_rep(insn) && jit_direct(t))
		direct(t, insn);
	else if (is_rep(insn))
		repeat(t, insn);
	else
		one(t, insn);
	return true;
}

void jit_string_fault(struct x86_cpu *cpu, const struct x86_insn *insn, const u64 gpr[16])
{
	if (!is_rep(insn))
		return;
	cpu->regs[X86_RDI] -= gpr[JIT_A];
	if (insn->op == X86_OP_MOVS)
		cpu->regs[X86_RSI] -= cpu->code_temp[0];
}
