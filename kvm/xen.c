/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen HVM: configuration, the hypercall page, and the attributes by which userspace sets up and moves a guest's state
 * (KVM document, sections 4.74, 4.127 to 4.131). xen_calls.c has the hypercalls, xen_events.c event channels and time.
 */
#include "kvm/clock.h"
#include "kvm/xen.h"
#include "kvm/xen_state.h"
#include "x86/system.h"

#define PAGE 4096u
#define FIRST_VECTOR 16u
#define CALLS (PAGE / 32)
#define RUNSTATE_SIZE 48u /* of the wider layout */

u32 xen_features(void)
{
	return KVM_XEN_HVM_CONFIG_HYPERCALL_MSR | KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_SHARED_INFO |
	       KVM_XEN_HVM_CONFIG_EVTCHN_2LEVEL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
	       (host_has_run_delay() ? KVM_XEN_HVM_CONFIG_RUNSTATE : 0);
}

bool vm_xen_has_hypercalls(const struct vm *vm)
{
	return vm_xen_enabled(vm) && (atomic_read(&vm->xen->config.flags) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL);
}

/* ---- the hypercall page --------------------------------------------------------------------------------------- */

bool vcpu_xen_is_msr(const struct vcpu *vcpu, u32 index)
{
	return index && index == atomic_read(&vcpu->vm->xen->config.msr);
}

/* Entry n: mov $n, %eax; vmcall or vmmcall; ret. */
static bool write_calls(struct vcpu *vcpu, u64 gpa)
{
	u8 code[32] = { 0xb8, 0, 0, 0, 0, 0x0f, 0x01, vcpu->cpu.vendor_amd ? 0xd9 : 0xc1, 0xc3 };

	memset(code + 9, 0xcc, sizeof(code) - 9);
	for (u32 i = 0; i < CALLS; i++) {
		memcpy(code + 1, &i, sizeof(i));
		if (vcpu_write_guest(vcpu, 0, gpa + i * sizeof(code), code, sizeof(code)))
			return false;
	}
	return true;
}

/* A page of the code that userspace has given, for 32 and for 64 bits. */
static bool copy_page(struct vcpu *vcpu, u64 gpa, u32 number)
{
	const struct kvm_xen_hvm_config *c = &vcpu->vm->xen->config;
	bool wide = vcpu->cpu.efer & X86_EFER_LMA;
	u64 from = atomic_read(wide ? &c->blob_addr_64 : &c->blob_addr_32) + (u64)number * PAGE;
	u8 part[256];

	if (number >= atomic_read(wide ? &c->blob_size_64 : &c->blob_size_32))
		return false;
	for (u32 at = 0; at < PAGE; at += sizeof(part)) {
		if (host_copy_from_user(part, from + at, sizeof(part)) ||
		    vcpu_write_guest(vcpu, 0, gpa + at, part, sizeof(part)))
			return false;
	}
	return true;
}

bool vcpu_xen_write_msr(struct vcpu *vcpu, u64 value)
{
	u64 gpa = value & ~(u64)(PAGE - 1);
	u32 number = value & (PAGE - 1);

	atomic_set(&vcpu->vm->xen->long_mode, !!(vcpu->cpu.efer & X86_EFER_LMA));
	if (vm_xen_has_hypercalls(vcpu->vm))
		return !number && write_calls(vcpu, gpa);
	return copy_page(vcpu, gpa, number);
}

/* ---- the VM -------------------------------------------------------------------------------------------------------- */

/* vCPUs look at each field by itself, meanwhile. */
static void config_set(struct kvm_xen_hvm_config *c, const struct kvm_xen_hvm_config *new)
{
	atomic_set(&c->flags, new->flags);
	atomic_set(&c->blob_addr_32, new->blob_addr_32);
	atomic_set(&c->blob_addr_64, new->blob_addr_64);
	atomic_set(&c->blob_size_32, new->blob_size_32);
	atomic_set(&c->blob_size_64, new->blob_size_64);
	atomic_set(&c->msr, new->msr);
}

