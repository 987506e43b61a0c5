/* SPDX-License-Identifier: GPL-2.0-only */
/* The door between descriptors and the core. */
#ifndef ANYKVM_HOST_USER_API_H
#define ANYKVM_HOST_USER_API_H

/* anykvm_open() without errno: fd or -errno. The descriptor is O_CLOEXEC. */
int host_open_device(void);

#endif
