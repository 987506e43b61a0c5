// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "vmm/console.h"
#include "vmm/fail.h"
#include "vmm/vmm.h"

#define DEFAULT_MEMORY (512ull << 20)
#define DEFAULT_APPEND "console=ttyS0"
#define DEFAULT_ENGINE "auto"

static const char usage[] =
	"Usage: anykvm boot [OPTION]... KERNEL\n"
	"Start KERNEL (bzImage or 64-bit ELF vmlinux) in a virtual machine.\n"
	"Its serial line is this terminal.\n"
	"\n"
	"  -i, --initrd FILE        initial RAM disk\n"
	"  -a, --append STRING      kernel command line (default \"" DEFAULT_APPEND "\")\n"
	"  -m, --memory SIZE        guest memory in MiB, or with suffix M or G (default 512)\n"
	"  -c, --cpus N             virtual processors (default 1)\n"
	"  -d, --disk FILE[,ro]     virtio disk: a raw image, ro to forbid writing; may be repeated\n"
	"  -r, --rng                virtio entropy device\n"
	"  -s, --serial WHERE       serial line COM1: stdio (default), none, or file:PATH (output only)\n"
	"      --no-reboot          end when the guest resets, with status 4\n"
	"      --triple-fault WHAT  crash (default): report and end with status 2; reset: as a PC does\n"
	"  -e, --engine ENGINE      auto (default), soft, module (/dev/anykvm), or kvm (the host's /dev/kvm)\n"
	"  -h, --help               this text\n"
	"\n"
	"On a terminal, Ctrl-A x ends the machine and Ctrl-A h shows help.\n"
	"Exit status: 0 powered off, 1 usage or set-up error, 2 triple fault, 3 KVM error.\n";

enum {
	OPTION_NO_REBOOT = 256,
	OPTION_TRIPLE_FAULT,
};

static const struct option options[] = {
	{ "initrd", required_argument, NULL, 'i' },
	{ "append", required_argument, NULL, 'a' },
	{ "memory", required_argument, NULL, 'm' },
	{ "cpus", required_argument, NULL, 'c' },
	{ "disk", required_argument, NULL, 'd' },
	{ "rng", no_argument, NULL, 'r' },
	{ "serial", required_argument, NULL, 's' },
	{ "no-reboot", no_argument, NULL, OPTION_NO_REBOOT },
	{ "triple-fault", required_argument, NULL, OPTION_TRIPLE_FAULT },
	{ "engine", required_argument, NULL, 'e' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct boot_options {
	struct machine_config machine;
	const char *engine;
	const char *serial_file; /* NULL: standard input and output */
	bool no_reboot;
	bool help;
};

static int parse_memory(const char *text, u64 *memory)
{
	unsigned long long value;
	unsigned shift = 20;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end == 'G' || *end == 'g')
		shift = 30;
	if (end != text && *end && strchr("MmGg", *end))
		end++;
	if (errno || end == text || *end || *text == '-' || value > VMM_MEMORY_MAX >> shift)
		return cli_error("--memory: not a size: %s", text);
	*memory = (u64)value << shift;
	if (*memory < VMM_MEMORY_MIN)
		return cli_error("--memory: at least %llu MiB are needed", VMM_MEMORY_MIN >> 20);
	return 0;
}

static int parse_cpus(const char *text, unsigned *cpus)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < 1 || value > VMM_CPUS_MAX)
		return cli_error("--cpus: not a number from 1 to %d: %s", VMM_CPUS_MAX, text);
	*cpus = value;
	return 0;
}

/* FILE, FILE,ro: cut in place, so that file names may hold any other comma. */
static int parse_disk(char *text, struct machine_config *config)
{
	size_t length = strlen(text);
	bool read_only = length > 3 && strcmp(text + length - 3, ",ro") == 0;

	if (config->ndisks == VMM_DISKS_MAX)
		return cli_error("--disk: at most %d", VMM_DISKS_MAX);
	if (read_only)
		text[length - 3] = 0;
	config->disk[config->ndisks++] = (struct disk_config){ .path = text, .read_only = read_only };
	return 0;
}

