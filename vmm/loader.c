// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/loader.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/fail.h"

#define SETUP_HEADER_OFFSET 0x1f1
#define SECTOR 512
#define BOOT_FLAG 0xaa55
#define HDRS 0x53726448 /* "HdrS" */
#define PROTOCOL_XLOADFLAGS 0x020c
#define STARTUP_64 0x200
#define LOW_LOAD 0x100000
#define DEFAULT_SETUP_SECTORS 4
#define DEFAULT_CMDLINE 255
#define ELF_CMDLINE 2047 /* COMMAND_LINE_SIZE of x86 kernels */
#define ELF_PHDRS_MAX 128

struct file {
	const char *path;
	int fd;
	u64 size;
};

int file_read(int fd, const char *path, void *buffer, u64 n, u64 offset)
{
	u8 *p = buffer;

	while (n) {
		/* The kernel moves at most 2 GiB at a time. */
		ssize_t got = pread(fd, p, min_u64(n, 1u << 30), offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return vmm_fail_errno("%s", path);
		if (got == 0)
			return vmm_fail("%s: file ends too early", path);
		p += got;
		n -= got;
		offset += got;
	}
	return 0;
}

static int load_range(const struct file *file, const struct guest_memory *memory, u64 gpa, u64 size,
		      u64 offset)
{
	void *to = guest_memory_at(memory, gpa, size);

	if (!to)
		return vmm_fail("%s: kernel does not fit into %llu MiB of memory", file->path,
				(unsigned long long)memory->size >> 20);
	guest_memory_prepare(to, size);
	return file_read(file->fd, file->path, to, size, offset);
}

/* ---- bzImage --------------------------------------------------------------------------------- */

static int read_header(const struct file *file, struct setup_header *header)
{
	u8 raw[SETUP_HEADER_OFFSET + sizeof(*header)] = { 0 };
	u64 size = min_u64(sizeof(raw), file->size), end;

	if (file_read(file->fd, file->path, raw, size, 0))
		return -1;
	/* The byte after the jump's opcode says where the header ends; older ones are shorter. */
	end = min_u64(0x202 + raw[0x201], size);
	memset(header, 0, sizeof(*header));
	if (end > SETUP_HEADER_OFFSET)
		memcpy(header, raw + SETUP_HEADER_OFFSET, end - SETUP_HEADER_OFFSET);
	return 0;
}

static int check_header(const struct file *file, const struct setup_header *h)
{
	if (h->boot_flag != BOOT_FLAG || h->header != HDRS)
		return vmm_fail("%s: not a Linux kernel (neither bzImage nor ELF)", file->path);
	if (!(h->loadflags & LOADED_HIGH))
		return vmm_fail("%s: a zImage, which loads low; a bzImage is needed", file->path);
	if (h->version < PROTOCOL_XLOADFLAGS)
		return vmm_fail("%s: boot protocol %u.%u is too old; 2.12 (Linux 3.8) is needed", file->path,
				h->version >> 8, h->version & 0xff);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return vmm_fail("%s: a 32-bit kernel; a 64-bit one is needed", file->path);
	return 0;
}

static int bzimage_place(const struct file *file, const struct guest_memory *memory, u64 payload,
			 struct kernel_image *image)
{
	const struct setup_header *h = &image->header;
	u64 needed = h->init_size > payload ? h->init_size : payload;

	image->load = h->pref_address;
	if (image->load < LOW_LOAD || image->load >= HIGH_MEMORY_START)
		return vmm_fail("%s: broken header (preferred address 0x%llx)", file->path,
				(unsigned long long)image->load);
	if (!guest_memory_at(memory, image->load, needed))
		return vmm_fail("%s: kernel needs at least %llu MiB of memory", file->path,
				(unsigned long long)(image->load + needed + (1 << 20) - 1) >> 20);
	image->end = image->load + needed;
	image->entry = image->load + STARTUP_64;
	image->cmdline_max = h->cmdline_size ? h->cmdline_size : DEFAULT_CMDLINE;
	return 0;
}

static int bzimage_load(const struct file *file, const struct guest_memory *memory,
			struct kernel_image *image)
{
	struct setup_header *h = &image->header;
	u64 setup, payload;

	if (read_header(file, h) || check_header(file, h))
		return -1;
	setup = ((h->setup_sects ? h->setup_sects : DEFAULT_SETUP_SECTORS) + 1) * SECTOR;
	if (file->size <= setup + STARTUP_64)
		return vmm_fail("%s: truncated: no kernel after its setup sectors", file->path);
	payload = file->size - setup;
	/* The header counts in 16 bytes; signed images are longer. */
	if (payload + 15 < (u64)h->syssize * 16)
		return vmm_fail("%s: truncated: %llu bytes are missing", file->path,
				(unsigned long long)((u64)h->syssize * 16 - payload));
	if (bzimage_place(file, memory, payload, image))
		return -1;
	return load_range(file, memory, image->load, payload, setup);
}

/* ---- ELF ------------------------------------------------------------------------------------- */

static int elf_check(const struct file *file, const Elf64_Ehdr *e)
{
	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB ||
	    e->e_machine != EM_X86_64)
		return vmm_fail("%s: an ELF file, but not for x86-64", file->path);
	if (e->e_type != ET_EXEC)
		return vmm_fail("%s: an ELF file, but not a kernel (not of type EXEC)", file->path);
	if (e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum == 0 || e->e_phnum > ELF_PHDRS_MAX)
		return vmm_fail("%s: broken ELF program headers", file->path);
	return 0;
}

