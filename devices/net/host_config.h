/*
 * The addresses and routes of one network interface of the host, remembered,
 * so that they can be taken off and put onto another. Main thread. Each 0 or
 * -errno, silent.
 */
#ifndef KVIST_NET_HOST_CONFIG_H
#define KVIST_NET_HOST_CONFIG_H

#include "devices/net/netlink.h"

#include <net/if.h>
#include <stddef.h>

struct host_item {
	struct nlmsghdr *hdr; /* as the kernel told it */
};

struct host_config {
	int index;
	char name[IFNAMSIZ];     /* of the interface it was read from */
	struct host_item *items; /* in the order in which they can be added */
	size_t nr_items;
};

/*
 * What is on interface @index, called @name: addresses and routes of every
 * table, without those to the addresses themselves and those of the link's own
 * scope.
 * -EOPNOTSUPP if it has routes over several interfaces at once, which cannot
 * be moved. The caller frees it.
 */
int host_config_read(struct netlink *nl, int index, const char *name,
		     struct host_config *config);
void host_config_free(struct host_config *config);

/* Puts the item onto interface @index called @name, or takes it off. Routes
 * go by way of it then. 1 if the very same route was there: the kernel makes
 * one for an address, unless it is told not to. -EEXIST if that stands where
 * an IPv6 route is to be that differs in its MTU, source or the like. */
int host_item_add(struct netlink *nl, const struct host_config *config,
		  size_t item, int index, const char *name);
int host_item_remove(struct netlink *nl, const struct host_config *config,
		     size_t item, int index);
/* "the address 192.0.2.1/24": for messages. */
const char *host_item_text(const struct host_config *config, size_t item,
			   char text[80]);

#endif
