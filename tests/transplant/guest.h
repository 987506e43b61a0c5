/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest that is moved: what its parts and the driver agree about. */
#ifndef ANYKVM_TESTS_TRANSPLANT_GUEST_H
#define ANYKVM_TESTS_TRANSPLANT_GUEST_H

/*
 * Each processor has half of the memory at the addresses from 0 on, so it has the program's variables for itself; but for
 * the pages of the second half's first 64 KiB that GUEST_SHARED names, which are the first half's for both.
 */
#define GUEST_RAM 0x800000
#define GUEST_HALF 0x400000
#define GUEST_TABLES 0x1000		/* page tables, made by the driver */
#define GUEST_CODE 0x10000
#define GUEST_BOOT 0x8000		/* where a second processor starts */
#define GUEST_MEET 0x9000		/* struct meet */
#define GUEST_WINDOW_TABLE 0xa000	/* the page table of GUEST_WINDOW, of both processors */
#define GUEST_WINDOW_PAGES 0xb000	/* two, of which one is at GUEST_WINDOW */
#define GUEST_SHARED(gpa) ((gpa) >= GUEST_BOOT && (gpa) < GUEST_CODE)
#define GUEST_WINDOW 0x400000ull
#define GUEST_DEMAND 0x300000		/* pages that the guest maps when it faults on them */
#define GUEST_DEMAND_END 0x340000
#define GUEST_FLAGS 0xf000		/* a word for the guest: what it shall leave out */
#define GUEST_NO_DEBUG 1		/* debug registers and TF: the driver steps the guest by them itself */
#define GUEST_X2APIC 2			/* its LAPIC is in x2APIC mode */
#define GUEST_SMP 4			/* two processors */
#define GUEST_VARIANTS 8
#define GUEST_ROUNDS_SHIFT 8		/* rounds from here on */

#define GUEST_SMM 0x38000		/* what an SMI runs, and below 0x40000 its save area */

#define PORT_VALUE 0xe0			/* a checksum; the same in each run */
#define PORT_END 0xe4			/* all is over */
#define PORT_ASK 0xe8			/* in: the driver answers a function of how many it answered before */
#define MMIO_BASE 0xd0000000ull	/* reads answer their address, writes are checksummed */

#define K_CODE 0x08
#define K_DATA 0x10
#define U_BASE 0x18
#define U_DATA 0x20
#define U_CODE 0x28
#define SEL_TSS 0x30

#ifndef __ASSEMBLER__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

/* What the processors have in common, zero at first. */
struct meet {
	volatile u32 arrived, lock, alive;
	volatile u64 sum, plain, turn, hash;
	volatile u64 flush;		/* an address of which the other shall forget the translation, before it sets this to 0 */
	volatile u64 words[16];
	u8 code[16];			/* data beside code */
};
#define MEET ((struct meet *)GUEST_MEET)

extern u64 hash;
extern volatile u32 ticks, pit_ticks, nmis, order[8], nr_order, debugs, calls;
void mix(u64 value);
void traps_init(void);
void irq_init(unsigned me, int use_x2apic);
void send_ipi(u32 destination, u32 command);
void wait_calls(u32 n);			/* halted */
void phase_together(unsigned me);
void boot_second(void);
void phase_interrupts(void);
void phase_timers(unsigned me);
void phase_exceptions(void);
void phase_user(void);
void phase_debug(void);

static inline void outl(u16 port, u32 value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline u32 inl(u16 port)
{
	u32 value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outb(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void wrmsr(u32 index, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

static inline u64 rdmsr(u32 index)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | (u64)high << 32;
}

static inline u64 rdtsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (u64)high << 32;
}

#define IOAPIC(reg) (*(volatile u32 *)(0xfec00000ull + (reg)))
#endif
#endif
