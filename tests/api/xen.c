// SPDX-License-Identifier: GPL-2.0-only
/* What a Xen HVM guest and its VMM find: KVM_CAP_XEN_HVM. Asked of a KVM that was built with it (tests/oracle/run -X). */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/api/api.h"

#define MSR 0x40000000u
#define SHARED 0x5000u
#define INFO 0x6000u
#define TIME 0x7000u
#define RUNSTATE 0x8000u
#define CALL_PAGE 0x3000u
#define INPUT 0x4000u
#define NOWHERE 0x40000000u
#define PRIORITY KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL
#define IPI 5
#define INTERDOMAIN 2

static long configure(struct machine *m, uint32_t flags)
{
	struct kvm_xen_hvm_config config = { .flags = flags, .msr = MSR };

	return ask(m->vm, KVM_XEN_HVM_CONFIG, &config);
}

static long set_vm(struct machine *m, uint16_t type, uint64_t value)
{
	struct kvm_xen_hvm_attr attr = { .type = type };

	memcpy(&attr.u, &value, sizeof(value));
	return ask(m->vm, KVM_XEN_HVM_SET_ATTR, &attr);
}

static long set_vcpu(struct machine *m, uint16_t type, uint64_t value)
{
	struct kvm_xen_vcpu_attr attr = { .type = type };

	memcpy(&attr.u, &value, sizeof(value));
	return ask(m->vcpu, KVM_XEN_VCPU_SET_ATTR, &attr);
}

static uint64_t get_vcpu(struct machine *m, uint16_t type, long *r)
{
	struct kvm_xen_vcpu_attr attr = { .type = type };

	*r = ask(m->vcpu, KVM_XEN_VCPU_GET_ATTR, &attr);
	return attr.u.gpa;
}

/* Ready for events: shared info, the vCPU's info, and 64-bit layouts if wide. */
static struct machine guest(bool wide)
{
	struct machine m = machine_open(true, true);

	machine_ram(&m);
	configure(&m, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND);
	set_vm(&m, KVM_XEN_ATTR_TYPE_LONG_MODE, wide);
	set_vm(&m, KVM_XEN_ATTR_TYPE_SHARED_INFO, SHARED >> 12);
	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, INFO);
	return m;
}

/* ---- configuration, attributes ------------------------------------------------------------------------------- */

static void configuration(void)
{
	static const uint32_t flags[] = { 0, 1, 2, 4, 8, 16, 32, 34, 64 };
	struct kvm_xen_hvm_config blob = { .flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, .msr = MSR, .blob_size_64 = 1 };
	struct machine m = machine_open(true, true);

	printf("xen/config:");
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		printf(" %x=%s", flags[i], answer(configure(&m, flags[i])));
	printf("\n");
	tell("xen/config-blob", ask(m.vm, KVM_XEN_HVM_CONFIG, &blob));
	blob.flags = 0;
	tell("xen/config-blob-alone", ask(m.vm, KVM_XEN_HVM_CONFIG, &blob));
	machine_close(&m);
}

static void vm_attributes(void)
{
	static const struct {
		const char *name;
		uint16_t type;
		uint64_t value;
	} attrs[] = {
		{ "long-mode", 0, 1 }, { "long-mode-2", 0, 2 }, { "long-mode-0", 0, 0 }, { "shared-info", 1, 5 },
		{ "shared-info-nowhere", 1, NOWHERE >> 12 }, { "shared-info-none", 1, ~0ull }, { "vector", 2, 0x30 },
		{ "vector-15", 2, 15 }, { "vector-16", 2, 16 }, { "vector-0", 2, 0 }, { "version", 4, 0x4000a },
		{ "unknown", 5, 0 }, { "unknown-ffff", 0xffff, 0 },
	};
	struct machine m = machine_open(true, true);

	machine_ram(&m);
	for (unsigned i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		long set = set_vm(&m, attrs[i].type, attrs[i].value), get;
		struct kvm_xen_hvm_attr attr = { .type = attrs[i].type };

		get = ask(m.vm, KVM_XEN_HVM_GET_ATTR, &attr);
		printf("xen/vm-%s: set=%s get=%s %llx\n", attrs[i].name, answer(set), answer(get),
		       (unsigned long long)attr.u.pad[0]);
	}
	printf("xen/wall-clock: %d %d\n", *(uint32_t *)(m.ram + SHARED + 0x900) & 1, *(uint32_t *)(m.ram + SHARED + 0x904) > 0);
	machine_close(&m);
}

