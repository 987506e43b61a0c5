// SPDX-License-Identifier: GPL-2.0-only
/* Processors: switching virtualization on and off, interrupting them, and what a thread owes before it enters a guest. */
#include <linux/context_tracking.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>
#include <linux/preempt.h>
#include <linux/reboot.h>
#include <linux/smp.h>
#include <linux/syscore_ops.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>
#include "host/host.h"
#include "host/hw.h"
#include "host/linux/module.h"

unsigned int host_cpu_limit(void)
{
	return nr_cpu_ids;
}

unsigned int host_cpu_id(void)
{
	return smp_processor_id();
}

/* ---- on and off ---------------------------------------------------------------------------------------- */

static const struct host_cpu_hooks *cpu_hooks;
static int cpu_state; /* of cpuhp_setup_state() */
static bool going_down;

static int cpu_up(unsigned int cpu)
{
	unsigned long flags;
	int r;

	local_irq_save(flags);
	r = READ_ONCE(going_down) ? -ESHUTDOWN : cpu_hooks->enable();
	local_irq_restore(flags);
	return r;
}

static int cpu_down(unsigned int cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	cpu_hooks->disable();
	local_irq_restore(flags);
	return 0;
}

static int cpu_suspend(void)
{
	cpu_hooks->disable();
	return 0;
}

static void cpu_resume(void)
{
	if (cpu_hooks->enable())
		pr_err("anykvm: virtualization does not come back on this processor\n");
}

static struct syscore_ops cpu_syscore = {
	.suspend = cpu_suspend,
	.resume = cpu_resume,
};

static void cpu_stop(void *unused)
{
	const struct host_cpu_hooks *hooks = READ_ONCE(cpu_hooks);

	if (hooks)
		hooks->disable();
}

/*
 * Also of kexec, whose kernel finds the processors as this one leaves them. Programs still run, and may want VMs: from now
 * on there is no way back. What they have in guests comes out by the interrupt.
 */
