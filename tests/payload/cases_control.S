/* SPDX-License-Identifier: GPL-2.0-only */
/* Control registers, EFER, XCR0, MSRs, SYSCALL and SYSENTER, CPUID. */
#include "tests/payload/case.inc"

/* ---- CR0, CR4, EFER, XCR0 ------------------------------------------------------------------------ */

#define WRITE_CR(cr, name, value) \
	CASE control/cr-name, LONG; mov $value, %rax; mov %rax, %cr; mov %cr, %rcx; END
.irp bit, 0, 1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 19, 28, 29, 30, 32, 63
CASE control/cr0-toggle-\bit, LONG
	mov %cr0, %rax
	btc $\bit, %rax
	mov %rax, %cr0
	mov %cr0, %rcx
END
CASE control/cr0-toggle-p32-\bit, P32
	mov %cr0, %eax
	btc $(\bit & 31), %eax
	.if \bit != 0 && \bit < 31
	mov %eax, %cr0
	mov %cr0, %ecx
	.endif
END
.endr
.irp bit, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 31, 32
CASE control/cr4-toggle-\bit, LONG
	mov %cr4, %rax
	btc $\bit, %rax
	mov %rax, %cr4
	mov %cr4, %rcx
END
.endr
CASE control/cr0-nw-without-cd, LONG
	mov %cr0, %rax
	bts $29, %rax
	mov %rax, %cr0
END
CASE control/cr0-nw-cd, LONG
	mov %cr0, %rax
	bts $29, %rax
	bts $30, %rax
	mov %rax, %cr0
END
CASE control/cr0-user, LONG, cpl=3
	mov %cr0, %rax
END
CASE control/cr8, LONG
	mov $5, %eax
	mov %rax, %cr8
	mov %cr8, %rcx
END
CASE control/cr8-16, LONG
	mov $16, %eax
	mov %rax, %cr8
END
CASE control/cr8-lock, P32
	.byte 0xf0, 0x0f, 0x20, 0xc1	/* AMD: mov %cr8, %ecx */
END
CASE control/cr2, LONG
	movabs $0x1234567812345678, %rax
	mov %rax, %cr2
	mov %cr2, %rcx
END
CASE control/lmsw-set, P32
	mov $0xf, %eax
	lmsw %ax
	mov %cr0, %ecx
	smsw %edx
END
CASE control/lmsw-clear-pe, P32
	xor %eax, %eax
	lmsw %ax
	smsw %ecx
END
CASE control/lmsw-real, REAL
	mov $1, %ax
	lmsw %ax
	smsw %ecx
END
CASE control/lmsw-user, LONG, cpl=3
	lmsw %ax
END
CASE control/clts, LONG, cr0=CR0_TS
	clts
	mov %cr0, %rcx
END
CASE control/clts-user, LONG, cpl=3, cr0=CR0_TS
	clts
END
#define EFER(name, low, high) \
	CASE control/efer-name, LONG; mov $0xc0000080, %ecx; mov $low, %eax; mov $high, %edx; wrmsr; rdmsr; END
EFER(nothing, 0x500, 0)
EFER(all, 0xd01, 0)
EFER(svme, 0x1d01, 0)
EFER(ffxsr, 0x4d01, 0)
EFER(lmsle, 0x2d01, 0)
EFER(tce, 0x8d01, 0)
EFER(bit1, 0xd03, 0)
EFER(bit9, 0xf01, 0)
EFER(high, 0xd01, 1)
EFER(no-lme, 0xc01, 0)
EFER(no-lma, 0x901, 0)
CASE control/xsetbv, LONG, cr4=CR4_OSXSAVE
	xor %ecx, %ecx
	xor %edx, %edx
	mov $7, %eax
	xsetbv
	xgetbv
END
#define XCR0(name, low, high, index) \
	CASE control/xcr0-name, LONG, cr4=CR4_OSXSAVE; mov $index, %ecx; mov $low, %eax; mov $high, %edx; xsetbv; xgetbv; END
XCR0(x87, 1, 0, 0)
XCR0(zero, 0, 0, 0)
XCR0(sse, 3, 0, 0)
XCR0(no-x87, 2, 0, 0)
XCR0(avx-no-sse, 5, 0, 0)
XCR0(mpx, 0x1f, 0, 0)
XCR0(bit63, 7, 0x80000000, 0)
XCR0(index1, 7, 0, 1)
XCR0(index2, 7, 0, 2)
CASE control/xsetbv-user, LONG, cpl=3, cr4=CR4_OSXSAVE
	xor %ecx, %ecx
	xsetbv
END
CASE control/xsetbv-off, LONG
	xor %ecx, %ecx
	xsetbv
END
CASE control/xgetbv-off, LONG
	xor %ecx, %ecx
	xgetbv
