/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's user-space headers ask for this one, which is removed from them when they are installed. */
