/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is mapped in windows, and why it may be.
 *
 * A page may be mapped while a TLB entry that was made just now would be valid: the guest's page table has it present and
 * accessed, for users, with a key that PKRU lets through; writable if a write would change nothing but the page itself: it is
 * dirty there, and holds no code. Read-only slots and such as log dirty pages are left to the TLB. For comparing, a page's
 * guest-physical address is kept, and by 2 MiB what the upper levels said. All page-table bits that count are read anew.
 *
 * Holes stay reserved: what goes is mapped over by inaccessible memory, in one step. Where the host fails us in the midst of
 * that, windows are given up for ever, as something of the program's may be there, or of the guest's still.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mman.h>

#include "engine/soft/direct.h"
#include "engine/soft/window_map.h"
#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/sys.h"
#include "x86/paging.h"

#define TWIN_LOW 0x10000ull	/* what is below, or above, the host need not map for its processes */
#define TWIN_HIGH 0x7ffffffff000ull
#define RUN_PAGES 16u	/* to either side of a page: taken along if they lie behind one another in the host too */
#define GROUP_PAGES 16u	/* aligned: what Linux maps of a file at a time */
#define VMA_SHARE 2u	/* of all mappings that the system allows a process, windows take one half */

static u32 vmas; /* a: of all windows of the process, at most */

/* ---- the guest's page tables ------------------------------------------------------------------------------------ */

struct upper {
	u64 table, above;
	bool large, nx;
	u64 entry; /* the large page's */
};

static const volatile u64 *entry_at(struct x86_cpu *cpu, u64 gpa)
{
	struct memslot *slot;

	return (const volatile u64 *)soft_ram(cpu, gpa, &slot);
}

static u64 reserved_bits(const struct x86_cpu *cpu)
{
	return (cpu->phys_reserved & PTE_ADDR) | (cpu->efer & X86_EFER_NXE ? 0 : PTE_NX);
}

static bool usable(const struct x86_cpu *cpu, u64 entry)
{
	return (entry & (PTE_P | PTE_A)) == (PTE_P | PTE_A) && !(entry & reserved_bits(cpu));
}

/* Of the level that maps: U, and the key. */
static bool readable(const struct x86_cpu *cpu, u64 entry, u64 above)
{
	if (!usable(cpu, entry) || !(entry & above & PTE_U))
		return false;
	return !(cpu->cr4 & X86_CR4_PKE) || !(cpu->pkru >> 2 * (entry >> PTE_PKEY_SHIFT & 15) & 3);
}

static bool writes_freely(u64 entry, u64 above)
{
	return (entry & above & PTE_W) && (entry & PTE_D);
}

static bool in_long_mode(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & X86_CR0_PG) && x86_long_mode(cpu);
}

static bool walk_upper(struct x86_cpu *cpu, u64 gva, struct upper *u)
{
	u64 entry = cpu->cr3;

	*u = (struct upper){ .above = PTE_W | PTE_U };
	if (!in_long_mode(cpu))
		return false;
	for (unsigned level = cpu->cr4 & X86_CR4_LA57 ? 5 : 4; level > 1; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		const volatile u64 *at = entry_at(cpu, (entry & PTE_ADDR) + (gva >> shift & 511) * 8);

		if (!at)
			return false;
		entry = *at;
		if (!usable(cpu, entry) || (level > 2 && (entry & PTE_PS)) || (level > 3 && cpu->vendor_amd && (entry & PTE_G)))
			return false;
		u->above &= entry;
		u->nx |= (entry & PTE_NX) != 0;
	}
	u->table = entry & PTE_ADDR;
	u->large = entry & PTE_PS;
	u->entry = entry;
	if (u->large)
		u->table &= ~(LEAF_SIZE - 1);
	return !u->large || !(entry & (LEAF_SIZE - 1) & PTE_ADDR & ~BIT64(12));
}

/* ---- host memory ------------------------------------------------------------------------------------------------ */

static u64 linear_of(const struct window_leaf *l, unsigned page)
{
	return l->base + page * PAGE_SIZE;
}

static u64 host_of(const struct windows *w, unsigned window, u64 linear)
{
	return window_start(w, window) + (linear & (WINDOW_SIZE - 1));
}

