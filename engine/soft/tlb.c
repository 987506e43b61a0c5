/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The software TLB and the accesses that miss it.
 *
 * There is a set of entries for each way of being privileged (enum x86_tlb_set); cpu->tlb points to the one for ordinary
 * data accesses now. An entry has a read tag if a read may go straight to host memory, and a write tag if a write may: not
 * while the page is clean in the guest's page table, unlogged in the dirty log, read-only, or holds code.
 *
 * Address spaces. The last few PCIDs have sets of their own (struct tlb_space), which wait while another is current and are
 * used again if CR3 is loaded without a flush. The set of the kernel with SMAP in force is shared: nearly all in it is
 * global, and what is not is dropped at each change. The bits of struct tlb_use find the entries to drop.
 *
 * Entries are of 4 KiB. INVLPG of an address in a large page drops all that were made of it; "large" tells cheaply that
 * there are none.
 *
 * Writes behind the TLB come through write_piece(), which keeps those four promises.
 */
#include "engine/soft/soft.h"
#include "engine/soft/window.h"
#include "host/user/huge.h"
#include "x86/paging.h"
#include "x86/segment.h"
#include "x86/system.h"

#define TLB_WORDS (X86_TLB_SIZE / 64)

/* ---- entries ------------------------------------------------------------------------------------------------- */

static u64 invalid_tag(unsigned index)
{
	return (u64)(index ^ 1) << 12;
}

static void drop(struct x86_tlb_entry *e, unsigned index)
{
	e->tag_read = e->tag_write = invalid_tag(index);
	e->gpa = 0;
}

static void drop_marked(struct x86_tlb_entry *set, u64 marks[TLB_WORDS])
{
	for (unsigned word = 0; word < TLB_WORDS; word++) {
		for (; marks[word]; marks[word] &= marks[word] - 1) {
			unsigned i = word * 64 + (unsigned)__builtin_ctzll(marks[word]);

			drop(&set[i], i);
		}
	}
}

static void mark(struct tlb_use *use, unsigned index, bool global)
{
	u64 bit = BIT64(index % 64);

	use->local[index / 64] &= ~bit;
	use->global[index / 64] &= ~bit;
	*(global ? &use->global[index / 64] : &use->local[index / 64]) |= bit;
}

/* ---- sets and address spaces ------------------------------------------------------------------------------------ */

/* The first set that belongs to address space n alone. */
static unsigned own_sets(unsigned n)
{
	return 1 + n * (X86_NR_TLBS - 1);
}

/* An entry of zeros is invalid but for the first, which would hit page 0: the others need not be touched. */
static void make_sets(struct x86_cpu *cpu, unsigned first, unsigned count)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	tlb->sets = (unsigned)max_u64(tlb->sets, first + count);
	for (unsigned set = first; set < first + count; set++)
		drop(&cpu->tlbs[set][0], 0);
}

static void drop_local(struct x86_cpu *cpu, unsigned first, unsigned count)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	for (unsigned set = first; set < first + count; set++)
		drop_marked(cpu->tlbs[set], tlb->use[set].local);
}

static void drop_space(struct x86_cpu *cpu, unsigned n)
{
	drop_local(cpu, 0, 1);
	drop_local(cpu, own_sets(n), X86_NR_TLBS - 1);
	x86_walk_forget(cpu);
	window_flush_space(soft_of(cpu), n);
}

/* The address space of pcid: the one that stands for it, or the one that has not been in use for longest. */
static unsigned find_space(struct soft_tlb *tlb, unsigned current, unsigned pcid)
{
	unsigned oldest = current;

	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		if (tlb->space[n].taken && tlb->space[n].pcid == pcid)
			return n;
		if (n != current && (oldest == current || tlb->space[n].left < tlb->space[oldest].left))
			oldest = n;
	}
	tlb->space[oldest].taken = true;
	tlb->space[oldest].pcid = (u16)pcid;
	tlb->space[oldest].stale = true;
	return oldest;
}

