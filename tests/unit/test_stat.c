// SPDX-License-Identifier: GPL-2.0-only
/* Counters: by KVM_GET_STATS_FD, and as another process finds them. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/stat.h"
#include "host/user/file.h"
#include "include/anykvm.h"

#define RAM_SIZE 65536
#define START 0x1000

struct machine {
	int kvm, vm, vcpu;
	void *run;
	uint8_t *ram;
};

static struct stat_vm vms[STAT_VMS_MAX];
static struct stat_image image;

/* Real mode: out %al, $0x10 three times, then hlt. */
static const uint8_t code[] = { 0xe6, 0x10, 0xe6, 0x10, 0xe6, 0x10, 0xf4 };

static void start(struct machine *m)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE };
	struct kvm_regs regs = { .rip = START, .rflags = 2 };
	struct kvm_sregs sregs;

	m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(m->ram + START, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)m->ram;
	m->kvm = anykvm_open();
	m->vm = anykvm_ioctl(m->kvm, KVM_CREATE_VM, 0);
	assert_int_equal(anykvm_ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&slot), 0);
	m->vcpu = anykvm_ioctl(m->vm, KVM_CREATE_VCPU, 0);
	m->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	anykvm_ioctl(m->vcpu, KVM_GET_SREGS, (unsigned long)&sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	anykvm_ioctl(m->vcpu, KVM_SET_SREGS, (unsigned long)&sregs);
	anykvm_ioctl(m->vcpu, KVM_SET_REGS, (unsigned long)&regs);
	for (int i = 0; i < 4; i++)
		assert_int_equal(anykvm_ioctl(m->vcpu, KVM_RUN, 0), 0);
}

static void stop(struct machine *m)
{
	munmap(m->run, 4096);
	munmap(m->ram, RAM_SIZE);
	anykvm_close(m->vcpu);
	anykvm_close(m->vm);
	anykvm_close(m->kvm);
}

static uint64_t value_of(const struct stat_image *from, const char *name)
{
	for (unsigned i = 0; i < from->count; i++)
		if (strcmp(from->counter[i].name, name) == 0)
			return from->counter[i].value;
	fail_msg("no counter %s", name);
	return 0;
}

static void test_found(void **state)
{
	struct machine m;
	char id[64];

	(void)state;
	start(&m);
	assert_int_equal(stat_find(getpid(), vms), 1);
	assert_int_equal(vms[0].vcpus, 1);
	assert_string_equal(vms[0].program, "test_stat");
	assert_int_equal(stat_read(&vms[0], -1, &image), 0);
	assert_int_equal(value_of(&image, "memslots_changed"), 1);
	assert_int_equal(stat_read(&vms[0], 0, &image), 0);
	snprintf(id, sizeof(id), "kvm-%d/vcpu-0", (int)getpid());
	assert_string_equal(image.id, id);
	assert_int_equal(value_of(&image, "io_exits"), 3);
	assert_int_equal(value_of(&image, "halt_exits"), 1);
	assert_int_equal(value_of(&image, "user_exits"), 4);
	stat_close(vms, 1);
	stop(&m);
	assert_int_equal(stat_find(getpid(), vms), 0);
}

/* The descriptor gives the same counters, and lives longer than the vCPU's. */
static void test_descriptor(void **state)
{
	struct kvm_stats_header header;
	struct machine m;
	uint64_t exits;
	int fd;

	(void)state;
	start(&m);
	fd = anykvm_ioctl(m.vcpu, KVM_GET_STATS_FD, 0);
	assert_true(fd >= 0);
	assert_int_equal(stat_find(getpid(), vms), 1);
	assert_int_equal(stat_read(&vms[0], 0, &image), 0);
	stat_close(vms, 1);
	stop(&m);
	assert_int_equal(host_fd_read(fd, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(header.num_desc, image.count);
	assert_int_equal(host_fd_read(fd, &exits, sizeof(exits), header.data_offset), sizeof(exits));
	assert_int_equal(exits, image.counter[0].value);
	assert_int_equal(stat_find(getpid(), vms), 1);
	stat_close(vms, 1);
	anykvm_close(fd);
	assert_int_equal(stat_find(getpid(), vms), 0);
}

/* A child has its parent's descriptors and not its VM. */
static void test_child(void **state)
{
	struct machine m;
	int status;
	pid_t child;

	(void)state;
	start(&m);
	child = fork();
	if (child == 0)
		_exit(stat_find(getpid(), vms));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	stop(&m);
}

/* Another's memfd of that name with nonsense in it. */
static void test_nonsense(void **state)
{
	uint8_t nonsense[4096];
	int fd = memfd_create("anykvm-stats", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(stat_find(getpid(), vms), 0);
	memset(nonsense, 0xff, sizeof(nonsense));
	assert_int_equal(write(fd, nonsense, sizeof(nonsense)), sizeof(nonsense));
	assert_int_equal(stat_find(getpid(), vms), 0);
	close(fd);
}

/* What the program has closed behind our back is not closed again. */
static void test_closed(void **state)
{
	struct machine m;
	int mine;

	(void)state;
	start(&m);
	assert_int_equal(stat_find(getpid(), vms), 1);
	for (mine = 3; mine < 65536; mine++) {
		char path[64], link[64];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", mine);
		n = readlink(path, link, sizeof(link));
		if (mine != vms[0].fd && n > 0 && n < 64 && !strncmp(link, "/memfd:anykvm-stats", 19))
			break;
	}
	stat_close(vms, 1);
	assert_true(mine < 65536);
	assert_int_equal(dup2(0, mine), mine);
	stop(&m);
	assert_int_equal(close(mine), 0);
}

/* Handlers that translated code calls, by operation. */
static void test_handlers(void **state)
{
	struct machine m;

	(void)state;
	setenv("ANYKVM_STAT_HANDLERS", "1", 1);
	start(&m);
	unsetenv("ANYKVM_STAT_HANDLERS");
	assert_int_equal(stat_find(getpid(), vms), 1);
	assert_int_equal(stat_read(&vms[0], 0, &image), 0);
	value_of(&image, "handler_CPUID");
	stat_close(vms, 1);
	stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
