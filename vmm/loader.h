/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Brings a Linux kernel into guest memory: a bzImage by the 64-bit boot protocol of
 * Documentation/arch/x86/boot.rst, or a 64-bit ELF vmlinux. Files are not trusted.
 */
#ifndef ANYKVM_VMM_LOADER_H
#define ANYKVM_VMM_LOADER_H

#include <asm/bootparam.h>

#include "host/types.h"
#include "vmm/memory.h"

struct kernel_image {
	struct setup_header header; /* as the file has it, or what an ELF kernel expects */
	u64 load;		    /* lowest gpa used */
	u64 end;		    /* first gpa free for others, the kernel's own needs included */
	u64 entry;		    /* 64-bit */
	u32 cmdline_max;	    /* characters, without the final 0 */
};

/* 0, or -1 with vmm_fail(). */
int kernel_load(const char *path, const struct guest_memory *memory, struct kernel_image *image);

struct linux_boot {
	u64 entry, boot_params, page_table, gdt;
};

/*
 * linux.c: command line, initrd, memory map, page tables, GDT around a loaded kernel. rsdp: gpa of
 * ACPI's root pointer, which lies with all tables in the BIOS area.
 */
int linux_prepare(const struct guest_memory *memory, const struct kernel_image *image, const char *cmdline,
		  const char *initrd, u64 rsdp, struct linux_boot *boot);

/* Reads all n bytes at offset; a file that ends before is an error. */
int file_read(int fd, const char *path, void *buffer, u64 n, u64 offset);

#endif
