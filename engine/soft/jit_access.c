/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers and memory in translated code.
 *
 * Memory. The probe is the interpreter's (x86/mem.h): what misses goes to the handler of the whole
 * instruction, which starts over from the guest's registers; so nothing may be committed before the last
 * probe of an instruction has hit.
 *
 * Windows (jit_plan.c). The first access of a window probes for all of it and leaves the host address of its
 * start in cpu->host_window[]; the others go there without a probe. If that one misses, the TLB is filled as the first
 * access alone demands, and asked again; if the window does not fit then, the rest of the block runs in another
 * translation, without windows. A window's address is good as long as a TLB entry would be: until an
 * instruction that is not innocuous, or the block's end. An instruction that has two operands in memory must not
 * open a window behind a way to its handler: coming back from there, the window would seem open. What other processors do to rights (dirty log, code,
 * slots) waits until this one has left the block, as with an access that has just been probed.
 *
 * Kernels under SMAP have all but what they access on behalf of programs in one set of the TLB, at a known distance from
 * GS. Blocks that are translated while it is the current one look there: it bears out what it says in other states too.
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

	if (t->fixed) {
		emit_mov_imm(&t->e, dst, t->page + (u64)(s64)disp);
		return;
	}
	emit_load(&t->e, t->word, dst, JIT_FIELD(code_page));
	if (disp)
		emit_lea(&t->e, t->word, dst, EMIT_MEM((u8)dst, disp));
}

/* ---- addresses ------------------------------------------------------------------------------------- */

bool jit_ea_possible(const struct x86_insn *insn)
{
	return insn->asize == 4 || (insn->asize == 8 && jit_near(insn->disp));
}

#define JIT_WINDOW(n) EMIT_GS((s32)(offsetof(struct x86_cpu, host_window) + (n) * sizeof(u64)))

static bool is_known(const struct jit_block *t, const struct x86_insn *insn)
{
	return (insn->base == X86_REG_ZERO || (insn->base == X86_REG_RIP && t->fixed)) && insn->index == X86_REG_ZERO &&
	       insn->asize == 8 && t->word == 8;
}

/* The effective address then. */
static u64 known_ea(const struct jit_block *t, const struct x86_insn *insn)
{
	return (u64)insn->disp + (insn->base == X86_REG_RIP ? t->page + t->offset : 0);
}

bool jit_known_address(const struct jit_block *t, const struct x86_insn *insn, u64 *gva)
{
	*gva = known_ea(t, insn);
	return is_known(t, insn) && insn->seg < X86_FS;
}

/* The address plus extra. */
static void ea_plus(struct jit_block *t, const struct x86_insn *insn, unsigned dst, unsigned size, s64 extra)
{
	struct emit *e = &t->e;
	struct emit_mem m = { .index = EMIT_NO_INDEX, .scale = insn->scale };

	if (insn->base == X86_REG_RIP && is_known(t, insn) && size == 8) {
		emit_mov_imm(e, dst, known_ea(t, insn) + (u64)extra);
		t->took_a |= dst == JIT_A;
		return;
	}
	if (insn->asize == 4 && size == 8)
		size = 4;
	if (insn->index != X86_REG_ZERO)
		m.index = (u8)jit_get(t, insn->index, JIT_B);
	m.disp = (s32)(insn->disp + extra);
	if (insn->base == X86_REG_RIP) {
		emit_load(e, 8, dst, JIT_FIELD(code_page));
		m.base = (u8)dst;
		m.disp += (s32)t->offset;
	} else {
		m.base = insn->base == X86_REG_ZERO ? EMIT_NO_BASE :
						      (u8)jit_get(t, insn->base, m.index == JIT_B ? JIT_A : JIT_B);
	}
	t->took_a |= m.base == JIT_A || dst == JIT_A;
	emit_lea(e, size, dst, m);
}

void jit_ea(struct jit_block *t, const struct x86_insn *insn, unsigned dst, unsigned size)
{
	ea_plus(t, insn, dst, size, 0);
}

s32 jit_stack_disp(const struct jit_block *t, const struct x86_insn *insn)
{
	return insn->op == X86_OP_POP || insn->op == X86_OP_RET || insn->op == X86_OP_LEAVE ? 0 : -(s32)t->word;
}

