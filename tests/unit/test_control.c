/* SPDX-License-Identifier: GPL-2.0-only */
/* Control registers, reset, debug registers, system-management mode. */
#include "tests/unit/machine.h"

static void assert_gp(enum x86_result r)
{
	assert_fault(r, X86_GP, 0);
}

static void cr0_rules(void **state)
{
	(void)state;
	machine_protected(0);
	assert_gp(x86_set_cr0(&cpu, X86_CR0_PG));
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 | 1ull << 32));
	assert_gp(x86_set_cr0(&cpu, X86_CR0_PE | X86_CR0_NW));
	assert_int_equal(x86_set_cr0(&cpu, X86_CR0_PE | BIT(10)), X86_OK); /* reserved bits are dropped */
	assert_int_equal(cpu.cr0, X86_CR0_PE | X86_CR0_ET);
	assert_int_equal(flushes, 1); /* reset's */
	assert_int_equal(x86_set_cr0(&cpu, X86_CR0_PE | X86_CR0_PG), X86_OK);
	assert_int_equal(flushes, 2);
	assert_false(x86_long_mode(&cpu));
}

static void entering_long_mode(void **state)
{
	(void)state;
	machine_protected(0);
	assert_int_equal(x86_set_efer(&cpu, X86_EFER_LME), X86_OK);
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 | X86_CR0_PG)); /* no PAE */
	assert_int_equal(x86_set_cr4(&cpu, X86_CR4_PAE), X86_OK);
	cpu.seg[X86_CS].l = true;
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 | X86_CR0_PG));
	cpu.seg[X86_CS].l = false;
	assert_int_equal(x86_set_cr0(&cpu, cpu.cr0 | X86_CR0_PG), X86_OK);
	assert_true(x86_long_mode(&cpu));
	assert_int_equal(cpu.mode, X86_MODE_COMPAT);
	assert_gp(x86_set_efer(&cpu, 0));	     /* LME with paging on */
	assert_gp(x86_set_cr4(&cpu, 0));	     /* PAE */
	assert_gp(x86_set_cr4(&cpu, X86_CR4_PAE | X86_CR4_LA57));
	assert_int_equal(x86_set_cr0(&cpu, cpu.cr0 & ~X86_CR0_PG), X86_OK);
	assert_false(x86_long_mode(&cpu));
	machine_long(0);
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 & ~X86_CR0_PG)); /* from 64-bit code */
}

static void pcid(void **state)
{
	(void)state;
	machine_protected(0);
	assert_gp(x86_set_cr4(&cpu, X86_CR4_PCIDE));
	machine_long(0);
	cpu.cr3 |= 1;
	assert_gp(x86_set_cr4(&cpu, X86_CR4_PAE | X86_CR4_PCIDE));
	cpu.cr3 &= ~0xfffull;
	assert_int_equal(x86_set_cr4(&cpu, X86_CR4_PAE | X86_CR4_PCIDE), X86_OK);
	flushes = 0;
	assert_int_equal(x86_set_cr3(&cpu, PML4 | BIT64(63)), X86_OK);
	assert_int_equal(flushes, 0);
	assert_int_equal(cpu.cr3, PML4);
	assert_int_equal(x86_set_cr3(&cpu, PML4 | 5 | BIT64(63)), X86_OK); /* another PCID */
	assert_int_equal(flushes, 0);
	assert_int_equal(x86_set_cr3(&cpu, PML4 | 5), X86_OK);
	assert_int_equal(flushes, 1);
	assert_int_equal(kept_globals, 1);
	assert_gp(x86_set_cr3(&cpu, BIT64(40)));
	assert_gp(x86_set_cr3(&cpu, BIT64(62)));
	use_segment(X86_CS, SEL_CS0);
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 & ~X86_CR0_PG));
	cpu.cr4 &= ~X86_CR4_PCIDE;
	assert_gp(x86_set_cr3(&cpu, PML4 | BIT64(63)));
}

static void cr4_reserved(void **state)
{
	(void)state;
	machine_protected(0);
	cpu.cr4_reserved = X86_CR4_SMEP;
	assert_gp(x86_set_cr4(&cpu, X86_CR4_SMEP));
	assert_gp(x86_set_cr4(&cpu, 1ull << 32));
	assert_int_equal(x86_set_cr4(&cpu, X86_CR4_OSXSAVE), X86_OK);
	assert_int_equal(cpuid_changes, 1);
}

static void pae_pdptrs(void **state)
{
	(void)state;
	machine_protected(0);
	put(0x3000, 0x10001, 8);
	put(0x3020, 0x10003, 8); /* reserved bit 1 */
	assert_int_equal(x86_set_cr4(&cpu, X86_CR4_PAE), X86_OK);
	assert_int_equal(x86_set_cr3(&cpu, 0x3020), X86_OK); /* paging is off */
	assert_gp(x86_set_cr0(&cpu, cpu.cr0 | X86_CR0_PG));
	assert_int_equal(x86_set_cr3(&cpu, 0x3000), X86_OK);
	put(0x3020, 0, 8);
	assert_int_equal(x86_set_cr0(&cpu, cpu.cr0 | X86_CR0_PG), X86_OK);
	assert_int_equal(cpu.pdptr[0], 0x10001);
	put(0x3020, 0x10003, 8);
	assert_gp(x86_set_cr3(&cpu, 0x3020));
	assert_int_equal(cpu.cr3, 0x3000);
}

