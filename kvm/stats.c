/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters. KVM_GET_STATS_FD (document, section 4.133) gives a file of a header, an id string, descriptors and values. That
 * is how the counters lie in memory, too: an image for the VM and one for each vCPU, the values of which are what is
 * counted in. They are one published area (include/anykvm_stats.h), so that `anykvm stat` sees them from outside.
 */
#include "include/anykvm_stats.h"
#include "kvm/vm.h"
#include "x86/opcodes.h"

#define NAME_SIZE 48
#define IMAGE_SIZE 32768u
#define AREA_SIZE ((2ull + VM_MAX_VCPUS) * IMAGE_SIZE)
#define MAX_DESCS (sizeof(struct vcpu_stat) / sizeof(u64))

static const char *const vm_names[] = {
#define X(name) #name,
	VM_STATS(X)
#undef X
};

static const char *const vcpu_names[] = {
#define X(name) #name,
	VCPU_STATS(X)
#undef X
};

/* A stats file: its object holds a reference to the VM, of whose memory the image is. */
struct stats {
	struct vm *vm;
	const struct kvm_stats_header *image;
	size_t size;
};

/* ---- images ------------------------------------------------------------------------------------------------- */

static size_t desc_size(void)
{
	return sizeof(struct kvm_stats_desc) + NAME_SIZE;
}

static char *put_string(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	return to;
}

static char *put_number(char *to, u32 n)
{
	if (n >= 10)
		to = put_number(to, n / 10);
	*to = (char)('0' + n % 10);
	return to + 1;
}

/* The id is "kvm-PID", and of a vCPU "kvm-PID/vcpu-ID". */
static char *begin_image(struct kvm_stats_header *header)
{
	_Static_assert(sizeof(*header) + NAME_SIZE + MAX_DESCS * (sizeof(struct kvm_stats_desc) + NAME_SIZE + sizeof(u64)) <=
			       IMAGE_SIZE, "an image holds all");
	header->name_size = NAME_SIZE;
	header->id_offset = sizeof(*header);
	header->desc_offset = header->id_offset + NAME_SIZE;
	header->data_offset = header->desc_offset + (u32)(MAX_DESCS * desc_size());
	return put_number(put_string((char *)header + header->id_offset, "kvm-"), host_process_id());
}

static void *values_of(struct kvm_stats_header *header)
{
	return (u8 *)header + header->data_offset;
}

static void describe(struct kvm_stats_header *header, const char *prefix, const char *name)
{
	struct kvm_stats_desc *d = (void *)((u8 *)header + header->desc_offset + header->num_desc * desc_size());

	d->flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10;
	d->size = 1;
	d->offset = header->num_desc * (u32)sizeof(u64);
	put_string(put_string(d->name, prefix), name);
	header->num_desc++;
}

/* ---- the area --------------------------------------------------------------------------------------------------- */

int vm_stats_create(struct vm *vm)
{
	struct anykvm_stats_area *area = host_publish(&vm->stats, ANYKVM_STATS_NAME, AREA_SIZE, 2 * IMAGE_SIZE);
	struct kvm_stats_header *image;

	if (!area)
		return -ENOMEM;
	*area = (struct anykvm_stats_area){
		.magic = ANYKVM_STATS_MAGIC, .version = ANYKVM_STATS_VERSION, .pid = host_process_id(),
		.created = host_realtime_ns(), .size = AREA_SIZE, .vm = IMAGE_SIZE, .vcpu = 2 * IMAGE_SIZE,
		.stride = IMAGE_SIZE,
	};
	image = (void *)((u8 *)area + area->vm);
	begin_image(image);
	for (unsigned i = 0; i < ARRAY_SIZE(vm_names); i++)
		describe(image, "", vm_names[i]);
	vm->stat = values_of(image);
	return 0;
}

void vm_stats_destroy(struct vm *vm)
{
	host_unpublish(&vm->stats);
}

int vcpu_stats_create(struct vcpu *vcpu)
{
	struct kvm_stats_header *image =
		host_published_part(&vcpu->vm->stats, (2ull + vcpu->index) * IMAGE_SIZE, IMAGE_SIZE);

	if (!image)
		return -ENOMEM;
	put_number(put_string(begin_image(image), "/vcpu-"), vcpu->id);
	vcpu->stat_image = image;
	vcpu->stat = values_of(image);
	return 0;
}

void vcpu_stats_describe(struct vcpu *vcpu)
{
	struct anykvm_stats_area *area = vcpu->vm->stats.p;
	struct kvm_stats_header *image = vcpu->stat_image;

	for (unsigned i = 0; i < ARRAY_SIZE(vcpu_names); i++)
		describe(image, "", vcpu_names[i]);
	for (unsigned op = 0; vcpu->count_handlers && op < X86_NR_OPS; op++)
		describe(image, "handler_", x86_op_name((enum x86_op)op));
	atomic_set_release(&area->vcpus, vcpu->index + 1);
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static long stats_read(void *object, u64 uaddr, size_t count, u64 offset)
{
	const struct stats *s = object;
	long r;

	if (offset >= s->size)
		return 0;
	count = min_u64(count, s->size - offset);
	r = host_copy_to_user(uaddr, (const u8 *)s->image + offset, count);
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

static long stats_open(struct vm *vm, const struct kvm_stats_header *image)
{
	struct stats *s = host_alloc(sizeof(*s));
	long fd;

	if (!s)
		return -ENOMEM;
	*s = (struct stats){ .vm = vm, .image = image, .size = image->data_offset + image->num_desc * sizeof(u64) };
	vm_get(vm);
	fd = host_file_create(&stats_file_ops, s, 0, NULL);
	if (fd < 0)
		stats_release(s);
	return fd;
}

static long vm_get_stats_fd(void *object, unsigned long arg)
{
	struct vm *vm = object;

	(void)arg;
	return stats_open(vm, (void *)((u8 *)vm->stats.p + IMAGE_SIZE));
}

static long vcpu_get_stats_fd(void *object, unsigned long arg)
{
	struct vcpu *vcpu = object;

	(void)arg;
	return stats_open(vcpu->vm, vcpu->stat_image);
}

const struct ioctl_row vm_stats_ioctls[] = {
	{ KVM_GET_STATS_FD, vm_get_stats_fd },
	{ 0, NULL },
};

const struct ioctl_row vcpu_stats_ioctls[] = {
	{ KVM_GET_STATS_FD, vcpu_get_stats_fd },
	{ 0, NULL },
};
