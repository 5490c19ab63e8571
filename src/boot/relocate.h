/*
 * The relocations of a 64-bit Linux: what has to be changed in it to run at
 * another virtual address than the one it was linked for.
 *
 * They follow the ELF file in a bzImage's payload, as 32-bit words: lists of
 * addresses, each with a zero before it. An address is the link-time one of
 * the place to change, sign extended. The lists are, in this order,
 *
 *   1  64-bit places to which the distance is added
 *   2  32-bit places from which it is subtracted (until Linux 6.14)
 *   3  32-bit places to which it is added
 *
 * Pure function, any thread; image and table are hostile.
 */
#ifndef KVIST_BOOT_RELOCATE_H
#define KVIST_BOOT_RELOCATE_H

#include <stdint.h>

/*
 * Moves @image, of @len bytes and linked for the virtual address @linked, by
 * @distance. 0; -EINVAL when the table is malformed or an address lies outside
 * of the image. Then the image is spoilt; nothing else was written.
 */
int relocate(uint8_t *image, uint64_t len, const uint8_t *table,
	     uint64_t table_len, uint64_t linked, uint64_t distance);

#endif