static void vcpu_attributes(void)
{
	static const uint64_t places[] = { INFO, INFO + 0xfc0, INFO + 0xfc4, INFO + 0xfd0, INFO + 0xfe4, NOWHERE, ~0ull };
	static const struct {
		const char *name;
		uint16_t type;
	} kinds[] = { { "info", 0 }, { "time", 1 }, { "runstate", 2 } };
	static const uint64_t vectors[] = { 0, 15, 16, 0x30 }, ids[] = { 0, 7, 1023, 1024 };
	struct machine m = guest(true);
	long r;

	for (unsigned k = 0; k < 3; k++) {
		for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			long set = set_vcpu(&m, kinds[k].type, places[i]);

			printf("xen/%s-%llx: %s", kinds[k].name, (unsigned long long)places[i], answer(set));
			if (set != -EINVAL)
				printf(" %llx", (unsigned long long)get_vcpu(&m, kinds[k].type, &r));
			printf("\n");
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		printf("xen/vcpu-vector-%d: %s", (int)vectors[i], answer(set_vcpu(&m, 8, vectors[i])));
		printf(" %x\n", (uint8_t)get_vcpu(&m, 8, &r));
		printf("xen/vcpu-id-%d: %s", (int)ids[i], answer(set_vcpu(&m, 6, ids[i])));
		printf(" %d\n", (uint32_t)get_vcpu(&m, 6, &r));
	}
	tell("xen/vcpu-unknown", set_vcpu(&m, 9, 0));
	get_vcpu(&m, 9, &r);
	tell("xen/vcpu-unknown-get", r);
	machine_close(&m);
}

