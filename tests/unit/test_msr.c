/* SPDX-License-Identifier: GPL-2.0-only */
/* MSRs: what a guest and what a VMM may read and write. Rules as KVM of Linux 6.1 has them. */
#include "tests/unit/machine.h"

/* One access by the guest: 'r' or 'w'; the expected outcome; for reads the value. */
struct step {
	char kind;
	u32 index;
	u64 value;
	bool ok;
};

static void guest(const struct step *s)
{
	u64 value = 0;
	enum x86_result r;

	if (s->kind == 'w')
		r = x86_wrmsr(&cpu, s->index, s->value);
	else
		r = x86_rdmsr(&cpu, s->index, &value);
	if (r != (s->ok ? X86_OK : X86_FAULT))
		fail_msg("MSR 0x%x %c 0x%llx: result %d", s->index, s->kind, (unsigned long long)s->value, r);
	if (s->ok && s->kind == 'r' && value != s->value)
		fail_msg("MSR 0x%x reads 0x%llx", s->index, (unsigned long long)value);
	if (!s->ok)
		assert_int_equal(cpu.fault.vector, X86_GP);
}

static void run(const struct step *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		guest(&s[i]);
}

#define RUN(steps) run(steps, ARRAY_SIZE(steps))
#define NON_CANONICAL 0x800000000000ull

static void system_calls(void **state)
{
	static const struct step steps[] = {
		{ 'w', 0xc0000081, ~0ull, 1 }, { 'r', 0xc0000081, ~0ull, 1 },
		{ 'w', 0xc0000082, NON_CANONICAL, 0 },
		{ 'w', 0xc0000082, NON_CANONICAL - 1, 1 }, { 'w', 0xc0000083, NON_CANONICAL, 0 },
		{ 'w', 0xc0000084, 0x47700, 1 }, { 'w', 0xc0000102, NON_CANONICAL, 0 },
		{ 'w', 0xc0000101, 0xffff800012345678, 1 }, { 'w', 0xc0000100, NON_CANONICAL, 0 },
		{ 'w', 0x174, 0x10, 1 }, { 'r', 0x174, 0x10, 1 },
	};

	(void)state;
	machine_long(0);
	RUN(steps);
	assert_int_equal(cpu.seg_base[X86_GS], 0xffff800012345678);
}

static void by_vendor(void **state)
{
	static const struct step amd[] = {
		{ 'w', 0x176, 0x1234567890, 1 }, { 'r', 0x176, 0x34567890, 1 },
		{ 'w', 0xc0000103, 0x1122334455, 1 }, { 'r', 0xc0000103, 0x22334455, 1 },
		{ 'r', 0x3a, 0, 0 }, { 'r', 0xc0010114, 0, 1 }, { 'w', 0xc0010114, 0x20, 0 },
		{ 'w', 0xc0010114, 0x18, 1 }, { 'w', 0xc0010114, 0, 1 }, /* locked */
		{ 'r', 0xc0010114, 0x18, 1 },
		{ 'w', 0xc0011029, 2, 1 }, { 'w', 0xc0011029, 0, 0 }, { 'w', 0xc0010117, 0x1001, 0 },
		{ 'w', 0xc0010117, 0x3000, 1 }, { 'r', 0xc0010117, 0x3000, 1 }, { 'w', 0x1d9, 0x3d, 1 },
		{ 'r', 0x1d9, 1, 1 }, { 'w', 0x1d9, 0x40, 0 },
	};
	static const struct step intel[] = {
		{ 'w', 0x176, NON_CANONICAL, 1 }, { 'r', 0x176, 0xffff800000000000, 1 },
		{ 'w', 0xc0000103, 0x1122334455, 0 }, { 'r', 0xc0010114, 0, 0 }, { 'w', 0x3a, 2, 0 },
		{ 'w', 0x3a, 1, 1 }, { 'w', 0x3a, 1, 0 }, { 'w', 0x1d9, 4, 0 },
	};

	(void)state;
	machine_long(0);
	cpu.vendor_amd = true;
	RUN(amd);
	machine_long(0);
	cpu.vendor_amd = false;
	RUN(intel);
}

