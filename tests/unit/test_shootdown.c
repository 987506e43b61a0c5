// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translations that another processor takes away. One vCPU runs user code, which reads, writes and calls two pages; the
 * other is a kernel that puts other memory there, generation by generation, as Linux does it: it changes the page
 * tables, sends an IPI, whose handler invalidates, and waits for the answer. From then on what was there is used no
 * more: the memory tells, as each generation's has its number, and nobody writes to what was taken away.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/user_guest.h"

#define CODE 0x10000u
#define VARIABLES 0x30000u /* of the guest's, at: */
#define PUBLISHED 0
#define ERRORS 0x10
#define LIMIT 0x20
#define STACK 0x40000u	   /* of the user vCPU's handlers; the kernel's and user code's are below */
#define DATA 0x200000u	   /* two pages, of which one is mapped */
#define ROUTINE 0x210000u  /* likewise: mov $generation, %eax; ret */
#define UNTOUCHED 0x5afe
#define GENERATIONS 400u
#define IPI 0xfdu

/* ---- the guest -------------------------------------------------------------------------------------- */

extern const uint8_t code[], code_end[], at_user[], at_kernel[], at_fault[], at_ipi[], at_end[];
__asm__(".pushsection .rodata\n"
	".set published, 0x30000\n"
	".set loops, 0x30008\n"
	".set errors, 0x30010\n"
	".set done, 0x30018\n"
	".set limit, 0x30020\n"
	".set faults, 0x30040\n"
	".set answers, 0x30048\n"
	".set requests, 0x30080\n"
	".set data, 0x40000000\n"
	".set routine, 0x40001000\n"
	".set pt, 0x5000\n"
	".set untouched, 0x5afe\n"
	".macro write_msr number, low, high\n"
	"	mov $\\number, %ecx; mov $\\low, %eax; mov $\\high, %edx; wrmsr\n"
	".endm\n"
	"code:\n"
	"at_user:\n"
	"	write_msr 0x80f, 0x1ff, 0\n"
	"	pushq $0x2b; pushq $0x38000; pushq $0x202; pushq $0x33; lea 1f(%rip), %rax; push %rax; iretq\n"
	"1:	mov published, %r8\n"
	"	mov data, %r9\n"
	"	cmp %r8, %r9; jb 2f\n"
	"	mov %r9, data + 8\n"
	"	mov published, %r8\n"
	"	mov $routine, %eax; call *%rax\n"
	"	cmp %r8, %rax; jb 2f\n"
	"3:	incq loops\n"
	"	cmpq $0, done; je 1b; int $0x81\n"
	"2:	lock incq errors; jmp 3b\n"
	".balign 4096\n"
	"at_end:\n"
	"	out %al, $0x10\n"
	"at_fault:\n"
	"	lock incq faults; add $8, %rsp; iretq\n"
	"at_ipi:\n"
	"	push %rax; push %rcx; push %rdx\n"
	"	testb $1, requests; jz 1f\n"
	"	invlpg data; invlpg routine; jmp 2f\n"
	"1:	mov %cr3, %rax; mov %rax, %cr3\n"
	"2:	lock incq answers; write_msr 0x80b, 0, 0\n"
	"	pop %rdx; pop %rcx; pop %rax; iretq\n"
	".balign 4096\n"
	/* r12: the generation; r13: its data; r14: its code; r15: the data before */
	"at_kernel:\n"
	"	write_msr 0x80f, 0x1ff, 0\n"
	"1:	pause; cmpq $0, loops; je 1b\n"
	"	mov $1, %r12d\n"
	"generation:\n"
	"	mov %r12d, %eax; and $1, %eax; shl $12, %eax\n"
	"	lea 0x200000(%rax), %r13; lea 0x210000(%rax), %r14; mov %r13, %r15; xor $0x1000, %r15\n"
	"	cmpq $untouched, 8(%r13); je 1f; lock incq errors\n"
	"1:	mov %r12, (%r13); mov %r12d, 1(%r14)\n"
	"	mov %r12d, %eax; and $3, %eax\n"
	"	cmp $1, %eax; je absent; cmp $2, %eax; je read_only; cmp $3, %eax; je not_executable\n"
	"replace:\n"
	"	lea 7(%r13), %rax; mov %rax, pt; lea 5(%r14), %rax; mov %rax, pt + 8; call shoot\n"
	"	mov %r12, published; movq $untouched, 8(%r15)\n"
	"	mov loops, %rax; add $3, %rax; 1: pause; cmp %rax, loops; jb 1b\n"
	"	inc %r12; cmp limit, %r12; jbe generation\n"
	"	movq $1, done; out %al, $0x10\n"
	"absent:\n"
	"	movq $0, pt; movq $0, pt + 8; call shoot\n"
	"	movq $0, (%r15); movl $0, 0x10001(%r15); call await_fault; jmp replace\n"
	"read_only:\n"
	"	lea 5(%r15), %rax; mov %rax, pt; call shoot\n"
	"	movq $untouched, 8(%r15); call await_fault\n"
	"	cmpq $untouched, 8(%r15); je replace; lock incq errors; jmp replace\n"
	"not_executable:\n"
	"	btsq $63, pt + 8; call shoot\n"
	"	movl $0, 0x10001(%r15); call await_fault; jmp replace\n"
	"shoot:\n"
	"	incq requests; mov answers, %rsi; write_msr 0x830, 0xfd, 0\n"
	"1:	pause; cmp %rsi, answers; je 1b; ret\n"
	"await_fault:\n"
	"	mov faults, %rax; add $2, %rax; 1: pause; cmp %rax, faults; jb 1b; ret\n"
	"code_end:\n"
	".popsection");

