/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The preloaded shim's calls on paths and descriptors, by function and by number. The shim's objects are
 * linked in; the environment that activates it is set by executing ourselves anew.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/file.h"
#include "host/user/signals.h"

#define PAGE 4096ul
#define KVM "/dev/kvm"

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
int __xstat(int version, const char *path, struct stat *st);

/* ---- a file of our own ---------------------------------------------------------------------------- */

static u32 releases;

static long echo_ioctl(void *object, unsigned int request, unsigned long arg)
{
	(void)object;
	return request == 1 ? (long)arg : -EINVAL;
}

static void count_release(void *object)
{
	(void)object;
	atomic_add(&releases, 1);
}

static long read_letters(void *object, u64 uaddr, size_t count, u64 offset)
{
	(void)object;
	if (offset >= 6)
		return 0;
	count = (size_t)min_u64(count, 6 - offset);
	return host_copy_to_user(uaddr, &"abcdef"[offset], count) ? -EFAULT : (long)count;
}

static const struct host_file_ops echo_ops = { "kvm-echo", echo_ioctl, count_release, read_letters };

static int echo_create(size_t mapping)
{
	void *at;
	int fd = host_file_create(&echo_ops, &releases, mapping, &at);

	assert_true(fd >= 0);
	releases = 0;
	return fd;
}

static void assert_echo(int fd)
{
	assert_true(fd >= 0);
	assert_true(host_fd_is_ours(fd));
	assert_int_equal(ioctl(fd, 1, 1234), 1234);
	assert_int_equal(ioctl(fd, 2, 0), -1);
	assert_int_equal(errno, EINVAL);
}

/* ---- opening -------------------------------------------------------------------------------------- */

static void assert_kvm(int fd, bool cloexec)
{
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, KVM_GET_API_VERSION, 0), KVM_API_VERSION);
	assert_int_equal(fcntl(fd, F_GETFD), cloexec ? FD_CLOEXEC : 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(ioctl(fd, KVM_GET_API_VERSION, 0), -1);
	assert_int_equal(errno, EBADF);
}

static void test_open(void **state)
{
	struct open_how how = { .flags = O_RDWR | O_CLOEXEC };

	(void)state;
	assert_kvm(open(KVM, O_RDWR), false);
	assert_kvm(open(KVM, O_RDWR | O_CLOEXEC), true);
	assert_kvm(open(KVM, O_RDONLY), false);
	assert_kvm(open(KVM, O_RDWR | O_CREAT, 0600), false);
	assert_kvm(open64(KVM, O_RDWR | O_CLOEXEC), true);
	assert_kvm(openat(AT_FDCWD, KVM, O_RDWR), false);
	assert_kvm(openat64(12345, KVM, O_RDWR | O_CLOEXEC), true);
	assert_kvm(__open_2(KVM, O_RDWR | O_CLOEXEC), true);
	assert_kvm(__open64_2(KVM, O_RDWR), false);
	assert_kvm(__openat_2(AT_FDCWD, KVM, O_RDWR), false);
	assert_kvm(__openat64_2(AT_FDCWD, KVM, O_RDWR | O_CLOEXEC), true);
	assert_kvm((int)syscall(SYS_open, KVM, O_RDWR), false);
	assert_kvm((int)syscall(SYS_openat, AT_FDCWD, KVM, O_RDWR | O_CLOEXEC, 0), true);
	assert_kvm((int)syscall(SYS_openat2, AT_FDCWD, KVM, &how, sizeof(how)), true);
}

static void test_open_errors(void **state)
{
	(void)state;
	assert_int_equal(open(KVM, O_RDWR | O_DIRECTORY), -1);
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(open(KVM, O_RDWR | O_CREAT | O_EXCL, 0600), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(open("/dev/kvm2", O_RDWR), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(open("/dev/kv", O_RDWR), -1);
	assert_int_equal(openat(12345, "kvm", O_RDWR), -1);
	assert_int_equal(errno, EBADF);
}

/* Other files open as ever, with the mode passed on. */
static void test_open_others(void **state)
{
	char path[] = "/tmp/anykvm-test-XXXXXX";
	struct stat st;
	int fd;

	(void)state;
	close(mkstemp(path));
	unlink(path);
	umask(0);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0641);
	assert_true(fd >= 0 && !host_fd_is_ours(fd));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0641);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(syscall(SYS_close, fd), 0);
	unlink(path);
	fd = openat(AT_FDCWD, "/dev/null", O_WRONLY);
	assert_int_equal(ioctl(fd, 1, 2), -1);
	assert_int_equal(errno, ENOTTY);
	close(fd);
}

