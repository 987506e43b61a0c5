/* SPDX-License-Identifier: GPL-2.0-only */
/* The local APIC by itself: registers, priorities, acceptance, ICR, timer, state. */
#include "tests/unit/test_irq_host.h"
#include "x86/lapic.h"

static struct lapic l;
static unsigned kicks, nmis, smis, unhalts, rechecks, eois, tpr_accesses, enables;
static struct apic_message sent;
static unsigned nr_sent;
static u8 last_eoi;
static bool last_eoi_level, lint0_is_nmi;

static void on_kick(struct lapic *a, bool outside)
{
	(void)a;
	(void)outside;
	kicks++;
}

static void on_nmi(struct lapic *a, bool outside)
{
	(void)a;
	(void)outside;
	nmis++;
}

static void on_smi(struct lapic *a)
{
	(void)a;
	smis++;
}

static void on_unhalt(struct lapic *a)
{
	(void)a;
	unhalts++;
}

static void on_recheck(struct lapic *a)
{
	(void)a;
	rechecks++;
}

static void on_ipi(struct lapic *a, const struct apic_message *m)
{
	(void)a;
	sent = *m;
	nr_sent++;
}

static void on_eoi(struct lapic *a, u8 vector, bool level)
{
	(void)a;
	eois++;
	last_eoi = vector;
	last_eoi_level = level;
}

static void on_tpr(struct lapic *a, bool write)
{
	(void)a;
	(void)write;
	tpr_accesses++;
}

static void on_lint0(struct lapic *a, bool on)
{
	(void)a;
	lint0_is_nmi = on;
}

static void on_enabled(struct lapic *a)
{
	(void)a;
	enables++;
}

static u64 tsc_to_ns(struct lapic *a, u64 tsc, u64 *now)
{
	(void)a;
	*now = host_monotonic_ns();
	return (tsc + 1) / 2;
}

static const struct lapic_ops ops = {
	.kick = on_kick, .nmi = on_nmi, .smi = on_smi, .unhalt = on_unhalt, .recheck = on_recheck,
	.ipi = on_ipi, .eoi = on_eoi, .tpr_access = on_tpr, .lint0_nmi = on_lint0, .enabled = on_enabled,
	.tsc_to_ns = tsc_to_ns,
};

static void write_reg(unsigned reg, u32 value)
{
	lapic_mmio_write(&l, reg * 16, &value, 4);
}

static u32 read_reg(unsigned reg)
{
	u32 value;

	lapic_mmio_read(&l, reg * 16, &value, 4);
	return value;
}

static int accept(u8 delivery, u8 vector, bool level)
{
	struct apic_message m = { .delivery = delivery, .vector = vector, .level = level, .assert = true };

	return lapic_accept(&l, &m);
}

