// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program of small loops that gives the same lines as 32-bit code (gcc -m32, without a library) and as 64-bit code: calls,
 * a sieve, a sort, x87, 64-bit arithmetic, strings, calls through pointers.
 */
#include <stdint.h>

#ifdef __i386__
#define NR_WRITE 4
#define NR_EXIT 1
static long syscall3(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return r;
}
__asm__(".globl _start\n_start: and $-16, %esp\n call run_all\n");
#else
#define NR_WRITE 1
#define NR_EXIT 60
static long syscall3(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
__asm__(".globl _start\n_start: and $-16, %rsp\n call run_all\n");
#endif

static void put(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	syscall3(NR_WRITE, 1, (long)s, n);
}

static void tell(const char *name, uint32_t value)
{
	char digits[12], *p = digits + 11;

	*p = 0;
	do {
		*--p = (char)('0' + value % 10);
	} while (value /= 10);
	put("COMPAT ");
	put(name);
	put(" ");
	put(p);
	put("\n");
}

static uint8_t sieve[1 << 16];
static uint32_t numbers[1 << 12], seed;

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint32_t primes(void)
{
	uint32_t count = 0;

	for (uint32_t i = 2; i < sizeof(sieve); i++) {
		if (sieve[i])
			continue;
		count++;
		for (uint32_t j = i + i; j < sizeof(sieve); j += i)
			sieve[j] = 1;
	}
	return count;
}

static __attribute__((noinline)) void sort(uint32_t *a, int n)
{
	uint32_t pivot = a[n / 2], swap;
	int i = 0, j = n - 1;

	while (i <= j) {
		while (a[i] < pivot)
			i++;
		while (a[j] > pivot)
			j--;
		if (i <= j) {
			swap = a[i];
			a[i++] = a[j];
			a[j--] = swap;
		}
	}
	if (j > 0)
		sort(a, j + 1);
	if (i < n - 1)
		sort(a + i, n - i);
}

static uint32_t sorted(void)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 1 << 12; i++)
		numbers[i] = (seed = seed * 1664525u + 1013904223u) >> 8;
	sort(numbers, 1 << 12);
	for (unsigned i = 0; i < 1 << 12; i++)
		sum = sum * 31 + numbers[i];
	return sum;
}

static uint32_t x87(void)
{
	long double x = 1;

	for (int i = 1; i < 100000; i++)
		x = x * 1.0000001L + 1.0L / i;
	return (uint32_t)(x * 100000);
}

static uint32_t wide(void)
{
	uint64_t m = 3;
	uint32_t a = 1;

	for (uint32_t i = 0; i < 200000; i++) {
		m = m * 6364136223846793005ull + a;
		a = (a << 5 | a >> 27) ^ (uint32_t)(m >> 33);
	}
	return a;
}

static uint32_t strings(void)
{
	uint32_t sum = 0;

	for (unsigned round = 0; round < 200; round++) {
		void *from = sieve + round, *to = sieve + 20001;
		unsigned long words = 1000;
		uint8_t byte;

		__asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(words) : : "memory");
		from = sieve + 20001 + 7 * round;
		for (unsigned i = 0; i < 100; i++) {
			__asm__ volatile("lodsb" : "=a"(byte), "+S"(from) : : "memory");
			sum = sum * 3 + byte;
		}
	}
	return sum;
}

static uint32_t add(uint32_t a) { return a + 1; }
static uint32_t flip(uint32_t a) { return a ^ 7; }
static uint32_t times(uint32_t a) { return a * 5; }
static uint32_t turn(uint32_t a) { return a >> 1 | a << 31; }

static uint32_t pointers(void)
{
	static uint32_t (*volatile by[4])(uint32_t);
	uint32_t a = 5;

	by[0] = add, by[1] = flip, by[2] = times, by[3] = turn;
	for (uint32_t i = 0; i < 200000; i++)
		a = by[(a ^ i) & 3](a);
	return a;
}

__attribute__((used)) static void run_all(void)
{
	tell("calls", fibonacci(20));
	tell("sieve", primes());
	tell("sort", sorted());
	tell("x87", x87());
	tell("wide", wide());
	tell("strings", strings());
	tell("pointers", pointers());
	syscall3(NR_EXIT, 0, 0, 0);
}
