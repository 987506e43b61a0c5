/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interpreter's own header: operands, flags and the handlers that x86/emulate/bind.c chooses from.
 *
 * Two kinds of handlers.  A *generic* handler (x86_exec_*) takes every operand form of its operations,
 * checks all that the architecture asks for, and is the one to read when the question is what an
 * instruction does.  A *specialised* one is made by a macro for one size and one operand form, has no
 * switch inside, and when its fast path does not apply (TLB miss, odd segment) leaves everything to the
 * generic one before it has changed anything.
 *
 * The order in every handler: read, compute, write memory, then registers and flags; so that whoever
 * returns X86_FAULT or X86_EXIT has committed nothing.
 */
#ifndef ANYKVM_X86_EMULATE_H
#define ANYKVM_X86_EMULATE_H

#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/system.h"

#define always_inline inline __attribute__((always_inline))

/* Guest memory through a host pointer: any alignment, any type. */
typedef u8 mem_u8;
typedef u16 __attribute__((aligned(1), may_alias)) mem_u16;
typedef u32 __attribute__((aligned(1), may_alias)) mem_u32;
typedef u64 __attribute__((aligned(1), may_alias)) mem_u64;

#define MEM_LOAD(bits, p) (*(const volatile mem_u##bits *)(p))
#define MEM_STORE(bits, p, v) (*(volatile mem_u##bits *)(p) = (u##bits)(v))

/* 0..3 for 1, 2, 4, 8 bytes. */
static always_inline unsigned size_index(unsigned size)
{
	return (unsigned)__builtin_ctz(size);
}

static always_inline u64 size_mask(unsigned size)
{
	return ~0ull >> (64 - 8 * size);
}

static always_inline u64 sign_extend(u64 value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (u64)((s64)(value << shift) >> shift);
}

/* The value of a register after size bytes of it were written. */
static always_inline u64 merge(u64 old, u64 value, unsigned size)
{
	if (size == 8)
		return value;
	if (size == 4)
		return (u32)value;
	return (old & ~size_mask(size)) | (value & size_mask(size));
}

static always_inline bool in_long_mode64(const struct x86_cpu *cpu)
{
	return cpu->mode == X86_MODE_LONG;
}

static always_inline bool in_protected_mode(const struct x86_cpu *cpu)
{
	return cpu->mode >= X86_MODE_PROT;
}

/* ---- RIP ------------------------------------------------------------------------------------- */

static always_inline u64 rip_at(const struct x86_cpu *cpu, unsigned off)
{
	u64 rip = cpu->regs[X86_REG_RIP] + off;

	return in_long_mode64(cpu) ? rip : (u32)rip;
}

static always_inline u64 this_rip(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return rip_at(cpu, insn->off);
}

static always_inline u64 next_rip(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return rip_at(cpu, insn->next);
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* Behind an instruction in an asm whose output "=&a"(ax) is given to cc_of(): all status flags in AX. */
#define GET_FLAGS "\n\tlahf\n\tseto %%al"
/*
 * Before one that leaves some flags, perhaps undefined ones, as they were: loads all of them from AX,
 * "+&a"(ax) with ax_of(cc). Adding 7F to AL overflows if AL is 1.
 */
#define SET_FLAGS "add $0x7f, %%al\n\tsahf\n\t"
/* Before one that reads CF; cc is an input. */
#define SET_CARRY "bt $0, %[cc]\n\t"

/* LAHF's AH is RFLAGS bits 0..7 (with bit 1 set), AL is OF. */
static always_inline u32 cc_of(u32 ax)
{
	return (ax >> 8 & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (u32)(u8)ax << 11;
}

static always_inline u32 ax_of(u32 cc)
{
	return (cc & 0xff) << 8 | cc >> 11;
}

static always_inline void cc_update(struct x86_cpu *cpu, u32 mask, u32 value)
{
	cpu->cc = (cpu->cc & ~mask) | (value & mask);
}

/* Condition code n of Jcc, SETcc, CMOVcc (SDM vol. 1 appendix B). */
static always_inline bool condition(u32 cc, unsigned n)
{
	bool less = (cc >> 4 ^ cc) & X86_SF; /* SF != OF: OF shifted onto SF */
	bool r;

	switch (n >> 1) {
	case 0:
		r = cc & X86_OF;
		break;
	case 1:
		r = cc & X86_CF;
		break;
	case 2:
		r = cc & X86_ZF;
		break;
	case 3:
		r = cc & (X86_CF | X86_ZF);
		break;
	case 4:
		r = cc & X86_SF;
		break;
	case 5:
		r = cc & X86_PF;
		break;
	case 6:
		r = less;
		break;
	default:
		r = less || (cc & X86_ZF);
		break;
	}
	return r ^ (n & 1);
}

/* ---- registers ------------------------------------------------------------------------------- */

static always_inline u64 reg_read(const struct x86_cpu *cpu, unsigned reg, unsigned size)
{
	return cpu->regs[reg] & size_mask(size);
}

static always_inline void reg_write(struct x86_cpu *cpu, unsigned reg, u64 value, unsigned size)
{
	cpu->regs[reg] = merge(cpu->regs[reg], value, size);
}

/* Writes a count or index register of address size n: 2 merges, 4 zero-extends. */
static always_inline void areg_write(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg,
				     u64 value)
{
	reg_write(cpu, reg, value, insn->asize);
}

/* ---- memory, generic ------------------------------------------------------------------------- */

enum x86_result x86_mem_read(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, u64 *value);
enum x86_result x86_mem_write(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, u64 value);
enum x86_result x86_read_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 *value);
enum x86_result x86_write_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 value);
/* Address arithmetic within a segment: ea + n, wrapped to the address size. */
static always_inline u64 ea_add(const struct x86_insn *insn, u64 ea, s64 n)
{
	return (ea + (u64)n) & size_mask(insn->asize);
}

