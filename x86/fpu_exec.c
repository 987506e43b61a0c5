/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instructions that move the whole vector and x87 state: FXSAVE and XSAVE families, and MXCSR alone
 * (SDM vol. 1, 10.5 and 13.7 to 13.13; AMD APM vol. 5).
 *
 * None of them runs natively on guest memory: the host's image would carry the error pointers of our stubs,
 * the host's XCR0 may have more components than the guest's, and a bad image must fault in the guest. The
 * live registers are saved to a scratch image in standard format, and the instruction's own image is a list
 * of pieces of that, first probed, then copied; the other way round for the restoring ones.
 *
 * Outside 64-bit mode only the first eight vector registers take part, and the others keep their values.
 */
#include "x86/fpu.h"
#include "x86/mem.h"
#include "x86/system.h"

#define HEADER offsetof(struct x86_xsave, xstate_bv)
#define XCOMP_COMPACT BIT64(63)

struct piece {
	u32 at; /* in the guest's image */
	u32 length;
	void *data;
};

struct pieces {
	unsigned n;
	struct piece piece[24];
};

static void add_piece(struct pieces *p, size_t at, void *data, size_t length)
{
	p->piece[p->n++] = (struct piece){ .at = (u32)at, .length = (u32)length, .data = data };
}

/* ---- guest memory ------------------------------------------------------------------------------------ */

enum x86_result x86_fpu_area(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, unsigned align,
			     unsigned access, u64 *gva)
{
	enum x86_result r;

	if (align > 1) /* misalignment is #GP, not #AC */
		access |= X86_ACCESS_SYSTEM;
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), size, access, gva);
	if (r == X86_OK && (*gva & (align - 1)))
		return x86_raise(cpu, X86_GP, 0);
	return r;
}

static enum x86_result access_slow(struct x86_cpu *cpu, u64 gva, u8 *data, unsigned n, unsigned access)
{
	enum x86_result r = X86_OK;

	for (unsigned done = 0, part; done < n && r == X86_OK; done += part) {
		part = (unsigned)min_u64(n - done, 64);
		if (access & X86_ACCESS_WRITE)
			r = cpu->mem->write(cpu, gva + done, data + done, part, access);
		else
			r = cpu->mem->read(cpu, gva + done, data + done, part, access);
	}
	return r;
}

/* access: X86_ACCESS_READ, or WRITE with or without PROBE. */
static enum x86_result access_area(struct x86_cpu *cpu, u64 gva, void *data, unsigned n, unsigned access)
{
	u8 *p = data;

	for (unsigned part; n; gva += part, p += part, n -= part) {
		enum x86_result r;
		void *host;

		part = (unsigned)min_u64(n, 4096 - (gva & 4095));
		r = cpu->mem->pin(cpu, gva, part, access & X86_ACCESS_WRITE, &host);
		if (r)
			return r;
		if (!host)
			r = access_slow(cpu, gva, p, part, access);
		else if (!(access & X86_ACCESS_WRITE))
			x86_fpu_copy(p, host, part);
		else if (!(access & X86_ACCESS_PROBE))
			x86_fpu_copy(host, p, part);
		if (r)
			return r;
	}
	return X86_OK;
}

enum x86_result x86_fpu_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned n)
{
	return access_area(cpu, gva, dst, n, X86_ACCESS_READ);
}

enum x86_result x86_fpu_probe_write(struct x86_cpu *cpu, u64 gva, void *src, unsigned n)
{
	return access_area(cpu, gva, src, n, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
}

enum x86_result x86_fpu_write(struct x86_cpu *cpu, u64 gva, void *src, unsigned n)
{
	return access_area(cpu, gva, src, n, X86_ACCESS_WRITE);
}

/*
 * The host address of the whole image, if it lies in one page of plain memory; else (or if it faults) NULL.
 */
static u8 *pin_pieces(struct x86_cpu *cpu, u64 gva, const struct pieces *p, unsigned access)
{
	u32 end = 0;
	void *host;

	for (unsigned i = 0; i < p->n; i++)
		end = (u32)max_u64(end, p->piece[i].at + p->piece[i].length);
	if ((gva & 4095) + end > 4096 || cpu->mem->pin(cpu, gva, end, access, &host))
		return NULL;
	return host;
}

static enum x86_result write_pieces(struct x86_cpu *cpu, u64 gva, const struct pieces *p)
{
	enum x86_result r = X86_OK;
	u8 *host = pin_pieces(cpu, gva, p, X86_ACCESS_WRITE);

