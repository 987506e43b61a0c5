/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control registers, EFER and XCR0: what may be written, and what follows from a write (SDM vol. 3
 * section 2.5 and 4.10.4 for the TLB; AMD APM vol. 2 chapter 3). Where KVM lets less or more pass than
 * the manuals, KVM is followed.
 *
 * The engine's TLB holds the rights of an access, not of a page, so every change of a bit that rights
 * depend on flushes it, also where hardware would look at the bit again by itself (CR0.WP, CR4.SMAP).
 */
#include "x86/cpuid.h"
#include "x86/segment.h"
#include "x86/paging.h"

#define CR0_VALID (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
		   X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR0_PDPTR_BITS (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)
#define CR4_PDPTR_BITS (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP)
#define CR4_TLB_BITS (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | \
		      X86_CR4_LA57)
#define CR3_PCID 0xfffull
#define CR3_NOFLUSH BIT64(63)

#define XCR0_FP BIT64(0)
#define XCR0_SSE BIT64(1)
#define XCR0_YMM BIT64(2)
#define XCR0_BND (BIT64(3) | BIT64(4))
#define XCR0_AVX512 (BIT64(5) | BIT64(6) | BIT64(7))
#define XCR0_TILE (BIT64(17) | BIT64(18))

static enum x86_result gp(struct x86_cpu *cpu)
{
	return x86_raise(cpu, X86_GP, 0);
}

/* ---- CR0 ------------------------------------------------------------------------------------- */

static bool cr0_consistent(const struct x86_cpu *cpu, u64 value)
{
	if (value >> 32)
		return false;
	if ((value & X86_CR0_NW) && !(value & X86_CR0_CD))
		return false;
	if ((value & X86_CR0_PG) && !(value & X86_CR0_PE))
		return false;
	if (!(value & X86_CR0_PG))
		return cpu->mode != X86_MODE_LONG && !(cpu->cr4 & X86_CR4_PCIDE);
	if ((cpu->efer & X86_EFER_LME) && !(cpu->cr0 & X86_CR0_PG))
		return (cpu->cr4 & X86_CR4_PAE) && !cpu->seg[X86_CS].l;
	return true;
}

enum x86_result x86_set_cr0(struct x86_cpu *cpu, u64 value)
{
	u64 changed;

	if (!cr0_consistent(cpu, value))
		return gp(cpu);
	value = (value | X86_CR0_ET) & CR0_VALID;
	changed = value ^ cpu->cr0;
	if ((value & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !(cpu->efer & X86_EFER_LME) &&
	    (changed & CR0_PDPTR_BITS) && x86_load_pdptrs(cpu, cpu->cr3))
		return X86_FAULT;
	cpu->cr0 = value;
	if (cpu->efer & X86_EFER_LME) {
		cpu->efer &= ~X86_EFER_LMA;
		if (value & X86_CR0_PG)
			cpu->efer |= X86_EFER_LMA;
	}
	if (changed & (X86_CR0_PG | X86_CR0_WP))
		cpu->mem->flush_all(cpu, false);
	x86_mode_update(cpu);
	return X86_OK;
}

/* ---- CR3 ------------------------------------------------------------------------------------- */

enum x86_result x86_set_cr3(struct x86_cpu *cpu, u64 value)
{
	bool keep = false;

