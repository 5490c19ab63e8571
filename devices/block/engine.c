#include "devices/block/engine.h"

#include <errno.h>

int engine_create(enum block_io *io, struct engine **engine)
{
	int err;

	*engine = NULL;
	if (*io == BLOCK_IO_NOW)
		return 0;
	if (*io != BLOCK_IO_THREADS) {
		err = uring_create(engine);
		if (!err || err == -ENOMEM || err == -EMFILE ||
		    err == -ENFILE) {
			*io = BLOCK_IO_URING;
			return err;
		}
	}
	*io = BLOCK_IO_THREADS;
	return threads_create(engine);
}

void engine_put(struct engine *engine)
{
	if (engine && !--engine->users)
		engine->ops->destroy(engine);
}
