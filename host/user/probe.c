/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probe of the host's /dev/kvm.
 *
 * That it opens says little: some paravirtual hosts offer a device that lacks real mode, or takes no
 * guest page tables but its own. So a child process creates a VM and runs a few instructions the way
 * any VMM would. The child is a bare clone without exit signal and uses system calls alone, since it
 * may come from a program with many threads; an alarm ends it if the device hangs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "host/host.h"
#include "host/user/probe.h"
#include "host/user/signals.h"
#include "host/user/sys.h"

#define MEMORY_SIZE 0x10000
#define PROBE_SECONDS 2
#define PATIENCE_MS 3000 /* the alarm comes first unless the child can't be killed */

/* Guest physical addresses. */
#define REAL_CODE 0x1000
#define LONG_CODE 0x1100
#define RESULT 0x800
#define PML4 0x2000
#define PDPT 0x3000
#define PAGE_DIRECTORY 0x4000

#define PROBE_PORT 0x10
#define REAL_RESULT 0x2345ull
#define LONG_RESULT 0x2446688aaccef11ull

/* What the child reports, as its exit status. */
#define PROBE_OUTCOMES(X)                                                  \
	X(WORKS, NULL)                                                     \
	X(NO_DEVICE, "no /dev/kvm")                                        \
	X(NO_PERMISSION, "no permission to open /dev/kvm")                 \
	X(NO_OPEN, "/dev/kvm does not open")                               \
	X(BAD_VERSION, "/dev/kvm has an unknown API version")              \
	X(NO_VM, "/dev/kvm creates no VM")                                 \
	X(NO_MEMORY, "/dev/kvm takes no guest memory")                     \
	X(NO_VCPU, "/dev/kvm creates no vCPU")                             \
	X(NO_STATE, "/dev/kvm takes no real-mode or long-mode state")      \
	X(NO_REAL_MODE, "/dev/kvm does not run real-mode code")            \
	X(NO_LONG_MODE, "/dev/kvm does not run 64-bit code")               \
	X(HANGS, "/dev/kvm hangs when it runs a guest")                    \
	X(NOT_TRIED, "/dev/kvm could not be tried")

enum outcome {
#define X(name, text) PROBE_##name,
	PROBE_OUTCOMES(X)
#undef X
	PROBE_OUTCOME_COUNT
};

static const char *const outcome_text[] = {
#define X(name, text) [PROBE_##name] = text,
	PROBE_OUTCOMES(X)
#undef X
};

/* mov $0x1234, %ax; add $0x1111, %ax; mov %ax, RESULT; out %al, $PROBE_PORT; hlt */
static const u8 real_code[] = {
	0xb8, 0x34, 0x12, 0x05, 0x11, 0x11, 0xa3, 0x00, 0x08, 0xe6, PROBE_PORT, 0xf4,
};

/*
 * mov $0x122334455667788, %rax; lea 1(%rax), %r8; movq %rax, %xmm0; movq %r8, %xmm1; paddq %xmm1, %xmm0;
 * movq %xmm0, RESULT; out %al, $PROBE_PORT; hlt
 *
 * The vector addition is what a host that cannot run the guest, and emulates it, stumbles over.
 */
static const u8 long_code[] = {
	0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x01,
	0x4c, 0x8d, 0x40, 0x01,
	0x66, 0x48, 0x0f, 0x6e, 0xc0,
	0x66, 0x49, 0x0f, 0x6e, 0xc8,
	0x66, 0x0f, 0xd4, 0xc1,
	0x66, 0x0f, 0xd6, 0x04, 0x25, 0x00, 0x08, 0x00, 0x00,
	0xe6, PROBE_PORT, 0xf4,
};

struct machine {
	int vm, vcpu;
	u8 *memory;
	struct kvm_run *run;
};

static long probe_ioctl(int fd, unsigned int request, void *arg)
{
	return sys_call3(SYS_ioctl, fd, request, (long)arg);
}

/* ---- the child ----------------------------------------------------------------------------------- */

