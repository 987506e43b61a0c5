/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the shim is active, whose /dev/kvm the program gets, and the device itself: its opening,
 * and what stat and access say of it.
 *
 * `anykvm run` sets LD_PRELOAD and ANYKVM_PRELOAD=1; both are inherited, so the program's children are
 * served, too. A process that merely links the library has no such environment: nothing is interposed.
 *
 * The first use of the path /dev/kvm decides whose it is: the host's own if it runs guests (probe.h),
 * in which case the shim keeps out of the way, otherwise ours; ANYKVM_ENGINE=soft skips the probe. A
 * process that never names /dev/kvm never gets that far, and its signal handlers stay where they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/api.h"
#include "host/user/probe.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/sys.h"
#include "shim/shim.h"

#define KVM_PATH "/dev/kvm"
#define KVM_MAJOR 10
#define KVM_MINOR 232
#define KVM_MODE (S_IFCHR | 0666)

enum shim_state shim_state;

static bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static bool env_is(const char *name, const char *value)
{
	const char *set = getenv(name);

	return set && text_equal(set, value);
}

bool shim_decide(void)
{
	enum shim_state s;

	if (!environ)
		return false; /* libc is not there yet; decide later */
	s = env_is("ANYKVM_PRELOAD", "1") ? SHIM_ON : SHIM_OFF;
	atomic_set(&shim_state, s);
	return s == SHIM_ON;
}

/* ---- whose /dev/kvm ------------------------------------------------------------------------------ */

enum owner { OWNER_UNKNOWN, OWNER_HOST, OWNER_US };

/* Decided once for the process, and with it for its forks. */
static struct {
	struct host_mutex lock;
	enum owner owner;
	const char *why; /* it is ours */
	bool announced;
} device;

static enum owner owner_find(void)
{
	if (env_is("ANYKVM_ENGINE", "soft")) {
		device.why = "ANYKVM_ENGINE=soft";
		return OWNER_US;
	}
	device.why = host_probe_kvm();
	return device.why ? OWNER_US : OWNER_HOST;
}

static void announce(const char *a, const char *b, const char *c)
{
	char line[160];
	size_t n = 0;

	if (atomic_xchg(&device.announced, true) || env_is("ANYKVM_QUIET", "1"))
		return;
	for (const char *const *part = (const char *const[]){ a, b, c, NULL }; *part; part++)
		for (const char *p = *part; *p && n < sizeof(line); p++)
			line[n++] = *p;
	sys_write(STDERR_FILENO, line, n);
}

static enum owner device_owner(void)
{
	enum owner o = (enum owner)atomic_read_acquire(&device.owner);

	if (likely(o != OWNER_UNKNOWN))
		return o;
	host_mutex_lock(&device.lock);
	if (device.owner == OWNER_UNKNOWN)
		atomic_set_release(&device.owner, owner_find());
	o = device.owner;
	host_mutex_unlock(&device.lock);
	return o;
}

bool shim_is_kvm(const char *path)
{
	return path && path[0] == '/' && path[1] == 'd' && shim_active() && text_equal(path, KVM_PATH) &&
	       device_owner() == OWNER_US;
}

/* A path that is opened, and the host's: the user is to know that, too. */
static void note_host_device(const char *path)
{
	if (path && path[0] == '/' && path[1] == 'd' && shim_active() && text_equal(path, KVM_PATH))
		announce("anykvm: /dev/kvm is the host's own, hardware engine\n", "", "");
}

/* ---- the device ---------------------------------------------------------------------------------- */

long shim_kvm_open(int flags)
{
	int fd, r;

	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	r = host_user_init();
	if (r)
		return r;
	host_signals_take_over();
	fd = host_open_device();
	if (fd >= 0 && !(flags & O_CLOEXEC))
		sys_fcntl(fd, F_SETFD, 0);
	if (fd >= 0)
		announce("anykvm: /dev/kvm is AnyKVM, software engine (", device.why, ")\n");
	return fd;
}

long shim_kvm_access(int mode, int flags)
{
	if (mode & ~(R_OK | W_OK | X_OK) || flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return mode & X_OK ? -EACCES : 0;
}

long shim_kvm_stat(struct stat *st)
{
	*st = (struct stat){
		.st_mode = KVM_MODE,
		.st_nlink = 1,
		.st_ino = KVM_MINOR,
		.st_rdev = makedev(KVM_MAJOR, KVM_MINOR),
		.st_blksize = 4096,
	};
	sys_call3(SYS_clock_gettime, CLOCK_REALTIME_COARSE, (long)&st->st_atim, 0);
	st->st_mtim = st->st_ctim = st->st_atim;
	return 0;
}

long shim_kvm_statx(unsigned int mask, struct statx *stx)
{
	struct stat st;

	if (mask & STATX__RESERVED)
		return -EINVAL;
	shim_kvm_stat(&st);
	*stx = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_mode = KVM_MODE,
		.stx_nlink = 1,
		.stx_ino = st.st_ino,
		.stx_rdev_major = KVM_MAJOR,
		.stx_rdev_minor = KVM_MINOR,
		.stx_blksize = (u32)st.st_blksize,
		.stx_atime = { .tv_sec = st.st_atim.tv_sec },
		.stx_mtime = { .tv_sec = st.st_atim.tv_sec },
		.stx_ctime = { .tv_sec = st.st_atim.tv_sec },
	};
	return 0;
}

/* ---- open and its kin ---------------------------------------------------------------------------- */

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

/* Ours to open. A descriptor for the path alone (O_PATH) is the file system's business. */
static bool opens_kvm(const char *path, int flags)
{
	if (flags & O_PATH)
		return false;
	if (shim_is_kvm(path))
		return true;
	note_host_device(path);
	return false;
}

/* The mode is passed, and looked at, only with flags that may create a file. */
static bool has_mode(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

#define OPEN_MODE(flags)                                   \
	({                                                 \
		unsigned int mode_ = 0;                    \
		if (has_mode(flags)) {                     \
			va_list ap_;                       \
			va_start(ap_, flags);              \
			mode_ = va_arg(ap_, unsigned int); \
			va_end(ap_);                       \
		}                                          \
		mode_;                                     \
	})

SHIM_EXPORT int open(const char *path, int flags, ...)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(open)(path, flags, OPEN_MODE(flags));
}

SHIM_EXPORT int open64(const char *path, int flags, ...)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(open64)(path, flags, OPEN_MODE(flags));
}

SHIM_EXPORT int openat(int dir, const char *path, int flags, ...)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(openat)(dir, path, flags, OPEN_MODE(flags));
}

SHIM_EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(openat64)(dir, path, flags, OPEN_MODE(flags));
}

/* What _FORTIFY_SOURCE makes of the calls without a mode. */
SHIM_EXPORT int __open_2(const char *path, int flags)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(__open_2)(path, flags);
}

SHIM_EXPORT int __open64_2(const char *path, int flags)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(__open64_2)(path, flags);
}

SHIM_EXPORT int __openat_2(int dir, const char *path, int flags)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(__openat_2)(dir, path, flags);
}

SHIM_EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	if (opens_kvm(path, flags))
		return (int)shim_result(shim_kvm_open(flags));
	return REAL(__openat64_2)(dir, path, flags);
}
