/* SPDX-License-Identifier: GPL-2.0-only */
/* Trap flag, debug registers, interrupt shadows; modified code; x87 and SSE exceptions, state saving. */
#include "tests/payload/case.inc"

#define STEP_ON pushf; orb $1, 1(%esp); popf
#define STEP_OFF pushf; andb $~1, 1(%esp); popf
#define STEP(name, mode, ...) CASE debug/step-name, mode, cont=16; STEP_ON; __VA_ARGS__; nop; STEP_OFF; END
#define STEP64(name, ...) STEP(name, LONG, __VA_ARGS__)
STEP(nop, P32, nop; inc %eax)
STEP64(nop64, nop; inc %eax)
STEP64(rep, mov $3, %ecx; rep stosb; nop)
STEP64(rep-zero, xor %ecx, %ecx; rep stosb; nop)
STEP64(repe, mov $3, %ecx; mov %rsi, %rdi; repe cmpsb; nop)
STEP64(mov-ss, mov %ss, %eax; mov %eax, %ss; nop; nop)
STEP64(mov-ss-twice, mov %ss, %eax; mov %eax, %ss; mov %eax, %ss; nop; nop)
STEP(pop-ss, P32, push %ss; pop %ss; nop; nop)
STEP64(sti, sti; nop; cli; nop)
STEP64(pushf, pushf; pop %rax; nop)
STEP64(popf-clears, STEP_OFF; nop; nop)
STEP64(int3, int3; nop)
STEP64(int, int $0x50; nop)
STEP64(iret, push $KDATA; push $STACK; push $0x2; push $K64; push $ADDR(3f); iretq; 3: nop; nop)
STEP64(iret-sets, push $KDATA; push $STACK; push $0x102; push $K64; push $ADDR(3f); iretq; 3: nop; nop)
STEP64(fault, ud2)
STEP64(cpuid, mov $0x80000000, %eax; cpuid; nop)
STEP64(rdmsr, mov $0x277, %ecx; rdmsr; nop)
STEP64(in, in $0x70, %al; nop)
STEP64(mmio, mov MMIO_LA, %eax; nop)
STEP64(mmio-write, mov %eax, MMIO_LA; nop)
STEP64(jmp, jmp 3f; nop; 3: nop)
STEP64(call, call 3f; 3: pop %rax)
STEP64(mov-cr, mov %cr0, %rax; mov %rax, %cr0; nop)
STEP64(fpu, fld1; fstp %st(0); addps %xmm0, %xmm1)
STEP64(loop, mov $2, %ecx; 3: loop 3b; nop)
STEP64(sysret, mov $ADDR(3f), %ecx; mov $2, %r11d; sysretq; 3: nop)
STEP64(xchg, xchg %rax, (%rbx); lock incl (%rbx))
CASE debug/step-syscall, LONG, cpl=3, cont=3
	movl $0xf4909090, CODE_USER
	pushf
	orb $1, 1(%rsp)
	popf
	syscall
END
CASE debug/step-real, REAL, cont=12
	pushf
	pop %ax
	or $0x100, %ax
	push %ax
	popf
	nop
	mov %ss, %ax
	mov %ax, %ss
	nop
	nop
	pushf
	pop %ax
	and $~0x100, %ax
	push %ax
	popf
END
CASE debug/step-v86, V86, cont=5, fl=FL_IOPL
	pushf
	pop %ax
	or $0x100, %ax
	push %ax
	popf
	nop
	int $0x50
	nop
END

/* ---- breakpoints --------------------------------------------------------------------------------- */

.macro BREAK addr, dr7
	mov $\addr, %eax
	mov %rax, %dr0
	mov $\dr7, %eax
	mov %rax, %dr7
.endm
CASE debug/exec, LONG, cont=3
	BREAK ADDR(1f), 0x401
	nop
1:	inc %ecx
	nop
END
CASE debug/exec-rf, LONG, cont=3
	BREAK ADDR(1f), 0x401
	push $KDATA
	push $STACK
	push $0x10002
	push $K64
	push $ADDR(1f)
	iretq
1:	inc %ecx
	nop
END
CASE debug/exec-global, LONG, cont=1
	BREAK ADDR(1f), 0x402
	nop
1:	nop
END
CASE watch/write1, LONG, cont=3
	BREAK DATA + 4, 0x10401
	mov %cl, DATA + 4
	mov DATA + 4, %cl
	mov %ecx, DATA + 1
	mov %ecx, DATA
