/* SPDX-License-Identifier: GPL-2.0-only */
/* Event delivery: tables and gates, frames, error codes, the double-fault table, shutdown. */
#include "tests/unit/machine.h"

#define HANDLER 0x7000u

static void set_gate(unsigned vector, u16 selector, u32 offset, unsigned byte)
{
	put(IDT_BASE + vector * 8, gate(selector, offset, byte, 0), 8);
}

static void set_gate64(unsigned vector, u16 selector, u64 offset, unsigned byte, unsigned ist)
{
	put(IDT_BASE + vector * 16, gate(selector, (u32)offset, byte, ist), 8);
	put(IDT_BASE + vector * 16 + 8, offset >> 32, 8);
}

static enum x86_result deliver(enum x86_event_kind kind, unsigned vector, u32 error, u64 payload)
{
	struct x86_event ev = { .kind = kind, .return_rip = x86_rip(&cpu) + (kind == X86_EVENT_SOFT ? 2 : 0),
				.e = { .vector = vector, .error = error, .payload = payload } };

	ev.e.has_error = kind == X86_EVENT_EXCEPTION && x86_vector_has_error(vector);
	return x86_deliver(&cpu, &ev);
}

static u64 pushed(unsigned i, unsigned size)
{
	return get(cpu.regs[X86_RSP] + i * size, size);
}

/* ---- real and V86 mode ----------------------------------------------------------------------- */

static void real_mode(void **state)
{
	(void)state;
	machine_reset();
	cpu.idt = (struct x86_dtr) { 0, 0x3ff };
	put(0x21 * 4, 0x12345678, 4);
	cpu.regs[X86_RSP] = 0x8000;
	x86_set_rflags(&cpu, X86_IF | X86_TF | X86_CF);
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x21, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.seg[X86_CS].selector, 0x1234);
	assert_int_equal(x86_rip(&cpu), 0x5678);
	assert_int_equal(cpu.regs[X86_RSP], 0x7ffa);
	assert_int_equal(pushed(0, 2), 0xfff0);
	assert_int_equal(pushed(1, 2), 0xf000);
	assert_int_equal(pushed(2, 2), X86_IF | X86_TF | X86_CF | 2);
	assert_int_equal(x86_get_rflags(&cpu), X86_CF | 2);
	/* A vector past the limit: #GP, whose vector is past it too, then #DF: shutdown. */
	cpu.idt.limit = 0;
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x21, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.activity, X86_SHUTDOWN);
}

static void v86_machine(unsigned iopl)
{
	machine_protected(0);
	cpu.rflags |= X86_VM | iopl << X86_IOPL_SHIFT | X86_IF;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		x86_load_sreg_real(&cpu, i, 0x1000);
	cpu.regs[X86_RSP] = 0x100;
	cpu.regs[X86_REG_RIP] = 0x200;
	set_gate(0x30, SEL_CS0, HANDLER, 0xee);
	set_gate(X86_GP, SEL_CS0, HANDLER, 0x8e);
}

static void v86_to_ring_0(void **state)
{
	(void)state;
	v86_machine(3);
	assert_int_equal(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_PROT);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.regs[X86_RSP], STACK0 - 36);
	assert_int_equal(pushed(0, 4), 0x202);
	assert_int_equal(pushed(1, 4), 0x1000);
	assert_int_equal(pushed(2, 4), X86_VM | X86_IOPL | X86_IF | 2);
	assert_int_equal(pushed(3, 4), 0x100);
	assert_int_equal(pushed(4, 4), 0x1000);
	assert_int_equal(pushed(8, 4), 0x1000);
	assert_true(cpu.seg[X86_DS].unusable);
	assert_true(cpu.seg[X86_GS].unusable);
	v86_machine(0);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0);
	/* A handler that is not at CPL 0. */
	v86_machine(3);
	set_gate(0x30, SEL_CS3, HANDLER, 0xee);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, SEL_CS3 & ~3);
}

