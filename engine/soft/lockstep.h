/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ANYKVM_SOFT=lockstep, for tests: each translated block is executed by the interpreter first, undone, and executed by its
 * translation from the same state; what they leave must be the same. A difference is told on standard error and ends the
 * process.
 */
#ifndef ANYKVM_ENGINE_SOFT_LOCKSTEP_H
#define ANYKVM_ENGINE_SOFT_LOCKSTEP_H

#include "engine/soft/soft.h"

struct lockstep *lockstep_create(void); /* NULL without memory */
void lockstep_destroy(struct lockstep *l);
/* Whether executing insn twice could be noticed: it has a block to itself, and is not compared. */
bool lockstep_alone(const struct x86_insn *insn);
/* As the call of the block's translation, which must not go on to other blocks. [run] */
enum x86_result lockstep_run(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b);

#endif
