#include "devices/net/host_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 20 /* while the tables change under our eyes */

/* What the kernel finds out by itself and will not be told. */
#define ADDRESS_STATE                                                          \
	(IFA_F_SECONDARY | IFA_F_TENTATIVE | IFA_F_DADFAILED |                 \
	 IFA_F_DEPRECATED | IFA_F_PERMANENT | IFA_F_OPTIMISTIC |               \
	 IFA_F_STABLE_PRIVACY)

#ifndef IFA_PROTO
#define IFA_PROTO 11 /* Linux 5.18 */
#endif
#define ADDRESS_ATTRS (IFA_PROTO + 1)
#define ROUTE_ATTRS   (RTA_MAX + 1)

struct reader {
	struct host_config *config;
	int family;
	bool gateways; /* the routes that have one, or those that have none */
};

static int remember(struct host_config *config, const struct nlmsghdr *hdr)
{
	struct host_item *items = reallocarray(
		config->items, config->nr_items + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	config->items = items;
	items[config->nr_items].hdr = malloc(hdr->nlmsg_len);
	if (!items[config->nr_items].hdr)
		return -ENOMEM;
	memcpy(items[config->nr_items++].hdr, hdr, hdr->nlmsg_len);
	return 0;
}

/* Of IPv6 addresses the kernel tells the newest first. */
static void reverse(struct host_item *items, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		struct host_item item = items[i];

		items[i] = items[count - 1 - i];
		items[count - 1 - i] = item;
	}
}

static int take_address(const struct nlmsghdr *hdr, void *arg)
{
	const struct ifaddrmsg *ifa = netlink_payload(hdr);
	struct reader *reader = arg;

	if (hdr->nlmsg_type != RTM_NEWADDR ||
	    ifa->ifa_family != reader->family ||
	    (int)ifa->ifa_index != reader->config->index)
		return 0;
	/* The bridge has one of its own. IPv4 knows no such difference. */
	if (ifa->ifa_family == AF_INET6 && ifa->ifa_scope == RT_SCOPE_LINK)
		return 0;
	return remember(reader->config, hdr);
}

/* True if one of the route's next hops is interface @index. */
static bool hops_over(const struct nlattr *multipath, int index)
{
	const struct rtnexthop *hop = netlink_data(multipath);
	int left = (int)netlink_len(multipath);

	while (RTNH_OK(hop, left)) {
		if (hop->rtnh_ifindex == index)
			return true;
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
		hop = (const void *)((const char *)hop +
				     RTNH_ALIGN(hop->rtnh_len));
	}
	return false;
}

/* The route to the addresses of the link's own scope, which stay. */
static bool is_of_link(const struct rtmsg *route, const struct nlattr *to)
{
	return route->rtm_family == AF_INET6 && to &&
	       IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)netlink_data(to));
}

/* A route to an address itself, which comes and goes with it. IPv6's that
 * someone else has made stay where they are. */
static bool is_own(const struct rtmsg *route)
{
	return route->rtm_table == RT_TABLE_LOCAL &&
	       (route->rtm_family == AF_INET6 ||
		route->rtm_protocol == RTPROT_KERNEL);
}

/* Among them those by which the kernel reaches an address's neighbours: with
 * "noprefixroute" they are someone else's work, as NetworkManager does it, and
 * do not come with the address. */
static int take_route(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *attrs[ROUTE_ATTRS];
	const struct rtmsg *route = netlink_payload(hdr);
	struct reader *reader = arg;
	bool gateway;

	if (hdr->nlmsg_type != RTM_NEWROUTE ||
	    route->rtm_family != reader->family || is_own(route) ||
	    (route->rtm_flags & RTM_F_CLONED))
		return 0;
	netlink_sort(hdr, sizeof(*route), attrs, ROUTE_ATTRS);
	if (route->rtm_protocol == RTPROT_KERNEL &&
	    is_of_link(route, attrs[RTA_DST]))
		return 0;
	if (attrs[RTA_MULTIPATH])
		return hops_over(attrs[RTA_MULTIPATH], reader->config->index)
			       ? -EOPNOTSUPP
			       : 0;
	if ((int)netlink_number(attrs[RTA_OIF]) != reader->config->index)
		return 0;
	if (attrs[RTA_NH_ID])
		return -EOPNOTSUPP;
	gateway = attrs[RTA_GATEWAY] || attrs[RTA_VIA];
	return gateway == reader->gateways ? remember(reader->config, hdr) : 0;
}

static int read_addresses(struct netlink *nl, struct reader *reader)
{
	struct ifaddrmsg ask = { .ifa_family = reader->family };
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_GETADDR, 0, &ask, sizeof(ask));
	return netlink_dump(nl, &msg, take_address, reader);
}