END
CASE control/xgetbv-index2, LONG, cr4=CR4_OSXSAVE
	mov $2, %ecx
	xgetbv
END
CASE control/osxsave-cpuid, LONG, cr4=CR4_OSXSAVE
	mov $1, %eax
	xor %ecx, %ecx
	cpuid
	xor %ebx, %ebx
	and $1 << 27, %ecx
END

/* ---- MSRs ---------------------------------------------------------------------------------------- */

#define MSR_WRITE(name, index, low, high) \
	CASE control/msr-name, LONG; mov $index, %ecx; mov $low, %eax; mov $high, %edx; wrmsr; \
	xor %eax, %eax; xor %edx, %edx; rdmsr; END
#define MSR_READ(name, index) \
	CASE control/rdmsr-name, LONG; mov $index, %ecx; rdmsr; END
MSR_WRITE(star, 0xc0000081, 0x12345678, 0x9abcdef0)
MSR_WRITE(lstar, 0xc0000082, 0x12345678, 0xffff8000)
MSR_WRITE(lstar-bad, 0xc0000082, 0, 0x8000)
MSR_WRITE(cstar-bad, 0xc0000083, 0, 0x8000)
MSR_WRITE(sfmask, 0xc0000084, 0xffffffff, 0)
MSR_WRITE(sfmask-high, 0xc0000084, 0xffffffff, 0xffffffff)
MSR_WRITE(fs-base, 0xc0000100, 0x1000, 0x7fff)
MSR_WRITE(fs-base-bad, 0xc0000100, 0, 0x8000)
MSR_WRITE(gs-base-bad, 0xc0000101, 0, 0x8000)
MSR_WRITE(kernel-gs-bad, 0xc0000102, 0, 0x8000)
MSR_WRITE(kernel-gs, 0xc0000102, 0x55, 0xffffffff)
MSR_WRITE(tsc-aux, 0xc0000103, 0x55, 0)
MSR_WRITE(sysenter-cs, 0x174, 0x12345678, 0x9)
MSR_WRITE(sysenter-esp-bad, 0x175, 0, 0x8000)
MSR_WRITE(sysenter-eip, 0x176, 0x12345678, 0xffffffff)
MSR_WRITE(pat, 0x277, 0x00070406, 0x00070406)
MSR_WRITE(pat-bad, 0x277, 0x00070402, 0x00070406)
MSR_WRITE(mtrr-def, 0x2ff, 0xc06, 0)
MSR_WRITE(mtrr-def-bad, 0x2ff, 0xc02, 0)
MSR_WRITE(mtrr-fix, 0x250, 0x06060606, 0x06060606)
MSR_WRITE(mtrr-fix-bad, 0x250, 0x06060602, 0x06060606)
MSR_WRITE(mtrr-base, 0x200, 0x06, 0)
MSR_WRITE(mtrr-mask, 0x201, 0x800, 0xff)
MSR_WRITE(mtrr-mask-high, 0x201, 0x800, 0xffff)
MSR_WRITE(mtrr-cap, 0xfe, 0, 0)
MSR_WRITE(unknown, 0x12345, 0, 0)
MSR_WRITE(mce-ctl, 0x400, 0xffffffff, 0xffffffff)
MSR_WRITE(mce-status, 0x401, 0, 0)
MSR_WRITE(mce-status-one, 0x401, 1, 0)
MSR_WRITE(mcg-status, 0x17a, 0, 0)
MSR_WRITE(apicbase-reserved, 0x1b, 0xfee00902, 0)
MSR_WRITE(hwcr, 0xc0010015, 0x01000000, 0)
MSR_WRITE(hwcr-bad, 0xc0010015, 0x80000000, 0)
MSR_WRITE(misc-enable, 0x1a0, 1, 0)
MSR_WRITE(platform-info, 0xce, 0, 0)
MSR_WRITE(patch, 0x8b, 0, 0)
MSR_WRITE(xss, 0xda0, 0, 0)
MSR_WRITE(spec-ctrl, 0x48, 1, 0)
MSR_WRITE(pred-cmd, 0x49, 1, 0)
MSR_WRITE(vm-cr, 0xc0010114, 0, 0)
MSR_WRITE(vm-hsave, 0xc0010117, 0x1000, 0)
MSR_WRITE(de-cfg, 0xc0011029, 0, 0)
MSR_WRITE(kvm-wall-clock, 0x4b564d00, 0xd000, 0)
MSR_WRITE(x2apic-off, 0x808, 0, 0)
MSR_WRITE(debugctl, 0x1d9, 0, 0)
MSR_WRITE(debugctl-lbr, 0x1d9, 1, 0)
MSR_WRITE(tsc-deadline, 0x6e0, 1, 0)
MSR_WRITE(smbase, 0x9e, 1, 0)
MSR_WRITE(nb-cfg, 0xc001001f, 0, 0)
MSR_WRITE(syscfg, 0xc0010010, 0, 0)
MSR_WRITE(evntsel, 0xc0010000, 0, 0)
MSR_WRITE(perfctr, 0xc0010004, 5, 0)
MSR_READ(star, 0xc0000081)
MSR_READ(unknown, 0x12345)
MSR_READ(unknown-amd, 0xc0012345)
MSR_READ(mtrrcap, 0xfe)
MSR_READ(apicbase, 0x1b)
MSR_READ(mcg-cap, 0x179)
MSR_READ(mcg-ctl, 0x17b)
MSR_READ(misc-enable, 0x1a0)
MSR_READ(platform-info, 0xce)
MSR_READ(patch-level, 0x8b)
MSR_READ(hwcr, 0xc0010015)
MSR_READ(vm-cr, 0xc0010114)
MSR_READ(syscfg, 0xc0010010)
MSR_READ(k7-clk, 0xc001001b)
MSR_READ(nb-cfg, 0xc001001f)
MSR_READ(perf-status, 0x198)
MSR_READ(ebl-cr, 0x2a)
MSR_READ(p5-addr, 0x0)
MSR_READ(p5-type, 0x1)
MSR_READ(lbr-from, 0x1db)
MSR_READ(smi-count, 0x34)
MSR_READ(feature-control, 0x3a)
MSR_READ(arch-cap, 0x10a)
MSR_READ(smm-addr, 0xc0010112)
MSR_READ(osvw, 0xc0010140)
MSR_READ(fam10h-mmio, 0xc0010058)
MSR_READ(tsc-ratio, 0xc0000104)
/* There are no performance counters: those of AMD's K7 read as 0 and take anything, all others are not there. */
MSR_READ(evntsel3, 0xc0010003)
MSR_READ(perfctr3, 0xc0010007)
MSR_READ(perf-core-ctl, 0xc0010200)
MSR_READ(perf-core-ctr5, 0xc001020b)
MSR_READ(perf-global-v2, 0xc0000301)
MSR_READ(p6-perfctr, 0xc1)
MSR_READ(p6-evntsel, 0x186)
MSR_READ(fixed-ctr, 0x309)
MSR_READ(perf-global, 0x38f)
MSR_READ(perf-capabilities, 0x345)
MSR_READ(perf-ds, 0x600)
MSR_WRITE(evntsel-on, 0xc0010000, 0x430076, 0)
MSR_WRITE(perf-core-ctl, 0xc0010200, 0, 0)
MSR_WRITE(p6-evntsel, 0x186, 0x430076, 0)
MSR_WRITE(perf-global, 0x38f, 1, 0)
#define RDPMC(name, index, ...) \
	CASE control/rdpmc-name, LONG, __VA_ARGS__; mov $index, %ecx; rdpmc; END
