/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lock-step execution. The interpreter goes first, with an empty TLB and memory functions of its own, which walk the
 * guest's page tables for each access and note in a journal what was there before a write; so it is an oracle for the TLB
 * as well. Then the journal is undone, the registers are set back, the translation runs, and registers, flags, vector
 * state, the way it ended and all memory that the interpreter wrote are compared.
 *
 * Not compared: what has effects beyond registers and memory, or another result each time (lockstep_alone()), blocks that
 * meet MMIO or write code, which the interpreter gives up; flags that the manuals leave undefined; blocks whose translation
 * refused to run (cpu->stop, code changed) or was interrupted. A store of the translation to where the interpreter wrote
 * nothing shows only if it hits what the interpreter compares later.
 *
 * One vCPU and no devices that write memory: others are not held while the two run.
 */
#include "engine/soft/jit.h"
#include "engine/soft/lockstep.h"
#include "host/host.h"
#include "host/user/sys.h"
#include "x86/opcodes.h"
#include "x86/paging.h"
#include "x86/system.h"

#define JOURNAL_ENTRIES 4096u
#define JOURNAL_BYTES (1u << 20)
#define XSAVE_ROOM 4096u
#define XSAVE_COMPONENTS 0xe7u	/* x87, SSE, AVX, AVX-512 */
#define REFUSALS_MAX 100000u

struct written {
	u8 *host;
	u32 size, at;	/* at: of the old bytes in before[], and later of the new ones in after[] */
};

/* What instructions that are compared can change of struct x86_cpu, besides `stop`. */
struct snapshot {
	u64 regs[X86_NR_REGS];
	u32 cc, rflags;
	u64 seg_base[X86_NR_SREGS];
	u64 gs_base, kernel_gs_base;
	struct x86_exception fault;
	struct x86_tlb_entry *tlb;
	u64 fpu_ip, fpu_dp;
	u16 fpu_cs, fpu_ds, fpu_op;
	u8 shadow;
	bool align_check;
	u8 xsave[XSAVE_ROOM] __attribute__((aligned(64)));
};

struct lockstep {
	struct snapshot start, interpreted, translated;
	struct x86_tlb_entry empty[X86_TLB_SIZE];
	struct x86_mem_ops ops;
	bool given_up;		/* the block met what cannot be done twice */
	unsigned refused;	/* in a row */
	unsigned nr;
	u32 used;
	struct written written[JOURNAL_ENTRIES];
	u8 before[JOURNAL_BYTES], after[JOURNAL_BYTES];
};

static struct lockstep *lockstep_of(struct x86_cpu *cpu)
{
	return soft_of(cpu)->lockstep;
}

bool lockstep_alone(const struct x86_insn *insn)
{
	switch (insn->op) {
	case X86_OP_PUSHF:
	case X86_OP_CLI:
	case X86_OP_STAC:
	case X86_OP_CLAC:
	case X86_OP_SWAPGS:
	case X86_OP_RDFSBASE:
	case X86_OP_RDGSBASE:
		return false;
	case X86_OP_MOVS:
	case X86_OP_CMPS:
	case X86_OP_STOS:
	case X86_OP_LODS:
	case X86_OP_SCAS:
		return insn->prefix & (X86_PFX_REP | X86_PFX_REPNE);
	default:
		return insn->desc->flags & (X86_F_SENSITIVE | X86_F_END | X86_F_CPL0);
	}
}

/* ---- the interpreter's memory -------------------------------------------------------------------------------- */

static enum x86_result give_up(struct lockstep *l)
{
	l->given_up = true;
	return X86_EXIT;
}

static enum x86_result note(struct lockstep *l, u8 *host, unsigned size)
{
	if (l->nr == JOURNAL_ENTRIES || JOURNAL_BYTES - l->used < size)
		return give_up(l);
	memcpy(l->before + l->used, host, size);
	l->written[l->nr++] = (struct written){ host, size, l->used };
	l->used += size;
	return X86_OK;
}

/* Plain memory behind [gva, gva + size), of one page. */
static enum x86_result walk(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, u8 **host)
{
	struct lockstep *l = lockstep_of(cpu);
	struct vm *vm = vcpu_of(cpu)->vm;
	struct x86_translation t;
	struct memslot *slot;
	enum x86_result r = x86_walk(cpu, gva, access, true, &t);

	if (r)
		return r;
	*host = (u8 *)soft_ram(cpu, t.gpa, &slot);
	if (!*host)
		return give_up(l);
	if (!(access & X86_ACCESS_WRITE))
		return X86_OK;
	if ((slot->flags & KVM_MEM_READONLY) || code_page_armed(code_page_find(vm, (u64)*host & PAGE_MASK)))
		return give_up(l);
	memslot_mark_dirty(vcpu_of(cpu), slot, t.gpa >> 12);
	return access & (X86_ACCESS_RMW | X86_ACCESS_PROBE) ? X86_OK : note(l, *host, size);
}

