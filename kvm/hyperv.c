/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V's MSRs, CPUID leaves and reference time (hyperv_synic.c: interrupts and timers; hyperv_calls.c: hypercalls). A guest is offered them by its CPUID (leaf 0x40000001 says "Hv#1");
 * KVM_CAP_HYPERV_ENFORCE_CPUID holds it to the features that are told there.
 *
 * The reference TSC page says time = (TSC * scale >> 64) + offset, in 100 ns; it is derived from kvmclock and rewritten when
 * that changes, unless the guest, after a migration, has asked that it stay as it is (TSC_EMULATION_CONTROL).
 *
 * Left out, and not announced: nesting. The synthetic debugger is userspace's, which is told of writes to its MSRs.
 */
#include "kvm/clock.h"
#include "kvm/hyperv.h"
#include "kvm/hyperv_state.h"
#include "kvm/irqchip.h"
#include "kvm/pv.h"
#include "kvm/xen.h"
#include "x86/system.h"

/* ---- MSRs ------------------------------------------------------------------------------------------------------ */

/* Features of CPUID leaf 0x40000003; in EAX unless said otherwise. */
#define HAS_RUNTIME BIT(0)
#define HAS_REF_COUNT BIT(1)
#define HAS_SYNIC BIT(2)
#define HAS_TIMERS BIT(3)
#define HAS_APIC BIT(4)
#define HAS_HYPERCALL BIT(5)
#define HAS_VP_INDEX BIT(6)
#define HAS_RESET BIT(7)
#define HAS_REF_TSC BIT(9)
#define HAS_FREQUENCY BIT(11)
#define HAS_REENLIGHTENMENT BIT(13)
#define EDX_GUEST_DEBUGGING BIT(1)
#define EDX_XMM_INPUT BIT(4)
#define EDX_FREQUENCY BIT(8)
#define EDX_CRASH BIT(10)
#define EDX_DEBUG BIT(11)
#define EDX_TIMER_DIRECT BIT(19)

#define MSRS(X)                                                                                            \
	X(GUEST_OS_ID, 0x40000000, HAS_HYPERCALL, 0) X(HYPERCALL, 0x40000001, HAS_HYPERCALL, 0)           \
	X(VP_INDEX, 0x40000002, HAS_VP_INDEX, 0) X(RESET, 0x40000003, HAS_RESET, 0)                        \
	X(VP_RUNTIME, 0x40000010, HAS_RUNTIME, 0) X(TIME_REF_COUNT, 0x40000020, HAS_REF_COUNT, 0)         \
	X(REFERENCE_TSC, 0x40000021, HAS_REF_TSC, 0) X(TSC_FREQUENCY, 0x40000022, HAS_FREQUENCY, 0)       \
	X(APIC_FREQUENCY, 0x40000023, HAS_FREQUENCY, 0) X(EOI, 0x40000070, HAS_APIC, 0)                    \
	X(ICR, 0x40000071, HAS_APIC, 0) X(TPR, 0x40000072, HAS_APIC, 0) X(ASSIST, 0x40000073, HAS_APIC, 0) \
	X(CRASH_P0, 0x40000100, 0, EDX_CRASH) X(CRASH_P1, 0x40000101, 0, EDX_CRASH)                        \
	X(CRASH_P2, 0x40000102, 0, EDX_CRASH) X(CRASH_P3, 0x40000103, 0, EDX_CRASH)                        \
	X(CRASH_P4, 0x40000104, 0, EDX_CRASH) X(CRASH_CTL, 0x40000105, 0, EDX_CRASH)                       \
	X(REENLIGHTENMENT, 0x40000106, HAS_REENLIGHTENMENT, 0)                                             \
	X(TSC_EMULATION_CONTROL, 0x40000107, HAS_REENLIGHTENMENT, 0)                                       \
	X(TSC_EMULATION_STATUS, 0x40000108, HAS_REENLIGHTENMENT, 0)

enum {
#define X(name, index, eax, edx) MSR_##name = index,
	MSRS(X)
#undef X
};

