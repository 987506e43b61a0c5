/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A processor with flat physical memory and nothing else, for tests of the system side of x86/: guest
 * memory goes through x86_walk() at each access, without a TLB. Include it once in a test program.
 */
#ifndef ANYKVM_TESTS_MACHINE_H
#define ANYKVM_TESTS_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "x86/cpuid.h"
#include "x86/mem.h"
#include "x86/paging.h"
#include "x86/system.h"

#define RAM_SIZE (16u << 20)
#define PAGE_SIZE 4096u

static struct x86_cpu cpu;
static u8 ram[RAM_SIZE] __attribute__((aligned(4096)));
static unsigned flushes, kept_globals, irets, smm_changes, cpuid_changes;
static u64 apic_base;
static u64 mmio_gpa = ~0ull; /* a page that answers X86_EXIT */

/* ---- physical memory ------------------------------------------------------------------------- */

static void phys_read(struct x86_cpu *c, u64 gpa, void *dst, unsigned size)
{
	(void)c;
	memset(dst, 0xff, size);
	if (gpa < RAM_SIZE && size <= RAM_SIZE - gpa)
		memcpy(dst, ram + gpa, size);
}

static void phys_write(struct x86_cpu *c, u64 gpa, const void *src, unsigned size)
{
	(void)c;
	if (gpa < RAM_SIZE && size <= RAM_SIZE - gpa)
		memcpy(ram + gpa, src, size);
}

static bool phys_cmpxchg(struct x86_cpu *c, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	u64 now = 0;

	if (gpa >= RAM_SIZE)
		return false;
	phys_read(c, gpa, &now, size);
	if (now != old)
		return false;
	phys_write(c, gpa, &new_value, size);
	return true;
}

static inline void put(u64 gpa, u64 value, unsigned size)
{
	phys_write(&cpu, gpa, &value, size);
}

static inline u64 get(u64 gpa, unsigned size)
{
	u64 value = 0;

	phys_read(&cpu, gpa, &value, size);
	return value;
}

/* ---- guest-virtual memory -------------------------------------------------------------------- */

/* One page's share of an access; data may be NULL. */
static enum x86_result access_page(struct x86_cpu *c, u64 gva, u8 *data, unsigned size, unsigned access,
				   bool write)
{
	struct x86_translation t;
	enum x86_result r = x86_walk(c, gva, access, true, &t);

	if (r)
		return r;
	if ((t.gpa & ~0xfffull) == mmio_gpa && !write)
		return X86_EXIT;
	if (access & X86_ACCESS_PROBE)
		return X86_OK;
	if (write)
		phys_write(c, t.gpa, data, size);
	else
		phys_read(c, t.gpa, data, size);
	return X86_OK;
}

static enum x86_result access_all(struct x86_cpu *c, u64 gva, u8 *data, unsigned size, unsigned access,
				  bool write)
{
	unsigned first = (unsigned)(PAGE_SIZE - (gva & 0xfff));
	enum x86_result r;

	if (size <= first)
		return access_page(c, gva, data, size, access, write);
	r = access_page(c, gva, data, first, access | X86_ACCESS_PROBE, write);
	if (!r)
		r = access_page(c, gva + first, data + first, size - first, access, write);
	return r ? r : access_page(c, gva, data, first, access, write);
}

static enum x86_result mem_read(struct x86_cpu *c, u64 gva, void *dst, unsigned size, unsigned access)
{
	return access_all(c, gva, dst, size, access, false);
}

static enum x86_result mem_write(struct x86_cpu *c, u64 gva, const void *src, unsigned size, unsigned access)
{
	u8 copy[64];

	memcpy(copy, src, size);
	return access_all(c, gva, copy, size, access | X86_ACCESS_WRITE, true);
}

static enum x86_result mem_pin(struct x86_cpu *c, u64 gva, unsigned size, unsigned access, void **host)
{
	struct x86_translation t;
	enum x86_result r = x86_walk(c, gva, access, true, &t);

