// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page faults: every access x rights of the entries x CR0.WP, SMEP, SMAP, AC, NX in the three formats, with
 * the accessed and dirty bits that result (a read-modify-write faults as a write, TCG's does not: see
 * cases_paging.S); reserved bits; crossing pages; walks that meet no memory.
 */
#include "tests/payload/payload.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define ALL (PTE_P | PTE_W | PTE_U)

enum { READ, WRITE, FETCH, NR_ACCESSES };

static const u8 code_read[] = { 0x8b, 0x03, 0xf4 }, code_write[] = { 0x89, 0x0b, 0xf4 },
		code_fetch[] = { 0xff, 0xe3, 0xf4 };
static const struct {
	const u8 *code, *end;
	char letter;
} accesses[NR_ACCESSES] = {
	{ code_read, code_read + sizeof(code_read), 'r' },
	{ code_write, code_write + sizeof(code_write), 'w' },
	{ code_fetch, code_fetch + sizeof(code_fetch), 'x' },
};

/* What the entries are, for setup(). */
static struct {
	u64 la, entry[5];	/* by level; 0: as built */
	unsigned levels;	/* of entries to write */
} map;

static const char *const mode_names[] = { [P32PG] = "32", [PAE] = "pae", [LONG] = "long" };

static void apply_map(struct payload *p)
{
	(void)p;
	ram[TEST_PA] = ram[TEST_PA + 0xfff] = ram[LARGE_PA] = 0xf4;
	start.regs.rbx = map.la;
	for (unsigned level = 1; level <= 4; level++)
		if (map.levels >> level & 1)
			memcpy(machine_entry(map.la, level), &map.entry[level], machine_entry_size());
}

static void set_entry(unsigned level, u64 value)
{
	map.entry[level] = value;
	map.levels |= 1u << level;
}

static void reset_map(u64 la)
{
	memset(&map, 0, sizeof(map));
	map.la = la;
}

/* A and D after the access, of the given level. */
static const char *ad_bits(unsigned level)
{
	u32 e;

	memcpy(&e, machine_entry(map.la, level), 4);
	return e & PTE_D ? (e & PTE_A ? "/AD" : "/D") : e & PTE_A ? "/A" : "";
}

static void one_access(struct payload *p, unsigned access, unsigned level)
{
	char result[64];

	p->code = accesses[access].code;
	p->end = accesses[access].end;
	run_quiet(p, result, sizeof(result));
	printf(" %c%c=%s%s", p->cpl ? 'u' : 'k', accesses[access].letter, result, ad_bits(level));
}

static void all_accesses(struct payload *p, unsigned level)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		p->cpl = cpl;
		for (unsigned access = 0; access < NR_ACCESSES; access++)
			one_access(p, access, level);
	}
	printf("\n");
}

static void say_entry(u64 e)
{
	printf("%s%s%s%s", e & PTE_P ? "P" : "-", e & PTE_W ? "W" : "r", e & PTE_U ? "U" : "s",
	       e & PTE_NX ? "N" : "x");
}

/* ---- rights -------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	u64 cr0, cr4, rflags;
} controls[] = {
	{ "plain", 0, 0, 0 }, { "wp", CR0_WP, 0, 0 }, { "smep", 0, CR4_SMEP, 0 }, { "smap", 0, CR4_SMAP, 0 },
	{ "smap-ac", 0, CR4_SMAP, FL_AC }, { "wp-smep-smap", CR0_WP, CR4_SMEP | CR4_SMAP, 0 },
	{ "wp-smep-smap-ac", CR0_WP, CR4_SMEP | CR4_SMAP, FL_AC },
};

static void sweep_rights(unsigned mode, unsigned control, unsigned level, u64 pa)
{
	struct payload p = { .name = "paging",
			     .mode = mode,
			     .cr0 = controls[control].cr0,
			     .cr4 = controls[control].cr4 | (mode == P32PG ? CR4_PSE : 0),
			     .rflags = controls[control].rflags };

	for (unsigned rights = 0; rights < (mode == P32PG ? 8 : 16); rights++) {
		u64 e = (rights & 7) | (rights & 8 ? PTE_NX : 0);

		reset_map(TEST_LA);
		set_entry(level, pa | e | (level > 1 ? PTE_PS : 0));
		printf("paging/%s-%s-level%d-", mode_names[mode], controls[control].name, level);
		say_entry(e);
		printf(":");
		all_accesses(&p, level);
	}
}

static void all_rights(unsigned mode)
{
	for (unsigned control = 0; control < sizeof(controls) / sizeof(controls[0]); control++) {
		sweep_rights(mode, control, 1, TEST_PA);
		sweep_rights(mode, control, 2, LARGE_PA);
	}
}

/* The rights of the levels above are combined with those of the page. */
static void sweep_upper(unsigned mode)
{
	struct payload p = { .name = "paging", .mode = mode, .cr0 = CR0_WP };

	for (unsigned rights = 0; rights < (mode == P32PG ? 16 : 64); rights++) {
		u64 upper = PTE_P | (u64)(rights & 3) << 1 | (rights & 16 ? PTE_NX : 0);
		u64 page = PTE_P | (u64)(rights >> 2 & 3) << 1 | (rights & 32 ? PTE_NX : 0);

		reset_map(TEST_LA);
		set_entry(2, upper | (TABLES + (mode == P32PG ? 0x2000 : 0x5000)));
		set_entry(1, page | TEST_PA);
		printf("paging/%s-upper-", mode_names[mode]);
		say_entry(upper);
		printf("-");
		say_entry(page);
		printf(":");
		all_accesses(&p, 1);
	}
}

