// SPDX-License-Identifier: GPL-2.0-only
/*
 * How soon a vCPU notices a kick: from the first instruction of the signal's handler in its thread to KVM_RUN's return, in
 * that thread's processor time, so that little is counted of what other programs do. Prints "KICK name median p99 worst" in
 * microseconds, of KICKS signals at random times while the guest runs code that would never come back by itself:
 *
 *	loop		a branch to itself
 *	nested		a loop within a loop
 *	straight	a mebibyte of additions, and back
 *	jumps		the same of branches to the next instruction
 *	sines		the same of FSIN, which is as slow as two bytes get
 *	splits		the same of locked additions across cache lines
 *	recursion	100000 calls deep, and back
 *	stos, movs, scas, cmps	repeated over a mebibyte
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "measure.h"

#define RAM (8u << 20)
#define TABLES 0x1000
#define DATA 0x300000
#define STACK 0x800000
#define CODE 0x100000
#define LENGTH 0x100000		/* of straight code */
#define KICKS 1000u

static int vcpu;
static uint8_t *ram;
static struct kvm_run *run;
static pthread_t runner;
static uint64_t noticed;	/* by the handler; 0: not yet */
static bool done;

static uint64_t cpu_time(void)
{
	return (uint64_t)now_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- the machine ----------------------------------------------------------------------------------- */

static void set_registers(void)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rsi = DATA, .rflags = 2 };
	struct kvm_sregs s;

	check(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = 0x80000011;
	s.cr3 = TABLES;
	s.cr4 = 0x620;
	s.efer = 0x500;
	check(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void make_machine(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM };
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm"), vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	uint64_t *pml4;

	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)ram;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	pml4 = (uint64_t *)(void *)(ram + TABLES);
	pml4[0] = (TABLES + 0x1000) | 3;
	pml4[512] = 0x83; /* a page of 1 GiB */
}

/* ---- guests ---------------------------------------------------------------------------------------- */

static uint8_t *at;

static void put(const char *bytes, size_t n)
{
	memcpy(at, bytes, n);
	at += n;
}
#define PUT(bytes) put(bytes, sizeof(bytes) - 1)

static void back_to_start(void)
{
	int32_t distance = (int32_t)(ram + CODE - (at + 5));

	*at = 0xe9;
	memcpy(at + 1, &distance, 4);
	at += 5;
}

static void fill(const char *bytes, size_t n)
{
	while (at < ram + CODE + LENGTH)
		put(bytes, n);
}

static void make_loop(void) { PUT("\xeb\xfe"); }
/* 1: mov ecx, 1000; 2: inc rax; dec ecx; jnz 2b; jmp 1b */
static void make_nested(void) { PUT("\xb9\xe8\x03\x00\x00\x48\xff\xc0\xff\xc9\x75\xf9\xeb\xf2"); }
static void make_straight(void) { fill("\x48\x01\xd8", 3); }
static void make_jumps(void) { fill("\xeb\x00", 2); }
/* fninit; fld1; and so on */
static void make_sines(void)
{
	PUT("\xdb\xe3\xd9\xe8");
	fill("\xd9\xfe", 2);
}

static void make_splits(void) { fill("\xf0\x48\x01\x46\x3c", 5); } /* lock add [rsi+60], rax */
/* mov ecx, 100000; call 1f; jmp back; 1: dec ecx; jz 2f; call 1b; 2: ret */
static void make_recursion(void)
{
	PUT("\xb9\xa0\x86\x01\x00\xe8\x02\x00\x00\x00\xeb\xf4\xff\xc9\x74\x05\xe8\xf7\xff\xff\xff\xc3");
}

/* mov edi, DATA; mov esi, DATA + 1 MiB; mov ecx, 1 MiB; xor eax, eax; and the instruction */
static void make_string(const char *bytes)
{
	PUT("\xbf\x00\x00\x30\x00\xbe\x00\x00\x40\x00\xb9\x00\x00\x10\x00\x31\xc0");
	put(bytes, 2);
}

static void make_stos(void) { make_string("\xf3\xaa"); }
static void make_movs(void) { make_string("\xf3\xa4"); }
static void make_scas(void) { make_string("\xf3\xae"); }
static void make_cmps(void) { make_string("\xf3\xa6"); }

static const struct guest {
	const char *name;
	void (*make)(void);
} guests[] = {
	{ "loop", make_loop },	 { "nested", make_nested },	  { "straight", make_straight }, { "jumps", make_jumps },
	{ "sines", make_sines }, { "splits", make_splits },	  { "stos", make_stos },	 { "movs", make_movs },
	{ "scas", make_scas },	 { "cmps", make_cmps },		  { "recursion", make_recursion },
};

/* ---- kicks ----------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
	(void)number;
	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&noticed, cpu_time(), __ATOMIC_RELEASE);
}

static void *kick(void *unused)
{
	struct timespec pause = { 0 };

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		pause.tv_nsec = 500000 + rand() % 1000000;
		nanosleep(&pause, NULL);
		if (!__atomic_load_n(&noticed, __ATOMIC_ACQUIRE))
			pthread_kill(runner, SIGUSR1);
	}
	return unused;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const struct guest *guest)
{
	static uint64_t took[KICKS];
	pthread_t kicker;

	memset(ram + CODE, 0, RAM - CODE);
	at = ram + CODE;
	guest->make();
	back_to_start();
	set_registers();
	done = false;
	noticed = 0;
	pthread_create(&kicker, NULL, kick, NULL);
	for (unsigned i = 0; i < KICKS; i++) {
		int r = ioctl(vcpu, KVM_RUN, 0);
		uint64_t end = cpu_time();

		if (r != -1 || errno != EINTR)
			errx(1, "%s: exit %u", guest->name, run->exit_reason);
		took[i] = end - __atomic_load_n(&noticed, __ATOMIC_ACQUIRE);
		run->immediate_exit = 0;
		__atomic_store_n(&noticed, 0, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	noticed = 1;
	pthread_join(kicker, NULL);
	qsort(took, KICKS, sizeof(took[0]), by_value);
	printf("KICK %-10s %8.1f %8.1f %8.1f\n", guest->name, (double)took[KICKS / 2] / 1e3,
	       (double)took[KICKS * 99 / 100] / 1e3, (double)took[KICKS - 1] / 1e3);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };

	runner = pthread_self();
	sigaction(SIGUSR1, &action, NULL);
	make_machine();
	for (unsigned i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
		if (argc < 2 || !strcmp(argv[1], guests[i].name))
			measure(&guests[i]);
	}
	return 0;
}
