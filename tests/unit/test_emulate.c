// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interpreter's integer handlers against the host's processor: each encoding below is decoded, bound
 * and executed on a bare struct x86_cpu, and run natively from the same registers, flags and memory. All
 * registers, all status flags (undefined ones too: handlers run the same instruction) and all memory must
 * be equal. Guest addresses are host addresses, once with a TLB that knows them and once without.
 *
 * Arguments: [rounds per encoding] [seed].
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/kvm.h>

#include "tests/unit/random.h"
#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/system.h"

static unsigned long rounds = 40;

/* Numbers where carries, signs and widths change, more often than chance would give them. */
static u64 rnd_value(void)
{
	static const u64 edges[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffffffff, 0x8000000000000000, ~0ull, ~1ull,
	};
	u64 n = rnd();

	switch (n >> 60) {
	case 0 ... 4:
		return edges[n % ARRAY_SIZE(edges)];
	case 5 ... 6:
		return edges[n % ARRAY_SIZE(edges)] ^ 1ull << (n >> 8 & 63);
	case 7:
		return n & 63;
	default:
		return rnd();
	}
}

/* ---- memory ---------------------------------------------------------------------------------- */

#define PAGES 4
#define MEM_SIZE (PAGES * 4096u)

static u8 *mem;			/* what instructions see, natively and as guest */
static u8 before[MEM_SIZE];	/* its contents at the start */
static u8 native_after[MEM_SIZE];

static struct x86_cpu cpu;
static struct x86_tlb_entry tlb[X86_TLB_SIZE];

static bool in_memory(u64 gva, unsigned size)
{
	return gva - (u64)mem <= MEM_SIZE - size;
}

static enum x86_result fake_read(struct x86_cpu *c, u64 gva, void *dst, unsigned size, unsigned access)
{
	if (!in_memory(gva, size))
		return x86_raise_pf(c, gva, access & X86_ACCESS_WRITE ? X86_PFERR_W : 0);
	memcpy(dst, (void *)gva, size);
	return X86_OK;
}

static enum x86_result fake_write(struct x86_cpu *c, u64 gva, const void *src, unsigned size, unsigned access)
{
	if (!in_memory(gva, size))
		return x86_raise_pf(c, gva, X86_PFERR_W);
	if (!(access & X86_ACCESS_PROBE))
		memcpy((void *)gva, src, size);
	return X86_OK;
}

static bool pin_works;

static enum x86_result fake_pin(struct x86_cpu *c, u64 gva, unsigned size, unsigned access, void **host)
{
	(void)access;
	*host = NULL;
	if (!in_memory(gva, size))
		return x86_raise_pf(c, gva, 0);
	if (pin_works && (gva & 4095) + size <= 4096)
		*host = (void *)gva;
	return X86_OK;
}

static const struct x86_mem_ops fake_mem = { .read = fake_read, .write = fake_write, .pin = fake_pin };

static void fill_tlb(bool fill)
{
	for (unsigned i = 0; i < X86_TLB_SIZE; i++)
		tlb[i] = (struct x86_tlb_entry){ .tag_read = (i ^ 1) << 12, .tag_write = (i ^ 1) << 12 };
	for (unsigned i = 0; fill && i < PAGES; i++) {
		u64 page = (u64)mem + i * 4096;

		tlb[page >> 12 & (X86_TLB_SIZE - 1)] =
			(struct x86_tlb_entry){ .tag_read = page, .tag_write = page, .host = page };
	}
}

/* ---- native execution ------------------------------------------------------------------------ */

struct state {
	u64 regs[16];
	u64 flags;
};

/* Behind the code page, at fixed distances from it. */
struct native_area {
	u8 code[4096];
	struct state in, out;
	u64 host_rsp;
};

static struct native_area *area;
static sigjmp_buf recover;

static u8 *put(u8 *p, const void *bytes, unsigned n)
{
	memcpy(p, bytes, n);
	return p + n;
}

/* op reg, [rip + to field]: op is 0x89 or 0x8b with REX.W. */
static u8 *put_mov(u8 *p, u8 op, unsigned reg, void *field)
{
	u8 insn[7] = { 0x48 | (reg >> 3) << 2, op, 0x05 | (reg & 7) << 3 };
	s32 distance = (s32)((u8 *)field - (p + 7));

	memcpy(insn + 3, &distance, 4);
	return put(p, insn, 7);
}

/* push or pop [rip + to field]: 0xff /6, 0x8f /0. */
static u8 *put_stack(u8 *p, u8 op, u8 ext, void *field)
{
	u8 insn[6] = { op, 0x05 | ext << 3 };
	s32 distance = (s32)((u8 *)field - (p + 6));

	memcpy(insn + 2, &distance, 4);
	return put(p, insn, 6);
}

