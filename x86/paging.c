/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The page-table walk (AMD APM vol. 2 chapter 5, Intel SDM vol. 3 chapter 4).
 *
 * A walk has three parts, in this order, so that a fault leaves the tables alone: read the entries from
 * the top down, checking the present and reserved bits of each; judge the rights of the whole; then set
 * A in every entry used and D in the leaf, each by compare-and-exchange. An entry that changed meanwhile
 * restarts the walk; one that cannot be written (ROM) is used as it is.
 *
 * In long mode the last level's tables and large pages are remembered (struct x86_walk_cache) from walks that have set the
 * accessed bits above; whatever invalidates a TLB entry invalidates all of that.
 *
 * PAE's page-directory-pointer entries are registers (cpu->pdptr), loaded with CR3 as on Intel; AMD
 * reads them from memory at every walk.
 */
#include "x86/paging.h"
#include "x86/system.h"

#define MAX_LEVELS 5

/* The entries of one walk: [0] is the first read. */
struct walk {
	u64 gpa[MAX_LEVELS];
	u64 entry[MAX_LEVELS];
	unsigned nr;	/* entries read */
	unsigned size;	/* of an entry: 4 or 8 bytes */
	u64 rights;	/* P, W, U: and of all entries; NX: or of them */
	u64 above;	/* the same without the last entry */
	u64 reserved;	/* bits reserved at every level */
};

static bool is_user(const struct x86_cpu *cpu, unsigned access)
{
	return !(access & X86_ACCESS_SYSTEM) && (cpu->cpl == 3 || (access & X86_ACCESS_USER));
}

static bool is_write(unsigned access)
{
	return access & (X86_ACCESS_WRITE | X86_ACCESS_RMW);
}

static bool nx_enabled(const struct x86_cpu *cpu)
{
	return (cpu->efer & X86_EFER_NXE) && (cpu->cr4 & X86_CR4_PAE);
}

/* The error-code bits that describe the access, whatever was wrong (SDM vol. 3 section 4.7). */
static u32 access_error(const struct x86_cpu *cpu, unsigned access)
{
	u32 error = 0;

	if (is_write(access))
		error |= X86_PFERR_W;
	if (is_user(cpu, access))
		error |= X86_PFERR_U;
	if ((access & X86_ACCESS_FETCH) && (nx_enabled(cpu) || (cpu->cr4 & X86_CR4_SMEP)))
		error |= X86_PFERR_I;
	return error;
}

/* Whether the protection key forbids a data access to a user page (SDM vol. 3 section 4.6.2). */
static bool pkey_denies(const struct x86_cpu *cpu, const struct x86_translation *t, unsigned access)
{
	u32 bits;

	if (!(cpu->cr4 & X86_CR4_PKE) || !x86_long_mode(cpu) || !t->user || (access & X86_ACCESS_FETCH))
		return false;
	bits = cpu->pkru >> (2 * t->pkey);
	if (bits & 1)
		return true;
	return (bits & 2) && is_write(access) && (is_user(cpu, access) || (cpu->cr0 & X86_CR0_WP));
}

/* Rights without keys (SDM vol. 3 section 4.6.1). */
static bool page_denies(const struct x86_cpu *cpu, const struct x86_translation *t, unsigned access)
{
	bool user = is_user(cpu, access);

	if (access & X86_ACCESS_FETCH) {
		if (t->nx || (user && !t->user))
			return true;
		return !user && t->user && (cpu->cr4 & X86_CR4_SMEP);
	}
	if (user)
		return !t->user || (is_write(access) && !t->writable);
	if (t->user && (cpu->cr4 & X86_CR4_SMAP) && ((access & X86_ACCESS_SYSTEM) || !(cpu->rflags & X86_AC)))
		return true;
	return is_write(access) && !t->writable && (cpu->cr0 & X86_CR0_WP);
}

bool x86_translation_allows(const struct x86_cpu *cpu, const struct x86_translation *t, unsigned access)
{
	if (!(cpu->cr0 & X86_CR0_PG))
		return true;
	return !page_denies(cpu, t, access) && !pkey_denies(cpu, t, access);
}

