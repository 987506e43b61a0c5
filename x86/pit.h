/* SPDX-License-Identifier: GPL-2.0-only */
/* Interval timer (Intel 8254) as KVM has it in the kernel, with the speaker port of a PC. */
#ifndef ANYKVM_X86_PIT_H
#define ANYKVM_X86_PIT_H

#include <linux/kvm.h>
#include "host/host.h"

#define PIT_HZ 1193182u
#define PIT_PORT 0x40
#define PIT_SPEAKER_PORT 0x61

struct pit;
struct pit_ops {
	/* A tick of channel 0: an edge on GSI 0. No lock held, one thread at a time. */
	void (*tick)(struct pit *pit);
};

struct pit {
	struct host_mutex lock;	/* i: all without another letter */
	const struct pit_ops *ops;
	void *owner;		/* c: of the ops */
	bool ticks;		/* c: channel 0 is wired to an interrupt controller */
	struct kvm_pit_channel_state channel[3];
	u32 flags;		/* KVM_PIT_FLAGS_* */
	bool speaker;		/* c: port 0x61 is ours */
	struct host_timer timer; /* channel 0 */
	u64 period_ns;		/* of channel 0; 0: not running */
	u64 target_ns;		/* its next expiry */
	bool periodic;
	u32 reinject;		/* a: ticks wait for the acknowledgement of the one before, and catch up */
	s32 pending;		/* a: ticks to be made up for */
	u32 acked;		/* a */
	u32 looks;		/* a: since a tick was last found to be due or not; 0: nobody is at it */
};

void pit_create(struct pit *pit, const struct pit_ops *ops, bool speaker, bool ticks);
void pit_destroy(struct pit *pit);
/* GSI 0 was acknowledged; its pin was unmasked. */
void pit_acked(struct pit *pit);
void pit_unmasked(struct pit *pit);
void pit_set_reinject(struct pit *pit, bool on);
/* Ports 0x40-0x43 and, with speaker, 0x61. */
bool pit_has_port(const struct pit *pit, u64 port);
u8 pit_read(struct pit *pit, u16 port);
void pit_write(struct pit *pit, u16 port, u8 value);
void pit_get_state(struct pit *pit, struct kvm_pit_state2 *s);
/* hpet: the flags count too (KVM_SET_PIT2; KVM_SET_PIT leaves them alone). */
void pit_set_state(struct pit *pit, const struct kvm_pit_state2 *s, bool with_flags);

#endif
