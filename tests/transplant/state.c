// SPDX-License-Identifier: GPL-2.0-only
/* Everything that KVM_GET_* and KVM_SET_* know of a machine. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/payload/processor.h"
#include "tests/transplant/guest.h"
#include "tests/transplant/state.h"

#define CPUID_X2APIC (1u << 21)
#define CPUID_TSC_DEADLINE (1u << 24)

enum { MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b, MSR_TSC_DEADLINE = 0x6e0 };

static void must(int r, const char *what)
{
	if (r < 0)
		err(2, "%s", what);
}

/* ---- the machine ------------------------------------------------------------------------------- */

static size_t run_size(void)
{
	return (size_t)ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
}

static void vcpu_open(struct machine *m, struct machine_vcpu *v, unsigned id)
{
	must(v->fd = ioctl(m->vm, KVM_CREATE_VCPU, (unsigned long)id), "KVM_CREATE_VCPU");
	must(processor_set(kvm_fd, v->fd, CPUID_TSC_DEADLINE | CPUID_X2APIC), "KVM_SET_CPUID2");
	v->run = mmap(NULL, run_size(), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		err(2, "mmap of the vCPU");
}

void machine_open(struct machine *m, void *ram, unsigned cpus)
{
	struct kvm_userspace_memory_region region = { 0, 0, 0, GUEST_RAM, (uintptr_t)ram };
	struct kvm_userspace_memory_region smram = { 1 << 16, 0, 0, GUEST_RAM, (uintptr_t)ram };
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_enable_cap payload = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };

	memset(m, 0, sizeof(*m));
	m->ram = ram;
	must(m->vm = ioctl(kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(ioctl(m->vm, KVM_ENABLE_CAP, &payload), "KVM_CAP_EXCEPTION_PAYLOAD");
	must(ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	must(ioctl(m->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	must(ioctl(m->vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
	must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &smram), "KVM_SET_USER_MEMORY_REGION of SMM");
	for (; m->cpus < cpus; m->cpus++)
		vcpu_open(m, &m->vcpu[m->cpus], m->cpus);
}

void machine_close(struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		munmap(m->vcpu[i].run, run_size());
		close(m->vcpu[i].fd);
	}
	close(m->vm);
}

/* ---- MSRs ---------------------------------------------------------------------------------------- */

static const struct kvm_msr_list *msr_list(void)
{
	static struct kvm_msr_list *list;

	if (!list) {
		list = calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->indices[0]));
		list->nmsrs = MAX_MSRS;
		must(ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list), "KVM_GET_MSR_INDEX_LIST");
	}
	return list;
}

static int msr_access(int vcpu, unsigned long request, struct kvm_msr_entry *e)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} m = { .header.nmsrs = 1, .entry = *e };
	int r = ioctl(vcpu, request, &m);

	*e = m.entry;
	return r;
}

static void msrs_get(int vcpu, struct vcpu_state *s)
{
	const struct kvm_msr_list *list = msr_list();

	s->nr_msrs = 0;
	for (unsigned i = 0; i < list->nmsrs && s->nr_msrs < MAX_MSRS; i++) {
		struct kvm_msr_entry e = { .index = list->indices[i] };

		if (msr_access(vcpu, KVM_GET_MSRS, &e) == 1)
			s->msr[s->nr_msrs++] = e;
	}
}

/* Hyper-V's, of which this guest knows nothing: times and frequencies that only read, or that differ from host to host. */
static bool msr_foreign(unsigned index)
{
	return index >= 0x40000000 && index < 0x40000200;
}

/* The deadline after all others: KVM arms the timer with it. */
static unsigned msrs_set(int vcpu, struct vcpu_state *s)
{
	unsigned refused = 0;

	for (unsigned last = 0; last < 2; last++) {
		for (unsigned i = 0; i < s->nr_msrs; i++) {
			struct kvm_msr_entry e = s->msr[i], now = { .index = e.index };

			if (msr_foreign(e.index) || (e.index == MSR_TSC_DEADLINE) != last || msr_access(vcpu, KVM_SET_MSRS, &e) == 1)
				continue;
			if (msr_access(vcpu, KVM_GET_MSRS, &now) == 1 ? now.data == e.data : !e.data)
				continue;
			printf("MSR %x: %llx is not taken\n", e.index, e.data);
			refused++;
		}
	}
	return refused;
}

static bool msr_moves(unsigned index)
{
	return index == MSR_TSC || index == MSR_TSC_ADJUST || index == MSR_TSC_DEADLINE || msr_foreign(index);
}

static unsigned msrs_compare(const struct vcpu_state *a, const struct vcpu_state *b, const char *where)
{
	unsigned differences = 0;

	for (unsigned i = 0, k = 0; i < a->nr_msrs; i++) {
		while (k < b->nr_msrs && b->msr[k].index != a->msr[i].index)
			k++;
		if (k == b->nr_msrs) { /* not one of the other's; what it was is known to be without meaning, or was told */
			k = 0;
			continue;
		}
		if (a->msr[i].data == b->msr[k].data || msr_moves(a->msr[i].index))
			continue;
		printf("%s: MSR %x was %llx and is %llx\n", where, a->msr[i].index, a->msr[i].data, b->msr[k].data);
		differences++;
	}
	return differences;
}

/* ---- all --------------------------------------------------------------------------------------------- */

static void name_chips(struct machine_state *s)
{
	s->pic0.chip_id = KVM_IRQCHIP_PIC_MASTER;
	s->pic1.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	s->ioapic.chip_id = KVM_IRQCHIP_IOAPIC;
}

