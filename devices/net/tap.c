#include "devices/net/tap.h"

#include "devices/net/netif.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

/* UDP segmentation came with Linux 6.2; older headers lack the names. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static ssize_t tap_send(struct net_backend *net, const struct iovec *iov,
			int iovcnt)
{
	ssize_t n = writev(net->fd, iov, iovcnt);

	return n < 0 ? -errno : n;
}

static ssize_t tap_receive(struct net_backend *net, const struct iovec *iov,
			   int iovcnt)
{
	ssize_t n = readv(net->fd, iov, iovcnt);

	return n < 0 ? -errno : n;
}

static int tap_set_offloads(struct net_backend *net, unsigned flags)
{
	unsigned long known = flags & net->offloads;

	return ioctl(net->fd, TUNSETOFFLOAD, known) ? -errno : 0;
}

static void tap_close(struct net_backend *net)
{
	close(net->fd);
	free(net);
}

static const struct net_ops tap_ops = {
	.send = tap_send,
	.receive = tap_receive,
	.set_offloads = tap_set_offloads,
	.close = tap_close,
};

/* The richest set this kernel's taps accept, found by trying. */
static unsigned tap_offloads(int fd)
{
	static const unsigned sets[] = {
		TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN |
			TUN_F_USO4 | TUN_F_USO6,
		TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
		TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
		TUN_F_CSUM,
	};

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		if (!ioctl(fd, TUNSETOFFLOAD, (unsigned long)sets[i]))
			return sets[i];
	}
	return 0;
}

static int tap_attach(const char *name, short flags, struct ifreq *ifr)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0)
		return errno == ENODEV ? -ENOENT : -errno;
	*ifr = (struct ifreq){ .ifr_flags = flags };
	strncpy(ifr->ifr_name, name, IFNAMSIZ - 1);
	if (!ioctl(fd, TUNSETIFF, ifr))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

bool tap_is_multi_queue(const char *name)
{
	struct ifreq ifr;
	int fd = tap_attach(name, TAP_FLAGS | IFF_MULTI_QUEUE, &ifr);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

int tap_open(const char *name, struct net_backend **net)
{
	int err, header = NET_HEADER;
	struct net_backend *tap;
	struct ifreq ifr, mtu;

	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	tap->ops = &tap_ops;
	tap->fd = tap_attach(name, TAP_FLAGS, &ifr);
	if (tap->fd < 0) {
		err = tap->fd;
		free(tap);
		return err;
	}
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	if (ioctl(tap->fd, TUNSETVNETHDRSZ, &header)) {
		err = -errno;
		tap_close(tap);
		return err;
	}
	tap->offloads = tap_offloads(tap->fd);
	err = tap_set_offloads(tap, 0);
	if (!err)
		err = netif_request(tap->name, SIOCGIFMTU, &mtu);
	if (err) {
		tap_close(tap);
		return err;
	}
	tap->mtu = mtu.ifr_mtu;
	*net = tap;
	return 0;
}
