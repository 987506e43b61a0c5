// SPDX-License-Identifier: GPL-2.0-only
/*
 * A whole VM's life, under strain: strain COMMAND
 *
 *	work MIB ROUNDS CPUS	a guest counts in each of its pages, and no count is lost (ROUNDS 0: for ever)
 *	wander MIB ROUNDS CPUS	the same, while its threads go from processor to processor
 *	tables			nested page tables go when the kernel wants memory, and when slots go
 *	limit			and are no more than KVM_SET_NR_MMU_PAGES allows
 *	entry			state that the processor refuses
 *	storm			nanoseconds for each page that a guest touches for the first time, all of them in memory
 *	fail			each allocation of a VM's life fails once (module parameter fail_alloc)
 *	reboot			the machine goes down while vCPUs run and VMs are made
 *	kexec KERNEL INITRD	the same, and that kernel follows (or: crash, when this one panics)
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/kvm.h>
#include <linux/reboot.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ul << 20)
#define PAGE 4096ul
#define FIRST MIB /* the guest's code is below, what it counts in above */
#define MAX_CPUS 4
#define ROUND_PORT 0x10
#define MSI_GSI 30

struct machine {
	int kvm, vm, event, nr_cpus;
	size_t size;
	unsigned char *memory;
	int vcpu[MAX_CPUS];
	struct kvm_run *run[MAX_CPUS];
	size_t mapping;
};

/*
 * 32-bit code: EBX first page, ECX behind the last one, EDX the port; a step of EBP.
 */
static const unsigned char counter[] = {
	0x89, 0xde,		/* start: mov esi, ebx */
	0x83, 0x06, 0x01,	/* again: add dword [esi], 1 */
	0x01, 0xee,		/* add esi, ebp */
	0x39, 0xce,		/* cmp esi, ecx */
	0x72, 0xf7,		/* jb again */
	0xee,			/* out dx, al */
	0xeb, 0xf2,		/* jmp start */
};

static int try(struct machine *m, int r)
{
	return m->kvm < 0 ? -1 : r;
}

static int set_slot(struct machine *m, unsigned id, unsigned flags, unsigned long gpa, unsigned long size)
{
	struct kvm_userspace_memory_region slot = {
		.slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (unsigned long)m->memory + gpa,
	};

	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* Devices and signals, as a VMM has them. */
static int set_up_devices(struct machine *m)
{
	struct kvm_pit_config pit = { 0 };
	struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry entry; } routes = {
		.head.nr = 1,
		.entry = { .gsi = MSI_GSI, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = 0x31 } },
	};
	struct kvm_irqfd irqfd = { .gsi = MSI_GSI };
	struct kvm_ioeventfd io = { .addr = 0x20000000, .len = 4 };

	m->event = eventfd(0, EFD_CLOEXEC);
	irqfd.fd = (unsigned)m->event;
	io.fd = m->event;
	if (ioctl(m->vm, KVM_CREATE_IRQCHIP, 0) || ioctl(m->vm, KVM_CREATE_PIT2, &pit) ||
	    ioctl(m->vm, KVM_SET_GSI_ROUTING, &routes) || ioctl(m->vm, KVM_IRQFD, &irqfd) || ioctl(m->vm, KVM_IOEVENTFD, &io))
		return -1;
	return 0;
}

static int set_up_vcpu(struct machine *m, int i)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_mp_state runs = { KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = { .rflags = 2, .rip = 0, .rbx = FIRST + (unsigned long)i * PAGE, .rcx = m->size,
				 .rdx = ROUND_PORT, .rbp = PAGE * (unsigned long)m->nr_cpus };
	struct kvm_sregs s;

	m->vcpu[i] = ioctl(m->vm, KVM_CREATE_VCPU, i);
	if (m->vcpu[i] < 0)
		return -1;
	m->run[i] = mmap(NULL, m->mapping, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu[i], 0);
	if (m->run[i] == MAP_FAILED) {
		m->run[i] = NULL;
		return -1;
	}
	if (ioctl(m->vcpu[i], KVM_GET_SREGS, &s))
		return -1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 |= 1;
	return ioctl(m->vcpu[i], KVM_SET_SREGS, &s) || ioctl(m->vcpu[i], KVM_SET_REGS, &regs) ||
	       ioctl(m->vcpu[i], KVM_SET_MP_STATE, &runs) ? -1 : 0;
}

