/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /tmp/perf-PID.map: tells perf(1) which guest code a piece of translated code stands for. Written when the environment
 * has ANYKVM_PERF_MAP=1. A line a block: start, size (hexadecimal), anykvm:LINEAR_ADDRESS:CODE_BITS. Room that is used
 * again after all translations were dropped appears again; perf takes the last line.
 */
#ifndef ANYKVM_ENGINE_SOFT_PERFMAP_H
#define ANYKVM_ENGINE_SOFT_PERFMAP_H

#include "host/types.h"

/* Whether the map is wanted; the first call looks. */
bool perfmap_wanted(void);
/* Makes the process's map, once. Failure leaves perf without names and is no error. */
void perfmap_open(void);
/* [run] code: where it executes; linear: the guest's address. */
void perfmap_add(const u8 *code, size_t size, u64 linear, unsigned code_bits);
/* The pieces that stand for no guest code: "anykvm:fixed". */
void perfmap_add_fixed(const u8 *code, size_t size);

#endif
