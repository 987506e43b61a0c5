// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest reaches nothing of the host but its slots. Random runs of memory accesses in every addressing form, by
 * registers and segment bases that hold the edges of slots, of pages and of address spaces, and addresses of this very
 * process; at CPL 0 and 3, in 64- and 32-bit code; through tables that map holes, ends of slots and large pages of which
 * but a part is there. After each run nothing beside the slots has changed, and no register holds what stands there.
 *
 * race: slots are deleted and moved while two vCPUs use them. When the ioctl has returned their memory is the host's again.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define RAM 0x40000ul		/* at 0: code, tables, stacks */
#define OTHER_GPA 0x200000ul	/* 16 pages, mapped by a large page of which the rest is a hole */
#define OTHER 0x10000ul
#define ROM_GPA 0x300000ul
#define ROM 0x4000ul

#define CODE 0x1000ul		/* 4 pages */
#define HALTS 0x8000ul		/* where exceptions end */
#define IDT 0x9000ul
#define GDT 0xa000ul
#define TSS 0xa800ul
#define STACK 0xc000ul
#define PML4 0x10000ul		/* and the other tables, 5 pages ... */
#define TABLES 0x5000ul
#define SEALED_GPA 0x400000ul	/* ... or in a slot that the guest cannot write */
#define GONE 0xa5		/* race: what the host puts into memory that is its own again */

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	struct ram ram, other, rom, tables;
	struct rng *rng;
	bool compat;
	bool sealed;	/* lock-step walks the tables for each access: there they must agree with the TLB */
};

static u8 secret[8192];
static struct kvm_run *volatile running;

static void on_alarm(int signal_number)
{
	(void)signal_number;
	if (running)
		running->immediate_exit = 1;
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void set_slot(int vm, unsigned id, unsigned flags, u64 gpa, u64 size, void *memory)
{
	struct kvm_userspace_memory_region region = { id, flags, gpa, size, (u64)(uintptr_t)memory };

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		fuzz_fail("slot %u: %s", id, strerror(errno));
}

static u64 *table(struct machine *m, u64 gpa)
{
	return (u64 *)(m->ram.base + gpa);
}

static u64 tables_gpa(const struct machine *m)
{
	return m->sealed ? SEALED_GPA : PML4;
}

/* Both ends of each half of the address space, 2^32, RAM as it is, and pages of what is not there. */
static void make_tables(struct machine *m)
{
	static const u64 strange[] = { 0x210000 - 4096, 0x210000, 0x300000, 0x303000, 0x304000, 0x3f000, 0x40000,
				       0x7ffffff000, 0xfee00000, 0xfffff000, 0 };
	u64 *pml4 = m->sealed ? (u64 *)m->tables.base : table(m, PML4);
	u64 *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512, *odd = pt + 512;
	u64 gpa = tables_gpa(m), used = m->sealed ? 0x60 : 0;

	pml4[0] = pml4[255] = pml4[256] = pml4[511] = (gpa + 0x1000) | used | 7;
	pdpt[0] = pdpt[3] = pdpt[4] = pdpt[511] = (gpa + 0x2000) | used | 7;
	pdpt[5] = used | 0x87; /* 1 GiB of which 4 MiB are there, in parts */
	pd[0] = (gpa + 0x3000) | used | 7;
	pd[1] = OTHER_GPA | used | 0x87;
	pd[2] = pd[511] = (gpa + 0x4000) | used | 7;
	for (u64 i = 0; i < 512; i++) {
		pt[i] = i < RAM / 4096 ? i << 12 | used | 7 : 0;
		odd[i] = strange[i % 11] | used | (chance(m->rng, 4) ? 5 : 7);
	}
}

static void make_descriptors(struct machine *m)
{
	/* Linux's selectors for programs: 0x33, 32-bit 0x23, data 0x2b */
	static const u64 gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x00cffb000000ffff,
				   0x00cff3000000ffff, 0x00affb000000ffff };
	u64 *idt = table(m, IDT), *tss = table(m, TSS);

	memcpy(table(m, GDT), gdt, sizeof(gdt));
	memset(tss, 0, 0x68);
	memcpy((u8 *)tss + 0x24, &(u64){ STACK }, 8); /* IST1 */
	memset(m->ram.base + HALTS, 0xf4, 4096);
	for (unsigned v = 0; v < 256; v++) {
		idt[2 * v] = HALTS | 8 << 16 | 1ull << 32 | 0x8e00ull << 32;
		idt[2 * v + 1] = 0;
	}
}

