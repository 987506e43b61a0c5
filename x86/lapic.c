/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Local APIC: registers, acceptance, priorities.
 *
 * A message is accepted by setting its bit in IRR with one atomic OR and a kick; the owner finds it there
 * when it next asks lapic_pending(). TMR is written before IRR, so whoever sees the request sees its
 * trigger mode.
 *
 * Left out as in KVM: the error status register stays 0 (illegal vectors are requested and never get
 * through their priority), arbitration and remote read (which KVM uses for its PV kick).
 */
#include "x86/lapic.h"

#define LVT_VECTOR 0xffu
#define LVT_DELIVERY 0x700u
#define LVT_PENDING BIT(12)
#define LVT_POLARITY BIT(13)
#define LVT_REMOTE_IRR BIT(14)
#define LVT_LEVEL BIT(15)
#define LVT_TIMER_BITS (LVT_VECTOR | LVT_PENDING | APIC_LVT_MASKED)
#define LVT_LINT_BITS (LVT_TIMER_BITS | LVT_DELIVERY | LVT_POLARITY | LVT_REMOTE_IRR | LVT_LEVEL)

#define ICR_BUSY BIT(12)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_LOGICAL BIT(11)
#define X2APIC_ICR_RESERVED 0xfff32000ull /* 31:20, 17:16, 13 */

#define DFR_FLAT 0xffffffffu
#define DFR_CLUSTER 0x0fffffffu
#define XAPIC_BROADCAST 0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define APIC_VERSION 0x14u

#define REG(n) (1ull << (n))
#define REGS(n, count) (((1ull << (count)) - 1) << (n))
/* What can be read in both modes; ARB and ICR2 are xAPIC's alone, CMCI exists with seven LVT entries. */
static const u64 readable =
	REG(APIC_REG_ID) | REG(APIC_REG_VERSION) | REG(APIC_REG_TPR) | REG(APIC_REG_PPR) | REG(APIC_REG_LDR) |
	REG(APIC_REG_DFR) | REG(APIC_REG_SPIV) | REGS(APIC_REG_ISR, 8) | REGS(APIC_REG_TMR, 8) |
	REGS(APIC_REG_IRR, 8) | REG(APIC_REG_ESR) | REG(APIC_REG_ICR) | REGS(APIC_REG_LVT_TIMER, 6) |
	REG(APIC_REG_TMICT) | REG(APIC_REG_TMCCT) | REG(APIC_REG_TDCR);

static u32 get(const struct lapic *l, unsigned reg)
{
	return atomic_read(&l->regs[reg]);
}

static void set(struct lapic *l, unsigned reg, u32 value)
{
	atomic_set(&l->regs[reg], value);
}

/* ---- vectors ------------------------------------------------------------------------------------ */

static bool test_vector(const struct lapic *l, unsigned bank, u8 vector)
{
	return get(l, bank + vector / 32) >> (vector % 32) & 1;
}

static int highest(const struct lapic *l, unsigned bank)
{
	for (int i = 7; i >= 0; i--) {
		u32 bits = get(l, bank + i);

		if (bits)
			return i * 32 + 31 - __builtin_clz(bits);
	}
	return -1;
}

int lapic_highest_irr(const struct lapic *l)
{
	return highest(l, APIC_REG_IRR);
}

int lapic_highest_isr(const struct lapic *l)
{
	return highest(l, APIC_REG_ISR);
}

bool lapic_vector_level(const struct lapic *l, u8 vector)
{
	return test_vector(l, APIC_REG_TMR, vector);
}

bool lapic_vector_busy(const struct lapic *l, u8 vector)
{
	return test_vector(l, APIC_REG_ISR, vector) || test_vector(l, APIC_REG_IRR, vector);
}

static u32 update_ppr(struct lapic *l)
{
	u32 tpr = get(l, APIC_REG_TPR);
	int isr = highest(l, APIC_REG_ISR);
	u32 in_service = isr < 0 ? 0 : (u32)isr & 0xf0;
	u32 ppr = (tpr & 0xf0) >= in_service ? tpr & 0xff : in_service;

	set(l, APIC_REG_PPR, ppr);
	return ppr;
}

