// SPDX-License-Identifier: GPL-2.0-only
/*
 * What processors do to each other: locked operations on shared words (also across cache lines and pages), code that one
 * writes while others run it, and address spaces that shrink and change while others use them, so that the kernel's TLB
 * shoot-downs must have reached every processor when munmap or mprotect returns.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/litmus/litmus.h"

#define PAGE 4096

static unsigned nr, rounds;
static uint8_t *area;
static volatile uint32_t bad, stop, turn;

static uint8_t *pages(unsigned n, int protection)
{
	void *p = mmap(NULL, (size_t)n * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	return p;
}

/* ---- locked operations ----------------------------------------------------------------------------------- */

#define WORDS 4
static const unsigned word_at[WORDS] = { 0, 61, PAGE - 3, PAGE + 1024 - 1 }; /* aligned, across lines, across pages */

static void body_locked(unsigned me)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t *word = (uint64_t *)(void *)(area + word_at[(i + me) % WORDS]);
		uint64_t old = *(volatile uint64_t *)word;

		switch (i % 3) {
		case 0:
			__asm__ volatile("lock; addq $1, %0" : "+m"(*word) : : "cc");
			break;
		case 1:
			__asm__ volatile("lock; xaddq %1, %0" : "+m"(*word), "+r"((uint64_t){ 1 }) : : "cc");
			break;
		default:
			while (!__atomic_compare_exchange_n(word, &old, old + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
				;
		}
	}
}

static void test_locked(void)
{
	uint64_t sum = 0;

	area = pages(3, PROT_READ | PROT_WRITE);
	rounds = 20000 * scale;
	together(nr, body_locked);
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t word;

		memcpy(&word, area + word_at[i], sizeof(word));
		sum += word;
	}
	verdict("locked", sum == (uint64_t)nr * rounds, "%lu of %lu additions", sum, (uint64_t)nr * rounds);
}

/* ---- cross-modifying code ------------------------------------------------------------------------------------ */

/*
 * mov $imm32, %eax; ret, the immediate aligned. Who runs it may see the old value for a while, never another one, never
 * an older one than it has seen; and what was written before the writer told it of by memory (and it then serialized).
 */
static volatile uint32_t published;

static uint32_t run_code(void)
{
	uint32_t (*code)(void) = (uint32_t(*)(void))(uintptr_t)(area + 63);

	return code();
}

static void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

static void code_writer(void)
{
	for (uint32_t i = 1; i <= rounds; i++) {
		__atomic_store_n((uint32_t *)(void *)(area + 64), i, __ATOMIC_RELEASE);
		__atomic_store_n(&published, i, __ATOMIC_RELEASE);
		for (volatile unsigned k = 0; k < 200; k++)
			;
	}
	stop = 1;
}

static void code_runner(void)
{
	uint32_t last = 0;

	while (!stop) {
		uint32_t least = __atomic_load_n(&published, __ATOMIC_ACQUIRE), now;

		if (turn & 1)
			serialize();
		else
			least = 0;
		now = run_code();
		if (now < last || now < least || now > rounds)
			bad++;
		last = now;
	}
}

static void body_code(unsigned me)
{
	meet(nr);
	if (me)
		code_runner();
	else
		code_writer();
}

static void test_code(const char *name, unsigned serializing)
{
	area = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	memcpy(area + 63, "\xb8\0\0\0\0\xc3", 6);
	rounds = 3000 * scale;
	bad = stop = published = 0;
	turn = serializing;
	together(nr, body_code);
	verdict(name, !bad && run_code() == rounds, "%u wrong of code that changed %u times", bad, rounds);
}

/* ---- page tables that change ---------------------------------------------------------------------------------- */

#define WINDOW 16
static __thread sigjmp_buf escape;
static volatile uint32_t faults;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(escape, 1);
}

/*
 * Page i of the window holds the number of the turn in which it was made. When the owner has published the next turn,
 * all of the window has been unmapped and made anew: nobody may read an older number after it has seen that.
 */
static void window_owner(void)
{
	for (uint32_t i = 1; i <= rounds; i++) {
		for (unsigned k = 0; k < WINDOW; k++)
			*(volatile uint32_t *)(area + k * PAGE) = i;
		__atomic_store_n(&published, i, __ATOMIC_RELEASE);
		if (mprotect(area, WINDOW * PAGE, PROT_READ))
			bad++;
		if (mmap(area, WINDOW * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != area)
			bad++;
		__atomic_store_n(&turn, i, __ATOMIC_RELEASE);
	}
	stop = 1;
}

/* What is read is 0 (not written yet) or of the turn that is on or the next. */
static void window_user(const volatile unsigned me)
{
	volatile uint32_t k = me;

	while (!stop) {
		uint32_t over = __atomic_load_n(&turn, __ATOMIC_ACQUIRE), value;

		if (sigsetjmp(escape, 1)) {
			__atomic_add_fetch(&faults, 1, __ATOMIC_RELAXED);
			continue;
		}
		k = (k * 5 + 1) % WINDOW;
		value = *(volatile uint32_t *)(area + k * PAGE);
		if (value && value <= over)
			bad++;
	}
}

static void body_window(unsigned me)
{
	meet(nr);
	if (me)
		window_user(me);
	else
		window_owner();
}

static void test_window(void)
{
	area = pages(WINDOW, PROT_READ | PROT_WRITE);
	rounds = 100 * scale;
	bad = stop = turn = published = 0;
	together(nr, body_window);
	verdict("tlb-shootdown", !bad, "%u old pages seen in %u turns", bad, rounds);
}

/* ---- protection --------------------------------------------------------------------------------------------------- */

/* After mprotect(PROT_READ) has returned no thread's write may get through. */
static volatile uint32_t closed;

static void gate_owner(void)
{
	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t before;

		mprotect(area, PAGE, PROT_READ);
		closed = 1;
		before = *(volatile uint32_t *)(void *)area;
		for (volatile unsigned k = 0; k < 500; k++)
			;
		bad += *(volatile uint32_t *)(void *)area != before;
		closed = 0;
		mprotect(area, PAGE, PROT_READ | PROT_WRITE);
		for (volatile unsigned k = 0; k < 500; k++)
			;
	}
	stop = 1;
}

static void gate_user(void)
{
	while (!stop) {
		if (sigsetjmp(escape, 1)) {
			while (closed && !stop)
				__builtin_ia32_pause();
			continue;
		}
		__asm__ volatile("lock; incl %0" : "+m"(*(volatile uint32_t *)(void *)area) : : "cc");
	}
}

static void body_gate(unsigned me)
{
	meet(nr);
	if (me)
		gate_user();
	else
		gate_owner();
}

static void test_gate(void)
{
	area = pages(1, PROT_READ | PROT_WRITE);
	rounds = 100 * scale;
	bad = stop = closed = 0;
	together(nr, body_gate);
	verdict("protection", !bad, "%u writes got through in %u turns", bad, rounds);
}

void torture_tests(unsigned threads)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	nr = threads;
	if (is_wanted("locked"))
		test_locked();
	if (is_wanted("cross-modified"))
		test_code("cross-modified", 0);
	if (is_wanted("cross-modified-serialized"))
		test_code("cross-modified-serialized", 1);
	if (is_wanted("tlb-shootdown"))
		test_window();
	if (is_wanted("protection"))
		test_gate();
}
