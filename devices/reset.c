#include "devices/reset.h"

#include "util/checked.h"

#define CONTROL_HARD  0x02 /* SYS_RST: which kind; all are the same here */
#define CONTROL_RESET 0x04 /* RST_CPU: resets as it goes from 0 to 1 */
#define CONTROL_POWER 0x08 /* FULL_RST */

#define KEYBOARD_PULSE_RESET 0xfe

/*
 * The status of the keyboard controller that is not there. An output buffer
 * that is always full makes a driver's probe give up after a few reads; an
 * input buffer that is always empty lets a kernel that waits for it send the
 * reset command at once.
 */
#define KEYBOARD_STATUS 0x01

static uint64_t reset_read(struct device *dev, unsigned range, uint64_t offset,
			   unsigned len)
{
	struct reset *reset = container_of(dev, struct reset, dev);

	(void)offset, (void)len;
	return range == RESET_CONTROL ? reset->control : KEYBOARD_STATUS;
}

static void reset_write(struct device *dev, unsigned range, uint64_t offset,
			unsigned len, uint64_t value)
{
	struct reset *reset = container_of(dev, struct reset, dev);

	(void)offset, (void)len;
	if (range == RESET_KEYBOARD) {
		if (value == KEYBOARD_PULSE_RESET)
			end_request(reset->end, END_RESET, 0);
		return;
	}
	reset->control = value & (CONTROL_HARD | CONTROL_POWER);
	if (value & CONTROL_RESET)
		end_request(reset->end, END_RESET, 0);
}

static void reset_reset(struct device *dev)
{
	container_of(dev, struct reset, dev)->control = 0;
}

static const struct device_ops reset_ops = {
	.read = reset_read,
	.write = reset_write,
	.reset = reset_reset,
};

void reset_init(struct reset *reset, struct end_wire *end)
{
	reset->end = end;
	reset->control = 0;
	device_init(&reset->dev, "reset", &reset_ops, 1);
}

void reset_fini(struct reset *reset)
{
	device_fini(&reset->dev);
}
