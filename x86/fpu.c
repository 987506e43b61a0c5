/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's x87/SSE/AVX state lives, and KVM's view of it (see x86/fpu.h; SDM vol. 1 chapter 13).
 *
 * During a run of the soft engine the registers are loaded: x86_fpu_enter and x86_fpu_leave are the only
 * places where host and guest state are exchanged, and everything between them must be built without vector
 * code. Outside, cpu->xsave holds the state in the standard format as the host's XSAVE wrote it: components
 * whose XSTATE_BV bit is clear are in their initial configuration, whatever their bytes say.
 *
 * PKRU is a component for the guest's XSAVE and for KVM, but never in the host's register: cpu->pkru is
 * checked by the page walk.
 */
#include "x86/fpu.h"
#include "host/host.h"
#include "x86/system.h"

#define LEGACY_SIZE 576u /* FXSAVE area and XSAVE header */
#define PLAIN (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX)
#define USABLE (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_AVX512 | X86_XCR0_PKRU)

struct x86_fpu_host x86_fpu_host;

/* What follows the image in the block that cpu->xsave points to: two scratch images, then this. */
struct fpu_saved {
	u32 mxcsr;
	u16 fcw;
};

static void cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf));
}

static u64 xgetbv0(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

static void probe_components(struct x86_fpu_host *h)
{
	u32 r[4], size = LEGACY_SIZE;

	for (unsigned i = 2; i < 63; i++) {
		if (!(h->xcr0 >> i & 1))
			continue;
		cpuid(0xd, i, r);
		h->length[i] = r[0];
		h->offset[i] = r[1];
		h->align64[i] = r[2] & 2;
		size = (u32)max_u64(size, r[0] + r[1]);
	}
	atomic_set_release(&h->size, (size + 63) & ~63u);
}

static u32 probe_mxcsr_mask(void)
{
	struct x86_fxsave image __attribute__((aligned(16)));

	image.mxcsr_mask = 0;
	__asm__ volatile("fxsave64 %0" : "+m"(image));
	return image.mxcsr_mask ? image.mxcsr_mask : 0xffbf;
}

/* Racing callers write the same values; size comes last. */
void x86_fpu_probe(void)
{
	struct x86_fpu_host *h = &x86_fpu_host;
	u32 r[4], max_leaf;

	if (atomic_read_acquire(&h->size))
		return;
	cpuid(0, 0, r);
	max_leaf = r[0];
	h->amd = r[1] == 0x68747541 || r[1] == 0x6f677948; /* "Auth"enticAMD, "Hygo"nGenuine */
	h->mxcsr_mask = probe_mxcsr_mask();
	if (max_leaf >= 7) {
		cpuid(7, 0, r);
		h->fdp_exception_only = r[1] >> 6 & 1;
		h->no_fcs_fds = r[1] >> 13 & 1;
	}
	cpuid(1, 0, r);
	h->xsave = max_leaf >= 0xd && (r[2] >> 27 & 1); /* OSXSAVE */
	if (h->xsave) {
		cpuid(0xd, 1, r);
		h->xsaveopt = r[0] & 1;
		h->xsavec = r[0] >> 1 & 1;
	}
	h->xcr0 = h->xsave ? xgetbv0() & USABLE : X86_XCR0_X87 | X86_XCR0_SSE;
	if ((h->xcr0 & X86_XCR0_AVX512) != X86_XCR0_AVX512)
		h->xcr0 &= ~X86_XCR0_AVX512;
	h->live = h->xcr0 & ~X86_XCR0_PKRU;
	h->plain = h->xsave && (r[0] >> 2 & 1) && h->live == PLAIN;
	probe_components(h);
}

u64 x86_fpu_host_xcr0(void)
{
	x86_fpu_probe();
	return x86_fpu_host.xsave ? x86_fpu_host.xcr0 : 0;
}

unsigned x86_fpu_size(void)
{
	x86_fpu_probe();
	return x86_fpu_host.size;
}

struct x86_xsave *x86_fpu_scratch(const struct x86_cpu *cpu, unsigned n)
{
	return (struct x86_xsave *)((u8 *)cpu->xsave + (n + 1) * x86_fpu_host.size);
}

static struct fpu_saved *saved(const struct x86_cpu *cpu)
{
	return (struct fpu_saved *)x86_fpu_scratch(cpu, 2);
}

int x86_fpu_create(struct x86_cpu *cpu)
{
	x86_fpu_probe();
	cpu->xsave = host_alloc(3 * (size_t)x86_fpu_host.size + sizeof(struct fpu_saved));
	if (!cpu->xsave)
		return -12; /* ENOMEM */
	x86_fpu_reset(cpu);
	return 0;
}

void x86_fpu_destroy(struct x86_cpu *cpu)
{
	host_free(cpu->xsave);
	cpu->xsave = NULL;
}

/* KVM starts a vCPU with the state of FNINIT, not the FCW = 0040h of the RESET pin. */
static void init_image(struct x86_xsave *image)
{
	x86_fpu_zero(image, x86_fpu_host.size);
	image->fx.fcw = X86_FCW_RESET;
	image->fx.mxcsr = X86_MXCSR_RESET;
	image->fx.mxcsr_mask = x86_fpu_host.mxcsr_mask;
	image->xstate_bv = 0;
}

void x86_fpu_reset(struct x86_cpu *cpu)
{
	struct x86_xsave *image = cpu->fpu_live ? x86_fpu_scratch(cpu, 0) : cpu->xsave;

	x86_fpu_home(cpu);
	init_image(image);
	if (cpu->fpu_live)
		x86_fpu_load(image);
	cpu->fpu_ip = cpu->fpu_dp = 0;
	cpu->fpu_cs = cpu->fpu_ds = cpu->fpu_op = 0;
	cpu->fpu_unmasked = 0;
}

/* Makes the bytes of the legacy components say what XSTATE_BV says. */
static void expand_x87(struct x86_xsave *image)
{
	if (image->xstate_bv & X86_XCR0_X87)
		return;
	x86_fpu_zero(&image->fx, offsetof(struct x86_fxsave, mxcsr));
	x86_fpu_zero(image->fx.st, sizeof(image->fx.st));
	image->fx.fcw = X86_FCW_RESET;
}

static void expand_legacy(struct x86_xsave *image)
{
	expand_x87(image);
	if (!(image->xstate_bv & X86_XCR0_SSE))
		x86_fpu_zero(image->fx.xmm, sizeof(image->fx.xmm));
}

/* ---- live registers ---------------------------------------------------------------------------------- */

void x86_fpu_save(struct x86_xsave *image)
{
	if (x86_fpu_host.xsave) {
		image->xstate_bv = 0;
		image->xcomp_bv = 0;
		__asm__ volatile("xsave64 %0"
				 : "+m"(*image)
				 : "a"((u32)x86_fpu_host.live), "d"((u32)(x86_fpu_host.live >> 32))
				 : "memory");
	} else {
		__asm__ volatile("fxsave64 %0" : "=m"(image->fx));
		image->xstate_bv = X86_XCR0_X87 | X86_XCR0_SSE;
	}
}

void x86_fpu_load(const struct x86_xsave *image)
{
	if (x86_fpu_host.xsave)
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(*image), "a"((u32)x86_fpu_host.live),
				   "d"((u32)(x86_fpu_host.live >> 32))
				 : "memory");
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(image->fx) : "memory");
}

