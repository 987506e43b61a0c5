/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stubs and where they are kept.
 *
 * Stubs are shared by all vCPUs of the process: they depend on the instruction's normalised encoding alone.
 * A chained hash table is read without lock; `native.lock` serialises insertion, and a description is
 * complete before it is linked. Nothing is ever removed. A guest can make more encodings than we care to
 * keep: when the table is full, each processor rewrites a page of its own for every execution of an
 * instruction that is not in it: slow, but correct.
 *
 * Lock order: native.lock is a leaf.
 */
#include "engine/soft/code.h"
#include "engine/soft/native_op.h"
#include "host/host.h"
#include "x86/opcodes.h"

#define MAX_OPS 65536u
#define BUCKETS 16384u
#define SPARE_SIZE 4096u

/* When the shared memory is full: one stub of a processor's own. */
struct spare {
	struct code_region region;
	struct native_op op;
};

static struct {
	struct host_mutex lock;
	u64 mm_id;			   /* (lock) the address space that it was set up in */
	struct code_region region;	   /* (lock) */
	struct native_op *ops;		   /* MAX_OPS, address-space only until used; (lock) to add */
	u32 used;			   /* (lock) */
	struct native_op *bucket[BUCKETS]; /* (lock) to write */
} native;

/*
 * A child after fork shares the stub memory with its parent but not the table: it starts with memory of its
 * own.
 */
int native_init(void)
{
	u64 mm = host_mm_id();
	int r = 0;

	if (atomic_read_acquire(&native.mm_id) == mm)
		return 0;
	if (native.mm_id)
		host_mutex_init(&native.lock);
	host_mutex_lock(&native.lock);
	if (native.mm_id == mm)
		goto out;
	x86_fpu_probe();
	if (native.used)
		memset(native.bucket, 0, sizeof(native.bucket));
	native.used = 0;
	if (!native.ops)
		native.ops = host_alloc_pages(MAX_OPS * sizeof(*native.ops));
	r = native.ops ? code_create(&native.region, MAX_OPS * 64) : -12; /* ENOMEM */
	if (r == 0)
		r = native_vector_init();
	if (r == 0)
		atomic_set_release(&native.mm_id, mm);
out:
	host_mutex_unlock(&native.lock);
	return r;
}

void native_cpu_destroy(struct x86_cpu *cpu)
{
	struct spare *s = cpu->native_spare;

	if (!s)
		return;
	code_destroy(&s->region);
	host_free_pages(s, sizeof(*s));
	cpu->native_spare = NULL;
}

/* ---- traits ------------------------------------------------------------------------------------------ */

static void state_traits(struct native_traits *t, unsigned state)
{
	t->state = (u8)state;
	t->cr0_clear = X86_CR0_TS;
	t->unmasked = X86_FPU_AWAY;
	switch (state) {
	case X86_STATE_INT:
		t->cr0_clear = 0;
		t->unmasked = 0;
		break;
	case X86_STATE_X87:
	case X86_STATE_MMX:
		t->cr0_clear |= X86_CR0_EM;
		break;
	case X86_STATE_SSE:
		t->cr0_clear |= X86_CR0_EM;
		t->cr4_set = X86_CR4_OSFXSR;
		break;
	case X86_STATE_AVX512:
		t->xcr0_set = X86_XCR0_AVX512;
		/* fall through */
	case X86_STATE_AVX:
		t->xcr0_set |= X86_XCR0_SSE | X86_XCR0_AVX;
		t->cr4_set = X86_CR4_OSXSAVE;
		t->min_mode = X86_MODE_PROT;
		break;
	}
}

static bool has_mmx_operand(const struct x86_insn *insn)
{
	for (int i = 0; i < insn->nr_operands; i++)
		if (insn->operand[i].kind == X86_OPD_MMX)
			return true;
	return false;
}

/* AMD's processors (seen on Zen 3) do not ask for aligned operands of these. */
static bool is_sha(const struct x86_insn *insn)
{
	return insn->desc->feature == X86_FEAT_SHA;
}

static void memory_traits(struct native_traits *t, const struct x86_insn *insn)
{
	u32 flags = insn->desc->flags;
	int m = rename_mem_operand(insn);

	if (flags & X86_F_IMPLICIT_DI) {
		t->flags |= NATIVE_DI;
		t->mem_size = has_mmx_operand(insn) ? 8 : 16;
		t->mem_access = X86_ACC_W;
		return;
	}
	if (m < 0)
		return;
	t->mem_size = insn->operand[m].size;
	t->mem_access = insn->operand[m].access;
	if ((flags & X86_F_ALIGN) ||
	    ((flags & X86_F_ALIGN_SSE) && !(insn->prefix & (X86_PFX_VEX | X86_PFX_EVEX)) &&
	     !(x86_fpu_host.amd && is_sha(insn)))) {
		t->align = t->mem_size - 1;
		if (!(flags & X86_F_ALIGN))
			t->flags |= NATIVE_ALIGN_SSE;
	}
}

