// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM's side: one vCPU in long mode, the arena at its own addresses, selectors and descriptors as Linux
 * has them. A sample starts with IRETQ from a frame that we write, and ends in the handler of its exception,
 * which is HLT; the frame that the exception pushed tells where and how. So no system register is touched
 * between samples.
 *
 * Built with INSN_DEV_KVM it asks /dev/kvm, for the oracle (tests/oracle); otherwise libanykvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/insn/insn.h"

#ifdef INSN_DEV_KVM
static int api_open(void)
{
	return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}

static int api(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}
#else
#include "include/anykvm.h"

static int api_open(void)
{
	return anykvm_open();
}

static int api(int fd, unsigned long request, void *arg)
{
	return anykvm_ioctl(fd, request, (unsigned long)arg);
}

#define close anykvm_close
#endif

/* The guest's own pages, out of the samples' reach. */
#define SYS		ESP_HIGH
#define PML4		(SYS + 0x0000)
#define PDPT		(SYS + 0x1000)
#define PD		(SYS + 0x2000)
#define PT_SYS		(SYS + 0x3000)
#define PT_ARENA	(SYS + 0x4000)
#define GDT		(SYS + 0x5000)
#define TSS		(SYS + 0x5800)
#define LDT		(SYS + 0x5900)
#define IDT		(SYS + 0x6000)
#define STUBS		(SYS + 0x7000)	/* 16 bytes for each vector: HLT */
#define STACK		(SYS + 0x8e00)	/* RSP0 */
#define FRAME		(SYS + 0x8f00)	/* what the first IRETQ pops */
#define START		(SYS + 0x9000)	/* IRETQ */
#define SYS_SIZE	0xa000ul

static u8 *sys, *arena;
static int kvm, vm, vcpu, run_size;
static struct kvm_run *run;
static struct kvm_cpuid2 *cpuid;
static struct kvm_sregs start_sregs;
static unsigned mode = 64;	/* of DS and ES */

static u64 *sys_u64(u64 address)
{
	return (u64 *)(sys + (address - SYS));
}

static void put_page(u64 table, u64 address, u64 flags)
{
	sys_u64(table)[address >> 12 & 511] = address | flags;
}

static void make_page_tables(void)
{
	const u64 present = 1, write = 2, user = 4, nx = 1ull << 63;

	sys_u64(PML4)[0] = PDPT | present | write | user;
	sys_u64(PDPT)[0] = PD | present | write | user;
	sys_u64(PD)[SYS >> 21] = PT_SYS | present | write;
	sys_u64(PD)[ARENA >> 21] = PT_ARENA | present | write | user;
	for (u64 a = SYS; a < SYS + SYS_SIZE; a += 4096)
		put_page(PT_SYS, a, present | write);
	for (u64 a = DATA; a < DATA + DATA_SIZE; a += 4096)
		put_page(PT_ARENA, a, present | write | user | nx);
	put_page(PT_ARENA, READONLY, present | user | nx);
	for (u64 a = CODE; a < CODE + CODE_SIZE; a += 4096)
		put_page(PT_ARENA, a, present | write | user);
}

static u64 descriptor16(u64 base, u64 limit, u64 access)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | access << 40 | (limit >> 16) << 48 |
	       (base >> 24) << 56;
}

static void make_descriptors(void)
{
	static const u64 gdt[] = {
		0, 0x00cf9b000000ffffull, 0x00af9b000000ffffull, 0x00cf93000000ffffull,
		0x00cffb000000ffffull, 0x00cff3000000ffffull, 0x00affb000000ffffull, 0,
	};
	u64 *p = sys_u64(GDT);

	memcpy(p, gdt, sizeof(gdt));
	p[8] = (TSS & 0xffffff) << 16 | (TSS >> 24) << 56 | 0x8b0000000000ull | 0x67;
	p[9] = TSS >> 32;
	sys_u64(LDT)[0] = descriptor16(CODE, LIMIT_CODE16, 0xfb);
	sys_u64(LDT)[1] = descriptor16(ARENA, LIMIT_DATA16, 0xf3);
	*(u64 *)((u8 *)sys_u64(TSS) + 4) = STACK;
	*(u16 *)((u8 *)sys_u64(TSS) + 0x66) = 0xffff; /* no I/O bitmap */
	for (unsigned v = 0; v < 256; v++) {
		u64 stub = STUBS + 16 * v, dpl = v == 3 || v == 4 ? 3 : 0;

		sys_u64(IDT)[2 * v] =
			(stub & 0xffff) | 0x10 << 16 | (0x8e00 | dpl << 13) << 32 | (stub >> 16) << 48;
		sys_u64(IDT)[2 * v + 1] = stub >> 32;
		*((u8 *)sys_u64(STUBS) + 16 * v) = 0xf4;
	}
	memcpy(sys_u64(START), "\x48\xcf", 2);
}

