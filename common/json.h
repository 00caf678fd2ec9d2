/*
 * json: the only file that sees jansson's loader. Strict: duplicate keys are refused, numbers must fit,
 * depth and size are bounded by the caller's limit and by jansson (2,048 levels). Values are jansson's
 * json_t; the getters below name the JSON path in their errors.
 */
#ifndef OBLIVIATE_JSON_H
#define OBLIVIATE_JSON_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"

/* Parse len bytes. The error is ERR_INVALID_JSON with "where:line:column" as its place, or ERR_NO_MEMORY
 * as far as jansson tells: a string that it has no memory for is a fault of the text to it. New reference. */
int json_parse(json_t **out, const char *data, size_t len, const char *where, struct err *err) MUST_USE;

/*
 * As json_parse, but integers come as reals too, so that those beyond 64 bits are accepted (Hugging Face
 * writes 10^30 for "no limit").
 */
int json_parse_wide(json_t **out, const char *data, size_t len, const char *where, struct err *err) MUST_USE;

/*
 * Has the text at most max commas and opening brackets outside strings? Each may cost the parser a hundred
 * bytes, so a hostile "[[],[],..." takes 50 times its size; ask before json_parse where the text is large.
 */
bool json_is_bounded(const char *data, size_t len, size_t max);

/* Append the value, compact, keys in insertion order (or sorted); numbers with up to 17 digits. */
void json_write(struct buf *buf, const json_t *value);
void json_write_sorted(struct buf *buf, const json_t *value);

/* Append a string with its quotes; bytes that are no UTF-8 (a text that was cut) become U+FFFD. */
void json_write_string(struct buf *buf, const char *text);

/* Pretty-printed with two spaces and a final newline, for files that people open. */
void json_write_pretty(struct buf *buf, const json_t *value);

#endif
