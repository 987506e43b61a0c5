/* SPDX-License-Identifier: GPL-2.0-only */
/* Fixed-width names and compiler helpers that the core uses; freestanding. In the kernel's own world, the kernel's. */
#ifndef ANYKVM_HOST_TYPES_H
#define ANYKVM_HOST_TYPES_H

#ifdef __KERNEL__
#include <linux/types.h>
#else

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

static inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

/*
 * An index of the guest's or the VMM's, already checked to be below size: 0 where the processor speculates past that
 * check (Spectre variant 1).
 */
static inline u64 index_nospec(u64 index, u64 size)
{
	u64 mask;

	__asm__ volatile("cmp %1, %2; sbb %0, %0" : "=r"(mask) : "g"(size), "r"(index) : "cc");
	return index & mask;
}

/* Atomics, sequentially consistent unless the name says otherwise. */
#define atomic_read(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_read_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_set_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_xchg(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define atomic_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define atomic_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define atomic_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
/* Whether *p was the old value, and is the new one now. */
static inline bool atomic_replace_u64(u64 *p, u64 old, u64 value)
{
	return __atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#define atomic_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Clears bits and tells which were set. Costs a load where none is: then what is read later is no older than that load. */
static inline u32 atomic_take(u32 *p, u32 bits)
{
	return atomic_read_acquire(p) & bits ? atomic_and(p, ~bits) & bits : 0;
}

/* The compiler may call these; the host binds its own, never the program's. */
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif /* __KERNEL__ */

#endif
