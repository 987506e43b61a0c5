// SPDX-License-Identifier: GPL-2.0-only
/*
 * x87/SSE/AVX state: KVM's views of it, the FXSAVE and XSAVE families against the bare CPU, their faults,
 * and that the x87 error pointers which a guest sees are its own.
 */
#include "tests/unit/bare_cpu.h"
#include "x86/opcodes.h"

#define AREA (DATA + 1024) /* 64-byte aligned */

static struct state random_vectors(void)
{
	struct state s;

	memset(&s, 0, sizeof(s));
	s.rip = (u64)CODE + 64;
	s.flags = rnd() & X86_FLAGS_STATUS;
	s.xsave.xstate_bv = x86_fpu_host.live;
	s.xsave.fx.fcw = 0x37f;
	s.xsave.fx.mxcsr = X86_MXCSR_RESET | (rnd() & 0x3f);
	s.xsave.fx.ftw = (u8)rnd();
	s.xsave.fx.fsw = rnd() & 0x3800;
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			s.xsave.fx.st[i][k] = (u8)rnd();
	for (unsigned i = 0; i < 256; i++)
		s.xsave.fx.xmm[i / 16][i % 16] = (u8)rnd();
	for (unsigned i = 2; i < 8; i++)
		for (unsigned k = 0; x86_fpu_host.live >> i & 1 && k < x86_fpu_host.length[i]; k++)
			s.image[x86_fpu_host.offset[i] + k] = (u8)rnd();
	return s;
}

/* Executes one instruction (rcx = AREA) in the guest. */
static enum x86_result guest(struct state *s, const u8 *bytes, unsigned mode_bits)
{
	struct x86_insn insn;
	enum x86_result r;
	u8 padded[16] = { 0 };

	memcpy(padded, bytes, 8);
	assert_true(fake_decode(&insn, padded, mode_bits));
	fake_load(s);
	cpu.code_bits = (u8)mode_bits;
	cpu.mode = mode_bits == 64 ? X86_MODE_LONG : X86_MODE_COMPAT;
	r = fake_execute(&insn, 1);
	cpu.code_bits = 64;
	cpu.mode = X86_MODE_LONG;
	fake_store(s, r);
	return r;
}

static void expect_fault(const u8 *bytes, const struct state *before, int vector)
{
	struct state s = *before;
	enum x86_result r = guest(&s, bytes, 64);

	assert_int_equal(r, vector < 0 ? X86_OK : X86_FAULT);
	if (vector >= 0)
		assert_int_equal(s.vector, vector);
}

/* ---- KVM --------------------------------------------------------------------------------------------- */

static void kvm_fpu_round_trip(void **unused)
{
	struct kvm_fpu in, out;

	(void)unused;
	memset(&in, 0, sizeof(in));
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			in.fpr[i][k] = (u8)rnd();
	for (unsigned i = 0; i < 256; i++)
		in.xmm[i / 16][i % 16] = (u8)rnd();
	in.fcw = 0x27f;
	in.fsw = 0x3800;
	in.ftwx = 0x81;
	in.last_opcode = 0x123;
	in.last_ip = 0x123456789a;
	in.last_dp = 0xabcdef012;
	in.mxcsr = 0x1fa0;
	x86_fpu_set(&cpu, &in);
	x86_fpu_enter(&cpu);
	x86_fpu_leave(&cpu);
	x86_fpu_get(&cpu, &out);
	assert_memory_equal(&in, &out, sizeof(in));
}

static void kvm_xsave_round_trip(void **unused)
{
	struct state s = random_vectors();
	u8 out[8192];

	(void)unused;
	fake_load(&s);
	x86_fpu_enter(&cpu);
	x86_fpu_leave(&cpu);
	x86_fpu_get_xsave(&cpu, out, sizeof(out));
	assert_memory_equal(out, s.image, 24);
	assert_memory_equal(out + 32, s.image + 32, 384);
	for (unsigned i = 2; i < 8; i++)
		if (x86_fpu_host.live >> i & 1)
			assert_memory_equal(out + x86_fpu_host.offset[i], s.image + x86_fpu_host.offset[i],
					    x86_fpu_host.length[i]);
}

