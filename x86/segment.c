/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Segmentation (SDM vol. 3 chapters 3 and 5, AMD APM vol. 2 chapter 4): the state derived from mode and
 * segments, checks of data accesses, descriptors and their loading, I/O permission.
 *
 * Every function here raises all its faults before it changes the processor, so that the instruction can
 * run again; the accessed bit in memory may be set without the load completing, which hardware allows
 * itself too.
 */
#include "x86/segment.h"

/* ---- derived state --------------------------------------------------------------------------- */

static u8 cpu_mode(const struct x86_cpu *cpu)
{
	if (!(cpu->cr0 & X86_CR0_PE))
		return X86_MODE_REAL;
	if (cpu->rflags & X86_VM)
		return X86_MODE_V86;
	if (!x86_long_mode(cpu))
		return X86_MODE_PROT;
	return cpu->seg[X86_CS].l ? X86_MODE_LONG : X86_MODE_COMPAT;
}

static u8 cpu_cpl(const struct x86_cpu *cpu)
{
	if (cpu->mode == X86_MODE_REAL)
		return 0;
	return cpu->mode == X86_MODE_V86 ? 3 : cpu->seg[X86_SS].dpl;
}

/* Readable, writable, expand-up and 4 GiB long: no data access can fault. */
static bool seg_is_flat(const struct x86_seg *s)
{
	return !s->unusable && s->limit == 0xffffffff && (s->type & 0xe) == 2;
}

#define ALL_FLAT 0x3f /* ES to GS */

/* Translated code relies on it (X86_STOP_CODE). */
static void update_flat32(struct x86_cpu *cpu)
{
	u8 data = BIT(X86_ES) | BIT(X86_SS) | BIT(X86_DS);
	u64 bases = cpu->seg_base[X86_ES] | cpu->seg_base[X86_CS] | cpu->seg_base[X86_SS] | cpu->seg_base[X86_DS];
	bool flat = cpu->mode >= X86_MODE_PROT && cpu->code_bits == 32 && cpu->stack_size == 4 && !bases &&
		    cpu->seg[X86_CS].limit == 0xffffffff && (cpu->seg_flat & data) == data;

	if (cpu->flat32 && !flat)
		atomic_or(&cpu->stop, X86_STOP_CODE);
	cpu->flat32 = flat;
}

static void update_segments(struct x86_cpu *cpu)
{
	u8 flat = 0;

	for (unsigned i = 0; i < X86_NR_SREGS; i++)
		cpu->seg_base[i] = cpu->seg[i].base;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		if (seg_is_flat(&cpu->seg[i]))
			flat |= BIT(i);
	cpu->seg_flat = flat;
	update_flat32(cpu);
}

/* In 64-bit mode segments have no limits, and but for FS and GS no bases. */
static void update_segments_long(struct x86_cpu *cpu)
{
	for (unsigned i = X86_ES; i <= X86_DS; i++)
		cpu->seg_base[i] = 0;
	for (unsigned i = X86_FS; i < X86_NR_SREGS; i++)
		cpu->seg_base[i] = cpu->seg[i].base;
	cpu->seg_flat = ALL_FLAT;
	cpu->flat32 = false;
}

enum x86_tlb_set x86_data_tlb(const struct x86_cpu *cpu)
{
	if (cpu->cpl == 3)
		return X86_TLB_USER;
	return (cpu->cr4 & X86_CR4_SMAP) && !(cpu->rflags & X86_AC) ? X86_TLB_KERNEL_NOUSER : X86_TLB_KERNEL;
}

