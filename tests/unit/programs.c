// SPDX-License-Identifier: GPL-2.0-only
/* The machine that random programs run in (programs.h), and the comparison of what they come to. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/anykvm.h"
#include "tests/unit/counter.h"
#include "tests/unit/programs.h"

uint8_t *ram;
uint64_t seed;
bool user, compat, direct;
uint64_t direct_runs;
uint8_t *at, *last_jump;
unsigned to_jump;

uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

bool one_in(uint32_t n)
{
	return rnd(n) == 0;
}

void put8(unsigned v)
{
	*at++ = (uint8_t)v;
}

void put(uint64_t v, unsigned n)
{
	memcpy(at, &v, n);
	at += n;
}

void code(const char *bytes, unsigned n)
{
	memcpy(at, bytes, n);
	at += n;
}

/* ---- the machine ----------------------------------------------------------------------------------- */

void word(unsigned where, uint64_t value)
{
	memcpy(ram + where, &value, 8);
}

static void make_machine(void)
{
	memset(ram, 0, RAM_SIZE);
	for (unsigned i = 0; i < 3; i++)
		word(PAGE_TABLES + i * 0x1000, (PAGE_TABLES + (i + 1) * 0x1000) | 7);
	for (unsigned i = 1; i < 256; i++)
		word(PAGE_TABLES + 0x3000 + 8 * i, i * 0x1000 | (i * 0x1000 == READ_ONLY ? 0x65 : 0x67));
	word(PAGE_TABLES + 0x3000 + 8 * (DATA_END >> 12), 0);
	word(GDT + 8, 0x00af9b000000ffffull);
	word(GDT + 16, 0x00cf93000000ffffull);
	word(GDT + 32, 0x00cffb000000ffffull); /* Linux's selectors for programs */
	word(GDT + 40, 0x00cff3000000ffffull);
	word(GDT + 48, 0x00affb000000ffffull);
	word(GDT + 56, 0x00cf9b000000ffffull);
	word(GDT + 64, 0x00cffb000000ffffull);
	word(TSS + 0x24, EXCEPTION_STACK);
	for (unsigned i = 0; i < 32; i++) {
		word(IDT + 16 * i, ((HANDLERS + 16 * i) & 0xffff) | 8 << 16 | 0x8e01ull << 32);
		ram[HANDLERS + 16 * i] = 0x6a;
		ram[HANDLERS + 16 * i + 1] = (uint8_t)i;
		ram[HANDLERS + 16 * i + 2] = 0xf4;
	}
	for (unsigned i = DATA; i < DATA_END; i++)
		ram[i] = (uint8_t)rnd(256);
	word(DATA_END - 8, LOOPS);
}

void set_system(int vcpu)
{
	struct kvm_segment code = { .limit = ~0u, .selector = user ? 0x33 : 8, .type = 11, .present = 1, .s = 1,
				    .l = 1, .g = 1, .dpl = user ? 3 : 0 };
	struct kvm_segment data = { .limit = ~0u, .selector = user ? 0x2b : 16, .type = 3, .present = 1, .s = 1,
				    .db = 1, .g = 1, .dpl = user ? 3 : 0 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct kvm_sregs s;
	unsigned high;

	__cpuid_count(13, 0, xcrs.xcrs[0].value, high, high, high);
	assert_int_equal(anykvm_ioctl(vcpu, KVM_GET_SREGS, (unsigned long)&s), 0);
	if (compat) {
		code.selector = user ? 0x43 : 0x38;
		code.l = 0;
		code.db = 1;
	}
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	if (compat) {
		s.fs.limit = DATA + 0x1fff;
		s.gs.base = 0x40;
	}
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 103, .selector = 24, .type = 11, .present = 1 };
	s.gdt.base = GDT;
	s.gdt.limit = 71;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.cr0 = 0x80010033;
	s.cr3 = PAGE_TABLES;
	s.cr4 = 0x50620; /* PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE */
	s.efer = 0x501;
	assert_int_equal(anykvm_ioctl(vcpu, KVM_SET_SREGS, (unsigned long)&s), 0);
	assert_int_equal(anykvm_ioctl(vcpu, KVM_SET_XCRS, (unsigned long)&xcrs), 0);
}

static void set_registers(int vcpu)
{
	struct kvm_regs r = { .rip = (uint64_t)(at - ram), .rsp = STACK + 0x800, .rflags = user ? 0x202 : 2 };
	uint64_t *gpr = (uint64_t *)&r; /* rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8... */

	for (unsigned i = 0; i < 16; i++) {
		if (i != 6)
			gpr[i] = one_in(3) ? rnd(0x100) : (uint64_t)rnd(~0u) << 33 ^ rnd(~0u);
	}
	assert_int_equal(anykvm_ioctl(vcpu, KVM_SET_REGS, (unsigned long)&r), 0);
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	assert_int_equal(anykvm_ioctl(kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)c), 0);
	assert_int_equal(anykvm_ioctl(vcpu, KVM_SET_CPUID2, (unsigned long)c), 0);
	free(c);
}

/* Each test starts with cmocka's. */
static struct sigaction engines_handler;

