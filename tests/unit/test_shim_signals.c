/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The signal protocol of KVM_RUN under the shim, on a stand-in for a vCPU: a file of ours whose ioctl
 * runs until its stop word says otherwise, spinning, sleeping or returning by itself now and then.
 *
 * The stress tests count: every signal sent must be acknowledged by a run that ended with EINTR. If one
 * were lost, the run would last for ever; the alarm of watch(), set anew with each signal, ends that.
 *
 *	test_shim_signals [SIGNALS]		sent in each stress test
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/file.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "tests/unit/child.h"

/* siginterrupt and sigset are old, and still somebody's */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define STOP_SIGNAL 4u
#define EXIT_BY_ITSELF 77

enum request { VCPU_RUN, VCPU_TOUCH, VCPU_WILD_POINTER };
enum mode { SPIN, SLEEP, EXIT };

static struct vcpu {
	struct host_mutex mutex; /* as the core's: held through a run */
	u32 stop;
	u32 running;
	enum mode mode;
	bool has_mask;
	u64 mask;
	u32 immediate_exit;
	u32 touched;
	u32 seed;
} vcpu;

static int vcpu_fd;

/* Delays of all lengths up to some microseconds, so that signals meet every stage of a run. */
static void dawdle(u32 *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	for (volatile u32 i = *seed >> 21; i; i--)
		;
}

static long vcpu_run(struct vcpu *v)
{
	long r = -EINTR;

	dawdle(&v->seed);
	host_run_enter(&v->stop, STOP_SIGNAL, v->has_mask ? &v->mask : NULL);
	atomic_set(&v->running, 1);
	host_wake(&v->running);
	for (u32 turn = 0; !atomic_read(&v->immediate_exit); ) {
		u32 stop = atomic_read(&v->stop);

		if (stop & STOP_SIGNAL)
			break;
		if (v->mode == SLEEP)
			host_wait(&v->stop, stop, 0);
		else if (v->mode == EXIT && ++turn == 300) {
			r = EXIT_BY_ITSELF;
			break;
		}
	}
	atomic_set(&v->running, 0);
	host_run_leave(v->has_mask ? &v->mask : NULL);
	dawdle(&v->seed);
	return r;
}

static long vcpu_ioctl(void *object, unsigned int request, unsigned long arg)
{
	struct vcpu *v = object;
	u64 word;
	long r = 0;

	host_mutex_lock(&v->mutex);
	if (request == VCPU_RUN)
		r = vcpu_run(v);
	else if (request == VCPU_TOUCH)
		v->touched++;
	else
		r = host_copy_from_user(&word, arg, sizeof(word));
	host_mutex_unlock(&v->mutex);
	return r;
}

static const struct host_file_ops vcpu_ops = { .name = "kvm-vcpu:0", .ioctl = vcpu_ioctl };

static int run(void)
{
	return syscall(SYS_ioctl, vcpu_fd, VCPU_RUN, 0) < 0 ? -errno : EXIT_BY_ITSELF;
}

static int vcpu_reset(void **state)
{
	(void)state;
	vcpu = (struct vcpu){ .mode = SPIN };
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	return 0;
}

static u64 mask_now(void)
{
	sigset_t set;
	u64 word;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	memcpy(&word, &set, sizeof(word));
	return word;
}

static void block(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(how, &set, NULL);
}

/* ---- dispositions --------------------------------------------------------------------------------- */

static volatile int handled, last_signal, last_code, last_value;
static volatile u64 mask_in_handler;

static void count_handled(int sig)
{
	last_signal = sig;
	mask_in_handler = mask_now();
	handled++;
}

static void note_info(int sig, siginfo_t *info, void *context)
{
	assert_non_null(context);
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
	count_handled(sig);
}

