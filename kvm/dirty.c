/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dirty log: one bit for each page in memslot.dirty. An engine lets the first write to a clean page through its slow path,
 * which sets the bit; harvesting clears bits and then makes every vCPU drop its translations (vm_sync_vcpus) before the
 * ioctl returns, so a write that the harvest missed sets its bit again.
 *
 * The dirty ring (document, section 8.29) is told of each bit that a vCPU has set; the VMM's reset clears the bits of the
 * entries that it has harvested. A vCPU whose ring is full but for a reserve leaves at its next instruction boundary and is
 * not entered again: the reserve is for the pages that one instruction and its page walks may dirty.
 * Document: KVM_GET_DIRTY_LOG (4.8), KVM_CLEAR_DIRTY_LOG (4.117), KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (7.18).
 */
#include "kvm/vm.h"

static size_t bitmap_bytes(const struct memslot *slot)
{
	return (slot->npages + 63) / 64 * 8;
}

int memslot_dirty_alloc(struct vm *vm, struct memslot *slot)
{
	slot->dirty = host_alloc_pages(bitmap_bytes(slot));
	if (!slot->dirty)
		return -ENOMEM;
	if (!vm->dirty_ring_size && (vm->dirty_manual_protect & KVM_DIRTY_LOG_INITIALLY_SET)) {
		for (u64 i = 0; i < slot->npages / 64; i++)
			slot->dirty[i] = ~0ull;
		if (slot->npages % 64)
			slot->dirty[slot->npages / 64] = BIT64(slot->npages % 64) - 1;
	}
	return 0;
}

void memslot_dirty_free(struct memslot *slot)
{
	if (slot->dirty)
		host_free_pages(slot->dirty, bitmap_bytes(slot));
	slot->dirty = NULL;
}

/* ---- the ring ------------------------------------------------------------------------------------------------ */

#define RING_RESERVE 64u /* KVM_DIRTY_RING_RSVD_ENTRIES */
#define RING_MAX_SIZE (65536 * sizeof(struct kvm_dirty_gfn))

int vm_enable_dirty_ring(struct vm *vm, u64 size)
{
	if (!(u32)size || (size & (size - 1) & 0xffffffff) || (u32)size < 4096)
		return -EINVAL;
	if ((u32)size > RING_MAX_SIZE)
		return -E2BIG;
	if (vm->dirty_ring_size || vm->nr_vcpus)
		return -EINVAL;
	vm->dirty_ring_size = (u32)size;
	return 0;
}

static u32 ring_entries(const struct vm *vm)
{
	return vm->dirty_ring_size / (u32)sizeof(struct kvm_dirty_gfn);
}

bool vcpu_dirty_ring_full(const struct vcpu *vcpu)
{
	return vcpu->vm->dirty_ring_size &&
	       vcpu->dirty_index - atomic_read(&vcpu->dirty_reset) >= ring_entries(vcpu->vm) - RING_RESERVE;
}

static void ring_put(struct vcpu *vcpu, const struct memslot *slot, u64 n)
{
	struct kvm_dirty_gfn *e = &vcpu->dirty_ring[vcpu->dirty_index & (ring_entries(vcpu->vm) - 1)];

	e->slot = (u32)slot->as_id << 16 | slot->id;
	e->offset = n;
	atomic_set_release(&e->flags, KVM_DIRTY_GFN_F_DIRTY);
	atomic_set(&vcpu->dirty_index, vcpu->dirty_index + 1);
	if (vcpu_dirty_ring_full(vcpu))
		vcpu_kick(vcpu);
}

static void reset_entry(struct vm *vm, const struct kvm_dirty_gfn *e)
{
	u32 as = atomic_read(&e->slot) >> 16, id = atomic_read(&e->slot) & 0xffff;
	u64 n = atomic_read(&e->offset);
	struct memslot *slot = as < VM_ADDRESS_SPACES && id < VM_MAX_SLOTS ? *vm_slot_by_id(vm, as, id) : NULL;

	if (slot && slot->dirty && n < slot->npages)
		atomic_and(&slot->dirty[n / 64], ~BIT64(n % 64));
}

static u32 ring_reset(struct vcpu *vcpu)
{
	u32 n = 0, mask = ring_entries(vcpu->vm) - 1;

	/* No further than what was put in, whatever the VMM says. */
	while (vcpu->dirty_ring && vcpu->dirty_reset != atomic_read_acquire(&vcpu->dirty_index)) {
		struct kvm_dirty_gfn *e = &vcpu->dirty_ring[vcpu->dirty_reset & mask];

		if (!(atomic_read_acquire(&e->flags) & KVM_DIRTY_GFN_F_RESET))
			break;
		reset_entry(vcpu->vm, e);
		atomic_set_release(&e->flags, 0);
		atomic_set_release(&vcpu->dirty_reset, vcpu->dirty_reset + 1);
		n++;
	}
	return n;
}

