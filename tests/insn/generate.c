// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a row of the decode table to a sample: random bytes that the decoder finds to be of that row, then
 * registers, memory and immediates changed so that addresses fall into the arena, branches into HLTs, and
 * values are worth computing with.
 */
#include <string.h>

#include "tests/insn/insn.h"

static u8 data[DATA_SIZE + 64];

/* ---- what cannot be compared ----------------------------------------------------------------------- */

const char *row_excluded(const struct x86_opcode *row)
{
	switch (row->op) {
	case X86_OP_SYSCALL:
	case X86_OP_SYSENTER:
		return "enters the kernel";
	case X86_OP_VMCALL:
	case X86_OP_VMMCALL:
	case X86_OP_SVM:
		return "the hypervisor that this machine may run on answers";
	case X86_OP_INT1:
		return "KVM on AMD, under this machine, reports another RIP";
	case X86_OP_SGDT:
	case X86_OP_SIDT:
	case X86_OP_SLDT:
	case X86_OP_STR:
	case X86_OP_SMSW:
		return "UMIP: Linux answers in the processor's place";
	case X86_OP_CPUID:
		return "differs by design";
	case X86_OP_RDFSBASE:
	case X86_OP_WRFSBASE:
	case X86_OP_LFS:
		return "FS belongs to the C library";
	case X86_OP_XSAVE:
	case X86_OP_XSAVEC:
	case X86_OP_XSAVEOPT:
	case X86_OP_XRSTOR:
		return "depends on what the processor tracks";
	default:
		return NULL;
	}
}

static bool insn_excluded(const struct x86_insn *insn, unsigned mode)
{
	/*
	 * ESP's high half is not free (ESP_HIGH). Far calls from 16-bit to 64-bit code never come back to
	 * Linux on the machine this was written on: a virtual one, whose hypervisor may have a part in it.
	 */
	if (mode == 16 && (insn->base == X86_RSP || insn->op == X86_OP_CALL_FAR))
		return true;
	if (insn->prefix & X86_PFX_SEG && insn->seg == X86_FS)
		return true;
	if (insn->op == X86_OP_INT && (u8)insn->imm == 0x80)
		return true;
	if ((insn->op == X86_OP_MOV_SEG || insn->op == X86_OP_POP_SEG) &&
	    insn->operand[0].kind == X86_OPD_SREG && insn->operand[0].reg == X86_FS)
		return true;
	/* One equation, two unknowns less. */
	return insn->base < 16 && insn->base == insn->index && !(insn->desc->flags & X86_F_VSIB);
}

/* ---- encodings ------------------------------------------------------------------------------------- */

struct bytes {
	u8 b[40];
	unsigned n;
};

static void put(struct bytes *s, u8 byte)
{
	s->b[s->n++] = byte;
}

static bool is_string(const struct x86_opcode *row)
{
	return row->op >= X86_OP_MOVS && row->op <= X86_OP_OUTS;
}

static unsigned masked(const struct x86_opcode *row, unsigned bits)
{
	return row->sel >> 16 & bits;
}

/* Legacy prefixes in random order. */
static void put_prefixes(struct bytes *s, const struct x86_opcode *row, unsigned mode)
{
	u8 p[8];
	unsigned n = 0, pp = row->sel & 3, mask = masked(row, 3);

	if (mask == 3 ? pp == 1 || (pp >= 2 && one_in(10)) : one_in(4))
		p[n++] = 0x66;
	if (mask == 3 && pp >= 2)
		p[n++] = pp == 2 ? 0xf3 : 0xf2;
	else if (!mask && one_in(is_string(row) ? 2 : 24))
		p[n++] = one_in(2) ? 0xf3 : 0xf2;
	if (one_in(14))
		p[n++] = 0x67;
	if (row->flags & X86_F_LOCK ? one_in(5) : one_in(200))
		p[n++] = 0xf0;
	if (one_in(16))
		p[n++] = mode == 64 && one_in(2) ? 0x65 : one_in(2) ? 0x3e : 0x26;
	while (n) {
		unsigned i = rnd_below(n);

		put(s, p[i]);
		p[i] = p[--n];
	}
}

static bool random_w(const struct x86_opcode *row)
{
	return masked(row, 4u) ? row->sel & 4u : one_in(2);
}

