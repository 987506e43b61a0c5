/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our files: real descriptors, and the table from descriptor to object.
 *
 * A page that several files show (the coalesced MMIO ring) cannot be in each one's memfd: it is laid over a mapping
 * that the program makes (host_fd_mmap), by duplicating our own mapping of it.
 *
 * The carrier of every file is a memfd. With a mapping it is sealed against resizing, so that no
 * ftruncate of the VMM can make our own accesses fault. Without one it stays empty; an eventfd would
 * block its readers and is pollable, which a KVM VM is not.
 *
 * Table. Two levels, leaves allocated when a descriptor of ours first falls into them and never freed.
 * A reader needs no lock: descriptor -> entry -> host_file, then it takes a reference unless the
 * count is zero, and looks at the entry again. host_file structs are recycled as host_files, never
 * returned to the allocator, so the count may be touched even if the file is gone by then; the second
 * look tells whether it still is the one the descriptor means. That is one atomic increment and one
 * decrement per ioctl.
 *
 * References: one for each entry of the table, one for each call in flight and each host_file_get().
 * The last one to go runs release(), outside of the lock.
 *
 * Changes of the table, together with the system call they belong to, happen under `lock`, so that a
 * descriptor number can't be reused between the two. Entries go before the kernel closes: a racing
 * ioctl then gets ENOTTY from the memfd, rather than ours for somebody else's descriptor.
 *
 * After fork the child has copies of descriptors and table, but the objects are the parent's: their
 * ioctls are still called (the core tells what may be done there and what is EIO), release() is not.
 *
 * Not seen: descriptors closed by raw system calls that bypass the shim. The entry remains until the
 * number is used for one of our files again. Descriptors that arrive in a message are found out by their
 * first ioctl (host_fd_adopt), as long as another one has kept the file; on their own they keep nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/kvm.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/file.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/sys.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

#define PAGE_SIZE 4096
#define LEAF_BITS 14
#define LEAF_ENTRIES (1u << LEAF_BITS)
#define TOP_ENTRIES (1u << (31 - LEAF_BITS)) /* all of int: no limit of ours */
#define FILES_PER_CHUNK 64

struct host_file {
	u32 refs;
	const struct host_file_ops *ops;
	void *object;
	void *mapping;
	size_t mapping_size;
	void *shared;	/* instead of the page at shared_at of the mapping, or NULL */
	size_t shared_at;
	u64 mm; /* host_mm_id() of the creator */
	struct host_file *next_free;
};

/* lock: entries (read without), free list, count, highest. Inside host_enter() only. */
static struct host_mutex lock;
static struct host_file **top[TOP_ENTRIES];
static struct host_file *free_files;
static u32 entries;
static u32 highest; /* no entry was ever made above */

/* ---- the table ------------------------------------------------------------------------------- */

static struct host_file **entry_of(int fd)
{
	struct host_file **leaf;

	if (fd < 0)
		return NULL;
	leaf = atomic_read_acquire(&top[(u32)fd >> LEAF_BITS]);
	return leaf ? &leaf[(u32)fd & (LEAF_ENTRIES - 1)] : NULL;
}

