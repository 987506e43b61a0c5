// SPDX-License-Identifier: GPL-2.0-only
/* Entropy (virtio 1.2, 5.4): random bytes of the host's kernel. */
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "vmm/fail.h"
#include "vmm/virtio/virtio.h"

/* A device may give less than asked for; this much keeps a greedy guest from hogging the thread. */
#define RNG_BYTES_MAX 65536
#define RNG_CHUNK 256 /* getrandom never gives less, nor fails, up to this */

static bool rng_serve(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain, u32 *written)
{
	const struct iovec *iov = chain->iov + chain->nreadable;
	u32 left = RNG_BYTES_MAX;

	(void)dev;
	(void)queue;
	for (unsigned i = 0; i < chain->nwritable && left; i++) {
		u8 *to = iov[i].iov_base;
		u32 size = min_u64(left, iov[i].iov_len);

		for (u32 done = 0; done < size; done += RNG_CHUNK)
			if (getrandom(to + done, min_u64(RNG_CHUNK, size - done), 0) < 0)
				return false;
		left -= size;
	}
	*written = RNG_BYTES_MAX - left;
	return true;
}

static void rng_destroy(struct virtio_device *dev)
{
	free(dev);
}

static const struct virtio_class rng_class = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.nqueues = 1,
	.serve = rng_serve,
	.destroy = rng_destroy,
};

struct virtio_device *virtio_rng_create(void)
{
	struct virtio_device *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		vmm_fail_errno("entropy device");
		return NULL;
	}
	if (virtio_init(dev, &rng_class, 0, "", 0)) {
		virtio_destroy(dev);
		return NULL;
	}
	return dev;
}
