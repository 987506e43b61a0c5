/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vCPU and its loop. KVM_RUN is vcpu_run(): as long as nothing concerns userspace it alternates between
 * vcpu_enter() - serve requests, inject events, let the engine run, look at why it came back - and vcpu_block().
 *
 * Results inside this file: RUN_AGAIN goes round the loop, RUN_USER returns 0 from KVM_RUN with *run filled in, a
 * negative errno returns that.
 */
#include "kvm/bus.h"
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/hyperv_state.h"
#include "kvm/irq.h"
#include "kvm/pv.h"
#include "kvm/xen.h"
#include "kvm/xen_state.h"
#include "x86/system.h"

enum { RUN_USER = 0, RUN_AGAIN = 1 };

/* ---- requests --------------------------------------------------------------------------------------------- */

void vcpu_kick(struct vcpu *vcpu)
{
	atomic_or(&vcpu->cpu.stop, X86_STOP_KICK);
	if (atomic_read(&vcpu->blocked))
		host_wake(&vcpu->cpu.stop);
	else if (vcpu->vm->ops->kick)
		vcpu->vm->ops->kick(vcpu);
}

void vcpu_request(struct vcpu *vcpu, u32 request)
{
	atomic_or(&vcpu->requests, request);
	vcpu_kick(vcpu);
}

void vcpu_queue_nmi(struct vcpu *vcpu)
{
	atomic_add(&vcpu->nmi_queued, 1);
	vcpu_request(vcpu, VCPU_REQ_NMI);
}

#define REQ_WAITED (VCPU_REQ_SYNC | VCPU_REQ_PROTECT)

static void serve_sync(struct vcpu *vcpu)
{
	u32 asked = atomic_and(&vcpu->requests, ~REQ_WAITED);

	if (asked & VCPU_REQ_SYNC)
		vcpu->vm->ops->flush_tlb(vcpu);
	if (asked & VCPU_REQ_PROTECT)
		vcpu->vm->ops->protect(vcpu);
	atomic_add(&vcpu->sync_seq, 1);
	host_wake(&vcpu->sync_seq);
}

void vcpu_guest_enter(struct vcpu *vcpu)
{
	atomic_xchg(&vcpu->inside, VCPU_INSIDE);
	if (atomic_read_acquire(&vcpu->requests) & REQ_WAITED)
		serve_sync(vcpu);
}

void vcpu_guest_leave(struct vcpu *vcpu)
{
	atomic_xchg(&vcpu->inside, VCPU_OUTSIDE);
	if (atomic_read_acquire(&vcpu->requests) & REQ_WAITED)
		host_wake(&vcpu->sync_seq);
}

/*
 * Two vCPUs may do this at once, each waiting for the other while inside: so the waiting one serves what is asked of it.
 */
void vcpu_sync_others(struct vcpu *vcpu, u32 request)
{
	struct vcpu *other;

	if (atomic_read(&vcpu->vm->nr_vcpus) == 1)
		return;
	for (u32 i = 0; (other = vm_vcpu(vcpu->vm, i)); i++) {
		u32 seq = atomic_read_acquire(&other->sync_seq);

		if (other == vcpu)
			continue;
		vcpu_request(other, request);
		while (atomic_read_acquire(&other->inside) == VCPU_INSIDE && atomic_read_acquire(&other->sync_seq) == seq) {
			if (atomic_read(&vcpu->requests) & REQ_WAITED)
				serve_sync(vcpu);
			host_yield();
		}
	}
}

static void take_nmi_requests(struct vcpu *vcpu)
{
	u32 limit = vcpu->cpu.nmi_masked || vcpu->nmi_injected ? 1 : 2;
	u32 n;

	if (!atomic_take(&vcpu->requests, VCPU_REQ_NMI))
		return;
	n = vcpu->nmi_pending + atomic_xchg(&vcpu->nmi_queued, 0);
	vcpu->nmi_pending = n < limit ? n : limit;
}

void vcpu_take_event_requests(struct vcpu *vcpu)
{
	take_nmi_requests(vcpu);
	if (atomic_take(&vcpu->requests, VCPU_REQ_SMI))
		vcpu->smi_pending = true;
}

static int system_event(struct vcpu *vcpu, u32 request, u32 type)
{
	atomic_and(&vcpu->requests, ~request);
	vcpu->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	vcpu->run->system_event.type = type;
	vcpu->run->system_event.ndata = 0;
	return RUN_USER;
}

