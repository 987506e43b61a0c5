/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time: the guests' TSCs, and the VM's kvmclock that derives from them.
 *
 * Guest TSC = host TSC * ratio + offset, per vCPU. Writers of a TSC (userspace at creation and migration)
 * mean to keep vCPUs in step; who writes within a second of what the last written TSC would be by now is
 * given the same offset (__kvm_synchronize_tsc's rule). vCPUs that share an offset belong to one
 * generation.
 *
 * kvmclock in nanoseconds = base_ns(host TSC) + offset, where base_ns is one straight line from the VM's
 * creation on: all vCPUs, snapshots and KVM_GET_CLOCK agree by construction, and nothing the host does to
 * its clocks makes it jump. It keeps the TSC's rate, so it drifts against NTP-disciplined time as KVM's
 * master clock does. While all TSCs are of one generation, all vCPUs' pages hold the same snapshot and say
 * so (PVCLOCK_TSC_STABLE_BIT).
 */
#include "kvm/clock.h"
#include "kvm/pv.h"

#define MSR_TSC 0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_TSC_DEADLINE 0x6e0
#define NS_PER_S 1000000000ull
#define RATIO_BITS 48
#define MAX_TSC_KHZ 0x7fffffffu
#define TSC_TOLERANCE_PPM 250u /* within which no scaling is done: KVM's tsc_tolerance_ppm */
#define PVCLOCK_TSC_STABLE 1u
#define PVCLOCK_GUEST_STOPPED 2u

struct pvclock_page {
	u32 version, pad;
	u64 tsc_timestamp, system_time;
	u32 mul;
	s8 shift;
	u8 flags, pad2[2];
};

struct pvclock_wall {
	u32 version, sec, nsec;
};

_Static_assert(sizeof(struct pvclock_page) == 32 && sizeof(struct pvclock_wall) == 12, "KVM's ABI");

struct vm_clock {
	struct host_mutex lock;		/* i: what follows */
	u64 tsc0, ns0;			/* c: origin of base_ns */
	u64 offset;			/* kvmclock = base_ns + offset */
	bool master;			/* TSCs match: one snapshot for all */
	bool boot_uses_old_msr;		/* vCPU 0 wrote MSR_KVM_SYSTEM_TIME: a guest that knows no flags */
	u64 snapshot_tsc;		/* host TSC of the snapshot */
	u64 wall;			/* a: MSR_KVM_WALL_CLOCK */
	/* the last TSC write */
	u64 last_ns, last_write, last_offset;
	u32 last_khz;
	u64 generation_offset;
	u32 generation;
};

/* ---- arithmetic --------------------------------------------------------------------------------- */

/* By hand because 128-bit division would call libgcc. */
u64 clock_mul_div(u64 a, u64 b, u64 c)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	u64 high = (u64)(product >> 64), low = (u64)product;

	if (high >= c)
		return ~0ull;
	__asm__("divq %2" : "+a"(low), "+d"(high) : "r"(c) : "cc");
	return low;
}

static u64 scale_tsc(const struct vcpu *vcpu, u64 tsc)
{
	if (likely(vcpu->tsc_ratio == VCPU_TSC_RATIO_ONE))
		return tsc;
	return (u64)((unsigned __int128)tsc * vcpu->tsc_ratio >> RATIO_BITS);
}

static u64 base_ns(const struct vm_clock *c, u64 tsc)
{
	/* TSCs of different processors may differ by a few ticks around the origin */
	return tsc < c->tsc0 ? c->ns0 : c->ns0 + clock_mul_div(tsc - c->tsc0, 1000000, host_tsc_khz());
}

/*
 * mul and shift such that ns = (ticks << shift) * mul >> 32 (shift may be negative), mul using all its
 * bits.
 */
static void time_scale(u64 hz, u32 *mul, s8 *shift)
{
	u64 m;
	int s = 0;

	while (s < 31 && clock_mul_div(NS_PER_S, BIT64(32 - s), hz) >> 32)
		s++;
	while (s > -31 && !(clock_mul_div(NS_PER_S, BIT64(33 - s), hz) >> 32))
		s--;
	m = clock_mul_div(NS_PER_S, BIT64(32 - s), hz);
	*mul = (u32)m;
	*shift = (s8)s;
}

/* ---- TSC ---------------------------------------------------------------------------------------- */

u64 vcpu_tsc_at(struct vcpu *vcpu, u64 host_tsc)
{
	return scale_tsc(vcpu, host_tsc) + vcpu->tsc_offset;
}

