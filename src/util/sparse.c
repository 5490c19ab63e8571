#include "util/sparse.h"

#include "util/checked.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096

void *sparse_calloc(size_t count, size_t size)
{
	void *bytes = calloc(count, size);
	uintptr_t first = align_up((uintptr_t)bytes, PAGE);
	uintptr_t last = align_down((uintptr_t)bytes + count * size, PAGE);

	if (bytes && first < last)
		madvise((void *)first, last - first, MADV_NOHUGEPAGE);
	return bytes;
}