static const struct msr_row {
	u32 first, last, eax, edx;
} msrs[] = {
#define X(name, index, eax, edx) { index, index, eax, edx },
	MSRS(X)
#undef X
	{ MSR_HV_SCONTROL, MSR_HV_EOM, HAS_SYNIC, 0 },
	{ MSR_HV_SINT0, MSR_HV_SINT0 + HYPERV_SINTS - 1, HAS_SYNIC, 0 },
	{ MSR_HV_TIMER0, MSR_HV_TIMER0 + 2 * HYPERV_TIMERS - 1, HAS_TIMERS, 0 },
	{ MSR_HV_DEBUG_CONTROL, MSR_HV_DEBUG_PENDING, 0, EDX_DEBUG },
	{ MSR_HV_DEBUG_OPTIONS, MSR_HV_DEBUG_OPTIONS, 0, EDX_DEBUG },
};

#define FEATURES_EAX                                                                                        \
	(HAS_RUNTIME | HAS_REF_COUNT | HAS_SYNIC | HAS_TIMERS | HAS_APIC | HAS_HYPERCALL | HAS_VP_INDEX | HAS_RESET | HAS_REF_TSC | \
	 HAS_FREQUENCY | HAS_REENLIGHTENMENT)
#define FEATURES_EBX (EBX_POST_MESSAGES | EBX_SIGNAL_EVENTS | EBX_DEBUGGING)
#define FEATURES_EDX (EDX_GUEST_DEBUGGING | EDX_XMM_INPUT | EDX_FREQUENCY | EDX_CRASH | EDX_DEBUG)

#define ENABLE 1u /* bit 0 of HYPERCALL, REFERENCE_TSC, ASSIST */
#define PAGE_MASK (~0xfffull)
#define CRASH_NOTIFY BIT64(63)
#define APIC_HZ 1000000000u

static const struct msr_row *find_msr(u32 index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (index >= msrs[i].first && index <= msrs[i].last)
			return &msrs[i];
	}
	return NULL;
}

unsigned hyperv_msr_list(u32 *out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		bool synic = msrs[i].first >= MSR_HV_SCONTROL && msrs[i].last < MSR_HV_DEBUG_CONTROL;

		if (msrs[i].first >= MSR_EOI && msrs[i].first <= MSR_TPR)
			continue; /* the LAPIC's own registers */
		if (msrs[i].first == MSR_HV_SINT0)
			continue;
		/* the first MSR stands for SynIC, the first one for the timers */
		for (u32 index = msrs[i].first; index <= (synic ? msrs[i].first : msrs[i].last); index++) {
			if (n < max)
				out[n] = index;
			n++;
		}
	}
	return n;
}

static bool may_use(const struct vcpu *vcpu, const struct msr_row *row)
{
	const struct vcpu_hyperv *hv = vcpu->hyperv;

	if (!hv->enabled || ((row->edx & EDX_DEBUG) && !hv->debug_allowed))
		return false;
	return !hv->enforce || (hv->features_eax & row->eax) || (hv->features_edx & row->edx);
}

/* ---- reference time ------------------------------------------------------------------------------------------- */

/* The guest relies on the page as it was before it was migrated. */
static bool page_is_frozen(const struct vm_hyperv *hv)
{
	return hv->tsc_page_state != TSC_PAGE_GUEST_CHANGED && hv->tsc_emulation_control;
}

static bool compute_page(struct vcpu *vcpu, struct hyperv_tsc_page *page)
{
	struct clock_line line;

	if (!vcpu_clock_line(vcpu, &line) || line.tsc_hz <= 10000000)
		return false;
	page->scale = clock_mul_div(10000000, BIT64(63), line.tsc_hz / 2);
	page->offset = line.ns / 100 - hyperv_high_product(line.guest_tsc, page->scale);
	return true;
}

/* Sequence 0 sends the guest to TIME_REF_COUNT while the rest is written. */
static bool write_page(struct vcpu *vcpu, u64 gpa)
{
	struct hyperv_tsc_page *page = &vcpu->vm->hyperv->tsc_page;
	u32 sequence;

	if (vm_read_guest(vcpu->vm, 0, gpa, &sequence, sizeof(sequence)))
		return false;
	if (sequence && page_is_frozen(vcpu->vm->hyperv))
		return !vm_read_guest(vcpu->vm, 0, gpa, page, sizeof(*page));
	page->sequence = 0;
	if (vcpu_write_guest(vcpu, 0, gpa, page, sizeof(page->sequence)) || !compute_page(vcpu, page))
		return false;
	atomic_fence();
	if (vcpu_write_guest(vcpu, 0, gpa, page, sizeof(*page)))
		return false;
	atomic_fence();
	sequence++;
	page->sequence = sequence == 0 || sequence == ~0u ? 1 : sequence;
	return !vcpu_write_guest(vcpu, 0, gpa, page, sizeof(page->sequence));
}

