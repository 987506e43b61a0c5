// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the software engine finds its way through code: links, calls and returns, and what must break them - pages mapped
 * anew, code written by the VMM and by another vCPU. Small routines in a VM of the public interface, by the interpreter
 * and by the translator; guest addresses are guest-physical ones but where a test maps a page elsewhere.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/anykvm.h"

#define PAGE 0x1000u
#define RAM_SIZE 0x80000u
#define PAGE_TABLES 0x1000u	/* PML4, PDPT, PD, PT: two megabytes, page by page */
#define LEAF(gva) (PAGE_TABLES + 3 * PAGE + 8 * ((gva) >> 12))
#define IDT 0x6000u
#define FAULT 0x7000u		/* the handler of #GP: HLT */
#define CODE 0x10000u
#define SUB 0x20000u		/* subroutines, ... */
#define OTHER 0x24000u		/* ... others of them */
#define DATA 0x30000u
#define STACK 0x40000u
#define SECOND_STACK 0x60000u

static int kvm, vm, vcpu[2];
static struct kvm_run *shared[2];
static struct kvm_regs regs;
static uint8_t *ram;

/* ---- the machine ---------------------------------------------------------------------------------- */

static void api(int fd, unsigned long request, void *argument)
{
	assert_int_equal(anykvm_ioctl(fd, request, (unsigned long)argument), 0);
}

static void word(unsigned where, uint64_t value)
{
	memcpy(ram + where, &value, 8);
}

static uint32_t load(unsigned where)
{
	return __atomic_load_n((uint32_t *)(ram + where), __ATOMIC_ACQUIRE);
}

static void store(unsigned where, uint32_t value)
{
	__atomic_store_n((uint32_t *)(ram + where), value, __ATOMIC_RELEASE);
}

static void set_cpuid(int cpu)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	api(kvm, KVM_GET_SUPPORTED_CPUID, c);
	api(cpu, KVM_SET_CPUID2, c);
	free(c);
}

static void set_system(int cpu, bool paging)
{
	struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1 };
	struct kvm_sregs s;

	api(cpu, KVM_GET_SREGS, &s);
	code.l = paging;
	code.db = !paging;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.gdt.base = 0x5000;
	s.gdt.limit = 23;
	s.cr0 = paging ? 0x80010033 : 0x33;
	s.cr3 = PAGE_TABLES;
	s.cr4 = 0x620;
	s.efer = paging ? 0x500 : 0;
	api(cpu, KVM_SET_SREGS, &s);
}

static int setup(void **state)
{
	setenv("ANYKVM_SOFT", *state, 1);
	kvm = anykvm_open();
	vm = anykvm_ioctl(kvm, KVM_CREATE_VM, 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	api(vm, KVM_SET_USER_MEMORY_REGION,
	    &(struct kvm_userspace_memory_region){ .memory_size = RAM_SIZE, .userspace_addr = (uint64_t)ram });
	for (unsigned i = 0; i < 3; i++)
		word(PAGE_TABLES + i * PAGE, (PAGE_TABLES + (i + 1) * PAGE) | 7);
	for (unsigned gva = 0; gva < 0x200000; gva += PAGE)
		word(LEAF(gva), gva | 0x67);
	word(0x5008, 0x00af9b000000ffffull);
	word(IDT + 16 * 13, FAULT | 8 << 16 | 0x8e00ull << 32);
	ram[FAULT] = 0xf4;
	for (unsigned i = 0; i < 2; i++) {
		vcpu[i] = anykvm_ioctl(vm, KVM_CREATE_VCPU, i);
		assert_true(vcpu[i] >= 0);
		shared[i] = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu[i], 0);
		set_cpuid(vcpu[i]);
		set_system(vcpu[i], true);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		munmap(shared[i], 3 * PAGE);
		anykvm_close(vcpu[i]);
	}
	anykvm_close(vm);
	anykvm_close(kvm);
	munmap(ram, RAM_SIZE);
	return 0;
}

/* ---- routines ------------------------------------------------------------------------------------- */

#define ROUTINE(name, text) \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection")
#define LOAD(where, name) memcpy(ram + (where), name, (size_t)(name##_end - name))

static void start(unsigned n, uint64_t rip, uint64_t rsp)
{
	struct kvm_regs r = { .rip = rip, .rsp = rsp, .rflags = 2 };

	api(vcpu[n], KVM_SET_REGS, &r);
}