static void *build(const u8 *bytes, unsigned len)
{
	static const u8 save[] = { 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57 };
	static const u8 restore[] = {
		0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xfc, 0xc3,
	};
	u8 *p = area->code;

	p = put(p, save, sizeof(save));
	p = put_mov(p, 0x89, X86_RSP, &area->host_rsp);
	p = put_stack(p, 0xff, 6, &area->in.flags);
	p = put(p, "\x9d", 1); /* popfq */
	for (unsigned reg = 16; reg-- > 0;)
		p = put_mov(p, 0x8b, reg, &area->in.regs[reg]);
	p = put(p, bytes, len);
	for (unsigned reg = 0; reg < 16; reg++)
		p = put_mov(p, 0x89, reg, &area->out.regs[reg]);
	p = put_mov(p, 0x8b, X86_RSP, &area->host_rsp);
	p = put(p, "\x9c", 1); /* pushfq */
	p = put_stack(p, 0x8f, 0, &area->out.flags);
	p = put(p, restore, sizeof(restore));
	return area->code;
}

static void on_fault(int sig)
{
	siglongjmp(recover, sig);
}

/* The signal that it came to, or 0. */
static int run_native(const u8 *bytes, unsigned len, struct state *s)
{
	void (*code)(void) = (void (*)(void))build(bytes, len);
	int sig = sigsetjmp(recover, 1);

	if (sig)
		return sig;
	area->in = *s;
	code();
	*s = area->out;
	return 0;
}

/* ---- interpretation -------------------------------------------------------------------------- */

static bool decode(const u8 *bytes, unsigned len, struct x86_insn *insn)
{
	memset(insn, 0, sizeof(*insn));
	return x86_decode(insn, bytes, len, cpu.code_bits) == X86_DECODE_OK && insn->len == len;
}

static enum x86_result run_emulated(struct x86_insn *insn, struct state *s)
{
	enum x86_result r;

	memcpy(cpu.regs, s->regs, sizeof(s->regs));
	cpu.regs[X86_REG_RIP] = 0x1000;
	x86_set_rflags(&cpu, s->flags);
	x86_bind(&cpu, insn, 0x10);
	r = insn->exec(&cpu, insn);
	memcpy(s->regs, cpu.regs, sizeof(s->regs));
	s->flags = x86_get_rflags(&cpu);
	return r;
}

/* ---- comparison ------------------------------------------------------------------------------ */

#define COMPARED_FLAGS (X86_FLAGS_STATUS | X86_DF)

static void show(const char *what, const u8 *bytes, unsigned len, const struct state *in,
		 const struct state *host, const struct state *ours)
{
	char hex[64] = "";

	for (unsigned i = 0; i < len; i++)
		sprintf(hex + 3 * i, "%02x ", bytes[i]);
	print_error("%s: %s differs, flags in %llx, host %llx, ours %llx\n", hex, what,
		    (unsigned long long)in->flags, (unsigned long long)host->flags,
		    (unsigned long long)ours->flags);
	for (unsigned i = 0; i < 16; i++) {
		if (host->regs[i] != ours->regs[i])
			print_error("  r%u in %016llx, host %016llx, ours %016llx\n", i,
				    (unsigned long long)in->regs[i], (unsigned long long)host->regs[i],
				    (unsigned long long)ours->regs[i]);
	}
}

enum how { TLB_FULL, TLB_EMPTY, NO_PIN, NR_HOWS };

static void prepare(enum how how)
{
	memcpy(mem, before, MEM_SIZE);
	fill_tlb(how == TLB_FULL);
	pin_works = how != NO_PIN;
	cpu.stop = 0;
}

/* Runs one encoding from one state in every way; undefined: flags that are not compared. */
static void compare_one(const u8 *bytes, unsigned len, const struct state *in, u32 undefined)
{
	struct state host = *in, ours;
	struct x86_insn insn;
	enum x86_result r;
	int sig;

	prepare(TLB_FULL);
	sig = run_native(bytes, len, &host);
	memcpy(native_after, mem, MEM_SIZE);
	for (enum how how = 0; how < NR_HOWS; how++) {
		const char *what = NULL;

		prepare(how);
		ours = *in;
		assert_true(decode(bytes, len, &insn));
		r = run_emulated(&insn, &ours);
		if (sig)
			what = r == X86_FAULT && cpu.fault.vector == X86_DE ? NULL : "the fault";
		else if (r != X86_OK)
			what = "the result";
		else if ((host.flags ^ ours.flags) & COMPARED_FLAGS & ~undefined)
			what = "flags";
		else if (memcmp(host.regs, ours.regs, sizeof(host.regs)))
			what = "a register";
		else if (memcmp(native_after, mem, MEM_SIZE))
			what = "memory";
		if (what) {
			show(what, bytes, len, in, &host, &ours);
			fail_msg("%s, way %d", what, how);
		}
	}
}

/* ---- encodings ------------------------------------------------------------------------------- */

/* Immediate bytes: as given, or by operand size (2, 4, 4). */
#define IMM_Z 0x80
#define IMM_V 0x81 /* 2, 4, 8: B8+r */

enum {
	BYTE = BIT(0),		/* 8-bit operands */
	WIDE = BIT(1),		/* 16, 32 and 64 */
	DIRECT = BIT(2),	/* no modrm: opcode + register number in bits 2:0 if ext is 1 */
	MEM_ONLY = BIT(3),
	REG_ONLY = BIT(4),
	LOCKABLE = BIT(5),	/* and with LOCK when in memory */
	SMALL = BIT(6),		/* register values are small: they move addresses */
	STACK = BIT(7),		/* 16 and 64 bits */
	NO_REX_W = BIT(8),
	STRING = BIT(9),
};

