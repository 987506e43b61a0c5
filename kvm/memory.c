/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory slots (KVM_SET_USER_MEMORY_REGION) and guest-physical access through them.
 *
 * A generation of slots is a sorted list in chunks, never changed once published, but for a note of what was found last. A
 * change builds the next generation, which shares all chunks but those that it touches (a VMM may have 30 000 slots),
 * publishes it, waits until every vCPU that is inside has dropped what it derived from the old one (vm_sync_vcpus), and frees
 * what only that one had. Readers take no lock.
 */
#include "kvm/vm.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE (1ull << PAGE_SHIFT)
#define CHUNK_SLOTS 255

/* By base_gfn, without overlaps; never empty once published. */
struct memslot_chunk {
	u32 count;
	struct memslot *slot[CHUNK_SLOTS];
};

#define RECENT_SHIFT 18 /* 1 GiB: where a guest has memory below and above 4 GiB each is remembered */
#define RECENT_SLOTS 4

struct memslots {
	u64 generation;
	struct memslot *recent[RECENT_SLOTS]; /* a: found last, by gfn: of this generation */
	u32 count;
	struct {
		u64 end_gfn; /* of the chunk's last slot */
		struct memslot_chunk *chunk;
	} part[];
};

static u64 slot_end(const struct memslot *slot)
{
	return slot->base_gfn + slot->npages;
}

/* ---- looking up -------------------------------------------------------------------------------------------- */

