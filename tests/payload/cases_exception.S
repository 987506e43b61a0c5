/* SPDX-License-Identifier: GPL-2.0-only */
/* Vectors and error codes, INT n and its relatives, priorities, double and triple faults. */
#include "tests/payload/case.inc"

#define ALL_MODES real, p16, p32, p32pg, pae, v86, long, compat, compat16
#define USER_MODES p32, p32pg, pae, long, compat, compat16

.macro EACH suffix, mode, cpl=0, fl=0
CASE exception/nothing-\suffix, \mode, cpl=\cpl, fl=\fl
	nop
END
CASE exception/ud2-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	ud2
END
CASE exception/int3-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	int3
	nop
END
CASE exception/int-open-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	int $0x50
	nop
END
CASE exception/int-3-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	.byte 0xcd, 3
END
CASE exception/int-closed-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	int $0x20
END
CASE exception/int-14-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	int $14
END
CASE exception/int1-\suffix, \mode, cpl=\cpl, cont=1, fl=\fl
	.byte 0xf1
END
CASE exception/div-\suffix, \mode, cpl=\cpl, fl=\fl
	xor %cx, %cx
	div %cx
END
CASE exception/idiv-overflow-\suffix, \mode, cpl=\cpl, fl=\fl
	mov $0x8000, %ax
	mov $-1, %cl
	idiv %cl
END
CASE exception/aam0-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0xd4, 0
END
CASE exception/hlt-\suffix, \mode, cpl=\cpl, fl=\fl
	nop
	hlt
	nop
END
CASE exception/cli-\suffix, \mode, cpl=\cpl, fl=\fl
	cli
	sti
	nop
	pushf
	pop %cx
END
CASE exception/nm-ts-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS
	fnop
END
CASE exception/nm-em-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_EM
	fnop
END
CASE exception/nm-wait-ts-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS
	fwait
END
CASE exception/nm-wait-mp-ts-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS|CR0_MP
	fwait
END
CASE exception/sse-em-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_EM
	xorps %xmm0, %xmm0
END
CASE exception/sse-ts-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS
	xorps %xmm0, %xmm0
END
CASE exception/mmx-em-ts-\suffix, \mode, cpl=\cpl, fl=\fl, cr0=CR0_EM|CR0_TS
	pxor %mm0, %mm0
END
CASE exception/vex-off-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0xc5, 0xf8, 0x57, 0xc0	/* vxorps without OSXSAVE; LDS in 16- and 32-bit modes is other bytes */
END
CASE exception/lock-nop-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0xf0, 0x90
END
CASE exception/lock-mov-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0xf0, 0x89, 0x07
END
CASE exception/lock-add-reg-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0xf0, 0x01, 0xc0
END
CASE exception/too-long-\suffix, \mode, cpl=\cpl, fl=\fl
	.rept 15
	.byte 0x3e
	.endr
	nop
END
CASE exception/long-15-\suffix, \mode, cpl=\cpl, fl=\fl
	.rept 14
	.byte 0x3e
	.endr
	nop
END
CASE exception/undefined-0f0a-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0x0f, 0x0a
END
CASE exception/ud1-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0x0f, 0xb9, 0xc0
END
CASE exception/mov-cs-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0x8e, 0xc8
END
CASE exception/mov-cr1-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0x0f, 0x20, 0xc8
END
CASE exception/lea-reg-\suffix, \mode, cpl=\cpl, fl=\fl
	.byte 0x8d, 0xc0
END
CASE exception/lldt-\suffix, \mode, cpl=\cpl, fl=\fl
	xor %ax, %ax
	lldt %ax
	sldt %ax
END
CASE exception/rsm-\suffix, \mode, cpl=\cpl, fl=\fl
	rsm
END
CASE exception/rdtsc-tsd-\suffix, \mode, cpl=\cpl, fl=\fl, cr4=CR4_TSD
	rdtsc
	xor %eax, %eax
	mov %eax, %edx
	ud2
END
CASE exception/rdpmc-\suffix, \mode, cpl=\cpl, fl=\fl
	mov $0x40, %cx
	rdpmc
END
CASE exception/ac-\suffix, \mode, cpl=\cpl, fl=\fl|FL_AC, cr0=CR0_AM
	nop
	mov %ax, 1(%ebp)
	nop
