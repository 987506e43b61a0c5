/* SPDX-License-Identifier: GPL-2.0-only */
/* Far transfers, gates, IRET, task switches, V86 mode. */
#include "tests/payload/case.inc"

/* ---- far JMP and CALL ---------------------------------------------------------------------------- */

#define FAR(name, mode, selector) \
	CASE far/jmp-name, mode; ljmp $selector, $ADDR(1f); 1: nop; END; \
	CASE far/call-name, mode; lcall $selector, $ADDR(1f); 1: nop; END
#define FAR_USER(name, mode, selector) \
	CASE far/jmp-user-name, mode, cpl=3; ljmp $selector, $ADDR(1f); 1: nop; END; \
	CASE far/call-user-name, mode, cpl=3; lcall $selector, $ADDR(1f); 1: nop; END
#define FAR_ALL(name, selector) \
	FAR(name, P32, selector); FAR_USER(name, P32, selector); FAR(compat-name, COMPAT, selector); \
	FAR_USER(compat-name, COMPAT, selector)

FAR_ALL(same, K32)
FAR_ALL(u32, U32 + 3)
FAR_ALL(u32-rpl0, U32)
FAR_ALL(k32-rpl3, K32 + 3)
FAR_ALL(null, 0)
FAR_ALL(data, KDATA)
FAR_ALL(conforming, D_CONF)
FAR_ALL(conforming-rpl3, D_CONF + 3)
FAR_ALL(absent, D_CABSENT)
FAR_ALL(beyond, GDT_END)
FAR_ALL(ldt, SEL_LDT)
FAR_ALL(k64, K64)
FAR_ALL(dpl1, D_CDPL1)
FAR_ALL(execute-only, D_XO)

CASE far/jmp-limit, P32
	ljmp $D_C32SMALL, $0x1000
END
CASE far/call-stack-fault, P32
	mov $D_SMALL, %eax
	mov %eax, %ss
	mov $0x14, %esp
	lcall $K32, $ADDR(1f)
1:	nop
END
CASE far/jmp-16, P32
	.byte 0x66
	ljmp $K32, $ADDR(1f)
1:	nop
END
CASE far/mem-long, LONG
	movl $ADDR(1f), (%rbx)
	movl $K32, 4(%rbx)
	ljmp *(%rbx)
	.code32
1:	mov $0x123, %eax
END
CASE far/mem-call-long, LONG
	movl $ADDR(1f), (%rbx)
	movl $K32, 4(%rbx)
	lcall *(%rbx)
	nop
1:	.code32
	lret
END
CASE far/mem-call64-long, LONG
	movl $ADDR(1f), (%rbx)
	movl $K64, 4(%rbx)
	rex.w lcall *(%rbx)
	nop
1:	mov (%rsp), %rcx
	mov 8(%rsp), %rdx
END
CASE far/jmp-real, REAL
	ljmp $0x100, $(ADDR(1f) - 0x1000)
1:	push %cs
	pop %ax
END
CASE far/call-real, REAL
	lcall $0x100, $(ADDR(1f) - 0x1000)
1:	pop %ax
	pop %cx
END
CASE far/jmp-to-p32, REAL
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	push %cs
	pop %cx
	data32 ljmp $K32, $ADDR(1f)
	.code32
1:	mov $KDATA, %eax
	mov %eax, %ss
END
CASE far/back-to-real, P16
	mov %cr0, %eax
	and $~1, %al
	mov %eax, %cr0
	ljmp $0, $ADDR(1f)
1:	mov %cs, %ax
END

/* ---- call gates ---------------------------------------------------------------------------------- */

.macro GATE_TARGET bits
	movl $\bits, CODE_USER
.endm
.irp cpl, 0, 3
CASE far/gate32-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xf4909090
	lcall $D_GATE32, $0x1234
END
CASE far/gate32-params-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xf4585859		/* pop %ecx; pop %eax; pop %eax */
	push $0x11
	push $0x22
	push $0x33
	lcall $D_GATE32P, $0x1234
END
CASE far/gate16-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xf4585859
	push $0x11
	push $0x22
	lcall $D_GATE16, $0x1234
END
CASE far/gate-jmp-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xf4909090
	ljmp $D_GATE32, $0x1234
END
CASE far/gate-lret-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xcb909090
	lcall $D_GATE32, $0x1234
	push %cs
	pop %eax
END
CASE far/gate-lret-params-\cpl, P32, cpl=\cpl
	GATE_TARGET 0xf4000cca		/* lret $12 */
	push $0x11
	push $0x22
	push $0x33
	lcall $D_GATE32P, $0
	nop
END
CASE far/gate64-\cpl, LONG, cpl=\cpl
	GATE_TARGET 0xf4585859
	movl $0, (%rbx)
	movl $D_GATE64, 4(%rbx)
	lcall *(%rbx)
