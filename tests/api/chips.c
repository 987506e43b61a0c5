// SPDX-License-Identifier: GPL-2.0-only
/* The irqchip's parts as the VMM sees them: PIT, PICs and IOAPIC after the guest's port accesses and lines. */
#include <unistd.h>

#include "tests/api/api.h"

/* ---- the guest's ports ----------------------------------------------------------------------------------- */

struct access {
	uint8_t port;
	int value; /* < 0: IN */
};

#define IN (-1)
#define END { 0, 0 }

/* Makes the accesses, one after the other, and tells what was read. Ends with one of port 0. */
static void ports(struct machine *m, const struct access *list)
{
	uint8_t code[256];
	unsigned n = 0;

	code[n++] = 0xbf; /* mov di, 0x1000 */
	code[n++] = 0;
	code[n++] = 0x10;
	for (; list->port; list++) {
		if (list->value < 0) {
			code[n++] = 0xe4; /* in al, port; stosb */
			code[n++] = list->port;
			code[n++] = 0xaa;
		} else {
			code[n++] = 0xb0; /* mov al, value; out port, al */
			code[n++] = (uint8_t)list->value;
			code[n++] = 0xe6;
			code[n++] = list->port;
		}
	}
	code[n++] = 0xe6; /* out 0x10, al */
	code[n++] = 0x10;
	machine_code(m, code, n);
	m->ram[0x1000] = 0;
	machine_run(m);
}

static struct machine open_chips(bool pit)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct machine m = machine_open(true, true);

	machine_ram(&m);
	if (pit)
		ask(m.vm, KVM_CREATE_PIT2, &config);
	return m;
}

/* ---- PIT ------------------------------------------------------------------------------------------------- */

/* Of a latched status not the output, which is as time passes. */
static void tell_pit(struct machine *m, const char *name)
{
	struct kvm_pit_state2 s;
	long r = ask(m->vm, KVM_GET_PIT2, &s);

	printf("chips/pit-%s: %s flags %x", name, answer(r), s.flags);
	for (unsigned i = 0; i < 3; i++) {
		const struct kvm_pit_channel_state *c = &s.channels[i];

		printf(" | %x %x %u%u%u%u %x %x %u %u %u %u", c->count, c->count_latched ? 1 : 0, c->status_latched, c->status & 0x7f,
		       c->read_state, c->write_state, c->write_latch, c->rw_mode, c->mode, c->bcd, c->gate, c->count_latched);
	}
	printf("\n");
}

static void pit_creation(void)
{
	for (unsigned irqchip = 0; irqchip < 2; irqchip++) {
		for (uint32_t flags = 0; flags < 4; flags++) {
			struct machine m = machine_open(irqchip, true);
			struct kvm_pit_config config = { .flags = flags };
			long first = ask(m.vm, KVM_CREATE_PIT2, &config);

			printf("chips/pit-create-%u-%x: %s %s %s\n", irqchip, flags, answer(first),
			       answer(ask(m.vm, KVM_CREATE_PIT2, &config)), answer(ask(m.vm, KVM_CREATE_PIT, NULL)));
			machine_close(&m);
		}
	}
}

