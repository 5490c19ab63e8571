/*
 * The payload of a bzImage: the packed kernel inside it (Linux
 * Documentation/arch/x86/boot.rst, payload_offset and payload_length). Its
 * last four bytes say how large it is when it is unpacked.
 *
 * One thread at a time. The file is hostile: only [out, out + size) is written.
 */
#ifndef KVIST_BOOT_PAYLOAD_H
#define KVIST_BOOT_PAYLOAD_H

#include "boot/boot.h"

struct payload_format;

struct payload {
	uint64_t offset, packed; /* where it lies in the kernel's file */
	uint64_t size;           /* unpacked, as its last bytes say */
	const struct payload_format *format;
};

/* Looks at the payload of @packed bytes at @offset of the kernel's file. 1; 0
 * when its format is not one of those that are unpacked here, LZ4, gzip and
 * zstd; -errno, logged. */
int payload_find(const struct boot *boot, uint64_t offset, uint64_t packed,
		 struct payload *payload);

/* "LZ4" and the like. */
const char *payload_name(const struct payload *payload);

/*
 * Unpacks it to @out, which has room for payload->size bytes. 1; 0 when it is
 * damaged or there is no memory to read it into, and @out then holds anything;
 * -errno, logged, when the file cannot be read.
 */
int payload_unpack(const struct boot *boot, const struct payload *payload,
		   uint8_t *out);

#endif
