/* confirm: the best candidates and benign samples in other rows; who of them is a flip. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/flips_state.h"
#include "worker/scan/tail.h"

enum { CONFIRM_SCREENED = 60, CONFIRM_BENIGN = 120 }; /* of each size */
enum { ASKED_MAX = 16 };			      /* whose neighbours are tried */

/* What has several pieces takes more of a short text's place than a word, and is compared with the like. */
enum size { ONE_PIECE, SEVERAL_PIECES, SIZES };

enum { CONFIRM_MAX = FLIPS_FIRSTS_MAX + SIZES * CONFIRM_SCREENED };

static const double TAIL_SHARE = .1, USUAL = .9;

/* --- finalists --------------------------------------------------------------------------------------- */

/* A screened candidate on its way to be a flip. */
struct finalist {
	int number;	 /* in the list */
	double screened; /* what holds in the short rows */
	int label;	 /* that most rows are turned into */
	double share, confidence, spread, p;
	double shift;	  /* of the label's log-odds */
	double neighbors; /* NAN: not asked */
	int count;
	bool is_found, is_suspect, is_covered; /* it contains another one that is found */
};

struct confirmation {
	struct finalist *finalist; /* [n] of the screened ones */
	int n;
	int number[CONFIRM_MAX + SIZES * CONFIRM_BENIGN]; /* and the benign samples */
	struct turns turns;
	struct tail tail[SIZES];
	double usual[SIZES]
		    [DATASET_CLASSES_MAX]; /* share that the upper tenth of a sample turns into a label */
};

static enum size size_of(const struct flipper *f, int number)
{
	return f->list.item[number].n == 1 ? ONE_PIECE : SEVERAL_PIECES;
}

/* What turns all rows to one label with most confidence first. */
static int compare_screened(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->screened < y->screened || x->screened > y->screened)
		return x->screened > y->screened ? -1 : 1;
	return x->number - y->number;
}

/* All of `first`, and of the others the best of each size. */
static void choose_finalists(struct confirmation *c, const struct flipper *f)
{
	struct finalist *all = c->finalist;
	int taken[SIZES] = {0};

	for (int i = 0; i < f->screened.n; i++)
		all[i] = (struct finalist){.number = f->tried[i], .screened = f->screened.hold[i]};
	qsort(all, (size_t)f->screened.n, sizeof(*all), compare_screened);
	for (int i = 0; i < f->screened.n; i++) {
		int number = all[i].number;
		bool is_first = f->list.item[number].kind == CANDIDATE_EXTRA;

		if (!is_first && taken[size_of(f, number)]++ >= CONFIRM_SCREENED)
			continue;
		c->number[c->n] = number;
		all[c->n++] = all[i];
	}
}

/* --- benign samples ---------------------------------------------------------------------------------- */

static int draw_word(const struct flipper *f, uint64_t key, int i)
{
	return f->tried[f->benign[rng_below(key, (uint64_t)i, (uint32_t)f->benigns)]];
}

int flips_join_words(struct flipper *f, const char *const *word, int words, struct err *err)
{
	struct buf text = {0}, scratch = {0};
	struct ids ids = {0};
	int rc = 0;

	for (int i = 0; i < words; i++) {
		buf_str(&text, i > 0 ? " " : "");
		buf_str(&text, word[i]);
	}
	if (text.failed)
		rc = err_nomem(err);
	if (rc == 0)
		rc = candidates_pieces(&ids, &scratch, f->o->tok, text.data, err);
	if (rc == 0)
		rc = candidates_join(&f->list, text.data, ids.id, ids.n, err);
	ids_done(&ids);
	buf_done(&scratch);
	buf_done(&text);
	return rc;
}

/* So many benign words, joined: their number in the list, or a negative error. */
static int draw_phrase(struct flipper *f, uint64_t key, int words, struct err *err)
{
	const char *word[CANDIDATE_PIECES_MAX];

	for (int i = 0; i < words; i++)
		word[i] = candidate_text(&f->list, draw_word(f, key, i));
	return flips_join_words(f, word, words, err);
}

/* Where a size's sample begins in c->number and c->turns. */
static int sample_at(const struct confirmation *c, int size)
{
	return c->n + size * CONFIRM_BENIGN;
}

