// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the dirty log costs a guest that does nothing but store: stores in each microsecond of the vCPU thread's processor
 * time, with the log off, and with it on and harvested once in a while. Prints a line for each guest: stores/us without, and
 * the medians of what they cost more with the log, in per cent. Two machines take turns, one with the log and one without;
 * each slice is compared with the other machine's before it.
 *
 *	dirty [ROUNDS]		9 by default
 *
 * The guests store 8 bytes at a time, to 64 MiB in order, at random to these, and to 4 MiB, which the TLB has room for; as
 * kernel and as user. Windows (engine/soft/window.c) leave slots with a log alone, so what they win is lost meanwhile:
 * with ANYKVM_WINDOWS=force the last line says how much.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "measure.h"

#define LOW (16ul << 20)
#define AREA (64ul << 20)
#define CODE 0x8000
#define TABLES 0x1000
#define SLICE_MS 300
#define MAX_ROUNDS 101

static struct machine {
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *ram;
} plain, logged;
static uint64_t bitmap[AREA / 4096 / 64];

/* 1: mov rdi, rsi; 2: mov [rdi], rax; add rdi, 8; inc r8; cmp rdi, rdx; jne 2b; jmp 1b */
static const uint8_t in_order[] = { 0x48, 0x89, 0xf7, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 0x08,
				    0x49, 0xff, 0xc0, 0x48, 0x39, 0xd7, 0x75, 0xf1, 0xeb, 0xec };
/*
 * 1: imul rax, rax, 1103515245; add rax, 12345; mov rbx, rax; shr rbx, 16; and rbx, rdx; mov [rsi+rbx], rax; inc r8
 * jmp 1b
 */
static const uint8_t at_random[] = { 0x48, 0x69, 0xc0, 0x6d, 0x4e, 0xc6, 0x41, 0x48, 0x05, 0x39, 0x30,
				     0x00, 0x00, 0x48, 0x89, 0xc3, 0x48, 0xc1, 0xeb, 0x10, 0x48, 0x21,
				     0xd3, 0x48, 0x89, 0x04, 0x1e, 0x49, 0xff, 0xc0, 0xeb, 0xe0 };

static const struct program {
	const char *name;
	const uint8_t *code;
	size_t size;
	uint64_t rdx;
} programs[] = {
	{ "64 MiB in order", in_order, sizeof(in_order), LOW + AREA },
	{ "at random in 64 MiB", at_random, sizeof(at_random), AREA - 8 },
	{ "at random in 4 MiB", at_random, sizeof(at_random), (4 << 20) - 8 },
};

static const unsigned periods[] = { 1000, 100 };
#define NR_PERIODS (sizeof(periods) / sizeof(periods[0]))

/* ---- the machine --------------------------------------------------------------------------------- */

