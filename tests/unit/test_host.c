/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * host/user without the shim: faulting copies, guards, locks, timers, eventfds, files under threads,
 * forks. Counts are bounded and nothing depends on timing: what would hang is ended by an alarm.
 */
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
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/fault.h"
#include "host/user/file.h"
#include "host/user/huge.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "host/user/signals.h"
#include "include/anykvm.h"

#define PAGE 4096ul
#define MS 1000000ull

/* cmocka installs fault handlers around each test by this; here the faults are the subject. */
__attribute__((visibility("default"))) sighandler_t signal(int sig, sighandler_t handler)
{
	(void)sig;
	(void)handler;
	return SIG_DFL;
}

static u8 *pages(size_t n, int prot)
{
	u8 *p = mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

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

/* ---- the compiler's memory functions -------------------------------------------------------------- */

static void test_string(void **state)
{
	u8 a[600], b[600], reference[600];

	(void)state;
	for (unsigned int n = 0; n < 300; n++) {
		for (unsigned int shift = 0; shift < 40; shift += 7) {
			for (unsigned int i = 0; i < sizeof(a); i++)
				a[i] = b[i] = reference[i] = (u8)(i * 7 + n);
			for (unsigned int i = 0; i < n; i++)
				reference[shift + i] = (u8)(i * 7 + n);
			memmove(a + shift, a, n);
			assert_int_equal(memcmp(a, reference, sizeof(a)), 0);
			memmove(b, b + shift, n);
			for (unsigned int i = 0; i < n; i++)
				assert_int_equal(b[i], (u8)((i + shift) * 7 + n));
			memset(a, 0xa5, n);
			for (unsigned int i = 0; i < n; i++)
				assert_int_equal(a[i], 0xa5);
			assert_int_equal(a[n], reference[n]);
		}
	}
	assert_true(memcmp("abcdefghijk", "abcdefghijl", 11) < 0);
	assert_true(memcmp("abcdefgh\xff", "abcdefgh\x01", 9) > 0);
}

/* ---- copies --------------------------------------------------------------------------------------- */

static void test_copy_faults(void **state)
{
	u8 *p = pages(2, PROT_READ | PROT_WRITE), buffer[64];
	const size_t sizes[] = { 1, 2, 4, 8, 3, 16, 64 };

	(void)state;
	assert_int_equal(munmap(p + PAGE, PAGE), 0);
	memset(p, 0x5a, PAGE);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i];
		u64 last = (u64)p + PAGE - n;

		assert_int_equal(host_copy_from_user(buffer, last, n), 0);
		assert_int_equal(buffer[n - 1], 0x5a);
		assert_int_equal(host_copy_to_user(last, buffer, n), 0);
		assert_int_equal(host_copy_from_user(buffer, last + 1, n), -EFAULT);
		assert_int_equal(host_copy_to_user(last + 1, buffer, n), -EFAULT);
		assert_int_equal(host_copy_from_user(buffer, 0, n), -EFAULT);
		assert_int_equal(host_copy_from_user(buffer, 1ull << 62, n), -EFAULT);
		assert_int_equal(host_copy_from_user(buffer, 0x8000000000000000ull, n), -EFAULT);
		assert_int_equal(host_copy_to_user(UINT64_MAX - n + 1, buffer, n), -EFAULT);
	}
	assert_int_equal(host_copy_from_user(buffer, (u64)p, 0), 0);
	mprotect(p, PAGE, PROT_READ);
	assert_int_equal(host_copy_from_user(buffer, (u64)p, 8), 0);
	assert_int_equal(host_copy_to_user((u64)p, buffer, 8), -EFAULT);
	mprotect(p, PAGE, PROT_NONE);
	assert_int_equal(host_copy_from_user(buffer, (u64)p, 8), -EFAULT);
	munmap(p, PAGE);
}