void x86_fpu_track(struct x86_cpu *cpu)
{
	u8 unmasked = 0;

	if (~x86_fpu_mxcsr() & X86_MXCSR_MASKS)
		unmasked |= X86_FPU_UNMASKED_SIMD;
	if (~x86_fpu_fcw() & 0x3f)
		unmasked |= X86_FPU_UNMASKED_X87;
	if (unlikely(unmasked & ~cpu->fpu_unmasked))
		atomic_or(&cpu->stop, X86_STOP_CODE);
	cpu->fpu_unmasked = unmasked;
}

static u64 in_use_now(void)
{
	u32 a, d;

	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(1));
	return (u64)d << 32 | a;
}

#define XMM(n) "movups 160+16*" #n "(%0), %%xmm" #n "\n\t"
#define YMM(n) "vmovups 160+16*" #n "(%0), %%xmm" #n "\n\tvinsertf128 $1, 16*" #n "(%1), %%ymm" #n ", %%ymm" #n "\n\t"
#define ALL(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)

/*
 * XRSTOR costs some 200 cycles whatever it loads. Where the x87 part is initial in the image and in the processor all else
 * is 16 registers and MXCSR. False: not so.
 */
static bool load_plain(const struct x86_xsave *image)
{
	const u8 *high = (const u8 *)image + x86_fpu_host.offset[2];
	u64 vectors = image->xstate_bv & (X86_XCR0_SSE | X86_XCR0_AVX);

	if (!x86_fpu_host.plain || vectors == X86_XCR0_AVX || ((image->xstate_bv | in_use_now()) & X86_XCR0_X87))
		return false;
	if (!vectors)
		__asm__ volatile("vzeroall");
	else if (vectors == X86_XCR0_SSE)
		__asm__ volatile("vzeroupper\n\t" ALL(XMM) : : "r"(image) : "memory");
	else
		__asm__ volatile(ALL(YMM) : : "r"(image), "r"(high) : "memory");
	x86_fpu_set_mxcsr(image->fx.mxcsr);
	return true;
}

