/*
 * A listening socket in the file system, for its owner's user alone.
 *
 * Main thread. The file is removed at the end, if it is still this one; that of
 * a process which died without doing so is replaced.
 */
#ifndef KVIST_UTIL_LISTENER_H
#define KVIST_UTIL_LISTENER_H

#include <sys/types.h>

struct listener {
	int fd; /* does not block; -1: closed */
	const char *path;
	dev_t dev; /* of the file, to remove only ours */
	ino_t ino;
};

/* @path is borrowed, and so is @noun for the message: "serial". 0 or -errno,
 * logged. */
int listener_open(struct listener *listener, const char *noun,
		  const char *path);
void listener_close(struct listener *listener);

/* The next client, a descriptor that does not block, or -1: it has left. */
int listener_accept(const struct listener *listener);

#endif
