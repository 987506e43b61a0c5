// SPDX-License-Identifier: GPL-2.0-only
/* Threads, processes and descriptors that come and go around a vCPU that runs. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api.h"

static const uint8_t loop[] = { 0xeb, 0xfe }, halt[] = { 0xf4 };

static long run(int vcpu)
{
	long r;

	do /* the alarm */
		r = ask(vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	return r;
}

static void run_halt(struct machine *m, const char *name)
{
	long r;

	machine_code(m, halt, sizeof(halt));
	r = run(m->vcpu);
	printf("%s: %s exit=%d\n", name, answer(r), m->run->exit_reason);
}

/* ---- threads ------------------------------------------------------------------------------------- */

static void *run_until_cancelled(void *arg)
{
	struct machine *m = arg;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		run(m->vcpu);
	return NULL;
}

/* The guest counts in memory: it has begun. */
static void wait_for_guest(struct machine *m)
{
	volatile uint8_t *count = m->ram + 0x100;
	uint8_t before = *count;

	while (*count == before)
		usleep(1000);
}

static void cancelled(struct machine *m)
{
	static const uint8_t counting[] = { 0xfe, 0x06, 0x00, 0x01, 0xeb, 0xfa }; /* incb 0x100; jmp */
	unsigned n = 0;

	for (unsigned i = 0; i < 10; i++) {
		pthread_t thread;
		void *result;

		machine_code(m, counting, sizeof(counting));
		pthread_create(&thread, NULL, run_until_cancelled, m);
		wait_for_guest(m);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		n += result == PTHREAD_CANCELED;
	}
	printf("process/cancelled: %u\n", n);
	run_halt(m, "process/run-after-cancel");
}

static void *run_once(void *arg)
{
	run_halt(arg, "process/run-in-thread");
	pthread_exit(NULL);
}

static void exiting(struct machine *m)
{
	for (unsigned i = 0; i < 3; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, run_once, m);
		pthread_join(thread, NULL);
	}
}

/* ---- processes ------------------------------------------------------------------------------------ */

static void own_vm(const char *name)
{
	struct machine m = machine_open(false, true);

	machine_ram(&m);
	run_halt(&m, name);
	machine_close(&m);
}

static void spin(void)
{
	struct machine m = machine_open(false, true);

	machine_ram(&m);
	machine_code(&m, loop, sizeof(loop));
	run(m.vcpu);
}

static void killed(void)
{
	int ends[2], status;
	pid_t child;
	char c;

	pipe(ends);
	fflush(stdout);
	child = fork();
	if (!child) {
		write(ends[1], "x", 1);
		spin();
		_exit(1);
	}
	read(ends[0], &c, 1);
	usleep(20000);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	printf("process/killed: %d %d\n", WIFSIGNALED(status), WTERMSIG(status));
	close(ends[0]);
	close(ends[1]);
}

