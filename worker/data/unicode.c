#include "worker/data/unicode.h"

#include "worker/data/unicode_tables.h"

enum {
	HANGUL_FIRST = 0xAC00,
	HANGUL_LAST = 0xD7A3,
	HANGUL_L = 0x1100,
	HANGUL_V = 0x1161,
	HANGUL_T = 0x11A7,
	HANGUL_V_N = 21,
	HANGUL_T_N = 28,
};

unsigned unicode_flags(uint32_t cp)
{
	int low = 0, high = unicode_spans_n;

	if (cp < 128)
		return unicode_ascii[cp];
	while (high - low > 1) {
		int middle = low + (high - low) / 2;

		if (unicode_spans[middle].first <= cp)
			low = middle;
		else
			high = middle;
	}
	return unicode_spans[low].flags;
}

int unicode_combining(uint32_t cp)
{
	int low = 0, high = unicode_classes_n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (unicode_classes[middle].last < cp)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == unicode_classes_n || unicode_classes[low].first > cp)
		return 0;
	return unicode_classes[low].value;
}

static int map_apply(uint32_t out[UNICODE_EXPANSION_MAX], const struct unicode_map *map, int n, uint32_t cp)
{
	int low = 0, high = n, count = 0;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (map[middle].from < cp)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == n || map[low].from != cp) {
		out[0] = cp;
		return 1;
	}
	while (count < UNICODE_EXPANSION_MAX && map[low].to[count] != 0) {
		out[count] = map[low].to[count];
		count++;
	}
	return count;
}

static int hangul(uint32_t out[UNICODE_EXPANSION_MAX], uint32_t cp)
{
	uint32_t index = cp - HANGUL_FIRST, final = index % HANGUL_T_N;

	out[0] = HANGUL_L + index / (HANGUL_V_N * HANGUL_T_N);
	out[1] = HANGUL_V + index / HANGUL_T_N % HANGUL_V_N;
	out[2] = HANGUL_T + final;
	return final == 0 ? 2 : 3;
}

int unicode_decompose(uint32_t out[UNICODE_EXPANSION_MAX], uint32_t cp, unsigned flags)
{
	if (flags & UNICODE_NFD)
		return map_apply(out, unicode_nfd, unicode_nfd_n, cp);
	if (cp >= HANGUL_FIRST && cp <= HANGUL_LAST)
		return hangul(out, cp);
	out[0] = cp;
	return 1;
}

int unicode_to_lower(uint32_t out[UNICODE_EXPANSION_MAX], uint32_t cp, unsigned flags)
{
	if (flags & UNICODE_LOWER)
		return map_apply(out, unicode_lower, unicode_lower_n, cp);
	out[0] = cp;
	return 1;
}

uint32_t utf8_next(const char **at)
{
	const unsigned char *p = (const unsigned char *)*at;
	int follow = p[0] < 0x80 ? 0 : p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : 3;
	uint32_t cp = follow == 0 ? p[0] : p[0] & (0x3Fu >> follow);

	for (int i = 1; i <= follow; i++)
		cp = cp << 6 | (p[i] & 0x3Fu);
	*at += 1 + follow;
	return cp;
}

uint32_t utf8_last(const char *end)
{
	do
		end--;
	while (((unsigned char)*end & 0xC0) == 0x80);
	return utf8_next(&end);
}

int utf8_put(char out[UTF8_BYTES_MAX], uint32_t cp)
{
	static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
	int n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

	for (int i = n - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (cp & 0x3F));
		cp >>= 6;
	}
	out[0] = (char)(lead[n] | cp);
	return n;
}
