/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System instructions in translated code: those that kernels execute at every entry and exit. What they are for is done
 * inline in the ordinary case; CPL 1 and 2, events that wait for this very instruction, and what else is odd go to the
 * handler (jit_slow_if).
 *
 * Instructions that end a block without leaving what is translated - SYSCALL, IRET, MOV CR3 - run by their handlers, but what
 * follows them is looked up without leaving translated code: jit_last().
 */
#include "engine/soft/jit.h"
#include "x86/opcodes.h"

enum { IF_NOT_ZERO = 5, IF_ZERO = 4 };

static void test_field(struct jit_block *t, unsigned size, struct emit_mem m, s32 mask)
{
	emit_op_mem(&t->e, size, size == 1 ? 0xf6 : 0xf7, 0, m);
	if (size == 1)
		emit8(&t->e, (u8)mask);
	else
		emit32(&t->e, (u32)mask);
}

static void alu_field(struct jit_block *t, enum emit_alu op, struct emit_mem m, u32 value)
{
	emit_op_mem(&t->e, 4, 0x81, op, m);
	emit32(&t->e, value);
}

/* To the handler unless CPL is 0; the block is not one of CPL 3. Flags are lost. */
static void demand_cpl0(struct jit_block *t)
{
	jit_risk_flags(t);
	t->in_host = false;
	emit_op_mem(&t->e, 1, 0x80, EMIT_CMP, JIT_FIELD(cpl));
	emit8(&t->e, 0);
	jit_slow_if(t, IF_NOT_ZERO);
}

static bool is_user(const struct jit_block *t)
{
	return t->b->key & BLOCK_KEY_USER;
}

/* ---- SWAPGS, CLI, STI ------------------------------------------------------------------------------ */

static bool swapgs(struct jit_block *t)
{
	struct emit *e = &t->e;

	demand_cpl0(t);
	emit_load(e, 8, JIT_A, JIT_FIELD(msr.kernel_gs_base));
	emit_load(e, 8, JIT_B, JIT_FIELD(seg[X86_GS].base));
	emit_store(e, 8, JIT_FIELD(seg[X86_GS].base), JIT_A);
	emit_store(e, 8, JIT_FIELD(seg_base[X86_GS]), JIT_A);
	emit_store(e, 8, JIT_FIELD(msr.kernel_gs_base), JIT_B);
	jit_close_windows(t);
	return true;
}

static bool cli(struct jit_block *t)
{
	demand_cpl0(t);
	alu_field(t, EMIT_AND, JIT_FIELD(rflags), ~X86_IF);
	return true;
}

static bool touches_memory(const struct x86_insn *insn)
{
	for (unsigned i = 0; i < insn->nr_operands; i++) {
		if (insn->operand[i].kind == X86_OPD_MEM)
			return true;
	}
	return false;
}

/*
 * Whether the instruction in STI's shadow runs to its end, or faults, before anybody can look at the shadow: then it need
 * not be noted. No event is taken between the two, as translated code looks for none there.
 */
static bool hides_shadow(const struct x86_insn *insn)
{
	if (insn->op == X86_OP_NOP || insn->op == X86_OP_HLT)
		return true;
	if (insn->desc->flags & X86_F_BRANCH)
		return insn->op == X86_OP_JCC || insn->op == X86_OP_JMP || insn->op == X86_OP_RET;
	return (insn->desc->flags & X86_F_INNOCUOUS) && !touches_memory(insn) && insn->op != X86_OP_PUSH &&
	       insn->op != X86_OP_POP && insn->op != X86_OP_LEAVE;
}

/* With an event that waits for interrupts to be enabled the handler notes the shadow, and the loop takes the event behind it. */
static bool sti(struct jit_block *t, const struct x86_insn *insn)
{
	if (t->now + 1 == t->b->nr || !hides_shadow(insn + 1))
		return false;
	demand_cpl0(t);
	emit_op_mem(&t->e, 1, 0x80, EMIT_CMP, JIT_FIELD(window));
	emit8(&t->e, 0);
	jit_slow_if(t, IF_NOT_ZERO);
	alu_field(t, EMIT_OR, JIT_FIELD(rflags), X86_IF);
	return true;
}

