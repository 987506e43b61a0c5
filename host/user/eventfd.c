/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Eventfds of the VMM's.
 *
 * Ours is a duplicate of the descriptor, so it outlives the VMM's. One object per kernel eventfd,
 * however often it is got: when it is signalled, its counter is read once and every listener is told.
 * Objects are recycled, never freed: epoll may still hand us a tag that has just gone.
 *
 * Where the program's write to such an eventfd passes through the shim, and the listener can be told at once, it is told on
 * that thread and nothing is written: the service thread, which costs a wake-up, stays out of it. The number by which the
 * eventfd was got may mean another file since, so that it is compared each time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "host/host.h"
#include "host/user/process.h"
#include "host/user/service.h"
#include "host/user/sys.h"

struct listener {
	bool (*now)(void *arg); /* or NULL */
	void (*notify)(void *arg);
	void *arg;
	u64 told; /* the last of the eventfd's signals that it was told of */
	struct listener *next;
};

/* All under the service lock. */
struct host_eventfd {
	int fd;
	int number; /* of the descriptor that it was got by first */
	u32 refs; /* 0: on the free list */
	u64 signals;
	struct listener *listeners;
	struct host_eventfd *next; /* live or free */
};

static struct host_eventfd *live, *unused;

/* By their numbers, those that somebody listens to. */
static struct host_eventfd *heard[4096];

/* ---- identity -------------------------------------------------------------------------------- */

static void fd_path(char *out, int fd)
{
	static const char prefix[] = "/proc/self/fd/";
	char digits[12];
	int n = 0;

	memcpy(out, prefix, sizeof(prefix) - 1);
	out += sizeof(prefix) - 1;
	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	while (n)
		*out++ = digits[--n];
	*out = 0;
}

static int check_is_eventfd(int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	const size_t len = sizeof(eventfd) - 1;
	char path[32], target[sizeof(eventfd)];
	struct stat st;
	long n;

	if (sys_fcntl(fd, F_GETFD, 0) < 0)
		return -EBADF;
	fd_path(path, fd);
	n = sys_call3(SYS_readlink, (long)path, (long)target, sizeof(target));
	if (n >= 0)
		return n == (long)len && !memcmp(target, eventfd, len) ? 0 : -EINVAL;
	/* No /proc in this jail: an anonymous inode, which has no file type, is as much as can be told. */
	if (sys_call3(SYS_fstat, fd, (long)&st, 0) || st.st_mode & S_IFMT)
		return -EINVAL;
	return 0;
}

/* Linux without CONFIG_KCMP, or a filter against it: distinct then, which costs a lost notification only
 * where one eventfd is used twice. */
static bool same_file(int a, int b)
{
	int pid = sys_getpid();

	return sys_call6(SYS_kcmp, pid, pid, KCMP_FILE, a, b, 0) == 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct host_eventfd *find_live(int fd)
{
	for (struct host_eventfd *e = live; e; e = e->next)
		if (same_file(e->fd, fd))
			return e;
	return NULL;
}

static struct host_eventfd *object_new(void)
{
	struct host_eventfd *e = unused;

	if (e)
		unused = e->next;
	else
		e = host_alloc(sizeof(*e));
	return e;
}

/* Caller holds the service lock. */
static int create_live(int fd, struct host_eventfd **out)
{
	struct host_eventfd *e = object_new();
	int copy;

	if (!e)
		return -ENOMEM;
	copy = sys_fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0) {
		e->next = unused;
		unused = e;
		return copy;
	}
	*e = (struct host_eventfd){ .fd = host_fd_move_high(copy), .number = fd, .refs = 1, .next = live };
	live = e;
	*out = e;
	return 0;
}

int host_eventfd_get(int fd, struct host_eventfd **out)
{
	int r = check_is_eventfd(fd);

	if (r)
		return r;
	host_service_lock();
	*out = find_live(fd);
	if (*out)
		(*out)->refs++;
	else
		r = create_live(fd, out);
	host_service_unlock();
	return r;
}

void host_eventfd_put(struct host_eventfd *e)
{
	struct host_eventfd **p = &live;

	host_service_lock();
	if (--e->refs == 0) {
		while (*p != e)
			p = &(*p)->next;
		*p = e->next;
		sys_close(e->fd);
		e->next = unused;
		unused = e;
	}
	host_service_unlock();
}

