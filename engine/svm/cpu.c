/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processors: switching AMD-V on and off (APM vol. 2, 15.4), ASIDs, and what has to follow a vCPU's thread when it is
 * scheduled.
 *
 * ASIDs are handed out by each processor in turn. A new one is an empty TLB; when none is left, all are flushed and
 * a new generation begins, in which every vCPU needs a new one.
 */
#include "engine/svm/svm.h"
#include "x86/cpuid.h"

#define MSR_EFER 0xc0000080u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_TSC_RATIO 0xc0000104u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define TSC_RATIO_ONE BIT64(32)

struct svm_cpu {
	void *hsave;		/* c: VMRUN's own save area */
	void *host_area;	/* c: VMCB for VMSAVE and VMLOAD of the host's state */
	u64 host_area_phys;	/* c */
	u64 generation;
	u32 next_asid;
	u64 tsc_ratio;
	u64 guest;		/* svm_vcpu.id of the one that ran here last */
	bool enabled;
};

static struct svm_cpu *cpus; /* by processor number; each written by its processor */
static size_t cpus_size;

/* VMs: AMD-V is on while there are any, so that another hypervisor's module may be loaded, too. */
static struct host_mutex users_lock;
static u32 users;

static struct svm_cpu *this_cpu(void)
{
	return &cpus[host_cpu_id()];
}

/* ---- on and off -------------------------------------------------------------------------------------------------- */

static int enable(void)
{
	struct svm_cpu *c = this_cpu();
	u64 efer = svm_rdmsr(MSR_EFER);

	if (efer & X86_EFER_SVME)
		return -EBUSY;
	svm_wrmsr(MSR_EFER, efer | X86_EFER_SVME);
	svm_wrmsr(MSR_VM_HSAVE_PA, host_frames_phys(c->hsave));
	if (svm_has(SVM_FEATURE_TSC_RATIO))
		svm_wrmsr(MSR_TSC_RATIO, TSC_RATIO_ONE);
	c->tsc_ratio = TSC_RATIO_ONE;
	c->generation++;
	c->next_asid = 1;
	c->enabled = true;
	return 0;
}

static void disable(void)
{
	struct svm_cpu *c = this_cpu();

	if (!c->enabled)
		return;
	c->enabled = false;
	if (svm_has(SVM_FEATURE_TSC_RATIO))
		svm_wrmsr(MSR_TSC_RATIO, TSC_RATIO_ONE);
	__asm__ volatile("stgi" : : : "memory");
	svm_wrmsr(MSR_VM_HSAVE_PA, 0);
	svm_wrmsr(MSR_EFER, svm_rdmsr(MSR_EFER) & ~X86_EFER_SVME);
}

static void free_areas(void)
{
	for (unsigned i = 0; i < host_cpu_limit(); i++) {
		if (cpus[i].hsave)
			host_frames_free(cpus[i].hsave, 0);
		if (cpus[i].host_area)
			host_frames_free(cpus[i].host_area, 0);
	}
	host_free_pages(cpus, cpus_size);
}

int svm_cpus_create(void)
{
	int r = 0;

	host_mutex_init(&users_lock);
	cpus_size = host_cpu_limit() * sizeof(*cpus);
	cpus = host_alloc_pages(cpus_size);
	if (!cpus)
		return -ENOMEM;
	for (unsigned i = 0; i < host_cpu_limit() && !r; i++) {
		cpus[i].hsave = host_frames_alloc(0);
		cpus[i].host_area = host_frames_alloc(0);
		if (!cpus[i].hsave || !cpus[i].host_area)
			r = -ENOMEM;
		else
			cpus[i].host_area_phys = host_frames_phys(cpus[i].host_area);
	}
	if (r)
		free_areas();
	return r;
}

void svm_cpus_destroy(void)
{
	free_areas();
}

int svm_cpus_get(void)
{
	static const struct host_cpu_hooks hooks = { .enable = enable, .disable = disable };
	int r = 0;

	host_mutex_lock(&users_lock);
	if (!users)
		r = host_cpus_start(&hooks);
	if (!r)
		users++;
	host_mutex_unlock(&users_lock);
	return r;
}