struct form {
	const char *name;
	u8 prefix;		/* mandatory, or 0 */
	u8 escape;		/* 0, 0x0f, 0x38, 0x3a */
	u8 opcode;
	s8 ext;			/* modrm.reg, or -1: a register */
	u8 imm;
	u32 flags;
	u32 undefined;		/* flags that the host leaves otherwise than we do */
	enum x86_feature feature;
};

#define SHIFTS(op, imm)                                                                                     \
	{ "rol", 0, 0, op, 0, imm, BYTE, 0, 0 }, { "rol", 0, 0, op + 1, 0, imm, WIDE, 0, 0 },               \
	{ "ror", 0, 0, op, 1, imm, BYTE, 0, 0 }, { "ror", 0, 0, op + 1, 1, imm, WIDE, 0, 0 },               \
	{ "rcl", 0, 0, op, 2, imm, BYTE, 0, 0 }, { "rcl", 0, 0, op + 1, 2, imm, WIDE, 0, 0 },               \
	{ "rcr", 0, 0, op, 3, imm, BYTE, 0, 0 }, { "rcr", 0, 0, op + 1, 3, imm, WIDE, 0, 0 },               \
	{ "shl", 0, 0, op, 4, imm, BYTE, 0, 0 }, { "shl", 0, 0, op + 1, 4, imm, WIDE, 0, 0 },               \
	{ "shr", 0, 0, op, 5, imm, BYTE, 0, 0 }, { "shr", 0, 0, op + 1, 5, imm, WIDE, 0, 0 },               \
	{ "sal", 0, 0, op, 6, imm, BYTE, 0, 0 }, { "sal", 0, 0, op + 1, 6, imm, WIDE, 0, 0 },               \
	{ "sar", 0, 0, op, 7, imm, BYTE, 0, 0 }, { "sar", 0, 0, op + 1, 7, imm, WIDE, 0, 0 }

#define ALU(name, n)                                                                                        \
	{ name, 0, 0, 8 * n, -1, 0, BYTE | (n == 7 ? 0 : LOCKABLE), 0, 0 },                                 \
	{ name, 0, 0, 8 * n + 1, -1, 0, WIDE | (n == 7 ? 0 : LOCKABLE), 0, 0 },                             \
	{ name, 0, 0, 8 * n + 2, -1, 0, BYTE, 0, 0 }, { name, 0, 0, 8 * n + 3, -1, 0, WIDE, 0, 0 },         \
	{ name, 0, 0, 8 * n + 4, 0, 1, BYTE | DIRECT, 0, 0 },                                               \
	{ name, 0, 0, 8 * n + 5, 0, IMM_Z, WIDE | DIRECT, 0, 0 },                                           \
	{ name, 0, 0, 0x80, n, 1, BYTE | (n == 7 ? 0 : LOCKABLE), 0, 0 },                                   \
	{ name, 0, 0, 0x81, n, IMM_Z, WIDE | (n == 7 ? 0 : LOCKABLE), 0, 0 },                               \
	{ name, 0, 0, 0x83, n, 1, WIDE | (n == 7 ? 0 : LOCKABLE), 0, 0 }

#define BT(name, n)                                                                                         \
	{ name, 0, 0x0f, 0x83 + 8 * n, -1, 0, WIDE | SMALL | (n == 4 ? 0 : LOCKABLE), 0, 0 },               \
	{ name, 0, 0x0f, 0xba, n, 1, WIDE | (n == 4 ? 0 : LOCKABLE), 0, 0 }

#define COND(n)                                                                                             \
	{ "cmov", 0, 0x0f, 0x40 + n, -1, 0, WIDE, 0, 0 }, { "set", 0, 0x0f, 0x90 + n, 0, 0, BYTE, 0, 0 }