bool host_eventfd_same(const struct host_eventfd *a, const struct host_eventfd *b)
{
	return a == b;
}

void host_eventfd_forked(void)
{
	/* The objects are the parent's VMs'; their descriptors stay open, as KVM's references would. */
	live = unused = NULL;
	memset(heard, 0, sizeof(heard));
}

/* ---- signals --------------------------------------------------------------------------------- */

void host_eventfd_signal(struct host_eventfd *e, u64 n)
{
	sys_write(e->fd, &n, sizeof(n));
}

/* Takes the counter without blocking, though the VMM may have read it meanwhile. */
static bool consume(int fd)
{
	u64 count;
	struct iovec iov = { &count, sizeof(count) };
	struct pollfd poll = { .fd = fd, .events = POLLIN };
	long r = sys_call6(SYS_preadv2, fd, (long)&iov, 1, -1, -1, RWF_NOWAIT);

	if (r == -EOPNOTSUPP || r == -ENOSYS) { /* Linux before 5.9 */
		r = sys_call3(SYS_poll, (long)&poll, 1, 0);
		if (r == 1)
			r = sys_read(fd, &count, sizeof(count));
	}
	return r == sizeof(count);
}

/* One who has not heard of e's last signal. The list may have changed since the last call. */
static struct listener *next_untold(struct host_eventfd *e)
{
	struct listener *l = e->listeners;

	while (l && l->told == e->signals)
		l = l->next;
	return l;
}

void host_eventfd_ready(void *tag)
{
	struct host_eventfd *e = tag;
	struct listener *l;

	if (!e->refs || !e->listeners || !consume(e->fd))
		return;
	e->signals++;
	while (e->refs && (l = next_untold(e))) {
		l->told = e->signals;
		host_service_callback(l, l->notify, l->arg);
	}
}

/* ---- the program's writes -------------------------------------------------------------------- */

static struct host_eventfd **heard_slot(int fd)
{
	return (u32)fd < ARRAY_SIZE(heard) ? &heard[fd] : NULL;
}

static void note_heard(struct host_eventfd *e)
{
	struct host_eventfd **slot = heard_slot(e->number);

	if (slot)
		atomic_set(slot, e);
}

static void note_unheard(const struct host_eventfd *e)
{
	struct host_eventfd **slot = heard_slot(e->number);

	if (slot && *slot == e)
		atomic_set(slot, NULL);
}

bool host_eventfd_is_heard(int fd)
{
	struct host_eventfd **slot = heard_slot(fd);

	return slot && atomic_read(slot);
}

bool host_eventfd_tell(int fd)
{
	struct host_eventfd **slot = heard_slot(fd);
	const struct host_eventfd *e;
	const struct listener *l;
	bool told;

	host_service_lock();
	e = slot ? *slot : NULL;
	l = e ? e->listeners : NULL;
	told = l && !l->next && l->now && same_file(e->fd, fd) && l->now(l->arg);
	host_service_unlock();
	return told;
}

/* ---- listening ------------------------------------------------------------------------------- */

/* Signals happen in other processes, too: those are heard of on the service thread. */
int host_eventfd_listen(struct host_eventfd *e, bool (*now)(void *arg), void (*notify)(void *arg), void *arg)
{
	struct listener *l;
	int r = host_service_start();

	if (r)
		return r;
	l = host_alloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	host_service_lock();
	if (!e->listeners)
		r = host_service_watch(e->fd, e);
	if (!r) {
		*l = (struct listener){ now, notify, arg, e->signals, e->listeners };
		e->listeners = l;
		note_heard(e);
	}
	host_service_unlock();
	if (r)
		host_free(l);
	return r;
}

void host_eventfd_unlisten(struct host_eventfd *e, void (*notify)(void *arg), void *arg)
{
	struct listener **p = &e->listeners, *l;

	host_service_lock();
	while ((l = *p) && !(l->notify == notify && l->arg == arg))
		p = &l->next;
	if (l) {
		*p = l->next;
		if (!e->listeners) {
			host_service_unwatch(e->fd);
			note_unheard(e);
		}
		host_service_wait(l);
	}
	host_service_unlock();
	host_free(l);
}
