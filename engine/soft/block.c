/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decoded code. A block is a run of instructions with one entry: up to an unconditional transfer or an instruction after
 * which the world may look different, the end of the page, or BLOCK_MAX_INSNS. Blocks are keyed by guest-physical address
 * and mode, so they survive changes of address space; a jump cache by linear RIP leads to them without a translation.
 *
 * Before a block runs, its page's version and the vCPU's epoch tell whether its bytes may have changed since they were
 * last compared with memory; only then are they compared again.
 */
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"
#include "x86/opcodes.h"
#include "x86/paging.h"
#include "x86/segment.h"
#include "x86/system.h"

/* ---- storage ------------------------------------------------------------------------------------------------- */

void block_flush_jumps(struct soft_vcpu *soft, bool keep_global)
{
	soft->generation[0]++;
	if (!keep_global)
		soft->generation[1]++;
	for (unsigned i = 0; i < ARRAY_SIZE(soft->fetch); i++) {
		if (!keep_global || !soft->fetch[i].global)
			soft->fetch[i].tag = ~0ull;
	}
}

void block_enter_context(struct soft_vcpu *soft, unsigned context, bool fresh)
{
	if (context == soft->context && !fresh)
		return;
	soft->context = context;
	block_flush_jumps(soft, true);
}

void block_flush_all(struct soft_vcpu *soft)
{
	memset(soft->hash, 0, sizeof(soft->hash));
	memset(soft->jump, 0, sizeof(soft->jump)); /* not by generation alone: a guest can make that come round */
	soft->arena_used = 0;
	soft->flushes++;
	soft->stat->block_flushes++;
	block_flush_jumps(soft, false);
	translate_flush(soft);
}

void block_fetch_flush_page(struct soft_vcpu *soft, u64 gva)
{
	struct fetch_entry *e = &soft->fetch[gva >> 12 & (ARRAY_SIZE(soft->fetch) - 1)];

	if ((e->tag & PAGE_MASK) == (gva & PAGE_MASK))
		e->tag = ~0ull;
	soft->generation[0]++;
	soft->generation[1]++;
}

static void *arena_take(struct soft_vcpu *soft, size_t size)
{
	void *p;

	size = (size + 63) & ~63ull;
	if (soft->arena_used + size > BLOCK_ARENA)
		block_flush_all(soft);
	p = soft->arena + soft->arena_used;
	soft->arena_used += size;
	return p;
}

/* ---- fetch ------------------------------------------------------------------------------------------------------- */

/* A new mapping of code: what a device has put into the page meanwhile must be seen. */
static void distrust(struct vcpu *vcpu, const u8 *host)
{
	struct code_page *page = code_page_find(vcpu->vm, (u64)host);

	if (!page)
		return;
	atomic_add(&page->version, 1);
	code_moved(vcpu->vm->engine);
}

/* Not every way to a non-canonical RIP is checked: SYSRET on AMD, KVM_SET_REGS, running on past the end. */
static enum x86_result fetch_walk(struct x86_cpu *cpu, u64 page, struct x86_translation *t)
{
	if (unlikely(cpu->code_bits == 64 && !x86_canonical(cpu, page)))
		return x86_raise(cpu, X86_GP, 0);
	return x86_walk(cpu, page, X86_ACCESS_FETCH, true, t);
}

static struct fetch_entry *fetch_page(struct vcpu *vcpu, u64 linear, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	u64 page = linear & PAGE_MASK;
	u64 tag = page | (cpu->cpl == 3);
	struct fetch_entry *e = &soft->fetch[linear >> 12 & (ARRAY_SIZE(soft->fetch) - 1)];
	struct x86_translation t;
	struct memslot *slot;

	if (likely(e->tag == tag))
		return e;
	soft->stat->fetch_misses++;
	if (fetch_walk(cpu, page, &t) != X86_OK) {
		*miss = BLOCK_FAULT;
		if (cpu->fault.vector == X86_PF_VECTOR)
			cpu->fault.payload = linear;
		return NULL;
	}
	e->tag = ~0ull;
	e->host = soft_ram(cpu, t.gpa & PAGE_MASK, &slot);
	if (!e->host) {
		*miss = BLOCK_NOT_MEMORY;
		return NULL;
	}
	e->tag = tag;
	e->gpa = t.gpa & PAGE_MASK;
	e->global = t.global;
	distrust(vcpu, e->host);
	return e;
}

