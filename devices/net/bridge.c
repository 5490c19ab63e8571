#include "devices/net/bridge.h"

#include "devices/net/netif.h"
#include "devices/net/netlink.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a bridge does about VLANs. */
struct filter {
	bool on;
	uint16_t pvid; /* of a port that is told nothing; 0: in none */
};

/* Down, and under a name that no one looks for. */
static int link_make(struct netlink *nl, const char *name, bool vlans)
{
	struct ifinfomsg info = { 0 };
	uint8_t filtering = vlans;
	struct nlattr *kind, *data;
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info,
		      sizeof(info));
	netlink_put_text(&msg, IFLA_IFNAME, name);
	kind = netlink_nest(&msg, IFLA_LINKINFO);
	netlink_put_text(&msg, IFLA_INFO_KIND, "bridge");
	if (vlans) {
		data = netlink_nest(&msg, IFLA_INFO_DATA);
		netlink_put(&msg, IFLA_BR_VLAN_FILTERING, &filtering, 1);
		netlink_nest_end(&msg, data);
	}
	netlink_nest_end(&msg, kind);
	return netlink_do(nl, &msg);
}

/* The name that was asked for, and up, in one step. */
static int link_finish(struct netlink *nl, int index, const char *name)
{
	struct ifinfomsg info = { .ifi_index = index,
				  .ifi_flags = IFF_UP,
				  .ifi_change = IFF_UP };
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_SETLINK, 0, &info, sizeof(info));
	netlink_put_text(&msg, IFLA_IFNAME, name);
	return netlink_do(nl, &msg);
}

/*
 * The bridge keeps its MTU when its last port leaves only if the MTU is set
 * after the bridge was made. Until then the bridge has a temporary name: so if
 * two guests start at once, the second never finds it with another MTU.
 */
int bridge_make(const char *bridge, uint32_t mtu, bool vlans)
{
	struct ifreq size = { .ifr_mtu = (int)mtu }, mac = { 0 };
	struct netlink nl;
	char name[IFNAMSIZ];
	int index, err = netlink_open(&nl);

	if (err)
		return err;
	/* Another PID namespace knows the same number, and a process that was
	 * killed here leaves its link. */
	err = -EEXIST;
	for (int i = 0; err == -EEXIST && netif_index(bridge) < 0; i++) {
		snprintf(name, sizeof(name), "kvist.%d", getpid() + i);
		err = link_make(&nl, name, vlans);
	}
	if (err)
		goto close;
	index = netif_index(name);
	err = index < 0 ? index : 0;
	if (!err && mtu)
		err = netif_request(name, SIOCSIFMTU, &size);
	/* An address that was set stays (see mac_raise()), and it must be
	 * another than it has, or the bridge's own id stays 0. */
	if (!err)
		err = netif_request(name, SIOCGIFHWADDR, &mac);
	mac.ifr_hwaddr.sa_data[NET_MAC - 1] ^= 1;
	if (!err)
		err = netif_request(name, SIOCSIFHWADDR, &mac);
	if (!err)
		err = link_finish(&nl, index, bridge);
	if (err)
		netlink_delete_link(&nl, index);
close:
	netlink_close(&nl);
	return err;
}

static int filter_take(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *bridge[IFLA_BR_VLAN_DEFAULT_PVID + 1];
	struct filter *filter = arg;

	if (!netlink_sort_kind(hdr, bridge, ARRAY_SIZE(bridge)))
		return 0;
	filter->on = netlink_number(bridge[IFLA_BR_VLAN_FILTERING]);
	filter->pvid = netlink_number(bridge[IFLA_BR_VLAN_DEFAULT_PVID]);
	return 0;
}

static int filter_read(struct netlink *nl, const char *bridge,
		       struct filter *filter)
{
	*filter = (struct filter){ 0 };
	return netlink_get_link(nl, bridge, filter_take, filter);
}

/* @port becomes a member of VLAN @vlan (RTM_SETLINK) or no longer is one
 * (RTM_DELLINK). */
static int vlan_change(struct netlink *nl, uint16_t type, int port,
		       uint16_t flags, uint16_t vlan)
{
	struct ifinfomsg info = { .ifi_family = AF_BRIDGE, .ifi_index = port };
	struct bridge_vlan_info member = { .flags = flags, .vid = vlan };
	struct netlink_msg msg;
	struct nlattr *spec;

	netlink_begin(&msg, type, 0, &info, sizeof(info));
	spec = netlink_nest(&msg, IFLA_AF_SPEC);
	netlink_put(&msg, IFLA_BRIDGE_VLAN_INFO, &member, sizeof(member));
	netlink_nest_end(&msg, spec);
	return netlink_do(nl, &msg);
}

/* Untagged frames from the port belong to VLAN @vlan, whose frames leave it
 * untagged; nothing of other VLANs passes. */
