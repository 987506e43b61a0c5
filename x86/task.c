/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hardware task switches between 16- and 32-bit task state segments (SDM vol. 3 chapter 7; AMD APM vol.
 * 2 chapter 12).
 *
 * Two halves. Up to commit_old() everything is read, checked and probed for writing, and faults belong
 * to the old task, which can run its instruction again. From load_new() on the new task is there: a
 * fault is one of its own, at its first instruction.
 */
#include "x86/paging.h"
#include "x86/segment.h"

/* The dynamic part of a TSS, independent of its size. */
struct task {
	u32 cr3, eip, eflags;
	u32 regs[8];	/* in encoding order */
	u16 sel[6];	/* ES, CS, SS, DS, FS, GS */
	u16 ldt;
	bool trap;	/* T: #DB on entry */
};

/* What a switch is about. */
struct task_switch {
	enum x86_task_reason reason;
	struct x86_seg tss;	/* new */
	u64 tss_descriptor;	/* linear addresses of the descriptors */
	u64 old_descriptor;
	u64 return_rip;
	bool has_error;
	u32 error;
};

#define DR6_BT BIT64(15)
#define DR7_LOCAL 0x155ull /* L0..L3, LE */
#define TASK_FLAGS (X86_FLAGS_STATUS | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | X86_VM | \
		    X86_AC | X86_VIF | X86_VIP | X86_ID)

static bool nests(enum x86_task_reason reason)
{
	return reason == X86_TASK_CALL || reason == X86_TASK_GATE;
}

/* ---- TSS formats (SDM figures 7-2, 7-10) ----------------------------------------------------- */

struct tss32 {
	u32 link, stacks[6], cr3, eip, eflags, regs[8], sel[6], ldt;
	u16 trap, io_map;
};

struct tss16 {
	u16 link, stacks[6], ip, flags, regs[8], sel[4], ldt;
};

_Static_assert(sizeof(struct tss32) == 104 && sizeof(struct tss16) == 44, "formats of the manual");

static bool wide(const struct x86_seg *tss)
{
	return tss->type & 8;
}

static enum x86_result read_tss(struct x86_cpu *cpu, const struct x86_seg *tss, struct task *t)
{
	struct tss32 w;
	struct tss16 n;
	enum x86_result r;

	*t = (struct task) { .cr3 = 0 };
	if (!wide(tss)) {
		r = x86_sys_read(cpu, tss->base, &n, sizeof(n));
		t->eip = n.ip;
		t->eflags = n.flags;
		t->ldt = n.ldt;
		for (unsigned i = 0; i < 8; i++)
			t->regs[i] = n.regs[i];
		memcpy(t->sel, n.sel, sizeof(n.sel));
		return r;
	}
	r = x86_sys_read(cpu, tss->base, &w, 64);
	if (!r)
		r = x86_sys_read(cpu, tss->base + 64, (u8 *)&w + 64, sizeof(w) - 64);
	t->cr3 = w.cr3;
	t->eip = w.eip;
	t->eflags = w.eflags;
	t->ldt = (u16)w.ldt;
	t->trap = w.trap & 1;
	memcpy(t->regs, w.regs, sizeof(w.regs));
	for (unsigned i = 0; i < 6; i++)
		t->sel[i] = (u16)w.sel[i];
	return r;
}

/* The part of the old TSS that a switch writes: from EIP to the last selector. */
struct saved {
	union {
		struct {
			u32 eip, eflags, regs[8], sel[6];
		} w;
		struct {
			u16 ip, flags, regs[8], sel[4];
		} n;
	};
};

static void save_state(const struct x86_cpu *cpu, struct saved *s, u64 rip, u32 flags)
{
	if (wide(&cpu->seg[X86_TR])) {
		s->w.eip = (u32)rip;
		s->w.eflags = flags;
		for (unsigned i = 0; i < 8; i++)
			s->w.regs[i] = (u32)cpu->regs[i];
		for (unsigned i = 0; i < 6; i++)
			s->w.sel[i] = cpu->seg[i].selector;
		return;
	}
	s->n.ip = (u16)rip;
	s->n.flags = (u16)flags;
	for (unsigned i = 0; i < 8; i++)
		s->n.regs[i] = (u16)cpu->regs[i];
	for (unsigned i = 0; i < 4; i++)
		s->n.sel[i] = cpu->seg[i].selector;
}

static enum x86_result write_saved(struct x86_cpu *cpu, const struct saved *s, unsigned access)
{
	const struct x86_seg *tr = &cpu->seg[X86_TR];
	unsigned offset = wide(tr) ? offsetof(struct tss32, eip) : offsetof(struct tss16, ip);
	unsigned size = wide(tr) ? sizeof(s->w) : sizeof(s->n);

	return cpu->mem->write(cpu, (u32)(tr->base + offset), s, size,
			       access | X86_ACCESS_SYSTEM | X86_ACCESS_WRITE);
}

/* ---- first half: checks and probes ----------------------------------------------------------- */

