// SPDX-License-Identifier: GPL-2.0-only
/* The fixed state in which a case starts: descriptor tables, stubs, page tables, registers. */
#include "tests/payload/payload.h"

#define P_S 0x90		/* descriptor byte 5: present, not system */
#define DPL(n) ((n) << 5)
#define G 8u			/* high nibble of byte 6 */
#define DB 4u
#define L 2u
#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_PS 0x80ull

u8 *ram, *rom;
struct state start;
static unsigned mode;

static void put(u64 gpa, u64 value, unsigned size)
{
	memcpy(ram + gpa, &value, size);
}

/* ---- descriptors --------------------------------------------------------------------------------- */

u64 machine_descriptor(u32 base, u32 limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

u64 machine_gate(unsigned selector, u32 offset, unsigned access, unsigned count)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)count << 32 | (u64)access << 40 |
	       (u64)(offset >> 16) << 48;
}

void machine_gdt(unsigned selector, u64 low, u64 high)
{
	put(GDT + (selector & ~7u), low, 8);
	if (high)
		put(GDT + (selector & ~7u) + 8, high, 8);
}

static bool is_long(void)
{
	return mode >= LONG;
}

static bool is_paging(void)
{
	return mode == P32PG || mode == PAE || is_long();
}

static unsigned stub_base(void)
{
	return mode == REAL || mode == P16 ? STUBS16 : is_long() ? STUBS64 : STUBS32;
}

static unsigned kernel_cs(void)
{
	return mode == P16 ? K16 : is_long() ? K64 : K32;
}

void machine_idt(unsigned vector, unsigned selector, u64 offset, unsigned access, unsigned ist)
{
	u64 low = machine_gate(selector, (u32)offset, access, ist);

	if (is_long()) {
		put(IDT + vector * 16, low, 8);
		put(IDT + vector * 16 + 8, offset >> 32, 8);
	} else {
		put(IDT + vector * 8, low, 8);
	}
}

static void build_flat(void)
{
	static const struct {
		unsigned selector, access, flags;
	} flat[] = {
		{ K64, P_S | 0xb, G | L }, { KDATA, P_S | 3, G | DB }, { K32, P_S | 0xb, G | DB },
		{ U32, P_S | DPL(3) | 0xb, G | DB }, { UDATA, P_S | DPL(3) | 3, G | DB },
		{ U64, P_S | DPL(3) | 0xb, G | L }, { D_RO, P_S | 1, G | DB }, { D_XO, P_S | 9, G | DB },
		{ D_CONF, P_S | 0xf, G | DB }, { D_ABSENT, 0x13, G | DB }, { D_CABSENT, 0x1b, G | DB },
		{ D_DPL1, P_S | DPL(1) | 3, G | DB }, { D_CDPL1, P_S | DPL(1) | 0xb, G | DB },
		{ D_NOACC, P_S | 2, G | DB },
	};

	for (unsigned i = 0; i < sizeof(flat) / sizeof(flat[0]); i++)
		machine_gdt(flat[i].selector, machine_descriptor(0, 0xfffff, flat[i].access, flat[i].flags),
			    0);
}

static void build_gdt(void)
{
	u64 zero_high = 0;

	build_flat();
	machine_gdt(K16, machine_descriptor(0, 0xffff, P_S | 0xb, 0), 0);
	machine_gdt(KDATA16, machine_descriptor(0, 0xffff, P_S | 3, 0), 0);
	machine_gdt(U16, machine_descriptor(0, 0xffff, P_S | DPL(3) | 0xb, 0), 0);
	machine_gdt(UDATA16, machine_descriptor(0, 0xffff, P_S | DPL(3) | 3, 0), 0);
	machine_gdt(SEL_TSS, machine_descriptor(TSS, 0xff, 0x8b, 0), zero_high);
	machine_gdt(SEL_LDT, machine_descriptor(LDT, 0xff, 0x82, 0), zero_high);
	machine_gdt(SEL_TSS_B, machine_descriptor(TSS_B, 0x67, 0x89, 0), 0);
	machine_gdt(SEL_TSS_C, machine_descriptor(TSS_C, 0x2b, 0x81, 0), 0);
	machine_gdt(D_DOWN16, machine_descriptor(0, 0xcfff, P_S | 7, 0), 0);
	machine_gdt(D_DOWN32, machine_descriptor(0, 0xcfff, P_S | 7, DB), 0);
	machine_gdt(D_SMALL, machine_descriptor(DATA, 0xf, P_S | 3, DB), 0);
	machine_gdt(D_USMALL, machine_descriptor(DATA, 0xf, P_S | DPL(3) | 3, DB), 0);
	machine_gdt(D_C32SMALL, machine_descriptor(CODE, 0xfff, P_S | 0xb, DB), 0);
	machine_gdt(D_GATE32, machine_gate(K32, CODE_USER, 0xec, 0), 0);
	machine_gdt(D_GATE32P, machine_gate(K32, CODE_USER, 0xec, 3), 0);
	machine_gdt(D_GATE16, machine_gate(K16, CODE_USER, 0xe4, 2), 0);
	machine_gdt(D_GATE64, machine_gate(K64, CODE_USER, 0xec, 0), 0);
	machine_gdt(D_TASKGATE, machine_gate(SEL_TSS_B, 0, 0xe5, 0), 0);
}

