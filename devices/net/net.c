#include "devices/net/net.h"

#include "devices/net/bridge.h"
#include "devices/net/capture.h"
#include "devices/net/hook.h"
#include "devices/net/netif.h"
#include "devices/net/pair.h"
#include "devices/net/passt.h"
#include "devices/net/tap.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>

/* Kernel-numbered: two kvists never meet in a name. */
#define TAP_TEMPLATE "kvist%d"

/* What went wrong with /dev/net/tun itself, or NULL. */
static const char *tun_advice(int err)
{
	switch (err) {
	case -ENOENT:
	case -ENXIO:
		return "/dev/net/tun is missing: modprobe tun, or give it to "
		       "this container (docker run --device /dev/net/tun)";
	case -EACCES:
		return "no right to open /dev/net/tun: run as root, or: chmod "
		       "0666 /dev/net/tun (what udev sets; a tap's owner is "
		       "checked all the same)";
	case -EMFILE:
	case -ENFILE:
		return "too many open files: raise ulimit -n";
	}
	return NULL;
}

static unsigned queues_wanted(const struct net_options *options)
{
	unsigned queues = options->queues ? options->queues
					  : options->queues_auto;

	return queues ? queues : 1;
}

static int open_bridge(const struct net_options *options,
		       struct net_backend **net)
{
	const char *bridge = options->ifname, *advice;
	int err = bridge_prepare(options);

	if (err)
		return err;
	err = tap_open(TAP_TEMPLATE, queues_wanted(options), net);
	advice = tun_advice(err);
	if (err == -EPERM) {
		log_err("net bridge %s: no right to make a tap "
			"(CAP_NET_ADMIN): run as root, or once: sudo ip tuntap "
			"add dev tap0 mode tap user $USER && sudo ip link set "
			"tap0 master %s up, and then use --net tap=tap0",
			bridge, bridge);
		return err;
	}
	if (err) {
		log_err("net bridge %s: %s", bridge,
			advice ? advice : strerror(-err));
		return err;
	}
	err = bridge_attach(options, *net);
	if (err)
		net_close(*net);
	return err;
}

/* Why tap_open() failed on a tap that exists. */
static void tap_explain(const char *tap, int err)
{
	const char *advice = tun_advice(err);

	if (err == -EPERM)
		log_err("net tap %s: it belongs to another user: run as root, "
			"or make one of your own: sudo ip tuntap add dev TAP "
			"mode tap user $USER && sudo ip link set TAP up",
			tap);
	else if (err == -EBUSY)
		log_err("net tap %s: it is in use, by another process or "
			"another --net: each card needs its own",
			tap);
	else
		log_err("net tap %s: %s", tap,
			advice ? advice : strerror(-err));
}

/* @what is wrong with the tap, for which making it is the remedy. */
static void tap_missing(const char *tap, const char *what)
{
	log_err("net tap %s: %s: sudo ip tuntap add dev %s mode tap user $USER "
		"&& sudo ip link set %s up",
		tap, what, tap, tap);
}

/* A tap that is not there: made, for as long as the process lives. */
static int make_tap(const struct net_options *options, struct net_backend **net)
{
	struct ifreq mtu = { .ifr_mtu = (int)options->mtu };
	const char *tap = options->ifname, *step = "set its MTU";
	int err = tap_open(tap, queues_wanted(options), net);

	if (err == -EPERM) {
		tap_missing(tap, "no right to make it (CAP_NET_ADMIN): run as "
				 "root, or once");
		return err;
	}
	if (err) {
		tap_explain(tap, err);
		return err;
	}
	if (options->mtu) {
		(*net)->mtu = options->mtu;
		err = netif_request(tap, SIOCSIFMTU, &mtu);
	}
	if (!err) {
		step = "bring it up";
		err = netif_set_up(tap);
	}
	if (err) {
		log_err("net tap %s: cannot %s: %s", tap, step, strerror(-err));
		net_close(*net);
	}
	return err;
}

