// SPDX-License-Identifier: GPL-2.0-only
/*
 * program NAME REPEAT SECONDS COMMAND...: prints "WORKLOAD name nanoseconds sum" of the best of REPEAT runs of a command,
 * or "FAILED name why". The sum is of what the command wrote to its standard output: the same work was done if it is the
 * same. A run ends after SECONDS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char output[] = "program.out";
static pid_t child;

static void on_alarm(int number)
{
	(void)number;
	kill(-child, SIGKILL);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* FNV-1a. */
static uint64_t sum_of_output(void)
{
	uint64_t sum = 0xcbf29ce484222325u;
	FILE *f = fopen(output, "r");
	int c;

	while (f && (c = getc(f)) != EOF)
		sum = (sum ^ (uint64_t)c) * 0x100000001b3u;
	if (f)
		fclose(f);
	return sum >> 1;
}

static void execute(char **command)
{
	int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600), in = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	dup2(in, 0);
	dup2(out, 1);
	execvp(command[0], command);
	fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
	_exit(127);
}

/* Nanoseconds, or 0. */
static uint64_t run(const char *name, char **command, unsigned seconds)
{
	uint64_t start = now();
	int status = 0;

	child = fork();
	if (child == 0)
		execute(command);
	setpgid(child, child);
	alarm(seconds);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	alarm(0);
	if (status == 0)
		return now() - start;
	printf("FAILED %s %s %d\n", name, WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t best = UINT64_MAX;

	if (argc < 5) {
		fprintf(stderr, "usage: program NAME REPEAT SECONDS COMMAND...\n");
		return 1;
	}
	signal(SIGALRM, on_alarm);
	for (int i = atoi(argv[2]); i > 0; i--) {
		uint64_t took = run(argv[1], argv + 4, (unsigned)atoi(argv[3]));

		if (!took)
			return 1;
		if (took < best)
			best = took;
	}
	printf("WORKLOAD %s %lu %lu\n", argv[1], best, sum_of_output());
	return 0;
}
