// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native execution against the bare CPU: random instructions of all vector, MMX and x87 opcodes that the
 * host has, with random registers and memory operands that are in the TLB, only pinnable, device-like,
 * cross a page or reach into nothing; exceptions masked and unmasked. Registers, flags, memory, exception
 * and CR2 must agree.
 *
 * Arguments: [count of random instructions] [seed].
 */
#include "tests/unit/bare_cpu.h"

#include <Zydis/Zydis.h>

#include "engine/soft/rename.h"
#include "x86/opcodes.h"

#ifdef __SANITIZE_ADDRESS__
static unsigned long count = 30000;
#else
static unsigned long count = 200000;
#endif
static u8 data_before[DATA_SIZE], data_native[DATA_SIZE];

/* ---- random instructions and states ------------------------------------------------------------------ */

static bool feature_ok[X86_NR_FEATURES];

static void put_legacy(u8 *p)
{
	static const u8 prefixes[] = { 0, 0x66, 0xf3, 0xf2 };
	u8 prefix = prefixes[rnd() % 4];

	if (prefix)
		*p++ = prefix;
	if (rnd() & 1)
		*p++ = 0x40 | (rnd() & 15);
	*p++ = 0x0f;
	switch (rnd() % 4) {
	case 0:
		*p++ = 0x38;
		break;
	case 1:
		*p++ = 0x3a;
		break;
	}
}

static void put_vex(u8 *p)
{
	if (rnd() & 1) {
		*p++ = 0xc5;
		*p = (u8)rnd();
		if (rnd() & 1)
			*p |= 0x78;
		return;
	}
	*p++ = 0xc4;
	*p++ = (u8)((rnd() & 0xe0) | (1 + rnd() % 3));
	*p = (u8)rnd();
	if (rnd() & 1)
		*p |= 0x78;
}

static void random_bytes(u8 *bytes)
{
	for (unsigned i = 0; i < 16; i++)
		bytes[i] = (u8)rnd();
	switch (rnd() % 5) {
	case 0:
	case 1:
		put_legacy(bytes);
		break;
	case 2:
	case 3:
		put_vex(bytes);
		break;
	default:
		bytes[0] = (u8)(0xd8 | (rnd() & 7));
	}
}

/* Floating-point values that make exceptions: zeros, denormals, infinities, NaNs, large and small numbers. */
static u32 odd_float(void)
{
	static const u32 odd[] = { 0,	       0x80000000, 1,	       0x807fffff, 0x00800000,
				   0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0x7f7fffff,
				   0x3f800000, 0x4f000000, 0x20000000, 0x60000000 };

	return rnd() & 3 ? odd[rnd() % ARRAY_SIZE(odd)] : (u32)rnd();
}

static void fill(u8 *p, unsigned n)
{
	unsigned kind = rnd() % 3;

	for (unsigned i = 0; i + 8 <= n; i += 8) {
		u64 v = rnd();

		if (kind == 1)
			v = odd_float() | (u64)odd_float() << 32;
		if (kind == 2) {
			u32 f = odd_float(); /* the double that is as odd */

			v = (u64)(f & 0x80000000) << 32 | (u64)(f & 0x7f800000) << 29 | (f & 0x7fffff);
			if ((f & 0x7f800000) == 0x7f800000)
				v |= 0x7ff0000000000000;
			if ((f & 0x7f800000) < 0x01000000)
				v &= 0x800fffffffffffff;
		}
		memcpy(p + i, &v, 8);
	}
}

static void random_state(struct state *s, bool unmasked)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = rnd();
	s->flags = rnd() & X86_FLAGS_STATUS;
	s->rip = (u64)CODE + 64;
	s->xsave.xstate_bv = x86_fpu_host.live;
	s->xsave.fx.fcw = 0x37f;
	s->xsave.fx.mxcsr = 0x1f80;
	if (rnd() & 1)
		s->xsave.fx.mxcsr ^= rnd() & 0xe07f; /* rounding, FTZ, DAZ, sticky flags */
	if (rnd() & 1)
		s->xsave.fx.fcw ^= rnd() & 0xf00;
	if (unmasked) {
		s->xsave.fx.mxcsr &= ~(rnd() & 0x1f80);
		s->xsave.fx.fcw &= ~(rnd() & 0x3f);
		if (rnd() & 1)
			s->xsave.fx.fsw |= rnd() & 0x3f;
	}
	s->xsave.fx.fsw |= rnd() & 0x7f00;
	s->xsave.fx.ftw = (u8)(rnd() & 1 ? rnd() : 0xff);
	for (unsigned i = 0; i < 8; i++) {
		fill(s->xsave.fx.st[i], 8);
		s->xsave.fx.st[i][8] = (u8)rnd();
		s->xsave.fx.st[i][9] = (u8)(rnd() & 1 ? 0x3f : rnd());
	}
	fill(s->xsave.fx.xmm[0], sizeof(s->xsave.fx.xmm));
	for (unsigned i = 2; i < 8; i++)
		if (x86_fpu_host.live >> i & 1)
			fill(s->image + x86_fpu_host.offset[i], x86_fpu_host.length[i]);
}

