#include "devices/net/bridge_move.h"

#include "devices/net/bridge.h"
#include "devices/net/bridge_info.h"
#include "devices/net/host_config.h"
#include "devices/net/netif.h"
#include "util/log.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The steps. MAKE and JOIN are undone by their opposites; what is taken off is
 * put back, and the other way round. DELETE is always the last, and is never
 * undone.
 */
enum step_kind {
	STEP_MAKE,
	STEP_JOIN,
	STEP_UP,
	STEP_TAKE_OFF,
	STEP_PUT_ON,
	STEP_DELETE,
};

struct step {
	enum step_kind kind;
	size_t item; /* of the configuration that moves */
	bool stays;  /* it was there without us */
};

struct move {
	struct netlink nl;
	const char *bridge;
	const char *port; /* or NULL */
	int port_index;
	bool port_up;                /* it was before */
	struct ifreq name, mac, mtu; /* the port's */
	struct host_config config;
	const char *from, *to; /* whose the configuration is and will be */
	struct step *steps;
	size_t nr_steps;
	int fault;
};

static int port_join(struct move *m)
{
	struct ifreq ifr = { .ifr_ifindex = m->port_index };

	return netif_request(m->bridge, SIOCBRADDIF, &ifr);
}

static int port_release(struct move *m)
{
	struct ifreq ifr = { .ifr_ifindex = m->port_index };

	return netif_request(m->bridge, SIOCBRDELIF, &ifr);
}

static int bridge_remove(struct move *m)
{
	int index = netif_index(m->bridge);

	return index < 0 ? index : netlink_delete_link(&m->nl, index);
}

/* The port's address is the host's on the wire, and stays that. The alias
 * says whose place the bridge took: it gives that back to no other. */
static int bridge_set_up(struct move *m)
{
	struct ifinfomsg info = { 0 };
	struct netlink_msg msg;
	int err = bridge_make(m->bridge, m->port ? m->mtu.ifr_mtu : 0, false);

	if (err || !m->port)
		return err;
	info.ifi_index = netif_index(m->bridge);
	netlink_begin(&msg, RTM_SETLINK, 0, &info, sizeof(info));
	netlink_put(&msg, IFLA_ADDRESS, m->mac.ifr_hwaddr.sa_data, NET_MAC);
	netlink_put_text(&msg, IFLA_IFALIAS, m->port);
	err = netlink_do(&m->nl, &msg);
	if (err)
		bridge_remove(m);
	return err;
}

static int port_set(struct move *m, bool up)
{
	struct ifreq ifr = { 0 };
	int err = netif_request(m->port, SIOCGIFFLAGS, &ifr);

	if (err)
		return err;
	if (up)
		ifr.ifr_flags |= IFF_UP;
	else
		ifr.ifr_flags &= ~IFF_UP;
	return netif_request(m->port, SIOCSIFFLAGS, &ifr);
}

static int put_on(struct move *m, size_t item, const char *name)
{
	return host_item_add(&m->nl, &m->config, item, netif_index(name), name);
}

static int take_off(struct move *m, size_t item, const char *name)
{
	return host_item_remove(&m->nl, &m->config, item, netif_index(name));
}

static int step_do(struct move *m, struct step *step)
{
	int err;

	switch (step->kind) {
	case STEP_MAKE:
		return bridge_set_up(m);
	case STEP_JOIN:
		return port_join(m);
	case STEP_UP:
		return port_set(m, true);
	case STEP_TAKE_OFF:
		return take_off(m, step->item, m->from);
	case STEP_PUT_ON:
		err = put_on(m, step->item, m->to);
		step->stays = err > 0;
		return err < 0 ? err : 0;
	case STEP_DELETE:
		return bridge_remove(m);
	}
	return -EINVAL;
}

static int step_undo(struct move *m, const struct step *step)
{
	switch (step->kind) {
	case STEP_MAKE:
		return bridge_remove(m);
	case STEP_JOIN:
		return port_release(m);
	case STEP_UP:
		return m->port_up ? 0 : port_set(m, false);
	case STEP_TAKE_OFF:
		return put_on(m, step->item, m->from);
	case STEP_PUT_ON:
		return step->stays ? 0 : take_off(m, step->item, m->to);
	case STEP_DELETE:
		break;
	}
	return 0;
}

