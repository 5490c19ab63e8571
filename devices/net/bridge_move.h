/*
 * A bridge takes a network card of the host as its port, with the host's
 * addresses and routes on it; and gives them back.
 *
 * All of it happens, or nothing: each step has its opposite, and when one
 * fails those before it are taken back in reverse order. Main thread; needs
 * CAP_NET_ADMIN. Each 0 or -errno, logged in one line that says what to do.
 */
#ifndef KVIST_NET_BRIDGE_MOVE_H
#define KVIST_NET_BRIDGE_MOVE_H

/* For tests: the number of a step that fails with -EIO instead of happening,
 * counted from 0. */
#define MOVE_NO_FAULT (-1)

/*
 * Makes @bridge, up; netif_name_is_valid() has seen its name. With a @port
 * (else NULL) the bridge gets its MAC and MTU, all its addresses and all its
 * routes, of every table, except those of the link's own scope (fe80::).
 */
int bridge_adopt(const char *bridge, const char *port, int fault);

/*
 * Removes @bridge. If its one port is the card whose place it took, the
 * bridge's addresses and routes move to that port. -EBUSY if it has addresses
 * or routes and its port is another one; if it has several ports; if a tap is
 * a port, as a guest may use it; or if a macvlan or VLAN link is on it.
 */
int bridge_dissolve(const char *bridge, int fault);

#endif