static void finish(unsigned n)
{
	api(vcpu[n], KVM_RUN, NULL);
	assert_int_equal(shared[n]->exit_reason, KVM_EXIT_HLT);
	api(vcpu[n], KVM_GET_REGS, &regs);
}

static void run(void)
{
	start(0, CODE, STACK + 0x800);
	finish(0);
}

static void *other_vcpu(void *unused)
{
	anykvm_ioctl(vcpu[1], KVM_RUN, 0);
	return unused;
}

ROUTINE(give_1, "mov $1, %eax; ret");
ROUTINE(give_2, "mov $2, %eax; ret");

/* ---- calls and returns ---------------------------------------------------------------------------- */

/* Deeper than any memory of return addresses. */
ROUTINE(recursion, "xor %eax, %eax; mov $3000, %ecx; call 1f; hlt\n"
		   "1: inc %eax; dec %ecx; jz 2f; call 1b; add $2, %eax\n"
		   "2: ret");

static void test_recursion(void **state)
{
	(void)state;
	LOAD(CODE, recursion);
	for (unsigned i = 0; i < 3; i++) {
		start(0, CODE, STACK + 0x10000);
		finish(0);
		assert_int_equal(regs.rax, 3000 + 2 * 2999);
	}
}

/* Calls without returns, returns without calls, and a call that is left over callers' heads. */
ROUTINE(unpaired, "xor %ebx, %ebx; mov $300, %ecx\n"
		  "1: call 2f\n"
		  "2: pop %rax; inc %ebx\n"
		  "lea 3f(%rip), %rax; push %rax; ret; hlt\n"
		  "3: inc %ebx; mov %rsp, %rbp; call 4f; hlt\n"
		  "4: call 5f; hlt\n"
		  "5: lea 6f(%rip), %rax; mov %rbp, %rsp; push %rax; ret; hlt\n"
		  "6: inc %ebx; call 7f; inc %ebx; dec %ecx; jnz 1b; hlt\n"
		  "7: call 8f; pause; hlt\n" /* a retpoline */
		  "8: lea 9f(%rip), %rax; mov %rax, (%rsp); ret\n"
		  "9: ret");

static void test_unpaired(void **state)
{
	(void)state;
	LOAD(CODE, unpaired);
	run();
	assert_int_equal(regs.rbx, 4 * 300);
	assert_int_equal(regs.rcx, 0);
}

/* Two threads of control that call and return, each on its own stack. */
ROUTINE(coroutines, "xor %ebx, %ebx; xor %edx, %edx; mov $200, %ecx; lea 1f(%rip), %rax\n"
		    "mov $" "0x60000" ", %edi; sub $8, %rdi; mov %rax, (%rdi)\n"
		    "0: call 8f; inc %ebx; dec %ecx; jnz 0b; hlt\n"
		    "1: call 7f; jmp 1b\n"
		    "7: inc %edx; call 8f; inc %edx; ret\n"
		    "8: call 9f; ret\n"
		    "9: xchg %rsp, %rdi; ret");

static void test_coroutines(void **state)
{
	(void)state;
	LOAD(CODE, coroutines);
	run();
	assert_int_equal(regs.rbx, 200);
	assert_int_equal(regs.rdx, 2 * 200 - 1);
}

ROUTINE(wild_return, "mov $40, %ecx\n"
		     "1: call 2f; dec %ecx; jnz 1b; movabs $0x1234567890abcdef, %rax; push %rax\n"
		     "2: ret");

static void test_wild_return(void **state)
{
	uint64_t frame[6];

	(void)state;
	LOAD(CODE, wild_return);
	run();
	assert_int_equal(regs.rip, FAULT + 1);
	memcpy(frame, ram + regs.rsp, sizeof(frame));
	assert_int_equal(frame[0], 0); /* error code, RIP of RET, CS, RFLAGS, RSP */
	assert_int_equal(frame[1], CODE + (unsigned)(wild_return_end - wild_return) - 1);
	assert_int_equal(frame[4], STACK + 0x800 - 8);
}

