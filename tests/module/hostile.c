// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no VMM does: memory that goes away under a running guest, slots that change while vCPUs run, calls from everywhere
 * at once, death in the middle. Nothing of it may harm the kernel; its log is looked at outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul
#define SECONDS 1

struct machine {
	int kvm, vm, vcpu;
	unsigned char *memory;
	struct kvm_run *run;
	pthread_t runner;
};

static int failures;

/* All of it, although the alarm interrupts; a stream gives up what it could not write. */
static void say(const char *text)
{
	while (*text) {
		ssize_t n = write(STDOUT_FILENO, text, strlen(text));

		if (n < 0 && errno != EINTR)
			_exit(1);
		text += n > 0 ? n : 0;
	}
}

static void result(bool good, const char *name, const char *why)
{
	char text[200];

	if (good)
		snprintf(text, sizeof(text), "ok hostile/%s\n", name);
	else
		snprintf(text, sizeof(text), "not ok hostile/%s - %s (%s)\n", name, why, strerror(errno));
	say(text);
	failures += !good;
}

static void on_alarm(int number)
{
	(void)number;
}

/* EINTR for whoever sleeps, again and again. */
static void alarm_every(unsigned microseconds)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { { 0, microseconds }, { 0, microseconds } };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void sleep_until(double end)
{
	while (now() < end)
		usleep(10000);
}

static int set_slot(struct machine *m, unsigned flags, unsigned long size, void *at)
{
	struct kvm_userspace_memory_region slot = {
		.flags = flags, .memory_size = size, .userspace_addr = (unsigned long)at,
	};

	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* Real-mode code that writes to one page after the other for ever: inc word [bx]... by segment. */
static const unsigned char writer[] = {
	0xb8, 0x00, 0x01,	/* mov ax, 0x100 */
	0x8e, 0xd8,		/* again: mov ds, ax */
	0xff, 0x06, 0x00, 0x00,	/* inc word [0] */
	0x05, 0x00, 0x01,	/* add ax, 0x100 */
	0x3d, 0x00, 0x40,	/* cmp ax, 0x4000 */
	0x72, 0xf2,		/* jb again */
	0xeb, 0xed,		/* jmp start */
};

static void *guest_memory(int flags)
{
	void *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	memcpy(memory, writer, sizeof(writer));
	return memory;
}

/* ring: bytes of a dirty ring, or 0. */
static bool machine_create_with(struct machine *m, void *memory, bool irqchip, unsigned ring)
{
	struct kvm_enable_cap log = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { ring } };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2, .rip = 0 };

	memset(m, 0, sizeof(*m));
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	/* Watching an address space may be interrupted, in KVM too. */
	do
		m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	while (m->vm < 0 && errno == EINTR);
	m->memory = memory;
	if ((irqchip && ioctl(m->vm, KVM_CREATE_IRQCHIP, 0)) || (ring && ioctl(m->vm, KVM_ENABLE_CAP, &log)))
		return false;
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	m->run = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->kvm < 0 || m->vm < 0 || m->vcpu < 0 || m->run == MAP_FAILED || set_slot(m, 0, PAGES * PAGE, m->memory))
		return false;
	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs))
		return false;
	sregs.cs.base = sregs.cs.selector = 0;
	return !ioctl(m->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(m->vcpu, KVM_SET_REGS, &regs);
}

static bool machine_create(struct machine *m)
{
	return machine_create_with(m, guest_memory(MAP_PRIVATE), false, 0);
}

static void machine_destroy(struct machine *m)
{
	munmap(m->run, 0x3000);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	munmap(m->memory, PAGES * PAGE);
}

static void *run_for_ever(void *arg)
{
	struct machine *m = arg;

	for (;;) {
		ioctl(m->vcpu, KVM_RUN, 0);
		if (m->run->immediate_exit == 2)
			return NULL;
		usleep(100);
	}
}

/* While the guest writes everywhere, change() does its worst for some time. */
static void while_running(const char *name, void (*change)(struct machine *m, unsigned n))
{
	struct machine m;
	double end;

	if (!machine_create(&m)) {
		result(false, name, "no machine");
		return;
	}
	pthread_create(&m.runner, NULL, run_for_ever, &m);
	end = now() + SECONDS;
	for (unsigned n = 0; now() < end; n++)
		change(&m, n);
	m.run->immediate_exit = 2;
	pthread_kill(m.runner, SIGALRM);
	pthread_join(m.runner, NULL);
	machine_destroy(&m);
	result(true, name, "");
}

