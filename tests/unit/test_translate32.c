// SPDX-License-Identifier: GPL-2.0-only
/* The translator against the interpreter, as in test_translate.c: 32-bit code, whose segments have limits and bases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/programs.h"

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
	unsigned bad = 0;

	(void)state;
	compat = true;
	for (unsigned i = 0; i < 2; i++) {
		user = i;
		bad += programs32(mode_wanted(), programs_wanted(400));
		bad += programs32("lockstep", 100);
	}
	compat = user = false;
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compat),
	};

	open_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
