// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the software engine keeps about memory, and when it must forget it: translations (tlb.c), decoded and
 * translated code (block.c, codepage.c). Small 64-bit routines run in a VM of the public interface, by the
 * interpreter and by the translator; guest addresses are guest-physical ones but where a test says otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/guest.h"

#define PAGE 0x1000u
#define RAM_SIZE 0x80000u
#define PAGE_TABLES 0x1000u	/* PML4, PDPT, PD, PT: two megabytes, page by page */
#define IDT 0x6000u
#define FAULT 0x7000u		/* the handler of #PF: HLT */
#define CODE 0x10000u
#define SUB 0x20000u		/* subroutines */
#define DATA 0x30000u
#define ABSENT 0x32000u		/* not mapped */
#define READ_ONLY 0x34000u	/* by its page table entry */
#define CLEAN 0x36000u		/* dirty bit clear */
#define ALIAS 0x38000u		/* maps SUB */
#define STACK 0x40000u
#define ROM 0x100000u		/* read-only slot */
#define LOGGED 0x110000u	/* slot with a dirty log */
#define TEMP 0x120000u		/* slot that comes and goes */
#define NOTHING 0x140000u
#define SLOT_SIZE 0x8000u

enum { SLOT_RAM, SLOT_ROM, SLOT_LOGGED, SLOT_TEMP };

static struct kvm_regs regs;
static uint8_t *rom, *logged, *temp[2];

/* ---- the machine ---------------------------------------------------------------------------------- */