/* Stubs for all vectors, and an IDT of 32-bit (16 in P16, 64 in long mode) interrupt gates; DPL 3 for INT n
 * at CPL 3. */
static void build_vectors(void)
{
	static const u8 stub[3] = { 0xf4, 0xcf }, stub64[3] = { 0xf4, 0x48, 0xcf };
	unsigned type = mode == P16 ? 0x86 : 0x8e;

	for (unsigned v = 0; v < 256; v++) {
		unsigned dpl = v == 3 || v == 4 || v >= 0x30 ? DPL(3) : 0;

		memcpy(ram + STUBS16 + v * 16, stub, 3);
		memcpy(ram + STUBS32 + v * 16, stub, 3);
		memcpy(ram + STUBS64 + v * 16, stub64, 3);
		put(v * 4, STUBS16 + v * 16, 4);
		if (mode != REAL)
			machine_idt(v, kernel_cs(), stub_base() + v * 16, type | dpl, 0);
	}
}

/* In the machine with an irqchip HLT stays in the kernel: stubs leave by OUT. */
static void use_out_stubs(void)
{
	static const u8 stub[] = { 0xe6, STOP_PORT, 0xcf }, stub64[] = { 0xe6, STOP_PORT, 0x48, 0xcf };

	for (unsigned v = 0; v < 256; v++) {
		memcpy(ram + STUBS16 + v * 16, stub, sizeof(stub));
		memcpy(ram + STUBS32 + v * 16, stub, sizeof(stub));
		memcpy(ram + STUBS64 + v * 16, stub64, sizeof(stub64));
	}
}

/* ---- task state ---------------------------------------------------------------------------------- */

static void build_tss32(void)
{
	put(TSS + 4, STACK_RSP0, 4);
	put(TSS + 8, mode == P16 ? KDATA16 : KDATA, 4);
	put(TSS + 12, STACK_RSP1, 4);
	put(TSS + 16, D_DPL1 | 1, 4);
	put(TSS + 20, STACK_RSP2, 4);
	put(TSS + 24, 0, 4);
}

static void build_tss64(void)
{
	put(TSS + 4, STACK_RSP0, 8);
	put(TSS + 12, STACK_RSP1, 8);
	put(TSS + 20, STACK_RSP2, 8);
	put(TSS + 36, STACK_IST1, 8);
	put(TSS + 44, STACK_IST2, 8);
}

static void build_other_tasks(void)
{
	static const u16 segs[] = { KDATA, K32, KDATA, KDATA, KDATA, KDATA };

	put(TSS_B + 4, STACK_RSP0, 4);
	put(TSS_B + 8, KDATA, 4);
	put(TSS_B + 28, mode == P32PG ? TABLES : 0, 4);
	put(TSS_B + 32, CODE_USER, 4);
	put(TSS_B + 36, 2, 4);
	for (unsigned i = 0; i < 8; i++)
		put(TSS_B + 40 + i * 4, 0xb0b00000 + i, 4);
	put(TSS_B + 56, STACK_B, 4);
	for (unsigned i = 0; i < 6; i++)
		put(TSS_B + 72 + i * 4, segs[i], 4);
	put(TSS_B + 102, 0x68, 2);
	put(TSS_C + 14, CODE_USER, 2);
	put(TSS_C + 16, 2, 2);
	for (unsigned i = 0; i < 8; i++)
		put(TSS_C + 18 + i * 2, 0xc0c0 + i, 2);
	put(TSS_C + 26, 0xf000, 2);
	for (unsigned i = 0; i < 4; i++)
		put(TSS_C + 34 + i * 2, i == 1 ? K16 : KDATA16, 2);
}

static void build_tasks(void)
{
	if (is_long())
		build_tss64();
	else
		build_tss32();
	put(TSS + 102, IO_MAP, 2);
	memset(ram + TSS + IO_MAP, 0xff, 0x78);
	put(TSS + IO_MAP + 2, 0x0f, 1); /* ports 0x14..0x17 are allowed */
	memset(ram + TSS + IO_MAP - 32, 0xff, 32);
	put(TSS + IO_MAP - 32 + 0x40 / 8, 0, 1); /* VME: INT 0x40..0x47 stay in V86 mode */
	build_other_tasks();
}

