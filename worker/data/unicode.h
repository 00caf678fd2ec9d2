/*
 * unicode: steps through valid UTF-8 (common/utf8.h says whether it is), and the properties of code points as
 * tokenizers 0.23.3 sees them.
 *
 * Everything here is const and cannot fail; code points are at most 0x10FFFF and no surrogates.
 */
#ifndef OBLIVIATE_UNICODE_H
#define OBLIVIATE_UNICODE_H

#include "common/utf8.h"

enum { UTF8_BYTES_MAX = 4, UNICODE_EXPANSION_MAX = 3 };

/* In the order of unicode_generate.py's FLAGS. */
enum unicode_flag {
	UNICODE_SPACE = 1 << 0,	      /* White_Space: where words end, and \s */
	UNICODE_CLEAN_SPACE = 1 << 1, /* BERT's clean_text turns it into ' ' */
	UNICODE_REMOVED = 1 << 2,     /* BERT's clean_text drops it */
	UNICODE_PUNCT = 1 << 3,	      /* BERT splits it off */
	UNICODE_CJK = 1 << 4,	      /* BERT puts spaces around it */
	UNICODE_MARK = 1 << 5,	      /* BERT's strip_accents drops it */
	UNICODE_LETTER = 1 << 6,      /* \p{L} */
	UNICODE_NUMBER = 1 << 7,      /* \p{N} */
	UNICODE_WORD = 1 << 8,	      /* \w, for added tokens that are single words */
	UNICODE_CLASS = 1 << 9,	      /* its combining class is not 0 */
	UNICODE_NFD = 1 << 10,	      /* has a decomposition in the table */
	UNICODE_LOWER = 1 << 11,      /* has another lower case */
};

unsigned unicode_flags(uint32_t cp);

/* Canonical combining class. */
int unicode_combining(uint32_t cp);

/* Decomposition without dropped marks, and lower case: the number of code points written, 1 to 3. */
int unicode_decompose(uint32_t out[UNICODE_EXPANSION_MAX], uint32_t cp, unsigned flags);
int unicode_to_lower(uint32_t out[UNICODE_EXPANSION_MAX], uint32_t cp, unsigned flags);

/* The code point at *at, which must lie inside valid UTF-8; *at moves behind it. */
uint32_t utf8_next(const char **at);

/* Writes 1 to 4 bytes. */
int utf8_put(char out[UTF8_BYTES_MAX], uint32_t cp);

/* The code point that ends at `end`, in valid UTF-8 with at least one before it. */
uint32_t utf8_last(const char *end);

#endif
