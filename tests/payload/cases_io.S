/* SPDX-License-Identifier: GPL-2.0-only */
/* Ports and MMIO: sizes, strings, permission, read-modify-write, page crossing, stacks and code there; read-only memory. */
#include "tests/payload/case.inc"

#define IO(name, ...) CASE io/name, LONG; __VA_ARGS__; END
#define IO_USER(name, ...) CASE io/user-name, LONG, cpl=3; __VA_ARGS__; END

IO(in8, mov $0x123, %edx; in %dx, %al)
IO(in16, mov $0x123, %edx; in %dx, %ax)
IO(in32, mov $0x123, %edx; in %dx, %eax)
IO(in-imm, in $0x70, %eax)
IO(out8, mov $0x123, %edx; out %al, %dx)
IO(out16, mov $0x123, %edx; out %ax, %dx)
IO(out32, out %eax, $0x71)
IO(in-rexw, mov $0x123, %edx; .byte 0x48; in %dx, %eax)
IO(insb, mov $0x100, %edx; insb; mov (%rbx), %eax; movzbl -1(%rdi), %ecx)
IO(rep-insb, mov $0x100, %edx; rep insb; mov -5(%rdi), %rax)
IO(rep-insl, mov $0x100, %edx; rep insl; mov -8(%rdi), %rax)
IO(rep-insw-back, mov $0x100, %edx; std; rep insw; mov 2(%rdi), %rax; cld)
IO(rep-insw-back-page, mov $0x100, %edx; mov $6, %ecx; mov $DATA + 6, %edi; std; rep insw; mov 2(%rdi), %rax; cld)
IO(rep-insl-back-long, mov $0x100, %edx; mov $0x200, %ecx; mov $DATA + 0x7fc, %edi; std; rep insl; mov 4(%rdi), %rax; cld)
IO(rep-insw-back-odd, mov $0x100, %edx; mov $DATA + 0x7fb, %edi; std; rep insw; mov 2(%rdi), %rax; cld)
IO(rep-insw-back-across, mov $0x100, %edx; mov $DATA + 0xfff, %edi; std; rep insw; mov 2(%rdi), %rax; cld)
IO(rep-outsb, mov $0x100, %edx; rep outsb)
IO(rep-outsl, mov $0x100, %edx; rep outsl)
IO(rep-outsw-back, mov $0x100, %edx; std; rep outsw; cld)
IO(rep-outs-zero, mov $0x100, %edx; xor %ecx, %ecx; rep outsb)
IO(rep-ins-into-fault, mov $0x100, %edx; mov $0x200000 - 4, %edi; rep insw)
IO(rep-outs-from-fault, mov $0x100, %edx; mov $0x200000 - 4, %esi; rep outsw)
IO(rep-ins-many, mov $0x100, %edx; mov $0x30, %ecx; mov $DATA + 0xfe8, %edi; rep insb)
IO(outs-from-mmio, mov $0x100, %edx; mov $MMIO_LA, %esi; outsl)
IO(ins-to-mmio, mov $0x100, %edx; mov $MMIO_LA, %edi; insl)
IO_USER(in-denied, in $0x20, %al)
IO_USER(in-allowed, in $0x14, %al)
IO_USER(in-straddle, in $0x17, %ax)
IO_USER(in-last, in $0x17, %al)
IO_USER(in-32-allowed, in $0x14, %eax)
IO_USER(in-beyond-map, mov $0x3ff, %edx; in %dx, %al)
IO_USER(ins-denied, mov $0x20, %edx; insb)
IO_USER(outs-allowed, mov $0x14, %edx; outsb)
CASE io/user-iopl3, LONG, cpl=3, fl=FL_IOPL
	in $0x20, %al
	cli
END
CASE io/user-p32-denied, P32, cpl=3
	in $0x20, %al
END
CASE io/user-p32-allowed, P32, cpl=3
	in $0x16, %ax
END
CASE io/real-rep-ins, REAL
	mov $0x100, %dx
	rep insw
END
CASE io/real-rep-outs-wrap, REAL
	mov $0x100, %dx
	mov $0xfffe, %si
	mov $2, %cx
	rep outsw
END

