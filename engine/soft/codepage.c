/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages hold code, VM-wide, and what writing to them does.
 *
 * A page from which a vCPU has decoded code has a record, and no TLB entry of any vCPU carries a write tag for it:
 * who makes the first block of a page tells the others which page it is, and waits until they know
 * (VCPU_REQ_PROTECT). So each write by a vCPU comes to code_page_written(), once the bytes are there. One that meets
 * a chunk with code voids the writer's own blocks at once; for each other vCPU that has code of the page it is
 * posted, with X86_STOP_CODE, before the writer's next instruction. So whoever has seen anything that the writer did
 * afterwards finds the bit set when it next looks. (Cross-modifying code must let a serializing instruction follow
 * there anyway: SDM vol. 3, 8.1.3.)
 *
 * A write beside code costs a slow path and nothing else; but when many of them come, the page is taken for data: its
 * chunks are cleared, writes become fast again, and users learn by the same post that their blocks must be armed anew.
 *
 * What is written by others than vCPUs is not seen here: block.c has that.
 */
#include "engine/soft/soft.h"

#define SLOW_WRITES_MAX 256
#define FIRST_TABLE_BITS 12

/* ---- records --------------------------------------------------------------------------------------------------- */

static u64 hash(u64 hva, unsigned bits)
{
	return (hva >> 12) * 0x9e3779b97f4a7c15ull >> (64 - bits);
}

static size_t table_size(unsigned bits)
{
	return sizeof(struct code_table) + (sizeof(struct code_page *) << bits);
}

static struct code_page **table_slot(struct code_table *t, u64 hva)
{
	u64 mask = (1ull << t->bits) - 1, i = hash(hva, t->bits);
	struct code_page *p;

	while ((p = atomic_read_acquire(&t->slot[i])) && p->hva != hva)
		i = (i + 1) & mask;
	return &t->slot[i];
}

/* Not from host_alloc(): the guest's vector registers may be live, and the C library's allocator uses the processor's. */
static struct code_table *table_new(unsigned bits)
{
	struct code_table *t = host_alloc_pages(table_size(bits));

	if (t)
		t->bits = bits;
	return t;
}

/* One that is at most half full, or NULL without memory. [L] */
static struct code_table *table_with_room(struct soft_vm *soft)
{
	struct code_table *t = soft->table, *larger;

	if (t->used * 2ull < 1ull << t->bits)
		return t;
	larger = table_new(t->bits + 1);
	if (!larger)
		return NULL;
	for (u64 i = 0; i < 1ull << t->bits; i++) {
		if (t->slot[i])
			*table_slot(larger, t->slot[i]->hva) = t->slot[i];
	}
	larger->used = t->used;
	larger->older = t;
	atomic_set_release(&soft->table, larger);
	return larger;
}

int soft_vm_create(struct vm *vm)
{
	struct soft_vm *soft = host_alloc(sizeof(*soft));

	if (!soft)
		return -ENOMEM;
	soft->table = table_new(FIRST_TABLE_BITS);
	if (!soft->table) {
		host_free(soft);
		return -ENOMEM;
	}
	host_mutex_init(&soft->lock);
	vm->engine = soft;
	return 0;
}

void soft_vm_destroy(struct vm *vm)
{
	struct soft_vm *soft = vm->engine;

	for (struct code_records *r = soft->records, *next; r; r = next) {
		next = r->next;
		host_free_pages(r, sizeof(*r));
	}
	for (struct code_table *t = soft->table, *older; t; t = older) {
		older = t->older;
		host_free_pages(t, table_size(t->bits));
	}
	host_free(soft);
}

struct code_page *code_page_find(struct vm *vm, u64 hva)
{
	struct soft_vm *soft = vm->engine;

	return *table_slot(atomic_read_acquire(&soft->table), hva);
}

/* [L] */
static struct code_page *new_record(struct soft_vm *soft)
{
	struct code_records *r = soft->records;

	if (!r || r->used == ARRAY_SIZE(r->page)) {
		r = host_alloc_pages(sizeof(*r));
		if (!r)
			return NULL;
		r->next = soft->records;
		soft->records = r;
	}
	return &r->page[r->used++];
}

/* [L] */
static struct code_page *insert(struct soft_vm *soft, u64 hva)
{
	struct code_table *t = table_with_room(soft);
	struct code_page *p = t ? new_record(soft) : NULL;

	if (!p)
		return NULL;
	p->hva = hva;
	t->used++;
	atomic_set_release(table_slot(t, hva), p);
	return p;
}

struct code_page *code_page_get(struct vm *vm, u64 hva)
{
	struct soft_vm *soft = vm->engine;
	struct code_page *p = code_page_find(vm, hva);

	if (p)
		return p;
	host_mutex_lock(&soft->lock);
	p = code_page_find(vm, hva);
	if (!p)
		p = insert(soft, hva);
	host_mutex_unlock(&soft->lock);
	return p;
}

/* ---- users ------------------------------------------------------------------------------------------------------- */

void code_page_add_user(struct soft_vm *soft, struct block_page *user)
{
	host_mutex_lock(&soft->lock);
	user->next_user = user->record->users;
	atomic_set_release(&user->record->users, user);
	host_mutex_unlock(&soft->lock);
}

void code_page_remove_user(struct soft_vm *soft, struct block_page *user)
{
	struct block_page **link = &user->record->users;

	host_mutex_lock(&soft->lock);
	while (*link != user)
		link = &(*link)->next_user;
	atomic_set(link, user->next_user);
	host_mutex_unlock(&soft->lock);
}

