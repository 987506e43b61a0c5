/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's end of the guest's serial line: the terminal (or whatever standard input and output
 * are), or a file. Outlives the machine, whose resets it does not notice.
 *
 * On a terminal it is raw meanwhile, and Ctrl-A is an escape character. The terminal is given back
 * by console_close(), and by handlers when the process dies of a fault.
 */
#ifndef ANYKVM_VMM_CONSOLE_H
#define ANYKVM_VMM_CONSOLE_H

#include "vmm/event.h"
#include "vmm/serial.h"

struct console;

/* Why the console wants the machine to end. */
enum console_end { CONSOLE_QUIT, CONSOLE_BROKEN_PIPE };

/* path: output goes to this file, and there is no input; NULL: standard input and output. */
struct console *console_open(const char *path);
void console_close(struct console *c);

/* Connects a UART; end() is called on the loop's thread. console_wake() is the UART's wire.wake. */
int console_attach(struct console *c, struct event_loop *loop, struct serial *serial,
		   void (*end)(void *opaque, enum console_end why), void *opaque);
void console_wake(struct console *c);
/* Writes out what the UART still has; gives up if a signal asks the process to end. */
void console_detach(struct console *c);

#endif
