// SPDX-License-Identifier: GPL-2.0-only
/*
 * ACPI 6.4. Tables are appended to a buffer byte by byte, in the order DSDT, FADT, MADT, XSDT behind
 * the RSDP, so that each knows the addresses it needs. AML is what chapter 20 says; package lengths
 * always take their 3-byte form, which is legal and can be patched in afterwards.
 */
#include "vmm/acpi.h"

#include <string.h>

#define RSDP_SIZE 36
#define RSDP_V1_SIZE 20
#define HEADER_SIZE 36
#define FADT_SIZE 276

#define IOAPIC_ADDRESS 0xfec00000u
#define LAPIC_ADDRESS 0xfee00000u

#define GAS_SYSTEM_IO 1
#define GAS_BYTE_ACCESS 1

#define FADT_WBINVD BIT(0)
#define FADT_RESET_REG BIT(10)
#define FADT_HW_REDUCED BIT(20)
#define FADT_BOOT_NO_VGA BIT(2)
#define FADT_BOOT_NO_ASPM BIT(4)

#define RTC_CENTURY 0x32

enum {
	AML_ZERO = 0x00,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_EXT = 0x5b,
	AML_EXT_DEVICE = 0x82,
};

struct buffer {
	u8 *data;
	size_t used, room;
	bool overflow;
};

static void put(struct buffer *b, const void *data, size_t n)
{
	if (n > b->room - b->used) {
		b->overflow = true;
		return;
	}
	memcpy(b->data + b->used, data, n);
	b->used += n;
}

static void put8(struct buffer *b, u8 v)
{
	put(b, &v, sizeof(v));
}

static void put16(struct buffer *b, u16 v)
{
	put(b, &v, sizeof(v));
}

static void put32(struct buffer *b, u32 v)
{
	put(b, &v, sizeof(v));
}

static void put64(struct buffer *b, u64 v)
{
	put(b, &v, sizeof(v));
}

static void put_zeros(struct buffer *b, size_t n)
{
	while (n--)
		put8(b, 0);
}

static u8 checksum(const u8 *data, size_t n)
{
	u8 sum = 0;

	while (n--)
		sum += *data++;
	return -sum;
}

/* ---- table frames ---------------------------------------------------------------------------- */

static size_t table_begin(struct buffer *b, const char *signature, u8 revision)
{
	size_t start = b->used;

	put(b, signature, 4);
	put32(b, 0); /* length */
	put8(b, revision);
	put8(b, 0); /* checksum */
	put(b, "ANYKVM", 6);
	put(b, "ANYKVMVM", 8);
	put32(b, 1);
	put(b, "AKVM", 4);
	put32(b, 1);
	return start;
}

static void table_end(struct buffer *b, size_t start)
{
	u32 length = b->used - start;

	if (b->overflow)
		return;
	memcpy(b->data + start + 4, &length, sizeof(length));
	b->data[start + 9] = checksum(b->data + start, length);
	while (b->used % 16 && !b->overflow)
		put8(b, 0);
}

/* ---- AML ------------------------------------------------------------------------------------- */

static size_t aml_begin_package(struct buffer *b)
{
	put_zeros(b, 3);
	return b->used - 3;
}

/* 20.2.4: two bits of following byte count, then 4 + 8 + 8 bits of length, which counts itself. */
static void aml_end_package(struct buffer *b, size_t start)
{
	u32 length = b->used - start;

	if (b->overflow)
		return;
	b->data[start] = 2 << 6 | (length & 0xf);
	b->data[start + 1] = length >> 4;
	b->data[start + 2] = length >> 12;
}

static void aml_dword(struct buffer *b, u32 value)
{
	put8(b, AML_DWORD);
	put32(b, value);
}

static void aml_name(struct buffer *b, const char *name)
{
	put8(b, AML_NAME);
	put(b, name, 4);
}

static size_t aml_begin_device(struct buffer *b, const char *name)
{
	size_t start;

	put8(b, AML_EXT);
	put8(b, AML_EXT_DEVICE);
	start = aml_begin_package(b);
	put(b, name, 4);
	return start;
}

/* EISAID("PNPxxxx"): three letters of 5 bits, four hexadecimal digits, big-endian. */
static u32 eisa_pnp(u16 id)
{
	u16 letters = ('P' - '@') << 10 | ('N' - '@') << 5 | ('P' - '@');

	return __builtin_bswap32((u32)letters << 16 | id);
}

