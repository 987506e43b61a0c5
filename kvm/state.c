/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vCPU's state as userspace reads and writes it: general, system, FPU and debug registers, events. MSRs, CPUID and
 * the LAPIC have files of their own. Handlers run with the vCPU's mutex held.
 */
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "x86/paging.h"
#include "x86/system.h"

static void state_changed(struct vcpu *vcpu)
{
	x86_mode_update(&vcpu->cpu);
	vcpu->vm->ops->state_changed(vcpu);
}

/* ---- general registers ------------------------------------------------------------------------------------ */

/* kvm_regs orders RAX RBX RCX RDX RSI RDI RSP RBP R8...; encodings order RAX RCX RDX RBX RSP RBP RSI RDI R8... */
static const u8 regs_order[8] = { X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RSP, X86_RBP };

static void get_regs(struct vcpu *vcpu, struct kvm_regs *regs)
{
	u64 *out = (u64 *)regs;

	for (unsigned i = 0; i < 8; i++)
		out[i] = vcpu->cpu.regs[regs_order[i]];
	for (unsigned i = 8; i < 16; i++)
		out[i] = vcpu->cpu.regs[i];
	regs->rip = x86_rip(&vcpu->cpu);
	regs->rflags = x86_get_rflags(&vcpu->cpu);
}

static void set_regs(struct vcpu *vcpu, const struct kvm_regs *regs)
{
	const u64 *in = (const u64 *)regs;

	for (unsigned i = 0; i < 8; i++)
		vcpu->cpu.regs[regs_order[i]] = in[i];
	for (unsigned i = 8; i < 16; i++)
		vcpu->cpu.regs[i] = in[i];
	vcpu->cpu.regs[X86_REG_RIP] = regs->rip;
	x86_set_rflags(&vcpu->cpu, regs->rflags & ~(u64)0xffc08028);
	vcpu->exception.pending = false;
	state_changed(vcpu);
}

static long vcpu_get_regs(void *object, unsigned long arg)
{
	struct kvm_regs regs;

	get_regs(object, &regs);
	return host_copy_to_user(arg, &regs, sizeof(regs));
}

static long vcpu_set_regs(void *object, unsigned long arg)
{
	struct kvm_regs regs;

	if (host_copy_from_user(&regs, arg, sizeof(regs)))
		return -EFAULT;
	set_regs(object, &regs);
	return 0;
}

/* ---- system registers --------------------------------------------------------------------------------------- */

static void get_segment(const struct x86_seg *s, struct kvm_segment *out)
{
	*out = (struct kvm_segment){
		.base = s->base, .limit = s->limit, .selector = s->selector, .type = s->type, .present = s->present,
		.dpl = s->dpl, .db = s->db, .s = s->s, .l = s->l, .g = s->g, .avl = s->avl, .unusable = s->unusable,
	};
}

static void set_segment(struct x86_seg *s, const struct kvm_segment *in)
{
	*s = (struct x86_seg){
		.base = in->base, .limit = in->limit, .selector = in->selector, .type = in->type & 15,
		.present = in->present & 1, .dpl = in->dpl & 3, .db = in->db & 1, .s = in->s & 1, .l = in->l & 1,
		.g = in->g & 1, .avl = in->avl & 1, .unusable = in->unusable & 1,
	};
}

/* Both kvm_sregs and kvm_sregs2 begin like this. */
struct sregs_common {
	struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
	struct kvm_dtable gdt, idt;
	__u64 cr0, cr2, cr3, cr4, cr8, efer, apic_base;
};

static void get_sregs_common(struct vcpu *vcpu, struct sregs_common *s)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	memset(s, 0, sizeof(*s));
	get_segment(&cpu->seg[X86_CS], &s->cs);
	get_segment(&cpu->seg[X86_DS], &s->ds);
	get_segment(&cpu->seg[X86_ES], &s->es);
	get_segment(&cpu->seg[X86_FS], &s->fs);
	get_segment(&cpu->seg[X86_GS], &s->gs);
	get_segment(&cpu->seg[X86_SS], &s->ss);
	get_segment(&cpu->seg[X86_TR], &s->tr);
	get_segment(&cpu->seg[X86_LDTR], &s->ldt);
	s->gdt.base = cpu->gdt.base;
	s->gdt.limit = cpu->gdt.limit;
	s->idt.base = cpu->idt.base;
	s->idt.limit = cpu->idt.limit;
	s->cr0 = cpu->cr0;
	s->cr2 = cpu->cr2;
	s->cr3 = cpu->cr3;
	s->cr4 = cpu->cr4;
	s->cr8 = vcpu_irq_get_cr8(vcpu);
	s->efer = cpu->efer;
	s->apic_base = vcpu->apic_base;
}

