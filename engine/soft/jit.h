/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of the translator: translate.c (life, links, the way in), jit_block.c (the translation of
 * one block), jit_frame.c (the fixed pieces of code), jit_access.c (registers, memory), jit_flags.c, jit_integer.c, jit_bits.c,
 * jit_stack.c, jit_branch.c, jit_vector.c, jit_x87.c, jit_system.c, jit_string.c, jit_divide.c (instructions), jit_plan.c
 * (which accesses share a probe), jit_window.c (accesses without a probe), jit_loop.c, jit_room.c (memory).
 */
#ifndef ANYKVM_ENGINE_SOFT_JIT_H
#define ANYKVM_ENGINE_SOFT_JIT_H

#include "engine/soft/code.h"
#include "engine/soft/emit.h"
#include "engine/soft/soft.h"
#include "engine/soft/window.h"

/*
 * Host registers in translated code. Guest rCX, rDX, rBX, rBP, rSI, rDI, r8 and r12..r15 are in the host's of
 * the same name. RAX is a scratch register, as flags are saved through it. r9..r11, which compilers use least,
 * stay in cpu->regs. struct x86_cpu is at the host's GS base (host/user/gs.h). RIP is nowhere: a block knows
 * its offset in its page, and cpu->code_page is the page's linear address, written by branches that leave it; most blocks know
 * that, too.
 */
enum {
	JIT_B = X86_RAX, /* scratch */
	JIT_SP = 9,	/* guest RSP */
	JIT_AX = 10,	/* guest RAX */
	JIT_A = 11,	/* scratch; after a probe: the operand's host address; of a window: its delta */
	JIT_IN_MEMORY = 0xff,
};

/* A direct branch that is made to lead to its target. */
struct jit_target {
	const struct block_page *page; /* of the branch */
	u32 key;
	bool inner;		/* to behind the entry's look at cpu->stop */
	struct jit_far *cells;	/* NULL: in the page */
	s64 offset;		/* of the target from the page's start */
	u8 *place;		/* of the branch's displacement, 32 bits, where it is written */
	s32 unlinked;		/* what it is while the branch leads nowhere; far: does not matter */
	u8 *leave;		/* the displacement of the jump to jit.unlinked there; not if far */
	struct block *to;	/* that it leads to; NULL: none */
	u32 next, previous;	/* links to the same block: their indices + 1 */
};

/* The cells of a branch to another page: it leads where its displacement says while number is the current one. */
struct jit_far {
	u64 number;		/* as cpu->stop and code_current together */
	u64 page;		/* linear address of the target's */
	u64 code;		/* where the displacement leads; 0: nowhere */
	u64 link;		/* its index + 1 */
};

/* From RIP to code; valid while number is the current one (soft.h) and cpu->stop is 0: compared together. */
struct jit_jump {
	u64 rip;
	u64 number;		/* in the high half */
	const u8 *code;
	u64 page;		/* of rip */
};

/* So many entries of a table are in use at first, and at most (link_to()). */
#define JIT_JUMP_BITS_FIRST 11
#define JIT_JUMP_BITS 15
#define JIT_JUMP_HASH 0x9e3779b1u /* times the low half of RIP, from bit 5 on: of entries of 32 bytes */
#define JIT_JUMP_MASK(bits) (((1u << (bits)) - 1) << 5)

/* From code to blocks: in the order of addresses, as within a part code is never freed singly. */
struct jit_extent {
	u32 begin;		/* offset in the region */
	struct block *block;
};

/* Memory is handed out by parts (jit_room.c): what there is in one, or in use of it. */
struct jit_part {
	u32 code;		/* bytes */
	u32 cells;		/* of 8 bytes, behind all code */
	u32 links, extents;
};
#define JIT_PARTS_MAX 128
/* A block wants no more than that. */
#define JIT_BLOCK_ROOM 32768u
#define JIT_BLOCK_CELLS 1024u
#define JIT_BLOCK_LINKS 128u
#define JIT_WAYS (2 * BLOCK_CLASSES)

