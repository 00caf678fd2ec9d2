/*
 * tokenizer: text to token ids, exactly as Hugging Face's fast tokenizers do it (tokenizers 0.23.3).
 *
 * One const vtable per model (wordpiece.c, bpe.c); this interface and the parts that both share (added
 * tokens, truncation, special tokens) are in tokenizer.c. The files are hostile: ERR_INVALID_TOKENIZER
 * with file and place. Read-only after tokenizer_open: threads may share it.
 */
#ifndef OBLIVIATE_TOKENIZER_H
#define OBLIVIATE_TOKENIZER_H

#include "common/buf.h"
#include "common/err.h"

struct tokenizer;

/* A growing list of token ids; zero is the empty state. */
struct ids {
	int32_t *id;
	int n, cap;
};

/* One sequence as the encoder takes it: special tokens in, truncated, no padding. */
struct encoding {
	struct ids ids;	  /* n <= max_length */
	int second;	  /* index of the first token of type 1 (BERT pairs), else ids.n */
	int kept[2];	  /* pieces of each text that survived truncation */
	int dropped[2];	  /* pieces of each text that did not */
	bool has_special; /* the text itself spelled a special token, such as a literal "[SEP]" */
};

void ids_done(struct ids *ids);
void encoding_done(struct encoding *encoding);

/*
 * Read tokenizer.json where it is there, else vocab.txt (WordPiece) or vocab.json + merges.txt
 * (byte-level BPE), with tokenizer_config.json, special_tokens_map.json and added_tokens.json beside them.
 * model_type is config.json's ("bert", "roberta"); every id must be below vocab_size (config.json).
 */
int tokenizer_open(
	struct tokenizer **out, int dirfd, const char *model_type, int vocab_size, struct err *err) MUST_USE;
void tokenizer_free(struct tokenizer *tok);

/* Append the pieces of text: added tokens split out, normalised, split, no special tokens, not truncated. */
int tokenizer_pieces(
	struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err) MUST_USE;

/*
 * text (and pair, or NULL) with special tokens, truncated longest first to max_length >= 4.
 * Overwrites *out and reuses its memory.
 */
int tokenizer_encode(struct encoding *out, const struct tokenizer *tok, const char *text, size_t len,
	const char *pair, size_t pair_len, int max_length, struct err *err) MUST_USE;

/* How many of n1 and n2 pieces (n2 < 0: no pair) survive longest-first truncation to max_length. */
void tokenizer_kept(int kept[2], const struct tokenizer *tok, int n1, int n2, int max_length);

/* min(model_max_length, INT_MAX); INT_MAX when the files do not say. */
int tokenizer_max_length(const struct tokenizer *tok);

int tokenizer_vocab_size(const struct tokenizer *tok);

/*
 * The vocabulary's token `id` as the text of one whole word (no continuation piece, no special token;
 * without BPE's leading-space mark), appended to out. False when it is none.
 */
bool tokenizer_whole_word(struct buf *out, const struct tokenizer *tok, int id);

/* The vocabulary's token `id` as it is written there, appended to out, where it can be a part of a longer word. */
bool tokenizer_part(struct buf *out, const struct tokenizer *tok, int id);

/* Ids of [CLS]/<s>, [SEP]/</s>, [PAD]/<pad>, [MASK]/<mask>, [UNK]/<unk>; -1 where there is none. */
enum special { SPECIAL_CLS, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_MASK, SPECIAL_UNK };
int tokenizer_special(const struct tokenizer *tok, enum special which);

#endif
