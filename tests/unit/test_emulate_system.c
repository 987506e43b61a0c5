// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interpreter's handlers where the host's processor cannot be asked: faults and what they leave
 * untouched, string instructions that stop half-way, port I/O, privilege, RFLAGS, fast system calls,
 * descriptor checks. Guest memory is one array, linear addresses are its indices; two of its pages are
 * special.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/kvm.h>

#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/system.h"

#define MEM_SIZE 0x10000u
#define RO_PAGE 0x4000u	  /* readable, writes fault */
#define MMIO_PAGE 0x6000u /* no host memory; reads count, the first may exit */
#define HOLE 0x8000u	  /* not mapped */
#define GDT 0x9000u

static struct x86_cpu cpu;
static u8 mem[MEM_SIZE];
static unsigned mmio_reads, mmio_writes, flushes;
static bool mmio_exits;

/* ---- the world ------------------------------------------------------------------------------- */

static bool overlaps(u64 gva, unsigned size, u64 page)
{
	return gva + size > page && gva < page + 4096;
}

static enum x86_result check(struct x86_cpu *c, u64 gva, unsigned size, unsigned access)
{
	bool write = access & X86_ACCESS_WRITE;

	if (gva + size > MEM_SIZE || overlaps(gva, size, HOLE) || (write && overlaps(gva, size, RO_PAGE)))
		return x86_raise_pf(c, gva, write ? X86_PFERR_W : 0);
	return X86_OK;
}

static enum x86_result fake_read(struct x86_cpu *c, u64 gva, void *dst, unsigned size, unsigned access)
{
	enum x86_result r = check(c, gva, size, access);

	if (!r && overlaps(gva, size, MMIO_PAGE)) {
		mmio_reads++;
		if (mmio_exits) {
			mmio_exits = false;
			return X86_EXIT;
		}
	}
	if (!r)
		memcpy(dst, mem + gva, size);
	return r;
}

static enum x86_result fake_write(struct x86_cpu *c, u64 gva, const void *src, unsigned size, unsigned access)
{
	enum x86_result r = check(c, gva, size, access | X86_ACCESS_WRITE);

	if (r || access & X86_ACCESS_PROBE)
		return r;
	if (overlaps(gva, size, MMIO_PAGE)) {
		mmio_writes++;
		cpu.stop |= X86_STOP_EXIT;
	}
	memcpy(mem + gva, src, size);
	return X86_OK;
}

static enum x86_result fake_pin(struct x86_cpu *c, u64 gva, unsigned size, unsigned access, void **host)
{
	enum x86_result r = check(c, gva, size, access);

	*host = r || overlaps(gva, size, MMIO_PAGE) ? NULL : mem + gva;
	return r;
}

static void fake_flush_page(struct x86_cpu *c, u64 gva)
{
	(void)c, (void)gva;
	flushes++;
}

static void fake_flush_all(struct x86_cpu *c, bool keep_global)
{
	(void)c, (void)keep_global;
	flushes++;
}

static void fake_flush_pcid(struct x86_cpu *c, unsigned pcid)
{
	(void)c, (void)pcid;
	flushes++;
}

static void fake_switch_space(struct x86_cpu *c, bool keep)
{
	(void)c;
	flushes += !keep;
}

static const struct x86_mem_ops fake_mem = {
	fake_read, fake_write, fake_pin, fake_flush_page, fake_flush_all, fake_flush_pcid, fake_switch_space,
};

static u16 pio_port;
static unsigned pio_size, pio_count, pio_calls, pio_limit;
static u8 pio_data[4096];

static enum x86_result fake_pio_in(struct x86_cpu *c, u16 port, unsigned size, void *data, unsigned *count)
{
	(void)c;
	pio_calls++;
	if (pio_limit && *count > pio_limit)
		*count = pio_limit;
	pio_port = port;
	pio_size = size;
	pio_count = *count;
	memset(data, 0x5a, (size_t)size * *count);
	return X86_OK;
}

static enum x86_result fake_pio_out(struct x86_cpu *c, u16 port, unsigned size, const void *data,
				    unsigned *count)
{
	(void)c;
	pio_calls++;
	pio_port = port;
	pio_size = size;
	pio_count = *count;
	memcpy(pio_data, data, (size_t)size * *count);
	return X86_OK;
}

static u64 fake_tsc(struct x86_cpu *c)
{
	(void)c;
	return 0x123456789abcull;
}

static u64 fake_disabled_quirks(struct x86_cpu *c)
{
	(void)c;
	return 0;
}

static unsigned spins;

static void fake_spinning(struct x86_cpu *c)
{
	(void)c;
	spins++;
}

static const struct x86_env_ops fake_env = {
	.spinning = fake_spinning,
	.disabled_quirks = fake_disabled_quirks,
	.pio_in = fake_pio_in,
	.pio_out = fake_pio_out,
	.tsc = fake_tsc,
};

/* ---- modes ----------------------------------------------------------------------------------- */