END
CASE far/gate64-compat-\cpl, COMPAT, cpl=\cpl
	GATE_TARGET 0xf4585859
	lcall $D_GATE64, $0
END
CASE far/gate64-lret-\cpl, LONG, cpl=\cpl

	movl $0xcb489090, CODE_USER
	movl $0, (%rbx)
	movl $D_GATE64, 4(%rbx)
	lcall *(%rbx)
	mov %cs, %eax
END
CASE far/gate16-compat-\cpl, COMPAT, cpl=\cpl
	lcall $D_GATE16, $0
END
CASE far/gate-rpl3-\cpl, P32, cpl=\cpl
	lcall $D_GATE32 + 3, $0
END
CASE far/taskgate-\cpl, COMPAT, cpl=\cpl
	lcall $D_TASKGATE, $0
END
CASE far/tss-long-\cpl, COMPAT, cpl=\cpl
	lcall $SEL_TSS_B, $0
END
.endr
CASE far/gate-dpl, P32, cpl=3
	lcall $D_GATE32 - 8 * 0, $0
END
CASE far/gate-to-data, P32
	movl $KDATA << 16, GDT + D_GATE32
	lcall $D_GATE32, $0
END
CASE far/gate-to-absent, P32
	movl $D_CABSENT << 16, GDT + D_GATE32
	lcall $D_GATE32, $0
END
CASE far/gate-absent, P32
	andb $0x7f, GDT + D_GATE32 + 5
	lcall $D_GATE32, $0
END
CASE far/gate-null-target, P32
	movl $0, GDT + D_GATE32
	lcall $D_GATE32, $0
END
CASE far/gate-to-user, P32
	movl $U32 << 16, GDT + D_GATE32
	lcall $D_GATE32, $0
END

/* ---- RETF ---------------------------------------------------------------------------------------- */

#define RETF32(name, cs, ss) \
	CASE far/retf-name, P32; push $ss; push $STACK_USER; push $cs; push $ADDR(1f); lret; 1: nop; END; \
	CASE far/iret-name, P32; push $ss; push $STACK_USER; push $0x3002; push $cs; push $ADDR(1f); iret; 1: nop; END; \
	CASE far/iretq-name, LONG; push $ss; push $STACK_USER; push $0x3002; push $cs; push $ADDR(1f); iretq; 1: nop; END; \
	CASE far/iret-compat-name, COMPAT; push $ss; push $STACK_USER; push $0x3002; push $cs; push $ADDR(1f); iret; 1: nop; END; \
	CASE far/iret-user-name, P32, cpl=3; push $ss; push $STACK_USER; push $0x3002; push $cs; push $ADDR(1f); iret; 1: nop; END

RETF32(user, U32 + 3, UDATA + 3)
RETF32(user-null-ss, U32 + 3, 0)
RETF32(user-kernel-ss, U32 + 3, KDATA)
RETF32(user-ss-rpl0, U32 + 3, UDATA)
RETF32(user-code-ss, U32 + 3, U32 + 3)
RETF32(user-absent-ss, U32 + 3, D_ABSENT + 3)
RETF32(kernel, K32, KDATA)
RETF32(k64, K64, KDATA)
RETF32(user64, U64 + 3, UDATA + 3)
RETF32(user64-null-ss, U64 + 3, 3)
RETF32(null, 0, KDATA)
RETF32(null3, 3, KDATA)
RETF32(data, KDATA, KDATA)
RETF32(rpl3-kernel, K32 + 3, UDATA + 3)
RETF32(rpl0-user, U32, UDATA)
RETF32(conf3, D_CONF + 3, UDATA + 3)
RETF32(conf0, D_CONF, KDATA)
RETF32(absent, D_CABSENT, KDATA)
RETF32(beyond, GDT_END, KDATA)
RETF32(tss, SEL_TSS_B, KDATA)

CASE far/retf-imm, P32
	push $UDATA + 3
	push $STACK_USER
	push $1
	push $2
	push $U32 + 3
	push $ADDR(1f)
	lret $8
1:	nop
END
CASE far/retfq, LONG
	push $UDATA + 3
	push $STACK_USER
	push $U64 + 3
	push $ADDR(1f)
	lretq
1:	nop
END
CASE far/retf-noncanonical, LONG
	push $K64
	movabs $0x800000000000, %rax
	push %rax
	lretq
END
CASE far/iretq-noncanonical, LONG
	push $KDATA
	push $STACK
	push $2
	push $K64
	movabs $0x800000000000, %rax
	push %rax
	iretq
END
CASE far/iretq-noncanonical-user, LONG
	push $UDATA + 3
	push $STACK_USER
	push $2
	push $U64 + 3
	movabs $0x800000000000, %rax
	push %rax
	iretq
