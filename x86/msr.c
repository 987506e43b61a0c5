/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs: one table, a row for each register or range.
 *
 * Which of them exist, what may be written and what a guest and a VMM may do differently follows KVM of
 * Linux 6.1 (arch/x86/kvm/x86.c, svm/svm.c, mtrr.c tell what it does), so that state moves between the
 * two; what the bits mean is in AMD APM vol. 2 appendix A and Intel SDM vol. 4. Registers of the local
 * APIC, the TSC and KVM's own are behind cpu->env.
 */
#include <linux/kvm.h>

#include "x86/cpuid.h"
#include "x86/segment.h"

/* msr_row.flags */
#define F_LIST	 BIT(0) /* in KVM_GET_MSR_INDEX_LIST */
#define F_HOST_R BIT(1) /* the guest may not read it */
#define F_HOST_W BIT(2) /* the guest may not write it */
#define F_RO	 BIT(3) /* nobody writes it */
#define F_WO	 BIT(4) /* nobody reads it */
#define F_DROP	 BIT(5) /* writes succeed and change nothing */
#define F_DROP_GUEST BIT(6) /* ...by the guest */
#define F_AMD	 BIT(7) /* on processors of that vendor alone */
#define F_INTEL	 BIT(8)
#define F_ZERO	 BIT(9) /* zero may be written, and nothing else */

#define NO_FIELD 0u

struct msr_row {
	u32 first, last;
	u16 flags;
	u32 field;	/* offset in struct x86_cpu of the u64 of `first`; a range is an array */
	u64 value;	/* what is read without a field */
	/* Whether the guest's CPUID offers it; the VMM needs no offer. */
	bool (*offered)(const struct x86_cpu *cpu);
	/* Judges a write and may change what will be stored. false: refused. */
	bool (*check)(struct x86_cpu *cpu, u32 index, u64 *value, bool host);
	void (*written)(struct x86_cpu *cpu);
};

#define CPUID_1 1u
#define CPUID_7 7u
#define CPUID_EXT1 0x80000001u
#define CPUID_EXT8 0x80000008u

#define MISC_ENABLE_EMON BIT64(7)
#define MISC_ENABLE_UNAVAILABLE (BIT64(11) | BIT64(12)) /* BTS, PEBS */
#define PLATFORM_INFO_CPUID_FAULT BIT64(31)
#define HWCR_IGNORED (BIT64(3) | BIT64(6) | BIT64(8)) /* TLB cache, flush filter, IGNNE emulation */
#define HWCR_MC_STATUS_WRITE BIT64(18)
#define MCG_CTL_P BIT64(8)
#define MCG_CMCI_P BIT64(10)
#define MCI_CTL2_VALID (BIT64(30) | 0x7fff)
#define VM_CR_LOCK BIT64(3)
#define VM_CR_DISABLE BIT64(4)
#define VM_CR_VALID 0x1full
#define FEATURE_LOCKED BIT64(0)
#define FEATURE_LMCE BIT64(20)
#define MCG_LMCE_P BIT64(27)
#define ARCH_CAP_TSX_CTRL BIT64(7)
#define DE_CFG_LFENCE_SERIALIZE BIT64(1)
#define TSC_RATIO_ONE BIT64(32)

/* ---- offers ---------------------------------------------------------------------------------- */

static bool has_tsc_aux(const struct x86_cpu *cpu)
{
	return x86_has(cpu, X86_FEAT_RDTSCP) || x86_has(cpu, X86_FEAT_RDPID);
}

static bool has_xsaves(const struct x86_cpu *cpu)
{
	return x86_has(cpu, X86_FEAT_XSAVES);
}

static bool has_osvw(const struct x86_cpu *cpu)
{
	return x86_cpuid_bit(cpu, CPUID_EXT1, 0, X86_CPUID_ECX, 9);
}

static bool has_arch_capabilities(const struct x86_cpu *cpu)
{
	return x86_cpuid_bit(cpu, CPUID_7, 0, X86_CPUID_EDX, 29);
}

static bool has_perf_capabilities(const struct x86_cpu *cpu)
{
	return x86_cpuid_bit(cpu, CPUID_1, 0, X86_CPUID_ECX, 15);
}

