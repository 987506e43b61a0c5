/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decoded code: what codepage.c, blockpage.c, block.c and the translator share.
 *
 * Locks: c constant; L soft_vm.lock; a atomic; r published with release, read with acquire. What bears no letter belongs
 * to one vCPU's thread. Guest memory is not touched with soft_vm.lock held: such an access may unwind to soft_run().
 */
#ifndef ANYKVM_ENGINE_SOFT_BLOCK_H
#define ANYKVM_ENGINE_SOFT_BLOCK_H

#include "kvm/vm.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))

#define CODE_CHUNK 64u /* bytes for which one bit says whether they hold code */
#define CODE_CHUNKS (PAGE_SIZE / CODE_CHUNK)

struct block_page;

/* Where a page of code is in linear memory, under some number of soft.h. */
struct code_place {
	u64 number, linear;
};

#define CODE_PLACES 16 /* by context and class */

/*
 * Some page of VMM memory that holds decoded code of some vCPU (codepage.c). Keyed by hva, so that two guest addresses of
 * one page agree. Lives as long as the VM.
 */
struct code_page {
	u64 hva;		/* c */
	u64 chunks;		/* a, changed under L: bit per chunk that holds code of some user; 0: plain data now */
	u64 armings;		/* a, changed under L: how often chunks ceased to be 0 */
	u64 guarded;		/* L: the arming for which no vCPU has a write tag any more */
	u32 slow_writes;	/* a: writes that met no code since it was last armed */
	struct block_page *users; /* r, changed under L */
};

/* Open addressing by hva; insert only. A table that grows is replaced, and kept for those who still look into it. */
struct code_table {
	struct code_table *older;
	unsigned bits;
	u32 used;		/* L */
	struct code_page *slot[]; /* r */
};

struct code_records {
	struct code_records *next;
	u32 used;
	struct code_page page[400];
};

struct soft_vm {
	struct host_mutex lock;	/* a leaf */
	struct code_table *table;	/* r, changed under L */
	struct code_records *records;	/* L */
};

struct block;

/*
 * A vCPU's view of a code page: the bytes that its blocks were made of, and the blocks. In chunks that hold code, shadow is
 * what memory was when it was last looked at; no block stays whose bytes differ from it.
 */
struct block_page {
	struct block_page *next;	/* of the vCPU's, by hash */
	u64 hva;			/* the record's */
	struct code_page *record;
	struct soft_vcpu *owner;	/* c */
	struct block_page *next_user;	/* L: of the record's */
	struct block_page *next_posted;	/* L: of the owner's */
	bool posted;			/* L: somebody has written its code, or taken the page for data */
	bool devices;			/* code was fetched through a mapping that the guest may write to */
	u64 chunks;			/* a: in shadow */
	u64 arming;			/* record->armings when armed last; 0: it is not, nothing leads to its blocks */
	u64 compared;			/* soft_vcpu.epoch at the last comparison */
	bool many_places;		/* it has been at two linear addresses at once */
	u64 home;			/* linear address, + 1, where its blocks' translations run; 0: there are none ... */
	bool homeless;			/* ... or they may run anywhere */
	struct code_place place[CODE_PLACES];
	struct block *first[CODE_CHUNKS]; /* by chunk of their first byte */
	struct block *spanning;	/* of the page before: they end in this one's first chunk */
	u8 shadow[PAGE_SIZE];
};

/* What finding a block and entering it looks at is in its first cache line, and blocks are dense. */
struct block {
	struct block_page *page; /* NULL: out of use */
	struct block *next;	/* of those that begin in one chunk; of free ones of one size ... */
	const u8 *code;		/* its translation, NULL: none */
	const u8 *inner;	/* the same, behind its look at cpu->stop */
	struct x86_insn *insn;
	u64 rip;
	u32 key;		/* code size and other decoding inputs: block_key() */
	u32 heat;		/* executions by the interpreter */
	u32 incoming;		/* the translator's links that lead here: index of the first, + 1 */
	u16 offset;		/* of the first byte in its page */
	u16 len;		/* bytes */
	u16 nr;			/* instructions, the end marker not counted */
	u16 units;		/* of its instructions' memory */
	bool entered;		/* rip has been a linear address that leads here ... */
	bool many_rips;		/* ... and there have been others */
	bool spans;		/* its single instruction reaches into the next page: what lies there is tail ... */
	u8 tail[X86_MAX_INSN_LEN];
	struct block_page *tail_page; /* ... of this page */
	struct block *next_spanning; /* ... whose list leads back by this */
	u64 home;		/* page.home if its translation is good there alone, or 0 */
	struct jit_piece *pieces; /* of its translation */
	u32 probed;		/* instructions, by number, whose memory the translation does not reach by windows */
} __attribute__((aligned(64)));

