/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The software engine: its operations, and the loop that executes blocks.
 *
 * While it runs, the guest's x87/SSE/AVX state is in the host's registers and guest memory is accessed through plain
 * pointers; a host fault there (a slot whose hva is not accessible) unwinds to soft_run() and becomes -EFAULT.
 */
#include <stdlib.h>

#include "engine/soft/direct.h"
#include "engine/soft/native.h"
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"
#include "engine/soft/window.h"
#include "host/user/fault.h"
#include "host/user/gs.h"
#include "x86/system.h"

/* ---- what an instruction came to ------------------------------------------------------------------------------- */

static enum soft_next leave(enum engine_exit *exit, enum engine_exit why)
{
	*exit = why;
	return SOFT_LEAVE;
}

static void advance(struct x86_cpu *cpu, unsigned bytes)
{
	cpu->regs[X86_REG_RIP] += bytes;
	if (cpu->code_bits != 64)
		cpu->regs[X86_REG_RIP] &= 0xffffffffull;
}

static enum soft_next after_delivery(struct x86_cpu *cpu, enum x86_result r, enum engine_exit *exit)
{
	if (r == X86_EXIT)
		return leave(exit, ENGINE_EXIT_EMULATION);
	if (cpu->activity == X86_SHUTDOWN)
		return leave(exit, ENGINE_EXIT_SHUTDOWN);
	return SOFT_ON;
}

enum soft_next soft_deliver_fault(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	vcpu->stat->exceptions++;
	if (cpu->fault.vector == X86_PF_VECTOR) {
		vcpu->stat->pf_guest++;
		if (cpu->cpl == 3 && (cpu->user_key || ((struct soft_vcpu *)vcpu->engine)->direct))
			((struct soft_vcpu *)vcpu->engine)->awaited = cpu->fault.payload;
	}
	if (unlikely(cpu->fault.vector == X86_DB) &&
	    (cpu->guest_debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)))
		return leave(exit, ENGINE_EXIT_DEBUG);
	cpu->shadow = 0;
	return after_delivery(cpu, x86_deliver_fault(cpu), exit);
}

enum soft_next soft_deliver_trap(struct vcpu *vcpu, u64 dr6, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct x86_event event = { .kind = X86_EVENT_EXCEPTION, .e = { .vector = X86_DB, .payload = dr6 } };

	if (cpu->guest_debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)) {
		cpu->fault = event.e;
		return leave(exit, ENGINE_EXIT_DEBUG);
	}
	event.return_rip = x86_rip(cpu);
	return after_delivery(cpu, x86_deliver(cpu, &event), exit);
}

