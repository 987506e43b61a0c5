/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control and debug registers, MSRs, CPUID, time, TLB, port I/O and the other instructions of operating
 * systems. What changes the mode, the TLB or interruptibility returns X86_END.
 */
#include "x86/emulate/emulate.h"
#include "x86/cpuid.h"
#include "x86/fpu.h"

#define K7_COUNTERS 4u

static enum x86_result end_if_ok(enum x86_result r)
{
	return r == X86_OK ? X86_END : r;
}

static u64 edx_eax(const struct x86_cpu *cpu)
{
	return cpu->regs[X86_RDX] << 32 | (u32)cpu->regs[X86_RAX];
}

static void set_edx_eax(struct x86_cpu *cpu, u64 value)
{
	cpu->regs[X86_RAX] = (u32)value;
	cpu->regs[X86_RDX] = value >> 32;
}

/* ---- control registers ----------------------------------------------------------------------- */

static enum x86_result write_cr(struct x86_cpu *cpu, unsigned cr, u64 value)
{
	switch (cr) {
	case 0:
		return x86_set_cr0(cpu, value);
	case 2:
		cpu->cr2 = value;
		return X86_OK;
	case 3:
		return x86_set_cr3(cpu, value);
	case 4:
		return x86_set_cr4(cpu, value);
	case 8:
		return value > 15 ? x86_raise(cpu, X86_GP, 0) : cpu->env->set_cr8(cpu, value);
	default:
		return x86_raise(cpu, X86_UD, 0);
	}
}

enum x86_result x86_exec_mov_cr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size, source = insn->operand[1].reg;

	if (is_locked(insn) && !x86_has(cpu, X86_FEAT_CR8_LEGACY))
		return x86_raise(cpu, X86_UD, 0);
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	if (insn->operand[0].kind == X86_OPD_CR)
		return end_if_ok(write_cr(cpu, insn->operand[0].reg, reg_read(cpu, source, size)));
	reg_write(cpu, insn->operand[0].reg, x86_get_cr(cpu, source), size);
	return X86_OK;
}

enum x86_result x86_exec_clts(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	cpu->cr0 &= ~X86_CR0_TS;
	return X86_END;
}

/* PE can be set but not cleared. */
enum x86_result x86_exec_lmsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_operand_read(cpu, insn, 0, &value);
	if (unlikely(r))
		return r;
	return end_if_ok(x86_set_cr0(cpu, (cpu->cr0 & ~0xeull) | (value & 0xf)));
}

enum x86_result x86_exec_smsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->cpl && (cpu->cr4 & X86_CR4_UMIP))
		return x86_raise(cpu, X86_GP, 0);
	return x86_operand_write(cpu, insn, 0, x86_get_cr(cpu, 0));
}

enum x86_result x86_exec_xgetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 index = (u32)cpu->regs[X86_RCX], low, high;
	u64 in_use;

	(void)insn;
	if (!(cpu->cr4 & X86_CR4_OSXSAVE))
		return x86_raise(cpu, X86_UD, 0);
	if (index == 0) {
		set_edx_eax(cpu, cpu->xcr0);
		return X86_OK;
	}
	if (index != 1 || !x86_has(cpu, X86_FEAT_XGETBV1))
		return x86_raise(cpu, X86_GP, 0);
	x86_fpu_home(cpu);
	if (cpu->fpu_live) {
		asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
		in_use = (u64)high << 32 | low;
	} else {
		in_use = ((const struct x86_xsave *)cpu->xsave)->xstate_bv;
	}
	set_edx_eax(cpu, in_use & cpu->xcr0);
	return X86_OK;
}

enum x86_result x86_exec_xsetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!(cpu->cr4 & X86_CR4_OSXSAVE))
		return x86_raise(cpu, X86_UD, 0);
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	return end_if_ok(x86_set_xcr(cpu, (u32)cpu->regs[X86_RCX], edx_eax(cpu)));
}

/* ---- debug registers ------------------------------------------------------------------------- */

enum x86_result x86_exec_mov_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	enum x86_result r;
	u64 value;

	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	if (insn->operand[0].kind == X86_OPD_DR) {
		value = reg_read(cpu, insn->operand[1].reg, size);
		return end_if_ok(x86_mov_to_dr(cpu, insn->operand[0].reg, value));
	}
	r = x86_mov_from_dr(cpu, insn->operand[1].reg, &value);
	if (likely(!r))
		reg_write(cpu, insn->operand[0].reg, value, size);
	return r;
}

/* ---- MSRs, CPUID, counters ------------------------------------------------------------------- */

enum x86_result x86_exec_rdmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	(void)insn;
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	r = cpu->env->rdmsr(cpu, (u32)cpu->regs[X86_RCX], &value);
	if (likely(!r))
		set_edx_eax(cpu, value);
	return r;
}

