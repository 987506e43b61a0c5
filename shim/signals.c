/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions by which a program changes its signals. Once it has opened /dev/kvm, dispositions are
 * virtual: how and why is told in host/user/signals.c. Until then the same calls reach the kernel as
 * they are, by the same way, so that no handler slips past the take-over.
 *
 * Each libc has its own idea of signal(); these are glibc's: BSD semantics, SA_RESTART unless
 * siginterrupt() said otherwise. Masks are not virtual; that they change is all we need to know.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "host/user/signals.h"
#include "shim/shim.h"

/* Deprecated, thus declared here to spare the warnings. */
int shim_siginterrupt(int sig, int interrupt) __asm__("siginterrupt");
sighandler_t shim_sigset(int sig, sighandler_t handler) __asm__("sigset");
int shim_sigignore(int sig) __asm__("sigignore");
int shim_sighold(int sig) __asm__("sighold");
int shim_sigrelse(int sig) __asm__("sigrelse");
int shim_sigblock(int mask) __asm__("sigblock");
int shim_sigsetmask(int mask) __asm__("sigsetmask");
sighandler_t __sysv_signal(int sig, sighandler_t handler);
#define REAL_AS(name, as) ((__typeof__(&as))shim_real(SHIM_REAL_##name))

#define SIG_HOLD_ ((sighandler_t)2)
#define SA_RESTORER 0x04000000u

/* Signals whose handlers siginterrupt() wants to interrupt system calls. */
static u64 interrupting;

/* ---- sigaction ------------------------------------------------------------------------------------ */

/* libc's set is larger than the kernel's; the first word is the kernel's. */
static u64 set_to_kernel(const sigset_t *set)
{
	u64 word;

	memcpy(&word, set, sizeof(word));
	return word & ~HOST_LIBC_SIGNALS;
}

static long act(int sig, const struct sigaction *new, struct sigaction *old)
{
	struct host_sigaction in, out;
	int r;

	if (new)
		in = (struct host_sigaction){
			.handler = (void *)new->sa_handler,
			.flags = (u32)new->sa_flags & ~SA_RESTORER,
			.mask = set_to_kernel(&new->sa_mask),
		};
	r = host_signals_act(sig, new ? &in : NULL, old ? &out : NULL);
	if (r || !old)
		return r;
	old->sa_handler = (sighandler_t)out.handler;
	old->sa_flags = (int)out.flags;
	old->sa_restorer = (void (*)(void))out.restorer;
	sigemptyset(&old->sa_mask);
	memcpy(&old->sa_mask, &out.mask, sizeof(out.mask));
	return 0;
}

SHIM_EXPORT int sigaction(int sig, const struct sigaction *new, struct sigaction *old)
{
	if (!shim_active())
		return REAL(sigaction)(sig, new, old);
	return (int)shim_result(act(sig, new, old));
}

int shim_sigaction_alias(int sig, const struct sigaction *new, struct sigaction *old) __asm__("__sigaction");
SHIM_EXPORT int shim_sigaction_alias(int sig, const struct sigaction *new, struct sigaction *old)
{
	return sigaction(sig, new, old);
}

/* ---- signal and its variants ----------------------------------------------------------------------- */

static sighandler_t set_handler(int sig, sighandler_t handler, int flags, bool mask_itself)
{
	struct sigaction new = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR || sig < 1 || sig > HOST_SIGNALS)
		return errno = EINVAL, SIG_ERR;
	sigemptyset(&new.sa_mask);
	if (mask_itself)
		sigaddset(&new.sa_mask, sig);
	return shim_result(act(sig, &new, &old)) ? SIG_ERR : old.sa_handler;
}

static sighandler_t bsd(int sig, sighandler_t handler)
{
	bool interrupts = sig >= 1 && sig <= HOST_SIGNALS && atomic_read(&interrupting) & host_sigbit(sig);

	return set_handler(sig, handler, interrupts ? 0 : SA_RESTART, true);
}

SHIM_EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	return shim_active() ? bsd(sig, handler) : REAL(signal)(sig, handler);
}

sighandler_t shim_bsd_signal(int sig, sighandler_t handler) __asm__("bsd_signal");
SHIM_EXPORT sighandler_t shim_bsd_signal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