static void pit_writes(void)
{
	static const struct {
		const char *name;
		struct access list[8];
	} cases[] = {
		{ "initial", { END } },
		{ "mode2-word", { { 0x43, 0x34 }, { 0x40, 0x9c }, { 0x40, 0x2e }, END } },
		{ "half-written", { { 0x43, 0x34 }, { 0x40, 0x9c }, END } },
		{ "low-byte", { { 0x43, 0x14 }, { 0x40, 0x77 }, END } },
		{ "high-byte", { { 0x43, 0x26 }, { 0x40, 0x77 }, END } },
		{ "mode6", { { 0x43, 0x3c }, { 0x40, 0x12 }, { 0x40, 0x34 }, END } },
		{ "mode7-bcd", { { 0x43, 0x3f }, { 0x40, 0x12 }, { 0x40, 0x34 }, END } },
		{ "zero", { { 0x43, 0x30 }, { 0x40, 0 }, { 0x40, 0 }, END } },
		{ "latched", { { 0x43, 0x34 }, { 0x40, 0 }, { 0x40, 0 }, { 0x43, 0x00 }, END } },
		{ "latched-half-read", { { 0x43, 0x34 }, { 0x40, 0 }, { 0x40, 0 }, { 0x43, 0x00 }, { 0x40, IN }, END } },
		{ "latched-twice", { { 0x43, 0x34 }, { 0x40, 0 }, { 0x40, 0 }, { 0x43, 0x00 }, { 0x43, 0x00 }, END } },
		{ "read-back-status", { { 0x43, 0x74 }, { 0x41, 1 }, { 0x41, 2 }, { 0x43, 0xe4 }, END } },
		{ "read-back-both", { { 0x43, 0x34 }, { 0x40, 1 }, { 0x40, 2 }, { 0x43, 0xc2 }, { 0x40, IN }, END } },
		{ "read-back-none", { { 0x43, 0xf0 }, END } },
		{ "channel2", { { 0x61, 1 }, { 0x43, 0xb6 }, { 0x42, 0x12 }, { 0x42, 0x34 }, END } },
		{ "gate2-off", { { 0x61, 1 }, { 0x43, 0xb0 }, { 0x42, 0x12 }, { 0x42, 0x34 }, { 0x61, 0 }, END } },
		{ "gate2-on", { { 0x61, 3 }, { 0x61, IN }, END } },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine m = open_chips(true);

		ports(&m, cases[i].list);
		tell_pit(&m, cases[i].name);
		machine_close(&m);
	}
}

static void pit_sets(void)
{
	struct kvm_pit_state2 s;
	struct machine m = open_chips(true);

	memset(&s, 0, sizeof(s));
	s.channels[0] = (struct kvm_pit_channel_state){ .count = 0x10000, .mode = 2, .gate = 1, .rw_mode = 3 };
	s.channels[1] = (struct kvm_pit_channel_state){ .count = 0x20, .mode = 4, .rw_mode = 1, .bcd = 1 };
	s.channels[2] = (struct kvm_pit_channel_state){ .rw_mode = 2, .write_latch = 7, .write_state = 4 };
	tell("chips/pit-set", ask(m.vm, KVM_SET_PIT2, &s));
	tell_pit(&m, "was-set");
	s.flags = KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	tell("chips/pit-set-flags", ask(m.vm, KVM_SET_PIT2, &s));
	tell_pit(&m, "was-set-flags");
	s.flags = ~0u;
	tell("chips/pit-set-all-flags", ask(m.vm, KVM_SET_PIT2, &s));
	tell_pit(&m, "was-set-all-flags");
	machine_close(&m);
}

static void reinject(void)
{
	static const uint8_t values[] = { 0, 1, 2, 255 };

	for (unsigned pit = 0; pit < 2; pit++) {
		struct machine m = open_chips(pit);

		for (unsigned i = 0; i < sizeof(values); i++) {
			struct kvm_reinject_control c = { .pit_reinject = values[i] };

			printf("chips/reinject-%u-%u: %s\n", pit, values[i], answer(ask(m.vm, KVM_REINJECT_CONTROL, &c)));
		}
		machine_close(&m);
	}
}

/* ---- PIC ------------------------------------------------------------------------------------------------- */

static void tell_pics(struct machine *m, const char *name)
{
	printf("chips/pic-%s:", name);
	for (uint32_t chip = 0; chip < 2; chip++) {
		struct kvm_irqchip s = { .chip_id = chip };
		const struct kvm_pic_state *p = &s.chip.pic;

		ask(m->vm, KVM_GET_IRQCHIP, &s);
		printf(" %s %02x %02x %02x %02x pri %u base %02x isr? %u poll %u", chip ? "|" : "", p->last_irr, p->irr, p->imr,
		       p->isr, p->priority_add, p->irq_base, p->read_reg_select, p->poll);
		printf(" mask %u init %u eoi %u rot %u nest %u icw4 %u %02x %02x", p->special_mask, p->init_state, p->auto_eoi,
		       p->rotate_on_auto_eoi, p->special_fully_nested_mode, p->init4, p->elcr, p->elcr_mask);
	}
	printf(" read");
	for (unsigned i = 0; i < 4; i++)
		printf(" %02x", m->ram[0x1000 + i]);
	printf("\n");
}