static void soft_switch_space(struct x86_cpu *cpu, bool keep)
{
	struct soft_vcpu *soft = soft_of(cpu);
	struct soft_tlb *tlb = &soft->tlb;
	unsigned n = find_space(tlb, cpu->tlb_context, x86_pcid(cpu));
	struct tlb_space *space = &tlb->space[n];
	bool fresh = !keep || space->stale;
	unsigned from = cpu->tlb_context;

	if (n != cpu->tlb_context) {
		tlb->space[cpu->tlb_context].left = ++tlb->moves;
		drop_local(cpu, 0, 1);
		if (!space->made)
			make_sets(cpu, own_sets(n), X86_NR_TLBS - 1);
		space->made = true;
		cpu->tlb_context = (u8)n;
		cpu->tlb = x86_tlb_of(cpu, x86_data_tlb(cpu));
		cpu->tlb_kernel = x86_tlb_of(cpu, X86_TLB_KERNEL);
	}
	if (fresh)
		drop_space(cpu, n);
	space->stale = false;
	window_switch(soft, from, fresh);
	block_enter_context(soft, n, fresh);
}

void soft_tlb_init(struct x86_cpu *cpu)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	make_sets(cpu, 0, X86_NR_TLBS);
	tlb->space[0] = (struct tlb_space){ .made = true, .taken = true };
	cpu->tlb_kernel = x86_tlb_of(cpu, X86_TLB_KERNEL);
	cpu->walk_cache = &tlb->walk;
	x86_walk_forget(cpu);
}

/* ---- invalidation -------------------------------------------------------------------------------------------------- */

static void flush_local(struct x86_cpu *cpu)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		tlb->space[n].stale = n != cpu->tlb_context;
	drop_space(cpu, cpu->tlb_context);
}

static void flush_everything(struct x86_cpu *cpu)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	for (unsigned set = 0; set < tlb->sets; set++) {
		drop_marked(cpu->tlbs[set], tlb->use[set].local);
		drop_marked(cpu->tlbs[set], tlb->use[set].global);
	}
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		tlb->space[n].taken = false;
	tlb->space[cpu->tlb_context].taken = true;
	tlb->space[cpu->tlb_context].pcid = (u16)x86_pcid(cpu);
	memset(tlb->large, 0, sizeof(tlb->large));
	x86_walk_forget(cpu);
}

void soft_tlb_flush(struct x86_cpu *cpu, bool keep_global)
{
	soft_of(cpu)->stat->tlb_flush++;
	window_flush_all(soft_of(cpu));
	if (keep_global)
		flush_local(cpu);
	else
		flush_everything(cpu);
	block_flush_jumps(soft_of(cpu), keep_global);
}

void soft_tlb_release(struct x86_cpu *cpu)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	soft_tlb_flush(cpu, false);
	host_zero_pages(cpu->tlbs, tlb->sets * sizeof(cpu->tlbs[0]));
	make_sets(cpu, 0, tlb->sets);
}

static void soft_flush_pcid(struct x86_cpu *cpu, unsigned pcid)
{
	struct soft_vcpu *soft = soft_of(cpu);

	if (pcid == x86_pcid(cpu)) {
		drop_space(cpu, cpu->tlb_context);
		block_flush_jumps(soft, true);
		return;
	}
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++)
		soft->tlb.space[n].stale |= soft->tlb.space[n].pcid == pcid && n != cpu->tlb_context;
}

/* The bit of soft_tlb.large for the area of page_size that gva is in. */
static unsigned large_bit(u64 gva, u64 page_size)
{
	return (unsigned)((gva / page_size * 2 + (page_size >> 30)) * 0x9e3779b97f4a7c15ull >> (64 - TLB_LARGE_BITS));
}

static bool may_be_large(const struct soft_tlb *tlb, u64 gva, u64 page_size)
{
	unsigned bit = large_bit(gva, page_size);

	return tlb->large[bit / 64] >> (bit % 64) & 1;
}

static void note_large(struct soft_tlb *tlb, u64 gva, u64 page_size)
{
	unsigned bit;

	if (page_size == PAGE_SIZE)
		return;
	bit = large_bit(gva, page_size);
	tlb->large[bit / 64] |= BIT64(bit % 64);
}

static u64 in_use(const struct soft_tlb *tlb, unsigned set, unsigned word)
{
	return tlb->use[set].local[word] | tlb->use[set].global[word];
}

