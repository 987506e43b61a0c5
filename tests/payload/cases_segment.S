/* SPDX-License-Identifier: GPL-2.0-only */
/* Segment registers: limits, types, expand-down, null, accessed bits, unreal mode, far loads. */
#include "tests/payload/case.inc"

#define LOAD_USE(name, selector, ...) \
	CASE segment/name, P32; mov $selector, %eax; mov %eax, %es; __VA_ARGS__; END; \
	CASE segment/name-compat, COMPAT; mov $selector, %eax; mov %eax, %es; __VA_ARGS__; END

LOAD_USE(small-read-ok, D_SMALL, mov %es:0xc, %ecx)
LOAD_USE(small-read-past, D_SMALL, mov %es:0xd, %ecx)
LOAD_USE(small-read-far, D_SMALL, mov %es:0x1000, %ecx)
LOAD_USE(small-write-past, D_SMALL, mov %cl, %es:0x10)
LOAD_USE(small-write-last, D_SMALL, mov %cl, %es:0xf)
LOAD_USE(small-wrap, D_SMALL, mov %es:0xfffffffe, %ecx)
LOAD_USE(flat-wrap, KDATA, mov %es:0xfffffffe, %ecx)
LOAD_USE(ro-write, D_RO, mov %ecx, %es:DATA)
LOAD_USE(ro-read, D_RO, mov %es:DATA, %ecx)
LOAD_USE(ro-rmw, D_RO, addl $1, %es:DATA)
LOAD_USE(code-read, K32, mov %es:DATA, %ecx)
LOAD_USE(code-write, K32, mov %ecx, %es:DATA)
LOAD_USE(xo-load, D_XO, nop)
LOAD_USE(down16-below, D_DOWN16, mov %es:0xcffc, %ecx)
LOAD_USE(down16-at, D_DOWN16, mov %es:0xcffd, %ecx)
LOAD_USE(down16-above, D_DOWN16, mov %es:0xd000, %ecx)
LOAD_USE(down16-top, D_DOWN16, mov %es:0xfffc, %ecx)
LOAD_USE(down16-over, D_DOWN16, mov %es:0xfffd, %ecx)
LOAD_USE(down16-above-top, D_DOWN16, mov %es:0x10000, %ecx)
LOAD_USE(down32-above-top, D_DOWN32, mov %es:0x10000, %ecx)
LOAD_USE(down32-below, D_DOWN32, mov %es:0x0, %ecx)
LOAD_USE(null-load, 0, nop)
LOAD_USE(null-read, 3, mov %es:DATA, %ecx)
LOAD_USE(null-write, 0, mov %ecx, %es:DATA)
LOAD_USE(absent, D_ABSENT, nop)
LOAD_USE(beyond, GDT_END, nop)
LOAD_USE(beyond-partly, GDT_END - 8, nop)
LOAD_USE(ldt-empty, 4, nop)
LOAD_USE(ldt-beyond, 0x104, nop)
LOAD_USE(tss, SEL_TSS, nop)
LOAD_USE(gate, D_GATE32, nop)
LOAD_USE(rpl3-dpl0, KDATA + 3, nop)
LOAD_USE(conf-rpl3, D_CONF + 3, mov %es:DATA, %ecx)
LOAD_USE(accessed, D_NOACC, mov GDT + D_NOACC + 4, %ecx)
LOAD_USE(string-past, D_SMALL, mov $0xe, %edi; cld; movsl)
LOAD_USE(string-rep-past, D_SMALL, mov $0x8, %edi; mov $3, %ecx; cld; rep stosl)

#define ON_STACK(name, selector, sp, ...) \
	CASE segment/name, P32; mov $selector, %eax; mov %eax, %ss; mov $sp, %esp; __VA_ARGS__; END