static int serve_requests(struct vcpu *vcpu)
{
	u32 requests = atomic_read_acquire(&vcpu->requests);

	if (!requests)
		return RUN_AGAIN;
	if (requests & REQ_WAITED)
		serve_sync(vcpu);
	if (requests & VCPU_REQ_MEMORY) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_MEMORY);
		vcpu->vm->ops->memory_changed(vcpu);
	}
	if (requests & VCPU_REQ_DEVICE) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_DEVICE);
		vcpu->vm->ops->device_done(vcpu);
	}
	if (requests & VCPU_REQ_CLOCK) {
		vcpu_clock_update(vcpu);
		vcpu_hyperv_clock_changed(vcpu);
		vcpu_xen_clock_changed(vcpu);
	}
	vcpu_take_event_requests(vcpu);
	atomic_take(&vcpu->requests, VCPU_REQ_EVENT);
	if (requests & VCPU_REQ_TRIPLE_FAULT) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_TRIPLE_FAULT);
		vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return RUN_USER;
	}
	if (requests & VCPU_REQ_HV_TIMER) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_HV_TIMER);
		vcpu_hyperv_serve_timers(vcpu);
	}
	if (unlikely(requests & VCPU_REQ_XEN)) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_XEN);
		vcpu_xen_serve(vcpu);
	}
	if (unlikely(requests & VCPU_REQ_HV_EXIT)) {
		atomic_and(&vcpu->requests, ~VCPU_REQ_HV_EXIT);
		vcpu_hyperv_exit(vcpu);
		return RUN_USER;
	}
	if (unlikely(requests & VCPU_REQ_HV_CRASH))
		return system_event(vcpu, VCPU_REQ_HV_CRASH, KVM_SYSTEM_EVENT_CRASH);
	if (unlikely(requests & VCPU_REQ_HV_RESET))
		return system_event(vcpu, VCPU_REQ_HV_RESET, KVM_SYSTEM_EVENT_RESET);
	return RUN_AGAIN;
}

static void vcpu_sync(struct vcpu *vcpu)
{
	if (vcpu->vm->ops->sync)
		vcpu->vm->ops->sync(vcpu);
}

/* ---- events ------------------------------------------------------------------------------------------------- */

static int internal_error(struct vcpu *vcpu, u32 suberror)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = suberror;
	run->internal.ndata = 0;
	return RUN_USER;
}

static int deliver(struct vcpu *vcpu, enum x86_event_kind kind, const struct x86_exception *e)
{
	struct x86_event event = { .kind = kind, .e = *e, .return_rip = x86_rip(&vcpu->cpu) };
	enum x86_result r = x86_deliver(&vcpu->cpu, &event);

	vcpu->vm->ops->state_changed(vcpu);
	if (r == X86_EXIT)
		return internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV);
	return RUN_AGAIN;
}

static int deliver_vector(struct vcpu *vcpu, enum x86_event_kind kind, u8 vector)
{
	struct x86_exception e = { .vector = vector };

	if (vcpu->vm->ops->inject && kind != X86_EVENT_EXCEPTION) {
		vcpu->vm->ops->inject(vcpu, kind == X86_EVENT_NMI, vector);
		return RUN_AGAIN;
	}
	return deliver(vcpu, kind, &e);
}

/* Events that userspace left half delivered (KVM_SET_VCPU_EVENTS): they go first. */
static int reinject(struct vcpu *vcpu)
{
	if (vcpu->exception.pending || vcpu->exception.injected) {
		vcpu->exception.pending = vcpu->exception.injected = false;
		if (!vcpu->exception.has_payload)
			vcpu->exception.e.payload = vcpu->exception.e.vector == X86_PF_VECTOR ? vcpu->cpu.cr2 : 0;
		return deliver(vcpu, X86_EVENT_EXCEPTION, &vcpu->exception.e);
	}
	if (vcpu->nmi_injected) {
		vcpu->nmi_injected = false;
		return deliver_vector(vcpu, X86_EVENT_NMI, X86_NMI);
	}
	if (vcpu->interrupt.injected) {
		vcpu->interrupt.injected = false;
		return deliver_vector(vcpu, X86_EVENT_IRQ, vcpu->interrupt.vector);
	}
	return RUN_AGAIN;
}

static int inject_irq(struct vcpu *vcpu)
{
	int vector = vcpu_irq_take(vcpu);

	if (vector < 0)
		return RUN_AGAIN;
	vcpu->stat->irq_injections++;
	return deliver_vector(vcpu, X86_EVENT_IRQ, (u8)vector);
}

static bool events_waiting(const struct vcpu *vcpu)
{
	return vcpu->exception.pending || vcpu->exception.injected || vcpu->interrupt.injected || vcpu->nmi_injected;
}