END
.endm

EACH real, real
EACH p16, p16
EACH p32, p32
EACH p32-user, p32, cpl=3
EACH p32-user-iopl3, p32, cpl=3, fl=FL_IOPL
EACH p32pg-user, p32pg, cpl=3
EACH pae, pae
EACH v86, v86
EACH v86-iopl3, v86, fl=FL_IOPL
EACH long, long
EACH long-user, long, cpl=3
EACH compat, compat
EACH compat-user, compat, cpl=3
EACH compat16-user, compat16, cpl=3

.irp mode, real, p16, p32, v86, compat
CASE exception/into-\mode, \mode, cont=1
	mov $0x7f, %al
	add $1, %al
	into
END
CASE exception/into-not-\mode, \mode
	mov $0x7f, %al
	add $0, %al
	into
END
CASE exception/bound-\mode, \mode, cont=1
	movw $1, (%ebx)
	movw $5, 2(%ebx)
	mov $6, %ax
	.byte 0x66
	.if \mode == real || \mode == p16 || \mode == v86
	.byte 0x67, 0x62, 0x03		/* bound %eax, (%ebx) */
	.else
	.byte 0x62, 0x03
	.endif
END
CASE exception/salc-\mode, \mode
	stc
	.byte 0xd6
END
.endr
CASE exception/into-long, LONG
	.byte 0xce
END
CASE exception/bound-long, LONG
	.byte 0x62, 0x03, 0x90, 0x90
END
CASE exception/pusha-long, LONG
	.byte 0x60
END
CASE exception/push-cs-long, LONG
	.byte 0x0e
END
CASE exception/ljmp-direct-long, LONG
	.byte 0xea, 0, 0, 0, 0, 8, 0
END
CASE exception/lds-long, LONG
	.byte 0xc5, 0x03
END

/* ---- non-canonical addresses --------------------------------------------------------------------- */

CASE exception/noncanonical-read, LONG
	movabs $0x800000000000, %rax
	mov (%rax), %rcx
END
CASE exception/noncanonical-write, LONG, cpl=3
	movabs $0x7fffffffffff, %rax
	mov %rcx, (%rax)
END
CASE exception/noncanonical-stack, LONG
	movabs $0x800000000000, %rbp
	mov (%rbp), %rcx
END
CASE exception/noncanonical-push, LONG
	movabs $0x800000000008, %rsp
	push %rax
END
CASE exception/noncanonical-fs, LONG
	mov %fs:(%rax), %rcx
END
CASE exception/noncanonical-rsp-ss-override, LONG
	movabs $0x800000000000, %rax
	mov %ss:(%rax), %rcx
END
CASE exception/noncanonical-jmp, LONG
	movabs $0x800000000000, %rax
	jmp *%rax
END
CASE exception/noncanonical-call, LONG
	movabs $0x800000000000, %rax
	call *%rax
END
CASE exception/noncanonical-ret, LONG
	movabs $0x800000000000, %rax
	push %rax
	ret
END
CASE exception/noncanonical-ret-user, LONG, cpl=3
	movabs $0x800000000000, %rax
	push %rax
	ret
END

/* ---- double and triple faults -------------------------------------------------------------------- */

.irp mode, real, p16, p32, pae, long, compat
CASE exception/no-idt-\mode, \mode
	movl $0, (%ebx)
	movl $0, 4(%ebx)
	movl $0, 8(%ebx)
	lidt (%ebx)
	ud2
END
.endr
CASE exception/df-gp-gp-p32, P32
	movl $0, IDT + 13 * 8 + 4
	mov $0xfff8, %ax
	mov %ax, %ds
END
CASE exception/df-ud-np-p32, P32
	movl $0x0e00, IDT + 6 * 8 + 4
	ud2
END
CASE exception/df-np-np-p32, P32
	movl $0x0e00, IDT + 11 * 8 + 4
	mov $D_ABSENT, %ax
	mov %ax, %ds
END
CASE exception/df-de-np-long, LONG
	movl $0x0e00, IDT + 0 * 16 + 4
	xor %ecx, %ecx
	div %ecx
END
CASE exception/df-pf-np-long, LONG
	movl $0x0e00, IDT + 14 * 16 + 4
	mov TEST_LA, %eax
