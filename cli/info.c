// SPDX-License-Identifier: GPL-2.0-only
#include <cpuid.h>
#include <errno.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "host/user/probe.h"
#include "include/anykvm.h"
#include "vmm/backend.h"

static const char usage[] =
	"Usage: anykvm info [OPTION]...\n"
	"Tell which engine runs guests on this machine, why, and what its KVM API offers.\n"
	"\n"
	"  -a, --all             list capabilities that are not there, too\n"
	"  -e, --engine ENGINE   auto (default), soft, module (/dev/anykvm), or kvm\n"
	"  -j, --json            for scripts\n"
	"  -h, --help            this text\n"
	"\n"
	"Exit status: 0 if guests can run, 1 if not.\n";

static const struct option options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "engine", required_argument, NULL, 'e' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

#define CAP(name) { #name, KVM_CAP_##name },
static const struct capability {
	const char *name;
	int number;
} capabilities[] = {
#include "cli/capabilities.h"
};
#undef CAP

#define NCAPABILITIES (sizeof(capabilities) / sizeof(capabilities[0]))

/* Capabilities that are numbers a user may want to know. */
static const struct capability limits[] = {
	{ "vcpus_recommended", KVM_CAP_NR_VCPUS },
	{ "vcpus_max", KVM_CAP_MAX_VCPUS },
	{ "vcpu_id_max", KVM_CAP_MAX_VCPU_ID },
	{ "memory_slots_max", KVM_CAP_NR_MEMSLOTS },
	{ "address_spaces", KVM_CAP_MULTI_ADDRESS_SPACE },
};

#define NLIMITS (sizeof(limits) / sizeof(limits[0]))

/* Features of the host's processor that decide what a guest gets. leaf, sub-leaf, register, bit. */
enum cpuid_register { EAX, EBX, ECX, EDX };

static const struct feature {
	const char *name;
	unsigned leaf, subleaf;
	enum cpuid_register reg;
	unsigned bit;
} features[] = {
	{ "vmx", 1, 0, ECX, 5 },
	{ "svm", 0x80000001, 0, ECX, 2 },
	{ "hypervisor", 1, 0, ECX, 31 },
	{ "sse4_2", 1, 0, ECX, 20 },
	{ "aes", 1, 0, ECX, 25 },
	{ "xsave", 1, 0, ECX, 26 },
	{ "avx", 1, 0, ECX, 28 },
	{ "avx2", 7, 0, EBX, 5 },
	{ "bmi2", 7, 0, EBX, 8 },
	{ "adx", 7, 0, EBX, 19 },
	{ "sha", 7, 0, EBX, 29 },
	{ "avx512f", 7, 0, EBX, 16 },
	{ "fsgsbase", 7, 0, EBX, 0 },
	{ "la57", 7, 0, ECX, 16 },
	{ "pdpe1gb", 0x80000001, 0, EDX, 26 },
	{ "invariant_tsc", 0x80000007, 0, EDX, 8 },
};

#define NFEATURES (sizeof(features) / sizeof(features[0]))

struct info {
	struct engine_choice engine;
	const char *probe; /* NULL: the host's KVM works */
	char error[128];   /* why guests cannot run; empty: they can */
	int api_version;
	int capability[NCAPABILITIES];
	int limit[NLIMITS];
	char cpu[49];
};

/* ---- facts ----------------------------------------------------------------------------------- */

static bool has_feature(const struct feature *f)
{
	unsigned r[4];

	if (!__get_cpuid_count(f->leaf, f->subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]))
		return false;
	return r[f->reg] >> f->bit & 1;
}

static void read_cpu_name(char name[49])
{
	unsigned r[12] = { 0 };
	char *start = (char *)r;

	for (unsigned i = 0; i < 3; i++)
		if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
			break;
	while (start < (char *)(r + 11) && *start == ' ')
		start++;
	snprintf(name, 49, "%.*s", (int)((char *)(r + 12) - start), start);
	for (size_t n = strlen(name); n && name[n - 1] == ' '; n--)
		name[n - 1] = 0;
}

/* That a virtual machine with a processor can be made; QEMU and others start like this. */
static void try_vm(const struct kvm_backend *b, int kvm, struct info *info)
{
	int vm = b->ioctl(kvm, KVM_CREATE_VM, 0), vcpu = -1;

	if (vm < 0) {
		snprintf(info->error, sizeof(info->error), "no virtual machine: %s", strerror(errno));
		return;
	}
	vcpu = b->ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		snprintf(info->error, sizeof(info->error), "no virtual processor: %s", strerror(errno));
	else
		b->close(vcpu);
	b->close(vm);
}

