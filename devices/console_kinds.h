/*
 * Between the files of the console: what each kind does when it is opened and
 * closed. Main thread. Each _open: 0 or -errno, logged.
 */
#ifndef KVIST_DEVICES_CONSOLE_KINDS_H
#define KVIST_DEVICES_CONSOLE_KINDS_H

#include "devices/console.h"

int stdio_open(struct console *console);
void stdio_begin(struct console *console);
void stdio_close(struct console *console);
/* Takes the keys meant for kvist out of @len typed bytes; returns how many
 * remain for the guest. */
size_t stdio_keys(struct console *console, uint8_t *bytes, size_t len);

int pty_open(struct console *console);
/* The reader has hung up; the next one is awaited. */
void pty_disconnect(struct console *console);
void pty_close(struct console *console);

int unix_open(struct console *console);
void unix_disconnect(struct console *console);
void unix_close(struct console *console);

/* Someone is there: watches console->in, if it is open. 0 or -errno. */
int console_connect(struct console *console);
/* No one is there any more: watches neither in nor out, drops what was typed.
 */
void console_disconnect(struct console *console);

#endif