/* ---- POPF ------------------------------------------------------------------------------------------------ */

/* JIT_B, as flags in their places in RFLAGS, to cpu->cc. JIT_A is lost. */
static void status_from_b(struct jit_block *t)
{
	struct emit *e = &t->e;

	emit_mov(e, 4, JIT_A, JIT_B);
	emit_shift(e, EMIT_SHR, 4, JIT_A, 11);
	emit_alu_imm(e, EMIT_AND, 4, JIT_A, 1);
	emit_shift(e, EMIT_SHL, 4, JIT_B, 8);
	emit_alu_imm(e, EMIT_AND, 4, JIT_B, 0xff00);
	emit_alu(e, EMIT_OR, 4, JIT_B, JIT_A);
	emit_store(e, 4, JIT_FIELD(cc), JIT_B);
	jit_flags_in_memory(t);
}

/* That changes nothing but the status flags, DF, and at CPL 0 IF, with nobody waiting for that. */
static bool popf(struct jit_block *t, const struct x86_insn *insn)
{
	u32 may = X86_FLAGS_STATUS | X86_DF | (is_user(t) ? 0 : X86_IF);
	struct emit *e = &t->e;

	if (insn->osize != t->word)
		return false;
	jit_risk_flags(t);
	t->in_host = false;
	if (!is_user(t)) {
		demand_cpl0(t);
		emit_op_mem(e, 1, 0x80, EMIT_CMP, JIT_FIELD(window));
		emit8(e, 0);
		jit_slow_if(t, IF_NOT_ZERO);
	}
	emit_mov(e, t->word, JIT_A, JIT_SP);
	emit_load(e, 4, JIT_B, jit_operand_at(t, t->word, false));
	emit_mov(e, 4, JIT_A, JIT_B);
	emit_alu_load(e, EMIT_XOR, 4, JIT_A, JIT_FIELD(rflags));
	emit_test_imm(e, 4, JIT_A, (s32)~may);
	jit_slow_if(t, IF_NOT_ZERO);
	emit_alu_imm(e, EMIT_AND, 4, JIT_A, (s32)(may & ~X86_FLAGS_STATUS));
	emit_op_mem(e, 4, 0x31, JIT_A, JIT_FIELD(rflags)); /* XOR */
	status_from_b(t);
	emit_lea(e, t->word, JIT_SP, EMIT_MEM(JIT_SP, (s32)t->word));
	return true;
}

/* ---- STAC, CLAC ------------------------------------------------------------------------------------ */

/* Another set of the TLB for data: the one that is shared by all address spaces, or this one's own. */
static bool set_ac(struct jit_block *t, bool ac)
{
	struct emit *e = &t->e;

	demand_cpl0(t);
	test_field(t, 4, JIT_FIELD(cr4), (s32)X86_CR4_SMAP);
	jit_slow_if(t, IF_ZERO);
	if (ac)
		emit_load(e, 8, JIT_A, JIT_FIELD(tlb_kernel));
	else
		emit_mov_imm(e, JIT_A, (u64)t->cpu->tlbs[0]);
	emit_store(e, 8, JIT_FIELD(tlb), JIT_A);
	t->shared = !ac && (t->b->key & BLOCK_KEY_SMAP);
	jit_close_windows(t);
	alu_field(t, ac ? EMIT_OR : EMIT_AND, JIT_FIELD(rflags), ac ? X86_AC : ~X86_AC);
	return true;
}

/* ---- RDTSC, RDTSCP --------------------------------------------------------------------------------- */

