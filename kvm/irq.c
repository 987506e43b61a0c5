/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VM's interrupt controllers: creation, wiring of the chips to each other, and the ioctls that concern
 * them.
 *
 * The way of an interrupt: irq_set_gsi() -> routes -> PIC pin, IOAPIC pin or MSI -> irq_deliver() (deliver.c) ->
 * lapic_accept() of the vCPUs that are named -> a bit in IRR and a kick. Back: EOI on the vCPU's thread ->
 * IOAPIC or PIC -> irq_acked() -> whoever waits for the GSI (PIT, resampling irqfds).
 */
#include "kvm/irq.h"
#include "kvm/bus.h"
#include "kvm/hyperv.h"
#include "kvm/irqchip.h"
#include "kvm/xen.h"

/* ---- routes -------------------------------------------------------------------------------------- */

static int set_route(struct vm *vm, const struct irq_route *route, enum irq_source source, bool level,
		     bool line_status)
{
	struct irqchip *ic = vm->irqchip;

	if (route->type == KVM_IRQ_ROUTING_MSI) {
		if (!irq_msi_valid(vm, route->msi_address))
			return -EINVAL;
		return level ? irq_deliver_msi(vm, route->msi_address, route->msi_data) : -1;
	}
	if (route->type == KVM_IRQ_ROUTING_HV_SINT)
		return level ? vm_hyperv_raise_sint(vm, route->vp, route->pin) : -1;
	if (route->type == KVM_IRQ_ROUTING_XEN_EVTCHN)
		return level ? vm_xen_raise(vm, route->vp, route->pin) : -1;
	if (route->chip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_pin(&ic->ioapic, route->pin, source, level, line_status);
	return pic_set_pin(&ic->pic, route->pin, source, level);
}

int irq_set_gsi(struct vm *vm, enum irq_source source, u32 gsi, bool level, bool line_status)
{
	struct irq_route route[IRQ_CHIPS];
	unsigned n = irq_routes_of_gsi(vm->irqchip, gsi, route);
	int r = -1;

	for (unsigned i = 0; i < n; i++) {
		int one = set_route(vm, &route[i], source, level, line_status);

		if (one >= 0)
			r = (r < 0 ? 0 : r) + one;
	}
	return r;
}

bool irq_try_msi(struct vm *vm, u32 gsi)
{
	struct irq_route route[IRQ_CHIPS];
	unsigned n = irq_routes_of_gsi(vm->irqchip, gsi, route);

	for (unsigned i = 0; i < n; i++) {
		if (route[i].type != KVM_IRQ_ROUTING_MSI)
			return false;
	}
	for (unsigned i = 0; i < n; i++)
		set_route(vm, &route[i], IRQ_SOURCE_USER, true, false);
	return true;
}

/* ---- wiring of the chips ------------------------------------------------------------------------ */

static void irq_acked(struct irqchip *ic, u32 chip, u32 pin)
{
	u32 *section = srcu_enter(&ic->srcu);
	struct pit *pit = atomic_read_acquire(&ic->pit);
	s32 gsi = irq_gsi_of_pin(ic, chip, pin);

	if (gsi == 0 && pit)
		pit_acked(pit);
	if (gsi >= 0)
		irqfd_acked(ic, (u32)gsi);
	srcu_leave(section);
}

static void pin_masked(struct irqchip *ic, u32 chip, u32 pin, bool masked)
{
	u32 *section = srcu_enter(&ic->srcu);
	struct pit *pit = atomic_read_acquire(&ic->pit);

	if (pit && !masked && irq_gsi_of_pin(ic, chip, pin) == 0)
		pit_unmasked(pit);
	srcu_leave(section);
}

static u32 pic_chip(unsigned pin)
{
	return pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
}

static void chip_pic_raised(struct pic *pic)
{
	struct vm *vm = container_of(pic, struct irqchip, pic)->vm;
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->apic && lapic_accepts_extint(vcpu->apic)) {
			vcpu_request(vcpu, VCPU_REQ_EVENT | VCPU_REQ_DEVICE);
			return;
		}
	}
}

static void chip_pic_acked(struct pic *pic, unsigned pin)
{
	irq_acked(container_of(pic, struct irqchip, pic), pic_chip(pin), pin);
}