static bool valid_cr0(u64 cr0)
{
	if (cr0 >> 32)
		return false;
	if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
		return false;
	return !(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE);
}

static bool valid_sregs(const struct x86_cpu *cpu, const struct sregs_common *s)
{
	if ((s->efer & X86_EFER_LME) && (s->cr0 & X86_CR0_PG)) {
		if (!(s->cr4 & X86_CR4_PAE) || !(s->efer & X86_EFER_LMA))
			return false;
		if (s->cr3 & cpu->phys_reserved & ~BIT64(63))
			return false;
	} else if ((s->efer & X86_EFER_LMA) || s->cs.l) {
		return false;
	}
	return !(s->cr4 & cpu->cr4_reserved) && valid_cr0(s->cr0);
}

static int set_sregs_common(struct vcpu *vcpu, const struct sregs_common *s)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	if (!valid_sregs(cpu, s))
		return -EINVAL;
	if (vcpu_irq_set_apic_base(vcpu, s->apic_base, true))
		return -EINVAL;
	cpu->gdt.base = s->gdt.base;
	cpu->gdt.limit = s->gdt.limit;
	cpu->idt.base = s->idt.base;
	cpu->idt.limit = s->idt.limit;
	cpu->cr2 = s->cr2;
	cpu->cr3 = s->cr3;
	if (s->cr8 <= 15)
		vcpu_irq_set_cr8(vcpu, s->cr8);
	cpu->efer = s->efer;
	cpu->cr0 = s->cr0 | X86_CR0_ET;
	cpu->cr4 = s->cr4;
	set_segment(&cpu->seg[X86_CS], &s->cs);
	set_segment(&cpu->seg[X86_DS], &s->ds);
	set_segment(&cpu->seg[X86_ES], &s->es);
	set_segment(&cpu->seg[X86_FS], &s->fs);
	set_segment(&cpu->seg[X86_GS], &s->gs);
	set_segment(&cpu->seg[X86_SS], &s->ss);
	set_segment(&cpu->seg[X86_TR], &s->tr);
	set_segment(&cpu->seg[X86_LDTR], &s->ldt);
	cpu->activity = X86_ACTIVE;
	if (vcpu->id == vcpu->vm->bsp_vcpu_id && x86_rip(cpu) == 0xfff0 && s->cs.selector == 0xf000 &&
	    s->cs.base == 0xffff0000 && !(s->cr0 & X86_CR0_PE))
		atomic_set(&vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
	state_changed(vcpu);
	cpu->mem->flush_all(cpu, false);
	return 0;
}

static bool pae_paging(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !(cpu->efer & X86_EFER_LMA);
}

static void get_sregs(struct vcpu *vcpu, struct kvm_sregs *s)
{
	memset(s, 0, sizeof(*s));
	get_sregs_common(vcpu, (struct sregs_common *)s);
	if (vcpu->interrupt.injected && !vcpu->interrupt.soft)
		s->interrupt_bitmap[vcpu->interrupt.vector / 64] |= BIT64(vcpu->interrupt.vector % 64);
}

static int set_sregs(struct vcpu *vcpu, const struct kvm_sregs *s)
{
	int r = set_sregs_common(vcpu, (const struct sregs_common *)s);

	if (r)
		return r;
	if (pae_paging(&vcpu->cpu))
		x86_load_pdptrs(&vcpu->cpu, s->cr3);
	for (unsigned i = 0; i < ARRAY_SIZE(s->interrupt_bitmap); i++) {
		if (!s->interrupt_bitmap[i])
			continue;
		vcpu->interrupt.injected = true;
		vcpu->interrupt.soft = false;
		vcpu->interrupt.vector = (u8)(i * 64 + (unsigned)__builtin_ctzll(s->interrupt_bitmap[i]));
		break;
	}
	return 0;
}

static long vcpu_get_sregs(void *object, unsigned long arg)
{
	struct kvm_sregs s;

	get_sregs(object, &s);
	return host_copy_to_user(arg, &s, sizeof(s));
}

