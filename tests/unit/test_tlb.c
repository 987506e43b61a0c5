// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces by number (PCID), global and large pages, and the paging structures that walks remember: a page that is
 * mapped to something else is seen to be so after everything that the architecture says invalidates it (SDM vol. 3
 * sections 4.10.2 to 4.10.4). What a TLB may keep is never looked at. Each look at the page reads data and calls code there.
 * By the interpreter and by the translator.
 *
 * There is no genuine KVM to compare with: no oracle processor at hand has PCIDs.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/guest.h"

#define RAM_SIZE 0x600000u
#define TABLES 0x1000u	/* PML4, PDPT, PD, PT of the first 2 MiB, PT of the window */
#define TABLES_2 0x8000u /* the same with another window */
#define GDT 0xe000u
#define CODE 0x10000u
#define DESCRIPTOR 0x20000u
#define STACK 0x30000u
#define RESULTS 0x31000u
#define ROOM_A 0x200000u
#define ROOM_B 0x400000u
#define WINDOW "0x40000000" /* maps A or B by a page, or 2 MiB of either */

/* ---- the machine ---------------------------------------------------------------------------------- */

static void make_tables(unsigned base)
{
	word(base, (base + 0x1000) | 7);
	word(base + 0x1000, (base + 0x2000) | 7);
	word(base + 0x1000 + 8, (base + 0x4000) | 7); /* 1 GiB: the window */
	word(base + 0x2000, (TABLES + 0x3000) | 7);
	for (unsigned i = 0; i < 512; i++)
		word(TABLES + 0x3000 + 8 * i, i * 0x1000ull | 7);
	word(base + 0x4000, (base + 0x5000) | 7);
}

/* Each page of a room has the room's letter at 0x100, and code that returns it. */
static void make_room(unsigned room, uint8_t letter)
{
	const uint8_t code[] = { 0xb8, letter, 0, 0, 0, 0xc3 }; /* mov $letter, %eax; ret */

	for (unsigned page = room; page < room + 0x200000; page += 0x1000) {
		memcpy(ram + page, code, sizeof(code));
		word(page + 0x100, letter);
	}
}

static void set_system(void)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1, .l = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1 };
	struct kvm_sregs s;

	api(vcpu, KVM_GET_SREGS, &s);
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT;
	s.cr0 = 0x80010033;
	s.cr3 = TABLES;
	s.cr4 = 0x206a0; /* PAE, PGE, PCIDE */
	s.efer = 0x500;
	api(vcpu, KVM_SET_SREGS, &s);
}

static int setup(void **state)
{
	struct kvm_userspace_memory_region r = { .memory_size = RAM_SIZE };

	setenv("ANYKVM_SOFT", *state, 1);
	open_vm();
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	r.userspace_addr = (uint64_t)ram;
	api(vm, KVM_SET_USER_MEMORY_REGION, &r);
	open_vcpu();
	make_tables(TABLES);
	make_tables(TABLES_2);
	make_room(ROOM_A, 'a');
	make_room(ROOM_B, 'b');
	set_system();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_vm();
	munmap(ram, RAM_SIZE);
	return 0;
}

/* ---- routines ------------------------------------------------------------------------------------- */

#define PD "0x5000"	/* of the window in TABLES */
#define PT "0x6000"
#define A "0x200000"
#define B "0x400000"
#define MAP(room) "movq $" room " + 7, " PT "\n"
#define MAP_GLOBAL(room) "movq $" room " + 0x107, " PT "\n"
#define MAP_LARGE(room) "movq $" room " + 0x87, " PD "\n"
#define MAP_TABLE "movq $" PT " + 7, " PD "\n"
/* The window's letter by data and by code, offset bytes into it, stored in order. */
#define LOOK_AT(offset) \
	"mov " WINDOW " + 0x100 + " offset ", %al\nstosb\n" \
	"mov $" WINDOW " + " offset ", %eax\ncall *%rax\nstosb\n"
#define LOOK LOOK_AT("0")
#define LOAD(pcid) "mov $0x1000 + " pcid ", %eax\nmov %rax, %cr3\n"
#define LOAD_KEEP(pcid) "mov $0x1000 + " pcid ", %eax\nbts $63, %rax\nmov %rax, %cr3\n"
#define INVPCID(type, pcid) \
	"movq $" pcid ", 0x20000\nmovq $" WINDOW ", 0x20008\nmov $" type ", %eax\ninvpcid 0x20000, %rax\n"
