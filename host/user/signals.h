/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program's signals and ours. The protocol is explained at the top of signals.c.
 */
#ifndef ANYKVM_HOST_USER_SIGNALS_H
#define ANYKVM_HOST_USER_SIGNALS_H

#include "host/user/sys.h"

#define HOST_SIGNALS 64 /* numbered from 1 */

static inline u64 host_sigbit(int sig)
{
	return 1ull << (sig - 1);
}

/* By number, x86's: SIGILL 4, SIGTRAP 5, SIGBUS 7, SIGFPE 8, SIGKILL 9, SIGSEGV 11, SIGSTOP 19, SIGSYS 31. */
#define HOST_FAULT_SIGNALS (1ull << 3 | 1ull << 6 | 1ull << 7 | 1ull << 10)
#define HOST_SYNC_SIGNALS (HOST_FAULT_SIGNALS | 1ull << 4 | 1ull << 30)
/* libc's own two, 32 (cancellation) and 33 (set*id in all threads): the program's masks and actions know nothing of them. */
#define HOST_CANCEL_SIGNAL 32
#define HOST_SETID_SIGNAL 33
#define HOST_LIBC_SIGNALS (1ull << (HOST_CANCEL_SIGNAL - 1) | 1ull << (HOST_SETID_SIGNAL - 1))
#define HOST_UNCATCHABLE_SIGNALS (1ull << 8 | 1ull << 18)
/* What is blocked where we want no signal handler to run. */
#define HOST_BLOCK_ALL (~(HOST_SYNC_SIGNALS | 1ull << (HOST_SETID_SIGNAL - 1)))

/* struct sigaction as the kernel takes it. */
struct host_sigaction {
	void *handler;
	u64 flags;
	void *restorer;
	u64 mask;
};

enum host_where {
	HOST_OUTSIDE, /* the program's code, or its handler */
	HOST_INSIDE,  /* in one of our calls: handlers wait */
	HOST_LEAVING, /* about to return: unblocked signals are delivered from here on */
};

/* A thread's relation to us. Touched by that thread and its signal handlers alone. */
struct host_thread {
	u32 *stop;	 /* the vCPU's stop word while in KVM_RUN */
	u32 stop_bit;
	enum host_where where;
	/* All 0 outside: */
	u32 depth;	 /* of host_enter() */
	bool restore;	 /* `outside` is to be the mask again when we leave */
	bool deferred;	 /* a signal has been put off since host_enter() */
	/* Lasting: */
	bool faults_open; /* the program's own mask is known to leave the fault signals open */
	u64 outside;	 /* the program's signal mask */
};

extern HOST_PER_THREAD struct host_thread host_thread;

/*
 * Brackets every call into the library, as entering and leaving the kernel would: in between the
 * program's handlers do not run (they may call into us, or siglongjmp), faults are ours to see.
 * Nests. host_leave() is where deferred signals are delivered. Handlers are deferred only where ours
 * are in their place: see host_signals_take_over().
 */
void host_enter(void);
void host_leave(void);

/* Installs our handler for these signals, noting the program's disposition. Already ours: no-op. */
void host_signals_claim(u64 set);
/* From now on sigaction is virtual: host_signals_act() is called for every change the program makes.
 * Claims every signal that has a handler. The shim calls it when the program first opens /dev/kvm. */
void host_signals_take_over(void);
/*
 * Children of ours stop often. Unless the program has a handler for SIGCHLD, they send none then: as vCPU threads block it, it
 * would not be ignored, but wake another thread each time.
 */
void host_signals_ignore_stops(void);
/* The take-over is done, but libc had no handler for cancellation by then. */
bool host_signals_want_cancellation(void);
/* libc has installed it: threads are cancelled outside of the library from now on. */
void host_signals_claim_cancellation(void);
/* rt_sigaction(2) as the program means it. 0 or -errno. Before the take-over: the kernel's, plain. */
int host_signals_act(int sig, const struct host_sigaction *act, struct host_sigaction *old);
/* anykvm_interrupt(): the KVM_RUN that this thread is in, or about to enter, returns EINTR. */
void host_run_interrupt(void);
/* The program changed its thread's signal mask. */
void host_signals_mask_changed(void);

#endif
