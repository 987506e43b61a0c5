/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixed pieces of translated code: the way in and out, handlers called, jumps by RIP.
 *
 * While translated code runs, cpu->cc has in its low half the form that LAHF and SETO AL leave in AX: converted
 * here, on every way to and from C. The host's stack pointer is 8 modulo 16 there, so that a handler's call by way
 * of a call is aligned. What is at its top belongs to RET (below); a block's own scratch is cpu->code_temp[].
 */
#include "engine/soft/jit.h"

#define FRAME_WORDS 2
#define FRAME_ROOM 8192 /* bytes of code */

static const u8 saved[] = { X86_RBX, X86_RBP, 12, 13, 14, 15 };

static void spill(struct emit *e)
{
	for (unsigned g = X86_RAX; g <= X86_R15; g++) {
		if (jit_host(g) != JIT_IN_MEMORY)
			emit_store(e, 8, JIT_REG(g), jit_host(g));
	}
}

static void reload(struct emit *e)
{
	for (unsigned g = X86_RAX; g <= X86_R15; g++) {
		if (jit_host(g) != JIT_IN_MEMORY)
			emit_load(e, 8, jit_host(g), JIT_REG(g));
	}
}

/* cpu->cc to RFLAGS positions; eax and edx are free. */
static void cc_to_flags(struct emit *e)
{
	emit_load(e, 2, X86_RAX, JIT_FIELD(cc));
	emit_mov(e, 4, X86_RDX, X86_RAX);
	emit_shift(e, EMIT_SHR, 4, X86_RAX, 8);
	emit_alu_imm(e, EMIT_AND, 4, X86_RAX, X86_FLAGS_STATUS & 0xff);
	emit_alu_imm(e, EMIT_AND, 4, X86_RDX, 1);
	emit_shift(e, EMIT_SHL, 4, X86_RDX, 11);
	emit_alu(e, EMIT_OR, 4, X86_RAX, X86_RDX);
	emit_store(e, 4, JIT_FIELD(cc), X86_RAX);
}

static void cc_to_ax(struct emit *e)
{
	emit_load(e, 4, X86_RAX, JIT_FIELD(cc));
	emit_mov(e, 4, X86_RDX, X86_RAX);
	emit_shift(e, EMIT_SHL, 4, X86_RAX, 8);
	emit_alu_imm(e, EMIT_AND, 4, X86_RAX, 0xff00);
	emit_shift(e, EMIT_SHR, 4, X86_RDX, 11);
	emit_alu(e, EMIT_OR, 4, X86_RAX, X86_RDX);
	emit_store(e, 4, JIT_FIELD(cc), X86_RAX);
}

static void enter(struct emit *e, struct jit *jit)
{
	for (unsigned i = 0; i < ARRAY_SIZE(saved); i++)
		emit_push(e, saved[i]);
	emit_alu_imm(e, EMIT_SUB, 8, X86_RSP, FRAME_WORDS * 8);
	emit_mov_imm(e, X86_RAX, (u64)jit->returned);
	emit_store(e, 8, EMIT_MEM(X86_RSP, 0), X86_RAX);
	emit_store_imm(e, 8, EMIT_MEM(X86_RSP, 8), 0);
	emit_store(e, 8, JIT_FIELD(code_stack), X86_RSP);
	emit_store(e, 8, JIT_FIELD(code_floor), X86_RSP);
	emit_store_imm(e, 8, JIT_FIELD(code_caller), 0);
	emit_lea(e, 8, X86_RAX, EMIT_MEM(X86_RSP, -JIT_STACK_SIZE));
	emit_store(e, 8, JIT_FIELD(code_stack_end), X86_RAX);
	emit_mov(e, 8, JIT_A, X86_RSI);
	cc_to_ax(e);
	emit_load(e, 8, X86_RAX, JIT_REG(X86_REG_RIP));
	emit_alu_imm(e, EMIT_AND, 8, X86_RAX, -4096);
	emit_store(e, 8, JIT_FIELD(code_page), X86_RAX);
	reload(e);
	emit_jmp_reg(e, JIT_A);
}

/* Back to C with the result in JIT_A; registers are spilled. */
static void leave(struct emit *e)
{
	emit_mov(e, 4, X86_RAX, JIT_A);
	emit_load(e, 8, X86_RSP, JIT_FIELD(code_stack));
	emit_alu_imm(e, EMIT_ADD, 8, X86_RSP, FRAME_WORDS * 8);
	for (unsigned i = ARRAY_SIZE(saved); i--;)
		emit_pop(e, saved[i]);
	emit_ret(e);
}

