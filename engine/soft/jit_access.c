/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers, flags and memory in translated code.
 *
 * Flags. The guest's status flags are in the host's RFLAGS (in_host), in AH and AL of cpu->cc (in_mem),
 * or both. Before anything of ours that changes RFLAGS, and before anything that may leave the block,
 * they are saved; an instruction that reads them, or leaves some of them as they were, has them loaded.
 * So the slow path of a memory access finds exact flags.
 *
 * Memory. The probe is the interpreter's (x86/mem.h): what misses goes to the handler of the whole
 * instruction, which starts over from the guest's registers; so nothing may be committed before the last
 * probe of an instruction has hit.
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

unsigned jit_get(struct jit_block *t, unsigned guest, unsigned scratch)
{
	unsigned host = jit_host(guest);

	if (host != JIT_IN_MEMORY)
		return host;
	emit_load(&t->e, 8, scratch, JIT_REG(guest));
	return scratch;
}

void jit_rip(struct jit_block *t, unsigned dst, s64 delta)
{
	s32 disp = (s32)((s64)t->offset + delta);

	emit_load(&t->e, 8, dst, JIT_FIELD(code_page));
	if (disp)
		emit_lea(&t->e, 8, dst, EMIT_MEM((u8)dst, disp));
}

/* ---- flags ----------------------------------------------------------------------------------------- */

void jit_save_flags(struct jit_block *t)
{
	struct emit *e = &t->e;

	if (t->in_mem)
		return;
	emit_lahf(e);
	emit_setcc(e, 0, X86_RAX);
	emit_store(e, 4, JIT_FIELD(cc), X86_RAX);
	t->in_mem = true;
}

/* Adding 7F to AL overflows if AL is 1. */
void jit_load_flags(struct jit_block *t)
{
	struct emit *e = &t->e;

	if (t->in_host)
		return;
	emit_load(e, 4, X86_RAX, JIT_FIELD(cc));
	emit_alu_imm(e, EMIT_ADD, 1, X86_RAX, 0x7f);
	emit_sahf(e);
	t->in_host = true;
}

/*
 * Undefined flags are what the host makes of them, which may depend on what they were; not so for logical
 * operations.
 */
bool jit_flags_needed(const struct x86_insn *insn)
{
	const struct x86_opcode *d = insn->desc;

	if (d->flags_read)
		return true;
	if (!d->flags_written)
		return false;
	if (d->flags_written != X86_FLAGS_STATUS)
		return true;
	return d->flags_undefined && insn->op != X86_OP_AND && insn->op != X86_OP_OR &&
	       insn->op != X86_OP_XOR && insn->op != X86_OP_TEST;
}

void jit_wrote_flags(struct jit_block *t)
{
	t->in_host = true;
	t->in_mem = false;
}

/* ---- addresses ------------------------------------------------------------------------------------- */

bool jit_ea_possible(const struct x86_insn *insn)
{
	return jit_near(insn->disp) && insn->asize != 2 && insn->has_modrm;
}

static unsigned page_base(struct jit_block *t)
{
	emit_load(&t->e, 8, JIT_A, JIT_FIELD(code_page));
	return JIT_A;
}

void jit_ea(struct jit_block *t, const struct x86_insn *insn, unsigned dst, unsigned size)
{
	struct emit *e = &t->e;
	struct emit_mem m = { .index = EMIT_NO_INDEX, .scale = insn->scale };

	if (insn->asize == 4 && size == 8)
		size = 4;
	if (insn->index != X86_REG_ZERO)
		m.index = (u8)jit_get(t, insn->index, JIT_B);
	m.disp = (s32)insn->disp;
	if (insn->base == X86_REG_RIP) {
		m.base = (u8)page_base(t);
		m.disp += (s32)t->offset;
	} else {
		m.base = insn->base == X86_REG_ZERO ? EMIT_NO_BASE : (u8)jit_get(t, insn->base, JIT_A);
	}
	emit_lea(e, size, dst, m);
}

void jit_linear(struct jit_block *t, const struct x86_insn *insn)
{
	jit_ea(t, insn, JIT_A, 8);
	if (insn->seg == X86_FS || insn->seg == X86_GS)
		emit_alu_load(&t->e, EMIT_ADD, 8, JIT_A,
			      EMIT_GS((s32)(offsetof(struct x86_cpu, seg_base) + insn->seg * sizeof(u64))));
}

void jit_probe(struct jit_block *t, unsigned size, bool write)
{
	struct emit *e = &t->e;
	size_t tag = write ? offsetof(struct x86_tlb_entry, tag_write) :
			     offsetof(struct x86_tlb_entry, tag_read);

	emit_mov(e, 4, JIT_B, JIT_A);
	emit_shift(e, EMIT_SHR, 4, JIT_B, 12 - 5);
	emit_alu_imm(e, EMIT_AND, 4, JIT_B, (X86_TLB_SIZE - 1) << 5);
	emit_alu_load(e, EMIT_ADD, 8, JIT_B, JIT_FIELD(tlb));
	emit_alu_load(e, EMIT_SUB, 8, JIT_A, EMIT_MEM(JIT_B, (s32)tag));
	emit_alu_imm(e, EMIT_CMP, 8, JIT_A, 4096 - (s32)size);
	jit_slow_if(t, JIT_IF_ABOVE);
	emit_alu_load(e, EMIT_ADD, 8, JIT_A, EMIT_MEM(JIT_B, offsetof(struct x86_tlb_entry, host)));
	t->in_host = false;
}

_Static_assert(sizeof(struct x86_tlb_entry) == 32, "the probe's shifts");
_Static_assert(sizeof(struct jit_jump) == 32, "the dispatcher's shift");

/* ---- handlers -------------------------------------------------------------------------------------- */

void jit_slow_if(struct jit_block *t, unsigned cond)
{
	struct jit_cold *c;

	if (t->nr_cold == ARRAY_SIZE(t->cold)) {
		t->e.overflow = true;
		return;
	}
	c = &t->cold[t->nr_cold++];
	*c = (struct jit_cold){ .place = emit_jcc_forward(&t->e, cond), .insn = t->now };
}

void jit_finish(struct jit_block *t)
{
	for (unsigned i = t->nr_cold; i-- && t->cold[i].insn == t->now && !t->cold[i].back;) {
		t->cold[i].back = t->e.p;
		t->cold[i].flags = t->in_host;
	}
}

void jit_call_handler(struct jit_block *t, unsigned insn)
{
	emit_mov_imm(&t->e, JIT_A, (u64)&t->b->insn[insn]);
	emit_mov_imm(&t->e, JIT_B, t->offset);
	emit_call(&t->e, t->delta, t->jit->call_insn);
	t->in_host = false;
	t->in_mem = true;
}