void x86_mode_update(struct x86_cpu *cpu)
{
	cpu->mode = cpu_mode(cpu);
	cpu->cpl = cpu_cpl(cpu);
	if (cpu->mode == X86_MODE_LONG) {
		cpu->code_bits = 64;
		cpu->stack_size = 8;
	} else if (cpu->mode == X86_MODE_V86) {
		cpu->code_bits = 16;
		cpu->stack_size = 2;
	} else {
		cpu->code_bits = cpu->seg[X86_CS].db ? 32 : 16;
		cpu->stack_size = cpu->seg[X86_SS].db ? 4 : 2;
	}
	cpu->canonical_bits = cpu->cr4 & X86_CR4_LA57 ? 57 : 48;
	cpu->align_check = cpu->cpl == 3 && (cpu->cr0 & X86_CR0_AM) && (cpu->rflags & X86_AC);
	cpu->tlb = x86_tlb_of(cpu, x86_data_tlb(cpu));
	if (likely(cpu->mode == X86_MODE_LONG))
		update_segments_long(cpu);
	else
		update_segments(cpu);
}

/* ---- checks of accesses ---------------------------------------------------------------------- */

bool x86_limit_ok(const struct x86_seg *s, u64 ea, unsigned size)
{
	u64 last = ea + size - (size != 0);

	if (s->s && (s->type & 0xc) == 4) /* expand-down data: above the limit is inside */
		return ea > s->limit && last <= (s->db ? 0xffffffffull : 0xffffull);
	return last <= s->limit || s->limit == 0xffffffff;
}

/* Type checks of a data access in protected mode (SDM vol. 3 section 5.5). */
static bool type_allows(const struct x86_seg *s, unsigned access)
{
	if (s->unusable)
		return false;
	if (access & (X86_ACCESS_WRITE | X86_ACCESS_RMW))
		return (s->type & 0xa) == 2;
	return (s->type & 0xa) != 8; /* execute-only code */
}

/* The alignment that #AC asks for (SDM vol. 3 table 6-7). */
static unsigned alignment(unsigned size)
{
	if (size >= 16)
		return 16;
	return size >= 8 ? 8 : size >= 4 ? 4 : size == 2 ? 2 : 1;
}

/* #AC comes after the page faults of the access (SDM vol. 3 table 6-2), so these are looked for first. */
static enum x86_result alignment_fault(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access)
{
	u8 none[64];
	enum x86_result r = cpu->mem->read(cpu, gva, none, size < sizeof(none) ? size : sizeof(none),
					   access | X86_ACCESS_PROBE);

	return r ? r : x86_raise(cpu, X86_AC_VECTOR, 0);
}

enum x86_result x86_linear_checked(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, unsigned access,
				   u64 *gva)
{
	const struct x86_seg *s = &cpu->seg[seg];
	enum x86_vector fault = seg == X86_SS ? X86_SS_VECTOR : X86_GP;
	u64 linear = cpu->seg_base[seg] + ea;

	if (cpu->mode == X86_MODE_LONG) {
		if (!x86_canonical(cpu, linear) || !x86_canonical(cpu, linear + size - (size != 0)))
			return x86_raise(cpu, fault, 0);
	} else {
		if (x86_protected(cpu) && !type_allows(s, access))
			return x86_raise(cpu, fault, 0);
		if (!x86_limit_ok(s, ea, size))
			return x86_raise(cpu, fault, 0);
		linear &= 0xffffffff;
	}
	if (cpu->align_check && !(access & X86_ACCESS_SYSTEM) && (linear & (alignment(size) - 1)))
		return alignment_fault(cpu, linear, size, access);
	*gva = linear;
	return X86_OK;
}

enum x86_result x86_check_rip(struct x86_cpu *cpu, const struct x86_seg *cs, u64 rip)
{
	bool ok = x86_long_mode(cpu) && cs->l ? x86_canonical(cpu, rip) : rip <= cs->limit;

	return ok ? X86_OK : x86_raise(cpu, X86_GP, 0);
}

enum x86_result x86_near_branch(struct x86_cpu *cpu, u64 target, unsigned osize)
{
	enum x86_result r;

	target &= x86_size_mask(osize);
	r = x86_check_rip(cpu, &cpu->seg[X86_CS], target);
	if (r)
		return r;
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static enum x86_result sys_address(struct x86_cpu *cpu, u64 *gva)
{
	if (!x86_long_mode(cpu))
		*gva &= 0xffffffff;
	else if (!x86_canonical(cpu, *gva))
		return x86_raise(cpu, X86_GP, 0);
	return X86_OK;
}

enum x86_result x86_sys_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size)
{
	enum x86_result r = sys_address(cpu, &gva);
	const volatile u64 *host;

