/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control transfers, near and far. A branch that is not taken returns X86_OK: the block goes on. The
 * specialised forms are for 64-bit mode with 64-bit RIP; a target that is not canonical in 48 bits goes to
 * x86_near_branch(), which knows of 57 bits, CS limits and narrower RIPs.
 */
#include "x86/emulate/emulate.h"

static always_inline bool canonical48(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

/* ---- relative: JMP, Jcc, JCXZ, LOOP ---------------------------------------------------------- */

static enum x86_result take_branch(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_near_branch(cpu, next_rip(cpu, insn) + insn->imm, insn->osize);
}

enum x86_result x86_exec_jmp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return take_branch(cpu, insn);
}

enum x86_result x86_exec_jcc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return condition(cpu->cc, insn->cond) ? take_branch(cpu, insn) : X86_OK;
}

static always_inline enum x86_result take_branch64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 target = cpu->regs[X86_REG_RIP] + insn->next + insn->imm;

	if (unlikely(!canonical48(target)))
		return take_branch(cpu, insn);
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

/* CS's limit holds for every mode but 64-bit. */
static always_inline enum x86_result take_branch32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 target = (u32)(cpu->regs[X86_REG_RIP] + insn->next + insn->imm);

	if (unlikely(target > cpu->seg[X86_CS].limit))
		return take_branch(cpu, insn);
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

static enum x86_result jmp64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return take_branch64(cpu, insn);
}

static enum x86_result jmp32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return take_branch32(cpu, insn);
}

#define DEFINE_JCC(n)                                                                                       \
	static enum x86_result j##n##_64(struct x86_cpu *cpu, const struct x86_insn *insn)                  \
	{                                                                                                   \
		return condition(cpu->cc, n) ? take_branch64(cpu, insn) : X86_OK;                           \
	}                                                                                                   \
	static enum x86_result j##n##_32(struct x86_cpu *cpu, const struct x86_insn *insn)                  \
	{                                                                                                   \
		return condition(cpu->cc, n) ? take_branch32(cpu, insn) : X86_OK;                           \
	}

#define EACH_COND(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

EACH_COND(DEFINE_JCC)

static x86_exec_fn *const jcc_forms[16][2] = {
#define X(n) { j##n##_32, j##n##_64 },
	EACH_COND(X)
#undef X
};

static bool is_branch64(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->code_bits == 64 && insn->osize == 8;
}

static bool is_branch32(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->code_bits != 64 && insn->osize == 4;
}

x86_exec_fn *x86_pick_jcc(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (is_branch64(cpu, insn))
		return jcc_forms[insn->cond][1];
	return is_branch32(cpu, insn) ? jcc_forms[insn->cond][0] : NULL;
}

x86_exec_fn *x86_pick_jmp(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (is_branch64(cpu, insn))
		return jmp64;
	return is_branch32(cpu, insn) ? jmp32 : NULL;
}

enum x86_result x86_exec_jcxz(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return reg_read(cpu, X86_RCX, insn->asize) ? X86_OK : take_branch(cpu, insn);
}

enum x86_result x86_exec_loop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 count = (cpu->regs[X86_RCX] - 1) & size_mask(insn->asize);
	enum x86_result r = X86_OK;
	bool taken = count;

	if (insn->op == X86_OP_LOOPE)
		taken = taken && (cpu->cc & X86_ZF);
	else if (insn->op == X86_OP_LOOPNE)
		taken = taken && !(cpu->cc & X86_ZF);
	if (taken)
		r = take_branch(cpu, insn);
	if (r != X86_FAULT)
		areg_write(cpu, insn, X86_RCX, count);
	return r;
}

/* ---- indirect JMP, CALL, RET ----------------------------------------------------------------- */

enum x86_result x86_exec_jmp_ind(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 target;

	r = x86_operand_read(cpu, insn, 0, &target);
	return unlikely(r) ? r : x86_near_branch(cpu, target, insn->osize);
}

