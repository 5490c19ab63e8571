/*
 * The attacks' main program. Options: target=blk, net-tx, net-rx or rng only
 * that one, traffic: frames come all the time, only=NAME only that attack,
 * machine: the ports and addresses too, time: when each attack began.
 */
#include "guests/evil/evil.h"
#include "guests/lib/acpi.h"
#include "guests/lib/blk.h"
#include "guests/lib/boot.h"
#include "guests/lib/cpu.h"

#include <linux/virtio_net.h>

#define PROOF        (BUFFERS + 0x800000)
#define PROOF_SECTOR 16
#define QUEUE_SIZE   64

static struct blk proof_disk;

void strike(struct target *target)
{
	vq_notify(&target->vq);
	WAIT_FOR_MS(vq_pending(&target->vq) || needs_reset(target), 3);
}

void set_desc(struct target *target, int index, uint64_t address,
	      uint32_t length, int flags, int next)
{
	target->vq.desc[index] = (struct vring_desc){
		.addr = address,
		.len = length,
		.flags = (uint16_t)flags,
		.next = (uint16_t)next,
	};
}

bool needs_reset(struct target *target)
{
	return virtio_status(&target->dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

bool fell_for_it(struct target *target)
{
	struct virtqueue *vq = &target->vq;

	return vq_pending(vq) &&
	       vq->used->ring[vq->last_used & (vq->size - 1)].len > 1;
}

/* The disk's sectors keep what was written to them, attacks or not. */
static void prove_blk(struct target *target)
{
	static bool written;
	uint64_t *out = (void *)PROOF, *in = (void *)(PROOF + SECTOR);

	proof_disk.dev = target->dev;
	blk_start(&proof_disk, BIT(VIRTIO_BLK_F_FLUSH), 16);
	for (int i = 0; i < SECTOR / 8; i++)
		out[i] = 0x1111111111111111ul * (uint64_t)(i % 16);
	if (!written) {
		CHECK_EQ(blk_write(&proof_disk, PROOF_SECTOR, out, SECTOR), 0,
			 "a disk that works takes a write");
		written = true;
	}
	memset(in, 0, SECTOR);
	CHECK_EQ(blk_read(&proof_disk, PROOF_SECTOR, in, SECTOR), 0,
		 "a disk that works can be read");
	CHECK(!memcmp(in, out, SECTOR), "the disk has kept its bytes");
}

static void prove_rng(struct target *target)
{
	struct vq_buffer buffer = { PROOF, 16, true };
	struct virtqueue vq;

	CHECK(virtio_start(&target->dev, 0), "features are accepted");
	vq_init(&vq, &target->dev, 0, 16);
	virtio_driver_ok(&target->dev);
	vq_add(&vq, &buffer, 1);
	vq_kick(&vq);
	CHECK(vq_take(&vq, NULL, NULL), "a rng that works gives bytes");
}

static void prove_net(struct target *target)
{
	struct vq_buffer buffer = { PROOF, 12 + 60, false };
	struct virtqueue rx, tx;

	CHECK(virtio_start(&target->dev, BIT(VIRTIO_NET_F_MAC)),
	      "features are accepted");
	vq_init(&rx, &target->dev, 0, 16);
	vq_init(&tx, &target->dev, 1, 16);
	virtio_driver_ok(&target->dev);
	memset((void *)PROOF, 0, 12);
	memset((void *)(PROOF + 12), 0xff, 6);
	memset((void *)(PROOF + 18), 0x02, 54);
	vq_add(&tx, &buffer, 1);
	vq_kick(&tx);
	CHECK(vq_take(&tx, NULL, NULL), "a NIC that works sends");
	if (!option("traffic"))
		return;
	buffer = (struct vq_buffer){ PROOF + 0x1000, 2048, true };
	vq_add(&rx, &buffer, 1);
	vq_kick(&rx);
	CHECK(vq_take(&rx, NULL, NULL), "a NIC that works receives");
}

static struct target targets[] = {
	{ .name = "blk", .type = VIRTIO_BLOCK, .prove = prove_blk },
	{ .name = "net-tx",
	  .type = VIRTIO_NET,
	  .queue = 1,
	  .prove = prove_net },
	{ .name = "net-rx",
	  .type = VIRTIO_NET,
	  .queue = 0,
	  .prove = prove_net },
	{ .name = "rng", .type = VIRTIO_RNG, .prove = prove_rng },
};

/* The device reset, set up and running, with every queue it needs. */
static void prepare(struct target *target, uint64_t features)
{
	struct virtqueue other;

	vq_forget();
	CHECK(virtio_start(&target->dev, features), "features are accepted");
	if (target->type == VIRTIO_NET)
		vq_init(&other, &target->dev, !target->queue, QUEUE_SIZE);
	vq_init(&target->vq, &target->dev, target->queue, QUEUE_SIZE);
	virtio_driver_ok(&target->dev);
}

static void run(struct target *target, const struct attack *attacks)
{
	for (; attacks->name; attacks++) {
		if (option("only") && !option_is("only", attacks->name))
			continue;
		if (option("time"))
			print("%lu ms\n", clock_now() * 1000 / CLOCK_HZ);
		print("%s: %s\n", target->name, attacks->name);
		prepare(target, attacks->features);
		attacks->run(target);
		virtio_reset(&target->dev);
		vq_forget();
		target->prove(target);
	}
}

static void attack(struct target *target)
{
	for (int i = 0; i < boot.nr_ranges; i++)
		if (boot.map[i].type == BOOT_RAM &&
		    boot.map[i].start < 0xc0000000)
			target->ram_end = boot.map[i].start + boot.map[i].size;
	target->prove(target);
	run(target, ring_attacks);
	run(target, chain_attacks);
	run(target, queue_attacks);
	run(target, register_attacks);
	if (target->type == VIRTIO_BLOCK)
		run(target, blk_attacks);
	if (target->type == VIRTIO_NET)
		run(target, target->queue ? net_tx_attacks : net_rx_attacks);
	if (target->dev.pci)
		run(target, pci_attacks);
	run(target, random_attacks);
}

int guest_main(void)
{
	int found = 0;

	apic_init();
	pic_init(VECTOR_FIRST, 0);
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		if (option("target") && !option_is("target", targets[i].name))
			continue;
		if (!virtio_find(&targets[i].dev, targets[i].type, 0))
			continue;
		attack(&targets[i]);
		found++;
	}
	CHECK_EQ(found, option_number("targets", (uint64_t)found),
		 "how many targets there are");
	if (option("machine"))
		machine_attacks();
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
		if (targets[i].dev.base) {
			vq_forget();
			targets[i].prove(&targets[i]);
		}
	print("evil: all is well\n");
	return 0;
}