u64 vcpu_read_tsc(struct vcpu *vcpu)
{
	return vcpu_tsc_at(vcpu, host_tsc());
}

/* The TSC is read first: a thread that loses its processor in between has a timer that is late, which it is anyway, not early. */
u64 vcpu_tsc_to_deadline_ns(struct vcpu *vcpu, u64 guest_tsc, u64 *now)
{
	u64 tsc = vcpu_read_tsc(vcpu), ns;

	*now = host_monotonic_ns();
	if (guest_tsc <= tsc)
		return *now;
	ns = clock_mul_div(guest_tsc - tsc, 1000000, vcpu->tsc_khz);
	return ns >= ~0ull - *now - 1 ? ~0ull : *now + ns + 1;
}

static bool all_matched(struct vm *vm)
{
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (atomic_read(&vcpu->pv->tsc_generation) != vm->clock->generation)
			return false;
	}
	return true;
}

static void request_all(struct vm *vm)
{
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		vcpu_request(vcpu, VCPU_REQ_CLOCK);
}

/* Caller holds the clock's lock. */
static void update_master(struct vm *vm)
{
	struct vm_clock *c = vm->clock;
	bool was = c->master;

	c->master = all_matched(vm) && !c->boot_uses_old_msr;
	c->snapshot_tsc = host_tsc();
	if (was || c->master)
		request_all(vm);
}

/* Caller holds the clock's lock. matched: the offset is that of the present generation. */
static void set_offset(struct vcpu *vcpu, u64 offset, u64 tsc, u64 ns, bool matched)
{
	struct vm_clock *c = vcpu->vm->clock;

	c->last_ns = ns;
	c->last_write = tsc;
	c->last_khz = vcpu->tsc_khz;
	c->last_offset = offset;
	vcpu->tsc_offset = offset;
	if (!matched) {
		c->generation++;
		c->generation_offset = offset;
	}
	atomic_set(&vcpu->pv->tsc_generation, c->generation);
	update_master(vcpu->vm);
}

static void synchronize_tsc(struct vcpu *vcpu, u64 value)
{
	struct vm_clock *c = vcpu->vm->clock;
	u64 tsc, ns, offset, expected, second = vcpu->tsc_khz * 1000ull;
	bool matched;

	host_mutex_lock(&c->lock);
	tsc = host_tsc();
	ns = base_ns(c, tsc);
	offset = value - scale_tsc(vcpu, tsc);
	expected = c->last_write + clock_mul_div(ns - c->last_ns, vcpu->tsc_khz, 1000000);
	/* 0 is what userspace writes to a new vCPU */
	matched = value == 0 || (value < expected + second && value + second > expected);
	matched = matched && vcpu->tsc_khz == c->last_khz;
	set_offset(vcpu, matched ? c->generation_offset : offset, value, ns, matched);
	host_mutex_unlock(&c->lock);
}

void vcpu_write_tsc(struct vcpu *vcpu, u64 value, bool host)
{
	u64 change;

	if (host) {
		synchronize_tsc(vcpu, value);
		return;
	}
	change = value - vcpu_read_tsc(vcpu);
	vcpu->tsc_offset += change;
	vcpu->cpu.msr.tsc_adjust += change;
	vcpu_request(vcpu, VCPU_REQ_CLOCK);
}

static int set_tsc_khz(struct vcpu *vcpu, u32 khz)
{
	u32 host = host_tsc_khz(), tolerance = (u32)((u64)host * TSC_TOLERANCE_PPM / 1000000);

	if (khz >= MAX_TSC_KHZ)
		return -EINVAL;
	if (!khz)
		khz = host;
	vcpu->tsc_khz = khz;
	if (khz >= host - tolerance && khz <= host + tolerance)
		vcpu->tsc_ratio = VCPU_TSC_RATIO_ONE;
	else
		vcpu->tsc_ratio = clock_mul_div(VCPU_TSC_RATIO_ONE, khz, host);
	return 0;
}

/* ---- kvmclock pages (document, x86/msr.rst) ----------------------------------------------------- */

static void fill_page(struct vcpu *vcpu, struct pvclock_page *p)
{
	struct vm_clock *c = vcpu->vm->clock;
	u64 tsc;

	host_mutex_lock(&c->lock);
	tsc = c->master ? c->snapshot_tsc : host_tsc();
	p->system_time = base_ns(c, tsc) + c->offset;
	p->flags = c->master ? PVCLOCK_TSC_STABLE : 0;
	host_mutex_unlock(&c->lock);
	p->tsc_timestamp = vcpu_tsc_at(vcpu, tsc);
	time_scale(scale_tsc(vcpu, host_tsc_khz() * 1000ull), &p->mul, &p->shift);
}

