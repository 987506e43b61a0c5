/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exceptions and interrupts: raising, and delivery through the IVT, the IDT and V86 mode's redirection
 * (SDM vol. 3 chapter 6 and section 20.3; AMD APM vol. 2 chapter 8).
 *
 * A delivery reads its gate, checks, pushes the frame on a stack that is not in SS yet and then commits
 * everything. A fault on the way makes a new event of the two (double-fault table), which is delivered
 * in turn.
 */
#include "x86/segment.h"

#define IDT_ERROR(vector) ((vector) * 8 + 2u)
#define DR6_TRAP_BITS 0xfu
#define DR6_ACTIVE_LOW 0xffff0ff0u
#define DR7_GD BIT(13)
#define DEBUGCTL_LBR_BTF 3ull

struct idt_gate {
	u16 selector;
	u64 offset;
	u8 type; /* enum x86_system_type */
	u8 ist;
	u8 size; /* of a slot in the frame */
};

/* ---- raising --------------------------------------------------------------------------------- */

bool x86_vector_has_error(unsigned vector)
{
	u32 set = BIT(X86_DF_VECTOR) | BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SS_VECTOR) | BIT(X86_GP) |
		  BIT(X86_PF_VECTOR) | BIT(X86_AC_VECTOR);

	return vector < 32 && (set >> vector & 1);
}

enum x86_result x86_raise(struct x86_cpu *cpu, enum x86_vector vector, u32 error)
{
	bool has_error = x86_vector_has_error(vector);

	cpu->fault = (struct x86_exception) { .vector = (u8)vector, .has_error = has_error,
					      .error = has_error ? error : 0 };
	return X86_FAULT;
}

enum x86_result x86_raise_pf(struct x86_cpu *cpu, u64 gva, u32 error)
{
	cpu->fault = (struct x86_exception) { .vector = X86_PF_VECTOR, .has_error = true, .error = error,
					      .payload = gva };
	return X86_FAULT;
}

enum x86_result x86_raise_db(struct x86_cpu *cpu, u64 dr6_bits)
{
	cpu->fault = (struct x86_exception) { .vector = X86_DB, .payload = dr6_bits };
	return X86_FAULT;
}

bool x86_irq_allowed(const struct x86_cpu *cpu)
{
	return (cpu->rflags & X86_IF) && !cpu->shadow;
}

bool x86_nmi_allowed(const struct x86_cpu *cpu)
{
	return !cpu->nmi_masked && !cpu->shadow;
}

/* Faults push RF set, lest an instruction breakpoint hit again; #DB does not (SDM section 17.3.1.1). */
static bool sets_rf(const struct x86_event *ev)
{
	u32 no_faults = BIT(X86_DB) | BIT(X86_NMI) | BIT(X86_BP) | BIT(X86_OF_VECTOR) | BIT(X86_DF_VECTOR) |
			BIT(X86_MC);

	return ev->kind == X86_EVENT_EXCEPTION && !(no_faults >> (ev->e.vector & 31) & 1);
}

static u64 pushed_flags(const struct x86_cpu *cpu, const struct x86_event *ev)
{
	return x86_get_rflags(cpu) | (sets_rf(ev) ? X86_RF : 0);
}

static bool pushes_error(const struct x86_event *ev)
{
	return ev->kind == X86_EVENT_EXCEPTION && ev->e.has_error;
}

/* ---- real mode and V86 redirection ----------------------------------------------------------- */

/* Through the vector table at base: FLAGS, CS, IP pushed as words. */
static enum x86_result deliver_ivt(struct x86_cpu *cpu, const struct x86_event *ev, u64 base, u64 flags,
				   u32 clear)
{
	struct x86_stack st;
	u16 target[2];
	enum x86_result r = x86_sys_read(cpu, base + ev->e.vector * 4, target, sizeof(target));

	if (r)
		return r;
	x86_stack_current(cpu, &st);
	r = x86_stack_push(cpu, &st, flags, 2);
	if (!r)
		r = x86_stack_push(cpu, &st, cpu->seg[X86_CS].selector, 2);
	if (!r)
		r = x86_stack_push(cpu, &st, ev->return_rip, 2);
	if (!r && target[0] > cpu->seg[X86_CS].limit)
		r = x86_raise(cpu, X86_GP, 0);
	if (r)
		return r;
	cpu->regs[X86_RSP] = st.sp;
	cpu->regs[X86_REG_RIP] = target[0];
	cpu->rflags &= ~clear;
	x86_load_sreg_real(cpu, X86_CS, target[1]);
	return X86_BRANCH;
}

