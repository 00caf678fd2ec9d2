/* utf8: is it UTF-8 (RFC 3629: shortest forms only, no surrogates, at most U+10FFFF)? U+0000 is. */
#ifndef OBLIVIATE_UTF8_H
#define OBLIVIATE_UTF8_H

#include "common/base.h"

/* How many bytes from the start are well-formed; len when all are. */
size_t utf8_valid(const void *data, size_t len);

/* The longest prefix of well-formed text that has at most max bytes and cuts no character. */
size_t utf8_cut(const char *text, size_t len, size_t max);

#endif
