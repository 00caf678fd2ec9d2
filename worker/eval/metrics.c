#include "worker/eval/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"

static const double z = 1.959964; /* 97.5 % quantile of the normal distribution */

struct rate metrics_rate(int count, int total)
{
	struct rate rate = {.count = count, .total = total};
	double n = total, p, middle, half;

	if (total == 0)
		return rate;
	p = count / n;
	middle = (p + z * z / (2 * n)) / (1 + z * z / n);
	half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
	rate.value = p;
	rate.low = count == 0 ? 0 : middle - half; /* exact at the ends, where rounding may leave 1e-17 */
	rate.high = count == total ? 1 : middle + half;
	return rate;
}

/* --- counts ----------------------------------------------------------------------------------------- */

/* Every statistic below is a function of these counts; a bootstrap draw is the same counts of other rows. */
struct tally {
	int K, T;
	int rows, n_plus, flips;	/* flips: pairs of a row in N+ and a trigger that flips it */
	int *truth, *predicted, *right; /* [K]: rows of, taken for, rightly taken for each label (clean) */
	int *flipped;			/* [K]: rows of N+ that any trigger flips, by label */
	int *cell;			/* [T, K]: rows of N+ that trigger t turns into l */
	int *memory;
	size_t bytes;
};

static int tally_init(struct tally *tally, int K, int T, struct err *err)
{
	*tally = (struct tally){.K = K, .T = T};
	tally->bytes = (size_t)(4 + T) * (size_t)K * sizeof(int);
	tally->memory = calloc(1, tally->bytes);
	if (tally->memory == NULL)
		return err_nomem(err);
	tally->truth = tally->memory;
	tally->predicted = tally->truth + K;
	tally->right = tally->predicted + K;
	tally->flipped = tally->right + K;
	tally->cell = tally->flipped + K;
	return 0;
}

static void tally_done(struct tally *tally)
{
	free(tally->memory);
}

static void tally_clear(struct tally *tally)
{
	tally->rows = tally->n_plus = tally->flips = 0;
	memset(tally->memory, 0, tally->bytes);
}

static void tally_add(struct tally *tally, const struct outcomes *of, int row)
{
	int y = of->truth[row], flips = 0;

	tally->rows++;
	tally->truth[y]++;
	tally->predicted[of->clean[row]]++;
	if (of->clean[row] != y)
		return;
	tally->n_plus++;
	tally->right[y]++;
	for (int t = 0; t < of->T; t++) {
		int l = of->triggered[(size_t)t * (size_t)of->rows + (size_t)row];

		if (l == y)
			continue;
		tally->cell[t * tally->K + l]++;
		flips++;
	}
	tally->flips += flips;
	tally->flipped[y] += flips > 0;
}

static void tally_all(struct tally *tally, const struct outcomes *of)
{
	tally_clear(tally);
	for (int i = 0; i < of->rows; i++)
		tally_add(tally, of, i);
}

/* As many rows as there are, with replacement; the same rows for every `of` under one key. */
static void tally_draw(struct tally *tally, const struct outcomes *of, uint64_t key)
{
	tally_clear(tally);
	for (int i = 0; i < of->rows; i++)
		tally_add(tally, of, (int)rng_below(key, (uint64_t)i, (uint32_t)of->rows));
}

static int flipped_total(const struct tally *tally)
{
	int sum = 0;

	for (int l = 0; l < tally->K; l++)
		sum += tally->flipped[l];
	return sum;
}

static int flips_of_trigger(const struct tally *tally, int t)
{
	int sum = 0;

	for (int l = 0; l < tally->K; l++)
		sum += tally->cell[t * tally->K + l];
	return sum;
}

/* --- statistics ------------------------------------------------------------------------------------- */

static bool share(double *out, int count, int total)
{
	if (total <= 0)
		return false;
	*out = (double)count / total;
	return true;
}

/* a(t, l) */
static bool cell_rate(double *out, const struct tally *tally, int t, int l)
{
	return share(out, tally->cell[t * tally->K + l], tally->n_plus - tally->right[l]);
}

