/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ANYKVM_CLI_CLI_H
#define ANYKVM_CLI_CLI_H

#include <stdbool.h>

struct kvm_backend;

/* Exit status; documented in docs/anykvm.1. */
enum exit_status {
	EXIT_OK = 0,
	EXIT_USAGE = 1,	       /* or the machine could not be set up */
	EXIT_TRIPLE_FAULT = 2,
	EXIT_KVM_ERROR = 3,
	EXIT_GUEST_RESET = 4,  /* with --no-reboot */
	EXIT_RUN_FAILED = 125, /* these as env(1) */
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

/* Commands: argv[0] is the command's name. */
int cmd_boot(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_stat(int argc, char **argv);

/* "anykvm: ..." on stderr, with newline. Returns EXIT_USAGE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* After getopt_long() said what is wrong: where help is. Returns EXIT_USAGE. */
int cli_try_help(const char *command);

struct engine_choice {
	const struct kvm_backend *backend;
	char reason[160];
};

/* name: auto, soft, module or kvm. 0, or -1 when there is no such engine. */
int engine_choose(const char *name, struct engine_choice *choice);

#endif
