// SPDX-License-Identifier: GPL-2.0-only
/*
 * The translator against the interpreter: random programs of integer, stack, branch and vector
 * instructions, run by both in a machine of their own with paging, looped until they are translated;
 * registers, flags, vector registers and all of memory must agree at the end. A program ends by HLT, or
 * in the handler of the exception that some instruction of it raised, with what the processor has pushed;
 * wild addresses, page ends and read-only pages see to that.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/prctl.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/anykvm.h"

#define RAM_SIZE (1u << 20)
#define PAGE_TABLES 0x1000u	/* PML4, PDPT, PD, PT */
#define GDT 0x5000u
#define TSS 0x5800u
#define IDT 0x6000u
#define HANDLERS 0x7000u	/* 16 bytes for each vector: PUSH vector, HLT */
#define CODE 0x8000u
#define CODE_PAGES 4u
#define READ_ONLY 0x1f000u
#define DATA 0x20000u		/* 4 pages */
#define DATA_END 0x24000u
#define STACK 0x30000u
#define EXCEPTION_STACK 0x3f000u
#define LOOPS 60u

struct outcome {
	struct kvm_regs regs;
	struct kvm_fpu fpu;
	uint64_t cr2;
	int error;	/* errno of KVM_RUN */
	int exit;
};

static uint8_t *ram;
static uint64_t seed;
static bool user; /* programs run at CPL 3, where a HLT at the end is one more exception */
static bool compat; /* they are 32-bit code; FS has a limit, GS a base */

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

static bool one_in(uint32_t n)
{
	return rnd(n) == 0;
}

/* ---- programs -------------------------------------------------------------------------------------- */

static uint8_t *at, *last_jump;
static unsigned base_reg[3], to_jump;
static bool aligned; /* memory operands are, unless their base has been changed */

static void put8(unsigned v)
{
	*at++ = (uint8_t)v;
}

static void put(uint64_t v, unsigned n)
{
	memcpy(at, &v, n);
	at += n;
}

static bool is_base(unsigned reg)
{
	return reg == base_reg[0] || reg == base_reg[1] || reg == base_reg[2];
}

/* rSP and the registers that addresses are made of are seldom operands. */
static unsigned pick_reg(void)
{
	unsigned reg = rnd(16);

	while ((reg == 4 || is_base(reg)) && !one_in(200))
		reg = rnd(16);
	return reg;
}

/* [prefixes] REX opcode ModRM: register operand reg, and a register or memory; W as given or random (2). */
static void modrm_form(unsigned prefix, unsigned map, unsigned opcode, unsigned reg, unsigned w, bool mem,
		       unsigned imm)
{
	unsigned rm = mem ? base_reg[rnd(3)] : pick_reg(), index = pick_reg(), mod = 1 + rnd(2);
	bool sib = mem && (one_in(8) || (rm & 7) == 4), rip = mem && !sib && one_in(6);

	if (w == 2)
		w = rnd(2);
	if (prefix)
		put8(prefix);
	if (sib && (aligned || !one_in(30)))
		index = 4; /* none */
	if (rip)
		rm = 5, mod = 0;
	put8(0x40 | w << 3 | (reg >> 3) << 2 | (sib ? index >> 3 : 0) << 1 | (rm >> 3));
	if (map)
		put8(0x0f);
	if (map == 2)
		put8(0x38);
	put8(opcode);
	if (!mem) {
		put8(0xc0 | (reg & 7) << 3 | (rm & 7));
	} else {
		put8(mod << 6 | (reg & 7) << 3 | (sib ? 4 : rm & 7));
		if (sib)
			put8(rnd(4) << 6 | (index & 7) << 3 | (rm & 7));
		if (rip)
			put((uint64_t)(DATA + 16 * rnd(200)) - (uint64_t)(at + 4 + imm - ram), 4);
		else if (mod == 1)
			put8(aligned ? rnd(16) * 16 : rnd(256));
		else if (aligned)
			put(rnd(0x80) * 16, 4);
		else
			put(one_in(40) ? 0x1000 - rnd(8) : rnd(0x800), 4);
	}
	while (imm--)
		put8(rnd(256));
}

static void alu(void)
{
	static const uint8_t ops[] = { 0x00, 0x01, 0x02, 0x03 };
	unsigned op = rnd(8) << 3 | ops[rnd(4)], prefix = one_in(4) ? 0x66 : 0;

	if ((op & 3) == 1 && op < 0x38 && one_in(10)) { /* LOCK */
		put8(0xf0);
		modrm_form(0, 0, op, pick_reg(), 2, true, 0);
		return;
	}
	modrm_form(prefix, 0, op, pick_reg(), prefix ? 0 : 2, one_in(3), 0);
}

static void immediate(void)
{
	static const uint8_t ops[] = { 0x80, 0x83, 0x81, 0xc0, 0xc1, 0xc6, 0xc7, 0x6b, 0x69 };
	unsigned op = ops[rnd(sizeof(ops))], n = op == 0x81 || op == 0xc7 || op == 0x69 ? 4 : 1, reg = rnd(8);

	if (op == 0xc6 || op == 0xc7)
		reg = 0;
	if (op == 0x6b || op == 0x69)
		reg = pick_reg();
	modrm_form(0, 0, op, reg, 2, one_in(3), n);
}

