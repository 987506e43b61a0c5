// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID of a vCPU: KVM's supported leaves, with what depends on the machine put in: one package,
 * each vCPU a core of one thread, the APIC id equal to the vCPU's number. (Intel SDM vol. 2A,
 * CPUID; AMD APM vol. 3, appendix E.)
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"

#define CPUID_ENTRIES_MAX 256
#define EXTRA_ENTRIES 3 /* topology sub-leaves added below */

#define LEAF1_ECX_TSC_DEADLINE BIT(24)
#define LEAF1_ECX_HYPERVISOR BIT(31)
#define LEAF1_EDX_HTT BIT(28)
#define LEAF80000001_ECX_CMP_LEGACY BIT(1)

/* Bits of an APIC id that tell n processors apart. */
static unsigned id_bits(unsigned n)
{
	return n > 1 ? 32 - __builtin_clz(n - 1) : 0;
}

/* Leaf 4 of Intel and 0x8000001d of AMD tell each cache; only the last level is shared. */
static void fix_cache(struct kvm_cpuid_entry2 *e, unsigned cpus, bool intel)
{
	unsigned type = e->eax & 31, level = (e->eax >> 5) & 7;
	unsigned sharing = level >= 3 ? BIT(id_bits(cpus)) - 1 : 0;

	if (!type)
		return;
	e->eax &= BIT(14) - 1;
	e->eax |= sharing << 14;
	if (intel)
		e->eax |= (BIT(id_bits(cpus)) - 1) << 26;
}

static void fix_entry(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu, bool amd, bool tsc_deadline)
{
	unsigned cpus = vcpu->machine->config->cpus;

	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | cpus << 16 | vcpu->id << 24;
		e->ecx |= LEAF1_ECX_HYPERVISOR | (tsc_deadline ? LEAF1_ECX_TSC_DEADLINE : 0);
		e->edx = (e->edx & ~LEAF1_EDX_HTT) | (cpus > 1 ? LEAF1_EDX_HTT : 0);
		break;
	case 4:
		fix_cache(e, cpus, true);
		break;
	case 0x80000001:
		e->ecx &= ~LEAF80000001_ECX_CMP_LEGACY;
		if (amd && cpus > 1)
			e->ecx |= LEAF80000001_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		e->ecx = amd ? id_bits(cpus) << 12 | (cpus - 1) : 0;
		break;
	case 0x8000001d:
		fix_cache(e, cpus, false);
		break;
	case 0x8000001e:
		e->eax = vcpu->id;
		e->ebx = vcpu->id & 0xff; /* core id, one thread a core */
		e->ecx = 0;		  /* one node */
		break;
	}
}

/* Replaces whatever KVM has for the extended topology, of which it cannot know the contents. */
static void fix_topology(struct kvm_cpuid2 *cpuid, const struct vcpu *vcpu, u32 leaf)
{
	unsigned cpus = vcpu->machine->config->cpus;
	const struct kvm_cpuid_entry2 levels[EXTRA_ENTRIES] = {
		{ .index = 0, .eax = 0, .ebx = 1, .ecx = 1 << 8 },
		{ .index = 1, .eax = id_bits(cpus), .ebx = cpus, .ecx = 2 << 8 | 1 },
		{ .index = 2, .ecx = 2 },
	};
	u32 kept = 0;

	for (u32 i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != leaf)
			cpuid->entries[kept++] = cpuid->entries[i];
	for (unsigned i = 0; i < EXTRA_ENTRIES; i++) {
		cpuid->entries[kept] = levels[i];
		cpuid->entries[kept].function = leaf;
		cpuid->entries[kept].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		cpuid->entries[kept].edx = vcpu->id;
		kept++;
	}
	cpuid->nent = kept;
}

static void fix_all(struct kvm_cpuid2 *cpuid, const struct vcpu *vcpu)
{
	const struct machine *m = vcpu->machine;
	bool tsc_deadline = m->backend->ioctl(m->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	bool amd = false;
	u32 max_leaf = 0;

	for (u32 i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function != 0)
			continue;
		max_leaf = e->eax;
		amd = !memcmp(&e->ebx, "Auth", 4) || !memcmp(&e->ebx, "Hygo", 4);
	}
	for (u32 i = 0; i < cpuid->nent; i++)
		fix_entry(&cpuid->entries[i], vcpu, amd, tsc_deadline);
	if (max_leaf >= 0xb)
		fix_topology(cpuid, vcpu, 0xb);
	if (max_leaf >= 0x1f)
		fix_topology(cpuid, vcpu, 0x1f);
}

int cpuid_set(struct vcpu *vcpu)
{
	struct machine *m = vcpu->machine;
	struct kvm_cpuid2 *cpuid;
	int result = -1;

	cpuid = calloc(1, sizeof(*cpuid) +
			   (CPUID_ENTRIES_MAX + 2 * EXTRA_ENTRIES) * sizeof(struct kvm_cpuid_entry2));
	if (!cpuid)
		return vmm_fail_errno("CPUID");
	cpuid->nent = CPUID_ENTRIES_MAX;
	if (m->backend->ioctl(m->kvm_fd, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid) < 0) {
		vmm_fail_errno("KVM_GET_SUPPORTED_CPUID");
		goto out;
	}
	fix_all(cpuid, vcpu);
	if (vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
		vmm_fail_errno("KVM_SET_CPUID2");
	else
		result = 0;
out:
	free(cpuid);
	return result;
}