RDPMC(0, 0, cpl=0)
RDPMC(5, 5, cpl=0)
RDPMC(fixed, 0x40000000, cpl=0)
RDPMC(pce, 0, cpl=0, cr4=CR4_PCE)
RDPMC(user, 0, cpl=3)
RDPMC(user-pce, 0, cpl=3, cr4=CR4_PCE)
CASE control/rdmsr-user, LONG, cpl=3
	mov $0x10, %ecx
	rdmsr
END
CASE control/wrmsr-user, LONG, cpl=3
	mov $0x10, %ecx
	wrmsr
END
CASE control/rdtscp-aux, LONG
	rdtscp
	xor %eax, %eax
	xor %edx, %edx
END

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---------------------------------------------------------- */

.macro SYSCALL_TARGETS		/* must run at CPL 0: HLT at the entries */
	movb $0xf4, CODE_USER
	movb $0xf4, CODE_USER + 0x100
	movb $0xf4, CODE_USER + 0x200
.endm
CASE control/syscall-kernel, LONG
	SYSCALL_TARGETS
	stc
	syscall
END
CASE control/syscall-user, LONG, cpl=3, fl=FL_IOPL
	movb $0xf4, CODE_USER
	stc
	syscall
END
CASE control/syscall-compat, COMPAT, cpl=3
	movb $0xf4, CODE_USER + 0x100
	syscall
END
CASE control/syscall-legacy, P32, cpl=3, efer=1
	movb $0xf4, CODE_USER + 0x200
	syscall
END
CASE control/syscall-sce-off, LONG, efer=1
	syscall
END
CASE control/syscall-real, REAL
	syscall
END
CASE control/sysretq, LONG
	mov $ADDR(1f), %ecx
	mov $0x247, %r11d
	sysretq
1:	nop
END
CASE control/sysretl, LONG
	mov $ADDR(1f), %ecx
	mov $0x47, %r11d
	sysretl