static bool ends_block(const struct x86_insn *insn)
{
	if (insn->desc->flags & X86_F_END)
		return true;
	return (insn->desc->flags & X86_F_BRANCH) && insn->op != X86_OP_JCC;
}

/* ---- making blocks -------------------------------------------------------------------------------------------------- */

/* Code bytes at hand while a block is made: those of its page, and for the last instruction some of the next. */
struct source {
	const u8 *host;		/* first byte of the block */
	unsigned avail;		/* to the page's end */
	u8 joined[2 * X86_MAX_INSN_LEN];
	unsigned nr_joined;	/* bytes of the one instruction that spans pages */
};

static void bind(struct vcpu *vcpu, struct x86_insn *insn, unsigned off)
{
	x86_bind(&vcpu->cpu, insn, off);
	if (insn->op == X86_OP_INT3) {
		insn->native = (void *)insn->exec;
		insn->exec = soft_exec_int3;
	}
}

/* The page after the one that holds linear, as the mode counts addresses. */
static u64 next_page(const struct vcpu *vcpu, u64 linear)
{
	u64 next = (linear & PAGE_MASK) + PAGE_SIZE;

	return vcpu->cpu.code_bits == 64 ? next : next & 0xffffffffull;
}

/* The instruction at RIP reaches into the next page: fetches from both. */
static bool join_pages(struct vcpu *vcpu, struct source *s, u64 linear, enum block_miss *miss)
{
	struct fetch_entry *e = fetch_page(vcpu, next_page(vcpu, linear), miss);

	if (!e)
		return false;
	memcpy(s->joined, s->host, s->avail);
	memcpy(s->joined + s->avail, e->host, X86_MAX_INSN_LEN);
	s->nr_joined = s->avail + X86_MAX_INSN_LEN;
	return true;
}

static bool decode_first(struct vcpu *vcpu, struct source *s, u64 linear, struct x86_insn *insn, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	u8 bytes[X86_MAX_INSN_LEN];
	unsigned n = s->avail < sizeof(bytes) ? s->avail : (unsigned)sizeof(bytes);
	enum x86_decode_status status;

	memcpy(bytes, s->host, n);
	status = x86_decode(insn, bytes, n, cpu->code_bits);
	if (status == X86_DECODE_MORE && n < sizeof(bytes)) {
		if (!join_pages(vcpu, s, linear, miss))
			return false;
		status = x86_decode(insn, s->joined, X86_MAX_INSN_LEN, cpu->code_bits);
	}
	if (status == X86_DECODE_OK)
		return true;
	*miss = BLOCK_FAULT;
	if (status == X86_DECODE_UD)
		x86_raise(cpu, X86_UD, 0);
	else
		x86_raise(cpu, X86_GP, 0);
	return false;
}

static enum x86_result block_end(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->regs[X86_REG_RIP] += insn->off;
	if (cpu->code_bits != 64)
		cpu->regs[X86_REG_RIP] &= 0xffffffffull;
	return X86_BRANCH;
}

/* Decodes on from insn[0] as far as a block may go; the bytes are a private copy. */
static unsigned decode_more(struct vcpu *vcpu, struct x86_insn *insn, const u8 *bytes, unsigned avail, unsigned *len)
{
	unsigned nr = 1, off = insn[0].len;

	while (nr < BLOCK_MAX_INSNS && off < avail && !ends_block(&insn[nr - 1])) {
		unsigned n = avail - off < X86_MAX_INSN_LEN ? avail - off : X86_MAX_INSN_LEN;

		if (x86_decode(&insn[nr], bytes + off, n, vcpu->cpu.code_bits) != X86_DECODE_OK)
			break;
		bind(vcpu, &insn[nr], off);
		off += insn[nr].len;
		nr++;
	}
	*len = off;
	return nr;
}