static bool has_virt_ssbd(const struct x86_cpu *cpu)
{
	return x86_cpuid_bit(cpu, CPUID_EXT8, 0, X86_CPUID_EBX, 25);
}

static bool has_tsx_ctrl(const struct x86_cpu *cpu)
{
	return cpu->msr.arch_capabilities & ARCH_CAP_TSX_CTRL;
}

static bool never(const struct x86_cpu *cpu)
{
	(void)cpu;
	return false;
}

/* SPEC_CTRL's bits, each with the CPUID bits (Intel's and AMD's) that offer it. */
static u64 spec_ctrl_bits(const struct x86_cpu *cpu)
{
	static const struct {
		u8 bit, intel, amd; /* 7.0 EDX, 0x80000008 EBX */
	} offer[] = { { 0, 26, 14 }, { 1, 27, 15 }, { 2, 31, 24 }, { 7, 0, 28 } };
	u64 bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offer); i++) {
		bool intel = offer[i].intel && x86_cpuid_bit(cpu, CPUID_7, 0, X86_CPUID_EDX, offer[i].intel);

		if (intel || x86_cpuid_bit(cpu, CPUID_EXT8, 0, X86_CPUID_EBX, offer[i].amd))
			bits |= BIT64(offer[i].bit);
	}
	return bits;
}

static bool has_spec_ctrl(const struct x86_cpu *cpu)
{
	return spec_ctrl_bits(cpu) != 0;
}

static bool has_pred_cmd(const struct x86_cpu *cpu)
{
	return x86_cpuid_bit(cpu, CPUID_7, 0, X86_CPUID_EDX, 26) ||
	       x86_cpuid_bit(cpu, CPUID_EXT8, 0, X86_CPUID_EBX, 12);
}

/* ---- checks ---------------------------------------------------------------------------------- */

#define CHECK(name) static bool name(struct x86_cpu *cpu, u32 index, u64 *value, bool host)

CHECK(check_efer)
{
	(void)index;
	if (!host && x86_set_efer(cpu, *value))
		return false;
	if (host && (*value & ~(X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_FFXSR)))
		return false;
	if (host)
		x86_set_efer_host(cpu, *value);
	*value = cpu->efer;
	return true;
}

CHECK(check_canonical)
{
	(void)index;
	(void)host;
	return x86_canonical(cpu, *value);
}

/* AMD's are 32 bits wide; Intel's become canonical (KVM spares both vendors the #GP). */
CHECK(check_sysenter)
{
	unsigned shift = 64 - cpu->canonical_bits;

	(void)index;
	(void)host;
	*value = cpu->vendor_amd ? (u32)*value : (u64)((s64)(*value << shift) >> shift);
	return true;
}

CHECK(check_tsc_aux)
{
	(void)index;
	(void)host;
	if (!cpu->vendor_amd && *value >> 32)
		return false;
	*value = (u32)*value;
	return true;
}

/* Memory types 0, 1, 4, 5, 6; PAT has 7 (UC-) too. */
static bool types_valid(u64 value, u8 set)
{
	for (unsigned i = 0; i < 64; i += 8) {
		unsigned type = value >> i & 0xff;

		if (type > 7 || !(set >> type & 1))
			return false;
	}
	return true;
}

CHECK(check_pat)
{
	(void)cpu;
	(void)index;
	(void)host;
	return types_valid(*value, 0xf3);
}

CHECK(check_mtrr_fixed)
{
	(void)cpu;
	(void)index;
	(void)host;
	return types_valid(*value, 0x73);
}

CHECK(check_mtrr_default)
{
	(void)cpu;
	(void)index;
	(void)host;
	return !(*value & ~0xcffull) && types_valid(*value & 7, 0x73) && !(*value & 0xf8);
}

static u64 physical_reserved(const struct x86_cpu *cpu)
{
	return ~((1ull << cpu->maxphyaddr) - 1);
}

static u64 *mtrr_variable(struct x86_cpu *cpu, u32 index)
{
	unsigned i = (index - 0x200) / 2;

	return index & 1 ? &cpu->msr.mtrr_mask[i] : &cpu->msr.mtrr_base[i];
}