static long vm_xen_config(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_xen_hvm_config config;

	if (host_copy_from_user(&config, arg, sizeof(config)))
		return -EFAULT;
	if (config.flags & ~(u32)(KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND))
		return -EINVAL;
	if ((config.flags & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL) &&
	    (config.blob_addr_32 || config.blob_addr_64 || config.blob_size_32 || config.blob_size_64))
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	config_set(&vm->xen->config, &config);
	host_mutex_unlock(&vm->lock);
	return 0;
}

static bool vector_ok(u8 vector)
{
	return !vector || vector >= FIRST_VECTOR;
}

static long set_vm_attr(struct vm *vm, const struct kvm_xen_hvm_attr *attr)
{
	switch (attr->type) {
	case KVM_XEN_ATTR_TYPE_LONG_MODE:
		atomic_set(&vm->xen->long_mode, !!attr->u.long_mode);
		return 0;
	case KVM_XEN_ATTR_TYPE_SHARED_INFO:
		return vm_xen_set_shared_info(vm, attr->u.shared_info.gfn);
	case KVM_XEN_ATTR_TYPE_UPCALL_VECTOR:
		if (!vector_ok(attr->u.vector))
			return -EINVAL;
		atomic_set(&vm->xen->upcall_vector, attr->u.vector);
		return 0;
	case KVM_XEN_ATTR_TYPE_EVTCHN:
		return vm_xen_set_port(vm, attr);
	case KVM_XEN_ATTR_TYPE_XEN_VERSION:
		atomic_set(&vm->xen->version, attr->u.xen_version);
		return 0;
	}
	return -ENOENT;
}