/* Drops what the sets hold of the area of size bytes around gva. */
static void drop_area(struct x86_cpu *cpu, u64 gva, u64 size)
{
	const struct soft_tlb *tlb = &soft_of(cpu)->tlb;

	for (unsigned n = 0; n < tlb->sets * TLB_WORDS; n++) {
		unsigned set = n / TLB_WORDS, word = n % TLB_WORDS;

		for (u64 used = in_use(tlb, set, word); used; used &= used - 1) {
			unsigned i = word * 64 + (unsigned)__builtin_ctzll(used);
			struct x86_tlb_entry *e = &cpu->tlbs[set][i];

			if (!((e->tag_read ^ gva) & ~(size - 1)))
				drop(e, i);
		}
	}
}

static void drop_page(struct x86_cpu *cpu, unsigned first, unsigned count, u64 gva)
{
	unsigned i = gva >> 12 & (X86_TLB_SIZE - 1);

	for (unsigned set = first; set < first + count; set++) {
		if (!((cpu->tlbs[set][i].tag_read ^ gva) & PAGE_MASK))
			drop(&cpu->tlbs[set][i], i);
	}
}

static void soft_flush_page(struct x86_cpu *cpu, u64 gva)
{
	static const u64 sizes[] = { 1ull << 21, 1ull << 22, 1ull << 30 };
	struct soft_vcpu *soft = soft_of(cpu);

	drop_page(cpu, 0, 1, gva);
	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		if (soft->tlb.space[n].made)
			drop_page(cpu, own_sets(n), X86_NR_TLBS - 1, gva);
	}
	x86_walk_forget(cpu);
	soft->stat->invlpg++;
	block_fetch_flush_page(soft, gva);
	window_flush_page(soft, gva);
	for (unsigned n = 0; n < ARRAY_SIZE(sizes); n++) {
		if (may_be_large(&soft->tlb, gva, sizes[n]))
			drop_area(cpu, gva, sizes[n]);
	}
}

/* The bit of soft_tlb.writable for the page of the host's at hva. */
static u64 *writable_word(struct soft_tlb *tlb, u64 hva, u64 *bit)
{
	unsigned n = (unsigned)((hva >> 12) * 0x9e3779b97f4a7c15ull >> (64 - TLB_WRITABLE_BITS));

	*bit = BIT64(n % 64);
	return &tlb->writable[n / 64];
}

static void note_writable(struct soft_tlb *tlb, u64 hva)
{
	u64 bit, *word = writable_word(tlb, hva, &bit);

	*word |= bit;
}

/* Nearly always no entry has a write tag for it: going through all tells that for the next pages too. */
void soft_tlb_protect(struct x86_cpu *cpu, u64 hva)
{
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;
	u64 bit, *writable = writable_word(tlb, hva, &bit);

	window_protect(soft_of(cpu), hva);
	if (!(*writable & bit))
		return;
	memset(tlb->writable, 0, sizeof(tlb->writable));
	for (unsigned n = 0; n < tlb->sets * TLB_WORDS; n++) {
		unsigned set = n / TLB_WORDS, word = n % TLB_WORDS;

		for (u64 used = in_use(tlb, set, word); used; used &= used - 1) {
			unsigned i = word * 64 + (unsigned)__builtin_ctzll(used);
			struct x86_tlb_entry *e = &cpu->tlbs[set][i];

			if (e->host == hva)
				e->tag_write = invalid_tag(i);
			else if (e->tag_write != invalid_tag(i))
				note_writable(tlb, e->host);
		}
	}
}

/* ---- translation ------------------------------------------------------------------------------------------------ */

/* One page of a virtual access, translated. */
struct piece {
	u64 gva, gpa;
	unsigned size;
	u8 *host;		/* NULL: MMIO, or a write to read-only memory */
	struct memslot *slot;
	struct code_page *code;	/* if the page holds code now */
};

/* The in-kernel LAPIC's page lies over whatever the slots have there. */
static bool is_apic_page(struct x86_cpu *cpu, u64 gpa)
{
	const struct vcpu *vcpu = vcpu_of(cpu);

	return vcpu->apic && !((gpa ^ vcpu->apic_base) & PAGE_MASK & ~BIT64(63)) &&
	       (vcpu->apic_base & (BIT64(11) | BIT64(10))) == BIT64(11);
}

