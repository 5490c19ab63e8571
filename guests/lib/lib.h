/*
 * What every guest uses: printing, checking, waiting and ending.
 *
 * A guest is a program with one function, guest_main(). What it returns is
 * written to the exit port, after which the run is over. A failed check says
 * so on the serial port, as "FAIL blk.c:123 status of a read past the end: 0,
 * want 1", and ends the run with 1.
 */
#ifndef GUESTS_LIB_LIB_H
#define GUESTS_LIB_LIB_H

#include "guests/lib/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The guest's own part: 0 when all went well. */
int guest_main(void);

/* %s %c %d %u %x, each with l, a width and a leading 0. One call is one
 * piece on the console, whichever CPU prints. At most 256 bytes. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes @code to the exit port, and halts should that not end the run. */
_Noreturn void guest_exit(uint32_t code);

/* Prints "FAIL " and the message, and ends with 1. */
_Noreturn void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

#define CHECK(condition, what)                                                 \
	do {                                                                   \
		if (!(condition))                                              \
			fail("%s:%d %s: not so: %s", __FILE__, __LINE__, what, \
			     #condition);                                      \
	} while (0)

#define CHECK_EQ(got, want, what)                                              \
	check_equal(__FILE__, __LINE__, what, (uint64_t)(got), (uint64_t)(want))

void check_equal(const char *file, int line, const char *what, uint64_t got,
		 uint64_t want);

/* Time by the ACPI PM timer, which counts at 3.579545 MHz. clock_now() is in
 * its ticks since the first call; a call at least every two seconds keeps it
 * right on a timer of 24 bits. One CPU only. */
#define CLOCK_HZ 3579545
uint64_t clock_now(void);

static inline uint64_t clock_ms(uint64_t ms)
{
	return ms * CLOCK_HZ / 1000;
}

/* Spins; other CPUs' and devices' work shows meanwhile. */
void clock_spin(uint64_t ticks);

/* Waits up to two seconds for @condition; the value is whether it came. */
#define WAIT_FOR(condition) WAIT_FOR_MS(condition, 2000)
#define WAIT_FOR_MS(condition, ms)                                             \
	({                                                                     \
		uint64_t wait_end_ = clock_now() + clock_ms(ms);               \
		bool wait_met_;                                                \
                                                                               \
		while (!(wait_met_ = (condition)) && clock_now() < wait_end_)  \
			for (int wait_i_ = 0; wait_i_ < 50 && !(condition);    \
			     wait_i_++)                                        \
				cpu_pause();                                   \
		wait_met_;                                                     \
	})

/* The command line has words of the form key, or key=value. */
bool option(const char *key);
/* The value as a number (decimal, or 0x...), or @otherwise. */
uint64_t option_number(const char *key, uint64_t otherwise);
/* Whether the key's value is exactly @text. */
bool option_is(const char *key, const char *text);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#endif
