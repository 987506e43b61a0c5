// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct execution (engine/soft/direct.c): whatever user code does, it comes to what it comes to in the engine that
 * executes each instruction itself. Each program runs once in either, from the same state to the first exception,
 * interrupt or system call; registers, all memory, and the state of x87 and SSE are the same then, and the vector is
 * the one expected.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/user_guest.h"

/* The supervisor's pages; those that user code has, by what its page tables say. */
#define STOPS 0x10000u /* a HLT for each vector, and one for SYSCALL */
#define STACK 0x20000u
#define CODE 0x100000u	/* two pages, then none */
#define EDGE 0x104000u	/* code up to the end of a page, before one that is not executable */
#define BOTH 0x108000u	/* writable and executable */
#define TWICE 0x10a000u /* executable, and writable at SECOND */
#define DATA 0x110000u
#define SECOND 0x118000u
#define KERNEL 0x11a000u
#define ROM 0x11c000u
#define USER_STACK 0x114000u
#define TOP "0x7ffffffff000"

#define TO_SYSCALL 0x100u
#define CODE_PAGE 0x25u
#define DATA_PAGE 0x67u
#define NX (1ull << 63)

struct outcome {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_xsave xsave;
	uint8_t memory[RAM_SIZE];
	uint64_t runs;
	uint32_t exit;
};

/* ---- the machine ---------------------------------------------------------------------------------- */

static void map_page(unsigned at, uint64_t what)
{
	word(TABLES + 0x3000 + at / 4096 * 8, what);
}

static void make_tables(void)
{
	word(TABLES, 0x2067);
	word(TABLES + 0x1000, 0x3067);
	word(TABLES + 0x2000, 0x4067);
	word(TABLES + 8 * 255, 0x5067);
	word(TABLES + 0x4000 + 8 * 511, 0x6067);
	word(TABLES + 0x5000 + 8 * 511, 0x7067);
	word(TABLES + 0x6000 + 8 * 511, (DATA + 0x3000) | DATA_PAGE | NX);
	for (unsigned page = 0; page < CODE; page += 0x1000)
		map_page(page, page | 0x63);
	map_page(CODE, CODE | CODE_PAGE);
	map_page(CODE + 0x1000, (CODE + 0x1000) | CODE_PAGE);
	map_page(EDGE, EDGE | CODE_PAGE);
	map_page(EDGE + 0x1000, (EDGE + 0x1000) | CODE_PAGE | NX);
	map_page(BOTH, BOTH | DATA_PAGE);
	map_page(TWICE, TWICE | CODE_PAGE);
	for (unsigned page = DATA; page < USER_STACK; page += 0x1000)
		map_page(page, page | DATA_PAGE | NX);
	map_page(SECOND, TWICE | DATA_PAGE | NX);
	map_page(KERNEL, KERNEL | 0x63);
	map_page(ROM, ROM | CODE_PAGE | NX);
}

static void make_memory(void)
{
	make_tables();
	for (unsigned v = 0; v <= TO_SYSCALL; v++)
		ram[STOPS + 16 * v] = 0xf4;
	for (unsigned v = 0; v < 256; v++)
		gate(v, STOPS + 16 * v, v == 3 || v == 4 || v == 0x80 || v == 0x81);
	make_descriptors(STACK);
	for (unsigned i = 0; i < 0x1000; i++)
		ram[DATA + i] = (uint8_t)(i * 7 + 1);
}

