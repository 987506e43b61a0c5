/* SPDX-License-Identifier: GPL-2.0-only */
/* Hardware task switches: what they save and load, busy bits and links, where their faults belong. */
#include "tests/unit/machine.h"

#define NEW_TSS 0xb000u
#define NEW_SEL 0x50u
#define ENTRY 0x7000u

/* Offsets of the 32-bit format. */
enum { LINK = 0, EIP = 0x20, EFLAGS = 0x24, EAX = 0x28, ES = 0x48, TRAP = 0x64 };

static void make_tss(void)
{
	static const u16 sel[] = { SEL_DS0, SEL_CS0, SEL_DS0, SEL_DS0, 0, SEL_DS0 };

	set_descriptor(NEW_SEL, descriptor(NEW_TSS, 0x67, 0, 0x89));
	put(NEW_TSS + EIP, ENTRY, 4);
	put(NEW_TSS + EFLAGS, X86_IF | X86_CF | 2, 4);
	for (unsigned i = 0; i < 8; i++)
		put(NEW_TSS + EAX + i * 4, 0x1000 * (i + 1), 4);
	for (unsigned i = 0; i < 6; i++)
		put(NEW_TSS + ES + i * 4, sel[i], 4);
}

static void machine_task(void)
{
	machine_protected(0);
	make_tss();
	for (unsigned i = 0; i < 8; i++)
		cpu.regs[i] = i == X86_RSP ? 0x8000 : 0xaa00 + i;
}

static unsigned type_of(u16 selector)
{
	return get_descriptor(selector) >> 40 & 15;
}

static void check_entered(void)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(cpu.regs[i], 0x1000 * (i + 1));
	assert_int_equal(x86_rip(&cpu), ENTRY);
	assert_int_equal(cpu.seg[X86_TR].selector, NEW_SEL);
	assert_int_equal(cpu.seg[X86_TR].type, 11);
	assert_true(cpu.seg[X86_FS].unusable);
	assert_int_equal(cpu.seg[X86_GS].selector, SEL_DS0);
	assert_true(cpu.cr0 & X86_CR0_TS);
}

static void jmp(void **state)
{
	(void)state;
	machine_task();
	cpu.dr7 = X86_DR7_FIXED | 0xff;
	assert_int_equal(x86_far_jmp(&cpu, NEW_SEL, 0x1234, 4, 0x6007), X86_BRANCH);
	check_entered();
	assert_int_equal(x86_get_rflags(&cpu), X86_IF | X86_CF | 2);
	assert_int_equal(type_of(NEW_SEL), 11);
	assert_int_equal(type_of(SEL_TSS), 9);
	assert_int_equal(get(TSS_BASE + EIP, 4), 0x6007);
	assert_int_equal(get(TSS_BASE + EAX + 4, 4), 0xaa01);
	assert_int_equal(get(TSS_BASE + ES + 4, 4), SEL_CS0);
	assert_int_equal(get(NEW_TSS + LINK, 2), 0);
	assert_int_equal(cpu.dr7, X86_DR7_FIXED | 0xaa);
}

static void call_and_return(void **state)
{
	(void)state;
	machine_task();
	cpu.nmi_masked = true;
	assert_int_equal(x86_far_call(&cpu, NEW_SEL, 0, 4, 0x6007), X86_BRANCH);
	check_entered();
	assert_int_equal(x86_get_rflags(&cpu), X86_IF | X86_CF | X86_NT | 2);
	assert_int_equal(get(NEW_TSS + LINK, 2), SEL_TSS);
	assert_int_equal(type_of(SEL_TSS), 11);
	assert_int_equal(x86_iret(&cpu, 4, 0x7003), X86_BRANCH);
	assert_int_equal(cpu.seg[X86_TR].selector, SEL_TSS);
	assert_int_equal(x86_rip(&cpu), 0x6007);
	assert_int_equal(cpu.regs[X86_RCX], 0xaa01);
	assert_int_equal(type_of(NEW_SEL), 9);
	assert_int_equal(type_of(SEL_TSS), 11);
	assert_int_equal(get(NEW_TSS + EIP, 4), 0x7003);
	assert_int_equal(get(NEW_TSS + EFLAGS, 4) & X86_NT, 0);
	assert_int_equal(irets, 1);
}

static void gate_with_error(void **state)
{
	struct x86_event ev = { .kind = X86_EVENT_EXCEPTION, .return_rip = 0x6000,
				.e = { .vector = X86_GP, .has_error = true, .error = 0x50 } };

	(void)state;
	machine_task();
	put(IDT_BASE + X86_GP * 8, gate(NEW_SEL, 0, 0x85, 0), 8);
	assert_int_equal(x86_deliver(&cpu, &ev), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0x5000 - 4);
	assert_int_equal(get(0x5000 - 4, 4), 0x50);
	assert_int_equal(get(TSS_BASE + EFLAGS, 4), X86_RF | 2);
	assert_true(cpu.rflags & X86_NT);
}

