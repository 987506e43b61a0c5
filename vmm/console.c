// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/fail.h"

#define ESCAPE 1 /* Ctrl-A */
#define INPUT_SIZE 1024
/* A terminal or pipe that is ready for output takes this much without blocking. */
#define OUTPUT_CHUNK 512

struct console {
	int in, out;
	int wake_fd;
	bool escaped;
	bool broken;
	u8 input[INPUT_SIZE]; /* read, and not yet taken by the guest */
	size_t input_used;
	struct event_source input_source, output_source, wake_source;
	struct event_loop *loop;
	struct serial *serial;
	void (*end)(void *opaque, enum console_end why);
	void *opaque;
};

/* The terminal to give back; static, for the fault handlers. */
static struct termios terminal_saved;
static volatile sig_atomic_t terminal_raw;

static const int fault_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };

static void terminal_restore(void)
{
	if (terminal_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal_saved);
	terminal_raw = 0;
}

static void fault_handler(int signal)
{
	terminal_restore();
	raise(signal); /* by default now (SA_RESETHAND) */
}

/* Raw but for output, where a plain newline of ours still starts a line. */
static void terminal_set_raw(void)
{
	struct sigaction action = { .sa_handler = fault_handler, .sa_flags = SA_RESETHAND };
	struct termios raw = terminal_saved;

	for (size_t i = 0; i < ARRAY_SIZE(fault_signals); i++)
		sigaction(fault_signals[i], &action, NULL);
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST | ONLCR;
	terminal_raw = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void open_terminal(struct console *c)
{
	if (!isatty(STDIN_FILENO))
		return;
	/* In the background the terminal is not ours: touching it would stop us. */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &terminal_saved) < 0)
		c->in = -1;
	else
		terminal_set_raw();
}

struct console *console_open(const char *path)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c) {
		vmm_fail_errno("console");
		return NULL;
	}
	c->in = path ? -1 : STDIN_FILENO;
	c->out = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : STDOUT_FILENO;
	if (c->out < 0) {
		vmm_fail_errno("%s", path);
		free(c);
		return NULL;
	}
	c->wake_fd = event_fd();
	if (c->wake_fd < 0) {
		console_close(c);
		return NULL;
	}
	if (!path)
		open_terminal(c);
	return c;
}

void console_close(struct console *c)
{
	terminal_restore();
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	if (c->out != STDOUT_FILENO)
		close(c->out);
	free(c);
}

/* ---- input ----------------------------------------------------------------------------------- */

static void show_help(void)
{
	static const char help[] = "\nCtrl-A h    this help\n"
				   "Ctrl-A x    end anykvm, switching the guest off\n"
				   "Ctrl-A Ctrl-A    send Ctrl-A to the guest\n";

	if (write(STDERR_FILENO, help, sizeof(help) - 1) < 0)
		return; /* nobody to tell */
}

/* True if the byte is for the guest. */
static bool filter(struct console *c, u8 byte)
{
	if (!terminal_raw)
		return true;
	if (!c->escaped) {
		c->escaped = byte == ESCAPE;
		return !c->escaped;
	}
	c->escaped = false;
	if (byte == 'x')
		c->end(c->opaque, CONSOLE_QUIT);
	else if (byte == 'h' || byte == '?')
		show_help();
	return byte == ESCAPE;
}

/* Gives the guest what it takes, and reads on only when that is all: else it would pile up here. */
static void feed(struct console *c)
{
	size_t taken = serial_receive(c->serial, c->input, c->input_used);

	c->input_used -= taken;
	memmove(c->input, c->input + taken, c->input_used);
	/* A terminal is always read, or its escape would not work while the guest does not listen. */
	c->input_source.events = c->in >= 0 && (!c->input_used || terminal_raw) ? POLLIN : 0;
}

static void input_ready(struct event_source *source, short revents)
{
	struct console *c = container_of(source, struct console, input_source);
	u8 bytes[256];
	ssize_t n = read(c->in, bytes, sizeof(bytes));

	(void)revents;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		c->in = -1; /* end of file: never polled again */
	for (ssize_t i = 0; i < n; i++)
		if (filter(c, bytes[i]) && c->input_used < INPUT_SIZE)
			c->input[c->input_used++] = bytes[i];
	feed(c);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Writes one chunk. False when there is nothing more to write, or nowhere to. */
static bool output(struct console *c)
{
	u8 bytes[OUTPUT_CHUNK];
	size_t n = serial_transmit(c->serial, bytes, sizeof(bytes));
	ssize_t done = n;

	if (n == 0)
		return false;
	if (!c->broken)
		done = write(c->out, bytes, n);
	if (done < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (done < 0) {
		/* Full disk, closed pipe: the guest shall not hang for it. */
		c->broken = true;
		if (errno == EPIPE)
			c->end(c->opaque, CONSOLE_BROKEN_PIPE);
		done = n;
	}
	return serial_transmitted(c->serial, done);
}

static void output_ready(struct event_source *source, short revents)
{
	struct console *c = container_of(source, struct console, output_source);

	(void)revents;
	source->events = output(c) ? POLLOUT : 0;
}

static void wake_ready(struct event_source *source, short revents)
{
	struct console *c = container_of(source, struct console, wake_source);

	(void)revents;
	event_fd_clear(source->fd);
	c->output_source.events = POLLOUT;
	feed(c);
}

void console_wake(struct console *c)
{
	event_fd_signal(c->wake_fd);
}

int console_attach(struct console *c, struct event_loop *loop, struct serial *serial,
		   void (*end)(void *opaque, enum console_end why), void *opaque)
{
	c->loop = loop;
	c->serial = serial;
	c->end = end;
	c->opaque = opaque;
	c->input_source = (struct event_source){ .fd = c->in, .ready = input_ready };
	c->output_source = (struct event_source){ .fd = c->out, .ready = output_ready };
	c->wake_source = (struct event_source){ .fd = c->wake_fd, .events = POLLIN, .ready = wake_ready };
	if (event_loop_add(loop, &c->wake_source) || event_loop_add(loop, &c->output_source) ||
	    event_loop_add(loop, &c->input_source))
		return -1;
	feed(c);
	return 0;
}

static bool signal_pending(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
	       sigismember(&pending, SIGHUP) || sigismember(&pending, SIGQUIT);
}

void console_detach(struct console *c)
{
	struct pollfd polled = { .fd = c->out, .events = POLLOUT };
	bool more = c->serial != NULL;

	while (more && !signal_pending())
		if (poll(&polled, 1, 100) > 0)
			more = output(c);
	c->serial = NULL;
}