static enum outcome machine_create(struct machine *m)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEMORY_SIZE };
	int kvm = (int)sys_call4(SYS_openat, AT_FDCWD, (long)"/dev/kvm", O_RDWR | O_CLOEXEC, 0);
	long p;

	if (kvm == -EACCES)
		return PROBE_NO_PERMISSION;
	if (kvm < 0)
		return kvm == -ENOENT ? PROBE_NO_DEVICE : PROBE_NO_OPEN;
	if (probe_ioctl(kvm, KVM_GET_API_VERSION, NULL) != KVM_API_VERSION)
		return PROBE_BAD_VERSION;
	m->vm = (int)probe_ioctl(kvm, KVM_CREATE_VM, NULL);
	if (m->vm < 0)
		return PROBE_NO_VM;
	p = sys_mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m->memory = (u8 *)p;
	slot.userspace_addr = (u64)p;
	if (sys_failed(p) || probe_ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return PROBE_NO_MEMORY;
	/* Intel without unrestricted guest needs a TSS for real mode; others do not care. */
	probe_ioctl(m->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000);
	m->vcpu = (int)probe_ioctl(m->vm, KVM_CREATE_VCPU, NULL);
	if (m->vcpu < 0)
		return PROBE_NO_VCPU;
	p = probe_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (p > 0)
		p = sys_mmap(NULL, (size_t)p, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	m->run = (struct kvm_run *)p;
	return p <= 0 ? PROBE_NO_VCPU : PROBE_WORKS;
}

static bool run_until(struct machine *m, u32 exit_reason)
{
	long r;

	do
		r = probe_ioctl(m->vcpu, KVM_RUN, NULL);
	while (r == -EINTR || r == -EAGAIN);
	return r == 0 && m->run->exit_reason == exit_reason;
}

/* Both programs: leave a result in memory, write its low byte to the port, halt. */
static bool runs_to_halt(struct machine *m, u64 result, u8 byte)
{
	u64 found;

	if (!run_until(m, KVM_EXIT_IO) || m->run->io.port != PROBE_PORT || m->run->io.size != 1 ||
	    m->run->io.direction != KVM_EXIT_IO_OUT || *((u8 *)m->run + m->run->io.data_offset) != byte)
		return false;
	memcpy(&found, m->memory + RESULT, sizeof(found));
	return found == result && run_until(m, KVM_EXIT_HLT);
}

static bool start_at(struct machine *m, const struct kvm_sregs *sregs, u64 rip)
{
	struct kvm_regs regs = { .rip = rip, .rflags = 2 };

	return probe_ioctl(m->vcpu, KVM_SET_SREGS, (void *)sregs) == 0 &&
	       probe_ioctl(m->vcpu, KVM_SET_REGS, &regs) == 0;
}

static enum outcome try_real_mode(struct machine *m)
{
	struct kvm_sregs sregs;

	memcpy(m->memory + REAL_CODE, real_code, sizeof(real_code));
	if (probe_ioctl(m->vcpu, KVM_GET_SREGS, &sregs))
		return PROBE_NO_STATE;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (!start_at(m, &sregs, REAL_CODE))
		return PROBE_NO_STATE;
	return runs_to_halt(m, REAL_RESULT, REAL_RESULT & 0xff) ? PROBE_WORKS : PROBE_NO_REAL_MODE;
}

static void store_entry(struct machine *m, u64 gpa, u64 entry)
{
	memcpy(m->memory + gpa, &entry, sizeof(entry));
}

/* Flat 64-bit segments and an identity mapping of the first 2 MiB. */
static void long_mode_state(struct machine *m, struct kvm_sregs *s)
{
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .l = 1,
				    .s = 1, .g = 1 };
	struct kvm_segment task = { .limit = 0xffff, .selector = 0x18, .type = 11, .present = 1 };

	store_entry(m, PML4, PDPT | 7);
	store_entry(m, PDPT, PAGE_DIRECTORY | 7);
	store_entry(m, PAGE_DIRECTORY, 0x80 | 7); /* PS: a 2 MiB page */
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = task;
	s->cr3 = PML4;
	s->cr4 = 1u << 9 | 1u << 5;	      /* OSFXSR, PAE */
	s->cr0 = 1u << 31 | 1u << 5 | 1u << 4 | 1; /* PG, NE, ET, PE */
	s->efer = 1u << 10 | 1u << 8;	      /* LMA, LME */
}

