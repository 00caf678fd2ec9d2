/* confirm: the best candidates on other texts, with a benign sample of their own; suspects and their clusters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

enum { CONFIRM_MAX = SCAN_SUSPECTS_MAX, CONFIRM_BENIGN = 400, CONFIRM_JOINED = 120 };

static const double TAIL_SHARE = .1, SAME_DIRECTION = .8;

struct confirmation {
	int number[CONFIRM_MAX], n;
	struct probe_score score[CONFIRM_MAX];
	double p[CONFIRM_MAX];
	int order[CONFIRM_MAX]; /* of number, best first */
	real *direction;	/* [n, D] */
	struct calibration words, joined;
};

/* --- who -------------------------------------------------------------------------------------------- */

static int compare_readings(const void *a, const void *b, void *arg)
{
	const struct reading *reading = arg;
	const struct reading *x = &reading[*(const int *)a], *y = &reading[*(const int *)b];

	if (x->p < y->p || x->p > y->p)
		return x->p < y->p ? -1 : 1;
	if (x->score.collapse < y->score.collapse || x->score.collapse > y->score.collapse)
		return x->score.collapse > y->score.collapse ? -1 : 1;
	return *(const int *)a - *(const int *)b;
}

/* When the time is up, only what must be confirmed to be said. */
static int choose(struct confirmation *c, struct scan_state *s, struct err *err)
{
	int *number = malloc(((size_t)s->list.n + 1) * sizeof(int)), n = 0;

	if (number == NULL)
		return err_nomem(err);
	for (int i = 0; i < s->list.n; i++) {
		s->result->left_out += s->reading[i].is_covered && s->reading[i].p < SCAN_ALPHA;
		if (s->reading[i].is_measured && !s->reading[i].is_covered &&
			s->reading[i].p < (s->result->is_late ? SCAN_ALPHA : 2))
			number[n++] = i;
	}
	qsort_r(number, (size_t)n, sizeof(int), compare_readings, s->reading);
	for (int i = CONFIRM_MAX; i < n; i++)
		s->result->left_out += s->reading[number[i]].p < SCAN_ALPHA;
	c->n = MIN(n, CONFIRM_MAX);
	memcpy(c->number, number, (size_t)c->n * sizeof(int));
	free(number);
	return 0;
}

/* In the order of screen and join. */
static int fill_shortlist(const struct confirmation *c, struct scan_state *s, struct err *err)
{
	struct scan_result *out = s->result;

	out->shortlist = calloc((size_t)c->n + 1, sizeof(*out->shortlist));
	if (out->shortlist == NULL)
		return err_nomem(err);
	for (int i = 0; i < c->n; i++) {
		if (s->list.item[c->number[i]].kind == CANDIDATE_PIECE)
			continue;
		out->shortlist[out->shortlisted] = strdup(candidate_text(&s->list, c->number[i]));
		if (out->shortlist[out->shortlisted++] == NULL)
			return err_nomem(err);
	}
	return 0;
}

/* --- against whom ----------------------------------------------------------------------------------- */

static int fit_sample(
	struct calibration *out, struct scan_state *s, const int *number, int n, struct err *err)
{
	struct probe_score score[CONFIRM_BENIGN];
	int rc = probe_run(score, NULL, &s->exact, &s->list, number, n, err);

	if (rc == 0)
		rc = scan_progress(s, (int64_t)n * s->exact.K, err);
	return rc == 0 ? calibration_fit(out, score, n, TAIL_SHARE, 1, err) : rc;
}

static int calibrate(struct confirmation *c, struct scan_state *s, struct err *err)
{
	uint64_t key = rng_key(rng_key(s->o->seed, RNG_SCAN), 3000);
	int number[CONFIRM_BENIGN], rc = 0;

	for (int i = 0; i < CONFIRM_BENIGN; i++)
		number[i] = s->benign[rng_below(key, (uint64_t)i, (uint32_t)s->benigns)];
	rc = fit_sample(&c->words, s, number, CONFIRM_BENIGN, err);
	for (int i = 0; i < CONFIRM_JOINED && rc >= 0; i++)
		rc = number[i] = join_random(s, rng_key(key, (uint64_t)i), 2 + i % 3, err);
	return rc >= 0 ? fit_sample(&c->joined, s, number, CONFIRM_JOINED, err) : rc;
}

