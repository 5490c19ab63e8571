/*
 * What tests of networks share: a folder of their own, and frames that are made
 * of one byte.
 */
#ifndef KVIST_TESTS_NET_FRAMES_H
#define KVIST_TESTS_NET_FRAMES_H

#include "unit.h"

#include "devices/net/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/kvist-net-XXXXXX";

static inline int folder_make(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove(void **state)
{
	(void)state;
	return rmdir(folder);
}

static inline const char *in_folder(char path[64], const char *name)
{
	snprintf(path, 64, "%s/%s", folder, name);
	return path;
}

/* A frame with its header: @size bytes in all, each @fill. */
static inline ssize_t frame_send(struct net_backend *net, uint8_t fill,
				 size_t size)
{
	static uint8_t header[NET_HEADER], frame[70000];
	struct iovec iov[3] = { { header, 5 },
				{ header + 5, NET_HEADER - 5 },
				{ frame, size - NET_HEADER } };

	memset(frame, fill, sizeof(frame));
	return net->ops->send(net, iov, 3);
}

/* Its length and what it is made of, or -errno. */
static inline ssize_t frame_take(struct net_backend *net, uint8_t *fill)
{
	static uint8_t frame[70000];
	struct iovec iov[2] = { { frame, 20 },
				{ frame + 20, sizeof(frame) - 20 } };
	ssize_t n;

	memset(frame, 0xee, sizeof(frame));
	n = net->ops->receive(net, iov, 2);
	for (ssize_t i = 0; i < NET_HEADER && n > 0; i++)
		assert_int_equal(frame[i], 0);
	*fill = n > NET_HEADER ? frame[NET_HEADER] : 0;
	for (ssize_t i = NET_HEADER; i < n; i++)
		assert_int_equal(frame[i], *fill);
	return n;
}
#endif
