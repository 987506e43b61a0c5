/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen's hypercalls: number in RAX, arguments in RDI, RSI, RDX, R10, R8, R9, or below 64 bits in EBX, ECX, EDX, ESI, EDI, EBP.
 * Those that KVM serves by itself are served here, at privilege level 0; all others are userspace's (KVM_EXIT_XEN).
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/xen.h"
#include "kvm/xen_state.h"
#include "x86/paging.h"

enum { CALL_SET_TIMER = 15, CALL_XEN_VERSION = 17, CALL_VCPU = 24, CALL_SCHED = 29, CALL_EVENT_CHANNEL = 32 };
enum { SCHED_YIELD = 0, SCHED_POLL = 3 };
enum { VCPU_SET_TIMER = 8, VCPU_STOP_TIMER = 9 };
#define VERSION_VERSION 0u
#define EVENT_SEND 4u
#define TIMER_IN_FUTURE BIT(0)
#define HYPERV_CALL 0x80000000u /* which Hyper-V's hypercall page sets, when there are both */
#define MAX_POLL_PORTS 128u
#define MS 1000000ull

struct call {
	u64 input, arg[6];
	bool wide;
};

static void read_call(const struct x86_cpu *cpu, struct call *c)
{
	static const u8 wide[] = { X86_RDI, X86_RSI, X86_RDX, X86_R10, X86_R8, X86_R9 };
	static const u8 narrow[] = { X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RBP };

	c->wide = cpu->code_bits == 64;
	c->input = c->wide ? cpu->regs[X86_RAX] : (u32)cpu->regs[X86_RAX];
	for (unsigned i = 0; i < ARRAY_SIZE(wide); i++)
		c->arg[i] = c->wide ? cpu->regs[wide[i]] : (u32)cpu->regs[narrow[i]];
}

/* What the guest's kernel has at an address of its own; KVM's rule is that there is nothing at gpa 0. */
static bool read_argument(struct vcpu *vcpu, u64 address, void *data, size_t size)
{
	struct x86_exception saved = vcpu->cpu.fault;
	struct x86_translation t;
	bool ok = x86_walk(&vcpu->cpu, address, X86_ACCESS_SYSTEM | X86_ACCESS_PROBE, false, &t) == X86_OK && t.gpa;

	vcpu->cpu.fault = saved;
	return ok && !vm_read_guest(vcpu->vm, vcpu_as_id(vcpu), t.gpa, data, size);
}

/* Each: whether it was served, with the result. */

static bool send_event(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	u32 port;

	if (!read_argument(vcpu, c->arg[1], &port, sizeof(port))) {
		*result = -EFAULT;
		return true;
	}
	*result = 0;
	return !vm_xen_send_port(vcpu->vm, port);
}

struct poll {
	u64 ports;
	u32 n, pad;
	u64 timeout; /* ns; 0: none */
};

static s64 read_ports(struct vcpu *vcpu, const struct poll *poll, u32 ports[MAX_POLL_PORTS])
{
	if (poll->n > MAX_POLL_PORTS)
		return -EINVAL;
	for (u32 i = 0; i < poll->n; i++) {
		if (!read_argument(vcpu, poll->ports + i * sizeof(*ports), &ports[i], sizeof(*ports)))
			return -EFAULT;
		if (ports[i] >= vm_xen_layout(vcpu->vm)->ports)
			return -EINVAL;
	}
	return 0;
}

/* The vCPU halts when the hypercall is over, unless something is pending: senders see poll_port from before that look on. */
static void wait_for_ports(struct vcpu *vcpu, const struct poll *poll, const u32 *ports)
{
	struct vcpu_xen *xen = vcpu->xen;

	/* port 0 is none, but may be asked for */
	atomic_xchg(&xen->poll_port, poll->n == 1 && ports[0] ? ports[0] : XEN_ANY_PORT);
	if (vm_xen_any_pending(vcpu->vm, ports, poll->n)) {
		atomic_set(&xen->poll_port, 0);
		return;
	}
	if (poll->timeout) {
		u64 now = host_monotonic_ns();

		host_timer_arm(&xen->poll_timer.host, poll->timeout < ~0ull - now ? now + poll->timeout : ~0ull);
	}
	atomic_set(&vcpu->mp_state, KVM_MP_STATE_HALTED);
	atomic_or(&vcpu->cpu.stop, X86_STOP_EVENT);
}