/* Both pages before anything is moved; host[1] NULL: there is one. */
static enum x86_result walk_range(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, u8 *host[2], unsigned *first)
{
	u64 second;
	enum x86_result r;

	*first = (unsigned)min_u64(size, PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	host[1] = NULL;
	r = walk(cpu, gva, *first, access, &host[0]);
	if (r || *first == size)
		return r;
	second = cpu->code_bits == 64 ? gva + *first : (u32)(gva + *first);
	return walk(cpu, second, size - *first, access, &host[1]);
}

static enum x86_result lockstep_read(struct x86_cpu *cpu, u64 gva, void *dst, unsigned size, unsigned access)
{
	unsigned first;
	u8 *host[2];
	enum x86_result r = walk_range(cpu, gva, size, access, host, &first);

	if (r || (access & X86_ACCESS_PROBE))
		return r;
	memcpy(dst, host[0], first);
	if (host[1])
		memcpy((u8 *)dst + first, host[1], size - first);
	return X86_OK;
}

static enum x86_result lockstep_write(struct x86_cpu *cpu, u64 gva, const void *src, unsigned size, unsigned access)
{
	unsigned first;
	u8 *host[2];
	enum x86_result r = walk_range(cpu, gva, size, access | X86_ACCESS_WRITE, host, &first);