void svm_cpus_put(void)
{
	host_mutex_lock(&users_lock);
	if (--users == 0)
		host_cpus_stop();
	host_mutex_unlock(&users_lock);
}

/* ---- ASIDs --------------------------------------------------------------------------------------------------------- */

static void new_asid(struct svm_vcpu *svm, struct svm_cpu *c)
{
	if (c->next_asid >= svm_features.nr_asids) {
		c->generation++;
		c->next_asid = 1;
		svm->vmcb->control.tlb_control = SVM_TLB_FLUSH_ALL;
	}
	svm->asid_generation = c->generation;
	svm->vmcb->control.asid = c->next_asid++;
	svm_dirty(svm, SVM_CLEAN_ASID);
}

bool svm_asid_prepare(struct svm_vcpu *svm)
{
	struct vmcb_control *control = &svm->vmcb->control;
	struct svm_cpu *c = this_cpu();
	unsigned id = host_cpu_id();

	if (unlikely(!c->enabled))
		return false;
	control->tlb_control = SVM_TLB_NOTHING;
	if (svm->cpu_seen != id) {
		svm->cpu_seen = id;
		control->clean = 0;
		svm->asid_generation = 0;
	}
	if (svm->asid_generation != c->generation) {
		atomic_xchg(&svm->flush, 0);
		new_asid(svm, c);
	} else if (atomic_read(&svm->flush)) {
		atomic_xchg(&svm->flush, 0);
		if (svm_has(SVM_FEATURE_FLUSH_ASID))
			control->tlb_control = SVM_TLB_FLUSH_ASID;
		else
			new_asid(svm, c);
	}
	return true;
}

/* ---- following the thread ---------------------------------------------------------------------------------------------- */

u64 svm_host_area(void)
{
	return this_cpu()->host_area_phys;
}

static void set_tsc_ratio(const struct vcpu *vcpu, struct svm_cpu *c)
{
	u64 ratio = vcpu->tsc_ratio >> 16; /* 16.48 to 8.32 */

	if (!svm_has(SVM_FEATURE_TSC_RATIO) || c->tsc_ratio == ratio)
		return;
	svm_wrmsr(MSR_TSC_RATIO, ratio);
	c->tsc_ratio = ratio;
}

/* What the host keeps where VMLOAD will write, TSC_AUX and the TSC's ratio: each thread and processor has its own. */
static void thread_in(struct host_preempt *p)
{
	struct svm_vcpu *svm = container_of(p, struct svm_vcpu, preempt);
	struct svm_cpu *c = this_cpu();

	host_irq_disable(); /* lest it be switched off in between */
	if (c->enabled)
		__asm__ volatile("vmsave %%rax" : : "a"(c->host_area_phys) : "memory");
	host_irq_enable();
	set_tsc_ratio(svm->vcpu, c);
	if (c->guest != svm->id)
		host_guest_switch();
	c->guest = svm->id;
	if (svm_features.rdtscp) {
		svm->host_tsc_aux = svm_rdmsr(MSR_TSC_AUX);
		svm->tsc_aux = svm->vcpu->cpu.msr.tsc_aux;
		svm_wrmsr(MSR_TSC_AUX, svm->tsc_aux);
	}
}

static void thread_out(struct host_preempt *p)
{
	struct svm_vcpu *svm = container_of(p, struct svm_vcpu, preempt);

	if (svm_features.rdtscp)
		svm_wrmsr(MSR_TSC_AUX, svm->host_tsc_aux);
}

void svm_load(struct svm_vcpu *svm)
{
	svm->preempt.in = thread_in;
	svm->preempt.out = thread_out;
	host_preempt_disable();
	host_preempt_watch(&svm->preempt);
	thread_in(&svm->preempt);
	host_preempt_enable();
}

void svm_put(struct svm_vcpu *svm)
{
	host_preempt_disable();
	thread_out(&svm->preempt);
	host_preempt_unwatch(&svm->preempt);
	host_preempt_enable();
}