static struct kvm_segment segment(u16 selector, u8 type, bool l, u8 dpl)
{
	return (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .dpl = dpl,
		.db = !l, .s = 1, .l = l, .g = 1,
	};
}

static struct kvm_segment segment16(void)
{
	return (struct kvm_segment){
		.base = ARENA,
		.limit = LIMIT_DATA16,
		.selector = SEL_DATA16,
		.type = 3,
		.present = 1,
		.dpl = 3,
		.s = 1,
	};
}

static int set_sregs(void)
{
	struct kvm_sregs *s = &start_sregs;

	if (api(vcpu, KVM_GET_SREGS, s) < 0)
		return -1;
	s->cs = segment(0x10, 11, true, 0);
	s->ss = segment(0x18, 3, false, 0);
	s->ds = s->es = mode == 16 ? segment16() : segment(SEL_DATA, 3, false, 3);
	s->fs = s->gs = segment(0, 3, false, 3);
	s->fs.unusable = s->gs.unusable = 1;
	s->gs.base = GS_BASE;
	s->tr = (struct kvm_segment){
		.base = TSS, .limit = 0x67, .selector = 0x40, .type = 11, .present = 1
	};
	s->ldt = (struct kvm_segment){ .base = LDT, .limit = 15, .selector = 0x50, .type = 2, .present = 1 };
	s->gdt.base = GDT;
	s->gdt.limit = 0x7f;
	s->idt.base = IDT;
	s->idt.limit = 0xfff;
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	if (guest_has(X86_FEAT_FSGSBASE))
		s->cr4 |= X86_CR4_FSGSBASE;
	s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
	return api(vcpu, KVM_SET_SREGS, s);
}

static int get_cpuid(void)
{
	unsigned n = 256;

	cpuid = calloc(1, sizeof(*cpuid) + n * sizeof(cpuid->entries[0]));
	cpuid->nent = n;
	return api(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
}

static int add_slot(unsigned slot, u64 gpa, u64 size, u8 **host)
{
	struct kvm_userspace_memory_region region = { .slot = slot,
						      .guest_phys_addr = gpa,
						      .memory_size = size };
	int sharing = getenv("ANYKVM_WINDOWS") ? MAP_SHARED : MAP_PRIVATE;

	/* Only shared memory can be mapped in windows as well (engine/soft/window.c). */
	*host = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (u64)*host;
	return api(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* As here, as far as the guest can. */
static int set_xcr0(void)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 3 } } };

	for (unsigned i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 0xd && cpuid->entries[i].index == 0)
			xcrs.xcrs[0].value = bare_xcr0() & cpuid->entries[i].eax;
	}

	return api(vcpu, KVM_SET_XCRS, &xcrs);
}

#define TRY(e)                                                                                          \
	do {                                                                                            \
		if ((e) < 0) {                                                                          \
			perror(#e);                                                                     \
			return -1;                                                                      \
		}                                                                                       \
	} while (0)

int guest_setup(void)
{
	TRY(kvm = api_open());
	TRY(get_cpuid());
	TRY(run_size = api(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL));
	TRY(vm = api(kvm, KVM_CREATE_VM, NULL));
	TRY(add_slot(0, SYS, SYS_SIZE, &sys));
	TRY(add_slot(1, ARENA, ARENA_SIZE, &arena));
	TRY(vcpu = api(vm, KVM_CREATE_VCPU, NULL));
	run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED) {
		perror("mmap of the vCPU");
		return -1;
	}
	make_page_tables();
	make_descriptors();
	memset(arena + (CODE - ARENA), 0xf4, CODE_SIZE);
	TRY(api(vcpu, KVM_SET_CPUID2, cpuid));
	TRY(set_sregs());
	TRY(set_xcr0());
	return 0;
}

void guest_close(void)
{
	munmap(run, (size_t)run_size);
	close(vcpu);
	close(vm);
	close(kvm);
	free(cpuid);
}

bool guest_has(enum x86_feature f)
{
	static const struct {
		u32 leaf, subleaf;
		u8 reg, bit;
	} where[X86_NR_FEATURES] = {
#define X(name, l, s, r, b) [X86_FEAT_##name] = { l, s, r, b },
		X86_FEATURES(X)
#undef X
	};

	if (f == X86_FEAT_NONE)
		return true;
	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		const u32 r[4] = { e->eax, e->ebx, e->ecx, e->edx };

		if (e->function == where[f].leaf && e->index == where[f].subleaf)
			return r[where[f].reg] >> where[f].bit & 1;
	}
	return false;
}

