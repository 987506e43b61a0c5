// SPDX-License-Identifier: GPL-2.0-only
/* Instructions that tell of the processor are found where they are, and only there (engine/soft/telling.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/telling.h"

#define PAGE 4096u

static u8 page[3][PAGE] __attribute__((aligned(4096)));
static struct telling_memory *memory;

/* Nothing but MOV %EAX, %EBX. */
static int clear(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < sizeof(page); i += 2)
		memcpy((u8 *)page + i, "\x89\xc3", 2);
	memory = calloc(1, sizeof(*memory));
	return !memory;
}

static int release(void **unused)
{
	(void)unused;
	free(memory);
	return 0;
}

static struct telling look(void)
{
	struct telling t;

	telling_find(memory, &t, page[1], page[0], page[2]);
	return t;
}

/* At an even offset into the page in the middle; what is left of the last MOV becomes a NOP. */
static void put(int at, const char *bytes, unsigned n)
{
	u8 *p = (u8 *)page + (int)PAGE + at;

	memcpy(p, bytes, n);
	if (n % 2)
		p[n] = 0x90;
}

#define PUT(at, bytes) put(at, bytes, sizeof(bytes) - 1)

static void nothing(void **unused)
{
	(void)unused;
	assert_int_equal(look().nr, 0);
}

/* Wherever it begins, its neighbours' pages included. What ends where the page begins is thought to reach into it. */
static void everywhere(void **unused)
{
	(void)unused;
	for (int at = -16; at < (int)PAGE + 16; at += 2) {
		struct telling t;

		release(NULL);
		clear(NULL);
		PUT(at, "\x0f\xa2"); /* CPUID */
		t = look();
		assert_int_equal(t.nr, at >= -2 && at < (int)PAGE);
		if (t.nr)
			assert_int_equal(t.at[0], at);
	}
}

/* RDTSCP, whose bytes are on both sides of the page's beginning, and of its end. */
static void across(void **unused)
{
	(void)unused;
	PUT(-2, "\x0f\x01\xf9");
	PUT(PAGE - 2, "\x0f\x01\xf9");
	assert_int_equal(look().nr, 2);
	assert_int_equal(look().at[0], -2);
	assert_int_equal(look().at[1], PAGE - 2);
}

/* In constants and displacements these are just numbers. */
static void within(void **unused)
{
	(void)unused;
	PUT(0x100, "\xb8\x0f\xa2\x00\x00");	    /* MOV $0xa20f, %EAX */
	PUT(0x200, "\x8b\x83\x0f\x01\xf9\x00");	    /* MOV 0xf9010f(%RBX), %EAX */
	PUT(0x300, "\x48\xb8\x0f\x34\xcd\x80\x0f\xa2\xcd\x04");
	assert_int_equal(look().nr, 0);
}

static void many(void **unused)
{
	(void)unused;
	PUT(0x10, "\x0f\xa2");	       /* CPUID */
	PUT(0x20, "\x0f\x01\xd0");     /* XGETBV */
	PUT(0x30, "\xf3\x0f\xc7\xf8"); /* RDPID */
	PUT(0x40, "\xcd\x80");	       /* INT 80h */
	PUT(0x50, "\x0f\x01\x08");     /* SIDT (%RAX) */
	PUT(0x60, "\x0f\x03\xc1");     /* LSL */
	PUT(0x70, "\x0f\x01\xd9");     /* VMMCALL */
	PUT(0x80, "\x0f\x34");	       /* SYSENTER */
	PUT(0x90, "\x0f\x01\xe1");     /* SMSW */
	PUT(0xa0, "\x0f\x00\xe0");     /* VERR */
	PUT(0xb0, "\x0f\x01\xef");     /* WRPKRU */
	assert_int_equal(look().nr, 11);
	for (int n = 0; n < (int)TELLING_MOST; n++)
		assert_int_equal(look().at[n], 0x10 + 0x10 * n);
}

/* These fault there, or tell nothing. */
static void harmless(void **unused)
{
	(void)unused;
	PUT(0x10, "\x0f\x31");	   /* RDTSC */
	PUT(0x20, "\x0f\x01\x10"); /* LGDT */
	PUT(0x30, "\x0f\x01\x38"); /* INVLPG */
	PUT(0x40, "\x0f\xc7\xf0"); /* RDRAND */
	PUT(0x50, "\xcd\x81");	   /* INT 81h */
	PUT(0x60, "\x0f\x00\xd0"); /* LLDT */
	PUT(0x70, "\x0f\x05");	   /* SYSCALL */
	assert_int_equal(look().nr, 0);
}

/* What was found is believed of these bytes, with these around them, alone. */
static void remembered(void **unused)
{
	(void)unused;
	PUT(0x10, "\x0f\xa2");
	assert_int_equal(look().nr, 1);
	assert_int_equal(look().nr, 1);
	PUT(0x10, "\x89\xc3");
	PUT(0x806, "\x0f\xa2");
	assert_int_equal(look().nr, 1);
	assert_int_equal(look().at[0], 0x806);
	PUT(0x806, "\x89\xc3");
	assert_int_equal(look().nr, 0);
	PUT(-2, "\x0f\x01\xf9");
	assert_int_equal(look().nr, 1);
	PUT(-2, "\x89\xc3\x89\xc3");
	assert_int_equal(look().nr, 0);
	page[1][PAGE - 1] = 0x0f;
	page[2][0] = 0xa2;
	page[1][PAGE - 2] = 0x90;
	assert_int_equal(look().nr, 1);
	page[2][0] = 0xc3;
	assert_int_equal(look().nr, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, clear, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing), TEST(everywhere), TEST(across), TEST(within), TEST(many), TEST(harmless), TEST(remembered),
	};

	return cmocka_run_group_tests_name("telling", tests, NULL, NULL);
}