enum soft_next soft_retire(struct vcpu *vcpu, const struct x86_insn *insn, enum x86_result r, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	switch (r) {
	case X86_OK:
		advance(cpu, insn->next);
		return SOFT_ON;
	case X86_END:
		advance(cpu, insn->next);
		if (unlikely(cpu->activity == X86_HALTED))
			return leave(exit, ENGINE_EXIT_HLT);
		return SOFT_ON;
	case X86_BRANCH:
		if (unlikely(cpu->activity == X86_SHUTDOWN))
			return leave(exit, ENGINE_EXIT_SHUTDOWN);
		return SOFT_ON;
	case X86_REPEAT:
		advance(cpu, insn->off);
		return SOFT_ON;
	case X86_FAULT:
		advance(cpu, insn->off);
		return soft_deliver_fault(vcpu, exit);
	case X86_EXIT:
		advance(cpu, insn->off);
		if (((struct soft_vcpu *)vcpu->engine)->debug_exit)
			return leave(exit, ENGINE_EXIT_DEBUG);
		return leave(exit, ENGINE_EXIT_REQUEST);
	}
	return leave(exit, ENGINE_EXIT_EMULATION);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

static enum x86_result run_block(struct x86_cpu *cpu, struct soft_vcpu *soft, struct block *b)
{
	const struct x86_insn *insn = b->insn;
	enum x86_result r;

	if (soft->jit && translate_run(cpu, soft, b, &r))
		return r;
	do {
		soft->insn = insn;
		r = insn->exec(cpu, insn);
		insn++;
	} while (likely(!((u32)r | atomic_read(&cpu->stop))));
	return r;
}

static enum soft_next lookup_failed(struct vcpu *vcpu, enum block_miss miss, enum engine_exit *exit)
{
	if (miss == BLOCK_FAULT)
		return soft_deliver_fault(vcpu, exit);
	if (miss == BLOCK_NOT_MEMORY)
		return leave(exit, ENGINE_EXIT_EMULATION);
	return SOFT_ON; /* the code changed while it was decoded */
}

/* The instruction that wrote code through pins is over: now its bytes are there. */
static void soft_unpin(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;

	while (unlikely(soft->nr_pinned)) {
		const struct pinned *p = &soft->pinned[--soft->nr_pinned];

		code_page_written(vcpu, p->page, p->offset, p->size);
	}
}

/* The same on the way out, where memory may not be accessible. */
static void doubt_pinned(struct soft_vcpu *soft)
{
	while (unlikely(soft->nr_pinned))
		code_page_doubt(soft->vm, soft->pinned[--soft->nr_pinned].page);
}

/* cpu->stop is set: what concerns this engine alone is dealt with here. */
static enum soft_next look_at_stop(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	soft_unpin(vcpu);
	block_take_posts(vcpu->engine, false);
	if (cpu->pending_dr6 && !(cpu->shadow & KVM_X86_SHADOW_INT_MOV_SS)) {
		u64 dr6 = cpu->pending_dr6;

		cpu->pending_dr6 = 0;
		if (soft_deliver_trap(vcpu, dr6, exit) == SOFT_LEAVE)
			return SOFT_LEAVE;
	}
	if (unlikely(direct_lost(vcpu->engine)))
		return leave(exit, ENGINE_EXIT_HOST_FAULT); /* no #UD: who would handle it has lost registers */
	if (atomic_and(&cpu->stop, ~X86_STOP_CODE) & ~X86_STOP_CODE)
		return leave(exit, ENGINE_EXIT_STOP);
	return SOFT_ON;
}

static bool window_open(const struct x86_cpu *cpu)
{
	if ((cpu->window & X86_WINDOW_IRQ) && x86_irq_allowed(cpu))
		return true;
	if ((cpu->window & X86_WINDOW_NMI) && x86_nmi_allowed(cpu))
		return true;
	return (cpu->window & X86_WINDOW_SMI) && !cpu->smm && !cpu->shadow;
}

#define NOT_RESUMED (1ull << 63) /* not canonical: no RIP that runs */

/*
 * RF is good for one instruction. Without breakpoints all it does is to be seen, by who is told of an exit of that
 * instruction, or in the frame of its fault, where it is set anyway. Returns that instruction's RIP if it was set.
 */
static u64 take_rf(struct x86_cpu *cpu)
{
	if (likely(!(cpu->rflags & X86_RF)))
		return NOT_RESUMED;
	cpu->rflags &= ~X86_RF;
	return x86_rip(cpu);
}

/* Of code that did not go on directly: one instruction, or what the block has of them. */
static enum x86_result run_aside(struct x86_cpu *cpu, struct soft_vcpu *soft, const struct block *b, enum direct_next how)
{
	const struct x86_insn *insn = b->insn;
	enum x86_result r;

	do {
		soft->insn = insn;
		r = insn->exec(cpu, insn);
		insn++;
	} while (!((u32)r | atomic_read(&cpu->stop)) && how == DIRECT_CRAWL);
	return r;
}

static enum engine_exit loop(struct vcpu *vcpu)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct soft_vcpu *soft = vcpu->engine;
	enum engine_exit exit = ENGINE_EXIT_STOP;
	enum block_miss miss;
	enum soft_next next;
	enum x86_result r;
	enum direct_next direct = DIRECT_LOOK;
	struct block *b;
	u64 resumed;

	do {
		if (unlikely(atomic_read(&cpu->stop)) && look_at_stop(vcpu, &exit) == SOFT_LEAVE)
			return exit;
		if (unlikely(cpu->window) && window_open(cpu))
			return ENGINE_EXIT_IRQ_WINDOW;
		next = SOFT_ON;
		if (unlikely(soft_must_step(cpu))) {
			next = soft_step(vcpu, &exit);
			continue;
		}
		if (soft->direct && cpu->cpl == 3) {
			direct = direct_run(vcpu);
			if (direct == DIRECT_LOOK)
				continue;
		}
		b = block_lookup(vcpu, &miss);
		if (unlikely(!b)) {
			next = lookup_failed(vcpu, miss, &exit);
			continue;
		}
		resumed = take_rf(cpu);
		soft->insn = b->insn;
		if (unlikely(soft->single))
			r = b->insn[0].exec(cpu, b->insn);
		else if (unlikely(direct == DIRECT_STEP || direct == DIRECT_CRAWL))
			r = run_aside(cpu, soft, b, direct);
		else
			r = run_block(cpu, soft, b);
		direct = DIRECT_LOOK;
		if (unlikely(r != X86_BRANCH || cpu->activity != X86_ACTIVE))
			next = soft_retire(vcpu, soft->insn, r, &exit);
		if (unlikely(r == X86_EXIT && x86_rip(cpu) == resumed))
			cpu->rflags |= X86_RF;
	} while (next == SOFT_ON);
	return exit;
}

