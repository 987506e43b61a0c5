/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The signal protocol, instruction by instruction: a child calls a stand-in for KVM_RUN; its parent
 * traces it, lets it execute k instructions of the call, sends a signal, and lets it go on. For every k
 * from none to the whole call, the call must end and leave the thread, its mask and the signal as
 * Linux's KVM would. A wake-up lost anywhere would be a run that never ends, which the alarm, set anew for
 * each k, reports.
 *
 *	test_shim_steps [STRIDE]		every STRIDE-th k
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/process.h"
#include "host/user/signals.h"

#define STOP_SIGNAL 4u
#define EXIT_BY_ITSELF 77
/* No call is longer. One that ends by itself is stepped to its end, an endless one as far as that. */
#define STEPS_MAX 5000
/* The sum of all steps is quadratic, and sanitized code several times as long: a sample, then. */
#ifdef __SANITIZE_ADDRESS__
static int stride = 23;
#else
static int stride = 1;
#endif

/* A sleeping run could not be stepped through; its futex is the stop word itself. */
enum mode { SPIN, EXIT };

static struct vcpu {
	u32 stop;
	u32 immediate_exit;
	enum mode mode;
	bool has_mask;
	u64 mask;
} vcpu;

static int vcpu_fd;
static u32 handled;

static long vcpu_ioctl(void *object, unsigned int request, unsigned long arg)
{
	struct vcpu *v = object;
	long r = -EINTR;

	(void)request;
	(void)arg;
	host_run_enter(&v->stop, STOP_SIGNAL, v->has_mask ? &v->mask : NULL);
	while (!atomic_read(&v->immediate_exit)) {
		if (atomic_read(&v->stop) & STOP_SIGNAL)
			break;
		if (v->mode == EXIT) {
			r = EXIT_BY_ITSELF;
			break;
		}
	}
	host_run_leave(v->has_mask ? &v->mask : NULL);
	return r;
}

static const struct host_file_ops vcpu_ops = { .name = "kvm-vcpu:0", .ioctl = vcpu_ioctl };

/* ---- the child ------------------------------------------------------------------------------------ */

#define MARK() __asm__ volatile("int3" : : : "memory")

static u64 mask_now(void)
{
	sigset_t set;
	u64 word;

	sigprocmask(SIG_BLOCK, NULL, &set);
	memcpy(&word, &set, sizeof(word));
	return word;
}

static void request_exit(int sig)
{
	(void)sig;
	handled++;
	vcpu.immediate_exit = 1;
}

static bool take_pending(void)
{
	const struct timespec at_once = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return sigtimedwait(&set, NULL, &at_once) == SIGUSR1;
}

/* Each way a signal may meet the call; result is checked after the signal has been sent. */
struct scenario {
	enum mode mode;
	bool masked; /* blocked, no handler, and let through by the run's mask */
	bool jumps;  /* the handler leaves by siglongjmp */
};

static struct scenario scenario;
static sigjmp_buf away;

static void jump_away(int sig)
{
	(void)sig;
	handled++;
	vcpu.immediate_exit = 1;
	siglongjmp(away, 1);
}

/* 0: as it should be. */
static int judge(int r)
{
	u64 expected_mask = scenario.masked ? host_sigbit(SIGUSR1) : 0;

	if (r != -EINTR && !(scenario.mode == EXIT && r == EXIT_BY_ITSELF))
		return 10;
	if (mask_now() != expected_mask)
		return 11;
	if (host_thread.where != HOST_OUTSIDE || host_thread.depth || host_thread.restore || host_thread.stop)
		return 12;
	if (scenario.masked && !take_pending())
		return 13;
	if (!scenario.masked && handled != 1)
		return 14;
	return 0;
}

static void child_prepare(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (scenario.masked)
		sigprocmask(SIG_BLOCK, &set, NULL);
	else
		signal(SIGUSR1, scenario.jumps ? jump_away : request_exit);
	vcpu = (struct vcpu){ .mode = scenario.mode, .has_mask = scenario.masked };
}

