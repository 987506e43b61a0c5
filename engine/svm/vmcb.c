/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor's state between struct x86_cpu and the VMCB.
 *
 * Pushing compares: a field that has the right value already stays, and so does its group's clean bit. So whoever
 * changed what, nobody has to keep books.
 *
 * What the guest sees of a control register and what the hardware has differ in these: CR0.CD and NW (a guest's wish to
 * have no caches would make the host's memory slow: KVM refuses it likewise), CR4.MCE (the host's), EFER.SVME (must be set).
 */
#include "engine/svm/svm.h"
#include "kvm/irq.h"
#include "x86/paging.h"
#include "x86/system.h"

#define CR0_CACHE (X86_CR0_CD | X86_CR0_NW)
#define TSC_RATIO_ONE BIT64(48)
#define DESC_BUSY 2u

static void put(struct svm_vcpu *svm, u64 *field, u64 value, u32 group)
{
	if (*field == value)
		return;
	*field = value;
	svm_dirty(svm, group);
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

static u16 pack_attributes(const struct x86_seg *s)
{
	if (s->unusable)
		return 0;
	return (u16)(s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 8 | s->l << 9 | s->db << 10 | s->g << 11);
}

/*
 * Conversions are what costs, and most of the time nothing has changed: svm->known has both forms of what all segments last
 * were. Here words are compared; what differs in padding alone is converted in vain.
 */
static bool same(const void *a, const void *b, size_t size)
{
	const u64 *x = a, *y = b;
	u64 differ = 0;

	for (size_t i = 0; i < size / sizeof(u64); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* By number in struct x86_cpu; the VMCB has them in its own order. */
static struct vmcb_seg *vmcb_seg(struct vmcb_segs *segs, unsigned i)
{
	return i < X86_LDTR ? &segs->es + i : i == X86_LDTR ? &segs->ldtr : &segs->tr;
}

/* VMSAVE'd segments are outside the clean bits (VMLOAD reads them every time). */
static void push_segs(struct svm_vcpu *svm, const struct x86_cpu *cpu)
{
	struct vmcb_save *save = &svm->vmcb->save;

	if (save->cpl != cpu->cpl) {
		save->cpl = cpu->cpl;
		svm_dirty(svm, SVM_CLEAN_SEG);
	}
	if (likely(same(svm->known.seg, cpu->seg, sizeof(cpu->seg))))
		return;
	for (unsigned i = 0; i < X86_NR_SREGS; i++) {
		const struct x86_seg *s = &cpu->seg[i];

		if (same(&svm->known.seg[i], s, sizeof(*s)))
			continue;
		*vmcb_seg(&save->segs, i) = (struct vmcb_seg){ .selector = s->selector, .attributes = pack_attributes(s),
							       .limit = s->limit, .base = s->base };
	}
	memcpy(svm->known.seg, cpu->seg, sizeof(cpu->seg));
	svm->known.segs = save->segs;
	svm_dirty(svm, SVM_CLEAN_SEG);
}

static void push_dt(struct svm_vcpu *svm, struct vmcb_seg *to, struct vmcb_seg *known, const struct x86_dtr *dt)
{
	if (to->base == dt->base && to->limit == dt->limit)
		return;
	to->base = dt->base;
	to->limit = dt->limit;
	*known = *to;
	svm_dirty(svm, SVM_CLEAN_DT);
}

static void unpack_seg(struct x86_seg *s, const struct vmcb_seg *from)
{
	u16 a = from->attributes;

	*s = (struct x86_seg){
		.base = from->base, .limit = from->limit, .selector = from->selector, .type = a & 15, .s = a >> 4 & 1,
		.dpl = a >> 5 & 3, .present = a >> 7 & 1, .avl = a >> 8 & 1, .l = a >> 9 & 1, .db = a >> 10 & 1,
		.g = a >> 11 & 1,
	};
	s->unusable = !s->present;
}

/* What the processor does not keep: G of CS's limit, CPL in SS.DPL after SYSCALL and SYSRET, that TR is busy. */
static void complete_segs(struct x86_cpu *cpu, u8 cpl)
{
	cpu->seg[X86_CS].g = cpu->seg[X86_CS].limit > 0xfffff;
	cpu->seg[X86_SS].dpl = cpl;
	if (cpu->seg[X86_TR].present)
		cpu->seg[X86_TR].type |= DESC_BUSY;
}

static void pull_dt(struct x86_dtr *dt, const struct vmcb_seg *from)
{
	dt->base = from->base;
	dt->limit = (u16)from->limit;
}

/* Whether anything of them has changed. */
static bool pull_segs(struct svm_vcpu *svm, struct x86_cpu *cpu)
{
	struct vmcb_save *save = &svm->vmcb->save;

	if (likely(same(&svm->known.segs, &save->segs, sizeof(save->segs)) && cpu->seg[X86_SS].dpl == save->cpl))
		return false;
	for (unsigned i = 0; i < X86_NR_SREGS; i++) {
		if (!same(vmcb_seg(&svm->known.segs, i), vmcb_seg(&save->segs, i), sizeof(struct vmcb_seg)))
			unpack_seg(&cpu->seg[i], vmcb_seg(&save->segs, i));
	}
	complete_segs(cpu, save->cpl);
	pull_dt(&cpu->gdt, &save->segs.gdtr);
	pull_dt(&cpu->idt, &save->segs.idtr);
	memcpy(svm->known.seg, cpu->seg, sizeof(cpu->seg));
	svm->known.segs = save->segs;
	return true;
}

/* ---- MSRs that VMLOAD and VMSAVE switch --------------------------------------------------------------------------- */

static void push_msrs(struct svm_vcpu *svm, const struct x86_msrs *msr)
{
	struct vmcb_save *save = &svm->vmcb->save;

	save->star = msr->star;
	save->lstar = msr->lstar;
	save->cstar = msr->cstar;
	save->sfmask = msr->sfmask;
	save->kernel_gs_base = msr->kernel_gs_base;
	save->sysenter_cs = msr->sysenter_cs;
	save->sysenter_esp = msr->sysenter_esp;
	save->sysenter_eip = msr->sysenter_eip;
}

static void pull_msrs(struct x86_msrs *msr, const struct vmcb_save *save)
{
	msr->star = save->star;
	msr->lstar = save->lstar;
	msr->cstar = save->cstar;
	msr->sfmask = save->sfmask;
	msr->kernel_gs_base = save->kernel_gs_base;
	msr->sysenter_cs = save->sysenter_cs;
	msr->sysenter_esp = save->sysenter_esp;
	msr->sysenter_eip = save->sysenter_eip;
}

/* ---- control and debug registers ----------------------------------------------------------------------------------- */

/* With caches on, only what changes paging or protection exits; CR0's other bits are the guest's own. */
static void push_cr0(struct svm_vcpu *svm, u64 cr0)
{
	u64 hardware = cr0 & ~CR0_CACHE;

	svm_intercept(svm, SVM_CR_READ + 0, hardware != cr0);
	svm_intercept(svm, SVM_CR_WRITE + 0, hardware != cr0);
	svm_intercept(svm, SVM_CR0_SEL_WRITE, hardware == cr0);
	put(svm, &svm->vmcb->save.cr0, hardware, SVM_CLEAN_CR);
}

static void push_crs(struct svm_vcpu *svm, const struct x86_cpu *cpu)
{
	struct vmcb_save *save = &svm->vmcb->save;
	u64 cr4 = cpu->cr4 | X86_CR4_MCE;

	push_cr0(svm, cpu->cr0);
	put(svm, &save->cr3, cpu->cr3, SVM_CLEAN_CR);
	svm_intercept(svm, SVM_CR_READ + 4, cr4 != cpu->cr4);
	put(svm, &save->cr4, cr4, SVM_CLEAN_CR);
	put(svm, &save->efer, cpu->efer | X86_EFER_SVME, SVM_CLEAN_CR);
	put(svm, &save->cr2, cpu->cr2, SVM_CLEAN_CR2);
	put(svm, &save->pat, cpu->msr.pat, SVM_CLEAN_NP);
}

static void push_debug(struct svm_vcpu *svm, const struct x86_cpu *cpu)
{
	u64 dr7 = cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? cpu->debug_dr7 : cpu->dr7;
	bool bp = cpu->guest_debug & KVM_GUESTDBG_USE_SW_BP;

	/* With a debugger DR6 tells of its events alone; the guest's waits. */
	put(svm, &svm->vmcb->save.dr6, cpu->guest_debug ? X86_DR6_INIT : cpu->dr6, SVM_CLEAN_DR);
	put(svm, &svm->vmcb->save.dr7, dr7, SVM_CLEAN_DR);
	svm->debug_loaded = dr7 & 0xff;
	svm->single_step = cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP;
	svm_intercept(svm, SVM_EXCEPTION + X86_BP, bp);
}

/* A TSC that the processor cannot scale is read by the emulator. */
static void push_tsc(struct svm_vcpu *svm)
{
	const struct vcpu *vcpu = svm->vcpu;
	bool exits = vcpu->tsc_ratio != TSC_RATIO_ONE && !svm_has(SVM_FEATURE_TSC_RATIO);

	put(svm, &svm->vmcb->control.tsc_offset, vcpu->tsc_offset, SVM_CLEAN_INTERCEPTS);
	svm_intercept(svm, SVM_RDTSC, exits);
	svm_intercept(svm, SVM_RDTSCP, exits || !x86_has(&vcpu->cpu, X86_FEAT_RDTSCP));
}

/* A change of the filter ends run(), SMM comes and goes with everything pulled. */
static void push_maps(struct svm_vcpu *svm)
{
	struct vm *vm = svm->vcpu->vm;
	u64 root = svm->vm->npt[vcpu_as_id(svm->vcpu)].root_phys;

	put(svm, &svm->vmcb->control.msrpm, svm_msrpm_phys(atomic_read(&vm->msr_filter) != NULL), SVM_CLEAN_MAPS);
	if (svm->vmcb->control.np_cr3 != root) {
		put(svm, &svm->vmcb->control.np_cr3, root, SVM_CLEAN_NP);
		atomic_set(&svm->flush, 1);
	}
}

/* What x86_mode_update() looks at beside segments, CR0, CR4 and EFER. */
static u32 mode_inputs(const struct x86_cpu *cpu)
{
	return (cpu->rflags & (X86_VM | X86_AC)) | cpu->cpl;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

void svm_push(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct x86_cpu *cpu = &vcpu->cpu;
	struct vmcb_save *save = &svm->vmcb->save;

	if (svm->stale) {
		push_segs(svm, cpu);
		push_dt(svm, &save->segs.gdtr, &svm->known.segs.gdtr, &cpu->gdt);
		push_dt(svm, &save->segs.idtr, &svm->known.segs.idtr, &cpu->idt);
		push_msrs(svm, &cpu->msr);
		push_crs(svm, cpu);
		push_debug(svm, cpu);
		push_tsc(svm);
		push_maps(svm);
		svm->mode_of = mode_inputs(cpu);
	}
	svm->pulled = svm->stale = false;
	save->rip = cpu->regs[X86_REG_RIP];
	save->rax = cpu->regs[X86_RAX];
	save->rsp = cpu->regs[X86_RSP];
	save->rflags = x86_get_rflags(cpu);
	if (svm->single_step)
		save->rflags |= X86_TF;
	svm->vmcb->control.int_state = cpu->shadow ? SVM_STATE_SHADOW : 0;
}

void svm_pull_basic(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct x86_cpu *cpu = &vcpu->cpu;
	const struct vmcb_save *save = &svm->vmcb->save;
	u64 rflags = save->rflags;

	if (svm->single_step)
		rflags = (rflags & ~(u64)X86_TF) | (cpu->rflags & X86_TF);
	cpu->regs[X86_REG_RIP] = save->rip;
	cpu->regs[X86_RAX] = save->rax;
	cpu->regs[X86_RSP] = save->rsp;
	x86_set_rflags(cpu, rflags);
	cpu->cpl = save->cpl;
	cpu->shadow = svm->vmcb->control.int_state & SVM_STATE_SHADOW ? KVM_X86_SHADOW_INT_STI : 0;
}

/* PAE's page-directory pointers are in memory for this processor, registers for x86/paging.c. */
static void pull_pdptrs(struct x86_cpu *cpu)
{
	struct x86_exception saved = cpu->fault;

	if ((cpu->cr0 & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !x86_long_mode(cpu))
		x86_load_pdptrs(cpu, cpu->cr3);
	cpu->fault = saved;
}

/* Whether x86_mode_update() has something to see. */
static bool pull_crs(struct svm_vcpu *svm, struct x86_cpu *cpu)
{
	const struct vmcb_save *save = &svm->vmcb->save;
	u64 cr0 = save->cr0 | (cpu->cr0 & CR0_CACHE), efer = save->efer & ~X86_EFER_SVME;
	bool changed = cr0 != cpu->cr0 || efer != cpu->efer || svm->mode_of != mode_inputs(cpu);

	cpu->cr0 = cr0;
	cpu->cr2 = save->cr2;
	cpu->cr3 = save->cr3;
	cpu->efer = efer;
	svm->mode_of = mode_inputs(cpu);
	return changed;
}

void svm_pull_to_read(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct x86_cpu *cpu = &vcpu->cpu;
	const struct vmcb_save *save = &svm->vmcb->save;
	bool changed;

	if (svm->pulled)
		return;
	svm->pulled = true;
	changed = pull_segs(svm, cpu);
	changed |= pull_crs(svm, cpu);
	pull_msrs(&cpu->msr, save);
	if (!cpu->guest_debug)
		cpu->dr6 = save->dr6;
	if (!(cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP))
		cpu->dr7 = save->dr7;
	if (changed)
		x86_mode_update(cpu);
	pull_pdptrs(cpu);
}

void svm_pull(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;

	svm_pull_to_read(vcpu);
	svm->stale = true;
}

void svm_pull_nothing(struct svm_vcpu *svm)
{
	svm->pulled = svm->stale = true;
	memset(&svm->known, 0xff, sizeof(svm->known)); /* like nothing there is */
}

void svm_vmcb_init(struct svm_vcpu *svm)
{
	static const u8 always[] = {
		SVM_CR_WRITE + 4, SVM_CR_WRITE + 8, SVM_EXCEPTION + X86_DB, SVM_EXCEPTION + X86_UD,
		SVM_EXCEPTION + X86_AC_VECTOR, SVM_EXCEPTION + X86_MC, SVM_INTR, SVM_NMI, SVM_SMI, SVM_INIT, SVM_RDPMC,
		SVM_CPUID, SVM_RSM, SVM_INVD, SVM_HLT, SVM_INVLPGA, SVM_IOIO, SVM_MSR, SVM_SHUTDOWN, SVM_VMRUN, SVM_VMMCALL,
		SVM_VMLOAD, SVM_VMSAVE, SVM_STGI, SVM_CLGI, SVM_SKINIT, SVM_WBINVD, SVM_MONITOR, SVM_MWAIT, SVM_XSETBV,
	};
	struct vmcb_control *c = &svm->vmcb->control;

	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		svm_intercept(svm, always[i], true);
	for (unsigned dr = 0; dr < 8; dr++) {
		svm_intercept(svm, SVM_DR_READ + dr, true);
		svm_intercept(svm, SVM_DR_WRITE + dr, true);
	}
	svm_intercept(svm, SVM_RDPRU, svm_features.rdpru);
	if (svm_has(SVM_FEATURE_PAUSE_FILTER)) {
		svm_intercept(svm, SVM_PAUSE, true);
		c->pause_count = 3000;
		c->pause_threshold = svm_has(SVM_FEATURE_PAUSE_THRESHOLD) ? 128 : 0;
	}
	c->iopm = svm_iopm_phys();
	c->int_control = SVM_INT_V_MASKING;
	if (svm_has(SVM_FEATURE_VGIF))
		c->int_control |= SVM_INT_V_GIF_ENABLE | SVM_INT_V_GIF;
	if (svm_has(SVM_FEATURE_VNMI))
		c->int_control |= SVM_INT_V_NMI_ENABLE;
	c->np_control = SVM_NP_ENABLE;
}