	for (unsigned i = 0; host && i < p->n; i++)
		x86_fpu_copy(host + p->piece[i].at, p->piece[i].data, p->piece[i].length);
	if (host)
		return X86_OK;
	for (unsigned i = 0; i < p->n && r == X86_OK; i++)
		r = x86_fpu_probe_write(cpu, gva + p->piece[i].at, p->piece[i].data, p->piece[i].length);
	for (unsigned i = 0; i < p->n && r == X86_OK; i++)
		r = x86_fpu_write(cpu, gva + p->piece[i].at, p->piece[i].data, p->piece[i].length);
	return r;
}

static enum x86_result read_pieces(struct x86_cpu *cpu, u64 gva, const struct pieces *p)
{
	enum x86_result r = X86_OK;
	u8 *host = pin_pieces(cpu, gva, p, X86_ACCESS_READ);

	for (unsigned i = 0; host && i < p->n; i++)
		x86_fpu_copy(p->piece[i].data, host + p->piece[i].at, p->piece[i].length);
	if (host)
		return X86_OK;
	for (unsigned i = 0; i < p->n && r == X86_OK; i++)
		r = x86_fpu_read(cpu, gva + p->piece[i].at, p->piece[i].data, p->piece[i].length);
	return r;
}

/* ---- error pointers ---------------------------------------------------------------------------------- */

/* AMD saves them only while an exception is pending (CPUID XSaveErPtr: as zeros otherwise). */
static void put_pointers(const struct x86_cpu *cpu, struct x86_fxsave *fx, bool wide)
{
	bool hidden = x86_fpu_host.amd && !(fx->fsw & X86_FSW_ES);
	bool selectors = !x86_fpu_host.no_fcs_fds;

	fx->fop = hidden ? 0 : cpu->fpu_op;
	fx->fip = hidden ? 0 : cpu->fpu_ip;
	fx->fdp = hidden ? 0 : cpu->fpu_dp;
	if (!wide) {
		fx->fip = (u32)fx->fip | (hidden || !selectors ? 0 : (u64)cpu->fpu_cs << 32);
		fx->fdp = (u32)fx->fdp | (hidden || !selectors ? 0 : (u64)cpu->fpu_ds << 32);
	}
}

/* fx NULL: the x87 state was initialised. */
static void take_pointers(struct x86_cpu *cpu, const struct x86_fxsave *fx, bool wide)
{
	cpu->fpu_op = fx ? fx->fop & 0x7ff : 0;
	cpu->fpu_ip = fx ? fx->fip : 0;
	cpu->fpu_dp = fx ? fx->fdp : 0;
	cpu->fpu_cs = fx && !wide ? (u16)(fx->fip >> 32) : 0;
	cpu->fpu_ds = fx && !wide ? (u16)(fx->fdp >> 32) : 0;
	if (!wide) {
		cpu->fpu_ip = (u32)cpu->fpu_ip;
		cpu->fpu_dp = (u32)cpu->fpu_dp;
	}
}

/* ---- FXSAVE, FXRSTOR --------------------------------------------------------------------------------- */

static unsigned nr_vectors(const struct x86_cpu *cpu)
{
	return cpu->code_bits == 64 ? 16 : 8;
}

static enum x86_result fx_begin(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned access, u64 *gva)
{
	if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS))
		return x86_raise(cpu, X86_NM, 0);
	x86_fpu_home(cpu);
	return x86_fpu_area(cpu, insn, sizeof(struct x86_fxsave), 16, access, gva);
}

