// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: its state at boot, and its thread.
 *
 * Stopping is free of races: the kick signal's handler sets immediate_exit, so that a signal which
 * arrives between the check of the outcome and KVM_RUN still makes KVM_RUN return.
 */
#define _GNU_SOURCE 1
#include <asm/processor-flags.h>
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/machine.h"

#define MSR_EFER_LME BIT64(8)
#define MSR_EFER_LMA BIT64(10)
#define MSR_IA32_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRINGS BIT64(0)
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE_WRITE_BACK (BIT64(11) | 6)
#define APIC_LVT0 0x350
#define APIC_LVT1 0x360
#define APIC_MODE_NMI (4u << 8)
#define APIC_MODE_EXTINT (7u << 8)

#define KICK_SIGNAL SIGUSR1

static _Thread_local struct vcpu *volatile current_vcpu;

long vcpu_ioctl(const struct vcpu *vcpu, unsigned long request, void *arg)
{
	return vcpu->machine->backend->ioctl(vcpu->fd, request, (unsigned long)arg);
}

static int set_msrs(struct vcpu *vcpu)
{
	static const struct kvm_msr_entry entries[] = {
		{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRINGS },
		/* Firmware's part: memory is write-back; without this Linux gives up the PAT. */
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WRITE_BACK },
	};
	_Alignas(struct kvm_msrs) u8 buffer[sizeof(struct kvm_msrs) + sizeof(entries)];
	struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;
	long done;

	*msrs = (struct kvm_msrs){ .nmsrs = ARRAY_SIZE(entries) };
	memcpy(msrs->entries, entries, sizeof(entries));
	done = vcpu_ioctl(vcpu, KVM_SET_MSRS, msrs);
	if (done < 0)
		return vmm_fail_errno("KVM_SET_MSRS");
	if ((size_t)done < ARRAY_SIZE(entries))
		return vmm_fail("KVM refuses MSR 0x%x", entries[done].index);
	return 0;
}

/* Firmware's other part: the 8259 on LINT0, NMIs on LINT1. */
static int set_lapic(struct vcpu *vcpu)
{
	struct kvm_lapic_state lapic;
	u32 mode;

	if (vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic) < 0)
		return vmm_fail_errno("KVM_GET_LAPIC");
	mode = APIC_MODE_EXTINT;
	memcpy(lapic.regs + APIC_LVT0, &mode, sizeof(mode));
	mode = APIC_MODE_NMI;
	memcpy(lapic.regs + APIC_LVT1, &mode, sizeof(mode));
	if (vcpu_ioctl(vcpu, KVM_SET_LAPIC, &lapic) < 0)
		return vmm_fail_errno("KVM_SET_LAPIC");
	return 0;
}

/* The guest's TSC is the host's: user code may then read it where it runs directly. Before Linux 5.16 it starts at 0. */
static void set_tsc(struct vcpu *vcpu)
{
	u64 offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (u64)(uintptr_t)&offset,
	};

	vcpu_ioctl(vcpu, KVM_SET_DEVICE_ATTR, &attr);
}

int vmm_vcpu_create(struct machine *m, unsigned id)
{
	struct vcpu *vcpu = &m->vcpu[id];
	long size;

	*vcpu = (struct vcpu){ .machine = m, .id = id, .run = MAP_FAILED };
	vcpu->fd = m->backend->ioctl(m->vm_fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		return vmm_fail_errno("cannot create vCPU %u", id);
	m->nvcpus = id + 1;
	size = m->backend->ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (long)sizeof(struct kvm_run))
		return vmm_fail_errno("KVM_GET_VCPU_MMAP_SIZE");
	vcpu->run_size = size;
	vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		return vmm_fail_errno("cannot map vCPU %u", id);
	if (cpuid_set(vcpu) || set_msrs(vcpu) || set_lapic(vcpu))
		return -1;
	set_tsc(vcpu);
	return 0;
}

void vmm_vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run != MAP_FAILED)
		munmap(vcpu->run, vcpu->run_size);
	if (vcpu->fd >= 0)
		vcpu->machine->backend->close(vcpu->fd);
}

static struct kvm_segment flat_segment(u16 selector, u8 type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
	};
}

