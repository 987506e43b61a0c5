/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUID: what this host and the engine can run (KVM_GET_SUPPORTED_CPUID), what a vCPU's table means for
 * the processor, and the instruction.
 *
 * Supported feature bits are a table: bits that the host must have, because instructions run as
 * themselves on it, and bits that need no hardware, because the engine does the work. Vector extensions
 * also need their state enabled in the host's XCR0. What KVM does not announce either (MONITOR,
 * TSC-deadline, OSXSAVE, HTT: Linux 6.1, arch/x86/kvm/cpuid.c) stays out; speculation controls do too,
 * as no user program can set them.
 */
#include <linux/errno.h>
#include <linux/kvm.h>

#include "x86/cpuid.h"
#include "x86/system.h"

#define B(n) (1u << (n))
#define EXT 0x80000000u
#define MAX_BASIC_LEAF 0x1fu
#define MAX_EXT_LEAF 0x80000021u

#define XCR0_SSE 0x3ull
#define XCR0_YMM 0x7ull
#define XCR0_ZMM 0xe7ull
#define XCR0_PKRU 0x200ull
/* Components that x86/fpu.c moves: x87, SSE, YMM, the three of AVX-512, PKRU. */
#define XCR0_KNOWN 0x2e7ull

/* ---- the host's CPUID ------------------------------------------------------------------------ */

/*
 * What the host answered, kept: under a hypervisor each CPUID costs 20 microseconds or more, and a
 * start-up asks for hundreds. A slot is claimed by its key (FILLING), written, and then published; who
 * meets a slot being filled, or a full table, asks the processor.
 */
#define NR_ANSWERS 256u
#define FILLING (~0ull)

static struct {
	u64 key; /* leaf and subleaf, plus 1; 0: free. Atomic */
	u32 regs[4];
} answers[NR_ANSWERS];

static void cpuid(u32 leaf, u32 subleaf, u32 out[4])
{
	asm volatile("cpuid"
		     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
		     : "0"(leaf), "2"(subleaf));
}

