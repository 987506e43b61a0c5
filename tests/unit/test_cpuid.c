/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID: the supported table against this host, a vCPU's table, the instruction's dynamic bits and ranges. */
#include "tests/unit/machine.h"

static struct kvm_cpuid_entry2 table[256];

static const struct kvm_cpuid_entry2 *entry(unsigned n, u32 leaf, u32 index)
{
	for (unsigned i = 0; i < n; i++)
		if (table[i].function == leaf && table[i].index == index)
			return &table[i];
	return NULL;
}

static void supported(void **state)
{
	int n = x86_cpuid_supported(table, ARRAY_SIZE(table));
	u32 host[4];

	(void)state;
	assert_in_range(n, 20, ARRAY_SIZE(table));
	assert_int_equal(x86_cpuid_supported(table, (unsigned)n - 1), -7 /* E2BIG */);
	assert_int_equal(x86_cpuid_supported(table, 0), -7);
	n = x86_cpuid_supported(table, ARRAY_SIZE(table));
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			assert_false(table[i].function == table[j].function &&
				     table[i].index == table[j].index);
	x86_host_cpuid(0, 0, host);
	assert_int_equal(entry(n, 0, 0)->ebx, host[1]);
	assert_in_range(entry(n, 0, 0)->eax, 1, 0x1f);
	/* MONITOR, TSC-deadline, OSXSAVE, HTT are not there; X2APIC is; nothing else that the host lacks. */
	x86_host_cpuid(1, 0, host);
	assert_int_equal(entry(n, 1, 0)->ecx & (BIT(3) | BIT(24) | BIT(27)), 0);
	assert_int_equal(entry(n, 1, 0)->edx & BIT(28), 0);
	assert_int_equal(entry(n, 1, 0)->ecx & BIT(21), BIT(21));
	assert_int_equal(entry(n, 1, 0)->ecx & ~(host[2] | BIT(21) | BIT(17)), 0);
	x86_host_cpuid(7, 0, host);
	assert_int_equal(entry(n, 7, 0)->ebx & ~(host[1] | 0x100483), 0);
	assert_int_equal(entry(n, 7, 0)->ecx & BIT(4), 0);
	x86_host_cpuid(0x80000008, 0, host);
	assert_int_equal(entry(n, 0x80000008, 0)->eax & 0xff, host[0] & 0xff);
	assert_int_equal(entry(n, 0x80000001, 0)->ecx & BIT(2), 0); /* no SVM */
	assert_int_equal(entry(n, 0xd, 0)->eax & ~0x2e7u, 0);
	assert_int_equal(entry(n, 0xd, 0)->ebx, entry(n, 0xd, 0)->ecx);
	assert_int_equal(entry(n, 7, 0)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	assert_int_equal(entry(n, 1, 0)->flags, 0);
}

static void apply(void **state)
{
	unsigned n = (unsigned)x86_cpuid_supported(table, ARRAY_SIZE(table));

	(void)state;
	machine_reset();
	x86_cpuid_apply(&cpu, table, n);
	assert_true(x86_has(&cpu, X86_FEAT_SSE2));
	assert_true(x86_has(&cpu, X86_FEAT_SMAP));
	assert_true(x86_has(&cpu, X86_FEAT_LM));
	assert_false(x86_has(&cpu, X86_FEAT_MONITOR));
	assert_int_equal(cpu.cr4_reserved & (X86_CR4_SMEP | X86_CR4_PCIDE | X86_CR4_PAE), 0);
	assert_int_equal(cpu.cr4_reserved & BIT(13), BIT(13)); /* VMXE */
	assert_int_equal(cpu.maxphyaddr, entry(n, 0x80000008, 0)->eax & 0xff);
	assert_int_equal(cpu.phys_reserved, ~0ull << cpu.maxphyaddr);
	assert_int_equal(cpu.vendor_amd, x86_host_is_amd());
	/* Without a table: everything runs, 36 bits of address. */
	x86_cpuid_apply(&cpu, NULL, 0);
	assert_true(x86_has(&cpu, X86_FEAT_SSE2));
	assert_int_equal(cpu.maxphyaddr, 36);
	assert_int_equal(cpu.xcr0_supported, 0);
}

static void vendor(struct kvm_cpuid_entry2 *e, const char *name)
{
	memcpy(&e->ebx, name, 4);
	memcpy(&e->edx, name + 4, 4);
	memcpy(&e->ecx, name + 8, 4);
}

/* A small Intel table. */
static unsigned small_table(void)
{
	static const struct kvm_cpuid_entry2 small[] = {
		{ .function = 0, .eax = 0xd },
		{ .function = 1, .eax = 0x600f1, .ecx = BIT(26), .edx = BIT(9) },
		{ .function = 7, .flags = 1, .ecx = BIT(3) },
		{ .function = 0xb, .index = 0, .flags = 1, .eax = 1, .ebx = 1, .ecx = 0x100, .edx = 9 },
		{ .function = 0xb, .index = 1, .flags = 1, .eax = 4, .ebx = 4, .ecx = 0x201, .edx = 9 },
		{ .function = 0xd, .index = 0, .flags = 1, .eax = 7, .ebx = 1, .ecx = 832 },
		{ .function = 0xd, .index = 1, .flags = 1, .eax = 0xf },
		{ .function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b },
		{ .function = 0x40000001, .eax = 5 },
		{ .function = 0x80000000, .eax = 0x80000008 },
		{ .function = 0x80000008, .eax = 0x3027 },
	};

	memcpy(table, small, sizeof(small));
	vendor(&table[0], "GenuineIntel");
	return ARRAY_SIZE(small);
}

static void dynamic_bits(void **state)
{
	u32 out[4];

	(void)state;
	machine_reset();
	x86_cpuid_apply(&cpu, table, small_table());
	assert_int_equal(cpu.maxphyaddr, 39);
	x86_cpuid(&cpu, 1, 0, out);
	assert_int_equal(out[X86_CPUID_ECX], BIT(26));
	assert_int_equal(out[X86_CPUID_EDX], BIT(9));
	cpu.cr4 |= X86_CR4_OSXSAVE | X86_CR4_PKE;
	apic_base &= ~BIT64(11);
	x86_cpuid(&cpu, 1, 0, out);
	assert_int_equal(out[X86_CPUID_ECX], BIT(26) | BIT(27));
	assert_int_equal(out[X86_CPUID_EDX], 0);
	x86_cpuid(&cpu, 7, 0, out);
	assert_int_equal(out[X86_CPUID_ECX], BIT(3) | BIT(4));
	cpu.xcr0 = 3;
	x86_cpuid(&cpu, 0xd, 0, out);
	assert_int_equal(out[X86_CPUID_EBX], 576);
	x86_reset(&cpu, true);
	assert_int_equal(cpu.regs[X86_RDX], 0x600f1);
}

static void ranges(void **state)
{
	unsigned n = small_table();
	u32 out[4];

	(void)state;
	machine_reset();
	x86_cpuid_apply(&cpu, table, n);
	cpu.xcr0 = 1;
	x86_cpuid(&cpu, 0x20, 0, out); /* past the end: as leaf 0xd */
	assert_int_equal(out[X86_CPUID_EAX], 7);
	x86_cpuid(&cpu, 0x80000009, 0, out);
	assert_int_equal(out[X86_CPUID_ECX], 832);
	x86_cpuid(&cpu, 0x40000002, 1, out); /* the asked-for sub-leaf counts */
	assert_int_equal(out[X86_CPUID_EAX], 0xf);
	x86_cpuid(&cpu, 0x80000007, 0, out); /* in range, without an entry */
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	x86_cpuid(&cpu, 7, 5, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	x86_cpuid(&cpu, 0xb, 7, out);
	assert_int_equal(out[X86_CPUID_ECX], 7);
	assert_int_equal(out[X86_CPUID_EDX], 9);
	assert_int_equal(out[X86_CPUID_EAX], 0);
	vendor(&table[0], "AuthenticAMD");
	x86_cpuid_apply(&cpu, table, n);
	x86_cpuid(&cpu, 0x20, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(supported), cmocka_unit_test(apply), cmocka_unit_test(dynamic_bits),
		cmocka_unit_test(ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
