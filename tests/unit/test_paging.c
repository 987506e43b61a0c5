/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page walks: random tables of every format under random rights, compared with a reference that knows
 * how the tables were made and so needs no walk of its own.
 */
#include "tests/unit/machine.h"

static u64 seed = 0x243f6a8885a308d3ull;

static u32 rnd(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33);
}

static bool one_in(unsigned n)
{
	return rnd() % n == 0;
}

enum format { F32, FPAE, F4, F5, NR_FORMATS };

struct level {
	bool p, w, u, a, d, g, nx, reserved;
	u64 at;	/* gpa of the entry */
	u64 raw;
};

/* A walk as it was made; level[0] is the one next to the root. */
struct made {
	enum format format;
	struct level level[5];
	unsigned nr;	/* entries that a whole walk reads */
	unsigned bits;	/* of the page offset */
	unsigned pkey;
	u64 gva, gpa;
	bool pdpte;	/* PAE: present */
};

static unsigned entry_size(enum format f)
{
	return f == F32 ? 4 : 8;
}

static unsigned index_bits(enum format f)
{
	return f == F32 ? 10 : 9;
}

/* Levels of the format, and which may be leaves (by page bits). */
static unsigned depth(enum format f)
{
	return f == F5 ? 5 : f == F4 ? 4 : 2;
}

static u64 random_gva(enum format f)
{
	u64 gva = (u64)rnd() << 32 ^ (u64)rnd() << 12 ^ rnd();
	unsigned bits = f == F5 ? 57 : f == F4 ? 48 : 32;

	return bits == 32 ? (u32)gva : (u64)((s64)(gva << (64 - bits)) >> (64 - bits));
}

static bool may_be_leaf(const struct made *m, unsigned bits)
{
	if (m->format == F32)
		return bits == 12 || (bits == 22 && (cpu.cr4 & X86_CR4_PSE));
	return bits == 12 || bits == 21 || (bits == 30 && m->format >= F4);
}

/* A reserved bit that this entry can have set, or 0. */
static u64 reserved_bit(const struct made *m, unsigned i, bool leaf, unsigned bits)
{
	if (m->format == F32)
		return leaf && bits == 22 ? BIT64(21) : 0;
	if (leaf && bits > 12 && one_in(2))
		return BIT64(13);
	if (m->format >= F4 && (int)depth(m->format) - (int)i >= 4 && one_in(2))
		return BIT64(7);
	if (m->format == FPAE && one_in(2))
		return BIT64(57);
	return BIT64(40 + rnd() % 12);
}

static u64 encode(struct made *m, unsigned i, bool leaf, unsigned bits, u64 target)
{
	struct level *l = &m->level[i];
	u64 v = target | (u64)l->p | (u64)l->w << 1 | (u64)l->u << 2 | (u64)l->a << 5 | (u64)l->d << 6;

	if (leaf)
		v |= (u64)l->g << 8;
	if (leaf && bits > 12)
		v |= BIT64(7);
	if (m->format == F32 && leaf && bits == 22) /* PSE-36 */
		v = (v & 0xffffffff) | (target >> 32) << 13;
	if (m->format != F32)
		v |= (u64)l->nx << 63;
	if (m->format >= F4 && leaf)
		v |= (u64)m->pkey << 59;
	if (l->reserved) {
		u64 bit = reserved_bit(m, i, leaf, bits);

		l->reserved = bit != 0;
		v |= bit;
	}
	return v;
}

static void random_level(struct level *l)
{
	*l = (struct level) { .p = !one_in(12), .w = !one_in(4), .u = !one_in(3), .a = one_in(2),
			      .d = one_in(2), .g = one_in(2), .nx = one_in(6), .reserved = one_in(20) };
}

static void make(struct made *m)
{
	unsigned top = depth(m->format), ib = index_bits(m->format), es = entry_size(m->format);
	u64 table = 0x200000;

	m->gva = random_gva(m->format);
	m->pkey = rnd() % 16;
	m->nr = 0;
	m->pdpte = true;
	cpu.cr3 = table;
	if (m->format == FPAE) {
		m->pdpte = !one_in(10);
		for (unsigned i = 0; i < 4; i++)
			cpu.pdptr[i] = 0;
		cpu.pdptr[m->gva >> 30] = table | m->pdpte;
	}
	for (unsigned i = 0; i < top; i++) {
		unsigned bits = 12 + ib * (top - 1 - i);
		bool leaf = bits == 12 || (may_be_leaf(m, bits) && one_in(3));
		u64 index = m->gva >> bits & ((1u << ib) - 1);
		u64 target = table + 0x1000;

		random_level(&m->level[i]);
		if (leaf) {
			target = (((u64)rnd() << 20 ^ rnd()) & 0xffffffffffull) >> bits << bits;
			if (m->format == F32 && bits == 12)
				target &= 0xffffffff;
			m->bits = bits;
			m->gpa = target | (m->gva & ((1ull << bits) - 1));
		}
		m->level[i].at = table + index * es;
		m->level[i].raw = encode(m, i, leaf, bits, target);
		put(m->level[i].at, m->level[i].raw, es);
		m->nr++;
		if (leaf)
			return;
		table = target;
	}
}