/* Before the switch: the old task's. */
static void early_faults(void **state)
{
	(void)state;
	machine_task();
	set_descriptor(NEW_SEL, descriptor(NEW_TSS, 0x67, 0, 0x8b));
	assert_fault(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_GP, NEW_SEL);
	set_descriptor(NEW_SEL, descriptor(NEW_TSS, 0x67, 0, 0x09));
	assert_fault(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_NP, NEW_SEL);
	set_descriptor(NEW_SEL, descriptor(NEW_TSS, 0x66, 0, 0x89));
	assert_fault(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_TS, NEW_SEL);
	assert_int_equal(cpu.seg[X86_TR].selector, SEL_TSS);
	assert_int_equal(type_of(SEL_TSS), 11);
	cpu.rflags |= X86_NT;
	put(TSS_BASE + LINK, NEW_SEL, 2); /* IRET wants a busy one */
	assert_fault(x86_iret(&cpu, 4, 0), X86_TS, NEW_SEL);
	machine_task();
	mmio_gpa = NEW_TSS;
	assert_int_equal(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_EXIT);
	assert_int_equal(type_of(SEL_TSS), 11);
	machine_protected(3);
	make_tss();
	assert_fault(x86_far_jmp(&cpu, NEW_SEL | 3, 0, 4, 0), X86_GP, NEW_SEL);
}

/* After it: delivered in the new task, to its own stack. */
static void late_faults(void **state)
{
	(void)state;
	machine_task();
	put(IDT_BASE + X86_TS * 8, gate(SEL_CS0, 0x7700, 0x8e, 0), 8);
	put(NEW_TSS + ES, SEL_CS3 | 4, 2); /* an LDT selector without LDT */
	assert_int_equal(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0x6007), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), 0x7700);
	assert_int_equal(cpu.seg[X86_TR].selector, NEW_SEL);
	assert_int_equal(cpu.regs[X86_RSP], 0x5000 - 16);
	assert_int_equal(get(0x5000 - 16, 4), (SEL_CS3 | 4) & ~3u);
	assert_int_equal(get(0x5000 - 12, 4), ENTRY);
}

static void trap_bit(void **state)
{
	(void)state;
	machine_task();
	put(NEW_TSS + TRAP, 1, 2);
	assert_int_equal(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.pending_dr6, BIT64(15));
	assert_true(cpu.stop & X86_STOP_EVENT);
}

static void to_v86(void **state)
{
	(void)state;
	machine_task();
	put(NEW_TSS + EFLAGS, X86_VM | 2, 4);
	put(NEW_TSS + ES + 4, 0x1234, 2);
	assert_int_equal(x86_far_jmp(&cpu, NEW_SEL, 0, 4, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_V86);
	assert_int_equal(cpu.seg[X86_CS].base, 0x12340);
	assert_int_equal(cpu.seg[X86_CS].limit, 0xffff);
}

static void narrow(void **state)
{
	static const u16 fields[] = { 0, 0, 0, 0, 0, 0, 0, ENTRY, X86_CF | 2, 1, 2, 3, 4, 0x5000, 6, 7, 8,
				      SEL_DS0, SEL_CS0, SEL_DS0, SEL_DS0, 0 };

	(void)state;
	machine_task();
	set_descriptor(NEW_SEL, descriptor(NEW_TSS, 0x2b, 0, 0x81));
	phys_write(&cpu, NEW_TSS, fields, sizeof(fields));
	assert_int_equal(x86_far_call(&cpu, NEW_SEL, 0, 4, 0x6007), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), ENTRY);
	assert_int_equal(cpu.regs[X86_RBX], 4);
	assert_int_equal(cpu.regs[X86_RSP], 0x5000);
	assert_int_equal(cpu.seg[X86_DS].selector, SEL_DS0);
	assert_int_equal(type_of(NEW_SEL), 3);
	assert_int_equal(x86_iret(&cpu, 4, 0x7003), X86_BRANCH);
	assert_int_equal(get(NEW_TSS + 14, 2), 0x7003);
	assert_int_equal(x86_rip(&cpu), 0x6007);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jmp),		   cmocka_unit_test(call_and_return),
		cmocka_unit_test(gate_with_error), cmocka_unit_test(early_faults),
		cmocka_unit_test(late_faults),	   cmocka_unit_test(trap_bit),
		cmocka_unit_test(to_v86),	   cmocka_unit_test(narrow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
