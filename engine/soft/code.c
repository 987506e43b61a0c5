/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation and permissions of generated code: the one file that asks for executable memory.
 *
 * A memfd is mapped twice instead of switching permissions with mprotect: other threads run code of the
 * region while it grows. Stores through one mapping are seen by instruction fetch through the other without
 * further ado, as x86 keeps its caches coherent by physical address; only rewriting code that a processor
 * may be executing right now needs a serializing instruction there (SDM vol. 3, 8.1.3), which is the
 * caller's affair.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/soft/code.h"
#include "engine/soft/perfmap.h"
#include "host/user/sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u /* Linux 6.3; wanted where vm.memfd_noexec is set */
#endif

static const char *failure;

const char *code_error(void)
{
	return failure;
}

static int fail(const char *why)
{
	int error = errno;

	failure = why;
	return -error;
}

static int open_backing(size_t size)
{
	int fd = memfd_create("anykvm-code", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("anykvm-code", MFD_CLOEXEC);
	if (fd < 0)
		return fail(errno == EACCES ? "the system forbids executable memfds (sysctl vm.memfd_noexec)"
					    : "memfd_create failed");
	if (ftruncate(fd, (off_t)size)) {
		int r = fail("no room for the code memory (ftruncate)");

		close(fd);
		return r;
	}
	return fd;
}

static int no_executable_mapping(void)
{
	return fail("the system forbids mapping generated code executable (SELinux execmem/execmod, "
		    "a noexec policy, or a seccomp filter)");
}

static int map_memfd(size_t size, void **w, void **x)
{
	int error = 0, fd = open_backing(size);

	if (fd < 0)
		return fd;
	*w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*w == MAP_FAILED)
		error = fail("no address space for the code memory");
	else if ((*x = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0)) == MAP_FAILED)
		error = no_executable_mapping();
	close(fd);
	return error;
}

/* perf looks into its map of names for anonymous memory alone. mremap of no bytes maps shared memory once more. */
static int map_anonymous(size_t size, void **w, void **x)
{
	*w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*w != MAP_FAILED)
		*x = mremap(*w, 0, size, MREMAP_MAYMOVE);
	if (*x == MAP_FAILED)
		return fail("no address space for the code memory");
	return mprotect(*x, size, PROT_READ | PROT_EXEC) ? no_executable_mapping() : 0;
}

int code_create(struct code_region *r, size_t size)
{
	void *w = MAP_FAILED, *x = MAP_FAILED;
	int error;

	size = (size + 4095) & ~(size_t)4095;
	error = perfmap_wanted() ? map_anonymous(size, &w, &x) : map_memfd(size, &w, &x);
	if (!error) {
		*r = (struct code_region){ .write = w, .exec = x, .size = size };
		return 0;
	}
	if (w != MAP_FAILED)
		munmap(w, size);
	if (x != MAP_FAILED)
		munmap(x, size);
	return error;
}

void code_destroy(struct code_region *r)
{
	if (!r->size)
		return;
	munmap(r->write, r->size);
	munmap(r->exec, r->size);
	*r = (struct code_region){ 0 };
}

/* Page faults one by one would cost several times as much. Before Linux 5.14 they come. */
size_t code_commit(struct code_region *r, size_t offset, size_t n)
{
	n = r->size - offset < n ? r->size - offset : n;
	sys_call3(SYS_madvise, (long)(r->write + offset), (long)n, MADV_POPULATE_WRITE);
	sys_call3(SYS_madvise, (long)(r->exec + offset), (long)n, MADV_POPULATE_READ);
	return n;
}

void code_release(struct code_region *r)
{
	size_t from = (r->used + 4095) & ~(size_t)4095;

	madvise(r->write + from, r->size - from, MADV_REMOVE);
}

u8 *code_alloc(struct code_region *r, size_t n)
{
	size_t start = (r->used + 15) & ~(size_t)15;

	if (start > r->size || n > r->size - start)
		return NULL;
	r->used = start + n;
	return r->write + start;
}
