/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The software processor: what its files share.
 *
 *	run.c		the engine's operations and the instruction loop
 *	step.c		one instruction at a time: TF, shadows, breakpoints, guest debug
 *	block.c		decoded code, keyed by guest-physical address and mode
 *	blockroom.c	the memory that it takes
 *	blockpage.c	which blocks lie in a page, and of what bytes they were made
 *	codepage.c	which pages hold decoded code: writes to them are noticed
 *	tlb.c		the software TLB, and all accesses that miss it
 *	window.c	hot address spaces' memory, mapped where translated code reaches it without looking
 *	native.c ...	instructions that run as themselves
 *	lockstep.c	interpreter and translation compared, for tests
 *	translate.c ...	warm blocks as native code (jit_*.c)
 *
 * Everything here but struct soft_vm belongs to the vCPU's thread.
 */
#ifndef ANYKVM_ENGINE_SOFT_H
#define ANYKVM_ENGINE_SOFT_H

#include "engine/engine.h"
#include "engine/soft/block.h"
#include "host/user/twin.h"
#include "kvm/vm.h"
#include "x86/cpu.h"
#include "x86/insn.h"

/*
 * What is found by linear address is stamped with a number that says under which state of the machine: it holds while that
 * is the number of its class. Numbers are never used twice.
 */
enum block_class { BLOCK_KERNEL, BLOCK_USER, BLOCK_CLASSES };

struct block_numbers {
	u64 map[BLOCK_CLASSES];	 /* of translations of code pages */
	u64 link[BLOCK_CLASSES]; /* of ways to blocks: moves with map, and when blocks must be looked at before they run */
	u64 expiry;		/* soft_vcpu.expiry when link was given */
};

/* So many entries are in use at first, and at most. */
#define JUMP_BITS_FIRST 12
#define JUMP_BITS 16
/* From linear RIP straight to a block. */
struct jump {
	u64 rip;
	u64 number;
	struct block *block;
	u32 key;
} __attribute__((aligned(32)));

#define SOFT_CONTEXTS X86_TLB_CONTEXTS

#define FETCH_BITS 13
struct fetch_entry {
	u64 linear;		/* of the page */
	u64 number;
	struct block_page *page;
	bool devices;		/* the guest may write to it: it may have had it read from a disk */
};

#define BLOCK_PAGE_BITS 13
#define BLOCK_PAGES 16384u
#define BLOCK_UNIT 64u
#define BLOCK_MAX_INSNS 32
#define BLOCK_MAX_BYTES 512u
#define BLOCK_MAX_UNITS ((BLOCK_MAX_INSNS + 1) * sizeof(struct x86_insn) / BLOCK_UNIT + 1)
#define BLOCK_FETCHED_BITS 18
#define BLOCK_FOUND_BITS 16

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

/* A page of devices' registers, as an access through set has found it. */
struct tlb_device {
	u64 page, gpa;
	u64 flushes;		/* soft_vcpu.flushes then: holds until that moves, which is sooner than it must */
	const struct x86_tlb_entry *set;
	bool written;		/* by a write, for which a page needs more */
};
#define TLB_DEVICES 4

#define TLB_LARGE_BITS 16
#define TLB_WRITABLE_BITS 16

struct soft_tlb {
	u64 moves;		/* changes of address space */
	struct tlb_space space[SOFT_CONTEXTS];
	unsigned sets;		/* those from here on have never held anything */
	struct tlb_use use[X86_TLB_SETS];
	u64 large[(1u << TLB_LARGE_BITS) / 64]; /* bit by hash of the areas of which a large page may be in the TLB */
	u64 writable[(1u << TLB_WRITABLE_BITS) / 64]; /* bit by hash of the host's pages that an entry may let write to */
	struct tlb_device device[TLB_DEVICES];
	struct x86_walk_cache walk;
};

struct jit;
struct windows;

/* Memory that holds code, and that the instruction in progress writes to by its host address. */
#define SOFT_PROTECTS 8

#define SOFT_PINS 16
struct pinned {
	struct code_page *page;
	u16 offset, size;
};

#define BLOCK_PARTS_MAX 128
struct block_part {
	u32 bytes, blocks;
};

