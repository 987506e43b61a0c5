/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Far transfers: JMP, CALL and RET between segments, call gates, IRET (SDM vol. 2 and vol. 3 chapter 5;
 * AMD APM vol. 2 chapter 4, vol. 3).
 *
 * All of them first read and check everything, building frames on stacks that are not in SS yet, and
 * then commit CS, SS, rSP, RIP and flags at once. What a fault leaves behind is at most garbage below a
 * stack pointer and accessed bits.
 */
#include "x86/segment.h"

struct gate {
	u16 selector;
	u64 offset;
	u8 size; /* of what it pushes: 2, 4, 8 */
	u8 params;
};

/* ---- entering code --------------------------------------------------------------------------- */

static void commit_code(struct x86_cpu *cpu, const struct x86_seg *cs, u8 cpl, u64 rip)
{
	cpu->seg[X86_CS] = *cs;
	cpu->seg[X86_CS].selector = (cs->selector & ~X86_SEL_RPL) | cpl;
	cpu->regs[X86_REG_RIP] = rip;
	x86_mode_update(cpu);
}

static enum x86_result check_and_mark(struct x86_cpu *cpu, struct x86_seg *cs, u64 rip)
{
	enum x86_result r = x86_check_rip(cpu, cs, rip);

	return r ? r : x86_mark_descriptor(cpu, cs, 1);
}

/* Real and V86 mode. */
static enum x86_result enter_real(struct x86_cpu *cpu, u16 selector, u64 offset)
{
	if (offset > cpu->seg[X86_CS].limit)
		return x86_raise(cpu, X86_GP, 0);
	x86_load_sreg_real(cpu, X86_CS, selector);
	cpu->regs[X86_REG_RIP] = offset;
	return X86_BRANCH;
}

/* A direct transfer keeps the privilege level (SDM vol. 3 section 5.8.1). */
static enum x86_result check_direct(struct x86_cpu *cpu, const struct x86_seg *cs)
{
	unsigned rpl = cs->selector & X86_SEL_RPL;
	bool ok = x86_seg_conforming(cs) ? cs->dpl <= cpu->cpl : rpl <= cpu->cpl && cs->dpl == cpu->cpl;

	if (!x86_seg_is_code(cs) || !ok)
		return x86_raise(cpu, X86_GP, x86_sel_error(cs->selector));
	if (x86_check_code_bits(cpu, cs))
		return X86_FAULT;
	if (!cs->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(cs->selector));
	return X86_OK;
}

/* ---- gates ----------------------------------------------------------------------------------- */

static enum x86_result check_gate_privilege(struct x86_cpu *cpu, const struct x86_seg *d)
{
	if (d->dpl < cpu->cpl || d->dpl < (d->selector & X86_SEL_RPL))
		return x86_raise(cpu, X86_GP, x86_sel_error(d->selector));
	if (!d->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(d->selector));
	return X86_OK;
}

/* A call gate, 16 bytes in long mode (SDM vol. 3 sections 5.8.3, 5.8.3.1). */
static enum x86_result read_call_gate(struct x86_cpu *cpu, const struct x86_seg *d, u64 low, struct gate *g)
{
	u64 high = 0;
	enum x86_result r;

	if (x86_long_mode(cpu)) {
		r = x86_read_descriptor(cpu, d->selector, X86_GP, &low, &high);
		if (r)
			return r;
		if (high >> 40 & 0x1f)
			return x86_raise(cpu, X86_GP, x86_sel_error(d->selector));
	}
	r = check_gate_privilege(cpu, d);
	if (r)
		return r;
	g->selector = (u16)(low >> 16);
	g->offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
	g->params = low >> 32 & 31;
	g->size = x86_long_mode(cpu) ? 8 : 4;
	if (d->type == X86_DESC_CALL_GATE16) {
		g->offset &= 0xffff;
		g->size = 2;
	}
	return X86_OK;
}

