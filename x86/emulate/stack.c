/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PUSH, POP, PUSHA, POPA, ENTER, LEAVE, and segment registers on the stack. rSP moves in a working copy
 * that is committed last. Where an instruction stores more than once, all that can fault is found out
 * before the first store, by an X86_ACCESS_PROBE of the whole range.
 */
#include "x86/emulate/emulate.h"

/* ---- PUSH, POP ------------------------------------------------------------------------------- */

enum x86_result x86_exec_push(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RSP], value;
	enum x86_result r;

	r = x86_operand_read(cpu, insn, 0, &value);
	if (likely(!r))
		r = x86_push(cpu, &rsp, value, insn->osize, 0);
	if (likely(!r))
		cpu->regs[X86_RSP] = rsp;
	return r;
}

/* The address of a memory operand is computed with rSP after the increment (SDM vol. 2, POP). */
enum x86_result x86_exec_pop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 old = cpu->regs[X86_RSP], rsp = old, value;
	enum x86_result r;

	r = x86_pop(cpu, &rsp, &value, insn->osize, 0);
	if (unlikely(r))
		return r;
	cpu->regs[X86_RSP] = rsp;
	r = x86_operand_write(cpu, insn, 0, value);
	if (unlikely(r))
		cpu->regs[X86_RSP] = old;
	return r;
}

#define DEFINE_PUSH(bits, addressing)                                                                       \
	static always_inline enum x86_result push##bits(struct x86_cpu *cpu, const struct x86_insn *insn,   \
							u64 value)                                          \
	{                                                                                                   \
		u64 rsp;                                                                                    \
		void *host = fast_push(cpu, addressing, &rsp);                                              \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_push(cpu, insn);                                                    \
		MEM_STORE(bits, host, value);                                                               \
		cpu->regs[X86_RSP] = rsp;                                                                   \
		return X86_OK;                                                                              \
	}                                                                                                   \
	static enum x86_result push_r##bits(struct x86_cpu *cpu, const struct x86_insn *insn)               \
	{                                                                                                   \
		return push##bits(cpu, insn, cpu->regs[insn->operand[0].reg]);                              \
	}                                                                                                   \
	static enum x86_result push_i##bits(struct x86_cpu *cpu, const struct x86_insn *insn)               \
	{                                                                                                   \
		return push##bits(cpu, insn, insn->imm);                                                    \
	}                                                                                                   \
	static enum x86_result pop_r##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                \
	{                                                                                                   \
		u64 rsp;                                                                                    \
		const void *host = fast_pop(cpu, addressing, &rsp);                                         \
                                                                                                            \
		if (unlikely(!host))                                                                        \
			return x86_exec_pop(cpu, insn);                                                     \
		cpu->regs[X86_RSP] = popped(addressing, rsp, bits / 8);                                     \
		cpu->regs[insn->operand[0].reg] = MEM_LOAD(bits, host);                                     \
		return X86_OK;                                                                              \
	}

DEFINE_PUSH(32, FLAT32)
DEFINE_PUSH(64, LONG)

/* Whether the operand has the size that fast_push() and fast_pop() are for. */
static bool natural_size(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return insn->osize == (cpu->code_bits == 64 ? 8 : 4);
}

x86_exec_fn *x86_pick_push(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!natural_size(cpu, insn))
		return NULL;
	switch (insn->operand[0].kind) {
	case X86_OPD_REG:
		return insn->osize == 8 ? push_r64 : push_r32;
	case X86_OPD_IMM:
		return insn->osize == 8 ? push_i64 : push_i32;
	default:
		return NULL;
	}
}

x86_exec_fn *x86_pick_pop(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!natural_size(cpu, insn) || insn->operand[0].kind != X86_OPD_REG)
		return NULL;
	return insn->osize == 8 ? pop_r64 : pop_r32;
}

/* ---- segment registers ----------------------------------------------------------------------- */

/*
 * With a 32-bit operand size Intel's processors write the selector alone and leave the upper word (SDM
 * vol. 2, PUSH); AMD's write it zero-extended.
 */
enum x86_result x86_exec_push_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 selector = cpu->seg[insn->operand[0].reg].selector, rsp = cpu->regs[X86_RSP], sp;
	enum x86_result r;

	if (insn->osize != 4 || cpu->vendor_amd) {
		r = x86_push(cpu, &rsp, selector, insn->osize, 0);
	} else {
		rsp = merge(rsp, rsp - 4, cpu->stack_size);
		sp = rsp & size_mask(cpu->stack_size);
		r = x86_mem_write(cpu, X86_SS, sp, 2, selector);
	}
	if (likely(!r))
		cpu->regs[X86_RSP] = rsp;
	return r;
}

enum x86_result x86_exec_pop_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned sreg = insn->operand[0].reg, stack_size = cpu->stack_size;
	u64 rsp = cpu->regs[X86_RSP], value;
	enum x86_result r;

	if (insn->osize == 4) { /* reads the selector alone */
		r = x86_pop(cpu, &rsp, &value, 2, 0);
		rsp = merge(cpu->regs[X86_RSP], cpu->regs[X86_RSP] + 4, stack_size);
	} else {
		r = x86_pop(cpu, &rsp, &value, insn->osize, 0);
	}
	if (likely(!r))
		r = x86_load_sreg(cpu, sreg, (u16)value);
	if (unlikely(r))
		return r;
	cpu->regs[X86_RSP] = rsp;
	if (sreg != X86_SS)
		return X86_OK;
	cpu->shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	return X86_END;
}

