/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debug registers (SDM vol. 3 chapter 17.2; AMD APM vol. 2 section 13.1).
 *
 * The VMM may take the breakpoint hardware for itself (KVM_GUESTDBG_USE_HW_BP): then debug_dr and
 * debug_dr7 are what matches, and the guest's own registers only read back.
 */
#include "x86/system.h"

#define DR6_BD BIT64(13)
#define DR6_VOLATILE 0xe00full	/* BT, BS, BD, B3..B0; RTM and bus lock stay 1 */
#define DR7_VOLATILE 0xffff2bffull
#define DR7_GD BIT64(13)

enum { BP_EXECUTE, BP_WRITE, BP_IO, BP_ACCESS };

struct breakpoints {
	const u64 *address;
	u64 dr7;
};

static struct breakpoints active(const struct x86_cpu *cpu)
{
	if (cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP)
		return (struct breakpoints) { cpu->debug_dr, cpu->debug_dr7 };
	return (struct breakpoints) { cpu->dr, cpu->dr7 };
}

static bool enabled(u64 dr7, unsigned i)
{
	return dr7 >> (2 * i) & 3;
}

static unsigned kind(u64 dr7, unsigned i)
{
	return dr7 >> (16 + 4 * i) & 3;
}

/* LEN: 1, 2, 8, 4 bytes. */
static unsigned length(u64 dr7, unsigned i)
{
	static const u8 bytes[] = { 1, 2, 8, 4 };

	return bytes[dr7 >> (18 + 4 * i) & 3];
}

/* Whether any enabled breakpoint is of a kind in the set. */
static bool any_enabled(u64 dr7, unsigned kinds)
{
	for (unsigned i = 0; i < 4; i++)
		if (enabled(dr7, i) && (kinds >> kind(dr7, i) & 1))
			return true;
	return false;
}

static bool overlaps(const struct breakpoints *b, unsigned i, u64 start, unsigned size)
{
	u64 len = length(b->dr7, i), first = b->address[i] & ~(len - 1);

	return start < first + len && first < start + (size ? size : 1);
}

/* B bits of the enabled breakpoints of these kinds that overlap the access. */
static u64 matches(const struct breakpoints *b, unsigned kinds, u64 start, unsigned size)
{
	u64 hit = 0;

	for (unsigned i = 0; i < 4; i++)
		if (enabled(b->dr7, i) && (kinds >> kind(b->dr7, i) & 1) && overlaps(b, i, start, size))
			hit |= BIT64(i);
	return hit;
}

bool x86_debug_active(const struct x86_cpu *cpu)
{
	if ((cpu->rflags & X86_TF) || (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		return true;
	return any_enabled(active(cpu).dr7, BIT(BP_EXECUTE));
}

u64 x86_debug_fetch(const struct x86_cpu *cpu, u64 linear_rip)
{
	struct breakpoints b = active(cpu);

	if (cpu->rflags & X86_RF)
		return 0;
	return matches(&b, BIT(BP_EXECUTE), linear_rip, 1);
}

bool x86_debug_data_active(const struct x86_cpu *cpu)
{
	return any_enabled(active(cpu).dr7, BIT(BP_WRITE) | BIT(BP_ACCESS) | BIT(BP_IO));
}

u64 x86_debug_data(const struct x86_cpu *cpu, u64 gva, unsigned size, bool write)
{
	struct breakpoints b = active(cpu);

	return matches(&b, write ? BIT(BP_WRITE) | BIT(BP_ACCESS) : BIT(BP_ACCESS), gva, size);
}

u64 x86_debug_io(const struct x86_cpu *cpu, u16 port, unsigned size)
{
	struct breakpoints b = active(cpu);

	return cpu->cr4 & X86_CR4_DE ? matches(&b, BIT(BP_IO), port, size) : 0;
}

/* ---- MOV DRn --------------------------------------------------------------------------------- */

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE; all fault while DR7.GD is set (SDM sections 17.2.2, 17.2.4). */
static enum x86_result check_access(struct x86_cpu *cpu, unsigned *dr)
{
	if (*dr > 7 || ((*dr == 4 || *dr == 5) && (cpu->cr4 & X86_CR4_DE)))
		return x86_raise(cpu, X86_UD, 0);
	if (*dr == 4 || *dr == 5)
		*dr += 2;
	return active(cpu).dr7 & DR7_GD ? x86_raise_db(cpu, DR6_BD) : X86_OK;
}

/* Pages with data breakpoints are kept out of the TLB: what it holds was filled under the old registers. */
static void breakpoints_changed(struct x86_cpu *cpu, bool before)
{
	if (before || x86_debug_data_active(cpu))
		cpu->mem->flush_all(cpu, false);
}

enum x86_result x86_mov_to_dr(struct x86_cpu *cpu, unsigned dr, u64 value)
{
	bool before = x86_debug_data_active(cpu);
	enum x86_result r = check_access(cpu, &dr);

	if (r)
		return r;
	if (dr >= 6 && value >> 32)
		return x86_raise(cpu, X86_GP, 0);
	if (dr < 4)
		cpu->dr[dr] = value;
	else if (dr == 6)
		cpu->dr6 = (value & DR6_VOLATILE) | X86_DR6_INIT;
	else
		cpu->dr7 = (value & DR7_VOLATILE) | X86_DR7_FIXED;
	breakpoints_changed(cpu, before);
	return X86_OK;
}

enum x86_result x86_mov_from_dr(struct x86_cpu *cpu, unsigned dr, u64 *value)
{
	enum x86_result r = check_access(cpu, &dr);

	if (r)
		return r;
	if (dr < 4)
		*value = cpu->dr[dr];
	else
		*value = dr == 6 ? cpu->dr6 : cpu->dr7;
	return X86_OK;
}
