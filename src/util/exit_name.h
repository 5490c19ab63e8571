/*
 * The names of KVM's exit reasons (api.rst, section 5), for messages.
 */
#ifndef KVIST_UTIL_EXIT_NAME_H
#define KVIST_UTIL_EXIT_NAME_H

/* "IO", "MMIO" ... for KVM_EXIT_IO, KVM_EXIT_MMIO ...; "OTHER" for the rest. */
const char *exit_name(unsigned reason);

#endif
