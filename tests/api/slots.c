// SPDX-License-Identifier: GPL-2.0-only
/* Memory slots and the dirty log. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/api/api.h"
static struct machine m;
static uint8_t *memory;

static void slot(const char *name, unsigned id, unsigned flags, uint64_t gpa, uint64_t size, uint64_t hva)
{
	struct kvm_userspace_memory_region region = { id, flags, gpa, size, hva };

	tell(name, ask(m.vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static void log_of(const char *name, unsigned id, unsigned long request)
{
	uint64_t bits[64];
	struct kvm_dirty_log get = { .slot = id, .dirty_bitmap = bits };
	struct kvm_clear_dirty_log clear = { .slot = id, .num_pages = 16, .dirty_bitmap = bits };
	long r;

	memset(bits, 0xff, sizeof(bits));
	r = ask(m.vm, request, request == KVM_GET_DIRTY_LOG ? (void *)&get : (void *)&clear);
	printf("%s: %s", name, answer(r));
	if (r >= 0 && request == KVM_GET_DIRTY_LOG)
		printf(" %llx", (unsigned long long)bits[0]);
	printf("\n");
}

/* mov %al, (page << 12); hlt, in real mode with DS = page << 8 */
static void write_page(unsigned page)
{
	static const uint8_t code[] = { 0xb8, 0, 0, 0x8e, 0xd8, 0xa2, 0, 0, 0xf4 };
	struct kvm_sregs s;
	struct kvm_regs regs = { .rflags = 2 };
	static unsigned runs;
	long r;

	memcpy(memory, code, sizeof(code));
	memory[2] = (uint8_t)page;
	ask(m.vcpu, KVM_GET_SREGS, &s);
	s.cs.base = s.cs.selector = 0;
	ask(m.vcpu, KVM_SET_SREGS, &s);
	ask(m.vcpu, KVM_SET_REGS, &regs);
	while ((r = ask(m.vcpu, KVM_RUN, NULL)) == -EINTR)
		;
	printf("slots/run%u: %s exit=%d\n", ++runs, answer(r), m.run->exit_reason);
}

static void shapes(void)
{
	uint64_t hva = (uintptr_t)memory;

	slot("slots/create", 0, 0, 0, 0x10000, hva);
	slot("slots/again-same", 0, 0, 0, 0x10000, hva);
	slot("slots/resize", 0, 0, 0, 0x8000, hva);
	slot("slots/other-hva", 0, 0, 0, 0x10000, hva + 0x1000);
	slot("slots/overlap", 1, 0, 0x8000, 0x10000, hva + 0x10000);
	slot("slots/overlap-inside", 1, 0, 0x4000, 0x1000, hva + 0x10000);
	slot("slots/adjacent", 1, 0, 0x10000, 0x1000, hva + 0x10000);
	slot("slots/move", 1, 0, 0x20000, 0x1000, hva + 0x10000);
	slot("slots/move-overlap", 1, 0, 0x8000, 0x1000, hva + 0x10000);
	slot("slots/readonly-flip", 1, KVM_MEM_READONLY, 0x20000, 0x1000, hva + 0x10000);
	slot("slots/log-on", 1, KVM_MEM_LOG_DIRTY_PAGES, 0x20000, 0x1000, hva + 0x10000);
	slot("slots/readonly", 2, KVM_MEM_READONLY, 0x30000, 0x1000, hva + 0x11000);
	slot("slots/readonly-log", 2, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES, 0x30000, 0x1000,
	     hva + 0x11000);
	slot("slots/unknown-flag", 3, 4, 0x40000, 0x1000, hva + 0x12000);
	slot("slots/unaligned-gpa", 3, 0, 0x40800, 0x1000, hva + 0x12000);
	slot("slots/unaligned-size", 3, 0, 0x40000, 0x800, hva + 0x12000);
	slot("slots/unaligned-hva", 3, 0, 0x40000, 0x1000, hva + 0x12800);
	slot("slots/kernel-hva", 3, 0, 0x40000, 0x1000, 0xffff800000000000);
	slot("slots/unmapped-hva", 3, 0, 0x40000, 0x1000, 0x10000);
	slot("slots/gpa-wraps", 4, 0, ~0xfffull, 0x2000, hva + 0x13000);
	slot("slots/gpa-last", 4, 0, ~0xfffull, 0x1000, hva + 0x13000);
	slot("slots/huge", 5, 0, 1ull << 40, 1ull << 44, hva);
	slot("slots/too-huge", 5, 0, 0, 1ull << 63, 0);
	slot("slots/id-last", 32763, 0, 0x50000, 0x1000, hva + 0x14000);
	slot("slots/id-64k", 0x10000, 0, 0x60000, 0x1000, hva + 0x14000);
	slot("slots/id-1-64k", 0x1ffff, 0, 0x60000, 0x1000, hva + 0x14000);
	slot("slots/id-as2", 0x20000, 0, 0x60000, 0x1000, hva + 0x14000);
	slot("slots/id-top", 0xffff, 0, 0x60000, 0x1000, hva + 0x14000);
	slot("slots/delete", 2, 0, 0, 0, 0);
	slot("slots/delete-again", 2, 0, 0, 0, 0);
	slot("slots/delete-bad-flag", 1, 8, 0, 0, 0);
}

