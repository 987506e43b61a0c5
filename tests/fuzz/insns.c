// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest code made of random bytes and of valid instructions with random changes, in random modes with random
 * segments, control registers, page tables and event state. What it does is nobody's concern; but it may not
 * end, hang or touch the process outside its slots.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define RAM (64 * 4096ul)
#define RUNS 6

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	struct ram ram, other;
	struct rng *rng;
	bool program;	/* in the state that Linux's programs have: it may run directly */
};

static struct kvm_run *volatile running;

static void stop(int signal_number)
{
	(void)signal_number;
	if (running)
		running->immediate_exit = 1;
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void slot(struct machine *m, unsigned id, unsigned flags, u64 gpa, u64 size, void *memory)
{
	struct kvm_userspace_memory_region region = { id, flags, gpa, size, (u64)(uintptr_t)memory };

	ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void create(struct machine *m)
{
	ram_create(&m->ram, RAM);
	ram_create(&m->other, 4 * 4096);
	m->kvm = kvm_open();
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (chance(m->rng, 3))
		ioctl(m->vm, KVM_CREATE_IRQCHIP, 0);
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	m->run_size = (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->vcpu < 0 || m->run == MAP_FAILED)
		fuzz_fail("no machine: %s", strerror(errno));
	slot(m, 0, 0, 0, RAM, m->ram.base);
	slot(m, 1, chance(m->rng, 2) ? KVM_MEM_READONLY : 0, 0x100000, 4 * 4096, m->other.base);
	set_cpuid(m->kvm, m->vcpu);
	running = m->run;
}

static void destroy(struct machine *m)
{
	running = NULL;
	ram_check(&m->ram, "end");
	ram_check(&m->other, "end");
	munmap(m->run, m->run_size);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	ram_destroy(&m->ram);
	ram_destroy(&m->other);
}

/* ---- code ---------------------------------------------------------------------------------------- */

static unsigned put_valid(struct rng *r, u8 *p)
{
	static const u8 opcodes[][4] = {
		{ 2, 0x89, 0x03 },
		{ 2, 0x8b, 0x03 },
		{ 2, 0x01, 0x0b },
		{ 2, 0xf3, 0xa4 },
		{ 2, 0xf3, 0xaa },
		{ 2, 0xf3, 0xa5 },
		{ 1, 0x50 },
		{ 1, 0x58 },
		{ 3, 0x0f, 0x22, 0xd8 },
		{ 3, 0x0f, 0x22, 0xc0 },
		{ 3, 0x0f, 0x22, 0xe0 },
		{ 2, 0x8e, 0xd8 },
		{ 2, 0x8e, 0xd0 },
		{ 2, 0x0f, 0x30 },
		{ 2, 0x0f, 0x32 },
		{ 1, 0xcf },
		{ 1, 0xcb },
		{ 2, 0xcd, 0x80 },
		{ 2, 0x0f, 0x05 },
		{ 2, 0x0f, 0x07 },
		{ 3, 0x0f, 0x01, 0x3b },
		{ 3, 0x0f, 0x01, 0x13 },
		{ 3, 0x0f, 0x01, 0x1b },
		{ 3, 0x0f, 0xae, 0x03 },
		{ 3, 0x0f, 0xae, 0x0b },
		{ 3, 0x0f, 0xae, 0x23 },
		{ 3, 0x0f, 0xae, 0x2b },
		{ 2, 0xd9, 0x03 },
		{ 2, 0xdd, 0x33 },
		{ 3, 0x0f, 0x10, 0x03 },
		{ 3, 0x0f, 0x11, 0x03 },
		{ 3, 0x0f, 0xc7, 0x0b },
		{ 2, 0xff, 0x23 },
		{ 2, 0xff, 0x2b },
		{ 2, 0xff, 0x13 },
		{ 1, 0x6d },
		{ 1, 0x6f },
		{ 1, 0xec },
		{ 1, 0xef },
		{ 3, 0x0f, 0x00, 0xd8 },
		{ 2, 0x0f, 0xaa },
		{ 1, 0x9d },
		{ 1, 0xf4 },
		{ 3, 0x0f, 0x23, 0xf8 },
		{ 1, 0xc9 },
		{ 3, 0xc8, 0x40, 0x05 },
		{ 2, 0xeb, 0xfe },
		{ 2, 0xe2, 0xf0 },
		{ 3, 0x0f, 0xab, 0x03 },
		{ 2, 0x87, 0x03 },
		{ 3, 0x0f, 0xb1, 0x0b },
	};
	const u8 *o = opcodes[below(r, sizeof(opcodes) / sizeof(opcodes[0]))];

	memcpy(p, o + 1, o[0]);
	if (chance(r, 3))
		p[below(r, o[0])] ^= (u8)(1u << below(r, 8));
	return o[0];
}

static unsigned put_insn(struct rng *r, u8 *p)
{
	static const u8 prefixes[] = { 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e,
				       0x26, 0x64, 0x65, 0x48, 0x41, 0x4f, 0x44 };
	unsigned n = 0;

	while (chance(r, 3) && n < 4)
		p[n++] = prefixes[below(r, sizeof(prefixes))];
	if (chance(r, 3)) {
		unsigned len = 1 + below(r, 6);

		if (chance(r, 3))
			p[n++] = 0x0f;
		if (chance(r, 6))
			p[n++] = chance(r, 2) ? 0xc5 : 0xc4;
		while (len--)
			p[n++] = (u8)next(r);
		return n;
	}
	return n + put_valid(r, p + n);
}

static void put_code(struct rng *r, u8 *p, unsigned size)
{
	for (unsigned n = 0; n + 16 < size;)
		n += put_insn(r, p + n);
}

/* Without what keeps a page from running directly: 0F 00 to 0F 03, SYSENTER, CPUID, RDPID, INT 4, INT 80h. */
static void make_harmless(u8 *p, unsigned size)
{
	for (unsigned i = 0; i + 1 < size; i++) {
		if (p[i] == 0x0f && (p[i + 1] <= 3 || p[i + 1] == 0x34 || p[i + 1] == 0xa2 || p[i + 1] == 0xc7))
			p[i + 1] = 0x10;
		if (p[i] == 0xcd && (p[i + 1] == 4 || p[i + 1] == 0x80))
			p[i + 1] = 3;
	}
}

/* ---- state --------------------------------------------------------------------------------------- */

static void random_segment(struct rng *r, struct kvm_segment *s)
{
	if (chance(r, 2))
		s->base = chance(r, 2) ? below(r, RAM) : odd_number(r);
	if (chance(r, 3))
		s->limit = (u32)odd_number(r);
	if (chance(r, 4))
		s->type = below(r, 16);
	if (chance(r, 6))
		s->unusable = 1;
	if (chance(r, 6))
		s->db ^= 1;
	s->selector = (u16)below(r, 0x200);
}

/* Tables that mostly map RAM onto itself, with random entries among them. */
static void random_tables(struct machine *m)
{
	u64 *pml4 = (u64 *)(m->ram.base + 0x10000), *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512;

	for (unsigned i = 0; i < 512; i++) {
		pml4[i] = (i == 0 || i == 511 ? 0x11007 : chance(m->rng, 8) ? next(m->rng) : 0);
		pdpt[i] = (i == 0 ? 0x12007 : chance(m->rng, 8) ? next(m->rng) : 0);
		pd[i] = (i == 0 ? 0x13007 : i == 1 ? 0x87 : chance(m->rng, 8) ? next(m->rng) : 0);
		pt[i] = chance(m->rng, 16) ? next(m->rng) & 0x8000000000fffffful : (u64)i << 12 | 7;
	}
}

static void random_descriptors(struct machine *m)
{
	u64 *table = (u64 *)(m->ram.base + 0x20000);

	for (unsigned i = 0; i < 512; i++) {
		u64 d = next(m->rng);

		if (!chance(m->rng, 4))
			d = (d & 0x00ffff000000ffffull) | 0x00cf800000000000ull |
			    (u64)(below(m->rng, 256)) << 40;
		table[i] = d;
	}
}

static void set_mode(struct machine *m, struct kvm_sregs *s)
{
	struct kvm_segment flat = { .limit = 0xffffffff, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1 };
	unsigned mode = m->program ? 4 : below(m->rng, 5), dpl = m->program || chance(m->rng, 3) ? 3 : 0;

	if (mode == 0)
		return;
	flat.selector = 0x33;
	flat.dpl = (u8)dpl;
	s->cr0 = 0x31;
	s->cs = flat;
	flat.type = 3;
	flat.selector = 0x2b;
	s->ds = s->es = s->fs = s->gs = s->ss = flat;
	if (mode >= 3) {
		s->cr0 |= 0x80000000 | (chance(m->rng, 2) ? 0x10000 : 0);
		s->cr4 = 0x620;
		s->cr3 = 0x10000;
		s->efer = 0xd01;
		if (m->program)
			s->cr0 |= 2, s->cr4 |= 0x50000; /* FSGSBASE, OSXSAVE */
		s->cs.l = mode == 4;
		s->cs.db = mode != 4;
	} else if (mode == 2) {
		s->cr0 |= 0x80000000;
		s->cr4 = 0x630;
		s->cr3 = 0x11000;
		s->efer = 0x800;
	}
	if (m->program)
		return;
	if (chance(m->rng, 3))
		s->cr4 |= 1u << below(m->rng, 22);
	if (chance(m->rng, 4))
		s->cr0 ^= 1u << below(m->rng, 20);
}

static void random_sregs(struct machine *m)
{
	struct kvm_sregs s;

	m->program = chance(m->rng, fuzz_direct() ? 2 : 8);
	ioctl(m->vcpu, KVM_GET_SREGS, &s);
	s.cs.base = 0;
	s.cs.selector = 0;
	set_mode(m, &s);
	s.gdt = (struct kvm_dtable) { .base = 0x20000, .limit = 0xfff };
	s.idt = (struct kvm_dtable) { .base = chance(m->rng, 2) ? 0x20000 : 0, .limit = 0xfff };
	s.tr.base = 0x22000;
	s.tr.limit = 0xfff;
	for (unsigned i = 0; i < 3 && !m->program; i++)
		random_segment(m->rng, (struct kvm_segment *)&s + below(m->rng, 8));
	if (chance(m->rng, 8))
		s.gdt.base = odd_number(m->rng);
	if (chance(m->rng, 8))
		s.cr3 = odd_number(m->rng);
	ioctl(m->vcpu, KVM_SET_SREGS, &s);
	if (m->program)
		set_host_xcr0(m->vcpu);
}

static void random_regs(struct machine *m)
{
	struct kvm_regs regs;
	u64 *all = (u64 *)&regs;

	for (unsigned i = 0; i < 16; i++)
		all[i] = chance(m->rng, 2)   ? below(m->rng, RAM)
			 : chance(m->rng, 2) ? 0x100000 + below(m->rng, 0x4010) - 8
					     : odd_number(m->rng);
	regs.rcx = chance(m->rng, 2) ? below(m->rng, 64) : regs.rcx;
	regs.rip = chance(m->rng, 10) ? odd_number(m->rng) : 0x1000 + below(m->rng, 4) * 0x1000;
	if (chance(m->rng, 4))
		regs.rip += 0xff0;
	regs.rflags = 2 | (next(m->rng) & (chance(m->rng, 4) ? 0x3f7fd5 : 0xcd5));
	if (m->program) { /* what is at 0 is at 2 MiB, too, by a large page */
		regs.rip = 0x200000 | (regs.rip & 0x7fff);
		regs.rflags = 0x202 | (next(m->rng) & 0x4cd5);
		regs.rbx = 0x200000 + below(m->rng, RAM);
	}
	ioctl(m->vcpu, KVM_SET_REGS, &regs);
}

static void random_events(struct machine *m)
{
	struct kvm_vcpu_events e;
	struct kvm_debugregs d = { .dr6 = 0xffff0ff0, .dr7 = 0x400 | (next(m->rng) & 0xffff00ff) };
	struct kvm_guest_debug g = { .control = KVM_GUESTDBG_ENABLE |
						(chance(m->rng, 2) ? KVM_GUESTDBG_SINGLESTEP : 0) };

	if (m->program) {
		d.dr7 = 0x400;
		g.control = 0;
		ioctl(m->vcpu, KVM_SET_DEBUGREGS, &d);
		ioctl(m->vcpu, KVM_SET_GUEST_DEBUG, &g);
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		d.db[i] = below(m->rng, RAM);
	if (chance(m->rng, 4))
		ioctl(m->vcpu, KVM_SET_DEBUGREGS, &d);
	if (chance(m->rng, 12))
		ioctl(m->vcpu, KVM_SET_GUEST_DEBUG, &g);
	if (!chance(m->rng, 6) || ioctl(m->vcpu, KVM_GET_VCPU_EVENTS, &e))
		return;
	e.exception.injected = (u8)below(m->rng, 2);
	e.exception.nr = (u8)below(m->rng, 20);
	e.exception.has_error_code = (u8)below(m->rng, 2);
	e.nmi.injected = (u8)below(m->rng, 2);
	e.interrupt.shadow = (u8)below(m->rng, 3);
	ioctl(m->vcpu, KVM_SET_VCPU_EVENTS, &e);
}

/* ---- running ------------------------------------------------------------------------------------- */

static void answer(struct machine *m)
{
	struct kvm_run *run = m->run;

	if (run->exit_reason == KVM_EXIT_IO && !run->io.direction &&
	    run->io.data_offset + (u64)run->io.size * run->io.count <= m->run_size)
		memset((u8 *)run + run->io.data_offset, (int)next(m->rng), run->io.size * run->io.count);
	if (run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write)
		memset(run->mmio.data, (int)next(m->rng), sizeof(run->mmio.data));
}

/* Slots come and go: what a translation remembers must go with them. */
static void change_slots(struct machine *m)
{
	switch (below(m->rng, 6)) {
	case 0:
		slot(m, 1, 0, 0x100000, 0, NULL);
		mprotect(m->other.base, m->other.size, PROT_NONE);
		break;
	case 1:
		slot(m, 1, 0, 0x100000, 0, NULL);
		mprotect(m->other.base, m->other.size, PROT_READ | PROT_WRITE);
		slot(m, 1, KVM_MEM_LOG_DIRTY_PAGES, 0x100000, 4 * 4096, m->other.base);
		break;
	case 2:
		slot(m, 1, 0, 0x101000, 4 * 4096, m->other.base);
		break;
	case 3:
		mprotect(m->other.base, 4096, chance(m->rng, 2) ? PROT_NONE : PROT_READ);
		break;
	case 4:
		put_code(m->rng, m->ram.base + 0x1000 + below(m->rng, 4) * 0x1000, 64);
		break;
	}
}

static void run_some(struct machine *m)
{
	struct itimerval soon = { { 0, 3000 }, { 0, 3000 } }, off = { 0 };

	setitimer(ITIMER_REAL, &soon, NULL);
	for (unsigned i = 0; i < RUNS; i++) {
		m->run->immediate_exit = 0;
		ioctl(m->vcpu, KVM_RUN, 0);
		answer(m);
		if (chance(m->rng, 6))
			change_slots(m);
	}
	setitimer(ITIMER_REAL, &off, NULL);
}

static void fresh_memory(struct machine *m)
{
	mprotect(m->other.base, m->other.size, PROT_READ | PROT_WRITE);
	slot(m, 1, 0, 0x100000, 0, NULL);
	slot(m, 1, chance(m->rng, 2) ? KVM_MEM_READONLY : 0, 0x100000, 4 * 4096, m->other.base);
	for (size_t i = 0; i < 0x10000; i += 8) {
		u64 v = chance(m->rng, 4) ? next(m->rng) : 0x1000 + below(m->rng, 0x8000);

		memcpy(m->ram.base + i, &v, 8);
	}
	for (unsigned i = 1; i < 5; i++)
		put_code(m->rng, m->ram.base + i * 0x1000, 0x1000);
	if (fuzz_direct())
		make_harmless(m->ram.base + 0x1000, 0x3000);
	put_code(m->rng, m->other.base, 0x4000);
	random_tables(m);
	random_descriptors(m);
}

static void one_case(struct machine *m)
{
	if (chance(m->rng, 8))
		fresh_memory(m);
	random_sregs(m);
	random_regs(m);
	random_events(m);
	run_some(m);
	ram_check(&m->ram, "run");
	ram_check(&m->other, "run");
}

/* A machine for each 64 cases, seeded by its number, so that a failure can be repeated alone. */
void fuzz_insns(u64 seed, u64 cases)
{
	struct sigaction action = { .sa_handler = stop };
	u64 end = fuzz_case + cases;

	sigaction(SIGALRM, &action, NULL);
	for (fuzz_case &= ~63ull; fuzz_case < end;) {
		struct rng rng = { (seed + 1) * 0x9e3779b97f4a7c15ull ^
				   (fuzz_case + 1) * 0xd1342543de82ef95ull };
		struct machine m = { .rng = &rng };

		create(&m);
		fresh_memory(&m);
		for (unsigned i = 0; i < 64; i++, fuzz_case++)
			one_case(&m);
		destroy(&m);
	}
}