static enum x86_result deliver_real(struct x86_cpu *cpu, const struct x86_event *ev)
{
	if (ev->e.vector * 4u + 3 > cpu->idt.limit)
		return x86_raise(cpu, X86_GP, IDT_ERROR(ev->e.vector));
	return deliver_ivt(cpu, ev, cpu->idt.base, pushed_flags(cpu, ev), X86_IF | X86_TF | X86_RF | X86_AC);
}

/* INT n's bit in the 32 bytes below the I/O bitmap: clear means "to the V86 program" (SDM section 20.3.3). */
static enum x86_result redirected(struct x86_cpu *cpu, u8 vector, bool *yes)
{
	const struct x86_seg *tr = &cpu->seg[X86_TR];
	u16 io_map;
	u8 bits;
	u32 at;
	enum x86_result r;

	if (tr->unusable || !(tr->type & 8) || tr->limit < 103)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_sys_read(cpu, tr->base + 102, &io_map, 2);
	if (r)
		return r;
	at = io_map - 32u + vector / 8;
	if (io_map < 32 || at > tr->limit)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_sys_read(cpu, tr->base + at, &bits, 1);
	*yes = !r && !(bits >> (vector & 7) & 1);
	return r;
}

/* INT n in V86 mode; sets *done when it went to the V86 program's own handler (or faulted). */
static enum x86_result deliver_v86_int(struct x86_cpu *cpu, const struct x86_event *ev, bool *done)
{
	bool iopl3 = (cpu->rflags & X86_IOPL) == X86_IOPL, own = false;
	u64 flags = x86_get_rflags(cpu);
	enum x86_result r = X86_OK;

	*done = true;
	if (cpu->cr4 & X86_CR4_VME)
		r = redirected(cpu, ev->e.vector, &own);
	if (r)
		return r;
	if (!own) {
		if (!iopl3)
			return x86_raise(cpu, X86_GP, 0);
		*done = false;
		return X86_OK;
	}
	if (iopl3)
		return deliver_ivt(cpu, ev, 0, flags, X86_TF | X86_IF | X86_RF | X86_NT);
	/* The pushed image shows IOPL 3 and VIF in IF's place. */
	flags = (flags & ~(u64)X86_IF) | X86_IOPL | (flags & X86_VIF ? X86_IF : 0);
	return deliver_ivt(cpu, ev, 0, flags, X86_TF | X86_VIF | X86_RF | X86_NT);
}

/* ---- gates ----------------------------------------------------------------------------------- */

static bool gate_type_ok(const struct x86_cpu *cpu, unsigned type)
{
	if (type == X86_DESC_INT_GATE || type == X86_DESC_TRAP_GATE)
		return true;
	return !x86_long_mode(cpu) &&
	       (type == X86_DESC_TASK_GATE || type == X86_DESC_INT_GATE16 || type == X86_DESC_TRAP_GATE16);
}

static unsigned gate_size(const struct x86_cpu *cpu, unsigned type)
{
	if (x86_long_mode(cpu))
		return 8;
	return type & 8 ? 4 : 2;
}

static enum x86_result read_idt(struct x86_cpu *cpu, const struct x86_event *ev, struct idt_gate *g)
{
	unsigned size = x86_long_mode(cpu) ? 16 : 8, vector = ev->e.vector;
	u64 raw[2] = { 0, 0 };
	struct x86_seg d;
	enum x86_result r;

