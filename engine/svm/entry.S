/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * void svm_enter(u64 vmcb_phys, u64 *regs, u64 host_phys): runs the guest until its next exit.
 *
 * regs: the guest's general registers in encoding order; RAX and RSP are in the VMCB and are not touched here. host_phys:
 * the VMCB into which VMSAVE has put what VMLOAD replaces of the host's (FS, GS, TR, LDTR, their MSRs). Interrupts are off
 * on entry and on return. From CLGI to STGI nothing interrupts this processor; RFLAGS.IF is set at VMRUN, as
 * with V_INTR_MASKING it is the host's IF that lets a physical interrupt end the guest (APM vol. 2, 15.21.1).
 */
#include "host/linux/entry.h"

	.section .text, "ax"
	.globl	svm_enter
	.type	svm_enter, @function
	.p2align 4
svm_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx		/* host_phys */
	push	%rsi		/* regs */
	mov	%rdi, %rax
	clgi
	sti
	vmload	%rax
	mov	8(%rsi), %rcx
	mov	16(%rsi), %rdx
	mov	24(%rsi), %rbx
	mov	40(%rsi), %rbp
	mov	56(%rsi), %rdi
	mov	64(%rsi), %r8
	mov	72(%rsi), %r9
	mov	80(%rsi), %r10
	mov	88(%rsi), %r11
	mov	96(%rsi), %r12
	mov	104(%rsi), %r13
	mov	112(%rsi), %r14
	mov	120(%rsi), %r15
	mov	48(%rsi), %rsi
	HOST_BEFORE_GUEST
	vmrun	%rax
	vmsave	%rax
	cli
	pop	%rax		/* regs */
	mov	%rcx, 8(%rax)
	mov	%rdx, 16(%rax)
	mov	%rbx, 24(%rax)
	mov	%rbp, 40(%rax)
	mov	%rsi, 48(%rax)
	mov	%rdi, 56(%rax)
	mov	%r8, 64(%rax)
	mov	%r9, 72(%rax)
	mov	%r10, 80(%rax)
	mov	%r11, 88(%rax)
	mov	%r12, 96(%rax)
	mov	%r13, 104(%rax)
	mov	%r14, 112(%rax)
	mov	%r15, 120(%rax)
	/* Nothing of the guest's choosing stays where the host might speculate with it. */
	.rept	32
	call	1f
	int3
1:
	.endr
	add	$32 * 8, %rsp
	pop	%rax		/* host_phys */
	vmload	%rax
	HOST_AFTER_GUEST
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	stgi
	RET
	.size	svm_enter, . - svm_enter
	.section .note.GNU-stack, "", @progbits
