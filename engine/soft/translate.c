/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translator: decoded blocks that have become warm are turned into native code.
 *
 * What it translates. A struct block of 64-bit code, or of 32-bit code in flat segments, as block.c made it: one entry,
 * side exits at taken conditional branches. Instructions that compute on registers and plain memory run as themselves with
 * registers renamed; all others are calls of the interpreter's handlers. So every block can be
 * translated, and each operation has its interpreter twin (ANYKVM_SOFT=interp), which is also its slow
 * path: a memory operand that misses the TLB, a branch to a strange address, a misaligned vector operand
 * go to the handler of the whole instruction, before anything has been committed.
 *
 * State. Guest registers live in host registers across blocks (jit.h); of RIP only the page is kept.
 * Handlers are called with everything in struct x86_cpu, and look at the result and at cpu->stop as the
 * interpreter's loop does; faults, MMIO, modified code, single steps are all found by handlers and
 * dealt with by the loop in run.c. Status flags are in cpu->cc at every block's entry, and inside a block
 * wherever jit_access.c has put them. Vector state is the host's.
 *
 * Ways in and out. A block begins with a look at cpu->stop; if it is set the loop is entered with RIP at
 * the block, and looks. Branches ahead within the page and returns to a CALL enter behind that: so a kick is
 * seen at the next backward branch, call or computed jump. That a block's bytes are still those in memory
 * needs no test: block.c has why. Most pages are at one linear address all the time, so translations count on that,
 * until their page is run from at another one (leave_home()). A branch within the page leads to the loop until the loop has found that the block
 * at this offset of this very page, in this mode, is translated; then its displacement is written over. Page
 * and mode are the branching block's own, so no change of mapping can make it wrong; when the block ends or
 * its page is in doubt, the branches that lead to it are undone (translate_unlink()). A direct branch to another page
 * is linked in the same way, but for one number of block.c, which it compares with the present one before it
 * does anything; cpu->stop is in the same word, so this is a look at it, too. If they differ, or if the branch is an
 * indirect one, RIP is looked up in a table, jit.jump, whose entries bear numbers; what is not there is done by the
 * branch's handler. A RET returns by the host's stack (jit_frame.c).
 *
 * Life time. Code and cells are never freed singly, but part by part (jit_room.c). If handlers called by translated
 * code void blocks, the code that they return to must not chain on: X86_STOP_CODE makes it leave at once. Everything
 * belongs to one vCPU's thread.
 *
 * Host faults. A slot whose memory the VMM cannot access faults in translated code; the guard in run.c
 * unwinds, and translate_fault() takes the guest's registers from the fault's frame, and the instruction
 * and where its flags are from the table of the block's piece of code (struct jit_piece).
 */
#include <stdlib.h>

#include "engine/soft/jit.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/perfmap.h"
#include "engine/soft/translate.h"
#include "host/host.h"
#include "host/user/gs.h"
#include "x86/opcodes.h"

#define WARM 8

/* ---- from the loop --------------------------------------------------------------------------------- */

static struct jit_jump *jump_in(const struct jit *jit, struct jit_jump *table, u64 rip)
{
	return &table[((u32)rip * JIT_JUMP_HASH & jit->cpu->code_mask) >> 5];
}

static void size_jumps(struct jit *jit, u32 mask)
{
	jit->cpu->code_mask = mask;
	jit->displaced_jumps = 0;
}

/*
 * An idle guest needs few entries, and is woken faster if they are close together. Entries that are elsewhere in a larger
 * table stay where they are, and are not found again.
 */
static void enter_jump(struct jit *jit, struct jit_jump *to, const struct jit_jump *jump)
{
	u32 mask = jit->cpu->code_mask, entries = (mask >> 5) + 1;

	jit->displaced_jumps += to->number == jump->number && to->rip != jump->rip;
	*to = *jump;
	if (jit->displaced_jumps > entries / 2 && mask < JIT_JUMP_MASK(JIT_JUMP_BITS))
		size_jumps(jit, mask << 1 | 1u << 5);
}