	if (r)
		return r;
	if (size != 8 || !(host = x86_tlb_peek(x86_system_tlb(cpu), gva, 8, false)))
		return cpu->mem->read(cpu, gva, dst, size, X86_ACCESS_SYSTEM);
	*(u64 *)dst = *host;
	return X86_OK;
}

enum x86_result x86_sys_write(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size)
{
	enum x86_result r = sys_address(cpu, &gva);

	return r ? r : cpu->mem->write(cpu, gva, src, size, X86_ACCESS_SYSTEM | X86_ACCESS_WRITE);
}

enum x86_result x86_descriptor_address(struct x86_cpu *cpu, u16 selector, enum x86_vector fault,
				       unsigned size, u64 *gva)
{
	u32 offset = selector & ~7u;
	u64 base = cpu->gdt.base;
	u32 limit = cpu->gdt.limit;

	if (selector & X86_SEL_TI) {
		if (cpu->seg[X86_LDTR].unusable)
			return x86_raise(cpu, fault, x86_sel_error(selector));
		base = cpu->seg[X86_LDTR].base;
		limit = cpu->seg[X86_LDTR].limit;
	}
	if (offset + size - 1 > limit)
		return x86_raise(cpu, fault, x86_sel_error(selector));
	*gva = base + offset;
	return X86_OK;
}

enum x86_result x86_read_descriptor(struct x86_cpu *cpu, u16 selector, enum x86_vector fault, u64 *low,
				    u64 *high)
{
	u64 raw[2] = { 0, 0 }, gva = 0;
	unsigned size = high ? 16 : 8;
	enum x86_result r = x86_descriptor_address(cpu, selector, fault, size, &gva);

	if (!r)
		r = x86_sys_read(cpu, gva, raw, size);
	if (r)
		return r;
	*low = raw[0];
	if (high)
		*high = raw[1];
	return X86_OK;
}

void x86_unpack_descriptor(u64 low, u64 high, u16 selector, struct x86_seg *seg)
{
	u32 limit = (u32)((low & 0xffff) | (low >> 32 & 0xf0000));

	seg->g = low >> 55 & 1;
	seg->base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000) | high << 32;
	seg->limit = seg->g ? limit << 12 | 0xfff : limit;
	seg->selector = selector;
	seg->type = low >> 40 & 15;
	seg->s = low >> 44 & 1;
	seg->dpl = low >> 45 & 3;
	seg->present = low >> 47 & 1;
	seg->avl = low >> 52 & 1;
	seg->l = low >> 53 & 1;
	seg->db = low >> 54 & 1;
	seg->unusable = false;
}

enum x86_result x86_read_seg(struct x86_cpu *cpu, u16 selector, enum x86_vector fault, struct x86_seg *seg)
{
	u64 low;
	enum x86_result r = x86_read_descriptor(cpu, selector, fault, &low, NULL);

	if (!r)
		x86_unpack_descriptor(low, 0, selector, seg);
	return r;
}

enum x86_result x86_mark_descriptor(struct x86_cpu *cpu, struct x86_seg *seg, u8 bits)
{
	unsigned access = X86_ACCESS_WRITE | X86_ACCESS_SYSTEM;
	enum x86_result r;
	void *host;
	u64 gva;
	u8 byte;

	if ((seg->type & bits) == bits)
		return X86_OK;
	r = x86_descriptor_address(cpu, seg->selector, X86_GP, 8, &gva);
	if (!r)
		r = sys_address(cpu, &gva);
	gva += 5; /* the byte of type, S, DPL, P */
	if (!r)
		r = cpu->mem->pin(cpu, gva, 1, access, &host);
	if (r)
		return r;
	seg->type |= bits;
	if (host) {
		atomic_or((u8 *)host, bits);
		return X86_OK;
	}
	byte = (u8)(seg->type | seg->s << 4 | seg->dpl << 5 | seg->present << 7);
	return cpu->mem->write(cpu, gva, &byte, 1, access);
}