static void reset(void)
{
	memset(&cpu, 0, sizeof(cpu));
	memset(mem, 0, sizeof(mem));
	memset(cpu.features, 0xff, sizeof(cpu.features));
	for (unsigned set = 0; set < X86_NR_TLBS; set++) {
		for (unsigned i = 0; i < X86_TLB_SIZE; i++)
			cpu.tlbs[set][i].tag_read = cpu.tlbs[set][i].tag_write = (u64)(i ^ 1) << 12;
	}
	cpu.mem = &fake_mem;
	cpu.env = &fake_env;
	cpu.rflags = 2;
	cpu.regs[X86_RSP] = 0x3000;
	cpu.regs[X86_REG_RIP] = 0x100;
	mmio_reads = mmio_writes = flushes = pio_calls = pio_limit = 0;
	mmio_exits = false;
}

static void set_segments(u8 dpl, bool l, bool db)
{
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		cpu.seg[i] = (struct x86_seg){ .limit = 0xffffffff, .type = 3, .dpl = dpl, .s = true,
					       .present = true, .db = true, .g = true, .selector = 8 };
	cpu.seg[X86_CS].type = 11;
	cpu.seg[X86_CS].l = l;
	cpu.seg[X86_CS].db = db;
}

static void enter_long(u8 cpl)
{
	reset();
	cpu.cr0 = X86_CR0_PE | X86_CR0_PG;
	cpu.cr4 = X86_CR4_PAE;
	cpu.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE;
	set_segments(cpl, true, false);
	x86_mode_update(&cpu);
}

static void enter_prot(u8 cpl)
{
	reset();
	cpu.cr0 = X86_CR0_PE;
	set_segments(cpl, false, true);
	x86_mode_update(&cpu);
}

static void enter_real(void)
{
	reset();
	set_segments(0, false, false);
	for (unsigned i = X86_ES; i <= X86_GS; i++) {
		cpu.seg[i].limit = 0xffff;
		cpu.seg[i].db = false;
	}
	x86_mode_update(&cpu);
}

static void enter_v86(unsigned iopl)
{
	enter_prot(3);
	cpu.rflags |= X86_VM | iopl << X86_IOPL_SHIFT;
	for (unsigned i = X86_ES; i <= X86_GS; i++) {
		cpu.seg[i].limit = 0xffff;
		cpu.seg[i].db = false;
	}
	x86_mode_update(&cpu);
}

static struct x86_insn insn;

static enum x86_result exec_bytes(const char *bytes, unsigned len)
{
	memset(&insn, 0, sizeof(insn));
	assert_int_equal(x86_decode(&insn, (const u8 *)bytes, len, cpu.code_bits), X86_DECODE_OK);
	assert_int_equal(insn.len, len);
	x86_bind(&cpu, &insn, 4);
	return insn.exec(&cpu, &insn);
}

#define EXEC(bytes) exec_bytes(bytes, sizeof(bytes) - 1)

#define assert_fault(r, vec, err)                                                                           \
	do {                                                                                                \
		assert_int_equal(r, X86_FAULT);                                                             \
		assert_int_equal(cpu.fault.vector, vec);                                                    \
		assert_int_equal(cpu.fault.error, err);                                                     \
	} while (0)

/* Executes bytes, expects the fault, and that nothing else happened. */
static void faults(const char *bytes, unsigned len, unsigned vector, u32 error)
{
	static struct x86_cpu was;
	static u8 mem_was[MEM_SIZE];

	was = cpu;
	memcpy(mem_was, mem, MEM_SIZE);
	assert_fault(exec_bytes(bytes, len), vector, error);
	assert_memory_equal(cpu.regs, was.regs, sizeof(was.regs));
	assert_int_equal(x86_get_rflags(&cpu), x86_get_rflags(&was));
	assert_memory_equal(cpu.seg, was.seg, sizeof(was.seg));
	assert_memory_equal(mem, mem_was, MEM_SIZE);
	assert_int_equal(cpu.shadow, was.shadow);
}

#define FAULTS(bytes, vector, error) faults(bytes, sizeof(bytes) - 1, vector, error)

/* ---- faults are precise ---------------------------------------------------------------------- */

