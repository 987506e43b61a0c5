/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a vCPU's access to what is not memory goes before userspace is asked: LAPIC page, 8259, PIT,
 * IOAPIC, then ioeventfds, then coalesced zones.
 *
 * ioeventfds and zones of a bus are one immutable object, replaced whole under `lock` and read under srcu,
 * so that any number of vCPUs look up at once.
 *
 * The coalesced ring is one page for the VM, which every vCPU's file shows.
 */
#include "kvm/bus.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"
#include "kvm/pv.h"

#define MAX_DEVICES 1000 /* of a bus: KVM's NR_IOBUS_DEVS */
#define NR_BUSES 2
#define RING_SIZE 4096
/* KVM_COALESCED_MMIO_MAX without its PAGE_SIZE */
#define RING_ENTRIES \
	((u32)((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio)))

struct ioeventfd {
	u64 address, datamatch;
	u32 length;	/* 0: any */
	bool wildcard;
	struct host_eventfd *event;
};

struct bus_map {
	u32 nr_events, nr_zones;
	struct ioeventfd **event;	/* sorted by address */
	struct kvm_coalesced_mmio_zone *zone;
};

struct vm_bus {
	struct host_mutex lock;		/* i: writers */
	struct srcu srcu;
	struct bus_map *map[NR_BUSES];	/* srcu: MMIO, PIO */
	struct host_mutex ring_lock;	/* i */
	struct kvm_coalesced_mmio_ring *ring; /* c: written under ring_lock; shared with the VMM: never trusted */
};

/* ---- maps --------------------------------------------------------------------------------------- */

/* A map with room for these numbers, in one piece. */
static struct bus_map *map_alloc(u32 nr_events, u32 nr_zones)
{
	size_t size = sizeof(struct bus_map) + nr_events * sizeof(struct ioeventfd *) +
		      nr_zones * sizeof(struct kvm_coalesced_mmio_zone);
	struct bus_map *m = host_alloc(size);

	if (!m)
		return NULL;
	m->event = (struct ioeventfd **)(m + 1);
	m->zone = (struct kvm_coalesced_mmio_zone *)(m->event + nr_events);
	return m;
}