enum x86_result x86_exec_wrmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	return end_if_ok(cpu->env->wrmsr(cpu, (u32)cpu->regs[X86_RCX], edx_eax(cpu)));
}

#define X86_MISC_FEATURES_CPUID_FAULT 1u

enum x86_result x86_exec_cpuid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 out[4];

	(void)insn;
	if (cpu->cpl && (cpu->msr.misc_features & X86_MISC_FEATURES_CPUID_FAULT))
		return x86_raise(cpu, X86_GP, 0);
	x86_cpuid(cpu, (u32)cpu->regs[X86_RAX], (u32)cpu->regs[X86_RCX], out);
	cpu->regs[X86_RAX] = out[0];
	cpu->regs[X86_RBX] = out[1];
	cpu->regs[X86_RCX] = out[2];
	cpu->regs[X86_RDX] = out[3];
	return X86_OK;
}

/* RDTSC, RDTSCP. */
enum x86_result x86_exec_rdtsc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->cpl && (cpu->cr4 & X86_CR4_TSD))
		return x86_raise(cpu, X86_GP, 0);
	set_edx_eax(cpu, cpu->env->tsc(cpu));
	if (insn->op == X86_OP_RDTSCP)
		cpu->regs[X86_RCX] = (u32)cpu->msr.tsc_aux;
	return X86_OK;
}

/*
 * There is nothing that counts. As with KVM on a host without counters, AMD's four of the K7 stand still at 0 (their MSRs drop
 * what is written), others are not there.
 */
enum x86_result x86_exec_rdpmc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u32 index = (u32)cpu->regs[X86_RCX] & 0x3fffffff;

	(void)insn;
	if (!cpu->vendor_amd || index >= K7_COUNTERS || (cpu->cpl && !(cpu->cr4 & X86_CR4_PCE)))
		return x86_raise(cpu, X86_GP, 0);
	set_edx_eax(cpu, 0);
	return X86_OK;
}

enum x86_result x86_exec_rdpid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->regs[insn->operand[0].reg] = (u32)cpu->msr.tsc_aux;
	return X86_OK;
}

enum x86_result x86_exec_rdpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!(cpu->cr4 & X86_CR4_PKE))
		return x86_raise(cpu, X86_UD, 0);
	if ((u32)cpu->regs[X86_RCX])
		return x86_raise(cpu, X86_GP, 0);
	set_edx_eax(cpu, cpu->pkru);
	return X86_OK;
}

/* The TLB holds rights with PKRU applied. */
enum x86_result x86_exec_wrpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!(cpu->cr4 & X86_CR4_PKE))
		return x86_raise(cpu, X86_UD, 0);
	if ((u32)cpu->regs[X86_RCX] || (u32)cpu->regs[X86_RDX])
		return x86_raise(cpu, X86_GP, 0);
	if (cpu->pkru == (u32)cpu->regs[X86_RAX])
		return X86_OK;
	cpu->pkru = (u32)cpu->regs[X86_RAX];
	cpu->mem->flush_all(cpu, false);
	return X86_END;
}

/* ---- TLB, caches ----------------------------------------------------------------------------- */

enum x86_result x86_exec_invlpg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 gva = cpu->seg_base[insn->seg] + x86_ea(cpu, insn);

	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	cpu->mem->flush_page(cpu, in_long_mode64(cpu) ? gva : (u32)gva);
	return X86_END;
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

static bool invpcid_valid(const struct x86_cpu *cpu, u64 type, u64 pcid, u64 address)
{
	unsigned shift = 64 - cpu->canonical_bits;

	if (type > INVPCID_ALL || pcid >> 12)
		return false;
	if (type <= INVPCID_CONTEXT && pcid && !(cpu->cr4 & X86_CR4_PCIDE))
		return false;
	return type != INVPCID_ADDRESS || (u64)((s64)(address << shift) >> shift) == address;
}

/* A TLB may forget more than it was asked to: of a PCID that is not current everything, not one page. */
enum x86_result x86_exec_invpcid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 type = reg_read(cpu, insn->operand[0].reg, insn->operand[0].size), descriptor[2], gva;
	enum x86_result r;

	if (cpu->mode == X86_MODE_V86 || cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), 16, X86_ACCESS_READ, &gva);
	if (likely(!r))
		r = x86_read_bytes(cpu, gva, descriptor, 16, X86_ACCESS_READ);
	if (unlikely(r))
		return r;
	if (!invpcid_valid(cpu, type, descriptor[0], descriptor[1]))
		return x86_raise(cpu, X86_GP, 0);
	if (type == INVPCID_ADDRESS && descriptor[0] == x86_pcid(cpu))
		cpu->mem->flush_page(cpu, descriptor[1]);
	else if (type <= INVPCID_CONTEXT)
		cpu->mem->flush_pcid(cpu, (unsigned)descriptor[0]);
	else
		cpu->mem->flush_all(cpu, type == INVPCID_ALL);
	return X86_END;
}