/* A loop whose page is looked up when it gets there gets to where no address is. */
ROUTINE(strides, "mov $200, %ecx; mov $8, %esi; mov $" "0x30000" ", %edi; call 1f\n"
		 "mov $2, %ecx; movabs $0x3ffffffffffd0000, %rsi; mov $" "0x30000" ", %edi; call 1f; hlt\n"
		 ".fill 64 - (. - strides), 1, 0x90\n"
		 "1: mov (%rdi), %rax; mov %rax, 8(%rdi); add %rsi, %rdi; dec %ecx; jnz 1b; ret");

static struct sigaction engines_handler; /* each test starts with cmocka's */

static void test_stride_to_nowhere(void **state)
{
	uint64_t frame[6];

	(void)state;
	sigaction(SIGSEGV, &engines_handler, NULL);
	LOAD(CODE, strides);
	for (unsigned i = 0; i < 3; i++) {
		run();
		assert_int_equal(regs.rip, FAULT + 1);
		assert_int_equal(regs.rdi, 1ull << 62);
		memcpy(frame, ram + regs.rsp, sizeof(frame));
		assert_int_equal(frame[0], 0);
		assert_int_equal(frame[1], CODE + 64);
	}
}

/* The page that is returned to is another by then. */
ROUTINE(return_elsewhere, "mov $100, %ecx; mov $" "0x20000" ", %esi\n"
			  "1: call *%rsi; dec %ecx; jnz 1b\n"
			  "movl $1, (0x30000); call *%rsi; hlt");
ROUTINE(calls_mapper, "push %rcx; mov $" "0x24800" ", %eax; call *%rax; mov $1, %ebx; pop %rcx; ret");
ROUTINE(other_rest, "push %rcx; mov $" "0x24800" ", %eax; call *%rax; mov $2, %ebx; pop %rcx; ret");
ROUTINE(mapper, "cmpl $0, (0x30000); je 1f; movl $0x28067, (0x4100); invlpg (0x20000)\n"
		"1: ret");

static void test_return_elsewhere(void **state)
{
	(void)state;
	assert_int_equal(LEAF(SUB), 0x4100);
	LOAD(CODE, return_elsewhere);
	LOAD(SUB, calls_mapper);
	LOAD(0x28000, other_rest);
	LOAD(OTHER + 0x800, mapper);
	run();
	assert_int_equal(regs.rbx, 2);
}

/*
 * A kernel that calls and, after a while, does not return but by SYSRET; the program returns there. It may not, and what the kernel has left
 * behind of its calls must not lead it there.
 */
ROUTINE(kernel, "1: call 2f\n"
		"inc %edi; jmp 1b\n"
		"2: cmp $40, %edi; je 3f; ret\n"
		"3: mov $" "0x20000" ", %ecx; mov $2, %r11d; sysretq\n"
		".fill 64 - (. - kernel), 1, 0x90\n"
		"add $8, %rsp; jmp 1b");
ROUTINE(returns_to_kernel, "lea 1f(%rip), %rax; dec %ebx; cmovz %rdx, %rax; push %rax; ret\n"
			   "1: syscall");
#define KERNEL_TSS 0x8000u

static void set_kernel(int cpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} msrs = { { .nmsrs = 2 }, { { .index = 0xc0000081, .data = 8ull << 32 | 0x1bull << 48 },
				     { .index = 0xc0000082, .data = CODE + 64 } } };
	struct kvm_sregs s;

	api(cpu, KVM_GET_SREGS, &s);
	s.efer |= 1;
	s.tr = (struct kvm_segment){ .base = KERNEL_TSS, .limit = 103, .selector = 24, .type = 11, .present = 1 };
	api(cpu, KVM_SET_SREGS, &s);
	assert_int_equal(anykvm_ioctl(cpu, KVM_SET_MSRS, (unsigned long)&msrs), 2);
	word(KERNEL_TSS + 4, SECOND_STACK);
	word(LEAF(CODE), CODE | 0x63); /* the kernel's */
	word(IDT + 16 * 14, FAULT | 8 << 16 | 0x8e00ull << 32);
}

static void test_return_into_kernel(void **state)
{
	struct kvm_regs r = { .rip = CODE, .rsp = STACK + 0x800, .rflags = 2, .rbx = 40, .rdx = CODE + 5 };
	struct kvm_sregs s;

	(void)state;
	LOAD(CODE, kernel);
	LOAD(SUB, returns_to_kernel);
	set_kernel(vcpu[0]);
	api(vcpu[0], KVM_SET_REGS, &r);
	finish(0);
	assert_int_equal(regs.rip, FAULT + 1);
	assert_int_equal(regs.rdi, 40);
	api(vcpu[0], KVM_GET_SREGS, &s);
	assert_int_equal(s.cr2, CODE + 5);
	assert_int_equal(load((unsigned)regs.rsp) & 5, 5); /* #PF of CPL 3, of a page that is there */
}