/* ---- loading data segments and LDTR, TR ------------------------------------------------------ */

void x86_null_seg(struct x86_seg *seg, u16 selector, u8 dpl)
{
	*seg = (struct x86_seg) { .selector = selector, .dpl = dpl, .unusable = true };
}

enum x86_result x86_check_code_bits(struct x86_cpu *cpu, const struct x86_seg *cs)
{
	if (x86_long_mode(cpu) && cs->l && cs->db)
		return x86_raise(cpu, X86_GP, x86_sel_error(cs->selector));
	return X86_OK;
}

enum x86_result x86_read_stack_seg(struct x86_cpu *cpu, u16 selector, u8 dpl, enum x86_vector fault,
				   struct x86_seg *ss)
{
	enum x86_result r;

	if (x86_sel_null(selector))
		return x86_raise(cpu, fault, 0);
	r = x86_read_seg(cpu, selector, fault, ss);
	if (r)
		return r;
	if ((selector & X86_SEL_RPL) != dpl || ss->dpl != dpl || !x86_seg_writable(ss))
		return x86_raise(cpu, fault, x86_sel_error(selector));
	if (!ss->present)
		return x86_raise(cpu, X86_SS_VECTOR, x86_sel_error(selector));
	return x86_mark_descriptor(cpu, ss, 1);
}

static enum x86_result read_data_seg(struct x86_cpu *cpu, u16 selector, struct x86_seg *seg)
{
	unsigned rpl = selector & X86_SEL_RPL;
	enum x86_result r = x86_read_seg(cpu, selector, X86_GP, seg);

	if (r)
		return r;
	if (!seg->s || (seg->type & 0xa) == 8)
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	if (!x86_seg_conforming(seg) && (rpl > seg->dpl || cpu->cpl > seg->dpl))
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	if (!seg->present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	return x86_mark_descriptor(cpu, seg, 1);
}

static enum x86_result read_system_seg(struct x86_cpu *cpu, u16 selector, struct x86_seg *seg)
{
	u64 low, high = 0;
	enum x86_result r;

	if (selector & X86_SEL_TI)
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	r = x86_read_descriptor(cpu, selector, X86_GP, &low, x86_long_mode(cpu) ? &high : NULL);
	if (r)
		return r;
	x86_unpack_descriptor(low, high, selector, seg);
	return X86_OK;
}

/* LLDT (SDM vol. 2). */
static enum x86_result load_ldtr(struct x86_cpu *cpu, u16 selector)
{
	struct x86_seg seg;
	enum x86_result r;

	if (x86_sel_null(selector)) {
		x86_null_seg(&cpu->seg[X86_LDTR], selector, 0);
		return X86_OK;
	}
	r = read_system_seg(cpu, selector, &seg);
	if (r)
		return r;
	if (seg.s || seg.type != X86_DESC_LDT)
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	if (!seg.present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	if (!x86_canonical(cpu, seg.base))
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	cpu->seg[X86_LDTR] = seg;
	return X86_OK;
}

/* LTR (SDM vol. 2): an available TSS becomes busy. */
static enum x86_result load_tr(struct x86_cpu *cpu, u16 selector)
{
	struct x86_seg seg;
	enum x86_result r;

	if (x86_sel_null(selector))
		return x86_raise(cpu, X86_GP, 0);
	r = read_system_seg(cpu, selector, &seg);
	if (r)
		return r;
	if (seg.s || (seg.type != X86_DESC_TSS && (x86_long_mode(cpu) || seg.type != X86_DESC_TSS16)))
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	if (!seg.present)
		return x86_raise(cpu, X86_NP, x86_sel_error(selector));
	if (!x86_canonical(cpu, seg.base))
		return x86_raise(cpu, X86_GP, x86_sel_error(selector));
	r = x86_mark_descriptor(cpu, &seg, 2);
	if (r)
		return r;
	cpu->seg[X86_TR] = seg;
	return X86_OK;
}

static enum x86_result load_data(struct x86_cpu *cpu, unsigned sreg, u16 selector, struct x86_seg *seg)
{
	unsigned rpl = selector & X86_SEL_RPL;