/* Stored here: base and mask alternate in the numbers, not in struct x86_msrs. */
CHECK(check_mtrr_variable)
{
	u64 reserved = physical_reserved(cpu) | (index & 1 ? 0x7ff : 0xf00);

	(void)host;
	if (*value & reserved)
		return false;
	if (!(index & 1) && ((*value & 0xf8) || !types_valid(*value & 7, 0x73)))
		return false;
	*mtrr_variable(cpu, index) = *value;
	return true;
}

CHECK(check_misc_enable)
{
	u64 old = cpu->msr.misc_enable;

	(void)index;
	if (((old ^ *value) & X86_MISC_ENABLE_MWAIT) && !x86_has(cpu, X86_FEAT_SSE3) &&
	    (cpu->env->disabled_quirks(cpu) & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT))
		return false;
	if (host)
		return true;
	if ((old ^ *value) & MISC_ENABLE_UNAVAILABLE)
		return false;
	*value = (*value & ~MISC_ENABLE_EMON) | (old & MISC_ENABLE_EMON);
	return true;
}

CHECK(check_debugctl)
{
	(void)index;
	(void)host;
	if (cpu->vendor_amd)
		*value &= ~0x3cull; /* performance-monitoring pins */
	return !(*value & ~3ull);
}

CHECK(check_feature_control)
{
	u64 valid = FEATURE_LOCKED | (cpu->msr.mcg_cap & MCG_LMCE_P ? FEATURE_LMCE : 0);

	(void)index;
	return !(*value & ~valid) && (host || !(cpu->msr.feature_control & FEATURE_LOCKED));
}

CHECK(check_spec_ctrl)
{
	(void)index;
	(void)host;
	return !(*value & ~spec_ctrl_bits(cpu));
}

CHECK(check_bit_0)
{
	(void)cpu;
	(void)index;
	(void)host;
	return !(*value & ~1ull);
}

CHECK(check_ssbd)
{
	(void)cpu;
	(void)index;
	(void)host;
	return !(*value & ~BIT64(2));
}

CHECK(check_platform_info)
{
	(void)index;
	(void)host;
	return (*value & PLATFORM_INFO_CPUID_FAULT) || !(cpu->msr.misc_features & 1);
}

CHECK(check_misc_features)
{
	(void)index;
	(void)host;
	return !*value || (*value == 1 && (cpu->msr.platform_info & PLATFORM_INFO_CPUID_FAULT));
}

CHECK(check_hwcr)
{
	(void)cpu;
	(void)index;
	(void)host;
	*value &= ~HWCR_IGNORED;
	return !*value || *value == HWCR_MC_STATUS_WRITE;
}

CHECK(check_vm_cr)
{
	u64 change = VM_CR_VALID;

	(void)index;
	(void)host;
	if (*value & ~VM_CR_VALID)
		return false;
	if (cpu->msr.vm_cr & VM_CR_DISABLE)
		change &= ~(VM_CR_LOCK | VM_CR_DISABLE);
	*value = (cpu->msr.vm_cr & ~change) | (*value & change);
	return true;
}

CHECK(check_hsave)
{
	(void)index;
	if (!host && (*value & (physical_reserved(cpu) | 0xfff)))
		return false;
	*value &= ~0xfffull;
	return true;
}

CHECK(check_de_cfg)
{
	(void)cpu;
	(void)index;
	return !(*value & ~DE_CFG_LFENCE_SERIALIZE) && (host || *value == DE_CFG_LFENCE_SERIALIZE);
}

CHECK(check_tsc_ratio)
{
	(void)index;
	(void)host;
	if (*value && *value != cpu->msr.tsc_ratio)
		return false;
	*value = cpu->msr.tsc_ratio;
	return true;
}

CHECK(check_mcg_ctl)
{
	(void)index;
	if (!(cpu->msr.mcg_cap & MCG_CTL_P) && (*value || !host))
		return false;
	return !*value || *value == ~0ull;
}

CHECK(check_mcg_ext_ctl)
{
	(void)index;
	return (host || (cpu->msr.feature_control & FEATURE_LMCE)) && !(*value & ~1ull) &&
	       (cpu->msr.mcg_cap & MCG_LMCE_P || (host && !*value));
}

static bool bank_exists(const struct x86_cpu *cpu, unsigned bank)
{
	return bank < (cpu->msr.mcg_cap & 0xff);
}