	if (r || (access & X86_ACCESS_PROBE))
		return r;
	memcpy(host[0], src, first);
	if (host[1])
		memcpy(host[1], (const u8 *)src + first, size - first);
	return X86_OK;
}

static enum x86_result lockstep_pin(struct x86_cpu *cpu, u64 gva, unsigned size, unsigned access, void **host)
{
	*host = NULL;
	if ((gva & (PAGE_SIZE - 1)) + size > PAGE_SIZE)
		return X86_OK;
	return walk(cpu, gva, size, access & ~X86_ACCESS_RMW, (u8 **)host);
}

static void undo(struct lockstep *l)
{
	for (unsigned n = 0; n < l->nr; n++)
		memcpy(l->after + l->written[n].at, l->written[n].host, l->written[n].size);
	for (unsigned n = l->nr; n--;)
		memcpy(l->written[n].host, l->before + l->written[n].at, l->written[n].size);
}

/* ---- registers ------------------------------------------------------------------------------------------------- */

static bool uses_vectors(const struct block *b)
{
	for (unsigned n = 0; n < b->nr; n++)
		if (b->insn[n].desc->state != X86_STATE_INT)
			return true;
	return false;
}

static void save(const struct x86_cpu *cpu, struct snapshot *s, u32 vectors)
{
	memcpy(s->regs, cpu->regs, sizeof(s->regs));
	memcpy(s->seg_base, cpu->seg_base, sizeof(s->seg_base));
	s->gs_base = cpu->seg[X86_GS].base;
	s->kernel_gs_base = cpu->msr.kernel_gs_base;
	s->cc = cpu->cc;
	s->rflags = cpu->rflags;
	s->fault = cpu->fault;
	s->tlb = cpu->tlb;
	s->fpu_ip = cpu->fpu_ip;
	s->fpu_dp = cpu->fpu_dp;
	s->fpu_cs = cpu->fpu_cs;
	s->fpu_ds = cpu->fpu_ds;
	s->fpu_op = cpu->fpu_op;
	s->shadow = cpu->shadow;
	s->align_check = cpu->align_check;
	if (vectors)
		__asm__ volatile("xsave64 %0" : "+m"(s->xsave) : "a"(vectors), "d"(0));
}

static void load(struct x86_cpu *cpu, const struct snapshot *s, u32 vectors)
{
	memcpy(cpu->regs, s->regs, sizeof(s->regs));
	memcpy(cpu->seg_base, s->seg_base, sizeof(s->seg_base));
	cpu->seg[X86_GS].base = s->gs_base;
	cpu->msr.kernel_gs_base = s->kernel_gs_base;
	cpu->cc = s->cc;
	cpu->rflags = s->rflags;
	cpu->fault = s->fault;
	cpu->tlb = s->tlb;
	cpu->fpu_ip = s->fpu_ip;
	cpu->fpu_dp = s->fpu_dp;
	cpu->fpu_cs = s->fpu_cs;
	cpu->fpu_ds = s->fpu_ds;
	cpu->fpu_op = s->fpu_op;
	cpu->shadow = s->shadow;
	cpu->align_check = s->align_check;
	if (vectors)
		__asm__ volatile("xrstor64 %0" : : "m"(s->xsave), "a"(vectors), "d"(0) : "memory");
}

/* ---- differences ------------------------------------------------------------------------------------------------ */

static char *put_text(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

static char *put_hex(char *to, u64 n, unsigned digits)
{
	for (unsigned shift = 4 * digits; shift;) {
		shift -= 4;
		*to++ = "0123456789abcdef"[n >> shift & 15];
	}
	return to;
}

static void tell(const char *what, u64 a, u64 b, u64 c)
{
	char line[160], *end = put_text(line, "lockstep: ");

	end = put_text(end, what);
	end = put_hex(put_text(end, " start "), a, 16);
	end = put_hex(put_text(end, " interpreter "), b, 16);
	end = put_hex(put_text(end, " translation "), c, 16);
	*end++ = '\n';
	sys_write(2, line, (size_t)(end - line));
}

static void tell_code(const struct block *b)
{
	char line[64 + 2 * BLOCK_MAX_INSNS * X86_MAX_INSN_LEN], *end = put_text(line, "lockstep: code ");

	for (unsigned n = 0; n < b->nr; n++)
		for (unsigned i = 0; i < b->insn[n].len; i++)
			end = put_hex(end, b->insn[n].bytes[i], 2);
	*end++ = '\n';
	sys_write(2, line, (size_t)(end - line));
}

static _Noreturn void differ(const struct lockstep *l, const struct block *b, const char *what, u64 x, u64 y)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
					     "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "zero", "rip" };

	tell(what, 0, x, y);
	tell_code(b);
	for (unsigned n = 0; n < X86_NR_REGS; n++)
		tell(names[n], l->start.regs[n], l->interpreted.regs[n], l->translated.regs[n]);
	tell("cc", l->start.cc, l->interpreted.cc, l->translated.cc);
	tell("rflags", l->start.rflags, l->interpreted.rflags, l->translated.rflags);
	for (;;)
		sys_call3(SYS_exit_group, 134, 0, 0);
}

/* Of the instructions before end, the last that writes each flag decides. */
static u32 undefined_flags(const struct block *b, unsigned end)
{
	u32 undefined = 0;

	for (unsigned n = 0; n < end && n < b->nr; n++) {
		const struct x86_opcode *desc = b->insn[n].desc;

		/* A shift by no bits writes none. */
		if (b->insn[n].op < X86_OP_ROL || b->insn[n].op > X86_OP_SHRD)
			undefined &= ~desc->flags_written;
		undefined |= desc->flags_undefined;
	}
	return undefined;
}

static void compare_registers(const struct lockstep *l, const struct block *b, u32 undefined)
{
	const struct snapshot *i = &l->interpreted, *t = &l->translated;

	for (unsigned n = 0; n < X86_NR_REGS; n++)
		if (i->regs[n] != t->regs[n])
			differ(l, b, "register", i->regs[n], t->regs[n]);
	if ((i->cc ^ t->cc) & ~undefined)
		differ(l, b, "flags", i->cc, t->cc);
	if (i->rflags != t->rflags || i->shadow != t->shadow || i->align_check != t->align_check)
		differ(l, b, "rflags", i->rflags, t->rflags);
	if (i->tlb != t->tlb)
		differ(l, b, "tlb set", (u64)i->tlb, (u64)t->tlb);
	for (unsigned n = 0; n < X86_NR_SREGS; n++)
		if (i->seg_base[n] != t->seg_base[n])
			differ(l, b, "segment base", i->seg_base[n], t->seg_base[n]);
	if (i->gs_base != t->gs_base || i->kernel_gs_base != t->kernel_gs_base)
		differ(l, b, "GS base", i->gs_base, t->gs_base);
	if (i->fpu_ip != t->fpu_ip || i->fpu_dp != t->fpu_dp || i->fpu_op != t->fpu_op)
		differ(l, b, "x87 pointers", i->fpu_ip, t->fpu_ip);
}

/* The host's x87 pointers (FOP, FIP, FDP: bytes 6 to 23) are those of host code; the header is no state. */
static void compare_vectors(const struct lockstep *l, const struct block *b)
{
	const u8 *i = l->interpreted.xsave, *t = l->translated.xsave;

	for (unsigned n = 0; n < XSAVE_ROOM; n++) {
		if ((n >= 6 && n < 24) || n == 5 || (n >= 464 && n < 576))
			continue;
		if (i[n] != t[n])
			differ(l, b, "byte of the XSAVE area", (u64)n << 32 | i[n], (u64)n << 32 | t[n]);
	}
}

static void compare_memory(const struct lockstep *l, const struct block *b)
{
	for (unsigned n = 0; n < l->nr; n++) {
		const struct written *w = &l->written[n];

		if (memcmp(w->host, l->after + w->at, w->size))
			differ(l, b, "memory", *(const u8 *)(l->after + w->at), *w->host);
	}
}

static void compare_faults(const struct lockstep *l, const struct block *b)
{
	const struct x86_exception *i = &l->interpreted.fault, *t = &l->translated.fault;

	if (i->vector != t->vector || i->has_error != t->has_error || (i->has_error && i->error != t->error))
		differ(l, b, "exception", (u64)i->error << 32 | i->vector, (u64)t->error << 32 | t->vector);
	if (i->vector == X86_PF_VECTOR && i->payload != t->payload)
		differ(l, b, "CR2", i->payload, t->payload);
}

/* ---- a block -------------------------------------------------------------------------------------------------------- */

static enum x86_result interpret(struct x86_cpu *cpu, struct soft_vcpu *soft, const struct block *b)
{
	const struct x86_mem_ops *ops = cpu->mem;
	struct lockstep *l = soft->lockstep;
	const struct x86_insn *insn = b->insn;
	struct x86_tlb_entry *tlb = cpu->tlb;
	enum x86_result r;

