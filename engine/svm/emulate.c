/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One instruction by x86/emulate: accesses to devices, control and debug registers, IRET behind an NMI, RSM, and what
 * userspace has answered. Instructions that compute on x87, SSE or AVX registers are not among them: those
 * registers are the processor's here. Moves of 16 bytes between one and a device are made in the image of the state.
 */
#include "engine/svm/svm.h"
#include "x86/fpu.h"
#include "x86/mem.h"
#include "x86/system.h"

#define DR6_BS BIT64(14)

/* ---- events ------------------------------------------------------------------------------------------------------- */

static enum svm_next after_delivery(struct x86_cpu *cpu, enum x86_result r, enum engine_exit *exit)
{
	if (r == X86_EXIT)
		return svm_leave(exit, ENGINE_EXIT_EMULATION);
	if (cpu->activity == X86_SHUTDOWN)
		return svm_leave(exit, ENGINE_EXIT_SHUTDOWN);
	return SVM_ON;
}

static bool debugger_wants_db(const struct x86_cpu *cpu)
{
	return cpu->guest_debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP);
}

enum svm_next svm_deliver_fault(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	svm_pull(vcpu);
	if (cpu->fault.vector == X86_DB && debugger_wants_db(cpu))
		return svm_leave(exit, ENGINE_EXIT_DEBUG);
	cpu->shadow = 0;
	return after_delivery(cpu, x86_deliver_fault(cpu), exit);
}

enum svm_next svm_retired(struct vcpu *vcpu, bool stepped, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	u64 dr6 = cpu->pending_dr6 | (stepped ? DR6_BS : 0);
	struct x86_event event = { .kind = X86_EVENT_EXCEPTION, .e = { .vector = X86_DB, .payload = dr6 } };

	if (likely(!dr6) || (cpu->shadow & KVM_X86_SHADOW_INT_MOV_SS))
		return SVM_ON;
	svm_pull(vcpu);
	cpu->pending_dr6 = 0;
	if (debugger_wants_db(cpu)) {
		cpu->fault = event.e;
		return svm_leave(exit, ENGINE_EXIT_DEBUG);
	}
	event.return_rip = x86_rip(cpu);
	return after_delivery(cpu, x86_deliver(cpu, &event), exit);
}

/* ---- fetching -------------------------------------------------------------------------------------------------------- */

u64 svm_linear_rip(const struct x86_cpu *cpu, unsigned off)
{
	u64 linear = cpu->seg_base[X86_CS] + x86_rip(cpu) + off;

	return cpu->code_bits == 64 ? linear : linear & 0xffffffffull;
}

static enum x86_decode_status fetch_rest(struct x86_cpu *cpu, struct x86_insn *insn, u8 *bytes, unsigned have,
					 enum x86_result *r, bool *memory)
{
	*r = svm_fetch(cpu, svm_linear_rip(cpu, have), bytes + have, X86_MAX_INSN_LEN - have, memory);
	if (*r || !*memory)
		return X86_DECODE_MORE;
	return x86_decode(insn, bytes, X86_MAX_INSN_LEN, cpu->code_bits);
}

/* The instruction at RIP. X86_FAULT: fetching it faults; *memory false: it is not in memory. */
static enum x86_result fetch(struct vcpu *vcpu, struct x86_insn *insn, bool *memory)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	u8 bytes[X86_MAX_INSN_LEN];
	unsigned n = svm->nr_bytes;
	enum x86_decode_status status;
	enum x86_result r = X86_OK;

	*memory = true;
	if (n) {
		memcpy(bytes, svm->bytes, n);
	} else {
		n = (unsigned)min_u64(X86_MAX_INSN_LEN, PAGE_SIZE - (svm_linear_rip(cpu, 0) & (PAGE_SIZE - 1)));
		r = svm_fetch(cpu, svm_linear_rip(cpu, 0), bytes, n, memory);
		if (r || !*memory)
			return r;
	}
	status = x86_decode(insn, bytes, n, cpu->code_bits);
	if (status == X86_DECODE_MORE && n < X86_MAX_INSN_LEN) {
		status = fetch_rest(cpu, insn, bytes, n, &r, memory);
		if (r || !*memory)
			return r;
	}
	if (status == X86_DECODE_OK && (cpu->code_bits == 64 || x86_rip(cpu) + insn->len - 1 <= cpu->seg[X86_CS].limit))
		return X86_OK;
	return x86_raise(cpu, status == X86_DECODE_UD ? X86_UD : X86_GP, 0);
}

/* ---- moves of vector registers ---------------------------------------------------------------------------------------- */

