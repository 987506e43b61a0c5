/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions on RFLAGS, with IOPL, VME and PVI (SDM vol. 2, PUSHF, POPF, CLI, STI; vol. 3 section 20.3). */
#include "x86/emulate/emulate.h"

/* ---- status flags and DF --------------------------------------------------------------------- */

enum x86_result x86_exec_lahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 ah = (cpu->cc & 0xff) | X86_FLAGS_FIXED;

	(void)insn;
	cpu->regs[X86_RAX] = (cpu->regs[X86_RAX] & ~0xff00ull) | ah << 8;
	return X86_OK;
}

enum x86_result x86_exec_sahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cc_update(cpu, X86_SF | X86_ZF | X86_AF | X86_PF | X86_CF, (u32)cpu->regs[X86_RAX] >> 8);
	return X86_OK;
}

enum x86_result x86_exec_carry(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_CMC)
		cpu->cc ^= X86_CF;
	else
		cc_update(cpu, X86_CF, insn->op == X86_OP_STC ? X86_CF : 0);
	return X86_OK;
}

enum x86_result x86_exec_cld(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->rflags &= ~X86_DF;
	return X86_OK;
}

enum x86_result x86_exec_std(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->rflags |= X86_DF;
	return X86_OK;
}

enum x86_result x86_exec_salc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	reg_write(cpu, X86_RAX, cpu->cc & X86_CF ? 0xff : 0, 1);
	return X86_OK;
}

/* ---- PUSHF, POPF ----------------------------------------------------------------------------- */

static unsigned iopl(const struct x86_cpu *cpu)
{
	return cpu->rflags >> X86_IOPL_SHIFT & 3;
}

static bool v86_restricted(const struct x86_cpu *cpu)
{
	return cpu->mode == X86_MODE_V86 && iopl(cpu) < 3;
}

enum x86_result x86_exec_pushf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 flags = x86_get_rflags(cpu) & ~(u64)(X86_VM | X86_RF), rsp = cpu->regs[X86_RSP];
	enum x86_result r;

	if (unlikely(v86_restricted(cpu))) {
		if (!(cpu->cr4 & X86_CR4_VME) || insn->osize != 2)
			return x86_raise(cpu, X86_GP, 0);
		flags = (flags & ~(u64)X86_IF) | X86_IOPL | (flags & X86_VIF ? X86_IF : 0);
	}
	r = x86_push(cpu, &rsp, flags, insn->osize, 0);
	if (likely(!r))
		cpu->regs[X86_RSP] = rsp;
	return r;
}

/* Takes over the bits of mask; RF is cleared by every POPF. */
static enum x86_result set_flags(struct x86_cpu *cpu, u32 value, u32 mask, unsigned osize)
{
	u32 old = (u32)x86_get_rflags(cpu), changed;

	if (osize == 2)
		mask &= 0xffff;
	value = ((old & ~mask) | (value & mask)) & ~X86_RF;
	changed = old ^ value;
	x86_set_rflags(cpu, value);
	if (unlikely(changed & X86_AC))
		x86_mode_update(cpu);
	return changed & (X86_IF | X86_TF | X86_AC | X86_RF | X86_VIF) ? X86_END : X86_OK;
}

#define POPF_ALWAYS (X86_FLAGS_STATUS | X86_TF | X86_DF | X86_NT | X86_AC | X86_ID)

/* V86 mode with VME and IOPL below 3: IF of the image goes to VIF. */
static enum x86_result popf_vme(struct x86_cpu *cpu, u32 value)
{
	if ((value & X86_TF) || ((value & X86_IF) && (cpu->rflags & X86_VIP)))
		return x86_raise(cpu, X86_GP, 0);
	cpu->rflags = (cpu->rflags & ~X86_VIF) | (value & X86_IF ? X86_VIF : 0);
	set_flags(cpu, value, POPF_ALWAYS, 2);
	return X86_END;
}

enum x86_result x86_exec_popf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 rsp = cpu->regs[X86_RSP], value;
	u32 mask = POPF_ALWAYS;
	enum x86_result r;
	bool vme = false;

	if (unlikely(v86_restricted(cpu))) {
		if (!(cpu->cr4 & X86_CR4_VME) || insn->osize != 2)
			return x86_raise(cpu, X86_GP, 0);
		vme = true;
	}
	r = x86_pop(cpu, &rsp, &value, insn->osize, 0);
	if (unlikely(r))
		return r;
	if (cpu->cpl == 0)
		mask |= X86_IOPL;
	if (cpu->cpl <= iopl(cpu))
		mask |= X86_IF;
	r = vme ? popf_vme(cpu, (u32)value) : set_flags(cpu, (u32)value, mask, insn->osize);
	if (likely(r != X86_FAULT))
		cpu->regs[X86_RSP] = rsp;
	return r;
}

/* ---- CLI, STI -------------------------------------------------------------------------------- */

/* Which flag CLI and STI mean here: IF, VIF, or 0 for #GP. */
static u32 interrupt_flag(const struct x86_cpu *cpu)
{
	if (cpu->mode == X86_MODE_REAL || cpu->cpl <= iopl(cpu))
		return X86_IF;
	if (cpu->mode == X86_MODE_V86)
		return cpu->cr4 & X86_CR4_VME ? X86_VIF : 0;
	return cpu->cpl == 3 && (cpu->cr4 & X86_CR4_PVI) ? X86_VIF : 0;
}

enum x86_result x86_exec_cli(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 flag = interrupt_flag(cpu);

	(void)insn;
	if (unlikely(!flag))
		return x86_raise(cpu, X86_GP, 0);
	cpu->rflags &= ~flag;
	return X86_OK;
}

enum x86_result x86_exec_sti(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 flag = interrupt_flag(cpu);

	(void)insn;
	if (unlikely(!flag || (flag == X86_VIF && (cpu->rflags & X86_VIP))))
		return x86_raise(cpu, X86_GP, 0);
	if (cpu->rflags & flag)
		return X86_OK;
	cpu->rflags |= flag;
	if (flag == X86_IF)
		cpu->shadow |= KVM_X86_SHADOW_INT_STI;
	return X86_END;
}

/* ---- STAC, CLAC ------------------------------------------------------------------------------ */

static enum x86_result set_ac(struct x86_cpu *cpu, u32 ac)
{
	if (unlikely(cpu->cpl))
		return x86_raise(cpu, X86_UD, 0);
	if ((cpu->rflags & X86_AC) == ac)
		return X86_OK;
	cpu->rflags ^= X86_AC;
	x86_mode_update(cpu);
	return X86_OK; /* another data TLB, which handlers look up each time; code does not depend on AC */
}

enum x86_result x86_exec_stac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return set_ac(cpu, X86_AC);
}

enum x86_result x86_exec_clac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return set_ac(cpu, 0);
}
