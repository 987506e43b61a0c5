/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chooses the handler of a decoded instruction: one table, a row per operation, with its generic handler,
 * the one for a LOCK prefix, and a function that knows the specialised forms. What depends on CPUID is
 * decided here too: an instruction whose feature the guest lacks is bound to #UD, and the engine drops its
 * blocks when CPUID changes.
 */
#include "x86/emulate/emulate.h"
#include "x86/fpu.h"

x86_exec_fn *x86_native_exec = x86_exec_ud;

struct binding {
	x86_exec_fn *any;	/* mandatory, unless the operation is the engine's (NATIVE, X87) */
	x86_exec_fn *lock;	/* with LOCK, which the decoder allows where the manuals do; NULL: as any */
	x86_pick_fn *pick;	/* without LOCK; may return NULL */
};

static const struct binding bindings[X86_NR_OPS] = {
	[X86_OP_ADD] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_OR] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_ADC] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_SBB] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_AND] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_SUB] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_XOR] = { x86_exec_alu, x86_exec_alu_lock, x86_pick_alu },
	[X86_OP_CMP] = { x86_exec_alu, NULL, x86_pick_alu },
	[X86_OP_TEST] = { x86_exec_alu, NULL, x86_pick_alu },
	[X86_OP_INC] = { x86_exec_alu1, x86_exec_alu1_lock, x86_pick_alu },
	[X86_OP_DEC] = { x86_exec_alu1, x86_exec_alu1_lock, x86_pick_alu },
	[X86_OP_NOT] = { x86_exec_alu1, x86_exec_alu1_lock, x86_pick_alu },
	[X86_OP_NEG] = { x86_exec_alu1, x86_exec_alu1_lock, x86_pick_alu },
	[X86_OP_MUL] = { x86_exec_mul, NULL, NULL },
	[X86_OP_IMUL1] = { x86_exec_mul, NULL, NULL },
	[X86_OP_IMUL] = { x86_exec_imul, NULL, x86_pick_imul },
	[X86_OP_DIV] = { x86_exec_div, NULL, NULL },
	[X86_OP_IDIV] = { x86_exec_div, NULL, NULL },
	[X86_OP_ROL] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_ROR] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_RCL] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_RCR] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_SHL] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_SHR] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_SAR] = { x86_exec_shift, NULL, x86_pick_shift },
	[X86_OP_SHLD] = { x86_exec_shift_double, NULL, NULL },
	[X86_OP_SHRD] = { x86_exec_shift_double, NULL, NULL },
	[X86_OP_BT] = { x86_exec_bt, NULL, x86_pick_bt },
	[X86_OP_BTS] = { x86_exec_bt, x86_exec_bt_lock, x86_pick_bt },
	[X86_OP_BTR] = { x86_exec_bt, x86_exec_bt_lock, x86_pick_bt },
	[X86_OP_BTC] = { x86_exec_bt, x86_exec_bt_lock, x86_pick_bt },
	[X86_OP_BSF] = { x86_exec_bitscan, NULL, NULL },
	[X86_OP_BSR] = { x86_exec_bitscan, NULL, NULL },
	[X86_OP_POPCNT] = { x86_exec_bitscan, NULL, NULL },
	[X86_OP_LZCNT] = { x86_exec_bitscan, NULL, NULL },
	[X86_OP_TZCNT] = { x86_exec_bitscan, NULL, NULL },
	[X86_OP_ADCX] = { x86_exec_adx, NULL, NULL },
	[X86_OP_ADOX] = { x86_exec_adx, NULL, NULL },
	[X86_OP_ANDN] = { x86_exec_bmi, NULL, NULL },
	[X86_OP_BEXTR] = { x86_exec_bmi, NULL, NULL },
	[X86_OP_BLSI] = { x86_exec_bls, NULL, NULL },
	[X86_OP_BLSMSK] = { x86_exec_bls, NULL, NULL },
	[X86_OP_BLSR] = { x86_exec_bls, NULL, NULL },
	[X86_OP_BZHI] = { x86_exec_bmi, NULL, NULL },
	[X86_OP_MULX] = { x86_exec_mulx, NULL, NULL },
	[X86_OP_PDEP] = { x86_exec_bmi, NULL, NULL },
	[X86_OP_PEXT] = { x86_exec_bmi, NULL, NULL },
	[X86_OP_RORX] = { x86_exec_rorx, NULL, NULL },
	[X86_OP_SARX] = { x86_exec_shiftx, NULL, NULL },
	[X86_OP_SHLX] = { x86_exec_shiftx, NULL, NULL },
	[X86_OP_SHRX] = { x86_exec_shiftx, NULL, NULL },
	[X86_OP_CRC32] = { x86_exec_crc32, NULL, NULL },
	[X86_OP_DAA] = { x86_exec_daa, NULL, NULL },
	[X86_OP_DAS] = { x86_exec_daa, NULL, NULL },
	[X86_OP_AAA] = { x86_exec_aaa, NULL, NULL },
	[X86_OP_AAS] = { x86_exec_aaa, NULL, NULL },
	[X86_OP_AAM] = { x86_exec_aam, NULL, NULL },
	[X86_OP_AAD] = { x86_exec_aad, NULL, NULL },

	[X86_OP_MOV] = { x86_exec_mov, NULL, x86_pick_mov },
	[X86_OP_MOVZX] = { x86_exec_movzx, NULL, x86_pick_movx },
	[X86_OP_MOVSX] = { x86_exec_movsx, NULL, x86_pick_movx },
	[X86_OP_MOVSXD] = { x86_exec_movsx, NULL, x86_pick_movx },
	[X86_OP_LEA] = { x86_exec_lea, NULL, x86_pick_lea },
	[X86_OP_XCHG] = { x86_exec_xchg, NULL, x86_pick_xchg },
	[X86_OP_XADD] = { x86_exec_xadd, NULL, NULL },
	[X86_OP_CMPXCHG] = { x86_exec_cmpxchg, NULL, NULL },
	[X86_OP_CMPXCHG8B] = { x86_exec_cmpxchg8b, NULL, NULL },
	[X86_OP_CMPXCHG16B] = { x86_exec_cmpxchg16b, NULL, NULL },
	[X86_OP_BSWAP] = { x86_exec_bswap, NULL, NULL },
	[X86_OP_MOVBE] = { x86_exec_movbe, NULL, NULL },
	[X86_OP_MOVNTI] = { x86_exec_mov, NULL, x86_pick_mov },
	[X86_OP_MOVDIRI] = { x86_exec_mov, NULL, x86_pick_mov },
	[X86_OP_CBW] = { x86_exec_cbw, NULL, NULL },
	[X86_OP_CWD] = { x86_exec_cwd, NULL, NULL },
	[X86_OP_XLAT] = { x86_exec_xlat, NULL, NULL },
	[X86_OP_CMOVCC] = { x86_exec_cmov, NULL, x86_pick_cmov },
	[X86_OP_SETCC] = { x86_exec_setcc, NULL, x86_pick_setcc },
	[X86_OP_PUSH] = { x86_exec_push, NULL, x86_pick_push },
	[X86_OP_POP] = { x86_exec_pop, NULL, x86_pick_pop },
	[X86_OP_PUSHA] = { x86_exec_pusha, NULL, NULL },
	[X86_OP_POPA] = { x86_exec_popa, NULL, NULL },
	[X86_OP_PUSHF] = { x86_exec_pushf, NULL, NULL },
	[X86_OP_POPF] = { x86_exec_popf, NULL, NULL },
	[X86_OP_ENTER] = { x86_exec_enter, NULL, NULL },
	[X86_OP_LEAVE] = { x86_exec_leave, NULL, x86_pick_leave },
	[X86_OP_LAHF] = { x86_exec_lahf, NULL, NULL },
	[X86_OP_SAHF] = { x86_exec_sahf, NULL, NULL },
	[X86_OP_CLC] = { x86_exec_carry, NULL, NULL },
	[X86_OP_STC] = { x86_exec_carry, NULL, NULL },
	[X86_OP_CMC] = { x86_exec_carry, NULL, NULL },
	[X86_OP_CLD] = { x86_exec_cld, NULL, NULL },
	[X86_OP_STD] = { x86_exec_std, NULL, NULL },
	[X86_OP_SALC] = { x86_exec_salc, NULL, NULL },

	[X86_OP_MOVS] = { x86_exec_movs, NULL, NULL },
	[X86_OP_CMPS] = { x86_exec_cmps, NULL, NULL },
	[X86_OP_STOS] = { x86_exec_stos, NULL, NULL },
	[X86_OP_LODS] = { x86_exec_lods, NULL, NULL },
	[X86_OP_SCAS] = { x86_exec_scas, NULL, NULL },
	[X86_OP_INS] = { x86_exec_ins, NULL, NULL },
	[X86_OP_OUTS] = { x86_exec_outs, NULL, NULL },

	[X86_OP_JCC] = { x86_exec_jcc, NULL, x86_pick_jcc },
	[X86_OP_JMP] = { x86_exec_jmp, NULL, x86_pick_jmp },
	[X86_OP_JMP_IND] = { x86_exec_jmp_ind, NULL, x86_pick_jmp_ind },
	[X86_OP_JMP_FAR] = { x86_exec_jmp_far, NULL, NULL },
	[X86_OP_CALL] = { x86_exec_call, NULL, x86_pick_call },
	[X86_OP_CALL_IND] = { x86_exec_call_ind, NULL, x86_pick_call_ind },
	[X86_OP_CALL_FAR] = { x86_exec_call_far, NULL, NULL },
	[X86_OP_RET] = { x86_exec_ret, NULL, x86_pick_ret },
	[X86_OP_RET_FAR] = { x86_exec_ret_far, NULL, NULL },
	[X86_OP_JCXZ] = { x86_exec_jcxz, NULL, NULL },
	[X86_OP_LOOP] = { x86_exec_loop, NULL, NULL },
	[X86_OP_LOOPE] = { x86_exec_loop, NULL, NULL },
	[X86_OP_LOOPNE] = { x86_exec_loop, NULL, NULL },
	[X86_OP_INT] = { x86_exec_int, NULL, NULL },
	[X86_OP_INT1] = { x86_exec_int1, NULL, NULL },
	[X86_OP_INT3] = { x86_exec_int3, NULL, NULL },
	[X86_OP_INTO] = { x86_exec_into, NULL, NULL },
	[X86_OP_IRET] = { x86_exec_iret, NULL, NULL },
	[X86_OP_BOUND] = { x86_exec_bound, NULL, NULL },
	[X86_OP_SYSCALL] = { x86_exec_syscall, NULL, NULL },
	[X86_OP_SYSRET] = { x86_exec_sysret, NULL, NULL },
	[X86_OP_SYSENTER] = { x86_exec_sysenter, NULL, NULL },
	[X86_OP_SYSEXIT] = { x86_exec_sysexit, NULL, NULL },

	[X86_OP_NOP] = { x86_exec_nop, NULL, NULL },
	[X86_OP_PAUSE] = { x86_exec_pause, NULL, NULL },
	[X86_OP_PREFETCH] = { x86_exec_nop, NULL, NULL },
	[X86_OP_LFENCE] = { x86_exec_lfence, NULL, NULL },
	[X86_OP_MFENCE] = { x86_exec_mfence, NULL, NULL },
	[X86_OP_SFENCE] = { x86_exec_sfence, NULL, NULL },
	[X86_OP_SERIALIZE] = { x86_exec_serialize, NULL, NULL },
	[X86_OP_CLFLUSH] = { x86_exec_clflush, NULL, NULL },
	[X86_OP_CLFLUSHOPT] = { x86_exec_clflush, NULL, NULL },
	[X86_OP_CLWB] = { x86_exec_clflush, NULL, NULL },
	[X86_OP_CLZERO] = { x86_exec_clzero, NULL, NULL },
	[X86_OP_UD] = { x86_exec_ud, NULL, NULL },

	[X86_OP_MOV_SEG] = { x86_exec_mov_seg, NULL, NULL },
	[X86_OP_PUSH_SEG] = { x86_exec_push_seg, NULL, NULL },
	[X86_OP_POP_SEG] = { x86_exec_pop_seg, NULL, NULL },
	[X86_OP_LDS] = { x86_exec_load_far, NULL, NULL },
	[X86_OP_LES] = { x86_exec_load_far, NULL, NULL },
	[X86_OP_LFS] = { x86_exec_load_far, NULL, NULL },
	[X86_OP_LGS] = { x86_exec_load_far, NULL, NULL },
	[X86_OP_LSS] = { x86_exec_load_far, NULL, NULL },
	[X86_OP_LGDT] = { x86_exec_lgdt, NULL, NULL },
	[X86_OP_LIDT] = { x86_exec_lgdt, NULL, NULL },
	[X86_OP_SGDT] = { x86_exec_sgdt, NULL, NULL },
	[X86_OP_SIDT] = { x86_exec_sgdt, NULL, NULL },
	[X86_OP_LLDT] = { x86_exec_lldt, NULL, NULL },
	[X86_OP_LTR] = { x86_exec_ltr, NULL, NULL },
	[X86_OP_SLDT] = { x86_exec_sldt, NULL, NULL },
	[X86_OP_STR] = { x86_exec_sldt, NULL, NULL },
	[X86_OP_LMSW] = { x86_exec_lmsw, NULL, NULL },
	[X86_OP_SMSW] = { x86_exec_smsw, NULL, NULL },
	[X86_OP_LAR] = { x86_exec_lar, NULL, NULL },
	[X86_OP_LSL] = { x86_exec_lsl, NULL, NULL },
	[X86_OP_VERR] = { x86_exec_verr, NULL, NULL },
	[X86_OP_VERW] = { x86_exec_verr, NULL, NULL },
	[X86_OP_ARPL] = { x86_exec_arpl, NULL, NULL },
	[X86_OP_SWAPGS] = { x86_exec_swapgs, NULL, NULL },
	[X86_OP_RDFSBASE] = { x86_exec_rdbase, NULL, NULL },
	[X86_OP_RDGSBASE] = { x86_exec_rdbase, NULL, NULL },
	[X86_OP_WRFSBASE] = { x86_exec_wrbase, NULL, NULL },
	[X86_OP_WRGSBASE] = { x86_exec_wrbase, NULL, NULL },

	[X86_OP_CLI] = { x86_exec_cli, NULL, NULL },
	[X86_OP_STI] = { x86_exec_sti, NULL, NULL },
	[X86_OP_HLT] = { x86_exec_hlt, NULL, NULL },
	[X86_OP_CLTS] = { x86_exec_clts, NULL, NULL },
	[X86_OP_STAC] = { x86_exec_stac, NULL, NULL },
	[X86_OP_CLAC] = { x86_exec_clac, NULL, NULL },
	[X86_OP_MOV_CR] = { x86_exec_mov_cr, NULL, NULL },
	[X86_OP_MOV_DR] = { x86_exec_mov_dr, NULL, NULL },
	[X86_OP_INVLPG] = { x86_exec_invlpg, NULL, NULL },
	[X86_OP_INVPCID] = { x86_exec_invpcid, NULL, NULL },
	[X86_OP_INVD] = { x86_exec_wbinvd, NULL, NULL },
	[X86_OP_WBINVD] = { x86_exec_wbinvd, NULL, NULL },
	[X86_OP_WBNOINVD] = { x86_exec_wbinvd, NULL, NULL },
	[X86_OP_RDMSR] = { x86_exec_rdmsr, NULL, NULL },
	[X86_OP_WRMSR] = { x86_exec_wrmsr, NULL, NULL },
	[X86_OP_RDTSC] = { x86_exec_rdtsc, NULL, NULL },
	[X86_OP_RDTSCP] = { x86_exec_rdtsc, NULL, NULL },
	[X86_OP_RDPMC] = { x86_exec_rdpmc, NULL, NULL },
	[X86_OP_RDPID] = { x86_exec_rdpid, NULL, NULL },
	[X86_OP_CPUID] = { x86_exec_cpuid, NULL, NULL },
	[X86_OP_RSM] = { x86_exec_rsm, NULL, NULL },
	[X86_OP_MONITOR] = { x86_exec_monitor, NULL, NULL },
	[X86_OP_MWAIT] = { x86_exec_mwait, NULL, NULL },
	[X86_OP_RDRAND] = { x86_exec_rdrand, NULL, NULL },
	[X86_OP_RDSEED] = { x86_exec_rdrand, NULL, NULL },
	[X86_OP_RDPKRU] = { x86_exec_rdpkru, NULL, NULL },
	[X86_OP_WRPKRU] = { x86_exec_wrpkru, NULL, NULL },
	[X86_OP_XGETBV] = { x86_exec_xgetbv, NULL, NULL },
	[X86_OP_XSETBV] = { x86_exec_xsetbv, NULL, NULL },
	[X86_OP_IN] = { x86_exec_in, NULL, NULL },
	[X86_OP_OUT] = { x86_exec_out, NULL, NULL },
	[X86_OP_VMCALL] = { x86_exec_hypercall, NULL, NULL },
	[X86_OP_VMMCALL] = { x86_exec_hypercall, NULL, NULL },
	[X86_OP_SVM] = { x86_exec_ud, NULL, NULL },
	[X86_OP_VMX] = { x86_exec_ud, NULL, NULL },

	[X86_OP_FXSAVE] = { x86_exec_fxsave, NULL, NULL },
	[X86_OP_FXRSTOR] = { x86_exec_fxrstor, NULL, NULL },
	[X86_OP_XSAVE] = { x86_exec_xsave, NULL, NULL },
	[X86_OP_XSAVEC] = { x86_exec_xsavec, NULL, NULL },
	[X86_OP_XSAVEOPT] = { x86_exec_xsaveopt, NULL, NULL },
	[X86_OP_XSAVES] = { x86_exec_xsaves, NULL, NULL },
	[X86_OP_XRSTOR] = { x86_exec_xrstor, NULL, NULL },
	[X86_OP_XRSTORS] = { x86_exec_xrstors, NULL, NULL },
	[X86_OP_LDMXCSR] = { x86_exec_ldmxcsr, NULL, NULL },
	[X86_OP_STMXCSR] = { x86_exec_stmxcsr, NULL, NULL },
	[X86_OP_FWAIT] = { x86_exec_fwait, NULL, NULL },
	[X86_OP_EMMS] = { x86_exec_emms, NULL, NULL },
};