static const struct form forms[] = {
	ALU("add", 0), ALU("or", 1), ALU("adc", 2), ALU("sbb", 3),
	ALU("and", 4), ALU("sub", 5), ALU("xor", 6), ALU("cmp", 7),
	{ "test", 0, 0, 0x84, -1, 0, BYTE, 0, 0 }, { "test", 0, 0, 0x85, -1, 0, WIDE, 0, 0 },
	{ "test", 0, 0, 0xa8, 0, 1, BYTE | DIRECT, 0, 0 },
	{ "test", 0, 0, 0xa9, 0, IMM_Z, WIDE | DIRECT, 0, 0 },
	{ "test", 0, 0, 0xf6, 0, 1, BYTE, 0, 0 }, { "test", 0, 0, 0xf7, 0, IMM_Z, WIDE, 0, 0 },
	{ "not", 0, 0, 0xf6, 2, 0, BYTE | LOCKABLE, 0, 0 },
	{ "not", 0, 0, 0xf7, 2, 0, WIDE | LOCKABLE, 0, 0 },
	{ "neg", 0, 0, 0xf6, 3, 0, BYTE | LOCKABLE, 0, 0 },
	{ "neg", 0, 0, 0xf7, 3, 0, WIDE | LOCKABLE, 0, 0 },
	{ "inc", 0, 0, 0xfe, 0, 0, BYTE | LOCKABLE, 0, 0 },
	{ "inc", 0, 0, 0xff, 0, 0, WIDE | LOCKABLE, 0, 0 },
	{ "dec", 0, 0, 0xfe, 1, 0, BYTE | LOCKABLE, 0, 0 },
	{ "dec", 0, 0, 0xff, 1, 0, WIDE | LOCKABLE, 0, 0 },
	{ "mul", 0, 0, 0xf6, 4, 0, BYTE, 0, 0 }, { "mul", 0, 0, 0xf7, 4, 0, WIDE, 0, 0 },
	{ "imul", 0, 0, 0xf6, 5, 0, BYTE, 0, 0 }, { "imul", 0, 0, 0xf7, 5, 0, WIDE, 0, 0 },
	{ "div", 0, 0, 0xf6, 6, 0, BYTE, 0, 0 }, { "div", 0, 0, 0xf7, 6, 0, WIDE, 0, 0 },
	{ "idiv", 0, 0, 0xf6, 7, 0, BYTE, 0, 0 }, { "idiv", 0, 0, 0xf7, 7, 0, WIDE, 0, 0 },
	{ "imul", 0, 0x0f, 0xaf, -1, 0, WIDE, 0, 0 }, { "imul", 0, 0, 0x69, -1, IMM_Z, WIDE, 0, 0 },
	{ "imul", 0, 0, 0x6b, -1, 1, WIDE, 0, 0 },
	SHIFTS(0xc0, 1), SHIFTS(0xd0, 0), SHIFTS(0xd2, 0),
	{ "shld", 0, 0x0f, 0xa4, -1, 1, WIDE, 0, 0 }, { "shld", 0, 0x0f, 0xa5, -1, 0, WIDE, 0, 0 },
	{ "shrd", 0, 0x0f, 0xac, -1, 1, WIDE, 0, 0 }, { "shrd", 0, 0x0f, 0xad, -1, 0, WIDE, 0, 0 },
	BT("bt", 4), BT("bts", 5), BT("btr", 6), BT("btc", 7),
	{ "bsf", 0, 0x0f, 0xbc, -1, 0, WIDE, 0, 0 }, { "bsr", 0, 0x0f, 0xbd, -1, 0, WIDE, 0, 0 },
	{ "popcnt", 0xf3, 0x0f, 0xb8, -1, 0, WIDE, 0, X86_FEAT_POPCNT },
	{ "tzcnt", 0xf3, 0x0f, 0xbc, -1, 0, WIDE, 0, X86_FEAT_BMI1 },
	{ "lzcnt", 0xf3, 0x0f, 0xbd, -1, 0, WIDE, 0, X86_FEAT_LZCNT },
	{ "mov", 0, 0, 0x88, -1, 0, BYTE, 0, 0 }, { "mov", 0, 0, 0x89, -1, 0, WIDE, 0, 0 },
	{ "mov", 0, 0, 0x8a, -1, 0, BYTE, 0, 0 }, { "mov", 0, 0, 0x8b, -1, 0, WIDE, 0, 0 },
	{ "mov", 0, 0, 0xc6, 0, 1, BYTE, 0, 0 }, { "mov", 0, 0, 0xc7, 0, IMM_Z, WIDE, 0, 0 },
	{ "mov", 0, 0, 0xb0, 1, 1, BYTE | DIRECT, 0, 0 },
	{ "mov", 0, 0, 0xb8, 1, IMM_V, WIDE | DIRECT, 0, 0 },
	{ "movzx", 0, 0x0f, 0xb6, -1, 0, WIDE, 0, 0 }, { "movzx", 0, 0x0f, 0xb7, -1, 0, WIDE, 0, 0 },
	{ "movsx", 0, 0x0f, 0xbe, -1, 0, WIDE, 0, 0 }, { "movsx", 0, 0x0f, 0xbf, -1, 0, WIDE, 0, 0 },
	{ "movsxd", 0, 0, 0x63, -1, 0, WIDE, 0, 0 }, { "lea", 0, 0, 0x8d, -1, 0, WIDE | MEM_ONLY, 0, 0 },
	{ "xchg", 0, 0, 0x86, -1, 0, BYTE | LOCKABLE, 0, 0 },
	{ "xchg", 0, 0, 0x87, -1, 0, WIDE | LOCKABLE, 0, 0 },
	{ "xchg", 0, 0, 0x90, 1, 0, WIDE | DIRECT, 0, 0 },
	{ "cmpxchg", 0, 0x0f, 0xb0, -1, 0, BYTE | LOCKABLE, 0, 0 },
	{ "cmpxchg", 0, 0x0f, 0xb1, -1, 0, WIDE | LOCKABLE, 0, 0 },
	{ "xadd", 0, 0x0f, 0xc0, -1, 0, BYTE | LOCKABLE, 0, 0 },
	{ "xadd", 0, 0x0f, 0xc1, -1, 0, WIDE | LOCKABLE, 0, 0 },
	{ "cmpxchg8b", 0, 0x0f, 0xc7, 1, 0, WIDE | NO_REX_W | MEM_ONLY | LOCKABLE, 0, 0 },
	{ "bswap", 0, 0x0f, 0xc8, 1, 0, WIDE | DIRECT, 0, 0 },
	{ "movbe", 0, 0x38, 0xf0, -1, 0, WIDE | MEM_ONLY, 0, X86_FEAT_MOVBE },
	{ "movbe", 0, 0x38, 0xf1, -1, 0, WIDE | MEM_ONLY, 0, X86_FEAT_MOVBE },
	{ "crc32", 0xf2, 0x38, 0xf0, -1, 0, BYTE, 0, X86_FEAT_SSE42 },
	{ "crc32", 0xf2, 0x38, 0xf1, -1, 0, WIDE, 0, X86_FEAT_SSE42 },
	{ "adcx", 0x66, 0x38, 0xf6, -1, 0, BYTE, 0, X86_FEAT_ADX },
	{ "adox", 0xf3, 0x38, 0xf6, -1, 0, BYTE, 0, X86_FEAT_ADX },
	{ "movnti", 0, 0x0f, 0xc3, -1, 0, BYTE | MEM_ONLY, 0, 0 },
	{ "cbw", 0, 0, 0x98, 0, 0, WIDE | DIRECT, 0, 0 }, { "cwd", 0, 0, 0x99, 0, 0, WIDE | DIRECT, 0, 0 },
	{ "sahf", 0, 0, 0x9e, 0, 0, BYTE | DIRECT, 0, X86_FEAT_LAHF_LM },
	{ "lahf", 0, 0, 0x9f, 0, 0, BYTE | DIRECT, 0, X86_FEAT_LAHF_LM },
	{ "cmc", 0, 0, 0xf5, 0, 0, BYTE | DIRECT, 0, 0 }, { "clc", 0, 0, 0xf8, 0, 0, BYTE | DIRECT, 0, 0 },
	{ "stc", 0, 0, 0xf9, 0, 0, BYTE | DIRECT, 0, 0 }, { "cld", 0, 0, 0xfc, 0, 0, BYTE | DIRECT, 0, 0 },
	{ "std", 0, 0, 0xfd, 0, 0, BYTE | DIRECT, 0, 0 }, { "nop", 0, 0x0f, 0x1f, 0, 0, WIDE, 0, 0 },
	{ "push", 0, 0, 0x50, 1, 0, STACK | DIRECT, 0, 0 }, { "pop", 0, 0, 0x58, 1, 0, STACK | DIRECT, 0, 0 },
	{ "push", 0, 0, 0x68, 0, IMM_Z, STACK | DIRECT, 0, 0 },
	{ "push", 0, 0, 0x6a, 0, 1, STACK | DIRECT, 0, 0 },
	{ "push", 0, 0, 0xff, 6, 0, STACK, 0, 0 }, { "pop", 0, 0, 0x8f, 0, 0, STACK, 0, 0 },
	COND(0), COND(1), COND(2), COND(3), COND(4), COND(5), COND(6), COND(7),
	COND(8), COND(9), COND(10), COND(11), COND(12), COND(13), COND(14), COND(15),
	{ "movs", 0, 0, 0xa4, 0, 0, BYTE | STRING | DIRECT, 0, 0 },
	{ "movs", 0, 0, 0xa5, 0, 0, WIDE | STRING | DIRECT, 0, 0 },
	{ "cmps", 0, 0, 0xa6, 0, 0, BYTE | STRING | DIRECT, 0, 0 },
	{ "cmps", 0, 0, 0xa7, 0, 0, WIDE | STRING | DIRECT, 0, 0 },
	{ "stos", 0, 0, 0xaa, 0, 0, BYTE | STRING | DIRECT, 0, 0 },
	{ "stos", 0, 0, 0xab, 0, 0, WIDE | STRING | DIRECT, 0, 0 },
	{ "lods", 0, 0, 0xac, 0, 0, BYTE | STRING | DIRECT, 0, 0 },
	{ "lods", 0, 0, 0xad, 0, 0, WIDE | STRING | DIRECT, 0, 0 },
	{ "scas", 0, 0, 0xae, 0, 0, BYTE | STRING | DIRECT, 0, 0 },
	{ "scas", 0, 0, 0xaf, 0, 0, WIDE | STRING | DIRECT, 0, 0 },
};