static enum x86_result check_tss(struct x86_cpu *cpu, u16 selector, struct task_switch *s)
{
	bool iret = s->reason == X86_TASK_IRET;
	enum x86_vector fault = iret ? X86_TS : X86_GP;
	enum x86_result r;

	if (x86_sel_null(selector) || (selector & X86_SEL_TI))
		return x86_raise(cpu, fault, x86_sel_error(selector));
	r = x86_read_seg(cpu, selector, fault, &s->tss);
	if (r)
		return r;
	if (s->tss.s || (s->tss.type & ~8u) != (iret ? X86_DESC_TSS16_BUSY : X86_DESC_TSS16))
		return x86_raise(cpu, fault, x86_sel_error(selector));
	if (!s->tss.present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	if (s->tss.limit < (wide(&s->tss) ? sizeof(struct tss32) : sizeof(struct tss16)) - 1)
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	return X86_OK;
}

/* The type byte of a descriptor may be written. */
static enum x86_result probe_descriptor(struct x86_cpu *cpu, u16 selector, u64 *gva)
{
	enum x86_result r = x86_descriptor_address(cpu, selector, X86_TS, 8, gva);
	void *host;

	*gva = (u32)(*gva + 5);
	return r ? r : cpu->mem->pin(cpu, *gva, 1, X86_ACCESS_WRITE | X86_ACCESS_SYSTEM, &host);
}

static enum x86_result probe_writes(struct x86_cpu *cpu, struct task_switch *s, const struct saved *saved)
{
	enum x86_result r = write_saved(cpu, saved, X86_ACCESS_PROBE);
	u16 link = 0;

	if (!r)
		r = probe_descriptor(cpu, s->tss.selector, &s->tss_descriptor);
	if (!r && !nests(s->reason))
		r = probe_descriptor(cpu, cpu->seg[X86_TR].selector, &s->old_descriptor);
	if (!r && nests(s->reason))
		r = cpu->mem->write(cpu, (u32)s->tss.base, &link, 2,
				    X86_ACCESS_SYSTEM | X86_ACCESS_WRITE | X86_ACCESS_PROBE);
	return r;
}

/* ---- the switch ------------------------------------------------------------------------------ */

static enum x86_result write_busy(struct x86_cpu *cpu, u64 gva, bool busy)
{
	unsigned access = X86_ACCESS_WRITE | X86_ACCESS_SYSTEM;
	enum x86_result r;
	void *host;
	u8 byte;

	r = cpu->mem->pin(cpu, gva, 1, access, &host);
	if (r)
		return r;
	if (host) {
		if (busy)
			atomic_or((u8 *)host, 2);
		else
			atomic_and((u8 *)host, (u8)~2);
		return X86_OK;
	}
	r = cpu->mem->read(cpu, gva, &byte, 1, X86_ACCESS_SYSTEM);
	if (r)
		return r;
	byte = busy ? byte | 2 : byte & ~2;
	return cpu->mem->write(cpu, gva, &byte, 1, access);
}

/* Memory of both tasks; everything was probed. */
static enum x86_result commit_old(struct x86_cpu *cpu, const struct task_switch *s, const struct saved *saved)
{
	u16 link = cpu->seg[X86_TR].selector;
	enum x86_result r = write_saved(cpu, saved, 0);

	if (!r && !nests(s->reason))
		r = write_busy(cpu, s->old_descriptor, false);
	if (!r && nests(s->reason))
		r = x86_sys_write(cpu, s->tss.base, &link, 2);
	if (!r && s->reason != X86_TASK_IRET)
		r = write_busy(cpu, s->tss_descriptor, true);
	return r;
}

/* ---- second half: in the new task ------------------------------------------------------------ */

static enum x86_result load_task_ldt(struct x86_cpu *cpu, u16 selector)
{
	struct x86_seg seg;
	enum x86_result r;

	if (x86_sel_null(selector))
		return X86_OK;
	if (selector & X86_SEL_TI)
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	r = x86_read_seg(cpu, selector, X86_TS, &seg);
	if (r)
		return r;
	if (seg.s || seg.type != X86_DESC_LDT || !seg.present)
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	cpu->seg[X86_LDTR] = seg;
	return X86_OK;
}

static enum x86_result load_task_cs(struct x86_cpu *cpu, u16 selector)
{
	u8 rpl = selector & X86_SEL_RPL;
	struct x86_seg cs;
	enum x86_result r;

	if (x86_sel_null(selector))
		return x86_raise(cpu, X86_TS, 0);
	r = x86_read_seg(cpu, selector, X86_TS, &cs);
	if (r)
		return r;
	if (!x86_seg_is_code(&cs) || (x86_seg_conforming(&cs) ? cs.dpl > rpl : cs.dpl != rpl))
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	if (!cs.present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	r = x86_mark_descriptor(cpu, &cs, 1);
	if (!r)
		cpu->seg[X86_CS] = cs;
	return r;
}

static enum x86_result load_task_data(struct x86_cpu *cpu, unsigned sreg, u16 selector)
{
	struct x86_seg seg;
	enum x86_result r;

