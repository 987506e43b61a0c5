/* SPDX-License-Identifier: GPL-2.0-only */
/* What the measuring programs here share. */
#ifndef ANYKVM_BENCH_MEASURE_H
#define ANYKVM_BENCH_MEASURE_H

#include <err.h>
#include <time.h>

/* Ends the program where a system call has failed. */
static inline int check(int r, const char *what)
{
	if (r < 0)
		err(2, "%s", what);
	return r;
}

static inline double now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#endif