void x86_host_cpuid(u32 leaf, u32 subleaf, u32 out[4])
{
	u64 key = ((u64)leaf << 32 | subleaf) + 1, empty = 0;
	unsigned i = (leaf ^ leaf >> 24 ^ subleaf * 37) % NR_ANSWERS;

	for (unsigned n = 0; n < NR_ANSWERS; n++, i = (i + 1) % NR_ANSWERS) {
		u64 found = atomic_read_acquire(&answers[i].key);

		if (found == key) {
			memcpy(out, answers[i].regs, sizeof(answers[i].regs));
			return;
		}
		if (!found || found == FILLING)
			break;
	}
	cpuid(leaf, subleaf, out);
	if (!__atomic_compare_exchange_n(&answers[i].key, &empty, FILLING, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	memcpy(answers[i].regs, out, sizeof(answers[i].regs));
	atomic_set_release(&answers[i].key, key);
}

static bool vendor_is_amd(u32 ebx, u32 ecx, u32 edx)
{
	bool amd = ebx == 0x68747541 && edx == 0x69746e65 && ecx == 0x444d4163;	  /* AuthenticAMD */
	bool hygon = ebx == 0x6f677948 && edx == 0x6e65476e && ecx == 0x656e6975; /* HygonGenuine */

	return amd || hygon;
}

bool x86_host_is_amd(void)
{
	u32 r[4];

	x86_host_cpuid(0, 0, r);
	return vendor_is_amd(r[X86_CPUID_EBX], r[X86_CPUID_ECX], r[X86_CPUID_EDX]);
}

static u64 supported_xcr0(void)
{
	return x86_fpu_host_xcr0() & XCR0_KNOWN;
}

/* ---- sizes of XSAVE areas -------------------------------------------------------------------- */

#define NR_COMPONENTS 19
#define XSAVE_LEGACY (512u + 64u)

/* Bytes of an XSAVE area with these components, standard or compacted (SDM vol. 1 section 13.4). */
static u32 xsave_size(u64 xcr0, bool compacted)
{
	u32 end = XSAVE_LEGACY;

	for (unsigned i = 2; i < NR_COMPONENTS; i++) {
		u32 r[4], at;

		if (!(xcr0 >> i & 1))
			continue;
		x86_host_cpuid(0xd, i, r); /* size, offset, bit 1 of ECX: aligned when compacted */
		at = r[X86_CPUID_EBX];
		if (compacted)
			at = r[X86_CPUID_ECX] & B(1) ? (end + 63) & ~63u : end;
		if (at + r[X86_CPUID_EAX] > end)
			end = at + r[X86_CPUID_EAX];
	}
	return end;
}

/* ---- supported features ---------------------------------------------------------------------- */

bool x86_cpuid_native;

struct feature_row {
	u32 leaf;
	u8 subleaf, reg; /* enum x86_cpuid_reg */
	u32 host;	 /* bits that the host must have */
	u32 always;	 /* bits that need no hardware, unless the guest runs on it (x86_cpuid_native) */
	u64 xcr0;	 /* state that the host must have enabled for any of them */
};

static const struct feature_row feature_rows[] = {
	/* SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND; PCID X2APIC */
	{ 1, 0, X86_CPUID_ECX,
	  B(0) | B(1) | B(9) | B(13) | B(19) | B(20) | B(22) | B(23) | B(25) | B(30), B(17) | B(21), 0 },
	{ 1, 0, X86_CPUID_ECX, B(26), 0, XCR0_SSE }, /* XSAVE */
	/* FMA AVX F16C */
	{ 1, 0, X86_CPUID_ECX, B(12) | B(28) | B(29), 0, XCR0_YMM },
	/* FPU TSC CX8 CMOV CLFLUSH MMX FXSR SSE SSE2 SS;
	 * VME DE PSE MSR PAE MCE APIC SEP MTRR PGE MCA PAT PSE36 */
	{ 1, 0, X86_CPUID_EDX, B(0) | B(4) | B(8) | B(15) | B(19) | B(23) | B(24) | B(25) | B(26) | B(27),
	  B(1) | B(2) | B(3) | B(5) | B(6) | B(7) | B(9) | B(11) | B(12) | B(13) | B(14) | B(16) | B(17), 0 },
	/* BMI1 FDP_EXCPTN_ONLY BMI2 ERMS ZERO_FCS_FDS RDSEED ADX CLFLUSHOPT CLWB SHA;
	 * FSGSBASE TSC_ADJUST SMEP INVPCID SMAP */
	{ 7, 0, X86_CPUID_EBX, B(3) | B(6) | B(8) | B(9) | B(13) | B(18) | B(19) | B(23) | B(24) | B(29),
	  B(0) | B(1) | B(7) | B(10) | B(20), 0 },
	{ 7, 0, X86_CPUID_EBX, B(5), 0, XCR0_YMM }, /* AVX2 */
	/* AVX512 F DQ IFMA CD BW VL */
	{ 7, 0, X86_CPUID_EBX, B(16) | B(17) | B(21) | B(28) | B(30) | B(31), 0, XCR0_ZMM },
	/* GFNI LA57 MOVDIRI; UMIP RDPID */
	{ 7, 0, X86_CPUID_ECX, B(8) | B(16) | B(27), B(2) | B(22), 0 },
	{ 7, 0, X86_CPUID_ECX, B(3), 0, XCR0_PKRU },	    /* PKU */
	{ 7, 0, X86_CPUID_ECX, B(9) | B(10), 0, XCR0_YMM }, /* VAES VPCLMULQDQ */
	/* AVX512 VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
	{ 7, 0, X86_CPUID_ECX, B(1) | B(6) | B(11) | B(12) | B(14), 0, XCR0_ZMM },
	/* FSRM MD_CLEAR SERIALIZE; ARCH_CAPABILITIES */
	{ 7, 0, X86_CPUID_EDX, B(4) | B(10) | B(14), B(29), 0 },
	{ 7, 0, X86_CPUID_EDX, B(8) | B(23), 0, XCR0_ZMM }, /* AVX512 VP2INTERSECT FP16 */
	{ 7, 1, X86_CPUID_EAX, B(4), 0, XCR0_YMM },	    /* AVX_VNNI */
	{ 7, 1, X86_CPUID_EAX, B(5), 0, XCR0_ZMM },	    /* AVX512_BF16 */
	/* XSAVEOPT XSAVEC XGETBV1 XSAVES */
	{ 0xd, 1, X86_CPUID_EAX, B(0) | B(1) | B(2) | B(3), 0, XCR0_SSE },
	/* LAHF CMP_LEGACY CR8_LEGACY LZCNT SSE4A MISALIGNSSE PREFETCHW OSVW TOPOEXT */
	{ EXT + 1, 0, X86_CPUID_ECX, B(0) | B(1) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(22), 0, 0 },
	/* AMD's copy of leaf 1, where the host has one; SYSCALL MMXEXT FXSR_OPT LM; NX GBPAGES RDTSCP */
	{ EXT + 1, 0, X86_CPUID_EDX,
	  0x0183fbffu | B(11) | B(22) | B(25) | B(29), B(20) | B(26) | B(27), 0 },
	/* CLZERO XSAVEERPTR WBNOINVD AMD_SSB_NO */
	{ EXT + 8, 0, X86_CPUID_EBX, B(0) | B(2) | B(9) | B(26), 0, 0 },
};

/* What kvm/ and x86/ provide under every engine: MCE APIC MTRR MCA; X2APIC; TSC_ADJUST; ARCH_CAPABILITIES. */
static u32 devices_bits(u32 leaf, enum x86_cpuid_reg reg)
{
	if (leaf == 1)
		return reg == X86_CPUID_EDX ? B(7) | B(9) | B(12) | B(14) : reg == X86_CPUID_ECX ? B(21) : 0;
	if (leaf == 7)
		return reg == X86_CPUID_EBX ? B(1) : reg == X86_CPUID_EDX ? B(29) : 0;
	return 0;
}

static u32 without_hardware(const struct feature_row *row, u32 host)
{
	return x86_cpuid_native ? row->always & (host | devices_bits(row->leaf, row->reg)) : row->always;
}

static u32 supported_bits(u32 leaf, u32 subleaf, enum x86_cpuid_reg reg, u32 host)
{
	u64 xcr0 = supported_xcr0();
	u32 bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(feature_rows); i++) {
		const struct feature_row *row = &feature_rows[i];

		if (row->leaf != leaf || row->subleaf != subleaf || row->reg != reg)
			continue;
		if ((xcr0 & row->xcr0) == row->xcr0)
			bits |= (host & row->host) | without_hardware(row, host);
	}
	return bits;
}

/* ---- KVM_GET_SUPPORTED_CPUID ----------------------------------------------------------------- */

struct table {
	struct kvm_cpuid_entry2 *entries;
	unsigned nr, max;
	bool full; /* an entry did not fit */
	struct kvm_cpuid_entry2 spill;
};

static bool is_indexed(u32 leaf)
{
	static const u8 indexed[] = { 4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1e, 0x1f };

	for (unsigned i = 0; i < ARRAY_SIZE(indexed); i++)
		if (indexed[i] == leaf)
			return true;
	return leaf == EXT + 0x1d;
}

/* Appends an entry with the host's values, or zeros. */
static struct kvm_cpuid_entry2 *add(struct table *t, u32 leaf, u32 subleaf, bool host)
{
	struct kvm_cpuid_entry2 *e = t->nr < t->max ? &t->entries[t->nr++] : &t->spill;
	u32 r[4] = { 0, 0, 0, 0 };

	if (e == &t->spill)
		t->full = true;
	if (host)
		x86_host_cpuid(leaf, subleaf, r);
	*e = (struct kvm_cpuid_entry2) { .function = leaf, .index = subleaf,
					 .eax = r[0], .ebx = r[1], .ecx = r[2], .edx = r[3] };
	if (is_indexed(leaf))
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return e;
}

static void mask_features(struct kvm_cpuid_entry2 *e, enum x86_cpuid_reg reg)
{
	u32 *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	*regs[reg] = supported_bits(e->function, e->index, reg, *regs[reg]);
}

static void add_leaf_7(struct table *t)
{
	struct kvm_cpuid_entry2 *e = add(t, 7, 0, true);
	u32 last = e->eax < 1 ? e->eax : 1;

	e->eax = last;
	mask_features(e, X86_CPUID_EBX);
	mask_features(e, X86_CPUID_ECX);
	mask_features(e, X86_CPUID_EDX);
	if (last < 1)
		return;
	e = add(t, 7, 1, true);
	mask_features(e, X86_CPUID_EAX);
	e->ebx = e->ecx = e->edx = 0;
}

static void add_leaf_d(struct table *t)
{
	struct kvm_cpuid_entry2 *e = add(t, 0xd, 0, true);
	u64 xcr0 = supported_xcr0();

	e->eax &= (u32)xcr0;
	e->edx &= (u32)(xcr0 >> 32);
	e->ebx = e->ecx = xsave_size(xcr0, false);
	if (!xcr0)
		return;
	e = add(t, 0xd, 1, true);
	mask_features(e, X86_CPUID_EAX);
	e->ebx = e->eax & (B(1) | B(3)) ? xsave_size(xcr0, true) : 0;
	e->ecx = e->edx = 0;
	for (unsigned i = 2; i < NR_COMPONENTS; i++) {
		if (!(xcr0 >> i & 1))
			continue;
		e = add(t, 0xd, i, true);
		e->ecx &= ~B(2); /* no XFD */
		e->edx = 0;
	}
}

/* Cache descriptions: sub-leaves until one says "no more caches". */
static void add_caches(struct table *t, u32 leaf)
{
	for (u32 i = 0; i < 16; i++)
		if (!(add(t, leaf, i, true)->eax & 0x1f))
			return;
}

static void add_basic(struct table *t, u32 leaf)
{
	struct kvm_cpuid_entry2 *e;

	switch (leaf) {
	case 1:
		e = add(t, leaf, 0, true);
		mask_features(e, X86_CPUID_ECX);
		mask_features(e, X86_CPUID_EDX);
		break;
	case 2:
		add(t, leaf, 0, true);
		break;
	case 4:
		add_caches(t, leaf);
		break;
	case 6:
		add(t, leaf, 0, false)->eax = B(2); /* ARAT: the APIC timer never stops */
		break;
	case 7:
		add_leaf_7(t);
		break;
	case 0xd:
		add_leaf_d(t);
		break;
	default: /* 3, 5, 9, 0xa...: nothing there; 0xb, 0x1f: the topology is the VMM's */
		add(t, leaf, 0, false);
	}
}

static void add_address_sizes(struct table *t, u32 leaf)
{
	struct kvm_cpuid_entry2 *e = add(t, leaf, 0, true);
	u32 virtual_bits = e->eax >> 8 & 0xff;

	if (virtual_bits < 48)
		virtual_bits = 48;
	e->eax = (e->eax & 0xff) | virtual_bits << 8;
	e->ecx &= 0xf0ff; /* cores per package, APIC id size */
	e->edx = 0;
	mask_features(e, X86_CPUID_EBX);
}

static void add_extended(struct table *t, u32 leaf, u32 host_max)
{
	bool host = leaf <= host_max;
	struct kvm_cpuid_entry2 *e;

	switch (leaf) {
	case EXT + 1:
		e = add(t, leaf, 0, host);
		e->ebx &= 0xf000ffff;
		mask_features(e, X86_CPUID_ECX);
		mask_features(e, X86_CPUID_EDX);
		break;
	case EXT + 2:
	case EXT + 3:
	case EXT + 4: /* brand string */
	case EXT + 5: /* L1 */
		add(t, leaf, 0, host);
		break;
	case EXT + 6:
		add(t, leaf, 0, host)->edx &= ~(B(16) | B(17));
		break;
	case EXT + 7:
		e = add(t, leaf, 0, host);
		e->eax = e->ebx = e->ecx = 0;
		e->edx &= B(8); /* invariant TSC */
		break;
	case EXT + 8:
		add_address_sizes(t, leaf);
		break;
	case EXT + 0x19:
		e = add(t, leaf, 0, host);
		e->ecx = e->edx = 0;
		break;
	case EXT + 0x1a:
		e = add(t, leaf, 0, host);
		e->eax &= 7;
		e->ebx = e->ecx = e->edx = 0;
		break;
	case EXT + 0x1d:
		add_caches(t, leaf);
		break;
	case EXT + 0x21: /* LFENCE serialises, null selectors clear the base, no SMM_CTL MSR */
		e = add(t, leaf, 0, host);
		e->eax = (e->eax & (B(0) | B(5))) | B(2) | B(6) | B(9);
		e->ebx = e->ecx = e->edx = 0;
		break;
	default: /* 0xa: no SVM; 0x1e: the topology is the VMM's */
		add(t, leaf, 0, false);
	}
}

int x86_cpuid_supported(struct kvm_cpuid_entry2 *out, unsigned max)
{
	struct table t = { .entries = out, .max = max };
	struct kvm_cpuid_entry2 *e = add(&t, 0, 0, true);
	u32 last, host_max, r[4];

	last = e->eax = e->eax < MAX_BASIC_LEAF ? e->eax : MAX_BASIC_LEAF;
	for (u32 leaf = 1; leaf <= last; leaf++)
		add_basic(&t, leaf);
	x86_host_cpuid(EXT, 0, r);
	host_max = r[X86_CPUID_EAX];
	e = add(&t, EXT, 0, true);
	/* Leaf 0x21 is ours, but VMMs ask the host for those below: only where that has them. */
	last = host_max >= EXT + 0x1d ? MAX_EXT_LEAF : host_max;
	e->eax = last;
	for (u32 leaf = EXT + 1; leaf <= last; leaf++)
		add_extended(&t, leaf, host_max);
	return t.full ? -E2BIG : (int)t.nr;
}

/* ---- a vCPU's table -------------------------------------------------------------------------- */

const struct kvm_cpuid_entry2 *x86_cpuid_find(const struct x86_cpu *cpu, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < cpu->nr_cpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &cpu->cpuid[i];

		if (e->function != leaf)
			continue;
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf)
			return e;
	}
	return NULL;
}

