#include "devices/block/prefix_code.h"

#include <string.h>

/*
 * Lengths of a minimum redundancy code, in place (Moffat and Katajainen):
 * @a holds the counts of @n >= 2 symbols, rarest first, and then the lengths,
 * longest first.
 */
static void code_lengths(uint32_t *a, unsigned n)
{
	unsigned root = 0, leaf = 2, next = n - 1, free_nodes = 1, used;

	/* Join the two rarest, again and again; a joined one's place then holds
	 * its parent. */
	a[0] += a[1];
	for (unsigned i = 1; i < n - 1; i++) {
		for (unsigned half = 0; half < 2; half++) {
			uint32_t count;

			if (leaf >= n || (root < i && a[root] < a[leaf])) {
				count = a[root];
				a[root++] = i;
			} else {
				count = a[leaf++];
			}
			a[i] = half ? a[i] + count : count;
		}
	}
	/* Parents become depths. */
	a[n - 2] = 0;
	for (unsigned i = n - 2; i--;)
		a[i] = a[a[i]] + 1;
	/* Inner nodes of each depth leave the rest of it to leaves. */
	root = n - 1;
	for (uint32_t depth = 0; free_nodes; depth++) {
		for (used = 0; root && a[root - 1] == depth; root--)
			used++;
		for (; free_nodes > used; free_nodes--)
			a[next--] = depth;
		free_nodes = 2 * used;
	}
}

/* Shortens the codes longer than @limit, at the cost of others. */
static void limit_lengths(uint32_t *lens, unsigned n, unsigned limit)
{
	uint32_t count[PREFIX_BITS + 1] = { 0 }, total = 0;

	for (unsigned i = 0; i < n; i++)
		count[lens[i] < limit ? lens[i] : limit]++;
	for (unsigned len = 1; len <= limit; len++)
		total += count[len] << (limit - len);
	/* Too many: one code of the longest becomes the sister of a shorter
	 * one, which gets longer by a bit. */
	for (; total > 1u << limit; total--) {
		unsigned len = limit - 1;

		while (!count[len])
			len--;
		count[limit]--;
		count[len]--;
		count[len + 1] += 2;
	}
	for (unsigned len = limit, i = 0; len; len--) {
		for (uint32_t j = 0; j < count[len]; j++)
			lens[i++] = len;
	}
}

/* The symbols that occur, rarest first; returns how many. */
static unsigned sort_symbols(const uint32_t *count, unsigned n,
			     uint16_t order[PREFIX_SYMBOLS])
{
	unsigned used = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = used;

		if (!count[i])
			continue;
		used++;
		for (; at && count[order[at - 1]] > count[i]; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	return used;
}

void prefix_code_lengths(uint32_t *count, unsigned n, unsigned limit,
			 uint8_t *len)
{
	uint32_t lens[PREFIX_SYMBOLS] = { 0 };
	uint16_t order[PREFIX_SYMBOLS];
	unsigned used = sort_symbols(count, n, order);

	for (unsigned i = 0; used < 2; i++) {
		if (!count[i]) {
			count[i] = 1;
			used = sort_symbols(count, n, order);
		}
	}
	for (unsigned i = 0; i < used; i++)
		lens[i] = count[order[i]];
	code_lengths(lens, used);
	limit_lengths(lens, used, limit);
	memset(len, 0, n);
	for (unsigned i = 0; i < used; i++)
		len[order[i]] = lens[i];
}
