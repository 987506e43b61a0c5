/* SPDX-License-Identifier: GPL-2.0-only */
/* The translator, as the loop sees it: translate.c has the essay. */
#ifndef ANYKVM_ENGINE_SOFT_TRANSLATE_H
#define ANYKVM_ENGINE_SOFT_TRANSLATE_H

#include "engine/soft/soft.h"
#include "host/user/fault.h"

/* Sets soft->jit, or leaves it NULL: switched off (ANYKVM_SOFT=interp), or no executable memory to be had. */
void translate_create(struct x86_cpu *cpu, struct soft_vcpu *soft);
void translate_destroy(struct soft_vcpu *soft);
/* Bytes that the user grants to code. */
size_t translate_room(void);
/* In how many parts so much is used: what is dropped at once is to take a millisecond or two. */
u32 translate_parts(size_t room);

/*
 * Runs the translation of b, and of what is chained to it, if there is one or it is time to make one.
 * false: nothing was done, the block is to be interpreted. true: *r is what the last instruction came to,
 * as from the interpreter, and soft->insn is that instruction unless *r is X86_BRANCH.
 */
bool translate_run(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b, enum x86_result *r);

/* The numbers, or the context, are others: what translated code knows of it follows. If it runs it leaves. */
void translate_select(struct soft_vcpu *soft);

/* Nothing leads to the block's translation any more. */
void translate_unlink(struct soft_vcpu *soft, struct block *b);

/* Nothing leads from the page's translations straight to other pages. */
void translate_unlink_far(struct soft_vcpu *soft, const struct block_page *page);

/* All blocks have been thrown away: so are their translations, and nothing of them runs any more. */
void translate_flush(struct soft_vcpu *soft);

/* After that: the memory is given back. */
void translate_release(struct soft_vcpu *soft);

/*
 * After a host fault: if it happened in translated code, brings the guest's registers back from f into
 * cpu, and finds the instruction (soft->insn). True: it is to be executed again, as it will fault in the guest.
 */
bool translate_fault(struct x86_cpu *cpu, struct soft_vcpu *soft, const struct host_fault_frame *f);

#endif