static enum x86_result read_gate_code(struct x86_cpu *cpu, const struct gate *g, bool jmp, struct x86_seg *cs)
{
	enum x86_result r;
	bool ok;

	if (x86_sel_null(g->selector))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_seg(cpu, g->selector, X86_GP, cs);
	if (r)
		return r;
	ok = x86_seg_is_code(cs) && cs->dpl <= cpu->cpl;
	if (jmp && !x86_seg_conforming(cs) && cs->dpl != cpu->cpl)
		ok = false;
	if (x86_long_mode(cpu) && (!cs->l || cs->db))
		ok = false;
	if (!ok)
		return x86_raise(cpu, X86_GP, x86_sel_error(g->selector));
	if (!cs->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(g->selector));
	return X86_OK;
}

/* JMP or CALL to a TSS or task gate: what is left of it here is the privilege of descriptor or gate. */
static enum x86_result task_transfer(struct x86_cpu *cpu, const struct x86_seg *d, u64 low,
				     enum x86_task_reason reason, u64 next_rip)
{
	u16 tss = d->selector;
	enum x86_result r;

	if (d->type == X86_DESC_TASK_GATE) {
		r = check_gate_privilege(cpu, d);
		if (r)
			return r;
		tss = (u16)(low >> 16);
	} else if (d->dpl < cpu->cpl || d->dpl < (tss & X86_SEL_RPL)) {
		return x86_raise(cpu, X86_GP, x86_sel_error(tss));
	}
	return x86_task_switch(cpu, tss, reason, next_rip, false, 0);
}

/* Whether a system descriptor is a call gate (true), a task (false), or no target at all (#GP). */
static enum x86_result classify(struct x86_cpu *cpu, const struct x86_seg *d, bool *call_gate)
{
	*call_gate = d->type == X86_DESC_CALL_GATE ||
		     (d->type == X86_DESC_CALL_GATE16 && !x86_long_mode(cpu));
	if (*call_gate)
		return X86_OK;
	if (!x86_long_mode(cpu) && (d->type == X86_DESC_TASK_GATE || (d->type & 5) == 1))
		return X86_OK;
	return x86_raise(cpu, X86_GP, x86_sel_error(d->selector));
}

/* ---- JMP ------------------------------------------------------------------------------------- */

static enum x86_result jmp_system(struct x86_cpu *cpu, const struct x86_seg *d, u64 low, u64 next_rip)
{
	struct x86_seg cs;
	struct gate g;
	bool call_gate;
	enum x86_result r = classify(cpu, d, &call_gate);

	if (r)
		return r;
	if (!call_gate)
		return task_transfer(cpu, d, low, X86_TASK_JMP, next_rip);
	r = read_call_gate(cpu, d, low, &g);
	if (!r)
		r = read_gate_code(cpu, &g, true, &cs);
	if (!r)
		r = check_and_mark(cpu, &cs, g.offset);
	if (r)
		return r;
	commit_code(cpu, &cs, cpu->cpl, g.offset);
	return X86_BRANCH;
}

enum x86_result x86_far_jmp(struct x86_cpu *cpu, u16 selector, u64 offset, unsigned osize, u64 next_rip)
{
	struct x86_seg cs;
	enum x86_result r;
	u64 low;

	offset &= x86_size_mask(osize);
	if (!x86_protected(cpu))
		return enter_real(cpu, selector, offset);
	if (x86_sel_null(selector))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_descriptor(cpu, selector, X86_GP, &low, NULL);
	if (r)
		return r;
	x86_unpack_descriptor(low, 0, selector, &cs);
	if (!cs.s)
		return jmp_system(cpu, &cs, low, next_rip);
	r = check_direct(cpu, &cs);
	if (!r)
		r = check_and_mark(cpu, &cs, offset);
	if (r)
		return r;
	commit_code(cpu, &cs, cpu->cpl, offset);
	return X86_BRANCH;
}

