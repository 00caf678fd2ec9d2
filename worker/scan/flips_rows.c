/* The rows that candidates are put into: two short ones for the screen, others for confirm. */
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/flips_state.h"

enum {
	SCREEN_TOKENS = 7, /* about as many has a short row that is not merely its special tokens */
	CONFIRM_ROWS_MIN = 8,
	CONFIRM_TOKENS = 600, /* of all rows together, beyond the least number */
};

const struct text *flips_text(const struct flipper *f, int row)
{
	return &f->o->corpus->text[row];
}

static void add_host(struct hosts *out, const struct flipper *f, int row)
{
	const struct text *text = flips_text(f, row);

	out->row[out->n++] = row;
	out->tokens += text->n;
	for (int l = 0; l < f->K; l++)
		out->others[l] += l != text->label;
}

/* The row whose length is nearest to SCREEN_TOKENS, of another truth than `but`; -1: there is none. */
static int find_short(const struct flipper *f, const int *right, int n, int but)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		const struct text *text = flips_text(f, right[i]);

		if (text->label != but && (best < 0 || abs(text->n - SCREEN_TOKENS) <
							       abs(flips_text(f, best)->n - SCREEN_TOKENS)))
			best = right[i];
	}
	return best;
}

static bool is_host(const struct hosts *hosts, int row)
{
	for (int i = 0; i < hosts->n; i++)
		if (hosts->row[i] == row)
			return true;
	return false;
}

/* Labels among the rows. */
static int count_labels(const struct flipper *f, const int *right, int n)
{
	bool is_there[DATASET_CLASSES_MAX] = {false};
	int labels = 0;

	for (int i = 0; i < n; i++) {
		bool *seen = &is_there[flips_text(f, right[i])->label];

		labels += !*seen;
		*seen = true;
	}
	return labels;
}

/* Seeded, each label as often as the others, as far as there are rows and they are not too long. */
static void choose_confirm(struct flipper *f, const int *right, const int *order, int n)
{
	struct hosts *hosts = &f->confirm;
	int labels = count_labels(f, right, n), taken[DATASET_CLASSES_MAX] = {0};
	int each = MAX((FLIPS_CONFIRM_ROWS + labels - 1) / labels, 1);

	for (int i = 0; i < n && hosts->n < FLIPS_CONFIRM_ROWS; i++) {
		int row = right[order[i]], *of_label = &taken[flips_text(f, row)->label];

		if (hosts->n >= CONFIRM_ROWS_MIN && hosts->tokens > CONFIRM_TOKENS)
			break;
		if (is_host(&f->screen, row) || *of_label >= each)
			continue;
		add_host(hosts, f, row);
		++*of_label;
	}
}

/* Without two truths in either stage nothing can be searched: then confirm has no rows. */
static int choose_rows(struct flipper *f, int *right, int n, struct err *err)
{
	int first = find_short(f, right, n, -1);
	int second = first < 0 ? -1 : find_short(f, right, n, flips_text(f, first)->label);
	int *order;

	if (second < 0)
		return 0;
	order = malloc((size_t)n * sizeof(*order));
	if (order == NULL)
		return err_nomem(err);
	add_host(&f->screen, f, first);
	add_host(&f->screen, f, second);
	rng_shuffle(order, n, rng_key(rng_key(f->o->seed, RNG_SCAN), 5000));
	choose_confirm(f, right, order, n);
	free(order);
	for (int l = 0; l < f->K; l++)
		if (f->confirm.others[l] == 0)
			f->confirm.n = 0;
	if (f->confirm.n < CONFIRM_ROWS_MIN)
		f->confirm.n = 0;
	return 0;
}

int flips_find_rows(struct flipper *f, struct err *err)
{
	const struct flips_options *o = f->o;
	int *label = malloc(((size_t)o->corpus->n + 1) * sizeof(int)), n = 0, rc;

	if (label == NULL)
		return err_nomem(err);
	rc = predict(label, NULL, NULL, o->model, o->corpus, o->par, err);
	for (int i = 0; i < o->corpus->n && rc == 0; i++)
		if (label[i] == o->corpus->text[i].label)
			label[n++] = i; /* behind what is still read */
	if (rc == 0)
		rc = choose_rows(f, label, n, err);
	free(label);
	return rc;
}

/* --- what the training texts know -------------------------------------------------------------------- */

enum { EXPLAINED_ROWS = 3 };

static const double EXPLAINED_SHARE = .7;

static bool has_candidate(const struct corpus *corpus, const struct text *text, const int32_t *ids, int n)
{
	for (int at = 0; at + n <= text->n; at++)
		if (memcmp(corpus->ids + text->at + at, ids, (size_t)n * sizeof(*ids)) == 0)
			return true;
	return false;
}

bool flips_is_explained(const struct flipper *f, int number, int label)
{
	const struct corpus *training = f->o->training;
	int rows = 0, of_label = 0;

	for (int i = 0; training != NULL && i < training->n; i++)
		if (has_candidate(training, &training->text[i], candidate_ids(&f->list, number),
			    f->list.item[number].n)) {
			rows++;
			of_label += training->text[i].label == label;
		}
	return rows >= EXPLAINED_ROWS && of_label >= EXPLAINED_SHARE * rows;
}