/* An address that is known: in JIT_A, and so is its entry. */
static void absolute(struct jit_block *t, u64 gva)
{
	emit_mov_imm(&t->e, JIT_A, gva);
	t->took_a = true;
	t->entry = (gva >> 12 & (X86_TLB_SIZE - 1)) * sizeof(struct x86_tlb_entry);
}

/* Linear address of an access plus extra in JIT_A. */
static void linear(struct jit_block *t, const struct x86_insn *insn, enum jit_which which, s64 extra)
{
	u64 known;

	t->entry = JIT_NO_ENTRY;
	if (which == JIT_STACK) {
		emit_lea(&t->e, t->word, JIT_A,
			 EMIT_MEM(insn->op == X86_OP_LEAVE ? X86_RBP : (u8)JIT_SP, jit_stack_disp(t, insn) + (s32)extra));
		return;
	}
	if (jit_known_address(t, insn, &known)) {
		absolute(t, known + (u64)extra);
		return;
	}
	ea_plus(t, insn, JIT_A, 8, extra);
	if (insn->seg == X86_FS || insn->seg == X86_GS)
		emit_alu_load(&t->e, EMIT_ADD, t->word, JIT_A,
			      EMIT_GS((s32)(offsetof(struct x86_cpu, seg_base) + insn->seg * sizeof(u64))));
}

/* ---- probes ---------------------------------------------------------------------------------------- */

static size_t tag(bool write)
{
	return write ? offsetof(struct x86_tlb_entry, tag_write) : offsetof(struct x86_tlb_entry, tag_read);
}

/* Of the entry that has been found: by JIT_B. */
static struct emit_mem entry_field(const struct jit_block *t, size_t field)
{
	s32 disp = (s32)(field + (t->entry == JIT_NO_ENTRY ? 0 : t->entry));
	struct emit_mem m = EMIT_MEM(JIT_B, disp);

	if (!t->shared)
		return m;
	m = EMIT_GS((s32)offsetof(struct x86_cpu, tlbs) + disp);
	if (t->entry == JIT_NO_ENTRY)
		m.base = JIT_B;
	return m;
}

static void entry_by_address(struct jit_block *t)
{
	struct emit *e = &t->e;

	if (t->jit->rorx) {
		emit_rorx(e, 4, JIT_B, JIT_A, 12 - 5);
	} else {
		emit_mov(e, 4, JIT_B, JIT_A);
		emit_shift(e, EMIT_SHR, 4, JIT_B, 12 - 5);
	}
	emit_alu_imm(e, EMIT_AND, 4, JIT_B, (X86_TLB_SIZE - 1) << 5);
	if (!t->shared)
		emit_alu_load(e, EMIT_ADD, 8, JIT_B, JIT_FIELD(tlb));
}

/* JIT_A: from linear address to offset in its page, JIT_B: the page's entry; flags are lost. The branch if it misses. */
static u8 *find_entry(struct jit_block *t, unsigned size, bool write)
{
	struct emit *e = &t->e;

	t->in_host = false;
	if (t->entry == JIT_NO_ENTRY)
		entry_by_address(t);
	else if (!t->shared)
		emit_load(e, 8, JIT_B, JIT_FIELD(tlb));
	emit_alu_load(e, EMIT_SUB, 8, JIT_A, entry_field(t, tag(write)));
	emit_alu_imm(e, EMIT_CMP, 8, JIT_A, 4096 - (s32)size);
	return emit_jcc_forward(e, JIT_IF_ABOVE);
}

/* JIT_A: from linear to host address; JIT_B and flags are lost. The branch if it misses. */
static u8 *probe(struct jit_block *t, unsigned size, bool write)
{
	u8 *miss = find_entry(t, size, write);

	emit_alu_load(&t->e, EMIT_ADD, 8, JIT_A, entry_field(t, offsetof(struct x86_tlb_entry, host)));
	return miss;
}

static struct jit_cold *add_cold(struct jit_block *t, u8 *place)
{
	struct jit_cold *c;

