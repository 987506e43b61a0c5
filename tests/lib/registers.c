// SPDX-License-Identifier: GPL-2.0-only
/*
 * For guests: registers and memory keep what they are given, over loops long enough for the hypervisor to change how it runs
 * them, with and without system calls. Prints what has changed, and ends with 1 then.
 *
 *	registers ROUNDS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY (4ul << 20)
#define PAGE 4096

struct registers {
	uint64_t rbx, rbp, r8, r9, r10, r12, r13, r14, r15, unused[7];
	uint8_t ymm[16][32];
};

extern struct registers given, left;
struct registers given, left;

#define EACH(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)
#define LOAD(n) "vmovups 128+32*" #n "(%rax), %ymm" #n "\n"
#define STORE(n) "vmovups %ymm" #n ", 128+32*" #n "(%rax)\n"

/* void hold(long turns, int call): loads the registers, spins, makes system calls or not, and stores them. */
void hold(long turns, int call);
__asm__("hold:	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
	"mov %rdi, %rcx; mov %esi, %edx; lea given(%rip), %rax\n"
	EACH(LOAD)
	"mov (%rax), %rbx; mov 8(%rax), %rbp; mov 16(%rax), %r8; mov 24(%rax), %r9; mov 32(%rax), %r10\n"
	"mov 40(%rax), %r12; mov 48(%rax), %r13; mov 56(%rax), %r14; mov 64(%rax), %r15\n"
	"1:	mov $2000, %esi\n"
	"2:	dec %esi; jnz 2b; test %edx, %edx; jz 3f\n"
	"push %rcx; mov $110, %eax; syscall; pop %rcx\n" /* getppid */
	"3:	dec %rcx; jnz 1b; lea left(%rip), %rax\n"
	EACH(STORE)
	"mov %rbx, (%rax); mov %rbp, 8(%rax); mov %r8, 16(%rax); mov %r9, 24(%rax); mov %r10, 32(%rax)\n"
	"mov %r12, 40(%rax); mov %r13, 48(%rax); mov %r14, 56(%rax); mov %r15, 64(%rax)\n"
	"vzeroupper; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n");

static void choose(unsigned round)
{
	static uint64_t seed;
	uint64_t *word = (uint64_t *)&given;

	seed += (uint64_t)getpid();
	for (unsigned i = 0; i < sizeof(given) / 8; i++)
		word[i] = seed = seed * 6364136223846793005u + 1442695040888963407u;
	memset(given.unused, 0, sizeof(given.unused));
	for (unsigned i = 0; i < 16 && (round & 4); i++)
		memset(given.ymm[i] + 16, 0, 16);
	if ((round & 24) == 24)
		memset(given.ymm, 0, sizeof(given.ymm));
}

static int compare_memory(const uint8_t *memory, unsigned round)
{
	for (size_t at = 0; at < MEMORY; at += PAGE) {
		if (memory[at] == (uint8_t)round)
			continue;
		printf("REGISTERS process %d round %u: %#zx of memory has %#x\n", getpid(), round, at, memory[at]);
		return 1;
	}
	return 0;
}

static int compare(unsigned round)
{
	const uint64_t *a = (uint64_t *)&given, *b = (uint64_t *)&left;

	for (unsigned i = 0; i < sizeof(given) / 8; i++) {
		if (a[i] == b[i])
			continue;
		printf("REGISTERS process %d round %u word %u: %#lx, not %#lx\n", getpid(), round, i, b[i], a[i]);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
	uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int bad = memory == MAP_FAILED;

	for (unsigned round = 0; round < rounds && !bad; round++) {
		choose(round);
		for (size_t at = 0; at < MEMORY; at += PAGE)
			memory[at] = (uint8_t)round;
		hold(round & 1 ? 3000 : 300, round & 2);
		bad = compare(round) | compare_memory(memory, round);
	}
	return bad;
}