static void unary(void)
{
	static const uint8_t ops[] = { 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7, 0xfe, 0xff };
	unsigned op = ops[rnd(sizeof(ops))], reg = rnd(8), imm = 0;

	if (op >= 0xfe)
		reg &= 1;
	if (op == 0xf6 || op == 0xf7) {
		if (reg >= 6 && !one_in(20))
			reg = 2;
		imm = reg >= 2 ? 0 : op == 0xf6 ? 1 : 4;
	}
	modrm_form(0, 0, op, reg, 2, one_in(3), imm);
}

/* Two accesses, of which either may miss. */
static void push_memory(void)
{
	modrm_form(0, 0, 0xff, 6, 0, true, 0);
}

/* Of a dividend whose upper half is the sign, or 0, as compilers have it. */
static void divide(void)
{
	unsigned is_signed = rnd(2), w = rnd(2);

	if (is_base(0) || is_base(2)) {
		alu();
		return;
	}
	if (!one_in(30)) {
		put8(0x40 | w << 3);
		put8(is_signed ? 0x99 : 0x31);
		if (!is_signed)
			put8(0xd2);
	}
	modrm_form(0, 0, 0xf7, 6 + is_signed, w, one_in(3), 0);
}

static void move(void)
{
	static const uint8_t ops[] = { 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8b, 0x89, 0x63 };
	unsigned op = ops[rnd(sizeof(ops))], prefix = one_in(5) ? 0x66 : 0;

	modrm_form(prefix, 0, op, pick_reg(), prefix ? 0 : 2, one_in(2), 0);
}

static void two_byte(void)
{
	static const uint8_t ops[] = { 0xb6, 0xb7, 0xbe, 0xbf, 0xaf, 0xa3, 0xab, 0xb3, 0xbb, 0xbc, 0xbd,
				       0xa5, 0xad, 0xc0, 0xc1, 0xb0, 0xb1 };
	unsigned n = rnd(50), op = n < 16 ? 0x40 + n : n < 32 ? 0x90 + n - 16 : ops[rnd(sizeof(ops))];
	unsigned f3 = (op == 0xbc || op == 0xbd) && one_in(2) ? 0xf3 : 0;
	bool mem = one_in(3) && op != 0xab && op != 0xb3 && op != 0xbb && op != 0xa3;

	modrm_form(f3, 1, op, pick_reg(), 2, mem, 0);
}

static void two_byte_imm(void)
{
	static const uint8_t ops[] = { 0xa4, 0xac, 0xba };
	unsigned op = ops[rnd(3)];

	modrm_form(0, 1, op, op == 0xba ? 4 + rnd(4) : pick_reg(), 2, one_in(3), 1);
}

static void short_form(void)
{
	static const uint8_t ops[] = { 0x98, 0x99, 0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x90, 0xfc };
	unsigned reg = pick_reg();

	switch (rnd(5)) {
	case 0: /* mov reg, imm64 */
		put8(0x48 | reg >> 3);
		put8(0xb8 | (reg & 7));
		put(one_in(2) ? rnd(~0u) : (uint64_t)rnd(~0u) << 32 | rnd(~0u), 8);
		break;
	case 1: /* bswap */
		put8(0x48 | reg >> 3);
		put8(0x0f);
		put8(0xc8 | (reg & 7));
		break;
	case 2: /* xchg rax, reg */
		put8(0x48 | reg >> 3);
		put8(0x90 | (reg & 7));
		break;
	case 3: /* no REX: AH..BH */
		put8(0x00 | rnd(8) << 3 | 2);
		put8(0xc0 | rnd(64));
		at[-1] = (uint8_t)(0xc0 | (4 + rnd(4)) << 3 | rnd(3));
		break;
	default:
		if (one_in(2))
			put8(0x48);
		put8(ops[rnd(sizeof(ops))]);
	}
}

static void lea(void)
{
	if (one_in(6))
		put8(0x67);
	modrm_form(0, 0, 0x8d, pick_reg(), 2, true, 0);
}

static void stack(void)
{
	unsigned a = pick_reg(), b = pick_reg();

	if (one_in(4)) {
		put8(0x9c); /* pushf */
	} else if (one_in(4)) {
		put8(0x6a);
		put8(rnd(256));
	} else {
		put8(0x40 | a >> 3);
		put8(0x50 | (a & 7));
	}
	if (one_in(2))
		alu();
	put8(0x40 | b >> 3);
	put8(0x58 | (b & 7));
}

/* A call over a piece of code that returns, by way of a register now and then. */
static void call(void)
{
	uint8_t *over;

	put8(0xe8);
	put(2, 4);
	put8(0xeb);
	over = at++;
	alu();
	move();
	put8(0xc3);
	*over = (uint8_t)(at - over - 1);
}

static void jump(void)
{
	if (to_jump || one_in(3))
		return;
	put8(0x70 | rnd(16));
	last_jump = at++;
	to_jump = 1 + rnd(5);
}