/* Caller holds the lock. */
static void update_page(struct vcpu *vcpu)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	if (hv->tsc_page_state != TSC_PAGE_GUEST_CHANGED && hv->tsc_page_state != TSC_PAGE_HOST_CHANGED)
		return;
	hv->tsc_page_state = write_page(vcpu, hv->reference_tsc & PAGE_MASK) ? TSC_PAGE_SET : TSC_PAGE_BROKEN;
}

void vcpu_hyperv_clock_changed(struct vcpu *vcpu)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	if (likely(atomic_read(&hv->tsc_page_state) == TSC_PAGE_UNSET))
		return;
	host_mutex_lock(&hv->lock);
	if (vcpu->index == 0 && hv->tsc_page_state == TSC_PAGE_SET && !page_is_frozen(hv))
		hv->tsc_page_state = TSC_PAGE_HOST_CHANGED;
	update_page(vcpu);
	host_mutex_unlock(&hv->lock);
}

static void set_reference_tsc(struct vcpu *vcpu, u64 value, bool host)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	hv->reference_tsc = value;
	if (!(value & ENABLE)) {
		hv->tsc_page_state = TSC_PAGE_UNSET;
		return;
	}
	hv->tsc_page_state = host ? TSC_PAGE_HOST_CHANGED : TSC_PAGE_GUEST_CHANGED;
	if (host)
		vcpu_request(vcpu, VCPU_REQ_CLOCK); /* memory may not be there yet */
	else
		update_page(vcpu);
}

/* ---- MSRs of the partition: the lock is held -------------------------------------------------------------------- */

static bool set_hypercall_page(struct vcpu *vcpu, u64 value)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;
	/* or $1 << 31, %eax, where Xen's hypercalls are to be told from these; vmcall or vmmcall; ret */
	u8 code[] = { 0x0d, 0, 0, 0, 0x80, 0x0f, 0x01, vcpu->cpu.vendor_amd ? 0xd9 : 0xc1, 0xc3 };
	unsigned start = vm_xen_has_hypercalls(vcpu->vm) ? 0 : 5;

	if (!hv->guest_os_id)
		return true; /* stays disabled */
	if ((value & ENABLE) &&
	    vcpu_write_guest(vcpu, 0, value & PAGE_MASK, code + start, sizeof(code) - start))
		return false;
	hv->hypercall = value;
	return true;
}

static void set_crash_control(struct vcpu *vcpu, u64 value, bool host)
{
	if (host)
		vcpu->vm->hyperv->crash_control = value & CRASH_NOTIFY;
	else if (value & CRASH_NOTIFY)
		vcpu_request(vcpu, VCPU_REQ_HV_CRASH);
}

static void write_debugger(struct vcpu *vcpu, u32 index, u64 value, bool host)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	if (index == MSR_HV_DEBUG_OPTIONS) {
		hv->debug_options = value;
		return;
	}
	hv->debug[index - MSR_HV_DEBUG_CONTROL] = value;
	if (host || (index != MSR_HV_DEBUG_CONTROL && index != MSR_HV_DEBUG_PENDING))
		return;
	vcpu->hyperv->exit = (struct kvm_hyperv_exit){
		.type = KVM_EXIT_HYPERV_SYNDBG,
		.u.syndbg = {
			.msr = index, .control = hv->debug[0], .send_page = hv->debug[2], .recv_page = hv->debug[3],
			.pending_page = hv->debug[4],
		},
	};
	vcpu_request(vcpu, VCPU_REQ_HV_EXIT);
}

void vcpu_hyperv_exit(struct vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_HYPERV;
	vcpu->run->hyperv = vcpu->hyperv->exit;
}

void vcpu_hyperv_answered(struct vcpu *vcpu)
{
	struct kvm_hyperv_exit *exit = &vcpu->hyperv->exit;

	if (exit->type == KVM_EXIT_HYPERV_SYNDBG && exit->u.syndbg.msr == MSR_HV_DEBUG_CONTROL)
		vcpu->vm->hyperv->debug[1] = vcpu->run->hyperv.u.syndbg.status;
	exit->type = 0;
}

