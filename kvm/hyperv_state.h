/* SPDX-License-Identifier: GPL-2.0-only */
/* What hyperv.c, hyperv_calls.c and hyperv_synic.c share. */
#ifndef ANYKVM_KVM_HYPERV_STATE_H
#define ANYKVM_KVM_HYPERV_STATE_H

#include "kvm/vm.h"

#define HYPERV_CPUID_ENTRIES 10
#define HYPERV_SINTS 16
#define HYPERV_TIMERS 4

/* MSRs of the synthetic interrupt controller, timers (configuration, count, ...) and debugger */
#define MSR_HV_SCONTROL 0x40000080u
#define MSR_HV_SVERSION 0x40000081u
#define MSR_HV_SIEFP 0x40000082u
#define MSR_HV_SIMP 0x40000083u
#define MSR_HV_EOM 0x40000084u
#define MSR_HV_SINT0 0x40000090u
#define MSR_HV_TIMER0 0x400000b0u
#define MSR_HV_DEBUG_CONTROL 0x400000f1u
#define MSR_HV_DEBUG_STATUS 0x400000f2u
#define MSR_HV_DEBUG_SEND 0x400000f3u
#define MSR_HV_DEBUG_RECEIVE 0x400000f4u
#define MSR_HV_DEBUG_PENDING 0x400000f5u
#define MSR_HV_DEBUG_OPTIONS 0x400000ffu

/* CPUID leaf 0x40000003, EBX */
#define EBX_POST_MESSAGES BIT(4)
#define EBX_SIGNAL_EVENTS BIT(5)
#define EBX_DEBUGGING BIT(11)
/* Leaf 0x40000082, EAX */
#define DEBUG_ALLOWED BIT(1)
#define DEBUG_BY_HYPERCALL BIT64(2) /* of MSR_HV_DEBUG_OPTIONS */

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

/* KVM_HYPERV_EVENTFD: what a guest's event on the connection signals. */
struct hyperv_connection {
	u32 id;
	struct host_eventfd *event;
	struct hyperv_connection *next;
};

struct vm_hyperv {
	struct host_mutex lock;		/* i: what follows */
	u64 guest_os_id, hypercall;	/* guest_os_id a */
	u64 reference_tsc;
	u32 tsc_page_state;		/* a: enum tsc_page_state */
	struct hyperv_tsc_page tsc_page; /* as the guest's, while TSC_PAGE_SET */
	u64 reenlightenment, tsc_emulation_control, tsc_emulation_status;
	u64 crash_parameter[5], crash_control;
	u64 debug[5], debug_options;	/* from MSR_HV_DEBUG_CONTROL on */
	struct hyperv_connection *connections;
};

struct hyperv_synic {
	bool active;			/* a */
	bool keep_pages;		/* v: enabling a page does not clear it (KVM_CAP_HYPERV_SYNIC2) */
	u64 control, version, event_page, message_page; /* v */
	u64 sint[HYPERV_SINTS];		/* a: written by v */
	u32 gsi[HYPERV_SINTS];		/* a: plus 1; 0: none */
};

struct hyperv_timer {			/* v */
	struct host_timer timer;
	struct vcpu *vcpu;		/* c */
	u32 index;			/* c */
	u64 config, count, expires;	/* expires: 0 while not started */
	bool message_waits;
};

struct vcpu_hyperv {
	bool enabled, enforce;		/* v */
	u32 features_eax, features_ebx, features_edx; /* v: of the vCPU's CPUID */
	bool debug_allowed;		/* v: likewise */
	u32 recommended_eax, recommended_ebx;
	u32 vp_index;			/* a: written by v */
	u64 assist, runtime_offset;	/* v */
	struct hyperv_synic synic;
	struct hyperv_timer timer[HYPERV_TIMERS];
	u32 timers_pending;		/* a: bit for each */
	struct kvm_hyperv_exit exit;	/* v: for VCPU_REQ_HV_EXIT */
};

static inline u64 hyperv_high_product(u64 a, u64 b)
{
	return (u64)((unsigned __int128)a * b >> 64);
}

/* Signals the event of a connection, if there is one. */
bool vm_hyperv_signal(struct vm *vm, u32 id);

#endif
