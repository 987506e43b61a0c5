/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the processor finds outside itself: physical memory for its page walks, devices in the kernel and in the VMM, time.
 *
 * Restart protocol. Reads and port accesses that only the VMM can answer end the execution of their instruction
 * (X86_EXIT). When the VMM has answered, the instruction runs again from its start; every device access that it had
 * already made, and the answer, are in io.log and are replayed in order instead of being made again. Writes to MMIO do
 * not end an instruction: they are queued in io.writes and told to the VMM at the instruction's end, one KVM_RUN each.
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "kvm/xen.h"
#include "x86/system.h"

/* ---- physical memory ------------------------------------------------------------------------------------ */

static void outside_phys_read(struct x86_cpu *cpu, u64 gpa, void *dst, unsigned size)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	if (vm_read_guest(vcpu->vm, vcpu_as_id(vcpu), gpa, dst, size))
		memset(dst, 0xff, size);
}

static void outside_phys_write(struct x86_cpu *cpu, u64 gpa, const void *src, unsigned size)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	vcpu_write_guest(vcpu, vcpu_as_id(vcpu), gpa, src, size);
	atomic_or(&vcpu->requests, VCPU_REQ_MEMORY);
}

static bool outside_phys_cmpxchg(struct x86_cpu *cpu, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	return vcpu_cmpxchg_guest(vcpu, vcpu_as_id(vcpu), gpa, old, new_value, size) == 0;
}

/* ---- the log of the instruction in progress --------------------------------------------------------------- */

static u64 linear_rip(const struct vcpu *vcpu)
{
	return vcpu->cpu.seg_base[X86_CS] + x86_rip(&vcpu->cpu);
}

/* The engine must come back at the end of this instruction: its accesses are to be forgotten or told. */
static void leave_after_instruction(struct vcpu *vcpu, u32 why)
{
	atomic_or(&vcpu->cpu.stop, why);
}

static bool log_replay(struct vcpu_io *io, u64 address, void *data, unsigned size)
{
	u64 value;

	if (io->replayed >= io->logged || io->log[io->replayed].address != address || io->log[io->replayed].size != size)
		return false;
	value = io->log[io->replayed++].data;
	memcpy(data, &value, size);
	return true;
}

static void log_append(struct vcpu *vcpu, u64 address, const void *data, unsigned size)
{
	struct vcpu_io *io = &vcpu->io;

	leave_after_instruction(vcpu, X86_STOP_EVENT);
	if (io->logged == VCPU_IO_LOG)
		return;
	io->log[io->logged].address = address;
	io->log[io->logged].size = (u8)size;
	io->log[io->logged].data = 0;
	memcpy(&io->log[io->logged].data, data, size);
	io->replayed = ++io->logged;
}

static void io_reset(struct vcpu_io *io)
{
	io->pending = VCPU_IO_NONE;
	io->logged = io->replayed = 0;
	io->nr_writes = io->next_write = 0;
	io->pio_done = 0;
	io->msr_answered = false;
	io->hypercall_answered = false;
}

/* ---- MMIO ----------------------------------------------------------------------------------------------------- */

static void request_mmio_read(struct vcpu *vcpu, u64 gpa, unsigned size)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = size;
	run->mmio.is_write = 0;
	vcpu->io.pending = VCPU_IO_MMIO_READ;
	vcpu->io.restart = true;
	vcpu->io.gpa = gpa;
	vcpu->io.size = (u8)size;
	vcpu->stat->mmio_exits++;
}

static enum x86_result outside_mmio_read(struct x86_cpu *cpu, u64 gpa, void *dst, unsigned size)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	while (size) {
		unsigned n = size < 8 ? size : 8;

		if (!log_replay(&vcpu->io, gpa, dst, n)) {
			if (!vcpu_bus_read(vcpu, false, gpa, dst, n)) {
				request_mmio_read(vcpu, gpa, n);
				return X86_EXIT;
			}
			log_append(vcpu, gpa, dst, n);
		}
		gpa += n;
		dst = (char *)dst + n;
		size -= n;
	}
	return X86_OK;
}

