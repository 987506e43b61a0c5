/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The smallest kernel: enters where Linux's 64-bit boot protocol would, writes one byte to the serial port as its
 * first instructions, and stops. bench/run measures the time from starting the VMM to that byte.
 */
	.code64
	.section .text
	.globl _start
_start:
	mov $0x3f8, %edx
	mov $'!', %al
	out %al, (%dx)
	mov $'\n', %al
	out %al, (%dx)
	cli
1:	hlt
	jmp 1b
	.section .note.GNU-stack,"",@progbits
