/* SPDX-License-Identifier: GPL-2.0-only */
/* What string.c and string_io.c share: the loop over iterations, and runs of elements within one page. */
#ifndef ANYKVM_X86_STRING_H
#define ANYKVM_X86_STRING_H

#include "x86/emulate/emulate.h"

/* One element: memory, then rSI and rDI. rCX is the loop's. */
typedef enum x86_result x86_string_one(struct x86_cpu *cpu, const struct x86_insn *insn);
/*
 * As many elements at once as direction and pages allow, at most max; *done says how many, 0 when it must be
 * one(). Only with DF clear, but for INS.
 */
typedef enum x86_result x86_string_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done);

/*
 * Executes the instruction with whatever repeat prefix it has. by_zf: REPE and REPNE look at ZF (CMPS,
 * SCAS). run may be NULL. Between pieces of work cpu->stop is looked at; single-stepping stops after each
 * element.
 */
enum x86_result x86_string(struct x86_cpu *cpu, const struct x86_insn *insn, bool by_zf, x86_string_one *one,
			   x86_string_run *run);

/*
 * Host memory for up to *n elements from seg:ea upwards, within a page and the segment; *n is reduced. NULL
 * where there is none or an element would fault, which one() then finds out in the right order.
 */
void *x86_string_pin(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned seg, u64 ea,
		     unsigned access, u64 *n);

static always_inline u64 string_ea(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	return reg_read(cpu, reg, insn->asize);
}

/* Moves rSI or rDI past n elements in the direction that DF gives. */
static always_inline void string_step(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, u64 n)
{
	u64 bytes = n * insn->osize;

	if (cpu->rflags & X86_DF)
		bytes = -bytes;
	areg_write(cpu, insn, reg, cpu->regs[reg] + bytes);
}

#endif
