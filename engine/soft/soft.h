/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The software processor: what its files share.
 *
 *	run.c		the engine's operations and the instruction loop
 *	step.c		one instruction at a time: TF, shadows, breakpoints, guest debug
 *	block.c		decoded code, keyed by guest-physical address and mode
 *	codepage.c	which pages hold decoded code: writes to them are noticed
 *	tlb.c		the software TLB, and all accesses that miss it
 *	native.c ...	instructions that run as themselves
 *	translate.c ...	warm blocks as native code (jit_*.c)
 *
 * Everything here but struct soft_vm belongs to the vCPU's thread.
 */
#ifndef ANYKVM_ENGINE_SOFT_H
#define ANYKVM_ENGINE_SOFT_H

#include "engine/engine.h"
#include "kvm/vm.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))

/*
 * Some page of VMM memory that holds decoded code of some vCPU. Writes to it take the slow path (no vCPU has a write tag
 * for it); one that meets a code chunk moves version on, and blocks made under another version compare their bytes again
 * before they run. Keyed by hva, so that two guest addresses of one page agree. Lives as long as the VM.
 */
struct code_page {
	u64 hva;		/* c */
	struct code_page *next;	/* c: hash chain */
	u32 version;		/* a */
	u32 slow_writes;	/* a: writes to it that met no code since it was last armed */
	u64 chunks;		/* a: bit per 64 bytes that hold code; 0: it is plain data now */
};

/* Records are handed out from pages of them. */
struct code_records {
	struct code_records *next;
	u32 used;
	struct code_page page[400];
};

#define CODE_HASH_BITS 12

struct soft_vm {
	u64 code_epoch;		/* a: moves with every version of every page and every vCPU's epoch */
	struct host_mutex lock;	/* insertion into code[] */
	struct code_page *code[1u << CODE_HASH_BITS]; /* r */
	struct code_records *records;	/* (lock) */
};

/* A block's version and epoch once more, near its translation. */
struct block_stamp {
	u64 version, epoch;
};

struct block {
	u64 gpa;
	u32 key;		/* code size and other decoding inputs: block_key() */
	u32 version;		/* of page, when the bytes were last compared */
	u64 epoch;		/* soft_vcpu.epoch then */
	u64 checked;		/* soft_vm.code_epoch at the last look at version and epoch: nothing moved since */
	struct code_page *page;	/* of the first byte */
	const u8 *host;		/* the code in VMM memory; NULL: out of use, though jumps may still point here */
	struct block *next;	/* hash chain */
	u16 len;		/* bytes */
	u16 nr;			/* instructions, the end marker not counted */
	bool spans;		/* its single instruction reaches into the next page: compared every time */
	u8 *bytes;		/* copy of the code */
	u32 heat;		/* executions by the interpreter */
	const u8 *code;		/* its translation, NULL: none */
	struct block_stamp *stamp; /* what the translation looks at at its entry */
	u16 *code_offset;	/* of each instruction in the translation, and of its end */
	struct x86_insn insn[];
};

#define JUMP_BITS 13
/* From linear RIP straight to a block; void when its generation is. */
struct jump {
	u64 rip;
	u32 key;
	u32 generation;
	bool global;
	struct block *block;
};

#define SOFT_CONTEXTS X86_TLB_CONTEXTS

#define FETCH_BITS 10
struct fetch_entry {
	u64 tag;		/* linear page, + 1 if for CPL 3; ~0: none */
	u64 gpa;
	const u8 *host;
	bool global;
};

#define BLOCK_HASH_BITS 14
#define BLOCK_ARENA (64u << 20)
#define BLOCK_MAX_INSNS 32

/* Which entries of a set are in use; others are known to be empty. */
struct tlb_use {
	u64 local[X86_TLB_SIZE / 64], global[X86_TLB_SIZE / 64];
};

/* An address space that the TLB remembers. */
struct tlb_space {
	u16 pcid;
	bool made;		/* its sets' entries are initialized */
	bool taken;		/* it stands for pcid */
	bool stale;		/* all but global pages is void: dropped when it is entered */
	u64 left;		/* tlb.moves when it was left */
};

#define TLB_LARGE_BITS 16

struct soft_tlb {
	u64 moves;		/* changes of address space */
	struct tlb_space space[SOFT_CONTEXTS];
	struct tlb_use use[X86_TLB_SETS];
	u64 large[(1u << TLB_LARGE_BITS) / 64]; /* bit by hash of the areas of which a large page may be in the TLB */
	struct x86_walk_cache walk;
};

struct jit;

struct soft_vcpu {
	struct soft_vm *vm;
	struct vcpu_stat *stat;
	struct jit *jit;		/* NULL: the interpreter alone */
	const struct x86_insn *insn;	/* the one being executed; for faults of the host */
	u64 epoch;			/* moves when memory may have been written behind our back */
	unsigned context;		/* block_enter_context() */
	u32 generation[2];		/* of jump entries: of non-global, of global pages */
	u64 flushes;			/* of all blocks: no pointer to one outlives a change */
	u64 slots_generation[VM_ADDRESS_SPACES];
	struct code_page *pinned;	/* the instruction writes code through a pin: its version moves again after it */
	bool single;			/* of the block just found only the first instruction may run */
	bool debug_exit;		/* the instruction asked for KVM_EXIT_DEBUG */
	u8 *arena;			/* blocks; all thrown away when full */
	size_t arena_used;
	struct soft_tlb tlb;
	struct fetch_entry fetch[1u << FETCH_BITS];
	struct block *hash[1u << BLOCK_HASH_BITS];
	struct jump jump[1u << JUMP_BITS];
};

