/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The irqchip as a whole: delivery, routes, irqfds, ioeventfds, coalesced zones, INIT and SIPI, PV EOI,
 * ioctl errors.
 */
#include "tests/unit/test_irq_vm.h"

static int kernel_vm(void **state)
{
	(void)state;
	make_vm();
	assert_int_equal(vm_call(KVM_CREATE_IRQCHIP, NULL), 0);
	for (u32 i = 0; i < 4; i++)
		add_vcpu(i);
	return 0;
}

static int split_vm(void **state)
{
	(void)state;
	make_vm();
	assert_int_equal(vm_enable_split_irqchip(vm, 4097), -EINVAL);
	assert_int_equal(vm_enable_split_irqchip(vm, 24), 0);
	add_vcpu(0);
	add_vcpu(1);
	return 0;
}

static int bare_vm(void **state)
{
	(void)state;
	make_vm();
	return 0;
}

/* ---- driving a vCPU ----------------------------------------------------------------------------- */

static void apic_write(unsigned cpu, unsigned reg, u32 value)
{
	assert_true(vcpu_bus_write(vm->vcpu[cpu], false, 0xfee00000 + reg * 16, &value, 4));
}

static u32 apic_read(unsigned cpu, unsigned reg)
{
	u32 value;

	assert_true(vcpu_bus_read(vm->vcpu[cpu], false, 0xfee00000 + reg * 16, &value, 4));
	return value;
}

static void enable_apics(void)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		apic_write(i, APIC_REG_SPIV, 0x1ff);
}

static void enter_x2apic(void)
{
	bool handled;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, v->apic_base | 0xc00, false, &handled), X86_OK);
		assert_int_equal(vcpu_irq_wrmsr(v, 0x80f, 0x1ff, false, &handled), X86_OK);
	}
}

static void ioapic_entry(unsigned pin, u32 low, u8 dest)
{
	const u32 words[4] = { 0x11 + pin * 2, (u32)dest << 24, 0x10 + pin * 2, low };

	for (unsigned i = 0; i < 4; i++)
		assert_true(vcpu_bus_write(vm->vcpu[0], false, 0xfec00000 + (i & 1) * 0x10, &words[i], 4));
}

static void out(u16 port, u8 value)
{
	assert_true(vcpu_bus_write(vm->vcpu[0], true, port, &value, 1));
}

static long line(u32 gsi, u32 level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	assert_int_equal(vm_call(KVM_IRQ_LINE_STATUS, &l), 0);
	return (s32)l.status;
}

/* Which vCPUs have taken the vector, as a mask; they EOI it. */
static u32 takers(u8 vector)
{
	u32 mask = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		if (vcpu_irq_take(vm->vcpu[i]) != vector)
			continue;
		mask |= 1u << i;
		lapic_eoi(vm->vcpu[i]->apic);
	}
	return mask;
}

static u32 requested(u32 request)
{
	u32 mask = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		mask |= (u32)((vm->vcpu[i]->requests & request) == request) << i;
		vm->vcpu[i]->requests = 0;
	}
	return mask;
}

/* ---- IPIs --------------------------------------------------------------------------------------- */

static void icr(unsigned cpu, u8 dest, u32 low)
{
	apic_write(cpu, APIC_REG_ICR2, (u32)dest << 24);
	apic_write(cpu, APIC_REG_ICR, low);
}

static void ipi_xapic(void **state)
{
	(void)state;
	enable_apics();
	icr(0, 2, 0x4040);
	assert_int_equal(requested(VCPU_REQ_EVENT), 4);
	assert_int_equal(takers(0x40), 4);
	icr(0, 0xff, 0x4040);
	assert_int_equal(takers(0x40), 0xf);
	icr(1, 0, 0x44040); /* self */
	assert_int_equal(takers(0x40), 2);
	icr(1, 0, 0x84040); /* all */
	assert_int_equal(takers(0x40), 0xf);
	icr(1, 0, 0xc4040); /* others */
	assert_int_equal(takers(0x40), 0xd);
	for (u32 i = 0; i < 4; i++)
		apic_write(i, APIC_REG_LDR, 1u << (24 + i));
	icr(0, 0x0a, 0x4840); /* logical, flat */
	assert_int_equal(takers(0x40), 0xa);
	for (u32 i = 0; i < 4; i++) {
		apic_write(i, APIC_REG_DFR, 0);
		apic_write(i, APIC_REG_LDR, (i >> 1 << 4 | 1u << (i & 1)) << 24);
	}
	icr(0, 0x13, 0x4840); /* cluster 1 */
	assert_int_equal(takers(0x40), 0xc);
	apic_write(3, APIC_REG_ID, 9u << 24); /* renumbered */
	icr(0, 9, 0x4040);
	assert_int_equal(takers(0x40), 8);
	icr(0, 3, 0x4040);
	assert_int_equal(takers(0x40), 0);
	assert_int_equal(requested(VCPU_REQ_DEVICE), 0);
}

