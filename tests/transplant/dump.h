/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine states as text, to go from one KVM to another: lines of hexadecimal digits, runs of zeros shortened. */
#ifndef ANYKVM_TESTS_TRANSPLANT_DUMP_H
#define ANYKVM_TESTS_TRANSPLANT_DUMP_H

#include <stdbool.h>
#include <stdio.h>
#include "tests/transplant/state.h"

struct values {
	unsigned count;
	uint32_t value[64];
};
void values_add(struct values *v, uint32_t value);
bool values_equal(const struct values *a, const struct values *b);
void values_print(const struct values *v);

/* Writes to stdout: the state, the pages of ram that are not as in original, and what the guest has told so far. */
void dump_state(const struct machine_state *s, const char *ram, const char *original, const struct values *so_far);
void dump_end(const struct values *all);
/* Reads a whole dump, and gives the checksums at its end; then its states one after the other. */
void dump_read(FILE *in, struct values *all);
bool dump_next(struct machine_state *s, char *ram, const char *original, struct values *so_far);

#endif