static void collect(struct info *info)
{
	const struct kvm_backend *b = info->engine.backend;
	int kvm = b->open();

	info->probe = host_probe_kvm();
	read_cpu_name(info->cpu);
	if (kvm < 0) {
		snprintf(info->error, sizeof(info->error), "cannot open KVM: %s", strerror(errno));
		return;
	}
	info->api_version = b->ioctl(kvm, KVM_GET_API_VERSION, 0);
	for (size_t i = 0; i < NCAPABILITIES; i++)
		info->capability[i] = b->ioctl(kvm, KVM_CHECK_EXTENSION, capabilities[i].number);
	for (size_t i = 0; i < NLIMITS; i++)
		info->limit[i] = b->ioctl(kvm, KVM_CHECK_EXTENSION, limits[i].number);
	if (b == &backend_kvm && info->probe)
		snprintf(info->error, sizeof(info->error), "%s", info->probe);
	else
		try_vm(b, kvm, info);
	b->close(kvm);
}

/* ---- for humans ------------------------------------------------------------------------------ */

static void print_capabilities(const struct info *info, bool all)
{
	size_t there = 0;

	for (size_t i = 0; i < NCAPABILITIES; i++)
		there += info->capability[i] > 0;
	printf("capabilities  %zu of %zu\n", there, NCAPABILITIES);
	for (size_t i = 0; i < NCAPABILITIES; i++)
		if (all || info->capability[i] > 0)
			printf("  %-3d %-32s %d\n", capabilities[i].number, capabilities[i].name,
			       info->capability[i]);
}

static void print_text(const struct info *info, bool all)
{
	if (info->error[0])
		printf("Guests cannot run: %s\n", info->error);
	else
		printf("Guests can run.\n");
	printf("engine        %s (%s)\n", info->engine.backend->name, info->engine.backend->what);
	printf("because       %s\n", info->engine.reason);
	printf("hardware KVM  %s\n", info->probe ? info->probe : "works");
	printf("version       anykvm %s, KVM API %d\n", ANYKVM_VERSION, info->api_version);
	printf("processor     %s\n", info->cpu);
	printf("features     ");
	for (size_t i = 0; i < NFEATURES; i++)
		if (has_feature(&features[i]))
			printf(" %s", features[i].name);
	printf("\nlimits       ");
	for (size_t i = 0; i < NLIMITS; i++)
		printf(" %s=%d", limits[i].name, info->limit[i]);
	printf("\n");
	print_capabilities(info, all);
}

/* ---- for scripts ----------------------------------------------------------------------------- */

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void json_member(const char *name, const char *value)
{
	printf("  \"%s\": ", name);
	if (value)
		json_string(value);
	else
		printf("null");
	printf(",\n");
}

static void print_json(const struct info *info)
{
	printf("{\n");
	json_member("version", ANYKVM_VERSION);
	printf("  \"usable\": %s,\n", info->error[0] ? "false" : "true");
	json_member("error", info->error[0] ? info->error : NULL);
	json_member("engine", info->engine.backend->name);
	json_member("reason", info->engine.reason);
	printf("  \"hardware\": %s,\n", info->probe ? "false" : "true");
	json_member("hardware_problem", info->probe);
	printf("  \"api_version\": %d,\n", info->api_version);
	printf("  \"host\": {\"cpu\": ");
	json_string(info->cpu);
	printf(", \"features\": {");
	for (size_t i = 0; i < NFEATURES; i++)
		printf("%s\"%s\": %s", i ? ", " : "", features[i].name,
		       has_feature(&features[i]) ? "true" : "false");
	printf("}},\n  \"limits\": {");
	for (size_t i = 0; i < NLIMITS; i++)
		printf("%s\"%s\": %d", i ? ", " : "", limits[i].name, info->limit[i]);
	printf("},\n  \"capabilities\": {");
	for (size_t i = 0; i < NCAPABILITIES; i++)
		printf("%s\n    \"%s\": %d", i ? "," : "", capabilities[i].name, info->capability[i]);
	printf("\n  }\n}\n");
}

int cmd_info(int argc, char **argv)
{
	struct info info = { 0 };
	const char *engine = "auto";
	bool all = false, json = false;
	int option;

	while ((option = getopt_long(argc, argv, "ae:jh", options, NULL)) != -1) {
		switch (option) {
		case 'a':
			all = true;
			break;
		case 'e':
			engine = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		default:
			return cli_try_help("info");
		}
	}
	if (optind != argc)
		return cli_error("info: takes no arguments");
	if (engine_choose(engine, &info.engine))
		return cli_error("--engine: neither auto, soft, module nor kvm: %s", engine);
	collect(&info);
	if (json)
		print_json(&info);
	else
		print_text(&info, all);
	return info.error[0] ? EXIT_USAGE : EXIT_OK;
}