static void v86_redirection(void **state)
{
	(void)state;
	v86_machine(0);
	cpu.cr4 |= X86_CR4_VME;
	put(TSS_BASE + 102, 0x100, 2); /* bitmap of INT n at 0xe0 */
	put(0x30 * 4, 0x20000400, 4);
	assert_int_equal(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.mode, X86_MODE_V86);
	assert_int_equal(cpu.seg[X86_CS].selector, 0x2000);
	assert_int_equal(x86_rip(&cpu), 0x400);
	assert_int_equal(get(0x10000 + 0xfe, 2), X86_IOPL | 2); /* IF shows VIF, which is clear */
	assert_true(cpu.rflags & X86_IF);
	v86_machine(0);
	cpu.cr4 |= X86_CR4_VME;
	put(TSS_BASE + 102, 0x100, 2);
	put(TSS_BASE + 0xe0 + 6, 1, 1);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0);
}

/* ---- protected mode -------------------------------------------------------------------------- */

static void same_level(void **state)
{
	(void)state;
	machine_protected(0);
	cpu.rflags |= X86_IF | X86_TF | X86_NT;
	set_gate(0x30, SEL_CS0, HANDLER, 0x8e);
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000 - 12);
	assert_int_equal(pushed(0, 4), 0x6000);
	assert_int_equal(pushed(1, 4), SEL_CS0);
	assert_int_equal(pushed(2, 4), X86_IF | X86_TF | X86_NT | 2);
	assert_int_equal(x86_get_rflags(&cpu), 2);
	cpu.rflags |= X86_IF;
	set_gate(0x31, SEL_CS0, HANDLER, 0x8f); /* trap gates leave IF */
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x31, 0, 0), X86_BRANCH);
	assert_int_equal(x86_get_rflags(&cpu), X86_IF | 2);
	set_gate(X86_GP, SEL_CS0, HANDLER, 0x86); /* 16-bit gate, error code */
	cpu.regs[X86_RSP] = 0x8000;
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_GP, 0x1234, 0), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000 - 8);
	assert_int_equal(pushed(0, 2), 0x1234);
}

static void inner_level(void **state)
{
	(void)state;
	machine_protected(3);
	set_gate(X86_PF_VECTOR, SEL_CS0, HANDLER, 0x8e);
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_PF_VECTOR, 6, 0xdeadb000), X86_BRANCH);
	assert_int_equal(cpu.cr2, 0xdeadb000);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.regs[X86_RSP], STACK0 - 24);
	assert_int_equal(pushed(0, 4), 6);
	assert_int_equal(pushed(1, 4), 0x6000);
	assert_int_equal(pushed(2, 4), SEL_CS3);
	assert_int_equal(pushed(3, 4), X86_RF | 2); /* a fault: RF in the image */
	assert_int_equal(pushed(4, 4), 0x8000);
	assert_int_equal(pushed(5, 4), SEL_DS3);
	assert_int_equal(x86_get_rflags(&cpu), 2);
}

static void soft_checks(void **state)
{
	(void)state;
	machine_protected(3);
	set_gate(0x30, SEL_CS0, HANDLER, 0x8e);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0x30 * 8 + 2);
	set_gate(0x30, SEL_CS0, HANDLER, 0x6e);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_NP, 0x30 * 8 + 2);
	set_gate(0x30, SEL_CS0, HANDLER, 0xec);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0x30 * 8 + 2);
	set_gate(0x30, 0, HANDLER, 0xee);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0);
	cpu.idt.limit = 0x30 * 8 + 6;
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0x30 * 8 + 2);
	assert_fault(deliver(X86_EVENT_ICEBP, 0x30, 0, 0), X86_GP, 0x30 * 8 + 3); /* EXT */
}

/* ---- long mode ------------------------------------------------------------------------------- */

