/* SPDX-License-Identifier: GPL-2.0-only */
/* TSCs, kvmclock, and the paravirtual MSRs and hypercalls beside it. */
#include "tests/unit/test_irq_vm.h"

struct page {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	s8 shift;
	u8 flags, pad2[2];
};

static int setup(void **state)
{
	(void)state;
	make_vm();
	assert_int_equal(vm_call(KVM_CREATE_IRQCHIP, NULL), 0);
	return 0;
}

static u64 rd(struct vcpu *v, u32 index)
{
	bool handled;
	u64 value = 0;

	assert_int_equal(vcpu_clock_rdmsr(v, index, &value, &handled), X86_OK);
	assert_true(handled);
	return value;
}

static void wr(struct vcpu *v, u32 index, u64 value, bool host)
{
	bool handled;

	assert_int_equal(vcpu_clock_wrmsr(v, index, value, host, &handled), X86_OK);
	assert_true(handled);
}

static struct kvm_clock_data get_clock(void)
{
	struct kvm_clock_data d;

	assert_int_equal(call(vm_clock_ioctls, vm, KVM_GET_CLOCK, &d), 0);
	return d;
}

static void set_clock(u64 ns)
{
	struct kvm_clock_data d = { .clock = ns };

	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_CLOCK, &d), 0);
}

/* What a guest computes from a page now (Linux's pvclock_read_cycles). */
static u64 guest_ns(struct vcpu *v, const struct page *p)
{
	u64 delta = vcpu_read_tsc(v) - p->tsc;

	assert_int_equal(p->version & 1, 0);
	delta = p->shift < 0 ? delta >> -p->shift : delta << p->shift;
	return p->ns + (u64)((unsigned __int128)delta * p->mul >> 32);
}

static struct page page_at(u64 gpa)
{
	struct page p;

	memcpy(&p, fake_ram + gpa, sizeof(p));
	return p;
}

/* ---- TSC ---------------------------------------------------------------------------------------- */

static u64 deadline(struct vcpu *vcpu, u64 tsc)
{
	u64 now = 0, ns = vcpu_tsc_to_deadline_ns(vcpu, tsc, &now);

	assert_true(now == fake_now);
	return ns;
}

static void tsc_starts_at_zero_and_matches(void **state)
{
	struct vcpu *a = add_vcpu(0), *b;

	(void)state;
	assert_int_equal(vcpu_read_tsc(a), 0);
	fake_advance(5000 * MS);
	b = add_vcpu(1); /* later, yet in step */
	assert_true(vcpu_read_tsc(a) == 10000 * MS);
	assert_true(vcpu_read_tsc(b) == 10000 * MS);
	assert_int_equal(get_clock().flags, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC);
	assert_true(deadline(a, 10000 * MS + 2000) == fake_now + 1001);
	assert_true(deadline(a, 5) == fake_now);
	assert_true(deadline(a, ~0ull) > fake_now + 1000000 * MS);
}

static void tsc_writes(void **state)
{
	struct vcpu *a = add_vcpu(0), *b = add_vcpu(1);
	u64 tsc;

	(void)state;
	fake_advance(1000 * MS);
	/* The guest's own writes show in TSC_ADJUST. */
	tsc = vcpu_read_tsc(a);
	wr(a, 0x10, tsc + 500, false);
	assert_true(vcpu_read_tsc(a) == tsc + 500);
	assert_int_equal(rd(a, 0x3b), 500);
	wr(a, 0x3b, 100, false);
	assert_true(vcpu_read_tsc(a) == tsc + 100);
	/* Userspace's do not, and TSC_ADJUST from there moves nothing. */
	wr(a, 0x3b, 0, true);
	assert_true(vcpu_read_tsc(a) == tsc + 100);
	wr(a, 0x10, 1ull << 40, true);
	assert_true(vcpu_read_tsc(a) == 1ull << 40);
	assert_int_equal(rd(a, 0x3b), 0);
	assert_int_equal(get_clock().flags, 0); /* a is alone now */
	/* Less than a second off what it would be: meant to be the same. */
	fake_advance(100 * MS);
	wr(b, 0x10, (1ull << 40) + 3000, true);
	assert_true(vcpu_read_tsc(b) == vcpu_read_tsc(a));
	assert_int_equal(get_clock().flags & KVM_CLOCK_TSC_STABLE, KVM_CLOCK_TSC_STABLE);
	wr(b, 0x10, 5, true);
	assert_int_equal(vcpu_read_tsc(b), 5);
}