static bool bit(const u64 *bits, unsigned n)
{
	return bits[n / 64] >> (n % 64) & 1;
}

static unsigned count(const u64 *bits)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LEAF_PAGES / 64; i++)
		n += (unsigned)__builtin_popcountll(bits[i]);
	return n;
}

static void set_bit(u64 *bits, unsigned n, bool value)
{
	bits[n / 64] = (bits[n / 64] & ~BIT64(n % 64)) | (u64)value << (n % 64);
}

static void reserve(struct windows *w, unsigned n, u64 linear, u64 size)
{
	long p = sys_mmap((void *)host_of(w, n, linear), size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (sys_failed(p))
		window_break(w);
}

/* What is mapped there of the leaf is no more. */
static void take_away(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr)
{
	if (!l->twin)
		reserve(w, l->window, linear_of(l, first), nr * PAGE_SIZE);
	else if (w->space[l->space].twin)
		host_twin_unmap(w->space[l->space].twin, linear_of(l, first), nr * PAGE_SIZE);
}

/* mremap(2) has failed: it may have unmapped what was in its way, and somebody may have come since. */
static void reserve_again(struct windows *w, unsigned n, u64 linear, u64 size)
{
	u64 at = host_of(w, n, linear);
	long p = sys_mmap((void *)at, size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == (long)at)
		return;
	if (!sys_failed(p))
		sys_munmap((void *)p, size);
	window_break(w);
}

static void set_break(struct window_space *s, unsigned n, u64 linear)
{
	s->breaks[n] = linear;
	host_twin_break(s->twin, n, linear);
}

/* No breakpoint is in these pages any more. */
static void clear_breaks(struct window_space *s, u64 linear, u64 size)
{
	for (unsigned n = 0; n < HOST_TWIN_BREAKS; n++) {
		if (s->breaks[n] - linear < size)
			set_break(s, n, 0);
	}
}

static void unmap(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr)
{
	take_away(w, l, first, nr);
	if (l->twin && w->space[l->space].twin)
		clear_breaks(&w->space[l->space], linear_of(l, first), nr * PAGE_SIZE);
	for (unsigned i = first; i < first + nr; i++) {
		set_bit(l->mapped, i, false);
		set_bit(l->writable, i, false);
		set_bit(l->executable, i, false);
		set_bit(l->telling, i, false);
		set_bit(l->hopeless, i, false);
	}
	l->vmas++;
	atomic_add(&vmas, 1);
	w->space[l->space].credit -= (int)nr;
	w->soft->stat->window_drops += nr;
}

static void note_written(struct windows *w, u64 host)
{
	*window_written(w, host) |= BIT64(host / PAGE_SIZE % 64);
}

/* Never both: what may be executed has been looked at. */
static int rights(bool writable, bool executable)
{
	return PROT_READ | (writable ? PROT_WRITE : executable ? PROT_EXEC : 0);
}

static bool protect(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr, bool writable)
{
	u64 linear = linear_of(l, first), size = nr * PAGE_SIZE;

	if (l->twin)
		host_twin_protect(w->space[l->space].twin, linear, size, rights(writable, bit(l->executable, first)));
	else if (sys_call3(SYS_mprotect, (long)host_of(w, l->window, linear), (long)size, rights(writable, false))) {
		unmap(w, l, first, nr);
		return false;
	}
	for (unsigned i = first; i < first + nr; i++) {
		set_bit(l->writable, i, writable);
		if (!writable)
			continue;
		set_bit(l->executable, i, false);
		note_written(w, l->host[i]);
	}
	return true;
}

/* Maps the pages at host a second time: in place of a hole. */
static long alias(const struct windows *w, u64 host, u64 size, u64 at)
{
	long p;

	if (!w->ask)
		return sys_call6(SYS_mremap, (long)host, 0, (long)size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)at, 0);
	p = sys_call6(SYS_mremap, (long)host, 0, (long)size, MREMAP_MAYMOVE, 0, 0);
	if (sys_failed(p))
		return 0;
	return sys_call6(SYS_mremap, p, (long)size, (long)size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)at, 0);
}

/* What the page would be mapped as. */
struct candidate {
	u64 host;
	bool writable, executable;
};