static int open_tap(const struct net_options *options, struct net_backend **net)
{
	unsigned queues = queues_wanted(options);
	const char *tap = options->ifname;
	struct tap_queues has = tap_queues(tap);
	int err = netif_index(tap);

	if (err == -ENODEV && options->create)
		return make_tap(options, net);
	if (err < 0) {
		tap_missing(tap, err == -ENODEV ? "no such interface; make it"
						: strerror(-err));
		return err;
	}
	if (!netif_is(tap, "tap")) {
		log_err("net tap %s: this interface is not a tap: make one "
			"with: sudo ip tuntap add dev tap0 mode tap user $USER",
			tap);
		return -EINVAL;
	}
	if (queues > 1 && !has.multi_queue) {
		if (options->queues) {
			log_err("net tap %s: queues=%u: it was made with one "
				"queue: make it anew: ip tuntap del dev %s "
				"mode tap; ip tuntap add dev %s mode tap "
				"multi_queue user $USER",
				tap, queues, tap, tap);
			return -EINVAL;
		}
		queues = 1;
	}
	/* Before a queue of ours takes a share of another guest's frames. */
	err = has.open ? -EBUSY : tap_open(tap, queues, net);
	if (err) {
		tap_explain(tap, err);
		return err;
	}
	/* Only with CAP_NET_ADMIN; to own the tap is not enough. */
	if (!netif_is_up(tap) && netif_set_up(tap))
		log_warn("net tap %s: it is down and carries nothing until: "
			 "ip link set %s up",
			 tap, tap);
	return 0;
}

static int open_fd(const struct net_options *options, struct net_backend **net)
{
	int err = tap_adopt(options->fd, net);

	switch (err) {
	case 0:
		return 0;
	case -EBADF:
		log_err("net fd=%s: no such descriptor is open",
			options->ifname);
		break;
	case -ENOTTY:
		log_err("net fd=%s: the descriptor is not a tap: open "
			"/dev/net/tun and choose one with TUNSETIFF",
			options->ifname);
		break;
	case -EINVAL:
		log_err("net fd=%s: the tap was opened without IFF_NO_PI or "
			"IFF_VNET_HDR: choose it with both in TUNSETIFF",
			options->ifname);
		break;
	default:
		log_err("net fd=%s: %s", options->ifname, strerror(-err));
	}
	return err;
}

static int open_pair(const struct net_options *options,
		     struct net_backend **net)
{
	int err = net_pair_open(options->ifname, net);

	if (err == -EPERM)
		log_err("net pair %s: another user has this name: choose "
			"another one",
			options->ifname);
	else if (err)
		log_err("net pair %s: %s", options->ifname, strerror(-err));
	/* A cable without a machine at its end carries any length. */
	if (!err && options->mtu)
		(*net)->mtu = options->mtu;
	return err;
}

static int open_passt(const struct net_options *options,
		      struct net_backend **net)
{
	const char *path = options->ifname;
	int err = passt_open(path, net);

	if (err == -ENOENT || err == -ECONNREFUSED)
		log_err("net passt %s: nobody listens there: start it first: "
			"passt -s %s",
			path, path);
	else if (err == -EACCES)
		log_err("net passt %s: no right to write to it: start it as "
			"this user: passt -s %s",
			path, path);
	else if (err)
		log_err("net passt %s: %s", path, strerror(-err));
	if (!err && options->mtu && options->mtu <= PASST_MTU_MAX)
		(*net)->mtu = options->mtu;
	return err;
}

