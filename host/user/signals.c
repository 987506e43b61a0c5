/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Signals: how KVM_RUN is interrupted, and how the program's handlers stay the program's.
 *
 * What a VMM relies on
 *  In Linux, KVM_RUN is a system call. A signal that arrives at any moment of it ends it with EINTR;
 *  the handler runs after the call is over, never in its midst. So a handler may call KVM itself, may
 *  siglongjmp away, and finds kvm_run complete. With KVM_SET_SIGNAL_MASK the call runs under another
 *  mask, which is undone before delivery: a signal that only that mask lets through ends the call and
 *  stays pending. Ignored signals end nothing.
 *
 * The model: inside the library is inside the kernel
 *  host_enter() and host_leave() bracket every call. For a signal the program handles, the kernel's
 *  disposition is our handler, entry(); the program's own is in `table`. entry() blocks everything
 *  (sa_mask), so it never nests, and looks where the thread is:
 *
 *    outside  deliver: set the mask the program's handler expects and call it.
 *    inside   tell the vCPU to stop if the thread is in KVM_RUN (set its bit in the stop word, wake the
 *             futex on that word); queue the signal again, with its siginfo, to this very thread, where
 *             it is blocked now; and return to the interrupted code with everything blocked. It is
 *             delivered when host_leave() puts the program's mask back - or stays pending, if that
 *             mask blocks it, which is precisely what KVM_SET_SIGNAL_MASK demands.
 *    leaving  see below.
 *
 * No wake-up is lost
 *  Arrival before host_run_enter() publishes the stop word: the signal is deferred like any other and
 *  the call may complete without EINTR; so it may in Linux, where the signal came before the system
 *  call; the handler then runs... too late, if it sets immediate_exit. Hence host_run_enter() looks
 *  whether anything was deferred since host_enter() and raises the stop bit itself. A handler that ran
 *  before host_enter() has set immediate_exit by then, and the core looks at that after
 *  host_run_enter().
 *  Arrival after it: the bit is set before the interrupted code goes on. The core tests the word before
 *  it enters the engine, the engine at block boundaries, and every sleep is a futex wait on the word
 *  itself, which the kernel refuses if the word has changed.
 *  Arrival after host_run_leave(): the call is over; the handler runs before it returns.
 *
 * Leaving
 *  Putting the mask back and noting that we are outside cannot be one step, and a signal may come in
 *  between, or be delivered by the former. So host_leave() says `leaving` first. In that state a signal
 *  which the program's mask does not block is delivered at once, after entry() has finished the leaving
 *  in the thread's stead (mask into the interrupted context, state to outside: a handler that jumps
 *  away leaves a consistent thread behind). One which it does block is deferred once more; the mask is
 *  about to be put back.
 *
 * The mask of KVM_SET_SIGNAL_MASK
 *  host_run_enter() notes the program's mask, claims the signals that only the given mask lets
 *  through - whatever their disposition, since `terminate` or `ignore` would act at once where Linux
 *  leaves them pending - and sets the mask. Signals already pending arrive right there: EINTR at once.
 *  A signal claimed while its disposition was the default gets the default action when it comes outside:
 *  entry() restores SIG_DFL, queues it again and returns to the interrupted instruction, so that exit
 *  status, core dump and stopped state are the kernel's work.
 *
 * Who the signal was for
 *  Deferred signals go to the thread that had taken them. If the program's mask blocks one, it may be
 *  waited for by another thread (signalfd, sigwait), so one that was sent to the process goes to the
 *  process again. sigqueue and timers do not say which they were; those go to the thread.
 *  Of several queued instances of one real-time signal, the deferred one falls behind the rest.
 *
 * Faults
 *  SIGSEGV, SIGBUS, SIGFPE and SIGILL of this thread's own making are offered to fault.c first; the
 *  program gets what is left, even inside, as returning to the instruction would only repeat it. Being
 *  blocked while they happen kills a process, and a vCPU thread often blocks all signals: host_enter()
 *  opens them, host_leave() restores. Whether the program's mask blocks them is asked once and then
 *  assumed until the program changes its mask, where sigprocmask and friends are interposed; else each
 *  time.
 *
 * Cancellation
 *  libc cancels a thread by a signal whose handler never returns, wherever the thread is. It is claimed
 *  like the program's, so that it ends KVM_RUN and unwinds the thread once the call is over, as in
 *  Linux; else locks of ours would stay taken for ever. libc installs it when first used, by no function
 *  that could be interposed: the shim's pthread_cancel() sees to that (host_signals_claim_cancellation).
 *
 * Without the shim
 *  Only the fault signals and those of KVM_SET_SIGNAL_MASK are claimed. Other handlers run at once, in
 *  the midst of a call: they may call nothing of the library but anykvm_interrupt().
 *
 * `table` and the kernel
 *  Whose disposition is in force is read off the kernel: ours in place means the table speaks. An entry
 *  is not overwritten when the program sets SIG_DFL or SIG_IGN and the kernel takes it, so that a
 *  signal already on its way to entry() still finds the handler that it was sent to. A vfork child has
 *  dispositions of its own but shares the table: it changes the former alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "host/host.h"
