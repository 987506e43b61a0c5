/* SPDX-License-Identifier: GPL-2.0-only */
/* User code that the host's processor executes as it is, in a process of its own (direct.c has the essay). */
#ifndef ANYKVM_ENGINE_SOFT_DIRECT_H
#define ANYKVM_ENGINE_SOFT_DIRECT_H

#include "engine/soft/soft.h"

struct windows;

/* What direct_run() came to. */
enum direct_next {
	DIRECT_LOOK,	/* cpu->stop or the processor's state has changed: look at it */
	DIRECT_STEP,	/* the next instruction is not for direct execution */
	DIRECT_CRAWL,	/* nor are those behind it, in its page */
	DIRECT_WALK,	/* nor is most of what follows: until something comes in between */
};

/* With soft->direct, at CPL 3: runs the guest's code as far as it goes. Interrupts are enabled. [run] */
enum direct_next direct_run(struct vcpu *vcpu);
/* Another thread wants cpu->stop to be seen. */
void direct_kick(struct vcpu *vcpu);

/* For window.c and window_map.c: the current space is to run directly, if that can be; not any more. */
bool direct_begin(struct windows *w);
void direct_end(struct windows *w);
/* An interrupt has hit the guest's code while it ran directly. */
void direct_tick(struct windows *w);
/* No space has the twin any more. */
void direct_release(struct windows *w, struct host_twin *twin);
/* What they have mapped may be gone soon. */
void direct_destroy_spare(struct windows *w);
/* Somebody has killed a twin that had registers of the guest's; told once. */
bool direct_lost(struct soft_vcpu *soft);

#endif