/* -1 where something was refused; machine_destroy() takes away what there is. */
static int machine_create(struct machine *m, size_t size, int cpus)
{
	memset(m, 0, sizeof(*m));
	m->size = size;
	m->nr_cpus = cpus;
	m->vm = m->event = -1;
	for (int i = 0; i < MAX_CPUS; i++)
		m->vcpu[i] = -1;
	m->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memcpy(m->memory, counter, sizeof(counter));
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m->vm = try(m, ioctl(m->kvm, KVM_CREATE_VM, 0));
	if (m->vm < 0)
		return -1;
	m->mapping = (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (set_up_devices(m) || set_slot(m, 0, 0, 0, size / 2) || set_slot(m, 1, KVM_MEM_LOG_DIRTY_PAGES, size / 2, size / 2))
		return -1;
	for (int i = 0; i < cpus; i++) {
		if (set_up_vcpu(m, i))
			return -1;
	}
	return 0;
}

static void machine_destroy(struct machine *m)
{
	for (int i = 0; i < MAX_CPUS; i++) {
		if (m->run[i])
			munmap(m->run[i], m->mapping);
		if (m->vcpu[i] >= 0)
			close(m->vcpu[i]);
	}
	if (m->event >= 0)
		close(m->event);
	if (m->vm >= 0)
		close(m->vm);
	if (m->kvm >= 0)
		close(m->kvm);
	munmap(m->memory, m->size);
}

/* One round of the vCPU's over its pages. 0, or -errno, or the exit that came instead. */
static int one_round(struct machine *m, int i)
{
	int r;

	do
		r = ioctl(m->vcpu[i], KVM_RUN, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return m->run[i]->exit_reason == KVM_EXIT_IO && m->run[i]->io.port == ROUND_PORT ? 0 : (int)m->run[i]->exit_reason;
}

/* An exit that nobody expects, and where the guest was then. */
static void tell_exit(const struct machine *m, int i)
{
	const struct kvm_run *run = m->run[i];
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(m->vcpu[i], KVM_GET_REGS, &r) || ioctl(m->vcpu[i], KVM_GET_SREGS, &s))
		return;
	if (run->exit_reason == KVM_EXIT_MMIO)
		warnx("%s of %u bytes at %#llx", run->mmio.is_write ? "write" : "read", run->mmio.len, run->mmio.phys_addr);
	warnx("rip %#llx rflags %#llx rsi %#llx rbx %#llx rcx %#llx rdx %#llx rbp %#llx", r.rip, r.rflags, r.rsi, r.rbx, r.rcx,
	      r.rdx, r.rbp);
	warnx("cr0 %#llx cr3 %#llx cs %#x %#llx %#x ds %#x %#llx %#x", s.cr0, s.cr3, s.cs.selector, s.cs.base, s.cs.limit,
	      s.ds.selector, s.ds.base, s.ds.limit);
}

static void check_counts(struct machine *m, uint32_t expected)
{
	for (size_t at = FIRST; at < m->size; at += PAGE) {
		if (*(uint32_t *)(m->memory + at) != expected)
			errx(1, "page %zx has counted %u, not %u", at, *(uint32_t *)(m->memory + at), expected);
	}
}

/* ---- work, wander ------------------------------------------------------------------------------------------------- */

struct worker {
	struct machine *m;
	int cpu;
	unsigned rounds;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned n = 0; n < w->rounds; n++) {
		int r = one_round(w->m, w->cpu);

		if (r > 0)
			tell_exit(w->m, w->cpu);
		if (r)
			errx(1, "vCPU %d: %d in round %u", w->cpu, r, n);
	}
	return NULL;
}

