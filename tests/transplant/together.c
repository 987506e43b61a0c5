// SPDX-License-Identifier: GPL-2.0-only
/*
 * What two processors do with each other. They meet before each part; what they mix in does not depend on who is faster.
 */
#include "tests/transplant/guest.h"

#define V_CALL 0x61

extern u8 second[], second_end[];

static void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

void boot_second(void)
{
	u8 *to = (u8 *)GUEST_BOOT;

	for (u8 *from = second; from < second_end;)
		*to++ = *from++;
	send_ipi(1, 0xc500); /* INIT, and its end */
	send_ipi(1, 0x8500);
	send_ipi(1, 0x600 | GUEST_BOOT >> 12);
	while (!MEET->alive)
		pause();
}

static void meet(void)
{
	static u32 all;

	all += 2;
	__asm__ volatile("lock incl %0" : "+m"(MEET->arrived) : : "memory", "cc");
	while ((int)(MEET->arrived - all) < 0)
		pause();
}

/* ---- locked operations ------------------------------------------------------------------------- */

static void lock(void)
{
	u32 was;

	for (;;) {
		__asm__ volatile("lock btsl $0, %0; sbb %1, %1" : "+m"(MEET->lock), "=r"(was) : : "memory", "cc");
		if (!was)
			return;
		while (MEET->lock)
			pause();
	}
}

static void unlock(void)
{
	MEET->lock = 0;
}

static void part_locks(unsigned me)
{
	for (unsigned i = 0; i < 100; i++) {
		u64 add = i * 5 + me, old = MEET->sum;
		unsigned char done;

		__asm__ volatile("lock xaddq %1, %0" : "+m"(MEET->words[0]), "+r"(add) : : "memory", "cc");
		do {
			__asm__ volatile("lock cmpxchgq %3, %0; sete %1"
					 : "+m"(MEET->sum), "=q"(done), "+a"(old) : "r"(old + i * 3 + me) : "memory", "cc");
		} while (!done);
		lock();
		MEET->plain = MEET->plain + 7;
		unlock();
	}
	meet();
	mix(MEET->words[0]);
	mix(MEET->sum);
	mix(MEET->plain);
}

/* ---- messages: written words are seen when the turn is -------------------------------------------- */

static void part_messages(unsigned me)
{
	u64 first = MEET->turn;

	meet();
	for (unsigned i = 0; i < 16; i++) {
		while ((MEET->turn - first) % 2 != me)
			pause();
		for (unsigned k = 1; k < 16; k++) {
			mix(MEET->words[k]);
			MEET->words[k] = MEET->words[k] * 3 + k + me;
		}
		MEET->turn = MEET->turn + 1;
	}
}

/* ---- interrupts to the halted other: to its ID, to all but oneself, to its logical ID --------------- */

static void call_other(unsigned me, unsigned how)
{
	u32 other = 1 - me;

	if (how % 3 == 0)
		send_ipi(other, V_CALL);
	else if (how % 3 == 1)
		send_ipi(0, 0xc0000 | V_CALL);
	else
		send_ipi(1u << other, 0x800 | V_CALL);
}

static void part_calls(unsigned me)
{
	u32 before = calls;

	meet(); /* nobody calls before both have looked */
	for (unsigned i = 1; i <= 6; i++) {
		if (!me)
			call_other(me, i);
		wait_calls(before + i);
		if (me)
			call_other(me, i);
	}
	mix(calls);
}

/* ---- the first takes a page away from under the second's hands ------------------------------------------ */

static void part_window_first(void)
{
	volatile u64 *entry = (volatile u64 *)GUEST_WINDOW_TABLE, *answer = &MEET->words[0];

	for (unsigned i = 0; i < 4; i++) {
		u64 page = GUEST_WINDOW_PAGES + (i & 1) * 0x1000;

		*entry = page | 3;
		__asm__ volatile("invlpg (%0)" : : "r"(GUEST_WINDOW) : "memory");
		MEET->flush = GUEST_WINDOW;
		send_ipi(1, V_CALL);
		while (MEET->flush)
			pause();
		*answer = 0;
		MEET->turn = MEET->turn + 1;
		while (!*answer)
			pause();
		mix(*(volatile u64 *)(page + 8));
		mix(*(volatile u64 *)(GUEST_WINDOW + 8));
	}
}

static void part_window_second(u64 first)
{
	volatile u64 *window = (volatile u64 *)(GUEST_WINDOW + 8);

	for (unsigned i = 1; i <= 4; i++) {
		while (MEET->turn != first + i)
			pause();
		mix(*window);
		*window = *window * 5 + i;
		MEET->words[0] = 1;
	}
}

static void part_window(unsigned me)
{
	u64 first = MEET->turn;

	meet();
	if (me)
		part_window_second(first);
	else
		part_window_first();
}

/* ---- code that the other writes ----------------------------------------------------------------------------- */

static void serialize(void)
{
	u32 a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

static void write_code(u32 value)
{
	volatile u8 *code = MEET->code;

	code[0] = 0xb8; /* mov $value, %eax */
	*(volatile u32 *)(code + 1) = value;
	code[5] = 0xc3;
}

static void part_code(unsigned me)
{
	u64 first = MEET->turn;

	meet();
	for (unsigned i = 0; i < 10; i++) {
		while ((MEET->turn - first) % 2 != me)
			pause();
		serialize();
		if (i || me)
			mix(((u32(*)(void))MEET->code)());
		write_code((u32)hash);
		MEET->turn = MEET->turn + 1;
	}
}

void phase_together(unsigned me)
{
	meet();
	part_locks(me);
	meet();
	part_messages(me);
	meet();
	part_calls(me);
	meet();
	part_window(me);
	meet();
	part_code(me);
	if (me)
		MEET->hash = hash;
	meet();
	if (!me)
		mix(MEET->hash);
}
