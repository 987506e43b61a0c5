// SPDX-License-Identifier: GPL-2.0-only
/*
 * The decoder against Zydis: every opcode of every map with prefixes and modrm bytes enumerated, and random
 * bytes, in 16-, 32- and 64-bit mode. Validity, length, operands, memory operand, immediates, segment and
 * sizes must agree but for the differences that known_difference() lists with their reasons.
 *
 * Arguments: [count of random encodings per mode] [seed].
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "tests/unit/random.h"
#include "x86/opcodes.h"

static ZydisDecoder decoders[3];
static const unsigned modes[3] = { 16, 32, 64 };
static unsigned long nr_compared, nr_valid, nr_failed;
/* For each mode. Everything is several times slower under sanitizers. */
#ifdef __SANITIZE_ADDRESS__
#define SPARSE 8
#else
#define SPARSE 1
#endif
static unsigned long random_count = 1000000 / SPARSE;

/* ---- both decodings of one encoding ---------------------------------------------------------------- */

struct both {
	unsigned mode;
	const u8 *bytes;
	struct x86_insn insn;
	enum x86_decode_status status;
	bool valid;		/* says Zydis */
	bool too_long;
	ZyanStatus zstatus;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
	const char *what;	/* first difference */
	char detail[200];
};

static bool differ(struct both *b, const char *what, long ours, long theirs)
{
	b->what = what;
	snprintf(b->detail, sizeof(b->detail), "ours %ld (%#lx), Zydis %ld (%#lx)", ours, ours, theirs,
		 theirs);
	return false;
}

/* Instruction sets that we leave undefined on purpose. */
static bool absent_set(ZydisISASet set)
{
	switch (set) {
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_XOP:
	case ZYDIS_ISA_SET_FMA4:
	case ZYDIS_ISA_SET_TBM:
	case ZYDIS_ISA_SET_LWP:
	case ZYDIS_ISA_SET_AMX_TILE:
	case ZYDIS_ISA_SET_AMX_INT8:
	case ZYDIS_ISA_SET_AMX_BF16:
	case ZYDIS_ISA_SET_KEYLOCKER:
	case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_KNCE:
	case ZYDIS_ISA_SET_KNCJKBR:
	case ZYDIS_ISA_SET_KNCSTREAM:
	case ZYDIS_ISA_SET_KNCV:
	case ZYDIS_ISA_SET_KNC_MISC:
	case ZYDIS_ISA_SET_KNC_PF_HINT:
	case ZYDIS_ISA_SET_AVX512ER_512:
	case ZYDIS_ISA_SET_AVX512ER_SCALAR:
	case ZYDIS_ISA_SET_AVX512PF_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR:
	case ZYDIS_ISA_SET_AVX512_4VNNIW_512:
	case ZYDIS_ISA_SET_CET:
	case ZYDIS_ISA_SET_RTM:
	case ZYDIS_ISA_SET_SGX:
	case ZYDIS_ISA_SET_SGX_ENCLV:
	case ZYDIS_ISA_SET_SMX:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_MCOMMIT:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_PT:
	case ZYDIS_ISA_SET_PCONFIG:
	case ZYDIS_ISA_SET_WAITPKG:
	case ZYDIS_ISA_SET_UINTR:
	case ZYDIS_ISA_SET_ENQCMD:
	case ZYDIS_ISA_SET_HRESET:
	case ZYDIS_ISA_SET_TDX:
	case ZYDIS_ISA_SET_TSX_LDTRK:
		return true;
	default:
		return false;
	}
}