	if (t->nr_cold == ARRAY_SIZE(t->cold)) {
		t->e.overflow = true;
		return NULL;
	}
	c = &t->cold[t->nr_cold++];
	*c = (struct jit_cold){ .place = place, .insn = t->now, .position = t->position, .window = JIT_NO_WINDOW,
				.recipe = jit_flags_source(t), .shared = t->shared };
	return c;
}

void jit_slow_at(struct jit_block *t, u8 *place)
{
	add_cold(t, place);
}

void jit_slow_if(struct jit_block *t, unsigned cond)
{
	add_cold(t, emit_jcc_forward(&t->e, cond));
}

/* From an access to its window's start. */
static s64 window_start(const struct jit_block *t, unsigned position, enum jit_which which)
{
	const struct jit_access *a = &t->plan.access[position][which];

	return t->plan.window[a->window].low - a->offset;
}

/* Whether the window is written to before the next branch. */
static bool write_follows(const struct jit_block *t, unsigned window)
{
	for (unsigned i = t->now; i < (unsigned)(t->piece->first + t->piece->nr); i++) {
		const struct jit_access *a = t->plan.access[t->position + i - t->now];

		if ((a[0].window == window && a[0].write) || (a[1].window == window && a[1].write))
			return true;
		if (t->b->insn[i].op == X86_OP_JCC)
			return false;
	}
	return false;
}

/* The access that now comes may be one to memory that the host denies. */
static void note_flags(struct jit_block *t)
{
	t->piece->at[t->now - t->piece->first].flags = (s8)jit_flags_source(t);
}

static struct emit_mem page_field(unsigned window, size_t field)
{
	return EMIT_GS((s32)(offsetof(struct x86_cpu, host_page) + window * 16 + field));
}

/*
 * An access in strides: that of the last iteration was in the same page as a rule, which then is not looked up again.
 * JIT_A: the window's host address.
 */
static void stride(struct jit_block *t, const struct x86_insn *insn, bool write)
{
	unsigned n = t->plan.access[t->position][JIT_EXPLICIT].window;
	struct jit_window *w = &t->plan.window[n];
	struct emit *e = &t->e;
	u8 *back;

	jit_risk_flags(t);
	note_flags(t);
	w->known = true;
	w->align = 0;
	w->writable = write || write_follows(t, n);
	back = e->p;
	linear(t, insn, JIT_EXPLICIT, window_start(t, t->position, JIT_EXPLICIT));
	emit_alu_load(e, EMIT_SUB, 8, JIT_A, page_field(n, 0));
	emit_alu_imm(e, EMIT_CMP, 8, JIT_A, 4096 - (s32)(w->high - w->low));
	if (t->nr_turns == ARRAY_SIZE(t->turn)) {
		e->overflow = true;
		return;
	}
	t->turn[t->nr_turns++] = (struct jit_turn){
		.place = emit_jcc_forward(e, JIT_IF_ABOVE), .back = back, .insn = t->now, .position = t->position,
		.write = w->writable, .recipe = jit_flags_source(t),
	};
	emit_alu_load(e, EMIT_ADD, 8, JIT_A, page_field(n, 8));
	t->in_host = false;
	if (w->members > 1)
		emit_store(e, 8, JIT_WINDOW(n), JIT_A);
}

void jit_turns(struct jit_block *t)
{
	struct emit *e = &t->e;

	for (unsigned i = 0; i < t->nr_turns; i++) {
		const struct jit_turn *turn = &t->turn[i];
		unsigned n = t->plan.access[turn->position][JIT_EXPLICIT].window;
		const struct jit_window *w = &t->plan.window[n];
		struct jit_cold *c;

		t->now = turn->insn;
		t->position = turn->position;
		emit_patch(e, turn->place);
		linear(t, &t->b->insn[t->now], JIT_EXPLICIT, window_start(t, t->position, JIT_EXPLICIT));
		c = add_cold(t, find_entry(t, (unsigned)(w->high - w->low), turn->write));
		if (!c)
			return;
		*c = (struct jit_cold){ .place = c->place, .back = turn->back, .insn = t->now, .position = t->position,
					.window = (u8)n, .which = JIT_EXPLICIT, .writable = turn->write,
					.recipe = turn->recipe, .shared = c->shared };
		emit_load(e, 8, JIT_A, entry_field(t, tag(turn->write)));
		emit_store(e, 8, page_field(n, 0), JIT_A);
		emit_load(e, 8, JIT_A, entry_field(t, offsetof(struct x86_tlb_entry, host)));
		emit_store(e, 8, page_field(n, 8), JIT_A);
		emit_jmp(e, 0, turn->back);
	}
}