static bool is_pcmpstr(const struct x86_insn *insn)
{
	return insn->map == 3 &&
	       (insn->opcode & 0xfc) == 0x60; /* PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI */
}

static void integer_traits(struct native_traits *t, const struct x86_insn *insn)
{
	int g = rename_gpr_operand(insn);

	t->cc_written = insn->desc->flags_written;
	if (insn->desc->flags_read)
		t->in = NATIVE_IN_FLAGS;
	if (t->cc_written)
		t->out = NATIVE_OUT_FLAGS;
	if (g < 0)
		return;
	t->gpr = (u8)g;
	t->gpr_size = insn->operand[g].size;
	if (insn->operand[g].access & X86_ACC_W)
		t->out = NATIVE_OUT_GPR;
	else
		t->in = NATIVE_IN_GPR;
}

/*
 * MMX instructions report pending x87 exceptions; CVTPI2PS and CVTPI2PD with a memory source do so on Intel's
 * processors only, and where ours would not trap the guest's must not either.
 */
static void exception_traits(struct native_traits *t, const struct x86_insn *insn)
{
	u32 flags = insn->desc->flags;
	bool x87 = insn->op == X86_OP_X87;

	if (flags & X86_F_SIMD_FP) {
		t->flags |= NATIVE_SIMD_FP;
		t->unmasked |= X86_FPU_UNMASKED_SIMD;
		if (insn->map == 3 && (insn->opcode & 0xfe) == 0x40)
			t->flags |= NATIVE_SUMS;
	}
	if ((x87 && !(flags & X86_F_X87_CTL)) || has_mmx_operand(insn) ||
	    ((flags & X86_F_MMX) && !x86_fpu_host.amd)) {
		t->flags |= NATIVE_WAIT;
		t->unmasked |= X86_FPU_UNMASKED_X87;
	}
	if (!x87)
		return;
	t->flags |= NATIVE_X87;
	if (!(flags & X86_F_X87_NOPTR))
		t->flags |= NATIVE_X87_PTR;
	if (insn->opcode == 0xd9 && insn->modrm >> 6 != 3 && (insn->modrm >> 3 & 7) == 5) /* FLDCW */
		t->flags |= NATIVE_RETRACK;
}

/* ---- stub code --------------------------------------------------------------------------------------- */

static struct emit_mem cpu_reg(unsigned reg)
{
	return EMIT_MEM(X86_RSI, (s32)(offsetof(struct x86_cpu, regs) + reg * sizeof(u64)));
}

static bool emit_stub(struct emit *e, const struct x86_insn *insn, bool long_mode,
		      const struct native_traits *t)
{
	const struct rename r = {
		.mem = EMIT_MEM(X86_RDI, 0),
		.gpr = t->out == NATIVE_OUT_GPR ? X86_RAX : X86_RDX,
	};

	if (is_pcmpstr(insn)) {
		emit_load(e, 8, X86_RAX, cpu_reg(X86_RAX));
		emit_load(e, 8, X86_RDX, cpu_reg(X86_RDX));
	} else if (t->in == NATIVE_IN_FLAGS) {
		emit_mov(e, 4, X86_RAX, X86_RDX);
		emit_shift(e, EMIT_SHL, 4, X86_RAX, 8);
		emit_sahf(e);
	}
	if (!rename_insn(e, insn, long_mode, &r))
		return false;
	if (is_pcmpstr(insn) && (insn->opcode & 1))
		emit_store(e, 8, cpu_reg(X86_RCX), X86_RCX);
	if (t->out == NATIVE_OUT_FLAGS) {
		emit_lahf(e);
		emit_setcc(e, 0, X86_RAX);
	}
	emit_ret(e);
	return !e->overflow;
}

/* ---- the table --------------------------------------------------------------------------------------- */

static x86_exec_fn *whole_handler(const struct x86_insn *insn)
{
	unsigned ext = insn->modrm >> 3 & 7;

	if (insn->desc->flags & X86_F_VSIB) {
		int m = rename_mem_operand(insn);

		return insn->operand[m].access & X86_ACC_W ? native_scatter : native_gather;
	}
	if (insn->op != X86_OP_X87)
		return NULL;
	if (insn->modrm == 0xe0 && insn->opcode == 0xdf)
		return native_fnstsw_ax;
	if (insn->modrm == 0xe3 && insn->opcode == 0xdb)
		return native_fninit;
	if (insn->modrm >> 6 == 3)
		return NULL;
	if (insn->opcode == 0xd9 && ext == 4)
		return native_fldenv;
	if (insn->opcode == 0xd9 && ext == 6)
		return native_fnstenv;
	if (insn->opcode == 0xdd && ext == 4)
		return native_frstor;
	if (insn->opcode == 0xdd && ext == 6)
		return native_fnsave;
	return NULL;
}