/* ---- pages at two addresses ----------------------------------------------------------------------- */

/* What depends on where it runs: RIP as pushed, as an address, as an operand's; in a loop, and over the page's end. */
ROUTINE(where, "mov $3, %r8d; xor %edx, %edx\n"
	       "1: call 3f\n"
	       "2: lea 2b(%rip), %r9; add %r9, %rdx; add %rax, %rdx; add 4f(%rip), %rdx\n"
	       "dec %r8d; jnz 1b; ret\n"
	       "3: mov (%rsp), %rax; ret\n"
	       "4: .quad 7");
ROUTINE(both_places, "mov $40, %ecx\n"
		     "1: call *%rsi; add %rdx, %rbx; dec %ecx; jnz 1b; mov $40, %ecx\n"
		     "2: call *%rdi; add %rdx, %rbp; call *%rsi; add %rdx, %rbx; dec %ecx; jnz 2b; hlt");

static void test_two_places(void **state)
{
	struct kvm_regs r = { .rip = CODE, .rsp = STACK + 0x800, .rflags = 2 };

	(void)state;
	LOAD(CODE, both_places);
	for (unsigned offset = 0; offset < PAGE; offset += PAGE - 40) {
		uint64_t site = SUB + offset + 13;

		word(LEAF(0x100000), SUB | 0x67);
		word(LEAF(0x101000), (SUB + PAGE) | 0x67);
		LOAD(SUB + offset, where);
		r.rsi = SUB + offset;
		r.rdi = 0x100000 + offset;
		api(vcpu[0], KVM_SET_REGS, &r);
		finish(0);
		assert_int_equal(regs.rbx, 80 * 3 * (2 * site + 7));
		assert_int_equal(regs.rbp, 40 * 3 * (2 * (site - SUB + 0x100000) + 7));
	}
}

/* ---- pages that are mapped anew ------------------------------------------------------------------- */

/* What is called, or jumped to, in a page is linked; then the page is another one. */
ROUTINE(remap, "mov $100, %ecx; xor %ebx, %ebx\n"
	       "1: call . + 0x10000 - (. - remap); add %eax, %ebx; dec %ecx; jnz 1b\n"
	       "movl $0x24067, (0x4100); invlpg (0x20800)\n"
	       "mov $100, %ecx\n"
	       "1: call . + 0x10000 - (. - remap); add %eax, %ebx; dec %ecx; jnz 1b; hlt");

static void test_invlpg_of_linked_code(void **state)
{
	(void)state;
	LOAD(CODE, remap);
	LOAD(SUB, give_1);
	LOAD(OTHER, give_2);
	run();
	assert_int_equal(regs.rbx, 300);
}

/* The same by a load of CR3. */
ROUTINE(remap_cr3, "mov $100, %ecx; xor %ebx, %ebx; mov %cr3, %rdx\n"
		   "1: call . + 0x10000 - (. - remap_cr3); add %eax, %ebx; dec %ecx; jnz 1b\n"
		   "movl $0x24067, (0x4100); mov %rdx, %cr3\n"
		   "mov $100, %ecx\n"
		   "1: call . + 0x10000 - (. - remap_cr3); add %eax, %ebx; dec %ecx; jnz 1b; hlt");

static void test_cr3_load(void **state)
{
	(void)state;
	LOAD(CODE, remap_cr3);
	LOAD(SUB, give_1);
	LOAD(OTHER, give_2);
	run();
	assert_int_equal(regs.rbx, 300);
}

/* An instruction reaches into a page that is another one then; a jump of its own page leads to it. */
ROUTINE(span, "mov $100, %ecx; mov $0x20000, %esi\n"
	      "1: call *%rsi; dec %ecx; jnz 1b; mov %eax, %ebx\n"
	      "movl $0x28067, (0x4108); invlpg (0x21000); mov $100, %ecx\n"
	      "1: call *%rsi; dec %ecx; jnz 1b; mov %eax, %edx\n"
	      "movl $0x21067, (0x4108); movb $0x33, (0x29000); invlpg (0x21000); call *%rsi; mov %eax, %edi\n"
	      "movl $0x28067, (0x4108); invlpg (0x21000); call *%rsi; mov %eax, %ebp\n"
	      "movb $0x44, (0x21000); call *%rsi; hlt");

