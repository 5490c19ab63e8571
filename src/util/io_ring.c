#include "util/io_ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *ring_map(int fd, size_t bytes, off_t what)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_POPULATE, fd, what);

	return at == MAP_FAILED ? NULL : at;
}

static int ring_share(struct io_ring *ring, const struct io_uring_params *p)
{
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(unsigned);
	size_t cq =
		p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	unsigned *array;
	char *at;

	if (!(p->features & IORING_FEAT_SINGLE_MMAP))
		return -ENOSYS;
	ring->rings_bytes = sq > cq ? sq : cq;
	ring->sqes_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
	ring->rings = ring_map(ring->fd, ring->rings_bytes, IORING_OFF_SQ_RING);
	ring->sqes = ring_map(ring->fd, ring->sqes_bytes, IORING_OFF_SQES);
	if (!ring->rings || !ring->sqes)
		return -ENOMEM;
	at = ring->rings;
	ring->sq_head = (unsigned *)(at + p->sq_off.head);
	ring->sq_tail = (unsigned *)(at + p->sq_off.tail);
	ring->sq_entries = p->sq_entries;
	ring->sq_mask = p->sq_entries - 1;
	ring->cq_head = (unsigned *)(at + p->cq_off.head);
	ring->cq_tail = (unsigned *)(at + p->cq_off.tail);
	ring->cq_mask = p->cq_entries - 1;
	ring->cqes = (struct io_uring_cqe *)(at + p->cq_off.cqes);
	array = (unsigned *)(at + p->sq_off.array);
	for (unsigned i = 0; i < ring->sq_entries; i++)
		array[i] = i;
	return 0;
}

int io_ring_open(struct io_ring *ring, unsigned entries, unsigned flags)
{
	struct io_uring_params params = { .flags = flags };
	int err;

	*ring = (struct io_ring){
		.fd = syscall(SYS_io_uring_setup, entries, &params),
	};
	ring->features = params.features;
	err = ring->fd < 0 ? -errno : ring_share(ring, &params);
	if (err)
		io_ring_close(ring);
	return err;
}

void io_ring_close(struct io_ring *ring)
{
	if (ring->rings)
		munmap(ring->rings, ring->rings_bytes);
	if (ring->sqes)
		munmap(ring->sqes, ring->sqes_bytes);
	if (ring->fd >= 0)
		close(ring->fd);
	*ring = (struct io_ring){ .fd = -1 };
}

struct io_uring_sqe *io_ring_next(struct io_ring *ring)
{
	/* Pairs with the kernel's release: what it has taken is free. */
	unsigned head = __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
	struct io_uring_sqe *sqe;

	if (ring->tail - head == ring->sq_entries)
		return NULL;
	sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

unsigned io_ring_show(struct io_ring *ring)
{
	/* Pairs with the kernel's acquire: the entries before their number. */
	__atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
	return ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
}

const struct io_uring_sqe *io_ring_take_back(struct io_ring *ring)
{
	if (ring->tail == __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE))
		return NULL;
	__atomic_store_n(ring->sq_tail, --ring->tail, __ATOMIC_RELEASE);
	return &ring->sqes[ring->tail & ring->sq_mask];
}

int io_ring_enter(struct io_ring *ring, unsigned n, unsigned done)
{
	long taken = syscall(SYS_io_uring_enter, ring->fd, n, done,
			     IORING_ENTER_GETEVENTS, NULL, 0);

	return taken < 0 ? -errno : (int)taken;
}

const struct io_uring_cqe *io_ring_done(const struct io_ring *ring)
{
	unsigned head = *ring->cq_head;

	/* Pairs with the kernel's release of the entries. */
	if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		return NULL;
	return &ring->cqes[head & ring->cq_mask];
}

void io_ring_seen(struct io_ring *ring)
{
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}