static bool write_partition(struct vcpu *vcpu, u32 index, u64 value, bool host)
{
	struct vm_hyperv *hv = vcpu->vm->hyperv;

	switch (index) {
	case MSR_GUEST_OS_ID:
		hv->guest_os_id = value;
		if (!value)
			hv->hypercall &= ~(u64)ENABLE;
		return true;
	case MSR_HYPERCALL:
		return set_hypercall_page(vcpu, value);
	case MSR_REFERENCE_TSC:
		set_reference_tsc(vcpu, value, host);
		return true;
	case MSR_CRASH_P0 ... MSR_CRASH_P4:
		hv->crash_parameter[index - MSR_CRASH_P0] = value;
		return true;
	case MSR_CRASH_CTL:
		set_crash_control(vcpu, value, host);
		return true;
	case MSR_RESET:
		if (value == 1)
			vcpu_request(vcpu, VCPU_REQ_HV_RESET);
		return true;
	case MSR_REENLIGHTENMENT:
		hv->reenlightenment = value;
		return true;
	case MSR_TSC_EMULATION_CONTROL:
		hv->tsc_emulation_control = value;
		return true;
	case MSR_TSC_EMULATION_STATUS:
		if (value && !host)
			return false;
		hv->tsc_emulation_status = value;
		return true;
	case MSR_TIME_REF_COUNT:
		return host;
	}
	write_debugger(vcpu, index, value, host);
	return true;
}

static u64 read_partition(struct vcpu *vcpu, u32 index)
{
	const struct vm_hyperv *hv = vcpu->vm->hyperv;

	switch (index) {
	case MSR_GUEST_OS_ID:
		return hv->guest_os_id;
	case MSR_HYPERCALL:
		return hv->hypercall;
	case MSR_TIME_REF_COUNT:
		return vcpu_hyperv_time(vcpu);
	case MSR_REFERENCE_TSC:
		return hv->reference_tsc;
	case MSR_CRASH_P0 ... MSR_CRASH_P4:
		return hv->crash_parameter[index - MSR_CRASH_P0];
	case MSR_CRASH_CTL:
		return hv->crash_control;
	case MSR_REENLIGHTENMENT:
		return hv->reenlightenment;
	case MSR_TSC_EMULATION_CONTROL:
		return hv->tsc_emulation_control;
	case MSR_TSC_EMULATION_STATUS:
		return hv->tsc_emulation_status;
	case MSR_RESET:
		return 0;
	case MSR_HV_DEBUG_OPTIONS:
		return hv->debug_options;
	}
	return hv->debug[index - MSR_HV_DEBUG_CONTROL];
}

/* ---- MSRs of the processor --------------------------------------------------------------------------------------- */

static bool set_assist_page(struct vcpu *vcpu, u64 value)
{
	u32 none = 0;

	if (!(value & ENABLE)) {
		vcpu->hyperv->assist = value;
		return vcpu_set_pv_eoi(vcpu, 0);
	}
	/* the rest may hold what a migration has brought */
	if (vcpu_write_guest(vcpu, 0, value & PAGE_MASK, &none, sizeof(none)))
		return false;
	vcpu->hyperv->assist = value;
	return vcpu_set_pv_eoi(vcpu, (value & PAGE_MASK) | KVM_MSR_ENABLED);
}

static u64 runtime_100ns(const struct vcpu *vcpu)
{
	return host_thread_cpu_ns() / 100 + vcpu->hyperv->runtime_offset;
}

static bool write_apic(struct vcpu *vcpu, unsigned reg, u64 value)
{
	if (!vcpu->apic)
		return false;
	vcpu_irq_settle(vcpu);
	return lapic_hyperv_write(vcpu->apic, reg, value);
}