/* Small registers, and rBX, rSI, rDI, rSP into memory. */
static void random_state(struct state *s, const struct form *f)
{
	for (unsigned i = 0; i < 16; i++)
		s->regs[i] = f->flags & SMALL ? (u64)((s64)(rnd() % 8192) - 4096) : rnd_value();
	s->regs[X86_RBX] = (u64)mem + 4096 + (rnd() & 1 ? rnd() % 4096 : 4096 - rnd() % 24);
	if (f->opcode == 0xc7 || f->opcode == 0xb1) /* let comparisons succeed at times */
		memcpy(&s->regs[X86_RAX], before + (s->regs[X86_RBX] - (u64)mem), 8);
	s->regs[X86_RSP] = (u64)mem + 4096 + rnd() % 4096;
	s->regs[X86_R15] = rnd() % 64; /* index */
	if (f->flags & STRING) {
		s->regs[X86_RSI] = (u64)mem + 4096 + rnd() % 4096;
		s->regs[X86_RDI] = s->regs[X86_RSI] + rnd() % 16 - 8;
		if (rnd() & 1)
			s->regs[X86_RDI] = (u64)mem + 4096 + rnd() % 4096;
		s->regs[X86_RCX] = rnd() & 3 ? rnd() % 32 : rnd() % 500;
	}
	s->flags = 0x202 | (rnd() & X86_FLAGS_STATUS) | (f->flags & STRING && rnd() & 1 ? X86_DF : 0);
}

