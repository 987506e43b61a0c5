// SPDX-License-Identifier: GPL-2.0-only
/* The guest's exceptions and interrupts. Compiled for general registers alone: handlers save no others. */
#include "tests/transplant/guest.h"

enum { DE = 0, DB = 1, NMI = 2, BP = 3, UD = 6, GP = 13, PF = 14, SOFT = 0x81 };
enum { V_TIMER = 0x40, V_PIT = 0x41, V_SELF = 0x50, V_CALL = 0x61, V_SPURIOUS = 0xff };
enum { A_TPR = 0x80, A_EOI = 0xb0, A_LDR = 0xd0, A_SVR = 0xf0, A_ICR = 0x300, A_ICR2 = 0x310, A_TIMER = 0x320, A_LINT0 = 0x350,
       A_INITIAL = 0x380, A_CURRENT = 0x390, A_DIVIDE = 0x3e0 };

extern u8 stubs[], after_div[], after_ud[], after_gp[], after_msr[], stack_top[], syscall_entry[];
void enter_user(void (*code)(void), u64 stack);
void faults(void);

u64 hash;
volatile u32 ticks, pit_ticks, nmis, order[8], nr_order, debugs, calls;
static volatile u64 debug_sum;
static u64 gdt[8];
static struct { u64 low, high; } idt[256];
static struct {
	u32 reserved;
	u64 rsp0, rsp1, rsp2, reserved1, ist1, ist[6], reserved2;
	u16 reserved3, io_map;
} __attribute__((packed)) tss;
static u8 nmi_stack[2048] __attribute__((aligned(16)));
static u8 trap_stack[4096] __attribute__((aligned(16)));
static u8 user_stack[4096] __attribute__((aligned(16)));

static int x2apic;

static u32 apic_read(u32 reg)
{
	return x2apic ? (u32)rdmsr(0x800 + reg / 16) : *(volatile u32 *)(0xfee00000ull + reg);
}

static void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		wrmsr(0x800 + reg / 16, value);
	else
		*(volatile u32 *)(0xfee00000ull + reg) = value;
}

void mix(u64 value)
{
	hash ^= value;
	hash = (hash << 23 | hash >> 41) * 0x9e3779b97f4a7c15ull + 1;
}

/* ---- handlers ---------------------------------------------------------------------------------- */