static void ipi_lowest(void **state)
{
	u32 seen = 0;

	(void)state;
	enable_apics();
	for (u32 i = 0; i < 4; i++)
		apic_write(i, APIC_REG_LDR, 1u << (24 + i));
	for (u8 vector = 0x40; vector < 0x43; vector++) {
		u32 mask;

		icr(0, 0x0e, 0x4900 | vector);
		mask = takers(vector);
		assert_int_equal(__builtin_popcount(mask), 1);
		assert_int_equal(mask & ~0xeu, 0);
		seen |= mask;
	}
	assert_int_equal(seen, 0xe); /* spread over all that are named */
	apic_write(2, APIC_REG_SPIV, 0xff);
	for (u8 vector = 0x40; vector < 0x43; vector++) {
		icr(0, 0x0e, 0x4900 | vector);
		assert_int_equal(takers(vector), 2u << vector % 3 & ~4u); /* as KVM: lost if a disabled one is chosen */
	}
}

static void ipi_x2apic(void **state)
{
	bool handled;
	struct vcpu *v = vm->vcpu[0];

	(void)state;
	assert_int_equal(vm->irqchip->xapic_count, 4);
	enter_x2apic();
	assert_int_equal(vm->irqchip->xapic_count, 0);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x830, 3ull << 32 | 0x4040, false, &handled), X86_OK);
	assert_int_equal(takers(0x40), 8);
	vcpu_irq_wrmsr(v, 0x830, 0x00000006ull << 32 | 0x4840, false, &handled); /* members 1 and 2 */
	assert_int_equal(takers(0x40), 6);
	vcpu_irq_wrmsr(v, 0x830, 0xffffffffull << 32 | 0x4040, false, &handled);
	assert_int_equal(takers(0x40), 0xf);
	vcpu_irq_wrmsr(v, 0x830, 0xffull << 32 | 0x4040, false, &handled); /* no broadcast for an IPI */
	assert_int_equal(takers(0x40), 0);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x830, 1ull << 13, false, &handled), X86_FAULT);
	assert_true(handled);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfee00900, false, &handled), X86_FAULT); /* to xAPIC */
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfee00500, false, &handled), X86_FAULT);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 1ull << 41, false, &handled), X86_FAULT);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfee00100, false, &handled), X86_OK);
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfee00d00, false, &handled), X86_FAULT); /* from disabled */
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfee00d00, true, &handled), X86_OK); /* KVM_SET_MSRS may */
	assert_int_equal(vcpu_irq_wrmsr(v, 0x1b, 0xfed00900, true, &handled), X86_OK);
	assert_int_equal(vm->irqchip->xapic_count, 1);
	vm->disabled_quirks = KVM_X86_QUIRK_LAPIC_MMIO_HOLE;
	assert_false(vcpu_bus_read(vm->vcpu[1], false, 0xfee00020, &handled, 1)); /* x2APIC: nothing there */
}

static void init_sipi(void **state)
{
	struct vcpu *ap = vm->vcpu[1];

	(void)state;
	ap->mp_state = KVM_MP_STATE_UNINITIALIZED;
	icr(0, 1, 0x4608); /* SIPI without INIT: lost */
	vcpu_irq_accept_init_sipi(ap);
	assert_int_equal(ap->mp_state, KVM_MP_STATE_UNINITIALIZED);
	icr(0, 1, 0xc500);
	assert_true(vcpu_irq_init_sipi_pending(ap));
	assert_true(vcpu_irq_latched_init(ap));
	vcpu_irq_accept_init_sipi(ap);
	assert_int_equal(ap->mp_state, KVM_MP_STATE_INIT_RECEIVED);
	assert_int_equal(fake_resets, 1);
	icr(0, 1, 0x8500); /* de-assert */
	assert_false(vcpu_irq_init_sipi_pending(ap));
	icr(0, 1, 0x469a);
	vcpu_irq_accept_init_sipi(ap);
	assert_int_equal(ap->mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(ap->cpu.seg[X86_CS].selector, 0x9a00);
	assert_int_equal(ap->cpu.seg[X86_CS].base, 0x9a000);
	ap->cpu.smm = true;
	icr(0, 1, 0xc500);
	vcpu_irq_accept_init_sipi(ap);
	assert_true(vcpu_irq_latched_init(ap)); /* waits for RSM */
	ap->cpu.smm = false;
	icr(1, 0, 0xc500); /* INIT of the boot processor restarts it */
	vcpu_irq_accept_init_sipi(vm->vcpu[0]);
	assert_int_equal(vm->vcpu[0]->mp_state, KVM_MP_STATE_RUNNABLE);
}

/* ---- lines and MSIs ----------------------------------------------------------------------------- */

static void line_through_pic(void **state)
{
	(void)state;
	out(0x20, 0x11);
	out(0x21, 0x30);
	out(0x21, 4);
	out(0x21, 1);
	out(0x21, 0);
	assert_false(vcpu_irq_pending(vm->vcpu[0]));
	assert_int_equal(line(4, 1), 1); /* PIC takes it, the IOAPIC's entry is masked */
	assert_int_equal(requested(VCPU_REQ_EVENT | VCPU_REQ_DEVICE), 1);
	assert_true(vcpu_irq_pending(vm->vcpu[0]));
	assert_false(vcpu_irq_pending(vm->vcpu[1]));
	assert_int_equal(vcpu_irq_take(vm->vcpu[0]), 0x34);
	assert_int_equal(line(30, 1), -1); /* no route */
}

static void line_through_ioapic(void **state)
{
	(void)state;
	enable_apics();
	ioapic_entry(9, 0x50 | 0x8000, 2);
	assert_int_equal(line(9, 1), 2); /* one processor and the PIC */
	assert_int_equal(requested(VCPU_REQ_EVENT | VCPU_REQ_DEVICE), 5); /* LAPIC 2; the PIC's is 0 */
	assert_int_equal(vcpu_irq_take(vm->vcpu[2]), 0x50);
	assert_int_equal(vcpu_irq_take(vm->vcpu[2]), -1);
	apic_write(2, APIC_REG_EOI, 0); /* still high: again */
	assert_int_equal(vcpu_irq_take(vm->vcpu[2]), 0x50);
	line(9, 0);
	apic_write(2, APIC_REG_EOI, 0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[2]), -1);
}

