// SPDX-License-Identifier: GPL-2.0-only
/* The virtual machine of the payloads, by plain ioctls; the same processor everywhere. */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/payload/payload.h"
#include "tests/payload/processor.h"

#define TICK_MS 50

struct kvm_run *run;
int kvm_fd, vm_fd, vcpu_fd;
static volatile sig_atomic_t ticks_left;
static bool irqchip_now;

int vm_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

static void must(int r, const char *what)
{
	if (r < 0) {
		errno = -r;
		err(2, "%s", what);
	}
}

bool vm_is_irqchip(void)
{
	return irqchip_now;
}

/* ---- time ---------------------------------------------------------------------------------------- */

static void tick(int signal_number)
{
	(void)signal_number;
	if (ticks_left > 0 && --ticks_left == 0)
		run->immediate_exit = 1;
}

static void start_ticks(void)
{
	struct sigaction action = { .sa_handler = tick,
				    .sa_flags = SA_RESTART }; /* KVM_RUN ends nevertheless */
	struct itimerval each = { { 0, TICK_MS * 1000 }, { 0, TICK_MS * 1000 } };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

int vm_run(unsigned timeout_ms)
{
	int r;

	ticks_left = (int)(timeout_ms / TICK_MS + 1);
	do
		r = vm_ioctl(vcpu_fd, KVM_RUN, 0);
	while (r == -EINTR && ticks_left > 0);
	if (r == -EINTR)
		r = -ETIME;
	ticks_left = 0;
	run->immediate_exit = 0;
	return r;
}

/* Lets an instruction that waits for its I/O end, so that the registers are those after it. */
void vm_finish_io(void)
{
	run->immediate_exit = 1;
	vm_ioctl(vcpu_fd, KVM_RUN, 0);
	run->immediate_exit = 0;
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void add_slot(unsigned slot, unsigned flags, u64 gpa, u64 size, void *memory)
{
	struct kvm_userspace_memory_region region = { slot, flags, gpa, size, (u64)(uintptr_t)memory };

	must(vm_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

/* Only shared memory can be mapped in windows as well (engine/soft/window.c). */
static void *allocate(size_t size)
{
	int sharing = getenv("ANYKVM_WINDOWS") ? MAP_SHARED : MAP_PRIVATE;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(2, "mmap");
	return p;
}

static void create(bool irqchip)
{
	struct kvm_pit_config pit = { 0 };
	u64 identity = 0xfeffc000;

	vm_fd = vm_ioctl(kvm_fd, KVM_CREATE_VM, 0);
	must(vm_fd, "KVM_CREATE_VM");
	vm_ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	vm_ioctl(vm_fd, KVM_SET_TSS_ADDR, (void *)0xfeffd000ul);
	if (irqchip) {
		must(vm_ioctl(vm_fd, KVM_CREATE_IRQCHIP, NULL), "KVM_CREATE_IRQCHIP");
		must(vm_ioctl(vm_fd, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
	}
	add_slot(0, 0, 0, RAM_SIZE, ram);
	add_slot(1, KVM_MEM_READONLY, ROM_PA, ROM_SIZE, rom);
	vcpu_fd = vm_ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	must(vcpu_fd, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)vm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu_fd, 0);
	if (run == MAP_FAILED)
		err(2, "mmap of the vCPU");
	must(processor_set(kvm_fd, vcpu_fd, 0) ? -errno : 0, "KVM_SET_CPUID2");
}

/* The machine with or without irqchip; one at a time. */
void vm_open(bool irqchip)
{
	static bool opened;

	if (opened && irqchip == irqchip_now)
		return;
	if (!opened) {
		kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		must(kvm_fd < 0 ? -errno : 0, "/dev/kvm");
		ram = allocate(RAM_SIZE);
		rom = allocate(ROM_SIZE);
	} else {
		munmap(run, (size_t)vm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL));
		close(vcpu_fd);
		close(vm_fd);
	}
	create(irqchip);
	irqchip_now = irqchip;
	if (!opened)
		start_ticks();
	opened = true;
}

/* ---- state --------------------------------------------------------------------------------------- */

static void load_msrs(void)
{
	static const struct kvm_msr_entry values[] = {
		{ .index = 0xc0000081,
		  .data = (u64)(U32 | 3) << 48 | (u64)K64 << 32 | (CODE_USER + 0x200) }, /* STAR */
		{ .index = 0xc0000082, .data = CODE_USER }, /* LSTAR */
		{ .index = 0xc0000083, .data = CODE_USER + 0x100 }, /* CSTAR */
		{ .index = 0xc0000084, .data = FL_TF | FL_IF | FL_AC }, /* SFMASK */
		{ .index = 0xc0000102, .data = 0x123456789000 }, /* KERNEL_GS_BASE */
		{ .index = 0xc0000103, .data = 0x77 }, /* TSC_AUX */
		{ .index = 0x174, .data = K64 },
		{ .index = 0x175, .data = STACK_RSP0 },
		{ .index = 0x176, .data = CODE_USER },
		{ .index = 0x277, .data = 0x0007040600070406 },
	};
	static struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[16];
	} msrs;

	msrs.header.nmsrs = sizeof(values) / sizeof(values[0]);
	memcpy(msrs.entries, values, sizeof(values));
	must(vm_ioctl(vcpu_fd, KVM_SET_MSRS, &msrs), "KVM_SET_MSRS");
}

static void load_fpu(void)
{
	static struct kvm_fpu fpu;
	static struct kvm_xsave xsave;
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 1 } } };

	fpu.fcw = 0x37f;
	fpu.mxcsr = 0x1f80;
	for (unsigned i = 0; i < 16; i++)
		memset(fpu.xmm[i], 0x40 + (int)i, 16);
	must(vm_ioctl(vcpu_fd, KVM_SET_FPU, &fpu), "KVM_SET_FPU");
	must(vm_ioctl(vcpu_fd, KVM_GET_XSAVE, &xsave), "KVM_GET_XSAVE");
	xsave.region[6] = 0x1f80; /* KVM_SET_FPU leaves MXCSR alone */
	must(vm_ioctl(vcpu_fd, KVM_SET_XSAVE, &xsave), "KVM_SET_XSAVE");
	must(vm_ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS");
}

void vm_load(const struct state *s)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs now;

	must(vm_ioctl(vcpu_fd, KVM_GET_SREGS, &now), "KVM_GET_SREGS");
	now.cr8 = s->sregs.cr8;
	memcpy(&now, &s->sregs, offsetof(struct kvm_sregs, cr8));
	now.efer = s->sregs.efer;
	memset(now.interrupt_bitmap, 0, sizeof(now.interrupt_bitmap));
	vm_finish_io();
	run->cr8 = 0;
	load_fpu();
	load_msrs();
	must(vm_ioctl(vcpu_fd, KVM_SET_SREGS, &now), "KVM_SET_SREGS");
	must(vm_ioctl(vcpu_fd, KVM_SET_DEBUGREGS, (void *)&s->debug), "KVM_SET_DEBUGREGS");
	must(vm_ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, (void *)&s->events), "KVM_SET_VCPU_EVENTS");
	must(vm_ioctl(vcpu_fd, KVM_SET_REGS, (void *)&s->regs), "KVM_SET_REGS");
	if (irqchip_now)
		must(vm_ioctl(vcpu_fd, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
}

void vm_store(struct state *s)
{
	must(vm_ioctl(vcpu_fd, KVM_GET_REGS, &s->regs), "KVM_GET_REGS");
	must(vm_ioctl(vcpu_fd, KVM_GET_SREGS, &s->sregs), "KVM_GET_SREGS");
	must(vm_ioctl(vcpu_fd, KVM_GET_DEBUGREGS, &s->debug), "KVM_GET_DEBUGREGS");
	must(vm_ioctl(vcpu_fd, KVM_GET_VCPU_EVENTS, &s->events), "KVM_GET_VCPU_EVENTS");
}
