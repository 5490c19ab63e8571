#include "cli/options_net.h"

#include "devices/net/netif.h"
#include "devices/virtio/limit.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

/* How a key's value is read. */
enum form { KIND, NONE, CREATE, TEXT, BYTES, COUNT, ADDRESS, RSS, VHOST };

#define AT(member) offsetof(struct net_options, member)

/* Where the frames go, in the order of enum net_kind: one of these for each
 * card. Then the rest: where the value goes, its least and its most. */
static const struct key {
	char name[7];
	uint8_t form, at, min;
	uint16_t max;
} keys[] = {
	[NET_BRIDGE] = { .name = "bridge", .form = KIND },
	[NET_TAP] = { .name = "tap", .form = KIND },
	[NET_FD] = { .name = "fd", .form = KIND },
	[NET_PAIR] = { .name = "pair", .form = KIND },
	[NET_PASST] = { .name = "passt", .form = KIND },
	{ .name = "none", .form = NONE },
	{ .name = "create", .form = CREATE },
	{ "vlan", COUNT, AT(vlan), 1, NET_VLAN_MAX },
	{ .name = "mac", .form = ADDRESS },
	{ "mtu", COUNT, AT(mtu), NET_MTU_MIN, NET_MTU_MAX },
	{ "queues", COUNT, AT(queues), 1, NET_QUEUES_MAX },
	{ .name = "rss", .form = RSS },
	{ .name = "vhost", .form = VHOST },
	{ .name = "rate", .form = BYTES, .at = AT(rate) },
	{ .name = "burst", .form = BYTES, .at = AT(burst) },
	{ .name = "pcap", .form = TEXT, .at = AT(pcap) },
	{ .name = "up", .form = TEXT, .at = AT(up) },
	{ .name = "down", .form = TEXT, .at = AT(down) },
};

_Static_assert(NET_PASST == 4, "each kind has its row");

static void *member(struct net_options *net, const struct key *key)
{
	return (char *)net + key->at;
}

static int wrong(const char *key, const char *value, const char *why)
{
	log_err("--net %s%s%s: %s", key, value ? "=" : "", value ? value : "",
		why);
	return -EINVAL;
}

