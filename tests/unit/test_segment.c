/* SPDX-License-Identifier: GPL-2.0-only */
/* Segmentation: derived state, access checks, loading, far transfers and gates, I/O permission. */
#include "tests/unit/machine.h"

#define TARGET 0x7000u

/* ---- derived state --------------------------------------------------------------------------- */

static void modes(void **state)
{
	(void)state;
	machine_reset();
	assert_int_equal(cpu.mode, X86_MODE_REAL);
	assert_int_equal(cpu.code_bits, 16);
	assert_int_equal(cpu.stack_size, 2);
	assert_int_equal(cpu.seg_base[X86_CS], 0xffff0000);
	assert_int_equal(cpu.seg_flat, 0);
	machine_protected(3);
	assert_int_equal(cpu.mode, X86_MODE_PROT);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.code_bits, 32);
	assert_int_equal(cpu.stack_size, 4);
	assert_int_equal(cpu.seg_flat, 0x3f & ~BIT(X86_CS));
	assert_ptr_equal(cpu.tlb, cpu.tlbs[X86_TLB_USER]);
	cpu.rflags |= X86_VM;
	x86_mode_update(&cpu);
	assert_int_equal(cpu.mode, X86_MODE_V86);
	assert_int_equal(cpu.code_bits, 16);
	machine_long(0);
	cpu.seg[X86_DS].base = 0x1234;
	cpu.seg[X86_GS].base = 0x5678;
	cpu.cr4 |= X86_CR4_SMAP;
	x86_mode_update(&cpu);
	assert_int_equal(cpu.mode, X86_MODE_LONG);
	assert_int_equal(cpu.code_bits, 64);
	assert_int_equal(cpu.stack_size, 8);
	assert_int_equal(cpu.seg_base[X86_DS], 0);
	assert_int_equal(cpu.seg_base[X86_GS], 0x5678);
	assert_int_equal(cpu.seg_flat, 0x3f);
	assert_ptr_equal(cpu.tlb, cpu.tlbs[X86_TLB_KERNEL_NOUSER]);
	cpu.rflags |= X86_AC;
	x86_mode_update(&cpu);
	assert_ptr_equal(cpu.tlb, cpu.tlbs[X86_TLB_KERNEL]);
	use_segment(X86_CS, SEL_CS0);
	assert_int_equal(cpu.mode, X86_MODE_COMPAT);
	assert_int_equal(cpu.seg_base[X86_DS], 0x1234);
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* SDM vol. 3 section 5.3, 5.5: what offset and kind a segment lets through. */
static bool reference_allows(const struct x86_seg *s, u64 ea, unsigned size, bool write)
{
	u64 last = ea + size - 1;
	bool code = s->type & 8, rw = s->type & 2;

	if (s->unusable || (write && (code || !rw)) || (!write && code && !rw))
		return false;
	if (!code && (s->type & 4)) /* expand-down */
		return ea > s->limit && last <= (s->db ? 0xffffffffull : 0xffffull);
	return s->limit == 0xffffffff || last <= s->limit;
}

static void linear_checks(void **state)
{
	static const u32 limits[] = { 0, 0xfff, 0xffff, 0x12345, 0xffffffff };
	static const unsigned sizes[] = { 1, 2, 4, 8, 16 };

	(void)state;
	machine_protected(0);
	for (unsigned n = 0; n < 16 * 5 * 5 * 2 * 64; n++) {
		unsigned type = n % 16, size = sizes[n / 16 % 5];
		u32 limit = limits[n / 80 % 5];
		bool db = n / 400 % 2, write = n & 1024;
		unsigned seg = n & 2048 ? X86_SS : X86_ES;
		u64 near[] = { limit, limit + 1ull, 0, 0xffff, 0xfffffff8, limit - 7ull };
		u64 ea = (u32)(near[n / 800 % 6] + n / 4800 % 3 - 1), gva = 0;
		struct x86_seg *s = &cpu.seg[seg];
		enum x86_result r;

		*s = (struct x86_seg) { .base = 0x10000, .limit = limit, .type = type, .s = true,
					.present = true, .db = db, .unusable = n % 97 == 0 };
		x86_mode_update(&cpu);
		r = x86_linear(&cpu, seg, ea, size, write ? X86_ACCESS_WRITE : 0, &gva);
		if (reference_allows(s, ea, size, write)) {
			assert_int_equal(r, X86_OK);
			assert_int_equal(gva, (u32)(ea + 0x10000));
		} else {
			assert_fault(r, seg == X86_SS ? X86_SS_VECTOR : X86_GP, 0);
		}
	}
}