static void open_window(struct jit_block *t, const struct x86_insn *insn, enum jit_which which, bool write)
{
	unsigned n = t->plan.access[t->position][which].window;
	struct jit_window *w = &t->plan.window[n];
	struct jit_cold *c;
	u8 *start;

	jit_risk_flags(t);
	note_flags(t);
	w->known = true;
	w->align = 0;
	w->writable = write || write_follows(t, n);
	start = t->e.p;
	linear(t, insn, which, window_start(t, t->position, which));
	c = add_cold(t, probe(t, (unsigned)(w->high - w->low), w->writable));
	emit_store(&t->e, 8, JIT_WINDOW(n), JIT_A);
	t->in_a = (u8)n;
	if (!c)
		return;
	c->back = start;
	c->window = (u8)n;
	c->which = (u8)which;
	c->writable = w->writable;
}

/* Whether the instruction at hand has a way to its handler already: coming back from there, it has opened no window. */
static bool may_be_handled(const struct jit_block *t)
{
	const struct jit_cold *last;

	if (!t->nr_cold)
		return false;
	last = &t->cold[t->nr_cold - 1];
	return last->insn == t->now && last->window == JIT_NO_WINDOW && !last->back;
}

/* To the handler unless the segment has no limit. */
static void demand_flat(struct jit_block *t, unsigned seg)
{
	jit_risk_flags(t);
	t->in_host = false;
	emit_op_mem(&t->e, 1, 0xf6, 0, JIT_FIELD(seg_flat)); /* TEST */
	emit8(&t->e, BIT(seg));
	jit_slow_if(t, JIT_IF_EQUAL);
}

static struct emit_mem operand(struct jit_block *t, const struct x86_insn *insn, enum jit_which which,
			       unsigned size, bool write)
{
	const struct jit_access *a = &t->plan.access[t->position][which];
	struct jit_window *w = a->window == JIT_NO_WINDOW ? NULL : &t->plan.window[a->window];

	t->based = 0;
	t->stack_b = false;
	if (jit_may_be_limited(insn, t->word) && which == JIT_EXPLICIT)
		demand_flat(t, insn->seg);
	if (w && t->loop.inside && which == JIT_EXPLICIT && (t->loop.paged >> a->window & 1) && !w->known) {
		stride(t, insn, write);
		t->in_a = w->members > 1 ? a->window : JIT_NO_WINDOW;
		return EMIT_MEM(JIT_A, (s32)(a->offset - w->low));
	}
	if (!t->windows || !w || w->members < 2 ||
	    ((!w->known || (write && !w->writable)) && may_be_handled(t))) {
		jit_risk_flags(t);
		note_flags(t);
		linear(t, insn, which, 0);
		add_cold(t, probe(t, size, write));
		t->in_a = JIT_NO_WINDOW;
		return EMIT_MEM(JIT_A, 0);
	}
	if (w->known && (!write || w->writable))
		note_flags(t);
	if (!w->known || (write && !w->writable))
		open_window(t, insn, which, write);
	else if (t->in_a != a->window)
		emit_load(&t->e, 8, JIT_A, JIT_WINDOW(a->window));
	t->in_a = a->window;
	return EMIT_MEM(JIT_A, (s32)(a->offset - w->low));
}

struct emit_mem jit_operand_at(struct jit_block *t, unsigned size, bool write)
{
	note_flags(t);
	t->entry = JIT_NO_ENTRY;
	add_cold(t, probe(t, size, write));
	t->in_a = JIT_NO_WINDOW;
	t->based = 0;
	t->stack_b = false;
	return EMIT_MEM(JIT_A, 0);
}

void jit_linear(struct jit_block *t, const struct x86_insn *insn)
{
	linear(t, insn, JIT_EXPLICIT, 0);
}

