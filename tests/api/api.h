/* SPDX-License-Identifier: GPL-2.0-only */
/* The answers of the KVM API, one line each; the same program asks genuine KVM (tests/oracle) and AnyKVM. */
#ifndef ANYKVM_TESTS_API_H
#define ANYKVM_TESTS_API_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *ram;
};

#define RAM (64 * 4096ul)

struct machine machine_open(bool irqchip, bool vcpu);
void machine_ram(struct machine *m);	/* slot 0: RAM at 0 */
void machine_code(struct machine *m, const uint8_t *code, size_t size); /* at 0, to run from there in real mode */
/* The same as 32-bit code without paging, with these registers. */
void machine_code32(struct machine *m, int vcpu, const uint8_t *code, size_t size, const struct kvm_regs *regs);
long machine_run(struct machine *m);	/* the exit's reason, or -errno; not for signals */
/* 1, or what KVM_SET_MSRS and KVM_GET_MSRS say instead; then *value is 0. */
long machine_set_msr(struct machine *m, uint32_t index, uint64_t value);
long machine_get_msr(struct machine *m, uint32_t index, uint64_t *value);
void machine_enable_lapic(struct machine *m);	/* by its spurious interrupt vector register */
void machine_close(struct machine *m);
const char *answer(long r);		/* "ok", or the error's name; r: 0 or more, or -1 with errno */
long ask(int fd, unsigned long request, void *arg);	/* 0.. or -errno */
void tell(const char *name, long r);	/* "name: ok"; r as ask() returns it */

void test_matrix(void);
void test_slots(void);
void test_vcpus(void);
void test_fds(void);
void test_state(void);
void test_process(void);
void test_caps(void);
void test_rings(void);
void test_hyperv(void);
void test_xen(void);
void test_apic(void);
void test_chips(void);
void test_inject(void);
void test_msrs(void);
void test_lapic(void);
#endif
