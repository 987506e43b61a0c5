// SPDX-License-Identifier: GPL-2.0-only
/* See fuzz.h. fuzz insn|ioctl|threads|reach|race [SEED [CASES [FIRST]]]: a case is repeatable by its number. */
#define _GNU_SOURCE 1
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define PAGE 4096ul

u64 fuzz_case;
static unsigned patience;
static const char *what = "";

void fuzz_fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s, case %llu: ", what, (unsigned long long)fuzz_case);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

u64 odd_number(struct rng *r)
{
	static const u64 edges[] = { 0,
				     1,
				     0xfff,
				     0x1000,
				     0x7fff,
				     0xffff,
				     0x10000,
				     0xfffff,
				     0x100000,
				     0x7fffffff,
				     0x80000000,
				     0xffffffff,
				     0x100000000,
				     0x7fffffffffff,
				     0x800000000000,
				     0xffff800000000000,
				     ~0ull,
				     ~0xfffull,
				     1ull << 63,
				     0xfee00000,
				     0xfec00000 };
	u64 n = edges[below(r, sizeof(edges) / sizeof(edges[0]))];

	switch (below(r, 4)) {
	case 0:
		return next(r) >> below(r, 64);
	case 1:
		return n + below(r, 64) - 32;
	}
	return n;
}

/* ---- guarded memory --------------------------------------------------------------------------------------
 */

/* Only shared memory can be mapped in windows as well (engine/soft/window.c). */
static int sharing(void)
{
	return getenv("ANYKVM_WINDOWS") ? MAP_SHARED : MAP_PRIVATE;
}

/* Four bytes that no string instruction repeats and no address has. */
u8 fuzz_secret(const void *address)
{
	static const u8 bytes[4] = { 0xa5, 0x1d, 0xc7, 0x6e };

	return bytes[(uintptr_t)address % 4];
}

void fuzz_put_secret(void *at, size_t size)
{
	for (u8 *p = at; p < (u8 *)at + size; p++)
		*p = fuzz_secret(p);
}

bool fuzz_direct(void)
{
	return getenv("ANYKVM_DIRECT") != NULL;
}

void set_cpuid(int kvm, int vcpu)
{
	static struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entries[128];
	} c;

	c.header.nent = 128;
	if (!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c))
		ioctl(vcpu, KVM_SET_CPUID2, &c);
}

void set_host_xcr0(int vcpu)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	unsigned high;

	__cpuid_count(13, 0, xcrs.xcrs[0].value, high, high, high);
	ioctl(vcpu, KVM_SET_XCRS, &xcrs);
}

#define ARENA (4ul << 20)

/* Of one file, for as long as any of it is in use. */
static struct {
	u8 *base;
	size_t used;
	unsigned users;
} arena;

static void arena_create(void)
{
	int (*allow)(void *start, size_t size, int memfd) = dlsym(RTLD_DEFAULT, "anykvm_alias_memory");
	int file = memfd_create("fuzz", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, ARENA))
		fuzz_fail("no memory");
	arena.base = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (arena.base == MAP_FAILED || !allow || allow(arena.base, ARENA, file))
		fuzz_fail("no memory to be mapped further");
	close(file);
}

static u8 *arena_take(size_t size)
{
	u8 *p;

	if (!arena.base)
		arena_create();
	p = arena.base + arena.used;
	arena.used += size;
	arena.users++;
	return arena.used > ARENA || mprotect(p, size, PROT_NONE) ? MAP_FAILED : p;
}

void ram_create(struct ram *m, size_t size)
{
	m->size = size;
	if (fuzz_direct())
		m->mapping = arena_take(size + 6 * PAGE);
	else
		m->mapping = mmap(NULL, size + 6 * PAGE, PROT_NONE, sharing() | MAP_ANONYMOUS, -1, 0);
	if (m->mapping == MAP_FAILED || mprotect(m->mapping + PAGE, size + 4 * PAGE, PROT_READ | PROT_WRITE))
		fuzz_fail("no memory");
	fuzz_put_secret(m->mapping + PAGE, size + 4 * PAGE);
	m->base = m->mapping + 3 * PAGE;
}

void ram_destroy(struct ram *m)
{
	if (!fuzz_direct())
		munmap(m->mapping, m->size + 6 * PAGE);
	else if (!--arena.users)
		arena.used = 0;
}

static void check_canary(const u8 *p, const char *when)
{
	for (size_t i = 0; i < 2 * PAGE; i++)
		if (p[i] != fuzz_secret(&p[i]))
			fuzz_fail("host memory beside the slot was changed (%s)", when);
}

void ram_check(const struct ram *m, const char *when)
{
	check_canary(m->mapping + PAGE, when);
	check_canary(m->base + m->size, when);
}

/* ---- the program --------------------------------------------------------------------------------- */

static void crashed(int signal_number)
{
	char text[96];
	int n = snprintf(text, sizeof(text), "%s, case %llu: signal %d\n", what,
			 (unsigned long long)fuzz_case, signal_number);

	if (write(2, text, (size_t)n) < 0)
		_exit(3);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void *watch(void *arg)
{
	u64 last = ~0ull;
	unsigned same = 0;

	(void)arg;
	for (;;) {
		sleep(1);
		same = last == fuzz_case ? same + 1 : 0;
		last = fuzz_case;
		if (same >= patience)
			fuzz_fail("hangs");
	}
	return NULL;
}

void fuzz_watch(unsigned seconds)
{
	pthread_t thread;
	sigset_t all, old;

	patience = seconds;
	sigfillset(&all); /* alarms are for the thread that runs the guest, even while it has them blocked */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	if (pthread_create(&thread, NULL, watch, NULL))
		fuzz_fail("pthread_create");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static bool says(const char *name, const char *value)
{
	const char *set = getenv(name);

	return set && !strcmp(set, value);
}

/* The machine's own KVM belongs to the machine: what would reach it is refused. */
int kvm_open(void)
{
	int fd;

	if (!says("ANYKVM_PRELOAD", "1") || !says("ANYKVM_ENGINE", "soft"))
		fuzz_fail("run it by ANYKVM_ENGINE=soft build/anykvm run --, lest it meets the machine's own KVM");
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fuzz_fail("/dev/kvm: %s", strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1,
	    cases = argc > 3 ? strtoull(argv[3], NULL, 0) : 1000;

	what = argc > 1 ? argv[1] : "";
	fuzz_case = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
	signal(SIGSEGV, crashed);
	signal(SIGBUS, crashed);
	signal(SIGILL, crashed);
	signal(SIGFPE, crashed);
	fuzz_watch(30);
	if (!strcmp(what, "insn"))
		fuzz_insns(seed, cases);
	else if (!strcmp(what, "ioctl"))
		fuzz_ioctls(seed, cases, 1);
	else if (!strcmp(what, "threads"))
		fuzz_ioctls(seed, cases, 3);
	else if (!strcmp(what, "reach"))
		fuzz_reach(seed, cases);
	else if (!strcmp(what, "race"))
		fuzz_race(seed, cases);
	else
		fuzz_fail("fuzz insn|ioctl|threads|reach|race [SEED [CASES [FIRST]]]");
	printf("%s: %llu cases, seed %llu\n", what, (unsigned long long)fuzz_case, (unsigned long long)seed);
	return 0;
}
