/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Local APIC (SDM vol. 3 chapter 11, AMD APM vol. 2 chapter 16), xAPIC and x2APIC, with KVM's choices where
 * the manuals leave one: 1 ns per timer tick, no ESR errors, no arbitration register, six LVT entries
 * (seven with CMCI).
 *
 * Who may touch what: IRR, TMR, events and sipi_vector belong to everybody (atomic): that is how interrupts
 * arrive, with no lock. Registers that decide whether a message is ours (ID, LDR, DFR, SPIV, base) are
 * written by the owner and read by all. The rest is the owner's: the thread that runs the vCPU, or holds
 * its mutex.
 */
#ifndef ANYKVM_X86_LAPIC_H
#define ANYKVM_X86_LAPIC_H

#include <linux/kvm.h>
#include "host/host.h"

/* Delivery modes, as in ICR, LVT, IOAPIC entries and MSI data. */
enum apic_delivery {
	APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_REMOTE_READ, APIC_NMI, APIC_INIT, APIC_STARTUP, APIC_EXTINT
};
enum apic_shorthand { APIC_NO_SHORTHAND, APIC_SELF, APIC_ALL, APIC_OTHERS };

/* An interrupt message on its way from an IPI, an IOAPIC pin or an MSI. */
struct apic_message {
	u32 dest;
	u8 vector;
	u8 delivery;	/* enum apic_delivery */
	u8 shorthand;	/* enum apic_shorthand */
	bool logical;	/* destination mode */
	bool level;	/* trigger mode: level */
	bool assert;	/* the level: 1 asserted */
	bool redirect;	/* MSI redirection hint: as lowest priority */
	bool outside;	/* from a device, not another processor: guest memory may have been written */
};

/* MSR_IA32_APICBASE */
#define APIC_BASE_BSP BIT64(8)
#define APIC_BASE_X2APIC BIT64(10)
#define APIC_BASE_ENABLE BIT64(11)
#define APIC_BASE_ADDRESS (~0xfffull)
#define APIC_BASE_DEFAULT 0xfee00000ull
#define APIC_MMIO_SIZE 0x1000u

/* Register numbers: MMIO offset / 16, MSR - 0x800. */
enum apic_reg {
	APIC_REG_ID = 0x02, APIC_REG_VERSION = 0x03, APIC_REG_TPR = 0x08, APIC_REG_ARB = 0x09,
	APIC_REG_PPR = 0x0a, APIC_REG_EOI = 0x0b, APIC_REG_LDR = 0x0d, APIC_REG_DFR = 0x0e,
	APIC_REG_SPIV = 0x0f, APIC_REG_ISR = 0x10, APIC_REG_TMR = 0x18, APIC_REG_IRR = 0x20,
	APIC_REG_ESR = 0x28, APIC_REG_LVT_CMCI = 0x2f, APIC_REG_ICR = 0x30, APIC_REG_ICR2 = 0x31,
	APIC_REG_LVT_TIMER = 0x32, APIC_REG_LVT_THERMAL = 0x33, APIC_REG_LVT_PMC = 0x34,
	APIC_REG_LVT_LINT0 = 0x35, APIC_REG_LVT_LINT1 = 0x36, APIC_REG_LVT_ERROR = 0x37,
	APIC_REG_TMICT = 0x38, APIC_REG_TMCCT = 0x39, APIC_REG_TDCR = 0x3e, APIC_REG_SELF_IPI = 0x3f,
	APIC_NR_REGS = 0x40,
};

#define APIC_SPIV_ENABLE BIT(8)
#define APIC_SPIV_NO_EOI_BROADCAST BIT(12)
#define APIC_VERSION_NO_EOI_BROADCAST BIT(24)
#define APIC_LVT_MASKED BIT(16)
/* Timer modes, in place in LVTT */
#define APIC_TIMER_ONESHOT 0u
#define APIC_TIMER_PERIODIC (1u << 17)
#define APIC_TIMER_DEADLINE (2u << 17)

#define LAPIC_EVENT_INIT BIT(0)
#define LAPIC_EVENT_SIPI BIT(1)

struct lapic;
struct lapic_ops {
	/* Any thread: an interrupt, INIT or SIPI was accepted. */
	void (*kick)(struct lapic *l, bool outside);
	void (*nmi)(struct lapic *l, bool outside);
	void (*smi)(struct lapic *l);
	void (*unhalt)(struct lapic *l); /* remote read: KVM's PV kick */
	/* The owner's thread. */
	/* An interrupt may have become deliverable by the owner's own doing. */
	void (*recheck)(struct lapic *l);
	void (*ipi)(struct lapic *l, const struct apic_message *m);
	void (*eoi)(struct lapic *l, u8 vector, bool level);
	void (*tpr_access)(struct lapic *l, bool write);
	/* LINT0 is in NMI mode: the PIT's watchdog wire is used. */
	void (*lint0_nmi)(struct lapic *l, bool on);
	/* The guest has enabled the APIC by software. */
	void (*enabled)(struct lapic *l);
	/* Monotonic time of a guest TSC value, rounded up, and that of the call: the same if it has passed. */
	u64 (*tsc_to_ns)(struct lapic *l, u64 guest_tsc, u64 *now);
};