/* The n-th of those that this program may use. */
static int nth_cpu(const cpu_set_t *all, int n)
{
	int cpu = 0;

	while (!CPU_ISSET(cpu, all) || n--)
		cpu++;
	return cpu;
}

static void move_threads(pthread_t *thread, int n, const cpu_set_t *all)
{
	for (int i = 0; i < n; i++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(nth_cpu(all, rand() % CPU_COUNT(all)), &set);
		pthread_setaffinity_np(thread[i], sizeof(set), &set); /* it may be unplugged */
	}
}

static volatile bool done;

static void *wander(void *arg)
{
	pthread_t *thread = arg;
	cpu_set_t all;

	sched_getaffinity(0, sizeof(all), &all);
	while (!done) {
		move_threads(thread + 1, (int)(uintptr_t)thread[0], &all);
		usleep(2000);
	}
	return NULL;
}

static int command_work(size_t mib, unsigned rounds, int cpus, bool wandering)
{
	struct worker w[MAX_CPUS];
	pthread_t thread[MAX_CPUS + 1], mover;
	struct machine m;

	if (machine_create(&m, mib * MIB, cpus))
		err(1, "no machine");
	for (int i = 0; i < cpus; i++) {
		w[i] = (struct worker){ &m, i, rounds ? rounds : ~0u };
		pthread_create(&thread[i + 1], NULL, work, &w[i]);
	}
	thread[0] = (pthread_t)cpus;
	if (wandering)
		pthread_create(&mover, NULL, wander, thread);
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < cpus; i++)
		pthread_join(thread[i + 1], NULL);
	done = true;
	if (wandering)
		pthread_join(mover, NULL);
	check_counts(&m, rounds);
	machine_destroy(&m);
	return 0;
}

/* ---- page tables ---------------------------------------------------------------------------------------------------- */

/* KiB of page tables that no process has. */
static long secondary_tables(void)
{
	int refresh = open("/proc/sys/vm/stat_refresh", O_WRONLY); /* what processors have counted and not told yet */
	FILE *f;
	char line[100];
	long kib = -1;

	if (refresh < 0 || write(refresh, "1", 1) != 1)
		err(1, "stat_refresh");
	close(refresh);
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "SecPageTables: %ld", &kib);
	fclose(f);
	return kib;
}

static void rounds(struct machine *m, unsigned n)
{
	while (n--) {
		int r = one_round(m, 0);

		if (r)
			errx(1, "KVM_RUN: %d", r);
	}
}

static void drop_slab(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	for (int i = 0; i < 12; i++) {
		if (write(fd, "2", 1) != 1)
			err(1, "drop_caches");
	}
	close(fd);
}

static int command_tables(void)
{
	long before = secondary_tables(), full, shrunk, half;
	struct machine m;

	if (machine_create(&m, 64 * MIB, 1))
		err(1, "no machine");
	madvise(m.memory, m.size, MADV_NOHUGEPAGE);
	rounds(&m, 3);
	full = secondary_tables() - before;
	drop_slab();
	shrunk = secondary_tables() - before;
	rounds(&m, 3);
	set_slot(&m, 1, 0, 32 * MIB, 0);
	half = secondary_tables() - before;
	if (set_slot(&m, 1, 0, 32 * MIB, 32 * MIB))
		err(1, "slot");
	rounds(&m, 3);
	check_counts(&m, 9);
	machine_destroy(&m);
	printf("%ld KiB of tables, %ld shrunk, %ld with half of the slots, %ld at the end\n", full, shrunk, half,
	       secondary_tables() - before);
	/* A table a 2 MiB; those of the vCPU's cache stay. */
	return full >= 32 * 4 && shrunk < full / 2 && half <= full && secondary_tables() == before ? 0 : 1;
}