/* modrm with [rbx + disp8] or [rbx + r15 * scale + disp8], or a register; *rex gets the bits it needs. */
static u8 *put_modrm(u8 *p, u8 *rex, unsigned reg, const struct form *f)
{
	bool memory = !(f->flags & REG_ONLY) && ((f->flags & MEM_ONLY) || rnd() & 1);

	*rex |= (reg >> 3) << 2;
	if (!memory) {
		unsigned rm = rnd() & 15;

		*rex |= rm >> 3;
		*p++ = 0xc0 | (reg & 7) << 3 | (rm & 7);
	} else if (rnd() & 1) {
		*p++ = 0x43 | (reg & 7) << 3;
		*p++ = (u8)rnd();
	} else {
		*rex |= 2; /* index r15 */
		*p++ = 0x44 | (reg & 7) << 3;
		*p++ = (rnd() & 3) << 6 | 7 << 3 | 3;
		*p++ = (u8)rnd();
	}
	return p;
}

static bool memory_form(const u8 *modrm)
{
	return *modrm < 0xc0;
}

static unsigned imm_bytes(const struct form *f, unsigned size)
{
	if (f->imm == IMM_Z)
		return size == 2 ? 2 : 4;
	return f->imm == IMM_V ? size : f->imm;
}

/* A random encoding of f for an operand size. */
static unsigned encode(const struct form *f, unsigned size, u8 *bytes)
{
	u8 tail[16], *t = tail, *p = bytes, rex = size == 8 && !(f->flags & (STACK | NO_REX_W)) ? 8 : 0;
	unsigned reg = f->ext < 0 ? (unsigned)rnd() & 15 : (unsigned)f->ext, opcode = f->opcode, n;
	bool lock = false;

	if ((f->flags & SMALL) && (reg == X86_RBX || reg == X86_RSP))
		reg = X86_RAX; /* a bit offset, not a pointer */
	if (f->flags & DIRECT) {
		reg = rnd() & 15;
		if (f->ext) {
			opcode += reg & 7;
			rex |= reg >> 3;
		}
	} else {
		t = put_modrm(t, &rex, reg, f);
		lock = (f->flags & LOCKABLE) && memory_form(tail) && rnd() & 1;
	}
	n = imm_bytes(f, size);
	for (u64 imm = rnd_value(); n; n--, imm >>= 8)
		*t++ = (u8)imm;
	if (f->flags & STRING && rnd() & 3)
		*p++ = rnd() & 1 ? 0xf2 : 0xf3;
	if (lock)
		*p++ = 0xf0;
	if (size == 2)
		*p++ = 0x66;
	if (f->prefix)
		*p++ = f->prefix;
	if (rex || rnd() & 1)
		*p++ = 0x40 | rex;
	if (f->escape)
		*p++ = 0x0f;
	if (f->escape > 0x0f)
		*p++ = f->escape;
	*p++ = (u8)opcode;
	return (unsigned)(put(p, tail, (unsigned)(t - tail)) - bytes);
}

static void test_form(const struct form *f)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };
	u32 wanted = f->flags & BYTE ? BIT(0) : f->flags & STACK ? BIT(1) | BIT(3) : BIT(1) | BIT(2) | BIT(3);

	for (unsigned i = 0; i < 4; i++) {
		for (unsigned long n = 0; n < rounds && wanted >> i & 1; n++) {
			struct state s;
			u8 bytes[32];
			unsigned len = encode(f, sizes[i], bytes);

			random_state(&s, f);
			compare_one(bytes, len, &s, f->undefined);
		}
	}
}

/*
 * Division errors of the host come back to run_native(); cmocka has its own handler at the start of a test.
 */
static void catch_faults(void)
{
	static char stack[65536];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };

	sigaltstack(&alt, NULL);
	sigaction(SIGFPE, &action, NULL);
}

static void test_against_host(void **state)
{
	(void)state;
	catch_faults();
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		if (x86_has(&cpu, forms[i].feature))
			test_form(&forms[i]);
	}
}

/* ---- what the table above does not express --------------------------------------------------- */

