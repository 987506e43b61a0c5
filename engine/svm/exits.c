/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exits that say themselves what was to be done. The processor has checked privilege before the intercept (APM vol. 2,
 * table 15-7), but where noted.
 */
#include "engine/svm/svm.h"
#include "x86/segment.h"
#include "x86/system.h"

#define MSR_X2APIC 0x800u
#define MSR_TSC_DEADLINE 0x6e0u
#define MISC_FEATURES_CPUID_FAULT 1u

/* The instruction that exited is done. */
static enum svm_next finish(struct vcpu *vcpu, u64 rip, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	bool stepped = (cpu->rflags & X86_TF) || (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP);

	cpu->regs[X86_REG_RIP] = rip;
	cpu->rflags &= ~X86_RF;
	cpu->shadow = 0;
	return svm_retired(vcpu, stepped, exit);
}

/* What env or x86/ said of the instruction. */
static enum svm_next conclude(struct vcpu *vcpu, enum x86_result r, u64 rip, enum engine_exit *exit)
{
	switch (r) {
	case X86_OK:
	case X86_END:
		return finish(vcpu, rip, exit);
	case X86_EXIT:
		return svm_leave(exit, ENGINE_EXIT_REQUEST);
	default:
		return svm_deliver_fault(vcpu, exit);
	}
}

enum svm_next svm_exit_nothing(struct vcpu *vcpu, enum engine_exit *exit)
{
	enum svm_next next;
	u64 rip;

	return svm_next_rip(vcpu, &rip, &next, exit) ? finish(vcpu, rip, exit) : next;
}

enum svm_next svm_exit_hlt(struct vcpu *vcpu, enum engine_exit *exit)
{
	enum svm_next next;
	u64 rip;

	if (!svm_next_rip(vcpu, &rip, &next, exit))
		return next;
	if (finish(vcpu, rip, exit) == SVM_LEAVE)
		return SVM_LEAVE;
	/* a trap that was taken instead ends the halt before it begins */
	if (x86_rip(&vcpu->cpu) != rip)
		return SVM_ON;
	vcpu->cpu.activity = X86_HALTED;
	return svm_leave(exit, ENGINE_EXIT_HLT);
}

enum svm_next svm_exit_cpuid(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	enum svm_next next;
	u32 out[4];
	u64 rip;

	if (!svm_next_rip(vcpu, &rip, &next, exit))
		return next;
	if (cpu->cpl && (cpu->msr.misc_features & MISC_FEATURES_CPUID_FAULT)) {
		x86_raise(cpu, X86_GP, 0);
		return svm_deliver_fault(vcpu, exit);
	}
	x86_cpuid(cpu, (u32)cpu->regs[X86_RAX], (u32)cpu->regs[X86_RCX], out);
	cpu->regs[X86_RAX] = out[0];
	cpu->regs[X86_RBX] = out[1];
	cpu->regs[X86_RCX] = out[2];
	cpu->regs[X86_RDX] = out[3];
	return finish(vcpu, rip, exit);
}

/* MSRs that depend on nothing that the VMCB holds. */
static bool msr_is_outside(u32 index)
{
	return index == MSR_TSC_DEADLINE || index - MSR_X2APIC < 0x100 || index - 0x4b564d00u < 0x100;
}

enum svm_next svm_exit_msr(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	u32 index = (u32)cpu->regs[X86_RCX];
	bool write = svm->vmcb->control.exit_info1;
	u64 rip, value = cpu->regs[X86_RDX] << 32 | (u32)cpu->regs[X86_RAX];
	enum svm_next next;
	enum x86_result r;

	if (!svm_next_rip(vcpu, &rip, &next, exit))
		return next;
	if (!msr_is_outside(index))
		svm_pull(vcpu);
	if (cpu->cpl) /* the permission map is looked at first for MSRs that it does not cover */
		r = x86_raise(cpu, X86_GP, 0);
	else
		r = write ? cpu->env->wrmsr(cpu, index, value) : cpu->env->rdmsr(cpu, index, &value);
	if (r == X86_OK && !write) {
		cpu->regs[X86_RAX] = (u32)value;
		cpu->regs[X86_RDX] = value >> 32;
	}
	return conclude(vcpu, r, rip, exit);
}

static u64 merge(u64 old, u64 value, unsigned size)
{
	u64 mask = x86_size_mask(size);

	return (old & ~mask) | (value & mask);
}

static void io_breakpoint(struct x86_cpu *cpu, u16 port, unsigned size)
{
	if (unlikely(x86_debug_data_active(cpu)))
		cpu->pending_dr6 |= x86_debug_io(cpu, port, size);
}

