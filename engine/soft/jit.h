/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of the translator: translate.c (blocks, exits, the way in), jit_frame.c (the fixed
 * pieces of code), jit_access.c (registers, flags, memory), jit_integer.c, jit_branch.c, jit_vector.c
 * (instructions).
 */
#ifndef ANYKVM_ENGINE_SOFT_JIT_H
#define ANYKVM_ENGINE_SOFT_JIT_H

#include "engine/soft/code.h"
#include "engine/soft/emit.h"
#include "engine/soft/soft.h"

/*
 * Host registers in translated code. Guest rAX..rDI (without rSP) and r8..r10 are in the host's of the
 * same name; r11..r15 stay in cpu->regs.
 */
enum {
	JIT_SP = 11,	/* guest RSP */
	JIT_B = 12,	/* scratch; at a block's entry: the slot it was reached through, or 0 */
	JIT_A = 13,	/* scratch; after a probe: the operand's host address */
	JIT_RIP = 14,	/* RIP of the block's first instruction: cpu->regs[X86_REG_RIP] */
	JIT_CPU = 15,
	JIT_IN_MEMORY = 0xff,
};

/* Where a branch within its page leads: the executable address that is jumped to is in the slot itself. */
struct jit_target {
	u64 gpa;
	u32 key;
};

/* From RIP to code; valid while *current == generation. */
struct jit_jump {
	u64 rip;
	const u8 *code;
	const u32 *current;
	u32 generation;
	u32 key;
};

#define JIT_JUMP_BITS 14
#define JIT_CODE_SIZE (56u << 20)
#define JIT_SLOTS (1u << 20) /* 8 bytes each, behind the code */
#define JIT_BLOCK_ROOM 32768u /* more than any block's code */

struct jit {
	struct code_region region;
	struct x86_cpu *cpu;
	struct soft_vcpu *soft;
	size_t fixed;		/* bytes of code that a flush keeps */
	u32 warm;		/* executions before a block is translated */
	u32 key;		/* block_key() of what runs */
	const u64 *link;	/* the slot through which translated code was left, if one */
	bool declined;		/* a block's preconditions do not hold: interpret it */
	u32 used_slots;
	/* fixed code, executable addresses */
	enum x86_result (*enter)(struct x86_cpu *cpu, const u8 *code);
	/* r13: struct x86_insn: executes it by its handler, returns if the block may go on */
	const u8 *call_insn;
	const u8 *unlinked;	/* leaves, r12: slot */
	const u8 *decline;
	const u8 *dispatch;	/* to the code for RIP */
	struct jit_jump jump[1u << JIT_JUMP_BITS];
	struct jit_target target[JIT_SLOTS];
};

/* ---- a block under translation --------------------------------------------------------------------- */

/* A branch to where an instruction is executed by its handler; then back. */
struct jit_cold {
	u8 *place;
	u8 *back;
	unsigned insn;
	bool flags;	/* whether the guest's flags must be in the host's on return */
};

/* A taken conditional branch. */
struct jit_exit {
	u8 *place;
	unsigned insn;
	bool dirty;	/* flags are in the host's alone */
};

struct jit_block {
	struct emit e;
	struct jit *jit;
	struct x86_cpu *cpu;
	struct block *b;
	s64 delta;		/* from the writable to the executable view */
	unsigned now;		/* index of the instruction at hand */
	bool in_host, in_mem;	/* where the guest's status flags are: host's RFLAGS, cpu->cc */
	bool no_vector;		/* the entry's check of vector state holds no longer */
	unsigned nr_cold, nr_exits;
	struct jit_cold cold[6 * BLOCK_MAX_INSNS];
	struct jit_exit exit[BLOCK_MAX_INSNS];
};

static inline struct emit_mem jit_cpu_field(size_t offset)
{
	return EMIT_MEM(JIT_CPU, (s32)offset);
}

#define JIT_FIELD(name) jit_cpu_field(offsetof(struct x86_cpu, name))
#define JIT_REG(n) jit_cpu_field(offsetof(struct x86_cpu, regs) + (n) * sizeof(u64))

/* The host's register for a guest's, or JIT_IN_MEMORY. */
static inline unsigned jit_host(unsigned guest)
{
	if (guest == X86_RSP)
		return JIT_SP;
	return guest <= X86_R10 ? guest : (unsigned)JIT_IN_MEMORY;
}

/* jit_frame.c */
bool jit_make_frame(struct jit *jit);

/* jit_access.c */
unsigned jit_get(struct jit_block *t, unsigned guest, unsigned scratch);
void jit_save_flags(struct jit_block *t);
void jit_load_flags(struct jit_block *t);
bool jit_flags_needed(const struct x86_insn *insn);
void jit_wrote_flags(struct jit_block *t);
bool jit_ea_possible(const struct x86_insn *insn);
void jit_ea(struct jit_block *t, const struct x86_insn *insn, unsigned dst, unsigned size);
/* Linear address of the memory operand in JIT_A. */
void jit_linear(struct jit_block *t, const struct x86_insn *insn);
/* JIT_A: from linear to host address; JIT_B and flags are lost. */
void jit_probe(struct jit_block *t, unsigned size, bool write);
/* A jump to the handler of the instruction at hand, if condition cond. */
void jit_slow_if(struct jit_block *t, unsigned cond);
/* Ends the instruction: where its slow paths come back to. */
void jit_finish(struct jit_block *t);
void jit_call_handler(struct jit_block *t, unsigned insn);

/* Each translates an instruction, or returns false having emitted nothing. */
bool jit_integer(struct jit_block *t, const struct x86_insn *insn);
bool jit_stack(struct jit_block *t, const struct x86_insn *insn);
bool jit_branch(struct jit_block *t, const struct x86_insn *insn);
bool jit_vector(struct jit_block *t, const struct x86_insn *insn);
/* Tests the state that the block's vector instructions need, and declines. */
void jit_vector_entry(struct jit_block *t);
bool jit_vector_inline(const struct x86_insn *insn);

/* jit_branch.c: leaves the block for the code at its start + delta; flags are saved. */
void jit_exit_direct(struct jit_block *t, s64 delta, unsigned insn);
void jit_exits(struct jit_block *t);

enum { JIT_IF_NOT_EQUAL = 5, JIT_IF_EQUAL = 4, JIT_IF_ABOVE = 7 };

#endif
