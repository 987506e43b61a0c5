/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The little that the core (kvm/, x86/, engine/) asks of an operating system.
 *
 * Rules for an implementation
 *  - Everything marked [run] may be called between engine entry and exit, while the guest's
 *    x87/SSE/AVX state lives in the processor's registers: it touches general registers alone and
 *    calls no libc function (raw system calls are fine).
 *  - Functions return 0 or a negative errno unless said otherwise. Nothing here prints or exits.
 */
#ifndef ANYKVM_HOST_HOST_H
#define ANYKVM_HOST_HOST_H

#include "host/types.h"

/* ---- memory ---------------------------------------------------------------------------------- */

/* Zeroed, 64-byte aligned memory of the core's own; NULL when there is none. */
void *host_alloc(size_t size);
void host_free(void *p);
/* Zeroed, page-aligned, committed lazily: for large sparse tables and bitmaps. Same size to free. */
void *host_alloc_pages(size_t size);
void host_free_pages(void *p, size_t size);
/* Zeroes any part of such memory, and gives back what pages it can. */
void host_zero_pages(void *p, size_t size);
/*
 * The same, followed by *guard bytes of address space where nothing ever is and each access faults: *guard 0 if they cannot
 * be had. Both sizes to free.
 */
void *host_alloc_guarded(size_t size, size_t *guard);
void host_free_guarded(void *p, size_t size, size_t guard);
/*
 * The same, seen by those who may trace the process: it is the memory of a file whose name they can find (a user process:
 * a memfd in /proc/PID/fd). They cannot change it. Private memory where that cannot be had; NULL without memory.
 */
struct host_published {
	void *p;
	size_t size;
	s32 fd; /* -1: none */
	u64 inode;
	void *parts; /* of the kernel: what host_published_part() gave */
};
/* The first `head` bytes are there at once, at out->p; others as parts are asked for, anew each time with zeroes. */
void *host_publish(struct host_published *out, const char *name, size_t size, size_t head);
void *host_published_part(struct host_published *published, size_t offset, size_t size);
void host_unpublish(struct host_published *published);

/* Zeroed whole pages that files may show (host_file_create_sharing); NULL when there are none. Same size to free. */
void *host_alloc_shared(size_t size);
void host_free_shared(void *p, size_t size);

/*
 * Copies between the core and an address that the VMM gave (an ioctl argument or a slot's hva).
 * -EFAULT when any byte cannot be accessed; how much was copied by then is unspecified. [run]
 */
int host_copy_from_user(void *dst, u64 uaddr, size_t n);
int host_copy_to_user(u64 uaddr, const void *src, size_t n);
/* Atomic compare-exchange on VMM memory, size 1, 2, 4 or 8. 0 swapped, 1 differed, -EFAULT. [run] */
int host_cmpxchg_user(u64 uaddr, u64 old, u64 new_value, unsigned size);
/* Whether [uaddr, uaddr + size) may be a user address at all (access_ok of Linux). [run] */
bool host_user_range_ok(u64 uaddr, u64 size);

/* ---- locks, waiting ----------------------------------------------------------------------------- */

struct host_mutex {
	u32 word;
};

void host_mutex_init(struct host_mutex *m);
void host_mutex_lock(struct host_mutex *m);   /* [run] */
/* 0, or -EINTR where the thread is being killed: for locks that may be held as long as a guest runs. */
int host_mutex_lock_killable(struct host_mutex *m);
bool host_mutex_trylock(struct host_mutex *m); /* [run] */
void host_mutex_unlock(struct host_mutex *m); /* [run] */
bool host_mutex_is_locked(const struct host_mutex *m); /* for assertions */

/*
 * Sleeps while *word == expected, at most until the monotonic time deadline_ns (0: no limit).
 * 0 woken or value differed, -ETIMEDOUT, -EINTR when a signal handler ran. May wake spuriously. [run]
 */
int host_wait(u32 *word, u32 expected, u64 deadline_ns);
/* Wakes all who wait on word. Async-signal-safe. [run] */
void host_wake(u32 *word);
/* Lets another thread run (used by PAUSE loops). [run] */
void host_yield(void);
/* A thread that polls for something before it sleeps may go on: nothing else is known to want it or its processor. [run] */
bool host_may_poll(void);

/* ---- time ------------------------------------------------------------------------------------------ */

u64 host_monotonic_ns(void); /* CLOCK_MONOTONIC. [run] */
u64 host_realtime_ns(void);  /* CLOCK_REALTIME. [run] */
u64 host_tsc(void);	     /* the processor's TSC. [run] */
u32 host_tsc_khz(void);	     /* its frequency; constant after the first call */

