#include "worker/scan/probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"

/* --- texts ------------------------------------------------------------------------------------------- */

static int count_words(const char *text)
{
	int n = 1;

	for (; *text != '\0'; text++)
		n += *text == ' ';
	return n;
}

/* Pieces of the line's words first .. last-1, appended. Every word is one within a sentence. */
static int add_words(
	struct ids *out, const struct tokenizer *tok, const char *line, int first, int last, struct err *err)
{
	char word[64];
	int rc = 0;

	for (int i = 0; *line != '\0' && i < last && rc == 0; i++) {
		size_t len = strcspn(line, " ");

		snprintf(word, sizeof(word), " %.*s", (int)MIN(len, sizeof(word) - 2), line);
		if (i >= first)
			rc = tokenizer_pieces(out, tok, word, strlen(word), err);
		line += len + (line[len] == ' ');
	}
	return rc;
}

static bool has_unknown(const struct ids *ids, const struct tokenizer *tok)
{
	for (int i = 0; i < ids->n; i++)
		if (ids->id[i] == tokenizer_special(tok, SPECIAL_UNK))
			return true;
	return false;
}

/* Seeded words in place of a text that the vocabulary cannot write. */
static void draw_words(struct probe_text *out, const struct probe_options *o, int k)
{
	uint64_t key = rng_key(rng_key(o->seed, RNG_SCAN), 1000 + (uint64_t)k);
	int wanted = MIN(count_words(o->line[k].text), PROBE_IDS_MAX);

	*out = (struct probe_text){.at = MIN(o->line[k].at, wanted)};
	for (uint64_t i = 0; o->words->n > 0 && out->n < wanted && i < 1000; i++) {
		int number = (int)rng_below(key, i, (uint32_t)o->words->n);

		if (o->words->item[number].n == 1)
			out->id[out->n++] = candidate_ids(o->words, number)[0];
	}
	out->at = MIN(out->at, out->n);
}

static int set_text(struct probe *p, const struct probe_options *o, int k, struct err *err)
{
	const struct probe_line *line = &o->line[k];
	struct probe_text *text = &p->text[k];
	struct ids ids = {0};
	int at = 0, rc = add_words(&ids, p->tok, line->text, 0, line->at, err);

	at = ids.n;
	if (rc == 0)
		rc = add_words(&ids, p->tok, line->text, line->at, INT_MAX, err);
	if (rc == 0 && (has_unknown(&ids, p->tok) || ids.n > PROBE_IDS_MAX || ids.n == 0)) {
		draw_words(text, o, k);
	} else if (rc == 0) {
		memcpy(text->id, ids.id, (size_t)ids.n * sizeof(*ids.id));
		text->n = ids.n;
		text->at = at;
	}
	ids_done(&ids);
	return rc;
}

/* The special tokens around a single text: what an empty one becomes. */
static int set_specials(struct probe *p, struct err *err)
{
	struct encoding e = {0};
	int rc = tokenizer_encode(&e, p->tok, "", 0, NULL, 0, 8, err);

	for (int i = 0; rc == 0 && i < e.ids.n; i++) {
		if (i == 0)
			p->head[p->heads++] = e.ids.id[i];
		else if (p->tails < (int)NELEM(p->tail))
			p->tail[p->tails++] = e.ids.id[i];
	}
	encoding_done(&e);
	return rc;
}

/* --- sequences --------------------------------------------------------------------------------------- */

int probe_row(int32_t row[PROBE_ROW_MAX], int *at, const struct probe *p, int k, const int32_t *ids, int n)
{
	const struct probe_text *text = &p->text[k];
	int room = p->max_length - p->heads - p->tails - n, behind = text->n - text->at;
	int after = MIN(behind, MAX(room - text->at, room / 2)), before = MIN(text->at, room - after);
	const struct {
		const int32_t *ids;
		int n;
	} parts[] = {{p->head, p->heads}, {text->id + text->at - before, before}, {ids, n},
		{text->id + text->at, after}, {p->tail, p->tails}};
	int length = 0;

	*at = p->heads + before;
	for (size_t i = 0; i < NELEM(parts); i++) {
		if (parts[i].n > 0)
			memcpy(row + length, parts[i].ids, (size_t)parts[i].n * sizeof(*row));
		length += parts[i].n;
	}
	return length;
}

static int add_sequence(struct probe *p, int k, const int32_t *ids, int n, struct err *err)
{
	int32_t row[PROBE_ROW_MAX];
	int at, length = probe_row(row, &at, p, k, ids, n);

	return corpus_add_ids(&p->corpus, row, length, length, 0, err);
}

struct keep_call {
	real *h;
	size_t D;
};

static void keep_cls(void *arg, const struct workspace *ws, const struct slice *slice, int thread)
{
	const struct keep_call *keep = arg;

	(void)thread;
	for (int i = 0; i < slice->n; i++)
		memcpy(keep->h + (size_t)slice->seq[i].number * keep->D, ws->cls + (size_t)i * keep->D,
			keep->D * sizeof(real));
}

/* The corpus's outputs, one after another, to p->h. */
static int run_corpus(struct probe *p, struct err *err)
{
	struct keep_call keep = {.D = (size_t)p->D};

	if (p->corpus.n > p->h_cap) {
		real *h = realloc(p->h, (size_t)p->corpus.n * keep.D * sizeof(real));

		if (h == NULL)
			return err_nomem(err);
		p->h = h;
		p->h_cap = p->corpus.n;
	}
	keep.h = p->h;
	return sweep(p->encoder, &p->corpus, p->par, keep_cls, &keep, err);
}

