/* SPDX-License-Identifier: GPL-2.0-only */
/* The VM: its life, its ioctls, and how writers of shared state stop its vCPUs. */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/irq.h"
#include "kvm/vm.h"
#include "kvm/xen.h"

long ioctl_dispatch(const struct ioctl_row *const *tables, void *object, unsigned int request, unsigned long arg)
{
	for (; *tables; tables++) {
		for (const struct ioctl_row *row = *tables; row->handler; row++) {
			if (row->request == request)
				return row->handler(object, arg);
		}
	}
	return -ENOTTY;
}

void vm_get(struct vm *vm)
{
	atomic_add(&vm->refs, 1);
}

static void vm_destroy(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vcpu_destroy(vm->vcpu[i]);
	if (vm->ops->vm_destroy)
		vm->ops->vm_destroy(vm);
	vm_irq_destroy(vm);
	vm_xen_destroy(vm);
	vm_hyperv_destroy(vm);
	vm_clock_destroy(vm);
	vm_memory_destroy(vm);
	msr_filter_free(vm->msr_filter);
	vm_stats_destroy(vm);
	host_free(vm);
}

void vm_put(struct vm *vm)
{
	if (atomic_add(&vm->refs, -1) == 1)
		vm_destroy(vm);
}

struct vcpu *vm_vcpu(struct vm *vm, u32 index)
{
	u32 n = atomic_read_acquire(&vm->nr_vcpus);

	return index < n ? vm->vcpu[index_nospec(index, n)] : NULL;
}

struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id)
{
	struct vcpu *vcpu = vm_vcpu(vm, id); /* usually the same */

	if (vcpu && vcpu->id == id)
		return vcpu;
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->id == id)
			return vcpu;
	}
	return NULL;
}

/*
 * Two-sided handshake with vcpu_guest_enter() and the serving of VCPU_REQ_SYNC: this side makes the request and then
 * looks at `inside`; a vCPU sets `inside` and then looks at its requests. So either it sees the request before it uses
 * guest memory, or it is seen here inside and waited for until it has served a request (sync_seq moved) or left.
 */
static void sync_vcpu(struct vcpu *vcpu, u32 seq)
{
	while (atomic_read_acquire(&vcpu->inside) == VCPU_INSIDE && atomic_read_acquire(&vcpu->sync_seq) == seq)
		if (host_wait(&vcpu->sync_seq, seq, host_monotonic_ns() + 10 * 1000 * 1000) == -EINTR)
			host_yield(); /* the signal may be there to stay until the ioctl is over */
}

void vm_sync_vcpus(struct vm *vm)
{
	struct vcpu *vcpu;

	vm->stat->remote_tlb_flush++;
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		vcpu->sync_seen = atomic_read_acquire(&vcpu->sync_seq);
		vcpu_request(vcpu, VCPU_REQ_SYNC);
	}
	for (u32 i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		sync_vcpu(vcpu, vcpu->sync_seen);
	host_mutex_lock(&vm->outside); /* who had it before is done with what was */
	host_mutex_unlock(&vm->outside);
}

/* ---- ioctls ---------------------------------------------------------------------------------------------- */

static long vm_create_vcpu(void *object, unsigned long arg)
{
	return vcpu_create(object, (u32)arg);
}

/* Both addresses serve VT-x without unrestricted guest; they are accepted with the checks of KVM and not used. */
static long vm_set_tss_addr(void *object, unsigned long arg)
{
	struct vm *vm = object;

	if (arg > 0xffffffffull - 3 * 4096)
		return -EINVAL;
	atomic_set(&vm->tss_addr, arg);
	return 0;
}

static long vm_set_identity_map_addr(void *object, unsigned long arg)
{
	struct vm *vm = object;
	long r = -EINVAL;
	u64 address;

	if (host_copy_from_user(&address, arg, sizeof(address)))
		return -EFAULT;
	host_mutex_lock(&vm->lock);
	if (!vm->nr_vcpus) {
		vm->identity_map_addr = address;
		r = 0;
	}
	host_mutex_unlock(&vm->lock);
	return r;
}

static long vm_set_boot_cpu_id(void *object, unsigned long arg)
{
	struct vm *vm = object;
	long r = -EBUSY;

	host_mutex_lock(&vm->lock);
	if (!vm->nr_vcpus) {
		vm->bsp_vcpu_id = (u32)arg;
		r = 0;
	}
	host_mutex_unlock(&vm->lock);
	return r;
}

