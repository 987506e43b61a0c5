// SPDX-License-Identifier: GPL-2.0-only
/*
 * litmus [SCALE [NAME]]: the tests with NAME in theirs, SCALE times as long as usual; "ok NAME - facts" or "not ok NAME -
 * facts" for each.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/litmus/litmus.h"

unsigned scale = 1;
static const char *wanted = "";
static bool all_good = true;

static void (*body_now)(unsigned me);
static _Alignas(LINE) uint32_t arrived;
static _Alignas(LINE) uint32_t generation;

static void *thread(void *arg)
{
	body_now((unsigned)(uintptr_t)arg);
	return NULL;
}

void together(unsigned n, void (*body)(unsigned me))
{
	pthread_t t[MAX_THREADS];

	body_now = body;
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)(uintptr_t)i))
			exit(2);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

void meet(unsigned n)
{
	uint32_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == n) {
		__atomic_store_n(&arrived, 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&generation, now + 1, __ATOMIC_SEQ_CST);
		return;
	}
	/* As many threads as processors, most of the time: spin, but let others run if they must. */
	for (unsigned spins = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == now; spins++)
		if (spins > 500)
			sched_yield();
}

bool is_wanted(const char *name)
{
	return strstr(name, wanted);
}

void verdict(const char *name, bool good, const char *format, ...)
{
	va_list list;

	all_good &= good;
	printf("%s litmus/%s - ", good ? "ok" : "not ok", name);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
}

int main(int argc, char **argv)
{
	unsigned processors = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

	if (argc > 1)
		scale = (unsigned)atoi(argv[1]);
	if (argc > 2)
		wanted = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 256);
	order_tests();
	torture_tests(processors < 2 ? 2 : processors > MAX_THREADS ? MAX_THREADS : processors);
	printf("LITMUS-END %s\n", all_good ? "good" : "bad");
	return !all_good;
}