static int cpu_reboot(struct notifier_block *nb, unsigned long event, void *unused)
{
	WRITE_ONCE(going_down, true);
	on_each_cpu(cpu_stop, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block cpu_reboot_block = {
	.notifier_call = cpu_reboot,
};

int host_cpus_start(const struct host_cpu_hooks *hooks)
{
	WRITE_ONCE(cpu_hooks, hooks);
	cpu_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "virt/anykvm:online", cpu_up, cpu_down);
	if (cpu_state < 0)
		return cpu_state;
	register_syscore_ops(&cpu_syscore);
	return 0;
}

void host_cpus_stop(void)
{
	unregister_syscore_ops(&cpu_syscore);
	cpuhp_remove_state(cpu_state);
}

/*
 * That there are notifiers of preemption is patched into the scheduler, for which every processor is interrupted several
 * times: once for the module, not for each KVM_RUN or VM. A thread without any costs the scheduler a look at an empty list.
 */
int host_cpus_watch(void)
{
	int r = register_reboot_notifier(&cpu_reboot_block);

	if (!r)
		preempt_notifier_inc();
	return r;
}

void host_cpus_unwatch(void)
{
	preempt_notifier_dec();
	unregister_reboot_notifier(&cpu_reboot_block);
}

static void interrupted(void *unused)
{
}

void host_cpu_kick(unsigned int cpu, bool wait)
{
	if (wait)
		smp_call_function_single(cpu, interrupted, NULL, 1);
	else if (cpu_online(cpu))
		smp_send_reschedule(cpu);
}

/* ---- before the guest is entered ---------------------------------------------------------------------------- */

void host_preempt_disable(void)
{
	preempt_disable();
}

void host_preempt_enable(void)
{
	preempt_enable();
}

void host_irq_disable(void)
{
	local_irq_disable();
}

void host_irq_enable(void)
{
	local_irq_enable();
}

bool host_work_pending(void)
{
	return __xfer_to_guest_mode_work_pending() || need_resched();
}

bool host_signal_pending(void)
{
	return signal_pending(current);
}

/* The kernel's function writes to a vCPU of its own if a signal is pending, whatever for; nobody reads it. */
static struct kvm_run unread_run;
static struct kvm_vcpu unread_vcpu = { .run = &unread_run };

void host_resched(void)
{
	if (__xfer_to_guest_mode_work_pending() && !signal_pending(current))
		xfer_to_guest_mode_handle_work(&unread_vcpu);
	else
		cond_resched();
}

void host_guest_switch(void)
{
	if (!cpu_feature_enabled(X86_FEATURE_IBPB_ON_VMEXIT))
		indirect_branch_prediction_barrier();
}

/* What is to come between guest and host besides is in entry.h. */
void host_guest_enter(void)
{
	amd_clear_divider();
	guest_timing_enter_irqoff();
	guest_context_enter_irqoff();
}

void host_guest_leave(void)
{
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	context_tracking_guest_exit();
	guest_timing_exit_irqoff();
}

/* The kernel's handler, by its vector: the processor did not call it. */
void host_machine_check(void)
{
	asm volatile("int $0x12" : : : "memory");
}

/* ---- preemption ------------------------------------------------------------------------------------------------ */

static struct host_preempt *preempt_of(struct preempt_notifier *n)
{
	return container_of((u64 *)n, struct host_preempt, opaque[0]);
}

static void sched_in(struct preempt_notifier *n, int cpu)
{
	preempt_of(n)->in(preempt_of(n));
}

static void sched_out(struct preempt_notifier *n, struct task_struct *next)
{
	preempt_of(n)->out(preempt_of(n));
}

static struct preempt_ops preempt_watch_ops = {
	.sched_in = sched_in,
	.sched_out = sched_out,
};

void host_preempt_watch(struct host_preempt *p)
{
	struct preempt_notifier *n = (struct preempt_notifier *)p->opaque;

	BUILD_BUG_ON(sizeof(*n) > sizeof(p->opaque));
	preempt_notifier_init(n, &preempt_watch_ops);
	preempt_disable();
	preempt_notifier_register(n);
	preempt_enable();
}

void host_preempt_unwatch(struct host_preempt *p)
{
	preempt_disable();
	preempt_notifier_unregister((struct preempt_notifier *)p->opaque);
	preempt_enable();
}

/* ---- vector registers ------------------------------------------------------------------------------------------- */

struct host_fpu {
	struct fpu_guest guest;
};

struct host_fpu *host_fpu_create(void)
{
	struct host_fpu *f = host_alloc(sizeof(*f));

	if (f && !fpu_alloc_guest_fpstate(&f->guest)) {
		host_free(f);
		return NULL;
	}
	return f;
}

void host_fpu_destroy(struct host_fpu *f)
{
	fpu_free_guest_fpstate(&f->guest);
	host_free(f);
}

void host_fpu_load(struct host_fpu *f)
{
	fpu_swap_kvm_fpstate(&f->guest, true);
}

void host_fpu_put(struct host_fpu *f)
{
	fpu_swap_kvm_fpstate(&f->guest, false);
}

void host_fpu_ready(void)
{
	fpregs_assert_state_consistent();
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
}

void host_fpu_get(struct host_fpu *f, void *image, unsigned int size)
{
	fpu_copy_guest_fpstate_to_uabi(&f->guest, image, size, f->guest.fpstate->user_xfeatures, 0);
}

bool host_fpu_set(struct host_fpu *f, const void *image, unsigned int size)
{
	u32 pkru = 0;

	return !fpu_copy_uabi_to_guest_fpstate(&f->guest, image, f->guest.fpstate->user_xfeatures, &pkru);
}

/* ---- debug registers and MSRs ------------------------------------------------------------------------------------- */

void host_debug_restore(void)
{
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
}

bool host_rdmsr_safe(u32 msr, u64 *value)
{
	unsigned long long v;

	if (rdmsrl_safe(msr, &v))
		return false;
	*value = v;
	return true;
}

bool host_wrmsr_safe(u32 msr, u64 value)
{
	return !wrmsrl_safe(msr, value);
}
