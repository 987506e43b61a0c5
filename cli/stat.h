/* SPDX-License-Identifier: GPL-2.0-only */
/* Running VMs and their counters, as include/anykvm_stats.h has them. */
#ifndef ANYKVM_CLI_STAT_H
#define ANYKVM_CLI_STAT_H

#include <stdint.h>
#include <sys/types.h>

#define STAT_VMS_MAX 256
#define STAT_NAME_SIZE 64

struct stat_vm {
	pid_t pid;
	char program[32];
	int fd;
	ino_t inode;
	uint64_t vm, vcpu, stride;	/* struct anykvm_stats_area's */
	unsigned vcpus;
};

struct stat_counter {
	char name[STAT_NAME_SIZE];
	uint64_t value;
};

/* The counters of a VM or vCPU. */
struct stat_image {
	char id[STAT_NAME_SIZE];
	unsigned count;
	struct stat_counter counter[512];
};

/*
 * The VMs of process `pid`, or of all processes that we may look into (0), at most STAT_VMS_MAX. Returns how many, or
 * -1 with errno if pid cannot be looked into.
 */
int stat_find(pid_t pid, struct stat_vm *vms);
void stat_close(struct stat_vm *vms, int count);
/* vcpu -1: the VM's. 0, or -1 if that is not there or makes no sense. */
int stat_read(const struct stat_vm *vm, int vcpu, struct stat_image *image);

#endif