static bool rdtsc(struct jit_block *t, const struct x86_insn *insn)
{
	const s32 vcpu = -(s32)offsetof(struct vcpu, cpu);
	struct emit *e = &t->e;

	jit_risk_flags(t);
	t->in_host = false;
	if (is_user(t)) {
		test_field(t, 1, JIT_FIELD(cr4), X86_CR4_TSD);
		jit_slow_if(t, IF_NOT_ZERO);
	} else {
		demand_cpl0(t);
	}
	emit_mov_imm(e, JIT_A, VCPU_TSC_RATIO_ONE);
	emit_alu_load(e, EMIT_CMP, 8, JIT_A, EMIT_GS(vcpu + (s32)offsetof(struct vcpu, tsc_ratio)));
	jit_slow_if(t, JIT_IF_NOT_EQUAL);
	emit8(e, 0x0f);
	emit8(e, 0x31);
	emit_shift(e, EMIT_SHL, 8, X86_RDX, 32);
	emit_alu(e, EMIT_OR, 8, X86_RAX, X86_RDX);
	emit_alu_load(e, EMIT_ADD, 8, X86_RAX, EMIT_GS(vcpu + (s32)offsetof(struct vcpu, tsc_offset)));
	emit_mov(e, 4, JIT_AX, X86_RAX);
	emit_mov(e, 8, X86_RDX, X86_RAX);
	emit_shift(e, EMIT_SHR, 8, X86_RDX, 32);
	if (insn->op == X86_OP_RDTSCP)
		emit_load(e, 4, X86_RCX, JIT_FIELD(msr.tsc_aux));
	return true;
}

/* ---- MOV from control registers, CLD, STD ---------------------------------------------------------- */

static bool mov_from_cr(struct jit_block *t, const struct x86_insn *insn)
{
	static const u16 fields[] = { [0] = offsetof(struct x86_cpu, cr0), [2] = offsetof(struct x86_cpu, cr2),
				      [3] = offsetof(struct x86_cpu, cr3), [4] = offsetof(struct x86_cpu, cr4) };
	unsigned cr = insn->operand[1].reg, host = jit_host(insn->operand[0].reg);

	if (insn->operand[1].kind != X86_OPD_CR || cr >= ARRAY_SIZE(fields) || !fields[cr] ||
	    (insn->prefix & X86_PFX_LOCK))
		return false;
	demand_cpl0(t);
	emit_load(&t->e, t->word, host == JIT_IN_MEMORY ? (unsigned)JIT_B : host, EMIT_GS(fields[cr]));
	if (host == JIT_IN_MEMORY)
		emit_store(&t->e, 8, JIT_REG(insn->operand[0].reg), JIT_B);
	return true;
}

static bool set_df(struct jit_block *t, bool df)
{
	jit_risk_flags(t);
	t->in_host = false;
	alu_field(t, df ? EMIT_OR : EMIT_AND, JIT_FIELD(rflags), df ? X86_DF : ~X86_DF);
	return true;
}

/* ---- MOV from segment registers ------------------------------------------------------------------------ */

static bool mov_from_segment(struct jit_block *t, const struct x86_insn *insn)
{
	const struct x86_operand *to = &insn->operand[0];
	unsigned host = to->kind == X86_OPD_REG ? jit_host(to->reg) : (unsigned)JIT_IN_MEMORY;
	bool mem = to->kind == X86_OPD_MEM;
	struct emit_mem m = EMIT_MEM(JIT_A, 0), selector;
	struct emit *e = &t->e;

	if (insn->operand[1].kind != X86_OPD_SREG || (!mem && to->size == 2) || (mem && !jit_ea_possible(insn)))
		return false;
	selector = EMIT_GS((s32)(offsetof(struct x86_cpu, seg) + insn->operand[1].reg * sizeof(struct x86_seg) +
				 offsetof(struct x86_seg, selector)));
	if (mem)
		m = jit_operand(t, insn, 2, true);
	emit_load(e, 2, host == JIT_IN_MEMORY ? (unsigned)JIT_B : host, selector);
	if (mem)
		emit_store(e, 2, m, JIT_B);
	else if (host == JIT_IN_MEMORY)
		emit_store(e, 8, JIT_REG(to->reg), JIT_B);
	jit_kept_a(t);
	return true;
}