static void create(struct machine *m)
{
	const char *soft = getenv("ANYKVM_SOFT");

	ram_create(&m->ram, RAM);
	ram_create(&m->other, OTHER);
	ram_create(&m->rom, ROM);
	m->kvm = kvm_open();
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	m->run_size = (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->vcpu < 0 || m->run == MAP_FAILED)
		fuzz_fail("no machine: %s", strerror(errno));
	memset(m->ram.base, 0, RAM);
	memset(m->other.base, 0, OTHER);
	memset(m->rom.base, 0, ROM);
	set_slot(m->vm, 0, 0, 0, RAM, m->ram.base);
	set_slot(m->vm, 1, chance(m->rng, 2) ? KVM_MEM_LOG_DIRTY_PAGES : 0, OTHER_GPA, OTHER, m->other.base);
	set_slot(m->vm, 2, KVM_MEM_READONLY, ROM_GPA, ROM, m->rom.base);
	m->sealed = soft && !strcmp(soft, "lockstep");
	if (m->sealed) {
		ram_create(&m->tables, TABLES);
		memset(m->tables.base, 0, TABLES);
		set_slot(m->vm, 3, KVM_MEM_READONLY, SEALED_GPA, TABLES, m->tables.base);
	}
	set_cpuid(m->kvm, m->vcpu);
	running = m->run;
}

static void destroy(struct machine *m)
{
	running = NULL;
	munmap(m->run, m->run_size);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	ram_destroy(&m->ram);
	ram_destroy(&m->other);
	ram_destroy(&m->rom);
	if (m->sealed)
		ram_destroy(&m->tables);
}

/* ---- where to go wrong --------------------------------------------------------------------------- */

static u64 host_address(struct machine *m)
{
	void *const places[] = { m->ram.base, m->other.base, m->other.base + OTHER, m->rom.base + ROM, secret, m->run, &m,
				 m->ram.base - 4096, (void *)(uintptr_t)&memcpy, m->other.base - (OTHER_GPA & 0xffff) };

	return (u64)(uintptr_t)places[below(m->rng, sizeof(places) / sizeof(places[0]))];
}

static u64 hostile(struct machine *m)
{
	static const u64 edges[] = { RAM, OTHER_GPA, OTHER_GPA + OTHER, OTHER_GPA + 0x3000, 0x400000, 0x401000, 0x403000,
				     0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff00000000, 1ull << 32,
				     0, 0xfffff000, 0x140200000, 0x14020f000, 0x140210000, 1ull << 63, 0x600000, CODE, STACK };

	if (chance(m->rng, 5))
		return host_address(m) + below(m->rng, 64) - 32;
	if (chance(m->rng, 8))
		return next(m->rng) >> below(m->rng, 64);
	if (chance(m->rng, 6))
		return below(m->rng, 256) - 128ull;
	if (chance(m->rng, 12)) /* what tables by bits 32 and up take for something else */
		return edges[below(m->rng, sizeof(edges) / sizeof(edges[0]))] ^ next(m->rng) << (56 + below(m->rng, 8));
	return edges[below(m->rng, sizeof(edges) / sizeof(edges[0]))] + below(m->rng, 160) - 128;
}

/* ---- code ---------------------------------------------------------------------------------------- */

