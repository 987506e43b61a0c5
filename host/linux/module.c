// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading, and the device nodes. */
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include "engine/engine.h"
#include "engine/svm/module.h"
#include "host/linux/module.h"
#include "kvm/device.h"

static bool kvm_node = true;
module_param_named(kvm, kvm_node, bool, 0444);
MODULE_PARM_DESC(kvm, "provide /dev/kvm too, if nobody else does (default: Y)");

struct workqueue_struct *host_workqueue;

const struct engine_ops *engine_select(void)
{
	return &engine_svm;
}

static long device_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	return kvm_device_ioctl(request, arg);
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice anykvm_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "anykvm",
	.fops = &device_fops,
};

static struct miscdevice kvm_device = {
	.minor = KVM_MINOR,
	.name = "kvm",
	.fops = &device_fops,
};

static int __init anykvm_init(void)
{
	int r = svm_init();

	if (r)
		return r;
	r = host_cpus_watch();
	if (r)
		goto no_watch;
	host_workqueue = alloc_workqueue("anykvm", WQ_HIGHPRI, 0);
	r = host_workqueue ? misc_register(&anykvm_device) : -ENOMEM;
	if (r)
		goto no_device;
	if (kvm_node && misc_register(&kvm_device)) {
		pr_info("anykvm: /dev/kvm is taken, use /dev/anykvm\n");
		kvm_node = false;
	}
	return 0;
no_device:
	if (host_workqueue)
		destroy_workqueue(host_workqueue);
	host_cpus_unwatch();
no_watch:
	svm_exit();
	return r;
}

static void __exit anykvm_exit(void)
{
	if (kvm_node)
		misc_deregister(&kvm_device);
	misc_deregister(&anykvm_device);
	destroy_workqueue(host_workqueue);
	host_cpus_unwatch();
	svm_exit();
}

module_init(anykvm_init);
module_exit(anykvm_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The KVM API");
MODULE_VERSION(ANYKVM_VERSION);