	*host = NULL;
	if (!r && (gva & 0xfff) + size <= PAGE_SIZE && t.gpa < RAM_SIZE)
		*host = ram + t.gpa;
	return r;
}

static void flush_page(struct x86_cpu *c, u64 gva)
{
	(void)c;
	(void)gva;
}

static void flush_all(struct x86_cpu *c, bool keep_global)
{
	(void)c;
	flushes++;
	kept_globals += keep_global;
}

static void flush_pcid(struct x86_cpu *c, unsigned pcid)
{
	(void)pcid;
	flush_all(c, true);
}

static void switch_space(struct x86_cpu *c, bool keep)
{
	if (!keep)
		flush_all(c, true);
}

static const struct x86_mem_ops mem_ops = {
	mem_read, mem_write, mem_pin, flush_page, flush_all, flush_pcid, switch_space,
};

/* ---- outside --------------------------------------------------------------------------------- */

static u64 env_disabled_quirks(struct x86_cpu *c)
{
	(void)c;
	return 0;
}

static void env_spinning(struct x86_cpu *c)
{
	(void)c;
}

static bool env_apic_enabled(struct x86_cpu *c)
{
	(void)c;
	return apic_base & BIT64(11);
}

static u64 env_cr8(struct x86_cpu *c)
{
	(void)c;
	return 5;
}

static void env_iret(struct x86_cpu *c)
{
	(void)c;
	irets++;
}

static void env_smm(struct x86_cpu *c)
{
	(void)c;
	smm_changes++;
}

static void env_cpuid(struct x86_cpu *c)
{
	(void)c;
	cpuid_changes++;
}

static const struct x86_env_ops env_ops = {
	.phys_read = phys_read,
	.phys_write = phys_write,
	.phys_cmpxchg = phys_cmpxchg,
	.apic_enabled = env_apic_enabled,
	.disabled_quirks = env_disabled_quirks,
	.spinning = env_spinning,
	.get_cr8 = env_cr8,
	.iret_done = env_iret,
	.smm_changed = env_smm,
	.cpuid_changed = env_cpuid,
};

/* ---- states ---------------------------------------------------------------------------------- */

/* Power-on, with every feature. */
static inline void machine_reset(void)
{
	memset(&cpu, 0, sizeof(cpu));
	memset(ram, 0, sizeof(ram));
	for (unsigned s = 0; s < X86_NR_TLBS; s++)
		for (unsigned i = 0; i < X86_TLB_SIZE; i++)
			cpu.tlbs[s][i].tag_read = cpu.tlbs[s][i].tag_write = (u64)(i ^ 1) << 12 | 1ull << 60;
	cpu.mem = &mem_ops;
	cpu.env = &env_ops;
	memset(cpu.features, 0xff, sizeof(cpu.features));
	cpu.maxphyaddr = 40;
	cpu.phys_reserved = ~0ull << 40;
	cpu.xcr0_supported = 0xe7;
	apic_base = 0xfee00900;
	mmio_gpa = ~0ull;
	flushes = kept_globals = irets = smm_changes = cpuid_changes = 0;
	x86_reset(&cpu, false);
}

/* Descriptors. flags: bits 55..52 (G, D, L, AVL); byte: P, DPL, S, type. */
static inline u64 descriptor(u32 base, u32 limit, unsigned flags, unsigned byte)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)byte << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

static inline u64 gate(u16 selector, u32 offset, unsigned byte, unsigned params)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)params << 32 | (u64)byte << 40 |
	       (u64)(offset >> 16) << 48;
}

#define G_D 0xc /* flags: 4 KiB granular, 32-bit */
#define G_L 0xa /* 4 KiB granular, 64-bit */

#define GDT_BASE 0x1000u
#define IDT_BASE 0x2000u
#define TSS_BASE 0x4000u
#define STACK0 0x9000u