/* With a program that chooses the first queue: the guest relies on it. */
static int try_steering(const struct net_options *options,
			struct net_backend *net)
{
	static const struct bpf_insn first[] = {
		{ .code = BPF_ALU64 | BPF_MOV },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int err;

	if (!net->ours) {
		log_err("net %s: rss=on: the tap was made by others, and would "
			"keep what this guest sets: use bridge=BR or "
			"tap=IF,create",
			options->ifname);
		return -EINVAL;
	}
	err = net->ops->set_steering(net, first, ARRAY_SIZE(first));
	if (err)
		log_err("net %s: rss=on: the kernel takes no program: %s%s",
			options->ifname, strerror(-err),
			err == -EPERM ? ": run as root, or: setcap "
					"cap_net_admin,cap_bpf+ep kvist"
				      : "");
	net->steers = !err;
	return err;
}

/* The card does it, and only with what it sees. */
static void set_rate(const struct net_options *options, struct net_backend *net)
{
	net->rate = options->rate;
	net->burst = options->burst;
	for (; net && options->rate; net = net->next)
		net->kernel_may_carry = false;
}

/* The cable is there: the user's commands for its coming and going. */
static int run_hooks(const struct net_options *options, struct net_backend *net)
{
	struct hook_event event = {
		.tap = net->name,
		.bridge = options->kind == NET_BRIDGE ? options->ifname : NULL,
	};
	struct hook *down;
	int err = options->up ? hook_run(options->up, &event) : 0;

	if (err || !options->down)
		return err;
	err = hook_prepare(options->down, &event, &down);
	if (!err)
		tap_set_down(net, down);
	return err;
}

/* A guest that is told of less than the cable carries loses nothing, but more
 * would be lost on the way. */
static int mtu_choose(const struct net_options *options,
		      struct net_backend *net)
{
	const char *end = options->kind == NET_BRIDGE ? options->ifname
						      : net->name;

	if (options->mtu <= net->mtu) {
		if (options->mtu)
			net->mtu = options->mtu;
		return 0;
	}
	if (options->kind == NET_PASST)
		log_err("net %s: mtu=%u: it carries no more than %u", end,
			options->mtu, PASST_MTU_MAX);
	else
		log_err("net %s: mtu=%u: it carries no more than %u until: ip "
			"link set %s mtu %u",
			end, options->mtu, net->mtu, end, options->mtu);
	return -EMSGSIZE;
}

void net_close(struct net_backend *net)
{
	while (net) {
		struct net_backend *next = net->next;

		net->ops->close(net);
		net = next;
	}
}

static int open_kind(const struct net_options *options,
		     struct net_backend **net)
{
	switch (options->kind) {
	case NET_BRIDGE:
		return open_bridge(options, net);
	case NET_TAP:
		return open_tap(options, net);
	case NET_FD:
		return open_fd(options, net);
	case NET_PAIR:
		return open_pair(options, net);
	case NET_PASST:
		return open_passt(options, net);
	}
	return -EINVAL;
}

int net_open(const struct net_options *options, struct net_backend **net)
{
	int err = open_kind(options, net);

	if (err)
		return err;
	err = mtu_choose(options, *net);
	if (!err && options->rss)
		err = try_steering(options, *net);
	if (!err)
		err = run_hooks(options, *net);
	if (!err)
		set_rate(options, *net);
	if (!err && options->pcap)
		err = capture_open(options->pcap, net);
	if (err)
		net_close(*net);
	return err;
}

/* FNV-1a, 64 bits, over the bytes of @text and its final zero. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3;
	} while (*text++);
	return hash;
}

/*
 * The first octet is 52 (locally administered, unicast); the other five are
 * the low 40 bits of FNV-1a of "machine\0device\0". 40 bits, not the 24 that
 * a vendor's prefix leaves: of a thousand guests on a bridge two would share
 * an address once in two million networks, not once in thirty-four.
 */
void net_mac_derive(const char *machine, const char *device,
		    uint8_t mac[NET_MAC])
{
	uint64_t hash = hash_text(0xcbf29ce484222325, machine);

	hash = hash_text(hash, device);
	mac[0] = 0x52;
	for (int i = 1; i < NET_MAC; i++)
		mac[i] = hash >> 8 * (NET_MAC - 1 - i);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int net_mac_parse(const char *text, uint8_t mac[NET_MAC])
{
	static const uint8_t zero[NET_MAC];
	uint8_t parsed[NET_MAC];

	if (strlen(text) != 3 * NET_MAC - 1)
		return -EINVAL;
	for (int i = 0; i < NET_MAC; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 ||
		    text[2] != (i == NET_MAC - 1 ? '\0' : ':'))
			return -EINVAL;
		parsed[i] = high << 4 | low;
	}
	if ((parsed[0] & 1) || !memcmp(parsed, zero, sizeof(zero)))
		return -EINVAL;
	memcpy(mac, parsed, sizeof(parsed));
	return 0;
}
