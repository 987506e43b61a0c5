// SPDX-License-Identifier: GPL-2.0-only
/* Virtio as a driver sees it, well-meaning and hostile: rings, registers, the disk, entropy. */
#define _GNU_SOURCE 1
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/fail.h"
#include "vmm/virtio/virtio.h"

#define MEMORY (64ull << 20)
#define QUEUE_SIZE 16
#define DESC 0x10000
#define AVAIL 0x11000
#define USED 0x12000
#define INDIRECT 0x13000
#define DATA 0x20000

struct fixture {
	struct guest_memory memory;
	struct virtq q;
	struct virtq_chain chain;
	struct virtio_device *dev;
	char path[32];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return guest_memory_create(&f->memory, MEMORY);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->dev)
		virtio_destroy(f->dev);
	if (f->path[0])
		unlink(f->path);
	guest_memory_destroy(&f->memory);
	free(f);
	return 0;
}

/* ---- the driver's side of the rings ---------------------------------------------------------- */

static void *at(struct fixture *f, u64 gpa)
{
	return guest_memory_at(&f->memory, gpa, 1);
}

static struct vring_avail *avail(struct fixture *f)
{
	return at(f, AVAIL);
}

static struct vring_used *used(struct fixture *f)
{
	return at(f, USED);
}

static void desc(struct fixture *f, u64 table, unsigned i, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vring_desc d = { .addr = addr, .len = len, .flags = flags, .next = next };

	memcpy((struct vring_desc *)at(f, table) + i, &d, sizeof(d));
}

static void offer(struct fixture *f, u16 head)
{
	avail(f)->ring[avail(f)->idx++ % QUEUE_SIZE] = head;
}

static void open_queue(struct fixture *f, bool event_idx)
{
	memset(at(f, DESC), 0, 0x10000);
	virtq_reset(&f->q);
	f->q.size = QUEUE_SIZE;
	f->q.desc_gpa = DESC;
	f->q.avail_gpa = AVAIL;
	f->q.used_gpa = USED;
	assert_true(virtq_enable(&f->q, &f->memory, event_idx));
}

