// SPDX-License-Identifier: GPL-2.0-only
/*
 * Windows (engine/soft/window.c) and direct execution (direct.c): user code that reaches memory through the one or in
 * the other sees what the architecture says that it sees after each way of changing or invalidating a translation,
 * and after the VMM has changed slots or logs dirty pages. The guest is a supervisor that changes page tables and
 * lets user code look: each look leaves a letter. "f" is #PF, "g" #GP.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/user_guest.h"

#define EDGE_TABLES 0x9000u /* PD and PT below 4 GiB; PDPT's next entry: PD and PT above */
#define CODE 0x10000u
#define COMMON 0x14000u
#define STACK 0x30000u
#define RESULTS 0x31000u
#define ROOM_A 0x200000u
#define ROOM_B 0x400000u
#define ROOM_EDGE 0x600000u
#define PAGE "0x40000000" /* maps A or B by a page, or 2 MiB of either */

#define CR4 0x706a0 /* PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, PCIDE, OSXSAVE */

static bool direct; /* whether user code is to run directly */

/* ---- the machine ---------------------------------------------------------------------------------- */

static void make_tables(void)
{
	/* PML4, PDPT, PD, PT of the first 2 MiB, PD and PT of the page that is looked at */
	word(TABLES, 0x2007);
	word(TABLES + 0x1000, 0x3007);
	word(TABLES + 0x1000 + 8 * 1, 0x5007);
	word(TABLES + 0x1000 + 8 * 3, EDGE_TABLES | 7);
	word(TABLES + 0x1000 + 8 * 4, (EDGE_TABLES + 0x2000) | 7);
	word(TABLES + 0x2000, 0x4007);
	for (unsigned i = 1; i < RAM_SIZE >> 21; i++)
		word(TABLES + 0x2000 + 8 * i, (uint64_t)i << 21 | 0x87);
	for (unsigned i = 0; i < 512; i++)
		word(TABLES + 0x3000 + 8 * i, i * 0x1000ull | 7);
	word(TABLES + 0x4000, 0x6007);
	word(EDGE_TABLES + 8 * 511, (EDGE_TABLES + 0x1000) | 7);
	word(EDGE_TABLES + 0x1000 + 8 * 511, ROOM_EDGE | 7);
	word(EDGE_TABLES + 0x2000, (EDGE_TABLES + 0x3000) | 7);
	word(EDGE_TABLES + 0x3000, (ROOM_EDGE + 0x5000) | 7);
}

/* Each page of a room has the room's letter at 0x100, and code that returns it. */
static void make_room(unsigned room, uint8_t letter)
{
	const uint8_t code[] = { 0xb0, letter, 0xc3 }; /* mov $letter, %al; ret */

	for (unsigned page = room; page < room + 0x200000; page += 0x1000) {
		memcpy(ram + page, code, sizeof(code));
		word(page + 0x100, letter);
	}
}

/*
 * LOOK's other half. User code at r13 runs with r12 as its operand; whatever ends it comes back to r15 with a letter
 * in al. Handlers are 16 bytes each.
 */
extern const uint8_t common[], common_end[];
__asm__(".pushsection .rodata\n"
	"common:\n"
	"mov $'f', %al; jmp 1f; .balign 16\n"
	"mov $'g', %al; jmp 1f; .balign 16\n"
	"1: mov $0x2f000, %esp; jmp *%r15; .balign 16\n"
	/* 0x30: to user code */
	"mov $0x30000, %esp; pushq $0x2b; pushq $0x28000; pushq $0x202; pushq $0x33; push %r13; iretq; .balign 16\n"
	".org common + 0x1000\n" /* user code: each at 32 bytes */
	"mov (%r12), %al; int $0x81; .balign 32\n"
	"movb %bl, (%r12); mov $'w', %al; int $0x81; .balign 32\n"
	"mov (%r12), %rax; int $0x81; .balign 32\n"
	"lock incb (%r12); mov (%r12), %al; int $0x81; .balign 32\n"
	"mov 0x7fffffff(%r12), %al; int $0x81; .balign 32\n"
	"mov -0x80000000(%r12), %al; int $0x81; .balign 32\n"
	"mov %r12, %rsp; push %rbx; mov (%rsp), %al; int $0x81; .balign 32\n"
	"xor %ebx, %ebx\n" /* 7: with the other processor, in turn */
	"1: inc %ebx; mov %bl, (%r12); mov %ebx, 0x32000; 2: pause; cmp %ebx, 0x32008; jne 2b\n"
	"cmp $200, %ebx; jne 1b; int $0x81\n"
	".org common + 0x2000\n" /* 128: in a page that does not run directly */
	"xor %ecx, %ecx; xor %edx, %edx; mov %ebx, %eax; wrpkru; mov (%r12), %al; int $0x81\n"
	"common_end:\n"
	".popsection");