static void msi(void **state)
{
	struct kvm_msi m = { .address_lo = 0xfee03000, .data = 0x41 };

	(void)state;
	enable_apics();
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 1);
	assert_int_equal(requested(VCPU_REQ_DEVICE), 8);
	assert_int_equal(takers(0x41), 8);
	m.address_lo = 0xfeeff000;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 4);
	assert_int_equal(takers(0x41), 0xf);
	m.address_lo = 0xfee07000;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 0); /* nobody */
	m.flags = 2;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), -EINVAL);
	m.flags = 0;
	enter_x2apic();
	m.address_lo = 0xfeeff000;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 4); /* the broadcast quirk */
	takers(0x41);
	vm->x2apic_ids32 = vm->x2apic_no_broadcast_quirk = true;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 0);
	m.address_hi = 0x100;
	m.address_lo = 0xfee02000;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 0); /* id 0x102 */
	m.address_hi = 1;
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), -EINVAL);
}

struct routes {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry e[8];
};

static void routing(void **state)
{
	struct routes r = { .head.nr = 3 };

	(void)state;
	enable_apics();
	r.e[0] = (struct kvm_irq_routing_entry){ .gsi = 100, .type = KVM_IRQ_ROUTING_MSI,
						 .u.msi = { .address_lo = 0xfee01000, .data = 0x61 } };
	r.e[1] = (struct kvm_irq_routing_entry){ .gsi = 0, .type = KVM_IRQ_ROUTING_IRQCHIP,
						 .u.irqchip = { KVM_IRQCHIP_IOAPIC, 2 } };
	r.e[2] = (struct kvm_irq_routing_entry){ .gsi = 0, .type = KVM_IRQ_ROUTING_IRQCHIP,
						 .u.irqchip = { KVM_IRQCHIP_PIC_SLAVE, 3 } };
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), 0);
	assert_int_equal(line(100, 1), 1);
	assert_int_equal(line(100, 0), -1);
	assert_int_equal(takers(0x61), 2);
	assert_int_equal(vm->irqchip->routes->gsi_of[KVM_IRQCHIP_IOAPIC][2], 0);
	ioapic_entry(2, 0x30, 0);
	assert_int_equal(line(0, 1), 2);
	assert_int_equal(vm->irqchip->pic.chip[1].irr, 8);
	assert_int_equal(line(4, 1), -1); /* the default routes are gone */

	r.e[2].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC; /* twice the same chip */
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.e[2].gsi = 100; /* beside an MSI */
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.e[2].gsi = 4096;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.e[2].gsi = 5;
	r.e[2].u.irqchip.pin = 24;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.e[2].u.irqchip.pin = 23;
	r.e[2].flags = 1;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.e[2].flags = 0;
	r.e[2].type = KVM_IRQ_ROUTING_S390_ADAPTER;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.head.nr = 4097;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	r.head.nr = 0;
	r.head.flags = 1;
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	assert_int_equal(line(100, 1), 1); /* the last good ones are in force */
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, NULL), -EFAULT);
}