static void canonical(void **state)
{
	u64 gva;

	(void)state;
	machine_long(0);
	assert_int_equal(x86_linear(&cpu, X86_DS, 0x7ffffffffff8, 8, 0, &gva), X86_OK);
	assert_fault(x86_linear(&cpu, X86_DS, 0x7ffffffffff9, 8, 0, &gva), X86_GP, 0);
	assert_fault(x86_linear(&cpu, X86_SS, 0x800000000000, 1, 0, &gva), X86_SS_VECTOR, 0);
	assert_int_equal(x86_linear(&cpu, X86_SS, 0xffff800000000000, 1, 0, &gva), X86_OK);
	cpu.cr4 |= X86_CR4_LA57;
	x86_mode_update(&cpu);
	assert_int_equal(x86_linear(&cpu, X86_DS, 0x800000000000, 1, 0, &gva), X86_OK);
	assert_fault(x86_linear(&cpu, X86_DS, 0x100000000000000, 1, 0, &gva), X86_GP, 0);
}

static void alignment(void **state)
{
	u64 gva;

	(void)state;
	machine_long(3);
	cpu.cr0 |= X86_CR0_AM;
	cpu.rflags |= X86_AC;
	x86_mode_update(&cpu);
	assert_int_equal(x86_linear(&cpu, X86_DS, 0x8001, 1, 0, &gva), X86_OK);
	assert_int_equal(x86_linear(&cpu, X86_DS, 0x8004, 4, 0, &gva), X86_OK);
	assert_fault(x86_linear(&cpu, X86_DS, 0x8002, 4, 0, &gva), X86_AC_VECTOR, 0);
	assert_fault(x86_linear(&cpu, X86_DS, 0x8004, 8, X86_ACCESS_WRITE, &gva), X86_AC_VECTOR, 0);
	/* A page fault of the same access comes first. */
	assert_fault(x86_linear(&cpu, X86_DS, 0x40000001, 8, 0, &gva), X86_PF_VECTOR, 4);
}

/* ---- loading --------------------------------------------------------------------------------- */

/* What MOV to a segment register does with a descriptor (SDM vol. 2, MOV): the vector, 0 if none. */
static unsigned reference_load(unsigned sreg, unsigned byte, unsigned rpl, unsigned cpl)
{
	unsigned dpl = byte >> 5 & 3, type = byte & 15;
	bool s = byte & 16, code = type & 8, present = byte & 128;

	if (sreg == X86_SS) {
		if (!s || code || !(type & 2) || rpl != cpl || dpl != cpl)
			return X86_GP;
		return present ? 0 : X86_SS_VECTOR;
	}
	if (!s || (code && !(type & 2)))
		return X86_GP;
	if (!(code && (type & 4)) && (rpl > dpl || cpl > dpl))
		return X86_GP;
	return present ? 0 : X86_NP;
}

static void load_matrix(void **state)
{
	(void)state;
	for (unsigned cpl = 0; cpl < 4; cpl += 3) {
		machine_protected(cpl);
		for (unsigned n = 0; n < 256 * 4 * 2; n++) {
			unsigned byte = n & 255, rpl = n >> 8 & 3, sreg = n >> 10 ? X86_SS : X86_FS;
			u16 sel = SEL_FREE | rpl;
			struct x86_seg before = cpu.seg[sreg];
			unsigned want = reference_load(sreg, byte, rpl, cpl);
			enum x86_result r;

			set_descriptor(sel, descriptor(0x12345678, 0x9abcd, 0x4, byte));
			r = x86_load_sreg(&cpu, sreg, sel);
			if (want) {
				assert_fault(r, want, SEL_FREE);
				assert_memory_equal(&before, &cpu.seg[sreg], sizeof(before));
				continue;
			}
			assert_int_equal(r, X86_OK);
			assert_int_equal(cpu.seg[sreg].base, 0x12345678);
			assert_int_equal(cpu.seg[sreg].limit, 0x9abcd);
			assert_int_equal(cpu.seg[sreg].selector, sel);
			assert_int_equal(get(GDT_BASE + SEL_FREE + 5, 1), byte | 1);
			assert_int_equal(cpu.cpl, cpl);
		}
	}
}