const u8 *soft_ram(struct x86_cpu *cpu, u64 gpa, struct memslot **slot)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	struct memslot *s;

	if (is_apic_page(cpu, gpa))
		return NULL;
	s = memslot_find(vcpu->vm, vcpu_as_id(vcpu), gpa >> 12);
	if (!s)
		return NULL;
	*slot = s;
	return (const u8 *)(s->hva + (gpa - (s->base_gfn << 12)));
}

static struct x86_tlb_entry *set_for(struct x86_cpu *cpu, unsigned access)
{
	if (access & X86_ACCESS_SYSTEM)
		return x86_tlb_of(cpu, cpu->cr4 & X86_CR4_SMAP ? X86_TLB_KERNEL_NOUSER : X86_TLB_KERNEL);
	if (access & X86_ACCESS_USER)
		return x86_tlb_of(cpu, X86_TLB_USER);
	return cpu->tlb;
}

static bool dirty_logged(const struct memslot *slot, u64 gpa)
{
	u64 n = (gpa >> 12) - slot->base_gfn;

	return !slot->dirty || (atomic_read(&slot->dirty[n / 64]) >> (n % 64) & 1);
}

static void fill(struct x86_cpu *cpu, unsigned access, const struct piece *p, const struct x86_translation *t)
{
	unsigned i = p->gva >> 12 & (X86_TLB_SIZE - 1);
	struct x86_tlb_entry *set = set_for(cpu, access), *e = &set[i];
	struct soft_tlb *tlb = &soft_of(cpu)->tlb;
	u64 page = p->gva & PAGE_MASK;

	if (x86_debug_data_active(cpu) && x86_debug_data(cpu, page, PAGE_SIZE, true))
		return;
	mark(&tlb->use[(set - cpu->tlbs[0]) / X86_TLB_SIZE], i, t->global);
	note_large(tlb, page, t->page_size);
	host_huge_note((u64)p->host);
	e->host = (u64)p->host & PAGE_MASK;
	e->gpa = p->gpa & PAGE_MASK;
	e->tag_read = page;
	e->tag_write = invalid_tag(i);
	if (p->slot->flags & KVM_MEM_READONLY)
		return;
	if ((t->dirty || !(cpu->cr0 & X86_CR0_PG)) && dirty_logged(p->slot, p->gpa) && !code_page_armed(p->code) &&
	    x86_translation_allows(cpu, t, access | X86_ACCESS_WRITE)) {
		e->tag_write = page;
		note_writable(tlb, e->host);
	}
}

static struct tlb_device *device_slot(struct x86_cpu *cpu, u64 gva)
{
	return &soft_of(cpu)->tlb.device[gva >> 12 & (TLB_DEVICES - 1)];
}

static void note_device(struct x86_cpu *cpu, unsigned access, const struct piece *p)
{
	*device_slot(cpu, p->gva) = (struct tlb_device){
		.page = p->gva & PAGE_MASK, .gpa = p->gpa & PAGE_MASK, .flushes = soft_of(cpu)->flushes,
		.set = set_for(cpu, access), .written = access & X86_ACCESS_WRITE,
	};
}

bool soft_tlb_device(struct x86_cpu *cpu, u64 gva, unsigned access)
{
	const struct tlb_device *d = device_slot(cpu, gva);

	return d->page == (gva & PAGE_MASK) && d->flushes == soft_of(cpu)->flushes && d->set == set_for(cpu, access) &&
	       (d->written || !(access & (X86_ACCESS_WRITE | X86_ACCESS_RMW)));
}

static enum x86_result translate(struct x86_cpu *cpu, unsigned access, struct piece *p)
{
	struct x86_translation t;
	enum x86_result r;

	if (soft_tlb_device(cpu, p->gva, access)) {
		p->gpa = device_slot(cpu, p->gva)->gpa | (p->gva & (PAGE_SIZE - 1));
		p->host = NULL;
		p->code = NULL;
		return X86_OK;
	}
	r = x86_walk(cpu, p->gva, access, true, &t);
	if (r)
		return r;
	p->gpa = t.gpa;
	p->code = NULL;
	p->host = (u8 *)soft_ram(cpu, t.gpa, &p->slot);
	if (!p->host) {
		note_device(cpu, access, p);
		return X86_OK;
	}
	p->code = code_page_find(vcpu_of(cpu)->vm, (u64)p->host & PAGE_MASK);
	if (access & X86_ACCESS_WRITE) {
		if (p->slot->flags & KVM_MEM_READONLY) {
			if (!(access & X86_ACCESS_RMW))
				p->host = NULL;
			return X86_OK;
		}
		memslot_mark_dirty(vcpu_of(cpu), p->slot, t.gpa >> 12);
	}
	fill(cpu, access, p, &t);
	return X86_OK;
}

