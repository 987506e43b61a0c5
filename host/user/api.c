/* SPDX-License-Identifier: GPL-2.0-only */
/* include/anykvm.h: descriptors in, core's functions out, errors into errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "include/anykvm.h"
#include "host/host.h"
#include "host/user/alias.h"
#include "host/user/api.h"
#include "host/user/file.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/sys.h"
#include "kvm/device.h"

#define PUBLIC __attribute__((visibility("default")))

static long to_errno(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

int host_open_device(void)
{
	long fd = host_user_init();

	if (fd)
		return (int)fd;
	host_enter();
	fd = kvm_device_open();
	host_leave();
	return (int)fd;
}

PUBLIC int anykvm_open(void)
{
	return (int)to_errno(host_open_device());
}

PUBLIC int anykvm_ioctl(int fd, unsigned long request, unsigned long arg)
{
	if (host_fd_is_ours(fd))
		return (int)to_errno(host_fd_ioctl(fd, (unsigned int)request, arg));
	return (int)to_errno(sys_fcntl(fd, F_GETFD, 0) < 0 ? -EBADF : -ENOTTY);
}

PUBLIC int anykvm_close(int fd)
{
	return (int)to_errno(host_fd_is_ours(fd) ? host_fd_close(fd) : -EBADF);
}

PUBLIC int anykvm_dup(int fd)
{
	return (int)to_errno(host_fd_is_ours(fd) ? host_fd_dup(fd, F_DUPFD, 0) : -EBADF);
}

PUBLIC void *anykvm_mmap(void *hint, size_t size, int prot, int flags, int fd, long offset)
{
	long r = host_fd_is_ours(fd) ? host_fd_mmap(fd, hint, size, prot, flags, (u64)offset) : -EBADF;

	return (void *)(sys_failed(r) ? to_errno(r) : r);
}

PUBLIC bool anykvm_owns(int fd)
{
	return host_fd_is_ours(fd);
}

PUBLIC void anykvm_interrupt(void)
{
	host_run_interrupt();
}

PUBLIC int anykvm_alias_memory(void *start, size_t size, int memfd)
{
	if (size)
		return (int)to_errno(host_alias_allow((u64)start, size, memfd));
	host_alias_forget((u64)start);
	return 0;
}

PUBLIC const char *anykvm_engine(void)
{
	return "soft";
}