static int unknown(const char *name)
{
	const char *names[ARRAY_SIZE(keys)], *nearest;

	if (!*name) {
		log_err("--net: a key is empty; see kvist run --help");
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		names[i] = keys[i].name;
	nearest = args_nearest(name, names, ARRAY_SIZE(keys), sizeof(*names));
	log_err("--net: unknown key %s; %s %s (a comma in a value is written "
		"twice)",
		name, nearest ? "did you mean" : "see",
		nearest ? nearest : "kvist run --help");
	return -EINVAL;
}

static int parse_kind(struct net_options *net, const struct key *key,
		      const char *value)
{
	if (!net->ifname) {
		net->kind = key - keys;
		net->ifname = value;
		return 0;
	}
	log_err("--net %s=%s: a second network after %s=%s; say --net for each "
		"card",
		key->name, value, keys[net->kind].name, net->ifname);
	return -EINVAL;
}

static int parse_count(const struct key *key, const char *value,
		       uint32_t *count)
{
	uint64_t number = 0;
	int err = parse_number(value, key->min, key->max, &number);

	*count = number;
	if (err)
		log_err("--net %s=%s: is not a number from %u to %u", key->name,
			value, key->min, key->max);
	return err;
}

/* The number of @value in off, on, auto, of which the first @count are meant,
 * or -1. */
static int choice(const char *value, int count)
{
	static const char *const names[] = { "off", "on", "auto" };

	while (--count >= 0 && strcmp(value, names[count]))
		;
	return count;
}

/* What is wrong with the value, or NULL. */
static const char *parse_value(struct net_options *net, const struct key *key,
			       const char *value)
{
	uint64_t *bytes = member(net, key);
	int chosen;

	switch (key->form) {
	case TEXT:
		*(const char **)member(net, key) = value;
		return NULL;
	case BYTES:
		if (!parse_size(value, bytes) && *bytes &&
		    *bytes <= LIMIT_RATE_MAX)
			return NULL;
		return "is not a number of bytes, as 10M (10 Mbit/s: 1220K)";
	case ADDRESS:
		net->has_mac = true;
		if (!net_mac_parse(value, net->mac))
			return NULL;
		return "is not a unicast MAC such as 52:54:00:12:34:56";
	case RSS:
		chosen = choice(value, 2);
		net->rss = chosen > 0;
		return chosen < 0 ? "is not one of on, off" : NULL;
	default:
		chosen = choice(value, 3);
		net->vhost = chosen;
		return chosen < 0 ? "is not one of on, off, auto" : NULL;
	}
}

static int parse_field(struct net_options *net, const char *name,
		       const char *value)
{
	const struct key *key = keys, *end = keys + ARRAY_SIZE(keys);
	const char *why;

	while (key < end && strcmp(name, key->name))
		key++;
	if (key == end)
		return unknown(name);
	if (key->form == NONE)
		return wrong(name, value, "goes with no other key");
	if (key->form == CREATE) {
		net->create = true;
		return value ? wrong(name, value, "takes no value") : 0;
	}
	if (!value || !*value)
		return wrong(name, value, "needs a value");
	if (key->form == KIND)
		return parse_kind(net, key, value);
	if (key->form == COUNT)
		return parse_count(key, value, member(net, key));
	why = parse_value(net, key, value);
	return why ? wrong(name, value, why) : 0;
}

/* What goes together. */
static int check(const struct machine_config *config, struct net_options *net)
{
	uint64_t number = 0;
	const char *why = NULL;
	bool host_end = net->kind == NET_BRIDGE || net->kind == NET_TAP;
	bool is_tap = host_end || net->kind == NET_FD;

	if (!net->ifname) {
		log_err("--net: names no bridge=BR, tap=IF, fd=N, pair=NAME "
			"or passt=SOCKET");
		return -EINVAL;
	}
	if (host_end && !netif_name_is_valid(net->ifname))
		why = NETIF_NAME_RULE;
	else if (net->kind != NET_BRIDGE && net->vlan)
		why = "vlan= goes with bridge=BR";
	else if (!host_end && (net->create || net->up || net->down ||
			       net->queues > 1 || net->rss))
		why = "create, up=, down=, queues= and rss= go with bridge=BR "
		      "and tap=IF";
	else if (!is_tap && net->vhost == NET_VHOST_ON)
		why = "vhost=on goes with bridge=BR, tap=IF and fd=N";
	else if (net->burst && !net->rate)
		why = "burst= goes with rate=";
	else if (net->vhost == NET_VHOST_ON && (net->rate || net->pcap))
		why = "rate= and pcap= do not see what the kernel carries: "
		      "leave out vhost=on";
	else if (net->kind == NET_FD &&
		 parse_number(net->ifname, 3, INT_MAX, &number))
		why = "is not the number of a descriptor, 3 or more";
	net->fd = (int)number;
	/* Now, before descriptors of our own have such numbers, and before a
	 * command that another card names is started. */
	if (!why && net->kind == NET_FD &&
	    fcntl(net->fd, F_SETFD, FD_CLOEXEC) < 0)
		why = "no such descriptor is open: who starts kvist opens it "
		      "and passes it on";
	for (const struct net_options *at = config->nets; at < net; at++) {
		if (net->has_mac && at->has_mac &&
		    !memcmp(net->mac, at->mac, NET_MAC))
			why = "another card of this machine has its mac=";
		if (net->kind == NET_FD && at->kind == NET_FD &&
		    net->fd == at->fd)
			why = "another card of this machine has it";
	}
	return why ? wrong(keys[net->kind].name, net->ifname, why) : 0;
}

int net_options_parse(struct machine_config *config, char *value)
{
	struct net_options *net = &config->nets[config->nr_nets];
	char *rest = value, *field, *field_value;
	int err = 0;

	if (!strcmp(value, "none"))
		return 0;
	*net = (struct net_options){ 0 };
	while (!err && (field = list_next(&rest, &field_value)))
		err = parse_field(net, field, field_value);
	if (!err)
		err = check(config, net);
	config->nr_nets++;
	return err;
}
