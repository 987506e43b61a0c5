/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests whose user code has memory that may be mapped further (test_window.c, test_direct.c, test_shootdown.c): 64-bit, with
 * Linux's selectors. Behind <cmocka.h>.
 */
#ifndef ANYKVM_TESTS_UNIT_USER_GUEST_H
#define ANYKVM_TESTS_UNIT_USER_GUEST_H

#include <cpuid.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "tests/unit/counter.h"
#include "tests/unit/guest.h"

#define RAM_SIZE 0x800000u
/* The supervisor's pages that all have. */
#define TABLES 0x1000u
#define TSS 0xd000u
#define GDT 0xe000u
#define IDT 0xf000u

static struct sigaction engines_handler;

static uint8_t *map_ram(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t *p;

	assert_int_equal(ftruncate(fd, RAM_SIZE), 0);
	p = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(anykvm_alias_memory(p, RAM_SIZE, fd), 0);
	close(fd);
	return p;
}

static void unmap_ram(uint8_t *p)
{
	anykvm_alias_memory(p, 0, -1);
	munmap(p, RAM_SIZE);
}

static void set_slot(uint8_t *memory, unsigned flags)
{
	struct kvm_userspace_memory_region r = { .memory_size = memory ? RAM_SIZE : 0, .flags = flags };

	r.userspace_addr = (uint64_t)memory;
	api(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

/* Before cmocka's first test: it puts handlers of its own there for each. */
static void keep_engines_handler(void)
{
	anykvm_close(anykvm_open());
	sigaction(SIGSEGV, NULL, &engines_handler);
}

/* One vCPU, with everything translated at once; ANYKVM_WINDOWS and ANYKVM_DIRECT as given. */
static void open_guest(const char *windows, const char *direct, bool irqchip)
{
	setenv("ANYKVM_SOFT", "jit", 1);
	setenv("ANYKVM_WINDOWS", windows, 1);
	setenv("ANYKVM_DIRECT", direct, 1);
	open_vm();
	ram = map_ram();
	set_slot(ram, 0);
	if (irqchip)
		api(vm, KVM_CREATE_IRQCHIP, NULL);
	open_vcpu();
}

static void close_guest(void)
{
	close_vm();
	unmap_ram(ram);
}

static void use_engines_handler(void)
{
	sigaction(SIGSEGV, &engines_handler, NULL);
}

static void run_guest(uint32_t exit_reason)
{
	use_engines_handler();
	api(vcpu, KVM_RUN, NULL);
	assert_int_equal(shared->exit_reason, exit_reason);
}

static void gate(unsigned vector, uint64_t handler, bool user)
{
	word(IDT + 16 * vector, (handler & 0xffff) | 8 << 16 | (user ? 0xeeull : 0x8eull) << 40 | handler >> 16 << 48);
}

static void make_descriptors(unsigned stack)
{
	word(GDT + 8, 0x00af9b000000ffff);
	word(GDT + 16, 0x00cf93000000ffff);
	word(GDT + 32, 0x00cffb000000ffff);
	word(GDT + 40, 0x00cff3000000ffff);
	word(GDT + 48, 0x00affb000000ffff);
	word(TSS + 4, stack);
	word(TSS + 96, 104ull << 48);
}

/* All of the host's XCR0, the other control registers as given, code and stack segments for that mode. */
static void set_system(int fd, bool user, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	struct kvm_segment flat = { .limit = ~0u, .type = 3, .present = 1, .dpl = user ? 3 : 0, .s = 1, .g = 1 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct kvm_sregs s;
	unsigned high;

	__cpuid_count(13, 0, xcrs.xcrs[0].value, high, high, high);
	api(fd, KVM_GET_SREGS, &s);
	s.cs = s.ss = flat;
	s.cs.selector = user ? 0x33 : 8;
	s.cs.type = 11;
	s.cs.l = 1;
	s.ss.selector = user ? 0x2b : 16;
	s.ss.db = 1;
	s.ds = s.es = s.fs = s.gs = (struct kvm_segment){ .unusable = 1 };
	s.gdt.base = GDT;
	s.gdt.limit = 55;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 103, .selector = 56, .type = 11, .present = 1 };
	s.cr0 = cr0;
	s.cr2 = 0;
	s.cr3 = TABLES;
	s.cr4 = cr4;
	s.efer = efer;
	api(fd, KVM_SET_SREGS, &s);
	api(fd, KVM_SET_XCRS, &xcrs);
}

static inline void set_msr(int fd, unsigned index, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} m = { .header.nmsrs = 1, .entry = { .index = index, .data = value } };

	assert_int_equal(anykvm_ioctl(fd, KVM_SET_MSRS, (unsigned long)&m), 1);
}

/* A counter of the vCPU's. */
static uint64_t counter(const char *name)
{
	return counter_of(vcpu, name);
}

#endif