/*
 * FXRSTOR has no init optimisation, so for hosts without XSAVE the image always has both components; with
 * XSAVE the pointers of a component that is not in the image are zero and harmless.
 */
void x86_fpu_enter(struct x86_cpu *cpu)
{
	struct fpu_saved *s = saved(cpu);

	s->mxcsr = x86_fpu_mxcsr();
	s->fcw = x86_fpu_fcw();
	if (!load_plain(cpu->xsave))
		x86_fpu_load(cpu->xsave);
	cpu->fpu_live = true;
	x86_fpu_track(cpu);
}

/*
 * Leaves what the ABI demands of a function: empty x87 stack, clean upper halves, the caller's control
 * words.
 */
static void load_host_state(struct x86_cpu *cpu, u64 in_use)
{
	static const struct x86_xsave init __attribute__((aligned(64))) = {
		.fx = { .fcw = X86_FCW_RESET, .mxcsr = X86_MXCSR_RESET },
	};
	struct fpu_saved *s = saved(cpu);

	/* What the guest left in registers that a caller saves does not matter. */
	if (in_use & ~(X86_XCR0_SSE | X86_XCR0_AVX))
		x86_fpu_load(&init);
	else if (in_use & X86_XCR0_AVX)
		__asm__ volatile("vzeroupper");
	x86_fpu_set_mxcsr(s->mxcsr);
	__asm__ volatile("fldcw %0" : : "m"(s->fcw));
}

/* Into cpu->xsave, which it was loaded from. */
static void save_live(struct x86_xsave *image)
{
	if (!x86_fpu_host.xsaveopt) {
		x86_fpu_save(image);
		return;
	}
	__asm__ volatile("xsaveopt64 %0"
			 : "+m"(*image)
			 : "a"((u32)x86_fpu_host.live), "d"((u32)(x86_fpu_host.live >> 32))
			 : "memory");
}

/* The registers are the program's already. */
static void fetch(struct x86_cpu *cpu)
{
	cpu->fpu_live = false;
	cpu->fpu_unmasked = 0;
	cpu->fpu_fetch(cpu);
}

void x86_fpu_send_away(struct x86_cpu *cpu)
{
	cpu->fpu_live = true;
	cpu->fpu_unmasked = X86_FPU_AWAY;
}

void x86_fpu_bring_home(struct x86_cpu *cpu)
{
	fetch(cpu);
	x86_fpu_enter(cpu);
}

void x86_fpu_leave(struct x86_cpu *cpu)
{
	struct x86_xsave *image = cpu->xsave;
	u64 in_use;

	if (cpu->fpu_unmasked & X86_FPU_AWAY) {
		fetch(cpu);
		return;
	}
	save_live(image);
	in_use = image->xstate_bv;
	if (in_use & X86_XCR0_X87 || (cpu->fpu_ip | cpu->fpu_dp | cpu->fpu_op)) {
		expand_x87(image);
		image->fx.fip = cpu->fpu_ip;
		image->fx.fdp = cpu->fpu_dp;
		image->fx.fop = cpu->fpu_op;
		image->xstate_bv |= X86_XCR0_X87;
	}
	cpu->fpu_live = false;
	load_host_state(cpu, in_use);
}

