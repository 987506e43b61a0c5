/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instruction tests: one instruction with random operands runs on the bare CPU and in a VM, from the same
 * state; what they leave must be the same. See main.c for the whole, README.md for how to use it.
 *
 * Both run at CPL 3 with the same selectors and the same addresses: an arena of pages below 4 GiB.
 */
#ifndef ANYKVM_TESTS_INSN_H
#define ANYKVM_TESTS_INSN_H

#include <stdbool.h>
#include <stdio.h>

#include "x86/cpu.h"
#include "x86/opcodes.h"

/* ---- the arena: the same in the process and in the guest ------------------------------------------- */

#define ARENA		0x20000000ul
#define DATA		(ARENA + 0x1000)	/* read and write; nothing is mapped before and behind it */
#define DATA_SIZE	0x4000ul
#define READONLY	(ARENA + 0x6000)	/* one page */
#define CODE		(ARENA + 0x10000) /* full of HLT: wherever execution goes on, it stops with #GP */
#define CODE_SIZE	0x4000ul
#define ARENA_SIZE	0x14000ul

#define SEL_CODE64	0x33
#define SEL_CODE32	0x23
#define SEL_DATA	0x2b
#define SEL_CODE16	0x07		/* LDT: base CODE */
#define SEL_DATA16	0x0f		/* LDT: base ARENA, 16-bit stack */
#define LIMIT_CODE16	(CODE_SIZE - 1)
#define LIMIT_DATA16	0x6fffu
#define GS_BASE		(DATA + 0x123)
/*
 * IRET to a 16-bit stack leaves the high half of ESP alone, so the guest's kernel stack and the samples share
 * it.
 */
#define ESP_HIGH	0x37600000ul

/* ---- state ----------------------------------------------------------------------------------------- */

#define XSAVE_SIZE	4096
#define XSAVE_YMM	576	/* offset of YMM_Hi128 in the standard format */

struct state {
	u64 gpr[16];
	u64 rip, rflags;
	u16 cs;
	u8 xsave[XSAVE_SIZE] __attribute__((aligned(64))); /* standard format; FXSAVE image first */
};

/* Fields of the FXSAVE image. */
struct fxsave {
	u16 fcw, fsw;
	u8 ftw, reserved;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 xmm[16][16];
};

struct outcome {
	struct state state;
	int vector;	/* how it ended: always an exception, #GP of HLT if all went well */
	u32 error;
	u64 cr2;	/* with vector 14 */
};

/* One instruction with all that it starts from. */
struct sample {
	struct x86_insn insn;
	unsigned mode;			/* 64, 32 or 16 */
	u64 rip;			/* where it lies in CODE; state.rip is relative to CS */
	u8 code[X86_MAX_INSN_LEN + 1];
	struct state state;
	u64 target;			/* address of the memory operand, or 0 */
	const u8 *data;			/* DATA_SIZE bytes */
	u8 lead[96], tail[96];		/* instructions before and behind it: surround.c; state.rip is theirs */
	unsigned lead_len, tail_len;
};

/* ---- values.c -------------------------------------------------------------------------------------- */

extern u64 rnd_state;
u64 rnd(void);
static inline unsigned rnd_below(unsigned n)
{
	return (unsigned)((rnd() >> 11) % n);
}
static inline bool one_in(unsigned n)
{
	return rnd_below(n) == 0;
}
u64 value_int(void);
void value_vector(u8 *out, unsigned size);
void value_x87(u8 out[10]);

/* ---- generate.c ------------------------------------------------------------------------------------ */

/*
 * Fills s with an encoding of the row; false if it has none that can be tested in this mode (after some
 * attempts).
 */
bool generate(struct sample *s, const struct x86_opcode *row, enum x86_encoding encoding, unsigned map,
	      u8 opcode, unsigned mode);
/* The same from random bytes, which may be no instruction at all. */
void generate_random(struct sample *s, unsigned mode);
/* Why the row is left out here, or NULL. */
const char *row_excluded(const struct x86_opcode *row);

/* ---- surround.c ------------------------------------------------------------------------------------ */

void surround(struct sample *s);
/* at: where s->rip is. */
void place_code(const struct sample *s, u8 *at);
void remove_code(const struct sample *s, u8 *at);

/* ---- bare.c and guest.c ---------------------------------------------------------------------------- */

void bare_setup(void);
void bare_run(const struct sample *s, struct outcome *o);
const u8 *bare_data(void);
u64 bare_xcr0(void);

int guest_setup(void); /* 0, or prints why not */
void guest_close(void);
bool guest_has(enum x86_feature f);
void guest_run(const struct sample *s, struct outcome *o);
const u8 *guest_data(void);

/* Looks a feature up with CPUID, in this process. */
bool bare_has(enum x86_feature f);

/* ---- compare.c ------------------------------------------------------------------------------------- */

/* Prints the sample and what differs if the two are not the same. */
bool compare(const struct sample *s, const struct outcome *native, const struct outcome *guest);
/* Whether all that it leaves is defined, but for flags. */
bool predictable(const struct sample *s);
void print_sample(FILE *f, const struct sample *s);
extern bool strict; /* compare undefined flags too */

#endif
