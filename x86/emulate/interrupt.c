/* SPDX-License-Identifier: GPL-2.0-only */
/* INT n, INT1, INT3, INTO, IRET, with the rules of V86 mode (SDM vol. 3 section 20.3.3). */
#include "x86/emulate/emulate.h"

/* x86_deliver() takes the present RIP for a fault of the delivery; everybody else wants the block's. */
static enum x86_result deliver(struct x86_cpu *cpu, const struct x86_insn *insn, enum x86_event_kind kind, u8 vector)
{
	struct x86_event event = { .kind = kind, .e.vector = vector, .return_rip = next_rip(cpu, insn) };
	u64 block = cpu->regs[X86_REG_RIP];
	enum x86_result r;

	cpu->regs[X86_REG_RIP] = this_rip(cpu, insn);
	r = x86_deliver(cpu, &event);
	if (r != X86_BRANCH)
		cpu->regs[X86_REG_RIP] = block;
	return r;
}

/* ---- INT n in V86 mode -------------------------------------------------------------------------------- */

/* The bit of vector in the TSS's redirection bitmap: 32 bytes below the I/O bitmap. */
static enum x86_result redirection_bit(struct x86_cpu *cpu, u8 vector, bool *set)
{
	const struct x86_seg *tr = &cpu->seg[X86_TR];
	enum x86_result r;
	u16 io_base;
	u8 byte;

	if (tr->limit < 103)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_bytes(cpu, tr->base + 102, &io_base, 2, X86_ACCESS_SYSTEM);
	if (unlikely(r))
		return r;
	if (io_base < 32 || (u32)io_base - 32 + vector / 8 > tr->limit)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_read_bytes(cpu, tr->base + io_base - 32 + vector / 8, &byte, 1, X86_ACCESS_SYSTEM);
	*set = byte >> (vector % 8) & 1;
	return r;
}

/* Through the V86 task's own interrupt table at linear address 0, as in real mode. */
static enum x86_result redirect(struct x86_cpu *cpu, const struct x86_insn *insn, u8 vector)
{
	bool privileged = (cpu->rflags & X86_IOPL) != X86_IOPL;
	u64 flags = x86_get_rflags(cpu), rsp = cpu->regs[X86_RSP], ip, cs;
	enum x86_result r;

	if (privileged)
		flags = (flags & ~(u64)X86_IF) | X86_IOPL | (flags & X86_VIF ? X86_IF : 0);
	r = x86_read_linear(cpu, 4 * vector, 2, &ip);
	if (likely(!r))
		r = x86_read_linear(cpu, 4 * vector + 2, 2, &cs);
	if (likely(!r))
		r = x86_probe_stack(cpu, rsp, 2, 3);
	if (likely(!r))
		r = x86_push(cpu, &rsp, flags, 2, 0);
	if (likely(!r))
		r = x86_push(cpu, &rsp, cpu->seg[X86_CS].selector, 2, 0);
	if (likely(!r))
		r = x86_push(cpu, &rsp, next_rip(cpu, insn), 2, 0);
	if (unlikely(r))
		return r;
	cpu->regs[X86_RSP] = rsp;
	cpu->rflags &= ~(X86_TF | X86_NT | (privileged ? X86_VIF : X86_IF));
	x86_load_sreg_real(cpu, X86_CS, (u16)cs);
	cpu->regs[X86_REG_RIP] = ip;
	return X86_BRANCH;
}

static enum x86_result int_v86(struct x86_cpu *cpu, const struct x86_insn *insn, u8 vector)
{
	enum x86_result r;
	bool set = true;

	if (cpu->cr4 & X86_CR4_VME) {
		r = redirection_bit(cpu, vector, &set);
		if (unlikely(r))
			return r;
	}
	if (!set)
		return redirect(cpu, insn, vector);
	if ((cpu->rflags & X86_IOPL) != X86_IOPL)
		return x86_raise(cpu, X86_GP, 0);
	return deliver(cpu, insn, X86_EVENT_SOFT, vector);
}

enum x86_result x86_exec_int(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u8 vector = (u8)insn->imm;

	if (cpu->mode == X86_MODE_V86)
		return int_v86(cpu, insn, vector);
	return deliver(cpu, insn, X86_EVENT_SOFT, vector);
}

/* ---- the one-byte forms: no IOPL check, no redirection ------------------------------------------------- */

enum x86_result x86_exec_int1(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return deliver(cpu, insn, X86_EVENT_ICEBP, X86_DB);
}

/* A debugger of the VMM that asked for software breakpoints gets them as a fault: RIP stays on the INT3. */
enum x86_result x86_exec_int3(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (unlikely(cpu->guest_debug & KVM_GUESTDBG_USE_SW_BP))
		return x86_raise(cpu, X86_BP, 0);
	return deliver(cpu, insn, X86_EVENT_SOFT, X86_BP);
}

enum x86_result x86_exec_into(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->cc & X86_OF ? deliver(cpu, insn, X86_EVENT_SOFT, X86_OF_VECTOR) : X86_OK;
}

enum x86_result x86_exec_iret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_iret(cpu, insn->osize, next_rip(cpu, insn));
}
