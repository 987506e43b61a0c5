/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall(2): for programs that make some of the calls we care about by number.
 *
 * The function itself is assembly that leaves no frame behind for calls that are none of ours: a program
 * may clone() with a new stack through it. Numbers in `interesting` go on to C, which does what the
 * function of that name does here, or makes the call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/user/file.h"
#include "host/user/signals.h"
#include "host/user/sys.h"
#include "shim/shim.h"

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

#define INTERESTING_MAX 512
#define INTERESTING(nr, word) ((nr) / 64 == (word) ? 1ull << (nr) % 64 : 0)
#define INTERESTING_WORD(w)                                                                          \
	(INTERESTING(SYS_open, w) | INTERESTING(SYS_openat, w) | INTERESTING(SYS_openat2, w) |        \
	 INTERESTING(SYS_access, w) | INTERESTING(SYS_faccessat, w) | INTERESTING(SYS_faccessat2, w) | \
	 INTERESTING(SYS_stat, w) | INTERESTING(SYS_lstat, w) | INTERESTING(SYS_newfstatat, w) |      \
	 INTERESTING(SYS_statx, w) | INTERESTING(SYS_ioctl, w) | INTERESTING(SYS_close, w) |          \
	 INTERESTING(SYS_close_range, w) | INTERESTING(SYS_dup, w) | INTERESTING(SYS_dup2, w) |       \
	 INTERESTING(SYS_dup3, w) | INTERESTING(SYS_fcntl, w) | INTERESTING(SYS_read, w) |            \
	 INTERESTING(SYS_pread64, w) | INTERESTING(SYS_mmap, w) | INTERESTING(SYS_rt_sigaction, w) |  \
	 INTERESTING(SYS_rt_sigprocmask, w))

/* Named by the assembly below. */
extern const u64 shim_syscall_interesting[INTERESTING_MAX / 64];
const u64 shim_syscall_interesting[INTERESTING_MAX / 64] = {
	INTERESTING_WORD(0), INTERESTING_WORD(1), INTERESTING_WORD(2), INTERESTING_WORD(3),
	INTERESTING_WORD(4), INTERESTING_WORD(5), INTERESTING_WORD(6), INTERESTING_WORD(7),
};
_Static_assert(INTERESTING_MAX == 512, "the assembly's bound");

/* Same arguments as syscall(), the seventh on the stack: so the assembly may jump here. */
long shim_syscall(long nr, long a, long b, long c, long d, long e, long f);
long shim_syscall_failed(long r);

__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	cmp $512, %rdi\n"
	"	jae 1f\n"
	"	lea shim_syscall_interesting(%rip), %rax\n"
	"	bt %rdi, (%rax)\n"
	"	jc shim_syscall\n"
	"1:	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmp $-4095, %rax\n"
	"	jae 2f\n"
	"	ret\n"
	"2:	mov %rax, %rdi\n"
	"	jmp shim_syscall_failed\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n"
	".popsection\n");

long shim_syscall_failed(long r)
{
	errno = (int)-r;
	return -1;
}

/* ---- calls on the path ---------------------------------------------------------------------------- */

/* True: done, *r is the result (-errno). */
static bool path_call(long nr, const long *arg, long *r)
{
	const struct open_how *how;

	switch (nr) {
	case SYS_open:
		if (arg[1] & O_PATH || !shim_is_kvm((const char *)arg[0]))
			return false;
		*r = shim_kvm_open((int)arg[1]);
		return true;
	case SYS_openat:
		if (arg[2] & O_PATH || !shim_is_kvm((const char *)arg[1]))
			return false;
		*r = shim_kvm_open((int)arg[2]);
		return true;
	case SYS_openat2:
		how = (const struct open_how *)arg[2];
		if (!shim_is_kvm((const char *)arg[1]) || how->flags & O_PATH)
			return false;
		*r = shim_kvm_open((int)how->flags);
		return true;
	case SYS_access:
		if (!shim_is_kvm((const char *)arg[0]))
			return false;
		*r = shim_kvm_access((int)arg[1], 0);
		return true;
	case SYS_faccessat:
	case SYS_faccessat2:
		if (!shim_is_kvm((const char *)arg[1]))
			return false;
		*r = shim_kvm_access((int)arg[2], nr == SYS_faccessat2 ? (int)arg[3] : 0);
		return true;
	case SYS_stat:
	case SYS_lstat:
		if (!shim_is_kvm((const char *)arg[0]))
			return false;
		*r = shim_kvm_stat((struct stat *)arg[1]);
		return true;
	case SYS_newfstatat:
		if (!shim_is_kvm((const char *)arg[1]))
			return false;
		*r = shim_kvm_stat((struct stat *)arg[2]);
		return true;
	case SYS_statx:
		if (!shim_is_kvm((const char *)arg[1]))
			return false;
		*r = shim_kvm_statx((unsigned int)arg[3], (struct statx *)arg[4]);
		return true;
	}
	return false;
}

