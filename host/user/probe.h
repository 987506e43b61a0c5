/* SPDX-License-Identifier: GPL-2.0-only */
/* Does the host's own /dev/kvm run guests? */
#ifndef ANYKVM_HOST_USER_PROBE_H
#define ANYKVM_HOST_USER_PROBE_H

/*
 * NULL: it does. Otherwise why not, for humans, in static storage ("no /dev/kvm", ...). A few
 * milliseconds the first time, remembered then; at most a few seconds if the device hangs.
 *
 * It runs some instructions in real mode and in 64-bit mode in a child process, which the program
 * does not notice: no SIGCHLD, no wait() sees it, no fork handler runs.
 */
const char *host_probe_kvm(void);

#endif
