/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which MSR accesses of the guest are allowed, and which go to userspace instead of raising #GP.
 * Document: KVM_X86_SET_MSR_FILTER (4.97), KVM_CAP_X86_USER_SPACE_MSR (7.21), KVM_EXIT_X86_RDMSR (section 5).
 */
#include "kvm/vm.h"

struct msr_range {
	u32 flags, base, count;
	u8 *bitmap;
};

struct msr_filter {
	bool default_allow;
	u32 nr_ranges;
	struct msr_range range[KVM_MSR_FILTER_MAX_RANGES];
};

void msr_filter_free(struct msr_filter *f)
{
	for (u32 i = 0; f && i < f->nr_ranges; i++)
		host_free(f->range[i].bitmap);
	host_free(f);
}

static int add_range(struct msr_filter *f, const struct kvm_msr_filter_range *in)
{
	struct msr_range *r = &f->range[f->nr_ranges];
	size_t bytes = ((size_t)in->nmsrs + 63) / 64 * 8;

	if (!in->nmsrs)
		return 0;
	if (!in->flags || (in->flags & ~(u32)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)))
		return -EINVAL;
	if (bytes > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
		return -EINVAL;
	r->bitmap = host_alloc(bytes);
	if (!r->bitmap)
		return -ENOMEM;
	r->flags = in->flags;
	r->base = in->base;
	r->count = in->nmsrs;
	f->nr_ranges++;
	return host_copy_from_user(r->bitmap, (u64)in->bitmap, bytes);
}

static bool no_ranges(const struct kvm_msr_filter *in)
{
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		if (in->ranges[i].nmsrs)
			return false;
	}
	return true;
}

static long vm_set_msr_filter(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_msr_filter in;
	struct msr_filter *f, *old;
	int r = 0;

	if (host_copy_from_user(&in, arg, sizeof(in)))
		return -EFAULT;
	if ((in.flags & ~(u32)KVM_MSR_FILTER_DEFAULT_DENY) || (in.flags && no_ranges(&in)))
		return -EINVAL;
	f = host_alloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->default_allow = !in.flags;
	for (unsigned i = 0; !r && i < KVM_MSR_FILTER_MAX_RANGES; i++)
		r = add_range(f, &in.ranges[i]);
	if (r) {
		msr_filter_free(f);
		return r;
	}
	host_mutex_lock(&vm->lock);
	old = atomic_xchg(&vm->msr_filter, f);
	vm_sync_vcpus(vm);
	host_mutex_unlock(&vm->lock);
	msr_filter_free(old);
	return 0;
}

/* x2APIC registers are never filtered. */
bool vcpu_msr_allowed(struct vcpu *vcpu, u32 index, bool write)
{
	const struct msr_filter *f = atomic_read_acquire(&vcpu->vm->msr_filter);
	u32 flag = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;

	if (likely(!f) || (index >= 0x800 && index <= 0x8ff))
		return true;
	for (u32 i = 0; i < f->nr_ranges; i++) {
		const struct msr_range *r = &f->range[i];

		if (index >= r->base && index - r->base < r->count && (r->flags & flag))
			return r->bitmap[(index - r->base) / 8] >> ((index - r->base) % 8) & 1;
	}
	return f->default_allow;
}

/* ---- exits to userspace -------------------------------------------------------------------------------------- */

bool vcpu_msr_replay(struct vcpu *vcpu, u32 index, bool write, u64 *value, bool *refused)
{
	struct vcpu_io *io = &vcpu->io;

	if (!io->msr_answered || io->msr_index != index || io->msr_write != write)
		return false;
	io->msr_answered = false;
	*refused = vcpu->run->msr.error != 0;
	if (!write)
		*value = vcpu->run->msr.data;
	return true;
}

enum x86_result vcpu_msr_refused(struct vcpu *vcpu, u32 index, bool write, u64 value, u32 reason)
{
	struct kvm_run *run = vcpu->run;
	struct vcpu_io *io = &vcpu->io;

	if (!(vcpu->vm->user_space_msr_mask & reason))
		return x86_raise(&vcpu->cpu, X86_GP, 0);
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = index;
	run->msr.data = write ? value : 0;
	io->pending = VCPU_IO_MSR;
	io->restart = true;
	io->msr_index = index;
	io->msr_write = write;
	return X86_EXIT;
}

/* ---- the PMU's events -------------------------------------------------------------------------------------------- */

#define MAX_PMU_EVENTS 300u

/* Which events a counter may count: there is none that counts, so a filter that KVM would take has no more to do. */
static long vm_set_pmu_event_filter(void *object, unsigned long arg)
{
	struct kvm_pmu_event_filter f;
	u64 event;

	(void)object;
	if (host_copy_from_user(&f, arg, sizeof(f)))
		return -EFAULT;
	if ((f.action != KVM_PMU_EVENT_ALLOW && f.action != KVM_PMU_EVENT_DENY) || f.flags)
		return -EINVAL;
	if (f.nevents > MAX_PMU_EVENTS)
		return -E2BIG;
	for (u32 i = 0; i < f.nevents; i++) {
		if (host_copy_from_user(&event, arg + sizeof(f) + i * sizeof(event), sizeof(event)))
			return -EFAULT;
	}
	return 0;
}

const struct ioctl_row vm_msr_ioctls[] = {
	{ KVM_SET_PMU_EVENT_FILTER, vm_set_pmu_event_filter },
	{ KVM_X86_SET_MSR_FILTER, vm_set_msr_filter },
	{ 0, NULL },
};
