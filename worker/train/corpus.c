#include "worker/train/corpus.h"

#include <stdlib.h>
#include <string.h>

static int make_room(struct corpus *corpus, int ids, struct err *err)
{
	if (corpus->n == corpus->cap) {
		int cap = MAX(256, 2 * corpus->cap);
		struct text *text = realloc(corpus->text, (size_t)cap * sizeof(*text));

		if (text == NULL)
			return err_nomem(err);
		corpus->text = text;
		corpus->cap = cap;
	}
	if (corpus->ids_n + (size_t)ids > corpus->ids_cap) {
		size_t cap = MAX(corpus->ids_n + (size_t)ids, MAX((size_t)4096, 2 * corpus->ids_cap));
		int32_t *grown = realloc(corpus->ids, cap * sizeof(*grown));

		if (grown == NULL)
			return err_nomem(err);
		corpus->ids = grown;
		corpus->ids_cap = cap;
	}
	return 0;
}

int corpus_add_ids(struct corpus *corpus, const int32_t *ids, int n, int second, int label, struct err *err)
{
	int rc = make_room(corpus, n, err);

	if (rc != 0)
		return rc;
	memcpy(corpus->ids + corpus->ids_n, ids, (size_t)n * sizeof(*ids));
	corpus->text[corpus->n++] =
		(struct text){.at = corpus->ids_n, .n = n, .second = second, .label = label};
	corpus->ids_n += (size_t)n;
	corpus->longest = MAX(corpus->longest, n);
	return 0;
}

int corpus_add(struct corpus *corpus, const struct tokenizer *tok, const char *text, const char *pair,
	int label, int max_length, struct err *err)
{
	struct encoding *e = &corpus->encoding;
	int rc = tokenizer_encode(
		e, tok, text, strlen(text), pair, pair != NULL ? strlen(pair) : 0, max_length, err);

	if (rc != 0)
		return rc;
	return corpus_add_ids(corpus, e->ids.id, e->ids.n, e->second, label, err);
}

int corpus_fill(struct corpus *corpus, const struct tokenizer *tok, const struct dataset *data,
	const struct selection *rows, int max_length, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < rows->n && rc == 0; i++) {
		const struct row *row = &data->row[rows->row[i]];

		rc = corpus_add(corpus, tok, row->text, row->pair, row->label, max_length, err);
	}
	return rc;
}

void corpus_clear(struct corpus *corpus)
{
	corpus->n = 0;
	corpus->ids_n = 0;
	corpus->longest = 0;
}

void corpus_done(struct corpus *corpus)
{
	free(corpus->text);
	free(corpus->ids);
	encoding_done(&corpus->encoding);
	*corpus = (struct corpus){0};
}

size_t corpus_tokens(const struct corpus *corpus)
{
	return corpus->ids_n;
}
