/* SPDX-License-Identifier: GPL-2.0-only */
/* The functions that ours stand before. Looked up when first needed: that may be before any constructor. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>

#include "shim/shim.h"

static const char *const names[] = {
#define X(name) [SHIM_REAL_##name] = #name,
	SHIM_REAL_FUNCTIONS(X)
#undef X
};

static void *found[SHIM_REAL_COUNT];

/* For what this libc does not have: nobody can have linked against it, except by weak reference. */
static long missing(void)
{
	errno = ENOSYS;
	return -1;
}

void *shim_real(enum shim_real_function which)
{
	void *f = atomic_read(&found[which]);

	if (unlikely(!f)) {
		f = dlsym(RTLD_NEXT, names[which]);
		if (!f)
			f = (void *)missing;
		atomic_set(&found[which], f);
	}
	return f;
}

long shim_result(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}