static void set_control(int fd)
{
	set_system(fd, false, 0x80010033, CR4, 0x501);
}

static int setup(void **state)
{
	(void)state;
	open_guest(direct ? "auto" : "force", direct ? "force" : "off", false);
	make_tables();
	make_room(ROOM_A, 'a');
	make_room(ROOM_B, 'b');
	make_room(ROOM_EDGE, 'e');
	memcpy(ram + COMMON, common, (size_t)(common_end - common));
	make_descriptors(STACK - 0x1000);
	gate(13, COMMON + 0x10, false);
	gate(14, COMMON, false);
	gate(0x81, COMMON + 0x20, true);
	set_control(vcpu);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_guest();
	return 0;
}

/* ---- routines ------------------------------------------------------------------------------------- */

#define PD "0x5000"
#define PT "0x6000"
#define A "0x200000"
#define B "0x400000"
#define MAP_AS(room, bits) "movq $" room " + " bits ", " PT "\n"
#define MAP(room) MAP_AS(room, "7")
#define MAP_LARGE(room) "movq $" room " + 0x87, " PD "\n"
#define MAP_TABLE "movq $" PT " + 7, " PD "\n"
#define LOAD(pcid) "mov $0x1000 + " pcid ", %eax\nmov %rax, %cr3\n"
#define LOAD_KEEP(pcid) "mov $0x1000 + " pcid ", %eax\nbts $63, %rax\nmov %rax, %cr3\n"
#define INVPCID(type, pcid) \
	"movq $" pcid ", 0x20000\nmovq $" PAGE ", 0x20008\nmov $" type ", %eax\ninvpcid 0x20000, %rax\n"
#define INVLPG "invlpg " PAGE "\n"
#define TOGGLE_CR4(bit) "mov %cr4, %rax\nbtc $" bit ", %rax\nmov %rax, %cr4\nbtc $" bit ", %rax\nmov %rax, %cr4\n"
#define USER(number, operand) \
	"mov $0x15000 + 32 * " #number ", %r13d\nmov $" operand ", %r12\nlea 9f(%rip), %r15\n" \
	"mov $0x14030, %eax\njmp *%rax\n9: "
#define READ USER(0, PAGE " + 0x100") "stosb\n"
#define READ_AT(where) USER(0, where) "stosb\n"
#define WRITE(letter) "mov $" letter ", %bl\n" USER(1, PAGE " + 0x100") "stosb\n"
#define CALL "mov $" PAGE ", %eax\ncall *%rax\nstosb\n"
/* The letter if the page table's entry has the bit, else "-". */
#define HAS(bit, letter) "mov $'-', %eax\nbtl $" bit ", " PT "\nmov $" letter ", %cl\ncmovc %ecx, %eax\nstosb\n"
#define RESTORE "movb $'a', 0x200100\nmovb $'b', 0x400100\nmovb $'a', 0x200001\n"

static void run(const uint8_t *code, const uint8_t *end, const char *expected)
{
	size_t n = strlen(expected);
	struct kvm_regs regs;

	memcpy(ram + CODE, code, (size_t)(end - code));
	memset(ram + RESULTS, 0, 0x1000);
	memset(&regs, 0, sizeof(regs));
	regs.rip = CODE;
	regs.rsp = STACK - 0x1000;
	regs.rflags = 2;
	regs.rdi = RESULTS;
	regs.rbp = 6;
	api(vcpu, KVM_SET_REGS, &regs);
	run_guest(KVM_EXIT_HLT);
	for (unsigned round = 0; round < 6; round++)
		assert_memory_equal(ram + RESULTS + round * n, expected, n);
}

