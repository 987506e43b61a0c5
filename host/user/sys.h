/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System calls without libc: they touch general registers alone, never errno, and never go through
 * a function that the preloaded shim interposes. They return the kernel's result: >= 0 or -errno.
 */
#ifndef ANYKVM_HOST_USER_SYS_H
#define ANYKVM_HOST_USER_SYS_H

#include <sys/syscall.h>

#include "host/types.h"

/* Thread-local without a call to resolve it: signal handlers and [run] code get at it by one load. */
#define HOST_PER_THREAD __thread __attribute__((tls_model("initial-exec")))

static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys_call4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys_call3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys_call0(long nr)
{
	return sys_call3(nr, 0, 0, 0);
}

static inline int sys_getpid(void)
{
	return (int)sys_call0(SYS_getpid);
}

static inline int sys_gettid(void)
{
	return (int)sys_call0(SYS_gettid);
}

static inline int sys_close(int fd)
{
	return (int)sys_call3(SYS_close, fd, 0, 0);
}

static inline int sys_fcntl(int fd, int cmd, unsigned long arg)
{
	return (int)sys_call3(SYS_fcntl, fd, cmd, (long)arg);
}

static inline long sys_read(int fd, void *buf, size_t n)
{
	return sys_call3(SYS_read, fd, (long)buf, (long)n);
}

static inline long sys_write(int fd, const void *buf, size_t n)
{
	return sys_call3(SYS_write, fd, (long)buf, (long)n);
}

/* mmap and friends return an address or -errno: sys_failed() tells them apart. */
static inline bool sys_failed(long ret)
{
	return (unsigned long)ret >= -4095ul;
}

static inline long sys_mmap(void *hint, size_t size, int prot, int flags, int fd, long offset)
{
	return sys_call6(SYS_mmap, (long)hint, (long)size, prot, flags, fd, offset);
}

static inline long sys_munmap(void *p, size_t size)
{
	return sys_call3(SYS_munmap, (long)p, (long)size, 0);
}

/* The kernel's signal mask is 64 bits wide. how: SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK. */
static inline void sys_sigmask(int how, const u64 *set, u64 *old)
{
	sys_call4(SYS_rt_sigprocmask, how, (long)set, (long)old, sizeof(u64));
}

#endif
