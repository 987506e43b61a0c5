/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V hypercalls: remote TLB flush, IPIs, notice of a long spin, events; messages and the debugger's are userspace's. Input is in guest memory, or, "fast", in registers: two
 * general ones and XMM0 to XMM5. Sets of processors are banks of 64 bits by VP index.
 */
#include "kvm/hyperv.h"
#include "kvm/hyperv_state.h"
#include "kvm/irqchip.h"
#include "x86/fpu.h"
#include "x86/system.h"

#define STATUS_SUCCESS 0u
#define STATUS_INVALID_CODE 2u
#define STATUS_INVALID_INPUT 3u
#define STATUS_INVALID_ALIGNMENT 4u
#define STATUS_INVALID_PARAMETER 5u
#define STATUS_ACCESS_DENIED 6u
#define STATUS_OPERATION_DENIED 8u
#define STATUS_INVALID_PORT 17u
#define TO_USERSPACE (~0ull) /* no status */

#define CALL_FLUSH_SPACE 0x2u
#define CALL_FLUSH_LIST 0x3u
#define CALL_NOTIFY_LONG_SPIN_WAIT 0x8u
#define CALL_SEND_IPI 0xbu
#define CALL_FLUSH_SPACE_EX 0x13u
#define CALL_FLUSH_LIST_EX 0x14u
#define CALL_SEND_IPI_EX 0x15u
#define CALL_POST_MESSAGE 0x5cu
#define CALL_SIGNAL_EVENT 0x5du
#define CALL_POST_DEBUG_DATA 0x69u
#define CALL_RETRIEVE_DEBUG_DATA 0x6au
#define CALL_RESET_DEBUG_SESSION 0x6bu

/* The control word: code, fast, count of variable header words, rep count and start. */
#define CONTROL_FAST BIT64(16)
#define CONTROL_RESERVED (BIT64(63) | BIT64(62) | BIT64(61) | BIT64(60) | 0xf00000000000ull | 0xf8000000ull)
#define CONTROL_REP_SHIFT 32

#define FLUSH_ALL_PROCESSORS BIT64(0)
#define SET_SPARSE 0u
#define SET_ALL 1u
#define IPI_VECTOR_FIRST 0x10u
#define IPI_VECTOR_LAST 0xffu
#define EDX_XMM_INPUT BIT(4)
#define NR_XMM_WORDS 12u
#define NR_BANKS (VM_MAX_VCPUS / 64)

struct call {
	u64 control, in, out;	/* in and out: gpa, or the first two words of fast input */
	u16 code, nr_variable, rep_count, rep_start;
	bool fast;
	u64 xmm[NR_XMM_WORDS];
};

struct vp_set {
	bool all;
	u64 bank[NR_BANKS];
};

/* ---- input ---------------------------------------------------------------------------------------------------------- */

static void read_xmm(struct x86_cpu *cpu, u64 out[NR_XMM_WORDS])
{
	const struct engine_ops *ops = vcpu_of(cpu)->vm->ops;
	const struct x86_xsave *image = cpu->xsave;

	if (ops->sync)
		ops->sync(vcpu_of(cpu));
	x86_fpu_home(cpu);
	if (cpu->fpu_live) {
		x86_fpu_save(x86_fpu_scratch(cpu, 0));
		image = x86_fpu_scratch(cpu, 0);
	}
	if (image->xstate_bv & 2)
		memcpy(out, image->fx.xmm, NR_XMM_WORDS * sizeof(out[0]));
	else
		memset(out, 0, NR_XMM_WORDS * sizeof(out[0]));
}

static bool takes_xmm(u16 code)
{
	return (code >= CALL_FLUSH_SPACE && code <= CALL_FLUSH_LIST) ||
	       (code >= CALL_FLUSH_SPACE_EX && code <= CALL_SEND_IPI_EX);
}

static u64 pair(u64 high, u64 low)
{
	return high << 32 | (u32)low;
}