static void test_copy_range(void **state)
{
	u8 buffer[16];

	(void)state;
	assert_true(host_user_range_ok(0, 0));
	assert_true(host_user_range_ok((u64)buffer, sizeof(buffer)));
	assert_false(host_user_range_ok(UINT64_MAX, 2));
	assert_false(host_user_range_ok(16, UINT64_MAX - 8));
	assert_false(host_user_range_ok(1ull << 63, 1));
	assert_int_equal(host_copy_from_user(buffer, (u64)buffer, SIZE_MAX), -EFAULT);
}

static void test_copy_truncated_file(void **state)
{
	int fd = memfd_create("truncated", MFD_CLOEXEC);
	u64 word = 1;
	u8 *p;

	(void)state;
	assert_int_equal(ftruncate(fd, PAGE), 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(host_copy_to_user((u64)p, &word, 8), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(host_copy_to_user((u64)p, &word, 8), -EFAULT);
	assert_int_equal(host_copy_from_user(&word, (u64)p, 8), -EFAULT);
	munmap(p, PAGE);
	close(fd);
}

static void test_cmpxchg(void **state)
{
	u8 *p = pages(1, PROT_READ | PROT_WRITE);
	u64 word = 0x1122334455667788ull, at = (u64)&word;

	(void)state;
	assert_int_equal(host_cmpxchg_user(at, 0x88, 0x11, 1), 0);
	assert_int_equal(host_cmpxchg_user(at, 0x7788, 0x22, 2), 1);
	assert_int_equal(host_cmpxchg_user(at, 0x7711, 0x2222, 2), 0);
	assert_int_equal(host_cmpxchg_user(at, 0x55662222, 0x33333333, 4), 0);
	assert_int_equal(host_cmpxchg_user(at, 0x1122334433333333ull, 0x44, 8), 0);
	assert_true(word == 0x44);
	assert_int_equal(host_cmpxchg_user(at, 0, 0, 3), -EINVAL);
	mprotect(p, PAGE, PROT_READ);
	assert_int_equal(host_cmpxchg_user((u64)p, 0, 1, 8), -EFAULT);
	assert_int_equal(host_cmpxchg_user(16, 0, 1, 4), -EFAULT);
	munmap(p, PAGE);
}

/* ---- guards --------------------------------------------------------------------------------------- */

static u8 *forbidden;

static __attribute__((noinline)) void store_deep(unsigned int depth, volatile u8 *at)
{
	volatile u8 local[64];

	local[depth % 64] = 1;
	if (depth)
		store_deep(depth - 1, at);
	else
		*at = 1;
	(void)local[0];
}

static void test_guard_unwinds(void **state)
{
	struct host_fault_frame f;
	volatile int rounds = 0;
	int sig;

	(void)state;
	for (rounds = 0; rounds < 100; rounds++) {
		sig = host_fault_guard(&f);
		if (!sig) {
			store_deep(10, forbidden + 0x123);
			fail();
		}
		assert_int_equal(sig, SIGSEGV);
		assert_int_equal(f.signo, SIGSEGV);
		assert_true(f.addr == (u64)forbidden + 0x123);
		assert_true(f.trap == 14 && f.error & 2);
		assert_int_equal(f.code, SEGV_ACCERR);
		assert_null(host_fault_innermost);
	}
}

static int guarded_load(volatile u8 *at)
{
	struct host_fault_frame f;
	int sig = host_fault_guard(&f);

	if (!sig) {
		(void)*at;
		host_fault_disarm(&f);
	}
	return sig;
}

static void test_guard_nests(void **state)
{
	struct host_fault_frame outer;
	int sig = host_fault_guard(&outer);

	(void)state;
	if (!sig) {
		assert_int_equal(guarded_load(forbidden), SIGSEGV);
		assert_ptr_equal(host_fault_innermost, &outer);
		assert_int_equal(guarded_load((u8 *)&outer), 0);
		assert_ptr_equal(host_fault_innermost, &outer);
		store_deep(3, forbidden + 7);
		fail();
	}
	assert_int_equal(sig, SIGSEGV);
	assert_true(outer.addr == (u64)forbidden + 7);
}

static void test_guard_copy_is_first(void **state)
{
	struct host_fault_frame f;
	u64 word;
	int sig = host_fault_guard(&f);

	(void)state;
	assert_int_equal(sig, 0);
	assert_int_equal(host_copy_from_user(&word, (u64)forbidden, 8), -EFAULT);
	assert_ptr_equal(host_fault_innermost, &f);
	host_fault_disarm(&f);
}

/* Registers at the fault, and the callee-saved ones after it, as generated code needs them. */
static void test_guard_registers(void **state)
{
	struct host_fault_frame f;
	int sig = host_fault_guard(&f);

	(void)state;
	if (!sig) {
		__asm__ volatile("mov $0x1111, %%ebx\n\t"
				 "mov $0x2222, %%r12d\n\t"
				 "mov $0x3333, %%r8d\n\t"
				 "std\n\t"
				 "movb $1, (%0)" : : "a"(forbidden) : "rbx", "r12", "r8", "memory");
		fail();
	}
	assert_true(f.gpr[HOST_RAX] == (u64)forbidden);
	assert_true(f.gpr[HOST_RBX] == 0x1111 && f.gpr[HOST_R12] == 0x2222 && f.gpr[HOST_R8] == 0x3333);
	assert_true(f.flags & 0x400);
}

static void test_guard_divide(void **state)
{
	struct host_fault_frame f;
	int sig = host_fault_guard(&f);

	(void)state;
	if (!sig) {
		__asm__ volatile("xor %%edx, %%edx\n\tmov $1, %%eax\n\txor %%ecx, %%ecx\n\tdiv %%ecx"
				 : : : "eax", "ecx", "edx");
		fail();
	}
	assert_int_equal(sig, SIGFPE);
	assert_int_equal(f.code, FPE_INTDIV);
	assert_true(f.addr == f.pc);
}

/* A fault that is nobody's of ours ends the process as it would have. */
static void default_segv(void)
{
	struct host_sigaction plain = { .handler = (void *)SIG_DFL };

	host_signals_take_over();
	host_signals_act(SIGSEGV, &plain, NULL);
	guarded_load(forbidden);
	store_deep(2, forbidden);
}

static void test_fault_default(void **state)
{
	int status;

	(void)state;
	status = in_child(default_segv);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void handler_exits(int sig, siginfo_t *info, void *context)
{
	(void)context;
	_exit(sig == SIGSEGV && info->si_addr == forbidden + 5 ? 42 : 1);
}

static void program_segv(void)
{
	struct host_sigaction mine = { .handler = (void *)handler_exits, .flags = SA_SIGINFO };

	host_signals_take_over();
	host_signals_act(SIGSEGV, &mine, NULL);
	guarded_load(forbidden);
	store_deep(2, forbidden + 5);
}

static void test_fault_program_handler(void **state)
{
	int status;

	(void)state;
	status = in_child(program_segv);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* ---- locks ---------------------------------------------------------------------------------------- */

static struct host_mutex shared_lock;
static u64 shared_count;

static void *count_up(void *unused)
{
	(void)unused;
	for (int i = 0; i < 50000; i++) {
		host_mutex_lock(&shared_lock);
		shared_count++;
		host_mutex_unlock(&shared_lock);
	}
	return NULL;
}

static void test_mutex(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, count_up, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(shared_count == 200000);
	assert_false(host_mutex_is_locked(&shared_lock));
	assert_true(host_mutex_trylock(&shared_lock));
	assert_false(host_mutex_trylock(&shared_lock));
	host_mutex_unlock(&shared_lock);
}

static void test_wait(void **state)
{
	u32 word = 1;

	(void)state;
	assert_int_equal(host_wait(&word, 2, 0), 0);
	assert_int_equal(host_wait(&word, 1, host_monotonic_ns() + MS), -ETIMEDOUT);
	assert_int_equal(host_wait(&word, 1, 1), -ETIMEDOUT);
}

/* ---- timers --------------------------------------------------------------------------------------- */

static u32 fired, fired_order;

struct numbered_timer {
	struct host_timer timer;
	u32 number, rearm;
};

static void wait_for(u32 *word, u32 at_least)
{
	u32 now;

	while ((now = atomic_read(word)) < at_least)
		host_wait(word, now, 0);
}

static void note_fired(struct host_timer *t)
{
	struct numbered_timer *n = container_of(t, struct numbered_timer, timer);

	fired_order = fired_order * 10 + n->number;
	if (n->rearm) {
		n->rearm--;
		host_timer_arm(t, host_monotonic_ns() + MS / 10);
	}
	atomic_add(&fired, 1);
	host_wake(&fired);
}

static void test_timer_order(void **state)
{
	struct numbered_timer t[4] = { 0 };
	u64 base;

	(void)state;
	fired = fired_order = 0;
	for (u32 i = 0; i < 4; i++) {
		t[i].number = i + 1;
		host_timer_init(&t[i].timer, note_fired);
	}
	base = host_monotonic_ns() + 20 * MS;
	assert_int_equal(host_timer_arm(&t[2].timer, base + 3 * MS), 0);
	assert_int_equal(host_timer_arm(&t[0].timer, base + 90 * MS), 0);
	assert_int_equal(host_timer_arm(&t[1].timer, base + 2 * MS), 0);
	assert_int_equal(host_timer_arm(&t[3].timer, base + 1), 0);
	host_timer_arm(&t[0].timer, base + MS); /* earlier after all */
	host_timer_cancel(&t[3].timer);
	wait_for(&fired, 3);
	assert_true(host_monotonic_ns() >= base + 3 * MS);
	assert_int_equal(fired_order, 123);
	host_timer_arm(&t[3].timer, 1); /* long past */
	wait_for(&fired, 4);
}

static void test_timer_rearm(void **state)
{
	struct numbered_timer t = { .rearm = 200 };

	(void)state;
	fired = 0;
	host_timer_init(&t.timer, note_fired);
	host_timer_arm(&t.timer, 1);
	wait_for(&fired, 201);
	host_timer_cancel_sync(&t.timer);
	assert_int_equal(fired, 201);
}

static u32 in_callback, may_finish;

static void linger(struct host_timer *t)
{
	(void)t;
	atomic_set(&in_callback, 1);
	host_wake(&in_callback);
	while (!atomic_read(&may_finish))
		host_yield();
	atomic_set(&in_callback, 2);
}

static void *cancel_thread(void *timer)
{
	host_timer_cancel_sync(timer);
	return (void *)(uintptr_t)atomic_read(&in_callback);
}

static void test_timer_cancel_sync(void **state)
{
	struct host_timer t;
	pthread_t thread;
	void *seen;

	(void)state;
	for (int i = 0; i < 100; i++) {
		in_callback = may_finish = 0;
		host_timer_init(&t, linger);
		host_timer_arm(&t, 1);
		wait_for(&in_callback, 1);
		pthread_create(&thread, NULL, cancel_thread, &t);
		host_timer_cancel(&t); /* returns though the callback runs */
		atomic_set(&may_finish, 1);
		pthread_join(thread, &seen);
		assert_ptr_equal(seen, (void *)2);
	}
}

/* ---- eventfds ------------------------------------------------------------------------------------- */

static void count_event(void *arg)
{
	u32 *n = arg;

	atomic_add(n, 1);
	host_wake(n);
}

static void test_eventfd_identity(void **state)
{
	int fd = eventfd(0, 0), other = eventfd(0, 0), alias = dup(fd);
	struct host_eventfd *a, *b, *c;
	u64 value;

	(void)state;
	assert_int_equal(host_eventfd_get(-1, &a), -EBADF);
	assert_int_equal(host_eventfd_get(9999, &a), -EBADF);
	assert_int_equal(host_eventfd_get(STDERR_FILENO, &a), -EINVAL);
	assert_int_equal(host_eventfd_get(fd, &a), 0);
	assert_int_equal(host_eventfd_get(alias, &b), 0);
	assert_int_equal(host_eventfd_get(other, &c), 0);
	assert_true(host_eventfd_same(a, b));
	assert_false(host_eventfd_same(a, c));
	host_eventfd_signal(a, 3);
	close(fd);
	host_eventfd_put(a);
	host_eventfd_signal(b, 4);
	assert_int_equal(read(alias, &value, 8), 8);
	assert_true(value == 7);
	host_eventfd_put(b);
	host_eventfd_put(c);
	close(alias);
	close(other);
}

static void test_eventfd_listen(void **state)
{
	int fd = eventfd(5, 0); /* a blocking one, and non-zero already */
	struct host_eventfd *e, *again;
	u32 first = 0, second = 0;
	u64 one = 1;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &e), 0);
	assert_int_equal(host_eventfd_get(fd, &again), 0);
	assert_int_equal(host_eventfd_listen(e, NULL, count_event, &first), 0);
	wait_for(&first, 1);
	assert_int_equal(host_eventfd_listen(again, NULL, count_event, &second), 0);
	for (u32 i = 1; i <= 1000; i++) {
		assert_int_equal(write(fd, &one, 8), 8);
		wait_for(&second, i);
		wait_for(&first, i + 1);
	}
	host_eventfd_unlisten(e, count_event, &first);
	write(fd, &one, 8);
	wait_for(&second, 1001);
	assert_int_equal(first, 1001);
	host_eventfd_unlisten(again, count_event, &second);
	write(fd, &one, 8);
	assert_int_equal(read(fd, &one, 8), 8); /* nobody consumes it now */
	host_eventfd_put(e);
	host_eventfd_put(again);
	close(fd);
}

static bool count_now(void *arg)
{
	return atomic_add((u32 *)arg, 1) < 3;
}

static void never_called(void *arg)
{
	(void)arg;
	abort();
}

/* Told by the writing thread, unless the number is another file's by now or somebody else listens too. */
static void test_eventfd_tell(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK), copy = dup(fd);
	struct host_eventfd *e;
	u32 told = 0, second = 0;
	u64 value;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &e), 0);
	assert_false(host_eventfd_is_heard(fd));
	assert_int_equal(host_eventfd_listen(e, count_now, never_called, &told), 0);
	assert_true(host_eventfd_is_heard(fd));
	assert_false(host_eventfd_is_heard(other) || host_eventfd_is_heard(-1) || host_eventfd_is_heard(1 << 30));
	for (u32 i = 0; i < 3; i++)
		assert_true(host_eventfd_tell(fd));
	assert_false(host_eventfd_tell(fd)); /* it would not be told at once */
	assert_int_equal(told, 4);
	assert_int_equal(read(copy, &value, 8), -1);
	dup2(other, fd);
	assert_false(host_eventfd_tell(fd));
	dup2(copy, fd);
	assert_int_equal(host_eventfd_listen(e, NULL, count_event, &second), 0);
	assert_false(host_eventfd_tell(fd));
	assert_int_equal(told, 4);
	host_eventfd_unlisten(e, count_event, &second);
	host_eventfd_unlisten(e, never_called, &told);
	assert_false(host_eventfd_is_heard(fd) || host_eventfd_tell(fd));
	host_eventfd_put(e);
	close(fd);
	close(copy);
	close(other);
}