static void efer_and_xcr0(void **state)
{
	static const struct {
		u64 value;
		bool ok;
	} xcr0[] = { { 1, 1 },	  { 0, 0 },    { 2, 0 },    { 3, 1 },	 { 5, 0 },     { 7, 1 },
		     { 0xe7, 1 }, { 0x27, 0 }, { 0xe3, 0 }, { 0x1b, 0 }, { 0x207, 0 }, { BIT64(63) | 1, 0 } };

	(void)state;
	machine_protected(0);
	assert_gp(x86_set_efer(&cpu, BIT64(13)));
	assert_int_equal(x86_set_efer(&cpu, X86_EFER_NXE | X86_EFER_LMA), X86_OK);
	assert_int_equal(cpu.efer, X86_EFER_NXE);
	cpu.features[X86_FEAT_NX / 32] &= ~BIT(X86_FEAT_NX % 32);
	assert_gp(x86_set_efer(&cpu, X86_EFER_NXE));
	for (unsigned i = 0; i < ARRAY_SIZE(xcr0); i++)
		assert_int_equal(x86_set_xcr(&cpu, 0, xcr0[i].value), xcr0[i].ok ? X86_OK : X86_FAULT);
	assert_gp(x86_set_xcr(&cpu, 1, 1));
	assert_int_equal(x86_get_cr(&cpu, 8), 5);
}

static void reset_and_init(void **state)
{
	(void)state;
	machine_long(3);
	cpu.msr.star = 77;
	cpu.xcr0 = 7;
	cpu.smbase = 0x50000;
	x86_reset(&cpu, true);
	assert_int_equal(cpu.mode, X86_MODE_REAL);
	assert_int_equal(cpu.seg_base[X86_CS] + x86_rip(&cpu), 0xfffffff0);
	assert_int_equal(cpu.cr0, X86_CR0_ET | X86_CR0_CD | X86_CR0_NW);
	assert_int_equal(cpu.msr.star, 77);
	assert_int_equal(cpu.xcr0, 7);
	assert_int_equal(cpu.smbase, 0x50000);
	assert_int_equal(cpu.efer, 0);
	x86_reset(&cpu, false);
	assert_int_equal(cpu.msr.star, 0);
	assert_int_equal(cpu.xcr0, 1);
	assert_int_equal(cpu.smbase, 0x30000);
	assert_int_equal(cpu.msr.pat, 0x0007040600070406);
	assert_int_equal(cpu.dr6, 0xffff0ff0);
	assert_int_equal(cpu.dr7, 0x400);
	assert_int_equal(cpu.regs[X86_RDX], 0x600);
}

/* ---- debug registers ------------------------------------------------------------------------- */

static void debug_registers(void **state)
{
	u64 value;

	(void)state;
	machine_long(0);
	assert_int_equal(x86_mov_to_dr(&cpu, 4, 0xffffffff), X86_OK); /* DR6 */
	assert_int_equal(x86_mov_from_dr(&cpu, 6, &value), X86_OK);
	assert_int_equal(value, 0xffffefff);
	assert_int_equal(x86_mov_to_dr(&cpu, 5, 0xffffdfff), X86_OK);
	assert_int_equal(x86_mov_from_dr(&cpu, 7, &value), X86_OK);
	assert_int_equal(value, 0xffff0fff);
	assert_gp(x86_mov_to_dr(&cpu, 6, 1ull << 32));
	assert_gp(x86_mov_to_dr(&cpu, 7, 1ull << 32));
	cpu.cr4 |= X86_CR4_DE;
	assert_fault(x86_mov_to_dr(&cpu, 4, 0), X86_UD, 0);
	assert_fault(x86_mov_from_dr(&cpu, 5, &value), X86_UD, 0);
	cpu.dr7 |= BIT64(13);
	assert_fault(x86_mov_from_dr(&cpu, 0, &value), X86_DB, 0);
	assert_int_equal(cpu.fault.payload, BIT64(13));
}

