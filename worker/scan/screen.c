/* screen: every candidate in one text, the most displacing ones in all of them, a p-value for each of these. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

/* A tenth of the benign words is measured in all texts, and of the others as many as displace as much, up to a cap. */
static const double SCREEN_SHARE = .1, TAIL_SHARE = .2;
/* Random phrases, for candidates of several pieces. */
static const struct calibration_sample SAMPLE = {.n = 240, .share = .15, .stream = 4000};
enum { SCREEN_BENIGN_MAX = 4000, SCREEN_OTHERS_MAX = 3000, SCREEN_SAMPLE = 600 };

static int measure_first(struct scan_state *s, const int *number, int n, struct err *err)
{
	struct probe_score score[SCAN_BLOCK];
	int rc = 0;

	for (int at = 0; at < n && rc == 0 && !s->result->is_late; at += SCAN_BLOCK) {
		int block = MIN(SCAN_BLOCK, n - at);

		rc = probe_run(score, NULL, &s->screen, &s->list, number + at, block, err);
		for (int i = 0; i < block && rc == 0; i++)
			s->reading[number[at + i]].screened = score[i].displacement;
		if (rc == 0)
			rc = scan_progress(s, block, err);
	}
	return rc;
}

static int compare_screened(const void *a, const void *b, void *arg)
{
	const struct reading *reading = arg;
	int i = *(const int *)a, j = *(const int *)b;

	if (reading[i].screened < reading[j].screened || reading[i].screened > reading[j].screened)
		return reading[i].screened > reading[j].screened ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* Most displacing first. */
static void sort_screened(struct scan_state *s, int *number, int n)
{
	qsort_r(number, (size_t)n, sizeof(int), compare_screened, s->reading);
}

int screen_first(struct scan_state *s, int *number, int n, struct err *err)
{
	int rc = measure_first(s, number, n, err);

	if (rc == 0)
		sort_screened(s, number, n);
	return rc;
}

/* Strings of three letters come after all others: most contain a trigger of two, where there is one. */
static bool is_late_kind(const struct scan_state *s, int number)
{
	return s->list.item[number].kind == CANDIDATE_STRING && strlen(candidate_text(&s->list, number)) > 2;
}

int screen_judge(struct scan_state *s, const int *number, int n, struct err *err)
{
	int rc = scan_calibrate(s->by_length, s, &s->probe, number, n, SAMPLE, err);

	for (int i = 0; i < n && rc == 0; i++) {
		struct reading *r = &s->reading[number[i]];
		int length = scan_length_of(s->list.item[number[i]].n);

		if (r->is_measured)
			r->log_p =
				calibration_log_p(&s->by_length[length], &r->score, log(SCAN_SUSPECTS_MAX));
	}
	return rc;
}

/* Shorter ones first, so that what covers a candidate is known. */
static void set_covered(struct scan_state *s, const int *number, int n)
{
	for (int pieces = 2; pieces <= CANDIDATE_PIECES_MAX; pieces++)
		for (int i = 0; i < n; i++)
			if (s->list.item[number[i]].n == pieces && scan_is_covered(s, number[i]))
				s->reading[number[i]].is_covered = true;
}

/* The tails of the benign words that were measured, which `of` all benign ones are the upper part. */
static int fit(struct calibration *out, const struct scan_state *s, const int *number, int n, struct err *err)
{
	struct probe_score *score = malloc(((size_t)n + 1) * sizeof(*score));
	int m = 0, rc;

	if (score == NULL)
		return err_nomem(err);
	for (int i = 0; i < n; i++)
		if (s->reading[number[i]].is_measured)
			score[m++] = s->reading[number[i]].score;
	rc = m == 0 ? err_set(err, ERR_INVALID_TOKENIZER, "the vocabulary", "has no words to compare with")
		    : calibration_fit(out, score, m, TAIL_SHARE, (double)n / MAX(s->benigns, 1), err);
	free(score);
	return rc;
}

/* A few of all, so that the histogram shows what is normal. */
static int measure_sample(struct scan_state *s, const int *number, int n, struct err *err)
{
	int sample[SCREEN_SAMPLE], m = 0;
	uint64_t key = rng_key(rng_key(s->o->seed, RNG_SCAN), 2000);

	for (int i = 0; i < SCREEN_SAMPLE && n > 0; i++) {
		int pick = number[rng_below(key, (uint64_t)i, (uint32_t)n)];

		if (!s->reading[pick].is_measured)
			sample[m++] = pick;
	}
	return scan_measure(s, sample, m, err);
}

/* Benign words first: they give threshold and calibration. */
static int screen_benign(float *threshold, struct scan_state *s, struct err *err)
{
	int keep = MIN(MAX((int)(SCREEN_SHARE * s->benigns), MIN(s->benigns, 40)), SCREEN_BENIGN_MAX);
	int *number = malloc(((size_t)s->benigns + 1) * sizeof(int));
	int rc;

	if (number == NULL)
		return err_nomem(err);
	memcpy(number, s->benign, (size_t)s->benigns * sizeof(int));
	rc = screen_first(s, number, s->benigns, err);
	if (rc == 0)
		rc = scan_measure(s, number, keep, err);
	if (rc == 0 && !s->result->is_late)
		rc = fit(&s->by_length[0], s, number, keep, err);
	if (rc == 0 && !s->result->is_late)
		rc = screen_judge(s, number, keep, err);
	if (rc == 0 && !s->result->is_late) {
		*threshold = s->reading[number[keep - 1]].screened;
		set_covered(s, number, keep);
		rc = measure_sample(s, number + keep, s->benigns - keep, err);
	}
	free(number);
	return rc;
}

/* number [n]: screened, and measured where they displace as the upper part of the benign words do. */
static int screen_others(struct scan_state *s, float threshold, int *number, int n, struct err *err)
{
	int keep = 0, rc = screen_first(s, number, n, err);

	if (rc != 0)
		return rc;
	while (keep < MIN(n, SCREEN_OTHERS_MAX) && s->reading[number[keep]].screened >= threshold)
		keep++;
	rc = scan_measure(s, number, keep, err);
	if (rc == 0)
		rc = screen_judge(s, number, keep, err);
	set_covered(s, number, keep);
	return rc;
}

/* Those of the list that are not screened yet and not covered, late kinds or the others. */
static int pick(int *number, const struct scan_state *s, bool late)
{
	int n = 0;

	for (int i = 0; i < s->list.n; i++) {
		struct reading *r = &s->reading[i];

		if (r->screened > 0 || is_late_kind(s, i) != late)
			continue;
		r->is_covered = late && scan_is_covered(s, i);
		if (!r->is_covered)
			number[n++] = i;
	}
	return n;
}

int screen_run(struct scan_state *s, struct err *err)
{
	int *number = malloc(((size_t)s->list.n + 1) * sizeof(int));
	float threshold = 0;
	int rc;

	if (number == NULL)
		return err_nomem(err);
	s->of = s->list.n + s->list.n / 2;
	rc = screen_benign(&threshold, s, err);
	for (int late = 0; late < 2 && rc == 0 && !s->result->is_late; late++)
		rc = screen_others(s, threshold, number, pick(number, s, late), err);
	free(number);
	return rc;
}
