// SPDX-License-Identifier: GPL-2.0-only
/* The rings that KVM shares with userspace: coalesced MMIO, dirty pages. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/api.h"

#define DATA 0x100000ul
#define DATA_PAGES 1024u

static long enable(int fd, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap e = { .cap = cap, .args = { arg } };

	return ask(fd, KVM_ENABLE_CAP, &e);
}

static long run(int vcpu)
{
	long r;

	do
		r = ask(vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	return r;
}

/* ---- coalesced MMIO and PIO: one ring, in every vCPU's mapping ------------------------------------- */

static struct kvm_coalesced_mmio_ring *ring_of(struct kvm_run *run)
{
	return (void *)((uint8_t *)run + 2 * 4096);
}

static void tell_ring(const char *name, struct kvm_coalesced_mmio_ring *ring)
{
	printf("%s: first=%u last=%u", name, ring->first, ring->last);
	for (unsigned i = ring->first; i != ring->last; i++)
		printf(" %llx:%x/%u/%u", ring->coalesced_mmio[i].phys_addr, ring->coalesced_mmio[i].data[0],
		       ring->coalesced_mmio[i].len, ring->coalesced_mmio[i].pio);
	printf("\n");
}

static void coalesced(void)
{
	/* mov %al, 0x200000; mov %eax, 0x200010; out %al, $0x80; hlt */
	static const uint8_t code[] = { 0xa2, 0, 0, 0x20, 0, 0xa3, 0x10, 0, 0x20, 0, 0xe6, 0x80, 0xf4 };
	struct kvm_coalesced_mmio_zone mmio = { .addr = 0x200000, .size = 0x100 };
	struct kvm_coalesced_mmio_zone pio = { .addr = 0x80, .size = 1, .pio = 1 };
	struct kvm_regs regs = { .rflags = 2, .rax = 0x11 };
	struct machine m = machine_open(false, true);
	int other = (int)ask(m.vm, KVM_CREATE_VCPU, (void *)1);
	struct kvm_run *second = mmap(NULL, m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	struct kvm_coalesced_mmio_ring *alone = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 2 * 4096);

	machine_ram(&m);
	tell("rings/zone", ask(m.vm, KVM_REGISTER_COALESCED_MMIO, &mmio));
	tell("rings/zone-pio", ask(m.vm, KVM_REGISTER_COALESCED_MMIO, &pio));
	machine_code32(&m, other, code, sizeof(code), &regs);
	run(other);
	printf("rings/second-exit: %u\n", second->exit_reason);
	tell_ring("rings/by-first", ring_of(m.run));
	tell_ring("rings/by-second", ring_of(second));
	ring_of(m.run)->first = 1;
	tell_ring("rings/page-alone", alone);
	regs.rax = 0x22;
	machine_code32(&m, m.vcpu, code, sizeof(code), &regs);
	run(m.vcpu);
	close(m.vcpu);
	tell_ring("rings/first-closed", ring_of(second));
	munmap(alone, 4096);
	munmap(second, m.run_size);
	close(other);
	machine_close(&m);
}

/* ---- the dirty ring ---------------------------------------------------------------------------------- */

struct dirty {
	struct machine m;
	struct kvm_dirty_gfn *ring;
	unsigned entries, next, pages;
	uint8_t seen[DATA_PAGES]; /* a page may be told of twice, when its write is begun anew */
};

static struct dirty dirty_open(uint32_t cap, unsigned bytes)
{
	struct dirty d = { .m = machine_open(false, false), .entries = bytes / sizeof(struct kvm_dirty_gfn) };
	struct kvm_userspace_memory_region region = { .slot = 5, .flags = KVM_MEM_LOG_DIRTY_PAGES, .guest_phys_addr = DATA,
						      .memory_size = DATA_PAGES * 4096 };