/* Splits [gva, gva + size) at the page end; both halves are translated before anything is accessed. */
static enum x86_result translate_range(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, struct piece p[2],
				       unsigned *n)
{
	unsigned first = (unsigned)min_u64(size, PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	enum x86_result r;

	p[0].gva = gva;
	p[0].size = first;
	*n = 1;
	r = translate(cpu, access, &p[0]);
	if (r || first == size)
		return r;
	soft_of(cpu)->stat->slow_crossings++;
	p[1].gva = gva + first;
	if (cpu->code_bits != 64)
		p[1].gva &= 0xffffffffull;
	p[1].size = size - first;
	*n = 2;
	return translate(cpu, access, &p[1]);
}

/* ---- accesses ------------------------------------------------------------------------------------------------------ */

/* Aligned power-of-two sizes in one access, as hardware does. */
static void copy_in(void *dst, const u8 *src, unsigned size)
{
	switch (size) {
	case 8:
		*(u64 *)dst = *(const volatile u64 *)src;
		break;
	case 4:
		*(u32 *)dst = *(const volatile u32 *)src;
		break;
	case 2:
		*(u16 *)dst = *(const volatile u16 *)src;
		break;
	default:
		memcpy(dst, src, size);
	}
}

static void copy_out(u8 *dst, const void *src, unsigned size)
{
	switch (size) {
	case 8:
		*(volatile u64 *)dst = *(const u64 *)src;
		break;
	case 4:
		*(volatile u32 *)dst = *(const u32 *)src;
		break;
	case 2:
		*(volatile u16 *)dst = *(const u16 *)src;
		break;
	default:
		memcpy(dst, src, size);
	}
}

static enum x86_result read_piece(struct x86_cpu *cpu, const struct piece *p, void *dst)
{
	if (likely(p->host)) {
		copy_in(dst, p->host, p->size);
		return X86_OK;
	}
	soft_of(cpu)->stat->slow_mmio++;
	return cpu->env->mmio_read(cpu, p->gpa, dst, p->size);
}

static enum x86_result write_piece(struct x86_cpu *cpu, const struct piece *p, const void *src)
{
	if (unlikely(!p->host)) {
		soft_of(cpu)->stat->slow_mmio++;
		return cpu->env->mmio_write(cpu, p->gpa, src, p->size);
	}
	copy_out(p->host, src, p->size);
	if (unlikely(code_page_armed(p->code))) {
		soft_of(cpu)->stat->slow_code_writes++;
		code_page_written(vcpu_of(cpu), p->code, p->gpa & (PAGE_SIZE - 1), p->size);
	}
	return X86_OK;
}

static void note_breakpoint(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access)
{
	u64 hit = x86_debug_data(cpu, gva, size, access & X86_ACCESS_WRITE);

	if (hit && !(access & X86_ACCESS_SYSTEM)) {
		cpu->pending_dr6 |= hit;
		atomic_or(&cpu->stop, X86_STOP_EVENT);
	}
}

static void *tlb_hit(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access)
{
	const struct x86_tlb_entry *e = &set_for(cpu, access)[gva >> 12 & (X86_TLB_SIZE - 1)];
	u64 off = gva - (access & X86_ACCESS_WRITE ? e->tag_write : e->tag_read);

	return off <= PAGE_SIZE - size ? (void *)(e->host + off) : NULL;
}

static enum x86_result read_missed(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access)
{
	struct piece p[2];
	unsigned n;
	enum x86_result r;

	soft_of(cpu)->stat->tlb_read_misses++;
	r = translate_range(cpu, gva, size, access, p, &n);
	if (access & X86_ACCESS_PROBE)
		return r;
	for (unsigned i = 0; !r && i < n; i++) {
		r = read_piece(cpu, &p[i], dst);
		dst = (char *)dst + p[i].size;
	}
	if (!r && unlikely(x86_debug_data_active(cpu)))
		note_breakpoint(cpu, gva, size, access);
	return r;
}

/* Of a page that is known to be a device's, without more ado: an access that no debug register looks at. */
static bool device_known(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access)
{
	return soft_tlb_device(cpu, gva, access) && (gva & (PAGE_SIZE - 1)) + size <= PAGE_SIZE &&
	       !(access & X86_ACCESS_PROBE) && !x86_debug_data_active(cpu);
}

static u64 device_gpa(struct x86_cpu *cpu, u64 gva)
{
	return device_slot(cpu, gva)->gpa | (gva & (PAGE_SIZE - 1));
}

static enum x86_result soft_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access)
{
	const void *host = tlb_hit(cpu, gva, size, access);