static void pit_through_ioapic(void **state)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_reinject_control control = { .pit_reinject = 1 };
	struct kvm_pit_state2 s;

	(void)state;
	assert_int_equal(vm_call(KVM_GET_PIT2, &s), -ENXIO);
	assert_int_equal(vm_call(KVM_REINJECT_CONTROL, &control), -ENXIO);
	assert_int_equal(vm_call(KVM_CREATE_PIT2, &config), 0);
	assert_int_equal(vm_call(KVM_CREATE_PIT, NULL), -EEXIST);
	enable_apics();
	ioapic_entry(0, 0x30, 1);
	out(0x43, 0x34);
	out(0x40, 11932 & 0xff);
	out(0x40, 11932 >> 8);
	fake_advance(35 * MS);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x30);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), -1);
	apic_write(1, APIC_REG_EOI, 0); /* the lost ticks come after each EOI */
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x30);
	apic_write(1, APIC_REG_EOI, 0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x30);
	apic_write(1, APIC_REG_EOI, 0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), -1);
	apic_write(3, APIC_REG_LVT_LINT0, 0x400); /* watchdog wire */
	fake_advance(10 * MS);
	assert_int_equal(requested(VCPU_REQ_NMI), 8);
	assert_int_equal(vm_call(KVM_GET_PIT2, &s), 0);
	assert_int_equal(s.channels[0].count, 11932);
	assert_int_equal(vm_call(KVM_SET_PIT2, &s), 0);
	assert_int_equal(vm_call(KVM_GET_PIT, &s), 0);
	assert_int_equal(vm_call(KVM_SET_PIT, &s), 0);
}

/* ---- split and no irqchip ----------------------------------------------------------------------- */

static void split(void **state)
{
	struct kvm_msi m = { .address_lo = 0xfee01000, .data = 0x41 | 1u << 15 | 1u << 14 };
	struct kvm_interrupt irq = { .irq = 0x30 };
	struct kvm_irqchip chip = { .chip_id = 0 };
	struct vcpu *v = vm->vcpu[1];
	struct routes r = { .head.nr = 1, .e[0] = { .gsi = 4, .type = KVM_IRQ_ROUTING_IRQCHIP } };

	(void)state;
	assert_int_equal(vm_enable_split_irqchip(vm, 24), -EEXIST);
	assert_int_equal(vm_call(KVM_CREATE_IRQCHIP, NULL), -EEXIST);
	assert_int_equal(vm_call(KVM_GET_IRQCHIP, &chip), -ENXIO);
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	enable_apics();
	assert_int_equal(apic_read(1, APIC_REG_VERSION) >> 24, 1); /* EOI broadcasts can be suppressed */
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), 1);
	assert_int_equal(vcpu_irq_take(v), 0x41);
	assert_false(vcpu_irq_exit(v));
	v->requests = 0;
	apic_write(1, APIC_REG_EOI, 0);
	assert_true(v->requests & VCPU_REQ_EVENT);
	assert_true(vcpu_irq_exit(v));
	assert_int_equal(v->run->exit_reason, KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(v->run->eoi.vector, 0x41);
	assert_false(vcpu_irq_exit(v));
	m.data = 0x42; /* edge: nobody's business */
	vm_call(KVM_SIGNAL_MSI, &m);
	assert_int_equal(vcpu_irq_take(v), 0x42);
	apic_write(1, APIC_REG_EOI, 0);
	assert_false(vcpu_irq_exit(v));

	v = vm->vcpu[0]; /* the 8259 is userspace's, through LINT0 */
	apic_write(0, APIC_REG_LVT_LINT0, 0x700);
	assert_true(vcpu_irq_accepts_extint(v));
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_INTERRUPT, &irq), 0);
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_INTERRUPT, &irq), -EEXIST);
	assert_false(vcpu_irq_accepts_extint(v));
	assert_true(vcpu_irq_pending(v));
	assert_int_equal(vcpu_irq_take(v), 0x30);
	irq.irq = 256;
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_INTERRUPT, &irq), -EINVAL);
}

static void no_irqchip(void **state)
{
	struct kvm_irq_level l = { .irq = 4, .level = 1 };
	struct kvm_msi m = { .address_lo = 0xfee00000 };
	struct kvm_irqfd f = { .fd = 100 };
	struct kvm_interrupt irq = { .irq = 0x30 };
	struct routes r = { .head.nr = 0 };
	struct vcpu *v = add_vcpu(0);
	bool handled;
	u64 value;
	u8 byte;

	(void)state;
	assert_int_equal(vm_call(KVM_IRQ_LINE, &l), -ENXIO);
	assert_int_equal(vm_call(KVM_SIGNAL_MSI, &m), -EINVAL);
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EINVAL);
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), -EINVAL);
	assert_int_equal(vm_call(KVM_CREATE_IRQCHIP, NULL), -EINVAL); /* a vCPU exists */
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_GET_LAPIC, fake_ram), -EINVAL);
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_INTERRUPT, &irq), 0);
	assert_int_equal(vcpu_irq_take(v), 0x30);
	assert_false(vcpu_irq_pending(v));
	vcpu_irq_set_cr8(v, 9);
	assert_int_equal(vcpu_irq_get_cr8(v), 9);
	assert_int_equal(vcpu_irq_rdmsr(v, 0x1b, &value, &handled), X86_OK);
	assert_int_equal(value, 0xfee00900);
	assert_int_equal(vcpu_irq_rdmsr(v, 0x802, &value, &handled), X86_FAULT);
	assert_false(vcpu_bus_read(v, false, 0xfee00020, &byte, 1));
	assert_false(vcpu_bus_read(v, false, 0xfec00000, &byte, 1));
	assert_false(vcpu_bus_read(v, true, 0x20, &byte, 1));
}