void code_page_shrink(struct soft_vm *soft, struct code_page *page)
{
	u64 chunks = 0;

	host_mutex_lock(&soft->lock);
	for (const struct block_page *u = page->users; u; u = u->next_user)
		chunks |= atomic_read(&u->chunks);
	if (page->chunks & chunks)
		atomic_set(&page->chunks, page->chunks & chunks);
	host_mutex_unlock(&soft->lock);
}

/* [L] */
static void post(struct block_page *user)
{
	struct soft_vcpu *owner = user->owner;

	if (!user->posted) {
		user->posted = true;
		user->next_posted = owner->posts;
		atomic_set(&owner->posts, user);
	}
	atomic_or(&owner->cpu->stop, X86_STOP_CODE);
}

static void post_others(struct soft_vm *soft, const struct code_page *page, const struct block_page *own)
{
	host_mutex_lock(&soft->lock);
	for (struct block_page *u = page->users; u; u = u->next_user) {
		if (u != own)
			post(u);
	}
	host_mutex_unlock(&soft->lock);
}

void code_page_doubt(struct soft_vm *soft, const struct code_page *page)
{
	post_others(soft, page, NULL);
}

/* The lock is held over both, so that whoever finds no chunks finds everybody posted. */
static void take_for_data(struct soft_vm *soft, struct code_page *page)
{
	host_mutex_lock(&soft->lock);
	for (struct block_page *u = page->users; u; u = u->next_user)
		post(u);
	atomic_set(&page->chunks, 0);
	host_mutex_unlock(&soft->lock);
}

/* ---- arming, writing --------------------------------------------------------------------------------------------- */

/* Whether the page is guarded already for the arming that the chunks now belong to. */
static bool mark(struct soft_vm *soft, struct block_page *user, u64 chunks)
{
	struct code_page *p = user->record;
	bool guarded;

	host_mutex_lock(&soft->lock);
	if (!p->chunks) {
		atomic_set(&p->armings, p->armings + 1);
		atomic_set(&p->slow_writes, 0);
	}
	atomic_or(&p->chunks, chunks);
	user->arming = p->armings;
	guarded = p->guarded == p->armings;
	host_mutex_unlock(&soft->lock);
	return guarded;
}

/* Nobody but this vCPU may write to the page unnoticed when it returns. */
static void protect_from_others(struct vcpu *vcpu, u64 hva)
{
	struct soft_vm *soft = vcpu->vm->engine;
	struct vcpu *other;

	if (atomic_read(&vcpu->vm->nr_vcpus) == 1)
		return;
	host_mutex_lock(&soft->lock);
	for (u32 i = 0; (other = vm_vcpu(vcpu->vm, i)); i++) {
		struct soft_vcpu *s = other->engine;

		if (other == vcpu || s->nr_protect > SOFT_PROTECTS)
			continue;
		if (s->nr_protect < SOFT_PROTECTS)
			s->protect[s->nr_protect] = hva;
		s->nr_protect++;
	}
	host_mutex_unlock(&soft->lock);
	vcpu_sync_others(vcpu, VCPU_REQ_PROTECT);
}

void soft_protect(struct vcpu *vcpu)
{
	struct soft_vcpu *own = vcpu->engine;
	u64 page[SOFT_PROTECTS];
	u32 n;

	host_mutex_lock(&own->vm->lock);
	n = own->nr_protect;
	own->nr_protect = 0;
	for (u32 i = 0; i < n && i < SOFT_PROTECTS; i++)
		page[i] = own->protect[i];
	host_mutex_unlock(&own->vm->lock);
	if (n > SOFT_PROTECTS) {
		soft_tlb_flush(&vcpu->cpu, false);
		return;
	}
	for (u32 i = 0; i < n; i++)
		soft_tlb_protect(&vcpu->cpu, page[i]);
}

/*
 * Every vCPU that finds the page unguarded sees to it that all others drop their write tags, also if another one is at it:
 * only then does it know.
 */
void code_page_arm(struct vcpu *vcpu, struct block_page *user, u64 chunks)
{
	struct soft_vm *soft = vcpu->vm->engine;
	struct code_page *p = user->record;

	if (user->arming == atomic_read(&p->armings) && (atomic_read(&p->chunks) & chunks) == chunks)
		return;
	if (mark(soft, user, chunks))
		return;
	soft_tlb_protect(&vcpu->cpu, p->hva);
	protect_from_others(vcpu, p->hva);
	host_mutex_lock(&soft->lock);
	if (user->arming == p->armings)
		p->guarded = p->armings;
	host_mutex_unlock(&soft->lock);
}

/* The writer's own blocks; true: some are void now. */
static bool void_own(struct vcpu *vcpu, struct block_page *own, u64 chunks)
{
	if (!own || !block_page_compare(vcpu->engine, own, own->chunks & chunks))
		return false;
	atomic_or(&vcpu->cpu.stop, X86_STOP_CODE);
	return true;
}

void code_page_written(struct vcpu *vcpu, struct code_page *page, unsigned offset, unsigned size)
{
	struct soft_vm *soft = vcpu->vm->engine;
	u64 chunks = code_chunks(offset, size);
	bool useful = false;

	atomic_fence(); /* the bytes, then the chunks and users: as mark() and code_page_add_user() precede decoding */
	if (atomic_read(&page->chunks) & chunks) {
		struct block_page *own = block_page_find(vcpu->engine, page->hva);
		struct block_page *first = atomic_read_acquire(&page->users);

		useful = void_own(vcpu, own, chunks);
		if (first && (first != own || atomic_read(&first->next_user))) {
			post_others(soft, page, own);
			useful = true;
		}
	}
	if (!useful && atomic_add(&page->slow_writes, 1) + 1 >= SLOW_WRITES_MAX)
		take_for_data(soft, page);
}
