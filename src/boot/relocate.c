#include "boot/relocate.h"

#include "util/bytes.h"

#include <errno.h>

#define WORD 4

/* One list, from @list to its end; @linked is taken from each address. */
static int apply64(uint8_t *image, uint64_t len, const uint8_t *list,
		   const uint8_t *end, uint64_t linked, uint64_t distance)
{
	if (len < 8)
		return list < end ? -EINVAL : 0;
	for (; list < end; list += WORD) {
		int64_t address = (int32_t)get_le32(list);
		uint64_t at = (uint64_t)address - linked;

		if (at > len - 8)
			return -EINVAL;
		put_le64(image + at, get_le64(image + at) + distance);
	}
	return 0;
}

static int apply32(uint8_t *image, uint64_t len, const uint8_t *list,
		   const uint8_t *end, uint64_t linked, uint32_t distance)
{
	if (len < 4)
		return list < end ? -EINVAL : 0;
	for (; list < end; list += WORD) {
		int64_t address = (int32_t)get_le32(list);
		uint64_t at = (uint64_t)address - linked;

		if (at > len - 4)
			return -EINVAL;
		put_le32(image + at, get_le32(image + at) + distance);
	}
	return 0;
}

static const uint8_t *find_zero(const uint8_t *at, const uint8_t *end)
{
	while (at < end && get_le32(at))
		at += WORD;
	return at;
}

int relocate(uint8_t *image, uint64_t len, const uint8_t *table,
	     uint64_t table_len, uint64_t linked, uint64_t distance)
{
	const uint8_t *end = table + table_len, *lists[4];
	int count = 0, err;

	if (table_len % WORD || !table_len || get_le32(table))
		return -EINVAL;
	/* Each list from behind the zero before it; then the end, likewise. */
	for (const uint8_t *at = table; at < end; at = find_zero(at, end)) {
		at += WORD;
		if (count == 3)
			return -EINVAL;
		lists[count++] = at;
	}
	lists[count] = end + WORD;
	if (count < 2)
		return -EINVAL;
	err = apply64(image, len, lists[0], lists[1] - WORD, linked, distance);
	if (!err && count == 3)
		err = apply32(image, len, lists[1], lists[2] - WORD, linked,
			      -distance);
	if (!err)
		err = apply32(image, len, lists[count - 1], end, linked,
			      distance);
	return err;
}