static void runstates(void)
{
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT };
	struct machine m = guest(true);
	long r;

	for (unsigned state = 0; state < 5; state++) {
		a.u.runstate.state = state;
		printf("xen/runstate-%u: %s", state, answer(ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a)));
		printf(" %d\n", (int)get_vcpu(&m, a.type, &r));
	}
	a = (struct kvm_xen_vcpu_attr){ .type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA,
					.u.runstate = { 2, 100, 10, 20, 30, 41 } };
	tell("xen/run-data-sum", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	a.u.runstate.time_offline = 40;
	tell("xen/run-data", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	a.u.runstate.state = 4;
	tell("xen/run-data-state", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	a.u.runstate.state = 0;
	a.u.runstate.state_entry_time = a.u.runstate.time_running = 1ull << 60;
	a.u.runstate.time_runnable = a.u.runstate.time_blocked = a.u.runstate.time_offline = 0;
	tell("xen/run-data-future", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	a.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST;
	tell("xen/run-adjust-future", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	a.u.runstate.state = ~0ull;
	a.u.runstate.state_entry_time = 5;
	a.u.runstate.time_running = 5;
	tell("xen/run-adjust", ask(m.vcpu, KVM_XEN_VCPU_SET_ATTR, &a));
	tell("xen/run-adjust-get", ask(m.vcpu, KVM_XEN_VCPU_GET_ATTR, &a));
	a.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA;
	ask(m.vcpu, KVM_XEN_VCPU_GET_ATTR, &a);
	printf("xen/run-data-get: %lld %lld %lld %lld %lld %lld\n", a.u.runstate.state, a.u.runstate.state_entry_time,
	       a.u.runstate.time_running, a.u.runstate.time_runnable, a.u.runstate.time_blocked, a.u.runstate.time_offline);
	machine_close(&m);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void tell_events(struct machine *m, bool wide)
{
	const uint32_t *pending = (void *)(m->ram + SHARED + 0x800), *info = (void *)(m->ram + INFO);
	struct kvm_lapic_state lapic;

	ask(m->vcpu, KVM_GET_LAPIC, &lapic);
	printf(" pending=%x.%x.%x.%x info=%x sel=%x irr=%x\n", pending[0], pending[1], pending[31], pending[127], info[0] & 0xffff,
	       info[wide ? 2 : 1], *(uint32_t *)&lapic.regs[0x210]);
}

static void send(struct machine *m, const char *name, bool wide, uint32_t port, uint32_t vcpu, uint32_t priority)
{
	struct kvm_irq_routing_xen_evtchn e = { .port = port, .vcpu = vcpu, .priority = priority };

	printf("xen/send-%s-%s: %s", wide ? "64" : "32", name, answer(ask(m->vm, KVM_XEN_HVM_EVTCHN_SEND, &e)));
	tell_events(m, wide);
}

static void sends(bool wide)
{
	struct machine m = guest(wide);
	uint32_t *mask = (void *)(m.ram + SHARED + (wide ? 0xa00 : 0x880));

	mask[0] = 1 << 9;
	send(&m, "0", wide, 0, 0, PRIORITY);
	send(&m, "priority", wide, 5, 0, 0);
	send(&m, "5", wide, 5, 0, PRIORITY);
	send(&m, "5-again", wide, 5, 0, PRIORITY);
	send(&m, "masked", wide, 9, 0, PRIORITY);
	send(&m, "37", wide, 37, 0, PRIORITY);
	send(&m, "1023", wide, 1023, 0, PRIORITY);
	send(&m, "1024", wide, 1024, 0, PRIORITY);
	send(&m, "4095", wide, 4095, 0, PRIORITY);
	send(&m, "4096", wide, 4096, 0, PRIORITY);
	send(&m, "no-vcpu", wide, 6, 1, PRIORITY);
	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR, 0x30);
	m.ram[INFO] = 0;
	memset(m.ram + INFO + 4, 0, 12);
	send(&m, "own-vector-off", wide, 7, 0, PRIORITY);
	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, ~0ull);
	send(&m, "no-info", wide, 8, 0, PRIORITY);
	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, INFO);
	set_vm(&m, KVM_XEN_ATTR_TYPE_SHARED_INFO, ~0ull);
	send(&m, "no-shared", wide, 8, 0, PRIORITY);
	machine_close(&m);
}

static void own_vector(void)
{
	struct machine m = guest(true);

	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR, 0x30);
	m.ram[INFO] = 1;
	machine_enable_lapic(&m);
	printf("xen/enabled:");
	tell_events(&m, true);
	machine_close(&m);
	m = guest(true);
	set_vcpu(&m, KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR, 0x30);
	machine_enable_lapic(&m);
	send(&m, "own-vector", true, 7, 0, PRIORITY);
	machine_close(&m);
}

static long route_to(struct machine *m, uint32_t port, uint32_t vcpu, uint32_t priority, uint32_t flags)
{
	struct kvm_irq_routing *routing = calloc(1, sizeof(*routing) + sizeof(routing->entries[0]));
	long r;

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry){ .gsi = 5, .type = KVM_IRQ_ROUTING_XEN_EVTCHN, .flags = flags,
							      .u.xen_evtchn = { port, vcpu, priority } };
	r = ask(m->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
	return r;
}

static void line(struct machine *m, const char *name, uint32_t level)
{
	struct kvm_irq_level l = { { 5 }, level };
	long r = ask(m->vm, KVM_IRQ_LINE_STATUS, &l);

	printf("xen/%s: %s %d", name, answer(r), (int)l.status);
	tell_events(m, true);
}

static void routes(void)
{
	struct machine m = guest(true);

	tell("xen/route-priority", route_to(&m, 3, 0, 0, 0));
	tell("xen/route-flags", route_to(&m, 3, 0, PRIORITY, 1));
	tell("xen/route-no-vcpu", route_to(&m, 3, 9, PRIORITY, 0));
	line(&m, "line-no-vcpu", 1);
	tell("xen/route", route_to(&m, 3, 0, PRIORITY, 0));
	line(&m, "line-low", 0);
	line(&m, "line", 1);
	line(&m, "line-again", 1);
	tell("xen/route-large", route_to(&m, 5000, 0, PRIORITY, 0));
	line(&m, "line-large", 1);
	machine_close(&m);
}

static void ports(void)
{
	struct kvm_xen_hvm_attr a = { .type = KVM_XEN_ATTR_TYPE_EVTCHN };
	struct machine m = guest(true);
	int event = eventfd(0, EFD_NONBLOCK);
	static const struct {
		const char *name;
		uint32_t send, type, flags, port, vcpu, priority;
	} cases[] = {
		{ "ipi", 4, IPI, 0, 4, 0, PRIORITY }, { "ipi-other", 5, IPI, 0, 6, 0, PRIORITY },
		{ "ipi-priority", 5, IPI, 0, 5, 0, 0 }, { "interdomain", 6, INTERDOMAIN, 0, 7, 0, PRIORITY },
		{ "again", 6, INTERDOMAIN, 0, 8, 0, PRIORITY }, { "send-0", 0, INTERDOMAIN, 0, 7, 0, PRIORITY },
		{ "send-large", 4096, INTERDOMAIN, 0, 7, 0, PRIORITY }, { "port-large", 8, INTERDOMAIN, 0, 4096, 0, PRIORITY },
		{ "no-vcpu", 9, INTERDOMAIN, 0, 7, 77, PRIORITY }, { "type-0", 10, 0, 0, 7, 0, PRIORITY },
		{ "type-virq", 10, 4, 0, 7, 0, PRIORITY }, { "update", 6, INTERDOMAIN, 2, 7, 1, PRIORITY },
		{ "update-port", 6, INTERDOMAIN, 2, 8, 1, PRIORITY }, { "update-type", 6, IPI, 2, 7, 1, PRIORITY },
		{ "update-priority", 6, INTERDOMAIN, 2, 7, 1, 0 }, { "update-unknown", 66, INTERDOMAIN, 2, 7, 1, PRIORITY },
		{ "flags-3", 6, INTERDOMAIN, 3, 7, 1, PRIORITY }, { "flags-8", 6, INTERDOMAIN, 8, 7, 1, PRIORITY },
		{ "deassign", 6, 0, 1, 0, 0, 0 }, { "deassign-again", 6, 0, 1, 0, 0, 0 },
		{ "reset", 0, 0, 4, 0, 0, 0 }, { "ipi-after-reset", 4, IPI, 0, 4, 0, PRIORITY },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[64];

		a.u.evtchn.send_port = cases[i].send;
		a.u.evtchn.type = cases[i].type;
		a.u.evtchn.flags = cases[i].flags;
		a.u.evtchn.deliver.port.port = cases[i].port;
		a.u.evtchn.deliver.port.vcpu = cases[i].vcpu;
		a.u.evtchn.deliver.port.priority = cases[i].priority;
		snprintf(name, sizeof(name), "xen/port-%s", cases[i].name);
		tell(name, ask(m.vm, KVM_XEN_HVM_SET_ATTR, &a));
	}
	a.u.evtchn.send_port = 11;
	a.u.evtchn.type = INTERDOMAIN;
	a.u.evtchn.flags = 0;
	a.u.evtchn.deliver.eventfd.port = 0;
	a.u.evtchn.deliver.eventfd.fd = event;
	tell("xen/port-eventfd", ask(m.vm, KVM_XEN_HVM_SET_ATTR, &a));
	a.u.evtchn.flags = 2;
	tell("xen/port-eventfd-update", ask(m.vm, KVM_XEN_HVM_SET_ATTR, &a));
	a.u.evtchn.flags = 0;
	a.u.evtchn.send_port = 12;
	a.u.evtchn.deliver.eventfd.fd = m.vm;
	tell("xen/port-no-eventfd", ask(m.vm, KVM_XEN_HVM_SET_ATTR, &a));
	tell("xen/port-get", ask(m.vm, KVM_XEN_HVM_GET_ATTR, &a));
	close(event);
	machine_close(&m);
}

/* ---- the guest ---------------------------------------------------------------------------------------------------- */

/* 32-bit code without paging: it ends with OUT to port 0x10, or in a triple fault. */
static long start32(struct machine *m, const uint8_t *code, size_t size, const struct kvm_regs *regs)
{
	machine_code32(m, m->vcpu, code, size, regs);
	return machine_run(m);
}

static void call(struct machine *m, const char *name, uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	static const uint8_t code[] = { 0x0f, 0x01, 0xd9, 0xe6, 0x10 };
	struct kvm_regs regs = { .rflags = 2, .rax = number, .rbx = a, .rcx = b, .rdx = c, .rsi = 4, .rdi = 5, .rbp = 6 };
	long r = start32(m, code, sizeof(code), &regs);

	printf("xen/call-%s: exit=%ld", name, r);
	if (r == KVM_EXIT_XEN) {
		const struct kvm_xen_exit *e = (const void *)&m->run->xen;

		printf(" type=%u long=%u cpl=%u input=%llx", e->type, e->u.hcall.longmode, e->u.hcall.cpl, e->u.hcall.input);
		for (unsigned i = 0; i < 6; i++)
			printf(" %llx", e->u.hcall.params[i]);
		m->run->xen.u.hcall.result = 0x500000066;
		do
			r = ask(m->vcpu, KVM_RUN, NULL);
		while (r == -EINTR);
		printf(" exit=%u", m->run->exit_reason);
	}
	ask(m->vcpu, KVM_GET_REGS, &regs);
	printf(" rax=%llx", regs.rax);
	tell_events(m, false);
}

static void timer_port(struct machine *m, uint32_t port, uint32_t priority)
{
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_TIMER, .u.timer = { port, priority, 0 } };

	printf("xen/timer-%u-%x: %s\n", port, priority, answer(ask(m->vcpu, KVM_XEN_VCPU_SET_ATTR, &a)));
}

