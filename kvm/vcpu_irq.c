/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interrupt side of a vCPU: its LAPIC, if the VM has one in here, what the 8259 or userspace has for
 * it, INIT and SIPI, and the tricks that spare the guest an EOI or TPR access (PV EOI, KVM_SET_VAPIC_ADDR).
 *
 * All of it runs on the vCPU's thread or under its mutex, except the LAPIC's kick, nmi, smi and unhalt
 * callbacks.
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/hyperv_state.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"
#include "kvm/pv.h"
#include "kvm/xen.h"
#include "kvm/xen_state.h"
#include "x86/system.h"

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800
#define MCG_CMCI_P BIT64(10)

static struct vcpu_lapic *vcpu_lapic(struct vcpu *vcpu)
{
	return vcpu_lapic_of(vcpu->apic);
}

/* ---- what the LAPIC tells ----------------------------------------------------------------------- */

static void on_kick(struct lapic *l, bool outside)
{
	vcpu_request(vcpu_lapic_of(l)->vcpu, VCPU_REQ_EVENT | (outside ? VCPU_REQ_DEVICE : 0));
}

static void on_nmi(struct lapic *l, bool outside)
{
	struct vcpu *vcpu = vcpu_lapic_of(l)->vcpu;

	if (outside)
		vcpu_request(vcpu, VCPU_REQ_DEVICE);
	vcpu_queue_nmi(vcpu);
}

static void on_smi(struct lapic *l)
{
	vcpu_request(vcpu_lapic_of(l)->vcpu, VCPU_REQ_SMI);
}

/*
 * A PV kick may overtake the HLT that it is to end: a guest looks at its lock, is about to halt, and is
 * kicked. So the kick is remembered until a HLT has been executed, and then asked for again (see
 * vcpu_irq_sync).
 */
static void on_unhalt(struct lapic *l)
{
	struct vcpu_lapic *vl = vcpu_lapic_of(l);

	atomic_xchg(&vl->kicked, 1);
	vcpu_request(vl->vcpu, VCPU_REQ_UNHALT);
}

static void settle_kick(struct vcpu_lapic *vl)
{
	if (vl->vcpu->cpu.activity == X86_HALTED && atomic_xchg(&vl->kicked, 0))
		vcpu_request(vl->vcpu, VCPU_REQ_UNHALT);
}

static void on_recheck(struct lapic *l)
{
	vcpu_request(vcpu_lapic_of(l)->vcpu, VCPU_REQ_EVENT);
}

static void on_ipi(struct lapic *l, const struct apic_message *m)
{
	irq_deliver(vcpu_lapic_of(l)->vcpu->vm, l, m);
}

static bool synic_active(const struct vcpu *vcpu)
{
	return vcpu->hyperv && vcpu->hyperv->synic.active;
}

static void on_eoi(struct lapic *l, u8 vector, bool level)
{
	struct vcpu_lapic *vl = vcpu_lapic_of(l);
	struct irqchip *ic = vl->vcpu->vm->irqchip;
	bool broadcast = !(l->regs[APIC_REG_SPIV] & APIC_SPIV_NO_EOI_BROADCAST);

	if (unlikely(synic_active(vl->vcpu)))
		vcpu_hyperv_eoi(vl->vcpu, vector);
	if (vl->vcpu->vm->irqchip_mode == IRQCHIP_KERNEL) {
		if (level || ioapic_wants_eoi(&ic->ioapic, vector))
			ioapic_eoi(&ic->ioapic, vector, level, broadcast);
	} else if (level && ic->eoi_pins) {
		vl->eoi_exits[vector / 32] |= BIT(vector % 32);
		vl->eoi_exit = true;
		vcpu_request(vl->vcpu, VCPU_REQ_EVENT);
	}
}

static void on_tpr_access(struct lapic *l, bool write)
{
	struct vcpu_lapic *vl = vcpu_lapic_of(l);

	vl->tpr_exit = true;
	vl->tpr_write = write;
	vl->tpr_rip = x86_rip(&vl->vcpu->cpu);
	vcpu_request(vl->vcpu, VCPU_REQ_EVENT);
}