static uint8_t *pages(unsigned size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void set_slot(unsigned slot, uint64_t gpa, uint8_t *host, unsigned size, unsigned flags)
{
	struct kvm_userspace_memory_region r = { .slot = slot, .flags = flags, .guest_phys_addr = gpa,
						 .memory_size = size, .userspace_addr = (uint64_t)host };

	api(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void set_page(unsigned gva, uint64_t entry)
{
	word(PAGE_TABLES + 0x3000 + 8 * (gva >> 12), entry);
}

static void make_memory(void)
{
	for (unsigned i = 0; i < 3; i++)
		word(PAGE_TABLES + i * PAGE, (PAGE_TABLES + (i + 1) * PAGE) | 7);
	for (unsigned gva = 0; gva < 0x200000; gva += PAGE)
		set_page(gva, gva | 0x67);
	set_page(ABSENT, 0);
	set_page(READ_ONLY, READ_ONLY | 0x65);
	set_page(CLEAN, CLEAN | 0x27);
	set_page(ALIAS, SUB | 0x67);
	word(IDT + 16 * 14, FAULT | 8 << 16 | 0x8e00ull << 32);
	ram[FAULT] = 0xf4;
}

static void set_system(void)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1 };
	struct kvm_sregs s;

	api(vcpu, KVM_GET_SREGS, &s);
	code.l = 1;
	data.db = 1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.gdt.base = 0x5000;
	s.gdt.limit = 23;
	word(0x5008, 0x00af9b000000ffffull);
	word(0x5010, 0x00cf93000000ffffull);
	s.cr0 = 0x80010033;
	s.cr3 = PAGE_TABLES;
	s.cr4 = 0x620;
	s.efer = 0x500;
	api(vcpu, KVM_SET_SREGS, &s);
}

static int setup(void **state)
{
	setenv("ANYKVM_SOFT", *state, 1);
	open_vm();
	ram = pages(RAM_SIZE);
	rom = pages(SLOT_SIZE);
	logged = pages(SLOT_SIZE);
	temp[0] = pages(SLOT_SIZE);
	temp[1] = pages(SLOT_SIZE);
	set_slot(SLOT_RAM, 0, ram, RAM_SIZE, 0);
	set_slot(SLOT_ROM, ROM, rom, SLOT_SIZE, KVM_MEM_READONLY);
	set_slot(SLOT_LOGGED, LOGGED, logged, SLOT_SIZE, KVM_MEM_LOG_DIRTY_PAGES);
	set_slot(SLOT_TEMP, TEMP, temp[0], SLOT_SIZE, 0);
	open_vcpu();
	make_memory();
	set_system();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_vm();
	munmap(ram, RAM_SIZE);
	munmap(rom, SLOT_SIZE);
	munmap(logged, SLOT_SIZE);
	munmap(temp[0], SLOT_SIZE);
	munmap(temp[1], SLOT_SIZE);
	return 0;
}

/* ---- routines ------------------------------------------------------------------------------------- */

#define ROUTINE(name, text) \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection")

ROUTINE(peek, "mov (%rdi), %rax; hlt");
ROUTINE(poke, "mov %rsi, (%rdi); hlt");
ROUTINE(bump, "addq %rsi, (%rdi); hlt");
ROUTINE(peek_poke_peek, "mov (%rdi), %rax; mov %rsi, (%rdi); mov (%rdi), %rbx; hlt");
ROUTINE(peek_for_ever, "1: mov (%rdi), %rax; jmp 1b");
ROUTINE(call, "call *%rsi; hlt");
ROUTINE(give, "mov $0x11111111, %eax; ret"); /* the immediate is at give + 1 */
ROUTINE(port_then_give, "out %al, $0x80; mov $0x11111111, %eax; hlt"); /* at port_then_give + 3 */

/* Patches an instruction of its own block rcx times, and adds up in rbx what it does. */
ROUTINE(patch_self, "xor %ebx, %ebx; xor %edx, %edx\n"
		    "1: inc %edx; mov %dl, 2f + 1(%rip)\n"
		    "2: mov $0, %eax; add %rax, %rbx; cmp %ecx, %edx; jne 1b; hlt");

/* The same with a subroutine at rsi and the byte at rdi. */
ROUTINE(patch_sub, "xor %ebx, %ebx; xor %edx, %edx\n"
		   "1: inc %edx; mov %dl, (%rdi); call *%rsi\n"
		   "add %rax, %rbx; cmp %ecx, %edx; jne 1b; hlt");

/* And with 300 writes to what is beside it at r8, so that its page is taken for data each time. */
ROUTINE(write_beside, "xor %ebx, %ebx; xor %edx, %edx\n"
		      "1: inc %edx; mov $300, %r9d\n"
		      "2: incl (%r8); dec %r9d; jnz 2b\n"
		      "mov %dl, (%rdi); call *%rsi\n"
		      "add %rax, %rbx; cmp %ecx, %edx; jne 1b; hlt");

/* Of rcx pages from rdi on: writes to each; patches the subroutine at its start, and says so at rsi. */
ROUTINE(touch_pages, "1: mov 1(%rdi), %al; mov %al, 1(%rdi); add $0x1000, %rdi; dec %ecx; jnz 1b; hlt");
ROUTINE(patch_pages, "1: movb $0x22, 1(%rdi); add $0x1000, %rdi; dec %ecx; jnz 1b; movl $1, (%rsi); hlt");

/* Calls them, says so at rsi + 4, and calls them once more when somebody has said something at rsi. */
ROUTINE(call_pages, "xor %ebx, %ebx; mov %rdi, %r8; mov %ecx, %edx\n"
		    "1: call *%rdi; add %rax, %rbx; add $0x1000, %rdi; dec %ecx; jnz 1b\n"
		    "movl $1, 4(%rsi)\n"
		    "2: pause; cmpl $0, (%rsi); je 2b\n"
		    "3: call *%r8; add %rax, %rbx; add $0x1000, %r8; dec %edx; jnz 3b; hlt");

ROUTINE(rep_stos1, "rep stosb; hlt");
ROUTINE(rep_stos2, "rep stosw; hlt");
ROUTINE(rep_stos4, "rep stosl; hlt");
ROUTINE(rep_stos8, "rep stosq; hlt");
ROUTINE(rep_movs1, "rep movsb; hlt");
ROUTINE(rep_movs2, "rep movsw; hlt");
ROUTINE(rep_movs4, "rep movsl; hlt");
ROUTINE(rep_movs8, "rep movsq; hlt");
ROUTINE(backwards, "std; rep movsw; cld; hlt");
ROUTINE(sti_inc, "cli; sti; inc %rax; inc %rbx; hlt"); /* inc: 3 bytes */
ROUTINE(sti_ss, "cli; mov %ss, %ecx; sti; mov %ecx, %ss; inc %rax; inc %rbx; hlt");
ROUTINE(pushf_all, "cmp %rsi, %rdi; pushf; pop %rax; std; pushf; pop %rbx; cld; hlt");

ROUTINE(set_vectors, "mov $7, %eax; xor %edx, %edx; xor %ecx, %ecx; xsetbv\n"
		     "vpcmpeqd %ymm1, %ymm1, %ymm1; vpaddd %ymm1, %ymm1, %ymm15; fld1; hlt");
ROUTINE(xsave, "mov $7, %eax; xor %edx, %edx; xsave (%rdi); hlt");
ROUTINE(xrstor, "mov $7, %eax; xor %edx, %edx; xrstor (%rdi); hlt");

#define LOAD(where, name) memcpy(where, name, (size_t)(name##_end - name))

static uint64_t cr2(void)
{
	struct kvm_sregs s;

	api(vcpu, KVM_GET_SREGS, &s);
	return s.cr2;
}

static unsigned go_on(void)
{
	api(vcpu, KVM_RUN, NULL);
	api(vcpu, KVM_GET_REGS, &regs);
	return shared->exit_reason;
}

static unsigned run_at(uint64_t rip, uint64_t rdi, uint64_t rsi)
{
	regs.rip = rip;
	regs.rsp = STACK + 0x800;
	regs.rflags = 2;
	regs.rdi = rdi;
	regs.rsi = rsi;
	api(vcpu, KVM_SET_REGS, &regs);
	return go_on();
}

/* Runs a routine to its HLT, or to what else it ends with. */
#define RUN(name, rdi, rsi) (LOAD(ram + CODE, name), run_at(CODE, rdi, rsi))
#define RUN_TO_HLT(name, rdi, rsi) assert_int_equal(RUN(name, rdi, rsi), KVM_EXIT_HLT)

static bool faulted(void)
{
	return regs.rip == FAULT + 1;
}

static uint64_t load(const uint8_t *where)
{
	uint64_t v;

	memcpy(&v, where, 8);
	return v;
}

static void store(uint8_t *where, uint64_t v)
{
	memcpy(where, &v, 8);
}

/* Sum of the low bytes of 1..n, each shifted. */
static uint64_t sum(unsigned n, unsigned shift, uint64_t each)
{
	uint64_t s = 0;

	for (unsigned i = 1; i <= n; i++)
		s += ((uint64_t)(i & 0xff) << shift) + each;
	return s;
}

/* ---- modified code -------------------------------------------------------------------------------- */

#define ROUNDS 700

static void test_patch_self(void **state)
{
	(void)state;
	regs.rcx = ROUNDS;
	RUN_TO_HLT(patch_self, 0, 0);
	assert_true(regs.rbx == sum(ROUNDS, 0, 0));
}

static void patch(uint64_t sub, uint64_t byte, uint64_t expected)
{
	LOAD(ram + sub, give);
	regs.rcx = ROUNDS;
	RUN_TO_HLT(patch_sub, byte, sub);
	assert_true(regs.rbx == expected);
}

static void test_patch_other_page(void **state)
{
	(void)state;
	patch(SUB, SUB + 1, sum(ROUNDS, 0, 0x11111100));
	patch(SUB, SUB + 4, sum(ROUNDS, 24, 0x111111));
}

/* An instruction that reaches into the next page, changed on either side. */
static void test_patch_over_page_end(void **state)
{
	uint64_t sub = SUB + PAGE - 2;

	(void)state;
	patch(sub, sub + 1, sum(ROUNDS, 0, 0x11111100));
	patch(sub, sub + 2, sum(ROUNDS, 8, 0x11110011));
	patch(sub, sub + 4, sum(ROUNDS, 24, 0x111111));
}

/* A write of which one half is code's page and the other is not. */
static void test_patch_by_crossing_write(void **state)
{
	(void)state;
	LOAD(ram + SUB, give);
	RUN_TO_HLT(call, 0, SUB);
	assert_int_equal(regs.rax, 0x11111111);
	RUN_TO_HLT(poke, SUB - 5, 0x2222b80000000000);
	RUN_TO_HLT(call, 0, SUB);
	assert_int_equal(regs.rax, 0x11112222);
	assert_int_equal(load(ram + SUB - 5), 0x2222b80000000000);
}

static void test_patch_through_alias(void **state)
{
	(void)state;
	patch(SUB, ALIAS + 2, sum(ROUNDS, 8, 0x11110011));
}

static void *run_in_thread(void *fd)
{
	anykvm_ioctl(*(int *)fd, KVM_RUN, 0);
	return NULL;
}

/* As run_at(), by another vCPU. */
static void run_other(int other, uint64_t rip, uint64_t rdi, uint64_t rsi)
{
	struct kvm_regs r = { .rip = rip, .rflags = 2, .rdi = rdi, .rsi = rsi, .rcx = regs.rcx };

	api(other, KVM_SET_REGS, &r);
	api(other, KVM_RUN, NULL);
	api(other, KVM_GET_REGS, &r);
	assert_int_equal(r.rcx, 0);
}

/*
 * A vCPU that could write to n pages is outside while another one makes code of them; the second does not leave KVM_RUN
 * while the first one, inside again, patches them all.
 */
static void patch_from_outside(int other, unsigned n)
{
	const uint64_t flags = DATA + 0x100, at = CODE + 0x800;
	pthread_t thread;

	for (unsigned i = 0; i < n; i++)
		LOAD(ram + SUB + i * PAGE, give);
	store(ram + flags, 0);
	regs.rcx = n;
	LOAD(ram + at, touch_pages);
	run_other(other, at, SUB, 0);
	LOAD(ram + CODE, call_pages);
	regs.rip = CODE;
	regs.rsp = STACK + 0x800;
	regs.rflags = 2;
	regs.rdi = SUB;
	regs.rsi = flags;
	api(vcpu, KVM_SET_REGS, &regs);
	pthread_create(&thread, NULL, run_in_thread, &vcpu);
	while (!*(volatile uint32_t *)(ram + flags + 4))
		sched_yield();
	LOAD(ram + at, patch_pages);
	run_other(other, at, SUB, flags);
	pthread_join(thread, NULL);
	api(vcpu, KVM_GET_REGS, &regs);
	assert_true(regs.rbx == n * (0x11111111ull + 0x11111122ull));
}

static void test_patch_by_other(void **state)
{
	int first = vcpu, other = anykvm_ioctl(vm, KVM_CREATE_VCPU, 1);

	(void)state;
	assert_true(other >= 0);
	vcpu = other;
	set_cpuid(vcpu);
	set_system();
	vcpu = first;
	patch_from_outside(other, 3);
	patch_from_outside(other, 12);
	anykvm_close(other);
}

static void test_data_beside_code(void **state)
{
	(void)state;
	LOAD(ram + SUB, give);
	regs.rcx = 20;
	regs.r8 = SUB + 0x800;
	RUN_TO_HLT(write_beside, SUB + 1, SUB);
	assert_true(regs.rbx == sum(20, 0, 0x11111100));
	assert_int_equal(load(ram + SUB + 0x800), 20 * 300);
}

/* ---- written by others ---------------------------------------------------------------------------- */

static void test_outside_write(void **state)
{
	(void)state;
	LOAD(ram + SUB, give);
	for (unsigned i = 0; i < 200; i++) {
		ram[SUB + 1] = (uint8_t)i;
		RUN_TO_HLT(call, 0, SUB);
		assert_int_equal(regs.rax, 0x11111100 + i);
	}
}

/* The VMM changes what follows in the block that it was left from. */
static void test_outside_write_during_exit(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(RUN(port_then_give, 0, 0), KVM_EXIT_IO);
		ram[CODE + 3] = (uint8_t)i;
		assert_int_equal(go_on(), KVM_EXIT_HLT);
		assert_int_equal(regs.rax, 0x11111100 + i);
	}
}

