// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a guest's ways to the host and back take: trips DEVICE [NAME...], or trips time COMMAND... (how long that runs).
 * Prints "TRIP name nanoseconds", the least mean of some series; the machine's clock may count instructions instead.
 *
 *	out, in, mmio-write, mmio-read	answered by this program
 *	cpuid, rdmsr, hypercall		answered by the module
 *	interrupt	from a halted processor's eventfd to its interrupt handler, and out again to this program
 *	self-ipi	a processor sends an interrupt to itself, takes it out of HLT and ends it
 *	ipi		to another processor that is halted, whose answer ends the sender's HLT
 *	fault		the first touch of pages that are in memory, one after the other
 *	fault-far	the same, in no order that could be guessed
 *	fault-logged	with a dirty log
 *	fault-dirty	the first write to pages that are mapped, but clean in the log
 *	fault-new	pages that this program has not touched either
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
#define PAGE 4096u
#define CODE 0x1000u
#define CODE_OTHER 0x1800u
#define HANDLER 0x2000u
#define HANDLER_OTHER 0x2800u
#define IDT 0x4000u
#define IDT_OTHER 0x4800u
#define GDT 0x5000u
#define STACK 0x8000u
#define STACK_OTHER 0x9000u
#define LOW 0x10000u
#define FAR MIB			/* memory for faults */
#define FAR_PAGES 1024u
#define VECTOR 0x40
#define MSI_GSI 5
#define PORT 0x80		/* somewhere in the middle */
#define PORT_START 0x81
#define PORT_END 0x82
#define SERIES 15

static int kvm, vm, event, answered;
static uint8_t *low, *far;
static struct vcpu {
	int fd;
	struct kvm_run *run;
} vcpu[2];

static int check(int r, const char *what)
{
	if (r < 0)
		err(2, "%s", what);
	return r;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the machine --------------------------------------------------------------------------------------------------- */

#define PUT(at, code) memcpy(low + (at), code, sizeof(code) - 1)

static void set_memory(unsigned slot, unsigned flags, uint64_t gpa, uint64_t size, void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)memory,
	};

	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

static void *pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(2, "mmap");
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

static void make_vcpu(struct vcpu *v)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	v->fd = check(ioctl(vm, KVM_CREATE_VCPU, v - vcpu), "KVM_CREATE_VCPU");
	v->run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	c->nent = 256;
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c), "KVM_GET_SUPPORTED_CPUID");
	check(ioctl(v->fd, KVM_SET_CPUID2, c), "KVM_SET_CPUID2");
	free(c);
}

static void gate(unsigned idt, unsigned handler)
{
	*(uint64_t *)(void *)(low + idt + VECTOR * 8) = (handler & 0xffff) | 8u << 16 | 0x8e00ull << 32;
}

static void make_machine(unsigned nr_vcpus)
{
	vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	if (nr_vcpus)
		check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	low = pages(LOW);
	set_memory(0, 0, 0, LOW, low);
	memcpy(low + GDT, (uint64_t[]){ 0, 0x00cf9b000000ffff, 0x00cf93000000ffff }, 24);
	gate(IDT, HANDLER);
	gate(IDT_OTHER, HANDLER_OTHER);
	make_vcpu(&vcpu[0]);
	if (nr_vcpus > 1)
		make_vcpu(&vcpu[1]);
}