static always_inline enum x86_result jump64(struct x86_cpu *cpu, const struct x86_insn *insn, u64 target)
{
	if (unlikely(!canonical48(target)))
		return x86_exec_jmp_ind(cpu, insn);
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

static enum x86_result jmp_r64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return jump64(cpu, insn, cpu->regs[insn->operand[0].reg]);
}

static enum x86_result jmp_m64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const void *host = fast_read(cpu, insn, LONG, 8);

	return likely(host) ? jump64(cpu, insn, MEM_LOAD(64, host)) : x86_exec_jmp_ind(cpu, insn);
}

static x86_exec_fn *pick_indirect(const struct x86_cpu *cpu, const struct x86_insn *insn, x86_exec_fn *reg,
				  x86_exec_fn *mem)
{
	if (!is_branch64(cpu, insn))
		return NULL;
	if (insn->operand[0].kind == X86_OPD_REG)
		return reg;
	return x86_pick_addressing(cpu, insn) == LONG ? mem : NULL;
}

x86_exec_fn *x86_pick_jmp_ind(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return pick_indirect(cpu, insn, jmp_r64, jmp_m64);
}

/* The target is checked before the return address is stored, and RIP put back if the store faults. */
static enum x86_result call(struct x86_cpu *cpu, const struct x86_insn *insn, u64 target)
{
	u64 rsp = cpu->regs[X86_RSP], old = cpu->regs[X86_REG_RIP], back = next_rip(cpu, insn);
	enum x86_result r = x86_near_branch(cpu, target, insn->osize);

	if (unlikely(r != X86_BRANCH))
		return r;
	r = x86_push(cpu, &rsp, back, insn->osize, 0);
	if (unlikely(r)) {
		cpu->regs[X86_REG_RIP] = old;
		return r;
	}
	cpu->regs[X86_RSP] = rsp;
	return X86_BRANCH;
}

enum x86_result x86_exec_call(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return call(cpu, insn, next_rip(cpu, insn) + insn->imm);
}

enum x86_result x86_exec_call_ind(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 target;

	r = x86_operand_read(cpu, insn, 0, &target);
	return unlikely(r) ? r : call(cpu, insn, target);
}

static always_inline enum x86_result call64(struct x86_cpu *cpu, const struct x86_insn *insn, u64 target,
					    x86_exec_fn *slow)
{
	u64 rsp;
	void *host = fast_push(cpu, LONG, &rsp);

	if (unlikely(!host || !canonical48(target)))
		return slow(cpu, insn);
	MEM_STORE(64, host, cpu->regs[X86_REG_RIP] + insn->next);
	cpu->regs[X86_RSP] = rsp;
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

static enum x86_result call_rel64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return call64(cpu, insn, cpu->regs[X86_REG_RIP] + insn->next + insn->imm, x86_exec_call);
}

static enum x86_result call_rel32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 back = (u32)(cpu->regs[X86_REG_RIP] + insn->next), target = back + (u32)insn->imm;
	u64 rsp;
	void *host = fast_push(cpu, FLAT32, &rsp);

	if (unlikely(!host || target > cpu->seg[X86_CS].limit))
		return x86_exec_call(cpu, insn);
	MEM_STORE(32, host, back);
	cpu->regs[X86_RSP] = rsp;
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

static enum x86_result call_r64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return call64(cpu, insn, cpu->regs[insn->operand[0].reg], x86_exec_call_ind);
}

static enum x86_result call_m64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const void *host = fast_read(cpu, insn, LONG, 8);

	if (unlikely(!host))
		return x86_exec_call_ind(cpu, insn);
	return call64(cpu, insn, MEM_LOAD(64, host), x86_exec_call_ind);
}

x86_exec_fn *x86_pick_call(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (is_branch64(cpu, insn))
		return call_rel64;
	return is_branch32(cpu, insn) ? call_rel32 : NULL;
}

