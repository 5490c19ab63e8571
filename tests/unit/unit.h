/*
 * What every unit test includes: cmocka and the headers it wants first.
 */
#ifndef KVIST_TESTS_UNIT_H
#define KVIST_TESTS_UNIT_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* For tests with a guest: without /dev/kvm they say so and are skipped. */
static inline void need_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("SKIPPED: /dev/kvm: %s\n", strerror(errno));
		skip();
	}
	close(fd);
}

/* Runs @tests; an argument of the program is a cmocka filter of their names. */
#define UNIT_MAIN(tests)                                                       \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		if (argc > 1)                                                  \
			cmocka_set_test_filter(argv[1]);                       \
		return cmocka_run_group_tests(tests, NULL, NULL);              \
	}

#endif