/* ---- CALL ------------------------------------------------------------------------------------ */

static enum x86_result push_return(struct x86_cpu *cpu, struct x86_stack *st, u64 next_rip, unsigned size)
{
	enum x86_result r = x86_stack_push(cpu, st, cpu->seg[X86_CS].selector, size);

	return r ? r : x86_stack_push(cpu, st, next_rip, size);
}

static enum x86_result copy_params(struct x86_cpu *cpu, struct x86_stack *inner, unsigned count,
				   unsigned size)
{
	for (unsigned i = count; i-- > 0;) {
		struct x86_stack outer;
		enum x86_result r;
		u64 value;

		x86_stack_current(cpu, &outer);
		x86_stack_skip(&outer, i * size);
		r = x86_stack_pop(cpu, &outer, &value, size);
		if (!r)
			r = x86_stack_push(cpu, inner, value, size);
		if (r)
			return r;
	}
	return X86_OK;
}

static enum x86_result inner_frame(struct x86_cpu *cpu, struct x86_stack *st, const struct gate *g, u8 dpl)
{
	enum x86_result r = x86_stack_inner(cpu, dpl, st);

	if (!r)
		r = x86_stack_push(cpu, st, cpu->seg[X86_SS].selector, g->size);
	if (!r)
		r = x86_stack_push(cpu, st, cpu->regs[X86_RSP], g->size);
	if (!r && !x86_long_mode(cpu))
		r = copy_params(cpu, st, g->params, g->size);
	return r;
}

static enum x86_result call_gate_transfer(struct x86_cpu *cpu, const struct gate *g, u64 next_rip)
{
	struct x86_stack st;
	struct x86_seg cs;
	u8 cpl = cpu->cpl;
	enum x86_result r = read_gate_code(cpu, g, false, &cs);

	if (r)
		return r;
	if (!x86_seg_conforming(&cs) && cs.dpl < cpl) {
		cpl = cs.dpl;
		r = inner_frame(cpu, &st, g, cpl);
	} else {
		x86_stack_current(cpu, &st);
	}
	if (!r)
		r = push_return(cpu, &st, next_rip, g->size);
	if (!r)
		r = check_and_mark(cpu, &cs, g->offset);
	if (r)
		return r;
	cpu->seg[X86_SS] = st.ss;
	cpu->regs[X86_RSP] = st.sp;
	commit_code(cpu, &cs, cpl, g->offset);
	return X86_BRANCH;
}

static enum x86_result call_system(struct x86_cpu *cpu, const struct x86_seg *d, u64 low, u64 next_rip)
{
	struct gate g;
	bool call_gate;
	enum x86_result r = classify(cpu, d, &call_gate);

	if (r)
		return r;
	if (!call_gate)
		return task_transfer(cpu, d, low, X86_TASK_CALL, next_rip);
	r = read_call_gate(cpu, d, low, &g);
	return r ? r : call_gate_transfer(cpu, &g, next_rip);
}

static enum x86_result call_real(struct x86_cpu *cpu, u16 selector, u64 offset, unsigned osize, u64 next_rip)
{
	struct x86_stack st;
	enum x86_result r;

	x86_stack_current(cpu, &st);
	r = push_return(cpu, &st, next_rip, osize);
	if (!r)
		r = enter_real(cpu, selector, offset);
	if (r == X86_BRANCH)
		cpu->regs[X86_RSP] = st.sp;
	return r;
}

enum x86_result x86_far_call(struct x86_cpu *cpu, u16 selector, u64 offset, unsigned osize, u64 next_rip)
{
	struct x86_stack st;
	struct x86_seg cs;
	enum x86_result r;
	u64 low;