static bool place_in_window(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr)
{
	struct window *window = &w->window[l->window];
	u64 linear = linear_of(l, first), size = nr * PAGE_SIZE, at = host_of(w, l->window, linear);
	long p = alias(w, l->host[first], size, at);

	if (p != (long)at) {
		if (p)
			reserve_again(w, l->window, linear, size);
		return false;
	}
	if (window->low == window->high)
		window->low = linear;
	window->low = min_u64(window->low, linear);
	window->high = max_u64(window->high, linear + size);
	return true;
}

static bool place_in_twin(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr, const struct candidate *c)
{
	u64 offset, at, size, linear = linear_of(l, first), end = linear + nr * PAGE_SIZE;
	struct host_twin *twin = w->space[l->space].twin;

	at = host_twin_private(twin, &size);
	if (host_alias_file(l->host[first], &offset) != w->file || (linear < at + size && at < end))
		return false;
	host_twin_map(twin, linear, end - linear, rights(c->writable, c->executable), offset);
	return true;
}

static bool map(struct windows *w, struct window_leaf *l, unsigned first, unsigned nr, const struct candidate *c)
{
	if (!(l->twin ? place_in_twin(w, l, first, nr, c) : place_in_window(w, l, first, nr)))
		return false;
	l->vmas += 2;
	atomic_add(&vmas, 2);
	for (unsigned i = first; i < first + nr; i++) {
		set_bit(l->mapped, i, true);
		set_bit(l->writable, i, c->writable);
		set_bit(l->executable, i, c->executable);
		if (c->writable)
			note_written(w, l->host[i]);
	}
	w->soft->stat->window_pages += nr;
	return c->writable || l->twin || protect(w, l, first, nr, false);
}

/* ---- room ------------------------------------------------------------------------------------------------------- */

static u16 *bucket(struct windows *w, unsigned space, u64 gva)
{
	u64 n = (gva / LEAF_SIZE * WINDOWS + space) * 0x9e3779b97f4a7c15ull;

	return &w->hash[n >> (64 - WINDOW_LEAF_BITS)];
}

static struct window_leaf *find_leaf(struct windows *w, unsigned space, u64 gva)
{
	u16 n = *bucket(w, space, gva);

	while (n && (w->leaf[n].space != space || w->leaf[n].base != (gva & ~(LEAF_SIZE - 1))))
		n = w->leaf[n].next_hash;
	return n ? &w->leaf[n] : NULL;
}

static void forget_leaf(struct windows *w, u16 n)
{
	struct window_leaf *l = &w->leaf[n];
	u16 *link = bucket(w, l->space, l->base);

	while (*link != n)
		link = &w->leaf[*link].next_hash;
	*link = l->next_hash;
	atomic_add(&vmas, -l->vmas);
	l->next = w->free_leaves;
	w->free_leaves = n;
}

/* Windows of the space that the table leads to stay where they are. */
void window_purge(struct windows *w, unsigned space)
{
	struct window_space *s = &w->space[space];
	u16 next;

	for (unsigned n = 1; n < WINDOWS; n++) {
		struct window *window = &w->window[n];

		if (window->owner != space + 1)
			continue;
		if (window->low != window->high)
			reserve(w, n, window->low, window->high - window->low);
		window->low = window->high = 0;
		if (!s->open)
			window->owner = WINDOW_FREE;
	}
	if (s->twin)
		direct_release(w, s->twin);
	s->twin = NULL;
	memset(s->breaks, 0, sizeof(s->breaks));
	for (u16 n = s->leaves; n; n = next) {
		next = w->leaf[n].next;
		w->soft->stat->window_drops += count(w->leaf[n].mapped);
		forget_leaf(w, n);
	}
	s->leaves = 0;
	s->all_doubted = false;
	s->nr_doubts = 0;
}

/* The space whose turn it is to give way to another one: not this if there is a choice. */
static unsigned victim(const struct windows *w, unsigned space)
{
	unsigned oldest = space;

	for (unsigned n = 0; n < SOFT_CONTEXTS; n++) {
		if (n != space && w->space[n].leaves && (oldest == space || w->space[n].used < w->space[oldest].used))
			oldest = n;
	}
	return oldest;
}

static unsigned free_window(const struct windows *w)
{
	unsigned n = 1;

	while (n < WINDOWS && w->window[n].owner != WINDOW_FREE)
		n++;
	return n;
}