#define INVLPG(offset) "invlpg " WINDOW " + " offset "\n"
#define TOGGLE_CR4(bit) "mov %cr4, %rax\nbtc $" bit ", %rax\nmov %rax, %cr4\nbtc $" bit ", %rax\nmov %rax, %cr4\n"

/* Runs it six times over, so that it is translated, and compares all letters. */
static void run(const uint8_t *code, const uint8_t *end, const char *expected)
{
	size_t n = strlen(expected);
	struct kvm_regs regs;

	memcpy(ram + CODE, code, (size_t)(end - code));
	memset(ram + RESULTS, 0, 0x1000);
	memset(&regs, 0, sizeof(regs));
	regs.rip = CODE;
	regs.rsp = STACK;
	regs.rflags = 2;
	regs.rdi = RESULTS;
	regs.rbp = 6;
	api(vcpu, KVM_SET_REGS, &regs);
	api(vcpu, KVM_RUN, NULL);
	assert_int_equal(shared->exit_reason, KVM_EXIT_HLT);
	for (unsigned round = 0; round < 6; round++) {
		for (size_t i = 0; i < 2 * n; i++)
			assert_int_equal(ram[RESULTS + round * 2 * n + i], expected[i / 2]);
	}
}

#define TLB_TEST(name, text, expected) \
	extern const uint8_t code_##name[], code_##name##_end[]; \
	__asm__(".pushsection .rodata\ncode_" #name ":\ncld\n1:\n" text \
		"dec %ebp\njnz 1b\nhlt\ncode_" #name "_end:\n.popsection"); \
	static void name(void **state) \
	{ \
		(void)state; \
		run(code_##name, code_##name##_end, expected); \
	}

#define A_IN_PCID_1 LOAD("1") MAP(A) LOOK LOAD_KEEP("2") MAP(B)
#define GLOBAL_A_IN_PCID_1 LOAD("1") "invlpg " WINDOW "\n" MAP_GLOBAL(A) LOOK LOAD_KEEP("2") MAP_GLOBAL(B)

TLB_TEST(load_flushes, A_IN_PCID_1 LOAD("1") LOOK, "ab")
TLB_TEST(load_flushes_current, LOAD("1") MAP(A) LOOK MAP(B) LOAD("1") LOOK, "ab")
TLB_TEST(another_space_is_not_seen, LOAD("3") LOAD("1") MAP(A) LOOK MAP(B) LOAD("3") LOOK MAP(A) LOAD("1") LOOK, "aba")
TLB_TEST(invpcid_address_of_other, A_IN_PCID_1 INVPCID("0", "1") LOAD_KEEP("1") LOOK, "ab")
TLB_TEST(invpcid_context_of_other, A_IN_PCID_1 INVPCID("1", "1") LOAD_KEEP("1") LOOK, "ab")
TLB_TEST(invpcid_all_of_other, A_IN_PCID_1 INVPCID("2", "0") LOAD_KEEP("1") LOOK, "ab")
TLB_TEST(invpcid_all_but_global_of_other, A_IN_PCID_1 INVPCID("3", "0") LOAD_KEEP("1") LOOK, "ab")
TLB_TEST(invpcid_address_of_current, LOAD("1") MAP(A) LOOK MAP(B) INVPCID("0", "1") LOOK, "ab")
TLB_TEST(invpcid_context_of_current, LOAD("1") MAP(A) LOOK MAP(B) INVPCID("1", "1") LOOK, "ab")
TLB_TEST(invpcid_all_of_current, LOAD("1") MAP(A) LOOK MAP(B) INVPCID("2", "0") LOOK, "ab")
TLB_TEST(invpcid_all_but_global_of_current, LOAD("1") MAP(A) LOOK MAP(B) INVPCID("3", "0") LOOK, "ab")
TLB_TEST(invlpg_of_current, LOAD("1") MAP(A) LOOK MAP(B) INVLPG("0xfff") LOOK, "ab")
TLB_TEST(invpcid_all_takes_global, GLOBAL_A_IN_PCID_1 INVPCID("2", "0") LOOK LOAD_KEEP("1") LOOK, "abb")
TLB_TEST(invlpg_takes_global, GLOBAL_A_IN_PCID_1 INVLPG("0") LOOK LOAD_KEEP("1") LOOK, "abb")
TLB_TEST(pge_takes_global, GLOBAL_A_IN_PCID_1 TOGGLE_CR4("7") LOOK LOAD_KEEP("1") LOOK, "abb")
TLB_TEST(pcide_off_takes_all, LOAD("0") MAP(A) LOOK LOAD("1") LOOK MAP(B) LOAD_KEEP("0") TOGGLE_CR4("17") LOOK
	 LOAD_KEEP("1") LOOK, "aabb")

/* The first of 20 is looked at again when there has been no room for it. */
TLB_TEST(more_than_fit, "mov $20, %ecx\n2:" MAP(A) "lea 0x1000(%rcx), %rax\nmov %rax, %cr3\n"
	 "push %rcx\n" LOOK "pop %rcx\n" MAP(B) "dec %ecx\njnz 2b\n" LOAD("20") LOOK LOAD("1") LOOK,
	 "aaaaaaaaaaaaaaaaaaaabb")
/* The same with loads that keep: whatever they find, it is of their own tables. */
TLB_TEST(two_tables_in_turn, MAP(A) "movq $" B " + 7, 0xd000\n" LOAD("1") LOOK "mov $0x8002, %eax\nmov %rax, %cr3\n" LOOK
	 LOAD_KEEP("1") LOOK "mov $0x8002, %eax\nbts $63, %rax\nmov %rax, %cr3\n" LOOK, "abab")

#define LARGE_A MAP_LARGE(A) INVLPG("0") LOOK LOOK_AT("0x1ff000")
TLB_TEST(large_invlpg_elsewhere, LARGE_A MAP_LARGE(B) INVLPG("0x5000") LOOK LOOK_AT("0x1ff000"), "aabb")
TLB_TEST(large_to_pages, LARGE_A MAP_TABLE MAP(B) INVLPG("0x1000") LOOK, "aab")
TLB_TEST(pages_to_large, MAP_TABLE MAP(A) INVLPG("0") LOOK MAP_LARGE(B) INVLPG("0") LOOK MAP_TABLE INVLPG("0"), "ab")
TLB_TEST(large_by_load, LARGE_A MAP_LARGE(B) LOAD("0") LOOK LOOK_AT("0x1ff000"), "aabb")
TLB_TEST(another_page_table, MAP_TABLE MAP(A) INVLPG("0") LOOK "movq $" B " + 7, 0xd000\nmovq $0xd007, " PD "\n"
	 INVLPG("0") LOOK MAP_TABLE INVLPG("0") LOOK, "aba")
/* A page that was not there may be used at once, and one may be written that became writable (section 4.10.4.3). */
TLB_TEST(rights_grow, MAP_TABLE "movq $0, " PT "\n" INVLPG("0") MAP(A) LOOK "movq $" PT " + 5, " PD "\n" INVLPG("0") LOOK
	 MAP_TABLE "orb $0, " WINDOW " + 0x100\n" LOOK, "aaa")

#define BOTH(name) \
	{ #name "-interp", name, setup, teardown, "interp" }, { #name "-jit", name, setup, teardown, "jit" }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(load_flushes), BOTH(load_flushes_current), BOTH(another_space_is_not_seen),
		BOTH(invpcid_address_of_other), BOTH(invpcid_context_of_other), BOTH(invpcid_all_of_other),
		BOTH(invpcid_all_but_global_of_other), BOTH(invpcid_address_of_current), BOTH(invpcid_context_of_current),
		BOTH(invpcid_all_of_current), BOTH(invpcid_all_but_global_of_current), BOTH(invlpg_of_current),
		BOTH(invpcid_all_takes_global), BOTH(invlpg_takes_global), BOTH(pge_takes_global), BOTH(pcide_off_takes_all),
		BOTH(more_than_fit), BOTH(two_tables_in_turn), BOTH(large_invlpg_elsewhere), BOTH(large_to_pages),
		BOTH(pages_to_large), BOTH(large_by_load), BOTH(another_page_table), BOTH(rights_grow),
	};

	alarm(600);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
