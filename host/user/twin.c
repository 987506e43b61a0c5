/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes that have nothing but the memory they are given.
 *
 * How one is made. A memfd holds a program of one page of code and some of orders. A child that shares our memory for a moment
 * (so that nothing is copied) says that we trace it and executes the program. Then it carries out its first orders: unmap all
 * but the program itself - stack, vDSO -, close all files but the one that memory will come from, open all signals, and let
 * RDTSC fault until told otherwise. From then on it runs foreign code, whose system calls a seccomp filter gives to us instead
 * of the kernel.
 *
 * Orders are system calls: our code in the child makes them one after another, and then either stops (INT3) or goes on with
 * the foreign code, whose registers it takes from the frame behind the orders; so they cost no stop of their own. The child
 * can read the orders and the frame, not write them; between them and the kernel there are just registers, which nobody else
 * can reach, as a twin has one thread. The filter knows our code by its address and by a secret in the upper half of the fifth
 * argument, which is of no meaning to these calls; the secret is in a register while our code runs, and nowhere else in
 * the child. Foreign code that jumps to ours without it stops like at any system call, and the twin is given up.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/twin.h"

#ifndef TRAP_HWBKPT
#define TRAP_HWBKPT 4
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u /* Linux 6.3 */
#endif

#define PAGE 4096ul
#define ORDER_PAGES 4ul
#define PROGRAM_SIZE ((1 + ORDER_PAGES) * PAGE)
#define USER_END 0x7ffffffff000ul
#define FILE_NUMBER 3 /* of the twin's only file */
#define KICK SIGURG

struct order {
	s64 nr; /* the system call's; -1: the end; -2: it goes on with the frame at arg[0] */
	u64 arg[6];
};
#define STOP_HERE (-1)
#define GO_ON (-2)

/* What POP and IRET take. */
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 rip, cs, rflags, rsp, ss;
};
#define FRAME_OFFSET (PROGRAM_SIZE - sizeof(struct frame) - sizeof(u64)) /* the last place holds a signal mask */
#define ORDERS ((unsigned)((FRAME_OFFSET - PAGE) / sizeof(struct order)) - 1)

struct host_twin {
	struct host_twin_gate *gate;
	int pid, tracer;
	bool broken;
	u64 base;	/* of the program in the child */
	u8 *program;	/* the same here */
	struct order *orders;
	unsigned nr;
	u32 secret;	/* 0 while there is no filter */
	unsigned xstate_size;
	unsigned cpu;	/* + 1; 0: any */
	u64 breaks[HOST_TWIN_BREAKS];
	bool breaks_changed;
	bool tsc_faults;
};

static HOST_PER_THREAD struct host_twin_gate *current_gate;

/* In the child; RBX: the first order; R12: the secret. */
__asm__(".pushsection .rodata\n"
	"twin_code:\n"
	"1:	mov (%rbx), %rax\n"
	"	cmp $-1, %rax\n"
	"	je 2f\n"
	"	mov 8(%rbx), %rdi\n"
	"	cmp $-2, %rax\n"
	"	je twin_code_goes_on\n"
	"	mov 16(%rbx), %rsi\n"
	"	mov 24(%rbx), %rdx\n"
	"	mov 32(%rbx), %r10\n"
	"	mov 40(%rbx), %r8\n"
	"	or %r12, %r8\n"
	"	mov 48(%rbx), %r9\n"
	"	syscall\n"
	"twin_code_called:\n"
	"	cmp $-4096, %rax\n"
	"	ja 2f\n"
	"	add $56, %rbx\n"
	"	jmp 1b\n"
	"2:	int3\n"
	"twin_code_goes_on:\n"
	"	mov %rdi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %r11\n"
	"	pop %r10\n"
	"	pop %r9\n"
	"	pop %r8\n"
	"	pop %rdi\n"
	"	pop %rsi\n"
	"	pop %rbp\n"
	"	pop %rbx\n"
	"	pop %rdx\n"
	"	pop %rcx\n"
	"	pop %rax\n"
	"	iretq\n"
	"twin_code_end:\n"
	".popsection\n");
