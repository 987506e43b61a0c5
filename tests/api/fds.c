// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors: dup, order of closing, mmap, poll, fork, flags. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api.h"

static void map(struct machine *m, const char *name, size_t size, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, m->vcpu, offset);

	tell(name, p == MAP_FAILED ? -errno : 0);
	if (p != MAP_FAILED)
		munmap(p, size);
}

static void mappings(struct machine *m)
{
	map(m, "fds/mmap-shared", m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	map(m, "fds/mmap-readonly", m->run_size, PROT_READ, MAP_SHARED, 0);
	map(m, "fds/mmap-private", m->run_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	map(m, "fds/mmap-page1", 4096, PROT_READ, MAP_SHARED, 4096);
}

static void closing(void)
{
	struct machine m = machine_open(false, true);
	struct kvm_regs regs;
	int again = dup(m.vcpu);

	close(m.kvm);
	close(m.vm);
	tell("fds/regs-after-vm-closed", ask(m.vcpu, KVM_GET_REGS, &regs));
	close(m.vcpu);
	tell("fds/regs-by-dup", ask(again, KVM_GET_REGS, &regs));
	tell("fds/regs-closed", ask(m.vcpu, KVM_GET_REGS, &regs));
	printf("fds/run-still-mapped: %d\n", m.run->exit_reason);
	close(again);
	printf("fds/run-after-all: %d\n", m.run->exit_reason);
	munmap(m.run, m.run_size);
}

static void forking(struct machine *m)
{
	struct kvm_regs regs;
	int status;

	fflush(stdout);
	if (!fork()) {
		tell("fds/child-system", ask(m->kvm, KVM_GET_API_VERSION, NULL));
		tell("fds/child-vm", ask(m->vm, KVM_GET_CLOCK, &regs));
		tell("fds/child-regs", ask(m->vcpu, KVM_GET_REGS, &regs));
		tell("fds/child-run", ask(m->vcpu, KVM_RUN, NULL));
		_exit(0);
	}
	wait(&status);
	tell("fds/parent-regs", ask(m->vcpu, KVM_GET_REGS, &regs));
}

void test_fds(void)
{
	struct machine m = machine_open(false, true);
	char c;

	mappings(&m);
	closing();
	forking(&m);
	tell("fds/read", read(m.vcpu, &c, 1) < 0 ? -errno : 0);
	tell("fds/write", write(m.vm, &c, 1) < 0 ? -errno : 0);
	printf("fds/cloexec: %d %d\n", fcntl(m.vm, F_GETFD), fcntl(m.vcpu, F_GETFD));
	tell("fds/vcpu-ioctl-on-vm", ask(m.vm, KVM_GET_REGS, &c));
	tell("fds/vm-ioctl-on-vcpu", ask(m.vcpu, KVM_CREATE_IRQCHIP, NULL));
	tell("fds/bad-fd", ask(-1, KVM_RUN, NULL));
	tell("fds/other-fd", ask(0, KVM_RUN, NULL));
	machine_close(&m);
}