static void chip_pic_masked(struct pic *pic, unsigned pin, bool masked)
{
	pin_masked(container_of(pic, struct irqchip, pic), pic_chip(pin), pin, masked);
}

static const struct pic_ops pic_ops = {
	.raised = chip_pic_raised,
	.acked = chip_pic_acked,
	.masked = chip_pic_masked,
};

static int chip_ioapic_deliver(struct ioapic *io, struct apic_message *m)
{
	return irq_deliver(container_of(io, struct irqchip, ioapic)->vm, NULL, m);
}

static bool chip_ioapic_busy(struct ioapic *io, u32 dest, bool logical, u8 vector)
{
	struct vm *vm = container_of(io, struct irqchip, ioapic)->vm;
	bool quirk = !vm->x2apic_no_broadcast_quirk;
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->apic && lapic_enabled_hw(vcpu->apic) && lapic_matches(vcpu->apic, dest, logical, quirk) &&
		    lapic_vector_busy(vcpu->apic, vector))
			return true;
	}
	return false;
}

static bool chip_ioapic_has_notifier(struct ioapic *io, unsigned pin)
{
	struct irqchip *ic = container_of(io, struct irqchip, ioapic);
	u32 *section = srcu_enter(&ic->srcu);
	s32 gsi = irq_gsi_of_pin(ic, KVM_IRQCHIP_IOAPIC, pin);
	bool yes = gsi >= 0 && ((gsi == 0 && atomic_read(&ic->pit)) || irqfd_has_resampler(ic, (u32)gsi));

	srcu_leave(section);
	return yes;
}

static void chip_ioapic_masked(struct ioapic *io, unsigned pin, bool masked)
{
	pin_masked(container_of(io, struct irqchip, ioapic), KVM_IRQCHIP_IOAPIC, pin, masked);
}

static void chip_ioapic_acked(struct ioapic *io, unsigned pin)
{
	irq_acked(container_of(io, struct irqchip, ioapic), KVM_IRQCHIP_IOAPIC, pin);
}

static const struct ioapic_ops ioapic_ops = {
	.deliver = chip_ioapic_deliver,
	.busy = chip_ioapic_busy,
	.has_notifier = chip_ioapic_has_notifier,
	.masked = chip_ioapic_masked,
	.acked = chip_ioapic_acked,
};

/* The PIT's pulse goes to GSI 0 and, as NMI, to LAPICs whose LINT0 is set so (an old watchdog of Linux). */
static void chip_pit_tick(struct pit *pit)
{
	struct vm *vm = pit->owner;
	struct vcpu *vcpu;

	irq_set_gsi(vm, IRQ_SOURCE_PIT, 0, true, false);
	irq_set_gsi(vm, IRQ_SOURCE_PIT, 0, false, false);
	if (!atomic_read(&vm->irqchip->lint0_nmi_count))
		return;
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->apic)
			lapic_pulse_lint0(vcpu->apic);
	}
}

static const struct pit_ops pit_ops = {
	.tick = chip_pit_tick,
};

/* ---- life --------------------------------------------------------------------------------------- */

int vm_irq_create(struct vm *vm)
{
	struct irqchip *ic = host_alloc(sizeof(*ic));
	int r;

	if (!ic)
		return -ENOMEM;
	ic->vm = vm;
	srcu_init(&ic->srcu);
	host_mutex_init(&ic->irqfd_lock);
	host_mutex_init(&ic->lock);
	pic_create(&ic->pic, &pic_ops);
	ioapic_create(&ic->ioapic, &ioapic_ops);
	r = irq_routing_create(ic);
	if (!r) {
		vm->irqchip = ic;
		r = vm_bus_create(vm);
	}
	if (!r)
		return 0;
	irq_routing_destroy(ic);
	host_free(ic);
	vm->irqchip = NULL;
	return r;
}

/* No interrupt comes from outside after this: vCPUs may be destroyed. */
void vm_irq_stop(struct vm *vm)
{
	struct irqchip *ic = vm->irqchip;

	if (ic->stopped)
		return;
	ic->stopped = true;
	irqfd_stop_all(ic);
	if (ic->pit)
		pit_destroy(ic->pit);
	ioapic_destroy(&ic->ioapic);
}

