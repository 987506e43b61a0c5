/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID tables: what the device supports, what a vCPU was given. */
#include <linux/kvm_para.h>
#include <asm/kvm_para.h>

#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "x86/system.h"

#define MAX_CPUID_ENTRIES 256

/* KVM's own leaves (x86/cpuid.rst): signature and paravirtual features. */
static unsigned add_kvm_leaves(struct kvm_cpuid_entry2 *out)
{
	static const char signature[12] = { 'K', 'V', 'M', 'K', 'V', 'M', 'K', 'V', 'M', 0, 0, 0 };

	memset(out, 0, 2 * sizeof(*out));
	out[0].function = KVM_CPUID_SIGNATURE;
	out[0].eax = KVM_CPUID_FEATURES;
	memcpy(&out[0].ebx, signature, 4);
	memcpy(&out[0].ecx, signature + 4, 4);
	memcpy(&out[0].edx, signature + 8, 4);
	out[1].function = KVM_CPUID_FEATURES;
	out[1].eax = kvm_pv_features();
	return 2;
}

static long device_supported_cpuid(void *object, unsigned long arg)
{
	struct kvm_cpuid_entry2 *list;
	struct kvm_cpuid2 header;
	long r;
	int n;

	(void)object;
	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	list = host_alloc(MAX_CPUID_ENTRIES * sizeof(*list));
	if (!list)
		return -ENOMEM;
	n = x86_cpuid_supported(list, MAX_CPUID_ENTRIES - 2);
	r = n;
	if (n < 0)
		goto out;
	n += (int)add_kvm_leaves(list + n);
	r = -E2BIG;
	if (header.nent < (u32)n)
		goto out;
	header.nent = (u32)n;
	r = host_copy_to_user(arg + sizeof(header), list, (size_t)n * sizeof(*list));
	if (!r)
		r = host_copy_to_user(arg, &header, sizeof(header));
out:
	host_free(list);
	return r;
}

/* What is emulated beyond the host's own (document, section 4.88); KVM wants room for one entry more. */
static long device_emulated_cpuid(void *object, unsigned long arg)
{
	static const struct kvm_cpuid_entry2 list[] = {
		{ .function = 0, .eax = 7 },
		{ .function = 1, .ecx = BIT(22) }, /* MOVBE */
		{ .function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ecx = BIT(22) }, /* RDPID */
	};
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 e;

	(void)object;
	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nent < 1)
		return -E2BIG;
	for (u32 i = 0; i < header.nent && i < MAX_CPUID_ENTRIES; i++) {
		if (host_copy_from_user(&e, arg + sizeof(header) + i * sizeof(e), sizeof(e)) || e.padding[0] ||
		    e.padding[1] || e.padding[2])
			return -EINVAL;
	}
	if (header.nent <= ARRAY_SIZE(list))
		return -E2BIG;
	header.nent = ARRAY_SIZE(list);
	if (host_copy_to_user(arg + sizeof(header), list, sizeof(list)))
		return -EFAULT;
	return host_copy_to_user(arg, &header, sizeof(header));
}

/* ---- the vCPU's table ----------------------------------------------------------------------------------------- */

/* Userspace may hand back what it was given or what KVM_GET_CPUID2 shows, dynamic bits and all. */
static bool same_entry(struct vcpu *vcpu, const struct kvm_cpuid_entry2 *mine, const struct kvm_cpuid_entry2 *e)
{
	u32 now[4];

	if (e->function != mine->function || e->index != mine->index || e->flags != mine->flags)
		return false;
	if (e->eax == mine->eax && e->ebx == mine->ebx && e->ecx == mine->ecx && e->edx == mine->edx)
		return true;
	x86_cpuid(&vcpu->cpu, e->function, e->index, now);
	return e->eax == now[0] && e->ebx == now[1] && e->ecx == now[2] && e->edx == now[3];
}

