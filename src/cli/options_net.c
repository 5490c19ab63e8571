#include "cli/options_net.h"

#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

/* Where the frames go: one of these for each card. */
static const struct {
	const char *key;
	enum net_kind kind;
} kinds[] = {
	{ "bridge", NET_BRIDGE },
	{ "tap", NET_TAP },
};

static int wrong(const char *key, const char *value, const char *why)
{
	log_err("--net %s=%s: %s", key, value, why);
	return -EINVAL;
}

static int unknown(const char *key, const char *value)
{
	log_err("--net: %s%s%s is not one of bridge=BR, tap=IF (one of the "
		"two), mac=MAC",
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

static int parse_field(struct net_options *net, const char *key,
		       const char *value)
{
	int err;

	if (!value)
		return unknown(key, value);
	err = parse_kind(net, key, value);
	if (err != -ENOENT)
		return err;
	if (!strcmp(key, "mac")) {
		net->has_mac = true;
		return net_mac_parse(value, net->mac)
			       ? wrong(key, value,
				       "is not a unicast MAC such as "
				       "52:54:00:12:34:56")
			       : 0;
	}
	return unknown(key, value);
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
	if (!err && !net->ifname) {
		log_err("--net %s: names no bridge=BR or tap=IF", value);
		return -EINVAL;
	}
	config->nr_nets++;
	return err;
}