static bool write_own(struct vcpu *vcpu, u32 index, u64 value, bool host)
{
	switch (index) {
	case MSR_VP_INDEX:
		if (!host || (u32)value >= VM_MAX_VCPUS)
			return false;
		atomic_set(&vcpu->hyperv->vp_index, (u32)value);
		return true;
	case MSR_ASSIST:
		return set_assist_page(vcpu, value);
	case MSR_EOI:
		return write_apic(vcpu, APIC_REG_EOI, value);
	case MSR_ICR:
		return write_apic(vcpu, APIC_REG_ICR, value);
	case MSR_TPR:
		return write_apic(vcpu, APIC_REG_TPR, value);
	case MSR_VP_RUNTIME:
		if (host)
			vcpu->hyperv->runtime_offset += value - runtime_100ns(vcpu);
		return host;
	case MSR_TSC_FREQUENCY:
	case MSR_APIC_FREQUENCY:
		return host;
	}
	if (index >= MSR_HV_TIMER0)
		return vcpu_hyperv_write_timer(vcpu, index, value, host);
	return vcpu_hyperv_write_synic(vcpu, index, value, host);
}

static bool read_apic(struct vcpu *vcpu, unsigned reg, u64 *value)
{
	if (!vcpu->apic)
		return false;
	vcpu_irq_settle(vcpu);
	return lapic_hyperv_read(vcpu->apic, reg, value);
}

static bool read_own(struct vcpu *vcpu, u32 index, u64 *value, bool host)
{
	switch (index) {
	case MSR_VP_INDEX:
		*value = vcpu->hyperv->vp_index;
		return true;
	case MSR_ASSIST:
		*value = vcpu->hyperv->assist;
		return true;
	case MSR_EOI:
		return read_apic(vcpu, APIC_REG_EOI, value);
	case MSR_ICR:
		return read_apic(vcpu, APIC_REG_ICR, value);
	case MSR_TPR:
		return read_apic(vcpu, APIC_REG_TPR, value);
	case MSR_VP_RUNTIME:
		*value = runtime_100ns(vcpu);
		return true;
	case MSR_TSC_FREQUENCY:
		*value = vcpu->tsc_khz * 1000ull;
		return true;
	case MSR_APIC_FREQUENCY:
		*value = APIC_HZ;
		return true;
	}
	if (index < MSR_HV_TIMER0)
		return vcpu_hyperv_read_synic(vcpu, index, value, host);
	*value = vcpu_hyperv_read_timer(vcpu, index);
	return true;
}

static bool of_processor(u32 index)
{
	return index == MSR_VP_INDEX || index == MSR_VP_RUNTIME || index == MSR_TSC_FREQUENCY ||
	       index == MSR_APIC_FREQUENCY || (index >= MSR_EOI && index < MSR_HV_DEBUG_CONTROL);
}

enum x86_result vcpu_hyperv_rdmsr(struct vcpu *vcpu, u32 index, u64 *value, bool host, bool *handled)
{
	const struct msr_row *row = find_msr(index);
	bool ok = row && (host || may_use(vcpu, row));

	*handled = row != NULL;
	if (!row)
		return X86_OK;
	if (ok && of_processor(index)) {
		ok = read_own(vcpu, index, value, host);
	} else if (ok) {
		host_mutex_lock(&vcpu->vm->hyperv->lock);
		*value = read_partition(vcpu, index);
		host_mutex_unlock(&vcpu->vm->hyperv->lock);
	}
	return ok ? X86_OK : x86_raise(&vcpu->cpu, X86_GP, 0);
}

enum x86_result vcpu_hyperv_wrmsr(struct vcpu *vcpu, u32 index, u64 value, bool host, bool *handled)
{
	const struct msr_row *row = find_msr(index);
	bool ok = row && (host || may_use(vcpu, row));

	*handled = row != NULL;
	if (!row)
		return X86_OK;
	if (ok && of_processor(index)) {
		ok = write_own(vcpu, index, value, host);
	} else if (ok) {
		host_mutex_lock(&vcpu->vm->hyperv->lock);
		ok = write_partition(vcpu, index, value, host);
		host_mutex_unlock(&vcpu->vm->hyperv->lock);
	}
	return ok ? X86_OK : x86_raise(&vcpu->cpu, X86_GP, 0);
}

/* ---- CPUID -------------------------------------------------------------------------------------------------------- */

#define LEAF_INTERFACE 0x40000001u
#define LEAF_FEATURES 0x40000003u
#define LEAF_RECOMMENDED 0x40000004u
#define LEAF_DEBUG 0x40000082u
#define SIGNATURE_HV1 0x31237648u /* "Hv#1" */

