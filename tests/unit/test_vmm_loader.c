// SPDX-License-Identifier: GPL-2.0-only
/* Kernel files, whole and broken, before the VMM's loader. */
#define _GNU_SOURCE 1
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/fail.h"
#include "vmm/loader.h"

#define BZIMAGE_SIZE 8192
#define SETUP_SIZE (5 * 512)
#define ELF_SIZE 8192
#define KERNEL_ADDRESS 0x1000000

struct fixture {
	struct guest_memory memory;
	struct kernel_image image;
	u8 file[BZIMAGE_SIZE];
	size_t size;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return guest_memory_create(&f->memory, 64 << 20);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_memory_destroy(&f->memory);
	free(f);
	return 0;
}

/* The fixture's file through the loader. */
static int load(struct fixture *f)
{
	char path[64];
	int fd = memfd_create("kernel", 0), result;

	assert_int_equal(write(fd, f->file, f->size), f->size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	result = kernel_load(path, &f->memory, &f->image);
	close(fd);
	return result;
}

static void expect(struct fixture *f, const char *message)
{
	assert_int_equal(load(f), -1);
	if (!strstr(vmm_failure(), message))
		fail_msg("'%s' is not in '%s'", message, vmm_failure());
}

/* ---- bzImage --------------------------------------------------------------------------------- */

static struct setup_header *header(struct fixture *f)
{
	return (struct setup_header *)(f->file + 0x1f1);
}

static struct fixture *bzimage(void **state)
{
	struct fixture *f = *state;
	struct setup_header *h = header(f);

	memset(f->file, 0, sizeof(f->file));
	memset(f->file + SETUP_SIZE, 0xcc, BZIMAGE_SIZE - SETUP_SIZE);
	f->size = BZIMAGE_SIZE;
	*h = (struct setup_header){
		.setup_sects = 4,
		.syssize = (BZIMAGE_SIZE - SETUP_SIZE) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = LOADED_HIGH,
		.xloadflags = XLF_KERNEL_64,
		.pref_address = KERNEL_ADDRESS,
		.init_size = 0x100000,
		.cmdline_size = 100,
		.initrd_addr_max = 0x7fffffff,
	};
	return f;
}

static void bzimage_good(void **state)
{
	struct fixture *f = bzimage(state);
	struct linux_boot boot;
	char line[102];
	struct boot_params *bp;

	assert_int_equal(load(f), 0);
	assert_int_equal(f->image.entry, KERNEL_ADDRESS + 0x200);
	assert_int_equal(f->image.end, KERNEL_ADDRESS + 0x100000);
	assert_memory_equal(guest_memory_at(&f->memory, KERNEL_ADDRESS, 16), f->file + SETUP_SIZE, 16);
	assert_int_equal(linux_prepare(&f->memory, &f->image, "console=x", NULL, 0xe0000, &boot), 0);
	bp = guest_memory_at(&f->memory, boot.boot_params, sizeof(*bp));
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->acpi_rsdp_addr, 0xe0000);
	assert_string_equal((char *)guest_memory_at(&f->memory, bp->hdr.cmd_line_ptr, 10), "console=x");
	assert_int_equal(bp->e820_entries, 4);
	memset(line, 'x', 101);
	line[101] = 0;
	assert_int_equal(linux_prepare(&f->memory, &f->image, line, NULL, 0, &boot), -1);
	assert_non_null(strstr(vmm_failure(), "command line"));
	assert_int_equal(linux_prepare(&f->memory, &f->image, "", "/nonexistent", 0, &boot), -1);
	assert_int_equal(linux_prepare(&f->memory, &f->image, "", "/dev/zero", 0, &boot), -1);
}

