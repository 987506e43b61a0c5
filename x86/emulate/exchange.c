/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B. A memory operand in plain memory is worked on in place: with
 * the host's locked instruction where the guest's is locked (XCHG always), also where it is not, which
 * costs little and is never wrong. Without a host address (MMIO, page crossing) it is a read and a write.
 */
#include "x86/emulate/emulate.h"
#include "x86/system.h"

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define SIZES(X) X(8, "b") X(16, "w") X(32, "k") X(64, "q")

#define DEFINE(bits, m)                                                                                     \
	static u64 xchg##bits(void *p, u64 s)                                                               \
	{                                                                                                   \
		asm volatile("xchg %" m "[s], %[p]"                                                         \
			     : [s] "+r"(s), [p] "+m"(*(mem_u##bits *)p)                                     \
			     :                                                                              \
			     : "memory");                                                                   \
		return s;                                                                                   \
	}                                                                                                   \
	static u64 xadd##bits(void *p, u64 s, u32 *cc)                                                      \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm volatile("lock xadd %" m "[s], %[p]" GET_FLAGS                                          \
			     : [s] "+r"(s), [p] "+m"(*(mem_u##bits *)p), "=&a"(ax)                          \
			     :                                                                              \
			     : "cc", "memory");                                                             \
		*cc = cc_of(ax);                                                                            \
		return s;                                                                                   \
	}                                                                                                   \
	/* Returns what memory held; flags of the comparison. */                                            \
	static u64 cmpxchg##bits(void *p, u64 expected, u64 s, u32 *cc)                                     \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm volatile("lock cmpxchg %" m "[s], %[p]\n\tmov %%rax, %%rcx" GET_FLAGS                   \
			     "\n\txchg %%rax, %%rcx"                                                        \
			     : "+a"(expected), "=&c"(ax), [p] "+m"(*(mem_u##bits *)p)                       \
			     : [s] "r"(s)                                                                   \
			     : "cc", "memory");                                                             \
		*cc = cc_of(ax);                                                                            \
		return expected;                                                                            \
	}

SIZES(DEFINE)

typedef u64 xchg_fn(void *p, u64 s);
typedef u64 xadd_fn(void *p, u64 s, u32 *cc);
typedef u64 cmpxchg_fn(void *p, u64 expected, u64 s, u32 *cc);

static xchg_fn *const xchg_fns[4] = FOUR(xchg);
static xadd_fn *const xadd_fns[4] = FOUR(xadd);
static cmpxchg_fn *const cmpxchg_fns[4] = FOUR(cmpxchg);

/*
 * Opens operand 0: *host is where to work: the operand itself in memory, or *copy, which holds its value
 * and which the caller hands to close_place() afterwards.
 */
struct place {
	void *host;
	u64 copy;
	u64 gva;
};

static enum x86_result open_place(struct x86_cpu *cpu, const struct x86_insn *insn, struct place *p)
{
	enum x86_result r = X86_OK;

	p->host = NULL;
	if (is_mem(insn, 0))
		r = x86_lock_operand(cpu, insn, insn->operand[0].size, &p->gva, &p->host);
	if (unlikely(r) || likely(p->host))
		return r;
	if (is_mem(insn, 0))
		x86_bus_lock(cpu);
	r = x86_operand_open(cpu, insn, 0, &p->gva, &p->copy);
	p->host = &p->copy;
	if (r)
		x86_bus_unlock(cpu);
	return r;
}

static enum x86_result close_place(struct x86_cpu *cpu, const struct x86_insn *insn, struct place *p)
{
	enum x86_result r = p->host == &p->copy ? x86_operand_commit(cpu, insn, 0, p->gva, p->copy) : X86_OK;

	x86_bus_unlock(cpu);
	return r;
}

enum x86_result x86_exec_xchg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct place p;
	enum x86_result r;
	u64 s;

	x86_operand_read(cpu, insn, 1, &s);
	r = open_place(cpu, insn, &p);
	if (unlikely(r))
		return r;
	s = xchg_fns[size_index(insn->operand[0].size)](p.host, s);
	r = close_place(cpu, insn, &p);
	return unlikely(r) ? r : x86_operand_write(cpu, insn, 1, s);
}

#define DEFINE_XCHG(bits)                                                                                   \
	static enum x86_result xchg_rr##bits(struct x86_cpu *cpu, const struct x86_insn *insn)              \
	{                                                                                                   \
		u64 *d = &cpu->regs[insn->operand[0].reg], *s = &cpu->regs[insn->operand[1].reg], old = *d; \
                                                                                                            \
		*d = (u##bits)*s;                                                                           \
		*s = (u##bits)old;                                                                          \
		return X86_OK;                                                                              \
	}

DEFINE_XCHG(32)
DEFINE_XCHG(64)

x86_exec_fn *x86_pick_xchg(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	static const struct x86_forms forms = { .rr = { NULL, NULL, xchg_rr32, xchg_rr64 } };

	return x86_pick_form(&forms, cpu, insn);
}

/* The source register is written first: with XADD r, r of one register the sum is what stays. */
enum x86_result x86_exec_xadd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct place p;
	enum x86_result r;
	u32 cc;
	u64 s;

	x86_operand_read(cpu, insn, 1, &s);
	r = open_place(cpu, insn, &p);
	if (unlikely(r))
		return r;
	s = xadd_fns[size_index(insn->operand[0].size)](p.host, s, &cc);
	if (is_mem(insn, 0)) {
		r = close_place(cpu, insn, &p);
		if (unlikely(r))
			return r;
		x86_operand_write(cpu, insn, 1, s);
	} else {
		x86_operand_write(cpu, insn, 1, s);
		close_place(cpu, insn, &p);
	}
	cpu->cc = cc;
	return X86_OK;
}

/* The destination is written in any case (SDM, CMPXCHG); the accumulator only when the comparison failed. */
enum x86_result x86_exec_cmpxchg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand[0].size;
	u64 expected = reg_read(cpu, X86_RAX, size), s, seen;
	enum x86_result r;
	struct place p;
	u32 cc;

	x86_operand_read(cpu, insn, 1, &s);
	r = open_place(cpu, insn, &p);
	if (unlikely(r))
		return r;
	seen = cmpxchg_fns[size_index(size)](p.host, expected, s, &cc);
	/* A register destination is written, and so zero-extended, only when equal. */
	if (is_mem(insn, 0) || cc & X86_ZF)
		r = close_place(cpu, insn, &p);
	if (unlikely(r))
		return r;
	if (!(cc & X86_ZF))
		reg_write(cpu, X86_RAX, seen, size);
	cpu->cc = cc;
	return X86_OK;
}

/* ---- CMPXCHG8B, CMPXCHG16B ------------------------------------------------------------------- */

static bool cmpxchg8b(mem_u64 *p, u64 *expected, u64 desired)
{
	bool equal;

	asm volatile("lock cmpxchg %[d], %[p]"
		     : "+a"(*expected), [p] "+m"(*p), "=@ccz"(equal)
		     : [d] "r"(desired)
		     : "memory");
	return equal;
}

static u64 pair32(u64 high, u64 low)
{
	return high << 32 | (u32)low;
}

static void finish_pair(struct x86_cpu *cpu, bool equal, u64 low, u64 high, unsigned size)
{
	cc_update(cpu, X86_ZF, equal ? X86_ZF : 0);
	if (equal)
		return;
	reg_write(cpu, X86_RAX, low, size);
	reg_write(cpu, X86_RDX, high, size);
}

enum x86_result x86_exec_cmpxchg8b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 seen = pair32(cpu->regs[X86_RDX], cpu->regs[X86_RAX]);
	u64 desired = pair32(cpu->regs[X86_RCX], cpu->regs[X86_RBX]);
	enum x86_result r;
	struct place p;
	bool equal;

	r = open_place(cpu, insn, &p);
	if (unlikely(r))
		return r;
	equal = cmpxchg8b(p.host, &seen, desired);
	r = close_place(cpu, insn, &p);
	if (likely(!r))
		finish_pair(cpu, equal, seen, seen >> 32, 4);
	return r;
}

