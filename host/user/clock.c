/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Clocks. The vDSO's clock_gettime is not used: it is the kernel's C, free to use vector registers,
 * and these run while the guest's are live. Hot paths count in TSC and convert.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <time.h>

#include "host/host.h"
#include "host/user/sys.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

static u64 clock_ns(int clock)
{
	struct timespec ts;

	sys_call3(SYS_clock_gettime, clock, (long)&ts, 0);
	return (u64)ts.tv_sec * NS_PER_S + (u64)ts.tv_nsec;
}

u64 host_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

u64 host_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

u64 host_tsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

/* ---- the TSC's frequency --------------------------------------------------------------------- */

/* SDM, CPUID leaf 15H: EBX/EAX is TSC/crystal, ECX the crystal in Hz (0: not enumerated). */
static u32 khz_from_cpuid(void)
{
	u32 a, b, c, d;

	if (!__get_cpuid_count(0x15, 0, &a, &b, &c, &d) || !a || !b || !c)
		return 0;
	return (u32)((u64)c * b / a / 1000);
}

/* A moment on both clocks, as exact as the best of a few tries; the raw clock is not slewed by NTP. */
struct moment {
	u64 tsc;
	u64 ns;
};

static struct moment moment_now(void)
{
	struct moment best = { 0 };
	u64 best_width = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		u64 before = host_tsc();
		u64 ns = clock_ns(CLOCK_MONOTONIC_RAW);
		u64 width = host_tsc() - before;

		if (width < best_width) {
			best_width = width;
			best = (struct moment){ before + width / 2, ns };
		}
	}
	return best;
}

static u32 khz_measured(void)
{
	struct moment from = moment_now(), to;

	do {
		__builtin_ia32_pause();
		to = moment_now();
	} while (to.ns - from.ns < 6 * NS_PER_MS);
	return (u32)((to.tsc - from.tsc) * NS_PER_MS / (to.ns - from.ns));
}

u32 host_tsc_khz(void)
{
	static u32 cached;
	u32 khz = atomic_read(&cached), nobody = 0;

	if (likely(khz))
		return khz;
	khz = khz_from_cpuid();
	if (!khz)
		khz = khz_measured();
	/* Two first callers agree on one answer. */
	if (!__atomic_compare_exchange_n(&cached, &nobody, khz, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		khz = nobody;
	return khz;
}

/* ---- waiting for a processor ----------------------------------------------------------------- */

/* Three numbers (Linux, CONFIG_SCHED_INFO): time on a processor, time waiting for one, in ns; time slices. */
static bool read_run_delay(u64 *ns)
{
	char text[64];
	long fd = sys_call3(SYS_open, (long)"/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC, 0), n, i = 0;

	if (fd < 0)
		return false;
	n = sys_read((int)fd, text, sizeof(text));
	sys_close((int)fd);
	while (i < n && text[i] != ' ')
		i++;
	*ns = 0;
	for (i++; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		*ns = *ns * 10 + (u64)(text[i] - '0');
	return i < n;
}

u64 host_run_delay_ns(void)
{
	u64 ns;

	return read_run_delay(&ns) ? ns : 0;
}

bool host_has_run_delay(void)
{
	static u32 answer; /* 0: not asked yet */
	u64 ns;

	if (!atomic_read(&answer))
		atomic_set(&answer, read_run_delay(&ns) ? 2u : 1u);
	return atomic_read(&answer) == 2;
}

u64 host_thread_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}