struct lapic {
	u32 regs[APIC_NR_REGS] __attribute__((aligned(64)));
	const struct lapic_ops *ops;
	u64 base;	 /* MSR_IA32_APICBASE */
	u32 id;		 /* initial APIC id = x2APIC id */
	u32 events;	 /* a: LAPIC_EVENT_* */
	u8 sipi_vector;	 /* a: valid when LAPIC_EVENT_SIPI is seen */
	u8 nr_lvt;	 /* 6 or 7 */
	bool tpr_reporting, lint0_in_nmi_mode;
	struct {
		struct host_timer host;
		u32 fired;	/* a: set by the host's timer thread, consumed by the owner */
		u32 mode_mask;	/* which mode bits of LVTT exist */
		u32 mode;	/* LVTT bits 18:17 in place */
		u32 divide;
		u64 period_ns;	/* 0: stopped */
		u64 target_ns;	/* monotonic expiry; 0: none */
		u64 tsc_deadline;
	} timer;
};

void lapic_create(struct lapic *l, const struct lapic_ops *ops, u32 id);
void lapic_destroy(struct lapic *l);
/*
 * RESET, or INIT (which keeps base and id). extint: LINT0 comes up as the 8259's wire (KVM's
 * LINT0_REENABLED quirk).
 */
void lapic_reset(struct lapic *l, bool init, bool bsp, bool extint);
/* The version register and the timer's modes follow from the machine. */
void lapic_configure(struct lapic *l, bool cmci, bool eoi_suppression, bool tsc_deadline);
void lapic_set_base(struct lapic *l, u64 value);

static inline bool lapic_enabled_hw(const struct lapic *l)
{
	return atomic_read(&l->base) & APIC_BASE_ENABLE;
}

static inline bool lapic_enabled_sw(const struct lapic *l)
{
	return atomic_read(&l->regs[APIC_REG_SPIV]) & APIC_SPIV_ENABLE;
}

static inline bool lapic_x2apic(const struct lapic *l)
{
	u64 both = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

	return (atomic_read(&l->base) & both) == both;
}

/* Any thread. Whether dest (in that mode) names this APIC; all_x2apic: 0xff is broadcast to x2APICs too. */
bool lapic_matches(const struct lapic *l, u32 dest, bool logical, bool broadcast_quirk);
/* Any thread. The same without broadcasts: whether the physical id is its. */
bool lapic_has_id(const struct lapic *l, u32 id);
/* Any thread; xAPIC mode: LDR's id, 0 none, and whether it is of the flat model. */
u8 lapic_logical_id(const struct lapic *l, bool *flat);
/* Any thread. Returns 1 accepted, 0 refused. */
int lapic_accept(struct lapic *l, const struct apic_message *m);
/* Any thread. The vector is requested or in service. */
bool lapic_vector_busy(const struct lapic *l, u8 vector);

/* Accesses by the owner. MMIO: offset within the page; what is invalid is ignored. MSR: false = #GP. */
void lapic_mmio_read(struct lapic *l, u32 offset, void *data, unsigned size);
void lapic_mmio_write(struct lapic *l, u32 offset, const void *data, unsigned size);
bool lapic_msr_read(struct lapic *l, unsigned reg, u64 *value);
bool lapic_msr_write(struct lapic *l, unsigned reg, u64 value);
/* The registers as Hyper-V's MSRs, in either mode: the ICR is one of 64 bits. */
/* The interrupt that was taken is over without an EOI. */
void lapic_drop(struct lapic *l, u8 vector);
bool lapic_hyperv_read(struct lapic *l, unsigned reg, u64 *value);
bool lapic_hyperv_write(struct lapic *l, unsigned reg, u64 value);
u64 lapic_get_tsc_deadline(struct lapic *l);
void lapic_set_tsc_deadline(struct lapic *l, u64 value);
u8 lapic_get_tpr(const struct lapic *l);
void lapic_set_tpr(struct lapic *l, u8 tpr);
void lapic_eoi(struct lapic *l);

/* Highest vector that the processor priority lets through, or -1; and the same taken into service. */
int lapic_pending(struct lapic *l);
int lapic_take(struct lapic *l);
/*
 * Highest requested / in-service vector or -1, and whether EOI of the only one in service concerns an
 * IOAPIC by TMR.
 */
int lapic_highest_irr(const struct lapic *l);
int lapic_highest_isr(const struct lapic *l);
bool lapic_vector_level(const struct lapic *l, u8 vector);
/* LINT0 (or a disabled APIC) passes the 8259's interrupts. Any thread. */
bool lapic_accepts_extint(const struct lapic *l);
/* A pulse on LINT0 while that is in NMI mode. Any thread. */
void lapic_pulse_lint0(struct lapic *l);

/* KVM_GET/SET_LAPIC. id32: x2APIC ids stand unshifted (KVM_X2APIC_API_USE_32BIT_IDS). 0 or -EINVAL. */
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s, bool id32);
int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s, bool id32);

/* ---- lapic_timer.c ------------------------------------------------------------------------------ */

void lapic_timer_create(struct lapic *l);
void lapic_timer_stop(struct lapic *l);
void lapic_timer_mode_changed(struct lapic *l);
void lapic_timer_divide_changed(struct lapic *l);
/* Starts from the initial count; remaining: the current count of a restored timer, ~0 for a new start. */
void lapic_timer_start(struct lapic *l, u32 remaining);
u32 lapic_timer_count(struct lapic *l);
/* If the timer has expired: delivers LVTT, arms the next period. Owner; cheap when it has not. */
void lapic_timer_poll(struct lapic *l);
/*
 * The owner is about to sleep, until this moment at most: the timer thread need not look. 0: for as long as it likes. Then it
 * says whether that moment has come.
 */
u64 lapic_timer_hand_over(struct lapic *l);
void lapic_timer_take_back(struct lapic *l, bool expired);

/* Delivers what an LVT entry says. */
int lapic_deliver_local(struct lapic *l, unsigned reg);

#endif