static void load_null_and_limits(void **state)
{
	(void)state;
	machine_protected(0);
	assert_int_equal(x86_load_sreg(&cpu, X86_ES, 3), X86_OK);
	assert_true(cpu.seg[X86_ES].unusable);
	assert_fault(x86_load_sreg(&cpu, X86_SS, 0), X86_GP, 0);
	cpu.gdt.limit = SEL_DS0 + 6;
	assert_fault(x86_load_sreg(&cpu, X86_DS, SEL_DS0), X86_GP, SEL_DS0);
	assert_fault(x86_load_sreg(&cpu, X86_DS, SEL_DS0 | 4), X86_GP, SEL_DS0 | 4); /* no LDT */
	machine_long(0);
	assert_int_equal(x86_load_sreg(&cpu, X86_SS, 0), X86_OK);
	assert_int_equal(cpu.cpl, 0);
	assert_fault(x86_load_sreg(&cpu, X86_SS, 1), X86_GP, 0);
	machine_long(3);
	assert_fault(x86_load_sreg(&cpu, X86_SS, 3), X86_GP, 0);
}

static void load_system(void **state)
{
	(void)state;
	machine_protected(0);
	set_descriptor(SEL_FREE, descriptor(0x5000, 0x67, 0, 0x89));
	assert_int_equal(x86_load_sreg(&cpu, X86_TR, SEL_FREE), X86_OK);
	assert_int_equal(get(GDT_BASE + SEL_FREE + 5, 1), 0x8b);
	assert_int_equal(cpu.seg[X86_TR].type, 11);
	assert_fault(x86_load_sreg(&cpu, X86_TR, SEL_FREE), X86_GP, SEL_FREE); /* busy */
	assert_fault(x86_load_sreg(&cpu, X86_TR, 0), X86_GP, 0);
	set_descriptor(SEL_FREE, descriptor(0x5000, 0x67, 0, 0x82));
	assert_int_equal(x86_load_sreg(&cpu, X86_LDTR, SEL_FREE), X86_OK);
	put(0x5008, descriptor(0x777000, 0xff, 0, 0x92), 8);
	assert_int_equal(x86_load_sreg(&cpu, X86_DS, 8 | 4), X86_OK);
	assert_int_equal(cpu.seg[X86_DS].base, 0x777000);
	assert_int_equal(get(0x500d, 1), 0x93);
	assert_int_equal(x86_load_sreg(&cpu, X86_LDTR, 0), X86_OK);
	assert_fault(x86_load_sreg(&cpu, X86_DS, 8 | 4), X86_GP, 8 | 4);
	/* 16 bytes in long mode */
	machine_long(0);
	set_descriptor(SEL_FREE, descriptor(0x5000, 0x67, 0, 0x89));
	put(GDT_BASE + SEL_FREE + 8, 0xffff8000, 8);
	assert_int_equal(x86_load_sreg(&cpu, X86_TR, SEL_FREE), X86_OK);
	assert_int_equal(cpu.seg[X86_TR].base, 0xffff800000005000);
}

/* ---- far transfers --------------------------------------------------------------------------- */

static void real_mode(void **state)
{
	(void)state;
	machine_reset();
	cpu.regs[X86_RSP] = 0x100;
	assert_int_equal(x86_far_call(&cpu, 0x1234, 0x5678, 2, 0xfff5), X86_BRANCH);
	assert_int_equal(cpu.seg[X86_CS].base, 0x12340);
	assert_int_equal(x86_rip(&cpu), 0x5678);
	assert_int_equal(get(0xfc, 4), 0xf000fff5);
	assert_int_equal(x86_far_ret(&cpu, 2, 4), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0x104);
	assert_int_equal(cpu.seg[X86_CS].selector, 0xf000);
	assert_fault(x86_far_jmp(&cpu, 0, 0x10000, 4, 0), X86_GP, 0);
}