static int command_limit(void)
{
	long before = secondary_tables(), most = 0;
	struct machine m;

	if (machine_create(&m, 200 * MIB, 1))
		err(1, "no machine");
	madvise(m.memory, m.size, MADV_NOHUGEPAGE);
	if (ioctl(m.vm, KVM_SET_NR_MMU_PAGES, 64ul))
		err(1, "KVM_SET_NR_MMU_PAGES");
	for (int i = 0; i < 2; i++) {
		rounds(&m, 1);
		most = secondary_tables() - before > most ? secondary_tables() - before : most;
	}
	check_counts(&m, 2);
	machine_destroy(&m);
	printf("at most %ld KiB of tables\n", most);
	return most <= (64 + 16) * 4 ? 0 : 1;
}

/* ---- storm -----------------------------------------------------------------------------------------------------------*/

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The least of some rounds, as other programs only make it longer. */
static int command_storm(void)
{
	uint64_t best = ~0ull;

	for (int i = 0; i < 8; i++) {
		struct machine m;
		uint64_t t;

		if (machine_create(&m, 17 * MIB, 1))
			err(1, "no machine");
		madvise(m.memory, m.size, MADV_NOHUGEPAGE);
		memset(m.memory + FIRST, 0, m.size - FIRST);
		t = now_ns();
		rounds(&m, 1);
		t = now_ns() - t;
		if (t < best)
			best = t;
		machine_destroy(&m);
	}
	printf("EXIT page-fault %lu\n", best / (16 * MIB / PAGE));
	return 0;
}

/* ---- entry ----------------------------------------------------------------------------------------------------------- */

/* A segment cannot be of 64 and of 32 bits. KVM does not look; the processor does. */
static int command_entry(void)
{
	struct machine m;
	struct kvm_sregs s;

	if (machine_create(&m, 4 * MIB, 1) || ioctl(m.vcpu[0], KVM_GET_SREGS, &s))
		err(1, "no machine");
	s.cr0 = 0x80000011;
	s.cr4 = 0x20;
	s.efer = 0x500;
	s.cr3 = 0x2000;
	s.cs.l = s.cs.db = 1;
	if (ioctl(m.vcpu[0], KVM_SET_SREGS, &s)) {
		puts("refused before");
		return 0;
	}
	for (int i = 0; i < 3; i++) {
		if (ioctl(m.vcpu[0], KVM_RUN, 0) || m.run[0]->exit_reason != KVM_EXIT_FAIL_ENTRY ||
		    m.run[0]->fail_entry.hardware_entry_failure_reason != ~0u)
			errx(1, "exit %u", m.run[0]->exit_reason);
	}
	s.cs.l = 0; /* and as it should be it goes on */
	s.cr0 = 0x11;
	s.efer = s.cr4 = 0;
	if (ioctl(m.vcpu[0], KVM_SET_SREGS, &s))
		err(1, "KVM_SET_SREGS");
	rounds(&m, 2);
	check_counts(&m, 2);
	machine_destroy(&m);
	return 0;
}

/* ---- allocations that fail ---------------------------------------------------------------------------------------------- */

static long fail_alloc(const char *set)
{
	int fd = open("/sys/module/anykvm/parameters/fail_alloc", O_RDWR);
	char text[20] = "";
	bool good = fd >= 0 && (set ? write(fd, set, strlen(set)) : read(fd, text, sizeof(text) - 1)) > 0;

	if (!good)
		err(1, "fail_alloc");
	close(fd);
	return atol(text);
}

/* 0 if it went well in spite of all. */
static int life(void)
{
	struct machine m;
	int r = machine_create(&m, 2 * MIB, 2);

	for (int i = 0; i < 4 && !r; i++)
		r = one_round(&m, i & 1);
	if (!r)
		check_counts(&m, 2);
	if (!r)
		r = set_slot(&m, 1, 0, MIB, 0);
	machine_destroy(&m);
	return r;
}