/* ---- the read-only slot --------------------------------------------------------------------------- */

static void assert_mmio_write(uint64_t gpa, unsigned len, uint64_t value)
{
	assert_int_equal(shared->exit_reason, KVM_EXIT_MMIO);
	assert_true(shared->mmio.is_write);
	assert_int_equal(shared->mmio.phys_addr, gpa);
	assert_int_equal(shared->mmio.len, len);
	assert_memory_equal(shared->mmio.data, &value, len);
}

static void test_read_only_slot(void **state)
{
	(void)state;
	store(rom + 0x100, 0x1234);
	RUN(peek_poke_peek, ROM + 0x100, 0x5555);
	assert_mmio_write(ROM + 0x100, 8, 0x5555);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	assert_int_equal(regs.rax, 0x1234);
	assert_int_equal(regs.rbx, 0x1234);
	RUN(bump, ROM + 0x100, 1);
	assert_mmio_write(ROM + 0x100, 8, 0x1235);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	assert_int_equal(load(rom + 0x100), 0x1234);
}

/* Code in it runs, and a write does not change it. */
static void test_read_only_code(void **state)
{
	(void)state;
	LOAD(rom, give);
	RUN_TO_HLT(call, 0, ROM);
	RUN(poke, ROM, 0);
	assert_mmio_write(ROM, 8, 0);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	RUN_TO_HLT(call, 0, ROM);
	assert_int_equal(regs.rax, 0x11111111);
}

