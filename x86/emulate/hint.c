/* SPDX-License-Identifier: GPL-2.0-only */
/* Fences, cache lines, PAUSE, SERIALIZE, random numbers: mostly the host's own. */
#include "host/host.h"
#include "x86/emulate/emulate.h"

enum x86_result x86_exec_ud(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	return x86_raise(cpu, X86_UD, 0);
}

/*
 * Who executes PAUSE after PAUSE waits for another processor, whose thread may want this one's place (what hardware calls
 * PAUSE-loop exiting, SDM 25.1.3, or the pause filter, APM vol. 2, 15.14.4; as with the latter at any CPL). Host cycles; the
 * gap has room for what runs between two of them here.
 */
#define PAUSE_GAP 4096u
#define PAUSE_WINDOW 32768u

enum x86_result x86_exec_pause(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 now = host_tsc();

	(void)insn;
	__builtin_ia32_pause();
	if (now - cpu->pause_last > PAUSE_GAP)
		cpu->pause_first = now;
	cpu->pause_last = now;
	if (likely(now - cpu->pause_first < PAUSE_WINDOW))
		return X86_OK;
	cpu->pause_first = now;
	cpu->env->spinning(cpu);
	return X86_OK;
}

enum x86_result x86_exec_lfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu, (void)insn;
	asm volatile("lfence" : : : "memory");
	return X86_OK;
}

enum x86_result x86_exec_mfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu, (void)insn;
	asm volatile("mfence" : : : "memory");
	return X86_OK;
}

enum x86_result x86_exec_sfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu, (void)insn;
	asm volatile("sfence" : : : "memory");
	return X86_OK;
}

/* Instructions are executed one after the other anyway; memory is what is left to order. */
enum x86_result x86_exec_serialize(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu, (void)insn;
	asm volatile("mfence" : : : "memory");
	return X86_END;
}

/* CLFLUSH, CLFLUSHOPT, CLWB: checked like a read of one byte; host caches are coherent. */
enum x86_result x86_exec_clflush(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u8 scratch;
	u64 gva;

	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), 1, X86_ACCESS_READ, &gva);
	if (unlikely(r) || tlb_read(cpu, gva, 1))
		return r;
	return cpu->mem->read(cpu, gva, &scratch, 1, X86_ACCESS_READ | X86_ACCESS_PROBE);
}

#define X86_CACHE_LINE 64u

/* The line that holds seg:rAX: the linear address is aligned, not the offset. */
enum x86_result x86_exec_clzero(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 zeros[X86_CACHE_LINE / 8] = { 0 }, gva;
	enum x86_result r;

	r = x86_linear(cpu, insn->seg, reg_read(cpu, X86_RAX, insn->asize), 1, X86_ACCESS_WRITE, &gva);
	if (unlikely(r))
		return r;
	gva &= ~(u64)(X86_CACHE_LINE - 1);
	return x86_write_bytes(cpu, gva, zeros, X86_CACHE_LINE, X86_ACCESS_WRITE);
}

/*
 * RDRAND, RDSEED: CF says whether there was a number, the other flags are 0, the register is 0 without one.
 */
enum x86_result x86_exec_rdrand(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool ok;
	u64 value;

	if (insn->op == X86_OP_RDRAND)
		asm volatile("rdrand %[v]" : [v] "=r"(value), "=@ccc"(ok));
	else
		asm volatile("rdseed %[v]" : [v] "=r"(value), "=@ccc"(ok));
	reg_write(cpu, insn->operand[0].reg, ok ? value : 0, insn->osize);
	cpu->cc = ok ? X86_CF : 0;
	return X86_OK;
}