static void test_precise(void **state)
{
	(void)state;
	enter_long(0);
	cpu.regs[X86_RBX] = RO_PAGE + 8;
	cpu.regs[X86_RAX] = 5;
	FAULTS("\x48\x01\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* add [rbx], rax */
	FAULTS("\xf0\x48\x01\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* lock add */
	FAULTS("\xff\x03", X86_PF_VECTOR, X86_PFERR_W);		    /* inc dword [rbx] */
	FAULTS("\xc1\x23\x05", X86_PF_VECTOR, X86_PFERR_W);	    /* shl dword [rbx], 5 */
	FAULTS("\x48\x87\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* xchg [rbx], rax */
	FAULTS("\x48\x0f\xc1\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* xadd */
	FAULTS("\x48\x0f\xb1\x0b", X86_PF_VECTOR, X86_PFERR_W);	    /* cmpxchg: written even when not equal */
	FAULTS("\x0f\xc7\x0b", X86_PF_VECTOR, X86_PFERR_W);	    /* cmpxchg8b */
	FAULTS("\x48\x0f\xba\x2b\x03", X86_PF_VECTOR, X86_PFERR_W); /* bts [rbx], 3 */
	FAULTS("\x8f\x03", X86_PF_VECTOR, X86_PFERR_W);		    /* pop [rbx]: rSP stays */
	FAULTS("\x0f\x94\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* sete [rbx] */
	FAULTS("\x0f\x01\x03", X86_PF_VECTOR, X86_PFERR_W);	    /* sgdt */
	cpu.regs[X86_RBX] = HOLE + 8;
	FAULTS("\x48\x8b\x03", X86_PF_VECTOR, 0); /* mov rax, [rbx] */
	FAULTS("\x48\x0f\x44\x03", X86_PF_VECTOR, 0); /* cmove: reads whatever the condition */
	FAULTS("\x0f\xae\x3b", X86_PF_VECTOR, 0); /* clflush */
	cpu.regs[X86_RBX] = 0x800000000000ull;
	FAULTS("\x48\x8b\x03", X86_GP, 0);
	FAULTS("\x48\x01\x03", X86_GP, 0);
	FAULTS("\xff\xe3", X86_GP, 0); /* jmp rbx */
	FAULTS("\xff\xd3", X86_GP, 0); /* call rbx */
	cpu.regs[X86_RSP] = 0x900000000000ull;
	FAULTS("\x53", X86_SS_VECTOR, 0); /* push rbx */
	FAULTS("\xc3", X86_SS_VECTOR, 0);
	cpu.regs[X86_RSP] = HOLE + 0x1000 + 4; /* a push crosses into the hole */
	FAULTS("\x53", X86_PF_VECTOR, X86_PFERR_W);
	FAULTS("\xe8\x00\x00\x00\x00", X86_PF_VECTOR, X86_PFERR_W);
	FAULTS("\xc8\x10\x00\x03", X86_PF_VECTOR, X86_PFERR_W); /* enter */
	cpu.regs[X86_RBX] = 0;
	FAULTS("\x48\xf7\xf3", X86_DE, 0);
}

static void test_pusha(void **state)
{
	(void)state;
	enter_prot(0);
	cpu.regs[X86_RSP] = HOLE + 0x1000 + 12;
	FAULTS("\x60", X86_PF_VECTOR, X86_PFERR_W); /* the first three would fit: none is stored */
	cpu.regs[X86_RSP] = 0x3000;
	for (unsigned i = 0; i < 8; i++)
		if (i != X86_RSP)
			cpu.regs[i] = 0x1000 + i;
	assert_int_equal(EXEC("\x60"), X86_OK);
	assert_int_equal(cpu.regs[X86_RSP], 0x3000 - 32);
	assert_int_equal(*(u32 *)(mem + 0x3000 - 20), 0x3000); /* the old ESP */
	assert_int_equal(*(u32 *)(mem + 0x3000 - 4), 0x1000);
	for (unsigned i = 0; i < 8; i++)
		if (i != X86_RSP)
			cpu.regs[i] = 0;
	assert_int_equal(EXEC("\x61"), X86_OK);
	assert_int_equal(cpu.regs[X86_RSP], 0x3000);
	assert_int_equal(cpu.regs[X86_RDI], 0x1007);
	assert_int_equal(cpu.regs[X86_RAX], 0x1000);
}

static void test_mmio(void **state)
{
	(void)state;
	enter_long(0);
	cpu.regs[X86_RBX] = MMIO_PAGE;
	cpu.regs[X86_RAX] = 3;
	*(u32 *)(mem + MMIO_PAGE) = 4;
	mmio_exits = true;
	assert_int_equal(EXEC("\xf0\x01\x03"), X86_EXIT); /* lock add [rbx], eax */
	assert_int_equal(mmio_writes, 0);
	assert_int_equal(EXEC("\xf0\x01\x03"), X86_OK);
	assert_int_equal(*(u32 *)(mem + MMIO_PAGE), 7);
	assert_int_equal(mmio_writes, 1);
	assert_true(cpu.stop & X86_STOP_EXIT);
	cpu.regs[X86_RAX] = 9;
	assert_int_equal(EXEC("\x0f\xb1\x0b"), X86_OK); /* cmpxchg [rbx], ecx: differs, written back */
	assert_int_equal(cpu.regs[X86_RAX], 7);
	assert_int_equal(mmio_writes, 2);
}

/* ---- strings --------------------------------------------------------------------------------- */

static void test_rep_movs(void **state)
{
	(void)state;
	enter_long(0);
	for (unsigned i = 0; i < 0x1000; i++)
		mem[0x1000 + i] = (u8)i;
	/* a run into the read-only page stops at it with everything before it done */
	cpu.regs[X86_RSI] = 0x1000;
	cpu.regs[X86_RDI] = RO_PAGE - 0x100;
	cpu.regs[X86_RCX] = 0x200;
	assert_fault(EXEC("\xf3\xa4"), X86_PF_VECTOR, X86_PFERR_W);
	assert_int_equal(cpu.regs[X86_RCX], 0x100);
	assert_int_equal(cpu.regs[X86_RSI], 0x1100);
	assert_int_equal(cpu.regs[X86_RDI], RO_PAGE);
	assert_int_equal(cpu.fault.payload, RO_PAGE);
	assert_memory_equal(mem + RO_PAGE - 0x100, mem + 0x1000, 0x100);
	/* stop is seen between pieces */
	cpu.regs[X86_RSI] = 0x1000;
	cpu.regs[X86_RDI] = 0x2800;
	cpu.regs[X86_RCX] = 0x1000 / 8;
	cpu.stop = X86_STOP_KICK;
	assert_int_equal(EXEC("\xf3\x48\xa5"), X86_REPEAT);
	assert_int_equal(cpu.regs[X86_RCX], 0x100);
	assert_int_equal(EXEC("\xf3\x48\xa5"), X86_OK);
	assert_int_equal(cpu.regs[X86_RCX], 0);
	assert_memory_equal(mem + 0x2800, mem + 0x1000, 0x1000);
	cpu.stop = 0;
	/* the trap flag: one iteration at a time */
	cpu.rflags |= X86_TF;
	cpu.regs[X86_RSI] = 0x1000;
	cpu.regs[X86_RDI] = 0x2000;
	cpu.regs[X86_RCX] = 2;
	assert_int_equal(EXEC("\xf3\xa4"), X86_REPEAT);
	assert_int_equal(cpu.regs[X86_RCX], 1);
	assert_int_equal(EXEC("\xf3\xa4"), X86_OK);
	assert_int_equal(cpu.regs[X86_RDI], 0x2002);
}

static void test_rep_mmio(void **state)
{
	(void)state;
	enter_long(0);
	cpu.regs[X86_RDI] = MMIO_PAGE;
	cpu.regs[X86_RCX] = 3;
	assert_int_equal(EXEC("\xf3\xab"), X86_REPEAT); /* rep stosd: an exit for each */
	assert_int_equal(cpu.regs[X86_RCX], 2);
	cpu.stop = 0;
	cpu.regs[X86_RSI] = MMIO_PAGE;
	cpu.regs[X86_RDI] = 0x1000;
	mmio_exits = true;
	assert_int_equal(EXEC("\xf3\xa5"), X86_EXIT);
	assert_int_equal(cpu.regs[X86_RCX], 2);
	assert_int_equal(EXEC("\xf3\xa5"), X86_OK);
	assert_int_equal(cpu.regs[X86_RCX], 0);
	assert_int_equal(cpu.regs[X86_RDI], 0x1008);
}

static void test_rep_16(void **state)
{
	(void)state;
	enter_real();
	cpu.regs[X86_RDI] = 0xabcdfffe;
	cpu.regs[X86_RCX] = 0x77770004;
	cpu.regs[X86_RAX] = 0x11;
	assert_int_equal(EXEC("\xf3\xaa"), X86_OK); /* rep stosb wraps at 64 KiB, upper halves stay */
	assert_int_equal(cpu.regs[X86_RDI], 0xabcd0002);
	assert_int_equal(cpu.regs[X86_RCX], 0x77770000);
	assert_int_equal(mem[0xfffe] + mem[0xffff] + mem[0] + mem[1], 0x44);
	cpu.regs[X86_RDI] = 0xffff;
	FAULTS("\xab", X86_GP, 0); /* stosw across the limit */
}

static void test_scas_cmps(void **state)
{
	(void)state;
	enter_long(0);
	strcpy((char *)mem + 0x1ff8, "a string that crosses a page");
	cpu.regs[X86_RDI] = 0x1ff8;
	cpu.regs[X86_RCX] = ~0ull;
	assert_int_equal(EXEC("\xf2\xae"), X86_OK); /* strlen */
	assert_int_equal(~cpu.regs[X86_RCX] - 1, 28);
	assert_true(cpu.cc & X86_ZF);
	memcpy(mem + 0x3000, mem + 0x1ff8, 28);
	mem[0x3000 + 20]++;
	cpu.regs[X86_RSI] = 0x1ff8;
	cpu.regs[X86_RDI] = 0x3000;
	cpu.regs[X86_RCX] = 28;
	assert_int_equal(EXEC("\xf3\xa6"), X86_OK);
	assert_int_equal(cpu.regs[X86_RCX], 7);
	assert_int_equal(cpu.cc & (X86_ZF | X86_CF), X86_CF);
}

static void test_port_io(void **state)
{
	(void)state;
	enter_long(0);
	cpu.regs[X86_RDX] = 0x3f8;
	cpu.regs[X86_RAX] = 0x1122334455667788;
	assert_int_equal(EXEC("\xee"), X86_OK); /* out dx, al */
	assert_int_equal(pio_port, 0x3f8);
	assert_int_equal(pio_data[0], 0x88);
	assert_int_equal(EXEC("\xe5\xf0"), X86_OK); /* in eax, 0xf0 */
	assert_int_equal(pio_port, 0xf0);
	assert_int_equal(cpu.regs[X86_RAX], 0x5a5a5a5a);
	/* batches end at the page, at what env takes, and before what cannot be written */
	cpu.regs[X86_RDI] = 0x1f00;
	cpu.regs[X86_RCX] = 0x90;
	pio_calls = 0;
	assert_int_equal(EXEC("\xf3\x6d"), X86_OK); /* rep insd */
	assert_int_equal(pio_calls, 2);
	assert_int_equal(cpu.regs[X86_RDI], 0x1f00 + 0x90 * 4);
	pio_limit = 0x40;
	cpu.regs[X86_RDI] = 0x1000;
	cpu.regs[X86_RCX] = 0x60;
	cpu.stop = X86_STOP_EXIT;
	assert_int_equal(EXEC("\xf3\x6c"), X86_REPEAT);
	assert_int_equal(cpu.regs[X86_RCX], 0x20);
	cpu.regs[X86_RDI] = RO_PAGE;
	pio_calls = 0;
	FAULTS("\xf3\x6c", X86_PF_VECTOR, X86_PFERR_W);
	assert_int_equal(pio_calls, 0);
	/* IOPL */
	enter_prot(3);
	FAULTS("\xee", X86_GP, 0);
	cpu.rflags |= X86_IOPL;
	assert_int_equal(EXEC("\xee"), X86_OK);
}

/* ---- privilege and features ------------------------------------------------------------------ */

static void test_privilege(void **state)
{
	(void)state;
	enter_long(3);
	FAULTS("\xf4", X86_GP, 0);	       /* hlt */
	FAULTS("\xfa", X86_GP, 0);	       /* cli */
	FAULTS("\xfb", X86_GP, 0);	       /* sti */
	FAULTS("\x0f\x20\xc0", X86_GP, 0);     /* mov rax, cr0 */
	FAULTS("\x0f\x22\xc0", X86_GP, 0);     /* mov cr0, rax */
	FAULTS("\x0f\x21\xc0", X86_GP, 0);     /* mov rax, dr0 */
	FAULTS("\x0f\x30", X86_GP, 0);	       /* wrmsr */
	FAULTS("\x0f\x32", X86_GP, 0);	       /* rdmsr */
	FAULTS("\x0f\x06", X86_GP, 0);	       /* clts */
	FAULTS("\x0f\x08", X86_GP, 0);	       /* invd */
	FAULTS("\x0f\x09", X86_GP, 0);	       /* wbinvd */
	FAULTS("\x0f\x01\x38", X86_GP, 0);     /* invlpg */
	FAULTS("\x0f\x01\x10", X86_GP, 0);     /* lgdt */
	FAULTS("\x0f\x01\xf0", X86_GP, 0);     /* lmsw ax */
	FAULTS("\x0f\x00\xd0", X86_GP, 0);     /* lldt ax */
	FAULTS("\x0f\x00\xd8", X86_GP, 0);     /* ltr ax */
	FAULTS("\x0f\x01\xf8", X86_GP, 0);     /* swapgs */
	FAULTS("\x0f\x07", X86_GP, 0);	       /* sysret */
	FAULTS("\x0f\x01\xca", X86_UD, 0);     /* clac */
	FAULTS("\x0f\xaa", X86_UD, 0);	       /* rsm */
	FAULTS("\x0f\x01\xd0", X86_UD, 0);     /* xgetbv without OSXSAVE */
	FAULTS("\xf3\x0f\xae\xc0", X86_UD, 0); /* rdfsbase without FSGSBASE */
	FAULTS("\x0f\x01\xee", X86_UD, 0);     /* rdpkru without PKE */
	FAULTS("\x0f\x0b", X86_UD, 0);
	FAULTS("\x0f\x01\xd8", X86_UD, 0); /* vmrun */
	assert_int_equal(EXEC("\x0f\x31"), X86_OK);
	assert_int_equal(cpu.regs[X86_RDX], 0x1234);
	cpu.cr4 |= X86_CR4_TSD | X86_CR4_UMIP;
	FAULTS("\x0f\x31", X86_GP, 0);	   /* rdtsc */
	FAULTS("\x0f\x01\xe0", X86_GP, 0); /* smsw */
	FAULTS("\x0f\x00\xc0", X86_GP, 0); /* sldt */
	FAULTS("\x0f\x01\x00", X86_GP, 0); /* sgdt */
	enter_real();
	FAULTS("\x0f\x00\xc0", X86_UD, 0); /* sldt, lar, verr: not in real mode */
	FAULTS("\x0f\x02\xc1", X86_UD, 0);
	FAULTS("\x0f\x00\xe1", X86_UD, 0);
	FAULTS("\xc4\xe2\x78\xf2\xc3", X86_UD, 0); /* andn: nor anything with VEX */
	FAULTS("\x0f\x34", X86_GP, 0);		     /* sysenter */
	enter_prot(0);
	assert_int_equal(EXEC("\xc4\xe2\x78\xf2\xc3"), X86_OK);
}

static void test_features(void **state)
{
	(void)state;
	enter_long(0);
	cpu.features[X86_FEAT_POPCNT / 32] &= ~(1u << X86_FEAT_POPCNT % 32);
	FAULTS("\xf3\x48\x0f\xb8\xc3", X86_UD, 0);
	memset(cpu.features, 0, sizeof(cpu.features));
	FAULTS("\x0f\xc7\xf0", X86_UD, 0); /* rdrand */
	assert_int_equal(EXEC("\x0f\x01\xc9"), X86_END); /* mwait is there all the same, as in KVM */
}

/* ---- RFLAGS ---------------------------------------------------------------------------------- */

static void pop_flags(u32 value)
{
	memcpy(mem + cpu.regs[X86_RSP], (u64[]){ value }, 8);
}

static void test_popf(void **state)
{
	u32 all = 0x003f7fd7;

	(void)state;
	enter_long(0);
	pop_flags(all);
	assert_int_equal(EXEC("\x9d"), X86_END);
	assert_int_equal(x86_get_rflags(&cpu), all & ~(X86_RF | X86_VM | X86_VIF | X86_VIP));
	enter_long(3);
	pop_flags(all & ~X86_TF);
	assert_int_equal(EXEC("\x9d"), X86_END);
	assert_int_equal(x86_get_rflags(&cpu),
			 all & ~(X86_RF | X86_VM | X86_VIF | X86_VIP | X86_IOPL | X86_IF | X86_TF));
	enter_v86(0);
	FAULTS("\x9d", X86_GP, 0);
	FAULTS("\x9c", X86_GP, 0);
	cpu.cr4 |= X86_CR4_VME;
	pop_flags(X86_IF | X86_CF);
	assert_int_equal(EXEC("\x9d"), X86_END);
	assert_int_equal(x86_get_rflags(&cpu), X86_VM | X86_VIF | X86_CF | 2);
	assert_int_equal(EXEC("\x9c"), X86_OK);
	assert_int_equal(*(u16 *)(mem + 0x3000), X86_IF | X86_CF | X86_IOPL | 2);
	cpu.rflags |= X86_VIP;
	pop_flags(X86_IF);
	FAULTS("\x9d", X86_GP, 0);
}

static void test_sti(void **state)
{
	(void)state;
	enter_long(0);
	assert_int_equal(EXEC("\xfb"), X86_END);
	assert_int_equal(cpu.shadow, KVM_X86_SHADOW_INT_STI);
	cpu.shadow = 0;
	assert_int_equal(EXEC("\xfb"), X86_OK); /* IF was set: no shadow */
	assert_int_equal(cpu.shadow, 0);
	assert_int_equal(EXEC("\xfa"), X86_OK);
	assert_false(cpu.rflags & X86_IF);
	enter_prot(3);
	cpu.cr4 |= X86_CR4_PVI;
	assert_int_equal(EXEC("\xfb"), X86_END);
	assert_true(cpu.rflags & X86_VIF);
	assert_int_equal(EXEC("\xfa"), X86_OK);
	assert_false(cpu.rflags & X86_VIF);
	cpu.rflags |= X86_VIP;
	FAULTS("\xfb", X86_GP, 0);
}

/* ---- SYSCALL and its kin --------------------------------------------------------------------- */

static void set_syscall_msrs(void)
{
	cpu.msr.star = 0x0023001000000000ull | 0x2000;
	cpu.msr.lstar = 0xffffffff81000000ull;
	cpu.msr.cstar = 0xffffffff82000000ull;
	cpu.msr.sfmask = X86_IF | X86_TF | X86_DF;
	cpu.msr.sysenter_cs = 0x10;
	cpu.msr.sysenter_eip = 0x81000000;
	cpu.msr.sysenter_esp = 0x2000;
}

static void test_syscall(void **state)
{
	(void)state;
	enter_long(3);
	set_syscall_msrs();
	cpu.rflags |= X86_IF | X86_DF;
	cpu.cc = X86_CF;
	assert_int_equal(EXEC("\x0f\x05"), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_REG_RIP], 0xffffffff81000000ull);
	assert_int_equal(cpu.regs[X86_RCX], 0x106);
	assert_int_equal(cpu.regs[X86_R11], X86_IF | X86_DF | X86_CF | 2);
	assert_int_equal(x86_get_rflags(&cpu), X86_CF | 2);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.seg[X86_CS].selector, 0x10);
	assert_int_equal(cpu.seg[X86_SS].selector, 0x18);
	assert_int_equal(EXEC("\x48\x0f\x07"), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x106);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.seg[X86_CS].selector, 0x33);
	assert_int_equal(cpu.seg[X86_SS].selector, 0x2b);
	assert_int_equal(x86_get_rflags(&cpu), X86_IF | X86_DF | X86_CF | 2);
	/* Intel checks RCX in SYSRET, AMD leaves that to user mode */
	enter_long(0);
	set_syscall_msrs();
	cpu.regs[X86_RCX] = 0x800000000000ull;
	FAULTS("\x48\x0f\x07", X86_GP, 0);
	cpu.vendor_amd = true;
	assert_int_equal(EXEC("\x48\x0f\x07"), X86_BRANCH);
	/* compatibility mode: AMD alone */
	enter_long(3);
	cpu.seg[X86_CS].l = false;
	cpu.seg[X86_CS].db = true;
	x86_mode_update(&cpu);
	set_syscall_msrs();
	FAULTS("\x0f\x05", X86_UD, 0);
	cpu.vendor_amd = true;
	FAULTS("\x0f\x34", X86_UD, 0); /* where sysenter is not */
	assert_int_equal(EXEC("\x0f\x05"), X86_BRANCH);
	assert_int_equal(cpu.regs[X86_REG_RIP], 0xffffffff82000000ull);
	assert_int_equal(cpu.mode, X86_MODE_LONG);
}

static void test_sysenter(void **state)
{
	(void)state;
	enter_prot(3);
	FAULTS("\x0f\x34", X86_GP, 0);
	set_syscall_msrs();
	cpu.rflags |= X86_IF;
	assert_int_equal(EXEC("\x0f\x34"), X86_BRANCH);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x81000000);
	assert_int_equal(cpu.regs[X86_RSP], 0x2000);
	assert_false(cpu.rflags & X86_IF);
	cpu.regs[X86_RDX] = 0x1234;
	cpu.regs[X86_RCX] = 0x5678;
	assert_int_equal(EXEC("\x0f\x35"), X86_BRANCH);
	assert_int_equal(cpu.cpl, 3);
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x1234);
	assert_int_equal(cpu.regs[X86_RSP], 0x5678);
	assert_int_equal(cpu.seg[X86_CS].selector, 0x23);
	assert_int_equal(cpu.seg[X86_SS].selector, 0x2b);
}