#include "host/user/fault.h"
#include "host/user/gs.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/sys.h"
#include "host/user/twin.h"

#define SA_RESTORER 0x04000000ull
/* What the kernel is told of the program's flags; the others entry() carries out. */
#define FLAGS_PASSED ((u64)(SA_ONSTACK | SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT))
#define DEFAULT_IGNORES \
	(host_sigbit(SIGCHLD) | host_sigbit(SIGCONT) | host_sigbit(SIGURG) | host_sigbit(SIGWINCH))

HOST_PER_THREAD struct host_thread host_thread;

/* Held with all signals blocked: entry() takes it, too. Guards the rest here and kernel dispositions. */
static struct host_mutex table_lock;
static struct host_sigaction table[HOST_SIGNALS + 1];
static u64 claimed; /* whose kernel disposition is entry(); read without the lock as a hint */
static u64 kept;    /* which we need whatever the program's disposition is */
static bool taken_over;

static void entry(int sig, siginfo_t *info, void *context);

/* ---- kernel dispositions --------------------------------------------------------------------- */

/* The very bytes of libc's, by which debuggers and unwinders recognise a signal frame. */
__asm__(".pushsection .text\n"
	".balign 16\n"
	"	nop\n" /* unwinders look one byte before the return address */
	".type host_sigreturn, @function\n"
	"host_sigreturn:\n"
	"	mov $15, %rax\n"
	"	syscall\n"
	".size host_sigreturn, . - host_sigreturn\n"
	".popsection\n");
void host_sigreturn(void) __attribute__((visibility("hidden")));

static int kernel_act(int sig, const struct host_sigaction *act, struct host_sigaction *old)
{
	return (int)sys_call4(SYS_rt_sigaction, sig, (long)act, (long)old, sizeof(u64));
}

static bool is_function(const struct host_sigaction *a)
{
	return a->handler != (void *)SIG_DFL && a->handler != (void *)SIG_IGN;
}

static bool is_ours(const struct host_sigaction *a)
{
	return a->handler == (void *)entry;
}

/* Our disposition standing for the program's. */
static struct host_sigaction stand_in(const struct host_sigaction *program)
{
	struct host_sigaction a = {
		.handler = (void *)entry,
		.flags = SA_SIGINFO | SA_RESTORER,
		.restorer = (void *)host_sigreturn,
		.mask = HOST_BLOCK_ALL,
	};

	if (is_function(program))
		a.flags |= program->flags & FLAGS_PASSED;
	else
		a.flags |= SA_RESTART | SA_ONSTACK | (program->flags & FLAGS_PASSED);
	if (program->handler == (void *)SIG_IGN)
		a.flags |= SA_NOCLDWAIT; /* ignoring SIGCHLD reaps children */
	return a;
}

static u64 table_lock_all(void)
{
	u64 block = HOST_BLOCK_ALL, old;

	sys_sigmask(SIG_BLOCK, &block, &old);
	host_mutex_lock(&table_lock);
	return old;
}

static void table_unlock_all(u64 mask)
{
	host_mutex_unlock(&table_lock);
	sys_sigmask(SIG_SETMASK, &mask, NULL);
}

/* Caller holds table_lock. */
static void claim_one(int sig)
{
	struct host_sigaction now, ours;

	if (kernel_act(sig, NULL, &now))
		return;
	if (!is_ours(&now)) {
		table[sig] = now;
		ours = stand_in(&now);
		if (kernel_act(sig, &ours, NULL))
			return;
	}
	atomic_or(&claimed, host_sigbit(sig));
}