static u32 entry_reg(const struct kvm_cpuid_entry2 *e, enum x86_cpuid_reg reg)
{
	const u32 regs[] = { e->eax, e->ebx, e->ecx, e->edx };

	return regs[reg];
}

bool x86_cpuid_bit(const struct x86_cpu *cpu, u32 leaf, u32 subleaf, enum x86_cpuid_reg reg, unsigned bit)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpu, leaf, subleaf);

	return e && (entry_reg(e, reg) >> bit & 1);
}

static const struct {
	u32 leaf;
	u8 subleaf, reg, bit;
} feature_place[] = {
	{ 0, 0, 0, 0 },
#define X(name, leaf, subleaf, reg, bit) { leaf, subleaf, reg, bit },
	X86_FEATURES(X)
#undef X
};

_Static_assert(ARRAY_SIZE(feature_place) == X86_NR_FEATURES, "one place for each feature");

static bool supported_feature(unsigned f)
{
	u32 r[4];

	x86_host_cpuid(feature_place[f].leaf, feature_place[f].subleaf, r);
	return supported_bits(feature_place[f].leaf, feature_place[f].subleaf, feature_place[f].reg,
			      r[feature_place[f].reg]) >> feature_place[f].bit & 1;
}

/* A vCPU without a table may do all that the engine can, as hardware under KVM does not look at CPUID. */
static void apply_features(struct x86_cpu *cpu)
{
	memset(cpu->features, 0, sizeof(cpu->features));
	for (unsigned f = 1; f < X86_NR_FEATURES; f++) {
		bool has = cpu->nr_cpuid ? x86_cpuid_bit(cpu, feature_place[f].leaf, feature_place[f].subleaf,
							 feature_place[f].reg, feature_place[f].bit)
					 : supported_feature(f);

		if (has)
			cpu->features[f / 32] |= B(f % 32);
	}
}