static void aml_hid_pnp(struct buffer *b, u16 id)
{
	aml_name(b, "_HID");
	aml_dword(b, eisa_pnp(id));
}

static void aml_hid_string(struct buffer *b, const char *id)
{
	aml_name(b, "_HID");
	put8(b, AML_STRING);
	put(b, id, strlen(id) + 1);
}

static void aml_uid(struct buffer *b, u32 uid)
{
	aml_name(b, "_UID");
	aml_dword(b, uid);
}

/* _CRS holds resource descriptors (6.4) of `size` bytes, put after this, and their end tag. */
static size_t aml_begin_crs(struct buffer *b, u8 size)
{
	size_t start;

	aml_name(b, "_CRS");
	put8(b, AML_BUFFER);
	start = aml_begin_package(b);
	put8(b, AML_BYTE);
	put8(b, size + 2);
	return start;
}

static void aml_end_crs(struct buffer *b, size_t start)
{
	put8(b, 0x79);
	put8(b, 0); /* no checksum */
	aml_end_package(b, start);
}

#define CRS_IO_SIZE 8
#define CRS_MEMORY_SIZE 12
#define CRS_IRQ_SIZE 9

static void crs_io(struct buffer *b, u16 port, u8 ports)
{
	put8(b, 0x47);
	put8(b, 1); /* decodes 16 bits */
	put16(b, port);
	put16(b, port);
	put8(b, 1);
	put8(b, ports);
}

static void crs_memory(struct buffer *b, u32 base, u32 size)
{
	put8(b, 0x86);
	put16(b, 9);
	put8(b, 1); /* writable */
	put32(b, base);
	put32(b, size);
}

static void crs_irq(struct buffer *b, u32 gsi)
{
	put8(b, 0x89);
	put16(b, 6);
	put8(b, 0x03); /* consumer, edge, active high, exclusive */
	put8(b, 1);
	put32(b, gsi);
}

static void aml_serial(struct buffer *b, const struct acpi_config *c)
{
	size_t device = aml_begin_device(b, "COM1"), crs;

	aml_hid_pnp(b, 0x0501);
	aml_uid(b, 0);
	crs = aml_begin_crs(b, CRS_IO_SIZE + CRS_IRQ_SIZE);
	crs_io(b, c->serial_port, 8);
	crs_irq(b, c->serial_gsi);
	aml_end_crs(b, crs);
	aml_end_package(b, device);
}

static void aml_clock(struct buffer *b, const struct acpi_config *c)
{
	size_t device = aml_begin_device(b, "RTC_"), crs;

	aml_hid_pnp(b, 0x0b00);
	crs = aml_begin_crs(b, CRS_IO_SIZE);
	crs_io(b, c->cmos_port, 2);
	aml_end_crs(b, crs);
	aml_end_package(b, device);
}

static void aml_virtio(struct buffer *b, const struct acpi_virtio *v, unsigned index)
{
	const char name[] = { 'V', 'R', '0' + index / 10, '0' + index % 10, 0 };
	size_t device = aml_begin_device(b, name), crs;

	aml_hid_string(b, "LNRO0005");
	aml_uid(b, index);
	aml_name(b, "_CCA");
	put8(b, AML_BYTE);
	put8(b, 1);
	crs = aml_begin_crs(b, CRS_MEMORY_SIZE + CRS_IRQ_SIZE);
	crs_memory(b, v->base, v->size);
	crs_irq(b, v->gsi);
	aml_end_crs(b, crs);
	aml_end_package(b, device);
}

/* \_S5: the sleep type to write into the sleep control register for power-off. */
static void aml_s5(struct buffer *b)
{
	size_t package;

	aml_name(b, "_S5_");
	put8(b, AML_PACKAGE);
	package = aml_begin_package(b);
	put8(b, 2);
	put8(b, AML_BYTE);
	put8(b, 5);
	put8(b, AML_ZERO);
	aml_end_package(b, package);
}