/* CTL takes 0 or all ones, but for bits that guests are known to clear; STATUS zero (AMD: see HWCR). */
CHECK(check_mc_bank)
{
	unsigned kind = index & 3;

	if (!bank_exists(cpu, (index - 0x400) / 4))
		return false;
	if (kind == 0)
		return !*value || (*value | BIT64(10) | 1) == ~0ull;
	if (kind == 1 && !host && *value)
		return cpu->vendor_amd && (cpu->msr.hwcr & HWCR_MC_STATUS_WRITE);
	return true;
}

CHECK(check_mc_ctl2)
{
	if (!bank_exists(cpu, index - 0x280))
		return false;
	if (!(cpu->msr.mcg_cap & MCG_CMCI_P) && (*value || !host))
		return false;
	return !(*value & ~MCI_CTL2_VALID);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define CPU(f) .field = offsetof(struct x86_cpu, f)
#define MSR(f) CPU(msr.f)
#define ONE(n) .first = (n), .last = (n)
#define RANGE(a, b) .first = (a), .last = (b)

/* In ascending order of numbers. */
static const struct msr_row rows[] = {
	{ RANGE(0x0, 0x1), .flags = F_RO }, /* P5_MC_ADDR, _TYPE */
	{ ONE(0x17), .flags = F_RO }, /* PLATFORM_ID */
	{ ONE(0x2a), .flags = F_RO }, /* EBL_CR_POWERON */
	{ ONE(0x2c), .flags = F_RO, .value = 1 << 24 }, /* EBC_FREQUENCY_ID */
	{ ONE(0x34), .flags = F_LIST | F_HOST_W, MSR(smi_count) }, /* SMI_COUNT */
	{ ONE(0x3a), .flags = F_LIST | F_INTEL, MSR(feature_control), /* FEAT_CTL */
	  .check = check_feature_control },
	{ ONE(0x48), .flags = F_LIST, MSR(spec_ctrl), .offered = has_spec_ctrl, /* SPEC_CTRL */
	  .check = check_spec_ctrl },
	{ ONE(0x49), .flags = F_WO | F_DROP, .offered = has_pred_cmd, /* PRED_CMD */
	  .check = check_bit_0 },
	{ ONE(0x79), .flags = F_WO | F_DROP }, /* UCODE_WRITE */
	{ ONE(0x8b), .flags = F_LIST | F_DROP_GUEST, MSR(microcode_rev) }, /* UCODE_REV, PATCH_LEVEL */
	{ ONE(0x9e), .flags = F_LIST | F_HOST_R | F_HOST_W, CPU(smbase) }, /* SMBASE */
	{ RANGE(0xc1, 0xc2), .flags = F_DROP }, /* P6_PERFCTR */
	{ ONE(0xcd), .flags = F_RO, .value = 3 }, /* FSB_FREQ */
	{ ONE(0xce), .flags = F_LIST | F_HOST_W, MSR(platform_info), /* PLATFORM_INFO */
	  .check = check_platform_info },
	{ ONE(0xfe), .flags = F_RO, .value = 0x500 | X86_NR_MTRR_VAR }, /* MTRRcap: WC, fixed ranges */
	{ ONE(0x10a), .flags = F_LIST | F_HOST_W, MSR(arch_capabilities), /* ARCH_CAPABILITIES */
	  .offered = has_arch_capabilities },
	{ ONE(0x11e), .flags = F_DROP, .value = 0xbe702111 }, /* BBL_CR_CTL3 */
	{ ONE(0x122), .flags = F_INTEL, MSR(tsx_ctrl), .offered = has_tsx_ctrl, /* TSX_CTRL */
	  .check = check_bit_0 },
	{ ONE(0x140), .flags = F_LIST, MSR(misc_features), /* MISC_FEATURES_ENABLES */
	  .check = check_misc_features },
	{ ONE(0x174), .flags = F_LIST, MSR(sysenter_cs) },
	{ ONE(0x175), .flags = F_LIST, MSR(sysenter_esp), .check = check_sysenter },
	{ ONE(0x176), .flags = F_LIST, MSR(sysenter_eip), .check = check_sysenter },
	{ ONE(0x179), .flags = F_RO, MSR(mcg_cap) },
	{ ONE(0x17a), .flags = F_LIST, MSR(mcg_status) },
	{ ONE(0x17b), .flags = F_LIST, MSR(mcg_ctl), .check = check_mcg_ctl },
	{ RANGE(0x186, 0x187), .flags = F_DROP }, /* P6_EVNTSEL */
	{ ONE(0x198), .flags = F_RO, .value = 1000 | 4ull << 40 }, /* PERF_STATUS: multiplier 4 */
	{ ONE(0x199), .flags = F_RO }, /* PERF_CTL */
	{ ONE(0x1a0), .flags = F_LIST, MSR(misc_enable), .check = check_misc_enable }, /* MISC_ENABLE */
	{ ONE(0x1d9), .flags = 0, MSR(debugctl), .check = check_debugctl }, /* DEBUGCTL */
	{ RANGE(0x1db, 0x1de), .flags = F_RO }, /* LASTBRANCH, LASTINT */
	{ ONE(0x1fc), .flags = F_LIST, MSR(power_ctl) }, /* POWER_CTL */
	{ RANGE(0x200, 0x200 + 2 * X86_NR_MTRR_VAR - 1), .flags = F_DROP, .check = check_mtrr_variable },
	{ ONE(0x250), MSR(mtrr_fixed[0]), .check = check_mtrr_fixed },
	{ RANGE(0x258, 0x259), MSR(mtrr_fixed[1]), .check = check_mtrr_fixed },
	{ RANGE(0x268, 0x26f), MSR(mtrr_fixed[3]), .check = check_mtrr_fixed },
	{ ONE(0x277), .flags = F_LIST, MSR(pat), .check = check_pat },
	{ RANGE(0x280, 0x29f), MSR(mci_ctl2[0]), .check = check_mc_ctl2 },
	{ ONE(0x2ff), MSR(mtrr_def_type), .check = check_mtrr_default },
	{ ONE(0x345), .flags = F_LIST | F_HOST_W | F_ZERO, /* PERF_CAPABILITIES */
	  .offered = has_perf_capabilities },
	{ RANGE(0x400, 0x47f), MSR(mce_banks[0]), .check = check_mc_bank },
	{ ONE(0x4d0), .flags = F_LIST | F_INTEL, MSR(mcg_ext_ctl), .check = check_mcg_ext_ctl },
	{ ONE(0x606), .flags = F_RO }, /* RAPL: nothing of the host's */
	{ ONE(0x611), .flags = F_RO },
	{ ONE(0x619), .flags = F_RO },
	{ ONE(0x639), .flags = F_RO },
	{ ONE(0x641), .flags = F_RO },
	{ ONE(0xda0), .flags = F_ZERO, MSR(xss), .offered = has_xsaves }, /* XSS: no supervisor states */
	{ ONE(0xc0000080), .flags = 0, CPU(efer), .check = check_efer },
	{ ONE(0xc0000081), .flags = F_LIST, MSR(star) },
	{ ONE(0xc0000082), .flags = F_LIST, MSR(lstar), .check = check_canonical },
	{ ONE(0xc0000083), .flags = F_LIST, MSR(cstar), .check = check_canonical },
	{ ONE(0xc0000084), .flags = F_LIST, MSR(sfmask) },
	{ ONE(0xc0000100), CPU(seg[X86_FS].base), .check = check_canonical, .written = x86_mode_update },
	{ ONE(0xc0000101), CPU(seg[X86_GS].base), .check = check_canonical, .written = x86_mode_update },
	{ ONE(0xc0000102), .flags = F_LIST, MSR(kernel_gs_base), .check = check_canonical },
	{ ONE(0xc0000103), .flags = F_LIST, MSR(tsc_aux), .offered = has_tsc_aux, .check = check_tsc_aux },
	{ ONE(0xc0000104), .flags = F_LIST | F_AMD, MSR(tsc_ratio), .offered = never, /* TSC_RATIO */
	  .check = check_tsc_ratio },
	{ RANGE(0xc0010000, 0xc0010007), .flags = F_DROP }, /* K7 EVNTSEL, PERFCTR */
	{ ONE(0xc0010010), .flags = F_RO }, /* SYSCFG */
	{ ONE(0xc0010015), .flags = F_LIST, MSR(hwcr), .check = check_hwcr }, /* HWCR */
	{ ONE(0xc001001b), .flags = F_DROP, .value = 0x20000000 }, /* K7_CLK_CTL */
	{ ONE(0xc001001f), .flags = F_DROP }, /* NB_CFG */
	{ ONE(0xc0010020), .flags = F_WO | F_DROP }, /* PATCH_LOADER */
	{ ONE(0xc0010055), .flags = F_RO }, /* INT_PENDING_MSG */
	{ ONE(0xc0010058), .flags = F_ZERO }, /* FAM10H_MMIO_CONF_BASE */
	{ RANGE(0xc0010112, 0xc0010113), .flags = F_RO }, /* TSEG_ADDR, TSEG_MASK */
	{ ONE(0xc0010114), .flags = F_AMD, MSR(vm_cr), .check = check_vm_cr }, /* VM_CR */
	{ ONE(0xc0010115), .flags = F_AMD | F_WO | F_DROP }, /* VM_IGNNE */
	{ ONE(0xc0010117), .flags = F_LIST | F_AMD, MSR(vm_hsave_pa), /* VM_HSAVE_PA */
	  .check = check_hsave },
	{ ONE(0xc001011f), .flags = F_LIST | F_AMD, MSR(virt_ssbd), /* VIRT_SPEC_CTRL */
	  .offered = has_virt_ssbd, .check = check_ssbd },
	{ ONE(0xc0010140), MSR(osvw_length), .offered = has_osvw }, /* OSVW */
	{ ONE(0xc0010141), MSR(osvw_status), .offered = has_osvw },
	{ ONE(0xc0011021), .flags = F_AMD | F_RO }, /* F15H_IC_CFG */
	{ RANGE(0xc0011022, 0xc0011023), .flags = F_DROP }, /* DC_CFG, TW_CFG */
	{ ONE(0xc0011029), .flags = F_AMD, MSR(de_cfg), .check = check_de_cfg }, /* DE_CFG */
	{ ONE(0xc001102a), .flags = F_DROP }, /* BU_CFG2 */
	{ ONE(0xc001102c), .flags = F_DROP }, /* F15H_EX_CFG */
};

static bool vendor_has(const struct msr_row *row, bool amd)
{
	return !(row->flags & (amd ? F_INTEL : F_AMD));
}

static const struct msr_row *find(const struct x86_cpu *cpu, u32 index)
{
	unsigned low = 0, high = ARRAY_SIZE(rows);

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (index < rows[mid].first)
			high = mid;
		else if (index > rows[mid].last)
			low = mid + 1;
		else
			return vendor_has(&rows[mid], cpu->vendor_amd) ? &rows[mid] : NULL;
	}
	return NULL;
}