	offset &= x86_size_mask(osize);
	if (!x86_protected(cpu))
		return call_real(cpu, selector, offset, osize, next_rip);
	if (x86_sel_null(selector))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_descriptor(cpu, selector, X86_GP, &low, NULL);
	if (r)
		return r;
	x86_unpack_descriptor(low, 0, selector, &cs);
	if (!cs.s)
		return call_system(cpu, &cs, low, next_rip);
	x86_stack_current(cpu, &st);
	r = check_direct(cpu, &cs);
	if (!r)
		r = push_return(cpu, &st, next_rip, osize);
	if (!r)
		r = check_and_mark(cpu, &cs, offset);
	if (r)
		return r;
	cpu->regs[X86_RSP] = st.sp;
	commit_code(cpu, &cs, cpu->cpl, offset);
	return X86_BRANCH;
}

/* ---- RET, IRET: shared ----------------------------------------------------------------------- */

/* The code segment returned to: never a more privileged one. */
static enum x86_result read_return_code(struct x86_cpu *cpu, u16 selector, struct x86_seg *cs)
{
	unsigned rpl = selector & X86_SEL_RPL;
	enum x86_result r;

	if (x86_sel_null(selector))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_seg(cpu, selector, X86_GP, cs);
	if (r)
		return r;
	if (!x86_seg_is_code(cs) || rpl < cpu->cpl ||
	    (x86_seg_conforming(cs) ? cs->dpl > rpl : cs->dpl != rpl))
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	if (x86_check_code_bits(cpu, cs))
		return X86_FAULT;
	if (!cs->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	return X86_OK;
}

/* The stack segment returned to; null for 64-bit code below CPL 3. */
static enum x86_result read_return_stack(struct x86_cpu *cpu, u16 selector, const struct x86_seg *cs,
					 struct x86_seg *ss)
{
	u8 cpl = cs->selector & X86_SEL_RPL;

	if (x86_sel_null(selector) && x86_long_mode(cpu) && cs->l && cpl != 3) {
		if ((selector & X86_SEL_RPL) != cpl)
			return x86_raise(cpu, X86_GP, 0);
		x86_null_seg(ss, selector, cpl);
		return X86_OK;
	}
	return x86_read_stack_seg(cpu, selector, cpl, X86_GP, ss);
}

static unsigned stack_size_of(const struct x86_cpu *cpu, const struct x86_seg *cs, const struct x86_seg *ss)
{
	if (x86_long_mode(cpu) && cs->l)
		return 8;
	return ss->db ? 4 : 2;
}

/* Pops rSP and SS off st, checks, and commits all of the return to another stack. */
static enum x86_result return_outer(struct x86_cpu *cpu, struct x86_stack *st, struct x86_seg *cs, u64 rip,
				    unsigned osize, u16 pop_bytes)
{
	u8 cpl = cs->selector & X86_SEL_RPL;
	struct x86_seg ss;
	unsigned size;
	u64 rsp, sel;
	enum x86_result r = x86_stack_pop(cpu, st, &rsp, osize);

	if (!r)
		r = x86_stack_pop(cpu, st, &sel, osize);
	if (!r)
		r = read_return_stack(cpu, (u16)sel, cs, &ss);
	if (!r)
		r = check_and_mark(cpu, cs, rip);
	if (r)
		return r;
	size = stack_size_of(cpu, cs, &ss);
	rsp = x86_merge(cpu->regs[X86_RSP], rsp, size);
	cpu->regs[X86_RSP] = x86_merge(rsp, rsp + pop_bytes, size);
	cpu->seg[X86_SS] = ss;
	if (cpl > cpu->cpl)
		x86_null_inner_segs(cpu, cpl);
	commit_code(cpu, cs, cpl, rip);
	return X86_BRANCH;
}

/* ---- RET ------------------------------------------------------------------------------------- */

enum x86_result x86_far_ret(struct x86_cpu *cpu, unsigned osize, u16 pop_bytes)
{
	struct x86_stack st;
	struct x86_seg cs;
	enum x86_result r;
	u64 rip, sel;

