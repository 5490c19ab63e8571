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
 * Makes @bridge, up. With a @port (else NULL) the bridge has its MAC and MTU,
 * and what is on it moves: IPv4 and IPv6 addresses, but those of the link, and
 * routes of every table, but those that the kernel makes for the addresses.
 */
int bridge_adopt(const char *bridge, const char *port, int fault);

/*
 * Removes @bridge. If it has one port, what is on the bridge moves to that
 * one; with several it is not known to which, and with taps guests are using
 * it: -EBUSY.
 */
int bridge_dissolve(const char *bridge, int fault);

#endif