struct jit {
	struct code_region region;
	struct x86_cpu *cpu;
	struct soft_vcpu *soft;
	size_t fixed;		/* bytes of code that are there for good */
	u32 warm;		/* executions before a block is translated */
	u64 link;		/* the link through which translated code was left: its index + 1 */
	bool patched;		/* code has been written over since translated code ran */
	bool rorx;		/* the host has it */
	bool count_handlers;	/* ANYKVM_STAT_HANDLERS=1 */
	bool declined;		/* a block's preconditions do not hold: interpret it */
	size_t code_size;
	size_t committed;	/* of it */
	size_t committed_cells;	/* of the region: those behind the code, up to here */
	struct parts parts;
	struct jit_part whole, part[JIT_PARTS_MAX];
	/* fixed code, executable addresses */
	enum x86_result (*enter)(struct x86_cpu *cpu, const u8 *code);
	/*
	 * JIT_A: struct x86_insn, JIT_B: offset of its block in the page: executes it by its handler, returns if
	 * the block may go on.
	 */
	const u8 *call_insn;
	const u8 *unlinked;	/* leaves for offset JIT_A in the page; JIT_B: index of the link + 1, or 0 */
	const u8 *by_table[2];	/* the same, but looks there before; for 32-bit code */
	/*
	 * The branch to offset JIT_A from the page's start, with cells JIT_B, is not to be followed as it stands: looks in the
	 * table. Returns "equal" if the cells are good now, else their link is known as the one left through.
	 */
	const u8 *find_far[2];	/* for 64-bit code, for 32-bit code */
	const u8 *decline;	/* leaves for offset JIT_A, which is to be interpreted */
	const u8 *returned;	/* a RET to 0, which has no CALL */
	/* of a RET to JIT_A by another CALL than the last, with code_temp[0] to add to rSP; returns if it must be found */
	const u8 *return_miss[2];
	const u8 *refill;	/* JIT_A: linear address, JIT_B: struct jit_refill: returns "not equal" if it is worth a retry */
	const u8 *split;	/* JIT_A: struct jit_split: goes on without windows */
	const u8 *call_last;	/* as call_insn, but jumped to: goes on with whatever comes next */
	const u8 *window_miss;	/* registers as at cpu->window_pc, where an access to a window has faulted: goes on behind it */
	struct jit_jump jump[2 + SOFT_CONTEXTS][1u << JIT_JUMP_BITS]; /* of supervisor's code; of user's; of all 32-bit code */
	u32 used_jumps;		/* those of these tables that have had an entry */
	u32 displaced_jumps;	/* entries that were good, and made room for others, since the tables are as large as they are */
	struct jit_target *target; /* of the links */
	struct jit_extent *extent;
};

/* What jit_refill() is told of a window, in one register. */
union jit_refill {
	struct {
		u16 own;	/* the access that comes next: from the window's start */
		u8 own_size;
		bool own_write;
		u16 size;	/* of the window */
		bool write;
		bool shared;	/* jit_block.shared */
	};
	u64 word;
};

/* Code of some consecutive instructions of a block: where each begins, and where flags are while it accesses memory. */
struct jit_piece {
	const u8 *code;		/* executable address of the translation that it is part of */
	struct jit_piece *next;	/* of the block's */
	u16 first, nr;		/* instructions */
	u16 nr_links;		/* from this one on: */
	u32 link;
	struct {
		u16 offset;
		s8 flags;	/* jit_flags_source() */
		u8 based;	/* jit_direct_base() */
		u8 misses;	/* of windows, that had no cure */
	} at[];			/* nr, and their end */
};

/* An instruction in the code. */
struct jit_place {
	struct block *block;
	struct jit_piece *piece;
	unsigned index;		/* in piece->at[] */
};

/* Where a block goes on without windows; in the cells. */
struct jit_split {
	u64 code;
	struct block *block;
	u64 insn;
};

/* ---- a block under translation --------------------------------------------------------------------- */