/* RIP is stored, registers are not. */
static void leave_branched(struct emit *e)
{
	spill(e);
	cc_to_flags(e);
	emit_mov_imm(e, JIT_A, X86_BRANCH);
	leave(e);
}

static void store_word(struct emit *e, unsigned size, void *where, unsigned reg, unsigned scratch)
{
	emit_mov_imm(e, scratch, (u64)where);
	emit_store(e, size, EMIT_MEM((u8)scratch, 0), reg);
}

/* RIP from the offset in reg, which is lost. */
static void store_rip(struct emit *e, unsigned reg)
{
	emit_alu_load(e, EMIT_ADD, 8, reg, JIT_FIELD(code_page));
	emit_store(e, 8, JIT_REG(X86_REG_RIP), reg);
}

/* Of the handler of the instruction JIT_A: rdx, rdi and flags are free. */
static void count_call(struct emit *e, struct jit *jit)
{
	const struct emit_mem by_op = { .base = X86_RDI, .index = X86_RDX, .scale = 3 };

	emit_mov_imm(e, X86_RDI, (u64)&jit->soft->stat->handler_calls);
	emit_op_mem(e, 8, 0xff, 0, EMIT_MEM(X86_RDI, 0)); /* inc */
	if (!jit->count_handlers)
		return;
	emit_load(e, sizeof(((struct x86_insn *)0)->op), X86_RDX, EMIT_MEM(JIT_A, offsetof(struct x86_insn, op)));
	emit_mov_imm(e, X86_RDI, (u64)jit->soft->stat->handler);
	emit_op_mem(e, 8, 0xff, 0, by_op);
}

/* All that C needs to execute the instruction JIT_A; rdi and rsi are its handler's arguments. */
static void prepare_call(struct emit *e, struct jit *jit)
{
	store_rip(e, JIT_B);
	spill(e);
	cc_to_flags(e);
	emit_mov_imm(e, X86_RDI, (u64)&jit->soft->insn);
	emit_store(e, 8, EMIT_MEM(X86_RDI, 0), JIT_A);
	count_call(e, jit);
	emit_mov_imm(e, X86_RDI, (u64)jit->cpu);
	emit_mov(e, 8, X86_RSI, JIT_A);
}

static void call_insn(struct emit *e, struct jit *jit)
{
	u8 *out;

	prepare_call(e, jit);
	emit_op_mem(e, 4, 0xff, 2, EMIT_MEM(JIT_A, (s32)offsetof(struct x86_insn, exec)));
	emit_mov(e, 4, JIT_A, X86_RAX);
	emit_alu_load(e, EMIT_OR, 4, X86_RAX, JIT_FIELD(stop));
	out = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	cc_to_ax(e);
	reload(e);
	emit_ret(e);
	emit_patch(e, out);
	leave(e);
}

static void refill(struct emit *e, struct jit *jit)
{
	spill(e);
	emit_mov_imm(e, X86_RDI, (u64)jit->cpu);
	emit_mov(e, 8, X86_RSI, JIT_A);
	emit_mov(e, 8, X86_RDX, JIT_B);
	emit_mov_imm(e, JIT_A, (u64)jit_refill);
	emit_call_reg(e, JIT_A);
	emit_op_reg(e, 1, 0x84, X86_RAX, X86_RAX);
	reload(e);
	emit_ret(e);
}

static void split(struct emit *e, struct jit *jit)
{
	u8 *none;

	spill(e);
	emit_mov_imm(e, X86_RDI, (u64)jit);
	emit_mov(e, 8, X86_RSI, JIT_A);
	emit_mov_imm(e, JIT_A, (u64)jit_split);
	emit_alu_imm(e, EMIT_SUB, 8, X86_RSP, 8);
	emit_call_reg(e, JIT_A);
	emit_alu_imm(e, EMIT_ADD, 8, X86_RSP, 8);
	emit_mov(e, 8, JIT_A, X86_RAX);
	emit_op_reg(e, 8, 0x85, X86_RAX, X86_RAX);
	reload(e);
	none = emit_jcc_forward(e, JIT_IF_EQUAL);
	emit_jmp_reg(e, JIT_A);
	emit_patch(e, none);
	leave_branched(e);
}