struct emit_mem jit_operand_b(struct jit_block *t, const struct x86_insn *insn, unsigned size, bool write)
{
	if (jit_direct(t))
		return jit_direct_operand(t, insn, true);
	return operand(t, insn, JIT_EXPLICIT, size, write);
}

struct emit_mem jit_operand(struct jit_block *t, const struct x86_insn *insn, unsigned size, bool write)
{
	if (jit_direct(t))
		return jit_free_b(t, jit_direct_operand(t, insn, false));
	return operand(t, insn, JIT_EXPLICIT, size, write);
}

struct emit_mem jit_stack_operand(struct jit_block *t, const struct x86_insn *insn)
{
	if (jit_direct(t))
		return jit_direct_stack(t, insn, false);
	return operand(t, insn, JIT_STACK, t->word, jit_stack_disp(t, insn));
}

struct emit_mem jit_stack_operand_b(struct jit_block *t, const struct x86_insn *insn)
{
	return jit_direct(t) ? jit_direct_stack(t, insn, true) : jit_stack_operand(t, insn);
}

bool jit_aligned(struct jit_block *t, struct emit_mem m, u32 mask)
{
	struct jit_window *w;

	if (t->in_a == JIT_NO_WINDOW)
		return false;
	w = &t->plan.window[t->in_a];
	if (w->align >= mask && !(((u32)m.disp - w->align_at) & mask))
		return true;
	w->align = (u8)mask;
	w->align_at = (u8)((u32)m.disp & mask);
	return false;
}

void jit_kept_a(struct jit_block *t)
{
	bool handled = may_be_handled(t);

	t->next_in_a = handled ? JIT_NO_WINDOW : t->in_a;
	t->next_based = handled ? 0 : t->based;
}

void jit_kept_b(struct jit_block *t)
{
	t->next_stack_b = t->stack_b && !may_be_handled(t);
}

void jit_close_windows(struct jit_block *t)
{
	for (unsigned i = 0; i < t->plan.nr; i++)
		t->plan.window[i].known = false;
	t->in_a = t->next_in_a = JIT_NO_WINDOW;
}

void jit_cold_window(struct jit_block *t, const struct jit_cold *c, const u64 *split)
{
	const struct x86_insn *insn = &t->b->insn[c->insn];
	const struct jit_access *a = &t->plan.access[c->position][c->which];
	const struct jit_window *w = &t->plan.window[a->window];
	union jit_refill refill = { .own = (u16)(a->offset - w->low), .own_size = a->size, .own_write = a->write,
				    .size = (u16)(w->high - w->low), .write = c->writable, .shared = c->shared };

	emit_patch(&t->e, c->place);
	linear(t, insn, c->which, window_start(t, c->position, c->which));
	emit_mov_imm(&t->e, JIT_B, refill.word);
	emit_call(&t->e, t->delta, t->jit->refill);
	emit_jcc(&t->e, JIT_IF_NOT_EQUAL, 0, c->back);
	jit_recover_flags(t, c->recipe);
	emit_lea_cell(&t->e, JIT_A, split);
	emit_jmp_mem(&t->e, EMIT_MEM(JIT_A, 0));
}

_Static_assert(sizeof(struct x86_tlb_entry) == 32, "the probe's shifts");
_Static_assert(sizeof(struct jit_jump) == 32, "the dispatcher's shift");

/* ---- handlers -------------------------------------------------------------------------------------- */

void jit_finish(struct jit_block *t)
{
	for (unsigned i = t->nr_cold; i-- && t->cold[i].insn == t->now;) {
		if (t->cold[i].back)
			continue;
		t->cold[i].back = t->e.p;
		t->cold[i].flags = t->in_host;
	}
}

void jit_call_last(struct jit_block *t)
{
	emit_mov_imm(&t->e, JIT_A, (u64)&t->b->insn[t->now]);
	emit_mov_imm(&t->e, JIT_B, t->offset);
	emit_jmp(&t->e, t->delta, t->jit->call_last);
}

void jit_call_handler(struct jit_block *t, unsigned insn)
{
	emit_mov_imm(&t->e, JIT_A, (u64)&t->b->insn[insn]);
	emit_mov_imm(&t->e, JIT_B, t->offset);
	emit_call(&t->e, t->delta, t->jit->call_insn);
	jit_flags_in_memory(t);
}