static void tell_timer(struct machine *m, const char *name)
{
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_TIMER };
	long r = ask(m->vcpu, KVM_XEN_VCPU_GET_ATTR, &a);

	printf("xen/%s: %s %u %x %llx\n", name, answer(r), a.u.timer.port, a.u.timer.priority, a.u.timer.expires_ns);
}

static void assign(struct machine *m, uint32_t send_port, uint32_t port, int event)
{
	struct kvm_xen_hvm_attr a = { .type = KVM_XEN_ATTR_TYPE_EVTCHN, .u.evtchn = { .send_port = send_port, .type = INTERDOMAIN } };

	a.u.evtchn.deliver.port.port = port;
	a.u.evtchn.deliver.port.priority = PRIORITY;
	if (!port) {
		a.u.evtchn.deliver.eventfd.port = 0;
		a.u.evtchn.deliver.eventfd.fd = event;
	}
	ask(m->vm, KVM_XEN_HVM_SET_ATTR, &a);
}

static void event_calls(struct machine *m)
{
	int event = eventfd(0, EFD_NONBLOCK);
	uint64_t count = 0;
	uint32_t *input = (void *)(m->ram + INPUT);

	assign(m, 20, 21, -1);
	assign(m, 22, 0, event);
	input[0] = 20;
	call(m, "send", 32, 4, INPUT, 0);
	call(m, "send-again", 32, 4, INPUT, 0);
	input[0] = 22;
	call(m, "send-eventfd", 32, 4, INPUT, 0);
	printf("xen/signalled: %d %d\n", (int)read(event, &count, 8), (int)count);
	input[0] = 23;
	call(m, "send-unknown", 32, 4, INPUT, 0);
	call(m, "send-nowhere", 32, 4, NOWHERE, 0);
	call(m, "event-other", 32, 5, INPUT, 0);
	close(event);
}