/* ---- access ---------------------------------------------------------------------------------- */

static u64 *field(struct x86_cpu *cpu, const struct msr_row *row, u32 index)
{
	if (row->check == check_mtrr_variable)
		return mtrr_variable(cpu, index);
	if (row->field == NO_FIELD)
		return NULL;
	return (u64 *)((char *)cpu + row->field) + index_nospec(index - row->first, row->last - row->first + 1ull);
}

/* Machine-check registers that depend on MCG_CAP. */
static bool mce_readable(const struct x86_cpu *cpu, const struct msr_row *row, u32 index, bool host)
{
	if (row->check == check_mcg_ctl)
		return host || (cpu->msr.mcg_cap & MCG_CTL_P);
	if (row->check == check_mc_bank)
		return bank_exists(cpu, (index - 0x400) / 4);
	if (row->check == check_mc_ctl2)
		return bank_exists(cpu, index - 0x280) && (host || (cpu->msr.mcg_cap & MCG_CMCI_P));
	return true;
}

static bool get(struct x86_cpu *cpu, const struct msr_row *row, u32 index, u64 *value, bool host)
{
	const u64 *p = field(cpu, row, index);

	if ((row->flags & F_WO) || !mce_readable(cpu, row, index, host))
		return false;
	if (!host && ((row->flags & F_HOST_R) || (row->offered && !row->offered(cpu))))
		return false;
	*value = p ? *p : row->value;
	return true;
}