END
CASE far/iretq-nulls-segs, LONG
	mov $KDATA, %eax
	mov %eax, %ds
	mov %eax, %fs
	mov $UDATA, %eax
	mov %eax, %es
	push $UDATA + 3
	push $STACK_USER
	push $2
	push $U64 + 3
	push $ADDR(1f)
	iretq
1:	nop
END
CASE far/iret-nt-long, LONG, fl=FL_NT
	iretq
END
CASE far/iret16, P32
	pushw $2
	pushw $K32
	pushw $ADDR(1f)
	iretw
1:	nop
END
CASE far/iret-real, REAL
	push $0x7000
	push $0
	push $ADDR(1f)
	iret
1:	pushf
	pop %ax
END
CASE far/iretd-real, REAL
	pushl $0x7ffd7
	pushl $0
	pushl $ADDR(1f)
	iretl
1:	pushfl
	pop %eax
END
.irp flags, 0x3ffd5, 0x257fd5, 0x2, 0x10002, 0x100202, 0x1c0202
CASE far/iret-flags-\flags, P32, cpl=3
	push $\flags & ~0x24100
	push %cs
	push $ADDR(1f)
	iret
1:	pushf
	pop %eax
END
CASE far/iret-flags-kernel-\flags, P32
	push $\flags & ~0x24100
	push %cs
	push $ADDR(1f)
	iret
1:	pushf
	pop %eax
END
CASE far/popf-\flags, P32, cpl=3
	push $\flags & ~0x100
	popf
	pushf
	pop %eax
END
CASE far/popf-kernel-\flags, P32
	push $\flags & ~0x4100
	popf
	pushf
	pop %eax
END
CASE far/popf16-\flags, P32
	pushw $\flags & 0xbeff
	popfw
	pushf
	pop %eax
END
CASE far/popf-real-\flags, REAL
	pushl $\flags & ~0x100
	popfl
	pushfl
	pop %eax
END
.endr

/* ---- V86 ----------------------------------------------------------------------------------------- */

.macro TO_V86 flags, ip
	push $0x11
	push $0x22
	push $0x33
	push $0x44
	push $0x1800
	push $0x4000
	push $\flags
	push $0
	push $\ip
	iret
.endm
CASE far/iret-to-v86, P32, cont=1
	TO_V86 0x20002, ADDR(1f)
1:	.code16
	int3
	nop
END
CASE far/iret-to-v86-user, P32, cpl=3
	push $0x20002
	push %cs
	push $ADDR(1f)
	iret
1:	nop
END
#define V86CASE(name, flags, control, ...) \
	CASE far/v86-name, V86, cont=1, fl=flags, cr4=control; __VA_ARGS__; END
V86CASE(cli, 0, 0, cli)
V86CASE(sti, 0, 0, sti)
V86CASE(pushf, 0, 0, pushf)
V86CASE(popf, 0, 0, popf)
V86CASE(iret, 0, 0, iret)
V86CASE(cli-iopl3, FL_IOPL, 0, cli; sti; pushf; pop %ax)
V86CASE(popf-iopl3, FL_IOPL, 0, push $0x7202; popf; pushf; pop %ax)
V86CASE(iret-iopl3, FL_IOPL, 0, push $0x7202; push $0; push $ADDR(1f); iret; 1: pushf; pop %ax)
V86CASE(pushfl-iopl3, FL_IOPL, 0, pushfl; pop %eax)
V86CASE(int-iopl3, FL_IOPL, 0, int $0x50; nop)
V86CASE(int-iopl3-closed, FL_IOPL, 0, int $0x21)
V86CASE(vme-cli, 0, CR4_VME, cli; pushf; pop %ax)
V86CASE(vme-sti, 0, CR4_VME, sti; pushf; pop %ax)
V86CASE(vme-sti-vip, FL_VIP, CR4_VME, sti)
V86CASE(vme-popf-if-vip, FL_VIP, CR4_VME, push $0x202; popf)
V86CASE(vme-popf, FL_VIF, CR4_VME, push $0x2; popf; pushf; pop %ax)
V86CASE(vme-popf-tf, 0, CR4_VME, push $0x102; popf)
V86CASE(vme-popfl, 0, CR4_VME, pushl $0x202; popfl)
V86CASE(vme-pushfl, 0, CR4_VME, pushfl)
V86CASE(vme-int-redirected, 0, CR4_VME, movw $ADDR(1f), 0x41 * 4; movw $0, 0x41 * 4 + 2; int $0x41; nop; 1: pop %ax; pop %cx; pop %dx)
V86CASE(vme-int-redirected-vif, FL_VIF, CR4_VME, movw $ADDR(1f), 0x41 * 4; int $0x41; nop; 1: pop %ax; pop %cx; pop %dx)
V86CASE(vme-int-redirected-iopl3, FL_IOPL, CR4_VME, movw $ADDR(1f), 0x41 * 4; int $0x41; nop; 1: pop %ax; pop %cx; pop %dx)
V86CASE(vme-int-not, 0, CR4_VME, int $0x50)
V86CASE(vme-int-not-iopl3, FL_IOPL, CR4_VME, int $0x50)
V86CASE(vme-int3, 0, CR4_VME, int3)
V86CASE(vme-iret, 0, CR4_VME, push $0x202; push $0; push $ADDR(1f); iret; 1: pushf; pop %ax)
V86CASE(in-denied, 0, 0, in $0x20, %al)
V86CASE(in-allowed, 0, 0, in $0x14, %al)
V86CASE(in-iopl3-denied, FL_IOPL, 0, in $0x20, %al)
V86CASE(lgdt, 0, 0, lgdtw (%bx))
V86CASE(mov-cr0, 0, 0, mov %cr0, %eax)
V86CASE(sldt, 0, 0, sldt %ax)
V86CASE(smsw, 0, 0, smsw %ax)
V86CASE(clts, 0, 0, clts)
V86CASE(mov-dr, 0, 0, mov %dr0, %eax)
V86CASE(rdmsr, 0, 0, rdmsr)
V86CASE(syscall, 0, 0, .byte 0x0f; .byte 5)
V86CASE(far-jmp, 0, 0, ljmp $0x100, $(ADDR(1f) - 0x1000); 1: push %cs; pop %ax)
V86CASE(in-word-denied, 0, 0, in $0x17, %ax)
CASE far/pvi-cli, P32, cpl=3, cr4=CR4_PVI
	cli
	pushf
	pop %eax