/* Listen and unlisten against a stream of signals: callbacks only in between. */
struct churn {
	struct host_eventfd *e;
	u32 listening, calls, wrong, stop;
};

static void check_listening(void *arg)
{
	struct churn *c = arg;

	if (!atomic_read(&c->listening))
		atomic_set(&c->wrong, 1);
	atomic_add(&c->calls, 1);
	host_wake(&c->calls);
}

static void *signal_stream(void *arg)
{
	struct churn *c = arg;

	while (!atomic_read(&c->stop))
		host_eventfd_signal(c->e, 1);
	return NULL;
}

static void test_eventfd_churn(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct churn c = { 0 };
	pthread_t thread;

	(void)state;
	assert_int_equal(host_eventfd_get(fd, &c.e), 0);
	pthread_create(&thread, NULL, signal_stream, &c);
	for (u32 i = 0; i < 500; i++) {
		u32 calls = atomic_read(&c.calls);

		atomic_set(&c.listening, 1);
		assert_int_equal(host_eventfd_listen(c.e, NULL, check_listening, &c), 0);
		if (i % 2)
			wait_for(&c.calls, calls + 1);
		host_eventfd_unlisten(c.e, check_listening, &c);
		atomic_set(&c.listening, 0);
	}
	atomic_set(&c.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(c.wrong, 0);
	host_eventfd_put(c.e);
	close(fd);
}

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

static void child_of_fork(void)
{
	struct numbered_timer t = { 0 };
	struct object own;
	int fd;

	if (host_mm_id() == parent_mm || host_in_vfork_child())
		_exit(1);
	if (host_fd_ioctl(forked_fd, 1, 1) != -EIO || host_fd_close(forked_fd) || forked_object.releases)
		_exit(2);
	fired = 0;
	host_timer_init(&t.timer, note_fired); /* a service thread of its own */
	if (host_timer_arm(&t.timer, 1))
		_exit(3);
	wait_for(&fired, 1);
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

/* ---- odds ----------------------------------------------------------------------------------------- */

static void test_clocks(void **state)
{
	u64 ns = host_monotonic_ns(), tsc = host_tsc();
	u32 khz = host_tsc_khz();
	u8 random[600] = { 0 };
	u32 zeros = 0;

	(void)state;
	assert_true(khz > 100000 && khz == host_tsc_khz());
	assert_true(host_monotonic_ns() >= ns && host_tsc() > tsc);
	assert_true(host_realtime_ns() > 1600000000ull * 1000000000ull);
	host_random(random, sizeof(random));
	for (unsigned int i = 0; i < sizeof(random); i++)
		zeros += !random[i];
	assert_true(zeros < 60);
	assert_true(host_cpu_number() < 65536);
}

static void test_alloc(void **state)
{
	u8 *p = host_alloc(1000), *q = host_alloc_pages(1ul << 40);

	(void)state;
	assert_non_null(p);
	assert_true((uintptr_t)p % 64 == 0 && p[0] == 0 && p[999] == 0);
	host_free(p);
	host_free(NULL);
	assert_non_null(q);
	q[1ul << 39] = 1;
	host_free_pages(q, 1ul << 40);
	assert_null(host_alloc_pages(SIZE_MAX - PAGE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_string),
		cmocka_unit_test(test_copy_faults),
		cmocka_unit_test(test_copy_range),
		cmocka_unit_test(test_copy_truncated_file),
		cmocka_unit_test(test_cmpxchg),
		cmocka_unit_test(test_guard_unwinds),
		cmocka_unit_test(test_guard_nests),
		cmocka_unit_test(test_guard_copy_is_first),
		cmocka_unit_test(test_guard_registers),
		cmocka_unit_test(test_guard_divide),
		cmocka_unit_test(test_fault_default),
		cmocka_unit_test(test_fault_program_handler),
		cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_timer_order),
		cmocka_unit_test(test_timer_rearm),
		cmocka_unit_test(test_timer_cancel_sync),
		cmocka_unit_test(test_eventfd_identity),
		cmocka_unit_test(test_eventfd_listen),
		cmocka_unit_test(test_eventfd_tell),
		cmocka_unit_test(test_eventfd_churn),
		cmocka_unit_test(test_file_life),
		cmocka_unit_test(test_file_replace),
		cmocka_unit_test(test_file_mapping),
		cmocka_unit_test(test_file_sharing),
		cmocka_unit_test(test_file_read),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_file_storm),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_vfork),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_alloc),
	};
	struct rlimit no_core = { 0, 0 };

	alarm(900);
	setrlimit(RLIMIT_CORE, &no_core);
	assert_int_equal(host_user_init(), 0);
	forbidden = pages(1, PROT_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