/* An address in DATA, often where it matters: at page ends, at the end of what is mapped. */
static u64 random_target(const struct x86_insn *insn, unsigned size)
{
	u64 at = (u64)DATA;

	switch (rnd() % 8) {
	case 0:
		at += 4096 - rnd() % (size + 1);
		break;
	case 1:
		at += DATA_SIZE - rnd() % (size + 1);
		break;
	default:
		at += rnd() % (DATA_SIZE - 2 * size - 64);
	}
	if ((insn->desc->flags & (X86_F_ALIGN | X86_F_ALIGN_SSE)) && rnd() % 8)
		at &= ~63ull;
	return at;
}

/* Makes the memory operand point there; false if it cannot be made to. */
static bool aim(struct x86_insn *insn, struct state *s, u64 target)
{
	u64 rest = (u64)insn->disp;

	if (insn->seg >= X86_FS && insn->seg <= X86_GS)
		return false;
	if (insn->base == X86_REG_RIP || (insn->base == X86_REG_ZERO && insn->index == X86_REG_ZERO)) {
		s32 disp = (s32)(insn->base == X86_REG_RIP ? target - s->rip - insn->len : target);

		if (insn->disp_len != 4)
			return false;
		memcpy(insn->bytes + insn->len - insn->imm_len - 4, &disp, 4);
		return fake_decode(insn, insn->bytes, 64);
	}
	if (insn->base == X86_REG_ZERO || insn->base == insn->index)
		return false;
	if (insn->index != X86_REG_ZERO)
		rest += s->gpr[insn->index] << insn->scale;
	s->gpr[insn->base] = target - rest;
	if (insn->asize == 4)
		s->gpr[insn->base] = (u32)s->gpr[insn->base];
	return true;
}

/* Gathers: indices that point into DATA, or a little out of it. */
static void aim_gather(const struct x86_insn *insn, struct state *s)
{
	u8 *low = s->xsave.fx.xmm[insn->index & 15];
	u8 *high = s->image + x86_fpu_host.offset[2] + 16 * (insn->index & 15);

	if (insn->base < 16)
		s->gpr[insn->base] = (u64)DATA + 64 - (u64)insn->disp;
	for (unsigned i = 0; i < 32; i += insn->opcode & 1 ? 8 : 4) {
		u64 index = rnd() % (DATA_SIZE + (rnd() % 4 ? 0 : 64)) >> insn->scale;

		memcpy(i < 16 ? low + i : high + i - 16, &index, insn->opcode & 1 ? 8 : 4);
	}
}

static bool random_instruction(struct x86_insn *insn, struct state *s)
{
	u8 bytes[32] = { 0 };
	int m;

	random_bytes(bytes);
	if (!fake_decode(insn, bytes, 64) || insn->exec != native_exec)
		return false;
	if (insn->prefix & X86_PFX_EVEX || !feature_ok[insn->desc->feature] ||
	    insn->desc->state == X86_STATE_AVX512)
		return false;
	m = rename_mem_operand(insn);
	if (insn->desc->flags & X86_F_IMPLICIT_DI) {
		s->gpr[X86_RDI] = random_target(insn, 16);
		return insn->asize == 8 && insn->seg < X86_FS;
	}
	if (insn->desc->flags & X86_F_VSIB) {
		if (insn->base == X86_REG_ZERO || insn->asize != 8 || insn->seg >= X86_FS)
			return false;
		aim_gather(insn, s);
		return true;
	}
	return m < 0 || aim(insn, s, random_target(insn, insn->operand[m].size));
}

/* ---- comparing --------------------------------------------------------------------------------------- */

/*
 * FLDENV, FNSTENV, FRSTOR, FNSAVE: which byte of the next page they touch first is the processor's affair,
 * and the segment selectors in the image are lost by the host's kernel now and then.
 */