void host_signals_claim(u64 set)
{
	u64 mask;

	set &= ~(HOST_LIBC_SIGNALS | HOST_UNCATCHABLE_SIGNALS);
	if (!(set & ~(atomic_read(&claimed) & atomic_read(&kept))))
		return;
	mask = table_lock_all();
	atomic_or(&kept, set);
	for (int sig = 1; sig <= HOST_SIGNALS; sig++)
		if (set & host_sigbit(sig))
			claim_one(sig);
	table_unlock_all(mask);
}

void host_signals_take_over(void)
{
	struct host_sigaction now;
	u64 mask;

	if (atomic_read(&taken_over))
		return;
	mask = table_lock_all();
	for (int sig = 1; sig <= HOST_SIGNALS; sig++) {
		if (sig == HOST_SETID_SIGNAL || HOST_UNCATCHABLE_SIGNALS & host_sigbit(sig))
			continue;
		if (!kernel_act(sig, NULL, &now) && is_function(&now))
			claim_one(sig);
	}
	atomic_set(&taken_over, true);
	table_unlock_all(mask);
}

bool host_signals_want_cancellation(void)
{
	return atomic_read(&taken_over) && !(atomic_read(&claimed) & host_sigbit(HOST_CANCEL_SIGNAL));
}

void host_signals_claim_cancellation(void)
{
	u64 mask = table_lock_all();

	claim_one(HOST_CANCEL_SIGNAL);
	table_unlock_all(mask);
}

void host_signals_ignore_stops(void)
{
	struct host_sigaction now;
	u64 mask = table_lock_all();

	if (!kernel_act(SIGCHLD, NULL, &now) && now.handler == (void *)SIG_DFL && !(now.flags & SA_NOCLDSTOP)) {
		now.flags |= SA_NOCLDSTOP;
		kernel_act(SIGCHLD, &now, NULL);
	}
	table_unlock_all(mask);
}

/* Caller holds table_lock. What the program is told of the disposition that the kernel reported. */
static void act_report(const struct host_sigaction *kernel, const struct host_sigaction *program,
		       struct host_sigaction *old)
{
	if (old)
		*old = is_ours(kernel) ? *program : *kernel;
}

/* Caller holds table_lock; the take-over is done. */
static int act_virtual(int sig, const struct host_sigaction *act, struct host_sigaction *old)
{
	struct host_sigaction before = table[sig], kernel, ours;
	int r;

	if (!act) {
		r = kernel_act(sig, NULL, &kernel);
		if (!r)
			act_report(&kernel, &before, old);
		return r;
	}
	if (!is_function(act) && !(atomic_read(&kept) & host_sigbit(sig))) {
		r = kernel_act(sig, act, &kernel);
		if (r)
			return r;
		atomic_and(&claimed, ~host_sigbit(sig));
		act_report(&kernel, &before, old);
		return 0;
	}
	ours = stand_in(act);
	r = kernel_act(sig, &ours, &kernel);
	if (r)
		return r;
	table[sig] = *act;
	atomic_or(&claimed, host_sigbit(sig));
	act_report(&kernel, &before, old);
	return 0;
}

static int act_in_vfork_child(int sig, const struct host_sigaction *act, struct host_sigaction *old)
{
	struct host_sigaction kernel;
	int r = kernel_act(sig, act, &kernel);

	if (!r)
		act_report(&kernel, &table[sig], old);
	return r;
}

int host_signals_act(int sig, const struct host_sigaction *act, struct host_sigaction *old)
{
	struct host_sigaction with_restorer;
	u64 mask;
	int r;

	if (sig < 1 || sig > HOST_SIGNALS || HOST_LIBC_SIGNALS & host_sigbit(sig))
		return -EINVAL;
	if (act && !(act->flags & SA_RESTORER)) {
		with_restorer = *act;
		with_restorer.flags |= SA_RESTORER;
		with_restorer.restorer = (void *)host_sigreturn;
		act = &with_restorer;
	}
	if (host_in_vfork_child())
		return act_in_vfork_child(sig, act, old);
	mask = table_lock_all();
	r = taken_over ? act_virtual(sig, act, old) : kernel_act(sig, act, old);
	table_unlock_all(mask);
	return r;
}

void host_signals_forked(void)
{
	host_mutex_init(&table_lock);
}

/* ---- delivery -------------------------------------------------------------------------------- */

static u64 *context_mask(void *context)
{
	return (u64 *)&((ucontext_t *)context)->uc_sigmask;
}

