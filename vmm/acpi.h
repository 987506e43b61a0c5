/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ACPI tables by which a guest finds its processors, interrupt controller, devices and the
 * registers for power-off and reset: RSDP, XSDT, FADT (hardware-reduced), MADT, DSDT.
 */
#ifndef ANYKVM_VMM_ACPI_H
#define ANYKVM_VMM_ACPI_H

#include "host/types.h"

struct acpi_virtio {
	u32 base, size; /* of its registers */
	u32 gsi;
};

struct acpi_config {
	unsigned cpus;
	bool serial; /* COM1 */
	const struct acpi_virtio *virtio;
	unsigned nvirtio;
	u16 serial_port, serial_gsi, cmos_port;
	u16 sleep_control_port, sleep_status_port, reset_port;
	u8 reset_value;
};

/* Where the tables go: the area that operating systems search for the RSDP. The last 16 bytes of it
 * are the BIOS's entry point. */
#define ACPI_TABLES 0xe0000
#define ACPI_TABLES_ROOM (0x20000 - 16)

/*
 * Writes all tables to out, which the guest sees at gpa; the RSDP comes first. Returns the bytes
 * used, 0 if room is too small.
 */
size_t acpi_build(const struct acpi_config *config, u8 *out, size_t room, u64 gpa);

#endif