/* ---- what instructions need -------------------------------------------------------------------------- */

enum x86_result x86_fpu_check(struct x86_cpu *cpu, enum x86_state state)
{
	u64 xcr0 = X86_XCR0_SSE | X86_XCR0_AVX;

	if (state != X86_STATE_INT)
		x86_fpu_home(cpu);
	switch (state) {
	case X86_STATE_INT:
		return X86_OK;
	case X86_STATE_X87:
		if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS))
			return x86_raise(cpu, X86_NM, 0);
		return X86_OK;
	case X86_STATE_MMX:
		if (cpu->cr0 & X86_CR0_EM)
			return x86_raise(cpu, X86_UD, 0);
		break;
	case X86_STATE_SSE:
		if ((cpu->cr0 & X86_CR0_EM) || !(cpu->cr4 & X86_CR4_OSFXSR))
			return x86_raise(cpu, X86_UD, 0);
		break;
	case X86_STATE_AVX512:
		xcr0 |= X86_XCR0_AVX512;
		__attribute__((__fallthrough__));
	case X86_STATE_AVX:
		if (cpu->mode < X86_MODE_PROT || !(cpu->cr4 & X86_CR4_OSXSAVE) || (cpu->xcr0 & xcr0) != xcr0)
			return x86_raise(cpu, X86_UD, 0);
		break;
	}
	if (cpu->cr0 & X86_CR0_TS)
		return x86_raise(cpu, X86_NM, 0);
	return X86_OK;
}

/*
 * KVM runs its guests with CR0.NE set in hardware on VT-x and has no FERR#/IRQ13 logic, so CR0.NE = 0 makes
 * no difference there; nor does it here.
 */
enum x86_result x86_fpu_wait(struct x86_cpu *cpu)
{
	x86_fpu_home(cpu);
	if (unlikely(cpu->fpu_unmasked & X86_FPU_UNMASKED_X87) && (x86_fpu_fsw() & X86_FSW_ES))
		return x86_raise(cpu, X86_MF, 0);
	return X86_OK;
}

/* ---- KVM_GET/SET_FPU, KVM_GET/SET_XSAVE -------------------------------------------------------------- */

static void take_pointers(struct x86_cpu *cpu, const struct x86_xsave *image)
{
	bool present = image->xstate_bv & X86_XCR0_X87;

	cpu->fpu_ip = present ? image->fx.fip : 0;
	cpu->fpu_dp = present ? image->fx.fdp : 0;
	cpu->fpu_op = present ? image->fx.fop & 0x7ff : 0;
	cpu->fpu_cs = cpu->fpu_ds = 0;
}

void x86_fpu_get(struct x86_cpu *cpu, struct kvm_fpu *fpu)
{
	struct x86_xsave *image = cpu->xsave;
	struct x86_fxsave *fx = &image->fx;

	expand_legacy(image);
	memset(fpu, 0, sizeof(*fpu));
	memcpy(fpu->fpr, fx->st, sizeof(fpu->fpr));
	memcpy(fpu->xmm, fx->xmm, sizeof(fpu->xmm));
	fpu->fcw = fx->fcw;
	fpu->fsw = fx->fsw;
	fpu->ftwx = fx->ftw;
	fpu->last_opcode = fx->fop;
	fpu->last_ip = fx->fip;
	fpu->last_dp = fx->fdp;
	fpu->mxcsr = fx->mxcsr;
}

/*
 * KVM takes any MXCSR here and drops the state if loading it faults; dropping the reserved bits alone is
 * kinder.
 */