ON_STACK(ss-push-ok, D_SMALL, 16, push %ecx)
ON_STACK(ss-push-past, D_SMALL, 20, push %ecx)
ON_STACK(ss-pop-past, D_SMALL, 13, pop %ecx)
ON_STACK(ss-push-zero, D_SMALL, 0, push %ecx)
ON_STACK(ss-ebp-past, D_SMALL, 8, mov $0x20, %ebp; mov (%ebp), %ecx)
ON_STACK(ss-16bit-wrap, KDATA16, STACK, push %ecx)
ON_STACK(ss-16bit-zero, KDATA16, 0, push %ecx)
ON_STACK(ss-16bit-2, KDATA16, 2, push %ecx)
ON_STACK(ss-16bit-high, KDATA16, 0xffff9000, push %ecx; pop %edx)
ON_STACK(ss-enter, D_SMALL, 12, enter $4, $0)
ON_STACK(ss-enter-past, D_SMALL, 4, enter $16, $0)
ON_STACK(ss-pusha, D_SMALL, 16, pusha)
ON_STACK(ss-ro, D_RO, 0x100, nop)
ON_STACK(ss-null, 0, 0x100, nop)
ON_STACK(ss-dpl1, D_DPL1, 0x100, nop)
ON_STACK(ss-rpl1, KDATA + 1, 0x100, nop)
ON_STACK(ss-code, K32, 0x100, nop)
ON_STACK(ss-absent, D_ABSENT, 0x100, nop)
ON_STACK(ss-call-past, D_SMALL, 20, call 1f; 1: nop)

/* ---- 64-bit mode: no limits, null SS ------------------------------------------------------------- */

#define LONG64(name, privilege, ...) CASE segment/name, LONG, cpl=privilege; __VA_ARGS__; END
LONG64(long-limit-ignored, 0, mov $D_SMALL, %eax; mov %eax, %ds; mov %eax, %es; mov 0x8000, %ecx)
LONG64(long-fs-base, 0, mov $D_SMALL, %eax; mov %eax, %fs; mov %fs:0x800, %ecx)
LONG64(long-fs-null, 0, mov $D_SMALL, %eax; mov %eax, %fs; xor %eax, %eax; mov %eax, %fs; mov %fs:DATA, %ecx)
LONG64(long-ro-write, 0, mov $D_RO, %eax; mov %eax, %ds; mov %ecx, DATA)
LONG64(long-fs-ro-write, 0, mov $D_RO, %eax; mov %eax, %fs; mov %ecx, %fs:DATA)
LONG64(long-ss-null, 0, xor %eax, %eax; mov %eax, %ss; push %rcx; pop %rdx)
LONG64(long-ss-null-rpl3, 0, mov $3, %eax; mov %eax, %ss)
LONG64(long-ss-null-user, 3, mov $3, %eax; mov %eax, %ss)
LONG64(long-ss-rpl, 0, mov $UDATA + 3, %eax; mov %eax, %ss)
LONG64(long-ds-null, 3, xor %eax, %eax; mov %eax, %ds; mov DATA, %ecx)
LONG64(long-ds-kernel-user, 3, mov $KDATA, %eax; mov %eax, %ds)
LONG64(long-pop-fs, 0, push $D_SMALL; popq %fs; mov %fs:4, %ecx; pushq %fs; pop %rdx)
LONG64(long-pop-fs16, 0, push $D_SMALL; mov %rsp, %rdx; popw %fs; sub %rsp, %rdx)
LONG64(long-lss, 0, movl $STACK, (%rbx); movl $KDATA, 4(%rbx); lss (%rbx), %esp)
LONG64(long-lfs, 0, movl $0x1234, (%rbx); movl $D_SMALL, 4(%rbx); lfs (%rbx), %ecx)
LONG64(long-lgs-fault, 0, movl $0x1234, (%rbx); movl $D_ABSENT, 4(%rbx); lgs (%rbx), %ecx)
LONG64(swapgs, 0, swapgs; mov $0xc0000101, %ecx; rdmsr)
LONG64(swapgs-user, 3, swapgs)
LONG64(rdfsbase-off, 0, rdfsbase %rax)
LONG64(str-sldt, 0, str %eax; sldt %rcx; str %dx)
LONG64(smsw, 3, smsw %eax; smsw %cx)
LONG64(sgdt-long, 3, sgdt (%rbx); mov (%rbx), %rcx; movzwl 8(%rbx), %edx)
CASE segment/wrfsbase, LONG, cpl=3, cr4=CR4_FSGSBASE
	movabs $0x7f0000001000, %rax
	wrfsbase %rax
	rdfsbase %rcx
	mov $-1, %edx
	wrgsbase %edx
	rdgsbase %rsi