static bool is_environment(const struct x86_insn *insn)
{
	return insn->op == X86_OP_X87 && insn->modrm >> 6 != 3 && (insn->modrm >> 3 & 5) == 4 &&
	       (insn->opcode == 0xd9 || insn->opcode == 0xdd);
}

/* The processor need not say the first byte that faults. */
static bool faults_anywhere(const struct x86_insn *insn)
{
	return is_environment(insn) || (insn->desc->flags & X86_F_IMPLICIT_DI);
}

static bool has_mmx(const struct x86_insn *insn)
{
	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_MMX)
			return true;
	return false;
}

static u32 comparable_mxcsr(const struct x86_insn *insn, const struct state *s)
{
	u32 mxcsr = s->xsave.fx.mxcsr;

	/* PE beside unmasked OE or UE: see native_run(). */
	if (s->vector == X86_XM && (mxcsr & ~(mxcsr >> 7) & 0x18))
		mxcsr &= ~0x20u;
	/* DPPS and DPPD are several operations, of which the exception may stop the later ones. */
	if (s->vector == X86_XM && insn->map == 3 && (insn->opcode == 0x40 || insn->opcode == 0x41))
		mxcsr &= ~0x3fu;
	return mxcsr;
}

static const char *difference(const struct x86_insn *insn, const struct state *bare,
			      const struct state *guest)
{
	const struct x86_fxsave *a = &bare->xsave.fx, *b = &guest->xsave.fx;
	u32 defined = ~(u32)insn->desc->flags_undefined;

	if (bare->vector != guest->vector)
		return "exception";
	if (bare->vector == X86_PF_VECTOR && (bare->cr2 ^ guest->cr2) >> (faults_anywhere(insn) ? 12 : 0))
		return "CR2";
	if (memcmp(bare->gpr, guest->gpr, sizeof(bare->gpr)))
		return "general registers";
	if ((bare->flags ^ guest->flags) & X86_FLAGS_STATUS & defined)
		return "flags";
	if (comparable_mxcsr(insn, bare) != comparable_mxcsr(insn, guest))
		return "MXCSR";
	/* Whether the switch to MMX state came before the exception is the processor's affair. */
	if (bare->vector >= 0 && has_mmx(insn))
		return NULL;
	if (a->fcw != b->fcw || a->fsw != b->fsw || a->ftw != b->ftw)
		return "x87 control";
	if (memcmp(a->st, b->st, sizeof(a->st)))
		return "x87 registers";
	if (memcmp(a->xmm, b->xmm, sizeof(a->xmm)))
		return "XMM";
	if (memcmp(bare->image + x86_fpu_host.offset[2], guest->image + x86_fpu_host.offset[2],
		   x86_fpu_host.length[2]))
		return "YMM";
	if (!is_environment(insn) && memcmp(data_native, DATA, DATA_SIZE))
		return "memory";
	return NULL;
}

/* XSAVE leaves components in their initial state alone: make the bytes say so. */
static void normalise(struct state *s)
{
	u64 bv = s->xsave.xstate_bv;
	static const u8 initial[32] = { 0x7f, 3 };

	if (!(bv & X86_XCR0_X87)) {
		memcpy(s->image, initial, 24);
		memset(s->xsave.fx.st, 0, sizeof(s->xsave.fx.st));
	}
	if (!(bv & X86_XCR0_SSE))
		memset(s->xsave.fx.xmm, 0, sizeof(s->xsave.fx.xmm));
	if (!(bv & X86_XCR0_AVX))
		memset(s->image + x86_fpu_host.offset[2], 0, x86_fpu_host.length[2]);
}

static const char *run_both(struct x86_insn *insn, const struct state *before, struct state *bare,
			    struct state *guest)
{
	struct x86_insn copy = *insn;
	enum x86_result r;

	*bare = *guest = *before;
	memcpy(DATA, data_before, DATA_SIZE);
	bare_run(bare, insn->bytes, insn->len);
	normalise(bare);
	memcpy(data_native, DATA, DATA_SIZE);
	memcpy(DATA, data_before, DATA_SIZE);
	fake_load(before);
	r = fake_execute(&copy, 1);
	fake_store(guest, r);
	return difference(insn, bare, guest);
}