static bool known_difference(const struct both *b)
{
	if (b->valid && absent_set(b->z.meta.isa_set))
		return b->status == X86_DECODE_UD;
	if (b->valid && b->z.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B)
		return b->status == X86_DECODE_UD;
	/*
	 * Seen on the host (Zen 3), see x86/opcodes.c: 0F 0D with a register; F3 with REX.B and 90 is XCHG,
	 * not PAUSE.
	 */
	if (b->valid && b->insn.opcode == 0x0d && b->insn.map == 1)
		return b->z.mnemonic == ZYDIS_MNEMONIC_NOP && b->status == X86_DECODE_UD;
	if (b->valid && b->z.mnemonic == ZYDIS_MNEMONIC_PAUSE && b->insn.op == X86_OP_XCHG)
		return b->insn.len == b->z.length;
	/* VEX.vvvv[3] is ignored outside 64-bit mode if vvvv names a register; VPEXTRQ, VPINSRQ there. */
	if (b->mode != 64 && b->insn.prefix & X86_PFX_VEX) {
		if (!b->valid && b->zstatus == ZYDIS_STATUS_BAD_REGISTER)
			return true;
		if (b->valid &&
		    (b->z.mnemonic == ZYDIS_MNEMONIC_VPEXTRD || b->z.mnemonic == ZYDIS_MNEMONIC_VPINSRD))
			return b->status == X86_DECODE_UD && b->z.raw.vex.W;
	}
	/*
	 * Outside 64-bit mode EVEX.W is ignored by conversions of general registers (SDM's notes to
	 * VCVTSI2SH...).
	 */
	if (b->mode != 64 && !b->valid && b->insn.prefix & X86_PFX_EVEX && b->insn.prefix & X86_PFX_REX_W &&
	    b->insn.desc && !strncmp(b->insn.desc->name, "vcvt", 4))
		return true;
	/* LOCK MOV CR0 is CR8 (AMD's CR8_LEGACY). */
	if (!b->valid && b->insn.op == X86_OP_MOV_CR)
		return b->insn.prefix & X86_PFX_LOCK && b->insn.operand[b->insn.opcode == 0x20].reg == 8;
	/* Far pointers with REX.W: AMD ignores it, as the host was seen to do. */
	if (b->valid && b->insn.prefix & X86_PFX_REX_W && b->insn.op != X86_OP_NATIVE &&
	    b->insn.operand[0].size == 6)
		return b->insn.len == b->z.length;
	switch (b->valid && b->insn.prefix & X86_PFX_REX_W ? b->insn.op : X86_OP_NATIVE) {
	case X86_OP_LSS: case X86_OP_LFS: case X86_OP_LGS:
		return b->insn.len == b->z.length;
	}
	/* Near indirect branches with 66 in 64-bit mode; MOVSXD with 66 reads 16 bits. */
	if (b->valid && b->insn.mode64_66 && (b->insn.op == X86_OP_JMP_IND || b->insn.op == X86_OP_CALL_IND))
		return b->insn.osize == 2 && b->insn.len == b->z.length;
	if (b->valid && b->insn.op == X86_OP_MOVSXD && b->insn.osize == 2)
		return b->insn.len == b->z.length;
	return false;
}

/* ---- operands -------------------------------------------------------------------------------------- */

static bool same_register(struct both *b, const struct x86_operand *o, ZydisRegister r)
{
	int id = ZydisRegisterGetId(r);
	unsigned kind, size = ZydisRegisterGetWidth(b->z.machine_mode, r) / 8;

	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
		kind = X86_OPD_REG;
		if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
			kind = X86_OPD_REGH;
			id = r - ZYDIS_REGISTER_AH;
		} else if (r >= ZYDIS_REGISTER_SPL) {
			id = r - ZYDIS_REGISTER_SPL + 4;
		}
		break;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		kind = X86_OPD_REG;
		break;
	case ZYDIS_REGCLASS_X87:
		kind = X86_OPD_ST;
		break;
	case ZYDIS_REGCLASS_MMX:
		kind = X86_OPD_MMX;
		break;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		kind = X86_OPD_VEC;
		break;
	case ZYDIS_REGCLASS_SEGMENT:
		kind = X86_OPD_SREG;
		size = 2;
		break;
	case ZYDIS_REGCLASS_CONTROL:
		kind = X86_OPD_CR;
		size = o->size;
		break;
	case ZYDIS_REGCLASS_DEBUG:
		kind = X86_OPD_DR;
		size = o->size;
		break;
	case ZYDIS_REGCLASS_MASK:
		kind = X86_OPD_K;
		size = o->size;
		break;
	default:
		return differ(b, "register class", o->kind, ZydisRegisterGetClass(r));
	}
	if (o->kind != kind)
		return differ(b, "operand kind", o->kind, kind);
	if (o->reg != id)
		return differ(b, "register", o->reg, id);
	/* The selector of LAR and LSL has 16 bits. */
	if (o->size != size && b->insn.op != X86_OP_LAR && b->insn.op != X86_OP_LSL)
		return differ(b, "register size", o->size, size);
	return true;
}