#define INIT_MASTER { 0x20, 0x11 }, { 0x21, 0x08 }, { 0x21, 4 }, { 0x21, 1 }
#define INIT INIT_MASTER, { 0xa0, 0x11 }, { 0xa1, 0x70 }, { 0xa1, 2 }, { 0xa1, 1 }
#define OPEN { 0x21, 0 }, { 0xa1, 0 }

static void pic_writes(void)
{
	static const struct {
		const char *name;
		struct access list[20];
		unsigned lines; /* raised before */
	} cases[] = {
		{ "initial", { END }, 0 },
		{ "init", { INIT, END }, 0 },
		{ "half-init", { { 0x20, 0x11 }, { 0x21, 8 }, END }, 0 },
		{ "init-single", { { 0x20, 0x13 }, { 0x21, 8 }, { 0x21, 1 }, { 0x21, 0x55 }, END }, 0 },
		{ "init-no-icw4", { { 0x20, 0x10 }, { 0x21, 8 }, { 0x21, 4 }, { 0x21, 0x55 }, END }, 0 },
		{ "init-level", { { 0x20, 0x19 }, { 0x21, 8 }, { 0x21, 4 }, { 0x21, 0x1f }, END }, 0 },
		{ "masks", { INIT, { 0x21, 0xa5 }, { 0xa1, 0x5a }, { 0x21, IN }, { 0xa1, IN }, END }, 0 },
		{ "irr", { INIT, OPEN, { 0x20, 0x0a }, { 0x20, IN }, { 0xa0, 0x0a }, { 0xa0, IN }, END }, 0x4008 },
		{ "isr", { INIT, OPEN, { 0x20, 0x0b }, { 0x20, IN }, { 0xa0, 0x0b }, { 0xa0, IN }, END }, 0x4008 },
		{ "poll", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, { 0x20, 0x0b }, { 0x20, IN }, END }, 0x0028 },
		{ "poll-slave", { INIT, OPEN, { 0xa0, 0x0c }, { 0xa0, IN }, { 0xa0, 0x0b }, { 0xa0, IN }, END }, 0x4000 },
		{ "poll-none", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, END }, 0 },
		{ "eoi", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, { 0x20, 0x20 }, END }, 0x0028 },
		{ "specific-eoi", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, { 0x20, 0x65 }, END }, 0x0028 },
		{ "rotate-eoi", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, { 0x20, 0xa0 }, END }, 0x0028 },
		{ "rotate-specific", { INIT, OPEN, { 0x20, 0x0c }, { 0x20, IN }, { 0x20, 0xe3 }, END }, 0x0028 },
		{ "set-priority", { INIT, OPEN, { 0x20, 0xc4 }, { 0x20, 0x0c }, { 0x20, IN }, END }, 0x0028 },
		{ "rotate-auto", { INIT, { 0x20, 0x80 }, { 0xa0, 0x80 }, { 0xa0, 0x00 }, END }, 0 },
		{ "special-mask", { INIT, { 0x20, 0x68 }, { 0xa0, 0x68 }, { 0xa0, 0x48 }, END }, 0 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine m = open_chips(false);
		struct access empty[] = { INIT, OPEN, END };

		memset(m.ram + 0x1000, 0, 16);
		if (cases[i].lines)
			ports(&m, empty);
		for (uint32_t line = 0; line < 16; line++) {
			struct kvm_irq_level l = { .irq = line, .level = 1 };

			if (cases[i].lines >> line & 1)
				ask(m.vm, KVM_IRQ_LINE, &l);
		}
		ports(&m, cases[i].lines ? cases[i].list + 8 : cases[i].list);
		tell_pics(&m, cases[i].name);
		machine_close(&m);
	}
}