static void put_legacy(struct bytes *s, const struct x86_opcode *row, unsigned map, unsigned mode)
{
	put_prefixes(s, row, mode);
	if (mode == 64 && (masked(row, 4u) ? random_w(row) : !one_in(3)))
		put(s, 0x40 | (random_w(row) ? 8 : 0) | rnd_below(8));
	if (map)
		put(s, 0x0f);
	if (map > 1)
		put(s, map == 2 ? 0x38 : 0x3a);
}

static unsigned random_length(const struct x86_opcode *row)
{
	unsigned l;

	do
		l = rnd_below(3);
	while (!(row->sel & 0x1000u << l));
	return l;
}

static void put_vex(struct bytes *s, const struct x86_opcode *row, unsigned map, unsigned mode)
{
	unsigned rxb = mode == 64 ? rnd_below(8) : 7, w = random_w(row), l, pp = row->sel & 3;
	unsigned vvvv = one_in(4) ? 15 : rnd_below(16);

	do
		l = random_length(row);
	while (l > 1);
	if (one_in(16))
		put(s, mode == 64 && one_in(2) ? 0x65 : 0x67);
	if (map == 1 && !w && (rxb & 3) == 3 && one_in(2)) {
		put(s, 0xc5);
		put(s, (rxb & 4) << 5 | (mode == 64 ? vvvv : vvvv | 8) << 3 | l << 2 | pp);
		return;
	}
	put(s, 0xc4);
	put(s, rxb << 5 | map);
	put(s, w << 7 | vvvv << 3 | l << 2 | pp);
}

static void put_evex(struct bytes *s, const struct x86_opcode *row, unsigned map, unsigned mode)
{
	unsigned rxb = mode == 64 ? rnd_below(8) : 7, vvvv = one_in(4) ? 15 : rnd_below(16);

	put(s, 0x62);
	put(s, rxb << 5 | (mode == 64 ? rnd_below(2) : 1) << 4 | map);
	put(s, random_w(row) << 7 | vvvv << 3 | 4 | (row->sel & 3));
	put(s, one_in(3) << 7 | random_length(row) << 5 | one_in(4) << 4 | (mode == 32 || !one_in(4)) << 3 |
		       (one_in(2) ? 0 : rnd_below(8)));
}

static void put_modrm(struct bytes *s, const struct x86_opcode *row)
{
	u8 modrm = (u8)rnd();

	if (masked(row, 8u) ? row->sel & 8u : one_in(3))
		modrm |= 0xc0;
	else if (modrm >= 0xc0)
		modrm -= one_in(2) ? 0x40 : 0x80;
	if (masked(row, 7 << 4))
		modrm = (modrm & ~0x38) | (row->sel >> 4 & 7) << 3;
	if (masked(row, 7 << 7))
		modrm = (modrm & ~7) | (row->sel >> 7 & 7);
	put(s, modrm);
}

static bool make_encoding(struct sample *s, const struct x86_opcode *row, enum x86_encoding encoding,
			  unsigned map, u8 opcode, unsigned mode, const struct x86_opcode *rows)
{
	struct bytes b = { .n = 0 };

	if (encoding == X86_ENCODING_LEGACY)
		put_legacy(&b, row, map, mode);
	else if (encoding == X86_ENCODING_VEX)
		put_vex(&b, row, map, mode);
	else
		put_evex(&b, row, map, mode);
	put(&b, opcode);
	if (x86_opcode_has_modrm(rows))
		put_modrm(&b, row);
	while (b.n < 32)
		put(&b, (u8)(one_in(4) ? value_int() : rnd()));
	if (x86_decode(&s->insn, b.b, 16, mode) != X86_DECODE_OK || s->insn.desc != row ||
	    insn_excluded(&s->insn, mode))
		return false;
	memcpy(s->code, b.b, s->insn.len);
	return true;
}

/* ---- state ----------------------------------------------------------------------------------------- */

static u64 random_code(void)
{
	return CODE + 0x100 + rnd_below(CODE_SIZE - 0x200);
}

static u64 random_data(void)
{
	return DATA + 0x800 + rnd_below(DATA_SIZE - 0x1000);
}

/* Addresses as the sample's code and data segments have them. */
static u64 code_pointer(const struct sample *s)
{
	return random_code() - (s->mode == 16 ? CODE : 0);
}

