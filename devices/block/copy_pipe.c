#include "devices/block/copy_pipe.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Pieces in the pipe besides one for each worker: one that is read, one that
 * is written, and some that wait. */
#define SPARE       16
#define WORKERS_MAX 64

enum state {
	PIECE_FREE,  /* the reader's */
	PIECE_READ,  /* waits for a worker */
	PIECE_TAKEN, /* a worker's */
	PIECE_READY, /* the caller's */
	PIECE_END,   /* there are no more; err says why */
};

struct slot {
	struct copy_piece piece;
	enum state state;
	int err;
};

/* All of it is guarded by the lock, but a piece by its state. */
struct copy_pipe {
	struct copy_plan plan;
	pthread_mutex_t lock;
	pthread_cond_t change; /* of any slot's state, or of stop */
	bool stop;
	struct slot *slots;
	size_t count;
	size_t get_at; /* the slot that comes next */
	pthread_t reader, workers[WORKERS_MAX];
	unsigned started; /* workers */
	bool reading;     /* the reader was started */
};

static void set_state(struct copy_pipe *pipe, struct slot *slot,
		      enum state state)
{
	pthread_mutex_lock(&pipe->lock);
	slot->state = state;
	pthread_cond_broadcast(&pipe->change);
	pthread_mutex_unlock(&pipe->lock);
}

/* Waits until the slot is in that state; false when the pipe is to stop. */
static bool wait_for(struct copy_pipe *pipe, struct slot *slot,
		     enum state state)
{
	bool stop;

	pthread_mutex_lock(&pipe->lock);
	while (!pipe->stop && slot->state != state)
		pthread_cond_wait(&pipe->change, &pipe->lock);
	stop = pipe->stop;
	pthread_mutex_unlock(&pipe->lock);
	return !stop;
}

static void *read_all(void *opaque)
{
	struct copy_pipe *pipe = opaque;
	enum state next = pipe->plan.parts ? PIECE_READ : PIECE_READY;

	for (size_t i = 0;; i = (i + 1) % pipe->count) {
		struct slot *slot = &pipe->slots[i];
		int ret;

		if (!wait_for(pipe, slot, PIECE_FREE))
			return NULL;
		ret = pipe->plan.read(pipe->plan.opaque, &slot->piece);
		slot->err = ret < 0 ? ret : 0;
		set_state(pipe, slot,
			  ret <= 0            ? PIECE_END
			  : slot->piece.empty ? PIECE_READY
					      : next);
		if (ret <= 0)
			return NULL;
	}
}

/* The first slot that waits for a worker, or NULL; *end when no more will. */
static struct slot *find_work(struct copy_pipe *pipe, bool *end)
{
	*end = pipe->stop;
	for (size_t i = 0; i < pipe->count && !*end; i++) {
		struct slot *slot =
			&pipe->slots[(pipe->get_at + i) % pipe->count];

		if (slot->state == PIECE_READ)
			return slot;
		*end = slot->state == PIECE_END;
	}
	return NULL;
}

/* The same, waited for; it is the worker's from then on. NULL at the end. */
static struct slot *take_work(struct copy_pipe *pipe)
{
	struct slot *slot;
	bool end;

	pthread_mutex_lock(&pipe->lock);
	while (!(slot = find_work(pipe, &end)) && !end)
		pthread_cond_wait(&pipe->change, &pipe->lock);
	if (slot)
		slot->state = PIECE_TAKEN;
	pthread_mutex_unlock(&pipe->lock);
	return slot;
}

static void *work_all(void *opaque)
{
	struct copy_pipe *pipe = opaque;
	const struct copy_plan *plan = &pipe->plan;
	void *scratch = plan->scratch_create(plan->opaque);
	struct slot *slot;

	while ((slot = take_work(pipe))) {
		plan->work(plan->opaque, scratch, &slot->piece);
		set_state(pipe, slot, PIECE_READY);
	}
	if (scratch)
		plan->scratch_destroy(scratch);
	return NULL;
}

static int allocate(struct copy_pipe *pipe)
{
	const struct copy_plan *plan = &pipe->plan;

	pipe->count = SPARE + plan->workers;
	pipe->slots = calloc(pipe->count, sizeof(*pipe->slots));
	if (!pipe->slots)
		return -ENOMEM;
	for (size_t i = 0; i < pipe->count; i++) {
		struct copy_piece *piece = &pipe->slots[i].piece;

		piece->bytes = malloc(plan->room);
		if (!piece->bytes)
			return -ENOMEM;
		if (!plan->parts)
			continue;
		piece->packed = malloc(plan->room);
		piece->packed_len = calloc(plan->parts, sizeof(size_t));
		if (!piece->packed || !piece->packed_len)
			return -ENOMEM;
	}
	return 0;
}

static int start(struct copy_pipe *pipe)
{
	int err = allocate(pipe);

	if (!err) {
		err = -pthread_create(&pipe->reader, NULL, read_all, pipe);
		pipe->reading = !err;
	}
	while (!err && pipe->started < pipe->plan.workers) {
		err = -pthread_create(&pipe->workers[pipe->started], NULL,
				      work_all, pipe);
		pipe->started += !err;
	}
	return err;
}

int copy_pipe_start(const struct copy_plan *plan, struct copy_pipe **pipe)
{
	struct copy_pipe *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->plan = *plan;
	if (!plan->parts)
		p->plan.workers = 0;
	else if (plan->workers > WORKERS_MAX)
		p->plan.workers = WORKERS_MAX;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->change, NULL);
	err = start(p);
	if (err) {
		copy_pipe_stop(p);
		return err;
	}
	*pipe = p;
	return 0;
}

int copy_pipe_get(struct copy_pipe *pipe, struct copy_piece **piece)
{
	struct slot *slot = &pipe->slots[pipe->get_at];
	int ret = 1;

	pthread_mutex_lock(&pipe->lock);
	while (slot->state != PIECE_READY && slot->state != PIECE_END)
		pthread_cond_wait(&pipe->change, &pipe->lock);
	if (slot->state == PIECE_END)
		ret = slot->err;
	pthread_mutex_unlock(&pipe->lock);
	*piece = &slot->piece;
	return ret;
}

void copy_pipe_put(struct copy_pipe *pipe)
{
	struct slot *slot = &pipe->slots[pipe->get_at];

	pthread_mutex_lock(&pipe->lock);
	slot->state = PIECE_FREE;
	pipe->get_at = (pipe->get_at + 1) % pipe->count;
	pthread_cond_broadcast(&pipe->change);
	pthread_mutex_unlock(&pipe->lock);
}

void copy_pipe_stop(struct copy_pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->stop = true;
	pthread_cond_broadcast(&pipe->change);
	pthread_mutex_unlock(&pipe->lock);
	if (pipe->reading)
		pthread_join(pipe->reader, NULL);
	for (unsigned i = 0; i < pipe->started; i++)
		pthread_join(pipe->workers[i], NULL);
	for (size_t i = 0; pipe->slots && i < pipe->count; i++) {
		free(pipe->slots[i].piece.bytes);
		free(pipe->slots[i].piece.packed);
		free(pipe->slots[i].piece.packed_len);
	}
	pthread_cond_destroy(&pipe->change);
	pthread_mutex_destroy(&pipe->lock);
	free(pipe->slots);
	free(pipe);
}