static void random_state(enum format f)
{
	cpu.cr0 = X86_CR0_PE | X86_CR0_PG | (one_in(3) ? 0 : X86_CR0_WP);
	cpu.cr4 = (f != F32 ? X86_CR4_PAE : 0) | (f == F5 ? X86_CR4_LA57 : 0);
	cpu.cr4 |= (one_in(2) ? X86_CR4_SMEP : 0) | (one_in(2) ? X86_CR4_SMAP : 0);
	cpu.cr4 |= (one_in(2) ? X86_CR4_PKE : 0) | (one_in(2) ? X86_CR4_PGE : 0) |
		   (one_in(2) ? X86_CR4_PSE : 0);
	cpu.efer = (f >= F4 ? X86_EFER_LME | X86_EFER_LMA : 0) | (one_in(2) ? X86_EFER_NXE : 0);
	cpu.rflags = X86_FLAGS_FIXED | (one_in(2) ? X86_AC : 0);
	cpu.cpl = one_in(2) ? 3 : 0;
	cpu.pkru = rnd() << 16 ^ rnd();
	cpu.vendor_amd = one_in(2);
}

static const unsigned kinds[] = {
	X86_ACCESS_READ, X86_ACCESS_WRITE, X86_ACCESS_FETCH, X86_ACCESS_WRITE | X86_ACCESS_RMW,
	X86_ACCESS_SYSTEM, X86_ACCESS_SYSTEM | X86_ACCESS_WRITE, X86_ACCESS_USER,
	X86_ACCESS_USER | X86_ACCESS_WRITE, X86_ACCESS_USER | X86_ACCESS_FETCH,
};

#define NO_FAULT 0x80000000u

/* The error code that the access must raise, or NO_FAULT: SDM vol. 3 sections 4.6, 4.7 in other words. */
static u32 expected(const struct made *m, unsigned access)
{
	bool write = access & X86_ACCESS_WRITE, fetch = access & X86_ACCESS_FETCH;
	bool system = access & X86_ACCESS_SYSTEM;
	bool user = system ? false : (access & X86_ACCESS_USER) ? true : cpu.cpl == 3;
	bool nxe = m->format != F32 && (cpu.efer & X86_EFER_NXE);
	bool w = true, u = true, nx = false, bad = false, key = false;
	u32 code = (write ? 2 : 0) | (user ? 4 : 0);
	unsigned rights = cpu.pkru >> (m->pkey * 2) & 3;

	if (fetch && (nxe || (cpu.cr4 & X86_CR4_SMEP)))
		code |= 16;
	if (!m->pdpte)
		return code;
	for (unsigned i = 0; i < m->nr; i++) {
		const struct level *l = &m->level[i];

		if (!l->p)
			return code;
		if (l->reserved || (l->nx && !nxe && m->format != F32))
			return code | 9;
		w = w && l->w;
		u = u && l->u;
		nx = nx || l->nx;
	}
	if (user) {
		bad = !u || (write && !w);
	} else if (fetch) {
		bad = u && (cpu.cr4 & X86_CR4_SMEP);
	} else {
		bad = write && !w && (cpu.cr0 & X86_CR0_WP);
		if (u && (cpu.cr4 & X86_CR4_SMAP) && (system || !(cpu.rflags & X86_AC)))
			bad = true;
	}
	if (fetch && nx && nxe)
		bad = true;
	if (m->format >= F4 && (cpu.cr4 & X86_CR4_PKE) && u && !fetch)
		key = (rights & 1) || (write && (rights & 2) && (user || (cpu.cr0 & X86_CR0_WP)));
	if (!bad && !key)
		return NO_FAULT;
	return code | 1 | (key ? 32 : 0);
}

static void check_tables(const struct made *m, bool ok, bool write)
{
	for (unsigned i = 0; i < m->nr; i++) {
		u64 now = get(m->level[i].at, entry_size(m->format)), want = m->level[i].raw;

		if (ok) {
			want |= BIT64(5);
			if (write && i == m->nr - 1)
				want |= BIT64(6);
		}
		assert_int_equal(now, want);
	}
}

static void check_translation(const struct made *m, const struct x86_translation *t, bool write)
{
	const struct level *leaf = &m->level[m->nr - 1];

	assert_int_equal(t->gpa, m->gpa);
	assert_int_equal(t->page_size, 1ull << m->bits);
	assert_int_equal(t->global, leaf->g && (cpu.cr4 & X86_CR4_PGE));
	assert_int_equal(t->dirty, leaf->d || write);
	assert_int_equal(t->pkey, m->format >= F4 ? m->pkey : 0);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		bool allowed = expected(m, kinds[i]) == NO_FAULT;

		assert_int_equal(x86_translation_allows(&cpu, t, kinds[i]), allowed);
	}
}