static u64 data_base(const struct sample *s)
{
	return s->mode == 16 ? ARENA : 0;
}

static u64 data_pointer(const struct sample *s)
{
	return random_data() - data_base(s);
}

static void make_x87(struct fxsave *fx)
{
	static const u16 controls[] = {
		0x37f, 0x37f, 0x27f, 0x07f, 0x77f, 0xb7f, 0xf7f, 0x340, 0x360, 0x37b
	};

	fx->fcw = controls[rnd_below(ARRAY_SIZE(controls))];
	if (one_in(20))
		fx->fcw = (u16)((rnd() & 0xf3f) | 0x40);
	fx->fsw = (u16)(rnd() & 0x4700) | (one_in(2) ? rnd_below(8) << 11 : 0);
	if (one_in(4))
		fx->fsw |= rnd_below(128);
	if (one_in(16) == 0)
		fx->fsw &= (u16)~(~fx->fcw & 0x3f);
	if (fx->fsw & ~fx->fcw & 0x3f)
		fx->fsw |= 0x8080;
	fx->ftw = one_in(3) ? 0xff : one_in(3) ? 0 : (u8)rnd();
	for (unsigned i = 0; i < 8; i++)
		value_x87(fx->st[i]);
}

static u32 random_mxcsr(void)
{
	u32 v = 0x1f80;

	if (one_in(3))
		v |= rnd_below(4) << 13;
	if (one_in(6))
		v |= 0x8000;
	if (one_in(6))
		v |= 0x40;
	if (one_in(3))
		v |= rnd_below(64);
	if (one_in(5))
		v &= ~(rnd_below(64) << 7);
	return v;
}

static void make_state(struct sample *s)
{
	struct state *st = &s->state;
	struct fxsave *fx = (struct fxsave *)st->xsave;
	u64 bv = bare_xcr0() & 7;

	memset(st, 0, sizeof(*st));
	for (unsigned i = 0; i < (s->mode == 64 ? 16u : 8u); i++)
		st->gpr[i] = s->mode == 64 ? value_int() : (u32)value_int();
	st->gpr[X86_RSP] = data_pointer(s) & (one_in(8) ? ~0ull : ~7ull);
	if (s->mode == 16)
		st->gpr[X86_RSP] |= ESP_HIGH;
	st->rip = s->rip - (s->mode == 16 ? CODE : 0);
	st->cs = s->mode == 64 ? SEL_CODE64 : s->mode == 32 ? SEL_CODE32 : SEL_CODE16;
	st->rflags = 0x202 | (rnd() & (X86_FLAGS_STATUS | X86_DF));
	make_x87(fx);
	fx->mxcsr = random_mxcsr();
	for (unsigned i = 0; i < (s->mode == 64 ? 16u : 8u); i++)
		value_vector(fx->xmm[i], 16);
	if (bv & 4)
		value_vector(st->xsave + XSAVE_YMM, s->mode == 64 ? 256 : 128);
	memcpy(st->xsave + 512, &bv, 8);
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static bool in_data(u64 address, unsigned size)
{
	return size <= DATA_SIZE && address - DATA <= DATA_SIZE - size;
}

static void poke(u64 address, u64 value, unsigned size)
{
	if (in_data(address, size))
		memcpy(data + (address - DATA), &value, size);
}

static u64 peek(u64 address, unsigned size)
{
	u64 value = 0;

	if (in_data(address, size))
		memcpy(&value, data + (address - DATA), size);
	return value;
}

static void fill_data(u64 address, unsigned size)
{
	u64 from = address - 64;

	if (!in_data(from, size + 128 + 16))
		return;
	for (u64 a = from; a < address + size + 64; a += 16) {
		if (one_in(3))
			value_x87(data + (a - DATA)), poke(a + 10, value_int(), 6);
		else
			value_vector(data + (a - DATA), 16);
	}
	if (one_in(2))
		value_vector(data + (address - DATA), size < 8 ? 8 : size);
}

static unsigned mem_size(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_MEM)
			return insn->operand[i].size;
	}
	return 0;
}

