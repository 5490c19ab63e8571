#include "cli/options_net.h"

#include "devices/virtio/limit.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

/* Where the frames go: one of these for each card. */
static const struct {
	const char *key;
	enum net_kind kind;
} kinds[] = {
	{ "bridge", NET_BRIDGE }, { "tap", NET_TAP },     { "fd", NET_FD },
	{ "pair", NET_PAIR },     { "passt", NET_PASST },
};

static int wrong(const char *key, const char *value, const char *why)
{
	log_err("--net %s=%s: %s", key, value, why);
	return -EINVAL;
}

static int unknown(const char *key, const char *value)
{
	log_err("--net: %s%s%s is not one of none (alone), "
		"bridge=BR[,create][,vlan=N], "
		"tap=IF[,create], fd=N, pair=NAME, passt=SOCKET (one of "
		"these), mac=MAC, mtu=N, queues=N, rss=on|off, "
		"vhost=on|off|auto, rate=SIZE, burst=SIZE, pcap=FILE, up=CMD, "
		"down=CMD (a comma in a value is written twice)",
		key, value ? "=" : "", value ? value : "");
	return -EINVAL;
}

static int parse_kind(struct net_options *net, const char *key,
		      const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(key, kinds[i].key))
			continue;
		if (!*value || net->ifname)
			return unknown(key, value);
		net->kind = kinds[i].kind;
		net->ifname = value;
		return 0;
	}
	return -ENOENT;
}

static int parse_mac(struct net_options *net, const char *value)
{
	net->has_mac = true;
	return net_mac_parse(value, net->mac)
		       ? wrong("mac", value,
			       "is not a unicast MAC such as 52:54:00:12:34:56")
		       : 0;
}

static int parse_text(const char *key, const char *value, const char **text)
{
	*text = value;
	return *value ? 0 : unknown(key, value);
}

/* A number of @min to @max to *count. */
static int parse_count(const char *key, const char *value, uint32_t min,
		       uint32_t max, uint32_t *count)
{
	uint64_t number = 0;
	int err = parse_number(value, min, max, &number);

	*count = number;
	if (!err)
		return 0;
	log_err("--net %s=%s: is not a number from %" PRIu32 " to %" PRIu32,
		key, value, min, max);
	return -EINVAL;
}

static int parse_bytes(const char *key, const char *value, uint64_t *bytes)
{
	if (!parse_size(value, bytes) && *bytes && *bytes <= LIMIT_RATE_MAX)
		return 0;
	return wrong(key, value, "is not a number of bytes, as 10M");
}

static int parse_vhost(struct net_options *net, const char *value)
{
	static const char *const names[] = { [NET_VHOST_OFF] = "off",
					     [NET_VHOST_ON] = "on",
					     [NET_VHOST_AUTO] = "auto" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(value, names[i])) {
			net->vhost = i;
			return 0;
		}
	}
	return wrong("vhost", value, "is not one of on, off, auto");
}

static int parse_rss(struct net_options *net, const char *value)
{
	net->rss = !strcmp(value, "on");
	return net->rss || !strcmp(value, "off")
		       ? 0
		       : wrong("rss", value, "is not one of on, off");
}

static int parse_field(struct net_options *net, const char *key,
		       const char *value)
{
	int err;

	if (!strcmp(key, "create") && !value) {
		net->create = true;
		return 0;
	}
	if (!value)
		return unknown(key, value);
	err = parse_kind(net, key, value);
	if (err != -ENOENT)
		return err;
	if (!strcmp(key, "up"))
		return parse_text(key, value, &net->up);
	if (!strcmp(key, "down"))
		return parse_text(key, value, &net->down);
	if (!strcmp(key, "pcap"))
		return parse_text(key, value, &net->pcap);
	if (!strcmp(key, "rate"))
		return parse_bytes(key, value, &net->rate);
	if (!strcmp(key, "burst"))
		return parse_bytes(key, value, &net->burst);
	if (!strcmp(key, "mtu"))
		return parse_count(key, value, NET_MTU_MIN, NET_MTU_MAX,
				   &net->mtu);
	if (!strcmp(key, "queues"))
		return parse_count(key, value, 1, NET_QUEUES_MAX, &net->queues);
	if (!strcmp(key, "vlan"))
		return parse_count(key, value, 1, NET_VLAN_MAX, &net->vlan);
	if (!strcmp(key, "mac"))
		return parse_mac(net, value);
	if (!strcmp(key, "vhost"))
		return parse_vhost(net, value);
	if (!strcmp(key, "rss"))
		return parse_rss(net, value);
	return unknown(key, value);
}

/* What goes together. */
static int check(struct net_options *net)
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
	if (net->kind != NET_BRIDGE && net->vlan)
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
	/* Now, before descriptors of our own have such numbers. */
	if (!why && net->kind == NET_FD && fcntl(net->fd, F_GETFD) < 0)
		why = "no such descriptor is open: kvist gets it from whoever "
		      "starts it, with the number it has there";
	if (!why)
		return 0;
	log_err("--net %s%s: %s", net->kind == NET_FD ? "fd=" : "", net->ifname,
		why);
	return -EINVAL;
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
		err = check(net);
	config->nr_nets++;
	return err;
}
