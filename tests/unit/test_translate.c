// SPDX-License-Identifier: GPL-2.0-only
/*
 * The translator against the interpreter: random programs of integer, stack, branch and vector
 * instructions, run by both in a machine of their own with paging, looped until they are translated;
 * registers, flags, vector registers and all of memory must agree at the end. A program ends by HLT, or
 * in the handler of the exception that some instruction of it raised, with what the processor has pushed;
 * wild addresses, page ends and read-only pages see to that.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/anykvm.h"
#include "tests/unit/programs.h"

static void test_random_programs(void **state)
{
	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_program, first_wanted(0), programs_wanted(600)), 0);
}

static void test_page_ends(void **state)
{
	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_sweep, 0, programs_wanted(600)), 0);
}

static void test_floats(void **state)
{
	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_floats, 0, programs_wanted(400)), 0);
	assert_int_equal(compare_programs("lockstep", make_floats, 5000, 100), 0);
}

/* Block by block (engine/soft/lockstep.h): a difference ends the process. */
static void test_lockstep(void **state)
{
	(void)state;
	assert_int_equal(compare_programs("lockstep", make_program, 10000, 200), 0);
	assert_int_equal(compare_programs("lockstep", make_sweep, 10000, 100), 0);
}

/* ---- interrupts at instruction boundaries ------------------------------------------------------------ */

#define IRQ_VECTOR 32u
#define STEPS_MAX 5000u
#define FRAMES (EXCEPTION_STACK - 64) /* where exceptions and interrupts leave their frames */

/* A handler that returns at once. */
static void make_interruptible(void)
{
	make_program();
	word(IDT + 16 * IRQ_VECTOR, ((HANDLERS + 16 * IRQ_VECTOR) & 0xffff) | 8 << 16 | 0x8e01ull << 32);
	memcpy(ram + HANDLERS + 16 * IRQ_VECTOR, "\x48\xcf", 2); /* iretq */
}

static void start_interruptible(struct vm *v, uint64_t program)
{
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct kvm_regs regs;

	load_program(v, program, make_interruptible);
	set_system(v->vcpu);
	anykvm_ioctl(v->vcpu, KVM_SET_FPU, (unsigned long)&fpu);
	anykvm_ioctl(v->vcpu, KVM_GET_REGS, (unsigned long)&regs);
	regs.rflags |= 0x200;
	anykvm_ioctl(v->vcpu, KVM_SET_REGS, (unsigned long)&regs);
}

/* One instruction, interpreted; false: the program is at its end. */
static bool step(struct vm *v, struct kvm_regs *regs)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };

	anykvm_ioctl(v->vcpu, KVM_GET_REGS, (unsigned long)regs);
	if (ram[regs->rip % RAM_SIZE] == 0xf4)
		return false;
	anykvm_ioctl(v->vcpu, KVM_SET_GUEST_DEBUG, (unsigned long)&debug);
	assert_int_equal(anykvm_ioctl(v->vcpu, KVM_RUN, 0), 0);
	assert_int_equal(v->shared->exit_reason, KVM_EXIT_DEBUG);
	return true;
}

static void finish(struct vm *v, struct outcome *o, uint8_t *memory)
{
	struct kvm_guest_debug off = { 0 };

	anykvm_ioctl(v->vcpu, KVM_SET_GUEST_DEBUG, (unsigned long)&off);
	collect(v, anykvm_ioctl(v->vcpu, KVM_RUN, 0) ? errno : 0, o);
	memset(ram + FRAMES, 0, 64);
	memcpy(memory, ram, RAM_SIZE);
}