void open_memory(void)
{
	int file = memfd_create("ram", MFD_CLOEXEC);

	anykvm_close(anykvm_open());
	sigaction(SIGSEGV, NULL, &engines_handler);
	assert_int_equal(ftruncate(file, RAM_SIZE), 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_true(ram != MAP_FAILED);
	assert_int_equal(anykvm_alias_memory(ram, RAM_SIZE, file), 0);
	close(file);
}

void open_vm(struct vm *v, const char *mode)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = RAM_SIZE, .userspace_addr = (uint64_t)ram,
	};

	sigaction(SIGSEGV, &engines_handler, NULL);
	setenv("ANYKVM_SOFT", mode, 1);
	setenv("ANYKVM_DIRECT", direct ? "force" : "off", 1);
	v->kvm = anykvm_open();
	v->vm = anykvm_ioctl(v->kvm, KVM_CREATE_VM, 0);
	assert_int_equal(anykvm_ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&slot), 0);
	v->vcpu = anykvm_ioctl(v->vm, KVM_CREATE_VCPU, 0);
	assert_true(v->vcpu >= 0);
	v->size = anykvm_ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	v->shared = mmap(NULL, (size_t)v->size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
	assert_true(v->shared != MAP_FAILED);
	set_cpuid(v->kvm, v->vcpu);
	set_system(v->vcpu);
}

void close_vm(struct vm *v)
{
	munmap(v->shared, (size_t)v->size);
	anykvm_close(v->vcpu);
	anykvm_close(v->vm);
	anykvm_close(v->kvm);
}

void load_program(struct vm *v, uint64_t program, make_fn *make)
{
	seed = program;
	make_machine();
	make();
	at = ram + CODE;
	while (!*at)
		at++;
	set_registers(v->vcpu);
}

void collect(struct vm *v, int error, struct outcome *o)
{
	struct kvm_sregs s;

	memset(o, 0, sizeof(*o));
	o->error = error;
	o->exit = (int)v->shared->exit_reason;
	anykvm_ioctl(v->vcpu, KVM_GET_REGS, (unsigned long)&o->regs);
	anykvm_ioctl(v->vcpu, KVM_GET_FPU, (unsigned long)&o->fpu);
	anykvm_ioctl(v->vcpu, KVM_GET_SREGS, (unsigned long)&s);
	o->cr2 = s.cr2;
	if (!direct)
		return;
	o->fpu.last_opcode = 0; /* AMD's processors keep these for exceptions alone */
	o->fpu.last_ip = o->fpu.last_dp = 0;
	direct_runs += counter_of(v->vcpu, "direct_runs");
}

void run(const char *mode, uint64_t program, make_fn *make, unsigned unusable, struct outcome *o)
{
	struct vm v;
	int error;

	open_vm(&v, mode);
	load_program(&v, program, make);
	if (unusable)
		mprotect(ram + unusable, 4096, PROT_NONE);
	error = anykvm_ioctl(v.vcpu, KVM_RUN, 0) ? errno : 0;
	if (unusable)
		mprotect(ram + unusable, 4096, PROT_READ | PROT_WRITE);
	collect(&v, error, o);
	close_vm(&v);
}

void show(uint64_t program, const struct outcome *a, const struct outcome *b, const uint8_t *memory)
{
	const uint64_t *x = (const uint64_t *)&a->regs, *y = (const uint64_t *)&b->regs;

	print_message("program %lu: exits %d %d, left %u %u\n", program, a->exit, b->exit,
		      memory[DATA_END - 8], ram[DATA_END - 8]);
	for (unsigned i = 0; i < 18; i++)
		print_message("%s %2u: %016lx %016lx\n", x[i] == y[i] ? " " : "*", i, x[i], y[i]);
	for (unsigned i = 0, n = 0; i < RAM_SIZE && n < 8; i++) {
		if (memory[i] != ram[i])
			print_message("  %05x: %02x %02x (%u)\n", i, memory[i], ram[i], n++);
	}
	for (unsigned i = 0; i < sizeof(a->fpu); i++) {
		if (((const uint8_t *)&a->fpu)[i] != ((const uint8_t *)&b->fpu)[i])
			print_message("  fpu+%u: %02x %02x\n", i, ((const uint8_t *)&a->fpu)[i],
				      ((const uint8_t *)&b->fpu)[i]);
	}
	print_message("code:");
	for (const uint8_t *p = ram + CODE; p < ram + CODE + 0x1800; p++) {
		if (*p || p[1] || p[2] || p[-1])
			print_message(" %02x", *p);
	}
	print_message("\n");
}

const char *mode_wanted(void)
{
	const char *mode = getenv("TRANSLATE_MODE");

	return mode ? mode : "jit";
}

unsigned programs_wanted(unsigned otherwise)
{
	const char *n = getenv("TRANSLATE_PROGRAMS");

	return n ? (unsigned)atoi(n) : otherwise;
}

uint64_t first_wanted(uint64_t otherwise)
{
	const char *n = getenv("TRANSLATE_FIRST");

	return n ? strtoull(n, NULL, 0) : otherwise;
}

unsigned compare_programs(const char *mode, make_fn *make, uint64_t first, unsigned n)
{
	static uint8_t memory[RAM_SIZE];
	unsigned bad = 0, ended = 0;
	struct outcome a, b;

	for (uint64_t i = first; i < first + n; i++) {
		run("interp", i * 7919 + 1, make, 0, &a);
		memcpy(memory, ram, RAM_SIZE);
		run(mode, i * 7919 + 1, make, 0, &b);
		ended += a.regs.rip >= CODE;
		if (!memcmp(&a, &b, sizeof(a)) && !memcmp(memory, ram, RAM_SIZE))
			continue;
		if (bad++ < 3)
			show(i, &a, &b, memory);
	}
	if (!user)
		print_message("%u of %u programs went to their end\n", ended, n);
	return bad;
}
