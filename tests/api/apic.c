// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whom an interrupt message reaches: IPIs and MSIs in physical and logical modes of xAPIC and x2APIC, to APIC ids of more
 * than 8 bits, of lowest priority. The first vCPU sends; the others' LAPICs are looked at.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/api.h"

#define MAX 12
#define FIRST_VECTOR 0x40

struct many {
	struct machine m; /* vcpu: the sender */
	int vcpu[MAX];
	uint32_t id[MAX];
	unsigned n;
};

static const uint32_t small[] = { 0, 1, 2, 3, 4, 5, 0x11, 0x12 };
static const uint32_t large[] = { 0, 1, 2, 5, 0x11, 0xfe, 0xff, 0x100, 0x101, 0x110, 0x1ff, 1023 };

enum mode { FLAT, CLUSTER, X2APIC, MIXED };

static void set_cpuid(struct many *v, int vcpu, uint32_t id)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 100 * sizeof(c->entries[0]));

	c->nent = 100;
	ask(v->m.kvm, KVM_GET_SUPPORTED_CPUID, c);
	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 1) {
			c->entries[i].ecx |= 1 << 21;
			c->entries[i].ebx = (c->entries[i].ebx & 0xffffff) | id << 24;
		}
		if (c->entries[i].function == 0xb)
			c->entries[i].edx = id;
	}
	ask(vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static uint32_t *reg(struct kvm_lapic_state *s, unsigned offset)
{
	return (uint32_t *)&s->regs[offset];
}

static void set_apic(struct many *v, unsigned i, enum mode mode, bool enabled)
{
	bool x2apic = mode == X2APIC || (mode == MIXED && (i & 1));
	struct kvm_lapic_state s;
	struct kvm_sregs sregs;

	ask(v->vcpu[i], KVM_GET_SREGS, &sregs);
	sregs.apic_base = 0xfee00800 | (x2apic ? 0x400 : 0) | (i ? 0 : 0x100);
	ask(v->vcpu[i], KVM_SET_SREGS, &sregs);
	ask(v->vcpu[i], KVM_GET_LAPIC, &s);
	*reg(&s, 0xf0) = enabled ? 0x1ff : 0xff;
	if (!x2apic) {
		*reg(&s, 0xe0) = mode == CLUSTER ? 0x0fffffff : 0xffffffff;
		*reg(&s, 0xd0) = (mode == CLUSTER ? (i / 4) << 4 | 1 << i % 4 : 1u << i % 8) << 24;
	}
	ask(v->vcpu[i], KVM_SET_LAPIC, &s);
}

static void set_disabled(struct many *v, unsigned i)
{
	struct kvm_lapic_state s;

	ask(v->vcpu[i], KVM_GET_LAPIC, &s);
	*reg(&s, 0xf0) = 0xff;
	ask(v->vcpu[i], KVM_SET_LAPIC, &s);
}

static struct many start(const uint32_t *ids, unsigned n, enum mode mode, uint64_t api)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X2APIC_API, .args = { api } };
	struct many v = { .m = machine_open(true, false), .n = n };

	ask(v.m.vm, KVM_ENABLE_CAP, &cap);
	machine_ram(&v.m);
	for (unsigned i = 0; i < n; i++) {
		v.id[i] = ids[i];
		v.vcpu[i] = (int)ask(v.m.vm, KVM_CREATE_VCPU, (void *)(uintptr_t)ids[i]);
		set_cpuid(&v, v.vcpu[i], ids[i]);
	}
	for (unsigned i = 0; i < n; i++)
		set_apic(&v, i, mode, true);
	v.m.vcpu = v.vcpu[0];
	v.m.run = mmap(NULL, v.m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v.m.vcpu, 0);
	return v;
}

static void end(struct many *v)
{
	for (unsigned i = 1; i < v->n; i++)
		close(v->vcpu[i]);
	machine_close(&v->m);
}

/* Who has something in IRR: id, vector if it is not the first; and forgets it. */
static void tell_takers(struct many *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		struct kvm_lapic_state s;

		ask(v->vcpu[i], KVM_GET_LAPIC, &s);
		for (unsigned vector = 0; vector < 256; vector++) {
			uint32_t *irr = reg(&s, 0x200 + vector / 32 * 16);

			if (!(*irr >> vector % 32 & 1))
				continue;
			*irr &= ~(1u << vector % 32);
			printf(" %x", v->id[i]);
			if (vector != FIRST_VECTOR)
				printf(":%x", vector);
		}
		ask(v->vcpu[i], KVM_SET_LAPIC, &s);
	}
	printf("\n");
}

