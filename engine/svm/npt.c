/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested page tables (APM vol. 2, 15.25): from guest-physical addresses to frames of the VMM's memory. One tree for each
 * address space, shared by the VM's vCPUs, filled by faults with leaves of 4 KiB, 2 MiB and 1 GiB.
 *
 * A leaf is there only while the VMM's own mapping is: the notifier of the mm (mm_begin) takes it away before the kernel
 * takes the page. A fault looks at mm_sequence, asks for the frame (which may sleep), and maps it, under the lock, only if
 * no change came in between. Likewise for slots: what was found in one generation is mapped only into a tree of that generation.
 *
 * Tables are freed after every vCPU that was in the guest has left it once and is to flush (sync_vcpus). Until then they
 * hang on entries that are not present any more but still have their address.
 *
 * Slots that come, go or move take with them what was mapped through them; the rest of the tree stays. Tables can be made
 * again by faults at any time, so the kernel gets them back when memory is scarce (shrink_scan), and a VM has no more of
 * them than KVM_SET_NR_MMU_PAGES says.
 *
 * Dirty log: pages of logged slots are mapped one by one, writable only if their bit is set. If no more than that is missing
 * (NPTE_WRITABLE), a write is let through without a lock (fix_fault): the walk counts as being in the guest, for which those
 * who free tables wait, and nothing but the entry that was seen is replaced. The bit is set behind that; who clears it
 * protects the page afterwards, so either that sees the entry, or the bit stays set.
 *
 * A guest that touches page after page has several mapped at once, if they are in memory.
 */
#include "engine/svm/svm.h"

#define NPTE_P BIT64(0)
#define NPTE_W BIT64(1)
#define NPTE_U BIT64(2) /* the nested walk is a user access */
#define NPTE_A BIT64(5)
#define NPTE_D BIT64(6)
#define NPTE_PS BIT64(7)
#define NPTE_WRITABLE BIT64(9) /* for software: but for the dirty log it may be written */
#define NPTE_ADDR 0x000ffffffffff000ull
#define NPTE_TABLE (NPTE_P | NPTE_W | NPTE_U | NPTE_A)

static unsigned shift_of(unsigned level)
{
	return 12 + 9 * (level - 1);
}

static u64 *entry_of(u64 *table, unsigned level, u64 gpa)
{
	return &table[gpa >> shift_of(level) & 511];
}

static bool is_leaf(u64 entry, unsigned level)
{
	return level == 1 || (entry & NPTE_PS);
}

static u64 *table_of(u64 entry)
{
	return host_frames_virt(entry & NPTE_ADDR);
}

/* ---- walking a range ------------------------------------------------------------------------------------------------- */

struct visit {
	u64 first, last; /* gpa, inclusive */
	void (*leaf)(struct visit *v, u64 *entry, unsigned level, u64 gpa);
	struct memslot *slot;
	bool detach; /* of tables that lie in the range as a whole, only the entry is visited */
	bool clear;  /* age_leaf(): for the next time */
	bool changed;
};

static bool covers(const struct visit *v, u64 gpa, u64 size)
{
	return v->first <= gpa && gpa + (size - 1) <= v->last;
}

static void visit_table(struct visit *v, u64 *table, unsigned level, u64 base)
{
	u64 size = 1ull << shift_of(level);
	unsigned i = v->first > base ? (unsigned)((v->first - base) >> shift_of(level)) : 0;

	for (; i < 512 && base + i * size <= v->last; i++) {
		u64 entry = atomic_read(&table[i]);

		if (!(entry & NPTE_P))
			continue;
		if (is_leaf(entry, level)) {
			v->leaf(v, &table[i], level, base + i * size);
		} else if (v->detach && covers(v, base + i * size, size)) {
			atomic_xchg(&table[i], entry & NPTE_ADDR);
			v->changed = true;
		} else {
			visit_table(v, table_of(entry), level - 1, base + i * size);
		}
	}
}

static void visit(struct npt *npt, struct visit *v)
{
	visit_table(v, npt->root, svm_features.npt_levels, 0);
}

static void unmap_leaf(struct visit *v, u64 *entry, unsigned level, u64 gpa)
{
	(void)level;
	(void)gpa;
	atomic_xchg(entry, 0);
	v->changed = true;
}

static void age_leaf(struct visit *v, u64 *entry, unsigned level, u64 gpa)
{
	(void)level;
	(void)gpa;
	if (!(*entry & NPTE_A))
		return;
	v->changed = true;
	if (v->clear)
		atomic_and(entry, ~NPTE_A);
}