static void forked(struct machine *m)
{
	struct kvm_regs regs;
	int status;

	fflush(stdout);
	if (!fork()) {
		own_vm("process/child-own-vm");
		tell("process/child-create-vcpu", ask(m->vm, KVM_CREATE_VCPU, (void *)9));
		close(m->vcpu);
		close(m->vm);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	tell("process/parent-regs", ask(m->vcpu, KVM_GET_REGS, &regs));
	run_halt(m, "process/parent-run");
}

/* ---- many ------------------------------------------------------------------------------------------ */

static void many(void)
{
	static struct machine m[50];
	unsigned n = 0;

	for (unsigned i = 0; i < 50; i++) {
		m[i] = machine_open(i & 1, true);
		machine_ram(&m[i]);
		machine_code(&m[i], halt, sizeof(halt));
	}
	for (unsigned i = 0; i < 50; i++) {
		struct kvm_regs regs;

		m[i].run->immediate_exit = 1;
		n += ask(m[i].vcpu, KVM_RUN, NULL) == -EINTR;
		m[i].run->immediate_exit = 0;
		n += !(i & 1) && !run(m[i].vcpu);
		n += !ask(m[i].vcpu, KVM_GET_REGS, &regs) && regs.rip == !(i & 1);
	}
	for (unsigned i = 0; i < 50; i++)
		machine_close(&m[i * 7 % 50]);
	printf("process/many: %u\n", n);
}

/* A VM of its own whose guest counts, in a thread. */
static pthread_t start_counting(struct machine *m)
{
	static const uint8_t counting[] = { 0xfe, 0x06, 0x00, 0x01, 0xeb, 0xfa }; /* incb 0x100; jmp */
	pthread_t thread;

	*m = machine_open(false, true);
	machine_ram(m);
	machine_code(m, counting, sizeof(counting));
	pthread_create(&thread, NULL, run_until_cancelled, m);
	wait_for_guest(m);
	return thread;
}

/* The process ends while its vCPU runs: by itself, with all closed before, or is killed. */
static void count_and_end(unsigned how, int told)
{
	struct machine m;

	start_counting(&m);
	if (how == 1) {
		close(m.vcpu);
		close(m.vm);
		close(m.kvm);
	}
	write(told, "x", 1);
	if (how == 2)
		pause();
	_exit(7);
}

static void processes(void)
{
	pid_t child[50];
	int ends[2], status;
	unsigned exits = 0, kills = 0;
	char c;

	pipe(ends);
	fflush(stdout);
	for (unsigned i = 0; i < 50; i++) {
		child[i] = fork();
		if (!child[i])
			count_and_end(i % 3, ends[1]);
	}
	for (unsigned i = 0; i < 50;)
		i += read(ends[0], &c, 1) == 1;
	for (unsigned i = 0; i < 50; i++) {
		if (i % 3 == 2)
			kill(child[i], SIGKILL);
		while (waitpid(child[i], &status, 0) < 0)
			;
		exits += WIFEXITED(status) && WEXITSTATUS(status) == 7;
		kills += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	printf("process/processes: exited=%u killed=%u\n", exits, kills);
	close(ends[0]);
	close(ends[1]);
}

/* While the vCPU runs: a child has no part in it, and goes; its descriptors are closed, and it runs on. */
static void around_running(void)
{
	struct kvm_clock_data clock;
	struct machine m;
	pthread_t thread = start_counting(&m);
	int status;

	fflush(stdout);
	if (!fork()) {
		tell("process/child-of-running-vm", ask(m.vm, KVM_GET_CLOCK, &clock));
		tell("process/child-of-running-vcpu", ask(m.vcpu, KVM_RUN, NULL));
		own_vm("process/child-of-running-own");
		fflush(stdout);
		_exit(0);
	}
	while (wait(&status) < 0)
		;
	wait_for_guest(&m);
	printf("process/runs-after-fork: 1\n");
	close(m.vm);
	close(m.kvm);
	wait_for_guest(&m);
	printf("process/runs-without-vm: 1\n");
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	run_halt(&m, "process/halts-without-vm");
	m.vm = m.kvm = -1;
	machine_close(&m);
}

static void without_memory(void)
{
	struct machine m = machine_open(false, true);
	long r = run(m.vcpu);

	printf("process/no-slot: %s", answer(r));
	machine_ram(&m);
	machine_code(&m, halt, sizeof(halt));
	r = run(m.vcpu);
	printf(" then %s exit=%u\n", answer(r), m.run->exit_reason);
	machine_close(&m);
	m = machine_open(true, true);
	printf("process/no-slot+irqchip: %s\n", answer(run(m.vcpu)));
	machine_close(&m);
}

static void close_one(struct machine *m, unsigned which)
{
	int *fd[] = { &m->kvm, &m->vm, &m->vcpu };

	if (which < 3)
		close(*fd[which]);
	else
		munmap(m->run, m->run_size);
}

/* In every order: mapping, vCPU, VM and device. */
static void closing(void)
{
	unsigned n = 0;

	for (unsigned order = 0; order < 256; order++) {
		unsigned a = order & 3, b = order >> 2 & 3, c = order >> 4 & 3, d = order >> 6;
		struct machine m;

		if ((1 << a | 1 << b | 1 << c | 1 << d) != 15)
			continue;
		m = machine_open(true, true);
		close_one(&m, a);
		close_one(&m, b);
		close_one(&m, c);
		close_one(&m, d);
		n++;
	}
	printf("process/closing: %u\n", n);
}

/* ---- messages -------------------------------------------------------------------------------------- */

static void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	sendmsg(socket, &msg, 0);
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int fd = -1;

	recvmsg(socket, &msg, 0);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void use_received(const char *who, int kvm, int vm, int vcpu)
{
	struct kvm_clock_data clock;
	struct kvm_regs regs;

	printf("process/%s: system=%s", who, answer(ask(kvm, KVM_CREATE_VM, (void *)1)));
	printf(" vm=%s", answer(ask(vm, KVM_GET_CLOCK, &clock)));
	printf(" vcpu=%s\n", answer(ask(vcpu, KVM_GET_REGS, &regs)));
}

static void messages(struct machine *m)
{
	int ends[2], status, kvm, vm, vcpu;

	socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
	send_fd(ends[0], m->kvm);
	send_fd(ends[0], m->vm);
	send_fd(ends[0], m->vcpu);
	kvm = receive_fd(ends[1]);
	vm = receive_fd(ends[1]);
	vcpu = receive_fd(ends[1]);
	use_received("received", kvm, vm, vcpu);
	close(vm);
	close(vcpu);
	use_received("received-and-closed", m->kvm, m->vm, m->vcpu);
	send_fd(ends[0], m->kvm);
	send_fd(ends[0], m->vm);
	send_fd(ends[0], m->vcpu);
	fflush(stdout);
	if (!fork()) {
		kvm = receive_fd(ends[1]);
		vm = receive_fd(ends[1]);
		vcpu = receive_fd(ends[1]);
		use_received("received-by-child", kvm, vm, vcpu);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	close(kvm);
	close(ends[0]);
	close(ends[1]);
}

void test_process(void)
{
	struct machine m = machine_open(false, true);

	machine_ram(&m);
	cancelled(&m);
	exiting(&m);
	forked(&m);
	killed();
	many();
	closing();
	processes();
	around_running();
	without_memory();
	messages(&m);
	run_halt(&m, "process/run-at-last");
	machine_close(&m);
}
