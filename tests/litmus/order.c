// SPDX-License-Identifier: GPL-2.0-only
/*
 * The classic tests of memory order: a few loads and stores on each of two to four processors, many times, in step.
 * The x86 model (AMD64 manual 2, 7.2; Owens, Sarkar, Sewell: x86-TSO) forbids all surprising outcomes but one: a load may
 * be done before an older store to another place (SB), unless MFENCE or a locked instruction stands between.
 */
#include "tests/litmus/litmus.h"

#define BATCH 256 /* places a round: the threads meet once for all of them */

struct cell {
	_Alignas(LINE) volatile uint32_t x;
	_Alignas(LINE) volatile uint32_t y;
	uint32_t r[4]; /* what was read */
};
static struct cell cells[BATCH];

enum fence { NONE, MFENCE, LOCKED };
static enum fence fence_now;

static inline void fence(void)
{
	static __thread uint32_t own;

	__asm__ volatile("" : : : "memory");
	if (fence_now == MFENCE)
		__asm__ volatile("mfence" : : : "memory");
	else if (fence_now == LOCKED)
		__asm__ volatile("lock; addl $0, %0" : "+m"(own) : : "memory", "cc");
	__asm__ volatile("" : : : "memory");
}

/* ---- what each processor does ------------------------------------------------------------------------ */

static void sb(struct cell *c, unsigned me)
{
	if (me) {
		c->y = 1;
		fence();
		c->r[1] = c->x;
	} else {
		c->x = 1;
		fence();
		c->r[0] = c->y;
	}
}

static void lb(struct cell *c, unsigned me)
{
	if (me) {
		c->r[1] = c->y;
		fence();
		c->x = 1;
	} else {
		c->r[0] = c->x;
		fence();
		c->y = 1;
	}
}

static void mp(struct cell *c, unsigned me)
{
	if (me) {
		c->r[0] = c->y;
		fence();
		c->r[1] = c->x;
	} else {
		c->x = 1;
		fence();
		c->y = 1;
	}
}

static void iriw(struct cell *c, unsigned me)
{
	switch (me) {
	case 0:
		c->x = 1;
		break;
	case 1:
		c->y = 1;
		break;
	case 2:
		c->r[0] = c->x;
		fence();
		c->r[1] = c->y;
		break;
	default:
		c->r[2] = c->y;
		fence();
		c->r[3] = c->x;
	}
}

static bool sb_surprise(const struct cell *c) { return !c->r[0] && !c->r[1]; }
static bool lb_surprise(const struct cell *c) { return c->r[0] && c->r[1]; }
static bool mp_surprise(const struct cell *c) { return c->r[0] && !c->r[1]; }
static bool iriw_surprise(const struct cell *c) { return c->r[0] && !c->r[1] && c->r[2] && !c->r[3]; }

static const struct test {
	const char *name;
	unsigned threads;
	void (*run)(struct cell *c, unsigned me);
	bool (*surprise)(const struct cell *c);
	enum fence fence;
	bool allowed;
} tests[] = {
	{ "sb", 2, sb, sb_surprise, NONE, true },
	{ "sb-mfence", 2, sb, sb_surprise, MFENCE, false },
	{ "sb-lock", 2, sb, sb_surprise, LOCKED, false },
	{ "lb", 2, lb, lb_surprise, NONE, false },
	{ "lb-mfence", 2, lb, lb_surprise, MFENCE, false },
	{ "mp", 2, mp, mp_surprise, NONE, false },
	{ "mp-mfence", 2, mp, mp_surprise, MFENCE, false },
	{ "iriw", 4, iriw, iriw_surprise, NONE, false },
	{ "iriw-mfence", 4, iriw, iriw_surprise, MFENCE, false },
};

/* ---- rounds ------------------------------------------------------------------------------------------------ */

static const struct test *test_now;
static unsigned surprises, rounds;

static void clear(void)
{
	for (unsigned i = 0; i < BATCH; i++)
		cells[i].x = cells[i].y = 0;
}

static void look(void)
{
	for (unsigned i = 0; i < BATCH; i++)
		surprises += test_now->surprise(&cells[i]);
}

static void body(unsigned me)
{
	for (unsigned round = 0; round < rounds; round++) {
		if (!me)
			clear();
		meet(test_now->threads);
		for (unsigned i = 0; i < BATCH; i++)
			test_now->run(&cells[i], me);
		meet(test_now->threads);
		if (!me)
			look();
	}
}

void order_tests(void)
{
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (!is_wanted(tests[i].name))
			continue;
		test_now = &tests[i];
		fence_now = tests[i].fence;
		surprises = 0;
		rounds = (tests[i].threads == 2 ? 500 : 100) * scale;
		together(tests[i].threads, body);
		verdict(tests[i].name, tests[i].allowed || !surprises, "%u of %u (%s)", surprises, rounds * BATCH,
			tests[i].allowed ? "allowed" : "forbidden");
	}
}