	if (vector * size + size - 1 > cpu->idt.limit)
		return x86_raise(cpu, X86_GP, IDT_ERROR(vector));
	r = x86_sys_read(cpu, cpu->idt.base + vector * size, raw, size);
	if (r)
		return r;
	x86_unpack_descriptor(raw[0], 0, 0, &d);
	if (d.s || !gate_type_ok(cpu, d.type))
		return x86_raise(cpu, X86_GP, IDT_ERROR(vector));
	if (ev->kind == X86_EVENT_SOFT && d.dpl < cpu->cpl)
		return x86_raise(cpu, X86_GP, IDT_ERROR(vector));
	if (!d.present)
		return x86_raise(cpu, X86_NP, IDT_ERROR(vector));
	g->type = d.type;
	g->size = gate_size(cpu, d.type);
	g->ist = raw[0] >> 32 & 7;
	g->selector = (u16)(raw[0] >> 16);
	g->offset = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000) | raw[1] << 32;
	if (g->size == 2)
		g->offset &= 0xffff;
	return X86_OK;
}

static enum x86_result read_handler(struct x86_cpu *cpu, const struct idt_gate *g, struct x86_seg *cs)
{
	enum x86_result r;
	bool ok;

	if (x86_sel_null(g->selector))
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_seg(cpu, g->selector, X86_GP, cs);
	if (r)
		return r;
	ok = x86_seg_is_code(cs) && cs->dpl <= cpu->cpl;
	if (x86_long_mode(cpu) && (!cs->l || cs->db))
		ok = false;
	if (cpu->mode == X86_MODE_V86 && (x86_seg_conforming(cs) || cs->dpl != 0))
		ok = false;
	if (!ok)
		return x86_raise(cpu, X86_GP, x86_sel_error(g->selector));
	if (!cs->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(g->selector));
	return X86_OK;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Chooses the stack of a handler at cpl (SDM sections 6.12.1, 6.14.2, 6.14.5). */
static enum x86_result choose_stack(struct x86_cpu *cpu, const struct idt_gate *g, u8 cpl,
				    struct x86_stack *st)
{
	enum x86_result r = X86_OK;

	if (x86_long_mode(cpu) && g->ist)
		r = x86_stack_ist(cpu, g->ist, cpl, st);
	else if (cpl != cpu->cpl)
		r = x86_stack_inner(cpu, cpl, st);
	else
		x86_stack_current(cpu, st);
	if (!r && x86_long_mode(cpu)) {
		st->size = 8;
		st->sp &= ~0xfull;
	}
	return r;
}

static enum x86_result push_v86_segs(struct x86_cpu *cpu, struct x86_stack *st, unsigned size)
{
	static const u8 order[] = { X86_GS, X86_FS, X86_DS, X86_ES };
	enum x86_result r = X86_OK;

