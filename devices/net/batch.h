/*
 * Several frames by one system call: taps have no such call, but io_uring takes
 * many requests at a time. For a small frame the call was a third of the work.
 *
 * One for each descriptor, which must not block. The kernel is done with all
 * frames when the call returns. The worker's.
 */
#ifndef KVIST_NET_BATCH_H
#define KVIST_NET_BATCH_H

#include "devices/net/net.h"

struct batch;

/* For the descriptor @fd, borrowed; NULL: no memory. Where the kernel has no
 * io_uring for taps or does not allow it, each frame has a call of its own. */
struct batch *batch_create(int fd);
void batch_destroy(struct batch *batch);

/*
 * Reads, or writes, @count frames, NET_BATCH at most, in their order, and puts
 * the bytes or -errno into each result. After -EAGAIN of a write no later frame
 * was written; of a read, one that came meanwhile may have been.
 */
void batch_read(struct batch *batch, struct net_frame *frames, unsigned count);
void batch_write(struct batch *batch, struct net_frame *frames, unsigned count);

#endif
