/*
 * vocab: the tokens of a model, by id and by text, and a map of pairs of ids.
 *
 * The texts come from hostile files: a table refuses entries that a crafted set of texts has piled up on one
 * place, so that a lookup costs at most VOCAB_PROBES_MAX steps. Const once it is built.
 */
#ifndef OBLIVIATE_VOCAB_H
#define OBLIVIATE_VOCAB_H

#include "common/err.h"

enum {
	VOCAB_SIZE_MAX = 1 << 22,
	VOCAB_PROBES_MAX = 512, /* half-full tables of honest files stay below 100 */
};

struct vocab_token {
	uint32_t at, len; /* in bytes[]; at is VOCAB_NONE where the id has no token */
};

#define VOCAB_NONE UINT32_MAX

struct vocab {
	char *bytes;
	size_t bytes_len, bytes_cap;
	struct vocab_token *token; /* by id, size of them */
	int size;		   /* ids are below */
	int n;			   /* 1 + greatest id with a token */
	int longest;		   /* bytes of the longest token */
	struct vocab_slot *slot;
	uint32_t slots; /* power of two, or 0 */
	uint32_t used;
};

int vocab_init(struct vocab *vocab, int size, struct err *err) MUST_USE;
void vocab_done(struct vocab *vocab);

/* Errors are ERR_INVALID_TOKENIZER at `where`: id out of range or taken, text already there, crafted texts. */
int vocab_add(struct vocab *vocab, const char *text, size_t len, long long id, const char *where,
	struct err *err) MUST_USE;

/* The id of text, or -1. */
int vocab_find(const struct vocab *vocab, const char *text, size_t len);

/* The token of id (not NUL-terminated) and its length; NULL where there is none. */
const char *vocab_text(size_t *len, const struct vocab *vocab, int id);

/* The hash of a text grows byte by byte from VOCAB_HASH_START, so that all prefixes cost one pass. */
#define VOCAB_HASH_START UINT64_C(0xCBF29CE484222325)
uint64_t vocab_hash(uint64_t hash, const char *text, size_t len);

/* As vocab_find, of prefix followed by text, whose hash is known. */
int vocab_find_hashed(const struct vocab *vocab, uint64_t hash, const char *prefix, size_t prefix_len,
	const char *text, size_t len);

/* What a pair (a, b) of non-negative numbers maps to. */
struct pair {
	uint64_t key; /* a << 32 | b, or UINT64_MAX */
	int32_t rank, value;
};

struct pairs {
	struct pair *slot;
	uint32_t slots, used;
};

void pairs_done(struct pairs *pairs);
/* A pair that is there already gets the new rank and value. */
int pairs_put(
	struct pairs *pairs, int a, int b, int rank, int value, const char *where, struct err *err) MUST_USE;
const struct pair *pairs_find(const struct pairs *pairs, int a, int b);

#endif