/* ---- the dirty log -------------------------------------------------------------------------------- */

static uint64_t dirty(void)
{
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .slot = SLOT_LOGGED, .dirty_bitmap = &bits };

	api(vm, KVM_GET_DIRTY_LOG, &log);
	return bits;
}

static void test_dirty_log(void **state)
{
	(void)state;
	dirty();
	RUN_TO_HLT(peek, LOGGED + 4 * PAGE, 0);
	assert_int_equal(dirty(), 0);
	for (unsigned i = 0; i < 3; i++) { /* each time, though the page has a translation by now */
		RUN_TO_HLT(poke, LOGGED + 3 * PAGE + 8, 7);
		RUN_TO_HLT(poke, LOGGED + 3 * PAGE + 16, 8);
		assert_int_equal(dirty(), 1 << 3);
		assert_int_equal(dirty(), 0);
	}
	RUN_TO_HLT(peek_poke_peek, LOGGED + 5 * PAGE, 9);
	RUN_TO_HLT(bump, LOGGED + 6 * PAGE, 9);
	assert_int_equal(dirty(), 3 << 5);
	RUN_TO_HLT(poke, LOGGED + PAGE - 4, ~0ull);
	assert_int_equal(dirty(), 3);
}

/* Code in a logged slot: both reasons to see its writes at once. */
static void test_dirty_log_of_code(void **state)
{
	(void)state;
	LOAD(logged, give);
	for (unsigned i = 1; i < 50; i++) {
		dirty();
		RUN_TO_HLT(call, 0, LOGGED);
		assert_int_equal(dirty(), 0);
		RUN_TO_HLT(poke, LOGGED, 0xc300111100b8 + (i << 8));
		assert_int_equal(dirty(), 1);
		RUN_TO_HLT(call, 0, LOGGED);
		assert_int_equal(regs.rax, 0x00111100 + i);
	}
}