static enum x86_result outside_mmio_write(struct x86_cpu *cpu, u64 gpa, const void *src, unsigned size)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	struct vcpu_io *io = &vcpu->io;

	while (size) {
		unsigned n = size < 8 ? size : 8;

		if (!vcpu_bus_write(vcpu, false, gpa, src, n) && io->nr_writes < VCPU_IO_LOG) {
			io->writes[io->nr_writes].gpa = gpa;
			io->writes[io->nr_writes].size = (u8)n;
			memcpy(&io->writes[io->nr_writes].data, src, n);
			io->nr_writes++;
			leave_after_instruction(vcpu, X86_STOP_EXIT);
		}
		gpa += n;
		src = (const char *)src + n;
		size -= n;
	}
	return X86_OK;
}

static void tell_mmio_write(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vcpu_io *io = &vcpu->io;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = io->writes[io->next_write].gpa;
	run->mmio.len = io->writes[io->next_write].size;
	run->mmio.is_write = 1;
	memcpy(run->mmio.data, &io->writes[io->next_write].data, 8);
	io->next_write++;
	io->pending = VCPU_IO_MMIO_WRITE;
	io->restart = false;
	vcpu->stat->mmio_exits++;
}

/* ---- ports ----------------------------------------------------------------------------------------------------- */

static enum x86_result request_pio(struct vcpu *vcpu, u16 port, unsigned size, unsigned count, bool in)
{
	struct kvm_run *run = vcpu->run;
	struct vcpu_io *io = &vcpu->io;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = (u8)size;
	run->io.port = port;
	run->io.count = count;
	run->io.data_offset = KVM_PIO_PAGE_OFFSET * 4096;
	io->pending = VCPU_IO_PIO;
	io->restart = true;
	io->pio_port = port;
	io->pio_size = (u8)size;
	io->pio_count = count;
	io->pio_done = 0;
	io->pio_in = in;
	vcpu->stat->io_exits++;
	return X86_EXIT;
}

static bool pio_answered(struct vcpu_io *io, u16 port, unsigned size, unsigned *count, bool in)
{
	if (!io->pio_done || io->pio_port != port || io->pio_size != size || io->pio_in != in)
		return false;
	if (*count > io->pio_done)
		*count = io->pio_done;
	io->pio_done = 0;
	return true;
}

/* Items that in-kernel devices take, up to count. */
static unsigned pio_in_kernel(struct vcpu *vcpu, u16 port, unsigned size, void *data, unsigned count, bool in)
{
	unsigned done = 0;

	for (; done < count; done++) {
		u8 *p = (u8 *)data + (size_t)done * size;

		if (in ? !vcpu_bus_read(vcpu, true, port, p, size) : !vcpu_bus_write(vcpu, true, port, p, size))
			break;
	}
	return done;
}

static unsigned pio_limit(unsigned count, unsigned size)
{
	return count < 4096 / size ? count : 4096 / size;
}

static enum x86_result outside_pio_in(struct x86_cpu *cpu, u16 port, unsigned size, void *data, unsigned *count)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	unsigned n = pio_limit(*count, size), done;

	if (pio_answered(&vcpu->io, port, size, &n, true)) {
		memcpy(data, vcpu->pio_page, (size_t)n * size);
		*count = n;
		return X86_OK;
	}
	done = pio_in_kernel(vcpu, port, size, data, n, true);
	if (!done)
		return request_pio(vcpu, port, size, n, true);
	*count = done;
	return X86_OK;
}