static u64 choose_target(const struct x86_insn *insn, unsigned size)
{
	u64 t = random_data();
	bool picky = insn->desc->flags & (X86_F_ALIGN | X86_F_ALIGN_SSE) && !one_in(10);

	if (picky || one_in(2))
		t &= ~63ull;
	else if (one_in(2) && size)
		t &= ~(u64)((size & (size - 1) ? 8 : size) - 1);
	switch (rnd_below(picky ? 40 : 20)) {
	case 0: /* over a page boundary */
		t = DATA + 0x1000 * (1 + rnd_below(3)) - rnd_below(size + 1);
		break;
	case 1: /* over the end, or before the beginning */
		t = one_in(2) ? DATA + DATA_SIZE - rnd_below(size + 1) : DATA - rnd_below(size + 1);
		break;
	case 2:
		t = READONLY + rnd_below(4000);
		break;
	}
	return t;
}

static void patch(struct sample *s, unsigned offset, u64 value, unsigned size)
{
	memcpy(s->code + offset, &value, size);
}

static unsigned disp_offset(const struct x86_insn *insn)
{
	return insn->len - insn->imm_len - insn->disp_len;
}

/* Small elements in the index register of a gather. */
static void make_vsib(struct sample *s)
{
	struct fxsave *fx = (struct fxsave *)s->state.xsave;
	unsigned reg = s->insn.index & 15, size = s->insn.opcode & 1 ? 8 : 4;

	for (unsigned i = 0; i < 32; i += size) {
		s64 v = (s64)(rnd() & 0xff) - 128;

		memcpy(i < 16 ? fx->xmm[reg] + i : s->state.xsave + XSAVE_YMM + 16 * reg + (i - 16), &v,
		       size);
	}
}

/* Registers or displacement, so that the memory operand is at target. Sets target to where it really is. */
static void place_operand(struct sample *s, u64 target)
{
	struct x86_insn *insn = &s->insn;
	u64 *gpr = s->state.gpr, base = s->mode == 64 && insn->seg == X86_GS ? GS_BASE : data_base(s);
	u64 need = target - base, index = 0;
	bool vsib = insn->desc->flags & X86_F_VSIB;

	s->target = target;
	if (insn->asize == 2 && s->mode != 16) {
		s->target = 0;
		return;
	}
	if (vsib)
		make_vsib(s);
	else if (insn->index != X86_REG_ZERO)
		index = gpr[insn->index] << insn->scale;
	if (insn->base == X86_REG_RIP) {
		patch(s, disp_offset(insn), need - (s->rip + insn->len), 4);
	} else if (insn->base != X86_REG_ZERO) {
		need -= index + (u64)insn->disp;
		if (insn->asize == 4 && s->mode == 64 && one_in(2))
			need = (u32)need | rnd() << 32;
		else if (insn->asize == 2)
			need = (u16)need | rnd() << 16;
		gpr[insn->base] = s->mode == 64 ? need : (u32)need;
	} else {
		if (insn->index != X86_REG_ZERO && !vsib) {
			gpr[insn->index] = (u64)((s64)(rnd() & 0xfffff) - 0x80000);
			index = gpr[insn->index] << insn->scale;
			if (s->mode != 64)
				gpr[insn->index] = (u32)gpr[insn->index];
		}
		patch(s, disp_offset(insn), need - index, insn->disp_len);
	}
}

static bool addresses(const struct x86_insn *insn, unsigned reg)
{
	return insn->base == reg || insn->index == reg;
}

/* Sets a register unless the memory operand's address needs it. */
static void set_reg(struct sample *s, unsigned reg, u64 value)
{
	if (mem_size(&s->insn) && addresses(&s->insn, reg))
		return;
	s->state.gpr[reg] = s->mode == 64 ? value : (u32)value;
}

/* ---- operations with wishes of their own ----------------------------------------------------------- */

static u16 random_selector(void)
{
	static const u16 some[] = {
		0x33, 0x23, 0x2b, 0x33, 0x23, 0x2b, 0x28, 0x2a, 0x30, 0x20, 0, 3, 0x10, 0x18, 0x13, 8, 0x1000,
		SEL_CODE16, SEL_DATA16, SEL_CODE16, SEL_DATA16, 0x04, 0x17,
	};

	return some[rnd_below(ARRAY_SIZE(some))];
}

