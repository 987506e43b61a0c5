/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs: KVM_GET/SET_MSRS on a vCPU and on the device, the two index lists, and the guest's RDMSR/WRMSR for what x86/msr.c
 * does not keep: APIC, TSC and paravirtual MSRs.
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "kvm/xen.h"
#include "x86/cpuid.h"
#include "x86/system.h"

#define MAX_IO_MSRS 256

/* ---- by the VMM: no refusals but for what does not exist --------------------------------------------------- */

static bool msr_get(struct vcpu *vcpu, u32 index, u64 *value)
{
	struct x86_exception saved = vcpu->cpu.fault;
	bool handled = false;
	enum x86_result r = vcpu_irq_rdmsr(vcpu, index, value, &handled);

	if (!handled)
		r = vcpu_clock_rdmsr(vcpu, index, value, &handled);
	if (!handled)
		r = vcpu_hyperv_rdmsr(vcpu, index, value, true, &handled);
	vcpu->cpu.fault = saved;
	return handled ? r == X86_OK : x86_msr_get_host(&vcpu->cpu, index, value);
}

static bool msr_set(struct vcpu *vcpu, u32 index, u64 value)
{
	struct x86_exception saved = vcpu->cpu.fault;
	bool handled = false;
	enum x86_result r;

	if (unlikely(vcpu_xen_is_msr(vcpu, index)))
		return vcpu_xen_write_msr(vcpu, value);
	r = vcpu_irq_wrmsr(vcpu, index, value, true, &handled);
	if (!handled)
		r = vcpu_clock_wrmsr(vcpu, index, value, true, &handled);
	if (!handled)
		r = vcpu_hyperv_wrmsr(vcpu, index, value, true, &handled);
	vcpu->cpu.fault = saved;
	return handled ? r == X86_OK : x86_msr_set_host(&vcpu->cpu, index, value);
}

/* ---- the guest -------------------------------------------------------------------------------------------- */

#define MSR_PLATFORM_INFO 0xce

static enum x86_result guest_rdmsr(struct vcpu *vcpu, u32 index, u64 *value)
{
	bool handled = false;
	enum x86_result r = vcpu_irq_rdmsr(vcpu, index, value, &handled);

	if (!handled)
		r = vcpu_clock_rdmsr(vcpu, index, value, &handled);
	if (!handled)
		r = vcpu_hyperv_rdmsr(vcpu, index, value, false, &handled);
	if (handled)
		return r;
	if (index == MSR_PLATFORM_INFO && vcpu->vm->platform_info_hidden)
		return x86_raise(&vcpu->cpu, X86_GP, 0);
	return x86_rdmsr(&vcpu->cpu, index, value);
}

static enum x86_result guest_wrmsr(struct vcpu *vcpu, u32 index, u64 value)
{
	bool handled = false;
	enum x86_result r;

	if (unlikely(vcpu_xen_is_msr(vcpu, index)))
		return vcpu_xen_write_msr(vcpu, value) ? X86_OK : x86_raise(&vcpu->cpu, X86_GP, 0);
	r = vcpu_irq_wrmsr(vcpu, index, value, false, &handled);
	if (!handled)
		r = vcpu_clock_wrmsr(vcpu, index, value, false, &handled);
	if (!handled)
		r = vcpu_hyperv_wrmsr(vcpu, index, value, false, &handled);
	return handled ? r : x86_wrmsr(&vcpu->cpu, index, value);
}

/* Why the guest's access was refused, in the terms of KVM_EXIT_X86_RDMSR. */
static u32 refusal(struct vcpu *vcpu, u32 index)
{
	u64 value;

	return msr_get(vcpu, index, &value) ? KVM_MSR_EXIT_REASON_INVAL : KVM_MSR_EXIT_REASON_UNKNOWN;
}

