/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The x87 instructions that show or load the error pointers, and those with an effect outside the x87:
 * FNSTENV, FNSAVE, FLDENV, FRSTOR, FNINIT, FNSTSW AX. Control, status and tag word come from and go to the
 * processor; the pointers are the guest's own (x86/fpu.h), in the format of its mode (SDM vol. 1, 8.1.10).
 */
#include "engine/soft/native_op.h"

/* The 32-bit protected-mode format, which is what the host's instructions use in 64-bit mode. */
struct env32 {
	u32 fcw, fsw, ftw;
	u32 fip, fcs_fop, fdp, fds;
};

struct env16 {
	u16 fcw, fsw, ftw;
	u16 fip, fcs, fdp, fds;
};

struct save32 {
	struct env32 env;
	u8 st[80];
};

static bool real_format(const struct x86_cpu *cpu)
{
	return cpu->mode == X86_MODE_REAL || cpu->mode == X86_MODE_V86;
}

/* ---- the guest's formats ----------------------------------------------------------------------------- */

/* Real-address format: linear addresses, of which the upper part shares a word with the opcode. */
static void real_env(const struct x86_cpu *cpu, u32 *ip, u32 *dp)
{
	*ip = (u32)cpu->fpu_ip + ((u32)cpu->fpu_cs << 4);
	*dp = (u32)cpu->fpu_dp + ((u32)cpu->fpu_ds << 4);
}

static unsigned put_env16(const struct x86_cpu *cpu, const struct env32 *from, struct env16 *to)
{
	u32 ip, dp;

	to->fcw = (u16)from->fcw;
	to->fsw = (u16)from->fsw;
	to->ftw = (u16)from->ftw;
	if (real_format(cpu)) {
		real_env(cpu, &ip, &dp);
		to->fip = (u16)ip;
		to->fcs = (u16)((ip >> 4 & 0xf000) | (cpu->fpu_op & 0x7ff));
		to->fdp = (u16)dp;
		to->fds = (u16)(dp >> 4 & 0xf000);
	} else {
		to->fip = (u16)cpu->fpu_ip;
		to->fcs = x86_fpu_host.no_fcs_fds ? 0 : cpu->fpu_cs;
		to->fdp = (u16)cpu->fpu_dp;
		to->fds = x86_fpu_host.no_fcs_fds ? 0 : cpu->fpu_ds;
	}
	return sizeof(*to);
}

static unsigned put_env32(const struct x86_cpu *cpu, struct env32 *env)
{
	u32 ip, dp;

	if (real_format(cpu)) {
		real_env(cpu, &ip, &dp);
		env->fip = 0xffff0000 | (u16)ip;
		env->fcs_fop = (ip >> 16) << 12 | (cpu->fpu_op & 0x7ff);
		env->fdp = 0xffff0000 | (u16)dp;
		env->fds = (dp >> 16) << 12;
	} else {
		env->fip = (u32)cpu->fpu_ip;
		env->fcs_fop = (u32)(cpu->fpu_op & 0x7ff) << 16 | (x86_fpu_host.no_fcs_fds ? 0 : cpu->fpu_cs);
		env->fdp = (u32)cpu->fpu_dp;
		env->fds = 0xffff0000 | (x86_fpu_host.no_fcs_fds ? 0 : cpu->fpu_ds);
	}
	return sizeof(*env);
}

static void take_env16(struct x86_cpu *cpu, const struct env16 *from, struct env32 *env)
{
	*env = (struct env32){ .fcw = from->fcw, .fsw = from->fsw, .ftw = from->ftw };
	cpu->fpu_cs = cpu->fpu_ds = 0;
	cpu->fpu_ip = from->fip;
	cpu->fpu_dp = from->fdp;
	if (real_format(cpu)) {
		cpu->fpu_ip |= (u32)(from->fcs & 0xf000) << 4;
		cpu->fpu_dp |= (u32)(from->fds & 0xf000) << 4;
		cpu->fpu_op = from->fcs & 0x7ff;
	} else {
		cpu->fpu_cs = from->fcs;
		cpu->fpu_ds = from->fds;
	}
}

static void take_env32(struct x86_cpu *cpu, struct env32 *env)
{
	cpu->fpu_cs = cpu->fpu_ds = 0;
	if (real_format(cpu)) {
		cpu->fpu_ip = (env->fip & 0xffff) | (env->fcs_fop >> 12 & 0xffff) << 16;
		cpu->fpu_dp = (env->fdp & 0xffff) | (env->fds >> 12 & 0xffff) << 16;
		cpu->fpu_op = env->fcs_fop & 0x7ff;
	} else {
		cpu->fpu_ip = env->fip;
		cpu->fpu_cs = (u16)env->fcs_fop;
		cpu->fpu_op = env->fcs_fop >> 16 & 0x7ff;
		cpu->fpu_dp = env->fdp;
		cpu->fpu_ds = (u16)env->fds;
	}
	env->fip = env->fcs_fop = env->fdp = env->fds = 0;
}