static int gpr_number(ZydisRegister r)
{
	if (r == ZYDIS_REGISTER_NONE)
		return X86_REG_ZERO;
	if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
		return X86_REG_RIP;
	return ZydisRegisterGetId(r);
}

static bool same_memory(struct both *b, const struct x86_operand *o, const ZydisDecodedOperand *zo)
{
	const struct x86_insn *insn = &b->insn;
	s64 disp = zo->mem.disp.value;
	unsigned size = zo->size / 8, scale = zo->mem.scale ? __builtin_ctz(zo->mem.scale) : 0;

	if (o->kind != X86_OPD_MEM)
		return differ(b, "not memory", o->kind, X86_OPD_MEM);
	if (insn->asize * 8 != b->z.address_width)
		return differ(b, "address size", insn->asize * 8, b->z.address_width);
	/* Zydis 4.0.0 shows R13 and no displacement for "no base" with REX.B. */
	if (insn->base == X86_REG_ZERO && gpr_number(zo->mem.base) == X86_R13 && b->z.raw.modrm.mod == 0)
		return true;
	if (insn->base != gpr_number(zo->mem.base))
		return differ(b, "base", insn->base, gpr_number(zo->mem.base));
	if (insn->index != gpr_number(zo->mem.index))
		return differ(b, "index", insn->index, gpr_number(zo->mem.index));
	if (insn->index != X86_REG_ZERO && insn->scale != scale)
		return differ(b, "scale", insn->scale, scale);
	if (insn->base == X86_REG_ZERO && insn->index == X86_REG_ZERO && insn->asize < 8)
		disp &= insn->asize == 2 ? 0xffff : 0xffffffff;
	if (insn->asize < 8 ? (insn->disp ^ disp) & (insn->asize == 2 ? 0xffff : 0xffffffff)
			    : insn->disp != disp)
		return differ(b, "displacement", insn->disp, disp);
	if (insn->op != X86_OP_LEA && insn->seg != ZydisRegisterGetId(zo->mem.segment))
		return differ(b, "segment", insn->seg, ZydisRegisterGetId(zo->mem.segment));
	if (o->size && o->size != size)
		return differ(b, "memory size", o->size, size);
	return true;
}

static bool same_immediate(struct both *b, const struct x86_operand *o, const ZydisDecodedOperand *zo)
{
	u64 mask = o->size >= 8 || !o->size ? ~0ull : (1ull << (8 * o->size)) - 1;

	if (o->kind == X86_OPD_IMM2)
		return b->insn.imm2 == (u16)zo->imm.value.u
			       ? true
			       : differ(b, "imm2", b->insn.imm2, zo->imm.value.u);
	if (o->kind != X86_OPD_IMM && o->kind != X86_OPD_REL)
		return differ(b, "not immediate", o->kind, X86_OPD_IMM);
	if ((o->kind == X86_OPD_REL) != zo->imm.is_relative)
		return differ(b, "relative", o->kind, zo->imm.is_relative);
	if ((b->insn.imm ^ zo->imm.value.u) & mask)
		return differ(b, "immediate", b->insn.imm, zo->imm.value.u);
	return true;
}

static unsigned access_of(ZydisOperandActions a)
{
	return (a & ZYDIS_OPERAND_ACTION_MASK_READ ? X86_ACC_R : 0) |
	       (a & ZYDIS_OPERAND_ACTION_MASK_WRITE ? X86_ACC_W : 0);
}