/* Accesses that one probe checks (jit_plan.c). Addresses as offsets from some base that is none of our business. */
struct jit_window {
	s64 low, high;
	u16 members;
	bool known;	/* its host address is in cpu->host_window[] when the instruction at hand runs ... */
	bool writable;	/* ... and it may be written to */
	u8 align;	/* its start plus align_at is a multiple of align + 1 */
	u8 align_at;
};

#define JIT_NO_ENTRY ~0u
#define JIT_WINDOWS X86_HOST_WINDOWS
#define JIT_NO_WINDOW 0xff

struct jit_access {
	u8 window;
	u8 size;
	bool write;
	s64 offset;
};

enum jit_which { JIT_EXPLICIT, JIT_STACK };

struct jit_plan {
	unsigned nr;
	struct jit_window window[JIT_WINDOWS];
	/* By position: the block's instructions, then those of its loop once more. By enum jit_which. */
	struct jit_access access[2 * BLOCK_MAX_INSNS][2];
};

/* A branch to where an instruction is executed by its handler; then back. */
struct jit_cold {
	u8 *place;
	u8 *back;
	unsigned insn, position;
	bool flags;	/* whether the guest's flags must be in the host's on return */
	u8 window;	/* if any: to where it is brought into the TLB; then back, or on without windows */
	u8 which;	/* of the access that opened it */
	bool writable;
	bool shared;	/* jit_block.shared before it */
	int recipe;	/* jit_flags_source() there */
};

/* A taken conditional branch. */
struct jit_exit {
	u8 *place;
	unsigned insn;
	bool dirty;	/* flags are in the host's alone */
};

/* A link that leads nowhere yet: to code that leaves for offset in the page; or, far, that looks and has insn executed. */
struct jit_leave {
	u32 link;
	s32 offset;
	unsigned insn;
	u8 *miss, *back;	/* far: of the comparison of its number */
};

/* A test at the entry of the block or an iteration that has failed. */
struct jit_refusal {
	u8 *place;
	bool decline;	/* the block is to be interpreted; else: let the loop look */
	int flags;	/* jit_flags_source() */
	u16 offset;	/* of the instruction that comes next, in its page */
};

/* Where an access that moves on steadily comes to another page. */
struct jit_turn {
	u8 *place;
	u8 *back;
	unsigned insn, position;
	bool write;
	int recipe;
};

/* A branch of the block's to an instruction of its own (jit_loop.c). */
struct jit_loop {
	bool any;
	bool inside;		/* the copy is being written */
	unsigned head, tail;	/* instructions: target and branch */
	u32 written;		/* registers by number; ... */
	u32 steady;		/* ... of these, such that advance by what does not change */
	u32 paged;		/* windows, by number, whose page is remembered: bits */
	u8 *enter;		/* the branch in the block; NULL: it has not been written */
	const u8 *again;	/* where the copy's branch leads */
	/* At the branch: */
	int recipe;
	u32 ingredients;
	bool shared;
	struct jit_window window[JIT_WINDOWS];
};

