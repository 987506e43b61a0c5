/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the hardware engines (engine/svm, engine/vmx) ask of a kernel, beside host/host.h.
 *
 * An engine includes no header of the kernel. Everything marked [atomic] may be called with preemption or interrupts
 * off; all else may sleep.
 */
#ifndef ANYKVM_HOST_HW_H
#define ANYKVM_HOST_HW_H

#include "host/types.h"

/* ---- memory of the engine's own ------------------------------------------------------------------ */

/* 2^order physically contiguous zeroed pages, aligned to their size; NULL when there are none. */
void *host_frames_alloc(unsigned order);
void host_frames_free(void *p, unsigned order);
u64 host_frames_phys(const void *p);	/* [atomic] */
void *host_frames_virt(u64 phys);	/* [atomic] */
/* One zeroed page that the kernel counts as page table. */
void *host_table_alloc(void);
void host_table_free(void *p);	/* [atomic] */

/*
 * The kernel is short of memory: how many pages could scan() give back, and the order to do so (at least that many, if
 * there are; returns how many). Any thread that asks for memory may call both.
 */
struct host_shrinker {
	u64 (*count)(void);
	u64 (*scan)(u64 pages);
	u64 opaque[16];
};
int host_shrinker_add(struct host_shrinker *s);
void host_shrinker_remove(struct host_shrinker *s);

/* ---- processors ------------------------------------------------------------------------------------ */

unsigned host_cpu_limit(void); /* all processor numbers are below */
unsigned host_cpu_id(void);    /* preemption off [atomic] */

/*
 * Every processor calls enable (interrupts off) now and whenever it comes up again (hot-plug, resume from suspend);
 * disable when it goes, before suspend, reboot and kexec, and at host_cpus_stop(). An error of enable at host_cpus_start()
 * undoes all and is returned.
 */
struct host_cpu_hooks {
	int (*enable)(void);
	void (*disable)(void);
};
int host_cpus_start(const struct host_cpu_hooks *hooks);
void host_cpus_stop(void);

/* Interrupts another processor, so that it leaves the guest; with wait, returns after it has. [atomic, interrupts on] */
void host_cpu_kick(unsigned cpu, bool wait);

void host_preempt_disable(void); /* [atomic] */
void host_preempt_enable(void);	 /* [atomic] */
void host_irq_disable(void);	 /* [atomic] */
void host_irq_enable(void);	 /* [atomic] */
/* The thread owes the kernel something before it may enter the guest: reschedule, signal, softirq. [atomic] */
bool host_work_pending(void);
/* Of that, a signal (host_run_enter's rules: sets the stop bit of the present KVM_RUN). [atomic] */
bool host_signal_pending(void);
void host_resched(void); /* cond_resched(), and the rest of what host_work_pending() told of */

/* The thread is about to execute / has executed guest code: accounting, context tracking, RCU. Interrupts off. [atomic] */
void host_guest_enter(void);
void host_guest_leave(void);
/* Another guest's code ran here last: what predictors have learnt from it goes. [atomic] */
void host_guest_switch(void);
void host_machine_check(void); /* the guest was left by #MC: the kernel handles it. [atomic] */

/*
 * Preempt notifier: from watch to unwatch (same thread) out() runs when the thread is scheduled out, in() when it runs
 * again, maybe on another processor. Both with preemption off.
 */
struct host_preempt {
	void (*out)(struct host_preempt *p);
	void (*in)(struct host_preempt *p);
	u64 opaque[8];
};
void host_preempt_watch(struct host_preempt *p);
void host_preempt_unwatch(struct host_preempt *p);

/*
 * The guest's x87/SSE/AVX state, one a vCPU. Between load and put (same thread, which may sleep and migrate) it is the
 * thread's own: the kernel saves and loads it with the thread. ready(), interrupts off, right before the guest is
 * entered: sees to it that the registers hold it. get and set copy it, while not loaded, to and from an image in XSAVE's
 * standard format of size bytes (PKRU apart); set: false, nothing changed, if the image is not valid.
 */
struct host_fpu;
struct host_fpu *host_fpu_create(void);
void host_fpu_destroy(struct host_fpu *f);
void host_fpu_load(struct host_fpu *f);
void host_fpu_put(struct host_fpu *f);
void host_fpu_ready(void); /* [atomic] */
void host_fpu_get(struct host_fpu *f, void *image, unsigned size);
bool host_fpu_set(struct host_fpu *f, const void *image, unsigned size);

/* MSRs that may not exist: false if the access faulted. [atomic] */
bool host_rdmsr_safe(u32 msr, u64 *value);
bool host_wrmsr_safe(u32 msr, u64 value);

/* Debug registers: the guest's were in DR0-3; the thread's own come back, if it has any. Interrupts off. [atomic] */
void host_debug_restore(void);

/* ---- spin lock: preemption off while held -------------------------------------------------------------- */

struct host_spin {
	u32 word[4]; /* zero: free */
};
void host_spin_lock(struct host_spin *s);
void host_spin_unlock(struct host_spin *s);

/* ---- memory of the VMM -------------------------------------------------------------------------------------- */

/* The memory behind a user address of the calling thread's mm. */
struct host_frame {
	u64 phys;	/* of the page of hva */
	u64 size;	/* 4096, 2 MiB or 1 GiB: of the host's own mapping around hva; phys and hva agree modulo size if > 4096 */
	bool writable;
	u64 opaque;
};
/*
 * Of the n pages (HOST_FRAMES_MAX at most) from hva on those, up to the first that is not, that are in memory and may be written
 * at once; if hva's is none of these, it alone, faulted in, for writing if that is asked for. How many; -EFAULT; -EINTR (a
 * signal waits). Each is held until put. Only the first one's size is other than 4096.
 */
#define HOST_FRAMES_MAX 16u
int host_frames_get(u64 hva, unsigned n, bool write, struct host_frame *out);
void host_frame_put(struct host_frame *f); /* [atomic] */

/*
 * Tells of changes to the mappings of the mm (mmu notifier). begin() must have dropped every use of frames in
 * [start, end) when it returns, and none may be taken up before end(). young() says whether frames there were used since it
 * was last asked with clear. None may sleep; unwatch waits for all.
 */
struct host_mm_watch {
	void (*begin)(struct host_mm_watch *w, u64 start, u64 end);
	void (*end)(struct host_mm_watch *w, u64 start, u64 end);
	bool (*young)(struct host_mm_watch *w, u64 start, u64 end, bool clear);
	u64 opaque[8];
};
int host_mm_watch(struct host_mm_watch *w); /* of the calling thread's mm */
void host_mm_unwatch(struct host_mm_watch *w);

#endif