static int read_routes(struct netlink *nl, struct reader *reader)
{
	struct rtmsg ask = { .rtm_family = reader->family };
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_GETROUTE, 0, &ask, sizeof(ask));
	return netlink_dump(nl, &msg, take_route, reader);
}

/* A gateway must be reachable before a route leads to it, an IPv4 route's by
 * IPv6, too, and an address be there before a route prefers it. */
static int read_all(struct netlink *nl, struct host_config *config)
{
	struct reader reader = { config, AF_INET, false };
	size_t first;
	int err = read_addresses(nl, &reader);

	first = config->nr_items;
	reader.family = AF_INET6;
	if (!err)
		err = read_addresses(nl, &reader);
	if (!err && config->nr_items)
		reverse(config->items + first, config->nr_items - first);
	for (int i = 0; i < 4 && !err; i++) {
		reader.family = i % 2 ? AF_INET6 : AF_INET;
		reader.gateways = i >= 2;
		err = read_routes(nl, &reader);
	}
	return err;
}

int host_config_read(struct netlink *nl, int index, const char *name,
		     struct host_config *config)
{
	int err = -EINTR;

	for (int i = 0; i < TRIES && err == -EINTR; i++) {
		*config = (struct host_config){ .index = index };
		snprintf(config->name, sizeof(config->name), "%s", name);
		err = read_all(nl, config);
		if (err)
			host_config_free(config);
	}
	return err;
}

void host_config_free(struct host_config *config)
{
	for (size_t i = 0; i < config->nr_items; i++)
		free(config->items[i].hdr);
	free(config->items);
	config->items = NULL;
	config->nr_items = 0;
}

/* A label begins with the name of its interface: "eth0:1". */
static void put_label(struct netlink_msg *msg, const char *label,
		      const char *from, const char *to)
{
	char text[IFNAMSIZ];
	size_t len = strlen(from);
	int n;

	if (strncmp(label, from, len) || (label[len] && label[len] != ':'))
		return;
	n = snprintf(text, sizeof(text), "%s%s", to, label + len);
	if (n > 0 && n < (int)sizeof(text))
		netlink_put_text(msg, IFA_LABEL, text);
}

static void put_attr(struct netlink_msg *msg, const struct nlattr *attr)
{
	if (attr)
		netlink_put(msg, attr->nla_type, netlink_data(attr),
			    netlink_len(attr));
}

/* @type is RTM_NEWADDR or RTM_DELADDR; @more are flags of the address. */
static int address_order(struct netlink *nl, const struct host_config *config,
			 const struct nlmsghdr *item, uint16_t type,
			 uint16_t how, int index, const char *name,
			 uint32_t more)
{
	const struct nlattr *attrs[ADDRESS_ATTRS];
	struct ifaddrmsg ifa;
	struct netlink_msg msg;
	uint32_t flags;

	memcpy(&ifa, netlink_payload(item), sizeof(ifa));
	netlink_sort(item, sizeof(ifa), attrs, ADDRESS_ATTRS);
	flags = attrs[IFA_FLAGS] ? netlink_number(attrs[IFA_FLAGS])
				 : ifa.ifa_flags;
	flags = (flags & ~ADDRESS_STATE) | more;
	ifa.ifa_index = index;
	ifa.ifa_flags = flags & 0xff;
	netlink_begin(&msg, type, how, &ifa, sizeof(ifa));
	put_attr(&msg, attrs[IFA_LOCAL]);
	put_attr(&msg, attrs[IFA_ADDRESS]);
	if (type == RTM_NEWADDR) {
		put_attr(&msg, attrs[IFA_BROADCAST]);
		put_attr(&msg, attrs[IFA_CACHEINFO]);
		put_attr(&msg, attrs[IFA_RT_PRIORITY]);
		put_attr(&msg, attrs[IFA_PROTO]);
		netlink_put_u32(&msg, IFA_FLAGS, flags);
		if (attrs[IFA_LABEL])
			put_label(&msg, netlink_text(attrs[IFA_LABEL]),
				  config->name, name);
	}
	return netlink_do(nl, &msg);
}

/* An IPv6 address would be on trial for a second or two, in which it is of no
 * use; but it has passed that already, so it skips it now, and is then made
 * like any other. */
