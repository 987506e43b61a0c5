/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translator: decoded blocks that have become warm are turned into native code.
 *
 * What it translates. A struct block of 64-bit code, as block.c made it: one entry, side exits at taken
 * conditional branches. Instructions that compute on registers and plain memory run as themselves with
 * registers renamed; all others are calls of the interpreter's handlers. So every block can be
 * translated, and each operation has its interpreter twin (ANYKVM_SOFT=interp), which is also its slow
 * path: a memory operand that misses the TLB, a branch to a strange address, a misaligned vector operand
 * go to the handler of the whole instruction, before anything has been committed.
 *
 * State. Guest registers live in host registers across blocks (jit.h), RIP of the block's start among
 * them. Handlers are called with everything in struct x86_cpu, and look at the result and at cpu->stop as
 * the interpreter's loop does; faults, MMIO, modified code, single steps are all found by handlers and
 * dealt with by the loop in run.c. Status flags are in cpu->cc at every block's entry, and inside a block
 * wherever jit_access.c has put them. Vector state is the host's.
 *
 * Ways in and out. Every entry tests cpu->stop, and that nothing has happened to the block's bytes: its
 * stamp must be the page's version and the vCPU's epoch, as for the interpreter. If either fails the loop
 * is entered with RIP at the block, and looks. So a kick is seen at the next block, and a stale block is
 * never run, however it is reached. A branch within the page goes through a *slot*, a pointer in data
 * memory (patching code would need a serializing instruction at each link): it leads to the loop until
 * the loop has found that the block for this very guest-physical address and mode is translated. Page and
 * mode are the branching block's own, so no change of mapping can make it wrong. A branch to another
 * page, and every indirect one, looks RIP up in jit.jump, whose entries die with the generations that
 * block_flush_jumps() moves.
 *
 * Life time. Code and slots are never freed singly. block_flush_all() throws all blocks away and comes
 * here: the code memory starts over. If handlers called by translated code did that, the code that they
 * return to must not chain on: X86_STOP_CODE makes it leave at once. Everything belongs to one vCPU's
 * thread.
 *
 * Host faults. A slot whose memory the VMM cannot access faults in translated code; the guard in run.c
 * unwinds, and translate_fault() takes the guest's registers from the fault's frame, and the instruction
 * from the block's table of code offsets. Flags are in cpu->cc then: every access saves them before.
 */
#include <stdlib.h>

#include "engine/soft/jit.h"
#include "engine/soft/perfmap.h"
#include "engine/soft/translate.h"
#include "host/host.h"
#include "x86/opcodes.h"

#define WARM 24

/* ---- a block --------------------------------------------------------------------------------------- */

/* The block's stamp, and behind it its table of code offsets, are among the slots. */
static bool take_cells(struct jit *jit, struct block *b)
{
	u32 words = sizeof(*b->stamp) / sizeof(u64) + (b->nr + 4) / 4;

	if (JIT_SLOTS - jit->used_slots < words + 2 * BLOCK_MAX_INSNS)
		return false;
	b->stamp = (struct block_stamp *)((u64 *)(jit->region.write + JIT_CODE_SIZE) + jit->used_slots);
	b->code_offset = (u16 *)(b->stamp + 1);
	jit->used_slots += words;
	*b->stamp = (struct block_stamp){ .version = b->version, .epoch = b->epoch };
	return true;
}

/* To the loop unless the word at now is that of the stamp. */
static void demand_same(struct jit_block *t, unsigned size, const void *now, const u64 *then)
{
	struct emit *e = &t->e;

	emit_mov_imm(e, JIT_A, (u64)now);
	emit_load(e, size, JIT_A, EMIT_MEM(JIT_A, 0));
	emit8(e, 0x4c); /* cmp r13, [rip + ...] */
	emit8(e, 0x3b);
	emit8(e, 0x2d);
	emit32(e, (u32)((u64)then - ((u64)e->p + 4)));
	emit_jcc(e, JIT_IF_NOT_EQUAL, t->delta, t->jit->unlinked);
}

static void entry(struct jit_block *t)
{
	struct emit *e = &t->e;

	demand_same(t, 4, &t->b->page->version, &t->b->stamp->version);
	demand_same(t, 8, &t->jit->soft->epoch, &t->b->stamp->epoch);
	emit_op_mem(e, 4, 0x83, EMIT_CMP, JIT_FIELD(stop));
	emit8(e, 0);
	emit_jcc(e, JIT_IF_NOT_EQUAL, t->delta, t->jit->unlinked);
	jit_vector_entry(t);
}

