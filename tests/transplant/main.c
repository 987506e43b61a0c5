// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves a running guest from one machine to another.
 *
 *	transplant run			the guest's checksums
 *	transplant swap SEED MOVES [VARIANT]
 *					the guest goes from machine to machine with its memory, at random instruction
 *					boundaries: stopped by a signal, or single-stepped for a while
 *	transplant save SEED COUNT US [VARIANT]
 *					prints COUNT states with memory, at most US microseconds apart, and the checksums
 *	transplant load [VARIANT]	each of the states on stdin runs on to the end in a machine of its own
 *
 * VARIANT is made of "x2apic" (swap takes turns) and "smp", two processors that also work together. NMIs and SMIs come at
 * random, too.
 *
 * Prints what is not as it should be; "OK ..." as the last line when nothing is.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

#define SWAPPED 4 /* variants of guests with the same number of processors */

enum stop { STOPPED, ENDED };

int kvm_fd;
extern const char guest_image[], guest_image_end[];
__asm__(".section .rodata\n.globl guest_image, guest_image_end\nguest_image: .incbin \"" GUEST_IMAGE
	"\"\nguest_image_end:\n.byte 0\n.previous");

static struct machine *volatile running;
static volatile bool has_second;
static pthread_t second;	/* runs vCPU 1 while has_second */
static u64 seed;
static struct values values;
static unsigned trouble;

