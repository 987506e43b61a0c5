// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/backend.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "include/anykvm.h"

static int device_open(void)
{
	return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}

static int module_open(void)
{
	return open("/dev/anykvm", O_RDWR | O_CLOEXEC);
}

static int device_ioctl(int fd, unsigned long request, unsigned long arg)
{
	return ioctl(fd, request, arg);
}

static void device_interrupt(void)
{
	/* The kernel sees the signal by itself. */
}

const struct kvm_backend backend_kvm = {
	.name = "kvm",
	.what = "the host's KVM",
	.open = device_open,
	.ioctl = device_ioctl,
	.close = close,
	.interrupt = device_interrupt,
};

const struct kvm_backend backend_module = {
	.name = "module",
	.what = "AnyKVM's kernel module",
	.open = module_open,
	.ioctl = device_ioctl,
	.close = close,
	.interrupt = device_interrupt,
};

const struct kvm_backend backend_soft = {
	.name = "soft",
	.what = "software processor",
	.open = anykvm_open,
	.ioctl = anykvm_ioctl,
	.close = anykvm_close,
	.interrupt = anykvm_interrupt,
};

const struct kvm_backend *backend_find(const char *name)
{
	static const struct kvm_backend *const all[] = { &backend_soft, &backend_module, &backend_kvm };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