/* Direct JMP (SDM vol. 2): the vector, 0 if it goes through. */
static unsigned reference_jmp(unsigned byte, unsigned rpl, unsigned cpl)
{
	unsigned dpl = byte >> 5 & 3;

	if ((byte & 0x18) != 0x18)
		return X86_GP;
	if (byte & 4 ? dpl > cpl : rpl > cpl || dpl != cpl)
		return X86_GP;
	return byte & 0x80 ? 0 : X86_NP;
}

static void jmp_matrix(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 256 * 4 * 2; n++) {
		unsigned byte = n & 255, rpl = n >> 8 & 3, cpl = n >> 10 ? 3 : 0, want;
		enum x86_result r;

		if (!(byte & 0x10)) /* system descriptors have tests of their own */
			continue;
		if (n % 256 == 16)
			machine_protected(cpl);
		set_descriptor(SEL_FREE, descriptor(0, 0xfffff, G_D, byte));
		want = reference_jmp(byte, rpl, cpl);
		r = x86_far_jmp(&cpu, SEL_FREE | rpl, TARGET, 4, 0);
		if (want) {
			assert_fault(r, want, SEL_FREE);
			continue;
		}
		assert_int_equal(r, X86_BRANCH);
		assert_int_equal(cpu.seg[X86_CS].selector, SEL_FREE | cpl);
		assert_int_equal(cpu.cpl, cpl);
		assert_int_equal(x86_rip(&cpu), TARGET);
	}
}

static void jmp_limits(void **state)
{
	(void)state;
	machine_protected(0);
	set_descriptor(SEL_FREE, descriptor(0, TARGET - 1, 4, 0x9a));
	assert_fault(x86_far_jmp(&cpu, SEL_FREE, TARGET, 4, 0), X86_GP, 0);
	assert_fault(x86_far_jmp(&cpu, 2, TARGET, 4, 0), X86_GP, 0);
	machine_long(0);
	assert_int_equal(x86_far_jmp(&cpu, SEL_CS0, TARGET, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_COMPAT);
	assert_int_equal(x86_far_jmp(&cpu, SEL_CS64, TARGET, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_LONG);
	assert_fault(x86_far_jmp(&cpu, SEL_CS64, 0x800000000000, 8, 0), X86_GP, 0);
	set_descriptor(SEL_FREE, descriptor(0, 0xfffff, 0xe, 0x9a)); /* L and D */
	assert_fault(x86_far_jmp(&cpu, SEL_FREE, TARGET, 4, 0), X86_GP, SEL_FREE);
	set_descriptor(SEL_FREE, descriptor(0x5000, 0x67, 0, 0x89)); /* no tasks in long mode */
	assert_fault(x86_far_jmp(&cpu, SEL_FREE, TARGET, 4, 0), X86_GP, SEL_FREE);
}

/* CALL through a gate to the inner level and RET back, parameters copied. */
static void call_gate(void **state)
{
	(void)state;
	machine_protected(3);
	set_descriptor(SEL_FREE, gate(SEL_CS0, TARGET, 0xec, 2));
	put(0x8000, 0x11111111, 4);
	put(0x8004, 0x22222222, 4);
	assert_int_equal(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0x6005), X86_BRANCH);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.seg[X86_CS].selector, SEL_CS0);
	assert_int_equal(cpu.seg[X86_SS].selector, SEL_DS0);
	assert_int_equal(x86_rip(&cpu), TARGET);
	assert_int_equal(cpu.regs[X86_RSP], STACK0 - 24);
	assert_int_equal(get(STACK0 - 4, 4), SEL_DS3);
	assert_int_equal(get(STACK0 - 8, 4), 0x8000);
	assert_int_equal(get(STACK0 - 12, 4), 0x22222222);
	assert_int_equal(get(STACK0 - 16, 4), 0x11111111);
	assert_int_equal(get(STACK0 - 20, 4), SEL_CS3);
	assert_int_equal(get(STACK0 - 24, 4), 0x6005);
	use_segment(X86_DS, SEL_DS0);
	assert_int_equal(x86_far_ret(&cpu, 4, 8), X86_BRANCH);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.regs[X86_RSP], 0x8008);
	assert_int_equal(x86_rip(&cpu), 0x6005);
	assert_true(cpu.seg[X86_DS].unusable);
	assert_false(cpu.seg[X86_ES].unusable);
}

