/* SPDX-License-Identifier: GPL-2.0-only */
/* Entry from the host layer: opening /dev/kvm. */
#ifndef ANYKVM_KVM_DEVICE_H
#define ANYKVM_KVM_DEVICE_H

/* A new descriptor of the device, or -errno. */
long kvm_device_open(void);
/* An ioctl of the device, where the descriptor is the host's own: >= 0 or -errno. */
long kvm_device_ioctl(unsigned int request, unsigned long arg);

#endif