static struct block *make(struct vcpu *vcpu, struct source *s, const struct fetch_entry *fetch, const struct x86_insn *first,
			  unsigned offset)
{
	struct soft_vcpu *soft = vcpu->engine;
	unsigned max = s->avail < 512 ? s->avail : 512, len = first->len;
	struct block *b = arena_take(soft, sizeof(*b) + (BLOCK_MAX_INSNS + 1) * sizeof(b->insn[0]) + 512);
	struct x86_insn *insn = b->insn;
	u8 *bytes = (u8 *)&insn[BLOCK_MAX_INSNS + 1];

	insn[0] = *first;
	bind(vcpu, &insn[0], 0);
	b->nr = 1;
	b->spans = s->nr_joined != 0;
	if (b->spans) {
		memcpy(bytes, s->joined, len);
	} else {
		memcpy(bytes, s->host, max);
		b->nr = (u16)decode_more(vcpu, insn, bytes, max, &len);
	}
	insn[b->nr] = (struct x86_insn){ .exec = block_end, .off = (u16)len, .next = (u16)len };
	b->bytes = (u8 *)&insn[b->nr + 1];
	memmove(b->bytes, bytes, len);
	soft->arena_used = (size_t)(b->bytes + len - soft->arena + 63) & ~63ull;
	b->gpa = fetch->gpa + offset;
	b->key = block_key(&vcpu->cpu);
	b->len = (u16)len;
	b->host = s->host;
	b->heat = 0;
	b->code = NULL;
	b->stamp = NULL;
	soft->stat->blocks_decoded++;
	return b;
}

/* The translation of b may run while its page's version and the vCPU's epoch are these. */
static void stamp(struct block *b, u32 version, u64 epoch)
{
	b->version = version;
	b->epoch = epoch;
	if (b->stamp)
		*b->stamp = (struct block_stamp){ .version = version, .epoch = epoch };
}

/*
 * Notes from when on the block's bytes are known to be those in memory. False: no memory for the page's record; or, while
 * waiting for other vCPUs, this one had to drop all blocks (the slots have changed): this one and its host are void.
 */
static bool arm(struct vcpu *vcpu, struct block *b)
{
	struct soft_vcpu *soft = vcpu->engine;
	unsigned offset = b->gpa & (PAGE_SIZE - 1);
	unsigned len = b->spans ? (unsigned)(PAGE_SIZE - offset) : b->len;
	u64 flushes = soft->flushes;

	b->page = code_page_arm(vcpu, (u64)b->host & PAGE_MASK, offset, len);
	if (!b->page || soft->flushes != flushes)
		return false;
	b->checked = b->spans ? ~0ull : atomic_read_acquire(&soft->vm->code_epoch);
	stamp(b, atomic_read_acquire(&b->page->version), soft->epoch);
	/* A writer that took the page for data meanwhile cleared the chunks before it moved the version. */
	return code_page_holds(b->page, offset, len);
}

static bool unchanged(struct vcpu *vcpu, const struct block *b, u64 linear)
{
	unsigned first = b->spans ? (unsigned)(PAGE_SIZE - (b->gpa & (PAGE_SIZE - 1))) : b->len;
	struct fetch_entry *e;
	enum block_miss miss;

	if (memcmp(b->bytes, b->host, first))
		return false;
	if (!b->spans)
		return true;
	e = fetch_page(vcpu, next_page(vcpu, linear), &miss);
	return e && !memcmp(b->bytes + first, e->host, b->len - first);
}

static bool fresh(struct vcpu *vcpu, struct block *b)
{
	const struct soft_vcpu *soft = vcpu->engine;
	u64 now = atomic_read(&soft->vm->code_epoch);

	if (!b->host || b->version != atomic_read(&b->page->version) || b->epoch != soft->epoch || b->spans)
		return false;
	b->checked = now;
	return true;
}