	if (cpu->cr4 & X86_CR4_PCIDE) {
		keep = value & CR3_NOFLUSH;
		value &= ~CR3_NOFLUSH;
	}
	if (value & (cpu->phys_reserved | ~0x000fffffffffffffull))
		return gp(cpu);
	if ((cpu->cr0 & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !x86_long_mode(cpu) &&
	    x86_load_pdptrs(cpu, value))
		return X86_FAULT;
	cpu->cr3 = value;
	cpu->mem->switch_space(cpu, keep);
	return X86_OK;
}

/* ---- CR4 ------------------------------------------------------------------------------------- */

static bool cr4_consistent(const struct x86_cpu *cpu, u64 value)
{
	u64 set = value & ~cpu->cr4, changed = value ^ cpu->cr4;

	if ((value >> 32) || (value & cpu->cr4_reserved))
		return false;
	if (x86_long_mode(cpu) && (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
		return false;
	if (set & X86_CR4_PCIDE)
		return x86_long_mode(cpu) && !(cpu->cr3 & CR3_PCID);
	return true;
}

enum x86_result x86_set_cr4(struct x86_cpu *cpu, u64 value)
{
	u64 changed = value ^ cpu->cr4;
	u64 old = cpu->cr4;

	if (!cr4_consistent(cpu, value))
		return gp(cpu);
	if (!x86_long_mode(cpu) && (cpu->cr0 & X86_CR0_PG) && (value & X86_CR4_PAE) &&
	    (changed & CR4_PDPTR_BITS) && x86_load_pdptrs(cpu, cpu->cr3))
		return X86_FAULT;
	cpu->cr4 = value;
	if ((changed & CR4_TLB_BITS) || (old & ~value & X86_CR4_PCIDE))
		cpu->mem->flush_all(cpu, false);
	if (changed & (X86_CR4_OSXSAVE | X86_CR4_PKE))
		cpu->env->cpuid_changed(cpu);
	x86_mode_update(cpu);
	return X86_OK;
}

/* ---- EFER, XCR0 ------------------------------------------------------------------------------ */

static u64 efer_valid(const struct x86_cpu *cpu)
{
	u64 valid = X86_EFER_SCE;

	if (x86_has(cpu, X86_FEAT_LM))
		valid |= X86_EFER_LME | X86_EFER_LMA;
	if (x86_has(cpu, X86_FEAT_NX))
		valid |= X86_EFER_NXE;
	if (x86_has(cpu, X86_FEAT_FXSR_OPT))
		valid |= X86_EFER_FFXSR;
	return valid;
}

/* LMA is the processor's: what is written to it does not matter, as in KVM. */
enum x86_result x86_set_efer(struct x86_cpu *cpu, u64 value)
{
	u64 changed = value ^ cpu->efer;

	if (value & ~efer_valid(cpu))
		return gp(cpu);
	if ((cpu->cr0 & X86_CR0_PG) && (changed & X86_EFER_LME))
		return gp(cpu);
	x86_set_efer_host(cpu, value);
	return X86_OK;
}

void x86_set_efer_host(struct x86_cpu *cpu, u64 value)
{
	u64 changed = value ^ cpu->efer;

	cpu->efer = (value & ~X86_EFER_LMA) | (cpu->efer & X86_EFER_LMA);
	if (changed & X86_EFER_NXE)
		cpu->mem->flush_all(cpu, false);
	x86_mode_update(cpu);
}

/* Which combinations XSETBV takes (SDM vol. 1 section 13.3). */
static bool xcr0_valid(const struct x86_cpu *cpu, u64 value)
{
	u64 bnd = value & XCR0_BND, avx512 = value & XCR0_AVX512, tile = value & XCR0_TILE;

	if (!(value & XCR0_FP) || (value & ~(cpu->xcr0_supported | XCR0_FP)))
		return false;
	if ((value & XCR0_YMM) && !(value & XCR0_SSE))
		return false;
	if (avx512 && (avx512 != XCR0_AVX512 || !(value & XCR0_YMM)))
		return false;
	return (!bnd || bnd == XCR0_BND) && (!tile || tile == XCR0_TILE);
}

enum x86_result x86_set_xcr(struct x86_cpu *cpu, u32 index, u64 value)
{
	if (index != 0 || !xcr0_valid(cpu, value))
		return gp(cpu);
	cpu->xcr0 = value;
	cpu->env->cpuid_changed(cpu);
	return X86_OK;
}

u64 x86_get_cr(struct x86_cpu *cpu, unsigned cr)
{
	switch (cr) {
	case 0:
		return cpu->cr0;
	case 2:
		return cpu->cr2;
	case 3:
		return cpu->cr3;
	case 4:
		return cpu->cr4;
	case 8:
		return cpu->env->get_cr8(cpu);
	default:
		return 0;
	}
}

/* ---- reset ----------------------------------------------------------------------------------- */

static void reset_segments(struct x86_cpu *cpu)
{
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		cpu->seg[i] = (struct x86_seg) { .limit = 0xffff, .type = 3, .s = true, .present = true };
	cpu->seg[X86_CS].selector = 0xf000;
	cpu->seg[X86_CS].base = 0xffff0000;
	cpu->seg[X86_CS].type = 11;
	cpu->seg[X86_LDTR] = (struct x86_seg) { .limit = 0xffff, .type = X86_DESC_LDT, .present = true };
	cpu->seg[X86_TR] = (struct x86_seg) { .limit = 0xffff, .type = X86_DESC_TSS_BUSY, .present = true };
	cpu->gdt = (struct x86_dtr) { .limit = 0xffff };
	cpu->idt = (struct x86_dtr) { .limit = 0xffff };
}

/* What INIT leaves alone: MSRs, MTRRs, XCR0, PKRU, SMBASE, x87 and SSE state, the TSC. */
static void reset_power_on(struct x86_cpu *cpu)
{
	x86_msr_reset(cpu);
	cpu->xcr0 = XCR0_FP;
	cpu->pkru = 0;
	cpu->smbase = 0x30000;
}

/* SDM vol. 3 table 9-1. INIT keeps CR0.CD and NW. */
void x86_reset(struct x86_cpu *cpu, bool init)
{
	u64 cache = X86_CR0_CD | X86_CR0_NW;
	const struct kvm_cpuid_entry2 *id = x86_cpuid_find(cpu, 1, 0);

	if (!init)
		reset_power_on(cpu);
	memset(cpu->regs, 0, sizeof(cpu->regs));
	reset_segments(cpu);
	x86_set_rflags(cpu, 0);
	cpu->regs[X86_REG_RIP] = 0xfff0;
	cpu->cr0 = X86_CR0_ET | (init ? cpu->cr0 & cache : cache);
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
	memset(cpu->pdptr, 0, sizeof(cpu->pdptr));
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr6 = X86_DR6_INIT;
	cpu->dr7 = X86_DR7_FIXED;
	cpu->pending_dr6 = 0;
	cpu->shadow = 0;
	cpu->activity = X86_ACTIVE;
	cpu->nmi_masked = cpu->smm = cpu->smm_inside_nmi = false;
	cpu->msr.smi_count = 0;
	cpu->msr.spec_ctrl = cpu->msr.virt_ssbd = cpu->msr.debugctl = 0;
	cpu->regs[X86_RDX] = id ? id->eax : 0x600; /* family, model, stepping */
	x86_mode_update(cpu);
	cpu->mem->flush_all(cpu, false);
}