/* ---- forms ----------------------------------------------------------------------------------- */

enum addressing x86_pick_addressing(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->code_bits == 64)
		return insn->asize == 8 ? LONG : NR_ADDRESSINGS;
	return insn->asize == 4 ? FLAT32 : NR_ADDRESSINGS;
}

/* Index by the kind of the second operand. */
static x86_exec_fn *reg_form(const struct x86_forms *f, enum addressing a, const struct x86_insn *insn,
			     unsigned si)
{
	const struct x86_operand *second = &insn->operand[1];

	if (insn->nr_operands < 2)
		return f->r[si];
	switch (second->kind) {
	case X86_OPD_REG: /* of another size only as CL */
		return f->rc[si] ? f->rc[si] : f->rr[si];
	case X86_OPD_IMM:
		return f->ri[si];
	case X86_OPD_MEM:
		return a == NR_ADDRESSINGS ? NULL : f->rm[a][si];
	default:
		return NULL;
	}
}

static x86_exec_fn *mem_form(const struct x86_forms *f, enum addressing a, const struct x86_insn *insn,
			     unsigned si)
{
	if (a == NR_ADDRESSINGS)
		return NULL;
	if (insn->nr_operands < 2)
		return f->m[a][si];
	switch (insn->operand[1].kind) {
	case X86_OPD_REG:
		return f->mc[a][si] ? f->mc[a][si] : f->mr[a][si];
	case X86_OPD_IMM:
		return f->mi[a][si];
	default:
		return NULL;
	}
}

