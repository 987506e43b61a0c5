/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_GET_STATS_FD (document, section 4.133): a file of a header, an id string, descriptors and values. It is put together
 * anew for each read; the values are plain counters of the VM's or vCPU's.
 */
#include "kvm/vm.h"

#define NAME_SIZE 48

struct stat_name {
	const char *name;
};

static const struct stat_name vcpu_names[] = {
#define X(name) { #name },
	VCPU_STATS(X)
#undef X
};

static const struct stat_name vm_names[] = {
#define X(name) { #name },
	VM_STATS(X)
#undef X
};

/* One stats file: its object holds a reference to the VM. */
struct stats {
	struct vm *vm;
	const struct stat_name *names;
	const u64 *values;
	u32 count;
	char id[NAME_SIZE];
};

static size_t desc_size(void)
{
	return sizeof(struct kvm_stats_desc) + NAME_SIZE;
}

static void put_string(char *to, const char *from)
{
	for (unsigned i = 0; from[i] && i < NAME_SIZE - 1; i++)
		to[i] = from[i];
}

static char *put_number(char *to, u32 n)
{
	if (n >= 10)
		to = put_number(to, n / 10);
	*to = (char)('0' + n % 10);
	return to + 1;
}

static size_t image_size(const struct stats *s)
{
	return sizeof(struct kvm_stats_header) + NAME_SIZE + s->count * (desc_size() + sizeof(u64));
}

static void build_image(const struct stats *s, u8 *image)
{
	struct kvm_stats_header *header = (void *)image;
	u64 *values;

	header->name_size = NAME_SIZE;
	header->num_desc = s->count;
	header->id_offset = sizeof(*header);
	header->desc_offset = header->id_offset + NAME_SIZE;
	header->data_offset = header->desc_offset + (u32)(s->count * desc_size());
	put_string((char *)image + header->id_offset, s->id);
	values = (u64 *)(image + header->data_offset);
	for (u32 i = 0; i < s->count; i++) {
		struct kvm_stats_desc *d = (void *)(image + header->desc_offset + i * desc_size());

		d->flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10;
		d->size = 1;
		d->offset = i * (u32)sizeof(u64);
		put_string(d->name, s->names[i].name);
		values[i] = atomic_read(&s->values[i]);
	}
}

static long stats_read(void *object, u64 uaddr, size_t count, u64 offset)
{
	const struct stats *s = object;
	size_t size = image_size(s);
	u8 *image;
	long r;

	if (offset >= size)
		return 0;
	image = host_alloc(size);
	if (!image)
		return -ENOMEM;
	build_image(s, image);
	count = min_u64(count, size - offset);
	r = host_copy_to_user(uaddr, image + offset, count);
	host_free(image);
	return r ? r : (long)count;
}

static long stats_ioctl(void *object, unsigned int request, unsigned long arg)
{
	(void)object;
	(void)request;
	(void)arg;
	return -ENOTTY;
}

static void stats_release(void *object)
{
	struct stats *s = object;

	vm_put(s->vm);
	host_free(s);
}

static const struct host_file_ops stats_file_ops = {
	.name = "kvm-stats",
	.ioctl = stats_ioctl,
	.release = stats_release,
	.read = stats_read,
};

static long stats_open(struct stats *s)
{
	long fd;

	if (!s)
		return -ENOMEM;
	vm_get(s->vm);
	fd = host_file_create(&stats_file_ops, s, 0, NULL);
	if (fd < 0)
		stats_release(s);
	return fd;
}

static struct stats *stats_new(struct vm *vm, const struct stat_name *names, u32 count, const void *values)
{
	struct stats *s = host_alloc(sizeof(*s));

	if (s) {
		*s = (struct stats){ .vm = vm, .names = names, .count = count, .values = values, .id = "kvm-" };
		put_number(s->id + 4, host_process_id());
	}
	return s;
}

static long vm_get_stats_fd(void *object, unsigned long arg)
{
	struct vm *vm = object;

	(void)arg;
	return stats_open(stats_new(vm, vm_names, ARRAY_SIZE(vm_names), &vm->stat));
}

static long vcpu_get_stats_fd(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;
	struct stats *s = stats_new(vcpu->vm, vcpu_names, ARRAY_SIZE(vcpu_names), &vcpu->stat);
	char *end;

	(void)arg;
	if (s) {
		for (end = s->id; *end; end++)
			;
		memcpy(end, "/vcpu-", 6);
		put_number(end + 6, vcpu->id);
	}
	return stats_open(s);
}

const struct ioctl_row vm_stats_ioctls[] = {
	{ KVM_GET_STATS_FD, vm_get_stats_fd },
	{ 0, NULL },
};

const struct ioctl_row vcpu_stats_ioctls[] = {
	{ KVM_GET_STATS_FD, vcpu_get_stats_fd },
	{ 0, NULL },
};