static void vector(void)
{
	static const uint16_t ops[] = { 0x58, 0x10, 0x11, 0x28, 0x54, 0x57, 0x16fe, 0x16ef, 0x166f, 0x167f,
					0x1660, 0x16d4, 0x1662, 0x162e, 0x2e, 0xc2 };
	unsigned op = ops[rnd(sizeof(ops) / sizeof(ops[0]))], prefix = op >> 8 ? 0x66 : 0;

	if (one_in(6)) { /* MOVQ xmm, reg; MOVQ reg, xmm; PMOVMSKB; CVTSI2SD */
		static const uint16_t mixed[][2] = { { 0x66, 0x6e }, { 0x66, 0x7e }, { 0x66, 0xd7 },
						     { 0xf2, 0x2a } };
		unsigned n = rnd(4);

		modrm_form(mixed[n][0], 1, mixed[n][1], n == 2 ? pick_reg() : rnd(16), 1, false, 0);
		return;
	}
	aligned = !one_in(30);
	modrm_form(prefix, 1, op & 0xff, rnd(16), 0, one_in(2), (op & 0xff) == 0xc2);
	aligned = false;
}

static void bmi(void)
{
	static const uint8_t ops[][2] = { { 0xf2, 0 }, { 0xf7, 1 }, { 0xf7, 2 }, { 0xf7, 3 }, { 0xf5, 0 } };
	unsigned n = rnd(5), reg = pick_reg(), v = pick_reg(), rm = pick_reg();

	put8(0xc4);
	put8((~reg >> 3 & 1) << 7 | 0x40 | (~rm >> 3 & 1) << 5 | 2);
	put8(rnd(2) << 7 | (~v & 15) << 3 | ops[n][1]);
	put8(ops[n][0]);
	put8(0xc0 | (reg & 7) << 3 | (rm & 7));
}

static void code(const char *bytes, unsigned n)
{
	memcpy(at, bytes, n);
	at += n;
}

/* MULX, ANDN, BZHI, BEXTR, BLSR of memory; high bytes; BT... with an offset of 16 bits in a register; CMPXCHG8B; XLAT, LODS... */
static void various(void)
{
	static const uint8_t vex[][2] = { { 0xf6, 3 }, { 0xf2, 0 }, { 0xf5, 0 }, { 0xf7, 0 }, { 0xf3, 0 } };
	static const uint8_t high[] = { 0x88, 0x8a, 0x02, 0x00, 0x10, 0x12, 0x38, 0x84 };
	unsigned n = rnd(16), base = base_reg[rnd(3)];

	if (n < 5) {
		unsigned reg = n == 4 ? 1 : pick_reg();

		put8(0xc4);
		put8((~reg >> 3 & 1) << 7 | 0x40 | (~base >> 3 & 1) << 5 | 2);
		put8(rnd(2) << 7 | (~pick_reg() & 15) << 3 | vex[n][1]);
		put8(vex[n][0]);
		put8(0x80 | (reg & 7) << 3 | (base & 7));
		if ((base & 7) == 4)
			put8(0x24);
		put(rnd(0x800), 4);
	} else if (n < 8) {
		if (base >= 8 || base == 4)
			return;
		put8(high[rnd(8)]), put8(0x80 | (4 + rnd(4)) << 3 | base), put(rnd(0x800), 4);
	} else if (n < 12) {
		modrm_form(0x66, 1, 0xa3 + 8 * rnd(4), rnd(16), 0, true, 0);
	} else if (n == 12) {
		modrm_form(0, 1, 0xc7, 1, 0, true, 0);
	} else if (n == 13 && one_in(2)) {
		put8(0x6a), put8(rnd(64)), put8(0x9d); /* push flags that are now and then all there is; popf */
		put8(0x9c), put8(0x80), put8(0x34), put8(0x24), put8(rnd(256) & 0xd5), put8(0x9d); /* pushf; xor byte [rsp]; popf */
		for (unsigned i = 0; i < 2; i++) { /* IF, and back: pushf; xor byte [rsp + 1], 2; popf; lea rdx, [rdx] */
			static const uint8_t toggle[] = { 0x9c, 0x80, 0x74, 0x24, 0x01, 0x02, 0x9d, 0x48, 0x8d, 0x12 };

			code((const char *)toggle, sizeof(toggle));
		}
	} else if (n == 13) {
		modrm_form(0, 0, 0x8c, rnd(6), 2, one_in(2), 0);
	} else if (base == 3 || base == 6 || base == 7) {
		static const uint8_t by_base[8][2] = { [3] = { 0xd7, 0xd7 }, [6] = { 0xac, 0xad }, [7] = { 0xaa, 0xab } };

		put8(by_base[base][rnd(2)]);
	}
}

static void one_instruction(void)
{
	static void (*const kinds[])(void) = {
		alu, alu, alu, immediate, immediate, unary, unary, move, move, move, two_byte, two_byte,
		two_byte_imm, short_form, lea, stack, call, jump, jump, vector, vector, bmi, divide, push_memory,
		various, various,
	};

	kinds[rnd(sizeof(kinds) / sizeof(kinds[0]))]();
	if (to_jump && --to_jump == 0)
		*last_jump = (uint8_t)(at - last_jump - 1);
}