/* From where v stands: an interrupt, and then the rest of the program, translated. It must end as without. */
static bool interrupt_here(struct vm *v, struct vm *translated, const struct outcome *end, const uint8_t *memory)
{
	static uint8_t before[RAM_SIZE], after[RAM_SIZE];
	struct kvm_interrupt irq = { .irq = IRQ_VECTOR };
	struct outcome now, o;
	bool same;

	collect(v, 0, &now);
	if (!(now.regs.rflags & 0x200))
		return true;
	memcpy(before, ram, RAM_SIZE);
	set_system(translated->vcpu);
	anykvm_ioctl(translated->vcpu, KVM_SET_REGS, (unsigned long)&now.regs);
	anykvm_ioctl(translated->vcpu, KVM_SET_FPU, (unsigned long)&now.fpu);
	assert_int_equal(anykvm_ioctl(translated->vcpu, KVM_INTERRUPT, (unsigned long)&irq), 0);
	finish(translated, &o, after);
	same = !memcmp(&o.regs, &end->regs, sizeof(o.regs)) && !memcmp(&o.fpu, &end->fpu, sizeof(o.fpu)) &&
	       o.exit == end->exit && !memcmp(after, memory, RAM_SIZE);
	if (!same) {
		print_message("interrupted at %#llx\n", now.regs.rip);
		memcpy(ram, after, RAM_SIZE);
		show(seed, end, &o, memory);
	}
	memcpy(ram, before, RAM_SIZE);
	return same;
}

/* Some boundaries of one program; false: it went another way. */
static bool interrupt_program(uint64_t program, struct vm *v, struct vm *translated)
{
	static uint8_t memory[RAM_SIZE];
	struct kvm_regs regs;
	struct outcome end;
	unsigned steps = 0;
	bool same = true;

	start_interruptible(v, program);
	while (steps < STEPS_MAX && step(v, &regs))
		steps++;
	if (steps == STEPS_MAX)
		return true;
	finish(v, &end, memory);
	start_interruptible(v, program);
	for (unsigned n = 0; same && step(v, &regs); n++)
		if (n < 40 || (n * 2654435761u >> 8) % steps < 12)
			same = interrupt_here(v, translated, &end, memory);
	if (!same)
		print_message("program %lu\n", program);
	return same;
}

static unsigned interrupt_programs(unsigned n)
{
	struct vm v, translated;
	unsigned bad = 0;

	open_vm(&v, "interp");
	open_vm(&translated, mode_wanted());
	for (uint64_t program = 1; program <= n; program++)
		bad += !interrupt_program(program * 7919 + 3, &v, &translated);
	close_vm(&translated);
	close_vm(&v);
	return bad;
}

static void test_interrupts(void **state)
{
	(void)state;
	assert_int_equal(interrupt_programs(40), 0);
}

/* ---- at CPL 3 ------------------------------------------------------------------------------------------ */

#define AREAS 5u
#define AREA_TABLES 0x80000u /* a PD and a PT for each area */

/* The data in each of the first few 4 GiB, its pages in another order. */
static void map_areas(void)
{
	for (unsigned area = 1; area < AREAS; area++) {
		unsigned pd = AREA_TABLES + area * 0x2000, pt = pd + 0x1000;

		word(PAGE_TABLES + 0x1000 + 8 * 4 * area, pd | 7);
		word(pd, pt | 7);
		for (unsigned i = 0; i < 4; i++)
			word(pt + 8 * ((DATA >> 12) + i), (DATA + ((i + area) & 3) * 0x1000) | 0x67);
	}
}

static bool odd_telling; /* also what tells of the processor */

/* rbx, rbp, rsi and rdi: what they are. */
static int64_t area_base[8];

/* op r8..r15, [base + disp32] in some page of some area that the displacement reaches. */
static void area_access(void)
{
	static const uint8_t ops[] = { 0x8b, 0x89, 0x01, 0x03, 0x2b, 0x33, 0x3b, 0x13 };
	static const uint8_t bases[] = { 3, 5, 6, 7 };
	unsigned base = bases[rnd(4)];
	int64_t disp = (int64_t)rnd(AREAS) * (1ll << 32) + DATA + 8 * rnd(0x7ff) - area_base[base];

	if (disp != (int32_t)disp)
		disp = ((area_base[base] + 0x80000000ll) >> 32) * (1ll << 32) + DATA + 8 * rnd(0x7ff) - area_base[base];
	if (disp != (int32_t)disp)
		disp = 0;
	put8(0x4c), put8(ops[rnd(sizeof(ops))]), put8(0x80 | rnd(8) << 3 | base), put((uint64_t)disp, 4);
}