static void tsc_scaling(void **state)
{
	struct vcpu *a = add_vcpu(0);
	u64 before;

	(void)state;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_GET_TSC_KHZ, NULL), FAKE_KHZ);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_TSC_KHZ, (void *)(u64)(FAKE_KHZ + 400)), 0);
	assert_true(a->tsc_ratio == 1ull << 48); /* within tolerance */
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_GET_TSC_KHZ, NULL), FAKE_KHZ + 400);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_TSC_KHZ, (void *)3000000), 0);
	before = vcpu_read_tsc(a);
	fake_advance(1000 * MS);
	assert_true(vcpu_read_tsc(a) - before == 3000 * MS);
	assert_true(deadline(a, vcpu_read_tsc(a) + 3000) == fake_now + 1001);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_TSC_KHZ, (void *)0x7fffffff), -EINVAL);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_TSC_KHZ, NULL), 0);
	assert_int_equal(a->tsc_khz, FAKE_KHZ);
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_TSC_KHZ, (void *)1000000), 0);
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_GET_TSC_KHZ, NULL), 1000000);
	a = add_vcpu(1);
	before = vcpu_read_tsc(a);
	fake_advance(1000 * MS);
	assert_true(vcpu_read_tsc(a) - before == 1000 * MS);
}

static void tsc_offset_attribute(void **state)
{
	struct vcpu *a = add_vcpu(0);
	u64 offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (u64)&offset,
	};

	(void)state;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_HAS_DEVICE_ATTR, &attr), 0);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_GET_DEVICE_ATTR, &attr), 0);
	assert_true(offset == -host_tsc());
	offset += 12345;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_DEVICE_ATTR, &attr), 0);
	assert_int_equal(vcpu_read_tsc(a), 12345);
	attr.addr = 0;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_DEVICE_ATTR, &attr), -EFAULT);
	attr.attr = 1;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
	attr.group = 1;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_GET_DEVICE_ATTR, &attr), -ENXIO);
}

/* ---- kvmclock ----------------------------------------------------------------------------------- */

static void kvmclock_page(void **state)
{
	struct vcpu *a = add_vcpu(0), *b = add_vcpu(1);
	struct page p, q;

	(void)state;
	fake_advance(3000 * MS);
	fake_ram[0x1000] = 6; /* some even version */
	wr(a, MSR_KVM_SYSTEM_TIME_NEW, 0x1001, false);
	wr(b, MSR_KVM_SYSTEM_TIME_NEW, 0x1041, false);
	p = page_at(0x1000);
	q = page_at(0x1040);
	assert_int_equal(p.version, 8);
	assert_int_equal(p.flags, 1); /* stable */
	assert_true(p.tsc == q.tsc && p.ns == q.ns);
	assert_int_equal(p.mul, 1u << 31); /* two ticks a nanosecond */
	assert_int_equal(p.shift, 0);
	assert_true(guest_ns(a, &p) == 3000 * MS);
	fake_advance(123456789);
	assert_true(guest_ns(a, &p) == 3000 * MS + 123456789);
	assert_true(guest_ns(a, &p) == get_clock().clock);
	assert_int_equal(rd(a, MSR_KVM_SYSTEM_TIME_NEW), 0x1001);
	assert_int_equal(rd(a, MSR_KVM_SYSTEM_TIME), 0x1001);

	set_clock(77);
	assert_int_equal(get_clock().clock, 77);
	assert_true(a->requests & VCPU_REQ_CLOCK);
	vcpu_clock_update(a);
	assert_int_equal(a->requests & VCPU_REQ_CLOCK, 0);
	p = page_at(0x1000);
	assert_int_equal(guest_ns(a, &p), 77);
	assert_int_equal(p.version, 10);
	wr(a, MSR_KVM_SYSTEM_TIME_NEW, 0x1000, false); /* off */
	set_clock(99);
	vcpu_clock_update(a);
	assert_int_equal(page_at(0x1000).version, 10);
	wr(a, MSR_KVM_SYSTEM_TIME_NEW, FAKE_RAM | 1, false); /* no memory there */
}