static void change_unmap(struct machine *m, unsigned n)
{
	unsigned char *at = m->memory + (1 + n % (PAGES - 1)) * PAGE;

	munmap(at, PAGE);
	usleep(100);
	if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		failures++;
}

static void change_protect(struct machine *m, unsigned n)
{
	mprotect(m->memory + PAGE, (PAGES - 1) * PAGE, n & 1 ? PROT_READ : n & 2 ? PROT_NONE : PROT_READ | PROT_WRITE);
	usleep(100);
}

static void change_discard(struct machine *m, unsigned n)
{
	static const int advice[] = { MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_MERGEABLE, MADV_HUGEPAGE };

	madvise(m->memory + PAGE, (PAGES - 1) * PAGE, advice[n % 6]);
}

static void change_move(struct machine *m, unsigned n)
{
	void *away;

	(void)n;
	away = mremap(m->memory + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, m->memory + 32 * PAGE);
	if (away == MAP_FAILED)
		failures++;
	mmap(m->memory + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void change_fork(struct machine *m, unsigned n)
{
	pid_t pid = fork();

	(void)n;
	if (!pid) {
		/* The child has the descriptors, not the right to use them. */
		_exit(ioctl(m->vcpu, KVM_RUN, 0) == -1 && errno == EIO ? 0 : 1);
	}
	if (pid > 0) {
		int status;

		status = wait_for(pid);
		failures += status != 0;
	}
}

static void change_slots(struct machine *m, unsigned n)
{
	switch (n % 4) {
	case 0:
		set_slot(m, 0, 0, NULL);
		break;
	case 1:
		set_slot(m, KVM_MEM_READONLY, PAGES * PAGE, m->memory);
		break;
	case 2:
		set_slot(m, 0, 0, NULL);
		set_slot(m, 0, PAGES * PAGE, m->memory);
		break;
	default:
		set_slot(m, KVM_MEM_LOG_DIRTY_PAGES, PAGES * PAGE, m->memory);
	}
}

static void change_dirty_log(struct machine *m, unsigned n)
{
	unsigned long bits[PAGES / 64];
	struct kvm_dirty_log log = { .dirty_bitmap = bits };

	if (n == 0)
		set_slot(m, KVM_MEM_LOG_DIRTY_PAGES, PAGES * PAGE, m->memory);
	if (ioctl(m->vm, KVM_GET_DIRTY_LOG, &log))
		failures++;
	log.dirty_bitmap = (void *)1;
	ioctl(m->vm, KVM_GET_DIRTY_LOG, &log);
}

static void change_state(struct machine *m, unsigned n)
{
	struct kvm_sregs sregs;
	unsigned char junk[4096];

	for (unsigned i = 0; i < sizeof(junk); i++)
		junk[i] = (unsigned char)(rand() >> 4);
	m->run->immediate_exit = 1; /* so that the others get a word in */
	pthread_kill(m->runner, SIGALRM);
	if (n & 1)
		ioctl(m->vcpu, KVM_GET_SREGS, &sregs);
	else
		memcpy((char *)m->run + 256, junk, 2048);
	m->run->immediate_exit = 0;
	usleep(50);
}

static void change_eventfds(struct machine *m, unsigned n)
{
	int fd = eventfd((unsigned)n & 1, EFD_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = (unsigned)fd, .gsi = n % 24 };
	struct kvm_ioeventfd io = { .addr = 0x80 + n % 8, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO };
	unsigned long one = 1;

	ioctl(m->vm, KVM_IOEVENTFD, &io);
	ioctl(m->vm, KVM_IRQFD, &irqfd);
	if (write(fd, &one, sizeof(one)) < 0)
		failures++;
	if (n & 2) {
		irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
		ioctl(m->vm, KVM_IRQFD, &irqfd);
		io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
		ioctl(m->vm, KVM_IOEVENTFD, &io);
	}
	close(fd);
	if (n % 64 == 63)
		usleep(1000);
}

/* ---- death ----------------------------------------------------------------------------------------------------- */

static void child_that_dies(unsigned n)
{
	struct machine m;
	pthread_t thread;

	if (!machine_create(&m))
		_exit(1);
	pthread_create(&thread, NULL, run_for_ever, &m);
	if (n & 1)
		pthread_create(&thread, NULL, run_for_ever, &m); /* waits for the vCPU that the other one has */
	usleep(1000 * (n % 20));
	if (n & 2)
		munmap(m.memory, PAGES * PAGE);
	if (n & 4)
		raise(SIGKILL);
	_exit(0);
}

static void deaths(void)
{
	unsigned n, killed = 0;

	for (n = 0; n < 40; n++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			child_that_dies(n);
		status = wait_for(pid);
		killed += WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
	}
	result(killed == n, "deaths", "a child failed");
}

/* A guest whose memory somebody else has to provide, and nobody does: KVM_RUN must die with its process. */
static void userfault_child(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct machine m;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (!machine_create(&m) || fd < 0 || ioctl(fd, UFFDIO_API, &api))
		_exit(1);
	range.range.start = (unsigned long)m.memory + PAGE;
	range.range.len = (PAGES - 1) * PAGE;
	if (ioctl(fd, UFFDIO_REGISTER, &range))
		_exit(2);
	ioctl(m.vcpu, KVM_RUN, 0);
	_exit(3);
}

static void userfault_death(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		userfault_child();
	sleep_until(now() + 0.5);
	kill(pid, SIGKILL);
	status = wait_for(pid);
	errno = status;
	result(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "userfault-death", "it did not wait for its memory");
}

/* The same, and the memory does come: the guest goes on with it. */
static void *provide(void *arg)
{
	int fd = *(int *)arg;
	unsigned char *page = aligned_alloc(PAGE, PAGE);
	struct uffd_msg message;

	memset(page, 0, PAGE);
	while (read(fd, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_copy copy = { .dst = message.arg.pagefault.address & ~(PAGE - 1), .src = (unsigned long)page,
					    .len = PAGE };

		ioctl(fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

static void userfault_served(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct machine m;
	pthread_t runner, provider;
	unsigned touched = 0;

	if (!machine_create(&m) || fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
		result(false, "userfault", "no userfaultfd");
		return;
	}
	range.range.start = (unsigned long)m.memory + PAGE;
	range.range.len = (PAGES - 1) * PAGE;
	ioctl(fd, UFFDIO_REGISTER, &range);
	pthread_create(&provider, NULL, provide, &fd);
	pthread_create(&runner, NULL, run_for_ever, &m);
	for (unsigned patience = 0; patience < 200 && touched < PAGES - 1; patience++) {
		usleep(50000);
		touched = 0;
		for (unsigned i = 1; i < PAGES; i++)
			touched += *(volatile unsigned short *)(m.memory + i * PAGE) != 0;
	}
	m.run->immediate_exit = 2;
	pthread_kill(runner, SIGALRM);
	pthread_join(runner, NULL);
	pthread_cancel(provider);
	pthread_join(provider, NULL);
	close(fd);
	machine_destroy(&m);
	result(touched == PAGES - 1, "userfault", "pages were not reached");
}

/* ---- staying ----------------------------------------------------------------------------------------------------- */

/* A guest in 32-bit code with page tables: addresses from 4 MiB on all lead to the same page. */
enum { CODE = 0, STARTED = 0x1000, DIRECTORY = 0x2000, LOW_TABLE = 0x3000, HIGH_TABLE = 0x4000, HIGH_PAGE = 0x5000, GDT = 0x6000 };

static bool set_up_endless(struct machine *m, const unsigned char *code, size_t size, unsigned high)
{
	struct kvm_segment flat = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1 };
	unsigned *directory = (unsigned *)(m->memory + DIRECTORY), *low = (unsigned *)(m->memory + LOW_TABLE);
	unsigned *table = (unsigned *)(m->memory + HIGH_TABLE);
	struct kvm_sregs s;

	memcpy(m->memory + CODE, code, size);
	for (unsigned i = 0; i < 1024; i++) {
		directory[i] = (i ? HIGH_TABLE : LOW_TABLE) | 3;
		low[i] = i << 12 | 3;
		table[i] = high | 3;
	}
	if (ioctl(m->vcpu, KVM_GET_SREGS, &s))
		return false;
	s.cs = flat;
	flat.type = 3;
	s.ds = s.es = s.ss = flat;
	memcpy(m->memory + GDT + 16, "\xff\xff\x00\x00\x00\x93\xcf\x00", 8); /* selector 16: flat data */
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.cr3 = DIRECTORY;
	s.cr0 = 0x80000011;
	return !ioctl(m->vcpu, KVM_SET_SREGS, &s);
}

/* A write to the PIC for each byte of 4 GiB, and to the LAPIC for each word. */
static const unsigned char repeat_outs[] = {
	0xff, 0x05, 0x00, 0x10, 0x00, 0x00,	/* inc dword [STARTED] */
	0xb9, 0xff, 0xff, 0xff, 0xff,		/* mov ecx, -1 */
	0xbe, 0x00, 0x00, 0x40, 0x00,		/* mov esi, 0x400000 */
	0x66, 0xba, 0x21, 0x00,			/* mov dx, 0x21 */
	0xf3, 0x6e,				/* rep outsb */
	0xeb, 0xe8,				/* jmp CODE */
};
static const unsigned char repeat_stos[] = {
	0xff, 0x05, 0x00, 0x10, 0x00, 0x00,	/* inc dword [STARTED] */
	0xb9, 0x00, 0x00, 0x00, 0x3f,		/* mov ecx, 0x3f000000 */
	0xbf, 0x00, 0x00, 0x40, 0x00,		/* mov edi, 0x400000 */
	0x31, 0xc0,				/* xor eax, eax */
	0xf3, 0xab,				/* rep stosd */
	0xeb, 0xea,				/* jmp CODE */
};

static bool stay_repeating(struct machine *m, const unsigned char *code, size_t size, unsigned high)
{
	return machine_create_with(m, m->memory, true, 0) && set_up_endless(m, code, size, high);
}

static bool stay_outs(struct machine *m)
{
	return stay_repeating(m, repeat_outs, sizeof(repeat_outs), HIGH_PAGE);
}

static bool stay_stos(struct machine *m)
{
	return stay_repeating(m, repeat_stos, sizeof(repeat_stos), 0xfee00000);
}

/* Nothing but MOV SS, AX from its first instruction on, with an NMI that waits for the end of its shadow. */
static bool stay_shadowed(struct machine *m)
{
	struct kvm_regs regs = { .rflags = 2, .rip = 0x400000, .rax = 16 };
	struct kvm_vcpu_events events;

	if (!stay_repeating(m, NULL, 0, HIGH_PAGE))
		return false;
	m->memory[STARTED] = 1;
	for (unsigned i = 0; i < PAGE; i += 2)
		memcpy(m->memory + HIGH_PAGE + i, "\x8e\xd0", 2);
	if (ioctl(m->vcpu, KVM_SET_REGS, &regs) || ioctl(m->vcpu, KVM_GET_VCPU_EVENTS, &events))
		return false;
	events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	events.nmi.pending = 1;
	events.interrupt.shadow = KVM_X86_SHADOW_INT_MOV_SS;
	return !ioctl(m->vcpu, KVM_SET_VCPU_EVENTS, &events);
}

/* A guest that only computes, under a signal mask without any signal. */
static bool stay_masked(struct machine *m)
{
	struct { struct kvm_signal_mask head; unsigned char set[8]; } mask = { .head.len = 8 };

	memset(mask.set, 0xff, sizeof(mask.set));
	if (!stay_repeating(m, (const unsigned char *)"\xff\x05\x00\x10\x00\x00\xeb\xf8", 8, HIGH_PAGE))
		return false;
	return !ioctl(m->vcpu, KVM_SET_SIGNAL_MASK, &mask);
}

/* Once the guest runs, its process is killed, and that has to be the end of it. */
static void dies(const char *name, bool (*stay)(struct machine *m))
{
	struct machine m = { .memory = guest_memory(MAP_SHARED) };
	unsigned *started = (unsigned *)(m.memory + STARTED), patience;
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		alarm_every(0);
		while (stay(&m) && ioctl(m.vcpu, KVM_RUN, 0) == -1)
			;
		_exit(m.run ? (int)m.run->exit_reason : 255);
	}
	for (patience = 0; patience < 1000 && !__atomic_load_n(started, __ATOMIC_RELAXED); patience++)
		usleep(10000);
	sleep_until(now() + 0.2);
	kill(pid, SIGKILL);
	for (patience = 0; patience < 6000 && waitpid(pid, &status, WNOHANG) != pid; patience++)
		usleep(10000);
	errno = status;
	result(*started && patience < 6000 && WIFSIGNALED(status), name, "it did not die of the signal");
	munmap(m.memory, PAGES * PAGE);
}

/* Polling before a sleep ends with a signal: each time that it lasts as long as it may (4 s) it has not been looked for. */
static void poll_ends(void)
{
	struct kvm_enable_cap poll = { .cap = KVM_CAP_HALT_POLL, .args = { ~0u } };
	struct machine m;
	double least = 10;

	if (!machine_create_with(&m, guest_memory(MAP_PRIVATE), true, 0) || ioctl(m.vm, KVM_ENABLE_CAP, &poll)) {
		result(false, "poll-ends", "no machine");
		return;
	}
	memcpy(m.memory, "\xfa\xf4", 2); /* cli; hlt */
	for (unsigned i = 0; i < 3; i++) {
		double start = now();

		ioctl(m.vcpu, KVM_RUN, 0);
		least = now() - start < least ? now() - start : least;
	}
	machine_destroy(&m);
	result(least < 4, "poll-ends", "signals came in vain");
}

/* ---- what goes while it is used ---------------------------------------------------------------------------------- */

/* The rings' pages go with the vCPU's descriptor; the VM stays. */
static void ring_goes(void)
{
	struct machine m;
	struct kvm_dirty_gfn *ring;

	if (!machine_create_with(&m, guest_memory(MAP_PRIVATE), false, 65536) ||
	    set_slot(&m, KVM_MEM_LOG_DIRTY_PAGES, PAGES * PAGE, m.memory)) {
		result(false, "ring-goes", "no machine");
		return;
	}
	ring = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * (long)PAGE);
	for (unsigned i = 0; i < 100 && !(ring[0].flags & KVM_DIRTY_GFN_F_DIRTY); i++)
		ioctl(m.vcpu, KVM_RUN, 0); /* until the alarm */
	result(ring[0].flags & KVM_DIRTY_GFN_F_DIRTY, "ring-fills", "nothing was written");
	ring[0].flags = KVM_DIRTY_GFN_F_RESET;
	munmap(ring, 65536);
	munmap(m.run, 0x3000);
	close(m.vcpu);
	result(ioctl(m.vm, KVM_RESET_DIRTY_RINGS, 0) >= 0, "ring-goes", "KVM_RESET_DIRTY_RINGS");
	close(m.vm);
	close(m.kvm);
	munmap(m.memory, PAGES * PAGE);
}

static void *change_routes(void *arg)
{
	struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry entry[64]; } routes = { .head.nr = 64 };
	struct machine *m = arg;

	for (unsigned i = 0; i < 64; i++)
		routes.entry[i] = (struct kvm_irq_routing_entry){ .gsi = i, .type = KVM_IRQ_ROUTING_HV_SINT };
	for (double end = now() + SECONDS; now() < end;) {
		if (ioctl(m->vm, KVM_SET_GSI_ROUTING, &routes))
			failures++;
	}
	return NULL;
}

static void routes_go(void)
{
	pthread_t thread[3];
	struct machine m;

	if (!machine_create_with(&m, guest_memory(MAP_PRIVATE), true, 0)) {
		result(false, "routes", "no machine");
		return;
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, change_routes, &m);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	machine_destroy(&m);
	result(true, "routes", "");
}

/* ---- descriptors ------------------------------------------------------------------------------------------------ */

static void descriptors_end(void)
{
	unsigned made = 0, refused = 0;

	for (rlim_t limit = 3; limit < 24; limit++) {
		struct rlimit old, few;
		struct machine m;

		getrlimit(RLIMIT_NOFILE, &old);
		few = old;
		few.rlim_cur = limit;
		setrlimit(RLIMIT_NOFILE, &few);
		if (machine_create(&m))
			made++;
		else
			refused++;
		machine_destroy(&m);
		setrlimit(RLIMIT_NOFILE, &old);
	}
	result(made && refused, "descriptors-end", "never or always");
}

/* ---- many threads, every ioctl ------------------------------------------------------------------------------------ */

static volatile bool enough;

static void *call_everything(void *arg)
{
	struct machine *m = arg;
	unsigned seed = (unsigned)(unsigned long)&seed;
	unsigned char *junk = aligned_alloc(PAGE, 4 * PAGE);

	while (!enough) {
		int fds[] = { m->kvm, m->vm, m->vcpu };
		unsigned nr = (unsigned)rand_r(&seed) % 0xf0, size = (unsigned)rand_r(&seed) % 512, how = (unsigned)rand_r(&seed);
		unsigned long arguments[] = { 0, 1, (unsigned long)junk, (unsigned long)junk + 4 * PAGE - 8, ~0ul, 1ul << 47,
					      0xffffffff81000000ul };

		for (unsigned i = 0; i < 4 * PAGE; i += 64)
			memset(junk + i, rand_r(&seed) % 3 ? 0 : rand_r(&seed), 64);
		if (nr == (KVM_RUN & 0xff))
			m->run->immediate_exit = 1;
		ioctl(fds[how % 3], _IOC(how >> 2 & 3, KVMIO, nr, how & 16 ? size : 0), arguments[how / 64 % 7]);
	}
	return NULL;
}

/* Known requests with junk: the numbers must be right to get beyond the switch. */
static const unsigned long requests[] = {
	KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_GET_DIRTY_LOG, KVM_IRQ_LINE,
	KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI, KVM_IRQFD, KVM_IOEVENTFD, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_MSRS, KVM_GET_MSRS,
	KVM_SET_CPUID2, KVM_GET_CPUID2, KVM_SET_LAPIC, KVM_GET_LAPIC, KVM_SET_FPU, KVM_SET_XSAVE, KVM_SET_XCRS,
	KVM_SET_VCPU_EVENTS, KVM_SET_DEBUGREGS, KVM_SET_MP_STATE, KVM_SET_GUEST_DEBUG, KVM_TRANSLATE, KVM_NMI, KVM_SMI,
	KVM_INTERRUPT, KVM_SET_TSC_KHZ, KVM_ENABLE_CAP, KVM_SET_CLOCK, KVM_GET_STATS_FD, KVM_SET_IRQCHIP, KVM_SET_PIT2,
	KVM_X86_SET_MSR_FILTER, KVM_CLEAR_DIRTY_LOG, KVM_SET_BOOT_CPU_ID, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR,
	KVM_GET_SUPPORTED_CPUID, KVM_GET_MSR_INDEX_LIST, KVM_SET_SIGNAL_MASK, KVM_REGISTER_COALESCED_MMIO,
	KVM_UNREGISTER_COALESCED_MMIO, KVM_SET_SREGS2, KVM_RUN, KVM_TPR_ACCESS_REPORTING, KVM_SET_VAPIC_ADDR, KVM_X86_SETUP_MCE,
	KVM_X86_SET_MCE, KVM_KVMCLOCK_CTRL, KVM_CREATE_VM, KVM_CHECK_EXTENSION,
};

static void *call_known(void *arg)
{
	struct machine *m = arg;
	unsigned seed = (unsigned)(unsigned long)&seed ^ 77;
	unsigned *junk = aligned_alloc(PAGE, 4 * PAGE);

	while (!enough) {
		int fds[] = { m->kvm, m->vm, m->vcpu };
		unsigned long request = requests[(unsigned)rand_r(&seed) % (sizeof(requests) / sizeof(requests[0]))];
		long r;

		for (unsigned i = 0; i < PAGE; i++)
			junk[i] = rand_r(&seed) % 4 ? (unsigned)rand_r(&seed) % 64 : (unsigned)rand_r(&seed) << (rand_r(&seed) % 32);
		m->run->immediate_exit = 1;
		r = ioctl(fds[(unsigned)rand_r(&seed) % 3], request, rand_r(&seed) % 8 ? (unsigned long)junk : (unsigned)rand_r(&seed) % 8);
		if ((request == KVM_CREATE_VM || request == KVM_GET_STATS_FD || request == KVM_CREATE_VCPU) && r > 2)
			close((int)r);
	}
	return NULL;
}

static void threads(const char *name, void *(*body)(void *arg))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		pthread_t thread[4];
		struct machine m;

		if (!machine_create(&m))
			_exit(1);
		for (unsigned i = 0; i < 4; i++)
			pthread_create(&thread[i], NULL, body, &m);
		sleep(SECONDS * 3);
		enough = true;
		for (unsigned i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		_exit(0);
	}
	status = wait_for(pid);
	errno = status;
	result(status == 0, name, "the process died");
}

int main(void)
{
	alarm_every(20000);
	while_running("unmap", change_unmap);
	while_running("protect", change_protect);
	while_running("madvise", change_discard);
	while_running("move", change_move);
	while_running("fork", change_fork);
	while_running("slots", change_slots);
	while_running("dirty-log", change_dirty_log);
	while_running("state", change_state);
	while_running("eventfds", change_eventfds);
	deaths();
	userfault_death();
	userfault_served();
	dies("masked-death", stay_masked);
	dies("outs-death", stay_outs);
	dies("stos-death", stay_stos);
	dies("shadow-death", stay_shadowed);
	poll_ends();
	ring_goes();
	routes_go();
	descriptors_end();
	threads("numbers", call_everything);
	threads("requests", call_known);
	return failures ? 1 : 0;
}
