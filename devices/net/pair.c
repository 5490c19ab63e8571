#include "devices/net/pair.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t pair_send(struct net_backend *net, const struct iovec *iov,
			 int iovcnt)
{
	ssize_t n = writev(net->fd, iov, iovcnt);

	return n < 0 ? -errno : n;
}

static ssize_t pair_receive(struct net_backend *net, const struct iovec *iov,
			    int iovcnt)
{
	ssize_t n = readv(net->fd, iov, iovcnt);

	if (n < 0)
		return -errno;
	return n ? n : -ENOTCONN; /* the other end was closed */
}

/* There is no one in between who would have to segment. */
static int pair_set_offloads(struct net_backend *net, unsigned flags)
{
	(void)net, (void)flags;
	return 0;
}

static void pair_close(struct net_backend *net)
{
	close(net->fd);
	free(net);
}

static const struct net_ops pair_ops = {
	.send = pair_send,
	.receive = pair_receive,
	.set_offloads = pair_set_offloads,
	.close = pair_close,
};

int net_pair(struct net_backend *ends[2])
{
	int fds[2], err;

	ends[0] = calloc(1, sizeof(*ends[0]));
	ends[1] = calloc(1, sizeof(*ends[1]));
	err = ends[0] && ends[1] ? 0 : -ENOMEM;
	if (!err &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
		       0, fds))
		err = -errno;
	if (err) {
		free(ends[0]);
		free(ends[1]);
		return err;
	}
	for (int i = 0; i < 2; i++) {
		ends[i]->ops = &pair_ops;
		ends[i]->fd = fds[i];
		ends[i]->mtu = 1500;
		ends[i]->offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
		snprintf(ends[i]->name, sizeof(ends[i]->name), "pair%d", i);
	}
	return 0;
}