static enum outcome try_long_mode(struct machine *m)
{
	struct kvm_sregs sregs;

	memcpy(m->memory + LONG_CODE, long_code, sizeof(long_code));
	if (probe_ioctl(m->vcpu, KVM_GET_SREGS, &sregs))
		return PROBE_NO_STATE;
	long_mode_state(m, &sregs);
	if (!start_at(m, &sregs, LONG_CODE))
		return PROBE_NO_STATE;
	return runs_to_halt(m, LONG_RESULT, 0x88) ? PROBE_WORKS : PROBE_NO_LONG_MODE;
}

/* Nothing of the program's must run here: its handlers would think they are in the parent. */
static void child_signals(void)
{
	struct host_sigaction plain = { .handler = (void *)SIG_DFL };
	u64 mask = ~host_sigbit(SIGALRM);

	sys_call4(SYS_rt_sigaction, SIGALRM, (long)&plain, 0, sizeof(u64));
	sys_sigmask(SIG_SETMASK, &mask, NULL);
	sys_call3(SYS_alarm, PROBE_SECONDS, 0, 0);
}

static enum outcome child_try(void)
{
	struct machine m;
	enum outcome o = machine_create(&m);

	if (o == PROBE_WORKS)
		o = try_real_mode(&m);
	if (o == PROBE_WORKS)
		o = try_long_mode(&m);
	return o;
}

/* ---- the parent ---------------------------------------------------------------------------------- */

static enum outcome child_wait(int pid, int ends)
{
	struct pollfd poll = { .fd = ends, .events = POLLIN };
	int status = 0, options = __WCLONE;
	long r;

	/* The other end is the child's alone: it hangs up when the child is gone. */
	do
		r = sys_call3(SYS_poll, (long)&poll, 1, PATIENCE_MS);
	while (r == -EINTR);
	if (r != 1) {
		sys_call3(SYS_kill, pid, SIGKILL, 0);
		options |= WNOHANG;
	}
	do
		r = sys_call4(SYS_wait4, pid, (long)&status, options, 0);
	while (r == -EINTR);
	if (r != pid || !WIFEXITED(status) || WEXITSTATUS(status) >= PROBE_OUTCOME_COUNT)
		return PROBE_HANGS;
	return (enum outcome)WEXITSTATUS(status);
}

static enum outcome probe(void)
{
	u64 block = HOST_BLOCK_ALL, old;
	enum outcome o;
	int ends[2];
	long pid;

	if (sys_call3(SYS_faccessat, AT_FDCWD, (long)"/dev/kvm", 0) == -ENOENT)
		return PROBE_NO_DEVICE;
	if (sys_call3(SYS_pipe2, (long)ends, O_CLOEXEC, 0))
		return PROBE_NOT_TRIED;
	sys_sigmask(SIG_SETMASK, &block, &old);
	pid = sys_call6(SYS_clone, 0, 0, 0, 0, 0, 0);
	if (pid == 0) {
		child_signals();
		sys_call3(SYS_exit_group, child_try(), 0, 0);
	}
	sys_sigmask(SIG_SETMASK, &old, NULL);
	sys_close(ends[1]);
	o = pid < 0 ? PROBE_NOT_TRIED : child_wait((int)pid, ends[0]);
	sys_close(ends[0]);
	return o;
}

const char *host_probe_kvm(void)
{
	static struct host_mutex lock;
	static bool known;
	static enum outcome outcome;

	if (!atomic_read_acquire(&known)) {
		host_mutex_lock(&lock);
		if (!known) {
			outcome = probe();
			atomic_set_release(&known, true);
		}
		host_mutex_unlock(&lock);
	}
	return outcome_text[outcome];
}
