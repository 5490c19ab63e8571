#include "devices/net/netif.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool netif_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len && len < IFNAMSIZ && !strpbrk(name, "/:% \t\n") &&
	       strcmp(name, ".") && strcmp(name, "..");
}

int netif_request(const char *name, unsigned long request, struct ifreq *ifr)
{
	size_t len = strlen(name);
	int fd, err;

	if (!len || len >= IFNAMSIZ)
		return -ENODEV;
	memcpy(ifr->ifr_name, name, len + 1);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = ioctl(fd, request, ifr) ? -errno : 0;
	close(fd);
	return err;
}

int netif_index(const char *name)
{
	struct ifreq ifr = { 0 };
	int err = netif_request(name, SIOCGIFINDEX, &ifr);

	return err ? err : ifr.ifr_ifindex;
}

bool netif_is(const char *name, const char *kind)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { .ifr_data = (char *)&info };

	if (netif_request(name, SIOCETHTOOL, &ifr))
		return false;
	/* The tun driver tells its two kinds apart by their bus. */
	if (!strcmp(info.driver, "tun"))
		return !strcmp(info.bus_info, kind);
	return !strcmp(info.driver, kind);
}

bool netif_is_up(const char *name)
{
	struct ifreq ifr = { 0 };

	return !netif_request(name, SIOCGIFFLAGS, &ifr) &&
	       (ifr.ifr_flags & IFF_UP);
}

int netif_set_up(const char *name)
{
	struct ifreq ifr = { 0 };
	int err = netif_request(name, SIOCGIFFLAGS, &ifr);

	if (err)
		return err;
	ifr.ifr_flags |= IFF_UP;
	return netif_request(name, SIOCSIFFLAGS, &ifr);
}

int netif_watch(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK,
				       .nl_groups = RTMGRP_LINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);
	int err;

	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

void netif_watch_clear(int fd)
{
	char message[8192];

	/* ENOBUFS: more happened than fits, which is told once and is as good
	 * a message as any. */
	while (recv(fd, message, sizeof(message), 0) > 0 || errno == ENOBUFS)
		;
}