/* INVD, WBINVD, WBNOINVD: guest memory is coherent, INVD loses nothing (as in KVM). */
enum x86_result x86_exec_wbinvd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return cpu->cpl ? x86_raise(cpu, X86_GP, 0) : X86_OK;
}

/* ---- HLT, MONITOR, MWAIT, RSM, hypercalls ---------------------------------------------------- */

enum x86_result x86_exec_hlt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (cpu->cpl)
		return x86_raise(cpu, X86_GP, 0);
	cpu->activity = X86_HALTED;
	return X86_END;
}

/*
 * As in KVM, MONITOR and MWAIT do nothing, which the architecture allows (MWAIT may end at any time), and
 * are there whether or not CPUID offers them, unless that quirk is switched off.
 */
static bool mwait_missing(struct x86_cpu *cpu)
{
	u32 out[4];

	if (cpu->cpl)
		return true;
	if (likely(!(cpu->env->disabled_quirks(cpu) & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)))
		return false;
	x86_cpuid(cpu, 1, 0, out); /* the bit may follow IA32_MISC_ENABLE */
	return !(out[X86_CPUID_ECX] & BIT(3));
}

enum x86_result x86_exec_monitor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return mwait_missing(cpu) ? x86_raise(cpu, X86_UD, 0) : X86_OK;
}

enum x86_result x86_exec_mwait(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return mwait_missing(cpu) ? x86_raise(cpu, X86_UD, 0) : X86_END;
}

enum x86_result x86_exec_rsm(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return cpu->smm ? x86_rsm(cpu) : x86_raise(cpu, X86_UD, 0);
}

/*
 * Intel has VMCALL, AMD VMMCALL. KVM writes the right one over the other vendor's and runs that (as if the guest had
 * written it: the page may refuse), or gives #UD with that quirk switched off.
 */
static enum x86_result fix_hypercall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	static const u8 vmcall[3] = { 0x0f, 0x01, 0xc1 }, vmmcall[3] = { 0x0f, 0x01, 0xd9 };
	u64 gva = cpu->seg_base[X86_CS] + x86_rip(cpu) + insn->next - sizeof(vmcall);
	enum x86_result r;

	if (cpu->env->disabled_quirks(cpu) & KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
		return x86_raise(cpu, X86_UD, 0);
	r = x86_write_bytes(cpu, gva, cpu->vendor_amd ? vmmcall : vmcall, sizeof(vmcall), X86_ACCESS_WRITE);
	return r ? r : X86_REPEAT;
}

enum x86_result x86_exec_hypercall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (unlikely((insn->op == X86_OP_VMMCALL) != cpu->vendor_amd))
		return fix_hypercall(cpu, insn);
	return end_if_ok(cpu->env->hypercall(cpu));
}

/* ---- port I/O -------------------------------------------------------------------------------- */

/* An I/O breakpoint is a trap behind the instruction. */
void x86_io_breakpoint(struct x86_cpu *cpu, u16 port, unsigned size)
{
	u64 dr6 = x86_debug_io(cpu, port, size);

	if (likely(!dr6))
		return;
	cpu->pending_dr6 |= dr6;
	atomic_or(&cpu->stop, X86_STOP_EVENT);
}

static u16 port_operand(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n)
{
	return insn->operand[n].kind == X86_OPD_IMM ? (u8)insn->imm : (u16)cpu->regs[X86_RDX];
}

enum x86_result x86_exec_in(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u16 port = port_operand(cpu, insn, 1);
	unsigned count = 1, size = insn->osize;
	enum x86_result r;
	u32 data = 0;

	r = x86_check_io(cpu, port, size);
	if (likely(!r))
		r = cpu->env->pio_in(cpu, port, size, &data, &count);
	if (unlikely(r))
		return r;
	reg_write(cpu, X86_RAX, data, size);
	x86_io_breakpoint(cpu, port, size);
	return X86_OK;
}

enum x86_result x86_exec_out(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u16 port = port_operand(cpu, insn, 0);
	unsigned count = 1, size = insn->osize;
	u32 data = (u32)cpu->regs[X86_RAX];
	enum x86_result r;

	r = x86_check_io(cpu, port, size);
	if (likely(!r))
		r = cpu->env->pio_out(cpu, port, size, &data, &count);
	if (likely(!r))
		x86_io_breakpoint(cpu, port, size);
	return r;
}
