/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT. AMD and Intel differ in the modes where they work and in the checks of
 * SYSRET; the guest sees those of its CPUID vendor (AMD APM vol. 3, SDM vol. 2).
 */
#include "x86/emulate/emulate.h"

static struct x86_seg flat_code(u16 selector, u8 dpl, bool l)
{
	return (struct x86_seg) {
		.limit = 0xffffffff, .selector = selector, .type = 11, .dpl = dpl,
		.s = true, .present = true, .l = l, .db = !l, .g = true,
	};
}

static struct x86_seg flat_stack(u16 selector, u8 dpl)
{
	return (struct x86_seg) {
		.limit = 0xffffffff, .selector = selector, .type = 3, .dpl = dpl,
		.s = true, .present = true, .db = true, .g = true,
	};
}

static bool canonical(const struct x86_cpu *cpu, u64 address)
{
	unsigned shift = 64 - cpu->canonical_bits;

	return (u64)((s64)(address << shift) >> shift) == address;
}

/* ---- SYSCALL, SYSRET ------------------------------------------------------------------------- */

static bool syscall_works(const struct x86_cpu *cpu)
{
	if (!(cpu->efer & X86_EFER_SCE) || !in_protected_mode(cpu))
		return false;
	return cpu->vendor_amd || in_long_mode64(cpu);
}

enum x86_result x86_exec_syscall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 flags = x86_get_rflags(cpu), back = next_rip(cpu, insn), star = cpu->msr.star;
	bool lma = x86_long_mode(cpu);
	u64 target;

	if (unlikely(!syscall_works(cpu)))
		return x86_raise(cpu, X86_UD, 0);
	cpu->regs[X86_RCX] = back;
	if (lma) {
		cpu->regs[X86_R11] = flags & ~(u64)X86_RF;
		target = in_long_mode64(cpu) ? cpu->msr.lstar : cpu->msr.cstar;
		flags &= ~(cpu->msr.sfmask | X86_RF);
	} else {
		target = (u32)star;
		flags &= ~(u64)(X86_VM | X86_IF | X86_RF);
	}
	x86_set_rflags(cpu, flags);
	cpu->seg[X86_CS] = flat_code(star >> 32 & 0xfffc, 0, lma);
	cpu->seg[X86_SS] = flat_stack((u16)((star >> 32 & 0xfffc) + 8), 0);
	x86_mode_update(cpu);
	cpu->regs[X86_REG_RIP] = target;
	return X86_BRANCH;
}

/* AMD processors load SS's selector alone and leave base, limit and attributes (APM vol. 3, SYSRET). */
static void sysret_stack(struct x86_cpu *cpu, u16 selector)
{
	if (!cpu->vendor_amd) {
		cpu->seg[X86_SS] = flat_stack(selector, 3);
		return;
	}
	cpu->seg[X86_SS].selector = selector;
	cpu->seg[X86_SS].dpl = 3; /* CPL, in the model of x86_mode_update() */
}

enum x86_result x86_exec_sysret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u16 base = (u16)(cpu->msr.star >> 48);
	bool wide = insn->osize == 8;
	u64 target = cpu->regs[X86_RCX], flags;

	if (unlikely(!syscall_works(cpu)))
		return x86_raise(cpu, X86_UD, 0);
	if (unlikely(cpu->cpl || (wide && !cpu->vendor_amd && !canonical(cpu, target))))
		return x86_raise(cpu, X86_GP, 0);
	if (x86_long_mode(cpu))
		flags = (cpu->regs[X86_R11] & 0x3c7fd7) | X86_FLAGS_FIXED; /* without RF and VM */
	else
		flags = x86_get_rflags(cpu) | X86_IF;
	x86_set_rflags(cpu, flags);
	cpu->seg[X86_CS] = flat_code((u16)(base + (wide ? 16 : 0)) | 3, 3, wide);
	sysret_stack(cpu, (u16)(base + 8) | 3);
	x86_mode_update(cpu);
	cpu->regs[X86_REG_RIP] = wide ? target : (u32)target;
	return X86_BRANCH;
}

/* ---- SYSENTER, SYSEXIT ----------------------------------------------------------------------- */

enum x86_result x86_exec_sysenter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u16 selector = cpu->msr.sysenter_cs & 0xfffc;
	bool lma = x86_long_mode(cpu);

	(void)insn;
	if (unlikely(lma && cpu->vendor_amd))
		return x86_raise(cpu, X86_UD, 0);
	if (unlikely(cpu->mode == X86_MODE_REAL || !selector))
		return x86_raise(cpu, X86_GP, 0);
	cpu->rflags &= ~(X86_VM | X86_IF | X86_RF);
	cpu->seg[X86_CS] = flat_code(selector, 0, lma);
	cpu->seg[X86_SS] = flat_stack(selector + 8, 0);
	x86_mode_update(cpu);
	cpu->regs[X86_RSP] = lma ? cpu->msr.sysenter_esp : (u32)cpu->msr.sysenter_esp;
	cpu->regs[X86_REG_RIP] = lma ? cpu->msr.sysenter_eip : (u32)cpu->msr.sysenter_eip;
	return X86_BRANCH;
}

/*
 * AMD's manual has #UD for long mode and #GP for CPL 3, without an order (APM vol. 3, SYSEXIT). A Zen 3 gives
 * #GP at CPL 3 in long mode, and so does KVM's emulator, where privilege comes before em_sysexit().
 */
enum x86_result x86_exec_sysexit(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 target = cpu->regs[X86_RDX], rsp = cpu->regs[X86_RCX];
	u16 selector = cpu->msr.sysenter_cs & 0xfffc;
	bool wide = insn->osize == 8;

	if (unlikely(cpu->cpl))
		return x86_raise(cpu, X86_GP, 0);
	if (unlikely(x86_long_mode(cpu) && cpu->vendor_amd))
		return x86_raise(cpu, X86_UD, 0);
	if (unlikely(cpu->mode == X86_MODE_REAL || !selector))
		return x86_raise(cpu, X86_GP, 0);
	if (unlikely(wide && !(canonical(cpu, target) && canonical(cpu, rsp))))
		return x86_raise(cpu, X86_GP, 0);
	cpu->seg[X86_CS] = flat_code((u16)(selector + (wide ? 32 : 16)) | 3, 3, wide);
	cpu->seg[X86_SS] = flat_stack((u16)(selector + (wide ? 40 : 24)) | 3, 3);
	x86_mode_update(cpu);
	cpu->regs[X86_RSP] = wide ? rsp : (u32)rsp;
	cpu->regs[X86_REG_RIP] = wide ? target : (u32)target;
	return X86_BRANCH;
}
