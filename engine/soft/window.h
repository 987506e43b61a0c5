/* SPDX-License-Identifier: GPL-2.0-only */
/* Windows: guest memory mapped where translated user code reaches it without asking the TLB (window.c has the essay). */
#ifndef ANYKVM_ENGINE_SOFT_WINDOW_H
#define ANYKVM_ENGINE_SOFT_WINDOW_H

#include "engine/soft/soft.h"

/* From struct x86_cpu to the host's GS base while translated code may run: to where WINDOW_GUARD begins. */
#define GS_BIAS ((s32)((sizeof(struct vcpu) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)))
/* What a 32-bit address relative to GS can reach: nothing but the table is there. */
#define WINDOW_GUARD ((1ull << 32) + PAGE_SIZE)
/*
 * Entry n of the table is at n * 8 + WINDOW_TABLE_USER modulo 2^32 from the GS base: what to add to linear addresses of the
 * n-th 4 GiB.
 */
#define WINDOW_TABLE_USER 0x100000

/* With vcpu->engine and its translator made: sets soft->windows, or leaves it NULL. */
void window_create(struct vcpu *vcpu);
void window_destroy(struct soft_vcpu *soft);
/* The vCPU idles: what is kept just to be used again goes. */
void window_release(struct soft_vcpu *soft);
/* Around the execution of guest code on this thread; the second when host faults are caught. */
void window_enter(struct soft_vcpu *soft);
void window_begin(struct soft_vcpu *soft);
void window_leave(struct soft_vcpu *soft);
/* Guest code has been left for something that happened outside. */
void window_tick(struct soft_vcpu *soft);

/* What the table says of a linear address. [run] */
u64 window_delta(struct x86_cpu *cpu, u64 linear);
/*
 * After an access of translated code that has missed, and was done by its handler: the next one will hit; false: that
 * cannot be. The block that is executing stays. [run]
 */
bool window_fill(struct x86_cpu *cpu, u64 gva, unsigned size, bool write);

/* The guest goes on in user code behind a page fault (soft_vcpu.awaited): it has the page now, as a rule. [run] */
void window_fill_awaited(struct soft_vcpu *soft);

/* tlb.c: nothing of this is used unseen any more. From the address space `from` to the current one; fresh: it is void. */
void window_switch(struct soft_vcpu *soft, unsigned from, bool fresh);
void window_flush_space(struct soft_vcpu *soft, unsigned n);
void window_flush_all(struct soft_vcpu *soft);
void window_flush_page(struct soft_vcpu *soft, u64 gva);
/* Code is being decoded in the page at hva. */
void window_protect(struct soft_vcpu *soft, u64 hva);
/* Slots have changed: the memory may be gone soon. */
void window_drop_all(struct soft_vcpu *soft);

#endif
