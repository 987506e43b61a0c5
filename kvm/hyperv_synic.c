/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V's synthetic interrupt controller and timers (TLFS, chapters 11 and 12).
 *
 * A SINT is a vector of the vCPU's LAPIC by which messages and events are told. Messages of timers are put into the
 * message page here; all else is userspace's, which is told of the pages by KVM_EXIT_HYPERV and raises a SINT through a GSI
 * (KVM_IRQ_ROUTING_HV_SINT). A timer that expires marks itself pending and is served by the vCPU's thread before it enters
 * the guest; a message that finds its slot taken waits for the guest's EOI or EOM.
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/hyperv_state.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"

#define ENABLE 1u
#define PAGE_MASK (~0xfffull)
#define SINT_VECTOR 0xffull
#define SINT_MASKED BIT64(16)
#define SINT_AUTO_EOI BIT64(17)
#define FIRST_VECTOR 16u

#define TIMER_ENABLE BIT64(0)
#define TIMER_PERIODIC BIT64(1)
#define TIMER_AUTO_ENABLE BIT64(3)
#define TIMER_DIRECT BIT64(12)
#define EDX_TIMER_DIRECT BIT(19)

#define MESSAGE_SIZE 256u
#define MESSAGE_TIMER_EXPIRED 0x80000010u
#define MESSAGE_PENDING 1u
struct message {
	u32 type;
	u8 payload_size, flags, reserved[2];
	u64 sender;
	struct {
		u32 index, reserved;
		u64 expired, delivered;
	} timer;
};
_Static_assert(sizeof(struct message) == 40, "TLFS 11.8");

u64 vcpu_hyperv_time(struct vcpu *vcpu)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	if (atomic_read(&hv->tsc_page_state) != TSC_PAGE_SET)
		return vm_clock_ns(vcpu->vm) / 100;
	return hyperv_high_product(vcpu_read_tsc(vcpu), hv->tsc_page.scale) + hv->tsc_page.offset;
}

/* ---- SINTs ------------------------------------------------------------------------------------------------------ */

static int sint_vector(const struct hyperv_synic *s, unsigned sint)
{
	u64 value = atomic_read(&s->sint[sint]);

	return value & SINT_MASKED ? -1 : (int)(value & SINT_VECTOR);
}

/* 1: accepted, 0: the LAPIC is off, -1: no such SINT, or masked. */
static int raise_sint(struct vcpu *vcpu, u32 sint, bool outside)
{
	struct apic_message m = { .delivery = APIC_FIXED, .assert = true, .outside = outside };
	int vector = sint < HYPERV_SINTS ? sint_vector(&vcpu->hyperv->synic, sint) : -1;

	if (vector < 0)
		return -1;
	m.vector = (u8)vector;
	return lapic_accept(vcpu->apic, &m);
}

static struct vcpu *vcpu_by_vp(struct vm *vm, u32 vp)
{
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (atomic_read(&vcpu->hyperv->vp_index) == vp)
			return atomic_read(&vcpu->hyperv->synic.active) ? vcpu : NULL;
	}
	return NULL;
}

int vm_hyperv_raise_sint(struct vm *vm, u32 vp, u32 sint)
{
	struct vcpu *vcpu = vcpu_by_vp(vm, vp);

	return vcpu ? raise_sint(vcpu, sint, true) : -1;
}

void vm_hyperv_route_sint(struct vm *vm, u32 vp, u32 sint, u32 gsi)
{
	struct vcpu *vcpu = vcpu_by_vp(vm, vp);

	if (vcpu && sint < HYPERV_SINTS)
		atomic_set(&vcpu->hyperv->synic.gsi[sint], gsi + 1);
}

static void timer_mark(struct hyperv_timer *t)
{
	atomic_or(&t->vcpu->hyperv->timers_pending, BIT(t->index));
	vcpu_request(t->vcpu, VCPU_REQ_HV_TIMER);
}

/* The guest has taken a message of this SINT. */
static void sint_acked(struct vcpu *vcpu, u32 sint)
{
	struct vcpu_hyperv *hv = vcpu->hyperv;
	u32 gsi = atomic_read(&hv->synic.gsi[sint]);

	for (unsigned i = 0; i < HYPERV_TIMERS; i++) {
		struct hyperv_timer *t = &hv->timer[i];

		if (t->message_waits && (t->config & TIMER_ENABLE) && !(t->config & TIMER_DIRECT) &&
		    (t->config >> 16 & 0xf) == sint)
			timer_mark(t);
	}
	if (gsi)
		irqfd_acked(vcpu->vm->irqchip, gsi - 1);
}

void vcpu_hyperv_eoi(struct vcpu *vcpu, u8 vector)
{
	for (u32 i = 0; i < HYPERV_SINTS; i++) {
		if (sint_vector(&vcpu->hyperv->synic, i) == vector)
			sint_acked(vcpu, i);
	}
}