static void test_spanning(void **state)
{
	(void)state;
	word(LEAF(0x29000), 0x28067);
	LOAD(CODE, span);
	memcpy(ram + SUB, "\xe9\xf9\x0f\x00\x00", 5);
	memcpy(ram + SUB + PAGE - 2, "\xb8\x11\x00\x00\x00\xc3", 6);
	memcpy(ram + 0x28000, "\x22\x00\x00\xc3", 4);
	run();
	assert_int_equal(regs.rbx, 0x11);
	assert_int_equal(regs.rdx, 0x2211);
	assert_int_equal(regs.rdi, 0x11);
	assert_int_equal(regs.rbp, 0x3311);
	assert_int_equal(regs.rax, 0x4411);
}

/* ---- more code than there is memory for --------------------------------------------------------------- */

static int setup_small(void **state)
{
	int r;

	setenv("ANYKVM_CODE_MB", "1", 1);
	r = setup(state);
	unsetenv("ANYKVM_CODE_MB");
	return r;
}

/* A chain of jumps through most of memory, some over page ends, again and again. */
static void test_much_code(void **state)
{
	unsigned n = 0, at = 0x41000;

	(void)state;
	for (; at < RAM_SIZE - 2 * PAGE; at += 5, n++)
		memcpy(ram + at, "\xff\xc0\x75\x01\xf4", 5); /* inc eax; jnz over hlt */
	ram[at] = 0xf4;
	for (unsigned i = 0; i < 6; i++) {
		start(0, 0x41000, STACK);
		finish(0);
		assert_int_equal(regs.rip, at + 1);
		assert_int_equal(regs.rax, n);
	}
}

#define ROUTINES 0x41000u
#define ROUTINE_SIZE 64u
#define NR_ROUTINES 3840u
#define LAPS 4u
ROUTINE(many_calls, "mov $4, %ebp\n"
		    "2: mov $0x41000, %esi\n"
		    "1: call *%rsi; add $64, %esi; cmp $0x7d000, %esi; jne 1b\n"
		    "dec %ebp; jnz 2b; hlt");
ROUTINE(one_of_many, "add $0, %eax; add $0x12345678, %eax; mov $9, %ecx\n"
		     "1: inc %ebx; dec %ecx; jnz 1b; ret");

/* Each adds its number, and loops; every fourth calls another one. The sum of a lap. */
static uint32_t load_routines(void)
{
	static const uint8_t mark[] = { 0x78, 0x56, 0x34, 0x12 };
	size_t size = (size_t)(one_of_many_end - one_of_many);
	uint8_t *number = memmem(one_of_many, size, mark, sizeof(mark));
	uint32_t sum = 0;

	for (uint32_t i = 0; i < NR_ROUTINES; i++) {
		uint8_t *to = ram + ROUTINES + i * ROUTINE_SIZE, *end = to + size - 1;
		int32_t back = -2 * (int32_t)ROUTINE_SIZE - (int32_t)(end + 5 - to);

		memcpy(to, one_of_many, size);
		memcpy(to + (number - one_of_many), &i, sizeof(i));
		sum += i;
		if (i % 4 != 3)
			continue;
		*end = 0xe8;
		memcpy(end + 1, &back, sizeof(back));
		end[5] = 0xc3;
		sum += i - 2;
	}
	return sum;
}

/* Calls, returns, loops, and two vCPUs at once; each throws away what it has of a part of them again and again. */
static void test_many_routines(void **state)
{
	uint32_t sum = load_routines();
	pthread_t thread;

	(void)state;
	LOAD(CODE, many_calls);
	start(1, CODE, STACK - 2 * PAGE);
	pthread_create(&thread, NULL, other_vcpu, NULL);
	run();
	pthread_join(thread, NULL);
	for (unsigned n = 0; n < 2; n++) {
		api(vcpu[n], KVM_GET_REGS, &regs);
		assert_int_equal(regs.rax, LAPS * sum);
		assert_int_equal(regs.rbx, LAPS * NR_ROUTINES * 9 / 4 * 5);
	}
}

/* ---- written by the VMM ----------------------------------------------------------------------------- */