enum x86_result vcpu_rdmsr(struct x86_cpu *cpu, u32 index, u64 *value)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	enum x86_result r;
	bool refused;

	if (unlikely(vcpu_msr_replay(vcpu, index, false, value, &refused)))
		return refused ? x86_raise(cpu, X86_GP, 0) : X86_OK;
	if (!vcpu_msr_allowed(vcpu, index, false))
		return vcpu_msr_refused(vcpu, index, false, 0, KVM_MSR_EXIT_REASON_FILTER);
	r = guest_rdmsr(vcpu, index, value);
	if (r == X86_FAULT && vcpu->vm->user_space_msr_mask)
		return vcpu_msr_refused(vcpu, index, false, 0, refusal(vcpu, index));
	return r;
}

enum x86_result vcpu_wrmsr(struct x86_cpu *cpu, u32 index, u64 value)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	enum x86_result r;
	bool refused;

	if (unlikely(vcpu_msr_replay(vcpu, index, true, &value, &refused)))
		return refused ? x86_raise(cpu, X86_GP, 0) : X86_OK;
	if (!vcpu_msr_allowed(vcpu, index, true))
		return vcpu_msr_refused(vcpu, index, true, value, KVM_MSR_EXIT_REASON_FILTER);
	r = guest_wrmsr(vcpu, index, value);
	if (r == X86_FAULT && vcpu->vm->user_space_msr_mask)
		return vcpu_msr_refused(vcpu, index, true, value, refusal(vcpu, index));
	return r;
}

/* ---- arrays of the VMM's ---------------------------------------------------------------------------------------------------- */

/* Runs one over the user's array; stops at the first refused entry and returns how many went through. */
static long msr_io(struct vcpu *vcpu, unsigned long arg, bool write, bool (*one)(struct vcpu *, struct kvm_msr_entry *))
{
	u64 entries = arg + sizeof(struct kvm_msrs);
	struct kvm_msr_entry e;
	struct kvm_msrs header;
	u32 n;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nmsrs >= MAX_IO_MSRS)
		return -E2BIG;
	for (n = 0; n < header.nmsrs; n++) {
		u64 at = entries + n * sizeof(e);

		if (host_copy_from_user(&e, at, sizeof(e)))
			return -EFAULT;
		if (!one(vcpu, &e))
			break;
		if (!write && host_copy_to_user(at, &e, sizeof(e)))
			return -EFAULT;
	}
	return n;
}

static bool get_one(struct vcpu *vcpu, struct kvm_msr_entry *e)
{
	u64 value;

	if (!msr_get(vcpu, e->index, &value))
		return false;
	e->data = value;
	return true;
}

static bool set_one(struct vcpu *vcpu, struct kvm_msr_entry *e)
{
	return msr_set(vcpu, e->index, e->data);
}

static bool get_feature(struct vcpu *vcpu, struct kvm_msr_entry *e)
{
	u64 value;

	(void)vcpu;
	if (!x86_msr_feature_get(e->index, &value))
		return false;
	e->data = value;
	return true;
}

static long vcpu_get_msrs(void *object, unsigned long arg)
{
	return msr_io(object, arg, false, get_one);
}

static long vcpu_set_msrs(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	long r = msr_io(vcpu, arg, true, set_one);

	vcpu->vm->ops->state_changed(vcpu);
	return r;
}

static long device_get_msrs(void *object, unsigned long arg)
{
	return msr_io(object, arg, false, get_feature);
}

/* ---- index lists ------------------------------------------------------------------------------------------------- */

/* Copies a list out by KVM's protocol: nmsrs becomes the true count, -E2BIG if the caller's array is shorter. */
static long put_list(unsigned long arg, const u32 *list, u32 n)
{
	struct kvm_msr_list header;
	u32 room;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	room = header.nmsrs;
	header.nmsrs = n;
	if (host_copy_to_user(arg, &header, sizeof(header)))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	return host_copy_to_user(arg + sizeof(header), list, n * sizeof(*list));
}

static long device_msr_index_list(void *object, unsigned long arg)
{
	u32 list[480];
	u32 n = x86_msr_list(list, ARRAY_SIZE(list));

	(void)object;
	n += kvm_pv_msr_list(list + n, ARRAY_SIZE(list) - n);
	n += hyperv_msr_list(list + n, ARRAY_SIZE(list) - n);
	return put_list(arg, list, n);
}