/*
 * MOVUPS, MOVAPS, MOVUPD, MOVAPD, MOVDQU, MOVDQA, MOVNTPS, MOVNTPD, MOVNTDQ, and MOVQ, MOVD-like forms are left out:
 * the ones that drivers move to and from devices with, as in KVM.
 */
static bool is_vector_move(const struct x86_insn *insn)
{
	if (insn->op != X86_OP_NATIVE || insn->map != 1 || (insn->prefix & (X86_PFX_VEX | X86_PFX_EVEX)) ||
	    insn->nr_operands != 2)
		return false;
	switch (insn->opcode) {
	case 0x10:
	case 0x11:
	case 0x28:
	case 0x29:
	case 0x2b:
		return !insn->mandatory || insn->mandatory == 0x66;
	case 0x6f:
	case 0x7f:
		return insn->mandatory == 0x66 || insn->mandatory == 0xf3;
	case 0xe7:
		return insn->mandatory == 0x66;
	default:
		return false;
	}
}

static enum x86_result vector_move(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool load = insn->operand[0].kind == X86_OPD_VEC, loaded = svm_of(cpu)->fpu_loaded;
	const struct x86_operand *reg = &insn->operand[load ? 0 : 1];
	struct svm_vcpu *svm = svm_of(cpu);
	struct x86_xsave *image = cpu->xsave;
	unsigned access = load ? X86_ACCESS_READ : X86_ACCESS_WRITE;
	enum x86_result r = x86_fpu_check(cpu, X86_STATE_SSE);
	u8 value[16];
	u64 gva;

	if (r || insn->operand[load ? 1 : 0].kind != X86_OPD_MEM)
		return r ? r : x86_raise(cpu, X86_UD, 0);
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), 16, access, &gva);
	if (!r && load)
		r = x86_read_bytes(cpu, gva, value, 16, access);
	if (r)
		return r;
	if (loaded)
		host_fpu_put(svm->fpu);
	svm_fpu_get(svm);
	if (!load) {
		memcpy(value, image->fx.xmm[reg->reg], 16);
		if (!(image->xstate_bv & X86_XCR0_SSE))
			memset(value, 0, 16);
	} else {
		if (!(image->xstate_bv & X86_XCR0_SSE))
			memset(image->fx.xmm, 0, sizeof(image->fx.xmm));
		image->xstate_bv |= X86_XCR0_SSE;
		memcpy(image->fx.xmm[reg->reg], value, 16);
	}
	if (loaded)
		svm_fpu_load(svm);
	return load ? X86_OK : x86_write_bytes(cpu, gva, value, 16, access);
}

/* ---- executing ----------------------------------------------------------------------------------------------------------- */

/* State management and vector code, which come last in the list of operations, work on live registers. */
static bool can_emulate(const struct x86_insn *insn)
{
	return insn->op < X86_OP_FXSAVE || is_vector_move(insn);
}

static void advance(struct x86_cpu *cpu, unsigned bytes)
{
	cpu->regs[X86_REG_RIP] += bytes;
	if (cpu->code_bits != 64)
		cpu->regs[X86_REG_RIP] &= 0xffffffffull;
}

/* The processor's walk counts for instructions that access memory once, or at one place twice. */
static bool has_one_access(const struct x86_insn *insn)
{
	return insn->op <= X86_OP_NEG || (insn->op >= X86_OP_MOV && insn->op <= X86_OP_MOVSXD) ||
	       insn->op == X86_OP_XCHG || insn->op == X86_OP_MOVBE || insn->op == X86_OP_MOVNTI;
}

static enum x86_result execute(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct svm_vcpu *svm = svm_of(cpu);
	enum x86_result r;

	if (insn->op == X86_OP_NATIVE)
		return vector_move(cpu, insn);
	svm->access.valid &= has_one_access(insn);
	svm->bounce.wanted = insn->op == X86_OP_INS || insn->op == X86_OP_OUTS;
	r = insn->exec(cpu, insn);
	if (unlikely(svm->bounce.wanted))
		svm_bounce_flush(cpu);
	svm->bounce.wanted = false;
	return r;
}