static bool same_access(struct both *b, const struct x86_operand *o, const ZydisDecodedOperand *zo)
{
	unsigned theirs = access_of(zo->actions);

	if (o->kind == X86_OPD_IMM || o->kind == X86_OPD_IMM2 || o->kind == X86_OPD_REL)
		return true;
	/* A conditional write keeps the old value: we say read and written. */
	if (zo->actions & ZYDIS_OPERAND_ACTION_CONDWRITE)
		theirs |= X86_ACC_R;
	/*
	 * Masked stores only write; address-only operands are read for Zydis; LAR and LSL keep the old value
	 * if ZF.
	 */
	if (o->kind == X86_OPD_MEM && (!o->access || (b->insn.evex_aaa && o->access == X86_ACC_W)))
		return true;
	if (b->insn.op == X86_OP_LAR || b->insn.op == X86_OP_LSL)
		return true;
	/* A masked compare zeroes the other bits of its mask register. */
	if (o->kind == X86_OPD_K && o->access == X86_ACC_W && b->insn.evex_aaa)
		return true;
	if (o->access != theirs && o->access != (X86_ACC_R | X86_ACC_W))
		return differ(b, "access", o->access, theirs);
	return true;
}

/* Operands that Zydis shows and we do not, or otherwise. */
static bool skip_operands(const struct both *b)
{
	switch (b->insn.op) {
	case X86_OP_NOP:
	case X86_OP_UD:
	case X86_OP_MOVS: case X86_OP_CMPS: case X86_OP_STOS: case X86_OP_LODS: case X86_OP_SCAS:
	case X86_OP_INS: case X86_OP_OUTS: case X86_OP_XLAT:
	case X86_OP_SVM: case X86_OP_CLZERO: case X86_OP_MONITOR:
		return true;
	default:
		return false;
	}
}

/* Zydis hides ST0 here and there: only memory and ST(1..7) are compared. */
static bool same_x87_operands(struct both *b)
{
	unsigned theirs = 0, ours = 0;

	for (unsigned i = 0; i < b->z.operand_count; i++) {
		const ZydisDecodedOperand *zo = &b->zo[i];

		if (zo->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    zo->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
			const struct x86_operand *o =
				&b->insn.operand[b->insn.operand[0].kind != X86_OPD_MEM];

			if (!same_memory(b, o, zo) || !same_access(b, o, zo))
				return false;
		} else if (zo->type == ZYDIS_OPERAND_TYPE_REGISTER &&
			   zo->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
			   ZydisRegisterGetClass(zo->reg.value) == ZYDIS_REGCLASS_X87) {
			theirs |= BIT(ZydisRegisterGetId(zo->reg.value));
		}
	}
	for (unsigned i = 0; i < b->insn.nr_operands; i++) {
		if (b->insn.operand[i].kind == X86_OPD_ST)
			ours |= BIT(b->insn.operand[i].reg);
	}
	/* FCOMPP, FUCOMPP: ST1, hidden. */
	if (!theirs && ours == 3)
		return true;
	return (ours ^ theirs) & ~1u ? differ(b, "x87 registers", ours, theirs) : true;
}

static bool same_operands(struct both *b)
{
	unsigned n = 0;

	if (skip_operands(b))
		return true;
	if (b->insn.op == X86_OP_X87)
		return same_x87_operands(b);
	for (unsigned i = 0; i < b->z.operand_count; i++) {
		const ZydisDecodedOperand *zo = &b->zo[i];
		const struct x86_operand *o = &b->insn.operand[n];

		if (zo->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
		    zo->encoding == ZYDIS_OPERAND_ENCODING_MASK)
			continue;
		/* XMM0 of BLENDV and SHA256RNDS2. */
		if (zo->visibility == ZYDIS_OPERAND_VISIBILITY_IMPLICIT &&
		    zo->type == ZYDIS_OPERAND_TYPE_REGISTER && zo->reg.value == ZYDIS_REGISTER_XMM0)
			continue;
		if (zo->type == ZYDIS_OPERAND_TYPE_POINTER) {
			if (b->insn.imm != zo->ptr.offset || b->insn.imm2 != zo->ptr.segment)
				return differ(b, "far pointer", b->insn.imm, zo->ptr.offset);
			n += 2;
			continue;
		}
		if (n >= b->insn.nr_operands)
			return differ(b, "operand count", b->insn.nr_operands, n + 1);
		if (zo->type == ZYDIS_OPERAND_TYPE_REGISTER ? !same_register(b, o, zo->reg.value)
		    : zo->type == ZYDIS_OPERAND_TYPE_MEMORY ? !same_memory(b, o, zo)
							    : !same_immediate(b, o, zo))
			return false;
		if (!same_access(b, o, zo))
			return false;
		n++;
	}
	return n == b->insn.nr_operands ? true : differ(b, "operand count", b->insn.nr_operands, n);
}

