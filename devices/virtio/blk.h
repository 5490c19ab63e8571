/*
 * virtio-blk (virtio 1.2, 5.2): requests of the guest become requests of a
 * struct block, on the device's worker.
 */
#ifndef KVIST_VIRTIO_BLK_H
#define KVIST_VIRTIO_BLK_H

#include "devices/block/block.h"
#include "devices/virtio/limit.h"
#include "devices/virtio/virtio.h"

/* What the user may choose of a disk, besides its image. */
struct virtio_blk_options {
	const char *serial; /* what GET_ID answers, at most 20 bytes of it */
	unsigned queues;    /* 1 to VIRTIO_BLK_QUEUES_MAX */
	bool discard;       /* the guest may give space back */
	/* Requests that the host fails are kept and not reported to the guest,
	 * and @stopped is called, on the worker. */
	bool stop_on_error;
	struct limit_options limit; /* of reads and writes together */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

#define VIRTIO_BLK_QUEUES_MAX 8

/*
 * A disk named @name ("blk0": also its thread) over @block, which is the
 * device's from now on if this succeeds, and is closed by virtio_destroy(). The
 * serial number is copied. 0 or -errno.
 */
int virtio_blk_create(const char *name, struct block *block,
		      const struct virtio_blk_options *options,
		      const struct memory *memory,
		      struct virtio_device **virtio);

/* Main thread. Whether there are requests that the host could not do; and tries
 * them again. */
bool virtio_blk_holds(struct virtio_device *virtio);
void virtio_blk_retry(struct virtio_device *virtio);
/* Main thread. Asks the host how large the disk is now, makes it @size bytes
 * (a multiple of BLOCK_SECTOR; 0: leaves it so), and tells the guest if that
 * is a change. 0, -ERANGE (it is larger by now) or -errno (see
 * block_resize_error()). */
int virtio_blk_resize(struct virtio_device *virtio, uint64_t size);
/* How large it is for the guest, in bytes. Any thread. */
uint64_t virtio_blk_size(struct virtio_device *virtio);

#endif
