/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What this kernel wants done around a guest's entry against leaks by speculation, for engine/svm/entry.S. Which of it is
 * code is decided when the module is loaded.
 */
#ifndef ANYKVM_HOST_LINUX_ENTRY_H
#define ANYKVM_HOST_LINUX_ENTRY_H

#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/cpufeatures.h>
#include <asm/nospec-branch.h>

/* Right before VMRUN: nothing of the host's in the processor's buffers. Changes flags. */
.macro HOST_BEFORE_GUEST
	VM_CLEAR_CPU_BUFFERS
.endm

/* The host's own again, but for registers that are saved, and before the first return: predictions. Changes RAX, RCX, RDX. */
.macro HOST_AFTER_GUEST
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
.endm

#endif
