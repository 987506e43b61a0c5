/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions of a page that tell of the processor, found in bytes of which it is not known where instructions begin.
 *
 * Processes come and go, their programs' pages stay: what was found is kept by page, with a sum of the bytes that it was found
 * in. Who makes two pages with the same sum deceives only itself: its code is told of the host.
 */
#include "engine/soft/telling.h"
#include "host/host.h"
#include "x86/fpu.h"
#include "x86/insn.h"
#include "x86/opcodes.h"

/*
 * The second byte of what tells of the processor: SLDT, STR, VERR; SGDT, SIDT, SMSW, XGETBV; LAR; LSL; SYSENTER; CPUID; RDPID.
 * But 0F 00 00 is what small numbers look like; as SLDT it gives 0 on the host as in the guest.
 */
static bool suspicious(const u8 *p)
{
	u8 reg = p[2] >> 3 & 7;

	if (p[0] == 0xcd)
		return p[1] == 4 || p[1] == 0x80;
	if (p[0] != 0x0f)
		return false;
	switch (p[1]) {
	case 0x00:
		return p[2] && !(reg & 2);
	case 0x01:
		return p[2] >= 0xc0 || reg < 2 || reg == 4;
	case 0x02:
	case 0x03:
	case 0x34:
	case 0xa2:
		return true;
	default:
		return p[1] == 0xc7 && p[2] >= 0xf8;
	}
}

#define EACH_BYTE(n) ((n) * 0x0101010101010101ull)

static bool has_zero_byte(u64 v)
{
	return (v - EACH_BYTE(1)) & ~v & EACH_BYTE(0x80);
}

/* None of these eight bytes is the first of two that are suspicious. */
static bool unsuspicious(const u8 *p)
{
	u64 v;

	__builtin_memcpy(&v, p, sizeof(v));
	return !has_zero_byte(v ^ EACH_BYTE(0x0f)) && !has_zero_byte(v ^ EACH_BYTE(0xcd));
}

static bool tells(const struct x86_insn *insn)
{
	switch (insn->op) {
	case X86_OP_CPUID:
	case X86_OP_XGETBV:
	case X86_OP_RDTSCP: /* the host's TSC_AUX */
	case X86_OP_RDPID:
	case X86_OP_RDPKRU:
	case X86_OP_SGDT:
	case X86_OP_SIDT:
	case X86_OP_SMSW:
	case X86_OP_SLDT:
	case X86_OP_STR:
	case X86_OP_LAR:
	case X86_OP_LSL:
	case X86_OP_VERR:
	case X86_OP_VERW:
	case X86_OP_SYSENTER: /* the host's kernel loses RIP */
	case X86_OP_WRPKRU: /* the host's CR4.PKE */
	case X86_OP_VMCALL: /* there may be a hypervisor that answers */
	case X86_OP_VMMCALL:
		return true;
	case X86_OP_INT: /* 4 stops behind it, and looks like a fault; of INT 80h, the host's kernel keeps half of RAX */
		return insn->imm == 4 || insn->imm == 0x80;
	default:
		return false;
	}
}

#define IN_STEP 3
#define AROUND 80u	/* bytes of a page that are looked at with the page next to it */

/* Where the instruction begins that the byte at offset i belongs to; NOWHERE: it does not tell. */
#define NOWHERE (~0u)

/*
 * As seen by somebody who begins at `from`. Who has met something that is no instruction is believed again after some that
 * are.
 */
static unsigned begins(const u8 *code, unsigned size, unsigned from, unsigned i)
{
	unsigned streak = IN_STEP;
	struct x86_insn insn;

	while (from <= i) {
		unsigned left = size - from;

		if (x86_decode(&insn, code + from, left < X86_MAX_INSN_LEN ? left : X86_MAX_INSN_LEN, 64) != X86_DECODE_OK) {
			streak = 0;
			from++;
			continue;
		}
		if (from + insn.len > i)
			return streak >= IN_STEP && tells(&insn) ? from : NOWHERE;
		streak++;
		from += insn.len;
	}
	return NOWHERE;
}