/* ---- irqfd -------------------------------------------------------------------------------------- */

static void fire(unsigned i)
{
	assert_non_null(fake_events[i].notify);
	fake_events[i].notify(fake_events[i].arg);
}

static void irqfd_edge(void **state)
{
	struct kvm_irqfd f = { .fd = 100, .gsi = 4 };

	(void)state;
	enable_apics();
	ioapic_entry(4, 0x41, 1);
	assert_int_equal(vm_call(KVM_IRQFD, &f), 0);
	fire(0);
	assert_int_equal(requested(VCPU_REQ_EVENT | VCPU_REQ_DEVICE) & 2, 2);
	assert_int_equal(takers(0x41), 2);
	fire(0); /* the line went down again by itself */
	assert_int_equal(takers(0x41), 2);
	f.gsi = 5;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EBUSY);
	f.fd = 50;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EBADF);
	f.fd = 99;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EINVAL);
	f.flags = 4;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EINVAL);
	f = (struct kvm_irqfd){ .fd = 101, .gsi = 4 }; /* a second one on the GSI */
	assert_int_equal(vm_call(KVM_IRQFD, &f), 0);
	fire(1);
	assert_int_equal(takers(0x41), 2);
	f.flags = KVM_IRQFD_FLAG_DEASSIGN;
	assert_int_equal(vm_call(KVM_IRQFD, &f), 0);
	assert_int_equal(fake_events[1].refs, 0);
	assert_int_equal(vm_call(KVM_IRQFD, &f), 0); /* there is none: as KVM, no error */
	f.fd = 50;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EBADF);
	assert_non_null(fake_events[0].notify); /* the teardown takes this one */
}

/* In an interrupt: messages alone, and nothing is half done. */
static void irqfd_at_once(void **state)
{
	struct kvm_irqfd message = { .fd = 100, .gsi = 100 }, line = { .fd = 101, .gsi = 4 };
	struct kvm_irqfd level = { .fd = 102, .gsi = 5, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = 103 };
	struct routes r = { .head.nr = 2 };

	(void)state;
	enable_apics();
	r.e[0] = (struct kvm_irq_routing_entry){ .gsi = 100, .type = KVM_IRQ_ROUTING_MSI,
						 .u.msi = { .address_lo = 0xfee01000, .data = 0x61 } };
	r.e[1] = (struct kvm_irq_routing_entry){ .gsi = 4, .type = KVM_IRQ_ROUTING_IRQCHIP,
						 .u.irqchip = { KVM_IRQCHIP_IOAPIC, 4 } };
	assert_int_equal(vm_call(KVM_SET_GSI_ROUTING, &r), 0);
	ioapic_entry(4, 0x41, 1);
	assert_int_equal(vm_call(KVM_IRQFD, &message), 0);
	assert_int_equal(vm_call(KVM_IRQFD, &line), 0);
	assert_int_equal(vm_call(KVM_IRQFD, &level), 0);
	assert_true(fake_events[0].now(fake_events[0].arg));
	assert_int_equal(takers(0x61), 2);
	assert_false(fake_events[1].now(fake_events[1].arg));
	assert_int_equal(takers(0x41), 0);
	assert_false(fake_events[2].now(fake_events[2].arg));
}

static void irqfd_resample(void **state)
{
	struct kvm_irqfd a = { .fd = 100, .gsi = 10, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = 102 };
	struct kvm_irqfd b = { .fd = 101, .gsi = 10, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = 103 };

	(void)state;
	enable_apics();
	ioapic_entry(10, 0x50 | 0x8000, 1);
	a.resamplefd = 99;
	assert_int_equal(vm_call(KVM_IRQFD, &a), -EINVAL);
	a.resamplefd = 102;
	assert_int_equal(vm_call(KVM_IRQFD, &a), 0);
	assert_int_equal(vm_call(KVM_IRQFD, &b), 0);
	fire(0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x50);
	fire(1);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), -1); /* the line is shared */
	apic_write(1, APIC_REG_EOI, 0);
	assert_int_equal(fake_events[2].count, 1); /* both are told */
	assert_int_equal(fake_events[3].count, 1);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), -1); /* and the line is low */
	fire(1);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x50);
	a.flags |= KVM_IRQFD_FLAG_DEASSIGN;
	assert_int_equal(vm_call(KVM_IRQFD, &a), 0);
	apic_write(1, APIC_REG_EOI, 0);
	assert_int_equal(fake_events[2].count, 1);
	assert_int_equal(fake_events[3].count, 2);
	fire(1);
	b.flags |= KVM_IRQFD_FLAG_DEASSIGN;
	assert_int_equal(vm_call(KVM_IRQFD, &b), 0); /* the last one lowers the line */
	assert_int_equal(vm->irqchip->ioapic.irr, 0);
	assert_null(vm->irqchip->resamplers);
}