static void protect_leaf(struct visit *v, u64 *entry, unsigned level, u64 gpa)
{
	u64 n = (gpa >> 12) - v->slot->base_gfn;

	if (level > 1) {
		unmap_leaf(v, entry, level, gpa);
		return;
	}
	if (!(*entry & NPTE_W) || (atomic_read(&v->slot->dirty[n / 64]) >> (n % 64) & 1))
		return;
	atomic_and(entry, ~NPTE_W);
	v->changed = true;
}

/* ---- tables ------------------------------------------------------------------------------------------------------------ */

static u64 total_tables; /* a: of all VMs */

static void count_tables(struct svm_vm *vm, u64 change)
{
	atomic_add(&vm->nr_tables, change);
	atomic_add(&total_tables, change);
}

static void free_tables(struct svm_vm *vm, u64 *table, unsigned level)
{
	for (unsigned i = 0; level > 1 && i < 512; i++) {
		if ((table[i] & NPTE_P) && !is_leaf(table[i], level))
			free_tables(vm, table_of(table[i]), level - 1);
	}
	host_table_free(table);
	count_tables(vm, -1ull);
}

static void free_detached(struct svm_vm *vm, u64 *table, unsigned level, u64 base, u64 first, u64 last)
{
	u64 size = 1ull << shift_of(level);
	unsigned i = first > base ? (unsigned)((first - base) >> shift_of(level)) : 0;

	for (; level > 1 && i < 512 && base + i * size <= last; i++) {
		if (table[i] & NPTE_P) {
			if (!is_leaf(table[i], level))
				free_detached(vm, table_of(table[i]), level - 1, base + i * size, first, last);
		} else if (table[i]) {
			free_tables(vm, table_of(table[i]), level - 1);
			atomic_set(&table[i], 0);
		}
	}
}

static bool fill_cache(struct svm_vcpu *svm)
{
	while (svm->nr_cache < NPT_CACHE) {
		u64 *table = host_table_alloc();

		if (!table)
			return false;
		svm->cache[svm->nr_cache++] = table;
	}
	return true;
}

void npt_cache_free(struct svm_vcpu *svm)
{
	while (svm->nr_cache)
		host_table_free(svm->cache[--svm->nr_cache]);
}

/* ---- the vCPUs' TLBs ----------------------------------------------------------------------------------------------------- */

/*
 * Every vCPU flushes before it enters the guest again, and none is in the guest since before. Caller holds the lock. The
 * other side of this handshake is in enter() (svm.c): running_on is set before flush is looked at.
 */
static void sync_vcpus(struct svm_vm *vm)
{
	for (struct svm_vcpu *svm = vm->vcpus; svm; svm = svm->next) {
		u32 on;

		atomic_xchg(&svm->flush, 1);
		on = atomic_read_acquire(&svm->running_on);
		if (on)
			host_cpu_kick(on - 1, true);
	}
}

/* ---- changes of the VMM's mappings ---------------------------------------------------------------------------------------- */

/* Visits what is mapped of [start, end) of the VMM's. Caller holds the lock. */
static bool visit_hva(struct svm_vm *vm, struct visit *v, u64 start, u64 end)
{
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		struct npt *npt = &vm->npt[as];

		for (u32 i = 0; i < npt->nr_ranges; i++) {
			const struct npt_range *r = &npt->range[i];

			if (end <= r->hva || start >= r->hva + r->size)
				continue;
			v->first = r->gpa + (max_u64(start, r->hva) - r->hva);
			v->last = r->gpa + (min_u64(end, r->hva + r->size) - r->hva) - 1;
			visit(npt, v);
		}
	}
	return v->changed;
}

static void mm_begin(struct host_mm_watch *w, u64 start, u64 end)
{
	struct svm_vm *vm = container_of(w, struct svm_vm, watch);
	struct visit v = { .leaf = unmap_leaf };

	host_spin_lock(&vm->lock);
	vm->mm_changes++;
	if (visit_hva(vm, &v, start, end))
		sync_vcpus(vm);
	host_spin_unlock(&vm->lock);
}

static void mm_end(struct host_mm_watch *w, u64 start, u64 end)
{
	struct svm_vm *vm = container_of(w, struct svm_vm, watch);

	(void)start;
	(void)end;
	host_spin_lock(&vm->lock);
	vm->mm_sequence++;
	vm->mm_changes--;
	host_spin_unlock(&vm->lock);
}