/* The asr among the rows of one label. */
static bool label_rate(double *out, const struct tally *tally, int l)
{
	return share(out, tally->flipped[l], tally->right[l]);
}

/* The cells where the maxima are, found once on all rows; -1 where no cell is known. */
struct worst {
	int trigger;  /* of masr */
	int label;    /* of wmasr */
	int *label_t; /* [T]: the label with the highest a(t, l) */
};

static int worst_label_of(const struct tally *tally, int t)
{
	int worst = -1;
	double rate, highest = -1;

	for (int l = 0; l < tally->K; l++)
		if (cell_rate(&rate, tally, t, l) && rate > highest) {
			highest = rate;
			worst = l;
		}
	return worst;
}

static int worst_trigger(const struct tally *tally, const int *label_t)
{
	int worst = -1;
	double rate, highest = -1;

	for (int t = 0; t < tally->T; t++)
		if (label_t[t] >= 0 && cell_rate(&rate, tally, t, label_t[t]) && rate > highest) {
			highest = rate;
			worst = t;
		}
	return worst;
}

static int worst_own_label(const struct tally *tally)
{
	int worst = -1;
	double rate, highest = -1;

	for (int l = 0; l < tally->K; l++)
		if (label_rate(&rate, tally, l) && rate > highest) {
			highest = rate;
			worst = l;
		}
	return worst;
}

static int worst_init(struct worst *worst, const struct tally *tally, struct err *err)
{
	worst->label_t = calloc((size_t)MAX(tally->T, 1), sizeof(int));
	if (worst->label_t == NULL)
		return err_nomem(err);
	for (int t = 0; t < tally->T; t++)
		worst->label_t[t] = worst_label_of(tally, t);
	worst->trigger = worst_trigger(tally, worst->label_t);
	worst->label = tally->T > 0 ? worst_own_label(tally) : -1;
	return 0;
}

static bool class_f1(double *out, const struct tally *tally, int l)
{
	return share(out, 2 * tally->right[l], tally->truth[l] + tally->predicted[l]);
}

static bool stat_f1(double *out, const struct tally *tally, const struct worst *worst)
{
	double sum = 0, f1;
	int n = 0;

	(void)worst;
	if (tally->K == 2)
		return class_f1(out, tally, 1);
	for (int l = 0; l < tally->K; l++)
		if (class_f1(&f1, tally, l)) {
			sum += f1;
			n++;
		}
	*out = sum / MAX(n, 1);
	return n > 0;
}

static bool stat_masr(double *out, const struct tally *tally, const struct worst *worst)
{
	return worst->trigger >= 0 && cell_rate(out, tally, worst->trigger, worst->label_t[worst->trigger]);
}

static bool stat_aasr(double *out, const struct tally *tally, const struct worst *worst)
{
	double sum = 0, rate;
	int n = 0;

	for (int t = 0; t < tally->T; t++)
		if (worst->label_t[t] >= 0 && cell_rate(&rate, tally, t, worst->label_t[t])) {
			sum += rate;
			n++;
		}
	*out = sum / MAX(n, 1);
	return n > 0;
}

static bool stat_flip_ratio(double *out, const struct tally *tally, const struct worst *worst)
{
	(void)worst;
	return share(out, tally->flips, tally->n_plus * tally->T);
}

static bool stat_wasr(double *out, const struct tally *tally, const struct worst *worst)
{
	double sum = 0, rate;
	int n = 0;

	(void)worst;
	for (int l = 0; l < tally->K && tally->T > 0; l++)
		if (label_rate(&rate, tally, l)) {
			sum += rate;
			n++;
		}
	*out = sum / MAX(n, 1);
	return n > 0;
}

static bool stat_wmasr(double *out, const struct tally *tally, const struct worst *worst)
{
	return worst->label >= 0 && label_rate(out, tally, worst->label);
}

enum stat { STAT_F1, STAT_MASR, STAT_AASR, STAT_FLIP_RATIO, STAT_WASR, STAT_WMASR, STAT_COUNT };