static void build_dsdt(struct buffer *b, const struct acpi_config *c)
{
	size_t table = table_begin(b, "DSDT", 2), scope;

	aml_s5(b);
	put8(b, AML_SCOPE);
	scope = aml_begin_package(b);
	put(b, "\\_SB_", 5);
	if (c->serial)
		aml_serial(b, c);
	aml_clock(b, c);
	for (unsigned i = 0; i < c->nvirtio; i++)
		aml_virtio(b, &c->virtio[i], i);
	aml_end_package(b, scope);
	table_end(b, table);
}

/* ---- the other tables ------------------------------------------------------------------------ */

static void put_io_register(struct buffer *b, u16 port)
{
	put8(b, GAS_SYSTEM_IO);
	put8(b, 8);
	put8(b, 0);
	put8(b, GAS_BYTE_ACCESS);
	put64(b, port);
}

/* 5.2.9. Of the fixed hardware there is none: its fields stay 0. */
static void build_fadt(struct buffer *b, const struct acpi_config *c, u64 dsdt)
{
	size_t table = table_begin(b, "FACP", 6);

	put_zeros(b, 108 - HEADER_SIZE);
	put8(b, RTC_CENTURY);
	put16(b, FADT_BOOT_NO_VGA | FADT_BOOT_NO_ASPM); /* and no 8042 */
	put8(b, 0);
	put32(b, FADT_WBINVD | FADT_RESET_REG | FADT_HW_REDUCED);
	put_io_register(b, c->reset_port);
	put8(b, c->reset_value);
	put16(b, 0); /* ARM boot flags */
	put8(b, 4);  /* minor version */
	put64(b, 0); /* no FACS */
	put64(b, dsdt);
	put_zeros(b, 244 - 148);
	put_io_register(b, c->sleep_control_port);
	put_io_register(b, c->sleep_status_port);
	put(b, "AnyKVM\0", 8); /* hypervisor vendor */
	table_end(b, table);
}

/* 5.2.12. ISA interrupts keep their numbers, so there are no overrides. */
static void build_madt(struct buffer *b, const struct acpi_config *c)
{
	size_t table = table_begin(b, "APIC", 5);

	put32(b, LAPIC_ADDRESS);
	put32(b, 1); /* 8259s are there too */
	for (unsigned i = 0; i < c->cpus; i++) {
		put8(b, 0); /* processor local APIC */
		put8(b, 8);
		put8(b, i);
		put8(b, i);
		put32(b, 1); /* enabled */
	}
	put8(b, 1); /* I/O APIC */
	put8(b, 12);
	put8(b, 0);
	put8(b, 0);
	put32(b, IOAPIC_ADDRESS);
	put32(b, 0);
	put8(b, 4); /* NMI on LINT1 of all */
	put8(b, 6);
	put8(b, 0xff);
	put16(b, 0);
	put8(b, 1);
	table_end(b, table);
}

static void build_xsdt(struct buffer *b, const u64 *tables, unsigned n)
{
	size_t table = table_begin(b, "XSDT", 1);

	for (unsigned i = 0; i < n; i++)
		put64(b, tables[i]);
	table_end(b, table);
}

static void build_rsdp(struct buffer *b, u64 xsdt)
{
	size_t start = b->used;

	put(b, "RSD PTR ", 8);
	put8(b, 0); /* checksum of version 1 */
	put(b, "ANYKVM", 6);
	put8(b, 2);
	put32(b, 0); /* no RSDT */
	put32(b, RSDP_SIZE);
	put64(b, xsdt);
	put8(b, 0); /* checksum of all */
	put_zeros(b, 3);
	b->data[start + 8] = checksum(b->data + start, RSDP_V1_SIZE);
	b->data[start + 32] = checksum(b->data + start, RSDP_SIZE);
}

size_t acpi_build(const struct acpi_config *config, u8 *out, size_t room, u64 gpa)
{
	struct buffer b = { .data = out, .used = 48, .room = room };
	struct buffer head = { .data = out, .room = 48 };
	u64 tables[2], dsdt, xsdt;

	if (room < 48)
		return 0;
	dsdt = gpa + b.used;
	build_dsdt(&b, config);
	tables[0] = gpa + b.used;
	build_fadt(&b, config, dsdt);
	tables[1] = gpa + b.used;
	build_madt(&b, config);
	xsdt = gpa + b.used;
	build_xsdt(&b, tables, ARRAY_SIZE(tables));
	if (b.overflow)
		return 0;
	build_rsdp(&head, xsdt);
	return b.used;
}