	x86_stack_current(cpu, &st);
	r = x86_stack_pop(cpu, &st, &rip, osize);
	if (!r)
		r = x86_stack_pop(cpu, &st, &sel, osize);
	if (r)
		return r;
	if (!x86_protected(cpu)) {
		r = enter_real(cpu, (u16)sel, rip);
		if (r != X86_BRANCH)
			return r;
		x86_stack_skip(&st, pop_bytes);
		cpu->regs[X86_RSP] = st.sp;
		return r;
	}
	r = read_return_code(cpu, (u16)sel, &cs);
	if (r)
		return r;
	x86_stack_skip(&st, pop_bytes);
	if ((sel & X86_SEL_RPL) > cpu->cpl)
		return return_outer(cpu, &st, &cs, rip, osize, pop_bytes);
	r = check_and_mark(cpu, &cs, rip);
	if (r)
		return r;
	cpu->regs[X86_RSP] = st.sp;
	commit_code(cpu, &cs, cpu->cpl, rip);
	return X86_BRANCH;
}

/* ---- IRET ------------------------------------------------------------------------------------ */

#define IRET_FLAGS (X86_FLAGS_STATUS | X86_TF | X86_DF | X86_NT)

static void change_flags(struct x86_cpu *cpu, u64 value, u32 mask)
{
	x86_set_rflags(cpu, (x86_get_rflags(cpu) & ~(u64)mask) | (value & mask));
}

static void unblock_nmi(struct x86_cpu *cpu)
{
	if (!cpu->nmi_masked)
		return;
	cpu->nmi_masked = false;
	cpu->env->iret_done(cpu);
}

static u32 real_flags_mask(unsigned osize)
{
	u32 mask = IRET_FLAGS | X86_IF | X86_IOPL;

	return osize == 2 ? mask : mask | X86_RF | X86_AC | X86_ID;
}

/* V86 mode: IOPL 3, or VME's virtual interrupt flag for 16-bit IRET (SDM vol. 3 section 20.3.3.4). */
static enum x86_result v86_flags(struct x86_cpu *cpu, unsigned osize, u64 *flags, u32 *mask)
{
	*mask = real_flags_mask(osize) & ~X86_IOPL;
	if ((cpu->rflags & X86_IOPL) == X86_IOPL)
		return X86_OK;
	if (!(cpu->cr4 & X86_CR4_VME) || osize != 2)
		return x86_raise(cpu, X86_GP, 0);
	if ((*flags & X86_TF) || ((*flags & X86_IF) && (cpu->rflags & X86_VIP)))
		return x86_raise(cpu, X86_GP, 0);
	*mask = (*mask & ~X86_IF) | X86_VIF;
	*flags = (*flags & ~(u64)X86_VIF) | (*flags & X86_IF ? X86_VIF : 0);
	return X86_OK;
}

static enum x86_result iret_real(struct x86_cpu *cpu, unsigned osize)
{
	u32 mask = real_flags_mask(osize);
	u64 rip, sel, flags;
	struct x86_stack st;
	enum x86_result r;

	x86_stack_current(cpu, &st);
	r = x86_stack_pop(cpu, &st, &rip, osize);
	if (!r)
		r = x86_stack_pop(cpu, &st, &sel, osize);
	if (!r)
		r = x86_stack_pop(cpu, &st, &flags, osize);
	if (!r && cpu->mode == X86_MODE_V86)
		r = v86_flags(cpu, osize, &flags, &mask);
	if (!r)
		r = enter_real(cpu, (u16)sel, rip);
	if (r != X86_BRANCH)
		return r;
	cpu->regs[X86_RSP] = st.sp;
	change_flags(cpu, flags, mask);
	x86_mode_update(cpu);
	unblock_nmi(cpu);
	return r;
}

/* NT: back to the task that the TSS links to (SDM vol. 3 section 7.4). */
static enum x86_result iret_task(struct x86_cpu *cpu, u64 next_rip)
{
	enum x86_result r;
	u16 link;

