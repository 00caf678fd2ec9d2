/*
 * calibrate: how improbable a candidate's scores are, by those of random benign words or phrases of as many pieces.
 *
 * The more pieces are put into a short text, the less the text counts, whatever they are: so each length has tails of its own.
 */
#include <math.h>
#include <stdlib.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

enum { SAMPLE_MOST = 512 };

static double log_displacement(const struct probe_score *score)
{
	return log(MAX((double)score->displacement, 1e-6));
}

static double fisher(const struct probe_score *score)
{
	return atanh(MIN(MAX((double)score->collapse, -.99999), .99999));
}

static double log_closeness(const struct probe_score *score)
{
	return -log(MAX((double)score->spread, 1e-6));
}

double scan_statistic(const struct probe_score *score, enum scan_statistic which)
{
	static double (*const of[SCAN_STATISTICS])(const struct probe_score *score) = {
		log_displacement, fisher, log_closeness};

	return of[which](score);
}

static int fit_one(struct tail *out, enum scan_statistic which, const struct probe_score *score, int n,
	double share, double of, struct err *err)
{
	double *x = malloc(((size_t)n + 1) * sizeof(*x));
	int rc;

	if (x == NULL)
		return err_nomem(err);
	for (int i = 0; i < n; i++)
		x[i] = scan_statistic(&score[i], which);
	rc = tail_fit(out, x, n, share, of, err);
	free(x);
	return rc;
}

int calibration_fit(struct calibration *out, const struct probe_score *score, int n, double share, double of,
	struct err *err)
{
	int rc = 0;

	for (int i = 0; i < SCAN_STATISTICS && rc == 0; i++)
		rc = fit_one(&out->tail[i], (enum scan_statistic)i, score, n, share, of, err);
	return rc;
}

void calibration_done(struct calibration *calibration)
{
	for (int i = 0; i < SCAN_STATISTICS; i++)
		tail_done(&calibration->tail[i]);
}

double calibration_log_p(
	const struct calibration *calibration, const struct probe_score *score, double log_tried)
{
	double p = 1;

	for (int i = 0; i < SCAN_STATISTICS; i++)
		p = MIN(p, tail_p(&calibration->tail[i], scan_statistic(score, (enum scan_statistic)i)));
	return log(p) + log(SCAN_STATISTICS) + log_tried;
}

bool scan_stands_out(double log_p)
{
	return log_p < log(SCAN_ALPHA);
}

/* --- by length ------------------------------------------------------------------------------------------- */

static const int lengths[SCAN_LENGTHS] = {1, 2, 3, 4, 6, 8, 12, 20, 32};

_Static_assert((int)CANDIDATE_PIECES_MAX <= 32, "the last length holds every candidate");

int scan_length_of(int pieces)
{
	int i = 0;

	while (lengths[i] < pieces)
		i++;
	return i;
}

static int fit_phrases(struct calibration *out, struct scan_state *s, struct probe *probe, int length,
	struct calibration_sample sample, struct err *err)
{
	struct probe_score score[SAMPLE_MOST];
	uint64_t key = rng_key(rng_key(rng_key(s->o->seed, RNG_SCAN), sample.stream), (uint64_t)length);
	int number[SAMPLE_MOST], rc = 0;

	for (int i = 0; i < sample.n && rc >= 0; i++)
		rc = number[i] = join_random(s, rng_key(key, (uint64_t)i), lengths[length], err);
	if (rc >= 0)
		rc = probe_run(score, NULL, probe, &s->list, number, sample.n, err);
	if (rc == 0)
		rc = scan_progress(s, (int64_t)sample.n * probe->K, err);
	return rc == 0 ? calibration_fit(out, score, sample.n, sample.share, 1, err) : rc;
}

int scan_calibrate(struct calibration by_length[SCAN_LENGTHS], struct scan_state *s, struct probe *probe,
	const int *number, int n, struct calibration_sample sample, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++) {
		int length = scan_length_of(s->list.item[number[i]].n);

		if (by_length[length].tail[0].n == 0)
			rc = fit_phrases(&by_length[length], s, probe, length, sample, err);
	}
	return rc;
}