#define CODE_OF(name, text) \
	extern const uint8_t code_##name[], code_##name##_end[]; \
	__asm__(".pushsection .rodata\ncode_" #name ":\ncld\n1:\n" text \
		"dec %ebp\njnz 1b\nhlt\ncode_" #name "_end:\n.popsection");
#define WINDOW_TEST(name, text, expected) \
	CODE_OF(name, RESTORE text) \
	static void name(void **state) \
	{ \
		(void)state; \
		run(code_##name, code_##name##_end, expected); \
		assert_int_not_equal(counter("window_pages"), 0); \
		assert_true(direct == (counter("direct_runs") != 0)); \
	}

/* Each starts with A in the page, looked at. */
#define A_SEEN MAP_TABLE MAP(A) LOAD("0") READ

WINDOW_TEST(invlpg, A_SEEN MAP(B) INVLPG READ, "ab")
WINDOW_TEST(load_flushes, A_SEEN MAP(B) LOAD("0") READ, "ab")
WINDOW_TEST(load_of_other_keeps, LOAD("1") A_SEEN LOAD_KEEP("1") MAP(B) LOAD("1") READ LOAD_KEEP("0") INVLPG READ,
	    "abb")
WINDOW_TEST(invpcid_address, A_SEEN MAP(B) INVPCID("0", "0") READ, "ab")
WINDOW_TEST(invpcid_context, A_SEEN MAP(B) INVPCID("1", "0") READ, "ab")
WINDOW_TEST(invpcid_all, A_SEEN MAP(B) INVPCID("2", "0") READ, "ab")
WINDOW_TEST(invpcid_of_other, A_SEEN LOAD("1") MAP(B) INVPCID("1", "0") LOAD_KEEP("0") READ, "ab")
WINDOW_TEST(invpcid_address_of_other, A_SEEN LOAD("1") MAP(B) INVPCID("0", "0") LOAD_KEEP("0") READ, "ab")
WINDOW_TEST(invlpg_takes_global, MAP_TABLE MAP_AS(A, "0x107") INVLPG LOAD("1") READ LOAD("0") READ MAP_AS(B, "0x107")
	 INVLPG LOAD_KEEP("1") READ, "aab")
WINDOW_TEST(pge_takes_all, A_SEEN MAP(B) TOGGLE_CR4("7") READ, "ab")
WINDOW_TEST(absent, A_SEEN "movq $0, " PT "\n" INVLPG READ MAP(B) READ, "afb")
WINDOW_TEST(supervisor, A_SEEN MAP_AS(A, "3") INVLPG READ MAP(A) INVLPG READ, "afa")
WINDOW_TEST(supervisor_above, A_SEEN "movq $" PT " + 3, " PD "\n" INVLPG READ, "af")
WINDOW_TEST(read_only, A_SEEN WRITE("'c'") MAP_AS(A, "5") INVLPG READ WRITE("'d'") READ, "awcfc")
WINDOW_TEST(read_only_above, A_SEEN WRITE("'c'") "movq $" PT " + 5, " PD "\n" INVLPG READ WRITE("'d'") READ, "awcfc")
WINDOW_TEST(writable_again, A_SEEN MAP_AS(A, "5") INVLPG READ WRITE("'d'") MAP(A) WRITE("'d'") INVLPG WRITE("'e'") READ,
	    "aafwwe")
WINDOW_TEST(reserved_bit, A_SEEN "btsq $51, " PT "\n" INVLPG READ MAP(A) INVLPG READ, "afa")
WINDOW_TEST(another_table, A_SEEN "movq $" B " + 7, 0x7000\nmovq $0x7007, " PD "\n" INVLPG READ MAP_TABLE INVLPG READ,
	    "aba")
WINDOW_TEST(dirty_is_set, A_SEEN HAS("6", "'d'") WRITE("'c'") HAS("6", "'d'") MAP(A) INVLPG READ HAS("6", "'d'")
	    WRITE("'a'") HAS("6", "'d'"), "a-wdc-wd")
WINDOW_TEST(accessed_is_set, A_SEEN MAP(A) INVLPG HAS("5", "'x'") READ HAS("5", "'x'"), "a-ax")
WINDOW_TEST(large, MAP_LARGE(A) INVLPG READ READ_AT(PAGE " + 0x1ff100") MAP_LARGE(B) INVLPG READ
	    READ_AT(PAGE " + 0x1ff100"), "aabb")
WINDOW_TEST(large_invlpg_elsewhere, MAP_LARGE(A) INVLPG READ MAP_LARGE(B) "invlpg " PAGE " + 0x5000\n" READ, "ab")
WINDOW_TEST(large_and_small, MAP_LARGE(A) INVLPG READ MAP_TABLE MAP(B) INVLPG READ MAP_LARGE(A) INVLPG READ, "aba")
WINDOW_TEST(large_write, MAP_LARGE(A) INVLPG READ WRITE("'c'") READ MAP_TABLE MAP(A) INVLPG READ, "awcc")
/* Code that user code writes to, through a window that was opened before it was code. */
#define WRITE_CODE(letter) "mov $" letter ", %bl\n" USER(1, PAGE " + 1") "stosb\n"
WINDOW_TEST(code_written, A_SEEN WRITE_CODE("'c'") CALL WRITE_CODE("'d'") CALL WRITE_CODE("'a'") CALL, "awcwdwa")
WINDOW_TEST(locked, A_SEEN USER(3, PAGE " + 0x100") "stosb\n" READ, "abb")
WINDOW_TEST(stack, A_SEEN "mov $'s', %ebx\n" USER(6, PAGE " + 0x108") "stosb\n" READ, "ass")
/* What lies between windows, and outside them all. */
#define EDGE(number, operand) USER(number, operand) "stosb\n"
WINDOW_TEST(displacements, A_SEEN EDGE(4, PAGE " + 0x101 - 0x80000000") EDGE(5, PAGE " + 0x100 + 0x80000000"), "aaa")
WINDOW_TEST(displacement_leaves_area, A_SEEN EDGE(5, "0x17ffff100") EDGE(4, "0x80000101") EDGE(4, "0x100000100")
	    EDGE(5, "0x100000100"), "aeeff")
WINDOW_TEST(not_canonical, A_SEEN EDGE(0, "0x2000000040000100") EDGE(0, "0x4000000040000100")
	    EDGE(0, "0xe000000040000100")
	    EDGE(0, "0x0000800040000100") EDGE(0, "0x8000000000000000") EDGE(0, "0xffff7fffffffffff") READ, "agggggga")
WINDOW_TEST(other_half, A_SEEN EDGE(0, "0xffff800040000100") EDGE(0, "0xffffffffffffffff") EDGE(0, "0x00007fffffffffff")
	    EDGE(2, "0x00007fffffffffff") EDGE(2, "0xfffffffffffffffc") READ, "afffgfa")

/* 8 bytes of two areas: the first four are zero but for the letter that precedes the edge. */
CODE_OF(across, A_SEEN USER(2, "0xfffffffc") "rol $32, %rax\nstosb\nror $32, %rax\nstosb\n")

static void across(void **state)
{
	(void)state;
	ram[ROOM_EDGE + 0xffc] = 'y';
	ram[ROOM_EDGE + 0x5000] = 'z';
	run(code_across, code_across_end, "azy");
}

CODE_OF(pkru, A_SEEN "mov %cr4, %rax\nbts $22, %rax\nmov %rax, %cr4\nbtsq $59, " PT "\n" INVLPG READ
	"mov $4, %ebx\n" USER(128, PAGE " + 0x100") "stosb\n" "mov $0, %ebx\n" USER(128, PAGE " + 0x100") "stosb\n")

static void pkru(void **state)
{
	unsigned a, b, c = 0, d;

	(void)state;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c >> 4 & 1)) /* OSPKE */
		skip();
	run(code_pkru, code_pkru_end, "aafa");
}

