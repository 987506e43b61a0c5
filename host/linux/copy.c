// SPDX-License-Identifier: GPL-2.0-only
/* Memory of the VMM, by address. A thread without an address space (a worker of ours) gets -EFAULT. */
#include <linux/sched.h>
#include <linux/uaccess.h>
#include "host/host.h"

int host_copy_from_user(void *dst, u64 uaddr, size_t n)
{
	if (!current->mm)
		return -EFAULT;
	return copy_from_user(dst, (const void __user *)uaddr, n) ? -EFAULT : 0;
}

int host_copy_to_user(u64 uaddr, const void *src, size_t n)
{
	if (!current->mm)
		return -EFAULT;
	return copy_to_user((void __user *)uaddr, src, n) ? -EFAULT : 0;
}

#define CMPXCHG_USER(type)                                                                                     \
	({                                                                                                     \
		type expected = (type)old;                                                                     \
		bool swapped;                                                                                  \
                                                                                                               \
		swapped = unsafe_try_cmpxchg_user((type __user *)uaddr, &expected, (type)new_value, fault);    \
		!swapped;                                                                                      \
	})

int host_cmpxchg_user(u64 uaddr, u64 old, u64 new_value, unsigned int size)
{
	int r = -EFAULT;

	if (!current->mm || uaddr & (size - 1) || !user_access_begin((void __user *)uaddr, size))
		return -EFAULT;
	switch (size) {
	case 1:
		r = CMPXCHG_USER(u8);
		break;
	case 2:
		r = CMPXCHG_USER(u16);
		break;
	case 4:
		r = CMPXCHG_USER(u32);
		break;
	case 8:
		r = CMPXCHG_USER(u64);
		break;
	}
fault:
	user_access_end();
	return r;
}

bool host_user_range_ok(u64 uaddr, u64 size)
{
	return access_ok((void __user *)uaddr, size);
}