static void on_lint0_nmi(struct lapic *l, bool on)
{
	atomic_add(&vcpu_lapic_of(l)->vcpu->vm->irqchip->lint0_nmi_count, on ? 1 : -1);
}

static void on_enabled(struct lapic *l)
{
	vcpu_xen_lapic_enabled(vcpu_lapic_of(l)->vcpu);
}

static u64 on_tsc_to_ns(struct lapic *l, u64 guest_tsc, u64 *now)
{
	return vcpu_tsc_to_deadline_ns(vcpu_lapic_of(l)->vcpu, guest_tsc, now);
}

static const struct lapic_ops lapic_ops = {
	.kick = on_kick,
	.nmi = on_nmi,
	.smi = on_smi,
	.unhalt = on_unhalt,
	.recheck = on_recheck,
	.ipi = on_ipi,
	.eoi = on_eoi,
	.tpr_access = on_tpr_access,
	.lint0_nmi = on_lint0_nmi,
	.enabled = on_enabled,
	.tsc_to_ns = on_tsc_to_ns,
};

bool vcpu_irq_exit(struct vcpu *vcpu)
{
	struct vcpu_lapic *vl;
	struct kvm_run *run = vcpu->run;

	if (!vcpu->apic)
		return false;
	vl = vcpu_lapic(vcpu);
	if (unlikely(vl->tpr_exit)) {
		vl->tpr_exit = false;
		run->exit_reason = KVM_EXIT_TPR_ACCESS;
		run->tpr_access.rip = vl->tpr_rip;
		run->tpr_access.is_write = vl->tpr_write;
		return true;
	}
	if (likely(!vl->eoi_exit))
		return false;
	for (unsigned i = 0; i < 8; i++) {
		u32 bits = vl->eoi_exits[i];

		if (!bits)
			continue;
		vl->eoi_exits[i] = bits & (bits - 1);
		run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		run->eoi.vector = (u8)(i * 32 + (u32)__builtin_ctz(bits));
		return true;
	}
	vl->eoi_exit = false;
	return false;
}

/* ---- PV EOI, TPR shadow ------------------------------------------------------------------------- */

/* Takes the offer back; if the guest has made use of it, its EOI is done now. */
static void withdraw_pv_eoi(struct vcpu *vcpu)
{
	struct vcpu_lapic *vl = vcpu_lapic(vcpu);
	u64 gpa = vcpu->pv->pv_eoi & ~(u64)KVM_MSR_ENABLED;
	u8 byte = 0, zero = 0;

	vl->pv_eoi_offered = false;
	if (vm_read_guest(vcpu->vm, 0, gpa, &byte, 1))
		return;
	if (byte & KVM_PV_EOI_ENABLED)
		vcpu_write_guest(vcpu, 0, gpa, &zero, 1);
	else
		lapic_eoi(&vl->lapic);
}

static inline void settle_pv_eoi(struct vcpu *vcpu)
{
	if (unlikely(vcpu_lapic(vcpu)->pv_eoi_offered))
		withdraw_pv_eoi(vcpu);
}

void vcpu_irq_settle(struct vcpu *vcpu)
{
	if (vcpu->apic)
		settle_pv_eoi(vcpu);
}

/* An EOI that concerns nobody but the LAPIC may be left to the guest, as long as nothing waits behind it. */
static void offer_pv_eoi(struct vcpu *vcpu)
{
	struct vcpu_lapic *vl = vcpu_lapic(vcpu);
	int vector = lapic_highest_isr(&vl->lapic);
	u8 byte = KVM_PV_EOI_ENABLED;

	if (vector < 0 || lapic_highest_irr(&vl->lapic) >= 0 || lapic_vector_level(&vl->lapic, (u8)vector) ||
	    ioapic_wants_eoi(&vcpu->vm->irqchip->ioapic, (u8)vector))
		return;
	if (!vcpu_write_guest(vcpu, 0, vcpu->pv->pv_eoi & ~(u64)KVM_MSR_ENABLED, &byte, 1))
		vl->pv_eoi_offered = true;
}

