#include "devices/net/bridge.h"

#include "devices/net/netif.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int bridge_check(const char *bridge)
{
	int err = netif_exists(bridge);

	if (err) {
		log_err("net bridge %s: %s: make it with: ip link add name %s "
			"type bridge && ip link set %s up",
			bridge,
			err == -ENODEV ? "no such interface" : strerror(-err),
			bridge, bridge);
		return err;
	}
	if (!netif_is(bridge, "bridge")) {
		log_err("net bridge %s: this interface is not a Linux bridge: "
			"name one, or make one with: ip link add name br0 "
			"type bridge && ip link set br0 up",
			bridge);
		return -ENODEV;
	}
	if (!netif_is_up(bridge))
		log_warn("net bridge %s: it is down and carries nothing until: "
			 "ip link set %s up",
			 bridge, bridge);
	return 0;
}

/* A port has no business with addresses of its own: without this the host
 * would send neighbour discovery into the guest's cable. A kernel without
 * IPv6 has no such file. */
static void ipv6_disable(const char *tap)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6",
		 tap);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		log_debug("net tap %s: disable_ipv6: %s", tap, strerror(errno));
	close(fd);
}

/* A bridge without an address of its own takes the lowest of its ports', and
 * would change it, and drop its neighbours' caches, as guests come and go. */
static int mac_raise(const char *tap)
{
	struct ifreq ifr = { 0 };
	int err = netif_request(tap, SIOCGIFHWADDR, &ifr);

	if (err)
		return err;
	ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
	return netif_request(tap, SIOCSIFHWADDR, &ifr);
}

int bridge_attach(const char *bridge, const char *tap, uint32_t *mtu)
{
	struct ifreq size = { 0 }, port = { 0 }, index = { 0 };
	const char *step = "set its MAC";
	int err = mac_raise(tap);

	if (!err) {
		/* A port of a smaller MTU would shrink the bridge's. */
		step = "take over the bridge's MTU";
		err = netif_request(bridge, SIOCGIFMTU, &size);
	}
	if (!err)
		err = netif_request(tap, SIOCSIFMTU, &size);
	if (!err) {
		ipv6_disable(tap);
		step = "find it";
		err = netif_request(tap, SIOCGIFINDEX, &index);
	}
	if (!err) {
		step = "make it a port";
		port.ifr_ifindex = index.ifr_ifindex;
		err = netif_request(bridge, SIOCBRADDIF, &port);
	}
	if (!err) {
		step = "bring it up";
		err = netif_set_up(tap);
	}
	if (err)
		log_err("net bridge %s: tap %s: cannot %s: %s", bridge, tap,
			step, strerror(-err));
	else
		*mtu = size.ifr_mtu;
	return err;
}