static unsigned place(const uint8_t *label)
{
	return CODE + (unsigned)(label - code);
}

static uint64_t variable(unsigned offset)
{
	return *(uint64_t *)(ram + VARIABLES + offset);
}

/* ---- the machine ------------------------------------------------------------------------------------ */

static void make_tables(void)
{
	/* PML4, PDPT, PD, PD of the two pages, their PT */
	word(TABLES, (TABLES + 0x1000) | 7);
	word(TABLES + 0x1000, (TABLES + 0x2000) | 7);
	word(TABLES + 0x1008, (TABLES + 0x3000) | 7);
	for (unsigned i = 0; i < RAM_SIZE >> 21; i++)
		word(TABLES + 0x2000 + 8 * i, (uint64_t)i << 21 | 0x87);
	word(TABLES + 0x3000, (TABLES + 0x4000) | 7);
	word(TABLES + 0x4000, DATA | 7);
	word(TABLES + 0x4008, ROUTINE | 5);
}

static void make_memory(void)
{
	static const uint8_t routine[] = { 0xb8, 0, 0, 0, 0, 0xc3 };

	make_tables();
	memcpy(ram + CODE, code, (size_t)(code_end - code));
	make_descriptors(STACK);
	gate(14, place(at_fault), false);
	gate(0x81, place(at_end), true);
	gate(IPI, place(at_ipi), false);
	word(VARIABLES + LIMIT, GENERATIONS);
	for (unsigned page = 0; page < 0x2000; page += 0x1000) {
		word(DATA + page + 8, UNTOUCHED);
		memcpy(ram + ROUTINE + page, routine, sizeof(routine));
	}
}

static void set_start(int fd, const uint8_t *label, uint64_t rsp)
{
	struct kvm_regs regs = { .rip = place(label), .rsp = rsp, .rflags = 2 };
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };

	set_cpuid(fd);
	set_system(fd, false, 0x80010033, 0x506a0, 0xd01);
	set_msr(fd, 0x1b, 0xfee00c00); /* x2APIC */
	api(fd, KVM_SET_REGS, &regs);
	api(fd, KVM_SET_MP_STATE, &runnable);
}

static void *run_kernel(void *fd)
{
	api(*(int *)fd, KVM_RUN, NULL);
	return NULL;
}

static void run_both(const char *windows, const char *direct)
{
	pthread_t thread;
	int kernel;

	open_guest(windows, direct, true);
	make_memory();
	kernel = anykvm_ioctl(vm, KVM_CREATE_VCPU, 1);
	set_start(vcpu, at_user, STACK);
	set_start(kernel, at_kernel, STACK - 0x4000);
	use_engines_handler();
	pthread_create(&thread, NULL, run_kernel, &kernel);
	run_guest(KVM_EXIT_IO);
	pthread_join(thread, NULL);
	anykvm_close(kernel);
	assert_int_equal(variable(PUBLISHED), GENERATIONS);
	assert_int_equal(variable(ERRORS), 0);
}

static void translated(void **state)
{
	(void)state;
	run_both("off", "off");
	close_guest();
}

static void in_windows(void **state)
{
	(void)state;
	run_both("force", "off");
	assert_int_not_equal(counter("window_pages"), 0);
	close_guest();
}

static void directly(void **state)
{
	(void)state;
	run_both("auto", "force");
	assert_true(counter("direct_runs") > GENERATIONS);
	close_guest();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(translated), cmocka_unit_test(in_windows), cmocka_unit_test(directly),
	};

	keep_engines_handler();
	alarm(120);
	return cmocka_run_group_tests_name("shootdown", tests, NULL, NULL);
}
