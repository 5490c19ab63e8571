/*
 * The codes of zstd's sequences (RFC 8878, 3.1.1.3.2), for decoder and encoder.
 * Tables only.
 */
#ifndef KVIST_UTIL_ZSTD_CODES_H
#define KVIST_UTIL_ZSTD_CODES_H

#include <stdint.h>

#define ZSTD_LITERAL_CODES 36
#define ZSTD_MATCH_CODES   53
#define ZSTD_OFFSET_CODES  32

/* A code of a length: what to add to a number of that many bits
 * (3.1.1.3.2.1.1). */
struct zstd_length_code {
	uint32_t base;
	uint8_t bits;
};

extern const struct zstd_length_code zstd_literal_codes[ZSTD_LITERAL_CODES];
extern const struct zstd_length_code zstd_match_codes[ZSTD_MATCH_CODES];

struct zstd_alphabet {
	const int16_t *counts;
	unsigned counted, log;     /* the predefined table (3.1.1.3.2.2) */
	unsigned symbols, max_log; /* limits of a described one */
};

extern const struct zstd_alphabet zstd_literal_alphabet, zstd_match_alphabet,
	zstd_offset_alphabet;

#endif
