#include "cli/stats.h"

uint64_t stats_exits(const struct vm *vm, unsigned reason)
{
	uint64_t count = 0;

	for (int i = 0; i < vm->nr_vcpus; i++)
		count += __atomic_load_n(&vm->vcpus[i].exits[reason],
					 __ATOMIC_RELAXED);
	return count;
}