static void read_vapic(struct vcpu_lapic *vl)
{
	u32 word;

	if (vm_read_guest(vl->vcpu->vm, 0, vl->vapic_gpa, &word, sizeof(word)))
		return;
	if ((u8)word != vl->vapic_tpr)
		lapic_set_tpr(&vl->lapic, (u8)word);
}

static void write_vapic(struct vcpu_lapic *vl)
{
	int irr = lapic_highest_irr(&vl->lapic), isr = lapic_highest_isr(&vl->lapic);
	u32 word = vl->vapic_tpr = lapic_get_tpr(&vl->lapic);

	word |= (isr < 0 ? 0u : (u32)isr & 0xf0) << 8 | (irr < 0 ? 0u : (u32)irr) << 24;
	vcpu_write_guest(vl->vcpu, 0, vl->vapic_gpa, &word, sizeof(word));
}

void vcpu_irq_sync(struct vcpu *vcpu)
{
	if (!vcpu->apic)
		return;
	settle_pv_eoi(vcpu);
	if (unlikely(atomic_read(&vcpu_lapic(vcpu)->kicked)))
		settle_kick(vcpu_lapic(vcpu));
	if (unlikely(vcpu_lapic(vcpu)->vapic_gpa))
		read_vapic(vcpu_lapic(vcpu));
}

void vcpu_irq_prepare(struct vcpu *vcpu)
{
	if (!vcpu->apic)
		return;
	if (vcpu->pv->pv_eoi & KVM_MSR_ENABLED)
		offer_pv_eoi(vcpu);
	if (unlikely(vcpu_lapic(vcpu)->vapic_gpa) && lapic_enabled_hw(vcpu->apic) && lapic_enabled_sw(vcpu->apic))
		write_vapic(vcpu_lapic(vcpu));
}

/* ---- interrupts --------------------------------------------------------------------------------- */

static bool extint_pending(const struct vcpu *vcpu)
{
	if (unlikely(vcpu_xen_upcall(vcpu)))
		return true;
	if (!lapic_accepts_extint(vcpu->apic))
		return false;
	if (vcpu->vm->irqchip_mode == IRQCHIP_SPLIT)
		return vcpu->user_irq >= 0;
	return pic_intr(&vcpu->vm->irqchip->pic);
}

bool vcpu_irq_pending(struct vcpu *vcpu)
{
	if (!vcpu->apic)
		return vcpu->user_irq >= 0;
	settle_pv_eoi(vcpu);
	lapic_timer_poll(vcpu->apic);
	return extint_pending(vcpu) || lapic_pending(vcpu->apic) >= 0;
}

static int take_user_irq(struct vcpu *vcpu)
{
	int vector = vcpu->user_irq;

	vcpu->user_irq = -1;
	return vector;
}

static int take_lapic_irq(struct vcpu *vcpu)
{
	int vector = lapic_take(vcpu->apic);

	if (unlikely(vector >= 0 && synic_active(vcpu)) && vcpu_hyperv_auto_eoi(vcpu, (u8)vector))
		lapic_drop(vcpu->apic, (u8)vector);
	return vector;
}

int vcpu_irq_take(struct vcpu *vcpu)
{
	if (!vcpu->apic)
		return take_user_irq(vcpu);
	settle_pv_eoi(vcpu);
	if (!extint_pending(vcpu))
		return take_lapic_irq(vcpu);
	if (unlikely(vcpu_xen_upcall(vcpu)))
		return vcpu->vm->xen->upcall_vector;
	if (vcpu->vm->irqchip_mode == IRQCHIP_SPLIT)
		return take_user_irq(vcpu);
	return pic_acknowledge(&vcpu->vm->irqchip->pic);
}

u64 vcpu_irq_fall_asleep(struct vcpu *vcpu)
{
	return vcpu->apic ? lapic_timer_hand_over(vcpu->apic) : 0;
}

void vcpu_irq_wake_up(struct vcpu *vcpu, bool expired)
{
	if (vcpu->apic)
		lapic_timer_take_back(vcpu->apic, expired);
}

bool vcpu_irq_accepts_extint(struct vcpu *vcpu)
{
	return !vcpu->apic || (lapic_accepts_extint(vcpu->apic) && vcpu->user_irq < 0);
}