	if (host) {
		if (!(access & X86_ACCESS_PROBE))
			copy_in(dst, host, size);
		return X86_OK;
	}
	if (!device_known(cpu, gva, size, access))
		return read_missed(cpu, gva, dst, size, access);
	soft_of(cpu)->stat->tlb_read_misses++;
	soft_of(cpu)->stat->slow_mmio++;
	return cpu->env->mmio_read(cpu, device_gpa(cpu, gva), dst, size);
}

static enum x86_result write_missed(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size, unsigned access)
{
	struct piece p[2];
	unsigned n;
	enum x86_result r;

	soft_of(cpu)->stat->tlb_write_misses++;
	r = translate_range(cpu, gva, size, access | X86_ACCESS_WRITE, p, &n);
	if (access & X86_ACCESS_PROBE)
		return r;
	for (unsigned i = 0; !r && i < n; i++) {
		r = write_piece(cpu, &p[i], src);
		src = (const char *)src + p[i].size;
	}
	if (!r && unlikely(x86_debug_data_active(cpu)))
		note_breakpoint(cpu, gva, size, access | X86_ACCESS_WRITE);
	return r;
}

static enum x86_result soft_write(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size, unsigned access)
{
	void *host = tlb_hit(cpu, gva, size, access | X86_ACCESS_WRITE);

	if (host) {
		if (!(access & X86_ACCESS_PROBE))
			copy_out(host, src, size);
		return X86_OK;
	}
	if (!device_known(cpu, gva, size, access | X86_ACCESS_WRITE))
		return write_missed(cpu, gva, src, size, access);
	soft_of(cpu)->stat->tlb_write_misses++;
	soft_of(cpu)->stat->slow_mmio++;
	return cpu->env->mmio_write(cpu, device_gpa(cpu, gva), src, size);
}

/* False: too many of them. */
static bool pin_code(struct x86_cpu *cpu, const struct piece *p)
{
	struct soft_vcpu *soft = soft_of(cpu);

	if (soft->nr_pinned == SOFT_PINS)
		return false;
	soft->pinned[soft->nr_pinned++] = (struct pinned){
		.page = p->code, .offset = (u16)(p->gpa & (PAGE_SIZE - 1)), .size = (u16)p->size,
	};
	atomic_or(&cpu->stop, X86_STOP_CODE);
	return true;
}

static enum x86_result soft_pin(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, void **host)
{
	struct piece p;
	enum x86_result r;

	*host = tlb_hit(cpu, gva, size, access);
	if (likely(*host))
		return X86_OK;
	if ((gva & (PAGE_SIZE - 1)) + size > PAGE_SIZE || x86_debug_data_active(cpu))
		return X86_OK;
	if (access & X86_ACCESS_WRITE)
		soft_of(cpu)->stat->tlb_write_misses++;
	else
		soft_of(cpu)->stat->tlb_read_misses++;
	p.gva = gva;
	p.size = size;
	r = translate(cpu, access, &p);
	if (r || !p.host || ((access & X86_ACCESS_WRITE) && (p.slot->flags & KVM_MEM_READONLY)))
		return r;
	if ((access & X86_ACCESS_WRITE) && code_page_armed(p.code) && !pin_code(cpu, &p))
		return X86_OK;
	*host = p.host;
	return X86_OK;
}

const struct x86_mem_ops soft_mem_ops = {
	.read = soft_read,
	.write = soft_write,
	.pin = soft_pin,
	.flush_page = soft_flush_page,
	.flush_all = soft_tlb_flush,
	.flush_pcid = soft_flush_pcid,
	.switch_space = soft_switch_space,
};