static void close_machine(void)
{
	for (int i = 0; i < 2; i++) {
		if (!vcpu[i].run)
			continue;
		munmap(vcpu[i].run, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
		close(vcpu[i].fd);
		vcpu[i].run = NULL;
	}
	close(vm);
	munmap(low, LOW);
}

/* 32-bit code, flat, without paging. */
static void start_at(struct vcpu *v, unsigned rip, unsigned times)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1 }, data = code;
	struct kvm_regs regs = { .rip = rip, .rsp = v == vcpu ? STACK : STACK_OTHER, .rbx = times, .rflags = 2 };
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs s;

	data.type = 3;
	data.selector = 16;
	check(ioctl(v->fd, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = v == vcpu ? IDT : IDT_OTHER;
	s.idt.limit = 0x7ff;
	s.cr0 |= 1;
	check(ioctl(v->fd, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(v->fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	ioctl(v->fd, KVM_SET_MP_STATE, &runnable);
}

/* To the next exit of a port that is not PORT. */
static unsigned run(struct vcpu *v)
{
	for (;;) {
		check(ioctl(v->fd, KVM_RUN, 0), "KVM_RUN");
		if (v->run->exit_reason == KVM_EXIT_IO && v->run->io.port != PORT)
			return v->run->io.port;
		if (v->run->exit_reason != KVM_EXIT_IO && v->run->exit_reason != KVM_EXIT_MMIO)
			errx(1, "exit %u", v->run->exit_reason);
	}
}

static uint64_t time_to_end(void)
{
	uint64_t start;

	if (run(&vcpu[0]) != PORT_START)
		errx(1, "no beginning");
	start = now_ns();
	if (run(&vcpu[0]) != PORT_END)
		errx(1, "no end");
	return now_ns() - start;
}

static void tell(const char *name, uint64_t ns, unsigned times)
{
	printf("TRIP %s %llu\n", name, (unsigned long long)ns / times);
	fflush(stdout);
}

/* ---- exits ---------------------------------------------------------------------------------------------------------- */

#define TIMES 200

static void measure_exit(const char *name, const char *code, unsigned length)
{
	static const char start[] = "\xe6\x81", end[] = "\x4b\x75"; /* out 0x81, al; ... dec ebx; jnz to the code; */
	uint64_t best = ~0ull;
	uint8_t *p;

	make_machine(0);
	p = low + CODE;
	memcpy(p, start, 2);
	memcpy(p + 2, code, length);
	memcpy(p + 2 + length, end, 2);
	p += 4 + length;
	*p++ = (uint8_t)-(length + 3);
	memcpy(p, "\xe6\x82", 2); /* out 0x82, al */
	for (unsigned i = 0; i < SERIES; i++) {
		uint64_t took;

		start_at(&vcpu[0], CODE, TIMES);
		took = time_to_end();
		best = took < best ? took : best;
	}
	tell(name, best, TIMES);
	close_machine();
}

static void measure_exits(const char *name)
{
	static const struct {
		const char *name, *code;
		unsigned length;
	} exits[] = {
		{ "out", "\xe6\x80", 2 },
		{ "in", "\xe4\x80", 2 },
		{ "mmio-write", "\xa3\x00\x00\x00\x20", 5 },
		{ "mmio-read", "\xa1\x00\x00\x00\x20", 5 },
		{ "cpuid", "\x89\xdf\x31\xc0\x0f\xa2\x89\xfb", 8 },
		{ "rdmsr", "\xb9\x10\x00\x00\x00\x0f\x32", 7 },
		{ "hypercall", "\x31\xc0\x89\xdf\x0f\x01\xd9\x89\xfb", 9 },
	};

	for (unsigned i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
		if (!strcmp(exits[i].name, name))
			measure_exit(name, exits[i].code, exits[i].length);
	}
}

/* ---- interrupts ------------------------------------------------------------------------------------------------------- */

/* x2APIC and software enable; lidt is in the registers. */
#define ENABLE_APIC "\xb9\x1b\x00\x00\x00\x0f\x32\x0d\x00\x0c\x00\x00\x0f\x30" /* rdmsr, or eax, 0xc00, wrmsr */ \
	"\xb9\x0f\x08\x00\x00\xb8\xff\x01\x00\x00\x31\xd2\x0f\x30"
#define EOI "\xb9\x0b\x08\x00\x00\x31\xc0\x31\xd2\x0f\x30"
#define ICR(shorthand, to) "\xb9\x30\x08\x00\x00\xb8\x40\x00" shorthand "\x00\xba" to "\x00\x00\x00\x0f\x30"
#define SELF_IPI "\xb9\x3f\x08\x00\x00\xb8\x40\x00\x00\x00\x31\xd2\x0f\x30"
#define SLEEP "\xfb\xf4\xeb\xfc" /* sti; 1: hlt; jmp 1b */

static void *run_other(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	while (run(&vcpu[1]) != PORT_END) {
		if (write(answered, &one, sizeof(one)) != sizeof(one))
			err(2, "write");
	}
	return NULL;
}

static void make_msi(void)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entry;
	} routes = { .header.nr = 1, .entry = { .gsi = MSI_GSI, .type = KVM_IRQ_ROUTING_MSI } };
	struct kvm_irqfd irqfd = { .gsi = MSI_GSI, .fd = (unsigned)event };

	routes.entry.u.msi.address_lo = 0xfee00000 | 1 << 12;
	routes.entry.u.msi.data = VECTOR;
	check(ioctl(vm, KVM_SET_GSI_ROUTING, &routes), "KVM_SET_GSI_ROUTING");
	check(ioctl(vm, KVM_IRQFD, &irqfd), "KVM_IRQFD");
}

static void await_answer(void)
{
	uint64_t n;

	if (read(answered, &n, sizeof(n)) != sizeof(n))
		err(2, "read");
}

static void interrupt_other(void)
{
	uint64_t one = 1;

	if (write(event, &one, sizeof(one)) != sizeof(one))
		err(2, "write");
}

static void measure_interrupt(void)
{
	uint64_t best = ~0ull;
	pthread_t thread;

	make_machine(2);
	make_msi();
	PUT(CODE_OTHER, ENABLE_APIC "\xe6\x81" SLEEP);
	PUT(HANDLER_OTHER, EOI "\xe6\x81\xcf"); /* out 0x81, al; iret */
	start_at(&vcpu[1], CODE_OTHER, 0);
	pthread_create(&thread, NULL, run_other, NULL);
	await_answer();
	for (unsigned i = 0; i < SERIES; i++) {
		uint64_t start = now_ns();

		for (unsigned n = 0; n < TIMES; n++) {
			interrupt_other();
			await_answer();
		}
		start = now_ns() - start;
		best = start < best ? start : best;
	}
	tell("interrupt", best, TIMES);
	PUT(HANDLER_OTHER, "\xe6\x82");
	interrupt_other();
	pthread_join(thread, NULL);
	close_machine();
}

/* CODE is there: the vCPU's loop behind "out 0x81, al". */
static uint64_t best_of_series(void)
{
	uint64_t best = ~0ull;

	for (unsigned i = 0; i < SERIES; i++) {
		uint64_t took;

		start_at(&vcpu[0], CODE, TIMES);
		took = time_to_end();
		best = took < best ? took : best;
	}
	return best;
}

static void measure_self_ipi(void)
{
	make_machine(1);
	PUT(CODE, ENABLE_APIC "\xe6\x81" SELF_IPI "\xfb\xf4\xfa\x4b\x75\xec\xe6\x82"); /* sti; hlt; cli; dec ebx; jnz; out */
	PUT(HANDLER, EOI "\xcf");
	tell("self-ipi", best_of_series(), TIMES);
	close_machine();
}

static void measure_ipi(void)
{
	pthread_t thread;

	make_machine(2);
	PUT(CODE_OTHER, ENABLE_APIC "\xe6\x81" SLEEP);
	PUT(HANDLER_OTHER, EOI ICR("\x00", "\x00") "\xcf");
	start_at(&vcpu[1], CODE_OTHER, 0);
	pthread_create(&thread, NULL, run_other, NULL);
	await_answer();
	PUT(CODE, ENABLE_APIC "\xe6\x81" ICR("\x00", "\x01") "\xfb\xf4\xfa\x4b\x75\xe9\xe6\x82");
	PUT(HANDLER, EOI "\xcf");
	tell("ipi", best_of_series(), TIMES);
	PUT(HANDLER_OTHER, "\xe6\x82");
	PUT(CODE, ENABLE_APIC "\xe6\x81" ICR("\x00", "\x01") "\xe6\x82");
	start_at(&vcpu[0], CODE, 1);
	time_to_end();
	pthread_join(thread, NULL);
	close_machine();
}

/* ---- page faults --------------------------------------------------------------------------------------------------------- */

struct storm {
	const char *name;
	bool present, logged, mapped; /* in memory; with a dirty log; mapped for reading, and the log is clean */
	unsigned step;		      /* pages, odd */
};

static const struct storm storms[] = {
	{ "fault", true, false, false, 1 },
	{ "fault-far", true, false, false, 395 },
	{ "fault-logged", true, true, false, 1 },
	{ "fault-dirty", true, true, true, 1 },
	{ "fault-new", false, false, false, 1 },
};

static void clean_log(void)
{
	static uint8_t bits[FAR_PAGES / 8];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bits };

	check(ioctl(vm, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
}

/*
 * out 0x81, al; 1: mov edi, esi; and edi, FAR_PAGES - 1; shl edi, 12; add edi, FAR; mov [edi], ebx; add esi, STEP; dec ebx;
 * jnz 1b; out 0x82, al. ESI begins as 0.
 */
static void put_storm(unsigned step)
{
	PUT(CODE, "\xe6\x81\x89\xf7\x81\xe7\xff\x03\x00\x00\xc1\xe7\x0c\x81\xc7\x00\x00\x10\x00\x89\x1f"
		  "\x81\xc6\x00\x00\x00\x00\x4b\x75\xe4\xe6\x82");
	memcpy(low + CODE + 23, &step, 4);
}

static uint64_t one_storm(const struct storm *s)
{
	uint64_t took;

	make_machine(0);
	far = pages(FAR_PAGES * PAGE);
	if (s->present)
		memset(far, 1, FAR_PAGES * PAGE);
	set_memory(1, s->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0, FAR, FAR_PAGES * PAGE, far);
	put_storm(s->step);
	start_at(&vcpu[0], CODE, FAR_PAGES);
	took = time_to_end();
	if (s->mapped) {
		clean_log();
		start_at(&vcpu[0], CODE, FAR_PAGES);
		took = time_to_end();
	}
	for (unsigned i = 0; i < FAR_PAGES; i++) {
		if (*(uint32_t *)(void *)(far + i * PAGE) - 1 >= FAR_PAGES)
			errx(1, "%s: page %u was not written", s->name, i);
	}
	close_machine();
	munmap(far, FAR_PAGES * PAGE);
	return took;
}

static void measure_storms(const char *name)
{
	for (unsigned n = 0; n < sizeof(storms) / sizeof(storms[0]); n++) {
		uint64_t best = ~0ull;

		if (strcmp(storms[n].name, name))
			continue;
		for (unsigned i = 0; i < SERIES; i++) {
			uint64_t took = one_storm(&storms[n]);

			best = took < best ? took : best;
		}
		tell(name, best, FAR_PAGES);
	}
}

/* ---- all ----------------------------------------------------------------------------------------------------------------- */

static void measure(const char *name)
{
	measure_exits(name);
	measure_storms(name);
	if (!strcmp(name, "interrupt"))
		measure_interrupt();
	if (!strcmp(name, "self-ipi"))
		measure_self_ipi();
	if (!strcmp(name, "ipi"))
		measure_ipi();
}

static int time_command(char **argv)
{
	extern char **environ;
	uint64_t start = now_ns();
	int status, r;
	pid_t pid;

	r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (r || waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s: did not end well", argv[0]);
	fprintf(stderr, "TRIP time %llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const all[] = { "out", "in", "mmio-write", "mmio-read", "cpuid", "rdmsr", "hypercall", "interrupt",
					   "self-ipi", "ipi", "fault", "fault-far", "fault-logged", "fault-dirty", "fault-new" };

	if (argc > 2 && !strcmp(argv[1], "time"))
		return time_command(argv + 2);
	kvm = check(open(argc > 1 ? argv[1] : "/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	event = check(eventfd(0, 0), "eventfd");
	answered = check(eventfd(0, 0), "eventfd");
	for (int i = 2; i < argc; i++)
		measure(argv[i]);
	for (unsigned i = 0; argc <= 2 && i < sizeof(all) / sizeof(all[0]); i++)
		measure(all[i]);
	return 0;
}
