// SPDX-License-Identifier: GPL-2.0-only
/* Running cases, and the driver's command line: payload [--oracle] [GROUP...|CASE] prints their lines, or
 * all. */
#define _GNU_SOURCE 1
#include <fnmatch.h>
#include <errno.h>

#include "tests/payload/payload.h"

#define TIMEOUT_MS 3000
#define MAX_EXITS 200

extern struct payload payload_cases_start[] __asm__("__start_payload_cases");
extern struct payload payload_cases_end[] __asm__("__stop_payload_cases");

static const char *only = "*"; /* pattern of case names */

void (*quiet_setup)(struct payload *p);

static void load(struct payload *p)
{
	void (*setup)(struct payload *p) = p->setup ? p->setup : quiet_setup;

	vm_open(p->flags & F_IRQCHIP);
	if (p->flags & F_KEEP)
		return;
	machine_build(p);
	if (setup)
		setup(p);
	vm_load(&start);
}

static void run_to_end(struct payload *p)
{
	unsigned exceptions = 0;

	for (unsigned exits = 0; exits < MAX_EXITS; exits++) {
		int r = vm_run(TIMEOUT_MS);

		if (r == -ETIME) {
			say("timeout; ");
			return;
		}
		if (r < 0) {
			say("KVM_RUN: %s; ", strerrorname_np(-r));
			return;
		}
		if (report_exit(p, &exceptions))
			return;
	}
	say("... ");
}

static void run_once(struct payload *p)
{
	line[0] = '\0';
	load(p);
	run_to_end(p);
	report_changes();
}

/* Twice: the second time the code is known already. */
void run_case(struct payload *p)
{
	static char first[sizeof(line)];

	if (fnmatch(only, p->name, 0))
		return;
	run_once(p);
	memcpy(first, line, sizeof(first));
	if (!(p->flags & (F_KEEP | F_NOREPEAT))) {
		run_once(p);
		if (strcmp(first, line))
			printf("%s: AGAIN: %s\n", p->name, line);
	}
	printf("%s: %s\n", p->name, first);
}

/* The first event alone: "GP:10", "ok". */
static void shorten(char *result, unsigned size)
{
	char *end = strchr(line, ' ');

	if (!strncmp(line, "end;", 4))
		snprintf(result, size, "ok");
	else
		snprintf(result, size, "%.*s", end ? (int)(end - line) : 20,
			 line[0] == '#' ? line + 1 : line);
}

void run_quiet(struct payload *p, char *result, unsigned size)
{
	line[0] = '\0';
	load(p);
	run_to_end(p);
	shorten(result, size);
}

void run_table(const char *group)
{
	size_t n = strlen(group);

	for (struct payload *p = payload_cases_start; p < payload_cases_end; p++)
		if (!strncmp(p->name, group, n) && p->name[n] == '/')
			run_case(p);
}

static bool wanted(const struct group *g, int argc, char **argv)
{
	const char *group = g->name;

	if (argc > 1 && !strcmp(argv[1], "--oracle")) {
		if (g->no_oracle)
			return false;
		argc--;
		argv++;
	}
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], group, strcspn(argv[i], "/")) && !group[strcspn(argv[i], "/")])
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && strchr(argv[1], '/'))
		only = argv[1];
	for (const struct group *g = groups; g->name; g++) {
		if (!wanted(g, argc, argv))
			continue;
		printf("[%s]\n", g->name);
		g->run();
	}
	printf("[end]\n");
	return 0;
}
