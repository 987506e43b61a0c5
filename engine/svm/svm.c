/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The AMD-V engine's operations: the loop around VMRUN and the one switch over its exits. (AMD APM vol. 2, chapter 15.)
 *
 * Interrupts are off from the last look at what waits until the guest has been left; everything else in run() is ordinary
 * kernel code of the VMM's thread, which may be preempted, migrate and fault.
 */
#include "engine/svm/svm.h"
#include "x86/cpuid.h"
#include "x86/fpu.h"
#include "x86/system.h"

#define MSR_SPEC_CTRL 0x48u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_XSS 0xda0u
#define MSR_VM_CR 0xc0010114u
#define VM_CR_SVMDIS BIT64(4)

struct svm_features svm_features;

/* ---- state that VMRUN does not switch ----------------------------------------------------------------------------- */

struct host_state {
	u64 xss, spec_ctrl;
	u32 pkru;
};

static void xsetbv0(u64 value)
{
	__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static u64 xgetbv0(void)
{
	u32 low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}

static u32 rdpkru(void)
{
	u32 eax, edx;

	__asm__ volatile("rdpkru" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static void wrpkru(u32 value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static bool uses_pku(const struct x86_cpu *cpu)
{
	return svm_features.pku && ((cpu->cr4 & X86_CR4_PKE) || (cpu->xcr0 & X86_XCR0_PKRU));
}

static bool own_xcr0(const struct x86_cpu *cpu)
{
	return (cpu->cr4 & X86_CR4_OSXSAVE) && cpu->xcr0 != svm_features.host_xcr0;
}

static void load_debug_registers(const struct x86_cpu *cpu)
{
	const u64 *dr = cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? cpu->debug_dr : cpu->dr;

	__asm__ volatile("mov %0, %%db0" : : "r"(dr[0]));
	__asm__ volatile("mov %0, %%db1" : : "r"(dr[1]));
	__asm__ volatile("mov %0, %%db2" : : "r"(dr[2]));
	__asm__ volatile("mov %0, %%db3" : : "r"(dr[3]));
}

static void load_guest_state(struct svm_vcpu *svm, struct host_state *host)
{
	const struct x86_cpu *cpu = &svm->vcpu->cpu;

	if (svm_features.rdtscp && unlikely(svm->tsc_aux != cpu->msr.tsc_aux)) {
		svm->tsc_aux = cpu->msr.tsc_aux;
		svm_wrmsr(MSR_TSC_AUX, svm->tsc_aux);
	}
	if (unlikely(svm->debug_loaded))
		load_debug_registers(cpu);
	if (own_xcr0(cpu))
		xsetbv0(cpu->xcr0);
	if (svm_features.xsaves && (cpu->cr4 & X86_CR4_OSXSAVE)) {
		host->xss = svm_rdmsr(MSR_XSS);
		if (host->xss != cpu->msr.xss)
			svm_wrmsr(MSR_XSS, cpu->msr.xss);
	}
	if (uses_pku(cpu)) {
		host->pkru = rdpkru();
		if (host->pkru != cpu->pkru)
			wrpkru(cpu->pkru);
	}
	if (svm_features.spec_ctrl && cpu->msr.spec_ctrl) {
		host->spec_ctrl = svm_rdmsr(MSR_SPEC_CTRL);
		svm_wrmsr(MSR_SPEC_CTRL, host->spec_ctrl | cpu->msr.spec_ctrl);
	}
}

static void load_host_state(struct svm_vcpu *svm, const struct host_state *host)
{
	struct x86_cpu *cpu = &svm->vcpu->cpu;

	if (svm_features.spec_ctrl && cpu->msr.spec_ctrl)
		svm_wrmsr(MSR_SPEC_CTRL, host->spec_ctrl);
	if (uses_pku(cpu)) {
		cpu->pkru = rdpkru();
		if (host->pkru != cpu->pkru)
			wrpkru(host->pkru);
	}
	if (svm_features.xsaves && (cpu->cr4 & X86_CR4_OSXSAVE) && host->xss != cpu->msr.xss)
		svm_wrmsr(MSR_XSS, host->xss);
	if (own_xcr0(cpu))
		xsetbv0(svm_features.host_xcr0);
	if (unlikely(svm->debug_loaded))
		host_debug_restore();
}

/* Components that the host's kernel knows beside those that guests are offered (MPX) stay out. */
void svm_fpu_get(struct svm_vcpu *svm)
{
	struct x86_xsave *image = svm->vcpu->cpu.xsave;

	if (svm->fpu_in_image)
		return;
	svm->fpu_in_image = true;
	host_fpu_get(svm->fpu, image, x86_fpu_size());
	image->xstate_bv &= x86_fpu_host.live;
}

void svm_fpu_load(struct svm_vcpu *svm)
{
	if (svm->fpu_in_image)
		host_fpu_set(svm->fpu, svm->vcpu->cpu.xsave, x86_fpu_size());
	svm->fpu_in_image = false;
	host_fpu_load(svm->fpu);
}

/* ---- into the guest and back ---------------------------------------------------------------------------------------- */

/* Interrupts off. */
static void world_switch(struct svm_vcpu *svm)
{
	struct host_state host = { 0, 0, 0 };

	if (unlikely(!svm_asid_prepare(svm))) {
		svm->vmcb->control.exit_code = SVM_EXIT_INVALID; /* as if it refused */
		return;
	}
	host_fpu_ready();
	host_guest_enter();
	load_guest_state(svm, &host);
	svm_enter(svm->vmcb_phys, svm->vcpu->cpu.regs, svm_host_area());
	load_host_state(svm, &host);
	host_guest_leave();
	svm->vmcb->control.clean = svm_has(SVM_FEATURE_CLEAN) ? SVM_CLEAN_ALL : 0;
	if (svm->vmcb->control.exit_code == SVM_EXCEPTION + X86_MC)
		host_machine_check();
}

/* What keeps the thread from entering the guest. */
static void settle_work(struct vcpu *vcpu)
{
	if (host_signal_pending())
		atomic_or(&vcpu->cpu.stop, X86_STOP_SIGNAL);
	host_resched();
}

/*
 * False: somebody wants something first. Who does sets stop or flush and then looks at running_on; here it is the other way
 * round. The interrupt that follows a look at running_on ends the guest as soon as it has begun.
 */
static bool enter(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	bool entered = false;

	host_irq_disable();
	atomic_xchg(&svm->running_on, host_cpu_id() + 1);
	if (likely(!atomic_read_acquire(&vcpu->cpu.stop) && !host_work_pending())) {
		svm_events_prepare(vcpu);
		world_switch(svm);
		entered = true;
	}
	atomic_set_release(&svm->running_on, 0);
	host_irq_enable(); /* the interrupt that ended the guest is taken here */
	if (!entered) {
		settle_work(vcpu);
		return false;
	}
	if (unlikely((u32)svm->vmcb->control.exit_code == (u32)SVM_EXIT_INVALID)) {
		svm_pull_nothing(svm); /* what was refused; TCG has put something else into the VMCB */
		return true;
	}
	svm_pull_basic(vcpu);
	svm_events_finish(vcpu);
	return true;
}

static enum svm_next handle(struct vcpu *vcpu, enum engine_exit *exit)
{
	struct svm_vcpu *svm = vcpu->engine;
	u64 code = svm->vmcb->control.exit_code;

	switch (code) {
	case SVM_INTR:
	case SVM_NMI:
	case SVM_SMI:
	case SVM_INIT:
	case SVM_VINTR: /* the window that was asked for: the loop sees that it is open */
	case SVM_PAUSE:
		if (code == SVM_PAUSE)
			host_yield();
		return SVM_ON;
	case SVM_EXIT_NPF:
		return svm_exit_npf(vcpu, exit);
	case SVM_CPUID:
		return svm_exit_cpuid(vcpu, exit);
	case SVM_MSR:
		return svm_exit_msr(vcpu, exit);
	case SVM_IOIO:
		return svm_exit_io(vcpu, exit);
	case SVM_HLT:
		return svm_exit_hlt(vcpu, exit);
	case SVM_INVD:
	case SVM_WBINVD:
		return svm_exit_nothing(vcpu, exit);
	case SVM_EXCEPTION + 0 ... SVM_EXCEPTION + 31:
		return svm_exit_exception(vcpu, (unsigned)code - SVM_EXCEPTION, exit);
	case SVM_CR_READ + 0 ... SVM_DR_WRITE + 15:
	case SVM_CR0_SEL_WRITE:
	case SVM_IRET:
	case SVM_RSM:
	case SVM_VMMCALL:
	case SVM_MONITOR:
	case SVM_MWAIT:
	case SVM_XSETBV:
	case SVM_RDTSC:
	case SVM_RDTSCP:
	case SVM_RDPMC:
		return svm_emulate(vcpu, exit);
	case SVM_INVLPGA:
	case SVM_VMRUN:
	case SVM_VMLOAD ... SVM_SKINIT:
	case SVM_RDPRU:
		x86_raise(&vcpu->cpu, X86_UD, 0);
		return svm_deliver_fault(vcpu, exit);
	case SVM_SHUTDOWN:
		svm_pull(vcpu);
		svm->event = 0;
		return svm_leave(exit, ENGINE_EXIT_SHUTDOWN);
	case SVM_EXIT_INVALID:
	case (u32)SVM_EXIT_INVALID: /* TCG's */
		vcpu->entry_failure = (u32)code;
		return svm_leave(exit, ENGINE_EXIT_FAIL_ENTRY);
	default:
		return svm_leave(exit, ENGINE_EXIT_EMULATION);
	}
}

/* The guest may have moved its LAPIC: that page is never memory. */
static void look_at_apic_base(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;

	if (likely(svm->apic_base_seen == vcpu->apic_base))
		return;
	svm->apic_base_seen = vcpu->apic_base;
	npt_unmap_page(svm->vm, vcpu->apic_base & PAGE_MASK & ~BIT64(63) & ((1ull << vcpu->cpu.maxphyaddr) - 1));
}

/* cpu->stop is set: X86_STOP_CODE concerns other engines. */
static bool stopped(struct x86_cpu *cpu)
{
	return atomic_read(&cpu->stop) && (atomic_and(&cpu->stop, ~X86_STOP_CODE) & ~X86_STOP_CODE);
}

static enum engine_exit loop(struct vcpu *vcpu)
{
	enum engine_exit exit = ENGINE_EXIT_STOP;
	enum svm_next next = SVM_ON;

	while (next == SVM_ON) {
		if (unlikely(stopped(&vcpu->cpu)))
			return ENGINE_EXIT_STOP;
		if (unlikely(svm_window_open(vcpu)))
			return ENGINE_EXIT_IRQ_WINDOW;
		if (unlikely(svm_window_needs_step(vcpu))) {
			if (host_work_pending())
				settle_work(vcpu);
			next = svm_emulate(vcpu, &exit);
			continue;
		}
		look_at_apic_base(vcpu);
		svm_push(vcpu);
		if (enter(vcpu))
			next = handle(vcpu, &exit);
	}
	return exit;
}

/* ---- operations --------------------------------------------------------------------------------------------------------- */

static enum engine_exit svm_run(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	enum engine_exit exit;

	svm->again = SVM_AGAIN_NOT;
	svm_fpu_load(svm);
	svm->fpu_loaded = true;
	svm_load(svm);
	exit = loop(vcpu);
	svm_put(svm);
	svm->fpu_loaded = false;
	host_fpu_put(svm->fpu);
	svm_pull(vcpu);
	svm_events_return(vcpu);
	return exit;
}

static enum engine_exit svm_complete(struct vcpu *vcpu)
{
	enum engine_exit exit = ENGINE_EXIT_STOP;

	svm_emulate_again(vcpu, &exit);
	return exit;
}

static void svm_sync(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;

	if (svm->fpu_loaded)
		host_fpu_put(svm->fpu);
	svm_fpu_get(svm);
	if (svm->fpu_loaded)
		svm_fpu_load(svm);
}

static void svm_kick(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;
	u32 on = svm ? atomic_read_acquire(&svm->running_on) : 0;

	if (on)
		host_cpu_kick(on - 1, false);
}

static void svm_state_changed(struct vcpu *vcpu)
{
	(void)vcpu; /* what run() left pulled is pushed at the next entry */
}

static void svm_memory_changed(struct vcpu *vcpu)
{
	(void)vcpu; /* nothing is derived from its contents */
}

static void link_vcpu(struct svm_vcpu *svm)
{
	host_spin_lock(&svm->vm->lock);
	svm->next = svm->vm->vcpus;
	svm->vm->vcpus = svm;
	host_spin_unlock(&svm->vm->lock);
}

static void unlink_vcpu(struct svm_vcpu *svm)
{
	struct svm_vcpu **link;

	host_spin_lock(&svm->vm->lock);
	for (link = &svm->vm->vcpus; *link; link = &(*link)->next) {
		if (*link == svm) {
			*link = svm->next;
			break;
		}
	}
	host_spin_unlock(&svm->vm->lock);
}

static void svm_vcpu_free(struct svm_vcpu *svm)
{
	npt_cache_free(svm);
	if (svm->fpu)
		host_fpu_destroy(svm->fpu);
	if (svm->bounce.page)
		host_frames_free(svm->bounce.page, 0);
	if (svm->vmcb)
		host_frames_free(svm->vmcb, 0);
	host_free(svm);
}

/* No entry ever hits: the inline probes of x86/mem.h all end in svm_mem_ops. */
static void close_tlb(struct x86_cpu *cpu)
{
	for (unsigned set = 0; set < X86_TLB_SETS; set++) {
		for (unsigned i = 0; i < X86_TLB_SIZE; i++)
			cpu->tlbs[set][i].tag_read = cpu->tlbs[set][i].tag_write = (u64)(i ^ 1) << 12;
	}
}

static int svm_vcpu_create(struct vcpu *vcpu)
{
	static u64 last_id;
	struct svm_vcpu *svm = host_alloc(sizeof(*svm));

	if (!svm)
		return -ENOMEM;
	svm->vmcb = host_frames_alloc(0);
	svm->fpu = host_fpu_create();
	svm->bounce.page = host_frames_alloc(0);
	if (!svm->vmcb || !svm->fpu || !svm->bounce.page) {
		svm_vcpu_free(svm);
		return -ENOMEM;
	}
	svm->vmcb_phys = host_frames_phys(svm->vmcb);
	svm->vcpu = vcpu;
	svm->vm = vcpu->vm->engine;
	svm->id = atomic_add(&last_id, 1) + 1;
	svm->fpu_in_image = true;
	svm_pull_nothing(svm);
	svm->cpu_seen = ~0u;
	svm_vmcb_init(svm);
	vcpu->engine = svm;
	vcpu->cpu.mem = &svm_mem_ops;
	close_tlb(&vcpu->cpu);
	link_vcpu(svm);
	return 0;
}

static void svm_vcpu_destroy(struct vcpu *vcpu)
{
	struct svm_vcpu *svm = vcpu->engine;

	unlink_vcpu(svm);
	svm_vcpu_free(svm);
	vcpu->engine = NULL;
}

static void svm_vm_destroy(struct vm *vm)
{
	struct svm_vm *svm = vm->engine;

	npt_destroy(svm);
	svm_cpus_put();
	host_free(svm);
}

static int svm_vm_create(struct vm *vm)
{
	struct svm_vm *svm = host_alloc(sizeof(*svm));
	int r;

	if (!svm)
		return -ENOMEM;
	r = svm_cpus_get();
	if (r) {
		host_free(svm);
		return r;
	}
	svm->vm = vm;
	vm->engine = svm;
	r = npt_create(svm);
	if (r)
		svm_vm_destroy(vm);
	return r;
}

const struct engine_ops engine_svm = {
	.name = "svm",
	.vm_create = svm_vm_create,
	.vm_destroy = svm_vm_destroy,
	.vcpu_create = svm_vcpu_create,
	.vcpu_destroy = svm_vcpu_destroy,
	.run = svm_run,
	.complete = svm_complete,
	.state_changed = svm_state_changed,
	.flush_tlb = npt_slots_changed,
	.memory_changed = svm_memory_changed,
	.device_done = svm_memory_changed,
	.inject = svm_inject,
	.kick = svm_kick,
	.sync = svm_sync,
};

/* ---- the module's beginning and end ------------------------------------------------------------------------------------ */

static u64 host_cr4(void)
{
	u64 cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	return cr4;
}

static int probe(void)
{
	struct svm_features *f = &svm_features;
	u32 r[4];

	x86_host_cpuid(0x80000000u, 0, r);
	if (r[X86_CPUID_EAX] < 0x8000000au)
		return -ENODEV;
	x86_host_cpuid(0x80000001u, 0, r);
	if (!(r[X86_CPUID_ECX] >> 2 & 1) || (svm_rdmsr(MSR_VM_CR) & VM_CR_SVMDIS))
		return -ENODEV;
	f->gbpages = r[X86_CPUID_EDX] >> 26 & 1;
	f->rdtscp = r[X86_CPUID_EDX] >> 27 & 1;
	x86_host_cpuid(0x8000000au, 0, r);
	f->nr_asids = r[X86_CPUID_EBX];
	f->edx = r[X86_CPUID_EDX];
	if (!svm_has(SVM_FEATURE_NPT) || f->nr_asids < 2)
		return -ENODEV;
	x86_host_cpuid(7, 0, r);
	f->pku = r[X86_CPUID_ECX] >> 4 & 1; /* OSPKE */
	x86_host_cpuid(0x80000008u, 0, r);
	f->spec_ctrl = r[X86_CPUID_EBX] >> 14 & 1;
	f->rdpru = r[X86_CPUID_EBX] >> 4 & 1;
	x86_host_cpuid(0xd, 1, r);
	f->xsaves = r[X86_CPUID_EAX] >> 3 & 1;
	f->host_xcr0 = host_cr4() & X86_CR4_OSXSAVE ? xgetbv0() : 0;
	x86_cpuid_native = true;
	f->npt_levels = host_cr4() & X86_CR4_LA57 ? 5 : 4;
	return 0;
}

int svm_init(void)
{
	int r = probe();

	if (!r)
		r = svm_maps_create();
	if (r)
		return r;
	r = svm_cpus_create();
	if (r)
		goto no_cpus;
	r = npt_init();
	if (r)
		goto no_npt;
	return 0;
no_npt:
	svm_cpus_destroy();
no_cpus:
	svm_maps_destroy();
	return r;
}

void svm_exit(void)
{
	npt_exit();
	svm_cpus_destroy();
	svm_maps_destroy();
}
