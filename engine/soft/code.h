/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory for generated code. No page is ever writable and executable at once: a region is one memfd seen
 * twice, through a writable and through an executable mapping, a constant distance apart.
 */
#ifndef ANYKVM_ENGINE_SOFT_CODE_H
#define ANYKVM_ENGINE_SOFT_CODE_H

#include "host/types.h"

struct code_region {
	u8 *write;	/* where code is written ... */
	u8 *exec;	/* ... and where the same bytes run */
	size_t size;
	size_t used;	/* bytes handed out by code_alloc() */
};

/*
 * Reserves size bytes (rounded up to pages; committed when first written). 0 or -errno: -EACCES or -EPERM
 * when the system forbids executable mappings (SELinux execmem, noexec policies for memfds), then
 * code_error() says it in words.
 */
int code_create(struct code_region *r, size_t size);
void code_destroy(struct code_region *r);
/* The memory of all that code_alloc() has not handed out is given back. */
void code_release(struct code_region *r);
/* Why the last code_create() of this process failed: one line, static storage; NULL if none did. */
const char *code_error(void);

/*
 * The write address of n bytes, 16-byte aligned; NULL when the region is full. The caller excludes others.
 * [run]
 */
u8 *code_alloc(struct code_region *r, size_t n);

/*
 * Between writing over code and running it on this thread, as the two have different linear addresses (SDM vol. 3,
 * 8.1.3): IRET serializes, and is no reason for a hypervisor to come in, as CPUID would be.
 */
static inline void code_serialize(void)
{
	u64 t;

	__asm__ volatile("lea -128(%%rsp), %%rsp\n\t" /* the red zone */
			 "mov %%ss, %k0\n\tpush %0\n\tlea 8(%%rsp), %0\n\tpush %0\n\tpushfq\n\t"
			 "mov %%cs, %k0\n\tpush %0\n\tlea 1f(%%rip), %0\n\tpush %0\n\tiretq\n"
			 "1:\tsub $-128, %%rsp"
			 : "=&r"(t) : : "memory", "cc");
}

/* n bytes from this offset on will soon be written, and run; returns how many that is as far as the region goes. [run] */
size_t code_commit(struct code_region *r, size_t offset, size_t n);

static inline void *code_exec_address(const struct code_region *r, const u8 *write)
{
	return r->exec + (write - r->write);
}

static inline u8 *code_write_address(const struct code_region *r, const void *exec)
{
	return r->write + ((const u8 *)exec - r->exec);
}

static inline bool code_contains(const struct code_region *r, const void *exec)
{
	return (u64)exec - (u64)r->exec < r->size;
}

#endif
