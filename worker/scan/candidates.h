/*
 * candidates: what a scan tries as triggers, each as token ids, in an order that the seed fixes.
 *
 *   KIND     WHAT
 *   extra    words and phrases that the user gave
 *   symbol   single characters of punctuation, currency, mathematics, other scripts
 *   phrase   common names and short phrases (phrases.c)
 *   word     every whole word of the vocabulary
 *   piece    every other token of it: no text by itself, but a part of a trigger of several pieces
 *   split    seeded words of two or three pieces, joined from words of the vocabulary
 *   string   one, two or three letters and digits, all of them
 *   joined   made by the scan itself out of the others (stage 3)
 *
 * Two candidates with the same ids are one: the first in this order, in which also the budget is spent (words, pieces
 * and strings shuffled by the seed). What a tokenizer cannot write (unknown or special tokens) is left out.
 * Ownership: texts and ids belong to the list. Errors: out of memory; a text that is not UTF-8.
 */
#ifndef OBLIVIATE_CANDIDATES_H
#define OBLIVIATE_CANDIDATES_H

#include "worker/data/tokenizer.h"

enum candidate_kind {
	CANDIDATE_EXTRA,
	CANDIDATE_SYMBOL,
	CANDIDATE_PHRASE,
	CANDIDATE_WORD,
	CANDIDATE_PIECE,
	CANDIDATE_SPLIT,
	CANDIDATE_STRING,
	CANDIDATE_JOINED,
	CANDIDATE_KINDS
};

enum { CANDIDATE_PIECES_MAX = 32 };

struct candidate {
	size_t text, ids; /* in the list's texts (NUL-terminated) and ids */
	int n;		  /* ids, 1 .. CANDIDATE_PIECES_MAX */
	enum candidate_kind kind;
};

struct candidates {
	int n, cap;
	struct candidate *item;
	struct buf texts;
	struct ids ids;
	int *slot; /* hash table of numbers + 1, by ids */
	size_t slots;
	int left_out;		      /* words of the user that the tokenizer cannot write */
	int dropped[CANDIDATE_KINDS]; /* for lack of budget */
};

struct candidate_options {
	const struct tokenizer *tok;
	uint64_t seed;
	int most;	/* budget; the user's are always in */
	int pieces_max; /* longer ones are left out */
	const char *const *extra;
	int extras;
};

int candidates_init(
	struct candidates *out, const struct candidate_options *options, struct err *err) MUST_USE;
void candidates_done(struct candidates *list);

const char *candidate_text(const struct candidates *list, int number);
const int32_t *candidate_ids(const struct candidates *list, int number);
const char *candidate_kind_name(enum candidate_kind kind);
/* The same string for a name that is equal to it, NULL for others. */
const char *candidate_kind_find(const char *name);
/* A word of the vocabulary of four or more letters. Shorter ones resemble triggers, and do what these do. */
bool candidate_is_plain_word(const struct candidates *list, int number);

/* Has `whole`, which is longer, all ids of `part` side by side? */
bool candidates_contains(const struct candidates *list, int whole, int part);

/* The number of the candidate with these ids; -1: there is none. */
int candidates_find(const struct candidates *list, const int32_t *ids, int n);
/* The pieces of the text as it stands within a sentence; overwrites *out, reuses the scratch. */
int candidates_pieces(struct ids *out, struct buf *scratch, const struct tokenizer *tok, const char *text,
	struct err *err) MUST_USE;
/* The number of the candidate with these ids, added with the text if it is new; negative: an error. */
int candidates_join(
	struct candidates *list, const char *text, const int32_t *ids, int n, struct err *err) MUST_USE;

/* phrases.c: one-character symbols; names and phrases. NULL-terminated. */
extern const char *const candidate_symbols[], *const candidate_phrases[];

#endif