static void timer_calls(struct machine *m)
{
	struct {
		uint64_t expires;
		uint32_t flags;
	} *input = (void *)(m->ram + INPUT);

	call(m, "timer-none", 15, 1, 0, 0);
	call(m, "vcpu-timer-none", 24, 8, 0, INPUT);
	timer_port(m, 13, 0);
	timer_port(m, 13, PRIORITY);
	tell_timer(m, "timer");
	input->expires = 1;
	input->flags = 1;
	call(m, "vcpu-timer-past", 24, 8, 0, INPUT);
	call(m, "vcpu-timer-vcpu", 24, 8, 1, INPUT);
	call(m, "vcpu-timer-nowhere", 24, 8, 0, NOWHERE);
	input->expires = 1ull << 50;
	call(m, "vcpu-timer", 24, 8, 0, INPUT);
	tell_timer(m, "timer-set");
	call(m, "vcpu-stop", 24, 9, 0, 0);
	tell_timer(m, "timer-stopped");
	call(m, "vcpu-other", 24, 7, 0, 0);
	call(m, "timer-past", 15, 1, 0, 0);
	tell_timer(m, "timer-done");
	call(m, "timer-far", 15, 0, 0x10000, 0);
	tell_timer(m, "timer-far");
	call(m, "timer-0", 15, 0, 0, 0);
	tell_timer(m, "timer-0");
}

static void calls(void)
{
	struct machine m = guest(false);

	call(&m, "unknown", 99, 1, 2, 3);
	call(&m, "wide", 99 | 1ull << 32, 1ull << 33, 2, 3);
	call(&m, "version-unset", 17, 0, 0, 0);
	set_vm(&m, KVM_XEN_ATTR_TYPE_XEN_VERSION, 0x4000f);
	call(&m, "version", 17, 0, 0, 0);
	call(&m, "version-other", 17, 1, 0, 0);
	call(&m, "yield", 29, 0, 0, 0);
	call(&m, "poll", 29, 3, INPUT, 0); /* below 64 bits a yield */
	call(&m, "block", 29, 1, 0, 0);
	event_calls(&m);
	timer_calls(&m);
	machine_close(&m);
}

