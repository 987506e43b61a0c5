// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long exits and wake-ups take, by plain ioctls with a guest of a few instructions. Prints "EXIT name nanoseconds":
 * the least mean of several series, since other programs only ever make it longer.
 *
 *	pio, mmio		a port or device access that the VMM answers, there and back
 *	ioeventfd		a write that becomes an eventfd's signal, as the guest sees it
 *	cpuid, hypercall	an exit that never leaves the kernel, for comparison
 *	irqfd			from write(2) of an eventfd to the first instruction of the guest's handler, the guest halted
 *	ipi			the same from another processor's write of its ICR
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "measure.h"

#define RAM 0x200000
#define CODE 0x10000
#define CODE_AP 0x11000
#define HANDLER 0x12000
#define IDT 0x13000
#define GDT 0x15000
#define STAMP 0x14000		/* TSC at the handler's first instruction */
#define COUNT 0x14008		/* how often it ran */
#define STACK 0x20000
#define STACK_AP 0x28000
#define TABLES 0x1000
#define PORT 0x500
#define PORT_EVENT 0x510
#define MMIO 0xd0000000u
#define VECTOR 0x60
#define SERIES 15

static int kvm, vm;
static uint8_t *ram;
static struct vcpu {
	int fd;
	struct kvm_run *run;
} vcpu[2];

/* ---- the machine --------------------------------------------------------------------------------- */

static void put(unsigned at, const char *bytes, size_t n)
{
	memcpy(ram + at, bytes, n);
}
#define PUT(at, code) put(at, code, sizeof(code) - 1)

static void tables(void)
{
	uint64_t *pml4 = (uint64_t *)(void *)(ram + TABLES), *pdpt = pml4 + 512, *high = pdpt + 512;
	uint64_t *gate = (uint64_t *)(void *)(ram + IDT + VECTOR * 16);

	memcpy(ram + GDT, (uint64_t[]){ 0, 0x00209b0000000000, 0x00cf93000000ffff }, 24);
	pml4[0] = (TABLES + 0x1000) | 3;
	pdpt[0] = 0x83; /* 1 GiB pages: RAM, and the devices' */
	pdpt[3] = (TABLES + 0x2000) | 3;
	high[(MMIO >> 21) & 511] = MMIO | 0x83;
	high[(0xfee00000 >> 21) & 511] = 0xfee00000 | 0x93;
	gate[0] = (HANDLER & 0xffff) | 8ull << 16 | 0x8e00ull << 32 | (uint64_t)(HANDLER >> 16) << 48;
	/* rdtsc; shl rdx, 32; or rax, rdx; mov [STAMP], rax; mov dword [0xfee000b0], 0; inc qword [COUNT]; iretq */
	PUT(HANDLER, "\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\x48\x89\x04\x25\x00\x40\x01\x00"
		     "\xbb\xb0\x00\xe0\xfe\xc7\x03\x00\x00\x00\x00\x48\xff\x04\x25\x08\x40\x01\x00\x48\xcf");
	PUT(CODE_AP, "\xfb\xf4\xeb\xfc"); /* sti; 1: hlt; jmp 1b */
}

static void set_cpuid(int fd)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c), "KVM_GET_SUPPORTED_CPUID");
	check(ioctl(fd, KVM_SET_CPUID2, c), "KVM_SET_CPUID2");
	free(c);
}