#define ANY 8 /* any ModRM.reg */
#define IMM8 1
#define IMMZ 4
static const struct form {
	u8 prefix, map, opcode, reg, imm;
} forms[] = {
	{ 0, 0, 0x8a, ANY, 0 }, { 0, 0, 0x8b, ANY, 0 }, { 0, 0, 0x88, ANY, 0 }, { 0, 0, 0x89, ANY, 0 },
	{ 0, 0, 0x8b, ANY, 0 }, { 0, 0, 0x89, ANY, 0 }, { 0, 0, 0x01, ANY, 0 }, { 0, 0, 0x03, ANY, 0 },
	{ 0, 0, 0x11, ANY, 0 }, { 0, 0, 0x2b, ANY, 0 }, { 0, 0, 0x38, ANY, 0 }, { 0, 0, 0x3b, ANY, 0 },
	{ 0, 0, 0x84, ANY, 0 }, { 0, 0, 0x85, ANY, 0 }, { 0, 0, 0x86, ANY, 0 }, { 0, 0, 0x87, ANY, 0 },
	{ 0, 0, 0x63, ANY, 0 }, { 0, 0, 0x80, ANY, IMM8 }, { 0, 0, 0x81, ANY, IMMZ }, { 0, 0, 0x83, ANY, IMM8 },
	{ 0, 0, 0xc6, 0, IMM8 }, { 0, 0, 0xc7, 0, IMMZ }, { 0, 0, 0xf6, 2, 0 }, { 0, 0, 0xf7, 3, 0 },
	{ 0, 0, 0xf7, 4, 0 }, { 0, 0, 0xf7, 6, 0 }, { 0, 0, 0xfe, 0, 0 }, { 0, 0, 0xff, 1, 0 },
	{ 0, 0, 0xff, 2, 0 }, { 0, 0, 0xff, 4, 0 }, { 0, 0, 0xff, 6, 0 }, { 0, 0, 0x8f, 0, 0 },
	{ 0, 0, 0xd1, ANY, 0 }, { 0, 0, 0xd3, ANY, 0 }, { 0, 0, 0xc1, ANY, IMM8 }, { 0, 0, 0x69, ANY, IMMZ },
	{ 0, 1, 0xb6, ANY, 0 }, { 0, 1, 0xb7, ANY, 0 }, { 0, 1, 0xbe, ANY, 0 }, { 0, 1, 0xbf, ANY, 0 },
	{ 0, 1, 0xb1, ANY, 0 }, { 0, 1, 0xc1, ANY, 0 }, { 0, 1, 0xc7, 1, 0 }, { 0, 1, 0xa3, ANY, 0 },
	{ 0, 1, 0xab, ANY, 0 }, { 0, 1, 0xb3, ANY, 0 }, { 0, 1, 0xba, 5, IMM8 }, { 0, 1, 0xa5, ANY, 0 },
	{ 0, 1, 0xac, ANY, IMM8 }, { 0, 1, 0xaf, ANY, 0 }, { 0, 1, 0xbc, ANY, 0 }, { 0, 1, 0x4f, ANY, 0 },
	{ 0, 1, 0x95, 0, 0 }, { 0, 1, 0xc3, ANY, 0 }, { 0, 1, 0x10, ANY, 0 }, { 0, 1, 0x11, ANY, 0 },
	{ 0xf3, 1, 0x10, ANY, 0 }, { 0xf2, 1, 0x11, ANY, 0 }, { 0, 1, 0x28, ANY, 0 }, { 0, 1, 0x29, ANY, 0 },
	{ 0x66, 1, 0x6f, ANY, 0 }, { 0xf3, 1, 0x6f, ANY, 0 }, { 0xf3, 1, 0x7f, ANY, 0 }, { 0x66, 1, 0xfe, ANY, 0 },
	{ 0x66, 1, 0x6e, ANY, 0 }, { 0x66, 1, 0xd6, ANY, 0 }, { 0, 1, 0x16, ANY, 0 }, { 0xf2, 1, 0x58, ANY, 0 },
	{ 0, 1, 0xae, 0, 0 }, { 0, 1, 0xae, 1, 0 }, { 0, 1, 0xae, 3, 0 }, { 0, 1, 0xae, 4, 0 }, { 0, 1, 0xae, 7, 0 },
	{ 0, 0, 0xd9, ANY, 0 }, { 0, 0, 0xdd, ANY, 0 }, { 0, 0, 0xdb, ANY, 0 }, { 0, 0, 0xdf, ANY, 0 },
	{ 0, 1, 0x18, 1, 0 }, { 0, 1, 0x0d, 1, 0 }, { 0, 1, 0x01, 0, 0 }, { 0, 1, 0x01, 4, 0 }, { 0, 1, 0x7f, ANY, 0 },
};