static void map_page(u64 address)
{
	u64 *table = (u64 *)(GUEST_TABLES + 0x3000 + (address >> 21) * 0x1000);

	table[address >> 12 & 511] |= 1;
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* That should not be. */
static void stray(struct frame *f)
{
	outl(PORT_VALUE, 0xbad00000 | (u32)f->vector);
	outl(PORT_VALUE, (u32)f->rip);
	outl(PORT_END, 0);
}

static void page_fault(struct frame *f)
{
	u64 address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	mix(address);
	mix(f->error);
	if (address < GUEST_DEMAND || address >= GUEST_DEMAND_END)
		stray(f);
	map_page(address);
}

static void debug_trap(void)
{
	u64 dr6;

	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	debug_sum += dr6 & 0xe00f;
	debugs++;
	__asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

static void exception(struct frame *f)
{
	mix(f->vector);
	mix(f->error);
	if (f->vector != DE)
		mix(f->rflags & 0x8d5);
	switch (f->vector) {
	case DE:
		f->rip = (u64)after_div;
		break;
	case UD:
		if (f->rip + 2 != (u64)after_ud)
			stray(f);
		f->rip = (u64)after_ud;
		break;
	case GP:
		f->rip = (u64)(f->rip < (u64)after_gp ? after_gp : after_msr);
		break;
	case BP:
	case SOFT:
		break;
	default:
		stray(f);
	}
}

/* By the other processor. */
static void called(void)
{
	u64 address = MEET->flush;

	calls++;
	if (address) {
		__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
		MEET->flush = 0;
	}
}

static void interrupt(u64 vector)
{
	switch (vector) {
	case V_TIMER:
		ticks++;
		break;
	case V_PIT:
		pit_ticks++;
		break;
	case V_CALL:
		called();
		break;
	case V_SPURIOUS:
		return;
	default:
		order[nr_order++ & 7] = (u32)vector;
	}
	apic_write(A_EOI, 0);
}

void trap(struct frame *f)
{
	if (f->vector == NMI)
		nmis++;
	else if (f->vector == PF)
		page_fault(f);
	else if (f->vector == DB)
		debug_trap();
	else if (f->vector < 32 || f->vector == SOFT)
		exception(f);
	else
		interrupt(f->vector);
}

u64 system_call(u64 argument)
{
	mix(argument);
	return argument * 3 + rdmsr(0xc0000102) % 7;
}

/* ---- setting up ------------------------------------------------------------------------------------ */

static void gate(unsigned vector, unsigned dpl, unsigned ist)
{
	u64 at = (u64)stubs + vector * 16;

	idt[vector].low = (at & 0xffff) | K_CODE << 16 | (u64)ist << 32 | (0x8e00ull | dpl << 13) << 32 | at >> 16 << 48;
	idt[vector].high = at >> 32;
}

static void tables(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) pointer;
	u64 base = (u64)&tss;

	gdt[K_CODE / 8] = 0x00209b0000000000;
	gdt[K_DATA / 8] = gdt[U_DATA / 8] = 0x00cf93000000ffff;
	gdt[U_DATA / 8] = 0x00cff3000000ffff;
	gdt[U_CODE / 8] = 0x0020fb0000000000;
	gdt[SEL_TSS / 8] = 0x0000890000000067 | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
	tss.rsp0 = (u64)(trap_stack + sizeof(trap_stack));
	tss.ist1 = (u64)(nmi_stack + sizeof(nmi_stack));
	tss.io_map = sizeof(tss);
	for (unsigned i = 0; i < 256; i++)
		gate(i, i == SOFT || i == BP ? 3 : 0, i == NMI ? 1 : 0);
	pointer.limit = sizeof(gdt) - 1;
	pointer.base = (u64)gdt;
	__asm__ volatile("lgdt %0" : : "m"(pointer));
	pointer.limit = sizeof(idt) - 1;
	pointer.base = (u64)idt;
	__asm__ volatile("lidt %0" : : "m"(pointer));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	__asm__ volatile("push %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %1, %%ss; mov %1, %%ds; mov %1, %%es"
			 : : "i"(K_CODE), "r"(K_DATA) : "rax", "memory");
}

void traps_init(void)
{
	tables();
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)(U_BASE | 3) << 48 | (u64)K_CODE << 32);
	wrmsr(0xc0000082, (u64)syscall_entry);
	wrmsr(0xc0000084, 0x47700);
	wrmsr(0xc0000102, 12345);
}

/* The PIT comes by pin 0, as routes are before userspace changes them; the PICs are masked. */
static void pit_init(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	IOAPIC(0) = 0x11;
	IOAPIC(0x10) = 0;
	IOAPIC(0) = 0x10;
	IOAPIC(0x10) = V_PIT;
	outb(0x43, 0x34);
	outb(0x40, 2000 & 255);
	outb(0x40, 2000 >> 8);
}

void irq_init(unsigned me, int use_x2apic)
{
	x2apic = use_x2apic;
	if (x2apic)
		wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
	else
		apic_write(A_LDR, 1u << (24 + me));
	apic_write(A_SVR, 0x100 | V_SPURIOUS);
	apic_write(A_LINT0, 0x10000);
	apic_write(A_DIVIDE, 0xb);
	apic_write(A_TIMER, 0x20000 | V_TIMER);
	apic_write(A_INITIAL, 1000000);
	if (!me)
		pit_init();
	__asm__ volatile("sti");
}

/* ---- phases ------------------------------------------------------------------------------------------- */

void send_ipi(u32 destination, u32 command)
{
	if (x2apic) {
		wrmsr(0x830, (u64)destination << 32 | command);
		return;
	}
	apic_write(A_ICR2, destination << 24);
	apic_write(A_ICR, command);
	while (apic_read(A_ICR) & 0x1000)
		;
}

static void self(u32 command)
{
	send_ipi(0, 0x40000 | command);
}

