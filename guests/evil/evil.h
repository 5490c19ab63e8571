/*
 * A driver that means harm: each attack breaks one rule that drivers keep. The
 * device may refuse, ask for a reset, or do nothing. After each one it is
 * reset, and must then work as if nothing had been.
 */
#ifndef GUESTS_EVIL_EVIL_H
#define GUESTS_EVIL_EVIL_H

#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/virtio.h"

#define BIT(n) (1ul << (n))

#define SCRATCH      BUFFERS /* 1 MiB for the attacks' own use */
#define SCRATCH_SIZE 0x100000

#define OUTSIDE 0xdfe00000ul /* in the PCI window; no device is there */

/* A device under attack. */
struct target {
	const char *name;
	uint32_t type;
	int queue; /* the one that is attacked */
	struct virtio dev;
	struct virtqueue vq; /* set up and running when an attack starts */
	uint64_t ram_end;    /* of the RAM below 4 GiB */
	/* The device works: one request of its kind, done and right. Sets the
	 * device up itself, after a reset. */
	void (*prove)(struct target *target);
};

struct attack {
	const char *name;
	uint64_t features; /* that it needs */
	void (*run)(struct target *target);
};

/* Tables that end with a row without a name. */
extern const struct attack ring_attacks[], chain_attacks[], queue_attacks[],
	register_attacks[], blk_attacks[], net_tx_attacks[], net_rx_attacks[],
	pci_attacks[], random_attacks[];
/* Not on a device: ports and addresses of the machine. */
void machine_attacks(void);

/* Notifies, and gives the device a moment: until it used something, asked for
 * a reset, or 3 ms have passed. */
void strike(struct target *target);
/* One descriptor of the table, then what the avail ring says of it. */
void set_desc(struct target *target, int index, uint64_t address,
	      uint32_t length, int flags, int next);
/* Whether something was used with bytes written, i.e. taken for good. */
bool fell_for_it(struct target *target);
bool needs_reset(struct target *target);

#endif