static bool has_masked_memory(const struct x86_insn *insn, const struct native_traits *t)
{
	if (t->flags & NATIVE_DI)
		return true;
	if (!t->mem_size || !(insn->desc->flags & X86_F_MASKED_MEM))
		return false;
	return !(insn->prefix & X86_PFX_EVEX) || insn->evex_aaa;
}

static x86_exec_fn *choose_handler(const struct x86_insn *insn, const struct native_traits *t)
{
	if (has_masked_memory(insn, t))
		return native_masked;
	if (t->flags & NATIVE_X87)
		return native_x87;
	if (t->in != NATIVE_IN_NONE || t->out != NATIVE_OUT_NONE || is_pcmpstr(insn))
		return native_any;
	if (!t->mem_size)
		return native_regs;
	if (t->mem_access == X86_ACC_R)
		return native_load;
	return t->mem_access == X86_ACC_W ? native_store : native_any;
}

static u64 hash_bytes(u64 h, const void *data, unsigned n)
{
	const u8 *p = data;

	while (n--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static bool same_bytes(const void *a, const void *b, unsigned n)
{
	const u8 *p = a, *q = b;

	while (n && *p++ == *q++)
		n--;
	return !n;
}

static bool same(const struct native_op *a, const struct native_op *b, const u8 *code)
{
	return a->hash == b->hash && a->exec == b->exec && same_bytes(&a->t, &b->t, sizeof(a->t)) &&
	       (!a->code || same_bytes((const void *)a->code, code, a->t.code_len));
}

static struct native_op *look_up(const struct native_op *key, const u8 *code)
{
	struct native_op *op = atomic_read_acquire(&native.bucket[key->hash % BUCKETS]);

	while (op && !same(op, key, code))
		op = op->next;
	return op;
}

/* NULL when the table or the code memory is full. */
static struct native_op *insert(const struct native_op *key, const u8 *code)
{
	struct native_op *op, **head = &native.bucket[key->hash % BUCKETS];
	u8 *room;

	host_mutex_lock(&native.lock);
	op = look_up(key, code);
	if (op || native.used == MAX_OPS)
		goto out;
	room = code_alloc(&native.region, key->t.code_len);
	if (!room)
		goto out;
	op = &native.ops[native.used++];
	x86_fpu_copy(op, key, sizeof(*op));
	if (key->t.code_len) {
		x86_fpu_copy(room, code, key->t.code_len);
		op->code = (native_code *)code_exec_address(&native.region, room);
	}
	op->next = *head;
	atomic_set_release(head, op);
out:
	host_mutex_unlock(&native.lock);
	return op;
}

/* Rewriting code through another address than it runs from wants a serializing instruction in between. */
static void serialize(void)
{
	u32 a = 0, c = 0;

	__asm__ volatile("cpuid" : "+a"(a), "+c"(c) : : "ebx", "edx", "memory");
}

static const struct native_op *own_op(struct x86_cpu *cpu, const struct native_op *key, const u8 *code)
{
	struct spare *s = cpu->native_spare;

	if (!s) {
		s = host_alloc_pages(sizeof(*s));
		if (!s)
			return NULL;
		if (code_create(&s->region, SPARE_SIZE)) {
			host_free_pages(s, sizeof(*s));
			return NULL;
		}
		cpu->native_spare = s;
	}
	x86_fpu_copy(&s->op, key, sizeof(s->op));
	if (key->t.code_len) {
		x86_fpu_copy(s->region.write, code, key->t.code_len);
		s->op.code = (native_code *)s->region.exec;
		serialize();
	}
	return &s->op;
}

const struct native_op *native_find(struct x86_cpu *cpu, const struct x86_insn *insn, bool *own)
{
	u8 code[NATIVE_MAX_CODE];
	struct emit e = emit_start(code, sizeof(code));
	struct native_op key, *op;

	x86_fpu_zero(&key, sizeof(key));
	state_traits(&key.t, insn->desc->state);
	memory_traits(&key.t, insn);
	integer_traits(&key.t, insn);
	exception_traits(&key.t, insn);
	key.exec = whole_handler(insn);
	if (!key.exec) {
		if (!emit_stub(&e, insn, cpu->code_bits == 64, &key.t))
			return NULL;
		key.t.code_len = (u8)(e.p - code);
		key.exec = choose_handler(insn, &key.t);
	}
	key.hash = hash_bytes(hash_bytes(0xcbf29ce484222325ull, code, key.t.code_len), &key.t, sizeof(key.t));
	op = look_up(&key, code);
	if (!op)
		op = insert(&key, code);
	*own = !op;
	return op ? op : own_op(cpu, &key, code);
}