int lapic_pending(struct lapic *l)
{
	int irr;

	if (!lapic_enabled_hw(l))
		return -1;
	irr = highest(l, APIC_REG_IRR);
	if (irr < 0 || ((u32)irr & 0xf0) <= update_ppr(l))
		return -1;
	return irr;
}

int lapic_take(struct lapic *l)
{
	int vector = lapic_pending(l);
	u32 bit, word;

	if (vector < 0)
		return -1;
	bit = BIT(vector % 32);
	word = (unsigned)vector / 32;
	atomic_and(&l->regs[APIC_REG_IRR + word], ~bit);
	set(l, APIC_REG_ISR + word, get(l, APIC_REG_ISR + word) | bit);
	update_ppr(l);
	return vector;
}

static void recheck(struct lapic *l)
{
	if (lapic_pending(l) >= 0)
		l->ops->recheck(l);
}

void lapic_drop(struct lapic *l, u8 vector)
{
	u32 word = APIC_REG_ISR + vector / 32u;

	set(l, word, get(l, word) & ~BIT(vector % 32));
	recheck(l);
}

void lapic_eoi(struct lapic *l)
{
	int vector = highest(l, APIC_REG_ISR);
	u32 word;

	if (vector < 0)
		return;
	word = APIC_REG_ISR + (unsigned)vector / 32;
	set(l, word, get(l, word) & ~BIT(vector % 32));
	update_ppr(l);
	l->ops->eoi(l, (u8)vector, test_vector(l, APIC_REG_TMR, (u8)vector));
	recheck(l);
}

u8 lapic_get_tpr(const struct lapic *l)
{
	return (u8)get(l, APIC_REG_TPR);
}

void lapic_set_tpr(struct lapic *l, u8 tpr)
{
	set(l, APIC_REG_TPR, tpr);
	update_ppr(l);
	recheck(l);
}

/* ---- acceptance: any thread --------------------------------------------------------------------- */

static bool matches_physical(const struct lapic *l, u32 dest, bool x2apic)
{
	/*
	 * An id that xAPIC cannot express means the x2APIC id, also for APICs that are not in x2APIC mode
	 * yet.
	 */
	if (x2apic || dest > 0xff)
		return dest == l->id;
	return dest == get(l, APIC_REG_ID) >> 24;
}

static bool matches_logical(const struct lapic *l, u32 dest, bool x2apic)
{
	u32 ldr = get(l, APIC_REG_LDR);

	if (x2apic)
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	ldr >>= 24;
	switch (get(l, APIC_REG_DFR)) {
	case DFR_FLAT:
		return ldr & dest;
	case DFR_CLUSTER:
		return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
	default:
		return false;
	}
}

bool lapic_has_id(const struct lapic *l, u32 id)
{
	return matches_physical(l, id, lapic_x2apic(l));
}

u8 lapic_logical_id(const struct lapic *l, bool *flat)
{
	*flat = get(l, APIC_REG_DFR) == DFR_FLAT;
	return (u8)(get(l, APIC_REG_LDR) >> 24);
}

bool lapic_matches(const struct lapic *l, u32 dest, bool logical, bool broadcast_quirk)
{
	bool x2apic = lapic_x2apic(l);

	if (broadcast_quirk && x2apic && dest == XAPIC_BROADCAST)
		dest = X2APIC_BROADCAST;
	if (dest == (x2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST))
		return true;
	return logical ? matches_logical(l, dest, x2apic) : matches_physical(l, dest, x2apic);
}

static int accept_vector(struct lapic *l, const struct apic_message *m)
{
	u32 word = m->vector / 32, bit = BIT(m->vector % 32);

	if ((m->level && !m->assert) || !lapic_enabled_hw(l) || !lapic_enabled_sw(l))
		return 0;
	if (m->level && !(get(l, APIC_REG_TMR + word) & bit))
		atomic_or(&l->regs[APIC_REG_TMR + word], bit);
	else if (!m->level && (get(l, APIC_REG_TMR + word) & bit))
		atomic_and(&l->regs[APIC_REG_TMR + word], ~bit);
	if (!(atomic_or(&l->regs[APIC_REG_IRR + word], bit) & bit))
		l->ops->kick(l, m->outside);
	return 1;
}