/* Fields that are not operands. */
static bool same_properties(struct both *b)
{
	const struct x86_insn *insn = &b->insn;

	if (insn->op == X86_OP_NATIVE && b->z.avx.vector_length && insn->vlen != b->z.avx.vector_length / 8 &&
	    !(insn->desc->sel & 0x8000) && insn->vlen)
		return differ(b, "vector length", insn->vlen, b->z.avx.vector_length / 8);
	if (insn->op >= X86_OP_MOVS && insn->op <= X86_OP_OUTS && insn->osize != 1 &&
	    insn->osize != (insn->op >= X86_OP_INS && b->z.operand_width == 64 ? 32 : b->z.operand_width) / 8)
		return differ(b, "element size", insn->osize, b->z.operand_width / 8);
	return true;
}

static bool compare(struct both *b)
{
	ZyanStatus zs;

	b->status = x86_decode(&b->insn, b->bytes, 16, b->mode);
	zs = ZydisDecoderDecodeFull(&decoders[b->mode / 32], b->bytes, 16, &b->z, b->zo);
	b->valid = ZYAN_SUCCESS(zs);
	b->zstatus = zs;
	b->too_long = zs == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
	nr_compared++;
	nr_valid += b->valid;
	if (known_difference(b))
		return true;
	if (b->too_long)
		return b->status != X86_DECODE_OK ? true : differ(b, "length over 15", b->insn.len, 0);
	if ((b->status == X86_DECODE_OK) != b->valid)
		return differ(b, "validity (0 OK, 1 UD, 3 too long)", b->status, zs & 0xfffff);
	if (!b->valid)
		return true;
	if (b->insn.len != b->z.length)
		return differ(b, "length", b->insn.len, b->z.length);
	return same_operands(b) && same_properties(b);
}

/* ---- reporting ------------------------------------------------------------------------------------- */

/* One report for each kind of difference of each instruction. */
static bool reported_before(const struct both *b)
{
	static struct {
		const char *what;
		const struct x86_opcode *desc;
		unsigned mnemonic;
	} seen[200];
	static unsigned n;
	unsigned mnemonic = b->valid ? b->z.mnemonic : 0;

	for (unsigned i = 0; i < n; i++) {
		if (seen[i].what == b->what && seen[i].desc == b->insn.desc && seen[i].mnemonic == mnemonic)
			return true;
	}
	if (n == ARRAY_SIZE(seen))
		return true;
	seen[n].what = b->what;
	seen[n].desc = b->insn.desc;
	seen[n++].mnemonic = mnemonic;
	return false;
}

static void report(const struct both *b)
{
	ZydisFormatter f;
	char text[200] = "(invalid)";

	nr_failed++;
	if (reported_before(b))
		return;
	if (b->valid) {
		ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
		ZydisFormatterFormatInstruction(&f, &b->z, b->zo, b->z.operand_count_visible, text,
						sizeof(text), 0, NULL);
	}
	printf("%u-bit:", b->mode);
	for (unsigned i = 0; i < 15; i++)
		printf(" %02x", b->bytes[i]);
	printf("\n  Zydis: %s (%s)\n  ours: %s %s\n  %s: %s\n", text,
	       b->valid ? ZydisISASetGetString(b->z.meta.isa_set) : "",
	       b->insn.desc ? b->insn.desc->name : "-", x86_op_name(b->insn.op), b->what, b->detail);
}

static void check(unsigned mode, const u8 *bytes)
{
	static struct both b;

	b.mode = mode;
	b.bytes = bytes;
	if (!compare(&b))
		report(&b);
}

/* ---- enumeration ----------------------------------------------------------------------------------- */

static void fill_random(u8 *bytes, unsigned from)
{
	for (unsigned i = from; i < 24; i += 8) {
		u64 r = rnd();

		memcpy(bytes + i, &r, 8);
	}
}