/* There are no shadow page tables whose number could be limited; KVM with nested paging keeps the figure alike. */
static long vm_set_nr_mmu_pages(void *object, unsigned long arg)
{
	struct vm *vm = object;

	if (arg < VM_MIN_MMU_PAGES)
		return -EINVAL;
	host_mutex_lock(&vm->lock);
	atomic_set(&vm->nr_mmu_pages, (u32)arg);
	vm->mmu_pages_set = true;
	host_mutex_unlock(&vm->lock);
	return 0;
}

static long vm_get_nr_mmu_pages(void *object, unsigned long arg)
{
	struct vm *vm = object;

	(void)arg;
	return atomic_read(&vm->nr_mmu_pages);
}

/* The kinds of device that KVM_CREATE_DEVICE makes are other architectures' and VFIO's. */
static long vm_create_device(void *object, unsigned long arg)
{
	struct kvm_create_device device;

	(void)object;
	return host_copy_from_user(&device, arg, sizeof(device)) ? -EFAULT : -ENODEV;
}

static const struct ioctl_row vm_ioctls[] = {
	{ KVM_SET_NR_MMU_PAGES, vm_set_nr_mmu_pages },
	{ KVM_GET_NR_MMU_PAGES, vm_get_nr_mmu_pages },
	{ KVM_CREATE_VCPU, vm_create_vcpu },
	{ KVM_SET_TSS_ADDR, vm_set_tss_addr },
	{ KVM_SET_IDENTITY_MAP_ADDR, vm_set_identity_map_addr },
	{ KVM_SET_BOOT_CPU_ID, vm_set_boot_cpu_id },
	{ KVM_CREATE_DEVICE, vm_create_device },
	{ 0, NULL },
};

const struct ioctl_row *const vm_ioctl_tables[] = {
	vm_irq_ioctls, vm_memory_ioctls, vm_dirty_ioctls, vm_clock_ioctls, vm_caps_ioctls, vm_msr_ioctls,
	vm_hyperv_ioctls, vm_xen_ioctls, vm_stats_ioctls, vm_ioctls, NULL,
};

static long vm_ioctl(void *object, unsigned int request, unsigned long arg)
{
	struct vm *vm = object;

	if (vm->mm_id != host_mm_id() || atomic_read(&vm->dead))
		return -EIO;
	return ioctl_dispatch(vm_ioctl_tables, vm, request, arg);
}

static void vm_release(void *object)
{
	vm_put(object);
}

static const struct host_file_ops vm_file_ops = {
	.name = "kvm-vm",
	.ioctl = vm_ioctl,
	.release = vm_release,
};

static int vm_init(struct vm *vm)
{
	int r;

	host_mutex_init(&vm->lock);
	host_mutex_init(&vm->outside);
	vm->refs = 1;
	vm->mm_id = host_mm_id();
	vm->ops = engine_select();
	if (!vm->ops)
		return -EOPNOTSUPP;
	r = vm_stats_create(vm);
	if (r)
		return r;
	r = vm_memory_create(vm);
	if (r)
		goto fail_stats;
	r = vm_clock_create(vm);
	if (r)
		goto fail_memory;
	r = vm_hyperv_create(vm);
	if (r)
		goto fail_clock;
	r = vm_xen_create(vm);
	if (r)
		goto fail_hyperv;
	r = vm_irq_create(vm);
	if (r)
		goto fail_xen;
	r = vm->ops->vm_create ? vm->ops->vm_create(vm) : 0;
	if (r)
		goto fail_irq;
	return 0;
fail_irq:
	vm_irq_destroy(vm);
fail_xen:
	vm_xen_destroy(vm);
fail_hyperv:
	vm_hyperv_destroy(vm);
fail_clock:
	vm_clock_destroy(vm);
fail_memory:
	vm_memory_destroy(vm);
fail_stats:
	vm_stats_destroy(vm);
	return r;
}

int vm_create(unsigned long type)
{
	struct vm *vm;
	int r;

	if (type)
		return -EINVAL;
	vm = host_alloc(sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	r = vm_init(vm);
	if (r) {
		host_free(vm);
		return r;
	}
	r = host_file_create(&vm_file_ops, vm, 0, NULL);
	if (r < 0)
		vm_put(vm);
	return r;
}
