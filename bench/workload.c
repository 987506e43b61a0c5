// SPDX-License-Identifier: GPL-2.0-only
/* workload NAME SCALE REPEAT: prints "WORKLOAD name nanoseconds units", of the best of REPEAT runs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workload.h"

struct workload {
	const char *name;
	const char *what;
	unsigned long (*run)(unsigned scale);
};

static const struct workload workloads[] = {
#define X(name, what) { #name, what, workload_##name },
	WORKLOADS(X)
#undef X
};

#define NWORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

void fail(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static void measure(const struct workload *w, unsigned scale, unsigned repeat)
{
	unsigned long best = -1ul, units = 0;

	for (unsigned i = 0; i < repeat; i++) {
		unsigned long start = now(), took;

		units = w->run(scale);
		took = now() - start;
		if (took < best)
			best = took;
	}
	printf("WORKLOAD %s %lu %lu\n", w->name, best, units);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	/* What the exec workload runs. */
	if (argc == 2 && strcmp(argv[1], "nothing") == 0)
		return 0;
	if (argc == 2 && strcmp(argv[1], "list") == 0) {
		for (size_t i = 0; i < NWORKLOADS; i++)
			printf("%s %s\n", workloads[i].name, workloads[i].what);
		return 0;
	}
	for (size_t i = 0; argc == 4 && i < NWORKLOADS; i++) {
		if (strcmp(argv[1], workloads[i].name) == 0) {
			measure(&workloads[i], atoi(argv[2]), atoi(argv[3]));
			return 0;
		}
	}
	fprintf(stderr, "usage: workload list | workload NAME SCALE REPEAT\n");
	return 1;
}