/* Memory that is used part by part. Once each has been in use, what is in one of them goes to make room. */
struct parts {
	u32 nr, begun;
	u32 now;	/* in use at present */
	u32 lot;
};

/* Goes on to the part that has not been begun for longest, which the caller empties. */
static inline void parts_next(struct parts *p)
{
	p->begun += p->begun < p->nr;
	p->now = (p->now + 1) % p->nr;
}

/* The same, to any but the last by lot: of what is gone round in, and is too much, something will be found again. */
static inline void parts_draw(struct parts *p)
{
	if (p->begun < p->nr || p->nr == 1) {
		parts_next(p);
		return;
	}
	p->lot = p->lot * 1664525 + 1013904223;
	p->now = (p->now + 1 + (u32)((u64)p->lot * (p->nr - 1) >> 32)) % p->nr;
}

/* All are empty. */
static inline void parts_reset(struct parts *p)
{
	p->begun = 1;
	p->now = 0;
}

/* ---- codepage.c ------------------------------------------------------------------------------------------------ */

int soft_vm_create(struct vm *vm);
void soft_vm_destroy(struct vm *vm);
/* The record of the page at hva, NULL if it never held code. Any thread. */
struct code_page *code_page_find(struct vm *vm, u64 hva);
/* The same, made if need be; NULL without memory. */
struct code_page *code_page_get(struct vm *vm, u64 hva);
void code_page_add_user(struct soft_vm *soft, struct block_page *user);
void code_page_remove_user(struct soft_vm *soft, struct block_page *user);
/*
 * Marks chunks of the user's page as code. When it returns nobody writes to the page unnoticed. What the caller knows of
 * slots and translations may be void then: it may have had to serve other vCPUs.
 */
void code_page_arm(struct vcpu *vcpu, struct block_page *user, u64 chunks);
/* The user holds less code than it did: the record holds what any user still does, but never nothing. */
void code_page_shrink(struct soft_vm *soft, struct code_page *page);
/* [offset, offset + size) of the page has just been written. */
void code_page_written(struct vcpu *vcpu, struct code_page *page, unsigned offset, unsigned size);
/* It may have been: all users look. */
void code_page_doubt(struct soft_vm *soft, const struct code_page *page);

static inline bool code_page_armed(const struct code_page *page)
{
	return page && atomic_read(&page->chunks);
}

static inline u64 code_chunks(unsigned offset, unsigned len)
{
	unsigned first = offset / CODE_CHUNK, last = (offset + len - 1) / CODE_CHUNK;

	return (~0ull << first) & (~0ull >> (63 - last));
}

/* ---- blockpage.c ------------------------------------------------------------------------------------------------- */

/* The vCPU's view of the page at hva, made if need be; NULL without memory. */
struct block_page *block_page_get(struct vcpu *vcpu, u64 hva);
/* Its view if it has one. */
struct block_page *block_page_find(struct soft_vcpu *soft, u64 hva);
/* Voids what memory no longer agrees with. True: there was something. */
bool block_page_compare(struct soft_vcpu *soft, struct block_page *page, u64 chunks);
/* Nothing leads to its blocks any more; they run again once they have been armed and compared. */
void block_page_close(struct soft_vcpu *soft, struct block_page *page);
/* What others have posted is looked at; slots_changed: not, as memory may be gone. */
void block_take_posts(struct soft_vcpu *soft, bool slots_changed);
/* The vCPU has no code of any page any more; none of its blocks is in use. */
void block_pages_release(struct soft_vcpu *soft);

#endif
