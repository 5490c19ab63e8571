/*
 * What is said meanwhile: stderr goes to a file in memory, and back. Children
 * inherit it. What an assertion says that fails in between is not heard either.
 */
#ifndef KVIST_TESTS_SAID_H
#define KVIST_TESTS_SAID_H

#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

struct said {
	int fd, old; /* the file, and stderr as it was */
};

static inline struct said said_begin(void)
{
	struct said said = { memfd_create("said", MFD_CLOEXEC),
			     dup(STDERR_FILENO) };

	assert_true(said.fd >= 0 && said.old >= 0);
	dup2(said.fd, STDERR_FILENO);
	return said;
}

/* As much of it as fits @text. */
static inline void said_end(struct said said, char *text, size_t size)
{
	ssize_t n = pread(said.fd, text, size - 1, 0);

	dup2(said.old, STDERR_FILENO);
	close(said.old);
	close(said.fd);
	assert_true(n >= 0);
	text[n] = '\0';
}

#endif