/* Offset and selector, as far branches and LDS... want them. */
static void poke_far(struct sample *s, u64 address, unsigned size, bool code)
{
	poke(address, code ? code_pointer(s) : value_int(), size);
	poke(address + size, one_in(2) && code ? s->state.cs : random_selector(), 2);
}

static u64 stack_address(const struct sample *s)
{
	u64 sp = s->state.gpr[X86_RSP];

	return s->mode == 16 ? ARENA + (u16)sp : sp;
}

static void make_iret_frame(struct sample *s, bool iret)
{
	unsigned size = s->insn.osize;
	u64 sp = stack_address(s);
	u64 flags = 0x202 | (rnd() & (X86_FLAGS_STATUS | X86_DF | (one_in(4) ? X86_AC : 0)));

	poke(sp, code_pointer(s), size);
	poke(sp + size, one_in(4) ? random_selector() : s->state.cs, size);
	if (!iret)
		return;
	poke(sp + 2 * size, flags, size);
	poke(sp + 3 * size, data_pointer(s), size);
	poke(sp + 4 * size, one_in(5) ? random_selector() : s->mode == 16 ? SEL_DATA16 : SEL_DATA, size);
}

/* Branches must leave the instruction itself: it would never end. */
static void make_relative(struct sample *s)
{
	struct x86_insn *insn = &s->insn;
	s64 rel = 16 + rnd_below(100);

	if (insn->imm_len > 1)
		rel = 16 + rnd_below(240);
	if (one_in(2))
		rel = insn->imm_len > 1 ? -rel - 16 : -128 + (s64)rnd_below(100);
	patch(s, insn->len - insn->imm_len, (u64)rel, insn->imm_len);
}

static void make_string(struct sample *s)
{
	unsigned asize = s->insn.asize;
	u64 high = asize == 4 && s->mode == 64 ? rnd() << 32 : asize == 2 ? (rnd() & 0xffff) << 16 : 0;
	u64 base = data_base(s), si = random_data(), di = one_in(3) ? si + rnd_below(16) : random_data();

	if (one_in(16))
		di = choose_target(&s->insn, s->insn.osize);
	if (one_in(16))
		si = choose_target(&s->insn, s->insn.osize);
	fill_data(si, 64);
	fill_data(di, 64);
	if (one_in(2)) {
		u64 byte = one_in(2) ? s->state.gpr[X86_RAX] : rnd();

		for (s64 i = -300; i < 300; i++) {
			poke(si + (u64)i, byte, 1);
			poke(di + (u64)i, byte, 1);
		}
	}
	s->state.gpr[X86_RSI] = (s->mode == 64 && s->insn.seg == X86_GS ? si - GS_BASE : si - base) | high;
	s->state.gpr[X86_RDI] = (di - base) | high;
	s->state.gpr[X86_RCX] = rnd_below(one_in(4) ? 400 : 12) | high;
}

static void make_divide(struct sample *s)
{
	u64 a = s->state.gpr[X86_RAX];
	bool negative = s->insn.osize == 8 ? a >> 63 : s->insn.osize == 4 ? a >> 31 & 1 : a >> 15 & 1;

	if (one_in(4))
		return;
	if (s->insn.osize == 1) {
		set_reg(s, X86_RAX, (a & ~0xffffull) | (rnd() & 0x3ff));
		return;
	}
	set_reg(s, X86_RDX, s->insn.op == X86_OP_IDIV && negative ? ~0ull : rnd_below(3));
}

/* The accumulator equals the destination, so that the exchange takes place. */
static void make_cmpxchg(struct sample *s)
{
	const struct x86_operand *o = &s->insn.operand[0];

	if (one_in(2))
		return;
	if (s->insn.op == X86_OP_CMPXCHG) {
		if (o->kind == X86_OPD_MEM)
			set_reg(s, X86_RAX, peek(s->target, o->size));
		else if (o->kind == X86_OPD_REG)
			set_reg(s, X86_RAX, s->state.gpr[o->reg]);
		return;
	}
	set_reg(s, X86_RAX, peek(s->target, o->size / 2));
	set_reg(s, X86_RDX, peek(s->target + o->size / 2, o->size / 2));
}

static void make_bit_offset(struct sample *s)
{
	const struct x86_operand *o = &s->insn.operand[1];

	if (s->insn.operand[0].kind == X86_OPD_MEM && o->kind == X86_OPD_REG && !addresses(&s->insn, o->reg))
		set_reg(s, o->reg, (u64)((s64)rnd_below(4096) - 2048));
}