static void call_gate_faults(void **state)
{
	(void)state;
	machine_protected(3);
	set_descriptor(SEL_FREE, gate(SEL_CS0, TARGET, 0x8c, 0)); /* DPL 0 */
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_FREE);
	set_descriptor(SEL_FREE, gate(SEL_CS0, TARGET, 0x6c, 0)); /* not present */
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_NP, SEL_FREE);
	set_descriptor(SEL_FREE, gate(SEL_NULL, TARGET, 0xec, 0));
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, 0);
	set_descriptor(SEL_FREE, gate(SEL_DS0, TARGET, 0xec, 0));
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_DS0);
	set_descriptor(SEL_FREE, gate(SEL_CS0, TARGET, 0xec, 0));
	assert_fault(x86_far_jmp(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_CS0); /* JMP goes inward never */
	put(TSS_BASE + 8, 0, 2);
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_TS, 0);
	put(TSS_BASE + 8, SEL_DS3, 2);
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_TS, SEL_DS3 & ~3);
	put(TSS_BASE + 8, SEL_DS0, 2);
	cpu.seg[X86_TR].limit = 8;
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_TS, SEL_TSS);
	cpu.seg[X86_TR].limit = 103;
	set_descriptor(SEL_DS0, descriptor(0, 0xff, 4, 0x92)); /* no room on the inner stack */
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_SS_VECTOR, SEL_DS0);
	set_descriptor(SEL_DS0, descriptor(0, 0xfffff, G_D, 0x12));
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_SS_VECTOR, SEL_DS0);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000);
	assert_int_equal(cpu.cpl, 3);
}

static void call_gate_64(void **state)
{
	(void)state;
	machine_long(3);
	set_descriptor(SEL_FREE, gate(SEL_CS64, TARGET, 0xec, 5));
	put(GDT_BASE + SEL_FREE + 8, 0, 8);
	assert_int_equal(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0x6005), X86_BRANCH);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.seg[X86_SS].selector, 0);
	assert_true(cpu.seg[X86_SS].unusable);
	assert_int_equal(cpu.regs[X86_RSP], STACK0 - 32);
	assert_int_equal(get(STACK0 - 8, 8), SEL_DS3);
	assert_int_equal(get(STACK0 - 16, 8), 0x8000);
	assert_int_equal(get(STACK0 - 32, 8), 0x6005);
	assert_int_equal(x86_far_ret(&cpu, 8, 0), X86_BRANCH);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000);
	put(GDT_BASE + SEL_FREE + 8, BIT64(40), 8); /* type of the upper half */
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_FREE);
	put(GDT_BASE + SEL_FREE + 8, 0, 8);
	set_descriptor(SEL_FREE, gate(SEL_CS0, TARGET, 0xec, 0)); /* to 32-bit code */
	assert_fault(x86_far_call(&cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_CS0);
}

static void ret_faults(void **state)
{
	(void)state;
	machine_protected(3);
	put(0x8000, TARGET, 4);
	put(0x8004, SEL_CS0, 4);
	assert_fault(x86_far_ret(&cpu, 4, 0), X86_GP, SEL_CS0); /* inward */
	put(0x8004, 0, 4);
	assert_fault(x86_far_ret(&cpu, 4, 0), X86_GP, 0);
	machine_protected(0);
	put(0x8000, TARGET, 4);
	put(0x8004, SEL_CS3, 4);
	put(0x8008, 0x7f00, 4);
	put(0x800c, SEL_DS0, 4);
	assert_fault(x86_far_ret(&cpu, 4, 0), X86_GP, SEL_DS0);
	put(0x800c, 3, 4);
	assert_fault(x86_far_ret(&cpu, 4, 0), X86_GP, 0);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000);
}

/* ---- IRET ------------------------------------------------------------------------------------ */

static void iret_frame(u64 rip, u16 cs, u32 flags, u64 rsp, u16 ss, unsigned size)
{
	u64 at = cpu.regs[X86_RSP];

	put(at, rip, size);
	put(at + size, cs, size);
	put(at + 2 * size, flags, size);
	put(at + 3 * size, rsp, size);
	put(at + 4 * size, ss, size);
}

