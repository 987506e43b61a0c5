// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves a running guest from one machine to another.
 *
 *	transplant run			the guest's checksums
 *	transplant swap SEED MOVES	the guest goes from machine to machine with its memory, at random instruction
 *					boundaries: stopped by a signal, or single-stepped for a while
 *	transplant save SEED COUNT US [x2apic]
 *					prints COUNT states with memory, at most US microseconds apart, and the checksums
 *	transplant load [x2apic]	each of the states on stdin runs on to the end in a machine of its own
 *
 * NMIs and SMIs come at random, too.
 *
 * Prints what is not as it should be; "OK ..." as the last line when nothing is.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/transplant/dump.h"
#include "tests/transplant/guest.h"
#include "tests/transplant/state.h"

enum stop { STOPPED, ENDED };

int kvm_fd;
extern const char guest_image[], guest_image_end[];
__asm__(".section .rodata\n.globl guest_image, guest_image_end\nguest_image: .incbin \"" GUEST_IMAGE
	"\"\nguest_image_end:\n.byte 0\n.previous");

static struct kvm_run *volatile running;
static u64 seed;
static struct values values;
static unsigned trouble;

static u64 dice(u64 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

/* ---- letting it run ------------------------------------------------------------------------------ */

static void on_alarm(int number)
{
	(void)number;
	if (running)
		running->immediate_exit = 1;
}

static void alarm_in(unsigned microseconds)
{
	struct itimerval t = { .it_value = { microseconds / 1000000, microseconds % 1000000 }, .it_interval = { 0, 2000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

/* The devices' answers depend on how often they were asked, so nothing may be asked twice or be lost. */
static void serve_io(struct machine *m)
{
	struct kvm_run *run = m->run;
	u32 *data = (u32 *)((char *)run + run->io.data_offset);

	for (unsigned i = 0; i < run->io.count; i++) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			data[i] = ++m->asked * 2654435761u;
		else
			values_add(&values, data[i]);
	}
}

static void serve_mmio(struct machine *m)
{
	struct kvm_run *run = m->run;
	u64 value = run->mmio.phys_addr * 0x10001 + m->written;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		m->written = m->written * 31 + (u32)value + run->mmio.len;
	} else {
		memcpy(run->mmio.data, &value, run->mmio.len);
	}
}

static void fail(struct machine *m, const char *what)
{
	struct kvm_regs regs;

	ioctl(m->vcpu, KVM_GET_REGS, &regs);
	printf("%s: exit %u at %llx, after %u values\n", what, m->run->exit_reason, regs.rip, values.count);
	exit(1);
}

static enum stop run_on(struct machine *m)
{
	for (;;) {
		int r = ioctl(m->vcpu, KVM_RUN, 0);

		if (r < 0 && errno == EINTR) {
			if (!m->run->immediate_exit)
				continue; /* a signal that was not the alarm */
			m->run->immediate_exit = 0;
			return STOPPED;
		}
		if (r < 0)
			fail(m, strerror(errno));
		switch (m->run->exit_reason) {
		case KVM_EXIT_IO:
			if (m->run->io.port == PORT_END)
				return ENDED;
			serve_io(m);
			break;
		case KVM_EXIT_MMIO:
			serve_mmio(m);
			break;
		case KVM_EXIT_DEBUG:
			return STOPPED;
		default:
			fail(m, "the guest came to");
		}
	}
}

/* Until the guest ends, the alarm has rung, or one step is done if it is stepped. */
static enum stop guest_run(struct machine *m)
{
	enum stop stop;

	running = m->run;
	stop = run_on(m);
	running = NULL;
	return stop;
}

static void step_guest(struct machine *m, bool on)
{
	struct kvm_guest_debug debug = { .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0 };

	if (ioctl(m->vcpu, KVM_SET_GUEST_DEBUG, &debug))
		err(2, "KVM_SET_GUEST_DEBUG");
}

/* ---- the guest ------------------------------------------------------------------------------------- */

#define PTE_FLAGS 7ull /* present, writable, user */

static void load_tables(char *ram)
{
	u64 *pml4 = (u64 *)(ram + GUEST_TABLES), *pdpt = pml4 + 512, *low = pdpt + 512, *pages = low + 512;
	u64 *high = pages + 2 * 512;

	pml4[0] = (GUEST_TABLES + 0x1000) | PTE_FLAGS;
	pdpt[0] = (GUEST_TABLES + 0x2000) | PTE_FLAGS;
	pdpt[3] = (GUEST_TABLES + 0x5000) | PTE_FLAGS;
	for (u64 i = 0; i < 1024; i++) {
		u64 gpa = i << 12;

		low[i >> 9] = (GUEST_TABLES + 0x3000 + (i >> 9) * 0x1000) | PTE_FLAGS;
		pages[i] = gpa | (gpa >= GUEST_DEMAND && gpa < GUEST_DEMAND_END ? PTE_FLAGS - 1 : PTE_FLAGS);
	}
	high[(MMIO_BASE >> 21) & 511] = MMIO_BASE | 0x80 | PTE_FLAGS;
	high[(0xfec00000 >> 21) & 511] = 0xfec00000 | 0x90 | PTE_FLAGS;
	high[(0xfee00000 >> 21) & 511] = 0xfee00000 | 0x90 | PTE_FLAGS;
}

static void load_guest(char *ram, unsigned rounds, unsigned flags)
{
	static const u8 smm[] = { 0xb9, 30, 0, 0xe2, 0xfe, 0x0f, 0xaa }; /* mov $30, %cx; 1: loop 1b; rsm */

	memset(ram, 0, GUEST_RAM);
	memcpy(ram + GUEST_CODE, guest_image, (size_t)(guest_image_end - guest_image));
	load_tables(ram);
	memcpy(ram + GUEST_SMM, smm, sizeof(smm));
	*(u32 *)(ram + GUEST_FLAGS) = rounds << GUEST_ROUNDS_SHIFT | flags;
}

static void start_guest(struct machine *m)
{
	struct kvm_segment code = { .limit = ~0u, .selector = K_CODE, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = K_DATA, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = 7 } };
	struct kvm_sregs s;

	if (ioctl(m->vcpu, KVM_GET_SREGS, &s))
		err(2, "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = 0x80010033;
	s.cr3 = GUEST_TABLES;
	s.cr4 = 0x506a0 | 8; /* PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE, DE */
	s.efer = 0x500;
	if (ioctl(m->vcpu, KVM_SET_XCRS, &xcrs) || ioctl(m->vcpu, KVM_SET_SREGS, &s) || ioctl(m->vcpu, KVM_SET_REGS, &regs))
		err(2, "the guest's first state");
}

static void *guest_memory(void)
{
	void *ram = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (ram == MAP_FAILED)
		err(2, "mmap");
	return ram;
}

/* ---- commands ------------------------------------------------------------------------------------------- */

static int finish(const char *what, unsigned n)
{
	if (trouble) {
		printf("%u times trouble\n", trouble);
		return 1;
	}
	printf("OK %s %u\n", what, n);
	return 0;
}

/* The checksums of a guest that nobody disturbs. */
static void undisturbed(unsigned rounds, unsigned flags, struct values *v)
{
	struct machine m;
	void *ram = guest_memory();

	load_guest(ram, rounds, flags);
	machine_open(&m, ram);
	start_guest(&m);
	values.count = 0;
	while (guest_run(&m) != ENDED)
		;
	*v = values;
	values.count = 0;
	machine_close(&m);
	munmap(ram, GUEST_RAM);
}

static void check_values(const struct values *expected, const char *where)
{
	if (values_equal(&values, expected))
		return;
	printf("%s: the checksums are not those of the guest that was left alone\n", where);
	values_print(&values);
	values_print(expected);
	trouble++;
}

/* From one machine to the other; what the second says of itself is what it was told. */
static void move_guest(struct machine *from, struct machine *to)
{
	static struct machine_state told, heard;

	state_get(from, &told);
	trouble += state_set(to, &told);
	state_get(to, &heard);
	trouble += state_compare(&told, &heard, "after the move");
	if (trouble > 20)
		exit(finish("", 0));
}

/* What comes from outside at any time, and of which the guest's checksums know nothing. At first it has no IDT. */
static void disturb(struct machine *m)
{
	if (values.count && !dice(5))
		ioctl(m->vcpu, KVM_NMI, 0);
	if (!dice(5))
		ioctl(m->vcpu, KVM_SMI, 0);
}

/* Runs for some time or, of three times one if it may be stepped, for some steps. */
static enum stop run_a_little(struct machine *m, bool stepped)
{
	unsigned steps = !stepped || dice(3) ? 0 : 1 + (unsigned)dice(40);
	enum stop stop = STOPPED;

	if (steps) {
		step_guest(m, true);
		while (steps-- && stop == STOPPED) {
			alarm_in(20000); /* out of HLT */
			stop = guest_run(m);
		}
		step_guest(m, false);
	} else {
		alarm_in(20 + (unsigned)dice(1000));
		stop = guest_run(m);
	}
	alarm_in(0);
	m->run->immediate_exit = 0;
	return stop;
}

static int command_swap(unsigned moves)
{
	struct machine m[2];
	struct values expected[GUEST_VARIANTS];
	unsigned now = 0, done = 0, guest;
	void *ram = guest_memory();

	for (guest = 0; guest < GUEST_VARIANTS; guest++)
		undisturbed(3, guest, &expected[guest]);
	/* Guests that use debug registers and TF themselves take turns with those that are stepped. */
	for (guest = 0; done < moves; guest = (guest + 1) % GUEST_VARIANTS) {
		machine_open(&m[now], ram);
		load_guest(ram, 3, guest);
		start_guest(&m[now]);
		values.count = 0;
		for (; run_a_little(&m[now], guest & GUEST_NO_DEBUG) == STOPPED; done++) {
			disturb(&m[now]);
			machine_open(&m[!now], ram);
			move_guest(&m[now], &m[!now]);
			machine_close(&m[now]);
			now = !now;
		}
		machine_close(&m[now]);
		check_values(&expected[guest], "to and fro");
	}
	return finish("moves", done);
}

/* Without debug registers: TCG's VMRUN does not set the breakpoints that it finds in the VMCB's DR7. */
static int command_save(unsigned count, unsigned apart, unsigned guest)
{
	struct machine m;
	static struct machine_state state;
	char *ram = guest_memory(), *original = guest_memory();
	unsigned saved = 0;

	load_guest(ram, 3, guest | GUEST_NO_DEBUG);
	memcpy(original, ram, GUEST_RAM);
	machine_open(&m, ram);
	start_guest(&m);
	for (;;) {
		alarm_in(10 + (unsigned)dice(apart));
		if (guest_run(&m) == ENDED)
			break;
		alarm_in(0);
		if (saved++ >= count)
			continue;
		disturb(&m);
		state_get(&m, &state);
		dump_state(&state, ram, original, &values);
	}
	dump_end(&values);
	return 0;
}

static int command_load(unsigned guest)
{
	struct machine m;
	static struct machine_state state, heard;
	struct values expected;
	char *ram = guest_memory(), *original = guest_memory();
	unsigned n = 0, before = 0;

	load_guest(original, 3, guest | GUEST_NO_DEBUG);
	dump_read(stdin, &expected);
	while (dump_next(&state, ram, original, &values)) {
		machine_open(&m, ram);
		trouble += state_set(&m, &state);
		state_get(&m, &heard);
		trouble += state_compare(&state, &heard, "after loading");
		alarm_in(60000000);
		if (guest_run(&m) != ENDED) {
			printf("state %u does not come to an end\n", n);
			fail(&m, "it is in");
		}
		check_values(&expected, "after loading");
		if (trouble != before)
			printf("(state %u)\n", n);
		before = trouble;
		machine_close(&m);
		n++;
	}
	trouble += !n;
	return finish("states", n);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct values alone;
	const char *command = argc > 1 ? argv[1] : "run";
	unsigned count = argc > 3 ? (unsigned)atoi(argv[3]) : 10;

	seed = argc > 2 ? (u64)atoll(argv[2]) : 1;
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	sigaction(SIGALRM, &action, NULL);
	kvm_fd = open("/dev/kvm", O_RDWR);
	if (kvm_fd < 0)
		err(2, "/dev/kvm");
	if (!strcmp(command, "swap"))
		return command_swap(count);
	if (!strcmp(command, "save"))
		return command_save(count, argc > 4 ? (unsigned)atoi(argv[4]) : 1000, argc > 5 ? GUEST_X2APIC : 0);
	if (!strcmp(command, "load"))
		return command_load(argc > 2 ? GUEST_X2APIC : 0);
	undisturbed(3, 0, &alone);
	values_print(&alone);
	return 0;
}
