// SPDX-License-Identifier: GPL-2.0-only
/* host/user without the shim: files, also under threads and in forks, and memory in huge pages. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/file.h"
#include "host/user/huge.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "include/anykvm.h"
#include "tests/unit/child.h"
#include "tests/unit/own_faults.h"

#define PAGE 4096ul

/* ---- files ---------------------------------------------------------------------------------------- */

#define OBJECT_ALIVE 0x600df00d

struct object {
	u32 magic;
	u32 releases;
	u64 mm;
};

static long object_ioctl(void *object, unsigned int request, unsigned long arg)
{
	struct object *o = object;

	if (o->mm != host_mm_id())
		return -EIO;
	if (atomic_read(&o->magic) != OBJECT_ALIVE)
		return -ENOTRECOVERABLE;
	return (long)(request + arg);
}

static void object_release(void *object)
{
	struct object *o = object;

	atomic_set(&o->magic, 0);
	atomic_add(&o->releases, 1);
}

static long object_read(void *object, u64 uaddr, size_t count, u64 offset)
{
	(void)object;
	if (offset >= 10)
		return 0;
	count = (size_t)min_u64(count, 10 - offset);
	return host_copy_to_user(uaddr, &"0123456789"[offset], count) ? -EFAULT : (long)count;
}

static const struct host_file_ops object_ops = { "kvm-test", object_ioctl, object_release, object_read };
static const struct host_file_ops other_ops = { "kvm-other", object_ioctl, object_release, NULL };

static int object_create(struct object *o, const struct host_file_ops *ops, size_t mapping, void **at)
{
	int fd;

	*o = (struct object){ .magic = OBJECT_ALIVE, .mm = host_mm_id() };
	fd = host_file_create(ops, o, mapping, at);
	assert_true(fd >= 0);
	return fd;
}

static void test_file_life(void **state)
{
	struct host_file *file;
	struct object o;
	int fd = object_create(&o, &object_ops, 0, NULL), copy, high;

	(void)state;
	assert_true(anykvm_owns(fd) && !anykvm_owns(-1) && !anykvm_owns(INT32_MAX) && !anykvm_owns(0));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(anykvm_ioctl(fd, 0xffffffff00000005ul, 6), 11);
	assert_int_equal(anykvm_ioctl(STDERR_FILENO, 5, 6), -1);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(anykvm_ioctl(9999, 5, 6), -1);
	assert_int_equal(errno, EBADF);
	copy = anykvm_dup(fd);
	assert_true(copy > fd);
	assert_int_equal(fcntl(copy, F_GETFD), 0);
	assert_int_equal(anykvm_close(fd), 0);
	assert_int_equal(anykvm_close(fd), -1);
	assert_int_equal(errno, EBADF);
	high = host_fd_dup(copy, F_DUPFD_CLOEXEC, 700);
	assert_true(high >= 700);
	assert_int_equal(host_fd_close(copy), 0);
	assert_int_equal(host_fd_ioctl(high, 1, 2), 3);
	assert_null(host_file_get(high, &other_ops, &file));
	assert_ptr_equal(host_file_get(high, &object_ops, &file), &o);
	assert_int_equal(host_fd_close(high), 0);
	assert_int_equal(o.releases, 0);
	host_file_put(file);
	assert_int_equal(o.releases, 1);
}

static void test_file_replace(void **state)
{
	struct object a, b;
	int fa = object_create(&a, &object_ops, 0, NULL), fb = object_create(&b, &object_ops, 0, NULL);
	int plain = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(host_fd_dup_onto(fa, fb, 0), fb);
	assert_int_equal(b.releases, 1);
	assert_int_equal(host_fd_dup_onto(9999, fb, 0), -EBADF);
	assert_int_equal(host_fd_ioctl(fb, 1, 1), 2);
	assert_int_equal(host_fd_dup_onto(plain, fb, O_CLOEXEC), fb);
	assert_false(host_fd_is_ours(fb));
	assert_int_equal(host_fd_dup_onto(fa, plain, 0), plain);
	assert_int_equal(host_fd_close_range((unsigned int)fa, (unsigned int)fa, 0), 0);
	assert_false(host_fd_is_ours(fa));
	assert_int_equal(a.releases, 0);
	assert_int_equal(host_fd_close_range(7, 3, 0), -EINVAL);
	assert_int_equal(host_fd_close_range((unsigned int)fb, ~0u, 0), 0);
	if (plain < fb)
		assert_int_equal(host_fd_close(plain), 0);
	assert_int_equal(a.releases, 1);
}

/* 0, or why not. */
static long maps(int fd, size_t size, int prot, int flags, u64 offset)
{
	long at = host_fd_mmap(fd, NULL, size, prot, flags, offset);

	if (at < 0 && at > -4096)
		return at;
	munmap((void *)at, size);
	return 0;
}

