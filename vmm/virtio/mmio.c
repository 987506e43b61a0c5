// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/virtio/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/fail.h"

#define MAGIC 0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR 0x4d564b41 /* "AKVM" */

#define TRANSPORT_FEATURES \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))

int virtio_init(struct virtio_device *dev, const struct virtio_class *class, u64 features,
		const void *config, size_t config_size)
{
	dev->class = class;
	dev->features = features | TRANSPORT_FEATURES;
	dev->config_size = config_size;
	memcpy(dev->config, config, config_size);
	pthread_mutex_init(&dev->lock, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		dev->kick[i].source.fd = -1;
	dev->irq_fd = event_fd();
	if (dev->irq_fd < 0)
		return -1;
	for (unsigned i = 0; i < class->nqueues; i++) {
		dev->kick[i] = (struct virtio_kick){ .device = dev, .queue = i };
		dev->kick[i].source.fd = event_fd();
		if (dev->kick[i].source.fd < 0)
			return -1;
	}
	return 0;
}

static void kicked(struct event_source *source, short revents)
{
	struct virtio_kick *kick = container_of(source, struct virtio_kick, source);

	(void)revents;
	event_fd_clear(source->fd);
	virtio_serve(kick->device, kick->queue);
}

int virtio_attach(struct virtio_device *dev, const struct guest_memory *memory, struct event_loop *loop)
{
	dev->memory = memory;
	dev->loop = loop;
	for (unsigned i = 0; i < dev->class->nqueues; i++) {
		dev->kick[i].source.events = POLLIN;
		dev->kick[i].source.ready = kicked;
		if (event_loop_add(loop, &dev->kick[i].source))
			return -1;
	}
	return 0;
}

void virtio_destroy(struct virtio_device *dev)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		if (dev->kick[i].source.fd >= 0)
			close(dev->kick[i].source.fd);
	if (dev->irq_fd >= 0)
		close(dev->irq_fd);
	pthread_mutex_destroy(&dev->lock);
	dev->class->destroy(dev);
}

static void interrupt(struct virtio_device *dev, u32 why)
{
	atomic_or(&dev->interrupt_status, why);
	event_fd_signal(dev->irq_fd);
}

/* The driver broke the rules: say so as the specification has it (2.1.2), and stop. */
static void needs_reset(struct virtio_device *dev)
{
	atomic_or(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

/* ---- serving queues, io thread --------------------------------------------------------------- */

static bool serve_one(struct virtio_device *dev, unsigned queue)
{
	struct virtq *q = &dev->queue[queue];
	enum virtq_result result;
	u32 written = 0;

	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	result = virtq_pop(q, &dev->chain);
	if (result == VIRTQ_EMPTY)
		return virtq_rearm(q);
	if (result == VIRTQ_REQUEST && dev->class->serve(dev, queue, &dev->chain, &written)) {
		virtq_push(q, &dev->chain, written);
		/* Now rather than at the end: a slow request behind this one must not delay it. */
		if (virtq_should_interrupt(q))
			interrupt(dev, VIRTIO_MMIO_INT_VRING);
		return true;
	}
	q->broken = true;
	needs_reset(dev);
	return false;
}

void virtio_serve(struct virtio_device *dev, unsigned queue)
{
	bool more = true;

	/* Unlocked between requests, so that a vCPU that resets the device gets its turn. */
	while (more && !(dev->loop && event_loop_stopping(dev->loop))) {
		pthread_mutex_lock(&dev->lock);
		more = serve_one(dev, queue);
		pthread_mutex_unlock(&dev->lock);
	}
}

/* ---- registers, vCPU threads ----------------------------------------------------------------- */

static void reset(struct virtio_device *dev)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		virtq_reset(&dev->queue[i]);
	dev->driver_features = 0;
	dev->device_features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	atomic_set(&dev->interrupt_status, 0);
	atomic_set_release(&dev->status, 0);
}

static void write_status(struct virtio_device *dev, u32 value)
{
	u32 status = dev->status;
	bool acceptable = !(dev->driver_features & ~dev->features) &&
			  (dev->driver_features & BIT64(VIRTIO_F_VERSION_1));

	if (value == 0) {
		reset(dev);
		return;
	}
	/* Bits are only ever added (2.1.1); FEATURES_OK only if that is true. */
	value = (value & 0xff & ~VIRTIO_CONFIG_S_NEEDS_RESET) | status;
	if (!acceptable)
		value &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(value & VIRTIO_CONFIG_S_FEATURES_OK))
		value &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	atomic_set_release(&dev->status, value);
	/* Requests may have been queued before. */
	if (value & ~status & VIRTIO_CONFIG_S_DRIVER_OK)
		for (unsigned i = 0; i < dev->class->nqueues; i++)
			event_fd_signal(dev->kick[i].source.fd);
}

