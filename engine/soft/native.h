/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest vector, MMX and x87 instructions executed as themselves on the host (X86_OP_NATIVE, X86_OP_X87).
 *
 * native_exec is what x86_native_exec is set to. At an instruction's first execution it finds or makes the
 * stub for it, leaves the stub's description in insn->native and replaces insn->exec by the handler that
 * fits: so the insn that is executed must be the cached, writable one. Vector state must be live
 * (cpu->fpu_live).
 */
#ifndef ANYKVM_ENGINE_SOFT_NATIVE_H
#define ANYKVM_ENGINE_SOFT_NATIVE_H

#include "x86/cpu.h"

/*
 * Before the first execution, and again in a child after fork; any number of times. 0 or -errno
 * (code_error() says why).
 */
int native_init(void);
/* Gives back what cpu's instructions had for themselves alone. */
void native_cpu_destroy(struct x86_cpu *cpu);

x86_exec_fn native_exec;
/* What the first execution would find out, without it: for the translator. */
void native_prepare(struct x86_cpu *cpu, struct x86_insn *insn);

#endif