static void read_call(struct x86_cpu *cpu, struct call *c)
{
	const u64 *r = cpu->regs;
	bool wide = cpu->code_bits == 64;

	c->control = wide ? r[X86_RCX] : pair(r[X86_RDX], r[X86_RAX]);
	c->in = wide ? r[X86_RDX] : pair(r[X86_RBX], r[X86_RCX]);
	c->out = wide ? r[X86_R8] : pair(r[X86_RDI], r[X86_RSI]);
	c->code = (u16)c->control;
	c->fast = c->control & CONTROL_FAST;
	c->nr_variable = c->control >> 17 & 0x3ff;
	c->rep_count = c->control >> 32 & 0xfff;
	c->rep_start = c->control >> 48 & 0xfff;
}

/* n words of input from the given one on: the fast ones are in, out, then XMM's. False: there is no such memory. */
static bool read_words(struct vcpu *vcpu, const struct call *c, unsigned first, u64 *words, unsigned n)
{
	if (!c->fast)
		return !vm_read_guest(vcpu->vm, 0, c->in + first * 8, words, n * 8);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = first + i;

		if (at >= NR_XMM_WORDS + 2)
			return false;
		words[i] = at == 0 ? c->in : at == 1 ? c->out : c->xmm[at - 2];
	}
	return true;
}

static unsigned count_bits(u64 word)
{
	unsigned n = 0;

	for (; word; word &= word - 1)
		n++;
	return n;
}

/* A generic set: format, mask of the banks that follow. Word `first` holds the mask. */
static bool read_set(struct vcpu *vcpu, const struct call *c, unsigned first, struct vp_set *set)
{
	u64 mask, banks[64];
	unsigned n = 0;

	if (!read_words(vcpu, c, first, &mask, 1) || c->nr_variable != count_bits(mask))
		return false;
	if (set->all)
		return true;
	if (c->nr_variable && !read_words(vcpu, c, first + 1, banks, c->nr_variable))
		return false;
	for (unsigned bank = 0; bank < 64; bank++) {
		if (!(mask >> bank & 1))
			continue;
		if (bank < NR_BANKS)
			set->bank[bank] = banks[n];
		n++;
	}
	return true;
}

static bool in_set(const struct vp_set *set, const struct vcpu *vcpu)
{
	u32 vp = atomic_read(&vcpu->hyperv->vp_index);

	return set->all || (set->bank[vp / 64] >> (vp % 64) & 1);
}

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

static bool others_in_set(struct vcpu *vcpu, const struct vp_set *set)
{
	struct vcpu *other;

	for (u32 i = 0; (other = vm_vcpu(vcpu->vm, i)); i++) {
		if (other != vcpu && in_set(set, other))
			return true;
	}
	return false;
}

/* Whole TLBs are flushed, whatever address space and addresses the call names. */
static u64 flush(struct vcpu *vcpu, const struct call *c)
{
	bool ex = c->code >= CALL_FLUSH_SPACE_EX;
	struct vp_set set = { .all = false };
	u64 head[3]; /* address space; flags; mask, or format of the set */

	if (!read_words(vcpu, c, 0, head, 3))
		return STATUS_INVALID_INPUT;
	if (ex) {
		set.all = head[2] != SET_SPARSE;
		if (!read_set(vcpu, c, 3, &set))
			return STATUS_INVALID_INPUT;
	} else {
		set.all = (head[1] & FLUSH_ALL_PROCESSORS) || !head[2]; /* Windows Server 2012 means all by none */
		set.bank[0] = head[2];
	}
	if (in_set(&set, vcpu))
		vcpu->cpu.mem->flush_all(&vcpu->cpu, false);
	if (others_in_set(vcpu, &set))
		vcpu_sync_others(vcpu, VCPU_REQ_SYNC);
	return STATUS_SUCCESS | (u64)c->rep_count << CONTROL_REP_SHIFT;
}

