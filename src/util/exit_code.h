/*
 * The exit codes of the program (docs/kvist.1, EXIT STATUS). 0 to 63 are the
 * guest's own.
 */
#ifndef KVIST_UTIL_EXIT_CODE_H
#define KVIST_UTIL_EXIT_CODE_H

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_GUEST_MAX = 63, /* a larger one of the guest ends as this */
	EXIT_CODE_USAGE = 64,     /* the command line is wrong */
	EXIT_CODE_INPUT = 65,     /* a kernel, initrd or image is wrong */
	EXIT_CODE_HOST = 69,      /* the host lacks something */
	EXIT_CODE_INTERNAL = 70,  /* kvist or KVM failed */
	EXIT_CODE_TRIPLE_FAULT = 101, /* and resets are not allowed */
	EXIT_CODE_RESET = 102,        /* likewise */
	EXIT_CODE_TIMEOUT = 124,
	EXIT_CODE_SIGNAL = 128, /* plus the signal's number */
};

#endif
