/* A hostile LUKS header, in an area whose length the first bytes choose. What
 * is accepted lies in the area and is opened in bounded time. */
#include <stdlib.h>

#include "devices/block/luks.h"
#include "util/bytes.h"
#include "util/checked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct luks_header header;
	char why[LUKS_WHY_LEN];
	uint64_t area;

	if (len != 4 + LUKS_HEADER_LEN)
		return 0;
	area = get_le32(data);
	if (luks_header_parse(data + 4, area, &header, why, sizeof(why)))
		return 0;
	if (header.digest_iterations > LUKS_ITERATIONS_MAX ||
	    header.kind.hash >= HASH_KINDS ||
	    (header.kind.key_len != 32 && header.kind.key_len != XTS_KEY_MAX))
		abort();
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *slot = &header.slot[i];

		if (slot->active &&
		    (slot->iterations > LUKS_ITERATIONS_MAX ||
		     !range_within(slot->material, luks_material(&header.kind),
				   area)))
			abort();
	}
	return 0;
}