/* Its number; 0: there is none. */
static unsigned take_window(struct windows *w, unsigned space, u32 area)
{
	unsigned n;

	for (n = 1; n < WINDOWS; n++)
		if (w->window[n].owner == space + 1 && w->window[n].area == area)
			return n;
	n = free_window(w);
	if (n == WINDOWS && victim(w, space) != space) {
		window_purge(w, victim(w, space));
		n = free_window(w);
	}
	if (n == WINDOWS)
		return 0;
	w->window[n] = (struct window){ .owner = (u8)(space + 1), .area = area };
	window_lead(w, n);
	return n;
}

static bool leaves_left(const struct windows *w)
{
	return w->free_leaves || w->nr_leaves < WINDOW_LEAVES - 1;
}

/* There is a leaf to be had, and the budget of mappings is not used up. */
static bool make_room(struct windows *w, unsigned space)
{
	while (!leaves_left(w) || atomic_read(&vmas) > w->vmas_max) {
		unsigned n = victim(w, space);

		if (!w->space[n].leaves)
			return false;
		window_purge(w, n);
		w->space[n].credit -= WINDOW_CREDIT / 4;
	}
	return true;
}

static void describe(struct window_leaf *l, const struct upper *u)
{
	l->table = u->table;
	l->above = u->above & (PTE_W | PTE_U);
	l->nx = u->nx;
	l->large = u->large;
}

static struct window_leaf *new_leaf(struct windows *w, unsigned space, u64 gva, const struct upper *u)
{
	bool twin = w->space[space].twin;
	unsigned window = twin ? 0 : take_window(w, space, (u32)(gva >> 32));
	u16 n = w->free_leaves, *link = bucket(w, space, gva);
	struct window_leaf *l;