static int elf_load_segment(const struct file *file, const struct guest_memory *memory, const Elf64_Phdr *p,
			    struct kernel_image *image)
{
	if (p->p_type != PT_LOAD || p->p_memsz == 0)
		return 0;
	if (p->p_filesz > p->p_memsz || p->p_paddr + p->p_memsz < p->p_paddr)
		return vmm_fail("%s: broken ELF segment", file->path);
	if (p->p_paddr < LOW_LOAD)
		return vmm_fail("%s: ELF segment at 0x%llx, below 1 MiB", file->path,
				(unsigned long long)p->p_paddr);
	/* The rest up to memsz is fresh memory, zero already. */
	if (!guest_memory_at(memory, p->p_paddr, p->p_memsz))
		return vmm_fail("%s: ELF segment at 0x%llx does not fit into memory", file->path,
				(unsigned long long)p->p_paddr);
	image->load = min_u64(image->load, p->p_paddr);
	image->end = max_u64(image->end, p->p_paddr + p->p_memsz);
	return load_range(file, memory, p->p_paddr, p->p_filesz, p->p_offset);
}

/* What the boot protocol says to tell a kernel that came without a header. */
static void elf_header(struct setup_header *h)
{
	*h = (struct setup_header){
		.boot_flag = BOOT_FLAG,
		.header = HDRS,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.kernel_alignment = 0x1000000,
		.initrd_addr_max = 0x7fffffff,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = ELF_CMDLINE,
	};
}

static int elf_load(const struct file *file, const struct guest_memory *memory, struct kernel_image *image)
{
	Elf64_Phdr phdr[ELF_PHDRS_MAX];
	Elf64_Ehdr ehdr;

	if (file_read(file->fd, file->path, &ehdr, sizeof(ehdr), 0) || elf_check(file, &ehdr) ||
	    file_read(file->fd, file->path, phdr, ehdr.e_phnum * sizeof(phdr[0]), ehdr.e_phoff))
		return -1;
	image->load = UINT64_MAX;
	for (unsigned i = 0; i < ehdr.e_phnum; i++)
		if (elf_load_segment(file, memory, &phdr[i], image))
			return -1;
	if (ehdr.e_entry < image->load || ehdr.e_entry >= image->end)
		return vmm_fail("%s: ELF entry 0x%llx is in no segment", file->path,
				(unsigned long long)ehdr.e_entry);
	if (image->end > HIGH_MEMORY_START)
		return vmm_fail("%s: ELF segments beyond 4 GiB", file->path);
	image->entry = ehdr.e_entry;
	image->cmdline_max = ELF_CMDLINE;
	elf_header(&image->header);
	return 0;
}

int kernel_load(const char *path, const struct guest_memory *memory, struct kernel_image *image)
{
	struct file file = { .path = path };
	unsigned char magic[SELFMAG];
	struct stat st;
	int result = -1;

	memset(image, 0, sizeof(*image));
	file.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file.fd < 0)
		return vmm_fail_errno("%s", path);
	if (fstat(file.fd, &st) < 0) {
		vmm_fail_errno("%s", path);
	} else if (!S_ISREG(st.st_mode)) {
		vmm_fail("%s: not a regular file", path);
	} else if (st.st_size < SECTOR) {
		vmm_fail("%s: too small for a kernel", path);
	} else {
		file.size = st.st_size;
		if (file_read(file.fd, path, magic, sizeof(magic), 0) == 0)
			result = memcmp(magic, ELFMAG, SELFMAG) == 0 ? elf_load(&file, memory, image)
								     : bzimage_load(&file, memory, image);
	}
	close(file.fd);
	return result;
}