struct jit_block {
	struct emit e;
	struct jit *jit;
	struct x86_cpu *cpu;
	struct block *b;
	s64 delta;		/* from the writable to the executable view */
	unsigned now;		/* index of the instruction at hand */
	unsigned position;	/* the same for the plan */
	unsigned offset;	/* of the block in its page */
	/* where the guest's status flags are (jit_flags.c) ... */
	bool in_host, in_mem;	/* ... in the host's, in cpu->cc, ... */
	int recipe;		/* ... or those that this instruction gives: its index; negative: none */
	u32 ingredients;	/* registers that the recipe needs */
	bool expires;		/* the instruction at hand spoils them, and nobody will want the flags */
	struct jit_piece *piece; /* being written */
	bool fixed;		/* it will run at one linear address alone: that of the page is ... */
	u64 page;
	bool windows;		/* probes are shared */
	bool shared;		/* they look into the set of the kernel under SMAP, whose place is known; for CPL 0 alone */
	unsigned entry;		/* offset of the entry that is to be probed in its set, or JIT_NO_ENTRY: depends on the address */
	unsigned word;		/* bytes of addresses, RIP and what PUSH and CALL push: 8, or 4 in 32-bit code */
	struct jit_loop loop;
	u8 in_a, next_in_a;	/* window whose host address is in JIT_A: for this instruction, for the next */
	bool took_a;		/* the instruction at hand has used JIT_A for something else */
	u32 based, next_based;	/* registers whose address's delta is there instead (jit_window.c) */
	u64 drift;		/* by how much they have moved since */
	bool stack_b, next_stack_b; /* the delta of rSP is in JIT_B: now, for the next instruction */
	u64 stack_drift;
	unsigned nr_turns, nr_cold, nr_exits, nr_leaves, nr_refusals;
	u8 *inner;		/* behind the entry's look at cpu->stop */
	u8 *stack_full, *stack_back; /* of the CALL at its end */
	u64 *return_cell;	/* of its return site: RIP there the last time, and its page */
	u8 *return_moved, *return_back;
	u8 *return_miss;	/* of the RET at its end */
	struct jit_plan plan;	/* whatever is before its accesses begins as zero */
	struct jit_turn turn[JIT_WINDOWS];
	struct jit_refusal refusal[8];
	struct jit_cold cold[6 * BLOCK_MAX_INSNS];
	struct jit_exit exit[2 * BLOCK_MAX_INSNS];
	struct jit_leave leave[2 * BLOCK_MAX_INSNS + 2];
};

/* cpu->stop in the low half, which is 0, and code_current in the high one. */
#define JIT_NUMBER JIT_FIELD(stop)
#define JIT_FIELD(name) EMIT_GS((s32)offsetof(struct x86_cpu, name))
/* Of the page that a loop is at. */
#define JIT_PAGE(n) EMIT_GS((s32)(offsetof(struct x86_cpu, host_page) + (n) * 2 * sizeof(u64)))
#define JIT_PAGE_HOST(n) EMIT_GS((s32)(offsetof(struct x86_cpu, host_page) + (n) * 2 * sizeof(u64) + sizeof(u64)))
#define JIT_REG(n) EMIT_GS((s32)(offsetof(struct x86_cpu, regs) + (n) * sizeof(u64)))

/* Whether a distance from the block's start fits a displacement, also with offsets of the block's and a window's. */
static inline bool jit_near(s64 delta)
{
	return delta - 8192 == (s32)(delta - 8192) && delta + 8192 == (s32)(delta + 8192);
}

/* The host's register for a guest's, or JIT_IN_MEMORY. */
static inline unsigned jit_host(unsigned guest)
{
	if (guest == X86_RAX)
		return JIT_AX;
	if (guest == X86_RSP)
		return JIT_SP;
	return guest >= X86_R9 && guest <= X86_R11 ? (unsigned)JIT_IN_MEMORY : guest;
}

static inline u64 *jit_slot(struct jit *jit, u32 n)
{
	return (u64 *)(jit->region.write + jit->code_size) + n;
}

static inline struct jit_part *jit_part(struct jit *jit)
{
	return &jit->part[jit->parts.now];
}

/* jit_plan.c: general registers that an instruction writes, bits by number; ~0: not known. */
u32 jit_written(const struct x86_insn *insn);
/* word: as in struct jit_block. */
void jit_plan(struct jit_plan *plan, const struct x86_insn *insn, unsigned nr, const struct jit_loop *loop, unsigned word);

/* jit_loop.c */
void jit_find_loop(struct jit_block *t);
/* Whether the branch at hand is the loop's; then it is translated. */
bool jit_loop_branch(struct jit_block *t, const struct x86_insn *insn);
/* After jit_plan(): which of its windows move in strides. */
void jit_find_strides(struct jit_block *t);
/* Before the copy of the loop: the state in which it is entered. Behind it: nothing comes this way. */
void jit_loop_enter(struct jit_block *t);

/* Class and size of a block's code. */
static inline unsigned jit_way(u32 key)
{
	return block_class(key) + ((key & 0xff) == 64 ? 0 : (unsigned)BLOCK_CLASSES);
}