/*
 * What FXSAVE and FXRSTOR move; without CR4.OSFXSR neither MXCSR nor XMM, with EFER.FFXSR no XMM (AMD, CPL
 * 0).
 */
static void fx_pieces(const struct x86_cpu *cpu, struct x86_fxsave *fx, struct pieces *p)
{
	bool fast = (cpu->efer & X86_EFER_FFXSR) && cpu->cpl == 0 && cpu->mode == X86_MODE_LONG;

	p->n = 0;
	add_piece(p, 0, fx, offsetof(struct x86_fxsave, mxcsr));
	add_piece(p, offsetof(struct x86_fxsave, st), fx->st, sizeof(fx->st));
	if (!(cpu->cr4 & X86_CR4_OSFXSR))
		return;
	add_piece(p, offsetof(struct x86_fxsave, mxcsr), &fx->mxcsr, 8);
	if (!fast)
		add_piece(p, offsetof(struct x86_fxsave, xmm), fx->xmm, 16 * nr_vectors(cpu));
}

enum x86_result x86_exec_fxsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_fxsave *fx = &x86_fpu_scratch(cpu, 0)->fx;
	struct pieces p;
	u64 gva;
	enum x86_result r = fx_begin(cpu, insn, X86_ACCESS_WRITE, &gva);

	if (r)
		return r;
	__asm__ volatile("fxsave64 %0" : "=m"(*fx));
	put_pointers(cpu, fx, insn->osize == 8);
	fx_pieces(cpu, fx, &p);
	return write_pieces(cpu, gva, &p);
}

enum x86_result x86_exec_fxrstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_fxsave *fx = &x86_fpu_scratch(cpu, 0)->fx;
	struct pieces p;
	u64 gva;
	enum x86_result r = fx_begin(cpu, insn, X86_ACCESS_READ, &gva);

	if (r)
		return r;
	__asm__ volatile("fxsave64 %0" : "=m"(*fx)); /* for what the guest's image leaves alone */
	fx_pieces(cpu, fx, &p);
	r = read_pieces(cpu, gva, &p);
	if (r)
		return r;
	if (fx->mxcsr & ~x86_fpu_host.mxcsr_mask)
		return x86_raise(cpu, X86_GP, 0);
	take_pointers(cpu, fx, insn->osize == 8);
	__asm__ volatile("fxrstor64 %0" : : "m"(*fx));
	x86_fpu_track(cpu);
	return X86_OK;
}

/* ---- XSAVE family ------------------------------------------------------------------------------------ */

struct xarea {
	u64 rfbm;   /* requested components: EDX:EAX & XCR0 (& the host's) */
	u64 layout; /* XCOMP_BV of the compacted format, or 0 for the standard format */
	u64 gva;
};

/* Offset of component i >= 2; the end of the area for i == 63. */
static u32 component_offset(u64 layout, unsigned i)
{
	u32 at = sizeof(struct x86_xsave);

	if (!layout)
		return x86_fpu_host.offset[i];
	for (u64 rest = layout & (BIT64(i) - 4); rest; rest &= rest - 1) {
		unsigned k = (unsigned)__builtin_ctzll(rest);

		if (x86_fpu_host.align64[k])
			at = (at + 63) & ~63u;
		at += x86_fpu_host.length[k];
	}
	if (i < 63 && x86_fpu_host.align64[i])
		at = (at + 63) & ~63u;
	return at;
}

static u32 area_size(u64 components, u64 layout)
{
	u32 size = sizeof(struct x86_xsave);

	if (layout)
		return component_offset(layout, 63);
	for (components &= XCOMP_COMPACT - 4; components; components &= components - 1) {
		unsigned i = (unsigned)__builtin_ctzll(components);

		size = (u32)max_u64(size, x86_fpu_host.offset[i] + x86_fpu_host.length[i]);
	}
	return size;
}

/* Bytes of component i that an instruction in this mode moves. */
static u32 component_length(const struct x86_cpu *cpu, unsigned i)
{
	switch (BIT64(i)) {
	case X86_XCR0_AVX:
		return 16 * nr_vectors(cpu);
	case X86_XCR0_ZMM_HI:
		return 32 * nr_vectors(cpu);
	case X86_XCR0_ZMM_16:
		return cpu->code_bits == 64 ? x86_fpu_host.length[i] : 0;
	}
	return x86_fpu_host.length[i];
}