static void irqfd_resample_edge_and_split(void **state)
{
	struct kvm_irqfd f = { .fd = 100, .gsi = 4, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = 102 };

	(void)state;
	enable_apics();
	ioapic_entry(4, 0x41, 1); /* edge-triggered: EOI is reported all the same */
	assert_int_equal(vm_call(KVM_IRQFD, &f), 0);
	fire(0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x41);
	apic_write(1, APIC_REG_EOI, 0);
	assert_int_equal(fake_events[2].count, 1);
	vm->irqchip_mode = IRQCHIP_SPLIT;
	f.fd = 101;
	assert_int_equal(vm_call(KVM_IRQFD, &f), -EINVAL);
	vm->irqchip_mode = IRQCHIP_KERNEL;
}

/* ---- ioeventfd, coalesced zones ----------------------------------------------------------------- */

static long ioeventfd(u64 addr, u32 len, int fd, u32 flags, u64 match)
{
	struct kvm_ioeventfd e = { .addr = addr, .len = len, .fd = fd, .flags = flags, .datamatch = match };

	return vm_call(KVM_IOEVENTFD, &e);
}

static bool bus_write(bool pio, u64 addr, u64 value, unsigned size)
{
	return vcpu_bus_write(vm->vcpu[0], pio, addr, &value, size);
}

#define MATCH KVM_IOEVENTFD_FLAG_DATAMATCH
#define PIO KVM_IOEVENTFD_FLAG_PIO
#define DEASSIGN KVM_IOEVENTFD_FLAG_DEASSIGN

static void ioeventfd_matching(void **state)
{
	(void)state;
	add_vcpu(0);
	assert_int_equal(ioeventfd(0x1000, 2, 100, MATCH, 1), 0);
	assert_int_equal(ioeventfd(0x1000, 2, 101, MATCH, 2), 0);
	assert_int_equal(ioeventfd(0x1000, 4, 102, 0, 0), 0);
	assert_int_equal(ioeventfd(0x2000, 0, 103, 0, 0), 0);
	assert_int_equal(ioeventfd(0x1000, 2, 104, PIO, 0), 0);
	assert_int_equal(ioeventfd(0x0800, 8, 105, MATCH, 0x1122334455667788), 0);
	assert_true(bus_write(false, 0x1000, 1, 2));
	assert_true(bus_write(false, 0x1000, 2, 2));
	assert_false(bus_write(false, 0x1000, 3, 2));
	assert_true(bus_write(false, 0x1000, 99, 4));
	assert_false(bus_write(false, 0x1000, 1, 1));
	assert_false(bus_write(false, 0x1001, 1, 2));
	for (unsigned size = 1; size <= 8; size *= 2)
		assert_true(bus_write(false, 0x2000, 7, size));
	assert_true(bus_write(true, 0x1000, 7, 2));
	assert_false(bus_write(true, 0x2000, 7, 2));
	assert_true(bus_write(false, 0x800, 0x1122334455667788, 8));
	assert_false(bus_write(false, 0x800, 0x1122334455667789, 8));
	assert_int_equal(fake_events[0].count, 1);
	assert_int_equal(fake_events[1].count, 1);
	assert_int_equal(fake_events[2].count, 1);
	assert_int_equal(fake_events[3].count, 4);
	assert_int_equal(fake_events[4].count, 1);
	assert_int_equal(fake_events[5].count, 1);
}

