// SPDX-License-Identifier: GPL-2.0-only
/*
 * smp WORK THREADS PASSES: that many threads, each on a processor of its own, share out the passes; prints
 * "SMP work threads milliseconds".
 *
 *	compute, syscall	independent of each other
 *	spin, ticket, mutex	each pass holds a lock for a short while: one that anybody may get, one in order of arrival, a futex
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.h"

#define MAX_THREADS 64

static long passes;
static pthread_spinlock_t spin;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned next_ticket, served;
static volatile unsigned long shared;

static void loop(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

static void compute(void)
{
	unsigned long x = 1;

	for (unsigned i = 0; i < 1000; i++)
		x = x * 6364136223846793005ul + (x >> 29);
	__asm__ volatile("" : : "r"(x));
}

static void system_call(void)
{
	for (unsigned i = 0; i < 10; i++)
		syscall(SYS_getppid);
}

static void hold(void)
{
	loop(50);
	shared++;
}

static void with_spin(void)
{
	pthread_spin_lock(&spin);
	hold();
	pthread_spin_unlock(&spin);
	loop(100);
}

static void with_ticket(void)
{
	unsigned mine = __atomic_fetch_add(&next_ticket, 1, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&served, __ATOMIC_ACQUIRE) != mine)
		__builtin_ia32_pause();
	hold();
	__atomic_store_n(&served, mine + 1, __ATOMIC_RELEASE);
	loop(100);
}

static void with_mutex(void)
{
	pthread_mutex_lock(&mutex);
	hold();
	pthread_mutex_unlock(&mutex);
	loop(100);
}

static const struct work {
	const char *name;
	void (*pass)(void);
} works[] = {
	{ "compute", compute }, { "syscall", system_call }, { "spin", with_spin }, { "ticket", with_ticket },
	{ "mutex", with_mutex },
};
static const struct work *work;

static void *run(void *arg)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned long)arg, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (long i = 0; i < passes; i++)
		work->pass();
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long threads = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	pthread_t thread[MAX_THREADS];
	double start = now_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; argc == 4 && i < sizeof(works) / sizeof(works[0]); i++)
		work = strcmp(works[i].name, argv[1]) ? work : &works[i];
	if (!work || !threads || threads > MAX_THREADS)
		errx(2, "usage: smp WORK THREADS PASSES");
	passes = strtol(argv[3], NULL, 10) / (long)threads;
	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	for (unsigned long i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, run, (void *)i);
	for (unsigned long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("SMP %s %lu %.1f\n", work->name, threads, (now_ns(CLOCK_MONOTONIC) - start) / 1e6);
	return 0;
}