/* Logging that is switched on later. */
static void test_dirty_log_begins(void **state)
{
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .slot = SLOT_TEMP, .dirty_bitmap = &bits };

	(void)state;
	RUN_TO_HLT(poke, TEMP + PAGE, 1);
	set_slot(SLOT_TEMP, TEMP, temp[0], SLOT_SIZE, KVM_MEM_LOG_DIRTY_PAGES);
	RUN_TO_HLT(poke, TEMP + PAGE, 2);
	api(vm, KVM_GET_DIRTY_LOG, &log);
	assert_int_equal(bits, 2);
}

static void test_dirty_flag_of_page(void **state)
{
	unsigned entry = PAGE_TABLES + 0x3000 + 8 * (CLEAN >> 12);

	(void)state;
	RUN_TO_HLT(peek, CLEAN, 0);
	assert_int_equal(load(ram + entry) & 0x40, 0);
	RUN_TO_HLT(poke, CLEAN, 1);
	assert_int_equal(load(ram + entry) & 0x40, 0x40);
}

/* ---- page ends ------------------------------------------------------------------------------------ */

static void test_crossing(void **state)
{
	(void)state;
	store(ram + DATA + PAGE - 3, 0x0807060504030201);
	RUN_TO_HLT(peek, DATA + PAGE - 3, 0);
	assert_true(regs.rax == 0x0807060504030201);
	RUN_TO_HLT(bump, DATA + PAGE - 3, 0x0101010101010101);
	assert_true(load(ram + DATA + PAGE - 3) == 0x0908070605040302);
}

/* Nothing is written, and nothing loaded, when the second page faults; n bytes are in the first. */
static void crossing_faults(uint64_t page, unsigned n, bool readable)
{
	uint64_t at = page - n, was = 0x1122334455667788;

	store(ram + at, was);
	regs.rax = 42;
	RUN_TO_HLT(peek, at, 0);
	assert_int_equal(faulted(), !readable);
	assert_true(regs.rax == (readable ? was : 42));
	RUN_TO_HLT(poke, at, ~0ull);
	assert_true(faulted());
	assert_int_equal(cr2(), page);
	RUN_TO_HLT(bump, at, 1);
	assert_true(faulted());
	assert_int_equal(cr2(), page);
	assert_true(load(ram + at) == was);
}

static void test_crossing_faults(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 8; n++) {
		crossing_faults(ABSENT, n, false);
		crossing_faults(READ_ONLY, n, true);
	}
}

/* The first page faults: CR2 is the operand's address. */
static void test_crossing_faults_first(void **state)
{
	(void)state;
	store(ram + READ_ONLY + PAGE - 4, 0x1122334455667788);
	RUN_TO_HLT(poke, READ_ONLY + PAGE - 4, 0);
	assert_true(faulted());
	assert_int_equal(cr2(), READ_ONLY + PAGE - 4);
	assert_true(load(ram + READ_ONLY + PAGE - 4) == 0x1122334455667788);
}

/* From memory into nothing: the half that is memory is written, the other is the VMM's. */
static void test_crossing_into_mmio(void **state)
{
	(void)state;
	RUN(poke, TEMP + SLOT_SIZE - 4, 0x1122334455667788);
	assert_mmio_write(TEMP + SLOT_SIZE, 4, 0x11223344);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	assert_memory_equal(temp[0] + SLOT_SIZE - 4, "\x88\x77\x66\x55", 4);
}

/* ---- slots that change ---------------------------------------------------------------------------- */

static void assert_mmio_read(uint64_t gpa)
{
	assert_int_equal(shared->exit_reason, KVM_EXIT_MMIO);
	assert_false(shared->mmio.is_write);
	assert_int_equal(shared->mmio.phys_addr, gpa);
}

static void test_slot_deleted(void **state)
{
	(void)state;
	store(temp[0] + 8, 1);
	store(temp[1] + 8, 2);
	RUN_TO_HLT(peek_poke_peek, TEMP + 8, 3);
	assert_int_equal(regs.rax, 1);
	set_slot(SLOT_TEMP, TEMP, temp[0], 0, 0);
	RUN(peek, TEMP + 8, 0);
	assert_mmio_read(TEMP + 8);
	store(shared->mmio.data, 77);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	assert_int_equal(regs.rax, 77);
	RUN(poke, TEMP + 8, 4);
	assert_mmio_write(TEMP + 8, 8, 4);
	assert_int_equal(go_on(), KVM_EXIT_HLT);
	assert_int_equal(load(temp[0] + 8), 3);
	set_slot(SLOT_TEMP, TEMP, temp[1], SLOT_SIZE, 0);
	RUN_TO_HLT(peek_poke_peek, TEMP + 8, 5);
	assert_int_equal(regs.rax, 2);
	assert_int_equal(load(temp[0] + 8), 3);
	assert_int_equal(load(temp[1] + 8), 5);
}

