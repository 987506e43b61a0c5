/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * irqfds (KVM document, KVM_IRQFD): a signal on an eventfd becomes an interrupt on a GSI. The host layer
 * calls us on a thread of its own after each signal, unless it could ask us at once and the interrupt was a message.
 *
 * A plain irqfd is an edge. One with a resamplefd is a level: the line stays high until the guest
 * acknowledges the GSI; then all resamplers of the GSI lower it once and signal their resamplefds, so that
 * whoever still wants the interrupt can raise it again.
 *
 * Unlike in KVM an irqfd does not vanish by itself when the VMM closes its last descriptor of the eventfd
 * without deassigning it: we hold one too. It then stays, silent, until the VM goes.
 */
#include "kvm/irq.h"
#include "kvm/irqchip.h"

/* One per GSI that has resampling irqfds. */
struct resampler {
	struct resampler *next;	/* srcu */
	struct irqfd *irqfds;	/* srcu: linked by resample_next */
	u32 gsi;
};

struct irqfd {
	struct irqfd *next;	/* ic->irqfd_lock */
	struct irqfd *resample_next; /* srcu */
	struct irqchip *ic;
	struct host_eventfd *event, *resample;
	struct resampler *resampler; /* NULL: edge */
	u32 gsi;
};

static void irqfd_signalled(void *arg)
{
	struct irqfd *f = arg;
	struct vm *vm = f->ic->vm;

	if (f->resampler) {
		irq_set_gsi(vm, IRQ_SOURCE_RESAMPLE, f->gsi, true, false);
		return;
	}
	irq_set_gsi(vm, IRQ_SOURCE_USER, f->gsi, true, false);
	irq_set_gsi(vm, IRQ_SOURCE_USER, f->gsi, false, false);
}

/* What comes from a device goes to LAPICs, without locks. */
static bool irqfd_signalled_now(void *arg)
{
	struct irqfd *f = arg;

	return !f->resampler && irq_try_msi(f->ic->vm, f->gsi);
}

/* ---- resamplers (changed with ic->irqfd_lock held) ---------------------------------------------- */

static struct resampler *find_resampler(struct irqchip *ic, u32 gsi)
{
	struct resampler *r = atomic_read_acquire(&ic->resamplers);

	while (r && r->gsi != gsi)
		r = atomic_read_acquire(&r->next);
	return r;
}

bool irqfd_has_resampler(struct irqchip *ic, u32 gsi)
{
	return find_resampler(ic, gsi);
}

void irqfd_acked(struct irqchip *ic, u32 gsi)
{
	struct resampler *r = find_resampler(ic, gsi);

	if (likely(!r))
		return;
	irq_set_gsi(ic->vm, IRQ_SOURCE_RESAMPLE, gsi, false, false);
	for (struct irqfd *f = atomic_read_acquire(&r->irqfds); f; f = atomic_read_acquire(&f->resample_next))
		host_eventfd_signal(f->resample, 1);
}

static int attach_resampler(struct irqchip *ic, struct irqfd *f)
{
	struct resampler *r = find_resampler(ic, f->gsi);

	if (!r) {
		r = host_alloc(sizeof(*r));
		if (!r)
			return -ENOMEM;
		r->gsi = f->gsi;
		r->next = ic->resamplers;
		atomic_set_release(&ic->resamplers, r);
	}
	f->resampler = r;
	f->resample_next = r->irqfds;
	atomic_set_release(&r->irqfds, f);
	return 0;
}

/* After it nobody signals f->resample any more. */
static void detach_resampler(struct irqchip *ic, struct irqfd *f)
{
	struct resampler *r = f->resampler;
	struct resampler **rp = &ic->resamplers;
	struct irqfd **fp = &r->irqfds;

	while (*fp != f)
		fp = &(*fp)->resample_next;
	atomic_set_release(fp, f->resample_next);
	if (!r->irqfds) {
		while (*rp != r)
			rp = &(*rp)->next;
		atomic_set_release(rp, r->next);
	}
	srcu_sync(&ic->srcu);
	if (r->irqfds)
		return;
	irq_set_gsi(ic->vm, IRQ_SOURCE_RESAMPLE, r->gsi, false, false);
	host_free(r);
}