static int setup(void **state)
{
	(void)state;
	memset(&l, 0, sizeof(l));
	lapic_create(&l, &ops, 5);
	lapic_configure(&l, false, false, true);
	lapic_reset(&l, false, true, true);
	kicks = nmis = smis = unhalts = rechecks = eois = tpr_accesses = enables = nr_sent = 0;
	lint0_is_nmi = false;
	write_reg(APIC_REG_SPIV, 0x1ff);
	assert_int_equal(enables, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lapic_destroy(&l);
	assert_int_equal(fake_armed(), 0);
	return 0;
}

/* ---- registers ---------------------------------------------------------------------------------- */

static void reset_state(void **state)
{
	(void)state;
	lapic_reset(&l, false, true, true);
	assert_int_equal(l.base, 0xfee00900);
	assert_int_equal(read_reg(APIC_REG_ID), 5u << 24);
	assert_int_equal(read_reg(APIC_REG_VERSION), 0x50014);
	assert_int_equal(read_reg(APIC_REG_SPIV), 0xff);
	assert_int_equal(read_reg(APIC_REG_DFR), 0xffffffff);
	assert_int_equal(read_reg(APIC_REG_LVT_LINT0), 0x700);
	assert_int_equal(read_reg(APIC_REG_LVT_LINT1), APIC_LVT_MASKED);
	assert_true(lapic_accepts_extint(&l));
	lapic_reset(&l, false, false, true);
	assert_false(lapic_accepts_extint(&l));
	assert_int_equal(l.base, 0xfee00800);
	lapic_set_base(&l, 0xfee00000);
	assert_true(lapic_accepts_extint(&l)); /* disabled: LINT0 is INTR */
}

static void odd_accesses(void **state)
{
	u8 byte;
	u16 half;
	u64 wide = ~0ull;

	(void)state;
	lapic_mmio_read(&l, APIC_REG_ID * 16 + 3, &byte, 1);
	assert_int_equal(byte, 5);
	lapic_mmio_read(&l, APIC_REG_ID * 16 + 2, &half, 2);
	assert_int_equal(half, 0x500);
	lapic_mmio_read(&l, APIC_REG_ID * 16, &wide, 8);
	assert_true(wide == 0);
	half = 0x20;
	lapic_mmio_write(&l, APIC_REG_TPR * 16, &half, 2); /* not 32 bits: ignored */
	assert_int_equal(read_reg(APIC_REG_TPR), 0);
	lapic_mmio_write(&l, 0xff0, &wide, 4);
	lapic_mmio_read(&l, 0xffc, &wide, 4);
	assert_int_equal(read_reg(APIC_REG_EOI), 0); /* write-only */
	write_reg(APIC_REG_VERSION, 0);
	assert_int_equal(read_reg(APIC_REG_VERSION), 0x50014);
	write_reg(APIC_REG_LVT_CMCI, 0x40);
	assert_int_equal(read_reg(APIC_REG_LVT_CMCI), 0);
}

static void software_disable(void **state)
{
	(void)state;
	write_reg(APIC_REG_LVT_LINT1, 0x400);
	write_reg(APIC_REG_SPIV, 0xff);
	assert_int_equal(read_reg(APIC_REG_LVT_LINT1), 0x10400);
	write_reg(APIC_REG_LVT_LINT1, 0x400);
	assert_int_equal(read_reg(APIC_REG_LVT_LINT1), 0x10400);
	assert_int_equal(accept(APIC_FIXED, 0x40, false), 0);
	assert_int_equal(accept(APIC_NMI, 0, false), 1); /* NMI, INIT, SIPI pass */
	assert_int_equal(nmis, 1);
}

/* ---- priorities --------------------------------------------------------------------------------- */

static void arbitration(void **state)
{
	(void)state;
	assert_int_equal(lapic_pending(&l), -1);
	assert_int_equal(accept(APIC_FIXED, 0x45, false), 1);
	assert_int_equal(accept(APIC_FIXED, 0x45, false), 1);
	assert_int_equal(kicks, 1); /* the second changes nothing */
	accept(APIC_FIXED, 0x61, true);
	assert_int_equal(lapic_take(&l), 0x61);
	assert_int_equal(read_reg(APIC_REG_PPR), 0x60);
	assert_int_equal(lapic_pending(&l), -1);
	accept(APIC_FIXED, 0x6f, false);
	assert_int_equal(lapic_pending(&l), -1); /* same class */
	accept(APIC_FIXED, 0x70, false);
	assert_int_equal(lapic_take(&l), 0x70);
	write_reg(APIC_REG_EOI, 0);
	assert_int_equal(last_eoi, 0x70);
	assert_false(last_eoi_level);
	assert_int_equal(rechecks, 0);
	write_reg(APIC_REG_EOI, 0);
	assert_int_equal(last_eoi, 0x61);
	assert_true(last_eoi_level);
	assert_int_equal(rechecks, 1);
	assert_int_equal(lapic_take(&l), 0x6f);
	write_reg(APIC_REG_EOI, 0);
	assert_int_equal(lapic_take(&l), 0x45);
	write_reg(APIC_REG_EOI, 0);
	write_reg(APIC_REG_EOI, 0); /* nothing in service */
	assert_int_equal(eois, 4);
}

static void task_priority(void **state)
{
	(void)state;
	write_reg(APIC_REG_TPR, 0x50);
	accept(APIC_FIXED, 0x5f, false);
	assert_int_equal(lapic_pending(&l), -1);
	write_reg(APIC_REG_TPR, 0x4f);
	assert_int_equal(rechecks, 1);
	assert_int_equal(lapic_pending(&l), 0x5f);
	assert_int_equal(read_reg(APIC_REG_PPR), 0x4f);
	l.tpr_reporting = true;
	read_reg(APIC_REG_TPR);
	write_reg(APIC_REG_TPR, 0);
	assert_int_equal(tpr_accesses, 2);
}

static void events(void **state)
{
	(void)state;
	assert_int_equal(accept(APIC_SMI, 0, false), 1);
	assert_int_equal(smis, 1);
	assert_int_equal(accept(APIC_REMOTE_READ, 0, false), 1);
	assert_int_equal(unhalts, 1);
	assert_int_equal(accept(APIC_EXTINT, 0x20, false), 0);
	assert_int_equal(accept(APIC_STARTUP, 0x9a, false), 1);
	assert_int_equal(l.sipi_vector, 0x9a);
	assert_int_equal(l.events, LAPIC_EVENT_SIPI);
	assert_int_equal(accept(APIC_INIT, 0, true), 1);
	assert_int_equal(l.events, LAPIC_EVENT_INIT); /* overrides the SIPI */
	assert_int_equal(lapic_accept(&l, &(struct apic_message){ .delivery = APIC_INIT, .level = true }), 0);
	assert_int_equal(lapic_accept(&l, &(struct apic_message){ .vector = 0x40, .level = true }), 0);
}

/* ---- who is meant ------------------------------------------------------------------------------- */

static void matching(void **state)
{
	(void)state;
	assert_true(lapic_matches(&l, 5, false, true));
	assert_false(lapic_matches(&l, 4, false, true));
	assert_true(lapic_matches(&l, 0xff, false, true));
	write_reg(APIC_REG_ID, 7u << 24);
	assert_true(lapic_matches(&l, 7, false, true));
	write_reg(APIC_REG_LDR, 0x24000000);
	assert_int_equal(read_reg(APIC_REG_LDR), 0x24000000);
	assert_true(lapic_matches(&l, 0x04, true, true)); /* flat */
	assert_true(lapic_matches(&l, 0x20, true, true));
	assert_false(lapic_matches(&l, 0x18, true, true));
	write_reg(APIC_REG_DFR, 0);
	assert_int_equal(read_reg(APIC_REG_DFR), 0x0fffffff);
	assert_true(lapic_matches(&l, 0x2c, true, true)); /* cluster 2, member 2 */
	assert_false(lapic_matches(&l, 0x2b, true, true));
	assert_false(lapic_matches(&l, 0x34, true, true));
	write_reg(APIC_REG_DFR, 0x50000000);
	assert_false(lapic_matches(&l, 0x24, true, true));
	assert_true(lapic_matches(&l, 0xff, true, true));
}

static void matching_x2apic(void **state)
{
	(void)state;
	l.id = 0x123;
	assert_true(lapic_matches(&l, 0x123, false, true)); /* unaddressable in xAPIC: by its x2APIC id */
	lapic_set_base(&l, l.base | APIC_BASE_X2APIC);
	assert_true(lapic_matches(&l, 0x123, false, true));
	assert_false(lapic_matches(&l, 0x23, false, true));
	assert_true(lapic_matches(&l, 0x00120008, true, true));
	assert_false(lapic_matches(&l, 0x00120004, true, true));
	assert_false(lapic_matches(&l, 0x00110008, true, true));
	assert_true(lapic_matches(&l, 0xff, false, true)); /* KVM's broadcast quirk */
	assert_false(lapic_matches(&l, 0xff, false, false));
	assert_true(lapic_matches(&l, ~0u, true, false));
}

static void icr_xapic(void **state)
{
	(void)state;
	write_reg(APIC_REG_ICR2, 0x03ffffff);
	write_reg(APIC_REG_ICR, 0x00005041);
	assert_int_equal(nr_sent, 1);
	assert_int_equal(sent.dest, 3);
	assert_int_equal(sent.vector, 0x41);
	assert_int_equal(sent.delivery, APIC_FIXED);
	assert_true(sent.assert && !sent.level && !sent.logical && !sent.outside);
	assert_int_equal(read_reg(APIC_REG_ICR), 0x4041); /* never busy */
	assert_int_equal(read_reg(APIC_REG_ICR2), 0x03000000);
	write_reg(APIC_REG_ICR, 0x000c8d00);
	assert_int_equal(sent.shorthand, APIC_OTHERS);
	assert_int_equal(sent.delivery, APIC_INIT);
	assert_true(sent.level && sent.logical && !sent.assert);
	write_reg(APIC_REG_SELF_IPI, 0x40);
	assert_int_equal(nr_sent, 2);
}

static void x2apic_msrs(void **state)
{
	u64 v;

	(void)state;
	assert_false(lapic_msr_read(&l, APIC_REG_ID, &v));
	assert_false(lapic_msr_write(&l, APIC_REG_EOI, 0));
	write_reg(APIC_REG_LDR, 0x55000000);
	lapic_set_base(&l, l.base | APIC_BASE_X2APIC);
	assert_true(lapic_msr_read(&l, APIC_REG_ID, &v));
	assert_int_equal(v, 5);
	assert_true(lapic_msr_read(&l, APIC_REG_LDR, &v));
	assert_int_equal(v, 1u << 5);
	assert_false(lapic_msr_read(&l, APIC_REG_DFR, &v));
	assert_false(lapic_msr_read(&l, APIC_REG_ICR2, &v));
	assert_false(lapic_msr_read(&l, APIC_REG_ARB, &v));
	assert_false(lapic_msr_read(&l, APIC_REG_EOI, &v));
	assert_false(lapic_msr_read(&l, 0x40, &v));
	assert_false(lapic_msr_read(&l, 0xff, &v));
	assert_false(lapic_msr_write(&l, APIC_REG_ID, 5));
	assert_false(lapic_msr_write(&l, APIC_REG_LDR, 5));
	assert_false(lapic_msr_write(&l, APIC_REG_TPR, 1ull << 32));
	assert_false(lapic_msr_write(&l, APIC_REG_ESR, 1));
	assert_true(lapic_msr_write(&l, APIC_REG_ESR, 0));
	assert_false(lapic_msr_write(&l, APIC_REG_ICR, 1u << 13));
	assert_true(lapic_msr_write(&l, APIC_REG_ICR, 0x12300000000ull | 0x4041));
	assert_int_equal(sent.dest, 0x123);
	assert_true(lapic_msr_read(&l, APIC_REG_ICR, &v));
	assert_true(v == (0x12300000000ull | 0x4041));
	assert_false(lapic_msr_write(&l, APIC_REG_SELF_IPI, 0x100));
	assert_true(lapic_msr_write(&l, APIC_REG_SELF_IPI, 0x55));
	assert_int_equal(sent.shorthand, APIC_SELF);
	lapic_set_base(&l, APIC_BASE_DEFAULT);
	lapic_set_base(&l, APIC_BASE_DEFAULT | APIC_BASE_ENABLE);
	assert_int_equal(read_reg(APIC_REG_ID), 5u << 24);
}

static void lint0_watchdog(void **state)
{
	(void)state;
	lapic_pulse_lint0(&l);
	assert_int_equal(nmis, 0);
	write_reg(APIC_REG_LVT_LINT0, 0x400);
	assert_true(lint0_is_nmi);
	lapic_pulse_lint0(&l);
	assert_int_equal(nmis, 1);
	write_reg(APIC_REG_SPIV, 0xff);
	assert_false(lint0_is_nmi);
}

/* ---- timer -------------------------------------------------------------------------------------- */

static unsigned ticks(u64 ns, u64 step)
{
	unsigned n = 0;

	for (u64 t = 0; t < ns; t += step) {
		fake_advance(step);
		lapic_timer_poll(&l);
		if (lapic_take(&l) == 0x31) {
			n++;
			lapic_eoi(&l);
		}
	}
	return n;
}

static void timer_oneshot(void **state)
{
	(void)state;
	write_reg(APIC_REG_LVT_TIMER, 0x31);
	write_reg(APIC_REG_TDCR, 0xb); /* by 1 */
	write_reg(APIC_REG_TMICT, 5000000);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 5000000);
	fake_advance(2 * MS);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 3000000);
	assert_int_equal(kicks, 0);
	assert_int_equal(ticks(10 * MS, MS), 1);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 0);
	write_reg(APIC_REG_TDCR, 0); /* by 2 */
	write_reg(APIC_REG_TMICT, 1000000);
	fake_advance(MS);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 500000);
	write_reg(APIC_REG_TMICT, 0);
	assert_int_equal(ticks(10 * MS, MS), 0);
}