static void test_slot_moved(void **state)
{
	(void)state;
	store(temp[0] + 8, 1);
	RUN_TO_HLT(peek, TEMP + 8, 0);
	set_slot(SLOT_TEMP, NOTHING, temp[0], SLOT_SIZE, 0);
	RUN_TO_HLT(peek, NOTHING + 8, 0);
	assert_int_equal(regs.rax, 1);
	RUN(peek, TEMP + 8, 0);
	assert_mmio_read(TEMP + 8);
}

/* Decoded code goes with its slot. */
static void test_slot_of_code_deleted(void **state)
{
	(void)state;
	LOAD(temp[0], give);
	LOAD(temp[1], give);
	temp[1][1] = 0x22;
	for (unsigned i = 0; i < 100; i++)
		RUN_TO_HLT(call, 0, TEMP);
	assert_int_equal(regs.rax, 0x11111111);
	set_slot(SLOT_TEMP, TEMP, temp[0], 0, 0);
	assert_int_equal(RUN(call, 0, TEMP), KVM_EXIT_INTERNAL_ERROR);
	set_slot(SLOT_TEMP, TEMP, temp[1], SLOT_SIZE, 0);
	RUN_TO_HLT(call, 0, TEMP);
	assert_int_equal(regs.rax, 0x11111122);
}

static void *delete_slot(void *unused)
{
	set_slot(SLOT_TEMP, TEMP, temp[0], 0, 0);
	return unused;
}

/* Once the slot is deleted nobody reads it, whatever the vCPU was in the midst of. */
static void test_slot_deleted_while_running(void **state)
{
	pthread_t thread;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		pthread_create(&thread, NULL, delete_slot, NULL);
		RUN(peek_for_ever, TEMP + 8, 0);
		assert_mmio_read(TEMP + 8);
		pthread_join(thread, NULL);
		set_slot(SLOT_TEMP, TEMP, temp[0], SLOT_SIZE, 0);
		shared->immediate_exit = 1; /* completes the read */
		anykvm_ioctl(vcpu, KVM_RUN, 0);
		shared->immediate_exit = 0;
	}
}

