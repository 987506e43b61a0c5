/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * GSI routes (KVM document, KVM_SET_GSI_ROUTING): a sorted, immutable table that readers find under srcu
 * and writers replace whole.
 */
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"

static struct irq_routes *routes_alloc(u32 count)
{
	struct irq_routes *t = host_alloc(sizeof(*t) + count * sizeof(t->route[0]));

	if (!t)
		return NULL;
	for (u32 chip = 0; chip < IRQ_CHIPS; chip++) {
		for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
			t->gsi_of[chip][pin] = -1;
	}
	return t;
}

static u32 lower_bound(const struct irq_routes *t, u32 gsi)
{
	u32 low = 0, high = t->count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (t->route[middle].gsi < gsi)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned irq_routes_of_gsi(struct irqchip *ic, u32 gsi, struct irq_route out[IRQ_CHIPS])
{
	u32 *section = srcu_enter(&ic->srcu);
	const struct irq_routes *t = atomic_read_acquire(&ic->routes);
	unsigned n = 0;

	for (u32 i = lower_bound(t, gsi); i < t->count && t->route[i].gsi == gsi && n < IRQ_CHIPS; i++)
		out[n++] = t->route[i];
	srcu_leave(section);
	return n;
}

s32 irq_gsi_of_pin(const struct irqchip *ic, u32 chip, u32 pin)
{
	/* The slave's pins are numbered 8..15 on the pair of 8259. */
	if (chip >= IRQ_CHIPS || pin >= IOAPIC_PINS)
		return -1;
	return atomic_read_acquire(&ic->routes)->gsi_of[index_nospec(chip, IRQ_CHIPS)][index_nospec(pin, IOAPIC_PINS)];
}

/* ---- building a table --------------------------------------------------------------------------- */

bool irq_msi_valid(const struct vm *vm, u64 address)
{
	return !(vm->x2apic_ids32 && (address >> 32 & 0xff));
}

static int convert_irqchip(const struct kvm_irq_routing_entry *u, struct irq_route *r)
{
	r->chip = u->u.irqchip.irqchip;
	r->pin = u->u.irqchip.pin;
	switch (r->chip) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		if (r->pin >= PIC_PINS / 2)
			return -EINVAL;
		r->pin += r->chip == KVM_IRQCHIP_PIC_SLAVE ? PIC_PINS / 2 : 0;
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		return r->pin < IOAPIC_PINS ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int convert(const struct vm *vm, const struct kvm_irq_routing_entry *u, struct irq_route *r)
{
	*r = (struct irq_route){ .gsi = u->gsi, .type = u->type };
	if (u->gsi >= IRQ_MAX_ROUTES)
		return -EINVAL;
	switch (u->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (u->flags || vm->irqchip_mode == IRQCHIP_SPLIT)
			return -EINVAL;
		return convert_irqchip(u, r);
	case KVM_IRQ_ROUTING_MSI:
		if (u->flags & ~(u32)KVM_MSI_VALID_DEVID)
			return -EINVAL;
		r->msi_address = (u64)u->u.msi.address_hi << 32 | u->u.msi.address_lo;
		r->msi_data = u->u.msi.data;
		return irq_msi_valid(vm, r->msi_address) ? 0 : -EINVAL;
	case KVM_IRQ_ROUTING_XEN_EVTCHN:
		if (u->flags || u->u.xen_evtchn.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
			return -EINVAL;
		r->vp = u->u.xen_evtchn.vcpu;
		r->pin = u->u.xen_evtchn.port;
		return 0;
	case KVM_IRQ_ROUTING_HV_SINT:
		if (u->flags)
			return -EINVAL;
		r->vp = u->u.hv_sint.vcpu;
		r->pin = u->u.hv_sint.sint;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Keeps the table sorted; a GSI leads either to one MSI or to pins of different chips. */
static int insert(struct irq_routes *t, const struct irq_route *r)
{
	u32 i = lower_bound(t, r->gsi);

	for (; i < t->count && t->route[i].gsi == r->gsi; i++) {
		const struct irq_route *other = &t->route[i];

		if (other->type != KVM_IRQ_ROUTING_IRQCHIP || r->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    other->chip == r->chip)
			return -EINVAL;
	}
	memmove(&t->route[i + 1], &t->route[i], (t->count - i) * sizeof(*r));
	t->route[i] = *r;
	t->count++;
	if (r->type == KVM_IRQ_ROUTING_IRQCHIP)
		t->gsi_of[r->chip][r->pin] = (s32)r->gsi;
	return 0;
}

static void publish(struct irqchip *ic, struct irq_routes *t)
{
	struct irq_routes *old;

	host_mutex_lock(&ic->lock);
	old = ic->routes;
	atomic_set_release(&ic->routes, t);
	srcu_sync(&ic->srcu);
	host_free(old);
	for (u32 i = 0; i < t->count; i++) {
		if (t->route[i].type == KVM_IRQ_ROUTING_HV_SINT)
			vm_hyperv_route_sint(ic->vm, t->route[i].vp, t->route[i].pin, t->route[i].gsi);
	}
	host_mutex_unlock(&ic->lock); /* t is the next one's to free */
	ioapic_rescan(&ic->ioapic);
}

static long read_routes(struct vm *vm, u64 entries, u32 nr, struct irq_routes *t)
{
	struct kvm_irq_routing_entry u;
	struct irq_route r;

	for (u32 i = 0; i < nr; i++) {
		if (host_copy_from_user(&u, entries + i * sizeof(u), sizeof(u)))
			return -EFAULT;
		if (convert(vm, &u, &r) || insert(t, &r))
			return -EINVAL;
	}
	return 0;
}

long vm_set_gsi_routing(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_irq_routing header;
	struct irq_routes *t;
	long r;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (vm->irqchip_mode == IRQCHIP_NONE || header.nr > IRQ_MAX_ROUTES || header.flags)
		return -EINVAL;
	t = routes_alloc(header.nr);
	if (!t)
		return -ENOMEM;
	r = read_routes(vm, arg + sizeof(header), header.nr, t);
	if (r)
		host_free(t);
	else
		publish(vm->irqchip, t);
	return r;
}

long vm_signal_msi(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_msi msi;
	u64 address;

	if (host_copy_from_user(&msi, arg, sizeof(msi)))
		return -EFAULT;
	address = (u64)msi.address_hi << 32 | msi.address_lo;
	if (vm->irqchip_mode == IRQCHIP_NONE || (msi.flags & ~(u32)KVM_MSI_VALID_DEVID) ||
	    !irq_msi_valid(vm, address))
		return -EINVAL;
	return irq_deliver_msi(vm, address, msi.data);
}

/* ---- life --------------------------------------------------------------------------------------- */

/* What KVM_CREATE_IRQCHIP sets up: GSI n to pin n of the IOAPIC and, below 16, of the PICs. */
int irq_routing_default(struct irqchip *ic)
{
	struct irq_routes *t = routes_alloc(IOAPIC_PINS + PIC_PINS);

	if (!t)
		return -ENOMEM;
	for (u32 gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		struct irq_route io = {
			.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .chip = KVM_IRQCHIP_IOAPIC, .pin = gsi,
		};
		struct irq_route pic = io;

		pic.chip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		insert(t, &io);
		if (gsi < PIC_PINS)
			insert(t, &pic);
	}
	publish(ic, t);
	return 0;
}

int irq_routing_create(struct irqchip *ic)
{
	ic->routes = routes_alloc(0);
	return ic->routes ? 0 : -ENOMEM;
}

void irq_routing_destroy(struct irqchip *ic)
{
	host_free(ic->routes);
	ic->routes = NULL;
}