static void timer_periodic(void **state)
{
	(void)state;
	write_reg(APIC_REG_LVT_TIMER, 0x20031);
	write_reg(APIC_REG_TDCR, 0xa); /* by 128 */
	write_reg(APIC_REG_TMICT, 7813); /* 1.000064 ms */
	assert_int_equal(ticks(100 * MS, MS / 10), 99);
	assert_int_equal(ticks(100 * MS, 10 * MS), 10); /* what was missed is missed */
	write_reg(APIC_REG_LVT_TIMER, 0x30031); /* masked: runs on in silence */
	assert_int_equal(ticks(10 * MS, MS), 0);
	write_reg(APIC_REG_LVT_TIMER, 0x20031);
	assert_in_range(ticks(10 * MS, MS), 9, 10);
	write_reg(APIC_REG_TMICT, 1); /* far too fast: 0.2 ms at most */
	assert_int_equal(ticks(10 * MS, MS / 10), 50);
	write_reg(APIC_REG_TDCR, 3); /* by 16; the remaining time scales */
	write_reg(APIC_REG_TMICT, 1000000);
	fake_advance(8 * MS);
	write_reg(APIC_REG_TDCR, 0xb);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 500000);
}

static void timer_deadline(void **state)
{
	(void)state;
	lapic_set_tsc_deadline(&l, 1); /* not in that mode: ignored */
	assert_int_equal(lapic_get_tsc_deadline(&l), 0);
	write_reg(APIC_REG_TMICT, 1000);
	write_reg(APIC_REG_LVT_TIMER, 0x40031);
	assert_int_equal(read_reg(APIC_REG_TMICT), 0); /* the change of mode stops it */
	assert_int_equal(fake_armed(), 0);
	lapic_set_tsc_deadline(&l, (fake_now + 3 * MS) * 2);
	assert_true(lapic_get_tsc_deadline(&l) == (fake_now + 3 * MS) * 2);
	assert_true(lapic_timer_hand_over(&l) == fake_now + 3 * MS);
	assert_int_equal(fake_armed(), 0);
	lapic_timer_take_back(&l, false);
	assert_int_equal(fake_armed(), 1);
	write_reg(APIC_REG_TMICT, 1000);
	assert_int_equal(read_reg(APIC_REG_TMCCT), 0);
	assert_int_equal(ticks(2 * MS, MS), 0);
	assert_int_equal(ticks(2 * MS, MS), 1);
	assert_int_equal(lapic_get_tsc_deadline(&l), 0);
	lapic_set_tsc_deadline(&l, 1); /* in the past: at once */
	assert_int_equal(rechecks, 1);
	lapic_timer_poll(&l);
	assert_int_equal(lapic_take(&l), 0x31);
	lapic_eoi(&l);
	lapic_set_tsc_deadline(&l, ~0ull);
	lapic_set_tsc_deadline(&l, 0);
	assert_int_equal(ticks(10 * MS, MS), 0);
}

