/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of capabilities (caps.c), which docs/api.md is made from. */
#ifndef ANYKVM_KVM_CAPS_H
#define ANYKVM_KVM_CAPS_H

#include "kvm/vm.h"

struct cap_row {
	u32 cap;
	const char *name;	/* without KVM_CAP_ */
	u32 value;		/* of KVM_CHECK_EXTENSION */
	u32 (*compute)(void);	/* instead of value */
	/* KVM_ENABLE_CAP; NULL: nothing to enable. 0 or -errno */
	int (*enable)(struct vm *vm, const u64 *args);		/* vm->lock held */
	int (*enable_vcpu)(struct vcpu *vcpu, const u64 *args);	/* v held */
	const char *note;	/* for docs/api.md */
};

extern const struct cap_row kvm_caps[];
extern const unsigned kvm_nr_caps;

#endif
