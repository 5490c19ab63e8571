#include "devices/block/aes.h"

#include <stdbool.h>
#include <string.h>

/*
 * AES without tables: a table lookup by a secret index shows in the cache
 * which index it was. The S-box is computed instead, for the 16 bytes of a
 * block at once, as what it is: the inverse in GF(2^8), by the power of 254,
 * then an affine map.
 */
typedef uint8_t vec __attribute__((vector_size(AES_BLOCK)));
typedef int8_t signed_vec __attribute__((vector_size(AES_BLOCK)));

static vec splat(int byte)
{
	return (vec){ 0 } + (uint8_t)byte;
}

static vec load(const uint8_t *bytes)
{
	vec v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

static void store(uint8_t *bytes, vec v)
{
	memcpy(bytes, &v, sizeof(v));
}

/* All ones in each byte whose highest bit is set, as a comparison has it. */
static vec highest(vec v)
{
	return (vec)((signed_vec)v < 0);
}

/* Times x, modulo x^8 + x^4 + x^3 + x + 1. */
static vec times_x(vec v)
{
	return (v + v) ^ (highest(v) & splat(0x1b));
}

static vec multiply(vec a, vec b)
{
	vec product = splat(0);

	for (unsigned i = 0; i < 8; i++) {
		product = times_x(product) ^ (a & highest(b));
		b += b;
	}
	return product;
}

static vec square(vec v)
{
	return multiply(v, v);
}

static vec invert(vec v)
{
	vec v2 = square(v), v3 = multiply(v2, v);
	vec v12 = square(square(v3)), v15 = multiply(v12, v3);
	vec v240 = square(square(square(square(v15))));

	return multiply(multiply(v240, v12), v2);
}

static vec rotate_bits(vec v, unsigned n)
{
	for (; n; n--)
		v = (v + v) ^ (highest(v) & splat(1));
	return v;
}

static vec sub_bytes(vec v)
{
	v = invert(v);
	return v ^ rotate_bits(v, 1) ^ rotate_bits(v, 2) ^ rotate_bits(v, 3) ^
	       rotate_bits(v, 4) ^ splat(0x63);
}

static vec inverse_sub_bytes(vec v)
{
	return invert(rotate_bits(v, 1) ^ rotate_bits(v, 3) ^
		      rotate_bits(v, 6) ^ splat(0x05));
}

/* Byte i of the result is byte (i * step + add) of @v, within columns of four
 * when @column, else in the whole block. */
static vec permute(vec v, unsigned step, unsigned add, bool column)
{
	uint8_t from[AES_BLOCK], to[AES_BLOCK];

	store(from, v);
	for (unsigned i = 0; i < AES_BLOCK; i++)
		to[i] = column ? from[(i & 12) | ((i + add) & 3)]
			       : from[(i * step + add) % AES_BLOCK];
	return load(to);
}

/* Row r moves r columns: byte i comes from 5 * i, or 13 * i to undo it. */
static vec shift_rows(vec v)
{
	return permute(v, 5, 0, false);
}

static vec inverse_shift_rows(vec v)
{
	return permute(v, 13, 0, false);
}

static vec mix_columns(vec v)
{
	vec next = permute(v, 0, 1, true);

	return times_x(v ^ next) ^ next ^ permute(v, 0, 2, true) ^
	       permute(v, 0, 3, true);
}

/* Four times that map is the identity. */
static vec inverse_mix_columns(vec v)
{
	return mix_columns(mix_columns(mix_columns(v)));
}

void aes_encrypt(const struct aes *aes, uint8_t block[AES_BLOCK])
{
	vec v = load(block) ^ load(aes->key[0]);

	for (unsigned i = 1; i < aes->rounds; i++)
		v = mix_columns(shift_rows(sub_bytes(v))) ^ load(aes->key[i]);
	store(block, shift_rows(sub_bytes(v)) ^ load(aes->key[aes->rounds]));
}

void aes_decrypt(const struct aes *aes, uint8_t block[AES_BLOCK])
{
	vec v = load(block) ^ load(aes->key[aes->rounds]);

	for (unsigned i = aes->rounds - 1; i; i--)
		v = inverse_mix_columns(
			inverse_sub_bytes(inverse_shift_rows(v)) ^
			load(aes->key[i]));
	store(block,
	      inverse_sub_bytes(inverse_shift_rows(v)) ^ load(aes->key[0]));
}

/* FIPS 197, 5.2. */
void aes_init(struct aes *aes, const uint8_t *key, size_t len)
{
	uint8_t *w = aes->key[0], sub[AES_BLOCK] = { 0 };
	uint8_t constant = 1;

	aes->rounds = len / 4 + 6;
	memcpy(w, key, len);
	for (size_t at = len; at < (aes->rounds + 1) * AES_BLOCK; at += 4) {
		size_t in_turn = at % len;

		memcpy(sub, w + at - 4, 4);
		if (!in_turn || (in_turn == 16 && len > 24))
			store(sub, sub_bytes(load(sub)));
		if (!in_turn) {
			uint8_t first = sub[0];

			memmove(sub, sub + 1, 3);
			sub[3] = first;
			sub[0] ^= constant;
			constant = constant << 1 ^ (constant >> 7) * 0x1b;
		}
		for (unsigned j = 0; j < 4; j++)
			w[at + j] = w[at + j - len] ^ sub[j];
	}
	explicit_bzero(sub, sizeof(sub));
	for (unsigned i = 0; i <= aes->rounds; i++) {
		vec v = load(aes->key[aes->rounds - i]);

		if (i && i < aes->rounds)
			v = inverse_mix_columns(v);
		store(aes->inverse[i], v);
	}
}
