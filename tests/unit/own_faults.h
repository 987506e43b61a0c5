/* SPDX-License-Identifier: GPL-2.0-only */
/* For one file of a program: cmocka does not replace our handlers of faults by its own around each test. */
#ifndef ANYKVM_TESTS_UNIT_OWN_FAULTS_H
#define ANYKVM_TESTS_UNIT_OWN_FAULTS_H

#include <signal.h>

/* It does that by this. */
__attribute__((visibility("default"))) sighandler_t signal(int sig, sighandler_t handler)
{
	(void)sig;
	(void)handler;
	return SIG_DFL;
}

#endif
