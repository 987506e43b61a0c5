// SPDX-License-Identifier: GPL-2.0-only
/* The VMM's devices and tables, without a vCPU: UART, clock, ACPI, dispatch, guest memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/acpi.h"
#include "vmm/cmos.h"
#include "vmm/io.h"
#include "vmm/memory.h"
#include "vmm/serial.h"

/* ---- UART ------------------------------------------------------------------------------------ */

struct wire {
	bool irq;
	unsigned wakes;
};

static void wire_irq(void *opaque, bool level)
{
	((struct wire *)opaque)->irq = level;
}

static void wire_wake(void *opaque)
{
	((struct wire *)opaque)->wakes++;
}

static struct serial *new_serial(struct wire *w)
{
	struct serial_wire wire = { .opaque = w, .set_irq = wire_irq, .wake = wire_wake };
	struct serial *s = malloc(sizeof(*s));

	memset(w, 0, sizeof(*w));
	serial_init(s, &wire);
	return s;
}

static void free_serial(struct serial *s)
{
	serial_destroy(s);
	free(s);
}

static void enable_fifo(struct serial *s)
{
	serial_write(s, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	serial_write(s, UART_MCR, UART_MCR_RTS | UART_MCR_DTR | UART_MCR_OUT2);
}

static void serial_transmits(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);
	u8 out[16];

	(void)state;
	serial_write(s, UART_TX, 'a');
	serial_write(s, UART_TX, 'b');
	assert_int_equal(w.wakes, 1); /* the second found the first still there */
	assert_int_equal(serial_transmit(s, out, sizeof(out)), 2);
	assert_memory_equal(out, "ab", 2);
	serial_write(s, UART_TX, 'c'); /* between the two calls: must not be forgotten */
	assert_true(serial_transmitted(s, 2));
	assert_int_equal(serial_transmit(s, out, sizeof(out)), 1);
	assert_false(serial_transmitted(s, 1));
	free_serial(s);
}

static void serial_full_transmitter_says_so(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);
	u8 out[SERIAL_TX_BUFFER];

	(void)state;
	serial_write(s, UART_IER, UART_IER_THRI);
	for (unsigned i = 0; i < SERIAL_TX_BUFFER; i++) {
		assert_true(serial_read(s, UART_LSR) & UART_LSR_THRE);
		serial_write(s, UART_TX, i);
	}
	assert_false(serial_read(s, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT));
	assert_false(w.irq);
	serial_write(s, UART_TX, 'x'); /* overrun: lost, harmless */
	assert_int_equal(serial_transmit(s, out, sizeof(out)), SERIAL_TX_BUFFER);
	serial_transmitted(s, 100);
	assert_true(serial_read(s, UART_LSR) & UART_LSR_THRE);
	assert_true(w.irq);
	assert_int_equal(serial_read(s, UART_IIR) & 0xf, UART_IIR_THRI);
	assert_false(w.irq);
	free_serial(s);
}

static void serial_thre_interrupt(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);

	(void)state;
	serial_write(s, UART_IER, UART_IER_THRI);
	assert_true(w.irq); /* enabling it with an empty transmitter raises it */
	assert_int_equal(serial_read(s, UART_IIR), UART_IIR_THRI);
	assert_int_equal(serial_read(s, UART_IIR), UART_IIR_NO_INT);
	assert_false(w.irq);
	serial_write(s, UART_TX, 'a');
	assert_true(w.irq);
	serial_write(s, UART_IER, 0);
	assert_false(w.irq);
	free_serial(s);
}

static void serial_receives(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);
	u8 in[40];

	(void)state;
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = i;
	/* The wire waits for RTS. */
	assert_int_equal(serial_receive(s, in, sizeof(in)), 0);
	enable_fifo(s);
	assert_int_equal(w.wakes, 1);
	serial_write(s, UART_IER, UART_IER_RDI);
	assert_int_equal(serial_receive(s, in, 3), 3);
	assert_true(w.irq);
	assert_int_equal(serial_read(s, UART_IIR) & 0xf, UART_IIR_RX_TIMEOUT);
	assert_int_equal(serial_receive(s, in + 3, sizeof(in) - 3), SERIAL_FIFO - 3);
	assert_int_equal(serial_read(s, UART_IIR) & 0xf, UART_IIR_RDI);
	for (unsigned i = 0; i < SERIAL_FIFO; i++) {
		assert_true(serial_read(s, UART_LSR) & UART_LSR_DR);
		assert_int_equal(serial_read(s, UART_RX), i);
	}
	assert_int_equal(w.wakes, 2);
	assert_false(w.irq);
	assert_false(serial_read(s, UART_LSR) & UART_LSR_DR);
	assert_int_equal(serial_read(s, UART_RX), 0);
	free_serial(s);
}