/* ---- the VMM changes what is behind ----------------------------------------------------------------- */

CODE_OF(read_write, A_SEEN WRITE("'a'") READ)
CODE_OF(just_read, A_SEEN READ)

static void slot_replaced(void **state)
{
	uint8_t *old = ram;

	(void)state;
	run(code_read_write, code_read_write_end, "awa");
	ram = map_ram();
	memcpy(ram, old, RAM_SIZE);
	ram[ROOM_A + 0x100] = 'n';
	set_slot(NULL, 0);
	set_slot(ram, 0);
	memset(old, 0, RAM_SIZE);
	mprotect(old, RAM_SIZE, PROT_NONE);
	run(code_just_read, code_just_read_end, "nn");
	unmap_ram(old);
}

static bool logged(unsigned where)
{
	uint64_t bits[RAM_SIZE / 4096 / 64];
	struct kvm_dirty_log log = { .dirty_bitmap = bits };

	api(vm, KVM_GET_DIRTY_LOG, &log);
	return bits[where / 4096 / 64] >> (where / 4096 % 64) & 1;
}

static void dirty_log(void **state)
{
	(void)state;
	run(code_read_write, code_read_write_end, "awa");
	set_slot(ram, KVM_MEM_LOG_DIRTY_PAGES);
	assert_false(logged(ROOM_A));
	for (unsigned n = 0; n < 3; n++) {
		run(code_read_write, code_read_write_end, "awa");
		assert_true(logged(ROOM_A));
		assert_false(logged(ROOM_A));
	}
	set_slot(ram, 0);
	run(code_read_write, code_read_write_end, "awa");
}

