/*
 * Questions to and orders for a network interface of the host, by name, in the
 * caller's network namespace. Main thread. Each 0 or -errno unless said
 * otherwise; silent.
 */
#ifndef KVIST_NET_NETIF_H
#define KVIST_NET_NETIF_H

#include <net/if.h>
#include <stdbool.h>

/* What the kernel asks of a name; and with a %, it would make up another. */
#define NETIF_NAME_RULE                                                        \
	"a name has 1 to 15 characters, none of them / : % or space"
bool netif_name_is_valid(const char *name);
/* Its number, from 1 on; -ENODEV when there is none of that name, or the name
 * is too long. */
int netif_index(const char *name);
/* One SIOC* request (netdevice(7)); fills in ifr->ifr_name. */
int netif_request(const char *name, unsigned long request, struct ifreq *ifr);
/* True if the interface is of this kind: "tap", "tun" or "bridge". */
bool netif_is(const char *name, const char *kind);
/* True if it is up. */
bool netif_is_up(const char *name);
int netif_set_up(const char *name);

/* A descriptor that becomes readable when an interface comes, goes, or changes
 * its state; netif_watch_clear() takes what it has to tell. -errno. */
int netif_watch(void);
void netif_watch_clear(int fd);

#endif
