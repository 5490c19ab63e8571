#include "devices/net/tap.h"

#include "devices/net/batch.h"
#include "devices/net/netif.h"
#include "devices/net/netlink.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

struct tap {
	struct net_backend net;
	bool multi_queue; /* one of several queues */
	bool attached;    /* takes part */
	struct hook *down;
	struct batch *batch;
};

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

static void tap_send_many(struct net_backend *net, struct net_frame *frames,
			  unsigned count)
{
	batch_write(container_of(net, struct tap, net)->batch, frames, count);
}

static void tap_receive_many(struct net_backend *net, struct net_frame *frames,
			     unsigned count)
{
	batch_read(container_of(net, struct tap, net)->batch, frames, count);
}

/* A tap that was deleted says so when it is read, and not before. */
static int tap_set_offloads(struct net_backend *net, unsigned flags)
{
	unsigned long known = flags & net->offloads;

	return ioctl(net->fd, TUNSETOFFLOAD, known) && errno != EBADFD ? -errno
								       : 0;
}

/* In one step, if the kernel has memory for two programs. */
static void tap_set_filter(struct net_backend *net,
			   const struct sock_fprog *program)
{
	if (program->len && !ioctl(net->fd, TUNATTACHFILTER, program))
		return;
	ioctl(net->fd, TUNDETACHFILTER, NULL);
	if (program->len)
		ioctl(net->fd, TUNATTACHFILTER, program);
}

/* The tap keeps the program when we close it. */
static int tap_set_steering(struct net_backend *net,
			    const struct bpf_insn *program, unsigned len)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)program,
		.insn_cnt = len,
		.license = (uintptr_t) "",
	};
	int err = 0, fd = -1;

	if (len) {
		fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
		if (fd < 0)
			return -errno;
	}
	if (ioctl(net->fd, TUNSETSTEERINGEBPF, &fd) && errno != EBADFD)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* A detached queue can neither be read nor written. Only one that has gone
 * cannot be detached. */
static int tap_enable(struct net_backend *net, bool on)
{
	struct tap *tap = container_of(net, struct tap, net);
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE
					     : IFF_DETACH_QUEUE };

	if (!tap->multi_queue || tap->attached == on)
		return 0;
	if (ioctl(net->fd, TUNSETQUEUE, &ifr) && on)
		return -errno;
	tap->attached = on;
	return 0;
}

/*
 * Whether the interface that has the tap's name in our network namespace is the
 * tap: one that is in another, by now or from the start, may have a namesake
 * here. Without the right to ask where it is (CAP_NET_ADMIN), or before Linux
 * 5.2, its address tells.
 */
static bool tap_is_here(int fd, const char *name)
{
	struct ifreq tap = { 0 }, here = { 0 };
	struct stat its, ours;
	int ns = ioctl(fd, TUNGETDEVNETNS);
	bool same;

	if (ns >= 0 && !fstat(ns, &its) && !stat("/proc/self/ns/net", &ours))
		same = its.st_ino == ours.st_ino;
	else
		same = !netif_request(name, SIOCGIFHWADDR, &here) &&
		       !ioctl(fd, SIOCGIFHWADDR, &tap) &&
		       !memcmp(tap.ifr_hwaddr.sa_data, here.ifr_hwaddr.sa_data,
			       NET_MAC);
	if (ns >= 0)
		close(ns);
	return same;
}

/* By the name it has now. An interface that has been moved to another network
 * namespace is not ours to ask; one that was deleted has no name at all. */
static bool tap_link(struct net_backend *net)
{
	struct ifreq ifr = { 0 };

	if (ioctl(net->fd, TUNGETIFF, &ifr))
		return false;
	return !tap_is_here(net->fd, ifr.ifr_name) || netif_is_up(ifr.ifr_name);
}

static void tap_close(struct net_backend *net)
{
	struct tap *tap = container_of(net, struct tap, net);

	hook_finish(tap->down);
	batch_destroy(tap->batch);
	close(net->fd);
	free(tap);
}