static int accept_init(struct lapic *l, const struct apic_message *m)
{
	if (m->level && !m->assert)
		return 0; /* INIT level de-assert: for APICs of the Pentium's time */
	/* INIT overrides a SIPI that is still waiting. */
	atomic_xchg(&l->events, LAPIC_EVENT_INIT);
	l->ops->kick(l, m->outside);
	return 1;
}

int lapic_accept(struct lapic *l, const struct apic_message *m)
{
	switch ((enum apic_delivery)(m->delivery & 7)) {
	case APIC_FIXED:
	case APIC_LOWEST:
		return accept_vector(l, m);
	case APIC_REMOTE_READ:
		l->ops->unhalt(l);
		return 1;
	case APIC_SMI:
		l->ops->smi(l);
		return 1;
	case APIC_NMI:
		l->ops->nmi(l, m->outside);
		return 1;
	case APIC_INIT:
		return accept_init(l, m);
	case APIC_STARTUP:
		atomic_set(&l->sipi_vector, m->vector);
		atomic_or(&l->events, LAPIC_EVENT_SIPI);
		l->ops->kick(l, m->outside);
		return 1;
	case APIC_EXTINT: /* the 8259 asks through lapic_accepts_extint() */
		return 0;
	}
	return 0;
}

int lapic_deliver_local(struct lapic *l, unsigned reg)
{
	u32 lvt = get(l, reg);
	struct apic_message m = {
		.vector = (u8)lvt,
		.delivery = lvt >> 8 & 7,
		.level = lvt & LVT_LEVEL,
		.assert = true,
	};

	if (!lapic_enabled_hw(l) || (lvt & APIC_LVT_MASKED))
		return 0;
	return lapic_accept(l, &m);
}

bool lapic_accepts_extint(const struct lapic *l)
{
	u32 lint0 = get(l, APIC_REG_LVT_LINT0);

	return !lapic_enabled_hw(l) || (lint0 & (APIC_LVT_MASKED | LVT_DELIVERY)) == APIC_EXTINT << 8;
}

void lapic_pulse_lint0(struct lapic *l)
{
	if ((get(l, APIC_REG_LVT_LINT0) & (APIC_LVT_MASKED | LVT_DELIVERY)) == APIC_NMI << 8)
		lapic_deliver_local(l, APIC_REG_LVT_LINT0);
}

/* ---- sending ------------------------------------------------------------------------------------ */

static void send_ipi(struct lapic *l, u32 icr, u32 dest)
{
	struct apic_message m = {
		.dest = dest,
		.vector = (u8)icr,
		.delivery = icr >> 8 & 7,
		.logical = icr & ICR_LOGICAL,
		.level = icr & ICR_LEVEL,
		.assert = icr & ICR_ASSERT,
		.shorthand = icr >> 18 & 3,
	};

	l->ops->ipi(l, &m);
}

static bool write_x2apic_icr(struct lapic *l, u64 value)
{
	if (value & X2APIC_ICR_RESERVED)
		return false;
	value &= ~(u64)ICR_BUSY;
	send_ipi(l, (u32)value, value >> 32);
	set(l, APIC_REG_ICR, (u32)value);
	set(l, APIC_REG_ICR2, value >> 32);
	return true;
}

static bool write_self_ipi(struct lapic *l, u32 value)
{
	if (!lapic_x2apic(l) || (value & ~LVT_VECTOR))
		return false;
	send_ipi(l, (u32)APIC_SELF << 18 | value, 0);
	return true;
}

/* ---- register writes ---------------------------------------------------------------------------- */

static unsigned lvt_reg(unsigned i)
{
	return i < 6 ? APIC_REG_LVT_TIMER + i : APIC_REG_LVT_CMCI;
}

static void lint0_changed(struct lapic *l)
{
	bool nmi = (get(l, APIC_REG_LVT_LINT0) & (APIC_LVT_MASKED | LVT_DELIVERY)) == APIC_NMI << 8;

	if (nmi == l->lint0_in_nmi_mode)
		return;
	l->lint0_in_nmi_mode = nmi;
	l->ops->lint0_nmi(l, nmi);
}