/* mov, lea, add, sub, inc, dec, push, pop: a base moves, by much or little, or becomes another's copy. */
static void area_move(void)
{
	static const uint8_t bases[] = { 3, 5, 6, 7 };
	static const int32_t steps[] = { 0x7ffffff8, -0x7ffffff8, 0x40000000, -0x40000000, 0x3ffff000, 0x1000, -8, 16 };
	unsigned a = bases[rnd(4)], b = bases[rnd(4)];
	int32_t by = steps[rnd(8)];

	put8(0x48);
	switch (rnd(6)) {
	case 0:
		put8(0x89), put8(0xc0 | b << 3 | a); /* mov a, b */
		area_base[a] = area_base[b];
		break;
	case 1:
		put8(0x8d), put8(0x80 | a << 3 | b), put((uint64_t)by, 4); /* lea a, [b + by] */
		area_base[a] = area_base[b] + by;
		break;
	case 2:
		put8(0x81), put8(0xc0 | a), put((uint64_t)by, 4); /* add a, by */
		area_base[a] += by;
		break;
	case 3:
		put8(0x81), put8(0xe8 | a), put((uint64_t)by, 4); /* sub a, by */
		area_base[a] -= by;
		break;
	case 4:
		put8(0xff), put8(0xc0 | a); /* inc a */
		area_base[a]++;
		break;
	default: /* movabs a, ... */
		area_base[a] = (int64_t)rnd(AREAS) * (1ll << 32) + DATA + 8 * rnd(0x200);
		put8(0xb8 | a), put((uint64_t)area_base[a], 8);
	}
}

static void area_stack(void)
{
	/* push r8, pop r8, push rbx, push r15 */
	static const char pushes[][3] = { "\x41\x50", "\x41\x58", "\x53\x90", "\x41\x57" };
	int64_t top = (int64_t)rnd(AREAS) * (1ll << 32) + DATA + 0x800;

	put8(0x48), put8(0xbc), put((uint64_t)top, 8); /* movabs rsp, ... */
	for (unsigned n = 1 + rnd(4); n--;)
		code(pushes[rnd(4)], 2);
}

/* Windows are of 4 GiB: bases that move from one into another, and displacements that reach there. */
static void make_areas(void)
{
	unsigned n = 4 + rnd(24);
	uint8_t *top;

	map_areas();
	at = ram + CODE + 16;
	BYTES("\xb9"), put(20 + rnd(40), 4); /* mov ecx, ... */
	top = at;
	for (unsigned base = 3; base < 8; base++) {
		if (base == 4)
			continue;
		area_base[base] = (int64_t)rnd(AREAS) * (1ll << 32) + DATA + 8 * rnd(0x200);
		put8(0x48), put8(0xb8 | base), put((uint64_t)area_base[base], 8);
	}
	while (n--) {
		if (one_in(8))
			area_stack();
		else if (one_in(3))
			area_move();
		else
			area_access();
	}
	BYTES("\xff\xc9\x0f\x85"), put((uint64_t)(top - (at + 4)), 4); /* dec ecx; jnz top */
	put8(0xf4);
}