/* One event at most is injected; for the others the engine is asked to come back when they can be taken. */
static int inject_events(struct vcpu *vcpu)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	bool blocked = vcpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ;
	int r = RUN_AGAIN;
	bool done = false;

	cpu->window = 0;
	if (unlikely(events_waiting(vcpu))) {
		r = reinject(vcpu);
		done = true;
	}
	if (blocked)
		return r;
	if (unlikely(vcpu->smi_pending)) {
		if (!done && !cpu->smm && !cpu->shadow) {
			vcpu->smi_pending = false;
			x86_enter_smm(cpu);
			vcpu->vm->ops->state_changed(vcpu);
			done = true;
		} else {
			cpu->window |= X86_WINDOW_SMI;
		}
	}
	if (unlikely(vcpu->nmi_pending)) {
		if (!done && x86_nmi_allowed(cpu)) {
			vcpu->nmi_pending--;
			vcpu->stat->nmi_injections++;
			r = deliver_vector(vcpu, X86_EVENT_NMI, X86_NMI);
			done = true;
		}
		if (vcpu->nmi_pending)
			cpu->window |= X86_WINDOW_NMI;
	}
	if (r == RUN_AGAIN && vcpu_irq_pending(vcpu)) {
		if (!done && x86_irq_allowed(cpu)) {
			r = inject_irq(vcpu);
			done = true;
		}
		if (vcpu_irq_pending(vcpu))
			cpu->window |= X86_WINDOW_IRQ;
	}
	return r;
}

static bool irqchip_in_userspace(const struct vcpu *vcpu)
{
	return vcpu->vm->irqchip_mode == IRQCHIP_NONE;
}

static bool ready_for_injection(struct vcpu *vcpu)
{
	bool accepts = vcpu->vm->irqchip_mode != IRQCHIP_KERNEL;

	return accepts && x86_irq_allowed(&vcpu->cpu) && !events_waiting(vcpu) && vcpu_irq_accepts_extint(vcpu) &&
	       !vcpu_irq_pending(vcpu);
}

