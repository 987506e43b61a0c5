// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers by which a guest ends or resets its machine: ACPI's sleep control (ACPI 6.4, 4.8.3.7),
 * the PIIX reset register, and the pulse of a keyboard controller that is otherwise not there.
 */
#include <string.h>

#include "vmm/machine.h"

#define SLEEP_ENABLE 0x20
#define SLEEP_TYPE(value) (((value) >> 2) & 7)
#define SLEEP_TYPE_S5 5

#define RESET_CPU 0x04

#define KEYBOARD_COMMAND_PORT 0x64
#define KEYBOARD_PULSE_RESET 0xfe

static void sleep_io(void *opaque, u64 offset, u8 *data, unsigned size, bool write)
{
	struct machine *m = opaque;

	if (!write) {
		memset(data, 0, size);
		return;
	}
	if (offset == 0 && (data[0] & SLEEP_ENABLE) && SLEEP_TYPE(data[0]) == SLEEP_TYPE_S5)
		machine_end(m, MACHINE_POWEROFF);
}

/* One byte wide: a 32-bit access to PCI's configuration port 0xcf8 is none of it. */
static void reset_io(void *opaque, u64 offset, u8 *data, unsigned size, bool write)
{
	(void)offset;
	if (!write)
		memset(data, 0, size);
	else if (data[0] & RESET_CPU)
		machine_end(opaque, MACHINE_RESET);
}

/* Reads as a controller with nothing to say whose input buffer is empty, so nobody waits for it. */
static void keyboard_io(void *opaque, u64 offset, u8 *data, unsigned size, bool write)
{
	(void)offset;
	if (!write)
		memset(data, 0, size);
	else if (data[0] == KEYBOARD_PULSE_RESET)
		machine_end(opaque, MACHINE_RESET);
}

int power_register(struct machine *m)
{
	if (io_register(&m->pio, "sleep control", SLEEP_CONTROL_PORT, 2, sleep_io, m) ||
	    io_register(&m->pio, "reset", RESET_PORT, 1, reset_io, m) ||
	    io_register(&m->pio, "keyboard command", KEYBOARD_COMMAND_PORT, 1, keyboard_io, m))
		return -1;
	return 0;
}