/* In which table of jit.jump the ways to such code are now. */
static inline struct jit_jump *jit_jumps(struct jit *jit, unsigned way)
{
	if (way >= BLOCK_CLASSES)
		return jit->jump[1 + SOFT_CONTEXTS];
	return jit->jump[way == BLOCK_USER ? 1 + jit->soft->context : 0];
}

/* jit_room.c: reserves memory of size bytes for code; 0 or -errno. */
int jit_make_room(struct jit *jit, size_t size);
void jit_free_room(struct jit *jit);
/* The index of the link that will be taken next. */
static inline u32 jit_next_link(const struct jit *jit)
{
	return jit->parts.now * jit->whole.links + jit->part[jit->parts.now].links;
}

/* Room among the slots; NULL: there is none in this part. */
void *jit_take_cells(struct jit *jit, size_t size);
/* The same of a link: its index. */
bool jit_take_link(struct jit *jit, u32 *link);
/* Where the next code goes, committed, and how much there may be of it. */
u8 *jit_take_code(struct jit *jit, size_t *room);
/* It has become size bytes, of b. */
void jit_keep_code(struct jit *jit, struct block *b, size_t size);
/* Whether a block may have been too large for what is left of the part, but for no other. */
bool jit_is_cramped(struct jit *jit);
/* Goes on in another part: what was there ends, so translated code must be left at once, if it runs. */
void jit_next_part(struct jit *jit);
/* The block that has code at pc, or had; NULL: none. [run] */
struct block *jit_block_at(const struct jit *jit, const u8 *pc);
/* All parts are empty. */
void jit_empty_room(struct jit *jit);
/* And their memory is given back. */
void jit_release_room(struct jit *jit);

/* translate.c: nothing leads from link n anywhere. */
void jit_detach(struct jit *jit, u32 n);
/* jit_block.c: makes b->code, unless it cannot be had. */
void jit_translate(struct jit *jit, struct block *b);
/* The instruction whose code is at pc; false: it is not in a block's. [run] */
bool jit_find_place(const struct jit *jit, const u8 *pc, struct jit_place *at);
/* From translated code: brings a window's first access into the TLB; whether the window hits then. [run] */
bool jit_refill(struct x86_cpu *cpu, u64 gva, u64 refill);
/* The code for the rest of a block without windows; NULL, and RIP is there, if it cannot be had. [run] */
const u8 *jit_split(struct jit *jit, struct jit_split *split);
/* At the entry, nothing done yet: not into the block if cond. */
void jit_refuse_if(struct jit_block *t, unsigned cond, bool decline);
/* Looks at cpu->stop. */
void jit_poll(struct jit_block *t);

/* jit_frame.c */
bool jit_make_frame(struct jit *jit);
/*
 * JIT_B: the entry of the table for RIP JIT_A; JIT_A and flags are lost. The branches if there is none, or cpu->stop is set,
 * go to miss[].
 */
void jit_look_up(struct emit *e, u8 *miss[2]);

/* jit_flags.c: into cpu->cc; into the host's. RAX is lost. */
void jit_save_flags(struct jit_block *t);
void jit_load_flags(struct jit_block *t);
/* Before the host's flags get lost, with a way to a handler: they can be had there. */
void jit_risk_flags(struct jit_block *t);
/* How to have them in cpu->cc there: an instruction to execute again, or JIT_FLAGS_SAVED. */
#define JIT_FLAGS_SAVED (-1)
#define JIT_FLAGS_HOST (-2)
int jit_flags_source(const struct jit_block *t);
/* There: does it. */
void jit_recover_flags(struct jit_block *t, int source);
/* The same after a fault of the host's; registers are the guest's, host: RFLAGS. */
void jit_fault_flags(struct x86_cpu *cpu, const struct block *b, int source, u64 host);
/* Whether an instruction wants them in the host's: it reads them, or leaves some as they were. */
bool jit_flags_needed(const struct x86_insn *insn);
void jit_wrote_flags(struct jit_block *t, const struct x86_insn *insn);
void jit_flags_in_memory(struct jit_block *t);
/* Around each instruction: it may write what a recipe needs. */
void jit_flags_before(struct jit_block *t, const struct x86_insn *insn);
void jit_flags_after(struct jit_block *t);