static bool wants_irq_window(struct vcpu *vcpu)
{
	return vcpu->vm->irqchip_mode != IRQCHIP_KERNEL && atomic_read(&vcpu->run->request_interrupt_window);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

#define STOP_SERVED (X86_STOP_KICK | X86_STOP_EVENT | X86_STOP_CODE) /* what a look at requests and events settles */

/* What ends a HLT. */
static bool has_wakeup(struct vcpu *vcpu)
{
	if (atomic_read(&vcpu->requests) & VCPU_REQ_UNHALT)
		return true;
	vcpu_take_event_requests(vcpu);
	if (events_waiting(vcpu) || (vcpu->smi_pending && !vcpu->cpu.smm))
		return true;
	if (vcpu->nmi_pending && x86_nmi_allowed(&vcpu->cpu))
		return true;
	return x86_irq_allowed(&vcpu->cpu) && vcpu_irq_pending(vcpu);
}

/* Whether something came in the time that KVM_CAP_HALT_POLL gives; a guest that polls for itself says so. */
static bool halt_poll(struct vcpu *vcpu)
{
	u32 ns = atomic_read(&vcpu->vm->halt_poll_ns);
	u64 end;

	if (likely(!ns) || !(vcpu->pv->poll_control & 1))
		return false;
	vcpu->stat->halt_attempted_poll++;
	for (end = host_monotonic_ns() + ns; !atomic_read(&vcpu->cpu.stop);) {
		__builtin_ia32_pause();
		if (host_monotonic_ns() >= end || !host_may_poll())
			return false;
	}
	vcpu->stat->halt_successful_poll++;
	return true;
}

static void put_fpu(struct vcpu *vcpu)
{
	if (likely(!vcpu->cpu.fpu_live))
		return;
	x86_fpu_leave(&vcpu->cpu);
	vcpu->vm->ops->rest(vcpu);
}

#define IDLE_PATIENCE_MAX 128 /* periods */

/*
 * What an engine keeps for speed it gives up when the vCPU has done next to nothing for a while. It costs a busy guest dearly
 * to have that back: one that is busy now and then is left alone for twice as long each time.
 */
static void note_sleep(struct vcpu *vcpu, u64 slept)
{
	u64 now = host_tsc(), length = now - vcpu->idle.since;

	if (!vcpu->idle.period_ms)
		return;
	vcpu->idle.slept += slept;
	if (likely(length < (u64)host_tsc_khz() * vcpu->idle.period_ms))
		return;
	vcpu->idle.periods = length - vcpu->idle.slept < length / 64 ? vcpu->idle.periods + 1 : 0;
	vcpu->idle.since = now;
	vcpu->idle.slept = 0;
	if (vcpu->idle.periods <= vcpu->idle.patience)
		return;
	vcpu->idle.periods = 0;
	vcpu->idle.patience = (u32)min_u64(vcpu->idle.patience * 2 + 1, IDLE_PATIENCE_MAX);
	vcpu->vm->ops->idle(vcpu);
}

/* A signal sets something in cpu.stop; what comes by the LAPIC's timer is found when the vCPU looks. */
static void wait_for_stop(struct vcpu *vcpu)
{
	u64 from = host_tsc(), slept, deadline = vcpu_irq_fall_asleep(vcpu);
	int r;

	atomic_xchg(&vcpu->blocked, 1);
	r = host_wait(&vcpu->cpu.stop, 0, deadline);
	if (r == -EINTR)
		atomic_or(&vcpu->cpu.stop, X86_STOP_SIGNAL);
	atomic_set(&vcpu->blocked, 0);
	vcpu_irq_wake_up(vcpu, r == -ETIMEDOUT);
	slept = host_tsc() - from;
	vcpu_steal_slept(vcpu, slept);
	note_sleep(vcpu, slept);
}

#define SPIN_YIELDS 4
#define SPIN_NAP_NS 20000u
#define SPIN_NAPS 4 /* lengths, each twice the one before */

static void nap(struct vcpu *vcpu, u64 ns)
{
	atomic_xchg(&vcpu->blocked, 1);
	if (host_wait(&vcpu->cpu.stop, 0, host_monotonic_ns() + ns) == -EINTR)
		atomic_or(&vcpu->cpu.stop, X86_STOP_SIGNAL);
	atomic_set(&vcpu->blocked, 0);
}

/*
 * The guest waits for another vCPU, as it seems for one whose thread waits for a processor. To which of them this one's
 * should go cannot be said to a scheduler; one that goes on spinning after it has yielded a few times sleeps a little, so that
 * all the others come to run.
 */
void vcpu_spin(struct vcpu *vcpu)
{
	u64 now = host_tsc();

	vcpu->stat->pause_yields++;
	if (now - vcpu->spin.last > (u64)host_tsc_khz() / 2) /* half a millisecond */
		vcpu->spin.row = 0;
	if (vcpu->spin.row < SPIN_YIELDS)
		host_yield();
	else
		nap(vcpu, (u64)SPIN_NAP_NS << (vcpu->spin.row - SPIN_YIELDS));
	if (vcpu->spin.row < SPIN_YIELDS + SPIN_NAPS - 1)
		vcpu->spin.row++;
	vcpu->spin.last = host_tsc();
}

/* Sleeps until something is set in cpu.stop or the LAPIC's timer expires. */
static int vcpu_sleep(struct vcpu *vcpu)
{
	put_fpu(vcpu);
	vcpu_guest_leave(vcpu);
	if (!halt_poll(vcpu))
		wait_for_stop(vcpu);
	vcpu_guest_enter(vcpu);
	if (atomic_read(&vcpu->cpu.stop) & X86_STOP_SIGNAL) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		vcpu->stat->signal_exits++;
		return -EINTR;
	}
	return RUN_AGAIN;
}

/*
 * HLT that does not exit (KVM_CAP_X86_DISABLE_EXITS): the processor waits for any event; that it also goes on after what
 * was none is as with AMD-V, where an exit that concerns the host ends the halt.
 */
static int halt_in_guest(struct vcpu *vcpu)
{
	atomic_take(&vcpu->cpu.stop, STOP_SERVED);
	return has_wakeup(vcpu) ? RUN_AGAIN : vcpu_sleep(vcpu);
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static int exit_halt(struct vcpu *vcpu)
{
	vcpu->cpu.activity = X86_ACTIVE;
	if (vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_HLT)
		return halt_in_guest(vcpu);
	vcpu->stat->halt_exits++;
	if (irqchip_in_userspace(vcpu)) {
		vcpu->run->exit_reason = KVM_EXIT_HLT;
		return RUN_USER;
	}
	atomic_set(&vcpu->mp_state, KVM_MP_STATE_HALTED);
	return RUN_AGAIN;
}

static int exit_shutdown(struct vcpu *vcpu)
{
	vcpu->cpu.activity = X86_ACTIVE;
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return RUN_USER;
}

static int exit_fail_entry(struct vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	vcpu->run->fail_entry.hardware_entry_failure_reason = vcpu->entry_failure;
	vcpu->run->fail_entry.cpu = host_cpu_number();
	return RUN_USER;
}

static int exit_debug(struct vcpu *vcpu)
{
	struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
	const struct x86_cpu *cpu = &vcpu->cpu;

	vcpu->run->exit_reason = KVM_EXIT_DEBUG;
	arch->exception = cpu->fault.vector;
	arch->pc = cpu->seg_base[X86_CS] + x86_rip(cpu);
	arch->dr6 = cpu->fault.payload | 0xffff0ff0;
	arch->dr7 = cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? cpu->debug_dr7 : cpu->dr7;
	return RUN_USER;
}

static int exit_stop(struct vcpu *vcpu)
{
	u32 stop = atomic_read(&vcpu->cpu.stop);

	if (stop & X86_STOP_SIGNAL) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		vcpu->stat->signal_exits++;
		return -EINTR;
	}
	if (unlikely(vcpu->tpr_lowered)) {
		vcpu->tpr_lowered = false;
		vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
		return RUN_USER;
	}
	return RUN_AGAIN;
}