enum svm_next svm_exit_io(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	u64 info = svm->vmcb->control.exit_info1, rip = svm->vmcb->control.exit_info2;
	unsigned size = SVM_IO_SIZE(info), count = 1;
	u16 port = SVM_IO_PORT(info);
	u32 data = (u32)cpu->regs[X86_RAX];
	enum x86_result r;

	if (info & SVM_IO_STRING)
		return svm_emulate(vcpu, exit);
	if (info & SVM_IO_IN) {
		data = 0;
		r = cpu->env->pio_in(cpu, port, size, &data, &count);
		if (r == X86_OK)
			cpu->regs[X86_RAX] = size == 4 ? data : merge(cpu->regs[X86_RAX], data, size);
	} else {
		r = cpu->env->pio_out(cpu, port, size, &data, &count);
	}
	if (r == X86_OK)
		io_breakpoint(cpu, port, size);
	if (r == X86_EXIT) {
		svm_pull(vcpu);
		svm->again = SVM_AGAIN_IO;
		svm->again_rip = svm_linear_rip(cpu, 0);
	}
	return conclude(vcpu, r, rip, exit);
}

/* ---- exceptions ----------------------------------------------------------------------------------------------------- */

/* The guest's debug event, or the VMM's. */
static enum svm_next debug_exception(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;

	x86_raise_db(cpu, svm->vmcb->save.dr6 & 0xe00f);
	return svm_deliver_fault(vcpu, exit);
}

/* VMCALL, where VMMCALL would be right, is a hypercall too. */
static enum svm_next undefined(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 };
	u8 bytes[sizeof(vmcall)];
	u64 linear;
	bool memory;

	svm_pull(vcpu);
	linear = cpu->seg_base[X86_CS] + x86_rip(cpu);
	if ((linear & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof(bytes) &&
	    !svm_fetch(cpu, linear, bytes, sizeof(bytes), &memory) && memory && !memcmp(bytes, vmcall, sizeof(bytes)))
		return svm_emulate(vcpu, exit);
	x86_raise(cpu, X86_UD, 0);
	return svm_deliver_fault(vcpu, exit);
}

enum svm_next svm_exit_exception(struct vcpu *vcpu, unsigned vector, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;

	/* It came up in the delivery of an exception, which is benign with all of these: that one does not come any more. */
	if ((svm->event & SVM_EVENT_TYPE) == SVM_EVENT_EXCEPTION)
		svm->event = 0;
	switch (vector) {
	case X86_DB:
		return debug_exception(vcpu, exit);
	case X86_BP:
		svm_pull(vcpu);
		vcpu->cpu.fault = (struct x86_exception){ .vector = X86_BP };
		return svm_leave(exit, ENGINE_EXIT_DEBUG);
	case X86_UD:
		return undefined(vcpu, exit);
	case X86_MC: /* the host has dealt with it */
		return SVM_ON;
	default:
		x86_raise(&vcpu->cpu, vector, (u32)svm->vmcb->control.exit_info1);
		return svm_deliver_fault(vcpu, exit);
	}
}

/* ---- nested page faults ------------------------------------------------------------------------------------------------ */

static void keep_bytes(struct svm_vcpu *svm)
{
	const struct vmcb_control *c = &svm->vmcb->control;

	svm->nr_bytes = 0;
	if (!svm_has(SVM_FEATURE_DECODE) || !c->nr_bytes || c->nr_bytes > sizeof(svm->bytes))
		return;
	memcpy(svm->bytes, c->bytes, c->nr_bytes);
	svm->nr_bytes = c->nr_bytes;
}

static enum svm_next mmio(struct vcpu *vcpu, u64 gpa, bool write, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;
	enum svm_next next;

	/* No instruction accesses a device here, but the delivery of an event. */
	if (svm->event)
		return svm_leave(exit, ENGINE_EXIT_EMULATION);
	keep_bytes(svm);
	/* Otherwise it was a walk of page tables that are not in memory: the emulator's finds that too. */
	svm->access = (struct svm_access){ .valid = svm->vmcb->control.exit_info1 & SVM_NPF_FINAL,
					   .write = write, .gpa = gpa };
	next = svm_emulate(vcpu, exit);
	svm->nr_bytes = 0;
	return next;
}

enum svm_next svm_exit_npf(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;
	u64 gpa = svm->vmcb->control.exit_info2;
	bool write = svm->vmcb->control.exit_info1 & SVM_NPF_WRITE;

	switch (npt_fault(vcpu, gpa, write)) {
	case NPT_MAPPED:
		return SVM_ON;
	case NPT_MMIO:
		return mmio(vcpu, gpa, write, exit);
	case NPT_INTERRUPTED:
		atomic_or(&vcpu->cpu.stop, X86_STOP_SIGNAL);
		return SVM_ON;
	default:
		return svm_leave(exit, ENGINE_EXIT_HOST_FAULT);
	}
}