/* Reads the next entry at gpa; the bits of *error are those to fault with (0: entry usable). */
static u64 read_entry(struct x86_cpu *cpu, struct walk *w, u64 gpa, u64 reserved, u32 *error)
{
	u64 entry = 0;

	cpu->env->phys_read(cpu, gpa, &entry, w->size);
	w->gpa[w->nr] = gpa;
	w->entry[w->nr] = entry;
	w->nr++;
	*error = 0;
	if (!(entry & PTE_P)) {
		*error = BIT(31); /* not present: none of the bits, yet not 0 */
		return entry;
	}
	if (entry & reserved)
		*error = X86_PFERR_P | X86_PFERR_RSVD;
	w->above = w->rights;
	w->rights &= entry | PTE_NX;
	w->rights |= entry & PTE_NX;
	return entry;
}

static void set_leaf(u64 leaf, struct x86_translation *t, u64 base, u64 offset, u64 size)
{
	t->gpa = base + offset;
	t->page_size = size;
	t->global = leaf & PTE_G;
	t->dirty = leaf & PTE_D;
	t->pkey = leaf >> PTE_PKEY_SHIFT & 15;
}

/* ---- remembered levels --------------------------------------------------------------------------- */

#define WALK_TAG_BITS 36 /* 57-bit addresses in units of 2 MiB */
#define WALK_GENERATION_SHIFT (WALK_TAG_BITS + 3)

_Static_assert(X86_TLB_CONTEXTS <= 8, "three bits of the tag");

void x86_walk_forget(struct x86_cpu *cpu)
{
	struct x86_walk_cache *cache = cpu->walk_cache;

	if (!cache)
		return;
	cache->generation++;
	if (cache->generation >> (64 - WALK_GENERATION_SHIFT))
		memset(cache, 0, sizeof(*cache));
	if (!cache->generation)
		cache->generation = 1;
}

static u64 walk_tag(const struct x86_cpu *cpu, u64 gva)
{
	return (u64)cpu->walk_cache->generation << WALK_GENERATION_SHIFT | (u64)cpu->tlb_context << WALK_TAG_BITS |
	       (gva >> 21 & ((1ull << WALK_TAG_BITS) - 1));
}

static struct x86_walk_entry *walk_entry(const struct x86_cpu *cpu, u64 gva)
{
	return &cpu->walk_cache->entry[gva >> 21 & (ARRAY_SIZE(cpu->walk_cache->entry) - 1)];
}

/* What is remembered for gva and serves this access. */
static const struct x86_walk_entry *recall(const struct x86_cpu *cpu, u64 gva, unsigned access)
{
	const struct x86_walk_entry *e;

	if (!cpu->walk_cache || !x86_long_mode(cpu))
		return NULL;
	e = walk_entry(cpu, gva);
	if (e->tag != walk_tag(cpu, gva) || (e->leaf && is_write(access) && !(e->leaf & PTE_D)))
		return NULL;
	return e;
}

/* The walk w has been done from the top, and its entries are marked. */
static void remember(struct x86_cpu *cpu, const struct walk *w, u64 gva, const struct x86_translation *t)
{
	struct x86_walk_entry *e;

	if (!cpu->walk_cache || !x86_long_mode(cpu) || w->nr < 2)
		return;
	e = walk_entry(cpu, gva);
	e->tag = walk_tag(cpu, gva);
	e->page_size = t->page_size;
	if (t->page_size == 1ull << 12) {
		e->base = w->gpa[w->nr - 1] & ~0xfffull;
		e->rights = w->above;
		e->leaf = 0;
	} else {
		e->base = t->gpa & ~((1ull << 21) - 1);
		e->rights = w->rights;
		e->leaf = w->entry[w->nr - 1] | PTE_A | (t->dirty ? PTE_D : 0);
	}
}

/* ---- formats ------------------------------------------------------------------------------------- */