/* Sends sig to this thread, or to the process, as it was first sent. Blocked at the moment. */
static void queue_again(int sig, siginfo_t *info, bool to_process)
{
	int tid = sys_gettid();
	long r = -EINVAL;

	if (to_process) /* a thread's own id is what the kernel lets us use with any si_code */
		r = sys_call3(SYS_rt_sigqueueinfo, tid, sig, (long)info);
	if (r)
		r = sys_call4(SYS_rt_tgsigqueueinfo, sys_getpid(), tid, sig, (long)info);
	if (r == -EAGAIN) {
		/* RLIMIT_SIGPENDING: only kill()'s kind is never refused; better without value than lost */
		info->si_code = SI_USER;
		sys_call4(SYS_rt_tgsigqueueinfo, sys_getpid(), tid, sig, (long)info);
	}
}

/* The kernel's default action, with the kernel's exit status and core, at the interrupted instruction. */
static void default_action(int sig, siginfo_t *info, void *context)
{
	struct host_sigaction plain = { .handler = (void *)SIG_DFL };

	host_mutex_lock(&table_lock);
	kernel_act(sig, &plain, NULL);
	atomic_and(&claimed, ~host_sigbit(sig));
	host_mutex_unlock(&table_lock);
	queue_again(sig, info, false);
	*context_mask(context) &= ~host_sigbit(sig);
}

/* Takes the program's disposition; SA_RESETHAND happens here, once for all threads. */
static struct host_sigaction disposition_take(int sig)
{
	struct host_sigaction a, plain = { .handler = (void *)SIG_DFL };

	host_mutex_lock(&table_lock);
	a = table[sig];
	if (is_function(&a) && a.flags & (u64)SA_RESETHAND) {
		table[sig].handler = (void *)SIG_DFL;
		if (!(atomic_read(&kept) & host_sigbit(sig))) {
			kernel_act(sig, &plain, NULL);
			atomic_and(&claimed, ~host_sigbit(sig));
		}
	}
	host_mutex_unlock(&table_lock);
	return a;
}

static void deliver(int sig, siginfo_t *info, void *context, bool forced)
{
	struct host_sigaction a = disposition_take(sig);
	u64 mask = *context_mask(context) | a.mask, gs;

	/* The kernel does not let a thread ignore, or block, the fault that it is about to repeat. */
	if (a.handler == (void *)SIG_IGN && !forced)
		return;
	if (!is_function(&a)) {
		if (forced || !(DEFAULT_IGNORES & host_sigbit(sig)))
			default_action(sig, info, context);
		return;
	}
	if (!(a.flags & (u64)SA_NODEFER))
		mask |= host_sigbit(sig);
	if (mask & HOST_FAULT_SIGNALS)
		host_thread.faults_open = false;
	sys_sigmask(SIG_SETMASK, &mask, NULL);
	gs = host_gs_suspend();
	((void (*)(int, siginfo_t *, void *))a.handler)(sig, info, context);
	host_gs_resume(gs);
}

/* ---- arrival --------------------------------------------------------------------------------- */

/* What happens to a claimed signal that a thread's mask does not block, were it not for us. */
enum consequence { IS_HANDLED, IS_IGNORED, IS_DEFAULT };

static enum consequence consequence_of(int sig)
{
	const struct host_sigaction *a = &table[sig];
	enum consequence c = IS_HANDLED;

	host_mutex_lock(&table_lock);
	if (a->handler == (void *)SIG_IGN)
		c = IS_IGNORED;
	else if (a->handler == (void *)SIG_DFL)
		c = DEFAULT_IGNORES & host_sigbit(sig) ? IS_IGNORED : IS_DEFAULT;
	host_mutex_unlock(&table_lock);
	return c;
}

/* Whether a signal that the program's mask blocks had better stay the process's. */
static bool sent_to_process(const siginfo_t *info)
{
	return info->si_code != SI_TKILL && info->si_code != SI_QUEUE && info->si_code != SI_TIMER;
}

static void interrupt_run(struct host_thread *t)
{
	if (t->stop) {
		atomic_or(t->stop, t->stop_bit);
		host_wake(t->stop);
		host_twin_interrupt();
	}
}

static void defer(struct host_thread *t, int sig, siginfo_t *info, void *context, bool blocked_outside)
{
	u64 bit = host_sigbit(sig);

	if (!t->restore) {
		t->outside = *context_mask(context);
		t->restore = true;
	}
	t->deferred = true;
	queue_again(sig, info, blocked_outside && sent_to_process(info));
	*context_mask(context) |= HOST_BLOCK_ALL | bit;
}