/* ---- reserved bits ------------------------------------------------------------------------------- */

static void reserved(unsigned mode, const char *name, unsigned level, u64 entry, u64 efer)
{
	struct payload p = {
		.name = "paging", .mode = mode, .cr4 = mode == P32PG ? CR4_PSE : 0, .efer = efer
	};

	reset_map(TEST_LA);
	if (level > 1)
		set_entry(1, TEST_PA | ALL);
	set_entry(level, entry);
	if (level == 1)
		printf("paging/%s-reserved-%s:", mode_names[mode], name);
	else
		printf("paging/%s-reserved-level%d-%s:", mode_names[mode], level, name);
	all_accesses(&p, level);
}

static void sweep_reserved(unsigned mode)
{
	static const unsigned bits[] = { 9, 11, 12, 13, 20, 21, 39, 40, 45, 51, 52, 58, 62, 63 };
	char name[16];

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		u64 bit = 1ull << bits[i];

		if (mode == P32PG && bits[i] > 31)
			continue;
		snprintf(name, sizeof(name), "bit%d", bits[i]);
		if (bits[i] > 32 || bits[i] < 12)
			reserved(mode, name, 1, TEST_PA | ALL | bit, 0);
		reserved(mode, name, 2, LARGE_PA | ALL | PTE_PS | bit, 0);
	}
	if (mode == P32PG)
		return;
	reserved(mode, "nx-without-nxe", 1, TEST_PA | ALL | PTE_NX, 0x800);
	reserved(mode, "nx-without-nxe-absent", 1, (TEST_PA | ALL | PTE_NX) & ~PTE_P, 0x800);
	reserved(mode, "absent", 1, (TEST_PA | ALL | 1ull << 45) & ~PTE_P, 0);
	reserved(mode, "table-bit51", 2, (TABLES + 0x5000) | ALL | 1ull << 51, 0);
	if (mode != LONG)
		return;
	reserved(mode, "giga", 3, ALL | PTE_PS, 0);
	reserved(mode, "giga-bit13", 3, ALL | PTE_PS | 1 << 13, 0);
	reserved(mode, "pml4-ps", 4, (TABLES + 0x1000) | ALL | PTE_PS, 0);
	reserved(mode, "pml4-bit8", 4, (TABLES + 0x1000) | ALL | 0x100, 0);
}

/* ---- crossing, holes ----------------------------------------------------------------------------- */

static void crossing(unsigned mode, const char *name, u64 first, u64 second)
{
	struct payload p = { .name = name, .mode = mode, .cpl = 3 };

	for (unsigned access = 0; access < FETCH; access++) {
		char full[64];

		reset_map(TEST_LA + 0xffe);
		set_entry(1, first);
		memcpy(&map.entry[0], &second, 8);
		snprintf(full, sizeof(full), "paging/%s-crossing-%s-%c", mode_names[mode], name,
			 accesses[access].letter);
		p.name = full;
		p.code = accesses[access].code;
		p.end = accesses[access].end;
		run_case(&p);
	}
}

static void apply_two(struct payload *p)
{
	apply_map(p);
	if (map.entry[0])
		machine_pte(TEST_LA + 0x1000, map.entry[0]);
}

static void all_crossing(unsigned mode)
{
	u64 a = TEST_PA | ALL, b = (TEST_PA + 0x1000) | ALL;

	crossing(mode, "both", a, b);
	crossing(mode, "first-absent", a & ~PTE_P, b);
	crossing(mode, "second-absent", a, b & ~PTE_P);
	crossing(mode, "both-absent", a & ~PTE_P, b & ~PTE_P);
	crossing(mode, "second-readonly", a, b & ~PTE_W);
	crossing(mode, "second-supervisor", a, b & ~PTE_U);
}

/* Entries and pages in no slot, in MMIO; pages in the read-only slot (with a table there KVM on AMD never
 * returns). */
static void holes(unsigned mode)
{
	static const struct {
		const char *name;
		unsigned level;
		u64 entry;
	} list[] = {
		{ "page-rom", 1, ROM_PA | ALL },
		{ "page-mmio", 1, MMIO_PA | ALL },
		{ "page-nowhere", 1, 0x30000000 | ALL },
		{ "table-nowhere", 2, 0x30000000 | ALL },
	};
	static const char letters[] = "rw";

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		for (unsigned access = 0; access < FETCH; access++) {
			struct payload p = { .mode = mode,
					     .code = accesses[access].code,
					     .end = accesses[access].end };
			char full[64];

			reset_map(TEST_LA);
			set_entry(list[i].level, list[i].entry);
			snprintf(full, sizeof(full), "paging/%s-%s-%c", mode_names[mode], list[i].name,
				 letters[access]);
			p.name = full;
			p.setup = apply_map;
			run_case(&p);
		}
	}
}

void sweep_paging(void)
{
	static const unsigned modes[] = { P32PG, PAE, LONG };

	quiet_setup = apply_map;
	for (unsigned i = 0; i < 3; i++) {
		all_rights(modes[i]);
		sweep_upper(modes[i]);
		sweep_reserved(modes[i]);
	}
	quiet_setup = apply_two;
	for (unsigned i = 0; i < 3; i++)
		all_crossing(modes[i]);
	quiet_setup = NULL;
	for (unsigned i = 0; i < 3; i++)
		holes(modes[i]);
	run_table("paging");
}