static const struct kvm_cpuid_entry2 *find_leaf(const struct vcpu *vcpu, u32 leaf)
{
	for (u32 i = 0; i < vcpu->nr_cpuid; i++) {
		if (vcpu->cpuid[i].function == leaf)
			return &vcpu->cpuid[i];
	}
	return NULL;
}

void vcpu_hyperv_cpuid_changed(struct vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *interface = find_leaf(vcpu, LEAF_INTERFACE);
	const struct kvm_cpuid_entry2 *features = find_leaf(vcpu, LEAF_FEATURES);
	const struct kvm_cpuid_entry2 *recommended = find_leaf(vcpu, LEAF_RECOMMENDED);
	const struct kvm_cpuid_entry2 *debug = find_leaf(vcpu, LEAF_DEBUG);
	struct vcpu_hyperv *hv = vcpu->hyperv;

	hv->enabled = interface && interface->eax == SIGNATURE_HV1;
	hv->features_eax = features ? features->eax : 0;
	hv->features_ebx = features ? features->ebx : 0;
	hv->features_edx = features ? features->edx : 0;
	hv->debug_allowed = debug && (debug->eax & DEBUG_ALLOWED);
	hv->recommended_eax = recommended ? recommended->eax : 0;
	hv->recommended_ebx = recommended ? recommended->ebx : 0;
}

void vcpu_hyperv_enforce(struct vcpu *vcpu, bool on)
{
	vcpu->hyperv->enforce = on;
}

/* The leaves that KVM has. */
static void supported_cpuid(struct kvm_cpuid_entry2 e[HYPERV_CPUID_ENTRIES], bool lapic)
{
	static const char vendor[12] = "Linux KVM Hv", debugger[12] = "VS#1";
	static const u32 leaf[HYPERV_CPUID_ENTRIES] = {
		0x40000000, LEAF_INTERFACE, 0x40000002, LEAF_FEATURES, LEAF_RECOMMENDED, 0x40000005,
		0x40000080, 0x40000081, LEAF_DEBUG, 0x4000000a,
	};

	memset(e, 0, HYPERV_CPUID_ENTRIES * sizeof(*e));
	for (unsigned i = 0; i < HYPERV_CPUID_ENTRIES; i++)
		e[i].function = leaf[i];
	e[0].eax = LEAF_DEBUG;
	memcpy(&e[0].ebx, vendor, sizeof(vendor));
	e[1].eax = SIGNATURE_HV1;
	e[2].eax = 0x3839; /* Hyper-V 2016 */
	e[2].ebx = 0xa0000;
	e[3].eax = FEATURES_EAX;
	e[3].ebx = FEATURES_EBX;
	e[3].edx = FEATURES_EDX | (lapic ? EDX_TIMER_DIRECT : 0);
	e[4].eax = RECOMMEND_REMOTE_TLB_FLUSH | RECOMMEND_APIC | RECOMMEND_RELAXED | RECOMMEND_EX_MASKS |
		   RECOMMEND_NO_AUTO_EOI | (lapic ? RECOMMEND_CLUSTER_IPI : 0);
	if (!host_smt_possible())
		e[4].eax |= RECOMMEND_NO_CORE_SHARING;
	e[4].ebx = 0xfff; /* turns of a spinlock */
	e[5].eax = VM_MAX_VCPUS;
	e[5].ebx = 64;
	memcpy(&e[6].ebx, vendor, sizeof(vendor));
	memcpy(&e[7].eax, debugger, sizeof(e[7].eax));
	e[8].eax = DEBUG_ALLOWED;
	e[9].eax = NESTED_MSR_BITMAP;
}

static long put_cpuid(unsigned long arg, bool lapic)
{
	struct kvm_cpuid_entry2 e[HYPERV_CPUID_ENTRIES];
	struct kvm_cpuid2 header;

	if (host_copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nent < HYPERV_CPUID_ENTRIES)
		return -E2BIG;
	header.nent = HYPERV_CPUID_ENTRIES;
	supported_cpuid(e, lapic);
	if (host_copy_to_user(arg + sizeof(header), e, sizeof(e)))
		return -EFAULT;
	return host_copy_to_user(arg, &header, sizeof(header));
}

static long device_supported_hv_cpuid(void *object, unsigned long arg)
{
	(void)object;
	return put_cpuid(arg, true);
}