static void kvmclock_scaled(void **state)
{
	static const u32 khz[] = { 800000, 1000000, 1999000, 2100123, 3700000, 5000000 };
	struct vcpu *a = add_vcpu(0);

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		struct page p;
		u64 ns;

		assert_int_equal(call(vcpu_clock_ioctls, a, KVM_SET_TSC_KHZ, (void *)(u64)khz[i]), 0);
		set_clock(0);
		wr(a, MSR_KVM_SYSTEM_TIME_NEW, 0x1001, false);
		fake_advance(10000 * MS);
		p = page_at(0x1000);
		ns = guest_ns(a, &p);
		assert_in_range(ns, 10000 * MS - 10000, 10000 * MS + 10000); /* a millionth */
		assert_true(p.mul >> 31);
	}
}

static void kvmclock_unmatched(void **state)
{
	struct vcpu *a = add_vcpu(0), *b = add_vcpu(1);
	struct page p;

	(void)state;
	wr(b, 0x10, 1ull << 50, true);
	wr(a, MSR_KVM_SYSTEM_TIME_NEW, 0x1001, false);
	wr(b, MSR_KVM_SYSTEM_TIME_NEW, 0x1041, false);
	fake_advance(1000 * MS);
	p = page_at(0x1000);
	assert_int_equal(p.flags, 0);
	assert_true(guest_ns(a, &p) == get_clock().clock);
	p = page_at(0x1040);
	assert_true(guest_ns(b, &p) == get_clock().clock);
	wr(a, 0x10, (1ull << 50) + 2000 * MS, true); /* a joins b */
	vcpu_clock_update(a);
	assert_int_equal(page_at(0x1000).flags, 1);
	wr(a, MSR_KVM_SYSTEM_TIME, 0x1001, false); /* an old guest on vCPU 0 knows no flags */
	assert_int_equal(page_at(0x1000).flags, 0);
}

static void kvmclock_guest_stopped(void **state)
{
	struct vcpu *a = add_vcpu(0);

	(void)state;
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_KVMCLOCK_CTRL, NULL), -EINVAL);
	wr(a, MSR_KVM_SYSTEM_TIME_NEW, 0x1001, false);
	assert_int_equal(call(vcpu_clock_ioctls, a, KVM_KVMCLOCK_CTRL, NULL), 0);
	vcpu_clock_update(a);
	assert_int_equal(page_at(0x1000).flags, 3);
	vcpu_clock_update(a);
	assert_int_equal(page_at(0x1000).flags, 3); /* until the guest has seen it */
	fake_ram[0x1000 + 29] &= ~2;
	vcpu_clock_update(a);
	assert_int_equal(page_at(0x1000).flags, 1);
}

static void wall_clock(void **state)
{
	struct vcpu *a = add_vcpu(0);
	u32 w[3];

	(void)state;
	fake_advance(2000 * MS);
	wr(a, MSR_KVM_WALL_CLOCK_NEW, 0x2000, false);
	memcpy(w, fake_ram + 0x2000, sizeof(w));
	assert_int_equal(w[0], 2);
	assert_true(w[1] * 1000000000ull + w[2] == host_realtime_ns() - get_clock().clock);
	assert_int_equal(rd(a, MSR_KVM_WALL_CLOCK), 0x2000);
}

static void set_clock_realtime(void **state)
{
	struct kvm_clock_data d = { .clock = 1000, .flags = KVM_CLOCK_REALTIME };

	(void)state;
	add_vcpu(0);
	d.realtime = host_realtime_ns() - 5000;
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_CLOCK, &d), 0);
	assert_int_equal(get_clock().clock, 6000);
	d.realtime = host_realtime_ns() + 5000; /* never backwards */
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_CLOCK, &d), 0);
	assert_int_equal(get_clock().clock, 1000);
	d.flags = 1;
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_CLOCK, &d), -EINVAL);
	assert_int_equal(call(vm_clock_ioctls, vm, KVM_SET_CLOCK, NULL), -EFAULT);
	assert_true(get_clock().realtime == host_realtime_ns());
	assert_true(get_clock().host_tsc == host_tsc());
}

/* ---- PV ----------------------------------------------------------------------------------------- */

