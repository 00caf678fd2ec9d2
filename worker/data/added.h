/*
 * added: tokens that are cut out of the text before the model sees it, such as "[SEP]".
 *
 * Tokens that are not `normalized` are looked for in the raw text, the others, themselves normalised, in what the
 * normalizer made of the rest: two tries. At each place the longest wins. Const once it is built.
 */
#ifndef OBLIVIATE_ADDED_H
#define OBLIVIATE_ADDED_H

#include "worker/data/normalize.h"
#include "worker/data/vocab.h"

enum { ADDED_BYTES_MAX = 256, ADDED_TOKENS_MAX = 65536 };

struct added_token {
	int id;
	bool is_special, single_word, lstrip, rstrip, normalized;
};

struct trie {
	struct pairs child; /* (node, byte) -> node; the root is 0 */
	int32_t *token;	    /* by node: index of the token that ends here, or -1 */
	int n, cap;
	bool starts[256]; /* some token starts with this byte */
};

struct added {
	struct vocab vocab; /* the texts, by id and by text */
	struct added_token *token;
	int n, cap;
	struct trie raw, normalized;
};

/* Ids are below size. */
int added_init(struct added *added, int size, struct err *err) MUST_USE;
void added_done(struct added *added);

/* ERR_INVALID_TOKENIZER at where: too long, too many, text or id there already. */
int added_put(struct added *added, const struct added_token *token, const char *text, size_t len,
	const char *where, struct err *err) MUST_USE;

/* After the last added_put: build the tries. */
int added_build(struct added *added, const struct normalizer *normalizer, const char *where,
	struct err *err) MUST_USE;

/* The id of the token with this text, or -1. */
int added_find(const struct added *added, const char *text, size_t len);
bool added_has(const struct added *added, int id);

/* The text from left to right: a token, or what lies between two (token NULL, never empty). */
struct added_part {
	const char *text;
	size_t len;
	const struct added_token *token;
};

struct added_split {
	const struct added *added;
	const struct trie *trie;
	const char *text;
	size_t len;
	size_t from; /* everything before was handed out */
	size_t scan; /* where the search goes on */
	const struct added_token *found;
	size_t found_from, found_to;
};

void added_start(
	struct added_split *split, const struct added *added, bool normalized, const char *text, size_t len);
bool added_next(struct added_part *part, struct added_split *split);

#endif