END
CASE segment/wrfsbase-noncanonical, LONG, cpl=3, cr4=CR4_FSGSBASE
	movabs $0x800000000000, %rax
	wrfsbase %rax
END
CASE segment/wrfsbase-compat, COMPAT, cr4=CR4_FSGSBASE
	.byte 0xf3, 0x0f, 0xae, 0xd0
END
.irp insn, sgdt, sidt
CASE segment/\insn-umip, P32, cpl=3, cr4=CR4_UMIP
	\insn (%ebx)
END
CASE segment/\insn-umip-kernel, P32, cr4=CR4_UMIP
	\insn (%ebx)
	mov (%ebx), %ecx
END
.endr
.irp insn, sldt, str, smsw
CASE segment/\insn-umip, LONG, cpl=3, cr4=CR4_UMIP
	\insn %ecx
END
CASE segment/\insn-umip-mem, LONG, cpl=3, cr4=CR4_UMIP
	\insn TEST_LA
END
CASE segment/\insn-mem, LONG, cpl=3
	\insn (%rbx)
	mov (%rbx), %ecx
END
.endr

/* ---- LDT, TR, tables ----------------------------------------------------------------------------- */

CASE segment/ldt-use, P32
	movl $0x0000ffff, LDT + 8
	movl $0x00cf9300, LDT + 12
	mov $0xc, %eax
	mov %eax, %es
	mov %es:DATA, %ecx
END
CASE segment/ldt-null-use, P32
	xor %eax, %eax
	lldt %ax
	mov $0xc, %eax
	mov %eax, %es
END
CASE segment/lldt-tss, P32
	mov $SEL_TSS, %eax
	lldt %ax
END
CASE segment/lldt-ti, P32
	mov $SEL_LDT + 4, %eax
	lldt %ax
END
CASE segment/ltr-busy, P32
	mov $SEL_TSS, %eax
	ltr %ax
END
CASE segment/ltr, P32
	mov $SEL_TSS_B, %eax
	ltr %ax
	mov GDT + SEL_TSS_B + 4, %ecx
	str %edx
END
CASE segment/ltr16, P32
	mov $SEL_TSS_C, %eax
	ltr %ax
END
CASE segment/ltr-null, P32
	xor %eax, %eax
	ltr %ax
END
CASE segment/ltr16-long, LONG
	mov $SEL_TSS_C, %eax
	ltr %ax
END
CASE segment/ltr-absent-long, LONG
	andb $0x7f, GDT + SEL_TSS_B + 5
	mov $SEL_TSS_B, %eax
	ltr %ax
END
CASE segment/lgdt-user, LONG, cpl=3
	lgdt (%rbx)
END
CASE segment/lgdt-p16, P16
	movw $0x2ff, (%bx)
	movl $0xff002000, 2(%bx)
	lgdtw (%bx)
	sgdtw (%bx)
	mov 2(%bx), %ecx
END
CASE segment/lgdt-real32, REAL
	movw $0x2ff, (%bx)
	movl $0xff002000, 2(%bx)
	data32 lgdt (%bx)
	data32 sgdt (%bx)
	mov 2(%bx), %ecx
END
CASE segment/lidt-long, LONG
	movw $0x123, (%rbx)
	movl $0x87654321, 2(%rbx)
	movl $0xffff8000, 6(%rbx)
	lidt (%rbx)
	sidt 16(%rbx)
	mov 18(%rbx), %rcx
END
CASE segment/lgdt-noncanonical, LONG
	movl $0x8000, 6(%rbx)
	lgdt (%rbx)
