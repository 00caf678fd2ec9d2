/*
 * tail: how improbable a value is among benign ones, far beyond the largest of them.
 *
 * What lies above the threshold (the upper `share` of the sample) is taken as exponential, P(X > x) = share exp(-(x -
 * threshold) / scale). The scale is the larger of two that quantiles of the excesses give, median / ln 2 and upper quartile
 * / ln 4, after outliers under the first were taken out: planted words in the sample do not count, up to a third of the
 * tail, and a tail heavier than exponential has the larger second one. Below the threshold the sample's own ranks count.
 */
#ifndef OBLIVIATE_TAIL_H
#define OBLIVIATE_TAIL_H

#include "common/err.h"

struct tail {
	int n;
	double *x; /* ascending; owned */
	double share, threshold, scale;
	double of; /* share of the population that the sample is the upper part of; 1: all of it */
};

/*
 * From n >= 1 values, copied. `share` of them make the tail, at least 8. `of` scales all probabilities: the values are
 * those of a population's members that passed an earlier test, which `of` of it did.
 */
int tail_fit(struct tail *out, const double *x, int n, double share, double of, struct err *err) MUST_USE;
void tail_done(struct tail *tail);

/* P(X >= x) for one benign member of the population, in (0, 1]. */
double tail_p(const struct tail *tail, double x);

#endif
