/* SPDX-License-Identifier: GPL-2.0-only */
/* Between window.c (address spaces, the table) and window_map.c (what is mapped). */
#ifndef ANYKVM_ENGINE_SOFT_WINDOW_MAP_H
#define ANYKVM_ENGINE_SOFT_WINDOW_MAP_H

#include "engine/soft/soft.h"
#include "engine/soft/telling.h"
#include "host/user/fault.h"
#include "host/user/twin.h"

#define WINDOW_SIZE (1ull << 32)
#define WINDOW_STRIDE (2 * WINDOW_SIZE)
#define WINDOWS 64u		/* of a vCPU; number 0 is the hole */
#define WINDOW_ARENA ((2 * WINDOWS + 1) * WINDOW_SIZE)
#define WINDOW_AREAS 0x8000u	/* user mode's, of 4 GiB */

#define WINDOW_LEAVES 2048u	/* of a vCPU; number 0 is none */
#define WINDOW_LEAF_BITS 10
#define LEAF_PAGES 512u
#define LEAF_SIZE (1ull << 21)

/* What is mapped of 2 MiB of an address space: what one guest page table, or one large page, covers. */
struct window_leaf {
	u64 base;		/* linear address */
	u64 table;		/* guest-physical address of the page table, or of the large page */
	u64 above;		/* rights that the levels above it leave; of a large page: its own among them */
	bool nx;		/* a level above it forbids execution */
	bool large;
	bool twin;		/* mapped in the space's twin, at these very addresses; else in the window */
	u8 space, window;
	u16 next;		/* of the space's */
	u16 next_hash;
	u32 vmas;		/* host mappings that it may have come to */
	u64 mapped[LEAF_PAGES / 64], writable[LEAF_PAGES / 64];
	u64 executable[LEAF_PAGES / 64]; /* of those in twins that are not writable */
	u64 telling[LEAF_PAGES / 64]; /* have instructions that must not run there: executable only with breakpoints at these */
	u64 hopeless[LEAF_PAGES / 64]; /* have more of them than there are breakpoints */
	u64 gpa[LEAF_PAGES], host[LEAF_PAGES];
};

#define WINDOW_FREE 0u

struct window {
	u8 owner;		/* the space's number + 1, or WINDOW_FREE */
	u32 area;		/* linear address >> 32 */
	u64 low, high;		/* linear addresses between which something may be mapped */
};

#define SPARE_TWINS 4u
#define WINDOW_DOUBTS 16u
#define WINDOW_CREDIT 1000
#define WINDOW_WRITTEN_BITS 16

/* An address space of tlb.c's. */
struct window_space {
	bool hot;		/* its user code is to run through windows */
	bool open;		/* it is the current one, and the table leads to its windows */
	bool all_doubted;	/* what is mapped must be compared with the page tables before that ... */
	unsigned nr_doubts;	/* ... or just what is in these areas of LEAF_SIZE */
	u64 doubt[WINDOW_DOUBTS];
	u64 root;		/* CR3's address when it was current last */
	u32 ticks, ticks_wanted; /* interrupts that have hit it since it was cold; how many make it hot */
	int credit;		/* in pages: what it may cost to compare and to map again */
	u64 used;		/* windows.moves when it was left */
	u16 leaves;		/* the first */
	bool direct;		/* its user code is to run in its twin; then it is not hot */
	struct host_twin *twin;
	u64 breaks[HOST_TWIN_BREAKS]; /* where it stops before the instruction; 0: nowhere */
	unsigned next_break;	/* the one to be used next */
	int allowance;		/* what it may cost, in stops of the twin, before it rests */
	u32 crawls;		/* blocks in a row that could not run there */
	u32 rests;		/* times that this was too often lately */
	u32 wait;		/* ticks with few system calls before it is tried again */
};