static void kvm_xsave_refuses(void **unused)
{
	struct state s = random_vectors();

	(void)unused;
	s.xsave.xstate_bv |= BIT64(40);
	assert_int_equal(x86_fpu_set_xsave(&cpu, s.image, 4096), -22);
	s = random_vectors();
	s.xsave.fx.mxcsr = 0xffffffff;
	assert_int_equal(x86_fpu_set_xsave(&cpu, s.image, 4096), -22);
	s = random_vectors();
	s.xsave.xcomp_bv = BIT64(63);
	assert_int_equal(x86_fpu_set_xsave(&cpu, s.image, 4096), -22);
	s = random_vectors();
	s.xsave.reserved[5] = 1;
	assert_int_equal(x86_fpu_set_xsave(&cpu, s.image, 4096), -22);
	s = random_vectors();
	assert_int_equal(x86_fpu_set_xsave(&cpu, s.image, 4096), 0);
}

/* The host's own control words survive, and its registers are as the ABI wants them. */
static void host_state_is_kept(void **unused)
{
	struct state s = random_vectors();
	u16 fcw = 0x27f, seen;
	u32 mxcsr = 0x3f80;
	u8 fx[512] __attribute__((aligned(16)));

	(void)unused;
	s.xsave.fx.fcw = 0x340;
	s.xsave.fx.fsw = 0x01;
	s.xsave.fx.mxcsr = 0;
	fake_load(&s);
	__asm__ volatile("fldcw %0; ldmxcsr %1" : : "m"(fcw), "m"(mxcsr));
	x86_fpu_enter(&cpu);
	x86_fpu_leave(&cpu);
	seen = x86_fpu_fcw();
	mxcsr = x86_fpu_mxcsr();
	__asm__ volatile("fxsave64 %0; fninit" : "=m"(fx));
	x86_fpu_set_mxcsr(X86_MXCSR_RESET);
	assert_int_equal(seen, 0x27f);
	assert_int_equal(mxcsr, 0x3f80);
	assert_int_equal(fx[4], 0);
}

static void reset_state(void **unused)
{
	struct kvm_fpu fpu;

	(void)unused;
	x86_fpu_reset(&cpu);
	x86_fpu_get(&cpu, &fpu);
	assert_int_equal(fpu.fcw, 0x37f);
	assert_int_equal(fpu.mxcsr, 0x1f80);
	assert_int_equal(fpu.ftwx, 0);
	assert_int_equal(cpu.fpu_unmasked, 0);
}

/* ---- saving and restoring, against the bare CPU ------------------------------------------------------ */

struct form {
	const char *name;
	u8 bytes[8];
	bool restores;
	unsigned feature;
};

static const struct form forms[] = {
	{ "fxsave", { 0x0f, 0xae, 0x01 }, false, X86_FEAT_FXSR },
	{ "fxsave64", { 0x48, 0x0f, 0xae, 0x01 }, false, X86_FEAT_FXSR },
	{ "fxrstor", { 0x0f, 0xae, 0x09 }, true, X86_FEAT_FXSR },
	{ "fxrstor64", { 0x48, 0x0f, 0xae, 0x09 }, true, X86_FEAT_FXSR },
	{ "xsave", { 0x0f, 0xae, 0x21 }, false, X86_FEAT_XSAVE },
	{ "xsave64", { 0x48, 0x0f, 0xae, 0x21 }, false, X86_FEAT_XSAVE },
	{ "xrstor64", { 0x48, 0x0f, 0xae, 0x29 }, true, X86_FEAT_XSAVE },
	{ "xsaveopt64", { 0x48, 0x0f, 0xae, 0x31 }, false, X86_FEAT_XSAVEOPT },
	{ "xsavec64", { 0x48, 0x0f, 0xc7, 0x21 }, false, X86_FEAT_XSAVEC },
};