/* ---- instructions ------------------------------------------------------------------------------------ */

static enum x86_result env_begin(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned access, u64 *gva)
{
	const struct native_op *op = insn->native;
	enum x86_result r = native_enabled(cpu, op);

	return r ? r : x86_fpu_area(cpu, insn, op->t.mem_size, 1, access, gva);
}

/*
 * FNSTENV masks all exceptions after storing. The write is probed before, for nothing may fault when that
 * is done.
 */
enum x86_result native_fnstenv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct env32 env;
	struct env16 small;
	u64 gva;
	unsigned size = ((const struct native_op *)insn->native)->t.mem_size;
	enum x86_result r = env_begin(cpu, insn, X86_ACCESS_WRITE, &gva);

	if (r == X86_OK)
		r = x86_fpu_probe_write(cpu, gva, &env, size);
	if (r)
		return r;
	__asm__ volatile("fnstenv %0" : "=m"(env));
	x86_fpu_track(cpu);
	if (size == sizeof(small)) {
		put_env16(cpu, &env, &small);
		return x86_fpu_write(cpu, gva, &small, size);
	}
	put_env32(cpu, &env);
	return x86_fpu_write(cpu, gva, &env, size);
}

static void forget_pointers(struct x86_cpu *cpu)
{
	cpu->fpu_ip = cpu->fpu_dp = 0;
	cpu->fpu_cs = cpu->fpu_ds = cpu->fpu_op = 0;
}

/* FNSAVE initialises the x87 after storing. */
enum x86_result native_fnsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct save32 save;
	struct env16 small;
	u64 gva;
	unsigned size = ((const struct native_op *)insn->native)->t.mem_size, head;
	enum x86_result r = env_begin(cpu, insn, X86_ACCESS_WRITE, &gva);

	if (r == X86_OK)
		r = x86_fpu_probe_write(cpu, gva, &save, size);
	if (r)
		return r;
	__asm__ volatile("fnsave %0" : "=m"(save));
	if (size == sizeof(small) + sizeof(save.st)) {
		head = put_env16(cpu, &save.env, &small);
		r = x86_fpu_write(cpu, gva, &small, head);
	} else {
		head = put_env32(cpu, &save.env);
		r = x86_fpu_write(cpu, gva, &save.env, head);
	}
	if (r == X86_OK)
		r = x86_fpu_write(cpu, gva + head, save.st, sizeof(save.st));
	forget_pointers(cpu);
	x86_fpu_track(cpu);
	return r;
}

/* Reads environment and, for FRSTOR, registers, before anything is changed. */
static enum x86_result read_save(struct x86_cpu *cpu, const struct x86_insn *insn, struct save32 *save,
				 bool registers)
{
	unsigned size = ((const struct native_op *)insn->native)->t.mem_size;
	unsigned head = registers ? size - sizeof(save->st) : size;
	struct env16 small;
	u64 gva;
	enum x86_result r = env_begin(cpu, insn, X86_ACCESS_READ, &gva);

	if (r == X86_OK)
		r = x86_fpu_read(cpu, gva, head == sizeof(small) ? (void *)&small : (void *)&save->env, head);
	if (r == X86_OK && registers)
		r = x86_fpu_read(cpu, gva + head, save->st, sizeof(save->st));
	if (r)
		return r;
	if (head == sizeof(small))
		take_env16(cpu, &small, &save->env);
	else
		take_env32(cpu, &save->env);
	return X86_OK;
}

enum x86_result native_fldenv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct save32 save;
	enum x86_result r = read_save(cpu, insn, &save, false);

	if (r)
		return r;
	__asm__ volatile("fldenv %0" : : "m"(save.env));
	x86_fpu_track(cpu);
	return X86_OK;
}

enum x86_result native_frstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct save32 save;
	enum x86_result r = read_save(cpu, insn, &save, true);

	if (r)
		return r;
	__asm__ volatile("frstor %0" : : "m"(save));
	x86_fpu_track(cpu);
	return X86_OK;
}

enum x86_result native_fninit(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = native_enabled(cpu, insn->native);

	if (r)
		return r;
	__asm__ volatile("fninit");
	forget_pointers(cpu);
	x86_fpu_track(cpu);
	return X86_OK;
}

enum x86_result native_fnstsw_ax(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r = native_enabled(cpu, insn->native);

	if (r == X86_OK)
		cpu->regs[X86_RAX] = (cpu->regs[X86_RAX] & ~0xffffull) | x86_fpu_fsw();
	return r;
}