END
CASE exception/df-pf-pf-long, LONG
	mov $TEST_LA + 0x800, %rsp
	mov TEST_LA, %eax
END
CASE exception/df-gp-pf-long, LONG
	mov $TEST_LA + 0x800, %rsp
	mov %fs:(%rax), %eax
END
CASE exception/df-ist-long, LONG
	movb $1, IDT + 8 * 16 + 4
	mov $TEST_LA + 0x800, %rsp
	mov TEST_LA, %eax
END
CASE exception/df-nocanon-rsp, LONG
	movabs $0x900000000000, %rsp
	mov TEST_LA, %eax
END
CASE exception/df-nocanon-rsp-ist, LONG
	movb $2, IDT + 12 * 16 + 4
	movabs $0x900000000000, %rsp
	ud2
END
CASE exception/df-stack-limit-p32, P32
	mov $D_DOWN32, %ax
	mov %ax, %ss
	mov $0xd004, %esp
	ud2
END
CASE exception/triple-gp-p32, P32
	movl $0, IDT + 13 * 8 + 4
	movl $0, IDT + 8 * 8 + 4
	mov $0xfff8, %ax
	mov %ax, %ds
END
CASE exception/triple-user-rsp0, LONG, cpl=3
	/* CPL 3 cannot change the TSS: exceptions work; INT through a bad stack is in the gate group */
	ud2
END
CASE exception/de-bad-idt-limit-long, LONG
	push %rax
	push %rax
	movw $0x7f, (%rsp)
	movl $IDT, 2(%rsp)
	movl $0, 6(%rsp)
	lidt (%rsp)
	div %ah
	ud2
	mov TEST_LA, %eax
END

/* ---- IST ----------------------------------------------------------------------------------------- */

CASE exception/ist1, LONG, cont=1
	movb $1, IDT + 6 * 16 + 4
	ud2
END
CASE exception/ist1-user, LONG, cpl=3
	ud2
END
CASE exception/ist-zero, LONG
	movb $7, IDT + 6 * 16 + 4
	ud2
END
CASE exception/ist-unaligned, LONG
	movb $2, IDT + 6 * 16 + 4
	movl $STACK_IST2 + 9, TSS + 44
	ud2
END
CASE exception/rsp-unaligned, LONG
	sub $3, %rsp
	ud2
END
CASE exception/ist-error-code, LONG
	movb $1, IDT + 13 * 16 + 4
	mov $0x1230, %ax
	mov %ax, %ds
END

/* ---- priorities ---------------------------------------------------------------------------------- */

CASE exception/prio-nm-pf, LONG, cr0=CR0_TS
	flds TEST_LA
END
CASE exception/prio-ud-lock-pf, LONG
	lock
	mov %eax, TEST_LA
END
CASE exception/prio-gp-pf, LONG, cpl=3
	lgdt TEST_LA
END
CASE exception/prio-sse-align-pf, LONG
	movaps TEST_LA + 8, %xmm0
END
CASE exception/prio-align-nm, LONG, cr0=CR0_TS
	movaps DATA + 8, %xmm0
END
CASE exception/prio-div-pf, LONG
	divl TEST_LA
END
CASE exception/prio-io-pf, LONG, cpl=3
	mov $TEST_LA, %edi
	insb
END
CASE exception/prio-ac-pf, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov TEST_LA + 1, %eax
END
CASE exception/ac-crossing, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov DATA + 0xffe, %eax
END
CASE exception/ac-stack, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	sub $4, %rsp
	push %rax
END
CASE exception/ac-movups, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	movups DATA + 4, %xmm0
END
CASE exception/ac-cmpxchg16b, LONG
	cmpxchg16b DATA + 8
END
CASE exception/ac-fxsave, LONG
	fxsave DATA + 8
END
CASE exception/ac-byte, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov DATA + 1, %al
END
CASE exception/ac-word, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov DATA + 1, %ax
END
CASE exception/ac-ok, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov DATA + 4, %eax
	mov DATA + 2, %cx
	mov DATA + 8, %rdx
	fldl DATA + 8
END
CASE exception/ac-qword, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	mov DATA + 4, %rdx
END
CASE exception/ac-fld, LONG, cpl=3, fl=FL_AC, cr0=CR0_AM
	fldl DATA + 4
END