/* ModRM.reg and a random memory operand; displacements small more often than not, as a compiler's are. */
static unsigned put_modrm(struct machine *m, u8 *p, u8 reg)
{
	unsigned n = 0, mod = below(m->rng, 3), rm = below(m->rng, 8);
	u32 disp = chance(m->rng, 2) ? below(m->rng, 0x2100) - 0x80 : (u32)hostile(m);

	p[n++] = (u8)(mod << 6 | (reg == ANY ? below(m->rng, 8) : reg) << 3 | rm);
	if (rm == 4)
		p[n++] = (u8)next(m->rng);
	if (mod == 1)
		p[n++] = (u8)disp;
	if (mod == 2 || (mod == 0 && (rm == 5 || (rm == 4 && (p[1] & 7) == 5)))) {
		memcpy(p + n, &disp, 4);
		n += 4;
	}
	return n;
}

static unsigned put_prefixes(struct machine *m, u8 *p, const struct form *f)
{
	unsigned n = 0;

	if (chance(m->rng, 4))
		p[n++] = chance(m->rng, 2) ? 0x64 : 0x65;
	if (chance(m->rng, 8))
		p[n++] = 0x67;
	if (chance(m->rng, 8))
		p[n++] = 0xf0;
	if (f && f->prefix)
		p[n++] = f->prefix;
	else if (chance(m->rng, 8))
		p[n++] = 0x66;
	if (!m->compat && chance(m->rng, 2))
		p[n++] = (u8)(0x40 | below(m->rng, 16));
	return n;
}

/* Strings, stack, absolute addresses, XLAT, MASKMOVDQU, VMOVDQU, VPGATHERDD, MOVBE. */
static unsigned put_other(struct machine *m, u8 *p)
{
	static const u8 one[] = { 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xd7, 0xc9, 0xc3, 0x9c, 0x50,
				  0x57, 0x58, 0x5d };
	unsigned n = 0;
	u64 a = hostile(m);

	switch (below(m->rng, 6)) {
	case 0:
		n = put_prefixes(m, p, NULL);
		p[n++] = (u8)(0xa0 | below(m->rng, 4));
		memcpy(p + n, &a, m->compat ? 4 : 8);
		return n + (m->compat ? 4 : 8);
	case 1:
		memcpy(p, "\x66\x0f\xf7\xc1", 4);
		return 4;
	case 2:
		memcpy(p, "\xc5\xfe", 2);
		p[2] = chance(m->rng, 2) ? 0x6f : 0x7f;
		return 3 + put_modrm(m, p + 3, ANY);
	case 3:
		memcpy(p, "\xc4\xe2\x6d\x90\x04\x08", 6); /* vpgatherdd ymm0, [rax + ymm1], ymm2 */
		return 6;
	default:
		if (chance(m->rng, 2))
			p[n++] = chance(m->rng, 2) ? 0xf3 : 0xf2;
		if (chance(m->rng, 4))
			p[n++] = chance(m->rng, 2) ? 0x64 : 0x67;
		if (!m->compat && chance(m->rng, 2))
			p[n++] = 0x48;
		p[n++] = one[below(m->rng, sizeof(one))];
		return n;
	}
}

static unsigned put_access(struct machine *m, u8 *p)
{
	const struct form *f = &forms[below(m->rng, sizeof(forms) / sizeof(forms[0]))];
	u32 imm = (u32)hostile(m);
	unsigned n;

	if (chance(m->rng, 5))
		return put_other(m, p);
	n = put_prefixes(m, p, f);
	if (f->map)
		p[n++] = 0x0f;
	p[n++] = f->opcode;
	n += put_modrm(m, p + n, f->reg);
	memcpy(p + n, &imm, f->imm);
	return n + f->imm;
}

