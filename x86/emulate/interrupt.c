/* SPDX-License-Identifier: GPL-2.0-only */
/* INT n, INT1, INT3, INTO, IRET. What V86 mode makes of INT n (IOPL, VME) is x86_deliver()'s. */
#include "x86/emulate/emulate.h"

/* x86_deliver() takes the present RIP for a fault of the delivery; everybody else wants the block's. */
static enum x86_result deliver(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_event event)
{
	u64 block = cpu->regs[X86_REG_RIP];
	enum x86_result r;

	event.return_rip = next_rip(cpu, insn);
	cpu->regs[X86_REG_RIP] = this_rip(cpu, insn);
	r = x86_deliver(cpu, &event);
	if (r != X86_BRANCH)
		cpu->regs[X86_REG_RIP] = block;
	return r;
}

static enum x86_result soft(struct x86_cpu *cpu, const struct x86_insn *insn, u8 vector, bool no_redirect)
{
	struct x86_event event = { .kind = X86_EVENT_SOFT, .e.vector = vector, .no_redirect = no_redirect };

	return deliver(cpu, insn, event);
}

enum x86_result x86_exec_int(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return soft(cpu, insn, (u8)insn->imm, false);
}

enum x86_result x86_exec_int1(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return deliver(cpu, insn, (struct x86_event) { .kind = X86_EVENT_ICEBP, .e.vector = X86_DB });
}

enum x86_result x86_exec_int3(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return soft(cpu, insn, X86_BP, true);
}

enum x86_result x86_exec_into(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->cc & X86_OF ? soft(cpu, insn, X86_OF_VECTOR, true) : X86_OK;
}

enum x86_result x86_exec_iret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_iret(cpu, insn->osize, next_rip(cpu, insn));
}
