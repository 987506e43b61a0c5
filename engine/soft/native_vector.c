/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Moving one live vector or mask register to or from memory, for what is done element by element: a stub
 * for every register, direction and width, made at start in an array that is indexed by them.
 */
#include "engine/soft/code.h"
#include "engine/soft/native_op.h"

#define SLOT 16u
#define WIDTHS 3u /* 16, 32, 64 bytes */
#define NR_STUBS (2 * WIDTHS * 32 + 2 * 8)
#define MASK_STUBS (2 * WIDTHS * 32)

typedef void move_code(void *mem);

static struct code_region region;

/* MOVDQU, VMOVDQU, VMOVDQU32 with [rdi]: 6F loads, 7F stores. */
static void emit_move(struct emit *e, bool store, unsigned width, unsigned reg)
{
	bool evex = x86_fpu_host.xcr0 & X86_XCR0_ZMM_16, vex = x86_fpu_host.xcr0 & X86_XCR0_AVX;
	u8 not_r = (~reg >> 3 & 1) << 7, not_r2 = (~reg >> 4 & 1) << 4;

	if (evex) {
		emit8(e, 0x62);
		emit8(e, not_r | 0x60 | not_r2 | 1);
		emit8(e, 0x7e);
		emit8(e, (u8)(width << 5 | 8));
	} else if (vex) {
		emit8(e, 0xc4);
		emit8(e, not_r | 0x60 | 1);
		emit8(e, (u8)(0x78 | width << 2 | 2));
	} else {
		emit8(e, 0xf3);
		if (reg >= 8)
			emit8(e, 0x44);
		emit8(e, 0x0f);
	}
	emit8(e, store ? 0x7f : 0x6f);
	emit_modrm_mem(e, reg, EMIT_MEM(X86_RDI, 0));
	emit_ret(e);
}

/* KMOVQ where the host has 64-bit masks (AVX512BW), else KMOVW. */
static void emit_mask_move(struct emit *e, bool store, unsigned k, bool wide)
{
	emit8(e, 0xc4);
	emit8(e, 0xe1);
	emit8(e, wide ? 0xf8 : 0x78);
	emit8(e, store ? 0x91 : 0x90);
	emit_modrm_mem(e, k, EMIT_MEM(X86_RDI, 0));
	emit_ret(e);
}

static bool host_has_wide_masks(void)
{
	u32 a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 30 & 1; /* AVX512BW */
}

static unsigned slot_of(bool store, unsigned width, unsigned reg)
{
	return (store * WIDTHS + width) * 32 + reg;
}

static struct emit slot(unsigned i)
{
	return emit_start(region.write + i * SLOT, SLOT);
}

static void make_stubs(void)
{
	bool evex = x86_fpu_host.xcr0 & X86_XCR0_ZMM_16, vex = x86_fpu_host.xcr0 & X86_XCR0_AVX;
	unsigned widths = evex ? 3 : vex ? 2 : 1, regs = evex ? 32 : 16;

	for (unsigned store = 0; store < 2; store++) {
		for (unsigned w = 0; w < widths; w++) {
			for (unsigned reg = 0; reg < regs; reg++) {
				struct emit e = slot(slot_of(store, w, reg));

				emit_move(&e, store, w, reg);
			}
		}
		for (unsigned k = 0; evex && k < 8; k++) {
			struct emit e = slot(MASK_STUBS + store * 8 + k);

			emit_mask_move(&e, store, k, host_has_wide_masks());
		}
	}
}

int native_vector_init(void)
{
	int r = code_create(&region, NR_STUBS * SLOT);

	if (r == 0)
		make_stubs();
	return r;
}

unsigned native_vector_width(void)
{
	if (x86_fpu_host.xcr0 & X86_XCR0_ZMM_16)
		return 64;
	return x86_fpu_host.xcr0 & X86_XCR0_AVX ? 32 : 16;
}

static void run(unsigned i, void *mem)
{
	((move_code *)(region.exec + i * SLOT))(mem);
}

void native_vector_store(unsigned reg, void *to, unsigned size)
{
	run(slot_of(true, size == 64 ? 2 : size / 32, reg), to);
}

void native_vector_load(unsigned reg, const void *from, unsigned size)
{
	run(slot_of(false, size == 64 ? 2 : size / 32, reg), (void *)from);
}

u64 native_mask_get(unsigned k)
{
	u64 value = 0;

	run(MASK_STUBS + 8 + k, &value);
	return value;
}

void native_mask_set(unsigned k, u64 value)
{
	run(MASK_STUBS + k, &value);
}