static void memory_types(void **state)
{
	static const struct step steps[] = {
		{ 'r', 0x277, 0x0007040600070406, 1 }, { 'w', 0x277, 0x0007040600070402, 0 },
		{ 'w', 0x277, 0x0007040600070403, 0 }, { 'w', 0x277, 0x0807040600070406, 0 },
		{ 'w', 0x277, 0x0007010500070406, 1 }, { 'r', 0xfe, 0x508, 1 }, { 'w', 0xfe, 0, 0 },
		{ 'w', 0x250, 0x0606060606060606, 1 }, { 'w', 0x250, 0x0606060606060602, 0 },
		{ 'w', 0x26f, 0x0707070707070707, 0 }, { 'w', 0x259, 0x0505050505050505, 1 },
		{ 'r', 0x259, 0x0505050505050505, 1 }, { 'r', 0x258, 0, 1 }, { 'r', 0x25a, 0, 0 },
		{ 'w', 0x2ff, 0xc06, 1 }, { 'w', 0x2ff, 0xc07, 0 }, { 'w', 0x2ff, 0x1c06, 0 },
		{ 'w', 0x200, 0x80000006, 1 }, { 'w', 0x200, 0x80000106, 0 }, { 'w', 0x200, 1ull << 40, 0 },
		{ 'w', 0x201, 0xff80000800, 1 }, { 'w', 0x201, 0xff80000801, 0 },
		{ 'r', 0x201, 0xff80000800, 1 },
		{ 'r', 0x200, 0x80000006, 1 }, { 'r', 0x20f, 0, 1 }, { 'r', 0x210, 0, 0 },
	};

	(void)state;
	machine_long(0);
	RUN(steps);
}

static void machine_check(void **state)
{
	static const struct step none[] = {
		{ 'r', 0x179, 32, 1 }, { 'w', 0x179, 0, 0 }, { 'w', 0x17b, 0, 0 }, { 'r', 0x17b, 0, 0 },
		{ 'w', 0x17a, 4, 1 }, { 'w', 0x400, ~0ull, 1 }, { 'w', 0x400, 5, 0 },
		{ 'w', 0x410, ~0ull & ~BIT64(10), 1 }, { 'w', 0x401, 1, 0 }, { 'w', 0x401, 0, 1 },
		{ 'w', 0x402, 0x1234, 1 }, { 'r', 0x47f, 0, 1 }, { 'r', 0x480, 0, 0 }, { 'r', 0x280, 0, 0 },
	};
	static const struct step ten[] = {
		{ 'w', 0x17b, ~0ull, 1 }, { 'w', 0x17b, 1, 0 }, { 'r', 0x427, 0, 1 }, { 'r', 0x428, 0, 0 },
		{ 'w', 0x289, BIT64(30) | 5, 1 }, { 'w', 0x289, BIT64(31), 0 }, { 'w', 0x28a, 0, 0 },
	};
	static const struct step hwcr[] = {
		{ 'w', 0xc0010015, BIT64(18) | 0x148, 1 }, { 'r', 0xc0010015, BIT64(18), 1 },
		{ 'w', 0xc0010015, 1, 0 }, { 'w', 0x401, 1, 1 },
	};

	(void)state;
	machine_long(0);
	cpu.vendor_amd = true;
	RUN(none);
	RUN(hwcr);
	machine_long(0);
	cpu.msr.mcg_cap = 10 | BIT64(8) | BIT64(10);
	RUN(ten);
}

static void odd_ones(void **state)
{
	static const struct step steps[] = {
		{ 'r', 0x17, 0, 1 }, { 'w', 0x17, 0, 0 }, { 'r', 0x198, 1000 | 4ull << 40, 1 },
		{ 'r', 0xcd, 3, 1 },
		{ 'w', 0x8b, 5, 1 }, { 'w', 0x79, 5, 1 }, { 'r', 0x79, 0, 0 }, { 'r', 0x9e, 0, 0 },
		{ 'w', 0x9e, 0, 0 }, { 'w', 0x34, 0, 0 }, { 'r', 0x34, 0, 1 }, { 'w', 0xc0010001, 7, 1 },
		{ 'r', 0xc0010001, 0, 1 }, { 'w', 0xc0010058, 1, 0 }, { 'w', 0xc0010058, 0, 1 },
		{ 'r', 0xc0010010, 0, 1 }, { 'w', 0xc0010010, 0, 0 }, { 'r', 0x11e, 0xbe702111, 1 },
		{ 'w', 0x1a0, 0x1880, 1 }, { 'r', 0x1a0, 0x1800, 1 }, { 'w', 0x1a0, 0x800, 0 },
		{ 'w', 0xce, 0, 0 }, { 'r', 0xce, BIT64(31), 1 }, { 'w', 0x140, 2, 0 }, { 'w', 0x140, 1, 1 },
		{ 'w', 0xda0, 1, 0 }, { 'w', 0xda0, 0, 1 }, { 'r', 0x10a, 0, 0 }, { 'r', 0x48, 0, 0 },
		{ 'w', 0x49, 1, 0 }, { 'r', 0x345, 0, 0 }, { 'r', 0xc0010140, 0, 0 },
		{ 'r', 0xc0000104, 0, 0 },
		{ 'w', 0x1b, 0xfee00000, 0 }, { 'r', 0x1b, 0, 0 }, { 'r', 0x12345678, 0, 0 },
		{ 'w', 0xc0000080, BIT64(20), 0 },
	};

	(void)state;
	machine_long(0);
	RUN(steps);
}