1:	nop
END
CASE control/sysretq-flags, LONG
	mov $ADDR(1f), %ecx
	mov $0xffffffff & ~0x24100, %r11d
	sysretq
1:	nop
END
CASE control/sysretq-noncanonical, LONG
	movabs $0x800000000000, %rcx
	mov $2, %r11d
	sysretq
END
CASE control/sysret-user, LONG, cpl=3
	sysretq
END
CASE control/sysret-legacy, P32, efer=1
	mov $ADDR(1f), %ecx
	sysretl
1:	nop
END
CASE control/sysenter-long, LONG
	sysenter
END
CASE control/sysenter-compat, COMPAT, cpl=3
	sysenter
END
CASE control/sysenter-legacy, P32
	movb $0xf4, CODE_USER
	mov $0x174, %ecx
	mov $K32, %eax
	xor %edx, %edx
	wrmsr
	sysenter
END
CASE control/sysenter-null, P32, cpl=3
	sysenter
END
CASE control/sysenter-cs0, P32
	mov $0x174, %ecx
	xor %eax, %eax
	xor %edx, %edx
	wrmsr
	sysenter
END
CASE control/sysexit-legacy, P32
	mov $0x174, %ecx
	mov $0x10, %eax
	xor %edx, %edx
	wrmsr
	mov $ADDR(1f), %edx
	mov $STACK_USER, %ecx
	sysexit
1:	nop
END
CASE control/sysexit-long, LONG
	sysexitq
END
CASE control/sysexit-user, P32, cpl=3
	sysexit
END
CASE control/sysenter-real, REAL
	sysenter
END

/* ---- CPUID, HLT, MONITOR and other privileged things --------------------------------------------- */

.irp leaf, 0, 1, 7, 0xd, 0x80000000, 0x80000001, 0x80000008, 0x40000000, 2, 4, 5, 0xb, 0x14, 0x80000005
CASE control/cpuid-\leaf, LONG
	mov $\leaf, %eax
	xor %ecx, %ecx
	cpuid
	.if \leaf == 0x40000000
	xor %eax, %eax
	.endif
END
.endr
CASE control/cpuid-d-1, LONG
	mov $0xd, %eax
	mov $1, %ecx
	cpuid
END
CASE control/cpuid-d-2, LONG, cpl=3
	mov $0xd, %eax
	mov $2, %ecx
	cpuid
END
CASE control/cpuid-beyond, LONG
	mov $0x7fffffff, %eax
	cpuid
END
#define PRIVILEGED(name, ...) \
	CASE control/user-name, LONG, cpl=3; __VA_ARGS__; END; \
	CASE control/kernel-name, LONG; __VA_ARGS__; END
PRIVILEGED(wbinvd, wbinvd)
PRIVILEGED(invd, invd)
PRIVILEGED(monitor, mov %rbx, %rax; xor %ecx, %ecx; xor %edx, %edx; monitor)
PRIVILEGED(monitor-ecx, mov %rbx, %rax; mov $1, %ecx; monitor)
PRIVILEGED(vmrun, vmrun)
PRIVILEGED(vmmcall, xor %eax, %eax; dec %eax; vmmcall)
PRIVILEGED(vmcall, xor %eax, %eax; dec %eax; vmcall)
PRIVILEGED(stgi, stgi)
PRIVILEGED(clgi, clgi)
PRIVILEGED(vmload, vmload)
PRIVILEGED(invlpga, invlpga)
PRIVILEGED(skinit, .byte 0x0f; .byte 0x01; .byte 0xde)
PRIVILEGED(vmxon, vmxon (%rbx))
PRIVILEGED(vmread, vmread %rax, %rbx)
PRIVILEGED(invpcid, invpcid (%rbx), %rax)
PRIVILEGED(rdpid, .byte 0xf3; .byte 0x0f; .byte 0xc7; .byte 0xf8)
PRIVILEGED(xsaves, xsaves (%rbx))
PRIVILEGED(rdpkru, rdpkru)
PRIVILEGED(swapgs, swapgs)
PRIVILEGED(lidt, lidt TSS)
PRIVILEGED(ltr, ltr %ax)
PRIVILEGED(rdpmc, mov $0, %ecx; rdpmc)
PRIVILEGED(encls, encls)
PRIVILEGED(getsec, .byte 0x0f; .byte 0x37)
PRIVILEGED(ud0, .byte 0x0f; .byte 0xff; .byte 0xc0)
PRIVILEGED(clzero, .byte 0x0f; .byte 0x01; .byte 0xfc)
PRIVILEGED(movnti-reg, .byte 0x0f; .byte 0xc3; .byte 0xc0)
PRIVILEGED(lzcnt, lzcnt %rbx, %rax)
PRIVILEGED(andn, mov $7, %eax; .byte 0xc4; .byte 0xe2; .byte 0x78; .byte 0xf2; .byte 0xc3)
