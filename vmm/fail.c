// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char failure[512];

int vmm_fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(failure, sizeof(failure), format, ap);
	va_end(ap);
	return -1;
}

int vmm_fail_errno(const char *format, ...)
{
	int error = errno;
	va_list ap;
	size_t used;

	va_start(ap, format);
	vsnprintf(failure, sizeof(failure), format, ap);
	va_end(ap);
	used = strlen(failure);
	snprintf(failure + used, sizeof(failure) - used, ": %s", strerror(error));
	return -1;
}

const char *vmm_failure(void)
{
	return failure;
}