u64 vcpu_irq_get_cr8(struct vcpu *vcpu)
{
	return vcpu->apic ? lapic_get_tpr(vcpu->apic) >> 4 : vcpu->cr8;
}

void vcpu_irq_set_cr8(struct vcpu *vcpu, u64 value)
{
	if (vcpu->apic)
		lapic_set_tpr(vcpu->apic, (u8)(value << 4));
	else
		vcpu->cr8 = value & 0xf;
}

/* ---- INIT and SIPI (SDM vol. 3, 9.4.4) ---------------------------------------------------------- */

static void take_init(struct vcpu *vcpu)
{
	bool bsp = vcpu->id == vcpu->vm->bsp_vcpu_id;

	x86_reset(&vcpu->cpu, true);
	vcpu_irq_reset(vcpu, true);
	vcpu_clock_reset(vcpu);
	vcpu->exception.pending = vcpu->exception.injected = false;
	vcpu->interrupt.injected = false;
	vcpu->nmi_pending = 0;
	vcpu->nmi_injected = false;
	vcpu->cpu.activity = X86_ACTIVE;
	atomic_set(&vcpu->mp_state, bsp ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED);
	vcpu->vm->ops->flush_tlb(vcpu);
	vcpu->vm->ops->state_changed(vcpu);
}

static void take_sipi(struct vcpu *vcpu)
{
	u8 vector = atomic_read(&vcpu->apic->sipi_vector);
	struct x86_seg *cs = &vcpu->cpu.seg[X86_CS];

	cs->selector = (u16)(vector << 8);
	cs->base = (u64)vector << 12;
	vcpu->cpu.regs[X86_REG_RIP] = 0;
	x86_mode_update(&vcpu->cpu);
	atomic_set(&vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
	vcpu->vm->ops->state_changed(vcpu);
}

bool vcpu_irq_init_sipi_pending(struct vcpu *vcpu)
{
	return vcpu->apic && atomic_read(&vcpu->apic->events);
}

void vcpu_irq_accept_init_sipi(struct vcpu *vcpu)
{
	struct lapic *l = vcpu->apic;

	if (likely(!l || !atomic_read(&l->events)))
		return;
	if (vcpu->cpu.smm) { /* INIT waits for RSM; a SIPI is lost */
		atomic_and(&l->events, ~LAPIC_EVENT_SIPI);
		return;
	}
	if (atomic_and(&l->events, ~LAPIC_EVENT_INIT) & LAPIC_EVENT_INIT)
		take_init(vcpu);
	if (atomic_and(&l->events, ~LAPIC_EVENT_SIPI) & LAPIC_EVENT_SIPI) {
		if (atomic_read(&vcpu->mp_state) == KVM_MP_STATE_INIT_RECEIVED)
			take_sipi(vcpu);
	}
}

bool vcpu_irq_latched_init(struct vcpu *vcpu)
{
	return vcpu->apic && (atomic_read(&vcpu->apic->events) & LAPIC_EVENT_INIT);
}

void vcpu_irq_set_latched_init(struct vcpu *vcpu, bool latched)
{
	if (!vcpu->apic)
		return;
	if (latched)
		atomic_or(&vcpu->apic->events, LAPIC_EVENT_INIT);
	else
		atomic_and(&vcpu->apic->events, ~LAPIC_EVENT_INIT);
}

void vcpu_irq_set_sipi_vector(struct vcpu *vcpu, u8 vector)
{
	if (vcpu->apic)
		atomic_set(&vcpu->apic->sipi_vector, vector);
}

void vcpu_irq_pend_sipi(struct vcpu *vcpu)
{
	if (vcpu->apic)
		atomic_or(&vcpu->apic->events, LAPIC_EVENT_SIPI);
}

/* ---- APIC base, MSRs ---------------------------------------------------------------------------- */

static u32 counts_as_xapic(const struct vcpu *vcpu)
{
	return vcpu->apic && lapic_enabled_hw(vcpu->apic) && !lapic_x2apic(vcpu->apic);
}

static void set_base(struct vcpu *vcpu, u64 value)
{
	u32 before = counts_as_xapic(vcpu);

	vcpu->apic_base = value;
	if (!vcpu->apic)
		return;
	lapic_set_base(vcpu->apic, value);
	atomic_add(&vcpu->vm->irqchip->xapic_count, counts_as_xapic(vcpu) - before);
}

int vcpu_irq_set_apic_base(struct vcpu *vcpu, u64 value, bool host)
{
	u64 old = vcpu->apic_base, mode = value & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	u64 reserved = ~(BIT64(vcpu->cpu.maxphyaddr & 63) - 1) | 0x2ff;

	if (!x86_has(&vcpu->cpu, X86_FEAT_X2APIC))
		reserved |= APIC_BASE_X2APIC;
	if ((value & reserved) || mode == APIC_BASE_X2APIC)
		return -EINVAL;
	old &= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	/* SDM 11.12.5: x2APIC is left by disabling, and entered from xAPIC. */
	if (!host && old == (APIC_BASE_ENABLE | APIC_BASE_X2APIC) && mode == APIC_BASE_ENABLE)
		return -EINVAL;
	if (!host && !old && mode == (APIC_BASE_ENABLE | APIC_BASE_X2APIC))
		return -EINVAL;
	set_base(vcpu, value);
	return 0;
}

enum x86_result vcpu_irq_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled)
{
	*handled = true;
	if (index == MSR_APIC_BASE) {
		*value = vcpu->apic_base;
		return X86_OK;
	}
	if (index == MSR_TSC_DEADLINE) {
		*value = vcpu->apic ? lapic_get_tsc_deadline(vcpu->apic) : 0;
		return X86_OK;
	}
	if (index - MSR_X2APIC < 0x100) {
		if (vcpu->apic)
			settle_pv_eoi(vcpu);
		if (vcpu->apic && lapic_msr_read(vcpu->apic, index - MSR_X2APIC, value))
			return X86_OK;
		return x86_raise(&vcpu->cpu, X86_GP, 0);
	}
	*handled = false;
	return X86_OK;
}

