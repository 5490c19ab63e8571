/*
 * Huffman's codes with a limit to their length, for deflate and zstd. Pure
 * functions, any thread.
 */
#ifndef KVIST_BLOCK_PREFIX_CODE_H
#define KVIST_BLOCK_PREFIX_CODE_H

#include <stdint.h>

#define PREFIX_SYMBOLS 286 /* of the largest alphabet, deflate's literals */
#define PREFIX_BITS    15  /* of the longest code */

/*
 * Finds the lengths @len, in bits, of a complete code for @n symbols that occur
 * @count times each, none above @limit <= PREFIX_BITS; 0 for a symbol that does
 * not occur. A code has two symbols at least: where fewer occur, the first
 * others are counted once.
 */
void prefix_code_lengths(uint32_t *count, unsigned n, unsigned limit,
			 uint8_t *len);

#endif
