// SPDX-License-Identifier: GPL-2.0-only
/* host/user without the shim: memory functions, faulting copies and guards, clocks, memory. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "host/host.h"
#include "host/user/fault.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "host/user/signals.h"
#include "tests/unit/child.h"
#include "tests/unit/own_faults.h"

#define PAGE 4096ul

static u8 *pages(size_t n, int prot)
{
	u8 *p = mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
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
