/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The page-table walk (AMD APM vol. 2 chapter 5, Intel SDM vol. 3 chapter 4).
 *
 * A walk has three parts, in this order, so that a fault leaves the tables alone: read the entries from
 * the top down, checking the present and reserved bits of each; judge the rights of the whole; then set
 * A in every entry used and D in the leaf, each by compare-and-exchange. An entry that changed meanwhile
 * restarts the walk; one that cannot be written (ROM) is used as it is.
 *
 * PAE's page-directory-pointer entries are registers (cpu->pdptr), loaded with CR3 as on Intel; AMD
 * reads them from memory at every walk.
 */
#include "x86/paging.h"
#include "x86/system.h"

#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G BIT64(8)
#define PTE_NX BIT64(63)
#define PTE_ADDR 0x000ffffffffff000ull
#define PTE_PKEY_SHIFT 59

#define MAX_LEVELS 5

/* The entries of one walk: [0] is the first read. */
struct walk {
	u64 gpa[MAX_LEVELS];
	u64 entry[MAX_LEVELS];
	unsigned nr;	/* entries read */
	unsigned size;	/* of an entry: 4 or 8 bytes */
	u64 rights;	/* P, W, U: and of all entries; NX: or of them */
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
	w->rights &= entry | PTE_NX;
	w->rights |= entry & PTE_NX;
	return entry;
}

static void set_leaf(struct walk *w, struct x86_translation *t, u64 base, u64 offset, u64 size)
{
	u64 leaf = w->entry[w->nr - 1];

	t->gpa = base + offset;
	t->page_size = size;
	t->global = leaf & PTE_G;
	t->dirty = leaf & PTE_D;
	t->pkey = leaf >> PTE_PKEY_SHIFT & 15;
}

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
		set_leaf(w, t, (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32, gva & 0x3fffff, 1ull << 22);
		return 0;
	}
	entry = read_entry(cpu, w, (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4, 0, &error);
	if (!error)
		set_leaf(w, t, entry & 0xfffff000, gva & 0xfff, 1ull << 12);
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
			set_leaf(w, t, entry & PTE_ADDR & ~(page - 1), gva & (page - 1), page);
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

static u32 walk_long(struct x86_cpu *cpu, struct walk *w, u64 gva, struct x86_translation *t)
{
	w->reserved = cpu->phys_reserved & PTE_ADDR; /* bits 62:52 are software's or the key */
	if (!(cpu->efer & X86_EFER_NXE))
		w->reserved |= PTE_NX;
	return walk_64(cpu, w, gva, cpu->cr3 & PTE_ADDR, cpu->cr4 & X86_CR4_LA57 ? 5 : 4, t);
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

static u32 walk_tables(struct x86_cpu *cpu, struct walk *w, u64 gva, struct x86_translation *t)
{
	u32 error;

	*t = (struct x86_translation) { .gpa = 0 };
	w->nr = 0;
	w->rights = PTE_P | PTE_W | PTE_U;
	if (x86_long_mode(cpu))
		error = walk_long(cpu, w, gva, t);
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

enum x86_result x86_walk(struct x86_cpu *cpu, u64 gva, unsigned access, bool set_ad,
			 struct x86_translation *t)
{
	struct walk w;
	u32 error;

	if (!(cpu->cr0 & X86_CR0_PG)) {
		identity(gva, t);
		return X86_OK;
	}
	do {
		error = walk_tables(cpu, &w, gva, t);
		if (error)
			return x86_raise_pf(cpu, gva, access_error(cpu, access) | (error & ~BIT(31)));
		if (page_denies(cpu, t, access))
			error = X86_PFERR_P;
		if (pkey_denies(cpu, t, access))
			error |= X86_PFERR_P | X86_PFERR_PK;
		if (error)
			return x86_raise_pf(cpu, gva, access_error(cpu, access) | error);
	} while (set_ad && !mark_used(cpu, &w, access));
	if (set_ad && is_write(access))
		t->dirty = true;
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
