/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers, the same ones each time. */
#ifndef ANYKVM_TESTS_UNIT_RANDOM_H
#define ANYKVM_TESTS_UNIT_RANDOM_H

#include "host/types.h"

static u64 seed = 1;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

#endif