/* ---- page tables --------------------------------------------------------------------------------- */

unsigned machine_entry_size(void)
{
	return mode == P32PG ? 4 : 8;
}

/* Level 1: the entry of the 4K page. The tables lie in the order of their levels; each has one page at a
 * level > 1. */
void *machine_entry(u64 la, unsigned level)
{
	if (mode == P32PG)
		return level == 1 ? ram + TABLES + 0x1000 + (la >> 22) * 0x1000 + (la >> 12 & 1023) * 4
				  : ram + TABLES + (la >> 22) * 4;
	switch (level) {
	case 1:
		return ram + TABLES + 0x3000 + (la >> 21) * 0x1000 + (la >> 12 & 511) * 8;
	case 2:
		return ram + TABLES + 0x2000 + (la >> 21 & 511) * 8;
	case 3:
		return ram + TABLES + 0x1000 + (la >> 30 & 511) * 8;
	}
	return ram + TABLES + (la >> 39 & 511) * 8;
}

static u64 exchange(void *entry, u64 value)
{
	u64 old = 0;

	memcpy(&old, entry, machine_entry_size());
	memcpy(entry, &value, machine_entry_size());
	return old;
}

u64 machine_pte(u64 la, u64 pte)
{
	return exchange(machine_entry(la, 1), pte);
}

u64 machine_pde(u64 la, u64 pde)
{
	return exchange(machine_entry(la, 2), pde);
}

static bool is_user_page(u64 la, const struct payload *p)
{
	return (p->cpl == 3 || p->mode == V86) && ((la >= CODE && la < STACK - 0x2000) ||
						  (la >= STACK_B && la < LOW_END));
}

