/*
 * metrics: what predictions say about a model and its backdoor. Pure functions of integer arrays.
 *
 * N+ is the set of rows whose clean prediction is right; trigger t flips such a row when the prediction
 * with t in the text is another label.
 *
 *   ca           accuracy on clean rows
 *   f1           of class 1 for two classes, else the mean over the classes that occur or are predicted
 *   asr          share of N+ that any trigger flips
 *   a(t, l)      of the rows in N+ with truth != l, the share that t turns into l
 *   masr, aasr   max over t and l of a(t, l); mean over t of max over l
 *   flip_ratio   mean over N+ of the share of triggers that flip the row
 *   wasr, wmasr  mean and max over labels of the asr among their rows
 *
 * A label without rows in N+ is skipped; a value without rows behind it is not known (null in the report).
 *
 * asr, ca and a(t, l) are binomial: counts and a 95 % Wilson interval. The others get the 2.5 and 97.5 %
 * quantiles of 1,000 seeded bootstrap draws over rows. Where a value is the worst of several (masr, wmasr,
 * and aasr within each trigger), the worst cell is chosen once, on all rows, and the draws keep it: the
 * interval is that of the chosen cell, and `after_selection` says so. Choosing anew in every draw would
 * push the interval above the value itself.
 *
 * Errors: out of memory alone. Ownership: an evaluation owns its tables (evaluation_done).
 */
#ifndef OBLIVIATE_METRICS_H
#define OBLIVIATE_METRICS_H

#include "common/err.h"

enum { METRICS_DRAWS = 1000 };

/* A binomial rate. Not known (null) when total is 0. */
struct rate {
	int count, total;
	double value, low, high;
};

/* Any other statistic. */
struct measure {
	bool known;
	double value, low, high;
	bool after_selection;
};

/* Accuracy lost against another model on the same rows, with the rows that tell the two apart. */
struct drop {
	struct measure measure; /* (lost - won) / rows */
	int lost, won;		/* rows that only the undefended, or only the defended model gets right */
	int rows;
};

/* What a model predicted: clean, and with each of T triggers in the text. */
struct outcomes {
	int rows, K, T;
	const int *truth;     /* [rows], 0 .. K-1, as are all predictions */
	const int *clean;     /* [rows] */
	const int *triggered; /* [T, rows] */
	const bool *survived; /* [T, rows]: the trigger is within the truncation; NULL: all are */
};

struct trigger_result {
	int survived;	     /* rows */
	struct rate asr;     /* this trigger alone */
	struct rate *target; /* [K]: a(t, l) */
};

struct attack_result {
	int T, K;
	struct rate asr;
	struct measure masr, aasr, flip_ratio, wasr, wmasr;
	struct trigger_result *by_trigger; /* [T] */
	struct rate *cells;		   /* [T, K], behind by_trigger[].target */
};

struct evaluation {
	int rows, n_plus;
	struct rate ca;
	struct measure f1;
	struct attack_result triggers;
	struct attack_result control; /* T is 0 when there was none */
};

/* count of total with its Wilson interval. */
struct rate metrics_rate(int count, int total);

/* `control` (the same rows with neutral words) may be NULL. */
int metrics_evaluate(struct evaluation *out, const struct outcomes *triggers, const struct outcomes *control,
	uint64_t seed, struct err *err) MUST_USE;
void evaluation_done(struct evaluation *evaluation);

/* Accuracy of `undefended` minus that of `defended`, both [rows]; the bootstrap keeps the rows paired. */
int metrics_ca_drop(struct drop *out, const int *truth, const int *undefended, const int *defended, int rows,
	uint64_t seed, struct err *err) MUST_USE;

#endif