static void feature_enforcement(void **state)
{
	struct vcpu *a = add_vcpu(0);
	struct kvm_cpuid_entry2 e[2] = {
		{ .function = 0x40000100 }, { .function = 0x40000101, .eax = 1u << KVM_FEATURE_CLOCKSOURCE2 },
	};
	const u64 arg[4] = { 0 };
	bool handled;
	u64 value;

	(void)state;
	memcpy(&e[0].ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(rd(a, MSR_KVM_POLL_CONTROL), 1);
	vcpu_pv_enforce(a, true);
	vcpu_clock_rdmsr(a, MSR_KVM_SYSTEM_TIME_NEW, &value, &handled);
	assert_false(handled);
	a->cpuid = e;
	a->nr_cpuid = 2;
	assert_int_equal(rd(a, MSR_KVM_SYSTEM_TIME_NEW), 0);
	vcpu_clock_rdmsr(a, MSR_KVM_SYSTEM_TIME, &value, &handled);
	assert_false(handled);
	vcpu_clock_wrmsr(a, MSR_KVM_POLL_CONTROL, 0, false, &handled);
	assert_false(handled);
	assert_int_equal(vcpu_pv_hypercall(a, KVM_HC_SEND_IPI, arg), -KVM_ENOSYS);
	assert_int_equal(vcpu_pv_hypercall(a, KVM_HC_KICK_CPU, arg), -KVM_ENOSYS);
	a->cpuid = NULL;
	a->nr_cpuid = 0;
	vcpu_pv_enforce(a, false);
	assert_int_equal(vcpu_clock_wrmsr(a, MSR_KVM_POLL_CONTROL, 2, false, &handled), X86_FAULT);
	vcpu_clock_rdmsr(a, MSR_KVM_ASYNC_PF_EN, &value, &handled);
	assert_false(handled);
}

/* ---- steal time ---------------------------------------------------------------------------------- */

static unsigned flushes;

static void count_flush(struct x86_cpu *cpu, bool keep_global)
{
	(void)cpu;
	flushes += !keep_global;
}

static void steal_time(void **state)
{
	static const struct x86_mem_ops mem = { .flush_all = count_flush };
	struct kvm_steal_time *st = (void *)(fake_ram + 0x2000);
	struct vcpu *a = add_vcpu(0);
	bool handled;

	(void)state;
	a->cpu.mem = &mem;
	flushes = 0;
	memset(st, 0xff, sizeof(*st));
	st->steal = 7;
	st->version = 1; /* whatever was there: even before, even after */
	fake_run_delay = 1000;
	assert_int_equal(vcpu_clock_wrmsr(a, MSR_KVM_STEAL_TIME, 0x2003, false, &handled), X86_FAULT);
	assert_int_equal(vcpu_clock_wrmsr(a, MSR_KVM_STEAL_TIME, 0x2001, false, &handled), X86_OK);
	assert_int_equal(rd(a, MSR_KVM_STEAL_TIME), 0x2001);
	vcpu_steal_update(a);
	assert_int_equal(st->steal, 1007);
	assert_int_equal(st->version & 1, 0);
	assert_int_equal(st->preempted, 0);
	flushes = 0; /* the flag was set in what was there */
	fake_run_delay = 1500;
	vcpu_steal_update(a); /* too soon */
	assert_int_equal(st->steal, 1007);
	fake_advance(30 * MS);
	vcpu_steal_update(a);
	assert_int_equal(st->steal, 1507);
	fake_run_delay = 20; /* another thread runs the vCPU */
	fake_advance(30 * MS);
	vcpu_steal_update(a);
	assert_int_equal(st->steal, 1507);

	vcpu_steal_preempted(a);
	assert_int_equal(st->preempted, KVM_VCPU_PREEMPTED);
	vcpu_steal_update(a);
	assert_int_equal(st->preempted, 0);
	assert_int_equal(flushes, 0);
	vcpu_steal_preempted(a);
	st->preempted |= KVM_VCPU_FLUSH_TLB; /* another vCPU */
	vcpu_steal_update(a);
	assert_int_equal(st->preempted, 0);
	assert_int_equal(flushes, 1);
	vcpu_clock_wrmsr(a, MSR_KVM_STEAL_TIME, (u64)FAKE_RAM << 4 | 1, false, &handled); /* no memory there: harmless */
	vcpu_steal_update(a);
	vcpu_steal_preempted(a);
	vcpu_clock_reset(a);
	assert_false(vcpu_steal_enabled(a));
}

static void hypercalls(void **state)
{
	struct vcpu *v[3] = { add_vcpu(0), add_vcpu(1), add_vcpu(70) };
	u64 arg[4] = { 3, 1u << 6, 0, 0x4055 };
	struct kvm_clock_pairing pair;
	u32 spiv = 0x1ff;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		vcpu_bus_write(v[i], false, 0xfee000f0, &spiv, 4);
	v[0]->cpu.code_bits = 64;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SEND_IPI, arg), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vcpu_irq_take(v[i]), 0x55);
	v[0]->cpu.code_bits = 32; /* the second word starts at 32 */
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SEND_IPI, arg), 2);
	arg[2] = 0xfffffff0;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SEND_IPI, arg), 0);
	arg[3] = 0x4855;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SEND_IPI, arg), -KVM_EINVAL);
	arg[1] = 70;
	v[2]->requests = 0;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_KICK_CPU, (u64[4]){ 0, 99 }), 0);
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SCHED_YIELD, (u64[4]){ 0 }), 0);
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_SCHED_YIELD, (u64[4]){ ~0ull }), 0);
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_VAPIC_POLL_IRQ, arg), 0);
	assert_int_equal(vcpu_pv_hypercall(v[0], 1000, arg), -KVM_ENOSYS);
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_CLOCK_PAIRING, (u64[4]){ 0x3000, 0 }), 0);
	memcpy(&pair, fake_ram + 0x3000, sizeof(pair));
	assert_true((u64)pair.sec * 1000000000 + (u64)pair.nsec == host_realtime_ns());
	assert_true((u64)pair.tsc == vcpu_read_tsc(v[0]));
	arg[0] = 0x3000;
	arg[1] = 1;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_CLOCK_PAIRING, arg), -KVM_EOPNOTSUPP);
	arg[0] = FAKE_RAM;
	arg[1] = 0;
	assert_int_equal(vcpu_pv_hypercall(v[0], KVM_HC_CLOCK_PAIRING, arg), -KVM_EFAULT);
}