/* How long the calling thread has waited for a processor, ever; 0 where that is not counted. [run] */
u64 host_run_delay_ns(void);
bool host_has_run_delay(void);
u64 host_thread_cpu_ns(void); /* that the calling thread has spent on a processor. [run] */
bool host_smt_possible(void); /* two processors may share a core */

/*
 * A one-shot timer. The callback runs on a thread of the host layer's own, never concurrently with
 * itself, and may re-arm its timer. Fields are the implementation's, unless said otherwise.
 */
struct host_timer {
	void (*fire)(struct host_timer *t);
	u64 deadline_ns;	/* monotonic; 0 = not armed */
	bool anywhere;		/* set by the owner after init: fire() takes no lock and may run in an interrupt */
	struct host_timer *next; /* queue of armed timers, sorted */
	u64 os[16];		/* the kernel's timer */
};

void host_timer_init(struct host_timer *t, void (*fire)(struct host_timer *t));
int host_timer_arm(struct host_timer *t, u64 deadline_ns); /* re-arms; [run] */
void host_timer_cancel(struct host_timer *t);		  /* [run]; the callback may still be running */
/* After return the callback neither runs nor will; caller holds no lock that the callback takes. */
void host_timer_cancel_sync(struct host_timer *t);

/* ---- signals, identity -------------------------------------------------------------------------------- */

/*
 * The calling thread enters / leaves KVM_RUN. In between, a signal whose handler ran (or would run
 * under the mask) does atomic_or(stop, stop_bit) and host_wake(stop).
 * sigmask: KVM_SET_SIGNAL_MASK's set, or NULL: (kernel sigset, 8 bytes).
 */
void host_run_enter(u32 *stop, u32 stop_bit, const u64 *sigmask);
void host_run_leave(const u64 *sigmask); /* the same set */

/* Identifies the process's address space: changes in a child after fork. Never 0. [run] */
u64 host_mm_id(void);
u32 host_process_id(void);
u32 host_cpu_number(void); /* [run] */
u32 host_cpu_count(void);  /* processors online, at least 1 */
void host_random(void *buf, size_t n); /* [run] */

/* ---- files --------------------------------------------------------------------------------------------- */

/*
 * A file of ours: a real descriptor (dup, poll, mmap, close work on it) that carries an object.
 * release() runs once, after the last descriptor is closed and no ioctl is in flight.
 */
struct host_file;
struct host_file_ops {
	const char *name; /* "kvm-vm", as KVM names its anonymous inodes */
	/* Returns >= 0 or -errno. arg is the raw third argument. */
	long (*ioctl)(void *object, unsigned int request, unsigned long arg);
	void (*release)(void *object);
	/* read(2) on the descriptor; NULL: not readable (stats files are). */
	long (*read)(void *object, u64 uaddr, size_t count, u64 offset);
};

/*
 * Creates a descriptor (O_CLOEXEC) for object. With mapping_size the file is backed by that much
 * shared memory, mapped at *mapping until release; mmap of the descriptor gives the same pages.
 * Returns the descriptor or -errno; on error release() is not called.
 */
int host_file_create(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping);
/*
 * The same, but instead of its own page at offset the file shows this one of host_alloc_shared's, which several files may
 * have in common; it is not in *mapping. The caller keeps it until the file is released.
 */
int host_file_create_sharing(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping,
			     size_t offset, void *page);
/* The object behind fd if it is a live file with these ops, its file held; else NULL. */
void *host_file_get(int fd, const struct host_file_ops *ops, struct host_file **file);
void host_file_put(struct host_file *file);

/*
 * Eventfds. host_eventfd_get holds the kernel object however long the VMM keeps its descriptor:
 * -EBADF, -EINVAL (not an eventfd). Two gets of one eventfd compare equal by host_eventfd_same.
 */
struct host_eventfd;
int host_eventfd_get(int fd, struct host_eventfd **out);
void host_eventfd_put(struct host_eventfd *e);
bool host_eventfd_same(const struct host_eventfd *a, const struct host_eventfd *b);
void host_eventfd_signal(struct host_eventfd *e, u64 n); /* [run] */
/*
 * Calls notify(arg) on a thread of the host layer after every signal of e (consuming its counter,
 * also when it is non-zero already), until unlisten, which waits for a running callback. now (or NULL) may be asked
 * before, where the signal happens, even in an interrupt: it takes no lock; true: that was all, notify need not come.
 */
int host_eventfd_listen(struct host_eventfd *e, bool (*now)(void *arg), void (*notify)(void *arg), void *arg);
void host_eventfd_unlisten(struct host_eventfd *e, void (*notify)(void *arg), void *arg);

#endif