/* While the guest waits in KVM_RUN somebody writes code; it is run by a new translation (INVLPG). */
ROUTINE(wait_and_call, "mov $0x20000, %esi; mov $60, %ecx\n"
		       "1: call *%rsi; dec %ecx; jnz 1b\n"
		       "movl $1, (0x30000)\n"
		       "2: pause; cmpl $2, (0x30000); jne 2b\n"
		       "invlpg (0x20000); call *%rsi; hlt");
/* Without paging, by a jump from another page (32-bit code). */
ROUTINE(wait_and_call_32, ".code32; mov $0x20000, %esi; mov $60, %ecx\n"
			  "1: call *%esi; dec %ecx; jnz 1b\n"
			  "movl $1, (0x30000)\n"
			  "2: pause; cmpl $2, (0x30000); jne 2b\n"
			  "call *%esi; hlt; .code64");

static void *write_code(void *unused)
{
	while (load(DATA) != 1)
		usleep(100);
	LOAD(SUB, give_2);
	store(DATA, 2);
	return unused;
}

static void written_meanwhile(void)
{
	pthread_t thread;

	LOAD(SUB, give_1);
	pthread_create(&thread, NULL, write_code, NULL);
	run();
	pthread_join(thread, NULL);
	assert_int_equal(regs.rax, 2);
}

static void test_dma_with_paging(void **state)
{
	(void)state;
	LOAD(CODE, wait_and_call);
	written_meanwhile();
}

static void test_dma_without_paging(void **state)
{
	(void)state;
	set_system(vcpu[0], false);
	LOAD(CODE, wait_and_call_32);
	written_meanwhile();
}

/* ---- written by another vCPU -------------------------------------------------------------------------- */

#define ROUNDS 2000

/*
 * One writes the number of the round into an instruction and tells it, the other executes it once CPUID has
 * serialized, and says what came out: 0x30000 told, 0x30040 out, 0x30080 done.
 */
ROUTINE(writer, "xor %ebx, %ebx\n"
		"1: inc %ebx; mov %ebx, (0x20001); mov %ebx, (0x30000)\n"
		"2: pause; cmp %ebx, (0x30080); jne 2b\n"
		"cmp %ebx, (0x30040); jne 3f\n"
		"cmp $" "2000" ", %ebx; jne 1b\n"
		"3: hlt");
ROUTINE(reader, "xor %edi, %edi; mov $0x20000, %esi\n"
		"1: pause; mov (0x30000), %eax; cmp %edi, %eax; je 1b\n"
		"mov %eax, %edi; xor %eax, %eax; cpuid\n"
		"call *%rsi; mov %eax, (0x30040); mov %edi, (0x30080)\n"
		"cmp $" "2000" ", %edi; jne 1b; hlt");

static void test_other_vcpu_writes(void **state)
{
	pthread_t thread;

	(void)state;
	LOAD(CODE, writer);
	LOAD(CODE + PAGE, reader);
	LOAD(SUB, give_1);
	start(1, CODE + PAGE, SECOND_STACK);
	pthread_create(&thread, NULL, other_vcpu, NULL);
	run();
	assert_int_equal(regs.rbx, ROUNDS);
	assert_int_equal(load(DATA + 0x40), ROUNDS);
	pthread_join(thread, NULL);
}

/* Both run the same code, and each takes the page for data now and then: hundreds of writes beside the code. */
ROUTINE(both_write, "mov $60, %ecx; xor %ebx, %ebx; mov $0x20000, %esi\n"
		    "1: mov $300, %eax\n"
		    "2: lock incl (0x20800); dec %eax; jnz 2b\n"
		    "call *%rsi; add %eax, %ebx; dec %ecx; jnz 1b; hlt");

static void test_both_write_beside(void **state)
{
	pthread_t thread;

	(void)state;
	LOAD(CODE, both_write);
	LOAD(SUB, give_1);
	start(1, CODE, SECOND_STACK);
	pthread_create(&thread, NULL, other_vcpu, NULL);
	run();
	assert_int_equal(regs.rbx, 60);
	pthread_join(thread, NULL);
	api(vcpu[1], KVM_GET_REGS, &regs);
	assert_int_equal(regs.rbx, 60);
	assert_int_equal(load(SUB + 0x800), 2 * 60 * 300);
}