/* Documentation/arch/x86/boot.rst, "64-bit Boot Protocol". */
int vcpu_enter_linux(struct vcpu *vcpu, u64 rip, u64 boot_params, u64 page_table, u64 gdt)
{
	struct kvm_regs regs = { .rip = rip, .rsi = boot_params, .rflags = X86_EFLAGS_FIXED };
	struct kvm_segment data = flat_segment(0x18, 3);
	struct kvm_sregs sregs;

	if (vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return vmm_fail_errno("KVM_GET_SREGS");
	sregs.cs = flat_segment(0x10, 11);
	sregs.cs.l = 1;
	data.db = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr = (struct kvm_segment){ .limit = 0xffff, .selector = 0x20, .type = 11, .present = 1 };
	sregs.gdt = (struct kvm_dtable){ .base = gdt, .limit = 5 * 8 - 1 };
	sregs.idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	sregs.cr3 = page_table;
	sregs.cr4 |= X86_CR4_PAE;
	sregs.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG;
	sregs.efer |= MSR_EFER_LME | MSR_EFER_LMA;
	if (vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return vmm_fail_errno("KVM_SET_SREGS");
	if (vcpu_ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return vmm_fail_errno("KVM_SET_REGS");
	return 0;
}

static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u8 *data = (u8 *)run + run->io.data_offset;

	for (u32 i = 0; i < run->io.count; i++, data += run->io.size)
		io_access(&vcpu->machine->pio, run->io.port, data, run->io.size,
			  run->io.direction == KVM_EXIT_IO_OUT);
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	io_access(&vcpu->machine->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		  run->mmio.is_write);
}

static void die(struct vcpu *vcpu, enum machine_outcome why, const char *what)
{
	if (machine_end(vcpu->machine, why)) {
		vcpu->crashed = true;
		snprintf(vcpu->crash, sizeof(vcpu->crash), "%s", what);
	}
}

static void exit_shutdown(struct vcpu *vcpu)
{
	if (vcpu->machine->config->triple_fault_resets)
		machine_end(vcpu->machine, MACHINE_RESET);
	else
		die(vcpu, MACHINE_TRIPLE_FAULT, "the guest crashed: triple fault");
}

static void exit_internal_error(struct vcpu *vcpu)
{
	static const char *const name[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction could not be emulated",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "exceptions at the same time",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "a fault while an event was delivered",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected exit",
	};
	u32 suberror = vcpu->run->internal.suberror;
	char what[128];

	snprintf(what, sizeof(what), "KVM internal error %u: %s", suberror,
		 suberror < ARRAY_SIZE(name) && name[suberror] ? name[suberror] : "unknown");
	die(vcpu, MACHINE_ERROR, what);
}

static void exit_other(struct vcpu *vcpu)
{
	char what[128];

	snprintf(what, sizeof(what), "KVM_RUN ended for reason %u (hardware reason 0x%llx)",
		 vcpu->run->exit_reason, vcpu->run->hw.hardware_exit_reason);
	die(vcpu, MACHINE_ERROR, what);
}

static void exit_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_end(vcpu->machine, MACHINE_POWEROFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_end(vcpu->machine, MACHINE_RESET);
		break;
	default:
		die(vcpu, MACHINE_ERROR, "the guest reported a crash");
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		exit_shutdown(vcpu);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(vcpu);
		break;
	default:
		exit_other(vcpu);
	}
}

static void run_failed(struct vcpu *vcpu)
{
	char what[128];

	snprintf(what, sizeof(what), "KVM_RUN: %s", strerror(errno));
	die(vcpu, MACHINE_ERROR, what);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct machine *m = vcpu->machine;

	current_vcpu = vcpu;
	while (atomic_read_acquire(&m->outcome) == MACHINE_RUNNING) {
		if (vcpu_ioctl(vcpu, KVM_RUN, NULL) == 0)
			handle_exit(vcpu);
		else if (errno != EINTR && errno != EAGAIN)
			run_failed(vcpu);
	}
	current_vcpu = NULL;
	return NULL;
}

static void kicked(int signal)
{
	struct vcpu *vcpu = current_vcpu;

	(void)signal;
	if (vcpu) {
		atomic_set(&vcpu->run->immediate_exit, 1);
		vcpu->machine->backend->interrupt();
	}
}

/* vCPU threads take the kick and faults; all else is the main thread's. */
int vcpu_start(struct vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = kicked };
	sigset_t mask, old;
	char name[16];
	int error;

	sigaction(KICK_SIGNAL, &action, NULL);
	sigfillset(&mask);
	sigdelset(&mask, KICK_SIGNAL);
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGILL);
	sigdelset(&mask, SIGFPE);
	sigdelset(&mask, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &mask, &old);
	error = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error) {
		errno = error;
		return vmm_fail_errno("cannot start vCPU %u", vcpu->id);
	}
	snprintf(name, sizeof(name), "vcpu %u", vcpu->id);
	pthread_setname_np(vcpu->thread, name);
	vcpu->has_thread = true;
	return 0;
}

void vmm_vcpu_kick(struct vcpu *vcpu)
{
	if (vcpu->has_thread)
		pthread_kill(vcpu->thread, KICK_SIGNAL);
}

void vcpu_join(struct vcpu *vcpu)
{
	if (vcpu->has_thread)
		pthread_join(vcpu->thread, NULL);
	vcpu->has_thread = false;
}
