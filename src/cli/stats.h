/*
 * What a run was made of: the exits to user space, by reason.
 */
#ifndef KVIST_CLI_STATS_H
#define KVIST_CLI_STATS_H

#include "kvm/vm.h"

#include <stdint.h>

/* The exits of all vCPUs for @reason, a KVM_EXIT_* below VCPU_EXIT_REASONS. */
uint64_t stats_exits(const struct vm *vm, unsigned reason);

#endif