/* An image to restore from, sometimes bad: both must then fault. */
static void random_image(u8 *area)
{
	struct state s = random_vectors();
	struct x86_xsave *x = (void *)area;

	memcpy(area, s.image, 4096 - 1024);
	x->fx.fip = 0x1111;
	x->fx.fdp = 0x2222;
	x->fx.fop = 0x333;
	memset(x->fx.software, 0x5a, sizeof(x->fx.software));
	x->xstate_bv = rnd() & x86_fpu_host.live;
	switch (rnd() % 8) {
	case 0:
		x->fx.mxcsr |= (u32)rnd();
		break;
	case 1:
		x->xstate_bv |= BIT64(rnd() % 64);
		break;
	case 2:
		x->reserved[rnd() % 16] = 1;
		break;
	case 3:
	case 4:
		x->xcomp_bv = BIT64(63) | (rnd() & x86_fpu_host.live);
		if (rnd() & 3)
			x->xcomp_bv |= x->xstate_bv;
		break;
	case 5:
		x->xcomp_bv = rnd() & 7;
	}
}

/* Without the pointers, which the bare CPU has of the test's own instructions. */
static bool same_registers(const struct state *a, const struct state *b)
{
	const struct x86_xsave *x = &a->xsave, *y = &b->xsave;

	return x->fx.fcw == y->fx.fcw && x->fx.fsw == y->fx.fsw && x->fx.ftw == y->fx.ftw &&
	       x->fx.mxcsr == y->fx.mxcsr && !memcmp(x->fx.st, y->fx.st, sizeof(x->fx.st)) &&
	       !memcmp(x->fx.xmm, y->fx.xmm, sizeof(x->fx.xmm)) &&
	       !memcmp(a->image + x86_fpu_host.offset[2], b->image + x86_fpu_host.offset[2],
		       x86_fpu_host.length[2]);
}

/* The initial configuration where XSTATE_BV says so. */
static void normalise(struct state *s)
{
	if (!(s->xsave.xstate_bv & 1)) {
		memset(s->image, 0, 24);
		memset(s->xsave.fx.st, 0, sizeof(s->xsave.fx.st));
		s->xsave.fx.fcw = 0x37f;
	}
	if (!(s->xsave.xstate_bv & 2))
		memset(s->xsave.fx.xmm, 0, 256);
	if (!(s->xsave.xstate_bv & 4))
		memset(s->image + x86_fpu_host.offset[2], 0, x86_fpu_host.length[2]);
}

static u8 before[DATA_SIZE], native[DATA_SIZE];

static bool same_effect(const struct form *f, const struct state *start, bool report)
{
	struct state bare = *start, mine = *start;

	memcpy(DATA, before, DATA_SIZE);
	bare_run(&bare, f->bytes, f->bytes[0] == 0x48 ? 4 : 3);
	normalise(&bare);
	memcpy(native, DATA, DATA_SIZE);
	memcpy(DATA, before, DATA_SIZE);
	guest(&mine, f->bytes, 64);
	if (!report)
		return bare.vector == mine.vector && !memcmp(native, DATA, DATA_SIZE) &&
		       same_registers(&bare, &mine);
	print_message("%s, eax %x: exception %d, mine %d\n", f->name, (u32)start->gpr[0], bare.vector,
		      mine.vector);
	for (unsigned i = 0; i < DATA_SIZE; i++)
		if (native[i] != DATA[i])
			print_message("byte %d: %02x, mine %02x, before %02x\n", (int)(i - (AREA - DATA)),
				      native[i], DATA[i], before[i]);
	return false;
}

/*
 * A context switch between loading the state and the instruction may change which components are in use
 * (the kernel's XSAVES takes MXCSR for SSE state), so a difference counts when it persists.
 */
static void one_form(const struct form *f)
{
	struct state start = random_vectors();
	bool same = false;

	if (rnd() & 1)
		start.xsave.xstate_bv = rnd() & x86_fpu_host.live;
	start.gpr[X86_RCX] = (u64)AREA + (rnd() % 16 ? 0 : rnd() % 64);
	start.gpr[X86_RAX] = rnd();
	start.gpr[X86_RDX] = rnd();
	for (unsigned i = 0; i < DATA_SIZE; i += 8)
		*(u64 *)(before + i) = rnd();
	if (f->restores)
		random_image(before + (AREA - DATA));
	normalise(&start);
	for (unsigned i = 0; i < 5 && !same; i++)
		same = same_effect(f, &start, false);
	if (!same)
		same_effect(f, &start, true);
	assert_true(same);
}