/* The bases are set anew in every round; the rounds are counted in memory. */
static void make_program(void)
{
	unsigned n = 5 + rnd(60), bases;
	uint8_t *top;

	at = ram + CODE + rnd(0x1000);
	base_reg[0] = base_reg[1] = base_reg[2] = 4;
	for (bases = 0; bases < 3;) {
		unsigned reg = rnd(16);

		if (reg != 4 && !is_base(reg))
			base_reg[bases++] = reg;
	}
	top = at;
	for (unsigned i = 0; i < 3; i++) {
		put8(0x48 | base_reg[i] >> 3);
		put8(0xb8 | (base_reg[i] & 7));
		put(DATA + 0x100 + 16 * rnd(0x2a0), 8);
		if (one_in(60))
			at[-8] = 1;
		if (one_in(200))
			at[-1] = 0x5a;
	}
	to_jump = 0;
	while (n--)
		one_instruction();
	while (to_jump)
		one_instruction();
	put8(0x48), put8(0xff), put8(0x0c), put8(0x25), put(DATA_END - 8, 4); /* dec qword [counter] */
	put8(0x0f), put8(0x85), put((uint64_t)(top - (at + 4)), 4);
	put8(0xf4);
}

/* ---- the machine ----------------------------------------------------------------------------------- */

static void word(unsigned where, uint64_t value)
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
	word(GDT + 40, 0x00affb000000ffffull);
	word(GDT + 48, 0x00cff3000000ffffull);
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

static void set_system(int vcpu)
{
	struct kvm_segment code = { .limit = ~0u, .selector = user ? 0x2b : 8, .type = 11, .present = 1, .s = 1,
				    .l = 1, .g = 1, .dpl = user ? 3 : 0 };
	struct kvm_segment data = { .limit = ~0u, .selector = user ? 0x33 : 16, .type = 3, .present = 1, .s = 1,
				    .db = 1, .g = 1, .dpl = user ? 3 : 0 };
	struct kvm_sregs s;

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
	s.cr4 = 0x620;
	s.efer = 0x500;
	assert_int_equal(anykvm_ioctl(vcpu, KVM_SET_SREGS, (unsigned long)&s), 0);
}

static void set_registers(int vcpu)
{
	struct kvm_regs r = { .rip = (uint64_t)(at - ram), .rsp = STACK + 0x800, .rflags = 2 };
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

typedef void make_fn(void);

struct vm {
	int kvm, vm, vcpu, size;
	struct kvm_run *shared;
};

/* Each test starts with cmocka's. */
static struct sigaction engines_handler;

static void open_vm(struct vm *v, const char *mode)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = RAM_SIZE, .userspace_addr = (uint64_t)ram,
	};

	sigaction(SIGSEGV, &engines_handler, NULL);
	setenv("ANYKVM_SOFT", mode, 1);
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

static void close_vm(struct vm *v)
{
	munmap(v->shared, (size_t)v->size);
	anykvm_close(v->vcpu);
	anykvm_close(v->vm);
	anykvm_close(v->kvm);
}

/* The program that make makes of this seed, and the registers it starts with. */
static void load_program(struct vm *v, uint64_t program, make_fn *make)
{
	seed = program;
	make_machine();
	make();
	at = ram + CODE;
	while (!*at)
		at++;
	set_registers(v->vcpu);
}

static void collect(struct vm *v, int error, struct outcome *o)
{
	struct kvm_sregs s;

	memset(o, 0, sizeof(*o));
	o->error = error;
	o->exit = (int)v->shared->exit_reason;
	anykvm_ioctl(v->vcpu, KVM_GET_REGS, (unsigned long)&o->regs);
	anykvm_ioctl(v->vcpu, KVM_GET_FPU, (unsigned long)&o->fpu);
	anykvm_ioctl(v->vcpu, KVM_GET_SREGS, (unsigned long)&s);
	o->cr2 = s.cr2;
}

/* Runs a program under mode until it halts. Unusable: a page that the host may not access. */
static void run(const char *mode, uint64_t program, make_fn *make, unsigned unusable, struct outcome *o)
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

static void show(uint64_t program, const struct outcome *a, const struct outcome *b, const uint8_t *memory)
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

static const char *mode_wanted(void)
{
	const char *mode = getenv("TRANSLATE_MODE");

	return mode ? mode : "jit";
}

static unsigned compare_programs(const char *mode, make_fn *make, uint64_t first, unsigned n)
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

#define BYTES(s) code(s, sizeof(s) - 1)

/*
 * Accesses off one base that can share a probe, the base moving byte by byte over the end of a page: to one that
 * is like it, may not be written or is not there. In between flags, branches, and the stack off that base, too.
 */