#define BOTH(f) \
	{ #f " (interpreter)", f, setup, teardown, (void *)"interp" }, \
	{ #f " (translator)", f, setup, teardown, (void *)"jit" }

/* ---- the longest access of devices --------------------------------------------------------------------- */

static void allow_xsave(void)
{
	struct kvm_sregs s;

	api(vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 0x40000;
	api(vcpu, KVM_SET_SREGS, &s);
}

/* XSAVE and XRSTOR of vector state to and from the VMM, each byte once. */
static void test_xsave_to_device(void **state)
{
	uint8_t image[832], seen[832] = { 0 }, plain[832];

	(void)state;
	if (!__builtin_cpu_supports("avx2"))
		return;
	allow_xsave();
	memset(image, 0, sizeof(image));
	RUN_TO_HLT(set_vectors, 0, 0);
	memset(ram + DATA, 0, sizeof(plain));
	RUN_TO_HLT(xsave, DATA, 0);
	memcpy(plain, ram + DATA, sizeof(plain));
	for (unsigned reason = RUN(xsave, NOTHING, 0); reason != KVM_EXIT_HLT; reason = go_on()) {
		uint64_t at = shared->mmio.phys_addr - NOTHING;

		assert_int_equal(reason, KVM_EXIT_MMIO);
		if (!shared->mmio.is_write) {
			memset(shared->mmio.data, 0, 8);
			continue;
		}
		assert_true(at + shared->mmio.len <= sizeof(image));
		memcpy(image + at, shared->mmio.data, shared->mmio.len);
		for (unsigned i = 0; i < shared->mmio.len; i++)
			assert_int_equal(seen[at + i]++, 0);
	}
	assert_memory_equal(image, plain, 24);
	assert_memory_equal(image + 160, plain + 160, 256);
	assert_memory_equal(image + 576, plain + 576, 256);
	image[576] ^= 0x5a;
	for (unsigned reason = RUN(xrstor, NOTHING, 0); reason != KVM_EXIT_HLT; reason = go_on()) {
		assert_int_equal(reason, KVM_EXIT_MMIO);
		assert_int_equal(shared->mmio.is_write, 0);
		memcpy(shared->mmio.data, image + (shared->mmio.phys_addr - NOTHING), shared->mmio.len);
	}
	RUN_TO_HLT(xsave, DATA, 0);
	assert_memory_equal(ram + DATA + 576, image + 576, 256);
}

/* ---- repeated strings ------------------------------------------------------------------------------- */

struct string {
	const uint8_t *code, *end;
	unsigned size;
	bool movs;
};

static unsigned run_string(const struct string *s, uint64_t di, uint64_t si, uint64_t count)
{
	memcpy(ram + CODE, s->code, (size_t)(s->end - s->code));
	regs.rcx = count;
	regs.rax = 0x8877665544332211;
	return run_at(CODE, di, si);
}

/* In RAM, forwards: element by element. */
static void model(const struct string *s, uint8_t *memory, unsigned di, unsigned si, unsigned count)
{
	const uint64_t rax = 0x8877665544332211;

	for (unsigned i = 0; i < count; i++, di += s->size, si += s->size) {
		uint64_t v = rax;

		if (s->movs)
			memcpy(&v, memory + si, s->size);
		memcpy(memory + di, &v, s->size);
	}
}

#define STRING(name, n) { name##n, name##n##_end, n, #name[4] == 'm' }
static const struct {
	unsigned di, si, bytes;
} spans[] = {
	{ 0, 0x1100, 8 }, { 0, 0x1100, 0 }, { 0x18, 0x1100, 0x200 }, { 0, 0x1000, 0x1000 }, { 0xff8, 0x1100, 8 },
	{ 0xff8, 0x1100, 0x10 }, { 0x10, 0xff0, 0x40 }, { 0xfc3, 0x13fd, 0x80 }, { 0x100, 0xf0, 0x300 }, { 0xf1, 0x100, 0x300 },
	{ 8, 0x11, 0x1800 },
};

static void test_strings(void **state)
{
	const struct string strings[] = {
		STRING(rep_stos, 1), STRING(rep_stos, 2), STRING(rep_stos, 4), STRING(rep_stos, 8),
		STRING(rep_movs, 1), STRING(rep_movs, 2), STRING(rep_movs, 4), STRING(rep_movs, 8),
	};
	uint8_t *expected = malloc(RAM_SIZE);

	(void)state;
	for (unsigned i = 0; i < sizeof(strings) / sizeof(strings[0]) * sizeof(spans) / sizeof(spans[0]); i++) {
		const struct string *s = &strings[i % 8];
		unsigned di = DATA + spans[i / 8].di, si = DATA + spans[i / 8].si, count = spans[i / 8].bytes / s->size;

		for (unsigned n = 0; n < 0x2000; n++)
			ram[DATA + n] = (uint8_t)(n * 7 + (n >> 8) + i);
		memcpy(expected, ram, RAM_SIZE);
		model(s, expected, di, si, count);
		assert_int_equal(run_string(s, di, si, count), KVM_EXIT_HLT);
		assert_memory_equal(ram + DATA, expected + DATA, 0x2000);
		assert_int_equal(regs.rcx, 0);
		assert_int_equal(regs.rdi, di + count * s->size);
		assert_int_equal(regs.rsi, si + (s->movs ? count * s->size : 0));
	}
	free(expected);
}

static void test_string_backwards(void **state)
{
	(void)state;
	memcpy(ram + DATA, "abcdefgh", 8);
	regs.rcx = 3;
	RUN_TO_HLT(backwards, DATA + 6, DATA + 4);
	assert_memory_equal(ram + DATA, "ababcdef", 8);
	assert_int_equal(regs.rdi, DATA);
	assert_int_equal(regs.rsi, DATA - 2);
}

/* What was done before the fault is done, and the registers say so. */
static void test_string_faults(void **state)
{
	const struct string stos = STRING(rep_stos, 8), movs = STRING(rep_movs, 4);

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		memset(ram + DATA + 0x1f00, 0, 0x100);
		assert_int_equal(run_string(&stos, ABSENT - 64, 0, 32), KVM_EXIT_HLT);
		assert_true(faulted());
		assert_int_equal(cr2(), ABSENT);
		assert_int_equal(regs.rdi, ABSENT);
		assert_int_equal(regs.rcx, 24);
		assert_int_equal(load(ram + ABSENT - 72), 0);
		assert_int_equal(load(ram + ABSENT - 64), regs.rax);
		assert_int_equal(load(ram + ABSENT - 8), regs.rax);
		assert_int_equal(run_string(&movs, DATA, ABSENT - 12, 5), KVM_EXIT_HLT);
		assert_true(faulted());
		assert_int_equal(cr2(), ABSENT);
		assert_int_equal(regs.rsi, ABSENT);
		assert_int_equal(regs.rdi, DATA + 12);
		assert_int_equal(regs.rcx, 2);
		assert_int_equal(run_string(&movs, READ_ONLY, DATA, 5), KVM_EXIT_HLT);
		assert_true(faulted());
		assert_int_equal(cr2(), READ_ONLY);
		assert_int_equal(regs.rcx, 5);
	}
}

/* A page of the VMM that is not accessible any more: nothing done, nothing moved. */
static void test_string_host_fault(void **state)
{
	const struct string stos = STRING(rep_stos, 8), movs = STRING(rep_movs, 8);
	void *mode = "jit";

	(void)state;
	setup(&mode);
	for (unsigned i = 0; i < 2; i++) {
		const struct string *s = i ? &movs : &stos;

		assert_int_equal(run_string(s, TEMP, DATA, 4), KVM_EXIT_HLT);
		assert_int_equal(mprotect(temp[0], PAGE, PROT_NONE), 0);
		memcpy(ram + CODE, s->code, (size_t)(s->end - s->code));
		regs.rip = CODE;
		regs.rcx = 4;
		regs.rdi = TEMP;
		regs.rsi = DATA;
		api(vcpu, KVM_SET_REGS, &regs);
		assert_int_equal(anykvm_ioctl(vcpu, KVM_RUN, 0), -1);
		assert_int_equal(errno, EFAULT);
		api(vcpu, KVM_GET_REGS, &regs);
		assert_int_equal(regs.rip, CODE);
		assert_int_equal(regs.rcx, 4);
		assert_int_equal(regs.rdi, TEMP);
		assert_int_equal(regs.rsi, DATA);
		assert_int_equal(mprotect(temp[0], PAGE, PROT_READ | PROT_WRITE), 0);
		assert_int_equal(go_on(), KVM_EXIT_HLT);
		assert_int_equal(regs.rdi, TEMP + 32);
	}
	teardown(&mode);
}

/* ---- interrupt shadows and flags --------------------------------------------------------------------- */

/* The window opens behind the instruction that follows STI, or MOV SS behind it. */
static void test_shadow(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned ss = 0; ss < 2; ss++) {
			if (ss)
				LOAD(ram + CODE, sti_ss);
			else
				LOAD(ram + CODE, sti_inc);
			regs.rax = regs.rbx = 0;
			shared->request_interrupt_window = 1;
			assert_int_equal(run_at(CODE, 0, 0), KVM_EXIT_IRQ_WINDOW_OPEN);
			assert_int_equal(regs.rax, 1);
			assert_int_equal(regs.rbx, 0);
			shared->request_interrupt_window = 0;
			assert_int_equal(go_on(), KVM_EXIT_HLT);
			assert_int_equal(regs.rbx, 1);
			regs.rax = regs.rbx = 0;
			assert_int_equal(run_at(CODE, 0, 0), KVM_EXIT_HLT);
			assert_int_equal(regs.rax, 1);
			assert_int_equal(regs.rbx, 1);
			assert_true(regs.rflags & 0x200);
		}
	}
}