static void ioeventfd_errors(void **state)
{
	(void)state;
	add_vcpu(0);
	assert_int_equal(ioeventfd(0x1000, 3, 100, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(0x1000, 16, 100, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(~0ull, 4, 100, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(0x1000, 4, 100, 0x80, 0), -EINVAL);
	assert_int_equal(ioeventfd(0x1000, 0, 100, MATCH, 0), -EINVAL);
	assert_int_equal(ioeventfd(0x1000, 4, 50, 0, 0), -EBADF);
	assert_int_equal(ioeventfd(0x1000, 4, 99, 0, 0), -EINVAL);
	assert_int_equal(ioeventfd(0x1000, 4, 100, MATCH, 1), 0);
	assert_int_equal(ioeventfd(0x1000, 4, 101, MATCH, 1), -EEXIST);
	assert_int_equal(ioeventfd(0x1000, 4, 101, 0, 0), -EEXIST); /* wildcard against match */
	assert_int_equal(ioeventfd(0x1000, 0, 101, 0, 0), -EEXIST); /* any length */
	assert_int_equal(ioeventfd(0x1000, 4, 101, DEASSIGN | MATCH, 1), -ENOENT);
	assert_int_equal(ioeventfd(0x1000, 4, 100, DEASSIGN | MATCH, 2), -ENOENT);
	assert_int_equal(ioeventfd(0x1000, 4, 100, DEASSIGN | PIO | MATCH, 1), -ENOENT);
	assert_int_equal(ioeventfd(0x1000, 4, 100, DEASSIGN | MATCH, 1), 0);
	assert_int_equal(fake_events[0].refs, 0);
	assert_false(bus_write(false, 0x1000, 1, 4));
}

static struct kvm_coalesced_mmio_ring *ring(void)
{
	return vm_bus_ring(vm);
}

static void coalesced(void **state)
{
	struct kvm_coalesced_mmio_zone z = { .addr = 0xa0000, .size = 0x1000 };
	u64 entries = (4096 - sizeof(*ring())) / sizeof(struct kvm_coalesced_mmio);

	(void)state;
	add_vcpu(0);
	add_vcpu(1);
	assert_int_equal(vm_call(KVM_REGISTER_COALESCED_MMIO, &z), 0);
	assert_true(bus_write(false, 0xa0ff0, 0x1234, 2));
	assert_true(vcpu_bus_write(vm->vcpu[1], false, 0xa0ff8, &entries, 8)); /* any vCPU, one ring */
	assert_false(bus_write(false, 0xa0ffc, 0, 8));			     /* reaches beyond */
	assert_false(bus_write(false, 0x9ffff, 0, 1));
	assert_int_equal(ring()->last, 2);
	assert_int_equal(ring()->coalesced_mmio[0].phys_addr, 0xa0ff0);
	assert_int_equal(ring()->coalesced_mmio[0].len, 2);
	assert_int_equal(ring()->coalesced_mmio[0].data[1], 0x12);
	while (bus_write(false, 0xa0000, 0, 4))
		;
	assert_int_equal(ring()->last, entries - 1); /* full: one stays free */
	ring()->first = 1;
	assert_true(bus_write(false, 0xa0000, 0, 4));
	assert_int_equal(ring()->last, 0);
	assert_false(bus_write(false, 0xa0000, 0, 4));
	ring()->last = 0xffffffff; /* a hostile VMM */
	assert_false(bus_write(false, 0xa0000, 0, 4));
	ring()->last = 0;
	ring()->first = 0x80000000;
	bus_write(false, 0xa0000, 0, 4);
	ring()->first = ring()->last = 0;

	z = (struct kvm_coalesced_mmio_zone){ .addr = 0x70, .size = 1, .pio = 1 };
	assert_int_equal(vm_call(KVM_REGISTER_COALESCED_MMIO, &z), 0);
	assert_true(bus_write(true, 0x70, 0x55, 1));
	assert_int_equal(ring()->coalesced_mmio[0].pio, 1);
	z.pio = 2;
	assert_int_equal(vm_call(KVM_REGISTER_COALESCED_MMIO, &z), -EINVAL);
	assert_int_equal(vm_call(KVM_UNREGISTER_COALESCED_MMIO, &z), -EINVAL);
	z.pio = 1;
	assert_int_equal(vm_call(KVM_UNREGISTER_COALESCED_MMIO, &z), 0);
	assert_false(bus_write(true, 0x70, 0x55, 1));
}

/* ---- PV EOI, TPR -------------------------------------------------------------------------------- */

static void pv_eoi(void **state)
{
	struct vcpu *v = vm->vcpu[1];
	bool handled;

	(void)state;
	enable_apics();
	assert_int_equal(vcpu_clock_wrmsr(v, MSR_KVM_PV_EOI_EN, 0x1000 | 1, false, &handled), X86_OK);
	assert_int_equal(vcpu_clock_wrmsr(v, MSR_KVM_PV_EOI_EN, 0x1002 | 1, false, &handled), X86_FAULT);
	icr(0, 1, 0x4040);
	assert_int_equal(vcpu_irq_take(v), 0x40);
	vcpu_irq_prepare(v);
	assert_int_equal(fake_ram[0x1000], 1); /* offered */
	fake_ram[0x1000] = 0;		       /* the guest's EOI */
	vcpu_irq_sync(v);
	assert_int_equal(lapic_highest_isr(v->apic), -1);

	icr(0, 1, 0x4040);
	vcpu_irq_take(v);
	vcpu_irq_prepare(v);
	icr(0, 1, 0x4050); /* something else has come: the offer is withdrawn at the exit */
	vcpu_irq_sync(v);
	assert_int_equal(fake_ram[0x1000], 0);
	assert_int_equal(lapic_highest_isr(v->apic), 0x40);
	vcpu_irq_take(v);
	vcpu_irq_prepare(v); /* nested, nothing waits: the inner one may be left to the guest */
	assert_int_equal(fake_ram[0x1000], 1);
	fake_ram[0x1000] = 0;
	apic_write(1, APIC_REG_EOI, 0); /* and the outer one is a real EOI, which comes second */
	assert_int_equal(lapic_highest_isr(v->apic), -1);

	ioapic_entry(9, 0x60 | 0x8000, 1);
	line(9, 1);
	assert_int_equal(vcpu_irq_take(v), 0x60);
	vcpu_irq_prepare(v);
	assert_int_equal(fake_ram[0x1000], 0); /* the IOAPIC must see this EOI */
	vcpu_irq_reset(v, false);
	assert_int_equal(v->pv->pv_eoi, 0);
}

static void tpr_access_and_vapic(void **state)
{
	struct vcpu *v = vm->vcpu[0];
	struct kvm_tpr_access_ctl control = { .enabled = 1 };
	struct kvm_vapic_addr va = { .vapic_addr = 0x2000 };
	u32 word;

	(void)state;
	enable_apics();
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_TPR_ACCESS_REPORTING, &control), 0);
	v->cpu.regs[X86_REG_RIP] = 0x1234;
	apic_write(0, APIC_REG_TPR, 0x30);
	assert_true(vcpu_irq_exit(v));
	assert_int_equal(v->run->exit_reason, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(v->run->tpr_access.rip, 0x1234);
	assert_int_equal(v->run->tpr_access.is_write, 1);
	assert_false(vcpu_irq_exit(v));
	control.flags = 1;
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_TPR_ACCESS_REPORTING, &control), -EINVAL);

	va.vapic_addr = FAKE_RAM;
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_SET_VAPIC_ADDR, &va), -EINVAL);
	va.vapic_addr = 0x2000;
	assert_int_equal(call(vcpu_irq_ioctls, v, KVM_SET_VAPIC_ADDR, &va), 0);
	icr(1, 0, 0x4025);
	vcpu_irq_prepare(v);
	memcpy(&word, fake_ram + 0x2000, 4);
	assert_int_equal(word, 0x25000030);
	fake_ram[0x2000] = 0x10; /* the guest lowers its priority without an exit */
	vcpu_irq_sync(v);
	assert_int_equal(vcpu_irq_get_cr8(v), 1);
	assert_int_equal(vcpu_irq_take(v), 0x25);
}

