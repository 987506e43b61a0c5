/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the system side share with one another about segments and stacks (segment.c,
 * stack.c, far.c, exception.c, task.c). Handlers of instructions use system.h.
 */
#ifndef ANYKVM_X86_SEGMENT_H
#define ANYKVM_X86_SEGMENT_H

#include "x86/mem.h"
#include "x86/system.h"

/* Types of system descriptors (SDM vol. 3 table 3-2); in long mode 2, 9, B, C, E, F alone are valid. */
enum x86_system_type {
	X86_DESC_TSS16 = 1, X86_DESC_LDT = 2, X86_DESC_TSS16_BUSY = 3, X86_DESC_CALL_GATE16 = 4,
	X86_DESC_TASK_GATE = 5, X86_DESC_INT_GATE16 = 6, X86_DESC_TRAP_GATE16 = 7, X86_DESC_TSS = 9,
	X86_DESC_TSS_BUSY = 11, X86_DESC_CALL_GATE = 12, X86_DESC_INT_GATE = 14, X86_DESC_TRAP_GATE = 15,
};

#define X86_SEL_RPL 3u
#define X86_SEL_TI 4u

static inline bool x86_sel_null(u16 selector)
{
	return !(selector & 0xfffc);
}

/* Selector as an error code: EXT and IDT bits clear. */
static inline u32 x86_sel_error(u16 selector)
{
	return selector & 0xfffc;
}

static inline bool x86_seg_is_code(const struct x86_seg *s)
{
	return s->s && (s->type & 8);
}

static inline bool x86_seg_conforming(const struct x86_seg *s)
{
	return x86_seg_is_code(s) && (s->type & 4);
}

static inline bool x86_seg_writable(const struct x86_seg *s)
{
	return s->s && (s->type & 0xa) == 2;
}

static inline bool x86_protected(const struct x86_cpu *cpu)
{
	return cpu->mode >= X86_MODE_PROT;
}

static inline bool x86_canonical(const struct x86_cpu *cpu, u64 gva)
{
	unsigned shift = 64 - cpu->canonical_bits;

	return (u64)((s64)(gva << shift) >> shift) == gva;
}

static inline u64 x86_size_mask(unsigned size)
{
	return size == 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

/* A register after a write of size bytes: 4 clear the upper half, 2 leave the rest alone. */
static inline u64 x86_merge(u64 old, u64 value, unsigned size)
{
	u64 mask = x86_size_mask(size);

	return size == 2 ? (old & ~mask) | (value & mask) : value & mask;
}

/* The set of TLB entries for data accesses now (cpu->tlb). */
enum x86_tlb_set x86_data_tlb(const struct x86_cpu *cpu);
/* Whether bytes [ea, ea + size) lie within the segment's limit, expand-down or not. */
bool x86_limit_ok(const struct x86_seg *s, u64 ea, unsigned size);
/* Tables and task segments: supervisor accesses whatever CPL is. #GP(0) for a non-canonical address. */
enum x86_result x86_sys_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size);
enum x86_result x86_sys_write(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size);
/* Linear address of selector's descriptor of size bytes; fault(selector) if the table does not hold it. */
enum x86_result x86_descriptor_address(struct x86_cpu *cpu, u16 selector, enum x86_vector fault,
				       unsigned size, u64 *gva);
/* Sets the accessed bit (type |= 1) in memory and in seg, or TSS busy (type |= 2); seg->selector names it. */
enum x86_result x86_mark_descriptor(struct x86_cpu *cpu, struct x86_seg *seg, u8 bits);
/* Reads and unpacks the descriptor of a non-null selector. */
enum x86_result x86_read_seg(struct x86_cpu *cpu, u16 selector, enum x86_vector fault, struct x86_seg *seg);
/* What a null selector leaves in a segment register. */
void x86_null_seg(struct x86_seg *seg, u16 selector, u8 dpl);
/* RIP within CS: #GP(0). In long mode the L bit decides between the limit and the canonical form. */
enum x86_result x86_check_rip(struct x86_cpu *cpu, const struct x86_seg *cs, u64 rip);
/* CS with L and D set together is not one in long mode: #GP(selector). */
enum x86_result x86_check_code_bits(struct x86_cpu *cpu, const struct x86_seg *cs);
/* Checks a stack segment for privilege dpl: fault(selector), #SS(selector) when not present. */
enum x86_result x86_read_stack_seg(struct x86_cpu *cpu, u16 selector, u8 dpl, enum x86_vector fault,
				   struct x86_seg *ss);
/* Data segment registers that the outer level may not use become null (RET, IRET: SDM vol. 2). */
void x86_null_inner_segs(struct x86_cpu *cpu, u8 cpl);

/* ---- stack.c --------------------------------------------------------------------------------- */

/*
 * A stack on which a frame is built or from which it is read before anything is committed: the current
 * one or that of an inner level, whose segment is not in SS yet.
 */
struct x86_stack {
	struct x86_seg ss;
	u64 sp;		/* full register value; only `size` bytes of it move */
	u8 size;	/* 2, 4, 8 */
	unsigned access;
	u32 error;	/* of #SS */
};

void x86_stack_current(const struct x86_cpu *cpu, struct x86_stack *st);
/* The stack of ss:sp at privilege cpl; #SS names ss. */
void x86_stack_other(const struct x86_cpu *cpu, struct x86_stack *st, const struct x86_seg *ss, u64 sp,
		     u8 cpl);
enum x86_result x86_stack_push(struct x86_cpu *cpu, struct x86_stack *st, u64 value, unsigned n);
enum x86_result x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *st, u64 *value, unsigned n);
static inline void x86_stack_skip(struct x86_stack *st, u64 n)
{
	st->sp = x86_merge(st->sp, st->sp + n, st->size);
}

/* The stack for privilege dpl from the TSS, all checks of SS done: #TS, #SS. Long mode: SS null, RSPdpl. */
enum x86_result x86_stack_inner(struct x86_cpu *cpu, u8 dpl, struct x86_stack *st);
/* Long mode: the interrupt stack table's entry 1..7, for privilege cpl. */
enum x86_result x86_stack_ist(struct x86_cpu *cpu, unsigned ist, u8 cpl, struct x86_stack *st);

#endif
