// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "vmm/backend.h"

int engine_choose(const char *name, struct engine_choice *choice)
{
	if (strcmp(name, "auto") == 0) {
		choice->backend = &backend_soft;
		snprintf(choice->reason, sizeof(choice->reason), "the software processor runs everywhere");
		return 0;
	}
	choice->backend = backend_find(name);
	snprintf(choice->reason, sizeof(choice->reason), "asked for");
	return choice->backend ? 0 : -1;
}
