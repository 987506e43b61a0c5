/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory operands of which a mask leaves out elements: VMASKMOV, VPMASKMOV, MASKMOVQ, MASKMOVDQU and all
 * EVEX forms with a mask register. Elements that are masked off neither fault nor are accessed; but the
 * whole operand of MASKMOVQ and MASKMOVDQU must be writable (so Zen 3; the manuals leave it to the
 * processor).
 *
 * When the TLB has the whole operand nothing of that matters and the instruction runs on it. Otherwise its
 * elements are fetched one by one into a bounce buffer, or probed before and stored one by one after it has
 * run there.
 */
#include "engine/soft/native_op.h"
#include "x86/opcodes.h"

struct elements {
	unsigned n;    /* in memory */
	unsigned size; /* of one there, in bytes */
	u64 active;    /* bit i: element i is accessed */
	u8 data[64] __attribute__((aligned(64)));
};

static u64 low_bits(unsigned n)
{
	return n >= 64 ? ~0ull : BIT64(n) - 1;
}

/* The mask that the sign bits of a vector's elements are. */
static u64 sign_mask(const u8 *vector, unsigned n, unsigned size)
{
	u64 mask = 0;

	for (unsigned i = 0; i < n && (i + 1) * size <= 64; i++)
		mask |= (u64)(vector[i * size + size - 1] >> 7) << i;
	return mask;
}

/* MASKMOVQ, MASKMOVDQU: bytes, mask in the second operand. */
static void byte_elements(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op,
			  struct elements *e)
{
	struct x86_fxsave *fx = &x86_fpu_scratch(cpu, 0)->fx;
	unsigned reg = insn->operand[1].reg;
	u8 mask[64];

	e->size = 1;
	e->n = op->t.mem_size;
	if (insn->operand[1].kind == X86_OPD_MMX) {
		__asm__ volatile("fxsave64 %0" : "=m"(*fx)); /* in the order of the stack */
		x86_fpu_copy(mask, fx->st[(reg - (fx->fsw >> 11)) & 7], 8);
	} else {
		native_vector_store(reg, mask, 16);
	}
	e->active = sign_mask(mask, e->n, 1);
}

/* VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ: mask in vvvv. */
static void vex_elements(const struct x86_insn *insn, const struct native_op *op, struct elements *e)
{
	bool floating = insn->opcode < 0x80;
	bool quad = floating ? insn->opcode & 1 : !!(insn->prefix & X86_PFX_REX_W);
	u8 mask[64];

	e->size = quad ? 8 : 4;
	e->n = op->t.mem_size / e->size;
	native_vector_store(insn->vvvv, mask, op->t.mem_size);
	e->active = sign_mask(mask, e->n, e->size);
}

/* VCOMPRESS and VEXPAND: the active elements lie side by side in memory. */
static bool is_packing(const struct x86_insn *insn)
{
	if (insn->map != 2 || insn->mandatory != 0x66)
		return false;
	return insn->opcode == 0x62 || insn->opcode == 0x63 || (insn->opcode >= 0x88 && insn->opcode <= 0x8b);
}

/* insn->elem is the size of an element in memory. */
static void evex_elements(const struct x86_insn *insn, const struct native_op *op, struct elements *e)
{
	unsigned lanes = (insn->evex_b ? insn->vlen : op->t.mem_size) / insn->elem;

	e->n = insn->evex_b ? 1 : lanes;
	e->size = op->t.mem_size / e->n;
	e->active = native_mask_get(insn->evex_aaa) & low_bits(lanes);
	if (is_packing(insn))
		e->active = low_bits((unsigned)__builtin_popcountll(e->active));
	else if (insn->evex_b)
		e->active = e->active != 0;
}

static void find_elements(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op,
			  struct elements *e)
{
	if (op->t.flags & NATIVE_DI)
		byte_elements(cpu, insn, op, e);
	else if (insn->prefix & X86_PFX_EVEX)
		evex_elements(insn, op, e);
	else
		vex_elements(insn, op, e);
}

static enum x86_result access_element(struct x86_cpu *cpu, const struct x86_insn *insn,
				      const struct native_op *op, struct elements *e, unsigned i,
				      unsigned access)
{
	u64 ea = native_ea(cpu, insn, op) + i * e->size, gva;
	enum x86_result r;

	if (insn->asize != 8)
		ea &= insn->asize == 4 ? 0xffffffffull : 0xffffull;
	r = x86_linear(cpu, insn->seg, ea, e->size, access & X86_ACCESS_WRITE, &gva);
	if (r)
		return r;
	if (access & X86_ACCESS_WRITE)
		return cpu->mem->write(cpu, gva, e->data + i * e->size, e->size, access);
	return cpu->mem->read(cpu, gva, e->data + i * e->size, e->size, access);
}

static enum x86_result access_elements(struct x86_cpu *cpu, const struct x86_insn *insn,
				       const struct native_op *op, struct elements *e, unsigned access)
{
	enum x86_result r = X86_OK;

	for (unsigned i = 0; i < e->n && r == X86_OK; i++)
		if (e->active >> i & 1)
			r = access_element(cpu, insn, op, e, i, access);
	return r;
}

static enum x86_result probe_whole(struct x86_cpu *cpu, const struct x86_insn *insn,
				   const struct native_op *op, struct elements *e)
{
	u64 gva;
	enum x86_result r =
		x86_linear(cpu, insn->seg, native_ea(cpu, insn, op), op->t.mem_size, X86_ACCESS_WRITE, &gva);

	return r ? r
		 : cpu->mem->write(cpu, gva, e->data, op->t.mem_size, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
}

static enum x86_result by_elements(struct x86_cpu *cpu, const struct x86_insn *insn,
				   const struct native_op *op)
{
	bool write = op->t.mem_access & X86_ACC_W;
	struct elements e;
	enum x86_result r;
	u64 out;

	x86_fpu_zero(e.data, sizeof(e.data));
	find_elements(cpu, insn, op, &e);
	if (op->t.flags & NATIVE_DI)
		r = probe_whole(cpu, insn, op, &e);
	else
		r = access_elements(cpu, insn, op, &e,
				    write ? X86_ACCESS_WRITE | X86_ACCESS_PROBE : X86_ACCESS_READ);
	if (r == X86_OK)
		r = native_run(cpu, op, e.data, native_input(cpu, insn, op), &out);
	if (r == X86_OK && write)
		r = access_elements(cpu, insn, op, &e, X86_ACCESS_WRITE);
	if (r == X86_OK)
		native_commit(cpu, insn, op, out);
	return r;
}

enum x86_result native_masked(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct native_op *op = insn->native;
	bool write = op->t.mem_access & X86_ACC_W;
	enum x86_result r;
	void *host;
	u64 gva;

	if (unlikely(native_blocked(cpu, op))) {
		r = native_enabled(cpu, op);
		if (r)
			return r;
	}
	r = x86_linear(cpu, insn->seg, native_ea(cpu, insn, op), op->t.mem_size,
		       write ? X86_ACCESS_WRITE : X86_ACCESS_READ, &gva);
	if (r == X86_OK && (gva & op->t.align))
		return native_aligned(cpu, op, gva);
	host = r == X86_OK ? native_tlb(cpu, gva, op->t.mem_size, write) : NULL;
	if (!host || (cpu->fpu_unmasked & op->t.unmasked & X86_FPU_UNMASKED_SIMD))
		return by_elements(cpu, insn, op);
	native_commit(cpu, insn, op, op->code(host, cpu, native_input(cpu, insn, op)));
	return X86_OK;
}
