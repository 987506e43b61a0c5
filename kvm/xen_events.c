/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen's event channels with two levels of bits, the timer, run states and clocks in guest memory.
 *
 * An event is a bit in the shared info page; if it is not masked, a bit in its vCPU's info says in which word of those
 * to look, and a flag beside it that there is something. The vCPU learns of it by an interrupt: of the VM's upcall vector as
 * long as that flag is set (vcpu_xen_upcall), or of a vector of its LAPIC, once.
 *
 * These pages are dirty at any time: KVM's document has userspace take them for dirty always, so they are not logged.
 */
#include "kvm/clock.h"
#include "kvm/irqchip.h"
#include "kvm/xen.h"
#include "kvm/xen_state.h"

#define RUNSTATE_UPDATE BIT64(63)
#define RUNSTATE_PERIOD_MS 5
#define NS_PER_S 1000000000ull

const struct xen_layout *vm_xen_layout(const struct vm *vm)
{
	static const struct xen_layout wide = {
		.word_bits = 64, .ports = XEN_MAX_PORTS, .pending = 0x800, .mask = 0xa00, .wall_clock = 0xc00, .wall_clock_high = 0xc0c,
		.selector = 8, .runstate_time = 8,
	}, narrow = {
		.word_bits = 32, .ports = 1024, .pending = 0x800, .mask = 0x880, .wall_clock = 0x900, .wall_clock_high = 0x924,
		.selector = 4, .runstate_time = 4,
	};

	return atomic_read(&vm->xen->long_mode) ? &wide : &narrow;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* 1: the bit was set already, 0: it is set now, or -EFAULT. */
static int set_guest_bit(struct vm *vm, u64 gpa, u32 bit)
{
	u32 word, mask = BIT(bit % 32);
	int r;

	gpa += bit / 32 * sizeof(word);
	do {
		if (vm_read_guest(vm, 0, gpa, &word, sizeof(word)))
			return -EFAULT;
		if (word & mask)
			return 1;
		r = vm_cmpxchg_guest(vm, 0, gpa, word, word | mask, sizeof(word));
	} while (r > 0);
	return r;
}

static int test_guest_bit(struct vm *vm, u64 gpa, u32 bit)
{
	u32 word;

	if (vm_read_guest(vm, 0, gpa + bit / 32 * sizeof(word), &word, sizeof(word)))
		return -EFAULT;
	return word >> bit % 32 & 1;
}

static void end_poll_of(struct vcpu *vcpu, u32 port)
{
	u32 waits = atomic_read(&vcpu->xen->poll_port);

	if (waits && (waits == port || waits == XEN_ANY_PORT || port == XEN_ANY_PORT))
		vcpu_request(vcpu, VCPU_REQ_UNHALT);
}

static void inject_own_vector(struct vcpu *vcpu, u8 vector)
{
	struct apic_message m = { .delivery = APIC_FIXED, .vector = vector, .level = false, .assert = true };

	if (vcpu->apic && lapic_enabled_hw(vcpu->apic))
		lapic_accept(vcpu->apic, &m);
}

static void tell_vcpu(struct vcpu *vcpu)
{
	u8 vector = atomic_read(&vcpu->xen->upcall_vector);

	if (vector)
		inject_own_vector(vcpu, vector);
	else
		vcpu_request(vcpu, VCPU_REQ_EVENT);
	end_poll_of(vcpu, XEN_ANY_PORT);
}

/* The word of pending bits goes into the vCPU's info; what cannot be written now, its thread writes later. */
static void select_word(struct vcpu *vcpu, u64 info, u32 word)
{
	const u8 one = 1;
	int r = set_guest_bit(vcpu->vm, info + vm_xen_layout(vcpu->vm)->selector, word);

	if (r > 0)
		return;
	if (!r)
		r = vm_write_guest(vcpu->vm, 0, info + XEN_INFO_PENDING, &one, sizeof(one));
	if (!r) {
		tell_vcpu(vcpu);
	} else {
		atomic_or(&vcpu->xen->unsent, BIT64(word));
		vcpu_request(vcpu, VCPU_REQ_XEN);
	}
}

int vm_xen_send(struct vm *vm, u32 vcpu_id, u32 port)
{
	const struct xen_layout *layout = vm_xen_layout(vm);
	u64 shared = atomic_read(&vm->xen->shared_info), info;
	struct vcpu *vcpu = vm_vcpu_by_id(vm, vcpu_id);
	int r;

	info = vcpu ? atomic_read(&vcpu->xen->info) : XEN_NOWHERE;
	if (info == XEN_NOWHERE || port >= layout->ports || shared == XEN_NOWHERE)
		return -EINVAL;
	r = set_guest_bit(vm, shared + layout->pending, port);
	if (r)
		return r < 0 ? r : 0;
	r = test_guest_bit(vm, shared + layout->mask, port);
	if (r) {
		end_poll_of(vcpu, port);
		return r < 0 ? r : -ENOTCONN;
	}
	select_word(vcpu, info, port / layout->word_bits);
	return 1;
}

/* An irqfd's thread may have no address space, and so no guest memory: then the vCPU's sends it. */
static void defer(struct vcpu *vcpu, u32 port)
{
	atomic_or(&vcpu->xen->deferred[port / 64], BIT64(port % 64));
	atomic_set_release(&vcpu->xen->any_deferred, 1);
	vcpu_request(vcpu, VCPU_REQ_XEN);
}

static void send_deferred(struct vcpu *vcpu)
{
	for (u32 i = 0; i < ARRAY_SIZE(vcpu->xen->deferred); i++) {
		u64 ports = atomic_xchg(&vcpu->xen->deferred[i], 0);

		for (; ports; ports &= ports - 1)
			vm_xen_send(vcpu->vm, vcpu->id, i * 64 + (u32)__builtin_ctzll(ports));
	}
}

int vm_xen_raise(struct vm *vm, u32 vcpu_id, u32 port)
{
	int r;

	host_mutex_lock(&vm->outside);
	r = vm_xen_send(vm, vcpu_id, port);
	host_mutex_unlock(&vm->outside);
	if (r == -EFAULT)
		defer(vm_vcpu_by_id(vm, vcpu_id), port);
	return r;
}

bool vm_xen_any_pending(struct vm *vm, const u32 *ports, u32 n)
{
	u64 shared = atomic_read(&vm->xen->shared_info);

	for (u32 i = 0; i < n; i++) {
		if (shared == XEN_NOWHERE || test_guest_bit(vm, shared + vm_xen_layout(vm)->pending, ports[i]))
			return true;
	}
	return shared == XEN_NOWHERE;
}

void vcpu_xen_lapic_enabled(struct vcpu *vcpu)
{
	u8 vector = atomic_read(&vcpu->xen->upcall_vector), pending;
	u64 info = vcpu->xen->info;

	if (!vector || info == XEN_NOWHERE || !vm_xen_enabled(vcpu->vm))
		return;
	if (!vm_read_guest(vcpu->vm, 0, info + XEN_INFO_PENDING, &pending, 1) && pending)
		inject_own_vector(vcpu, vector);
}

static void send_unsent(struct vcpu *vcpu)
{
	u64 info = vcpu->xen->info, words;

	if (info == XEN_NOWHERE)
		return;
	for (words = atomic_xchg(&vcpu->xen->unsent, 0); words; words &= words - 1)
		select_word(vcpu, info, (u32)__builtin_ctzll(words));
}

/* ---- the timer --------------------------------------------------------------------------------------------------- */

static void timer_fired(struct host_timer *timer)
{
	struct vcpu *vcpu = container_of(timer, struct xen_timer, host)->vcpu;

	atomic_set(&vcpu->xen->timer_pending, 1);
	vcpu_request(vcpu, VCPU_REQ_XEN);
}

static void poll_timer_fired(struct host_timer *timer)
{
	end_poll_of(container_of(timer, struct xen_timer, host)->vcpu, XEN_ANY_PORT);
}

void vcpu_xen_create_timers(struct vcpu *vcpu)
{
	struct vcpu_xen *xen = vcpu->xen;

	xen->timer.vcpu = xen->poll_timer.vcpu = vcpu;
	host_timer_init(&xen->timer.host, timer_fired);
	host_timer_init(&xen->poll_timer.host, poll_timer_fired);
}

void vcpu_xen_stop_timer(struct vcpu *vcpu)
{
	host_timer_cancel_sync(&vcpu->xen->timer.host);
	vcpu->xen->timer_expires = 0;
	atomic_set(&vcpu->xen->timer_pending, 0);
}

void vcpu_xen_start_timer(struct vcpu *vcpu, u64 expires)
{
	s64 delta = (s64)(expires - vm_clock_ns(vcpu->vm));

	vcpu_xen_stop_timer(vcpu);
	vcpu->xen->timer_expires = expires;
	if (delta <= 0)
		timer_fired(&vcpu->xen->timer.host);
	else
		host_timer_arm(&vcpu->xen->timer.host, host_monotonic_ns() + (u64)delta);
}

void vcpu_xen_serve(struct vcpu *vcpu)
{
	struct vcpu_xen *xen = vcpu->xen;

	if (atomic_read(&xen->unsent))
		send_unsent(vcpu);
	if (atomic_xchg(&xen->any_deferred, 0))
		send_deferred(vcpu);
	if (!atomic_read(&xen->timer_pending))
		return;
	vm_xen_send(vcpu->vm, vcpu->id, xen->timer_port);
	xen->timer_expires = 0;
	atomic_set(&xen->timer_pending, 0);
}

/* ---- run states --------------------------------------------------------------------------------------------------- */

/* What the thread waited for a processor while it was to run, it was runnable. */
void vcpu_xen_set_runstate(struct vcpu *vcpu, u32 state)
{
	struct vcpu_xen *xen = vcpu->xen;
	u64 now = vm_clock_ns(vcpu->vm), run_delay = host_run_delay_ns(), passed = now - xen->run.entered, stolen;

	if (!xen->run.entered)
		xen->run.state = XEN_OFFLINE;
	if (xen->run.state == XEN_RUNNING) {
		stolen = run_delay > xen->run.run_delay ? run_delay - xen->run.run_delay : 0; /* less: another thread's */
		passed -= stolen;
		xen->run.time[XEN_RUNNABLE] += stolen;
	}
	xen->run.run_delay = run_delay;
	xen->run.time[xen->run.state] += passed;
	xen->run.state = state;
	xen->run.entered = now;
}

/* While the rest changes the time of entry has a bit set. */
static void write_runstate(struct vcpu *vcpu)
{
	struct vcpu_xen *xen = vcpu->xen;
	u64 time_at = xen->runstate + vm_xen_layout(vcpu->vm)->runstate_time;
	u64 entered = xen->run.entered | RUNSTATE_UPDATE;

	if (vcpu_write_guest(vcpu, 0, time_at, &entered, sizeof(entered)))
		return;
	atomic_fence();
	vcpu_write_guest(vcpu, 0, xen->runstate, &xen->run.state, sizeof(xen->run.state));
	vcpu_write_guest(vcpu, 0, time_at + sizeof(entered), xen->run.time, sizeof(xen->run.time));
	atomic_fence();
	vcpu_write_guest(vcpu, 0, time_at, &xen->run.entered, sizeof(xen->run.entered));
}

void vcpu_xen_running(struct vcpu *vcpu, bool now)
{
	u64 tsc = host_tsc();

	if (!now && tsc - vcpu->xen->run.told_tsc < (u64)host_tsc_khz() * RUNSTATE_PERIOD_MS)
		return;
	vcpu->xen->run.told_tsc = tsc;
	vcpu_xen_set_runstate(vcpu, XEN_RUNNING);
	if (vcpu->xen->runstate != XEN_NOWHERE)
		write_runstate(vcpu);
}

/* ---- clocks ---------------------------------------------------------------------------------------------------------- */

void vcpu_xen_clock_changed(struct vcpu *vcpu)
{
	const struct vcpu_xen *xen = vcpu->xen;

	if (unlikely(xen->info != XEN_NOWHERE))
		vcpu_clock_write_page(vcpu, xen->info + XEN_INFO_TIME);
	if (unlikely(xen->time != XEN_NOWHERE))
		vcpu_clock_write_page(vcpu, xen->time);
}

/* When kvmclock was 0; odd versions while that is written. */
static int write_wall_clock(struct vm *vm, u64 shared)
{
	const struct xen_layout *layout = vm_xen_layout(vm);
	u64 at = shared + layout->wall_clock, ns = vm_clock_wall_ns(vm);
	u32 time[2] = { (u32)(ns / NS_PER_S), (u32)(ns % NS_PER_S) }, high = (u32)(ns / NS_PER_S >> 32), version;

	if (vm_read_guest(vm, 0, at, &version, sizeof(version)))
		return -EFAULT;
	version = (version + 1) | 1;
	if (vm_write_guest(vm, 0, at, &version, sizeof(version)))
		return -EFAULT;
	atomic_fence();
	vm_write_guest(vm, 0, at + sizeof(version), time, sizeof(time));
	vm_write_guest(vm, 0, shared + layout->wall_clock_high, &high, sizeof(high));
	atomic_fence();
	version++;
	return vm_write_guest(vm, 0, at, &version, sizeof(version));
}

int vm_xen_set_shared_info(struct vm *vm, u64 gfn)
{
	struct vcpu *vcpu;
	int r;

	atomic_set(&vm->xen->shared_info, gfn == XEN_NOWHERE ? XEN_NOWHERE : gfn << 12);
	if (gfn == XEN_NOWHERE)
		return 0;
	r = write_wall_clock(vm, gfn << 12);
	for (u32 i = 0; !r && (vcpu = vm_vcpu(vm, i)); i++)
		vcpu_request(vcpu, VCPU_REQ_CLOCK);
	return r;
}

/* ---- ports that the guest sends on -------------------------------------------------------------------------------------- */

#define PORT_INTERDOMAIN 2u /* EVTCHNSTAT_* of Xen's public/event_channel.h */
#define PORT_IPI 5u

/* Caller holds the lock. */
static struct xen_port **find_port(struct vm_xen *xen, u32 send)
{
	struct xen_port **p = &xen->ports;

	while (*p && (*p)->send != send)
		p = &(*p)->next;
	return p;
}

static void free_port(struct xen_port *p)
{
	if (p->event)
		host_eventfd_put(p->event);
	host_free(p);
}

static int fill_port(struct vm *vm, struct xen_port *p, const struct kvm_xen_hvm_attr *attr)
{
	u32 port = attr->u.evtchn.deliver.port.port;

	p->send = attr->u.evtchn.send_port;
	p->type = attr->u.evtchn.type;
	if (p->type == PORT_IPI && port != p->send)
		return -EINVAL;
	if (p->type == PORT_INTERDOMAIN && port >= vm_xen_layout(vm)->ports)
		return -EINVAL;
	if (p->type != PORT_IPI && p->type != PORT_INTERDOMAIN)
		return -EINVAL;
	if (p->type == PORT_INTERDOMAIN && !port)
		return host_eventfd_get(attr->u.evtchn.deliver.eventfd.fd, &p->event);
	if (attr->u.evtchn.deliver.port.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;
	p->port = port;
	p->vcpu_id = attr->u.evtchn.deliver.port.vcpu;
	return 0;
}

static long assign_port(struct vm *vm, const struct kvm_xen_hvm_attr *attr)
{
	struct xen_port *p = host_alloc(sizeof(*p));
	long r;

	if (!p)
		return -ENOMEM;
	r = fill_port(vm, p, attr);
	host_mutex_lock(&vm->xen->lock);
	if (!r && *find_port(vm->xen, p->send))
		r = -EEXIST;
	if (!r) {
		p->next = vm->xen->ports;
		vm->xen->ports = p;
	}
	host_mutex_unlock(&vm->xen->lock);
	if (r)
		free_port(p);
	return r;
}

/* Its vCPU alone may change. */
static long update_port(struct vm *vm, const struct kvm_xen_hvm_attr *attr)
{
	struct xen_port *p;
	long r = 0;

	host_mutex_lock(&vm->xen->lock);
	p = *find_port(vm->xen, attr->u.evtchn.send_port);
	if (!p)
		r = -ENOENT;
	else if (p->type != attr->u.evtchn.type || !p->port || p->port != attr->u.evtchn.deliver.port.port ||
		 attr->u.evtchn.deliver.port.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		r = -EINVAL;
	else
		p->vcpu_id = attr->u.evtchn.deliver.port.vcpu;
	host_mutex_unlock(&vm->xen->lock);
	return r;
}

static long deassign_port(struct vm *vm, u32 send)
{
	struct xen_port **at, *p;

	host_mutex_lock(&vm->xen->lock);
	at = find_port(vm->xen, send);
	p = *at;
	if (p)
		*at = p->next;
	host_mutex_unlock(&vm->xen->lock);
	if (!p)
		return -ENOENT;
	free_port(p);
	return 0;
}

void vm_xen_reset_ports(struct vm *vm)
{
	struct xen_port *p, *next;

	host_mutex_lock(&vm->xen->lock);
	p = vm->xen->ports;
	vm->xen->ports = NULL;
	host_mutex_unlock(&vm->xen->lock);
	for (; p; p = next) {
		next = p->next;
		free_port(p);
	}
}

long vm_xen_set_port(struct vm *vm, const struct kvm_xen_hvm_attr *attr)
{
	u32 send = attr->u.evtchn.send_port, flags = attr->u.evtchn.flags;

	if (flags == KVM_XEN_EVTCHN_RESET) {
		vm_xen_reset_ports(vm);
		return 0;
	}
	if (!send || send >= vm_xen_layout(vm)->ports)
		return -EINVAL;
	if (flags == KVM_XEN_EVTCHN_DEASSIGN)
		return deassign_port(vm, send);
	if (flags == KVM_XEN_EVTCHN_UPDATE)
		return update_port(vm, attr);
	return flags ? -EINVAL : assign_port(vm, attr);
}

int vm_xen_send_port(struct vm *vm, u32 send)
{
	u32 port = 0, vcpu_id = 0;
	struct xen_port *p;
	int r;

	host_mutex_lock(&vm->xen->lock);
	p = *find_port(vm->xen, send);
	if (p && p->event)
		host_eventfd_signal(p->event, 1);
	if (p) {
		port = p->port;
		vcpu_id = p->vcpu_id;
	}
	host_mutex_unlock(&vm->xen->lock);
	if (!p || !port)
		return !p;
	r = vm_xen_send(vm, vcpu_id, port);
	return r < 0 && r != -ENOTCONN;
}
