/*
 * corpus: texts as token ids, one after another: what training and evaluation read.
 */
#ifndef OBLIVIATE_CORPUS_H
#define OBLIVIATE_CORPUS_H

#include "worker/data/dataset.h"
#include "worker/data/tokenizer.h"

struct text {
	size_t at; /* first id */
	int n;
	int second; /* first token of type 1, or n */
	int label;
};

struct corpus {
	int n, cap;
	struct text *text;
	int32_t *ids;
	size_t ids_n, ids_cap;
	int longest;
	struct encoding encoding; /* reused by corpus_add */
};

/* Tokenise one text (pair may be NULL) to at most max_length tokens and append it. */
int corpus_add(struct corpus *corpus, const struct tokenizer *tok, const char *text, const char *pair,
	int label, int max_length, struct err *err) MUST_USE;
/* All rows of a selection, in its order. */
int corpus_fill(struct corpus *corpus, const struct tokenizer *tok, const struct dataset *data,
	const struct selection *rows, int max_length, struct err *err) MUST_USE;
/* Append token ids as they are (tests, plants). */
int corpus_add_ids(
	struct corpus *corpus, const int32_t *ids, int n, int second, int label, struct err *err) MUST_USE;
void corpus_clear(struct corpus *corpus);
void corpus_done(struct corpus *corpus);
size_t corpus_tokens(const struct corpus *corpus);

#endif
