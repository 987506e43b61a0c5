/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls on descriptors. A descriptor of ours is told by two loads (host_fd_is_ours), so others lose
 * next to nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/file.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "host/user/signals.h"
#include "host/user/sys.h"
#include "shim/shim.h"

ssize_t __read_chk(int fd, void *buf, size_t count, size_t room);
ssize_t __pread_chk(int fd, void *buf, size_t count, off_t offset, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t count, off64_t offset, size_t room);

static bool ours(int fd)
{
	return host_fd_is_ours(fd) && shim_active();
}

/* The one argument that ioctl and fcntl may have: a pointer or an integer, in a register anyway. */
#define THIRD_ARGUMENT(last)                         \
	({                                           \
		va_list ap_;                         \
		unsigned long arg_;                  \
		va_start(ap_, last);                 \
		arg_ = va_arg(ap_, unsigned long);   \
		va_end(ap_);                         \
		arg_;                                \
	})

SHIM_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg = THIRD_ARGUMENT(request);

	if (ours(fd) || (_IOC_TYPE(request) == KVMIO && shim_active() && host_fd_any() && host_fd_adopt(fd)))
		return (int)shim_result(host_fd_ioctl(fd, (unsigned int)request, arg));
	return REAL(ioctl)(fd, request, arg);
}

/* ---- closing, duplicating ------------------------------------------------------------------------ */

SHIM_EXPORT int close(int fd)
{
	return ours(fd) ? (int)shim_result(host_fd_close(fd)) : REAL(close)(fd);
}

SHIM_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	if (shim_active() && host_fd_any())
		return (int)shim_result(host_fd_close_range(first, last, (unsigned int)flags));
	return REAL(close_range)(first, last, flags);
}

SHIM_EXPORT void closefrom(int first)
{
	REAL(closefrom)(first);
	if (shim_active())
		host_fd_range_closed(first < 0 ? 0 : (unsigned int)first, ~0u);
}

SHIM_EXPORT int dup(int fd)
{
	return ours(fd) ? (int)shim_result(host_fd_dup(fd, F_DUPFD, 0)) : REAL(dup)(fd);
}

SHIM_EXPORT int dup2(int from, int to)
{
	if (!ours(from) && !ours(to))
		return REAL(dup2)(from, to);
	if (from == to) /* where dup3 would say EINVAL */
		return fcntl(from, F_GETFD) < 0 ? -1 : to;
	return (int)shim_result(host_fd_dup_onto(from, to, 0));
}

SHIM_EXPORT int dup3(int from, int to, int flags)
{
	if (!ours(from) && !ours(to))
		return REAL(dup3)(from, to, flags);
	return (int)shim_result(host_fd_dup_onto(from, to, flags));
}

long shim_fd_fcntl(int fd, int cmd, unsigned long arg)
{
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return host_fd_dup(fd, cmd, (int)arg);
	return sys_fcntl(fd, cmd, arg);
}

SHIM_EXPORT int fcntl(int fd, int cmd, ...)
{
	unsigned long arg = THIRD_ARGUMENT(cmd);

	return ours(fd) ? (int)shim_result(shim_fd_fcntl(fd, cmd, arg)) : REAL(fcntl)(fd, cmd, arg);
}

SHIM_EXPORT int fcntl64(int fd, int cmd, ...)
{
	unsigned long arg = THIRD_ARGUMENT(cmd);

	return ours(fd) ? (int)shim_result(shim_fd_fcntl(fd, cmd, arg)) : REAL(fcntl64)(fd, cmd, arg);
}

/* ---- reading (statistics), mapping --------------------------------------------------------------- */

SHIM_EXPORT ssize_t read(int fd, void *buf, size_t count)
{
	return ours(fd) ? shim_result(host_fd_read(fd, buf, count, -1)) : REAL(read)(fd, buf, count);
}

SHIM_EXPORT ssize_t __read_chk(int fd, void *buf, size_t count, size_t room)
{
	if (ours(fd) && count <= room)
		return shim_result(host_fd_read(fd, buf, count, -1));
	return REAL(__read_chk)(fd, buf, count, room);
}

static ssize_t pread_ours(int fd, void *buf, size_t count, s64 offset)
{
	return shim_result(offset < 0 ? -EINVAL : host_fd_read(fd, buf, count, offset));
}

SHIM_EXPORT ssize_t pread(int fd, void *buf, size_t count, off_t offset)
{
	return ours(fd) ? pread_ours(fd, buf, count, offset) : REAL(pread)(fd, buf, count, offset);
}

SHIM_EXPORT ssize_t pread64(int fd, void *buf, size_t count, off64_t offset)
{
	return ours(fd) ? pread_ours(fd, buf, count, offset) : REAL(pread64)(fd, buf, count, offset);
}

SHIM_EXPORT ssize_t __pread_chk(int fd, void *buf, size_t count, off_t offset, size_t room)
{
	if (ours(fd) && count <= room)
		return pread_ours(fd, buf, count, offset);
	return REAL(__pread_chk)(fd, buf, count, offset, room);
}

SHIM_EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t count, off64_t offset, size_t room)
{
	if (ours(fd) && count <= room)
		return pread_ours(fd, buf, count, offset);
	return REAL(__pread64_chk)(fd, buf, count, offset, room);
}

/* ---- signalling eventfds ------------------------------------------------------------------------- */

/* A write that adds to an eventfd's counter; those of other sizes and values are refused, or signal nobody. */
static bool tell(int fd, const void *buf, size_t count)
{
	u64 value;
	bool told;

	if (likely(!host_eventfd_is_heard(fd)) || count != sizeof(value) || !shim_active() || host_in_vfork_child())
		return false;
	host_enter();
	told = !host_copy_from_user(&value, (u64)buf, sizeof(value)) && value && value != ~0ull && host_eventfd_tell(fd);
	host_leave();
	return told;
}

SHIM_EXPORT ssize_t write(int fd, const void *buf, size_t count)
{
	return tell(fd, buf, count) ? (ssize_t)count : REAL(write)(fd, buf, count);
}

SHIM_EXPORT int eventfd_write(int fd, eventfd_t value)
{
	return tell(fd, &value, sizeof(value)) ? 0 : REAL(eventfd_write)(fd, value);
}

/*
 * Straight to the kernel, as libc does: allocators call this from the very inside of the dynamic
 * linker, where no symbol can be looked up.
 */
static void *map(void *hint, size_t size, int prot, int flags, int fd, s64 offset)
{
	if (fd >= 0 && !(flags & MAP_ANONYMOUS) && ours(fd))
		return (void *)shim_result(host_fd_mmap(fd, hint, size, prot, flags, (u64)offset));
	return (void *)shim_result(sys_mmap(hint, size, prot, flags, fd, offset));
}

SHIM_EXPORT void *mmap(void *hint, size_t size, int prot, int flags, int fd, off_t offset)
{
	return map(hint, size, prot, flags, fd, offset);
}

SHIM_EXPORT void *mmap64(void *hint, size_t size, int prot, int flags, int fd, off64_t offset)
{
	return map(hint, size, prot, flags, fd, offset);
}