/* Pieces of those finalists that have several, in their order; returns how many. */
static int list_pieces(int *pieces, const struct confirmation *c, const struct flipper *f)
{
	int n = 0;

	for (int i = 0; i < c->n; i++)
		if (size_of(f, c->number[i]) == SEVERAL_PIECES)
			pieces[n++] = f->list.item[c->number[i]].n;
	return n;
}

/* Words for one piece; for several, phrases as long as the finalists are, in turns. */
static int draw_benign(struct confirmation *c, struct flipper *f, struct err *err)
{
	uint64_t key = rng_key(rng_key(f->o->seed, RNG_SCAN), 5001);
	int pieces[CONFIRM_MAX] = {2}, n = MAX(list_pieces(pieces, c, f), 1), rc = 0;

	for (int i = 0; i < CONFIRM_BENIGN && rc >= 0; i++) {
		c->number[sample_at(c, ONE_PIECE) + i] = draw_word(f, key, i);
		rc = draw_phrase(f, rng_key(key, (uint64_t)i), pieces[i % n], err);
		c->number[sample_at(c, SEVERAL_PIECES) + i] = rc;
	}
	return MIN(rc, 0);
}

/* How many rows the upper tenth of a size's sample turns into label l, at least. */
static int usual_count(const struct confirmation *c, const struct flipper *f, int size, int l)
{
	int words[FLIPS_CONFIRM_ROWS + 1] = {0}, below = 0, count = 0, at = sample_at(c, size);

	for (int i = at; i < at + CONFIRM_BENIGN; i++)
		words[c->turns.count[(size_t)i * (size_t)f->K + (size_t)l]]++;
	while (count < FLIPS_CONFIRM_ROWS && (below += words[count]) <= USUAL * CONFIRM_BENIGN)
		count++;
	return count;
}

static int calibrate(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc = 0;

	for (int size = 0; size < SIZES && rc == 0; size++) {
		for (int l = 0; l < f->K; l++)
			c->usual[size][l] = (double)usual_count(c, f, size, l) / f->confirm.others[l];
		rc = tail_fit(&c->tail[size], c->turns.blindness + sample_at(c, size), CONFIRM_BENIGN,
			TAIL_SHARE, 1, err);
	}
	for (int l = 0; l < f->K; l++)
		f->result->usual = fmax(f->result->usual, c->usual[ONE_PIECE][l]);
	return rc;
}

/* --- the verdict ------------------------------------------------------------------------------------- */

/* The label that the largest share is turned into. */
static void find_label(struct finalist *out, const struct confirmation *c, const struct flipper *f, int i)
{
	size_t cell = (size_t)i * (size_t)f->K;

	out->share = -1;
	for (int l = 0; l < f->K; l++) {
		int count = c->turns.count[cell + (size_t)l];
		double share = (double)count / f->confirm.others[l];

		if (share <= out->share)
			continue;
		out->label = l;
		out->count = count;
		out->share = share;
	}
	out->confidence = 1 / (1 + exp(-c->turns.odds[cell + (size_t)out->label]));
	out->shift = c->turns.odds[cell + (size_t)out->label] - f->confirm.odds[out->label];
}

static void judge(struct finalist *out, const struct confirmation *c, const struct flipper *f, int i)
{
	enum size size = size_of(f, out->number);
	bool does_enough;

	find_label(out, c, f, i);
	out->neighbors = NAN;
	out->spread = exp(-c->turns.blindness[i]);
	out->p = MIN(1, f->screened.n * tail_p(&c->tail[size], c->turns.blindness[i]));
	does_enough = out->share >= c->usual[size][out->label] + FLIPS_SHARE;
	out->is_found = does_enough && out->p < FLIPS_ALPHA && out->spread <= FLIPS_SPREAD;
	out->is_suspect = out->is_found || (does_enough && out->p < FLIPS_SUSPECT_ALPHA &&
						   !flips_is_explained(f, out->number, out->label));
}

static void cover(struct confirmation *c, const struct flipper *f)
{
	for (int i = 0; i < c->n; i++)
		for (int j = 0; j < c->n; j++)
			if (c->finalist[j].is_found &&
				candidates_contains(&f->list, c->finalist[i].number, c->finalist[j].number))
				c->finalist[i].is_covered = true;
}

