/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose KVM the VMM talks to: ours in this process (anykvm.h), our kernel module's /dev/anykvm, or the host's /dev/kvm.
 * Everything above these calls is the same for all.
 */
#ifndef ANYKVM_VMM_BACKEND_H
#define ANYKVM_VMM_BACKEND_H

struct kvm_backend {
	const char *name; /* as the user says it: --engine=NAME */
	const char *what; /* for humans */
	int (*open)(void);
	int (*ioctl)(int fd, unsigned long request, unsigned long arg);
	int (*close)(int fd);
	/* From a signal handler: makes KVM_RUN on this thread return EINTR. */
	void (*interrupt)(void);
};

extern const struct kvm_backend backend_soft;
extern const struct kvm_backend backend_module;
extern const struct kvm_backend backend_kvm;

/* NULL when there is none of that name. */
const struct kvm_backend *backend_find(const char *name);

#endif