/* Every modrm byte (or every SPARSE-th, from a random one on) with random bytes behind it. */
static void each_modrm(unsigned mode, u8 *bytes, unsigned pos)
{
	for (unsigned modrm = rnd() % SPARSE; modrm < 256; modrm += SPARSE) {
		fill_random(bytes, pos);
		bytes[pos] = modrm;
		check(mode, bytes);
	}
}

static void test_legacy_enumerated(void **state)
{
	static const u8 prefixes[][3] = {
		{ 0 },
		{ 0x66 },
		{ 0xf2 },
		{ 0xf3 },
		{ 0x66, 0xf2 },
		{ 0xf3, 0x66 },
		{ 0xf0 },
		{ 0x67 },
		{ 0x48 },
		{ 0x66, 0x48 },
		{ 0xf3, 0x4f },
		{ 0x45 },
		{ 0x66, 0xf3, 0x4d },
		{ 0xf0, 0x66 },
		{ 0xf0, 0x4c },
		{ 0x40 },
		{ 0x65, 0x41 },
		{ 0x2e },
		{ 0x64 },
		{ 0x48, 0x66 },
		{ 0xf2, 0xf3 },
		{ 0xf3, 0xf2 },
	};
	static const u8 escapes[][2] = { { 0 }, { 0x0f }, { 0x0f, 0x38 }, { 0x0f, 0x3a } };
	u8 bytes[32];

	(void)state;
	for (unsigned m = 0; m < 3; m++)
	for (unsigned p = 0; p < ARRAY_SIZE(prefixes); p++)
	for (unsigned e = 0; e < 4; e++)
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		unsigned pos = 0;

		for (unsigned i = 0; i < 3 && prefixes[p][i]; i++)
			bytes[pos++] = prefixes[p][i];
		for (unsigned i = 0; i < 2 && escapes[e][i]; i++)
			bytes[pos++] = escapes[e][i];
		bytes[pos++] = opcode;
		each_modrm(modes[m], bytes, pos);
	}
	assert_int_equal(nr_failed, 0);
}

static void test_vex_enumerated(void **state)
{
	u8 bytes[32];

	(void)state;
	for (unsigned m = 0; m < 3; m++)
	for (unsigned map = 0; map < 5; map++)
	for (unsigned opcode = 0; opcode < 256; opcode++)
	for (unsigned low = 0; low < 16; low++) {
		unsigned pp_l = low & 7, w = low >> 3;

		for (unsigned i = 0; i < 24; i++) {
			fill_random(bytes, 0);
			bytes[0] = 0xc4;
			bytes[1] = (bytes[1] & 0xe0) | map | (i < 16 ? 0xe0 : 0);
			bytes[2] = w << 7 | (i & 1 ? 0x78 : bytes[2] & 0x78) | pp_l;
			bytes[3] = opcode;
			if (i & 2)
				bytes[4] |= 0xc0;
			else
				bytes[4] = (bytes[4] & 0x3f) | (i & 4 ? 0x04 : 0x40);
			check(modes[m], bytes);
			if (map == 1 && w == 0) {
				bytes[1] = 0xc5;
				bytes[2] |= 0x80;
				check(modes[m], bytes + 1);
			}
		}
	}
	assert_int_equal(nr_failed, 0);
}

static void test_evex_enumerated(void **state)
{
	u8 bytes[32];

	(void)state;
	for (unsigned m = 0; m < 3; m++)
	for (unsigned map = 0; map < 8; map++)
	for (unsigned opcode = 0; opcode < 256; opcode++)
	for (unsigned ppw = 0; ppw < 8; ppw++)
	for (unsigned i = 0; i < 48; i++) {
		fill_random(bytes, 0);
		bytes[0] = 0x62;
		bytes[1] = (bytes[1] & 0xf0) | map | (i & 1 ? 0xf0 : 0) | (i == 47 ? 8 : 0);
		bytes[2] = (ppw >> 2) << 7 | (i & 2 ? 0x78 : bytes[2] & 0x78) | 4 | (ppw & 3);
		bytes[3] = (bytes[3] & (i & 4 ? 0xff : 0x68)) | (i & 2 ? 8 : 0) | (i % 3 == 1 ? 1 : 0);
		bytes[4] = opcode;
		if (i & 8)
			bytes[5] |= 0xc0;
		else if (i & 16)
			bytes[5] = (bytes[5] & 0x38) | 0x44;
		check(modes[m], bytes);
	}
	assert_int_equal(nr_failed, 0);
}

