// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors: anonymous inodes that carry an object of the core's. A mapping is memory of the kernel's, which the VMM
 * gets page by page as it touches it; it lives until the file and all its mappings are gone.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/vmalloc.h>
#include "host/host.h"

struct host_file {
	const struct host_file_ops *ops;
	void *object;
	void *mapping;
	size_t mapping_size;
	void *shared; /* instead of the page at shared_at, or NULL */
	size_t shared_at;
	struct file *file;
};

static long file_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct host_file *f = file->private_data;

	return f->ops->ioctl ? f->ops->ioctl(f->object, request, arg) : -ENOTTY;
}

static ssize_t file_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct host_file *f = file->private_data;
	long n;

	if (!f->ops->read)
		return -EINVAL;
	n = f->ops->read(f->object, (__force u64)buf, count, *pos);
	if (n > 0)
		*pos += n;
	return n;
}

static vm_fault_t mapping_fault(struct vm_fault *vmf)
{
	struct host_file *f = vmf->vma->vm_file->private_data;
	bool shared = f->shared && vmf->pgoff == f->shared_at >> PAGE_SHIFT;

	if (vmf->pgoff >= f->mapping_size >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	vmf->page = vmalloc_to_page(shared ? f->shared : f->mapping + (vmf->pgoff << PAGE_SHIFT));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct mapping_vm_ops = {
	.fault = mapping_fault,
};

static bool in_dirty_ring(const struct host_file *f, unsigned long page)
{
	return page >= KVM_DIRTY_LOG_PAGE_OFFSET && page < f->mapping_size >> PAGE_SHIFT;
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct host_file *f = file->private_data;

	if (!f->mapping)
		return -ENODEV;
	/* As kvm_vcpu_mmap: the first or the last page is one of the dirty ring's, which is shared and no code. */
	if (((vma->vm_flags & VM_EXEC) || !(vma->vm_flags & VM_SHARED)) &&
	    (in_dirty_ring(f, vma->vm_pgoff) || in_dirty_ring(f, vma->vm_pgoff + vma_pages(vma) - 1)))
		return -EINVAL;
	vma->vm_ops = &mapping_vm_ops;
	return 0;
}

static void host_file_destroy(struct host_file *f)
{
	host_free_pages(f->mapping, f->mapping_size);
	host_free(f);
}

static int file_release(struct inode *inode, struct file *file)
{
	struct host_file *f = file->private_data;

	if (f->ops->release)
		f->ops->release(f->object);
	host_file_destroy(f);
	return 0;
}

static const struct file_operations host_file_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = file_ioctl,
	.read = file_read,
	.mmap = file_mmap,
	.release = file_release,
	.llseek = noop_llseek,
};

static struct host_file *host_file_new(const struct host_file_ops *ops, void *object, size_t mapping_size)
{
	struct host_file *f = host_alloc(sizeof(*f));

	if (!f)
		return NULL;
	f->ops = ops;
	f->object = object;
	f->mapping_size = mapping_size;
	if (mapping_size) {
		f->mapping = host_alloc_pages(mapping_size);
		if (!f->mapping) {
			host_free(f);
			return NULL;
		}
	}
	return f;
}

int host_file_create(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping)
{
	return host_file_create_sharing(ops, object, mapping_size, mapping, 0, NULL);
}

int host_file_create_sharing(const struct host_file_ops *ops, void *object, size_t mapping_size, void **mapping,
			     size_t offset, void *page)
{
	struct host_file *f = host_file_new(ops, object, mapping_size);
	struct file *file;
	int fd;

	if (!f)
		return -ENOMEM;
	f->shared = page;
	f->shared_at = offset;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto fail;
	file = anon_inode_getfile(ops->name, &host_file_fops, f, ops->ioctl ? O_RDWR : O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto fail;
	}
	if (ops->read)
		file->f_mode |= FMODE_PREAD;
	f->file = file;
	if (mapping)
		*mapping = f->mapping;
	fd_install(fd, file);
	return fd;
fail:
	host_file_destroy(f);
	return fd;
}

void *host_file_get(int fd, const struct host_file_ops *ops, struct host_file **out)
{
	struct file *file = fget(fd);
	struct host_file *f;

	if (!file)
		return NULL;
	f = file->private_data;
	if (file->f_op != &host_file_fops || f->ops != ops) {
		fput(file);
		return NULL;
	}
	*out = f;
	return f->object;
}

void host_file_put(struct host_file *f)
{
	if (f)
		fput(f->file);
}
