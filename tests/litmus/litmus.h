/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of several processors: runs alike on the bare machine and in a guest. */
#ifndef ANYKVM_TESTS_LITMUS_H
#define ANYKVM_TESTS_LITMUS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LINE 64
#define MAX_THREADS 8

/* Runs body(0) ... body(n - 1) at once, each on a thread of its own, and waits for all. */
void together(unsigned n, void (*body)(unsigned me));
/* All n threads of together() meet here. */
void meet(unsigned n);
bool is_wanted(const char *name);
void verdict(const char *name, bool good, const char *format, ...) __attribute__((format(printf, 3, 4)));

extern unsigned scale;

/* order.c: which orders of loads and stores are seen */
void order_tests(void);
/* torture.c: code that changes under its runners, page tables that change under their users, locked operations */
void torture_tests(unsigned threads);

#endif
