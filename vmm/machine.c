// SPDX-License-Identifier: GPL-2.0-only
/*
 * A machine's life: built from a configuration, run until something ends it, taken down. A reset is
 * a new machine.
 *
 * Ending: whoever wants it calls machine_end(); the first one's reason counts. That stops the
 * caller's loop, and machine_run() then stops the vCPUs and the io thread and waits for them.
 */
#include "vmm/machine.h"

#include <linux/kvm.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/acpi.h"
#include "vmm/console.h"
#include "vmm/loader.h"

/* Capabilities without which nothing here works. */
static const struct {
	int number;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt controllers" },
	{ KVM_CAP_PIT2, "in-kernel timer" },
	{ KVM_CAP_EXT_CPUID, "CPUID" },
	{ KVM_CAP_SET_TSS_ADDR, "TSS address" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
};

bool machine_end(struct machine *m, enum machine_outcome why)
{
	u32 running = MACHINE_RUNNING;
	bool first = __atomic_compare_exchange_n(&m->outcome, &running, why, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST);

	if (first)
		event_loop_stop(&m->loop);
	return first;
}

int machine_signal(const struct machine *m)
{
	return m->signal;
}

static long vm_ioctl(const struct machine *m, unsigned long request, const void *arg)
{
	return m->backend->ioctl(m->vm_fd, request, (unsigned long)arg);
}

/* ---- KVM ------------------------------------------------------------------------------------- */

static int open_kvm(struct machine *m)
{
	long version;

	m->kvm_fd = m->backend->open();
	if (m->kvm_fd < 0)
		return vmm_fail_errno("cannot open KVM (engine %s)", m->backend->name);
	version = m->backend->ioctl(m->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return vmm_fail("KVM API version %ld, not %d", version, KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (m->backend->ioctl(m->kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
			return vmm_fail("KVM lacks %s", needed[i].name);
	return 0;
}

static int create_vm(struct machine *m)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	u64 identity_map = KVM_IDENTITY_MAP;

	m->vm_fd = m->backend->ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
	if (m->vm_fd < 0)
		return vmm_fail_errno("KVM_CREATE_VM");
	if (vm_ioctl(m, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
		return vmm_fail_errno("KVM_SET_IDENTITY_MAP_ADDR");
	if (m->backend->ioctl(m->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDRESS) < 0)
		return vmm_fail_errno("KVM_SET_TSS_ADDR");
	if (m->backend->ioctl(m->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return vmm_fail_errno("KVM_CREATE_IRQCHIP");
	if (vm_ioctl(m, KVM_CREATE_PIT2, &pit) < 0)
		return vmm_fail_errno("KVM_CREATE_PIT2");
	return 0;
}

static int create_memory(struct machine *m)
{
	if (guest_memory_create(&m->memory, m->config->memory))
		return -1;
	for (unsigned i = 0; i < m->memory.nslots; i++) {
		const struct memory_slot *slot = &m->memory.slot[i];
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = slot->gpa,
			.memory_size = slot->size,
			.userspace_addr = (u64)slot->hva,
		};

		if (vm_ioctl(m, KVM_SET_USER_MEMORY_REGION, &region) < 0)
			return vmm_fail_errno("KVM_SET_USER_MEMORY_REGION");
	}
	return 0;
}

/* ---- devices --------------------------------------------------------------------------------- */

static void serial_set_irq(void *opaque, bool level)
{
	struct kvm_irq_level line = { .irq = SERIAL_IRQ, .level = level };

	vm_ioctl(opaque, KVM_IRQ_LINE, &line);
}

static void serial_wake(void *opaque)
{
	struct machine *m = opaque;

	if (m->console)
		console_wake(m->console);
}

static void console_ended(void *opaque, enum console_end why)
{
	struct machine *m = opaque;

	if (why == CONSOLE_QUIT)
		machine_end(m, MACHINE_QUIT);
	else if (machine_end(m, MACHINE_SIGNAL))
		m->signal = SIGPIPE;
}

static int create_serial(struct machine *m)
{
	struct serial_wire wire = { .opaque = m, .set_irq = serial_set_irq, .wake = serial_wake };

	if (!m->config->serial)
		return 0;
	serial_init(&m->serial, &wire);
	m->has_serial = true;
	if (io_register(&m->pio, "serial", SERIAL_PORT, SERIAL_PORTS, serial_io, &m->serial))
		return -1;
	return m->console ? console_attach(m->console, &m->loop, &m->serial, console_ended, m) : 0;
}

/* GSIs of virtio devices: the IOAPIC's own first, then ISA interrupts that nothing here has. */
static u32 virtio_gsi(unsigned index)
{
	static const u8 gsi[VIRTIO_DEVICES_MAX] = { 16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 9, 10 };

	return gsi[index];
}

static u64 virtio_base(unsigned index)
{
	return VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_SIZE;
}

static int connect_virtio(struct machine *m, struct virtio_device *dev, unsigned index)
{
	struct kvm_irqfd irqfd = { .fd = dev->irq_fd, .gsi = virtio_gsi(index) };

	if (vm_ioctl(m, KVM_IRQFD, &irqfd) < 0)
		return vmm_fail_errno("KVM_IRQFD");
	for (unsigned i = 0; i < dev->class->nqueues; i++) {
		struct kvm_ioeventfd kick = {
			.datamatch = i,
			.addr = virtio_base(index) + VIRTIO_MMIO_QUEUE_NOTIFY,
			.len = 4,
			.fd = dev->kick[i].source.fd,
			.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
		};

		if (vm_ioctl(m, KVM_IOEVENTFD, &kick) < 0)
			return vmm_fail_errno("KVM_IOEVENTFD");
	}
	return 0;
}

static int add_virtio(struct machine *m, struct virtio_device *dev)
{
	unsigned index = m->nvirtio;

	if (!dev)
		return -1;
	m->virtio[m->nvirtio++] = dev;
	if (virtio_attach(dev, &m->memory, &m->io_loop) || connect_virtio(m, dev, index))
		return -1;
	return io_register(&m->mmio, dev->class->name, virtio_base(index), VIRTIO_MMIO_SIZE, virtio_mmio_io,
			   dev);
}

static int create_devices(struct machine *m)
{
	const struct machine_config *config = m->config;

	cmos_init(&m->cmos, NULL);
	if (power_register(m) || io_register(&m->pio, "cmos", CMOS_PORT, CMOS_PORTS, cmos_io, &m->cmos) ||
	    create_serial(m))
		return -1;
	for (unsigned i = 0; i < config->ndisks; i++)
		if (add_virtio(m, virtio_blk_create(config->disk[i].path, config->disk[i].read_only)))
			return -1;
	if (config->rng && add_virtio(m, virtio_rng_create()))
		return -1;
	return 0;
}

/* ---- the guest's software -------------------------------------------------------------------- */

static int write_acpi(struct machine *m)
{
	struct acpi_virtio virtio[VIRTIO_DEVICES_MAX];
	struct acpi_config config = {
		.cpus = m->config->cpus,
		.serial = m->has_serial,
		.virtio = virtio,
		.nvirtio = m->nvirtio,
		.serial_port = SERIAL_PORT,
		.serial_gsi = SERIAL_IRQ,
		.cmos_port = CMOS_PORT,
		.sleep_control_port = SLEEP_CONTROL_PORT,
		.sleep_status_port = SLEEP_STATUS_PORT,
		.reset_port = RESET_PORT,
		.reset_value = RESET_VALUE,
	};
	u8 *tables = guest_memory_at(&m->memory, ACPI_TABLES, ACPI_TABLES_ROOM);

	for (unsigned i = 0; i < m->nvirtio; i++)
		virtio[i] = (struct acpi_virtio){
			.base = virtio_base(i),
			.size = VIRTIO_MMIO_SIZE,
			.gsi = virtio_gsi(i),
		};
	if (!acpi_build(&config, tables, ACPI_TABLES_ROOM, ACPI_TABLES))
		return vmm_fail("ACPI tables do not fit");
	return 0;
}

static int load_guest(struct machine *m)
{
	struct kernel_image image;
	struct linux_boot boot;

	if (kernel_load(m->config->kernel, &m->memory, &image) || write_acpi(m) ||
	    linux_prepare(&m->memory, &image, m->config->append, m->config->initrd, ACPI_TABLES, &boot))
		return -1;
	for (unsigned i = 0; i < m->config->cpus; i++)
		if (vmm_vcpu_create(m, i))
			return -1;
	return vcpu_enter_linux(&m->vcpu[0], boot.entry, boot.boot_params, boot.page_table, boot.gdt);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void signal_ready(struct event_source *source, short revents)
{
	struct machine *m = container_of(source, struct machine, signals);
	struct signalfd_siginfo info;

	(void)revents;
	if (read(source->fd, &info, sizeof(info)) == sizeof(info) && machine_end(m, MACHINE_SIGNAL))
		m->signal = info.ssi_signo;
}

/* The signals that the caller blocked for us (vmm.h) arrive as events. */
static int create_signals(struct machine *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	m->signals = (struct event_source){ .events = POLLIN, .ready = signal_ready };
	m->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals.fd < 0)
		return vmm_fail_errno("signalfd");
	return event_loop_add(&m->loop, &m->signals);
}

struct machine *machine_create(const struct machine_config *config, struct console *console)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m) {
		vmm_fail_errno("machine");
		return NULL;
	}
	m->config = config;
	m->backend = config->backend;
	m->console = console;
	m->kvm_fd = m->vm_fd = m->signals.fd = m->loop.stop_fd = m->io_loop.stop_fd = -1;
	if (event_loop_create(&m->loop) || event_loop_create(&m->io_loop) || create_signals(m) ||
	    open_kvm(m) || create_vm(m) || create_memory(m) || create_devices(m) || load_guest(m)) {
		machine_destroy(m);
		return NULL;
	}
	return m;
}

static int start_threads(struct machine *m)
{
	if (event_loop_start(&m->io_loop, "io"))
		return -1;
	for (unsigned i = 0; i < m->nvcpus; i++)
		if (vcpu_start(&m->vcpu[i]))
			return -1;
	return 0;
}

static void stop_threads(struct machine *m)
{
	for (unsigned i = 0; i < m->nvcpus; i++)
		vmm_vcpu_kick(&m->vcpu[i]);
	/* First: a vCPU may be waiting for a device that the io thread holds. */
	event_loop_join(&m->io_loop);
	for (unsigned i = 0; i < m->nvcpus; i++)
		vcpu_join(&m->vcpu[i]);
}

static void report_crash(const struct machine *m)
{
	bool reported = false;

	for (unsigned i = 0; i < m->nvcpus; i++) {
		if (m->vcpu[i].crashed) {
			vcpu_report(&m->vcpu[i]);
			reported = true;
		}
	}
	if (m->outcome == MACHINE_ERROR && !reported)
		fprintf(stderr, "anykvm: %s\n", vmm_failure()); /* a thread did not start */
}

enum machine_outcome machine_run(struct machine *m)
{
	if (start_threads(m))
		machine_end(m, MACHINE_ERROR);
	event_loop_run(&m->loop);
	stop_threads(m);
	if (m->console && m->has_serial)
		console_detach(m->console);
	report_crash(m);
	return m->outcome;
}

void machine_destroy(struct machine *m)
{
	for (unsigned i = 0; i < m->nvcpus; i++)
		vmm_vcpu_destroy(&m->vcpu[i]);
	for (unsigned i = 0; i < m->nvirtio; i++)
		virtio_destroy(m->virtio[i]);
	if (m->vm_fd >= 0)
		m->backend->close(m->vm_fd);
	if (m->kvm_fd >= 0)
		m->backend->close(m->kvm_fd);
	if (m->has_serial)
		serial_destroy(&m->serial);
	guest_memory_destroy(&m->memory);
	if (m->signals.fd >= 0)
		close(m->signals.fd);
	event_loop_destroy(&m->loop);
	event_loop_destroy(&m->io_loop);
	free(m);
}