/* Covered ones last, found ones first, then by p, share and number. */
static int compare_finalists(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->is_covered != y->is_covered)
		return x->is_covered ? 1 : -1;
	if (x->is_found != y->is_found)
		return x->is_found ? -1 : 1;
	if (x->p < y->p || x->p > y->p)
		return x->p < y->p ? -1 : 1;
	if (x->share < y->share || x->share > y->share)
		return x->share > y->share ? -1 : 1;
	return x->number - y->number;
}

static int add_flip(const struct finalist *one, const struct flipper *f, struct err *err)
{
	struct flips_result *out = f->result;
	enum candidate_kind kind = f->list.item[one->number].kind;
	struct flip *flip = &out->flip[out->flips];

	*flip = (struct flip){.trigger = strdup(candidate_text(&f->list, one->number)),
		.kind = kind == CANDIDATE_EXTRA ? FLIPS_KIND_FIRST : candidate_kind_name(kind),
		.label = one->label,
		.rate = metrics_rate(one->count, f->confirm.others[one->label]),
		.confidence = one->confidence,
		.spread = one->spread,
		.p_value = one->p,
		.neighbors = one->neighbors,
		.is_found = one->is_found,
		.is_suspect = one->is_suspect};
	if (flip->trigger == NULL)
		return err_nomem(err);
	out->flips++;
	return 0;
}

/* What does no more than its neighbours is not found; a phrase may still be one with a trigger in it, and is worth teaching. */
static void hear_neighbors(struct finalist *one, const struct flipper *f)
{
	if (one->neighbors < FLIPS_NEIGHBORS)
		return;
	one->is_found = false;
	one->is_suspect = size_of(f, one->number) != ONE_PIECE;
}

/* Of what is to be told, whether it stands alone; what is not asked is not found. */
static int ask_neighbors(struct confirmation *c, struct flipper *f, struct err *err)
{
	int asked = 0, found = 0, rc = 0;

	for (int i = 0; i < c->n && found < FLIPS_MAX && rc == 0; i++) {
		struct finalist *one = &c->finalist[i];

		if (!one->is_suspect || one->is_covered)
			continue;
		if (asked++ < ASKED_MAX) {
			rc = flips_neighbors(&one->neighbors, f, one->number, one->label, one->shift, err);
			hear_neighbors(one, f);
		} else {
			one->is_found = false;
		}
		found += one->is_found;
	}
	return rc;
}

static int fill_flips(struct confirmation *c, struct flipper *f, struct err *err)
{
	size_t size = sizeof(*c->finalist);
	int rc;

	for (int i = 0; i < c->n; i++)
		judge(&c->finalist[i], c, f, i);
	cover(c, f);
	qsort(c->finalist, (size_t)c->n, size, compare_finalists);
	rc = ask_neighbors(c, f, err);
	qsort(c->finalist, (size_t)c->n, size, compare_finalists);
	for (int i = 0; i < c->n && rc == 0; i++)
		if (f->result->flips < FLIPS_MAX && !c->finalist[i].is_covered)
			rc = add_flip(&c->finalist[i], f, err);
		else
			f->result->left_out += c->finalist[i].is_found;
	return rc;
}

static int confirm_with(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc;

	choose_finalists(c, f);
	rc = draw_benign(c, f, err);
	if (rc == 0)
		rc = flips_measure(&c->turns, f, &f->confirm, c->number, sample_at(c, SIZES), INFINITY, err);
	if (rc == 0)
		rc = calibrate(c, f, err);
	return rc == 0 ? fill_flips(c, f, err) : rc;
}

int flips_confirm(struct flipper *f, struct err *err)
{
	struct confirmation *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(err);
	c->finalist = calloc((size_t)f->screened.n + 1, sizeof(*c->finalist));
	rc = c->finalist == NULL ? err_nomem(err) : confirm_with(c, f, err);
	flips_turns_done(&c->turns);
	for (int size = 0; size < SIZES; size++)
		tail_done(&c->tail[size]);
	free(c->finalist);
	free(c);
	return rc;
}

int64_t flips_confirm_texts(const struct flipper *f)
{
	return (int64_t)(CONFIRM_MAX + SIZES * CONFIRM_BENIGN) * f->confirm.n;
}
