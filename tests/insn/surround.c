// SPDX-License-Identifier: GPL-2.0-only
/*
 * Company for a sample, in 64-bit code: instructions before and behind it, so that the translator has flags that live
 * across instructions, and several accesses at known distances from one base, each of which may be the one that faults:
 * they lie around the sample's own operand, some beyond the end of its page or of all memory. The bare CPU executes the
 * same and stays the judge.
 *
 * Nothing here leaves flags undefined, and nothing that stands before the sample writes its address registers, rCX or rSP.
 */
#include <string.h>

#include "tests/insn/insn.h"

struct code {
	u8 *p;
	bool first;	/* stands before the sample */
	bool flags;	/* may read flags */
};

static bool has_memory(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_MEM)
			return true;
	return false;
}

static unsigned pick_destination(const struct sample *s, const struct code *c)
{
	unsigned reg;

	do
		reg = rnd_below(16);
	while (reg == X86_RSP || (c->first && (reg == X86_RCX || reg == s->insn.base || reg == s->insn.index)));
	return reg;
}

static u32 near_displacement(u64 displacement)
{
	switch (rnd_below(4)) {
	case 0:
		return (u32)(displacement + 0x1000 - rnd_below(0x2000));
	case 1:
		return (u32)(displacement + 8 * rnd_below(16));
	default:
		return (u32)(displacement + rnd_below(128) - 64);
	}
}

/* [REX] opcode ModRM [SIB disp32]: the sample's operand moved a little, or rm as a register. */
static void put_operation(const struct sample *s, struct code *c, u8 prefix, unsigned opcode, unsigned reg, bool memory)
{
	const struct x86_insn *insn = &s->insn;
	bool based = insn->base <= X86_R15, wide = rnd() & 1;
	unsigned base = based ? insn->base : 5, index = insn->index <= X86_R15 ? insn->index : 4;
	u32 displacement = near_displacement(based ? (u64)insn->disp : s->target);

	if (!memory)
		base = pick_destination(s, c), index = 0;
	if (prefix)
		*c->p++ = prefix;
	*c->p++ = (u8)(0x40 | wide << 3 | (reg >> 3) << 2 | (memory && index != 4 ? index >> 3 : 0) << 1 | base >> 3);
	if (opcode > 0xff)
		*c->p++ = 0x0f;
	*c->p++ = (u8)opcode;
	*c->p++ = (u8)((memory ? (based ? 0x84 : 0x04) : 0xc0 | (base & 7)) | (reg & 7) << 3);
	if (!memory)
		return;
	*c->p++ = (u8)((index == 4 ? 0 : insn->scale) << 6 | (index & 7) << 3 | (base & 7));
	memcpy(c->p, &displacement, 4);
	c->p += 4;
}

static void put_one(const struct sample *s, struct code *c)
{
	/* Those that read flags stand last. */
	static const u16 loads[] = { 0x8b, 0x8a, 0x03, 0x2b, 0x3b, 0xfb6, 0xfb7, 0xfbe, 0x13, 0x1b };
	static const u16 stores[] = { 0x89, 0x88, 0x01, 0x29, 0x39, 0x00, 0x11, 0x19 };
	bool memory = has_memory(&s->insn) && !one_in(4);

	switch (rnd_below(6)) {
	case 0:
		put_operation(s, c, 0, stores[rnd_below(c->flags ? 8 : 6)], rnd_below(16), memory);
		break;
	case 1:
		put_operation(s, c, 0, 0xff, rnd_below(2), memory); /* inc, dec */
		break;
	case 2:
		put_operation(s, c, one_in(2) ? 0xf3 : 0, 0xf10 + rnd_below(2), rnd_below(16), true);
		break;
	case 3:
		put_operation(s, c, 0, 0x8d, pick_destination(s, c), true); /* lea */
		break;
	default:
		put_operation(s, c, 0, loads[rnd_below(c->flags ? 10 : 8)], pick_destination(s, c), memory);
	}
}

void surround(struct sample *s)
{
	struct code before = { .p = s->lead, .first = true, .flags = true };
	struct code behind = { .p = s->tail, .flags = !s->insn.desc->flags_undefined };

	s->lead_len = s->tail_len = 0;
	/* What changes mode or sets AC leaves the CPUs room: high halves of registers, #AC before #PF or behind it. */
	if (s->mode != 64 || s->insn.asize != 8 || (s->insn.prefix & X86_PFX_SEG) || (s->insn.desc->flags & X86_F_END))
		return;
	for (unsigned n = rnd_below(5); n--;)
		put_one(s, &before);
	for (unsigned n = rnd_below(5); n-- && predictable(s);)
		put_one(s, &behind);
	s->lead_len = (unsigned)(before.p - s->lead);
	s->tail_len = (unsigned)(behind.p - s->tail);
	if (s->rip - s->lead_len < CODE)
		s->lead_len = 0;
	if (s->rip + s->insn.len + s->tail_len > CODE + CODE_SIZE)
		s->tail_len = 0;
	s->state.rip -= s->lead_len;
}

void place_code(const struct sample *s, u8 *at)
{
	memcpy(at - s->lead_len, s->lead, s->lead_len);
	memcpy(at, s->code, s->insn.len);
	memcpy(at + s->insn.len, s->tail, s->tail_len);
}

void remove_code(const struct sample *s, u8 *at)
{
	memset(at - s->lead_len, 0xf4, s->lead_len + s->insn.len + s->tail_len);
}
