/* id: random identifiers, prefix and 24 hexadecimal digits (96 bits of the kernel's generator). */
#ifndef OBLIVIATE_ID_H
#define OBLIVIATE_ID_H

#include "common/err.h"

enum { ID_DIGITS = 24 };

/* out holds the prefix, 24 digits and NUL. */
void id_new(char *out, size_t len, const char *prefix);

#endif
