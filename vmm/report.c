// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kvm.h>
#include <stdio.h>

#include "vmm/machine.h"

#define CODE_BYTES 16

typedef unsigned long long ull;

static void report_regs(const struct kvm_regs *r)
{
	fprintf(stderr, "rip %016llx  rflags %08llx\n", (ull)r->rip, (ull)r->rflags);
	fprintf(stderr, "rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", (ull)r->rax, (ull)r->rbx,
		(ull)r->rcx, (ull)r->rdx);
	fprintf(stderr, "rsi %016llx  rdi %016llx  rsp %016llx  rbp %016llx\n", (ull)r->rsi, (ull)r->rdi,
		(ull)r->rsp, (ull)r->rbp);
	fprintf(stderr, "r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", (ull)r->r8, (ull)r->r9,
		(ull)r->r10, (ull)r->r11);
	fprintf(stderr, "r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", (ull)r->r12, (ull)r->r13,
		(ull)r->r14, (ull)r->r15);
}

static void report_segment(const char *name, const struct kvm_segment *s)
{
	fprintf(stderr, "%s %04x base %016llx limit %08x type %x dpl %u%s%s%s\n", name, s->selector,
		(ull)s->base, s->limit, s->type, s->dpl, s->present ? "" : " absent", s->l ? " 64-bit" : "",
		s->db ? " 32-bit" : "");
}

static void report_sregs(const struct kvm_sregs *s)
{
	report_segment("cs", &s->cs);
	report_segment("ss", &s->ss);
	report_segment("tr", &s->tr);
	fprintf(stderr, "gdt  base %016llx limit %04x   idt base %016llx limit %04x\n", (ull)s->gdt.base,
		s->gdt.limit, (ull)s->idt.base, s->idt.limit);
	fprintf(stderr, "cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %016llx\n", (ull)s->cr0, (ull)s->cr2,
		(ull)s->cr3, (ull)s->cr4);
	fprintf(stderr, "cr8 %llx  efer %llx  apic base %llx\n", (ull)s->cr8, (ull)s->efer,
		(ull)s->apic_base);
}

/* The instruction's bytes, as far as the guest's own page tables show them. */
static void report_code(const struct vcpu *vcpu, u64 rip)
{
	struct kvm_translation t = { .linear_address = rip };
	u64 size = min_u64(CODE_BYTES, 4096 - (rip & 4095));
	const u8 *code;

	if (vcpu_ioctl(vcpu, KVM_TRANSLATE, &t) < 0 || !t.valid)
		return;
	code = guest_memory_at(&vcpu->machine->memory, t.physical_address, size);
	if (!code)
		return;
	fprintf(stderr, "code");
	for (u64 i = 0; i < size; i++)
		fprintf(stderr, " %02x", code[i]);
	fprintf(stderr, "\n");
}

void vcpu_report(const struct vcpu *vcpu)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	fprintf(stderr, "anykvm: %s (vCPU %u)\n", vcpu->crash, vcpu->id);
	if (vcpu_ioctl(vcpu, KVM_GET_REGS, &regs) < 0 || vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0) {
		perror("anykvm: the vCPU's registers cannot be read");
		return;
	}
	report_regs(&regs);
	report_sregs(&sregs);
	report_code(vcpu, sregs.cs.base + regs.rip);
}