	if (x86_sel_null(selector)) {
		/* A null SS serves 64-bit code below CPL 3 (SDM vol. 2, MOV). */
		if (sreg == X86_SS && (cpu->mode != X86_MODE_LONG || cpu->cpl == 3 || rpl != cpu->cpl))
			return x86_raise(cpu, X86_GP, 0);
		x86_null_seg(seg, selector, sreg == X86_SS ? cpu->cpl : 0);
		return X86_OK;
	}
	if (sreg == X86_SS)
		return x86_read_stack_seg(cpu, selector, cpu->cpl, X86_GP, seg);
	return read_data_seg(cpu, selector, seg);
}

enum x86_result x86_load_sreg(struct x86_cpu *cpu, unsigned sreg, u16 selector)
{
	struct x86_seg seg;
	enum x86_result r;

	if (sreg == X86_LDTR)
		return load_ldtr(cpu, selector);
	if (sreg == X86_TR)
		return load_tr(cpu, selector);
	if (!x86_protected(cpu)) {
		x86_load_sreg_real(cpu, sreg, selector);
		return X86_OK;
	}
	r = load_data(cpu, sreg, selector, &seg);
	if (r)
		return r;
	cpu->seg[sreg] = seg;
	x86_mode_update(cpu);
	return X86_OK;
}

/*
 * Real mode changes selector and base alone: limit and attributes stay, which "unreal mode" lives on.
 * V86 mode sets everything (SDM vol. 3 section 20.2).
 */
void x86_load_sreg_real(struct x86_cpu *cpu, unsigned sreg, u16 selector)
{
	struct x86_seg *s = &cpu->seg[sreg];

	if (cpu->rflags & X86_VM)
		*s = (struct x86_seg) { .limit = 0xffff, .type = 3, .dpl = 3 };
	else if (s->unusable)
		*s = (struct x86_seg) { .limit = 0xffff, .type = sreg == X86_CS ? 11 : 3 };
	s->selector = selector;
	s->base = (u64)selector << 4;
	s->s = true;
	s->present = true;
	s->unusable = false;
	x86_mode_update(cpu);
}

void x86_null_inner_segs(struct x86_cpu *cpu, u8 cpl)
{
	static const u8 data[] = { X86_ES, X86_DS, X86_FS, X86_GS };

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct x86_seg *s = &cpu->seg[data[i]];

		if (!s->unusable && !x86_seg_conforming(s) && s->dpl < cpl)
			x86_null_seg(s, 0, 0);
	}
}

/* ---- I/O permission -------------------------------------------------------------------------- */

/* The I/O permission bit map of a 32- or 64-bit TSS (SDM vol. 1 section 19.5.2). */
static enum x86_result check_io_bitmap(struct x86_cpu *cpu, u16 port, unsigned size)
{
	const struct x86_seg *tr = &cpu->seg[X86_TR];
	u16 offset, bits;
	enum x86_result r;

	if (tr->unusable || (tr->type != X86_DESC_TSS && tr->type != X86_DESC_TSS_BUSY) || tr->limit < 103)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_sys_read(cpu, tr->base + 102, &offset, 2);
	if (r)
		return r;
	if ((u32)offset + port / 8 + 1 > tr->limit)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_sys_read(cpu, tr->base + offset + port / 8, &bits, 2);
	if (r)
		return r;
	return bits >> (port & 7) & (BIT(size) - 1) ? x86_raise(cpu, X86_GP, 0) : X86_OK;
}

enum x86_result x86_check_io(struct x86_cpu *cpu, u16 port, unsigned size)
{
	unsigned iopl = cpu->rflags >> X86_IOPL_SHIFT & 3;

	if (cpu->mode == X86_MODE_REAL || (cpu->mode != X86_MODE_V86 && cpu->cpl <= iopl))
		return X86_OK;
	return check_io_bitmap(cpu, port, size);
}
