/* SPDX-License-Identifier: GPL-2.0-only */
/* stat and access of /dev/kvm: a character device 10:232 that everybody may use, as on a KVM host. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "shim/shim.h"

int __xstat(int version, const char *path, struct stat *st);
int __xstat64(int version, const char *path, struct stat64 *st);
int __lxstat(int version, const char *path, struct stat *st);
int __lxstat64(int version, const char *path, struct stat64 *st);
int __fxstatat(int version, int dir, const char *path, struct stat *st, int flags);
int __fxstatat64(int version, int dir, const char *path, struct stat64 *st, int flags);

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one struct stat on x86-64");

static int fake_stat(void *st)
{
	return (int)shim_result(shim_kvm_stat(st));
}

SHIM_EXPORT int access(const char *path, int mode)
{
	if (shim_is_kvm(path))
		return (int)shim_result(shim_kvm_access(mode, 0));
	return REAL(access)(path, mode);
}

SHIM_EXPORT int faccessat(int dir, const char *path, int mode, int flags)
{
	if (shim_is_kvm(path))
		return (int)shim_result(shim_kvm_access(mode, flags));
	return REAL(faccessat)(dir, path, mode, flags);
}

SHIM_EXPORT int euidaccess(const char *path, int mode)
{
	if (shim_is_kvm(path))
		return (int)shim_result(shim_kvm_access(mode, AT_EACCESS));
	return REAL(euidaccess)(path, mode);
}

SHIM_EXPORT int eaccess(const char *path, int mode)
{
	if (shim_is_kvm(path))
		return (int)shim_result(shim_kvm_access(mode, AT_EACCESS));
	return REAL(eaccess)(path, mode);
}

SHIM_EXPORT int stat(const char *path, struct stat *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(stat)(path, st);
}

SHIM_EXPORT int stat64(const char *path, struct stat64 *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(stat64)(path, st);
}

SHIM_EXPORT int lstat(const char *path, struct stat *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(lstat)(path, st);
}

SHIM_EXPORT int lstat64(const char *path, struct stat64 *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(lstat64)(path, st);
}

SHIM_EXPORT int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(fstatat)(dir, path, st, flags);
}

SHIM_EXPORT int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(fstatat64)(dir, path, st, flags);
}

SHIM_EXPORT int statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx)
{
	if (shim_is_kvm(path))
		return (int)shim_result(shim_kvm_statx(mask, stx));
	return REAL(statx)(dir, path, flags, mask, stx);
}

/* What programs built against glibc before 2.33 call. */
SHIM_EXPORT int __xstat(int version, const char *path, struct stat *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__xstat)(version, path, st);
}

SHIM_EXPORT int __xstat64(int version, const char *path, struct stat64 *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__xstat64)(version, path, st);
}

SHIM_EXPORT int __lxstat(int version, const char *path, struct stat *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__lxstat)(version, path, st);
}

SHIM_EXPORT int __lxstat64(int version, const char *path, struct stat64 *st)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__lxstat64)(version, path, st);
}

SHIM_EXPORT int __fxstatat(int version, int dir, const char *path, struct stat *st, int flags)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__fxstatat)(version, dir, path, st, flags);
}

SHIM_EXPORT int __fxstatat64(int version, int dir, const char *path, struct stat64 *st, int flags)
{
	return shim_is_kvm(path) ? fake_stat(st) : REAL(__fxstatat64)(version, dir, path, st, flags);
}
