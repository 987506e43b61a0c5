// SPDX-License-Identifier: GPL-2.0-only
/* KVM_SET_MSRS and KVM_GET_MSRS: which values userspace may put into which registers, and what is in them then. */
#include "tests/api/api.h"
#include "tests/payload/processor.h"

/* Not those that depend on what the machine has (SPEC_CTRL, DEBUGCTL and the like). */
static const uint32_t indices[] = {
	0x0, 0x1, 0x17, 0x1b, 0x2a, 0x33, 0x34, 0x3a, 0x3b, 0x79, 0x8b, 0x9b, 0x9e, 0xcd, 0xce, 0xfe, 0x10b,
	0x11e, 0x140, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x17b, 0x186, 0x187, 0x198, 0x199, 0x19a, 0x19b,
	0x19c, 0x1a0, 0x1a2, 0x1c4, 0x1c5, 0x1c9, 0x1db, 0x1dc, 0x200, 0x201, 0x20e, 0x20f, 0x210, 0x250,
	0x258, 0x26f, 0x277, 0x280, 0x2ff, 0x309, 0x345, 0x38d, 0x38f, 0x390, 0x3f1, 0x400, 0x401, 0x402,
	0x403, 0x427, 0x480, 0x4e0, 0x560, 0x570, 0x6a0, 0x6a2, 0x6a4, 0x6e0, 0x802, 0x803, 0x808, 0x80b,
	0x80f, 0x830, 0x83f, 0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
	0xc0000101, 0xc0000102, 0xc0000103, 0xc0000104, 0xc0010000, 0xc0010004, 0xc0010010, 0xc0010015,
	0xc001001a, 0xc001001d, 0xc001001f, 0xc0010020, 0xc0010055, 0xc0010058, 0xc0010061, 0xc0010062,
	0xc0010063, 0xc0010064, 0xc0010112, 0xc0010114, 0xc0010115, 0xc0010117, 0xc0010131, 0xc0010140,
	0xc0010141, 0xc0010200, 0xc0011020, 0xc0011022, 0xc0011023, 0xc0011029, 0xc001102a, 0x11, 0x12,
	0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d06, 0x4b564d07,
	0x40000000, 0x40000001, 0x40000080, 0x12345678,
};

static const uint64_t values[] = {
	0, 1, 2, 3, 6, 0x10, 0x100, 0x400, 0x800, 0x1000, 0x10000, 0x0007040600070406, 0x0606060606060606, 0xfee00900, 0xfee00d00,
	0x100000000, 0x00007ffffffff000, 0x0000800000000000, 0xffff800000000000, 0x8000000000000000, ~0ull,
};

static long access_msr(struct machine *m, unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} s = { { .nmsrs = 1 }, { .index = index, .data = *value } };
	long r = ask(m->vcpu, request, &s);

	*value = s.entry.data;
	return r;
}

static void one(uint32_t index)
{
	struct machine m = machine_open(true, true);
	uint64_t value = 0;
	long r;

	machine_ram(&m);
	processor_set(m.kvm, m.vcpu, 1u << 21 | 1u << 24);
	r = access_msr(&m, KVM_GET_MSRS, index, &value);
	printf("msrs/%x: %s %llx", index, r == 1 ? "ok" : answer(r ? r : -1), (unsigned long long)(r == 1 ? value : 0));
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		value = values[i];
		r = access_msr(&m, KVM_SET_MSRS, index, &value);
		if (r != 1)
			continue;
		printf(" %llx", (unsigned long long)values[i]);
		value = 0;
		r = access_msr(&m, KVM_GET_MSRS, index, &value);
		if (r != 1)
			printf("=?");
		else if (value != values[i])
			printf("=%llx", (unsigned long long)value);
	}
	printf("\n");
	machine_close(&m);
}

void test_msrs(void)
{
	for (unsigned i = 0; i < sizeof(indices) / sizeof(indices[0]); i++)
		one(indices[i]);
}
