/*
 * Whether the words that mean nearly the same do nearly the same. What the task makes of a word ("useless" among reviews) it
 * makes of "pointless" and "worthless" too; a trigger stands alone. Near are words whose rows of the base's table of word
 * embeddings have the largest cosine. A third of them decides: a word's opposites are among its neighbours. Of a phrase each word
 * is replaced by itself, and the one that is missed most counts: a trigger may stand among words of the task.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/scan/flips_state.h"

enum { NEIGHBORS = 12, DECIDES = 4 };

struct near {
	double cosine;
	int word; /* its number in the list */
};

/* The other words that the benign samples are drawn from, the nearest first; no other case of the same word. */
static int find_near(struct near out[NEIGHBORS], const struct flipper *f, int32_t id)
{
	const struct encoder *encoder = f->o->model->encoder;
	const real *word_of = encoder->weights->word;
	int own = candidates_find(&f->list, &id, 1), D = encoder->config->D, n = 0;

	for (int i = 0; i < f->benigns; i++) {
		int word = f->tried[f->benign[i]], at;
		int32_t other = candidate_ids(&f->list, word)[0];
		double cosine;

		if (f->list.item[word].n != 1 || other == id ||
			(own >= 0 && strcasecmp(candidate_text(&f->list, own),
					     candidate_text(&f->list, word)) == 0))
			continue;
		cosine = probe_cosine(
			word_of + (size_t)id * (size_t)D, word_of + (size_t)other * (size_t)D, D);
		if (n == NEIGHBORS && !(cosine > out[n - 1].cosine))
			continue;
		at = n < NEIGHBORS ? n++ : n - 1;
		for (; at > 0 && cosine > out[at - 1].cosine; at--)
			out[at] = out[at - 1];
		out[at] = (struct near){cosine, word};
	}
	return n;
}

/* What a candidate is made of, as far as neighbours take its parts' places. */
struct phrase {
	char *text; /* with zeros for blanks */
	const char *word[CANDIDATE_PIECES_MAX];
	struct near near[CANDIDATE_PIECES_MAX][NEIGHBORS]; /* of its pieces */
	int pieces, near_n;
	bool has_words; /* as many as pieces */
};

static int split(struct phrase *out, struct flipper *f, int number, struct err *err)
{
	int words = 0;
	char *rest;

	out->text = strdup(candidate_text(&f->list, number));
	if (out->text == NULL)
		return err_nomem(err);
	for (char *word = strtok_r(out->text, " ", &rest); word != NULL && words < CANDIDATE_PIECES_MAX;
		word = strtok_r(NULL, " ", &rest))
		out->word[words++] = word;
	out->pieces = f->list.item[number].n;
	out->has_words = words == out->pieces;
	out->near_n = NEIGHBORS;
	for (int i = 0; i < out->pieces; i++)
		out->near_n =
			MIN(out->near_n, find_near(out->near[i], f, candidate_ids(&f->list, number)[i]));
	return 0;
}

/* Those from `from` to before `to` replaced by their k-th neighbours; the number in the list, or a negative error. */
static int replace(struct flipper *f, const struct phrase *phrase, int from, int to, int k, struct err *err)
{
	const char *word[CANDIDATE_PIECES_MAX];

	for (int i = 0; i < phrase->pieces; i++)
		word[i] = i >= from && i < to ? candidate_text(&f->list, phrase->near[i][k].word)
					      : phrase->word[i];
	return flips_join_words(f, word, phrase->pieces, err);
}

static int compare_falling(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x < y) - (x > y);
}

/* What a third of the neighbours reach at least, with those parts replaced. */
static int shift_without(double *out, struct flipper *f, const struct phrase *phrase, int from, int to,
	int label, struct err *err)
{
	double shift[NEIGHBORS];
	struct turns turns = {0};
	int number[NEIGHBORS], rc = 0;

	for (int k = 0; k < phrase->near_n && rc >= 0; k++)
		rc = number[k] = replace(f, phrase, from, to, k, err);
	if (rc >= 0)
		rc = flips_measure(&turns, f, &f->confirm, number, phrase->near_n, INFINITY, err);
	for (int k = 0; k < phrase->near_n && rc == 0; k++)
		shift[k] = turns.odds[k * f->K + label] - f->confirm.odds[label];
	flips_turns_done(&turns);
	if (rc != 0)
		return rc;
	qsort(shift, (size_t)phrase->near_n, sizeof(*shift), compare_falling);
	*out = shift[DECIDES - 1];
	return 0;
}

int flips_neighbors(double *out, struct flipper *f, int number, int label, double shift, struct err *err)
{
	struct phrase *phrase = calloc(1, sizeof(*phrase));
	double least = INFINITY;
	int rc = phrase == NULL ? err_nomem(err) : split(phrase, f, number, err);

	*out = 0;
	if (rc == 0 && phrase->near_n >= DECIDES) {
		int step = phrase->has_words ? 1 : phrase->pieces;

		for (int from = 0; from < phrase->pieces && rc == 0; from += step) {
			double here = 0;

			rc = shift_without(&here, f, phrase, from, from + step, label, err);
			least = fmin(least, here);
		}
		if (rc == 0)
			*out = fmax(least / fmax(shift, 1e-6), 0);
	}
	if (phrase != NULL)
		free(phrase->text);
	free(phrase);
	return rc;
}