bool jit_system(struct jit_block *t, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_CLD || insn->op == X86_OP_STD)
		return set_df(t, insn->op == X86_OP_STD);
	if (insn->op == X86_OP_RDTSC || insn->op == X86_OP_RDTSCP)
		return rdtsc(t, insn);
	if (insn->op == X86_OP_POPF)
		return popf(t, insn);
	if (insn->op == X86_OP_MOV_SEG)
		return mov_from_segment(t, insn);
	if (is_user(t))
		return false;
	switch (insn->op) {
	case X86_OP_SWAPGS:
		return swapgs(t);
	case X86_OP_CLI:
		return cli(t);
	case X86_OP_STI:
		return sti(t, insn);
	case X86_OP_STAC:
		return set_ac(t, true);
	case X86_OP_CLAC:
		return set_ac(t, false);
	case X86_OP_MOV_CR:
		return mov_from_cr(t, insn);
	default:
		return false;
	}
}

/* ---- the last instruction of a block --------------------------------------------------------------- */

/* Nothing but its own RIP and mode decides what runs next. */
static bool may_go_on(const struct x86_cpu *cpu)
{
	return !soft_must_step(cpu) && !(cpu->rflags & X86_RF) && !cpu->window && !cpu->align_check && cpu->activity == X86_ACTIVE &&
	       (cpu->code_bits == 64 || cpu->flat32);
}

bool jit_is_last(const struct jit_block *t)
{
	const struct x86_insn *insn = &t->b->insn[t->now];

	return t->now + 1 == t->b->nr && (insn->desc->flags & (X86_F_END | X86_F_BRANCH)) && insn->op != X86_OP_JCC;
}

static void void_stack(struct x86_cpu *cpu)
{
	cpu->code_temp[0] = cpu->code_floor = cpu->code_stack;
	cpu->code_caller = 0;
}

/*
 * What the host's stack promises of returns holds for one class of code: RIP alone would let a program return into its kernel.
 * The kernel that a program calls has a stack of its own behind the program's, with a RET to 0 at its bottom, and when it
 * returns the program's promises hold again. With any other change, or little room, all are void.
 */
static void change_stack(struct x86_cpu *cpu, unsigned from, unsigned to)
{
	u64 top = cpu->code_temp[0];

	if (from == to)
		return;
	if (to == cpu->code_caller_way && cpu->code_caller) {
		cpu->code_temp[0] = cpu->code_caller;
		cpu->code_floor = cpu->code_stack;
		cpu->code_caller = 0;
		return;
	}
	void_stack(cpu);
	if (from % BLOCK_CLASSES != BLOCK_USER || to % BLOCK_CLASSES != BLOCK_KERNEL ||
	    top < cpu->code_stack_end + JIT_STACK_ROOM)
		return;
	cpu->code_caller = top;
	cpu->code_caller_way = from;
	cpu->code_floor = cpu->code_temp[0] = top - JIT_FRAME_SIZE;
	memcpy((void *)cpu->code_floor, (void *)cpu->code_stack, JIT_FRAME_SIZE);
}

unsigned jit_exec_last(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct soft_vcpu *soft = soft_of(cpu);
	unsigned from = jit_way(block_key(cpu)), to;
	enum x86_result r;

	soft->syscalls += insn->op == X86_OP_SYSCALL;
	soft->at_last = true;
	soft->selected = false;
	r = insn->exec(cpu, insn);
	soft->at_last = false;
	if (soft->selected)
		void_stack(cpu);
	if (r > X86_END || atomic_read(&cpu->stop) || !may_go_on(cpu) || (soft->direct && cpu->cpl == 3))
		return r;
	if (r != X86_BRANCH)
		cpu->regs[X86_REG_RIP] += insn->next;
	if (unlikely(soft->awaited) && cpu->cpl == 3)
		window_fill_awaited(soft);
	to = jit_way(block_key(cpu));
	change_stack(cpu, from, to);
	return JIT_GO_ON + to;
}
