/* SPDX-License-Identifier: GPL-2.0-only */
/* Stacks: pushes and pops of instructions, frames of gates and interrupts, the stacks that a TSS names. */
#include "x86/segment.h"

/* ---- SS:rSP of instructions ------------------------------------------------------------------ */

static enum x86_result write_stack(struct x86_cpu *cpu, u64 gva, u64 value, unsigned size, unsigned access)
{
	if (unlikely(access))
		return cpu->mem->write(cpu, gva, &value, size, access | X86_ACCESS_WRITE);
	switch (size) {
	case 2:
		return x86_write_linear16(cpu, gva, (u16)value);
	case 4:
		return x86_write_linear32(cpu, gva, (u32)value);
	default:
		return x86_write_linear64(cpu, gva, value);
	}
}

static enum x86_result read_stack(struct x86_cpu *cpu, u64 gva, u64 *value, unsigned size, unsigned access)
{
	enum x86_result r;
	u16 v16;
	u32 v32;

	if (unlikely(access)) {
		*value = 0;
		return cpu->mem->read(cpu, gva, value, size, access);
	}
	switch (size) {
	case 2:
		r = x86_read_linear16(cpu, gva, &v16);
		*value = v16;
		return r;
	case 4:
		r = x86_read_linear32(cpu, gva, &v32);
		*value = v32;
		return r;
	default:
		return x86_read_linear64(cpu, gva, value);
	}
}

enum x86_result x86_push(struct x86_cpu *cpu, u64 *rsp, u64 value, unsigned size, unsigned access)
{
	u64 sp = (*rsp - size) & x86_size_mask(cpu->stack_size), gva;
	enum x86_result r = x86_linear(cpu, X86_SS, sp, size, access | X86_ACCESS_WRITE, &gva);

	if (!r)
		r = write_stack(cpu, gva, value, size, access & ~X86_ACCESS_WRITE);
	if (!r)
		*rsp = x86_merge(*rsp, sp, cpu->stack_size);
	return r;
}

enum x86_result x86_pop(struct x86_cpu *cpu, u64 *rsp, u64 *value, unsigned size, unsigned access)
{
	u64 sp = *rsp & x86_size_mask(cpu->stack_size), gva, v = 0;
	enum x86_result r = x86_linear(cpu, X86_SS, sp, size, access, &gva);

	if (!r)
		r = read_stack(cpu, gva, &v, size, access);
	if (r)
		return r;
	*value = v;
	*rsp = x86_merge(*rsp, sp + size, cpu->stack_size);
	return X86_OK;
}

/* ---- stacks not in SS yet -------------------------------------------------------------------- */

void x86_stack_current(const struct x86_cpu *cpu, struct x86_stack *st)
{
	st->ss = cpu->seg[X86_SS];
	st->sp = cpu->regs[X86_RSP];
	st->size = cpu->stack_size;
	st->access = 0;
	st->error = 0;
}

void x86_stack_other(const struct x86_cpu *cpu, struct x86_stack *st, const struct x86_seg *ss, u64 sp,
		     u8 cpl)
{
	st->ss = *ss;
	st->sp = sp;
	st->size = ss->db ? 4 : 2;
	st->error = x86_sel_error(ss->selector);
	if (cpl == cpu->cpl)
		st->access = 0;
	else
		st->access = cpl == 3 ? X86_ACCESS_USER : X86_ACCESS_SYSTEM;
}

/* Linear address of n bytes at sp of the stack. */
static enum x86_result stack_linear(struct x86_cpu *cpu, const struct x86_stack *st, u64 sp, unsigned n,
				    u64 *gva)
{
	bool ok;

	if (st->size == 8) {
		*gva = sp;
		ok = x86_canonical(cpu, sp) && x86_canonical(cpu, sp + n - 1);
	} else {
		*gva = (u32)(st->ss.base + sp);
		ok = !st->ss.unusable && x86_limit_ok(&st->ss, sp, n);
	}
	return ok ? X86_OK : x86_raise(cpu, X86_SS_VECTOR, st->error);
}

