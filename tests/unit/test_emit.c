// SPDX-License-Identifier: GPL-2.0-only
/* The assembler's forms that have no other user than translated code, against Zydis. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "engine/soft/emit.h"
#include "x86/insn.h"

static ZydisDecodedInstruction insn;
static ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];

/* What has been emitted is one instruction. */
static void decode(const struct emit *e, const u8 *code)
{
	ZydisDecoder decoder;

	assert_false(e->overflow);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, (size_t)(e->p - code), &insn, operand)));
	assert_int_equal(insn.length, e->p - code);
}

static void rorx(void **unused)
{
	u8 code[16];

	(void)unused;
	for (unsigned n = 0; n < 512; n++) {
		unsigned dst = n & 15, src = n >> 4 & 15, size = n >> 8 ? 8 : 4;
		ZydisRegister first = size == 8 ? ZYDIS_REGISTER_RAX : ZYDIS_REGISTER_EAX;
		struct emit e = emit_start(code, sizeof(code));

		emit_rorx(&e, size, dst, src, 32 - (size == 4));
		decode(&e, code);
		assert_int_equal(insn.mnemonic, ZYDIS_MNEMONIC_RORX);
		assert_int_equal(operand[0].reg.value, first + (int)dst);
		assert_int_equal(operand[1].reg.value, first + (int)src);
		assert_int_equal(operand[2].imm.value.u, 32 - (size == 4));
	}
}

static void load_table(void **unused)
{
	u8 code[16];

	(void)unused;
	for (unsigned n = 0; n < 256; n++) {
		unsigned dst = n & 15, index = n >> 4;
		struct emit e = emit_start(code, sizeof(code));

		if (index == EMIT_NO_INDEX)
			continue;
		emit_load_table(&e, dst, index, 0x123456);
		decode(&e, code);
		assert_int_equal(insn.mnemonic, ZYDIS_MNEMONIC_MOV);
		assert_int_equal(insn.address_width, 32);
		assert_int_equal(operand[0].reg.value, ZYDIS_REGISTER_RAX + (int)dst);
		assert_int_equal(operand[1].mem.segment, ZYDIS_REGISTER_GS);
		assert_int_equal(operand[1].mem.base, ZYDIS_REGISTER_NONE);
		assert_int_equal(operand[1].mem.index, ZYDIS_REGISTER_EAX + (int)index);
		assert_int_equal(operand[1].mem.scale, 8);
		assert_int_equal(operand[1].mem.disp.value, 0x123456);
	}
}

/* [base + index + disp] of an access by a window's delta, at any size. */
static void base_and_index(void **unused)
{
	static const s32 disps[] = { 0, 8, -8, 0x7f, 0x80, -0x81, 0x7fffffff, -0x7fffffff - 1 };
	u8 code[16];

	(void)unused;
	for (unsigned n = 0; n < 16 * 16 * ARRAY_SIZE(disps); n++) {
		unsigned base = n & 15, index = n >> 4 & 15;
		s32 disp = disps[n >> 8];
		struct emit e = emit_start(code, sizeof(code));

		if (index == EMIT_NO_INDEX)
			continue;
		emit_load(&e, 8, X86_R9, EMIT_MEM_INDEX((u8)base, (u8)index, disp));
		decode(&e, code);
		assert_int_equal(operand[1].mem.base, ZYDIS_REGISTER_RAX + (int)base);
		assert_int_equal(operand[1].mem.index, ZYDIS_REGISTER_RAX + (int)index);
		assert_int_equal(operand[1].mem.disp.value, disp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rorx),
		cmocka_unit_test(load_table),
		cmocka_unit_test(base_and_index),
	};

	return cmocka_run_group_tests_name("emit", tests, NULL, NULL);
}