static u32 first_event(const struct bus_map *m, u64 address)
{
	u32 low = 0, high = m->nr_events;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (m->event[middle]->address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* for (i = first_event(m, address); event_at(m, i, address); i++) */
static struct ioeventfd *event_at(const struct bus_map *m, u32 i, u64 address)
{
	return i < m->nr_events && m->event[i]->address == address ? m->event[i] : NULL;
}

static void add_event(struct bus_map *m, struct ioeventfd *e)
{
	u32 i = first_event(m, e->address);

	while (event_at(m, i, e->address))
		i++;
	memmove(&m->event[i + 1], &m->event[i], (m->nr_events - i) * sizeof(e));
	m->event[i] = e;
	m->nr_events++;
}

/* A copy of the bus's map with room for one more of each, without the event `skip`. */
static struct bus_map *map_copy(const struct bus_map *old, const struct ioeventfd *skip)
{
	struct bus_map *m = map_alloc(old->nr_events + 1, old->nr_zones + 1);

	if (!m)
		return NULL;
	for (u32 i = 0; i < old->nr_events; i++) {
		if (old->event[i] != skip)
			m->event[m->nr_events++] = old->event[i];
	}
	memcpy(m->zone, old->zone, old->nr_zones * sizeof(m->zone[0]));
	m->nr_zones = old->nr_zones;
	return m;
}

static void map_replace(struct vm_bus *bus, unsigned which, struct bus_map *m)
{
	struct bus_map *old = bus->map[which];

	atomic_set_release(&bus->map[which], m);
	srcu_sync(&bus->srcu);
	host_free(old);
}

/* ---- ioeventfd (document, KVM_IOEVENTFD) -------------------------------------------------------- */

static bool collides(const struct bus_map *m, const struct ioeventfd *e)
{
	const struct ioeventfd *o;

	for (u32 i = first_event(m, e->address); (o = event_at(m, i, e->address)); i++) {
		if (!o->length || !e->length)
			return true;
		if (o->length == e->length && (o->wildcard || e->wildcard || o->datamatch == e->datamatch))
			return true;
	}
	return false;
}

static int check_ioeventfd(const struct kvm_ioeventfd *args)
{
	if (args->len > 8 || (args->len & (args->len - 1)))
		return -EINVAL;
	if (args->addr + args->len < args->addr)
		return -EINVAL;
	if (args->flags & ~(u32)(KVM_IOEVENTFD_VALID_FLAG_MASK & ~KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY))
		return -EINVAL;
	if (!args->len && (args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH))
		return -EINVAL;
	return 0;
}

static int add_ioeventfd(struct vm_bus *bus, unsigned which, struct ioeventfd *e)
{
	struct bus_map *m;

	if (collides(bus->map[which], e))
		return -EEXIST;
	m = map_copy(bus->map[which], NULL);
	if (!m)
		return -ENOMEM;
	add_event(m, e);
	map_replace(bus, which, m);
	return 0;
}

static int assign_ioeventfd(struct vm_bus *bus, const struct kvm_ioeventfd *args)
{
	struct ioeventfd *e;
	int r = check_ioeventfd(args);

	if (r)
		return r;
	e = host_alloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->address = args->addr;
	e->length = args->len;
	e->wildcard = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	e->datamatch = e->wildcard ? 0 : args->datamatch;
	r = host_eventfd_get(args->fd, &e->event);
	if (r)
		goto fail;
	host_mutex_lock(&bus->lock);
	r = add_ioeventfd(bus, !!(args->flags & KVM_IOEVENTFD_FLAG_PIO), e);
	host_mutex_unlock(&bus->lock);
	if (!r)
		return 0;
	host_eventfd_put(e->event);
fail:
	host_free(e);
	return r;
}

static struct ioeventfd *find_ioeventfd(const struct bus_map *m, const struct kvm_ioeventfd *args,
					const struct host_eventfd *event)
{
	bool wildcard = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);

	struct ioeventfd *e;

	for (u32 i = first_event(m, args->addr); (e = event_at(m, i, args->addr)); i++) {
		bool same = wildcard || e->datamatch == args->datamatch;

		same = same && e->length == args->len && e->wildcard == wildcard;
		if (same && host_eventfd_same(e->event, event))
			return e;
	}
	return NULL;
}

static int deassign_ioeventfd(struct vm_bus *bus, const struct kvm_ioeventfd *args)
{
	unsigned which = !!(args->flags & KVM_IOEVENTFD_FLAG_PIO);
	struct host_eventfd *event;
	struct ioeventfd *e;
	struct bus_map *m;
	int r = host_eventfd_get(args->fd, &event);

	if (r)
		return r;
	host_mutex_lock(&bus->lock);
	e = find_ioeventfd(bus->map[which], args, event);
	m = e ? map_copy(bus->map[which], e) : NULL;
	if (m)
		map_replace(bus, which, m);
	host_mutex_unlock(&bus->lock);
	host_eventfd_put(event);
	if (!e)
		return -ENOENT;
	if (!m)
		return -ENOMEM;
	host_eventfd_put(e->event);
	host_free(e);
	return 0;
}

long vm_ioeventfd(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_ioeventfd args;

	if (host_copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return deassign_ioeventfd(vm->bus, &args);
	return assign_ioeventfd(vm->bus, &args);
}

static bool event_write(const struct bus_map *m, u64 address, u64 value, unsigned size)
{
	const struct ioeventfd *e;

	for (u32 i = first_event(m, address); (e = event_at(m, i, address)); i++) {
		if (e->length && (e->length != size || !(e->wildcard || e->datamatch == value)))
			continue;
		host_eventfd_signal(e->event, 1);
		return true;
	}
	return false;
}

/* ---- coalesced zones (document, KVM_REGISTER_COALESCED_MMIO) ------------------------------------ */

static bool within(const struct kvm_coalesced_mmio_zone *z, u64 address, u64 size)
{
	return address >= z->addr && address + size >= address && address + size <= z->addr + z->size;
}

static long read_zone(unsigned long arg, struct kvm_coalesced_mmio_zone *zone)
{
	if (host_copy_from_user(zone, arg, sizeof(*zone)))
		return -EFAULT;
	return zone->pio > 1 ? -EINVAL : 0;
}

/* Devices that KVM has on its bus beside the zones; ioeventfds do not count. */
static u32 other_devices(const struct vm *vm, bool pio)
{
	bool irqchip = vm->irqchip_mode == IRQCHIP_KERNEL;
	const struct pit *pit = atomic_read_acquire(&vm->irqchip->pit);

	if (!pio)
		return irqchip ? 1 : 0;
	return (irqchip ? 3 : 0) + (pit ? 1u + pit->speaker : 0);
}

long vm_register_coalesced(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct vm_bus *bus = vm->bus;
	struct kvm_coalesced_mmio_zone zone;
	struct bus_map *m = NULL;
	long r = read_zone(arg, &zone);

	if (r)
		return r;
	host_mutex_lock(&bus->lock);
	if (bus->map[zone.pio]->nr_zones + other_devices(vm, zone.pio) >= MAX_DEVICES)
		r = -ENOSPC;
	else
		m = map_copy(bus->map[zone.pio], NULL);
	if (m) {
		m->zone[m->nr_zones++] = zone;
		map_replace(bus, zone.pio, m);
	} else if (!r) {
		r = -ENOMEM;
	}
	host_mutex_unlock(&bus->lock);
	return r;
}

/* Takes away every zone that contains the given one. */
long vm_unregister_coalesced(void *object, unsigned long arg)
{
	struct vm_bus *bus = ((struct vm *)object)->bus;
	struct kvm_coalesced_mmio_zone zone;
	struct bus_map *m;
	u32 kept = 0;
	long r = read_zone(arg, &zone);

	if (r)
		return r;
	host_mutex_lock(&bus->lock);
	m = map_copy(bus->map[zone.pio], NULL);
	if (m) {
		for (u32 i = 0; i < m->nr_zones; i++) {
			if (!within(&m->zone[i], zone.addr, zone.size))
				m->zone[kept++] = m->zone[i];
		}
		m->nr_zones = kept;
		map_replace(bus, zone.pio, m);
	}
	host_mutex_unlock(&bus->lock);
	return m ? 0 : -ENOMEM;
}

/*
 * Puts a write into the ring; false if it is full. Userspace owns `first`, and may write anything anywhere
 * in it.
 */
static bool ring_put(struct kvm_coalesced_mmio_ring *ring, u64 address, u64 value, unsigned size, bool pio)
{
	u32 last = atomic_read(&ring->last), first = atomic_read_acquire(&ring->first);
	struct kvm_coalesced_mmio *slot;

	if (last >= RING_ENTRIES || (last + 1) % RING_ENTRIES == first)
		return false;
	slot = &ring->coalesced_mmio[last];
	slot->phys_addr = address;
	slot->len = size;
	slot->pio = pio;
	memcpy(slot->data, &value, sizeof(slot->data));
	atomic_set_release(&ring->last, (last + 1) % RING_ENTRIES);
	return true;
}

static bool zone_write(struct vm *vm, const struct bus_map *m, bool pio, u64 address, u64 value,
		       unsigned size)
{
	struct vm_bus *bus = vm->bus;
	bool done;
	u32 i = 0;

	while (i < m->nr_zones && !within(&m->zone[i], address, size))
		i++;
	if (i == m->nr_zones)
		return false;
	host_mutex_lock(&bus->ring_lock);
	done = ring_put(bus->ring, address, value, size, pio);
	host_mutex_unlock(&bus->ring_lock);
	return done;
}

void *vm_bus_ring(struct vm *vm)
{
	return vm->bus->ring;
}

/* ---- devices ------------------------------------------------------------------------------------ */

/*
 * Inside the LAPIC's page. Without the LAPIC_MMIO_HOLE quirk, a disabled or x2APIC LAPIC leaves the page to
 * userspace.
 */
static bool in_lapic(const struct vcpu *vcpu, u64 gpa, bool *hole)
{
	const struct lapic *l = vcpu->apic;

	if (!l || gpa - (l->base & APIC_BASE_ADDRESS) >= APIC_MMIO_SIZE)
		return false;
	*hole = !lapic_enabled_hw(l) || lapic_x2apic(l);
	return !(*hole && (atomic_read(&vcpu->vm->disabled_quirks) & KVM_X86_QUIRK_LAPIC_MMIO_HOLE));
}

static bool in_ioapic(const struct vm *vm, u64 gpa)
{
	return vm->irqchip_mode == IRQCHIP_KERNEL && gpa - IOAPIC_BASE < IOAPIC_MMIO_SIZE &&
	       gpa - vm->irqchip->ioapic.base < IOAPIC_MMIO_SIZE;
}

static bool device_mmio_read(struct vcpu *vcpu, u64 gpa, void *data, unsigned size)
{
	bool hole;

	if (in_lapic(vcpu, gpa, &hole)) {
		vcpu_irq_settle(vcpu);
		if (hole)
			memset(data, 0xff, size);
		else
			lapic_mmio_read(vcpu->apic, gpa & (APIC_MMIO_SIZE - 1), data, size);
		return true;
	}
	if (!in_ioapic(vcpu->vm, gpa))
		return false;
	ioapic_mmio_read(&vcpu->vm->irqchip->ioapic, gpa & (IOAPIC_MMIO_SIZE - 1), data, size);
	return true;
}

static bool device_mmio_write(struct vcpu *vcpu, u64 gpa, const void *data, unsigned size)
{
	bool hole;

	if (in_lapic(vcpu, gpa, &hole)) {
		vcpu_irq_settle(vcpu);
		if (!hole)
			lapic_mmio_write(vcpu->apic, gpa & (APIC_MMIO_SIZE - 1), data, size);
		return true;
	}
	if (!in_ioapic(vcpu->vm, gpa))
		return false;
	ioapic_mmio_write(&vcpu->vm->irqchip->ioapic, gpa & (IOAPIC_MMIO_SIZE - 1), data, size);
	return true;
}

static bool device_pio_read(struct vm *vm, u64 port, u8 *data, unsigned size)
{
	struct pit *pit = atomic_read_acquire(&vm->irqchip->pit);

	if (pit && pit_has_port(pit, port)) {
		memset(data, 0, size);
		data[0] = pit_read(pit, (u16)port);
		return true;
	}
	if (vm->irqchip_mode != IRQCHIP_KERNEL || !pic_has_port(port))
		return false;
	memset(data, 0, size);
	if (size == 1)
		data[0] = pic_read(&vm->irqchip->pic, (u16)port);
	return true;
}

static bool device_pio_write(struct vm *vm, u64 port, const u8 *data, unsigned size)
{
	struct pit *pit = atomic_read_acquire(&vm->irqchip->pit);

	if (pit && pit_has_port(pit, port)) {
		pit_write(pit, (u16)port, data[0]);
		return true;
	}
	if (vm->irqchip_mode != IRQCHIP_KERNEL || !pic_has_port(port))
		return false;
	if (size == 1)
		pic_write(&vm->irqchip->pic, (u16)port, data[0]);
	return true;
}

bool vcpu_bus_read(struct vcpu *vcpu, bool pio, u64 address, void *data, unsigned size)
{
	if (pio)
		return device_pio_read(vcpu->vm, address, data, size);
	return device_mmio_read(vcpu, address, data, size);
}

bool vcpu_bus_write(struct vcpu *vcpu, bool pio, u64 address, const void *data, unsigned size)
{
	struct vm_bus *bus = vcpu->vm->bus;
	const struct bus_map *m;
	u64 value = 0;
	u32 *section;
	bool done;

	done = pio ? device_pio_write(vcpu->vm, address, data, size)
		   : device_mmio_write(vcpu, address, data, size);
	if (done)
		return true;
	memcpy(&value, data, size);
	section = srcu_enter(&bus->srcu);
	m = atomic_read_acquire(&bus->map[pio]);
	done = event_write(m, address, value, size) || zone_write(vcpu->vm, m, pio, address, value, size);
	srcu_leave(section);
	return done;
}

/* ---- life --------------------------------------------------------------------------------------- */

int vm_bus_create(struct vm *vm)
{
	struct vm_bus *bus = host_alloc(sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	host_mutex_init(&bus->lock);
	host_mutex_init(&bus->ring_lock);
	srcu_init(&bus->srcu);
	for (unsigned i = 0; i < NR_BUSES; i++)
		bus->map[i] = map_alloc(0, 0);
	bus->ring = host_alloc_shared(RING_SIZE);
	vm->bus = bus;
	if (bus->map[0] && bus->map[1] && bus->ring)
		return 0;
	vm_bus_destroy(vm);
	return -ENOMEM;
}

void vm_bus_destroy(struct vm *vm)
{
	struct vm_bus *bus = vm->bus;

	for (unsigned i = 0; bus && i < NR_BUSES; i++) {
		for (u32 n = 0; bus->map[i] && n < bus->map[i]->nr_events; n++) {
			host_eventfd_put(bus->map[i]->event[n]->event);
			host_free(bus->map[i]->event[n]);
		}
		host_free(bus->map[i]);
	}
	if (bus)
		host_free_shared(bus->ring, RING_SIZE);
	host_free(bus);
	vm->bus = NULL;
}