/* VEX-encoded integer instructions: opcode, pp, map, /ext or -1, immediate bytes. */
static const struct {
	const char *name;
	u8 map, pp, opcode;
	s8 ext;
	u8 imm;
	enum x86_feature feature;
} vex_forms[] = {
	{ "andn", 2, 0, 0xf2, -1, 0, X86_FEAT_BMI1 }, { "bextr", 2, 0, 0xf7, -1, 0, X86_FEAT_BMI1 },
	{ "blsr", 2, 0, 0xf3, 1, 0, X86_FEAT_BMI1 }, { "blsmsk", 2, 0, 0xf3, 2, 0, X86_FEAT_BMI1 },
	{ "blsi", 2, 0, 0xf3, 3, 0, X86_FEAT_BMI1 }, { "bzhi", 2, 0, 0xf5, -1, 0, X86_FEAT_BMI2 },
	{ "mulx", 2, 3, 0xf6, -1, 0, X86_FEAT_BMI2 }, { "pdep", 2, 3, 0xf5, -1, 0, X86_FEAT_BMI2 },
	{ "pext", 2, 2, 0xf5, -1, 0, X86_FEAT_BMI2 }, { "rorx", 3, 3, 0xf0, -1, 1, X86_FEAT_BMI2 },
	{ "sarx", 2, 2, 0xf7, -1, 0, X86_FEAT_BMI2 }, { "shlx", 2, 1, 0xf7, -1, 0, X86_FEAT_BMI2 },
	{ "shrx", 2, 3, 0xf7, -1, 0, X86_FEAT_BMI2 },
};

static void test_vex(void **state)
{
	static const struct form any = { .flags = WIDE };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(vex_forms); i++) {
		for (unsigned long n = 0; n < 4 * rounds && x86_has(&cpu, vex_forms[i].feature); n++) {
			s8 ext = vex_forms[i].ext;
			unsigned reg = ext < 0 ? (unsigned)rnd() & 15 : (unsigned)ext;
			u8 bytes[16], *p = bytes + 4, rex = 0, w = rnd() & 1;
			unsigned vvvv = vex_forms[i].imm ? 0 : (unsigned)rnd() & 15;
			struct state s;

			p = put_modrm(p, &rex, reg, &any);
			if (vex_forms[i].imm)
				*p++ = (u8)rnd();
			bytes[0] = 0xc4;
			bytes[1] = (~rex & 7) << 5 | vex_forms[i].map;
			bytes[2] = w << 7 | (~vvvv & 15) << 3 | vex_forms[i].pp;
			bytes[3] = vex_forms[i].opcode;
			random_state(&s, &any);
			compare_one(bytes, (unsigned)(p - bytes), &s, 0);
		}
	}
}

/* Aligned memory, and comparisons that succeed half of the time. */
static void test_cmpxchg16b(void **state)
{
	static const u8 bytes[] = { 0xf0, 0x48, 0x0f, 0xc7, 0x0e }; /* lock cmpxchg16b [rsi] */
	static const struct form any = { .flags = WIDE };
	struct state s;

	(void)state;
	for (unsigned long n = 0; n < rounds && x86_has(&cpu, X86_FEAT_CX16); n++) {
		random_state(&s, &any);
		s.regs[X86_RSI] = (u64)mem + (rnd() % 4000 & ~15ull);
		if (rnd() & 1) {
			memcpy(&s.regs[X86_RAX], before + s.regs[X86_RSI] - (u64)mem, 8);
			memcpy(&s.regs[X86_RDX], before + s.regs[X86_RSI] - (u64)mem + 8, 8);
		}
		compare_one(bytes, sizeof(bytes), &s, 0);
	}
}

static void test_frames(void **state)
{
	static const struct {
		u8 bytes[5], len;
	} cases[] = {
		{ { 0xc9 }, 1 }, { { 0x66, 0xc9 }, 2 },
		{ { 0xc8, 0x20, 0, 0 }, 4 }, { { 0xc8, 0x08, 0, 1 }, 4 },
		{ { 0xc8, 0x10, 0, 5 }, 4 }, { { 0x66, 0xc8, 0x10, 0, 3 }, 5 },
		{ { 0xd7 }, 1 }, { { 0x9c }, 1 },
	};
	static const struct form any = { .flags = WIDE };
	struct state s;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned long n = 0; n < rounds; n++) {
			random_state(&s, &any);
			s.regs[X86_RBP] = s.regs[X86_RSP] + 8 * (rnd() % 32);
			s.regs[X86_RSP] += 512;
			compare_one(cases[i].bytes, cases[i].len, &s, 0);
		}
	}
}

/* ---- 32-bit code: the decimal adjustments, through the host's compatibility mode ------------- */

#define USER_CS32 0x23
#define USER_CS64 0x33

/* AX and flags after the instruction; runs in a child process that may die of it. */
struct bcd_result {
	u32 ax, flags;
};

static void build_bcd(u8 *code, const u8 *bytes, unsigned len, struct native_area *low)
{
	u8 *p = code, *inner = code + 256, *back = code + 512;
	u32 target;

	p = put(p, "\x53\x55", 2); /* push rbx, rbp */
	p = put_mov(p, 0x89, X86_RSP, &low->host_rsp);
	p = put(p, "\x6a\x23\x68", 3); /* push USER_CS32; push inner */
	target = (u32)(u64)inner;
	p = put(p, &target, 4);
	p = put_stack(p, 0xff, 6, &low->in.flags);
	p = put_mov(p, 0x8b, X86_RAX, &low->in.regs[X86_RAX]);
	put(p, "\x9d\x48\xcb", 3); /* popfq; lretq */

	p = put(inner, bytes, len);
	p = put(p, "\xea", 1); /* ljmp USER_CS64:back */
	target = (u32)(u64)back;
	p = put(p, &target, 4);
	put(p, "\x33\x00", 2);

	p = put_mov(back, 0x8b, X86_RSP, &low->host_rsp);
	p = put_mov(p, 0x89, X86_RAX, &low->out.regs[X86_RAX]);
	p = put(p, "\x9c", 1);
	p = put_stack(p, 0x8f, 0, &low->out.flags);
	put(p, "\x5d\x5b\xc3", 3);
}