/* ---- stat and access ------------------------------------------------------------------------------ */

static void assert_kvm_stat(int r, const struct stat *st)
{
	assert_int_equal(r, 0);
	assert_true(S_ISCHR(st->st_mode));
	assert_int_equal(st->st_mode & 07777, 0666);
	assert_true(st->st_rdev == makedev(10, 232));
}

static void test_stat(void **state)
{
	struct statx stx;
	struct stat st;

	(void)state;
	assert_kvm_stat(stat(KVM, &st), &st);
	assert_kvm_stat(lstat(KVM, &st), &st);
	assert_kvm_stat(stat64(KVM, (struct stat64 *)&st), &st);
	assert_kvm_stat(lstat64(KVM, (struct stat64 *)&st), &st);
	assert_kvm_stat(fstatat(AT_FDCWD, KVM, &st, 0), &st);
	assert_kvm_stat(fstatat64(AT_FDCWD, KVM, (struct stat64 *)&st, 0), &st);
	assert_kvm_stat(__xstat(1, KVM, &st), &st);
	assert_kvm_stat((int)syscall(SYS_stat, KVM, &st), &st);
	assert_kvm_stat((int)syscall(SYS_newfstatat, AT_FDCWD, KVM, &st, 0), &st);
	assert_int_equal(statx(AT_FDCWD, KVM, 0, STATX_ALL, &stx), 0);
	assert_int_equal(stx.stx_mode, S_IFCHR | 0666);
	assert_true(stx.stx_rdev_major == 10 && stx.stx_rdev_minor == 232);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_true(st.st_rdev == makedev(1, 3));
	assert_int_equal(stat("/nowhere", &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_access(void **state)
{
	(void)state;
	assert_int_equal(access(KVM, F_OK), 0);
	assert_int_equal(access(KVM, R_OK | W_OK), 0);
	assert_int_equal(access(KVM, X_OK), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(access(KVM, 64), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(faccessat(AT_FDCWD, KVM, R_OK | W_OK, AT_EACCESS), 0);
	assert_int_equal(euidaccess(KVM, R_OK | W_OK), 0);
	assert_int_equal(eaccess(KVM, W_OK), 0);
	assert_int_equal(syscall(SYS_access, KVM, R_OK), 0);
	assert_int_equal(access("/nowhere", F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

/* ---- descriptors ---------------------------------------------------------------------------------- */

static void test_dup(void **state)
{
	int fd = echo_create(0), a = dup(fd), b = fcntl(fd, F_DUPFD_CLOEXEC, 100), c = dup2(fd, 90);
	int d = dup3(fd, 91, O_CLOEXEC), e = (int)syscall(SYS_dup, fd);
	int f = (int)syscall(SYS_fcntl, fd, F_DUPFD, 80);
	const int all[] = { fd, a, b, c, d, e, f };

	(void)state;
	assert_true(b >= 100 && c == 90 && d == 91 && f >= 80);
	assert_int_equal(fcntl(b, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(c, F_GETFD), 0);
	assert_int_equal(fcntl(d, F_GETFD), FD_CLOEXEC);
	assert_int_equal(dup2(c, c), c);
	assert_int_equal(dup3(c, c, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(fcntl(c, F_DUPFD, -1), -1);
	assert_int_equal(errno, EINVAL);
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		assert_echo(all[i]);
		assert_int_equal(releases, 0);
		assert_int_equal(close(all[i]), 0);
		assert_int_equal(close(all[i]), -1);
		assert_int_equal(errno, EBADF);
	}
	assert_int_equal(releases, 1);
}

static void test_replaced(void **state)
{
	int fd = echo_create(0), null = open("/dev/null", O_RDWR);

	(void)state;
	assert_int_equal(dup2(null, fd), fd);
	assert_int_equal(releases, 1);
	assert_int_equal(ioctl(fd, 1, 1), -1);
	assert_int_equal(errno, ENOTTY);
	close(fd);
	close(null);
}

static void test_close_range(void **state)
{
	int fd = echo_create(0), high = fcntl(fd, F_DUPFD, 200), higher = fcntl(fd, F_DUPFD, 210);

	(void)state;
	assert_int_equal(close_range(9, 8, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(close_range(200, 205, 4 /* CLOSE_RANGE_CLOEXEC */), 0);
	assert_echo(high);
	assert_int_equal(close_range(200, 205, 0), 0);
	assert_int_equal(fcntl(high, F_GETFD), -1);
	assert_echo(higher);
	assert_int_equal(syscall(SYS_close_range, 206, 300, 0), 0);
	assert_echo(fd);
	close(fd);
	assert_int_equal(releases, 1);
}

static void test_generic_ioctls(void **state)
{
	int fd = echo_create(0), on = 1;

	(void)state;
	assert_int_equal(ioctl(fd, FIONCLEX), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(ioctl(fd, FIOCLEX), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(ioctl(fd, FIONBIO, &on), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(syscall(SYS_ioctl, fd, 1, 77), 77);
	close(fd);
}

static void test_mmap(void **state)
{
	int fd = echo_create(80 * PAGE), empty;
	void *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)state;
	assert_true(p != MAP_FAILED);
	memset(p, 1, 3 * PAGE);
	munmap(p, 3 * PAGE);
	assert_ptr_equal(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 64 * PAGE), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(mmap64(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 64 * PAGE), MAP_FAILED);
	assert_int_equal(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 64 * PAGE), -1);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 64 * PAGE);
	assert_true(p != MAP_FAILED);
	munmap(p, PAGE);
	close(fd);
	empty = echo_create(0);
	assert_ptr_equal(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, empty, 0), MAP_FAILED);
	assert_int_equal(errno, ENODEV);
	close(empty);
}

static void test_read(void **state)
{
	int fd = echo_create(0);
	char text[8];

	(void)state;
	assert_int_equal(read(fd, text, 4), 4);
	assert_memory_equal(text, "abcd", 4);
	assert_int_equal(pread(fd, text, 8, 1), 5);
	assert_memory_equal(text, "bcdef", 5);
	assert_int_equal(syscall(SYS_pread64, fd, text, 1, 5), 1);
	assert_int_equal(text[0], 'f');
	assert_int_equal(pread(fd, text, 8, -1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(syscall(SYS_read, fd, text, 8), 2);
	assert_int_equal(read(fd, text, 8), 0);
	close(fd);
}

/* ---- eventfds ------------------------------------------------------------------------------------- */

static bool count_told(void *arg)
{
	atomic_add((u32 *)arg, 1);
	return true;
}

static void not_notified(void *arg)
{
	(void)arg;
	abort();
}

/* What signals an eventfd that somebody listens to tells them; what does not is the kernel's to refuse. */
static void test_eventfd(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct host_eventfd *e;
	u64 one = 1, zero = 0, all = ~0ull;
	u32 told = 0;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &e), 0);
	assert_int_equal(write(fd, &one, 8), 8);
	assert_int_equal(read(fd, &one, 8), 8); /* nobody listens */
	assert_int_equal(host_eventfd_listen(e, count_told, not_notified, &told), 0);
	assert_int_equal(write(fd, &one, 8), 8);
	assert_int_equal(eventfd_write(fd, 5), 0);
	assert_int_equal(told, 2);
	assert_int_equal(write(fd, &zero, 8), 8);
	assert_int_equal(write(fd, &all, 8), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(write(fd, &one, 4), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(write(fd, (void *)(uintptr_t)zero, 8), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(told, 2);
	assert_int_equal(read(fd, &one, 8), -1);
	assert_int_equal(errno, EAGAIN);
	host_eventfd_unlisten(e, not_notified, &told);
	assert_int_equal(write(fd, &one, 8), 8);
	assert_int_equal(read(fd, &one, 8), 8);
	assert_int_equal(told, 2);
	host_eventfd_put(e);
	close(fd);
}

/* ---- syscall() in general ------------------------------------------------------------------------- */

static void test_syscall(void **state)
{
	struct { long a, b; } zero = { 0, 0 };
	void *p;

	(void)state;
	assert_int_equal(syscall(SYS_getpid), getpid());
	assert_int_equal(syscall(100000), -1);
	assert_int_equal(errno, ENOSYS);
	assert_int_equal(syscall(-1), -1);
	assert_int_equal(errno, ENOSYS);
	assert_int_equal(syscall(SYS_nanosleep, &zero, NULL), 0);
	p = (void *)syscall(SYS_mmap, NULL, PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
	assert_true(p != MAP_FAILED);
	*(volatile char *)p = 1;
	assert_int_equal(syscall(SYS_munmap, p, PAGE), 0);
}

static void note_signal(int sig)
{
	(void)sig;
}

static void test_syscall_sigaction(void **state)
{
	struct host_sigaction mine = { .handler = (void *)note_signal, .mask = host_sigbit(3) }, old;

	(void)state;
	close(open(KVM, O_RDWR)); /* dispositions are virtual by now */
	assert_int_equal(syscall(SYS_rt_sigaction, 10, &mine, NULL, 8), 0);
	assert_int_equal(syscall(SYS_rt_sigaction, 10, NULL, &old, 8), 0);
	assert_ptr_equal(old.handler, note_signal);
	assert_true(old.mask == host_sigbit(3));
	assert_int_equal(syscall(SYS_rt_sigaction, 10, &mine, NULL, 4), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(syscall(SYS_rt_sigaction, 65, &mine, NULL, 8), -1);
	assert_int_equal(errno, EINVAL);
}

/* ---- other processes ------------------------------------------------------------------------------ */

/* Executes ourselves with one environment and argument; returns what it writes to stderr. */
static int run_self(char *const *env, const char *what, char *text, size_t room)
{
	int ends[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		dup2(ends[1], STDERR_FILENO);
		execve("/proc/self/exe", (char *const[]){ "test_shim", (char *)what, NULL }, env);
		_exit(99);
	}
	close(ends[1]);
	while ((got = read(ends[0], text + n, room - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = 0;
	close(ends[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int open_twice(void)
{
	int a = open(KVM, O_RDWR), b = open(KVM, O_RDWR);

	return a >= 0 && b >= 0 && host_fd_is_ours(a) ? 0 : 1;
}

/* As the kernel has it, whatever that is on this machine. */
static int open_plain(void)
{
	int a = open(KVM, O_RDWR), wrong = errno;
	long b = syscall(SYS_openat, AT_FDCWD, "/dev/../dev/kvm", O_RDWR, 0);

	if (a >= 0)
		return b >= 0 && !host_fd_is_ours(a) ? 0 : 1;
	return b < 0 && errno == wrong ? 0 : 2;
}

static void test_announcement(void **state)
{
	char *const loud[] = { "ANYKVM_PRELOAD=1", "ANYKVM_ENGINE=soft", NULL };
	char *const quiet[] = { "ANYKVM_PRELOAD=1", "ANYKVM_ENGINE=soft", "ANYKVM_QUIET=1", NULL };
	char text[256];

	(void)state;
	assert_int_equal(run_self(loud, "twice", text, sizeof(text)), 0);
	assert_string_equal(text, "anykvm: /dev/kvm is AnyKVM, software engine (ANYKVM_ENGINE=soft)\n");
	assert_int_equal(run_self(quiet, "twice", text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void test_not_preloaded(void **state)
{
	char *const none[] = { NULL };
	char text[256];

	(void)state;
	assert_int_equal(run_self(none, "plain", text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void test_fork_child_opens(void **state)
{
	int kvm = open(KVM, O_RDWR | O_CLOEXEC), status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		int own = open(KVM, O_RDWR);

		_exit(ioctl(own, KVM_GET_API_VERSION, 0) == 12 && !close(own) && !close(kvm) ? 42 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_kvm(kvm, true);
}

static void *open_close_many(void *bad)
{
	for (int i = 0; i < 300; i++) {
		int fd = open(KVM, O_RDWR | O_CLOEXEC), copy = dup(fd);

		if (ioctl(fd, KVM_GET_API_VERSION, 0) != 12 || close(fd) ||
		    ioctl(copy, KVM_GET_API_VERSION, 0) != 12 || close(copy))
			atomic_set((u32 *)bad, 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	u32 bad = 0;

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, open_close_many, &bad);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_open_others),
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_dup),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_close_range),
		cmocka_unit_test(test_generic_ioctls),
		cmocka_unit_test(test_mmap),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_eventfd),
		cmocka_unit_test(test_syscall),
		cmocka_unit_test(test_syscall_sigaction),
		cmocka_unit_test(test_announcement),
		cmocka_unit_test(test_not_preloaded),
		cmocka_unit_test(test_fork_child_opens),
		cmocka_unit_test(test_threads),
	};

	alarm(900);
	if (argc > 1)
		return strcmp(argv[1], "twice") ? open_plain() : open_twice();
	if (!getenv("ANYKVM_PRELOAD")) {
		setenv("ANYKVM_PRELOAD", "1", 1);
		setenv("ANYKVM_ENGINE", "soft", 1);
		setenv("ANYKVM_QUIET", "1", 1);
		execv("/proc/self/exe", argv);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