static bool same_table(struct vcpu *vcpu, const struct kvm_cpuid_entry2 *e, u32 n)
{
	if (n != vcpu->nr_cpuid)
		return false;
	for (u32 i = 0; i < n; i++) {
		if (!same_entry(vcpu, &vcpu->cpuid[i], &e[i]))
			return false;
	}
	return true;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid_entry2 *e, u32 n, u32 leaf)
{
	for (u32 i = 0; i < n; i++) {
		if (e[i].function == leaf && (!(e[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e[i].index == 0))
			return &e[i];
	}
	return NULL;
}

/* Takes over e (host_alloc'ed) as the vCPU's table, or frees it. */
static long set_table(struct vcpu *vcpu, struct kvm_cpuid_entry2 *e, u32 n)
{
	const struct kvm_cpuid_entry2 *sizes = find(e, n, 0x80000008);
	u8 virtual_bits = sizes ? (u8)(sizes->eax >> 8) : 48;
	struct kvm_cpuid_entry2 *old = vcpu->cpuid;
	bool after_run = vcpu->ran && vcpu->cpuid_set;

	if (virtual_bits != 48 && virtual_bits != 57 && virtual_bits != 0) {
		host_free(e);
		return -EINVAL;
	}
	if (after_run) { /* changing it under a running guest is refused, as KVM does */
		long r = same_table(vcpu, e, n) ? 0 : -EINVAL;

		host_free(e);
		return r;
	}
	vcpu->cpuid = e;
	vcpu->nr_cpuid = n;
	vcpu->cpuid_set = true;
	x86_cpuid_apply(&vcpu->cpu, e, n);
	vcpu_irq_cpuid_changed(vcpu);
	vcpu_hyperv_cpuid_changed(vcpu);
	vcpu->vm->ops->state_changed(vcpu);
	vcpu->vm->ops->flush_tlb(vcpu);
	host_free(old);
	return 0;
}

/* Both forms of the ioctl begin with a count, then entries. *e is host_alloc'ed for that many. */
static long new_table(unsigned long arg, struct kvm_cpuid_entry2 **e, u32 *n)
{
	struct kvm_cpuid2 header;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nent > MAX_CPUID_ENTRIES)
		return -E2BIG;
	*n = header.nent;
	*e = host_alloc(*n ? *n * sizeof(**e) : 1);
	return *e ? 0 : -ENOMEM;
}

static long vcpu_set_cpuid2(void *object, unsigned long arg)
{
	struct kvm_cpuid_entry2 *e;
	u32 n;
	long r = new_table(arg, &e, &n);

	if (r)
		return r;
	if (host_copy_from_user(e, arg + sizeof(struct kvm_cpuid2), n * sizeof(*e))) {
		host_free(e);
		return -EFAULT;
	}
	return set_table(object, e, n);
}

/* The first form of the ioctl: entries without sub-leaves (document, section 4.20). */
static long vcpu_set_cpuid(void *object, unsigned long arg)
{
	struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid_entry in;
	u32 n;
	long r = new_table(arg, &e, &n);

	if (r)
		return r;
	for (u32 i = 0; i < n; i++) {
		if (host_copy_from_user(&in, arg + sizeof(struct kvm_cpuid) + i * sizeof(in), sizeof(in))) {
			host_free(e);
			return -EFAULT;
		}
		e[i].function = in.function;
		e[i].eax = in.eax;
		e[i].ebx = in.ebx;
		e[i].ecx = in.ecx;
		e[i].edx = in.edx;
	}
	return set_table(object, e, n);
}

/* The table with its dynamic bits as they are now. */
static long vcpu_get_cpuid2(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_cpuid2 header;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nent < vcpu->nr_cpuid)
		return -E2BIG;
	for (u32 i = 0; i < vcpu->nr_cpuid; i++) {
		struct kvm_cpuid_entry2 e = vcpu->cpuid[i];
		u32 now[4];

		x86_cpuid(&vcpu->cpu, e.function, e.index, now);
		e.eax = now[0];
		e.ebx = now[1];
		e.ecx = now[2];
		e.edx = now[3];
		if (host_copy_to_user(arg + sizeof(header) + i * sizeof(e), &e, sizeof(e)))
			return -EFAULT;
	}
	header.nent = vcpu->nr_cpuid;
	return host_copy_to_user(arg, &header, sizeof(header));
}

const struct ioctl_row device_cpuid_ioctls[] = {
	{ KVM_GET_SUPPORTED_CPUID, device_supported_cpuid },
	{ KVM_GET_EMULATED_CPUID, device_emulated_cpuid },
	{ 0, NULL },
};

const struct ioctl_row vcpu_cpuid_ioctls[] = {
	{ KVM_SET_CPUID, vcpu_set_cpuid },
	{ KVM_SET_CPUID2, vcpu_set_cpuid2 },
	{ KVM_GET_CPUID2, vcpu_get_cpuid2 },
	{ 0, NULL },
};