void x86_fpu_set(struct x86_cpu *cpu, const struct kvm_fpu *fpu)
{
	struct x86_xsave *image = cpu->xsave;
	struct x86_fxsave *fx = &image->fx;

	memcpy(fx->st, fpu->fpr, sizeof(fx->st));
	memcpy(fx->xmm, fpu->xmm, sizeof(fx->xmm));
	fx->fcw = fpu->fcw;
	fx->fsw = fpu->fsw;
	fx->ftw = fpu->ftwx;
	fx->fop = fpu->last_opcode & 0x7ff;
	fx->fip = fpu->last_ip;
	fx->fdp = fpu->last_dp;
	fx->mxcsr = fpu->mxcsr & x86_fpu_host.mxcsr_mask;
	image->xstate_bv |= X86_XCR0_X87 | X86_XCR0_SSE;
	take_pointers(cpu, image);
}

static void get_pkru(struct x86_cpu *cpu, u8 *area, unsigned size, u64 *xstate_bv)
{
	unsigned offset = x86_fpu_host.offset[9];

	if (!(x86_fpu_host.xcr0 & X86_XCR0_PKRU) || size < offset + 8)
		return;
	memset(area + offset, 0, 8);
	memcpy(area + offset, &cpu->pkru, sizeof(cpu->pkru));
	if (cpu->pkru)
		*xstate_bv |= X86_XCR0_PKRU;
}

/*
 * The uABI format: standard, expanded, and in the software-usable bytes at 464 the mask of the components
 * that the host supports, as KVM writes it. size: 4096 for KVM_GET_XSAVE, more for KVM_GET_XSAVE2.
 */
void x86_fpu_get_xsave(struct x86_cpu *cpu, void *area, unsigned size)
{
	struct x86_xsave *image = cpu->xsave, *out = area;
	unsigned n = (unsigned)min_u64(size, x86_fpu_host.size);

	expand_legacy(image);
	memset(area, 0, size);
	memcpy(out, image, LEGACY_SIZE);
	out->fx.mxcsr_mask = x86_fpu_host.mxcsr_mask;
	out->xcomp_bv = 0;
	memset(out->fx.software, 0, sizeof(out->fx.software));
	memcpy(out->fx.software, &x86_fpu_host.xcr0, sizeof(u64));
	for (unsigned i = 2; i < 63; i++)
		if ((image->xstate_bv >> i & 1) && x86_fpu_host.offset[i] + x86_fpu_host.length[i] <= n)
			memcpy((u8 *)area + x86_fpu_host.offset[i], (u8 *)image + x86_fpu_host.offset[i],
			       x86_fpu_host.length[i]);
	get_pkru(cpu, area, size, &out->xstate_bv);
}

static bool reserved_clear(const struct x86_xsave *image)
{
	for (unsigned i = 0; i < sizeof(image->reserved); i++)
		if (image->reserved[i])
			return false;
	return true;
}

int x86_fpu_set_xsave(struct x86_cpu *cpu, const void *area, unsigned size)
{
	const struct x86_xsave *in = area;
	struct x86_xsave *image = cpu->xsave;
	const struct x86_fpu_host *h = &x86_fpu_host;
	u64 bv = h->xsave ? in->xstate_bv : X86_XCR0_X87 | X86_XCR0_SSE;

	if ((bv & ~h->xcr0) || (in->fx.mxcsr & ~h->mxcsr_mask))
		return -22; /* EINVAL */
	if (h->xsave && (in->xcomp_bv || !reserved_clear(in)))
		return -22;
	for (unsigned i = 2; i < 63; i++)
		if ((bv >> i & 1) && h->offset[i] + h->length[i] > size)
			return -22;
	init_image(image);
	memcpy(&image->fx, &in->fx, sizeof(image->fx));
	image->fx.mxcsr_mask = h->mxcsr_mask;
	image->xstate_bv = bv & h->live;
	for (unsigned i = 2; i < 63; i++)
		if (image->xstate_bv >> i & 1)
			memcpy((u8 *)image + h->offset[i], (const u8 *)area + h->offset[i], h->length[i]);
	if (h->xcr0 & X86_XCR0_PKRU) {
		cpu->pkru = 0;
		if (bv & X86_XCR0_PKRU)
			memcpy(&cpu->pkru, (const u8 *)area + h->offset[9], sizeof(cpu->pkru));
	}
	take_pointers(cpu, image);
	return 0;
}