	if (!window && !twin)
		return NULL;
	if (n)
		w->free_leaves = w->leaf[n].next;
	else
		n = ++w->nr_leaves;
	l = &w->leaf[n];
	memset(l, 0, offsetof(struct window_leaf, gpa));
	l->base = gva & ~(LEAF_SIZE - 1);
	describe(l, u);
	l->space = (u8)space;
	l->window = (u8)window;
	l->twin = twin;
	l->next = w->space[space].leaves;
	w->space[space].leaves = n;
	l->next_hash = *link;
	*link = n;
	return l;
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

/* The page's entry now; of a large page as if there were tables. */
static u64 entry_of(const struct window_leaf *l, const struct upper *u, const volatile u64 *table, unsigned page)
{
	return l->large ? (u->entry & ~(PTE_ADDR | PTE_PS)) | (l->table + page * PAGE_SIZE) : table[page];
}

static bool holds_code(const struct windows *w, u64 host)
{
	return code_page_armed(code_page_find(vcpu_of(w->cpu)->vm, host));
}

/* Whether what is mapped may stay, if without its write right. */
static bool check_page(struct windows *w, struct window_leaf *l, unsigned page, u64 entry)
{
	if (!readable(w->cpu, entry, l->above) || (entry & PTE_ADDR) != l->gpa[page])
		return false;
	if (bit(l->writable, page) && (!writes_freely(entry, l->above) || holds_code(w, l->host[page])))
		return protect(w, l, page, 1, false);
	if (bit(l->executable, page) && ((entry & PTE_NX) || l->nx)) {
		set_bit(l->executable, page, false);
		return protect(w, l, page, 1, false);
	}
	return true;
}

static bool same_above(const struct window_leaf *l, const struct upper *u)
{
	return u->table == l->table && u->large == l->large && u->nx == l->nx && (u->above & (PTE_W | PTE_U)) == l->above;
}

/* Whether the upper levels still are what they were; then *table is the page table. */
static bool same_upper(struct windows *w, const struct window_leaf *l, struct upper *u, const volatile u64 **table)
{
	if (!walk_upper(w->cpu, l->base, u) || !same_above(l, u))
		return false;
	*table = l->large ? NULL : entry_at(w->cpu, l->table);
	return l->large || *table;
}

/* From its first page to its last. */
static void unmap_leaf(struct windows *w, struct window_leaf *l)
{
	unsigned first = 0, end = LEAF_PAGES;

	while (first < LEAF_PAGES && !bit(l->mapped, first))
		first++;
	while (end > first && !bit(l->mapped, end - 1))
		end--;
	if (first < end)
		unmap(w, l, first, end - first);
	atomic_add(&vmas, -l->vmas);
	l->vmas = 0;
}

/* Pages that must go, neighbours in one step, with the holes between them. */
static void unmap_bad(struct windows *w, struct window_leaf *l, const u64 *bad)
{
	unsigned first = LEAF_PAGES, end = 0;

	for (unsigned i = 0; i < LEAF_PAGES; i++) {
		if (!bit(l->mapped, i))
			continue;
		if (bit(bad, i)) {
			first = first == LEAF_PAGES ? i : first;
			end = i + 1;
		} else if (first < LEAF_PAGES) {
			unmap(w, l, first, end - first);
			first = LEAF_PAGES;
		}
	}
	if (first < LEAF_PAGES)
		unmap(w, l, first, end - first);
}

/* Unmapping splits mappings; there cannot be more of them than pages and holes. */
static void correct_vmas(struct window_leaf *l)
{
	u32 most = 2 * count(l->mapped) + 1;

	if (l->vmas > most) {
		atomic_add(&vmas, most - l->vmas);
		l->vmas = most;
	}
}

static void check_leaf(struct windows *w, struct window_leaf *l)
{
	u64 bad[LEAF_PAGES / 64] = { 0 }, any = 0;
	const volatile u64 *table;
	struct upper u;

	if (!same_upper(w, l, &u, &table)) {
		unmap_leaf(w, l);
		return;
	}
	for (unsigned word = 0; word < ARRAY_SIZE(bad); word++) {
		for (u64 left = l->mapped[word]; left; left &= left - 1) {
			unsigned page = word * 64 + (unsigned)__builtin_ctzll(left);

			if (!check_page(w, l, page, entry_of(l, &u, table, page)))
				bad[word] |= left & -left;
		}
		any |= bad[word];
	}
	if (any)
		unmap_bad(w, l, bad);
	correct_vmas(l);
}

void window_check_space(struct windows *w, unsigned space)
{
	u16 *link = &w->space[space].leaves;

	while (*link) {
		u16 n = *link;

		check_leaf(w, &w->leaf[n]);
		if (!count(w->leaf[n].mapped)) {
			*link = w->leaf[n].next;
			forget_leaf(w, n);
		} else {
			link = &w->leaf[n].next;
		}
	}
}

void window_check_area(struct windows *w, unsigned space, u64 gva)
{
	struct window_leaf *l = find_leaf(w, space, gva);

	if (l)
		check_leaf(w, l);
}

bool window_maps(struct windows *w, unsigned space, u64 gva)
{
	const struct window_leaf *l = find_leaf(w, space, gva);

	return l && (l->large || bit(l->mapped, gva / PAGE_SIZE % LEAF_PAGES));
}

/* ---- filling ------------------------------------------------------------------------------------------------------ */

/* Host address of what the entry maps, 0: it is not for windows. */
static u64 host_page(const struct windows *w, u64 entry)
{
	struct memslot *slot;
	u64 host = (u64)soft_ram(w->cpu, entry & PTE_ADDR, &slot);

	if (!host || (host & ~PAGE_MASK) || (slot->flags & KVM_MEM_READONLY) || slot->dirty)
		return 0;
	return w->ask || host_alias_end(host) ? host : 0;
}

static bool twin_may_have(u64 linear)
{
	return linear >= TWIN_LOW && linear < TWIN_HIGH;
}

/* Of the page that is `off` away from another one in the leaf; NULL: it is not to be seen from there. */
static const u8 *next_to(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table,
			 unsigned page, int off)
{
	unsigned n = page + (unsigned)off;
	u64 entry = n < LEAF_PAGES ? entry_of(l, u, table, n) : 0;

	return readable(w->cpu, entry, l->above) ? (const u8 *)host_page(w, entry) : NULL;
}

static void find_telling(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table,
			 unsigned page, u64 host, struct telling *telling)
{
	telling_find(&w->telling, telling, (const u8 *)host, next_to(w, l, u, table, page, -1),
		     next_to(w, l, u, table, page, 1));
}

static bool may_execute(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table,
			unsigned page, u64 entry, u64 host)
{
	struct telling telling;

	if (!l->twin || (entry & PTE_NX) || l->nx)
		return false;
	if (bit(l->telling, page) && l->host[page] == host)
		return false;
	find_telling(w, l, u, table, page, host, &telling);
	set_bit(l->telling, page, telling.nr);
	set_bit(l->hopeless, page, false);
	return !telling.nr;
}

static bool consider(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table, unsigned page,
		     struct candidate *c)
{
	u64 entry = entry_of(l, u, table, page);

