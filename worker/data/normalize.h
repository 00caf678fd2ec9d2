/*
 * normalize: BertNormalizer of tokenizers 0.23.3.
 *
 * In this order, each step by its own flag: drop control characters and make white space ' '; put spaces around
 * Chinese characters; decompose (NFD) and drop marks; lower case, code point by code point. Const and stateless.
 */
#ifndef OBLIVIATE_NORMALIZE_H
#define OBLIVIATE_NORMALIZE_H

#include "common/buf.h"

struct normalizer {
	bool clean, chinese, strip, lower;
};

/* Append the normal form of valid UTF-8 to out; a failed allocation shows in out->failed. Linear in len. */
void normalize(struct buf *out, const struct normalizer *normalizer, const char *text, size_t len);

#endif