static u64 dice(u64 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

/* ---- letting it run ------------------------------------------------------------------------------ */

/* In the thread of vCPU 0. */
static void stop_all(int number)
{
	struct machine *m = running;

	(void)number;
	for (unsigned i = 0; m && i < m->cpus; i++)
		m->vcpu[i].run->immediate_exit = 1;
	if (has_second)
		pthread_kill(second, SIGUSR1);
}

static void on_kick(int number)
{
	(void)number;
}

static void alarm_in(unsigned microseconds)
{
	struct itimerval t = { .it_value = { microseconds / 1000000, microseconds % 1000000 }, .it_interval = { 0, 2000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

/* The devices' answers depend on how often they were asked, so nothing may be asked twice or be lost. */
static void serve_io(struct machine_vcpu *v)
{
	struct kvm_run *run = v->run;
	u32 *data = (u32 *)((char *)run + run->io.data_offset);

	for (unsigned i = 0; i < run->io.count; i++) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			data[i] = ++v->asked * 2654435761u;
		else
			values_add(&values, data[i]);
	}
}

static void serve_mmio(struct machine_vcpu *v)
{
	struct kvm_run *run = v->run;
	u64 value = run->mmio.phys_addr * 0x10001 + v->written;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		v->written = v->written * 31 + (u32)value + run->mmio.len;
	} else {
		memcpy(run->mmio.data, &value, run->mmio.len);
	}
}

static void fail(struct machine_vcpu *v, const char *what)
{
	struct kvm_regs regs;

	ioctl(v->fd, KVM_GET_REGS, &regs);
	printf("%s: exit %u at %llx, after %u values\n", what, v->run->exit_reason, regs.rip, values.count);
	values_print(&values);
	exit(1);
}

static enum stop vcpu_run(struct machine_vcpu *v)
{
	for (;;) {
		int r = ioctl(v->fd, KVM_RUN, 0);

		if (r < 0 && errno == EINTR && v->run->immediate_exit)
			return STOPPED;
		if (r < 0 && (errno == EINTR || errno == EAGAIN))
			continue; /* a signal that was not the alarm; a processor that has been started */
		if (r < 0)
			fail(v, strerror(errno));
		switch (v->run->exit_reason) {
		case KVM_EXIT_IO:
			if (v->run->io.port == PORT_END)
				return ENDED;
			serve_io(v);
			break;
		case KVM_EXIT_MMIO:
			serve_mmio(v);
			break;
		case KVM_EXIT_DEBUG:
			return STOPPED;
		default:
			fail(v, "the guest came to");
		}
	}
}

static void *second_main(void *vcpu)
{
	if (vcpu_run(vcpu) == ENDED)
		fail(vcpu, "the second processor came to an end");
	return NULL;
}

/* The alarm is for the thread of vCPU 0. */
static void start_second(struct machine_vcpu *v)
{
	sigset_t alarm, old;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, &old);
	if (pthread_create(&second, NULL, second_main, v))
		errx(2, "pthread_create");
	has_second = true;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void join_second(void)
{
	stop_all(0); /* vCPU 0 has come to the end, or the alarm has rung */
	pthread_join(second, NULL);
	has_second = false;
}

/* Until the guest ends, the alarm has rung, or vCPU 0 has done one step, alone, if it is stepped. */
static enum stop guest_run(struct machine *m, bool stepped)
{
	enum stop stop;

	running = m;
	if (m->cpus > 1 && !stepped)
		start_second(&m->vcpu[1]);
	stop = vcpu_run(&m->vcpu[0]);
	if (has_second)
		join_second();
	running = NULL;
	for (unsigned i = 0; i < m->cpus; i++)
		m->vcpu[i].run->immediate_exit = 0;
	return stop;
}

static void step_guest(struct machine *m, bool on)
{
	struct kvm_guest_debug debug = { .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0 };

	if (ioctl(m->vcpu[0].fd, KVM_SET_GUEST_DEBUG, &debug))
		err(2, "KVM_SET_GUEST_DEBUG");
}

/* ---- the guest ------------------------------------------------------------------------------------- */

#define PTE_FLAGS 7ull /* present, writable, user */

/* The tables of the processor whose half of the memory begins at `half`. */
static void load_tables(char *ram, u64 half)
{
	u64 *pml4 = (u64 *)(ram + half + GUEST_TABLES), *pdpt = pml4 + 512, *low = pdpt + 512, *pages = low + 512;
	u64 *high = pages + 2 * 512, at = half + GUEST_TABLES;

	pml4[0] = (at + 0x1000) | PTE_FLAGS;
	pdpt[0] = (at + 0x2000) | PTE_FLAGS;
	pdpt[3] = (at + 0x5000) | PTE_FLAGS;
	for (u64 i = 0; i < 1024; i++) {
		u64 gva = i << 12, gpa = GUEST_SHARED(gva) ? gva : half + gva;

		low[i >> 9] = (at + 0x3000 + (i >> 9) * 0x1000) | PTE_FLAGS;
		pages[i] = gpa | (gva >= GUEST_DEMAND && gva < GUEST_DEMAND_END ? PTE_FLAGS - 1 : PTE_FLAGS);
	}
	low[GUEST_WINDOW >> 21] = GUEST_WINDOW_TABLE | PTE_FLAGS;
	high[(MMIO_BASE >> 21) & 511] = MMIO_BASE | 0x80 | PTE_FLAGS;
	high[(0xfec00000 >> 21) & 511] = 0xfec00000 | 0x90 | PTE_FLAGS;
	high[(0xfee00000 >> 21) & 511] = 0xfee00000 | 0x90 | PTE_FLAGS;
}

static void load_guest(char *ram, unsigned rounds, unsigned flags)
{
	static const u8 smm[] = { 0xb9, 30, 0, 0xe2, 0xfe, 0x0f, 0xaa }; /* mov $30, %cx; 1: loop 1b; rsm */

	memset(ram, 0, GUEST_RAM);
	for (u64 half = 0; half < GUEST_RAM; half += GUEST_HALF) {
		memcpy(ram + half + GUEST_CODE, guest_image, (size_t)(guest_image_end - guest_image));
		load_tables(ram, half);
		memcpy(ram + half + GUEST_SMM, smm, sizeof(smm));
	}
	*(u32 *)(ram + GUEST_FLAGS) = rounds << GUEST_ROUNDS_SHIFT | flags;
}

/*
 * XCR0 is set here for all processors, as TCG's AMD-V does not intercept XSETBV. Each saves its state in its own half at an
 * SMI.
 */
static void prepare_vcpu(struct machine_vcpu *v, u64 half)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = 7 } };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} smbase = { .header.nmsrs = 1, .entry = { .index = 0x9e, .data = half + GUEST_SMM - 0x8000 } };

	if (ioctl(v->fd, KVM_SET_XCRS, &xcrs) || ioctl(v->fd, KVM_SET_MSRS, &smbase) != 1)
		err(2, "XCR0, SMBASE");
}