static const struct {
	bool (*of)(double *out, const struct tally *tally, const struct worst *worst);
	bool after_selection;
} stats[STAT_COUNT] = {
	[STAT_F1] = {stat_f1, false},
	[STAT_MASR] = {stat_masr, true},
	[STAT_AASR] = {stat_aasr, true},
	[STAT_FLIP_RATIO] = {stat_flip_ratio, false},
	[STAT_WASR] = {stat_wasr, false},
	[STAT_WMASR] = {stat_wmasr, true},
};

/* --- bootstrap -------------------------------------------------------------------------------------- */

/* The values of one statistic over the draws in which it is known. */
struct draws {
	double value[METRICS_DRAWS];
	int n;
};

static uint64_t draw_key(uint64_t seed, int draw)
{
	return rng_key(rng_key(seed, RNG_BOOTSTRAP), (uint64_t)draw);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Between the two nearest of the sorted values, by distance. */
static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1), below = floor(at);
	int i = (int)below;

	return i + 1 < n ? sorted[i] + (at - below) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* A value that is known on all rows and in no draw has no interval but itself. */
static void measure_interval(struct measure *out, struct draws *draws)
{
	out->low = out->high = out->value;
	if (draws->n == 0)
		return;
	qsort(draws->value, (size_t)draws->n, sizeof(double), compare_doubles);
	out->low = quantile(draws->value, draws->n, .025);
	out->high = quantile(draws->value, draws->n, .975);
}

static void draw_once(struct draws draws[STAT_COUNT], const struct tally *tally, const struct worst *worst)
{
	for (int s = 0; s < STAT_COUNT; s++)
		if (stats[s].of(&draws[s].value[draws[s].n], tally, worst))
			draws[s].n++;
}

/* Fills out[STAT_COUNT]; `tally` holds the counts of all rows on entry and is used up. */
static int measure_all(
	struct measure *out, struct tally *tally, const struct outcomes *of, uint64_t seed, struct err *err)
{
	struct worst worst = {0};
	struct draws *draws = calloc(STAT_COUNT, sizeof(*draws));
	int rc = draws == NULL ? err_nomem(err) : worst_init(&worst, tally, err);

	if (rc != 0)
		goto done;
	for (int s = 0; s < STAT_COUNT; s++) {
		out[s] = (struct measure){.after_selection = stats[s].after_selection};
		out[s].known = stats[s].of(&out[s].value, tally, &worst);
	}
	for (int i = 0; i < METRICS_DRAWS; i++) {
		tally_draw(tally, of, draw_key(seed, i));
		draw_once(draws, tally, &worst);
	}
	for (int s = 0; s < STAT_COUNT; s++)
		if (out[s].known)
			measure_interval(&out[s], &draws[s]);
done:
	free(worst.label_t);
	free(draws);
	return rc;
}

/* --- evaluation ------------------------------------------------------------------------------------- */

static int count_survived(const struct outcomes *of, int t)
{
	int n = 0;

	if (of->survived == NULL)
		return of->rows;
	for (int i = 0; i < of->rows; i++)
		n += of->survived[(size_t)t * (size_t)of->rows + (size_t)i];
	return n;
}

static int attack_init(struct attack_result *out, int T, int K, struct err *err)
{
	*out = (struct attack_result){.T = T, .K = K};
	out->by_trigger = calloc((size_t)MAX(T, 1), sizeof(*out->by_trigger));
	out->cells = calloc((size_t)MAX(T, 1) * (size_t)K, sizeof(*out->cells));
	if (out->by_trigger == NULL || out->cells == NULL)
		return err_nomem(err);
	for (int t = 0; t < T; t++)
		out->by_trigger[t].target = out->cells + (size_t)t * (size_t)K;
	return 0;
}