END
CASE far/pvi-sti, P32, cpl=3, cr4=CR4_PVI
	sti
	pushf
	pop %eax
END
CASE far/pvi-sti-vip, P32, cpl=3, cr4=CR4_PVI, fl=FL_VIP
	sti
END

/* ---- task switches ------------------------------------------------------------------------------- */

CASE far/task-jmp, P32
	movl $0xf4909090, CODE_USER
	ljmp $SEL_TSS_B, $0
END
CASE far/task-call-iret, P32
	movl $0xf490cf90, CODE_USER
	lcall $SEL_TSS_B, $0
	mov TSS_B, %ecx
	mov TSS_B + 32, %edx
	mov GDT + SEL_TSS_B + 4, %esi
END
CASE far/task-gate, P32
	movl $0xf4909090, CODE_USER
	ljmp $D_TASKGATE, $0
END
CASE far/task-int, P32
	movl $0xf4909090, CODE_USER
	movl $SEL_TSS_B << 16, IDT + 0x50 * 8
	movl $0xe500, IDT + 0x50 * 8 + 4
	int $0x50
END
CASE far/task-exception-error, P32
	movl $0xf4905890, CODE_USER		/* pop %eax */
	movl $SEL_TSS_B << 16, IDT + 13 * 8
	movl $0xe500, IDT + 13 * 8 + 4
	mov $0x1230, %eax
	mov %eax, %ds
END
CASE far/task-busy, P32
	ljmp $SEL_TSS, $0
END
CASE far/task-absent, P32
	andb $0x7f, GDT + SEL_TSS_B + 5
	ljmp $SEL_TSS_B, $0
END
CASE far/task-short-limit, P32
	movw $0x66, GDT + SEL_TSS_B
	ljmp $SEL_TSS_B, $0
END
CASE far/task-iret-nt, P32, fl=FL_NT
	movw $SEL_TSS_B, TSS
	iret
END
CASE far/task-bad-cs, P32
	movl $KDATA, TSS_B + 76
	ljmp $SEL_TSS_B, $0
END
CASE far/task-bad-ss, P32
	movl $D_RO, TSS_B + 80
	ljmp $SEL_TSS_B, $0
END
CASE far/task-bad-ldt, P32
	movl $SEL_TSS, TSS_B + 96
	ljmp $SEL_TSS_B, $0
END
CASE far/task-trap-bit, P32
	movl $0xf4909090, CODE_USER
	movb $1, TSS_B + 100
	ljmp $SEL_TSS_B, $0
END
CASE far/task-16, P32
	movl $0xf4909090, CODE_USER
	ljmp $SEL_TSS_C, $0
END
CASE far/task-saved, P32
	movl $0xf490cf90, CODE_USER
	mov $0x5a5a5a5a, %ebp
	lcall $SEL_TSS_B, $0
	mov TSS + 60, %ecx
	mov TSS + 32, %edx
	mov TSS + 36, %esi
END