/* ---- assign, deassign: ic->irqfd_lock held throughout ------------------------------------------- */

static void irqfd_free(struct irqfd *f)
{
	if (f->resample)
		host_eventfd_put(f->resample);
	if (f->event)
		host_eventfd_put(f->event);
	host_free(f);
}

/* f is off the list: no more interrupts come from it after this. */
static void irqfd_shutdown(struct irqchip *ic, struct irqfd *f)
{
	host_eventfd_unlisten(f->event, irqfd_signalled, f);
	if (f->resampler) {
		detach_resampler(ic, f);
		ioapic_rescan(&ic->ioapic);
	}
	irqfd_free(f);
}

static bool in_use(const struct irqchip *ic, const struct host_eventfd *event)
{
	for (const struct irqfd *f = ic->irqfds; f; f = f->next) {
		if (host_eventfd_same(f->event, event))
			return true;
	}
	return false;
}

static int irqfd_start(struct irqchip *ic, struct irqfd *f)
{
	int r = 0;

	if (in_use(ic, f->event))
		return -EBUSY;
	if (f->resample) {
		r = attach_resampler(ic, f);
		if (r)
			return r;
		ioapic_rescan(&ic->ioapic);
	}
	r = host_eventfd_listen(f->event, irqfd_signalled_now, irqfd_signalled, f);
	if (!r) {
		f->next = ic->irqfds;
		ic->irqfds = f;
	} else if (f->resampler) {
		detach_resampler(ic, f);
		ioapic_rescan(&ic->ioapic);
	}
	return r;
}

static int irqfd_assign(struct irqchip *ic, const struct kvm_irqfd *args)
{
	struct irqfd *f = host_alloc(sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->ic = ic;
	f->gsi = args->gsi;
	r = host_eventfd_get((int)args->fd, &f->event);
	if (!r && (args->flags & KVM_IRQFD_FLAG_RESAMPLE))
		r = host_eventfd_get((int)args->resamplefd, &f->resample);
	if (!r)
		r = irqfd_start(ic, f);
	if (r)
		irqfd_free(f);
	return r;
}

static struct irqfd *take_matching(struct irqchip *ic, const struct host_eventfd *event, u32 gsi)
{
	struct irqfd **p = &ic->irqfds, *f;

	while (*p && !((*p)->gsi == gsi && host_eventfd_same((*p)->event, event)))
		p = &(*p)->next;
	f = *p;
	if (f)
		*p = f->next;
	return f;
}

static int irqfd_deassign(struct irqchip *ic, const struct kvm_irqfd *args)
{
	struct host_eventfd *event;
	struct irqfd *f;
	int r = host_eventfd_get((int)args->fd, &event);

	if (r)
		return r;
	while ((f = take_matching(ic, event, args->gsi)))
		irqfd_shutdown(ic, f);
	host_eventfd_put(event);
	return 0;
}

long vm_irqfd(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_irqfd args;
	struct irqchip *ic = vm->irqchip;
	enum irqchip_mode mode = atomic_read_acquire(&vm->irqchip_mode);
	long r;

	if (host_copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(u32)(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	host_mutex_lock(&ic->irqfd_lock);
	if (args.flags & KVM_IRQFD_FLAG_DEASSIGN)
		r = irqfd_deassign(ic, &args);
	else if (mode == IRQCHIP_NONE || ((args.flags & KVM_IRQFD_FLAG_RESAMPLE) && mode != IRQCHIP_KERNEL))
		r = -EINVAL;
	else
		r = irqfd_assign(ic, &args);
	host_mutex_unlock(&ic->irqfd_lock);
	return r;
}

void irqfd_stop_all(struct irqchip *ic)
{
	struct irqfd *f;

	host_mutex_lock(&ic->irqfd_lock);
	while ((f = ic->irqfds)) {
		ic->irqfds = f->next;
		irqfd_shutdown(ic, f);
	}
	host_mutex_unlock(&ic->irqfd_lock);
}