/*
 * Most of what looks so is within other instructions. Where instructions begin is not known, but who begins anywhere soon
 * is in step: the majority of some decides, the first two if they agree. Near the beginning there may be no time for that:
 * who begins there does.
 */
static unsigned decide(const u8 *code, unsigned size, unsigned i)
{
	static const u8 before[] = { 64, 57, 51, 44, 38 };
	unsigned votes = 0, asked = 0, at = NOWHERE;

	for (unsigned n = 0; n < ARRAY_SIZE(before); n++) {
		unsigned from = i > before[0] ? i - before[n] : n, seen;

		if (from > i)
			continue;
		seen = begins(code, size, from, i);
		asked++;
		votes += seen != NOWHERE;
		at = seen != NOWHERE ? seen : at;
		if (asked == 2 && votes != 1)
			break;
	}
	if (2 * votes > asked)
		return at;
	return i <= before[0] ? begins(code, size, 0, i) : NOWHERE;
}

/* From offset `from` up to `end`; two bytes more can be read. base: of the code in the page. */
static void find(struct telling *t, const u8 *code, unsigned size, unsigned from, unsigned end, int base)
{
	for (unsigned i = from; i < end; i++) {
		unsigned at;

		if (i + 8 <= end && unsuspicious(code + i)) {
			i += 7;
			continue;
		}
		if (likely(!suspicious(code + i)))
			continue;
		at = decide(code, size, i);
		if (at == NOWHERE)
			continue;
		if (t->nr < TELLING_MOST)
			t->at[t->nr] = (int)at + base;
		t->nr++;
	}
}

/* Where one page ends and the next begins. */
static void find_at_seam(struct telling *t, const u8 *page, const u8 *next, unsigned from, unsigned end, int base)
{
	u8 code[2 * AROUND];

	x86_fpu_copy(code, page + PAGE_SIZE - AROUND, AROUND);
	x86_fpu_copy(code + AROUND, next, AROUND);
	find(t, code, sizeof(code), from, end, base);
}

static void look(struct telling *t, const u8 *page, const u8 *before, const u8 *after)
{
	unsigned first = before ? AROUND - X86_MAX_INSN_LEN : 0;

	t->nr = 0;
	if (before)
		find_at_seam(t, before, page, AROUND - 2, AROUND + first, -(int)AROUND);
	if (after)
		find_at_seam(t, page, after, AROUND - 2, AROUND, (int)(PAGE_SIZE - AROUND));
	find(t, page, PAGE_SIZE, first, PAGE_SIZE - 2, 0);
}

/* ---- what was found before -------------------------------------------------------------------------------------------- */

#define LANES 4u

static u64 mix(u64 sum, u64 word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
	return sum ^ sum >> 29;
}

/* n: a multiple of 16. */
static u64 sum_of(const u8 *bytes, unsigned n, u64 seed)
{
	u64 sum[LANES] = { seed, ~seed, seed << 1, seed >> 1 }, word;

	for (unsigned i = 0; i < n; i += sizeof(word)) {
		__builtin_memcpy(&word, bytes + i, sizeof(word));
		sum[i / sizeof(word) % LANES] = mix(sum[i / sizeof(word) % LANES], word);
	}
	return mix(mix(mix(sum[0], sum[1]), sum[2]), sum[3]);
}

/* Of all that is looked at. */
static u64 sum_around(const u8 *page, const u8 *before, const u8 *after)
{
	u64 sum = sum_of(page, PAGE_SIZE, 1);

	if (before)
		sum = sum_of(before + PAGE_SIZE - AROUND, AROUND, sum);
	return after ? sum_of(after, AROUND, ~sum) : sum;
}

void telling_find(struct telling_memory *m, struct telling *t, const u8 *page, const u8 *before, const u8 *after)
{
	struct telling_page *p = &m->page[((u64)page >> 12) * 0x9e3779b97f4a7c15ull >> (64 - TELLING_BITS)];
	u64 sum = sum_around(page, before, after);

	if (p->host != page || p->sum != sum) {
		look(t, page, before, after); /* a host fault leads out of here */
		*p = (struct telling_page){ page, sum, *t };
	}
	*t = p->found;
}