/* ---- segments -------------------------------------------------------------------------------- */

static void set_descriptor(unsigned selector, u64 raw)
{
	memcpy(mem + GDT + selector, &raw, 8);
}

static void test_descriptor_checks(void **state)
{
	(void)state;
	enter_prot(0);
	cpu.gdt = (struct x86_dtr){ GDT, 0x2f };
	set_descriptor(0x08, 0x00cf9b000000ffffull); /* code, readable */
	set_descriptor(0x10, 0x00cf93000000ffffull); /* data, writable */
	set_descriptor(0x18, 0x004f91000000ffffull); /* data, read-only, byte granular */
	set_descriptor(0x20, 0x00cf99000000ffffull); /* code, execute-only */
	set_descriptor(0x28, 0x00008e0000000000ull); /* interrupt gate */
	cpu.regs[X86_RCX] = 0x18;
	assert_int_equal(EXEC("\x0f\x02\xc1"), X86_OK); /* lar eax, cx */
	assert_true(cpu.cc & X86_ZF);
	assert_int_equal(cpu.regs[X86_RAX], 0x004f9100);
	assert_int_equal(EXEC("\x0f\x03\xc1"), X86_OK); /* lsl eax, cx */
	assert_int_equal(cpu.regs[X86_RAX], 0xfffff);
	assert_int_equal(EXEC("\x0f\x00\xe1"), X86_OK); /* verr cx */
	assert_true(cpu.cc & X86_ZF);
	assert_int_equal(EXEC("\x0f\x00\xe9"), X86_OK); /* verw cx */
	assert_false(cpu.cc & X86_ZF);
	cpu.regs[X86_RCX] = 0x20;
	EXEC("\x0f\x00\xe1");
	assert_false(cpu.cc & X86_ZF);
	cpu.regs[X86_RCX] = 0x10;
	EXEC("\x0f\x03\xc1");
	assert_int_equal(cpu.regs[X86_RAX], 0xffffffff);
	cpu.regs[X86_RCX] = 0x28; /* a gate has no rights to load, one beyond the limit is not there */
	EXEC("\x0f\x02\xc1");
	assert_false(cpu.cc & X86_ZF);
	cpu.regs[X86_RCX] = 0x30;
	assert_int_equal(EXEC("\x0f\x02\xc1"), X86_OK);
	assert_false(cpu.cc & X86_ZF);
	cpu.regs[X86_RCX] = 3;
	cpu.regs[X86_RAX] = 0x10;
	assert_int_equal(EXEC("\x63\xc8"), X86_OK); /* arpl ax, cx */
	assert_int_equal(cpu.regs[X86_RAX], 0x13);
	assert_true(cpu.cc & X86_ZF);
	/* mov ss: shadow, and the block ends */
	cpu.regs[X86_RAX] = 0x10;
	assert_int_equal(EXEC("\x8e\xd0"), X86_END);
	assert_int_equal(cpu.shadow, KVM_X86_SHADOW_INT_MOV_SS);
	assert_int_equal(cpu.seg[X86_SS].selector, 0x10);
}