/* 32-bit code without paging: it ends with OUT. */
static long run32(struct many *v, const uint8_t *code, size_t size, uint32_t dest, uint32_t low)
{
	struct kvm_segment flat = { .limit = 0xffffffff, .present = 1, .s = 1, .db = 1, .g = 1, .type = 3, .selector = 16 };
	struct kvm_regs regs = { .rflags = 2, .rax = low, .rdx = dest, .rcx = 0x830 };
	struct kvm_sregs s;
	long r;

	memcpy(v->m.ram, code, size);
	ask(v->m.vcpu, KVM_GET_SREGS, &s);
	s.ds = s.es = s.ss = s.fs = s.gs = flat;
	flat.type = 11;
	flat.selector = 8;
	s.cs = flat;
	s.cr0 |= 1;
	ask(v->m.vcpu, KVM_SET_SREGS, &s);
	ask(v->m.vcpu, KVM_SET_REGS, &regs);
	do
		r = ask(v->m.vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	return r < 0 ? r : (long)v->m.run->exit_reason;
}

static long ipi(struct many *v, bool x2apic, uint32_t dest, uint32_t low)
{
	static const uint8_t by_msr[] = { 0x0f, 0x30, 0xe6, 0x10 };
	/* mov %edx, 0xfee00310; mov %eax, 0xfee00300; out %al, $0x10 */
	static const uint8_t by_mmio[] = { 0x89, 0x15, 0x10, 0x03, 0xe0, 0xfe, 0xa3, 0x00, 0x03, 0xe0, 0xfe, 0xe6, 0x10 };

	if (x2apic)
		return run32(v, by_msr, sizeof(by_msr), dest, low);
	return run32(v, by_mmio, sizeof(by_mmio), dest << 24, low);
}

static void ipis(const char *name, const uint32_t *ids, unsigned n, enum mode mode)
{
	static const uint32_t narrow[] = { 0, 1, 3, 5, 8, 0x11, 0x13, 0x1f, 0x2f, 0x21, 0x0f, 0xf0, 0xf1, 0x3f, 0xfe, 0xff };
	static const uint32_t wide[] = {
		0, 1, 0x11, 0xfe, 0xff, 0x100, 0x110, 0x1ff, 1023, 0x200, 0x10001, 0x10003, 0x1ffff, 0xf4000, 0xfffff, 0x100001,
		0x100003, 0x3f8000, 0xff, 0xffff, 0x00ff, 0xffff0001, 0xffffffff,
	};
	static const uint32_t modes[] = { 0x4040, 0x4840, 0x4140, 0x4940 }; /* physical, logical; lowest priority */
	bool x2apic = mode == X2APIC;
	struct many v = start(ids, n, mode, x2apic);
	unsigned count = x2apic ? sizeof(wide) / 4 : sizeof(narrow) / 4;

	for (unsigned k = 0; k < 4; k++) {
		for (unsigned i = 0; i < count; i++) {
			uint32_t dest = x2apic ? wide[i] : narrow[i];

			printf("apic/%s-%x-%x: %ld", name, modes[k], dest, ipi(&v, x2apic, dest, modes[k]));
			tell_takers(&v);
		}
	}
	for (uint32_t shorthand = 1; shorthand < 4; shorthand++) {
		for (unsigned k = 0; k < 4; k += 2) {
			uint32_t low = modes[k] | shorthand << 18;

			printf("apic/%s-%x: %ld", name, low, ipi(&v, x2apic, 0, low));
			tell_takers(&v);
		}
	}
	end(&v);
}

/* A processor of those that are named and enabled, by the vector. */
static void lowest(void)
{
	struct many v = start(small, 8, FLAT, 0);

	for (uint32_t vector = FIRST_VECTOR; vector < FIRST_VECTOR + 9; vector++) {
		printf("apic/lowest-%x: %ld", vector, ipi(&v, false, 0x0f, 0x4900 | vector));
		tell_takers(&v);
	}
	set_disabled(&v, 1);
	set_disabled(&v, 2);
	for (uint32_t vector = FIRST_VECTOR; vector < FIRST_VECTOR + 4; vector++) {
		printf("apic/lowest-two-%x: %ld", vector, ipi(&v, false, 0x0f, 0x4900 | vector));
		tell_takers(&v);
		printf("apic/fixed-two-%x: %ld", vector, ipi(&v, false, 0x0f, 0x4800 | vector));
		tell_takers(&v);
	}
	end(&v);
}

static void events(const char *name, bool x2apic, uint32_t dest, uint32_t low)
{
	struct many v = start(x2apic ? large : small, 8, x2apic ? X2APIC : FLAT, x2apic);

	printf("apic/%s-%x: %ld", name, dest, ipi(&v, x2apic, dest, low));
	for (unsigned i = 1; i < v.n; i++) {
		struct kvm_vcpu_events e;
		struct kvm_mp_state state;

		ask(v.vcpu[i], KVM_GET_VCPU_EVENTS, &e);
		ask(v.vcpu[i], KVM_GET_MP_STATE, &state);
		printf(" %x=%u.%u.%u.%u", v.id[i], state.mp_state, e.nmi.pending, e.smi.latched_init, e.sipi_vector);
	}
	tell_takers(&v);
	end(&v);
}

static void msi(struct many *v, const char *name, uint32_t high, uint32_t low, uint32_t data)
{
	struct kvm_msi msg = { .address_lo = 0xfee00000 | low, .address_hi = high, .data = data };
	long r = ask(v->m.vm, KVM_SIGNAL_MSI, &msg);

	printf("apic/msi-%s-%x-%x-%x: ", name, high, low, data);
	if (r < 0)
		printf("%s", answer(r));
	else
		printf("%ld", r);
	tell_takers(v);
}

static void msis(const char *name, const uint32_t *ids, unsigned n, enum mode mode, uint64_t api)
{
	static const uint32_t destinations[] = { 0, 1, 5, 0x11, 0x13, 0xfe, 0xff };
	static const uint32_t highs[] = { 0x100, 0x300, 0xffffff00, 0x101, 0x200 };
	struct many v = start(ids, n, mode, api);

	for (unsigned i = 0; i < 7; i++) {
		msi(&v, name, 0, destinations[i] << 12, 0x40);
		msi(&v, name, 0, destinations[i] << 12 | 4, 0x40); /* logical */
		msi(&v, name, 0, destinations[i] << 12 | 12, 0x40); /* redirectable */
		msi(&v, name, 0, destinations[i] << 12 | 8, 0x40);
		msi(&v, name, 0, destinations[i] << 12, 0x140); /* lowest priority */
	}
	for (unsigned i = 0; i < 5; i++) {
		msi(&v, name, highs[i], 0, 0x40);
		msi(&v, name, highs[i], 0xff << 12, 0x40);
		msi(&v, name, highs[i], 0x10 << 12 | 4, 0x40);
	}
	end(&v);
}

void test_apic(void)
{
	ipis("flat", small, 8, FLAT);
	ipis("cluster", small, 8, CLUSTER);
	ipis("x2apic", large, MAX, X2APIC);
	ipis("mixed", small, 8, MIXED);
	ipis("x2apic-small", small, 8, X2APIC);
	lowest();
	for (unsigned x2apic = 0; x2apic < 2; x2apic++) {
		const char *kind = x2apic ? "x2apic" : "xapic";
		char name[32];

		for (uint32_t dest = 1; dest <= (x2apic ? 0x100 : 5); dest += x2apic ? 0xff : 4) {
			snprintf(name, sizeof(name), "%s-nmi", kind);
			events(name, x2apic, dest, 0x4400);
			snprintf(name, sizeof(name), "%s-init", kind);
			events(name, x2apic, dest, 0x4500);
			snprintf(name, sizeof(name), "%s-sipi", kind);
			events(name, x2apic, dest, 0x4612);
			snprintf(name, sizeof(name), "%s-smi", kind);
			events(name, x2apic, dest, 0x4200);
			snprintf(name, sizeof(name), "%s-extint", kind);
			events(name, x2apic, dest, 0x4740);
		}
	}
	msis("flat", small, 8, FLAT, 0);
	msis("x2apic", small, 8, X2APIC, 0);
	msis("ids32", large, MAX, X2APIC, 1);
	msis("ids32-no-broadcast", large, MAX, X2APIC, 3);
	msis("mixed", small, 8, MIXED, 0);
}