static void child_main(void)
{
	volatile int r;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(99);
	child_prepare();
	for (;;) {
		vcpu.immediate_exit = 0;
		handled = 0;
		r = -EINTR;
		if (!sigsetjmp(away, 1)) {
			MARK();
			if (ioctl(vcpu_fd, 0, 0) == EXIT_BY_ITSELF)
				r = EXIT_BY_ITSELF;
		}
		MARK();
		if (judge(r))
			_exit(judge(r));
	}
}

/* ---- the parent ----------------------------------------------------------------------------------- */

enum stop { AT_MARK, AT_STEP, AT_SIGNAL, GONE };

static int exit_code;

static enum stop wait_stop(pid_t pid)
{
	siginfo_t info;
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status)) {
		exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
		return GONE;
	}
	if (WSTOPSIG(status) != SIGTRAP)
		return AT_SIGNAL;
	assert_int_equal(ptrace(PTRACE_GETSIGINFO, pid, NULL, &info), 0);
	return info.si_code == SI_KERNEL ? AT_MARK : AT_STEP;
}

static enum stop resume(pid_t pid, int how, int sig)
{
	assert_int_equal(ptrace((enum __ptrace_request)how, pid, NULL, (void *)(uintptr_t)sig), 0);
	return wait_stop(pid);
}

static void assert_alive(enum stop s)
{
	if (s == GONE)
		print_error("the child ended: %d\n", exit_code);
	assert_int_not_equal(s, GONE);
}

/* One call with the signal after k instructions. False: the call was over before that. */
static bool signal_after(pid_t pid, int k)
{
	enum stop s = AT_STEP;
	bool inside = true;

	for (int i = 0; i < k && inside; i++) {
		s = resume(pid, PTRACE_SINGLESTEP, 0);
		assert_alive(s);
		inside = s != AT_MARK;
	}
	assert_int_equal(syscall(SYS_tgkill, pid, pid, SIGUSR1), 0);
	if (!inside) /* the judge wants its signal all the same */
		return false;
	do
		s = resume(pid, PTRACE_CONT, s == AT_SIGNAL ? SIGUSR1 : 0);
	while (s == AT_SIGNAL);
	assert_alive(s);
	assert_int_equal(s, AT_MARK);
	return true;
}

/* From the end of one call to the start of the next; the child judges in between. */
static void next_call(pid_t pid)
{
	enum stop s = AT_MARK;

	do
		s = resume(pid, PTRACE_CONT, s == AT_SIGNAL ? SIGUSR1 : 0);
	while (s == AT_SIGNAL);
	assert_alive(s);
	assert_int_equal(s, AT_MARK);
}

static int step_through(struct scenario what, int limit)
{
	pid_t pid;
	int k;

	scenario = what;
	pid = fork();
	if (!pid)
		child_main();
	switch (wait_stop(pid)) {
	case GONE:
		assert_int_equal(exit_code, 99); /* no ptrace here */
		skip();
	default:
		break;
	}
	for (k = 0; k < limit && signal_after(pid, k); k += stride) {
		alarm(300);
		next_call(pid);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return k;
}

/* All the ways of a call to last. */
static void step_through_modes(bool masked, bool jumps)
{
	int length = step_through((struct scenario){ EXIT, masked, jumps }, STEPS_MAX);

	assert_in_range(length, 50, STEPS_MAX - 1);
	step_through((struct scenario){ SPIN, masked, jumps }, length);
}

static void test_steps_handler(void **state)
{
	(void)state;
	step_through_modes(false, false);
}

static void test_steps_jump(void **state)
{
	(void)state;
	step_through_modes(false, true);
}

static void test_steps_masked(void **state)
{
	(void)state;
	step_through_modes(true, false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_handler),
		cmocka_unit_test(test_steps_jump),
		cmocka_unit_test(test_steps_masked),
	};

	if (argc > 1 && atoi(argv[1]) > 0)
		stride = atoi(argv[1]);
	if (!getenv("ANYKVM_PRELOAD")) { /* the shim looks at the environment before main() */
		setenv("ANYKVM_PRELOAD", "1", 1);
		execv("/proc/self/exe", argv);
	}
	alarm(300);
	assert_int_equal(host_user_init(), 0);
	host_signals_take_over();
	vcpu_fd = host_file_create(&vcpu_ops, &vcpu, 0, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