static int command_fail(void)
{
	char text[20];
	int n, refused = 0;

	for (n = 1; n < 2000; n++) {
		snprintf(text, sizeof(text), "%d", n);
		fail_alloc(text);
		refused += life() != 0;
		if (fail_alloc(NULL) > 0)
			break; /* there were not that many */
		if (n % 10 == 0)
			fprintf(stderr, "%d allocations\n", n);
		if (n % 8 == 0 && life())
			errx(1, "after allocation %d had failed nothing works", n);
	}
	fail_alloc("0");
	printf("%d allocations, %d of them needed\n", n - 1, refused);
	return n > 30 && refused > 10 ? 0 : 1;
}

/* ---- the machine's end ----------------------------------------------------------------------------------------------- */

static unsigned turns[MAX_CPUS]; /* KVM_RUNs that came back */

static void *turn(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		one_round(w->m, w->cpu);
		__atomic_add_fetch(&turns[w->cpu], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *make_machines(void *unused)
{
	for (;;) {
		struct machine m;

		machine_create(&m, 2 * MIB, 1);
		machine_destroy(&m);
	}
	return unused;
}

static void start_turning(void)
{
	static struct machine m;
	static struct worker w[MAX_CPUS];
	pthread_t thread;

	if (machine_create(&m, 4 * MIB, MAX_CPUS))
		err(1, "no machine");
	for (int i = 0; i < MAX_CPUS; i++) {
		w[i] = (struct worker){ &m, i, 0 };
		pthread_create(&thread, NULL, turn, &w[i]);
	}
	pthread_create(&thread, NULL, make_machines, NULL);
	for (int i = 0; i < MAX_CPUS; i++) {
		while (__atomic_load_n(&turns[i], __ATOMIC_RELAXED) < 2)
			usleep(1000);
	}
}

static void load_kernel(char **argv, unsigned long flags)
{
	int kernel = open(argv[2], O_RDONLY), initrd = open(argv[3], O_RDONLY), fd = open("/proc/cmdline", O_RDONLY);
	char words[2048] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, words, sizeof(words) - 1);

	if (n <= 0)
		err(1, "/proc/cmdline");
	words[n - 1] = 0; /* the newline */
	if (syscall(SYS_kexec_file_load, kernel, initrd, (unsigned long)n, words, flags))
		err(1, "kexec_file_load");
}

static int command_end(const char *how, char **argv)
{
	static const char panic[] = "c";

	if (!strcmp(how, "kexec"))
		load_kernel(argv, 0);
	if (!strcmp(how, "crash"))
		load_kernel(argv, KEXEC_FILE_ON_CRASH);
	start_turning();
	printf("%s\n", how);
	fflush(stdout);
	if (!strcmp(how, "crash")) {
		int fd = open("/proc/sysrq-trigger", O_WRONLY);

		return write(fd, panic, 1) == 1;
	}
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		!strcmp(how, "kexec") ? LINUX_REBOOT_CMD_KEXEC : LINUX_REBOOT_CMD_RESTART, NULL);
	err(1, "%s", how);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	size_t mib = argc > 2 ? (size_t)atol(argv[2]) : 16;
	unsigned n = argc > 3 ? (unsigned)atoi(argv[3]) : 3;
	int cpus = argc > 4 ? atoi(argv[4]) : 1;

	if (!strcmp(command, "tables"))
		return command_tables();
	if (!strcmp(command, "limit"))
		return command_limit();
	if (!strcmp(command, "storm"))
		return command_storm();
	if (!strcmp(command, "entry"))
		return command_entry();
	if (!strcmp(command, "fail"))
		return command_fail();
	if (!strcmp(command, "reboot") || (argc == 4 && (!strcmp(command, "kexec") || !strcmp(command, "crash"))))
		return command_end(command, argv);
	return command_work(mib, n, cpus, !strcmp(command, "wander"));
}