static const struct net_ops tap_ops = {
	.send = tap_send,
	.receive = tap_receive,
	.send_many = tap_send_many,
	.receive_many = tap_receive_many,
	.set_offloads = tap_set_offloads,
	.set_filter = tap_set_filter,
	.set_steering = tap_set_steering,
	.enable = tap_enable,
	.link = tap_link,
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

static int queues_take(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *tun[IFLA_TUN_NUM_QUEUES + 1];
	struct tap_queues *queues = arg;

	if (!netlink_sort_kind(hdr, tun, ARRAY_SIZE(tun)))
		return 0;
	queues->multi_queue = netlink_number(tun[IFLA_TUN_MULTI_QUEUE]);
	queues->open = netlink_number(tun[IFLA_TUN_NUM_QUEUES]);
	return 0;
}

struct tap_queues tap_queues(const char *name)
{
	struct tap_queues queues = { 0 };
	struct netlink nl;

	if (!netlink_open(&nl)) {
		netlink_get_link(&nl, name, queues_take, &queues);
		netlink_close(&nl);
	}
	return queues;
}

/* A tap whose descriptor is open; that is the caller's while this fails. */
static int tap_create(int fd, const struct ifreq *ifr, struct net_backend **net)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	struct ifreq mtu = { .ifr_mtu = 1500 };
	int err = 0, header = NET_HEADER;

	if (!tap)
		return -ENOMEM;
	tap->net.ops = &tap_ops;
	tap->net.kernel_may_carry = true;
	tap->net.fd = fd;
	tap->multi_queue = ifr->ifr_flags & IFF_MULTI_QUEUE;
	tap->attached = true;
	tap->net.ours = !(ifr->ifr_flags & IFF_PERSIST);
	memcpy(tap->net.name, ifr->ifr_name, sizeof(tap->net.name));
	if (ioctl(fd, TUNSETVNETHDRSZ, &header)) {
		err = -errno;
	} else {
		tap->net.offloads = tap_offloads(fd);
		err = tap_set_offloads(&tap->net, 0);
	}
	/* One that was handed to us may be of another namespace. */
	if (!err && tap_is_here(fd, tap->net.name))
		err = netif_request(tap->net.name, SIOCGIFMTU, &mtu);
	if (!err) {
		tap->batch = batch_create(fd);
		err = tap->batch ? 0 : -ENOMEM;
	}
	if (err) {
		free(tap);
		return err;
	}
	tap->net.mtu = mtu.ifr_mtu;
	*net = &tap->net;
	return 0;
}

static int tap_open_queue(const char *name, short flags,
			  struct net_backend **net)
{
	struct ifreq ifr;
	int err, fd = tap_attach(name, TAP_FLAGS | flags, &ifr);

	if (fd < 0)
		return fd;
	err = ioctl(fd, TUNGETIFF, &ifr) ? -errno : tap_create(fd, &ifr, net);
	if (err)
		close(fd);
	return err;
}

int tap_adopt(int fd, struct net_backend **net)
{
	struct ifreq ifr = { 0 };
	int flags;

	if (ioctl(fd, TUNGETIFF, &ifr))
		return errno == EBADF ? -EBADF : -ENOTTY;
	if (!(ifr.ifr_flags & IFF_TAP))
		return -ENOTTY;
	if ((ifr.ifr_flags & TAP_FLAGS) != TAP_FLAGS)
		return -EINVAL;
	/* Whoever opened it may have kept it. */
	ifr.ifr_flags |= IFF_PERSIST;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	return tap_create(fd, &ifr, net);
}

void tap_set_down(struct net_backend *net, struct hook *hook)
{
	container_of(net, struct tap, net)->down = hook;
}

int tap_open(const char *name, unsigned queues, struct net_backend **net)
{
	short flags = queues > 1 ? IFF_MULTI_QUEUE : 0;
	struct net_backend **next;
	int err = tap_open_queue(name, flags, net);

	/* A tap that was made for several may be used with one. */
	if (err == -EINVAL && !flags)
		err = tap_open_queue(name, IFF_MULTI_QUEUE, net);
	if (err)
		return err;
	next = &(*net)->next;
	for (unsigned i = 1; i < queues && !err; i++) {
		/* By its name: now it has one. */
		err = tap_open_queue((*net)->name, flags, next);
		if (!err)
			next = &(*next)->next;
	}
	/* Of several, the kernel gives a queue to every process that asks. If
	 * two ask at a time, at least the later one finds the other here. */
	if (!err && container_of(*net, struct tap, net)->multi_queue &&
	    tap_queues((*net)->name).open > queues)
		err = -EBUSY;
	if (err)
		net_close(*net);
	return err;
}
