// SPDX-License-Identifier: GPL-2.0-only
/* The guest's main program and the phases that compute: everything that a processor's state holds takes part. */
#include "tests/transplant/guest.h"

typedef float v4f __attribute__((vector_size(16)));
typedef double v2d __attribute__((vector_size(16)));
typedef float v8f __attribute__((vector_size(32)));
typedef u64 v4u __attribute__((vector_size(32)));

static u8 text[1024], copy[1024];

static void phase_integer(void)
{
	u64 x = hash | 1, flags = 0;

	for (unsigned i = 0; i < 2000; i++) {
		u64 low, high, f;

		__asm__("mul %3" : "=a"(low), "=d"(high) : "a"(x), "r"(hash + i) : "cc");
		x = (low ^ high) + (x >> 7);
		__asm__("add %2, %1; adc $3, %1; pushfq; pop %0" : "=&r"(f), "+r"(x) : "r"(low) : "cc");
		flags = flags * 3 + (f & 0x8d5);
		high %= 1000;
		__asm__("div %2" : "+a"(low), "+d"(high) : "r"(x | 1ull << 63) : "cc");
		x = x * 31 + low + high;
		__asm__("bsf %1, %0; popcnt %1, %1; rol %%cl, %0" : "=&r"(low), "+r"(x) : "c"(i) : "cc");
		x += low * 0x10001;
	}
	mix(x);
	mix(flags);
}

static void phase_strings(void)
{
	void *d = text;
	u64 n = sizeof(text), equal;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"((u8)hash) : "memory");
	for (unsigned i = 0; i < sizeof(text); i += 17)
		text[i] = (u8)(hash >> i % 57);
	for (unsigned i = 0; i < 8; i++) {
		void *s = text + i;

		d = copy + 8 - i;
		n = sizeof(text) - 8;
		__asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory");
		s = text;
		d = copy;
		n = sizeof(text);
		__asm__ volatile("repe cmpsb; setz %b0" : "=a"(equal), "+S"(s), "+D"(d), "+c"(n) : : "memory", "cc");
		mix(n + (equal & 1));
	}
	for (unsigned i = 0; i < sizeof(copy); i += 8)
		mix(*(u64 *)(copy + i));
}

static void phase_sse(void)
{
	u32 csr = 0x1f80 | (hash & 3) << 13;
	v4f a = { 1.5f, 2.25f, -3.125f, 1e-3f }, b = { 0.9f, 1.1f, -0.7f, 1.01f };
	v2d c = { 1.0, 3.0 };

	__asm__ volatile("ldmxcsr %0" : : "m"(csr));
	for (unsigned i = 0; i < 3000; i++) {
		a = a * b + (v4f){ 0.1f, 0.2f, 0.3f, 0.4f };
		c = c / (v2d){ 1.0000001, 1.0000003 } + (v2d){ 1e-9, 3e-9 };
		__asm__ volatile("sqrtpd %0, %0; pshufd $0x4e, %0, %0" : "+x"(c));
	}
	__asm__ volatile("stmxcsr %0" : "=m"(csr));
	mix(csr);
	mix(((union { v4f v; u64 u[2]; })a).u[0]);
	mix(((union { v4f v; u64 u[2]; })a).u[1]);
	mix(((union { v2d v; u64 u[2]; })c).u[0]);
}

/* Eight values stay on the x87 stack all the time; with a control word of its own. */
static void phase_x87(void)
{
	u16 control = 0x37f & ~0x300, out_control, out_status;
	u8 result[16];

	__asm__ volatile("fninit; fldcw %0; fld1; fldpi; fldl2e; fldl2t; fldlg2; fldln2" : : "m"(control));
	for (unsigned i = 0; i < 1500; i++)
		__asm__ volatile("fmul %st(1), %st; fadd %st(3), %st; fsqrt; fxch %st(2); fdiv %st(4), %st; fxch %st(5)");
	__asm__ volatile("fnstcw %0; fnstsw %1" : "=m"(out_control), "=m"(out_status));
	mix(out_control);
	mix(out_status & 0x387f); /* TCG does not keep C1 */
	for (unsigned i = 0; i < 6; i++) {
		*(u64 *)(result + 8) = 0;
		__asm__ volatile("fstpt %0" : "=m"(result));
		mix(*(u64 *)result);
		mix(*(u64 *)(result + 8));
	}
}

static int has_avx(void)
{
	u32 a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 28 & 1;
}

__attribute__((target("avx"))) static void phase_avx(void)
{
	v8f a = { 1, 2, 3, 4, 5, 6, 7, 8 }, b = { 1.1f, 0.9f, 1.2f, 0.8f, 1.3f, 0.7f, 1.4f, 0.6f };
	v4u u;

	for (unsigned i = 0; i < 3000; i++) {
		a = a * b + 0.5f;
		__asm__ volatile("vperm2f128 $1, %0, %0, %0; vpermilps $0x1b, %0, %0" : "+x"(a));
	}
	u = (v4u)a;
	for (unsigned i = 0; i < 4; i++)
		mix(u[i]);
	__asm__ volatile("vzeroupper");
}

/* The second processor's checksums are in the first's: phase_together(). */
static void tell(unsigned me)
{
	if (!me)
		outl(PORT_VALUE, (u32)hash);
}

/* Accesses that userspace answers, alone and as strings. */
static void phase_devices(void)
{
	u32 words[16], x;
	void *d = words;
	u64 n = 16;

	for (unsigned i = 0; i < 8; i++) {
		mix(inl(PORT_ASK));
		*(volatile u32 *)(MMIO_BASE + 0x10 * i) = (u32)hash;
		mix(*(volatile u64 *)(MMIO_BASE + 8 * i));
		__asm__ volatile("addl %1, %0" : "+m"(*(volatile u32 *)(MMIO_BASE + 0x200)) : "r"(i) : "cc");
		__asm__ volatile("movups %1, %%xmm7; movd %%xmm7, %0" : "=r"(x) : "m"(*(volatile v4f *)(MMIO_BASE + 0x300)) : "xmm7");
		mix(x);
	}
	__asm__ volatile("rep insl" : "+D"(d), "+c"(n) : "d"(PORT_ASK) : "memory");
	for (unsigned i = 0; i < 16; i++)
		mix(words[i]);
}

static void work(unsigned me, u32 flags)
{
	phase_integer();
	phase_strings();
	phase_sse();
	phase_x87();
	if (has_avx())
		phase_avx();
	tell(me);
	phase_exceptions();
	phase_interrupts();
	tell(me);
	phase_timers(me);
	phase_user();
	tell(me);
	phase_devices();
	if (!(flags & GUEST_NO_DEBUG))
		phase_debug();
	if (flags & GUEST_SMP)
		phase_together(me);
	tell(me);
}

/* me: 1 is started by 0. */
void guest_main(unsigned me)
{
	u32 flags = *(volatile u32 *)GUEST_FLAGS;

	hash = 0x1234567 + me;
	traps_init();
	irq_init(me, flags & GUEST_X2APIC);
	if (flags & GUEST_SMP && !me)
		boot_second();
	MEET->alive = 1;
	for (unsigned i = 0; i < flags >> GUEST_ROUNDS_SHIFT; i++)
		work(me, flags);
	if (!me)
		outl(PORT_END, 0);
}
