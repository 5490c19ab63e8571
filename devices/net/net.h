/*
 * A network backend: where the frames of a virtio-net go to and come from.
 *
 * Owned by its virtio-net. Used by that device's worker while there is one, and
 * by the vCPU that starts the device; link() by any thread. Every frame is
 * preceded by a struct virtio_net_hdr_v1 (12 bytes, virtio 1.2, 5.1.6).
 */
#ifndef KVIST_NET_NET_H
#define KVIST_NET_NET_H

#include <linux/if_tun.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HEADER     12 /* sizeof(struct virtio_net_hdr_v1) */
#define NET_MAC        6
#define NET_QUEUES_MAX 8  /* of a network */
#define NET_BATCH      32 /* frames by one call */

/* UDP segmentation came with Linux 6.2; older headers lack the names. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct net_backend;
struct sock_fprog;
struct bpf_insn;

/* One frame of several. */
struct net_frame {
	struct iovec *iov; /* its bytes, or room for them */
	int iovcnt;
	ssize_t result; /* as send() and receive() return it */
};

struct net_ops {
	/* One frame with its header. The bytes taken or got, -EAGAIN when it
	 * would block, -EIO when the cable is out, or -errno. A frame longer
	 * than @iov is cut: the return value tells nothing of the rest. */
	ssize_t (*send)(struct net_backend *net, const struct iovec *iov,
			int iovcnt);
	ssize_t (*receive)(struct net_backend *net, const struct iovec *iov,
			   int iovcnt);
	/* The same for several frames at a time, NET_BATCH at most, in their
	 * order. After -EAGAIN no later frame was sent; but one may have been
	 * received. May be NULL. */
	void (*send_many)(struct net_backend *net, struct net_frame *frames,
			  unsigned count);
	void (*receive_many)(struct net_backend *net, struct net_frame *frames,
			     unsigned count);
	/* What the guest accepts in received frames: TUN_F_* bits of
	 * linux/if_tun.h. 0 or -errno. */
	int (*set_offloads)(struct net_backend *net, unsigned flags);
	/* All queues of the network get only the frames for which @program, in
	 * classic BPF, does not return 0. An empty program removes the filter:
	 * do so before enabling a queue. NULL unless ours. */
	void (*set_filter)(struct net_backend *net,
			   const struct sock_fprog *program);
	/* The queue of a frame is what @program, @len instructions of BPF,
	 * returns; without one the backend chooses. 0 or -errno. NULL unless
	 * steers. */
	int (*set_steering)(struct net_backend *net,
			    const struct bpf_insn *program, unsigned len);
	/* Enables or disables this queue of the network: a disabled one gets no
	 * frames. A new one is enabled. 0 or -errno. May be NULL: there is only
	 * one queue. */
	int (*enable)(struct net_backend *net, bool on);
	/* Whether the cable is in. May be NULL: it always is. Any thread. */
	bool (*link)(struct net_backend *net);
	void (*close)(struct net_backend *net); /* frees @net, not its next */
};

struct net_backend {
	const struct net_ops *ops;
	int fd; /* readable when receive() would give a frame; non-blocking */
	char name[16];
	unsigned offloads; /* TUN_F_* bits the backend can do */
	uint32_t mtu;
	/* vhost-net may: fd is a tap's, and no frame must be seen here. */
	bool kernel_may_carry;
	bool ours;   /* vanishes with us, and so do programs given to it */
	bool steers; /* set_steering() works, and was asked for */
	uint64_t rate, burst; /* the first queue's count; see net_options */
	/* Another queue of the same network, or NULL. Each is sent to and
	 * received from by itself; set_offloads() of the first is for all. */
	struct net_backend *next;
};

enum net_kind { NET_BRIDGE, NET_TAP, NET_FD, NET_PAIR, NET_PASST };

/* Whether the kernel carries a card's frames: no; yes; where it can. */
enum net_vhost { NET_VHOST_OFF, NET_VHOST_ON, NET_VHOST_AUTO };

struct net_options {
	enum net_kind kind;
	/* Name of the bridge or tap (netif_name_is_valid()) or pair; path of
	 * passt's socket; the descriptor as text. */
	const char *ifname;
	int fd; /* NET_FD */
	bool has_mac;
	uint8_t mac[NET_MAC];
	uint32_t mtu; /* what the guest is told; 0: what the host's end has */
	/* Make it if it is not there, with that MTU: a bridge, which stays, or
	 * a tap, which goes with the process. */
	bool create;
	const char *up, *down; /* commands (hook.h), or NULL */
	/* Bytes a second in each direction; 0: no limit. And how many at once;
	 * 0: a tenth of a second's worth. */
	uint64_t rate, burst;
	const char *pcap; /* a file for what passes (capture.h), or NULL */
	uint32_t vlan; /* the port is an access port of this VLAN; 0: of none */
	enum net_vhost vhost;
	bool rss; /* the guest may say which of its queues receives what */
	/* As many as the user says; 0: queues_auto, or one if the tap may not
	 * have several (0 is one as well). */
	unsigned queues, queues_auto;
};

#define NET_MTU_MIN  68 /* RFC 791 */
#define NET_MTU_MAX  65535
#define NET_VLAN_MAX 4094

/*
 * Opens the backend that @options names. NET_BRIDGE makes a tap whose name
 * starts with "kvist" and makes it a port of the bridge; it vanishes with its
 * descriptor, however the process ends. NET_TAP takes one that exists, NET_FD
 * one that is open already, and owns its descriptor from then on; NET_PAIR is
 * one end of a cable to another guest, NET_PASST a connection to passt(1). On
 * success *net is the caller's. -errno, logged in one line that says what to
 * do (-ENODEV: no such interface; -EPERM: a right is missing; -EBUSY: the tap
 * is in use; -EMSGSIZE: the MTU is more than the host's end carries;
 * -EOPNOTSUPP: the bridge or the kernel has no VLANs).
 */
int net_open(const struct net_options *options, struct net_backend **net);

/* Closes @net and its further queues. */
void net_close(struct net_backend *net);

/* A locally administered unicast MAC, the same for the same two names. */
void net_mac_derive(const char *machine, const char *device,
		    uint8_t mac[NET_MAC]);
/* "52:54:00:12:34:56" -> mac. 0, or -EINVAL for bad text, a multicast or the
 * zero address. */
int net_mac_parse(const char *text, uint8_t mac[NET_MAC]);

#endif