extern const u8 twin_code[] __attribute__((visibility("hidden")));
extern const u8 twin_code_called[] __attribute__((visibility("hidden")));
extern const u8 twin_code_goes_on[] __attribute__((visibility("hidden")));
extern const u8 twin_code_end[] __attribute__((visibility("hidden")));
#define CODE_OFFSET 0x200ul

_Static_assert(sizeof(struct order) == 56, "twin_code knows");

static void copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static long trace(struct host_twin *t, long request, u64 addr, void *data)
{
	return sys_call4(SYS_ptrace, request, t->pid, (long)addr, (long)data);
}

/* ---- orders ----------------------------------------------------------------------------------------------------- */

static void settle(struct host_twin *t);

static void order(struct host_twin *t, long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	if (t->nr == ORDERS)
		settle(t);
	if (t->broken)
		return;
	t->orders[t->nr++] = (struct order){ nr, { a, b, c, d, e, f } };
}

void host_twin_map(struct host_twin *t, u64 at, u64 size, int prot, u64 offset)
{
	order(t, SYS_mmap, at, size, (u64)prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, FILE_NUMBER, offset);
}

void host_twin_protect(struct host_twin *t, u64 at, u64 size, int prot)
{
	order(t, SYS_mprotect, at, size, (u64)prot, 0, 0, 0);
}

void host_twin_unmap(struct host_twin *t, u64 at, u64 size)
{
	order(t, SYS_munmap, at, size, 0, 0, 0, 0);
}

/* Where it does, the kernel writes CR4 at each switch from and to the twin, which hypervisors take their time for. */
void host_twin_fault_tsc(struct host_twin *t, bool faults)
{
	if (t->tsc_faults == faults)
		return;
	t->tsc_faults = faults;
	order(t, SYS_prctl, PR_SET_TSC, faults ? PR_TSC_SIGSEGV : PR_TSC_ENABLE, 0, 0, 0, 0);
}

/* Its wait status once it has stopped; -1: it never will. */
static int wait_for(struct host_twin *t)
{
	int status = 0;
	long r;

	do
		r = sys_call4(SYS_wait4, t->pid, (long)&status, __WALL, 0);
	while (r == -EINTR);
	if (r == t->pid && WIFSTOPPED(status))
		return status;
	t->pid = 0; /* it may be somebody else's soon */
	return -1;
}

static bool has_ended(const struct user_regs_struct *regs, const struct host_twin *t)
{
	return regs->rbx == t->base + PAGE + t->nr * sizeof(struct order);
}

/* Goes on until it stops for something else than a signal that somebody has sent. */
static int cont(struct host_twin *t)
{
	int status;

	/* Kicks that come now are of no use: whoever kicks has set the stop word. */
	do
		status = trace(t, PTRACE_CONT, 0, NULL) ? -1 : wait_for(t);
	while (status >= 0 && WSTOPSIG(status) == KICK);
	return status;
}

static struct user_regs_struct ordering(const struct host_twin *t)
{
	return (struct user_regs_struct){
		.rip = t->base + CODE_OFFSET, .rbx = t->base + PAGE, .r12 = (u64)t->secret << 32,
		.orig_rax = (u64)-1, .eflags = 0x202, .cs = 0x33, .ss = 0x2b,
	};
}

static bool carry_out(struct host_twin *t)
{
	struct user_regs_struct regs = ordering(t);
	int status;

	if (trace(t, PTRACE_SETREGS, 0, &regs))
		return false;
	status = cont(t);
	return status >= 0 && !trace(t, PTRACE_GETREGS, 0, &regs) && has_ended(&regs, t);
}

