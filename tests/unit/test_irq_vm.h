/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM for the interrupt and clock tests: vCPUs that only note what is asked of them, and a little guest
 * memory.
 */
#ifndef ANYKVM_TESTS_UNIT_TEST_IRQ_VM_H
#define ANYKVM_TESTS_UNIT_TEST_IRQ_VM_H

#include "tests/unit/test_irq_host.h"
#include "kvm/bus.h"
#include "kvm/clock.h"
#include "kvm/irq.h"
#include "kvm/irqchip.h"
#include "kvm/pv.h"
#include "kvm/xen.h"
#include "x86/system.h"

#define FAKE_RAM 0x10000u

static struct vm *vm;
static u8 fake_ram[FAKE_RAM];
static unsigned fake_resets;

struct vcpu *vm_vcpu(struct vm *v, u32 index)
{
	return index < v->nr_vcpus ? v->vcpu[index] : NULL;
}

struct vcpu *vm_vcpu_by_id(struct vm *v, u32 id)
{
	for (u32 i = 0; i < v->nr_vcpus; i++) {
		if (v->vcpu[i]->id == id)
			return v->vcpu[i];
	}
	return NULL;
}

void vcpu_request(struct vcpu *vcpu, u32 request)
{
	vcpu->requests |= request;
}

void vcpu_queue_nmi(struct vcpu *vcpu)
{
	vcpu->requests |= VCPU_REQ_NMI;
}

int vm_read_guest(struct vm *v, unsigned as_id, u64 gpa, void *dst, size_t n)
{
	(void)v;
	(void)as_id;
	if (gpa >= FAKE_RAM || n > FAKE_RAM - gpa)
		return -EFAULT;
	memcpy(dst, fake_ram + gpa, n);
	return 0;
}

int vcpu_write_guest(struct vcpu *v, unsigned as_id, u64 gpa, const void *src, size_t n)
{
	(void)v;
	(void)as_id;
	if (gpa >= FAKE_RAM || n > FAKE_RAM - gpa)
		return -EFAULT;
	memcpy(fake_ram + gpa, src, n);
	return 0;
}

int vm_write_guest(struct vm *v, unsigned as_id, u64 gpa, const void *src, size_t n)
{
	(void)v;
	return vcpu_write_guest(NULL, as_id, gpa, src, n);
}

int vm_cmpxchg_guest(struct vm *v, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	(void)v;
	return vcpu_cmpxchg_guest(NULL, as_id, gpa, old, new_value, size);
}

int vcpu_cmpxchg_guest(struct vcpu *v, unsigned as_id, u64 gpa, u64 old, u64 new_value, unsigned size)
{
	(void)v;
	(void)as_id;
	if (gpa >= FAKE_RAM || size > FAKE_RAM - gpa)
		return -EFAULT;
	if (memcmp(fake_ram + gpa, &old, size))
		return 1;
	memcpy(fake_ram + gpa, &new_value, size);
	return 0;
}

void x86_reset(struct x86_cpu *cpu, bool init)
{
	(void)cpu;
	(void)init;
	fake_resets++;
}

void x86_mode_update(struct x86_cpu *cpu)
{
	(void)cpu;
}

enum x86_result x86_raise(struct x86_cpu *cpu, enum x86_vector vector, u32 error)
{
	cpu->fault = (struct x86_exception){ .vector = (u8)vector, .error = error };
	return X86_FAULT;
}

static void engine_nothing(struct vcpu *vcpu)
{
	(void)vcpu;
}

static const struct engine_ops fake_engine = { .flush_tlb = engine_nothing, .state_changed = engine_nothing };

static inline long call(const struct ioctl_row *table, void *object, u32 request, const void *arg)
{
	while (table->handler && table->request != request)
		table++;
	assert_non_null(table->handler);
	return table->handler(object, (unsigned long)arg);
}

static inline long vm_call(u32 request, const void *arg)
{
	return call(vm_irq_ioctls, vm, request, arg);
}

static inline struct vcpu *add_vcpu(u32 id)
{
	struct vcpu *vcpu = host_alloc(sizeof(*vcpu));

	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->index = vm->nr_vcpus;
	vcpu->cpu.maxphyaddr = 40;
	vcpu->cpu.features[X86_FEAT_X2APIC / 32] |= 1u << X86_FEAT_X2APIC % 32;
	vcpu->cpu.features[X86_FEAT_TSC_DEADLINE / 32] |= 1u << X86_FEAT_TSC_DEADLINE % 32;
	vcpu->cpu.features[X86_FEAT_TSC_ADJUST / 32] |= 1u << X86_FEAT_TSC_ADJUST % 32;
	vcpu->run = host_alloc(VCPU_MMAP_SIZE);
	assert_int_equal(vcpu_clock_create(vcpu), 0);
	assert_int_equal(vcpu_xen_create(vcpu), 0);
	assert_int_equal(vcpu_irq_create(vcpu), 0);
	vcpu_irq_reset(vcpu, false);
	vcpu->requests = 0;
	vm->vcpu[vm->nr_vcpus++] = vcpu;
	return vcpu;
}

static inline void make_vm(void)
{
	memset(fake_ram, 0, sizeof(fake_ram));
	memset(fake_events, 0, sizeof(fake_events));
	fake_resets = 0;
	vm = host_alloc(sizeof(*vm));
	vm->refs = 1;
	vm->ops = &fake_engine;
	assert_int_equal(vm_clock_create(vm), 0);
	assert_int_equal(vm_xen_create(vm), 0);
	assert_int_equal(vm_irq_create(vm), 0);
}

/* Ends the VM; nothing may be left behind. */
static inline int drop_vm(void **state)
{
	(void)state;
	vm->refs = 0;
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		vcpu_irq_destroy(vm->vcpu[i]);
		vcpu_xen_destroy(vm->vcpu[i]);
		vcpu_clock_destroy(vm->vcpu[i]);
		host_free(vm->vcpu[i]->run);
		host_free(vm->vcpu[i]);
	}
	vm_irq_destroy(vm);
	vm_xen_destroy(vm);
	vm_clock_destroy(vm);
	host_free(vm);
	assert_int_equal(fake_armed(), 0);
	assert_int_equal(fake_locks_held, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fake_events); i++) {
		assert_int_equal(fake_events[i].refs, 0);
		assert_null(fake_events[i].notify);
	}
	return 0;
}

#endif
