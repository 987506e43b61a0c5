// SPDX-License-Identifier: GPL-2.0-only
/* Who calls: identity, signals, entropy. */
#include <linux/cpumask.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include "host/host.h"

/* A signal needs no stop word here: who sleeps or enters the guest looks whether one is pending. */
void host_run_enter(u32 *stop, u32 stop_bit, const u64 *sigmask)
{
	sigset_t set;

	if (!sigmask)
		return;
	siginitset(&set, 0);
	set.sig[0] = *sigmask;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP)); /* sigprocmask() would block even these */
	sigprocmask(SIG_SETMASK, &set, &current->real_blocked);
}

void host_run_leave(const u64 *sigmask)
{
	if (!sigmask)
		return;
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	sigemptyset(&current->real_blocked);
}

/* An engine that watches the mm holds it, so that no other is taken for it. */
u64 host_mm_id(void)
{
	return (u64)current->mm;
}

u32 host_process_id(void)
{
	return task_tgid_nr(current);
}

u32 host_cpu_number(void)
{
	return raw_smp_processor_id();
}

u32 host_cpu_count(void)
{
	return num_online_cpus();
}

void host_random(void *buf, size_t n)
{
	get_random_bytes(buf, n);
}
