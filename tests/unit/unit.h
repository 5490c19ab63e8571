/*
 * What every unit test includes: cmocka and the headers it wants first.
 */
#ifndef KVIST_TESTS_UNIT_H
#define KVIST_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Runs @tests; an argument of the program is a cmocka filter of their names. */
#define UNIT_MAIN(tests)                                                       \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		if (argc > 1)                                                  \
			cmocka_set_test_filter(argv[1]);                       \
		return cmocka_run_group_tests(tests, NULL, NULL);              \
	}

#endif