/*
 * The pieces of components (x87 and MXCSR apart) between the guest's image and a standard-format image of
 * ours.
 */
static void vector_pieces(const struct x86_cpu *cpu, struct x86_xsave *image, const struct xarea *a,
			  u64 components, struct pieces *p)
{
	if (components & X86_XCR0_SSE)
		add_piece(p, offsetof(struct x86_fxsave, xmm), image->fx.xmm, 16 * nr_vectors(cpu));
	for (components &= XCOMP_COMPACT - 4; components; components &= components - 1) {
		unsigned i = (unsigned)__builtin_ctzll(components);

		add_piece(p, component_offset(a->layout, i), (u8 *)image + x86_fpu_host.offset[i],
			  component_length(cpu, i));
	}
}

static void x87_pieces(struct x86_xsave *image, struct pieces *p)
{
	add_piece(p, 0, &image->fx, offsetof(struct x86_fxsave, mxcsr));
	add_piece(p, offsetof(struct x86_fxsave, st), image->fx.st, sizeof(image->fx.st));
}

static enum x86_result xsave_begin(struct x86_cpu *cpu, struct xarea *a)
{
	u64 mask = cpu->regs[X86_RDX] << 32 | (u32)cpu->regs[X86_RAX];

	if (!(cpu->cr4 & X86_CR4_OSXSAVE) || !x86_fpu_host.xsave)
		return x86_raise(cpu, X86_UD, 0);
	if (cpu->cr0 & X86_CR0_TS)
		return x86_raise(cpu, X86_NM, 0);
	x86_fpu_home(cpu);
	a->rfbm = mask & cpu->xcr0 & x86_fpu_host.xcr0;
	a->layout = 0;
	return X86_OK;
}

/*
 * The guest's image in host memory, where the host's instruction does what the guest's would: 64-bit layout, in one page, no
 * PKRU, which is not in the host's register.
 */
static struct x86_xsave *direct(const struct x86_cpu *cpu, const struct x86_insn *insn, const struct xarea *a, bool write)
{
	u32 size = area_size(a->rfbm, a->layout);

	if (cpu->code_bits != 64 || insn->osize != 8 || (a->rfbm & X86_XCR0_PKRU) || cpu->align_check ||
	    (a->layout && !x86_fpu_host.xsavec) || (write && !x86_tlb_peek(cpu->tlb, a->gva, size, true)))
		return NULL;
	return x86_tlb_peek(cpu->tlb, a->gva, size, false);
}

/* The same for saving: the host's error pointers, addresses of ours, must not get there. AMD saves none by themselves. */
static struct x86_xsave *direct_save(const struct x86_cpu *cpu, const struct x86_insn *insn, const struct xarea *a)
{
	if (!x86_fpu_host.amd || (cpu->fpu_unmasked & X86_FPU_UNMASKED_X87) ||
	    (cpu->fpu_ip | cpu->fpu_dp | cpu->fpu_op))
		return NULL;
	return direct(cpu, insn, a, true);
}

static void put_pkru(const struct x86_cpu *cpu, struct x86_xsave *image)
{
	u8 *p = (u8 *)image + x86_fpu_host.offset[9];

	if (!(x86_fpu_host.xcr0 & X86_XCR0_PKRU))
		return;
	memcpy(p, &cpu->pkru, 4);
	memset(p + 4, 0, 4);
	if (cpu->pkru)
		image->xstate_bv |= X86_XCR0_PKRU;
}

/* The live state as an image of ours, error pointers as the guest may see them; XSTATE_BV = XINUSE. */
static struct x86_xsave *save_image(struct x86_cpu *cpu, bool wide)
{
	struct x86_xsave *image = x86_fpu_scratch(cpu, 0);

	x86_fpu_save(image);
	put_pointers(cpu, &image->fx, wide);
	put_pkru(cpu, image);
	return image;
}

