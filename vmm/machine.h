/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of a machine: shared by the files of vmm/ that build and run it. */
#ifndef ANYKVM_VMM_MACHINE_H
#define ANYKVM_VMM_MACHINE_H

#include <pthread.h>

#include "vmm/backend.h"
#include "vmm/cmos.h"
#include "vmm/event.h"
#include "vmm/fail.h"
#include "vmm/io.h"
#include "vmm/memory.h"
#include "vmm/serial.h"
#include "vmm/virtio/virtio.h"
#include "vmm/vmm.h"

/* Above guest memory and below the IOAPIC: what KVM needs on Intel hosts, and the devices. */
#define VIRTIO_MMIO_BASE 0xd0000000ull
#define KVM_IDENTITY_MAP 0xfffbc000ull
#define KVM_TSS_ADDRESS 0xfffbd000ull

#define SERIAL_PORT 0x3f8
#define SERIAL_IRQ 4

/* ACPI's sleep control and status registers (hardware-reduced), and the reset register. */
#define SLEEP_CONTROL_PORT 0x600
#define SLEEP_STATUS_PORT 0x601
#define RESET_PORT 0xcf9
#define RESET_VALUE 0x06

#define VIRTIO_DEVICES_MAX (VMM_DISKS_MAX + 1)

struct vcpu {
	struct machine *machine;
	unsigned id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool has_thread;
	bool crashed; /* and the machine ended for it */
	char crash[128];
};

struct machine {
	const struct machine_config *config;
	const struct kvm_backend *backend;
	int kvm_fd, vm_fd;
	struct guest_memory memory;
	struct io_space pio, mmio;
	struct vcpu vcpu[VMM_CPUS_MAX];
	unsigned nvcpus;

	struct console *console;
	struct serial serial;
	bool has_serial;
	struct cmos cmos;
	struct virtio_device *virtio[VIRTIO_DEVICES_MAX];
	unsigned nvirtio;

	struct event_loop loop;	   /* the caller's thread */
	struct event_loop io_loop; /* virtio */
	struct event_source signals;
	int signal;
	u32 outcome; /* enum machine_outcome: the first to set it wins, and vCPU threads end */
};

/* Ends the run for this reason unless another came first; true if it is ours. Any thread. */
bool machine_end(struct machine *m, enum machine_outcome why);

/* power.c: the registers by which a guest ends or resets its machine. */
int power_register(struct machine *m);

/* vcpu.c */
int vmm_vcpu_create(struct machine *m, unsigned id);
void vmm_vcpu_destroy(struct vcpu *vcpu);
/* The state at the kernel's 64-bit entry point. */
int vcpu_enter_linux(struct vcpu *vcpu, u64 rip, u64 boot_params, u64 page_table, u64 gdt);
int vcpu_start(struct vcpu *vcpu);
void vmm_vcpu_kick(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);
long vcpu_ioctl(const struct vcpu *vcpu, unsigned long request, void *arg);

/* cpuid.c: what KVM supports, with the topology of this machine. */
int cpuid_set(struct vcpu *vcpu);

/* report.c: how a vCPU crashed and its state then, on stderr, for the user. */
void vcpu_report(const struct vcpu *vcpu);

#endif