static u64 send_ipi(struct vcpu *vcpu, const struct call *c)
{
	bool ex = c->code == CALL_SEND_IPI_EX;
	struct apic_message m = { .delivery = APIC_FIXED, .assert = true };
	struct vp_set set = { .all = false };
	struct vcpu *other;
	u64 head[2]; /* vector; mask, or format of the set */

	if (!vcpu->apic || !read_words(vcpu, c, 0, head, 2))
		return STATUS_INVALID_INPUT;
	set.all = ex && head[1] == SET_ALL;
	if (ex ? !read_set(vcpu, c, 2, &set) : c->fast && head[0] >> 32)
		return STATUS_INVALID_INPUT;
	if (ex && !set.all && !c->nr_variable)
		return STATUS_SUCCESS;
	if (!ex)
		set.bank[0] = head[1];
	if ((u32)head[0] < IPI_VECTOR_FIRST || (u32)head[0] > IPI_VECTOR_LAST)
		return STATUS_INVALID_INPUT;
	m.vector = (u8)head[0];
	for (u32 i = 0; (other = vm_vcpu(vcpu->vm, i)); i++) {
		if (in_set(&set, other) && other->apic && lapic_enabled_hw(other->apic))
			lapic_accept(other->apic, &m);
	}
	return STATUS_SUCCESS;
}

static bool may_call(const struct vcpu_hyperv *hv, u16 code)
{
	u32 need;

	if (!hv->enforce)
		return true;
	switch (code) {
	case CALL_NOTIFY_LONG_SPIN_WAIT:
		return hv->recommended_ebx && hv->recommended_ebx != ~0u;
	case CALL_FLUSH_SPACE:
	case CALL_FLUSH_LIST:
		need = RECOMMEND_REMOTE_TLB_FLUSH;
		break;
	case CALL_FLUSH_SPACE_EX:
	case CALL_FLUSH_LIST_EX:
		need = RECOMMEND_REMOTE_TLB_FLUSH | RECOMMEND_EX_MASKS;
		break;
	case CALL_SEND_IPI:
		need = RECOMMEND_CLUSTER_IPI;
		break;
	case CALL_SEND_IPI_EX:
		need = RECOMMEND_CLUSTER_IPI | RECOMMEND_EX_MASKS;
		break;
	case CALL_POST_MESSAGE:
		return hv->features_ebx & EBX_POST_MESSAGES;
	case CALL_SIGNAL_EVENT:
		return hv->features_ebx & EBX_SIGNAL_EVENTS;
	case CALL_POST_DEBUG_DATA:
	case CALL_RETRIEVE_DEBUG_DATA:
	case CALL_RESET_DEBUG_SESSION:
		return !hv->debug_allowed || (hv->features_ebx & EBX_DEBUGGING);
	default:
		return true;
	}
	return (hv->recommended_eax & need) == need;
}

/* Whether header words and repetitions are such as the call takes. */
static bool well_formed(const struct call *c)
{
	bool rep = c->rep_count || c->rep_start;

	switch (c->code) {
	case CALL_FLUSH_LIST:
		return !c->nr_variable && c->rep_count && !c->rep_start;
	case CALL_FLUSH_LIST_EX:
		return c->rep_count && !c->rep_start;
	case CALL_FLUSH_SPACE_EX:
	case CALL_SEND_IPI_EX:
		return !rep;
	default:
		return !rep && !c->nr_variable;
	}
}

#define EVENT_FLAG 0xffff00000000ull
#define EVENT_CONNECTION 0xffffffull

static u64 signal_event(struct vcpu *vcpu, struct call *c)
{
	u64 port = c->in;

	if (!c->fast && ((c->in & 7) || vm_read_guest(vcpu->vm, 0, c->in, &port, sizeof(port))))
		return STATUS_INVALID_ALIGNMENT;
	c->in = port; /* which is also what userspace is told */
	if (port & EVENT_FLAG)
		return STATUS_INVALID_PORT;
	if (port & ~EVENT_CONNECTION)
		return STATUS_INVALID_INPUT;
	return vm_hyperv_signal(vcpu->vm, (u32)port) ? STATUS_SUCCESS : STATUS_INVALID_PORT;
}

