#include "devices/net/bridge_info.h"

#include "devices/net/netlink.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 20 /* while the tables change under our eyes */

/* One more element at the end of the array, cleared, or NULL. */
static void *grow(void **array, size_t *count, size_t size)
{
	uint8_t *more;

	/* At every power of two. */
	if (!(*count & (*count - 1))) {
		more = reallocarray(*array, *count ? 2 * *count : 1, size);
		if (!more)
			return NULL;
		*array = more;
	}
	more = *array;
	return memset(more + (*count)++ * size, 0, size);
}

static void take_kind(struct bridge_link *link, const struct nlattr *linkinfo)
{
	const struct nlattr *info[IFLA_INFO_SLAVE_DATA + 1];
	const struct nlattr *data[IFLA_BR_VLAN_FILTERING + 1];

	netlink_sort_nest(linkinfo, info, ARRAY_SIZE(info));
	link->is_bridge = !strcmp(netlink_text(info[IFLA_INFO_KIND]), "bridge");
	if (link->is_bridge && info[IFLA_INFO_DATA]) {
		netlink_sort_nest(info[IFLA_INFO_DATA], data, ARRAY_SIZE(data));
		link->stp = netlink_number(data[IFLA_BR_STP_STATE]);
		link->filtering = netlink_number(data[IFLA_BR_VLAN_FILTERING]);
	}
	/* A port of something else, a bond, is none of ours. */
	if (strcmp(netlink_text(info[IFLA_INFO_SLAVE_KIND]), "bridge")) {
		link->master = 0;
	} else if (info[IFLA_INFO_SLAVE_DATA]) {
		netlink_sort_nest(info[IFLA_INFO_SLAVE_DATA], data,
				  ARRAY_SIZE(data));
		link->state = netlink_number(data[IFLA_BRPORT_STATE]);
	}
}

static int take_link(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *attrs[IFLA_LINK_NETNSID + 1];
	const struct ifinfomsg *ifi = netlink_payload(hdr);
	struct bridge_info *info = arg;
	struct bridge_link *link, read = { 0 };

	if (hdr->nlmsg_type != RTM_NEWLINK)
		return 0;
	netlink_sort(hdr, sizeof(*ifi), attrs, ARRAY_SIZE(attrs));
	read.master = (int)netlink_number(attrs[IFLA_MASTER]);
	if (attrs[IFLA_LINKINFO])
		take_kind(&read, attrs[IFLA_LINKINFO]);
	if (!attrs[IFLA_LINK_NETNSID])
		read.on = (int)netlink_number(attrs[IFLA_LINK]);
	if (!read.is_bridge && !read.master && !read.on)
		return 0;
	read.index = ifi->ifi_index;
	read.up = ifi->ifi_flags & IFF_UP;
	read.mtu = netlink_number(attrs[IFLA_MTU]);
	strncpy(read.name, netlink_text(attrs[IFLA_IFNAME]), IFNAMSIZ - 1);
	strncpy(read.alias, netlink_text(attrs[IFLA_IFALIAS]), IFNAMSIZ);
	if (attrs[IFLA_ADDRESS] && netlink_len(attrs[IFLA_ADDRESS]) == NET_MAC)
		memcpy(read.mac, netlink_data(attrs[IFLA_ADDRESS]), NET_MAC);
	link = grow((void **)&info->links, &info->nr_links, sizeof(*link));
	if (!link)
		return -ENOMEM;
	*link = read;
	return 0;
}

/* The VLANs of one link: a list of single ones. */
static void take_vlan(struct bridge_link *link, const struct nlattr *attr)
{
	struct bridge_vlan_info vlan;

	if ((attr->nla_type & NLA_TYPE_MASK) != IFLA_BRIDGE_VLAN_INFO ||
	    netlink_len(attr) < sizeof(vlan))
		return;
	memcpy(&vlan, netlink_data(attr), sizeof(vlan));
	if (vlan.vid > NET_VLAN_MAX)
		return;
	link->vlans[vlan.vid] =
		BRIDGE_VLAN_MEMBER |
		(vlan.flags & BRIDGE_VLAN_INFO_PVID ? BRIDGE_VLAN_PVID : 0) |
		(vlan.flags & BRIDGE_VLAN_INFO_UNTAGGED ? BRIDGE_VLAN_UNTAGGED
							: 0);
}