/* Some accesses, most of them by the same few registers, and back to the start: twice is translated. */
static void put_code(struct machine *m, u64 at)
{
	u8 *p = m->ram.base + at, *start = p;
	unsigned n = 1 + below(m->rng, 8);

	while (n--)
		p += put_access(m, p);
	if (chance(m->rng, 2)) {
		p[0] = 0x75, p[1] = (u8)(start - (p + 2)); /* jnz start: endless ones are stopped */
		p += 2;
	}
	memset(p, 0xf4, 16);
}

/* ---- state --------------------------------------------------------------------------------------- */

static void set_sregs(struct machine *m)
{
	struct kvm_segment data = { .limit = ~0u, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1 }, code = data;
	struct kvm_sregs s;
	u8 dpl = fuzz_direct() || chance(m->rng, 2) ? 3 : 0;

	ioctl(m->vcpu, KVM_GET_SREGS, &s);
	m->compat = !fuzz_direct() && chance(m->rng, 4);
	data.dpl = code.dpl = dpl;
	data.selector = dpl ? 0x2b : 0x10;
	code.type = 11;
	code.l = !m->compat;
	code.db = m->compat;
	code.selector = m->compat ? (dpl ? 0x23 : 0x18) : (dpl ? 0x33 : 0x08);
	s.cs = code;
	s.ds = s.es = s.ss = s.fs = s.gs = data;
	s.fs.base = hostile(m);
	s.gs.base = hostile(m);
	if (fuzz_direct()) /* others are the kernel's */
		s.fs.base &= 0x7fffffffffff, s.gs.base &= 0x7fffffffffff;
	if (m->compat && chance(m->rng, 3))
		s.es.base = (u32)hostile(m), s.ds.limit = (u32)hostile(m) | 0xfff;
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 0x67, .selector = 0x38, .type = 11, .present = 1 };
	s.gdt = (struct kvm_dtable){ .base = GDT, .limit = 0x37 };
	s.idt = (struct kvm_dtable){ .base = IDT, .limit = 0xfff };
	s.cr0 = 0x80010033;
	s.cr3 = tables_gpa(m);
	s.cr4 = 0x50620 | (chance(m->rng, 2) ? 0x80 : 0);
	s.efer = 0xd01;
	ioctl(m->vcpu, KVM_SET_SREGS, &s);
	set_host_xcr0(m->vcpu);
}

/* Direct execution wants IF, and code that lies above 64 KiB: at 4 GiB is what is at 0, too. */
static u64 user_flags(void)
{
	return fuzz_direct() ? 0x202 : 2;
}

static u64 user_rip(u64 gpa)
{
	return fuzz_direct() ? gpa + (1ull << 32) : gpa;
}

static void set_regs(struct machine *m, u64 rip)
{
	struct kvm_regs regs;
	u64 *all = (u64 *)&regs, shared = hostile(m);

	for (unsigned i = 0; i < 16; i++)
		all[i] = chance(m->rng, 3) ? shared : hostile(m);
	if (chance(m->rng, 2))
		regs.rcx = below(m->rng, 0x3000);
	regs.rip = user_rip(rip);
	regs.rflags = user_flags() | (chance(m->rng, 8) ? 0x400 : 0);
	ioctl(m->vcpu, KVM_SET_REGS, &regs);
}

/* Four bytes of the secret, from any of them on. */
static bool is_secret(const u8 *p)
{
	for (u8 first = 0; first < 4; first++) {
		u8 n = 0;

		while (n < 4 && p[n] == fuzz_secret((void *)(uintptr_t)(first + n)))
			n++;
		if (n == 4)
			return true;
	}
	return false;
}

static bool tells(const void *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i++)
		if (is_secret((const u8 *)data + i))
			return true;
	return false;
}

