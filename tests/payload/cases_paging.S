/* SPDX-License-Identifier: GPL-2.0-only */
/* Paging from inside: stale translations, INVLPG, implicit accesses, CR3, PDPTEs. */
#include "tests/payload/case.inc"

#define PTE_OF(la) (TABLES + 0x3000 + (la) / 0x200000 * 0x1000 + (la) / 0x1000 % 512 * 8)
#define TEST_PTE PTE_OF(TEST_LA)

.macro MAP pa, rights=7
	movl $\pa + \rights, TEST_PTE
	movl $0, TEST_PTE + 4
.endm

CASE paging/map-invlpg-long, LONG
	MAP TEST_PA
	mov TEST_LA, %eax
	MAP TEST_PA + 0x1000
	invlpg TEST_LA
	mov TEST_LA, %ecx
	mov TEST_PTE, %edx
END
CASE paging/map-cr3-long, LONG
	MAP TEST_PA
	mov TEST_LA, %eax
	MAP TEST_PA + 0x1000
	mov %cr3, %rdx
	mov %rdx, %cr3
	mov TEST_LA, %ecx
END
CASE paging/absent-then-present, LONG
	/* A translation that was not there is not cached */
	MAP TEST_PA, 6
	MAP TEST_PA, 7
	mov TEST_LA, %eax
END
CASE paging/fault-drops-stale, LONG, cont=2
	MAP TEST_PA, 5
	mov %cr0, %rax
	bts $16, %rax
	mov %rax, %cr0
	mov TEST_LA, %eax
	movl $TEST_PA + 7, TEST_PTE
	mov %ecx, TEST_LA
	mov TEST_PTE, %eax
END
CASE paging/dirty-on-second-write, LONG
	MAP TEST_PA
	mov TEST_LA, %eax
	mov TEST_PTE, %edx
	mov %ecx, TEST_LA
	mov TEST_PTE, %esi
END
CASE paging/dirty-cleared-reload, LONG
	MAP TEST_PA
	mov %ecx, TEST_LA
	MAP TEST_PA
	invlpg TEST_LA
	mov %ecx, TEST_LA
	mov TEST_PTE, %esi
END
CASE paging/global-survives-cr3-off, LONG, cr4=CR4_PGE
	MAP TEST_PA, 0x107
	mov TEST_LA, %eax
	MAP TEST_PA + 0x1000, 0x107
	mov %cr4, %rdx
	btc $7, %rdx
	mov %rdx, %cr4
	mov TEST_LA, %ecx
	xor %edx, %edx
END
CASE paging/wp-toggle, LONG, cont=1
	MAP TEST_PA, 5
	mov %ecx, TEST_LA
	mov %cr0, %rax
	bts $16, %rax
	mov %rax, %cr0
	mov %ecx, TEST_LA
END
CASE paging/smap-toggle, LONG, cr4=CR4_SMAP
	MAP TEST_PA
	stac
	mov TEST_LA, %eax
	clac
	mov TEST_LA, %ecx
END
CASE paging/smap-push, LONG, cr4=CR4_SMAP
	MAP TEST_PA
	mov $TEST_LA + 0x100, %ebp
	mov %ebp, 8(%rbp)
END
CASE paging/smap-gdt-user, LONG, cr4=CR4_SMAP
	/* implicit accesses do not look at AC: the GDT in a user page faults with AC set too */
	orl $4, PTE_OF(GDT)
	invlpg GDT
	stac
	mov $D_RO, %eax
	mov %eax, %es
END
CASE paging/stac-user, LONG, cpl=3, cr4=CR4_SMAP
	stac
END
CASE paging/clac-v86, V86
	clac
END
CASE paging/smep-toggle, LONG
	MAP TEST_PA
	movb $0xc3, TEST_LA
	mov $TEST_LA, %eax
	call *%rax
	mov %cr4, %rcx
	bts $20, %rcx
	mov %rcx, %cr4
	call *%rax
END
CASE paging/nx-toggle, LONG
	MAP TEST_PA
	movb $0xc3, TEST_LA
	mov $TEST_LA, %ebx
	call *%rbx
	orl $0x80000000, TEST_PTE + 4
	invlpg (%rbx)
	call *%rbx
END
CASE paging/gdt-absent, LONG
	andl $~1, PTE_OF(GDT)
	invlpg GDT
	mov $D_RO, %eax
	mov %eax, %es
END
CASE paging/gdt-absent-user, LONG, cpl=3
	mov $UDATA + 3, %eax
	mov %eax, %es
