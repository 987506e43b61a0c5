/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest of the public interface, and its vCPU; what its memory is, its test says. Behind <cmocka.h>. */
#ifndef ANYKVM_TESTS_UNIT_GUEST_H
#define ANYKVM_TESTS_UNIT_GUEST_H

#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "include/anykvm.h"

static int kvm, vm, vcpu;
static struct kvm_run *shared;
static int shared_size;
static uint8_t *ram;

static void api(int fd, unsigned long request, void *argument)
{
	assert_int_equal(anykvm_ioctl(fd, request, (unsigned long)argument), 0);
}

static void word(unsigned where, uint64_t value)
{
	memcpy(ram + where, &value, 8);
}

static void set_cpuid(int fd)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	api(kvm, KVM_GET_SUPPORTED_CPUID, c);
	api(fd, KVM_SET_CPUID2, c);
	free(c);
}

static void open_vm(void)
{
	kvm = anykvm_open();
	vm = anykvm_ioctl(kvm, KVM_CREATE_VM, 0);
	assert_true(vm >= 0);
}

static void open_vcpu(void)
{
	vcpu = anykvm_ioctl(vm, KVM_CREATE_VCPU, 0);
	assert_true(vcpu >= 0);
	shared_size = anykvm_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	shared = mmap(NULL, (size_t)shared_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	assert_true(shared != MAP_FAILED);
	set_cpuid(vcpu);
}

static void close_vm(void)
{
	munmap(shared, (size_t)shared_size);
	anykvm_close(vcpu);
	anykvm_close(vm);
	anykvm_close(kvm);
}

#endif
