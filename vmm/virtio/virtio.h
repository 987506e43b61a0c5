/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtio devices on the virtio-mmio transport, version 2 (virtio 1.2, 4.2).
 *
 * Who runs where: the driver's register accesses come on vCPU threads; requests are served on the io
 * thread, which a queue's eventfd (KVM's ioeventfd on QueueNotify) wakes and which interrupts by the
 * irqfd. A vCPU waits for the io thread only when it resets the device or sets up a queue.
 */
#ifndef ANYKVM_VMM_VIRTIO_VIRTIO_H
#define ANYKVM_VMM_VIRTIO_VIRTIO_H

#include <pthread.h>

#include "vmm/event.h"
#include "vmm/virtio/queue.h"

#define VIRTIO_QUEUES_MAX 2
#define VIRTIO_MMIO_SIZE 0x1000
#define VIRTIO_CONFIG_SIZE 64

struct virtio_device;

/* One kind of device. All members are mandatory. */
struct virtio_class {
	const char *name;
	u32 id; /* VIRTIO_ID_* */
	unsigned nqueues;
	/* Serves one request; returns the bytes written into it. False: the driver broke the rules. */
	bool (*serve)(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain, u32 *written);
	void (*destroy)(struct virtio_device *dev);
};

struct virtio_kick {
	struct event_source source;
	struct virtio_device *device;
	unsigned queue;
};

/* Locks: (d) lock; (a) atomic; (i) io thread; (c) constant after creation. */
struct virtio_device {
	const struct virtio_class *class; /* (c) */
	const struct guest_memory *memory; /* (c) */
	const struct event_loop *loop;	  /* (c) its end aborts long requests */
	u64 features;			  /* (c) offered */
	u8 config[VIRTIO_CONFIG_SIZE];	  /* (c) */
	u32 config_size;		  /* (c) */
	int irq_fd;			  /* (c) */
	struct virtio_kick kick[VIRTIO_QUEUES_MAX]; /* (c) */
	struct virtq_chain chain;	  /* (d) the request being served */

	pthread_mutex_t lock;
	u32 status;			  /* (a), written under (d) */
	u32 interrupt_status;		  /* (a) */
	u32 device_features_sel;	  /* (d) */
	u32 driver_features_sel;	  /* (d) */
	u64 driver_features;		  /* (d) */
	u32 queue_sel;			  /* (d) */
	struct virtq queue[VIRTIO_QUEUES_MAX]; /* (d) */
};

/* Completes what the device's own constructor allocated and filled in. 0, or -1 with vmm_fail(). */
int virtio_init(struct virtio_device *dev, const struct virtio_class *class, u64 features,
		const void *config, size_t config_size);
/* Connects it: memory, the loop that serves it. */
int virtio_attach(struct virtio_device *dev, const struct guest_memory *memory, struct event_loop *loop);
/* With the io thread ended. Frees everything, the device included. */
void virtio_destroy(struct virtio_device *dev);
/* An io_handler over VIRTIO_MMIO_SIZE bytes. */
void virtio_mmio_io(void *device, u64 offset, u8 *data, unsigned size, bool write);
/* Serves a queue until it is empty. Called on the io thread; tests call it directly. */
void virtio_serve(struct virtio_device *dev, unsigned queue);

/* NULL with vmm_fail(). */
struct virtio_device *virtio_blk_create(const char *path, bool read_only);
struct virtio_device *virtio_rng_create(void);

#endif