x86_exec_fn *x86_pick_call_ind(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return pick_indirect(cpu, insn, call_r64, call_m64);
}

enum x86_result x86_exec_ret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RSP], target;
	enum x86_result r;

	r = x86_pop(cpu, &rsp, &target, insn->osize, 0);
	if (unlikely(r))
		return r;
	r = x86_near_branch(cpu, target, insn->osize);
	if (likely(r == X86_BRANCH))
		cpu->regs[X86_RSP] = merge(rsp, rsp + (insn->imm & 0xffff), cpu->stack_size);
	return r;
}

static enum x86_result ret64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp, target;
	const void *host = fast_pop(cpu, LONG, &rsp);

	if (unlikely(!host))
		return x86_exec_ret(cpu, insn);
	target = MEM_LOAD(64, host);
	if (unlikely(!canonical48(target)))
		return x86_exec_ret(cpu, insn);
	cpu->regs[X86_RSP] = rsp + 8 + insn->imm;
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

static enum x86_result ret32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp, target;
	const void *host = fast_pop(cpu, FLAT32, &rsp);

	if (unlikely(!host))
		return x86_exec_ret(cpu, insn);
	target = MEM_LOAD(32, host);
	if (unlikely(target > cpu->seg[X86_CS].limit))
		return x86_exec_ret(cpu, insn);
	cpu->regs[X86_RSP] = popped(FLAT32, rsp, 4 + insn->imm);
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

x86_exec_fn *x86_pick_ret(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (is_branch64(cpu, insn))
		return ret64;
	return is_branch32(cpu, insn) ? ret32 : NULL;
}

/* ---- far ------------------------------------------------------------------------------------- */

/*
 * A far pointer operand: immediate, or in memory the offset and behind it the selector. REX.W does not make
 * the offset in memory wider (x86/opcodes_notation.h, type p); the operand size is 8 all the same.
 */
static enum x86_result far_pointer(struct x86_cpu *cpu, const struct x86_insn *insn, u16 *selector,
				   u64 *offset)
{
	unsigned size = insn->operand[0].size - 2u;
	enum x86_result r;
	u64 ea, value;

	if (!is_mem(insn, 0)) {
		*offset = insn->imm;
		*selector = insn->imm2;
		return X86_OK;
	}
	ea = x86_ea(cpu, insn);
	r = x86_mem_read(cpu, insn->seg, ea, size, offset);
	if (likely(!r))
		r = x86_mem_read(cpu, insn->seg, ea_add(insn, ea, size), 2, &value);
	if (likely(!r))
		*selector = (u16)value;
	return r;
}

enum x86_result x86_exec_jmp_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u16 selector;
	u64 offset;

	r = far_pointer(cpu, insn, &selector, &offset);
	return unlikely(r) ? r : x86_far_jmp(cpu, selector, offset, insn->osize, next_rip(cpu, insn));
}

enum x86_result x86_exec_call_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u16 selector;
	u64 offset;

	r = far_pointer(cpu, insn, &selector, &offset);
	return unlikely(r) ? r : x86_far_call(cpu, selector, offset, insn->osize, next_rip(cpu, insn));
}

enum x86_result x86_exec_ret_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_far_ret(cpu, insn->osize, (u16)insn->imm);
}

/* ---- BOUND ----------------------------------------------------------------------------------- */

enum x86_result x86_exec_bound(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->osize;
	u64 ea = x86_ea(cpu, insn), lower, upper;
	s64 index = (s64)sign_extend(cpu->regs[insn->operand[0].reg], size);
	enum x86_result r;

	r = x86_mem_read(cpu, insn->seg, ea, size, &lower);
	if (likely(!r))
		r = x86_mem_read(cpu, insn->seg, ea_add(insn, ea, size), size, &upper);
	if (unlikely(r))
		return r;
	if (index < (s64)sign_extend(lower, size) || index > (s64)sign_extend(upper, size))
		return x86_raise(cpu, X86_BR, 0);
	return X86_OK;
}
