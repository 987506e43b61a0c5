/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/kvm itself: the system ioctls. */
#include "kvm/device.h"
#include "kvm/hyperv.h"
#include "kvm/vm.h"
#include "x86/system.h"

static long device_api_version(void *object, unsigned long arg)
{
	(void)object;
	return arg ? -EINVAL : KVM_API_VERSION;
}

static long device_create_vm(void *object, unsigned long arg)
{
	(void)object;
	return vm_create(arg);
}

static long device_check_extension(void *object, unsigned long arg)
{
	(void)object;
	return vm_check_extension(NULL, arg);
}

static long device_vcpu_mmap_size(void *object, unsigned long arg)
{
	(void)object;
	return arg ? -EINVAL : VCPU_MMAP_SIZE;
}

static long device_trace(void *object, unsigned long arg)
{
	(void)object;
	(void)arg;
	return -EOPNOTSUPP;
}

static long device_get_mce_cap(void *object, unsigned long arg)
{
	u64 cap = VCPU_MCE_CAP_SUPPORTED;

	(void)object;
	return host_copy_to_user(arg, &cap, sizeof(cap));
}

static long device_attr(unsigned long arg, bool get)
{
	struct kvm_device_attr attr;
	u64 value = x86_fpu_host_xcr0();

	if (host_copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	if (attr.group || attr.attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	return get ? host_copy_to_user(attr.addr, &value, sizeof(value)) : 0;
}

static long device_get_attr(void *object, unsigned long arg)
{
	(void)object;
	return device_attr(arg, true);
}

static long device_has_attr(void *object, unsigned long arg)
{
	(void)object;
	return device_attr(arg, false);
}

static const struct ioctl_row device_ioctls[] = {
	{ KVM_GET_API_VERSION, device_api_version },
	{ KVM_CREATE_VM, device_create_vm },
	{ KVM_CHECK_EXTENSION, device_check_extension },
	{ KVM_GET_VCPU_MMAP_SIZE, device_vcpu_mmap_size },
	{ KVM_TRACE_ENABLE, device_trace },
	{ KVM_TRACE_PAUSE, device_trace },
	{ KVM_TRACE_DISABLE, device_trace },
	{ KVM_X86_GET_MCE_CAP_SUPPORTED, device_get_mce_cap },
	{ KVM_GET_DEVICE_ATTR, device_get_attr },
	{ KVM_HAS_DEVICE_ATTR, device_has_attr },
	{ 0, NULL },
};

const struct ioctl_row *const device_ioctl_tables[] = {
	device_ioctls, device_msr_ioctls, device_cpuid_ioctls, device_hyperv_ioctls, NULL,
};

static long device_ioctl(void *object, unsigned int request, unsigned long arg)
{
	long r = ioctl_dispatch(device_ioctl_tables, object, request, arg);

	return r == -ENOTTY ? -EINVAL : r;
}

static void device_release(void *object)
{
	(void)object;
}

static const struct host_file_ops device_file_ops = {
	.name = "kvm",
	.ioctl = device_ioctl,
	.release = device_release,
};

long kvm_device_ioctl(unsigned int request, unsigned long arg)
{
	return device_ioctl(NULL, request, arg);
}

long kvm_device_open(void)
{
	static char the_device;

	return host_file_create(&device_file_ops, &the_device, 0, NULL);
}
