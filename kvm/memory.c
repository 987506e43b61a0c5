/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory slots (KVM_SET_USER_MEMORY_REGION) and guest-physical access through them.
 *
 * A generation of slots is an array sorted by base_gfn, never changed once published. A change builds the next
 * generation, publishes it, waits until every vCPU that is inside has dropped what it derived from the old one
 * (vm_sync_vcpus), and frees the old one. Readers take no lock.
 */
#include "kvm/vm.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE (1ull << PAGE_SHIFT)

static struct memslots *slots_alloc(u32 count)
{
	struct memslots *s = host_alloc(sizeof(*s) + count * sizeof(s->slot[0]));

	if (s)
		s->count = count;
	return s;
}

int vm_memory_create(struct vm *vm)
{
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		vm->slots[as] = slots_alloc(0);
		vm->slot_by_id[as] = host_alloc_pages(VM_MAX_SLOTS * sizeof(struct memslot *));
		if (!vm->slots[as] || !vm->slot_by_id[as]) {
			vm_memory_destroy(vm);
			return -ENOMEM;
		}
	}
	return 0;
}

static void memslot_free(struct memslot *slot)
{
	memslot_dirty_free(slot);
	host_free(slot);
}

void vm_memory_destroy(struct vm *vm)
{
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		struct memslots *s = vm->slots[as];

		for (u32 i = 0; s && i < s->count; i++)
			memslot_free(s->slot[i]);
		host_free(s);
		if (vm->slot_by_id[as])
			host_free_pages(vm->slot_by_id[as], VM_MAX_SLOTS * sizeof(struct memslot *));
		vm->slots[as] = NULL;
		vm->slot_by_id[as] = NULL;
	}
}