/* The version is odd while the rest changes: other vCPUs may read this page too. */
void vcpu_clock_write_page(struct vcpu *vcpu, u64 gpa)
{
	struct pvclock_page old, new = { 0 };

	if (vm_read_guest(vcpu->vm, 0, gpa, &old, sizeof(old)))
		return;
	fill_page(vcpu, &new);
	new.flags |= old.flags & PVCLOCK_GUEST_STOPPED;
	if (vcpu->pv->guest_stopped)
		new.flags |= PVCLOCK_GUEST_STOPPED;
	vcpu->pv->guest_stopped = false;
	new.version = (old.version + 1) | 1;
	vcpu_write_guest(vcpu, 0, gpa, &new.version, sizeof(new.version));
	atomic_fence();
	vcpu_write_guest(vcpu, 0, gpa + 4, (u8 *)&new + 4, sizeof(new) - 4);
	atomic_fence();
	new.version++;
	vcpu_write_guest(vcpu, 0, gpa, &new.version, sizeof(new.version));
}

void vcpu_clock_update(struct vcpu *vcpu)
{
	atomic_and(&vcpu->requests, ~VCPU_REQ_CLOCK);
	if (vcpu->pv->system_time & KVM_MSR_ENABLED)
		vcpu_clock_write_page(vcpu, vcpu->pv->system_time & ~(u64)KVM_MSR_ENABLED);
}

static u64 clock_now(struct vm *vm, u64 tsc)
{
	return base_ns(vm->clock, tsc) + vm->clock->offset;
}

u64 vm_clock_ns(struct vm *vm)
{
	u64 ns;

	host_mutex_lock(&vm->clock->lock);
	ns = clock_now(vm, host_tsc());
	host_mutex_unlock(&vm->clock->lock);
	return ns;
}

/* The thread may lose its processor between two looks at a clock: the closest of a few counts. */
u64 vm_clock_wall_ns(struct vm *vm)
{
	u64 best = ~0ull, wall = 0;

	for (unsigned i = 0; i < 4; i++) {
		u64 before = vm_clock_ns(vm), real = host_realtime_ns(), took = vm_clock_ns(vm) - before;

		if (took >= best)
			continue;
		best = took;
		wall = real - before - took / 2;
	}
	return wall;
}

bool vcpu_clock_line(struct vcpu *vcpu, struct clock_line *line)
{
	struct vm_clock *c = vcpu->vm->clock;
	bool master;
	u64 tsc;

	host_mutex_lock(&c->lock);
	master = c->master;
	tsc = c->snapshot_tsc;
	line->ns = clock_now(vcpu->vm, tsc);
	host_mutex_unlock(&c->lock);
	line->guest_tsc = vcpu_tsc_at(vcpu, tsc);
	line->tsc_hz = scale_tsc(vcpu, host_tsc_khz() * 1000ull);
	return master;
}

static void write_wall_clock(struct vcpu *vcpu, u64 gpa)
{
	struct vm *vm = vcpu->vm;
	struct pvclock_wall w;
	u64 ns;

	if (!gpa || vm_read_guest(vm, 0, gpa, &w.version, sizeof(w.version)))
		return;
	w.version = (w.version + 1) | 1;
	if (vcpu_write_guest(vcpu, 0, gpa, &w.version, sizeof(w.version)))
		return;
	ns = vm_clock_wall_ns(vm);
	w.sec = (u32)(ns / NS_PER_S);
	w.nsec = (u32)(ns % NS_PER_S);
	vcpu_write_guest(vcpu, 0, gpa, &w, sizeof(w));
	atomic_fence();
	w.version++;
	vcpu_write_guest(vcpu, 0, gpa, &w.version, sizeof(w.version));
}

static void write_system_time(struct vcpu *vcpu, u64 value, bool old_msr, bool host)
{
	struct vm_clock *c = vcpu->vm->clock;

	if (vcpu->id == 0 && !host) {
		host_mutex_lock(&c->lock);
		if (c->boot_uses_old_msr != old_msr) {
			c->boot_uses_old_msr = old_msr;
			update_master(vcpu->vm);
		}
		host_mutex_unlock(&c->lock);
	}
	vcpu->pv->system_time = value;
	vcpu_clock_update(vcpu);
}

/* ---- MSRs --------------------------------------------------------------------------------------- */