/* The first part that ends above gfn. */
static u32 part_search(const struct memslots *s, u64 gfn)
{
	u32 low = 0, high = s->count;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (s->part[mid].end_gfn <= gfn)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The first slot of the chunk that ends above gfn. */
static u32 chunk_search(const struct memslot_chunk *c, u64 gfn)
{
	u32 low = 0, high = c->count;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (slot_end(c->slot[mid]) <= gfn)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The first slot that ends above gfn, or NULL. */
static struct memslot *slots_above(const struct memslots *s, u64 gfn)
{
	u32 i = part_search(s, gfn);

	return i < s->count ? s->part[i].chunk->slot[chunk_search(s->part[i].chunk, gfn)] : NULL;
}

struct memslot *memslot_find(struct vm *vm, unsigned as_id, u64 gfn)
{
	struct memslots *s = atomic_read_acquire(&vm->slots[as_id]);
	struct memslot **recent = &s->recent[gfn >> RECENT_SHIFT & (RECENT_SLOTS - 1)];
	struct memslot *slot = atomic_read(recent);

	if (likely(slot && gfn - slot->base_gfn < slot->npages))
		return slot;
	slot = slots_above(s, gfn);
	if (!slot || slot->base_gfn > gfn)
		return NULL;
	atomic_set(recent, slot);
	return slot;
}

struct memslot *memslot_above(struct vm *vm, unsigned as_id, u64 gfn)
{
	return slots_above(atomic_read_acquire(&vm->slots[as_id]), gfn);
}

u64 vm_slots_generation(struct vm *vm, unsigned as_id)
{
	return atomic_read_acquire(&vm->slots[as_id])->generation;
}

static bool slots_overlap(const struct memslots *s, const struct memslot *slot, const struct memslot *except)
{
	const struct memslot *other = slots_above(s, slot->base_gfn);

	if (other && other == except)
		other = slots_above(s, slot_end(other));
	return other && other->base_gfn < slot_end(slot);
}

/* ---- generations ------------------------------------------------------------------------------------------- */

/* The next generation in the making, what it has of its own, and what it will leave behind. */
struct edit {
	struct memslots *next;
	struct memslot_chunk *fresh[3], *stale[2]; /* one each for taking out and putting in, one for a chunk that is split */
	u32 nr_fresh, nr_stale;
};

static bool edit_begin(struct edit *e, const struct memslots *s)
{
	*e = (struct edit){ .next = host_alloc(sizeof(*s) + (s->count + 1) * sizeof(s->part[0])) };
	if (!e->next)
		return false;
	e->next->generation = s->generation + 1;
	e->next->count = s->count;
	memcpy(e->next->part, s->part, s->count * sizeof(s->part[0]));
	return true;
}

static void edit_abandon(struct edit *e)
{
	for (u32 i = 0; i < e->nr_fresh; i++)
		host_free(e->fresh[i]);
	host_free(e->next);
}

static struct memslot_chunk *fresh_chunk(struct edit *e)
{
	struct memslot_chunk *c = host_alloc(sizeof(*c));

	if (c)
		e->fresh[e->nr_fresh++] = c;
	return c;
}

/* The chunk of part i, to be written to. */
static struct memslot_chunk *own_chunk(struct edit *e, u32 i)
{
	struct memslot_chunk *old = e->next->part[i].chunk, *c;

	for (u32 k = 0; k < e->nr_fresh; k++) {
		if (e->fresh[k] == old)
			return old;
	}
	c = fresh_chunk(e);
	if (!c)
		return NULL;
	memcpy(c, old, sizeof(*c));
	e->stale[e->nr_stale++] = old;
	e->next->part[i].chunk = c;
	return c;
}

static void part_ends(struct memslots *s, u32 i)
{
	const struct memslot_chunk *c = s->part[i].chunk;

	s->part[i].end_gfn = slot_end(c->slot[c->count - 1]);
}

static void part_add(struct memslots *s, u32 i, struct memslot_chunk *c)
{
	memmove(&s->part[i + 1], &s->part[i], (s->count - i) * sizeof(s->part[0]));
	s->part[i].chunk = c;
	s->count++;
}

static bool edit_remove(struct edit *e, const struct memslot *slot)
{
	u32 i = part_search(e->next, slot->base_gfn), at;
	struct memslot_chunk *c = own_chunk(e, i);

	if (!c)
		return false;
	at = chunk_search(c, slot->base_gfn);
	c->count--;
	memmove(&c->slot[at], &c->slot[at + 1], (c->count - at) * sizeof(c->slot[0]));
	if (c->count) {
		part_ends(e->next, i);
		return true;
	}
	e->next->count--;
	memmove(&e->next->part[i], &e->next->part[i + 1], (e->next->count - i) * sizeof(e->next->part[0]));
	host_free(e->fresh[--e->nr_fresh]); /* c, which nobody has seen */
	return true;
}

/* Part i is full: its upper half becomes a part of its own. */
static bool part_split(struct edit *e, u32 i)
{
	struct memslot_chunk *low = own_chunk(e, i), *high = low ? fresh_chunk(e) : NULL;
	u32 half = CHUNK_SLOTS / 2;

	if (!high)
		return false;
	high->count = low->count - half;
	low->count = half;
	memcpy(high->slot, &low->slot[half], high->count * sizeof(high->slot[0]));
	part_add(e->next, i + 1, high);
	part_ends(e->next, i);
	part_ends(e->next, i + 1);
	return true;
}

static bool edit_insert(struct edit *e, struct memslot *slot)
{
	struct memslots *s = e->next;
	u32 i = part_search(s, slot->base_gfn), at;
	struct memslot_chunk *c;

	if (i == s->count && i)
		i--; /* above all others: at the end of the last part */
	if (i < s->count && s->part[i].chunk->count == CHUNK_SLOTS) {
		if (!part_split(e, i))
			return false;
		i += slot->base_gfn >= s->part[i].end_gfn;
	}
	if (i == s->count) {
		c = fresh_chunk(e);
		if (c)
			part_add(s, i, c);
	} else {
		c = own_chunk(e, i);
	}
	if (!c)
		return false;
	at = chunk_search(c, slot->base_gfn);
	memmove(&c->slot[at + 1], &c->slot[at], (c->count - at) * sizeof(c->slot[0]));
	c->slot[at] = slot;
	c->count++;
	part_ends(s, i);
	return true;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

int vm_memory_create(struct vm *vm)
{
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		vm->slots[as] = host_alloc(sizeof(struct memslots));
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

static void slots_free(struct memslots *s)
{
	for (u32 i = 0; s && i < s->count; i++) {
		struct memslot_chunk *c = s->part[i].chunk;

		for (u32 k = 0; k < c->count; k++)
			memslot_free(c->slot[k]);
		host_free(c);
	}
	host_free(s);
}

void vm_memory_destroy(struct vm *vm)
{
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		slots_free(vm->slots[as]);
		if (vm->slot_by_id[as])
			host_free_pages(vm->slot_by_id[as], VM_MAX_SLOTS * sizeof(struct memslot *));
		vm->slots[as] = NULL;
		vm->slot_by_id[as] = NULL;
	}
}

/* ---- changes ------------------------------------------------------------------------------------------------- */

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
	struct edit e;

	if (!edit_begin(&e, s))
		return -ENOMEM;
	if ((old && !edit_remove(&e, old)) || (new && !edit_insert(&e, new))) {
		edit_abandon(&e);
		return -ENOMEM;
	}
	atomic_set_release(&vm->slots[as], e.next);
	vm->slot_by_id[as][id] = new;
	vm->nr_slot_pages += (new ? new->npages : 0) - (old ? old->npages : 0);
	if (!new || !old)
		update_mmu_pages(vm);
	vm->stat->memslots_changed++;
	vm_sync_vcpus(vm);
	host_free(s);
	for (u32 i = 0; i < e.nr_stale; i++)
		host_free(e.stale[i]);
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
	old = *vm_slot_by_id(vm, m.slot >> 16, m.slot & 0xffff);
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

int vcpu_write_guest(struct vcpu *vcpu, unsigned as_id, u64 gpa, const void *src, size_t n)
{
	struct memslot *slot;
	size_t len;

	for (; n; n -= len, gpa += len, src = (const char *)src + len) {
		u64 hva = guest_range(vcpu->vm, as_id, gpa, n, true, &len, &slot);

		if (!hva || host_copy_to_user(hva, src, len))
			return -EFAULT;
		memslot_mark_dirty(vcpu, slot, gpa >> PAGE_SHIFT);
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
	}
	return 0;
}

int vm_cmpxchg_guest(struct vm *vm, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	struct memslot *slot;
	size_t len;
	u64 hva = guest_range(vm, as_id, gpa, size, true, &len, &slot);

	return hva && len >= size ? host_cmpxchg_user(hva, old, new_value, size) : -EFAULT;
}

int vcpu_cmpxchg_guest(struct vcpu *vcpu, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	struct memslot *slot;
	size_t len;
	u64 hva = guest_range(vcpu->vm, as_id, gpa, size, true, &len, &slot);
	int r;

	if (!hva || len < size)
		return -EFAULT;
	r = host_cmpxchg_user(hva, old, new_value, size);
	if (!r)
		memslot_mark_dirty(vcpu, slot, gpa >> PAGE_SHIFT);
	return r;
}
