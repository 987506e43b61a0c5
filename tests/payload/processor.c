// SPDX-License-Identifier: GPL-2.0-only
/* The processor that the guests of the tests see: the same on every KVM. */
#include <sys/ioctl.h>

#include "tests/payload/payload.h"
#include "tests/payload/processor.h"

#define NR_CPUID 128

/* What both QEMU's TCG and ordinary hosts have. */
static const struct {
	u32 function, index, eax, ebx, ecx, edx;
} common[] = {
	{ 0x0, 0, ~0u, ~0u, ~0u, ~0u },
	{ 0x1, 0, 0, 0, 0x16d83203 & ~(1u << 24), 0x078bfbfd },
	{ 0x7, 0, 0, 0x001803a9, 0x00000004, 0 },
	{ 0xd, 0, 7, ~0u, 0, 0 },
	{ 0xd, 1, 1, 0, 0, 0 },
	{ 0xd, 2, ~0u, ~0u, 0, 0 },
	{ 0x80000000, 0, 0, ~0u, ~0u, ~0u },
	{ 0x80000001, 0, 0, 0, 0x00000031, 0x2c100800 },
	{ 0x80000008, 0, 0, 0, 0, 0 },
};

static const u32 fixed_eax[][2] = { { 0x0, 0xd }, { 0x1, 0x00060fb1 }, { 0x80000000, 0x80000008 },
				    { 0x80000008, 0x3028 } };

static void fix_entry(struct kvm_cpuid_entry2 *e)
{
	for (unsigned i = 0; i < sizeof(fixed_eax) / sizeof(fixed_eax[0]); i++)
		if (e->function == fixed_eax[i][0])
			e->eax = fixed_eax[i][1];
	if (e->function == 0xd && e->index == 0)
		e->ebx = e->ecx = 0x340;
	if (e->function == 0 || e->function == 0x80000000) {
		memcpy(&e->ebx, "Auth", 4);
		memcpy(&e->edx, "enti", 4);
		memcpy(&e->ecx, "cAMD", 4);
	}
}

static bool keep_entry(struct kvm_cpuid_entry2 *e)
{
	for (unsigned i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
		if (e->function != common[i].function || e->index != common[i].index)
			continue;
		e->eax &= common[i].eax;
		e->ebx &= common[i].ebx;
		e->ecx &= common[i].ecx;
		e->edx &= common[i].edx;
		fix_entry(e);
		return true;
	}
	return false;
}

int processor_set(int kvm, int vcpu, u32 more_ecx)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + NR_CPUID * sizeof(c->entries[0]));
	unsigned n = 0;
	int r;

	c->nent = NR_CPUID;
	r = ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c);
	for (unsigned i = 0; !r && i < c->nent; i++)
		if (keep_entry(&c->entries[i]))
			c->entries[n++] = c->entries[i];
	c->nent = n;
	for (unsigned i = 0; i < n; i++)
		if (c->entries[i].function == 1)
			c->entries[i].ecx |= more_ecx;
	if (!r)
		r = ioctl(vcpu, KVM_SET_CPUID2, c);
	free(c);
	return r;
}