void vm_irq_destroy(struct vm *vm)
{
	struct irqchip *ic = vm->irqchip;

	if (!ic)
		return;
	vm_irq_stop(vm);
	vm_bus_destroy(vm);
	host_free(ic->pit);
	irq_routing_destroy(ic);
	host_free(ic);
	vm->irqchip = NULL;
}

/* ---- ioctls ------------------------------------------------------------------------------------- */

static long vm_create_irqchip(void *object, unsigned long arg)
{
	struct vm *vm = object;
	long r;

	(void)arg;
	host_mutex_lock(&vm->lock);
	if (vm->irqchip_mode != IRQCHIP_NONE)
		r = -EEXIST;
	else if (vm->nr_vcpus)
		r = -EINVAL;
	else
		r = irq_routing_default(vm->irqchip);
	if (!r)
		atomic_set_release(&vm->irqchip_mode, IRQCHIP_KERNEL);
	host_mutex_unlock(&vm->lock);
	return r;
}

/* KVM_ENABLE_CAP of KVM_CAP_SPLIT_IRQCHIP; vm->lock held. */
int vm_enable_split_irqchip(struct vm *vm, u64 nr_routes)
{
	if (nr_routes > IRQ_SPLIT_MAX_PINS)
		return -EINVAL;
	if (vm->irqchip_mode != IRQCHIP_NONE || vm->nr_vcpus)
		return -EEXIST;
	vm->irqchip->eoi_pins = (u32)nr_routes;
	atomic_set_release(&vm->irqchip_mode, IRQCHIP_SPLIT);
	return 0;
}

static long create_pit(struct vm *vm, u32 flags)
{
	struct irqchip *ic = vm->irqchip;
	struct pit *pit;
	long r = 0;

	host_mutex_lock(&vm->lock);
	pit = host_alloc(sizeof(*pit));
	if (ic->pit) {
		r = -EEXIST;
	} else if (!pit) {
		r = -ENOMEM;
	} else {
		pit->owner = vm;
		pit_create(pit, &pit_ops, flags & KVM_PIT_SPEAKER_DUMMY, vm->irqchip_mode == IRQCHIP_KERNEL);
		atomic_set_release(&ic->pit, pit);
	}
	if (r)
		host_free(pit);
	host_mutex_unlock(&vm->lock);
	if (!r)
		ioapic_rescan(&ic->ioapic);
	return r;
}

static long vm_create_pit(void *object, unsigned long arg)
{
	(void)arg;
	return create_pit(object, KVM_PIT_SPEAKER_DUMMY);
}

static long vm_create_pit2(void *object, unsigned long arg)
{
	struct kvm_pit_config config;

	if (host_copy_from_user(&config, arg, sizeof(config)))
		return -EFAULT;
	return create_pit(object, config.flags);
}

static long irq_line(struct vm *vm, unsigned long arg, bool status)
{
	struct kvm_irq_level line;

	if (host_copy_from_user(&line, arg, sizeof(line)))
		return -EFAULT;
	if (atomic_read_acquire(&vm->irqchip_mode) == IRQCHIP_NONE)
		return -ENXIO;
	line.status = irq_set_gsi(vm, IRQ_SOURCE_USER, line.irq, line.level, status);
	return status ? host_copy_to_user(arg, &line, sizeof(line)) : 0;
}

static long vm_irq_line(void *object, unsigned long arg)
{
	return irq_line(object, arg, false);
}

static long vm_irq_line_status(void *object, unsigned long arg)
{
	return irq_line(object, arg, true);
}

static long vm_get_irqchip(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_irqchip chip;

	if (host_copy_from_user(&chip, arg, sizeof(chip)))
		return -EFAULT;
	if (vm->irqchip_mode != IRQCHIP_KERNEL)
		return -ENXIO;
	if (chip.chip_id == KVM_IRQCHIP_PIC_MASTER || chip.chip_id == KVM_IRQCHIP_PIC_SLAVE)
		pic_get_state(&vm->irqchip->pic, chip.chip_id, &chip.chip.pic);
	else if (chip.chip_id == KVM_IRQCHIP_IOAPIC)
		ioapic_get_state(&vm->irqchip->ioapic, &chip.chip.ioapic);
	else
		return -EINVAL;
	return host_copy_to_user(arg, &chip, sizeof(chip));
}