static void test_actions_are_reported(void **state)
{
	struct sigaction mine = { .sa_sigaction = note_info }, old;

	(void)state;
	mine.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
	sigaddset(&mine.sa_mask, SIGUSR2);
	assert_int_equal(sigaction(SIGUSR1, &mine, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, NULL, &old), 0);
	assert_ptr_equal(old.sa_sigaction, note_info);
	assert_int_equal(old.sa_flags & 0x3ffffff, mine.sa_flags & 0x3ffffff);
	assert_true(old.sa_flags & SA_NODEFER);
	assert_true(sigismember(&old.sa_mask, SIGUSR2) && !sigismember(&old.sa_mask, SIGUSR1));
	assert_ptr_equal(signal(SIGUSR1, SIG_IGN), note_info);
	assert_ptr_equal(signal(SIGUSR1, count_handled), SIG_IGN);
	sigaction(SIGUSR1, NULL, &old);
	assert_true(old.sa_flags & SA_RESTART);
	assert_true(sigismember(&old.sa_mask, SIGUSR1));
	siginterrupt(SIGUSR1, 1);
	sigaction(SIGUSR1, NULL, &old);
	assert_false(old.sa_flags & SA_RESTART);
	siginterrupt(SIGUSR1, 0);
	assert_ptr_equal(sysv_signal(SIGUSR1, SIG_DFL), count_handled);
	assert_int_equal(sigaction(SIGKILL, &mine, NULL), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(sigaction(0, NULL, NULL), -1);
	assert_int_equal(sigaction(33, &mine, NULL), -1);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(signal(65, SIG_DFL), SIG_ERR);
}

static void test_handler_arguments(void **state)
{
	struct sigaction mine = { .sa_sigaction = note_info, .sa_flags = SA_SIGINFO };
	union sigval value = { .sival_int = 4711 };

	(void)state;
	sigaddset(&mine.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &mine, NULL);
	handled = 0;
	sigqueue(getpid(), SIGUSR1, value);
	assert_int_equal(handled, 1);
	assert_int_equal(last_signal, SIGUSR1);
	assert_int_equal(last_code, SI_QUEUE);
	assert_int_equal(last_value, 4711);
	assert_true(mask_in_handler == (host_sigbit(SIGUSR1) | host_sigbit(SIGUSR2)));
	assert_true(mask_now() == 0);
}

static void test_resethand_nodefer(void **state)
{
	struct sigaction now;

	(void)state;
	sysv_signal(SIGUSR1, count_handled);
	handled = 0;
	raise(SIGUSR1);
	assert_int_equal(handled, 1);
	assert_true(mask_in_handler == 0);
	sigaction(SIGUSR1, NULL, &now);
	assert_ptr_equal(now.sa_handler, SIG_DFL);
}

static void test_sigset(void **state)
{
	(void)state;
	assert_ptr_equal(sigset(SIGUSR1, count_handled), SIG_DFL);
	assert_ptr_equal(sigset(SIGUSR1, SIG_HOLD), count_handled);
	assert_true(mask_now() & host_sigbit(SIGUSR1));
	assert_ptr_equal(sigset(SIGUSR1, SIG_DFL), SIG_HOLD);
	assert_true(mask_now() == 0);
}

/* On the alternate stack, if the program says so. */
static volatile uintptr_t stack_in_handler;

static void note_stack(int sig)
{
	volatile int here = sig;

	stack_in_handler = (uintptr_t)&here;
}

static void test_onstack(void **state)
{
	struct sigaction mine = { .sa_handler = note_stack, .sa_flags = SA_ONSTACK };
	stack_t other = { .ss_size = 1 << 16 }, before;

	(void)state;
	other.ss_sp = mmap(NULL, other.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaltstack(&other, &before);
	sigaction(SIGUSR1, &mine, NULL);
	raise(SIGUSR1);
	assert_true(stack_in_handler - (uintptr_t)other.ss_sp < other.ss_size);
	mine.sa_flags = 0;
	sigaction(SIGUSR1, &mine, NULL);
	raise(SIGUSR1);
	assert_true(stack_in_handler - (uintptr_t)other.ss_sp >= other.ss_size);
	sigaltstack(&before, NULL);
	munmap(other.ss_sp, other.ss_size);
}

/* A child of vfork sets its own dispositions; the parent's stand. */
static void test_vfork_signals(void **state)
{
	struct sigaction now;
	int status;
	pid_t pid;

	(void)state;
	signal(SIGUSR1, count_handled);
	pid = vfork();
	if (!pid) {
		if (signal(SIGUSR1, SIG_DFL) != count_handled)
			_exit(1);
		_exit(signal(SIGUSR1, SIG_IGN) == SIG_DFL ? 42 : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 42);
	sigaction(SIGUSR1, NULL, &now);
	assert_ptr_equal(now.sa_handler, count_handled);
	handled = 0;
	raise(SIGUSR1);
	assert_int_equal(handled, 1);
}

/* ---- one signal, one run -------------------------------------------------------------------------- */

static pthread_t vcpu_thread;
static int kick_first; /* another signal, sent before; 0: none */

static void *kick_when_running(void *sig)
{
	while (!atomic_read(&vcpu.running))
		host_wait(&vcpu.running, 0, 0);
	if (kick_first)
		pthread_kill(vcpu_thread, kick_first);
	pthread_kill(vcpu_thread, (int)(uintptr_t)sig);
	return NULL;
}

static int run_and_kick(int sig)
{
	pthread_t kicker;
	int r;

	vcpu_thread = pthread_self();
	pthread_create(&kicker, NULL, kick_when_running, (void *)(uintptr_t)sig);
	r = run();
	pthread_join(kicker, NULL);
	return r;
}

static void test_signal_ends_run(void **state)
{
	(void)state;
	signal(SIGUSR1, count_handled);
	for (int mode = SPIN; mode <= SLEEP; mode++) {
		vcpu.mode = (enum mode)mode;
		handled = 0;
		assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
		assert_int_equal(handled, 1);
		assert_true(mask_now() == 0);
	}
}

/* The handler runs after the call: it may call the vCPU, whose mutex the run has held. */
static void touch_vcpu(int sig)
{
	assert_int_equal(ioctl(vcpu_fd, VCPU_TOUCH, 0), 0);
	count_handled(sig);
}

static void test_handler_calls_us(void **state)
{
	(void)state;
	signal(SIGUSR1, touch_vcpu);
	assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
	assert_int_equal(vcpu.touched, 1);
}

static sigjmp_buf escape;

static void jump_away(int sig)
{
	(void)sig;
	siglongjmp(escape, 1);
}

static void test_handler_jumps_away(void **state)
{
	volatile int jumps = 0;

	(void)state;
	signal(SIGUSR1, jump_away);
	for (volatile int i = 0; i < 50; i++) {
		if (sigsetjmp(escape, 1)) {
			jumps++;
			assert_false(host_mutex_is_locked(&vcpu.mutex));
			assert_int_equal(ioctl(vcpu_fd, VCPU_TOUCH, 0), 0);
			continue;
		}
		run_and_kick(SIGUSR1);
		fail();
	}
	assert_int_equal(jumps, 50);
	assert_true(mask_now() == 0);
	signal(SIGUSR1, count_handled);
	assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
}

static void test_ignored_does_not_end_run(void **state)
{
	(void)state;
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, count_handled);
	vcpu.mode = EXIT;
	for (int i = 0; i < 200; i++) {
		pthread_kill(pthread_self(), SIGUSR1);
		assert_int_equal(run(), EXIT_BY_ITSELF);
	}
}

/* Blocked, and not unblocked by a mask: stays pending without a trace. */
static void test_blocked_does_not_end_run(void **state)
{
	(void)state;
	signal(SIGUSR1, count_handled);
	block(SIG_BLOCK, SIGUSR1);
	handled = 0;
	vcpu.mode = EXIT;
	raise(SIGUSR1);
	assert_int_equal(run(), EXIT_BY_ITSELF);
	assert_int_equal(handled, 0);
	block(SIG_UNBLOCK, SIGUSR1);
	assert_int_equal(handled, 1);
}

/* ---- KVM_SET_SIGNAL_MASK -------------------------------------------------------------------------- */

static int take_pending(int sig, siginfo_t *info)
{
	const struct timespec at_once = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigtimedwait(&set, info, &at_once);
}

/* No handler: the default action would end us. It ends the run, and is still there afterwards. */
static void test_mask_leaves_pending(void **state)
{
	siginfo_t info;

	(void)state;
	block(SIG_BLOCK, SIGUSR1);
	vcpu.has_mask = true;
	for (int mode = SPIN; mode <= SLEEP; mode++) {
		vcpu.mode = (enum mode)mode;
		assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
		assert_true(mask_now() == host_sigbit(SIGUSR1));
		assert_int_equal(run(), -EINTR); /* pending already: at once, again and again */
		assert_int_equal(run(), -EINTR);
		assert_int_equal(take_pending(SIGUSR1, &info), SIGUSR1);
		assert_int_equal(info.si_pid, getpid()); /* libc turns SI_TKILL into SI_USER */
		assert_int_equal(take_pending(SIGUSR1, &info), -1);
	}
	block(SIG_UNBLOCK, SIGUSR1);
}

static void test_mask_handler_waits(void **state)
{
	(void)state;
	signal(SIGUSR1, count_handled);
	block(SIG_BLOCK, SIGUSR1);
	vcpu.has_mask = true;
	handled = 0;
	assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
	assert_int_equal(handled, 0);
	block(SIG_UNBLOCK, SIGUSR1);
	assert_int_equal(handled, 1);
}

static void test_mask_ignored_stays(void **state)
{
	siginfo_t info;

	(void)state;
	signal(SIGUSR1, SIG_IGN);
	block(SIG_BLOCK, SIGUSR1);
	vcpu.has_mask = true;
	assert_int_equal(run_and_kick(SIGUSR1), -EINTR);
	assert_int_equal(take_pending(SIGUSR1, &info), SIGUSR1);
	block(SIG_UNBLOCK, SIGUSR1);
	raise(SIGUSR1); /* still ignored */
}

/* Blocked by the mask alone: held back during the run, which another ends, and delivered after it. */
static void test_mask_holds_back(void **state)
{
	(void)state;
	signal(SIGUSR1, count_handled);
	signal(SIGUSR2, count_handled);
	vcpu.has_mask = true;
	vcpu.mask = host_sigbit(SIGUSR1);
	kick_first = SIGUSR1;
	for (int i = 0; i < 100; i++) {
		handled = 0;
		assert_int_equal(run_and_kick(SIGUSR2), -EINTR);
		assert_int_equal(handled, 2);
		assert_true(mask_now() == 0);
	}
	kick_first = 0;
}

static void test_mask_value_survives(void **state)
{
	union sigval value = { .sival_int = 99 };
	siginfo_t info;

	(void)state;
	block(SIG_BLOCK, SIGRTMIN + 3);
	vcpu.has_mask = true;
	assert_int_equal(pthread_sigqueue(pthread_self(), SIGRTMIN + 3, value), 0);
	assert_int_equal(run(), -EINTR);
	assert_int_equal(take_pending(SIGRTMIN + 3, &info), SIGRTMIN + 3);
	assert_int_equal(info.si_value.sival_int, 99);
	assert_int_equal(info.si_code, SI_QUEUE);
	block(SIG_UNBLOCK, SIGRTMIN + 3);
}

/* A signal to the process may be waited for by another thread. */
static void *wait_for_usr1(void *unused)
{
	siginfo_t info;
	sigset_t set;

	(void)unused;
	while (atomic_read(&vcpu.touched) == 0)
		host_yield();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return (void *)(intptr_t)sigwaitinfo(&set, &info);
}

static void test_mask_process_signal(void **state)
{
	pthread_t waiter;
	void *got;

	(void)state;
	block(SIG_BLOCK, SIGUSR1);
	pthread_create(&waiter, NULL, wait_for_usr1, NULL);
	vcpu.has_mask = true;
	kill(getpid(), SIGUSR1);
	assert_int_equal(run(), -EINTR);
	atomic_set(&vcpu.touched, 1);
	pthread_join(waiter, &got);
	assert_int_equal((intptr_t)got, SIGUSR1);
	block(SIG_UNBLOCK, SIGUSR1);
}

/* ---- default actions of claimed signals, in a child ---------------------------------------------- */

static void pending_then_unblocked(void)
{
	block(SIG_BLOCK, SIGUSR1);
	vcpu.has_mask = true;
	raise(SIGUSR1);
	if (run() != -EINTR)
		_exit(1);
	block(SIG_UNBLOCK, SIGUSR1);
}

static void unclaimed_again(void)
{
	block(SIG_BLOCK, SIGCHLD);
	block(SIG_BLOCK, SIGUSR1);
	vcpu.has_mask = true;
	raise(SIGCHLD);
	if (run() != -EINTR)
		_exit(1);
	block(SIG_UNBLOCK, SIGCHLD); /* ignored by default */
	block(SIG_UNBLOCK, SIGUSR1);
	vcpu.has_mask = false;
	signal(SIGUSR1, count_handled);
	raise(SIGUSR1);
	_exit(handled == 1 ? 42 : 2);
}

static void test_default_after_mask(void **state)
{
	int status;

	(void)state;
	status = in_child(pending_then_unblocked);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	handled = 0;
	status = in_child(unclaimed_again);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* ---- faults while everything is blocked ---------------------------------------------------------- */

static void test_faults_while_blocked(void **state)
{
	sigset_t all, before;
	u64 mask;

	(void)state;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	mask = mask_now();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ioctl(vcpu_fd, VCPU_WILD_POINTER, 16), -1);
		assert_int_equal(errno, EFAULT);
		assert_true(mask_now() == mask);
	}
	vcpu.mode = EXIT;
	vcpu.has_mask = true;
	assert_int_equal(run(), EXIT_BY_ITSELF);
	assert_true(mask_now() == mask);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(ioctl(vcpu_fd, VCPU_WILD_POINTER, 16), -1);
}

static void note_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	_exit(sig == SIGSEGV && info->si_addr == (void *)16 ? 42 : 1);
}

