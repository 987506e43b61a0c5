// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything around the kernel that its 64-bit entry point expects. Low memory:
 *
 *   0x00500  GDT                0x09000  page tables: 4 GiB mapped 1:1 by 2 MiB pages
 *   0x07000  boot_params        0x20000  command line, up to 64 KiB
 *   0x9fc00  EBDA (empty) ...   0xe0000  ACPI tables
 *   0xffff0  the BIOS's entry point: resets the machine
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/fail.h"
#include "vmm/loader.h"

#define GDT 0x500
#define BOOT_PARAMS 0x7000
#define PAGE_TABLES 0x9000
#define CMDLINE 0x20000
#define CMDLINE_ROOM 0x10000
#define EBDA 0x9fc00
#define BIOS_AREA 0xe0000
#define BIOS_ENTRY 0xffff0 /* f000:fff0 */
#define MEGABYTE 0x100000
#define PAGE 4096

#define LOADER_UNREGISTERED 0xff
#define E820_RAM 1
#define E820_RESERVED 2

#define PTE_PRESENT_WRITE 3
#define PTE_HUGE 0x80
#define MAPPED_GIB 4

/* Descriptors at the selectors that the protocol names: code 0x10, data 0x18; a TSS for VMX's sake. */
static const u64 gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x008f8b000000ffff };

static void write_gdt(const struct guest_memory *memory)
{
	memcpy(guest_memory_at(memory, GDT, sizeof(gdt)), gdt, sizeof(gdt));
}

static void write_page_tables(const struct guest_memory *memory)
{
	u64 *table = guest_memory_at(memory, PAGE_TABLES, (2 + MAPPED_GIB) * PAGE);
	u64 *pml4 = table, *pdpt = table + 512, *pd = table + 1024;

	pml4[0] = (PAGE_TABLES + PAGE) | PTE_PRESENT_WRITE;
	for (u64 i = 0; i < MAPPED_GIB; i++)
		pdpt[i] = (PAGE_TABLES + (2 + i) * PAGE) | PTE_PRESENT_WRITE;
	for (u64 i = 0; i < MAPPED_GIB * 512; i++)
		pd[i] = i << 21 | PTE_HUGE | PTE_PRESENT_WRITE;
}

/*
 * Linux jumps there in real mode to reset a hardware-reduced machine without EFI, before it tries
 * ACPI's register. Writes 6 to port 0xcf9 (power.c).
 */
static void write_bios_entry(const struct guest_memory *memory)
{
	static const u8 code[] = {
		0xb0, 0x06,	  /*    mov $6, %al */
		0xba, 0xf9, 0x0c, /*    mov $0xcf9, %dx */
		0xee,		  /*    out %al, %dx */
		0xf4,		  /* 1: hlt */
		0xeb, 0xfd,	  /*    jmp 1b */
	};

	memcpy(guest_memory_at(memory, BIOS_ENTRY, sizeof(code)), code, sizeof(code));
}

static void e820_add(struct boot_params *bp, u64 start, u64 end, u32 type)
{
	bp->e820_table[bp->e820_entries++] =
		(struct boot_e820_entry){ .addr = start, .size = end - start, .type = type };
}

static void write_e820(struct boot_params *bp, const struct guest_memory *memory)
{
	e820_add(bp, 0, EBDA, E820_RAM);
	e820_add(bp, EBDA, 0xa0000, E820_RESERVED);
	e820_add(bp, BIOS_AREA, MEGABYTE, E820_RESERVED);
	e820_add(bp, MEGABYTE, memory->slot[0].size, E820_RAM);
	for (unsigned i = 1; i < memory->nslots; i++)
		e820_add(bp, memory->slot[i].gpa, memory->slot[i].gpa + memory->slot[i].size, E820_RAM);
}

static int write_cmdline(const struct guest_memory *memory, const struct kernel_image *image,
			 const char *cmdline)
{
	size_t length = strlen(cmdline);

	if (length > image->cmdline_max || length >= CMDLINE_ROOM)
		return vmm_fail("kernel command line: %zu characters, but this kernel takes %u", length,
				image->cmdline_max);
	memcpy(guest_memory_at(memory, CMDLINE, length + 1), cmdline, length + 1);
	return 0;
}

/* As high as it may go, out of the way of a kernel that unpacks itself. */
static int place_initrd(const struct guest_memory *memory, const struct kernel_image *image, const char *path,
			u64 size, u64 *gpa)
{
	u64 limit = min_u64((u64)image->header.initrd_addr_max + 1, memory->slot[0].size);

	if (size > limit || ((limit - size) & ~(u64)(PAGE - 1)) < image->end)
		return vmm_fail("%s: no room for %llu MiB of initrd; more --memory is needed", path,
				(unsigned long long)(size + (1 << 20) - 1) >> 20);
	*gpa = (limit - size) & ~(u64)(PAGE - 1);
	return 0;
}

static int read_initrd(int fd, const struct guest_memory *memory, const struct kernel_image *image,
		       const char *path, struct setup_header *header)
{
	struct stat st;
	u64 gpa = 0;
	u8 *to;

	if (fstat(fd, &st) < 0)
		return vmm_fail_errno("%s", path);
	if (!S_ISREG(st.st_mode))
		return vmm_fail("%s: not a regular file", path);
	if (place_initrd(memory, image, path, st.st_size, &gpa))
		return -1;
	header->ramdisk_image = gpa;
	header->ramdisk_size = st.st_size;
	to = guest_memory_at(memory, gpa, st.st_size);
	guest_memory_prepare(to, st.st_size);
	return file_read(fd, path, to, st.st_size, 0);
}

static int load_initrd(const struct guest_memory *memory, const struct kernel_image *image, const char *path,
		       struct setup_header *header)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result;

	if (fd < 0)
		return vmm_fail_errno("%s", path);
	result = read_initrd(fd, memory, image, path, header);
	close(fd);
	return result;
}

int linux_prepare(const struct guest_memory *memory, const struct kernel_image *image, const char *cmdline,
		  const char *initrd, u64 rsdp, struct linux_boot *boot)
{
	struct boot_params *bp = guest_memory_at(memory, BOOT_PARAMS, sizeof(*bp));

	if (memory->slot[0].size <= MEGABYTE || image->load < MEGABYTE)
		return vmm_fail("too little memory");
	memset(bp, 0, sizeof(*bp));
	bp->hdr = image->header;
	bp->hdr.type_of_loader = LOADER_UNREGISTERED;
	bp->hdr.cmd_line_ptr = CMDLINE;
	bp->acpi_rsdp_addr = rsdp;
	write_e820(bp, memory);
	if (write_cmdline(memory, image, cmdline))
		return -1;
	if (initrd && load_initrd(memory, image, initrd, &bp->hdr))
		return -1;
	write_bios_entry(memory);
	write_gdt(memory);
	write_page_tables(memory);
	*boot = (struct linux_boot){
		.entry = image->entry,
		.boot_params = BOOT_PARAMS,
		.page_table = PAGE_TABLES,
		.gdt = GDT,
	};
	return 0;
}
