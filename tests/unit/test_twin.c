// SPDX-License-Identifier: GPL-2.0-only
/* Twins (host/user/twin.c) alone: whatever moment they are kicked at, nothing of theirs is done twice, or left out. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/user/twin.h"

#define CODE 0x400000u
#define DATA 0x500000u
#define NOTHING 0x700000u /* there is none */
#define RUNS 20000

/* lock incq (%rdi); syscall */
static const uint8_t counts[] = { 0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05 };
#define BEHIND_SYSCALL (CODE + sizeof(counts))

static struct host_twin_gate gate;
static uint8_t *memory; /* what the twin has: a page of code, one of data */
static struct host_twin *twin;
static int file;

static int open_twin(void **state)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	(void)state;
	file = fcntl(fd, F_DUPFD_CLOEXEC, 100); /* as the library's are: above those that twins use */
	close(fd);
	if (file < 0 || ftruncate(file, 8192))
		return -1;
	memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	memcpy(memory, counts, sizeof(counts));
	twin = host_twin_create(&gate, file);
	if (!twin)
		return -1;
	host_twin_map(twin, CODE, 4096, PROT_READ | PROT_EXEC, 0);
	host_twin_map(twin, DATA, 4096, PROT_READ | PROT_WRITE, 4096);
	return 0;
}

static int close_twin(void **state)
{
	(void)state;
	host_twin_destroy(twin);
	munmap(memory, 8192);
	close(file);
	return 0;
}

static volatile bool over;

/* A while after it has begun to run, of any length up to that of a run. */
static void *kick(void *unused)
{
	unsigned seed = 1;

	while (!over) {
		unsigned spins = (unsigned)rand_r(&seed) % 20000;

		while (!__atomic_load_n(&gate.running, __ATOMIC_RELAXED) && !over)
			;
		while (spins--)
			__asm__ volatile("" : : : "memory");
		host_twin_kick(&gate);
	}
	return unused;
}

/* Whether it has counted; where it stands tells. */
static unsigned run(void)
{
	struct host_twin_state s = { .rip = CODE, .rflags = 0x202, .cs = 0x33, .ss = 0x2b };
	enum host_twin_stop why;
	const u32 stop = 0;

	s.gpr[HOST_RDI] = DATA;
	host_twin_unmap(twin, NOTHING, 4096);
	why = host_twin_run(twin, &s, &stop);
	if (why != HOST_TWIN_KICKED && why != HOST_TWIN_SYSCALL)
		fail_msg("stopped by %d at %#lx", (int)why, (unsigned long)s.rip);
	assert_int_equal(s.gpr[HOST_RDI], DATA);
	if (why == HOST_TWIN_SYSCALL)
		assert_int_equal(s.rip, BEHIND_SYSCALL);
	else
		assert_true(s.rip == CODE || s.rip == CODE + 4);
	return s.rip != CODE;
}

static void kicked_anywhere(void **state)
{
	volatile uint64_t *count = (uint64_t *)(memory + 4096);
	uint64_t expected = 0;
	pthread_t kicker;

	(void)state;
	over = false;
	pthread_create(&kicker, NULL, kick, NULL);
	for (unsigned i = 0; i < RUNS; i++) {
		expected += run();
		if (*count != expected)
			fail_msg("run %u: %lu counted, not %lu", i, (unsigned long)*count, (unsigned long)expected);
	}
	over = true;
	pthread_join(kicker, NULL);
	assert_int_not_equal(expected, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kicked_anywhere, open_twin, close_twin),
	};

	alarm(120);
	return cmocka_run_group_tests_name("twin", tests, NULL, NULL);
}