static int emulation_failure(struct vcpu *vcpu)
{
	vcpu->stat->insn_emulation_fail++;
	if (!vcpu->vm->exit_on_emulation_failure) {
		if (vcpu->cpu.cpl) /* user mode shall not end the guest */
			return deliver_vector(vcpu, X86_EVENT_EXCEPTION, X86_UD);
		memset(&vcpu->exception, 0, sizeof(vcpu->exception));
		vcpu->exception.pending = true; /* for userspace that goes on nevertheless */
		vcpu->exception.e.vector = X86_UD;
	}
	internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION);
	vcpu->run->emulation_failure.ndata = 1;
	vcpu->run->emulation_failure.flags = 0; /* the instruction's bytes are what could not be had */
	return RUN_USER;
}

/*
 * KVM_X86_QUIRK_OUT_7E_INC_RIP: userspace that replaces the instruction behind an OUT to this port finds RIP there. So the
 * instruction, which has no result, is completed first.
 */
static bool completes_early(const struct vcpu *vcpu)
{
	const struct vcpu_io *io = &vcpu->io;

	return io->pending == VCPU_IO_PIO && !io->pio_in && io->pio_port == 0x7e &&
	       !(atomic_read(&vcpu->vm->disabled_quirks) & KVM_X86_QUIRK_OUT_7E_INC_RIP);
}

static int exit_request(struct vcpu *vcpu)
{
	vcpu_io_wait(vcpu);
	if (unlikely(completes_early(vcpu))) {
		vcpu_io_answered(vcpu);
		vcpu->debug_waits = vcpu->vm->ops->complete(vcpu) == ENGINE_EXIT_DEBUG;
		vcpu_io_finish(vcpu);
	}
	return RUN_USER;
}

static int handle_exit(struct vcpu *vcpu, enum engine_exit exit)
{
	vcpu->stat->exits++;
	if (exit != ENGINE_EXIT_REQUEST && vcpu_io_finish(vcpu)) {
		/* a debug event of the same instruction is told after its write; shutdown shows in cpu.activity */
		vcpu->debug_waits = exit == ENGINE_EXIT_DEBUG;
		return RUN_USER;
	}
	switch (exit) {
	case ENGINE_EXIT_STOP:
		return exit_stop(vcpu);
	case ENGINE_EXIT_IRQ_WINDOW:
		vcpu->stat->irq_window_exits++;
		return RUN_AGAIN;
	case ENGINE_EXIT_HLT:
		return exit_halt(vcpu);
	case ENGINE_EXIT_REQUEST:
		return exit_request(vcpu);
	case ENGINE_EXIT_SHUTDOWN:
		return exit_shutdown(vcpu);
	case ENGINE_EXIT_DEBUG:
		return exit_debug(vcpu);
	case ENGINE_EXIT_EMULATION:
		return emulation_failure(vcpu);
	case ENGINE_EXIT_FAIL_ENTRY:
		return exit_fail_entry(vcpu);
	case ENGINE_EXIT_HOST_FAULT:
		return -EFAULT;
	}
	return -EIO;
}

static int vcpu_enter(struct vcpu *vcpu)
{
	enum engine_exit exit;
	int r;

	atomic_take(&vcpu->cpu.stop, STOP_SERVED);
	if (unlikely(vcpu_dirty_ring_full(vcpu))) {
		vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
		return RUN_USER;
	}
	atomic_take(&vcpu->requests, VCPU_REQ_UNHALT);
	r = serve_requests(vcpu);
	if (r != RUN_AGAIN)
		return r;
	if (vcpu_irq_exit(vcpu))
		return RUN_USER;
	vcpu_irq_accept_init_sipi(vcpu);
	if (atomic_read(&vcpu->mp_state) != KVM_MP_STATE_RUNNABLE)
		return RUN_AGAIN;
	r = inject_events(vcpu);
	if (r != RUN_AGAIN)
		return r;
	if (vcpu->cpu.activity == X86_SHUTDOWN)
		return exit_shutdown(vcpu);
	if (wants_irq_window(vcpu)) {
		if (ready_for_injection(vcpu)) {
			vcpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
			vcpu->stat->request_irq_exits++;
			return RUN_USER;
		}
		if (vcpu_irq_accepts_extint(vcpu))
			vcpu->cpu.window |= X86_WINDOW_IRQ;
	}
	if (unlikely(!atomic_read(&vcpu->vm->nr_mmu_pages)))
		return -ENOSPC; /* as KVM, whose page tables have no quota before the first slot */
	if (vcpu_steal_enabled(vcpu))
		vcpu_steal_update(vcpu);
	if (unlikely(vm_xen_enabled(vcpu->vm)))
		vcpu_xen_running(vcpu, false);
	vcpu_irq_prepare(vcpu);
	exit = vcpu->vm->ops->run(vcpu);
	vcpu_irq_sync(vcpu);
	return handle_exit(vcpu, exit);
}

