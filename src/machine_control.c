/*
 * The commands of the control socket; kvist(1) tells what each of them does.
 */
#include "machine.h"
#include "machine_parts.h"

#include "devices/block/block.h"
#include "devices/virtio/blk.h"
#include "util/checked.h"
#include "util/json_read.h"

#include <errno.h>
#include <string.h>

static void query_status(struct control_call *call)
{
	const struct machine *m = call->machine;
	struct json *json = &call->reply;

	json_object(json, "return");
	json_bool(json, "running", !m->paused);
	json_string(json, "status", m->paused ? "io-error" : "running");
	json_end(json);
}

static void show_disk(struct json *json, const struct disk_config *disk,
		      struct virtio_device *virtio)
{
	const char *format = disk->image.format == BLOCK_RAW ? "raw" : "qcow2";

	json_object(json, NULL);
	json_string(json, "device", virtio->name);
	json_string(json, "type", "unknown");
	json_bool(json, "removable", false);
	json_bool(json, "locked", false);
	json_string(json, "io-status",
		    virtio_blk_holds(virtio) ? "failed" : "ok");
	json_object(json, "inserted");
	json_string(json, "file", disk->image.path);
	json_string(json, "drv", format);
	json_bool(json, "ro", disk->image.read_only);
	json_bool(json, "encrypted", disk->image.key_file);
	json_object(json, "image");
	json_string(json, "filename", disk->image.path);
	json_string(json, "format", format);
	json_number(json, "virtual-size", virtio_blk_size(virtio));
	json_end(json);
	json_end(json);
	json_end(json);
}

/* The disks are the first devices. */
static void query_block(struct control_call *call)
{
	const struct machine *m = call->machine;

	json_array(&call->reply, "return");
	for (int i = 0; i < m->config->nr_disks; i++)
		show_disk(&call->reply, &m->config->disks[i], m->virtio[i]);
	json_end(&call->reply);
}

static struct virtio_device *find_disk(struct machine *m, const char *name)
{
	for (int i = 0; i < m->config->nr_disks; i++) {
		if (!strcmp(m->virtio[i]->name, name))
			return m->virtio[i];
	}
	return NULL;
}

static void block_resize(struct control_call *call)
{
	const char *device = control_argument(call, "device");
	const char *number = control_argument(call, "size");
	struct virtio_device *virtio;
	char name[CONTROL_NAME];
	uint64_t size;
	int err;

	if (!device || !number || json_get_text(device, name, sizeof(name)) ||
	    json_get_number(number, &size)) {
		control_fail(call, CONTROL_ERROR,
			     "the arguments must be 'device', a string, and "
			     "'size', a number of bytes");
		return;
	}
	virtio = find_disk(call->machine, name);
	if (!virtio) {
		control_fail(call, "DeviceNotFound", "Device '%s' not found",
			     name);
		return;
	}
	if (size % BLOCK_SECTOR || size > INT64_MAX) {
		control_fail(call, CONTROL_ERROR,
			     "The new size must be a multiple of 512");
		return;
	}
	err = size < virtio_blk_size(virtio) ? -ERANGE
					     : virtio_blk_resize(virtio, size);
	if (err)
		control_fail(call, CONTROL_ERROR,
			     "Disk %s cannot be resized: %s", name,
			     block_resize_error(err));
}

static void cont(struct control_call *call)
{
	machine_retry_disks(call->machine);
}

static void system_powerdown(struct control_call *call)
{
	struct machine *m = call->machine;

	power_button(&m->power);
}

static void quit(struct control_call *call)
{
	struct machine *m = call->machine;

	vm_end(&m->vm, END_USER, 0);
}

static const struct control_command commands[] = {
	{ "block_resize", block_resize },
	{ "cont", cont },
	{ "query-block", query_block },
	{ "query-status", query_status },
	{ "quit", quit },
	{ "system_powerdown", system_powerdown },
	{ NULL, NULL },
};

int machine_open_control(struct machine *m)
{
	if (!m->config->control)
		return 0;
	return control_open(&m->control, &m->loop, m->config->control, commands,
			    m)
		       ? EXIT_CODE_HOST
		       : 0;
}

void machine_close_control(struct machine *m)
{
	if (m->config->control)
		control_close(&m->control);
}