/* A callback that was already running when the timer was set anew is not the new timer's. */
static void timer_late_callback(void **state)
{
	(void)state;
	write_reg(APIC_REG_LVT_TIMER, 0x31);
	write_reg(APIC_REG_TDCR, 0xb);
	write_reg(APIC_REG_TMICT, 5000000);
	l.timer.host.fire(&l.timer.host);
	lapic_timer_poll(&l);
	assert_int_equal(lapic_pending(&l), -1);
	assert_int_equal(ticks(10 * MS, MS), 1);
}

/* ---- state -------------------------------------------------------------------------------------- */

static void state_round_trip(void **state)
{
	struct kvm_lapic_state s, t;
	u32 word;

	(void)state;
	write_reg(APIC_REG_LVT_TIMER, 0x31);
	write_reg(APIC_REG_TDCR, 0xb);
	write_reg(APIC_REG_TMICT, 5000000);
	accept(APIC_FIXED, 0x45, false);
	accept(APIC_FIXED, 0x61, true);
	lapic_take(&l);
	fake_advance(2 * MS);
	lapic_get_state(&l, &s, false);
	memcpy(&word, s.regs + 0x390, 4);
	assert_int_equal(word, 3000000);
	setup(NULL);
	assert_int_equal(lapic_set_state(&l, &s, false), 0);
	assert_int_equal(kicks, 1);
	lapic_get_state(&l, &t, false);
	assert_memory_equal(&s, &t, sizeof(s));
	assert_int_equal(lapic_pending(&l), -1);
	lapic_eoi(&l);
	assert_true(last_eoi_level);
	assert_int_equal(lapic_pending(&l), 0x45);
	fake_advance(3 * MS);
	lapic_timer_poll(&l);
	assert_int_equal(l.regs[APIC_REG_IRR + 1] >> 17 & 1, 1);
}