static void sweep_access(void)
{
	static const uint8_t ops[] = { 0x8b, 0x89, 0x01, 0x03, 0x11, 0x13, 0x3b, 0x39, 0x29, 0x33, 0x85, 0x63 };
	unsigned reg = 8 + rnd(8), n = rnd(12);

	if (n < 7) { /* op r8..r15, [rbx + d], or the other way round */
		put8(0x44 | rnd(2) << 3), put8(ops[rnd(sizeof(ops))]);
		put8(0x43 | (reg & 7) << 3), put8(rnd(0x70));
	} else if (n == 7) { /* add, or, ... cmp dword [rbx + d], n */
		put8(0x83), put8(0x43 | rnd(8) << 3), put8(rnd(0x70)), put8(rnd(256));
	} else if (n == 8) { /* the same of a register, for its flags */
		put8(0x49), put8(0x83), put8(0xc0 | rnd(8) << 3 | (reg & 7)), put8(rnd(256));
	} else if (n == 9) { /* movups xmm, [rbx + d] or back */
		put8(0x0f), put8(0x10 | rnd(2)), put8(0x43 | rnd(8) << 3), put8(rnd(0x70));
	} else if (n == 10) { /* lea rsp, [rbx + d] */
		put8(0x48), put8(0x8d), put8(0x63), put8(rnd(0x70));
	} else { /* push, pop */
		put8(0x41), put8((one_in(2) ? 0x50 : 0x58) | (reg & 7));
	}
}

static void make_sweep(void)
{
	static const unsigned ends[] = { DATA + 0x1000, DATA_END, READ_ONLY, READ_ONLY + 0x1000 };
	unsigned n = 3 + rnd(12), skip = rnd(n), behind = rnd(4);
	uint8_t *outer, *top, *jump = NULL;

	at = ram + CODE + 16;
	BYTES("\x48\xc7\xc3"), put(ends[rnd(4)] - 0xa0, 4); /* mov rbx, ... */
	BYTES("\x48\xc7\xc5"), put(3, 4);		     /* mov rbp, 3 */
	outer = at;
	BYTES("\x48\xc7\xc1"), put(0x60, 4);		     /* mov rcx, 0x60 */
	top = at;
	while (n--) {
		sweep_access();
		if (jump)
			jump[-1] = (uint8_t)(at - jump);
		jump = NULL;
		if (n == skip) {
			put8(0x70 | rnd(16)), put8(0);
			jump = at;
		}
	}
	if (jump)
		jump[-1] = (uint8_t)(at - jump);
	BYTES("\x48\x8d\x5b\x01"); /* lea rbx, [rbx + 1] */
	if (one_in(2))
		BYTES("\x48\x83\xe9\x01"); /* sub rcx, 1 */
	else
		BYTES("\x48\xff\xc9"); /* dec rcx */
	BYTES("\x0f\x85"), put((uint64_t)(top - (at + 4)), 4); /* jnz top */
	while (behind--)
		sweep_access();
	BYTES("\x48\x8d\x5b\x05");							     /* lea rbx, [rbx + 5] */
	BYTES("\x48\xff\xcd\x0f\x85"), put((uint64_t)(outer - (at + 4)), 4); /* dec rbp; jnz outer */
	put8(0xf4);
}

/* Of data at rbx, which is mostly in one page: x87, MMX, scalar SSE, and the control words that unmask their exceptions. */
static void float_instruction(void)
{
	static const uint8_t x87_mem[][2] = { { 0xd9, 0 }, { 0xdd, 0 }, { 0xdb, 5 }, { 0xdb, 7 }, { 0xdd, 3 }, { 0xd9, 2 },
					      { 0xdf, 5 }, { 0xdb, 3 }, { 0xdc, 0 }, { 0xd8, 6 }, { 0xde, 1 }, { 0xdf, 1 },
					      { 0xdd, 7 }, { 0xd9, 7 }, { 0xdf, 4 }, { 0xdf, 6 } };
	static const char sse[][4] = { "\xf2\x0f\x58\x43", "\xf2\x0f\x5e\x4b", "\xf3\x0f\x5e\x53", "\xf2\x0f\x51\x5b",
				       "\xf2\x0f\x11\x43", "\xf2\x0f\x10\x4b", "\xf2\x0f\x2c\x53", "\xf2\x0f\x2a\x5b" };
	unsigned n = rnd(16), i = rnd(16), d = rnd(12) * 8;

	if (one_in(16))
		d = rnd(0x78);
	if (n < 5) { /* of memory */
		put8(x87_mem[i][0]), put8(0x43 | x87_mem[i][1] << 3), put8(d);
	} else if (n < 8) { /* of registers: D8..DF C0..FF, but for FNCLEX, FNINIT and their like */
		put8(0xd8 + rnd(8)), put8(0xc0 + rnd(64));
		if (at[-2] == 0xdb && at[-1] >= 0xe0 && at[-1] < 0xe8)
			at[-1] = 0xc1;
	} else if (n < 11) {
		code(sse[i % 8], 4), put8(d);
	} else if (n == 11) { /* fldcw, ldmxcsr [rbx + 100h...]; seldom one that unmasks */
		if (one_in(2))
			BYTES("\xd9\xab"), put(0x100 + 8 * rnd(one_in(6) ? 8 : 4), 4);
		else
			BYTES("\x0f\xae\x93"), put(0x140 + 8 * rnd(one_in(6) ? 8 : 4), 4);
	} else if (n == 12) {
		BYTES("\x0f\xae\x5b"), put8(d); /* stmxcsr */
	} else if (n == 13) { /* emms, fwait, fninit, fnclex, fnstsw ax, fld1, fldpi, finit */
		static const char odd[][3] = { "\x0f\x77\x90", "\x9b\x90\x90", "\xdb\xe3\x90", "\xdb\xe2\x90",
					       "\xdf\xe0\x90", "\xd9\xe8\x90", "\xd9\xeb\x90", "\x9b\xdb\xe3" };
		code(odd[rnd(8)], 3);
	} else if (n == 14) { /* movq mm, [rbx + d], or back; paddd */
		put8(0x0f), put8(i < 6 ? 0x6f : i < 12 ? 0x7f : 0xfe), put8(0x43 | rnd(8) << 3), put8(d);
	} else { /* something that wants flags, and something that makes them */
		put8(0x0f), put8(0x90 | i), put8(0xc0);			  /* setcc al */
		put8(0x83), put8(0xc0 | rnd(8) << 3 | rnd(2)), put8(rnd(256)); /* op eax or ecx, n */
	}
}