static u8 physical_bits(const struct x86_cpu *cpu)
{
	const struct kvm_cpuid_entry2 *last = x86_cpuid_find(cpu, EXT, 0);
	const struct kvm_cpuid_entry2 *sizes = x86_cpuid_find(cpu, EXT + 8, 0);
	u32 bits = 36;

	if (last && last->eax >= EXT + 8 && sizes)
		bits = sizes->eax & 0xff;
	return (u8)(bits < 32 ? 32 : bits > 52 ? 52 : bits);
}

static u64 cr4_reserved(const struct x86_cpu *cpu)
{
	static const struct {
		u16 feature;
		u64 bit;
	} optional[] = {
		{ X86_FEAT_XSAVE, X86_CR4_OSXSAVE }, { X86_FEAT_FSGSBASE, X86_CR4_FSGSBASE },
		{ X86_FEAT_SMEP, X86_CR4_SMEP }, { X86_FEAT_SMAP, X86_CR4_SMAP },
		{ X86_FEAT_PKU, X86_CR4_PKE }, { X86_FEAT_LA57, X86_CR4_LA57 },
		{ X86_FEAT_UMIP, X86_CR4_UMIP }, { X86_FEAT_PCID, X86_CR4_PCIDE },
	};
	u64 valid = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
		    X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (x86_has(cpu, optional[i].feature))
			valid |= optional[i].bit;
	return ~valid;
}