static void long_mode(void **state)
{
	(void)state;
	machine_long(0);
	cpu.regs[X86_RSP] = 0x8005;
	set_gate64(0x30, SEL_CS64, 0xffff800000007000, 0x8e, 0);
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), 0xffff800000007000);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000 - 40); /* aligned, SS:RSP always */
	assert_int_equal(pushed(3, 8), 0x8005);
	assert_int_equal(pushed(4, 8), SEL_DS0);
	assert_int_equal(cpu.seg[X86_SS].selector, SEL_DS0);
	machine_long(3);
	set_gate64(0x30, SEL_CS64, HANDLER, 0x8e, 0);
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], STACK0 - 40);
	assert_int_equal(cpu.seg[X86_SS].selector, 0);
	assert_true(cpu.seg[X86_SS].unusable);
	assert_int_equal(cpu.cpl, 0);
	machine_long(0);
	put(TSS_BASE + 0x24 + 8, 0xa008, 8);
	set_gate64(X86_DF_VECTOR, SEL_CS64, HANDLER, 0x8e, 2);
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_DF_VECTOR, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_RSP], 0xa000 - 48);
	assert_int_equal(pushed(0, 8), 0);
	assert_int_equal(pushed(4, 8), 0x8000);
	set_gate64(0x30, SEL_CS0, HANDLER, 0xee, 0); /* not 64-bit code */
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, SEL_CS0);
	set_gate64(0x30, SEL_CS64, HANDLER, 0xe6, 0); /* 16-bit gate */
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_GP, 0x30 * 8 + 2);
	put(TSS_BASE + 0x24, 0x800000000000, 8);
	set_gate64(0x30, SEL_CS64, HANDLER, 0xee, 1);
	assert_fault(deliver(X86_EVENT_SOFT, 0x30, 0, 0), X86_SS_VECTOR, 0);
}

/* ---- two events ------------------------------------------------------------------------------ */

/* SDM vol. 3 table 6-5. */
static bool reference_double(unsigned first, unsigned second)
{
	u32 contributory = BIT(0) | BIT(10) | BIT(11) | BIT(12) | BIT(13);

	if (contributory >> first & 1)
		return contributory >> second & 1;
	return first == 14 && (second == 14 || (contributory >> second & 1));
}

/* Makes delivery of `first` end in the fault `second`: #GP, #NP, #TS, #SS, #PF. */
static void spoil(unsigned first, unsigned second)
{
	set_gate(first, SEL_CS0, HANDLER, 0x8e);
	switch (second) {
	case X86_GP:
		set_gate(first, SEL_CS0, HANDLER, 0x80);
		break;
	case X86_NP:
		set_gate(first, SEL_CS0, HANDLER, 0x0e);
		break;
	case X86_TS: /* inner stack: code of DPL 0 seen from CPL 3, but no stack for it */
	case X86_SS_VECTOR:
		set_descriptor(SEL_FREE, descriptor(0, 0xfffff, G_D, 0xba)); /* DPL 1 */
		set_descriptor(SEL_FREE + 8, descriptor(0, 0xfffff, G_D, second == X86_TS ? 0xf2 : 0x32));
		put(TSS_BASE + 8 + 8, (SEL_FREE + 8) | 1, 2);
		set_gate(first, SEL_FREE, HANDLER, 0x8e);
		break;
	default:
		break;
	}
}

static void double_fault_table(void **state)
{
	static const u8 firsts[] = { 0, 1, 3, 6, 10, 11, 12, 13, 14, 16, 17 };
	static const u8 seconds[] = { X86_GP, X86_NP, X86_TS, X86_SS_VECTOR };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(firsts); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(seconds); j++) {
			unsigned first = firsts[i], second = seconds[j];
			u32 want = second == X86_GP || second == X86_NP ? first * 8 + 3
				   : second == X86_TS ? (SEL_FREE + 8) | 1 : (SEL_FREE + 8) | 1;

			if (first == second) /* its handler is the spoilt one: third fault */
				continue;
			machine_protected(3);
			set_gate(X86_DF_VECTOR, SEL_CS0, HANDLER + 8, 0x8e);
			set_gate(second, SEL_CS0, HANDLER + second, 0x8e);
			spoil(first, second);
			assert_int_equal(deliver(X86_EVENT_EXCEPTION, first, 0, 0x5000), X86_BRANCH);
			assert_int_equal(cpu.activity, X86_ACTIVE);
			if (reference_double(first, second)) {
				assert_int_equal(x86_rip(&cpu), HANDLER + 8);
				assert_int_equal(pushed(0, 4), 0);
			} else {
				assert_int_equal(x86_rip(&cpu), HANDLER + second);
				assert_int_equal(pushed(0, 4), want);
			}
		}
	}
}