/* ---- random bytes ---------------------------------------------------------------------------------- */

static unsigned random_prefixes(u8 *bytes)
{
	static const u8 all[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	unsigned n = rnd() % 5, pos = 0;

	for (unsigned i = 0; i < n; i++)
		bytes[pos++] = rnd() % 4 ? all[rnd() % ARRAY_SIZE(all)] : 0x40 + rnd() % 16;
	if (rnd() % 64 == 0) {
		while (pos < 15)
			bytes[pos++] = 0x66;
		pos = rnd() % 15;
	}
	if (rnd() % 2)
		bytes[pos++] = 0x0f;
	return pos;
}

static void test_random(void **state)
{
	u8 bytes[48];

	(void)state;
	for (unsigned m = 0; m < 3; m++)
	for (unsigned long i = 0; i < random_count; i++) {
		fill_random(bytes, 0);
		fill_random(bytes + 16, 0);
		if (i % 4)
			random_prefixes(bytes);
		check(modes[m], bytes);
	}
	assert_int_equal(nr_failed, 0);
}

/* ---- what Zydis cannot say ------------------------------------------------------------------------- */

/* Every prefix of a valid instruction asks for more, at exactly its own length it decodes the same. */
static void test_truncation(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300000 / SPARSE; i++) {
		struct x86_insn whole, part;
		unsigned mode = modes[i % 3];
		u8 bytes[48];

		fill_random(bytes, 0);
		random_prefixes(bytes);
		if (x86_decode(&whole, bytes, 24, mode) != X86_DECODE_OK)
			continue;
		for (unsigned n = 0; n < whole.len; n++)
			assert_int_equal(x86_decode(&part, bytes, n, mode), X86_DECODE_MORE);
		assert_int_equal(x86_decode(&part, bytes, whole.len, mode), X86_DECODE_OK);
		assert_memory_equal(&whole, &part, sizeof(whole));
	}
}

static void test_too_long(void **state)
{
	struct x86_insn insn;
	u8 bytes[16];

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	assert_int_equal(x86_decode(&insn, bytes, 16, 64), X86_DECODE_TOO_LONG);
	assert_int_equal(x86_decode(&insn, bytes, 14, 64), X86_DECODE_MORE);
	bytes[14] = 0x90;
	assert_int_equal(x86_decode(&insn, bytes, 16, 64), X86_DECODE_OK);
	assert_int_equal(insn.len, 15);
	bytes[14] = 0xb0;
	assert_int_equal(x86_decode(&insn, bytes, 16, 64), X86_DECODE_TOO_LONG);
	memcpy(bytes + 13, "\x0f\xb9\x8e", 3); /* UD1 */
	assert_int_equal(x86_decode(&insn, bytes, 16, 64), X86_DECODE_UD);
	memcpy(bytes + 13, "\x66\x0f\xb9", 3);
	assert_int_equal(x86_decode(&insn, bytes, 16, 64), X86_DECODE_TOO_LONG);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_legacy_enumerated), cmocka_unit_test(test_vex_enumerated),
		cmocka_unit_test(test_evex_enumerated),	  cmocka_unit_test(test_random),
		cmocka_unit_test(test_truncation),	  cmocka_unit_test(test_too_long),
	};
	static const ZydisMachineMode machine[3] = {
		ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64,
	};
	static const ZydisStackWidth stack[3] = { ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						  ZYDIS_STACK_WIDTH_64 };
	int failed;

	if (argc > 1)
		random_count = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0) | 1;
	for (unsigned i = 0; i < 3; i++) {
		ZydisDecoderInit(&decoders[i], machine[i], stack[i]);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	printf("%lu encodings compared, %lu of them valid, %lu differ\n", nr_compared, nr_valid, nr_failed);
	return failed;
}
