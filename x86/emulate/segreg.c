/* SPDX-License-Identifier: GPL-2.0-only */
/* Segment registers, descriptor tables and their registers, FS and GS bases, checks of selectors. */
#include "x86/emulate/emulate.h"

static bool canonical(const struct x86_cpu *cpu, u64 address)
{
	unsigned shift = 64 - cpu->canonical_bits;

	return (u64)((s64)(address << shift) >> shift) == address;
}

/* SGDT, SIDT, SLDT, STR, SMSW outside CPL 0. */
static bool umip_forbids(const struct x86_cpu *cpu)
{
	return cpu->cpl && (cpu->cr4 & X86_CR4_UMIP);
}

/* ---- MOV, LDS... ----------------------------------------------------------------------------- */

enum x86_result x86_exec_mov_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned sreg = insn->operand[0].reg;
	enum x86_result r;
	u64 value;

	if (insn->operand[0].kind != X86_OPD_SREG)
		return x86_operand_write(cpu, insn, 0, cpu->seg[insn->operand[1].reg].selector);
	if (sreg == X86_CS)
		return x86_raise(cpu, X86_UD, 0);
	r = x86_operand_read(cpu, insn, 1, &value);
	if (likely(!r))
		r = x86_load_sreg(cpu, sreg, (u16)value);
	if (unlikely(r) || sreg != X86_SS)
		return r;
	cpu->shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	return X86_END;
}

static unsigned far_sreg(unsigned op)
{
	switch (op) {
	case X86_OP_LDS:
		return X86_DS;
	case X86_OP_LES:
		return X86_ES;
	case X86_OP_LFS:
		return X86_FS;
	case X86_OP_LGS:
		return X86_GS;
	default:
		return X86_SS;
	}
}

enum x86_result x86_exec_load_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 ea = x86_ea(cpu, insn), offset, selector;
	enum x86_result r;

	r = x86_mem_read(cpu, insn->seg, ea, insn->osize, &offset);
	if (likely(!r))
		r = x86_mem_read(cpu, insn->seg, ea_add(insn, ea, insn->osize), 2, &selector);
	if (likely(!r))
		r = x86_load_sreg(cpu, far_sreg(insn->op), (u16)selector);
	if (unlikely(r))
		return r;
	reg_write(cpu, insn->operand[0].reg, offset, insn->osize);
	return insn->op == X86_OP_LSS ? X86_END : X86_OK;
}

/* ---- GDTR, IDTR ------------------------------------------------------------------------------ */

enum x86_result x86_exec_lgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->osize == 8 ? 8 : 4;
	u64 ea = x86_ea(cpu, insn), limit, base;
	enum x86_result r;

	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_mem_read(cpu, insn->seg, ea, 2, &limit);
	if (likely(!r))
		r = x86_mem_read(cpu, insn->seg, ea_add(insn, ea, 2), size, &base);
	if (unlikely(r))
		return r;
	if (insn->osize == 2)
		base &= 0xffffff;
	if (size == 8 && !canonical(cpu, base))
		return x86_raise(cpu, X86_GP, 0);
	*(insn->op == X86_OP_LGDT ? &cpu->gdt : &cpu->idt) = (struct x86_dtr) { base, (u16)limit };
	return X86_OK;
}

/* All 32 bits of the base are stored with a 16-bit operand size too (SDM vol. 2, SGDT). */
enum x86_result x86_exec_sgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct x86_dtr *dtr = insn->op == X86_OP_SGDT ? &cpu->gdt : &cpu->idt;
	unsigned size = insn->osize == 8 ? 10 : 6;
	enum x86_result r;
	u8 image[10];
	u64 gva;

	if (umip_forbids(cpu))
		return x86_raise(cpu, X86_GP, 0);
	MEM_STORE(16, image, dtr->limit);
	MEM_STORE(64, image + 2, dtr->base);
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), size, X86_ACCESS_WRITE, &gva);
	return unlikely(r) ? r : x86_write_bytes(cpu, gva, image, size, X86_ACCESS_WRITE);
}

/* ---- LDTR, TR -------------------------------------------------------------------------------- */

static enum x86_result load_system(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned sreg)
{
	enum x86_result r;
	u64 selector;

	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_operand_read(cpu, insn, 0, &selector);
	return unlikely(r) ? r : x86_load_sreg(cpu, sreg, (u16)selector);
}

enum x86_result x86_exec_lldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return load_system(cpu, insn, X86_LDTR);
}

enum x86_result x86_exec_ltr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return load_system(cpu, insn, X86_TR);
}

/* SLDT and STR. */
enum x86_result x86_exec_sldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned sreg = insn->op == X86_OP_SLDT ? X86_LDTR : X86_TR;

	if (umip_forbids(cpu))
		return x86_raise(cpu, X86_GP, 0);
	return x86_operand_write(cpu, insn, 0, cpu->seg[sreg].selector);
}

/* ---- LAR, LSL, VERR, VERW, ARPL -------------------------------------------------------------- */

/*
 * Reads the descriptor for a check that answers in ZF; *found is false where it cannot be read without a
 * fault.
 */
static enum x86_result look_up(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n,
			       bool *found, u64 *raw,
			       struct x86_seg *seg)
{
	enum x86_result r;
	u64 selector;