enum x86_result x86_stack_push(struct x86_cpu *cpu, struct x86_stack *st, u64 value, unsigned n)
{
	u64 sp = (st->sp - n) & x86_size_mask(st->size), gva;
	enum x86_result r = stack_linear(cpu, st, sp, n, &gva);

	if (!r)
		r = write_stack(cpu, gva, value, n, st->access);
	if (!r)
		st->sp = x86_merge(st->sp, sp, st->size);
	return r;
}

enum x86_result x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *st, u64 *value, unsigned n)
{
	u64 sp = st->sp & x86_size_mask(st->size), gva;
	enum x86_result r = stack_linear(cpu, st, sp, n, &gva);

	*value = 0;
	if (!r)
		r = read_stack(cpu, gva, value, n, st->access);
	if (!r)
		x86_stack_skip(st, n);
	return r;
}

/* ---- stacks of the TSS ----------------------------------------------------------------------- */

static enum x86_result tss_field(struct x86_cpu *cpu, u32 offset, void *dst, unsigned size)
{
	const struct x86_seg *tr = &cpu->seg[X86_TR];

	if (tr->unusable || offset + size - 1 > tr->limit)
		return x86_raise(cpu, X86_TS, x86_sel_error(tr->selector));
	return x86_sys_read(cpu, tr->base + offset, dst, size);
}

/* A stack pointer of the 64-bit TSS; SS becomes null, RPL the new level (SDM vol. 3 section 6.14.4). */
static enum x86_result stack64(struct x86_cpu *cpu, u32 offset, u8 cpl, struct x86_stack *st)
{
	struct x86_seg ss;
	u64 rsp;
	enum x86_result r = tss_field(cpu, offset, &rsp, 8);

	if (r)
		return r;
	if (cpl == cpu->cpl)
		ss = cpu->seg[X86_SS];
	else
		x86_null_seg(&ss, cpl, cpl);
	x86_stack_other(cpu, st, &ss, rsp, cpl);
	st->size = 8;
	st->error = 0;
	return x86_canonical(cpu, rsp) ? X86_OK : x86_raise(cpu, X86_SS_VECTOR, 0);
}

enum x86_result x86_stack_ist(struct x86_cpu *cpu, unsigned ist, u8 cpl, struct x86_stack *st)
{
	return stack64(cpu, 0x24 + (ist - 1) * 8, cpl, st);
}

/* SSn:ESPn of a 32-bit TSS, SSn:SPn of a 16-bit one (SDM vol. 3 figures 7-2, 7-10). */
static enum x86_result tss_legacy_stack(struct x86_cpu *cpu, u8 dpl, u16 *ss, u32 *esp)
{
	struct {
		u32 esp;
		u16 ss;
	} __attribute__((packed)) wide;
	u16 narrow[2];
	enum x86_result r;

	if (cpu->seg[X86_TR].type & 8) {
		r = tss_field(cpu, 4 + dpl * 8, &wide, sizeof(wide));
		*ss = wide.ss;
		*esp = wide.esp;
	} else {
		r = tss_field(cpu, 2 + dpl * 4, narrow, sizeof(narrow));
		*ss = narrow[1];
		*esp = narrow[0];
	}
	return r;
}

enum x86_result x86_stack_inner(struct x86_cpu *cpu, u8 dpl, struct x86_stack *st)
{
	struct x86_seg seg;
	enum x86_result r;
	u16 ss = 0;
	u32 esp = 0;

	if (x86_long_mode(cpu))
		return stack64(cpu, 4 + dpl * 8, dpl, st);
	r = tss_legacy_stack(cpu, dpl, &ss, &esp);
	if (!r)
		r = x86_read_stack_seg(cpu, ss, dpl, X86_TS, &seg);
	if (!r)
		x86_stack_other(cpu, st, &seg, esp, dpl);
	return r;
}