static u64 message(struct vcpu *vcpu, struct call *c)
{
	u64 status;

	if (!well_formed(c))
		return STATUS_INVALID_INPUT;
	status = c->code == CALL_SIGNAL_EVENT ? signal_event(vcpu, c) : STATUS_INVALID_PORT;
	if (status != STATUS_INVALID_PORT)
		return status;
	return vcpu->hyperv->synic.active ? TO_USERSPACE : STATUS_INVALID_INPUT; /* it may know the connection */
}

static u64 debugger(struct vcpu *vcpu, const struct call *c)
{
	if (c->fast && c->code != CALL_RESET_DEBUG_SESSION)
		return STATUS_INVALID_PARAMETER;
	if (!vcpu->hyperv->debug_allowed)
		return STATUS_INVALID_CODE;
	return vcpu->vm->hyperv->debug_options & DEBUG_BY_HYPERCALL ? TO_USERSPACE : STATUS_OPERATION_DENIED;
}

static u64 dispatch(struct vcpu *vcpu, struct call *c)
{
	switch (c->code) {
	case CALL_FLUSH_SPACE:
	case CALL_FLUSH_LIST:
	case CALL_FLUSH_SPACE_EX:
	case CALL_FLUSH_LIST_EX:
		return well_formed(c) ? flush(vcpu, c) : STATUS_INVALID_INPUT;
	case CALL_SEND_IPI:
	case CALL_SEND_IPI_EX:
		return well_formed(c) ? send_ipi(vcpu, c) : STATUS_INVALID_INPUT;
	case CALL_NOTIFY_LONG_SPIN_WAIT:
		if (!well_formed(c))
			return STATUS_INVALID_INPUT;
		host_yield();
		return STATUS_SUCCESS;
	case CALL_POST_MESSAGE:
	case CALL_SIGNAL_EVENT:
		return message(vcpu, c);
	case CALL_POST_DEBUG_DATA:
	case CALL_RETRIEVE_DEBUG_DATA:
	case CALL_RESET_DEBUG_SESSION:
		return debugger(vcpu, c);
	default:
		return STATUS_INVALID_CODE;
	}
}

bool vcpu_hyperv_has_hypercalls(struct vcpu *vcpu)
{
	return vcpu->hyperv->enabled && atomic_read(&vcpu->vm->hyperv->guest_os_id);
}

static enum x86_result ask_userspace(struct vcpu *vcpu, const struct call *c)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_HYPERV;
	run->hyperv.type = KVM_EXIT_HYPERV_HCALL;
	run->hyperv.u.hcall.input = c->control;
	run->hyperv.u.hcall.params[0] = c->in;
	run->hyperv.u.hcall.params[1] = c->out;
	vcpu->io.pending = VCPU_IO_HYPERCALL;
	vcpu->io.restart = true;
	return X86_EXIT;
}

enum x86_result vcpu_hyperv_hypercall(struct vcpu *vcpu)
{
	const struct vcpu_hyperv *hv = vcpu->hyperv;
	struct x86_cpu *cpu = &vcpu->cpu;
	struct call c = { .control = 0 };
	u64 result;

	if (cpu->cpl || !(cpu->cr0 & X86_CR0_PE))
		return x86_raise(cpu, X86_UD, 0);
	read_call(cpu, &c);
	if (vcpu->io.hypercall_answered) {
		result = vcpu->run->hyperv.u.hcall.result;
	} else if (!may_call(hv, c.code)) {
		result = STATUS_ACCESS_DENIED;
	} else if (c.control & CONTROL_RESERVED) {
		result = STATUS_INVALID_INPUT;
	} else {
		if (c.fast && takes_xmm(c.code)) {
			if (hv->enforce && !(hv->features_edx & EDX_XMM_INPUT))
				return x86_raise(cpu, X86_UD, 0);
			read_xmm(cpu, c.xmm);
		}
		result = dispatch(vcpu, &c);
		if (result == TO_USERSPACE)
			return ask_userspace(vcpu, &c);
	}
	vcpu->stat->hypercalls++;
	cpu->regs[X86_RAX] = cpu->code_bits == 64 ? result : (u32)result;
	if (cpu->code_bits != 64)
		cpu->regs[X86_RDX] = result >> 32;
	return X86_OK;
}