/* Nothing that the guest was given has four bytes of the secret. */
static void check(struct machine *m)
{
	struct kvm_regs regs;
	struct kvm_fpu fpu;

	ram_check(&m->ram, "reach");
	ram_check(&m->other, "reach");
	ram_check(&m->rom, "reach");
	if (m->sealed)
		ram_check(&m->tables, "reach");
	for (size_t i = 0; i < sizeof(secret); i++)
		if (secret[i] != fuzz_secret(&secret[i]))
			fuzz_fail("the guest wrote to host memory");
	ioctl(m->vcpu, KVM_GET_REGS, &regs);
	ioctl(m->vcpu, KVM_GET_FPU, &fpu);
	for (unsigned i = 0; i < 16; i++)
		if (tells((u64 *)&regs + i, 8))
			fuzz_fail("register %u holds host memory", i);
	if (tells(fpu.xmm, sizeof(fpu.xmm)) || tells(fpu.fpr, sizeof(fpu.fpr)))
		fuzz_fail("a vector register holds host memory");
	if (tells(m->other.base, OTHER))
		fuzz_fail("the guest's memory holds host memory");
	for (size_t i = 0; i < ROM; i++)
		if (m->rom.base[i])
			fuzz_fail("the guest wrote to a read-only slot");
}

static void run_some(struct machine *m)
{
	struct itimerval soon = { { 0, 3000 }, { 0, 3000 } }, off = { 0 };

	setitimer(ITIMER_REAL, &soon, NULL);
	for (unsigned i = 0; i < 24; i++) {
		struct kvm_run *run = m->run;

		run->immediate_exit = 0;
		if (ioctl(m->vcpu, KVM_RUN, 0) || run->exit_reason == KVM_EXIT_HLT ||
		    run->exit_reason == KVM_EXIT_SHUTDOWN)
			break;
		if (run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write)
			memset(run->mmio.data, 0x11, 8);
	}
	setitimer(ITIMER_REAL, &off, NULL);
}

static void one_case(struct machine *m)
{
	u64 rip = CODE + below(m->rng, 48) * 0x100;

	if (chance(m->rng, 16))
		rip = (rip | 0xfff) - below(m->rng, 40);
	make_tables(m); /* the guest may have written to them */
	make_descriptors(m);
	set_sregs(m);
	put_code(m, rip);
	set_regs(m, rip);
	run_some(m);
	check(m);
}

void fuzz_reach(u64 seed, u64 cases)
{
	struct sigaction action = { .sa_handler = on_alarm };
	u64 end = fuzz_case + cases;

	fuzz_put_secret(secret, sizeof(secret));
	sigaction(SIGALRM, &action, NULL);
	for (fuzz_case &= ~63ull; fuzz_case < end;) {
		struct rng rng = { (seed + 1) * 0x9e3779b97f4a7c15ull ^ (fuzz_case + 1) * 0xd1342543de82ef95ull };
		struct machine m = { .rng = &rng };

		create(&m);
		for (unsigned i = 0; i < 64; i++, fuzz_case++)
			one_case(&m);
		destroy(&m);
	}
}

/* ---- slots that go away under running vCPUs ------------------------------------------------------- */

/*
 * rbx = the other slot, rcx runs over it: reads (and tells if it is what the host put there), writes, a locked add, a
 * string store; for ever. All that it writes is even, unlike that.
 */
extern const u8 racer[], racer_end[];
__asm__(".pushsection .rodata\n"
	"racer:\n"
	"1:	xor %ecx, %ecx\n"
	"2:	mov (%rbx, %rcx), %eax; cmp $0xa5a5a5a5, %eax; je 3f\n"
	"	cmpl $0xa5a5a5a5, 8(%rbx, %rcx); je 3f\n"
	"	mov %edx, (%rbx, %rcx); lock add %edx, 4(%rbx, %rcx)\n"
	"	lea 8(%rbx, %rcx), %rdi; stosl\n"
	"	add $0x150, %rcx; cmp $0xffe0, %ecx; jb 2b\n"
	"	jmp 1b\n"
	"3:	out %al, $0x99\n"
	"racer_end:\n"
	".popsection");

