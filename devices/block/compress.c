#include "devices/block/compress.h"

#include <stdlib.h>

#include "devices/block/deflate.h"
#include "devices/block/qcow2_format.h"

struct compressor {
	unsigned type;
	union {
		struct deflate deflate;
	};
};

struct compressor *compressor_create(unsigned type)
{
	struct compressor *c;

	if (type != QCOW2_ZLIB)
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
	return deflate_raw(&c->deflate, in, len, out, len - 1);
}
