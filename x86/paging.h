/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest page tables: the walk of all formats (AMD APM vol. 2 chapter 5, Intel SDM vol. 3 chapter 4). */
#ifndef ANYKVM_X86_PAGING_H
#define ANYKVM_X86_PAGING_H

#include "x86/cpu.h"

/* Entries of all levels; those with 4 bytes have the lower ones. */
#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G BIT64(8)
#define PTE_NX BIT64(63)
#define PTE_ADDR 0x000ffffffffff000ull
#define PTE_PKEY_SHIFT 59

/* What a successful walk found; rights already take CR0.WP, SMEP, SMAP, NX and PKU into account for the asked access. */
struct x86_translation {
	u64 gpa;	/* of the asked byte */
	u64 page_size;	/* 4 KiB, 2 or 4 MiB, 1 GiB: the smallest level's page */
	bool writable;	/* W through all levels (before CR0.WP) */
	bool user;	/* U through all levels */
	bool nx;	/* NX at any level, with EFER.NXE */
	bool global;
	bool dirty;	/* D set in the leaf (after this walk) */
	u8 pkey;
};

/*
 * Translates gva for access (X86_ACCESS_*), sets A and D bits as hardware does. X86_OK, or X86_FAULT with #PF in
 * cpu->fault. Paging off: identity. With X86_ACCESS_PROBE and set_ad false nothing in guest memory changes (KVM_TRANSLATE).
 */
enum x86_result x86_walk(struct x86_cpu *cpu, u64 gva, unsigned access, bool set_ad, struct x86_translation *t);
/* A TLB entry is invalidated: so is what cpu->walk_cache remembers. */
void x86_walk_forget(struct x86_cpu *cpu);
/* Whether a translation's rights allow access at the cpu's current state; for entries found by walks for other accesses. */
bool x86_translation_allows(const struct x86_cpu *cpu, const struct x86_translation *t, unsigned access);
/* Loads the PDPTRs from CR3 (PAE paging). X86_FAULT (#GP) when reserved bits are set. */
enum x86_result x86_load_pdptrs(struct x86_cpu *cpu, u64 cr3);

#endif
