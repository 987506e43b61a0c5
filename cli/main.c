// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "include/anykvm.h"

static const char usage[] =
	"Usage: anykvm COMMAND [OPTION]...\n"
	"The KVM API on any x86-64 Linux machine, with or without hardware virtualisation.\n"
	"\n"
	"Commands:\n"
	"  boot   start a Linux kernel in the built-in virtual machine monitor\n"
	"  run    run a program (QEMU, ...) for which /dev/kvm shall be AnyKVM\n"
	"  info   tell which engine runs guests here, and what it can do\n"
	"  stat   show what running virtual machines count\n"
	"\n"
	"  -h, --help      this text; anykvm COMMAND --help for a command's\n"
	"  -V, --version   the version\n"
	"\n"
	"Manual: man anykvm\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "boot", cmd_boot },
	{ "run", cmd_run },
	{ "info", cmd_info },
	{ "stat", cmd_stat },
};

int cli_error(const char *format, ...)
{
	va_list ap;

	fputs("anykvm: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

int cli_try_help(const char *command)
{
	fprintf(stderr, "Try 'anykvm%s%s --help'.\n", command ? " " : "", command ? command : "");
	return EXIT_USAGE;
}

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[0], commands[i].name) == 0) {
			optind = 0; /* the command parses anew */
			return commands[i].run(argc, argv);
		}
	}
	cli_error("no such command: %s", argv[0]);
	return cli_try_help(NULL);
}

/* Output that could not be written is a failure, not a success. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	cli_error("standard output: %s", strerror(errno));
	return status ? status : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	/* "+": options behind the command are the command's. */
	while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			fputs(usage, stdout);
			return finish(EXIT_OK);
		case 'V':
			printf("anykvm %s\n", ANYKVM_VERSION);
			return finish(EXIT_OK);
		default:
			return cli_try_help(NULL);
		}
	}
	if (optind == argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return finish(run_command(argc - optind, argv + optind));
}