/* What CPUID offers. */
static void offers(void **state)
{
	static const struct kvm_cpuid_entry2 table[] = {
		{ .function = 7, .flags = 1, .edx = BIT(26) | BIT(29) },
		{ .function = 0x80000001, .ecx = BIT(9) },
		{ .function = 0x80000008, .ebx = BIT(24) },
	};
	static const struct step steps[] = {
		{ 'w', 0x48, 5, 1 }, { 'w', 0x48, 2, 0 }, { 'r', 0x48, 5, 1 }, { 'w', 0x49, 1, 1 },
		{ 'w', 0x49, 2, 0 }, { 'r', 0x49, 0, 0 }, { 'w', 0x10a, 0, 0 }, { 'w', 0xc0010140, 4, 1 },
		{ 'r', 0xc0010140, 4, 1 },
	};
	u64 value;

	(void)state;
	machine_long(0);
	cpu.cpuid = table;
	cpu.nr_cpuid = ARRAY_SIZE(table);
	RUN(steps);
	assert_int_equal(x86_rdmsr(&cpu, 0x10a, &value), X86_OK);
	memset(cpu.features, 0, sizeof(cpu.features));
	assert_int_equal(x86_rdmsr(&cpu, 0xc0000103, &value), X86_FAULT);
}

static void host(void **state)
{
	u64 value = 0;

	(void)state;
	machine_long(0);
	assert_true(x86_msr_set_host(&cpu, 0x8b, 5));
	assert_true(x86_msr_get_host(&cpu, 0x8b, &value));
	assert_int_equal(value, 5);
	assert_true(x86_msr_set_host(&cpu, 0x9e, 0x50000));
	assert_int_equal(cpu.smbase, 0x50000);
	assert_true(x86_msr_set_host(&cpu, 0x10a, 1));
	assert_true(x86_msr_set_host(&cpu, 0xc0000080, X86_EFER_SCE)); /* LME changes, paging or not */
	assert_int_equal(cpu.efer, X86_EFER_SCE | X86_EFER_LMA);
	assert_false(x86_msr_set_host(&cpu, 0xc0000080, BIT64(20)));
	assert_true(x86_msr_set_host(&cpu, 0x401, 0x1234));
	assert_true(x86_msr_set_host(&cpu, 0x345, 0));
	assert_false(x86_msr_set_host(&cpu, 0x345, 1));
	assert_false(x86_msr_set_host(&cpu, 0x1b, 0)); /* not kept here */
	assert_false(x86_msr_get_host(&cpu, 0x12345678, &value));
}

/* Every listed MSR can be read and written back by the VMM; every feature MSR has a value. */
static void lists(void **state)
{
	u32 list[128];
	unsigned n;

	(void)state;
	machine_long(0);
	cpu.vendor_amd = x86_host_is_amd();
	n = x86_msr_list(list, ARRAY_SIZE(list));
	assert_in_range(n, 20, ARRAY_SIZE(list));
	assert_int_equal(x86_msr_list(list, 3), n);
	n = x86_msr_list(list, ARRAY_SIZE(list));
	for (unsigned i = 0; i < n; i++) {
		u64 value = 1;

		assert_true(x86_msr_get_host(&cpu, list[i], &value));
		assert_true(x86_msr_set_host(&cpu, list[i], value));
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(list[i], list[j]);
	}
	n = x86_msr_feature_list(list, ARRAY_SIZE(list));
	for (unsigned i = 0; i < n; i++) {
		u64 value;

		assert_true(x86_msr_feature_get(list[i], &value));
	}
}

/* The search depends on the order of the rows: every one must be found. */
static void all_numbers(void **state)
{
	unsigned known = 0;
	u64 value;

	(void)state;
	machine_long(0);
	for (u32 base = 0; base < 3; base++)
		for (u32 i = 0; i < 0x12000; i++) {
			u32 index = (base ? 0xc0000000 : 0) + (base == 2 ? 0x10000 : 0) + i;

			known += x86_msr_get_host(&cpu, index, &value);
			x86_rdmsr(&cpu, index, &value);
		}
	assert_in_range(known, 200, 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_calls), cmocka_unit_test(by_vendor), cmocka_unit_test(memory_types),
		cmocka_unit_test(machine_check), cmocka_unit_test(odd_ones), cmocka_unit_test(offers),
		cmocka_unit_test(host),		 cmocka_unit_test(lists),    cmocka_unit_test(all_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