	if (x86_long_mode(cpu))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_sys_read(cpu, cpu->seg[X86_TR].base, &link, 2);
	if (!r)
		r = x86_task_switch(cpu, link, X86_TASK_IRET, next_rip, false, 0);
	if (r == X86_BRANCH)
		unblock_nmi(cpu);
	return r;
}

/* From CPL 0 into V86 mode: ESP, SS, ES, DS, FS, GS follow on the stack (SDM vol. 3 section 20.2.5). */
static enum x86_result iret_to_v86(struct x86_cpu *cpu, struct x86_stack *st, u64 rip, u16 cs, u64 flags)
{
	static const u8 order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
	u64 esp, sel[ARRAY_SIZE(order)];
	enum x86_result r = x86_stack_pop(cpu, st, &esp, 4);

	for (unsigned i = 0; i < ARRAY_SIZE(order) && !r; i++)
		r = x86_stack_pop(cpu, st, &sel[i], 4);
	if (r)
		return r;
	if (rip > 0xffff)
		return x86_raise(cpu, X86_GP, 0);
	x86_set_rflags(cpu, flags & (real_flags_mask(4) | X86_VM | X86_VIF | X86_VIP));
	x86_load_sreg_real(cpu, X86_CS, cs);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		x86_load_sreg_real(cpu, order[i], (u16)sel[i]);
	cpu->regs[X86_RSP] = esp;
	cpu->regs[X86_REG_RIP] = rip;
	unblock_nmi(cpu);
	return X86_BRANCH;
}

/* What IRET may change depends on the privilege it runs at (SDM vol. 2, IRET). */
static u32 iret_flags_mask(const struct x86_cpu *cpu, unsigned osize)
{
	u32 mask = IRET_FLAGS;

	if (osize != 2)
		mask |= X86_RF | X86_AC | X86_ID;
	if (cpu->cpl <= (cpu->rflags >> X86_IOPL_SHIFT & 3))
		mask |= X86_IF;
	if (cpu->cpl == 0)
		mask |= osize == 2 ? X86_IOPL : X86_IOPL | X86_VIF | X86_VIP;
	return mask;
}

static enum x86_result iret_protected(struct x86_cpu *cpu, unsigned osize)
{
	u32 mask = iret_flags_mask(cpu, osize);
	u64 rip, sel, flags;
	struct x86_stack st;
	struct x86_seg cs;
	enum x86_result r;

	x86_stack_current(cpu, &st);
	r = x86_stack_pop(cpu, &st, &rip, osize);
	if (!r)
		r = x86_stack_pop(cpu, &st, &sel, osize);
	if (!r)
		r = x86_stack_pop(cpu, &st, &flags, osize);
	if (r)
		return r;
	if ((flags & X86_VM) && cpu->cpl == 0 && !x86_long_mode(cpu) && osize == 4)
		return iret_to_v86(cpu, &st, rip, (u16)sel, flags);
	r = read_return_code(cpu, (u16)sel, &cs);
	if (r)
		return r;
	if (cpu->mode == X86_MODE_LONG || (sel & X86_SEL_RPL) > cpu->cpl) {
		r = return_outer(cpu, &st, &cs, rip, osize, 0);
		if (r != X86_BRANCH)
			return r;
	} else {
		r = check_and_mark(cpu, &cs, rip);
		if (r)
			return r;
		cpu->regs[X86_RSP] = st.sp;
		commit_code(cpu, &cs, cpu->cpl, rip);
	}
	change_flags(cpu, flags, mask);
	x86_mode_update(cpu);
	unblock_nmi(cpu);
	return X86_BRANCH;
}

enum x86_result x86_iret(struct x86_cpu *cpu, unsigned osize, u64 next_rip)
{
	if (!x86_protected(cpu))
		return iret_real(cpu, osize);
	if (cpu->rflags & X86_NT)
		return iret_task(cpu, next_rip);
	return iret_protected(cpu, osize);
}