/* ---- entry -------------------------------------------------------------------------------------------------------------- */

static enum engine_exit step_once(struct vcpu *vcpu)
{
	enum engine_exit exit = ENGINE_EXIT_STOP;

	block_take_posts(vcpu->engine, false);
	soft_step(vcpu, &exit);
	return exit;
}

/* The host's GS base is ours as long as the guest's FPU state is live. */
static void load_registers(struct vcpu *vcpu)
{
	const struct soft_vcpu *soft = vcpu->engine;

	if (soft->jit)
		host_gs_borrow((u8 *)&vcpu->cpu + GS_BIAS);
	x86_fpu_enter(&vcpu->cpu);
}

static void soft_rest(struct vcpu *vcpu)
{
	const struct soft_vcpu *soft = vcpu->engine;

	if (soft->jit)
		host_gs_return();
}

/* Runs body with the guest's FPU state live and host faults caught. */
static enum engine_exit guarded(struct vcpu *vcpu, enum engine_exit (*body)(struct vcpu *vcpu))
{
	struct soft_vcpu *soft = vcpu->engine;
	struct host_fault_frame frame;
	enum engine_exit exit;

	soft->insn = NULL;
	soft->debug_exit = false;
	window_enter(soft);
	if (!vcpu->cpu.fpu_live)
		load_registers(vcpu);
	if (host_fault_guard(&frame) == 0) {
		exit = body(vcpu);
		host_fault_disarm(&frame);
	} else {
		exit = translate_fault(&vcpu->cpu, soft, &frame) ? ENGINE_EXIT_STOP : ENGINE_EXIT_HOST_FAULT;
		if (soft->insn)
			advance(&vcpu->cpu, soft->insn->off);
		x86_bus_unlock(&vcpu->cpu);
	}
	window_leave(soft);
	host_twin_unpin();
	if (exit == ENGINE_EXIT_STOP)
		window_tick(soft);
	doubt_pinned(soft);
	if (!vcpu->keep_fpu) {
		x86_fpu_leave(&vcpu->cpu);
		soft_rest(vcpu);
	}
	return unlikely(direct_lost(soft)) ? ENGINE_EXIT_HOST_FAULT : exit;
}

