/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In-kernel irqchip as kvm/vcpu.c, kvm/vm.c and kvm/outside.c use it. (kvm/irq.c, routing.c, eventfd.c,
 * x86/lapic.c...)
 */
#ifndef ANYKVM_KVM_IRQ_H
#define ANYKVM_KVM_IRQ_H

#include "kvm/vm.h"

/* vm->irqchip: created with the VM (mode none), destroyed with it. */
int vm_irq_create(struct vm *vm);
void vm_irq_destroy(struct vm *vm);
/*
 * KVM_CREATE_IRQCHIP, KVM_CAP_SPLIT_IRQCHIP, PIT2, IRQ_LINE(_STATUS), GET/SET_IRQCHIP, GSI_ROUTING,
 * SIGNAL_MSI, IRQFD...
 */
extern const struct ioctl_row vm_irq_ioctls[];
int vm_enable_split_irqchip(struct vm *vm, u64 nr_routes);

/* vCPU side: vcpu->apic when the VM has an in-kernel LAPIC. */
int vcpu_irq_create(struct vcpu *vcpu);
void vcpu_irq_destroy(struct vcpu *vcpu);
void vcpu_irq_reset(struct vcpu *vcpu, bool init);
/* GET/SET_LAPIC, INTERRUPT, TPR access, VAPIC_ADDR ... (vcpu mutex held, inside) */
extern const struct ioctl_row vcpu_irq_ioctls[];

/*
 * A maskable interrupt that could be delivered now if the processor allows it (LAPIC by PPR, PIC through
 * LINT0, KVM_INTERRUPT).
 */
bool vcpu_irq_pending(struct vcpu *vcpu);
/* Takes it: vector, or -1 when it has gone meanwhile. */
int vcpu_irq_take(struct vcpu *vcpu);
/*
 * INIT and SIPI latched in the LAPIC: changes mp_state, resets. Called before entry and while not runnable.
 */
void vcpu_irq_accept_init_sipi(struct vcpu *vcpu);
/* INIT or SIPI waits in the LAPIC: a halted or waiting vCPU must look at it. */
bool vcpu_irq_init_sipi_pending(struct vcpu *vcpu);
/*
 * Right after each exit from the guest, before anything asks the LAPIC: PV EOI, TPR shadow
 * (KVM_SET_VAPIC_ADDR).
 */
void vcpu_irq_sync(struct vcpu *vcpu);
/*
 * The last thing before each entry into the guest: the other half of the same. Both are a test when unused.
 */
void vcpu_irq_prepare(struct vcpu *vcpu);
/*
 * Userspace must hear of something: KVM_EXIT_IOAPIC_EOI (split irqchip), KVM_EXIT_TPR_ACCESS. True: *run
 * and exit_reason are filled in, KVM_RUN returns. To be asked whenever VCPU_REQ_EVENT is served.
 */
bool vcpu_irq_exit(struct vcpu *vcpu);
/*
 * The vCPU's thread is about to sleep. When the LAPIC timer expires (monotonic), 0 if it is not armed: until then at most, as
 * nobody else will see to that. That spares a switch to the timer thread and back. Afterwards: whether that moment has come.
 */
u64 vcpu_irq_fall_asleep(struct vcpu *vcpu);
void vcpu_irq_wake_up(struct vcpu *vcpu, bool expired);
/*
 * An external (8259) interrupt from userspace would be accepted: ready_for_interrupt_injection, IRQ window
 * exits.
 */
bool vcpu_irq_accepts_extint(struct vcpu *vcpu);
/* KVM_SET_CPUID2 was done, or mcg_cap changed: LAPIC version, timer modes. */
void vcpu_irq_cpuid_changed(struct vcpu *vcpu);
/*
 * MSR_IA32_APICBASE with or without in-kernel LAPIC (KVM_SET_SREGS: host true): 0 or -EINVAL. Reading:
 * vcpu->apic_base.
 */
int vcpu_irq_set_apic_base(struct vcpu *vcpu, u64 value, bool host);

/* MSRs: APIC_BASE, x2APIC 0x800-0x8ff, TSC_DEADLINE. *handled false: not one of them. */
enum x86_result vcpu_irq_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool *handled);
enum x86_result vcpu_irq_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled);
/*
 * The LAPIC's latched INIT and SIPI as KVM_GET/SET_VCPU_EVENTS and KVM_SET_MP_STATE move them; no-ops
 * without LAPIC.
 */
bool vcpu_irq_latched_init(struct vcpu *vcpu);
void vcpu_irq_set_latched_init(struct vcpu *vcpu, bool latched);
void vcpu_irq_set_sipi_vector(struct vcpu *vcpu, u8 vector);
void vcpu_irq_pend_sipi(struct vcpu *vcpu);
u64 vcpu_irq_get_cr8(struct vcpu *vcpu);
void vcpu_irq_set_cr8(struct vcpu *vcpu, u64 value);

/*
 * Accesses to in-kernel devices: LAPIC page, IOAPIC, PIC, PIT, ELCR, ioeventfds, coalesced zones. True:
 * done, no exit. size 1..8. Called on the vCPU's thread, inside.
 */
bool vcpu_bus_read(struct vcpu *vcpu, bool pio, u64 address, void *data, unsigned size);
bool vcpu_bus_write(struct vcpu *vcpu, bool pio, u64 address, const void *data, unsigned size);

#endif