/*
 * XSAVE and XSAVEOPT; the latter leaves out what is in its initial state, and never uses the modified
 * optimisation.
 */
static enum x86_result xsave_standard(struct x86_cpu *cpu, const struct x86_insn *insn, bool optimise)
{
	struct pieces p;
	struct x86_xsave *image;
	struct xarea a;
	enum x86_result r = xsave_begin(cpu, &a);
	u64 xstate_bv, in_use;

	if (r == X86_OK)
		r = x86_fpu_area(cpu, insn, area_size(a.rfbm, 0), 64, X86_ACCESS_WRITE, &a.gva);
	if (r == X86_OK)
		r = x86_fpu_read(cpu, a.gva + HEADER, &xstate_bv, 8);
	if (r)
		return r;
	image = optimise ? NULL : direct_save(cpu, insn, &a);
	if (image) {
		__asm__ volatile("xsave64 %0"
				 : "+m"(*image)
				 : "a"((u32)a.rfbm), "d"((u32)(a.rfbm >> 32))
				 : "memory");
		return X86_OK;
	}
	p.n = 0;
	image = save_image(cpu, insn->osize == 8);
	in_use = image->xstate_bv;
	image->xstate_bv = (xstate_bv & ~a.rfbm) | (in_use & a.rfbm);
	if (!optimise)
		in_use = ~0ull;
	if (a.rfbm & in_use & X86_XCR0_X87)
		x87_pieces(image, &p);
	if (a.rfbm & (X86_XCR0_SSE | X86_XCR0_AVX))
		add_piece(&p, offsetof(struct x86_fxsave, mxcsr), &image->fx.mxcsr, 8);
	vector_pieces(cpu, image, &a, a.rfbm & in_use, &p);
	add_piece(&p, HEADER, &image->xstate_bv, 8);
	return write_pieces(cpu, a.gva, &p);
}

enum x86_result x86_exec_xsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return xsave_standard(cpu, insn, false);
}

enum x86_result x86_exec_xsaveopt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return xsave_standard(cpu, insn, true);
}

/* XSAVEC: MXCSR belongs to the SSE component here, and components in their initial state are not written. */
enum x86_result x86_exec_xsavec(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct pieces p;
	struct x86_xsave *image;
	struct xarea a;
	enum x86_result r = xsave_begin(cpu, &a);
	u64 components;

	if (r)
		return r;
	a.layout = a.rfbm | XCOMP_COMPACT;
	r = x86_fpu_area(cpu, insn, area_size(0, a.layout), 64, X86_ACCESS_WRITE, &a.gva);
	if (r)
		return r;
	image = direct_save(cpu, insn, &a);
	if (image) {
		__asm__ volatile("xsavec64 %0"
				 : "+m"(*image)
				 : "a"((u32)a.rfbm), "d"((u32)(a.rfbm >> 32))
				 : "memory");
		return X86_OK;
	}
	p.n = 0;
	image = save_image(cpu, insn->osize == 8);
	if (image->fx.mxcsr != X86_MXCSR_RESET)
		image->xstate_bv |= X86_XCR0_SSE;
	components = image->xstate_bv & a.rfbm;
	image->xstate_bv = components;
	image->xcomp_bv = a.layout;
	if (components & X86_XCR0_X87)
		x87_pieces(image, &p);
	if (components & X86_XCR0_SSE)
		add_piece(&p, offsetof(struct x86_fxsave, mxcsr), &image->fx.mxcsr, 8);
	vector_pieces(cpu, image, &a, components, &p);
	add_piece(&p, HEADER, &image->xstate_bv, 16);
	return write_pieces(cpu, a.gva, &p);
}

/* No supervisor component is offered (IA32_XSS = 0), which leaves XSAVEC with a privilege check. */
enum x86_result x86_exec_xsaves(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if ((cpu->cr4 & X86_CR4_OSXSAVE) && cpu->cpl != 0)
		return x86_raise(cpu, X86_GP, 0);
	return x86_exec_xsavec(cpu, insn);
}