/* What a step is about, for a sentence that begins with "cannot". */
static const char *step_text(const struct move *m, const struct step *step,
			     char text[160])
{
	char item[80];

	switch (step->kind) {
	case STEP_MAKE:
		return "make it";
	case STEP_JOIN:
		snprintf(text, 160, "make %s its port", m->port);
		return text;
	case STEP_UP:
		snprintf(text, 160, "bring %s up", m->port);
		return text;
	case STEP_DELETE:
		return "remove it";
	default:
		snprintf(text, 160, "%s %s %s %s",
			 step->kind == STEP_TAKE_OFF ? "take" : "put",
			 host_item_text(&m->config, step->item, item),
			 step->kind == STEP_TAKE_OFF ? "off" : "onto",
			 step->kind == STEP_TAKE_OFF ? m->from : m->to);
		return text;
	}
}

static void undo(struct move *m, size_t count)
{
	char text[160];

	while (count--) {
		int err = step_undo(m, &m->steps[count]);

		if (err < 0)
			log_err("net bridge %s: cannot undo: %s: %s; see "
				"ip address, ip route",
				m->bridge, step_text(m, &m->steps[count], text),
				strerror(-err));
	}
}

/* Why the kernel says @err. */
static const char *reason(int err)
{
	switch (err) {
	case -EACCES: /* to one of IPv6's addresses */
		return "IPv6 is off there (sysctl: disable_ipv6)";
	case -EBUSY:
		return "it is in use (see ip -d link)";
	case -ENETDOWN:
		return "it is down (see ip link)";
	default:
		return strerror(-err);
	}
}

static int move_run(struct move *m)
{
	char text[160];

	for (size_t i = 0; i < m->nr_steps; i++) {
		int err = (int)i == m->fault ? -EIO : step_do(m, &m->steps[i]);

		if (!err)
			continue;
		if (err == -EPERM)
			log_err("net bridge %s: no right (CAP_NET_ADMIN): use "
				"sudo",
				m->bridge);
		else
			log_err("net bridge %s: cannot %s: %s; nothing was "
				"changed",
				m->bridge, step_text(m, &m->steps[i], text),
				reason(err));
		undo(m, i);
		return err;
	}
	return 0;
}

/* Remembers what is on m->from, and plans to have it on m->to, between the
 * steps @before and those @after. */
static int move_plan(struct move *m, const enum step_kind *before, size_t first,
		     const enum step_kind *after, size_t last)
{
	int err = 0, index = m->from ? netif_index(m->from) : 0;
	size_t items;

	if (index < 0)
		err = index;
	else if (m->from)
		err = host_config_read(&m->nl, index, m->from, &m->config);
	items = m->config.nr_items;
	if (!err) {
		m->steps = calloc(first + 2 * items + last, sizeof(*m->steps));
		err = m->steps ? 0 : -ENOMEM;
	}
	if (err == -EOPNOTSUPP) {
		log_err("net bridge %s: %s has a route with several next hops "
			"or an nhid: take it off first",
			m->bridge, m->from);
		return err;
	}
	if (err) {
		log_err("net bridge %s: %s", m->bridge, strerror(-err));
		return err;
	}
	if (items && m->port && !m->to) {
		log_err("net bridge %s: its addresses move only to the card "
			"whose place it took; if %s is that: ip link set %s "
			"alias %s address $(cat /sys/class/net/%s/address)",
			m->bridge, m->port, m->bridge, m->port, m->port);
		return -EBUSY;
	}
	for (size_t i = 0; i < first; i++)
		m->steps[m->nr_steps++].kind = before[i];
	/* An item stands behind those it depends on. For a moment all are on
	 * both, so that an item that cannot be added was never removed. */
	for (size_t i = 0; i < items && m->to; i++)
		m->steps[m->nr_steps++] =
			(struct step){ STEP_PUT_ON, i, false };
	for (size_t i = items; i-- && m->to;)
		m->steps[m->nr_steps++] =
			(struct step){ STEP_TAKE_OFF, i, false };
	for (size_t i = 0; i < last; i++)
		m->steps[m->nr_steps++].kind = after[i];
	return 0;
}

static int move_all(struct move *m, const enum step_kind *before, size_t first,
		    const enum step_kind *after, size_t last)
{
	int err = netlink_open(&m->nl);

	if (err) {
		log_err("net bridge %s: %s", m->bridge, strerror(-err));
		return err;
	}
	err = move_plan(m, before, first, after, last);
	if (!err)
		err = move_run(m);
	free(m->steps);
	host_config_free(&m->config);
	netlink_close(&m->nl);
	return err;
}

static int refuse(const char *bridge, int err, const char *what)
{
	log_err("net bridge %s: %s", bridge, what);
	return err;
}

