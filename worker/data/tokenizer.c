#include "worker/data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "worker/data/tokenizer_impl.h"
#include "worker/data/unicode.h"

/* So that the pieces of two texts can be counted in an int. */
enum { TEXT_BYTES_MAX = 1 << 28 };

void ids_done(struct ids *ids)
{
	free(ids->id);
	*ids = (struct ids){0};
}

static int ids_reserve(struct ids *ids, int n, struct err *err)
{
	int cap = ids->cap < 64 ? 64 : ids->cap;
	int32_t *id;

	if (n <= ids->cap)
		return 0;
	while (cap < n)
		cap = cap <= INT_MAX / 2 ? cap * 2 : INT_MAX;
	id = realloc(ids->id, (size_t)cap * sizeof(*id));
	if (id == NULL)
		return err_nomem(err);
	ids->id = id;
	ids->cap = cap;
	return 0;
}

int ids_add(struct ids *ids, int id, struct err *err)
{
	int rc = ids->n < ids->cap ? 0 : ids_reserve(ids, ids->n + 1, err);

	if (rc == 0)
		ids->id[ids->n++] = id;
	return rc;
}

void encoding_done(struct encoding *encoding)
{
	ids_done(&encoding->ids);
	*encoding = (struct encoding){0};
}

int tokenizer_open(struct tokenizer **out, int dirfd, const char *model_type, int vocab_size, struct err *err)
{
	struct tokenizer *tok = calloc(1, sizeof(*tok));
	int rc;

	if (tok == NULL)
		return err_nomem(err);
	rc = tokenizer_read(tok, dirfd, model_type, vocab_size, err);
	if (rc != 0) {
		tokenizer_free(tok);
		return rc;
	}
	*out = tok;
	return 0;
}

void tokenizer_free(struct tokenizer *tok)
{
	if (tok == NULL)
		return;
	vocab_done(&tok->vocab);
	pairs_done(&tok->bpe.merges);
	added_done(&tok->added);
	free(tok);
}

/* --- pieces ------------------------------------------------------------------------------------------ */

static int add_token(struct ids *out, bool *has_special, const struct added_token *token, struct err *err)
{
	*has_special = *has_special || token->is_special;
	return ids_add(out, token->id, err);
}

/* A stretch of raw text that holds no raw added token. */
static int add_stretch(struct ids *out, bool *has_special, const struct tokenizer *tok,
	const struct added_part *raw, struct buf *normal, struct err *err)
{
	struct added_split split;
	struct added_part part;
	int rc = 0;

	buf_reset(normal);
	normalize(normal, &tok->normalizer, raw->text, raw->len);
	if (normal->failed)
		return err_nomem(err);
	added_start(&split, &tok->added, true, normal->data, normal->len);
	while (rc == 0 && added_next(&part, &split))
		rc = part.token != NULL ? add_token(out, has_special, part.token, err)
					: tok->model->pieces(out, tok, part.text, part.len, err);
	return rc;
}

static int add_pieces(struct ids *out, bool *has_special, const struct tokenizer *tok, const char *text,
	size_t len, struct err *err)
{
	size_t valid = len <= TEXT_BYTES_MAX ? utf8_valid(text, len) : len;
	struct added_split split;
	struct added_part part;
	struct buf normal = {0};
	int rc = 0;

	if (len > TEXT_BYTES_MAX)
		return err_set(err, ERR_INVALID_DATA, NULL, "a text of more than %d bytes", TEXT_BYTES_MAX);
	if (valid != len)
		return err_set(err, ERR_INVALID_DATA, NULL, "byte %zu of the text is not UTF-8", valid);
	added_start(&split, &tok->added, false, text, len);
	while (rc == 0 && added_next(&part, &split))
		rc = part.token != NULL ? add_token(out, has_special, part.token, err)
					: add_stretch(out, has_special, tok, &part, &normal, err);
	buf_done(&normal);
	return rc;
}

int tokenizer_pieces(
	struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err)
{
	bool has_special = false;

	return add_pieces(out, &has_special, tok, text, len, err);
}

/* --- sequences --------------------------------------------------------------------------------------- */

void tokenizer_kept(int kept[2], const struct tokenizer *tok, int n1, int n2, int max_length)
{
	int room = max_length - (n2 < 0 ? tok->single.tokens : tok->pair.tokens);
	int less = MIN(n1, n2), more = MAX(n1, n2);

	room = MAX(room, 0);
	kept[0] = n2 < 0 ? MIN(n1, room) : n1;
	kept[1] = MAX(n2, 0);
	if (n2 < 0 || less <= room - more)
		return;
	/* The longer gives way until both are as long; then both do, and the odd token is the longer's. */
	more = less > room ? less : MAX(less, room - less);
	if (less > room - more) {
		less = room / 2;
		more = less + room % 2;
	}
	kept[0] = n1 <= n2 ? less : more;
	kept[1] = n1 <= n2 ? more : less;
}

