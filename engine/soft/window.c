/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/soft/jit.h"
#include "engine/soft/translate.h"
#include "engine/soft/window.h"
#include "host/host.h"
#include "host/user/fault.h"
#include "host/user/sys.h"

#define WINDOW_SIZE (1ull << 32)
#define WINDOW_STRIDE (2 * WINDOW_SIZE)
#define WINDOWS 64u
#define ARENA_SIZE (WINDOWS * WINDOW_STRIDE + WINDOW_SIZE)

struct windows {
	u64 table;	/* host address of entry 0 */
	u64 arena;
	struct host_fault_detour detour;
};

/* ---- the table ------------------------------------------------------------------------------------------------ */

/* Host address of the first byte of the n-th window; the one of window 0 is the hole. */
static u64 window_start(const struct windows *w, unsigned n)
{
	return w->arena + WINDOW_SIZE + n * WINDOW_STRIDE;
}

static u64 delta_to(u64 linear, u64 start)
{
	return start - (linear & ~(WINDOW_SIZE - 1));
}

u64 window_delta(const struct x86_cpu *cpu, u64 linear)
{
	const struct windows *w = vcpu_of((struct x86_cpu *)cpu)->engine ? soft_of((struct x86_cpu *)cpu)->windows : NULL;

	return delta_to(linear, window_start(w, 0));
}

bool window_fill(struct x86_cpu *cpu, u64 gva, unsigned size, bool write)
{
	(void)cpu;
	(void)gva;
	(void)size;
	(void)write;
	return false;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

void window_enter(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w)
		return;
	w->detour.to = (u64)soft->jit->window_miss;
	host_fault_detour = w->detour.to ? &w->detour : NULL;
}

void window_leave(struct soft_vcpu *soft)
{
	if (soft->windows)
		host_fault_detour = NULL;
}

void window_create(struct vcpu *vcpu)
{
	struct soft_vcpu *soft = vcpu->engine;
	const char *mode = getenv("ANYKVM_WINDOWS");
	u64 guard = (u64)&vcpu->cpu + (u64)GS_BIAS;
	struct windows *w;
	long arena;

	if (!soft->jit || !soft->jit->rorx || !vcpu->guard || soft->lockstep || !mode || mode[0] != 'f')
		return;
	arena = sys_mmap(NULL, ARENA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sys_failed(arena))
		return;
	w = host_alloc_pages(sizeof(*w));
	if (!w) {
		sys_munmap((void *)arena, ARENA_SIZE);
		return;
	}
	w->arena = (u64)arena;
	w->table = guard + WINDOW_TABLE_USER;
	w->detour = (struct host_fault_detour){
		.code = (u64)soft->jit->region.exec, .code_size = soft->jit->region.size,
		.area = { { w->arena, ARENA_SIZE }, { guard, WINDOW_GUARD } },
		.pc = &vcpu->cpu.window_pc, .flags = &vcpu->cpu.window_flags,
	};
	soft->windows = w;
	vcpu->cpu.user_key = BLOCK_KEY_WINDOWS;
}

void window_destroy(struct soft_vcpu *soft)
{
	struct windows *w = soft->windows;

	if (!w)
		return;
	sys_munmap((void *)w->arena, ARENA_SIZE);
	host_free_pages(w, sizeof(*w));
}