struct soft_vcpu {
	struct soft_vm *vm;
	struct vcpu_stat *stat;
	struct lockstep *lockstep;	/* NULL: off */
	struct jit *jit;		/* NULL: the interpreter alone */
	struct windows *windows;	/* NULL: none (window.h) */
	u64 syscalls;			/* that translated code has made */
	bool direct;			/* user code of the current address space is to run directly (direct.h) */
	struct host_twin_gate gate;	/* to where it does */
	u64 awaited;			/* linear address of a page fault of code that runs through windows; 0: none */
	const struct x86_insn *insn;	/* the one being executed; for faults of the host */
	struct x86_cpu *cpu;
	/* ways to blocks */
	u64 numbers;			/* the last one given */
	bool worn;			/* the low halves of numbers begin anew: nothing that bears one may stay */
	struct block_numbers now;
	struct block_numbers kept[SOFT_CONTEXTS]; /* of the others */
	unsigned context;		/* block_enter_context() */
	u64 expiry;			/* times that the ways of all address spaces became void */
	bool kernel_local;		/* some supervisor code is not in a global page */
	bool at_last;			/* jit_exec_last() runs ... */
	bool selected;			/* ... and the numbers or the context became others meanwhile */
	u64 flushes;			/* times that what was fetched became void: no pointer to it outlives a change */
	u32 nr_fetched;
	u64 fetched[(1u << BLOCK_FETCHED_BITS) / 64]; /* linear pages, by hash, of which something may be known */
	/* what blocks were made of */
	u64 epoch;			/* moves when memory may have been written behind our back */
	bool devices;			/* there are ways to code in pages that the guest may write to */
	const struct block_page *last_page; /* without paging: the one that was run from */
	struct block_page *posts;	/* a, changed under L: what other vCPUs have written */
	u64 protect[SOFT_PROTECTS];	/* L: pages of which no entry may keep a write tag ... */
	u32 nr_protect;			/* L: ... their number, or it is more of them: any page */
	struct block_page *looked_at;	/* a host fault came in between */
	struct pinned pinned[SOFT_PINS]; /* written by the instruction: to be looked at when it is over */
	unsigned nr_pinned;
	bool single;			/* of the block just found only the first instruction may run */
	bool debug_exit;		/* the instruction asked for KVM_EXIT_DEBUG */
	u64 slots_generation[VM_ADDRESS_SPACES];
	struct block_page *pages;	/* BLOCK_PAGES of them */
	u32 next_page;			/* to be given out, or evicted */
	struct block draft;		/* a block that is being made ... */
	struct x86_insn draft_insn[BLOCK_MAX_INSNS + 1]; /* ... of these */
	struct parts parts;		/* of the room for blocks: each has some of ... */
	u8 *arena;			/* ... their instructions' memory, committed as it is used ... */
	struct block *blocks;		/* ... and of these ... */
	struct block_part whole, part[BLOCK_PARTS_MAX];	/* ... so much, and so much in use */
	struct soft_tlb tlb;
	struct block *free[BLOCK_MAX_UNITS + 1]; /* by size */
	struct block_page *page_hash[1u << BLOCK_PAGE_BITS];
	u32 jump_mask;			/* of the entries in use ... */
	u32 displaced_jumps;		/* ... of which so many made room for others while they were good, since there are that many */
	struct block *found[1u << BLOCK_FOUND_BITS]; /* by hash of page, offset and key; where one is does not change */
	struct fetch_entry fetch[1u << FETCH_BITS];
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
/* A flush that leaves no memory in use for what was there. */
void soft_tlb_release(struct x86_cpu *cpu);
/* Takes away write rights to the page at hva from all entries: code is being decoded there. */
void soft_tlb_protect(struct x86_cpu *cpu, u64 hva);
/* The same for the pages that other vCPUs have posted. */
void soft_protect(struct vcpu *vcpu);
/* The page at gva is known to be of a device's registers, and such an access to be allowed. */
bool soft_tlb_device(struct x86_cpu *cpu, u64 gva, unsigned access);
/* Host address of the RAM or ROM behind gpa, NULL if it is MMIO. */
const u8 *soft_ram(struct x86_cpu *cpu, u64 gpa, struct memslot **slot);

/* ---- block.c ------------------------------------------------------------------------------------------------------ */

/* What block_lookup came to when it did not find or make a block. */
enum block_miss {
	BLOCK_FAULT = 1,	/* cpu->fault: #PF, #GP, #UD of the fetch */
	BLOCK_NOT_MEMORY,	/* code is fetched from MMIO or a hole */
};

/*
 * Whether this class's code in page is, under its present number, found at this linear address alone. Then a direct branch to
 * another page has one target as long as the number is the current one.
 */
bool block_page_is_at(const struct soft_vcpu *soft, const struct block_page *page, enum block_class class, u64 linear);
/* The block at RIP, valid to run now; NULL with *miss. */
struct block *block_lookup_slow(struct vcpu *vcpu, enum block_miss *miss);
static inline u64 code_linear_rip(const struct x86_cpu *cpu)
{
	u64 linear = cpu->seg_base[X86_CS] + x86_rip(cpu);

	return cpu->code_bits == 64 ? linear : linear & 0xffffffffull;
}

/*
 * Code size and privilege: what a translation of RIP to a block depends on besides the address space; whether its
 * translation reaches memory through windows (window.h); whether that of a kernel is made for SMAP, of which only speed
 * depends; whether 32-bit code runs in flat segments, as its translation must.
 */
#define BLOCK_KEY_USER 0x100u
#define BLOCK_KEY_WINDOWS 0x200u
#define BLOCK_KEY_FLAT 0x400u
#define BLOCK_KEY_SMAP 0x800u
static inline u32 block_key(const struct x86_cpu *cpu)
{
	u32 user = cpu->cpl == 3 ? BLOCK_KEY_USER : 0;

	if (likely(cpu->code_bits == 64))
		return 64 | user | (user ? cpu->user_key : cpu->cr4 & X86_CR4_SMAP ? BLOCK_KEY_SMAP : 0);
	return cpu->code_bits | user | (cpu->flat32 ? BLOCK_KEY_FLAT : 0);
}

static inline enum block_class block_class(u32 key)
{
	return key & BLOCK_KEY_USER ? BLOCK_USER : BLOCK_KERNEL;
}

static inline struct jump *block_jump(struct soft_vcpu *soft, u64 linear)
{
	return &soft->jump[(linear ^ linear >> JUMP_BITS) & soft->jump_mask];
}

static inline struct block *block_lookup(struct vcpu *vcpu, enum block_miss *miss)
{
	const struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	u64 linear = code_linear_rip(cpu);
	const struct jump *j = block_jump(soft, linear);
	u32 key = block_key(cpu);

	if (likely(j->rip == linear && j->key == key && j->number == soft->now.link[block_class(key)] &&
		   (cpu->code_bits == 64 || cpu->flat32))) {
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
/* The page at gva: in the current context, and if it is global in all. */
void block_fetch_flush_page(struct soft_vcpu *soft, u64 gva);
/* All ways to blocks are void, in all contexts; translations of pages stay. */
void block_expire_links(struct soft_vcpu *soft);
/* Memory may have been written behind our back. */
void block_distrust(struct soft_vcpu *soft);
/* By a device that has told of it, which is not doubted for code that the guest may not write to. */
void block_distrust_devices(struct soft_vcpu *soft);
/* Out of use, its memory to be used again; nothing leads to it. If it is executing, X86_STOP_CODE must be set. */
void block_void(struct soft_vcpu *soft, struct block *b);

/* The table of ways to blocks has so many entries from now on; those elsewhere are not found again. */
static inline void block_size_jumps(struct soft_vcpu *soft, u32 mask)
{
	soft->jump_mask = mask;
	soft->displaced_jumps = 0;
}

/* ---- blockroom.c -------------------------------------------------------------------------------------------------- */

int block_create(struct soft_vcpu *soft);
void block_destroy(struct soft_vcpu *soft);
/* One with room for so many instructions. Others may be void then, and all ways to blocks. */
struct block *block_alloc(struct soft_vcpu *soft, unsigned nr_insns);
/* It is in no list any more. */
void block_free(struct soft_vcpu *soft, struct block *b);
/* Bytes that instructions take, at least. */
size_t block_room_used(const struct soft_vcpu *soft);
/* Something has been thrown away to make room, since the thread's processor time was start. */
void block_note_eviction(struct soft_vcpu *soft, u64 start);
void block_flush_all(struct soft_vcpu *soft);
/* The same, and the memory is given back; nothing is being executed. */
void block_release(struct soft_vcpu *soft);

/* ---- step.c, run.c ---------------------------------------------------------------------------------------------------- */

/* What the loop does next: go on, or leave with *exit. */
enum soft_next { SOFT_ON, SOFT_LEAVE };

/* The instruction at insn (of the block that begins at RIP) came to r: moves RIP, delivers faults. */
enum soft_next soft_retire(struct vcpu *vcpu, const struct x86_insn *insn, enum x86_result r, enum engine_exit *exit);
/* Whether the next instruction must go through soft_step(). */
static inline bool soft_must_step(const struct x86_cpu *cpu)
{
	return (cpu->rflags & X86_TF) | cpu->shadow | (cpu->guest_debug != 0) | (cpu->dr7 & 0xff);
}

enum soft_next soft_step(struct vcpu *vcpu, enum engine_exit *exit);
/* INT3 with KVM_GUESTDBG_USE_SW_BP is an exit. */
enum x86_result soft_exec_int3(struct x86_cpu *cpu, const struct x86_insn *insn);
enum soft_next soft_deliver_fault(struct vcpu *vcpu, enum engine_exit *exit);
enum soft_next soft_deliver_trap(struct vcpu *vcpu, u64 dr6, enum engine_exit *exit);

#endif