static long vm_set_irqchip(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_irqchip chip;

	if (host_copy_from_user(&chip, arg, sizeof(chip)))
		return -EFAULT;
	if (vm->irqchip_mode != IRQCHIP_KERNEL)
		return -ENXIO;
	if (chip.chip_id == KVM_IRQCHIP_PIC_MASTER || chip.chip_id == KVM_IRQCHIP_PIC_SLAVE)
		pic_set_state(&vm->irqchip->pic, chip.chip_id, &chip.chip.pic);
	else if (chip.chip_id == KVM_IRQCHIP_IOAPIC)
		ioapic_set_state(&vm->irqchip->ioapic, &chip.chip.ioapic);
	else
		return -EINVAL;
	return 0;
}

static struct pit *get_pit(struct vm *vm)
{
	return atomic_read_acquire(&vm->irqchip->pit);
}

static long vm_get_pit(void *object, unsigned long arg)
{
	struct pit *pit = get_pit(object);
	struct kvm_pit_state2 s;

	/* KVM reads the structure before it looks for a PIT */
	if (host_copy_from_user(s.channels, arg, sizeof(struct kvm_pit_state)))
		return -EFAULT;
	if (!pit)
		return -ENXIO;
	pit_get_state(pit, &s);
	return host_copy_to_user(arg, s.channels, sizeof(struct kvm_pit_state));
}

static long vm_set_pit(void *object, unsigned long arg)
{
	struct pit *pit = get_pit(object);
	struct kvm_pit_state2 s = { .flags = 0 };

	if (host_copy_from_user(s.channels, arg, sizeof(struct kvm_pit_state)))
		return -EFAULT;
	if (!pit)
		return -ENXIO;
	pit_set_state(pit, &s, false);
	return 0;
}

static long vm_get_pit2(void *object, unsigned long arg)
{
	struct pit *pit = get_pit(object);
	struct kvm_pit_state2 s;

	if (!pit)
		return -ENXIO;
	pit_get_state(pit, &s);
	return host_copy_to_user(arg, &s, sizeof(s));
}

static long vm_set_pit2(void *object, unsigned long arg)
{
	struct pit *pit = get_pit(object);
	struct kvm_pit_state2 s;

	if (host_copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	if (!pit)
		return -ENXIO;
	pit_set_state(pit, &s, true);
	return 0;
}

static long vm_reinject_control(void *object, unsigned long arg)
{
	struct pit *pit = get_pit(object);
	struct kvm_reinject_control control;

	if (host_copy_from_user(&control, arg, sizeof(control)))
		return -EFAULT;
	if (!pit)
		return -ENXIO;
	pit_set_reinject(pit, control.pit_reinject);
	return 0;
}

const struct ioctl_row vm_irq_ioctls[] = {
	{ KVM_IRQ_LINE, vm_irq_line },
	{ KVM_IRQ_LINE_STATUS, vm_irq_line_status },
	{ KVM_SIGNAL_MSI, vm_signal_msi },
	{ KVM_SET_GSI_ROUTING, vm_set_gsi_routing },
	{ KVM_IRQFD, vm_irqfd },
	{ KVM_IOEVENTFD, vm_ioeventfd },
	{ KVM_REGISTER_COALESCED_MMIO, vm_register_coalesced },
	{ KVM_UNREGISTER_COALESCED_MMIO, vm_unregister_coalesced },
	{ KVM_CREATE_IRQCHIP, vm_create_irqchip },
	{ KVM_GET_IRQCHIP, vm_get_irqchip },
	{ KVM_SET_IRQCHIP, vm_set_irqchip },
	{ KVM_CREATE_PIT, vm_create_pit },
	{ KVM_CREATE_PIT2, vm_create_pit2 },
	{ KVM_GET_PIT, vm_get_pit },
	{ KVM_SET_PIT, vm_set_pit },
	{ KVM_GET_PIT2, vm_get_pit2 },
	{ KVM_SET_PIT2, vm_set_pit2 },
	{ KVM_REINJECT_CONTROL, vm_reinject_control },
	{ 0, NULL },
};