enum x86_result vcpu_irq_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled)
{
	bool ok = true;

	*handled = true;
	if (index == MSR_TSC_DEADLINE) {
		if (vcpu->apic)
			lapic_set_tsc_deadline(vcpu->apic, value);
	} else if (index - MSR_X2APIC < 0x100) {
		if (vcpu->apic)
			settle_pv_eoi(vcpu);
		ok = vcpu->apic && lapic_msr_write(vcpu->apic, index - MSR_X2APIC, value);
	} else if (index == MSR_APIC_BASE) {
		ok = !vcpu_irq_set_apic_base(vcpu, value, host);
	} else {
		*handled = false;
	}
	return ok ? X86_OK : x86_raise(&vcpu->cpu, X86_GP, 0);
}

/* ---- life --------------------------------------------------------------------------------------- */

void vcpu_irq_cpuid_changed(struct vcpu *vcpu)
{
	/*
	 * The in-kernel IOAPIC has no EOI register: suppressing broadcasts is offered with a userspace one
	 * alone.
	 */
	bool suppression = vcpu->vm->irqchip_mode == IRQCHIP_SPLIT && x86_has(&vcpu->cpu, X86_FEAT_X2APIC);

	if (vcpu->apic)
		lapic_configure(vcpu->apic, vcpu->cpu.msr.mcg_cap & MCG_CMCI_P, suppression,
				x86_has(&vcpu->cpu, X86_FEAT_TSC_DEADLINE));
}

void vcpu_irq_reset(struct vcpu *vcpu, bool init)
{
	bool bsp = vcpu->id == vcpu->vm->bsp_vcpu_id;

	if (vcpu->pv)
		vcpu->pv->pv_eoi = 0;
	if (!init)
		set_base(vcpu, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0));
	vcpu->cr8 = 0;
	if (!vcpu->apic)
		return;
	vcpu_lapic(vcpu)->pv_eoi_offered = false;
	lapic_reset(vcpu->apic, init, bsp, !(atomic_read(&vcpu->vm->disabled_quirks) & KVM_X86_QUIRK_LINT0_REENABLED));
}

