#include "cli/options_disk.h"

#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/stat.h>

static int wrong(const struct disk_config *disk, const char *key,
		 const char *value, const char *why)
{
	log_err("--disk %s: %s%s%s %s", disk->image.path, key, value ? "=" : "",
		value ? value : "", why);
	return -EINVAL;
}

/* The keys: each takes a value (NULL: none was given) and leaves it in @disk;
 * what it returns is what is wrong with it, or NULL. */

static const char *set_readonly(struct disk_config *disk, const char *value)
{
	disk->image.read_only = true;
	return value ? "takes no value" : NULL;
}

static const char *set_format(struct disk_config *disk, const char *value)
{
	disk->image.format = !strcmp(value, "raw") ? BLOCK_RAW : BLOCK_QCOW2;
	return strcmp(value, "raw") && strcmp(value, "qcow2")
		       ? "is not one of qcow2, raw"
		       : NULL;
}

static const char *set_backing_dir(struct disk_config *disk, const char *value)
{
	struct stat st;

	disk->image.backing_dir = value;
	return stat(value, &st) || !S_ISDIR(st.st_mode) ? "is no folder" : NULL;
}

static const char *set_key_file(struct disk_config *disk, const char *value)
{
	disk->image.key_file = value;
	return NULL;
}

static const char *set_io(struct disk_config *disk, const char *value)
{
	disk->image.io = !strcmp(value, "uring") ? BLOCK_IO_URING
						 : BLOCK_IO_THREADS;
	return strcmp(value, "uring") && strcmp(value, "threads")
		       ? "is not one of uring, threads"
		       : NULL;
}

static const char *set_cache(struct disk_config *disk, const char *value)
{
	if (!strcmp(value, "writeback"))
		disk->image.cache = BLOCK_CACHE_WRITEBACK;
	else if (!strcmp(value, "none"))
		disk->image.cache = BLOCK_CACHE_NONE;
	else if (!strcmp(value, "unsafe"))
		disk->image.cache = BLOCK_CACHE_UNSAFE;
	else
		return "is not one of writeback, none, unsafe";
	return NULL;
}

static const char *set_l2_cache(struct disk_config *disk, const char *value)
{
	uint64_t bytes;

	if (parse_size(value, &bytes) || bytes < 64 << 10 || bytes > 1 << 30)
		return "is not a size from 64K to 1G";
	disk->image.l2_cache = bytes;
	return NULL;
}

static const char *set_queues(struct disk_config *disk, const char *value)
{
	uint64_t queues;

	if (parse_number(value, 1, VIRTIO_BLK_QUEUES_MAX, &queues))
		return "is not a number from 1 to 8";
	disk->device.queues = queues;
	return NULL;
}

static const char *set_serial(struct disk_config *disk, const char *value)
{
	disk->device.serial = value;
	return strlen(value) > VIRTIO_BLK_ID_BYTES ? "is longer than 20 bytes"
						   : NULL;
}

static const char *set_discard(struct disk_config *disk, const char *value)
{
	disk->device.discard = !strcmp(value, "on");
	return strcmp(value, "on") && strcmp(value, "off")
		       ? "is not one of on, off"
		       : NULL;
}

static const char *set_on_error(struct disk_config *disk, const char *value)
{
	disk->device.stop_on_error = !strcmp(value, "stop");
	return strcmp(value, "stop") && strcmp(value, "report")
		       ? "is not one of report, stop"
		       : NULL;
}

static const char *set_rate(const char *value, uint64_t *rate)
{
	if (parse_number(value, 1, LIMIT_RATE_MAX, rate))
		return "is not a number of requests, 1 or more";
	return NULL;
}

static const char *set_bytes(const char *value, uint64_t *rate)
{
	if (parse_size(value, rate) || !*rate || *rate > LIMIT_RATE_MAX)
		return "is not a number of bytes, as 50M";
	return NULL;
}

static const char *set_iops(struct disk_config *disk, const char *value)
{
	return set_rate(value, &disk->device.limit.iops);
}

static const char *set_iops_burst(struct disk_config *disk, const char *value)
{
	return set_rate(value, &disk->device.limit.iops_burst);
}

static const char *set_bps(struct disk_config *disk, const char *value)
{
	return set_bytes(value, &disk->device.limit.bps);
}

static const char *set_bps_burst(struct disk_config *disk, const char *value)
{
	return set_bytes(value, &disk->device.limit.bps_burst);
}

static const struct key {
	const char *name;
	bool alone; /* takes no value */
	const char *(*set)(struct disk_config *disk, const char *value);
} keys[] = {
	{ "format", false, set_format },
	{ "readonly", true, set_readonly },
	{ "backing-dir", false, set_backing_dir },
	{ "key-file", false, set_key_file },
	{ "io", false, set_io },
	{ "cache", false, set_cache },
	{ "l2-cache", false, set_l2_cache },
	{ "queues", false, set_queues },
	{ "serial", false, set_serial },
	{ "discard", false, set_discard },
	{ "on-error", false, set_on_error },
	{ "iops", false, set_iops },
	{ "iops-burst", false, set_iops_burst },
	{ "bps", false, set_bps },
	{ "bps-burst", false, set_bps_burst },
};

_Static_assert(VIRTIO_BLK_QUEUES_MAX == 8 && VIRTIO_BLK_ID_BYTES == 20,
	       "the messages say so");

static int unknown(const struct disk_config *disk, const char *name,
		   const char *value)
{
	char list[256] = "";

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		strncat(list, i ? ", " : "", sizeof(list) - strlen(list) - 1);
		strncat(list, keys[i].name, sizeof(list) - strlen(list) - 1);
	}
	log_err("--disk %s: %s%s%s is not one of %s (a comma in a file's name "
		"is written twice)",
		disk->image.path, name, value ? "=" : "", value ? value : "",
		list);
	return -EINVAL;
}

static int set(struct disk_config *disk, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *why;

		if (strcmp(keys[i].name, name))
			continue;
		if (!keys[i].alone && (!value || !*value))
			return wrong(disk, name, NULL, "needs a value");
		why = keys[i].set(disk, value);
		return why ? wrong(disk, name, value, why) : 0;
	}
	return unknown(disk, name, value);
}

static int check_together(const struct disk_config *disk)
{
	const struct limit_options *limit = &disk->device.limit;

	if (disk->image.l2_cache && disk->image.format != BLOCK_QCOW2)
		return wrong(disk, "l2-cache", NULL, "is for qcow2 images");
	if (limit->iops_burst && !limit->iops)
		return wrong(disk, "iops-burst", NULL, "needs iops=N as well");
	if (limit->bps_burst && !limit->bps)
		return wrong(disk, "bps-burst", NULL, "needs bps=SIZE as well");
	return 0;
}

int disk_option_parse(char *text, struct disk_config *disk)
{
	char *rest = text, *field, *value;
	int err = 0;

	*disk = (struct disk_config){
		.image.format = BLOCK_QCOW2,
		.image.io = BLOCK_IO_AUTO,
		.device.discard = true,
	};
	disk->image.path = list_next(&rest, &value);
	if (value) /* a '=' in the file's name separates nothing */
		value[-1] = '=';
	if (!*disk->image.path) {
		log_err("--disk %s: names no file", text);
		return -EINVAL;
	}
	while (!err && (field = list_next(&rest, &value)))
		err = set(disk, field, value);
	return err ? err : check_together(disk);
}