END
CASE watch/write4, LONG, cont=4
	BREAK DATA + 4, 0xd0401
	mov %cl, DATA + 7
	mov %cl, DATA + 8
	mov %rdx, DATA
	nop
END
CASE watch/write8, LONG, cont=4
	BREAK DATA, 0x90401
	mov %cl, DATA + 7
	mov %cl, DATA + 8
	nop
END
CASE watch/read-write, LONG, cont=4
	BREAK DATA + 4, 0xf0401
	mov DATA + 4, %cl
	mov %cl, DATA + 4
	cmpb $1, DATA + 6
	nop
END
CASE watch/io-off, LONG, cont=3
	BREAK 0x70, 0x20401
	in $0x70, %al
	nop
END
CASE watch/io, LONG, cont=3, cr4=CR4_DE
	BREAK 0x70, 0x20401
	in $0x70, %al
	out %al, $0x71
	out %al, $0x70
	nop
END
CASE watch/data-rep, LONG, cont=4
	BREAK DATA + 0x802, 0x10401
	mov $5, %ecx
	rep stosb
	nop
END
CASE watch/data-push, LONG, cont=2
	BREAK (STACK-8), 0x90401
	push %rcx
	nop
END
CASE watch/data-mov-ss, LONG, cont=2
	BREAK DATA, 0x30401
	movl $KDATA, DATA
	mov DATA, %ss
	nop
	nop
END
CASE debug/gd, LONG, cont=1
	mov $0x2400, %eax
	mov %rax, %dr7
	mov %dr0, %rcx
	nop
END
CASE debug/gd-write, LONG
	mov $0x2400, %eax
	mov %rax, %dr7
	mov %rax, %dr3
END
CASE debug/dr4-alias, LONG
	mov $0xffff0ff0, %eax
	.byte 0x0f, 0x23, 0xe0
	.byte 0x0f, 0x21, 0xe9
END
CASE debug/dr4-de, LONG, cr4=CR4_DE
	.byte 0x0f, 0x21, 0xe1
END
CASE debug/dr8, LONG
	.byte 0x44, 0x0f, 0x21, 0xc1
END
CASE debug/dr7-high, LONG
	movabs $0x100000400, %rax
	mov %rax, %dr7
END
CASE debug/dr6-high, LONG
	movabs $0x1ffff0ff0, %rax
	mov %rax, %dr6
END
CASE debug/dr6-bits, LONG
	mov $-1, %eax
	mov %rax, %dr6
	mov %dr6, %rcx
	xor %eax, %eax
	mov %rax, %dr6
	mov %dr6, %rdx
END
CASE debug/dr7-bits, LONG
	mov $0xffffffff & ~0x20ff, %eax
	mov %rax, %dr7
	mov %dr7, %rcx
	xor %eax, %eax
	mov %rax, %dr7
	mov %dr7, %rdx
END
CASE debug/dr-user, LONG, cpl=3
	mov %dr0, %rax
END
CASE debug/dr-rexw-canonical, LONG
	movabs $0x800000000000, %rax
	mov %rax, %dr0
	mov %dr0, %rcx
END
CASE debug/dr6-sticky, LONG, cont=1
	mov $0xffff0ff3, %eax
	mov %rax, %dr6
	pushf
	orb $1, 1(%rsp)
	popf
	STEP_OFF
END

/* ---- shadows: exceptions and traps behind MOV SS and STI ----------------------------------------- */

CASE debug/shadow-sti, LONG
	sti
	hlt
END
CASE debug/shadow-mov-ss, LONG
	mov %ss, %eax
	mov %eax, %ss
	hlt
END
CASE debug/shadow-lss, P32
	movl $STACK, (%ebx)
	movl $KDATA, 4(%ebx)
	lss (%ebx), %esp
	hlt
END
CASE debug/shadow-sti-twice, LONG
	sti
	sti
	hlt
END
CASE debug/shadow-pop-ss, P32
	push %ss
	pop %ss
	hlt
END
CASE debug/shadow-int3, LONG
	mov %ss, %eax
	mov %eax, %ss
	int3
END

/* ---- modified code ------------------------------------------------------------------------------- */

CASE code/next, LONG
	movb $0x41, ADDR(1f) + 2
1:	mov $0x11223344, %eax
	.byte 0x90
END
CASE code/next-loop, LONG
	mov $5, %ecx
	xor %edx, %edx
1:	incb ADDR(2f) + 1
2:	mov $0, %al
	movzbl %al, %eax
	add %eax, %edx
	loop 1b
