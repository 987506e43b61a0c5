/* SPDX-License-Identifier: GPL-2.0-only */
/* What a vCPU counts, by KVM_GET_STATS_FD. Behind <cmocka.h>. */
#ifndef ANYKVM_TESTS_UNIT_COUNTER_H
#define ANYKVM_TESTS_UNIT_COUNTER_H

#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>

#include "host/user/file.h"
#include "include/anykvm.h"

/* ~0: it has none of that name. */
static uint64_t counter_of(int vcpu, const char *name)
{
	int fd = anykvm_ioctl(vcpu, KVM_GET_STATS_FD, 0);
	struct kvm_stats_header h;
	uint64_t value = ~0ull;
	size_t size;

	assert_int_equal(host_fd_read(fd, &h, sizeof(h), 0), sizeof(h));
	size = sizeof(struct kvm_stats_desc) + h.name_size;
	for (unsigned i = 0; i < h.num_desc; i++) {
		char text[sizeof(struct kvm_stats_desc) + 256];
		struct kvm_stats_desc *d = (struct kvm_stats_desc *)text;

		assert_int_equal(host_fd_read(fd, text, size, (int64_t)(h.desc_offset + i * size)), size);
		if (!strcmp(text + sizeof(*d), name))
			assert_int_equal(host_fd_read(fd, &value, 8, (int64_t)(h.data_offset + d->offset)), 8);
	}
	anykvm_close(fd);
	return value;
}

#endif
