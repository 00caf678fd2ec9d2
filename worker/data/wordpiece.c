#include "worker/data/wordpiece.h"

#include <string.h>

#include "worker/data/tokenizer_impl.h"
#include "worker/data/unicode.h"

struct piece {
	int id; /* -1: none */
	size_t len;
};

/* The longest token that the text, of at most WORDPIECE_CHARS_MAX characters, starts with. */
static struct piece longest(const struct vocab *vocab, const char *prefix, const char *text, size_t len)
{
	struct {
		size_t len;
		uint64_t hash;
	} ends[WORDPIECE_CHARS_MAX];
	size_t prefix_len = strlen(prefix), most = (size_t)vocab->longest;
	uint64_t hash = vocab_hash(VOCAB_HASH_START, prefix, prefix_len);
	const char *at = text, *end = text + len;
	int n = 0;

	while (at < end && n < WORDPIECE_CHARS_MAX) {
		const char *from = at;

		utf8_next(&at);
		if (prefix_len + (size_t)(at - text) > most)
			break;
		hash = vocab_hash(hash, from, (size_t)(at - from));
		ends[n].len = (size_t)(at - text);
		ends[n++].hash = hash;
	}
	while (n-- > 0) {
		int id = vocab_find_hashed(vocab, ends[n].hash, prefix, prefix_len, text, ends[n].len);

		if (id >= 0)
			return (struct piece){id, ends[n].len};
	}
	return (struct piece){-1, 0};
}

static int add_word(struct ids *out, const struct tokenizer *tok, const char *text, size_t len, int chars,
	struct err *err)
{
	int before = out->n;
	size_t at = 0;

	while (chars <= tok->wordpiece.chars_max && at < len) {
		struct piece piece =
			longest(&tok->vocab, at == 0 ? "" : tok->wordpiece.prefix, text + at, len - at);
		int rc = piece.id < 0 ? 0 : ids_add(out, piece.id, err);

		if (rc != 0)
			return rc;
		if (piece.id < 0)
			break;
		at += piece.len;
	}
	if (at == len)
		return 0;
	out->n = before;
	return ids_add(out, tok->wordpiece.unknown, err);
}

static int pieces(struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err)
{
	const char *at = text, *end = text + len, *word = text;
	int chars = 0, rc = 0;

	while (at < end && rc == 0) {
		const char *from = at;
		unsigned flags = unicode_flags(utf8_next(&at)) & (UNICODE_SPACE | UNICODE_PUNCT);

		if (flags == 0) {
			chars++;
			continue;
		}
		if (from > word)
			rc = add_word(out, tok, word, (size_t)(from - word), chars, err);
		if (rc == 0 && !(flags & UNICODE_SPACE))
			rc = add_word(out, tok, from, (size_t)(at - from), 1, err);
		word = at;
		chars = 0;
	}
	if (rc == 0 && end > word)
		rc = add_word(out, tok, word, (size_t)(end - word), chars, err);
	return rc;
}

/* Whether the token is a word of its own is for the caller to try: a "##" may also be two punctuation marks. */
static bool word(struct buf *out, const char *token, size_t len)
{
	buf_add(out, token, len);
	return len > 0;
}

const struct tokenizer_model tokenizer_wordpiece = {pieces, word, ""};
