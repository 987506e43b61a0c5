// SPDX-License-Identifier: GPL-2.0-only
/* Random programs of 64-bit code. */
#include <string.h>

#include "tests/unit/programs.h"

static unsigned base_reg[3];
static bool aligned; /* memory operands are, unless their base has been changed */

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

void jump(void)
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

/* MULX, ANDN, BZHI, BEXTR, BLSR of memory; high bytes; BT... with an offset in a 16-bit register; CMPXCHG8B; XLAT, LODS... */
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
void make_program(void)
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

/* ---- ends of pages ----------------------------------------------------------------------------------- */

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

void make_sweep(void)
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

/* ---- floating point ---------------------------------------------------------------------------------- */

/* Of data at rbx, mostly in one page: x87, MMX, scalar SSE, and the control words that unmask their exceptions. */
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

void make_floats(void)
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