	l->nr = l->used = 0;
	l->given_up = false;
	cpu->mem = &l->ops;
	cpu->tlb = l->empty;
	do {
		soft->insn = insn;
		r = insn->exec(cpu, insn);
		insn++;
		if (cpu->tlb != l->empty) /* STAC, CLAC */
			tlb = cpu->tlb;
		cpu->tlb = l->empty;
	} while (r == X86_OK);
	cpu->mem = ops;
	cpu->tlb = tlb;
	return r;
}

/* The translation did nothing: cpu->stop, or the block is not valid any more. Not for ever. */
static bool refused(struct lockstep *l, const struct block *b, enum x86_result r)
{
	if (r != X86_BRANCH || memcmp(l->start.regs, l->translated.regs, sizeof(l->start.regs))) {
		l->refused = 0;
		return false;
	}
	if (++l->refused > REFUSALS_MAX)
		differ(l, b, "it does not run", 0, 0);
	return true;
}

/* The first executions of a block, then now and then one: so that a whole system can run. */
static bool due(struct block *b)
{
	u32 n = ++b->heat;

	return n < 64 || n % 64 == 0;
}

enum x86_result lockstep_run(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b)
{
	struct lockstep *l = soft->lockstep;
	u32 vectors = uses_vectors(b) ? (u32)x86_fpu_host_xcr0() & XSAVE_COMPONENTS : 0;
	const struct x86_insn *last;
	enum x86_result i, t;

	if (!due(b) || lockstep_alone(&b->insn[0]))
		return soft->jit->enter(cpu, b->code);
	save(cpu, &l->start, vectors);
	i = interpret(cpu, soft, b);
	last = soft->insn;
	save(cpu, &l->interpreted, vectors);
	undo(l);
	load(cpu, &l->start, vectors);
	t = soft->jit->enter(cpu, b->code);
	if (l->given_up)
		return t;
	save(cpu, &l->translated, vectors);
	if (i != t && atomic_read(&cpu->stop))
		return t;
	if (refused(l, b, t) && (i != t || memcmp(l->start.regs, l->interpreted.regs, sizeof(l->start.regs)) ||
				 atomic_read(&cpu->stop) || soft->jit->declined))
		return t;
	if (i != t || (i != X86_BRANCH && last != soft->insn))
		differ(l, b, "result", (u64)i, (u64)t);
	if (i == X86_FAULT)
		compare_faults(l, b);
	compare_registers(l, b, undefined_flags(b, (unsigned)(last - b->insn) + (i != X86_FAULT)));
	if (vectors)
		compare_vectors(l, b);
	compare_memory(l, b);
	soft->stat->lockstep_blocks++;
	return t;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

struct lockstep *lockstep_create(void)
{
	struct lockstep *l = host_alloc_pages(sizeof(*l));

	if (!l)
		return NULL;
	l->ops = soft_mem_ops;
	l->ops.read = lockstep_read;
	l->ops.write = lockstep_write;
	l->ops.pin = lockstep_pin;
	/* Page addresses of other indices hit nothing. */
	for (unsigned n = 0; n < X86_TLB_SIZE; n++)
		l->empty[n].tag_read = l->empty[n].tag_write = (u64)(n ^ 1) << 12;
	return l;
}

void lockstep_destroy(struct lockstep *l)
{
	host_free_pages(l, sizeof(*l));
}