static void patch(struct jit *jit, u8 *place, s32 distance)
{
	memcpy(place, &distance, sizeof(distance));
	jit->patched = true;
}

static void lead_to(struct jit *jit, u32 n, struct block *b)
{
	struct jit_target *target = &jit->target[n];
	const u8 *to = target->inner ? b->inner : b->code;

	patch(jit, target->place, (s32)(code_write_address(&jit->region, to) - (target->place + 4)));
	target->to = b;
	target->previous = 0;
	target->next = b->incoming;
	if (b->incoming)
		jit->target[b->incoming - 1].previous = n + 1;
	b->incoming = n + 1;
}

/*
 * A block that spans pages depends on what page follows, so it is reached by the table alone. The code that leaves for it
 * is made to look there.
 */
static void link_near(struct jit *jit, struct block *b, u32 n)
{
	const struct jit_target *target = &jit->target[n];

	if (target->page != b->page || target->offset != b->offset || target->to)
		return;
	if (b->spans)
		patch(jit, target->leave, (s32)(code_write_address(&jit->region, jit->by_table[jit_way(b->key) >= BLOCK_CLASSES]) -
						(target->leave + 4)));
	else
		lead_to(jit, n, b);
}

void jit_detach(struct jit *jit, u32 n)
{
	struct jit_target *target = &jit->target[n];

	if (!target->to)
		return;
	if (target->previous)
		jit->target[target->previous - 1].next = target->next;
	else
		target->to->incoming = target->next;
	if (target->next)
		jit->target[target->next - 1].previous = target->previous;
	target->to = NULL;
}

/* As long as the number holds, the page of the branch is at one linear address, and so is the target's (block.c). */
static void link_far(struct jit *jit, struct block *b, u32 n, const struct jit_jump *jump)
{
	struct jit_target *target = &jit->target[n];
	u64 page = jit->cpu->code_page, rip = page + (u64)target->offset;

	if (jit_way(b->key) >= BLOCK_CLASSES)
		rip = (u32)rip;
	if (rip != jump->rip || !block_page_is_at(jit->soft, target->page, block_class(b->key), page))
		return;
	if (target->to != b) {
		jit_detach(jit, n);
		lead_to(jit, n, b);
	}
	target->cells->code = (u64)b->inner;
	target->cells->page = jump->page;
	target->cells->number = jump->number;
}

static void unlink_branch(struct jit *jit, struct jit_target *target)
{
	if (target->cells)
		target->cells->code = target->cells->number = 0;
	else
		patch(jit, target->place, target->unlinked);
	target->to = NULL;
}

/* The other tables are not worth a look, which would bring in their memory. */
static void note_way(struct jit *jit, u32 key)
{
	size_t table = (size_t)(jit_jumps(jit, jit_way(key)) - jit->jump[0]) / ARRAY_SIZE(jit->jump[0]);

	jit->used_jumps |= 1u << table;
}

/* The way to b is known now: for the branch that was left through, and for the table. */
static void link_to(struct jit *jit, struct block *b, u64 rip)
{
	const struct jump *j = block_jump(jit->soft, rip);
	const struct jit_target *target = jit->link ? &jit->target[jit->link - 1] : NULL;
	struct jit_jump jump = { .rip = rip, .number = j->number << 32, .code = b->inner, .page = rip & PAGE_MASK };

	if (target && !target->cells && target->key == b->key)
		link_near(jit, b, (u32)jit->link - 1);
	if (j->rip != rip || j->block != b || j->number != jit->soft->now.link[block_class(b->key)])
		return;
	note_way(jit, b->key);
	enter_jump(jit, jump_in(jit, jit_jumps(jit, jit_way(b->key)), rip), &jump);
	if (target && target->cells && target->key == b->key)
		link_far(jit, b, (u32)jit->link - 1, &jump);
}

void translate_unlink(struct soft_vcpu *soft, struct block *b)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	for (u32 n = b->incoming; n; n = jit->target[n - 1].next)
		unlink_branch(jit, &jit->target[n - 1]);
	b->incoming = 0;
	jit->link = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(jit->jump) && b->entered; i++) {
		struct jit_jump *j = jit->used_jumps >> i & 1 ? jump_in(jit, jit->jump[i], b->rip) : NULL;

		if (j && j->rip == b->rip)
			j->number = 0;
	}
}

