/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * String instructions on memory. Every iteration commits rSI, rDI and rCX, so that a fault or an exit in
 * the middle leaves a state from which the instruction goes on. Runs within a page are done by the same
 * instruction of the host on host memory: element by element like the guest's, so overlapping operands come
 * out right.
 */
#include "x86/emulate/string.h"

static bool stepping(const struct x86_cpu *cpu)
{
	return (cpu->rflags & X86_TF) || (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP);
}

static bool zf_ends(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool zf = cpu->cc & X86_ZF;

	return insn->prefix & X86_PFX_REPNE ? zf : !zf;
}

/*
 * REP MOVS and STOS with 32-bit addresses and a count of 0: Intel processors clear the upper halves all the
 * same (so does KVM's emulator).
 */
static void zero_count(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->asize != 4 || cpu->vendor_amd || !in_long_mode64(cpu))
		return;
	if (insn->op != X86_OP_MOVS && insn->op != X86_OP_STOS)
		return;
	cpu->regs[X86_RCX] = 0;
	cpu->regs[X86_RDI] = (u32)cpu->regs[X86_RDI];
	if (insn->op == X86_OP_MOVS)
		cpu->regs[X86_RSI] = (u32)cpu->regs[X86_RSI];
}

enum x86_result x86_string(struct x86_cpu *cpu, const struct x86_insn *insn, bool by_zf, x86_string_one *one,
			   x86_string_run *run)
{
	u64 count = reg_read(cpu, X86_RCX, insn->asize), done;
	enum x86_result r;

	if (!(insn->prefix & (X86_PFX_REP | X86_PFX_REPNE)))
		return one(cpu, insn);
	if (!count)
		zero_count(cpu, insn);
	while (count) {
		done = 0;
		if (run && (!(cpu->rflags & X86_DF) || insn->op == X86_OP_INS) && !stepping(cpu)) {
			r = run(cpu, insn, count, &done);
			if (unlikely(r))
				return r;
		}
		if (!done) {
			r = one(cpu, insn);
			if (unlikely(r))
				return r;
			done = 1;
		}
		count -= done;
		areg_write(cpu, insn, X86_RCX, count);
		if (by_zf && zf_ends(cpu, insn))
			break;
		if (count && (unlikely(atomic_read(&cpu->stop)) || stepping(cpu) || cpu->pending_dr6))
			return X86_REPEAT;
	}
	return X86_OK;
}

void *x86_string_pin(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned seg, u64 ea,
		     unsigned access, u64 *n)
{
	bool write = access & X86_ACCESS_WRITE;
	unsigned size = insn->osize;
	void *host = NULL;
	u64 gva, room;

	if (cpu->align_check)
		return NULL; /* each element is checked */
	room = (size_mask(insn->asize) - ea) / size; /* to the wrap of the address */
	if (x86_linear(cpu, seg, ea, size, access, &gva))
		return NULL;
	room = min_u64(room, (4096 - (gva & 4095)) / size);
	*n = min_u64(*n, room);
	if (!*n || x86_linear(cpu, seg, ea, (unsigned)*n * size, access, &gva))
		return NULL;
	host = write ? tlb_write(cpu, gva, (unsigned)*n * size) : tlb_read(cpu, gva, (unsigned)*n * size);
	if (host)
		return host;
	return cpu->mem->pin(cpu, gva, (unsigned)*n * size, access, &host) ? NULL : host;
}

/* ---- MOVS ------------------------------------------------------------------------------------ */

static enum x86_result movs_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_mem_read(cpu, insn->seg, string_ea(cpu, insn, X86_RSI), insn->osize, &value);
	if (likely(!r))
		r = x86_mem_write(cpu, X86_ES, string_ea(cpu, insn, X86_RDI), insn->osize, value);
	if (unlikely(r))
		return r;
	string_step(cpu, insn, X86_RSI, 1);
	string_step(cpu, insn, X86_RDI, 1);
	return X86_OK;
}

#define HOST_MOVS(letter) asm volatile("rep movs" letter : "+D"(d), "+S"(s), "+c"(n) : : "memory")

static void host_movs(void *d, const void *s, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		HOST_MOVS("b");
		break;
	case 2:
		HOST_MOVS("w");
		break;
	case 4:
		HOST_MOVS("l");
		break;
	default:
		HOST_MOVS("q");
		break;
	}
}