static void program_fault(void)
{
	struct sigaction mine = { .sa_sigaction = note_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &mine, NULL);
	if (ioctl(vcpu_fd, VCPU_WILD_POINTER, 16) != -1)
		_exit(2);
	__asm__ volatile("movl $1, 16");
}

static void test_program_fault(void **state)
{
	int status;

	(void)state;
	status = in_child(program_fault);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* ---- nothing is lost ------------------------------------------------------------------------------ */

/* Where threads share a processor each signal may cost a time slice. */
static u32 stress_signals = 1000;
static u32 stress_handled, stress_acknowledged, stress_done;

static void request_exit(int sig)
{
	(void)sig;
	atomic_set(&vcpu.immediate_exit, 1);
	atomic_add(&stress_handled, 1);
}

/* The way of QEMU and others: the handler sets immediate_exit, the loop clears it. */
static void *vcpu_loop(void *unused)
{
	(void)unused;
	while (!atomic_read(&stress_done)) {
		int r = run();

		if (r == -EINTR)
			atomic_set(&vcpu.immediate_exit, 0);
		atomic_set(&stress_acknowledged, atomic_read(&stress_handled));
		host_wake(&stress_acknowledged);
	}
	return NULL;
}

/* Progress, not time, is what counts: a loaded machine may need long for all of them. */
static void watch(void)
{
	alarm(300);
}

static void acknowledge_wait(u32 n)
{
	u32 now;

	while ((now = atomic_read(&stress_acknowledged)) < n)
		host_wait(&stress_acknowledged, now, 0);
}

static void stress(enum mode mode)
{
	pthread_t thread;
	u32 seed = 1;

	stress_handled = stress_acknowledged = stress_done = 0;
	signal(SIGUSR1, request_exit);
	vcpu.mode = mode;
	pthread_create(&thread, NULL, vcpu_loop, NULL);
	for (u32 i = 1; i <= stress_signals; i++) {
		watch();
		dawdle(&seed);
		pthread_kill(thread, SIGUSR1);
		acknowledge_wait(i);
	}
	atomic_set(&stress_done, 1);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
}

static void test_stress_spin(void **state)
{
	(void)state;
	stress(SPIN);
}

static void test_stress_sleep(void **state)
{
	(void)state;
	stress(SLEEP);
}

static void test_stress_exit(void **state)
{
	(void)state;
	stress(EXIT);
}

/* The way of the kernel's dirty_log_test: blocked, unblocked by the run's mask, then waited for. */
static void *masked_loop(void *unused)
{
	siginfo_t info;

	(void)unused;
	block(SIG_BLOCK, SIGRTMIN + 1);
	while (atomic_read(&stress_acknowledged) < stress_signals) {
		if (run() != -EINTR)
			continue;
		if (take_pending(SIGRTMIN + 1, &info) != SIGRTMIN + 1 ||
		    info.si_value.sival_int != (int)stress_acknowledged + 1)
			break;
		atomic_add(&stress_acknowledged, 1);
		host_wake(&stress_acknowledged);
	}
	return (void *)(uintptr_t)atomic_read(&stress_acknowledged);
}

static void stress_masked(enum mode mode)
{
	pthread_t thread;
	u32 seed = 7;
	void *taken;

	stress_acknowledged = 0;
	vcpu.mode = mode;
	vcpu.has_mask = true;
	block(SIG_BLOCK, SIGRTMIN + 1);
	pthread_create(&thread, NULL, masked_loop, NULL);
	for (u32 i = 1; i <= stress_signals; i++) {
		watch();
		union sigval value = { .sival_int = (int)i };

		dawdle(&seed);
		pthread_sigqueue(thread, SIGRTMIN + 1, value);
		acknowledge_wait(i);
	}
	pthread_join(thread, &taken);
	assert_int_equal((uintptr_t)taken, stress_signals);
	block(SIG_UNBLOCK, SIGRTMIN + 1);
}

static void test_stress_masked(void **state)
{
	(void)state;
	stress_masked(SPIN);
	stress_masked(SLEEP);
	stress_masked(EXIT);
}

/*
 * Two signals at once at a thread that also jumps out of a handler: states stay consistent. Only SIGUSR2
 * is counted: its handler runs on top of the other's where both arrive, which a jump then skips.
 */
static void maybe_jump(int sig)
{
	u32 before;

	if (sig != SIGUSR2)
		return;
	before = atomic_add(&stress_handled, 1);
	host_wake(&stress_handled);
	if (before % 3 == 0)
		siglongjmp(escape, 1);
}

static void *jumping_loop(void *unused)
{
	(void)unused;
	sigsetjmp(escape, 1);
	while (!atomic_read(&stress_done)) {
		run();
		ioctl(vcpu_fd, VCPU_TOUCH, 0);
	}
	block(SIG_BLOCK, SIGUSR1);
	block(SIG_BLOCK, SIGUSR2);
	return (void *)(uintptr_t)(host_thread.where == HOST_OUTSIDE && !host_thread.depth);
}

static void test_stress_jumps(void **state)
{
	pthread_t thread;
	u32 seed = 3;
	void *sound;

	(void)state;
	stress_handled = stress_done = 0;
	signal(SIGUSR1, maybe_jump);
	signal(SIGUSR2, maybe_jump);
	vcpu.mode = EXIT;
	pthread_create(&thread, NULL, jumping_loop, NULL);
	while (!vcpu.touched)
		host_yield();
	for (u32 i = 1; i <= stress_signals; i++) {
		watch();
		u32 before = atomic_read(&stress_handled);

		dawdle(&seed);
		pthread_kill(thread, SIGUSR1);
		pthread_kill(thread, SIGUSR2);
		while (atomic_read(&stress_handled) == before)
			host_wait(&stress_handled, before, 0);
	}
	atomic_set(&stress_done, 1);
	pthread_join(thread, &sound);
	assert_ptr_equal(sound, (void *)1);
	assert_false(host_mutex_is_locked(&vcpu.mutex));
}

/* ---- cancellation ---------------------------------------------------------------------------------- */

static void *cancelled_loop(void *unused)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;) {
		run();
		ioctl(vcpu_fd, VCPU_TOUCH, 0);
	}
	return unused;
}

