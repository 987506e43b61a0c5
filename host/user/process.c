/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process and its copies.
 *
 * After fork the child has the parent's memory but none of its threads, and may not run its VMs. Two
 * mechanisms tell: a page that the kernel wipes in the child (holds for every kind of fork, costs one
 * load), and pthread's fork handlers, which drop locks and threads that did not come along. A vfork
 * child shares our memory, so neither fires; host_in_vfork_child() asks the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host/host.h"
#include "host/user/process.h"
#include "host/user/signals.h"
#include "host/user/sys.h"

#define PAGE_SIZE 4096
#define GETRANDOM_CHUNK 256

/* In the page that a child of fork finds zeroed. */
struct identity {
	u64 id;
	u32 pid;
};

static struct identity *identity_page;
static struct host_mutex init_lock;
static bool initialised;

static struct identity *identity_create(void)
{
	struct identity *page = host_alloc_pages(PAGE_SIZE), *nobody = NULL;

	if (!page)
		return NULL;
	/* Linux before 4.14 has no such advice; the fork handler below does what it can there. */
	sys_call3(SYS_madvise, (long)page, PAGE_SIZE, MADV_WIPEONFORK);
	if (__atomic_compare_exchange_n(&identity_page, &nobody, page, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return page;
	host_free_pages(page, PAGE_SIZE);
	return nobody;
}

static struct identity *identity(void)
{
	struct identity *page = atomic_read_acquire(&identity_page);
	u64 id, none = 0;

	if (unlikely(!page) && !(page = identity_create()))
		return NULL;
	if (likely(atomic_read_acquire(&page->id)))
		return page;
	/* Processes differ in the upper half; a recycled pid, most likely, in the lower one. */
	id = (u64)sys_getpid() << 32 | (u32)host_tsc() | 1;
	atomic_set_release(&page->pid, (u32)(id >> 32));
	__atomic_compare_exchange_n(&page->id, &none, id, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return page;
}

u64 host_mm_id(void)
{
	struct identity *me = identity();

	return likely(me) ? atomic_read(&me->id) : (u64)sys_getpid() << 32;
}

bool host_in_vfork_child(void)
{
	struct identity *me = identity();

	return me && atomic_read(&me->pid) != (u32)sys_getpid();
}

static void forked_child(void)
{
	struct identity *me = atomic_read(&identity_page);

	if (me)
		atomic_set(&me->id, 0);
	identity();
	host_mutex_init(&init_lock);
	host_signals_forked();
	host_service_forked();
	host_eventfd_forked();
	host_file_forked();
}

int host_user_init(void)
{
	int r = 0;

	if (atomic_read_acquire(&initialised))
		return 0;
	host_mutex_lock(&init_lock);
	if (!initialised) {
		if (!identity())
			r = -ENOMEM;
		else
			r = -pthread_atfork(NULL, NULL, forked_child);
		if (!r) {
			host_signals_claim(HOST_FAULT_SIGNALS);
			atomic_set_release(&initialised, true);
		}
	}
	host_mutex_unlock(&init_lock);
	return r;
}

int host_fd_move_high(int fd)
{
	struct rlimit limit = { .rlim_cur = 256 };
	unsigned long from;
	int high;

	sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
	from = min_u64(limit.rlim_cur / 2, 1024);
	high = sys_fcntl(fd, F_DUPFD_CLOEXEC, from);
	if (high < 0)
		return fd; /* crowded up there: the low number does as well */
	sys_close(fd);
	return high;
}

u32 host_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (u32)n : 1;
}

/* Linux says "notsupported" or "forceoff" where it never will; no such file: nobody knows. */
bool host_smt_possible(void)
{
	int fd = (int)sys_call3(SYS_open, (long)"/sys/devices/system/cpu/smt/control", O_RDONLY | O_CLOEXEC, 0);
	char word[4] = "";

	if (fd < 0)
		return true;
	sys_read(fd, word, sizeof(word));
	sys_close(fd);
	return !(word[0] == 'n' || (word[0] == 'f' && word[1] == 'o'));
}

u32 host_process_id(void)
{
	return (u32)getpid();
}

u32 host_cpu_number(void)
{
	u32 cpu = 0;

	sys_call3(SYS_getcpu, (long)&cpu, 0, 0);
	return cpu;
}

void host_random(void *buf, size_t n)
{
	u8 *p = buf;

	while (n) {
		long got = sys_call3(SYS_getrandom, (long)p, (long)min_u64(n, GETRANDOM_CHUNK), 0);

		if (got == -EINTR)
			continue;
		if (got <= 0) { /* no getrandom (Linux before 3.17, a seccomp filter): not for keys, then */
			*p = (u8)(host_tsc() * 0x9e3779b97f4a7c15ull >> 56);
			got = 1;
		}
		p += got;
		n -= (size_t)got;
	}
}