static void pic_sets(void)
{
	struct machine m = open_chips(false);
	struct kvm_irqchip s = { .chip_id = 0 };

	memset(&s.chip.pic, 0xff, sizeof(s.chip.pic));
	tell("chips/pic-set-ones", ask(m.vm, KVM_SET_IRQCHIP, &s));
	s.chip_id = 1;
	tell("chips/pic-set-ones-slave", ask(m.vm, KVM_SET_IRQCHIP, &s));
	memset(m.ram + 0x1000, 0, 16);
	tell_pics(&m, "set-ones");
	for (s.chip_id = 2; s.chip_id < 5; s.chip_id++) {
		printf("chips/irqchip-%u: get %s", s.chip_id, answer(ask(m.vm, KVM_GET_IRQCHIP, &s)));
		printf(" set %s\n", answer(ask(m.vm, KVM_SET_IRQCHIP, &s)));
	}
	machine_close(&m);
}

/* ---- IOAPIC and lines ------------------------------------------------------------------------------------ */

static void tell_ioapic(struct machine *m, const char *name)
{
	struct kvm_irqchip s = { .chip_id = 2 };
	const struct kvm_ioapic_state *p = &s.chip.ioapic;

	ask(m->vm, KVM_GET_IRQCHIP, &s);
	printf("chips/ioapic-%s: %llx select %x id %x irr %x", name, (unsigned long long)p->base_address, p->ioregsel,
	       p->id, p->irr);
	for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
		if (p->redirtbl[i].bits != 0x10000)
			printf(" %u:%llx", i, (unsigned long long)p->redirtbl[i].bits);
	}
	printf("\n");
}

static void ioapic(void)
{
	struct machine m = open_chips(false);
	struct kvm_irqchip s = { .chip_id = 2 };
	struct kvm_irq_level l = { .irq = 5, .level = 1 };

	tell_ioapic(&m, "initial");
	ask(m.vm, KVM_GET_IRQCHIP, &s);
	s.chip.ioapic.base_address = 0xfec10000;
	s.chip.ioapic.ioregsel = 0x1ff;
	s.chip.ioapic.id = 0xff;
	s.chip.ioapic.redirtbl[4].bits = ~0ull;
	s.chip.ioapic.redirtbl[5].bits = 0x18050; /* level, masked */
	s.chip.ioapic.redirtbl[6].bits = 0x0100000000000060;
	s.chip.ioapic.irr = 0;
	tell("chips/ioapic-set", ask(m.vm, KVM_SET_IRQCHIP, &s));
	tell_ioapic(&m, "was-set");
	ask(m.vm, KVM_IRQ_LINE, &l);
	tell_ioapic(&m, "line-up");
	l.level = 0;
	ask(m.vm, KVM_IRQ_LINE, &l);
	tell_ioapic(&m, "line-down");
	s.chip.ioapic.irr = 0xffffffff;
	tell("chips/ioapic-set-irr", ask(m.vm, KVM_SET_IRQCHIP, &s));
	tell_ioapic(&m, "irr-was-set");
	machine_close(&m);
}

static void lines(void)
{
	static const uint32_t numbers[] = { 0, 1, 2, 8, 15, 16, 23, 24, 100, 4095, 4096, ~0u };
	static const uint32_t levels[] = { 1, 1, 0, 0, 2, 0 };
	struct machine m = open_chips(false);
	struct access init[] = { INIT, OPEN, END };

	ports(&m, init);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		printf("chips/line-%x:", numbers[i]);
		for (unsigned k = 0; k < sizeof(levels) / sizeof(levels[0]); k++) {
			struct kvm_irq_level l = { .irq = numbers[i], .level = levels[k] };
			long r = ask(m.vm, KVM_IRQ_LINE_STATUS, &l);

			printf(" %s/%d", answer(r), r ? 0 : (int)l.status);
		}
		printf("\n");
	}
	tell_pics(&m, "lines");
	machine_close(&m);
}

/* ---- what else is wired ---------------------------------------------------------------------------------- */

static void zones(void)
{
	static const struct kvm_coalesced_mmio_zone list[] = {
		{ 0xd0000000, 0x1000, { .pio = 0 } }, { 0x500, 4, { .pio = 1 } }, { 0x500, 4, { .pio = 2 } }, { 0, 0, { .pio = 0 } },
		{ ~0ull, 16, { .pio = 0 } },
	};
	struct machine m = open_chips(false);

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		printf("chips/zone-%u: %s", i, answer(ask(m.vm, KVM_UNREGISTER_COALESCED_MMIO, (void *)&list[i])));
		for (unsigned k = 0; k < 2; k++)
			printf(" %s", answer(ask(m.vm, KVM_REGISTER_COALESCED_MMIO, (void *)&list[i])));
		for (unsigned k = 0; k < 2; k++)
			printf(" %s", answer(ask(m.vm, KVM_UNREGISTER_COALESCED_MMIO, (void *)&list[i])));
		printf("\n");
	}
	machine_close(&m);
}

