/*
 * What `kvist io` prints: how much, how fast, and the bytes themselves.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "cli/io.h"

#define LINE 16 /* bytes of a line of a dump */

int io_number(const char *text, uint64_t *number)
{
	int err = img_parse_size(text, number);

	if (err == -ERANGE)
		printf("Parsing error: argument too large -- %s\n", text);
	else if (err)
		printf("Parsing error: non-numeric argument, or "
		       "extraneous/unrecognized suffix -- %s\n",
		       text);
	return err ? -1 : 0;
}

char *io_size(double bytes, char text[IO_SIZE_TEXT])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
					     "TiB",   "PiB", "EiB" };
	size_t unit = 0;
	char *point;

	while (bytes >= 1024 && unit < 6) {
		bytes /= 1024;
		unit++;
	}
	/* qemu-io shows more of what is less than a KiB. */
	snprintf(text, IO_SIZE_TEXT - 8, "%.*f", unit ? 3 : 6, bytes);
	point = strstr(text, ".000");
	if (point)
		*point = '\0';
	strcat(text, " ");
	return strcat(text, units[unit]);
}

void io_report_start(struct io_report *report, const char *kind)
{
	report->kind = kind;
	clock_gettime(CLOCK_MONOTONIC, &report->start);
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) +
	       (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void print_time(double seconds, bool terse)
{
	unsigned whole = (unsigned)seconds;
	unsigned hours = whole / 3600, minutes = whole / 60 % 60;
	double rest = seconds - (double)(whole / 60 * 60ull);

	if (terse || hours)
		printf("%u:%02u:%05.2f", hours, minutes, rest);
	else
		printf("%05.2f sec", seconds);
}

void io_report(const struct io_report *report, uint64_t offset, uint64_t bytes)
{
	double seconds = seconds_since(&report->start), rate;
	char size[IO_SIZE_TEXT], speed[IO_SIZE_TEXT];

	if (report->quiet)
		return;
	if (seconds <= 0)
		seconds = 1e-9;
	rate = (double)bytes / seconds;
	if (report->terse) {
		printf("%" PRIu64 ",1,", bytes);
		print_time(seconds, true);
		printf(",%.3f,%.3f\n", rate, 1 / seconds);
		return;
	}
	printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n",
	       report->kind, bytes, bytes, offset);
	printf("%s, 1 ops; ", io_size((double)bytes, size));
	print_time(seconds, false);
	printf(" (%s/sec and %.4f ops/sec)\n", io_size(rate, speed),
	       1 / seconds);
}

void io_dump(const uint8_t *bytes, uint64_t length, uint64_t offset)
{
	for (uint64_t at = 0; at < length; at += LINE) {
		uint64_t n = length - at < LINE ? length - at : LINE;

		printf("%08" PRIx64 ":  ", offset + at);
		for (uint64_t i = 0; i < n; i++)
			printf("%02x ", bytes[at + i]);
		putchar(' ');
		for (uint64_t i = 0; i < n; i++)
			putchar(isalnum(bytes[at + i]) ? bytes[at + i] : '.');
		putchar('\n');
	}
}