/* 4-byte entries, two levels (SDM vol. 3 section 4.3). */
static u32 walk_32(struct x86_cpu *cpu, struct walk *w, u32 gva, struct x86_translation *t)
{
	/* PSE-36: bits 20:13 of a 4 MiB entry are bits 39:32 of the address, as far as MAXPHYADDR goes. */
	unsigned pa_bits = cpu->maxphyaddr < 40 ? cpu->maxphyaddr : 40;
	u64 large_reserved = ((1ull << 22) - 1) & ~((1ull << (pa_bits - 19)) - 1);
	u64 entry;
	u32 error;

	w->size = 4;
	entry = read_entry(cpu, w, (cpu->cr3 & 0xfffff000) + (gva >> 22) * 4, 0, &error);
	if (error)
		return error;
	if ((entry & PTE_PS) && (cpu->cr4 & X86_CR4_PSE)) {
		if (entry & large_reserved)
			return X86_PFERR_P | X86_PFERR_RSVD;
		set_leaf(entry, t, (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32, gva & 0x3fffff, 1ull << 22);
		return 0;
	}
	entry = read_entry(cpu, w, (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4, 0, &error);
	if (!error)
		set_leaf(entry, t, entry & 0xfffff000, gva & 0xfff, 1ull << 12);
	return error;
}

/* The reserved bits of an 8-byte entry that are its level's own (level 1 is the page table). */
static u64 level_reserved(const struct x86_cpu *cpu, unsigned level, u64 entry)
{
	if (level >= 4) /* AMD reserves bit 8 too, where leaves have G */
		return PTE_PS | (cpu->vendor_amd ? PTE_G : 0);
	if (!(entry & PTE_PS) || level == 1)
		return 0;
	if (level == 3)
		return x86_has(cpu, X86_FEAT_GBPAGES) ? 0x3fffe000ull : PTE_PS;
	return 0x1fe000ull;
}

/* 8-byte entries from the table at `table`, of that level, down (SDM vol. 3 sections 4.4, 4.5). */
static u32 walk_64(struct x86_cpu *cpu, struct walk *w, u64 gva, u64 table, unsigned level,
		   struct x86_translation *t)
{
	w->size = 8;
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		u64 page = 1ull << shift;
		u32 error;
		u64 entry = read_entry(cpu, w, table + (gva >> shift & 511) * 8, w->reserved, &error);

		if (error)
			return error;
		if (entry & level_reserved(cpu, level, entry))
			return X86_PFERR_P | X86_PFERR_RSVD;
		if (level == 1 || (entry & PTE_PS)) {
			set_leaf(entry, t, entry & PTE_ADDR & ~(page - 1), gva & (page - 1), page);
			return 0;
		}
		table = entry & PTE_ADDR;
	}
}

static u32 walk_pae(struct x86_cpu *cpu, struct walk *w, u32 gva, struct x86_translation *t)
{
	u64 pdpte = cpu->pdptr[gva >> 30];

	if (!(pdpte & PTE_P))
		return BIT(31);
	w->reserved = (cpu->phys_reserved | ~PTE_ADDR) & ~(PTE_NX | 0xfff); /* bits 62:MAXPHYADDR */
	if (!nx_enabled(cpu))
		w->reserved |= PTE_NX;
	return walk_64(cpu, w, gva, pdpte & PTE_ADDR, 2, t);
}

static u32 walk_long(struct x86_cpu *cpu, struct walk *w, u64 gva, const struct x86_walk_entry *known,
		     struct x86_translation *t)
{
	w->reserved = cpu->phys_reserved & PTE_ADDR; /* bits 62:52 are software's or the key */
	if (!(cpu->efer & X86_EFER_NXE))
		w->reserved |= PTE_NX;
	if (!known)
		return walk_64(cpu, w, gva, cpu->cr3 & PTE_ADDR, cpu->cr4 & X86_CR4_LA57 ? 5 : 4, t);
	w->rights = known->rights;
	if (!known->leaf)
		return walk_64(cpu, w, gva, known->base, 1, t);
	set_leaf(known->leaf, t, known->base, gva & ((1ull << 21) - 1), known->page_size);
	return 0;
}

/* Sets A and D; false: an entry changed under the walk. */
static bool mark_used(struct x86_cpu *cpu, struct walk *w, unsigned access)
{
	for (unsigned i = 0; i < w->nr; i++) {
		u64 bits = PTE_A, now = 0;

		if (i == w->nr - 1 && is_write(access))
			bits |= PTE_D;
		if ((w->entry[i] & bits) == bits)
			continue;
		if (cpu->env->phys_cmpxchg(cpu, w->gpa[i], w->entry[i], w->entry[i] | bits, w->size))
			continue;
		cpu->env->phys_read(cpu, w->gpa[i], &now, w->size);
		if (now != w->entry[i])
			return false;
	}
	return true;
}

static u32 walk_tables(struct x86_cpu *cpu, struct walk *w, u64 gva, const struct x86_walk_entry *known,
		       struct x86_translation *t)
{
	u32 error;

	*t = (struct x86_translation) { .gpa = 0 };
	w->nr = 0;
	w->rights = PTE_P | PTE_W | PTE_U;
	if (x86_long_mode(cpu))
		error = walk_long(cpu, w, gva, known, t);
	else if (cpu->cr4 & X86_CR4_PAE)
		error = walk_pae(cpu, w, (u32)gva, t);
	else
		error = walk_32(cpu, w, (u32)gva, t);
	t->writable = w->rights & PTE_W;
	t->user = w->rights & PTE_U;
	t->nx = (w->rights & PTE_NX) && nx_enabled(cpu);
	t->global = t->global && (cpu->cr4 & X86_CR4_PGE);
	if (!x86_long_mode(cpu))
		t->pkey = 0;
	return error;
}

static void identity(u64 gva, struct x86_translation *t)
{
	*t = (struct x86_translation) { .gpa = gva, .page_size = 1ull << 12, .writable = true, .user = true,
					.dirty = true };
}

/* Error-code bits for the access by the tables and their rights, 0: allowed. */
static u32 judge(struct x86_cpu *cpu, struct walk *w, u64 gva, unsigned access, const struct x86_walk_entry *known,
		 struct x86_translation *t)
{
	u32 error = walk_tables(cpu, w, gva, known, t);

	if (error)
		return error;
	if (page_denies(cpu, t, access))
		error = X86_PFERR_P;
	if (pkey_denies(cpu, t, access))
		error |= X86_PFERR_P | X86_PFERR_PK;
	return error;
}

/* What is remembered allows accesses and never denies one: a fault comes from the tables (SDM vol. 3 section 4.10.4.1). */
enum x86_result x86_walk(struct x86_cpu *cpu, u64 gva, unsigned access, bool set_ad,
			 struct x86_translation *t)
{
	const struct x86_walk_entry *known;
	struct walk w;
	u32 error;

	if (!(cpu->cr0 & X86_CR0_PG)) {
		identity(gva, t);
		return X86_OK;
	}
	known = set_ad ? recall(cpu, gva, access) : NULL;
	do {
		error = judge(cpu, &w, gva, access, known, t);
		if (error && known) {
			known = NULL;
			error = judge(cpu, &w, gva, access, NULL, t);
		}
		if (error)
			return x86_raise_pf(cpu, gva, access_error(cpu, access) | (error & ~BIT(31)));
	} while (set_ad && !mark_used(cpu, &w, access));
	if (set_ad && is_write(access))
		t->dirty = true;
	if (set_ad && !known)
		remember(cpu, &w, gva, t);
	return X86_OK;
}

enum x86_result x86_load_pdptrs(struct x86_cpu *cpu, u64 cr3)
{
	/* Bits 2:1, 8:5 and from MAXPHYADDR up (SDM vol. 3 table 4-8). */
	u64 reserved = ((cpu->phys_reserved | ~PTE_ADDR) & ~0xfffull) | 0x1e6;
	u64 pdpte[4];

	for (unsigned i = 0; i < 4; i++) {
		cpu->env->phys_read(cpu, (cr3 & 0xffffffe0) + i * 8, &pdpte[i], 8);
		if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
			return x86_raise(cpu, X86_GP, 0);
	}
	memcpy(cpu->pdptr, pdpte, sizeof(pdpte));
	return X86_OK;
}
