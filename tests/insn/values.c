// SPDX-License-Identifier: GPL-2.0-only
/* Random numbers, and values that instructions find interesting. */
#include <string.h>

#include "tests/insn/insn.h"

u64 rnd_state = 1;

u64 rnd(void)
{
	u64 z = rnd_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

u64 value_int(void)
{
	static const u64 some[] = {
		0,
		1,
		2,
		3,
		7,
		8,
		15,
		16,
		31,
		32,
		33,
		63,
		64,
		127,
		128,
		255,
		256,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000ull,
		0x7fffffffffffffffull,
		0x8000000000000000ull,
		0x8080808080808080ull,
		0x5555555555555555ull,
		0x0123456789abcdefull,
		0x00ff00ff00ff00ffull,
	};

	switch (rnd_below(6)) {
	case 0:
		return some[rnd_below(ARRAY_SIZE(some))];
	case 1:
		return -some[rnd_below(ARRAY_SIZE(some))];
	case 2:
		return rnd() >> rnd_below(64);
	case 3:
		return (rnd() & 0x0f0f0f0f0f0f0f0full) | (rnd() & rnd() & rnd());
	default:
		return rnd();
	}
}

static u32 value_float(void)
{
	static const u32 some[] = {
		0,	    0x3f800000, 0x3f000000, 0x40490fdb, 0x7f800000, 0x7fc00000,
		0x7f800001, 0x7fc12345, 0x00000001, 0x007fffff, 0x00800000, 0x7f7fffff,
		0x4f000000, 0x5f000000, 0x4effffff, 0x3effffff, 0x47800000, 0x477fe000,
		0x33800000, 0x4b000000, 0x3fc00000, 0x40200000,
	};
	u32 v;

	switch (rnd_below(5)) {
	case 0:
	case 1:
		v = some[rnd_below(ARRAY_SIZE(some))];
		return one_in(2) ? v ^ 0x80000000 : v;
	case 2: /* moderate exponent */
		return (u32)(rnd() & 0x807fffff) | (118 + rnd_below(20)) << 23;
	case 3:
		return ((u32)rnd() & 0x80ff0000) | 0x3f000000;
	default:
		return (u32)rnd();
	}
}

static u64 value_double(void)
{
	static const u64 some[] = {
		0, 0x3ff0000000000000ull, 0x3fe0000000000000ull, 0x400921fb54442d18ull, 0x7ff0000000000000ull,
		0x7ff8000000000000ull, 0x7ff0000000000001ull, 0x7ff8000012345678ull, 1, 0x000fffffffffffffull,
		0x0010000000000000ull, 0x7fefffffffffffffull, 0x41e0000000000000ull, 0x43e0000000000000ull,
		0x41dfffffffc00000ull, 0x4330000000000000ull, 0x47efffffe0000000ull, 0x3810000000000000ull,
		0x36a0000000000000ull, 0x40f0000000000000ull, 0x3ff8000000000000ull, 0x4004000000000000ull,
	};
	u64 v;

	switch (rnd_below(5)) {
	case 0:
	case 1:
		v = some[rnd_below(ARRAY_SIZE(some))];
		return one_in(2) ? v ^ 0x8000000000000000ull : v;
	case 2:
		return (rnd() & 0x800fffffffffffffull) | (u64)(1003 + rnd_below(60)) << 52;
	case 3:
		return (rnd() & 0x80f0000000000000ull) | 0x3f00000000000000ull;
	default:
		return rnd();
	}
}

/* Whole vectors of one kind, as instructions expect them, or mixed. */
void value_vector(u8 *out, unsigned size)
{
	unsigned kind = rnd_below(6);

	for (unsigned i = 0; i < size; i += 8) {
		unsigned k = kind == 5 ? rnd_below(5) : kind;
		u64 v;

		if (k == 0)
			v = value_float() | (u64)value_float() << 32;
		else if (k == 1)
			v = value_double();
		else if (k == 2)
			v = value_int();
		else if (k == 3)
			v = (rnd() & 0x0f0f0f0f0f0f0f0full) | (one_in(3) ? 0x8080808080808080ull & rnd() : 0);
		else
			v = rnd();
		memcpy(out + i, &v, size - i < 8 ? size - i : 8);
	}
}

void value_x87(u8 out[10])
{
	static const struct {
		u64 mantissa;
		u16 exponent;
	} some[] = {
		{ 0, 0 },
		{ 0x8000000000000000ull, 0x3fff },
		{ 0x8000000000000000ull, 0x3ffe },
		{ 0xc90fdaa22168c235ull, 0x4000 },
		{ 0x8000000000000000ull, 0x7fff },
		{ 0xc000000000000000ull, 0x7fff },
		{ 0x8000000000000001ull, 0x7fff },
		{ 0xc000000000012345ull, 0x7fff },
		{ 1, 0 },
		{ 0x7fffffffffffffffull, 0 },
		{ 0x8000000000000000ull, 0 },
		{ 0x8000000000000000ull, 1 },
		{ 0xffffffffffffffffull, 0x7ffe },
		{ 0x1000000000000000ull, 0x3fff },
		{ 0, 0x7fff },
		{ 0x4000000000000000ull, 0x7fff },
		{ 0x8000000000000000ull, 0x403e },
		{ 0xffffffffffffffffull, 0x403d },
		{ 0x8000000000000000ull, 0x401e },
		{ 0x8000000000000000ull, 0x400e },
		{ 0xde0b6b3a763fffffull, 0x403a },
		{ 0xde0b6b3a76400000ull, 0x403a },
		{ 0xc000000000000000ull, 0x3fff },
		{ 0xa000000000000000ull, 0x4000 },
	};
	u64 mantissa;
	u16 exponent;

	switch (rnd_below(5)) {
	case 0:
	case 1: {
		unsigned i = rnd_below(ARRAY_SIZE(some));

		mantissa = some[i].mantissa;
		exponent = some[i].exponent;
		break;
	}
	case 2: /* a moderate number */
		mantissa = rnd() | 0x8000000000000000ull;
		exponent = 0x3fff - 32 + rnd_below(96);
		break;
	case 3: /* a small integer */
		mantissa = (0x8000000000000000ull | rnd()) & ~0ull << (64 - 1 - rnd_below(20));
		exponent = 0x3fff + rnd_below(20);
		break;
	default:
		mantissa = rnd() | (one_in(4) ? 0 : 0x8000000000000000ull);
		exponent = (u16)rnd() & 0x7fff;
	}
	exponent |= one_in(2) ? 0x8000 : 0;
	memcpy(out, &mantissa, 8);
	memcpy(out + 8, &exponent, 2);
}