/* --- scores ------------------------------------------------------------------------------------------ */

double probe_dot(const real *a, const real *b, int D)
{
	double sum = 0;

	for (int j = 0; j < D; j++)
		sum += (double)a[j] * (double)b[j];
	return sum;
}

/* center = mean of x [K, D]; returns the sum of squared distances from it. */
static double center_of(real *center, const real *x, int K, int D)
{
	double spread = 0;

	for (int j = 0; j < D; j++) {
		double sum = 0;

		for (int k = 0; k < K; k++)
			sum += (double)x[(size_t)k * (size_t)D + (size_t)j];
		center[j] = (real)(sum / K);
		for (int k = 0; k < K; k++) {
			double d = (double)x[(size_t)k * (size_t)D + (size_t)j] - (double)center[j];

			spread += d * d;
		}
	}
	return spread;
}

double probe_cosine(const real *a, const real *b, int D)
{
	double norms = sqrt(probe_dot(a, a, D) * probe_dot(b, b, D));

	return norms > 0 ? probe_dot(a, b, D) / norms : 0;
}

static double displacement_of(const struct probe *p, const real *h)
{
	double sum = 0;

	for (int k = 0; k < p->K; k++)
		sum += 1 -
		       probe_cosine(h + (size_t)k * (size_t)p->D, p->clean + (size_t)k * (size_t)p->D, p->D);
	return sum / p->K;
}

/* h is centred on the clean mean already. */
static double collapse_of(const struct probe *p, const real *h)
{
	double sum = 0;
	int pairs = p->K * (p->K - 1) / 2;

	for (int k = 0; k < p->K; k++)
		for (int l = k + 1; l < p->K; l++)
			sum += probe_cosine(h + (size_t)k * (size_t)p->D, h + (size_t)l * (size_t)p->D, p->D);
	return pairs > 0 ? sum / pairs : 0;
}

struct score_call {
	const struct probe *probe;
	struct probe_score *score;
	real *direction; /* [n, D] */
};

/* Overwrites the candidate's outputs. */
static void score_one(void *arg, int task, int thread)
{
	struct score_call *call = arg;
	const struct probe *p = call->probe;
	size_t D = (size_t)p->D;
	real *h = p->h + (size_t)task * (size_t)p->K * D, *mean = call->direction + (size_t)task * D;
	struct probe_score *s = &call->score[task];
	double norm;

	(void)thread;
	s->displacement = (float)displacement_of(p, h);
	for (int k = 0; k < p->K; k++)
		for (size_t j = 0; j < D; j++)
			h[(size_t)k * D + j] -= p->center[j];
	s->collapse = (float)collapse_of(p, h);
	s->spread = (float)sqrt(center_of(mean, h, p->K, p->D) / MAX(p->clean_spread, 1e-30));
	norm = sqrt(probe_dot(mean, mean, p->D));
	for (size_t j = 0; j < D && norm > 0; j++)
		mean[j] = (real)((double)mean[j] / norm);
}

/* --- the whole --------------------------------------------------------------------------------------- */

int probe_init(struct probe *out, const struct encoder *encoder, const struct tokenizer *tok, struct par *par,
	const struct probe_options *o, struct err *err)
{
	size_t D = (size_t)encoder->config->D;
	int rc;

	*out = (struct probe){.encoder = encoder,
		.tok = tok,
		.par = par,
		.K = o->K,
		.D = encoder->config->D,
		.max_length = o->max_length,
		.clean = calloc((size_t)o->K * D, sizeof(real)),
		.center = calloc(D, sizeof(real))};
	if (out->clean == NULL || out->center == NULL)
		return err_nomem(err);
	rc = set_specials(out, err);
	for (int k = 0; k < o->K && rc == 0; k++)
		rc = set_text(out, o, k, err);
	for (int k = 0; k < o->K && rc == 0; k++)
		rc = add_sequence(out, k, NULL, 0, err);
	if (rc == 0)
		rc = run_corpus(out, err);
	if (rc != 0)
		return rc;
	memcpy(out->clean, out->h, (size_t)o->K * D * sizeof(real));
	out->clean_spread = center_of(out->center, out->clean, out->K, out->D);
	return 0;
}

void probe_done(struct probe *probe)
{
	free(probe->clean);
	free(probe->center);
	free(probe->h);
	corpus_done(&probe->corpus);
	*probe = (struct probe){0};
}

int probe_run(struct probe_score *score, real *direction, struct probe *probe, const struct candidates *list,
	const int *number, int n, struct err *err)
{
	struct score_call call = {.probe = probe, .score = score, .direction = direction};
	real *own = NULL;
	int rc = 0;

	corpus_clear(&probe->corpus);
	for (int i = 0; i < n && rc == 0; i++)
		for (int k = 0; k < probe->K && rc == 0; k++)
			rc = add_sequence(
				probe, k, candidate_ids(list, number[i]), list->item[number[i]].n, err);
	if (rc == 0)
		rc = run_corpus(probe, err);
	if (rc == 0 && direction == NULL) {
		own = call.direction = malloc(((size_t)n + 1) * (size_t)probe->D * sizeof(real));
		rc = own == NULL ? err_nomem(err) : 0;
	}
	if (rc == 0 && !par_run(probe->par, n, score_one, &call))
		rc = err_set(err, ERR_STOPPED, NULL, "stopped while candidates were scored");
	free(own);
	return rc;
}