static void make_indirect(struct sample *s)
{
	const struct x86_operand *o = &s->insn.operand[0];

	if (o->kind == X86_OPD_MEM)
		poke(s->target, code_pointer(s), o->size);
	else
		s->state.gpr[o->reg] = code_pointer(s);
}

static void make_selector(struct sample *s, const struct x86_operand *o)
{
	if (o->kind == X86_OPD_MEM)
		poke(s->target, random_selector(), 2);
	else if (o->kind == X86_OPD_REG)
		set_reg(s, o->reg, random_selector() | (rnd() & ~0xffffull));
}

static void make_far_immediate(struct sample *s)
{
	struct x86_insn *insn = &s->insn;

	patch(s, insn->len - 2u, one_in(3) ? random_selector() : s->state.cs, 2);
	patch(s, insn->len - 2u - insn->osize, code_pointer(s), insn->osize);
}

static void make_stack(struct sample *s)
{
	u64 sp = stack_address(s), flags;

	switch (s->insn.op) {
	case X86_OP_RET:
		poke(sp, code_pointer(s), s->insn.osize);
		break;
	case X86_OP_RET_FAR:
	case X86_OP_IRET:
		if (s->insn.imm_len)
			patch(s, s->insn.len - 2u, rnd_below(0x100), 2);
		make_iret_frame(s, s->insn.op == X86_OP_IRET);
		break;
	case X86_OP_POPF:
		flags = X86_FLAGS_STATUS | X86_DF | X86_IOPL | X86_IF | (one_in(8) ? X86_AC : 0);
		poke(sp, 0x202 | (rnd() & flags), 8);
		break;
	case X86_OP_POP_SEG:
		poke(sp, random_selector(), 8);
		break;
	case X86_OP_ENTER:
		patch(s, s->insn.len - 3u, rnd_below(0x100), 2);
		s->state.gpr[X86_RBP] = data_pointer(s);
		break;
	case X86_OP_LEAVE:
		s->state.gpr[X86_RBP] = data_pointer(s);
		break;
	}
}

static void make_implicit_address(struct sample *s)
{
	u64 t = choose_target(&s->insn, 16);
	u64 base = s->mode == 64 && s->insn.seg == X86_GS ? GS_BASE : data_base(s);

	if (s->insn.op == X86_OP_XLAT)
		s->state.gpr[X86_RBX] = t - (u8)s->state.gpr[X86_RAX] - base;
	else if (s->insn.op == X86_OP_CLZERO)
		s->state.gpr[X86_RAX] = t - base;
	else if (s->insn.desc->flags & X86_F_IMPLICIT_DI)
		s->state.gpr[X86_RDI] = t - base;
	else
		return;
	s->target = t;
}

static void make_operands(struct sample *s)
{
	struct x86_insn *insn = &s->insn;

	switch (insn->op) {
	case X86_OP_DIV: case X86_OP_IDIV:
		make_divide(s);
		break;
	case X86_OP_CMPXCHG: case X86_OP_CMPXCHG8B: case X86_OP_CMPXCHG16B:
		make_cmpxchg(s);
		break;
	case X86_OP_BT: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC:
		make_bit_offset(s);
		break;
	case X86_OP_JCC: case X86_OP_JMP: case X86_OP_CALL: case X86_OP_JCXZ:
	case X86_OP_LOOP: case X86_OP_LOOPE: case X86_OP_LOOPNE:
		make_relative(s);
		if (one_in(2))
			s->state.gpr[X86_RCX] = rnd_below(3);
		break;
	case X86_OP_JMP_IND: case X86_OP_CALL_IND:
		make_indirect(s);
		break;
	case X86_OP_JMP_FAR: case X86_OP_CALL_FAR:
		if (insn->operand[0].kind == X86_OPD_IMM)
			make_far_immediate(s);
		else
			poke_far(s, s->target, insn->operand[0].size - 2u, true);
		break;
	case X86_OP_LDS: case X86_OP_LES: case X86_OP_LGS: case X86_OP_LSS:
		poke_far(s, s->target, insn->osize, false);
		break;
	case X86_OP_MOV_SEG: case X86_OP_LAR: case X86_OP_LSL:
		make_selector(s, &insn->operand[1]);
		break;
	case X86_OP_VERR: case X86_OP_VERW:
		make_selector(s, &insn->operand[0]);
		break;
	case X86_OP_XGETBV:
		s->state.gpr[X86_RCX] = one_in(2) ? 0 : 2;
		break;
	default:
		if (is_string(insn->desc))
			make_string(s);
		make_stack(s);
		make_implicit_address(s);
	}
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static u64 choose_rip(void)
{
	if (one_in(6))
		return CODE + 0x1000 * (1 + rnd_below(3)) - rnd_below(16);
	return CODE + 0x200 + rnd_below(CODE_SIZE - 0x400);
}

static bool has_memory(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_MEM)
			return true;
	}
	return false;
}

