/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What executes guest instructions: one const struct engine_ops each, chosen when the device is opened. The core
 * (kvm/) calls through the table only; an engine's per-vCPU state hangs on vcpu->engine.
 */
#ifndef ANYKVM_ENGINE_ENGINE_H
#define ANYKVM_ENGINE_ENGINE_H

#include "host/types.h"

struct vm;
struct vcpu;

/* Why engine->run() came back. */
enum engine_exit {
	ENGINE_EXIT_STOP,	/* cpu.stop is set: look at it */
	ENGINE_EXIT_HLT,	/* HLT (or MWAIT) executed; activity = X86_HALTED, RIP past it */
	ENGINE_EXIT_IRQ_WINDOW,	/* interrupts became deliverable, as asked by irq_window */
	ENGINE_EXIT_REQUEST,	/* vcpu->exit is filled in (PIO, MMIO, MSR, hypercall...) */
	ENGINE_EXIT_SHUTDOWN,	/* triple fault */
	ENGINE_EXIT_DEBUG,	/* guest debug event for the VMM: cpu.pending_dr6, exception in cpu.fault */
	ENGINE_EXIT_EMULATION,	/* cannot go on: instruction fetch from what is not memory */
	ENGINE_EXIT_FAIL_ENTRY,	/* the processor refuses the guest's state: vcpu->entry_failure says why */
	ENGINE_EXIT_HOST_FAULT,	/* a slot's hva could not be accessed: KVM_RUN returns -EFAULT */
};

struct engine_ops {
	const char *name;	/* mandatory, as the others without comment */
	size_t vcpu_guard;	/* optional: bytes of address space wanted behind struct vcpu (host_alloc_guarded) */
	int (*vm_create)(struct vm *vm);   /* optional: sets vm->engine */
	void (*vm_destroy)(struct vm *vm); /* optional; all vCPUs are gone */
	int (*vcpu_create)(struct vcpu *vcpu); /* 0 or -errno */
	void (*vcpu_destroy)(struct vcpu *vcpu);
	/* Runs until something above happens. Guest FPU state is loaded and saved inside. */
	enum engine_exit (*run)(struct vcpu *vcpu);
	/* Runs exactly one instruction's completion: the one whose request userspace has answered. */
	enum engine_exit (*complete)(struct vcpu *vcpu);
	/* optional, without keep_fpu: the caller has saved the FPU state that an exit left live: all registers are the program's. */
	void (*rest)(struct vcpu *vcpu);
	/* Registers were changed from outside (KVM_SET_*): derived state is stale. */
	void (*state_changed)(struct vcpu *vcpu);
	/* All cached translations of guest memory go (slots changed, dirty log armed). Caller: vCPU's thread. */
	void (*flush_tlb)(struct vcpu *vcpu);
	/* optional: what the engine has asked for by VCPU_REQ_PROTECT. The same caller. */
	void (*protect)(struct vcpu *vcpu);
	/* The VMM or a device may have written guest memory behind the engine's back. Caller: vCPU's thread. */
	void (*memory_changed)(struct vcpu *vcpu);
	/* optional: the processor itself delivers this IRQ or NMI at its next entry; without, the core writes the frame. */
	void (*inject)(struct vcpu *vcpu, bool nmi, u8 vector);
	/* optional: cpu.stop was set by another thread or an interrupt; a vCPU in the guest must come out and look. */
	void (*kick)(struct vcpu *vcpu);
	/*
	 * optional: the VMM, or a handler within run(), is about to look at registers: what the engine keeps of them
	 * goes to vcpu->cpu. v held.
	 */
	void (*sync)(struct vcpu *vcpu);
	/* If vcpu->idle.period_ms: next to nothing was done for that long. What is there for speed alone may go. The same caller. */
	void (*idle)(struct vcpu *vcpu);
	/* A device outside has raised an interrupt: it may have written guest memory that it was told to. The same caller. */
	void (*device_done)(struct vcpu *vcpu);
};

/* The engine of this build; NULL where it cannot run. */
const struct engine_ops *engine_select(void);

#endif