END
CASE segment/gdt-fault, LONG
	push $0
	push $0
	movw $0xffff, (%rsp)
	movl $TEST_LA, 2(%rsp)
	lgdt (%rsp)
	mov $0x123, %eax
	mov %eax, %es
END

/* ---- LAR, LSL, VERR, VERW, ARPL ------------------------------------------------------------------ */

.macro QUERY selector
	mov $\selector, %eax
	mov $-1, %ecx
	lar %eax, %ecx
	lahf
	push %eax
	mov $\selector, %eax
	mov $-1, %edx
	lsl %eax, %edx
	lahf
	push %eax
	mov $\selector, %eax
	verr %ax
	lahf
	mov %eax, %esi
	mov $\selector, %eax
	verw %ax
	lahf
	mov %eax, %edi
	pop %ebx
	pop %eax
.endm
.irp s, 0, KDATA, K32, U32, UDATA, D_RO, D_DOWN16, D_XO, D_CONF, D_ABSENT, SEL_TSS, SEL_LDT, SEL_TSS_C, D_GATE32, D_GATE16, D_TASKGATE, D_DPL1, D_SMALL, GDT_END, K64, 4, D_CDPL1
CASE segment/query-\s, P32
	QUERY \s
END
CASE segment/query-user-\s, P32, cpl=3
	QUERY \s
END
CASE segment/query-compat-user-\s, COMPAT, cpl=3
	QUERY \s
END
.endr
CASE segment/query-real, REAL
	lar %ax, %cx
END
CASE segment/verr-v86, V86
	verr %ax
END
CASE segment/arpl, P32
	mov $0x13, %ax
	mov $0x20, %cx
	arpl %ax, %cx
END
CASE segment/arpl-not, P32
	mov $0x10, %ax
	mov $0x23, %cx
	arpl %ax, %cx
END
CASE segment/arpl-real, REAL
	arpl %ax, %cx
END

/* ---- real and unreal mode ------------------------------------------------------------------------ */

CASE segment/real-limit, REAL
	mov 0xffff, %ax
END
CASE segment/real-limit-fetch, REAL
	movl $0x90909090, 0xfffc
	mov $0xfffe, %bx
	jmp *%bx
END
CASE segment/real-stack-wrap, REAL
	xor %sp, %sp
	push %eax
	mov %sp, %cx
END
CASE segment/real-stack-odd, REAL
	mov $1, %sp
	push %ax
END
CASE segment/real-addr32, REAL
	mov $0x12345, %ebx
	mov (%ebx), %ax
END
CASE segment/unreal, REAL
	push %ds
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	mov $KDATA, %bx
	mov %bx, %ds
	and $0xfe, %al
	mov %eax, %cr0
	pop %ds
	mov $0x12345, %ebx
	mov (%ebx), %cx
END
CASE segment/unreal-ss, REAL
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	mov $KDATA, %bx
	mov %bx, %ss
	and $0xfe, %al
	mov %eax, %cr0
	mov $0x12000, %esp
	push %cx
	pop %dx
END
CASE segment/lds-real, REAL
	lds (%bx), %cx
END
CASE segment/les-p32, P32
	movl $0x11223344, (%ebx)
	movl $UDATA, 4(%ebx)
	les (%ebx), %ecx
END
CASE segment/lds-fault-keeps, P32
	movl $0x11223344, (%ebx)
	movl $D_ABSENT, 4(%ebx)
	lds (%ebx), %ecx
END
CASE segment/v86-limit, V86
	mov 0xffff, %ax
END
CASE segment/v86-load, V86
	mov $0xf00, %ax
	mov %ax, %es
	mov %es:0, %cx
END
CASE segment/pop-ss-fault, P32
	push $D_ABSENT
	pop %ss
END
CASE segment/cs-limit, P32
	ljmp $D_C32SMALL, $(1f - case_start)
1:	mov $0xffe, %eax
	movl $0x90909090, CODE + 0xffc
	jmp *%eax
END