END
CASE paging/idt-absent-df, LONG
	andl $~1, PTE_OF(IDT)
	invlpg IDT
	ud2
END
CASE paging/gdt-readonly-accessed, LONG, cr0=CR0_WP
	andl $~2, PTE_OF(GDT)
	invlpg GDT
	mov $D_NOACC, %eax
	mov %eax, %es
END
CASE paging/gdt-readonly-busy, LONG, cr0=CR0_WP
	andl $~2, PTE_OF(GDT)
	invlpg GDT
	mov $SEL_TSS_B, %eax
	ltr %ax
END
CASE paging/stack-absent, LONG
	mov $TEST_LA, %rsp
	movb $1, IDT + 14 * 16 + 4
	push %rax
END
CASE paging/call-stack-absent, LONG
	movb $1, IDT + 14 * 16 + 4
	mov $TEST_LA + 8, %rsp
	call 1f
1:	nop
END
CASE paging/tss-absent-user-int, LONG, cpl=3
	int $0x40
END
CASE paging/walk-user-read-only-fault-cr2, LONG, cpl=3
	mov $0x123456789000, %rax
	mov (%rax), %ecx
END
CASE paging/high-half, LONG
	mov $0xffff800000000000, %rax
	mov (%rax), %ecx
END
CASE paging/pae-bad-pdpte, PAE
	movl $TABLES + 0x2000 + 0x67, TABLES + 0x1000
	mov %cr3, %eax
	mov %eax, %cr3
	nop
END
CASE paging/pae-stale-pdpte, PAE
	/* PDPTEs are loaded with CR3: clearing the one in memory has no effect */
	movl $0, TABLES + 0x1000
	invlpg DATA
	mov DATA, %eax
END
CASE paging/pae-absent-pdpte, PAE
	mov 0x40000000, %eax
END
CASE paging/pae-cr3-unaligned, PAE
	mov %cr3, %eax
	or $0x1f, %al
	mov %eax, %cr3
	mov DATA, %ecx
END
CASE paging/cr3-noncanonical-bits, LONG
	mov %cr3, %rax
	bts $50, %rax
	mov %rax, %cr3
END
CASE paging/cr3-bit63, LONG
	mov %cr3, %rax
	bts $63, %rax
	mov %rax, %cr3
END
CASE paging/paging-off-on-32, P32PG
	mov %cr0, %eax
	btc $31, %eax
	mov %eax, %cr0
	mov TEST_PA, %ecx
	btc $31, %eax
	mov %eax, %cr0
	mov DATA, %edx
END
CASE paging/paging-off-long, LONG
	mov %cr0, %rax
	btc $31, %rax
	mov %rax, %cr0
END
CASE paging/paging-off-compat, COMPAT
	mov %cr0, %eax
	btc $31, %eax
	mov %eax, %cr0
	mov $0xc0000080, %ecx
	rdmsr
END
CASE paging/enter-long-from-pae, P32, cr4=CR4_PAE
	movl $TABLES + 0x1007, TABLES
	movl $TABLES + 0x2007, TABLES + 0x1000
	movl $0x87, TABLES + 0x2000
	mov $TABLES, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	bts $8, %eax
	wrmsr
	mov %cr0, %eax
	bts $31, %eax
	mov %eax, %cr0
	rdmsr
	mov %eax, %esi
	ljmp $K64, $ADDR(1f)
	.code64
1:	mov $0x123456789abcdef, %rdx
END
CASE paging/invlpg-user, LONG, cpl=3
	invlpg (%rbx)
END
CASE paging/invlpg-v86, V86
	invlpg (%bx)
END
CASE paging/invlpg-noncanonical, LONG
	mov $0x800000000000, %rax
	invlpg (%rax)
END
CASE paging/invlpg-real, REAL
	invlpg (%bx)
END
CASE paging/fetch-crossing-absent, LONG
	MAP TEST_PA
	movw $0x0f66, TEST_LA + 0xffe
	mov $TEST_LA + 0xffe, %eax
	jmp *%rax
END
CASE paging/fetch-crossing-user, LONG, cpl=3
	mov $0x1ffff, %eax
	jmp *%rax
END
CASE paging/fetch-crossing-nx, LONG
	MAP TEST_PA
	movl $TEST_PA + 0x1007, TEST_PTE + 8
	movl $0x80000000, TEST_PTE + 12
	movw $0xb8, TEST_LA + 0xfff
	mov $TEST_LA + 0xfff, %eax
	jmp *%rax
END
CASE paging/rep-movs-into-fault, LONG
	MAP TEST_PA
	mov $TEST_LA + 0xff0, %edi
	mov $8, %ecx
	cld
	rep movsl