/* KVM's order of registers in struct kvm_regs. */
static void to_regs(struct kvm_regs *r, const u64 *gpr)
{
	r->rax = gpr[0], r->rcx = gpr[1], r->rdx = gpr[2], r->rbx = gpr[3];
	r->rbp = gpr[5], r->rsi = gpr[6], r->rdi = gpr[7];
	memcpy(&r->r8, gpr + 8, 64);
}

static void from_regs(u64 *gpr, const struct kvm_regs *r)
{
	gpr[0] = r->rax, gpr[1] = r->rcx, gpr[2] = r->rdx, gpr[3] = r->rbx;
	gpr[5] = r->rbp, gpr[6] = r->rsi, gpr[7] = r->rdi;
	memcpy(gpr + 8, &r->r8, 64);
}

static void start(const struct sample *s)
{
	struct kvm_regs regs = { .rip = START, .rsp = FRAME, .rflags = 2 };
	const u64 frame[5] = { s->state.rip, s->state.cs, s->state.rflags, s->state.gpr[X86_RSP],
			       s->mode == 16 ? SEL_DATA16 : SEL_DATA };

	to_regs(&regs, s->state.gpr);
	memcpy(sys_u64(FRAME), frame, sizeof(frame));
	memcpy(arena + (DATA - ARENA), s->data, DATA_SIZE);
	place_code(s, arena + (s->rip - ARENA));
	if (api(vcpu, KVM_SET_REGS, &regs) < 0 || api(vcpu, KVM_SET_XSAVE, (void *)s->state.xsave) < 0) {
		perror("KVM_SET_REGS, KVM_SET_XSAVE");
		exit(2);
	}
}

/* The handler's HLT was reached: what happened stands in the frame. */
static void collect(struct outcome *o, const struct kvm_regs *regs)
{
	const u64 *frame = sys_u64(regs->rsp);
	struct kvm_sregs sregs;

	o->vector = (int)((regs->rip - 1 - STUBS) / 16);
	o->error = 0;
	if (o->vector < 32 && BIT(o->vector) & 0x27d00)
		o->error = (u32)*frame++;
	o->state.rip = frame[0];
	o->state.cs = (u16)frame[1];
	o->state.rflags = frame[2];
	o->state.gpr[X86_RSP] = frame[3];
	if (o->vector == X86_PF_VECTOR) {
		api(vcpu, KVM_GET_SREGS, &sregs);
		o->cr2 = sregs.cr2;
	}
}

/* DS, ES, GS and their bases are not loaded for each sample. */
static bool loads_segment(const struct x86_insn *insn)
{
	switch (insn->op) {
	case X86_OP_MOV_SEG:
	case X86_OP_POP_SEG:
	case X86_OP_LDS:
	case X86_OP_LES:
	case X86_OP_LGS:
	case X86_OP_LSS:
	case X86_OP_IRET:
	case X86_OP_RET_FAR:
	case X86_OP_WRGSBASE:
		return true;
	default:
		return false;
	}
}

void guest_run(const struct sample *s, struct outcome *o)
{
	struct kvm_regs regs;
	int r;

	if (mode != s->mode) {
		mode = s->mode;
		set_sregs();
	}
	start(s);
	do
		r = api(vcpu, KVM_RUN, NULL);
	while (r < 0 && errno == EINTR);
	memset(o, 0, sizeof(*o));
	if (api(vcpu, KVM_GET_REGS, &regs) < 0 || api(vcpu, KVM_GET_XSAVE, o->state.xsave) < 0) {
		perror("KVM_GET_REGS, KVM_GET_XSAVE");
		exit(2);
	}
	from_regs(o->state.gpr, &regs);
	if (r == 0 && run->exit_reason == KVM_EXIT_HLT && regs.rip > STUBS && regs.rip < STUBS + 4096) {
		collect(o, &regs);
	} else {
		o->vector = r < 0 ? -1 : -1000 - (int)run->exit_reason;
		o->error = r < 0 ? (u32)errno : run->internal.suberror;
		o->state.rip = regs.rip;
		set_sregs();
	}
	if (loads_segment(&s->insn))
		set_sregs();
	remove_code(s, arena + (s->rip - ARENA));
}

const u8 *guest_data(void)
{
	return arena + (DATA - ARENA);
}