static void build_upper_tables(void)
{
	u64 rights = PTE_P | PTE_W | PTE_U;

	if (mode == P32PG) {
		for (unsigned i = 0; i < 2; i++)
			machine_pde((u64)i << 22, (TABLES + 0x1000 + i * 0x1000) | rights);
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		machine_pde((u64)i << 21, (TABLES + 0x3000 + i * 0x1000) | rights);
	exchange(machine_entry(0, 3), (TABLES + 0x2000) | (mode == PAE ? PTE_P : rights));
	exchange(machine_entry(0, 4), (TABLES + 0x1000) | rights);
}

static void build_paging(const struct payload *p)
{
	if (!is_paging())
		return;
	build_upper_tables();
	for (u64 la = 0; la < 0x200000; la += 4096)
		machine_pte(la, la | PTE_P | PTE_W | (is_user_page(la, p) ? PTE_U : 0));
	for (unsigned i = 0; i < 2; i++) {
		machine_pte(MMIO_LA + i * 4096, (MMIO_PA + i * 4096) | PTE_P | PTE_W | PTE_U);
		machine_pte(ROM_LA + i * 4096, (ROM_PA + i * 4096) | PTE_P | PTE_W | PTE_U);
	}
}

/* ---- registers ----------------------------------------------------------------------------------- */

static struct kvm_segment from_gdt(unsigned selector)
{
	struct kvm_segment s = { .selector = (u16)selector };
	u64 d;

	memcpy(&d, ram + GDT + (selector & ~7u), 8);
	s.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
	s.limit = (u32)((d & 0xffff) | (d >> 32 & 0xf0000));
	s.g = d >> 55 & 1;
	if (s.g)
		s.limit = s.limit << 12 | 0xfff;
	s.type = d >> 40 & 15;
	s.s = d >> 44 & 1;
	s.dpl = d >> 45 & 3;
	s.present = d >> 47 & 1;
	s.l = d >> 53 & 1;
	s.db = d >> 54 & 1;
	return s;
}

static struct kvm_segment from_real(unsigned selector, unsigned type, unsigned dpl)
{
	return (struct kvm_segment) { .base = (u64)selector << 4, .limit = 0xffff, .selector = (u16)selector,
				      .type = (u8)type, .present = 1, .s = 1, .dpl = (u8)dpl };
}

static unsigned start_cs(unsigned cpl)
{
	static const u8 kernel[NR_MODES] = { 0, K16, K32, K32, K32, 0, K64, K32, K16 };
	static const u8 user[NR_MODES] = {
		0, U16 | 3, U32 | 3, U32 | 3, U32 | 3, 0, U64 | 3, U32 | 3, U16 | 3
	};

	return cpl == 3 ? user[mode] : kernel[mode];
}

static void build_segments(const struct payload *p)
{
	struct kvm_sregs *s = &start.sregs;
	bool small = mode == P16 || mode == COMPAT16;
	unsigned data = p->cpl == 3 ? (small ? UDATA16 : UDATA) | 3 : small ? KDATA16 : KDATA;

	if (mode == REAL || mode == V86) {
		s->cs = from_real(0, mode == V86 ? 3 : 0xb, mode == V86 ? 3 : 0);
		s->ds = s->es = s->fs = s->gs = from_real(0, 3, mode == V86 ? 3 : 0);
		s->ss = from_real(mode == V86 ? 0x1800 : 0x1000, 3, mode == V86 ? 3 : 0);
	} else {
		s->cs = from_gdt(start_cs(p->cpl));
		s->ds = s->es = s->fs = s->gs = from_gdt(data);
		s->ss = from_gdt((data & ~3u) == KDATA16   ? KDATA
				 : (data & ~3u) == UDATA16 ? UDATA | 3
							   : data);
	}
	s->tr = from_gdt(SEL_TSS);
	s->tr.type &= ~2; /* KVM shows it busy on AMD in any case; QEMU's TCG aborts on a busy one */
	s->ldt = from_gdt(SEL_LDT);
}

static void build_control(const struct payload *p)
{
	static const u64 mode_cr4[NR_MODES] = { [PAE] = CR4_PAE, [LONG] = CR4_PAE, [COMPAT] = CR4_PAE,
						[COMPAT16] = CR4_PAE };
	struct kvm_sregs *s = &start.sregs;

	s->cr0 = 0x30 | (mode == REAL ? 0 : CR0_PE) | (is_paging() ? CR0_PG : 0) | p->cr0;
	s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | mode_cr4[mode] | p->cr4;
	s->cr3 = is_paging() ? TABLES + (mode == PAE ? 0x1000 : 0) : 0;
	s->cr8 = 0;
	s->efer = (is_long() ? 0x500 | 1 | 0x800 : mode == PAE ? 0x800 : 0) ^ p->efer;
	s->gdt = (struct kvm_dtable) { .base = GDT, .limit = GDT_END - 1 };
	s->idt = (struct kvm_dtable){ .base = mode == REAL ? 0 : IDT, .limit = mode == REAL ? 0x3ff : 0xfff };
	if (mode != REAL && !is_long())
		s->idt.limit = 0x7ff;
}

static void build_registers(const struct payload *p)
{
	struct kvm_regs *r = &start.regs;
	u64 mask = mode == LONG ? ~0ull : 0xffffffff;

	*r = (struct kvm_regs){ .rax = 0x8877665544332211 & mask,
				.rbx = DATA,
				.rcx = 5,
				.rdx = 0xd0d1d2d3d4d5d6d7 & mask,
				.rsi = DATA + 0x100,
				.rdi = DATA + 0x800,
				.rbp = DATA + 0x400,
				.rip = CODE,
				.rflags = 2 | p->rflags };
	r->rsp = p->cpl == 3 ? STACK_USER : STACK;
	if (mode == REAL || mode == V86)
		r->rsp = mode == REAL ? 0x2000 : 0x4000;
	if (mode == V86)
		r->rflags |= FL_VM;
	if (mode != LONG)
		return;
	r->r8 = 0x0808080808080808;
	r->r9 = 0x0909090909090909;
	r->r10 = 0x1010101010101010;
	r->r11 = 0x1111111111111111;
	r->r12 = 0x1212121212121212;
	r->r13 = 0x1313131313131313;
	r->r14 = 0x1414141414141414;
	r->r15 = 0x1515151515151515;
}

static void build_data(void)
{
	for (unsigned i = 0; i < 0x4000; i++)
		ram[DATA + i] = (u8)(i * 7 + (i >> 8) + 1);
	for (unsigned i = 0; i < 0x3000; i++) {
		ram[TEST_PA + i] = (u8)(i * 5 + 3);
		ram[LARGE_PA + i] = (u8)(i * 3 + 1);
	}
	for (unsigned i = 0; i < 0x2000; i++)
		rom[i] = (u8)(0x90 + (i & 7));
}

void machine_build(const struct payload *p)
{
	mode = p->mode;
	memset(ram, 0, LOW_END);
	memset(ram + TABLES, 0, TABLES_END - TABLES);
	build_gdt();
	build_vectors();
	if (p->flags & F_IRQCHIP)
		use_out_stubs();
	build_tasks();
	build_paging(p);
	build_data();
	memcpy(ram + CODE, p->code, (size_t)(p->end - p->code));
	build_segments(p);
	build_control(p);
	build_registers(p);
	memset(&start.debug, 0, sizeof(start.debug));
	start.debug.dr6 = 0xffff0ff0;
	start.debug.dr7 = 0x400;
	memset(&start.events, 0, sizeof(start.events));
}
