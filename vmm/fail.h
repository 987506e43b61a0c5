/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the VMM says what went wrong: a function that fails calls vmm_fail() where it knows the cause
 * best and returns its -1 upwards; whoever gives up prints vmm_failure() once.
 */
#ifndef ANYKVM_VMM_FAIL_H
#define ANYKVM_VMM_FAIL_H

/* Records one line, without newline, for this thread. Returns -1. */
int vmm_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, followed by the text of errno. */
int vmm_fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *vmm_failure(void);

#endif
