// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/user/probe.h"
#include "vmm/backend.h"

/* The host's own KVM where it works (the shim decides so, too), else our module if it is loaded beside it. */
static void choose_auto(struct engine_choice *choice)
{
	const char *why = host_probe_kvm();

	choice->backend = !why ? &backend_kvm : access("/dev/anykvm", R_OK | W_OK) == 0 ? &backend_module : &backend_soft;
	if (!why)
		snprintf(choice->reason, sizeof(choice->reason), "the host's /dev/kvm works");
	else if (choice->backend == &backend_module)
		snprintf(choice->reason, sizeof(choice->reason), "AnyKVM's kernel module is loaded; %s", why);
	else
		snprintf(choice->reason, sizeof(choice->reason), "no hardware virtualisation: %s", why);
}

int engine_choose(const char *name, struct engine_choice *choice)
{
	if (strcmp(name, "auto") == 0) {
		choose_auto(choice);
		return 0;
	}
	choice->backend = backend_find(name);
	snprintf(choice->reason, sizeof(choice->reason), "asked for");
	return choice->backend ? 0 : -1;
}