	r = x86_operand_read(cpu, insn, n, &selector);
	if (unlikely(r))
		return r;
	*found = false;
	if (!(selector & 0xfffc))
		return X86_OK;
	r = x86_read_descriptor(cpu, (u16)selector, X86_GP, raw, NULL);
	if (r == X86_FAULT && cpu->fault.vector == X86_GP)
		return X86_OK; /* beyond the table's limit */
	if (unlikely(r))
		return r;
	x86_unpack_descriptor(*raw, 0, (u16)selector, seg);
	*found = true;
	return X86_OK;
}

static bool is_conforming(const struct x86_seg *seg)
{
	return seg->s && (seg->type & 0xc) == 0xc;
}

static bool privilege_allows(const struct x86_cpu *cpu, const struct x86_seg *seg)
{
	return is_conforming(seg) || (cpu->cpl <= seg->dpl && (seg->selector & 3) <= seg->dpl);
}

/* Types of system descriptors that each accepts, a bit per type (SDM vol. 2, LAR and LSL, tables). */
#define LAR_TYPES (BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(9) | BIT(11) | BIT(12))
#define LAR_TYPES_LONG (BIT(2) | BIT(9) | BIT(11) | BIT(12))
#define LSL_TYPES (BIT(1) | BIT(2) | BIT(3) | BIT(9) | BIT(11))
#define LSL_TYPES_LONG (BIT(2) | BIT(9) | BIT(11))

static bool visible(const struct x86_cpu *cpu, const struct x86_seg *seg, u32 types, u32 types_long)
{
	if (!seg->s && !((x86_long_mode(cpu) ? types_long : types) >> seg->type & 1))
		return false;
	return privilege_allows(cpu, seg);
}

static enum x86_result answer(struct x86_cpu *cpu, bool yes)
{
	cc_update(cpu, X86_ZF, yes ? X86_ZF : 0);
	return X86_OK;
}

enum x86_result x86_exec_lar(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_seg seg;
	enum x86_result r;
	bool found;
	u64 raw;

	r = look_up(cpu, insn, 1, &found, &raw, &seg);
	if (unlikely(r))
		return r;
	found = found && visible(cpu, &seg, LAR_TYPES, LAR_TYPES_LONG);
	if (found)
		reg_write(cpu, insn->operand[0].reg, raw >> 32 & 0xffff00, insn->osize);
	return answer(cpu, found);
}

enum x86_result x86_exec_lsl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_seg seg;
	enum x86_result r;
	bool found;
	u64 raw;

	r = look_up(cpu, insn, 1, &found, &raw, &seg);
	if (unlikely(r))
		return r;
	found = found && visible(cpu, &seg, LSL_TYPES, LSL_TYPES_LONG);
	if (found)
		reg_write(cpu, insn->operand[0].reg, seg.limit, insn->osize);
	return answer(cpu, found);
}

/* VERR: data or readable code. VERW: writable data. */
enum x86_result x86_exec_verr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_seg seg;
	enum x86_result r;
	bool found;
	u64 raw;

	r = look_up(cpu, insn, 0, &found, &raw, &seg);
	if (unlikely(r))
		return r;
	if (found && insn->op == X86_OP_VERR)
		found = seg.s && (seg.type & 0xa) != 8;
	else if (found)
		found = seg.s && (seg.type & 0xa) == 2;
	return answer(cpu, found && privilege_allows(cpu, &seg));
}

/* The destination is read, and written only if it changes: a read-only page is no fault otherwise. */
enum x86_result x86_exec_arpl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	bool raise;
	u64 d, s;

	x86_operand_read(cpu, insn, 1, &s);
	r = x86_operand_read(cpu, insn, 0, &d);
	if (unlikely(r))
		return r;
	raise = (d & 3) < (s & 3);
	if (raise)
		r = x86_operand_write(cpu, insn, 0, (d & ~3ull) | (s & 3));
	return unlikely(r) ? r : answer(cpu, raise);
}

/* ---- FS and GS bases ------------------------------------------------------------------------- */

enum x86_result x86_exec_swapgs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 base = cpu->seg[X86_GS].base;

	(void)insn;
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	cpu->seg[X86_GS].base = cpu->msr.kernel_gs_base;
	cpu->seg_base[X86_GS] = cpu->msr.kernel_gs_base;
	cpu->msr.kernel_gs_base = base;
	return X86_OK;
}

static unsigned base_sreg(const struct x86_insn *insn)
{
	return insn->op == X86_OP_RDFSBASE || insn->op == X86_OP_WRFSBASE ? X86_FS : X86_GS;
}

enum x86_result x86_exec_rdbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!(cpu->cr4 & X86_CR4_FSGSBASE))
		return x86_raise(cpu, X86_UD, 0);
	reg_write(cpu, insn->operand[0].reg, cpu->seg[base_sreg(insn)].base, insn->osize);
	return X86_OK;
}

enum x86_result x86_exec_wrbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 base = reg_read(cpu, insn->operand[0].reg, insn->osize);

	if (!(cpu->cr4 & X86_CR4_FSGSBASE))
		return x86_raise(cpu, X86_UD, 0);
	if (!canonical(cpu, base))
		return x86_raise(cpu, X86_GP, 0);
	cpu->seg[base_sreg(insn)].base = base;
	cpu->seg_base[base_sreg(insn)] = base;
	return X86_OK;
}
