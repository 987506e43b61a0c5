/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory as instructions see it: segment checks, then the inline TLB probe, then cpu->mem.
 * x86_read_TYPE/x86_write_TYPE take a segment and an effective address; the _linear forms a linear address.
 * All return X86_OK, X86_FAULT or X86_EXIT; a handler that gets another value than X86_OK returns it and has committed
 * nothing before (string instructions: nothing of this iteration).
 */
#ifndef ANYKVM_X86_MEM_H
#define ANYKVM_X86_MEM_H

#include "x86/cpu.h"

/*
 * The slow path of x86_linear: segment limit and type in odd modes, canonical check in 64-bit mode, alignment check.
 * (x86/segment.c)
 */
enum x86_result x86_linear_checked(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, unsigned access, u64 *gva);

/* Effective address of the memory operand, truncated to the address size. */
static inline u64 x86_ea(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 ea = cpu->regs[insn->base] + (cpu->regs[insn->index] << insn->scale) + (u64)insn->disp;

	if (unlikely(insn->asize != 8))
		ea &= insn->asize == 4 ? 0xffffffffull : 0xffffull;
	return ea;
}

/* Linear address of seg:ea for an access of size bytes; checks what the segment and mode demand. */
static inline enum x86_result x86_linear(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, unsigned access,
					 u64 *gva)
{
	if (unlikely(!(cpu->seg_flat >> seg & 1) || cpu->align_check))
		return x86_linear_checked(cpu, seg, ea, size, access, gva);
	*gva = cpu->seg_base[seg] + ea;
	if (cpu->code_bits == 64) {
		if (unlikely((u64)((s64)(*gva << 16) >> 16) != *gva ||
			     (u64)((s64)((*gva + size - 1) << 16) >> 16) != *gva + size - 1))
			return x86_linear_checked(cpu, seg, ea, size, access, gva);
	} else {
		*gva &= 0xffffffffull;
	}
	return X86_OK;
}

static inline struct x86_tlb_entry *x86_tlb_entry(const struct x86_cpu *cpu, u64 gva)
{
	return &cpu->tlb[gva >> 12 & (X86_TLB_SIZE - 1)];
}

/* Host address of size bytes that the set has, NULL if the long way is to be gone. */
static inline void *x86_tlb_peek(const struct x86_tlb_entry *set, u64 gva, unsigned size, bool write)
{
	const struct x86_tlb_entry *e = &set[gva >> 12 & (X86_TLB_SIZE - 1)];
	u64 off = gva - (write ? e->tag_write : e->tag_read);

	return likely(off <= 4096 - size) ? (void *)(e->host + off) : NULL;
}

/* The set for implicit accesses to tables and task segments. */
static inline const struct x86_tlb_entry *x86_system_tlb(struct x86_cpu *cpu)
{
	return x86_tlb_of(cpu, cpu->cr4 & X86_CR4_SMAP ? X86_TLB_KERNEL_NOUSER : X86_TLB_KERNEL);
}

#define X86_DEFINE_ACCESSORS(bits)                                                                          \
	static inline enum x86_result x86_read_linear##bits(struct x86_cpu *cpu, u64 gva, u##bits *value)   \
	{                                                                                                   \
		const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);                                    \
		u64 off = gva - e->tag_read;                                                                \
                                                                                                            \
		if (likely(off <= 4096 - bits / 8)) {                                                       \
			*value = *(const volatile u##bits *)(e->host + off);                                \
			return X86_OK;                                                                      \
		}                                                                                           \
		return cpu->mem->read(cpu, gva, value, bits / 8, X86_ACCESS_READ);                          \
	}                                                                                                   \
	static inline enum x86_result x86_write_linear##bits(struct x86_cpu *cpu, u64 gva, u##bits value)   \
	{                                                                                                   \
		const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);                                    \
		u64 off = gva - e->tag_write;                                                               \
                                                                                                            \
		if (likely(off <= 4096 - bits / 8)) {                                                       \
			*(volatile u##bits *)(e->host + off) = value;                                       \
			return X86_OK;                                                                      \
		}                                                                                           \
		return cpu->mem->write(cpu, gva, &value, bits / 8, X86_ACCESS_WRITE);                       \
	}                                                                                                   \
	static inline enum x86_result x86_read##bits(struct x86_cpu *cpu, unsigned seg, u64 ea,             \
						     u##bits *value)                                        \
	{                                                                                                   \
		u64 gva;                                                                                    \
		enum x86_result r = x86_linear(cpu, seg, ea, bits / 8, X86_ACCESS_READ, &gva);              \
                                                                                                            \
		return unlikely(r) ? r : x86_read_linear##bits(cpu, gva, value);                            \
	}                                                                                                   \
	static inline enum x86_result x86_write##bits(struct x86_cpu *cpu, unsigned seg, u64 ea,            \
						      u##bits value)                                        \
	{                                                                                                   \
		u64 gva;                                                                                    \
		enum x86_result r = x86_linear(cpu, seg, ea, bits / 8, X86_ACCESS_WRITE, &gva);             \
                                                                                                            \
		return unlikely(r) ? r : x86_write_linear##bits(cpu, gva, value);                           \
	}                                                                                                   \
	/* For read-modify-write: reads, having checked that the write will not fault; a plain write follows. */ \
	static inline enum x86_result x86_read_rmw##bits(struct x86_cpu *cpu, u64 gva, u##bits *value)      \
	{                                                                                                   \
		const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);                                    \
		u64 off = gva - e->tag_write;                                                               \
                                                                                                            \
		if (likely(off <= 4096 - bits / 8 && e->tag_read == e->tag_write)) {                        \
			*value = *(const volatile u##bits *)(e->host + off);                                \
			return X86_OK;                                                                      \
		}                                                                                           \
		return cpu->mem->read(cpu, gva, value, bits / 8, X86_ACCESS_WRITE | X86_ACCESS_RMW);        \
	}

X86_DEFINE_ACCESSORS(8)
X86_DEFINE_ACCESSORS(16)
X86_DEFINE_ACCESSORS(32)
X86_DEFINE_ACCESSORS(64)

/* Any size 1..64, any alignment; access may hold X86_ACCESS_SYSTEM for descriptor tables and task segments. */
static inline enum x86_result x86_read_bytes(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access)
{
	return cpu->mem->read(cpu, gva, dst, size, access);
}

static inline enum x86_result x86_write_bytes(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size,
					      unsigned access)
{
	return cpu->mem->write(cpu, gva, src, size, access | X86_ACCESS_WRITE);
}

#endif