/* Vectors pend behind IF and TPR and come in the order of their priority. */
void phase_interrupts(void)
{
	u32 before = nmis;

	nr_order = 0;
	apic_write(A_TPR, 0x60);
	self(V_SELF);
	self(V_SELF + 1);
	__asm__ volatile("cli");
	self(0x71);
	self(0x72);
	self(0x93);
	for (volatile int i = 0; i < 50; i++)
		;
	__asm__ volatile("sti; nop");
	for (unsigned i = 0; i < nr_order; i++)
		mix(order[i]);
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ull));
	while (nr_order < 5)
		;
	for (unsigned i = 0; i < 5; i++)
		mix(order[i]);
	self(0x400); /* NMI */
	while (nmis == before)
		;
}

/* HALT with interrupts off before, so that none comes unseen between looking and halting. */
static void wait_until(volatile u32 *counter, u32 until)
{
	__asm__ volatile("cli");
	while ((int)(*counter - until) < 0)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	__asm__ volatile("sti");
}

void wait_calls(u32 n)
{
	wait_until(&calls, n);
}

void phase_timers(unsigned me)
{
	wait_until(&ticks, ticks + 2);
	if (!me)
		wait_until(&pit_ticks, pit_ticks + 2);
	/* one shot */
	apic_write(A_TIMER, V_TIMER);
	apic_write(A_INITIAL, 500000);
	__asm__ volatile("cli");
	while (apic_read(A_CURRENT))
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	/* TSC deadline */
	apic_write(A_TIMER, 0x40000 | V_TIMER);
	for (unsigned i = 0; i < 2; i++) {
		wrmsr(0x6e0, rdtsc() + 1000000);
		while (rdmsr(0x6e0))
			__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	__asm__ volatile("sti");
	apic_write(A_TIMER, 0x20000 | V_TIMER);
	apic_write(A_INITIAL, 1000000);
	mix(apic_read(A_TIMER));
	mix(apic_read(A_DIVIDE));
	mix(apic_read(A_INITIAL));
}

void phase_exceptions(void)
{
	static u64 next;

	for (unsigned i = 0; i < 10; i++)
		faults();
	for (unsigned i = 0; i < 4; i++) {
		volatile u64 *p = (volatile u64 *)(GUEST_DEMAND + next % (GUEST_DEMAND_END - GUEST_DEMAND));

		mix(*p);
		*p = hash;
		next += 0x1008;
	}
}

static void user_code(void)
{
	u64 x = 1, base = 0x7000, read;

	for (u64 i = 0; i < 40; i++) {
		u64 r = 1;

		__asm__ volatile("wrfsbase %0; wrgsbase %1" : : "r"(base + i), "r"(base * i));
		__asm__ volatile("syscall" : "+a"(r) : "D"(x) : "rcx", "r11", "rsi", "rdx", "r8", "r9", "r10", "memory");
		__asm__ volatile("rdfsbase %0" : "=r"(read));
		x = x * 5 + r + read;
		__asm__ volatile("rdgsbase %0" : "=r"(read));
		x += read;
		if (i % 8 == 0)
			__asm__ volatile("int3; int $0x81");
	}
	__asm__ volatile("syscall" : : "a"(0ull), "D"(x));
}

void phase_user(void)
{
	enter_user(user_code, (u64)(user_stack + sizeof(user_stack) - 8));
	mix(rdmsr(0xc0000100));
	mix(rdmsr(0xc0000101));
}

/* A watched variable and single steps: how many traps there are, and what DR6 says. */
void phase_debug(void)
{
	static volatile u32 watched;

	debugs = 0;
	debug_sum = 0;
	__asm__ volatile("mov %0, %%dr0" : : "r"(&watched));
	__asm__ volatile("mov %0, %%dr7" : : "r"(0xd0403ull));
	for (unsigned i = 0; i < 20; i++)
		watched += i;
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
	mix(debugs);
	__asm__ volatile("cli; pushfq; orl $0x100, (%%rsp); popfq; nop; nop; mov $5, %%eax; pushfq; andl $~0x100, (%%rsp); popfq; sti"
			 : : : "rax", "memory", "cc");
	mix(debugs);
	mix(debug_sum);
	mix(watched);
	watched = 0;
}