static void kick_wakes_only_its_target(void **state)
{
	struct vcpu *a = add_vcpu(0), *b = add_vcpu(1);

	(void)state;
	fake_yields_allowed = true;
	assert_int_equal(vcpu_pv_hypercall(a, KVM_HC_KICK_CPU, (u64[4]){ 0, 1 }), 0);
	assert_int_equal(vcpu_pv_hypercall(a, KVM_HC_SCHED_YIELD, (u64[4]){ 1 }), 0);
	fake_yields_allowed = false;
	assert_true(b->requests & VCPU_REQ_UNHALT);
	assert_false(a->requests & VCPU_REQ_UNHALT);
	b->requests = 0; /* looked at too early: the HLT comes only now */
	vcpu_irq_sync(b);
	assert_false(b->requests & VCPU_REQ_UNHALT);
	b->cpu.activity = X86_HALTED;
	vcpu_irq_sync(b);
	assert_true(b->requests & VCPU_REQ_UNHALT);
	b->requests = 0;
	vcpu_irq_sync(b);
	assert_false(b->requests & VCPU_REQ_UNHALT);
}

static void msr_list(void **state)
{
	u32 list[32];
	unsigned n = kvm_pv_msr_list(list, 32);
	struct vcpu *a = add_vcpu(0);
	bool handled;
	u64 value;

	(void)state;
	for (unsigned i = 0; i < n; i++) { /* what is listed can be read and written back */
		if (list[i] == 0x6e0)
			continue;
		value = rd(a, list[i]);
		assert_int_equal(vcpu_clock_wrmsr(a, list[i], value, true, &handled), X86_OK);
		assert_true(handled);
	}
	list[1] = 0xdead;
	assert_int_equal(kvm_pv_msr_list(list, 1), n);
	assert_int_equal(list[1], 0xdead);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, drop_vm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tsc_starts_at_zero_and_matches), T(tsc_writes), T(tsc_scaling), T(tsc_offset_attribute),
		T(kvmclock_page), T(kvmclock_scaled), T(kvmclock_unmatched), T(kvmclock_guest_stopped),
		T(wall_clock), T(set_clock_realtime), T(feature_enforcement), T(steal_time), T(hypercalls),
		T(kick_wakes_only_its_target), T(msr_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
