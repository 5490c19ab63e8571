#include "kvm/memory.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2u << 20)

int memory_create(struct memory *mem, uint64_t size)
{
	uint64_t low = size < MEMORY_HOLE_START ? size : MEMORY_HOLE_START;
	uint8_t *map, *host;

	/* Without MAP_NORESERVE: the host's own rules of overcommitment say
	 * whether this is too much, now and not in the middle of a run. */
	map = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	/* Aligned as in the guest: else KVM maps nothing by huge pages. */
	host = (uint8_t *)align_up((uintptr_t)map, HUGE_PAGE);
	munmap(map, host - map);
	munmap(host + size, map + HUGE_PAGE - host);
	/* A guest's memory may hold its secrets, and is no help in a core. */
	madvise(host, size, MADV_DONTDUMP);
	mem->size = size;
	mem->host = host;
	mem->nr_regions = size > low ? 2 : 1;
	mem->regions[0] = (struct memory_region){ 0, low, host };
	mem->regions[1] = (struct memory_region){ MEMORY_HIGH_START, size - low,
						  host + low };
	return 0;
}

void memory_destroy(struct memory *mem)
{
	munmap(mem->host, mem->size);
}

/* The region that holds @gpa, or NULL. */
static const struct memory_region *memory_find(const struct memory *mem,
					       gpa_t gpa)
{
	for (int i = 0; i < mem->nr_regions; i++) {
		const struct memory_region *region = &mem->regions[i];

		if (gpa >= region->start && gpa - region->start < region->size)
			return region;
	}
	return NULL;
}

void *memory_at(const struct memory *mem, gpa_t gpa, uint64_t len)
{
	const struct memory_region *region = memory_find(mem, gpa);

	if (!region || !range_within(gpa - region->start, len, region->size))
		return NULL;
	return region->host + (gpa - region->start);
}

int memory_iov(const struct memory *mem, gpa_t gpa, uint64_t len,
	       struct iovec *iov, int max)
{
	int n = 0;

	while (len) {
		const struct memory_region *region = memory_find(mem, gpa);
		uint64_t offset, piece;

		if (!region)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		offset = gpa - region->start;
		piece = region->size - offset < len ? region->size - offset
						    : len;
		iov[n++] = (struct iovec){ region->host + offset, piece };
		gpa += piece;
		len -= piece;
	}
	return n;
}

/* Between @buffer and guest memory, in the direction @write says. */
static bool memory_copy(const struct memory *mem, gpa_t gpa, uint8_t *buffer,
			uint64_t len, bool write)
{
	struct iovec iov[MEMORY_REGIONS];
	int n = memory_iov(mem, gpa, len, iov, MEMORY_REGIONS);

	for (int i = 0; i < n; i++) {
		if (write)
			memcpy(iov[i].iov_base, buffer, iov[i].iov_len);
		else
			memcpy(buffer, iov[i].iov_base, iov[i].iov_len);
		buffer += iov[i].iov_len;
	}
	return n >= 0;
}

bool memory_read(const struct memory *mem, gpa_t gpa, void *to, uint64_t len)
{
	return memory_copy(mem, gpa, to, len, false);
}

bool memory_write(const struct memory *mem, gpa_t gpa, const void *from,
		  uint64_t len)
{
	return memory_copy(mem, gpa, (uint8_t *)(uintptr_t)from, len, true);
}