struct race {
	int vcpu;
	struct kvm_run *run;
	pthread_t thread;
};

static volatile bool race_over;

static void *race_run(void *arg)
{
	struct race *r = arg;

	while (!race_over) {
		if (ioctl(r->vcpu, KVM_RUN, 0) && errno != EINTR && errno != EFAULT)
			fuzz_fail("KVM_RUN: %s", strerror(errno));
		if (r->run->exit_reason == KVM_EXIT_IO)
			fuzz_fail("a vCPU read memory of a slot that is gone");
		if (r->run->exit_reason == KVM_EXIT_MMIO && !r->run->mmio.is_write)
			memset(r->run->mmio.data, 0, 8);
	}
	return NULL;
}

static void race_start(struct machine *m, struct race *r, int vcpu)
{
	struct kvm_regs regs = { .rip = user_rip(CODE), .rbx = OTHER_GPA, .rdx = 0x02020202,
				 .rflags = user_flags() };
	struct kvm_sregs s;

	r->vcpu = m->vcpu = vcpu;
	r->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	set_cpuid(m->kvm, vcpu);
	do { /* 64-bit code */
		set_sregs(m);
		ioctl(vcpu, KVM_GET_SREGS, &s);
	} while (m->compat);
	ioctl(vcpu, KVM_SET_REGS, &regs);
	if (pthread_create(&r->thread, NULL, race_run, r))
		fuzz_fail("pthread_create");
}

static void race_check(const struct ram *gone)
{
	ram_check(gone, "race");
	for (size_t i = 0; i < OTHER; i++)
		if (gone->base[i] != GONE)
			fuzz_fail("a vCPU wrote to memory of a slot that is gone");
}

/* The slot leaves one memory, and comes back with another. */
static void race_round(struct machine *m, struct ram *memory, struct ram *spare)
{
	memset(spare->base, 0, OTHER);
	if (chance(m->rng, 4))
		usleep(below(m->rng, 300));
	set_slot(m->vm, 1, 0, OTHER_GPA, 0, NULL);
	memset(memory->base, GONE, OTHER);
	for (unsigned i = below(m->rng, 20); i; i--)
		sched_yield();
	race_check(memory);
	set_slot(m->vm, 1, chance(m->rng, 2) ? KVM_MEM_LOG_DIRTY_PAGES : 0, OTHER_GPA, OTHER, spare->base);
	for (unsigned i = below(m->rng, 20); i; i--)
		sched_yield();
	race_check(memory);
}

void fuzz_race(u64 seed, u64 cases)
{
	struct rng rng = { seed * 0x9e3779b97f4a7c15ull + 1 };
	struct machine m = { .rng = &rng };
	struct race vcpus[2];
	struct ram spare;
	u64 end = fuzz_case + cases;

	signal(SIGUSR1, on_alarm);
	create(&m);
	ram_create(&spare, OTHER);
	make_tables(&m);
	make_descriptors(&m);
	memcpy(m.ram.base + CODE, racer, (size_t)(racer_end - racer));
	memcpy(m.ram.base + HALTS + 0x800, "\xe6\x99", 2); /* #GP, of the OUT of programs: out 0x99, al */
	*table(&m, IDT + 13 * 16) += 0x800;
	for (int i = 0, first = m.vcpu; i < 2; i++)
		race_start(&m, &vcpus[i], i ? ioctl(m.vm, KVM_CREATE_VCPU, 1) : first);
	for (; fuzz_case < end; fuzz_case++)
		race_round(&m, fuzz_case & 1 ? &spare : &m.other, fuzz_case & 1 ? &m.other : &spare);
	race_over = true;
	for (int i = 0; i < 2; i++) {
		vcpus[i].run->immediate_exit = 1;
		pthread_kill(vcpus[i].thread, SIGUSR1);
		pthread_join(vcpus[i].thread, NULL);
	}
	close(vcpus[1].vcpu);
	m.vcpu = vcpus[0].vcpu;
	destroy(&m);
	ram_destroy(&spare);
}
