/* SPDX-License-Identifier: GPL-2.0-only */
/* PUSH, PUSHF, POP, LEAVE; PUSHA and POPA. POPF: jit_system.c. */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

/* The value waits in code_temp[] while the stack is probed; without a probe JIT_B stays. */
static bool push_mem(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;
	struct emit_mem m;

	if (!jit_ea_possible(insn))
		return false;
	emit_load(e, t->word, JIT_B, jit_operand_b(t, insn, t->word, false));
	t->stack_b = false;
	if (!jit_direct(t))
		emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
	m = jit_stack_operand(t, insn);
	if (!jit_direct(t))
		emit_load(e, 8, JIT_B, JIT_FIELD(code_temp[0]));
	emit_store(e, t->word, m, JIT_B);
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, -(s32)t->word));
	jit_kept_a(t);
	return true;
}

static bool push(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = &insn->operand[0];
	struct emit *e = &t->e;
	struct emit_mem m;
	bool free_b;

	if (o->kind == X86_OPD_MEM)
		return push_mem(t, insn);
	if (o->kind != X86_OPD_REG && (o->kind != X86_OPD_IMM || (t->word == 8 && insn->imm != (u64)(s32)insn->imm)))
		return false;
	free_b = o->kind == X86_OPD_IMM || jit_host(o->reg) != JIT_IN_MEMORY;
	m = free_b ? jit_stack_operand_b(t, insn) : jit_stack_operand(t, insn);
	if (o->kind == X86_OPD_IMM)
		emit_store_imm(e, t->word, m, (s32)insn->imm);
	else
		emit_store(e, t->word, m, jit_get(t, o->reg, JIT_B));
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, -(s32)t->word));
	jit_kept_a(t);
	if (free_b && jit_direct(t))
		jit_kept_b(t);
	return true;
}

/* RF and VM are clear whenever translated code runs. */
static bool pushf(struct jit_block *t, const struct x86_insn *insn)
{
	/* xchg al, ah; shl ah, 3: from LAHF's and SETO's places to those of RFLAGS */
	static const u8 ah_al[] = { 0x86, 0xc4, 0xc0, 0xe4, 0x03 };
	struct emit *e = &t->e;
	struct emit_mem m;

	jit_save_flags(t);
	m = jit_stack_operand(t, insn);
	t->in_host = false;
	emit_load(e, 2, X86_RAX, JIT_FIELD(cc));
	emit_bytes(e, ah_al, sizeof(ah_al));
	emit_alu_imm(e, EMIT_AND, 4, X86_RAX, X86_FLAGS_STATUS);
	emit_alu_load(e, EMIT_OR, 4, X86_RAX, JIT_FIELD(rflags));
	emit_store(e, t->word, m, X86_RAX);
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, -(s32)t->word));
	jit_kept_a(t);
	return true;
}

static bool pop(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *o = &insn->operand[0];
	struct emit *e = &t->e;
	struct emit_mem m;
	unsigned host;

	if (o->kind != X86_OPD_REG)
		return false;
	host = jit_host(o->reg);
	m = host != JIT_IN_MEMORY ? jit_stack_operand_b(t, insn) : jit_stack_operand(t, insn);
	emit_load(e, t->word, host == JIT_IN_MEMORY ? (unsigned)JIT_B : host, m);
	if (host == JIT_IN_MEMORY)
		emit_store(e, 8, JIT_REG(o->reg), JIT_B);
	if (host != JIT_SP)
		emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, (s32)t->word));
	jit_kept_a(t);
	if (host != JIT_IN_MEMORY && jit_direct(t))
		jit_kept_b(t);
	return true;
}

static bool leave(struct jit_block *t, const struct x86_insn *insn)
{
	struct emit *e = &t->e;

	emit_load(e, t->word, JIT_B, jit_stack_operand(t, insn));
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(X86_RBP, (s32)t->word));
	emit_mov(e, 8, X86_RBP, JIT_B);
	jit_kept_a(t);
	return true;
}

#define ALL_BYTES 32 /* EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI; the last one lowest */

static struct emit_mem all_operand(struct jit_block *t, s32 disp, bool write)
{
	jit_risk_flags(t);
	t->in_host = false;
	emit_lea(&t->e, 4, JIT_A, EMIT_MEM(JIT_SP, disp));
	return jit_operand_at(t, ALL_BYTES, write);
}

static s32 place_of(unsigned reg)
{
	return 4 * (X86_RDI - (s32)reg);
}

static bool pusha(struct jit_block *t)
{
	struct emit_mem m = all_operand(t, -ALL_BYTES, true);

	for (unsigned reg = X86_RAX; reg <= X86_RDI; reg++)
		emit_store(&t->e, 4, EMIT_MEM(m.base, m.disp + place_of(reg)), jit_host(reg));
	emit_lea(&t->e, 4, JIT_SP, EMIT_MEM(JIT_SP, -ALL_BYTES));
	return true;
}

static bool popa(struct jit_block *t)
{
	struct emit_mem m = all_operand(t, 0, false);

	for (unsigned reg = X86_RAX; reg <= X86_RDI; reg++)
		if (reg != X86_RSP)
			emit_load(&t->e, 4, jit_host(reg), EMIT_MEM(m.base, m.disp + place_of(reg)));
	emit_lea(&t->e, 4, JIT_SP, EMIT_MEM(JIT_SP, ALL_BYTES));
	return true;
}

bool jit_stack(struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->osize != t->word)
		return false;
	switch (insn->op) {
	case X86_OP_PUSH:
		return push(t, insn);
	case X86_OP_PUSHF:
		return pushf(t, insn);
	case X86_OP_POP:
		return pop(t, insn);
	case X86_OP_LEAVE:
		return leave(t, insn);
	case X86_OP_PUSHA:
		return pusha(t);
	case X86_OP_POPA:
		return popa(t);
	default:
		return false;
	}
}
