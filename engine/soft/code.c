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

int code_create(struct code_region *r, size_t size)
{
	int fd, error;
	void *w, *x;

	size = (size + 4095) & ~(size_t)4095;
	fd = open_backing(size);
	if (fd < 0)
		return fd;
	w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (w == MAP_FAILED) {
		error = fail("no address space for the code memory");
		goto out_close;
	}
	x = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (x == MAP_FAILED) {
		error = fail("the system forbids mapping generated code executable (SELinux execmem/execmod, "
			     "a noexec policy, or a seccomp filter)");
		goto out_unmap;
	}
	close(fd);
	*r = (struct code_region){ .write = w, .exec = x, .size = size };
	return 0;

out_unmap:
	munmap(w, size);
out_close:
	close(fd);
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

u8 *code_alloc(struct code_region *r, size_t n)
{
	size_t start = (r->used + 15) & ~(size_t)15;

	if (start > r->size || n > r->size - start)
		return NULL;
	r->used = start + n;
	return r->write + start;
}