/* Index of the first slot whose end lies above gfn. */
static u32 slots_search(const struct memslots *s, u64 gfn)
{
	u32 low = 0, high = s->count;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (s->slot[mid]->base_gfn + s->slot[mid]->npages <= gfn)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct memslot *memslot_find(struct vm *vm, unsigned as_id, u64 gfn)
{
	const struct memslots *s = atomic_read_acquire(&vm->slots[as_id]);
	u32 i = slots_search(s, gfn);

	return i < s->count && s->slot[i]->base_gfn <= gfn ? s->slot[i] : NULL;
}

static bool slots_overlap(const struct memslots *s, const struct memslot *slot, const struct memslot *except)
{
	for (u32 i = slots_search(s, slot->base_gfn); i < s->count; i++) {
		if (s->slot[i]->base_gfn >= slot->base_gfn + slot->npages)
			break;
		if (s->slot[i] != except)
			return true;
	}
	return false;
}

/* The next generation: the present one without old (if any) and with new (if any). */
static struct memslots *slots_next(const struct memslots *s, const struct memslot *old, struct memslot *new)
{
	struct memslots *next = slots_alloc(s->count + !!new - !!old);
	u32 n = 0;

	if (!next)
		return NULL;
	next->generation = s->generation + 1;
	for (u32 i = 0; i < s->count; i++) {
		if (new && s->slot[i]->base_gfn >= new->base_gfn) {
			next->slot[n++] = new;
			new = NULL;
		}
		if (s->slot[i] != old)
			next->slot[n++] = s->slot[i];
	}
	if (new)
		next->slot[n] = new;
	return next;
}

/* The limit of KVM's page tables, which are not ours: 2 % of all slots' pages unless userspace has said. */
static void update_mmu_pages(struct vm *vm)
{
	u64 n = vm->nr_slot_pages * 20 / 1000;

	if (!vm->mmu_pages_set)
		atomic_set(&vm->nr_mmu_pages, n > VM_MIN_MMU_PAGES ? (u32)n : VM_MIN_MMU_PAGES);
}

/* Makes new the slot instead of old (either may be NULL) and frees old. Caller holds vm->lock. */
static int slots_replace(struct vm *vm, unsigned as, u32 id, struct memslot *old, struct memslot *new)
{
	struct memslots *s = vm->slots[as];
	struct memslots *next = slots_next(s, old, new);

	if (!next)
		return -ENOMEM;
	atomic_set_release(&vm->slots[as], next);
	vm->slot_by_id[as][id] = new;
	vm->nr_slot_pages += (new ? new->npages : 0) - (old ? old->npages : 0);
	if (!new || !old)
		update_mmu_pages(vm);
	vm->stat->memslots_changed++;
	vm_sync_vcpus(vm);
	host_free(s);
	if (old) {
		if (new && new->dirty == old->dirty)
			old->dirty = NULL;
		memslot_free(old);
	}
	return 0;
}

static int check_region(const struct kvm_userspace_memory_region *m)
{
	u32 as = m->slot >> 16, id = m->slot & 0xffff;

	if (m->flags & ~(u32)(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if ((m->memory_size | m->guest_phys_addr | m->userspace_addr) & (PAGE_SIZE - 1))
		return -EINVAL;
	if (!host_user_range_ok(m->userspace_addr, m->memory_size))
		return -EINVAL;
	if (as >= VM_ADDRESS_SPACES || id >= VM_MAX_SLOTS)
		return -EINVAL;
	if (m->guest_phys_addr + m->memory_size < m->guest_phys_addr)
		return -EINVAL;
	if (m->memory_size >> PAGE_SHIFT > VM_MAX_SLOT_PAGES)
		return -EINVAL;
	return 0;
}

static struct memslot *memslot_new(const struct kvm_userspace_memory_region *m)
{
	struct memslot *slot = host_alloc(sizeof(*slot));

	if (slot) {
		slot->base_gfn = m->guest_phys_addr >> PAGE_SHIFT;
		slot->npages = m->memory_size >> PAGE_SHIFT;
		slot->hva = m->userspace_addr;
		slot->id = m->slot & 0xffff;
		slot->as_id = m->slot >> 16;
		slot->flags = m->flags;
	}
	return slot;
}

/* Guest-physical addresses end with the 52 bits of the page-table formats. */
#define MAX_GFN ((1ull << (52 - PAGE_SHIFT)) - 1)

static int region_change(struct vm *vm, const struct kvm_userspace_memory_region *m, struct memslot *old)
{
	struct memslot *new = memslot_new(m);
	bool placed;
	int r = -EINVAL;

	if (!new)
		return -ENOMEM;
	placed = !old || old->base_gfn != new->base_gfn;
	if (old && (new->hva != old->hva || new->npages != old->npages || ((new->flags ^ old->flags) & KVM_MEM_READONLY)))
		goto fail;
	if (old && !placed && new->flags == old->flags) {
		host_free(new);
		return 0;
	}
	r = -EEXIST;
	if (placed && slots_overlap(vm->slots[new->as_id], new, old))
		goto fail;
	r = -EINVAL;
	if (placed && new->base_gfn + new->npages - 1 > MAX_GFN)
		goto fail;
	if (new->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		new->dirty = old ? old->dirty : NULL;
		r = new->dirty ? 0 : memslot_dirty_alloc(vm, new);
		if (r)
			goto fail;
	}
	r = slots_replace(vm, new->as_id, new->id, old, new);
	if (!r)
		return 0;
	if (old && new->dirty == old->dirty)
		new->dirty = NULL;
fail:
	memslot_free(new);
	return r;
}

/* Document, section 4.35. */
static long vm_set_user_memory_region(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_userspace_memory_region m;
	struct memslot *old;
	long r;

	if (host_copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	r = check_region(&m);
	if (r)
		return r;
	host_mutex_lock(&vm->lock);
	old = vm->slot_by_id[m.slot >> 16][m.slot & 0xffff];
	if (m.memory_size)
		r = region_change(vm, &m, old);
	else
		r = old ? slots_replace(vm, m.slot >> 16, m.slot & 0xffff, old, NULL) : -EINVAL;
	host_mutex_unlock(&vm->lock);
	return r;
}

const struct ioctl_row vm_memory_ioctls[] = {
	{ KVM_SET_USER_MEMORY_REGION, vm_set_user_memory_region },
	{ 0, NULL },
};

/* ---- access -------------------------------------------------------------------------------------------- */

/* The user address of gpa and how many of n bytes follow in its slot; 0 where there is no such memory. */
static u64 guest_range(struct vm *vm, unsigned as_id, u64 gpa, size_t n, bool write, size_t *len, struct memslot **slot)
{
	struct memslot *s = memslot_find(vm, as_id, gpa >> PAGE_SHIFT);
	u64 off;

	if (!s || (write && (s->flags & KVM_MEM_READONLY)))
		return 0;
	off = gpa - (s->base_gfn << PAGE_SHIFT);
	*len = min_u64(n, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
	*slot = s;
	return s->hva + off;
}

int vm_read_guest(struct vm *vm, unsigned as_id, u64 gpa, void *dst, size_t n)
{
	struct memslot *slot;
	size_t len;

	for (; n; n -= len, gpa += len, dst = (char *)dst + len) {
		u64 hva = guest_range(vm, as_id, gpa, n, false, &len, &slot);

		if (!hva || host_copy_from_user(dst, hva, len))
			return -EFAULT;
	}
	return 0;
}

int vm_write_guest(struct vm *vm, unsigned as_id, u64 gpa, const void *src, size_t n)
{
	struct memslot *slot;
	size_t len;

	for (; n; n -= len, gpa += len, src = (const char *)src + len) {
		u64 hva = guest_range(vm, as_id, gpa, n, true, &len, &slot);

		if (!hva || host_copy_to_user(hva, src, len))
			return -EFAULT;
		memslot_mark_dirty(slot, gpa >> PAGE_SHIFT);
	}
	return 0;
}

int vm_cmpxchg_guest(struct vm *vm, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	struct memslot *slot;
	size_t len;
	u64 hva = guest_range(vm, as_id, gpa, size, true, &len, &slot);
	int r;

	if (!hva || len < size)
		return -EFAULT;
	r = host_cmpxchg_user(hva, old, new_value, size);
	if (!r)
		memslot_mark_dirty(slot, gpa >> PAGE_SHIFT);
	return r;
}