/* What programs do seldom: segments, system calls, interrupts, returns to anywhere, what is the kernel's. */
static void odd_instruction(void)
{
	static const char plain[][6] = {
		"\x0f\x05", "\xcc\x90", "\xf1\x90", "\xcd\x03", "\xcd\x20", "\xcd\x01", "\xce\x90", "\x0f\x0b",
		"\xf4\x90", "\xfa\x90", "\xfb\x90", "\x0f\x30", "\x0f\x32", "\x0f\x06", "\x0f\x09", "\xec\x90",
		"\xef\x90", "\x6d\x90", "\x6e\x90", "\x48\xcf", "\x48\xcb", "\xcb\x90", "\x0f\x20\xc0",
		"\x0f\x22\xd8", "\x0f\x23\xf8", "\x0f\x21\xf8", "\x0f\xaa", "\xf3\x48\x0f\xae\xc0",
		"\xf3\x48\x0f\xae\xc9", "\xf3\x48\x0f\xae\xd0", "\xf3\x48\x0f\xae\xd9", "\xc5\xfc\x77",
		"\x48\x0f\xc7\x0b", "\x0f\xae\x3b", "\xc9\x90", "\xd7\x90", "\xc3\x90", "\xff\xe3", "\xff\x23",
		"\xff\x2b", "\x64\x8b\x03", "\x65\x8b\x03", "\x65\x89\x03", "\x9c\x58", "\xf3\xa4", "\xf3\xab",
		"\xf2\xae", "\x0f\x08",
	};
	static const char telling[][6] = {
		"\x0f\xa2", "\x0f\x01\xd0", "\xf3\x0f\xc7\xf8", "\x0f\x02\xc8", "\x0f\x03\xc8", "\x0f\x00\xe0",
		"\x0f\x00\xc0", "\x0f\x00\xc8", "\x0f\x01\xe0", "\x0f\x01\x03", "\x0f\x01\x0b", "\xcd\x04",
		"\xcd\x80", "\x0f\x34", "\x0f\x01\xf8",
	};
	/* That hosts have as this guest has, or neither has: what runs directly loads the host's. */
	static const uint16_t selectors[] = { 0, 3, 0x2b, 0x2b, 0x33, 0x23, 0x10, 0x28, 0x73, 0xffff };
	static const char loads[][3] = { "\x8e\xd8", "\x8e\xc0", "\x8e\xe0", "\x8e\xe8", "\x8e\xd0" };
	const char *bytes = odd_telling && one_in(2) ? telling[rnd(sizeof(telling) / sizeof(telling[0]))] :
						      plain[rnd(sizeof(plain) / sizeof(plain[0]))];

	switch (rnd(8)) {
	case 0: /* mov ax, ...; mov sreg, ax */
		put8(0xb8), put(selectors[rnd(10)], 4), code(loads[rnd(5)], 2);
		break;
	case 1: /* push ...; popf: with TF, AC, NT now and then */
		put8(0x68), put((rnd(~0u) & 0xcd5) | (one_in(4) ? 1u << (8 + rnd(14)) : 0), 4), put8(0x9d);
		break;
	case 2: /* mov rcx, ... */
		BYTES("\x48\xc7\xc1"), put(rnd(40), 4);
		break;
	case 3: /* push ss; push rsp; push flags; push cs; push rip; iretq: lea rax, [the end] */
		BYTES("\x48\x89\xe1\x6a"), put8(one_in(4) ? selectors[rnd(8)] : 0x2b), BYTES("\x51\x68");
		put((rnd(~0u) & 0xcd5) | (one_in(4) ? 1u << (8 + rnd(14)) : 0x200), 4);
		put8(0x6a), put8(one_in(4) ? selectors[rnd(8)] : 0x33);
		BYTES("\x48\x8d\x05\x03\x00\x00\x00\x50\x48\xcf");
		break;
	default:
		for (unsigned i = 0; i < 6 && (i < 2 || bytes[i]); i++)
			put8((uint8_t)bytes[i]);
	}
}

static void make_odd(void)
{
	unsigned n = 2 + rnd(10);

	odd_telling = one_in(4);
	at = ram + CODE + 16 + rnd(0x100);
	for (unsigned i = 0; i < 70; i++)
		put8(0x90); /* who looks for instructions here finds where they begin */
	BYTES("\x48\xc7\xc3"), put(DATA + 16 * rnd(0x300), 4); /* mov rbx, ...; rsi; rdi */
	BYTES("\x48\xc7\xc6"), put(DATA + rnd(0x3800), 4);
	BYTES("\x48\xc7\xc7"), put(DATA + rnd(0x3800), 4);
	while (n--) {
		if (one_in(3)) /* or [rbx], bl: something ordinary */
			BYTES("\x08\x1b");
		odd_instruction();
	}
	put8(0xf4);
}

static unsigned user_programs(const char *mode, unsigned n)
{
	uint64_t first = first_wanted(20000);

	return compare_programs(mode, make_program, first, n) + compare_programs(mode, make_sweep, first, n) +
	       compare_programs(mode, make_floats, first, n) + compare_programs(mode, make_areas, first, n) +
	       compare_programs(mode, make_odd, first, n);
}

/* On the host's processor (engine/soft/direct.c). */
static void test_direct(void **state)
{
	unsigned n = programs_wanted(100), bad;

	(void)state;
	user = direct = true;
	bad = user_programs("jit", n);
	user = direct = false;
	assert_int_equal(bad, 0);
	assert_true(direct_runs > n);
}