static enum x86_result movs_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 si = string_ea(cpu, insn, X86_RSI), di = string_ea(cpu, insn, X86_RDI), n = max;
	const void *s = x86_string_pin(cpu, insn, insn->seg, si, X86_ACCESS_READ, &n);
	void *d = s ? x86_string_pin(cpu, insn, X86_ES, di, X86_ACCESS_WRITE, &n) : NULL;

	if (!d)
		return X86_OK;
	host_movs(d, s, n, insn->osize);
	string_step(cpu, insn, X86_RSI, n);
	string_step(cpu, insn, X86_RDI, n);
	*done = n;
	return X86_OK;
}

enum x86_result x86_exec_movs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_string(cpu, insn, false, movs_one, movs_run);
}

/* ---- STOS ------------------------------------------------------------------------------------ */

static enum x86_result stos_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	u64 di = string_ea(cpu, insn, X86_RDI);
	enum x86_result r = x86_mem_write(cpu, X86_ES, di, insn->osize, cpu->regs[X86_RAX]);

	if (likely(!r))
		string_step(cpu, insn, X86_RDI, 1);
	return r;
}

#define HOST_STOS(letter) asm volatile("rep stos" letter : "+D"(d), "+c"(n) : "a"(value) : "memory")

static void host_stos(void *d, u64 value, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		HOST_STOS("b");
		break;
	case 2:
		HOST_STOS("w");
		break;
	case 4:
		HOST_STOS("l");
		break;
	default:
		HOST_STOS("q");
		break;
	}
}

static enum x86_result stos_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 n = max;
	void *d = x86_string_pin(cpu, insn, X86_ES, string_ea(cpu, insn, X86_RDI), X86_ACCESS_WRITE, &n);

	if (!d)
		return X86_OK;
	host_stos(d, cpu->regs[X86_RAX], n, insn->osize);
	string_step(cpu, insn, X86_RDI, n);
	*done = n;
	return X86_OK;
}

enum x86_result x86_exec_stos(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_string(cpu, insn, false, stos_one, stos_run);
}

/* ---- LODS ------------------------------------------------------------------------------------ */

static enum x86_result lods_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 value;

	r = x86_mem_read(cpu, insn->seg, string_ea(cpu, insn, X86_RSI), insn->osize, &value);
	if (unlikely(r))
		return r;
	reg_write(cpu, X86_RAX, value, insn->osize);
	string_step(cpu, insn, X86_RSI, 1);
	return X86_OK;
}

enum x86_result x86_exec_lods(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_string(cpu, insn, false, lods_one, NULL);
}

/* ---- CMPS, SCAS ------------------------------------------------------------------------------ */

/* Flags of d - s. */
static u32 compare(u64 d, u64 s, unsigned size)
{
	unsigned shift = 64 - 8 * size;
	u32 ax, low;

	/*
	 * Shifted to the top all flags but AF and PF are those of the narrow comparison; these come from
	 * the low byte.
	 */
	asm("cmp %[s], %[d]" GET_FLAGS : "=&a"(ax) : [d] "r"(d << shift), [s] "r"(s << shift) : "cc");
	asm("cmp %b[s], %b[d]" GET_FLAGS : "=&a"(low) : [d] "r"(d), [s] "r"(s) : "cc");
	return (cc_of(ax) & ~(X86_AF | X86_PF)) | (cc_of(low) & (X86_AF | X86_PF));
}

static enum x86_result read_si(struct x86_cpu *cpu, const struct x86_insn *insn, u64 *value)
{
	return x86_mem_read(cpu, insn->seg, string_ea(cpu, insn, X86_RSI), insn->osize, value);
}

static enum x86_result read_di(struct x86_cpu *cpu, const struct x86_insn *insn, u64 *value)
{
	return x86_mem_read(cpu, X86_ES, string_ea(cpu, insn, X86_RDI), insn->osize, value);
}

/* Where both would fault: AMD's processors read [ES:rDI] first. */
static enum x86_result cmps_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool di_first = cpu->vendor_amd;
	enum x86_result r;
	u64 d, s;

	r = di_first ? read_di(cpu, insn, &s) : read_si(cpu, insn, &d);
	if (likely(!r))
		r = di_first ? read_si(cpu, insn, &d) : read_di(cpu, insn, &s);
	if (unlikely(r))
		return r;
	cpu->cc = compare(d, s, insn->osize);
	string_step(cpu, insn, X86_RSI, 1);
	string_step(cpu, insn, X86_RDI, 1);
	return X86_OK;
}