/* ---- calls on descriptors ------------------------------------------------------------------------- */

static bool mmap_call(const long *arg, long *r)
{
	if (arg[3] & MAP_ANONYMOUS || !host_fd_is_ours((int)arg[4]))
		return false;
	*r = host_fd_mmap((int)arg[4], (void *)arg[0], (size_t)arg[1], (int)arg[2], (int)arg[3], (u64)arg[5]);
	return true;
}

/* Calls that concern a pair or range of descriptors, ours or not. */
static bool fd_set_call(long nr, const long *arg, long *r)
{
	switch (nr) {
	case SYS_mmap:
		return mmap_call(arg, r);
	case SYS_close_range:
		*r = host_fd_close_range((unsigned int)arg[0], (unsigned int)arg[1], (unsigned int)arg[2]);
		return true;
	case SYS_dup2:
		if (arg[0] == arg[1])
			return false;
		*r = host_fd_dup_onto((int)arg[0], (int)arg[1], 0);
		return true;
	case SYS_dup3:
		*r = host_fd_dup_onto((int)arg[0], (int)arg[1], (int)arg[2]);
		return true;
	}
	return false;
}

static bool fd_call(long nr, const long *arg, long *r)
{
	int fd = (int)arg[0];

	if (!host_fd_any())
		return false;
	if (fd_set_call(nr, arg, r))
		return true;
	if (!host_fd_is_ours(fd))
		return false;
	switch (nr) {
	case SYS_ioctl:
		*r = host_fd_ioctl(fd, (unsigned int)arg[1], (unsigned long)arg[2]);
		return true;
	case SYS_close:
		*r = host_fd_close(fd);
		return true;
	case SYS_dup:
		*r = host_fd_dup(fd, F_DUPFD, 0);
		return true;
	case SYS_fcntl:
		*r = shim_fd_fcntl(fd, (int)arg[1], (unsigned long)arg[2]);
		return true;
	case SYS_read:
		*r = host_fd_read(fd, (void *)arg[1], (size_t)arg[2], -1);
		return true;
	case SYS_pread64:
		*r = arg[3] < 0 ? -EINVAL : host_fd_read(fd, (void *)arg[1], (size_t)arg[2], arg[3]);
		return true;
	}
	return false;
}

/* ---- signals ----------------------------------------------------------------------------------------- */

static bool signal_call(long nr, const long *arg, long *r)
{
	if (nr == SYS_rt_sigprocmask && arg[1])
		host_signals_mask_changed();
	if (nr != SYS_rt_sigaction || arg[3] != sizeof(u64) || arg[0] < 1 || arg[0] > HOST_SIGNALS ||
	    HOST_LIBC_SIGNALS & host_sigbit((int)arg[0]))
		return false;
	*r = host_signals_act((int)arg[0], (const struct host_sigaction *)arg[1],
			      (struct host_sigaction *)arg[2]);
	return true;
}

long shim_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	const long arg[] = { a, b, c, d, e, f };
	long r;

	if (!shim_active() || !(path_call(nr, arg, &r) || fd_call(nr, arg, &r) || signal_call(nr, arg, &r)))
		r = sys_call6(nr, a, b, c, d, e, f);
	return sys_failed(r) ? shim_syscall_failed(r) : r;
}