	if (x86_sel_null(selector))
		return X86_OK;
	r = x86_read_seg(cpu, selector, X86_TS, &seg);
	if (r)
		return r;
	if (!seg.s || (seg.type & 0xa) == 8)
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	if (!x86_seg_conforming(&seg) && (seg.dpl < cpu->cpl || seg.dpl < (selector & X86_SEL_RPL)))
		return x86_raise(cpu, X86_TS, x86_sel_error(selector));
	if (!seg.present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	r = x86_mark_descriptor(cpu, &seg, 1);
	if (!r)
		cpu->seg[sreg] = seg;
	return r;
}

static enum x86_result load_task_segs(struct x86_cpu *cpu, const struct task *t)
{
	static const u8 data[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	struct x86_seg ss;
	enum x86_result r = load_task_cs(cpu, t->sel[X86_CS]);

	if (!r)
		r = x86_read_stack_seg(cpu, t->sel[X86_SS], cpu->cpl, X86_TS, &ss);
	if (!r)
		cpu->seg[X86_SS] = ss;
	for (unsigned i = 0; i < ARRAY_SIZE(data) && !r; i++)
		r = load_task_data(cpu, data[i], t->sel[data[i]]);
	x86_mode_update(cpu);
	return r;
}

/* Selectors first, invalid as yet: a fault in loading descriptors is reported with all of them in place. */
static void load_selectors(struct x86_cpu *cpu, const struct task *t)
{
	u8 cpl = t->sel[X86_CS] & X86_SEL_RPL;

	x86_null_seg(&cpu->seg[X86_LDTR], t->ldt, 0);
	for (unsigned i = X86_ES; i <= X86_GS; i++) {
		if (t->eflags & X86_VM)
			x86_load_sreg_real(cpu, i, t->sel[i]);
		else
			x86_null_seg(&cpu->seg[i], t->sel[i], i == X86_SS ? cpl : 0);
	}
	x86_mode_update(cpu);
}

static void load_registers(struct x86_cpu *cpu, const struct task_switch *s, const struct task *t)
{
	cpu->seg[X86_TR] = s->tss;
	cpu->seg[X86_TR].type |= 2;
	cpu->cr0 |= X86_CR0_TS;
	cpu->dr7 &= ~DR7_LOCAL;
	for (unsigned i = 0; i < 8; i++)
		cpu->regs[i] = t->regs[i];
	cpu->regs[X86_REG_RIP] = t->eip;
	x86_set_rflags(cpu, (t->eflags & TASK_FLAGS) | (nests(s->reason) ? X86_NT : 0));
	load_selectors(cpu, t);
}

static enum x86_result load_new(struct x86_cpu *cpu, const struct task_switch *s, const struct task *t)
{
	enum x86_result r = X86_OK;

	load_registers(cpu, s, t);
	if (wide(&s->tss) && (cpu->cr0 & X86_CR0_PG))
		r = x86_set_cr3(cpu, t->cr3);
	if (!r)
		r = load_task_ldt(cpu, t->ldt);
	if (!r && !(t->eflags & X86_VM))
		r = load_task_segs(cpu, t);
	if (!r && s->has_error)
		r = x86_push(cpu, &cpu->regs[X86_RSP], s->error, wide(&s->tss) ? 4 : 2, 0);
	if (!r && t->eip > cpu->seg[X86_CS].limit)
		r = x86_raise(cpu, X86_GP, 0);
	if (r)
		return r;
	if (t->trap) {
		cpu->pending_dr6 |= DR6_BT;
		atomic_or(&cpu->stop, X86_STOP_EVENT);
	}
	return X86_BRANCH;
}

static u32 saved_flags(const struct x86_cpu *cpu, enum x86_task_reason reason)
{
	u32 flags = (u32)x86_get_rflags(cpu);

	return reason == X86_TASK_IRET ? flags & ~X86_NT : flags;
}

enum x86_result x86_task_switch(struct x86_cpu *cpu, u16 tss_selector, enum x86_task_reason reason,
				u64 return_rip, bool has_error, u32 error)
{
	struct task_switch s = { .reason = reason, .return_rip = return_rip, .has_error = has_error,
				 .error = error };
	struct saved saved;
	struct task new_task;
	enum x86_result r = check_tss(cpu, tss_selector, &s);

	if (r)
		return r;
	memset(&saved, 0, sizeof(saved));
	save_state(cpu, &saved, return_rip, saved_flags(cpu, reason));
	r = read_tss(cpu, &s.tss, &new_task);
	if (!r)
		r = probe_writes(cpu, &s, &saved);
	if (!r)
		r = commit_old(cpu, &s, &saved);
	if (r)
		return r;
	r = load_new(cpu, &s, &new_task);
	/* The caller's instruction is another task's by now; x86_deliver() chains a gate's fault itself. */
	if (r == X86_FAULT && reason != X86_TASK_GATE)
		return x86_deliver_fault(cpu);
	return r;
}
