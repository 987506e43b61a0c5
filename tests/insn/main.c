// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every user-mode instruction form of the decode table, on the bare CPU and in AnyKVM.
 *
 *	insn [-s SEED] [-n SAMPLES PER ROW] [-f RANDOM SAMPLES] [-r MNEMONIC] [-m 16|32|64] [-c] [-u] [-l] [-N]
 *
 * For each row of the tables samples are made (generate.c), run natively (bare.c) and in a VM (guest.c), and
 * all defined state compared (compare.c). Rows are left out when they cannot run at CPL 3 without the kernel,
 * or when this CPU lacks them; both are counted, and -l lists them. Then -f samples of random bytes for each
 * mode, most of them undefined. -c puts other instructions around each sample (surround.c). -u compares undefined
 * flags too; -N runs natively alone, to test the test.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/insn/insn.h"

static unsigned long per_row = 24, nr_random = 10000, seed = 1;
static unsigned only_mode;
static const char *only_name;
static bool list, native_only, company;

static struct {
	unsigned long rows, samples, failed, rows_failed, lacking, excluded, no_encoding;
} count;

static struct sample sample;

static void on_alarm(int sig)
{
	(void)sig;
	printf("no end to it:\n");
	print_sample(stdout, &sample);
	fflush(stdout);
	_exit(1);
}

static bool run_sample(void)
{
	static struct outcome native, guest;

	if (company)
		surround(&sample);
	bare_run(&sample, &native);
	if (native_only) {
		return native.vector >= 0;
	}
	guest_run(&sample, &guest);
	return compare(&sample, &native, &guest);
}

static bool left_out(const struct x86_opcode *row)
{
	const char *why = row_excluded(row);

	if (!why && (!bare_has(row->feature) || (!native_only && !guest_has(row->feature))))
		why = bare_has(row->feature) ? "the guest lacks it" : "this CPU lacks it";
	else if (!why && row->state == X86_STATE_AVX512 && !bare_has(X86_FEAT_AVX512F))
		why = "this CPU lacks it";
	else if (why)
		count.excluded++;
	if (!why)
		return false;
	if (row_excluded(row) == NULL)
		count.lacking++;
	if (list)
		printf("left out: %s (%s)\n", row->name, why);
	return true;
}

static void run_row(const struct x86_opcode *row, enum x86_encoding encoding, unsigned map, u8 opcode,
		    unsigned mode)
{
	unsigned long failed = 0, made = 0;

	if (only_name && strcmp(only_name, row->name))
		return;
	if (left_out(row))
		return;
	count.rows++;
	for (unsigned long i = 0; i < per_row && failed < 3; i++) {
		rnd_state = seed * 0xd1342543de82ef95ull ^ (u64)mode << 56 ^ (u64)encoding << 52 ^
			    (u64)map << 48 ^ (u64)opcode << 40 ^ (u64)(row->sel * 2654435761u) << 8 ^ i;
		rnd();
		if (!generate(&sample, row, encoding, map, opcode, mode))
			continue;
		made++;
		alarm(200);
		failed += !run_sample();
	}
	alarm(0);
	count.samples += made;
	count.failed += failed;
	count.rows_failed += failed != 0;
	if (!made && list)
		printf("no encoding: %u-bit %s\n", mode, row->name);
	count.no_encoding += !made;
}

static void run_mode(unsigned mode)
{
	static const u8 maps[3] = { 3, 3, 6 };

	for (unsigned e = 0; e < 3; e++)
	for (unsigned map = 0; map <= maps[e]; map++)
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		const struct x86_opcode *row = x86_opcode_rows((enum x86_encoding)e, map, (u8)opcode);

		for (; row && row->name; row++)
			run_row(row, (enum x86_encoding)e, map, (u8)opcode, mode);
	}
}

static void run_random(unsigned mode)
{
	unsigned long failed = 0;

	for (unsigned long i = 0; i < nr_random && failed < 20; i++) {
		rnd_state = seed * 0xd1342543de82ef95ull ^ (u64)mode << 56 ^ i << 8;
		rnd();
		generate_random(&sample, mode);
		alarm(200);
		failed += !run_sample();
		count.samples++;
	}
	alarm(0);
	count.failed += failed;
}

static void options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:f:r:m:culN")) != -1) {
		switch (c) {
		case 's':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			per_row = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			nr_random = strtoul(optarg, NULL, 0);
			break;
		case 'r':
			only_name = optarg;
			break;
		case 'm':
			only_mode = (unsigned)atoi(optarg);
			break;
		case 'c':
			company = true;
			break;
		case 'u':
			strict = true;
			break;
		case 'l':
			list = true;
			break;
		case 'N':
			native_only = true;
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!native_only && guest_setup() < 0)
		return 2;
	bare_setup();
	signal(SIGALRM, on_alarm);
	for (unsigned mode = 64; mode >= 16; mode /= 2) {
		if (only_mode && only_mode != mode)
			continue;
		run_mode(mode);
		if (!only_name)
			run_random(mode);
	}
	printf("%lu samples of %lu rows: %lu samples differ, in %lu rows; %lu rows not here, %lu not "
	       "comparable, "
	       "%lu without an encoding\n",
	       count.samples, count.rows, count.failed, count.rows_failed, count.lacking, count.excluded,
	       count.no_encoding);
	if (!native_only)
		guest_close();
	return count.failed != 0;
}