static bool poll(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	u32 ports[MAX_POLL_PORTS];
	struct poll poll;

	if (!c->wide || !vcpu->apic || !(atomic_read(&vcpu->vm->xen->config.flags) & KVM_XEN_HVM_CONFIG_EVTCHN_SEND))
		return false;
	*result = -EFAULT;
	if (read_argument(vcpu, c->arg[1], &poll, sizeof(poll)))
		*result = read_ports(vcpu, &poll, ports);
	if (!*result)
		wait_for_ports(vcpu, &poll, ports);
	return true;
}

void vcpu_xen_end_poll(struct vcpu *vcpu)
{
	atomic_set(&vcpu->xen->poll_port, 0);
	host_timer_cancel_sync(&vcpu->xen->poll_timer.host);
	atomic_set(&vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
}

static bool schedule(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	u32 command = (u32)c->arg[0];

	if (command == SCHED_POLL && poll(vcpu, c, result))
		return true;
	if (command != SCHED_POLL && command != SCHED_YIELD)
		return false;
	host_yield();
	*result = 0;
	return true;
}

static s64 set_own_timer(struct vcpu *vcpu, const struct call *c)
{
	struct {
		u64 expires;
		u32 flags, pad;
	} timer;

	if (!read_argument(vcpu, c->arg[2], &timer, c->wide ? sizeof(timer) : 12))
		return -EFAULT;
	if ((timer.flags & TIMER_IN_FUTURE) && (s64)(timer.expires - vm_clock_ns(vcpu->vm)) < 0)
		return -ETIME;
	vcpu_xen_start_timer(vcpu, timer.expires);
	return 0;
}

static bool vcpu_operation(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	u32 command = (u32)c->arg[0];

	if (!vcpu->xen->timer_port || (command != VCPU_SET_TIMER && command != VCPU_STOP_TIMER))
		return false;
	*result = 0;
	if ((u32)c->arg[1] != vcpu->xen->id)
		*result = -EINVAL;
	else if (command == VCPU_SET_TIMER)
		*result = set_own_timer(vcpu, c);
	else
		vcpu_xen_stop_timer(vcpu);
	return true;
}

/* Xen takes times that are negative, or 13 days away, for overflows of the guest's, and calls it soon. */
static bool set_timer(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	u64 expires = c->arg[0] | (c->wide ? 0 : c->arg[1] << 32), now;
	s64 delta;

	if (!vcpu->xen->timer_port)
		return false;
	*result = 0;
	if (!expires) {
		vcpu_xen_stop_timer(vcpu);
		return true;
	}
	now = vm_clock_ns(vcpu->vm);
	delta = (s64)(expires - now);
	if ((s64)expires < 0 || (delta > 0 && (u32)(delta >> 50)))
		expires = now + 100 * MS;
	vcpu_xen_start_timer(vcpu, expires);
	return true;
}

static bool tell_version(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	*result = atomic_read(&vcpu->vm->xen->version);
	return c->arg[0] == VERSION_VERSION && *result;
}

static bool serve(struct vcpu *vcpu, const struct call *c, s64 *result)
{
	switch (c->input) {
	case CALL_XEN_VERSION:
		return tell_version(vcpu, c, result);
	case CALL_EVENT_CHANNEL:
		return c->arg[0] == EVENT_SEND && send_event(vcpu, c, result);
	case CALL_SCHED:
		return schedule(vcpu, c, result);
	case CALL_VCPU:
		return vcpu_operation(vcpu, c, result);
	case CALL_SET_TIMER:
		return set_timer(vcpu, c, result);
	}
	return false;
}

static enum x86_result ask_userspace(struct vcpu *vcpu, const struct call *c)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_XEN;
	run->xen.type = KVM_EXIT_XEN_HCALL;
	run->xen.u.hcall.longmode = c->wide;
	run->xen.u.hcall.cpl = vcpu->cpu.cpl;
	run->xen.u.hcall.input = c->input;
	memcpy(run->xen.u.hcall.params, c->arg, sizeof(c->arg));
	vcpu->io.pending = VCPU_IO_HYPERCALL;
	vcpu->io.restart = true;
	return X86_EXIT;
}

enum x86_result vcpu_xen_hypercall(struct vcpu *vcpu)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct call c;
	s64 result;

	read_call(cpu, &c);
	if ((c.input & HYPERV_CALL) && vcpu_hyperv_has_hypercalls(vcpu))
		return vcpu_hyperv_hypercall(vcpu);
	if (vcpu->io.hypercall_answered)
		result = (s64)vcpu->run->xen.u.hcall.result;
	else if (cpu->cpl || !serve(vcpu, &c, &result))
		return ask_userspace(vcpu, &c);
	vcpu->stat->hypercalls++;
	cpu->regs[X86_RAX] = (u64)result;
	return X86_OK;
}