enum x86_result vcpu_clock_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled)
{
	*handled = true;
	switch (index) {
	case MSR_TSC:
		*value = vcpu_read_tsc(vcpu);
		return X86_OK;
	case MSR_TSC_ADJUST:
		*value = vcpu->cpu.msr.tsc_adjust;
		return X86_OK;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		*handled = vcpu_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE);
		break;
	case MSR_KVM_WALL_CLOCK_NEW:
	case MSR_KVM_SYSTEM_TIME_NEW:
		*handled = vcpu_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE2);
		break;
	default:
		return vcpu_pv_rdmsr(vcpu, index, value, handled);
	}
	if (index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_NEW)
		*value = vcpu->vm->clock->wall;
	else
		*value = vcpu->pv->system_time;
	return X86_OK;
}

static void write_tsc_adjust(struct vcpu *vcpu, u64 value, bool host)
{
	if (!x86_has(&vcpu->cpu, X86_FEAT_TSC_ADJUST))
		return;
	if (!host) {
		vcpu->tsc_offset += value - vcpu->cpu.msr.tsc_adjust;
		vcpu_request(vcpu, VCPU_REQ_CLOCK);
	}
	vcpu->cpu.msr.tsc_adjust = value;
}

enum x86_result vcpu_clock_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled)
{
	bool old = index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_SYSTEM_TIME;

	*handled = true;
	switch (index) {
	case MSR_TSC:
		vcpu_write_tsc(vcpu, value, host);
		return X86_OK;
	case MSR_TSC_ADJUST:
		write_tsc_adjust(vcpu, value, host);
		return X86_OK;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		break;
	default:
		return vcpu_pv_wrmsr(vcpu, index, value, handled);
	}
	*handled = vcpu_pv_has(vcpu, old ? KVM_FEATURE_CLOCKSOURCE : KVM_FEATURE_CLOCKSOURCE2);
	if (!*handled)
		return X86_OK;
	if (index == MSR_KVM_SYSTEM_TIME || index == MSR_KVM_SYSTEM_TIME_NEW) {
		write_system_time(vcpu, value, old, host);
	} else {
		vcpu->vm->clock->wall = value;
		write_wall_clock(vcpu, value);
	}
	return X86_OK;
}

unsigned kvm_pv_msr_list(u32 *out, unsigned max)
{
	static const u32 list[] = {
		MSR_TSC, MSR_TSC_ADJUST, MSR_TSC_DEADLINE, MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME,
		MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_PV_EOI_EN, MSR_KVM_POLL_CONTROL,
		MSR_KVM_STEAL_TIME, /* the last: not on every host */
	};

	unsigned n = ARRAY_SIZE(list) - !host_has_run_delay();

	for (unsigned i = 0; i < n && i < max; i++)
		out[i] = list[i];
	return n;
}

/* ---- life --------------------------------------------------------------------------------------- */

int vm_clock_create(struct vm *vm)
{
	struct vm_clock *c = host_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	host_mutex_init(&c->lock);
	c->ns0 = host_monotonic_ns();
	c->tsc0 = c->snapshot_tsc = host_tsc();
	c->offset = -c->ns0;
	vm->clock = c;
	vm->default_tsc_khz = host_tsc_khz();
	return 0;
}

void vm_clock_destroy(struct vm *vm)
{
	host_free(vm->clock);
	vm->clock = NULL;
}

int vcpu_clock_create(struct vcpu *vcpu)
{
	vcpu->pv = host_alloc(sizeof(*vcpu->pv));
	if (!vcpu->pv)
		return -ENOMEM;
	vcpu_clock_reset(vcpu);
	vcpu->pv->poll_control = 1;
	set_tsc_khz(vcpu, atomic_read(&vcpu->vm->default_tsc_khz));
	synchronize_tsc(vcpu, 0);
	return 0;
}

void vcpu_clock_destroy(struct vcpu *vcpu)
{
	host_free(vcpu->pv);
	vcpu->pv = NULL;
}

void vcpu_clock_reset(struct vcpu *vcpu)
{
	vcpu->pv->system_time = 0;
	vcpu->pv->steal_time = 0;
	vcpu->pv->preempted = false;
	vcpu->pv->guest_stopped = false;
}

/* ---- ioctls ------------------------------------------------------------------------------------- */

static long vm_get_clock(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_clock_data data = { 0 };

	host_mutex_lock(&vm->clock->lock);
	data.host_tsc = host_tsc();
	data.clock = clock_now(vm, data.host_tsc);
	data.realtime = host_realtime_ns();
	if (vm->clock->master) {
		data.flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	} else {
		data.host_tsc = 0;
		data.realtime = 0;
	}
	host_mutex_unlock(&vm->clock->lock);
	return host_copy_to_user(arg, &data, sizeof(data));
}

