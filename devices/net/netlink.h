/*
 * Questions to and orders for the kernel's network over rtnetlink(7), in the
 * caller's network namespace.
 *
 * A conversation is one socket; one thread at a time uses it. Functions return
 * 0 or -errno and are silent: the caller knows what it was for.
 */
#ifndef KVIST_NET_NETLINK_H
#define KVIST_NET_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink {
	int fd;
	uint32_t seq;
};

/* An order that is being written. Too much for it makes netlink_do() fail with
 * -EMSGSIZE, so that the steps in between need no checks. */
struct netlink_msg {
	union {
		struct nlmsghdr hdr;
		uint8_t bytes[4096];
	};
	bool full;
};

int netlink_open(struct netlink *nl);
void netlink_close(struct netlink *nl);

/* Begins an order RTM_* with NLM_F_* @flags, whose fixed part (struct
 * ifinfomsg and the like) is @len bytes at @fixed. */
void netlink_begin(struct netlink_msg *msg, uint16_t type, uint16_t flags,
		   const void *fixed, size_t len);
/* One attribute more. */
void netlink_put(struct netlink_msg *msg, uint16_t type, const void *data,
		 size_t len);
void netlink_put_text(struct netlink_msg *msg, uint16_t type, const char *text);
void netlink_put_u32(struct netlink_msg *msg, uint16_t type, uint32_t value);
/* Attributes put between the two are within one of @type. */
struct nlattr *netlink_nest(struct netlink_msg *msg, uint16_t type);
void netlink_nest_end(struct netlink_msg *msg, struct nlattr *nest);

/* Called with each message of an answer, until a call returns nonzero: that
 * is then what the question returns. */
typedef int netlink_each(const struct nlmsghdr *hdr, void *arg);

/* Sends an order, and waits until it is carried out. */
int netlink_do(struct netlink *nl, struct netlink_msg *msg);
/* Removes the interface with this number. */
int netlink_delete_link(struct netlink *nl, int index);
/* Asks about one thing. */
int netlink_get(struct netlink *nl, struct netlink_msg *msg, netlink_each *each,
		void *arg);
/* Asks about the interface @name. */
int netlink_get_link(struct netlink *nl, const char *name, netlink_each *each,
		     void *arg);
/* Asks for a whole table. -EINTR if it changed meanwhile: ask again. */
int netlink_dump(struct netlink *nl, struct netlink_msg *msg,
		 netlink_each *each, void *arg);

/*
 * Sorts the attributes of a message, whose fixed part is @fixed bytes, by
 * their type: table[type], NULL where there is none, for 0 <= type < @count.
 * The second form does it within an attribute.
 */
void netlink_sort(const struct nlmsghdr *hdr, size_t fixed,
		  const struct nlattr **table, unsigned count);
void netlink_sort_nest(const struct nlattr *nest, const struct nlattr **table,
		       unsigned count);
/* The same with what a link tells that only its kind has (IFLA_INFO_DATA).
 * False if that is nothing. */
bool netlink_sort_kind(const struct nlmsghdr *hdr, const struct nlattr **table,
		       unsigned count);
/* The attribute's content. */
static inline const void *netlink_data(const struct nlattr *attr)
{
	return (const uint8_t *)attr + NLA_HDRLEN;
}
static inline size_t netlink_len(const struct nlattr *attr)
{
	return attr->nla_len - NLA_HDRLEN;
}
/* Its number, which has 1, 2 or 4 bytes; 0 for NULL. */
uint32_t netlink_number(const struct nlattr *attr);
/* Its text, or "" when it is none. */
const char *netlink_text(const struct nlattr *attr);

/* What follows the header of a message; NLMSG_DATA() without its cast. */
static inline const void *netlink_payload(const struct nlmsghdr *hdr)
{
	return (const char *)hdr + NLMSG_HDRLEN;
}

#endif
