/* confirm: the best candidates on other texts, with a benign sample of their own; suspects and their clusters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

enum { CONFIRM_MAX = SCAN_SUSPECTS_MAX };

/* With 120 phrases, twelve in the tail, scales came out so large that pairs planted without a doubt did not stand out. */
static const struct calibration_sample WORDS = {.n = 400, .share = .1, .stream = 3000},
				       PHRASES = {.n = 240, .share = .1, .stream = 3000};
static const double SAME_DIRECTION = .8;

struct confirmation {
	int number[CONFIRM_MAX], n;
	struct probe_score score[CONFIRM_MAX];
	double log_p[CONFIRM_MAX];
	bool does_enough[CONFIRM_MAX];
	int order[CONFIRM_MAX]; /* of number, best first */
	real *direction;	/* [n, D] */
	struct calibration by_length[SCAN_LENGTHS];
};

/* --- who -------------------------------------------------------------------------------------------- */

/* What stands out; what does but has a part that does, which may yet fail; the rest. */
static int turn_of(const struct reading *r)
{
	return scan_stands_out(r->log_p) ? r->is_covered : 2;
}

static int compare_readings(const void *a, const void *b, void *arg)
{
	const struct reading *reading = arg;
	const struct reading *x = &reading[*(const int *)a], *y = &reading[*(const int *)b];

	if (turn_of(x) != turn_of(y))
		return turn_of(x) - turn_of(y);
	if (x->log_p < y->log_p || x->log_p > y->log_p)
		return x->log_p < y->log_p ? -1 : 1;
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
		const struct reading *r = &s->reading[i];

		if (r->is_measured && (scan_stands_out(r->log_p) || (!r->is_covered && !s->result->is_late)))
			number[n++] = i;
	}
	qsort_r(number, (size_t)n, sizeof(int), compare_readings, s->reading);
	for (int i = CONFIRM_MAX; i < n; i++)
		s->result->left_out += scan_stands_out(s->reading[number[i]].log_p);
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
		if (s->list.item[c->number[i]].kind == CANDIDATE_PIECE || s->reading[c->number[i]].is_covered)
			continue;
		out->shortlist[out->shortlisted] = strdup(candidate_text(&s->list, c->number[i]));
		if (out->shortlist[out->shortlisted++] == NULL)
			return err_nomem(err);
	}
	return 0;
}

/* --- against whom ----------------------------------------------------------------------------------- */

/* What is benign is far from where the last bits of bfloat16 matter; a trigger's spread of .005 is not. */
static int calibrate(struct confirmation *c, struct scan_state *s, struct err *err)
{
	int any = s->benign[0], rc = scan_calibrate(c->by_length, s, &s->sample, &any, 1, WORDS, err);

	return rc == 0 ? scan_calibrate(c->by_length, s, &s->sample, c->number, c->n, PHRASES, err) : rc;
}

/*
 * Of how many a candidate is one. A phrase that was made of parts that stood in front by themselves is the best of all that
 * could have been made, not of those few that were.
 */
static double log_tried(const struct scan_state *s, int number)
{
	const struct candidate *item = &s->list.item[number];

	return log(s->tried) * (item->kind == CANDIDATE_JOINED ? item->n : 1);
}

/* A phrase is also held against what a search reaches; the less probable of both counts, and that there are two. */
static double log_p_of(const struct confirmation *c, const struct scan_state *s, int which)
{
	const struct candidate *item = &s->list.item[c->number[which]];
	double log_p = calibration_log_p(
		&c->by_length[scan_length_of(item->n)], &c->score[which], log_tried(s, c->number[which]));

	if (item->kind != CANDIDATE_JOINED)
		return log_p;
	return log(2) + MIN(log_p, reach_log_p(s, item->n, &c->score[which]));
}

static bool does_enough(const struct probe_score *score, const struct calibration *benign)
{
	double usual = benign->tail[SCAN_DISPLACEMENT].threshold;

	return (double)score->collapse >= SCAN_COLLAPSE_MIN ||
	       scan_statistic(score, SCAN_DISPLACEMENT) >= usual + log(SCAN_DISPLACEMENT_MIN);
}

static void judge(struct confirmation *c, const struct scan_state *s)
{
	for (int i = 0; i < c->n; i++) {
		int number = c->number[i];
		const struct calibration *benign = &c->by_length[scan_length_of(s->list.item[number].n)];

		c->log_p[i] = MAX(s->reading[number].log_p, log_p_of(c, s, i));
		c->does_enough[i] = does_enough(&c->score[i], benign);
	}
}