/* The GDT that the states below use; further slots are the tests'. */
enum {
	SEL_NULL = 0, SEL_CS0 = 0x08, SEL_DS0 = 0x10, SEL_CS3 = 0x18 | 3, SEL_DS3 = 0x20 | 3, SEL_TSS = 0x28,
	SEL_CS64 = 0x38, SEL_CS64_3 = 0x40 | 3, SEL_FREE = 0x48,
};

static inline void set_descriptor(u16 selector, u64 value)
{
	put(GDT_BASE + (selector & ~7u), value, 8);
}

static inline u64 get_descriptor(u16 selector)
{
	return get(GDT_BASE + (selector & ~7u), 8);
}

static inline void make_gdt(void)
{
	set_descriptor(SEL_CS0, descriptor(0, 0xfffff, G_D, 0x9a));
	set_descriptor(SEL_DS0, descriptor(0, 0xfffff, G_D, 0x92));
	set_descriptor(SEL_CS3, descriptor(0, 0xfffff, G_D, 0xfa));
	set_descriptor(SEL_DS3, descriptor(0, 0xfffff, G_D, 0xf2));
	set_descriptor(SEL_TSS, descriptor(TSS_BASE, 0x1fff, 0, 0x8b));
	set_descriptor(SEL_CS64, descriptor(0, 0xfffff, G_L, 0x9a));
	set_descriptor(SEL_CS64_3, descriptor(0, 0xfffff, G_L, 0xfa));
	cpu.gdt = (struct x86_dtr) { GDT_BASE, 0xfff };
	cpu.idt = (struct x86_dtr) { IDT_BASE, 0xfff };
	put(TSS_BASE + 4, STACK0, 4);
	put(TSS_BASE + 8, SEL_DS0, 2);
	put(TSS_BASE + 102, 104, 2);
}

static inline void use_segment(unsigned sreg, u16 selector)
{
	x86_unpack_descriptor(get_descriptor(selector), 0, selector, &cpu.seg[sreg]);
	cpu.seg[sreg].type |= 1;
	x86_mode_update(&cpu);
}

/* 32-bit protected mode without paging at CPL 0 or 3. */
static inline void machine_protected(unsigned cpl)
{
	machine_reset();
	make_gdt();
	cpu.cr0 |= X86_CR0_PE;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		use_segment(i, cpl ? SEL_DS3 : SEL_DS0);
	use_segment(X86_CS, cpl ? SEL_CS3 : SEL_CS0);
	use_segment(X86_TR, SEL_TSS);
	cpu.seg[X86_LDTR] = (struct x86_seg) { .unusable = true };
	cpu.regs[X86_RSP] = 0x8000;
	cpu.regs[X86_REG_RIP] = 0x6000;
}

#define PML4 0x100000u
#define PTE_ALL 0x67u /* P, W, U, A, D */

/* Long mode, the first GiB mapped to itself with 2 MiB pages for everybody. */
static inline void machine_long(unsigned cpl)
{
	machine_protected(cpl);
	put(PML4, (PML4 + 0x1000) | PTE_ALL, 8);
	put(PML4 + 0x1000, (PML4 + 0x2000) | PTE_ALL, 8);
	for (u64 i = 0; i < 512; i++)
		put(PML4 + 0x2000 + i * 8, i << 21 | PTE_ALL | 0x80, 8);
	put(TSS_BASE + 4, STACK0, 8);
	put(GDT_BASE + SEL_TSS + 8, 0, 8);
	cpu.cr3 = PML4;
	cpu.cr4 |= X86_CR4_PAE;
	cpu.efer = X86_EFER_LME | X86_EFER_LMA;
	cpu.cr0 |= X86_CR0_PG;
	use_segment(X86_CS, cpl ? SEL_CS64_3 : SEL_CS64);
	x86_mode_update(&cpu);
}

static inline void assert_fault(enum x86_result r, unsigned vector, u32 error)
{
	assert_int_equal(r, X86_FAULT);
	assert_int_equal(cpu.fault.vector, vector);
	assert_int_equal(cpu.fault.error, error);
}

static inline void *at(u64 gpa)
{
	return ram + gpa;
}

#endif