#define SMALL(f) \
	{ #f " (interpreter)", f, setup_small, teardown, (void *)"interp" }, \
	{ #f " (translator)", f, setup_small, teardown, (void *)"jit" }, \
	{ #f " (both)", f, setup_small, teardown, (void *)"auto" }
#define BOTH(f) \
	{ #f " (interpreter)", f, setup, teardown, (void *)"interp" }, \
	{ #f " (translator)", f, setup, teardown, (void *)"jit" }, \
	{ #f " (both)", f, setup, teardown, (void *)"auto" }

/* ---- a guest with little to do -------------------------------------------------------------------- */

#define WRITE_MSR(index, value) "mov $" #index ", %ecx; mov $" #value ", %eax; xor %edx, %edx; wrmsr\n"

/* A tick every 2 ms: x2APIC's timer. After each some work, by routines that call each other. */
ROUTINE(dozing, WRITE_MSR(0x80f, 0x1ff) WRITE_MSR(0x83e, 0xb) WRITE_MSR(0x832, 0x20040) WRITE_MSR(0x838, 2000000)
		"xor %ebx, %ebx; mov $40, %ebp; mov $0x20000, %edi; mov $0x24000, %esi\n"
		"1: sti; hlt; cli; mov $100, %r8d\n"
		"2: call *%rdi; add %eax, %ebx; call *%rsi; add %eax, %ebx; dec %r8d; jnz 2b\n"
		"dec %ebp; jnz 1b; out %al, $0x10; hlt");
ROUTINE(tick, "push %rax; push %rcx; push %rdx\n" WRITE_MSR(0x80b, 0) "pop %rdx; pop %rcx; pop %rax; iretq");

/* What it has decoded is thrown away while it sleeps, if the processor is free enough for it to be idle. */
static void test_idle(void **state)
{
	int own = anykvm_ioctl(kvm, KVM_CREATE_VM, 0), cpu;
	struct kvm_regs r = { .rip = CODE, .rsp = STACK, .rflags = 2 };
	struct kvm_run *exit;
	struct kvm_sregs s;

	(void)state;
	api(own, KVM_CREATE_IRQCHIP, NULL);
	api(own, KVM_SET_USER_MEMORY_REGION,
	    &(struct kvm_userspace_memory_region){ .memory_size = RAM_SIZE, .userspace_addr = (uint64_t)ram });
	LOAD(CODE, dozing);
	LOAD(SUB, give_1);
	LOAD(OTHER, give_2);
	LOAD(FAULT + 0x100, tick);
	word(0x5010, 0x00cf93000000ffffull);
	word(IDT + 16 * 0x40, (FAULT + 0x100) | 8 << 16 | 0x8e00ull << 32);
	setenv("ANYKVM_IDLE_MS", "3", 1);
	cpu = anykvm_ioctl(own, KVM_CREATE_VCPU, 0);
	unsetenv("ANYKVM_IDLE_MS");
	assert_true(cpu >= 0);
	exit = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	set_cpuid(cpu);
	set_system(cpu, true);
	api(cpu, KVM_GET_SREGS, &s);
	s.apic_base |= 0xc00;
	api(cpu, KVM_SET_SREGS, &s);
	api(cpu, KVM_SET_REGS, &r);
	api(cpu, KVM_RUN, NULL);
	assert_int_equal(exit->exit_reason, KVM_EXIT_IO);
	api(cpu, KVM_GET_REGS, &r);
	assert_int_equal(r.rbx, 40 * 100 * 3);
	munmap(exit, PAGE);
	anykvm_close(cpu);
	anykvm_close(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_recursion),
		BOTH(test_unpaired),
		BOTH(test_coroutines),
		BOTH(test_wild_return),
		BOTH(test_stride_to_nowhere),
		BOTH(test_return_elsewhere),
		BOTH(test_return_into_kernel),
		BOTH(test_two_places),
		BOTH(test_invlpg_of_linked_code),
		BOTH(test_cr3_load),
		BOTH(test_spanning),
		SMALL(test_much_code),
		SMALL(test_many_routines),
		BOTH(test_dma_with_paging),
		BOTH(test_dma_without_paging),
		BOTH(test_other_vcpu_writes),
		BOTH(test_both_write_beside),
		BOTH(test_idle),
	};

	alarm(600);
	anykvm_close(anykvm_open());
	sigaction(SIGSEGV, NULL, &engines_handler);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
