/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Re-encoding a guest vector or x87 instruction for the host: vector, mask and stack registers stay what
 * they are, the memory operand and the integer register (there is at most one of each) become what the
 * caller assigns.
 */
#ifndef ANYKVM_ENGINE_SOFT_RENAME_H
#define ANYKVM_ENGINE_SOFT_RENAME_H

#include "engine/soft/emit.h"
#include "x86/insn.h"

struct rename {
	struct emit_mem mem;	/* stands for the memory operand: a host address */
	u8 gpr;			/* stands for the integer register, 0..15 */
};

/*
 * Appends insn, an X86_OP_NATIVE or X86_OP_X87 instruction decoded in 64-bit mode or not, to e. Implicit
 * integer operands (rAX, rDX, rCX of PCMPxSTRx, AX of FNSTSW, rDI of MASKMOV) and flags stay where the
 * processor has them. false: it cannot run with a plain address (VSIB).
 */
bool rename_insn(struct emit *e, const struct x86_insn *insn, bool long_mode, const struct rename *r);

/* Index in insn->operand of the memory operand or the integer register, or -1. */
int rename_mem_operand(const struct x86_insn *insn);
int rename_gpr_operand(const struct x86_insn *insn);

#endif