static void start_guest(struct machine *m)
{
	struct kvm_segment code = { .limit = ~0u, .selector = K_CODE, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = K_DATA, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2 };
	struct kvm_sregs s;
	int vcpu = m->vcpu[0].fd;

	for (unsigned i = 0; i < m->cpus; i++)
		prepare_vcpu(&m->vcpu[i], i * GUEST_HALF);
	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		err(2, "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = 0x80010033;
	s.cr3 = GUEST_TABLES;
	s.cr4 = 0x506a0 | 8; /* PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE, DE */
	s.efer = 0x500;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
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

static unsigned cpus_of(unsigned guest)
{
	return guest & GUEST_SMP ? 2 : 1;
}

/* The checksums of a guest that nobody disturbs. */
static void undisturbed(unsigned rounds, unsigned flags, struct values *v)
{
	struct machine m;
	void *ram = guest_memory();

	load_guest(ram, rounds, flags);
	machine_open(&m, ram, cpus_of(flags));
	start_guest(&m);
	values.count = 0;
	while (guest_run(&m, false) != ENDED)
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

/* What comes from outside at any time, and of which the guest's checksums know nothing. At first it has no IDT, and one processor. */
static void disturb(struct machine *m)
{
	int vcpu = m->vcpu[values.count ? dice(m->cpus) : 0].fd;

	if (values.count && !dice(5))
		ioctl(vcpu, KVM_NMI, 0);
	if (!dice(5))
		ioctl(vcpu, KVM_SMI, 0);
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
			stop = guest_run(m, true);
		}
		step_guest(m, false);
	} else {
		alarm_in(20 + (unsigned)dice(1000) * (m->cpus > 1 ? 5 : 1));
		stop = guest_run(m, false);
	}
	alarm_in(0);
	return stop;
}

/* Guests of all variants with so many processors. */
static int command_swap(unsigned moves, unsigned smp)
{
	struct machine m[2];
	struct values expected[GUEST_VARIANTS];
	unsigned now = 0, done = 0, guest;
	void *ram = guest_memory();

	for (guest = smp; guest < smp + SWAPPED; guest++)
		undisturbed(3, guest, &expected[guest]);
	/* Guests that use debug registers and TF themselves take turns with those that are stepped. */
	for (guest = smp; done < moves; guest = smp + (guest + 1) % SWAPPED) {
		machine_open(&m[now], ram, cpus_of(guest));
		load_guest(ram, 3, guest);
		start_guest(&m[now]);
		values.count = 0;
		for (; run_a_little(&m[now], guest & GUEST_NO_DEBUG) == STOPPED; done++) {
			disturb(&m[now]);
			machine_open(&m[!now], ram, cpus_of(guest));
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
	machine_open(&m, ram, cpus_of(guest));
	start_guest(&m);
	for (;;) {
		alarm_in(10 + (unsigned)dice(apart));
		if (guest_run(&m, false) == ENDED)
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
		machine_open(&m, ram, cpus_of(guest));
		trouble += state_set(&m, &state);
		state_get(&m, &heard);
		trouble += state_compare(&state, &heard, "after loading");
		alarm_in(300000000);
		if (guest_run(&m, false) != ENDED) {
			printf("state %u does not come to an end\n", n);
			fail(&m.vcpu[0], "it is in");
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

static unsigned variant(const char *name)
{
	return (strstr(name, "x2apic") ? GUEST_X2APIC : 0) | (strstr(name, "smp") ? GUEST_SMP : 0);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop_all, .sa_flags = SA_RESTART };
	struct sigaction kick = { .sa_handler = on_kick, .sa_flags = SA_RESTART };
	struct values alone;
	const char *command = argc > 1 ? argv[1] : "run";
	unsigned count = argc > 3 ? (unsigned)atoi(argv[3]) : 10;

	seed = argc > 2 ? (u64)atoll(argv[2]) : 1;
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGUSR1, &kick, NULL);
	kvm_fd = open("/dev/kvm", O_RDWR);
	if (kvm_fd < 0)
		err(2, "/dev/kvm");
	if (!strcmp(command, "swap"))
		return command_swap(count, argc > 4 ? variant(argv[4]) & GUEST_SMP : 0);
	if (!strcmp(command, "save"))
		return command_save(count, argc > 4 ? (unsigned)atoi(argv[4]) : 1000, argc > 5 ? variant(argv[5]) : 0);
	if (!strcmp(command, "load"))
		return command_load(argc > 2 ? variant(argv[2]) : 0);
	undisturbed(3, 0, &alone);
	values_print(&alone);
	return 0;
}