	if (!readable(w->cpu, entry, l->above) || (l->twin && !twin_may_have(linear_of(l, page))))
		return false;
	c->host = host_page(w, entry);
	c->writable = c->host && writes_freely(entry, l->above) && !holds_code(w, c->host);
	c->executable = c->host && !c->writable && may_execute(w, l, u, table, page, entry, c->host);
	l->gpa[page] = entry & PTE_ADDR;
	l->host[page] = c->host;
	return c->host;
}

/* How many pages from page on in this direction go with it. */
static unsigned run(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table, unsigned page,
		    int step, const struct candidate *first)
{
	unsigned nr = 0, most = w->ask ? 0 : l->large ? LEAF_PAGES : RUN_PAGES;
	u64 end = host_alias_end(first->host);
	struct candidate c;

	for (int i = (int)page + step; i >= 0 && i < (int)LEAF_PAGES && nr < most; i += step, nr++) {
		u64 host = first->host + (u64)((s64)(i - (int)page) * (s64)PAGE_SIZE);

		if (bit(l->mapped, (unsigned)i) || !consider(w, l, u, table, (unsigned)i, &c))
			break;
		if (c.host != host || c.writable != first->writable || c.executable != first->executable ||
		    host_alias_end(host) != end)
			break;
	}
	return nr;
}

/* Twins: a stop costs more than some pages that are mapped in vain, so what else the guest has around there goes along. */
static void map_around(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table,
		       unsigned page)
{
	unsigned first = page & ~(GROUP_PAGES - 1), nr;
	struct candidate c;

	for (unsigned i = first; i < first + GROUP_PAGES; i += nr) {
		nr = 1;
		if (bit(l->mapped, i) || !consider(w, l, u, table, i, &c))
			continue;
		nr += run(w, l, u, table, i, 1, &c);
		if (!map(w, l, i, nr, &c))
			return;
	}
}

/* Of a page that is mapped already, and still is the same: it gets the rights that it has not yet. */
static void upgrade(struct windows *w, struct window_leaf *l, unsigned page, const struct candidate *c)
{
	if (c->writable && !bit(l->writable, page)) {
		protect(w, l, page, 1, true);
	} else if (c->executable && !bit(l->executable, page)) {
		set_bit(l->executable, page, true);
		protect(w, l, page, 1, false);
	}
}

/* The page that the breakpoint is for: it cannot be executed without. */
static void give_up_break(struct windows *w, unsigned space, unsigned n)
{
	u64 page = w->space[space].breaks[n] & PAGE_MASK;
	struct window_leaf *l = page ? find_leaf(w, space, page) : NULL;
	unsigned i = (unsigned)(page / PAGE_SIZE % LEAF_PAGES);

	if (l && bit(l->executable, i)) {
		set_bit(l->executable, i, false);
		protect(w, l, i, 1, false);
	}
	clear_breaks(&w->space[space], page, PAGE_SIZE);
}

void window_give_up_breaks(struct windows *w, unsigned space)
{
	for (unsigned n = 0; n < HOST_TWIN_BREAKS; n++) {
		if (w->space[space].breaks[n])
			give_up_break(w, space, n);
	}
}

/*
 * The page may be executed as the twin will stop before each instruction that must not; false: they are too many, or one
 * begins before it.
 */
static bool guard(struct windows *w, struct window_leaf *l, const struct upper *u, const volatile u64 *table, unsigned page,
		  u64 host)
{
	struct window_space *s = &w->space[l->space];
	struct telling telling;

	if (bit(l->hopeless, page))
		return false;
	find_telling(w, l, u, table, page, host, &telling);
	if (telling.nr > HOST_TWIN_BREAKS || (telling.nr && telling.at[0] < 0)) {
		set_bit(l->hopeless, page, true);
		return false;
	}
	clear_breaks(s, linear_of(l, page), PAGE_SIZE);
	for (unsigned i = 0; i < telling.nr; i++) {
		unsigned n = s->next_break++ % HOST_TWIN_BREAKS;

		if (s->breaks[n])
			give_up_break(w, l->space, n);
		set_break(s, n, linear_of(l, page) + (unsigned)telling.at[i]);
	}
	return true;
}

static bool serves(const struct window_leaf *l, unsigned page, enum window_access access)
{
	if (access == WINDOW_READ)
		return bit(l->mapped, page);
	return bit(access == WINDOW_WRITE ? l->writable : l->executable, page);
}

static bool fill(struct windows *w, struct window_leaf *l, const struct upper *u, unsigned page, enum window_access access)
{
	const volatile u64 *table = l->large ? NULL : entry_at(w->cpu, l->table);
	u64 gpa = l->gpa[page];
	struct candidate c;
	unsigned below;

	if (!l->large && !table)
		return false;
	if (serves(l, page, access))
		return true;
	if (!consider(w, l, u, table, page, &c))
		c = (struct candidate){ 0 };
	if (access == WINDOW_EXECUTE && c.host && !c.writable && bit(l->telling, page))
		c.executable = guard(w, l, u, table, page, c.host);
	if (bit(l->mapped, page)) {
		if (c.host && gpa == l->gpa[page]) {
			upgrade(w, l, page, &c);
			return serves(l, page, access);
		}
		unmap(w, l, page, 1);
	}
	if (!c.host || (access == WINDOW_WRITE && !c.writable) || (access == WINDOW_EXECUTE && !c.executable))
		return false;
	below = run(w, l, u, table, page, -1, &c);
	if (!map(w, l, page - below, below + 1 + run(w, l, u, table, page, 1, &c), &c))
		return false;
	if (l->twin)
		map_around(w, l, u, table, page);
	return true;
}

#define AHEAD_PAGES 8192u

/* One level of the page tables: entries of `table`, the first of which stands for gva. */
static void map_below(struct windows *w, unsigned space, u64 table, unsigned level, u64 gva, unsigned *left)
{
	const volatile u64 *entries = entry_at(w->cpu, table);
	u64 step = 1ull << (12 + 9 * (level - 1));

	for (unsigned i = 0; entries && i < 512 && *left && !w->broken; i++, gva += step) {
		u64 entry = entries[i];

		if (gva >> 47 || !usable(w->cpu, entry) || !(entry & PTE_U))
			continue;
		if (level > 1 && !(entry & PTE_PS)) {
			map_below(w, space, entry & PTE_ADDR, level - 1, gva, left);
		} else if (level <= 2) {
			window_map_page(w, space, gva, WINDOW_READ);
			--*left;
		}
	}
}

void window_map_ahead(struct windows *w, unsigned space)
{
	unsigned left = AHEAD_PAGES;

	if (in_long_mode(w->cpu) && !(w->cpu->cr4 & X86_CR4_LA57))
		map_below(w, space, w->cpu->cr3 & PTE_ADDR, 4, 0, &left);
}

bool window_executes(struct windows *w, unsigned space, u64 gva)
{
	const struct window_leaf *l = find_leaf(w, space, gva);

	return l && bit(l->executable, gva / PAGE_SIZE % LEAF_PAGES);
}

bool window_guest_maps(struct windows *w, u64 gva)
{
	struct upper u;

	return walk_upper(w->cpu, gva, &u);
}

bool window_map_page(struct windows *w, unsigned space, u64 gva, enum window_access access)
{
	struct window_leaf *l;
	struct upper u;

	if (gva >> 32 >= WINDOW_AREAS || !walk_upper(w->cpu, gva, &u) || !make_room(w, space))
		return false;
	l = find_leaf(w, space, gva);
	if (l && !same_above(l, &u)) {
		unmap_leaf(w, l);
		describe(l, &u);
	}
	if (!l)
		l = new_leaf(w, space, gva, &u);
	return l && !w->broken && fill(w, l, &u, gva / PAGE_SIZE % LEAF_PAGES, access) && !w->broken;
}
