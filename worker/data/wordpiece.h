/*
 * wordpiece: words at white space, punctuation by itself, then greedily the longest piece of each word.
 *
 * BertPreTokenizer and WordPiece of tokenizers 0.23.3. A word that has no pieces, or too many characters, is
 * the unknown token as a whole.
 */
#ifndef OBLIVIATE_WORDPIECE_H
#define OBLIVIATE_WORDPIECE_H

#include "common/base.h"

enum { WORDPIECE_CHARS_MAX = 256, WORDPIECE_PREFIX_MAX = 16 };

struct wordpiece {
	char prefix[WORDPIECE_PREFIX_MAX + 1]; /* "##" before pieces that continue a word */
	int chars_max;			       /* longer words are unknown; at most WORDPIECE_CHARS_MAX */
	int unknown;			       /* id */
};

#endif
