/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * AnyKVM's public C interface, for a VMM that links libanykvm instead of opening /dev/kvm.
 *
 * The contract is Linux's KVM API (Documentation/virt/kvm/api.rst, <linux/kvm.h>): anykvm_open()
 * stands for open("/dev/kvm"), anykvm_ioctl() for ioctl(2) on the descriptors that follow from it.
 * Descriptors are real: mmap, poll, fcntl(F_SETFD) work on them as on KVM's. Only close and dup go
 * through this interface, so that objects live exactly as long as their descriptors; and the page of
 * the coalesced MMIO ring, which all vCPUs of a VM have in common, is seen by anykvm_mmap() alone.
 *
 * Errors are KVM's: functions return -1 and set errno. All functions are thread-safe.
 */
#ifndef ANYKVM_H
#define ANYKVM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANYKVM_VERSION "0.1.0"

/* Like open("/dev/kvm", O_RDWR | O_CLOEXEC). The first call starts the library's service thread
 * lazily and installs SIGSEGV/SIGBUS handlers that pass on whatever is not the library's own. */
int anykvm_open(void);
/* Like ioctl(2). ENOTTY/EBADF for a descriptor that is not AnyKVM's. */
int anykvm_ioctl(int fd, unsigned long request, unsigned long arg);
/* Like close(2), dup(2), for AnyKVM's descriptors. */
int anykvm_close(int fd);
int anykvm_dup(int fd);
/* Like mmap(2) of one of AnyKVM's descriptors; MAP_FAILED. */
void *anykvm_mmap(void *hint, size_t size, int prot, int flags, int fd, long offset);
/* Whether fd is a descriptor of AnyKVM's. */
bool anykvm_owns(int fd);
/* Async-signal-safe: makes the KVM_RUN in progress on the calling thread, if any, return EINTR. To be
 * called from a VMM's signal handlers (the preloaded shim does so by itself). A handler that runs in the
 * midst of KVM_RUN finds a GS base that is not the program's; it is again when the call returns. */
void anykvm_interrupt(void);
/* Allows AnyKVM to map this memory at further addresses as long as it is a guest's, which makes guests faster: one shared
 * mapping (MAP_SHARED) of whole pages, without userfaultfd, not replaced meanwhile. To be called before the machine's vCPUs
 * are made; size 0 takes it back when no machine uses it any more. memfd: the file that is mapped, from its beginning, which
 * lets guests run faster still, or -1; it need not stay open. What is aligned to 2 MiB, in the process and in the file, comes in
 * huge pages where the guest uses it densely. ENOSPC when there are too many of them; EBADF, EMFILE. */
int anykvm_alias_memory(void *start, size_t size, int memfd);
/* Name of the engine that runs guests: "soft". Static storage. */
const char *anykvm_engine(void);

#ifdef __cplusplus
}
#endif
#endif