static void vcpu_get(const struct machine_vcpu *v, struct vcpu_state *s)
{
#define X(name, type, get, set) must(ioctl(v->fd, get, &s->name), #get " of " #name);
	VCPU_PARTS(X)
#undef X
	s->tsc_khz = (uint32_t)ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	msrs_get(v->fd, s);
	s->asked = v->asked;
	s->written = v->written;
}

void state_get(struct machine *m, struct machine_state *s)
{
	struct kvm_mp_state mp;

	memset(s, 0, sizeof(*s));
	name_chips(s);
	s->cpus = m->cpus;
	for (unsigned i = 0; i < m->cpus; i++) /* before all else: it takes an INIT or SIPI that has come, which sets registers */
		must(ioctl(m->vcpu[i].fd, KVM_GET_MP_STATE, &mp), "KVM_GET_MP_STATE");
#define X(name, type, get, set) must(ioctl(m->vm, get, &s->name), #get " of " #name);
	CHIP_PARTS(X)
	PIT_PARTS(X)
#undef X
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_get(&m->vcpu[i], &s->vcpu[i]);
}

static unsigned part_set(int fd, unsigned long request, void *part, const char *name)
{
	if (ioctl(fd, request, part) >= 0)
		return 0;
	printf("%s is not taken: %s\n", name, strerror(errno));
	return 1;
}

static unsigned vcpu_set(struct machine_vcpu *v, struct vcpu_state *s)
{
	unsigned refused = 0;

	ioctl(v->fd, KVM_SET_TSC_KHZ, s->tsc_khz); /* an old processor cannot; then its time goes at another speed */
#define X(name, type, get, set) refused += part_set(v->fd, set, &s->name, #name);
	VCPU_PARTS(X)
#undef X
	v->asked = s->asked;
	v->written = s->written;
	return refused + msrs_set(v->fd, s);
}

unsigned state_set(struct machine *m, struct machine_state *s)
{
	struct kvm_clock_data clock = s->clock;
	unsigned refused = 0;

	s->clock.flags = 0; /* the clock goes on from its value, as QEMU has it */
#define X(name, type, get, set) refused += part_set(m->vm, set, &s->name, #name);
	CHIP_PARTS(X)
	for (unsigned i = 0; i < m->cpus; i++)
		refused += vcpu_set(&m->vcpu[i], &s->vcpu[i]);
	PIT_PARTS(X)
#undef X
	s->clock = clock;
	return refused;
}

/* ---- comparing ------------------------------------------------------------------------------------------ */

static unsigned bytes_differ(const void *a, const void *b, size_t n, const char *where, const char *name)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < n; i++) {
		if (x[i] == y[i])
			continue;
		printf("%s: %s differs at byte %zu: was %02x and is %02x\n", where, name, i, x[i], y[i]);
		return 1;
	}
	return 0;
}

/* What goes on while nobody looks: counters, and requests of the timers; and what not all processors tell. */
static void forget_vcpu_time(struct vcpu_state *s)
{
	uint32_t *lapic = (uint32_t *)(void *)s->lapic.regs;

	if (s->events.interrupt.shadow) /* one and the same to AMD-V */
		s->events.interrupt.shadow = KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS;
	lapic[0x390 / 4] = 0;
	lapic[0xa0 / 4] = 0; /* PPR, which KVM brings up to date when it looks at it */
	lapic[(0x200 + 0x40 / 32 * 16) / 4] &= ~3u; /* IRR of the vectors 0x40 and 0x41 */
	memset((char *)s->xsave.region + 28, 0, 4); /* MXCSR's mask, and what the kernel keeps there: the host's */
	memset((char *)s->xsave.region + 464, 0, 48);
	/* x87's last instruction and operand are kept only for pending exceptions (AMD), its code segment not at all */
	memset((char *)s->xsave.region + 8, 0, 16);
	memset((char *)s->xsave.region + 6, 0, 2);
}

static void forget_time(struct machine_state *s)
{
	memset(&s->clock, 0, sizeof(s->clock));
	for (unsigned i = 0; i < 3; i++)
		s->pit.channels[i].count_load_time = 0;
	s->ioapic.chip.ioapic.irr &= ~4u;
	memset(&s->pic0.chip.pic, 0, 2); /* last_irr, irr: the PIT's line */
	for (unsigned i = 0; i < s->cpus; i++)
		forget_vcpu_time(&s->vcpu[i]);
}

static unsigned vcpu_compare(const struct vcpu_state *x, const struct vcpu_state *y, const char *where)
{
	unsigned n = 0;

#define X(name, type, get, set) n += bytes_differ(&x->name, &y->name, sizeof(x->name), where, #name);
	VCPU_PARTS(X)
#undef X
	return n + msrs_compare(x, y, where);
}

unsigned state_compare(const struct machine_state *a, const struct machine_state *b, const char *where)
{
	static struct machine_state x, y;
	unsigned n = 0;

	x = *a;
	y = *b;
	forget_time(&x);
	forget_time(&y);
#define X(name, type, get, set) n += bytes_differ(&x.name, &y.name, sizeof(x.name), where, #name);
	CHIP_PARTS(X)
	PIT_PARTS(X)
#undef X
	for (unsigned i = 0; i < x.cpus; i++)
		n += vcpu_compare(&x.vcpu[i], &y.vcpu[i], where);
	return n;
}