static long vm_xen_set_attr(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_xen_hvm_attr attr;
	long r;

	if (host_copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	host_mutex_lock(&vm->lock);
	r = set_vm_attr(vm, &attr);
	host_mutex_unlock(&vm->lock);
	return r;
}

static long vm_xen_get_attr(void *object, unsigned long arg)
{
	const struct vm_xen *xen = ((struct vm *)object)->xen;
	struct kvm_xen_hvm_attr attr;
	u64 shared = atomic_read(&xen->shared_info);

	if (host_copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	switch (attr.type) {
	case KVM_XEN_ATTR_TYPE_LONG_MODE:
		attr.u.long_mode = atomic_read(&xen->long_mode);
		break;
	case KVM_XEN_ATTR_TYPE_SHARED_INFO:
		attr.u.shared_info.gfn = shared == XEN_NOWHERE ? XEN_NOWHERE : shared >> 12;
		break;
	case KVM_XEN_ATTR_TYPE_UPCALL_VECTOR:
		attr.u.vector = atomic_read(&xen->upcall_vector);
		break;
	case KVM_XEN_ATTR_TYPE_XEN_VERSION:
		attr.u.xen_version = atomic_read(&xen->version);
		break;
	default:
		return -ENOENT;
	}
	return host_copy_to_user(arg, &attr, sizeof(attr));
}

static long vm_xen_evtchn_send(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_irq_routing_xen_evtchn event;
	int r;

	if (host_copy_from_user(&event, arg, sizeof(event)))
		return -EFAULT;
	if (!event.port || event.port >= vm_xen_layout(vm)->ports ||
	    event.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;
	r = vm_xen_raise(vm, event.vcpu, event.port);
	return r > 0 || r == -ENOTCONN ? 0 : r;
}

const struct ioctl_row vm_xen_ioctls[] = {
	{ KVM_XEN_HVM_CONFIG, vm_xen_config },
	{ KVM_XEN_HVM_SET_ATTR, vm_xen_set_attr },
	{ KVM_XEN_HVM_GET_ATTR, vm_xen_get_attr },
	{ KVM_XEN_HVM_EVTCHN_SEND, vm_xen_evtchn_send },
	{ 0, NULL },
};

/* ---- a vCPU's state -------------------------------------------------------------------------------------------------- */

/* A structure of size bytes may lie there: within one page, of memory that can be written. */
static long check_place(struct vm *vm, u64 gpa, u32 size)
{
	u8 byte;

	if ((gpa & (PAGE - 1)) + size > PAGE)
		return -EINVAL;
	if (vm_read_guest(vm, 0, gpa, &byte, 1))
		return -EFAULT;
	return vm_cmpxchg_guest(vm, 0, gpa, byte, byte, 1) < 0 ? -EFAULT : 0;
}

static long set_place(struct vcpu *vcpu, u64 *place, u64 gpa, u32 size)
{
	long r = 0;

	if (gpa != XEN_NOWHERE)
		r = check_place(vcpu->vm, gpa, size);
	if (r != -EINVAL)
		atomic_set(place, gpa);
	return r;
}

/* As set_place(), for what kvmclock's page is copied to. */
static long set_clock_place(struct vcpu *vcpu, u64 *place, u64 gpa, u32 size)
{
	long r = set_place(vcpu, place, gpa, size);

	if (!r)
		vcpu_request(vcpu, VCPU_REQ_CLOCK);
	return r;
}

static bool adds_up(const struct kvm_xen_vcpu_attr *a)
{
	return a->u.runstate.state_entry_time == a->u.runstate.time_running + a->u.runstate.time_runnable +
						 a->u.runstate.time_blocked + a->u.runstate.time_offline;
}

static void add_times(struct vcpu_xen *xen, const struct kvm_xen_vcpu_attr *a)
{
	xen->run.entered += a->u.runstate.state_entry_time;
	xen->run.time[XEN_RUNNING] += a->u.runstate.time_running;
	xen->run.time[XEN_RUNNABLE] += a->u.runstate.time_runnable;
	xen->run.time[XEN_BLOCKED] += a->u.runstate.time_blocked;
	xen->run.time[XEN_OFFLINE] += a->u.runstate.time_offline;
}

static long set_run_data(struct vcpu *vcpu, const struct kvm_xen_vcpu_attr *a)
{
	struct vcpu_xen *xen = vcpu->xen;

	if (a->u.runstate.state > XEN_OFFLINE || !adds_up(a) || vm_clock_ns(vcpu->vm) < a->u.runstate.state_entry_time)
		return -EINVAL;
	memset(&xen->run, 0, sizeof(xen->run));
	xen->run.state = (u32)a->u.runstate.state;
	xen->run.run_delay = host_run_delay_ns();
	add_times(xen, a);
	return 0;
}

static long adjust_run_data(struct vcpu *vcpu, const struct kvm_xen_vcpu_attr *a)
{
	struct vcpu_xen *xen = vcpu->xen;
	bool keep = a->u.runstate.state == ~0ull;

	if ((a->u.runstate.state > XEN_OFFLINE && !keep) || !adds_up(a) ||
	    vm_clock_ns(vcpu->vm) < xen->run.entered + a->u.runstate.state_entry_time)
		return -EINVAL;
	add_times(xen, a);
	if (!keep)
		vcpu_xen_set_runstate(vcpu, (u32)a->u.runstate.state);
	return 0;
}

static long set_runstate(struct vcpu *vcpu, const struct kvm_xen_vcpu_attr *a)
{
	if (!host_has_run_delay())
		return -EOPNOTSUPP;
	switch (a->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
		return set_place(vcpu, &vcpu->xen->runstate, a->u.gpa, RUNSTATE_SIZE);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
		return set_run_data(vcpu, a);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST:
		return adjust_run_data(vcpu, a);
	}
	if (a->u.runstate.state > XEN_OFFLINE)
		return -EINVAL;
	vcpu_xen_set_runstate(vcpu, (u32)a->u.runstate.state);
	return 0;
}

static long set_timer(struct vcpu *vcpu, const struct kvm_xen_vcpu_attr *a)
{
	if (a->u.timer.port && a->u.timer.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;
	vcpu_xen_stop_timer(vcpu);
	vcpu->xen->timer_port = a->u.timer.port;
	if (a->u.timer.port && a->u.timer.expires_ns)
		vcpu_xen_start_timer(vcpu, a->u.timer.expires_ns);
	return 0;
}

static long set_attr(struct vcpu *vcpu, const struct kvm_xen_vcpu_attr *a)
{
	struct vcpu_xen *xen = vcpu->xen;

	switch (a->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO:
		return set_clock_place(vcpu, &xen->info, a->u.gpa, XEN_INFO_SIZE);
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO:
		return set_clock_place(vcpu, &xen->time, a->u.gpa, XEN_TIME_SIZE);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST:
		return set_runstate(vcpu, a);
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID:
		if (a->u.vcpu_id >= VM_MAX_VCPUS)
			return -EINVAL;
		xen->id = a->u.vcpu_id;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_TIMER:
		return set_timer(vcpu, a);
	case KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR:
		if (!vector_ok(a->u.vector))
			return -EINVAL;
		atomic_set(&xen->upcall_vector, a->u.vector);
		return 0;
	}
	return -ENOENT;
}

static long vcpu_xen_set_attr(void *object, unsigned long arg)
{
	struct kvm_xen_vcpu_attr attr;

	if (host_copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	return set_attr(object, &attr);
}

static long get_runstate(const struct vcpu_xen *xen, struct kvm_xen_vcpu_attr *a)
{
	if (!host_has_run_delay())
		return -EOPNOTSUPP;
	if (a->type == KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR) {
		if (xen->runstate == XEN_NOWHERE)
			return -ENOENT;
		a->u.gpa = xen->runstate;
		return 0;
	}
	a->u.runstate.state = xen->run.state;
	if (a->type == KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT)
		return 0;
	a->u.runstate.state_entry_time = xen->run.entered;
	a->u.runstate.time_running = xen->run.time[XEN_RUNNING];
	a->u.runstate.time_runnable = xen->run.time[XEN_RUNNABLE];
	a->u.runstate.time_blocked = xen->run.time[XEN_BLOCKED];
	a->u.runstate.time_offline = xen->run.time[XEN_OFFLINE];
	return 0;
}

static long get_attr(const struct vcpu_xen *xen, struct kvm_xen_vcpu_attr *a)
{
	switch (a->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO:
		a->u.gpa = xen->info;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO:
		a->u.gpa = xen->time;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
		return get_runstate(xen, a);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST:
		return -EINVAL;
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID:
		a->u.vcpu_id = xen->id;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_TIMER:
		a->u.timer.port = xen->timer_port;
		a->u.timer.priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
		a->u.timer.expires_ns = xen->timer_expires;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR:
		a->u.vector = xen->upcall_vector;
		return 0;
	}
	return -ENOENT;
}

static long vcpu_xen_get_attr(void *object, unsigned long arg)
{
	struct kvm_xen_vcpu_attr attr;
	long r;

	if (host_copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	r = get_attr(((struct vcpu *)object)->xen, &attr);
	return r ? r : host_copy_to_user(arg, &attr, sizeof(attr));
}

const struct ioctl_row vcpu_xen_ioctls[] = {
	{ KVM_XEN_VCPU_SET_ATTR, vcpu_xen_set_attr },
	{ KVM_XEN_VCPU_GET_ATTR, vcpu_xen_get_attr },
	{ 0, NULL },
};

/* ---- life -------------------------------------------------------------------------------------------------------------- */

int vm_xen_create(struct vm *vm)
{
	vm->xen = host_alloc(sizeof(*vm->xen));
	if (!vm->xen)
		return -ENOMEM;
	host_mutex_init(&vm->xen->lock);
	vm->xen->shared_info = XEN_NOWHERE;
	return 0;
}

void vm_xen_destroy(struct vm *vm)
{
	if (vm->xen)
		vm_xen_reset_ports(vm);
	host_free(vm->xen);
	vm->xen = NULL;
}

int vcpu_xen_create(struct vcpu *vcpu)
{
	struct vcpu_xen *xen = host_alloc(sizeof(*xen));

	if (!xen)
		return -ENOMEM;
	xen->info = xen->time = xen->runstate = XEN_NOWHERE;
	xen->id = vcpu->index;
	vcpu->xen = xen;
	vcpu_xen_create_timers(vcpu);
	return 0;
}

void vcpu_xen_destroy(struct vcpu *vcpu)
{
	if (vcpu->xen) {
		host_timer_cancel_sync(&vcpu->xen->timer.host);
		host_timer_cancel_sync(&vcpu->xen->poll_timer.host);
	}
	host_free(vcpu->xen);
	vcpu->xen = NULL;
}