static void write_spiv(struct lapic *l, u32 value)
{
	u32 mask = 0x3ff;

	if (get(l, APIC_REG_VERSION) & APIC_VERSION_NO_EOI_BROADCAST)
		mask |= APIC_SPIV_NO_EOI_BROADCAST;
	set(l, APIC_REG_SPIV, value & mask);
	if (value & APIC_SPIV_ENABLE) {
		l->ops->enabled(l);
		return;
	}
	for (unsigned i = 0; i < l->nr_lvt; i++)
		set(l, lvt_reg(i), get(l, lvt_reg(i)) | APIC_LVT_MASKED);
	lint0_changed(l);
	lapic_timer_mode_changed(l);
	atomic_set(&l->timer.fired, 0);
}

static bool write_lvt(struct lapic *l, unsigned reg, u32 value)
{
	u32 mask = LVT_TIMER_BITS | LVT_DELIVERY;

	if (reg == APIC_REG_LVT_CMCI && l->nr_lvt < 7)
		return false;
	if (reg == APIC_REG_LVT_TIMER)
		mask = LVT_TIMER_BITS | l->timer.mode_mask;
	else if (reg == APIC_REG_LVT_ERROR)
		mask = LVT_TIMER_BITS;
	else if (reg == APIC_REG_LVT_LINT0 || reg == APIC_REG_LVT_LINT1)
		mask = LVT_LINT_BITS;
	if (!lapic_enabled_sw(l))
		value |= APIC_LVT_MASKED;
	set(l, reg, value & mask);
	if (reg == APIC_REG_LVT_TIMER)
		lapic_timer_mode_changed(l);
	if (reg == APIC_REG_LVT_LINT0)
		lint0_changed(l);
	return true;
}

/* Registers that exist, or are writable, in xAPIC mode alone. */
static bool write_xapic(struct lapic *l, unsigned reg, u32 value)
{
	if (lapic_x2apic(l))
		return false;
	switch (reg) {
	case APIC_REG_ID:
	case APIC_REG_LDR:
	case APIC_REG_ICR2:
		set(l, reg, value & 0xff000000u);
		break;
	case APIC_REG_DFR:
		set(l, reg, value | 0x0fffffffu);
		break;
	case APIC_REG_ICR:
		value &= ~ICR_BUSY;
		send_ipi(l, value, get(l, APIC_REG_ICR2) >> 24);
		set(l, reg, value);
		break;
	}
	return true;
}

static bool write_reg(struct lapic *l, unsigned reg, u32 value)
{
	switch (reg) {
	case APIC_REG_ID:
	case APIC_REG_LDR:
	case APIC_REG_DFR:
	case APIC_REG_ICR:
	case APIC_REG_ICR2:
		return write_xapic(l, reg, value);
	case APIC_REG_TPR:
		if (l->tpr_reporting)
			l->ops->tpr_access(l, true);
		lapic_set_tpr(l, (u8)value);
		return true;
	case APIC_REG_EOI:
		lapic_eoi(l);
		return true;
	case APIC_REG_SPIV:
		write_spiv(l, value);
		return true;
	case APIC_REG_LVT_TIMER ... APIC_REG_LVT_ERROR:
	case APIC_REG_LVT_CMCI:
		return write_lvt(l, reg, value);
	case APIC_REG_TMICT:
		if (l->timer.mode == APIC_TIMER_DEADLINE)
			return true;
		lapic_timer_stop(l);
		set(l, reg, value);
		lapic_timer_start(l, ~0u);
		return true;
	case APIC_REG_TDCR:
		set(l, reg, value & 0xb);
		lapic_timer_divide_changed(l);
		return true;
	case APIC_REG_ESR:
		return !(lapic_x2apic(l) && value);
	case APIC_REG_SELF_IPI:
		return write_self_ipi(l, value);
	default:
		return false;
	}
}

static bool can_read(const struct lapic *l, unsigned reg)
{
	u64 mask = readable;

	if (reg >= APIC_NR_REGS)
		return false;
	if (!lapic_x2apic(l))
		mask |= REG(APIC_REG_ARB) | REG(APIC_REG_ICR2);
	if (l->nr_lvt == 7)
		mask |= REG(APIC_REG_LVT_CMCI);
	return mask >> reg & 1;
}