/* p is 16-byte aligned. */
static bool cmpxchg16b(void *p, u64 expected[2], const u64 desired[2])
{
	bool equal;

	asm volatile("lock cmpxchg16b %[p]"
		     : "+a"(expected[0]), "+d"(expected[1]), [p] "+m"(*(unsigned __int128 *)p), "=@ccz"(equal)
		     : "b"(desired[0]), "c"(desired[1])
		     : "memory");
	return equal;
}

/* Outside plain memory: a read, a comparison, and a write in any case. */
static enum x86_result cmpxchg16b_slow(struct x86_cpu *cpu, u64 gva, u64 seen[2], const u64 desired[2],
				       bool *equal)
{
	u64 value[2];
	enum x86_result r;

	x86_bus_lock(cpu);
	r = cpu->mem->read(cpu, gva, value, 16, X86_ACCESS_WRITE | X86_ACCESS_RMW);
	if (unlikely(r)) {
		x86_bus_unlock(cpu);
		return r;
	}
	*equal = value[0] == seen[0] && value[1] == seen[1];
	seen[0] = value[0];
	seen[1] = value[1];
	r = cpu->mem->write(cpu, gva, *equal ? desired : value, 16, X86_ACCESS_WRITE);
	x86_bus_unlock(cpu);
	return r;
}

enum x86_result x86_exec_cmpxchg16b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 seen[2] = { cpu->regs[X86_RAX], cpu->regs[X86_RDX] };
	u64 desired[2] = { cpu->regs[X86_RBX], cpu->regs[X86_RCX] };
	void *host = NULL;
	enum x86_result r;
	bool equal = false;
	u64 gva;

	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), 16, X86_ACCESS_WRITE, &gva);
	if (unlikely(r))
		return r;
	if (gva & 15)
		return x86_raise(cpu, X86_GP, 0);
	host = tlb_rmw(cpu, gva, 16);
	if (!host)
		r = cpu->mem->pin(cpu, gva, 16, X86_ACCESS_WRITE | X86_ACCESS_RMW, &host);
	if (unlikely(r))
		return r;
	if (likely(host))
		equal = cmpxchg16b(host, seen, desired);
	else
		r = cmpxchg16b_slow(cpu, gva, seen, desired, &equal);
	if (likely(!r))
		finish_pair(cpu, equal, seen[0], seen[1], 8);
	return r;
}