static bool does_enough(const struct probe_score *score, const struct calibration *benign)
{
	double usual = benign->displacement.threshold;

	return (double)score->collapse >= SCAN_COLLAPSE_MIN ||
	       scan_log_displacement(score) >= usual + log(SCAN_DISPLACEMENT_MIN);
}

/* p becomes 1 where the effect is too small to matter. */
static void judge(struct confirmation *c, const struct scan_state *s)
{
	for (int i = 0; i < c->n; i++) {
		int number = c->number[i];
		const struct calibration *benign =
			s->list.item[number].kind == CANDIDATE_JOINED ? &c->joined : &c->words;

		c->p[i] = MAX(s->reading[number].p, calibration_p(benign, &c->score[i], c->n));
		if (!does_enough(&c->score[i], benign))
			c->p[i] = 1;
	}
}

/* --- the outcome ------------------------------------------------------------------------------------- */

static int compare_confirmed(const void *a, const void *b, void *arg)
{
	const struct confirmation *c = arg;
	int i = *(const int *)a, j = *(const int *)b;

	if (c->p[i] < c->p[j] || c->p[i] > c->p[j])
		return c->p[i] < c->p[j] ? -1 : 1;
	if (c->score[i].collapse < c->score[j].collapse || c->score[i].collapse > c->score[j].collapse)
		return c->score[i].collapse > c->score[j].collapse ? -1 : 1;
	return i - j;
}

static double along(const real *a, const real *b, int D)
{
	double sum = 0;

	for (int j = 0; j < D; j++)
		sum += (double)a[j] * (double)b[j];
	return sum;
}

/* Each suspect joins the first cluster whose first member goes its way, or begins one. */
static void set_cluster(struct scan_result *out, const struct confirmation *c, int at, int D)
{
	const real *mine = c->direction + (size_t)c->order[at] * (size_t)D;

	for (int k = 0, first = 0; k < out->clusters; k++) {
		while (out->suspect[first].cluster != k)
			first++;
		if (along(mine, c->direction + (size_t)c->order[first] * (size_t)D, D) > SAME_DIRECTION) {
			out->suspect[at].cluster = k;
			return;
		}
	}
	out->suspect[at].cluster = out->clusters++;
}

static int fill_suspects(struct confirmation *c, struct scan_state *s, struct err *err)
{
	struct scan_result *out = s->result;

	out->suspect = calloc((size_t)c->n + 1, sizeof(*out->suspect));
	if (out->suspect == NULL)
		return err_nomem(err);
	for (int i = 0; i < c->n; i++)
		c->order[i] = i;
	qsort_r(c->order, (size_t)c->n, sizeof(int), compare_confirmed, c);
	for (int i = 0; i < c->n && c->p[c->order[i]] < SCAN_ALPHA; i++) {
		int which = c->order[i], number = c->number[which];

		out->suspect[i] = (struct scan_suspect){.trigger = strdup(candidate_text(&s->list, number)),
			.pieces = s->list.item[number].n,
			.is_text = s->list.item[number].kind != CANDIDATE_PIECE,
			.kind = candidate_kind_name(s->list.item[number].kind),
			.score = c->score[which],
			.p_value = c->p[which],
			.cluster = -1};
		out->suspects++;
		if (out->suspect[i].trigger == NULL)
			return err_nomem(err);
		set_cluster(out, c, i, s->exact.D);
	}
	return 0;
}

static int confirm(struct confirmation *c, struct scan_state *s, struct err *err)
{
	int rc = choose(c, s, err);

	if (rc == 0)
		rc = fill_shortlist(c, s, err);
	if (rc != 0 || c->n == 0)
		return rc;
	rc = calibrate(c, s, err);
	c->direction = malloc(((size_t)c->n + 1) * (size_t)s->exact.D * sizeof(real));
	if (rc == 0 && c->direction == NULL)
		rc = err_nomem(err);
	if (rc == 0)
		rc = probe_run(c->score, c->direction, &s->exact, &s->list, c->number, c->n, err);
	if (rc == 0)
		rc = scan_progress(s, (int64_t)c->n * s->exact.K, err);
	if (rc != 0)
		return rc;
	judge(c, s);
	return fill_suspects(c, s, err);
}

int confirm_run(struct scan_state *s, struct err *err)
{
	struct confirmation *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(err);
	rc = confirm(c, s, err);
	calibration_done(&c->words);
	calibration_done(&c->joined);
	free(c->direction);
	free(c);
	return rc;
}
