/* SPDX-License-Identifier: GPL-2.0-only */
/* What ends a process is tried in a child. Behind <cmocka.h>. */
#ifndef ANYKVM_TESTS_UNIT_CHILD_H
#define ANYKVM_TESTS_UNIT_CHILD_H

#include <sys/wait.h>
#include <unistd.h>

/* Runs f in a child; returns wait's status. */
static int in_child(void (*f)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#endif
