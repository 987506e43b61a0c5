// SPDX-License-Identifier: GPL-2.0-only
/*
 * anykvm run: starts a program with libanykvm.so preloaded, after checks that tell the user what
 * would otherwise fail in silence: the loader ignores LD_PRELOAD for static and privileged programs.
 */
#define _GNU_SOURCE 1
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"

#define LIBRARY "libanykvm.so"
#define PHDRS_MAX 128

static const char usage[] =
	"Usage: anykvm run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
	"Run PROGRAM, a dynamically linked one, so that /dev/kvm is AnyKVM for it and its children.\n"
	"Where the host's own /dev/kvm works, PROGRAM gets that one.\n"
	"\n"
	"  -e, --engine ENGINE   auto (default), or soft: the software processor in any case\n"
	"  -q, --quiet           do not say on stderr which engine runs\n"
	"  -h, --help            this text\n"
	"\n"
	"Exit status: PROGRAM's; 125 anykvm itself failed, 126 PROGRAM cannot be run, 127 not found.\n";

static const struct option options[] = {
	{ "engine", required_argument, NULL, 'e' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct run_options {
	const char *engine; /* NULL: as the environment says */
	bool quiet, help;
};

static int failed(int status)
{
	cli_try_help("run");
	return status;
}

static int parse(int argc, char **argv, struct run_options *o)
{
	int option;

	while ((option = getopt_long(argc, argv, "+e:qh", options, NULL)) != -1) {
		switch (option) {
		case 'e':
			o->engine = optarg;
			break;
		case 'q':
			o->quiet = true;
			break;
		case 'h':
			o->help = true;
			return 0;
		default:
			return failed(EXIT_RUN_FAILED);
		}
	}
	if (o->engine && strcmp(o->engine, "auto") && strcmp(o->engine, "soft")) {
		cli_error("--engine: neither auto nor soft: %s", o->engine);
		return failed(EXIT_RUN_FAILED);
	}
	if (optind == argc) {
		cli_error("run: which program?");
		return failed(EXIT_RUN_FAILED);
	}
	return 0;
}

/* ---- the library ----------------------------------------------------------------------------- */

/* Beside the executable as built, or where `make install` puts it. */
static int find_library(char *path, size_t size)
{
	static const char *const places[] = { "/" LIBRARY, "/../lib/anykvm/" LIBRARY, "/../lib/" LIBRARY };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return cli_error("/proc/self/exe: %s", strerror(errno));
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if ((size_t)snprintf(path, size, "%s%s", self, places[i]) < size && access(path, R_OK) == 0)
			return 0;
	}
	return cli_error(LIBRARY " is neither in %s nor in %s/../lib/anykvm", self, self);
}

static int set_environment(const char *library, const struct run_options *o)
{
	const char *others = getenv("LD_PRELOAD");
	char *value = NULL;
	int error;

	/* The loader separates names by these, and knows no way to quote them. */
	if (strpbrk(library, " :"))
		return cli_error("%s: a path with spaces or colons cannot be preloaded", library);
	if (asprintf(&value, "%s%s%s", library, others && *others ? ":" : "", others ? others : "") < 0)
		return cli_error("%s", strerror(ENOMEM));
	error = setenv("LD_PRELOAD", value, 1) || setenv("ANYKVM_PRELOAD", "1", 1);
	free(value);
	if (o->quiet)
		error = error || setenv("ANYKVM_QUIET", "1", 1);
	if (o->engine && strcmp(o->engine, "soft") == 0)
		error = error || setenv("ANYKVM_ENGINE", "soft", 1);
	else if (o->engine)
		error = error || unsetenv("ANYKVM_ENGINE");
	return error ? cli_error("environment: %s", strerror(errno)) : 0;
}

/* ---- the program ----------------------------------------------------------------------------- */

/* What execvp() would find; false: nothing, and it shall say so itself. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *search = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return (size_t)snprintf(path, size, "%s", name) < size;
	for (search = search ? search : "/bin:/usr/bin"; search; search = *end ? end + 1 : NULL) {
		int n = (int)((end = strchrnul(search, ':')) - search);

		if ((size_t)snprintf(path, size, "%.*s%s%s", n, search, n ? "/" : "", name) < size &&
		    access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static bool has_interpreter(int fd, const Elf64_Ehdr *ehdr)
{
	Elf64_Phdr phdr[PHDRS_MAX];
	ssize_t size = ehdr->e_phnum * sizeof(phdr[0]);

	if (ehdr->e_phentsize != sizeof(phdr[0]) || ehdr->e_phnum > PHDRS_MAX ||
	    pread(fd, phdr, size, ehdr->e_phoff) != size)
		return false;
	for (unsigned i = 0; i < ehdr->e_phnum; i++)
		if (phdr[i].p_type == PT_INTERP)
			return true;
	return false;
}

static int check_elf(int fd, const char *path)
{
	Elf64_Ehdr ehdr;

	if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) || memcmp(ehdr.e_ident, ELFMAG, SELFMAG))
		return 0; /* a script: its interpreter is started with the same environment */
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_machine != EM_X86_64) {
		cli_error("%s: not an x86-64 program", path);
		return EXIT_CANNOT_RUN;
	}
	if (!has_interpreter(fd, &ehdr)) {
		cli_error("%s: statically linked, so AnyKVM cannot be preloaded", path);
		return EXIT_CANNOT_RUN;
	}
	return 0;
}

static int check_privileges(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	if (((st.st_mode & S_ISUID) && st.st_uid != getuid()) ||
	    ((st.st_mode & S_ISGID) && st.st_gid != getgid()) ||
	    (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)) {
		cli_error("%s: setuid, setgid or with capabilities, so AnyKVM cannot be preloaded", path);
		return EXIT_CANNOT_RUN;
	}
	return 0;
}

static int check_program(const char *name)
{
	char path[PATH_MAX];
	int fd, status;

	if (!find_program(name, path, sizeof(path)))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* executable, perhaps, but not readable */
	status = check_elf(fd, path);
	if (status == 0)
		status = check_privileges(fd, path);
	close(fd);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_options o = { 0 };
	char library[PATH_MAX];
	int status = parse(argc, argv, &o);

	if (status)
		return status;
	if (o.help) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	argv += optind;
	status = check_program(argv[0]);
	if (status)
		return status;
	if (find_library(library, sizeof(library)) || set_environment(library, &o))
		return EXIT_RUN_FAILED;
	execvp(argv[0], argv);
	status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	cli_error("%s: %s", argv[0], strerror(errno));
	return status;
}