/* ---- operands, any form ---------------------------------------------------------------------- */

/* Operand n, zero-extended from its size; immediates whole. */
enum x86_result x86_operand_read(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n, u64 *value);
enum x86_result x86_operand_write(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n, u64 value);
/* To read and then write: a fault that the write would take is taken now. gva goes from open to commit. */
enum x86_result x86_operand_open(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n,
				 u64 *gva, u64 *value);
enum x86_result x86_operand_commit(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n,
				   u64 gva, u64 value);
/*
 * For a locked operation on the memory operand: its linear address, and where it lies in host memory; NULL
 * when a locked host instruction cannot be used (MMIO, page crossing): then the bus lock is what makes it atomic.
 */
enum x86_result x86_lock_operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, u64 *gva,
				 void **host);
/* One processor at a time does locked operations by a read and a write. x86_bus_unlock() (system.h) without it does nothing. */
void x86_bus_lock(struct x86_cpu *cpu);
/* Runs slow, which reads and writes what a host instruction cannot, under the bus lock. */
enum x86_result x86_bus_locked(struct x86_cpu *cpu, const struct x86_insn *insn, x86_exec_fn *slow);
/* As the operand functions, at gva. */
enum x86_result x86_rmw_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 *value);

/* Whether n pushes of size bytes would fault, without doing them: for what stores more than once. */
enum x86_result x86_probe_stack(struct x86_cpu *cpu, u64 rsp, unsigned size, unsigned n);

/* Looks for an I/O breakpoint on the access just done. */
void x86_io_breakpoint(struct x86_cpu *cpu, u16 port, unsigned size);

static always_inline bool is_mem(const struct x86_insn *insn, unsigned n)
{
	return insn->operand[n].kind == X86_OPD_MEM;
}

static always_inline bool is_locked(const struct x86_insn *insn)
{
	return insn->prefix & X86_PFX_LOCK;
}

/* ---- memory, the fast path of specialised handlers ------------------------------------------- */

/*
 * What a specialised memory handler was made for.  FLAT32: code outside 64-bit mode with 32-bit addresses,
 * whose segment is flat; LONG: 64-bit mode with 64-bit addresses.  A linear address that is not canonical
 * hits no TLB entry.
 */
enum addressing { FLAT32, LONG, NR_ADDRESSINGS };

static always_inline bool fast_linear(const struct x86_cpu *cpu, enum addressing a, unsigned seg,
				      u64 ea, u64 *gva)
{
	*gva = cpu->seg_base[seg] + (a == LONG ? ea : (u32)ea);
	if (a == LONG)
		return likely(!cpu->align_check);
	*gva = (u32)*gva;
	return likely((cpu->seg_flat >> seg & 1) && !cpu->align_check);
}

static always_inline bool fast_gva(const struct x86_cpu *cpu, const struct x86_insn *insn,
				   enum addressing a, u64 *gva)
{
	u64 ea = cpu->regs[insn->base] + (cpu->regs[insn->index] << insn->scale) + (u64)insn->disp;

	return fast_linear(cpu, a, insn->seg, ea, gva);
}

/* A valid entry's host address is not NULL: spares the caller's test a look at it. */
static always_inline void *tlb_host(const struct x86_tlb_entry *e, u64 off)
{
	u64 host = e->host + off;

	if (!host)
		__builtin_unreachable();
	return (void *)host;
}