static void forms_against_bare(void **unused)
{
	(void)unused;
	bare_catch();
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++)
		for (unsigned k = 0; host_has(forms[i].feature) && k < 3000; k++) {
			fake_tlb(k & 1);
			fake.direct = k & 2;
			one_form(&forms[i]);
		}
	fake_tlb(true);
	fake.direct = true;
}

/* Outside 64-bit mode eight registers are saved, and restored, and the others keep their values. */
static void eight_registers(void **unused)
{
	struct state s = random_vectors(), after;
	struct x86_xsave *area = (void *)AREA;

	(void)unused;
	memset(DATA, 0xcc, DATA_SIZE);
	memset(&area->xstate_bv, 0, 64);
	s.gpr[X86_RCX] = (u64)AREA;
	s.gpr[X86_RAX] = s.gpr[X86_RDX] = ~0u;
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0x0f, 0xae, 0x21 }, 32), X86_OK); /* XSAVE */
	assert_memory_equal(area->fx.xmm, s.xsave.fx.xmm, 128);
	assert_int_equal(area->fx.xmm[8][0], 0xcc);
	assert_int_equal(AREA[x86_fpu_host.offset[2] + 128], 0xcc);
	area->xstate_bv = 0;
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0x0f, 0xae, 0x29 }, 32), X86_OK); /* XRSTOR */
	assert_memory_equal(after.xsave.fx.xmm[8], s.xsave.fx.xmm[8], 128);
	assert_int_equal(after.xsave.fx.xmm[7][3], 0);
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0xc5, 0xfc, 0x77 }, 32), X86_OK); /* VZEROALL */
	assert_memory_equal(after.xsave.fx.xmm[8], s.xsave.fx.xmm[8], 128);
	assert_int_equal(after.xsave.fx.xmm[7][3], 0);
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0xc5, 0xf8, 0x77 }, 32), X86_OK); /* VZEROUPPER */
	assert_memory_equal(after.xsave.fx.xmm, s.xsave.fx.xmm, 256);
	assert_int_equal(after.image[x86_fpu_host.offset[2] + 127], 0);
	assert_memory_equal(after.image + x86_fpu_host.offset[2] + 128,
			    s.image + x86_fpu_host.offset[2] + 128, 128);
}

/* Components outside the guest's XCR0 are neither saved nor lost. */
static void guest_xcr0_counts(void **unused)
{
	struct state s = random_vectors(), after;
	struct x86_xsave *area = (void *)AREA;

	(void)unused;
	memset(DATA, 0, DATA_SIZE);
	s.gpr[X86_RCX] = (u64)AREA;
	s.gpr[X86_RAX] = s.gpr[X86_RDX] = ~0u;
	cpu.xcr0 = X86_XCR0_X87 | X86_XCR0_SSE;
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0x48, 0x0f, 0xae, 0x21 }, 64), X86_OK);
	assert_int_equal(area->xstate_bv & ~3ull, 0);
	area->xstate_bv = 0;
	after = s;
	assert_int_equal(guest(&after, (u8[8]){ 0x48, 0x0f, 0xae, 0x29 }, 64), X86_OK);
	assert_memory_equal(after.image + x86_fpu_host.offset[2], s.image + x86_fpu_host.offset[2],
			    x86_fpu_host.length[2]);
	area->xstate_bv = X86_XCR0_AVX;
	expect_fault((u8[8]){ 0x48, 0x0f, 0xae, 0x29 }, &s, X86_GP);
	cpu.xcr0 = x86_fpu_host.xcr0;
}

/* ---- what must be enabled ---------------------------------------------------------------------------- */

