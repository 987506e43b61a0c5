/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Self-modifying and cross-modifying code.
 *
 * A page from which a vCPU has decoded code has a record, and no TLB entry of any vCPU carries a write tag for it. So each
 * write comes to code_page_write() first. A write that meets a chunk with code moves the page's version: whoever has blocks
 * there compares bytes before running them again. A write beside code costs a slow path and nothing else; but when many of
 * them come, the page is taken for data - its chunks are cleared, writes become fast again - until a block of it is run,
 * which arms it anew.
 */
#include "engine/soft/soft.h"

#define SLOW_WRITES_MAX 256

static unsigned hash(u64 hva)
{
	return (unsigned)((hva >> 12) * 0x9e3779b97f4a7c15ull >> (64 - CODE_HASH_BITS));
}

int soft_vm_create(struct vm *vm)
{
	struct soft_vm *soft = host_alloc(sizeof(*soft));

	if (!soft)
		return -ENOMEM;
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
	host_free(soft);
}

struct code_page *code_page_find(struct vm *vm, u64 hva)
{
	struct soft_vm *soft = vm->engine;
	struct code_page *p = atomic_read_acquire(&soft->code[hash(hva)]);

	while (p && p->hva != hva)
		p = p->next;
	return p;
}

/*
 * A new record. Not from host_alloc(): the guest's vector registers are live here, and the C library's allocator uses the
 * processor's. [soft->lock]
 */
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

static struct code_page *insert(struct vm *vm, u64 hva)
{
	struct soft_vm *soft = vm->engine;
	struct code_page *p;

	host_mutex_lock(&soft->lock);
	p = code_page_find(vm, hva);
	if (!p) {
		p = new_record(soft);
		if (p) {
			p->hva = hva;
			p->next = soft->code[hash(hva)];
			atomic_set_release(&soft->code[hash(hva)], p);
		}
	}
	host_mutex_unlock(&soft->lock);
	return p;
}

static u64 chunk_mask(unsigned offset, unsigned len)
{
	unsigned first = offset / 64, last = (offset + len - 1) / 64;

	return (~0ull << first) & (~0ull >> (63 - last));
}

bool code_page_holds(const struct code_page *page, unsigned offset, unsigned len)
{
	u64 mask = chunk_mask(offset, len);

	return (atomic_read(&page->chunks) & mask) == mask;
}

struct code_page *code_page_arm(struct vcpu *vcpu, u64 hva, unsigned offset, unsigned len)
{
	struct code_page *p = code_page_find(vcpu->vm, hva);
	u64 mask = chunk_mask(offset, len);

	if (!p)
		p = insert(vcpu->vm, hva);
	if (!p || (atomic_read(&p->chunks) & mask) == mask)
		return p;
	if (!atomic_or(&p->chunks, mask)) {
		atomic_set(&p->slow_writes, 0);
		soft_tlb_protect(&vcpu->cpu, hva);
		vcpu_sync_others(vcpu);
	}
	return p;
}

void code_page_write(struct vcpu *vcpu, struct code_page *page, unsigned offset, unsigned size)
{
	if (!(atomic_read(&page->chunks) & chunk_mask(offset, size))) {
		if (atomic_add(&page->slow_writes, 1) < SLOW_WRITES_MAX)
			return;
		atomic_set(&page->chunks, 0);
	}
	atomic_add(&page->version, 1);
	code_moved(vcpu->vm->engine);
	atomic_or(&vcpu->cpu.stop, X86_STOP_CODE);
}