/* Memory by probes, and through windows (engine/soft/window.c). */
static void test_user(void **state)
{
	static const char *const windows[] = { "off", "force" };
	unsigned bad = 0;

	(void)state;
	user = true;
	for (unsigned i = 0; i < 2; i++) {
		setenv("ANYKVM_WINDOWS", windows[i], 1);
		bad += user_programs(mode_wanted(), 300);
		bad += user_programs("lockstep", 100);
		bad += interrupt_programs(10);
	}
	unsetenv("ANYKVM_WINDOWS");
	user = false;
	assert_int_equal(bad, 0);
}

/* ---- one thing at a time --------------------------------------------------------------------------- */

static void make_walk(void)
{
	at = ram + CODE + 16;
	BYTES("\x48\xc7\xc3"), put(DATA, 4);	/* mov rbx, DATA */
	BYTES("\x49\xc7\xc6"), put(12345, 4);	/* mov r14, 12345 */
	BYTES("\x49\x83\xc6\x07"			/* 1: add r14, 7 */
	      "\x4c\x11\x33"			/* adc [rbx], r14 */
	      "\x48\x83\xc3\x08"			/* add rbx, 8 */
	      "\xeb\xf3");			/* jmp 1b */
}

static uint64_t gs_word;

static void set_gs(const void *base)
{
	assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, base), 0);
}

static bool gs_is(const void *base)
{
	unsigned long now = 0;

	syscall(SYS_arch_prctl, ARCH_GET_GS, &now);
	return now == (unsigned long)base;
}

static void test_host_fault(void **state)
{
	struct outcome a, b;
	unsigned faults = 0;

	(void)state;
	set_gs(&gs_word);
	run("interp", 1, make_walk, DATA + 0x2000, &a);
	run("jit", 1, make_walk, DATA + 0x2000, &b);
	assert_int_equal(a.error, EFAULT);
	assert_true(gs_is(&gs_word));
	assert_int_equal(a.regs.rbx, DATA + 0x2000);
	assert_memory_equal(&a, &b, sizeof(a));
	for (unsigned i = 0; i < 300; i++) {
		run("interp", i, make_sweep, DATA + 0x1000, &a);
		run("jit", i, make_sweep, DATA + 0x1000, &b);
		faults += a.error == EFAULT;
		assert_memory_equal(&a, &b, sizeof(a));
	}
	assert_true(faults > 50);
}

static void make_self_modifying(void)
{
	at = ram + CODE + 16;
	BYTES("\x31\xc0"				/* xor eax, eax */
	      "\xb9\xe8\x03\x00\x00"		/* mov ecx, 1000 */
	      "\xff\x05\x01\x00\x00\x00"		/* 1: inc dword [the immediate] */
	      "\x05\x00\x00\x00\x00"		/* add eax, 0 */
	      "\xff\xc9"				/* dec ecx */
	      "\x75\xf1"				/* jnz 1b */
	      "\xf4");
}

static void test_self_modifying(void **state)
{
	static const char *const modes[] = { "interp", "jit", "auto" };
	struct outcome o;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		run(modes[i], 1, make_self_modifying, 0, &o);
		assert_int_equal(o.regs.rax, 500500);
	}
}

#define FIRST 0xa000u	/* a page at two places, where different ones follow: */
#define NEXT 0xb000u
#define OTHER_NEXT 0xd000u
#define PLACE 0x40000u
#define OTHER_PLACE 0x50000u

static void map(unsigned linear, unsigned page)
{
	word(PAGE_TABLES + 0x3000 + 8 * (linear >> 12), page | 0x67);
}

/* FIRST goes on, and calls, in the page that follows, which adds something to eax. The loops are a hundred rounds. */
static void start_pages(void)
{
	map(PLACE, FIRST);
	map(PLACE + 0x1000, NEXT);
	map(OTHER_PLACE, FIRST);
	map(OTHER_PLACE + 0x1000, OTHER_NEXT);
	at = ram + FIRST;
	BYTES("\xe9\xfb\x0f\x00\x00");		/* jmp the next page */
	at = ram + FIRST + 16;
	BYTES("\xe8\xeb\x0f\x00\x00\xc3");		/* call it; ret */
	at = ram + NEXT;
	BYTES("\x83\xc0\x01\xc3");			/* add eax, 1; ret */
	at = ram + OTHER_NEXT;
	BYTES("\x05\x00\x00\x01\x00\xc3");		/* add eax, 0x10000; ret */
	at = ram + CODE + 16;
	BYTES("\x31\xc0\x31\xff\x6a\x00\x9d"		/* xor eax, eax; xor edi, edi; push 0; popf */
	      "\xbb\x00\x00\x04\x00"			/* mov ebx, PLACE */
	      "\xba\x00\x00\x05\x00"			/* mov edx, OTHER_PLACE */
	      "\xb9\x64\x00\x00\x00"			/* mov ecx, 100 */
	      "\xff\xd3\xff\xc9\x75\xfa");		/* 1: call rbx; dec ecx; jnz 1b */
}