/* With s->insn and s->code given. */
static void make_sample(struct sample *s, unsigned mode)
{
	static bool filled;
	unsigned size = mem_size(&s->insn);

	if (!filled) {
		value_vector(data, DATA_SIZE);
		filled = true;
	}
	s->mode = mode;
	s->rip = choose_rip();
	s->target = 0;
	s->lead_len = s->tail_len = 0;
	s->data = data;
	make_state(s);
	if (has_memory(&s->insn)) {
		place_operand(s, choose_target(&s->insn, size));
		fill_data(s->target, size);
	}
	make_operands(s);
	if (mode == 16)
		s->state.gpr[X86_RSP] = (u16)s->state.gpr[X86_RSP] | ESP_HIGH;
}

bool generate(struct sample *s, const struct x86_opcode *row, enum x86_encoding encoding, unsigned map,
	      u8 opcode, unsigned mode)
{
	const struct x86_opcode *rows = x86_opcode_rows(encoding, map, opcode);
	unsigned tries = 0;

	while (!make_encoding(s, row, encoding, map, opcode, mode, rows)) {
		if (++tries == 60)
			return false;
	}
	make_sample(s, mode);
	return true;
}

/* ---- random bytes ---------------------------------------------------------------------------------- */

static const struct x86_opcode undefined = { .name = "undefined", .op = X86_OP_UD };

static void put_random_prefix(struct bytes *s, unsigned mode)
{
	static const u8 all[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x3e };

	if (mode == 64 && one_in(2))
		put(s, 0x40 + rnd_below(16));
	else
		put(s, all[rnd_below(ARRAY_SIZE(all))]);
}

static void random_bytes(struct bytes *s, unsigned mode)
{
	s->n = 0;
	while (one_in(2) && s->n < 16)
		put_random_prefix(s, mode);
	switch (rnd_below(8)) {
	case 0: case 1: case 2:
		put(s, 0x0f);
		break;
	case 3:
		put(s, 0x0f);
		put(s, one_in(2) ? 0x38 : 0x3a);
		break;
	case 4:
		put(s, one_in(2) ? 0xc4 : 0xc5);
		put(s, 0xe0 | rnd_below(32));
		break;
	}
	while (s->n < 32)
		put(s, (u8)rnd());
}

void generate_random(struct sample *s, unsigned mode)
{
	struct bytes b;
	enum x86_decode_status status;

	for (;;) {
		random_bytes(&b, mode);
		status = x86_decode(&s->insn, b.b, 16, mode);
		/*
		 * LOCK VERW of memory is no #UD on a Zen 3 whose microcode uses VERW for other things; among
		 * 0F 01 are instructions that a hypervisor hides from CPUID but not from execution.
		 */
		if (status != X86_DECODE_OK && (s->insn.op == X86_OP_VERW ||
						(s->insn.map == 1 && s->insn.opcode == 0x01)))
			continue;
		if (status != X86_DECODE_OK)
			break;
		if (!insn_excluded(&s->insn, mode) && !row_excluded(s->insn.desc))
			break;
	}
	if (status != X86_DECODE_OK) {
		memset(&s->insn, 0, sizeof(s->insn));
		s->insn.desc = &undefined;
		s->insn.op = X86_OP_UD;
		s->insn.len = X86_MAX_INSN_LEN;
		s->insn.base = s->insn.index = X86_REG_ZERO;
	}
	memcpy(s->code, b.b, X86_MAX_INSN_LEN);
	make_sample(s, mode);
}