/* Carries out what was ordered, in a run of its own. */
static void settle(struct host_twin *t)
{
	if (!t->nr || t->broken)
		return;
	t->orders[t->nr].nr = STOP_HERE;
	t->broken = !carry_out(t);
	t->nr = 0;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

struct header {
	Elf64_Ehdr elf;
	Elf64_Phdr segment[3];
};

static void write_program(struct host_twin *t)
{
	struct header *h = (struct header *)t->program;

	*h = (struct header){
		.elf = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
			.e_entry = t->base + CODE_OFFSET, .e_phoff = offsetof(struct header, segment),
			.e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3,
		},
		.segment = {
			{ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = t->base, .p_filesz = PAGE,
			  .p_memsz = PAGE, .p_align = PAGE },
			{ .p_type = PT_LOAD, .p_flags = PF_R, .p_offset = PAGE, .p_vaddr = t->base + PAGE,
			  .p_filesz = ORDER_PAGES * PAGE, .p_memsz = ORDER_PAGES * PAGE, .p_align = PAGE },
			{ .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
		},
	};
	copy(t->program + CODE_OFFSET, twin_code, (size_t)(twin_code_end - twin_code));
	t->orders = (struct order *)(t->program + PAGE);
}

/* Somewhere between where programs and their libraries usually are. */
static u64 random_base(void)
{
	u64 n;

	host_random(&n, sizeof(n));
	return 0x100000000000ull + (n & 0x1fffffffull) * PAGE;
}

/*
 * A child on our very stack, which it does not touch: it asks to be traced, keeps one file open under FILE_NUMBER, and executes
 * the program. Returns its number or -errno.
 */
static long spawn(int program, int file)
{
	static const char empty[1];
	long flags = CLONE_VM | CLONE_VFORK;
	register long r8 __asm__("r8") = program;
	register long r9 __asm__("r9") = file;
	register const char *r12 __asm__("r12") = empty;
	long r;

	__asm__ volatile("xor %%esi, %%esi\n\t"
			 "xor %%edx, %%edx\n\t"
			 "xor %%r10d, %%r10d\n\t"
			 "mov %[clone], %%eax\n\t"
			 "mov %%r8, %%r13\n\t"
			 "mov %%r9, %%r14\n\t"
			 "xor %%r8d, %%r8d\n\t"
			 "syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[ptrace], %%eax\n\t"
			 "xor %%edi, %%edi\n\t" /* PTRACE_TRACEME */
			 "syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 2f\n\t"
			 "mov %[dup2], %%eax\n\t"
			 "mov %%r14, %%rdi\n\t"
			 "mov %[number], %%esi\n\t"
			 "syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "js 2f\n\t"
			 "mov %[execveat], %%eax\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "mov %%r12, %%rsi\n\t"
			 "xor %%edx, %%edx\n\t"
			 "xor %%r10d, %%r10d\n\t"
			 "mov %[at_empty_path], %%r8d\n\t"
			 "syscall\n"
			 "2:	mov %[exit], %%eax\n\t"
			 "mov $127, %%edi\n\t"
			 "syscall\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(r), "+D"(flags), "+r"(r8), "+r"(r9)
			 : "r"(r12), [clone] "i"(SYS_clone), [ptrace] "i"(SYS_ptrace), [dup2] "i"(SYS_dup2),
			   [number] "i"(FILE_NUMBER), [execveat] "i"(SYS_execveat), [at_empty_path] "i"(AT_EMPTY_PATH),
			   [exit] "i"(SYS_exit)
			 : "rcx", "rdx", "rsi", "r10", "r11", "r13", "r14", "memory");
	return r;
}

/*
 * What a system call comes to. One to the vsyscall page would be answered by the host's kernel, and sends SIGSYS. Our code's
 * are made, all others stop it.
 */
struct filter {
	struct sock_filter code[17];
	struct sock_fprog program;
};
#define FILTER_OFFSET 0x400ul

#define DATA(field) ((u32)offsetof(struct seccomp_data, field))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
/* Goes on, or skips so many. */
#define ONLY(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped)
#define UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, skipped, 0)

static u64 make_filter(struct host_twin *t)
{
	u64 at = t->base + FILTER_OFFSET, called = t->base + CODE_OFFSET + (u64)(twin_code_called - twin_code);
	struct filter *f = (struct filter *)(t->program + FILTER_OFFSET);

	*f = (struct filter){
		.code = {
			LOAD(DATA(instruction_pointer) + 4),
			UNLESS(0xffffffff, 13),
			ONLY((u32)(called >> 32), 13),
			LOAD(DATA(instruction_pointer)),
			ONLY((u32)called, 11),
			LOAD(DATA(arch)),
			ONLY(AUDIT_ARCH_X86_64, 9),
			LOAD(DATA(nr)),
			UNLESS(SYS_mmap, 3),
			UNLESS(SYS_mprotect, 2),
			UNLESS(SYS_munmap, 1),
			ONLY(SYS_prctl, 4),
			LOAD(DATA(args[4]) + 4),
			ONLY(t->secret, 2),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		},
		.program = { .len = ARRAY_SIZE(f->code), .filter = (struct sock_filter *)at },
	};
	return at + offsetof(struct filter, program);
}

/* The first orders. */
static bool strip(struct host_twin *t)
{
	u64 mask = t->base + PROGRAM_SIZE - sizeof(u64), end = t->base + PROGRAM_SIZE, filter;
	u32 secret;

	*(u64 *)(t->program + PROGRAM_SIZE - sizeof(u64)) = 0;
	order(t, SYS_munmap, 0, t->base, 0, 0, 0, 0);
	order(t, SYS_munmap, end, USER_END - end, 0, 0, 0, 0);
	order(t, SYS_close_range, 0, FILE_NUMBER - 1, 0, 0, 0, 0);
	order(t, SYS_close_range, FILE_NUMBER + 1, ~0u, 0, 0, 0, 0);
	order(t, SYS_rt_sigprocmask, SIG_SETMASK, mask, 0, sizeof(u64), 0, 0);
	host_twin_fault_tsc(t, true);
	order(t, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	host_random(&secret, sizeof(secret));
	t->secret = secret;
	filter = make_filter(t);
	t->secret = 0; /* the calls up to that one have none */
	order(t, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0, 0);
	settle(t);
	t->secret = secret;
	*(struct filter *)(t->program + FILTER_OFFSET) = (struct filter){ 0 };
	return !t->broken;
}

/* It has executed the program, or exited. */
static bool adopt(struct host_twin *t)
{
	u8 image[PAGE]; /* its size alone is of interest */
	struct iovec io = { image, sizeof(image) };

	if (wait_for(t) < 0)
		return false;
	if (trace(t, PTRACE_SETOPTIONS, 0, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP)))
		return false;
	if (trace(t, PTRACE_GETREGSET, NT_X86_XSTATE, &io))
		return false;
	t->xstate_size = (unsigned)io.iov_len;
	return strip(t);
}

static int open_program(struct host_twin *t)
{
	int fd = (int)sys_call3(SYS_memfd_create, (long)"anykvm-twin", MFD_CLOEXEC | MFD_EXEC, 0);
	long p = -1;

	if (fd == -EINVAL)
		fd = (int)sys_call3(SYS_memfd_create, (long)"anykvm-twin", MFD_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	if (!sys_call3(SYS_ftruncate, fd, PROGRAM_SIZE, 0))
		p = sys_mmap(NULL, PROGRAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sys_failed(p)) {
		sys_close(fd);
		return -ENOMEM;
	}
	t->program = (u8 *)p;
	return fd;
}

struct host_twin *host_twin_create(struct host_twin_gate *gate, int file)
{
	struct host_twin *t = host_alloc_pages(sizeof(*t));
	u64 all = HOST_BLOCK_ALL, mask;
	int program;

	if (!t)
		return NULL;
	*t = (struct host_twin){ .gate = gate, .base = random_base(), .tracer = sys_gettid() };
	program = open_program(t);
	if (program >= 0) {
		program = host_fd_move_high(program);
		write_program(t);
		host_signals_ignore_stops();
		sys_sigmask(SIG_BLOCK, &all, &mask);
		t->pid = (int)spawn(program, file);
		sys_sigmask(SIG_SETMASK, &mask, NULL);
		sys_close(program);
	}
	if (t->pid > 0 && adopt(t))
		return t;
	host_twin_destroy(t);
	return NULL;
}

bool host_twin_clear(struct host_twin *t)
{
	u64 end = t->base + PROGRAM_SIZE;

	t->nr = 0;
	for (unsigned n = 0; n < HOST_TWIN_BREAKS; n++)
		host_twin_break(t, n, 0);
	host_twin_unmap(t, 0, t->base);
	host_twin_unmap(t, end, USER_END - end);
	return t->pid && !t->broken && t->tracer == sys_gettid();
}

void host_twin_destroy(struct host_twin *t)
{
	if (t->pid > 0) {
		sys_call3(SYS_kill, t->pid, SIGKILL, 0);
		while (sys_call4(SYS_wait4, t->pid, 0, __WALL, 0) == -EINTR)
			;
	}
	if (t->program)
		sys_munmap(t->program, PROGRAM_SIZE);
	host_free_pages(t, sizeof(*t));
}

unsigned host_twin_xstate_size(const struct host_twin *t)
{
	return t->xstate_size;
}

bool host_twin_get_xstate(struct host_twin *t, void *image)
{
	struct iovec io = { image, t->xstate_size };

	return !trace(t, PTRACE_GETREGSET, NT_X86_XSTATE, &io);
}

/*
 * XSAVE says that SSE's state is initial if all of XMM is, whatever MXCSR has; the kernel then takes no MXCSR from the image.
 * What it gives is right: it uses XSAVES, which looks at MXCSR, too.
 */
static void name_sse(void *xstate)
{
	u64 *xstate_bv = (u64 *)((u8 *)xstate + 512);

	*xstate_bv |= 2;
}

bool host_twin_set_xstate(struct host_twin *t, void *image)
{
	struct iovec io = { image, t->xstate_size };

	name_sse(image);
	t->broken |= trace(t, PTRACE_SETREGSET, NT_X86_XSTATE, &io);
	return !t->broken;
}

u64 host_twin_private(const struct host_twin *t, u64 *size)
{
	*size = PROGRAM_SIZE;
	return t->base;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

static struct frame frame_of(const struct host_twin_state *s)
{
	const u64 *r = s->gpr;

	return (struct frame){
		r[HOST_R15], r[HOST_R14], r[HOST_R13], r[HOST_R12], r[HOST_R11], r[HOST_R10], r[HOST_R9], r[HOST_R8],
		r[HOST_RDI], r[HOST_RSI], r[HOST_RBP], r[HOST_RBX], r[HOST_RDX], r[HOST_RCX], r[HOST_RAX],
		s->rip, s->cs, s->rflags, r[HOST_RSP], s->ss,
	};
}

/* The general registers, or those that order what is to be done first. */
static struct user_regs_struct first_registers(struct host_twin *t, const struct host_twin_state *s)
{
	const u64 *r = s->gpr;

	if (t->nr) {
		t->orders[t->nr].nr = GO_ON;
		t->orders[t->nr].arg[0] = t->base + FRAME_OFFSET;
		*(struct frame *)(t->program + FRAME_OFFSET) = frame_of(s);
		return ordering(t);
	}
	return (struct user_regs_struct){
		.rax = r[HOST_RAX], .rcx = r[HOST_RCX], .rdx = r[HOST_RDX], .rbx = r[HOST_RBX],
		.rsp = r[HOST_RSP], .rbp = r[HOST_RBP], .rsi = r[HOST_RSI], .rdi = r[HOST_RDI],
		.r8 = r[HOST_R8],   .r9 = r[HOST_R9],   .r10 = r[HOST_R10], .r11 = r[HOST_R11],
		.r12 = r[HOST_R12], .r13 = r[HOST_R13], .r14 = r[HOST_R14], .r15 = r[HOST_R15],
		.rip = s->rip, .eflags = s->rflags, .cs = s->cs, .ss = s->ss, .orig_rax = (u64)-1,
	};
}

static bool put(struct host_twin *t, const struct host_twin_state *s)
{
	struct user_regs_struct regs = first_registers(t, s);

	regs.fs_base = s->fs_base;
	regs.gs_base = s->gs_base;
	regs.ds = s->ds;
	regs.es = s->es;
	regs.fs = s->fs;
	regs.gs = s->gs;
	return !trace(t, PTRACE_SETREGS, 0, &regs);
}

/* It is in our code for orders of ours: has the secret still, or takes registers from the frame. */
static bool is_at_orders(const struct host_twin *t, const struct user_regs_struct *regs)
{
	return t->nr && (regs->r12 == (u64)t->secret << 32 || regs->rsp - t->base - FRAME_OFFSET < sizeof(struct frame));
}

/*
 * Where it is still at its orders it shall carry them out, and go no further: all is as if it had not run. Behind them it must
 * not go on at all: it may know already that foreign code comes next.
 */
static enum host_twin_stop stopped_at_orders(struct host_twin *t, struct user_regs_struct *regs, int status)
{
	if (WSTOPSIG(status) != KICK) {
		t->broken = true;
	} else if (regs->rip - t->base < CODE_OFFSET + (u64)(twin_code_goes_on - twin_code) && !has_ended(regs, t)) {
		t->orders[t->nr].nr = STOP_HERE;
		t->broken = cont(t) < 0 || trace(t, PTRACE_GETREGS, 0, regs) || !has_ended(regs, t);
	}
	t->nr = 0;
	return t->broken ? HOST_TWIN_REFUSED : HOST_TWIN_KICKED;
}

static bool is_ours(const struct host_twin *t, u64 rip)
{
	return rip - t->base < PAGE;
}

static void take(struct host_twin_state *s, const struct user_regs_struct *from, bool syscall)
{
	struct user_regs_struct regs = *from;

	s->gpr[HOST_RAX] = syscall ? regs.orig_rax : regs.rax;
	s->gpr[HOST_RCX] = regs.rcx;
	s->gpr[HOST_RDX] = regs.rdx;
	s->gpr[HOST_RBX] = regs.rbx;
	s->gpr[HOST_RSP] = regs.rsp;
	s->gpr[HOST_RBP] = regs.rbp;
	s->gpr[HOST_RSI] = regs.rsi;
	s->gpr[HOST_RDI] = regs.rdi;
	s->gpr[HOST_R8] = regs.r8;
	s->gpr[HOST_R9] = regs.r9;
	s->gpr[HOST_R10] = regs.r10;
	s->gpr[HOST_R11] = regs.r11;
	s->gpr[HOST_R12] = regs.r12;
	s->gpr[HOST_R13] = regs.r13;
	s->gpr[HOST_R14] = regs.r14;
	s->gpr[HOST_R15] = regs.r15;
	s->rip = regs.rip;
	s->rflags = regs.eflags;
	s->fs_base = regs.fs_base;
	s->gs_base = regs.gs_base;
	s->cs = (u16)regs.cs;
	s->ss = (u16)regs.ss;
	s->ds = (u16)regs.ds;
	s->es = (u16)regs.es;
	s->fs = (u16)regs.fs;
	s->gs = (u16)regs.gs;
}

void host_twin_break(struct host_twin *t, unsigned n, u64 addr)
{
	t->breaks_changed |= t->breaks[n] != addr;
	t->breaks[n] = addr;
}

static bool set_debug_register(struct host_twin *t, unsigned n, u64 value)
{
	return !trace(t, PTRACE_POKEUSER, offsetof(struct user, u_debugreg) + n * sizeof(u64), (void *)value);
}

/* DR7 (SDM vol. 3, 17.2.4): instruction breakpoints that are enabled locally. */
static bool set_breaks(struct host_twin *t)
{
	u64 dr7 = 0;

	if (!t->breaks_changed)
		return true;
	t->breaks_changed = false;
	if (!set_debug_register(t, 7, 0))
		return false;
	for (unsigned n = 0; n < HOST_TWIN_BREAKS; n++) {
		if (t->breaks[n] && !set_debug_register(t, n, t->breaks[n]))
			return false;
		dr7 |= t->breaks[n] ? BIT64(2 * n) : 0;
	}
	return !dr7 || set_debug_register(t, 7, dr7);
}

/* Of its memory; 0 if there is none. */
static u8 byte_at(struct host_twin *t, u64 addr)
{
	u64 word = 0;

	trace(t, PTRACE_PEEKTEXT, addr & ~7ull, &word);
	return (u8)(word >> 8 * (addr & 7));
}

/* INT3 has two forms; INT1 stops behind it, but not under all hypervisors. */
static unsigned trap_size(struct host_twin *t, u64 rip, int code)
{
	u8 last = byte_at(t, rip - 1);

	if (code == SI_KERNEL)
		return last == 3 ? 2 : 1;
	return last != 0xf1 && byte_at(t, rip) == 0xf1 ? 0 : 1;
}

static enum host_twin_stop trapped(struct host_twin *t, struct host_twin_state *s)
{
	siginfo_t info;

	if (trace(t, PTRACE_GETSIGINFO, 0, &info) || info.si_code <= 0)
		return HOST_TWIN_KICKED; /* sent by somebody */
	if (info.si_code == TRAP_TRACE)
		return HOST_TWIN_STEPPED;
	if (info.si_code != TRAP_HWBKPT)
		s->rip -= trap_size(t, s->rip, info.si_code);
	return HOST_TWIN_FAULT;
}

u64 host_twin_fault_address(struct host_twin *t)
{
	siginfo_t info;

	if (t->broken || trace(t, PTRACE_GETSIGINFO, 0, &info) || info.si_code <= 0 || info.si_code == SI_KERNEL)
		return 0;
	return info.si_signo == SIGSEGV || info.si_signo == SIGBUS ? (u64)info.si_addr : 0;
}

/* The kernel has returned from the vsyscall page by itself, with its number in RAX: what was there is not known any more. */
static enum host_twin_stop called_vsyscall(struct host_twin *t, struct host_twin_state *s)
{
	siginfo_t info;

	if (trace(t, PTRACE_GETSIGINFO, 0, &info) || info.si_code <= 0)
		return HOST_TWIN_KICKED;
	s->rip = (u64)info.si_call_addr;
	s->gpr[HOST_RSP] -= 8;
	return HOST_TWIN_FAULT;
}

static enum host_twin_stop understand(struct host_twin *t, struct host_twin_state *s, int sig)
{
	switch (sig) {
	case SIGTRAP:
		return trapped(t, s);
	case SIGSEGV: /* if somebody has sent them, it is taken for a fault as well */
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
		return HOST_TWIN_FAULT;
	case SIGSYS:
		return called_vsyscall(t, s);
	default:
		return HOST_TWIN_KICKED;
	}
}

/* ---- processors ------------------------------------------------------------------------------------------------------- */

#define CPUS 1024u

struct cpus {
	u64 bits[CPUS / 64];
};

static struct cpus taken; /* a: by a thread and its twins */
static HOST_PER_THREAD unsigned pinned; /* + 1; 0: to none */
static HOST_PER_THREAD struct cpus before;

static bool has(const struct cpus *c, unsigned cpu)
{
	return c->bits[cpu / 64] >> (cpu % 64) & 1;
}

static bool take_cpu(unsigned cpu)
{
	u64 bit = 1ull << (cpu % 64);

	return !(__atomic_fetch_or(&taken.bits[cpu / 64], bit, __ATOMIC_RELAXED) & bit);
}

static void leave_cpu(unsigned cpu)
{
	__atomic_fetch_and(&taken.bits[cpu / 64], ~(1ull << (cpu % 64)), __ATOMIC_RELAXED);
}

static bool set_affinity(int pid, const struct cpus *c)
{
	return sys_call3(SYS_sched_setaffinity, pid, sizeof(*c), (long)c) >= 0;
}

static struct cpus just(unsigned cpu)
{
	struct cpus c = { 0 };

	c.bits[cpu / 64] = 1ull << (cpu % 64);
	return c;
}

/* Its own if nobody else has it, else another; CPUS: there is none. */
static unsigned find_cpu(void)
{
	unsigned own = host_cpu_number();

	if (own < CPUS && take_cpu(own))
		return own;
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		if (has(&before, cpu) && take_cpu(cpu))
			return cpu;
	}
	return CPUS;
}

static void pin(void)
{
	struct cpus one;
	unsigned cpu;

	before = (struct cpus){ 0 };
	if (sys_call3(SYS_sched_getaffinity, 0, sizeof(before), (long)&before) < 0)
		return;
	cpu = find_cpu();
	if (cpu == CPUS)
		return;
	one = just(cpu);
	if (set_affinity(0, &one))
		pinned = cpu + 1;
	else
		leave_cpu(cpu);
}

/* Not inline: every exit passes by, and would clear what this looks at. */
static __attribute__((noinline)) void unpin(void)
{
	struct cpus now = { 0 }, one = just(pinned - 1);

	/* Unless somebody else has decided meanwhile. */
	if (sys_call3(SYS_sched_getaffinity, 0, sizeof(now), (long)&now) >= 0 && !memcmp(&now, &one, sizeof(now)))
		set_affinity(0, &before);
	leave_cpu(pinned - 1);
	pinned = 0;
}

void host_twin_unpin(void)
{
	if (unlikely(pinned))
		unpin();
}

static void follow(struct host_twin *t)
{
	struct cpus one;

	if (!pinned)
		pin();
	if (t->cpu == pinned)
		return;
	one = pinned ? just(pinned - 1) : before;
	set_affinity(t->pid, &one);
	t->cpu = pinned;
}

static void set_running(struct host_twin *t, int pid)
{
	host_mutex_lock(&t->gate->lock);
	t->gate->running = pid;
	host_mutex_unlock(&t->gate->lock);
}

/* Returns its wait status, -1 if it is gone, 0 if it was not to run. */
static int run(struct host_twin *t, const u32 *stop)
{
	int status = 0;

	current_gate = t->gate;
	set_running(t, t->pid);
	/* Who sets it from here on finds the twin running. */
	if (!__atomic_load_n(stop, __ATOMIC_SEQ_CST))
		status = trace(t, PTRACE_CONT, 0, NULL) ? -1 : wait_for(t);
	set_running(t, 0);
	current_gate = NULL;
	return status;
}

enum host_twin_stop host_twin_run(struct host_twin *t, struct host_twin_state *s, const u32 *stop)
{
	struct user_regs_struct regs;
	bool syscall;
	int status;

	follow(t);
	t->broken = t->broken || !set_breaks(t) || !put(t, s);
	if (t->broken)
		return HOST_TWIN_REFUSED;
	status = run(t, stop);
	if (!status)
		return HOST_TWIN_KICKED;
	t->broken = status < 0 || trace(t, PTRACE_GETREGS, 0, &regs);
	if (t->broken)
		return HOST_TWIN_GONE;
	if (is_ours(t, regs.rip)) {
		if (is_at_orders(t, &regs))
			return stopped_at_orders(t, &regs, status);
		t->broken = true; /* foreign code has come here: it shall not guess the secret twice */
	}
	t->nr = 0;
	syscall = status >> 16 == PTRACE_EVENT_SECCOMP;
	take(s, &regs, syscall);
	return syscall ? HOST_TWIN_SYSCALL : understand(t, s, WSTOPSIG(status));
}

void host_twin_kick(struct host_twin_gate *gate)
{
	host_mutex_lock(&gate->lock);
	if (gate->running)
		sys_call3(SYS_tgkill, gate->running, gate->running, KICK);
	host_mutex_unlock(&gate->lock);
}

void host_twin_interrupt(void)
{
	struct host_twin_gate *gate = current_gate;
	int pid = gate ? atomic_read(&gate->running) : 0;

	if (pid)
		sys_call3(SYS_tgkill, pid, pid, KICK);
}