/* jit_access.c */
unsigned jit_get(struct jit_block *t, unsigned guest, unsigned scratch);
/* RIP of the block's start + delta. */
void jit_rip(struct jit_block *t, unsigned dst, s64 delta);
/* The same if it is known, and fits 32 bits with their sign. */
static inline bool jit_known_rip(const struct jit_block *t, s64 delta, s32 *rip)
{
	u64 known = t->page + t->offset + (u64)delta;

	*rip = (s32)known;
	return t->fixed && known == (u64)(s64)*rip;
}

/* That the operand is at a linear address that is known. */
bool jit_known_address(const struct jit_block *t, const struct x86_insn *insn, u64 *gva);
bool jit_ea_possible(const struct x86_insn *insn);
/* In 32-bit code: the operand is in a segment that need not be flat. */
static inline bool jit_may_be_limited(const struct x86_insn *insn, unsigned word)
{
	return word == 4 && (insn->seg == X86_CS || insn->seg >= X86_FS);
}
void jit_ea(struct jit_block *t, const struct x86_insn *insn, unsigned dst, unsigned size);
/*
 * The memory operand, by its host address: of size bytes at JIT_A or a bit further. Flags are saved if they get lost;
 * JIT_B may be.
 */
struct emit_mem jit_operand(struct jit_block *t, const struct x86_insn *insn, unsigned size, bool write);
/* The same, which may be [JIT_A + JIT_B]. */
struct emit_mem jit_operand_b(struct jit_block *t, const struct x86_insn *insn, unsigned size, bool write);
/* An operand at the linear address in JIT_A, by a probe. */
struct emit_mem jit_operand_at(struct jit_block *t, unsigned size, bool write);
/* JIT_A: the linear address of the memory operand; JIT_B is lost. */
void jit_linear(struct jit_block *t, const struct x86_insn *insn);
/* The same for the word that PUSH, CALL, POP, RET or LEAVE access. */
struct emit_mem jit_stack_operand(struct jit_block *t, const struct x86_insn *insn);
struct emit_mem jit_stack_operand_b(struct jit_block *t, const struct x86_insn *insn);
/* Of what an instruction accesses on the stack: from rSP (LEAVE: rBP). */
s32 jit_stack_disp(const struct jit_block *t, const struct x86_insn *insn);
/* The slow path of a window's first access. */
void jit_cold_window(struct jit_block *t, const struct jit_cold *c, const u64 *split);
/*
 * Whether the operand at m, of the instruction at hand, is known to be aligned; if not, it will be: the caller
 * looks.
 */
bool jit_aligned(struct jit_block *t, struct emit_mem m, u32 mask);
/* The way of accesses to other pages, before the slow paths. */
void jit_turns(struct jit_block *t);
/* jit_vector.c: to the handler unless the operand at m is aligned. */
void jit_demand_aligned(struct jit_block *t, struct emit_mem m, u32 mask);
/* Host addresses of windows are good no longer: something may have changed rights or mappings. */
void jit_close_windows(struct jit_block *t);
/* Instructions do not disturb JIT_A unless they say so: this one, which used it for an operand, did not. */
void jit_kept_a(struct jit_block *t);
/* The same of JIT_B, which nothing but flags has disturbed. */
void jit_kept_b(struct jit_block *t);
/* A jump to the handler of the instruction at hand, if condition cond. */
void jit_slow_if(struct jit_block *t, unsigned cond);
/* The same by a branch that is there already. */
void jit_slow_at(struct jit_block *t, u8 *place);
/* Ends the instruction: where its slow paths come back to. */
void jit_finish(struct jit_block *t);
void jit_call_handler(struct jit_block *t, unsigned insn);
/* The instruction at hand, which ends the block, by its handler. */
void jit_call_last(struct jit_block *t);

