/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gather and scatter. They are the one kind of instruction that a fault leaves half done: elements that
 * were transferred are so in the register too, and their mask bits are clear, so that the instruction goes
 * on where it stopped (SDM vol. 2, VPGATHERDD). The same serves for elements that the VMM has to answer.
 *
 * Elements go from the lowest to the highest. What is above the vector length is zeroed when the
 * instruction completes, and left alone when it faults (as seen on Zen 3; the manuals do not say).
 */
#include "engine/soft/native_op.h"
#include "x86/opcodes.h"

struct vsib {
	unsigned n;	     /* elements */
	unsigned size;	     /* of data: 4 or 8 */
	unsigned index_size; /* 4 or 8 */
	unsigned vlen;	     /* of the wider of data and indices */
	unsigned data_reg;
	bool evex;
	u64 mask; /* elements still to do */
	u8 data[64] __attribute__((aligned(64)));
	u8 index[64] __attribute__((aligned(64)));
	u8 vector_mask[64] __attribute__((aligned(64))); /* VEX: the register that is the mask */
};

static unsigned raw_vlen(const struct x86_insn *insn)
{
	const u8 *p = insn->bytes + insn->vex_off;

	if (insn->prefix & X86_PFX_EVEX)
		return 16u << (p[3] >> 5 & 3);
	return 16u << ((p[0] == 0xc5 ? p[1] : p[2]) >> 2 & 1);
}

static unsigned at_least_16(unsigned bytes)
{
	return bytes < 16 ? 16 : bytes;
}

static int vector_operand(const struct x86_insn *insn)
{
	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_VEC)
			return i;
	return 0;
}

static void vsib_begin(const struct x86_insn *insn, struct vsib *v)
{
	v->evex = insn->prefix & X86_PFX_EVEX;
	v->size = insn->prefix & X86_PFX_REX_W ? 8 : 4;
	v->index_size = insn->opcode & 1 ? 8 : 4;
	v->vlen = raw_vlen(insn);
	v->n = v->vlen / (v->size > v->index_size ? v->size : v->index_size);
	v->data_reg = insn->operand[vector_operand(insn)].reg;
	native_vector_store(v->data_reg, v->data, native_vector_width());
	native_vector_store(insn->index, v->index, at_least_16(v->n * v->index_size));
	if (v->evex) {
		v->mask = native_mask_get(insn->evex_aaa) & (BIT64(v->n) - 1);
	} else {
		v->mask = 0;
		native_vector_store(insn->vvvv, v->vector_mask, native_vector_width());
		for (unsigned i = 0; i < v->n; i++)
			v->mask |= (u64)(v->vector_mask[i * v->size + v->size - 1] >> 7) << i;
	}
}

/* Gathers with overlapping registers, and EVEX forms without a mask, are undefined. */
static bool vsib_undefined(const struct x86_insn *insn, const struct vsib *v, bool gather)
{
	if (v->evex)
		return !insn->evex_aaa || (gather && v->data_reg == insn->index);
	return v->data_reg == insn->index || v->data_reg == insn->vvvv || insn->index == insn->vvvv;
}

static s64 index_of(const struct vsib *v, unsigned i)
{
	s64 wide;
	s32 narrow;

	if (v->index_size == 8) {
		memcpy(&wide, v->index + i * 8, 8);
		return wide;
	}
	memcpy(&narrow, v->index + i * 4, 4);
	return narrow;
}

static enum x86_result element_address(struct x86_cpu *cpu, const struct x86_insn *insn, const struct vsib *v,
				       unsigned i, unsigned access, u64 *gva)
{
	u64 ea = cpu->regs[insn->base] + (u64)insn->disp + ((u64)index_of(v, i) << insn->scale);

	if (insn->asize != 8)
		ea &= 0xffffffffull;
	return x86_linear(cpu, insn->seg, ea, v->size, access, gva);
}

/* Writes back the mask: what is left to do of it, or all clear. */
static void put_mask(const struct x86_insn *insn, struct vsib *v, bool complete)
{
	if (v->evex) {
		native_mask_set(insn->evex_aaa, v->mask);
		return;
	}
	if (complete) {
		x86_fpu_zero(v->vector_mask, 16);
		native_vector_load(insn->vvvv, v->vector_mask, 16);
		return;
	}
	for (unsigned i = 0; i < v->n; i++)
		if (!(v->mask >> i & 1))
			x86_fpu_zero(v->vector_mask + i * v->size, v->size);
	native_vector_load(insn->vvvv, v->vector_mask, native_vector_width());
}

static enum x86_result gather_elements(struct x86_cpu *cpu, const struct x86_insn *insn, struct vsib *v)
{
	enum x86_result r = X86_OK;

	for (unsigned i = 0; i < v->n; i++) {
		u64 gva, wide = 0;
		u32 narrow = 0;

		if (!(v->mask >> i & 1))
			continue;
		r = element_address(cpu, insn, v, i, X86_ACCESS_READ, &gva);
		if (r == X86_OK)
			r = v->size == 8 ? x86_read_linear64(cpu, gva, &wide)
					 : x86_read_linear32(cpu, gva, &narrow);
		if (r)
			break;
		if (v->size == 8)
			memcpy(v->data + i * 8, &wide, 8);
		else
			memcpy(v->data + i * 4, &narrow, 4);
		v->mask &= ~BIT64(i);
	}
	return r;
}

enum x86_result native_gather(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = native_enabled(cpu, insn->native);
	unsigned length;
	struct vsib v;

	if (r)
		return r;
	vsib_begin(insn, &v);
	if (vsib_undefined(insn, &v, true))
		return x86_raise(cpu, X86_UD, 0);
	length = v.n * v.size;
	r = gather_elements(cpu, insn, &v);
	if (r == X86_OK && length < 16)
		x86_fpu_zero(v.data + length, 16 - length);
	native_vector_load(v.data_reg, v.data, r == X86_OK ? at_least_16(length) : native_vector_width());
	put_mask(insn, &v, r == X86_OK);
	return r;
}

enum x86_result native_scatter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = native_enabled(cpu, insn->native);
	struct vsib v;

	if (r)
		return r;
	vsib_begin(insn, &v);
	if (vsib_undefined(insn, &v, false))
		return x86_raise(cpu, X86_UD, 0);
	for (unsigned i = 0; i < v.n; i++) {
		u64 gva;

		if (!(v.mask >> i & 1))
			continue;
		r = element_address(cpu, insn, &v, i, X86_ACCESS_WRITE, &gva);
		if (r == X86_OK)
			r = cpu->mem->write(cpu, gva, v.data + i * v.size, v.size, X86_ACCESS_WRITE);
		if (r)
			break;
		v.mask &= ~BIT64(i);
	}
	put_mask(insn, &v, r == X86_OK);
	return r;
}