/* The host address of size bytes at gva if the TLB has it, else NULL. */
static always_inline void *tlb_read(const struct x86_cpu *cpu, u64 gva, unsigned size)
{
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	u64 off = gva - e->tag_read;

	return likely(off <= 4096 - size) ? tlb_host(e, off) : NULL;
}

static always_inline void *tlb_write(const struct x86_cpu *cpu, u64 gva, unsigned size)
{
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	u64 off = gva - e->tag_write;

	return likely(off <= 4096 - size) ? tlb_host(e, off) : NULL;
}

static always_inline void *tlb_rmw(const struct x86_cpu *cpu, u64 gva, unsigned size)
{
	const struct x86_tlb_entry *e = x86_tlb_entry(cpu, gva);
	u64 off = gva - e->tag_write;

	return likely(off <= 4096 - size && e->tag_read == e->tag_write) ? tlb_host(e, off) : NULL;
}

static always_inline void *fast_read(const struct x86_cpu *cpu, const struct x86_insn *insn,
				     enum addressing a,
				     unsigned size)
{
	u64 gva;

	return fast_gva(cpu, insn, a, &gva) ? tlb_read(cpu, gva, size) : NULL;
}

static always_inline void *fast_write(const struct x86_cpu *cpu, const struct x86_insn *insn,
				      enum addressing a,
				      unsigned size)
{
	u64 gva;

	return fast_gva(cpu, insn, a, &gva) ? tlb_write(cpu, gva, size) : NULL;
}

static always_inline void *fast_rmw(const struct x86_cpu *cpu, const struct x86_insn *insn, enum addressing a,
				    unsigned size)
{
	u64 gva;

	return fast_gva(cpu, insn, a, &gva) ? tlb_rmw(cpu, gva, size) : NULL;
}

/*
 * The stack for a push or pop of the addressing's natural size, 4 or 8: NULL for the slow path, or the host
 * address and in *rsp the stack pointer (pushes: after the decrement).
 */
static always_inline void *fast_push(const struct x86_cpu *cpu, enum addressing a, u64 *rsp)
{
	unsigned size = a == LONG ? 8 : 4;
	u64 gva;

	if (a != LONG && unlikely(cpu->stack_size != 4))
		return NULL;
	*rsp = cpu->regs[X86_RSP] - size;
	if (a != LONG)
		*rsp = (u32)*rsp;
	return fast_linear(cpu, a, X86_SS, *rsp, &gva) ? tlb_write(cpu, gva, size) : NULL;
}

static always_inline const void *fast_pop(const struct x86_cpu *cpu, enum addressing a, u64 *rsp)
{
	u64 gva;

	if (a != LONG && unlikely(cpu->stack_size != 4))
		return NULL;
	*rsp = cpu->regs[X86_RSP];
	return fast_linear(cpu, a, X86_SS, *rsp, &gva) ? tlb_read(cpu, gva, a == LONG ? 8 : 4) : NULL;
}

/* rSP moved by n behind a pop. */
static always_inline u64 popped(enum addressing a, u64 rsp, u64 n)
{
	return a == LONG ? rsp + n : (u32)(rsp + n);
}

/* ---- choosing -------------------------------------------------------------------------------- */

/*
 * Specialised handlers of one operation by operand form and log2 of the size; NULL where there is none.
 * Letters: r general register, i immediate, m memory, c CL. First index of the memory forms: enum addressing.
 */
struct x86_forms {
	x86_exec_fn *r[4], *rr[4], *ri[4], *rc[4];
	x86_exec_fn *m[NR_ADDRESSINGS][4], *rm[NR_ADDRESSINGS][4], *mr[NR_ADDRESSINGS][4];
	x86_exec_fn *mi[NR_ADDRESSINGS][4], *mc[NR_ADDRESSINGS][4];
};

/* By the form of the first two operands and the size of the first; NULL if none fits. */
x86_exec_fn *x86_pick_form(const struct x86_forms *forms, const struct x86_cpu *cpu,
			   const struct x86_insn *insn);
/* Which addressing the memory operand has; NR_ADDRESSINGS if none of the fast ones. */
enum addressing x86_pick_addressing(const struct x86_cpu *cpu, const struct x86_insn *insn);

/* A handler for this very instruction, or NULL to take the generic one. */
typedef x86_exec_fn *x86_pick_fn(const struct x86_cpu *cpu, const struct x86_insn *insn);

x86_pick_fn x86_pick_alu, x86_pick_shift, x86_pick_imul, x86_pick_bt, x86_pick_mov, x86_pick_movx;
x86_pick_fn x86_pick_lea;
x86_pick_fn x86_pick_cmov, x86_pick_setcc, x86_pick_push, x86_pick_pop, x86_pick_jcc, x86_pick_jmp;
x86_pick_fn x86_pick_call;
x86_pick_fn x86_pick_call_ind, x86_pick_jmp_ind, x86_pick_ret, x86_pick_leave, x86_pick_xchg;