static long vm_set_clock(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct vm_clock *c = vm->clock;
	struct kvm_clock_data data;
	u64 tsc;

	if (host_copy_from_user(&data, arg, sizeof(data)))
		return -EFAULT;
	if (data.flags & ~(u32)(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
		return -EINVAL;
	host_mutex_lock(&c->lock);
	update_master(vm);
	if (data.flags & KVM_CLOCK_REALTIME) { /* the time on the way counts, unless it is negative */
		u64 now = host_realtime_ns();

		if (now > data.realtime)
			data.clock += now - data.realtime;
	}
	tsc = c->master ? c->snapshot_tsc : host_tsc();
	c->offset = data.clock - base_ns(c, tsc);
	request_all(vm);
	host_mutex_unlock(&c->lock);
	return 0;
}

static long vm_set_tsc_khz(void *object, unsigned long arg)
{
	struct vm *vm = object;
	u32 khz = (u32)arg;

	if (khz >= MAX_TSC_KHZ)
		return -EINVAL;
	atomic_set(&vm->default_tsc_khz, khz ? khz : host_tsc_khz());
	return 0;
}

static long vm_get_tsc_khz(void *object, unsigned long arg)
{
	(void)arg;
	return atomic_read(&((struct vm *)object)->default_tsc_khz);
}

const struct ioctl_row vm_clock_ioctls[] = {
	{ KVM_GET_CLOCK, vm_get_clock },
	{ KVM_SET_CLOCK, vm_set_clock },
	{ KVM_SET_TSC_KHZ, vm_set_tsc_khz },
	{ KVM_GET_TSC_KHZ, vm_get_tsc_khz },
	{ 0, NULL },
};

static long vcpu_set_tsc_khz(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	long r = set_tsc_khz(vcpu, (u32)arg);

	if (!r)
		vcpu_request(vcpu, VCPU_REQ_CLOCK);
	return r;
}

static long vcpu_get_tsc_khz(void *object, unsigned long arg)
{
	(void)arg;
	return ((struct vcpu *)object)->tsc_khz;
}

static long vcpu_kvmclock_ctrl(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;

	(void)arg;
	if (!(vcpu->pv->system_time & KVM_MSR_ENABLED))
		return -EINVAL;
	vcpu->pv->guest_stopped = true;
	vcpu_request(vcpu, VCPU_REQ_CLOCK);
	return 0;
}

/* KVM_VCPU_TSC_CTRL / KVM_VCPU_TSC_OFFSET (document: devices/vcpu.rst). */
static int read_attr(unsigned long arg, struct kvm_device_attr *attr)
{
	if (host_copy_from_user(attr, arg, sizeof(*attr)))
		return -EFAULT;
	return attr->group == KVM_VCPU_TSC_CTRL && attr->attr == KVM_VCPU_TSC_OFFSET ? 0 : -ENXIO;
}

static long vcpu_has_attr(void *object, unsigned long arg)
{
	struct kvm_device_attr attr;

	(void)object;
	return read_attr(arg, &attr);
}

static long vcpu_get_attr(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_device_attr attr;
	int r = read_attr(arg, &attr);

	return r ? r : host_copy_to_user(attr.addr, &vcpu->tsc_offset, sizeof(vcpu->tsc_offset));
}

static long vcpu_set_attr(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct vm_clock *c = vcpu->vm->clock;
	struct kvm_device_attr attr;
	u64 offset, tsc;
	int r = read_attr(arg, &attr);

	if (r)
		return r;
	if (host_copy_from_user(&offset, attr.addr, sizeof(offset)))
		return -EFAULT;
	host_mutex_lock(&c->lock);
	tsc = host_tsc();
	set_offset(vcpu, offset, scale_tsc(vcpu, tsc) + offset, base_ns(c, tsc),
		   c->last_khz == vcpu->tsc_khz && c->last_offset == offset);
	host_mutex_unlock(&c->lock);
	return 0;
}

const struct ioctl_row vcpu_clock_ioctls[] = {
	{ KVM_SET_TSC_KHZ, vcpu_set_tsc_khz },
	{ KVM_GET_TSC_KHZ, vcpu_get_tsc_khz },
	{ KVM_KVMCLOCK_CTRL, vcpu_kvmclock_ctrl },
	{ KVM_HAS_DEVICE_ATTR, vcpu_has_attr },
	{ KVM_GET_DEVICE_ATTR, vcpu_get_attr },
	{ KVM_SET_DEVICE_ATTR, vcpu_set_attr },
	{ 0, NULL },
};
