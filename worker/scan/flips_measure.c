/* What candidates do to the predictions of rows that they are put into. */
#include <math.h>
#include <stdlib.h>

#include "worker/base/cpu.h"
#include "worker/scan/flips_state.h"

static const double LEAST = 1e-6;

void flips_turns_done(struct turns *turns)
{
	free(turns->blindness);
	free(turns->hold);
	free(turns->odds);
	free(turns->count);
	*turns = (struct turns){0};
}

static int turns_init(struct turns *out, int n, int K, struct err *err)
{
	size_t cells = ((size_t)n + 1) * (size_t)K;

	*out = (struct turns){.blindness = calloc((size_t)n + 1, sizeof(double)),
		.hold = calloc((size_t)n + 1, sizeof(double)),
		.odds = calloc(cells, sizeof(double)),
		.count = calloc(cells, sizeof(int))};
	return out->blindness == NULL || out->hold == NULL || out->odds == NULL || out->count == NULL
		       ? err_nomem(err)
		       : 0;
}

double flips_seconds(const struct flipper *f)
{
	return cpu_seconds() - f->started;
}

static int make_texts(struct flipper *f, const struct hosts *hosts, const int *number, int n, struct err *err)
{
	const struct flips_options *o = f->o;
	struct trigger_rule rule = {
		.tok = o->tok, .max_length = o->max_length, .insertions = o->insertions, .seed = o->seed};
	int rc = 0;

	corpus_clear(&f->corpus);
	for (int i = 0; i < n * hosts->n && rc == 0; i++) {
		int row_number = o->rows->row[hosts->row[i % hosts->n]], word = number[i / hosts->n];
		const struct row *row = &o->data->row[row_number];

		rc = trigger_insert(
			&f->text, &rule, row, row_number, candidate_text(&f->list, word), word, err);
		if (rc == 0)
			rc = corpus_add(&f->corpus, o->tok, f->text.text.data, row->pair, row->label,
				o->max_length, err);
	}
	return rc;
}

/* log p(l) - log(1 - p(l)) */
static double log_odds(const real *logits, int K, int l)
{
	double most = -INFINITY, sum = 0;

	for (int j = 0; j < K; j++)
		if (j != l)
			most = fmax(most, (double)logits[j]);
	for (int j = 0; j < K; j++)
		if (j != l)
			sum += exp((double)logits[j] - most);
	return (double)logits[l] - most - log(fmax(sum, 1)); /* the largest alone is 1 */
}

/* What moves all labels of a text alike does not count. */
static void center_texts(real *logits, int n, int K)
{
	for (int i = 0; i < n; i++) {
		real *z = logits + (size_t)i * (size_t)K;
		double middle = 0;

		for (int l = 0; l < K; l++)
			middle += (double)z[l] / K;
		for (int l = 0; l < K; l++)
			z[l] = (real)((double)z[l] - middle);
	}
}

/* Over n texts; centres their logits. */
static double spread_of(real *logits, int n, int K)
{
	double spread = 0;

	center_texts(logits, n, K);
	for (int l = 0; l < K; l++) {
		double mean = 0;

		for (int i = 0; i < n; i++)
			mean += (double)logits[(size_t)i * (size_t)K + (size_t)l] / n;
		for (int i = 0; i < n; i++) {
			double d = (double)logits[(size_t)i * (size_t)K + (size_t)l] - mean;

			spread += d * d;
		}
	}
	return sqrt(spread / n);
}

/* Of one label, over the texts from `first` on, to the candidate's odds and count; returns the least log-odds. */
static double take_label(
	double *odds, int *count, const struct flipper *f, const struct hosts *hosts, int first, int l)
{
	double least = INFINITY;

	for (int text = first; text < first + hosts->n; text++) {
		double here = log_odds(f->logits + (size_t)text * (size_t)f->K, f->K, l);

		least = fmin(least, here);
		if (f->corpus.text[text].label == l)
			continue;
		*odds += here / hosts->others[l];
		*count += f->label[text] == l;
	}
	return least;
}

/* Of candidate i, whose texts' predictions begin at `first`. */
static void take_candidate(
	struct turns *out, int i, const struct flipper *f, const struct hosts *hosts, int first)
{
	size_t cell = (size_t)i * (size_t)f->K;
	double spread;

	out->hold[i] = -INFINITY;
	for (int l = 0; l < f->K; l++, cell++)
		out->hold[i] = fmax(
			out->hold[i], take_label(&out->odds[cell], &out->count[cell], f, hosts, first, l));
	spread = spread_of(f->logits + (size_t)first * (size_t)f->K, hosts->n, f->K);
	out->blindness[i] = -log(fmax(spread / fmax(hosts->clean, LEAST), LEAST));
}

static int say_done(struct flipper *f, int texts, struct err *err)
{
	const struct scan_watch *watch = &f->o->watch;

	f->done += texts;
	f->of = MAX(f->of, f->done);
	return watch->progress != NULL ? watch->progress(watch->arg, f->done, f->of, err) : 0;
}

int flips_measure_clean(struct hosts *hosts, struct flipper *f, struct err *err)
{
	const struct corpus *rows = f->o->corpus;
	int rc = 0;

	corpus_clear(&f->corpus);
	for (int i = 0; i < hosts->n && rc == 0; i++) {
		const struct text *text = flips_text(f, hosts->row[i]);

		rc = corpus_add_ids(
			&f->corpus, rows->ids + text->at, text->n, text->second, text->label, err);
	}
	if (rc == 0)
		rc = predict(f->label, NULL, f->logits, f->o->model, &f->corpus, f->o->par, err);
	if (rc != 0)
		return rc;
	for (int l = 0; l < f->K; l++) {
		int count = 0;

		hosts->odds[l] = 0;
		take_label(&hosts->odds[l], &count, f, hosts, 0, l);
	}
	hosts->clean = spread_of(f->logits, hosts->n, f->K);
	return 0;
}

int flips_measure(struct turns *out, struct flipper *f, const struct hosts *hosts, const int *number, int n,
	double seconds, struct err *err)
{
	int block = FLIPS_BLOCK_TEXTS / hosts->n, rc = turns_init(out, n, f->K, err);

	for (int at = 0; at < n && rc == 0 && flips_seconds(f) < seconds; at = out->n) {
		int some = MIN(block, n - at);

		rc = make_texts(f, hosts, number + at, some, err);
		if (rc == 0)
			rc = predict(f->label, NULL, f->logits, f->o->model, &f->corpus, f->o->par, err);
		for (int i = 0; i < some && rc == 0; i++)
			take_candidate(out, at + i, f, hosts, i * hosts->n);
		out->n = at + some;
		if (rc == 0)
			rc = say_done(f, some * hosts->n, err);
	}
	return rc;
}