static void breakpoints(void **state)
{
	(void)state;
	machine_protected(0);
	assert_false(x86_debug_active(&cpu));
	cpu.dr[0] = 0x6000;
	cpu.dr[1] = 0x5003;
	cpu.dr[2] = 0x60;
	cpu.dr[3] = 0x5008;
	/* 0: execute; 1: write, 4 bytes; 2: I/O, 1 byte; 3: read or write, 8 bytes */
	cpu.dr7 = X86_DR7_FIXED | 0x55 | 0xdull << 20 | 0x2ull << 24 | 0xbull << 28;
	assert_true(x86_debug_active(&cpu));
	assert_true(x86_debug_data_active(&cpu));
	assert_int_equal(x86_debug_fetch(&cpu, 0x6000), 1);
	assert_int_equal(x86_debug_fetch(&cpu, 0x6001), 0);
	assert_int_equal(x86_debug_data(&cpu, 0x5000, 1, true), 2);
	assert_int_equal(x86_debug_data(&cpu, 0x5000, 1, false), 0);
	assert_int_equal(x86_debug_data(&cpu, 0x4fff, 1, true), 0);
	assert_int_equal(x86_debug_data(&cpu, 0x4ffd, 4, true), 2);
	assert_int_equal(x86_debug_data(&cpu, 0x5003, 8, true), 2 | 8);
	assert_int_equal(x86_debug_data(&cpu, 0x500f, 1, false), 8);
	assert_int_equal(x86_debug_data(&cpu, 0x5010, 1, false), 0);
	assert_int_equal(x86_debug_io(&cpu, 0x60, 1), 0); /* CR4.DE clear */
	cpu.cr4 |= X86_CR4_DE;
	assert_int_equal(x86_debug_io(&cpu, 0x5f, 2), 4);
	cpu.rflags |= X86_RF;
	assert_int_equal(x86_debug_fetch(&cpu, 0x6000), 0);
	cpu.rflags &= ~X86_RF;
	/* The VMM takes the hardware. */
	cpu.guest_debug = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	assert_int_equal(x86_debug_fetch(&cpu, 0x6000), 0);
	cpu.debug_dr[2] = 0x7000;
	cpu.debug_dr7 = X86_DR7_FIXED | 0x20;
	assert_int_equal(x86_debug_fetch(&cpu, 0x7000), 4);
}

/* ---- SMM ------------------------------------------------------------------------------------- */

static void smm_round_trip(bool long_mode)
{
	static struct x86_cpu before;

	if (long_mode) {
		machine_long(3);
		cpu.cr4 |= X86_CR4_PCIDE;
		cpu.cr3 |= 7;
	} else {
		machine_protected(3);
		cpu.features[X86_FEAT_LM / 32] &= ~BIT(X86_FEAT_LM % 32);
	}
	for (unsigned i = 0; i < 8; i++)
		cpu.regs[i] = 0x1111 * (i + 1);
	x86_set_rflags(&cpu, X86_IF | X86_CF);
	cpu.dr7 = X86_DR7_FIXED | 3;
	before = cpu;
	assert_int_equal(x86_enter_smm(&cpu), X86_BRANCH);
	assert_true(cpu.smm);
	assert_true(cpu.nmi_masked);
	assert_int_equal(cpu.mode, X86_MODE_REAL);
	assert_int_equal(cpu.seg_base[X86_CS] + x86_rip(&cpu), 0x38000);
	assert_int_equal(cpu.seg_flat, 0x3f & ~0);
	assert_int_equal(cpu.msr.smi_count, 1);
	assert_int_equal(get(0x38000 + 0x7efc, 4), long_mode ? 0x20064 : 0x20000);
	assert_int_equal(get(0x38000 + (long_mode ? 0x7ff8 : 0x7fd0), 4), 0x1111);
	put(0x38000 + (long_mode ? 0x7f00 : 0x7ef8), 0x40000, 4); /* the handler moves SMBASE */
	cpu.regs[X86_RAX] = 0;
	assert_int_equal(x86_rsm(&cpu), X86_BRANCH);
	assert_int_equal(cpu.activity, X86_ACTIVE);
	assert_false(cpu.smm);
	assert_false(cpu.nmi_masked);
	assert_int_equal(cpu.smbase, 0x40000);
	assert_memory_equal(cpu.regs, before.regs, sizeof(cpu.regs));
	assert_memory_equal(cpu.seg, before.seg, sizeof(cpu.seg));
	assert_int_equal(x86_get_rflags(&cpu), x86_get_rflags(&before));
	assert_int_equal(cpu.cr0, before.cr0);
	assert_int_equal(cpu.cr3, before.cr3);
	assert_int_equal(cpu.cr4, before.cr4);
	assert_int_equal(cpu.efer, before.efer);
	assert_int_equal(cpu.dr7, before.dr7);
	assert_int_equal(cpu.gdt.base, before.gdt.base);
	assert_int_equal(cpu.idt.limit, before.idt.limit);
	assert_int_equal(cpu.mode, before.mode);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(smm_changes, 2);
}

static void smm(void **state)
{
	(void)state;
	smm_round_trip(true);
	smm_round_trip(false);
	assert_fault(x86_rsm(&cpu), X86_UD, 0);
	x86_enter_smm(&cpu);
	put(0x48000 + 0x7ffc, X86_CR0_PG, 4); /* paging without protection */
	assert_int_equal(x86_rsm(&cpu), X86_BRANCH);
	assert_int_equal(cpu.activity, X86_SHUTDOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cr0_rules),	  cmocka_unit_test(entering_long_mode),
		cmocka_unit_test(pcid),		  cmocka_unit_test(cr4_reserved),
		cmocka_unit_test(pae_pdptrs),	  cmocka_unit_test(efer_and_xcr0),
		cmocka_unit_test(reset_and_init), cmocka_unit_test(debug_registers),
		cmocka_unit_test(breakpoints),	  cmocka_unit_test(smm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