static void one_walk(enum format f)
{
	unsigned access = kinds[rnd() % ARRAY_SIZE(kinds)];
	struct made m = { .format = f };
	struct x86_translation t;
	enum x86_result r;
	u32 want;

	random_state(f);
	make(&m);
	want = expected(&m, access);
	r = x86_walk(&cpu, m.gva, access, true, &t);
	if (want == NO_FAULT) {
		assert_int_equal(r, X86_OK);
		check_translation(&m, &t, access & X86_ACCESS_WRITE);
	} else {
		assert_fault(r, X86_PF_VECTOR, want);
		assert_int_equal(cpu.fault.payload, m.gva);
	}
	check_tables(&m, want == NO_FAULT, access & X86_ACCESS_WRITE);
}

static void random_walks(void **state)
{
	(void)state;
	machine_reset();
	for (unsigned f = 0; f < NR_FORMATS; f++)
		for (unsigned i = 0; i < 100000; i++)
			one_walk(f);
}

static void no_paging(void **state)
{
	struct x86_translation t;

	(void)state;
	machine_reset();
	assert_int_equal(x86_walk(&cpu, 0xfffffff0, X86_ACCESS_WRITE, true, &t), X86_OK);
	assert_int_equal(t.gpa, 0xfffffff0);
	assert_true(x86_translation_allows(&cpu, &t, X86_ACCESS_WRITE));
}

/* KVM_TRANSLATE leaves accessed and dirty bits alone. */
static void no_marks(void **state)
{
	struct x86_translation t;

	(void)state;
	machine_long(0);
	put(PML4, (PML4 + 0x1000) | 7, 8);
	assert_int_equal(x86_walk(&cpu, 0x1234, X86_ACCESS_WRITE | X86_ACCESS_PROBE, false, &t), X86_OK);
	assert_int_equal(get(PML4, 8), (PML4 + 0x1000) | 7);
}

/* Tables in ROM or a hole are used as they are. */
static void tables_not_writable(void **state)
{
	struct x86_env_ops rom = env_ops;
	struct x86_translation t;

	(void)state;
	machine_long(0);
	put(PML4, (PML4 + 0x1000) | 7, 8);
	rom.phys_cmpxchg = NULL;
	cpu.env = &rom;
	/* All bits set: no exchange needed at all. */
	put(PML4, (PML4 + 0x1000) | PTE_ALL, 8);
	assert_int_equal(x86_walk(&cpu, 0x1234, X86_ACCESS_WRITE, true, &t), X86_OK);
}

static bool refuse(struct x86_cpu *c, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	(void)c, (void)gpa, (void)old, (void)new_value, (void)size;
	return false;
}

static bool change_once(struct x86_cpu *c, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	static bool done;

	if (done)
		return phys_cmpxchg(c, gpa, old, new_value, size);
	done = true;
	put(gpa, old & ~1ull, size); /* another processor took the page away */
	return false;
}

static void exchange_fails(void **state)
{
	struct x86_env_ops env = env_ops;
	struct x86_translation t;

	(void)state;
	machine_long(0);
	put(PML4, (PML4 + 0x1000) | 7, 8);
	env.phys_cmpxchg = refuse;
	cpu.env = &env;
	assert_int_equal(x86_walk(&cpu, 0x1234, X86_ACCESS_READ, true, &t), X86_OK);
	env.phys_cmpxchg = change_once;
	assert_fault(x86_walk(&cpu, 0x1234, X86_ACCESS_READ, true, &t), X86_PF_VECTOR, 0);
}

static void gbpages_by_cpuid(void **state)
{
	struct x86_translation t;

	(void)state;
	machine_long(0);
	put(PML4 + 0x1000, 0x40000000 | PTE_ALL | 0x80, 8);
	assert_int_equal(x86_walk(&cpu, 0x1234, 0, true, &t), X86_OK);
	assert_int_equal(t.page_size, 1u << 30);
	assert_int_equal(t.gpa, 0x40001234);
	cpu.features[X86_FEAT_GBPAGES / 32] &= ~BIT(X86_FEAT_GBPAGES % 32);
	assert_fault(x86_walk(&cpu, 0x1234, 0, true, &t), X86_PF_VECTOR, 9);
}

static void pdptrs(void **state)
{
	(void)state;
	machine_reset();
	for (unsigned i = 0; i < 4; i++)
		put(0x3020 + i * 8, 0x10000 * i | 1, 8);
	assert_int_equal(x86_load_pdptrs(&cpu, 0x3020), X86_OK);
	assert_int_equal(cpu.pdptr[3], 0x30001);
	put(0x3030, 0x7001 | BIT64(1), 8);
	assert_fault(x86_load_pdptrs(&cpu, 0x3020), X86_GP, 0);
	assert_int_equal(cpu.pdptr[2], 0x20001);
	put(0x3030, 0x7000 | BIT64(1), 8); /* not present: no check */
	assert_int_equal(x86_load_pdptrs(&cpu, 0x3020), X86_OK);
	put(0x3030, 0x7001 | BIT64(45), 8);
	assert_fault(x86_load_pdptrs(&cpu, 0x3020), X86_GP, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_walks),	    cmocka_unit_test(no_paging),
		cmocka_unit_test(no_marks),	    cmocka_unit_test(tables_not_writable),
		cmocka_unit_test(exchange_fails),   cmocka_unit_test(gbpages_by_cpuid),
		cmocka_unit_test(pdptrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