static void write_msr(struct machine *m, const char *name, uint64_t value)
{
	static const uint8_t code[] = { 0x0f, 0x30, 0xe6, 0x10 };
	struct kvm_regs regs = { .rflags = 2, .rcx = MSR, .rax = (uint32_t)value, .rdx = value >> 32 };
	const uint8_t *page = m->ram + CALL_PAGE;

	printf("xen/page-%s: exit=%ld", name, start32(m, code, sizeof(code), &regs));
	for (unsigned i = 0; i < 12; i++)
		printf(" %02x", page[5 * 32 + i]);
	printf(" %02x\n", page[4095]);
}

static void pages(void)
{
	struct kvm_xen_hvm_config config = { .msr = MSR, .blob_size_32 = 2 };
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + sizeof(msrs->entries[0]));
	uint8_t *blob = malloc(8192);
	struct machine m;

	m = guest(false);
	write_msr(&m, "intercepted", CALL_PAGE);
	machine_close(&m);
	m = guest(false);
	write_msr(&m, "numbered", CALL_PAGE | 1);
	machine_close(&m);
	m = guest(false);
	write_msr(&m, "nowhere", NOWHERE);
	machine_close(&m);

	memset(blob, 0x5a, 4096);
	memset(blob + 4096, 0xa5, 4096);
	config.blob_addr_32 = (uintptr_t)blob;
	for (unsigned number = 0; number < 3; number++) {
		char name[16];

		m = guest(false);
		ask(m.vm, KVM_XEN_HVM_CONFIG, &config);
		snprintf(name, sizeof(name), "blob-%u", number);
		write_msr(&m, name, CALL_PAGE | number);
		machine_close(&m);
	}
	free(blob);

	m = guest(false);
	msrs->nmsrs = 1;
	msrs->entries[0] = (struct kvm_msr_entry){ .index = MSR, .data = CALL_PAGE };
	printf("xen/host-msr: %ld", ask(m.vcpu, KVM_SET_MSRS, msrs));
	printf(" %02x\n", m.ram[CALL_PAGE + 32]);
	machine_close(&m);
	free(msrs);
}

/* The VM's upcall vector comes as long as the flag is set. Real mode: the handler clears the flag. */
static void upcall(bool flag, bool interrupts)
{
	static const uint8_t handler[] = { 0xc6, 0x06, 0x00, 0x60, 0x00, 0xfe, 0x06, 0x02, 0x60, 0xcf }; /* clear, count, IRET */
	static const uint8_t code[] = { 0xfb, 0x90, 0x90, 0xe6, 0x10 }, off[] = { 0xfa, 0x90, 0x90, 0xe6, 0x10 };
	struct machine m = guest(false);
	struct kvm_regs regs = { .rflags = 2, .rip = 0x600, .rsp = 0x2000 };
	struct kvm_sregs s;
	long r;

	set_vm(&m, KVM_XEN_ATTR_TYPE_UPCALL_VECTOR, 0x30);
	memcpy(m.ram + 0x500, handler, sizeof(handler));
	memcpy(m.ram + 0x600, interrupts ? code : off, sizeof(code));
	*(uint32_t *)(m.ram + 0x30 * 4) = 0x500;
	m.ram[INFO] = flag;
	ask(m.vcpu, KVM_GET_SREGS, &s);
	s.cs.base = s.cs.selector = 0;
	ask(m.vcpu, KVM_SET_SREGS, &s);
	ask(m.vcpu, KVM_SET_REGS, &regs);
	do
		r = ask(m.vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	printf("xen/upcall-%d-%d: %ld exit=%u flag=%d count=%d\n", flag, interrupts, r, m.run->exit_reason, m.ram[INFO],
	       m.ram[INFO + 2]);
	machine_close(&m);
}

void test_xen(void)
{
	configuration();
	vm_attributes();
	vcpu_attributes();
	runstates();
	sends(false);
	sends(true);
	own_vector();
	routes();
	ports();
	calls();
	pages();
	for (unsigned i = 0; i < 4; i++)
		upcall(i & 1, i & 2);
}