/* Behind the instruction that has faulted, flags are wherever its translation has them: both in cpu->cc and in the host's. */
static void window_miss(struct emit *e, struct jit *jit)
{
	u8 *out;

	spill(e);
	emit_mov_imm(e, X86_RDI, (u64)jit->cpu);
	emit_mov_imm(e, JIT_A, (u64)jit_window_miss);
	emit_alu_imm(e, EMIT_SUB, 8, X86_RSP, 8);
	emit_call_reg(e, JIT_A);
	emit_alu_imm(e, EMIT_ADD, 8, X86_RSP, 8);
	emit_mov(e, 4, JIT_A, X86_RAX);
	emit_alu_load(e, EMIT_OR, 4, X86_RAX, JIT_FIELD(stop));
	out = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	cc_to_ax(e);
	reload(e);
	emit_load(e, 4, X86_RAX, JIT_FIELD(cc));
	emit_alu_imm(e, EMIT_ADD, 1, X86_RAX, 0x7f); /* overflows if AL is 1 */
	emit_sahf(e);
	emit_load(e, 8, JIT_A, JIT_FIELD(code_temp[1]));
	emit_load(e, 8, JIT_B, JIT_FIELD(window_flags));
	emit_jmp_mem(e, JIT_FIELD(code_temp[0]));
	emit_patch(e, out);
	leave(e);
}

void jit_look_up(struct emit *e, u8 *miss[2])
{
	emit_imul_imm(e, 4, JIT_B, JIT_A, (s32)JIT_JUMP_HASH);
	emit_alu_load(e, EMIT_AND, 4, JIT_B, JIT_FIELD(code_mask));
	emit_alu_load(e, EMIT_ADD, 8, JIT_B, JIT_FIELD(code_table));
	emit_alu_load(e, EMIT_CMP, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, rip)));
	miss[0] = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	emit_load(e, 8, JIT_A, JIT_NUMBER);
	emit_alu_load(e, EMIT_CMP, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, number)));
	miss[1] = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
}

_Static_assert(offsetof(struct x86_cpu, stop) % 8 == 0 &&
	       offsetof(struct x86_cpu, code_current) == offsetof(struct x86_cpu, stop) + 4, "JIT_NUMBER");

static void return_miss(struct emit *e, unsigned word)
{
	u8 *miss[2], *bottom;

	jit_look_up(e, miss);
	emit_alu_load(e, EMIT_ADD, word, JIT_SP, JIT_FIELD(code_temp));
	emit_load(e, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, page)));
	emit_store(e, 8, JIT_FIELD(code_page), JIT_A);
	emit_lea(e, 8, X86_RSP, EMIT_MEM(X86_RSP, 8));
	emit_alu_load(e, EMIT_CMP, 8, X86_RSP, JIT_FIELD(code_floor));
	bottom = emit_jcc_forward(e, JIT_IF_EQUAL);
	emit_lea(e, 8, X86_RSP, EMIT_MEM(X86_RSP, 16));
	emit_patch(e, bottom);
	emit_jmp_mem(e, EMIT_MEM(JIT_B, offsetof(struct jit_jump, code)));
	emit_patch(e, miss[0]);
	emit_patch(e, miss[1]);
	emit_ret(e);
}

static void by_table(struct emit *e, struct jit *jit, unsigned word, s64 delta)
{
	u8 *miss[2];

	emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_A);
	emit_store(e, 8, JIT_FIELD(code_temp[1]), JIT_B);
	emit_alu_load(e, EMIT_ADD, word, JIT_A, JIT_FIELD(code_page));
	jit_look_up(e, miss);
	emit_jmp_mem(e, EMIT_MEM(JIT_B, offsetof(struct jit_jump, code)));
	emit_patch(e, miss[0]);
	emit_patch(e, miss[1]);
	emit_load(e, 8, JIT_A, JIT_FIELD(code_temp[0]));
	emit_load(e, 8, JIT_B, JIT_FIELD(code_temp[1]));
	emit_jmp(e, delta, jit->unlinked);
}

static void find_far(struct emit *e, struct jit *jit, unsigned word)
{
	u8 *miss[2], *other;

	emit_store(e, 8, JIT_FIELD(code_temp[0]), JIT_B);
	emit_alu_load(e, EMIT_ADD, word, JIT_A, JIT_FIELD(code_page));
	jit_look_up(e, miss);
	emit_store(e, 8, JIT_FIELD(code_temp[1]), X86_RCX);
	emit_mov_imm(e, X86_RCX, (u64)(jit->region.write - jit->region.exec));
	emit_alu_load(e, EMIT_ADD, 8, X86_RCX, JIT_FIELD(code_temp[0]));
	emit_load(e, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, page)));
	emit_store(e, 8, EMIT_MEM(X86_RCX, offsetof(struct jit_far, page)), JIT_A);
	emit_load(e, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, code)));
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_B, offsetof(struct jit_jump, number)));
	emit_alu_load(e, EMIT_CMP, 8, JIT_A, EMIT_MEM(X86_RCX, offsetof(struct jit_far, code)));
	other = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
	emit_store(e, 8, EMIT_MEM(X86_RCX, offsetof(struct jit_far, number)), JIT_B);
	emit_load(e, 8, X86_RCX, JIT_FIELD(code_temp[1]));
	emit_ret(e);
	emit_patch(e, other);
	emit_store_imm(e, 8, EMIT_MEM(X86_RCX, offsetof(struct jit_far, number)), 0);
	emit_load(e, 8, X86_RCX, JIT_FIELD(code_temp[1]));
	emit_patch(e, miss[0]);
	emit_patch(e, miss[1]);
	emit_load(e, 8, JIT_B, JIT_FIELD(code_temp[0]));
	emit_load(e, 8, JIT_B, EMIT_MEM(JIT_B, offsetof(struct jit_far, link)));
	store_word(e, 8, &jit->link, JIT_B, JIT_A);
	emit_op_reg(e, 8, 0x85, JIT_B, JIT_B); /* not 0 */
	emit_ret(e);
}