/* Behind these the loop must look at the machine again, unless they changed nothing but data rights. */
static bool ends_in_loop(const struct x86_insn *last)
{
	return (last->desc->flags & X86_F_END) && last->op != X86_OP_STAC && last->op != X86_OP_CLAC;
}

static bool changes_vector_state(const struct x86_insn *insn)
{
	return insn->desc->state != X86_STATE_INT || insn->op == X86_OP_XRSTOR || insn->op == X86_OP_XRSTORS;
}

static void by_handler(struct jit_block *t, const struct x86_insn *insn)
{
	jit_save_flags(t);
	jit_call_handler(t, t->now);
	t->no_vector |= changes_vector_state(insn);
}

/* All instructions in order; true: the last one leaves the block in any case. */
static bool body(struct jit_block *t, const u8 *start)
{
	bool left = false;

	for (t->now = 0; t->now < t->b->nr; t->now++) {
		const struct x86_insn *insn = &t->b->insn[t->now];

		t->b->code_offset[t->now] = (u16)(t->e.p - start);
		left = jit_branch(t, insn) && insn->op != X86_OP_JCC;
		if (!left && insn->op != X86_OP_JCC && !jit_integer(t, insn) && !jit_stack(t, insn) &&
		    !jit_vector(t, insn))
			by_handler(t, insn);
		jit_finish(t);
	}
	t->b->code_offset[t->now] = (u16)(t->e.p - start);
	return left;
}

static void end(struct jit_block *t)
{
	struct emit *e = &t->e;

	jit_save_flags(t);
	if (!ends_in_loop(&t->b->insn[t->b->nr - 1])) {
		jit_exit_direct(t, t->b->len, t->b->nr);
		return;
	}
	emit_lea(e, 8, JIT_RIP, EMIT_MEM(JIT_RIP, t->b->len));
	emit_mov_imm(e, JIT_B, 0);
	emit_jmp(e, t->delta, t->jit->unlinked);
}

/* Jumps of one instruction share the call of its handler if they come back to the same place. */
static void cold(struct jit_block *t)
{
	for (unsigned i = 0; i < t->nr_cold;) {
		const struct jit_cold *c = &t->cold[i];

		for (; i < t->nr_cold && t->cold[i].insn == c->insn && t->cold[i].back == c->back; i++)
			emit_patch(&t->e, t->cold[i].place);
		jit_call_handler(t, c->insn);
		if (c->flags)
			jit_load_flags(t);
		emit_jmp(&t->e, 0, c->back);
	}
}

static bool has_odd_jcc(const struct block *b)
{
	for (unsigned i = 0; i < b->nr; i++) {
		const struct x86_insn *insn = &b->insn[i];
		s64 delta = (s64)(insn->next + insn->imm);

		if (insn->op == X86_OP_JCC && (insn->osize != 8 || delta != (s32)delta))
			return true;
	}
	return false;
}

static bool worth_it(const struct block *b)
{
	return (b->key & 0xff) == 64 && !b->spans && b->host && !has_odd_jcc(b);
}

static void translate(struct jit *jit, struct block *b)
{
	struct jit_block t = { .jit = jit, .cpu = jit->cpu, .b = b, .in_mem = true };
	size_t used = (jit->region.used + 15) & ~15ull;
	u8 *start = jit->region.write + used;

	if (!worth_it(b))
		return;
	if (used + JIT_BLOCK_ROOM > JIT_CODE_SIZE || !take_cells(jit, b)) {
		block_flush_all(jit->soft);
		return;
	}
	t.e = emit_start(start, JIT_BLOCK_ROOM);
	t.delta = jit->region.exec - jit->region.write;
	entry(&t);
	if (!body(&t, start))
		end(&t);
	jit_exits(&t);
	cold(&t);
	if (t.e.overflow)
		return;
	jit->region.used = used + (size_t)(t.e.p - start);
	b->code = start + t.delta;
	perfmap_add(b->code, (size_t)(t.e.p - start), code_linear_rip(jit->cpu), b->key & 0xff);
}

/* ---- from the loop --------------------------------------------------------------------------------- */