static enum x86_result scas_one(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	enum x86_result r;
	u64 s;

	r = read_di(cpu, insn, &s);
	if (unlikely(r))
		return r;
	cpu->cc = compare(cpu->regs[X86_RAX], s, insn->osize);
	string_step(cpu, insn, X86_RDI, 1);
	return X86_OK;
}

/* Each returns how many of n elements are left; n is not 0. */
#define DEFINE_HOST_COMPARE(rep, bits, letter)                                                              \
	static u64 host_##rep##_cmps##bits(const void *a, const void *b, u64 n, u32 *cc)                    \
	{                                                                                                   \
		u32 ax;                                                                                     \
                                                                                                            \
		asm volatile(#rep " cmps" letter GET_FLAGS                                                  \
			     : "+S"(a), "+D"(b), "+c"(n), "=&a"(ax)                                         \
			     :                                                                              \
			     : "cc", "memory");                                                             \
		*cc = cc_of(ax);                                                                            \
		return n;                                                                                   \
	}                                                                                                   \
	static u64 host_##rep##_scas##bits(const void *p, u64 value, u64 n, u32 *cc)                        \
	{                                                                                                   \
		asm volatile(#rep " scas" letter GET_FLAGS                                                  \
			     : "+D"(p), "+c"(n), "+a"(value)                                                \
			     :                                                                              \
			     : "cc", "memory");                                                             \
		*cc = cc_of((u32)value);                                                                    \
		return n;                                                                                   \
	}

DEFINE_HOST_COMPARE(repe, 8, "b")
DEFINE_HOST_COMPARE(repe, 16, "w")
DEFINE_HOST_COMPARE(repe, 32, "l")
DEFINE_HOST_COMPARE(repe, 64, "q")
DEFINE_HOST_COMPARE(repne, 8, "b")
DEFINE_HOST_COMPARE(repne, 16, "w")
DEFINE_HOST_COMPARE(repne, 32, "l")
DEFINE_HOST_COMPARE(repne, 64, "q")

typedef u64 host_cmps(const void *a, const void *b, u64 n, u32 *cc);
typedef u64 host_scas(const void *p, u64 value, u64 n, u32 *cc);

static host_cmps *const cmps_fns[2][4] = {
	{ host_repe_cmps8, host_repe_cmps16, host_repe_cmps32, host_repe_cmps64 },
	{ host_repne_cmps8, host_repne_cmps16, host_repne_cmps32, host_repne_cmps64 },
};

static host_scas *const scas_fns[2][4] = {
	{ host_repe_scas8, host_repe_scas16, host_repe_scas32, host_repe_scas64 },
	{ host_repne_scas8, host_repne_scas16, host_repne_scas32, host_repne_scas64 },
};

static enum x86_result cmps_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 si = string_ea(cpu, insn, X86_RSI), di = string_ea(cpu, insn, X86_RDI), n = max;
	const void *a = x86_string_pin(cpu, insn, insn->seg, si, X86_ACCESS_READ, &n);
	const void *b = a ? x86_string_pin(cpu, insn, X86_ES, di, X86_ACCESS_READ, &n) : NULL;

	if (!b)
		return X86_OK;
	n -= cmps_fns[!!(insn->prefix & X86_PFX_REPNE)][size_index(insn->osize)](a, b, n, &cpu->cc);
	string_step(cpu, insn, X86_RSI, n);
	string_step(cpu, insn, X86_RDI, n);
	*done = n;
	return X86_OK;
}

static enum x86_result scas_run(struct x86_cpu *cpu, const struct x86_insn *insn, u64 max, u64 *done)
{
	u64 di = string_ea(cpu, insn, X86_RDI), n = max;
	const void *p = x86_string_pin(cpu, insn, X86_ES, di, X86_ACCESS_READ, &n);
	host_scas *fn = scas_fns[!!(insn->prefix & X86_PFX_REPNE)][size_index(insn->osize)];

	if (!p)
		return X86_OK;
	n -= fn(p, cpu->regs[X86_RAX], n, &cpu->cc);
	string_step(cpu, insn, X86_RDI, n);
	*done = n;
	return X86_OK;
}

enum x86_result x86_exec_cmps(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_string(cpu, insn, true, cmps_one, cmps_run);
}

enum x86_result x86_exec_scas(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_string(cpu, insn, true, scas_one, scas_run);
}