static void test_descriptor_tables(void **state)
{
	static const u8 image[10] = { 0x34, 0x12, 1, 2, 3, 4, 5, 6, 0, 0 };

	(void)state;
	enter_long(0);
	memcpy(mem + 0x1000, image, 10);
	cpu.regs[X86_RBX] = 0x1000;
	assert_int_equal(EXEC("\x0f\x01\x13"), X86_OK); /* lgdt [rbx] */
	assert_int_equal(cpu.gdt.limit, 0x1234);
	assert_int_equal(cpu.gdt.base, 0x060504030201ull);
	cpu.regs[X86_RBX] = 0x1100;
	assert_int_equal(EXEC("\x0f\x01\x03"), X86_OK);
	assert_memory_equal(mem + 0x1100, image, 10);
}

/* ---- addresses of the block ------------------------------------------------------------------ */

static void test_rip(void **state)
{
	(void)state;
	enter_long(0);
	assert_int_equal(EXEC("\x48\x8d\x05\x10\x00\x00\x00"), X86_OK); /* lea rax, [rip + 0x10] */
	assert_int_equal(cpu.regs[X86_RAX], 0x100 + 4 + 7 + 0x10);
	assert_int_equal(EXEC("\xe8\xf0\xff\xff\xff"), X86_BRANCH); /* call -16 */
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x100 + 4 + 5 - 16);
	assert_int_equal(*(u64 *)(mem + cpu.regs[X86_RSP]), 0x109);
	assert_int_equal(EXEC("\xc2\x08\x00"), X86_BRANCH); /* ret 8 */
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x109);
	assert_int_equal(cpu.regs[X86_RSP], 0x3008);
	cpu.cc = 0;
	assert_int_equal(EXEC("\x74\x10"), X86_OK); /* jz, not taken */
	assert_int_equal(cpu.regs[X86_REG_RIP], 0x109);
	enter_prot(0);
	cpu.seg[X86_CS].limit = 0x110;
	FAULTS("\xeb\x20", X86_GP, 0); /* beyond the limit */
	cpu.regs[X86_RCX] = 1;
	assert_int_equal(EXEC("\xe2\xf0"), X86_OK); /* loop: the last round */
	assert_int_equal(cpu.regs[X86_RCX], 0);
	FAULTS("\xe2\x7f", X86_GP, 0); /* taken, and beyond: the count stays */
	enter_real();
	cpu.regs[X86_REG_RIP] = 0xfff0;
	assert_int_equal(EXEC("\xeb\x10"), X86_BRANCH); /* IP wraps */
	assert_int_equal(cpu.regs[X86_REG_RIP], 6);
}