static long vcpu_set_sregs(void *object, unsigned long arg)
{
	struct kvm_sregs s;

	if (host_copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	return set_sregs(object, &s);
}

static long vcpu_get_sregs2(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_sregs2 s;

	memset(&s, 0, sizeof(s));
	get_sregs_common(vcpu, (struct sregs_common *)&s);
	if (pae_paging(&vcpu->cpu)) {
		memcpy(s.pdptrs, vcpu->cpu.pdptr, sizeof(s.pdptrs));
		s.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
	}
	return host_copy_to_user(arg, &s, sizeof(s));
}

static long vcpu_set_sregs2(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_sregs2 s;
	bool pae;
	int r;

	if (host_copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	pae = (s.cr0 & X86_CR0_PG) && (s.cr4 & X86_CR4_PAE) && !(s.efer & X86_EFER_LMA);
	if (s.flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	if ((s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) && !pae)
		return -EINVAL;
	r = set_sregs_common(vcpu, (const struct sregs_common *)&s);
	if (r)
		return r;
	if (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		memcpy(vcpu->cpu.pdptr, s.pdptrs, sizeof(s.pdptrs));
	else if (pae_paging(&vcpu->cpu))
		x86_load_pdptrs(&vcpu->cpu, s.cr3);
	return 0;
}

/* ---- FPU ---------------------------------------------------------------------------------------------------------- */

static long vcpu_get_fpu(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_fpu fpu;

	memset(&fpu, 0, sizeof(fpu));
	x86_fpu_get(&vcpu->cpu, &fpu);
	return host_copy_to_user(arg, &fpu, sizeof(fpu));
}

static long vcpu_set_fpu(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_fpu fpu;

	if (host_copy_from_user(&fpu, arg, sizeof(fpu)))
		return -EFAULT;
	x86_fpu_set(&vcpu->cpu, &fpu);
	return 0;
}

u32 vcpu_xsave2_size(void)
{
	return x86_fpu_size() > sizeof(struct kvm_xsave) ? x86_fpu_size() : (u32)sizeof(struct kvm_xsave);
}

static long get_xsave(struct vcpu *vcpu, unsigned long arg, unsigned size)
{
	void *area = host_alloc(size);
	long r;

	if (!area)
		return -ENOMEM;
	x86_fpu_get_xsave(&vcpu->cpu, area, size);
	r = host_copy_to_user(arg, area, size);
	host_free(area);
	return r;
}

static long vcpu_get_xsave(void *object, unsigned long arg)
{
	if (vcpu_xsave2_size() > sizeof(struct kvm_xsave))
		return -EINVAL;
	return get_xsave(object, arg, sizeof(struct kvm_xsave));
}

static long vcpu_get_xsave2(void *object, unsigned long arg)
{
	return get_xsave(object, arg, vcpu_xsave2_size());
}

static long vcpu_set_xsave(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	unsigned size = vcpu_xsave2_size();
	void *area = host_alloc(size);
	long r = -EFAULT;

	if (!area)
		return -ENOMEM;
	if (!host_copy_from_user(area, arg, size))
		r = x86_fpu_set_xsave(&vcpu->cpu, area, size);
	host_free(area);
	return r;
}

static long vcpu_get_xcrs(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_xcrs x;

	memset(&x, 0, sizeof(x));
	x.nr_xcrs = 1;
	x.xcrs[0].value = vcpu->cpu.xcr0;
	return host_copy_to_user(arg, &x, sizeof(x));
}

static long vcpu_set_xcrs(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_xcrs x;

	if (host_copy_from_user(&x, arg, sizeof(x)))
		return -EFAULT;
	if (x.nr_xcrs > KVM_MAX_XCRS || x.flags)
		return -EINVAL;
	for (u32 i = 0; i < x.nr_xcrs; i++) {
		if (x.xcrs[i].xcr != 0)
			continue;
		if (x86_set_xcr(&vcpu->cpu, 0, x.xcrs[i].value) != X86_OK)
			return -EINVAL;
		break;
	}
	vcpu->vm->ops->state_changed(vcpu);
	return 0;
}

/* ---- debug ---------------------------------------------------------------------------------------------------------- */

static long vcpu_get_debugregs(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_debugregs d;

	memset(&d, 0, sizeof(d));
	memcpy(d.db, vcpu->cpu.dr, sizeof(d.db));
	d.dr6 = vcpu->cpu.dr6;
	d.dr7 = vcpu->cpu.dr7;
	return host_copy_to_user(arg, &d, sizeof(d));
}

static long vcpu_set_debugregs(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_debugregs d;

	if (host_copy_from_user(&d, arg, sizeof(d)))
		return -EFAULT;
	if (d.flags || d.dr6 >> 32 || d.dr7 >> 32)
		return -EINVAL;
	memcpy(vcpu->cpu.dr, d.db, sizeof(d.db));
	vcpu->cpu.dr6 = d.dr6;
	vcpu->cpu.dr7 = d.dr7;
	state_changed(vcpu);
	vcpu->cpu.mem->flush_all(&vcpu->cpu, false);
	return 0;
}

#define GUESTDBG_SUPPORTED                                                                                              \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_USE_SW_BP |              \
	 KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_BLOCKIRQ)

/* Document, section 4.87. */
static long vcpu_set_guest_debug(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct x86_cpu *cpu = &vcpu->cpu;
	struct kvm_guest_debug dbg;

	if (host_copy_from_user(&dbg, arg, sizeof(dbg)))
		return -EFAULT;
	dbg.control &= GUESTDBG_SUPPORTED; /* KVM on x86 looks at no others */
	if (dbg.control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
		if (vcpu->exception.pending)
			return -EBUSY;
		memset(&vcpu->exception, 0, sizeof(vcpu->exception));
		vcpu->exception.pending = true;
		vcpu->exception.e.vector = dbg.control & KVM_GUESTDBG_INJECT_DB ? X86_DB : X86_BP;
	}
	vcpu->guest_debug = dbg.control & KVM_GUESTDBG_ENABLE ? dbg.control : 0;
	cpu->guest_debug = vcpu->guest_debug;
	for (unsigned i = 0; i < 4; i++)
		cpu->debug_dr[i] = dbg.arch.debugreg[i];
	cpu->debug_dr7 = dbg.arch.debugreg[7];
	state_changed(vcpu);
	cpu->mem->flush_all(cpu, false);
	return 0;
}

static long vcpu_translate(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct x86_exception saved = vcpu->cpu.fault;
	struct x86_translation t;
	struct kvm_translation tr;

	if (host_copy_from_user(&tr, arg, sizeof(tr)))
		return -EFAULT;
	tr.valid = x86_walk(&vcpu->cpu, tr.linear_address, X86_ACCESS_SYSTEM | X86_ACCESS_PROBE, false, &t) == X86_OK;
	tr.physical_address = tr.valid ? t.gpa : ~0ull;
	tr.valid = tr.physical_address != ~0ull; /* which is no address to KVM */
	tr.writeable = 1;
	tr.usermode = 0;
	vcpu->cpu.fault = saved;
	return host_copy_to_user(arg, &tr, sizeof(tr));
}

/* ---- events ------------------------------------------------------------------------------------------------------------ */

static void get_events(struct vcpu *vcpu, struct kvm_vcpu_events *e)
{
	bool soft = vcpu->exception.e.vector == X86_BP || vcpu->exception.e.vector == X86_OF_VECTOR;
	bool payload = vcpu->vm->exception_payload;

	vcpu_take_event_requests(vcpu);
	memset(e, 0, sizeof(*e));
	if (!soft) {
		e->exception.injected = vcpu->exception.injected || (!payload && vcpu->exception.pending);
		e->exception.pending = vcpu->exception.pending;
	}
	e->exception.nr = vcpu->exception.e.vector;
	e->exception.has_error_code = vcpu->exception.e.has_error;
	e->exception.error_code = vcpu->exception.e.error;
	e->exception_has_payload = vcpu->exception.has_payload;
	e->exception_payload = vcpu->exception.e.payload;
	e->interrupt.injected = vcpu->interrupt.injected && !vcpu->interrupt.soft;
	e->interrupt.nr = vcpu->interrupt.vector;
	e->interrupt.shadow = vcpu->cpu.shadow;
	e->nmi.injected = vcpu->nmi_injected;
	e->nmi.pending = vcpu->nmi_pending != 0;
	e->nmi.masked = vcpu->cpu.nmi_masked;
	e->smi.smm = vcpu->cpu.smm;
	e->smi.pending = vcpu->smi_pending;
	e->smi.smm_inside_nmi = vcpu->cpu.smm_inside_nmi;
	e->smi.latched_init = vcpu_irq_latched_init(vcpu);
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	if (payload)
		e->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (vcpu->vm->triple_fault_event) {
		e->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
		e->triple_fault.pending = !!(atomic_read(&vcpu->requests) & VCPU_REQ_TRIPLE_FAULT);
	}
}

static int check_events(const struct vcpu *vcpu, struct kvm_vcpu_events *e)
{
	if (e->flags & ~(u32)(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			      KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_PAYLOAD |
			      KVM_VCPUEVENT_VALID_TRIPLE_FAULT))
		return -EINVAL;
	if (e->flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
		if (!vcpu->vm->exception_payload)
			return -EINVAL;
		if (e->exception.pending)
			e->exception.injected = 0;
		else
			e->exception_has_payload = 0;
	} else {
		e->exception.pending = 0;
		e->exception_has_payload = 0;
	}
	if ((e->exception.injected || e->exception.pending) &&
	    (e->exception.nr > 31 || e->exception.nr == X86_NMI))
		return -EINVAL;
	if ((e->flags & KVM_VCPUEVENT_VALID_SMM) && (e->smi.smm || e->smi.pending) &&
	    vcpu->mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return -EINVAL;
	if ((e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !vcpu->vm->triple_fault_event)
		return -EINVAL;
	return 0;
}

static void set_events_smm(struct vcpu *vcpu, const struct kvm_vcpu_events *e)
{
	struct x86_cpu *cpu = &vcpu->cpu;

	if (cpu->smm != !!e->smi.smm) {
		cpu->smm = e->smi.smm;
		cpu->env->smm_changed(cpu);
	}
	vcpu->smi_pending = e->smi.pending;
	cpu->smm_inside_nmi = e->smi.smm && e->smi.smm_inside_nmi;
	vcpu_irq_set_latched_init(vcpu, e->smi.latched_init);
}

static int set_events(struct vcpu *vcpu, struct kvm_vcpu_events *e)
{
	int r = check_events(vcpu, e);

	if (r)
		return r;
	vcpu_take_event_requests(vcpu);
	vcpu->exception.injected = e->exception.injected;
	vcpu->exception.pending = e->exception.pending;
	vcpu->exception.has_payload = e->exception_has_payload;
	vcpu->exception.e = (struct x86_exception){
		.vector = e->exception.nr, .has_error = e->exception.has_error_code, .error = e->exception.error_code,
		.payload = e->exception_payload,
	};
	vcpu->interrupt.injected = e->interrupt.injected;
	vcpu->interrupt.vector = e->interrupt.nr;
	vcpu->interrupt.soft = e->interrupt.soft;
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		vcpu->cpu.shadow = e->interrupt.shadow & (KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS);
	vcpu->nmi_injected = e->nmi.injected;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		vcpu->nmi_pending = e->nmi.pending;
	vcpu->cpu.nmi_masked = e->nmi.masked;
	if (e->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		vcpu_irq_set_sipi_vector(vcpu, (u8)e->sipi_vector);
	if (e->flags & KVM_VCPUEVENT_VALID_SMM)
		set_events_smm(vcpu, e);
	if (e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) {
		if (e->triple_fault.pending)
			atomic_or(&vcpu->requests, VCPU_REQ_TRIPLE_FAULT);
		else
			atomic_and(&vcpu->requests, ~VCPU_REQ_TRIPLE_FAULT);
	}
	atomic_or(&vcpu->requests, VCPU_REQ_EVENT);
	return 0;
}

static long vcpu_get_events(void *object, unsigned long arg)
{
	struct kvm_vcpu_events e;

	get_events(object, &e);
	return host_copy_to_user(arg, &e, sizeof(e));
}

static long vcpu_set_events(void *object, unsigned long arg)
{
	struct kvm_vcpu_events e;

	if (host_copy_from_user(&e, arg, sizeof(e)))
		return -EFAULT;
	return set_events(object, &e);
}

static long vcpu_nmi(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;

	(void)arg;
	vcpu_queue_nmi(vcpu);
	return 0;
}

static long vcpu_smi(void *object, unsigned long arg)
{
	(void)arg;
	vcpu_request(object, VCPU_REQ_SMI);
	return 0;
}

static long vcpu_get_mp_state(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_mp_state mp;

	vcpu_irq_accept_init_sipi(vcpu);
	mp.mp_state = atomic_read(&vcpu->mp_state);
	return host_copy_to_user(arg, &mp, sizeof(mp));
}

static long vcpu_set_mp_state(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct kvm_mp_state mp;
	bool init_sipi;

	if (host_copy_from_user(&mp, arg, sizeof(mp)))
		return -EFAULT;
	init_sipi = mp.mp_state == KVM_MP_STATE_INIT_RECEIVED || mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED;
	if (mp.mp_state > KVM_MP_STATE_SIPI_RECEIVED && mp.mp_state != KVM_MP_STATE_AP_RESET_HOLD)
		return -EINVAL;
	if (mp.mp_state != KVM_MP_STATE_RUNNABLE && !vcpu->apic)
		return -EINVAL;
	if (init_sipi && (vcpu->cpu.smm || vcpu->smi_pending))
		return -EINVAL;
	if (mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
		atomic_set(&vcpu->mp_state, KVM_MP_STATE_INIT_RECEIVED);
		vcpu_irq_pend_sipi(vcpu);
	} else {
		atomic_set(&vcpu->mp_state, mp.mp_state);
	}
	vcpu_request(vcpu, VCPU_REQ_EVENT);
	return 0;
}

/* ---- synchronised registers in kvm_run (KVM_CAP_SYNC_REGS; document, chapter 5) ------------------------------------------- */

int vcpu_load_sync_regs(struct vcpu *vcpu)
{
	struct kvm_sync_regs *shared = &vcpu->run->s.regs;
	u64 dirty = atomic_read(&vcpu->run->kvm_dirty_regs);
	int r = 0;

	if (likely(!dirty))
		return 0;
	if (dirty & KVM_SYNC_X86_REGS) {
		struct kvm_regs regs = shared->regs;

		set_regs(vcpu, &regs);
		vcpu->run->kvm_dirty_regs &= ~(u64)KVM_SYNC_X86_REGS;
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		struct kvm_sregs sregs = shared->sregs;

		r = set_sregs(vcpu, &sregs);
		if (r)
			return r;
		vcpu->run->kvm_dirty_regs &= ~(u64)KVM_SYNC_X86_SREGS;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		struct kvm_vcpu_events events = shared->events;

		r = set_events(vcpu, &events);
		if (!r)
			vcpu->run->kvm_dirty_regs &= ~(u64)KVM_SYNC_X86_EVENTS;
	}
	return r;
}

void vcpu_store_sync_regs(struct vcpu *vcpu)
{
	struct kvm_sync_regs *shared = &vcpu->run->s.regs;
	u64 valid = atomic_read(&vcpu->run->kvm_valid_regs);

	if (likely(!valid))
		return;
	if (valid & KVM_SYNC_X86_REGS)
		get_regs(vcpu, &shared->regs);
	if (valid & KVM_SYNC_X86_SREGS)
		get_sregs(vcpu, &shared->sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		get_events(vcpu, &shared->events);
}

const struct ioctl_row vcpu_state_ioctls[] = {
	{ KVM_GET_REGS, vcpu_get_regs },
	{ KVM_SET_REGS, vcpu_set_regs },
	{ KVM_GET_SREGS, vcpu_get_sregs },
	{ KVM_SET_SREGS, vcpu_set_sregs },
	{ KVM_GET_SREGS2, vcpu_get_sregs2 },
	{ KVM_SET_SREGS2, vcpu_set_sregs2 },
	{ KVM_GET_FPU, vcpu_get_fpu },
	{ KVM_SET_FPU, vcpu_set_fpu },
	{ KVM_GET_XSAVE, vcpu_get_xsave },
	{ KVM_GET_XSAVE2, vcpu_get_xsave2 },
	{ KVM_SET_XSAVE, vcpu_set_xsave },
	{ KVM_GET_XCRS, vcpu_get_xcrs },
	{ KVM_SET_XCRS, vcpu_set_xcrs },
	{ KVM_GET_DEBUGREGS, vcpu_get_debugregs },
	{ KVM_SET_DEBUGREGS, vcpu_set_debugregs },
	{ KVM_SET_GUEST_DEBUG, vcpu_set_guest_debug },
	{ KVM_TRANSLATE, vcpu_translate },
	{ KVM_GET_VCPU_EVENTS, vcpu_get_events },
	{ KVM_SET_VCPU_EVENTS, vcpu_set_events },
	{ KVM_NMI, vcpu_nmi },
	{ KVM_SMI, vcpu_smi },
	{ KVM_GET_MP_STATE, vcpu_get_mp_state },
	{ KVM_SET_MP_STATE, vcpu_set_mp_state },
	{ 0, NULL },
};