static int take_vlans(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *attrs[IFLA_AF_SPEC + 1], *spec;
	const struct ifinfomsg *ifi = netlink_payload(hdr);
	struct bridge_info *info = arg;
	size_t at = 0;

	if (hdr->nlmsg_type != RTM_NEWLINK)
		return 0;
	netlink_sort(hdr, sizeof(*ifi), attrs, ARRAY_SIZE(attrs));
	spec = attrs[IFLA_AF_SPEC];
	for (size_t i = 0; spec && i < info->nr_links; i++) {
		if (info->links[i].index != ifi->ifi_index)
			continue;
		while (at + NLA_HDRLEN <= netlink_len(spec)) {
			const struct nlattr *attr =
				(const void *)((const uint8_t *)netlink_data(
						       spec) +
					       at);

			if (attr->nla_len < NLA_HDRLEN ||
			    attr->nla_len > netlink_len(spec) - at)
				break;
			take_vlan(&info->links[i], attr);
			at += NLA_ALIGN(attr->nla_len);
		}
	}
	return 0;
}

static int take_address(const struct nlmsghdr *hdr, void *arg)
{
	const struct nlattr *attrs[NDA_MASTER + 1];
	const struct ndmsg *nd = netlink_payload(hdr);
	struct bridge_info *info = arg;
	struct nda_cacheinfo cache = { 0 };
	struct bridge_address *address;

	if (hdr->nlmsg_type != RTM_NEWNEIGH || nd->ndm_family != AF_BRIDGE)
		return 0;
	netlink_sort(hdr, sizeof(*nd), attrs, ARRAY_SIZE(attrs));
	/* Without a master it is in a card's own filter. */
	if (!attrs[NDA_MASTER] || !attrs[NDA_LLADDR] ||
	    netlink_len(attrs[NDA_LLADDR]) != NET_MAC)
		return 0;
	address = grow((void **)&info->addresses, &info->nr_addresses,
		       sizeof(*address));
	if (!address)
		return -ENOMEM;
	address->bridge = (int)netlink_number(attrs[NDA_MASTER]);
	address->port = nd->ndm_ifindex;
	memcpy(address->mac, netlink_data(attrs[NDA_LLADDR]), NET_MAC);
	address->vlan = netlink_number(attrs[NDA_VLAN]);
	address->local = nd->ndm_state & NUD_PERMANENT;
	address->permanent = nd->ndm_state & (NUD_PERMANENT | NUD_NOARP);
	if (attrs[NDA_CACHEINFO] &&
	    netlink_len(attrs[NDA_CACHEINFO]) >= sizeof(cache))
		memcpy(&cache, netlink_data(attrs[NDA_CACHEINFO]),
		       sizeof(cache));
	address->age_ms = cache.ndm_updated * 1000ull / sysconf(_SC_CLK_TCK);
	return 0;
}

static int read_all(struct netlink *nl, struct bridge_info *info)
{
	struct ifinfomsg all = { 0 }, bridges = { .ifi_family = AF_BRIDGE };
	struct ndmsg table = { .ndm_family = AF_BRIDGE };
	struct netlink_msg msg;
	int err;

	netlink_begin(&msg, RTM_GETLINK, 0, &all, sizeof(all));
	err = netlink_dump(nl, &msg, take_link, info);
	if (err)
		return err;
	netlink_begin(&msg, RTM_GETLINK, 0, &bridges, sizeof(bridges));
	netlink_put_u32(&msg, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
	err = netlink_dump(nl, &msg, take_vlans, info);
	/* A kernel without VLANs in its bridges has nothing to tell. */
	if (err && err != -EOPNOTSUPP)
		return err;
	netlink_begin(&msg, RTM_GETNEIGH, 0, &table, sizeof(table));
	err = netlink_dump(nl, &msg, take_address, info);
	return err == -EOPNOTSUPP ? 0 : err;
}

int bridge_info_read(struct bridge_info *info)
{
	struct netlink nl;
	int err = netlink_open(&nl);

	if (err)
		return err;
	err = -EINTR;
	for (int i = 0; i < TRIES && err == -EINTR; i++) {
		*info = (struct bridge_info){ 0 };
		err = read_all(&nl, info);
		if (err)
			bridge_info_free(info);
	}
	netlink_close(&nl);
	return err;
}

void bridge_info_free(struct bridge_info *info)
{
	free(info->links);
	free(info->addresses);
}

const struct bridge_link *bridge_info_find(const struct bridge_info *info,
					   int index)
{
	for (size_t i = 0; i < info->nr_links; i++) {
		if (info->links[i].index == index)
			return &info->links[i];
	}
	return NULL;
}

const char *bridge_state_name(uint8_t state)
{
	static const char *const names[] = {
		[BR_STATE_DISABLED] = "disabled",
		[BR_STATE_LISTENING] = "listening",
		[BR_STATE_LEARNING] = "learning",
		[BR_STATE_FORWARDING] = "forwarding",
		[BR_STATE_BLOCKING] = "blocking",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}