static void make_vcpu(unsigned n, uint64_t rip, uint64_t rsp)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = rip, .rsp = rsp, .rflags = 2 };
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_lapic_state apic;
	struct vcpu *v = &vcpu[n];
	struct kvm_sregs s;

	v->fd = check(ioctl(vm, KVM_CREATE_VCPU, n), "KVM_CREATE_VCPU");
	v->run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	set_cpuid(v->fd);
	check(ioctl(v->fd, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.cr0 = 0x80000011;
	s.cr3 = TABLES;
	s.cr4 = 0xa0;
	s.efer = 0x500;
	check(ioctl(v->fd, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(v->fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(v->fd, KVM_GET_LAPIC, &apic), "KVM_GET_LAPIC");
	*(uint32_t *)(void *)(apic.regs + 0xf0) = 0x1ff;
	check(ioctl(v->fd, KVM_SET_LAPIC, &apic), "KVM_SET_LAPIC");
	check(ioctl(v->fd, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
}

static void make_machine(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM };

	kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)ram;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	tables();
	make_vcpu(0, CODE, STACK);
	make_vcpu(1, CODE_AP, STACK_AP);
}

/* ---- exits ----------------------------------------------------------------------------------------- */

static void restart(uint64_t rip)
{
	struct kvm_regs regs = { .rip = rip, .rsp = STACK, .rflags = 2 };

	check(ioctl(vcpu[0].fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void run(void)
{
	check(ioctl(vcpu[0].fd, KVM_RUN, 0), "KVM_RUN");
}

/* Each KVM_RUN is one exit. */
static void measure_exit(const char *name, unsigned reason)
{
	const unsigned n = 5000;
	double best = 1e18;

	restart(CODE);
	for (unsigned s = 0; s < SERIES; s++) {
		double start = now_ns(CLOCK_MONOTONIC);

		for (unsigned i = 0; i < n; i++) {
			run();
			if (vcpu[0].run->exit_reason != reason)
				errx(1, "%s: exit %u", name, vcpu[0].run->exit_reason);
		}
		start = (now_ns(CLOCK_MONOTONIC) - start) / n;
		best = start < best ? start : best;
	}
	printf("EXIT %s %.0f\n", name, best);
}

/* The guest does it 10000 times and then leaves by a port. */
static void measure_inside(const char *name, const char *code, size_t length)
{
	const uint32_t n = 10000;
	double best = 1e18;
	uint8_t *p = ram + CODE;

	*p++ = 0xbf; /* mov edi, n */
	memcpy(p, &n, 4);
	p += 4;
	memcpy(p, code, length);
	p += length;
	memcpy(p, "\xff\xcf\x75", 3); /* dec edi; jnz to the code */
	p[3] = (uint8_t)-(length + 4);
	memcpy(p + 4, "\x66\xba\x00\x05\xee\xeb\xfe", 7); /* mov dx, PORT; out dx, al; jmp . */
	for (unsigned s = 0; s < SERIES; s++) {
		double start = now_ns(CLOCK_MONOTONIC);

		restart(CODE);
		run();
		start = (now_ns(CLOCK_MONOTONIC) - start) / n;
		best = start < best ? start : best;
	}
	printf("EXIT %s %.0f\n", name, best);
}

static void measure_ioeventfd(void)
{
	struct kvm_ioeventfd event = { .addr = PORT_EVENT, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO };

	event.fd = check(eventfd(0, EFD_NONBLOCK), "eventfd");
	check(ioctl(vm, KVM_IOEVENTFD, &event), "KVM_IOEVENTFD");
	measure_inside("ioeventfd", "\x66\xba\x10\x05\xee", 5);
}

/* ---- wake-ups ---------------------------------------------------------------------------------------- */

static void *run_ap(void *arg)
{
	(void)arg;
	for (;;)
		ioctl(vcpu[1].fd, KVM_RUN, 0);
	return NULL;
}

static uint64_t seen(void)
{
	return *(volatile uint64_t *)(void *)(ram + COUNT);
}

/* The guest's TSC runs at the host's speed; its offset is found by KVM_GET_MSRS, the quickest of several. */
static int64_t tsc_offset(void)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} m = { .header.nmsrs = 1, .entry.index = 0x10 };
	uint64_t quickest = ~0ull;
	int64_t offset = 0;

	for (unsigned i = 0; i < 100; i++) {
		uint64_t before = __rdtsc(), took;

		check(ioctl(vcpu[0].fd, KVM_GET_MSRS, &m), "KVM_GET_MSRS");
		took = __rdtsc() - before;
		if (took < quickest)
			offset = (int64_t)(m.entry.data - (before + took / 2));
		quickest = took < quickest ? took : quickest;
	}
	return offset;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* start(): makes the interrupt and returns the host's TSC just before. The median of many. */
static void measure_wake(const char *name, uint64_t (*start)(void))
{
	enum { TIMES = 301 };
	static int64_t took[TIMES];
	int64_t offset = tsc_offset(), khz = ioctl(vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	for (unsigned i = 0; i < TIMES; i++) {
		uint64_t before = seen(), at;

		usleep(1000); /* it halts meanwhile */
		at = start();
		while (seen() == before)
			usleep(50);
		took[i] = *(volatile int64_t *)(void *)(ram + STAMP) - offset - (int64_t)at;
	}
	qsort(took, TIMES, sizeof(took[0]), compare);
	printf("EXIT %s %lld\n", name, (long long)took[TIMES / 2] * 1000000 / khz);
}

static int irq_event;

static uint64_t start_irqfd(void)
{
	uint64_t one = 1, at = __rdtsc();

	if (write(irq_event, &one, sizeof(one)) != sizeof(one))
		err(2, "write");
	return at;
}

/* Processor 0 writes its ICR and leaves by a port; what it takes to enter it is in the figure. */
static uint64_t start_ipi(void)
{
	uint64_t at;

	restart(CODE);
	at = __rdtsc();
	run();
	return at;
}

static void measure_wakes(void)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entry;
	} routes = { .header.nr = 1, .entry = { .gsi = 5, .type = KVM_IRQ_ROUTING_MSI } };
	struct kvm_irqfd irqfd = { .gsi = 5 };
	pthread_t thread;

	routes.entry.u.msi.address_lo = 0xfee00000 | 1 << 12;
	routes.entry.u.msi.data = VECTOR;
	irq_event = check(eventfd(0, EFD_NONBLOCK), "eventfd");
	irqfd.fd = (uint32_t)irq_event;
	check(ioctl(vm, KVM_SET_GSI_ROUTING, &routes), "KVM_SET_GSI_ROUTING");
	check(ioctl(vm, KVM_IRQFD, &irqfd), "KVM_IRQFD");
	pthread_create(&thread, NULL, run_ap, NULL);
	measure_wake("irqfd", start_irqfd);
	/* mov ebx, 0xfee00310; mov dword [rbx], 1 << 24; sub ebx, 16; mov dword [rbx], VECTOR; out to PORT; jmp . */
	PUT(CODE, "\xbb\x10\x03\xe0\xfe\xc7\x03\x00\x00\x00\x01\x83\xeb\x10\xc7\x03\x60\x00\x00\x00"
		  "\x66\xba\x00\x05\xee\xeb\xfe");
	measure_wake("ipi", start_ipi);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 256);
	make_machine();
	PUT(CODE, "\x66\xba\x00\x05\xee\xeb\xfd"); /* mov dx, PORT; 1: out dx, al; jmp 1b */
	measure_exit("pio", KVM_EXIT_IO);
	PUT(CODE, "\xbb\x00\x00\x00\xd0\x8b\x03\xeb\xfc"); /* mov ebx, MMIO; 1: mov eax, [rbx]; jmp 1b */
	measure_exit("mmio", KVM_EXIT_MMIO);
	measure_ioeventfd();
	measure_inside("cpuid", "\x31\xc0\x0f\xa2", 4);
	measure_inside("hypercall", "\x31\xc0\x0f\x01\xd9", 5);
	measure_wakes();
	return 0;
}