bool jit_has_mem(const struct x86_insn *insn);
bool jit_has_high_byte(const struct x86_insn *insn);
/* Whether some register that it names stays in memory: a scratch register may be taken for it. */
bool jit_names_memory(const struct x86_insn *insn);

/* Each translates an instruction, or returns false having emitted nothing. */
bool jit_integer(struct jit_block *t, const struct x86_insn *insn);
bool jit_bits(struct jit_block *t, const struct x86_insn *insn);
bool jit_stack(struct jit_block *t, const struct x86_insn *insn);
bool jit_branch(struct jit_block *t, const struct x86_insn *insn);
bool jit_vector(struct jit_block *t, const struct x86_insn *insn);
bool jit_x87(struct jit_block *t, const struct x86_insn *insn);
bool jit_system(struct jit_block *t, const struct x86_insn *insn);
bool jit_string(struct jit_block *t, const struct x86_insn *insn);
bool jit_divide(struct jit_block *t, const struct x86_insn *insn);
/* What an instruction accesses. */
struct jit_range {
	u64 gva;
	unsigned size;
	bool write;
};

/* After a window has been missed at pc in such code: registers are the guest's again; what it accesses next. 0: it is another. */
unsigned jit_string_miss(struct x86_cpu *cpu, const struct x86_insn *insn, const u8 *pc, struct jit_range range[2]);
/* After a host fault in such code at insn, with the host's registers. */
void jit_string_fault(struct x86_cpu *cpu, const struct x86_insn *insn, const u64 gpr[16]);
/* Tests the state that the block's vector instructions need, and declines. */
void jit_vector_entry(struct jit_block *t);
bool jit_vector_inline(const struct x86_insn *insn);
bool jit_x87_inline(const struct x86_insn *insn);

/* jit_system.c: whether the instruction at hand is one after which RIP and mode must be looked at. */
bool jit_is_last(const struct jit_block *t);
/* Executes it; JIT_GO_ON + jit_way(): such translated code may go on at RIP. Else its result. [run] */
#define JIT_GO_ON 0x100u
#define JIT_STACK_SIZE 4096 /* bytes of the host's stack, for returns */
#define JIT_STACK_ROOM 2048 /* of it that a kernel wants */
#define JIT_FRAME_SIZE 16
unsigned jit_exec_last(struct x86_cpu *cpu, const struct x86_insn *insn);

/* jit_window.c: whether the instruction at hand accesses memory without a probe. */
bool jit_direct(const struct jit_block *t);
/* Its operands then. Flags stay where they are; what follows must not write guest registers before the access. */
struct emit_mem jit_direct_operand(struct jit_block *t, const struct x86_insn *insn, bool free_b);
struct emit_mem jit_direct_stack(struct jit_block *t, const struct x86_insn *insn, bool free_b);
/* The same operand without JIT_B. */
struct emit_mem jit_free_b(struct jit_block *t, struct emit_mem m);
/* Behind the instruction: what JIT_A is still good for. */
void jit_direct_after(struct jit_block *t, const struct x86_insn *insn);
/* From which register JIT_A can be made where the instruction at hand begins. */
u8 jit_direct_base(const struct jit_block *t);
/* After a fault at cpu->window_pc; X86_OK: on at cpu->code_temp[0] with JIT_A = code_temp[1], JIT_B = window_flags. [run] */
#define JIT_NO_PLACE 0x200u
unsigned jit_window_miss(struct x86_cpu *cpu);

/* jit_branch.c: leaves the block for the code at its start + delta; flags are saved. */
void jit_exit_direct(struct jit_block *t, s64 delta, unsigned insn);
void jit_exits(struct jit_block *t);
/* The code that links lead to which lead nowhere. */
void jit_leaves(struct jit_block *t);

enum { JIT_IF_NOT_EQUAL = 5, JIT_IF_EQUAL = 4, JIT_IF_BELOW = 2, JIT_IF_ABOVE = 7 };

#endif
