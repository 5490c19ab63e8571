#include "boot/payload.h"

#include "boot/file.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/inflate.h"
#include "util/lz4.h"
#include "util/zstd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TRAILER 4 /* bytes: the unpacked size */

struct payload_format {
	const char *name;
	const char *magic; /* of TRAILER bytes at most */
	unsigned magic_len;
	/* 0 when @in, without the trailer, makes exactly @out_len bytes. */
	int (*decode)(const uint8_t *in, size_t in_len, uint8_t *out,
		      size_t out_len);
};

/* The header of a gzip member (RFC 1952, 2.3): its length, or 0 when it is
 * invalid or longer than @len. */
static size_t gzip_header(const uint8_t *in, size_t len)
{
	enum { FHCRC = 2, FEXTRA = 4, FNAME = 8, FCOMMENT = 16 };
	size_t at = 10;
	uint8_t flags;

	if (len < at)
		return 0;
	flags = in[3];
	if (flags & 0xe0)
		return 0;
	if (flags & FEXTRA) {
		if (len - at < 2)
			return 0;
		at += 2 + get_le16(in + at);
	}
	for (uint8_t text = FNAME; text <= FCOMMENT; text <<= 1) {
		while (flags & text && at < len && in[at])
			at++;
		at += flags & text ? 1 : 0;
	}
	at += flags & FHCRC ? 2 : 0;
	return at < len ? at : 0;
}

static int decode_gzip(const uint8_t *in, size_t in_len, uint8_t *out,
		       size_t out_len)
{
	size_t header = gzip_header(in, in_len);

	if (!header)
		return -EINVAL;
	return inflate_raw(in + header, in_len - header, out, out_len);
}

static int decode_zstd(const uint8_t *in, size_t in_len, uint8_t *out,
		       size_t out_len)
{
	struct zstd *z = malloc(sizeof(*z));
	int err = z ? zstd_decode(z, in, in_len, out, out_len) : -ENOMEM;

	free(z);
	return err;
}

static const struct payload_format formats[] = {
	{ "LZ4", "\x02\x21\x4c\x18", 4, lz4_legacy_decode },
	{ "gzip", "\x1f\x8b\x08", 3, decode_gzip },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, decode_zstd },
};

int payload_find(const struct boot *boot, uint64_t offset, uint64_t packed,
		 struct payload *payload)
{
	uint8_t head[TRAILER], tail[TRAILER];
	int err;

	if (packed < sizeof(head) + sizeof(tail))
		return 0;
	err = boot_kernel_read(boot, "its payload", offset, head, sizeof(head));
	if (!err)
		err = boot_kernel_read(boot, "its payload's end",
				       offset + packed - sizeof(tail), tail,
				       sizeof(tail));
	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (memcmp(head, formats[i].magic, formats[i].magic_len))
			continue;
		*payload = (struct payload){ .offset = offset,
					     .packed = packed,
					     .size = get_le32(tail),
					     .format = &formats[i] };
		return 1;
	}
	return 0;
}

const char *payload_name(const struct payload *payload)
{
	return payload->format->name;
}

int payload_unpack(const struct boot *boot, const struct payload *payload,
		   uint8_t *out)
{
	uint64_t packed = payload->packed;
	uint8_t *in = mmap(NULL, packed, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (in == MAP_FAILED)
		return 0;
	madvise(in, packed, MADV_HUGEPAGE);
	err = boot_file_read(&boot->kernel, "its payload", payload->offset, in,
			     packed);
	if (!err)
		err = !payload->format->decode(in, packed - TRAILER, out,
					       payload->size);
	munmap(in, packed);
	return err;
}