	tell("rings/enable", enable(d.m.vm, cap, bytes));
	tell("rings/enable-again", enable(d.m.vm, cap, bytes));
	d.m.vcpu = (int)ask(d.m.vm, KVM_CREATE_VCPU, NULL);
	d.m.run = mmap(NULL, d.m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, d.m.vcpu, 0);
	d.ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d.m.vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
	machine_ram(&d.m);
	region.userspace_addr = (uintptr_t)mmap(NULL, DATA_PAGES * 4096, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ask(d.m.vm, KVM_SET_USER_MEMORY_REGION, &region);
	return d;
}

/* From DATA on, a byte into each of n pages. */
static void write_pages(struct dirty *d, unsigned n)
{
	/* 1: mov %al, (%ebx); add $0x1000, %ebx; loop 1b; hlt */
	static const uint8_t code[] = { 0x88, 0x03, 0x81, 0xc3, 0, 0x10, 0, 0, 0xe2, 0xf6, 0xf4 };
	struct kvm_regs regs = { .rflags = 2, .rbx = DATA, .rcx = n };

	machine_code32(&d->m, d->m.vcpu, code, sizeof(code), &regs);
}

static void go(struct dirty *d, const char *name)
{
	long r = run(d->m.vcpu);

	printf("%s: %s exit=%u\n", name, answer(r), d->m.run->exit_reason);
}

/* Takes what there is; says how many, of which slot, and the first and last page. */
static unsigned harvest(struct dirty *d, const char *name)
{
	unsigned n = 0, slot = 0, first = 0, last = 0;

	for (;; n++) {
		struct kvm_dirty_gfn *e = &d->ring[d->next % d->entries];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		slot = e->slot;
		last = (unsigned)e->offset;
		first = n ? first : last;
		d->pages += last < DATA_PAGES && !d->seen[last];
		d->seen[last % DATA_PAGES] = 1;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		d->next++;
	}
	if (name)
		printf("%s: %u slot=%u %u..%u\n", name, n, slot, first, last);
	return n;
}

static void reset(struct dirty *d, const char *name)
{
	printf("%s: %ld\n", name, ask(d->m.vm, KVM_RESET_DIRTY_RINGS, NULL));
}

static void map_ring(const struct dirty *d, const char *name, unsigned page, unsigned pages, int prot, int flags)
{
	void *p = mmap(NULL, pages * 4096ul, prot, flags, d->m.vcpu, page * 4096l);

	tell(name, p == MAP_FAILED ? -errno : 0);
	if (p != MAP_FAILED)
		munmap(p, pages * 4096ul);
}

/* It is looked whether the first or the last page of a mapping is the ring's, which has one page here. */
static void ring_mappings(const struct dirty *d)
{
	const unsigned at = KVM_DIRTY_LOG_PAGE_OFFSET;

	map_ring(d, "rings/map-readonly", at, 1, PROT_READ, MAP_SHARED);
	map_ring(d, "rings/map-private", at, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	map_ring(d, "rings/map-private-readonly", at, 1, PROT_READ, MAP_PRIVATE);
	map_ring(d, "rings/map-code", at, 1, PROT_READ | PROT_EXEC, MAP_SHARED);
	map_ring(d, "rings/map-private-before", 0, at, PROT_READ, MAP_PRIVATE);
	map_ring(d, "rings/map-private-through", 0, at + 1, PROT_READ, MAP_PRIVATE);
	map_ring(d, "rings/map-private-around", at - 1, 3, PROT_READ, MAP_PRIVATE);
	map_ring(d, "rings/map-private-behind", at + 1, 1, PROT_READ, MAP_PRIVATE);
}

static void dirty_ring(uint32_t cap)
{
	struct dirty d = dirty_open(cap, 4096);
	struct kvm_dirty_log log = { .slot = 5, .dirty_bitmap = malloc(DATA_PAGES / 8) };
	unsigned full = 0;

	ring_mappings(&d);
	write_pages(&d, 3);
	go(&d, "rings/three");
	harvest(&d, "rings/harvest");
	reset(&d, "rings/reset");
	reset(&d, "rings/reset-again");
	write_pages(&d, 4);
	go(&d, "rings/four");
	harvest(&d, "rings/harvest-four");
	write_pages(&d, 4);
	go(&d, "rings/without-reset");
	harvest(&d, "rings/nothing-new");
	reset(&d, "rings/reset-four");
	tell("rings/get-log", ask(d.m.vm, KVM_GET_DIRTY_LOG, &log));
	d.pages = 0;
	memset(d.seen, 0, sizeof(d.seen));
	write_pages(&d, DATA_PAGES);
	for (;;) {
		run(d.m.vcpu);
		full += d.m.run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
		harvest(&d, NULL);
		if (d.m.run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			break;
		go(&d, "rings/still-full");
		ask(d.m.vm, KVM_RESET_DIRTY_RINGS, NULL);
	}
	printf("rings/all: %u full=%u exit=%u\n", d.pages, full, d.m.run->exit_reason);
	free(log.dirty_bitmap);
	machine_close(&d.m);
}

static void sizes(void)
{
	static const uint64_t size[] = { 0, 1, 2048, 4096, 4097, 8192, 1 << 20, 1 << 21, 1ull << 32, (1ull << 32) + 4096 };

	for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		struct machine m = machine_open(false, false);

		printf("rings/size-%llx: %s\n", (unsigned long long)size[i],
		       answer(enable(m.vm, KVM_CAP_DIRTY_LOG_RING, size[i])));
		machine_close(&m);
		m = machine_open(false, true);
		tell("rings/size-late", enable(m.vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, size[i]));
		machine_close(&m);
	}
}

void test_rings(void)
{
	coalesced();
	sizes();
	dirty_ring(KVM_CAP_DIRTY_LOG_RING);
	dirty_ring(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
}