/* ioctl is no cancellation point of glibc's, so threads that are to be cancelled in KVM_RUN say that anywhere will do. */
static void test_cancel(void **state)
{
	u32 seed = 4;

	(void)state;
	for (u32 i = 0; i < stress_signals / 10 + 10; i++) {
		pthread_t thread;
		void *result;

		watch();
		vcpu.mode = (enum mode)(i % 3);
		atomic_set(&vcpu.running, 0);
		assert_int_equal(pthread_create(&thread, NULL, cancelled_loop, NULL), 0);
		while (!atomic_read(&vcpu.running) && vcpu.mode != EXIT)
			host_yield();
		dawdle(&seed);
		assert_int_equal(pthread_cancel(thread), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
		assert_false(host_mutex_is_locked(&vcpu.mutex));
		assert_int_equal(ioctl(vcpu_fd, VCPU_TOUCH, 0), 0);
	}
}

/* ---- main ----------------------------------------------------------------------------------------- */

#define SIGNAL_TEST(f) cmocka_unit_test_setup(f, vcpu_reset)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		SIGNAL_TEST(test_actions_are_reported),
		SIGNAL_TEST(test_handler_arguments),
		SIGNAL_TEST(test_resethand_nodefer),
		SIGNAL_TEST(test_sigset),
		SIGNAL_TEST(test_onstack),
		SIGNAL_TEST(test_vfork_signals),
		SIGNAL_TEST(test_signal_ends_run),
		SIGNAL_TEST(test_handler_calls_us),
		SIGNAL_TEST(test_handler_jumps_away),
		SIGNAL_TEST(test_ignored_does_not_end_run),
		SIGNAL_TEST(test_blocked_does_not_end_run),
		SIGNAL_TEST(test_mask_leaves_pending),
		SIGNAL_TEST(test_mask_handler_waits),
		SIGNAL_TEST(test_mask_ignored_stays),
		SIGNAL_TEST(test_mask_holds_back),
		SIGNAL_TEST(test_mask_value_survives),
		SIGNAL_TEST(test_mask_process_signal),
		SIGNAL_TEST(test_default_after_mask),
		SIGNAL_TEST(test_faults_while_blocked),
		SIGNAL_TEST(test_program_fault),
		SIGNAL_TEST(test_stress_spin),
		SIGNAL_TEST(test_stress_sleep),
		SIGNAL_TEST(test_stress_exit),
		SIGNAL_TEST(test_stress_masked),
		SIGNAL_TEST(test_stress_jumps),
		SIGNAL_TEST(test_cancel),
	};
	struct rlimit no_core = { 0, 0 };

	if (argc > 1)
		stress_signals = (u32)strtoul(argv[1], NULL, 0);
	if (!getenv("ANYKVM_PRELOAD")) { /* the shim looks at the environment before main() */
		setenv("ANYKVM_PRELOAD", "1", 1);
		execv("/proc/self/exe", argv);
	}
	watch();
	setrlimit(RLIMIT_CORE, &no_core);
	assert_int_equal(host_user_init(), 0);
	host_signals_take_over();
	vcpu_fd = host_file_create(&vcpu_ops, &vcpu, 0, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