static enum x86_result outside_pio_out(struct x86_cpu *cpu, u16 port, unsigned size, const void *data, unsigned *count)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	unsigned n = pio_limit(*count, size), done;

	if (pio_answered(&vcpu->io, port, size, &n, false)) {
		*count = n;
		return X86_OK;
	}
	done = pio_in_kernel(vcpu, port, size, (void *)data, n, false);
	if (!done) {
		memcpy(vcpu->pio_page, data, (size_t)n * size);
		return request_pio(vcpu, port, size, n, false);
	}
	*count = done;
	return X86_OK;
}

/* ---- both ends of a userspace exit ------------------------------------------------------------------------------ */

/* RIP of the waiting instruction is exact only now that the engine has left its block. */
void vcpu_io_wait(struct vcpu *vcpu)
{
	vcpu->io.rip = linear_rip(vcpu);
}

bool vcpu_io_finish(struct vcpu *vcpu)
{
	struct vcpu_io *io = &vcpu->io;

	atomic_take(&vcpu->cpu.stop, X86_STOP_EXIT);
	if (io->next_write < io->nr_writes) {
		io->logged = io->replayed = 0;
		tell_mmio_write(vcpu);
		return true;
	}
	io_reset(io);
	return false;
}

bool vcpu_io_answered(struct vcpu *vcpu)
{
	struct vcpu_io *io = &vcpu->io;

	if (io->pending == VCPU_IO_MMIO_WRITE) {
		if (io->next_write < io->nr_writes) {
			tell_mmio_write(vcpu);
			return true;
		}
		io_reset(io);
		io->restart = false;
		return false;
	}
	if (linear_rip(vcpu) != io->rip) {
		io_reset(io);
		io->restart = false;
		return false;
	}
	if (io->pending == VCPU_IO_MMIO_READ) {
		u64 data;

		memcpy(&data, vcpu->run->mmio.data, sizeof(data));
		log_append(vcpu, io->gpa, &data, io->size);
	} else if (io->pending == VCPU_IO_PIO) {
		io->pio_done = io->pio_count;
	} else if (io->pending == VCPU_IO_MSR) {
		io->msr_answered = true;
	} else if (io->pending == VCPU_IO_HYPERCALL) {
		io->hypercall_answered = true;
	}
	io->replayed = 0;
	io->nr_writes = io->next_write = 0; /* of its first part: it makes them again */
	io->pending = VCPU_IO_NONE;
	io->restart = true;
	return false;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static u64 outside_get_cr8(struct x86_cpu *cpu)
{
	return vcpu_irq_get_cr8(vcpu_of(cpu));
}

static enum x86_result outside_set_cr8(struct x86_cpu *cpu, u64 value)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	if (value > 15)
		return x86_raise(cpu, X86_GP, 0);
	if (vcpu->vm->irqchip_mode == IRQCHIP_NONE && value < vcpu_irq_get_cr8(vcpu)) {
		/* the userspace LAPIC may now have something to deliver: it learns of it by this exit */
		vcpu_irq_set_cr8(vcpu, value);
		vcpu->tpr_lowered = true;
		leave_after_instruction(vcpu, X86_STOP_EVENT);
		return X86_OK;
	}
	vcpu_irq_set_cr8(vcpu, value);
	return X86_OK;
}

/* KVM_HC_MAP_GPA_RANGE, which is userspace's to do (KVM_CAP_EXIT_HYPERCALL). */
static enum x86_result map_gpa_range(struct vcpu *vcpu, const u64 arg[4], bool wide, u64 *result)
{
	struct kvm_run *run = vcpu->run;

	if (vcpu->io.hypercall_answered) {
		*result = run->hypercall.ret;
		return X86_OK;
	}
	*result = (u64)-KVM_EINVAL;
	if ((arg[0] & 4095) || !arg[1] || (arg[0] >> 12) + arg[1] <= arg[0] >> 12)
		return X86_OK;
	run->exit_reason = KVM_EXIT_HYPERCALL;
	run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
	memcpy(run->hypercall.args, arg, 3 * sizeof(arg[0]));
	run->hypercall.longmode = wide;
	vcpu->io.pending = VCPU_IO_HYPERCALL;
	vcpu->io.restart = true;
	return X86_EXIT;
}

