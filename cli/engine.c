// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "host/user/probe.h"
#include "vmm/backend.h"

/* The host's own KVM where it works; the shim decides the same way. */
static void choose_auto(struct engine_choice *choice)
{
	const char *why = host_probe_kvm();

	choice->backend = why ? &backend_soft : &backend_kvm;
	if (why)
		snprintf(choice->reason, sizeof(choice->reason), "no hardware virtualisation: %s", why);
	else
		snprintf(choice->reason, sizeof(choice->reason), "the host's /dev/kvm works");
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
