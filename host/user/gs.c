/* SPDX-License-Identifier: GPL-2.0-only */
/* By the processor's own instructions where the kernel allows them (Linux 5.9), else by arch_prctl(2). */
#include <asm/prctl.h>
#include <sys/auxv.h>

#include "host/user/gs.h"
#include "host/user/sys.h"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2
#endif

static bool have_fsgsbase;
static HOST_PER_THREAD u64 programs; /* base, while borrowed */
static HOST_PER_THREAD bool borrowed;

static u64 get(void)
{
	u64 base = 0;

	if (atomic_read(&have_fsgsbase))
		__asm__ volatile("rdgsbase %0" : "=r"(base));
	else
		sys_call3(SYS_arch_prctl, ARCH_GET_GS, (long)&base, 0);
	return base;
}

static void set(u64 base)
{
	if (atomic_read(&have_fsgsbase))
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
	else
		sys_call3(SYS_arch_prctl, ARCH_SET_GS, (long)base, 0);
}

bool host_gs_init(void)
{
	bool have = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
	u64 base;

	atomic_set(&have_fsgsbase, have);
	return have || !sys_call3(SYS_arch_prctl, ARCH_GET_GS, (long)&base, 0);
}

/* A signal between the steps: not borrowed yet, or borrowed with the program's base still in place. */
void host_gs_borrow(const void *base)
{
	programs = get();
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(volatile bool *)&borrowed = true;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	set((u64)base);
}

void host_gs_return(void)
{
	set(programs);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(volatile bool *)&borrowed = false;
}

u64 host_gs_suspend(void)
{
	u64 ours;

	if (!borrowed)
		return 0;
	ours = get();
	set(programs);
	return ours;
}

void host_gs_resume(u64 suspended)
{
	if (borrowed)
		set(suspended);
}