static inline struct soft_vcpu *soft_of(struct x86_cpu *cpu)
{
	return vcpu_of(cpu)->engine;
}

/* ---- tlb.c --------------------------------------------------------------------------------------------------- */

extern const struct x86_mem_ops soft_mem_ops;
void soft_tlb_init(struct x86_cpu *cpu);
void soft_tlb_flush(struct x86_cpu *cpu, bool keep_global);
/* Takes away write rights to the page at hva from all entries: code is being decoded there. */
void soft_tlb_protect(struct x86_cpu *cpu, u64 hva);
/* Host address of the RAM or ROM behind gpa, NULL if it is MMIO. */
const u8 *soft_ram(struct x86_cpu *cpu, u64 gpa, struct memslot **slot);

/* ---- codepage.c ------------------------------------------------------------------------------------------------ */

int soft_vm_create(struct vm *vm);
void soft_vm_destroy(struct vm *vm);
/* The record of the page at hva, NULL if it never held code. Any thread. */
struct code_page *code_page_find(struct vm *vm, u64 hva);
/* Marks [offset, offset + len) of the page as code and withdraws write tags; NULL without memory. */
struct code_page *code_page_arm(struct vcpu *vcpu, u64 hva, unsigned offset, unsigned len);
/* Whether all of [offset, offset + len) is still marked as code. */
bool code_page_holds(const struct code_page *page, unsigned offset, unsigned len);

/* Bytes under decoded code may have changed: blocks look at their page's version and their vCPU's epoch again. */
static inline void code_moved(struct soft_vm *vm)
{
	atomic_add(&vm->code_epoch, 1);
}

/* A write of [offset, offset + size) within the page is about to happen. */
void code_page_write(struct vcpu *vcpu, struct code_page *page, unsigned offset, unsigned size);

static inline bool code_page_armed(const struct code_page *page)
{
	return page && atomic_read(&page->chunks);
}

/* ---- block.c ------------------------------------------------------------------------------------------------------ */

/* What block_lookup came to when it did not find or make a block. */
enum block_miss {
	BLOCK_FAULT = 1,	/* cpu->fault: #PF, #GP, #UD of the fetch */
	BLOCK_NOT_MEMORY,	/* code is fetched from MMIO or a hole */
};

/* The block at RIP, valid to run now; NULL with *miss. */
struct block *block_lookup_slow(struct vcpu *vcpu, enum block_miss *miss);
static inline u64 code_linear_rip(const struct x86_cpu *cpu)
{
	u64 linear = cpu->seg_base[X86_CS] + x86_rip(cpu);

	return cpu->code_bits == 64 ? linear : linear & 0xffffffffull;
}

/* Code size and privilege: what a translation of RIP to a block depends on besides the address space. */
static inline u32 block_key(const struct x86_cpu *cpu)
{
	return cpu->code_bits | (cpu->cpl == 3 ? 0x100u : 0);
}

static inline struct jump *block_jump(struct soft_vcpu *soft, u64 linear)
{
	return &soft->jump[(linear ^ linear >> JUMP_BITS) & (ARRAY_SIZE(soft->jump) - 1)];
}

static inline struct block *block_lookup(struct vcpu *vcpu, enum block_miss *miss)
{
	const struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	u64 linear = code_linear_rip(cpu);
	const struct jump *j = block_jump(soft, linear);

	if (likely(j->rip == linear && j->key == block_key(cpu) && j->generation == soft->generation[j->global] &&
		   j->block->checked == atomic_read(&soft->vm->code_epoch) && cpu->code_bits == 64)) {
		soft->single = false;
		return j->block;
	}
	return block_lookup_slow(vcpu, miss);
}

/*
 * The address space that code is fetched through from now on: one of SOFT_CONTEXTS that tlb.c tells apart. What was
 * found in another one is kept for its return; fresh: what was found under this number before is void, but for global
 * pages, which are the same in all of them.
 */
void block_enter_context(struct soft_vcpu *soft, unsigned context, bool fresh);
/* Everything found in the current context is void; without keep_global everything, in all of them. */
void block_flush_jumps(struct soft_vcpu *soft, bool keep_global);
void block_flush_all(struct soft_vcpu *soft);
/* The page at gva: in the current context, and if it is global in all. */
void block_fetch_flush_page(struct soft_vcpu *soft, u64 gva);

/* ---- step.c, run.c ---------------------------------------------------------------------------------------------------- */

/* What the loop does next: go on, or leave with *exit. */
enum soft_next { SOFT_ON, SOFT_LEAVE };

/* The instruction at insn (of the block that begins at RIP) came to r: moves RIP, delivers faults. */
enum soft_next soft_retire(struct vcpu *vcpu, const struct x86_insn *insn, enum x86_result r, enum engine_exit *exit);
/* Whether the next instruction must go through soft_step(). */
static inline bool soft_must_step(const struct x86_cpu *cpu)
{
	return (cpu->rflags & (X86_TF | X86_RF)) | cpu->shadow | (cpu->guest_debug != 0) | (cpu->dr7 & 0xff);
}

enum soft_next soft_step(struct vcpu *vcpu, enum engine_exit *exit);
/* INT3 with KVM_GUESTDBG_USE_SW_BP is an exit. */
enum x86_result soft_exec_int3(struct x86_cpu *cpu, const struct x86_insn *insn);
enum soft_next soft_deliver_fault(struct vcpu *vcpu, enum engine_exit *exit);
enum soft_next soft_deliver_trap(struct vcpu *vcpu, u64 dr6, enum engine_exit *exit);

#endif
