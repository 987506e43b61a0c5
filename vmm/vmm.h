/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The small built-in VMM: a PC without a bus - vCPUs, memory, KVM's irqchip and PIT, a UART, a CMOS
 * clock, virtio-mmio devices told by ACPI - that starts a 64-bit Linux kernel directly.
 *
 * Threads: the caller's runs machine_run()'s loop (console, signals), one each vCPU runs KVM_RUN and
 * dispatches its accesses, one ("io") does the virtio devices' work, which may block on files.
 */
#ifndef ANYKVM_VMM_VMM_H
#define ANYKVM_VMM_VMM_H

#include "host/types.h"

struct console;
struct kvm_backend;
struct machine;

#define VMM_CPUS_MAX 64
#define VMM_DISKS_MAX 12
#define VMM_MEMORY_MIN (16ull << 20)
#define VMM_MEMORY_MAX (1ull << 40)

struct disk_config {
	const char *path;
	bool read_only;
};

struct machine_config {
	const struct kvm_backend *backend;
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *append;
	u64 memory; /* bytes, multiple of 1 MiB */
	unsigned cpus;
	struct disk_config disk[VMM_DISKS_MAX];
	unsigned ndisks;
	bool rng;
	bool serial;
	bool triple_fault_resets;
};

/* Why machine_run() returned. */
enum machine_outcome {
	MACHINE_RUNNING,
	MACHINE_POWEROFF,
	MACHINE_RESET,
	MACHINE_TRIPLE_FAULT, /* reported on stderr, with the vCPU's registers */
	MACHINE_ERROR,	      /* KVM gave up on a vCPU; reported likewise */
	MACHINE_QUIT,	      /* the user's Ctrl-A x */
	MACHINE_SIGNAL,	      /* a signal asks the process to end: see machine_signal() */
};

/* NULL with vmm_fail() on errors. console: NULL without one. */
struct machine *machine_create(const struct machine_config *config, struct console *console);
enum machine_outcome machine_run(struct machine *m);
void machine_destroy(struct machine *m);
int machine_signal(const struct machine *m);

#endif