	for (unsigned i = 0; i < ARRAY_SIZE(order) && !r; i++)
		r = x86_stack_push(cpu, st, cpu->seg[order[i]].selector, size);
	return r;
}

/* The whole frame of 64-bit mode at once, where the TLB has its place; else nothing. */
static bool store_frame(struct x86_cpu *cpu, const struct x86_event *ev, struct x86_stack *st)
{
	unsigned n = 5 + pushes_error(ev);
	const struct x86_tlb_entry *set = st->access & X86_ACCESS_SYSTEM ? x86_system_tlb(cpu) : cpu->tlb;
	u64 *frame = x86_tlb_peek(set, st->sp - 8 * n, 8 * n, true);

	if (!frame || (st->access & X86_ACCESS_USER))
		return false;
	st->sp -= 8 * n;
	if (n == 6)
		*frame++ = ev->e.error;
	frame[0] = ev->return_rip;
	frame[1] = cpu->seg[X86_CS].selector;
	frame[2] = pushed_flags(cpu, ev);
	frame[3] = cpu->regs[X86_RSP];
	frame[4] = cpu->seg[X86_SS].selector;
	return true;
}

static enum x86_result push_frame(struct x86_cpu *cpu, const struct x86_event *ev, struct x86_stack *st,
				  unsigned size, bool push_stack)
{
	enum x86_result r = X86_OK;

	if (size == 8 && store_frame(cpu, ev, st))
		return X86_OK;
	if (cpu->mode == X86_MODE_V86)
		r = push_v86_segs(cpu, st, size);
	if (!r && push_stack)
		r = x86_stack_push(cpu, st, cpu->seg[X86_SS].selector, size);
	if (!r && push_stack)
		r = x86_stack_push(cpu, st, cpu->regs[X86_RSP], size);
	if (!r)
		r = x86_stack_push(cpu, st, pushed_flags(cpu, ev), size);
	if (!r)
		r = x86_stack_push(cpu, st, cpu->seg[X86_CS].selector, size);
	if (!r)
		r = x86_stack_push(cpu, st, ev->return_rip, size);
	if (!r && pushes_error(ev))
		r = x86_stack_push(cpu, st, ev->e.error, size);
	return r;
}

static void leave_v86(struct x86_cpu *cpu)
{
	static const u8 data[] = { X86_ES, X86_DS, X86_FS, X86_GS };

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		x86_null_seg(&cpu->seg[data[i]], 0, 0);
}

static void enter_handler(struct x86_cpu *cpu, const struct idt_gate *g, const struct x86_seg *cs, u8 cpl,
			  const struct x86_stack *st)
{
	if (cpu->mode == X86_MODE_V86)
		leave_v86(cpu);
	cpu->seg[X86_SS] = st->ss;
	cpu->regs[X86_RSP] = st->sp;
	cpu->seg[X86_CS] = *cs;
	cpu->seg[X86_CS].selector = (cs->selector & ~X86_SEL_RPL) | cpl;
	cpu->regs[X86_REG_RIP] = g->offset;
	cpu->rflags &= ~(X86_TF | X86_NT | X86_RF | X86_VM);
	if (!(g->type & 1)) /* interrupt gate */
		cpu->rflags &= ~X86_IF;
	x86_mode_update(cpu);
}

/* A task gate; the old task's saved flags have RF as a pushed image would. */
static enum x86_result deliver_task(struct x86_cpu *cpu, const struct x86_event *ev, const struct idt_gate *g)
{
	u32 rflags = cpu->rflags;
	enum x86_result r;

	if (sets_rf(ev))
		cpu->rflags |= X86_RF;
	r = x86_task_switch(cpu, g->selector, X86_TASK_GATE, ev->return_rip, pushes_error(ev), ev->e.error);
	if (r == X86_FAULT || r == X86_EXIT)
		cpu->rflags = rflags;
	return r;
}

static enum x86_result deliver_gate(struct x86_cpu *cpu, const struct x86_event *ev)
{
	struct x86_stack st;
	struct idt_gate g = { .size = 4 };
	struct x86_seg cs;
	u8 cpl;
	enum x86_result r = read_idt(cpu, ev, &g);

	if (r)
		return r;
	if (g.type == X86_DESC_TASK_GATE)
		return deliver_task(cpu, ev, &g);
	r = read_handler(cpu, &g, &cs);
	if (r)
		return r;
	cpl = x86_seg_conforming(&cs) ? cpu->cpl : cs.dpl;
	r = choose_stack(cpu, &g, cpl, &st);
	if (!r)
		r = push_frame(cpu, ev, &st, g.size, x86_long_mode(cpu) || cpl != cpu->cpl);
	if (!r)
		r = x86_check_rip(cpu, &cs, g.offset);
	if (!r)
		r = x86_mark_descriptor(cpu, &cs, 1);
	if (r)
		return r;
	enter_handler(cpu, &g, &cs, cpl, &st);
	return X86_BRANCH;
}

static enum x86_result deliver_once(struct x86_cpu *cpu, const struct x86_event *ev)
{
	bool done = false;
	enum x86_result r;