END
CASE code/behind, LONG
	mov $3, %ecx
1:	movb $0x90, ADDR(2f)
2:	inc %eax
	loop 1b
END
CASE code/rep-movs-over-self, LONG
	mov $ADDR(1f), %edi
	mov $ADDR(2f), %esi
	mov $4, %ecx
	rep movsb
1:	mov $1, %al
	mov $2, %al
	hlt
2:	mov $3, %ah
	mov $4, %ah
END
CASE code/crossing-page, LONG
	/* an instruction over a page boundary; its second half is changed */
	mov $CODE_USER + 0xffd, %edi
	movl $0x443322b8 & 0xffffff | 0xb8, (%rdi)
	movl $0x222222b8, (%rdi)
	movl $0xc3332222, 4(%rdi)
	call *%rdi
	mov %eax, %ecx
	movb $0x77, 3(%rdi)
	call *%rdi
END
CASE code/alias, LONG
	/* the same page by two linear addresses */
	movl $CODE_USER + 7, TABLES + 0x3000 + 2 * 0x1000
	movl $0xc390c0ff, CODE_USER
	mov $CODE_USER, %ebx
	call *%rbx
	movb $0xc8, TEST_LA + 1
	call *%rbx
END
CASE code/remap, LONG
	movl $CODE_USER + 7, TABLES + 0x3000 + 2 * 0x1000
	movl $0xc390c0ff, CODE_USER
	movl $0xc390c8ff, CODE_USER + 0x1000
	mov $TEST_LA, %ebx
	call *%rbx
	call *%rbx
	movl $CODE_USER + 0x1007, TABLES + 0x3000 + 2 * 0x1000
	invlpg (%rbx)
	call *%rbx
END
CASE code/same-bytes-other-mode, LONG
	/* 48 ff c0: inc %rax here, dec %eax; inc %eax in compatibility mode */
	movl $0xc3c0ff48, CODE_USER
	mov $CODE_USER, %ebx
	call *%rbx
	call *%rbx
	movl $ADDR(1f), (%rbx)
	movl $0xc3c0ff48, (%rbx)
	movl $ADDR(1f), DATA
	movl $K32, DATA + 4
	ljmp *DATA
	.code32
1:	call *%ebx
	.code64
END
CASE code/push-over, LONG
	mov $ADDR(1f) + 8, %rsp
	movabs $0x9090909090c0ff90, %rcx
	push %rcx
1:	.fill 8, 1, 0x90
	mov $STACK, %esp
END
CASE code/xmm-store-over, LONG
	movdqu DATA + 0x10, %xmm1
	movabs $0x90909090c0ff48f8, %rcx
	movq %rcx, %xmm1
	movq %xmm1, ADDR(1f)
1:	.fill 8, 1, 0x90
END
CASE code/user-writes, LONG, cpl=3
	mov $4, %ecx
1:	incb ADDR(2f) + 1
2:	mov $0, %al
	loop 1b
END
CASE code/real-prefetch, REAL
	mov $3, %cx
1:	incb %cs:2f - case_start + CODE + 1
2:	mov $0, %al
	loop 1b
END

/* ---- x87, SSE, state ----------------------------------------------------------------------------- */

CASE fpu/div-zero-ne, LONG
	movw $0x340, (%rbx)
	fldcw (%rbx)
	fld1
	fldz
	fdivrp
	nop
	fnop
END
CASE fpu/div-zero-wait, LONG
	movw $0x340, (%rbx)
	fldcw (%rbx)
	fld1
	fldz
	fdivrp
	fnstsw %ax
	fwait
END
CASE fpu/div-zero-no-ne, LONG
	mov %cr0, %rax
	btr $5, %rax
	mov %rax, %cr0
	movw $0x340, (%rbx)
	fldcw (%rbx)
	fld1
	fldz
	fdivrp
	fnstsw %ax
	and $0xff, %eax
END
CASE fpu/xm, LONG
	movl $0x1d80, (%rbx)
	ldmxcsr (%rbx)
	xorps %xmm0, %xmm0
	mov $1, %eax
	cvtsi2ss %eax, %xmm1
	divss %xmm0, %xmm1
END
CASE fpu/xm-masked-flags, LONG
	xorps %xmm0, %xmm0
	mov $1, %eax
	cvtsi2ss %eax, %xmm1
	divss %xmm0, %xmm1
	stmxcsr (%rbx)
	mov (%rbx), %eax
