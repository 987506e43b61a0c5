/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One instruction at a time, for whatever attaches to instruction boundaries: the trap flag, interrupt shadows, RF,
 * instruction breakpoints, guest debugging by the VMM. (SDM vol. 3, 6.9 and 17.3; APM vol. 2, 13.1.)
 */
#include "engine/soft/soft.h"
#include "x86/system.h"

#define DR6_BS BIT64(14)

static bool debugger_steps(const struct x86_cpu *cpu)
{
	return cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP;
}

enum x86_result soft_exec_int3(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!(cpu->guest_debug & KVM_GUESTDBG_USE_SW_BP))
		return ((x86_exec_fn *)insn->native)(cpu, insn);
	cpu->fault = (struct x86_exception){ .vector = X86_BP };
	soft_of(cpu)->debug_exit = true;
	return X86_EXIT;
}

/* An instruction breakpoint at RIP, unless RF says that it has been reported: #DB, a fault. */
static bool breakpoint(struct x86_cpu *cpu)
{
	u64 hit;

	if (cpu->rflags & X86_RF)
		return false;
	hit = x86_debug_fetch(cpu, cpu->seg_base[X86_CS] + x86_rip(cpu));
	if (!hit)
		return false;
	x86_raise_db(cpu, hit);
	return true;
}

/* The instruction is over: single-step traps, and those that it provoked itself. */
static enum soft_next trap(struct vcpu *vcpu, bool stepped, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	u64 dr6 = cpu->pending_dr6 | (stepped ? DR6_BS : 0);

	if (!dr6 || (cpu->shadow & KVM_X86_SHADOW_INT_MOV_SS))
		return SOFT_ON;
	cpu->pending_dr6 = 0;
	return soft_deliver_trap(vcpu, dr6, exit);
}

/*
 * What TF says of an instruction is what it was before, with two exceptions: delivering INT n clears TF and no trap
 * follows (SDM section 17.3.1.4), and SYSCALL and SYSRET trap by the TF that they load.
 */
static bool traps(const struct x86_cpu *cpu, const struct x86_insn *insn, enum x86_result r, bool stepped)
{
	switch (insn->op) {
	case X86_OP_INT:
	case X86_OP_INT1:
	case X86_OP_INT3:
	case X86_OP_INTO:
		return stepped && (r != X86_BRANCH || debugger_steps(cpu));
	case X86_OP_SYSCALL:
	case X86_OP_SYSRET:
		return (cpu->rflags & X86_TF) || debugger_steps(cpu);
	default:
		return stepped;
	}
}

/*
 * Tries again when the code changed while it was decoded: the caller may be completing an instruction that userspace has
 * answered, and what does not run now asks again. Not for ever: there may be no memory for the page's record.
 */
static struct block *lookup(struct vcpu *vcpu, enum block_miss *miss)
{
	struct block *b;
	unsigned tries = 0;

	do
		b = block_lookup(vcpu, miss);
	while (unlikely(!b && !*miss) && ++tries < 100);
	return b;
}

enum soft_next soft_step(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	bool stepped = (cpu->rflags & X86_TF) || debugger_steps(cpu);
	u32 rf = cpu->rflags & X86_RF;
	u8 shadow = cpu->shadow;
	enum block_miss miss;
	enum soft_next next;
	enum x86_result r;
	struct block *b;

	soft->stat->steps++;
	if (breakpoint(cpu))
		return soft_deliver_fault(vcpu, exit);
	b = lookup(vcpu, &miss);
	if (!b) {
		if (miss == BLOCK_FAULT)
			return soft_deliver_fault(vcpu, exit);
		if (miss != BLOCK_NOT_MEMORY)
			return SOFT_ON;
		*exit = ENGINE_EXIT_EMULATION;
		return SOFT_LEAVE;
	}
	cpu->rflags &= ~X86_RF;
	cpu->shadow = 0;
	soft->insn = b->insn;
	r = b->insn[0].exec(cpu, b->insn);
	if (r == X86_EXIT || r == X86_FAULT)
		cpu->rflags |= rf;
	if (r == X86_EXIT)
		cpu->shadow = shadow;
	if (r == X86_END && cpu->activity == X86_HALTED && stepped)
		cpu->activity = X86_ACTIVE; /* the trap comes before the halt takes effect, and ends it */
	next = soft_retire(vcpu, b->insn, r, exit);
	if (next == SOFT_LEAVE || r == X86_FAULT)
		return next;
	return trap(vcpu, traps(cpu, b->insn, r, stepped), exit);
}