sighandler_t shim_ssignal(int sig, sighandler_t handler) __asm__("ssignal");
SHIM_EXPORT sighandler_t shim_ssignal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

SHIM_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	if (!shim_active())
		return REAL(__sysv_signal)(sig, handler);
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER), false);
}

sighandler_t shim_sysv_signal(int sig, sighandler_t handler) __asm__("sysv_signal");
SHIM_EXPORT sighandler_t shim_sysv_signal(int sig, sighandler_t handler)
{
	return __sysv_signal(sig, handler);
}

/* System V: SIG_HOLD blocks; any other disposition also unblocks. Tells whether it was blocked. */
SHIM_EXPORT sighandler_t shim_sigset(int sig, sighandler_t handler)
{
	sighandler_t old = SIG_ERR;
	struct sigaction now;
	sigset_t set, before;

	if (!shim_active())
		return REAL_AS(sigset, shim_sigset)(sig, handler);
	sigemptyset(&set);
	if (handler == SIG_ERR || sigaddset(&set, sig))
		return errno = EINVAL, SIG_ERR;
	if (handler == SIG_HOLD_) {
		if (sigprocmask(SIG_BLOCK, &set, &before) || shim_result(act(sig, NULL, &now)))
			return SIG_ERR;
		return sigismember(&before, sig) ? SIG_HOLD_ : now.sa_handler;
	}
	old = set_handler(sig, handler, 0, false);
	if (old == SIG_ERR || sigprocmask(SIG_UNBLOCK, &set, &before))
		return SIG_ERR;
	return sigismember(&before, sig) ? SIG_HOLD_ : old;
}

SHIM_EXPORT int shim_sigignore(int sig)
{
	if (!shim_active())
		return REAL_AS(sigignore, shim_sigignore)(sig);
	return set_handler(sig, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

SHIM_EXPORT int shim_siginterrupt(int sig, int interrupt)
{
	struct sigaction now;

	if (!shim_active())
		return REAL_AS(siginterrupt, shim_siginterrupt)(sig, interrupt);
	if (shim_result(act(sig, NULL, &now)))
		return -1;
	if (interrupt) {
		atomic_or(&interrupting, host_sigbit(sig));
		now.sa_flags &= ~SA_RESTART;
	} else {
		atomic_and(&interrupting, ~host_sigbit(sig));
		now.sa_flags |= SA_RESTART;
	}
	return (int)shim_result(act(sig, &now, NULL));
}

/* ---- cancellation ---------------------------------------------------------------------------------- */

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* libc installs its handler when a thread is first cancelled: we cancel one of our own, and take it over. */
static void claim_cancellation(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_ever, NULL))
		return;
	REAL(pthread_cancel)(thread);
	pthread_join(thread, NULL);
	host_signals_claim_cancellation();
}

SHIM_EXPORT int pthread_cancel(pthread_t thread)
{
	if (shim_active() && host_signals_want_cancellation())
		claim_cancellation();
	return REAL(pthread_cancel)(thread);
}

/* ---- masks ----------------------------------------------------------------------------------------- */

static void mask_changed(void)
{
	if (shim_active())
		host_signals_mask_changed();
}

SHIM_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	int r = REAL(pthread_sigmask)(how, set, old);

	if (set)
		mask_changed();
	return r;
}

SHIM_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int r = REAL(sigprocmask)(how, set, old);

	if (set)
		mask_changed();
	return r;
}

SHIM_EXPORT int shim_sighold(int sig)
{
	int r = REAL_AS(sighold, shim_sighold)(sig);

	mask_changed();
	return r;
}

SHIM_EXPORT int shim_sigrelse(int sig)
{
	return REAL_AS(sigrelse, shim_sigrelse)(sig);
}

SHIM_EXPORT int shim_sigblock(int mask)
{
	int r = REAL_AS(sigblock, shim_sigblock)(mask);

	mask_changed();
	return r;
}

SHIM_EXPORT int shim_sigsetmask(int mask)
{
	int r = REAL_AS(sigsetmask, shim_sigsetmask)(mask);

	mask_changed();
	return r;
}