/* ---- state -------------------------------------------------------------------------------------- */

static void irqchip_state(void **state)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_lapic_state s;

	(void)state;
	enable_apics();
	ioapic_entry(9, 0x50 | 0x8000, 1);
	assert_int_equal(vm_call(KVM_GET_IRQCHIP, &chip), 0);
	assert_int_equal(chip.chip.ioapic.redirtbl[9].fields.vector, 0x50);
	chip.chip.ioapic.irr = 1u << 9;
	assert_int_equal(vm_call(KVM_SET_IRQCHIP, &chip), 0);
	assert_int_equal(vcpu_irq_take(vm->vcpu[1]), 0x50);
	chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	assert_int_equal(vm_call(KVM_GET_IRQCHIP, &chip), 0);
	assert_int_equal(vm_call(KVM_SET_IRQCHIP, &chip), 0);
	chip.chip_id = 3;
	assert_int_equal(vm_call(KVM_GET_IRQCHIP, &chip), -EINVAL);
	assert_int_equal(vm_call(KVM_SET_IRQCHIP, &chip), -EINVAL);
	assert_int_equal(call(vcpu_irq_ioctls, vm->vcpu[1], KVM_GET_LAPIC, &s), 0);
	assert_int_equal(call(vcpu_irq_ioctls, vm->vcpu[1], KVM_SET_LAPIC, &s), 0);
	assert_int_equal(call(vcpu_irq_ioctls, vm->vcpu[1], KVM_SET_LAPIC, NULL), -EFAULT);
	assert_int_equal(vm_call(KVM_CREATE_IRQCHIP, NULL), -EEXIST);
}

#define T(name, setup) cmocka_unit_test_setup_teardown(name, setup, drop_vm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ipi_xapic, kernel_vm), T(ipi_lowest, kernel_vm), T(ipi_x2apic, kernel_vm),
		T(init_sipi, kernel_vm), T(line_through_pic, kernel_vm), T(line_through_ioapic, kernel_vm),
		T(msi, kernel_vm), T(routing, kernel_vm), T(pit_through_ioapic, kernel_vm),
		T(split, split_vm), T(no_irqchip, bare_vm), T(irqfd_edge, kernel_vm), T(irqfd_at_once, kernel_vm),
		T(irqfd_resample, kernel_vm), T(irqfd_resample_edge_and_split, kernel_vm),
		T(ioeventfd_matching, bare_vm), T(ioeventfd_errors, bare_vm), T(coalesced, bare_vm),
		T(pv_eoi, kernel_vm), T(tpr_access_and_vapic, kernel_vm), T(irqchip_state, kernel_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
