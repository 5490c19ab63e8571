#include "devices/net/netlink.h"

#include "util/checked.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What one recv(2) of an answer takes: the kernel's own measure. */
#define ANSWER_MAX 32768

int netlink_open(struct netlink *nl)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int one = 1, err;

	nl->seq = 0;
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (nl->fd < 0)
		return -errno;
	if (!connect(nl->fd, (struct sockaddr *)&kernel, sizeof(kernel))) {
		/* An error need not carry our whole order back. */
		setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &one,
			   sizeof(one));
		return 0;
	}
	err = -errno;
	close(nl->fd);
	return err;
}

void netlink_close(struct netlink *nl)
{
	close(nl->fd);
}

/* @len more bytes at the end, cleared, or NULL. */
static void *msg_extend(struct netlink_msg *msg, size_t len)
{
	uint8_t *at = msg->bytes + msg->hdr.nlmsg_len;

	len = NLMSG_ALIGN(len);
	if (msg->full || len > sizeof(msg->bytes) - msg->hdr.nlmsg_len) {
		msg->full = true;
		return NULL;
	}
	memset(at, 0, len);
	msg->hdr.nlmsg_len += len;
	return at;
}

void netlink_begin(struct netlink_msg *msg, uint16_t type, uint16_t flags,
		   const void *fixed, size_t len)
{
	void *at;

	msg->full = false;
	msg->hdr = (struct nlmsghdr){
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
	};
	at = msg_extend(msg, len);
	if (at)
		memcpy(at, fixed, len);
}

void netlink_put(struct netlink_msg *msg, uint16_t type, const void *data,
		 size_t len)
{
	struct nlattr *attr = msg_extend(msg, NLA_HDRLEN + len);

	if (!attr)
		return;
	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + len;
	if (len)
		memcpy((uint8_t *)attr + NLA_HDRLEN, data, len);
}

void netlink_put_text(struct netlink_msg *msg, uint16_t type, const char *text)
{
	netlink_put(msg, type, text, strlen(text) + 1);
}

void netlink_put_u32(struct netlink_msg *msg, uint16_t type, uint32_t value)
{
	netlink_put(msg, type, &value, sizeof(value));
}

struct nlattr *netlink_nest(struct netlink_msg *msg, uint16_t type)
{
	struct nlattr *nest = msg_extend(msg, NLA_HDRLEN);

	if (nest)
		nest->nla_type = type | NLA_F_NESTED;
	return nest;
}

void netlink_nest_end(struct netlink_msg *msg, struct nlattr *nest)
{
	if (nest)
		nest->nla_len =
			msg->bytes + msg->hdr.nlmsg_len - (uint8_t *)nest;
}