static int vlan_access(const char *bridge, int port, uint16_t vlan)
{
	struct filter filter;
	struct netlink nl;
	int err = netlink_open(&nl);

	if (err)
		return err;
	err = filter_read(&nl, bridge, &filter);
	if (!err)
		err = vlan_change(&nl, RTM_SETLINK, port,
				  BRIDGE_VLAN_INFO_PVID |
					  BRIDGE_VLAN_INFO_UNTAGGED,
				  vlan);
	if (!err && filter.pvid && filter.pvid != vlan)
		err = vlan_change(&nl, RTM_DELLINK, port, 0, filter.pvid);
	netlink_close(&nl);
	return err;
}

/* 0 as well when another process was faster. */
static int make_absent(const struct net_options *options)
{
	const char *bridge = options->ifname;
	int err = bridge_make(bridge, options->mtu, options->vlan);

	switch (err) {
	case -EEXIST:
		return 0;
	case 0:
		log_info("net bridge %s: made; it stays until: kvist net "
			 "delete %s",
			 bridge, bridge);
		return 0;
	case -EPERM:
		log_err("net bridge %s: no right to make it (CAP_NET_ADMIN): "
			"run as root, or once: sudo kvist net create %s",
			bridge, bridge);
		return err;
	case -EOPNOTSUPP:
		log_err("net bridge %s: this kernel makes no bridge%s: "
			"modprobe bridge",
			bridge,
			options->vlan ? " that tells VLANs apart: it lacks "
					"CONFIG_BRIDGE_VLAN_FILTERING, or"
				      : "");
		return err;
	}
	log_err("net bridge %s: cannot make it: %s", bridge, strerror(-err));
	return err;
}

static int vlan_check(const char *bridge)
{
	struct filter filter;
	struct netlink nl;
	int err = netlink_open(&nl);

	if (!err) {
		err = filter_read(&nl, bridge, &filter);
		netlink_close(&nl);
	}
	if (err) {
		log_err("net bridge %s: %s", bridge, strerror(-err));
		return err;
	}
	if (filter.on)
		return 0;
	log_err("net bridge %s: vlan=: it does not tell VLANs apart until: "
		"ip link set %s type bridge vlan_filtering 1",
		bridge, bridge);
	return -EOPNOTSUPP;
}

int bridge_prepare(const struct net_options *options)
{
	const char *bridge = options->ifname;
	int err = netif_index(bridge);

	if (err == -ENODEV && options->create) {
		err = make_absent(options);
		if (err)
			return err;
	} else if (err < 0) {
		log_err("net bridge %s: %s: say bridge=%s,create, or make it "
			"with: sudo kvist net create %s",
			bridge,
			err == -ENODEV ? "no such interface" : strerror(-err),
			bridge, bridge);
		return err;
	}
	if (!netif_is(bridge, "bridge")) {
		log_err("net bridge %s: this interface is not a Linux bridge: "
			"name one, or make one with: sudo kvist net create br0",
			bridge);
		return -ENODEV;
	}
	if (!netif_is_up(bridge))
		log_warn("net bridge %s: it is down and carries nothing until: "
			 "ip link set %s up",
			 bridge, bridge);
	return options->vlan ? vlan_check(bridge) : 0;
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
 * would change it as guests come and go: it is to keep its card's. With taps
 * alone it takes one of theirs, unless its address was set (bridge_make()). */
static int mac_raise(const char *tap)
{
	struct ifreq ifr = { 0 };
	int err = netif_request(tap, SIOCGIFHWADDR, &ifr);

	if (err)
		return err;
	ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
	return netif_request(tap, SIOCSIFHWADDR, &ifr);
}

/* A port of a smaller MTU would shrink the bridge's, and with it everyone's:
 * the tap takes over the bridge's, whatever the guest is told. */
static int mtu_take(const char *bridge, const char *tap, uint32_t *mtu)
{
	struct ifreq size = { 0 };
	int err = netif_request(bridge, SIOCGIFMTU, &size);

	if (err)
		return err;
	*mtu = size.ifr_mtu;
	return netif_request(tap, SIOCSIFMTU, &size);
}

/* The tap is still down: no frame passes before all is as it should be. */
static int port_join(const struct net_options *options, const char *tap)
{
	int err, index = netif_index(tap);
	struct ifreq port = { .ifr_ifindex = index };

	if (index < 0)
		return index;
	err = netif_request(options->ifname, SIOCBRADDIF, &port);
	if (!err && options->vlan)
		err = vlan_access(options->ifname, index, options->vlan);
	return err;
}

int bridge_attach(const struct net_options *options, struct net_backend *net)
{
	const char *bridge = options->ifname, *step = "set its MAC";
	int err = mac_raise(net->name);

	if (!err) {
		step = "take over the bridge's MTU";
		err = mtu_take(bridge, net->name, &net->mtu);
	}
	if (!err) {
		ipv6_disable(net->name);
		step = "make it a port";
		err = port_join(options, net->name);
	}
	if (!err) {
		step = "bring it up";
		err = netif_set_up(net->name);
	}
	if (err)
		log_err("net bridge %s: tap %s: cannot %s: %s", bridge,
			net->name, step, strerror(-err));
	return err;
}