static void dirty(void)
{
	uint64_t hva = (uintptr_t)memory;

	log_of("slots/log-absent-slot", 9, KVM_GET_DIRTY_LOG);
	log_of("slots/log-off", 0, KVM_GET_DIRTY_LOG);
	log_of("slots/clear-without-cap", 0, KVM_CLEAR_DIRTY_LOG);
	slot("slots/log-start", 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 0x10000, hva);
	log_of("slots/log-fresh", 0, KVM_GET_DIRTY_LOG);
	write_page(3);
	write_page(5);
	log_of("slots/log-two", 0, KVM_GET_DIRTY_LOG);
	log_of("slots/log-empty", 0, KVM_GET_DIRTY_LOG);
	write_page(3);
	log_of("slots/log-again", 0, KVM_GET_DIRTY_LOG);
	slot("slots/log-stop", 0, 0, 0, 0x10000, hva);
	log_of("slots/log-stopped", 0, KVM_GET_DIRTY_LOG);
}

static const char *named(const char *what, uint64_t mode)
{
	static char name[64];

	snprintf(name, sizeof(name), "slots/%s-mode%d", what, (int)mode);
	return name;
}

/* The names of a mode's lines carry its number. */
static void manual(uint64_t mode)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { mode } };
	uint64_t hva = (uintptr_t)memory;

	tell(named("manual", mode), ask(m.vm, KVM_ENABLE_CAP, &cap));
	slot(named("manual-start", mode), 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 0x10000, hva);
	log_of(named("manual-fresh", mode), 0, KVM_GET_DIRTY_LOG);
	write_page(3);
	log_of(named("manual-get", mode), 0, KVM_GET_DIRTY_LOG);
	log_of(named("manual-get-again", mode), 0, KVM_GET_DIRTY_LOG);
	log_of(named("manual-clear", mode), 0, KVM_CLEAR_DIRTY_LOG);
	log_of(named("manual-cleared", mode), 0, KVM_GET_DIRTY_LOG);
	write_page(4);
	log_of(named("manual-after", mode), 0, KVM_GET_DIRTY_LOG);
}

void test_slots(void)
{
	memory = mmap(NULL, 0x100000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m = machine_open(false, true);
	shapes();
	dirty();
	machine_close(&m);
	for (uint64_t mode = 0; mode < 5; mode++) {
		m = machine_open(false, true);
		manual(mode);
		machine_close(&m);
	}
	munmap(memory, 0x100000);
}
