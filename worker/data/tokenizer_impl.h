/*
 * tokenizer_impl: what a tokenizer is made of. For tokenizer.c, tokenizer_files.c, wordpiece.c and bpe.c only.
 *
 * tokenizer_files.c fills it from the files, added tokens last; from then on it is const.
 */
#ifndef OBLIVIATE_TOKENIZER_IMPL_H
#define OBLIVIATE_TOKENIZER_IMPL_H

#include "common/json.h"
#include "worker/data/added.h"
#include "worker/data/bpe.h"
#include "worker/data/normalize.h"
#include "worker/data/tokenizer.h"
#include "worker/data/vocab.h"
#include "worker/data/wordpiece.h"

enum { SPECIAL_N = SPECIAL_UNK + 1 };
enum { TEMPLATE_TOKENS_MAX = 4, TEMPLATE_PARTS_MAX = TEMPLATE_TOKENS_MAX + 2 };

/* What the special tokens around the text are: [CLS] A [SEP] B [SEP]. A comes before B. */
struct template
{
	int n;
	int tokens; /* parts that are special tokens */
	struct template_part {
		enum { PART_TOKEN, PART_A, PART_B } kind;
		int id; /* of PART_TOKEN */
		int type;
	} part[TEMPLATE_PARTS_MAX];
};

/* text is one stretch between added tokens, normalised. */
struct tokenizer_model {
	int (*pieces)(
		struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err);
	/* The token's text as it would stand in a sentence; false for continuation pieces. */
	bool (*word)(struct buf *out, const char *token, size_t len);
	/* Where a word can stand, for finding out whether it is one token: " " when the mark is a space. */
	const char *before_word;
};

extern const struct tokenizer_model tokenizer_wordpiece, tokenizer_bpe;

struct tokenizer {
	const struct tokenizer_model *model;
	struct vocab vocab;
	struct normalizer normalizer; /* all off for BPE */
	struct wordpiece wordpiece;
	struct bpe bpe;
	struct added added;
	struct template single, pair;
	int special[SPECIAL_N]; /* -1: none */
	int max_length;
};

/*
 * Fill *tok, which is zero; tokenizer_free releases what a failed call leaves. tokenizer_files.c; it hands the
 * parsed tokenizer.json to tokenizer_json.c, which sets all but special[] and max_length.
 */
int tokenizer_read(
	struct tokenizer *tok, int dirfd, const char *model_type, int vocab_size, struct err *err) MUST_USE;
int tokenizer_json_read(struct tokenizer *tok, const json_t *root, struct err *err) MUST_USE;

/* Parts that both take: tok->vocab is complete, `where` is file and place. */
int tokenizer_add_vocab(
	struct tokenizer *tok, const json_t *vocab, const char *where, struct err *err) MUST_USE;
int tokenizer_add_merge(struct tokenizer *tok, int rank, const char *left, size_t left_len, const char *right,
	size_t right_len, const char *where, struct err *err) MUST_USE;
int tokenizer_add_token(struct tokenizer *tok, const struct added_token *token, const char *text, size_t len,
	const char *where, struct err *err) MUST_USE;
/* cls A sep, with a pair cls A sep [sep] B sep: BERT's second text and its sep have type 1. */
void tokenizer_set_templates(struct tokenizer *tok, int cls, int sep, bool is_bert);
/* The id of a token of the vocabulary or an added one; -1. */
int tokenizer_id(const struct tokenizer *tok, const char *text);

/* Optional members: absent or null gives the default; another type is ERR_INVALID_TOKENIZER at where.key. */
int member_bool(bool *out, const json_t *object, const char *key, bool absent, const char *where,
	struct err *err) MUST_USE;
int member_string(const char **out, const json_t *object, const char *key, const char *absent,
	const char *where, struct err *err) MUST_USE;

/* Append one id. */
int ids_add(struct ids *ids, int id, struct err *err) MUST_USE;

#endif