static void state_x2apic_ids(void **state)
{
	struct kvm_lapic_state s;
	u32 word;

	(void)state;
	lapic_set_base(&l, l.base | APIC_BASE_X2APIC);
	lapic_get_state(&l, &s, false);
	memcpy(&word, s.regs + 0x20, 4);
	assert_int_equal(word, 5u << 24);
	assert_int_equal(lapic_set_state(&l, &s, false), 0);
	assert_int_equal(l.regs[APIC_REG_ID], 5);
	assert_int_equal(lapic_set_state(&l, &s, true), -1);
	lapic_get_state(&l, &s, true);
	memcpy(&word, s.regs + 0x20, 4);
	assert_int_equal(word, 5);
	assert_int_equal(lapic_set_state(&l, &s, true), 0);
	memset(&s, 0xff, sizeof(s)); /* nonsense must do no harm */
	assert_int_equal(lapic_set_state(&l, &s, false), 0);
	assert_int_equal(l.regs[APIC_REG_LDR], (0xffu >> 4) << 16 | 1u << 15);
	lapic_timer_take_back(&l, true);
	lapic_timer_poll(&l);
	assert_int_equal(lapic_take(&l), -1);
	lapic_eoi(&l);
	lapic_reset(&l, true, false, true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reset_state), T(odd_accesses), T(software_disable), T(arbitration), T(task_priority),
		T(events), T(matching), T(matching_x2apic), T(icr_xapic), T(x2apic_msrs), T(lint0_watchdog),
		T(timer_oneshot), T(timer_periodic), T(timer_deadline), T(timer_late_callback),
		T(state_round_trip), T(state_x2apic_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
