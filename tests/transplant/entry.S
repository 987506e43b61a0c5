/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/transplant/guest.h"
	.text
	.globl _start
_start:
	lea	stack_top(%rip), %rsp
	xor	%edi, %edi
	call	guest_main
1:	hlt
	jmp	1b

	/* The second processor's start, copied to GUEST_BOOT: from real to long mode, with tables of its own. */
	.code16
	.globl	second, second_end
second:
	lgdtl	%cs:(second_gdt - second)
	mov	$0x506a8, %eax		# PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE, DE
	mov	%eax, %cr4
	mov	$(GUEST_HALF + GUEST_TABLES), %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	$0x80010033, %eax
	mov	%eax, %cr0
	ljmpl	$K_CODE, $second_long
	.balign	8
1:	.quad	0, 0x00209b0000000000, 0x00cf93000000ffff
second_gdt:
	.word	. - 1b - 1
	.long	GUEST_BOOT + 1b - second
second_end:
	.code64
second_long:
	mov	$K_DATA, %eax
	mov	%eax, %ss
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	lea	stack_top(%rip), %rsp
	mov	$1, %edi
	call	guest_main
1:	cli
	hlt
	jmp	1b

	/* Stubs of all vectors, 16 bytes each. */
	.balign 16
	.globl stubs
stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	!((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
	push	$0
	.endif
	push	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	cld
	call	trap
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	/* void enter_user(void (*code)(void), u64 stack): returns when the user code makes system call 0 */
	.globl	enter_user
enter_user:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, kernel_rsp(%rip)
	push	$(U_DATA | 3)
	push	%rsi
	pushfq
	orl	$0x200, (%rsp)
	push	$(U_CODE | 3)
	push	%rdi
	iretq

	/* Number in RAX, argument in RDI; result in RAX. */
	.globl	syscall_entry
syscall_entry:
	mov	%rsp, user_rsp(%rip)
	mov	kernel_rsp(%rip), %rsp
	swapgs
	test	%rax, %rax
	jz	1f
	push	%rcx
	push	%r11
	call	system_call
	pop	%r11
	pop	%rcx
	swapgs
	mov	user_rsp(%rip), %rsp
	sysretq
1:	swapgs
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	sti
	ret

	/* void faults(void): instructions whose faults the handler steps over, and mixes in */
	.globl	faults
faults:
	xor	%edx, %edx
	mov	$7, %eax
	xor	%ecx, %ecx
	div	%ecx
	.globl	after_div
after_div:
	xor	%ecx, %ecx	# DIV leaves the flags undefined
	ud2
	.globl	after_ud
after_ud:
	movabs	$0x8000000000000000, %rcx
	mov	(%rcx), %rax
	.globl	after_gp
after_gp:
	int3
	int	$0x81
	mov	$0x1234, %ecx
	shl	$16, %ecx
	cmp	%ecx, %ecx
	rdmsr
	.globl	after_msr
after_msr:
	ret

	.bss
	.balign	16
	.space	16384
	.globl	stack_top
stack_top:
kernel_rsp: .quad 0
user_rsp: .quad 0
	.section .note.GNU-stack, "", @progbits