static int parse_serial(const char *text, struct boot_options *o)
{
	o->machine.serial = strcmp(text, "none") != 0;
	if (strncmp(text, "file:", 5) == 0 && text[5])
		o->serial_file = text + 5;
	else if (strcmp(text, "stdio") && strcmp(text, "none"))
		return cli_error("--serial: neither stdio, none nor file:PATH: %s", text);
	return 0;
}

static int parse_triple_fault(const char *text, bool *resets)
{
	*resets = strcmp(text, "reset") == 0;
	if (!*resets && strcmp(text, "crash"))
		return cli_error("--triple-fault: neither crash nor reset: %s", text);
	return 0;
}

static int parse_option(int option, struct boot_options *o)
{
	switch (option) {
	case 'i':
		o->machine.initrd = optarg;
		return 0;
	case 'a':
		o->machine.append = optarg;
		return 0;
	case 'm':
		return parse_memory(optarg, &o->machine.memory);
	case 'c':
		return parse_cpus(optarg, &o->machine.cpus);
	case 'd':
		return parse_disk(optarg, &o->machine);
	case 'r':
		o->machine.rng = true;
		return 0;
	case 's':
		return parse_serial(optarg, o);
	case 'e':
		o->engine = optarg;
		return 0;
	case OPTION_NO_REBOOT:
		o->no_reboot = true;
		return 0;
	case OPTION_TRIPLE_FAULT:
		return parse_triple_fault(optarg, &o->machine.triple_fault_resets);
	case 'h':
		o->help = true;
		return 0;
	default:
		return cli_try_help("boot");
	}
}

static int parse(int argc, char **argv, struct boot_options *o)
{
	int option;

	while ((option = getopt_long(argc, argv, "i:a:m:c:d:rs:e:h", options, NULL)) != -1)
		if (parse_option(option, o))
			return EXIT_USAGE;
	if (o->help)
		return 0;
	if (argc - optind != 1) {
		cli_error(argc == optind ? "boot: which kernel?" : "boot: one kernel, please");
		return cli_try_help("boot");
	}
	o->machine.kernel = argv[optind];
	return 0;
}

/* Held back from before the terminal is changed until it is given back; the machine reads them. */
static void block_signals(sigset_t *old)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &set, old);
	/* Errors of write() tell more. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

/* Ends as the signal would have ended us, so that our parent sees what it expects. */
static int die_of(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return 128 + number;
}

static int exit_status(enum machine_outcome outcome)
{
	switch (outcome) {
	case MACHINE_TRIPLE_FAULT:
		return EXIT_TRIPLE_FAULT;
	case MACHINE_RESET:
		return EXIT_GUEST_RESET;
	case MACHINE_POWEROFF:
	case MACHINE_QUIT:
		return EXIT_OK;
	default:
		return EXIT_KVM_ERROR;
	}
}

static int run_machines(const struct boot_options *o, struct console *console, int *end_signal)
{
	enum machine_outcome outcome;

	do {
		struct machine *m = machine_create(&o->machine, console);

		if (!m)
			return EXIT_USAGE;
		outcome = machine_run(m);
		*end_signal = machine_signal(m);
		machine_destroy(m);
	} while (outcome == MACHINE_RESET && !o->no_reboot);
	return exit_status(outcome);
}

static int boot(const struct boot_options *o)
{
	struct console *console = NULL;
	int status, end_signal = 0;
	sigset_t old;

	block_signals(&old);
	if (o->machine.serial) {
		console = console_open(o->serial_file);
		if (!console)
			return cli_error("%s", vmm_failure());
	}
	status = run_machines(o, console, &end_signal);
	if (console)
		console_close(console);
	if (status == EXIT_USAGE)
		cli_error("%s", vmm_failure());
	if (end_signal)
		return die_of(end_signal);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return status;
}

int cmd_boot(int argc, char **argv)
{
	struct boot_options o = {
		.engine = DEFAULT_ENGINE,
		.machine = {
			.append = DEFAULT_APPEND,
			.memory = DEFAULT_MEMORY,
			.cpus = 1,
			.serial = true,
		},
	};
	struct engine_choice engine;

	if (parse(argc, argv, &o))
		return EXIT_USAGE;
	if (o.help) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (engine_choose(o.engine, &engine))
		return cli_error("--engine: neither auto, soft, module nor kvm: %s", o.engine);
	o.machine.backend = engine.backend;
	return boot(&o);
}
