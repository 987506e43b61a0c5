// SPDX-License-Identifier: GPL-2.0-only
/* What of two outcomes must be the same, and how to show what is not. */
#include <string.h>

#include <Zydis/Zydis.h>

#include "tests/insn/insn.h"

bool strict;

static const char *const gpr_names[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

/* ---- the undefined --------------------------------------------------------------------------------- */

/* Count of a shift or rotate, as far as flags are concerned; -1: not one. */
static int shift_count(const struct sample *s)
{
	const struct x86_insn *insn = &s->insn;
	unsigned last = insn->nr_operands - 1u;
	u64 count;

	if (insn->op < X86_OP_ROL || insn->op > X86_OP_SHRD)
		return -1;
	count = insn->operand[last].kind == X86_OPD_IMM ? insn->imm : s->state.gpr[X86_RCX];
	return (int)(count & (insn->osize == 8 ? 63 : 31));
}

static u32 undefined_flags(const struct sample *s)
{
	u32 u = s->insn.desc->flags_undefined;
	int count = shift_count(s);
	unsigned bits = 8u * s->insn.osize;

	if (strict)
		return 0;
	if (count < 0)
		return u;
	if (count == 0)
		return 0;
	if (count == 1)
		u &= ~X86_OF;
	if ((s->insn.op == X86_OP_SHL || s->insn.op == X86_OP_SHR) && (unsigned)count >= bits)
		u |= X86_CF;
	if ((s->insn.op == X86_OP_SHLD || s->insn.op == X86_OP_SHRD) && (unsigned)count > bits)
		u |= X86_FLAGS_STATUS;
	return u;
}

/* Registers whose value depends on the machine. */
static u32 unpredictable_registers(const struct sample *s)
{
	switch (s->insn.op) {
	case X86_OP_RDTSC:
		return BIT(X86_RAX) | BIT(X86_RDX);
	case X86_OP_RDTSCP:
		return BIT(X86_RAX) | BIT(X86_RCX) | BIT(X86_RDX);
	case X86_OP_RDRAND:
	case X86_OP_RDSEED:
	case X86_OP_RDPID:
		return BIT(s->insn.operand[0].reg);
	default:
		return 0;
	}
}

/* SHLD and SHRD of 16 bits by more than 16 leave an undefined result. */
static bool result_undefined(const struct sample *s)
{
	int count = shift_count(s);

	return (s->insn.op == X86_OP_SHLD || s->insn.op == X86_OP_SHRD) && count > 8 * s->insn.osize;
}

bool predictable(const struct sample *s)
{
	return !unpredictable_registers(s) && !result_undefined(s);
}

/* ---- differences ----------------------------------------------------------------------------------- */

struct diff {
	char text[4000];
	unsigned used;
};

#define DIFFER(d, ...)                                                                                  \
	do {                                                                                            \
		if ((d)->used < sizeof((d)->text) - 200)                                                \
			(d)->used += (unsigned)snprintf((d)->text + (d)->used, 200, __VA_ARGS__);       \
	} while (0)

static void bytes_differ(struct diff *d, const char *name, unsigned n, const u8 *a, const u8 *b,
			 const u8 *was, unsigned size)
{
	DIFFER(d, "  %s%u\n", name, n);
	for (unsigned k = 0; k < 3; k++) {
		const u8 *p = k == 0 ? was : k == 1 ? a : b;

		DIFFER(d, "    %s", k == 0 ? "before " : k == 1 ? "native " : "guest  ");
		for (unsigned i = size; i--;)
			DIFFER(d, "%02x%s", p[i], i % 8 ? "" : " ");
		DIFFER(d, "\n");
	}
}

/*
 * x87 environments and FXSAVE areas are accessed in pieces whose order is the CPU's own: CR2 names any of
 * them.
 */
static u64 cr2_slack(const struct sample *s)
{
	bool area = s->insn.op == X86_OP_FXSAVE || s->insn.op == X86_OP_FXRSTOR;

	return area || (s->insn.op == X86_OP_X87 && s->insn.operand[0].size > 10) ? 4095 : 0;
}

/* How far a gather gets before a fault is the CPU's own choice, too. */
static bool partly_done(const struct sample *s, const struct outcome *o)
{
	return s->insn.desc->flags & X86_F_VSIB && o->vector == X86_PF_VECTOR;
}

/*
 * Of what is undefined and, under the CPU's own idea of which opcodes have a ModRM byte or an immediate, too
 * long besides, either is reported: #UD or #GP(0).
 */
static bool undefined_or_too_long(const struct sample *s, const struct outcome *a, const struct outcome *b)
{
	return s->insn.op == X86_OP_UD && a->vector == X86_GP && a->error == 0 && b->vector == X86_UD &&
	       a->state.rip == b->state.rip;
}

/* Linux reports accesses to its own half as protection violations, present or not (sanitize_error_code()). */
static u32 error_slack(const struct outcome *native)
{
	return native->vector == X86_PF_VECTOR && native->cr2 >= 0x7ffffffff000ull ? 1 : 0;
}

static void compare_integer(struct diff *d, const struct sample *s, const struct outcome *a,
			    const struct outcome *b)
{
	u32 skip = unpredictable_registers(s);
	/* Leaving for a 64-bit kernel and back does not keep the high halves (SDM vol. 1 section 3.4.1.1). */
	u64 mask = s->mode == 64 ? ~0ull : 0xffffffff;
	u64 flags = (X86_FLAGS_STATUS | X86_DF | X86_AC) & ~undefined_flags(s);

	if ((a->vector != b->vector || (a->error ^ b->error) & ~error_slack(a)) &&
	    !undefined_or_too_long(s, a, b))
		DIFFER(d, "  vector %d error %#x, guest %d %#x\n", a->vector, a->error, b->vector, b->error);
	if (a->vector == X86_PF_VECTOR && b->vector == a->vector && (a->cr2 ^ b->cr2) & ~cr2_slack(s))
		DIFFER(d, "  cr2 %#llx, guest %#llx\n", (long long)a->cr2, (long long)b->cr2);
	if (a->state.rip != b->state.rip || a->state.cs != b->state.cs)
		DIFFER(d, "  rip %x:%#llx, guest %x:%#llx\n", a->state.cs, (long long)a->state.rip,
		       b->state.cs, (long long)b->state.rip);
	if ((a->state.rflags ^ b->state.rflags) & flags)
		DIFFER(d, "  rflags %#llx, guest %#llx, before %#llx, of these count %#llx\n",
		       (long long)a->state.rflags, (long long)b->state.rflags, (long long)s->state.rflags,
		       (long long)flags);
	for (unsigned i = 0; i < (s->mode == 64 ? 16 : 8); i++) {
		if (skip & BIT(i) || ((result_undefined(s) && i == s->insn.operand[0].reg)))
			continue;
		if ((a->state.gpr[i] ^ b->state.gpr[i]) & mask)
			DIFFER(d, "  %s %#llx, guest %#llx, before %#llx\n", gpr_names[i],
			       (long long)a->state.gpr[i], (long long)b->state.gpr[i],
			       (long long)s->state.gpr[i]);
	}
}

/* A component that XSTATE_BV says is in its initial state. */
static bool initial(const u8 *xsave, unsigned component)
{
	u64 bv;

	memcpy(&bv, xsave + 512, 8);
	return !(bv >> component & 1);
}

static void load_fx(struct fxsave *fx, const u8 *xsave)
{
	memcpy(fx, xsave, sizeof(*fx));
	if (initial(xsave, 0)) {
		fx->fcw = 0x37f;
		fx->fsw = 0;
		fx->ftw = 0;
		memset(fx->st, 0, sizeof(fx->st));
	}
	if (initial(xsave, 1))
		memset(fx->xmm, 0, sizeof(fx->xmm));
}

/* MMX instructions that fault have turned the x87 state into MMX state before, on some CPUs. */
static bool x87_unknown(const struct sample *s, const struct outcome *o)
{
	return s->insn.desc->flags & X86_F_MMX && (o->vector == X86_XM || o->vector == X86_PF_VECTOR);
}

static void compare_x87(struct diff *d, const struct fxsave *a, const struct fxsave *b,
			const struct fxsave *was)
{
	if (a->fcw != b->fcw)
		DIFFER(d, "  fcw %#x, guest %#x, before %#x\n", a->fcw, b->fcw, was->fcw);
	if (a->fsw != b->fsw)
		DIFFER(d, "  fsw %#x, guest %#x, before %#x\n", a->fsw, b->fsw, was->fsw);
	if (a->ftw != b->ftw)
		DIFFER(d, "  ftw %#x, guest %#x, before %#x\n", a->ftw, b->ftw, was->ftw);
	for (unsigned i = 0; i < 8; i++) {
		if (memcmp(a->st[i], b->st[i], 10))
			bytes_differ(d, "st", i, a->st[i], b->st[i], was->st[i], 10);
	}
}

/*
 * Whether a result that underflows or overflows, unmasked, is inexact too: engine/soft/native_slow.c says why
 * not always. Dot products multiply, then add: what masked exceptions the products had before a sum failed is
 * not known afterwards.
 */
static u32 mxcsr_slack(const struct sample *s, const struct outcome *o, u32 mxcsr)
{
	bool dot_product = s->insn.map == 3 && (s->insn.opcode & 0xfe) == 0x40;

	if (o->vector == X86_XM && dot_product)
		return 0x38;
	return o->vector == X86_XM && mxcsr & 0x18 ? 0x20 : 0;
}

static void compare_vectors(struct diff *d, const struct sample *s, const struct outcome *native,
			    const struct outcome *guest)
{
	const u8 *a = native->state.xsave, *b = guest->state.xsave;
	static const u8 zero[16];
	struct fxsave fa, fb, was;

	load_fx(&fa, a);
	load_fx(&fb, b);
	load_fx(&was, s->state.xsave);
	if (!x87_unknown(s, native))
		compare_x87(d, &fa, &fb, &was);
	if ((fa.mxcsr ^ fb.mxcsr) & ~mxcsr_slack(s, native, fa.mxcsr))
		DIFFER(d, "  mxcsr %#x, guest %#x, before %#x\n", fa.mxcsr, fb.mxcsr, was.mxcsr);
	for (unsigned i = 0; i < (s->mode == 64 ? 16 : 8); i++) {
		const u8 *ya = initial(a, 2) ? zero : a + XSAVE_YMM + 16 * i;
		const u8 *yb = initial(b, 2) ? zero : b + XSAVE_YMM + 16 * i;

		if (memcmp(fa.xmm[i], fb.xmm[i], 16))
			bytes_differ(d, "xmm", i, fa.xmm[i], fb.xmm[i], was.xmm[i], 16);
		if (memcmp(ya, yb, 16))
			bytes_differ(d, "upper half of ymm", i, ya, yb, s->state.xsave + XSAVE_YMM + 16 * i,
				     16);
	}
}

static void compare_memory(struct diff *d, const struct sample *s)
{
	const u8 *a = bare_data(), *b = guest_data();

	if (!memcmp(a, b, DATA_SIZE) || (result_undefined(s) && s->insn.operand[0].kind == X86_OPD_MEM))
		return;
	for (unsigned i = 0; i < DATA_SIZE; i += 16) {
		if (memcmp(a + i, b + i, 16))
			bytes_differ(d, "memory, data + ", i, a + i, b + i, s->data + i, 16);
	}
}

/* ---- showing --------------------------------------------------------------------------------------- */

static void print_bytes(FILE *f, const char *what, const u8 *p, unsigned n)
{
	if (!n)
		return;
	fputs(what, f);
	while (n--)
		fprintf(f, " %02x", *p++);
	fputc('\n', f);
}

void print_sample(FILE *f, const struct sample *s)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;
	char text[200] = "?";

	if (s->mode == 64)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (s->mode == 32)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, s->code, s->insn.len, &z, zo)))
		ZydisFormatterFormatInstruction(&formatter, &z, zo, z.operand_count_visible, text,
						sizeof(text), s->rip, NULL);
	fprintf(f, "%u-bit at %#lx:", s->mode, (unsigned long)s->rip);
	for (unsigned i = 0; i < s->insn.len; i++)
		fprintf(f, " %02x", s->code[i]);
	fprintf(f, "  %s  [%s]\n", text, s->insn.desc->name);
	print_bytes(f, "  before it:", s->lead, s->lead_len);
	print_bytes(f, "  behind it:", s->tail, s->tail_len);
}

static void print_start(FILE *f, const struct sample *s)
{
	const struct fxsave *fx = (const struct fxsave *)s->state.xsave;

	for (unsigned i = 0; i < (s->mode == 64 ? 16 : 8); i++)
		fprintf(f, "%s%s=%llx%s", i % 8 ? " " : "  ", gpr_names[i], (long long)s->state.gpr[i],
			i % 8 == 7 ? "\n" : "");
	fprintf(f, "  rflags=%llx fcw=%x fsw=%x ftw=%x mxcsr=%x operand at %llx\n",
		(long long)s->state.rflags, fx->fcw, fx->fsw, fx->ftw, fx->mxcsr, (long long)s->target);
}

bool compare(const struct sample *s, const struct outcome *native, const struct outcome *guest)
{
	struct diff d = { .used = 0 };

	compare_integer(&d, s, native, guest);
	if (!partly_done(s, native))
		compare_vectors(&d, s, native, guest);
	compare_memory(&d, s);
	if (!d.used)
		return true;
	print_sample(stdout, s);
	print_start(stdout, s);
	printf("  native: vector %d\n%s", native->vector, d.text);
	return false;
}