struct windows {
	struct x86_cpu *cpu;
	struct soft_vcpu *soft;
	u64 *table;		/* entry 0 */
	u64 arena;
	bool always;		/* all user code runs through windows */
	bool ask;		/* all memory that can be mapped twice may be */
	bool no_twins;		/* the host does not let us have any, or nobody wants them */
	bool direct_always;	/* all spaces run directly that can */
	u32 refusals;		/* times that a twin could not run */
	struct host_twin *spare[SPARE_TWINS]; /* cleared ones */
	struct host_twin *xstate_in; /* that has the guest's x87 and vector state; NULL: it is here */
	bool lost;		/* a twin is gone with registers of the guest's */
	bool faulted;		/* the twin's last stop was for a fault */
	u8 xstate[4096] __attribute__((aligned(64)));
	int file;		/* that the guest's memory is a mapping of; -1: none */
	bool broken;		/* the host has failed us: all is left as it is, and the table leads nowhere */
	bool fill_ahead;	/* the current space has just become hot */
	u32 vmas_max;
	u32 processors;		/* of the host, counted beforehand: that uses vector registers, which are the guest's in a run */
	u64 moves;
	bool smm;		/* under which state of the processor pages were mapped ... */
	u64 apic_base;		/* ... in all spaces */
	u64 faults, syscalls;	/* vcpu_stat.pf_guest, soft_vcpu.syscalls at the last tick */
	struct host_fault_detour detour;
	u8 ready[2 * WINDOW_AREAS * sizeof(u64) / 4096]; /* pages of the table that can be accessed */
	struct window_space space[SOFT_CONTEXTS];
	struct window window[WINDOWS];
	u16 hash[1u << WINDOW_LEAF_BITS];
	u16 free_leaves, nr_leaves; /* the first to be used again; those ever used */
	u64 written[(1u << WINDOW_WRITTEN_BITS) / 64]; /* bits by hash of host pages that windows have ever written to */
	struct window_leaf leaf[WINDOW_LEAVES];
	struct telling_memory telling; /* behind all else: used by direct execution alone */
};

static inline u64 *window_written(struct windows *w, u64 host)
{
	return &w->written[host / PAGE_SIZE / 64 % ARRAY_SIZE(w->written)];
}

/* Host address of the first byte of the n-th window. */
static inline u64 window_start(const struct windows *w, unsigned n)
{
	return w->arena + WINDOW_SIZE + n * WINDOW_STRIDE;
}

/* window.c: the table leads to window n from now on if its space is open; to none, and never will. */
void window_lead(struct windows *w, unsigned n);
void window_break(struct windows *w);

/* window_map.c. The page at gva; false: it cannot be had. */
enum window_access { WINDOW_READ, WINDOW_WRITE, WINDOW_EXECUTE };
bool window_map_page(struct windows *w, unsigned space, u64 gva, enum window_access access);
/* Whatever the space's page tables have of user pages in use, up to a bound. */
void window_map_ahead(struct windows *w, unsigned space);
/* Whether the page at gva is mapped, and executable. */
bool window_executes(struct windows *w, unsigned space, u64 gva);
/* The pages that are executable for breakpoints' sake are so no more, until they are to be executed again. */
void window_give_up_breaks(struct windows *w, unsigned space);
/* Whether the guest's page tables lead to a page at gva. */
bool window_guest_maps(struct windows *w, u64 gva);
/* window.c: what is in doubt is right, as far as an access made just now can tell. */
void window_settle(struct windows *w);
/* Compares with the guest's page tables: all that is mapped of the space; what is in the area of LEAF_SIZE around gva. */
void window_check_space(struct windows *w, unsigned space);
void window_check_area(struct windows *w, unsigned space, u64 gva);
/* Nothing of it is mapped any more; if it is not open, its windows are free. */
void window_purge(struct windows *w, unsigned space);
/* Whether something may be mapped at gva. */
bool window_maps(struct windows *w, unsigned space, u64 gva);

#endif
