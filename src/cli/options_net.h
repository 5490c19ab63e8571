/*
 * The value of --net, turned into a struct net_options of the machine.
 *
 * Main thread. The options borrow the text, and cut it up in place.
 */
#ifndef KVIST_CLI_OPTIONS_NET_H
#define KVIST_CLI_OPTIONS_NET_H

#include "machine.h"

#define NET_OPTIONS_SYNOPSIS                                                   \
	"none|bridge=BR|tap=IF|fd=N|pair=NAME|passt=SOCKET[,KEY=VALUE]..."
#define NET_OPTIONS_HELP                                                       \
	"virtio-net card on a bridge, on a tap that exists\n"                  \
	"or is open, on another guest's card, or on passt(1);\n"               \
	"create makes what there is none of, vlan=N is the\n"                  \
	"VLAN of a bridge's port; up=CMD and down=CMD run\n"                   \
	"with the tap's name when it comes and goes;\n"                        \
	"pcap=FILE writes what passes; rate=SIZE, burst=SIZE\n"                \
	"limit the bytes a second in each direction;\n"                        \
	"mac=MAC, mtu=N, queues=N are the card's;\n"                           \
	"rss=on: the guest says which queue gets what;\n"                      \
	"vhost=on: the kernel carries its frames"

/* One more card for @config, or none for "none". 0, or -EINVAL after a line
 * that says what is wrong. The caller has made sure that there is room. */
int net_options_parse(struct machine_config *config, char *value);

#endif