static u32 read_reg(struct lapic *l, unsigned reg)
{
	switch (reg) {
	case APIC_REG_ARB:
		return 0;
	case APIC_REG_TMCCT:
		return lapic_timer_count(l);
	case APIC_REG_PPR:
		return update_ppr(l);
	case APIC_REG_TPR:
		if (l->tpr_reporting)
			l->ops->tpr_access(l, false);
		return get(l, reg);
	default:
		return get(l, reg);
	}
}

void lapic_mmio_read(struct lapic *l, u32 offset, void *data, unsigned size)
{
	u32 value, byte = offset & 0xf;

	memset(data, 0, size);
	if (byte + size > 4 || !can_read(l, offset >> 4))
		return;
	value = read_reg(l, (unsigned)index_nospec(offset >> 4, APIC_NR_REGS));
	memcpy(data, (const u8 *)&value + byte, size);
}

void lapic_mmio_write(struct lapic *l, u32 offset, const void *data, unsigned size)
{
	u32 value;

	/* SDM 11.4.1: 32-bit accesses aligned on 128 bits; others are ignored here as in KVM. */
	if (size != 4 || (offset & 0xf) || offset >= APIC_NR_REGS * 16)
		return;
	memcpy(&value, data, sizeof(value));
	write_reg(l, (unsigned)index_nospec(offset >> 4, APIC_NR_REGS), value);
}

bool lapic_msr_read(struct lapic *l, unsigned reg, u64 *value)
{
	if (!lapic_x2apic(l) || reg == APIC_REG_DFR || !can_read(l, reg))
		return false;
	*value = read_reg(l, reg);
	if (reg == APIC_REG_ICR)
		*value |= (u64)get(l, APIC_REG_ICR2) << 32;
	return true;
}

bool lapic_msr_write(struct lapic *l, unsigned reg, u64 value)
{
	if (!lapic_x2apic(l))
		return false;
	if (reg == APIC_REG_ICR)
		return write_x2apic_icr(l, value);
	return !(value >> 32) && write_reg(l, reg, (u32)value);
}

bool lapic_hyperv_read(struct lapic *l, unsigned reg, u64 *value)
{
	if (!can_read(l, reg))
		return false;
	*value = read_reg(l, reg);
	if (reg == APIC_REG_ICR)
		*value |= (u64)get(l, APIC_REG_ICR2) << 32;
	return true;
}

bool lapic_hyperv_write(struct lapic *l, unsigned reg, u64 value)
{
	if (reg != APIC_REG_ICR)
		return !(value >> 32) && write_reg(l, reg, (u32)value);
	value &= ~(u64)ICR_BUSY;
	send_ipi(l, (u32)value, (u32)(lapic_x2apic(l) ? value >> 32 : value >> 56));
	set(l, APIC_REG_ICR, (u32)value);
	set(l, APIC_REG_ICR2, value >> 32);
	return true;
}

/* ---- life, base, state -------------------------------------------------------------------------- */

static u32 x2apic_ldr(u32 id)
{
	return id >> 4 << 16 | BIT(id & 0xf);
}

void lapic_set_base(struct lapic *l, u64 value)
{
	u64 changed = l->base ^ value;

	atomic_set(&l->base, value);
	if ((changed & APIC_BASE_ENABLE) && (value & APIC_BASE_ENABLE))
		set(l, APIC_REG_ID, l->id << 24);
	if ((changed & APIC_BASE_X2APIC) && (value & APIC_BASE_X2APIC)) {
		set(l, APIC_REG_ID, l->id);
		set(l, APIC_REG_LDR, x2apic_ldr(l->id));
	}
}

void lapic_configure(struct lapic *l, bool cmci, bool eoi_suppression, bool tsc_deadline)
{
	l->nr_lvt = cmci ? 7 : 6;
	l->timer.mode_mask = tsc_deadline ? 3u << 17 : 1u << 17;
	set(l, APIC_REG_VERSION, APIC_VERSION | (l->nr_lvt - 1u) << 16 |
					 (eoi_suppression ? APIC_VERSION_NO_EOI_BROADCAST : 0));
}