static bool mm_young(struct host_mm_watch *w, u64 start, u64 end, bool clear)
{
	struct svm_vm *vm = container_of(w, struct svm_vm, watch);
	struct visit v = { .leaf = age_leaf, .clear = clear };
	bool young;

	host_spin_lock(&vm->lock);
	young = visit_hva(vm, &v, start, end);
	host_spin_unlock(&vm->lock);
	return young;
}

/* ---- changes of slots ---------------------------------------------------------------------------------------------------- */

static u32 count_slots(struct vm *vm, unsigned as)
{
	const struct memslot *s = NULL;
	u32 n = 0;

	while ((s = memslot_above(vm, as, s ? s->base_gfn + s->npages : 0)))
		n++;
	return n;
}

/* NULL without memory, or if the slots changed meanwhile. */
static struct npt_range *copy_ranges(struct vm *vm, unsigned as, u64 generation, u32 *nr)
{
	u32 n = count_slots(vm, as), i = 0;
	struct npt_range *range = host_alloc(n * sizeof(*range) + 1);
	const struct memslot *s = NULL;

	while (range && i < n && (s = memslot_above(vm, as, s ? s->base_gfn + s->npages : 0)))
		range[i++] = (struct npt_range){ .hva = s->hva, .gpa = s->base_gfn << 12, .size = s->npages << 12,
						 .readonly = s->flags & KVM_MEM_READONLY };
	*nr = i;
	if (vm_slots_generation(vm, as) == generation)
		return range;
	host_free(range);
	return NULL;
}

static bool current_for(const struct npt *npt, u64 generation)
{
	return atomic_read(&npt->generation) > generation;
}

/* Nothing of the range stays mapped, nor do tables that serve nothing else. Caller holds the lock. */
static void drop(struct svm_vm *vm, struct npt *npt, u64 first, u64 last)
{
	struct visit v = { .first = first, .last = last, .leaf = unmap_leaf, .detach = true };

	visit(npt, &v);
	if (!v.changed)
		return;
	sync_vcpus(vm);
	free_detached(vm, npt->root, svm_features.npt_levels, 0, first, last);
}

static bool same_range(const struct npt_range *a, const struct npt_range *b)
{
	return a->hva == b->hva && a->gpa == b->gpa && a->size == b->size && a->readonly == b->readonly;
}

/* Both lists are sorted. Caller holds the lock. */
static void drop_stale(struct svm_vm *vm, struct npt *npt, const struct npt_range *range, u32 nr)
{
	u32 k = 0;

	for (u32 i = 0; i < npt->nr_ranges; i++) {
		const struct npt_range *old = &npt->range[i];

		while (k < nr && range[k].gpa < old->gpa)
			k++;
		if (k == nr || !same_range(&range[k], old))
			drop(vm, npt, old->gpa, old->gpa + old->size - 1);
	}
}

/* Follows the slots to a generation of theirs. */
static void renew(struct svm_vm *vm, unsigned as, u64 generation)
{
	struct npt *npt = &vm->npt[as];
	u32 nr;
	struct npt_range *range = copy_ranges(vm->vm, as, generation, &nr), *stale = range;

	host_spin_lock(&vm->lock);
	if (!range) {
		drop_stale(vm, npt, NULL, 0); /* and faults will ask again */
	} else if (!current_for(npt, generation)) { /* nobody was faster */
		drop_stale(vm, npt, range, nr);
		stale = npt->range;
		npt->range = range;
		npt->nr_ranges = nr;
		atomic_set(&npt->generation, generation + 1);
		sync_vcpus(vm); /* who has seen the one before is done with fix_fault() */
	}
	host_spin_unlock(&vm->lock);
	host_free(stale);
}

static bool protect_logged(struct svm_vm *vm, unsigned as)
{
	struct visit v = { .leaf = protect_leaf };

	while ((v.slot = memslot_above(vm->vm, as, v.slot ? v.slot->base_gfn + v.slot->npages : 0))) {
		v.first = v.slot->base_gfn << 12;
		v.last = v.first + (v.slot->npages << 12) - 1;
		if (v.slot->dirty)
			visit(&vm->npt[as], &v);
	}
	return v.changed;
}

void npt_slots_changed(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct svm_vm *vm = svm->vm;

	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		u64 generation = vm_slots_generation(vcpu->vm, as);

		if (!current_for(&vm->npt[as], generation))
			renew(vm, as, generation);
		host_spin_lock(&vm->lock);
		if (protect_logged(vm, as))
			sync_vcpus(vm);
		host_spin_unlock(&vm->lock);
	}
	atomic_set(&svm->flush, 1);
}

