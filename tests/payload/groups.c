// SPDX-License-Identifier: GPL-2.0-only
/* The groups: golden/NAME.txt holds what genuine KVM says to each. */
#include "tests/payload/payload.h"

#define TABLE(name) static void run_##name(void) { run_table(#name); }
#define GROUP(name) { #name, run_##name }

TABLE(segment)
TABLE(exception)

const struct group groups[] = {
	GROUP(exception),
	GROUP(segment),
	{ 0 },
};