static void make_floats(void)
{
	static const uint16_t fcw[] = { 0x37f, 0x27f, 0xf7f, 0x07f, 0x37e, 0x340, 0x37b, 0x35f };
	static const uint32_t mxcsr[] = { 0x1f80, 0x9fc0, 0x3f80, 0x7f80, 0x1d80, 0x1f00, 0x0f80, 0x10000 };
	unsigned n = 4 + rnd(30);
	uint8_t *top;

	for (unsigned i = 0; i < 8; i++) {
		word(DATA + 0x200 + 0x100 + 8 * i, fcw[i]);
		word(DATA + 0x200 + 0x140 + 8 * i, mxcsr[i]);
		word(DATA + 0x200 + 8 * i, 0x3ff0000000000000ull + ((uint64_t)rnd(4000) << 45));
	}
	at = ram + CODE + 16 + rnd(0x100);
	BYTES("\x48\xc7\xc3"), put(DATA + 0x200, 4); /* mov rbx, ... */
	BYTES("\x48\xc7\xc5"), put(20, 4);	     /* mov rbp, 20 */
	top = at;
	while (n--)
		float_instruction();
	BYTES("\x48\xff\xcd\x0f\x85"), put((uint64_t)(top - (at + 4)), 4); /* dec rbp; jnz top */
	put8(0xf4);
}

static void test_floats(void **state)
{
	const char *n = getenv("TRANSLATE_PROGRAMS");

	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_floats, 0, n ? (unsigned)atoi(n) : 400), 0);
	assert_int_equal(compare_programs("lockstep", make_floats, 5000, 100), 0);
}

/* ---- 32-bit code ----------------------------------------------------------------------------------------- */

/* EAX, ECX, EDX, EDI: EBX, EBP and ESI are bases, ESP the stack. */
static unsigned pick_reg32(void)
{
	static const uint8_t regs[] = { 0, 1, 2, 7 };

	return one_in(100) ? rnd(8) : regs[rnd(4)];
}

static void address32(unsigned reg, bool mem)
{
	static const uint8_t bases[] = { 3, 5, 6 };
	unsigned base = bases[rnd(3)], mod = 1 + rnd(2);

	if (!mem) {
		put8(0xc0 | (reg & 7) << 3 | pick_reg32());
	} else if (one_in(5)) {
		put8((reg & 7) << 3 | 5); /* [disp32] */
		put(DATA + rnd(0x2000), 4);
	} else {
		bool sib = one_in(6);

		put8(mod << 6 | (reg & 7) << 3 | (sib ? 4 : base));
		if (sib)
			put8(rnd(4) << 6 | (one_in(20) ? pick_reg32() : 4) << 3 | base);
		put(mod == 1 ? rnd(256) : one_in(30) ? 0x1000 - rnd(8) : rnd(0x800), mod == 1 ? 1 : 4);
	}
}

static void segment32(void)
{
	static const uint8_t prefixes[] = { 0x64, 0x65, 0x36, 0x26, 0x3e, 0x2e };

	if (one_in(8))
		put8(prefixes[one_in(10) ? 5 : rnd(5)]);
}