	if (cpu->mode == X86_MODE_REAL)
		return deliver_real(cpu, ev);
	if (cpu->mode == X86_MODE_V86 && ev->kind == X86_EVENT_SOFT && !ev->no_redirect) {
		r = deliver_v86_int(cpu, ev, &done);
		if (done)
			return r;
	}
	return deliver_gate(cpu, ev);
}

/* ---- events in sequence ---------------------------------------------------------------------- */

/* What an exception changes beside the frame: CR2; DR6, DR7.GD and DEBUGCTL (SDM sections 17.2.4, 17.4.1). */
static void apply_payload(struct x86_cpu *cpu, const struct x86_event *ev)
{
	u64 bits = ev->e.payload;

	if (ev->e.vector == X86_DB && (ev->kind == X86_EVENT_EXCEPTION || ev->kind == X86_EVENT_ICEBP)) {
		cpu->dr7 &= ~(u64)DR7_GD;
		cpu->msr.debugctl &= ~DEBUGCTL_LBR_BTF;
	}
	if (ev->kind != X86_EVENT_EXCEPTION)
		return;
	if (ev->e.vector == X86_PF_VECTOR)
		cpu->cr2 = bits;
	if (ev->e.vector == X86_DB) {
		cpu->dr6 = (cpu->dr6 & ~(u64)DR6_TRAP_BITS) | DR6_ACTIVE_LOW | bits;
		cpu->dr6 ^= bits & DR6_ACTIVE_LOW; /* RTM and bus lock report by 0 */
	}
}

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum fault_class fault_class(unsigned vector)
{
	switch (vector) {
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SS_VECTOR:
	case X86_GP:
		return CONTRIBUTORY;
	case X86_PF_VECTOR:
		return PAGE_FAULT;
	default:
		return BENIGN;
	}
}

/* The event that follows when cpu->fault came up in delivering *ev (SDM table 6-5). false: shutdown. */
static bool next_event(struct x86_cpu *cpu, struct x86_event *ev)
{
	unsigned first = ev->kind == X86_EVENT_EXCEPTION ? ev->e.vector : X86_NMI;
	enum fault_class a = fault_class(first), b = fault_class(cpu->fault.vector);
	bool both = (a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN);

	if (cpu->fault.vector == X86_PF_VECTOR)
		cpu->cr2 = cpu->fault.payload;
	if (first == X86_DF_VECTOR && b != BENIGN)
		return false;
	if (both)
		x86_raise(cpu, X86_DF_VECTOR, 0);
	*ev = (struct x86_event) { .kind = X86_EVENT_EXCEPTION, .e = cpu->fault, .return_rip = x86_rip(cpu) };
	return true;
}

/* Selector-format error codes tell that the fault came with an event (EXT, SDM section 6.13). */
static void set_ext(struct x86_exception *e)
{
	if (e->vector >= X86_TS && e->vector <= X86_GP)
		e->error |= 1;
}

static void delivered(struct x86_cpu *cpu, const struct x86_event *ev)
{
	cpu->shadow = 0;
	cpu->activity = X86_ACTIVE;
	if (ev->kind == X86_EVENT_NMI)
		cpu->nmi_masked = true;
}

static bool by_instruction(const struct x86_event *ev)
{
	return ev->kind == X86_EVENT_SOFT || ev->kind == X86_EVENT_ICEBP;
}

enum x86_result x86_deliver(struct x86_cpu *cpu, const struct x86_event *event)
{
	struct x86_event ev = *event;

	for (;;) {
		u16 task = cpu->seg[X86_TR].selector;
		enum x86_result r;

		apply_payload(cpu, &ev);
		r = deliver_once(cpu, &ev);
		if (r == X86_BRANCH)
			delivered(cpu, &ev);
		if (r != X86_FAULT)
			return r;
		if (ev.kind != X86_EVENT_SOFT)
			set_ext(&cpu->fault);
		if (by_instruction(&ev) && task == cpu->seg[X86_TR].selector)
			return X86_FAULT;
		if (!next_event(cpu, &ev)) {
			cpu->activity = X86_SHUTDOWN;
			return X86_BRANCH;
		}
	}
}

enum x86_result x86_deliver_fault(struct x86_cpu *cpu)
{
	struct x86_event ev = { .kind = X86_EVENT_EXCEPTION, .e = cpu->fault, .return_rip = x86_rip(cpu) };

	return x86_deliver(cpu, &ev);
}