void npt_unmap_page(struct svm_vm *vm, u64 gpa)
{
	struct visit v = { .first = gpa & PAGE_MASK, .last = gpa | (PAGE_SIZE - 1), .leaf = unmap_leaf };

	host_spin_lock(&vm->lock);
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++)
		visit(&vm->npt[as], &v);
	if (v.changed)
		sync_vcpus(vm);
	host_spin_unlock(&vm->lock);
}

/* ---- giving memory back ------------------------------------------------------------------------------------------------ */

static struct host_spin vms_lock; /* outer to svm_vm.lock */
static struct svm_vm *vms;	  /* vms_lock */

/* What one table of leaves' tables maps: that much goes at a time. */
#define SHRINK_SPAN (1ull << 30)

static u64 shrink_range(struct svm_vm *vm, struct npt *npt, const struct npt_range *range, u64 pages)
{
	u64 before = atomic_read(&vm->nr_tables), end = range->gpa + range->size, freed = 0;

	for (u64 gpa = range->gpa & ~(SHRINK_SPAN - 1); gpa < end && freed < pages; gpa += SHRINK_SPAN) {
		drop(vm, npt, gpa, gpa + SHRINK_SPAN - 1);
		freed = before - atomic_read(&vm->nr_tables);
	}
	return freed;
}

static u64 shrink_vm(struct svm_vm *vm, u64 pages)
{
	u64 freed = 0;

	host_spin_lock(&vm->lock);
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		struct npt *npt = &vm->npt[as];

		for (u32 i = 0; i < npt->nr_ranges && freed < pages; i++)
			freed += shrink_range(vm, npt, &npt->range[i], pages - freed);
	}
	host_spin_unlock(&vm->lock);
	return freed;
}

static u64 shrink_count(void)
{
	return atomic_read(&total_tables);
}

static u64 shrink_scan(u64 pages)
{
	u64 freed = 0;

	host_spin_lock(&vms_lock);
	for (struct svm_vm *vm = vms; vm && freed < pages; vm = vm->next)
		freed += shrink_vm(vm, pages - freed);
	host_spin_unlock(&vms_lock);
	return freed;
}

static struct host_shrinker shrinker = { .count = shrink_count, .scan = shrink_scan };

int npt_init(void)
{
	return host_shrinker_add(&shrinker);
}

void npt_exit(void)
{
	host_shrinker_remove(&shrinker);
}

static void enlist(struct svm_vm *vm)
{
	host_spin_lock(&vms_lock);
	vm->next = vms;
	vms = vm;
	host_spin_unlock(&vms_lock);
}

static void delist(struct svm_vm *vm)
{
	struct svm_vm **link = &vms;

	host_spin_lock(&vms_lock);
	while (*link && *link != vm)
		link = &(*link)->next;
	if (*link)
		*link = vm->next;
	host_spin_unlock(&vms_lock);
}

/* ---- faults ------------------------------------------------------------------------------------------------------------ */

/* The largest leaf that the host's mapping, the slot and the dirty log allow. */
static unsigned leaf_level(const struct vcpu *vcpu, const struct memslot *slot, u64 gpa, u64 hva, u64 frame_size)
{
	unsigned level = svm_features.gbpages ? 3 : 2;
	u64 apic = vcpu->apic_base & PAGE_MASK & ~BIT64(63);

	if (slot->dirty)
		return 1;
	for (; level > 1; level--) {
		u64 size = 1ull << shift_of(level), first = gpa & ~(size - 1);

		if (frame_size < size || ((gpa ^ hva) & (size - 1)))
			continue;
		if (first < slot->base_gfn << 12 || first + size > (slot->base_gfn + slot->npages) << 12)
			continue;
		if (!vcpu->apic || apic - first >= size)
			break;
	}
	return level;
}

static void add_table(struct svm_vcpu *svm, u64 *entry)
{
	atomic_set(entry, host_frames_phys(svm->cache[--svm->nr_cache]) | NPTE_TABLE);
	count_tables(svm->vm, 1);
}