/* Not the host's. */
static void set_other_cpuid(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	api(vcpu, KVM_GET_CPUID2, c);
	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 1)
			c->entries[i].eax = 0x000306f2;
		if (c->entries[i].function >= 0x80000002 && c->entries[i].function <= 0x80000004)
			c->entries[i].ebx = 0x21212121;
	}
	api(vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static void set_control(uint64_t cr0, uint64_t efer)
{
	set_system(vcpu, true, cr0, 0x506a0, efer); /* PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE */
	set_msr(vcpu, 0xc0000081, (uint64_t)0x23 << 48 | (uint64_t)8 << 32); /* STAR */
	set_msr(vcpu, 0xc0000082, STOPS + 16 * TO_SYSCALL);
	set_msr(vcpu, 0xc0000084, 0x47700);
	set_msr(vcpu, 0xc0000100, DATA + 0x800); /* FS's base, GS's */
	set_msr(vcpu, 0xc0000101, DATA + 0x1800);
	set_msr(vcpu, 0xc0000103, 0x4321); /* TSC_AUX */
}

#define CR0 0x80050033u
#define EFER 0xd01u

static void open_machine(bool direct)
{
	open_guest("auto", direct ? "force" : "off", false);
	use_engines_handler();
	set_other_cpuid();
	make_memory();
	set_control(CR0, EFER);
}

static void start_at(uint64_t rip)
{
	struct kvm_regs regs;
	uint64_t *r = (uint64_t *)&regs;

	for (unsigned i = 0; i < 16; i++)
		r[i] = 0x1111111111111111ull * i + 0x123;
	regs.rip = rip;
	regs.rsp = USER_STACK - 0x800;
	regs.rdi = DATA;
	regs.rsi = DATA + 0x1000;
	regs.rflags = 0x202;
	api(vcpu, KVM_SET_REGS, &regs);
}

/* ---- programs ------------------------------------------------------------------------------------- */

struct program {
	const char *name;
	const uint8_t *code, *end;
	unsigned vector, at;
	uint64_t cr0, efer;
	bool tells; /* it must not run directly */
};

static struct outcome outcome[2];

static void run_program(const struct program *p, bool direct, struct outcome *o)
{
	open_machine(direct);
	set_control(p->cr0, p->efer);
	memcpy(ram + p->at, p->code, (size_t)(p->end - p->code));
	start_at(p->at);
	memset(o, 0, sizeof(*o));
	api(vcpu, KVM_RUN, NULL);
	o->exit = shared->exit_reason;
	api(vcpu, KVM_GET_REGS, &o->regs);
	api(vcpu, KVM_GET_SREGS, &o->sregs);
	api(vcpu, KVM_GET_DEBUGREGS, &o->debug);
	api(vcpu, KVM_GET_VCPU_EVENTS, &o->events);
	api(vcpu, KVM_GET_XSAVE, &o->xsave);
	memset((uint8_t *)&o->xsave + 6, 0, 18); /* FOP, FIP and FDP: AMD's processors keep them for exceptions alone */
	memset(&o->xsave.region[128], 0, 8); /* which components are initial, the processor may say or not */
	memcpy(o->memory, ram, RAM_SIZE);
	o->runs = counter("direct_runs");
	close_guest();
}

static void same_memory(const char *name)
{
	for (unsigned i = 0; i < RAM_SIZE; i += 8) {
		uint64_t a, b;

		memcpy(&a, outcome[0].memory + i, 8);
		memcpy(&b, outcome[1].memory + i, 8);
		if (a != b)
			fail_msg("%s: at %#x %#llx, directly %#llx", name, i, (long long)a, (long long)b);
	}
}

static void same_registers(const char *name)
{
	const uint64_t *a = (uint64_t *)&outcome[0].regs, *b = (uint64_t *)&outcome[1].regs;

	for (unsigned i = 0; i < sizeof(struct kvm_regs) / 8; i++)
		if (a[i] != b[i])
			fail_msg("%s: register %u %#llx, directly %#llx", name, i, (long long)a[i], (long long)b[i]);
}

static void compare(const struct program *p)
{
	run_program(p, false, &outcome[0]);
	run_program(p, true, &outcome[1]);
	assert_int_equal(outcome[0].runs, 0);
	assert_int_equal(outcome[0].exit, KVM_EXIT_HLT);
	assert_int_equal(outcome[1].exit, KVM_EXIT_HLT);
	if (p->tells == !!outcome[1].runs)
		fail_msg("%s: has run directly %llu times", p->name, (long long)outcome[1].runs);
	if ((outcome[0].regs.rip - 1 - STOPS) / 16 != p->vector)
		fail_msg("%s: vector %llu", p->name, (outcome[0].regs.rip - 1 - STOPS) / 16);
	same_registers(p->name);
	same_memory(p->name);
	assert_memory_equal(&outcome[0].sregs, &outcome[1].sregs, sizeof(struct kvm_sregs));
	assert_memory_equal(&outcome[0].debug, &outcome[1].debug, sizeof(struct kvm_debugregs));
	assert_memory_equal(&outcome[0].events, &outcome[1].events, sizeof(struct kvm_vcpu_events));
	assert_memory_equal(&outcome[0].xsave, &outcome[1].xsave, sizeof(struct kvm_xsave));
}

#define PROGRAM_WITH(name, stop, where, text, cr0, efer, tells) \
	extern const uint8_t code_##name[], code_##name##_end[]; \
	__asm__(".pushsection .rodata\ncode_" #name ":\n" text "\ncode_" #name "_end:\n.popsection"); \
	static void name(void **state) \
	{ \
		(void)state; \
		compare(&(struct program){ #name, code_##name, code_##name##_end, stop, where, cr0, efer, tells }); \
	}
#define PROGRAM_AT(name, stop, where, text) PROGRAM_WITH(name, stop, where, text, CR0, EFER, false)
#define PROGRAM(name, stop, text) PROGRAM_AT(name, stop, CODE, text)
#define TELLING(name, stop, text) PROGRAM_WITH(name, stop, CODE, text, CR0, EFER, true)
#define END "\nint $0x81\n"
/* Bits to or out of RFLAGS. */
#define FLAGS(bits) "pushfq; orq $" bits ", (%rsp); popfq\n"
#define TOUCH "mov (%rdi), %al; mov %al, (%rdi); mov -8(%rsp), %al; mov %al, -8(%rsp); nop\n"

PROGRAM(computes, 0x81, "xor %ecx, %ecx; 1: imul $7, %rax; add %rcx, %rax; inc %ecx; cmp $1000, %ecx; jne 1b" END)
PROGRAM(system_call, TO_SYSCALL, "mov $60, %eax; syscall")
PROGRAM(system_call_of_x32, TO_SYSCALL, "mov $0x40000001, %eax; stc; std; syscall")
PROGRAM(system_call_with_rex, TO_SYSCALL, "mov $-1, %rax; .byte 0x48; syscall")
PROGRAM_WITH(system_call_disabled, 6, CODE, "mov $1, %eax; syscall", CR0, 0xd00, true)
PROGRAM(system_enter, 6, "nop; sysenter")
PROGRAM(int_80, 0x80, "mov $-1, %rax; nop; int $0x80")
PROGRAM(int_82, 13, "nop; int $0x82")
PROGRAM(int3, 3, "nop; int3")
PROGRAM(int3_of_two_bytes, 3, "nop; .byte 0xcd, 3; nop")
PROGRAM(int3_with_prefix, 3, "nop; .byte 0x66; int3; nop")
PROGRAM(int4, 4, "nop; .byte 0xcd, 4; nop; hlt")
PROGRAM(int1, 1, "nop; .byte 0xf1; nop")
PROGRAM(int1_of_two_bytes, 13, "nop; .byte 0xcd, 1; nop")
PROGRAM(divides_by_zero, 0, "xor %ecx, %ecx; div %ecx")
PROGRAM(undefined, 6, "nop; ud2")
PROGRAM(halts, 13, "nop; hlt")
PROGRAM(reads_port, 13, "nop; in $0x80, %al")
PROGRAM(writes_port, 13, "nop; out %al, (%dx)")
PROGRAM(disables_interrupts, 13, "nop; cli")
PROGRAM(enables_interrupts, 13, "nop; sti")
PROGRAM(writes_msr, 13, "mov $0x10, %ecx; wrmsr")
PROGRAM(writes_cr3, 13, "nop; mov %rax, %cr3")
PROGRAM(reads_dr7, 13, "nop; mov %dr7, %rax")
PROGRAM(loads_gdt, 13, "nop; lgdt (%rdi)")
PROGRAM(reads_not_canonical, 13, "mov $0x800000000000, %rax; mov (%rax), %al")
PROGRAM(jumps_not_canonical, 13, "mov $0x800000000000, %rax; jmp *%rax")
PROGRAM(returns_not_canonical, 13, "mov $0xff00000000000000, %rax; push %rax; ret")
PROGRAM(stack_not_canonical, 12, "mov $0x8000000000000000, %rsp; push %rax")
PROGRAM(reads_absent, 14, "mov $0x105678, %rdx; mov $0x123456, %eax; mov (%rax), %bl")
PROGRAM(writes_absent, 14, "mov $0x123456, %eax; mov %bl, (%rax)")
PROGRAM(reads_supervisors, 14, "mov $0x11a010, %eax; mov (%rax), %bl")
PROGRAM(writes_supervisors, 14, "mov $0x11a010, %eax; lock incl (%rax)")
PROGRAM(writes_read_only, 14, "mov $0x11c010, %eax; mov (%rax), %bl; nop; mov (%rax), %bl; mov %bl, (%rax)")
PROGRAM(executes_absent, 14, "mov $0x123456, %eax; jmp *%rax")
PROGRAM(executes_supervisors, 14, "mov $0x10010, %eax; jmp *%rax")
PROGRAM(executes_data, 14, "mov (%rdi), %al; jmp *%rdi")
PROGRAM(reads_upper_half, 14, "mov $0xffff888000000000, %rax; mov (%rax), %bl")
PROGRAM(calls_vsyscall, 14, TOUCH "push %rax; pop %rcx; mov $0xffffffffff600400, %rdx; mov $201, %eax; xor %edi, %edi;"
	"call *%rdx" END)
PROGRAM(reads_vsyscall, 14, "mov $0xffffffffff600000, %rax; mov (%rax), %rax" END)
PROGRAM(reads_absent_high, 14, "mov $0x7fff00000000, %rax; mov (%rax), %rax" END)
PROGRAM(uses_top, 0x81, "mov $" TOP ", %rax; mov %bl, 5(%rax); mov 5(%rax), %cl; mov %bl, 6(%rax);"
	"mov 0xff8(%rax), %rdx" END)
PROGRAM(reads_over_top, 13, "mov $" TOP ", %rax; mov 0xffc(%rax), %rdx" END)
PROGRAM(over_two_pages, 0x81, ".fill 0xffd, 1, 0x90\nmov $0x123456789abcdef0, %rax" END)
PROGRAM(into_absent_page, 14, ".fill 0x1ffd, 1, 0x90\nmov $0x123456789abcdef0, %rax")
PROGRAM_AT(into_data_page, 14, EDGE, ".fill 0xffd, 1, 0x90\nmov $0x123456789abcdef0, %rax")
PROGRAM(string_over_end, 14, "mov $0x3000, %ecx; mov %ecx, %edx; lea 0x1800(%rdi), %rdi; cld; rep movsb")
PROGRAM(stack_over_end, 14, "mov $0x110008, %esp; push %rax; push %rbx; mov %esp, %ecx; push %rcx")
PROGRAM(x87_exception, 16, "fninit; pushq $0x360; fldcw (%rsp); fldcw (%rsp); fld1; fldz; fdivrp; fwait")
PROGRAM(x87_exception_later, 16, "fninit; pushq $0x360; fldcw (%rsp); fldcw (%rsp); fld1; fldz; fdivrp;"
	"mov (%rdi), %al; nop; fld1")
PROGRAM(sse_exception, 19, "pushq $0x1d80; ldmxcsr (%rsp); ldmxcsr (%rsp); xorps %xmm1, %xmm1; pcmpeqd %xmm0, %xmm0;"
	"pslld $25, %xmm0; psrld $2, %xmm0; divps %xmm1, %xmm0")
PROGRAM(misaligned_sse, 13, TOUCH "movaps 1(%rdi), %xmm0")
PROGRAM(alignment, 17, TOUCH FLAGS("0x40000") "mov 1(%rdi), %eax")
PROGRAM_WITH(alignment_not_checked, 0x81, CODE, TOUCH FLAGS("0x40000") "mov 1(%rdi), %eax; mov 3(%rdi), %rcx" END,
	0x80010033, EFER, false)
PROGRAM(single_step, 1, FLAGS("0x100") "nop; nop")
PROGRAM(single_step_of_access, 1, "push %rax;" FLAGS("0x100") "mov 0x1000(%rdi), %rax; nop")
PROGRAM(single_step_of_first_access, 1, FLAGS("0x100") "mov 0x8000(%rdi), %rax; nop")
PROGRAM(single_step_of_cpuid, 1, FLAGS("0x100") "xor %eax, %eax; nop")
PROGRAM(single_step_faults, 14, FLAGS("0x100") "mov 0x123456, %al; nop")
PROGRAM(single_step_of_syscall, TO_SYSCALL, FLAGS("0x100") "syscall; nop")
PROGRAM(single_step_of_int3, 3, FLAGS("0x100") "int3; nop")
PROGRAM(flags_survive, 3, FLAGS("0x200ed5 + 0x44000") "nop; int3")
PROGRAM(cpuid, 0x81, "mov $1, %eax; cpuid; mov %eax, (%rdi); mov $0x80000002, %eax; xor %ecx, %ecx; cpuid" END)
PROGRAM_AT(cpuid_across_pages, 0x81, CODE + 0xffa, "mov $1, %eax; cpuid" END)
PROGRAM(cpuid_in_loop, 0x81,
	"mov $50, %r8d; 1: xor %ecx, %ecx; mov $1, %eax; cpuid; add %eax, %r9d; dec %r8d; jnz 1b; mov %r9d, (%rdi)" END)
PROGRAM(cpuid_within, 0x81, "mov $0x1a20f, %eax; add $0xa20f, %rax; nop; cpuid; mov %eax, (%rdi)" END)
PROGRAM(xgetbv, 0x81, "xor %ecx, %ecx; xgetbv" END)
PROGRAM(processor_number, 0x81, "rdpid %rax" END)
TELLING(descriptor_tables, 0x81, "sgdt (%rdi); sidt 16(%rdi); smsw %rcx; sldt %rdx; str %rbx" END)
PROGRAM(descriptors, 0x81, "mov $0x2b, %eax; lsl %eax, %ecx; mov $0x7b, %eax; lsl %eax, %ebx; lar %eax, %edx;"
	"verr %ax; setz %r8b" END)
PROGRAM(hypercall, 0x81, "mov $1, %eax; vmmcall" END)
PROGRAM(protection_keys, 6, "xor %eax, %eax; xor %ecx, %ecx; xor %edx, %edx; wrpkru" END)
PROGRAM(sse_state, 0x81, "pcmpeqd %xmm3, %xmm3; movq %rax, %xmm0; movq %rbx, %xmm15; punpcklqdq %xmm0, %xmm15;"
	"vpcmpeqd %ymm7, %ymm7, %ymm7;"
	"vpsrlq $5, %ymm7, %ymm7; mov (%rdi), %al; vpaddb %ymm7, %ymm7, %ymm9; pushq $0x7f80; ldmxcsr (%rsp);"
	"ldmxcsr (%rsp); nop" END)
/* With all of XMM initial: loaded by a handler, and there. */
PROGRAM(control_of_sse, 0x81, "vzeroall; ldmxcsr 0x1000(%rdi); mov (%rdi), %al; stmxcsr 8(%rdi); nop; stmxcsr 12(%rdi)" END)
PROGRAM(control_of_sse_there, 0x81, TOUCH "pushq $0x3f80; vzeroall; ldmxcsr (%rsp); mov 0x1000(%rdi), %al; nop;"
	"stmxcsr 8(%rdi); nop; stmxcsr 12(%rdi)" END)
PROGRAM(x87_state, 0x81, "fninit; fld1; fldpi; fldl2e; fmul %st(1); fstp %st(2); mov (%rdi), %al; fldln2;"
	"pushq $0xf7f; fldcw (%rsp); fldcw (%rsp);"
	"fildl (%rdi); fildl (%rdi); ffree %st(1)" END)
PROGRAM(mmx_state, 0x81, "movq %rax, %mm3; movq %rbx, %mm7; paddb %mm3, %mm7; mov (%rdi), %al; nop" END)
PROGRAM(saves_state, 0x81, TOUCH "fld1; movq %rax, %xmm4; mov $-1, %eax; mov $-1, %edx; and $~63, %edi;"
	"xsave 0x1000(%rdi); nop; xsave 0x1000(%rdi)" END)
PROGRAM(loads_segments, 0x81, "mov $0x2b, %eax; mov %eax, %es; mov %eax, %ds; mov %eax, %fs; mov %eax, %gs;"
	"xor %eax, %eax; mov %eax, %gs; nop" END)
PROGRAM(loads_other_level, 0x81, "mov $0x28, %eax; mov %eax, %es; mov $3, %eax; mov %eax, %ds; nop" END)
PROGRAM(loads_supervisors_segment, 13, "mov $0x10, %eax; mov %eax, %es")
PROGRAM(loads_no_segment, 13, "mov $0x73, %eax; mov %eax, %fs")
PROGRAM(segment_bases, 0x81, "mov %fs:8, %rax; mov %gs:8, %rbx; nop; mov %fs:8, %rax; rdfsbase %rcx; add $8, %rcx;"
	"wrfsbase %rcx; wrgsbase %rdi;"
	"mov %fs:8, %rdx; mov %gs:8, %rbp" END)
PROGRAM(segment_base_above, 14, "mov $0xffff888000000000, %rax; wrgsbase %rax; nop; nop; mov %gs:8, %al")
PROGRAM(segment_base_not_canonical, 13, "mov $0x888000000000, %rax; wrfsbase %rax")
#define TO_32 "pushq $0x23; lea 1f(%rip), %rax; push %rax; lretq; 1: .code32\n"
#define FROM_32 "\nljmp $0x33, $2f - code_there_and_back + 0x100000\n.code64\n2: nop\n"
PROGRAM(there_and_back, 0x81, TOUCH TO_32 "inc %eax; dec %ecx; nop; add %eax, %ebx" FROM_32 END)
PROGRAM(in_32_bits, 0x81, TOUCH TO_32 "mov $0x2b, %edx; mov %edx, %ds; inc %eax; dec %ecx; add %eax, (%edi);"
	".code64" END)
PROGRAM(interrupt_return, 0x81, "mov %rsp, %rcx; pushq $0x2b; push %rcx; pushq $0x40ed7; pushq $0x33;"
	"lea 1f(%rip), %rax; push %rax; iretq; 1: nop; nop" END)
PROGRAM(interrupt_return_steps, 1, "mov %rsp, %rcx; pushq $0x2b; push %rcx; pushq $0x302; pushq $0x33;"
	"lea 1f(%rip), %rax; push %rax; iretq; 1: nop; nop" END)
PROGRAM(far_to_supervisors, 13, "pushq $8; lea 1f(%rip), %rax; push %rax; lretq; 1: nop" END)
/* mov $number, %al; ret: written, then executed. */
PROGRAM(changes_code, 0x81, "xor %edx, %edx; mov $0x108000, %ebp; 1: mov $0xc300b0, %eax; mov %dl, %ah;"
	"mov %eax, (%rbp); call *%rbp;"
	"mov %al, (%rdi, %rdx); inc %edx; cmp $40, %edx; jne 1b" END)
PROGRAM(changes_code_elsewhere, 0x81, "xor %edx, %edx; mov $0x118000, %ebp; mov $0x10a000, %ebx;"
	"1: mov $0xc300b0, %eax; mov %dl, %ah; mov %eax, (%rbp);"
	"call *%rbx; mov %al, (%rdi, %rdx); inc %edx; cmp $40, %edx; jne 1b" END)
PROGRAM(runs_on_data, 0x81, "mov %ebx, 0x108000; movb $0xc3, 0x108000; movb $0xcd, 0x108000; movw $0x80cd, 0x108000;"
	"movb $0x81, 0x108001; mov $0x108000, %eax; call *%rax")

/* The guest's time, of which it is told when it is set. */
static const uint8_t reads_time[] = {
	0x0f, 0x31, 0x89, 0x07, 0x89, 0x57, 0x04, 0x0f, 0x01, 0xf9, 0x89, 0x4f, 0x08, 0xcd, 0x81,
};

static void time_stamp(void **state)
{
	uint64_t tsc;

	(void)state;
	open_machine(true);
	set_msr(vcpu, 0x10, 1ull << 60);
	memcpy(ram + CODE, reads_time, sizeof(reads_time));
	start_at(CODE);
	run_guest(KVM_EXIT_HLT);
	memcpy(&tsc, ram + DATA, 8);
	assert_true(tsc >> 56 == 0x10);
	assert_int_equal(*(uint32_t *)(ram + DATA + 8), 0x4321);
	assert_int_not_equal(counter("direct_runs"), 0);
	close_guest();
}

/* Reads it a thousand times. */
static const uint8_t reads_time_often[] = {
	0xb9, 0xe8, 0x03, 0x00, 0x00, 0x0f, 0x31, 0xff, 0xc9, 0x75, 0xfa, 0x89, 0x07, 0x89, 0x57, 0x04, 0xcd, 0x81,
};

static uint64_t host_time(void)
{
	uint32_t low, high;

	__asm__ volatile("mfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t guest_time(void)
{
	uint64_t tsc;

	start_at(CODE);
	run_guest(KVM_EXIT_HLT);
	memcpy(&tsc, ram + DATA, 8);
	return tsc;
}

/* Where it is the host's it is read directly, until it is another one again. */
static void time_stamp_of_host(void **state)
{
	uint64_t offset = 0, before, tsc;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset,
	};

	(void)state;
	open_machine(true);
	api(vcpu, KVM_SET_DEVICE_ATTR, &attr);
	memcpy(ram + CODE, reads_time_often, sizeof(reads_time_often));
	before = host_time();
	tsc = guest_time();
	assert_in_range(tsc, before, host_time());
	assert_in_range(counter("direct_faults"), 1, 100);
	set_msr(vcpu, 0x10, 1ull << 60);
	set_control(CR0, EFER);
	assert_true(guest_time() >> 56 == 0x10);
	assert_true(counter("direct_faults") > 1000);
	close_guest();
}

/* ---- what stops it -------------------------------------------------------------------------------- */

/* 1: inc %rax; mov %rax, (%rdi); jmp 1b */
static const uint8_t loops[] = { 0x48, 0xff, 0xc0, 0x48, 0x89, 0x07, 0xeb, 0xf8 };
static pthread_t runner;
static volatile int runner_tid;
static int result, result_errno;

static void on_signal(int sig)
{
	(void)sig;
	anykvm_interrupt();
}

static void open_code(const uint8_t *code, size_t size)
{
	struct sigaction a = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &a, NULL);
	open_machine(true);
	memcpy(ram + CODE, code, size);
	start_at(CODE);
}

static void open_loop(void)
{
	open_code(loops, sizeof(loops));
	word(DATA, 0);
}

static uint64_t loop_count(void)
{
	return __atomic_load_n((uint64_t *)(ram + DATA), __ATOMIC_RELAXED);
}

static void await_count(uint64_t count)
{
	while (loop_count() < count)
		usleep(1000);
}

static void *run_once(void *unused)
{
	cpu_set_t before, after;

	sched_getaffinity(0, sizeof(before), &before);
	runner_tid = (int)syscall(SYS_gettid);
	result = anykvm_ioctl(vcpu, KVM_RUN, 0);
	result_errno = errno;
	sched_getaffinity(0, sizeof(after), &after);
	if (memcmp(&before, &after, sizeof(before)))
		result = -99;
	return unused;
}

/* The thread's twin, once it has computed for two of the clock's ticks. */
static int running_twin(void)
{
	char path[64];
	int pid = 0, ticks = 0;

	for (unsigned tries = 0; ticks < 2 && tries < 10000; tries++, usleep(1000)) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%d/children", runner_tid);
		f = fopen(path, "r");
		if (!f || fscanf(f, "%d", &pid) != 1)
			pid = 0;
		if (f)
			fclose(f);
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		f = pid ? fopen(path, "r") : NULL;
		if (f && fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %d", &ticks) != 1)
			ticks = 0;
		if (f)
			fclose(f);
	}
	return ticks >= 2 ? pid : 0;
}

static int start_running(void)
{
	runner_tid = 0;
	pthread_create(&runner, NULL, run_once, NULL);
	return running_twin();
}

static void stop_running(void)
{
	do { /* it may not have been in KVM_RUN yet */
		pthread_kill(runner, SIGUSR1);
		usleep(1000);
	} while (pthread_tryjoin_np(runner, NULL));
}

static bool is_gone(int pid)
{
	for (unsigned tries = 0; tries < 5000; tries++, usleep(1000))
		if (kill(pid, 0))
			return true;
	return false;
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void signalled(void **state)
{
	struct kvm_regs regs;
	uint64_t count;
	unsigned fds;
	int twin;

	(void)state;
	open_machine(true); /* the process's own descriptors come with its first machine */
	start_at(CODE);
	close_guest();
	fds = count_fds();
	open_loop();
	twin = start_running();
	await_count(0x10000);
	stop_running();
	api(vcpu, KVM_GET_REGS, &regs);
	count = loop_count();
	close_guest();
	assert_int_not_equal(twin, 0);
	assert_int_equal(result, -1);
	assert_int_equal(result_errno, EINTR);
	assert_in_range(regs.rip, CODE, CODE + sizeof(loops) - 2);
	assert_int_equal(regs.rax, count + (regs.rip == CODE + 3)); /* behind INC */
	assert_true(is_gone(twin));
	assert_int_equal(count_fds(), fds);
}

/* Only the thread that made a twin may trace it: others go on without. */
static void on_several_threads(void **state)
{
	uint64_t count[3];
	int first, gone;

	(void)state;
	open_loop();
	first = start_running();
	stop_running();
	count[0] = loop_count();
	for (unsigned i = 1; i < 3; i++) {
		pthread_create(&runner, NULL, run_once, NULL);
		await_count(count[i - 1] + 0x10000);
		stop_running();
		count[i] = loop_count();
	}
	gone = is_gone(first);
	close_guest();
	assert_int_not_equal(first, 0);
	assert_true(gone);
	assert_int_equal(result_errno, EINTR);
}

static void killed(void **state)
{
	int twin;

	(void)state;
	open_loop();
	twin = start_running();
	if (twin)
		kill(twin, SIGKILL);
	else
		pthread_kill(runner, SIGUSR1);
	pthread_join(runner, NULL);
	close_guest();
	assert_int_not_equal(twin, 0);
	assert_int_equal(result, -1);
	assert_int_equal(result_errno, EFAULT);
}

/* Its VMM is killed. */
static void orphaned(void **state)
{
	int ends[2], twin = 0, child;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (!child) {
		open_loop();
		twin = start_running();
		if (write(ends[1], &twin, sizeof(twin)))
			pause();
		_exit(1);
	}
	assert_int_equal(read(ends[0], &twin, sizeof(twin)), sizeof(twin));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ends[0]);
	close(ends[1]);
	assert_int_not_equal(twin, 0);
	assert_true(is_gone(twin));
}

/* ---- what is the host's there ---------------------------------------------------------------------- */

#define COPY 0x180000u /* of the twin's own pages */
#define ORDERS 0x188000u
#define OWN_PAGES 5u
#define OURS 0x300000000000 /* from here on up are programs, libraries and stacks; twins' own pages are below */

/* Once it is told where, copies these pages, and calls the code there to carry out orders that user code has made. */
extern const uint8_t code_looks[], code_looks_end[];
__asm__(".pushsection .rodata\n"
	"code_looks: mov $0x188000, %ebx\n"
	"1: movb $0, 0x180000; movb $0, 0x181000; movb $0, 0x182000; movb $0, 0x183000; movb $0, 0x184000\n"
	"mov (%rbx), %rax\n"
	"mov (%rdi), %rsi; test %rsi, %rsi; jz 1b\n"
	"mov $0x180000, %edi; mov $0x5000, %ecx; cld; rep movsb\n"
	"mov 0x180018, %rax; jmp *%rax\n" /* where execution of an ELF file begins */
	"code_looks_end: .popsection");

struct area {
	uint64_t begin, end;
	char name[128];
};

/* Of a process's address space. */
static unsigned read_areas(int pid, struct area *area, unsigned most)
{
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (n < most && fgets(line, sizeof(line), f)) {
		struct area *a = &area[n++];

		a->name[0] = 0;
		sscanf(line, "%lx-%lx %*s %*s %*s %*s %127[^\n]", &a->begin, &a->end, a->name);
	}
	fclose(f);
	return n;
}

static struct area area[4096];

/* What a twin has is guest memory and one small file; tells where that is. */
static uint64_t find_own_pages(int twin)
{
	unsigned n = read_areas(twin, area, sizeof(area) / sizeof(area[0]));
	uint64_t own = 0, size = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(area[i].name, "/memfd:anykvm-twin (deleted)")) {
			own = own ? own : area[i].begin;
			size += area[i].end - area[i].begin;
		} else if (strcmp(area[i].name, "[vsyscall]")) {
			assert_string_equal(area[i].name, "/memfd:ram (deleted)");
		}
	}
	assert_int_equal(size, OWN_PAGES * 4096);
	return own;
}

/* No address of this process's memory is there. */
static void assert_nothing_of_ours(const uint8_t *pages)
{
	unsigned n = read_areas(getpid(), area, sizeof(area) / sizeof(area[0]));

	for (unsigned at = 0; at < OWN_PAGES * 4096; at += 8) {
		uint64_t value;

		memcpy(&value, pages + at, 8);
		for (unsigned i = 0; i < n; i++)
			if (value >= OURS && value >= area[i].begin && value < area[i].end)
				fail_msg("at %#x: %#lx is in our %s", at, value, area[i].name);
	}
}

static void own_pages(void **state)
{
	struct kvm_sregs sregs;
	uint64_t own = 0;
	int twin;

	(void)state;
	open_code(code_looks, (size_t)(code_looks_end - code_looks));
	for (unsigned page = COPY; page <= ORDERS; page += 0x1000)
		map_page(page, page | DATA_PAGE | NX);
	word(ORDERS, SYS_exit_group);
	word(DATA, 0);
	twin = start_running();
	if (twin) {
		own = find_own_pages(twin);
		__atomic_store_n((uint64_t *)(ram + DATA), own, __ATOMIC_RELAXED);
	} else {
		stop_running();
	}
	pthread_join(runner, NULL);
	assert_int_not_equal(twin, 0);
	assert_int_equal(result, 0);
	assert_memory_equal(ram + COPY, "\177ELF", 4);
	assert_nothing_of_ours(ram + COPY);
	/* The system call was no system call; as the guest has no page there, it comes to a fetch that faults. */
	api(vcpu, KVM_GET_SREGS, &sregs);
	assert_int_equal(shared->exit_reason, KVM_EXIT_HLT);
	assert_in_range(sregs.cr2, own, own + 4095);
	assert_int_equal(*(uint64_t *)(ram + STACK - 48), 0x14);
	close_guest();
}

/* ---- hosts that do not allow it --------------------------------------------------------------------- */

static void forbid_ptrace(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Then all is as without it. */
static void forbidden(void **state)
{
	int status, child = fork();

	(void)state;
	if (!child) {
		forbid_ptrace();
		open_machine(true);
		memcpy(ram + CODE, code_computes, (size_t)(code_computes_end - code_computes));
		start_at(CODE);
		_exit(anykvm_ioctl(vcpu, KVM_RUN, 0) || shared->exit_reason != KVM_EXIT_HLT || counter("direct_runs"));
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

#define TEST(name) { #name, name, NULL, NULL, NULL }

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(computes), TEST(system_call), TEST(system_call_of_x32), TEST(system_call_with_rex),
		TEST(system_call_disabled), TEST(system_enter), TEST(int_80), TEST(int_82), TEST(int3),
		TEST(int3_of_two_bytes), TEST(int3_with_prefix), TEST(int4), TEST(int1), TEST(int1_of_two_bytes),
		TEST(divides_by_zero), TEST(undefined), TEST(halts), TEST(reads_port), TEST(writes_port),
		TEST(disables_interrupts), TEST(enables_interrupts), TEST(writes_msr), TEST(writes_cr3),
		TEST(reads_dr7), TEST(loads_gdt), TEST(reads_not_canonical), TEST(jumps_not_canonical),
		TEST(returns_not_canonical), TEST(stack_not_canonical), TEST(reads_absent), TEST(writes_absent),
		TEST(reads_supervisors), TEST(writes_supervisors), TEST(writes_read_only), TEST(executes_absent),
		TEST(executes_supervisors), TEST(executes_data), TEST(reads_upper_half), TEST(calls_vsyscall),
		TEST(reads_vsyscall), TEST(reads_absent_high), TEST(uses_top), TEST(reads_over_top),
		TEST(over_two_pages), TEST(into_absent_page), TEST(into_data_page), TEST(string_over_end),
		TEST(stack_over_end), TEST(x87_exception), TEST(x87_exception_later), TEST(sse_exception),
		TEST(misaligned_sse), TEST(alignment), TEST(alignment_not_checked), TEST(single_step),
		TEST(single_step_of_access), TEST(single_step_of_first_access), TEST(single_step_of_cpuid),
		TEST(single_step_faults), TEST(single_step_of_syscall), TEST(single_step_of_int3), TEST(flags_survive),
		TEST(cpuid), TEST(cpuid_across_pages), TEST(cpuid_in_loop), TEST(cpuid_within),
		TEST(xgetbv), TEST(processor_number), TEST(descriptor_tables), TEST(descriptors),
		TEST(hypercall), TEST(protection_keys), TEST(sse_state), TEST(control_of_sse), TEST(control_of_sse_there), TEST(x87_state), TEST(mmx_state),
		TEST(saves_state), TEST(loads_segments), TEST(loads_other_level), TEST(loads_supervisors_segment),
		TEST(loads_no_segment), TEST(segment_bases), TEST(segment_base_above), TEST(segment_base_not_canonical),
		TEST(there_and_back), TEST(in_32_bits), TEST(interrupt_return), TEST(interrupt_return_steps),
		TEST(far_to_supervisors), TEST(changes_code), TEST(changes_code_elsewhere), TEST(runs_on_data),
		TEST(time_stamp), TEST(time_stamp_of_host), TEST(signalled), TEST(on_several_threads), TEST(killed),
		TEST(orphaned),
		TEST(own_pages), TEST(forbidden),
	};

	keep_engines_handler();
	alarm(120);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("direct", tests, NULL, NULL);
}
