/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Permission maps (APM vol. 2, 15.10.1 and 15.11): every port exits; of the MSRs those go to the guest that VMLOAD and
 * VMSAVE switch, unless the VMM filters MSRs. Two maps serve all vCPUs.
 */
#include "engine/svm/svm.h"

#define IOPM_ORDER 2 /* 12 KiB and a bit */
#define IOPM_SIZE (PAGE_SIZE << IOPM_ORDER)
#define MSRPM_ORDER 1
#define MSRPM_SIZE (PAGE_SIZE << MSRPM_ORDER)

static u8 *iopm, *msrpm_open, *msrpm_closed;
static u64 open_phys, closed_phys;

/* Two bits for each MSR, in blocks of 2048 bytes: 0.., C0000000.., C0010000.. */
static void let_through(u8 *map, u32 msr)
{
	u32 block = msr < 0x2000 ? 0 : msr < 0xc0010000 ? 1 : 2;
	u32 bit = block * 0x4000 + (msr & 0x1fff) * 2;

	map[bit / 8] &= (u8)~(3u << (bit % 8));
}

int svm_maps_create(void)
{
	static const u32 switched[] = { 0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
					0xc0000100, 0xc0000101, 0xc0000102 };

	iopm = host_frames_alloc(IOPM_ORDER);
	msrpm_open = host_frames_alloc(MSRPM_ORDER);
	msrpm_closed = host_frames_alloc(MSRPM_ORDER);
	if (!iopm || !msrpm_open || !msrpm_closed) {
		svm_maps_destroy();
		return -ENOMEM;
	}
	memset(iopm, 0xff, IOPM_SIZE);
	memset(msrpm_open, 0xff, MSRPM_SIZE);
	memset(msrpm_closed, 0xff, MSRPM_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(switched); i++)
		let_through(msrpm_open, switched[i]);
	open_phys = host_frames_phys(msrpm_open);
	closed_phys = host_frames_phys(msrpm_closed);
	return 0;
}

void svm_maps_destroy(void)
{
	if (iopm)
		host_frames_free(iopm, IOPM_ORDER);
	if (msrpm_open)
		host_frames_free(msrpm_open, MSRPM_ORDER);
	if (msrpm_closed)
		host_frames_free(msrpm_closed, MSRPM_ORDER);
	iopm = msrpm_open = msrpm_closed = NULL;
}

u64 svm_iopm_phys(void)
{
	return host_frames_phys(iopm);
}

u64 svm_msrpm_phys(bool filtered)
{
	return filtered ? closed_phys : open_phys;
}
