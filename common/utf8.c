#include "common/utf8.h"

#include <string.h>

/* Bytes of the well-formed character at p, 0 when there is none. Table 3-7 of the Unicode standard. */
static size_t character(const uint8_t *p, size_t left)
{
	static const struct {
		uint8_t first_min, first_max, second_min, second_max, bytes;
	} ROWS[] = {
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	if (p[0] < 0x80)
		return 1;
	for (size_t i = 0; i < NELEM(ROWS); i++) {
		if (p[0] < ROWS[i].first_min || p[0] > ROWS[i].first_max)
			continue;
		if (left < ROWS[i].bytes || p[1] < ROWS[i].second_min || p[1] > ROWS[i].second_max)
			return 0;
		for (size_t k = 2; k < ROWS[i].bytes; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return ROWS[i].bytes;
	}
	return 0;
}

static bool eight_are_ascii(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return (word & 0x8080808080808080u) == 0;
}

size_t utf8_valid(const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t at = 0;

	while (at < len) {
		size_t step = len - at >= 8 && eight_are_ascii(p + at) ? 8 : character(p + at, len - at);

		if (step == 0)
			return at;
		at += step;
	}
	return len;
}

size_t utf8_cut(const char *text, size_t len, size_t max)
{
	size_t cut = max;

	if (len <= max)
		return len;
	while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut--;
	return cut;
}