static bool set(struct x86_cpu *cpu, const struct msr_row *row, u32 index, u64 value, bool host)
{
	u64 *p = field(cpu, row, index);

	if ((row->flags & F_RO) || ((row->flags & F_ZERO) && value))
		return false;
	if (!host && ((row->flags & F_HOST_W) || (row->offered && !row->offered(cpu))))
		return false;
	if (row->check && !row->check(cpu, index, &value, host))
		return false;
	if (!p || (row->flags & F_DROP) || (!host && (row->flags & F_DROP_GUEST)))
		return true;
	*p = value;
	if (row->written)
		row->written(cpu);
	return true;
}

enum x86_result x86_rdmsr(struct x86_cpu *cpu, u32 index, u64 *value)
{
	const struct msr_row *row = find(cpu, index);

	if (!row)
		return x86_raise(cpu, X86_GP, 0);
	return get(cpu, row, index, value, false) ? X86_OK : x86_raise(cpu, X86_GP, 0);
}

enum x86_result x86_wrmsr(struct x86_cpu *cpu, u32 index, u64 value)
{
	const struct msr_row *row = find(cpu, index);

	if (!row)
		return x86_raise(cpu, X86_GP, 0);
	return set(cpu, row, index, value, false) ? X86_OK : x86_raise(cpu, X86_GP, 0);
}

