/*
 * A hostile image under `kvist img check -r`: whatever is repaired, what is
 * found afterwards is no more than what was said to be left, and a repair of
 * what was repaired changes nothing. The inputs are those of fuzz_qcow2, whose
 * first bytes are operations; here they are passed over.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/block/fault.h"
#include "devices/block/qcow2_check.h"

#define HEAD     61
#define FILE_MAX (8u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int check(struct memory_bytes *image, unsigned fix,
		 struct qcow2_findings *found)
{
	static FILE *nowhere;
	struct host_file *file = memory_file_create(image);

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	if (!file || !nowhere)
		abort();
	return qcow2_check(file, "fuzz", fix, nowhere, found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct qcow2_findings first, second;
	struct memory_bytes image = { .limit = FILE_MAX };
	unsigned fix = QCOW2_FIX_ERRORS | QCOW2_FIX_LEAKS;

	if (len < HEAD || len - HEAD > FILE_MAX)
		return 0;
	image.size = len - HEAD;
	image.bytes = malloc(image.size ? image.size : 1);
	if (!image.bytes)
		return 0;
	memcpy(image.bytes, data + HEAD, image.size);
	if (data[0] & 1)
		fix = QCOW2_FIX_LEAKS;
	if (!check(&image, fix, &first)) {
		/* It said that all is well now. */
		if (check(&image, 0, &second))
			abort();
		if (!first.corruptions && fix & QCOW2_FIX_ERRORS &&
		    (second.corruptions || second.leaks > first.leaks))
			abort();
	}
	free(image.bytes);
	return 0;
}