END
CASE fpu/xm-no-osxmmexcpt, LONG
	mov %cr4, %rax
	btr $10, %rax
	mov %rax, %cr4
	movl $0x1d80, (%rbx)
	ldmxcsr (%rbx)
	xorps %xmm0, %xmm0
	mov $1, %eax
	cvtsi2ss %eax, %xmm1
	divss %xmm0, %xmm1
END
CASE fpu/no-osfxsr, LONG
	mov %cr4, %rax
	btr $9, %rax
	mov %rax, %cr4
	addps %xmm0, %xmm1
END
CASE fpu/ldmxcsr-bad, LONG
	movl $0x10000, (%rbx)
	ldmxcsr (%rbx)
END
CASE fpu/fxrstor-bad-mxcsr, LONG
	fxsave (%rbx)
	movl $0x12345, 24(%rbx)
	fxrstor (%rbx)
END
CASE fpu/fxsave-unaligned, LONG
	fxsave 8(%rbx)
END
CASE fpu/fxsave-image, LONG
	fld1
	fxsave64 (%rbx)
	mov (%rbx), %eax
	mov 24(%rbx), %ecx
	mov 160(%rbx), %rdx
	mov 32(%rbx), %rsi
	movzwl 40(%rbx), %edi
END
CASE fpu/fxsave-absent, LONG
	fxsave TEST_LA
END
CASE fpu/fxsave-crossing-absent, LONG
	movl $TEST_PA + 7, TABLES + 0x3000 + 2 * 0x1000
	fxsave TEST_LA + 0xf00
END
CASE fpu/fxsave-ts, LONG, cr0=CR0_TS
	fxsave (%rbx)
END
CASE fpu/fxsave-em, LONG, cr0=CR0_EM
	fxsave (%rbx)
END
CASE fpu/xsave-off, LONG
	xsave (%rbx)
END
.macro XSETUP mask
	xor %ecx, %ecx
	xor %edx, %edx
	mov $\mask, %eax
	xsetbv
	mov $7, %eax
.endm
CASE fpu/xsave, LONG, cr4=CR4_OSXSAVE
	movq $0, 512(%rbx)
	movq $0, 520(%rbx)
	XSETUP 7
	xsave (%rbx)
	mov 512(%rbx), %rcx
	mov 160(%rbx), %rsi
END
CASE fpu/xsave-unaligned, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	xsave 32(%rbx)
END
CASE fpu/xrstor-header, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	xsave (%rbx)
	movq $1, 520(%rbx)
	xrstor (%rbx)
END
CASE fpu/xrstor-xstate-bad, LONG, cr4=CR4_OSXSAVE
	XSETUP 3
	movq $4, 512(%rbx)
	movq $0, 520(%rbx)
	movq $0, 528(%rbx)
	xrstor (%rbx)
END
CASE fpu/xrstor-init, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	movl $0x1f80, 24(%rbx)
	movq $0, 512(%rbx)
	movq $0, 520(%rbx)
	movq $0, 528(%rbx)
	xrstor (%rbx)
	movq %xmm3, %rcx
	movq %xmm15, %rdx
END
CASE fpu/xrstor-bad-mxcsr, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	movl $0xfffff, 24(%rbx)
	movq $2, 512(%rbx)
	movq $0, 520(%rbx)
	movq $0, 528(%rbx)
	xrstor (%rbx)
END
CASE fpu/avx-needs-xcr0, LONG, cr4=CR4_OSXSAVE
	vxorps %ymm0, %ymm0, %ymm0
END
CASE fpu/avx, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	vxorps %ymm0, %ymm0, %ymm0
	vmovq %xmm0, %rcx
END
CASE fpu/avx-ts, LONG, cr4=CR4_OSXSAVE
	XSETUP 7
	mov %cr0, %rax
	bts $3, %rax
	mov %rax, %cr0
	vxorps %ymm0, %ymm0, %ymm0
END
CASE fpu/avx-real, REAL, cr4=CR4_OSXSAVE
	XSETUP 7
	.byte 0xc5, 0xfc, 0x57, 0xc0
END
CASE fpu/emms-mmx, LONG
	movq (%rbx), %mm1
	fnstsw %ax
	fnstenv (%rbx)
	movzwl 8(%rbx), %ecx
	emms
	fnstenv (%rbx)
	movzwl 8(%rbx), %edx
END
CASE fpu/stack-overflow, LONG
	.rept 9
	fld1
	.endr
	fnstsw %ax
END