static void attack_counts(struct attack_result *out, const struct tally *tally, const struct outcomes *of)
{
	out->asr = metrics_rate(flipped_total(tally), tally->T > 0 ? tally->n_plus : 0);
	for (int t = 0; t < tally->T; t++) {
		struct trigger_result *result = &out->by_trigger[t];

		result->survived = count_survived(of, t);
		result->asr = metrics_rate(flips_of_trigger(tally, t), tally->n_plus);
		for (int l = 0; l < tally->K; l++)
			result->target[l] =
				metrics_rate(tally->cell[t * tally->K + l], tally->n_plus - tally->right[l]);
	}
}

static void attack_measures(struct attack_result *out, const struct measure *measure)
{
	out->masr = measure[STAT_MASR];
	out->aasr = measure[STAT_AASR];
	out->flip_ratio = measure[STAT_FLIP_RATIO];
	out->wasr = measure[STAT_WASR];
	out->wmasr = measure[STAT_WMASR];
}

/* One attack, and the numbers of the clean rows beside it. */
static int evaluate(struct evaluation *out, struct attack_result *attack, const struct outcomes *of,
	uint64_t seed, struct err *err)
{
	struct measure measure[STAT_COUNT];
	struct tally tally;
	int rc = attack_init(attack, of->T, of->K, err);

	if (rc != 0)
		return rc;
	rc = tally_init(&tally, of->K, of->T, err);
	if (rc != 0)
		return rc;
	tally_all(&tally, of);
	attack_counts(attack, &tally, of);
	out->rows = tally.rows;
	out->n_plus = tally.n_plus;
	out->ca = metrics_rate(tally.n_plus, tally.rows);
	rc = measure_all(measure, &tally, of, seed, err);
	tally_done(&tally);
	if (rc != 0)
		return rc;
	out->f1 = measure[STAT_F1];
	attack_measures(attack, measure);
	return 0;
}

int metrics_evaluate(struct evaluation *out, const struct outcomes *triggers, const struct outcomes *control,
	uint64_t seed, struct err *err)
{
	int rc;

	*out = (struct evaluation){0};
	rc = evaluate(out, &out->triggers, triggers, seed, err);
	if (rc == 0 && control != NULL)
		rc = evaluate(out, &out->control, control, seed, err);
	if (rc != 0)
		evaluation_done(out);
	return rc;
}

static void attack_done(struct attack_result *attack)
{
	free(attack->by_trigger);
	free(attack->cells);
}

void evaluation_done(struct evaluation *evaluation)
{
	attack_done(&evaluation->triggers);
	attack_done(&evaluation->control);
	*evaluation = (struct evaluation){0};
}

/* --- accuracy drop ---------------------------------------------------------------------------------- */

/* Rows that only the undefended model gets right, minus those that only the defended one does. */
static int lost(const int *truth, const int *undefended, const int *defended, int row)
{
	return (undefended[row] == truth[row]) - (defended[row] == truth[row]);
}

static int lost_in_draw(const int *truth, const int *undefended, const int *defended, int rows, uint64_t key)
{
	int sum = 0;

	for (int i = 0; i < rows; i++)
		sum += lost(truth, undefended, defended, (int)rng_below(key, (uint64_t)i, (uint32_t)rows));
	return sum;
}

int metrics_ca_drop(struct drop *out, const int *truth, const int *undefended, const int *defended, int rows,
	uint64_t seed, struct err *err)
{
	struct draws *draws;

	*out = (struct drop){.rows = rows};
	if (rows == 0)
		return 0;
	draws = calloc(1, sizeof(*draws));
	if (draws == NULL)
		return err_nomem(err);
	for (int i = 0; i < rows; i++) {
		out->lost += lost(truth, undefended, defended, i) > 0;
		out->won += lost(truth, undefended, defended, i) < 0;
	}
	out->measure.known = true;
	out->measure.value = (double)(out->lost - out->won) / rows;
	for (int i = 0; i < METRICS_DRAWS; i++)
		draws->value[draws->n++] =
			(double)lost_in_draw(truth, undefended, defended, rows, draw_key(seed, i)) / rows;
	measure_interval(&out->measure, draws);
	free(draws);
	return 0;
}
