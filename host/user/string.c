/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory functions that the compiler calls behind our back, bound inside the library.
 *
 * Two reasons not to take libc's: those use vector registers, which belong to the guest during
 * KVM_RUN, and a program that preloads us may export its own (the kernel's selftests export byte
 * loops). Hidden visibility comes from the build. The empty asm in each loop keeps the compiler from
 * recognising the loop as the very function it implements.
 */
#include "host/types.h"

typedef u64 __attribute__((may_alias, aligned(1))) word;
typedef u32 __attribute__((may_alias, aligned(1))) half;
typedef u16 __attribute__((may_alias, aligned(1))) quarter;

#define NOT_A_LIBRARY_CALL() __asm__ volatile("" : : : "memory")
/* Below this the start-up of `rep movsb` costs more than a loop of words. */
#define STRING_REP_MIN 128

/* Up to 16 bytes; loads everything before it stores anything, so overlap does not matter. */
static inline void copy_small(u8 *d, const u8 *s, size_t n)
{
	if (n >= 8) {
		word a = *(const word *)s, b = *(const word *)(s + n - 8);

		*(word *)d = a;
		*(word *)(d + n - 8) = b;
	} else if (n >= 4) {
		half a = *(const half *)s, b = *(const half *)(s + n - 4);

		*(half *)d = a;
		*(half *)(d + n - 4) = b;
	} else if (n >= 2) {
		quarter a = *(const quarter *)s, b = *(const quarter *)(s + n - 2);

		*(quarter *)d = a;
		*(quarter *)(d + n - 2) = b;
	} else if (n) {
		*d = *s;
	}
}

static inline void copy_rep(void *d, const void *s, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

/* Ascending; right for overlapping ranges with d < s. */
static void copy_up(u8 *d, const u8 *s, size_t n)
{
	for (; n > 16; d += 8, s += 8, n -= 8) {
		*(word *)d = *(const word *)s;
		NOT_A_LIBRARY_CALL();
	}
	copy_small(d, s, n);
}

/* Descending; right for overlapping ranges with d > s. */
static void copy_down(u8 *d, const u8 *s, size_t n)
{
	for (; n > 16; n -= 8) {
		*(word *)(d + n - 8) = *(const word *)(s + n - 8);
		NOT_A_LIBRARY_CALL();
	}
	copy_small(d, s, n);
}

void *memcpy(void *dst, const void *src, size_t n)
{
	if (n <= 16)
		copy_small(dst, src, n);
	else if (n < STRING_REP_MIN)
		copy_up(dst, src, n);
	else
		copy_rep(dst, src, n);
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	size_t up = (uintptr_t)dst - (uintptr_t)src;

	if (n <= 16)
		copy_small(dst, src, n);
	else if (up < n)
		copy_down(dst, src, n);
	else if (n < STRING_REP_MIN || -up < 64)
		copy_up(dst, src, n); /* rep movsb is slow when the ranges are close */
	else
		copy_rep(dst, src, n);
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	u8 *d = dst;
	word fill = 0x0101010101010101ull * (u8)c;

	if (n >= STRING_REP_MIN) {
		void *p = dst;

		__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
		return dst;
	}
	for (; n >= 8; d += 8, n -= 8) {
		*(word *)d = fill;
		NOT_A_LIBRARY_CALL();
	}
	for (; n; d++, n--) {
		*d = (u8)c;
		NOT_A_LIBRARY_CALL();
	}
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n >= 8 && *(const word *)p == *(const word *)q; p += 8, q += 8, n -= 8)
		NOT_A_LIBRARY_CALL();
	for (; n; p++, q++, n--) {
		if (*p != *q)
			return *p - *q;
		NOT_A_LIBRARY_CALL();
	}
	return 0;
}
