/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory slots: thousands of them, created, moved and deleted at random, against a table of pages. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "kvm/vm.h"

#define NR_SLOTS 3000u
#define NR_PAGES 16384u
#define STEPS 60000u

static struct vm vm;
static struct vm_stat stat;
static u16 owner[NR_PAGES];	/* of each page: slot id + 1, or 0 */
static u32 first[NR_SLOTS], pages[NR_SLOTS]; /* pages 0: no such slot */
static u32 seed = 1;

static u32 draw(u32 limit)
{
	seed = seed * 1664525 + 1013904223;
	return (u32)((u64)(seed >> 8) * limit >> 24);
}

static long set_region(u32 id, u32 page, u32 n)
{
	struct kvm_userspace_memory_region m = {
		.slot = id, .guest_phys_addr = (u64)page << 12, .memory_size = (u64)n << 12,
		.userspace_addr = 0x10000000ull + ((u64)id << 16),
	};

	return vm_memory_ioctls[0].handler(&vm, (unsigned long)&m);
}

static bool is_free(u32 page, u32 n, u32 except)
{
	for (u32 i = 0; i < n; i++) {
		if (owner[page + i] && owner[page + i] != except + 1)
			return false;
	}
	return true;
}

static void own(u32 page, u32 n, u16 value)
{
	for (u32 i = 0; i < n; i++)
		owner[page + i] = value;
}

static void step(void)
{
	u32 id = draw(NR_SLOTS), page = draw(NR_PAGES - 8), n = pages[id] ? pages[id] : 1 + draw(7);
	bool gone = pages[id] && !draw(4);

	if (gone) {
		assert_int_equal(set_region(id, 0, 0), 0);
		own(first[id], n, 0);
		pages[id] = 0;
		return;
	}
	if (!is_free(page, n, id)) {
		assert_int_equal(set_region(id, page, n), -EEXIST);
		return;
	}
	assert_int_equal(set_region(id, page, n), 0);
	own(first[id], pages[id], 0);
	own(page, n, (u16)(id + 1));
	first[id] = page;
	pages[id] = n;
}

static void compare(u32 page)
{
	struct memslot *slot = memslot_find(&vm, 0, page);

	assert_int_equal(slot ? slot->id + 1 : 0, owner[page]);
	if (slot)
		assert_int_equal(slot->base_gfn, first[slot->id]);
}

static void test_random(void **state)
{
	(void)state;
	vm.stat = &stat;
	assert_int_equal(vm_memory_create(&vm), 0);
	for (u32 i = 0; i < STEPS; i++) {
		step();
		compare(draw(NR_PAGES));
		for (u32 page = 0; i % 4096 == 0 && page < NR_PAGES; page++)
			compare(page);
	}
	for (u32 id = 0; id < NR_SLOTS; id++)
		assert_int_equal(set_region(id, 0, 0), pages[id] ? 0 : -EINVAL);
	for (u32 page = 0; page < NR_PAGES; page++)
		assert_null(memslot_find(&vm, 0, page));
	vm_memory_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