/* ---- XRSTOR, XRSTORS --------------------------------------------------------------------------------- */

static bool all_zero(const u8 *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* The checks of SDM vol. 1, 13.8.1 and 13.8.2. */
static bool header_ok(const struct x86_cpu *cpu, const struct x86_xsave *header, bool must_be_compact)
{
	u64 xcr0 = cpu->xcr0 & x86_fpu_host.xcr0;
	u64 layout = header->xcomp_bv & ~XCOMP_COMPACT;

	if (!(header->xcomp_bv & XCOMP_COMPACT))
		return !must_be_compact && !(header->xstate_bv & ~xcr0) && !header->xcomp_bv &&
		       all_zero(header->reserved, 8);
	if (!must_be_compact && !x86_has(cpu, X86_FEAT_XSAVEC))
		return false;
	return !(layout & ~xcr0) && !(header->xstate_bv & ~layout) &&
	       all_zero(header->reserved, sizeof(header->reserved));
}

/* Components asked for but absent from the image take their initial value, as far as this mode reaches. */
static void init_components(const struct x86_cpu *cpu, struct x86_xsave *image, u64 components)
{
	if (components & X86_XCR0_X87) {
		x86_fpu_zero(&image->fx, offsetof(struct x86_fxsave, mxcsr));
		x86_fpu_zero(image->fx.st, sizeof(image->fx.st));
		image->fx.fcw = X86_FCW_RESET;
	}
	if (components & X86_XCR0_SSE)
		x86_fpu_zero(image->fx.xmm, 16 * nr_vectors(cpu));
	for (unsigned i = 2; i < 63; i++)
		if (components >> i & 1)
			x86_fpu_zero((u8 *)image + x86_fpu_host.offset[i], component_length(cpu, i));
}

static void restore_pkru(struct x86_cpu *cpu, const struct x86_xsave *image, const struct xarea *a,
			 u64 present)
{
	u32 pkru = 0;

	if (!(a->rfbm & X86_XCR0_PKRU))
		return;
	if (present & X86_XCR0_PKRU)
		memcpy(&pkru, (const u8 *)image + x86_fpu_host.offset[9], 4);
	if (pkru == cpu->pkru)
		return;
	cpu->pkru = pkru;
	cpu->mem->flush_all(cpu, false);
}

/* present: requested components that the image has. In 64-bit mode the others are left to XSTATE_BV = 0. */
static void load_image(struct x86_cpu *cpu, struct x86_xsave *image, const struct xarea *a, u64 present)
{
	u64 mask = a->rfbm & x86_fpu_host.live;

	if (cpu->code_bits != 64)
		init_components(cpu, image, a->rfbm & ~present);
	image->xstate_bv = cpu->code_bits == 64 ? present & x86_fpu_host.live : mask;
	image->xcomp_bv = 0;
	x86_fpu_zero(image->reserved, sizeof(image->reserved));
	__asm__ volatile("xrstor64 %0" : : "m"(*image), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}

static bool loads_mxcsr(const struct xarea *a, u64 present)
{
	if (a->layout)
		return present & X86_XCR0_SSE;
	return a->rfbm & (X86_XCR0_SSE | X86_XCR0_AVX);
}

/* A header that another vCPU changes between the check and here faults as host memory that is not there. */
static bool load_direct(struct x86_cpu *cpu, const struct x86_insn *insn, const struct xarea *a, u64 present)
{
	const struct x86_xsave *image = direct(cpu, insn, a, false);

	if (!image || (loads_mxcsr(a, present) && (image->fx.mxcsr & ~x86_fpu_host.mxcsr_mask)))
		return false;
	__asm__ volatile("xrstor64 %0" : : "m"(*image), "a"((u32)a->rfbm), "d"((u32)(a->rfbm >> 32)) : "memory");
	if (a->rfbm & X86_XCR0_X87)
		take_pointers(cpu, present & X86_XCR0_X87 ? &image->fx : NULL, true);
	x86_fpu_track(cpu);
	return true;
}

static enum x86_result xrstor(struct x86_cpu *cpu, const struct x86_insn *insn, bool must_be_compact)
{
	struct x86_xsave *image = x86_fpu_scratch(cpu, 0), *header = x86_fpu_scratch(cpu, 1);
	struct pieces p;
	struct xarea a;
	enum x86_result r = xsave_begin(cpu, &a);
	u64 present;

	if (r == X86_OK)
		r = x86_fpu_area(cpu, insn, sizeof(*image), 64, X86_ACCESS_READ, &a.gva);
	if (r == X86_OK)
		r = x86_fpu_read(cpu, a.gva + HEADER, &header->xstate_bv, sizeof(*header) - HEADER);
	if (r)
		return r;
	if (!header_ok(cpu, header, must_be_compact))
		return x86_raise(cpu, X86_GP, 0);
	a.layout = header->xcomp_bv;
	r = x86_fpu_area(cpu, insn, area_size(a.rfbm, a.layout), 64, X86_ACCESS_READ, &a.gva);
	if (r)
		return r;
	p.n = 0;
	present = header->xstate_bv & a.rfbm;
	if (load_direct(cpu, insn, &a, present))
		return X86_OK;
	if (cpu->code_bits != 64)
		x86_fpu_save(image);
	image->fx.mxcsr = a.layout && (a.rfbm & X86_XCR0_SSE) ? X86_MXCSR_RESET : x86_fpu_mxcsr();
	if (present & X86_XCR0_X87)
		x87_pieces(image, &p);
	if (loads_mxcsr(&a, present))
		add_piece(&p, offsetof(struct x86_fxsave, mxcsr), &image->fx.mxcsr, 4);
	vector_pieces(cpu, image, &a, present, &p);
	r = read_pieces(cpu, a.gva, &p);
	if (r)
		return r;
	if (image->fx.mxcsr & ~x86_fpu_host.mxcsr_mask)
		return x86_raise(cpu, X86_GP, 0);
	load_image(cpu, image, &a, present);
	if (a.rfbm & X86_XCR0_X87)
		take_pointers(cpu, present & X86_XCR0_X87 ? &image->fx : NULL, insn->osize == 8);
	restore_pkru(cpu, image, &a, present);
	x86_fpu_track(cpu);
	return X86_OK;
}

enum x86_result x86_exec_xrstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return xrstor(cpu, insn, false);
}

enum x86_result x86_exec_xrstors(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if ((cpu->cr4 & X86_CR4_OSXSAVE) && cpu->cpl != 0)
		return x86_raise(cpu, X86_GP, 0);
	return xrstor(cpu, insn, true);
}

/* ---- MXCSR, FWAIT, EMMS ------------------------------------------------------------------------------ */

static enum x86_state mxcsr_state(const struct x86_insn *insn)
{
	return insn->prefix & X86_PFX_VEX ? X86_STATE_AVX : X86_STATE_SSE;
}

enum x86_result x86_exec_ldmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = x86_fpu_check(cpu, mxcsr_state(insn));
	u32 value;

	if (r == X86_OK)
		r = x86_read32(cpu, insn->seg, x86_ea(cpu, insn), &value);
	if (r)
		return r;
	if (value & ~x86_fpu_host.mxcsr_mask)
		return x86_raise(cpu, X86_GP, 0);
	x86_fpu_set_mxcsr(value);
	x86_fpu_track(cpu);
	return X86_OK;
}

enum x86_result x86_exec_stmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = x86_fpu_check(cpu, mxcsr_state(insn));

	return r ? r : x86_write32(cpu, insn->seg, x86_ea(cpu, insn), x86_fpu_mxcsr());
}

enum x86_result x86_exec_fwait(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if ((cpu->cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
		return x86_raise(cpu, X86_NM, 0);
	return x86_fpu_wait(cpu);
}

enum x86_result x86_exec_emms(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = x86_fpu_check(cpu, X86_STATE_MMX);

	(void)insn;
	if (r == X86_OK)
		r = x86_fpu_wait(cpu);
	if (r == X86_OK)
		__asm__ volatile("emms");
	return r;
}