/* Completes host_leave() on behalf of the interrupted code. */
static void finish_leaving(struct host_thread *t, void *context)
{
	if (t->restore)
		*context_mask(context) = t->outside;
	t->restore = false;
	t->deferred = false;
	t->where = HOST_OUTSIDE;
}

static void arrive_inside(struct host_thread *t, int sig, siginfo_t *info, void *context)
{
	bool blocked_outside = t->restore && t->outside & host_sigbit(sig);
	enum consequence c = consequence_of(sig);

	if (!blocked_outside && c == IS_IGNORED)
		return;
	if (!blocked_outside && (c == IS_DEFAULT || t->where == HOST_LEAVING)) {
		if (t->where == HOST_LEAVING)
			finish_leaving(t, context);
		deliver(sig, info, context, false);
		return;
	}
	interrupt_run(t);
	defer(t, sig, info, context, blocked_outside);
}

static void entry(int sig, siginfo_t *info, void *context)
{
	struct host_thread *t = &host_thread;
	/* Positive: the kernel speaking; of these signals, about an instruction. */
	bool forced = HOST_SYNC_SIGNALS & host_sigbit(sig) && info->si_code > 0;

	if (forced && HOST_FAULT_SIGNALS & host_sigbit(sig) &&
	    host_fault_handle(sig, info->si_code, (u64)(uintptr_t)info->si_addr, context))
		return;
	if (forced)
		deliver(sig, info, context, true);
	else if (t->where == HOST_OUTSIDE)
		deliver(sig, info, context, false);
	else
		arrive_inside(t, sig, info, context);
}

/* ---- entering and leaving the library -------------------------------------------------------- */

/* Opens the fault signals if the program's mask blocks them. */
static void open_faults(struct host_thread *t)
{
	u64 mask, faults = HOST_FAULT_SIGNALS;

	sys_sigmask(SIG_BLOCK, NULL, &mask);
	if (!(mask & faults)) {
		t->faults_open = atomic_read(&taken_over);
		return;
	}
	t->outside = mask;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	t->restore = true;
	sys_sigmask(SIG_UNBLOCK, &faults, NULL);
}

void host_enter(void)
{
	struct host_thread *t = &host_thread;

	if (t->where == HOST_INSIDE) {
		t->depth++;
		return;
	}
	/* First of all: a handler that still ran here might jump away, and we would never be back. */
	*(volatile enum host_where *)&t->where = HOST_INSIDE;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	t->depth = 1;
	if (!t->faults_open)
		open_faults(t);
}

void host_leave(void)
{
	struct host_thread *t = &host_thread;
	u64 outside;

	if (--t->depth)
		return;
	*(volatile enum host_where *)&t->where = HOST_LEAVING;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	/* From here on a handler may come between, call us, and leave for itself: nothing to do, then. */
	outside = t->outside;
	if (*(volatile bool *)&t->restore)
		sys_sigmask(SIG_SETMASK, &outside, NULL);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	t->restore = false;
	t->deferred = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(volatile enum host_where *)&t->where = HOST_OUTSIDE;
}

void host_signals_mask_changed(void)
{
	host_thread.faults_open = false;
}

/* ---- KVM_RUN --------------------------------------------------------------------------------- */

/* Sets KVM_SET_SIGNAL_MASK's mask; signals pending under the program's own arrive before this returns. */
static void run_mask(struct host_thread *t, u64 mask)
{
	mask &= ~(HOST_SYNC_SIGNALS | HOST_LIBC_SIGNALS);
	if (!t->restore) {
		sys_sigmask(SIG_BLOCK, NULL, &t->outside);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		t->restore = true;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	host_signals_claim(t->outside & ~mask);
	sys_sigmask(SIG_SETMASK, &mask, NULL);
}

void host_run_enter(u32 *stop, u32 stop_bit, const u64 *sigmask)
{
	struct host_thread *t = &host_thread;

	host_enter();
	atomic_take(stop, stop_bit);
	t->stop_bit = stop_bit;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(u32 *volatile *)&t->stop = stop;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (*(volatile bool *)&t->deferred)
		atomic_or(stop, stop_bit);
	else if (sigmask)
		run_mask(t, *sigmask);
}

void host_run_interrupt(void)
{
	struct host_thread *t = &host_thread;

	if (t->where == HOST_INSIDE)
		t->deferred = true;
	interrupt_run(t);
}

void host_run_leave(const u64 *sigmask)
{
	(void)sigmask; /* host_leave() knows what to restore */
	*(u32 *volatile *)&host_thread.stop = NULL;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	host_leave();
}
