/*
 * Receive-side scaling (virtio 1.2, 5.1.6.5.7): the driver says by a hash over
 * a frame's addresses and ports which of its queues receives the frame, and the
 * kernel does it, by a program in the tap. Pure functions.
 */
#ifndef KVIST_VIRTIO_NET_RSS_H
#define KVIST_VIRTIO_NET_RSS_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_RSS_KEY   40
#define NET_RSS_TABLE 128
/* VIRTIO_NET_RSS_HASH_TYPE_*: without extension headers of IPv6. */
#define NET_RSS_TYPES 0x3f

struct net_rss {
	uint32_t types;       /* of the hash; a frame of none is unclassified */
	uint8_t unclassified; /* the queue of such a frame */
	uint16_t mask;        /* of a hash: the place in the table */
	uint8_t table[NET_RSS_TABLE]; /* of queues */
	uint8_t key[NET_RSS_KEY];
};

/*
 * Parses the argument of VIRTIO_NET_CTRL_MQ_RSS_CONFIG into *@rss, and into
 * *@pairs how many pairs are then in use, 1 .. @pairs_max. False, and nothing
 * changed, when its length is wrong or a value out of range.
 */
bool net_rss_parse(struct net_rss *rss, unsigned *pairs, unsigned pairs_max,
		   const uint8_t *bytes, size_t len);

#define NET_RSS_PROGRAM_MAX 2304 /* instructions */

/* In BPF (Linux, Documentation/bpf/standardization), a program that returns a
 * frame's queue. The number of instructions. */
unsigned net_rss_program(const struct net_rss *rss,
			 struct bpf_insn program[NET_RSS_PROGRAM_MAX]);

#endif