#define BCD_CASES (65536 * 4)

static u64 bcd_flags(unsigned n)
{
	return 0x202 | (n & 0x10000 ? X86_CF : 0) | (n & 0x20000 ? X86_AF : 0);
}

/* All results of the host in a shared array; false if it has no 32-bit mode for us. */
static bool bcd_native(const u8 *bytes, unsigned len, struct bcd_result *results)
{
	int prot = PROT_READ | PROT_WRITE | PROT_EXEC, status;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
	pid_t pid = fork();

	if (!pid) {
		struct native_area *low = mmap(NULL, sizeof(*low), prot, flags, -1, 0);

		signal(SIGSEGV, SIG_DFL);
		if (low == MAP_FAILED)
			_exit(1);
		build_bcd(low->code, bytes, len, low);
		for (unsigned n = 0; n < BCD_CASES; n++) {
			low->in.regs[X86_RAX] = n & 0xffff;
			low->in.flags = bcd_flags(n);
			((void (*)(void))(void *)low->code)();
			results[n] = (struct bcd_result){ (u32)low->out.regs[X86_RAX], (u32)low->out.flags };
		}
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_decimal(void **state)
{
	static const struct {
		u8 bytes[2], len;
		u32 undefined;
	} cases[] = {
		{ { 0x27 }, 1, X86_OF }, { { 0x2f }, 1, X86_OF },
		{ { 0x37 }, 1, X86_OF | X86_SF | X86_ZF | X86_PF },
		{ { 0x3f }, 1, X86_OF | X86_SF | X86_ZF | X86_PF },
		{ { 0xd4, 10 }, 2, X86_OF | X86_AF | X86_CF }, { { 0xd4, 7 }, 2, X86_OF | X86_AF | X86_CF },
		{ { 0xd5, 10 }, 2, X86_OF | X86_AF | X86_CF }, { { 0xd5, 200 }, 2, X86_OF | X86_AF | X86_CF },
	};
	struct bcd_result *results = mmap(NULL, BCD_CASES * sizeof(*results), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	cpu.code_bits = 32;
	cpu.mode = X86_MODE_COMPAT;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct x86_insn insn;

		if (!bcd_native(cases[i].bytes, cases[i].len, results)) {
			print_message("no 32-bit code on this host\n");
			break;
		}
		assert_true(decode(cases[i].bytes, cases[i].len, &insn));
		for (unsigned n = 0; n < BCD_CASES; n++) {
			struct state s = { .regs[X86_RAX] = n & 0xffff, .flags = bcd_flags(n) };

			assert_int_equal(run_emulated(&insn, &s), X86_OK);
			if ((u32)s.regs[X86_RAX] != results[n].ax ||
			    ((s.flags ^ results[n].flags) & X86_FLAGS_STATUS & ~cases[i].undefined))
				fail_msg("%02x of %x: ax %x, host %x; flags %x, host %x",
					 cases[i].bytes[0], n, (u32)s.regs[X86_RAX], results[n].ax,
					 (u32)s.flags, results[n].flags);
		}
	}
	cpu.code_bits = 64;
	cpu.mode = X86_MODE_LONG;
	munmap(results, BCD_CASES * sizeof(*results));
}

/* ---- */

static void become_user(void)
{
	static struct kvm_cpuid_entry2 cpuid[256];
	int n = x86_cpuid_supported(cpuid, ARRAY_SIZE(cpuid));

	assert_true(n > 0);
	cpu.mem = &fake_mem;
	cpu.tlb = tlb;
	cpu.mode = X86_MODE_LONG;
	cpu.code_bits = 64;
	cpu.stack_size = 8;
	cpu.canonical_bits = 48;
	cpu.seg_flat = 0x3f;
	cpu.cpl = 3;
	cpu.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_SCE;
	x86_cpuid_apply(&cpu, cpuid, (unsigned)n);
}

static int setup(void **state)
{
	int prot = PROT_READ | PROT_WRITE;

	(void)state;
	mem = mmap(NULL, MEM_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area = mmap(NULL, sizeof(*area), prot | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || area == MAP_FAILED)
		return -1;
	for (unsigned i = 0; i < MEM_SIZE; i++)
		before[i] = (u8)(rnd() & 3 ? rnd() : 0);
	become_user();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_host),
		cmocka_unit_test(test_vex),
		cmocka_unit_test(test_cmpxchg16b),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_decimal),
	};

	if (argc > 1)
		rounds = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0) | 1;
	return cmocka_run_group_tests(tests, setup, NULL);
}