#define M MMIO_LA
IO(mmio-read8, mov M, %al)
IO(mmio-read16, mov M, %ax)
IO(mmio-read32, mov M, %eax)
IO(mmio-read64, mov M, %rax)
IO(mmio-read-unaligned, mov M + 3, %rax)
IO(mmio-write8, mov %cl, M + 5)
IO(mmio-write16, mov %cx, M + 5)
IO(mmio-write32, mov %ecx, M)
IO(mmio-write64, mov %rdx, M)
IO(mmio-write-imm, movl $0x12345678, M)
IO(mmio-crossing-read, mov M + 0xffd, %rax)
IO(mmio-crossing-write, mov %rdx, M + 0xffd)
IO(mmio-ram-crossing-read, mov $M - 4, %rsi; movl $0x200007, TABLES + 0x3000 + 3 * 0x1000 - 8; mov (%rsi), %rax)
IO(mmio-add, addl $5, M)
IO(mmio-add-reg, add %ecx, M)
IO(mmio-add-from, add M, %ecx)
IO(mmio-inc, incw M)
IO(mmio-not, notb M)
IO(mmio-shl, shll $3, M; xor %eax, %eax)
IO(mmio-xchg, xchg %ecx, M)
IO(mmio-lock-add, lock addl $1, M)
IO(mmio-cmpxchg-ne, mov $1, %eax; lock cmpxchg %ecx, M)
IO(mmio-cmpxchg-eq, mov $0x43424140, %eax; lock cmpxchg %ecx, M)
IO(mmio-xadd, xadd %ecx, M)
IO(mmio-bts, btsl $1, M)
IO(mmio-test, testl $0x40, M)
IO(mmio-cmp, cmpb $0x40, M)
IO(mmio-movzx, movzbl M, %eax)
IO(mmio-movsx, movswq M + 0x60, %rax)
IO(mmio-movsb, mov $M, %edi; movsb)
IO(mmio-rep-movsb-to, mov $M, %edi; mov $3, %ecx; rep movsb)
IO(mmio-rep-movsl-from, mov $M, %esi; mov $2, %ecx; rep movsl; mov -8(%rdi), %rax)
IO(mmio-movs-both, mov $M, %esi; mov $M + 0x100, %edi; movsl)
IO(mmio-rep-stosq, mov $M, %edi; mov $2, %ecx; rep stosq)
IO(mmio-lods, mov $M, %esi; lodsq)
IO(mmio-scas, mov $M, %edi; mov $0x42, %al; mov $8, %ecx; repne scasb)
IO(mmio-cmps, mov $M, %edi; cmpsb)
IO(mmio-push, mov $M + 0x100, %rsp; push %rcx; mov $STACK, %esp)
IO(mmio-pop, mov $M + 0x100, %rsp; pop %rcx; mov $STACK, %esp)
IO(mmio-push-mem, pushq M)
IO(mmio-pop-mem, push %rdx; popq M)
IO(mmio-call-indirect, movl $0x8000000, %ecx; call *M)
IO(mmio-movdqu-load, movdqu M, %xmm0; movq %xmm0, %rax)
IO(mmio-movdqu-store, movdqu %xmm3, M)
IO(mmio-movq-load, movq M, %xmm0; movq %xmm0, %rax)
IO(mmio-movaps-unaligned, movaps M + 8, %xmm0)
IO(mmio-movnti, movnti %ecx, M)
IO(mmio-sete, cmp %eax, %eax; sete M)
IO(mmio-cmov-not, cmp %eax, %eax; cmovne M, %ecx)
IO(mmio-moffs, movabs M, %eax)
IO(mmio-fetch, mov $M, %eax; jmp *%rax)
IO(mmio-lea, lea M, %eax)
IO(mmio-bt-far, mov $64, %ecx; btl %ecx, M)
IO(mmio-mul, mov $3, %eax; mull M; xor %ecx, %ecx)
IO(mmio-div, mov $3, %eax; xor %edx, %edx; divl M; xor %ecx, %ecx)
IO(mmio-imul, imul $3, M, %ecx; xor %edx, %edx)
IO(mmio-adc, stc; adcl $1, M)
IO(mmio-far-jmp, ljmp *M)
CASE io/mmio-fault-and-exit, LONG
	movl $0, TABLES + 0x3000 + 3 * 0x1000 + 8
	mov M + 0xffe, %eax
END
CASE io/mmio-real, REAL
	mov $0xffff, %ax
	mov %ax, %ds
	mov 0x10, %cx
END

#define ROM ROM_LA
IO(rom-read, mov ROM, %rax)
IO(rom-write, mov %ecx, ROM; mov ROM, %eax)
IO(rom-rmw, addl $1, ROM)
IO(rom-xchg, xchg %eax, ROM)
IO(rom-cmpxchg-ne, lock cmpxchg %ecx, ROM)
IO(rom-execute, movb $0xc3, DATA; mov $ROM, %ebx; mov $ROM + 0x10, %eax; push $ADDR(1f); jmp 2f; 2: nop; 1: nop)
IO(rom-crossing-write, mov %rdx, ROM + 0xffc)
IO(rom-push, mov $ROM + 0x100, %rsp; push %rcx; mov $STACK, %esp)
IO(rom-movdqu, movdqu %xmm1, ROM)
IO(rom-rep-stos, mov $ROM, %edi; mov $2, %ecx; rep stosl)