/* No code, so that jit.find_far does not make them good again. */
static void close_far(struct jit *jit, const struct jit_piece *p)
{
	for (u32 n = p->link; n < p->link + p->nr_links; n++) {
		struct jit_far *cells = jit->target[n].cells;

		if (cells)
			cells->code = cells->number = 0;
	}
}

void translate_unlink_far(struct soft_vcpu *soft, const struct block_page *page)
{
	if (!soft->jit)
		return;
	for (unsigned chunk = 0; chunk < CODE_CHUNKS; chunk++) {
		for (const struct block *b = page->first[chunk]; b; b = b->next) {
			for (const struct jit_piece *p = b->pieces; p; p = p->next)
				close_far(soft->jit, p);
		}
	}
}

void translate_select(struct soft_vcpu *soft)
{
	for (unsigned way = 0; way < JIT_WAYS; way++) {
		soft->cpu->code_number[way] = (u32)soft->now.link[way % BLOCK_CLASSES];
		if (soft->jit)
			soft->cpu->code_jumps[way] = jit_jumps(soft->jit, way);
	}
	soft->selected = true;
	if (!soft->at_last || soft->worn)
		atomic_or(&soft->cpu->stop, X86_STOP_CODE);
}

/* Nothing leads to the page's translations any more, and the next ones will not depend on its linear address. */
static void leave_home(struct soft_vcpu *soft, struct block_page *page)
{
	page->homeless = true;
	for (unsigned chunk = 0; chunk < CODE_CHUNKS; chunk++) {
		for (struct block *b = page->first[chunk]; b; b = b->next) {
			if (!b->home)
				continue;
			translate_unlink(soft, b);
			b->code = NULL;
			b->home = 0;
			b->heat = soft->jit->warm;
		}
	}
}

/* Where a block is about to be translated. */
static void settle(struct soft_vcpu *soft, struct block_page *page, u64 linear)
{
	if (page->homeless || page->home == linear + 1)
		return;
	if (page->home)
		leave_home(soft, page);
	else
		page->home = linear + 1;
}

bool translate_run(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b, enum x86_result *r)
{
	u64 page = code_linear_rip(cpu) & PAGE_MASK;
	struct jit *jit = soft->jit;

	if (unlikely(b->home && b->home != page + 1))
		leave_home(soft, b->page);
	if (!b->code) {
		if (likely(b->heat++ != jit->warm))
			return false;
		settle(soft, b->page, page);
		jit_translate(jit, b);
		if (!b->code)
			return false;
	}
	if (unlikely(jit->declined || cpu->align_check)) {
		jit->declined = false;
		jit->link = 0;
		return false;
	}
	if (likely(!soft->lockstep))
		link_to(jit, b, x86_rip(cpu));
	jit->link = 0;
	soft->stat->translation_entries++;
	if (unlikely(jit->patched)) {
		jit->patched = false;
		code_serialize();
	}
	cpu->code_current = cpu->code_number[jit_way(b->key)];
	cpu->code_table = cpu->code_jumps[jit_way(b->key)];
	*r = unlikely(soft->lockstep) ? lockstep_run(cpu, soft, b) : jit->enter(cpu, b->code);
	soft->stat->link_misses += jit->link != 0;
	soft->stat->branch_misses += !jit->link && *r == X86_BRANCH && !atomic_read(&cpu->stop);
	return true;
}

void translate_flush(struct soft_vcpu *soft)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	if (soft->worn)
		memset(jit->jump, 0, sizeof(jit->jump));
	jit_empty_room(jit);
	jit->link = 0;
	atomic_or(&jit->cpu->stop, X86_STOP_CODE);
}

void translate_release(struct soft_vcpu *soft)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	jit_release_room(jit);
	host_zero_pages(jit->jump, sizeof(jit->jump));
	jit->used_jumps = 0;
	size_jumps(jit, JIT_JUMP_MASK(JIT_JUMP_BITS_FIRST));
}