static int send_msg(struct netlink *nl, struct netlink_msg *msg)
{
	ssize_t n;

	if (msg->full)
		return -EMSGSIZE;
	msg->hdr.nlmsg_seq = ++nl->seq;
	do
		n = send(nl->fd, msg->bytes, msg->hdr.nlmsg_len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

struct reply {
	struct netlink *nl;
	netlink_each *each; /* or NULL */
	void *arg;
	int result;
	bool changed; /* the tables, while they were being read */
};

static int error_of(const struct nlmsghdr *hdr)
{
	const struct nlmsgerr *error = netlink_payload(hdr);

	return hdr->nlmsg_len < NLMSG_LENGTH(sizeof(int)) ? -EPROTO
							  : error->error;
}

/* True if it was the last message of the answer. */
static bool reply_take(struct reply *reply, const struct nlmsghdr *hdr)
{
	if (hdr->nlmsg_seq != reply->nl->seq)
		return false; /* of an order that was given up */
	if (hdr->nlmsg_flags & NLM_F_DUMP_INTR)
		reply->changed = true;
	if (hdr->nlmsg_type == NLMSG_ERROR || hdr->nlmsg_type == NLMSG_DONE) {
		int err = error_of(hdr);

		if (!reply->result)
			reply->result = err;
		if (!reply->result && reply->changed)
			reply->result = -EINTR;
		return true;
	}
	/* After the first refusal the rest is read, and dropped. */
	if (reply->each && !reply->result)
		reply->result = reply->each(hdr, reply->arg);
	return false;
}

static int reply_read(struct reply *reply)
{
	struct nlmsghdr *buffer = malloc(ANSWER_MAX), *hdr;
	bool done = false;
	int err = buffer ? 0 : -ENOMEM;

	while (!err && !done) {
		ssize_t n = recv(reply->nl->fd, buffer, ANSWER_MAX, MSG_TRUNC);
		unsigned left = n > 0 ? n : 0;

		if (n < 0 && errno != EINTR)
			err = -errno;
		else if (n > ANSWER_MAX)
			err = -EMSGSIZE;
		for (hdr = buffer; !err && !done && NLMSG_OK(hdr, left);
		     hdr = NLMSG_NEXT(hdr, left))
			done = reply_take(reply, hdr);
	}
	free(buffer);
	return err ? err : reply->result;
}

static int converse(struct netlink *nl, struct netlink_msg *msg, uint16_t flags,
		    netlink_each *each, void *arg)
{
	struct reply reply = { .nl = nl, .each = each, .arg = arg };
	int err;

	msg->hdr.nlmsg_flags |= flags;
	err = send_msg(nl, msg);
	return err ? err : reply_read(&reply);
}

int netlink_do(struct netlink *nl, struct netlink_msg *msg)
{
	return converse(nl, msg, NLM_F_ACK, NULL, NULL);
}

int netlink_delete_link(struct netlink *nl, int index)
{
	struct ifinfomsg info = { .ifi_index = index };
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_DELLINK, 0, &info, sizeof(info));
	return netlink_do(nl, &msg);
}

int netlink_get(struct netlink *nl, struct netlink_msg *msg, netlink_each *each,
		void *arg)
{
	return converse(nl, msg, NLM_F_ACK, each, arg);
}

int netlink_get_link(struct netlink *nl, const char *name, netlink_each *each,
		     void *arg)
{
	struct ifinfomsg info = { 0 };
	struct netlink_msg msg;

	netlink_begin(&msg, RTM_GETLINK, 0, &info, sizeof(info));
	netlink_put_text(&msg, IFLA_IFNAME, name);
	return netlink_get(nl, &msg, each, arg);
}

int netlink_dump(struct netlink *nl, struct netlink_msg *msg,
		 netlink_each *each, void *arg)
{
	return converse(nl, msg, NLM_F_DUMP, each, arg);
}

static void sort(const uint8_t *at, size_t left, const struct nlattr **table,
		 unsigned count)
{
	memset(table, 0, count * sizeof(*table));
	while (left >= NLA_HDRLEN) {
		const struct nlattr *attr = (const void *)at;
		size_t len = NLA_ALIGN(attr->nla_len);
		unsigned type = attr->nla_type & NLA_TYPE_MASK;

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > left)
			return;
		if (type < count)
			table[type] = attr;
		at += len;
		left -= len < left ? len : left;
	}
}

void netlink_sort(const struct nlmsghdr *hdr, size_t fixed,
		  const struct nlattr **table, unsigned count)
{
	size_t head = NLMSG_HDRLEN + NLMSG_ALIGN(fixed);

	sort((const uint8_t *)hdr + head,
	     hdr->nlmsg_len > head ? hdr->nlmsg_len - head : 0, table, count);
}

void netlink_sort_nest(const struct nlattr *nest, const struct nlattr **table,
		       unsigned count)
{
	sort(netlink_data(nest), netlink_len(nest), table, count);
}

bool netlink_sort_kind(const struct nlmsghdr *hdr, const struct nlattr **table,
		       unsigned count)
{
	const struct nlattr *link[IFLA_LINKINFO + 1], *info[IFLA_INFO_DATA + 1];

	if (hdr->nlmsg_type != RTM_NEWLINK)
		return false;
	netlink_sort(hdr, sizeof(struct ifinfomsg), link, ARRAY_SIZE(link));
	if (!link[IFLA_LINKINFO])
		return false;
	netlink_sort_nest(link[IFLA_LINKINFO], info, ARRAY_SIZE(info));
	if (!info[IFLA_INFO_DATA])
		return false;
	netlink_sort_nest(info[IFLA_INFO_DATA], table, count);
	return true;
}

uint32_t netlink_number(const struct nlattr *attr)
{
	uint32_t number = 0;
	size_t len = attr ? netlink_len(attr) : 0;

	/* The machine's own order, which is little-endian. */
	if (len)
		memcpy(&number, netlink_data(attr), len < 4 ? len : 4);
	return number;
}

const char *netlink_text(const struct nlattr *attr)
{
	size_t len = attr ? netlink_len(attr) : 0;
	const char *text = len ? netlink_data(attr) : "";

	return len && text[len - 1] ? "" : text;
}