/* The entry of that level for gpa, with tables made on the way; a larger leaf in the way is where it ends. */
static u64 *walk_to(struct svm_vcpu *svm, struct npt *npt, u64 gpa, unsigned *level)
{
	u64 *table = npt->root;
	unsigned l = svm_features.npt_levels;

	for (; l > *level; l--) {
		u64 *entry = entry_of(table, l, gpa);

		if ((*entry & NPTE_P) && is_leaf(*entry, l)) {
			*level = l;
			return entry;
		}
		if (!(*entry & NPTE_P))
			add_table(svm, entry);
		table = table_of(*entry);
	}
	return entry_of(table, l, gpa);
}

/* What the host and the slot let the guest do there. */
static u64 leaf_of(const struct memslot *slot, const struct host_frame *f)
{
	return (f->phys & NPTE_ADDR) | NPTE_P | NPTE_U |
	       (f->writable && !(slot->flags & KVM_MEM_READONLY) ? NPTE_WRITABLE | NPTE_W | NPTE_D : 0);
}

/* Caller holds the lock. The table that the new leaf replaces is returned. */
static u64 *map(struct svm_vcpu *svm, struct npt *npt, u64 gpa, u64 leaf, unsigned level)
{
	unsigned found = level;
	u64 *entry = walk_to(svm, npt, gpa, &found), old = *entry;
	u64 size = 1ull << shift_of(level);

	if (found != level) { /* a larger leaf: it goes, and the next fault finds its place free */
		atomic_xchg(entry, 0);
		sync_vcpus(svm->vm);
		return NULL;
	}
	if (level > 1)
		leaf = (leaf & ~(NPTE_ADDR & (size - 1))) | NPTE_PS;
	atomic_xchg(entry, leaf);
	if (!(old & NPTE_P))
		return NULL;
	if (!is_leaf(old, level)) {
		sync_vcpus(svm->vm);
		return table_of(old);
	}
	if ((old ^ leaf) & NPTE_ADDR || (old & ~leaf & NPTE_W))
		sync_vcpus(svm->vm);
	return NULL;
}

static bool logged_clean(const struct memslot *slot, u64 gpa)
{
	u64 n = (gpa >> 12) - slot->base_gfn;

	return slot->dirty && !(atomic_read(&slot->dirty[n / 64]) >> (n % 64) & 1);
}

/* How many pages from gpa on are worth having: more each time that a fault comes right behind what the last one mapped. */
static unsigned pages_wanted(const struct vcpu *vcpu, const struct memslot *slot, u64 gpa)
{
	const struct svm_vcpu *svm = vcpu->engine;
	u64 gfn = gpa >> 12, n = svm->fault_next == gfn ? svm->fault_pages * 2 : 1;

	if (slot->dirty || (slot->flags & KVM_MEM_READONLY))
		return 1;
	n = min_u64(min_u64(n, NPT_FRAMES), min_u64(512 - gfn % 512, slot->base_gfn + slot->npages - gfn));
	return vcpu->apic && ((vcpu->apic_base & ~BIT64(63)) >> 12) - gfn < n ? 1 : (unsigned)n;
}

/* Pages behind gpa, whose table is there now, that nobody has mapped yet. Caller holds the lock. */
static void map_behind(struct svm_vcpu *svm, struct npt *npt, const struct memslot *slot, u64 gpa, int nr)
{
	unsigned level = 1;
	u64 *entry = walk_to(svm, npt, gpa, &level);

	for (int i = 1; level == 1 && i < nr; i++) {
		if (!entry[i])
			atomic_set(&entry[i], leaf_of(slot, &svm->frames[i]));
	}
}

static enum npt_result map_frames(struct vcpu *vcpu, struct memslot *slot, u64 generation, u64 gpa, bool write)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct svm_vm *vm = svm->vm;
	struct npt *npt = &vm->npt[vcpu_as_id(vcpu)];
	u64 hva = slot->hva + (gpa - (slot->base_gfn << 12)), sequence = atomic_read_acquire(&vm->mm_sequence);
	u64 leaf, *replaced = NULL;
	unsigned level;
	int nr;

	svm->fault_pages = pages_wanted(vcpu, slot, gpa);
	nr = host_frames_get(hva, svm->fault_pages, write, svm->frames);
	if (nr < 0)
		return nr == -EINTR ? NPT_INTERRUPTED : NPT_BAD;
	if (write)
		memslot_mark_dirty(vcpu, slot, gpa >> 12);
	leaf = leaf_of(slot, &svm->frames[0]) | NPTE_A;
	level = leaf_level(vcpu, slot, gpa, hva, svm->frames[0].size);
	host_spin_lock(&vm->lock);
	if (logged_clean(slot, gpa))
		leaf &= ~NPTE_W;
	if (npt->generation == generation + 1 && !vm->mm_changes && vm->mm_sequence == sequence) {
		replaced = map(svm, npt, gpa, leaf, level);
		if (level == 1 && nr > 1)
			map_behind(svm, npt, slot, gpa, nr);
	}
	host_spin_unlock(&vm->lock);
	for (int i = 0; i < nr; i++)
		host_frame_put(&svm->frames[i]);
	svm->fault_next = (gpa >> 12) + (unsigned)nr;
	if (replaced)
		free_tables(vm, replaced, level - 1);
	return NPT_MAPPED;
}

