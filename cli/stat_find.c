// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds VMs by the memfds that their processes hold open. What is in them is another process's word: it is copied out by
 * read, not mapped, and nothing in it is believed without a look.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/stat.h"
#include "include/anykvm_stats.h"

#define LINK "/memfd:" ANYKVM_STATS_NAME
#define VCPUS_MAX 4096

struct found {
	struct stat_vm *vms;
	int count;
};

/* The last of NSpid: what the process calls itself. */
static pid_t own_pid(pid_t pid)
{
	char path[64], line[256], *last;
	pid_t own = pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6) == 0 && (last = strrchr(line, '\t')))
			own = (pid_t)atoi(last + 1);
	}
	if (f)
		fclose(f);
	return own;
}

static void program_of(struct stat_vm *vm)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)vm->pid);
	f = fopen(path, "re");
	if (!f || !fgets(vm->program, sizeof(vm->program), f))
		strcpy(vm->program, "?");
	vm->program[strcspn(vm->program, "\n")] = 0;
	/* It goes to a terminal. */
	for (char *c = vm->program; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	if (f)
		fclose(f);
}

static bool read_area(struct stat_vm *vm)
{
	struct anykvm_stats_area area;
	struct stat st;

	if (fstat(vm->fd, &st) || !S_ISREG(st.st_mode) || pread(vm->fd, &area, sizeof(area), 0) != sizeof(area) ||
	    area.magic != ANYKVM_STATS_MAGIC || area.version != ANYKVM_STATS_VERSION || area.vcpus > VCPUS_MAX)
		return false;
	vm->inode = st.st_ino;
	vm->vm = area.vm;
	vm->vcpu = area.vcpu;
	vm->stride = area.stride;
	vm->vcpus = area.vcpus;
	/* A child has the descriptors of its parent, whose the VM is. */
	return (pid_t)area.pid == own_pid(vm->pid);
}

static bool known(const struct found *found, const struct stat_vm *vm)
{
	for (int i = 0; i < found->count; i++)
		if (found->vms[i].pid == vm->pid && found->vms[i].inode == vm->inode)
			return true;
	return false;
}

static void look_at(struct found *found, int directory, pid_t pid, const char *name)
{
	struct stat_vm vm = { .pid = pid };
	char target[64];
	ssize_t n = readlinkat(directory, name, target, sizeof(target) - 1);

	if (n < 0 || found->count == STAT_VMS_MAX)
		return;
	target[n] = 0;
	if (strncmp(target, LINK, strlen(LINK)))
		return;
	vm.fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (vm.fd < 0)
		return;
	if (!read_area(&vm) || known(found, &vm)) {
		close(vm.fd);
		return;
	}
	program_of(&vm);
	found->vms[found->count++] = vm;
}

static int look_into(struct found *found, pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	if (!fds)
		return -1;
	while ((entry = readdir(fds)))
		if (isdigit((unsigned char)entry->d_name[0]))
			look_at(found, dirfd(fds), pid, entry->d_name);
	closedir(fds);
	return 0;
}

int stat_find(pid_t pid, struct stat_vm *vms)
{
	struct found found = { .vms = vms };
	struct dirent *entry;
	DIR *proc;

	if (pid) {
		if (look_into(&found, pid))
			return -1;
		return found.count;
	}
	proc = opendir("/proc");
	if (!proc)
		return -1;
	while ((entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			look_into(&found, (pid_t)atoi(entry->d_name));
	closedir(proc);
	return found.count;
}

void stat_close(struct stat_vm *vms, int count)
{
	for (int i = 0; i < count; i++)
		close(vms[i].fd);
}

/* ---- images ------------------------------------------------------------------------------------ */

static int read_at(const struct stat_vm *vm, uint64_t offset, void *to, size_t size)
{
	return pread(vm->fd, to, size, (off_t)offset) == (ssize_t)size ? 0 : -1;
}

static void copy_name(char *to, const char *from, size_t size)
{
	size_t i = 0;

	for (; i < size && i < STAT_NAME_SIZE - 1 && from[i]; i++)
		to[i] = isalnum((unsigned char)from[i]) || strchr("_-/.", from[i]) ? from[i] : '?';
	to[i] = 0;
}

static int read_counter(const struct stat_vm *vm, uint64_t base, const struct kvm_stats_header *h, unsigned i,
			struct stat_counter *counter)
{
	struct {
		struct kvm_stats_desc desc;
		char name[STAT_NAME_SIZE];
	} d = { 0 };
	size_t size = sizeof(d.desc) + h->name_size;

	if (read_at(vm, base + h->desc_offset + (uint64_t)i * size, &d, size))
		return -1;
	copy_name(counter->name, d.name, h->name_size);
	return read_at(vm, base + h->data_offset + d.desc.offset, &counter->value, sizeof(counter->value));
}

int stat_read(const struct stat_vm *vm, int vcpu, struct stat_image *image)
{
	uint64_t base = vcpu < 0 ? vm->vm : vm->vcpu + (uint64_t)vcpu * vm->stride;
	struct kvm_stats_header h;
	char id[STAT_NAME_SIZE];

	memset(image, 0, sizeof(*image));
	if (read_at(vm, base, &h, sizeof(h)) || h.name_size > STAT_NAME_SIZE ||
	    h.num_desc > sizeof(image->counter) / sizeof(image->counter[0]) || read_at(vm, base + h.id_offset, id, h.name_size))
		return -1;
	copy_name(image->id, id, h.name_size);
	for (; image->count < h.num_desc; image->count++)
		if (read_counter(vm, base, &h, image->count, &image->counter[image->count]))
			return -1;
	return 0;
}
