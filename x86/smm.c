/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System-management mode (AMD APM vol. 2 chapter 10; SDM vol. 3 chapter 31).
 *
 * The state save area has KVM's two formats: AMD64's for processors with long mode (revision 0x20064),
 * the 32-bit one of the P6 (0x20000) without. Their fields are a table each, so that saving and
 * restoring cannot disagree.
 */
#include "x86/segment.h"

#define AREA_BASE 0x7e00u	/* offsets are given as in the manuals, from SMBASE + 0x8000 */
#define AREA_SIZE 512u
#define SMM_ENTRY 0x8000u

enum { REVISION_32 = 0x20000, REVISION_64 = 0x20064 };

struct area {
	u8 bytes[AREA_SIZE];
};

static void put(struct area *a, unsigned offset, u64 value, unsigned size)
{
	memcpy(a->bytes + offset - AREA_BASE, &value, size);
}

static u64 get(const struct area *a, unsigned offset, unsigned size)
{
	u64 value = 0;

	memcpy(&value, a->bytes + offset - AREA_BASE, size);
	return value;
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* A plain u64 of struct x86_cpu and where it goes. */
struct field {
	u16 offset;
	u8 size;
	u16 member;
};

#define F(off, size, m) { off, size, offsetof(struct x86_cpu, m) }

static const struct field fields64[] = {
	F(0x7ff8, 8, regs[X86_RAX]), F(0x7ff0, 8, regs[X86_RCX]), F(0x7fe8, 8, regs[X86_RDX]),
	F(0x7fe0, 8, regs[X86_RBX]), F(0x7fd8, 8, regs[X86_RSP]), F(0x7fd0, 8, regs[X86_RBP]),
	F(0x7fc8, 8, regs[X86_RSI]), F(0x7fc0, 8, regs[X86_RDI]), F(0x7fb8, 8, regs[X86_R8]),
	F(0x7fb0, 8, regs[X86_R9]), F(0x7fa8, 8, regs[X86_R10]), F(0x7fa0, 8, regs[X86_R11]),
	F(0x7f98, 8, regs[X86_R12]), F(0x7f90, 8, regs[X86_R13]), F(0x7f88, 8, regs[X86_R14]),
	F(0x7f80, 8, regs[X86_R15]), F(0x7f78, 8, regs[X86_REG_RIP]), F(0x7f68, 8, dr6), F(0x7f60, 8, dr7),
	F(0x7e88, 8, idt.base), F(0x7e68, 8, gdt.base),
};

static const struct field fields32[] = {
	F(0x7fd0, 4, regs[X86_RAX]), F(0x7fd4, 4, regs[X86_RCX]), F(0x7fd8, 4, regs[X86_RDX]),
	F(0x7fdc, 4, regs[X86_RBX]), F(0x7fe0, 4, regs[X86_RSP]), F(0x7fe4, 4, regs[X86_RBP]),
	F(0x7fe8, 4, regs[X86_RSI]), F(0x7fec, 4, regs[X86_RDI]), F(0x7ff0, 4, regs[X86_REG_RIP]),
	F(0x7fcc, 4, dr6), F(0x7fc8, 4, dr7), F(0x7f74, 4, gdt.base), F(0x7f58, 4, idt.base),
};

static u64 *member(struct x86_cpu *cpu, const struct field *f)
{
	return (u64 *)((char *)cpu + f->member);
}

static void save_fields(struct x86_cpu *cpu, struct area *a, const struct field *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(a, f[i].offset, *member(cpu, &f[i]), f[i].size);
}

static void restore_fields(struct x86_cpu *cpu, const struct area *a, const struct field *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		*member(cpu, &f[i]) = get(a, f[i].offset, f[i].size);
}

/* ---- segments -------------------------------------------------------------------------------- */

/* Attributes as in the high half of a descriptor; an unusable segment is one that is not present. */
static u32 seg_flags(const struct x86_seg *s)
{
	bool present = s->present && !s->unusable;

	return (u32)s->g << 23 | (u32)s->db << 22 | (u32)s->l << 21 | (u32)s->avl << 20 | (u32)present << 15 |
	       (u32)s->dpl << 13 | (u32)s->s << 12 | (u32)s->type << 8;
}

static void set_seg(struct x86_seg *s, u16 selector, u64 base, u32 limit, u32 flags)
{
	*s = (struct x86_seg) { .base = base, .limit = limit, .selector = selector, .type = flags >> 8 & 15,
				.dpl = flags >> 13 & 3, .s = flags >> 12 & 1, .present = flags >> 15 & 1,
				.avl = flags >> 20 & 1, .l = flags >> 21 & 1, .db = flags >> 22 & 1,
				.g = flags >> 23 & 1 };
	s->unusable = !s->present;
}

/* 64-bit format: 16 bytes each, ES at 0x7e00 to GS; GDTR 0x7e60, LDTR 0x7e70, IDTR 0x7e80, TR 0x7e90. */
static const u16 seg_offset64[X86_NR_SREGS] = {
	0x7e00, 0x7e10, 0x7e20, 0x7e30, 0x7e40, 0x7e50, 0x7e70, 0x7e90,
};

static void save_seg64(struct x86_cpu *cpu, struct area *a, unsigned i)
{
	const struct x86_seg *s = &cpu->seg[i];
	unsigned at = seg_offset64[i];

	put(a, at, s->selector, 2);
	put(a, at + 2, seg_flags(s) >> 8, 2);
	put(a, at + 4, s->limit, 4);
	put(a, at + 8, s->base, 8);
}

static void restore_seg64(struct x86_cpu *cpu, const struct area *a, unsigned i)
{
	unsigned at = seg_offset64[i];

	set_seg(&cpu->seg[i], (u16)get(a, at, 2), get(a, at + 8, 8), (u32)get(a, at + 4, 4),
		(u32)get(a, at + 2, 2) << 8);
}

/* 32-bit format: selectors and descriptors (attributes, limit, base) in two places. */
static const struct {
	u16 selector, descriptor;
} seg_offset32[X86_NR_SREGS] = {
	{ 0x7fa8, 0x7f84 }, { 0x7fac, 0x7f90 }, { 0x7fb0, 0x7f9c }, { 0x7fb4, 0x7f2c }, { 0x7fb8, 0x7f38 },
	{ 0x7fbc, 0x7f44 }, { 0x7fc0, 0x7f78 }, { 0x7fc4, 0x7f5c },
};

static void save_seg32(struct x86_cpu *cpu, struct area *a, unsigned i)
{
	const struct x86_seg *s = &cpu->seg[i];
	unsigned at = seg_offset32[i].descriptor;

	put(a, seg_offset32[i].selector, s->selector, 4);
	put(a, at, seg_flags(s), 4);
	put(a, at + 4, s->limit, 4);
	put(a, at + 8, s->base, 4);
}

static void restore_seg32(struct x86_cpu *cpu, const struct area *a, unsigned i)
{
	unsigned at = seg_offset32[i].descriptor;

	set_seg(&cpu->seg[i], (u16)get(a, seg_offset32[i].selector, 4), get(a, at + 8, 4),
		(u32)get(a, at + 4, 4), (u32)get(a, at, 4));
}

/* ---- SMI ------------------------------------------------------------------------------------- */

static void save_64(struct x86_cpu *cpu, struct area *a)
{
	save_fields(cpu, a, fields64, ARRAY_SIZE(fields64));
	put(a, 0x7f70, x86_get_rflags(cpu), 4);
	put(a, 0x7f58, cpu->cr0, 8);
	put(a, 0x7f50, cpu->cr3, 8);
	put(a, 0x7f48, cpu->cr4, 8);
	put(a, 0x7f00, cpu->smbase, 4);
	put(a, 0x7efc, REVISION_64, 4);
	put(a, 0x7ed0, cpu->efer, 8);
	put(a, 0x7e84, cpu->idt.limit, 4);
	put(a, 0x7e64, cpu->gdt.limit, 4);
	for (unsigned i = 0; i < X86_NR_SREGS; i++)
		save_seg64(cpu, a, i);
}

static void save_32(struct x86_cpu *cpu, struct area *a)
{
	save_fields(cpu, a, fields32, ARRAY_SIZE(fields32));
	put(a, 0x7ffc, cpu->cr0, 4);
	put(a, 0x7ff8, cpu->cr3, 4);
	put(a, 0x7ff4, x86_get_rflags(cpu), 4);
	put(a, 0x7f70, cpu->gdt.limit, 4);
	put(a, 0x7f54, cpu->idt.limit, 4);
	put(a, 0x7f14, cpu->cr4, 4);
	put(a, 0x7efc, REVISION_32, 4);
	put(a, 0x7ef8, cpu->smbase, 4);
	for (unsigned i = 0; i < X86_NR_SREGS; i++)
		save_seg32(cpu, a, i);
}

static void enter_segments(struct x86_cpu *cpu)
{
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		cpu->seg[i] = (struct x86_seg) { .limit = 0xffffffff, .type = 3, .s = true, .present = true,
						 .g = true };
	cpu->seg[X86_CS].selector = (u16)(cpu->smbase >> 4);
	cpu->seg[X86_CS].base = cpu->smbase;
	cpu->idt = (struct x86_dtr) { .limit = 0 };
}

enum x86_result x86_enter_smm(struct x86_cpu *cpu)
{
	struct area a;

	memset(&a, 0, sizeof(a));
	if (x86_has(cpu, X86_FEAT_LM))
		save_64(cpu, &a);
	else
		save_32(cpu, &a);
	cpu->smm = true;
	cpu->env->smm_changed(cpu);
	cpu->env->phys_write(cpu, cpu->smbase + 0x8000 + AREA_BASE, &a, sizeof(a));
	cpu->smm_inside_nmi = cpu->nmi_masked;
	cpu->nmi_masked = true;
	cpu->msr.smi_count++;
	cpu->shadow = 0;
	cpu->activity = X86_ACTIVE;
	x86_set_rflags(cpu, 0);
	cpu->regs[X86_REG_RIP] = SMM_ENTRY;
	cpu->cr0 &= ~(X86_CR0_PE | X86_CR0_EM | X86_CR0_TS | X86_CR0_PG);
	cpu->cr4 = 0;
	cpu->efer = 0;
	cpu->dr7 = X86_DR7_FIXED;
	enter_segments(cpu);
	x86_mode_update(cpu);
	cpu->mem->flush_all(cpu, false);
	cpu->env->cpuid_changed(cpu);
	return X86_BRANCH;
}

/* ---- RSM ------------------------------------------------------------------------------------- */

/* From real mode back to the saved one, in an order that the checks of each register accept. */
static bool restore_control(struct x86_cpu *cpu, u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
	u64 pcid = cr4 & X86_CR4_PCIDE ? cr3 & 0xfff : 0;

	cpu->cr0 &= ~(X86_CR0_PG | X86_CR0_PE);
	cpu->cr4 = 0;
	cpu->efer = efer & ~X86_EFER_LMA;
	x86_null_seg(&cpu->seg[X86_CS], 0, 0); /* long mode is not entered from a 64-bit segment */
	x86_mode_update(cpu);
	if (x86_set_cr3(cpu, cr3 & ~pcid) || x86_set_cr4(cpu, cr4 & ~X86_CR4_PCIDE) || x86_set_cr0(cpu, cr0))
		return false;
	if (!(cr4 & X86_CR4_PCIDE))
		return true;
	return !x86_set_cr4(cpu, cr4) && !x86_set_cr3(cpu, cr3);
}

static u64 valid_dr6(u64 value)
{
	return (value & 0xe00f) | X86_DR6_INIT;
}

static u64 valid_dr7(u64 value)
{
	return (value & 0xffff2bff) | X86_DR7_FIXED;
}

static bool restore_64(struct x86_cpu *cpu, const struct area *a)
{
	restore_fields(cpu, a, fields64, ARRAY_SIZE(fields64));
	cpu->smbase = get(a, 0x7f00, 4);
	cpu->idt.limit = (u16)get(a, 0x7e84, 4);
	cpu->gdt.limit = (u16)get(a, 0x7e64, 4);
	x86_set_rflags(cpu, get(a, 0x7f70, 4) & ~(u64)X86_VM);
	if (!restore_control(cpu, get(a, 0x7f58, 8), get(a, 0x7f50, 8), get(a, 0x7f48, 8), get(a, 0x7ed0, 8)))
		return false;
	for (unsigned i = 0; i < X86_NR_SREGS; i++)
		restore_seg64(cpu, a, i);
	x86_set_rflags(cpu, get(a, 0x7f70, 4));
	return true;
}

static bool restore_32(struct x86_cpu *cpu, const struct area *a)
{
	restore_fields(cpu, a, fields32, ARRAY_SIZE(fields32));
	cpu->smbase = get(a, 0x7ef8, 4);
	cpu->gdt.limit = (u16)get(a, 0x7f70, 4);
	cpu->idt.limit = (u16)get(a, 0x7f54, 4);
	x86_set_rflags(cpu, get(a, 0x7ff4, 4) & ~(u64)X86_VM);
	if (!restore_control(cpu, get(a, 0x7ffc, 4), get(a, 0x7ff8, 4), get(a, 0x7f14, 4), 0))
		return false;
	for (unsigned i = 0; i < X86_NR_SREGS; i++)
		restore_seg32(cpu, a, i);
	x86_set_rflags(cpu, get(a, 0x7ff4, 4));
	return true;
}

enum x86_result x86_rsm(struct x86_cpu *cpu)
{
	struct area a;
	bool ok;

	if (!cpu->smm)
		return x86_raise(cpu, X86_UD, 0);
	cpu->env->phys_read(cpu, cpu->smbase + 0x8000 + AREA_BASE, &a, sizeof(a));
	if (!cpu->smm_inside_nmi) {
		cpu->nmi_masked = false;
		cpu->env->iret_done(cpu);
	}
	cpu->smm = cpu->smm_inside_nmi = false;
	cpu->env->smm_changed(cpu);
	ok = x86_has(cpu, X86_FEAT_LM) ? restore_64(cpu, &a) : restore_32(cpu, &a);
	cpu->dr6 = valid_dr6(cpu->dr6);
	cpu->dr7 = valid_dr7(cpu->dr7);
	x86_mode_update(cpu);
	cpu->mem->flush_all(cpu, false);
	cpu->env->cpuid_changed(cpu);
	if (!ok) /* an inconsistent area shuts the processor down (APM section 10.3.7) */
		cpu->activity = X86_SHUTDOWN;
	return X86_BRANCH;
}