static void iret_flags(void **state)
{
	(void)state;
	machine_protected(0);
	iret_frame(TARGET, SEL_CS3, 0xffffffff & ~(X86_VM | X86_NT), 0x7f00, SEL_DS3, 4);
	cpu.nmi_masked = true;
	assert_int_equal(x86_iret(&cpu, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(x86_get_rflags(&cpu) & (X86_IF | X86_IOPL | X86_RF | X86_AC | X86_ID | X86_VIF),
			 X86_IF | X86_IOPL | X86_RF | X86_AC | X86_ID | X86_VIF);
	assert_int_equal(irets, 1);
	assert_false(cpu.nmi_masked);
	/* CPL 3 with IOPL 0 changes neither IF nor IOPL nor VIF. */
	machine_protected(3);
	cpu.rflags |= X86_IF;
	iret_frame(TARGET, SEL_CS3, X86_IOPL | X86_VIF | X86_CF, 0, 0, 4);
	assert_int_equal(x86_iret(&cpu, 4, 0), X86_BRANCH);
	assert_int_equal(x86_get_rflags(&cpu), X86_IF | X86_CF | X86_FLAGS_FIXED);
	assert_int_equal(cpu.regs[X86_RSP], 0x800c);
}

static void iret_64(void **state)
{
	(void)state;
	machine_long(0);
	iret_frame(TARGET, SEL_CS64, 2, 0x7777, SEL_DS0, 8); /* SS:RSP also without a change of level */
	assert_int_equal(x86_iret(&cpu, 8, 0), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0x7777);
	cpu.regs[X86_RSP] = 0x8000;
	iret_frame(TARGET, SEL_CS64, 2, 0x7777, 0, 8);
	assert_int_equal(x86_iret(&cpu, 8, 0), X86_BRANCH);
	assert_true(cpu.seg[X86_SS].unusable);
	cpu.regs[X86_RSP] = 0x8000;
	iret_frame(TARGET, SEL_CS3, 2, 0x7777, SEL_DS3, 8); /* to compatibility mode */
	cpu.seg[X86_FS].unusable = true;
	cpu.seg[X86_FS].base = 0x1234;
	assert_int_equal(x86_iret(&cpu, 8, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_COMPAT);
	assert_int_equal(cpu.seg_base[X86_FS], 0x1234);
	machine_long(0);
	iret_frame(TARGET, SEL_CS64_3, 2, 0x7777, 3, 8);
	assert_fault(x86_iret(&cpu, 8, 0), X86_GP, 0); /* null SS at CPL 3 */
	iret_frame(0x800000000000, SEL_CS64_3, 2, 0x7777, SEL_DS3, 8);
	assert_fault(x86_iret(&cpu, 8, 0), X86_GP, 0);
	cpu.rflags |= X86_NT;
	assert_fault(x86_iret(&cpu, 8, 0), X86_GP, 0);
}

static void iret_v86(void **state)
{
	static const u32 frame[] = { 0x100, 0x1111, X86_VM | X86_IOPL | X86_IF | 2, 0xfff0, 0x2222,
				     0x3333, 0x4444, 0x5555, 0x6666 };

	(void)state;
	machine_protected(0);
	for (unsigned i = 0; i < ARRAY_SIZE(frame); i++)
		put(0x8000 + i * 4, frame[i], 4);
	assert_int_equal(x86_iret(&cpu, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_V86);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.seg[X86_CS].base, 0x11110);
	assert_int_equal(cpu.seg[X86_SS].base, 0x22220);
	assert_int_equal(cpu.seg[X86_GS].base, 0x66660);
	assert_int_equal(cpu.seg[X86_GS].limit, 0xffff);
	assert_int_equal(cpu.regs[X86_RSP], 0xfff0);
	/* IRET in V86 mode: IOPL decides, and IOPL itself stays. */
	put(0x22220 + 0xfff0, 0x200, 2);
	put(0x22220 + 0xfff2, 0x1111, 2);
	put(0x22220 + 0xfff4, X86_CF, 2);
	assert_int_equal(x86_iret(&cpu, 2, 0), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), 0x200);
	assert_int_equal(x86_get_rflags(&cpu), X86_CF | X86_VM | X86_IOPL | 2);
	cpu.rflags &= ~X86_IOPL;
	assert_fault(x86_iret(&cpu, 2, 0), X86_GP, 0);
	cpu.cr4 |= X86_CR4_VME;
	put(0x22220 + 0xfff6, 0x300, 2);
	put(0x22220 + 0xfff8, 0x1111, 2);
	put(0x22220 + 0xfffa, X86_IF, 2);
	assert_int_equal(x86_iret(&cpu, 2, 0), X86_BRANCH);
	assert_int_equal(x86_get_rflags(&cpu), X86_VIF | X86_VM | 2);
}

/* ---- stack, I/O, MMIO ------------------------------------------------------------------------ */

static void push_pop(void **state)
{
	u64 rsp = 0xffff000100000002, value;

	(void)state;
	machine_protected(0);
	assert_int_equal(x86_push(&cpu, &rsp, 0x11223344, 4, 0), X86_OK);
	assert_int_equal(rsp, 0xfffffffe);
	rsp = 0x12340002;
	cpu.seg[X86_SS].db = false;
	cpu.seg[X86_SS].limit = 0xffff;
	x86_mode_update(&cpu);
	assert_fault(x86_push(&cpu, &rsp, 1, 4, 0), X86_SS_VECTOR, 0); /* 0xfffe + 4 */
	assert_int_equal(rsp, 0x12340002);
	assert_int_equal(x86_push(&cpu, &rsp, 0x5566, 2, 0), X86_OK);
	assert_int_equal(rsp, 0x12340000);
	assert_int_equal(x86_push(&cpu, &rsp, 0x7788, 2, 0), X86_OK);
	assert_int_equal(rsp, 0x1234fffe);
	assert_int_equal(x86_pop(&cpu, &rsp, &value, 2, 0), X86_OK);
	assert_int_equal(value, 0x7788);
	assert_int_equal(rsp, 0x12340000);
}

static void io_permission(void **state)
{
	(void)state;
	machine_protected(3);
	put(TSS_BASE + 104 + 0x60 / 8, 0xfe, 1); /* port 0x60 alone is free */
	put(TSS_BASE + 104 + 0x60 / 8 + 1, 0xff, 1);
	assert_int_equal(x86_check_io(&cpu, 0x60, 1), X86_OK);
	assert_fault(x86_check_io(&cpu, 0x60, 2), X86_GP, 0);
	assert_fault(x86_check_io(&cpu, 0x67, 2), X86_GP, 0);
	cpu.seg[X86_TR].limit = 104 + 0x60 / 8;
	assert_fault(x86_check_io(&cpu, 0x60, 1), X86_GP, 0); /* the byte after must be there too */
	cpu.rflags |= X86_IOPL;
	assert_int_equal(x86_check_io(&cpu, 0x60, 4), X86_OK);
	cpu.rflags |= X86_VM;
	x86_mode_update(&cpu);
	assert_fault(x86_check_io(&cpu, 0x60, 4), X86_GP, 0);
}

static void exits_propagate(void **state)
{
	struct x86_cpu before;

	(void)state;
	machine_protected(0);
	mmio_gpa = GDT_BASE;
	before = cpu;
	assert_int_equal(x86_far_jmp(&cpu, SEL_CS0, TARGET, 4, 0), X86_EXIT);
	assert_int_equal(x86_load_sreg(&cpu, X86_DS, SEL_DS0), X86_EXIT);
	assert_memory_equal(&before.regs, &cpu.regs, sizeof(cpu.regs));
	assert_memory_equal(&before.seg, &cpu.seg, sizeof(cpu.seg));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes),	 cmocka_unit_test(linear_checks),
		cmocka_unit_test(canonical),	 cmocka_unit_test(alignment),
		cmocka_unit_test(load_matrix),	 cmocka_unit_test(load_null_and_limits),
		cmocka_unit_test(load_system),	 cmocka_unit_test(real_mode),
		cmocka_unit_test(jmp_matrix),	 cmocka_unit_test(jmp_limits),
		cmocka_unit_test(call_gate),	 cmocka_unit_test(call_gate_faults),
		cmocka_unit_test(call_gate_64),	 cmocka_unit_test(ret_faults),
		cmocka_unit_test(iret_flags),	 cmocka_unit_test(iret_64),
		cmocka_unit_test(iret_v86),	 cmocka_unit_test(push_pop),
		cmocka_unit_test(io_permission), cmocka_unit_test(exits_propagate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