#define BLOCKED_SERVES                                                                                             \
	(REQ_WAITED | VCPU_REQ_CLOCK | VCPU_REQ_TRIPLE_FAULT | VCPU_REQ_HV_TIMER | VCPU_REQ_XEN)

/* VCPU_REQ_UNHALT stays until the guest runs: it may have come for this very HLT. */
static int vcpu_block(struct vcpu *vcpu)
{
	int r;

	atomic_take(&vcpu->cpu.stop, STOP_SERVED);
	if (atomic_read(&vcpu->requests) & BLOCKED_SERVES) {
		r = serve_requests(vcpu);
		if (r != RUN_AGAIN)
			return r;
	}
	vcpu_irq_accept_init_sipi(vcpu);
	if (atomic_read(&vcpu->mp_state) == KVM_MP_STATE_RUNNABLE)
		return RUN_AGAIN;
	if (atomic_read(&vcpu->mp_state) == KVM_MP_STATE_HALTED && has_wakeup(vcpu)) {
		vcpu->stat->halt_wakeup++;
		atomic_set(&vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
		r = RUN_AGAIN;
	} else {
		r = vcpu_sleep(vcpu);
	}
	if (unlikely(vcpu->xen->poll_port) && (r != RUN_AGAIN || atomic_read(&vcpu->mp_state) == KVM_MP_STATE_RUNNABLE))
		vcpu_xen_end_poll(vcpu);
	return r;
}

static int vcpu_run(struct vcpu *vcpu)
{
	int r;

	do {
		if (atomic_read(&vcpu->mp_state) == KVM_MP_STATE_RUNNABLE)
			r = vcpu_enter(vcpu);
		else
			r = vcpu_block(vcpu);
	} while (r == RUN_AGAIN);
	return r;
}

/* ---- KVM_RUN --------------------------------------------------------------------------------------------------- */

/* A vCPU that has not been started by SIPI: KVM waits for it once and then asks userspace to call again. */
static int run_uninitialized(struct vcpu *vcpu)
{
	int r;

	if (atomic_read(&vcpu->run->immediate_exit))
		return -EINTR;
	do {
		atomic_take(&vcpu->cpu.stop, STOP_SERVED);
		vcpu_irq_accept_init_sipi(vcpu);
		if (atomic_read(&vcpu->mp_state) != KVM_MP_STATE_UNINITIALIZED)
			return -EAGAIN;
		r = vcpu_sleep(vcpu);
	} while (r == RUN_AGAIN);
	return r;
}

static int run_prepare(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int r;

	if ((run->kvm_valid_regs | run->kvm_dirty_regs) & ~(u64)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (run->kvm_dirty_regs)
		vcpu_sync(vcpu);
	r = vcpu_load_sync_regs(vcpu);
	if (r)
		return r;
	if (irqchip_in_userspace(vcpu)) {
		u64 cr8 = atomic_read(&run->cr8);

		if (cr8 > 15)
			return -EINVAL;
		vcpu_irq_set_cr8(vcpu, cr8);
	}
	return RUN_AGAIN;
}

/*
 * What follows, up to the engine's next run, is code of this directory, which keeps off vector registers: the guest's may
 * stay in them.
 */
static int complete_instruction(struct vcpu *vcpu)
{
	enum engine_exit exit;

	vcpu->keep_fpu = true;
	exit = vcpu->vm->ops->complete(vcpu);
	vcpu->keep_fpu = false;
	return handle_exit(vcpu, exit);
}

static int run_complete_io(struct vcpu *vcpu)
{
	if (vcpu->io.pending != VCPU_IO_NONE) {
		if (vcpu_io_answered(vcpu))
			return RUN_USER;
		if (vcpu->io.restart)
			return complete_instruction(vcpu);
	}
	if (unlikely(vcpu->hyperv->exit.type))
		vcpu_hyperv_answered(vcpu);
	if (unlikely(vcpu->debug_waits)) {
		vcpu->debug_waits = false;
		return exit_debug(vcpu);
	}
	return RUN_AGAIN;
}

static void run_finish(struct vcpu *vcpu, int r)
{
	struct kvm_run *run = vcpu->run;

	if (r == -EINTR && vcpu_steal_enabled(vcpu) && vcpu->io.pending == VCPU_IO_NONE)
		vcpu_steal_preempted(vcpu);

	run->if_flag = !!(vcpu->cpu.rflags & X86_IF);
	run->flags = vcpu->cpu.smm ? KVM_RUN_X86_SMM : 0;
	run->cr8 = vcpu_irq_get_cr8(vcpu);
	run->apic_base = vcpu->apic_base;
	run->ready_for_interrupt_injection = vcpu->vm->irqchip_mode == IRQCHIP_KERNEL || ready_for_injection(vcpu);
	if (run->kvm_valid_regs)
		vcpu_sync(vcpu);
	vcpu_store_sync_regs(vcpu);
}

static int run_locked(struct vcpu *vcpu)
{
	int r;

	vcpu->run->flags = 0;
	vcpu->ran = true;
	if (atomic_read(&vcpu->mp_state) == KVM_MP_STATE_UNINITIALIZED)
		return run_uninitialized(vcpu);
	r = run_prepare(vcpu);
	if (r == RUN_AGAIN)
		r = run_complete_io(vcpu);
	if (r != RUN_AGAIN)
		return r;
	if (atomic_read(&vcpu->run->immediate_exit))
		return -EINTR;
	if (unlikely(vm_xen_enabled(vcpu->vm)))
		vcpu_xen_running(vcpu, true);
	vcpu->vm->ops->memory_changed(vcpu);
	return vcpu_run(vcpu);
}

/* Document, section 4.10. */
static long vcpu_kvm_run(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	u64 sigmask = vcpu->sigmask;
	const u64 *mask;
	int r;

	if (arg)
		return -EINVAL;
	atomic_take(&vcpu->cpu.stop, X86_STOP_SIGNAL);
	mask = vcpu->has_sigmask ? &sigmask : NULL;
	host_run_enter(&vcpu->cpu.stop, X86_STOP_SIGNAL, mask);
	vcpu_guest_enter(vcpu);
	r = run_locked(vcpu);
	put_fpu(vcpu);
	run_finish(vcpu, r);
	vcpu->stat->user_exits++;
	vcpu_guest_leave(vcpu);
	host_run_leave(mask);
	return r;
}

/* ---- ioctls, life --------------------------------------------------------------------------------------------- */

static long vcpu_set_signal_mask(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_signal_mask header;
	u64 set;

	vcpu->has_sigmask = false;
	if (!arg)
		return 0;
	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.len != sizeof(set))
		return -EINVAL;
	if (host_copy_from_user(&set, arg + sizeof(header), sizeof(set)))
		return -EFAULT;
	vcpu->sigmask = set;
	vcpu->has_sigmask = true;
	return 0;
}

/* These see to entering the guest's memory themselves. */
static const struct ioctl_row vcpu_run_ioctls[] = {
	{ KVM_RUN, vcpu_kvm_run },
	{ KVM_SET_SIGNAL_MASK, vcpu_set_signal_mask },
	{ 0, NULL },
};

const struct ioctl_row *const vcpu_ioctl_tables[] = {
	vcpu_run_ioctls, vcpu_state_ioctls, vcpu_msr_ioctls, vcpu_irq_ioctls, vcpu_clock_ioctls, vcpu_cpuid_ioctls,
	vcpu_caps_ioctls, vcpu_hyperv_ioctls, vcpu_xen_ioctls, vcpu_stats_ioctls, NULL,
};

static long vcpu_ioctl(void *object, unsigned int request, unsigned long arg)
{
	struct vcpu *vcpu = object;
	long r;

	if (vcpu->vm->mm_id != host_mm_id() || atomic_read(&vcpu->vm->dead))
		return -EIO;
	if (host_mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	if (request == KVM_RUN || request == KVM_SET_SIGNAL_MASK) {
		r = ioctl_dispatch(vcpu_ioctl_tables, vcpu, request, arg);
	} else {
		vcpu_guest_enter(vcpu);
		vcpu_sync(vcpu);
		r = ioctl_dispatch(vcpu_ioctl_tables, vcpu, request, arg);
		vcpu_guest_leave(vcpu);
	}
	host_mutex_unlock(&vcpu->mutex);
	return r == -ENOTTY ? -EINVAL : r;
}

/* The descriptor and what it maps go; the vCPU itself lives as long as its VM, where other vCPUs may look at it. */
static void vcpu_release(void *object)
{
	struct vcpu *vcpu = object;

	host_mutex_lock(&vcpu->vm->lock);
	vcpu->dirty_ring = NULL;
	host_mutex_unlock(&vcpu->vm->lock);
	vm_put(vcpu->vm);
}

static const struct host_file_ops vcpu_file_ops = {
	.name = "kvm-vcpu",
	.ioctl = vcpu_ioctl,
	.release = vcpu_release,
};

void vcpu_destroy(struct vcpu *vcpu)
{
	vcpu_irq_destroy(vcpu);
	vcpu_xen_destroy(vcpu);
	vcpu_hyperv_destroy(vcpu);
	vcpu_clock_destroy(vcpu);
	if (vcpu->engine)
		vcpu->vm->ops->vcpu_destroy(vcpu);
	x86_fpu_destroy(&vcpu->cpu);
	host_free(vcpu->cpuid);
	host_free_guarded(vcpu, sizeof(*vcpu), vcpu->guard);
}

static int vcpu_init(struct vcpu *vcpu, struct vm *vm, u32 id)
{
	int r;

	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->index = vm->nr_vcpus;
	vcpu->user_irq = -1;
	host_mutex_init(&vcpu->mutex);
	vcpu->cpu.env = &vcpu_env;
	r = vcpu_stats_create(vcpu);
	if (!r)
		r = x86_fpu_create(&vcpu->cpu);
	if (!r)
		r = vm->ops->vcpu_create(vcpu);
	if (r)
		return r;
	r = vcpu_clock_create(vcpu);
	if (!r)
		r = vcpu_hyperv_create(vcpu);
	if (!r)
		r = vcpu_xen_create(vcpu);
	if (!r)
		r = vcpu_irq_create(vcpu);
	if (r)
		return r;
	x86_cpuid_apply(&vcpu->cpu, NULL, 0);
	x86_reset(&vcpu->cpu, false);
	vcpu_irq_reset(vcpu, false);
	vm->ops->state_changed(vcpu);
	vcpu_stats_describe(vcpu);
	vcpu->mp_state = vm->irqchip_mode == IRQCHIP_NONE || id == vm->bsp_vcpu_id ? KVM_MP_STATE_RUNNABLE
										   : KVM_MP_STATE_UNINITIALIZED;
	return 0;
}

static int vcpu_publish(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	size_t size = VCPU_MMAP_SIZE, ring_at = KVM_DIRTY_LOG_PAGE_OFFSET * 4096;
	void *mapping;
	int fd;

	if (vm->dirty_ring_size)
		size = ring_at + vm->dirty_ring_size;

	vm_get(vm);
	/* The descriptor works before its number is known: another thread that guesses it waits here. Nobody holds v yet. */
	host_mutex_lock(&vcpu->mutex);
	fd = host_file_create_sharing(&vcpu_file_ops, vcpu, size, &mapping, KVM_COALESCED_MMIO_PAGE_OFFSET * 4096,
				      vm_bus_ring(vm));
	if (fd >= 0) {
		vcpu->run = mapping;
		vcpu->pio_page = (u8 *)mapping + KVM_PIO_PAGE_OFFSET * 4096;
		vcpu->dirty_ring = vm->dirty_ring_size ? (void *)((u8 *)mapping + ring_at) : NULL;
		vm->vcpu[vcpu->index] = vcpu;
		atomic_set_release(&vm->nr_vcpus, vcpu->index + 1);
	}
	host_mutex_unlock(&vcpu->mutex);
	if (fd < 0)
		vm_put(vm);
	return fd;
}

static int vcpu_create_locked(struct vm *vm, u32 id)
{
	size_t guard = vm->ops->vcpu_guard;
	struct vcpu *vcpu;
	int r;

	if (vm->nr_vcpus >= VM_MAX_VCPUS)
		return -EINVAL;
	if (!vm->max_vcpu_id)
		vm->max_vcpu_id = VM_MAX_VCPU_ID;
	if (id >= vm->max_vcpu_id)
		return -EINVAL;
	if (vm_vcpu_by_id(vm, id))
		return -EEXIST;
	vcpu = host_alloc_guarded(sizeof(*vcpu), &guard);
	if (!vcpu)
		return -ENOMEM;
	vcpu->guard = guard;
	r = vcpu_init(vcpu, vm, id);
	if (!r)
		r = vcpu_publish(vcpu);
	if (r < 0)
		vcpu_destroy(vcpu);
	return r;
}

int vcpu_create(struct vm *vm, u32 id)
{
	int r;

	if (id >= VM_MAX_VCPU_ID)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	r = vcpu_create_locked(vm, id);
	host_mutex_unlock(&vm->lock);
	return r;
}
