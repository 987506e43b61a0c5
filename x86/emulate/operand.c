/* SPDX-License-Identifier: GPL-2.0-only */
/* Operands of any form and size, for the generic handlers. */
#include "host/host.h"
#include "x86/emulate/emulate.h"
#include "x86/system.h"

enum x86_result x86_read_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 *value)
{
	const void *host = tlb_read(cpu, gva, size);

	if (unlikely(!host)) {
		*value = 0;
		return cpu->mem->read(cpu, gva, value, size, X86_ACCESS_READ);
	}
	switch (size) {
	case 1:
		*value = MEM_LOAD(8, host);
		break;
	case 2:
		*value = MEM_LOAD(16, host);
		break;
	case 4:
		*value = MEM_LOAD(32, host);
		break;
	default:
		*value = MEM_LOAD(64, host);
		break;
	}
	return X86_OK;
}

enum x86_result x86_write_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 value)
{
	void *host = tlb_write(cpu, gva, size);

	if (unlikely(!host))
		return cpu->mem->write(cpu, gva, &value, size, X86_ACCESS_WRITE);
	switch (size) {
	case 1:
		MEM_STORE(8, host, value);
		break;
	case 2:
		MEM_STORE(16, host, value);
		break;
	case 4:
		MEM_STORE(32, host, value);
		break;
	default:
		MEM_STORE(64, host, value);
		break;
	}
	return X86_OK;
}

enum x86_result x86_rmw_linear(struct x86_cpu *cpu, u64 gva, unsigned size, u64 *value)
{
	if (likely(tlb_rmw(cpu, gva, size)))
		return x86_read_linear(cpu, gva, size, value);
	*value = 0;
	return cpu->mem->read(cpu, gva, value, size, X86_ACCESS_WRITE | X86_ACCESS_RMW);
}

enum x86_result x86_mem_read(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, u64 *value)
{
	u64 gva;
	enum x86_result r = x86_linear(cpu, seg, ea, size, X86_ACCESS_READ, &gva);

	return unlikely(r) ? r : x86_read_linear(cpu, gva, size, value);
}

enum x86_result x86_mem_write(struct x86_cpu *cpu, unsigned seg, u64 ea, unsigned size, u64 value)
{
	u64 gva;
	enum x86_result r = x86_linear(cpu, seg, ea, size, X86_ACCESS_WRITE, &gva);

	return unlikely(r) ? r : x86_write_linear(cpu, gva, size, value);
}

static u64 operand_reg(const struct x86_cpu *cpu, const struct x86_operand *o)
{
	if (o->kind == X86_OPD_REGH)
		return cpu->regs[o->reg] >> 8 & 0xff;
	return reg_read(cpu, o->reg, o->size);
}

static void operand_set_reg(struct x86_cpu *cpu, const struct x86_operand *o, u64 value)
{
	if (o->kind == X86_OPD_REGH)
		cpu->regs[o->reg] = (cpu->regs[o->reg] & ~0xff00ull) | (value & 0xff) << 8;
	else
		reg_write(cpu, o->reg, value, o->size);
}

enum x86_result x86_operand_read(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n, u64 *value)
{
	const struct x86_operand *o = &insn->operand[n];

	switch (o->kind) {
	case X86_OPD_MEM:
		return x86_mem_read(cpu, insn->seg, x86_ea(cpu, insn), o->size, value);
	case X86_OPD_IMM:
	case X86_OPD_REL:
		*value = insn->imm;
		return X86_OK;
	case X86_OPD_IMM2:
		*value = insn->imm2;
		return X86_OK;
	default:
		*value = operand_reg(cpu, o);
		return X86_OK;
	}
}

enum x86_result x86_operand_write(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n, u64 value)
{
	const struct x86_operand *o = &insn->operand[n];

	if (o->kind == X86_OPD_MEM)
		return x86_mem_write(cpu, insn->seg, x86_ea(cpu, insn), o->size, value);
	operand_set_reg(cpu, o, value);
	return X86_OK;
}

enum x86_result x86_operand_open(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n,
				 u64 *gva, u64 *value)
{
	const struct x86_operand *o = &insn->operand[n];
	enum x86_result r;

	if (o->kind != X86_OPD_MEM) {
		*value = operand_reg(cpu, o);
		return X86_OK;
	}
	r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), o->size, X86_ACCESS_WRITE, gva);
	return unlikely(r) ? r : x86_rmw_linear(cpu, *gva, o->size, value);
}

enum x86_result x86_operand_commit(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned n,
				   u64 gva, u64 value)
{
	const struct x86_operand *o = &insn->operand[n];

	if (o->kind == X86_OPD_MEM)
		return x86_write_linear(cpu, gva, o->size, value);
	operand_set_reg(cpu, o, value);
	return X86_OK;
}

enum x86_result x86_lock_operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, u64 *gva,
				 void **host)
{
	enum x86_result r = x86_linear(cpu, insn->seg, x86_ea(cpu, insn), size, X86_ACCESS_WRITE, gva);

	if (unlikely(r))
		return r;
	*host = tlb_rmw(cpu, *gva, size);
	if (likely(*host))
		return X86_OK;
	return cpu->mem->pin(cpu, *gva, size, X86_ACCESS_WRITE | X86_ACCESS_RMW, host);
}

/*
 * Of all machines in the process: such operations are rare, and hardware stops everybody for them, too. It excludes its
 * like alone: operations that the host locks, on a part of the same operand, do not wait for it.
 */
static struct host_mutex bus;

void x86_bus_lock(struct x86_cpu *cpu)
{
	host_mutex_lock(&bus);
	cpu->bus_locked = true;
}

void x86_bus_unlock(struct x86_cpu *cpu)
{
	if (!cpu->bus_locked)
		return;
	cpu->bus_locked = false;
	host_mutex_unlock(&bus);
}

enum x86_result x86_bus_locked(struct x86_cpu *cpu, const struct x86_insn *insn, x86_exec_fn *slow)
{
	enum x86_result r;

	x86_bus_lock(cpu);
	r = slow(cpu, insn);
	x86_bus_unlock(cpu);
	return r;
}
