#include "devices/block/compress.h"

#include <stdlib.h>

#include "devices/block/deflate.h"
#include "devices/block/qcow2_format.h"
#include "devices/block/zstd_encode.h"

struct compressor {
	unsigned type;
	union {
		struct deflate deflate;
		struct zstd_encoder zstd;
	};
};

struct compressor *compressor_create(unsigned type)
{
	struct compressor *c;

	if (type != QCOW2_ZLIB && type != QCOW2_ZSTD)
		return NULL;
	c = malloc(sizeof(*c));
	if (c)
		c->type = type;
	return c;
}

void compressor_destroy(struct compressor *c)
{
	free(c);
}

size_t compressor_run(struct compressor *c, const uint8_t *in, size_t len,
		      uint8_t *out)
{
	if (c->type == QCOW2_ZSTD)
		return zstd_encode(&c->zstd, in, len, out, len - 1);
	return deflate_raw(&c->deflate, in, len, out, len - 1);
}