void lapic_reset(struct lapic *l, bool init, bool bsp, bool extint)
{
	if (!init)
		lapic_set_base(l, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0));
	lapic_timer_stop(l);
	if (!init) {
		set(l, APIC_REG_ID, l->id << 24);
		atomic_set(&l->events, 0);
	}
	for (unsigned i = 0; i < 7; i++)
		set(l, lvt_reg(i), i < l->nr_lvt ? APIC_LVT_MASKED : 0);
	lapic_timer_mode_changed(l);
	if (bsp && extint)
		set(l, APIC_REG_LVT_LINT0, APIC_EXTINT << 8);
	lint0_changed(l);
	set(l, APIC_REG_DFR, DFR_FLAT);
	set(l, APIC_REG_SPIV, 0xff);
	set(l, APIC_REG_TPR, 0);
	if (!lapic_x2apic(l))
		set(l, APIC_REG_LDR, 0);
	set(l, APIC_REG_ESR, 0);
	set(l, APIC_REG_ICR, 0);
	set(l, APIC_REG_ICR2, 0);
	set(l, APIC_REG_TDCR, 0);
	set(l, APIC_REG_TMICT, 0);
	for (unsigned i = 0; i < 8; i++) {
		set(l, APIC_REG_IRR + i, 0);
		set(l, APIC_REG_ISR + i, 0);
		set(l, APIC_REG_TMR + i, 0);
	}
	lapic_timer_divide_changed(l);
	update_ppr(l);
}

void lapic_create(struct lapic *l, const struct lapic_ops *ops, u32 id)
{
	l->ops = ops;
	l->id = id;
	l->base = 0;
	lapic_timer_create(l);
	lapic_configure(l, false, false, false);
}

void lapic_destroy(struct lapic *l)
{
	host_timer_cancel_sync(&l->timer.host);
	if (l->lint0_in_nmi_mode)
		l->ops->lint0_nmi(l, false);
	l->lint0_in_nmi_mode = false;
}

static u32 page_get(const struct kvm_lapic_state *s, unsigned reg)
{
	u32 value;

	memcpy(&value, s->regs + reg * 16, sizeof(value));
	return value;
}

static void page_set(struct kvm_lapic_state *s, unsigned reg, u32 value)
{
	memcpy(s->regs + reg * 16, &value, sizeof(value));
}

void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s, bool id32)
{
	memset(s, 0, sizeof(*s));
	for (unsigned reg = 0; reg < APIC_NR_REGS; reg++)
		page_set(s, reg, get(l, reg));
	page_set(s, APIC_REG_TMCCT, lapic_timer_count(l));
	if (lapic_x2apic(l) && !id32)
		page_set(s, APIC_REG_ID, get(l, APIC_REG_ID) << 24);
}

/*
 * Where the registers of a restored page differ from plain copies: x2APIC fixes id and LDR, the version is
 * ours.
 */
static int set_state_regs(struct lapic *l, const struct kvm_lapic_state *s, bool id32)
{
	u32 version = get(l, APIC_REG_VERSION), id = page_get(s, APIC_REG_ID);

	if (lapic_x2apic(l)) {
		if (!id32)
			id >>= 24;
		else if (id != l->id)
			return -1;
	}
	for (unsigned reg = 0; reg < APIC_NR_REGS; reg++)
		set(l, reg, page_get(s, reg));
	set(l, APIC_REG_VERSION, version);
	set(l, APIC_REG_ID, id);
	if (lapic_x2apic(l))
		set(l, APIC_REG_LDR, x2apic_ldr(id));
	return 0;
}

int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s, bool id32)
{
	u32 remaining = page_get(s, APIC_REG_TMCCT);
	u64 tsc_deadline = l->timer.tsc_deadline;

	if (set_state_regs(l, s, id32))
		return -1;
	update_ppr(l);
	lapic_timer_stop(l);
	l->timer.mode = get(l, APIC_REG_LVT_TIMER) & l->timer.mode_mask;
	if (l->timer.mode == APIC_TIMER_DEADLINE)
		l->timer.tsc_deadline = tsc_deadline;
	lint0_changed(l);
	lapic_timer_divide_changed(l);
	lapic_timer_start(l, remaining);
	set(l, APIC_REG_TMCCT, 0);
	l->ops->kick(l, false);
	return 0;
}