/* KVM's hypercall convention: number in RAX, arguments in RBX, RCX, RDX, RSI (Documentation: hypercalls.rst). */
static enum x86_result outside_hypercall(struct x86_cpu *cpu)
{
	struct vcpu *vcpu = vcpu_of(cpu);
	u64 arg[4] = { cpu->regs[X86_RBX], cpu->regs[X86_RCX], cpu->regs[X86_RDX], cpu->regs[X86_RSI] };
	u64 nr = cpu->regs[X86_RAX];
	bool wide = cpu->code_bits == 64;
	enum x86_result r = X86_OK;
	u64 result;

	if (unlikely(vm_xen_has_hypercalls(vcpu->vm)))
		return vcpu_xen_hypercall(vcpu);
	if (unlikely(vcpu_hyperv_has_hypercalls(vcpu)))
		return vcpu_hyperv_hypercall(vcpu);
	for (unsigned i = 0; !wide && i < 4; i++)
		arg[i] = (u32)arg[i];
	nr = wide ? nr : (u32)nr;
	if (cpu->cpl)
		result = (u64)-KVM_EPERM;
	else if (nr == KVM_HC_MAP_GPA_RANGE && vcpu->vm->exit_hypercalls)
		r = map_gpa_range(vcpu, arg, wide, &result);
	else
		result = (u64)vcpu_pv_hypercall(vcpu, nr, arg);
	if (r)
		return r;
	vcpu->stat->hypercalls++;
	cpu->regs[X86_RAX] = wide ? result : (u32)result;
	return X86_OK;
}

static bool outside_apic_enabled(struct x86_cpu *cpu)
{
	return vcpu_of(cpu)->apic_base & BIT64(11);
}

static u64 outside_tsc(struct x86_cpu *cpu)
{
	return vcpu_read_tsc(vcpu_of(cpu));
}

static u64 outside_disabled_quirks(struct x86_cpu *cpu)
{
	return atomic_read(&vcpu_of(cpu)->vm->disabled_quirks);
}

/* Whoever holds what is waited for may be waiting for this processor. */
static void outside_spinning(struct x86_cpu *cpu)
{
	struct vm *vm = vcpu_of(cpu)->vm;

	if (atomic_read(&vm->nr_vcpus) > 1 && !(vm->disabled_exits & KVM_X86_DISABLE_EXITS_PAUSE))
		vcpu_spin(vcpu_of(cpu));
}

static void outside_nothing(struct x86_cpu *cpu)
{
	(void)cpu;
}

/* SMRAM is another address space: nothing derived from the old one may stay. */
static void outside_smm_changed(struct x86_cpu *cpu)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	vcpu->vm->ops->flush_tlb(vcpu);
	vcpu_request(vcpu, VCPU_REQ_EVENT);
}

const struct x86_env_ops vcpu_env = {
	.phys_read = outside_phys_read,
	.phys_write = outside_phys_write,
	.phys_cmpxchg = outside_phys_cmpxchg,
	.mmio_read = outside_mmio_read,
	.mmio_write = outside_mmio_write,
	.pio_in = outside_pio_in,
	.pio_out = outside_pio_out,
	.rdmsr = vcpu_rdmsr,
	.wrmsr = vcpu_wrmsr,
	.get_cr8 = outside_get_cr8,
	.set_cr8 = outside_set_cr8,
	.hypercall = outside_hypercall,
	.apic_enabled = outside_apic_enabled,
	.disabled_quirks = outside_disabled_quirks,
	.tsc = outside_tsc,
	.spinning = outside_spinning,
	.iret_done = outside_nothing,
	.smm_changed = outside_smm_changed,
	.cpuid_changed = outside_nothing,
};