int vcpu_irq_create(struct vcpu *vcpu)
{
	struct vcpu_lapic *vl;

	vcpu->user_irq = -1;
	if (atomic_read_acquire(&vcpu->vm->irqchip_mode) == IRQCHIP_NONE)
		return 0;
	vl = host_alloc(sizeof(*vl));
	if (!vl)
		return -ENOMEM;
	vl->vcpu = vcpu;
	lapic_create(&vl->lapic, &lapic_ops, vcpu->id);
	vcpu->apic = &vl->lapic;
	vcpu_irq_cpuid_changed(vcpu);
	return 0;
}

void vcpu_irq_destroy(struct vcpu *vcpu)
{
	/* The VM's end begins here: what could still send interrupts goes before the first vCPU does. */
	if (!atomic_read(&vcpu->vm->refs))
		vm_irq_stop(vcpu->vm);
	if (!vcpu->apic)
		return;
	atomic_add(&vcpu->vm->irqchip->xapic_count, -counts_as_xapic(vcpu));
	lapic_destroy(vcpu->apic);
	host_free(vcpu_lapic(vcpu));
	vcpu->apic = NULL;
}

/* ---- ioctls ------------------------------------------------------------------------------------- */

static long vcpu_get_lapic(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_lapic_state s;

	if (!vcpu->apic)
		return -EINVAL;
	settle_pv_eoi(vcpu);
	lapic_timer_poll(vcpu->apic);
	lapic_get_state(vcpu->apic, &s, vcpu->vm->x2apic_ids32);
	return host_copy_to_user(arg, &s, sizeof(s));
}

static long vcpu_set_lapic(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_lapic_state s;

	if (!vcpu->apic)
		return -EINVAL;
	if (host_copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	settle_pv_eoi(vcpu);
	return lapic_set_state(vcpu->apic, &s, vcpu->vm->x2apic_ids32) ? -EINVAL : 0;
}

static long vcpu_interrupt(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_interrupt irq;

	if (host_copy_from_user(&irq, arg, sizeof(irq)))
		return -EFAULT;
	if (irq.irq >= KVM_NR_INTERRUPTS)
		return -EINVAL;
	if (vcpu->vm->irqchip_mode == IRQCHIP_KERNEL)
		return -ENXIO;
	if (vcpu->vm->irqchip_mode == IRQCHIP_SPLIT && vcpu->user_irq >= 0)
		return -EEXIST;
	vcpu->user_irq = (int)irq.irq;
	vcpu_request(vcpu, VCPU_REQ_EVENT);
	return 0;
}

static long vcpu_tpr_access_reporting(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_tpr_access_ctl control;

	if (host_copy_from_user(&control, arg, sizeof(control)))
		return -EFAULT;
	if (control.flags)
		return -EINVAL;
	if (vcpu->apic)
		vcpu->apic->tpr_reporting = !!control.enabled;
	return host_copy_to_user(arg, &control, sizeof(control));
}

static long vcpu_set_vapic_addr(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_vapic_addr address;
	u32 word;

	if (!vcpu->apic)
		return -EINVAL;
	if (host_copy_from_user(&address, arg, sizeof(address)))
		return -EFAULT;
	if (address.vapic_addr && vm_read_guest(vcpu->vm, 0, address.vapic_addr, &word, sizeof(word)))
		return -EINVAL;
	vcpu_lapic(vcpu)->vapic_gpa = address.vapic_addr;
	if (address.vapic_addr) /* the guest's own value counts from now on */
		vcpu_lapic(vcpu)->vapic_tpr = lapic_get_tpr(vcpu->apic);
	return 0;
}

const struct ioctl_row vcpu_irq_ioctls[] = {
	{ KVM_INTERRUPT, vcpu_interrupt },
	{ KVM_GET_LAPIC, vcpu_get_lapic },
	{ KVM_SET_LAPIC, vcpu_set_lapic },
	{ KVM_TPR_ACCESS_REPORTING, vcpu_tpr_access_reporting },
	{ KVM_SET_VAPIC_ADDR, vcpu_set_vapic_addr },
	{ 0, NULL },
};