/* ---- PUSHA, POPA ----------------------------------------------------------------------------- */

enum x86_result x86_probe_stack(struct x86_cpu *cpu, u64 rsp, unsigned size, unsigned n)
{
	u64 mask = size_mask(cpu->stack_size);
	enum x86_result r = X86_OK;

	for (unsigned i = 0; !r && i < n; i++) {
		u64 gva, scratch = 0;

		rsp -= size;
		r = x86_linear(cpu, X86_SS, rsp & mask, size, X86_ACCESS_WRITE, &gva);
		if (likely(!r) && unlikely(!tlb_write(cpu, gva, size)))
			r = cpu->mem->write(cpu, gva, &scratch, size, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
	}
	return r;
}

enum x86_result x86_exec_pusha(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RSP];
	enum x86_result r = x86_probe_stack(cpu, rsp, insn->osize, 8);

	for (unsigned reg = X86_RAX; !r && reg <= X86_RDI; reg++)
		r = x86_push(cpu, &rsp, cpu->regs[reg], insn->osize, 0);
	if (likely(!r))
		cpu->regs[X86_RSP] = rsp;
	return r;
}

enum x86_result x86_exec_popa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RSP], value[8];
	enum x86_result r = X86_OK;

	for (unsigned i = 0; !r && i < 8; i++)
		r = x86_pop(cpu, &rsp, &value[i], insn->osize, 0);
	if (unlikely(r))
		return r;
	for (unsigned i = 0; i < 8; i++) {
		if (7 - i != X86_RSP)
			reg_write(cpu, 7 - i, value[i], insn->osize);
	}
	cpu->regs[X86_RSP] = rsp;
	return X86_OK;
}

/* ---- ENTER, LEAVE ---------------------------------------------------------------------------- */

/* Copies level - 1 frame pointers of the caller's display (SDM vol. 2, ENTER). */
static enum x86_result push_display(struct x86_cpu *cpu, u64 *rsp, unsigned level, unsigned size, u64 frame)
{
	u64 rbp = cpu->regs[X86_RBP], mask = size_mask(cpu->stack_size), value;
	enum x86_result r;

	for (unsigned i = 1; i < level; i++) {
		rbp -= size;
		r = x86_mem_read(cpu, X86_SS, rbp & mask, size, &value);
		if (likely(!r))
			r = x86_push(cpu, rsp, value, size, 0);
		if (unlikely(r))
			return r;
	}
	return x86_push(cpu, rsp, frame, size, 0);
}

enum x86_result x86_exec_enter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->osize, level = insn->imm2 & 31;
	u64 rsp = cpu->regs[X86_RSP], frame, last, scratch = 0, gva;
	enum x86_result r = x86_probe_stack(cpu, rsp, size, level + 1);

	if (likely(!r))
		r = x86_push(cpu, &rsp, cpu->regs[X86_RBP], size, 0);
	if (unlikely(r))
		return r;
	frame = rsp;
	if (level)
		r = push_display(cpu, &rsp, level, size, frame);
	if (unlikely(r))
		return r;
	rsp = merge(rsp, rsp - (insn->imm & 0xffff), cpu->stack_size);
	/*
	 * The new top must be writable although nothing is written (AMD APM vol. 3, ENTER; SDM: page fault
	 * check).
	 */
	last = rsp & size_mask(cpu->stack_size);
	r = x86_linear(cpu, X86_SS, last, size, X86_ACCESS_WRITE, &gva);
	if (likely(!r) && unlikely(!tlb_write(cpu, gva, size)))
		r = cpu->mem->write(cpu, gva, &scratch, size, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
	if (unlikely(r))
		return r;
	reg_write(cpu, X86_RBP, frame, size);
	cpu->regs[X86_RSP] = rsp;
	return X86_OK;
}

enum x86_result x86_exec_leave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = merge(cpu->regs[X86_RSP], cpu->regs[X86_RBP], cpu->stack_size), value;
	enum x86_result r = x86_pop(cpu, &rsp, &value, insn->osize, 0);

	if (unlikely(r))
		return r;
	cpu->regs[X86_RSP] = rsp;
	reg_write(cpu, X86_RBP, value, insn->osize);
	return X86_OK;
}

static enum x86_result leave64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RBP], gva;
	const void *host = fast_linear(cpu, LONG, X86_SS, rsp, &gva) ? tlb_read(cpu, gva, 8) : NULL;

	if (unlikely(!host))
		return x86_exec_leave(cpu, insn);
	cpu->regs[X86_RSP] = rsp + 8;
	cpu->regs[X86_RBP] = MEM_LOAD(64, host);
	return X86_OK;
}

x86_exec_fn *x86_pick_leave(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->code_bits == 64 && insn->osize == 8 ? leave64 : NULL;
}