static int address_add(struct netlink *nl, const struct host_config *config,
		       const struct nlmsghdr *item, int index, const char *name)
{
	const struct ifaddrmsg *ifa = netlink_payload(item);
	bool ipv6 = ifa->ifa_family == AF_INET6;
	int err = address_order(nl, config, item, RTM_NEWADDR,
				NLM_F_CREATE | NLM_F_EXCL, index, name,
				ipv6 ? IFA_F_NODAD : 0);

	if (err || !ipv6)
		return err;
	err = address_order(nl, config, item, RTM_NEWADDR, NLM_F_REPLACE, index,
			    name, 0);
	if (err)
		address_order(nl, config, item, RTM_DELADDR, 0, index, name, 0);
	return err;
}

/* The rest of its time, in the unit of the route's own attribute: seconds. */
static void put_expiry(struct netlink_msg *msg, const struct nlattr *attr)
{
	struct rta_cacheinfo cache;

	if (!attr || netlink_len(attr) < sizeof(cache))
		return;
	memcpy(&cache, netlink_data(attr), sizeof(cache));
	if (cache.rta_expires > 0)
		netlink_put_u32(msg, RTA_EXPIRES,
				(uint32_t)cache.rta_expires /
					(uint32_t)sysconf(_SC_CLK_TCK));
}

static int route_order(struct netlink *nl, const struct nlmsghdr *item,
		       uint16_t type, uint16_t how, int index)
{
	const struct nlattr *attrs[ROUTE_ATTRS];
	struct netlink_msg msg;
	struct rtmsg route;

	memcpy(&route, netlink_payload(item), sizeof(route));
	netlink_sort(item, sizeof(route), attrs, ROUTE_ATTRS);
	route.rtm_flags &= RTNH_F_ONLINK;
	netlink_begin(&msg, type, how, &route, sizeof(route));
	for (int i = 0; i < ROUTE_ATTRS; i++) {
		if (i != RTA_OIF && i != RTA_CACHEINFO && i != RTA_EXPIRES)
			put_attr(&msg, attrs[i]);
	}
	netlink_put_u32(&msg, RTA_OIF, (uint32_t)index);
	if (type == RTM_NEWROUTE && route.rtm_family == AF_INET6)
		put_expiry(&msg, attrs[RTA_CACHEINFO]);
	return netlink_do(nl, &msg);
}

/* The kernel takes two IPv6 routes for one without a look at the rest: what it
 * makes for an address has none of that. */
static bool is_the_same(const struct nlmsghdr *item)
{
	const struct nlattr *attrs[ROUTE_ATTRS];
	const struct rtmsg *route = netlink_payload(item);

	netlink_sort(item, sizeof(*route), attrs, ROUTE_ATTRS);
	return route->rtm_family == AF_INET ||
	       (route->rtm_protocol == RTPROT_KERNEL && !attrs[RTA_METRICS] &&
		!attrs[RTA_PREFSRC] && !netlink_number(attrs[RTA_PREF]));
}

int host_item_add(struct netlink *nl, const struct host_config *config,
		  size_t item, int index, const char *name)
{
	const struct nlmsghdr *hdr = config->items[item].hdr;
	int err;

	if (hdr->nlmsg_type == RTM_NEWADDR)
		return address_add(nl, config, hdr, index, name);
	/* Another route to the same place by another card stays. */
	err = route_order(nl, hdr, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND,
			  index);
	return err == -EEXIST && is_the_same(hdr) ? 1 : err;
}

int host_item_remove(struct netlink *nl, const struct host_config *config,
		     size_t item, int index)
{
	const struct nlmsghdr *hdr = config->items[item].hdr;

	if (hdr->nlmsg_type == RTM_NEWADDR)
		return address_order(nl, config, hdr, RTM_DELADDR, 0, index,
				     NULL, 0);
	return route_order(nl, hdr, RTM_DELROUTE, 0, index);
}

const char *host_item_text(const struct host_config *config, size_t item,
			   char text[80])
{
	const struct nlmsghdr *hdr = config->items[item].hdr;
	const struct nlattr *attrs[ROUTE_ATTRS], *to;
	/* Family and prefix are the first two bytes of both. */
	const struct ifaddrmsg *fixed = netlink_payload(hdr);
	bool address = hdr->nlmsg_type == RTM_NEWADDR;
	char name[INET6_ADDRSTRLEN] = "default";

	netlink_sort(hdr,
		     address ? sizeof(struct ifaddrmsg) : sizeof(struct rtmsg),
		     attrs, ROUTE_ATTRS);
	to = address ? attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS]
		     : attrs[RTA_DST];
	if (to)
		inet_ntop(fixed->ifa_family, netlink_data(to), name,
			  sizeof(name));
	if (to)
		snprintf(text, 80, "%s %s/%u",
			 address ? "the address" : "the route to", name,
			 fixed->ifa_prefixlen);
	else
		snprintf(text, 80, "the default route");
	return text;
}