static void serial_loopback(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);
	u8 byte;

	(void)state;
	/* What Linux's driver does to find the chip. */
	serial_write(s, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(serial_read(s, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	serial_write(s, UART_TX, 0x5a);
	assert_int_equal(serial_transmit(s, &byte, 1), 0);
	assert_int_equal(serial_read(s, UART_RX), 0x5a);
	serial_write(s, UART_TX, 1);
	serial_write(s, UART_TX, 2); /* no FIFO: overrun */
	assert_true(serial_read(s, UART_LSR) & UART_LSR_OE);
	assert_false(serial_read(s, UART_LSR) & UART_LSR_OE);
	free_serial(s);
}

static void serial_registers(void **state)
{
	struct wire w;
	struct serial *s = new_serial(&w);
	u8 wide[8];

	(void)state;
	serial_write(s, UART_LCR, UART_LCR_DLAB | 3);
	serial_write(s, UART_DLL, 0x34);
	serial_write(s, UART_DLM, 0x12);
	assert_int_equal(serial_read(s, UART_DLL), 0x34);
	assert_int_equal(serial_read(s, UART_DLM), 0x12);
	serial_write(s, UART_LCR, 3);
	serial_write(s, UART_IER, 0xff);
	assert_int_equal(serial_read(s, UART_IER), 0x0f);
	serial_write(s, UART_SCR, 0xa5);
	assert_int_equal(serial_read(s, UART_SCR), 0xa5);
	serial_write(s, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(serial_read(s, UART_IIR) & 0xc0, 0xc0);
	serial_io(s, 0, wide, 8, false);
	assert_int_equal(wide[UART_SCR], 0xa5);
	free_serial(s);
}

/* ---- CMOS clock ------------------------------------------------------------------------------ */

static u64 test_time;

static u64 test_now(void)
{
	return test_time;
}

static u8 cmos_get(struct cmos *c, u8 index)
{
	u8 value;

	cmos_io(c, 0, &index, 1, true);
	cmos_io(c, 1, &value, 1, false);
	return value;
}

static void cmos_set(struct cmos *c, u8 index, u8 value)
{
	cmos_io(c, 0, &index, 1, true);
	cmos_io(c, 1, &value, 1, true);
}

static void cmos_tells_time(void **state)
{
	struct cmos c;

	(void)state;
	test_time = 1709251199; /* Thu Feb 29 23:59:59 UTC 2024 */
	cmos_init(&c, test_now);
	assert_int_equal(cmos_get(&c, 0x00), 0x59);
	assert_int_equal(cmos_get(&c, 0x02), 0x59);
	assert_int_equal(cmos_get(&c, 0x04), 0x23);
	assert_int_equal(cmos_get(&c, 0x06), 5);
	assert_int_equal(cmos_get(&c, 0x07), 0x29);
	assert_int_equal(cmos_get(&c, 0x08), 0x02);
	assert_int_equal(cmos_get(&c, 0x09), 0x24);
	assert_int_equal(cmos_get(&c, 0x32), 0x20);
	assert_int_equal(cmos_get(&c, 0x0d), 0x80);
	cmos_set(&c, 0x0b, 0x04); /* binary, 12 hours */
	assert_int_equal(cmos_get(&c, 0x00), 59);
	assert_int_equal(cmos_get(&c, 0x04), 0x80 | 11);
	test_time++;
	assert_int_equal(cmos_get(&c, 0x04), 12);
	assert_int_equal(cmos_get(&c, 0x08), 3);
}

static void cmos_takes_time(void **state)
{
	struct cmos c;

	(void)state;
	test_time = 1709251199;
	cmos_init(&c, test_now);
	cmos_set(&c, 0x0b, 0x82); /* stop */
	cmos_set(&c, 0x09, 0x30);
	cmos_set(&c, 0x07, 0x28);
	test_time += 5;
	assert_int_equal(cmos_get(&c, 0x00), 0x59);
	cmos_set(&c, 0x0b, 0x02);
	test_time += 1;
	assert_int_equal(cmos_get(&c, 0x00), 0x00);
	assert_int_equal(cmos_get(&c, 0x08), 0x03);
	assert_int_equal(cmos_get(&c, 0x09), 0x30);
	for (unsigned i = 0; i < 256; i++) /* nonsense must not hurt */
		for (unsigned reg = 0; reg < 128; reg++)
			cmos_set(&c, reg, i);
	for (unsigned reg = 0; reg < 256; reg++)
		cmos_get(&c, reg);
}

/* ---- ACPI ------------------------------------------------------------------------------------ */

static u8 sum(const u8 *p, size_t n)
{
	u8 s = 0;

	while (n--)
		s += *p++;
	return s;
}

static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static u64 get64(const u8 *p)
{
	u64 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static const u8 *check_table(const u8 *tables, u64 gpa, size_t used, u64 address, const char *signature)
{
	const u8 *t = tables + (address - gpa);

	assert_in_range(address, gpa, gpa + used - 36);
	assert_memory_equal(t, signature, 4);
	assert_in_range(get32(t + 4), 36, used - (address - gpa));
	assert_int_equal(sum(t, get32(t + 4)), 0);
	return t;
}

static const struct acpi_config acpi_test = {
	.cpus = 3,
	.serial = true,
	.serial_port = 0x3f8,
	.serial_gsi = 4,
	.cmos_port = 0x70,
	.sleep_control_port = 0x600,
	.sleep_status_port = 0x601,
	.reset_port = 0xcf9,
	.reset_value = 6,
};

static void acpi_checksums(void **state)
{
	static u8 tables[ACPI_TABLES_ROOM];
	const struct acpi_virtio virtio[2] = { { 0xd0000000, 0x1000, 16 }, { 0xd0001000, 0x1000, 17 } };
	struct acpi_config config = acpi_test;
	const u8 *xsdt, *fadt, *madt;
	u64 gpa = 0xe0000;
	size_t used;

	(void)state;
	config.virtio = virtio;
	config.nvirtio = 2;
	used = acpi_build(&config, tables, sizeof(tables), gpa);
	assert_in_range(used, 300, 2000);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
	xsdt = check_table(tables, gpa, used, get64(tables + 24), "XSDT");
	assert_int_equal(get32(xsdt + 4), 36 + 2 * 8);
	fadt = check_table(tables, gpa, used, get64(xsdt + 36), "FACP");
	madt = check_table(tables, gpa, used, get64(xsdt + 44), "APIC");
	assert_int_equal(get32(fadt + 4), 276);
	check_table(tables, gpa, used, get64(fadt + 140), "DSDT");
	assert_int_equal(get64(fadt + 116 + 4), 0xcf9);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(get64(fadt + 244 + 4), 0x600);
	assert_int_equal(get64(fadt + 256 + 4), 0x601);
	assert_int_equal(get32(madt + 4), 44 + 3 * 8 + 12 + 6);
}

static void acpi_without_room(void **state)
{
	(void)state;
	for (size_t room = 0; room < 700; room++) {
		u8 *tables = malloc(room + 1); /* exact, for the address sanitizer */

		if (acpi_build(&acpi_test, tables, room, 0xe0000) != 0)
			assert_true(room > 400);
		free(tables);
	}
}

/* ---- dispatch, memory ------------------------------------------------------------------------ */

static void count_io(void *opaque, u64 offset, u8 *data, unsigned size, bool write)
{
	(void)offset;
	if (!write)
		memset(data, 0x11, size);
	++*(unsigned *)opaque;
}

static void io_dispatch(void **state)
{
	struct io_space space = { 0 };
	unsigned calls = 0;
	u8 data[8];

	(void)state;
	assert_int_equal(io_register(&space, "a", 0x100, 8, count_io, &calls), 0);
	assert_int_equal(io_register(&space, "b", 0x107, 1, count_io, &calls), -1);
	assert_int_equal(io_register(&space, "top", UINT64_MAX - 7, 7, count_io, &calls), 0);
	io_access(&space, 0x104, data, 4, false);
	assert_int_equal(data[3], 0x11);
	io_access(&space, 0x106, data, 4, false); /* leaves the region */
	assert_int_equal(data[0], 0xff);
	io_access(&space, 0xff, data, 2, true);
	io_access(&space, UINT64_MAX, data, 8, false);
	assert_int_equal(data[7], 0xff);
	assert_int_equal(calls, 1);
}

static void memory_bounds(void **state)
{
	struct guest_memory memory;
	const u64 size = PCI_HOLE_START + (256ull << 20);

	(void)state;
	assert_int_equal(guest_memory_create(&memory, size), 0);
	assert_ptr_equal(guest_memory_at(&memory, 0, PCI_HOLE_START), memory.base);
	assert_null(guest_memory_at(&memory, 0, PCI_HOLE_START + 1));
	assert_null(guest_memory_at(&memory, PCI_HOLE_START - 1, 2));
	assert_null(guest_memory_at(&memory, PCI_HOLE_START, 0));
	assert_null(guest_memory_at(&memory, HIGH_MEMORY_START - 1, 2));
	assert_ptr_equal(guest_memory_at(&memory, HIGH_MEMORY_START, 1), memory.base + PCI_HOLE_START);
	assert_non_null(guest_memory_at(&memory, HIGH_MEMORY_START + (256 << 20) - 1, 1));
	assert_null(guest_memory_at(&memory, HIGH_MEMORY_START + (256 << 20), 1));
	assert_null(guest_memory_at(&memory, UINT64_MAX, 1));
	assert_null(guest_memory_at(&memory, 16, UINT64_MAX));
	assert_null(guest_memory_at(&memory, UINT64_MAX - 4, 16));
	guest_memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serial_transmits),
		cmocka_unit_test(serial_full_transmitter_says_so),
		cmocka_unit_test(serial_thre_interrupt),
		cmocka_unit_test(serial_receives),
		cmocka_unit_test(serial_loopback),
		cmocka_unit_test(serial_registers),
		cmocka_unit_test(cmos_tells_time),
		cmocka_unit_test(cmos_takes_time),
		cmocka_unit_test(acpi_checksums),
		cmocka_unit_test(acpi_without_room),
		cmocka_unit_test(io_dispatch),
		cmocka_unit_test(memory_bounds),
	};

	return cmocka_run_group_tests_name("vmm", tests, NULL, NULL);
}
