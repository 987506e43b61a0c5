/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events (APM vol. 2, 15.20 to 15.22).
 *
 * At most one event is in flight (svm_vcpu.event): asked for by kvm/, or found half delivered at an exit (EXITINTINFO). It
 * goes in at the next entry, or back to kvm/ when run() ends before that, as KVM_GET_VCPU_EVENTS must show it. Software
 * interrupts, INT3 and INTO need no such care: RIP is still at the instruction, which runs again.
 *
 * Exceptions that handlers raise are delivered by x86/exception.c.
 *
 * Windows. For interrupts a virtual interrupt is left pending that no priority holds back: the intercept of its delivery
 * (VINTR) is the window. For NMIs it is IRET, which is emulated. An interrupt shadow lasts one instruction: with an
 * NMI or SMI waiting, that one is emulated. With an event in flight, an interrupt that this processor sends to itself
 * ends the guest right behind the delivery.
 */
#include "engine/svm/svm.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"
#include "x86/system.h"

void svm_inject(struct vcpu *vcpu, bool nmi, u8 vector)
{
	struct svm_vcpu *svm = vcpu->engine;

	svm->event = SVM_EVENT_VALID | (nmi ? SVM_EVENT_NMI : SVM_EVENT_IRQ) | vector;
	if (nmi)
		vcpu->cpu.nmi_masked = true;
	vcpu->cpu.activity = X86_ACTIVE;
}

/* ---- windows ------------------------------------------------------------------------------------------------------ */

static bool nmi_or_smi_wanted(const struct x86_cpu *cpu)
{
	return ((cpu->window & X86_WINDOW_NMI) && !cpu->nmi_masked) || ((cpu->window & X86_WINDOW_SMI) && !cpu->smm);
}

bool svm_window_open(const struct vcpu *vcpu)
{
	const struct x86_cpu *cpu = &vcpu->cpu;
	const struct svm_vcpu *svm = vcpu->engine;

	if (!cpu->window || svm->event)
		return false;
	if ((cpu->window & X86_WINDOW_IRQ) && x86_irq_allowed(cpu))
		return true;
	return nmi_or_smi_wanted(cpu) && !cpu->shadow;
}

bool svm_window_needs_step(const struct vcpu *vcpu)
{
	const struct svm_vcpu *svm = vcpu->engine;

	return unlikely(vcpu->cpu.window & (X86_WINDOW_NMI | X86_WINDOW_SMI)) && !svm->event && vcpu->cpu.shadow &&
	       nmi_or_smi_wanted(&vcpu->cpu);
}

/* A LAPIC with nothing requested has nothing that a lower TPR would let through: CR8 is then the guest's own. */
static bool tpr_matters(const struct vcpu *vcpu)
{
	return !vcpu->apic || lapic_highest_irr(vcpu->apic) >= 0;
}

void svm_events_prepare(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	struct vmcb_control *c = &svm->vmcb->control;
	bool window = vcpu->cpu.window & X86_WINDOW_IRQ;
	u64 control = SVM_INT_V_MASKING | vcpu_irq_get_cr8(vcpu);

	if (window)
		control |= SVM_INT_V_IRQ | SVM_INT_V_IGN_TPR | 0xfull << SVM_INT_V_PRIO_SHIFT;
	if (svm_has(SVM_FEATURE_VGIF))
		control |= SVM_INT_V_GIF_ENABLE | SVM_INT_V_GIF;
	if (svm_has(SVM_FEATURE_VNMI))
		control |= SVM_INT_V_NMI_ENABLE | (vcpu->cpu.nmi_masked ? SVM_INT_V_NMI_MASK : 0);
	if (c->int_control != control) {
		c->int_control = control;
		svm_dirty(svm, SVM_CLEAN_INT);
	}
	svm_intercept(svm, SVM_VINTR, window);
	svm_intercept(svm, SVM_CR_WRITE + 8, tpr_matters(vcpu));
	svm_intercept(svm, SVM_IRET, vcpu->cpu.nmi_masked &&
					     (!svm_has(SVM_FEATURE_VNMI) || (vcpu->cpu.window & X86_WINDOW_NMI)));
	c->event_inj = svm->event;
	if (unlikely(svm->event) && nmi_or_smi_wanted(&vcpu->cpu))
		host_cpu_kick(host_cpu_id(), false);
}

/* ---- after an exit --------------------------------------------------------------------------------------------- */

/* What an interrupted delivery leaves to be done again. */
static u64 unfinished(u64 info)
{
	unsigned vector = info & SVM_EVENT_VECTOR;

	if (!(info & SVM_EVENT_VALID) || (info & SVM_EVENT_TYPE) == SVM_EVENT_SOFT)
		return 0;
	if ((info & SVM_EVENT_TYPE) == SVM_EVENT_EXCEPTION && (vector == X86_BP || vector == X86_OF_VECTOR))
		return 0;
	return info;
}

void svm_events_finish(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	const struct vmcb_control *c = &svm->vmcb->control;
	u64 cr8 = c->int_control & 0xf;

	svm->event = unfinished(c->exit_int_info);
	if (svm_has(SVM_FEATURE_VNMI))
		vcpu->cpu.nmi_masked = c->int_control & SVM_INT_V_NMI_MASK;
	if (unlikely(svm->event) && (svm->event & SVM_EVENT_TYPE) == SVM_EVENT_NMI)
		vcpu->cpu.nmi_masked = true;
	if (unlikely(cr8 != vcpu_irq_get_cr8(vcpu)))
		vcpu_irq_set_cr8(vcpu, cr8);
}

static void return_exception(struct vcpu *vcpu, u64 event)
{
	struct x86_exception *e = &vcpu->exception.e;

	vcpu->exception.injected = true;
	vcpu->exception.pending = false;
	*e = (struct x86_exception){ .vector = event & SVM_EVENT_VECTOR, .has_error = !!(event & SVM_EVENT_ERROR),
				     .error = (u32)(event >> 32) };
	/* what the delivery had to leave in CR2 or DR6 is there already */
	vcpu->exception.has_payload = e->vector == X86_PF_VECTOR || e->vector == X86_DB;
	if (e->vector == X86_PF_VECTOR)
		e->payload = vcpu->cpu.cr2;
	if (e->vector == X86_DB)
		e->payload = vcpu->cpu.dr6 & 0xe00f;
}

void svm_events_return(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	u64 event = svm->event;

	if (likely(!event))
		return;
	svm->event = 0;
	switch (event & SVM_EVENT_TYPE) {
	case SVM_EVENT_IRQ:
		vcpu->interrupt.injected = true;
		vcpu->interrupt.soft = false;
		vcpu->interrupt.vector = event & SVM_EVENT_VECTOR;
		break;
	case SVM_EVENT_NMI:
		vcpu->nmi_injected = true;
		break;
	default:
		return_exception(vcpu, event);
	}
}