void x86_cpuid_apply(struct x86_cpu *cpu, const struct kvm_cpuid_entry2 *e, unsigned n)
{
	const struct kvm_cpuid_entry2 *id, *xsave;

	cpu->cpuid = e;
	cpu->nr_cpuid = n;
	apply_features(cpu);
	id = x86_cpuid_find(cpu, 0, 0);
	cpu->vendor_amd = id ? vendor_is_amd(id->ebx, id->ecx, id->edx) : x86_host_is_amd();
	cpu->maxphyaddr = physical_bits(cpu);
	cpu->phys_reserved = ~0ull << cpu->maxphyaddr;
	cpu->cr4_reserved = cr4_reserved(cpu);
	xsave = x86_cpuid_find(cpu, 0xd, 0);
	cpu->xcr0_supported = xsave ? (xsave->eax | (u64)xsave->edx << 32) & supported_xcr0() : 0;
}

/* ---- the instruction ------------------------------------------------------------------------- */

static u32 with_bit(u32 value, unsigned bit, bool set)
{
	return (value & ~B(bit)) | (set ? B(bit) : 0);
}

#define TSX_CTRL_CPUID_CLEAR BIT64(1)

/* Bits that follow the processor's state. */
static void make_dynamic(struct x86_cpu *cpu, u32 leaf, u32 subleaf, u32 out[4])
{
	if (leaf == 1) {
		if (x86_has(cpu, X86_FEAT_XSAVE))
			out[X86_CPUID_ECX] = with_bit(out[X86_CPUID_ECX], 27, cpu->cr4 & X86_CR4_OSXSAVE);
		out[X86_CPUID_EDX] = with_bit(out[X86_CPUID_EDX], 9, cpu->env->apic_enabled(cpu));
		if (cpu->env->disabled_quirks(cpu) & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)
			out[X86_CPUID_ECX] = with_bit(out[X86_CPUID_ECX], 3, cpu->msr.misc_enable & X86_MISC_ENABLE_MWAIT);
	} else if (leaf == 7 && subleaf == 0) {
		if (x86_has(cpu, X86_FEAT_PKU))
			out[X86_CPUID_ECX] = with_bit(out[X86_CPUID_ECX], 4, cpu->cr4 & X86_CR4_PKE);
		if (cpu->msr.tsx_ctrl & TSX_CTRL_CPUID_CLEAR)
			out[X86_CPUID_EBX] &= ~(B(4) | B(11));
	} else if (leaf == 0xd && subleaf == 0) {
		out[X86_CPUID_EBX] = xsave_size(cpu->xcr0, false);
	} else if (leaf == 0xd && subleaf == 1 && (out[X86_CPUID_EAX] & (B(1) | B(3)))) {
		out[X86_CPUID_EBX] = xsave_size(cpu->xcr0, true);
	}
}