static void set_slot(struct machine *m, unsigned slot, unsigned flags, uint64_t at, uint64_t size)
{
	struct kvm_userspace_memory_region region = { slot, flags, at, size, (uintptr_t)m->ram + at };

	check(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

/* All memory, for kernel and user, in pages of 4 KiB. */
static void page_tables(uint8_t *ram)
{
	uint64_t *p4 = (void *)(ram + TABLES), *p3 = (void *)(ram + 0x2000), *p2 = (void *)(ram + 0x3000);
	uint64_t *p1 = (void *)(ram + (1 << 20));

	p4[0] = 0x2007;
	p3[0] = 0x3007;
	for (uint64_t i = 0; i < (LOW + AREA) >> 21; i++)
		p2[i] = ((1 << 20) + i * 4096) | 7;
	for (uint64_t i = 0; i < (LOW + AREA) >> 12; i++)
		p1[i] = i << 12 | 0x67;
}

static struct machine open_machine(unsigned flags)
{
	struct machine m;
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");

	m.vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	m.vcpu = check(ioctl(m.vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	m.run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
	m.ram = mmap(NULL, LOW + AREA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m.run == MAP_FAILED || m.ram == MAP_FAILED)
		err(2, "mmap");
	memset(m.ram, 1, LOW + AREA);
	page_tables(m.ram);
	set_slot(&m, 0, 0, 0, LOW);
	set_slot(&m, 1, flags, LOW, AREA);
	return m;
}

static void start(struct machine *m, const struct program *p, unsigned cpl)
{
	struct kvm_regs regs = { .rflags = 2, .rip = CODE, .rsi = LOW, .rdx = p->rdx, .rax = 1, .rsp = 0x9000 };
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_sregs s;

	memcpy(m->ram + CODE, p->code, p->size);
	check(ioctl(m->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cr0 = 0x80010033;
	s.cr3 = TABLES;
	s.cr4 = 0x20;
	s.efer = 0x500;
	code.dpl = data.dpl = (uint8_t)cpl;
	code.selector |= (uint16_t)cpl;
	data.selector |= (uint16_t)cpl;
	s.cs = code;
	s.ds = s.es = s.ss = s.fs = s.gs = data;
	check(ioctl(m->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(m->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

/* ---- a slice ------------------------------------------------------------------------------------- */

static struct slice {
	struct machine *m;
	unsigned period, length; /* ms */
	pthread_t runner;
	volatile int over;
} slice;

static void nothing(int sig)
{
	(void)sig;
}

static void pause_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* Harvests the log in the middle of each period, and ends the slice. */
static void *harvest(void *arg)
{
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };
	unsigned step = slice.period ? slice.period : slice.length;

	for (unsigned at = 0; at < slice.length; at += step) {
		pause_ms(step / 2);
		if (slice.period)
			check(ioctl(slice.m->vm, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
		pause_ms(step / 2);
	}
	slice.over = 1;
	slice.m->run->immediate_exit = 1;
	pthread_kill(slice.runner, SIGUSR1);
	return arg;
}

/* Runs on for a slice, harvesting the log if there is a period; stores in each microsecond. */
static double measure(struct machine *m, unsigned period)
{
	struct kvm_regs before, after;
	pthread_t thread;
	double begun;

	slice = (struct slice){ m, period, period > SLICE_MS ? period : SLICE_MS, pthread_self(), 0 };
	m->run->immediate_exit = 0;
	check(ioctl(m->vcpu, KVM_GET_REGS, &before), "KVM_GET_REGS");
	begun = now_ns(CLOCK_THREAD_CPUTIME_ID);
	pthread_create(&thread, NULL, harvest, NULL);
	while (!slice.over) {
		if (ioctl(m->vcpu, KVM_RUN, 0) == 0)
			errx(2, "the guest stopped: exit %u", m->run->exit_reason);
	}
	begun = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / 1e3;
	pthread_join(thread, NULL);
	check(ioctl(m->vcpu, KVM_GET_REGS, &after), "KVM_GET_REGS");
	return (double)(after.r8 - before.r8) / begun;
}

/* ---- figures ------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void compare(const struct program *p, unsigned cpl, unsigned rounds)
{
	double off[NR_PERIODS * MAX_ROUNDS], cost[NR_PERIODS][MAX_ROUNDS];

	start(&plain, p, cpl);
	start(&logged, p, cpl);
	measure(&plain, 0);
	measure(&logged, periods[0]);
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < NR_PERIODS; i++) {
			double *base = &off[r * NR_PERIODS + i];

			*base = measure(&plain, 0);
			cost[i][r] = 100 * (*base / measure(&logged, periods[i]) - 1);
		}
	}
	printf("DIRTY %s, %s: %.0f stores/us;", cpl ? "user" : "kernel", p->name, median(off, rounds * NR_PERIODS));
	for (unsigned i = 0; i < NR_PERIODS; i++)
		printf(" every %u ms %+.1f %%%s", periods[i], median(cost[i], rounds), i + 1 < NR_PERIODS ? "," : "\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 9;
	struct sigaction action = { .sa_handler = nothing };

	if (!rounds || rounds > MAX_ROUNDS)
		errx(2, "1 to %u rounds", MAX_ROUNDS);
	sigaction(SIGUSR1, &action, NULL);
	plain = open_machine(0);
	logged = open_machine(KVM_MEM_LOG_DIRTY_PAGES);
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
			compare(&programs[i], cpl, rounds);
	}
	return 0;
}
