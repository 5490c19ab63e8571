#include "devices/net/passt.h"

#include "util/bytes.h"
#include "util/checked.h"
#include "util/iov.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LENGTH    4
#define FRAME_MAX (PASST_MTU_MAX + ETH_HLEN + 4)

struct passt {
	struct net_backend net;
	/* What has come and was not asked for yet: first .. end - 1. */
	size_t first, end;
	uint8_t buffer[2 * (LENGTH + FRAME_MAX)];
	struct iovec out[1024]; /* of one frame that is sent */
};

static struct passt *from_net(struct net_backend *net)
{
	return container_of(net, struct passt, net);
}

/*
 * A frame is taken whole or not at all: poll(2) calls the socket writable when
 * a quarter of its buffer is in use at most, and what is left is more than the
 * longest frame.
 */
static ssize_t passt_send(struct net_backend *net, const struct iovec *iov,
			  int iovcnt)
{
	struct passt *passt = from_net(net);
	struct pollfd room = { net->fd, POLLOUT, 0 };
	uint64_t len = iov_total(iov, iovcnt), taken;
	uint8_t length[LENGTH];
	struct msghdr msg = { .msg_iov = passt->out };
	ssize_t n;

	if (len < NET_HEADER + ETH_HLEN || len > NET_HEADER + FRAME_MAX)
		return -EMSGSIZE;
	if (poll(&room, 1, 0) == 0)
		return -EAGAIN;
	put_be32(length, len - NET_HEADER);
	passt->out[0] = (struct iovec){ length, LENGTH };
	/* Without the header of virtio, which is all zeros here. */
	msg.msg_iovlen = 1 + iov_slice(passt->out + 1,
				       ARRAY_SIZE(passt->out) - 1, iov, iovcnt,
				       NET_HEADER, len - NET_HEADER, &taken);
	if (taken < len - NET_HEADER)
		return -EMSGSIZE;
	n = sendmsg(net->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if ((uint64_t)n == len - NET_HEADER + LENGTH)
		return (ssize_t)len;
	/* The rest would be taken for the next frame's length. */
	shutdown(net->fd, SHUT_RDWR);
	return -EPIPE;
}

/* More of the stream. Bytes, or -errno. */
static ssize_t read_more(struct passt *passt)
{
	ssize_t n;

	memmove(passt->buffer, passt->buffer + passt->first,
		passt->end - passt->first);
	passt->end -= passt->first;
	passt->first = 0;
	n = recv(passt->net.fd, passt->buffer + passt->end,
		 sizeof(passt->buffer) - passt->end, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	passt->end += n;
	return n ? n : -ENOTCONN; /* passt has ended */
}

static ssize_t passt_receive(struct net_backend *net, const struct iovec *iov,
			     int iovcnt)
{
	static const uint8_t header[NET_HEADER];
	struct passt *passt = from_net(net);
	bool had_more = false;

	while (1) {
		size_t have = passt->end - passt->first;
		uint8_t *at = passt->buffer + passt->first;
		uint32_t len = have < LENGTH ? 0 : get_be32(at);
		ssize_t n;

		/* It is not passt, or its frames cannot be told apart. */
		if (len > FRAME_MAX)
			return -ECONNRESET;
		if (have >= LENGTH && have >= LENGTH + len) {
			passt->first += LENGTH + len;
			if (len < ETH_HLEN)
				continue;
			iov_copy_in(iov, iovcnt, 0, header, NET_HEADER);
			return NET_HEADER +
			       (ssize_t)iov_copy_in(iov, iovcnt, NET_HEADER,
						    at + LENGTH, len);
		}
		/* Or an endless row of frames that are none would keep the
		 * worker here: what is still to be read wakes it again. */
		n = had_more ? -EAGAIN : read_more(passt);
		if (n < 0)
			return n;
		had_more = true;
	}
}

static int passt_set_offloads(struct net_backend *net, unsigned flags)
{
	(void)net, (void)flags;
	return 0;
}

static void passt_close(struct net_backend *net)
{
	close(net->fd);
	free(from_net(net));
}

static const struct net_ops passt_ops = {
	.send = passt_send,
	.receive = passt_receive,
	.set_offloads = passt_set_offloads,
	.close = passt_close,
};

int passt_open(const char *path, struct net_backend **net)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err = 0, buffer = 1 << 20, fd;
	struct passt *passt;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	passt = calloc(1, sizeof(*passt));
	if (!passt)
		err = -ENOMEM;
	/* As much as the kernel gives: what it gives unasked is enough. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	if (!err && connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err = -errno;
	if (err) {
		free(passt);
		close(fd);
		return err;
	}
	passt->net.ops = &passt_ops;
	passt->net.fd = fd;
	snprintf(passt->net.name, sizeof(passt->net.name), "passt");
	passt->net.mtu = 1500;
	*net = &passt->net;
	return 0;
}
