/* SPDX-License-Identifier: GPL-2.0-only */
/* What xen.c, xen_calls.c and xen_events.c share. */
#ifndef ANYKVM_KVM_XEN_STATE_H
#define ANYKVM_KVM_XEN_STATE_H

#include "kvm/vm.h"

#define XEN_NOWHERE (~0ull) /* the address of what the guest does not have */
#define XEN_ANY_PORT (~0u)
#define XEN_MAX_PORTS 4096u

/* Offsets in Xen's shared structures, in the two layouts (Xen: public/xen.h, public/vcpu.h). */
struct xen_layout {
	u32 word_bits;		/* of its unsigned long */
	u32 ports;
	u32 pending, mask;	/* shared info: a bit for each port */
	u32 wall_clock, wall_clock_high;
	u32 selector;		/* vCPU info: a bit for each word of pending */
	u32 runstate_time;	/* run state: when it was entered; times follow */
};

#define XEN_INFO_PENDING 0u /* vCPU info: a byte */
#define XEN_INFO_TIME 32u   /* as kvmclock's page */
#define XEN_INFO_SIZE 64u
#define XEN_TIME_SIZE 32u

enum xen_runstate { XEN_RUNNING, XEN_RUNNABLE, XEN_BLOCKED, XEN_OFFLINE, XEN_RUNSTATES };

/* What the guest's EVTCHNOP_send on a port does: an event on a port, or a signal of an eventfd. */
struct xen_port {
	struct xen_port *next;
	u32 send, type;
	u32 port, vcpu_id;	/* port 0: event */
	struct host_eventfd *event;
};

struct vm_xen {
	struct host_mutex lock;		/* i: ports */
	struct xen_port *ports;
	struct kvm_xen_hvm_config config; /* l; msr and flags a */
	bool long_mode;			/* a: the layout of the shared structures */
	u8 upcall_vector;		/* a: 0 none */
	u32 version;			/* a: for XENVER_version; 0: userspace's to answer */
	u64 shared_info;		/* a: gpa */
};

struct xen_timer {
	struct host_timer host;
	struct vcpu *vcpu;		/* c */
};

struct vcpu_xen {
	u64 info, time, runstate;	/* gpa; info a, the others v */
	u32 id;				/* v: by which the guest knows the vCPU */
	u8 upcall_vector;		/* a: of its LAPIC; 0: the VM's */
	u64 unsent;			/* a: selector bits that could not be written */
	u32 any_deferred;		/* a: and events, by port, whose sender could not use guest memory */
	u64 deferred[XEN_MAX_PORTS / 64]; /* a */
	struct {
		u32 state;		/* enum xen_runstate */
		u64 entered;		/* kvmclock */
		u64 time[XEN_RUNSTATES];
		u64 run_delay;		/* the thread's, at the last change */
		u64 told_tsc;
	} run;				/* v */
	u32 timer_port;			/* v: 0 none */
	u64 timer_expires;		/* v: kvmclock; 0 not set */
	u32 timer_pending;		/* a */
	u32 poll_port;			/* a: that SCHEDOP_poll waits for; 0 none */
	struct xen_timer timer, poll_timer;
};

const struct xen_layout *vm_xen_layout(const struct vm *vm);

/* xen_events.c; the thread may use guest memory. As irq_set_gsi(), or -errno; -ENOTCONN: masked. */
int vm_xen_send(struct vm *vm, u32 vcpu_id, u32 port);
/* Whether one of the ports is pending, or that cannot be known. */
bool vm_xen_any_pending(struct vm *vm, const u32 *ports, u32 n);
int vm_xen_set_shared_info(struct vm *vm, u64 gfn); /* l held */
void vcpu_xen_create_timers(struct vcpu *vcpu);
void vcpu_xen_start_timer(struct vcpu *vcpu, u64 expires);
void vcpu_xen_stop_timer(struct vcpu *vcpu);
void vcpu_xen_set_runstate(struct vcpu *vcpu, u32 state);

/* The guest's EVTCHNOP_send: 0 done, 1 userspace's to do. */
int vm_xen_send_port(struct vm *vm, u32 port);
long vm_xen_set_port(struct vm *vm, const struct kvm_xen_hvm_attr *attr);
void vm_xen_reset_ports(struct vm *vm);

static inline bool vm_xen_enabled(const struct vm *vm)
{
	return atomic_read(&vm->xen->config.msr);
}

/* The VM-wide upcall vector is to be injected: like the 8259's, it stays as long as the guest's flag is set. */
static inline bool vcpu_xen_upcall(const struct vcpu *vcpu)
{
	u64 info = atomic_read(&vcpu->xen->info);
	u8 pending;

	if (likely(!atomic_read(&vcpu->vm->xen->upcall_vector)) || info == XEN_NOWHERE || !vm_xen_enabled(vcpu->vm))
		return false;
	return !vm_read_guest(vcpu->vm, 0, info + XEN_INFO_PENDING, &pending, 1) && pending;
}

#endif
