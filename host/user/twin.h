/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Twins: child processes that have no memory but what they are given, to run code natively that must reach nothing else.
 *
 * A twin is traced (ptrace(2)) by the thread that made it, and only that thread may call what takes a struct host_twin. Its
 * system calls never reach the host's kernel, its faults and signals come to the tracer alone, and it dies with the tracer.
 * What is left in it of ours are two read-only areas, host_twin_private(): code that makes the mappings, and its orders.
 * All functions are [run].
 */
#ifndef ANYKVM_HOST_USER_TWIN_H
#define ANYKVM_HOST_USER_TWIN_H

#include "host/host.h"
#include "host/user/fault.h"

/* What other threads know of a thread's twins. Zeroed is valid. */
struct host_twin_gate {
	struct host_mutex lock;
	int running; /* the twin that runs; 0: none */
};

struct host_twin_state {
	u64 gpr[HOST_GPRS];
	u64 rip, rflags, fs_base, gs_base;
	u16 cs, ss, ds, es, fs, gs;
};

enum host_twin_stop {
	HOST_TWIN_KICKED,	/* host_twin_kick() or a signal for this thread */
	HOST_TWIN_SYSCALL,	/* RIP is behind SYSCALL, INT 80h or SYSENTER */
	HOST_TWIN_FAULT,	/* RIP is at the instruction that faulted, or at any, if somebody has sent such a signal */
	HOST_TWIN_STEPPED,	/* TF: RIP is behind the instruction */
	HOST_TWIN_REFUSED,	/* nothing has run, and will not */
	HOST_TWIN_GONE,		/* somebody has killed it; the state is lost */
};

struct host_twin;

/* Memory of twins of this thread comes from the files of alias.h. NULL: the host does not let us. Milliseconds. */
struct host_twin *host_twin_create(struct host_twin_gate *gate, int file);
void host_twin_destroy(struct host_twin *twin);
/* As if it had just been made, which takes longer. False: it is of no use any more, or not to this thread. */
bool host_twin_clear(struct host_twin *twin);
/* Its x87 and vector state: an XSAVE image in the standard format. False: it is gone, or cannot be traced any more. */
unsigned host_twin_xstate_size(const struct host_twin *twin);
bool host_twin_get_xstate(struct host_twin *twin, void *image);
bool host_twin_set_xstate(struct host_twin *twin, void *image); /* XSTATE_BV.SSE gets set */
/* Addresses of its own: a page-aligned range. */
u64 host_twin_private(const struct host_twin *twin, u64 *size);

/* Ordered, and carried out before it runs; prot as of mmap(2). Of the file's pages, or none. */
void host_twin_map(struct host_twin *twin, u64 at, u64 size, int prot, u64 offset);
void host_twin_protect(struct host_twin *twin, u64 at, u64 size, int prot);
void host_twin_unmap(struct host_twin *twin, u64 at, u64 size);
/* The same: whether RDTSC and RDTSCP fault, as they do at first, or are the host's. */
void host_twin_fault_tsc(struct host_twin *twin, bool faults);
/* From its next run on it stops (HOST_TWIN_FAULT) before the instruction at addr; 0: it does not. n < HOST_TWIN_BREAKS. */
#define HOST_TWIN_BREAKS 4u
void host_twin_break(struct host_twin *twin, unsigned n, u64 addr);

/* Runs it from *state on until something happens; then *state is where it stands. Not at all if *stop is not 0. */
enum host_twin_stop host_twin_run(struct host_twin *twin, struct host_twin_state *state, const u32 *stop);
/* The access that it has stopped for last; 0: it was none. */
u64 host_twin_fault_address(struct host_twin *twin);

/*
 * A thread and its twins share a processor from the first run on, as long as no other thread with a twin has it: to wake each
 * other across processors takes several times as long. This lets the thread go where it may again.
 */
void host_twin_unpin(void);

/* The twin that runs, if one does, stops. Any thread. */
void host_twin_kick(struct host_twin_gate *gate);
/* The same for this thread's, in its signal handlers. */
void host_twin_interrupt(void);

#endif
