#include "devices/net/pair.h"

#include "util/checked.h"
#include "util/iov.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* Nothing in between would have to cut frames into segments. */
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

/*
 * An end by name. The name is that of an abstract socket, which is gone with
 * its process. The first end listens; the other connects. net.fd keeps its
 * number: it is the listening socket, readable when the other end has come, and
 * then the cable itself.
 */
struct named {
	struct net_backend net;
	struct sockaddr_un address;
	socklen_t length;
	int listener; /* or -1 */
	bool joined;  /* net.fd is the cable */
};

static struct named *from_net(struct net_backend *net)
{
	return container_of(net, struct named, net);
}

/* Nobody else's guest is to take the other end. */
static bool same_user(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       peer.uid == geteuid();
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
			0);

	return fd < 0 ? -errno : fd;
}

/* net.fd is the open file that @fd is, from now on. */
static int become(struct named *named, int fd)
{
	return dup3(fd, named->net.fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static int listen_there(struct named *named)
{
	int fd = new_socket(), err;

	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&named->address, named->length) ||
	    listen(fd, 4)) {
		err = -errno;
		close(fd);
		return err;
	}
	named->listener = fd;
	return 0;
}

static int connect_there(struct named *named)
{
	int fd = new_socket(), err;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&named->address, named->length))
		err = -errno;
	else
		err = same_user(fd) ? become(named, fd) : -EPERM;
	close(fd);
	named->joined = !err;
	return err;
}

/* Connects, or listens, or the other way round if others were faster. */
static int join(struct named *named)
{
	int err = -EADDRINUSE;

	named->joined = false;
	for (int i = 0; i < 10 && err == -EADDRINUSE; i++) {
		if (named->listener < 0) {
			err = connect_there(named);
			if (err != -ECONNREFUSED)
				return err;
			err = listen_there(named);
		} else {
			err = 0;
		}
	}
	return err ? err : become(named, named->listener);
}

/* Whoever connects, if it is one of us. 0 or -errno (-EAGAIN: nobody). */
static int take_guest(struct named *named)
{
	int fd = accept4(named->listener, NULL, NULL,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	named->joined = same_user(fd) && !become(named, fd);
	close(fd);
	return 0;
}

/* Without another end frames are lost, as on a cable that is not plugged in. */
static ssize_t named_send(struct net_backend *net, const struct iovec *iov,
			  int iovcnt)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			      .msg_iovlen = iovcnt };
	ssize_t n;

	if (!from_net(net)->joined)
		return (ssize_t)iov_total(iov, iovcnt);
	n = sendmsg(net->fd, &msg, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	return errno == EPIPE || errno == ECONNRESET
		       ? (ssize_t)iov_total(iov, iovcnt)
		       : -errno;
}

static ssize_t named_receive(struct net_backend *net, const struct iovec *iov,
			     int iovcnt)
{
	struct named *named = from_net(net);
	int err = named->joined ? 0 : take_guest(named);
	ssize_t n;

	if (err || !named->joined)
		return err ? err : -EAGAIN;
	n = readv(net->fd, iov, iovcnt);
	if (n > 0)
		return n;
	if (n < 0 && errno != ECONNRESET)
		return -errno;
	/* Neither a cable nor one to be: it would be readable for ever. */
	return join(named) ? -ENOTCONN : -EAGAIN;
}

static void named_close(struct net_backend *net)
{
	struct named *named = from_net(net);

	if (named->listener >= 0)
		close(named->listener);
	if (net->fd >= 0)
		close(net->fd);
	free(named);
}

static const struct net_ops named_ops = {
	.send = named_send,
	.receive = named_receive,
	.set_offloads = pair_set_offloads,
	.close = named_close,
};

int net_pair_open(const char *name, struct net_backend **net)
{
	struct named *named = calloc(1, sizeof(*named));
	char *path;
	int n, err;

	if (!named)
		return -ENOMEM;
	path = named->address.sun_path;
	n = snprintf(path + 1, sizeof(named->address.sun_path) - 1,
		     "kvist/%u/%s", geteuid(), name);
	if (n >= (int)sizeof(named->address.sun_path) - 1) {
		free(named);
		return -ENAMETOOLONG;
	}
	named->address.sun_family = AF_UNIX;
	named->length = offsetof(struct sockaddr_un, sun_path) + 1 + n;
	named->net.ops = &named_ops;
	named->listener = -1;
	named->net.mtu = 1500;
	snprintf(named->net.name, sizeof(named->net.name), "%.15s", name);
	named->net.fd = new_socket(); /* for its number */
	err = named->net.fd < 0 ? named->net.fd : join(named);
	if (err) {
		named_close(&named->net);
		return err;
	}
	*net = &named->net;
	return 0;
}