static void make_two_places(void)
{
	start_pages();
	BYTES("\xb9\xe8\x03\x00\x00"			/* mov ecx, 1000 */
	      "\xff\xd3\xff\xd2"			/* 1: call rbx; call rdx */
	      "\x48\x8d\x73\x10\xff\xd6"		/* lea rsi, [rbx + 16]; call rsi */
	      "\x48\x8d\x72\x10\xff\xd6"		/* lea rsi, [rdx + 16]; call rsi */
	      "\xff\xc9\x75\xec\xf4");			/* dec ecx; jnz 1b; hlt */
	at = ram + CODE + 16;
}

/* The page that follows becomes another one. */
static void make_moved(void)
{
	start_pages();
	BYTES("\x48\xc7\x04\x25\x08\x42\x00\x00\x67\xd0\x00\x00" /* mov qword [its entry], OTHER_NEXT | 0x67 */
	      "\x0f\x01\x3c\x25\x00\x10\x04\x00"	/* invlpg [PLACE + 0x1000] */
	      "\xb9\x64\x00\x00\x00"			/* mov ecx, 100 */
	      "\xff\xd3\xff\xc9\x75\xfa\xf4");		/* 1: call rbx; dec ecx; jnz 1b; hlt */
	at = ram + CODE + 16;
}

/* Branches between pages go where the page tables say, at whichever place they are. */
static void test_linked_pages(void **state)
{
	static const char *const modes[] = { "interp", "jit", "auto" };
	struct outcome o;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		run(modes[i], 1, make_two_places, 0, &o);
		assert_int_equal(o.regs.rax, 2100 + 2000 * 0x10000);
		run(modes[i], 1, make_moved, 0, &o);
		assert_int_equal(o.regs.rax, 100 + 100 * 0x10000);
	}
}

static void make_endless(void)
{
	at = ram + CODE + 16;
	BYTES("\xeb\xfe");
}

static void on_alarm(int sig)
{
	(void)sig;
	anykvm_interrupt();
}

/* The thread's GS base is borrowed and returned. */
static void test_gs_base(void **state)
{
	struct outcome o;

	(void)state;
	set_gs(&gs_word);
	run("jit", 1, make_self_modifying, 0, &o);
	assert_true(gs_is(&gs_word));
	set_gs(NULL);
}

/* Translated code that never comes back by itself sees a kick. */
static void test_kick(void **state)
{
	const struct itimerval soon = { .it_value = { 0, 20000 } };
	struct outcome o;

	(void)state;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	run("jit", 1, make_endless, 0, &o);
	assert_int_equal(o.error, EINTR);
	assert_int_equal(o.regs.rip, CODE + 16);
}

/* What has been translated has a line for perf. */
static void test_perf_map(void **state)
{
	static const char wanted[] = " anykvm:%lx:64\n";
	char path[64], line[128], end[64];
	struct outcome o;
	bool found = false;
	FILE *map;

	(void)state;
	setenv("ANYKVM_PERF_MAP", "1", 1);
	run("jit", 1, make_self_modifying, 0, &o);
	unsetenv("ANYKVM_PERF_MAP");
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	snprintf(end, sizeof(end), wanted, (unsigned long)CODE + 16);
	map = fopen(path, "r");
	assert_non_null(map);
	while (fgets(line, sizeof(line), map))
		found |= strstr(line, end) != NULL;
	fclose(map);
	unlink(path);
	assert_true(found);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_fault),
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_page_ends),
		cmocka_unit_test(test_floats),
		cmocka_unit_test(test_lockstep),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_self_modifying),
		cmocka_unit_test(test_linked_pages),
		cmocka_unit_test(test_gs_base),
		cmocka_unit_test(test_kick),
		cmocka_unit_test(test_perf_map),
	};

	open_memory();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
