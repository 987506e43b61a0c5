/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * INS and OUTS. A repeated one hands env as many items as lie within one page of plain memory; env may do
 * fewer. For INS the destination is checked before the port is read, since a port read cannot be taken
 * back.
 */
#include "x86/emulate/string.h"

static u16 port_of(const struct x86_cpu *cpu)
{
	return (u16)cpu->regs[X86_RDX];
}

/* ---- INS ------------------------------------------------------------------------------------- */

static enum x86_result ins_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned count = 1, size = insn->osize;
	enum x86_result r;
	u64 gva;
	u32 data = 0;

	r = x86_linear(cpu, X86_ES, string_ea(cpu, insn, X86_RDI), size, X86_ACCESS_WRITE, &gva);
	if (likely(!r) && !tlb_write(cpu, gva, size))
		r = cpu->mem->write(cpu, gva, &data, size, X86_ACCESS_WRITE | X86_ACCESS_PROBE);
	if (likely(!r))
		r = cpu->env->pio_in(cpu, port_of(cpu), size, &data, &count);
	if (likely(!r))
		r = x86_write_linear(cpu, gva, size, data);
	if (unlikely(r))
		return r;
	x86_io_breakpoint(cpu, port_of(cpu), size);
	string_step(cpu, insn, X86_RDI, 1);
	return X86_OK;
}

#define BACKWARDS_BYTES 1024u

/* As many as KVM reads ahead, so that userspace sees the same exits. */
static u64 backwards_max(u64 di, unsigned size, u64 max)
{
	u64 n = min_u64(di & 4095, BACKWARDS_BYTES / size);

	return min_u64(max, n ? n : 1);
}

/* Host memory for n elements from di downwards, within a page; NULL if there is not for all of them. */
static u8 *pin_down(struct x86_cpu *cpu, const struct x86_insn *insn, u64 di, u64 n)
{
	u64 room = n;
	u8 *host = x86_string_pin(cpu, insn, X86_ES, di - (n - 1) * insn->osize, X86_ACCESS_WRITE, &room);

	return room < n ? NULL : host;
}

/* The port's first item goes to the highest address. */
static void store_down(u8 *host, const u8 *data, u64 n, u64 count, unsigned size)
{
	for (u64 i = 0; i < count; i++)
		memcpy(host + (n - 1 - i) * size, data + i * size, size);
}

/* With DF set; in two pages at most. */
static enum x86_result ins_backwards(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	unsigned size = insn->osize, count;
	u64 di = string_ea(cpu, insn, X86_RDI), n = backwards_max(di, size, max), here = min_u64(n, (di & 4095) / size + 1);
	u8 *host = pin_down(cpu, insn, di, here);
	u8 *below = host && here < n ? pin_down(cpu, insn, di - here * size, n - here) : NULL;
	u8 data[BACKWARDS_BYTES];
	enum x86_result r;

	if (!host)
		return X86_OK;
	count = (unsigned)(below ? n : here);
	r = cpu->env->pio_in(cpu, port_of(cpu), size, data, &count);
	if (unlikely(r))
		return r;
	store_down(host, data, here, min_u64(here, count), size);
	if (count > here)
		store_down(below, data + here * size, n - here, count - here, size);
	x86_io_breakpoint(cpu, port_of(cpu), size);
	string_step(cpu, insn, X86_RDI, count);
	*done = count;
	return X86_OK;
}

static enum x86_result ins_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 di = string_ea(cpu, insn, X86_RDI), n = max;
	void *host = x86_string_pin(cpu, insn, X86_ES, di, X86_ACCESS_WRITE, &n);
	enum x86_result r;
	unsigned count;

	if (!host)
		return X86_OK;
	count = (unsigned)n;
	r = cpu->env->pio_in(cpu, port_of(cpu), insn->osize, host, &count);
	if (unlikely(r))
		return r;
	x86_io_breakpoint(cpu, port_of(cpu), insn->osize);
	string_step(cpu, insn, X86_RDI, count);
	*done = count;
	return X86_OK;
}

enum x86_result x86_exec_ins(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = x86_check_io(cpu, port_of(cpu), insn->osize);

	return unlikely(r) ? r : x86_string(cpu, insn, false, ins_one, cpu->rflags & X86_DF ? ins_backwards : ins_run);
}

/* ---- OUTS ------------------------------------------------------------------------------------ */

static enum x86_result outs_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned count = 1, size = insn->osize;
	enum x86_result r;
	u64 data;

	r = x86_mem_read(cpu, insn->seg, string_ea(cpu, insn, X86_RSI), size, &data);
	if (likely(!r))
		r = cpu->env->pio_out(cpu, port_of(cpu), size, &data, &count);
	if (unlikely(r))
		return r;
	x86_io_breakpoint(cpu, port_of(cpu), size);
	string_step(cpu, insn, X86_RSI, 1);
	return X86_OK;
}

static enum x86_result outs_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 si = string_ea(cpu, insn, X86_RSI), n = max;
	const void *host = x86_string_pin(cpu, insn, insn->seg, si, X86_ACCESS_READ, &n);
	enum x86_result r;
	unsigned count;

	if (!host)
		return X86_OK;
	count = (unsigned)n;
	r = cpu->env->pio_out(cpu, port_of(cpu), insn->osize, host, &count);
	if (unlikely(r))
		return r;
	x86_io_breakpoint(cpu, port_of(cpu), insn->osize);
	string_step(cpu, insn, X86_RSI, count);
	*done = count;
	return X86_OK;
}

enum x86_result x86_exec_outs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = x86_check_io(cpu, port_of(cpu), insn->osize);

	return unlikely(r) ? r : x86_string(cpu, insn, false, outs_one, outs_run);
}