static enum virtq_result pop(struct fixture *f)
{
	return virtq_pop(&f->q, &f->chain);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void queue_good(void **state)
{
	struct fixture *f = *state;

	open_queue(f, false);
	assert_int_equal(pop(f), VIRTQ_EMPTY);
	desc(f, DESC, 3, DATA, 16, VRING_DESC_F_NEXT, 5);
	desc(f, DESC, 5, DATA + 16, 0, VRING_DESC_F_NEXT, 7);
	desc(f, DESC, 7, DATA + 32, 100, VRING_DESC_F_WRITE, 0);
	offer(f, 3);
	assert_int_equal(pop(f), VIRTQ_REQUEST);
	assert_int_equal(f->chain.nreadable, 1);
	assert_int_equal(f->chain.nwritable, 1);
	assert_ptr_equal(f->chain.iov[1].iov_base, at(f, DATA + 32));
	virtq_push(&f->q, &f->chain, 77);
	assert_int_equal(used(f)->idx, 1);
	assert_int_equal(used(f)->ring[0].id, 3);
	assert_int_equal(used(f)->ring[0].len, 77);
	assert_true(virtq_should_interrupt(&f->q));
	assert_false(virtq_should_interrupt(&f->q));
	avail(f)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	offer(f, 3);
	assert_int_equal(pop(f), VIRTQ_REQUEST);
	virtq_push(&f->q, &f->chain, 0);
	assert_false(virtq_should_interrupt(&f->q));
}

static void queue_indirect(void **state)
{
	struct fixture *f = *state;

	open_queue(f, false);
	desc(f, INDIRECT + 8, 0, DATA, 16, VRING_DESC_F_NEXT, 1); /* not even aligned */
	desc(f, INDIRECT + 8, 1, DATA + 16, 16, VRING_DESC_F_WRITE, 0);
	desc(f, DESC, 0, INDIRECT + 8, 32, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_int_equal(pop(f), VIRTQ_REQUEST);
	assert_int_equal(f->chain.nreadable + f->chain.nwritable, 2);
	desc(f, DESC, 1, DATA, 4, VRING_DESC_F_NEXT, 0); /* direct, then indirect: legal */
	offer(f, 1);
	assert_int_equal(pop(f), VIRTQ_REQUEST);
	assert_int_equal(f->chain.nreadable, 2);
}

static void queue_event_index(void **state)
{
	struct fixture *f = *state;
	u16 *used_event = &avail(f)->ring[QUEUE_SIZE];
	u16 *avail_event = (u16 *)&used(f)->ring[QUEUE_SIZE];

	open_queue(f, true);
	desc(f, DESC, 0, DATA, 16, 0, 0);
	*used_event = 1;
	for (unsigned i = 0; i < 3; i++) {
		offer(f, 0);
		assert_int_equal(pop(f), VIRTQ_REQUEST);
		virtq_push(&f->q, &f->chain, 0);
		assert_int_equal(virtq_should_interrupt(&f->q), i == 1);
	}
	assert_false(virtq_rearm(&f->q));
	assert_int_equal(*avail_event, 3);
	offer(f, 0);
	assert_true(virtq_rearm(&f->q));
}

/* A chain that must break the queue, and leave it so. */
static void expect_broken(struct fixture *f, u16 head)
{
	offer(f, head);
	assert_int_equal(pop(f), VIRTQ_BROKEN);
	assert_int_equal(pop(f), VIRTQ_EMPTY);
	assert_false(virtq_rearm(&f->q));
	open_queue(f, false);
}

static void queue_hostile_chains(void **state)
{
	struct fixture *f = *state;
	const u16 next = VRING_DESC_F_NEXT, indirect = VRING_DESC_F_INDIRECT;

	open_queue(f, false);
	expect_broken(f, QUEUE_SIZE); /* head out of range */
	expect_broken(f, 0xffff);
	desc(f, DESC, 0, DATA, 1, next, QUEUE_SIZE); /* next out of range */
	expect_broken(f, 0);
	desc(f, DESC, 0, DATA, 1, next, 0); /* a loop */
	expect_broken(f, 0);
	desc(f, DESC, 0, DATA, 0, next, 1); /* a loop of nothing */
	desc(f, DESC, 1, DATA, 0, next, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, MEMORY - 1, 2, 0, 0); /* leaves memory */
	expect_broken(f, 0);
	desc(f, DESC, 0, UINT64_MAX, 16, 0, 0); /* wraps */
	expect_broken(f, 0);
	desc(f, DESC, 0, DATA, UINT32_MAX, 0, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, DATA, 1, next | VRING_DESC_F_WRITE, 1); /* readable behind writable */
	desc(f, DESC, 1, DATA, 1, 0, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, INDIRECT, 0, indirect, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, INDIRECT, 17, indirect, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, INDIRECT, 16, indirect | next, 1);
	expect_broken(f, 0);
	desc(f, DESC, 0, MEMORY - 16, 32, indirect, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, INDIRECT, 16, indirect, 0); /* nested */
	desc(f, INDIRECT, 0, INDIRECT, 16, indirect, 0);
	expect_broken(f, 0);
	desc(f, DESC, 0, INDIRECT, 64 * 16, indirect, 0); /* longer than the queue */
	for (unsigned i = 0; i < 64; i++)
		desc(f, INDIRECT, i, DATA, 1, i < 63 ? next : 0, i + 1);
	expect_broken(f, 0);
}

static void queue_hostile_rings(void **state)
{
	struct fixture *f = *state;
	struct virtq *q = &f->q;
	bool legal;

	open_queue(f, false);
	avail(f)->idx = QUEUE_SIZE + 1; /* more than there can be */
	assert_int_equal(pop(f), VIRTQ_BROKEN);
	virtq_reset(q);
	for (u32 size = 0; size < 0x10000; size++) {
		*q = (struct virtq){ .size = size, .desc_gpa = DESC, .avail_gpa = AVAIL, .used_gpa = USED };
		legal = size && size <= VIRTQ_SIZE_MAX && !(size & (size - 1));
		assert_int_equal(virtq_enable(q, &f->memory, false), legal);
	}
	*q = (struct virtq){ .size = 256, .desc_gpa = DESC + 8, .avail_gpa = AVAIL, .used_gpa = USED };
	assert_false(virtq_enable(q, &f->memory, false));
	q->desc_gpa = MEMORY - 255 * 16;
	assert_false(virtq_enable(q, &f->memory, false));
	q->desc_gpa = DESC;
	q->avail_gpa = MEMORY - 512;
	assert_false(virtq_enable(q, &f->memory, false));
	q->avail_gpa = UINT64_MAX - 1;
	assert_false(virtq_enable(q, &f->memory, false));
	q->avail_gpa = AVAIL;
	q->used_gpa = USED + 2;
	assert_false(virtq_enable(q, &f->memory, false));
	q->used_gpa = MEMORY - 4;
	assert_false(virtq_enable(q, &f->memory, false));
	assert_int_equal(pop(f), VIRTQ_EMPTY);
}

static void queue_fuzz(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 1, requests = 0;

	for (unsigned round = 0; round < 20000; round++) {
		open_queue(f, round & 1);
		for (unsigned i = 0; i < QUEUE_SIZE * sizeof(struct vring_desc); i++)
			((u8 *)at(f, DESC))[i] = rand_r(&seed) % 8 ? 0 : rand_r(&seed);
		for (unsigned i = 0; i < QUEUE_SIZE; i++)
			avail(f)->ring[i] = rand_r(&seed) % (QUEUE_SIZE + 1);
		avail(f)->idx = rand_r(&seed) % (QUEUE_SIZE + 2);
		while (pop(f) == VIRTQ_REQUEST) {
			assert_in_range(f->chain.nreadable + f->chain.nwritable, 0, QUEUE_SIZE);
			virtq_push(&f->q, &f->chain, 0);
			requests++;
		}
	}
	assert_true(requests > 1000);
}

/* ---- devices --------------------------------------------------------------------------------- */

static u32 reg_read(struct fixture *f, u64 offset)
{
	u32 value = 0xdeadbeef;

	virtio_mmio_io(f->dev, offset, (u8 *)&value, 4, false);
	return value;
}

static void reg_write(struct fixture *f, u64 offset, u32 value)
{
	virtio_mmio_io(f->dev, offset, (u8 *)&value, 4, true);
}

static void start_device(struct fixture *f)
{
	memset(at(f, DESC), 0, 0x10000);
	f->dev->memory = &f->memory;
	reg_write(f, VIRTIO_MMIO_STATUS, 0);
	reg_write(f, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	reg_write(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(f, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* VERSION_1 */
	reg_write(f, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	reg_write(f, VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(f, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	reg_write(f, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC);
	reg_write(f, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL);
	reg_write(f, VIRTIO_MMIO_QUEUE_USED_LOW, USED);
	reg_write(f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_QUEUE_READY), 1);
	reg_write(f, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
}

static void open_disk(struct fixture *f, off_t size, bool read_only)
{
	int fd;

	strcpy(f->path, "/tmp/test_vmm.XXXXXX");
	fd = mkstemp(f->path);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	f->dev = virtio_blk_create(f->path, read_only);
	if (!f->dev)
		fail_msg("%s", vmm_failure());
	start_device(f);
}

#define STATUS_AT (DATA + 0x8000)

/* One disk request; its status byte. */
static u8 request(struct fixture *f, u32 type, u64 sector, u64 data, u32 size)
{
	struct virtio_blk_outhdr *header = at(f, DATA);
	u16 write = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? VRING_DESC_F_WRITE : 0;
	u8 *status = at(f, STATUS_AT);

	*header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*status = 0xaa;
	desc(f, DESC, 0, DATA, sizeof(*header), VRING_DESC_F_NEXT, 1);
	desc(f, DESC, 1, data, size, VRING_DESC_F_NEXT | write, 2);
	desc(f, DESC, 2, STATUS_AT, 1, VRING_DESC_F_WRITE, 0);
	offer(f, 0);
	virtio_serve(f->dev, 0);
	return *status;
}

static void disk_works(void **state)
{
	struct fixture *f = *state;
	u8 *data = at(f, DATA + 0x1000);
	u64 capacity;

	open_disk(f, 10000, false);
	virtio_mmio_io(f->dev, VIRTIO_MMIO_CONFIG, (u8 *)&capacity, 8, false);
	assert_int_equal(capacity, 20); /* the last sector in part */
	memset(data, 0x77, 1024);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 2, DATA + 0x1000, 1024), VIRTIO_BLK_S_OK);
	memset(data, 0, 1024);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 3, DATA + 0x1000, 1024), VIRTIO_BLK_S_OK);
	assert_int_equal(data[511], 0x77);
	assert_int_equal(data[512], 0);
	assert_int_equal(used(f)->ring[1].len, 1025);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, DATA, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, DATA + 0x1000, 20), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "test_vmm.", 9);
	memset(data, 0x55, 512);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 19, DATA + 0x1000, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(data[511], 0);
	assert_true(reg_read(f, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING);
	reg_write(f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_null(virtio_blk_create(f->path, true)); /* locked */
	assert_non_null(strstr(vmm_failure(), "in use"));
}

static void disk_refuses(void **state)
{
	struct fixture *f = *state;

	open_disk(f, 64 * 512, false);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 64, DATA + 0x1000, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 63, DATA + 0x1000, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, UINT64_MAX, DATA + 0x1000, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 1ull << 55, DATA + 0x1000, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, DATA + 0x1000, 511), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, 12345, 0, DATA + 0x1000, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA + 0x1000, 0), VIRTIO_BLK_S_OK);
	/* The image shrinks under the guest. */
	assert_int_equal(truncate(f->path, 10 * 512), 0);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 9, DATA + 0x1000, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 9, DATA + 0x1000, 512), VIRTIO_BLK_S_OK);
	/* A disk that may not be written. */
	virtio_destroy(f->dev);
	f->dev = NULL;
	unlink(f->path);
	open_disk(f, 64 * 512, true);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, DATA + 0x1000, 512), VIRTIO_BLK_S_IOERR);
	assert_false(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void disk_broken_requests(void **state)
{
	struct fixture *f = *state;

	open_disk(f, 64 * 512, false);
	desc(f, DESC, 0, DATA, 15, VRING_DESC_F_NEXT, 1); /* no whole header */
	desc(f, DESC, 1, DATA, 1, VRING_DESC_F_WRITE, 0);
	offer(f, 0);
	virtio_serve(f->dev, 0);
	assert_true(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(reg_read(f, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(used(f)->idx, 0);
	start_device(f);
	assert_false(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	desc(f, DESC, 0, DATA, 16, 0, 0); /* nowhere for the status */
	offer(f, 0);
	virtio_serve(f->dev, 0);
	assert_true(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	start_device(f);
	desc(f, DESC, 0, 0, 0, 0, 0); /* nothing at all */
	offer(f, 0);
	virtio_serve(f->dev, 0);
	assert_true(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void disk_errors_at_open(void **state)
{
	(void)state;
	assert_null(virtio_blk_create("/nonexistent", false));
	assert_null(virtio_blk_create("/dev/null", false));
	assert_null(virtio_blk_create("/", true));
	assert_non_null(strstr(vmm_failure(), "neither"));
}

static void entropy(void **state)
{
	struct fixture *f = *state;
	static const u8 zero[1000];

	f->dev = virtio_rng_create();
	start_device(f);
	desc(f, DESC, 0, DATA, 1000, VRING_DESC_F_WRITE, 0);
	offer(f, 0);
	virtio_serve(f->dev, 0);
	assert_int_equal(used(f)->ring[0].len, 1000);
	assert_memory_not_equal(at(f, DATA), zero, 1000);
	desc(f, DESC, 1, 1 << 20, 32 << 20, VRING_DESC_F_WRITE, 0); /* greedy */
	offer(f, 1);
	virtio_serve(f->dev, 0);
	assert_int_equal(used(f)->ring[1].len, 65536);
	desc(f, DESC, 2, DATA, 16, 0, 0); /* nowhere to write */
	offer(f, 2);
	virtio_serve(f->dev, 0);
	assert_int_equal(used(f)->ring[2].len, 0);
}

static void registers(void **state)
{
	struct fixture *f = *state;
	u8 data[8];

	open_disk(f, 4096, false);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_VERSION), 2);
	/* Feature negotiation: not without VERSION_1, nothing that was not offered. */
	reg_write(f, VIRTIO_MMIO_STATUS, 0);
	reg_write(f, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_STATUS), 0);
	reg_write(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(f, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
	reg_write(f, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_STATUS), 0);
	/* A queue that is not there. */
	reg_write(f, VIRTIO_MMIO_QUEUE_SEL, 0xffffffff);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	reg_write(f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_QUEUE_READY), 0);
	reg_write(f, VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
	/* Odd accesses, everywhere. */
	for (u64 offset = 0; offset < VIRTIO_MMIO_SIZE; offset++) {
		for (unsigned size = 1; size <= 8 && offset + size <= VIRTIO_MMIO_SIZE; size *= 2) {
			memset(data, 0xff, sizeof(data));
			virtio_mmio_io(f->dev, offset, data, size, false);
			virtio_mmio_io(f->dev, offset, data, size, true);
		}
	}
	/* An unusable queue is refused and said so. */
	reg_write(f, VIRTIO_MMIO_STATUS, 0);
	reg_write(f, VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(f, VIRTIO_MMIO_QUEUE_NUM, 0x10008);
	reg_write(f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(f, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(reg_read(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(queue_good),
		TEST(queue_indirect),
		TEST(queue_event_index),
		TEST(queue_hostile_chains),
		TEST(queue_hostile_rings),
		TEST(queue_fuzz),
		TEST(disk_works),
		TEST(disk_refuses),
		TEST(disk_broken_requests),
		TEST(disk_errors_at_open),
		TEST(entropy),
		TEST(registers),
	};

	return cmocka_run_group_tests_name("vmm virtio", tests, NULL, NULL);
}