/* From [A B] to [CLS] A' [SEP] B' [SEP], in place: B moves first, so that A is never overwritten. */
static void place_texts(struct ids *ids, const struct template *template, int n1, const int kept[2])
{
	int at[2] = {0, 0}, to = 0;

	for (int i = 0; i < template->n; i++) {
		int kind = template->part[i].kind;

		if (kind != PART_TOKEN)
			at[kind - PART_A] = to;
		to += kind == PART_TOKEN ? 1 : kept[kind - PART_A];
	}
	memmove(ids->id + at[1], ids->id + n1, (size_t)kept[1] * sizeof(*ids->id));
	memmove(ids->id + at[0], ids->id, (size_t)kept[0] * sizeof(*ids->id));
	ids->n = to;
}

static int place_tokens(struct ids *ids, const struct template *template, const int kept[2])
{
	int to = 0, second = -1;

	for (int i = 0; i < template->n; i++) {
		const struct template_part *part = &template->part[i];

		if (part->type == 1 && second < 0)
			second = to;
		if (part->kind == PART_TOKEN)
			ids->id[to++] = part->id;
		else
			to += kept[part->kind - PART_A];
	}
	return second < 0 ? to : second;
}

int tokenizer_encode(struct encoding *out, const struct tokenizer *tok, const char *text, size_t len,
	const char *pair, size_t pair_len, int max_length, struct err *err)
{
	const struct template *template = pair != NULL ? &tok->pair : &tok->single;
	struct ids *ids = &out->ids;
	int n[2], rc;

	ids->n = 0;
	out->has_special = false;
	rc = add_pieces(ids, &out->has_special, tok, text, len, err);
	if (rc != 0)
		return rc;
	n[0] = ids->n;
	if (pair != NULL)
		rc = add_pieces(ids, &out->has_special, tok, pair, pair_len, err);
	n[1] = ids->n - n[0];
	if (rc == 0)
		rc = ids_reserve(ids, ids->n + template->tokens, err);
	if (rc != 0)
		return rc;
	tokenizer_kept(out->kept, tok, n[0], pair != NULL ? n[1] : -1, max_length);
	place_texts(ids, template, n[0], out->kept);
	out->second = place_tokens(ids, template, out->kept);
	for (int i = 0; i < 2; i++)
		out->dropped[i] = n[i] - out->kept[i];
	return 0;
}

/* --- what is known ----------------------------------------------------------------------------------- */

int tokenizer_max_length(const struct tokenizer *tok)
{
	return tok->max_length;
}

int tokenizer_vocab_size(const struct tokenizer *tok)
{
	return MAX(tok->vocab.n, tok->added.vocab.n);
}

int tokenizer_special(const struct tokenizer *tok, enum special which)
{
	return tok->special[which];
}

bool tokenizer_part(struct buf *out, const struct tokenizer *tok, int id)
{
	size_t len;
	const char *token = vocab_text(&len, &tok->vocab, id);
	const char *mark = tok->model == &tokenizer_wordpiece ? tok->wordpiece.prefix : "";

	if (token == NULL || added_has(&tok->added, id) || len <= strlen(mark) ||
		memcmp(token, mark, strlen(mark)) != 0 || utf8_valid(token, len) != len)
		return false; /* no text is split into bytes that are no UTF-8 */
	buf_add(out, token, len);
	return true;
}

/* Does the text at `from` of buf, where a word can stand, come out as this one token? */
static bool is_one_token(const struct tokenizer *tok, const struct buf *buf, size_t from, int id)
{
	struct buf text = {0};
	struct ids ids = {0};
	bool is_one = false;

	buf_str(&text, tok->model->before_word);
	buf_add(&text, buf->data + from, buf->len - from);
	if (!text.failed && tokenizer_pieces(&ids, tok, text.data, text.len, NULL) == 0)
		is_one = ids.n == 1 && ids.id[0] == id;
	ids_done(&ids);
	buf_done(&text);
	return is_one;
}

bool tokenizer_whole_word(struct buf *out, const struct tokenizer *tok, int id)
{
	size_t from = out->len, len;
	const char *token = vocab_text(&len, &tok->vocab, id);

	if (token == NULL || added_has(&tok->added, id))
		return false;
	if (tok->model->word(out, token, len) && !out->failed && is_one_token(tok, out, from, id))
		return true;
	if (out->data != NULL && out->len > from) {
		out->len = from;
		out->data[from] = '\0';
	}
	return false;
}
