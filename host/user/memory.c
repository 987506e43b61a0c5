/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory of the core's own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "host/host.h"
#include "host/user/process.h"
#include "host/user/sys.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define ALLOC_ALIGN 64
#define PAGE_BYTES 4096ull

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

void *host_alloc_guarded(size_t size, size_t *guard)
{
	size_t whole = (size + 4095) & ~(size_t)4095;
	long p = -1;

	if (*guard)
		p = sys_mmap(NULL, whole + *guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!sys_failed(p) && sys_call3(SYS_mprotect, p, (long)whole, PROT_READ | PROT_WRITE) == 0)
		return (void *)p;
	if (!sys_failed(p))
		sys_munmap((void *)p, whole + *guard);
	*guard = 0;
	return host_alloc_pages(size);
}

void host_free_guarded(void *p, size_t size, size_t guard)
{
	host_free_pages(p, guard ? ((size + 4095) & ~(size_t)4095) + guard : size);
}

void host_zero_pages(void *p, size_t size)
{
	u64 start = (u64)p, end = start + size, first = (start + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	u64 last = end & ~(PAGE_BYTES - 1);

	if (first < last && !sys_call3(SYS_madvise, (long)first, (long)(last - first), MADV_DONTNEED)) {
		memset(p, 0, first - start);
		memset((void *)last, 0, end - last);
	} else {
		memset(p, 0, size);
	}
}

static u64 inode_of(int fd)
{
	struct stat st;

	return fd >= 0 && sys_call3(SYS_fstat, fd, (long)&st, 0) == 0 ? st.st_ino : 0;
}

static void *map_published(int fd, size_t size)
{
	long p;

	if (sys_call3(SYS_ftruncate, fd, (long)size, 0) < 0)
		return NULL;
	p = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (sys_failed(p))
		return NULL;
	sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	sys_fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE); /* Linux 5.1 */
	return (void *)p;
}

void *host_publish(struct host_published *out, const char *name, size_t size, size_t head)
{
	int fd = (int)sys_call3(SYS_memfd_create, (long)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0);

	(void)head;
	*out = (struct host_published){ .size = size, .fd = -1 };
	if (fd >= 0)
		out->p = map_published(fd, size);
	if (!out->p) {
		if (fd >= 0)
			sys_close(fd);
		out->p = host_alloc_pages(size);
		return out->p;
	}
	out->fd = host_fd_move_high(fd);
	out->inode = inode_of(out->fd);
	return out->p;
}

void *host_published_part(struct host_published *published, size_t offset, size_t size)
{
	void *part = (u8 *)published->p + offset;

	memset(part, 0, size);
	return part;
}

void host_unpublish(struct host_published *published)
{
	host_free_pages(published->p, published->size);
	/* The program may have closed all descriptors that it does not know, and use the number itself. */
	if (published->fd >= 0 && inode_of(published->fd) == published->inode)
		sys_close(published->fd);
	*published = (struct host_published){ .fd = -1 };
}

void *host_alloc_shared(size_t size)
{
	long p = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return sys_failed(p) ? NULL : (void *)p;
}

void host_free_shared(void *p, size_t size)
{
	host_free_pages(p, size);
}
