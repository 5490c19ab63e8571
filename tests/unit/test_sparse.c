/*
 * Memory of which little is used: src/util/sparse.c.
 */
#include "unit.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/sparse.h"

#define SIZE (4u << 20)

/* Whether the mapping that has @address in it is one without huge pages. */
static bool is_small(uintptr_t address)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool inside = false, small = false;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		uintptr_t first, end;

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &first, &end) == 2)
			inside = first <= address && address < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			small = strstr(line, " nh");
	}
	fclose(smaps);
	return small;
}

static void sparse_memory_is_zeros_without_huge_pages(void **state)
{
	uint8_t *bytes = sparse_calloc(4, SIZE / 4);

	(void)state;
	assert_non_null(bytes);
	assert_int_equal(bytes[0] | bytes[SIZE / 2] | bytes[SIZE - 1], 0);
	/* A kernel without huge pages knows no such flag. */
	if (!access("/sys/kernel/mm/transparent_hugepage", F_OK))
		assert_true(is_small((uintptr_t)bytes + SIZE / 2));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_memory_is_zeros_without_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
