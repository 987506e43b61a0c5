// SPDX-License-Identifier: GPL-2.0-only
/* Workloads that exercise the guest's kernel: entries, page tables, processes, and code that changes. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

unsigned long workload_syscall(unsigned scale)
{
	unsigned long calls = scale * 4000ul;

	for (unsigned long i = 0; i < calls; i++)
		syscall(SYS_getppid);
	return calls;
}

unsigned long workload_fault(unsigned scale)
{
	enum { PAGES = 64, PAGE = 4096 };
	unsigned long rounds = scale * 8ul;

	for (unsigned long i = 0; i < rounds; i++) {
		volatile char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			fail("mmap");
		for (int page = 0; page < PAGES; page++)
			memory[page * PAGE] = 1;
		munmap((void *)memory, PAGES * PAGE);
	}
	return rounds * PAGES;
}

static void wait_for(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		fail("child process");
}

unsigned long workload_fork(unsigned scale)
{
	unsigned long count = scale * 4ul;

	for (unsigned long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		wait_for(child);
	}
	return count;
}

unsigned long workload_exec(unsigned scale)
{
	unsigned long count = scale * 2ul;

	for (unsigned long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child == 0) {
			execl("/proc/self/exe", "workload", "nothing", (char *)NULL);
			_exit(1);
		}
		wait_for(child);
	}
	return count;
}

unsigned long workload_pipe(unsigned scale)
{
	unsigned long count = scale * 100ul;
	int there[2], back[2];
	char byte = 'x';
	pid_t child;

	if (pipe(there) || pipe(back))
		fail("pipe");
	child = fork();
	if (child == 0) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	for (unsigned long i = 0; i < count; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			fail("ping-pong");
	close(there[1]);
	wait_for(child);
	close(there[0]);
	close(back[0]);
	close(back[1]);
	return count;
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int number)
{
	(void)number;
	signals_seen++;
}

unsigned long workload_signal(unsigned scale)
{
	unsigned long count = scale * 800ul;

	signal(SIGUSR1, on_signal);
	signals_seen = 0;
	for (unsigned long i = 0; i < count; i++)
		kill(getpid(), SIGUSR1);
	if ((unsigned long)signals_seen != count)
		fail("signals were lost");
	return count;
}

unsigned long workload_files(unsigned scale)
{
	/* Both the guest and any host have a tmpfs there. */
	static const char path[] = "/dev/shm/anykvm-bench";
	unsigned long count = scale * 80ul;
	char block[1024];

	memset(block, 'b', sizeof(block));
	for (unsigned long i = 0; i < count; i++) {
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

		if (fd < 0 || write(fd, block, sizeof(block)) != sizeof(block) || lseek(fd, 0, SEEK_SET) != 0 ||
		    read(fd, block, sizeof(block)) != sizeof(block) || close(fd) || unlink(path))
			fail(path);
	}
	return count;
}

unsigned long workload_smc(unsigned scale)
{
	/* mov $N, %eax; ret */
	static const uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
	unsigned long count = scale * 4000ul;
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned (*function)(void) = (unsigned (*)(void))(uintptr_t)page;

	if (page == MAP_FAILED)
		fail("mmap of writable code");
	memcpy(page, code, sizeof(code));
	for (uint32_t i = 0; i < count; i++) {
		memcpy(page + 1, &i, sizeof(i));
		asm volatile("" : : : "memory");
		if (function() != i)
			fail("changed code was not seen");
	}
	munmap(page, 4096);
	return count;
}
