/* SPDX-License-Identifier: GPL-2.0-only */
/* What the fuzzers share: a seeded generator, and memory with guard pages and canaries around it. */
#ifndef ANYKVM_TESTS_FUZZ_H
#define ANYKVM_TESTS_FUZZ_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

struct rng {
	u64 state;
};

static inline u64 next(struct rng *r)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return r->state * 0x2545f4914f6cdd1dull;
}

static inline u32 below(struct rng *r, u32 n)
{
	return (u32)((next(r) >> 32) % n);
}

static inline bool chance(struct rng *r, u32 one_in)
{
	return below(r, one_in) == 0;
}

/* Numbers that sit on edges more often than not. */
u64 odd_number(struct rng *r);

/* RAM for a guest: an inaccessible page on either side, then pages of a known pattern. */
struct ram {
	u8 *base, *mapping;
	size_t size;
};
/* What stands beside slots, by address. */
u8 fuzz_secret(const void *address);
void fuzz_put_secret(void *at, size_t size);
/*
 * ANYKVM_DIRECT is set: user code runs as it is (engine/soft/direct.c) if it looks like Linux's. So that memory can be
 * mapped for it, all comes from one file then, the secrets too; it must be there before a VM.
 */
bool fuzz_direct(void);
void ram_create(struct ram *m, size_t size);
void ram_destroy(struct ram *m);
void ram_check(const struct ram *m, const char *when);	/* ends the program if a canary changed */

void fuzz_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
extern u64 fuzz_case;		/* what is told when the program fails or crashes */
void fuzz_watch(unsigned seconds); /* ends the program when fuzz_case does not move for so long */

void fuzz_insns(u64 seed, u64 cases);
void fuzz_reach(u64 seed, u64 cases);
void fuzz_race(u64 seed, u64 cases);
void fuzz_ioctls(u64 seed, u64 cases, unsigned threads);

int kvm_open(void);
void set_cpuid(int kvm, int vcpu);	/* all that is supported */
void set_host_xcr0(int vcpu);	/* what direct execution wants */
#endif
