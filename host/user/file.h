/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptor operations on our files, for api.c and the shim. Those that may call into the core do
 * host_enter() and host_leave() themselves. All return >= 0 or -errno.
 */
#ifndef ANYKVM_HOST_USER_FILE_H
#define ANYKVM_HOST_USER_FILE_H

#include "host/types.h"

/* Whether fd is one of ours at the moment: two loads. [run] */
bool host_fd_is_ours(int fd);
/* Whether any descriptor is ours. */
bool host_fd_any(void);

/*
 * Whether fd, which is not one of ours yet, leads to one of our files by another way than ours (SCM_RIGHTS,
 * pidfd_getfd, a raw system call): it is ours from now on.
 */
bool host_fd_adopt(int fd);

/* These expect host_fd_is_ours(fd), and give -EBADF when it has just ceased to be. */
long host_fd_ioctl(int fd, unsigned int request, unsigned long arg);
int host_fd_close(int fd);
/* cmd: F_DUPFD or F_DUPFD_CLOEXEC. */
int host_fd_dup(int fd, int cmd, int at_least);
/* offset: of pread, or -1: the descriptor's own, which moves on. */
long host_fd_read(int fd, void *buf, size_t count, s64 offset);
/* mmap(2): an address, or -errno (sys_failed). */
long host_fd_mmap(int fd, void *hint, size_t size, int prot, int flags, u64 offset);

/* These take any descriptors, ours or not. */
int host_fd_dup_onto(int from, int to, int flags);
int host_fd_close_range(unsigned int first, unsigned int last, unsigned int flags);
/* After the kernel has closed all descriptors from first to last. */
void host_fd_range_closed(unsigned int first, unsigned int last);

#endif
