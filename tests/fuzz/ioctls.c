// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random ioctls in random order on random descriptors of a few machines, by one thread or several, with
 * random structures (often read back from a GET first, then changed in places), wild pointers, memory slots
 * over two guarded regions, runs of random code, and closes in any order. With several threads every thread
 * uses all descriptors.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define MAX_FDS 12
#define REGION (16 * 4096ul)
#define STEPS 60

enum kind { SYSTEM, VM, VCPU, OTHER, NR_KINDS };

struct handle {
	int fd;
	enum kind kind;
	struct kvm_run *run;
	bool counted;
};

struct arena {
	struct handle handle[MAX_FDS];
	unsigned n;
	struct ram ram[2];
	pthread_mutex_t lock;
	size_t run_size;
	u64 seed;
};

static const unsigned long requests[NR_KINDS][64] = {
	[SYSTEM] = { KVM_GET_API_VERSION, KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE,
		     KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID, KVM_GET_MSR_INDEX_LIST,
		     KVM_GET_MSR_FEATURE_INDEX_LIST, KVM_GET_MSRS, KVM_X86_GET_MCE_CAP_SUPPORTED,
		     KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR, KVM_CREATE_VCPU, KVM_RUN, 0x1234 },
	[VM] = { KVM_SET_TSS_ADDR,
		 KVM_SET_IDENTITY_MAP_ADDR,
		 KVM_CREATE_IRQCHIP,
		 KVM_CREATE_PIT2,
		 KVM_GET_IRQCHIP,
		 KVM_SET_IRQCHIP,
		 KVM_IRQ_LINE,
		 KVM_IRQ_LINE_STATUS,
		 KVM_GET_PIT2,
		 KVM_SET_PIT2,
		 KVM_SET_GSI_ROUTING,
		 KVM_IRQFD,
		 KVM_IOEVENTFD,
		 KVM_SIGNAL_MSI,
		 KVM_GET_CLOCK,
		 KVM_SET_CLOCK,
		 KVM_ENABLE_CAP,
		 KVM_GET_DIRTY_LOG,
		 KVM_CLEAR_DIRTY_LOG,
		 KVM_REGISTER_COALESCED_MMIO,
		 KVM_UNREGISTER_COALESCED_MMIO,
		 KVM_CHECK_EXTENSION,
		 KVM_SET_BOOT_CPU_ID,
		 KVM_REINJECT_CONTROL,
		 KVM_X86_SET_MSR_FILTER,
		 KVM_CREATE_DEVICE,
		 KVM_GET_STATS_FD,
		 KVM_SET_NR_MMU_PAGES,
		 KVM_CREATE_PIT,
		 KVM_SET_TSC_KHZ,
		 KVM_GET_TSC_KHZ,
		 KVM_SET_PMU_EVENT_FILTER,
		 KVM_HYPERV_EVENTFD,
		 KVM_RESET_DIRTY_RINGS,
		 KVM_XEN_HVM_CONFIG,
		 KVM_XEN_HVM_SET_ATTR,
		 KVM_XEN_HVM_GET_ATTR,
		 KVM_XEN_HVM_EVTCHN_SEND,
		 KVM_MEMORY_ENCRYPT_OP,
		 KVM_RUN,
		 0x4321 },
	[VCPU] = { KVM_GET_REGS,
		   KVM_SET_REGS,
		   KVM_GET_SREGS,
		   KVM_SET_SREGS,
		   KVM_GET_SREGS2,
		   KVM_SET_SREGS2,
		   KVM_GET_FPU,
		   KVM_SET_FPU,
		   KVM_GET_XSAVE,
		   KVM_SET_XSAVE,
		   KVM_GET_XCRS,
		   KVM_SET_XCRS,
		   KVM_GET_MSRS,
		   KVM_SET_MSRS,
		   KVM_SET_CPUID2,
		   KVM_GET_CPUID2,
		   KVM_SET_CPUID,
		   KVM_GET_LAPIC,
		   KVM_SET_LAPIC,
		   KVM_INTERRUPT,
		   KVM_NMI,
		   KVM_SMI,
		   KVM_GET_MP_STATE,
		   KVM_SET_MP_STATE,
		   KVM_GET_VCPU_EVENTS,
		   KVM_SET_VCPU_EVENTS,
		   KVM_GET_DEBUGREGS,
		   KVM_SET_DEBUGREGS,
		   KVM_SET_GUEST_DEBUG,
		   KVM_TRANSLATE,
		   KVM_SET_SIGNAL_MASK,
		   KVM_TPR_ACCESS_REPORTING,
		   KVM_SET_VAPIC_ADDR,
		   KVM_X86_SETUP_MCE,
		   KVM_X86_SET_MCE,
		   KVM_ENABLE_CAP,
		   KVM_SET_TSC_KHZ,
		   KVM_GET_TSC_KHZ,
		   KVM_KVMCLOCK_CTRL,
		   KVM_GET_XSAVE2,
		   KVM_GET_STATS_FD,
		   KVM_GET_DEVICE_ATTR,
		   KVM_SET_DEVICE_ATTR,
		   KVM_GET_NESTED_STATE,
		   KVM_SET_NESTED_STATE,
		   KVM_GET_SUPPORTED_HV_CPUID,
		   KVM_XEN_VCPU_SET_ATTR,
		   KVM_XEN_VCPU_GET_ATTR,
		   KVM_CREATE_VM,
		   0x7777 },
	[OTHER] = { KVM_RUN, KVM_GET_REGS, KVM_SET_DEVICE_ATTR, KVM_GET_API_VERSION },
};