static void routes(void)
{
	static const struct kvm_irq_routing_entry list[] = {
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 0, 3 } },
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 0, 8 } },
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 1, 8 } },
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 2, 23 } },
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 2, 24 } },
		{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { 3, 0 } },
		{ .gsi = 4095, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { 0xfee00000, 0, 0x41, { 0 } } },
		{ .gsi = 4096, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { 0xfee00000, 0, 0x41, { 0 } } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { 0xfee00000, 0x100, 0x41, { 0 } } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { 0xfee00000, 0x1, 0x41, { 0 } } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_MSI, .flags = KVM_MSI_VALID_DEVID, .u.msi = { 0xfee00000, 0, 0x41, { 0 } } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = { 0, 2 } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = { 9, 77 } },
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_S390_ADAPTER },
		{ .gsi = 5, .type = 0 },
		{ .gsi = 5, .type = 99 },
	};

	for (unsigned x2apic = 0; x2apic < 2; x2apic++) {
		struct machine m = machine_open(false, false);
		struct kvm_enable_cap cap = { .cap = KVM_CAP_X2APIC_API, .args = { 3 } };

		if (x2apic)
			ask(m.vm, KVM_ENABLE_CAP, &cap);
		ask(m.vm, KVM_CREATE_IRQCHIP, NULL);
		for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
			union {
				struct kvm_irq_routing table;
				uint8_t space[sizeof(struct kvm_irq_routing) + 2 * sizeof(list[0])];
			} u = { .table = { .nr = 1 } };

			u.table.entries[0] = list[i];
			printf("chips/route-%u-%u: %s", x2apic, i, answer(ask(m.vm, KVM_SET_GSI_ROUTING, &u)));
			u.table.nr = 2;
			u.table.entries[1] = list[i];
			printf(" twice %s", answer(ask(m.vm, KVM_SET_GSI_ROUTING, &u)));
			u.table.nr = 1;
			u.table.flags = 1;
			printf(" flags %s\n", answer(ask(m.vm, KVM_SET_GSI_ROUTING, &u)));
		}
		machine_close(&m);
	}
}

static void devices(void)
{
	static const struct kvm_device_attr attrs[] = {
		{ 0, 0, 0, 0 }, { 0, 0, 1, 0 }, { 0, 1, 0, 0 }, { 1, 0, 0, 0 }, { 0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, 0 },
	};
	struct machine m = open_chips(false);
	uint64_t value;

	for (uint32_t type = 0; type < 14; type++) {
		struct kvm_create_device d = { .type = type, .flags = KVM_CREATE_DEVICE_TEST };

		if (type != KVM_DEV_TYPE_VFIO)
			printf("chips/device-%u: %s\n", type, answer(ask(m.vm, KVM_CREATE_DEVICE, &d)));
	}
	for (unsigned i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		struct kvm_device_attr a = attrs[i];

		a.addr = (uintptr_t)&value;
		value = 0x123456;
		printf("chips/attr-%u: %s", i, answer(ask(m.vcpu, KVM_HAS_DEVICE_ATTR, &a)));
		printf(" %s", answer(ask(m.vcpu, KVM_SET_DEVICE_ATTR, &a)));
		printf(" %s", answer(ask(m.vcpu, KVM_GET_DEVICE_ATTR, &a)));
		printf(" %llx", (unsigned long long)value);
		a.addr = 8;
		printf(" bad address %s", answer(ask(m.vcpu, KVM_SET_DEVICE_ATTR, &a)));
		printf(" %s\n", answer(ask(m.vcpu, KVM_GET_DEVICE_ATTR, &a)));
	}
	machine_close(&m);
}

void test_chips(void)
{
	pit_creation();
	pit_writes();
	pit_sets();
	reinject();
	pic_writes();
	pic_sets();
	ioapic();
	lines();
	zones();
	routes();
	devices();
}
