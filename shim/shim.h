/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The preloaded shim: how an unmodified program's calls on /dev/kvm reach us.
 *
 * Every exported function here has the name, prototype and errno of libc's, and hands on to the next
 * one in the search order whatever does not concern us.
 */
#ifndef ANYKVM_SHIM_SHIM_H
#define ANYKVM_SHIM_SHIM_H

#include <sys/stat.h>

#include "host/types.h"

#define SHIM_EXPORT __attribute__((visibility("default")))

/* ---- whether (preload.c) ------------------------------------------------------------------------- */

enum shim_state { SHIM_UNDECIDED, SHIM_OFF, SHIM_ON };
extern enum shim_state shim_state;
bool shim_decide(void);

/* Whether `anykvm run` started this process or an ancestor: otherwise every function passes on. */
static inline bool shim_active(void)
{
	enum shim_state s = (enum shim_state)atomic_read(&shim_state);

	return likely(s) ? s == SHIM_ON : shim_decide();
}

/* Whether path is /dev/kvm and /dev/kvm is ours: asks the host's own device the first time. */
bool shim_is_kvm(const char *path);

/* ---- libc's functions (real.c) --------------------------------------------------------------------- */

#define SHIM_REAL_FUNCTIONS(X)                                                                  \
	X(open) X(open64) X(openat) X(openat64)                                                 \
	X(__open_2) X(__open64_2) X(__openat_2) X(__openat64_2)                                 \
	X(access) X(faccessat) X(euidaccess) X(eaccess)                                         \
	X(stat) X(stat64) X(lstat) X(lstat64) X(fstatat) X(fstatat64) X(statx)                  \
	X(__xstat) X(__xstat64) X(__lxstat) X(__lxstat64) X(__fxstatat) X(__fxstatat64)         \
	X(ioctl) X(close) X(dup) X(dup2) X(dup3) X(fcntl) X(fcntl64) X(close_range) X(closefrom) \
	X(read) X(__read_chk) X(pread) X(pread64) X(__pread_chk) X(__pread64_chk)               \
	X(write) X(eventfd_write)                                                               \
	X(sigaction) X(signal) X(__sysv_signal) X(sigset) X(sigignore) X(siginterrupt)          \
	X(sighold) X(sigrelse) X(pthread_cancel) X(pthread_sigmask) X(sigprocmask) X(sigblock) X(sigsetmask)

enum shim_real_function {
#define X(name) SHIM_REAL_##name,
	SHIM_REAL_FUNCTIONS(X)
#undef X
	SHIM_REAL_COUNT
};

void *shim_real(enum shim_real_function which);
#define REAL(name) ((__typeof__(&name))shim_real(SHIM_REAL_##name))

/* 0 and up unchanged; -errno: sets errno, returns -1. */
long shim_result(long r);

/* ---- what is done about it, shared with syscall(): results are 0 and up, or -errno ----------------- */

long shim_kvm_open(int flags);
long shim_kvm_access(int mode, int flags);
long shim_kvm_stat(struct stat *st);
long shim_kvm_statx(unsigned int mask, struct statx *stx);

/* fcntl on one of ours. */
long shim_fd_fcntl(int fd, int cmd, unsigned long arg);

#endif