static const u8 addps[8] = { 0x0f, 0x58, 0xc1 }, vaddps[8] = { 0xc5, 0xfc, 0x58, 0xc1 },
		fadd[8] = { 0xd8, 0xc1 }, paddb[8] = { 0x0f, 0xfc, 0xc1 }, fwait[8] = { 0x9b },
		fxsave[8] = { 0x0f, 0xae, 0x01 }, xsave[8] = { 0x0f, 0xae, 0x21 }, emms[8] = { 0x0f, 0x77 },
		ldmxcsr[8] = { 0x0f, 0xae, 0x11 };

static void enabling_bits(void **unused)
{
	struct state s = random_vectors();
	u64 cr0 = cpu.cr0, cr4 = cpu.cr4;

	(void)unused;
	s.gpr[X86_RCX] = (u64)AREA;
	memset(AREA, 0, 64);
	cpu.cr0 = cr0 | X86_CR0_TS;
	for (unsigned i = 0; i < 9; i++)
		expect_fault(
			(const u8 *[]){ addps, vaddps, fadd, paddb, fwait, fxsave, xsave, emms, ldmxcsr }[i],
			&s, X86_NM);
	cpu.cr0 = (cr0 | X86_CR0_TS) & ~X86_CR0_MP;
	expect_fault(fwait, &s, -1);
	cpu.cr0 = cr0 | X86_CR0_EM;
	expect_fault(addps, &s, X86_UD);
	expect_fault(paddb, &s, X86_UD);
	expect_fault(emms, &s, X86_UD);
	expect_fault(fadd, &s, X86_NM);
	expect_fault(fxsave, &s, X86_NM);
	expect_fault(vaddps, &s, -1);
	cpu.cr0 = cr0;
	cpu.cr4 = cr4 & ~X86_CR4_OSFXSR;
	expect_fault(addps, &s, X86_UD);
	expect_fault(ldmxcsr, &s, X86_UD);
	expect_fault(paddb, &s, -1);
	expect_fault(vaddps, &s, -1);
	cpu.cr4 = cr4 & ~X86_CR4_OSXSAVE;
	expect_fault(vaddps, &s, X86_UD);
	expect_fault(xsave, &s, X86_UD);
	expect_fault(addps, &s, -1);
	cpu.cr4 = cr4;
	cpu.xcr0 = 3;
	expect_fault(vaddps, &s, X86_UD);
	cpu.xcr0 = x86_fpu_host.xcr0;
	memset(AREA, 0xff, 64);
	expect_fault(ldmxcsr, &s, X86_GP);
	s.gpr[X86_RCX] += 8;
	expect_fault(fxsave, &s, X86_GP);
	expect_fault(xsave, &s, X86_GP);
}

static void simd_exception_needs_osxmmexcpt(void **unused)
{
	struct state s = random_vectors();
	static const u8 divps[8] = { 0x0f, 0x5e, 0xc1 };

	(void)unused;
	memset(s.xsave.fx.xmm, 0, sizeof(s.xsave.fx.xmm));
	s.xsave.fx.mxcsr = 0x1f00; /* invalid unmasked, 0/0 follows */
	expect_fault(divps, &s, X86_XM);
	cpu.cr4 &= ~X86_CR4_OSXMMEXCPT;
	expect_fault(divps, &s, X86_UD);
	cpu.cr4 |= X86_CR4_OSXMMEXCPT;
}

/* ---- error pointers ---------------------------------------------------------------------------------- */

