// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eventfds of the VMM's, by their own wait queue: a signal takes the counter where it happens, maybe in an interrupt, and
 * asks the listener there; what that cannot do at once a worker lets it do. The file is held, so nobody has to learn that the VMM has closed it.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include "host/host.h"
#include "host/linux/module.h"

struct listener {
	bool (*now)(void *arg);
	void (*notify)(void *arg);
	void *arg;
	struct host_eventfd *event;
	struct wait_queue_entry wait;
	struct wait_queue_head *queue;
	poll_table table;
	struct work_struct work;
	struct listener *next;
};

/* One for each get; its listeners come and go under a lock of the caller's. */
struct host_eventfd {
	struct file *file;
	struct eventfd_ctx *ctx;
	struct listener *listeners;
};

int host_eventfd_get(int fd, struct host_eventfd **out)
{
	struct file *file = eventfd_fget(fd);
	struct host_eventfd *e;

	if (IS_ERR(file))
		return PTR_ERR(file);
	e = host_alloc(sizeof(*e));
	if (!e) {
		fput(file);
		return -ENOMEM;
	}
	e->file = file;
	e->ctx = eventfd_ctx_fileget(file);
	*out = e;
	return 0;
}

void host_eventfd_put(struct host_eventfd *e)
{
	eventfd_ctx_put(e->ctx);
	fput(e->file);
	host_free(e);
}

bool host_eventfd_same(const struct host_eventfd *a, const struct host_eventfd *b)
{
	return a->ctx == b->ctx;
}

void host_eventfd_signal(struct host_eventfd *e, u64 n)
{
	eventfd_signal(e->ctx, n);
}

/* ---- listeners --------------------------------------------------------------------------------------- */

/* The queue's lock is held. */
static void take(struct listener *l)
{
	u64 count;

	eventfd_ctx_do_read(l->event->ctx, &count);
	if (!l->now || !l->now(l->arg))
		queue_work(host_workqueue, &l->work);
}

static int woken(struct wait_queue_entry *wait, unsigned int mode, int sync, void *key)
{
	if (key_to_poll(key) & EPOLLIN)
		take(container_of(wait, struct listener, wait));
	return 0;
}

static void listener_work(struct work_struct *work)
{
	struct listener *l = container_of(work, struct listener, work);

	l->notify(l->arg);
}

static void queue_listener(struct file *file, struct wait_queue_head *queue, poll_table *table)
{
	struct listener *l = container_of(table, struct listener, table);

	l->queue = queue;
	add_wait_queue_priority(queue, &l->wait);
}

int host_eventfd_listen(struct host_eventfd *e, bool (*now)(void *arg), void (*notify)(void *arg), void *arg)
{
	struct listener *l = host_alloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->now = now;
	l->notify = notify;
	l->arg = arg;
	l->event = e;
	INIT_WORK(&l->work, listener_work);
	init_waitqueue_func_entry(&l->wait, woken);
	init_poll_funcptr(&l->table, queue_listener);
	if (vfs_poll(e->file, &l->table) & EPOLLIN) {
		spin_lock_irq(&l->queue->lock);
		take(l);
		spin_unlock_irq(&l->queue->lock);
	}
	l->next = e->listeners;
	e->listeners = l;
	return 0;
}

void host_eventfd_unlisten(struct host_eventfd *e, void (*notify)(void *arg), void *arg)
{
	struct listener **p = &e->listeners, *l;

	while ((l = *p) && !(l->notify == notify && l->arg == arg))
		p = &l->next;
	if (!l)
		return;
	*p = l->next;
	remove_wait_queue(l->queue, &l->wait);
	cancel_work_sync(&l->work);
	host_free(l);
}