x86_exec_fn *x86_pick_form(const struct x86_forms *forms, const struct x86_cpu *cpu,
			   const struct x86_insn *insn)
{
	unsigned si = size_index(insn->operand[0].size);
	enum addressing a = x86_pick_addressing(cpu, insn);

	switch (insn->operand[0].kind) {
	case X86_OPD_REG:
		return reg_form(forms, a, insn, si);
	case X86_OPD_MEM:
		return mem_form(forms, a, insn, si);
	default:
		return NULL;
	}
}

/* ---- binding --------------------------------------------------------------------------------- */

/* KVM runs MONITOR and MWAIT whatever CPUID says: see x86_exec_monitor(). */
static bool feature_missing(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->op == X86_OP_MONITOR || insn->op == X86_OP_MWAIT)
		return false;
	return !x86_has(cpu, insn->desc->feature);
}

static x86_exec_fn *choose(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct binding *b = &bindings[insn->op];
	x86_exec_fn *fn;

	if (unlikely(feature_missing(cpu, insn)))
		return x86_exec_ud;
	if (!b->any)
		return atomic_read(&x86_native_exec);
	if (unlikely(is_locked(insn)))
		return b->lock ? b->lock : b->any;
	fn = b->pick ? b->pick(cpu, insn) : NULL;
	return fn ? fn : b->any;
}

/*
 * Instructions that real and V86 mode do not know: X86_F_PROT and everything VEX-encoded. Blocks do not
 * tell these modes from 16-bit protected mode, so it is found out at each execution. SYSENTER and SYSEXIT
 * have rules of their own, and the engine looks after vector instructions.
 */
static bool needs_protected_mode(const struct x86_insn *insn)
{
	if (insn->op == X86_OP_SYSENTER || insn->op == X86_OP_SYSEXIT || !bindings[insn->op].any)
		return false;
	return (insn->desc->flags & X86_F_PROT) || (insn->prefix & X86_PFX_VEX);
}

static enum x86_result exec_protected(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!in_protected_mode(cpu))
		return x86_raise(cpu, X86_UD, 0);
	return choose(cpu, insn)(cpu, insn);
}

void x86_bind(const struct x86_cpu *cpu, struct x86_insn *insn, unsigned off)
{
	insn->off = (u16)off;
	insn->next = (u16)(off + insn->len);
	if (insn->base == X86_REG_RIP)
		insn->disp += insn->next;
	insn->exec = cpu->code_bits != 64 && needs_protected_mode(insn) ? exec_protected : choose(cpu, insn);
}
