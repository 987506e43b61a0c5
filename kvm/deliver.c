/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whom an interrupt message reaches (SDM vol. 3, 11.6), by KVM's rules where the manuals leave a choice or KVM takes one:
 *
 *  - Directed messages name one processor, or in logical modes one for each bit: the last whose lowest LDR bit is that. One that
 *    names nobody is delivered to none (0).
 *  - Lowest priority in logical modes chooses among the bits that are set, by the vector; if nobody has the chosen bit the
 *    message is lost. Else, and for shorthands, it chooses among those that are named and enabled.
 *  - Broadcasts, shorthands, logical messages while processors differ in mode, and all messages of a VM without vCPUs go to
 *    whoever matches (-1: nobody).
 *
 * Nothing is locked: a guest that changes its APICs while messages are on the way gets the old or the new.
 */
#include "kvm/irq.h"
#include "kvm/irqchip.h"

#define XAPIC_BROADCAST 0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define CLUSTER_BITS 16u

/* In which way all APICs that are enabled, and have a logical id, understand logical destinations. */
#define MODE_FLAT BIT(0)
#define MODE_CLUSTER BIT(1)
#define MODE_X2APIC BIT(2)

static bool present(const struct vcpu *vcpu)
{
	return vcpu->apic && lapic_enabled_hw(vcpu->apic);
}

static int deliver_to(struct vcpu *vcpu, const struct apic_message *m)
{
	return vcpu ? lapic_accept(vcpu->apic, m) : 0;
}

/* ---- one processor, or one for each bit ------------------------------------------------------------------------ */

/* The id leads to its vCPU unless the guest has renumbered its APICs. */
static struct vcpu *find_physical(struct vm *vm, u32 dest)
{
	struct vcpu *vcpu = vm_vcpu_by_id(vm, dest);

	if (vcpu && present(vcpu) && lapic_has_id(vcpu->apic, dest))
		return vcpu;
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (present(vcpu) && lapic_has_id(vcpu->apic, dest))
			return vcpu;
	}
	return NULL;
}

/* Who has each bit of a logical destination. */
struct members {
	struct vcpu *vcpu[CLUSTER_BITS];
	u32 bits; /* of the destination: those that can be chosen */
};

/* All APICs are in x2APIC mode: cluster and bit are the id. KVM's table ends with the largest id. */
static void x2apic_members(struct vm *vm, u32 dest, struct members *members)
{
	u32 first = dest >> 16 << 4, largest = 0xff;
	struct vcpu *vcpu;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (!present(vcpu))
			continue;
		if (vcpu->id > largest)
			largest = vcpu->id;
		if (vcpu->id >> 4 == first >> 4)
			members->vcpu[vcpu->id & 15] = vcpu;
	}
	members->bits = first > largest ? 0 : dest & 0xffff;
	if (largest - first < CLUSTER_BITS && first <= largest)
		members->bits &= 0xffff >> (CLUSTER_BITS - 1 - (largest - first));
}

/* The mode of all; what is in flat, and in the destination's cluster. */
static u32 xapic_members(struct vm *vm, u32 dest, struct members *flat, struct members *cluster)
{
	struct vcpu *vcpu;
	u32 mode = 0;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		bool is_flat;
		u8 id;

		if (!present(vcpu) || !lapic_enabled_sw(vcpu->apic))
			continue;
		if (lapic_x2apic(vcpu->apic)) {
			mode |= MODE_X2APIC;
			continue;
		}
		id = lapic_logical_id(vcpu->apic, &is_flat);
		if (!id)
			continue;
		mode |= is_flat ? MODE_FLAT : MODE_CLUSTER;
		if (is_flat)
			flat->vcpu[__builtin_ctz(id)] = vcpu;
		else if ((id & 15) && id >> 4 == (dest >> 4 & 15))
			cluster->vcpu[__builtin_ctz(id)] = vcpu;
	}
	flat->bits = dest & 0xff;
	cluster->bits = dest & 15;
	return mode;
}

static struct vcpu *choose(const struct members *members, u8 vector)
{
	u32 bits = members->bits, n = 0;

	if (!bits)
		return NULL;
	for (u32 rest = bits; rest; rest &= rest - 1)
		n++;
	for (u32 turn = vector % n; turn; turn--)
		bits &= bits - 1;
	return members->vcpu[__builtin_ctz(bits)];
}

static int deliver_members(const struct members *members, const struct apic_message *m, bool lowest)
{
	int r = 0;

	if (lowest)
		return deliver_to(choose(members, m->vector), m);
	for (u32 bits = members->bits; bits; bits &= bits - 1)
		r += deliver_to(members->vcpu[__builtin_ctz(bits)], m);
	return r;
}