static void test_file_mapping(void **state)
{
	struct object o;
	void *ours, *theirs;
	int fd = object_create(&o, &object_ops, 80 * PAGE, &ours);
	u64 ring = 64 * PAGE;

	(void)state;
	theirs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(theirs != MAP_FAILED);
	*(volatile u32 *)theirs = 0x1234;
	assert_int_equal(*(volatile u32 *)ours, 0x1234);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_true(maps(fd, PAGE, PROT_READ, MAP_PRIVATE, 0) == 0);
	assert_int_equal(maps(fd, PAGE, PROT_READ, MAP_PRIVATE, ring), -EINVAL);
	assert_int_equal(maps(fd, 65 * PAGE, PROT_READ, MAP_PRIVATE, 0), -EINVAL);
	assert_int_equal(maps(fd, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, ring), -EINVAL);
	assert_int_equal(maps(fd, 16 * PAGE, PROT_READ, MAP_SHARED, ring), 0);
	munmap(theirs, PAGE);
	assert_int_equal(host_fd_close(fd), 0);
	fd = object_create(&o, &object_ops, 0, NULL);
	assert_int_equal(maps(fd, PAGE, PROT_READ, MAP_SHARED, 0), -ENODEV);
	assert_int_equal(host_fd_close(fd), 0);
}

static void test_file_sharing(void **state)
{
	u32 *page = host_alloc_shared(PAGE), *at[3];
	struct object o[2];
	void *mine;
	int fd[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		fd[i] = host_file_create_sharing(&object_ops, &o[i], 3 * PAGE, &mine, 2 * PAGE, page);
		at[i] = (u32 *)host_fd_mmap(fd[i], NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
		*(u32 *)mine = (u32)i + 1;
	}
	at[2] = (u32 *)host_fd_mmap(fd[1], NULL, PAGE, PROT_READ, MAP_SHARED, 2 * PAGE);
	page[5] = 55;
	at[0][2 * PAGE / 4 + 6] = 66;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(at[i][0], i + 1);
		assert_int_equal(at[i][2 * PAGE / 4 + 5], 55);
		assert_int_equal(at[i][2 * PAGE / 4 + 6], 66);
	}
	assert_int_equal(at[2][6], 66);
	assert_int_equal(page[6], 66);
	for (int i = 0; i < 2; i++)
		assert_int_equal(host_fd_close(fd[i]), 0);
	host_free_shared(page, PAGE);
	assert_int_equal(at[1][2 * PAGE / 4 + 6], 66); /* the program's mappings stay */
	munmap(at[0], 3 * PAGE);
	munmap(at[1], 3 * PAGE);
	munmap(at[2], PAGE);
}