/* What there is to know of the port before it becomes one. */
static int port_look(struct move *m)
{
	struct ifreq flags = { 0 };
	int err;

	m->port_index = netif_index(m->port);
	m->name.ifr_ifindex = m->port_index;
	err = netif_request(m->port, SIOCGIFNAME, &m->name);
	if (!err)
		err = netif_request(m->port, SIOCGIFFLAGS, &flags);
	if (!err)
		err = netif_request(m->port, SIOCGIFMTU, &m->mtu);
	if (!err)
		err = netif_request(m->port, SIOCGIFHWADDR, &m->mac);
	if (err) {
		log_err("net bridge %s: port %s: %s", m->bridge, m->port,
			err == -ENODEV ? "no such interface: see ip link"
				       : strerror(-err));
		return err;
	}
	if (m->mac.ifr_hwaddr.sa_family != ARPHRD_ETHER ||
	    netif_is(m->port, "bridge")) {
		log_err("net bridge %s: port %s: not an Ethernet card",
			m->bridge, m->port);
		return -EINVAL;
	}
	m->port_up = flags.ifr_flags & IFF_UP;
	/* It may have been called by another of its names. */
	m->port = m->from = m->name.ifr_name;
	return 0;
}

static int port_is_free(const struct move *m)
{
	struct bridge_info info;
	const struct bridge_link *link;
	int err = bridge_info_read(&info);

	if (err)
		return refuse(m->bridge, err, strerror(-err));
	link = bridge_info_find(&info, m->port_index);
	if (link && link->master) {
		const struct bridge_link *of =
			bridge_info_find(&info, link->master);

		log_err("net bridge %s: %s is a port of %s", m->bridge, m->port,
			of ? of->name : "another bridge");
		err = -EBUSY;
	}
	bridge_info_free(&info);
	return err;
}

int bridge_adopt(const char *bridge, const char *port, int fault)
{
	static const enum step_kind before[] = { STEP_MAKE, STEP_JOIN,
						 STEP_UP };
	struct move m = { .bridge = bridge,
			  .port = port,
			  .from = port,
			  .to = port ? bridge : NULL,
			  .fault = fault };
	int err;

	if (port && netif_is(bridge, "bridge")) {
		log_err("net bridge %s: it exists, and %s's addresses move only "
			"to a new one; they would be lost after: ip link set %s "
			"master %s",
			bridge, port, port, bridge);
		return -EEXIST;
	}
	if (netif_index(bridge) > 0)
		return refuse(bridge, -EEXIST,
			      "an interface has that name already");
	err = port ? port_look(&m) : 0;
	if (!err && port)
		err = port_is_free(&m);
	if (err)
		return err;
	return move_all(&m, before, port ? 3 : 1, NULL, 0);
}

/* True if bridge_set_up() had this port. */
static bool took_place_of(const struct bridge_link *bridge,
			  const struct bridge_link *port)
{
	return !strcmp(bridge->alias, port->name) &&
	       !memcmp(bridge->mac, port->mac, NET_MAC);
}

/* The bridge's only port, if it has one, to m->port, and also to m->to if what
 * is on the bridge belongs there. */
static int only_port(struct move *m, const struct bridge_info *info)
{
	const struct bridge_link *bridge =
		bridge_info_find(info, netif_index(m->bridge));

	if (!bridge || !bridge->is_bridge)
		return refuse(m->bridge, -ENODEV,
			      "no such bridge; kvist net show lists them");
	m->bridge = m->from = bridge->name;
	for (size_t i = 0; i < info->nr_links; i++) {
		const struct bridge_link *link = &info->links[i];

		if (link->on == bridge->index) {
			log_err("net bridge %s: %s is on it: ip link del %s",
				m->bridge, link->name, link->name);
			return -EBUSY;
		}
		if (link->master != bridge->index)
			continue;
		if (netif_is(link->name, "tap")) {
			log_err("net bridge %s: the tap %s is its port: end "
				"the guest on it, or: ip link set %s nomaster",
				m->bridge, link->name, link->name);
			return -EBUSY;
		}
		if (took_place_of(bridge, link))
			m->to = link->name;
		if (m->port) {
			log_err("net bridge %s: only the host's card may be "
				"its port: ip link set %s nomaster",
				m->bridge,
				!m->to                ? "PORT"
				: m->to == link->name ? m->port
						      : link->name);
			return -EBUSY;
		}
		m->port = link->name;
	}
	return 0;
}

int bridge_dissolve(const char *bridge, int fault)
{
	static const enum step_kind after[] = { STEP_DELETE };
	struct move m = { .bridge = bridge, .fault = fault };
	struct bridge_info info;
	int err = bridge_info_read(&info);

	if (err)
		return refuse(bridge, err, strerror(-err));
	err = only_port(&m, &info);
	if (!err)
		err = move_all(&m, NULL, 0, after, 1);
	bridge_info_free(&info);
	return err;
}
