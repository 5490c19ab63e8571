/*
 * Encrypted images, for tests: their passphrase is in the file "key".
 */
#ifndef KVIST_TESTS_DISK_LUKS_H
#define KVIST_TESTS_DISK_LUKS_H

#include "devices/block/luks.h"
#include "devices/block/qcow2_create.h"
#include "disk_memory.h"

/* What QEMU's tools are told instead of the name of such an image. */
#define LUKS_NAMED                                                             \
	"--object secret,id=s,file=key --image-opts "                          \
	"driver=qcow2,encrypt.key-secret=s,file.filename="

/* The same; valid until the next call. */
static inline const char *luks_named(const char *name)
{
	static char text[128];

	snprintf(text, sizeof(text), LUKS_NAMED "%s", name);
	return text;
}

/* Makes the file @path an empty image of @shape. QEMU takes seconds to choose
 * how slow a key shall be; this one is quick. */
static inline void luks_image_create(const char *path,
				     const struct qcow2_shape *shape)
{
	static uint8_t area[LUKS_AREA];
	struct qcow2_shape encrypted = *shape;
	struct memory_bytes memory = { .limit = 1 << 30 };
	struct host_file *file = memory_file_create(&memory);

	assert_non_null(file);
	disk_save("key", "pass", 4);
	assert_int_equal(
		luks_create(area, &luks_usual,
			    &(struct luks_secret){ (const uint8_t *)"pass", 4 },
			    1),
		0);
	encrypted.luks = area;
	assert_int_equal(qcow2_create(file, &encrypted), 0);
	file->ops->close(file);
	memory_save(&memory, path);
	free(memory.bytes);
}

#endif
