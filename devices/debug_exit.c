#include "devices/debug_exit.h"

#include "util/checked.h"

static uint64_t debug_exit_read(struct device *dev, unsigned range,
				uint64_t offset, unsigned len)
{
	(void)dev, (void)range, (void)offset, (void)len;
	return 0;
}

static void debug_exit_write(struct device *dev, unsigned range,
			     uint64_t offset, unsigned len, uint64_t value)
{
	struct debug_exit *dbg = container_of(dev, struct debug_exit, dev);

	(void)range;
	if (offset) {
		log_guest(&dev->bad_access,
			  "exit port: guest write of %u bytes at its offset "
			  "%u is ignored: only its first port ends the run",
			  len, (unsigned)offset);
		return;
	}
	end_request(dbg->end, END_EXIT_PORT, value);
}

static const struct device_ops debug_exit_ops = {
	.read = debug_exit_read,
	.write = debug_exit_write,
};

void debug_exit_init(struct debug_exit *dbg, struct end_wire *end)
{
	dbg->end = end;
	device_init(&dbg->dev, "exit port", &debug_exit_ops, 1 | 2 | 4);
}

void debug_exit_fini(struct debug_exit *dbg)
{
	device_fini(&dbg->dev);
}
