// SPDX-License-Identifier: GPL-2.0-only
/* The groups: golden/NAME.txt holds what genuine KVM says to each. */
#include "tests/payload/payload.h"

#define TABLE(name) static void run_##name(void) { run_table(#name); }
#define GROUP(group) { .name = #group, .run = run_##group }

void sweep_paging(void);

TABLE(segment)
TABLE(exception)
TABLE(far)
TABLE(control)
TABLE(io)
TABLE(debug)
TABLE(watch)
TABLE(code)
TABLE(fpu)

const struct group groups[] = {
	GROUP(exception),
	GROUP(segment),
	{ .name = "paging", .run = sweep_paging },
	GROUP(far),
	GROUP(control),
	GROUP(io),
	{ .name = "watch",
	  .run = run_watch,
	  .no_oracle = true }, /* data breakpoints in a nested guest crash QEMU 7.2 */
	GROUP(code),
	GROUP(fpu),
	GROUP(debug), /* last: it leaves the oracle's processor in a state */
	{ .name = NULL },
};