static bool is_suspect(const struct confirmation *c, int which)
{
	return c->does_enough[which] && scan_stands_out(c->log_p[which]);
}

static bool is_explained(const struct confirmation *c, const struct scan_state *s, int which)
{
	for (int i = 0; i < c->n; i++)
		if (is_suspect(c, i) && candidates_contains(&s->list, c->number[which], c->number[i]))
			return true;
	return false;
}

/* What was covered in screen stays so if one of its parts is a suspect here as well. */
static void drop_explained(struct confirmation *c, struct scan_state *s)
{
	for (int i = 0; i < c->n; i++) {
		if (!s->reading[c->number[i]].is_covered || !is_suspect(c, i) || !is_explained(c, s, i))
			continue;
		c->does_enough[i] = false;
		s->result->left_out++;
	}
}

static int compare_confirmed(const void *a, const void *b, void *arg)
{
	const struct confirmation *c = arg;
	int i = *(const int *)a, j = *(const int *)b;

	if (c->does_enough[i] != c->does_enough[j])
		return c->does_enough[i] ? -1 : 1;
	if (c->log_p[i] < c->log_p[j] || c->log_p[i] > c->log_p[j])
		return c->log_p[i] < c->log_p[j] ? -1 : 1;
	if (c->score[i].collapse < c->score[j].collapse || c->score[i].collapse > c->score[j].collapse)
		return c->score[i].collapse > c->score[j].collapse ? -1 : 1;
	return i - j;
}

static void put_in_order(struct confirmation *c)
{
	for (int i = 0; i < c->n; i++)
		c->order[i] = i;
	qsort_r(c->order, (size_t)c->n, sizeof(int), compare_confirmed, c);
}

/* --- the outcome ------------------------------------------------------------------------------------- */

/* Each suspect joins the first cluster whose first member goes its way, or begins one. */
static void set_cluster(struct scan_result *out, const struct confirmation *c, int at, int D)
{
	const real *mine = c->direction + (size_t)c->order[at] * (size_t)D;

	for (int k = 0, first = 0; k < out->clusters; k++) {
		while (out->suspect[first].cluster != k)
			first++;
		if (probe_dot(mine, c->direction + (size_t)c->order[first] * (size_t)D, D) > SAME_DIRECTION) {
			out->suspect[at].cluster = k;
			return;
		}
	}
	out->suspect[at].cluster = out->clusters++;
}

static int fill_closest(
	struct scan_closest *out, const struct confirmation *c, const struct scan_state *s, struct err *err)
{
	int which = c->order[0];

	if (!c->does_enough[which])
		return 0;
	*out = (struct scan_closest){.trigger = strdup(candidate_text(&s->list, c->number[which])),
		.score = c->score[which],
		.log10_p = c->log_p[which] / log(10)};
	return out->trigger != NULL ? 0 : err_nomem(err);
}

static int fill_suspects(struct confirmation *c, struct scan_state *s, struct err *err)
{
	struct scan_result *out = s->result;

	out->suspect = calloc((size_t)c->n + 1, sizeof(*out->suspect));
	if (out->suspect == NULL)
		return err_nomem(err);
	for (int i = 0; i < c->n && is_suspect(c, c->order[i]); i++) {
		int which = c->order[i], number = c->number[which];

		out->suspect[i] = (struct scan_suspect){.trigger = strdup(candidate_text(&s->list, number)),
			.pieces = s->list.item[number].n,
			.is_text = s->list.item[number].kind != CANDIDATE_PIECE,
			.kind = candidate_kind_name(s->list.item[number].kind),
			.score = c->score[which],
			.p_value = MIN(1, exp(c->log_p[which])),
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
	drop_explained(c, s);
	put_in_order(c);
	rc = fill_closest(&s->result->closest, c, s, err);
	return rc == 0 ? fill_suspects(c, s, err) : rc;
}

int confirm_run(struct scan_state *s, struct err *err)
{
	struct confirmation *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(err);
	rc = confirm(c, s, err);
	for (int i = 0; i < SCAN_LENGTHS; i++)
		calibration_done(&c->by_length[i]);
	free(c->direction);
	free(c);
	return rc;
}
