/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the counters of a running VM are: a memfd of this name that the process keeps open for each VM, to be found and
 * mapped by way of /proc/PID/fd by whoever may trace the process (its user, root). So nothing is left behind when the
 * process ends, however it ends, and there is nothing to be stale.
 *
 * It begins with struct anykvm_stats_area. At `vm`, and for each of `vcpus` at vcpu + i * stride, is what a read of the
 * descriptor of KVM_GET_STATS_FD gives (KVM's document, section 4.133), its values live. All of it is this machine's
 * byte order; everything may move with `version`.
 */
#ifndef ANYKVM_STATS_H
#define ANYKVM_STATS_H

#include <linux/types.h>

#define ANYKVM_STATS_NAME "anykvm-stats"
#define ANYKVM_STATS_MAGIC 0x737461746d766b61ull /* "akvmtats" */
#define ANYKVM_STATS_VERSION 1

struct anykvm_stats_area {
	__u64 magic;
	__u32 version;
	__u32 pid;	/* the VM's process in its own pid namespace; in a child made by fork it is another's */
	__u64 created;	/* CLOCK_REALTIME, nanoseconds */
	__u64 size;	/* of all */
	__u32 vm;	/* offset */
	__u32 vcpu;	/* offset of the first */
	__u32 stride;	/* from one vCPU to the next */
	__u32 vcpus;	/* how many there are; may grow */
};

#endif