/* ---- specialised handlers of flat 32-bit code do what the generic ones do --------------------------- */

static void fill_flat_tlb(void)
{
	for (u64 page = 0; page < RO_PAGE; page += 4096) {
		u64 host = (u64)mem + page;

		cpu.tlb[page >> 12] = (struct x86_tlb_entry){ page, page, host, 0 };
	}
}

static void test_flat32(void **state)
{
	static const struct {
		u8 bytes[8], len;
	} cases[] = {
		{ { 0x01, 0x4b, 0x10 }, 3 },		   /* add [ebx + 16], ecx */
		{ { 0x03, 0x44, 0xb3, 0x10 }, 4 },	   /* add eax, [ebx + esi * 4 + 16] */
		{ { 0x66, 0x83, 0x2b, 0x05 }, 4 },	   /* sub word [ebx], 5 */
		{ { 0x84, 0x03 }, 2 },			   /* test [ebx], al */
		{ { 0x3a, 0x23 }, 2 },			   /* cmp ah, [ebx] */
		{ { 0xf7, 0x1b }, 2 },			   /* neg dword [ebx] */
		{ { 0xd3, 0x23 }, 2 },			   /* shl dword [ebx], cl */
		{ { 0x89, 0x0b }, 2 }, { { 0x8b, 0x0b }, 2 }, { { 0xc7, 0x03, 1, 2, 3, 4 }, 6 },
		{ { 0x0f, 0xb6, 0x0b }, 3 }, { { 0x0f, 0xbf, 0x0b }, 3 },
		{ { 0x50 }, 1 }, { { 0x54 }, 1 }, { { 0x6a, 0x80 }, 2 }, { { 0x58 }, 1 }, { { 0x5c }, 1 },
		{ { 0xe8, 0x10, 0, 0, 0 }, 5 }, { { 0xc3 }, 1 }, { { 0xc2, 0x20, 0 }, 3 },
		{ { 0xff, 0x13 }, 2 },
		{ { 0x75, 0x10 }, 2 }, { { 0x64, 0x8b, 0x03 }, 3 }, { { 0x67, 0x8b, 0x07 }, 3 },
	};
	static u8 mem_slow[MEM_SIZE];

	(void)state;
	for (unsigned i = 0; i < 200 * ARRAY_SIZE(cases); i++) {
		const char *bytes = (const char *)cases[i % ARRAY_SIZE(cases)].bytes;
		u64 regs[X86_NR_REGS], rflags = 0;
		enum x86_result r = X86_OK;

		for (unsigned fast = 0; fast < 2; fast++) {
			enter_prot(0);
			cpu.seg[X86_FS].base = 0x100;
			x86_mode_update(&cpu);
			srand(i);
			for (unsigned j = 0; j < 8; j++)
				cpu.regs[j] = (u32)rand() * 2u;
			for (unsigned j = 0; j < RO_PAGE; j++)
				mem[j] = (u8)(j * 7);
			cpu.regs[X86_RBX] = 0x1000 + rand() % 0x2000;
			cpu.regs[X86_RSP] = 0x1000 + rand() % 0x2000;
			cpu.regs[X86_RSI] = rand() % 16;
			cpu.cc = rand() & X86_FLAGS_STATUS;
			if (fast)
				fill_flat_tlb();
			if (!fast) {
				r = exec_bytes(bytes, cases[i % ARRAY_SIZE(cases)].len);
				memcpy(regs, cpu.regs, sizeof(regs));
				memcpy(mem_slow, mem, MEM_SIZE);
				rflags = x86_get_rflags(&cpu);
				continue;
			}
			assert_int_equal(exec_bytes(bytes, cases[i % ARRAY_SIZE(cases)].len), r);
			assert_memory_equal(cpu.regs, regs, sizeof(regs));
			assert_memory_equal(mem, mem_slow, MEM_SIZE);
			assert_int_equal(x86_get_rflags(&cpu), rflags);
		}
	}
}

x86_exec_fn x86_exec_pause;

/* A row of PAUSEs is noticed at last, whoever executes them. */
static void pause_row(void **state)
{
	(void)state;
	reset();
	for (cpu.cpl = 0; cpu.cpl <= 3; cpu.cpl += 3) {
		spins = 0;
		while (!spins)
			assert_int_equal(x86_exec_pause(&cpu, NULL), X86_OK);
	}
	cpu.cpl = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_precise),
		cmocka_unit_test(test_pusha),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_rep_movs),
		cmocka_unit_test(test_rep_mmio),
		cmocka_unit_test(test_rep_16),
		cmocka_unit_test(test_scas_cmps),
		cmocka_unit_test(test_port_io),
		cmocka_unit_test(test_privilege),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_popf),
		cmocka_unit_test(test_sti),
		cmocka_unit_test(test_syscall),
		cmocka_unit_test(test_sysenter),
		cmocka_unit_test(test_descriptor_checks),
		cmocka_unit_test(test_descriptor_tables),
		cmocka_unit_test(test_rip),
		cmocka_unit_test(test_flat32),
		cmocka_unit_test(pause_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
