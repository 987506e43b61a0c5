// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest program that notices lost writes: churn MIB RATE PATH
 *
 * Each of its processes (one a processor) rewrites the pages of MIB / processors MiB at RATE / processors MiB/s, in
 * random order, and keeps beside them what it wrote last to each; a page is compared with that before it is written
 * again. A further process does the same with the 4 KiB blocks of the file or disk PATH ("-": none) by direct I/O.
 * Prints "CHURN-TICK n pages" once a second (n counts up without a gap), "CHURN-BAD ..." for what is not as it was
 * written. A line on its input ends it: "CHURN-TOLD", then all is compared once more: "CHURN-OK pages" or "CHURN-BAD".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / 8)

struct shared {
	uint64_t written[64];
	uint32_t bad;
	uint32_t stop;
};
static volatile struct shared *shared;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15;
	return x ^ x >> 29;
}

/* A page holds its number, its turn, and what follows from both. */
static void fill(uint64_t *page, uint64_t number, uint64_t turn)
{
	uint64_t x = mix(number * 0x10001 + turn);

	for (unsigned i = 0; i < WORDS; i++)
		page[i] = x += turn | 1;
}

static int compare(const uint64_t *page, uint64_t number, uint64_t turn, const char *where)
{
	uint64_t x = mix(number * 0x10001 + turn);

	for (unsigned i = 0; i < WORDS; i++) {
		x += turn | 1;
		if (page[i] == x)
			continue;
		if (__atomic_add_fetch((uint32_t *)&shared->bad, 1, __ATOMIC_SEQ_CST) <= 20)
			printf("CHURN-BAD %s %lu turn %lu word %u: %lx for %lx\n", where, number, turn, i, page[i], x);
		return -1;
	}
	return 0;
}

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("CHURN-BAD mmap");
		exit(1);
	}
	return p;
}

/* Keeps to rate pages a second since start. */
static void pace(uint64_t start, uint64_t done, uint64_t rate)
{
	uint64_t due = rate ? start + done * 1000000000 / rate : 0;

	if (now_ns() < due) {
		struct timespec t = { due / 1000000000, due % 1000000000 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
}

static void churn_memory(unsigned me, size_t pages, uint64_t rate)
{
	uint64_t *area = memory(pages * PAGE), random = mix(me + 1), start;
	uint32_t *turn = memory(pages * sizeof(*turn));

	for (size_t i = 0; i < pages; i++)
		fill(area + i * WORDS, i, 0);
	start = now_ns();
	for (uint64_t n = 0; !shared->stop; n++) {
		size_t i = (random = mix(random + n)) % pages;

		compare(area + i * WORDS, i, turn[i], "page");
		fill(area + i * WORDS, i, ++turn[i]);
		shared->written[me]++;
		if (n % 16 == 0)
			pace(start, n, rate);
	}
	for (size_t i = 0; i < pages; i++)
		compare(area + i * WORDS, i, turn[i], "page at the end");
}

#define BLOCKS 1024

static void churn_disk(unsigned me, const char *path)
{
	uint64_t *block = memory(PAGE), random = 5;
	uint32_t *turn = memory(BLOCKS * sizeof(*turn));
	int fd = open(path, O_RDWR | O_DIRECT);

	if (fd < 0) {
		perror("CHURN-BAD open");
		exit(1);
	}
	for (uint64_t n = 0; !shared->stop; n++) {
		size_t i = (random = mix(random + n)) % BLOCKS;

		if (turn[i]) {
			memset(block, 0, PAGE);
			if (pread(fd, block, PAGE, (off_t)i * PAGE) != PAGE)
				perror("CHURN-BAD read");
			compare(block, i, turn[i], "block");
		}
		fill(block, i, ++turn[i]);
		if (pwrite(fd, block, PAGE, (off_t)i * PAGE) != PAGE)
			perror("CHURN-BAD write");
		shared->written[me]++;
		usleep(2000);
	}
}

static void report(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 64; i++)
		sum += shared->written[i];
	printf("CHURN-TICK %u %lu\n", n, sum);
}

/* Whether a line came within a second. */
static int told(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	char line[64];

	if (poll(&input, 1, 1000) <= 0)
		return 0;
	if (read(0, line, sizeof(line)) <= 0)
		printf("CHURN-BAD input\n");
	printf("CHURN-TOLD\n");
	return 1;
}

int main(int argc, char **argv)
{
	unsigned mib = argc > 1 ? (unsigned)atoi(argv[1]) : 16, rate = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	const char *path = argc > 3 ? argv[3] : "-";
	unsigned workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), n = 0;

	setvbuf(stdout, NULL, _IOLBF, 256);
	shared = memory(sizeof(*shared));
	for (unsigned i = 0; i < workers; i++) {
		if (!fork()) {
			churn_memory(i, (size_t)mib * 256 / workers, (uint64_t)rate * 256 / workers);
			exit(0);
		}
	}
	if (strcmp(path, "-") && !fork()) {
		churn_disk(63, path);
		exit(0);
	}
	do
		report(n++);
	while (!told());
	shared->stop = 1;
	while (wait(NULL) > 0)
		;
	report(n);
	printf(shared->bad ? "CHURN-BAD %u in all\n" : "CHURN-OK %u\n", shared->bad);
	return 0;
}