/* A SET with its GET: the structure is read, changed in places, and written. */
static const unsigned long pairs[][2] = {
	{ KVM_GET_REGS, KVM_SET_REGS },           { KVM_GET_SREGS, KVM_SET_SREGS },
	{ KVM_GET_SREGS2, KVM_SET_SREGS2 },       { KVM_GET_FPU, KVM_SET_FPU },
	{ KVM_GET_XSAVE, KVM_SET_XSAVE },         { KVM_GET_XCRS, KVM_SET_XCRS },
	{ KVM_GET_LAPIC, KVM_SET_LAPIC },         { KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS },
	{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS }, { KVM_GET_MP_STATE, KVM_SET_MP_STATE },
};

/* A signal to the thread that calls, again and again: KVM_RUN ends by one that comes while it is inside. */
static void kick_every(long ns)
{
	static __thread timer_t timer;
	static __thread bool have;
	struct itimerspec when = { { 0, ns }, { 0, ns } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

	event._sigev_un._tid = gettid();
	if (!have && timer_create(CLOCK_MONOTONIC, &event, &timer))
		fuzz_fail("timer_create: %s", strerror(errno));
	have = true;
	timer_settime(timer, 0, &when, NULL);
}

static void kicked(int signal_number)
{
	(void)signal_number;
}

/* ---- descriptors --------------------------------------------------------------------------------- */

static void add(struct arena *a, int fd, enum kind kind)
{
	struct handle h = { .fd = fd, .kind = kind };

	if (fd < 0)
		return;
	if (kind == VCPU) {
		h.run = mmap(NULL, a->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (h.run == MAP_FAILED)
			h.run = NULL;
	}
	pthread_mutex_lock(&a->lock);
	if (a->n < MAX_FDS) {
		a->handle[a->n++] = h;
		fd = -1;
	}
	pthread_mutex_unlock(&a->lock);
	if (fd < 0)
		return;
	if (h.run)
		munmap(h.run, a->run_size);
	close(fd);
}

static struct handle pick(struct arena *a, struct rng *r, enum kind kind)
{
	struct handle h = { .fd = -1 };

	pthread_mutex_lock(&a->lock);
	for (unsigned try = 0; try < 8 && a->n; try++) {
		h = a->handle[below(r, a->n)];
		if (h.kind == kind)
			break;
	}
	pthread_mutex_unlock(&a->lock);
	return h;
}

/* The mapping stays: others may be using it; it goes with the arena. */
static void drop(struct arena *a, struct rng *r)
{
	pthread_mutex_lock(&a->lock);
	if (a->n > 3) {
		unsigned i = below(r, a->n);

		close(a->handle[i].fd);
		if (a->handle[i].run)
			munmap(a->handle[i].run, a->run_size);
		a->handle[i] = a->handle[--a->n];
	}
	pthread_mutex_unlock(&a->lock);
}

/* ---- steps --------------------------------------------------------------------------------------- */

static void change(struct rng *r, u8 *p, unsigned size)
{
	for (unsigned n = below(r, 6); n; n--) {
		u64 v = odd_number(r);
		unsigned width = 1u << below(r, 4), at = below(r, size - 8);

		memcpy(p + at, &v, width);
	}
}

/* Pointers inside the structures must not lead to our own memory: those that could carry one stay small or
 * wild. */
static void random_struct(struct rng *r, u8 *p, unsigned size)
{
	memset(p, 0, size);
	for (unsigned i = 0; i < size; i += 4) {
		u32 v = chance(r, 3) ? (u32)odd_number(r) : below(r, 16);

		memcpy(p + i, &v, 4);
	}
}

static void *argument(struct rng *r, u8 *buffer, unsigned size)
{
	switch (below(r, 8)) {
	case 0:
		return NULL;
	case 1:
		return (void *)(uintptr_t)below(r, 4096);
	case 2:
		return (void *)0xffff800000000000ul;
	}
	random_struct(r, buffer, size);
	return buffer;
}

static void any_ioctl(struct arena *a, struct rng *r)
{
	static __thread u8 buffer[32768] __attribute__((aligned(64)));
	struct handle h = pick(a, r, below(r, 3));
	unsigned kind = chance(r, 10) ? below(r, NR_KINDS) : h.kind, n = 0;
	unsigned long request;
	void *arg;

	while (n < 64 && requests[kind][n])
		n++;
	if (h.fd < 0 || !n)
		return;
	request = requests[kind][below(r, n)];
	arg = argument(r, buffer, chance(r, 3) ? 64 : 4096);
	if (request == KVM_SET_SIGNAL_MASK) /* SIGALRM stays free, or KVM_RUN would not end */
		((struct kvm_signal_mask *)buffer)->sigset[(SIGALRM - 1) / 8] &= (u8)~(1u << (SIGALRM - 1) % 8);
	ioctl(h.fd, request, arg);
}

static void any_pair(struct arena *a, struct rng *r)
{
	static __thread u8 buffer[16384] __attribute__((aligned(64)));
	struct handle h = pick(a, r, VCPU);
	unsigned i = below(r, sizeof(pairs) / sizeof(pairs[0]));

	if (h.fd < 0 || ioctl(h.fd, pairs[i][0], buffer))
		return;
	change(r, buffer, chance(r, 2) ? 64 : 400);
	ioctl(h.fd, pairs[i][1], buffer);
}

static void any_slot(struct arena *a, struct rng *r)
{
	struct handle h = pick(a, r, VM);
	struct ram *m = &a->ram[below(r, 2)];
	u64 size = chance(r, 4) ? 0 : (u64)below(r, 17) << 12, offset = (u64)below(r, 16) << 12;
	struct kvm_userspace_memory_region region = { below(r, 4), below(r, 5), (u64)below(r, 40) << 12, size,
						      0 };

	if (offset + size > REGION)
		offset = REGION - size;
	region.userspace_addr = (u64)(uintptr_t)(m->base + offset);
	if (chance(r, 10))
		region.guest_phys_addr = odd_number(r);
	if (chance(r, 10))
		region.flags = (u32)odd_number(r);
	if (h.fd >= 0)
		ioctl(h.fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void any_run(struct arena *a, struct rng *r)
{
	struct handle h = pick(a, r, VCPU);
	struct kvm_regs regs = {
		.rip = below(r, 40) << 12, .rflags = 2, .rsp = below(r, 0x20000), .rbx = below(r, 0x20000)
	};
	struct kvm_sregs s;

	if (h.fd < 0 || h.kind != VCPU || !h.run)
		return;
	if (chance(r, 2) && !ioctl(h.fd, KVM_GET_SREGS, &s)) {
		s.cs.base = 0;
		s.cs.selector = 0;
		ioctl(h.fd, KVM_SET_SREGS, &s);
		ioctl(h.fd, KVM_SET_REGS, &regs);
	}
	ioctl(h.fd, KVM_RUN, 0);
}

static void any_descriptor(struct arena *a, struct rng *r)
{
	struct handle h = pick(a, r, below(r, 3));
	struct pollfd p = { .fd = h.fd, .events = POLLIN };
	int fd;

	switch (below(r, 6)) {
	case 0:
		add(a, dup(h.fd), h.kind == VCPU ? OTHER : h.kind);
		break;
	case 1:
		poll(&p, 1, 0);
		break;
	case 2:
		fcntl(h.fd, F_SETFD, FD_CLOEXEC);
		break;
	case 3:
		drop(a, r);
		break;
	case 4:
		fd = ioctl(h.fd, h.kind == SYSTEM ? KVM_CREATE_VM : KVM_CREATE_VCPU,
			   (unsigned long)below(r, 4));
		add(a, fd, h.kind == SYSTEM ? VM : VCPU);
		break;
	default:
		if (h.kind == VM)
			add(a, ioctl(h.fd, KVM_CREATE_VCPU, (unsigned long)below(r, 6)), VCPU);
	}
}

static void any_event(struct arena *a, struct rng *r)
{
	struct handle h = pick(a, r, VM);
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd irqfd = { .fd = (u32)fd, .gsi = below(r, 30), .flags = below(r, 3) };
	struct kvm_ioeventfd io = {
		.addr = below(r, 0x200), .len = below(r, 9), .fd = fd, .flags = below(r, 8)
	};
	u64 one = 1;

	ioctl(h.fd, chance(r, 2) ? KVM_IRQFD : KVM_IOEVENTFD, chance(r, 2) ? (void *)&irqfd : (void *)&io);
	if (write(fd, &one, 8) < 0)
		return;
	close(fd);
}

/* Xen's shared pages in the slots, and events that go there by every way. */
static void any_xen(struct arena *a, struct rng *r)
{
	struct handle vm = pick(a, r, VM), vcpu = pick(a, r, VCPU);
	u64 gpa = (u64)below(r, 20) << 12;
	struct kvm_xen_hvm_config config = { .flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
					     .msr = 0x40000000 };
	struct kvm_xen_hvm_attr attr = { .type = (u16)below(r, 6) };
	struct kvm_xen_vcpu_attr own = { .type = (u16)below(r, 10), .u.gpa = chance(r, 8) ? ~0ull : gpa + below(r, 64) * 64 };
	struct kvm_irq_routing_xen_evtchn event = { below(r, 70), below(r, 3), KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL };

	if (attr.type == KVM_XEN_ATTR_TYPE_SHARED_INFO)
		attr.u.shared_info.gfn = chance(r, 4) ? ~0ull : gpa >> 12;
	else if (attr.type == KVM_XEN_ATTR_TYPE_EVTCHN)
		random_struct(r, (u8 *)&attr.u, 24);
	else
		attr.u.vector = (u8)next(r);
	if (own.type == KVM_XEN_VCPU_ATTR_TYPE_TIMER) {
		own.u.timer.port = below(r, 70);
		own.u.timer.priority = event.priority;
		own.u.timer.expires_ns = next(r) >> below(r, 64);
	}
	ioctl(vm.fd, KVM_XEN_HVM_CONFIG, &config);
	ioctl(vm.fd, KVM_XEN_HVM_SET_ATTR, &attr);
	ioctl(vcpu.fd, KVM_XEN_VCPU_SET_ATTR, &own);
	for (unsigned i = 0; i < 4; i++) {
		event.port = below(r, 70);
		ioctl(vm.fd, KVM_XEN_HVM_EVTCHN_SEND, &event);
	}
}

static void steps(struct arena *a, struct rng *r)
{
	kick_every(2000000);
	for (unsigned i = 0; i < STEPS; i++) {
		switch (below(r, 11)) {
		case 10:
			any_xen(a, r);
			break;
		case 0 ... 2:
			any_ioctl(a, r);
			break;
		case 3 ... 4:
			any_pair(a, r);
			break;
		case 5:
			any_slot(a, r);
			break;
		case 6 ... 7:
			any_run(a, r);
			break;
		case 8:
			any_descriptor(a, r);
			break;
		default:
			any_event(a, r);
		}
	}
	kick_every(0);
}

/* ---- arenas -------------------------------------------------------------------------------------- */

struct worker {
	struct arena *arena;
	unsigned number;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct rng rng = { w->arena->seed + w->number * 0x9e3779b97f4a7c15ull + 1 };

	steps(w->arena, &rng);
	return NULL;
}

static void fill_memory(struct arena *a, struct rng *r)
{
	for (unsigned i = 0; i < 2; i++) {
		ram_create(&a->ram[i], REGION);
		for (size_t at = 0; at < REGION; at += 8) {
			u64 v = next(r);

			memcpy(a->ram[i].base + at, &v, 8);
		}
	}
}

static void open_arena(struct arena *a, struct rng *r)
{
	int kvm = kvm_open(), vm = ioctl(kvm, KVM_CREATE_VM, 0);

	pthread_mutex_init(&a->lock, NULL);
	a->run_size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	add(a, kvm, SYSTEM);
	add(a, vm, VM);
	if (chance(r, 2))
		ioctl(vm, KVM_CREATE_IRQCHIP, 0);
	add(a, ioctl(vm, KVM_CREATE_VCPU, 0), VCPU);
	fill_memory(a, r);
}

static void close_arena(struct arena *a, struct rng *r)
{
	while (a->n) {
		unsigned i = below(r, a->n);

		if (a->handle[i].run)
			munmap(a->handle[i].run, a->run_size);
		close(a->handle[i].fd);
		a->handle[i] = a->handle[--a->n];
	}
	for (unsigned i = 0; i < 2; i++) {
		ram_check(&a->ram[i], "end");
		ram_destroy(&a->ram[i]);
	}
}

static void one_arena(u64 seed, unsigned threads)
{
	struct rng rng = { seed };
	struct arena a = { .seed = seed };
	struct worker workers[8];

	open_arena(&a, &rng);
	for (unsigned i = 0; i < threads; i++)
		workers[i] = (struct worker){ .arena = &a, .number = i };
	for (unsigned i = 1; i < threads; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	work(&workers[0]);
	for (unsigned i = 1; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	close_arena(&a, &rng);
}

void fuzz_ioctls(u64 seed, u64 cases, unsigned threads)
{
	struct sigaction action = { .sa_handler = kicked };
	u64 end = fuzz_case + cases;

	sigaction(SIGALRM, &action, NULL);
	for (; fuzz_case < end; fuzz_case++)
		one_arena((seed + 1) * 0x9e3779b97f4a7c15ull ^ (fuzz_case + 1) * 0xd1342543de82ef95ull,
			  threads);
}