static void test_pushf(void **state)
{
	static const struct {
		uint64_t a, b, flags;
	} cases[] = {
		{ 1, 1, 0x46 }, { 0, 1, 0x97 }, { 1ull << 63, 1, 0x816 }, { 0x7fffffffffffffff, ~0ull, 0x887 }, { 5, 2, 0x6 },
		{ 0x10, 1, 0x16 },
	};

	(void)state;
	for (unsigned i = 0; i < 3 * sizeof(cases) / sizeof(cases[0]); i++) {
		RUN_TO_HLT(pushf_all, cases[i / 3].a, cases[i / 3].b);
		assert_int_equal(regs.rax, cases[i / 3].flags);
		assert_int_equal(regs.rbx, cases[i / 3].flags | 0x400);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: each test starts with cmocka's handler of SIGSEGV */
		cmocka_unit_test(test_string_host_fault),
		BOTH(test_patch_self),
		BOTH(test_patch_other_page),
		BOTH(test_patch_over_page_end),
		BOTH(test_patch_by_crossing_write),
		BOTH(test_patch_through_alias),
		BOTH(test_patch_by_other),
		BOTH(test_data_beside_code),
		BOTH(test_outside_write),
		BOTH(test_outside_write_during_exit),
		BOTH(test_read_only_slot),
		BOTH(test_read_only_code),
		BOTH(test_dirty_log),
		BOTH(test_dirty_log_of_code),
		BOTH(test_dirty_log_begins),
		BOTH(test_dirty_flag_of_page),
		BOTH(test_crossing),
		BOTH(test_crossing_faults),
		BOTH(test_crossing_faults_first),
		BOTH(test_crossing_into_mmio),
		BOTH(test_slot_deleted),
		BOTH(test_slot_moved),
		BOTH(test_slot_of_code_deleted),
		BOTH(test_slot_deleted_while_running),
		BOTH(test_xsave_to_device),
		BOTH(test_strings),
		BOTH(test_string_backwards),
		BOTH(test_string_faults),
		BOTH(test_shadow),
		BOTH(test_pushf),
	};

	alarm(600);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
