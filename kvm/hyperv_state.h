/* SPDX-License-Identifier: GPL-2.0-only */
/* What hyperv.c and hyperv_calls.c share. */
#ifndef ANYKVM_KVM_HYPERV_STATE_H
#define ANYKVM_KVM_HYPERV_STATE_H

#include "kvm/vm.h"

#define HYPERV_CPUID_ENTRIES 10

/* CPUID leaf 0x40000004, EAX */
#define RECOMMEND_REMOTE_TLB_FLUSH BIT(2)
#define RECOMMEND_APIC BIT(3)
#define RECOMMEND_RELAXED BIT(5)
#define RECOMMEND_NO_AUTO_EOI BIT(9)
#define RECOMMEND_CLUSTER_IPI BIT(10)
#define RECOMMEND_EX_MASKS BIT(11)
#define RECOMMEND_NO_CORE_SHARING BIT(18)
/* Leaf 0x4000000a, EAX: an L1 hypervisor may say which MSR bitmaps have changed; that is never relied on. */
#define NESTED_MSR_BITMAP BIT(19)

struct hyperv_tsc_page {
	u32 sequence, reserved;
	u64 scale, offset;
};

enum tsc_page_state { TSC_PAGE_UNSET, TSC_PAGE_GUEST_CHANGED, TSC_PAGE_HOST_CHANGED, TSC_PAGE_SET, TSC_PAGE_BROKEN };

struct vm_hyperv {
	struct host_mutex lock;		/* i: what follows */
	u64 guest_os_id, hypercall;	/* guest_os_id a */
	u64 reference_tsc;
	u32 tsc_page_state;		/* a: enum tsc_page_state */
	struct hyperv_tsc_page tsc_page; /* as the guest's, while TSC_PAGE_SET */
	u64 reenlightenment, tsc_emulation_control, tsc_emulation_status;
	u64 crash_parameter[5], crash_control;
};

struct vcpu_hyperv {
	bool enabled, enforce;		/* v */
	u32 features_eax, features_edx;	/* v: of the vCPU's CPUID */
	u32 recommended_eax, recommended_ebx;
	u32 vp_index;			/* a: written by v */
	u64 assist, runtime_offset;	/* v */
};

#endif