/* One shared mapping of two huge pages' size, in place for them. */
static u8 *map_pieces(void)
{
	u8 *room = mmap(NULL, 3 * HUGE_PIECE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at;

	assert_ptr_not_equal(room, MAP_FAILED);
	at = (u8 *)(((u64)room + HUGE_PIECE - 1) & ~(HUGE_PIECE - 1));
	assert_ptr_equal(mmap(at, 2 * HUGE_PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
	return at;
}

static unsigned pages_there(u8 *piece)
{
	unsigned char there[HUGE_PIECE / 4096];
	unsigned n = 0;

	assert_int_equal(mincore(piece, HUGE_PIECE, there), 0);
	for (unsigned i = 0; i < sizeof(there); i++)
		n += there[i] & 1;
	return n;
}

static void use_pages(u8 *piece, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		piece[i * 4096 + i] = (u8)(i + 1);
		for (unsigned times = 0; times < 100; times++)
			host_huge_note((u64)piece + i * 4096);
	}
}

/* Memory of which a guest uses some comes whole, in a huge page, but only where the VMM allows it. */
static void test_huge(void **state)
{
	u8 *p = map_pieces(), *other = map_pieces();
	bool supported;

	(void)state;
	other[0] = 1;
	supported = !madvise(other, HUGE_PIECE, 25 /* MADV_COLLAPSE */);
	use_pages(other + HUGE_PIECE, 0, 60);
	assert_int_equal(pages_there(other + HUGE_PIECE), 60);

	assert_int_equal(host_alias_allow((u64)p, 2 * HUGE_PIECE, -1), 0);
	use_pages(p, 0, 4);
	assert_int_equal(pages_there(p), 4);
	use_pages(p, 4, 60);
	assert_int_equal(pages_there(p), supported ? HUGE_PIECE / 4096 : 60);
	assert_int_equal(pages_there(p + HUGE_PIECE), 0);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(p[i * 4096 + i], i + 1);

	/* What is given back stays away. */
	assert_int_equal(madvise(p, HUGE_PIECE, MADV_REMOVE), 0);
	use_pages(p, 0, 60);
	assert_int_equal(pages_there(p), 60);
	host_alias_forget((u64)p);
	munmap(p, 2 * HUGE_PIECE);
	munmap(other, 2 * HUGE_PIECE);
}

static void test_file_read(void **state)
{
	char text[8] = "";
	struct object o;
	int fd = object_create(&o, &object_ops, 0, NULL), mute;

	(void)state;
	assert_int_equal(host_fd_read(fd, text, 4, -1), 4);
	assert_int_equal(host_fd_read(fd, text, 8, -1), 6);
	assert_memory_equal(text, "456789", 6);
	assert_int_equal(host_fd_read(fd, text, 8, -1), 0);
	assert_int_equal(host_fd_read(fd, text, 2, 3), 2);
	assert_memory_equal(text, "34", 2);
	assert_int_equal(host_fd_read(fd, (void *)16, 2, 3), -EFAULT);
	host_fd_close(fd);
	mute = object_create(&o, &other_ops, 0, NULL);
	assert_int_equal(host_fd_read(mute, text, 4, -1), -EINVAL);
	host_fd_close(mute);
}

/* Many threads dup, close, replace and use the same few numbers: no use after release, one release each. */
#define STORM_FDS 16
#define STORM_FIRST 300
#define STORM_OBJECTS 20000

static struct object storm_objects[STORM_OBJECTS];
static u32 storm_next, storm_bad;

static void storm_step(u32 dice)
{
	int fd = STORM_FIRST + (int)(dice >> 8) % STORM_FDS;
	int from = STORM_FIRST + (int)(dice >> 16) % STORM_FDS;
	u32 n;
	int made;

	switch (dice % 8) {
	case 0:
		n = atomic_add(&storm_next, 1);
		if (n >= STORM_OBJECTS)
			return;
		storm_objects[n] = (struct object){ .magic = OBJECT_ALIVE, .mm = host_mm_id() };
		made = host_file_create(&object_ops, &storm_objects[n], 0, NULL);
		host_fd_dup_onto(made, fd, 0);
		host_fd_close(made);
		break;
	case 1:
		host_fd_close(fd);
		break;
	case 2:
		host_fd_dup_onto(from, fd, 0);
		break;
	default:
		if (host_fd_is_ours(fd) && host_fd_ioctl(fd, 1, 2) == -ENOTRECOVERABLE)
			atomic_set(&storm_bad, 1);
	}
}

static void *storm_thread(void *seed)
{
	u32 x = (u32)(uintptr_t)seed;

	while (atomic_read(&storm_next) < STORM_OBJECTS) {
		x = x * 1664525 + 1013904223;
		storm_step(x >> 4);
	}
	return NULL;
}

static void test_file_storm(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, storm_thread, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	host_fd_close_range(STORM_FIRST, STORM_FIRST + STORM_FDS, 0);
	assert_int_equal(storm_bad, 0);
	for (u32 i = 0; i < STORM_OBJECTS; i++)
		assert_int_equal(storm_objects[i].releases, 1);
}

/* ---- fork ----------------------------------------------------------------------------------------- */

static struct object forked_object;
static int forked_fd;
static u64 parent_mm;
static u32 ticked;

static void tick(struct host_timer *unused)
{
	(void)unused;
	atomic_set(&ticked, 1);
	host_wake(&ticked);
}

static void child_of_fork(void)
{
	struct host_timer timer;
	struct object own;
	int fd;

	if (host_mm_id() == parent_mm || host_in_vfork_child())
		_exit(1);
	if (host_fd_ioctl(forked_fd, 1, 1) != -EIO || host_fd_close(forked_fd) || forked_object.releases)
		_exit(2);
	host_timer_init(&timer, tick); /* a service thread of its own */
	if (host_timer_arm(&timer, 1))
		_exit(3);
	while (!atomic_read(&ticked))
		host_wait(&ticked, 0, 0);
	own = (struct object){ .magic = OBJECT_ALIVE, .mm = host_mm_id() };
	fd = host_file_create(&object_ops, &own, 0, NULL);
	if (host_fd_ioctl(fd, 1, 1) != 2 || host_fd_close(fd) || own.releases != 1)
		_exit(4);
	_exit(42);
}

static void test_fork(void **state)
{
	int status;

	(void)state;
	parent_mm = host_mm_id();
	forked_fd = object_create(&forked_object, &object_ops, 0, NULL);
	status = in_child(child_of_fork);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_true(host_mm_id() == parent_mm);
	assert_int_equal(host_fd_ioctl(forked_fd, 1, 1), 2);
	assert_int_equal(host_fd_close(forked_fd), 0);
	assert_int_equal(forked_object.releases, 1);
}

static void test_vfork(void **state)
{
	struct object o;
	int fd = object_create(&o, &object_ops, 0, NULL), status;
	pid_t pid = vfork();

	(void)state;
	if (!pid)
		_exit(host_in_vfork_child() && !host_fd_close(fd) && host_fd_close(fd) == -EBADF ? 42 : 1);
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_int_equal(host_fd_ioctl(fd, 1, 1), 2);
	assert_int_equal(host_fd_close(fd), 0);
	assert_int_equal(o.releases, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_life),
		cmocka_unit_test(test_file_replace),
		cmocka_unit_test(test_file_mapping),
		cmocka_unit_test(test_file_sharing),
		cmocka_unit_test(test_file_read),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_file_storm),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_vfork),
	};

	alarm(900);
	assert_int_equal(host_user_init(), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