static long vcpu_supported_hv_cpuid(void *object, unsigned long arg)
{
	return put_cpuid(arg, ((struct vcpu *)object)->apic);
}

const struct ioctl_row device_hyperv_ioctls[] = {
	{ KVM_GET_SUPPORTED_HV_CPUID, device_supported_hv_cpuid },
	{ 0, NULL },
};

const struct ioctl_row vcpu_hyperv_ioctls[] = {
	{ KVM_GET_SUPPORTED_HV_CPUID, vcpu_supported_hv_cpuid },
	{ 0, NULL },
};

/* ---- connections (document, section 4.113) ------------------------------------------------------------------------- */

#define CONNECTION_ID 0xffffffu

static struct hyperv_connection **find_connection(struct vm_hyperv *hv, u32 id)
{
	struct hyperv_connection **c = &hv->connections;

	while (*c && (*c)->id != id)
		c = &(*c)->next;
	return c;
}

static long connect(struct vm_hyperv *hv, const struct kvm_hyperv_eventfd *args)
{
	struct hyperv_connection *c = host_alloc(sizeof(*c));
	long r;

	if (!c)
		return -ENOMEM;
	c->id = args->conn_id;
	r = host_eventfd_get(args->fd, &c->event);
	if (r) {
		host_free(c);
		return r;
	}
	host_mutex_lock(&hv->lock);
	if (*find_connection(hv, c->id)) {
		r = -EEXIST;
	} else {
		c->next = hv->connections;
		hv->connections = c;
	}
	host_mutex_unlock(&hv->lock);
	if (r) {
		host_eventfd_put(c->event);
		host_free(c);
	}
	return r;
}

static long disconnect(struct vm_hyperv *hv, u32 id)
{
	struct hyperv_connection **at, *c;

	host_mutex_lock(&hv->lock);
	at = find_connection(hv, id);
	c = *at;
	if (c)
		*at = c->next;
	host_mutex_unlock(&hv->lock);
	if (!c)
		return -ENOENT;
	host_eventfd_put(c->event);
	host_free(c);
	return 0;
}

static long vm_hyperv_eventfd(void *object, unsigned long arg)
{
	struct vm *vm = object;
	struct kvm_hyperv_eventfd args;

	if (host_copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if ((args.flags & ~(u32)KVM_HYPERV_EVENTFD_DEASSIGN) || (args.conn_id & ~CONNECTION_ID))
		return -EINVAL;
	return args.flags ? disconnect(vm->hyperv, args.conn_id) : connect(vm->hyperv, &args);
}

bool vm_hyperv_signal(struct vm *vm, u32 id)
{
	struct hyperv_connection *c;

	host_mutex_lock(&vm->hyperv->lock);
	c = *find_connection(vm->hyperv, id);
	if (c)
		host_eventfd_signal(c->event, 1);
	host_mutex_unlock(&vm->hyperv->lock);
	return c;
}

const struct ioctl_row vm_hyperv_ioctls[] = {
	{ KVM_HYPERV_EVENTFD, vm_hyperv_eventfd },
	{ 0, NULL },
};

/* ---- life ---------------------------------------------------------------------------------------------------------- */

int vm_hyperv_create(struct vm *vm)
{
	vm->hyperv = host_alloc(sizeof(*vm->hyperv));
	if (!vm->hyperv)
		return -ENOMEM;
	host_mutex_init(&vm->hyperv->lock);
	return 0;
}

void vm_hyperv_destroy(struct vm *vm)
{
	while (vm->hyperv && vm->hyperv->connections)
		disconnect(vm->hyperv, vm->hyperv->connections->id);
	host_free(vm->hyperv);
	vm->hyperv = NULL;
}

int vcpu_hyperv_create(struct vcpu *vcpu)
{
	vcpu->hyperv = host_alloc(sizeof(*vcpu->hyperv));
	if (!vcpu->hyperv)
		return -ENOMEM;
	vcpu->hyperv->vp_index = vcpu->index;
	vcpu_hyperv_create_synic(vcpu);
	return 0;
}

void vcpu_hyperv_destroy(struct vcpu *vcpu)
{
	vcpu_hyperv_stop_timers(vcpu);
	host_free(vcpu->hyperv);
	vcpu->hyperv = NULL;
}