bool vcpu_hyperv_auto_eoi(const struct vcpu *vcpu, u8 vector)
{
	const struct hyperv_synic *s = &vcpu->hyperv->synic;

	for (u32 i = 0; i < HYPERV_SINTS; i++) {
		if (sint_vector(s, i) == vector && (s->sint[i] & SINT_AUTO_EOI))
			return true;
	}
	return false;
}

/* ---- timers ------------------------------------------------------------------------------------------------------- */

static void timer_fired(struct host_timer *timer)
{
	timer_mark(container_of(timer, struct hyperv_timer, timer));
}

static void timer_stop(struct hyperv_timer *t)
{
	host_timer_cancel_sync(&t->timer);
	atomic_and(&t->vcpu->hyperv->timers_pending, ~BIT(t->index));
	t->message_waits = false;
	t->expires = 0;
}

static void timer_arm(struct hyperv_timer *t, u64 from_now)
{
	u64 now = host_monotonic_ns(), most = ~0ull - now;

	host_timer_arm(&t->timer, now + (from_now < most / 100 ? from_now * 100 : most));
}

/* The count is a period, or the time itself. */
static void timer_start(struct hyperv_timer *t)
{
	u64 now = vcpu_hyperv_time(t->vcpu);

	if (t->config & TIMER_PERIODIC) {
		if (!t->expires)
			t->expires = now + t->count;
		else if (now >= t->expires)
			t->expires = now + t->count - (now - t->expires) % t->count;
		timer_arm(t, t->expires - now);
		return;
	}
	t->expires = t->count;
	if (now >= t->count)
		timer_mark(t);
	else
		timer_arm(t, t->count - now);
}

/* True: delivered, or not to be tried again. */
static bool send_message(struct hyperv_timer *t)
{
	struct vcpu *vcpu = t->vcpu;
	struct hyperv_synic *s = &vcpu->hyperv->synic;
	u32 sint = t->config >> 16 & 0xf;
	u64 gpa = (s->message_page & PAGE_MASK) + sint * MESSAGE_SIZE;
	struct message m = {
		.type = MESSAGE_TIMER_EXPIRED, .payload_size = sizeof(m.timer),
		.timer = { .index = t->index, .expired = t->expires, .delivered = vcpu_hyperv_time(vcpu) },
	};
	u8 pending = MESSAGE_PENDING;
	u32 taken;

	if (!(s->message_page & ENABLE) || vm_read_guest(vcpu->vm, 0, gpa, &taken, sizeof(taken)))
		return false;
	if (taken && (t->config & TIMER_PERIODIC))
		return true; /* this tick is lost */
	if (taken) {
		vcpu_write_guest(vcpu, 0, gpa + offsetof(struct message, flags), &pending, 1);
		return false;
	}
	return !vcpu_write_guest(vcpu, 0, gpa, &m, sizeof(m)) && raise_sint(vcpu, sint, false) > 0;
}

static bool send_direct(struct hyperv_timer *t)
{
	struct apic_message m = { .delivery = APIC_FIXED, .assert = true, .vector = (u8)(t->config >> 4) };

	return lapic_accept(t->vcpu->apic, &m);
}

static void timer_expire(struct hyperv_timer *t)
{
	t->message_waits = !(t->config & TIMER_DIRECT ? send_direct(t) : send_message(t));
	if (!t->message_waits && !(t->config & TIMER_PERIODIC))
		t->config &= ~TIMER_ENABLE;
}

static void timer_serve(struct hyperv_timer *t)
{
	if (!(t->config & TIMER_ENABLE))
		return;
	if (t->expires && vcpu_hyperv_time(t->vcpu) >= t->expires)
		timer_expire(t);
	if (!(t->config & TIMER_ENABLE) || !t->count)
		timer_stop(t);
	else if (!t->message_waits)
		timer_start(t);
}

void vcpu_hyperv_serve_timers(struct vcpu *vcpu)
{
	u32 pending = atomic_xchg(&vcpu->hyperv->timers_pending, 0);

	for (unsigned i = 0; i < HYPERV_TIMERS; i++) {
		if (pending >> i & 1)
			timer_serve(&vcpu->hyperv->timer[i]);
	}
}

static bool write_timer_config(struct vcpu *vcpu, struct hyperv_timer *t, u64 value, bool host)
{
	const struct vcpu_hyperv *hv = vcpu->hyperv;

	if (!host && hv->enforce && (value & TIMER_DIRECT) && !(hv->features_edx & EDX_TIMER_DIRECT))
		return false;
	timer_stop(t);
	if ((t->config & TIMER_ENABLE) && !(value & TIMER_DIRECT) && !(value >> 16 & 0xf))
		value &= ~TIMER_ENABLE;
	t->config = value;
	if (value & TIMER_ENABLE)
		timer_mark(t);
	return true;
}

static void write_timer_count(struct hyperv_timer *t, u64 value, bool host)
{
	timer_stop(t);
	t->count = value;
	if (!host && !value)
		t->config &= ~TIMER_ENABLE;
	else if (!host && (t->config & TIMER_AUTO_ENABLE))
		t->config |= TIMER_ENABLE;
	if (t->config & TIMER_ENABLE)
		timer_mark(t);
}

