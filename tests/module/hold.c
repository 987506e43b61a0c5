// SPDX-License-Identifier: GPL-2.0-only
/* hold WHAT [DEVICE]: makes a VM that runs, keeps only WHAT of it, says so and waits. "once": ends instead. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "once", *device = argc > 2 ? argv[2] : "/dev/anykvm";
	int kvm = open(device, O_RDWR), vm, vcpu, stats;
	struct kvm_userspace_memory_region slot = { .memory_size = 0x1000 };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	struct kvm_run *run;
	unsigned char *memory;

	if (kvm < 0)
		return fail(device);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("KVM_CREATE_VM");
	memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory[0] = 0xf4; /* hlt */
	slot.userspace_addr = (unsigned long)memory;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	stats = ioctl(vm, KVM_GET_STATS_FD, 0);
	run = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (vcpu < 0 || stats < 0 || run == MAP_FAILED || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) ||
	    ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return fail("set-up");
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs) || ioctl(vcpu, KVM_RUN, 0) ||
	    run->exit_reason != KVM_EXIT_HLT)
		return fail("KVM_RUN");
	if (!strcmp(what, "once"))
		return 0;
	close(kvm);
	if (strcmp(what, "vm"))
		close(vm);
	if (strcmp(what, "vcpu"))
		close(vcpu);
	if (strcmp(what, "stats"))
		close(stats);
	if (strcmp(what, "mapping"))
		munmap(run, 0x3000);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