/* Makes room for fd. */
static int entry_prepare(int fd)
{
	struct host_file ***slot = &top[(u32)fd >> LEAF_BITS];
	struct host_file **leaf;

	if (*slot)
		return 0;
	leaf = host_alloc_pages(LEAF_ENTRIES * sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	atomic_set_release(slot, leaf);
	return 0;
}

/* Returns what was there before, with its reference; file comes with one. */
static struct host_file *entry_set(int fd, struct host_file *file)
{
	struct host_file **entry = entry_of(fd), *old;

	if (!entry)
		return NULL;
	old = atomic_xchg(entry, file);
	atomic_set(&entries, entries + !!file - !!old);
	if (file && (u32)fd > highest)
		highest = (u32)fd;
	return old;
}

static struct host_file *file_new(void)
{
	struct host_file *f = free_files;

	if (!f) {
		f = host_alloc_pages(FILES_PER_CHUNK * sizeof(*f));
		if (!f)
			return NULL;
		for (int i = 0; i < FILES_PER_CHUNK - 1; i++)
			f[i].next_free = &f[i + 1];
	}
	free_files = f->next_free;
	return f;
}

static void file_recycle(struct host_file *f)
{
	host_mutex_lock(&lock);
	f->next_free = free_files;
	free_files = f;
	host_mutex_unlock(&lock);
}

static bool file_hold_unless_gone(struct host_file *f)
{
	u32 refs = atomic_read(&f->refs);

	while (refs)
		if (__atomic_compare_exchange_n(&f->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static struct host_file *file_hold(int fd)
{
	struct host_file **entry = entry_of(fd), *f;

	if (!entry)
		return NULL;
	while ((f = atomic_read_acquire(entry))) {
		if (!file_hold_unless_gone(f))
			continue; /* on its way out: the entry is about to change */
		if (likely(atomic_read_acquire(entry) == f))
			return f;
		host_file_put(f);
	}
	return NULL;
}

static void file_destroy(struct host_file *f)
{
	bool mine = f->mm == host_mm_id();

	if (mine && f->ops->release)
		f->ops->release(f->object);
	if (f->mapping)
		sys_munmap(f->mapping, f->mapping_size);
	file_recycle(f);
}

void host_file_put(struct host_file *f)
{
	if (f && __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
		file_destroy(f);
}

void host_file_forked(void)
{
	host_mutex_init(&lock);
}

/* ---- for the core ---------------------------------------------------------------------------- */

static int carrier_create(const char *name)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = (int)sys_call3(SYS_memfd_create, (long)name, flags | MFD_NOEXEC_SEAL, 0);

	if (fd == -EINVAL) /* Linux before 6.3 */
		fd = (int)sys_call3(SYS_memfd_create, (long)name, flags, 0);
	return fd;
}

static int carrier_map(int fd, size_t size, void **mapping)
{
	long r = sys_call3(SYS_ftruncate, fd, (long)size, 0);

	if (!r)
		r = sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (r)
		return (int)r;
	r = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sys_failed(r))
		return (int)r;
	*mapping = (void *)r;
	return 0;
}

/* Caller holds lock. */
static int file_install(int fd, const struct host_file *what, struct host_file **stale)
{
	struct host_file *f;
	int r = entry_prepare(fd);

	if (r)
		return r;
	f = file_new();
	if (!f)
		return -ENOMEM;
	f->ops = what->ops;
	f->object = what->object;
	f->mapping = what->mapping;
	f->mapping_size = what->mapping_size;
	f->shared = what->shared;
	f->shared_at = what->shared_at;
	f->mm = host_mm_id();
	atomic_set_release(&f->refs, 1);
	*stale = entry_set(fd, f);
	return 0;
}

int host_file_create(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping)
{
	return host_file_create_sharing(ops, object, mapping_size, mapping, 0, NULL);
}

int host_file_create_sharing(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping,
			     size_t offset, void *page)
{
	struct host_file what = { .ops = ops, .object = object, .shared = page, .shared_at = offset }, *stale = NULL;
	int fd, r = 0;

	what.mapping_size = (mapping_size + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
	host_mutex_lock(&lock);
	fd = carrier_create(ops->name);
	if (fd < 0) {
		host_mutex_unlock(&lock);
		return fd;
	}
	if (mapping_size)
		r = carrier_map(fd, what.mapping_size, &what.mapping);
	if (!r)
		r = file_install(fd, &what, &stale);
	if (r) {
		if (what.mapping)
			sys_munmap(what.mapping, what.mapping_size);
		sys_close(fd);
	}
	host_mutex_unlock(&lock);
	host_file_put(stale);
	if (!r && mapping)
		*mapping = what.mapping;
	return r ? r : fd;
}

void *host_file_get(int fd, const struct host_file_ops *ops, struct host_file **file)
{
	struct host_file *f = file_hold(fd);

	if (!f)
		return NULL;
	if (f->ops != ops) {
		host_file_put(f);
		return NULL;
	}
	*file = f;
	return f->object;
}

/* ---- for the program ------------------------------------------------------------------------- */

bool host_fd_is_ours(int fd)
{
	struct host_file **entry = entry_of(fd);

	return entry && atomic_read(entry);
}

static bool same_inode(const struct stat *a, int fd)
{
	struct stat b;

	return !sys_call3(SYS_fstat, fd, (long)&b, 0) && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

bool host_fd_adopt(int fd)
{
	struct host_file *f = NULL;
	struct stat st;

	if (fd < 0 || host_in_vfork_child() || sys_call3(SYS_fstat, fd, (long)&st, 0))
		return false;
	host_enter();
	host_mutex_lock(&lock);
	for (u32 known = 0; known <= highest && !f; known++) {
		if (host_fd_is_ours((int)known) && same_inode(&st, (int)known))
			f = file_hold((int)known);
	}
	if (f && !entry_prepare(fd))
		entry_set(fd, f);
	else if (f)
		__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL); /* not the last: its entry has one */
	host_mutex_unlock(&lock);
	host_leave();
	return host_fd_is_ours(fd);
}

bool host_fd_any(void)
{
	return atomic_read(&entries) != 0;
}

/* Those that Linux answers before it asks the driver. */
static bool ioctl_is_generic(unsigned int request)
{
	return request == FIOCLEX || request == FIONCLEX || request == FIONBIO || request == FIOASYNC;
}

long host_fd_ioctl(int fd, unsigned int request, unsigned long arg)
{
	struct host_file *f;
	long r;

	if (unlikely(ioctl_is_generic(request)))
		return sys_call3(SYS_ioctl, fd, request, (long)arg);
	host_enter();
	f = file_hold(fd);
	r = f ? f->ops->ioctl(f->object, request, arg) : -EBADF;
	host_file_put(f);
	host_leave();
	return r;
}

int host_fd_close(int fd)
{
	struct host_file *f;
	int r;

	if (host_in_vfork_child())
		return sys_close(fd);
	host_enter();
	host_mutex_lock(&lock);
	f = entry_set(fd, NULL);
	r = sys_close(fd);
	host_mutex_unlock(&lock);
	host_file_put(f);
	host_leave();
	return r;
}

int host_fd_dup(int fd, int cmd, int at_least)
{
	struct host_file *f, *stale = NULL;
	int copy;

	if (host_in_vfork_child())
		return sys_fcntl(fd, cmd, (unsigned long)at_least);
	host_enter();
	host_mutex_lock(&lock);
	f = file_hold(fd);
	copy = sys_fcntl(fd, cmd, (unsigned long)at_least);
	if (copy >= 0 && f) {
		if (!entry_prepare(copy)) {
			stale = entry_set(copy, f);
			f = NULL;
		} else {
			sys_close(copy);
			copy = -ENOMEM;
		}
	}
	host_mutex_unlock(&lock);
	host_file_put(f);
	host_file_put(stale);
	host_leave();
	return copy;
}

int host_fd_dup_onto(int from, int to, int flags)
{
	struct host_file *f, *replaced = NULL;
	int r;

	if (host_in_vfork_child())
		return (int)sys_call3(SYS_dup3, from, to, flags);
	host_enter();
	host_mutex_lock(&lock);
	f = file_hold(from);
	r = f && to >= 0 ? entry_prepare(to) : 0;
	if (!r)
		r = (int)sys_call3(SYS_dup3, from, to, flags);
	if (r >= 0) {
		replaced = entry_set(to, f);
		f = NULL;
	}
	host_mutex_unlock(&lock);
	host_file_put(f);
	host_file_put(replaced);
	host_leave();
	return r;
}

/* Caller is inside. Each entry is taken under the lock and put without: release() may take its time. */
static void range_forget(u32 first, u32 last)
{
	last = (u32)min_u64(last, atomic_read(&highest));
	for (u64 fd = first; fd <= last && host_fd_any(); fd++) {
		struct host_file *f;

		if (!host_fd_is_ours((int)fd))
			continue;
		host_mutex_lock(&lock);
		f = entry_set((int)fd, NULL);
		host_mutex_unlock(&lock);
		host_file_put(f);
	}
}

void host_fd_range_closed(unsigned int first, unsigned int last)
{
	if (!host_fd_any() || host_in_vfork_child())
		return;
	host_enter();
	range_forget(first, last);
	host_leave();
}

int host_fd_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
	int r = (int)sys_call3(SYS_close_range, first, last, flags);

	if (!r && !(flags & CLOSE_RANGE_CLOEXEC))
		host_fd_range_closed(first, last);
	return r;
}

static long read_inside(int fd, void *buf, size_t count, s64 offset)
{
	struct host_file *f = file_hold(fd);
	long r = -EBADF;

	if (f)
		r = f->ops->read ? f->ops->read(f->object, (u64)(uintptr_t)buf, count, (u64)offset) : -EINVAL;
	host_file_put(f);
	return r;
}

long host_fd_read(int fd, void *buf, size_t count, s64 offset)
{
	bool moves = offset < 0;
	long r;

	if (moves)
		offset = sys_call3(SYS_lseek, fd, 0, SEEK_CUR);
	if (offset < 0)
		return offset;
	host_enter();
	r = read_inside(fd, buf, count, offset);
	host_leave();
	if (r > 0 && moves)
		sys_call3(SYS_lseek, fd, offset + r, SEEK_SET);
	return r;
}

/* What mmap of the file is refused with, as by KVM; else 0. */
static int mmap_check(const struct host_file *f, size_t size, int prot, int flags, u64 offset)
{
	u64 ring = KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE, end = offset + size - 1;

	if (!f->mapping_size)
		return -ENODEV;
	if ((flags & MAP_TYPE) != MAP_PRIVATE && !(prot & PROT_EXEC))
		return 0;
	/* As kvm_vcpu_mmap: the first or the last page is one of the dirty ring's. */
	if ((offset >= ring && offset < f->mapping_size) || (end >= ring && end < f->mapping_size))
		return -EINVAL;
	return 0;
}

/* Lays the page that files share over the program's mapping at `at`. */
static void show_shared(const struct host_file *f, long at, size_t size, int prot, int flags, u64 offset)
{
	long page = at + (long)(f->shared_at - offset);

	if (!f->shared || (flags & MAP_TYPE) == MAP_PRIVATE || offset > f->shared_at || f->shared_at - offset >= size)
		return;
	page = sys_call6(SYS_mremap, (long)f->shared, 0, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, page, 0);
	if (!sys_failed(page) && prot != (PROT_READ | PROT_WRITE))
		sys_call3(SYS_mprotect, page, PAGE_SIZE, prot);
}

long host_fd_mmap(int fd, void *hint, size_t size, int prot, int flags, u64 offset)
{
	struct host_file *f;
	long r = 0;

	host_enter();
	f = file_hold(fd);
	if (f)
		r = mmap_check(f, size, prot, flags, offset);
	if (!r)
		r = sys_mmap(hint, size, prot, flags, fd, (long)offset);
	if (f && !sys_failed(r))
		show_shared(f, r, size, prot, flags, offset);
	host_file_put(f);
	host_leave();
	return r;
}
