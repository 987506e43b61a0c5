// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/stat.h"

static const char usage[] =
	"Usage: anykvm stat [OPTION]... [PID]\n"
	"Show what running virtual machines of AnyKVM count: those of process PID, or all of yours.\n"
	"\n"
	"  -1, --once            once, not every second\n"
	"  -i, --interval TIME   seconds between two looks (default 1)\n"
	"  -a, --all             counters that are zero, too\n"
	"  -j, --json            for scripts: a line each time, by vCPU\n"
	"  -h, --help            this text\n"
	"\n"
	"Exit status: 0, or 1 if there is no such virtual machine.\n";

static const struct option options[] = {
	{ "once", no_argument, NULL, '1' },
	{ "interval", required_argument, NULL, 'i' },
	{ "all", no_argument, NULL, 'a' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct stat_options {
	pid_t pid; /* 0: all */
	double interval;
	bool once, all, json, help;
};

static int parse_number(const char *text, double min, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end == text || *end || !(*value >= min && *value <= 1e9);
}

static int parse(int argc, char **argv, struct stat_options *o)
{
	double pid = 0;
	int option;

	while ((option = getopt_long(argc, argv, "1i:ajh", options, NULL)) != -1) {
		switch (option) {
		case '1':
			o->once = true;
			break;
		case 'i':
			if (parse_number(optarg, 0.01, &o->interval))
				return cli_error("--interval: not a number of seconds: %s", optarg);
			break;
		case 'a':
			o->all = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			o->help = true;
			return 0;
		default:
			return cli_try_help("stat");
		}
	}
	if (argc - optind > 1) {
		cli_error("stat: one process, please");
		return cli_try_help("stat");
	}
	if (optind < argc && (parse_number(argv[optind], 1, &pid) || pid != (double)(pid_t)pid))
		return cli_error("stat: not a process id: %s", argv[optind]);
	o->pid = (pid_t)pid;
	return 0;
}

/* ---- the table: sums over all VMs and vCPUs ------------------------------------------------------ */

struct row {
	char name[STAT_NAME_SIZE];
	uint64_t value, before;
};

struct table {
	struct row row[1024];
	unsigned count;
	double seconds; /* between before and value; 0: there was none */
	struct timespec taken;
};

static struct row *row_of(struct table *t, const char *name)
{
	for (unsigned i = 0; i < t->count; i++)
		if (strcmp(t->row[i].name, name) == 0)
			return &t->row[i];
	if (t->count == sizeof(t->row) / sizeof(t->row[0]))
		return &t->row[t->count - 1];
	strcpy(t->row[t->count].name, name);
	return &t->row[t->count++];
}

static void add(struct table *t, const struct stat_image *image)
{
	for (unsigned i = 0; i < image->count; i++)
		row_of(t, image->counter[i].name)->value += image->counter[i].value;
}

static void begin(struct table *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (t->count)
		t->seconds = (double)(now.tv_sec - t->taken.tv_sec) + (double)(now.tv_nsec - t->taken.tv_nsec) * 1e-9;
	t->taken = now;
	for (unsigned i = 0; i < t->count; i++) {
		t->row[i].before = t->row[i].value;
		t->row[i].value = 0;
	}
}

static void print_row(const struct table *t, const struct row *row)
{
	printf("%-28s %20" PRIu64, row->name, row->value);
	if (t->seconds > 0)
		printf(" %14.0f", row->value > row->before ? (double)(row->value - row->before) / t->seconds : 0.0);
	putchar('\n');
}

static void show_table(struct table *t, const struct stat_vm *vms, int count, const struct stat_options *o)
{
	static struct stat_image image;

	begin(t);
	if (!o->once && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	for (int i = 0; i < count; i++) {
		printf("process %d (%s): %u vCPU%s\n", (int)vms[i].pid, vms[i].program, vms[i].vcpus,
		       vms[i].vcpus == 1 ? "" : "s");
		for (int vcpu = -1; vcpu < (int)vms[i].vcpus; vcpu++)
			if (stat_read(&vms[i], vcpu, &image) == 0)
				add(t, &image);
	}
	printf("%-28s %20s%s\n", "counter", "total", t->seconds > 0 ? "            1/s" : "");
	for (unsigned i = 0; i < t->count; i++)
		if (o->all || t->row[i].value)
			print_row(t, &t->row[i]);
}

/* ---- JSON: {"vms": [{"pid": 1, "program": "x", "vm": {...}, "vcpus": [{...}]}]} ------------------- */

static void json_image(const struct stat_vm *vm, int vcpu)
{
	static struct stat_image image;
	const char *separator = "";

	putchar('{');
	if (stat_read(vm, vcpu, &image) == 0) {
		for (unsigned i = 0; i < image.count; i++, separator = ", ")
			printf("%s\"%s\": %" PRIu64, separator, image.counter[i].name, image.counter[i].value);
	}
	putchar('}');
}

static void json_vm(const struct stat_vm *vm)
{
	printf("{\"pid\": %d, \"program\": \"", (int)vm->pid);
	for (const char *c = vm->program; *c; c++)
		printf(*c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
	fputs("\", \"vm\": ", stdout);
	json_image(vm, -1);
	fputs(", \"vcpus\": [", stdout);
	for (int i = 0; i < (int)vm->vcpus; i++) {
		fputs(i ? ", " : "", stdout);
		json_image(vm, i);
	}
	fputs("]}", stdout);
}

static void show_json(const struct stat_vm *vms, int count)
{
	fputs("{\"vms\": [", stdout);
	for (int i = 0; i < count; i++) {
		fputs(i ? ", " : "", stdout);
		json_vm(&vms[i]);
	}
	puts("]}");
}

/* ---- the command --------------------------------------------------------------------------------- */

static int look(const struct stat_options *o, struct table *t, bool first)
{
	static struct stat_vm vms[STAT_VMS_MAX];
	int count = stat_find(o->pid, vms);

	if (count < 0 && (first || errno != ENOENT))
		return cli_error("process %d: %s", (int)o->pid, strerror(errno));
	if (count <= 0) {
		if (!first)
			return EXIT_USAGE; /* they have ended: so do we */
		return cli_error(o->pid ? "process %d runs no virtual machine of AnyKVM"
					: "no virtual machine of AnyKVM runs here", (int)o->pid);
	}
	if (o->json)
		show_json(vms, count);
	else
		show_table(t, vms, count, o);
	stat_close(vms, count);
	return EXIT_OK;
}

static void pause_for(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };

	nanosleep(&t, NULL);
}

int cmd_stat(int argc, char **argv)
{
	struct stat_options o = { .interval = 1 };
	static struct table table;
	int status;

	if (parse(argc, argv, &o))
		return EXIT_USAGE;
	if (o.help) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	status = look(&o, &table, true);
	while (status == EXIT_OK && !o.once) {
		if (fflush(stdout) || ferror(stdout))
			return EXIT_OK; /* main() says why */
		pause_for(o.interval);
		if (look(&o, &table, false))
			break;
	}
	return status;
}