static void write_driver_features(struct virtio_device *dev, u32 value)
{
	if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	if (dev->driver_features_sel == 0)
		dev->driver_features = (dev->driver_features & ~0xffffffffull) | value;
	else if (dev->driver_features_sel == 1)
		dev->driver_features = (dev->driver_features & 0xffffffffull) | (u64)value << 32;
}

static void write_queue_ready(struct virtio_device *dev, struct virtq *q, u32 value)
{
	bool event_idx = dev->driver_features & BIT64(VIRTIO_RING_F_EVENT_IDX);

	if (!value)
		virtq_reset(q);
	else if (!q->ready && !virtq_enable(q, dev->memory, event_idx))
		needs_reset(dev);
}

static void set_half(u64 *address, bool high, u32 value)
{
	if (high)
		*address = (*address & 0xffffffffull) | (u64)value << 32;
	else
		*address = (*address & ~0xffffffffull) | value;
}

static void write_queue(struct virtio_device *dev, u64 offset, u32 value)
{
	struct virtq *q;

	if (dev->queue_sel >= dev->class->nqueues)
		return;
	q = &dev->queue[dev->queue_sel];
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(dev, q, value);
		return;
	}
	if (q->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = value <= VIRTQ_SIZE_MAX ? value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static void write_locked(struct virtio_device *dev, u64 offset, u32 value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(dev, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = value;
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(dev, value);
		break;
	default:
		write_queue(dev, offset, value);
	}
}

static void write_register(struct virtio_device *dev, u64 offset, u32 value)
{
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NOTIFY: /* usually KVM's ioeventfd takes it before us */
		if (value < dev->class->nqueues)
			event_fd_signal(dev->kick[value].source.fd);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		atomic_and(&dev->interrupt_status, ~value);
		break;
	default:
		pthread_mutex_lock(&dev->lock);
		write_locked(dev, offset, value);
		pthread_mutex_unlock(&dev->lock);
	}
}

static u32 read_locked(struct virtio_device *dev, u64 offset)
{
	bool have_queue = dev->queue_sel < dev->class->nqueues;

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return dev->device_features_sel < 2 ? dev->features >> (32 * dev->device_features_sel) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return have_queue ? VIRTQ_SIZE_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return have_queue && dev->queue[dev->queue_sel].ready;
	default:
		return 0;
	}
}

static u32 read_register(struct virtio_device *dev, u64 offset)
{
	u32 value;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->class->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_read(&dev->interrupt_status);
	case VIRTIO_MMIO_STATUS:
		return atomic_read_acquire(&dev->status);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return 0; /* it never changes */
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return 0xffffffff; /* no shared memory */
	}
	pthread_mutex_lock(&dev->lock);
	value = read_locked(dev, offset);
	pthread_mutex_unlock(&dev->lock);
	return value;
}

static void read_config(const struct virtio_device *dev, u64 offset, u8 *data, unsigned size)
{
	memset(data, 0, size);
	if (offset < dev->config_size)
		memcpy(data, dev->config + offset, min_u64(size, dev->config_size - offset));
}

void virtio_mmio_io(void *device, u64 offset, u8 *data, unsigned size, bool write)
{
	struct virtio_device *dev = device;
	u32 value = 0;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		/* No device here has configuration that the driver may write. */
		if (!write)
			read_config(dev, offset - VIRTIO_MMIO_CONFIG, data, size);
		return;
	}
	/* Registers are accessed as aligned 32-bit words only (4.2.2.2). */
	if (size != sizeof(value) || offset % sizeof(value)) {
		if (!write)
			memset(data, 0, size);
		return;
	}
	if (write) {
		memcpy(&value, data, sizeof(value));
		write_register(dev, offset, value);
	} else {
		value = read_register(dev, offset);
		memcpy(data, &value, sizeof(value));
	}
}