/*
 * Intel answers a leaf out of range like the highest basic one, AMD with zeros. A leaf is in range when
 * the first leaf of its class (basic, hypervisor's 0x100, extended, Centaur) says so.
 */
static const struct kvm_cpuid_entry2 *out_of_range(const struct x86_cpu *cpu, u32 *leaf, u32 subleaf)
{
	const struct kvm_cpuid_entry2 *basic = x86_cpuid_find(cpu, 0, 0), *first;
	u32 base = *leaf & 0x80000000;

	if (!basic || cpu->vendor_amd)
		return NULL;
	if (*leaf >= 0x40000000 && *leaf <= 0x4fffffff)
		base = *leaf & 0xffffff00;
	else if (*leaf >= 0xc0000000)
		base = 0xc0000000;
	first = x86_cpuid_find(cpu, base, 0);
	if (first && *leaf <= first->eax)
		return NULL;
	*leaf = basic->eax;
	return x86_cpuid_find(cpu, basic->eax, subleaf);
}

void x86_cpuid(struct x86_cpu *cpu, u32 leaf, u32 subleaf, u32 out[4])
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpu, leaf, subleaf);

	if (!e)
		e = out_of_range(cpu, &leaf, subleaf);
	memset(out, 0, 4 * sizeof(out[0]));
	if (e) {
		for (unsigned i = 0; i < 4; i++)
			out[i] = entry_reg(e, i);
		make_dynamic(cpu, leaf, subleaf, out);
		return;
	}
	if (leaf != 0xb && leaf != 0x1f)
		return;
	/* Topology sub-leaves past the last: CL comes back, EDX is the x2APIC id all the same. */
	e = x86_cpuid_find(cpu, leaf, 1);
	if (e) {
		out[X86_CPUID_ECX] = subleaf & 0xff;
		out[X86_CPUID_EDX] = e->edx;
	}
}