/* The leaf for gpa; NULL where there is none. Nobody frees tables now. */
static u64 *find_leaf(const struct npt *npt, u64 gpa, unsigned *level)
{
	u64 *table = npt->root;

	for (*level = svm_features.npt_levels;; (*level)--) {
		u64 *entry = entry_of(table, *level, gpa), value = atomic_read(entry);

		if (!(value & NPTE_P))
			return NULL;
		if (is_leaf(value, *level))
			return entry;
		table = table_of(value);
	}
}

/* Whether a write is possible now; *fixed: because the page was clean in the log, and is let dirty. */
static bool let_write(const struct npt *npt, u64 gpa, bool *fixed)
{
	unsigned level;
	u64 *leaf = find_leaf(npt, gpa, &level), old = leaf ? atomic_read(leaf) : 0;

	if (!(old & NPTE_P) || (old & NPTE_W))
		return old & NPTE_P;
	*fixed = level == 1 && (old & NPTE_WRITABLE) && atomic_replace_u64(leaf, old, old | NPTE_W | NPTE_D | NPTE_A);
	return *fixed;
}

/* Without locks: a page of a logged slot is written to for the first time, or another vCPU was faster. */
static bool fix_fault(struct vcpu *vcpu, struct memslot *slot, u64 generation, u64 gpa)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct npt *npt = &svm->vm->npt[vcpu_as_id(vcpu)];
	bool fixed = false, good;

	host_irq_disable();
	atomic_xchg(&svm->running_on, host_cpu_id() + 1);
	good = atomic_read(&npt->generation) == generation + 1 && let_write(npt, gpa, &fixed);
	atomic_set_release(&svm->running_on, 0);
	host_irq_enable();
	if (fixed)
		memslot_mark_dirty(vcpu, slot, gpa >> 12);
	return good;
}

enum npt_result npt_fault(struct vcpu *vcpu, u64 gpa, bool write)
{
	struct svm_vcpu *svm = vcpu->engine;
	unsigned as = vcpu_as_id(vcpu);
	u64 generation = vm_slots_generation(vcpu->vm, as);
	struct memslot *slot;

	if (svm_is_apic_page(vcpu, gpa))
		return NPT_MMIO;
	slot = memslot_find(vcpu->vm, as, gpa >> 12);
	if (!slot || (write && (slot->flags & KVM_MEM_READONLY)))
		return NPT_MMIO;
	if (!current_for(&svm->vm->npt[as], generation))
		renew(svm->vm, as, generation);
	else if (write && slot->dirty && fix_fault(vcpu, slot, generation, gpa))
		return NPT_MAPPED;
	if (!fill_cache(svm))
		return NPT_BAD;
	if (unlikely(atomic_read(&svm->vm->nr_tables) >= atomic_read(&vcpu->vm->nr_mmu_pages)))
		shrink_vm(svm->vm, ~0ull);
	return map_frames(vcpu, slot, generation, gpa, write);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

int npt_create(struct svm_vm *vm)
{
	int r;

	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		vm->npt[as].root = host_table_alloc();
		if (!vm->npt[as].root)
			return -ENOMEM;
		vm->npt[as].root_phys = host_frames_phys(vm->npt[as].root);
		count_tables(vm, 1);
	}
	vm->watch.begin = mm_begin;
	vm->watch.end = mm_end;
	vm->watch.young = mm_young;
	r = host_mm_watch(&vm->watch);
	vm->watching = !r;
	enlist(vm);
	return r;
}

void npt_destroy(struct svm_vm *vm)
{
	delist(vm);
	if (vm->watching)
		host_mm_unwatch(&vm->watch);
	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		if (vm->npt[as].root)
			free_tables(vm, vm->npt[as].root, svm_features.npt_levels);
		host_free(vm->npt[as].range);
	}
}