static enum svm_next retire(struct vcpu *vcpu, const struct x86_insn *insn, enum x86_result r, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	switch (r) {
	case X86_OK:
		advance(cpu, insn->len);
		return SVM_ON;
	case X86_END:
		advance(cpu, insn->len);
		return cpu->activity == X86_HALTED ? svm_leave(exit, ENGINE_EXIT_HLT) : SVM_ON;
	case X86_BRANCH:
		return cpu->activity == X86_SHUTDOWN ? svm_leave(exit, ENGINE_EXIT_SHUTDOWN) : SVM_ON;
	case X86_REPEAT:
		return SVM_ON;
	case X86_FAULT:
		return svm_deliver_fault(vcpu, exit);
	case X86_EXIT:
		return svm_leave(exit, ENGINE_EXIT_REQUEST);
	}
	return svm_leave(exit, ENGINE_EXIT_EMULATION);
}

static enum svm_next run_insn(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	bool stepped = (cpu->rflags & X86_TF) || (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP);
	u32 rf = cpu->rflags & X86_RF;
	u8 shadow = cpu->shadow;
	enum svm_next next;
	enum x86_result r;

	cpu->rflags &= ~X86_RF;
	cpu->shadow = 0;
	r = execute(cpu, &svm->insn);
	if (r == X86_EXIT || r == X86_FAULT)
		cpu->rflags |= rf;
	if (r == X86_EXIT) {
		cpu->shadow = shadow;
		svm->again = SVM_AGAIN_INSN;
		svm->again_rip = svm_linear_rip(cpu, 0);
	}
	next = retire(vcpu, &svm->insn, r, exit);
	if (next == SVM_LEAVE || r == X86_FAULT)
		return next;
	return svm_retired(vcpu, stepped, exit);
}

enum svm_next svm_emulate(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;
	bool memory;

	svm_pull(vcpu);
	if (fetch(vcpu, &svm->insn, &memory))
		return svm_deliver_fault(vcpu, exit);
	if (!memory || !can_emulate(&svm->insn))
		return svm_leave(exit, ENGINE_EXIT_EMULATION);
	x86_bind(&vcpu->cpu, &svm->insn, 0);
	return run_insn(vcpu, exit);
}

enum svm_next svm_emulate_again(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;

	if (svm->again != SVM_AGAIN_NOT && svm->again_rip == svm_linear_rip(&vcpu->cpu, 0))
		return svm->again == SVM_AGAIN_IO ? svm_exit_io(vcpu, exit) : run_insn(vcpu, exit);
	return svm_emulate(vcpu, exit);
}

/* Without prefixes, as they nearly always are. 0: not so, or there is more to be looked at. */
static unsigned plain_length(struct vcpu *vcpu)
{
	static const struct {
		u16 exit;
		u8 length, bytes[2], mask; /* mask: of the last byte */
	} plain[] = {
		{ SVM_CPUID, 2, { 0x0f, 0xa2 }, 0xff }, { SVM_MSR, 2, { 0x0f, 0x30 }, 0xfd },
		{ SVM_INVD, 2, { 0x0f, 0x08 }, 0xff }, { SVM_WBINVD, 2, { 0x0f, 0x09 }, 0xff },
	};
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	u64 linear = svm_linear_rip(cpu, 0);
	u8 bytes[2];
	bool memory;

	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		if (plain[i].exit != svm->vmcb->control.exit_code)
			continue;
		if ((linear & (PAGE_SIZE - 1)) == PAGE_SIZE - 1 || svm_fetch(cpu, linear, bytes, sizeof(bytes), &memory) || !memory)
			return 0;
		return bytes[0] == plain[i].bytes[0] && (bytes[1] & plain[i].mask) == plain[i].bytes[1] ? plain[i].length : 0;
	}
	return 0;
}

/* Where the processor does not tell. */
static bool find_next_rip(struct vcpu *vcpu, u64 *rip, enum svm_next *next, enum engine_exit *exit)
{
	struct x86_cpu *cpu = &vcpu->cpu;
	struct svm_vcpu *svm = vcpu->engine;
	unsigned length;
	bool memory;

	svm_pull_to_read(vcpu);
	length = plain_length(vcpu);
	if (!length) {
		if (fetch(vcpu, &svm->insn, &memory)) {
			*next = svm_deliver_fault(vcpu, exit);
			return false;
		}
		if (!memory) {
			*next = svm_leave(exit, ENGINE_EXIT_EMULATION);
			return false;
		}
		length = svm->insn.len;
	}
	*rip = x86_rip(cpu) + length;
	if (cpu->code_bits != 64)
		*rip &= 0xffffffffull;
	return true;
}

bool svm_next_rip(struct vcpu *vcpu, u64 *rip, enum svm_next *next, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;

	if (!svm_has(SVM_FEATURE_NRIPS) || !svm->vmcb->control.next_rip)
		return find_next_rip(vcpu, rip, next, exit);
	*rip = svm->vmcb->control.next_rip;
	return true;
}
