/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory of the core's own. */
#include <stdlib.h>
#include <sys/mman.h>

#include "host/host.h"
#include "host/user/sys.h"

#define ALLOC_ALIGN 64

void *host_alloc(size_t size)
{
	void *p;

	if (posix_memalign(&p, ALLOC_ALIGN, size ? size : 1))
		return NULL;
	return memset(p, 0, size);
}

void host_free(void *p)
{
	free(p);
}

void *host_alloc_pages(size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	long p = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	return sys_failed(p) ? NULL : (void *)p;
}

void host_free_pages(void *p, size_t size)
{
	if (p)
		sys_munmap(p, size);
}