/* Delivery itself page-faults: a second page fault makes a double fault, and CR2 is the second's. */
static void page_faults(void **state)
{
	(void)state;
	machine_long(3);
	set_gate64(X86_DF_VECTOR, SEL_CS64, HANDLER, 0x8e, 1);
	put(TSS_BASE + 0x24, 0x9800, 8);
	set_gate64(X86_PF_VECTOR, SEL_CS64, HANDLER + 1, 0x8e, 0);
	put(TSS_BASE + 4, 0x40001000, 8); /* stack not mapped */
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_PF_VECTOR, 4, 0x1111), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), HANDLER);
	assert_int_equal(cpu.cr2, 0x40001000 - 8);
	/* An interrupt that page-faults gives the page fault alone, with the interrupted RIP. */
	machine_long(3);
	put(TSS_BASE + 0x24, 0x9800, 8);
	set_gate64(0x30, SEL_CS64, HANDLER, 0x8e, 0);
	set_gate64(X86_PF_VECTOR, SEL_CS64, HANDLER + 1, 0x8e, 1);
	put(TSS_BASE + 4, 0x40001000, 8);
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(x86_rip(&cpu), HANDLER + 1);
	assert_int_equal(pushed(0, 8), 2); /* supervisor write; no EXT in page faults */
	assert_int_equal(pushed(1, 8), 0x6000);
}

static void triple_fault(void **state)
{
	(void)state;
	machine_protected(0);
	cpu.idt.limit = 0;
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_UD, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.activity, X86_SHUTDOWN);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000);
	assert_int_equal(x86_rip(&cpu), 0x6000);
}

/* ---- masks, debug exceptions, exits ---------------------------------------------------------- */

static void masks(void **state)
{
	(void)state;
	machine_protected(0);
	set_gate(2, SEL_CS0, HANDLER, 0x8e);
	assert_false(x86_irq_allowed(&cpu));
	cpu.rflags |= X86_IF;
	assert_true(x86_irq_allowed(&cpu));
	cpu.shadow = KVM_X86_SHADOW_INT_STI;
	assert_false(x86_irq_allowed(&cpu));
	assert_false(x86_nmi_allowed(&cpu));
	cpu.shadow = 0;
	cpu.activity = X86_HALTED;
	assert_int_equal(deliver(X86_EVENT_NMI, 2, 0, 0), X86_BRANCH);
	assert_false(x86_nmi_allowed(&cpu));
	assert_int_equal(cpu.activity, X86_ACTIVE);
}

static void debug_exception(void **state)
{
	(void)state;
	machine_protected(0);
	set_gate(1, SEL_CS0, HANDLER, 0x8e);
	cpu.dr6 = X86_DR6_INIT | 0xf;
	cpu.dr7 = X86_DR7_FIXED | BIT(13);
	cpu.rflags |= X86_TF;
	assert_int_equal(deliver(X86_EVENT_EXCEPTION, X86_DB, 0, BIT64(14) | 1), X86_BRANCH);
	assert_int_equal(cpu.dr6, X86_DR6_INIT | BIT64(14) | 1);
	assert_int_equal(cpu.dr7, X86_DR7_FIXED);
	assert_int_equal(pushed(2, 4), X86_TF | 2); /* no RF */
	assert_int_equal(cpu.rflags & X86_TF, 0);
}

static void exit_then_again(void **state)
{
	(void)state;
	machine_protected(3);
	set_gate(0x30, SEL_CS0, HANDLER, 0x8e);
	mmio_gpa = TSS_BASE;
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_EXIT);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.regs[X86_RSP], 0x8000);
	mmio_gpa = ~0ull;
	assert_int_equal(deliver(X86_EVENT_IRQ, 0x30, 0, 0), X86_BRANCH);
	assert_int_equal(cpu.cpl, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_mode),	     cmocka_unit_test(v86_to_ring_0),
		cmocka_unit_test(v86_redirection),   cmocka_unit_test(same_level),
		cmocka_unit_test(inner_level),	     cmocka_unit_test(soft_checks),
		cmocka_unit_test(long_mode),	     cmocka_unit_test(double_fault_table),
		cmocka_unit_test(page_faults),	     cmocka_unit_test(triple_fault),
		cmocka_unit_test(masks),	     cmocka_unit_test(debug_exception),
		cmocka_unit_test(exit_then_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
