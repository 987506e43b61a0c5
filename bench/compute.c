// SPDX-License-Identifier: GPL-2.0-only
/* Workloads that compute: no system calls while the clock runs, but for the memory that some ask for. */
#include <emmintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

/* Keeps a result alive, and the loop that made it. */
static volatile uint64_t sink;

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		fail("malloc");
	memset(memory, 1, size);
	return memory;
}

unsigned long workload_alu(unsigned scale)
{
	enum { INSTRUCTIONS = 8 };
	unsigned long rounds = scale * 600000ul, left = rounds;
	uint64_t a = 1, b = 2, c = 3;

	asm volatile("1: add %1, %0\n\t"
		     "xor %2, %1\n\t"
		     "rol $5, %0\n\t"
		     "lea 7(%0,%2,2), %2\n\t"
		     "sub %0, %1\n\t"
		     "and $-9, %2\n\t"
		     "dec %3\n\t"
		     "jnz 1b"
		     : "+r"(a), "+r"(b), "+r"(c), "+r"(left) : : "cc");
	sink = a + b + c;
	return rounds * INSTRUCTIONS;
}

static __attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline"))) unsigned fibonacci(unsigned n)
{
	return n < 2 ? 1 : fibonacci(n - 1) + fibonacci(n - 2);
}

unsigned long workload_calls(unsigned scale)
{
	unsigned long calls = 0;

	/* fib(n) with fib(0) = fib(1) = 1 takes 2 fib(n) - 1 calls. */
	for (unsigned i = 0; i < scale; i++)
		calls += 2ul * fibonacci(24) - 1;
	return calls;
}

#define TARGETS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define DEFINE_TARGET(n) static __attribute__((noinline)) uint64_t target_##n(uint64_t x) { return x * (2 * n + 1) + n; }
#define TARGET_NAME(n) target_##n,
TARGETS(DEFINE_TARGET)
static uint64_t (*const targets[])(uint64_t) = { TARGETS(TARGET_NAME) };

unsigned long workload_indirect(unsigned scale)
{
	unsigned long calls = scale * 200000ul;
	uint64_t x = 1;

	for (unsigned long i = 0; i < calls; i++)
		x = targets[(x >> 20) & 15](x + i);
	sink = x;
	return calls;
}

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

unsigned long workload_qsort(unsigned scale)
{
	size_t n = 10000;
	int *numbers = allocate(n * sizeof(*numbers));

	for (unsigned i = 0; i < scale; i++) {
		for (size_t j = 0; j < n; j++)
			numbers[j] = (int)random_next();
		qsort(numbers, n, sizeof(*numbers), compare);
	}
	sink = numbers[n / 2];
	free(numbers);
	return scale * n;
}

unsigned long workload_chase(unsigned scale)
{
	enum { NODES = 4 << 16 };
	static struct node { struct node *next; uint64_t weight; } nodes[NODES];
	static uint32_t order[NODES];
	unsigned long steps = scale * 100000ul;
	const struct node *at = &nodes[0];
	uint64_t sum = 0;

	/* One cycle through all nodes in random order, made on the first call. */
	if (!nodes[0].next) {
		for (uint32_t i = 0; i < NODES; i++)
			order[i] = i;
		for (uint32_t i = NODES - 1; i > 0; i--) {
			uint32_t j = random_next() % (i + 1), swap = order[i];

			order[i] = order[j];
			order[j] = swap;
		}
		for (uint32_t i = 0; i < NODES; i++)
			nodes[order[i]] = (struct node){ &nodes[order[(i + 1) % NODES]], i };
	}
	for (unsigned long i = 0; i < steps; i++) {
		sum += at->weight;
		at = at->next;
	}
	sink = sum;
	return steps;
}

unsigned long workload_sieve(unsigned scale)
{
	size_t n = 1 << 20;
	char *composite = allocate(n);
	unsigned long primes = 0;

	for (unsigned round = 0; round < scale; round++) {
		memset(composite, 0, n);
		for (size_t i = 2; i < n; i++) {
			if (composite[i])
				continue;
			primes++;
			for (size_t j = i * 2; j < n; j += i)
				composite[j] = 1;
		}
	}
	free(composite);
	sink = primes;
	return scale * n;
}

unsigned long workload_fp(unsigned scale)
{
	unsigned long rounds = scale * 40000ul;
	double x = 1.5, y = 0.25, speed = 0.01;

	for (unsigned long i = 0; i < rounds; i++) {
		double distance = sqrt(x * x + y * y + 0.01);
		double pull = 0.001 / (distance * distance * distance);

		x += y * 0.01 - x * pull;
		y += speed - x * 0.01 - y * pull;
		speed *= 0.999;
	}
	sink = (uint64_t)(x * 1e6 + y);
	return rounds;
}

unsigned long workload_sse(unsigned scale)
{
	unsigned long rounds = scale * 200000ul;
	__m128 a = _mm_set1_ps(1.0f), b = _mm_set1_ps(1.0001f), c = _mm_set1_ps(0.5f);
	__m128i mix = _mm_set1_epi32(7);

	for (unsigned long i = 0; i < rounds; i++) {
		a = _mm_add_ps(_mm_mul_ps(a, b), c);
		c = _mm_min_ps(_mm_sub_ps(a, c), _mm_set1_ps(2.0f));
		mix = _mm_xor_si128(_mm_add_epi32(mix, _mm_castps_si128(a)), _mm_shuffle_epi32(mix, 0x39));
		a = _mm_min_ps(a, _mm_set1_ps(9.0f));
	}
	sink = (uint64_t)_mm_cvtsi128_si32(mix) + (uint64_t)_mm_cvtss_f32(c);
	return rounds;
}

unsigned long workload_memcpy(unsigned scale)
{
	size_t size = 8 << 20;
	char *from = allocate(size), *to = allocate(size);

	for (unsigned i = 0; i < scale; i++) {
		from[i % size]++;
		memcpy(to, from, size);
		asm volatile("" : : "r"(to) : "memory");
	}
	sink = (uint64_t)to[size - 1];
	free(from);
	free(to);
	return scale;
}
