/*
 * unicode_tables: the code-point sets of tokenizers 0.23.3 as const tables, made by unicode_generate.py.
 *
 * They are what that library does, not what any one Unicode version says. unicode.h reads them.
 */
#ifndef OBLIVIATE_UNICODE_TABLES_H
#define OBLIVIATE_UNICODE_TABLES_H

#include "common/base.h"

/* From first up to the next span's first, every code point has these flags (enum unicode_flag). */
struct unicode_span {
	uint32_t first;
	uint16_t flags;
};

/* Canonical combining class of first..last; the classes of all others are 0. */
struct unicode_class {
	uint32_t first, last;
	uint8_t value;
};

struct unicode_map {
	uint32_t from;
	uint32_t to[3]; /* up to the first 0 */
};

extern const struct unicode_span unicode_spans[];
extern const int unicode_spans_n;
extern const uint16_t unicode_ascii[128]; /* the same flags, for speed */
extern const struct unicode_class unicode_classes[];
extern const int unicode_classes_n;
/* Canonical decomposition without the marks that BERT drops; Hangul is not in it. */
extern const struct unicode_map unicode_nfd[];
extern const int unicode_nfd_n;
extern const struct unicode_map unicode_lower[];
extern const int unicode_lower_n;

#endif