/* One byte of opcode and ModRM: as they are, with ModRM.reg of an operand or (/n) an extension. */
static void plain32(void)
{
	static const struct {
		uint16_t opcode;
		uint8_t ext;	/* 8: a register */
		uint8_t imm;	/* bytes */
	} forms[] = {
		{ 0x00, 8, 0 }, { 0x01, 8, 0 }, { 0x02, 8, 0 }, { 0x03, 8, 0 }, { 0x11, 8, 0 }, { 0x13, 8, 0 }, { 0x19, 8, 0 },
		{ 0x21, 8, 0 }, { 0x2b, 8, 0 }, { 0x33, 8, 0 }, { 0x38, 8, 0 }, { 0x39, 8, 0 }, { 0x3b, 8, 0 }, { 0x85, 8, 0 },
		{ 0x84, 8, 0 }, { 0x88, 8, 0 }, { 0x89, 8, 0 }, { 0x8a, 8, 0 }, { 0x8b, 8, 0 }, { 0x87, 8, 0 }, { 0x86, 8, 0 },
		{ 0x80, 4, 1 }, { 0x82, 0, 1 }, { 0x83, 5, 1 }, { 0x83, 2, 1 }, { 0xc0, 4, 1 }, { 0xc1, 5, 1 }, { 0xd1, 2, 0 },
		{ 0xd3, 7, 0 }, { 0xf6, 3, 0 }, { 0xf7, 2, 0 }, { 0xf7, 4, 0 }, { 0xf7, 5, 0 }, { 0xfe, 0, 0 }, { 0xff, 1, 0 },
		{ 0xff, 0, 0 }, { 0xc6, 0, 1 }, { 0x6b, 8, 1 }, { 0xfb6, 8, 0 }, { 0xfb7, 8, 0 }, { 0xfbe, 8, 0 }, { 0xfbf, 8, 0 },
		{ 0xfaf, 8, 0 }, { 0xfba, 4, 1 }, { 0xfba, 5, 1 }, { 0xfb1, 8, 0 }, { 0xfc1, 8, 0 }, { 0xfa5, 8, 0 },
		{ 0xf94, 0, 0 }, { 0xf4c, 8, 0 }, { 0xfbc, 8, 0 }, { 0xfa3, 8, 0 }, { 0xfab, 8, 0 }, { 0xfbb, 8, 0 },
	};
	unsigned n = rnd(sizeof(forms) / sizeof(forms[0])), op = forms[n].opcode;

	segment32();
	if (one_in(8))
		put8(0x66);
	if (op >> 8)
		put8(0x0f);
	put8(op);
	address32(forms[n].ext == 8 ? pick_reg32() | rnd(2) * (one_in(4) ? 4 : 0) : forms[n].ext, one_in(2));
	put(rnd(~0u), forms[n].imm);
}

static void short32(void)
{
	unsigned n = rnd(12), reg = pick_reg32();

	if (n < 3) {
		put8(0x40 + 8 * rnd(2) + reg);
	} else if (n < 5) {
		put8(0x50 + reg), put8(0x58 + pick_reg32());
	} else if (n == 5) {
		segment32(), put8(0xa0 + rnd(4)), put(DATA + rnd(0x2000), 4);
	} else if (n == 6) {
		put8(0xb8 + reg), put(rnd(~0u), 4);
	} else if (n == 7) {
		put8(0x04 + 8 * rnd(8)), put8(rnd(256));
	} else if (n == 8) {
		put8(0x6a), put8(rnd(256)), put8(0x8f), address32(0, one_in(2)); /* push n; pop there */
	} else if (n == 9) {
		put8(0xff), address32(6, true), put8(0x9c), put8(0x58), put8(0x59); /* push [...]; pushf; pop eax; pop ecx */
	} else if (n == 10) {
		put8(0x60), put8(0x98 + rnd(2)), put8(0x61); /* pusha; cwde or cdq; popa */
	} else {
		put8(0x8d), address32(pick_reg32(), true);
	}
}

static void vector32(void)
{
	static const uint16_t ops[] = { 0x58, 0x10, 0x11, 0x16fe, 0x166e, 0x167e, 0x16d7, 0x1610, 0x2e, 0x6f, 0x7f };
	unsigned op = ops[rnd(sizeof(ops) / sizeof(ops[0]))];

	segment32();
	if (op >> 8)
		put8(0x66);
	put8(0x0f), put8(op & 0xff);
	address32((op & 0xff) == 0xd7 ? pick_reg32() : rnd(8), (op & 0xff) != 0xd7 && one_in(2));
}

/* A call of what is jumped over, by CALL or through a register; and string instructions. */
static void odd32(void)
{
	unsigned n = rnd(4), count = rnd(one_in(8) ? 0x800 : 20);

	if (n == 0) {
		put8(0xeb), put8(3), put8(0x40 + pick_reg32()), put8(0xc2), put8(0), put8(0); /* jmp; inc; ret 0 */
		at[-5] = 4;
		put8(0xe8), put((uint64_t)-9, 4);
	} else if (n == 1) {
		put8(0xb8), put((uint64_t)(at + 4 - ram) + 4, 4); /* mov eax, the RET */
		put8(0xeb), put8(1), put8(0xc3), put8(0xc3);
		at[-3] = 2;
		put8(0xff), put8(0xd0);
	} else {
		put8(0xbf), put(DATA + rnd(0x1800), 4); /* mov edi, ...; mov ecx, count; rep movs or stos */
		put8(0xb9), put(count, 4);
		put8(0xf3), put8(0xa4 + rnd(2) + (n == 3 ? 6 : 0));
	}
}

