// SPDX-License-Identifier: GPL-2.0-only
/*
 * How fast handlers run, without the engine around them: small loops, decoded and bound once, executed by a
 * loop like the engine's with blocks found by RIP in a direct-mapped table. Prints million instructions per
 * second. Not part of the tests; build it with make build/tests/unit/bench_emulate.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/kvm.h>

#include "x86/mem.h"
#include "x86/opcodes.h"
#include "x86/system.h"

#define ORIGIN 0x1000ull
#define MAX_INSNS 32

struct block {
	u64 rip;
	struct x86_insn insn[MAX_INSNS + 1];
};

static struct x86_cpu cpu;
static struct x86_tlb_entry tlb[X86_TLB_SIZE];
static struct block blocks[64];
static u8 memory[65536] __attribute__((aligned(4096)));

static const struct loop {
	const char *name;
	const char *code;
	unsigned len;
} loops[] = {
#define LOOP(name, code) { name, code, sizeof(code) - 1 }
	/* add rax,rbx; xor rcx,rax; lea rdx,[rcx+rax*2+5]; shl rbx,1; and ecx,0xffff; dec rsi; jnz */
	LOOP("ALU", "\x48\x01\xd8\x48\x31\xc1\x48\x8d\x54\x41\x05\x48\xd1\xe3"
		    "\x81\xe1\xff\xff\x00\x00\x48\xff\xce\x75\xe7"),
	/*
	 * the same with 32-bit registers: add eax,ebx; xor ecx,eax; sub edx,3; cmp ecx,edx; inc ebx; dec
	 * esi; jnz
	 */
	LOOP("ALU, 32 bits", "\x01\xd8\x31\xc1\x83\xea\x03\x39\xd1\xff\xc3\xff\xce\x75\xf1"),
	/* mov rax,[rdi+rcx*8]; add rax,rbx; mov [rdi+rcx*8],rax; inc ecx; and ecx,511; dec rsi; jnz */
	LOOP("load, store", "\x48\x8b\x04\xcf\x48\x01\xd8\x48\x89\x04\xcf\xff\xc1"
			    "\x81\xe1\xff\x01\x00\x00\x48\xff\xce\x75\xe8"),
	/*
	 * movzx eax,byte [rdi+rcx]; add [rdi+8],rax; cmp al,5; cmovb edx,eax; inc ecx; and ecx,511; dec
	 * rsi; jnz
	 */
	LOOP("bytes, memory operands", "\x0f\xb6\x04\x0f\x48\x01\x47\x08\x3c\x05\x0f\x42\xd0\xff\xc1"
				       "\x81\xe1\xff\x01\x00\x00\x48\xff\xce\x75\xe6"),
	/* call f; dec rsi; jnz; hlt; f: push rbp; mov rbp,rsp; add eax,1; pop rbp; ret */
	LOOP("call, push, pop, ret", "\xe8\x06\x00\x00\x00\x48\xff\xce\x75\xf6\xf4"
				     "\x55\x48\x89\xe5\x83\xc0\x01\x5d\xc3"),
	/* test al,1; jz +2; inc ebx; add eax,7; dec rsi; jnz */
	LOOP("short branches", "\xa8\x01\x74\x02\xff\xc3\x83\xc0\x07\x48\xff\xce\x75\xf2"),
};

static enum x86_result block_end(struct x86_cpu *c, const struct x86_insn *insn)
{
	c->regs[X86_REG_RIP] += insn->off;
	return X86_BRANCH;
}

static struct block *find(const struct loop *loop)
{
	u64 rip = cpu.regs[X86_REG_RIP];
	struct block *b = &blocks[rip % 64];
	unsigned off = (unsigned)(rip - ORIGIN), from = off, n = 0;

	if (b->rip == rip)
		return b;
	b->rip = rip;
	while (off < loop->len && n < MAX_INSNS) {
		struct x86_insn *insn = &b->insn[n++];
		u16 op;

		if (x86_decode(insn, (const u8 *)loop->code + off, loop->len - off, 64) != X86_DECODE_OK)
			exit(1);
		x86_bind(&cpu, insn, off - from);
		off += insn->len;
		op = insn->op;
		if (op == X86_OP_CALL || op == X86_OP_RET || op == X86_OP_HLT)
			break;
	}
	b->insn[n].exec = block_end;
	b->insn[n].off = (u16)(off - from);
	return b;
}

static u64 run(const struct loop *loop, u64 count)
{
	u64 executed = 0;

	cpu.regs[X86_RSI] = count;
	cpu.regs[X86_RDI] = (u64)memory;
	cpu.regs[X86_RSP] = (u64)memory + 32768;
	cpu.regs[X86_RCX] = 0;
	cpu.regs[X86_REG_RIP] = ORIGIN;
	while (cpu.regs[X86_RSI]) {
		const struct x86_insn *insn = find(loop)->insn, *first = insn;
		enum x86_result r;

		do {
			r = insn->exec(&cpu, insn);
			insn++;
		} while (!((u32)r | atomic_read(&cpu.stop)));
		executed += (u64)(insn - first);
	}
	return executed;
}

/* The best of several tries, in processor time: other load is not the interpreter's fault. */
static double measure(const struct loop *loop)
{
	double best = 0;

	memset(blocks, 0, sizeof(blocks));
	run(loop, 1000);
	for (unsigned i = 0; i < 9; i++) {
		struct timespec a, b;
		double ns;
		u64 n;

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
		n = run(loop, 1000000);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
		ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
		if ((double)n * 1e3 / ns > best)
			best = (double)n * 1e3 / ns;
	}
	return best;
}

int main(void)
{
	static struct kvm_cpuid_entry2 cpuid[256];

	cpu.tlb = tlb;
	cpu.mode = X86_MODE_LONG;
	cpu.code_bits = 64;
	cpu.stack_size = 8;
	cpu.canonical_bits = 48;
	cpu.seg_flat = 0x3f;
	cpu.cpl = 3;
	x86_cpuid_apply(&cpu, cpuid, (unsigned)x86_cpuid_supported(cpuid, ARRAY_SIZE(cpuid)));
	for (u64 page = (u64)memory; page < (u64)memory + sizeof(memory); page += 4096)
		tlb[page >> 12 & (X86_TLB_SIZE - 1)] = (struct x86_tlb_entry){ page, page, page, 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
		printf("%-24s %7.0f M/s\n", loops[i].name, measure(&loops[i]));
	return 0;
}
