// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk (virtio 1.2, 5.2): a raw image file or block device. Requests are done one after the other
 * on the io thread. Whatever the host refuses (full disk, truncated image, limits) becomes an I/O
 * error of that one request in the guest.
 *
 * The image is locked (flock): exclusively for writing, shared for reading, so that no two machines
 * destroy it together.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/fail.h"
#include "vmm/virtio/virtio.h"

#define SECTOR 512
#define TRANSFER_MAX (16u << 20) /* bytes in one system call: the loop's end is noticed between them */

struct blk {
	struct virtio_device dev;
	int fd;
	bool read_only;
	u64 size;     /* bytes, of the image when opened */
	u64 sectors;  /* the last one may be partial: its rest reads as zero */
	char id[VIRTIO_BLK_ID_BYTES];
};

/* As many leading vectors as make at most TRANSFER_MAX, the last one cut short. */
static unsigned slice(const struct iovec *iov, unsigned n, struct iovec *part)
{
	u64 room = TRANSFER_MAX;
	unsigned i;

	for (i = 0; i < n && room; i++) {
		part[i] = iov[i];
		part[i].iov_len = min_u64(iov[i].iov_len, room);
		room -= part[i].iov_len;
	}
	return i;
}

static void advance(struct iovec **iov, unsigned *n, u64 done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (u8 *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static void clear(struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

/* Moves all the vectors' bytes from or to the image; 0 or a VIRTIO_BLK_S_*. */
static u8 transfer(struct blk *blk, struct iovec *iov, unsigned n, u64 offset, bool write)
{
	struct iovec part[VIRTQ_SIZE_MAX];

	while (n) {
		unsigned nparts = slice(iov, n, part);
		ssize_t done;

		if (blk->dev.loop && event_loop_stopping(blk->dev.loop))
			return VIRTIO_BLK_S_IOERR;
		done = write ? pwritev(blk->fd, part, nparts, offset) : preadv(blk->fd, part, nparts, offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return VIRTIO_BLK_S_IOERR;
		if (done == 0) {
			/* End of file: right in the partial last sector, an error anywhere before. */
			if (write || offset != blk->size || iov_size(iov, n) >= SECTOR)
				return VIRTIO_BLK_S_IOERR;
			clear(iov, n);
			return VIRTIO_BLK_S_OK;
		}
		offset += done;
		advance(&iov, &n, done);
	}
	return VIRTIO_BLK_S_OK;
}

static u8 read_or_write(struct blk *blk, struct iovec *iov, unsigned n, u64 sector, bool write)
{
	u64 size = iov_size(iov, n);

	if (size % SECTOR || sector > blk->sectors || size / SECTOR > blk->sectors - sector)
		return VIRTIO_BLK_S_IOERR;
	if (write && blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	return transfer(blk, iov, n, sector * SECTOR, write);
}

static u8 flush(struct blk *blk)
{
	if (blk->read_only || fdatasync(blk->fd) == 0)
		return VIRTIO_BLK_S_OK;
	/* Devices and file systems that have nothing to flush. */
	return errno == EINVAL || errno == ENOSYS ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* The status byte is the last writable one, wherever the driver's descriptors end. */
static u8 *take_status(struct virtq_chain *chain)
{
	struct iovec *last;

	if (!chain->nwritable)
		return NULL;
	last = &chain->iov[chain->nreadable + chain->nwritable - 1];
	if (--last->iov_len == 0)
		chain->nwritable--;
	return (u8 *)last->iov_base + last->iov_len;
}

static bool blk_serve(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain, u32 *written)
{
	struct blk *blk = container_of(dev, struct blk, dev);
	struct iovec *out = chain->iov, *in = chain->iov + chain->nreadable;
	unsigned nout = chain->nreadable, nin;
	struct virtio_blk_outhdr header;
	u64 in_size;
	u8 *status = take_status(chain);

	(void)queue;
	nin = chain->nwritable;
	in_size = iov_size(in, nin);
	*written = 1;
	if (!status || iov_take(&out, &nout, &header, sizeof(header)) != sizeof(header))
		return false;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		*status = read_or_write(blk, in, nin, header.sector, false);
		*written += in_size;
		break;
	case VIRTIO_BLK_T_OUT:
		*status = read_or_write(blk, out, nout, header.sector, true);
		break;
	case VIRTIO_BLK_T_FLUSH:
		*status = flush(blk);
		break;
	case VIRTIO_BLK_T_GET_ID:
		*written += iov_fill(in, nin, blk->id, sizeof(blk->id));
		*status = VIRTIO_BLK_S_OK;
		break;
	default:
		*status = VIRTIO_BLK_S_UNSUPP;
	}
	return true;
}

static void blk_destroy(struct virtio_device *dev)
{
	struct blk *blk = container_of(dev, struct blk, dev);

	if (blk->fd >= 0)
		close(blk->fd);
	free(blk);
}

static const struct virtio_class blk_class = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.nqueues = 1,
	.serve = blk_serve,
	.destroy = blk_destroy,
};

static int image_size(int fd, const char *path, u64 *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return vmm_fail_errno("%s", path);
	if (S_ISREG(st.st_mode)) {
		*size = st.st_size;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return vmm_fail("%s: neither a regular file nor a block device", path);
	return ioctl(fd, BLKGETSIZE64, size) < 0 ? vmm_fail_errno("%s", path) : 0;
}

static int image_open(struct blk *blk, const char *path)
{
	blk->fd = open(path, (blk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (blk->fd < 0)
		return vmm_fail_errno("%s", path);
	if (flock(blk->fd, (blk->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return vmm_fail("%s: in use by another process", path);
		return vmm_fail_errno("%s: cannot be locked", path);
	}
	if (image_size(blk->fd, path, &blk->size))
		return -1;
	if (blk->size == 0)
		return vmm_fail("%s: empty", path);
	blk->sectors = (blk->size + SECTOR - 1) / SECTOR;
	return 0;
}

/* The end of the file's name, as far as it fits: a serial number that stays the same. */
static void make_id(struct blk *blk, const char *path)
{
	const char *slash = strrchr(path, '/');

	memccpy(blk->id, slash ? slash + 1 : path, 0, sizeof(blk->id));
}

struct virtio_device *virtio_blk_create(const char *path, bool read_only)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	struct virtio_blk_config config = { 0 };
	u64 features = BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_FLUSH);

	if (!blk) {
		vmm_fail_errno("disk");
		return NULL;
	}
	blk->read_only = read_only;
	if (read_only)
		features |= BIT64(VIRTIO_BLK_F_RO);
	if (image_open(blk, path)) {
		if (blk->fd >= 0)
			close(blk->fd);
		free(blk);
		return NULL;
	}
	make_id(blk, path);
	config.capacity = blk->sectors;
	config.seg_max = VIRTQ_SIZE_MAX - 2; /* header and status take one each */
	if (virtio_init(&blk->dev, &blk_class, features, &config,
			offsetof(struct virtio_blk_config, size_max) + 8)) {
		virtio_destroy(&blk->dev);
		return NULL;
	}
	return &blk->dev;
}