bool x86_msr_get_host(struct x86_cpu *cpu, u32 index, u64 *value)
{
	const struct msr_row *row = find(cpu, index);

	return row && get(cpu, row, index, value, true);
}

bool x86_msr_set_host(struct x86_cpu *cpu, u32 index, u64 value)
{
	const struct msr_row *row = find(cpu, index);

	return row && set(cpu, row, index, value, true);
}

/* ---- lists, features, reset ------------------------------------------------------------------ */

unsigned x86_msr_list(u32 *out, unsigned max)
{
	bool amd = x86_host_is_amd();
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!(rows[i].flags & F_LIST) || !vendor_has(&rows[i], amd))
			continue;
		if (n < max)
			out[n] = rows[i].first;
		n++;
	}
	return n;
}

#define MSR_UCODE_REV 0x8bu
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_PERF_CAPABILITIES 0x345u
#define MSR_DE_CFG 0xc0011029u

/*
 * What IA32_ARCH_CAPABILITIES says without a look at the host's (no user program may read it): AMD has
 * none of RDCL, MDS, GDS, RFDS and ITS; nothing is claimed for Intel but what KVM always claims.
 */
static u64 arch_capabilities(void)
{
	u64 always = BIT64(3) | BIT64(6); /* SKIP_VMENTRY_L1DFLUSH, PSCHANGE_MC_NO */
	u64 amd = BIT64(0) | BIT64(5) | BIT64(26) | BIT64(27) | BIT64(62);

	return x86_host_is_amd() ? always | amd : always;
}

static u64 microcode_revision(void)
{
	return x86_host_is_amd() ? 0x01000065 : BIT64(32);
}

bool x86_msr_feature_get(u32 index, u64 *value)
{
	switch (index) {
	case MSR_UCODE_REV:
		*value = microcode_revision();
		return true;
	case MSR_ARCH_CAPABILITIES:
		*value = arch_capabilities();
		return true;
	case MSR_PERF_CAPABILITIES:
		*value = 0;
		return true;
	case MSR_DE_CFG:
		*value = DE_CFG_LFENCE_SERIALIZE;
		return x86_host_is_amd();
	default:
		return false;
	}
}

unsigned x86_msr_feature_list(u32 *out, unsigned max)
{
	static const u32 all[] = { MSR_DE_CFG, MSR_UCODE_REV, MSR_ARCH_CAPABILITIES, MSR_PERF_CAPABILITIES };
	unsigned n = 0;
	u64 value;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (!x86_msr_feature_get(all[i], &value))
			continue;
		if (n < max)
			out[n] = all[i];
		n++;
	}
	return n;
}

void x86_msr_reset(struct x86_cpu *cpu)
{
	struct x86_msrs *m = &cpu->msr;

	memset(m, 0, sizeof(*m));
	m->pat = 0x0007040600070406ull;
	m->misc_enable = MISC_ENABLE_UNAVAILABLE;
	m->mcg_cap = ARRAY_SIZE(m->mci_ctl2);
	m->microcode_rev = microcode_revision();
	m->arch_capabilities = arch_capabilities();
	m->platform_info = PLATFORM_INFO_CPUID_FAULT;
	m->tsc_ratio = TSC_RATIO_ONE;
}
