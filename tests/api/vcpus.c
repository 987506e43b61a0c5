// SPDX-License-Identifier: GPL-2.0-only
/* Creation in wrong orders and at limits, running and signals. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/api/api.h"

static void create(struct machine *m, const char *name, unsigned long id)
{
	long fd = ask(m->vm, KVM_CREATE_VCPU, (void *)id);

	tell(name, fd);
	if (fd >= 0)
		close((int)fd);
}

static void creation(void)
{
	struct machine m = machine_open(false, true);
	struct kvm_pit_config pit = { 0 };

	create(&m, "vcpus/create-again", 0);
	create(&m, "vcpus/create-5", 5);
	create(&m, "vcpus/create-5-after-close", 5);
	create(&m, "vcpus/create-4095", 4095);
	create(&m, "vcpus/create-4096", 4096);
	create(&m, "vcpus/create-huge", 1ul << 40);
	tell("vcpus/irqchip-after-vcpu", ask(m.vm, KVM_CREATE_IRQCHIP, NULL));
	tell("vcpus/pit-without-irqchip", ask(m.vm, KVM_CREATE_PIT2, &pit));
	tell("vcpus/boot-cpu-late", ask(m.vm, KVM_SET_BOOT_CPU_ID, (void *)1));
	tell("vcpus/vm-type-1", ask(m.kvm, KVM_CREATE_VM, (void *)1));
	tell("vcpus/vm-type-huge", ask(m.kvm, KVM_CREATE_VM, (void *)~0ul));
	machine_close(&m);
	m = machine_open(true, false);
	tell("vcpus/irqchip-again", ask(m.vm, KVM_CREATE_IRQCHIP, NULL));
	tell("vcpus/pit", ask(m.vm, KVM_CREATE_PIT2, &pit));
	tell("vcpus/pit-again", ask(m.vm, KVM_CREATE_PIT2, &pit));
	tell("vcpus/boot-cpu", ask(m.vm, KVM_SET_BOOT_CPU_ID, (void *)1));
	machine_close(&m);
}

static void run(struct machine *m, const char *name)
{
	long r = ask(m->vcpu, KVM_RUN, NULL);

	printf("%s: %s exit=%d\n", name, answer(r), m->run->exit_reason);
}

static void ignore(int signal_number)
{
	(void)signal_number;
}

static void signals(struct machine *m)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} __attribute__((packed)) mask = { { .len = 8 }, 0 };
	sigset_t usr1, pending;

	signal(SIGUSR1, ignore);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	raise(SIGUSR1);
	tell("vcpus/mask", ask(m->vcpu, KVM_SET_SIGNAL_MASK, &mask));
	run(m, "vcpus/run-pending-unmasked");
	sigpending(&pending);
	printf("vcpus/still-pending: %d\n", sigismember(&pending, SIGUSR1));
	mask.set = 1ull << (SIGUSR1 - 1);
	tell("vcpus/mask-usr1", ask(m->vcpu, KVM_SET_SIGNAL_MASK, &mask));
	mask.header.len = 4;
	tell("vcpus/mask-length", ask(m->vcpu, KVM_SET_SIGNAL_MASK, &mask));
	tell("vcpus/mask-none", ask(m->vcpu, KVM_SET_SIGNAL_MASK, NULL));
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
}

static void running(void)
{
	static const uint8_t loop[] = { 0xeb, 0xfe }, in[] = { 0xe4, 0x10, 0xf4 }, halt[] = { 0xf4 };
	struct machine m = machine_open(false, true);
	struct kvm_regs regs;

	run(&m, "vcpus/run-without-memory");
	machine_ram(&m);
	machine_code(&m, halt, sizeof(halt));
	run(&m, "vcpus/hlt");
	m.run->immediate_exit = 1;
	machine_code(&m, in, sizeof(in));
	run(&m, "vcpus/immediate");
	m.run->immediate_exit = 0;
	run(&m, "vcpus/in");
	m.run->immediate_exit = 1;
	run(&m, "vcpus/in-completed");
	ask(m.vcpu, KVM_GET_REGS, &regs);
	printf("vcpus/in-rip: %llx\n", (unsigned long long)regs.rip);
	m.run->immediate_exit = 0;
	machine_code(&m, loop, sizeof(loop));
	run(&m, "vcpus/loop-alarm");
	signals(&m);
	machine_code(&m, loop, sizeof(loop));
	m.run->request_interrupt_window = 1;
	run(&m, "vcpus/window-closed");
	m.run->request_interrupt_window = 0;
	machine_close(&m);
}

void test_vcpus(void)
{
	creation();
	running();
}