/* The VMM takes the memory away without a word: KVM_RUN fails, and goes on when it is back. */
static void memory_denied(void **state)
{
	struct kvm_regs regs;

	(void)state;
	run(code_read_write, code_read_write_end, "awa");
	mprotect(ram + ROOM_B, 0x200000, PROT_NONE);
	memcpy(ram + CODE, code_invlpg, (size_t)(code_invlpg_end - code_invlpg));
	api(vcpu, KVM_GET_REGS, &regs);
	regs.rip = CODE;
	regs.rdi = RESULTS;
	regs.rbp = 6;
	api(vcpu, KVM_SET_REGS, &regs);
	assert_int_equal(anykvm_ioctl(vcpu, KVM_RUN, 0), -1);
	mprotect(ram + ROOM_B, 0x200000, PROT_READ | PROT_WRITE);
	run_guest(KVM_EXIT_HLT);
	assert_memory_equal(ram + RESULTS, "abab", 4);
}

/* ---- another processor ------------------------------------------------------------------------------ */

/* Executes what the user code of the first one writes, letter by letter. */
CODE_OF(other, "xor %ebx, %ebx\n2: inc %ebx\n3: pause\ncmp %ebx, 0x32000\njne 3b\n"
	"mov $" A ", %eax\ncall *%rax\ncmp %bl, %al\nje 4f\nincl 0x32010\n"
	"4: mov %ebx, 0x32008\ncmp $200, %ebx\njne 2b\n"
	"mov $1, %ebp\n")
CODE_OF(first, RESTORE A_SEEN READ "movl $0, 0x32000\nmovl $0, 0x32008\n" USER(7, PAGE " + 1") "mov $1, %ebp\n")

#define OTHER_CODE 0x18000u

static void *run_other(void *fd)
{
	struct kvm_regs regs = { .rip = OTHER_CODE, .rsp = STACK - 0x4000, .rflags = 2 };

	api(*(int *)fd, KVM_SET_REGS, &regs);
	api(*(int *)fd, KVM_RUN, NULL);
	return NULL;
}

static void code_of_another(void **state)
{
	int other = anykvm_ioctl(vm, KVM_CREATE_VCPU, 1);
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK - 0x1000, .rflags = 2, .rdi = RESULTS };
	pthread_t thread;

	(void)state;
	run(code_read_write, code_read_write_end, "awa");
	set_cpuid(other);
	set_control(other);
	memcpy(ram + OTHER_CODE, code_other, (size_t)(code_other_end - code_other));
	memcpy(ram + CODE, code_first, (size_t)(code_first_end - code_first));
	api(vcpu, KVM_SET_REGS, &regs);
	pthread_create(&thread, NULL, run_other, &other);
	api(vcpu, KVM_RUN, NULL);
	pthread_join(thread, NULL);
	assert_int_equal(shared->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(*(uint32_t *)(ram + 0x32008), 200);
	assert_int_equal(*(uint32_t *)(ram + 0x32010), 0);
	anykvm_close(other);
}

#define TEST(name) { #name, name, setup, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(invlpg), TEST(load_flushes), TEST(load_of_other_keeps), TEST(invpcid_address),
		TEST(invpcid_context), TEST(invpcid_all), TEST(invpcid_of_other), TEST(invpcid_address_of_other),
		TEST(invlpg_takes_global), TEST(pge_takes_all), TEST(absent), TEST(supervisor), TEST(supervisor_above),
		TEST(read_only), TEST(read_only_above), TEST(writable_again), TEST(reserved_bit), TEST(another_table),
		TEST(dirty_is_set), TEST(accessed_is_set), TEST(large), TEST(large_invlpg_elsewhere),
		TEST(large_and_small), TEST(large_write), TEST(code_written), TEST(locked), TEST(stack),
		TEST(displacements), TEST(displacement_leaves_area), TEST(not_canonical), TEST(other_half),
		TEST(across), TEST(slot_replaced), TEST(dirty_log), TEST(memory_denied), TEST(pkru),
		TEST(code_of_another),
	};

	int failed;

	keep_engines_handler();
	alarm(600);
	failed = cmocka_run_group_tests_name("windows", tests, NULL, NULL);
	direct = true;
	return failed + cmocka_run_group_tests_name("direct", tests, NULL, NULL);
}