static long device_msr_feature_list(void *object, unsigned long arg)
{
	u32 list[64];

	(void)object;
	return put_list(arg, list, x86_msr_feature_list(list, ARRAY_SIZE(list)));
}

/* ---- machine checks (document, sections 4.105 to 4.107) ------------------------------------------------------------ */

#define MCI_VAL BIT64(63)
#define MCI_OVER BIT64(62)
#define MCI_UC BIT64(61)
#define MCG_CTL_P BIT64(8)
#define MCG_CAP_AMD 0x1ffull /* AMD knows MCG_CTL_P and the number of banks */
#define MCG_MCIP BIT64(2)

static long vcpu_setup_mce(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	u64 cap;
	unsigned banks;

	if (host_copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	banks = cap & 0xff;
	if (!banks || banks > VCPU_MCE_BANKS || (cap & ~(VCPU_MCE_CAP_SUPPORTED | 0xff | 0xff0000)))
		return -EINVAL;
	vcpu->cpu.msr.mcg_cap = x86_host_is_amd() ? cap & MCG_CAP_AMD : cap;
	if (cap & MCG_CTL_P)
		vcpu->cpu.msr.mcg_ctl = ~0ull;
	for (unsigned i = 0; i < banks; i++)
		vcpu->cpu.msr.mce_banks[i * 4] = ~0ull;
	vcpu_irq_cpuid_changed(vcpu);
	return 0;
}

static void record_bank(u64 *bank, const struct kvm_x86_mce *mce)
{
	u64 status = mce->status;

	if (bank[1] & MCI_VAL)
		status |= MCI_OVER;
	bank[1] = status;
	bank[2] = mce->addr;
	bank[3] = mce->misc;
}

static long vcpu_set_mce(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct x86_msrs *msr = &vcpu->cpu.msr;
	struct kvm_x86_mce mce;
	u64 *bank;

	if (host_copy_from_user(&mce, arg, sizeof(mce)))
		return -EFAULT;
	if (mce.bank >= (msr->mcg_cap & 0xff) || !(mce.status & MCI_VAL))
		return -EINVAL;
	bank = &msr->mce_banks[index_nospec(mce.bank, VCPU_MCE_BANKS) * 4];
	if (!(mce.status & MCI_UC)) {
		if ((bank[1] & MCI_VAL) && (bank[1] & MCI_UC))
			bank[1] |= MCI_OVER;
		else
			record_bank(bank, &mce);
		return 0;
	}
	if (((msr->mcg_cap & MCG_CTL_P) && msr->mcg_ctl != ~0ull) || bank[0] != ~0ull)
		return 0;
	if ((msr->mcg_status & MCG_MCIP) || !(vcpu->cpu.cr4 & X86_CR4_MCE)) {
		vcpu_request(vcpu, VCPU_REQ_TRIPLE_FAULT);
		return 0;
	}
	record_bank(bank, &mce);
	msr->mcg_status = mce.mcg_status;
	memset(&vcpu->exception, 0, sizeof(vcpu->exception));
	vcpu->exception.pending = true;
	vcpu->exception.e.vector = X86_MC;
	vcpu_request(vcpu, VCPU_REQ_EVENT);
	return 0;
}

const struct ioctl_row device_msr_ioctls[] = {
	{ KVM_GET_MSR_INDEX_LIST, device_msr_index_list },
	{ KVM_GET_MSR_FEATURE_INDEX_LIST, device_msr_feature_list },
	{ KVM_GET_MSRS, device_get_msrs },
	{ 0, NULL },
};

const struct ioctl_row vcpu_msr_ioctls[] = {
	{ KVM_GET_MSRS, vcpu_get_msrs },
	{ KVM_SET_MSRS, vcpu_set_msrs },
	{ KVM_X86_SETUP_MCE, vcpu_setup_mce },
	{ KVM_X86_SET_MCE, vcpu_set_mce },
	{ 0, NULL },
};