END
CASE paging/rep-stos-backwards-fault, LONG
	MAP TEST_PA
	mov $TEST_LA + 8, %edi
	mov $8, %ecx
	std
	rep stosl
END
CASE paging/rep-cmps-fault, LONG
	MAP TEST_PA
	mov $TEST_LA + 0xff8, %edi
	mov %rdi, %rsi
	mov $8, %ecx
	cld
	repe cmpsl
END
CASE paging/cmpxchg-readonly-unequal, LONG, cr0=CR0_WP
	MAP TEST_PA, 5
	lock cmpxchg %ecx, TEST_LA
END
CASE paging/cmpxchg16b-readonly, LONG, cr0=CR0_WP
	MAP TEST_PA, 5
	cmpxchg16b TEST_LA
END
CASE paging/bt-readonly, LONG, cr0=CR0_WP
	MAP TEST_PA, 5
	btl $3, TEST_LA
	btsl $3, TEST_LA
END
CASE paging/enter-leave-fault, LONG
	movb $1, IDT + 14 * 16 + 4
	mov $TEST_LA + 8, %rbp
	leave
END
CASE paging/popa-fault-p32pg, P32PG
	mov $0x7ff0, %esp
	mov $TEST_LA - 16, %esp
	popa
END
CASE paging/prefetch-absent, LONG
	prefetcht0 TEST_LA
	prefetchw TEST_LA
END
CASE paging/clflush-absent, LONG
	clflush TEST_LA
END
CASE paging/nopw-absent, LONG
	nopw TEST_LA
	lea TEST_LA, %eax
END
CASE paging/verify-8086-cr3-mov, LONG
	mov $TABLES, %eax
	mov %rax, %cr3
	nop
END
CASE paging/rmw-absent, LONG
	addl $1, TEST_LA
END
CASE paging/rmw-readonly, LONG, cr0=CR0_WP
	MAP TEST_PA, 5
	addl $1, TEST_LA
END
CASE paging/lock-rmw-absent, LONG
	lock addl $1, TEST_LA
END
CASE paging/xchg-absent, LONG
	xchg %eax, TEST_LA
END

#define OTHER_TABLES 0x140000

/* A large page is one translation: INVLPG anywhere in it drops all that was made of it. */
#define LARGE_LA 0x400000
#define LARGE_PDE (TABLES + 0x2000 + LARGE_LA / 0x200000 * 8)
.macro MAP_LARGE pa
	movl $\pa + 0x87, LARGE_PDE
	movl $0, LARGE_PDE + 4
.endm
CASE paging/large-invlpg-elsewhere, LONG
	MAP_LARGE LARGE_PA
	invlpg LARGE_LA
	mov LARGE_LA, %eax
	mov LARGE_LA + 0x1000, %ecx
	MAP_LARGE TEST_PA
	invlpg LARGE_LA + 0x1ff000
	mov LARGE_LA, %edx
	mov LARGE_LA + 0x1000, %esi
END
CASE paging/large-to-small, LONG
	MAP_LARGE TEST_PA
	invlpg LARGE_LA
	mov LARGE_LA, %eax
	mov LARGE_LA + 0x1000, %ecx
	movl $TABLES + 0x5007, LARGE_PDE
	MAP LARGE_PA
	movq $TEST_PA + 7, TEST_PTE + 8
	invlpg LARGE_LA + 0x3000
	mov LARGE_LA, %edx
	mov LARGE_LA + 0x1000, %esi
END
CASE paging/large-dirty, LONG
	MAP_LARGE TEST_PA
	invlpg LARGE_LA
	mov LARGE_LA, %eax
	mov LARGE_PDE, %ecx
	movl $1, LARGE_LA
	mov LARGE_PDE, %edx
END
CASE paging/table-changed-invlpg, LONG
	/* Another page table under a page-directory entry that was walked through */
	MAP TEST_PA
	mov TEST_LA, %eax
	movq $LARGE_PA + 7, OTHER_TABLES
	movl $OTHER_TABLES + 7, LARGE_PDE
	invlpg TEST_LA
	mov TEST_LA, %ecx
END
CASE paging/table-rights-grown, LONG, cr0=CR0_WP
	/* A fault comes from the tables as they are, not from what was remembered */
	MAP TEST_PA
	movl $TABLES + 0x5005, LARGE_PDE
	mov TEST_LA, %eax
	movl $TABLES + 0x5007, LARGE_PDE
	mov %ecx, TEST_LA + 4
	mov TEST_LA + 4, %edx
END