/* The usual case, for which not all need be looked at. */
static int deliver_x2apic_cluster(struct vm *vm, const struct apic_message *m)
{
	u32 first = m->dest >> 16 << 4;
	int r = 0;

	for (u32 bits = m->dest & 0xffff; bits; bits &= bits - 1) {
		struct vcpu *vcpu = vm_vcpu_by_id(vm, first + (u32)__builtin_ctz(bits));

		if (vcpu && present(vcpu))
			r += deliver_to(vcpu, m);
	}
	return r;
}

/* False: the modes differ, or nobody has a logical id. */
static bool deliver_logical(struct vm *vm, const struct apic_message *m, bool lowest, int *r)
{
	struct members flat = { .bits = 0 }, cluster = { .bits = 0 };
	u32 mode = MODE_X2APIC;

	if (atomic_read(&vm->irqchip->xapic_count))
		mode = xapic_members(vm, m->dest, &flat, &cluster);
	if (mode == MODE_X2APIC && !lowest) {
		*r = deliver_x2apic_cluster(vm, m);
	} else if (mode == MODE_X2APIC) {
		x2apic_members(vm, m->dest, &flat);
		*r = deliver_members(&flat, m, lowest);
	} else if (mode == MODE_FLAT) {
		*r = deliver_members(&flat, m, lowest);
	} else if (mode == MODE_CLUSTER) {
		*r = deliver_members(&cluster, m, lowest);
	} else {
		return false;
	}
	return true;
}

/* ---- whoever matches ---------------------------------------------------------------------------------------------- */

static bool named(struct vm *vm, const struct vcpu *vcpu, const struct lapic *source,
		  const struct apic_message *m)
{
	if (!present(vcpu))
		return false;
	switch (m->shorthand) {
	case APIC_ALL:
		return true;
	case APIC_OTHERS:
		return vcpu->apic != source;
	case APIC_SELF:
		return vcpu->apic == source;
	}
	return lapic_matches(vcpu->apic, m->dest, m->logical, !source && !vm->x2apic_no_broadcast_quirk);
}

static int deliver_all(struct vm *vm, const struct lapic *source, const struct apic_message *m)
{
	struct vcpu *vcpu;
	int r = -1;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (named(vm, vcpu, source, m))
			r = (r < 0 ? 0 : r) + deliver_to(vcpu, m);
	}
	return r;
}

static int deliver_lowest(struct vm *vm, const struct lapic *source, const struct apic_message *m)
{
	struct vcpu *vcpu, *chosen = NULL;
	u32 n = 0, turn;

	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		n += named(vm, vcpu, source, m) && lapic_enabled_sw(vcpu->apic);
	if (!n)
		return -1;
	turn = m->vector % n;
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (!named(vm, vcpu, source, m) || !lapic_enabled_sw(vcpu->apic))
			continue;
		chosen = vcpu;
		if (!turn--)
			break;
	}
	return deliver_to(chosen, m);
}

/* ---- the message ----------------------------------------------------------------------------------------------------- */

/* 0xff is no broadcast for x2APICs, but messages of devices cannot say more; with the quirk off, they can. */
static bool is_broadcast(struct vm *vm, const struct lapic *source, u32 dest)
{
	if (!vm->x2apic_no_broadcast_quirk)
		return dest == (source && lapic_x2apic(source) ? X2APIC_BROADCAST : XAPIC_BROADCAST);
	return dest == X2APIC_BROADCAST || (dest == XAPIC_BROADCAST && atomic_read(&vm->irqchip->xapic_count));
}

int irq_deliver(struct vm *vm, struct lapic *source, const struct apic_message *m)
{
	bool lowest = m->delivery == APIC_LOWEST || m->redirect;
	int r;

	if (m->shorthand == APIC_SELF)
		return source ? lapic_accept(source, m) : -1;
	if (!m->shorthand && atomic_read(&vm->nr_vcpus) && !is_broadcast(vm, source, m->dest)) {
		if (!m->logical)
			return deliver_to(find_physical(vm, m->dest), m);
		if (deliver_logical(vm, m, lowest, &r))
			return r;
	}
	/* A physical broadcast is no lowest-priority message, unless it is by its redirection hint. */
	if (m->delivery == APIC_LOWEST && !m->logical && m->dest == XAPIC_BROADCAST)
		lowest = m->redirect;
	return lowest ? deliver_lowest(vm, source, m) : deliver_all(vm, source, m);
}

int irq_deliver_msi(struct vm *vm, u64 address, u32 data)
{
	struct apic_message m = {
		.dest = (u32)(address >> 12) & 0xff,
		.vector = (u8)data,
		.delivery = data >> 8 & 7,
		.logical = address & BIT(2),
		.redirect = address & BIT(3),
		.level = data & BIT(15),
		.assert = true,
		.outside = true,
	};

	if (vm->x2apic_ids32)
		m.dest |= (u32)(address >> 32) & 0xffffff00u;
	return irq_deliver(vm, NULL, &m);
}
