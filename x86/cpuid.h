/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID as the system side looks things up: the host's, and the table that a vCPU was given. */
#ifndef ANYKVM_X86_CPUID_H
#define ANYKVM_X86_CPUID_H

#include <linux/kvm.h>
#include "x86/cpu.h"

/* Indices of out[] and of x86_cpuid_bit(). */
enum x86_cpuid_reg { X86_CPUID_EAX, X86_CPUID_EBX, X86_CPUID_ECX, X86_CPUID_EDX };

/* Set by an engine whose guests run on the processor: it must itself have what it offers. Before the first device is opened. */
extern bool x86_cpuid_native;

void x86_host_cpuid(u32 leaf, u32 subleaf, u32 out[4]);
bool x86_host_is_amd(void); /* or Hygon */
/* The vCPU's entry, or NULL. Entries without KVM_CPUID_FLAG_SIGNIFCANT_INDEX match every subleaf. */
const struct kvm_cpuid_entry2 *x86_cpuid_find(const struct x86_cpu *cpu, u32 leaf, u32 subleaf);
/* A bit of the vCPU's table, 0 where there is no entry: for what features.h does not name. */
bool x86_cpuid_bit(const struct x86_cpu *cpu, u32 leaf, u32 subleaf, enum x86_cpuid_reg reg, unsigned bit);

#endif