/* FLD m64 [rcx+16], then FNSTENV [rcx]; and with an exception pending FXSAVE64 [rcx]. */
static void pointers_are_the_guests(void **unused)
{
	struct x86_insn insn[2];
	struct state s = random_vectors();
	u32 *env = (u32 *)AREA;
	struct x86_fxsave *fx = (void *)AREA;
	u8 fld[16] = { 0xdd, 0x41, 0x10 }, fnstenv[16] = { 0xd9, 0x31 },
	   fxsave64[16] = { 0x48, 0x0f, 0xae, 0x01 };

	(void)unused;
	s.xsave.fx.ftw = 0xff; /* full: FLD overflows the stack */
	s.gpr[X86_RCX] = (u64)AREA;
	s.rip = 0x7ffff0001234;
	memset(AREA, 0, 1024);
	assert_true(fake_decode(&insn[0], fld, 64) && fake_decode(&insn[1], fnstenv, 64));
	fake_load(&s);
	assert_int_equal(fake_execute(insn, 2), X86_OK);
	assert_int_equal(env[3], 0xf0001234);
	assert_int_equal(env[4], 0x541 << 16 | 0x33);
	assert_int_equal(env[5], (u32)(u64)AREA + 16);
	s.xsave.fx.fcw = 0x37e;
	assert_true(fake_decode(&insn[0], fld, 64) && fake_decode(&insn[1], fxsave64, 64));
	fake_load(&s);
	assert_int_equal(fake_execute(insn, 2), X86_OK);
	assert_int_equal(fx->fsw & 0x81, 0x81);
	assert_int_equal(fx->fip, 0x7ffff0001234);
	assert_int_equal(fx->fdp, (u64)AREA + 16);
	assert_int_equal(fx->fop, 0x541);
	assert_int_equal(fake_execute(insn, 1), X86_FAULT); /* and now it waits */
	assert_int_equal(cpu.fault.vector, X86_MF);
}

/* FNSTENV and FLDENV in the formats of all modes: what one writes the other takes back. */
static void environment_formats(void **unused)
{
	static const u8 modes[] = { X86_MODE_REAL, X86_MODE_V86, X86_MODE_PROT, X86_MODE_COMPAT };
	struct x86_insn insn[2];
	struct state s = random_vectors();
	u8 back[64];

	(void)unused;
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++)
		for (unsigned bits = 16; bits <= 32; bits += 16) {
			bool real = modes[m] == X86_MODE_REAL || modes[m] == X86_MODE_V86;
			u8 store[16] = { 0x67, 0xd9, 0x31 }, load[16] = { 0x67, 0xd9, 0x21 };
			u8 *st = bits == 32 ? store + 1 : store, *ld = bits == 32 ? load + 1 : load;

			s.gpr[X86_RCX] = (u64)AREA;
			assert_true(fake_decode(&insn[0], st, bits) && fake_decode(&insn[1], ld, bits));
			fake_load(&s);
			cpu.mode = modes[m];
			cpu.code_bits = (u8)bits;
			cpu.fpu_ip = 0xabcd;
			cpu.fpu_cs = 0x1234;
			cpu.fpu_dp = 0x5678;
			cpu.fpu_ds = 0x4321;
			cpu.fpu_op = 0x765;
			memset(AREA, 0xcc, 64);
			assert_int_equal(fake_execute(insn, 2), X86_OK);
			memcpy(back, AREA, sizeof(back));
			assert_int_equal(back[bits == 32 ? 28 : 14], 0xcc);
			assert_int_equal(cpu.fpu_ip, real ? 0x1234 * 16 + 0xabcd : 0xabcd);
			assert_int_equal(cpu.fpu_cs, real || x86_fpu_host.no_fcs_fds ? 0 : 0x1234);
			assert_int_equal(cpu.fpu_dp, real ? 0x4321 * 16 + 0x5678 : 0x5678);
			assert_int_equal(fake_execute(insn, 1), X86_OK);
			assert_memory_equal(back, AREA, sizeof(back));
		}
	cpu.mode = X86_MODE_LONG;
	cpu.code_bits = 64;
}

static int setup(void **unused)
{
	(void)unused;
	bare_init();
	fake_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_fpu_round_trip),
		cmocka_unit_test(kvm_xsave_round_trip),
		cmocka_unit_test(kvm_xsave_refuses),
		cmocka_unit_test(host_state_is_kept),
		cmocka_unit_test(reset_state),
		cmocka_unit_test(forms_against_bare),
		cmocka_unit_test(eight_registers),
		cmocka_unit_test(guest_xcr0_counts),
		cmocka_unit_test(enabling_bits),
		cmocka_unit_test(simd_exception_needs_osxmmexcpt),
		cmocka_unit_test(pointers_are_the_guests),
		cmocka_unit_test(environment_formats),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