static long vm_reset_dirty_rings(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct vcpu *vcpu;
	long n = 0;

	(void)arg;
	if (!vm->dirty_ring_size)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		n += ring_reset(vcpu);
	if (n)
		vm_sync_vcpus(vm);
	host_mutex_unlock(&vm->lock);
	return n;
}

/* ---- the log ------------------------------------------------------------------------------------------------- */

void memslot_mark_dirty(struct vcpu *vcpu, struct memslot *slot, u64 gfn)
{
	u64 n = gfn - slot->base_gfn, bit = BIT64(n % 64);

	if (!slot->dirty || (atomic_read(&slot->dirty[n / 64]) & bit))
		return;
	if (!(atomic_or(&slot->dirty[n / 64], bit) & bit) && vcpu->vm->dirty_ring_size)
		ring_put(vcpu, slot, n);
}

static struct memslot *logged_slot(struct vm *vm, u32 slot_id, long *error)
{
	u32 as = slot_id >> 16, id = slot_id & 0xffff;
	struct memslot *slot;

	*error = -EINVAL;
	if (as >= VM_ADDRESS_SPACES || id >= VM_MAX_SLOTS)
		return NULL;
	*error = -ENOENT;
	slot = *vm_slot_by_id(vm, as, id);
	return slot && slot->dirty ? slot : NULL;
}

/* Copies the log out in pieces; with take, clears what it copied. *any: something was dirty. */
static long copy_log(struct memslot *slot, u64 uaddr, bool take, bool *any)
{
	u64 words = bitmap_bytes(slot) / 8, chunk[64];

	for (u64 i = 0; i < words; i += ARRAY_SIZE(chunk)) {
		u64 n = min_u64(ARRAY_SIZE(chunk), words - i);

		for (u64 k = 0; k < n; k++) {
			chunk[k] = atomic_read(&slot->dirty[i + k]);
			if (chunk[k] && take)
				chunk[k] = atomic_xchg(&slot->dirty[i + k], 0);
			*any |= chunk[k] != 0;
		}
		if (host_copy_to_user(uaddr + i * 8, chunk, n * 8))
			return -EFAULT;
	}
	return 0;
}

static long vm_get_dirty_log(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_dirty_log log;
	struct memslot *slot;
	bool any = false, take;
	long r;

	if (host_copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	if (vm->dirty_ring_size)
		return -ENXIO;
	host_mutex_lock(&vm->lock);
	slot = logged_slot(vm, log.slot, &r);
	if (slot) {
		take = !vm->dirty_manual_protect;
		r = copy_log(slot, (u64)log.dirty_bitmap, take, &any);
		if (take && any)
			vm_sync_vcpus(vm);
	}
	host_mutex_unlock(&vm->lock);
	return r;
}

static long clear_log(struct memslot *slot, const struct kvm_clear_dirty_log *log, bool *any)
{
	u64 word, mine;

	for (u64 done = 0; done < log->num_pages; done += 64) {
		u64 *p = &slot->dirty[(log->first_page + done) / 64];

		if (host_copy_from_user(&word, (u64)log->dirty_bitmap + done / 8, 8))
			return -EFAULT;
		if (log->num_pages - done < 64)
			word &= BIT64(log->num_pages - done) - 1;
		mine = word ? atomic_and(p, ~word) : 0;
		*any |= (mine & word) != 0;
	}
	return 0;
}

static long vm_clear_dirty_log(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_clear_dirty_log log;
	struct memslot *slot;
	bool any = false;
	long r;

	if (host_copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	if (vm->dirty_ring_size)
		return -ENXIO;
	if (log.first_page & 63)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	slot = logged_slot(vm, log.slot, &r);
	if (slot) {
		r = -EINVAL;
		if (log.first_page <= slot->npages && log.num_pages <= slot->npages - log.first_page &&
		    (!(log.num_pages & 63) || log.num_pages == slot->npages - log.first_page)) {
			r = clear_log(slot, &log, &any);
			if (any)
				vm_sync_vcpus(vm);
		}
	}
	host_mutex_unlock(&vm->lock);
	return r;
}

const struct ioctl_row vm_dirty_ioctls[] = {
	{ KVM_GET_DIRTY_LOG, vm_get_dirty_log },
	{ KVM_CLEAR_DIRTY_LOG, vm_clear_dirty_log },
	{ KVM_RESET_DIRTY_RINGS, vm_reset_dirty_rings },
	{ 0, NULL },
};