static enum engine_exit run(struct vcpu *vcpu)
{
	block_take_posts(vcpu->engine, false);
	window_begin(vcpu->engine);
	return loop(vcpu);
}

static enum engine_exit soft_run(struct vcpu *vcpu)
{
	return guarded(vcpu, run);
}

static enum engine_exit soft_complete(struct vcpu *vcpu)
{
	return guarded(vcpu, step_once);
}

#define IDLE_MS 10000
/* What an idle guest does anyway takes less than this: nothing is gained by decoding it again. */
#define IDLE_ROOM (6u << 20)

/* ANYKVM_IDLE_MS; 0: whatever was decoded stays. */
static u32 idle_period(void)
{
	const char *value = getenv("ANYKVM_IDLE_MS");
	long ms = value ? atol(value) : IDLE_MS;

	return ms < 0 || ms > 1000000000 ? IDLE_MS : (u32)ms;
}

static int soft_vcpu_create(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = host_alloc_pages(sizeof(*soft));
	int r;

	if (!soft)
		return -ENOMEM;
	soft->cpu = &vcpu->cpu;
	r = block_create(soft);
	if (!r)
		r = native_init();
	if (r) {
		block_destroy(soft);
		host_free_pages(soft, sizeof(*soft));
		return r;
	}
	atomic_set(&x86_native_exec, native_exec);
	soft->vm = vcpu->vm->engine;
	soft->stat = vcpu->stat;
	vcpu->engine = soft;
	vcpu->cpu.mem = &soft_mem_ops;
	vcpu->idle.period_ms = idle_period();
	soft_tlb_init(&vcpu->cpu);
	translate_create(&vcpu->cpu, soft);
	window_create(vcpu);
	return 0;
}

static void soft_vcpu_destroy(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;

	window_destroy(soft);
	native_cpu_destroy(&vcpu->cpu);
	translate_destroy(soft);
	block_destroy(soft);
	host_free_pages(soft, sizeof(*soft));
}

static void soft_state_changed(struct vcpu *vcpu)
{
	(void)vcpu; /* decoded code depends on memory and mode alone, and mode is part of its key */
}

static void soft_flush(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;
	bool slots_changed = false;

	for (unsigned as = 0; as < VM_ADDRESS_SPACES; as++) {
		u64 generation = vm_slots_generation(vcpu->vm, as);

		slots_changed |= generation != soft->slots_generation[as];
		soft->slots_generation[as] = generation;
	}
	if (slots_changed) {
		window_drop_all(soft);
		block_take_posts(soft, true);
	}
	soft_tlb_flush(&vcpu->cpu, false);
}

static void soft_memory_changed(struct vcpu *vcpu)
{
	block_distrust(vcpu->engine);
}

static void soft_device_done(struct vcpu *vcpu)
{
	block_distrust_devices(vcpu->engine);
}

static void soft_idle(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;

	if (block_room_used(soft) < IDLE_ROOM && vcpu->idle.period_ms >= IDLE_MS)
		return;
	soft_tlb_release(&vcpu->cpu);
	window_release(soft);
	block_release(soft);
}

static const struct engine_ops engine_soft = {
	.name = "soft",
	.vcpu_guard = WINDOW_GUARD,
	.vm_create = soft_vm_create,
	.vm_destroy = soft_vm_destroy,
	.vcpu_create = soft_vcpu_create,
	.vcpu_destroy = soft_vcpu_destroy,
	.run = soft_run,
	.complete = soft_complete,
	.rest = soft_rest,
	.state_changed = soft_state_changed,
	.flush_tlb = soft_flush,
	.protect = soft_protect,
	.kick = direct_kick,
	.memory_changed = soft_memory_changed,
	.device_done = soft_device_done,
	.idle = soft_idle,
};

const struct engine_ops *engine_select(void)
{
	return &engine_soft;
}