static void bzimage_broken(void **state)
{
	struct fixture *f = bzimage(state);

	header(f)->boot_flag = 0;
	expect(f, "not a Linux kernel");
	header(bzimage(state))->header = 1;
	expect(f, "not a Linux kernel");
	header(bzimage(state))->loadflags = 0;
	expect(f, "zImage");
	header(bzimage(state))->version = 0x0209;
	expect(f, "too old");
	header(bzimage(state))->xloadflags = 0;
	expect(f, "32-bit");
	header(bzimage(state))->pref_address = 0;
	expect(f, "broken header");
	header(bzimage(state))->pref_address = UINT64_MAX;
	expect(f, "broken header");
	header(bzimage(state))->init_size = UINT32_MAX;
	expect(f, "needs at least");
	header(bzimage(state))->pref_address = 0x4000000;
	expect(f, "needs at least");
	header(bzimage(state))->syssize = UINT32_MAX;
	expect(f, "truncated");
	header(bzimage(state))->setup_sects = 255;
	expect(f, "truncated");
	bzimage(state)->size = 600;
	expect(f, "truncated");
	bzimage(state)->size = 511;
	expect(f, "too small");
	bzimage(state)->file[0x201] = 0; /* a header of no length */
	expect(f, "not a Linux kernel");
}

/* Every prefix and every changed byte of the header: an error or a kernel, never worse. */
static void bzimage_fuzz(void **state)
{
	struct fixture *f;
	struct linux_boot boot;

	for (size_t size = 0; size < BZIMAGE_SIZE - 16; size += 7) {
		f = bzimage(state);
		f->size = size;
		assert_int_equal(load(f), -1);
	}
	for (unsigned at = 0x1f1; at < 0x270; at++) {
		for (unsigned value = 0; value < 256; value += 51) {
			f = bzimage(state);
			f->file[at] = value;
			if (load(f) == 0)
				linux_prepare(&f->memory, &f->image, "a", "/proc/self/exe", 0, &boot);
		}
	}
}

/* ---- ELF ------------------------------------------------------------------------------------- */

static Elf64_Ehdr *ehdr(struct fixture *f)
{
	return (Elf64_Ehdr *)f->file;
}

static Elf64_Phdr *phdr(struct fixture *f)
{
	return (Elf64_Phdr *)(f->file + 64);
}

static struct fixture *elf(void **state)
{
	struct fixture *f = *state;

	memset(f->file, 0, sizeof(f->file));
	f->size = ELF_SIZE;
	*ehdr(f) = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = KERNEL_ADDRESS,
		.e_phoff = 64,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	phdr(f)[0] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_paddr = KERNEL_ADDRESS,
		.p_offset = 4096,
		.p_filesz = 4096,
		.p_memsz = 8192,
	};
	phdr(f)[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX };
	memset(f->file + 4096, 0x90, 4096);
	return f;
}

static void elf_good(void **state)
{
	struct fixture *f = elf(state);

	assert_int_equal(load(f), 0);
	assert_int_equal(f->image.entry, KERNEL_ADDRESS);
	assert_int_equal(f->image.end, KERNEL_ADDRESS + 8192);
	assert_memory_equal(guest_memory_at(&f->memory, KERNEL_ADDRESS, 4096), f->file + 4096, 4096);
}

static void elf_broken(void **state)
{
	struct fixture *f = elf(state);

	ehdr(f)->e_machine = EM_386;
	expect(f, "not for x86-64");
	ehdr(elf(state))->e_type = ET_DYN;
	expect(f, "not a kernel");
	ehdr(elf(state))->e_phnum = 0xffff;
	expect(f, "program headers");
	ehdr(elf(state))->e_phoff = UINT64_MAX - 3;
	assert_int_equal(load(f), -1);
	ehdr(elf(state))->e_entry = 0;
	expect(f, "entry");
	phdr(elf(state))->p_paddr = 0;
	expect(f, "below 1 MiB");
	phdr(elf(state))->p_paddr = 0xfffffffffffff000;
	expect(f, "segment");
	phdr(elf(state))->p_memsz = UINT64_MAX;
	expect(f, "segment");
	phdr(elf(state))->p_memsz = 1ull << 40;
	expect(f, "does not fit");
	phdr(elf(state))->p_filesz = 8193;
	expect(f, "segment");
	phdr(elf(state))->p_filesz = 4097;
	expect(f, "ends too early");
	phdr(elf(state))->p_offset = 1ull << 62;
	expect(f, "ends too early");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bzimage_good, setup, teardown),
		cmocka_unit_test_setup_teardown(bzimage_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(bzimage_fuzz, setup, teardown),
		cmocka_unit_test_setup_teardown(elf_good, setup, teardown),
		cmocka_unit_test_setup_teardown(elf_broken, setup, teardown),
	};

	return cmocka_run_group_tests_name("vmm loader", tests, NULL, NULL);
}
