/* Hostile zstd frames: the first two bytes choose the output's length. */
#include <stdlib.h>

#include "util/bytes.h"
#include "util/zstd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct zstd scratch;
	uint8_t *out;

	if (len < 2)
		return 0;
	/* A buffer of exactly the length: the sanitizer sees its end. */
	out = malloc(get_le16(data) + 1ul);
	if (out)
		zstd_decode(&scratch, data + 2, len - 2, out, get_le16(data));
	free(out);
	return 0;
}
