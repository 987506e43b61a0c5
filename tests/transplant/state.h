/* SPDX-License-Identifier: GPL-2.0-only */
/* All that KVM tells of a machine, and the machine it is told of. */
#ifndef ANYKVM_TESTS_TRANSPLANT_STATE_H
#define ANYKVM_TESTS_TRANSPLANT_STATE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_MSRS 512

#define MAX_CPUS 2

/*
 * One part is one ioctl's structure; X(member, type, GET, SET) in the order in which they are set: first the chips, then
 * each vCPU, then the PIT. It comes last as KVM's sends its next interrupt when the one before is acknowledged, so none may
 * meet a LAPIC that is off.
 */
#define CHIP_PARTS(X)                                                               \
	X(clock, struct kvm_clock_data, KVM_GET_CLOCK, KVM_SET_CLOCK)                \
	X(pic0, struct kvm_irqchip, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP)                \
	X(pic1, struct kvm_irqchip, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP)                \
	X(ioapic, struct kvm_irqchip, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP)
#define VCPU_PARTS(X)                                                               \
	X(sregs, struct kvm_sregs2, KVM_GET_SREGS2, KVM_SET_SREGS2)                   \
	X(regs, struct kvm_regs, KVM_GET_REGS, KVM_SET_REGS)                          \
	X(xsave, struct kvm_xsave, KVM_GET_XSAVE, KVM_SET_XSAVE)                      \
	X(xcrs, struct kvm_xcrs, KVM_GET_XCRS, KVM_SET_XCRS)                          \
	X(debug, struct kvm_debugregs, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS)          \
	X(lapic, struct kvm_lapic_state, KVM_GET_LAPIC, KVM_SET_LAPIC)                \
	X(mp, struct kvm_mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE)                \
	X(events, struct kvm_vcpu_events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS)
#define PIT_PARTS(X)                                                                \
	X(pit, struct kvm_pit_state2, KVM_GET_PIT2, KVM_SET_PIT2)

#define MEMBER(name, type, get, set) type name;
struct vcpu_state {
	VCPU_PARTS(MEMBER)
	uint32_t tsc_khz, nr_msrs;
	struct kvm_msr_entry msr[MAX_MSRS];
	/* the devices that the driver plays */
	uint32_t asked, written;
};

struct machine_state {
	CHIP_PARTS(MEMBER)
	struct vcpu_state vcpu[MAX_CPUS];
	PIT_PARTS(MEMBER)
	uint32_t cpus;
};
#undef MEMBER

struct machine_vcpu {
	int fd;
	struct kvm_run *run;
	uint32_t asked, written;
};

struct machine {
	int vm;
	unsigned cpus;
	struct machine_vcpu vcpu[MAX_CPUS];
	void *ram;
};

extern int kvm_fd;
void machine_open(struct machine *m, void *ram, unsigned cpus);
void machine_close(struct machine *m);
void state_get(struct machine *m, struct machine_state *s);
/* What KVM does not take is told on stdout; number of such. */
unsigned state_set(struct machine *m, struct machine_state *s);
/* Names what differs between two states (but for time); number of such. */
unsigned state_compare(const struct machine_state *a, const struct machine_state *b, const char *where);

#endif