/* ---- host faults ----------------------------------------------------------------------------------- */

bool translate_fault(struct x86_cpu *cpu, struct soft_vcpu *soft, const struct host_fault_frame *f)
{
	const u8 *pc = (const u8 *)f->pc;
	struct jit_place at;

	if (!soft->jit || !code_contains(&soft->jit->region, pc))
		return false;
	for (unsigned g = X86_RAX; g <= X86_R15; g++) {
		if (jit_host(g) != JIT_IN_MEMORY)
			cpu->regs[g] = f->gpr[jit_host(g)];
	}
	soft->insn = NULL;
	if (!jit_find_place(soft->jit, pc, &at))
		return false;
	soft->insn = &at.block->insn[at.piece->first + at.index];
	cpu->regs[X86_REG_RIP] = cpu->code_page + at.block->offset;
	jit_string_fault(cpu, soft->insn, f->gpr);
	jit_fault_flags(cpu, at.block, at.piece->at[at.index].flags, f->flags);
	return f->trap == X86_GP; /* none of the host's addresses: a loop has no page yet */
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* ANYKVM_SOFT: interp, jit (at first execution), lockstep (the same, compared), auto (when warm; the default). */
static bool configured(u32 *warm)
{
	const char *mode = getenv("ANYKVM_SOFT");

	*warm = WARM;
	if (mode && (mode[0] == 'j' || mode[0] == 'l'))
		*warm = 0;
	return !mode || mode[0] != 'i';
}

static bool lockstep_wanted(void)
{
	const char *mode = getenv("ANYKVM_SOFT");

	return mode && mode[0] == 'l';
}

static bool asked_for(const char *variable)
{
	const char *value = getenv(variable);

	return value && value[0] == '1';
}

/* ANYKVM_CODE_MB */
size_t translate_room(void)
{
	const char *value = getenv("ANYKVM_CODE_MB");
	long mb = value ? atol(value) : 0;

	return (size_t)(mb < 1 || mb > 1024 ? 80 : mb) << 20;
}

#define PART_MIN (512u << 10)
#define PART_MAX (8u << 20)
#define PARTS 32

u32 translate_parts(size_t room)
{
	if (room < PARTS * (size_t)PART_MIN)
		return (u32)(room / PART_MIN);
	return room > PARTS * (size_t)PART_MAX ? (u32)(room / PART_MAX) : PARTS;
}

static bool have_rorx(void)
{
	u32 a = 0, b = 0, c = 0, d = 0;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (a < 7)
		return false;
	a = 7;
	c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 8 & 1; /* BMI2 */
}

void translate_create(struct x86_cpu *cpu, struct soft_vcpu *soft)
{
	struct jit *jit;
	u32 warm;

	if (!configured(&warm))
		return;
	if (!host_gs_init())
		return;
	jit = host_alloc_pages(sizeof(*jit));
	if (!jit)
		return;
	jit->cpu = cpu;
	jit->soft = soft;
	jit->warm = warm;
	jit->rorx = have_rorx();
	size_jumps(jit, JIT_JUMP_MASK(JIT_JUMP_BITS_FIRST));
	jit->count_handlers = vcpu_of(cpu)->count_handlers = asked_for("ANYKVM_STAT_HANDLERS");
	if (jit_make_room(jit, translate_room()))
		goto out_free;
	if (!jit_make_frame(jit)) {
		jit_free_room(jit);
		goto out_free;
	}
	jit_empty_room(jit);
	perfmap_open();
	perfmap_add_fixed(jit->region.exec, jit->fixed);
	soft->jit = jit;
	if (lockstep_wanted())
		soft->lockstep = lockstep_create();
	translate_select(soft);
	return;

out_free:
	host_free_pages(jit, sizeof(*jit));
}

void translate_destroy(struct soft_vcpu *soft)
{
	struct jit *jit = soft->jit;

	if (!jit)
		return;
	if (soft->lockstep)
		lockstep_destroy(soft->lockstep);
	jit_free_room(jit);
	host_free_pages(jit, sizeof(*jit));
	soft->jit = NULL;
}
