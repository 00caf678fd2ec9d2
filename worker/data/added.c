#include "worker/data/added.h"

#include <stdlib.h>
#include <string.h>

#include "worker/data/unicode.h"

static void trie_done(struct trie *trie)
{
	pairs_done(&trie->child);
	free(trie->token);
	*trie = (struct trie){0};
}

static int trie_node(struct trie *trie, struct err *err)
{
	if (trie->n == trie->cap) {
		int cap = trie->cap == 0 ? 64 : trie->cap * 2;
		int32_t *token = realloc(trie->token, (size_t)cap * sizeof(*token));

		if (token == NULL)
			return err_nomem(err);
		trie->token = token;
		trie->cap = cap;
	}
	trie->token[trie->n] = -1;
	return trie->n++;
}

/* Of two tokens with the same text the first counts. */
static int trie_put(
	struct trie *trie, const char *text, size_t len, int token, const char *where, struct err *err)
{
	int node = trie->n == 0 ? trie_node(trie, err) : 0, rc;

	if (node < 0)
		return node;
	for (size_t i = 0; i < len; i++) {
		int byte = (unsigned char)text[i];
		const struct pair *edge = pairs_find(&trie->child, node, byte);
		int next = edge != NULL ? edge->value : trie_node(trie, err);

		if (next < 0)
			return next;
		rc = edge != NULL ? 0 : pairs_put(&trie->child, node, byte, 0, next, where, err);
		if (rc != 0)
			return rc;
		node = next;
	}
	trie->starts[(unsigned char)text[0]] = true;
	if (trie->token[node] < 0)
		trie->token[node] = token;
	return 0;
}

/* The longest token that text starts with, or -1. */
static int trie_longest(size_t *matched, const struct trie *trie, const char *text, size_t len)
{
	int node = 0, best = -1;

	for (size_t i = 0; i < len; i++) {
		const struct pair *edge = pairs_find(&trie->child, node, (unsigned char)text[i]);

		if (edge == NULL)
			break;
		node = edge->value;
		if (trie->token[node] >= 0) {
			best = trie->token[node];
			*matched = i + 1;
		}
	}
	return best;
}

int added_init(struct added *added, int size, struct err *err)
{
	*added = (struct added){0};
	return vocab_init(&added->vocab, size, err);
}

void added_done(struct added *added)
{
	vocab_done(&added->vocab);
	free(added->token);
	trie_done(&added->raw);
	trie_done(&added->normalized);
	*added = (struct added){0};
}

int added_put(struct added *added, const struct added_token *token, const char *text, size_t len,
	const char *where, struct err *err)
{
	if (len > ADDED_BYTES_MAX)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"an added token has at most %d bytes, not %zu", ADDED_BYTES_MAX, len);
	if (added->n == ADDED_TOKENS_MAX)
		return err_set(
			err, ERR_INVALID_TOKENIZER, where, "more than %d added tokens", ADDED_TOKENS_MAX);
	if (added->n == added->cap) {
		int cap = added->cap == 0 ? 16 : added->cap * 2;
		struct added_token *grown = realloc(added->token, (size_t)cap * sizeof(*grown));

		if (grown == NULL)
			return err_nomem(err);
		added->token = grown;
		added->cap = cap;
	}
	added->token[added->n++] = *token;
	return vocab_add(&added->vocab, text, len, token->id, where, err);
}

static int build_one(struct added *added, int index, const struct normalizer *normalizer, const char *where,
	struct err *err)
{
	const struct added_token *token = &added->token[index];
	struct buf normal = {0};
	size_t len;
	const char *text = vocab_text(&len, &added->vocab, token->id);
	int rc;

	if (!token->normalized)
		return trie_put(&added->raw, text, len, index, where, err);
	normalize(&normal, normalizer, text, len);
	if (normal.failed)
		rc = err_nomem(err);
	else if (normal.len == 0)
		rc = err_set(err, ERR_INVALID_TOKENIZER, where,
			"the added token \"%.*s\" normalises to nothing", (int)len, text);
	else
		rc = trie_put(&added->normalized, normal.data, normal.len, index, where, err);
	buf_done(&normal);
	return rc;
}

int added_build(struct added *added, const struct normalizer *normalizer, const char *where, struct err *err)
{
	/* Where two normalise to the same text, special tokens go first. */
	for (int special = 1; special >= 0; special--)
		for (int i = 0; i < added->n; i++) {
			int rc = added->token[i].is_special != (special == 1)
					 ? 0
					 : build_one(added, i, normalizer, where, err);

			if (rc != 0)
				return rc;
		}
	return 0;
}

int added_find(const struct added *added, const char *text, size_t len)
{
	return vocab_find(&added->vocab, text, len);
}

bool added_has(const struct added *added, int id)
{
	size_t len;

	return vocab_text(&len, &added->vocab, id) != NULL;
}

void added_start(
	struct added_split *split, const struct added *added, bool normalized, const char *text, size_t len)
{
	*split = (struct added_split){
		.added = added,
		.trie = normalized ? &added->normalized : &added->raw,
		.text = text,
		.len = len,
	};
	if (split->trie->n == 0)
		split->scan = len;
}

static bool touches_word(const struct added_split *split, size_t from, size_t to)
{
	const char *next = split->text + to;

	if (from > 0 && (unicode_flags(utf8_last(split->text + from)) & UNICODE_WORD))
		return true;
	return to < split->len && (unicode_flags(utf8_next(&next)) & UNICODE_WORD);
}

static size_t spaces_before(const struct added_split *split, size_t at)
{
	while (at > split->from) {
		size_t before = at - 1;

		while (before > 0 && ((unsigned char)split->text[before] & 0xC0) == 0x80)
			before--;
		if (!(unicode_flags(utf8_last(split->text + at)) & UNICODE_SPACE))
			break;
		at = before;
	}
	return at;
}

static size_t spaces_after(const struct added_split *split, size_t at)
{
	while (at < split->len) {
		const char *next = split->text + at;

		if (!(unicode_flags(utf8_next(&next)) & UNICODE_SPACE))
			break;
		at = (size_t)(next - split->text);
	}
	return at;
}

/* Search on: the next token goes to split->found. */
static bool find(struct added_split *split)
{
	while (split->scan < split->len) {
		size_t from = split->scan, matched = 0;
		int index = -1;

		if (split->trie->starts[(unsigned char)split->text[from]])
			index = trie_longest(&matched, split->trie, split->text + from, split->len - from);
		split->scan = from + MAX(matched, (size_t)1);
		if (index < 0)
			continue;
		split->found = &split->added->token[index];
		if (split->found->single_word && touches_word(split, from, from + matched))
			continue;
		split->found_from = split->found->lstrip ? spaces_before(split, from) : from;
		split->found_to = split->found->rstrip ? spaces_after(split, from + matched) : from + matched;
		return true;
	}
	split->found = NULL;
	return false;
}

bool added_next(struct added_part *part, struct added_split *split)
{
	size_t to;

	if (split->found == NULL)
		find(split);
	to = split->found != NULL ? split->found_from : split->len;
	if (split->from < to) {
		*part = (struct added_part){split->text + split->from, to - split->from, NULL};
		split->from = to;
		return true;
	}
	if (split->found == NULL)
		return false;
	*part = (struct added_part){
		split->text + split->found_from, split->found_to - split->found_from, split->found};
	split->from = split->found_to;
	split->found = NULL;
	return true;
}
