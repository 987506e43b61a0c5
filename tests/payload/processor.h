/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ANYKVM_TESTS_PAYLOAD_PROCESSOR_H
#define ANYKVM_TESTS_PAYLOAD_PROCESSOR_H

#include <linux/types.h>

/* KVM_SET_CPUID2: what both QEMU's TCG and ordinary hosts have, and these bits of leaf 1's ECX. 0, or -1 with errno. */
int processor_set(int kvm, int vcpu, __u32 more_ecx);

#endif