/* ---- generic handlers ------------------------------------------------------------------------ */

x86_exec_fn x86_exec_ud;

/* alu.c */
x86_exec_fn x86_exec_alu, x86_exec_alu_lock, x86_exec_alu1, x86_exec_alu1_lock;
/* shift.c */
x86_exec_fn x86_exec_shift, x86_exec_shift_double, x86_exec_rorx, x86_exec_shiftx;
/* bits.c */
x86_exec_fn x86_exec_bt, x86_exec_bt_lock, x86_exec_bitscan, x86_exec_adx, x86_exec_bmi;
x86_exec_fn x86_exec_bls, x86_exec_mulx;
x86_exec_fn x86_exec_crc32;
/* muldiv.c */
x86_exec_fn x86_exec_mul, x86_exec_imul, x86_exec_div, x86_exec_daa, x86_exec_aaa, x86_exec_aam, x86_exec_aad;
/* move.c */
x86_exec_fn x86_exec_nop, x86_exec_mov, x86_exec_movzx, x86_exec_movsx, x86_exec_lea;
x86_exec_fn x86_exec_bswap, x86_exec_movbe, x86_exec_cbw, x86_exec_cwd, x86_exec_xlat;
x86_exec_fn x86_exec_cmov, x86_exec_setcc;
/* exchange.c */
x86_exec_fn x86_exec_xchg, x86_exec_xadd, x86_exec_cmpxchg, x86_exec_cmpxchg8b, x86_exec_cmpxchg16b;
/* stack.c */
x86_exec_fn x86_exec_push, x86_exec_pop, x86_exec_pusha, x86_exec_popa, x86_exec_enter, x86_exec_leave;
x86_exec_fn x86_exec_push_seg, x86_exec_pop_seg;
/* flags.c */
x86_exec_fn x86_exec_lahf, x86_exec_sahf, x86_exec_carry, x86_exec_cld, x86_exec_std, x86_exec_salc;
x86_exec_fn x86_exec_pushf, x86_exec_popf, x86_exec_cli, x86_exec_sti, x86_exec_stac, x86_exec_clac;
/* string.c, string_io.c */
x86_exec_fn x86_exec_movs, x86_exec_cmps, x86_exec_stos, x86_exec_lods, x86_exec_scas, x86_exec_ins;
x86_exec_fn x86_exec_outs;
/* branch.c */
x86_exec_fn x86_exec_jcc, x86_exec_jmp, x86_exec_jmp_ind, x86_exec_jmp_far, x86_exec_call, x86_exec_call_ind;
x86_exec_fn x86_exec_call_far, x86_exec_ret, x86_exec_ret_far, x86_exec_jcxz, x86_exec_loop, x86_exec_bound;
/* interrupt.c */
x86_exec_fn x86_exec_int, x86_exec_int1, x86_exec_int3, x86_exec_into, x86_exec_iret;
/* syscall.c */
x86_exec_fn x86_exec_syscall, x86_exec_sysret, x86_exec_sysenter, x86_exec_sysexit;
/* segreg.c */
x86_exec_fn x86_exec_mov_seg, x86_exec_load_far, x86_exec_lgdt, x86_exec_sgdt, x86_exec_lldt, x86_exec_ltr;
x86_exec_fn x86_exec_sldt, x86_exec_lar, x86_exec_lsl, x86_exec_verr, x86_exec_arpl, x86_exec_swapgs;
x86_exec_fn x86_exec_rdbase, x86_exec_wrbase;
/* system.c */
x86_exec_fn x86_exec_hlt, x86_exec_clts, x86_exec_mov_cr, x86_exec_mov_dr, x86_exec_lmsw, x86_exec_smsw;
x86_exec_fn x86_exec_invlpg, x86_exec_invpcid, x86_exec_wbinvd, x86_exec_rdmsr, x86_exec_wrmsr;
x86_exec_fn x86_exec_rdtsc;
x86_exec_fn x86_exec_rdpmc, x86_exec_rdpid, x86_exec_cpuid, x86_exec_rsm, x86_exec_monitor, x86_exec_mwait;
x86_exec_fn x86_exec_rdpkru, x86_exec_wrpkru, x86_exec_xgetbv, x86_exec_xsetbv, x86_exec_hypercall;
x86_exec_fn x86_exec_in, x86_exec_out;
/* hint.c */
x86_exec_fn x86_exec_pause, x86_exec_lfence, x86_exec_mfence, x86_exec_sfence, x86_exec_serialize;
x86_exec_fn x86_exec_clflush, x86_exec_clzero, x86_exec_rdrand;

#endif
