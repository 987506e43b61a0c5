/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Access to addresses that the VMM gave. Each access is an asm range in the fixup table: when it
 * faults, the signal handler continues at its fixup label, and -EFAULT is returned.
 *
 * Sizes 1, 2, 4 and 8 are one access each, as page-table walks and flag words need.
 */
#include <errno.h>
#include <sys/mman.h>

#include "host/host.h"
#include "host/user/fault.h"
#include "host/user/sys.h"

#define USER_END_4LEVEL ((1ull << 47) - 4096)
#define USER_END_5LEVEL ((1ull << 56) - 4096)

/* Both directions: *dst = *src where either side may fault. */
#define COPY_ONE(suffix, reg)                                    \
	({                                                       \
		int error = 0;                                   \
		u64 scratch;                                     \
		__asm__ volatile("1:	mov" suffix " (%3), %" reg "1\n\t" \
				 "	mov" suffix " %" reg "1, (%2)\n"  \
				 "2:\n\t"                         \
				 ".subsection 1\n"                \
				 "3:	mov %4, %0\n\t"           \
				 "	jmp 2b\n\t"               \
				 ".previous\n\t" HOST_FIXUP(1b, 2b, 3b) \
				 : "+&r"(error), "=&r"(scratch)   \
				 : "r"(dst), "r"(src), "i"(-EFAULT) \
				 : "memory");                     \
		error;                                           \
	})

static int copy_bytes(void *dst, const void *src, size_t n)
{
	int error = 0;

	__asm__ volatile("1:	rep movsb\n"
			 "2:\n\t"
			 ".subsection 1\n"
			 "3:	mov %4, %0\n\t"
			 "	jmp 2b\n\t"
			 ".previous\n\t" HOST_FIXUP(1b, 2b, 3b)
			 : "+&r"(error), "+&D"(dst), "+&S"(src), "+&c"(n)
			 : "i"(-EFAULT)
			 : "memory");
	return error;
}

static int copy_guarded(void *dst, const void *src, size_t n)
{
	switch (n) {
	case 1:
		return COPY_ONE("b", "b");
	case 2:
		return COPY_ONE("w", "w");
	case 4:
		return COPY_ONE("l", "k");
	case 8:
		return COPY_ONE("q", "q");
	default:
		return copy_bytes(dst, src, n);
	}
}

/* The end of user addresses as access_ok() sees it: the kernel's paging mode decides. */
static u64 user_end(void)
{
	static u64 end;
	u64 known = atomic_read(&end);
	void *hint = (void *)(1ull << 48);
	long above;

	if (likely(known))
		return known;
	/* A hint above 47 bits is honoured where the kernel runs with five levels. */
	above = sys_mmap(hint, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	known = !sys_failed(above) && (u64)above >= 1ull << 47 ? USER_END_5LEVEL : USER_END_4LEVEL;
	if (!sys_failed(above))
		sys_munmap((void *)above, 4096);
	atomic_set(&end, known);
	return known;
}

bool host_user_range_ok(u64 uaddr, u64 size)
{
	u64 end = user_end();

	return size <= end && uaddr <= end - size;
}

int host_copy_from_user(void *dst, u64 uaddr, size_t n)
{
	if (!host_user_range_ok(uaddr, n))
		return -EFAULT;
	return copy_guarded(dst, (const void *)uaddr, n);
}

int host_copy_to_user(u64 uaddr, const void *src, size_t n)
{
	if (!host_user_range_ok(uaddr, n))
		return -EFAULT;
	return copy_guarded((void *)uaddr, src, n);
}

#define CMPXCHG(suffix, reg)                                             \
	({                                                               \
		int result = 0;                                          \
		__asm__ volatile("1:	lock cmpxchg" suffix " %" reg "3, (%2)\n\t" \
				 "	je 2f\n\t"                       \
				 "	mov $1, %0\n"                    \
				 "2:\n\t"                                \
				 ".subsection 1\n"                       \
				 "3:	mov %4, %0\n\t"                  \
				 "	jmp 2b\n\t"                      \
				 ".previous\n\t" HOST_FIXUP(1b, 2b, 3b)  \
				 : "+&r"(result), "+&a"(old)             \
				 : "r"(uaddr), "r"(new_value), "i"(-EFAULT) \
				 : "memory", "cc");                      \
		result;                                                  \
	})

int host_cmpxchg_user(u64 uaddr, u64 old, u64 new_value, unsigned size)
{
	if (!host_user_range_ok(uaddr, size))
		return -EFAULT;
	switch (size) {
	case 1:
		return CMPXCHG("b", "b");
	case 2:
		return CMPXCHG("w", "w");
	case 4:
		return CMPXCHG("l", "k");
	case 8:
		return CMPXCHG("q", "q");
	default:
		return -EINVAL;
	}
}