static void make_program32(void)
{
	static void (*const kinds[])(void) = { plain32, plain32, plain32, plain32, short32, short32, short32, vector32, jump,
					       jump, odd32 };
	static const uint8_t bases[] = { 3, 5, 6 };
	unsigned n = 5 + rnd(50);
	uint8_t *top;

	at = ram + CODE + 1 + rnd(0x1000);
	to_jump = 0;
	top = at;
	for (unsigned i = 0; i < 3; i++)
		put8(0xb8 + bases[i]), put(DATA + 0x100 + 16 * rnd(0x2a0), 4);
	while (n-- || to_jump) {
		kinds[rnd(sizeof(kinds) / sizeof(kinds[0]))]();
		if (to_jump && --to_jump == 0)
			*last_jump = (uint8_t)(at - last_jump - 1);
		n += !n && to_jump;
	}
	put8(0xff), put8(0x0d), put(DATA_END - 8, 4); /* dec dword [counter] */
	put8(0x0f), put8(0x85), put((uint64_t)(top - (at + 4)), 4);
	put8(0xf4);
}

/* As sweep_access(). */
static void sweep_access32(void)
{
	static const uint8_t ops[] = { 0x8b, 0x89, 0x01, 0x03, 0x11, 0x13, 0x3b, 0x39, 0x29, 0x33, 0x85, 0x88 };
	unsigned reg = pick_reg32(), n = rnd(12);

	if (n < 7)
		put8(ops[rnd(sizeof(ops))]), put8(0x43 | reg << 3), put8(rnd(0x70));
	else if (n == 7)
		put8(0x83), put8(0x43 | rnd(8) << 3), put8(rnd(0x70)), put8(rnd(256));
	else if (n == 8)
		put8(0x83), put8(0xc0 | rnd(8) << 3 | reg), put8(rnd(256));
	else if (n == 9)
		put8(0x0f), put8(0x10 | rnd(2)), put8(0x43 | rnd(8) << 3), put8(rnd(0x70));
	else if (n == 10)
		put8(0x8d), put8(0x63), put8(rnd(0x70)); /* lea esp, [ebx + d] */
	else
		put8((one_in(2) ? 0x50 : 0x58) | reg);
}

static void make_sweep32(void)
{
	static const unsigned ends[] = { DATA + 0x1000, DATA_END, READ_ONLY, READ_ONLY + 0x1000 };
	unsigned n = 3 + rnd(12);
	uint8_t *top;

	at = ram + CODE + 16;
	put8(0xbb), put(ends[rnd(4)] - 0xa0, 4); /* mov ebx, ... */
	put8(0xbe), put(0x60, 4);		    /* mov esi, 0x60 */
	top = at;
	while (n--)
		sweep_access32();
	put8(0x43), put8(0x4e);					/* inc ebx; dec esi */
	put8(0x0f), put8(0x85), put((uint64_t)(top - (at + 4)), 4); /* jnz top */
	put8(0xf4);
}

static unsigned programs32(const char *mode, unsigned n)
{
	return compare_programs(mode, make_program32, 30000, n) + compare_programs(mode, make_sweep32, 30000, n / 2);
}

static void test_compat(void **state)
{
	const char *n = getenv("TRANSLATE_PROGRAMS");
	unsigned bad = 0;

	(void)state;
	compat = true;
	for (unsigned i = 0; i < 2; i++) {
		user = i;
		bad += programs32(mode_wanted(), n ? (unsigned)atoi(n) : 400);
		bad += programs32("lockstep", 100);
	}
	compat = user = false;
	assert_int_equal(bad, 0);
}

static void test_page_ends(void **state)
{
	const char *n = getenv("TRANSLATE_PROGRAMS");

	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_sweep, 0, n ? (unsigned)atoi(n) : 600), 0);
}

static void test_random_programs(void **state)
{
	const char *n = getenv("TRANSLATE_PROGRAMS"), *first = getenv("TRANSLATE_FIRST");

	(void)state;
	assert_int_equal(compare_programs(mode_wanted(), make_program, first ? strtoull(first, NULL, 0) : 0,
					  n ? (unsigned)atoi(n) : 600), 0);
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
		disp = (int64_t)((area_base[base] + 0x80000000ll) >> 32) * (1ll << 32) + DATA + 8 * rnd(0x7ff) - area_base[base];
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
	static const char pushes[][3] = { "\x41\x50", "\x41\x58", "\x53\x90", "\x41\x57" }; /* push r8, pop r8, push rbx, push r15 */
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

static unsigned user_programs(const char *mode, unsigned n)
{
	return compare_programs(mode, make_program, 20000, n) + compare_programs(mode, make_sweep, 20000, n) +
	       compare_programs(mode, make_floats, 20000, n) + compare_programs(mode, make_areas, 20000, n);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_fault),
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_page_ends),
		cmocka_unit_test(test_floats),
		cmocka_unit_test(test_lockstep),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_compat),
		cmocka_unit_test(test_self_modifying),
		cmocka_unit_test(test_linked_pages),
		cmocka_unit_test(test_gs_base),
		cmocka_unit_test(test_kick),
		cmocka_unit_test(test_perf_map),
	};

	anykvm_close(anykvm_open());
	sigaction(SIGSEGV, NULL, &engines_handler);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