bool vcpu_hyperv_write_timer(struct vcpu *vcpu, u32 index, u64 value, bool host)
{
	struct hyperv_timer *t = &vcpu->hyperv->timer[(index - MSR_HV_TIMER0) / 2];

	if (!vcpu->hyperv->synic.active)
		return host && !value;
	if (!((index - MSR_HV_TIMER0) & 1))
		return write_timer_config(vcpu, t, value, host);
	write_timer_count(t, value, host);
	return true;
}

u64 vcpu_hyperv_read_timer(const struct vcpu *vcpu, u32 index)
{
	const struct hyperv_timer *t = &vcpu->hyperv->timer[(index - MSR_HV_TIMER0) / 2];

	return (index - MSR_HV_TIMER0) & 1 ? t->count : t->config;
}

/* ---- SynIC's MSRs --------------------------------------------------------------------------------------------------- */

static void tell_userspace(struct vcpu *vcpu, u32 msr)
{
	const struct hyperv_synic *s = &vcpu->hyperv->synic;

	vcpu->hyperv->exit = (struct kvm_hyperv_exit){
		.type = KVM_EXIT_HYPERV_SYNIC,
		.u.synic = { .msr = msr, .control = s->control, .evt_page = s->event_page, .msg_page = s->message_page },
	};
	vcpu_request(vcpu, VCPU_REQ_HV_EXIT);
}

static bool set_page(struct vcpu *vcpu, u64 *page, u64 value, bool host)
{
	static const u8 zeros[4096];

	if ((value & ENABLE) && !host && !vcpu->hyperv->synic.keep_pages &&
	    vcpu_write_guest(vcpu, 0, value & PAGE_MASK, zeros, sizeof(zeros)))
		return false;
	*page = value;
	return true;
}

bool vcpu_hyperv_write_synic(struct vcpu *vcpu, u32 index, u64 value, bool host)
{
	struct hyperv_synic *s = &vcpu->hyperv->synic;
	bool ok = true;

	if (!s->active && (!host || value))
		return false;
	switch (index) {
	case MSR_HV_SCONTROL:
		s->control = value;
		break;
	case MSR_HV_SVERSION:
		if (host)
			s->version = value;
		return host;
	case MSR_HV_SIEFP:
		ok = set_page(vcpu, &s->event_page, value, host);
		break;
	case MSR_HV_SIMP:
		ok = set_page(vcpu, &s->message_page, value, host);
		break;
	case MSR_HV_EOM:
		for (u32 i = 0; s->active && i < HYPERV_SINTS; i++)
			sint_acked(vcpu, i);
		return true;
	default:
		if ((value & SINT_VECTOR) < FIRST_VECTOR && !host && !(value & SINT_MASKED))
			return false;
		atomic_set(&s->sint[index - MSR_HV_SINT0], value);
		return true;
	}
	if (ok && !host)
		tell_userspace(vcpu, index);
	return ok;
}

bool vcpu_hyperv_read_synic(const struct vcpu *vcpu, u32 index, u64 *value, bool host)
{
	const struct hyperv_synic *s = &vcpu->hyperv->synic;

	if (!s->active && !host)
		return false;
	switch (index) {
	case MSR_HV_SCONTROL:
		*value = s->control;
		break;
	case MSR_HV_SVERSION:
		*value = s->version;
		break;
	case MSR_HV_SIEFP:
		*value = s->event_page;
		break;
	case MSR_HV_SIMP:
		*value = s->message_page;
		break;
	case MSR_HV_EOM:
		*value = 0;
		break;
	default:
		*value = s->sint[index - MSR_HV_SINT0];
	}
	return true;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

int vcpu_hyperv_activate_synic(struct vcpu *vcpu, bool keep_pages)
{
	struct hyperv_synic *s = &vcpu->hyperv->synic;

	if (!vcpu->apic)
		return -EINVAL;
	s->keep_pages = keep_pages;
	s->control = ENABLE;
	atomic_set(&s->active, true);
	return 0;
}

void vcpu_hyperv_create_synic(struct vcpu *vcpu)
{
	struct vcpu_hyperv *hv = vcpu->hyperv;

	hv->synic.version = 1;
	for (u32 i = 0; i < HYPERV_SINTS; i++)
		hv->synic.sint[i] = SINT_MASKED;
	for (u32 i = 0; i < HYPERV_TIMERS; i++) {
		hv->timer[i].vcpu = vcpu;
		hv->timer[i].index = i;
		host_timer_init(&hv->timer[i].timer, timer_fired);
	}
}

void vcpu_hyperv_stop_timers(struct vcpu *vcpu)
{
	for (u32 i = 0; vcpu->hyperv && i < HYPERV_TIMERS; i++)
		host_timer_cancel_sync(&vcpu->hyperv->timer[i].timer);
}
