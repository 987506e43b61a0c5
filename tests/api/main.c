// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/api/api.h"

long ask(int fd, unsigned long request, void *arg)
{
	long r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

const char *answer(long r)
{
	return r < 0 ? strerrorname_np((int)-r) : "ok";
}

/* KVM_CREATE_VM may be interrupted by the alarm. */
static int make(int fd, unsigned long request)
{
	long r;

	do
		r = ask(fd, request, NULL);
	while (r == -EINTR);
	return (int)r;
}

void tell(const char *name, long r)
{
	printf("%s: %s\n", name, answer(r));
}

struct machine machine_open(bool irqchip, bool vcpu)
{
	struct machine m = { .vcpu = -1, .run = MAP_FAILED };

	m.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m.vm = make(m.kvm, KVM_CREATE_VM);
	m.run_size = (size_t)ask(m.kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (irqchip)
		make(m.vm, KVM_CREATE_IRQCHIP);
	if (vcpu) {
		m.vcpu = make(m.vm, KVM_CREATE_VCPU);
		m.run = mmap(NULL, m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
	}
	return m;
}

void machine_ram(struct machine *m)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM };

	m->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)m->ram;
	ask(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

void machine_code(struct machine *m, const uint8_t *code, size_t size)
{
	struct kvm_sregs s;
	struct kvm_regs regs = { .rflags = 2 };

	memcpy(m->ram, code, size);
	ask(m->vcpu, KVM_GET_SREGS, &s);
	s.cs.base = s.cs.selector = 0;
	ask(m->vcpu, KVM_SET_SREGS, &s);
	ask(m->vcpu, KVM_SET_REGS, &regs);
}

void machine_code32(struct machine *m, int vcpu, const uint8_t *code, size_t size, const struct kvm_regs *regs)
{
	struct kvm_segment flat = { .limit = 0xffffffff, .present = 1, .s = 1, .db = 1, .g = 1, .type = 3, .selector = 16 };
	struct kvm_sregs s;

	memcpy(m->ram, code, size);
	ask(vcpu, KVM_GET_SREGS, &s);
	s.ds = s.es = s.ss = s.fs = s.gs = flat;
	flat.type = 11;
	flat.selector = 8;
	s.cs = flat;
	s.cr0 |= 1;
	s.cr4 |= 1 << 9; /* SSE */
	ask(vcpu, KVM_SET_SREGS, &s);
	ask(vcpu, KVM_SET_REGS, (void *)regs);
}

long machine_run(struct machine *m)
{
	long r;

	do
		r = ask(m->vcpu, KVM_RUN, NULL);
	while (r == -EINTR);
	return r < 0 ? r : (long)m->run->exit_reason;
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

long machine_set_msr(struct machine *m, uint32_t index, uint64_t value)
{
	struct one_msr s = { { .nmsrs = 1 }, { .index = index, .data = value } };

	return ask(m->vcpu, KVM_SET_MSRS, &s);
}

long machine_get_msr(struct machine *m, uint32_t index, uint64_t *value)
{
	struct one_msr s = { { .nmsrs = 1 }, { .index = index } };
	long r = ask(m->vcpu, KVM_GET_MSRS, &s);

	*value = r == 1 ? s.entry.data : 0;
	return r;
}

void machine_enable_lapic(struct machine *m)
{
	struct kvm_lapic_state lapic;

	ask(m->vcpu, KVM_GET_LAPIC, &lapic);
	*(uint32_t *)&lapic.regs[0xf0] = 0x1ff;
	ask(m->vcpu, KVM_SET_LAPIC, &lapic);
}

void machine_close(struct machine *m)
{
	if (m->run != MAP_FAILED)
		munmap(m->run, m->run_size);
	if (m->ram)
		munmap(m->ram, RAM);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
}

static void tick(int signal_number)
{
	(void)signal_number;
}

/* Arguments: only these groups. */
int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} groups[] = { { "matrix", test_matrix },
		       { "slots", test_slots },
		       { "vcpus", test_vcpus },
		       { "fds", test_fds },
		       { "state", test_state },
		       { "process", test_process },
		       { "caps", test_caps },
		       { "rings", test_rings },
		       { "hyperv", test_hyperv },
		       { "xen", test_xen },
		       { "apic", test_apic },
		       { "chips", test_chips },
		       { "inject", test_inject },
		       { "msrs", test_msrs },
		       { "lapic", test_lapic } };
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	struct itimerval each = { { 0, 200000 }, { 0, 200000 } };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		bool wanted = argc == 1;

		for (int arg = 1; arg < argc; arg++)
			wanted |= !strcmp(argv[arg], groups[i].name);
		if (!wanted)
			continue;
		printf("[%s]\n", groups[i].name);
		groups[i].run();
	}
	printf("[end]\n");
	return 0;
}