static void returned(struct emit *e)
{
	emit_store_imm(e, 8, JIT_REG(X86_REG_RIP), 0);
	leave_branched(e);
}

/* cpu->code_temp[0]: rsp, which jit_exec_last() may change; it has room for another frame there. */
static void call_last(struct emit *e, struct jit *jit)
{
	u8 *other, *miss[2];

	emit_store(e, 8, JIT_FIELD(code_temp), X86_RSP);
	emit_alu_imm(e, EMIT_SUB, 8, X86_RSP, 8 + JIT_FRAME_SIZE);
	prepare_call(e, jit);
	emit_mov_imm(e, JIT_A, (u64)jit_exec_last);
	emit_call_reg(e, JIT_A);
	emit_load(e, 8, X86_RSP, JIT_FIELD(code_temp));
	emit_mov(e, 4, JIT_A, X86_RAX);
	for (unsigned way = 0; way < JIT_WAYS; way++) {
		emit_alu_imm(e, EMIT_CMP, 4, JIT_A, JIT_GO_ON + (s32)way);
		other = emit_jcc_forward(e, JIT_IF_NOT_EQUAL);
		cc_to_ax(e);
		reload(e);
		emit_load(e, 4, JIT_A, JIT_FIELD(code_number[way]));
		emit_store(e, 4, JIT_FIELD(code_current), JIT_A);
		emit_load(e, 8, JIT_A, JIT_FIELD(code_jumps[way]));
		emit_store(e, 8, JIT_FIELD(code_table), JIT_A);
		emit_load(e, 8, JIT_A, JIT_REG(X86_REG_RIP));
		jit_look_up(e, miss);
		emit_load(e, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct jit_jump, page)));
		emit_store(e, 8, JIT_FIELD(code_page), JIT_A);
		emit_jmp_mem(e, EMIT_MEM(JIT_B, offsetof(struct jit_jump, code)));
		emit_patch(e, miss[0]);
		emit_patch(e, miss[1]);
		leave_branched(e);
		emit_patch(e, other);
	}
	leave(e);
}

bool jit_make_frame(struct jit *jit)
{
	u8 *start = code_alloc(&jit->region, FRAME_ROOM);
	struct emit e = emit_start(start, FRAME_ROOM);
	s64 delta = jit->region.exec - jit->region.write;

	jit->returned = e.p + delta;
	returned(&e);
	jit->enter = (void *)(e.p + delta);
	enter(&e, jit);
	jit->call_insn = e.p + delta;
	call_insn(&e, jit);
	jit->unlinked = e.p + delta;
	store_rip(&e, JIT_A);
	store_word(&e, 8, &jit->link, JIT_B, JIT_A);
	leave_branched(&e);
	jit->decline = e.p + delta;
	store_rip(&e, JIT_A);
	emit_mov_imm(&e, JIT_B, 1);
	store_word(&e, 1, &jit->declined, JIT_B, JIT_A);
	leave_branched(&e);
	for (unsigned i = 0; i < 2; i++) {
		jit->return_miss[i] = e.p + delta;
		return_miss(&e, i ? 4 : 8);
		jit->by_table[i] = e.p + delta;
		by_table(&e, jit, i ? 4 : 8, delta);
		jit->find_far[i] = e.p + delta;
		find_far(&e, jit, i ? 4 : 8);
	}
	jit->refill = e.p + delta;
	refill(&e, jit);
	jit->split = e.p + delta;
	split(&e, jit);
	jit->call_last = e.p + delta;
	call_last(&e, jit);
	jit->window_miss = e.p + delta;
	window_miss(&e, jit);
	jit->fixed = (jit->region.used + 15) & ~15ul;
	return !e.overflow;
}