/* The way to b is known now: to the slot that was left through, and to jit.jump. */
static void link_to(struct jit *jit, const struct block *b, u64 rip)
{
	const struct jump *j = block_jump(jit->soft, rip);
	struct jit_jump *to = &jit->jump[(rip ^ rip >> JIT_JUMP_BITS) & (ARRAY_SIZE(jit->jump) - 1)];

	if (jit->link) {
		u64 *slot = (u64 *)code_write_address(&jit->region, jit->link);
		size_t n = (size_t)(slot - (u64 *)(jit->region.write + JIT_CODE_SIZE));
		const struct jit_target *target = &jit->target[n];

		if (target->gpa == b->gpa && target->key == b->key)
			atomic_set(slot, (u64)b->code);
	}
	if (j->rip != rip || j->block != b || j->generation != jit->soft->generation[j->global])
		return;
	to->rip = rip;
	to->code = b->code;
	to->current = &jit->soft->generation[j->global];
	to->generation = j->generation;
	to->key = b->key;
}

bool translate_run(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b, enum x86_result *r)
{
	struct jit *jit = soft->jit;

	if (!b->code) {
		if (likely(b->heat++ != jit->warm))
			return false;
		translate(jit, b);
		if (!b->code)
			return false;
	}
	if (unlikely(jit->declined || cpu->align_check)) {
		jit->declined = false;
		jit->link = NULL;
		return false;
	}
	link_to(jit, b, x86_rip(cpu));
	jit->link = NULL;
	jit->key = b->key;
	*r = jit->enter(cpu, b->code);
	return true;
}

void translate_flush(struct soft_vcpu *soft)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	jit->region.used = jit->fixed;
	jit->used_slots = 0;
	jit->link = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(jit->jump); i++) {
		jit->jump[i] = (struct jit_jump){ .rip = ~0ull, .current = &soft->generation[0],
						  .generation = soft->generation[0] - 1 };
	}
	atomic_or(&jit->cpu->stop, X86_STOP_CODE);
}

/* ---- host faults ----------------------------------------------------------------------------------- */

static struct block *block_at(struct soft_vcpu *soft, const u8 *pc)
{
	const u8 *start;

	for (unsigned i = 0; i < ARRAY_SIZE(soft->hash); i++) {
		for (struct block *b = soft->hash[i]; b; b = b->next) {
			start = b->code;
			if (start && pc >= start && pc < start + b->code_offset[b->nr])
				return b;
		}
	}
	return NULL;
}

void translate_fault(struct x86_cpu *cpu, struct soft_vcpu *soft, const struct host_fault_frame *f)
{
	const u8 *pc = (const u8 *)f->pc;
	const struct block *b;
	unsigned n = 0;
	u32 ax = cpu->cc;

	if (!soft->jit || !code_contains(&soft->jit->region, pc))
		return;
	for (unsigned g = X86_RAX; g <= X86_R10; g++)
		cpu->regs[g] = f->gpr[g == X86_RSP ? (unsigned)JIT_SP : g];
	cpu->regs[X86_REG_RIP] = f->gpr[JIT_RIP];
	cpu->cc = (ax >> 8 & (X86_FLAGS_STATUS & 0xff)) | (ax & 1) << 11;
	soft->insn = NULL;
	b = block_at(soft, pc);
	if (!b)
		return;
	while (n + 1 < b->nr && pc >= b->code + b->code_offset[n + 1])
		n++;
	soft->insn = &b->insn[n];
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* ANYKVM_SOFT: interp, jit (at first execution), auto (when warm; the default). */
static bool configured(u32 *warm)
{
	const char *mode = getenv("ANYKVM_SOFT");

	*warm = WARM;
	if (mode && mode[0] == 'j')
		*warm = 0;
	return !mode || mode[0] != 'i';
}

void translate_create(struct x86_cpu *cpu, struct soft_vcpu *soft)
{
	struct jit *jit;
	u32 warm;

	if (!configured(&warm))
		return;
	jit = host_alloc_pages(sizeof(*jit));
	if (!jit)
		return;
	jit->cpu = cpu;
	jit->soft = soft;
	jit->warm = warm;
	if (code_create(&jit->region, JIT_CODE_SIZE + JIT_SLOTS * sizeof(u64)))
		goto out_free;
	if (!jit_make_frame(jit))
		goto out_destroy;
	perfmap_open();
	perfmap_add_fixed(jit->region.exec, jit->fixed);
	soft->jit = jit;
	return;

out_destroy:
	code_destroy(&jit->region);
out_free:
	host_free_pages(jit, sizeof(*jit));
}

void translate_destroy(struct soft_vcpu *soft)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	code_destroy(&jit->region);
	host_free_pages(jit, sizeof(*jit));
	soft->jit = NULL;
}