static void complain(const struct x86_insn *insn, const char *what, const struct state *before,
		     const struct state *bare, const struct state *guest)
{
	print_message("%s differs: %s vlen %u, bytes", what, insn->desc->name, insn->vlen);
	for (unsigned i = 0; i < insn->len; i++)
		print_message(" %02x", insn->bytes[i]);
	print_message("\n  exception %d / %d, cr2 %lx / %lx, mxcsr %x -> %x / %x, fcw %x fsw %x -> %x / %x "
		      "ftw %x / %x, flags %lx / %lx\n",
		      bare->vector, guest->vector, bare->cr2, guest->cr2, before->xsave.fx.mxcsr,
		      bare->xsave.fx.mxcsr, guest->xsave.fx.mxcsr, before->xsave.fx.fcw, before->xsave.fx.fsw,
		      bare->xsave.fx.fsw, guest->xsave.fx.fsw, bare->xsave.fx.ftw, guest->xsave.fx.ftw,
		      bare->flags, guest->flags);
}

static void random_against_bare(bool unmasked, bool tlb, bool direct)
{
	struct state before, bare, guest;
	struct x86_insn insn;
	unsigned long done = 0, failed = 0, excepted = 0;

	bare_catch();
	fake_tlb(tlb);
	fake.direct = direct;
	while (done < count / 4) {
		const char *what = "";

		random_state(&before, unmasked);
		if (!random_instruction(&insn, &before))
			continue;
		if (!(done & 15))
			fill(data_before, DATA_SIZE);
		/* A context switch may lose x87 pointers, nothing else: try again before believing it. */
		for (unsigned i = 0; what && i < 3; i++)
			what = run_both(&insn, &before, &bare, &guest);
		excepted += bare.vector >= 0;
		if (what && failed++ < 20)
			complain(&insn, what, &before, &bare, &guest);
		done++;
	}
	print_message("%lu instructions, %lu with an exception, %lu reads, %lu writes\n", done, excepted,
		      fake.reads, fake.writes);
	fake_tlb(true);
	fake.direct = true;
	assert_int_equal(failed, 0);
}

static void masked_in_tlb(void **unused)
{
	(void)unused;
	random_against_bare(false, true, true);
}

static void masked_pinned(void **unused)
{
	(void)unused;
	random_against_bare(false, false, true);
}

static void masked_device(void **unused)
{
	(void)unused;
	random_against_bare(false, false, false);
}

static void unmasked_in_tlb(void **unused)
{
	(void)unused;
	random_against_bare(true, true, true);
}

static void unmasked_device(void **unused)
{
	(void)unused;
	random_against_bare(true, false, false);
}

/* ---- renaming, against Zydis: also what this host cannot execute ------------------------------------- */

static ZydisDecoder zydis32, zydis64;

static void put_evex(u8 *p)
{
	static const u8 maps[] = { 1, 2, 3, 5, 6 };

	p[0] = 0x62;
	p[1] = (u8)((rnd() & 0xf0) | maps[rnd() % 5]);
	p[2] = (u8)(rnd() | 4);
	if (rnd() & 1)
		p[2] |= 0x78;
	if (rnd() & 1)
		p[3] |= 8;
}

/* An encoding of a native instruction in mode 32 or 64 that both decoders know. */
static bool encoding_for_rename(struct x86_insn *insn, u8 *bytes, unsigned mode)
{
	random_bytes(bytes);
	if (rnd() & 1)
		put_evex(bytes);
	return fake_decode(insn, bytes, mode) && insn->exec == native_exec && insn->map != 8;
}

static unsigned zydis_gpr(const ZydisDecodedOperand *o)
{
	return (unsigned)ZydisRegisterGetId(o->reg.value);
}