/* Whether b may run: arms it first, then compares, so that a write in between is noticed at its next entry. */
static bool revalidate(struct vcpu *vcpu, struct block *b, u64 linear)
{
	if (b->host && arm(vcpu, b) && unchanged(vcpu, b, linear))
		return true;
	vcpu->stat->blocks_voided++;
	b->host = NULL;
	b->checked = ~0ull;
	stamp(b, 0, ~0ull);
	return false;
}

static unsigned block_hash(u64 gpa)
{
	return (unsigned)(gpa * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_HASH_BITS));
}

static struct block *find_or_make(struct vcpu *vcpu, const struct fetch_entry *fetch, u64 linear, enum block_miss *miss)
{
	struct soft_vcpu *soft = vcpu->engine;
	unsigned offset = linear & (PAGE_SIZE - 1);
	struct source s = { .host = fetch->host + offset, .avail = (unsigned)PAGE_SIZE - offset };
	u32 key = block_key(&vcpu->cpu);
	struct fetch_entry here = *fetch;
	struct block **link = &soft->hash[block_hash(here.gpa + offset)];
	u64 flushes = soft->flushes;
	struct x86_insn first;
	struct block *b;

	*miss = 0;
	while ((b = *link)) {
		bool wanted = b->gpa == here.gpa + offset && b->key == key && b->host == s.host;

		if (wanted && (fresh(vcpu, b) || revalidate(vcpu, b, linear)))
			return b;
		if (unlikely(soft->flushes != flushes))
			return NULL; /* the chain is gone, and what fetch said: look again */
		if (b->host)
			link = &b->next;
		else
			*link = b->next;
	}
	if (!decode_first(vcpu, &s, linear, &first, miss))
		return NULL;
	b = make(vcpu, &s, &here, &first, offset);
	link = &soft->hash[block_hash(b->gpa)];
	b->next = *link;
	*link = b;
	if (!revalidate(vcpu, b, linear)) {
		/* written between decoding and arming: decode again at the next round, with the page armed */
		if (likely(*link == b))
			*link = b->next;
		*miss = 0;
		return NULL;
	}
	return b;
}

/* Segment limit of CS for code that is not in 64-bit mode. The first byte must lie within; the rest is checked by len. */
static bool within_limit(const struct x86_cpu *cpu, unsigned len)
{
	return cpu->code_bits == 64 || x86_rip(cpu) + len - 1 <= cpu->seg[X86_CS].limit;
}

/* A block that would run over the limit of CS is cut: its first instruction alone, which faults if it reaches over. */
static struct block *check_limit(struct vcpu *vcpu, struct block *b, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	if (likely(within_limit(cpu, b->len)))
		return b;
	if (!within_limit(cpu, b->insn[0].len)) {
		x86_raise(cpu, X86_GP, 0);
		*miss = BLOCK_FAULT;
		return NULL;
	}
	((struct soft_vcpu *)vcpu->engine)->single = true;
	return b;
}

struct block *block_lookup_slow(struct vcpu *vcpu, enum block_miss *miss)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	u64 linear = code_linear_rip(cpu);
	struct jump *j = block_jump(soft, linear);
	u32 key = block_key(cpu);
	struct fetch_entry *fetch;
	struct block *b;
	bool global;

	soft->single = false;
	soft->stat->block_lookups++;
	if (likely(j->rip == linear && j->key == key && j->generation == soft->generation[j->global])) {
		b = j->block;
		if (likely(fresh(vcpu, b)) || revalidate(vcpu, b, linear))
			return check_limit(vcpu, b, miss);
	}
	if (!within_limit(cpu, 1)) {
		x86_raise(cpu, X86_GP, 0);
		*miss = BLOCK_FAULT;
		return NULL;
	}
	fetch = fetch_page(vcpu, linear, miss);
	if (!fetch)
		return NULL;
	global = fetch->global;
	b = find_or_make(vcpu, fetch, linear, miss);
	if (!b)
		return NULL;
	j->rip = linear;
	j->key = key;
	j->global = global;
	j->generation = soft->generation[global];
	j->block = b;
	return check_limit(vcpu, b, miss);
}