/* Memory operands become [r13 + 0x12345], integer registers r9, all else stays. */
static const char *compare_operand(const ZydisDecodedOperand *from, const ZydisDecodedOperand *to,
				   bool mode64)
{
	if (from->type != to->type)
		return "operand type";
	if (from->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		if (to->mem.base != ZYDIS_REGISTER_R13 || to->mem.index != ZYDIS_REGISTER_NONE ||
		    to->mem.disp.value != 0x12345)
			return "address";
		return from->size == to->size ? NULL : "memory size";
	}
	if (from->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return NULL;
	if (ZydisRegisterGetClass(from->reg.value) >= ZYDIS_REGCLASS_GPR8 &&
	    ZydisRegisterGetClass(from->reg.value) <= ZYDIS_REGCLASS_GPR64) {
		if (zydis_gpr(to) != 9)
			return "integer register";
		return from->size == to->size || !mode64 ? NULL : "integer register's size";
	}
	return from->reg.value == to->reg.value ? NULL : "register";
}

static const char *compare_renamed(const struct x86_insn *insn, const u8 *bytes, bool mode64,
				   const u8 *renamed, unsigned n)
{
	ZydisDecodedInstruction a, b;
	ZydisDecodedOperand oa[ZYDIS_MAX_OPERAND_COUNT], ob[ZYDIS_MAX_OPERAND_COUNT];
	const char *what;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(mode64 ? &zydis64 : &zydis32, bytes, 15, &a, oa)))
		return NULL; /* test_decode's concern */
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zydis64, renamed, n, &b, ob)) || b.length != n)
		return "renamed encoding is invalid";
	if (a.mnemonic != b.mnemonic || a.operand_count_visible != b.operand_count_visible)
		return "mnemonic";
	if (a.avx.mask.reg != b.avx.mask.reg || a.avx.mask.mode != b.avx.mask.mode ||
	    a.avx.rounding.mode != b.avx.rounding.mode || a.avx.has_sae != b.avx.has_sae ||
	    a.avx.vector_length != b.avx.vector_length || a.avx.broadcast.mode != b.avx.broadcast.mode)
		return "mask, rounding, length or broadcast";
	for (int i = 0; i < 2 && a.raw.imm[i].size; i++)
		if (a.raw.imm[i].value.u != b.raw.imm[i].value.u &&
		    oa[a.operand_count_visible - 1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return "immediate";
	for (int i = 0; i < a.operand_count_visible; i++) {
		what = compare_operand(&oa[i], &ob[i], mode64);
		if (what)
			return what;
		/* No access may be larger than what has been checked. */
		if (oa[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    insn->operand[rename_mem_operand(insn)].size * 8u < oa[i].size)
			return "memory operand is larger than decoded";
	}
	return NULL;
}

static bool not_compared(const struct x86_insn *insn)
{
	if (insn->desc->flags & X86_F_VSIB)
		return true;
	if (insn->map == 1 && insn->opcode == 0x77) /* VZEROALL, VZEROUPPER */
		return true;
	return insn->op == X86_OP_X87 && insn->modrm == 0xe0 && insn->opcode == 0xdf; /* FNSTSW AX */
}

static void rename_against_zydis(void **unused)
{
	const struct rename r = { .mem = EMIT_MEM(X86_R13, 0x12345), .gpr = X86_R9 };
	unsigned long failed = 0, done = 0, evex = 0, vex = 0;

	(void)unused;
	ZydisDecoderInit(&zydis32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&zydis64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	while (done < count) {
		bool mode64 = rnd() & 1;
		u8 bytes[32] = { 0 }, renamed[32];
		struct x86_insn insn;
		struct emit e = emit_start(renamed, sizeof(renamed));
		const char *what;

		if (!encoding_for_rename(&insn, bytes, mode64 ? 64 : 32) || not_compared(&insn))
			continue;
		done++;
		evex += !!(insn.prefix & X86_PFX_EVEX);
		vex += !!(insn.prefix & X86_PFX_VEX);
		assert_true(rename_insn(&e, &insn, mode64, &r));
		what = compare_renamed(&insn, bytes, mode64, renamed, (unsigned)(e.p - renamed));
		if (!what || failed++ > 20)
			continue;
		print_message("%s: %s (%u bits):", what, insn.desc->name, mode64 ? 64 : 32);
		for (unsigned i = 0; i < insn.len; i++)
			print_message(" %02x", bytes[i]);
		print_message(" ->");
		for (u8 *p = renamed; p < e.p; p++)
			print_message(" %02x", *p);
		print_message("\n");
	}
	print_message("%lu encodings, %lu VEX, %lu EVEX\n", done, vex, evex);
	assert_int_equal(failed, 0);
}

static int setup(void **unused)
{
	(void)unused;
	bare_init();
	fake_init();
	for (unsigned f = 0; f < X86_NR_FEATURES; f++)
		feature_ok[f] = host_has(f);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masked_in_tlb),   cmocka_unit_test(masked_pinned),
		cmocka_unit_test(masked_device),   cmocka_unit_test(unmasked_in_tlb),
		cmocka_unit_test(unmasked_device), cmocka_unit_test(rename_against_zydis),
	};

	if (argc > 1)
		count = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, setup, NULL);
}
